//! A database: what holds one table per feature, wherever it is.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::stream::BoxStream;

use super::connect::Connect;
use super::location::Location;
use super::native::{self, Durability};
use super::remote;
use super::staged::Staged;
use super::table::Table;
use super::work::{Compacted, Erased, Extent, Mode, Pruned, Retention};
use crate::error::{Error, Result, Status};

/// A LanceDB database, connected on first use.
pub enum Database {
    Native(native::Database),
    /// Of a server.
    Remote(remote::Database),
}

/// Held by the one who maintains a table; of a server's table by nobody, who maintains it by itself.
pub struct Maintaining(#[expect(dead_code, reason = "held, not used")] Option<native::Maintaining>);

impl Database {
    pub fn new(
        location: Location,
        connect: &Connect,
        display: &str,
        cache_bytes: u64,
        mode: Mode,
        durability: Durability,
    ) -> Result<Database> {
        match location {
            Location::Server(server) => {
                remote::Database::new(server, connect, display, durability).map(Database::Remote)
            }
            location => native::Database::new(location, connect, display, cache_bytes, mode, durability)
                .map(Database::Native),
        }
    }

    pub fn display(&self) -> &str {
        match self {
            Database::Native(database) => database.display(),
            Database::Remote(database) => database.display(),
        }
    }

    pub fn location(&self) -> &Location {
        match self {
            Database::Native(database) => database.location(),
            Database::Remote(database) => database.location(),
        }
    }

    /// Whether this is a storage that has to be tried before it is written to, and has not been yet.
    pub fn must_try_writers(&self) -> bool {
        match self {
            Database::Native(database) => database.must_try_writers(),
            // Servers keep them apart.
            Database::Remote(_) => false,
        }
    }

    /// Refuses a storage that does not keep writers apart, unless that is accepted.
    pub async fn try_writers(&self) -> Result<()> {
        match self {
            Database::Native(database) => Box::pin(database.try_writers()).await,
            Database::Remote(_) => Ok(()),
        }
    }

    /// The names of all tables, sorted.
    pub async fn tables(&self) -> Result<Vec<String>> {
        match self {
            Database::Native(database) => database.tables().await,
            Database::Remote(database) => Box::pin(database.tables()).await,
        }
    }

    /// As [`Database::tables`], with those that were dropped and have left files, which pruning removes.
    pub async fn tables_even_dropped(&self) -> Result<Vec<String>> {
        match self {
            Database::Native(database) => database.tables_even_dropped().await,
            Database::Remote(database) => Box::pin(database.tables()).await,
        }
    }

    /// Whether `table` has a version. That its files are sound is not said.
    pub async fn has(&self, table: &str) -> Result<bool> {
        match self {
            Database::Native(database) => database.has(table).await,
            Database::Remote(database) => Box::pin(database.has(table)).await,
        }
    }

    /// Opens the newest version of `table`; `None` when there is none. Nothing here keeps tables open: a
    /// write through a handle that another process has overtaken could bring an older table back over a
    /// newer one.
    pub async fn open(&self, table: &str) -> Result<Option<Table>> {
        match self {
            Database::Native(database) => Ok(database.open(table).await?.map(Table::Native)),
            Database::Remote(database) => Ok(Box::pin(database.open(table)).await?.map(Table::Remote)),
        }
    }

    /// Refuses a table to which nothing can be added, for a reason that is in its files.
    pub fn check_appendable(&self, table: &Table) -> Result<()> {
        match (self, table) {
            (Database::Native(database), Table::Native(table)) => database.check_appendable(table),
            _ => Ok(()),
        }
    }

    /// Keeps the rows of `stream` for `table`, which need not exist, where nobody sees them. On failure
    /// nothing is left of them. By the columns `identifying` they are told from others, where that is asked.
    pub async fn stage(
        &self,
        table: &str,
        schema: &Schema,
        stream: SendableRecordBatchStream,
        identifying: &[String],
    ) -> Result<Staged> {
        match self {
            Database::Native(database) => {
                Box::pin(database.stage(table, schema, stream)).await.map(Staged::Native)
            }
            Database::Remote(database) => {
                database.stage(table, schema, stream, identifying).await.map(Staged::Remote)
            }
        }
    }

    /// Reads staged rows back, in their order; the first has the number 0.
    pub async fn staged_rows(
        &self,
        staged: &Staged,
        rows: Range<u64>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        match (self, staged) {
            (Database::Native(database), Staged::Native(staged)) => database.staged_rows(staged, rows).await,
            (Database::Remote(database), Staged::Remote(staged)) => database.staged_rows(staged, rows).await,
            _ => Err(of_another()),
        }
    }

    /// Shows the staged rows to everybody, all at once. On failure none of them shows and nothing is left
    /// of them, unless it cannot be told whether it has happened: then the error says so.
    ///
    /// `proceed` is asked before each try, and `accept` before rows are added to a table that is
    /// already there, with its schema.
    pub async fn publish(
        &self,
        staged: Staged,
        proceed: impl Fn() -> Result<()>,
        accept: impl Fn(&Schema) -> Result<()>,
    ) -> Result<()> {
        match (self, staged) {
            (Database::Native(database), Staged::Native(staged)) => {
                Box::pin(database.publish(staged, proceed, accept)).await
            }
            (Database::Remote(database), Staged::Remote(staged)) => {
                Box::pin(database.publish(staged, proceed, accept)).await
            }
            _ => Err(of_another()),
        }
    }

    /// Forgets staged rows, as far as that is possible.
    pub async fn discard(&self, staged: &Staged) {
        match (self, staged) {
            (Database::Native(database), Staged::Native(staged)) => database.discard(staged).await,
            // Their file goes with them.
            _ => {}
        }
    }

    /// Forgets what staging has made for a table that was not made then.
    pub fn remove_empty_directories(&self, table: &str) {
        match self {
            Database::Native(database) => database.remove_empty_directories(table),
            Database::Remote(_) => {}
        }
    }

    /// Whether rows are removed all at once, in whatever steps.
    pub fn removes_at_once(&self) -> bool {
        matches!(self, Database::Native(_))
    }

    /// Removes the rows of `table` at the addresses `steps` (see [`super::Scan::ADDRESS`]), all of them or
    /// none, except on a server, which removes them some hundreds at a time: there some may be gone on failure,
    /// but none of a step before all of those before it. `removed` is counted up by the rows that are gone. Rows that
    /// others append meanwhile are no obstacle. By the columns `identifying` a row is told from those that have its
    /// place later.
    pub async fn delete_rows(
        &self,
        table: &Table,
        steps: Vec<Vec<u64>>,
        identifying: &[String],
        removed: &mut u64,
    ) -> Result<Erased> {
        match (self, table) {
            (Database::Native(database), Table::Native(table)) => {
                let mut addresses = steps.concat();
                addresses.sort_unstable();
                let rows = addresses.len() as u64;
                let erased = Box::pin(database.delete_rows(table, addresses)).await?;
                if matches!(erased, Erased::Done { .. }) {
                    *removed += rows;
                }
                Ok(erased)
            }
            (Database::Remote(database), Table::Remote(table)) => {
                Box::pin(database.delete_rows(table, steps, identifying, removed)).await
            }
            _ => Err(of_another()),
        }
    }

    /// Drops `table`, unless there is none: then the answer is false. `proceed` is asked as long as it can
    /// be given up.
    pub async fn drop_table(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<bool> {
        match self {
            Database::Native(database) => Box::pin(database.drop_table(table, proceed)).await,
            Database::Remote(database) => Box::pin(database.drop_table(table, proceed)).await,
        }
    }

    /// Refuses to have tables `compacted`, or the like, that are kept where they are maintained.
    pub fn check_maintained_here(&self, what: &str) -> Result<()> {
        match self {
            Database::Native(_) => Ok(()),
            Database::Remote(database) => Err(database.unmaintained(what)),
        }
    }

    /// The right to maintain `table`, or nothing while another process has it.
    pub fn try_maintain(&self, table: &str) -> Option<Maintaining> {
        match self {
            Database::Native(database) => database.try_maintain(table).map(|right| Maintaining(Some(right))),
            Database::Remote(_) => Some(Maintaining(None)),
        }
    }

    /// Waits for the right to maintain `table`, as long as `proceed` allows.
    pub async fn maintain(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<Maintaining> {
        match self {
            Database::Native(database) => {
                database.maintain(table, proceed).await.map(|right| Maintaining(Some(right)))
            }
            Database::Remote(_) => Ok(Maintaining(None)),
        }
    }

    /// Joins small fragments and drops deleted rows. Nothing else changes: not which rows there are,
    /// not their order. Nothing is done, and nothing given, when there is no such table, or nothing to
    /// do at the tail.
    pub async fn compact(
        &self,
        table: &str,
        extent: Extent,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<Compacted>> {
        match self {
            Database::Native(database) => Box::pin(database.compact(table, extent, proceed)).await,
            Database::Remote(database) => Err(database.unmaintained("compacted")),
        }
    }

    /// How many small fragments are at the end of `table`.
    pub async fn tail_fragments(&self, table: &str) -> Result<usize> {
        match self {
            Database::Native(database) => database.tail_fragments(table).await,
            Database::Remote(_) => Ok(0),
        }
    }

    /// Removes the versions of `table` that `retention` does not keep, with what only they refer to; none
    /// that a reader is known to have open.
    pub async fn prune(
        &self,
        table: &str,
        retention: Retention,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<Pruned>> {
        match self {
            Database::Native(database) => Box::pin(database.prune(table, retention, proceed)).await,
            Database::Remote(database) => Err(database.unmaintained("pruned")),
        }
    }
}

fn of_another() -> Error {
    Error::new(Status::Internal, "a table or its rows belong to another database")
}
