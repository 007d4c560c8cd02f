//! Comparing the samples that are expected with those that are stored, within bounds of memory.
//!
//! Keys are divided into parts by their first bits. What is stored of a part is in memory as long as there is
//! some; then it goes to a file, and what is expected of it follows, until the rest is done and has left its
//! memory to one part after the other.

mod entry;
mod part;
mod spill;
mod spilled;

#[cfg(test)]
mod tests;

use std::hint::black_box;
use std::mem::take;

use datafusion::execution::memory_pool::MemoryReservation;

use self::entry::Entry;
use self::part::Part;
use self::spill::SpillFile;
use self::spilled::Spilled;
use super::Memory;
use crate::error::{Error, Result, Status};

/// How many of a key's bits choose its part.
const PART_BITS: u32 = 6;

/// How many expected rows are looked up together.
const TOGETHER: usize = 128;

/// A stored row.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// A hash of what identifies its sample.
    pub key: u128,
    /// A hash of its provenance.
    pub mark: Option<u64>,
    /// Where it is, in at most 60 bits.
    pub address: u64,
    /// It is not compared, and its sample is left alone unless another row of it is.
    pub skipped: bool,
    /// If it is compared, its sample is stale, whatever its provenance.
    pub forced: bool,
    /// It may be orphaned.
    pub orphan: bool,
}

/// What is known of the rows that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub repeats: Repeats,
    /// All rows that are stored of a key must be of the provenance that is expected; else one of them is enough.
    pub every: bool,
}

/// Whether an expected key may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// None does: new ones need not be remembered.
    Never,
    /// It is compared like the first.
    Compared,
    /// It is told as [`Change::Again`].
    Told,
}

/// What there is to do for an expected row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// No row is stored of its sample.
    New,
    /// Those that are stored are of another provenance.
    Stale,
    /// Its key was expected before.
    Again,
}

/// Distinct expected keys, without those that are left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub keys: u64,
    pub new_keys: u64,
}

/// Takes all stored rows, then all expected ones.
pub struct Comparison {
    memory: MemoryReservation,
    file: SpillFile,
    parts: Vec<State>,
    rules: Rules,
    /// How many numbers say where an expected row comes from, once there was one.
    origin: Option<usize>,
    /// The keys and marks of expected rows that are not looked up yet, and where they come from.
    waiting: Vec<(u128, u64)>,
    origins: Vec<u64>,
    tally: Tally,
    record: Vec<u8>,
}

enum State {
    Held(Part),
    Spilled(Spilled),
}

impl State {
    fn held(&self) -> Option<&Part> {
        match self {
            State::Held(part) => Some(part),
            State::Spilled(_) => None,
        }
    }
}

impl Comparison {
    pub fn new(memory: &Memory, rules: Rules) -> Comparison {
        let reservation = memory.reserve("comparison");
        let new = || State::Held(Part::new(reservation.new_empty(), PART_BITS, rules));
        Comparison {
            parts: std::iter::repeat_with(new).take(1 << PART_BITS).collect(),
            memory: reservation,
            file: SpillFile::new(memory),
            rules,
            origin: None,
            waiting: Vec::with_capacity(TOGETHER),
            origins: Vec::new(),
            tally: Tally::default(),
            record: Vec::new(),
        }
    }

    /// Adds a stored row; all of them come before the first expected one.
    pub fn add(&mut self, stored: Stored) -> Result<()> {
        if self.origin.is_some() {
            return Err(Error::new(Status::Internal, "a stored row came after those it is compared with"));
        }
        let place = place(stored.key);
        self.make_room(place, Part::fits_row)?;
        match self.parts.get_mut(place) {
            Some(State::Held(part)) => part.push(Entry::new(&stored)),
            Some(State::Spilled(spilled)) => spilled.add(&mut self.file, &Entry::new(&stored))?,
            None => {}
        }
        Ok(())
    }

    /// Compares an expected row with what is stored, now or later. `origin`, of as many numbers for every row,
    /// comes back if there is something to do for it.
    pub fn expect(
        &mut self,
        key: u128,
        mark: Option<u64>,
        origin: &[u64],
        found: &mut impl FnMut(Change, &[u64]) -> Result<()>,
    ) -> Result<()> {
        if self.origin != Some(origin.len()) {
            self.begin(origin.len())?;
        }
        self.waiting.push((key, entry::mark(mark)));
        self.origins.extend_from_slice(origin);
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.look_up(found) }
    }

    /// Compares what is left, and finds the orphans.
    pub fn finish(
        mut self,
        found: &mut impl FnMut(Change, &[u64]) -> Result<()>,
        orphaned: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<Tally> {
        match self.origin {
            Some(_) => self.look_up(found)?,
            None => self.begin(0)?,
        }
        let mut left = Vec::new();
        // Parts in memory make room for those that are not.
        for state in self.parts {
            match state {
                State::Held(part) => part.orphans().try_for_each(&mut *orphaned)?,
                State::Spilled(spilled) => left.push(spilled),
            }
        }
        for spilled in left {
            spilled.settle(&mut self.file, &mut self.tally, found, orphaned)?;
        }
        Ok(self.tally)
    }

    /// Makes ready for expected rows from places that so many numbers say.
    fn begin(&mut self, origin: usize) -> Result<()> {
        if self.origin.is_some() {
            return Err(Error::new(Status::Internal, "expected rows come from places unlike each other"));
        }
        self.origin = Some(origin);
        for state in &mut self.parts {
            if let State::Held(part) = state {
                part.sort();
            }
        }
        Ok(())
    }

    fn look_up(&mut self, found: &mut impl FnMut(Change, &[u64]) -> Result<()>) -> Result<()> {
        // Reading ahead lets the rows wait for memory all at once, not one after the other.
        let keys = self.waiting.iter().map(|(key, _)| *key);
        black_box(keys.fold(0, |all, key| {
            all ^ self.parts.get(place(key)).and_then(State::held).map_or(0, |part| part.read_ahead(key))
        }));
        let (mut waiting, mut origins) = (take(&mut self.waiting), take(&mut self.origins));
        let mut each = origins.chunks_exact(self.origin.unwrap_or_default().max(1));
        for (key, mark) in waiting.drain(..) {
            self.compare(key, mark, each.next().unwrap_or_default(), found)?;
        }
        origins.clear();
        (self.waiting, self.origins) = (waiting, origins);
        Ok(())
    }

    fn compare(
        &mut self,
        key: u128,
        mark: u64,
        origin: &[u64],
        found: &mut impl FnMut(Change, &[u64]) -> Result<()>,
    ) -> Result<()> {
        let place = place(key);
        self.make_room(place, Part::fits_fresh)?;
        match self.parts.get_mut(place) {
            Some(State::Held(part)) => match part.expect(key, mark, &mut self.tally) {
                Some(change) => found(change, origin),
                None => Ok(()),
            },
            Some(State::Spilled(spilled)) => {
                entry::record_expected(&mut self.record, key, mark, origin);
                spilled.expect(&mut self.file, &self.record)
            }
            None => Ok(()),
        }
    }

    /// Spills the largest parts until one has what it needs, or is spilled itself.
    fn make_room(&mut self, place: usize, fits: fn(&mut Part) -> bool) -> Result<()> {
        while let Some(State::Held(part)) = self.parts.get_mut(place) {
            if fits(part) {
                break;
            }
            let bytes = |place: &usize| self.parts.get(*place).and_then(State::held).map(Part::bytes);
            // Of equal ones the part itself, which comes last.
            let largest = (0..self.parts.len()).chain([place]).max_by_key(bytes);
            self.spill(largest.unwrap_or(place))?;
        }
        Ok(())
    }

    fn spill(&mut self, place: usize) -> Result<()> {
        let Some(state) = self.parts.get_mut(place) else { return Ok(()) };
        let State::Held(part) = state else { return Ok(()) };
        let mut spilled = Spilled::new(self.memory.new_empty(), PART_BITS, self.rules);
        for entry in part.entries() {
            spilled.add(&mut self.file, entry)?;
        }
        for key in part.fresh() {
            spilled.remember(&mut self.file, key)?;
        }
        *state = State::Spilled(spilled);
        Ok(())
    }
}

/// The part of a key.
fn place(key: u128) -> usize {
    (key >> (u128::BITS - PART_BITS)) as usize
}
