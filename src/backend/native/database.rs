//! A database: the directory that holds one table per feature.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::datatypes::Schema;
use futures::{FutureExt, StreamExt, TryStreamExt};
use lance::Error as LanceError;
use lance::dataset::builder::DatasetBuilder;
use lance_file::version::ConcreteFileVersion;
use lance_io::object_store::{ObjectStore, ObjectStoreParams};
use lancedb::listing::ListingOptions;
use lancedb::{Connection, Session};
use object_store::path::Path as ObjectPath;
use tokio::sync::OnceCell;
use url::Url;

use super::bucket::Reach;
use super::drop::remove_leftovers_now;
use super::durable::{self, Durability};
use super::life::{Generation, InMemory, Life};
use super::manifests::VERSIONS;
use super::reach;
use super::recover::Damage;
use super::session;
use super::table::Table;
use crate::backend::connect::Connect;
use crate::backend::failure::{from_io, from_lance, from_lancedb};
use crate::backend::location::Location;
use crate::backend::work::Mode;
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};

/// Tables of a bucket that are opened at a time to see whether they are there.
const OPENING: usize = 8;

/// How often a table that is dropped while it is being opened is looked for again.
const LOOKS: u32 = 20;

/// A LanceDB database, connected on first use.
pub struct Database {
    location: Location,
    /// For a bucket.
    reach: Option<Reach>,
    /// The location as Lance spells it, without a slash at the end.
    root: String,
    /// What messages call the database; holds no secret.
    display: String,
    writable: bool,
    durability: Durability,
    in_memory: Mutex<HashMap<String, Arc<InMemory>>>,
    session: Arc<Session>,
    connection: OnceCell<Connection>,
    storage: OnceCell<Storage>,
}

/// The files of the database.
#[derive(Clone)]
pub(super) struct Storage {
    pub(super) store: Arc<ObjectStore>,
    pub(super) root: ObjectPath,
}

impl Database {
    pub fn new(
        location: Location,
        connect: &Connect,
        display: &str,
        cache_bytes: u64,
        mode: Mode,
        durability: Durability,
    ) -> Result<Database> {
        let writable = mode == Mode::Write;
        // What only reads has nothing to flush, and reads faster by Lance's short cuts.
        let durability = if writable { durability } else { Durability::Process };
        let mut reach = None;
        let (root, session) = match &location {
            Location::Directory(path) => {
                connect.check("a local directory", |_| false)?;
                let root = match durability {
                    Durability::Process => utf8(path)?.to_owned(),
                    Durability::Disk => flushed_url(path)?,
                };
                let session = session::shared(cache_bytes, "")?;
                prepare_directory(path, mode, durability)?;
                (root.trim_end_matches('/').to_owned(), session)
            }
            Location::Memory if durability == Durability::Disk => {
                let message = "a store in memory has no disk to keep anything on; leave durability=disk out";
                return Err(Error::invalid(message).with("option", "durability"));
            }
            // Its own session, or two stores would meet in the registry of a shared one.
            Location::Memory => {
                connect.check("a store in memory", |_| false)?;
                ("memory://metaxy".to_owned(), session::private(cache_bytes))
            }
            Location::Bucket(bucket) => {
                let reached = reach.insert(bucket.reach(connect)?);
                reached.check_values()?;
                (bucket.url.clone(), session::shared(cache_bytes, &reached.place())?)
            }
            Location::Server(_) => {
                return Err(Error::new(Status::Internal, "a server keeps no files that could be opened"));
            }
        };
        Ok(Database {
            location,
            reach,
            root,
            display: display.to_owned(),
            writable,
            durability,
            in_memory: Mutex::default(),
            session,
            connection: OnceCell::new(),
            storage: OnceCell::new(),
        })
    }

    /// Opens the newest version of `table`; `None` when there is none. If a crash of the machine has
    /// damaged that, and the database is open for writing, the version before is brought back.
    ///
    /// A write through a handle that another process has overtaken could bring an older table back
    /// over a newer one, so nothing here keeps tables open.
    ///
    /// The version stays until the table and all its streams are dropped.
    pub async fn open(&self, table: &str) -> Result<Option<Table>> {
        let mut opened = self.open_pinned(table).await;
        // Twice, because somebody else may have brought it back since: then nothing looks damaged.
        for _ in 0..2 {
            let Some(directory) = self.table_directory(table).filter(|_| opened.is_err()) else { break };
            match Damage::of(&directory) {
                Some(damage) if self.writable && damage.can_be_undone() => self.recover(table).await?,
                Some(_) => break,
                None => {}
            }
            opened = self.open_pinned(table).await;
        }
        opened
    }

    /// Opens the newest version of `table` without a pin; `None` when there is none. Damage stays.
    pub(super) async fn open_newest(&self, table: &str) -> Result<Option<Table>> {
        Ok(self.open_even_dropped(table).await?.filter(|opened| !opened.says_dropped()))
    }

    /// As [`Database::open_newest`]; in a bucket also a version that says that there is no table.
    pub(super) async fn open_even_dropped(&self, table: &str) -> Result<Option<Table>> {
        for _ in 0..LOOKS {
            let Some(life) = self.life(table).await? else { return Ok(None) };
            let opened = self.open_in(&life, table).await;
            if !life.is_over() {
                return opened;
            }
        }
        let message = format!("{}: it was dropped {LOOKS} times meanwhile; try again", self.opening(table));
        Err(Error::new(Status::Conflict, message).with("store", &self.display).with("table", table))
    }

    /// The life that `table` is in; nothing where there is certainly no table.
    async fn life(&self, table: &str) -> Result<Option<Life>> {
        match self.table_directory(table) {
            // Saves the connection for the common question about a table that is not there.
            Some(directory) => Life::of_directory(directory).map_err(|cause| self.forbidden(table, &cause)),
            None if self.is_bucket() => Ok(Some(Life::Bucket(Generation::default()))),
            None => Ok(Some(Life::in_memory(self.in_memory(table)).await)),
        }
    }

    async fn open_in(&self, life: &Life, table: &str) -> Result<Option<Table>> {
        // Held from the first use on: a store in memory lives only while somebody holds it.
        self.storage().await?;
        // Not by LanceDB, which would look for the newest version twice.
        let opening = DatasetBuilder::from_uri(self.table_uri(table))
            .with_store_params(self.store_params())
            .with_session(self.session.clone())
            .load();
        // Lance panics on some damaged files; that must not take the store with it.
        let dataset = match AssertUnwindSafe(Box::pin(opening)).catch_unwind().await {
            Ok(Ok(dataset)) => Arc::new(dataset),
            Ok(Err(LanceError::DatasetNotFound { .. })) => return self.no_versions(table).map(|()| None),
            Ok(Err(cause)) => return Err(self.unreadable(table, from_lance(cause, || self.opening(table)))),
            Err(_) => {
                let error =
                    Error::new(Status::Corrupt, format!("{}: its files cannot be read", self.opening(table)));
                return Err(self.unreadable(table, error));
            }
        };
        // Lance reads the names of types without looking at them, and panics when they are used.
        if std::panic::catch_unwind(AssertUnwindSafe(|| drop(Schema::from(dataset.schema())))).is_err() {
            let reason = "it has a column of a type that this version does not know, or its newest manifest is damaged";
            let error = Error::new(Status::Unsupported, format!("{}: {reason}", self.opening(table)));
            return Err(error.with("store", &self.display).with("table", table));
        }
        let life = match life {
            Life::Bucket(_) => Life::Bucket(Generation::of(&dataset)),
            life => life.clone(),
        };
        let opened = Table::new(dataset, table, &self.display, life);
        log::emit(Level::Debug, || {
            format!("opened version {} of the table {table} of {}", opened.version(), self.display)
        });
        Ok(Some(opened))
    }

    /// Refuses a table whose files are in the format before Lance 2, in which nothing can be added
    /// to it: rows are written in the present format, and a table has only one.
    pub fn check_appendable(&self, table: &Table) -> Result<()> {
        if table.dataset.manifest().data_storage_format.lance_file_format() != ConcreteFileVersion::V1 {
            return Ok(());
        }
        let name = table.name();
        Err(Error::new(
            Status::Unsupported,
            format!(
                "the table {name} of {} is in Lance's legacy file format, which can be read but not written; copy it into \
                 a new table of the present format",
                self.display
            ),
        )
        .with("store", &self.display)
        .with("table", name))
    }

    /// The names of all tables, sorted.
    pub async fn tables(&self) -> Result<Vec<String>> {
        let names = self.tables_even_dropped().await?;
        match self.is_bucket() {
            true => self.not_dropped(names).await,
            false => Ok(names),
        }
    }

    /// As [`Database::tables`], with those that were dropped and have left files.
    pub async fn tables_even_dropped(&self) -> Result<Vec<String>> {
        if let Some(directory) = self.location.directory() {
            // Connecting would make it, and finds no tables where it is not allowed to look.
            match std::fs::read_dir(directory) {
                Ok(_) => {}
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(cause) => {
                    let what = || format!("cannot list the tables of {}", self.display);
                    return Err(from_io(&cause, what).with("store", &self.display));
                }
            }
        }
        let connection = self.connection().await?;
        let mut names: Vec<String> =
            connection.list_tables(&[], ListingOptions::default()).try_collect().await.map_err(|cause| {
                from_lancedb(cause, || format!("cannot list the tables of {}", self.display))
                    .with("store", &self.display)
            })?;
        names.sort();
        Ok(names)
    }

    /// The tables of `names` that were not dropped: in a bucket their files tell.
    async fn not_dropped(&self, names: Vec<String>) -> Result<Vec<String>> {
        let opening = futures::stream::iter(names).map(|name| async {
            let there = self.has(&name).await?;
            Ok(there.then_some(name))
        });
        opening.buffered(OPENING).try_filter_map(|name| async { Ok(name) }).try_collect().await
    }

    pub fn display(&self) -> &str {
        &self.display
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    pub(super) fn is_bucket(&self) -> bool {
        self.reach.is_some()
    }

    /// For a bucket: what it takes to reach it.
    pub(super) fn reach(&self) -> Option<&Reach> {
        self.reach.as_ref()
    }

    /// How Lance reaches the files.
    pub(super) fn store_params(&self) -> ObjectStoreParams {
        reach::store_params(self.reach.as_ref().map(|reach| reach.options.clone()))
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(super) fn durability(&self) -> Durability {
        self.durability
    }

    /// What is kept about `table` in a store in memory.
    pub(super) fn in_memory(&self, table: &str) -> Arc<InMemory> {
        let mut tables = self.in_memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tables.entry(table.to_owned()).or_default().clone()
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn table_uri(&self, table: &str) -> String {
        format!("{}/{table}.lance", self.root)
    }

    pub(super) fn table_directory(&self, table: &str) -> Option<PathBuf> {
        self.location.directory().map(|root| root.join(format!("{table}.lance")))
    }

    /// The files. That of a bucket can be reached when they are first asked for; a failure is not
    /// remembered.
    pub(super) async fn storage(&self) -> Result<&Storage> {
        self.storage
            .get_or_try_init(|| async {
                match &self.reach {
                    Some(reach) => Box::pin(self.reached(reach)).await,
                    None => self.files(&self.store_params()).await.map_err(|cause| {
                        from_lance(cause, || format!("cannot reach the files of {}", self.display))
                            .with("store", &self.display)
                    }),
                }
            })
            .await
    }

    /// The files as they are reached by `params`.
    pub(super) async fn files(&self, params: &ObjectStoreParams) -> lance_core::Result<Storage> {
        let registry = self.session.store_registry();
        let (store, root) = ObjectStore::from_uri_and_params(registry, &self.root, params).await?;
        Ok(Storage { store, root })
    }

    pub(super) async fn connection(&self) -> Result<&Connection> {
        // Held before the first table is made: a store in memory lives only while somebody holds it.
        self.storage().await?;
        self.connection
            .get_or_try_init(|| async {
                lancedb::connect(&self.root)
                    .storage_options(self.reach.iter().flat_map(|reach| reach.options.clone()))
                    .session(self.session.clone())
                    .read_consistency_interval(std::time::Duration::ZERO)
                    // Without this, connecting already talks to the storage and hides what fails.
                    .namespace_client_property("manifest_enabled", "false")
                    .execute()
                    .await
                    .map_err(|cause| {
                        from_lancedb(cause, || format!("cannot connect to {}", self.display))
                            .with("store", &self.display)
                    })
            })
            .await
    }

    fn opening(&self, table: &str) -> String {
        format!("cannot open the table {table} of {}", self.display)
    }

    fn forbidden(&self, table: &str, cause: &std::io::Error) -> Error {
        from_io(cause, || self.opening(table)).with("store", &self.display).with("table", table)
    }

    /// LanceDB finds no table also where it is not allowed to look for one.
    fn no_versions(&self, table: &str) -> Result<()> {
        let Some(directory) = self.table_directory(table) else { return Ok(()) };
        match std::fs::read_dir(directory.join(VERSIONS)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(self.forbidden(table, &cause)),
            _ => Ok(()),
        }
    }
}

fn prepare_directory(path: &Path, mode: Mode, durability: Durability) -> Result<()> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            if mode == Mode::Write {
                remove_leftovers_now(path);
            }
            return Ok(());
        }
        Ok(_) => {
            let message = format!("{shown} is not a directory; a store needs one of its own");
            return Err(Error::new(Status::Io, message).with("uri", shown));
        }
        Err(_) if mode == Mode::Write => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && mode == Mode::ReadOnceThere => {
            return Ok(());
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let message =
                format!("there is no directory {shown}; opening the store with mode=write would create it");
            return Err(Error::new(Status::NotFound, message).caused_by(&cause).with("uri", shown));
        }
        Err(cause) => return Err(unusable_directory(path, "opened", &cause)),
    }
    durability.create_directories(path).map_err(|cause| unusable_directory(path, "created", &cause))
}

fn unusable_directory(path: &Path, doing: &str, cause: &std::io::Error) -> Error {
    let shown = path.display();
    from_io(cause, || format!("the directory {shown} cannot be {doing}")).with("uri", shown)
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::invalid(format!("the path {} is not UTF-8, which LanceDB needs", path.display()))
            .with("uri", path.display())
    })
}

/// `path` as a URL by which everything is flushed.
fn flushed_url(path: &Path) -> Result<String> {
    utf8(path)?;
    let url = Url::from_file_path(path).map_err(|()| {
        Error::invalid(format!("the path {} is not absolute", path.display())).with("uri", path.display())
    })?;
    Ok(format!("{}://{}", durable::SCHEME, url.path()))
}
