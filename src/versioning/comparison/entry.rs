//! Stored rows and expected ones, as small as they can be.

use super::Stored;

/// The bits of an address that an address may use.
const ADDRESS: u64 = (1 << 60) - 1;

/// What an address is marked with.
pub const SKIPPED: u64 = 1 << 60;
pub const FORCED: u64 = 1 << 61;
pub const ORPHAN: u64 = 1 << 62;
/// The key was expected.
pub const SEEN: u64 = 1 << 63;

/// The mark of a null. A provenance that hashes to it is taken for one that hashes to 1, as any two of the
/// same hash are.
pub const NULL: u64 = 0;

pub fn mark(mark: Option<u64>) -> u64 {
    mark.map_or(NULL, |mark| mark.max(1))
}

/// A stored row.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub key: u128,
    pub mark: u64,
    flagged: u64,
}

impl Entry {
    /// The bytes of a record.
    pub const WIDTH: usize = 32;

    pub fn new(stored: &Stored) -> Entry {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let flags = flag(stored.skipped, SKIPPED) | flag(stored.forced, FORCED) | flag(stored.orphan, ORPHAN);
        Entry { key: stored.key, mark: mark(stored.mark), flagged: stored.address & ADDRESS | flags }
    }

    pub fn address(&self) -> u64 {
        self.flagged & ADDRESS
    }

    /// The flags that it has for all rows of its key.
    pub fn speaks(&self) -> u64 {
        self.flagged & if self.is(SKIPPED) { SEEN } else { SEEN | FORCED }
    }

    pub fn is(&self, flag: u64) -> bool {
        self.flagged & flag != 0
    }

    pub fn set(&mut self, flags: u64) {
        self.flagged |= flags & !ADDRESS;
    }

    pub fn record(&self) -> [u8; Entry::WIDTH] {
        let mut record = [0; Entry::WIDTH];
        let bytes = self
            .key
            .to_le_bytes()
            .into_iter()
            .chain(self.mark.to_le_bytes())
            .chain(self.flagged.to_le_bytes());
        for (place, byte) in record.iter_mut().zip(bytes) {
            *place = byte;
        }
        record
    }

    pub fn of_record(record: &[u8]) -> Entry {
        let (key, mark, rest) = head(record);
        Entry { key, mark, flagged: words(rest).next().unwrap_or_default() }
    }
}

/// Writes the record of an expected row into `record`.
pub fn record_expected(record: &mut Vec<u8>, key: u128, mark: u64, origin: &[u64]) {
    record.clear();
    record.extend(key.to_le_bytes());
    record.extend(mark.to_le_bytes());
    for word in origin {
        record.extend(word.to_le_bytes());
    }
}

/// Reads the record of an expected row.
pub fn expected_of_record(record: &[u8], origin: &mut Vec<u64>) -> (u128, u64) {
    let (key, mark, rest) = head(record);
    origin.clear();
    origin.extend(words(rest));
    (key, mark)
}

/// The key that each record begins with.
pub fn key_of_record(record: &[u8]) -> u128 {
    record.first_chunk().map_or(0, |key| u128::from_le_bytes(*key))
}

fn head(record: &[u8]) -> (u128, u64, &[u8]) {
    let (_, rest) = record.split_at(record.len().min(size_of::<u128>()));
    let (mark, rest) = rest.split_at(rest.len().min(size_of::<u64>()));
    (key_of_record(record), words(mark).next().unwrap_or_default(), rest)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .chunks_exact(size_of::<u64>())
        .map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
}
