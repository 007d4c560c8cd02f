//! The rows of a table by the samples they are of, in parts: in memory as long as there is some, then in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;

use super::samples::{PARTS, part};
use crate::error::Result;
use crate::versioning::Memory;

/// What tells rows apart, and which of them is the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub sample: u128,
    pub time: i64,
    /// Where it is, and what is known of it.
    pub address: u64,
}

impl Row {
    const BYTES: usize = size_of::<u128>() + size_of::<i64>() + size_of::<u64>();

    fn record(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.sample.to_le_bytes());
        into.extend_from_slice(&self.time.to_le_bytes());
        into.extend_from_slice(&self.address.to_le_bytes());
    }

    fn of_record(record: &[u8]) -> Row {
        let (sample, rest) = record.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let (time, address) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Row {
            sample: u128::from_le_bytes(*sample),
            time: i64::from_le_bytes(*time),
            address: address.first_chunk().map_or(0, |address| u64::from_le_bytes(*address)),
        }
    }
}

/// The fewest rows that a part makes room for.
const STEP: usize = 64;

/// Takes rows. Those of one sample come out in one part, in the order in which they came.
pub struct Parts {
    memory: Memory,
    reservation: MemoryReservation,
    held: Vec<Vec<Row>>,
    spilled: Option<Spilled>,
}

struct Spilled {
    file: Arc<File>,
    end: u64,
    /// Where the rows of each part are, and how many bytes of them.
    blocks: Vec<Vec<(u64, usize)>>,
}

impl Parts {
    pub fn new(memory: &Memory) -> Parts {
        let reservation = memory.reserve("ids");
        Parts { memory: memory.clone(), reservation, held: vec![Vec::new(); PARTS], spilled: None }
    }

    pub fn push(&mut self, row: Row) -> Result<()> {
        let place = part(row.sample);
        if self.held.get(place).is_some_and(|part| part.len() == part.capacity()) {
            self.make_room(place)?;
        }
        if let Some(part) = self.held.get_mut(place) {
            part.push(row);
        }
        Ok(())
    }

    fn make_room(&mut self, place: usize) -> Result<()> {
        let capacity = self.held.get(place).map_or(0, Vec::capacity);
        // A quarter more: doubling would leave half of the memory unused.
        let rows = (capacity / 4).max(STEP);
        if self.reservation.try_grow(rows * size_of::<Row>()).is_err() {
            self.spill()?;
            if capacity > 0 {
                return Ok(());
            }
            // A part that never had room takes the least there can be.
            self.reservation.grow(rows * size_of::<Row>());
        }
        if let Some(part) = self.held.get_mut(place) {
            part.reserve_exact(rows);
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled {
                file: Arc::new(self.memory.file()?),
                end: 0,
                blocks: vec![Vec::new(); PARTS],
            }),
        };
        let mut records = Vec::new();
        for (part, blocks) in self.held.iter_mut().zip(&mut spilled.blocks) {
            if part.is_empty() {
                continue;
            }
            records.clear();
            part.iter().for_each(|row| row.record(&mut records));
            spilled.file.write_all_at(&records, spilled.end).map_err(|cause| self.memory.broken(&cause))?;
            blocks.push((spilled.end, records.len()));
            spilled.end += records.len() as u64;
            part.clear();
        }
        Ok(())
    }

    /// How many parts may be looked at together: those that were spilled are read whole, and looked at in about three times
    /// their memory.
    pub fn together(&self, most: usize) -> usize {
        let Some(spilled) = &self.spilled else { return most };
        let part = spilled.end / PARTS as u64 * 3;
        let fit = self.memory.bytes() as u64 / 2 / part.max(1);
        usize::try_from(fit).unwrap_or(most).clamp(1, most)
    }

    pub fn finish(self) -> impl Iterator<Item = Part> {
        let Parts { memory, reservation, held, spilled } = self;
        let reservation = Arc::new(reservation);
        let (file, blocks) = spilled.map(|spilled| (spilled.file, spilled.blocks)).unzip();
        let mut blocks = blocks.into_iter().flatten();
        held.into_iter().map(move |held| Part {
            memory: memory.clone(),
            _reservation: reservation.clone(),
            file: file.clone(),
            blocks: blocks.next().unwrap_or_default(),
            held,
        })
    }
}

/// Rows of some samples: all that there are of each.
pub struct Part {
    memory: Memory,
    _reservation: Arc<MemoryReservation>,
    file: Option<Arc<File>>,
    blocks: Vec<(u64, usize)>,
    held: Vec<Row>,
}

impl Part {
    /// Reads what is in the file, which blocks.
    pub fn rows(self) -> Result<Vec<Row>> {
        let Some(file) = self.file.filter(|_| !self.blocks.is_empty()) else { return Ok(self.held) };
        let spilled: usize = self.blocks.iter().map(|(_, bytes)| bytes / Row::BYTES).sum();
        let mut rows = Vec::with_capacity(spilled + self.held.len());
        let mut records = Vec::new();
        for (at, bytes) in self.blocks {
            records.resize(bytes, 0);
            file.read_exact_at(&mut records, at).map_err(|cause| self.memory.broken(&cause))?;
            rows.extend(records.chunks_exact(Row::BYTES).map(Row::of_record));
        }
        rows.extend(self.held);
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(number: u64) -> Row {
        // The first bits choose the part, and each sample comes several times.
        let sample = u128::from(number % 1009) << 118 | u128::from(number % 1009);
        Row { sample, time: number as i64 - 500, address: number << 3 | 1 }
    }

    #[test]
    fn rows_come_back_by_sample_in_their_order() {
        for bytes in [32 << 20, 1 << 30] {
            let memory = Memory::new(bytes, None).unwrap();
            // Of the lesser memory there is nothing left.
            let others = memory.reserve("others");
            if bytes == 32 << 20 {
                others.try_grow(bytes / 2).unwrap();
            }
            let mut parts = Parts::new(&memory);
            (0..50_000).for_each(|number| parts.push(row(number)).unwrap());
            assert_eq!(parts.spilled.is_some(), bytes == 32 << 20);
            assert_eq!(parts.together(4), 4);
            if let Some(end) = parts.spilled.as_ref().map(|spilled| spilled.end) {
                // As if a part were as many megabytes, of the 16 that there are to look at some.
                for (megabytes, together) in [(1, 4), (2, 2), (4, 1), (40, 1)] {
                    parts.spilled.as_mut().unwrap().end = (megabytes << 20) * PARTS as u64;
                    assert_eq!(parts.together(4), together);
                }
                parts.spilled.as_mut().unwrap().end = end;
            }
            let mut seen = BTreeMap::new();
            let mut count = 0;
            for (number, part) in parts.finish().enumerate() {
                for row in part.rows().unwrap() {
                    assert_eq!(super::part(row.sample), number);
                    let last = seen.insert(row.sample, row.address);
                    assert!(last.is_none_or(|last| last < row.address));
                    count += 1;
                }
            }
            assert_eq!((count, seen.len()), (50_000, 1009));
        }
    }

    #[test]
    fn a_record_says_all_of_a_row() {
        let row = Row { sample: u128::MAX - 7, time: i64::MIN, address: u64::MAX >> 1 };
        let mut record = Vec::new();
        row.record(&mut record);
        assert_eq!(record.len(), Row::BYTES);
        assert_eq!(Row::of_record(&record), row);
    }
}
