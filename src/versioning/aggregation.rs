//! Aggregation: many rows of a feature that make one sample of another.
//!
//! Metaxy 0.1.11 keeps all rows of a group, and gives each the data versions of the whole group: for each
//! field the values of its rows, in the order of the upstream feature's ids, joined with `|`, hashed.
//! Nulls are left out; of a group that has nothing but nulls, the empty string is hashed.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, make_comparator};
use arrow::compute::{BatchCoalescer, SortOptions, partition};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::compact::shown;
use super::hash::{Hashes, SampleHash};
use super::provenance::{internal, join};
use crate::error::{Error, Result};
use crate::feature::FeatureKey;

/// The rows of a batch, however many groups they belong to, and what they may take if they are as long as the first ones.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

/// What a group may take in any case, however many have to share the memory.
const GRANTED_BYTES: usize = 1 << 20;

/// The most characters of a value that a message repeats.
const SHOWN: usize = 100;

/// The rows of `rows`, in their order and with the columns `members` aggregated by the columns `group`.
///
/// Rows of one group come one after another, in the order in which their values are joined; nulls in
/// the columns of a group are equal. The members are large strings. The rows of a group are held until
/// its last one has come, and `memory` grows by what they take. `feature` is the one whose rows they are.
pub fn aggregated(
    rows: BoxStream<'static, Result<RecordBatch>>,
    feature: FeatureKey,
    group: Vec<String>,
    members: Vec<String>,
    hash: SampleHash,
    memory: MemoryReservation,
) -> BoxStream<'static, Result<RecordBatch>> {
    let aggregation = Aggregation {
        feature,
        group,
        members,
        hash,
        memory,
        open: Vec::new(),
        closed: VecDeque::new(),
        batches: None,
    };
    stream::try_unfold((Some(rows), aggregation), |(mut rows, mut aggregation)| async move {
        loop {
            if let Some(batch) = aggregation.next_batch()? {
                return Ok(Some((batch, (rows, aggregation))));
            }
            let Some(input) = &mut rows else { return Ok(None) };
            match input.next().await.transpose()? {
                Some(batch) => aggregation.take(&batch)?,
                None => {
                    rows = None;
                    aggregation.finish()?;
                }
            }
        }
    })
    .boxed()
}

struct Aggregation {
    feature: FeatureKey,
    group: Vec<String>,
    members: Vec<String>,
    hash: SampleHash,
    memory: MemoryReservation,
    /// The rows so far of a group that may have more.
    open: Vec<Held>,
    /// Rows of complete groups, in their order.
    closed: VecDeque<Closed>,
    /// Gathers them into batches; there as soon as their schema is known.
    batches: Option<BatchCoalescer>,
}

/// Rows of one group, and the memory that is reserved for them.
struct Held {
    rows: RecordBatch,
    bytes: usize,
}

enum Closed {
    /// Rows of one group, and what takes the place of their members.
    Group(Held, Arc<[String]>),
    /// Rows of any number of groups, with their members replaced.
    Rows(RecordBatch),
    /// There are no more.
    End,
}

impl Aggregation {
    /// The next batch of rows of complete groups, if there are enough for one.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.as_mut().and_then(BatchCoalescer::next_completed_batch) {
                return Ok(Some(batch));
            }
            let rows = match self.closed.pop_front() {
                Some(Closed::Rows(rows)) => rows,
                Some(Closed::Group(held, hashes)) => {
                    self.memory.try_shrink(held.bytes).map_err(|error| broken(&error))?;
                    let members = hashes.iter().map(|hash| self.repeated(hash, held.rows.num_rows()));
                    self.with_members(&held.rows, members.collect())?
                }
                Some(Closed::End) => {
                    if let Some(batches) = &mut self.batches {
                        batches.finish_buffered_batch().map_err(|error| broken(&error))?;
                    }
                    continue;
                }
                None => return Ok(None),
            };
            let batches = match &mut self.batches {
                Some(batches) => batches,
                none => {
                    let row_bytes =
                        shown(&rows).map_err(|error| broken(&error))? / rows.num_rows().max(1) + 1;
                    let most = (BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS);
                    none.insert(BatchCoalescer::new(rows.schema(), most))
                }
            };
            batches.push_batch(rows).map_err(|error| broken(&error))?;
        }
    }

    /// Takes the next rows.
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = columns(batch, &self.group)?;
        let groups = groups(&keys, batch.num_rows())?;
        let [complete @ .., last] = groups.as_slice() else { return Ok(()) };
        if !self.continues(&keys)? {
            self.close()?;
        }
        let complete = match (self.open.is_empty(), complete) {
            (true, _) => complete,
            (false, [first, others @ ..]) => {
                self.hold(batch.slice(first.start, first.len()))?;
                self.close()?;
                others
            }
            (false, []) => complete,
        };
        self.aggregate(batch, complete)?;
        self.hold(batch.slice(last.start, last.len()))
    }

    /// There are no more rows.
    fn finish(&mut self) -> Result<()> {
        self.close()?;
        self.closed.push_back(Closed::End);
        Ok(())
    }

    /// Closes groups that begin and end within one batch, one after another.
    fn aggregate(&mut self, batch: &RecordBatch, groups: &[Range<usize>]) -> Result<()> {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return Ok(()) };
        let rows = batch.slice(first.start, last.end - first.start);
        let mut joined = Vec::new();
        let mut members = Vec::with_capacity(self.members.len());
        for values in &texts(batch, &self.members)? {
            let mut hashes = Hashes::with_capacity(rows.num_rows(), self.hash);
            for group in groups {
                let present = group.clone().filter(|row| values.is_valid(*row));
                join(present.map(|row| Some(values.value(row).as_bytes())), &mut joined);
                let hash = self.hash.hash(&joined);
                group.clone().for_each(|_| hashes.append_hash(&hash));
            }
            members.push(Arc::new(hashes.finish()) as ArrayRef);
        }
        self.closed.push_back(Closed::Rows(self.with_members(&rows, members)?));
        Ok(())
    }

    /// Whether the first row of which `keys` are the columns of its group is one more of the open group.
    fn continues(&self, keys: &[ArrayRef]) -> Result<bool> {
        let Some(Held { rows, .. }) = self.open.last() else { return Ok(false) };
        for (open, key) in columns(rows, &self.group)?.iter().zip(keys) {
            let order = make_comparator(open, key, SortOptions::default()).map_err(|error| broken(&error))?;
            if order(rows.num_rows() - 1, 0).is_ne() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds rows to the open group.
    fn hold(&mut self, rows: RecordBatch) -> Result<()> {
        let bytes = rows.columns().iter().map(size).sum();
        self.open.push(Held { rows, bytes });
        self.reserve(bytes)
    }

    /// Ends the open group, if there is one.
    fn close(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let members: Vec<Vec<LargeStringArray>> =
            self.open.iter().map(|held| texts(&held.rows, &self.members)).collect::<Result<_>>()?;
        let mut hashes = Vec::with_capacity(self.members.len());
        for position in 0..self.members.len() {
            let values: Vec<&LargeStringArray> =
                members.iter().filter_map(|members| members.get(position)).collect();
            let bytes = values.iter().map(|values| text_bytes(values) + values.len()).sum();
            self.reserve(bytes)?;
            let mut joined = Vec::with_capacity(bytes);
            let present = values.iter().flat_map(|values| values.iter()).flatten();
            join(present.map(|value| Some(value.as_bytes())), &mut joined);
            hashes.push(self.hash.hash(&joined));
            drop(joined);
            self.memory.try_shrink(bytes).map_err(|error| broken(&error))?;
        }
        let hashes: Arc<[String]> = hashes.into();
        self.closed.extend(self.open.drain(..).map(|held| Closed::Group(held, hashes.clone())));
        Ok(())
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        if self.memory.size() + bytes <= GRANTED_BYTES {
            self.memory.grow(bytes);
            return Ok(());
        }
        self.memory.try_grow(bytes).map_err(|error| self.too_large().caused_by(&error))
    }

    fn too_large(&self) -> Error {
        let rows: usize = self.open.iter().map(|held| held.rows.num_rows()).sum();
        let values = self.open.first().and_then(|held| columns(&held.rows, &self.group).ok());
        let values = values.iter().flatten().zip(&self.group);
        let group: Vec<String> =
            values.map(|(values, column)| format!("`{column}` = {}", show(values))).collect();
        Error::invalid(format!(
            "the group {} of feature `{}` has {rows} rows so far, too many for the option `memory.bytes`: raise it",
            group.join(", "),
            self.feature
        ))
        .with("feature", &self.feature)
        .with("option", "memory.bytes")
    }

    fn repeated(&self, hash: &str, rows: usize) -> ArrayRef {
        let mut hashes = Hashes::with_capacity(rows, self.hash);
        (0..rows).for_each(|_| hashes.append_hash(hash));
        Arc::new(hashes.finish())
    }

    fn with_members(&self, rows: &RecordBatch, members: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for (name, member) in self.members.iter().zip(members) {
            if let Some(column) = rows.schema_ref().index_of(name).ok().and_then(|at| columns.get_mut(at)) {
                *column = member;
            }
        }
        RecordBatch::try_new(rows.schema(), columns).map_err(|error| broken(&error))
    }
}

/// The ranges of rows that have equal `keys`.
fn groups(keys: &[ArrayRef], rows: usize) -> Result<Vec<Range<usize>>> {
    if keys.is_empty() && rows > 0 {
        return Ok(vec![0..rows]);
    }
    Ok(partition(keys).map_err(|error| broken(&error))?.ranges())
}

fn columns(rows: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>> {
    let column = |name: &String| {
        let missing = || internal(&format!("rows to aggregate have no column `{name}`"));
        rows.column_by_name(name).cloned().ok_or_else(missing)
    };
    names.iter().map(column).collect()
}

fn texts(rows: &RecordBatch, names: &[String]) -> Result<Vec<LargeStringArray>> {
    let text = |values: &ArrayRef| {
        let other =
            || internal(&format!("values to aggregate are no large strings, but {}", values.data_type()));
        values.as_string_opt::<i64>().cloned().ok_or_else(other)
    };
    columns(rows, names)?.iter().map(text).collect()
}

fn text_bytes(values: &LargeStringArray) -> usize {
    match values.value_offsets() {
        [first, .., last] => (last - first) as usize,
        _ => 0,
    }
}

/// The bytes of a column's own rows, of whatever larger column they are a part.
fn size(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            views.views().inner().len() + views.total_buffer_bytes_used()
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            views.views().inner().len() + views.total_buffer_bytes_used()
        }
        _ => column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()),
    }
}

/// The first value of a column, for a message.
fn show(column: &ArrayRef) -> String {
    let options = FormatOptions::default().with_null("null");
    let shown = ArrayFormatter::try_new(column, &options)
        .map_or_else(|_| "?".to_owned(), |formatter| formatter.value(0).to_string());
    let short: String = shown.chars().take(SHOWN).collect();
    let end = if short.len() < shown.len() { "…" } else { "" };
    match column.data_type() {
        _ if column.is_null(0) => short,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => format!("\"{short}{end}\""),
        _ => short + end,
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Error {
    internal("rows could not be aggregated").caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Int64Array, StringArray};
    use arrow::compute::{cast, concat_batches};
    use arrow::datatypes::Field;
    use datafusion::execution::memory_pool::{
        GreedyMemoryPool, MemoryConsumer, MemoryPool, UnboundedMemoryPool,
    };
    use futures::TryStreamExt;
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::error::Status;
    use crate::feature::Truncation;
    use crate::versioning::HashAlgorithm;

    fn hash() -> SampleHash {
        SampleHash::new(HashAlgorithm::XxHash32, Truncation::to(8).unwrap())
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn start(
        batches: Vec<RecordBatch>,
        group: &[&str],
        members: &[&str],
        pool: &Arc<dyn MemoryPool>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let rows = stream::iter(batches.into_iter().map(Ok)).boxed();
        let memory = MemoryConsumer::new("groups").register(pool);
        let feature = "g/frames".parse().unwrap();
        aggregated(rows, feature, strings(group), strings(members), hash(), memory)
    }

    fn run(batches: Vec<RecordBatch>, group: &[&str], members: &[&str]) -> Vec<RecordBatch> {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let found = block_on(start(batches, group, members, &pool).try_collect()).unwrap();
        assert_eq!(pool.reserved(), 0);
        found
    }

    fn texts_of(batches: &[RecordBatch], column: &str) -> Vec<Option<String>> {
        let values = batches.iter().map(|batch| batch.column_by_name(column).unwrap().as_string::<i64>());
        values.flat_map(|values| values.iter()).map(|value| value.map(str::to_owned)).collect()
    }

    /// The rows `frame` of the groups `vid`, from a number on, with `frame` as the value too.
    fn frames(rows: Range<usize>, per_group: usize) -> RecordBatch {
        let vid = Int64Array::from_iter_values(rows.clone().map(|row| (row / per_group) as i64));
        let values = LargeStringArray::from_iter_values(rows.map(|row| row.to_string()));
        let columns: [(&str, ArrayRef); 3] =
            [("vid", Arc::new(vid)), ("px", Arc::new(values.clone())), ("frame", Arc::new(values))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn the_worked_example_of_metaxy() {
        let columns: [(&str, ArrayRef); 4] = [
            ("vid", Arc::new(StringArray::from(vec!["a", "a", "a", "c", "c", "d"]))),
            ("frame", Arc::new(Int64Array::from(vec![1, 2, 10, 1, 2, 1]))),
            (
                "px",
                Arc::new(LargeStringArray::from(vec![
                    Some("p2"),
                    Some("p1"),
                    Some("p0"),
                    None,
                    Some("p5"),
                    None,
                ])),
            ),
            ("au", Arc::new(LargeStringArray::from(vec!["q2", "q1", "q0", "q4", "q5", "q6"]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let found = run(vec![rows.clone()], &["vid"], &["px", "au"]);
        let of = |text: &str| Some(hash().hash(text.as_bytes()));
        let px = texts_of(&found, "px");
        assert_eq!(px[..3], [Some("23886585".into()), Some("23886585".into()), Some("23886585".into())]);
        assert_eq!(px[3..], [of("p5"), of("p5"), of("")]);
        assert_eq!(
            texts_of(&found, "au"),
            [of("q2|q1|q0"), of("q2|q1|q0"), of("q2|q1|q0"), of("q4|q5"), of("q4|q5"), of("q6")]
        );
        assert_eq!(found[0].column(0), rows.column(0));
        assert_eq!(found[0].column(1), rows.column(1));
    }

    #[test]
    fn without_rows_there_are_no_batches() {
        assert_eq!(run(vec![], &["vid"], &["px"]), []);
        assert_eq!(run(vec![frames(0..0, 1), frames(0..0, 1)], &["vid"], &["px"]), []);
    }

    #[test]
    fn small_groups_come_in_large_batches() {
        for per_group in [1, 3, 7] {
            let batches = (0..20_000).step_by(500).map(|start| frames(start..start + 500, per_group));
            let found = run(batches.collect(), &["vid"], &["px"]);
            let rows: Vec<usize> = found.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(rows, [8192, 8192, 3616], "{per_group}");
            let kept: Vec<_> = (0..20_000).map(|row| Some(row.to_string())).collect();
            assert_eq!(texts_of(&found, "frame"), kept);
        }
    }

    #[test]
    fn a_group_may_be_larger_than_any_batch() {
        let batches: Vec<_> =
            (0..30).map(|start| frames(start * 1000..start * 1000 + 1000, 25_000)).collect();
        let found = run(batches, &["vid"], &["px"]);
        let rows: Vec<usize> = found.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [8192, 8192, 8192, 5424]);
        let joined = |rows: Range<usize>| rows.map(|row| row.to_string()).collect::<Vec<_>>().join("|");
        let expected =
            [hash().hash(joined(0..25_000).as_bytes()), hash().hash(joined(25_000..30_000).as_bytes())];
        for (row, value) in texts_of(&found, "px").into_iter().enumerate() {
            assert_eq!(value.as_ref(), expected.get(row / 25_000), "{row}");
        }
    }

    #[test]
    fn a_group_that_exceeds_the_memory_is_named() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(3 << 20));
        let batches = |rows: usize, per_group: usize| -> Vec<RecordBatch> {
            (0..rows).step_by(1000).map(|start| frames(start..start + 1000, per_group)).collect()
        };
        let small: Vec<_> =
            block_on(start(batches(300_000, 30_000), &["vid"], &["px"], &pool).try_collect()).unwrap();
        assert_eq!(small.iter().map(RecordBatch::num_rows).sum::<usize>(), 300_000);
        assert_eq!(pool.reserved(), 0);

        let error =
            block_on(start(batches(300_000, 290_000), &["vid"], &["px"], &pool).try_collect::<Vec<_>>())
                .unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        let message = error.message();
        assert!(message.starts_with("the group `vid` = 0 of feature `g/frames` has "), "{message}");
        assert!(
            message.ends_with("000 rows so far, too many for the option `memory.bytes`: raise it"),
            "{message}"
        );
        assert_eq!(
            (error.detail("feature"), error.detail("option")),
            (Some("g/frames"), Some("memory.bytes"))
        );
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn a_few_rows_need_no_memory_of_others() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let sort = MemoryConsumer::new("sort").register(&pool);
        sort.try_grow(1 << 20).unwrap();
        let batches = vec![frames(0..1000, 300), frames(1000..2000, 300)];
        let found: Vec<_> = block_on(start(batches, &["vid"], &["px"], &pool).try_collect()).unwrap();
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 2000);
        assert_eq!(pool.reserved(), 1 << 20);
    }

    #[test]
    fn values_are_shown_as_what_they_are() {
        let long = "x".repeat(SHOWN + 1);
        let text: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("a"), None, Some(long.as_str())]));
        assert_eq!(show(&text), "\"a\"");
        assert_eq!(show(&text.slice(1, 1)), "null");
        assert_eq!(show(&text.slice(2, 1)), format!("\"{}…\"", "x".repeat(SHOWN)));
        assert_eq!(show(&(Arc::new(Int64Array::from(vec![-7])) as ArrayRef)), "-7");
    }

    #[test]
    fn a_failure_of_the_input_is_the_result() {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let memory = MemoryConsumer::new("groups").register(&pool);
        let rows = stream::iter([Ok(frames(0..10, 3)), Err(Error::new(Status::Io, "gone"))]).boxed();
        let group = strings(&["vid"]);
        let found = aggregated(rows, "g/f".parse().unwrap(), group, strings(&["px"]), hash(), memory);
        let error = block_on(found.try_collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.message(), "gone");
    }

    type Row = (Option<String>, Option<i64>, Option<String>, Option<String>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let text = || prop::option::weighted(0.7, "[|a\u{fc}\u{1f3ac}]{0,3}");
        prop::collection::vec(
            (prop::option::of("[ab]{0,1}"), prop::option::of(0_i64..2), text(), text()),
            0..40,
        )
        .prop_map(|mut rows: Vec<Row>| {
            // Within a group the order is that of the input.
            rows.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
            rows
        })
    }

    fn batch(rows: &[Row], text: &DataType) -> RecordBatch {
        let vid: StringArray = rows.iter().map(|row| row.0.as_deref()).collect();
        let part: Int64Array = rows.iter().map(|row| row.1).collect();
        let px: LargeStringArray = rows.iter().map(|row| row.2.as_deref()).collect();
        let au: LargeStringArray = rows.iter().map(|row| row.3.as_deref()).collect();
        let columns: [(&str, ArrayRef, bool); 5] = [
            ("au", Arc::new(au), true),
            ("vid", cast(&vid, text).unwrap(), true),
            ("before", Arc::new(px.clone()), true),
            ("part", Arc::new(part), true),
            ("px", Arc::new(px), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    proptest! {
        #[test]
        fn every_row_has_the_values_of_its_group(
            rows in rows(),
            cuts in prop::collection::vec(0_usize..41, 0..8),
            by_part in any::<bool>(),
            text in prop::sample::select(vec![
                DataType::Utf8,
                DataType::LargeUtf8,
                DataType::Utf8View,
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            ]),
        ) {
            let key = |row: &Row| (row.0.clone(), row.1.filter(|_| by_part));
            let mut model: HashMap<_, (Vec<&str>, Vec<&str>)> = HashMap::new();
            for row in &rows {
                let values = model.entry(key(row)).or_default();
                values.0.extend(row.2.as_deref());
                values.1.extend(row.3.as_deref());
            }
            let expected = |values: fn(&(Vec<&str>, Vec<&str>)) -> String| -> Vec<Option<String>> {
                rows.iter().map(|row| Some(hash().hash(values(&model[&key(row)]).as_bytes()))).collect()
            };

            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
            cuts.extend([0, rows.len()]);
            cuts.sort_unstable();
            let whole = batch(&rows, &text);
            let batches = cuts.windows(2).map(|cut| whole.slice(cut[0], cut[1] - cut[0])).collect();
            let group: &[&str] = if by_part { &["vid", "part"] } else { &["vid"] };
            let found = run(batches, group, &["px", "au"]);

            prop_assert_eq!(texts_of(&found, "px"), expected(|values| values.0.join("|")));
            prop_assert_eq!(texts_of(&found, "au"), expected(|values| values.1.join("|")));
            let found = concat_batches(&whole.schema(), &found).unwrap();
            for column in ["vid", "before", "part"] {
                prop_assert_eq!(
                    found.column_by_name(column).unwrap(),
                    whole.column_by_name(column).unwrap()
                );
            }
        }
    }

    #[test]
    fn the_size_of_a_slice_is_that_of_its_rows() {
        let text = "a text that is too long for a view";
        let values: Vec<Option<&str>> = vec![Some(text); 1000];
        let large: ArrayRef = Arc::new(LargeStringArray::from(values));
        let view = cast(&large, &DataType::Utf8View).unwrap();
        let list = arrow::array::FixedSizeListArray::new(
            Arc::new(Field::new("item", DataType::Int64, true)),
            4,
            Arc::new(Int64Array::from(vec![7; 4000])),
            None,
        );
        for (column, row) in
            [(large, text.len() + 8), (view, text.len() + 16), (Arc::new(list) as ArrayRef, 32)]
        {
            let bytes = size(&column.slice(100, 10));
            assert!((10 * row..10 * row + 16).contains(&bytes), "{bytes} of {}", column.data_type());
        }
    }
}
