//! Rows on their way to a server: kept in a file of this machine until all of them are known to be good,
//! since what a server is given shows at once.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Result as IoResult, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lance::arrow::json::ArrowJsonExt;

use super::database::Database;
use super::mark::{Mark, Marking};
use crate::backend::failure::from_io;
use crate::error::{Error, Result, Status};

/// What is read of the file at a time.
const BUFFER: usize = 1 << 20;

/// Rows that the server has not been given yet. Their file has no name, and goes with this.
pub struct Staged {
    pub(super) table: String,
    pub(super) schema: SchemaRef,
    file: Arc<File>,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) mark: Mark,
}

impl Database {
    /// Keeps the rows of `stream` for `table`, which need not exist. Should it be unclear whether they have
    /// come there, they are recognised by the columns `identifying`.
    pub async fn stage(
        &self,
        table: &str,
        schema: &Schema,
        mut stream: SendableRecordBatchStream,
        identifying: &[String],
    ) -> Result<Staged> {
        self.check_types(table, schema)?;
        let failed = |cause: ArrowError| self.not_kept(table, &cause);
        let schema = Arc::new(schema.clone());
        let columns = schema.clone();
        let opened = blocking(move || {
            let file = tempfile::tempfile()?;
            let writer = StreamWriter::try_new(BufWriter::new(file.try_clone()?), &columns)?;
            Ok((file, writer))
        });
        let (file, mut writer) = opened.await.map_err(failed)?;
        let (mut rows, mut marking) = (0, Marking::new(&schema, identifying));
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|cause| {
                let message =
                    format!("cannot write the rows of the table {table} of {}: {cause}", self.display());
                self.located(table, Error::new(Status::Internal, message).caused_by(&cause))
            })?;
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = batch.with_schema(schema.clone()).map_err(failed)?;
            rows += batch.num_rows() as u64;
            marking.see(&batch);
            let written = blocking(move || {
                writer.write(&batch)?;
                Ok(writer)
            });
            writer = written.await.map_err(failed)?;
        }
        let ended = blocking(move || {
            let mut buffer = writer.into_inner()?;
            buffer.flush()?;
            Ok(buffer.get_mut().stream_position()?)
        });
        let bytes = ended.await.map_err(failed)?;
        let mark = marking.finish();
        Ok(Staged { table: table.to_owned(), schema, file: Arc::new(file), bytes, rows, mark })
    }

    /// Reads staged rows back, in their order; the first has the number 0.
    pub async fn staged_rows(
        &self,
        staged: &Staged,
        rows: Range<u64>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (table, display) = (staged.table.clone(), self.display().to_owned());
        let failed = move |cause: ArrowError| {
            let message = format!("cannot read back rows of the table {table} of {display}: {cause}");
            Error::new(Status::Io, message).caused_by(&cause)
        };
        let mut start = 0;
        let batches = staged.reader().map_err(&failed)?.map(move |batch| {
            let batch = batch?;
            let (from, to) = (start, start + batch.num_rows() as u64);
            start = to;
            let kept = rows.start.clamp(from, to)..rows.end.clamp(from, to);
            let length = kept.end.saturating_sub(kept.start);
            Ok::<_, ArrowError>(batch.slice((kept.start - from) as usize, length as usize))
        });
        let batches = futures::stream::try_unfold(batches, |mut batches| {
            blocking(move || Ok(batches.next().transpose()?.map(|batch| (batch, batches))))
        });
        let kept = batches.map_err(failed);
        Ok(kept.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).boxed())
    }

    /// Refuses columns for whose types the protocol has no name: the table could not be opened again.
    fn check_types(&self, table: &str, schema: &Schema) -> Result<()> {
        let unnamed =
            schema.fields().iter().find(|field| Schema::new(vec![field.as_ref().clone()]).to_json().is_err());
        let Some(field) = unnamed else { return Ok(()) };
        let message = format!(
            "the column {} of type {} cannot be written to the table {table} of {}: the server's protocol has no name for that \
             type; write it as another one, such as a list of structs for a map",
            field.name(),
            field.data_type(),
            self.display()
        );
        let error = Error::new(Status::Unsupported, message).with("column", field.name());
        Err(self.located(table, error))
    }

    pub(super) fn located(&self, table: &str, error: Error) -> Error {
        error.with("store", self.display()).with("table", table)
    }

    fn not_kept(&self, table: &str, cause: &ArrowError) -> Error {
        let what = || {
            format!(
                "cannot keep rows for the table {table} of {} in {}, where they wait until all are known to be good",
                self.display(),
                std::env::temp_dir().display()
            )
        };
        let error = match cause {
            ArrowError::IoError(_, cause) => from_io(cause, what).reworded(|message| {
                format!("{message}; make room there, or name another directory as TMPDIR in the environment")
            }),
            cause => Error::new(Status::Internal, format!("{}: {cause}", what())).caused_by(cause),
        };
        self.located(table, error)
    }
}

impl Staged {
    /// The rows from the first on; any number of readers may be at work.
    pub(super) fn reader(
        &self,
    ) -> std::result::Result<
        impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send + use<>,
        ArrowError,
    > {
        let place = Place { file: self.file.clone(), at: 0 };
        StreamReader::try_new(BufReader::with_capacity(BUFFER, place), None)
    }
}

/// A reader's own place in a file that several read.
struct Place {
    file: Arc<File>,
    at: u64,
}

impl Read for Place {
    fn read(&mut self, into: &mut [u8]) -> IoResult<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Lets another thread work on a file, which this one must not wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, ArrowError> + Send + 'static,
) -> std::result::Result<T, ArrowError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|cause| Err(ArrowError::ExternalError(Box::new(cause))))
}
