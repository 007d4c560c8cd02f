//! Joining and sorting streams, on disk where memory does not suffice: DataFusion's operators, put together here.
//!
//! Each of them has memory of its own: in a plan as DataFusion makes it they share a pool, in which those that come
//! late find nothing and fail.

use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{SortOptions, is_not_null};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::compact::{compact, shown};
use super::memory::Memory;
use crate::error::{Error, Result, Status};

/// Null before everything.
const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };

/// A stream to be joined with others. The names of its columns are its own.
pub struct Side {
    pub schema: SchemaRef,
    pub rows: BoxStream<'static, Result<RecordBatch>>,
    /// The columns whose values must be equal, and not null, in the order in which the other sides have theirs.
    pub keys: Vec<String>,
    /// Whether rows of the others stay that have none here.
    pub optional: bool,
    /// Whether its rows come in ascending order of the keys.
    pub sorted: bool,
    /// What a row takes, about; what the first ones take counts if it is more.
    pub row_bytes: u64,
}

/// The names of the columns that [`join`] adds, with the keys of each row.
pub fn joined_key(position: usize) -> String {
    format!("key{position}")
}

/// The columns of each side after each other, then the keys. Sides that are not optional come first, by inner joins, then the
/// others, by left joins; where all are optional, a row of any of them is a row of the result.
pub async fn join(memory: &Memory, sides: Vec<Side>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let columns = sides.iter().flat_map(|side| side.schema.fields().iter().map(|field| field.name().clone()));
    let mut columns: Vec<String> = columns.collect();
    let (optional, mut ordered): (Vec<Side>, Vec<Side>) = sides.into_iter().partition(|side| side.optional);
    let kind = if ordered.is_empty() { JoinType::Full } else { JoinType::Left };
    let required = ordered.len();
    ordered.extend(optional);
    // A sort for each side, one more for what is joined so far, and the joins.
    let memory = memory.divided(3 * ordered.len());
    let mut sides = futures::future::try_join_all(ordered.into_iter().map(Measured::new)).await?.into_iter();
    let Some(mut joined) = sides.next() else {
        return Ok(futures::stream::empty().boxed());
    };
    let keys: Vec<String> = (0..joined.keys.len()).map(joined_key).collect();
    columns.extend(keys.iter().cloned());
    joined = joined.with_keys(&keys)?;
    for (side, position) in sides.zip(1..) {
        let kind = if position < required { JoinType::Inner } else { kind };
        let others = side.keys.clone();
        let (left, right) = (joined.sorted(&memory)?, side.sorted(&memory)?);
        joined = merged(&memory, left, right, kind)?;
        if kind == JoinType::Full {
            joined = joined.with_either(&others)?;
        }
    }
    Ok(joined.project(&columns)?.rows)
}

/// The rows, each with that of every side to which its column points: `on` names the column, and the side has one
/// whose values are equal, but for columns that are null, which point to nothing. `count` is the number of the rows.
pub async fn attach(
    memory: &Memory,
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
    count: u64,
    on: Vec<(String, Side)>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let memory = memory.divided(3 * on.len());
    let first = Side { schema, rows, keys: Vec::new(), optional: false, sorted: false, row_bytes: 1 };
    let mut joined = Measured::new(first).await?;
    let sides = on.into_iter().map(|(name, side)| async { Ok((name, Measured::new(side).await?)) });
    let mut sides: Vec<(String, Measured)> = futures::future::try_join_all(sides).await?;
    // What is there so far is sorted anew for each side: the widest one comes last.
    sides.sort_by_key(|(_, side)| side.row_bytes);
    for (name, side) in sides {
        joined.keys = vec![name];
        joined.sorted = false;
        let kind = if side.optional { JoinType::Left } else { JoinType::Inner };
        joined = merged(&memory, joined.sorted(&memory)?, side.sorted(&memory)?, kind)?;
    }
    Ok(counted(joined.rows, count))
}

/// The rows in ascending order of the keys, null before everything.
pub async fn sorted(memory: &Memory, side: Side) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    Ok(Measured::new(side).await?.sorted(memory)?.rows)
}

/// A side of which it is known how long its rows are.
struct Measured {
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
    keys: Vec<String>,
    optional: bool,
    sorted: bool,
    row_bytes: usize,
}

impl Measured {
    async fn new(side: Side) -> Result<Measured> {
        let Side { schema, mut rows, keys, optional, sorted, row_bytes } = side;
        let mut first = rows.try_next().await?;
        while first.as_ref().is_some_and(|batch| batch.num_rows() == 0) {
            first = rows.try_next().await?;
        }
        let of_first = match &first {
            Some(batch) => shown(batch).map_err(uncopied)? / batch.num_rows().max(1),
            None => 0,
        };
        let row_bytes = usize::try_from(row_bytes).unwrap_or(usize::MAX).max(of_first).max(1);
        let rows = futures::stream::iter(first.map(Ok)).chain(rows).boxed();
        Ok(Measured { schema, rows, keys, optional, sorted, row_bytes })
    }

    /// The rows in ascending order of the keys. They are sorted on a thread of their own.
    fn sorted(self, memory: &Memory) -> Result<Measured> {
        if self.sorted {
            return Ok(self);
        }
        let Some(order) = self.ordering()? else { return Ok(self) };
        let task = memory.operator(self.row_bytes)?;
        let sort = SortExec::new(order, source(memory, &self.schema, self.rows)?);
        let mut own = RecordBatchReceiverStream::builder(self.schema.clone(), 1);
        let into = own.tx();
        own.spawn(async move {
            let mut rows = sort.execute(0, task)?;
            while let Some(batch) = rows.next().await {
                // Nobody wants them any more where this fails.
                if into.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        let rows = presented(memory, own.build());
        Ok(Measured { rows, sorted: true, ..self })
    }

    /// The keys once more, by the names that the result has for them.
    fn with_keys(mut self, names: &[String]) -> Result<Measured> {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        let mut places = Vec::with_capacity(names.len());
        for (own, name) in self.keys.iter().zip(names) {
            let place = self.place(own)?;
            fields.push(Arc::new(self.schema.field(place).clone().with_name(name)));
            places.push(place);
        }
        self.keys = names.to_vec();
        Ok(self.map(Arc::new(Schema::new(fields)), move |columns| {
            let keys: Vec<ArrayRef> =
                places.iter().filter_map(|place| columns.get(*place).cloned()).collect();
            Ok(columns.into_iter().chain(keys).collect())
        }))
    }

    /// The keys of the other side where a row has none.
    fn with_either(self, others: &[String]) -> Result<Measured> {
        let mut pairs = Vec::with_capacity(others.len());
        for (key, other) in self.keys.iter().zip(others) {
            pairs.push((self.place(key)?, self.place(other)?));
        }
        let schema = self.schema.clone();
        Ok(self.map(schema, move |mut columns| {
            for (place, other) in &pairs {
                let other = columns.get(*other).cloned();
                if let (Some(own), Some(other)) = (columns.get_mut(*place), other) {
                    *own = zip(&is_not_null(own)?, own, &other)?;
                }
            }
            Ok(columns)
        }))
    }

    /// These columns only, in this order.
    fn project(self, names: &[String]) -> Result<Measured> {
        let places = names.iter().map(|name| self.place(name)).collect::<Result<Vec<_>>>()?;
        let fields: Vec<Field> = places.iter().map(|place| self.schema.field(*place).clone()).collect();
        Ok(self.map(Arc::new(Schema::new(fields)), move |columns| {
            Ok(places.iter().filter_map(|place| columns.get(*place).cloned()).collect())
        }))
    }

    fn map(
        self,
        schema: SchemaRef,
        change: impl Fn(Vec<ArrayRef>) -> std::result::Result<Vec<ArrayRef>, ArrowError> + Send + 'static,
    ) -> Measured {
        let of_batch = schema.clone();
        let rows = self.rows.map(move |batch| {
            let batch = batch?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let (_, columns, _) = batch.into_parts();
            let changed = change(columns)
                .and_then(|columns| RecordBatch::try_new_with_options(of_batch.clone(), columns, &options));
            changed.map_err(|cause| {
                Error::new(Status::Internal, format!("what was joined does not fit together: {cause}"))
            })
        });
        Measured { schema, rows: rows.boxed(), ..self }
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.schema.index_of(name).map_err(|cause| {
            Error::new(Status::Internal, format!("a column is missing of what is joined: {cause}"))
        })
    }

    fn column(&self, name: &str) -> Result<PhysicalExprRef> {
        Ok(Arc::new(Column::new(name, self.place(name)?)))
    }

    fn ordering(&self) -> Result<Option<LexOrdering>> {
        let keys = self.keys.iter().map(|key| Ok(PhysicalSortExpr::new(self.column(key)?, ASCENDING)));
        Ok(LexOrdering::new(keys.collect::<Result<Vec<_>>>()?))
    }
}

/// The columns of both, rows side by side whose keys are equal; the keys are those of `left`.
fn merged(memory: &Memory, left: Measured, right: Measured, kind: JoinType) -> Result<Measured> {
    let on = left.keys.iter().zip(&right.keys);
    let on = on.map(|(one, other)| Ok((left.column(one)?, right.column(other)?)));
    let on = on.collect::<Result<Vec<_>>>()?;
    let row_bytes = left.row_bytes + right.row_bytes;
    let task = memory.operator(row_bytes)?;
    let join = SortMergeJoinExec::try_new(
        source(memory, &left.schema, left.rows)?,
        source(memory, &right.schema, right.rows)?,
        on,
        None,
        kind,
        vec![ASCENDING; left.keys.len()],
        NullEquality::NullEqualsNothing,
    );
    let join = join.map_err(|error| memory.failed(&error))?;
    let schema = join.schema();
    let rows = join.execute(0, task).map_err(|error| memory.failed(&error))?;
    Ok(Measured {
        schema,
        rows: presented(memory, rows),
        keys: left.keys,
        optional: left.optional,
        // Of others DataFusion mixes rows that have an equal and rows that have none.
        sorted: kind == JoinType::Inner,
        row_bytes,
    })
}

/// Fails at the end if there were not `count` rows.
fn counted(
    rows: BoxStream<'static, Result<RecordBatch>>,
    count: u64,
) -> BoxStream<'static, Result<RecordBatch>> {
    let counting = futures::stream::try_unfold((rows, 0), move |(mut rows, seen)| async move {
        match rows.try_next().await? {
            Some(batch) => {
                let seen = seen + batch.num_rows() as u64;
                Ok(Some((batch, (rows, seen))))
            }
            None if seen == count => Ok(None),
            None => Err(Error::new(
                Status::Internal,
                format!("{seen} rows were found of {count} that were chosen to be read"),
            )),
        }
    });
    counting.boxed()
}

fn presented(memory: &Memory, rows: SendableRecordBatchStream) -> BoxStream<'static, Result<RecordBatch>> {
    let memory = memory.clone();
    rows.map_err(move |error| memory.failed(&error)).boxed()
}

/// What an operator takes rows from.
fn source(
    memory: &Memory,
    schema: &SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rows = in_pieces(rows, memory.piece_bytes());
    let once = Once { schema: schema.clone(), rows: Mutex::new(Some(rows)) };
    let source = StreamingTableExec::try_new(schema.clone(), vec![Arc::new(once)], None, [], false, None);
    Ok(Arc::new(source.map_err(|error| memory.failed(&error))?))
}

/// The most rows of a piece, so that what is sorted at a time stays in the caches.
const PIECE_ROWS: usize = 8192;

/// Batches of so many bytes at most if they have several rows, each in memory of its own: what DataFusion holds of it
/// counts.
fn in_pieces(
    rows: BoxStream<'static, Result<RecordBatch>>,
    bytes: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    let pieces = rows.map(move |batch| {
        let batch = batch?;
        let rows = batch.num_rows();
        let row_bytes = shown(&batch).map_err(uncopied)? / rows.max(1) + 1;
        let most = (bytes / row_bytes).clamp(1, PIECE_ROWS);
        let pieces = (0..rows)
            .step_by(most)
            .map(move |start| compact(batch.slice(start, most.min(rows - start))).map_err(uncopied));
        Ok(futures::stream::iter(pieces))
    });
    pieces.try_flatten().boxed()
}

fn uncopied(cause: ArrowError) -> Error {
    Error::new(Status::Internal, format!("rows cannot be copied: {cause}"))
}

/// A stream that is read once.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<BoxStream<'static, Result<RecordBatch>>>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let rows = rows.unwrap_or_else(|| {
            let again = Error::new(Status::Internal, "a stream was asked for twice");
            futures::stream::iter([Err(again)]).boxed()
        });
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Array, AsArray, Int64Array, LargeStringArray, UInt64Array};
    use arrow::datatypes::{DataType, Int64Type, UInt64Type};
    use proptest::prelude::*;

    use super::*;
    use crate::versioning::memory::MINIMUM;

    /// Rows of a side: the key, and a number of their own.
    type Row = (Option<i64>, u64);

    fn schema(number: usize) -> SchemaRef {
        let key = Field::new(format!("u{number}_key"), DataType::Int64, true);
        let half = Field::new(format!("u{number}_half"), DataType::Int64, true);
        let own = Field::new(format!("u{number}_own"), DataType::UInt64, true);
        let text = Field::new(format!("u{number}_text"), DataType::LargeUtf8, true);
        Arc::new(Schema::new(vec![key, half, own, text]))
    }

    fn batch(number: usize, rows: &[Row], text: &str) -> RecordBatch {
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        // Null of some keys, so that these match nothing.
        let half = |key: Option<i64>| key.filter(|key| key % 5 != 0).map(|key| key / 2);
        let halves: ArrayRef = Arc::new(rows.iter().map(|row| half(row.0)).collect::<Int64Array>());
        let own: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|_| Some(text)).collect::<LargeStringArray>());
        RecordBatch::try_new(schema(number), vec![keys, halves, own, texts]).unwrap()
    }

    fn side(number: usize, rows: &[Row], in_batch: usize, text: &str, optional: bool) -> Side {
        let batches: Vec<_> = rows.chunks(in_batch).map(|rows| Ok(batch(number, rows, text))).collect();
        let keys = vec![format!("u{number}_half"), format!("u{number}_key")];
        Side {
            schema: schema(number),
            rows: futures::stream::iter(batches).boxed(),
            keys,
            optional,
            sorted: false,
            row_bytes: 1,
        }
    }

    /// The key, and the number that the row of each side has: of each row of the result, sorted.
    async fn numbers(
        rows: BoxStream<'static, Result<RecordBatch>>,
        sides: usize,
    ) -> Vec<(Option<i64>, Vec<Option<u64>>)> {
        let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        let mut found = Vec::new();
        for batch in batches {
            let keys = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>().clone();
            for row in 0..batch.num_rows() {
                let own = (0..sides).map(|side| {
                    let column = batch.column_by_name(&format!("u{side}_own")).unwrap();
                    column.as_primitive::<UInt64Type>().iter().nth(row).unwrap()
                });
                found.push((keys.is_valid(row).then(|| keys.value(row)), own.collect()));
            }
        }
        found.sort();
        found
    }

    /// The same by going through all rows.
    fn expected(sides: &[(Vec<Row>, bool)]) -> Vec<(Option<i64>, Vec<Option<u64>>)> {
        let all_optional = sides.iter().all(|(_, optional)| *optional);
        let mut order: Vec<usize> = (0..sides.len()).collect();
        order.sort_by_key(|side| sides[*side].1);
        let mut found: Vec<(Option<i64>, BTreeMap<usize, u64>)> = Vec::new();
        for (place, side) in order.into_iter().enumerate() {
            let (rows, optional) = &sides[side];
            if place == 0 {
                found = rows.iter().map(|(key, own)| (*key, BTreeMap::from([(side, *own)]))).collect();
                continue;
            }
            let mut next = Vec::new();
            let mut met = vec![false; rows.len()];
            for (key, made) in &found {
                let mut alone = true;
                for (row, (other, own)) in rows.iter().enumerate() {
                    if key.is_some_and(|key| key % 5 != 0) && key == other {
                        (alone, met[row]) = (false, true);
                        let mut made = made.clone();
                        made.insert(side, *own);
                        next.push((*key, made));
                    }
                }
                if alone && *optional {
                    next.push((*key, made.clone()));
                }
            }
            if all_optional {
                let left = rows.iter().zip(met).filter(|(_, met)| !met);
                next.extend(left.map(|((key, own), _)| (*key, BTreeMap::from([(side, *own)]))));
            }
            found = next;
        }
        let all = found.into_iter();
        let mut all: Vec<_> = all
            .map(|(key, made)| (key, (0..sides.len()).map(|side| made.get(&side).copied()).collect()))
            .collect();
        all.sort();
        all
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        proptest::collection::vec(proptest::option::weighted(0.9, 0_i64..12), 0..14)
            .prop_map(|keys| keys.into_iter().zip(0..).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_sides_are_joined(
            sides in proptest::collection::vec((rows(), any::<bool>()), 1..5),
            in_batch in 1_usize..6,
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            // Batches are of one row, or two.
            let memory = Memory::limited(1 << 16, None).unwrap();
            let own = sides.iter().enumerate();
            let own = own.map(|(number, (rows, optional))| side(number, rows, in_batch, "t", *optional)).collect();
            let found = runtime.block_on(async { numbers(join(&memory, own).await.unwrap(), sides.len()).await });
            prop_assert_eq!(found, expected(&sides));
        }
    }

    /// Keys in an order that is none.
    fn scattered(rows: u64) -> Vec<Row> {
        (0..rows).map(|row| (Some((row * 7919 % rows) as i64 * 5 + 1), row)).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_get_what_they_point_to() {
        let memory = Memory::limited(1 << 16, None).unwrap();
        let count = 200_u64;
        let points: Vec<(Option<u64>, u64)> =
            (0..count).map(|row| ((row % 5 != 0).then_some(row * 31 % 40), row * 17 % 30)).collect();
        let one: ArrayRef = Arc::new(points.iter().map(|row| row.0).collect::<UInt64Array>());
        let other: ArrayRef = Arc::new(points.iter().map(|row| Some(row.1)).collect::<UInt64Array>());
        let rows =
            RecordBatch::try_from_iter_with_nullable([("to0", one, true), ("to1", other, true)]).unwrap();
        let schema = rows.schema();
        let on = |sorted: bool| {
            [(true, 40), (false, 30)].into_iter().enumerate().map(move |(number, (optional, rows))| {
                let rows: Vec<Row> = match sorted {
                    true => (0..rows).map(|row| (Some(0), row)).collect(),
                    false => scattered(rows)
                        .into_iter()
                        .map(|(row, _)| (Some(0), row.unwrap() as u64 / 5))
                        .collect(),
                };
                let keys = vec![format!("u{number}_own")];
                let side = Side { keys, sorted, ..side(number, &rows, 7, "t", optional) };
                (format!("to{number}"), side)
            })
        };
        let attached = async |sorted: bool, count: u64| {
            let rows = futures::stream::iter([Ok(rows.clone())]).boxed();
            let joined = attach(&memory, schema.clone(), rows, count, on(sorted).collect()).await;
            joined.unwrap().try_collect::<Vec<RecordBatch>>().await
        };
        for sorted in [false, true] {
            let mut found = Vec::new();
            for batch in attached(sorted, count).await.unwrap() {
                let column =
                    |name: &str| batch.column_by_name(name).unwrap().as_primitive::<UInt64Type>().clone();
                let (to0, to1, own0, own1) =
                    (column("to0"), column("to1"), column("u0_own"), column("u1_own"));
                assert_eq!((&to0, &to1), (&own0, &own1));
                found.extend(to0.iter().zip(to1.values().iter().copied()));
            }
            found.sort();
            let mut all = points.clone();
            all.sort();
            assert_eq!(found, all);
        }
        let error = attached(false, count + 1).await.unwrap_err();
        assert!(error.message().contains("200 rows were found of 201"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_least_memory_sorts_by_keys_that_are_all_there_is() {
        let memory = Memory::new(MINIMUM, None).unwrap().divided(12);
        // Each with a length of its own, up to 300.
        let text = |row: u64| format!("{:0>1$}", row * 7919 % 40_009, (row * 31 % 300) as usize);
        let texts: ArrayRef = Arc::new((0..40_000).map(|row| Some(text(row))).collect::<LargeStringArray>());
        let numbers: ArrayRef = Arc::new((0..40_000).map(|row| Some(row % 100)).collect::<UInt64Array>());
        let rows = RecordBatch::try_from_iter([("text", texts), ("number", numbers)]).unwrap();
        for by in [vec!["text"], vec!["number", "text"], vec!["text", "number"]] {
            let keys: Vec<String> = by.into_iter().map(str::to_owned).collect();
            let batches = (0..10).map(|batch| Ok(rows.slice(batch * 4000, 4000))).collect::<Vec<_>>();
            let stream = futures::stream::iter(batches).boxed();
            let side = Side {
                schema: rows.schema(),
                rows: stream,
                keys: keys.clone(),
                optional: false,
                sorted: false,
                row_bytes: 1,
            };
            let sorted = sorted(&memory, side).await.unwrap();
            let batches: Vec<RecordBatch> = sorted.try_collect().await.unwrap();
            let all = arrow::compute::concat_batches(&rows.schema(), &batches).unwrap();
            let columns = keys.iter().map(|key| arrow::compute::SortColumn {
                values: all.column_by_name(key).unwrap().clone(),
                options: Some(ASCENDING),
            });
            let order = arrow::compute::lexsort_to_indices(&columns.collect::<Vec<_>>(), None).unwrap();
            let resorted = arrow::compute::take_record_batch(&all, &order).unwrap();
            for key in &keys {
                assert_eq!(resorted.column_by_name(key), all.column_by_name(key));
            }
            assert_eq!(all.num_rows(), 40_000);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_that_get_longer_are_sorted_all_the_same() {
        let memory = Memory::new(MINIMUM, None).unwrap().divided(6);
        let rows = scattered(10_000);
        let (short, long) = rows.split_at(500);
        let batches = [batch(0, short, "x")].into_iter();
        let text = "x".repeat(4000);
        let batches = batches.chain(long.chunks(1000).map(|rows| batch(0, rows, &text)));
        let stream = futures::stream::iter(batches.map(Ok).collect::<Vec<_>>()).boxed();
        let side = Side { rows: stream, row_bytes: 3000, ..side(0, &[], 1, "", false) };
        let sorted: Vec<RecordBatch> = sorted(&memory, side).await.unwrap().try_collect().await.unwrap();
        assert_eq!(sorted.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
    }

    #[tokio::test]
    async fn a_row_that_is_too_long_says_which_option_to_raise() {
        let memory = Memory::limited(1 << 16, None).unwrap();
        let text = "x".repeat(1 << 16);
        let side = side(0, &scattered(10), 3, &text, false);
        let error = sorted(&memory, side).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert_eq!(error.detail("option"), Some("memory.bytes"));
        assert!(error.message().contains("is 65536: give it at least 131072"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_least_memory_joins_what_is_many_times_larger() {
        // Of each side 9 and 30 MB, in a share of 1.3 MB for each operator.
        for (count, length) in [(30_000, 300), (300, 100_000)] {
            let (rows, text) = (scattered(count), "x".repeat(length));
            for optional in [[false; 4], [false, false, true, true], [true; 4]] {
                let memory = Memory::new(MINIMUM, None).unwrap();
                let sides = optional.iter().enumerate();
                let sides: Vec<Side> =
                    sides.map(|(number, optional)| side(number, &rows, 5000, &text, *optional)).collect();
                let mut joined = join(&memory, sides).await.unwrap();
                let mut seen = 0;
                while let Some(batch) = joined.try_next().await.unwrap() {
                    seen += batch.num_rows() as u64;
                }
                assert_eq!(seen, count);
            }
        }
    }
}
