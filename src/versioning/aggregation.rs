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

use super::hash::{Hashes, Rendered, SampleHash};
use super::provenance::{internal, join};
use crate::error::{Error, Result};
use crate::feature::FeatureKey;

/// The rows of a batch, however many groups they belong to.
const BATCH_ROWS: usize = 8192;

/// What a group may take in any case, even while a sort has borrowed all the memory there is.
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
    Group(Held, Arc<[Rendered]>),
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
            let batches = self.batches.get_or_insert_with(|| BatchCoalescer::new(rows.schema(), BATCH_ROWS));
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
                let hash = self.hash.render(&joined);
                group.clone().for_each(|_| hashes.append(&hash));
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
            hashes.push(self.hash.render(&joined));
            drop(joined);
            self.memory.try_shrink(bytes).map_err(|error| broken(&error))?;
        }
        let hashes: Arc<[Rendered]> = hashes.into();
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

    fn repeated(&self, hash: &Rendered, rows: usize) -> ArrayRef {
        let mut hashes = Hashes::with_capacity(rows, self.hash);
        (0..rows).for_each(|_| hashes.append(hash));
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
            size_of_val(&*views.views()) + views.total_buffer_bytes_used()
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            size_of_val(&*views.views()) + views.total_buffer_bytes_used()
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
