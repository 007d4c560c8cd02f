//! Writing a feature: rows come in batches and become visible together, or not at all.
//!
//! ```text
//! push -> [checked and completed: one task] -> [staged as files: another task] -> commit -> visible
//! ```
//!
//! A commit has two halves: [`Writer::stage`] waits for the files, after which nothing can be wrong
//! with the rows, and [`Prepared::publish`] shows them.
//!
//! The channels between the steps hold a few batches, so that a writer that is faster than the
//! storage waits, and a write of any length needs the same memory.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Store;
use super::context::Call;
use super::identity::Identity;
use super::incoming::{Fresh, Incoming, Stamp, Versioned};
use super::options::{MATERIALIZATION_ID, Options, WRITE_CROSS_PROJECT, WRITE_DUPLICATES, WRITE_VERSIONS};
use super::repeats::{Occurrences, Repeat};
use super::settings;
use super::system_columns as system;
use crate::backend::{Staged, Table};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureKey, FeatureSpec, Graph, Versions};
use crate::versioning::SampleHash;

/// Rows that are worked on at a time, however large the batches are that come.
const CHUNK_ROWS: usize = 32 * 1024;

/// Batches that wait between two steps.
const WAITING: usize = 2;

/// A write in progress. Dropping it before [`Writer::commit`] gives it up.
pub struct Writer {
    store: Store,
    feature: FeatureKey,
    hash: SampleHash,
    schema: SchemaRef,
    rows: mpsc::Sender<Message>,
    staging: Option<JoinHandle<Result<Staged>>>,
    given_up: CancellationToken,
    pushed: u64,
}

/// What a sample that comes twice in one write means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnRepeat {
    Refuse,
    KeepLast,
    /// Rows of a history.
    Keep,
}

enum Message {
    Rows(RecordBatch),
    /// Without it, the end of the channel means that the write was given up.
    End,
}

impl Store {
    /// Starts a write of rows with the columns of `schema` to `feature`.
    pub async fn writer(
        &self,
        feature: &str,
        schema: SchemaRef,
        options: &Options,
        call: &Call,
    ) -> Result<Writer> {
        let key = self.writable_feature(feature)?;
        let located = |error: Error| self.located(error).with("feature", &key);
        options.check_scope("write").map_err(located)?;
        let graph = call.run(Box::pin(self.refresh_externals())).await.map_err(located)?;
        self.writer_in(&graph, &key, schema, options, call).await
    }

    /// Starts a write to a feature of `graph`, whose external features are as they were pushed.
    pub(super) async fn writer_in(
        &self,
        graph: &Graph,
        key: &FeatureKey,
        schema: SchemaRef,
        options: &Options,
        call: &Call,
    ) -> Result<Writer> {
        let started = call.run(self.start(graph, key, schema, options)).await;
        started.map_err(|error| self.located(error).with("feature", key))
    }

    /// The key of a feature that may be written in this store.
    pub(super) fn writable_feature(&self, feature: &str) -> Result<FeatureKey> {
        let key = FeatureKey::parse(feature)?;
        let located = |error: Error| self.located(error).with("feature", &key);
        self.check_writable().map_err(located)?;
        if key.is_system() {
            return Err(located(Error::new(
                Status::Unsupported,
                format!("{key} is a table of Metaxy itself; it is not written as a feature"),
            )));
        }
        Ok(key)
    }

    async fn start(
        &self,
        graph: &Graph,
        key: &FeatureKey,
        schema: SchemaRef,
        options: &Options,
    ) -> Result<Writer> {
        let repeats = match options.get(WRITE_DUPLICATES)? {
            Some("last") => OnRepeat::KeepLast,
            _ => OnRepeat::Refuse,
        };
        let (incoming, hash) = self.plan(graph, key, &schema, options).await?;
        Ok(self.begin(key, incoming, schema, hash, repeats))
    }

    /// Plans a write of now to a feature of `graph`, by the table as it is now.
    pub(super) async fn plan(
        &self,
        graph: &Graph,
        key: &FeatureKey,
        schema: &Schema,
        options: &Options,
    ) -> Result<(Incoming, SampleHash)> {
        let definition = graph.get(key)?;
        self.check_project(definition, options)?;
        let spec = &definition.spec;
        let table = self.appendable(key).await?;
        let hash = self.hash_for_write(table.as_ref()).await?;
        let versions = match options.get(WRITE_VERSIONS)? {
            Some("keep") => Versioned::Kept,
            _ => {
                let mut versions = Versions::new(graph, hash.truncation);
                Versioned::Stamped {
                    feature_version: versions.feature_version(key)?,
                    project_version: versions.project_version(graph.writing_project(self.project())?),
                }
            }
        };
        let fresh = Fresh { versions, time: now() };
        let run = options.get(MATERIALIZATION_ID)?.or(self.materialization_id());
        let stamp = Stamp { fresh: Some(fresh), materialization_id: run.map(str::to_owned) };
        let present = table.map(|table| table.schema());
        let incoming = Incoming::new(spec, schema, present.as_deref(), hash, stamp)?;
        Ok((incoming, hash))
    }

    /// Starts a write of rows that a store gave, under `spec`, hashed by `hash`: they keep their
    /// versions and times, and a sample may come more than once.
    pub(super) async fn keeping_writer(
        &self,
        spec: &FeatureSpec,
        schema: SchemaRef,
        hash: SampleHash,
        options: &Options,
    ) -> Result<Writer> {
        let table = self.appendable(&spec.key).await?;
        let stamp =
            Stamp { fresh: None, materialization_id: options.get(MATERIALIZATION_ID)?.map(str::to_owned) };
        let present = table.map(|table| table.schema());
        let incoming = Incoming::new(spec, &schema, present.as_deref(), hash, stamp)?;
        Ok(self.begin(&spec.key, incoming, schema, hash, OnRepeat::Keep))
    }

    /// Refuses a feature of another project than the store's, unless that is meant.
    pub(super) fn check_project(&self, definition: &FeatureDefinition, options: &Options) -> Result<()> {
        let (Some(ours), Some(theirs)) = (self.project(), definition.project.as_deref()) else {
            return Ok(());
        };
        if ours == theirs || options.get(WRITE_CROSS_PROJECT)? == Some("allow") {
            return Ok(());
        }
        let key = definition.key();
        Err(Error::new(
            Status::InvalidState,
            format!(
                "the feature {key} belongs to the project {theirs}, and {} was opened for the project {ours}; set \
                 {WRITE_CROSS_PROJECT}=allow on the call if that is meant, or open the store without a project",
                self.display()
            ),
        )
        .with("project", theirs)
        .with("option", WRITE_CROSS_PROJECT))
    }

    async fn appendable(&self, key: &FeatureKey) -> Result<Option<Table>> {
        let table = self.database().open(&key.table_name()).await?;
        if let Some(table) = &table {
            self.database().check_appendable(table)?;
        }
        Ok(table)
    }

    pub(super) fn begin(
        &self,
        key: &FeatureKey,
        incoming: Incoming,
        schema: SchemaRef,
        hash: SampleHash,
        repeats: OnRepeat,
    ) -> Writer {
        let (rows, received) = mpsc::channel(WAITING);
        let given_up = CancellationToken::new();
        let stage = Stage { store: self.clone(), table: key.table_name(), hash, given_up: given_up.clone() };
        let staging = Some(tokio::spawn(stage.run(incoming, repeats, received)));
        Writer { store: self.clone(), feature: key.clone(), hash, schema, rows, staging, given_up, pushed: 0 }
    }
}

impl Writer {
    /// Adds rows, which must have the schema of the write; waits while the storage is behind. When it
    /// is cancelled or too late, none of these rows is added, and the write may go on.
    pub async fn push(&mut self, batch: RecordBatch, call: &Call) -> Result<()> {
        check_same_columns(&self.feature, &self.schema, &batch).map_err(|error| self.located(error))?;
        let rows = batch.num_rows() as u64;
        let sent = call.run(async { Ok(self.rows.send(Message::Rows(batch)).await) }).await;
        match sent.map_err(|error| self.located(error))? {
            Ok(()) => {}
            Err(_) => return Err(self.reason().await),
        }
        self.pushed += rows;
        call.progress(self.pushed, None);
        Ok(())
    }

    /// Makes the rows visible, all at once. When this returns without an error they are there to
    /// stay; with an error, none of them is, unless the error (`UNAVAILABLE`) says that this is not
    /// known.
    pub async fn commit(self, call: &Call) -> Result<()> {
        self.stage(call).await?.publish(call).await
    }

    /// Ends the rows and waits until all of them are staged: nothing can be wrong with them then. On
    /// failure nothing is left of the write.
    pub async fn stage(mut self, call: &Call) -> Result<Prepared> {
        match self.staged(call).await {
            Ok(staged) => Ok(Prepared {
                store: self.store.clone(),
                feature: self.feature.clone(),
                hash: self.hash,
                staged: Some(staged),
                rows: self.pushed,
            }),
            Err(error) => {
                let error = self.located(error);
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn staged(&mut self, call: &Call) -> Result<Staged> {
        let ended = async { Ok(self.rows.send(Message::End).await) };
        if call.run(ended).await?.is_err() {
            return Err(self.reason().await);
        }
        let Some(staging) = self.staging.as_mut() else { return Err(self.already_failed()) };
        let staged = call.run(async { Ok(staging.await) }).await?;
        self.staging = None;
        staged.map_err(broken)?
    }

    /// Gives the write up and waits until what it had staged is gone.
    pub async fn abort(mut self) {
        self.given_up.cancel();
        // Closes the channel that the staging reads from.
        self.rows = mpsc::channel(1).0;
        if let Some(staging) = self.staging.take() {
            discard(&self.store, staging).await;
        }
    }

    /// Why the staging ended before its time.
    async fn reason(&mut self) -> Error {
        let error = match self.staging.take() {
            None => self.already_failed(),
            Some(staging) => match staging.await.map_err(broken).and_then(|staged| staged.map(drop)) {
                Err(error) => error,
                Ok(()) => self.already_failed(),
            },
        };
        self.located(error)
    }

    fn already_failed(&self) -> Error {
        Error::new(
            Status::InvalidState,
            format!("the write to {} has failed already; start a new one", self.feature),
        )
    }

    fn located(&self, error: Error) -> Error {
        self.store.located(error).with("feature", &self.feature)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.given_up.cancel();
        if let (Some(staging), Ok(threads)) = (self.staging.take(), self.store.runtime().handle()) {
            let store = self.store.clone();
            threads.spawn(async move { discard(&store, staging).await });
        }
    }
}

/// A write whose rows are all staged and wait to be shown. Dropping it gives it up.
pub struct Prepared {
    store: Store,
    feature: FeatureKey,
    hash: SampleHash,
    /// Until it is published or discarded.
    staged: Option<Staged>,
    rows: u64,
}

/// What is due for a table when its rows are there to stay.
#[must_use]
pub struct Aftercare {
    store: Store,
    table: String,
}

impl Aftercare {
    pub async fn run(self, call: &Call) {
        self.store.keep_compact(&self.table, call).await;
    }
}

impl Prepared {
    /// Makes the rows visible, as [`Writer::commit`] does. From here on a try is made to its end; only
    /// between two of them the call may be given up.
    pub async fn publish(self, call: &Call) -> Result<()> {
        self.publish_only(call).await?.run(call).await;
        Ok(())
    }

    /// As [`Prepared::publish`], and leaves to the caller what there is to do for the table then.
    pub async fn publish_only(mut self, call: &Call) -> Result<Aftercare> {
        let published = self.try_publish(call).await;
        published.map_err(|error| self.store.located(error).with("feature", &self.feature))?;
        Ok(Aftercare { store: self.store.clone(), table: self.feature.table_name() })
    }

    async fn try_publish(&mut self, call: &Call) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        let (database, settings) = (self.store.database(), self.store.settings());
        // Another process may have begun the store meanwhile, by other settings.
        let agreed = match settings.allow(database, self.hash).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(
                Status::Conflict,
                format!(
                    "another writer began the store {} with other hash settings; write again",
                    self.store.display()
                ),
            )),
            Err(error) => Err(error),
        };
        if let Err(error) = agreed {
            database.discard(&staged).await;
            return Err(error);
        }
        let table = self.feature.table_name();
        let accept = |schema: &Schema| settings.check_record(database, &table, schema, self.hash);
        // Boxed, as is staging: the compiler gives up on futures as deep as Lance's.
        Box::pin(database.publish(staged, || call.check(), accept)).await?;
        settings.wrote(self.hash);
        call.progress(self.rows, Some(self.rows));
        Ok(())
    }

    /// Gives the write up and waits until what was staged is gone.
    pub async fn discard(mut self) {
        if let Some(staged) = self.staged.take() {
            self.store.database().discard(&staged).await;
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let (Some(staged), Ok(threads)) = (self.staged.take(), self.store.runtime().handle()) {
            let store = self.store.clone();
            threads.spawn(async move { store.database().discard(&staged).await });
        }
    }
}

async fn discard(store: &Store, staging: JoinHandle<Result<Staged>>) {
    if let Ok(Ok(staged)) = staging.await {
        store.database().discard(&staged).await;
    }
}

/// Turns the rows of a write into staged files.
struct Stage {
    store: Store,
    table: String,
    hash: SampleHash,
    /// A write that is given up after its last row ends by this.
    given_up: CancellationToken,
}

impl Stage {
    async fn run(
        self,
        incoming: Incoming,
        repeats: OnRepeat,
        received: mpsc::Receiver<Message>,
    ) -> Result<Staged> {
        let schema = Arc::new(incoming.stored().as_ref().clone().with_metadata(settings::record(self.hash)));
        let identifying = system::identifying(incoming.id_columns());
        let samples = match repeats {
            OnRepeat::Keep => None,
            OnRepeat::Refuse | OnRepeat::KeepLast => Some(Samples::new(&incoming)?),
        };
        let keep_last = repeats == OnRepeat::KeepLast;
        let (completed, rows) = mpsc::channel(WAITING);
        let completing = tokio::spawn(complete(incoming, samples, received, completed));
        let rows = futures::stream::unfold(rows, |mut rows| async { Some((rows.recv().await?, rows)) });
        let staged = self.write_files(&schema, rows, &identifying).await?;
        let distinct = match completing.await {
            Ok((incoming, repeats)) => {
                Box::pin(self.distinct(&staged, &schema, &incoming, repeats, keep_last)).await
            }
            Err(cause) => Err(broken(cause)),
        };
        match distinct {
            Ok(None) => Ok(staged),
            Ok(Some(restaged)) => {
                self.store.database().discard(&staged).await;
                Ok(restaged)
            }
            Err(error) => {
                self.store.database().discard(&staged).await;
                Err(error)
            }
        }
    }

    /// What to do about samples that occur more than once: nothing if there are none, an error, or
    /// to stage the rows again without those that later ones replace.
    async fn distinct(
        &self,
        staged: &Staged,
        schema: &SchemaRef,
        incoming: &Incoming,
        repeats: Vec<Repeat>,
        keep_last: bool,
    ) -> Result<Option<Staged>> {
        let Some(first) = repeats.first().copied() else { return Ok(None) };
        let database = self.store.database();
        if !keep_last {
            let mut row = database.staged_rows(staged, first.later..first.later + 1).await?;
            let row = row.try_next().await?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
            return Err(incoming.duplicate(&row, first));
        }
        let mut replaced = repeats.into_iter().map(|repeat| repeat.earlier).peekable();
        let mut row = 0;
        let rows = database.staged_rows(staged, 0..u64::MAX).await?.map(move |batch| {
            let batch = batch?;
            let keep: BooleanArray = (0..batch.num_rows())
                .map(|_| {
                    let replaced = replaced.next_if_eq(&row).is_some();
                    row += 1;
                    Some(!replaced)
                })
                .collect();
            filter_record_batch(&batch, &keep).map_err(|cause| {
                Error::new(Status::Internal, format!("the last rows cannot be told from the others: {cause}"))
            })
        });
        self.write_files(schema, rows, &system::identifying(incoming.id_columns())).await.map(Some)
    }

    async fn write_files(
        &self,
        schema: &SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
        identifying: &[String],
    ) -> Result<Staged> {
        // Lance wraps an error of its input beyond recognition; ours is kept aside.
        let reason = Arc::new(Mutex::new(None));
        let (kept, given_up) = (reason.clone(), self.given_up.clone());
        let rows = rows.map(move |batch| {
            let batch = if given_up.is_cancelled() { Err(self::given_up()) } else { batch };
            batch.map_err(|error| {
                *kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error.clone());
                DataFusionError::External(Box::new(error))
            })
        });
        let rows: SendableRecordBatchStream =
            Box::pin(RecordBatchStreamAdapter::new(schema.clone(), Box::pin(rows)));
        let staged = Box::pin(self.store.database().stage(&self.table, schema, rows, identifying)).await;
        let reason = reason.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match reason {
            Some(error) => Err(error),
            None => staged,
        }
    }
}

/// Rows keep the columns that a write to `feature` began with.
pub(super) fn check_same_columns(feature: &FeatureKey, began: &Schema, batch: &RecordBatch) -> Result<()> {
    let given = batch.columns().iter().map(|column| column.data_type());
    if given.eq(began.fields().iter().map(|field| field.data_type())) {
        return Ok(());
    }
    Err(Error::new(
        Status::SchemaMismatch,
        format!(
            "the columns of the rows changed within one write to {feature}: it began with {}, and these have {}; they \
             were not added",
            names(began),
            names(&batch.schema())
        ),
    ))
}

fn chunks(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let rows = batch.num_rows();
    (0..rows).step_by(CHUNK_ROWS).map(move |start| batch.slice(start, CHUNK_ROWS.min(rows - start)))
}

/// Checks and completes rows until they end; what is wrong with them is the last that it sends.
async fn complete(
    mut incoming: Incoming,
    mut samples: Option<Samples>,
    mut received: mpsc::Receiver<Message>,
    completed: mpsc::Sender<Result<RecordBatch>>,
) -> (Incoming, Vec<Repeat>) {
    let mut occurrences = Occurrences::new();
    loop {
        let batch = match received.recv().await {
            Some(Message::Rows(batch)) => batch,
            Some(Message::End) => break,
            None => {
                // Nobody is left to read it if the files could not be written.
                let _ = completed.send(Err(given_up())).await;
                return (incoming, Vec::new());
            }
        };
        for chunk in chunks(&batch) {
            let next = incoming.complete(&chunk).and_then(|batch| {
                if let Some(samples) = &mut samples {
                    occurrences.push(samples.of(&batch)?);
                }
                Ok(batch)
            });
            let failed = next.is_err();
            if completed.send(next).await.is_err() || failed {
                return (incoming, Vec::new());
            }
        }
    }
    // Lets the files be completed meanwhile.
    drop(completed);
    (incoming, occurrences.repeats())
}

/// The samples of completed rows.
pub(super) struct Samples {
    identity: Identity,
    columns: Vec<usize>,
    numbers: Vec<u128>,
}

impl Samples {
    pub(super) fn new(incoming: &Incoming) -> Result<Samples> {
        let schema = incoming.stored();
        let columns: Vec<usize> =
            incoming.id_columns().iter().filter_map(|name| schema.index_of(name).ok()).collect();
        let types: Vec<_> = columns.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let identity = Identity::new(&types).map_err(|cause| {
            Error::new(Status::SchemaMismatch, format!("the id columns cannot be compared: {cause}"))
                .with("column", incoming.id_columns().join(", "))
        })?;
        Ok(Samples { identity, columns, numbers: Vec::new() })
    }

    pub(super) fn of(&mut self, batch: &RecordBatch) -> Result<&[u128]> {
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|column| batch.column(*column).clone()).collect();
        self.numbers.clear();
        self.identity.append(&columns, &mut self.numbers).map_err(|cause| {
            Error::new(Status::SchemaMismatch, format!("the id columns cannot be compared: {cause}"))
                .caused_by(&cause)
        })?;
        Ok(&self.numbers)
    }
}

fn given_up() -> Error {
    Error::new(Status::Cancelled, "the write was given up; nothing was written")
}

fn broken(cause: tokio::task::JoinError) -> Error {
    Error::new(Status::Internal, format!("a task of the write ended badly: {cause}")).caused_by(&cause)
}

fn names(schema: &Schema) -> String {
    schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The time of a write. Two writes of one process never have the same, and the later has the later,
/// whatever the clock does: the latest row of a sample is found by it.
pub(super) fn now() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| i64::try_from(passed.as_micros()).unwrap_or(i64::MAX));
    let next = |last: i64| clock.max(last.saturating_add(1));
    LAST.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last))).map_or(clock, next)
}
