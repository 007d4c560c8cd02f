//! Sets of samples: which ones a store of a chain has, so that the stores below keep quiet about them.

use hashbrown::HashTable;

/// How many parts samples are told apart in, by their first bits, so that each fits into a cache.
pub const PARTS: usize = 64;

/// The part that a sample belongs to.
pub fn part(sample: u128) -> usize {
    (sample >> 122) as usize % PARTS
}

/// The bits of a sample that a hash table may use: the top ones chose the part, and the low ones are
/// as good as random.
pub fn hash(sample: u128) -> u64 {
    sample as u64
}

/// A set of samples; one costs some 20 to 40 bytes.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<HashTable<u128>>);

impl Samples {
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(HashTable::is_empty)
    }

    pub fn contains(&self, sample: u128) -> bool {
        self.0
            .get(part(sample))
            .is_some_and(|part| part.find(hash(sample), |other| *other == sample).is_some())
    }

    /// Adds all of `samples`.
    pub fn extend(&mut self, samples: impl IntoIterator<Item = u128>) {
        for sample in samples {
            self.insert(sample);
        }
    }

    /// Adds a sample; false if it was there.
    pub fn insert(&mut self, sample: u128) -> bool {
        if self.contains(sample) {
            return false;
        }
        if self.0.is_empty() {
            self.0.resize_with(PARTS, HashTable::new);
        }
        if let Some(part) = self.0.get_mut(part(sample)) {
            part.insert_unique(hash(sample), sample, |other| hash(*other));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it_once() {
        let mut samples = Samples::default();
        assert!(samples.is_empty() && !samples.contains(0));
        let spread = |n: u128| n << 120 | n;
        samples.extend((0..500).map(spread));
        assert!((0..500).all(|n| samples.contains(spread(n)) && !samples.insert(spread(n))));
        assert!(!samples.contains(spread(500)) && samples.insert(spread(500)) && !samples.is_empty());
    }
}
