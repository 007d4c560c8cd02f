//! Writing a feature: rows come in batches and become visible together, or not at all.
//!
//! ```text
//! push -> [checked and completed: one task] -> [staged as files: another task] -> commit -> visible
//! ```
//!
//! The channels between the steps hold a few batches, so that a writer that is faster than the
//! storage waits, and a write of any length needs the same memory.

use std::io::{Seek, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Store;
use super::context::Call;
use super::duplicates::{LastRows, Seen};
use super::identity::Identity;
use super::incoming::{Incoming, Stamp};
use super::options::{MATERIALIZATION_ID, Options, WRITE_DUPLICATES};
use super::settings;
use crate::backend::Staged;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Versions};
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
    pushed: u64,
}

enum Message {
    Rows(RecordBatch),
    /// Without it, the end of the channel means that the write was given up.
    End,
}

impl Store {
    /// Starts a write of rows with the columns of `schema` to `feature`.
    pub async fn writer(&self, feature: &str, schema: SchemaRef, options: &Options, call: &Call) -> Result<Writer> {
        let key = FeatureKey::parse(feature)?;
        let located = |error: Error| self.located(error).with("feature", &key);
        self.check_writable().map_err(located)?;
        options.check_scope("write").map_err(located)?;
        if key.is_system() {
            return Err(located(Error::new(
                Status::Unsupported,
                format!("{key} is a table of Metaxy itself; it is not written as a feature"),
            )));
        }
        call.run(self.start(&key, schema, options)).await.map_err(located)
    }

    async fn start(&self, key: &FeatureKey, schema: SchemaRef, options: &Options) -> Result<Writer> {
        let graph = self.graph();
        let spec = &graph.get(key)?.spec;
        let table = self.database().open(&key.table_name()).await?;
        let hash = self.settings().resolve(self.database(), table.as_ref()).await?;
        let mut versions = Versions::new(&graph, hash.truncation);
        let stamp = Stamp {
            feature_version: versions.feature_version(key)?,
            project_version: versions.project_version(graph.writing_project(self.project())?),
            materialization_id: options.get(MATERIALIZATION_ID)?.or(self.materialization_id()).map(str::to_owned),
            time: now(),
        };
        let present = table.map(|table| table.schema());
        let incoming = Incoming::new(spec, &schema, present.as_deref(), hash, stamp)?;
        let keep_last = options.get(WRITE_DUPLICATES)? == Some("last");
        let (rows, received) = mpsc::channel(WAITING);
        let staging = tokio::spawn(stage(self.clone(), key.table_name(), incoming, hash, keep_last, received));
        Ok(Writer { store: self.clone(), feature: key.clone(), hash, schema, rows, staging: Some(staging), pushed: 0 })
    }
}

impl Writer {
    /// Adds rows, which must have the schema of the write; waits while the storage is behind.
    pub async fn push(&mut self, batch: RecordBatch, call: &Call) -> Result<()> {
        if batch.schema().fields().len() != self.schema.fields().len()
            || batch.columns().iter().zip(self.schema.fields()).any(|(column, field)| column.data_type() != field.data_type())
        {
            return Err(self.located(Error::new(
                Status::SchemaMismatch,
                format!(
                    "the columns of the rows changed within one write to {}: it began with {}; nothing was written",
                    self.feature,
                    names(&self.schema)
                ),
            )));
        }
        let rows = batch.num_rows();
        for start in (0..rows).step_by(CHUNK_ROWS) {
            let chunk = batch.slice(start, CHUNK_ROWS.min(rows - start));
            let sent = call.run(async { Ok(self.rows.send(Message::Rows(chunk)).await) }).await;
            match sent.map_err(|error| self.located(error))? {
                Ok(()) => {}
                Err(_) => return Err(self.reason().await),
            }
        }
        self.pushed += rows as u64;
        call.progress(self.pushed, None);
        Ok(())
    }

    /// Makes the rows visible, all at once. When this returns without an error they are there to
    /// stay; with an error, none of them is.
    pub async fn commit(mut self, call: &Call) -> Result<()> {
        let ended = async { Ok(self.rows.send(Message::End).await) };
        if call.run(ended).await.map_err(|error| self.located(error))?.is_err() {
            return Err(self.reason().await);
        }
        let Some(staging) = self.staging.as_mut() else { return Err(self.already_failed()) };
        let staged = match call.run(async { staging.await.map_err(broken)? }).await {
            Ok(staged) => staged,
            Err(error) => return Err(self.located(error)),
        };
        self.staging = None;
        let database = self.store.database();
        if let Err(error) = call.check() {
            database.discard(&staged).await;
            return Err(self.located(error));
        }
        // From here on there is no giving up: a commit is made, or it is not.
        let accept = |schema: &Schema| {
            self.store.settings().check_record(database, &self.feature.table_name(), schema, self.hash)
        };
        match database.publish(&staged, accept).await {
            Ok(_) => {
                call.progress(self.pushed, Some(self.pushed));
                Ok(())
            }
            Err(error) => {
                database.discard(&staged).await;
                Err(self.located(error))
            }
        }
    }

    /// Gives the write up and waits until what it had staged is gone.
    pub async fn abort(mut self) {
        let Some(staging) = self.staging.take() else { return };
        let store = self.store.clone();
        drop(self);
        if let Ok(Ok(staged)) = staging.await {
            store.database().discard(&staged).await;
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

/// Turns the rows of a write into staged files.
async fn stage(
    store: Store,
    table: String,
    mut incoming: Incoming,
    hash: SampleHash,
    keep_last: bool,
    received: mpsc::Receiver<Message>,
) -> Result<Staged> {
    let schema = Arc::new(incoming.stored().as_ref().clone().with_metadata(settings::record(hash)));
    let samples = Samples::new(&incoming)?;
    if keep_last {
        let mut spool = Spool::new(&schema, samples)?;
        let mut received = received;
        loop {
            match received.recv().await {
                Some(Message::Rows(batch)) => spool.add(&incoming.complete(&batch)?)?,
                Some(Message::End) => break,
                None => return Err(given_up()),
            }
        }
        return write_files(&store, &table, &schema, futures::stream::iter(spool.last_rows()?)).await;
    }
    let (completed, rows) = mpsc::channel(WAITING);
    let completing = tokio::spawn(complete(incoming, samples, received, completed));
    let rows = futures::stream::unfold(rows, |mut rows| async { Some((rows.recv().await?, rows)) });
    let staged = write_files(&store, &table, &schema, rows).await;
    completing.await.map_err(broken)?;
    staged
}

/// Checks and completes rows until they end; what is wrong with them is the last that it sends.
async fn complete(
    mut incoming: Incoming,
    mut samples: Samples,
    mut received: mpsc::Receiver<Message>,
    completed: mpsc::Sender<Result<RecordBatch>>,
) {
    let mut seen = Seen::new();
    loop {
        let next = match received.recv().await {
            Some(Message::Rows(batch)) => incoming.complete(&batch).and_then(|batch| {
                match samples.of(&batch)?.iter().position(|sample| !seen.insert(*sample)) {
                    Some(row) => Err(incoming.duplicate(&batch, row)),
                    None => Ok(batch),
                }
            }),
            Some(Message::End) => return,
            None => Err(given_up()),
        };
        let failed = next.is_err();
        if completed.send(next).await.is_err() || failed {
            return;
        }
    }
}

async fn write_files(
    store: &Store,
    table: &str,
    schema: &SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> Result<Staged> {
    // Lance wraps an error of its input beyond recognition; ours is kept aside.
    let reason = Arc::new(Mutex::new(None));
    let kept = reason.clone();
    let rows = rows.map(move |batch| {
        batch.map_err(|error| {
            *kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error.clone());
            DataFusionError::External(Box::new(error))
        })
    });
    let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema.clone(), Box::pin(rows)));
    let staged = store.database().stage(table, schema, rows).await;
    let reason = reason.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    match reason {
        Some(error) => Err(error),
        None => staged,
    }
}

/// The samples of completed rows.
struct Samples {
    identity: Identity,
    columns: Vec<usize>,
    numbers: Vec<u128>,
}

impl Samples {
    fn new(incoming: &Incoming) -> Result<Samples> {
        let schema = incoming.stored();
        let columns: Vec<usize> = incoming.id_columns().iter().filter_map(|name| schema.index_of(name).ok()).collect();
        let types: Vec<_> = columns.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let identity = Identity::new(&types).map_err(|cause| {
            Error::new(Status::SchemaMismatch, format!("the id columns cannot be compared: {cause}"))
                .with("column", incoming.id_columns().join(", "))
        })?;
        Ok(Samples { identity, columns, numbers: Vec::new() })
    }

    fn of(&mut self, batch: &RecordBatch) -> Result<&[u128]> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| batch.column(*column).clone()).collect();
        self.numbers.clear();
        self.identity.append(&columns, &mut self.numbers).map_err(|cause| {
            Error::new(Status::SchemaMismatch, format!("the id columns cannot be compared: {cause}")).caused_by(&cause)
        })?;
        Ok(&self.numbers)
    }
}

/// Rows kept in a temporary file until it is known which of them are the last of their sample.
struct Spool {
    samples: Samples,
    last: LastRows,
    rows: u64,
    writer: StreamWriter<std::io::BufWriter<std::fs::File>>,
}

impl Spool {
    fn new(schema: &Schema, samples: Samples) -> Result<Spool> {
        let file = tempfile::tempfile().map_err(|cause| spool_failed(&cause))?;
        let writer = StreamWriter::try_new_buffered(file, schema).map_err(|cause| spool_failed(&cause))?;
        Ok(Spool { samples, last: LastRows::new(), rows: 0, writer })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for sample in self.samples.of(batch)? {
            self.last.push(*sample, self.rows);
            self.rows += 1;
        }
        self.writer.write(batch).map_err(|cause| spool_failed(&cause))
    }

    /// The rows that no later row replaces.
    fn last_rows(self) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let mut file = self
            .writer
            .into_inner()
            .and_then(|mut buffered| {
                buffered.flush()?;
                buffered.into_inner().map_err(|cause| ArrowError::from(cause.into_error()))
            })
            .map_err(|cause| spool_failed(&cause))?;
        file.rewind().map_err(|cause| spool_failed(&cause))?;
        let reader = StreamReader::try_new_buffered(file, None).map_err(|cause| spool_failed(&cause))?;
        let mut replaced = self.last.replaced().into_iter().peekable();
        let mut row = 0;
        Ok(reader.map(move |batch| {
            let batch = batch.map_err(|cause| spool_failed(&cause))?;
            let keep: BooleanArray = (0..batch.num_rows())
                .map(|_| {
                    let replaced = replaced.next_if_eq(&row).is_some();
                    row += 1;
                    Some(!replaced)
                })
                .collect();
            filter_record_batch(&batch, &keep).map_err(|cause| spool_failed(&cause))
        }))
    }
}

fn spool_failed(cause: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(
        Status::Io,
        format!(
            "the temporary file that write.duplicates=last needs in {} failed: {cause}; nothing was written",
            std::env::temp_dir().display()
        ),
    )
    .caused_by(cause)
}

fn given_up() -> Error {
    Error::new(Status::Cancelled, "the write was given up; nothing was written")
}

fn broken(cause: tokio::task::JoinError) -> Error {
    Error::new(Status::Internal, format!("a task of the write ended badly: {cause}")).caused_by(&cause)
}

fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
}

/// The time of a write. Two writes of one process never have the same, and the later has the later,
/// whatever the clock does: the latest row of a sample is found by it.
fn now() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| {
        i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
    });
    let next = |last: i64| clock.max(last.saturating_add(1));
    LAST.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last))).map_or(clock, next)
}
