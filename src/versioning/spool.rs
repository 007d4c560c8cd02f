//! Rows put aside, to be read again as often as they are needed.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Result as IoResult, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::compact::compact;
use super::memory::Memory;
use crate::error::{Error, Result, Status};

/// What is written to the file, or read of it, at a time.
const BUFFER: usize = 256 << 10;

/// Takes batches, into memory as long as there is some, then into a file.
pub struct Spool {
    memory: Memory,
    reservation: MemoryReservation,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    file: Option<StreamWriter<BufWriter<File>>>,
    rows: u64,
}

impl Spool {
    pub fn new(memory: &Memory, name: &str, schema: SchemaRef) -> Spool {
        Spool {
            memory: memory.clone(),
            reservation: memory.reserve(name),
            schema,
            held: Vec::new(),
            file: None,
            rows: 0,
        }
    }

    /// Puts a batch of the schema aside. What it does not show of larger buffers is not kept.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = batch
            .with_schema(self.schema.clone())
            .and_then(compact)
            .map_err(|cause| self.memory.unkept(&cause))?;
        self.rows += batch.num_rows() as u64;
        if self.file.is_none() {
            if self.reservation.try_grow(batch.get_array_memory_size()).is_ok() {
                self.held.push(batch);
                return Ok(());
            }
            let file = BufWriter::with_capacity(BUFFER, self.memory.file()?);
            let writer = StreamWriter::try_new(file, &self.schema);
            self.file = Some(writer.map_err(|cause| self.memory.unkept(&cause))?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write(&batch).map_err(|cause| self.memory.unkept(&cause))
    }

    pub fn finish(self) -> Result<Spooled> {
        let memory = self.memory;
        let written = |writer: StreamWriter<BufWriter<File>>| -> std::result::Result<File, ArrowError> {
            let mut buffer = writer.into_inner()?;
            buffer.flush()?;
            Ok(buffer.into_inner().map_err(|cause| cause.into_error())?)
        };
        let file = self.file.map(written).transpose().map_err(|cause| memory.unkept(&cause))?;
        Ok(Spooled(Arc::new(Rows {
            memory,
            _reservation: self.reservation,
            schema: self.schema,
            held: self.held,
            file: file.map(Arc::new),
            rows: self.rows,
        })))
    }
}

/// Batches that were put aside. Clones share them; they go with the last one.
#[derive(Clone)]
pub struct Spooled(Arc<Rows>);

struct Rows {
    memory: Memory,
    _reservation: MemoryReservation,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    file: Option<Arc<File>>,
    rows: u64,
}

impl Spooled {
    pub fn rows(&self) -> u64 {
        self.0.rows
    }

    pub fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    /// The batches in their order. Any number of streams may be read at a time; each has one batch of the
    /// file in memory.
    pub fn stream(&self) -> BoxStream<'static, Result<RecordBatch>> {
        let rows = self.0.clone();
        let held = futures::stream::iter(0..rows.held.len())
            .filter_map(move |place| std::future::ready(rows.held.get(place).cloned().map(Ok)));
        let Some(file) = &self.0.file else { return held.boxed() };
        let place = Place { file: file.clone(), at: 0 };
        let batches = futures::stream::try_unfold(Reading::Not(place), |reading| {
            blocking(move || {
                let mut batches = reading.begun()?;
                Ok(batches.next().transpose()?.map(|batch| (batch, Reading::Begun(batches))))
            })
        });
        let rows = self.0.clone();
        held.chain(batches.map_err(move |cause| rows.memory.unkept(&cause))).boxed()
    }
}

impl Memory {
    /// The error of batches that cannot be put aside or read again.
    fn unkept(&self, cause: &ArrowError) -> Error {
        match cause {
            ArrowError::IoError(_, cause) => self.broken(cause),
            cause => {
                Error::new(Status::Internal, format!("rows cannot be put aside: {cause}")).caused_by(cause)
            }
        }
    }
}

type Batches = StreamReader<BufReader<Place>>;

/// Reading a file: its first bytes are read by the same thread as all others.
enum Reading {
    Not(Place),
    Begun(Box<Batches>),
}

impl Reading {
    fn begun(self) -> std::result::Result<Box<Batches>, ArrowError> {
        match self {
            Reading::Not(place) => {
                Ok(Box::new(StreamReader::try_new(BufReader::with_capacity(BUFFER, place), None)?))
            }
            Reading::Begun(batches) => Ok(batches),
        }
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

/// Lets another thread wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, ArrowError> + Send + 'static,
) -> std::result::Result<T, ArrowError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|cause| Err(ArrowError::ExternalError(Box::new(cause))))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Int64Array, LargeListArray, MapBuilder, StringArray, StringBuilder, StringViewArray,
        StructArray,
    };
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;

    fn columns(rows: std::ops::Range<i64>) -> RecordBatch {
        let text = |n: i64| (n % 7 != 0).then(|| format!("text number {n}, longer than a view"));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone()));
        let texts: ArrayRef = Arc::new(rows.clone().map(text).collect::<StringArray>());
        let views: ArrayRef = Arc::new(rows.clone().map(text).collect::<StringViewArray>());
        let lists: ArrayRef = Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(
            rows.clone().map(|n| (n % 5 != 0).then(|| vec![Some(n), None])),
        ));
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for n in rows.clone() {
            map.keys().append_value("key");
            map.values().append_value(n.to_string());
            map.append(true).unwrap();
        }
        let map: ArrayRef = Arc::new(map.finish());
        let structs: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("inner", DataType::Utf8, true)),
            texts.clone(),
        )]));
        RecordBatch::try_from_iter_with_nullable([
            ("numbers", numbers, true),
            ("texts", texts, true),
            ("views", views, true),
            ("lists", lists, true),
            ("map", map, true),
            ("structs", structs, true),
        ])
        .unwrap()
    }

    async fn read(spooled: &Spooled) -> RecordBatch {
        let batches: Vec<RecordBatch> = spooled.stream().try_collect().await.unwrap();
        arrow::compute::concat_batches(&spooled.schema(), &batches).unwrap()
    }

    fn spool(bytes: usize, schema: SchemaRef) -> Spool {
        Spool::new(&Memory::limited(bytes, None).unwrap(), "test", schema)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn rows_come_back_in_their_order_as_often_as_they_are_read(
            lengths in proptest::collection::vec(0_usize..60, 0..12),
            bytes in prop_oneof![Just(0_usize), Just(20_000), Just(1 << 24)],
        ) {
            let all = columns(0..1000);
            let mut spool = spool(bytes, all.schema());
            let mut start = 0;
            for length in lengths {
                spool.push(all.slice(start, length)).unwrap();
                start += length;
            }
            let spooled = spool.finish().unwrap();
            prop_assert_eq!(spooled.rows(), start as u64);
            prop_assert!(bytes > 0 || start == 0 || spooled.0.file.is_some());
            prop_assert!(bytes < 1 << 24 || spooled.0.file.is_none());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (one, other) = runtime.block_on(async { (read(&spooled).await, read(&spooled.clone()).await) });
            prop_assert_eq!(&one, &all.slice(0, start));
            prop_assert_eq!(&other, &one);
        }
    }

    #[test]
    fn a_small_part_of_large_buffers_takes_little() {
        let all = columns(0..20_000);
        let mut spool = spool(1 << 30, all.schema());
        spool.push(all.slice(7000, 10)).unwrap();
        assert!(spool.reservation.size() < 20_000, "{}", spool.reservation.size());
        spool.push(all.slice(0, 20_000)).unwrap();
        let spooled = spool.finish().unwrap();
        assert!(spooled.0.file.is_none());
        let read = block_on(read(&spooled));
        assert_eq!(read.slice(0, 10), all.slice(7000, 10));
        assert_eq!(read.slice(10, 20_000), all);
    }

    #[tokio::test]
    async fn slices_are_written_without_what_they_do_not_show() {
        let all = columns(0..20_000);
        let mut spool = spool(0, all.schema());
        for _ in 0..100 {
            spool.push(all.slice(7000, 10)).unwrap();
        }
        let spooled = spool.finish().unwrap();
        assert!(spooled.0.file.as_ref().unwrap().metadata().unwrap().len() < 1_000_000);
        assert_eq!(read(&spooled).await.num_rows(), 1000);
    }

    #[test]
    fn memory_is_given_back_with_the_last_reader() {
        let memory = Memory::limited(1 << 20, None).unwrap();
        let batch = columns(0..10);
        let mut spool = Spool::new(&memory, "test", batch.schema());
        spool.push(batch).unwrap();
        let spooled = spool.finish().unwrap();
        let stream = spooled.stream();
        drop(spooled);
        assert!(memory.reserve("other").try_grow(1 << 19).is_err());
        drop(stream);
        assert!(memory.reserve("other").try_grow(1 << 19).is_ok());
    }

    #[tokio::test]
    async fn rows_without_columns_count() {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
        let mut spool = spool(0, schema);
        spool.push(batch).unwrap();
        let batches: Vec<RecordBatch> = spool.finish().unwrap().stream().try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    }

    #[test]
    fn rows_of_another_schema_are_refused() {
        let mut spool = spool(0, columns(0..1).schema());
        let other: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let error = spool.push(RecordBatch::try_from_iter([("other", other)]).unwrap()).unwrap_err();
        assert_eq!(error.status(), Status::Internal);
    }
}
