//! temporary
use super::memory::Memory;
use crate::error::Result;
use std::collections::{HashMap, HashSet};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    New,
    Stale,
}
pub struct Stored {
    pub key: u128,
    pub mark: Option<u64>,
    pub address: u64,
    pub skipped: bool,
    pub forced: bool,
    pub orphan: bool,
}
#[derive(Default)]
pub struct Tally {
    pub keys: u64,
    pub new_keys: u64,
}
pub struct Comparison {
    stored: HashMap<u128, Vec<Stored>>,
    seen: HashSet<u128>,
    new: HashSet<u128>,
}
impl Comparison {
    pub fn new(_: &Memory, _repeats: bool) -> Comparison {
        Comparison { stored: HashMap::new(), seen: HashSet::new(), new: HashSet::new() }
    }
    pub fn add(&mut self, stored: Stored) -> Result<()> {
        self.stored.entry(stored.key).or_default().push(stored);
        Ok(())
    }
    pub fn expect(
        &mut self,
        key: u128,
        mark: Option<u64>,
        origin: &[u64],
        found: &mut impl FnMut(Change, &[u64]) -> Result<()>,
    ) -> Result<()> {
        let Some(rows) = self.stored.get(&key) else {
            self.new.insert(key);
            return found(Change::New, origin);
        };
        if rows.iter().any(|row| row.skipped) {
            return Ok(());
        }
        self.seen.insert(key);
        let forced = rows.iter().any(|row| row.forced);
        let same = mark.is_none() || rows.iter().any(|row| row.mark == mark);
        if forced || !same { found(Change::Stale, origin) } else { Ok(()) }
    }
    pub fn finish(
        self,
        _found: &mut impl FnMut(Change, &[u64]) -> Result<()>,
        orphaned: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<Tally> {
        for (key, rows) in &self.stored {
            if self.seen.contains(key) || rows.iter().any(|row| row.skipped) {
                continue;
            }
            for row in rows {
                if row.orphan {
                    orphaned(row.address)?
                }
            }
        }
        Ok(Tally { keys: (self.seen.len() + self.new.len()) as u64, new_keys: self.new.len() as u64 })
    }
}
