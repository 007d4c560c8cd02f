//! The stored rows of one part of all keys, in memory.

use std::ops::Range;

use datafusion::execution::memory_pool::MemoryReservation;
use hashbrown::HashTable;

use super::entry::{Entry, FORCED, NULL, ORPHAN, SEEN, SKIPPED};
use super::{Change, Repeats, Rules, Tally};

/// How many rows share a place in the directory.
const PER_PLACE: usize = 4;

/// What a row takes, with its share of the directory.
const ROW: usize = size_of::<Entry>() + size_of::<u32>() / PER_PLACE;

/// The fewest rows, or keys, that a part makes room for.
const STEP: usize = 64;

/// Stored rows whose keys agree in their first bits: collected, then sorted, then looked up.
pub struct Part {
    memory: MemoryReservation,
    /// How many bits the keys agree in.
    bits: u32,
    rules: Rules,
    entries: Vec<Entry>,
    /// Where the entries begin whose keys are at least so great, in equal steps.
    directory: Vec<u32>,
    /// Expected keys that no row is stored for, if they may come again.
    fresh: HashTable<u128>,
}

impl Part {
    pub fn new(memory: MemoryReservation, bits: u32, rules: Rules) -> Part {
        Part { memory, bits, rules, entries: Vec::new(), directory: Vec::new(), fresh: HashTable::new() }
    }

    /// Makes room for so many rows and fresh keys; false if there is not so much memory. `granted` bytes are
    /// there in any case.
    pub fn reserve(&mut self, rows: usize, fresh: usize, granted: usize) -> bool {
        let bytes = rows.saturating_mul(ROW).saturating_add(table_bytes(fresh));
        if bytes <= granted {
            self.memory.grow(bytes);
        } else if self.memory.try_grow(bytes).is_err() {
            return false;
        }
        self.entries.reserve_exact(rows);
        self.fresh.reserve(fresh, |key| hash(*key));
        true
    }

    /// Makes room for one row more; false if there is no memory for it.
    pub fn fits_row(&mut self) -> bool {
        if self.entries.len() < self.entries.capacity() {
            return true;
        }
        // A quarter more: doubling would leave half of the memory unused.
        let rows = (self.entries.capacity() / 4).max(STEP);
        if self.memory.try_grow(rows * ROW).is_err() {
            return false;
        }
        self.entries.reserve_exact(rows);
        true
    }

    /// Makes room for one fresh key more, if they are remembered; false if there is no memory for it.
    pub fn fits_fresh(&mut self) -> bool {
        if self.rules.repeats == Repeats::Never || self.fresh.len() < self.fresh.capacity() {
            return true;
        }
        let more = self.fresh.capacity().max(STEP);
        if self.memory.try_grow(table_bytes(self.fresh.len() + more)).is_err() {
            return false;
        }
        self.fresh.reserve(more, |key| hash(*key));
        // The smaller table is gone.
        self.memory.resize(self.entries.capacity() * ROW + self.fresh.allocation_size());
        true
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        self.memory.size()
    }

    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn fresh(&self) -> impl Iterator<Item = u128> + '_ {
        self.fresh.iter().copied()
    }

    /// Remembers an expected key that no row is stored for; false if it was.
    pub fn remember(&mut self, key: u128) -> bool {
        if self.fresh.find(hash(key), |other| *other == key).is_some() {
            return false;
        }
        self.fresh.insert_unique(hash(key), key, |other| hash(*other));
        true
    }

    /// Makes ready for looking up.
    pub fn sort(&mut self) {
        self.entries.sort_unstable_by_key(order);
        // The first of the rows of a key answers for all of them. It is skipped only if they all are.
        for rows in self.entries.chunk_by_mut(|one, other| one.key == other.key) {
            let flags = rows.iter().fold(0, |flags, row| flags | row.speaks());
            if let Some(first) = rows.first_mut() {
                first.set(flags);
            }
        }
        let places = self.entries.len() / PER_PLACE + 1;
        self.directory = Vec::with_capacity(places + 1);
        for (index, entry) in (0..).zip(&self.entries) {
            let place = place(entry.key, self.bits, places);
            while self.directory.len() <= place {
                self.directory.push(index);
            }
        }
        self.directory.resize(places + 1, self.entries.len() as u32);
    }

    /// Compares an expected row with what is stored of its key.
    pub fn expect(&mut self, key: u128, mark: u64, tally: &mut Tally) -> Option<Change> {
        let found = self.find(key).and_then(|rows| self.entries.get_mut(rows));
        let Some((first, others)) = found.and_then(<[Entry]>::split_first_mut) else {
            if self.rules.repeats == Repeats::Never || self.remember(key) {
                tally.keys += 1;
                tally.new_keys += 1;
                return Some(Change::New);
            }
            return Some(if self.rules.repeats == Repeats::Told { Change::Again } else { Change::New });
        };
        let again = first.is(SEEN);
        first.set(SEEN);
        if again && self.rules.repeats == Repeats::Told {
            return Some(Change::Again);
        }
        if first.is(SKIPPED) {
            return None;
        }
        if !again {
            tally.keys += 1;
        }
        let agrees = || match self.rules.every {
            true => first.mark == mark && last_mark(others, key).is_none_or(|last| last == mark),
            false => first.mark == mark || has_mark(others, key, mark),
        };
        (first.is(FORCED) || mark != NULL && !agrees()).then_some(Change::Stale)
    }

    /// Reads what [`Part::expect`] will. The answer means nothing.
    pub fn read_ahead(&self, key: u128) -> u64 {
        let place = place(key, self.bits, self.directory.len().saturating_sub(1));
        let start = self.directory.get(place).map_or(0, |start| *start as usize);
        [start, start + PER_PLACE / 2, start + PER_PLACE]
            .map(|at| self.entries.get(at).map_or(0, |entry| entry.mark))
            .iter()
            .fold(0, |all, mark| all ^ mark)
    }

    /// The rows of a key, with perhaps those of greater ones behind them.
    fn find(&self, key: u128) -> Option<Range<usize>> {
        let places = self.directory.len().checked_sub(1)?;
        let place = place(key, self.bits, places);
        let start = *self.directory.get(place)? as usize;
        let end = *self.directory.get(place + 1)? as usize;
        let rows = self.entries.get(start..end)?;
        let before = rows.partition_point(|entry| entry.key < key);
        rows.get(before).is_some_and(|entry| entry.key == key).then_some(start + before..end)
    }

    /// The addresses of the orphans among the rows whose key was not expected.
    pub fn orphans(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries
            .chunk_by(|one, other| one.key == other.key)
            .filter(|rows| rows.first().is_some_and(|first| !first.is(SEEN | SKIPPED)))
            .flatten()
            .filter(|row| row.is(ORPHAN) && !row.is(SKIPPED))
            .map(Entry::address)
    }
}

/// The order of rows: those of one key together, first those that are compared.
fn order(row: &Entry) -> (u128, bool, u64) {
    (row.key, row.is(SKIPPED), row.mark)
}

/// Whether one of the rows, in their order, is compared, is of this key and has this mark.
fn has_mark(rows: &[Entry], key: u128, mark: u64) -> bool {
    let wanted = (key, false, mark);
    let before = rows.partition_point(|row| order(row) < wanted);
    rows.get(before).is_some_and(|row| order(row) == wanted)
}

/// The mark of the last of those rows, in their order, that are compared and of this key.
fn last_mark(rows: &[Entry], key: u128) -> Option<u64> {
    let after = rows.partition_point(|row| (row.key, row.is(SKIPPED)) <= (key, false));
    rows.get(after.checked_sub(1)?).map(|row| row.mark)
}

/// The place of a key in a directory of so many, by the bits after the first ones.
fn place(key: u128, bits: u32, places: usize) -> usize {
    let next = key.checked_shl(bits).unwrap_or(0) >> 64;
    ((next * places as u128) >> 64) as usize
}

/// At least what a table of so many keys takes.
fn table_bytes(keys: usize) -> usize {
    if keys == 0 {
        return 0;
    }
    let slots = (keys.saturating_mul(8) / 7).saturating_add(4).checked_next_power_of_two();
    slots.unwrap_or(usize::MAX).saturating_mul(size_of::<u128>() + 1).saturating_add(32)
}

/// The first bits chose the part; the low ones are as good as random.
fn hash(key: u128) -> u64 {
    key as u64
}
