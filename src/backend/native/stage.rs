//! Writing in two steps: rows become files that nobody sees, then one commit shows them all.
//!
//! [`Database::stage`] needs no table: it writes data files that no version refers to, so that a
//! stream that fails half way changes nothing. [`Database::publish`] then creates the table with the
//! rows, or evolves its schema where needed and appends them, whichever other writers have left to
//! do. Both steps are safe with any number of processes:
//!
//! - A table is created by a strict commit, which fails when anybody else has created it. LanceDB's
//!   own create would rebase itself over the other's rows and lose them.
//! - A loser, and every append, opens the newest version first. The staged files only refer to
//!   columns by number, so they are renumbered to the table's columns rather than written again.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, Schema};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::fragment::write::FragmentCreateBuilder;
use lance::dataset::transaction::{Operation, Transaction, TransactionBuilder};
use lance::dataset::{CommitBuilder, NewColumnTransform, WriteParams};
use lance_core::cache::LanceCache;
use lance_core::datatypes::{Field as LanceField, Schema as LanceSchema};
use lance_encoding::decoder::FilterExpression;
use lance_file::reader::{FileReader, FileReaderOptions};
use lance_file::writer::FileWriterOptions;
use lance_io::ReadBatchParams;
use lance_io::scheduler::{ScanScheduler, SchedulerConfig};
use lance_io::utils::CachedFileSize;
use lance_table::format::{DataFile, Fragment};

use super::database::Database;
use super::erase::DELETIONS;
use super::life::Generation;
use super::maintain::{TRANSACTIONS, Unmaintained};
use super::outcome::{Commit, is_lost_race};
use super::session;
use super::table::Table;
use super::table_lock::{Access, Claim, DirectoryLock, TableLock};
use crate::backend::evolve::{missing_fields, untyped_fields};
use crate::backend::failure::{from_io, from_lance};
use crate::error::{Error, Result, Status};

/// How often a commit is tried again when other writers are in the way; LanceDB itself tries some
/// twenty times before each of these counts.
const ATTEMPTS: u32 = 20;

/// Files that are looked for at a time.
const LOOKS: usize = 8;

/// Where a table keeps its rows.
pub(super) const DATA: &str = "data";

/// What the columns of a file that is being written collect together before they are encoded.
const ENCODE_BYTES: u64 = 64 << 20;

/// Rows that are read back at a time, and the bytes that may wait for it.
const READ_BACK_ROWS: u32 = 8192;
const READ_BACK_BYTES: u64 = 32 << 20;

/// Rows that are written but belong to no version of any table.
pub struct Staged {
    table: String,
    schema: Schema,
    columns: LanceSchema,
    fragments: Vec<Fragment>,
}

impl Database {
    /// Writes the rows of `stream` as files of `table`, which need not exist. On failure no file is
    /// left behind.
    pub async fn stage(
        &self,
        table: &str,
        schema: &Schema,
        stream: SendableRecordBatchStream,
    ) -> Result<Staged> {
        let mut columns = LanceSchema::try_from(schema)
            .map_err(|cause| self.failed("prepare the columns of", table, cause))?;
        columns.set_field_id(None);
        columns.validate().map_err(|cause| self.failed("prepare the columns of", table, cause))?;
        let params = WriteParams {
            session: Some(self.session().clone()),
            store_params: Some(self.store_params()),
            // Encoding begins when a column has its share of this, and should not wait for the end.
            file_writer_options: Some(FileWriterOptions {
                data_cache_bytes: Some(ENCODE_BYTES),
                ..FileWriterOptions::default()
            }),
            ..WriteParams::default()
        };
        let uri = self.table_uri(table);
        let staging = match self.table_directory(table) {
            Some(directory) => StagingLock::shared(&directory).await,
            None => None,
        };
        let written = FragmentCreateBuilder::new(&uri)
            .schema(&columns)
            .write_params(&params)
            .write_fragments(stream)
            .await;
        let dropped = staging.is_some_and(|staging| !staging.is_of_table());
        match written {
            Ok(fragments) => {
                Ok(Staged { table: table.to_owned(), schema: schema.clone(), columns, fragments })
            }
            Err(cause) => {
                self.remove_empty_directories(table);
                let failed = if dropped {
                    self.dropped(table).caused_by(&cause)
                } else {
                    self.failed("write the rows of", table, cause)
                };
                Err(failed)
            }
        }
    }

    /// Shows the staged rows to everybody, all at once. On failure none of them shows and their
    /// files are deleted, unless it cannot be told whether the commit has happened: then the error
    /// says so, and the files stay.
    ///
    /// `proceed` is asked before each try, and `accept` before rows are added to a table that is
    /// already there, with its schema.
    pub async fn publish(
        &self,
        staged: Staged,
        proceed: impl Fn() -> Result<()>,
        accept: impl Fn(&Schema) -> Result<()>,
    ) -> Result<()> {
        match self.try_publish(&staged, proceed, accept).await {
            Ok(()) => Ok(()),
            Err(Attempt::Unknown(error)) => Err(error),
            Err(Attempt::Failed(error)) => {
                self.discard(&staged).await;
                Err(error)
            }
            Err(Attempt::Overtaken(cause)) => {
                self.discard(&staged).await;
                Err(self.located(
                    &staged.table,
                    Error::new(
                        Status::Conflict,
                        format!(
                            "the rows were not added to the table {} of {}: other writers were in the way {ATTEMPTS} \
                             times; write them again",
                            staged.table,
                            self.display()
                        ),
                    )
                    .caused_by(&cause),
                ))
            }
        }
    }

    async fn try_publish(
        &self,
        staged: &Staged,
        proceed: impl Fn() -> Result<()>,
        accept: impl Fn(&Schema) -> Result<()>,
    ) -> std::result::Result<(), Attempt> {
        // One identity for all tries, so that a commit whose answer was lost is found.
        let identity = Transaction::new(0, Operation::Append { fragments: Vec::new() }, None).uuid;
        let mut tries = 0;
        loop {
            let Some(locked) = self.lock_to_publish(staged, &proceed).await? else {
                return Err(self.dropped(&staged.table).into());
            };
            if self.lost_files(staged).await? {
                return Err(self.dropped(&staged.table).into());
            }
            // Held until the outcome is clear: what is committed meanwhile is not pruned before.
            let opened = self.open_pinned(&staged.table).await?;
            let (since, committed) = match opened.clone() {
                None => {
                    let before = self.dropped_version(&staged.table).await?;
                    let since = before.as_ref().map_or(0, |dropped| dropped.version().version);
                    (since, self.create(staged, before, &identity).await)
                }
                Some(table) => {
                    accept(&table.schema())?;
                    (table.dataset.version().version, self.append(staged, table, &identity).await)
                }
            };
            let cause = match committed {
                Ok(()) => return self.flush_directories(staged),
                Err(Attempt::Overtaken(cause)) => cause,
                Err(failed) => return Err(failed),
            };
            if self.has_happened(staged, &identity, since, &cause).await? {
                return self.flush_directories(staged);
            }
            drop(locked);
            tries += 1;
            if !is_lost_race(&cause) {
                return Err(Attempt::Failed(self.failed("add rows to", &staged.table, cause)));
            }
            if tries == ATTEMPTS {
                return Err(Attempt::Overtaken(cause));
            }
            tokio::time::sleep(Duration::from_millis(10 << tries.min(6))).await;
        }
    }

    /// Keeps the table from being dropped during a try; nothing if it was dropped before.
    async fn lock_to_publish(
        &self,
        staged: &Staged,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<TableLock>> {
        loop {
            let locked = self.lock_table(&staged.table, Access::Shared, &proceed).await?;
            if locked.is_some() || staged.files().next().is_some() {
                return Ok(locked);
            }
            // A table without rows is staged without a directory.
            if let Some(directory) = self.table_directory(&staged.table) {
                make_directory(&directory).map_err(|cause| {
                    let what = || format!("cannot create the table {} of {}", staged.table, self.display());
                    self.located(&staged.table, from_io(&cause, what))
                })?;
            }
        }
    }

    /// Flushes the names that whoever made a directory may not have flushed yet.
    fn flush_directories(&self, staged: &Staged) -> std::result::Result<(), Attempt> {
        let directory = self.table_directory(&staged.table);
        let directory = directory.as_deref();
        let flush = |directory| self.durability().sync(directory);
        flush(directory).and_then(|()| flush(directory.and_then(Path::parent))).map_err(|cause| {
            let what = || {
                format!(
                    "the rows were added to the table {} of {}, but flushing them to the disk failed, so that a crash of the \
                     machine may take them",
                    staged.table,
                    self.display()
                )
            };
            let error = from_io(&cause, what).of_unknown_outcome();
            Attempt::Unknown(self.located(&staged.table, error))
        })
    }

    /// Whether a commit that was answered with `cause` has been made all the same.
    async fn has_happened(
        &self,
        staged: &Staged,
        identity: &str,
        since: u64,
        cause: &lance::Error,
    ) -> std::result::Result<bool, Attempt> {
        let commit = Commit { table: &staged.table, identity, since, effect: "the rows were added to" };
        // A compaction may have moved them, and then only the transaction tells.
        if let Ok(Some(table)) = self.open_pinned(&staged.table).await
            && staged.is_in(&table)
        {
            return Ok(true);
        }
        self.made(&commit, cause).await.map(|made| made.is_some()).map_err(Attempt::Unknown)
    }

    /// Reads staged rows back, in their order; the first has the number 0.
    pub async fn staged_rows(
        &self,
        staged: &Staged,
        rows: Range<u64>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let failed = |cause| self.failed("read back rows of", &staged.table, cause);
        let storage = self.storage().await?;
        let scheduler = ScanScheduler::new(storage.store.clone(), SchedulerConfig::new(READ_BACK_BYTES));
        let (mut streams, mut first) = (Vec::new(), 0);
        for fragment in &staged.fragments {
            let count = fragment.physical_rows.unwrap_or_default() as u64;
            let (from, to) = (rows.start.max(first), rows.end.min(first + count));
            for file in fragment.files.iter().filter(|_| from < to) {
                let path = self.data_path(&storage.root, &staged.table, &file.path);
                let file = scheduler.open_file(&path, &CachedFileSize::unknown()).await.map_err(failed)?;
                let (plugins, options) = (Arc::default(), FileReaderOptions::default());
                let reader = FileReader::try_open(file, None, plugins, &LanceCache::no_cache(), options)
                    .await
                    .map_err(failed)?;
                let range = ReadBatchParams::Range((from - first) as usize..(to - first) as usize);
                let read = reader.read_stream(range, READ_BACK_ROWS, 1, FilterExpression::no_filter());
                streams.push(read.await.map_err(failed)?);
            }
            first += count;
        }
        let (table, database) = (staged.table.clone(), self.display().to_owned());
        let rows = futures::stream::iter(streams).flatten();
        Ok(rows
            .map_err(move |cause| {
                from_lance(cause, || format!("cannot read back rows of the table {table} of {database}"))
            })
            .boxed())
    }

    /// Forgets staged rows: their files are deleted, as far as that is possible.
    pub async fn discard(&self, staged: &Staged) {
        if let Ok(storage) = self.storage().await {
            for path in staged.files() {
                // A file that stays is unused space, no harm, and cleanup finds it.
                let _ = storage.store.delete(&self.data_path(&storage.root, &staged.table, path)).await;
            }
        }
        self.remove_empty_directories(&staged.table);
    }

    /// Makes the table with the staged rows; on top of the version that says that it was dropped, if
    /// there is one.
    async fn create(
        &self,
        staged: &Staged,
        before: Option<Arc<Dataset>>,
        identity: &str,
    ) -> std::result::Result<(), Attempt> {
        let operation = Operation::Overwrite {
            fragments: staged.fragments.clone(),
            schema: staged.columns.clone(),
            config_upsert_values: before.as_ref().map(|dropped| Generation::of(dropped).next(false)),
            initial_bases: None,
        };
        // Until the commit is confirmed nobody may compact its files away.
        let _unmaintained = self.table_directory(&staged.table).and_then(|path| Unmaintained::hold(&path));
        let version = before.as_ref().map_or(0, |dropped| dropped.version().version);
        let transaction = TransactionBuilder::new(version, operation).uuid(identity.to_owned()).build();
        let uri = self.table_uri(&staged.table);
        let builder = match before {
            Some(dropped) => CommitBuilder::new(dropped),
            None => CommitBuilder::new(uri.as_str())
                .enable_v2_manifest_paths(true)
                .with_store_params(self.store_params())
                .with_session(self.session().clone()),
        };
        // Without retries it fails when anybody else has made a version.
        let created = builder.with_max_retries(0).execute(transaction).await.map_err(Attempt::Overtaken)?;
        self.confirm(staged, &created).await
    }

    /// The newest version of `table` that says that it was dropped, opened for a commit on top of it;
    /// nothing if there never was such a table.
    async fn dropped_version(&self, table: &str) -> std::result::Result<Option<Arc<Dataset>>, Attempt> {
        // Only in a bucket anything is left of it.
        if !self.is_bucket() {
            return Ok(None);
        }
        let opening = DatasetBuilder::from_uri(self.table_uri(table))
            .with_store_params(self.store_params())
            .with_session(session::private_to_a_commit(self.session()))
            .load();
        match Box::pin(opening).await {
            Ok(dataset) if Generation::of(&dataset).is_dropped(&dataset) => Ok(Some(Arc::new(dataset))),
            // Somebody else was faster; creating it fails, and then it is opened.
            Ok(_) => Ok(None),
            Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(Attempt::Failed(self.failed("create", table, cause))),
        }
    }

    async fn append(
        &self,
        staged: &Staged,
        table: Table,
        identity: &str,
    ) -> std::result::Result<(), Attempt> {
        // What cannot be added is found before the table is touched.
        staged.numbers(&table, self.display())?;
        let afresh = match table.afresh().await {
            // Nothing keeps others from pruning it, in a bucket.
            Err(error) if self.is_bucket() && error.status() == Status::NotFound => {
                return Err(Attempt::Overtaken(lance::Error::not_found(error.message())));
            }
            afresh => afresh?,
        };
        let table = self.evolve(staged, table.moved_to(afresh)).await?;
        if staged.fragments.is_empty() {
            return Ok(());
        }
        let fragments = staged.renumbered(&table, self.display())?;
        let dataset = table.dataset;
        let transaction = TransactionBuilder::new(dataset.version().version, Operation::Append { fragments })
            .uuid(identity.to_owned())
            .build();
        let appended = CommitBuilder::new(dataset).execute(transaction).await.map_err(Attempt::Overtaken)?;
        self.confirm(staged, &appended).await
    }

    /// Adds the columns and struct members that only the staged rows have, and gives a type to
    /// columns that have had only nulls.
    async fn evolve(&self, staged: &Staged, table: Table) -> std::result::Result<Table, Attempt> {
        let schema = table.schema();
        let untyped = untyped_fields(staged.schema.fields(), schema.fields());
        let kept: Fields = schema
            .fields()
            .iter()
            .filter(|field| !untyped.contains(&field.name().as_str()))
            .cloned()
            .collect();
        let additions = missing_fields(staged.schema.fields(), &kept);
        if additions.is_empty() {
            return Ok(table);
        }
        let mut dataset = table.dataset.as_ref().clone();
        let evolved = async {
            if !untyped.is_empty() {
                // Lance does not cast from null; nothing is lost by a column without values.
                dataset.drop_columns(&untyped).await?;
            }
            dataset
                .add_columns(NewColumnTransform::AllNulls(Arc::new(Schema::new(additions))), None, None)
                .await
        };
        match evolved.await {
            Ok(()) => Ok(table.moved_to(Arc::new(dataset))),
            Err(cause) if is_lost_race(&cause) => Err(Attempt::Overtaken(cause)),
            // No row was sent yet.
            Err(cause) => Err(Attempt::Failed(self.failed("add columns to", &staged.table, cause))),
        }
    }

    /// Whether staged files are gone: a drop of the table takes them with it, and committing them
    /// would break the table that has its name now.
    async fn lost_files(&self, staged: &Staged) -> Result<bool> {
        let storage = self.storage().await?;
        let paths: Vec<_> =
            staged.files().map(|path| self.data_path(&storage.root, &staged.table, path)).collect();
        let store = storage.store.clone();
        let looking = futures::stream::iter(paths).map(move |path| {
            let store = store.clone();
            async move { store.exists(&path).await }
        });
        let all = looking.buffer_unordered(LOOKS).try_all(std::future::ready).await;
        Ok(!all.map_err(|cause| self.failed("check the files of", &staged.table, cause))?)
    }

    /// A drop that looked before the commit and deleted after it leaves a version without its rows,
    /// which is taken back. A look that fails says nothing against the commit.
    async fn confirm(&self, staged: &Staged, committed: &Dataset) -> std::result::Result<(), Attempt> {
        if !matches!(self.lost_files(staged).await, Ok(true)) {
            return Ok(());
        }
        // In a bucket somebody may have made the table anew, and a version of the same name, since.
        let newest = self.open_newest(&staged.table).await.ok().flatten();
        let is_ours = newest.is_some_and(|newest| {
            newest.dataset.manifest_location().e_tag == committed.manifest_location().e_tag
                && newest.version() == committed.version().version
        });
        if !self.is_bucket() || is_ours {
            if let Ok(storage) = self.storage().await {
                let _ = storage.store.delete(&committed.manifest_location().path).await;
            }
        }
        Err(Attempt::Failed(self.dropped(&staged.table)))
    }

    fn dropped(&self, table: &str) -> Error {
        let message = format!(
            "the table {table} of {} was dropped while rows were being written to it; write them again",
            self.display()
        );
        self.located(table, Error::new(Status::Conflict, message))
    }

    pub(super) fn data_path(
        &self,
        root: &object_store::path::Path,
        table: &str,
        file: &str,
    ) -> object_store::path::Path {
        root.clone().join(format!("{table}.lance")).join(DATA).join(file)
    }

    /// A write that came to nothing leaves no directory where there was no table.
    pub fn remove_empty_directories(&self, table: &str) {
        let Some(directory) = self.table_directory(table) else { return };
        let data = directory.join(DATA);
        // Whoever is writing to either has it locked.
        let free = |directory| match DirectoryLock::claim(directory, Access::Exclusive) {
            Ok(Claim::Locked(lock)) => Some(Some(lock)),
            Ok(Claim::Busy) => None,
            Err(_) => Some(None),
        };
        let (Some(_staging), Some(_table)) = (free(&data), free(&directory)) else { return };
        // Each fails, as it should, when anything is in it.
        let _ = std::fs::remove_dir(directory.join(TRANSACTIONS));
        let _ = std::fs::remove_dir(directory.join(DELETIONS));
        let _ = std::fs::remove_dir(data);
        let _ = std::fs::remove_dir(directory);
    }

    fn failed(&self, doing: &str, table: &str, cause: lance::Error) -> Error {
        let what = || format!("cannot {doing} the table {table} of {}", self.display());
        self.located(table, from_lance(cause, what))
    }

    fn located(&self, table: &str, error: Error) -> Error {
        error.with("store", self.display()).with("table", table)
    }
}

/// Keeps the empty directory that one writer has just made from being removed by another whose
/// write came to nothing, and notices when a drop takes it away all the same: what is staged is in
/// nobody's way, however long it takes. It is a lock on the directory of the table's data.
struct StagingLock {
    lock: DirectoryLock,
    data: PathBuf,
}

impl StagingLock {
    /// Makes the directory if it is missing. Nothing where that is forbidden, which writing will
    /// tell, and where there are no locks.
    async fn shared(table: &Path) -> Option<StagingLock> {
        let data = table.join(DATA);
        loop {
            make_directory(&data).ok()?;
            match DirectoryLock::claim(&data, Access::Shared) {
                Ok(Claim::Locked(lock)) => return Some(StagingLock { lock, data }),
                // Somebody is removing it.
                Ok(Claim::Busy) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether it is still where staged files go.
    fn is_of_table(&self) -> bool {
        self.lock.is_of(&self.data).unwrap_or(false)
    }
}

/// Makes a directory although a drop may be moving the one above it away.
fn make_directory(directory: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match std::fs::create_dir_all(directory) {
            Err(cause)
                if tries < ATTEMPTS
                    && matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) =>
            {
                tries += 1;
            }
            made => return made,
        }
    }
}

/// Why one try to publish did not succeed.
enum Attempt {
    /// The commit was refused, most likely because another writer was faster.
    Overtaken(lance::Error),
    Failed(Error),
    /// The commit may have been made.
    Unknown(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Attempt::Failed(error)
    }
}

impl Staged {
    fn files(&self) -> impl Iterator<Item = &str> {
        self.fragments.iter().flat_map(|fragment| &fragment.files).map(|file| file.path.as_str())
    }

    fn is_in(&self, table: &Table) -> bool {
        let Some(mine) = self.files().next() else { return false };
        table.dataset.fragments().iter().flat_map(|fragment| &fragment.files).any(|file| file.path == mine)
    }

    /// The number that each staged column has in `table`, as far as it is there; a column of another
    /// type is an error.
    fn numbers(&self, table: &Table, database: &str) -> Result<HashMap<i32, i32>> {
        let theirs: HashMap<String, &LanceField> =
            paths(&table.dataset.schema().fields).into_iter().collect();
        let mut numbers = HashMap::new();
        for (path, mine) in paths(&self.columns.fields) {
            let Some(field) = theirs.get(&path) else { continue };
            let types = (field.data_type(), mine.data_type());
            let same = types.0 == types.1
                || types.0 == DataType::Null
                || (!mine.children.is_empty() && !field.children.is_empty());
            if !same {
                return Err(Error::new(
                    Status::Conflict,
                    format!(
                        "the column {path} of the table {} of {database} was given the type {} by another writer while \
                         rows with the type {} were being written; nothing was written, write them again",
                        self.table, types.0, types.1
                    ),
                )
                .with("store", database)
                .with("table", &self.table)
                .with("column", path));
            }
            numbers.insert(mine.id, field.id);
        }
        Ok(numbers)
    }

    /// The staged files with the column numbers of `table`, which has all their columns.
    fn renumbered(&self, table: &Table, database: &str) -> Result<Vec<Fragment>> {
        let numbers = self.numbers(table, database)?;
        if let Some((path, _)) =
            paths(&self.columns.fields).into_iter().find(|(_, field)| !numbers.contains_key(&field.id))
        {
            let message =
                format!("the column {path} was not added to the table {} of {database}", self.table);
            return Err(Error::new(Status::Internal, message).with("column", path));
        }
        let renumber = |file: &DataFile| {
            let mut file = file.clone();
            file.fields = file.fields.iter().map(|id| numbers.get(id).copied().unwrap_or(*id)).collect();
            file
        };
        Ok(self
            .fragments
            .iter()
            .map(|fragment| Fragment {
                files: fragment.files.iter().map(renumber).collect(),
                ..fragment.clone()
            })
            .collect())
    }
}

/// Every field by its path, parents before children.
fn paths(fields: &[LanceField]) -> Vec<(String, &LanceField)> {
    let mut all = Vec::new();
    for field in fields {
        all.push((field.name.clone(), field));
        for (below, child) in paths(&field.children) {
            all.push((format!("{}.{below}", field.name), child));
        }
    }
    all
}
