//! Rows that wait to become one write.

use std::collections::HashSet;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

/// Rows that come together in smaller batches are copied into one of about this many: a batch of one
/// row takes some twenty times the memory of its values.
const PACK_ROWS: usize = 1024;

/// Beyond this, offsets of 32 bits might not suffice for a batch made of others.
const PACK_BYTES: u64 = 1 << 30;

/// Batches of one schema, in the order in which they came.
#[derive(Default)]
pub struct Backlog {
    packed: Vec<RecordBatch>,
    loose: Vec<RecordBatch>,
    rows: u64,
    packed_bytes: u64,
    loose_bytes: u64,
    since: Option<Instant>,
    samples: HashSet<u128>,
}

impl Backlog {
    /// Adds rows and returns those that were copied. They are the caller's to drop, away from any
    /// lock, since that may call back the host that lent them.
    #[must_use]
    pub fn add(&mut self, batch: RecordBatch) -> Vec<RecordBatch> {
        self.since.get_or_insert_with(Instant::now);
        self.rows += batch.num_rows() as u64;
        self.loose_bytes += bytes(&batch);
        self.loose.push(batch);
        let loose: usize = self.loose.iter().map(RecordBatch::num_rows).sum();
        if loose < PACK_ROWS { Vec::new() } else { self.pack() }
    }

    fn pack(&mut self) -> Vec<RecordBatch> {
        let loose = std::mem::take(&mut self.loose);
        let size = std::mem::take(&mut self.loose_bytes);
        let packed = match loose.as_slice() {
            [first, _, ..] if size < PACK_BYTES => concat_batches(&first.schema(), &loose).ok(),
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

    /// Whether no more should be added, by the limits of rows and of bytes.
    pub fn is_full(&self, rows: u64, bytes: u64) -> bool {
        self.rows >= rows || self.packed_bytes + self.loose_bytes >= bytes
    }

    pub fn rows(&self) -> u64 {
        self.rows
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int64Array, StringArray};
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
}
