//! A database: the directory that holds one table per feature.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use futures::{FutureExt, TryStreamExt};
use lance_io::object_store::{ObjectStore, ObjectStoreParams};
use lancedb::listing::ListingOptions;
use lancedb::{Connection, Session};
use object_store::path::Path as ObjectPath;
use tokio::sync::OnceCell;

use super::failure::from_lancedb;
use super::location::Location;
use super::session;
use super::table::Table;
use crate::error::{Error, Result, Status};

/// A LanceDB database, connected on first use.
pub struct Database {
    location: Location,
    /// The location as Lance spells it, without a slash at the end.
    root: String,
    /// What messages call the database; holds no secret.
    display: String,
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
    /// Prepares the database at `location`; with `create` its directory is made if it is missing,
    /// without it a missing directory is an error.
    pub fn new(location: Location, display: &str, cache_bytes: u64, create: bool) -> Result<Database> {
        let (root, session) = match &location {
            Location::Directory(path) => {
                prepare_directory(path, create)?;
                (utf8(path)?.trim_end_matches('/').to_owned(), session::shared(cache_bytes)?)
            }
            // Its own session, or two stores would meet in the registry of a shared one.
            Location::Memory => ("memory://metaxy".to_owned(), session::private(cache_bytes)),
        };
        Ok(Database {
            location,
            root,
            display: display.to_owned(),
            session,
            connection: OnceCell::new(),
            storage: OnceCell::new(),
        })
    }

    /// Opens the newest version of `table`; `None` when there is none.
    ///
    /// A write through a handle that another process has overtaken could bring an older table back
    /// over a newer one, so nothing here keeps tables open.
    pub async fn open(&self, table: &str) -> Result<Option<Table>> {
        if let Location::Directory(root) = &self.location {
            // Saves the connection for the common question about a table that is not there.
            if !root.join(format!("{table}.lance")).exists() {
                return Ok(None);
            }
        }
        let connection = self.connection().await?;
        // Lance panics on some damaged files; that must not take the store with it.
        let opened = AssertUnwindSafe(connection.open_table(table).execute()).catch_unwind().await;
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(lancedb::Error::TableNotFound { .. })) => return Ok(None),
            Ok(Err(cause)) => return Err(self.unreadable(table, from_lancedb(cause, || self.opening(table)))),
            Err(_) => {
                let error = Error::new(Status::Corrupt, format!("{}: its files cannot be read", self.opening(table)));
                return Err(self.unreadable(table, error));
            }
        };
        let Some(dataset) = opened.dataset() else {
            return Err(Error::new(Status::Internal, format!("{}: it is not a native table", self.opening(table))));
        };
        let dataset = dataset.get().await.map_err(|cause| from_lancedb(cause, || self.opening(table)))?;
        Ok(Some(Table::new(dataset, table, &self.display)))
    }

    /// The names of all tables, sorted.
    pub async fn tables(&self) -> Result<Vec<String>> {
        let connection = self.connection().await?;
        let mut names: Vec<String> =
            connection.list_tables(&[], ListingOptions::default()).try_collect().await.map_err(|cause| {
                from_lancedb(cause, || format!("cannot list the tables of {}", self.display)).with("store", &self.display)
            })?;
        names.sort();
        Ok(names)
    }

    pub fn display(&self) -> &str {
        &self.display
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn table_uri(&self, table: &str) -> String {
        format!("{}/{table}.lance", self.root)
    }

    pub(super) fn table_directory(&self, table: &str) -> Option<std::path::PathBuf> {
        self.location.directory().map(|root| root.join(format!("{table}.lance")))
    }

    pub(super) async fn storage(&self) -> Result<&Storage> {
        self.storage
            .get_or_try_init(|| async {
                let (store, root) = ObjectStore::from_uri_and_params(
                    self.session.store_registry(),
                    &self.root,
                    &ObjectStoreParams::default(),
                )
                .await
                .map_err(|cause| {
                    super::failure::from_lance(cause, || format!("cannot reach the files of {}", self.display))
                        .with("store", &self.display)
                })?;
                Ok(Storage { store, root })
            })
            .await
    }

    async fn connection(&self) -> Result<&Connection> {
        // Held before the first table is made: a store in memory lives only while somebody holds it.
        self.storage().await?;
        self.connection
            .get_or_try_init(|| async {
                lancedb::connect(&self.root)
                    .session(self.session.clone())
                    .read_consistency_interval(std::time::Duration::ZERO)
                    // Without this, connecting already talks to the storage and hides what fails.
                    .namespace_client_property("manifest_enabled", "false")
                    .execute()
                    .await
                    .map_err(|cause| {
                        from_lancedb(cause, || format!("cannot connect to {}", self.display)).with("store", &self.display)
                    })
            })
            .await
    }

    fn opening(&self, table: &str) -> String {
        format!("cannot open the table {table} of {}", self.display)
    }

    /// Says which file is damaged, where that is the reason why a table does not open.
    fn unreadable(&self, table: &str, error: Error) -> Error {
        let error = error.with("store", &self.display).with("table", table);
        let Some(directory) = self.table_directory(table) else { return error };
        let Some((manifest, bytes)) = newest_manifest(&directory) else { return error };
        let manifest = manifest.display().to_string();
        let mut damaged = Error::new(
            Status::Corrupt,
            format!(
                "the table {table} of {} cannot be opened: its newest manifest {manifest} ({bytes} bytes) cannot be \
                 read; if it was cut short by a crash, moving that file away brings the version before it back",
                self.display
            ),
        )
        .caused_by(&error)
        .with("file", manifest);
        for (key, value) in error.details() {
            damaged = damaged.with(key, value);
        }
        damaged
    }
}

fn prepare_directory(path: &Path, create: bool) -> Result<()> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            let message = format!("{shown} is not a directory; a store needs one of its own");
            return Err(Error::new(Status::Io, message).with("uri", shown));
        }
        Err(_) if create => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("there is no directory {shown}; opening the store with mode=write would create it");
            return Err(Error::new(Status::NotFound, message).caused_by(&cause).with("uri", shown));
        }
        Err(cause) => return Err(unusable_directory(path, "opened", &cause)),
    }
    // Succeeds also when another process was faster.
    std::fs::create_dir_all(path).map_err(|cause| unusable_directory(path, "created", &cause))
}

fn unusable_directory(path: &Path, doing: &str, cause: &std::io::Error) -> Error {
    let status = match cause.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Status::Permission,
        _ => Status::Io,
    };
    let shown = path.display();
    Error::new(status, format!("the directory {shown} cannot be {doing}: {cause}")).caused_by(cause).with("uri", shown)
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::invalid(format!("the path {} is not UTF-8, which LanceDB needs", path.display()))
            .with("uri", path.display())
    })
}

/// The manifest that a table would be opened with, and its size. Names count down, so that the
/// newest sorts first.
fn newest_manifest(table: &Path) -> Option<(std::path::PathBuf, u64)> {
    std::fs::read_dir(table.join("_versions"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "manifest"))
        .min()
        .and_then(|path| Some((path.clone(), path.metadata().ok()?.len())))
}
