//! A database: the directory that holds one table per feature.

use std::io::{Read, Seek, SeekFrom};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::{FutureExt, TryStreamExt};
use lance_file::version::ConcreteFileVersion;
use lance_io::object_store::{ObjectStore, ObjectStoreParams};
use lancedb::listing::ListingOptions;
use lancedb::{Connection, Session};
use object_store::path::Path as ObjectPath;
use tokio::sync::OnceCell;

use super::failure::{from_io, from_lancedb};
use super::location::Location;
use super::session;
use super::table::Table;
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};

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
                let root = utf8(path)?.trim_end_matches('/').to_owned();
                let session = session::shared(cache_bytes)?;
                prepare_directory(path, create)?;
                (root, session)
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

    /// Opens the newest version of `table` without a pin; `None` when there is none.
    pub(super) async fn open_newest(&self, table: &str) -> Result<Option<Table>> {
        if let Some(directory) = self.table_directory(table) {
            // Saves the connection for the common question about a table that is not there.
            match directory.try_exists() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(cause) => return Err(self.forbidden(table, &cause)),
            }
        }
        let connection = self.connection().await?;
        // Lance panics on some damaged files; that must not take the store with it.
        let opened = AssertUnwindSafe(connection.open_table(table).execute()).catch_unwind().await;
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(lancedb::Error::TableNotFound { .. })) => return self.no_versions(table).map(|()| None),
            Ok(Err(cause)) => return Err(self.unreadable(table, from_lancedb(cause, || self.opening(table)))),
            Err(_) => {
                let error =
                    Error::new(Status::Corrupt, format!("{}: its files cannot be read", self.opening(table)));
                return Err(self.unreadable(table, error));
            }
        };
        let Some(dataset) = opened.dataset() else {
            return Err(Error::new(
                Status::Internal,
                format!("{}: it is not a native table", self.opening(table)),
            ));
        };
        let dataset = dataset.get().await.map_err(|cause| from_lancedb(cause, || self.opening(table)))?;
        // Lance reads the names of types without looking at them, and panics when they are used.
        if std::panic::catch_unwind(AssertUnwindSafe(|| drop(Schema::from(dataset.schema())))).is_err() {
            let reason = "it has a column of a type that this version does not know, or its newest manifest is damaged";
            let error = Error::new(Status::Unsupported, format!("{}: {reason}", self.opening(table)));
            return Err(error.with("store", &self.display).with("table", table));
        }
        let opened = Table::new(dataset, table, &self.display);
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
        let connection = self.connection().await?;
        let mut names: Vec<String> =
            connection.list_tables(&[], ListingOptions::default()).try_collect().await.map_err(|cause| {
                from_lancedb(cause, || format!("cannot list the tables of {}", self.display))
                    .with("store", &self.display)
            })?;
        names.sort();
        Ok(names)
    }

    pub fn display(&self) -> &str {
        &self.display
    }

    pub fn location(&self) -> &Location {
        &self.location
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
                    super::failure::from_lance(cause, || {
                        format!("cannot reach the files of {}", self.display)
                    })
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

    /// Says which file is damaged, where that is the reason why a table does not open.
    fn unreadable(&self, table: &str, error: Error) -> Error {
        let error = error.with("store", &self.display).with("table", table);
        let Some(directory) = self.table_directory(table) else { return error };
        let Some(manifest) = newest_manifest(&directory) else { return error };
        let Some(bytes) = size_if_cut_short(&manifest) else { return error };
        let manifest = manifest.display().to_string();
        let mut damaged = Error::new(
            Status::Corrupt,
            format!(
                "the table {table} of {} cannot be opened: its newest manifest {manifest} ({bytes} bytes) has no end, as \
                 if it was cut short by a crash; moving that file away brings the version before it back",
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
            let message =
                format!("there is no directory {shown}; opening the store with mode=write would create it");
            return Err(Error::new(Status::NotFound, message).caused_by(&cause).with("uri", shown));
        }
        Err(cause) => return Err(unusable_directory(path, "opened", &cause)),
    }
    // Succeeds also when another process was faster.
    std::fs::create_dir_all(path).map_err(|cause| unusable_directory(path, "created", &cause))
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

/// Why no table can have a column of this name, if so: LanceDB would write it and not read it back.
pub fn unusable_column_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a column needs a name")
    } else if name.contains('.') {
        Some("LanceDB takes a dot for the way to a struct member")
    } else if name.contains('`') {
        Some("LanceDB quotes names in backticks")
    } else if lance_core::is_system_column(name) {
        Some("LanceDB has a column of its own by this name")
    } else {
        None
    }
}

/// Where a table keeps its manifests.
pub(super) const VERSIONS: &str = "_versions";

/// The last bytes of a manifest: where its content begins, the format's version, and these four.
const FOOTER_BYTES: u64 = 16;
const MAGIC: &[u8; 4] = lance_table::format::MAGIC;

/// The manifest that a table would be opened with.
pub(super) fn newest_manifest(table: &Path) -> Option<PathBuf> {
    std::fs::read_dir(table.join(VERSIONS))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((version_of(&path)?, path)))
        .max()
        .map(|(_, path)| path)
}

/// The version that a manifest's name tells; names of 20 digits count down, so that the newest is listed first.
pub(super) fn version_of(manifest: &Path) -> Option<u64> {
    if manifest.extension()? != "manifest" {
        return None;
    }
    let name = manifest.file_stem()?.to_str()?;
    let number: u64 = name.parse().ok()?;
    Some(if name.len() == 20 { u64::MAX - number } else { number })
}

/// The size of a manifest that does not end as each must; nothing if it does, or cannot be read.
fn size_if_cut_short(manifest: &Path) -> Option<u64> {
    let mut file = std::fs::File::open(manifest).ok()?;
    let bytes = file.metadata().ok()?.len();
    if bytes < FOOTER_BYTES {
        return Some(bytes);
    }
    let mut end = [0; MAGIC.len()];
    file.seek(SeekFrom::End(-(MAGIC.len() as i64))).ok()?;
    file.read_exact(&mut end).ok()?;
    (end != *MAGIC).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_manifest_is_found_in_either_naming() {
        for (names, newest) in [
            (["1.manifest", "9.manifest", "10.manifest"], "10.manifest"),
            (
                ["18446744073709551614.manifest", "18446744073709551606.manifest", "d123.manifest"],
                "18446744073709551606.manifest",
            ),
        ] {
            let table = tempfile::tempdir().unwrap();
            let versions = table.path().join(VERSIONS);
            std::fs::create_dir(&versions).unwrap();
            for name in names {
                std::fs::write(versions.join(name), []).unwrap();
            }
            assert_eq!(newest_manifest(table.path()), Some(versions.join(newest)));
        }
    }

    #[test]
    fn names_that_lancedb_cannot_read_back_are_known() {
        for name in ["", "a.b", "a`b", "_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version"] {
            assert!(unusable_column_name(name).is_some(), "{name}");
        }
        for name in ["_row", "_rowing", "a b", "é", "select", "a\"b"] {
            assert_eq!(unusable_column_name(name), None, "{name}");
        }
    }
}
