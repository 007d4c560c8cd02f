//! A part that did not fit into memory, until it is settled.

use std::collections::HashSet;

use datafusion::execution::memory_pool::MemoryReservation;

use super::entry::{Entry, ORPHAN, SEEN, SKIPPED, expected_of_record, key_of_record};
use super::part::Part;
use super::spill::{BLOCK, Keys, Run, SpillFile};
use super::{Change, Repeats, Rules, Tally};
use crate::error::Result;

/// The memory that settling may take if there is none left. Tests have few rows.
const GRANTED: usize = if cfg!(test) { 4 << 10 } else { 256 << 10 };

/// How many bits of the keys a part is split by at a time.
const SPLIT_BITS: u32 = 4;

/// What is stored and what is expected of the keys that agree in their first bits.
pub struct Spilled {
    memory: MemoryReservation,
    bits: u32,
    rules: Rules,
    stored: Run,
    /// Expected rows that are not yet compared.
    expected: Run,
    /// Expected keys that no row is stored for, and that are counted.
    fresh: Run,
}

impl Spilled {
    pub fn new(memory: MemoryReservation, bits: u32, rules: Rules) -> Spilled {
        // The last block of each run is in memory, whether there is room or not.
        memory.grow(2 * BLOCK);
        let (stored, expected, fresh) = Default::default();
        Spilled { memory, bits, rules, stored, expected, fresh }
    }

    pub fn add(&mut self, file: &mut SpillFile, entry: &Entry) -> Result<()> {
        self.stored.push(file, &entry.record())
    }

    pub fn remember(&mut self, file: &mut SpillFile, key: u128) -> Result<()> {
        self.fresh.push(file, &key.to_le_bytes())
    }

    pub fn expect(&mut self, file: &mut SpillFile, record: &[u8]) -> Result<()> {
        self.expected.push(file, record)
    }

    /// Compares what is expected with what is stored.
    pub fn settle<F, O>(
        self,
        file: &mut SpillFile,
        tally: &mut Tally,
        found: &mut F,
        orphaned: &mut O,
    ) -> Result<()>
    where
        F: FnMut(Change, &[u64]) -> Result<()>,
        O: FnMut(u64) -> Result<()>,
    {
        let mut part = self.part();
        let fresh = match self.rules.repeats {
            Repeats::Never => 0,
            Repeats::Compared | Repeats::Told => self.fresh.records() + self.expected.records(),
        };
        if part.reserve(self.stored.records(), fresh, GRANTED) {
            self.load(file, &mut part)?;
            part.sort();
            self.compare(file, &mut part, tally, found)?;
            return part.orphans().try_for_each(orphaned);
        }
        if self.keys() != Keys::Many {
            return self.settle_key(file, tally, found, orphaned);
        }
        for spilled in self.split(file)? {
            spilled.settle(file, tally, found, orphaned)?;
        }
        Ok(())
    }

    fn part(&self) -> Part {
        Part::new(self.memory.new_empty(), self.bits, self.rules)
    }

    fn keys(&self) -> Keys {
        self.stored.keys().and(self.expected.keys()).and(self.fresh.keys())
    }

    fn load(&self, file: &mut SpillFile, part: &mut Part) -> Result<()> {
        self.stored.each(file, |_, record| {
            part.push(Entry::of_record(record));
            Ok(())
        })?;
        self.load_fresh(file, part)
    }

    fn load_fresh(&self, file: &mut SpillFile, part: &mut Part) -> Result<()> {
        self.fresh.each(file, |_, record| {
            part.remember(key_of_record(record));
            Ok(())
        })
    }

    fn compare<F>(
        &self,
        file: &mut SpillFile,
        part: &mut Part,
        tally: &mut Tally,
        found: &mut F,
    ) -> Result<()>
    where
        F: FnMut(Change, &[u64]) -> Result<()>,
    {
        let mut origin = Vec::new();
        self.expected.each(file, |_, record| {
            let (key, mark) = expected_of_record(record, &mut origin);
            part.expect(key, mark, tally).map_or(Ok(()), |change| found(change, &origin))
        })
    }

    /// As [`Spilled::settle`] for rows that are all of one key, which cannot be split. Of those with the same
    /// mark one is enough to compare with: the children of a sample have its mark. Those that are skipped count
    /// only if there are no others.
    fn settle_key<F, O>(
        self,
        file: &mut SpillFile,
        tally: &mut Tally,
        found: &mut F,
        orphaned: &mut O,
    ) -> Result<()>
    where
        F: FnMut(Change, &[u64]) -> Result<()>,
        O: FnMut(u64) -> Result<()>,
    {
        let mut part = self.part();
        let (mut marks, mut flags, mut skipped) = (HashSet::new(), 0, None);
        self.stored.each(file, |_, record| {
            let entry = Entry::of_record(record);
            flags |= entry.speaks();
            if entry.is(SKIPPED) {
                skipped = Some(entry);
            } else if marks.insert(entry.mark) {
                part.push(entry);
            }
            Ok(())
        })?;
        if let Some(mut entry) = part.entries().first().copied().or(skipped) {
            entry.set(flags);
            part.push(entry);
        }
        self.load_fresh(file, &mut part)?;
        part.sort();
        self.compare(file, &mut part, tally, found)?;
        if part.entries().first().is_none_or(|first| first.is(SEEN | SKIPPED)) {
            return Ok(());
        }
        self.stored.each(file, |_, record| {
            let entry = Entry::of_record(record);
            if entry.is(ORPHAN) && !entry.is(SKIPPED) { orphaned(entry.address()) } else { Ok(()) }
        })
    }

    /// The same rows in parts by the next bits of their keys.
    fn split(self, file: &mut SpillFile) -> Result<Vec<Spilled>> {
        let bits = self.bits + SPLIT_BITS;
        let new = || Spilled::new(self.memory.new_empty(), bits, self.rules);
        let mut children: Vec<Spilled> = std::iter::repeat_with(new).take(1 << SPLIT_BITS).collect();
        let place = |record: &[u8]| {
            let next = key_of_record(record).checked_shl(self.bits).unwrap_or(0);
            (next >> (u128::BITS - SPLIT_BITS)) as usize
        };
        let runs: [(&Run, fn(&mut Spilled) -> &mut Run); 3] = [
            (&self.stored, |child| &mut child.stored),
            (&self.expected, |child| &mut child.expected),
            (&self.fresh, |child| &mut child.fresh),
        ];
        for (run, of) in runs {
            run.each(file, |file, record| match children.get_mut(place(record)) {
                Some(child) => of(child).push(file, record),
                None => Ok(()),
            })?;
        }
        Ok(children)
    }
}
