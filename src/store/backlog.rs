//! Rows that wait to become one write.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// Rows that come together in smaller batches are copied into one of about this many: a batch of one
/// row takes some twenty times the memory of its values.
const PACK_ROWS: usize = 1024;

/// Or into one of about this size. Whoever pushes meanwhile waits for the copy, so that a batch which
/// is as large itself is left as it is.
const PACK_BYTES: u64 = 1 << 20;

/// What a column takes besides its values.
const COLUMN_BYTES: u64 = 1024;

/// Batches of one schema, in the order in which they came.
#[derive(Default)]
pub struct Backlog {
    packed: Vec<RecordBatch>,
    loose: Vec<RecordBatch>,
    /// Which rows came together, of all that ever came: no batch has a part of such a push only.
    pushes: Vec<Range<u64>>,
    pushed: u64,
    rows: u64,
    packed_bytes: u64,
    loose_rows: usize,
    loose_bytes: u64,
    since: Option<Instant>,
    samples: HashSet<u128>,
}

/// The rows of a push that are wrong, by their place among all that came, and why.
pub struct Bad {
    pub rows: Range<u64>,
    pub error: Error,
}

/// The rows, copied if they are but a small part of what their memory holds: then it could neither
/// be freed nor rightly counted as long as they wait.
pub fn alone(batch: RecordBatch) -> RecordBatch {
    let columns = batch.columns();
    let own: u64 = columns.iter().map(|column| slice_bytes(column) as u64).sum();
    if bytes(&batch) <= 2 * own + COLUMN_BYTES * columns.len() as u64 {
        return batch;
    }
    // Of one batch alone, the kernel would give a slice.
    let Ok(copy) = concat_batches(&batch.schema(), [&batch, &batch.slice(0, 0)]) else { return batch };
    let columns = copy.columns().iter().map(|column| match column.data_type() {
        // A copy of these shares the values that they look at.
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column.clone(),
    });
    RecordBatch::try_new(copy.schema(), columns.collect()).unwrap_or(copy)
}

/// What the values of an array would take by themselves.
fn slice_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::List(_) => list_bytes::<i32>(array),
        DataType::LargeList(_) => list_bytes::<i64>(array),
        DataType::Struct(_) => array.as_struct().columns().iter().map(slice_bytes).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 4),
    }
}

fn list_bytes<O: OffsetSizeTrait>(array: &ArrayRef) -> usize {
    let list = array.as_list::<O>();
    let items = match (list.value_offsets().first(), list.value_offsets().last()) {
        (Some(first), Some(last)) => {
            slice_bytes(&list.values().slice(first.as_usize(), (*last - *first).as_usize()))
        }
        _ => 0,
    };
    items + std::mem::size_of_val(list.value_offsets())
}

impl Backlog {
    /// Adds rows and returns those that were copied. They are the caller's to drop, away from any
    /// lock, since that may call back the host that lent them.
    #[must_use]
    pub fn add(&mut self, batch: RecordBatch) -> Vec<RecordBatch> {
        let (rows, size) = (batch.num_rows(), bytes(&batch));
        self.since.get_or_insert_with(Instant::now);
        let start = self.pushed;
        self.pushed += rows as u64;
        self.pushes.push(start..self.pushed);
        self.rows += rows as u64;
        if rows >= PACK_ROWS || size >= PACK_BYTES {
            let spent = self.pack();
            self.packed_bytes += size;
            self.packed.push(batch);
            return spent;
        }
        self.loose_rows += rows;
        self.loose_bytes += size;
        self.loose.push(batch);
        match self.loose_rows >= PACK_ROWS || self.loose_bytes >= PACK_BYTES {
            true => self.pack(),
            false => Vec::new(),
        }
    }

    fn pack(&mut self) -> Vec<RecordBatch> {
        let loose = std::mem::take(&mut self.loose);
        let size = std::mem::take(&mut self.loose_bytes);
        self.loose_rows = 0;
        let packed = match loose.as_slice() {
            [first, _, ..] => concat_batches(&first.schema(), &loose).ok(),
            _ => None,
        };
        match packed {
            Some(packed) => {
                self.packed_bytes += bytes(&packed);
                self.packed.push(packed);
                loose
            }
            // Not all dictionaries fit into one; they may wait as they are.
            None => {
                self.packed_bytes += size;
                self.packed.extend(loose);
                Vec::new()
            }
        }
    }

    /// The same rows without the pushes in which `check` finds something wrong, and those.
    pub fn sift(&self, check: impl Fn(&RecordBatch) -> Result<()>) -> (Backlog, Vec<Bad>) {
        let mut good = Backlog { since: self.since, pushed: self.pushed, ..Backlog::default() };
        let mut bad = Vec::new();
        let mut pushes = self.pushes.as_slice();
        for batch in self.batches() {
            let mut rows = 0;
            let within = pushes.iter().take_while(|push| {
                let begins_within = rows < batch.num_rows();
                rows += length(push);
                begins_within
            });
            let (own, rest) = pushes.split_at(within.count());
            good.add_good(batch.clone(), own, &check, &mut bad);
            pushes = rest;
        }
        (good, bad)
    }

    /// Adds those of `pushes`, which `batch` is made of, that are not `bad`.
    fn add_good(
        &mut self,
        batch: RecordBatch,
        pushes: &[Range<u64>],
        check: &impl Fn(&RecordBatch) -> Result<()>,
        bad: &mut Vec<Bad>,
    ) {
        match (check(&batch), pushes) {
            (Ok(()), _) | (Err(_), []) => {
                self.rows += batch.num_rows() as u64;
                self.packed_bytes += bytes(&batch);
                self.packed.push(batch);
                self.pushes.extend_from_slice(pushes);
            }
            (Err(error), [push]) => bad.push(Bad { rows: push.clone(), error }),
            (Err(_), _) => {
                let (first, second) = pushes.split_at(pushes.len() / 2);
                let rows = first.iter().map(length).sum();
                self.add_good(batch.slice(0, rows), first, check, bad);
                self.add_good(batch.slice(rows, batch.num_rows() - rows), second, check, bad);
            }
        }
    }

    /// Whether no more should be added, by the limits of rows and of bytes.
    pub fn is_full(&self, rows: u64, bytes: u64) -> bool {
        self.rows >= rows || self.packed_bytes + self.loose_bytes >= bytes
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many rows ever came, also those that were wrong.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// When the first rows came.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    pub fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.packed.iter().chain(&self.loose)
    }

    /// Notes the samples of rows, unless one of them is here already: then the answer is which of
    /// `samples`, and nothing is noted.
    pub fn note(&mut self, samples: &[u128]) -> Option<usize> {
        let mut own = HashSet::new();
        let repeated =
            samples.iter().position(|sample| self.samples.contains(sample) || !own.insert(*sample));
        if repeated.is_none() {
            self.samples.extend(own);
        }
        repeated
    }
}

fn bytes(batch: &RecordBatch) -> u64 {
    batch.get_array_memory_size() as u64
}

fn length(push: &Range<u64>) -> usize {
    usize::try_from(push.end - push.start).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::{Int8Type, Int64Type};

    use super::*;

    fn one(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap()
    }

    #[test]
    fn rows_are_packed_in_their_order() {
        let mut backlog = Backlog::default();
        let count = 2 * PACK_ROWS as i64 + 7;
        let mut freed = 0;
        for n in 0..count {
            freed += backlog.add(one(Arc::new(Int64Array::from(vec![n])))).len();
        }
        assert_eq!((backlog.rows(), freed), (count as u64, 2 * PACK_ROWS));
        assert_eq!(backlog.batches().count(), 2 + 7);
        let found: Vec<i64> = backlog
            .batches()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(found, (0..count).collect::<Vec<_>>());
        let bytes = backlog.packed_bytes;
        assert!(bytes < 3 * 8 * count as u64, "{bytes}");
        assert!(backlog.is_full(count as u64, u64::MAX) && backlog.is_full(u64::MAX, bytes));
        assert!(!backlog.is_full(count as u64 + 1, u64::MAX));
    }

    #[test]
    fn dictionaries_that_do_not_fit_into_one_wait_apart() {
        let mut backlog = Backlog::default();
        for n in 0..PACK_ROWS {
            let values: ArrayRef = Arc::new(StringArray::from(vec![n.to_string()]));
            let keys = arrow::array::Int8Array::from(vec![0]);
            let column = DictionaryArray::<Int8Type>::try_new(keys, values).unwrap();
            assert!(backlog.add(one(Arc::new(column))).is_empty());
        }
        assert_eq!(backlog.batches().count(), PACK_ROWS);
    }

    #[test]
    fn a_repeated_sample_is_told_and_notes_nothing() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.note(&[1, 2]), None);
        assert_eq!(backlog.note(&[3, 2]), Some(1));
        assert_eq!(backlog.note(&[4, 5, 4]), Some(2));
        assert_eq!(backlog.note(&[3, 4, 5]), None);
    }

    fn numbers(range: Range<i64>) -> RecordBatch {
        one(Arc::new(Int64Array::from_iter_values(range)))
    }

    fn values(backlog: &Backlog) -> Vec<i64> {
        backlog
            .batches()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect()
    }

    #[test]
    fn a_small_part_of_a_large_batch_waits_alone() {
        let texts = || (0..100_000).map(|n| Some(format!("a text that is long enough, {n}")));
        let mut lists = arrow::array::ListBuilder::new(arrow::array::Int64Builder::new());
        (0..100_000).for_each(|n| lists.append_value([Some(n), None]));
        let large = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(0..100_000)) as ArrayRef),
            ("text", Arc::new(texts().collect::<StringArray>())),
            ("view", Arc::new(texts().collect::<arrow::array::StringViewArray>())),
            ("list", Arc::new(lists.finish())),
        ])
        .unwrap();
        for row in [0, 77, 99_999] {
            let slice = large.slice(row, 1);
            let copy = alone(slice.clone());
            assert_eq!(copy, slice);
            assert!(bytes(&slice) > 1_000_000 && bytes(&copy) < 4096, "{}", bytes(&copy));
        }
        // What uses its memory is not copied, neither large nor small.
        for batch in [large, numbers(5..6)] {
            let data = |batch: &RecordBatch| batch.column(0).to_data().buffers()[0].as_ptr();
            assert_eq!(data(&alone(batch.clone())), data(&batch));
        }
    }

    #[test]
    fn a_batch_that_is_large_itself_is_not_copied() {
        let mut backlog = Backlog::default();
        assert!(backlog.add(numbers(0..1)).is_empty());
        assert!(backlog.add(numbers(1..3)).is_empty());
        let large = numbers(3..3 + PACK_ROWS as i64);
        let data = large.column(0).to_data().buffers()[0].as_ptr();
        assert_eq!(backlog.add(large).len(), 2, "what came before is packed before it");
        assert!(backlog.add(numbers(5000..5001)).is_empty());
        let lengths: Vec<_> = backlog.batches().map(RecordBatch::num_rows).collect();
        assert_eq!(lengths, [3, PACK_ROWS, 1]);
        let large = backlog.batches().nth(1).unwrap();
        assert_eq!(large.column(0).to_data().buffers()[0].as_ptr(), data);
        assert_eq!(values(&backlog)[..5], [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_bad_is_sifted_out_by_whole_pushes() {
        let mut backlog = Backlog::default();
        let mut next = 0;
        for rows in [1, 2, 3, 2000, 1, 1, 5] {
            let _ = backlog.add(numbers(next..next + rows));
            next += rows;
        }
        let bad = |wrong: &'static [i64]| {
            move |batch: &RecordBatch| {
                let found = batch.column(0).as_primitive::<Int64Type>().values();
                match found.iter().find(|value| wrong.contains(value)) {
                    Some(value) => Err(Error::invalid(value.to_string())),
                    None => Ok(()),
                }
            }
        };
        let (good, none) = backlog.sift(bad(&[]));
        assert!(none.is_empty() && values(&good) == values(&backlog) && good.rows() == backlog.rows());
        let (good, found) = backlog.sift(bad(&[2, 5, 2007]));
        let found: Vec<_> = found.into_iter().map(|bad| (bad.rows, bad.error.message().to_owned())).collect();
        assert_eq!(found, [(1..3, "2".into()), (3..6, "5".into()), (2007..2008, "2007".into())]);
        assert_eq!((good.rows(), good.pushed()), (2013 - 6, 2013));
        // Once more, from what is left.
        let (good, found) = good.sift(bad(&[0, 100, 2012]));
        let found: Vec<_> = found.into_iter().map(|bad| bad.rows).collect();
        assert_eq!(found, [0..1, 6..2006, 2008..2013]);
        assert_eq!((values(&good), good.rows(), good.pushed()), (vec![2006], 1, 2013));
    }
}
