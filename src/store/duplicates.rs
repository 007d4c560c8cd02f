//! Samples that occur twice in one write, noticed as the rows pass by.
//!
//! A write may be longer than memory, so a row must cost little: a set of 128-bit numbers in open
//! addressing, grown by a fifth at a time, costs 19 to 23 bytes per row. The maps of the standard
//! library double, and would cost up to 39.

/// The part of a table that may be used before it grows.
const FULL: (usize, usize) = (85, 100);

/// How much a table grows.
const GROWTH: (usize, usize) = (12, 10);

/// The set is cut into parts that grow one after the other, so that growing needs little room.
const PARTS: usize = 256;

/// The samples seen so far in one write.
pub struct Seen {
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    /// 0 is an empty place.
    places: Vec<u128>,
    used: usize,
}

impl Seen {
    pub fn new() -> Seen {
        Seen { parts: (0..PARTS).map(|_| Part::default()).collect() }
    }

    /// Remembers a sample; false if it was there already.
    pub fn insert(&mut self, sample: u128) -> bool {
        let sample = sample.max(1);
        match self.parts.get_mut((sample >> 120) as usize % PARTS) {
            Some(part) => part.insert(sample),
            None => true,
        }
    }
}

impl Part {
    fn insert(&mut self, sample: u128) -> bool {
        if self.used * FULL.1 >= self.places.len() * FULL.0 {
            let places = (self.places.len() * GROWTH.0 / GROWTH.1).max(16);
            let former = std::mem::replace(&mut self.places, vec![0; places]);
            for sample in former.into_iter().filter(|sample| *sample != 0) {
                self.put(sample);
            }
        }
        let inserted = self.put(sample);
        self.used += usize::from(inserted);
        inserted
    }

    fn put(&mut self, sample: u128) -> bool {
        let count = self.places.len();
        // The low half spreads over the places; the high bits chose the part.
        let start = ((sample as u64 as u128 * count as u128) >> 64) as usize;
        let (before, after) = self.places.split_at_mut(start.min(count));
        for place in after.iter_mut().chain(before) {
            if *place == 0 {
                *place = sample;
                return true;
            }
            if *place == sample {
                return false;
            }
        }
        // Not reached: a part is never full.
        true
    }
}

/// For each sample of a write, which of its rows came last: 24 bytes per row.
pub struct LastRows {
    parts: Vec<Vec<[u64; 3]>>,
}

impl LastRows {
    pub fn new() -> LastRows {
        LastRows { parts: vec![Vec::new(); PARTS] }
    }

    /// Notes the next row, which is about `sample`.
    pub fn push(&mut self, sample: u128, row: u64) {
        if let Some(part) = self.parts.get_mut((sample >> 120) as usize % PARTS) {
            part.push([(sample >> 64) as u64, sample as u64, row]);
        }
    }

    /// The rows that a later row of the same sample replaces, in ascending order.
    pub fn replaced(self) -> Vec<u64> {
        let mut replaced = Vec::new();
        for mut part in self.parts {
            part.sort_unstable();
            replaced.extend(
                part.iter()
                    .zip(part.iter().skip(1))
                    .filter(|([high, low, _], [next_high, next_low, _])| high == next_high && low == next_low)
                    .map(|([_, _, row], _)| *row),
            );
        }
        replaced.sort_unstable();
        replaced
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_costs_at_most_24_bytes() {
        let mut seen = Seen::new();
        let samples = 400_000_u64;
        for number in 0..samples {
            assert!(seen.insert(xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes())));
        }
        let bytes: usize = seen.parts.iter().map(|part| part.places.capacity() * 16).sum();
        assert!(bytes <= 24 * samples as usize, "{bytes} bytes for {samples} rows");
        assert!(!seen.insert(xxhash_rust::xxh3::xxh3_128(&7_u64.to_le_bytes())));
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(samples in proptest::collection::vec((0_u128..40, 0_u32..4), 0..300)) {
            let mut seen = Seen::new();
            let mut model = HashSet::new();
            for (low, high) in samples {
                let sample = (u128::from(high) << 120) | (low + 1);
                prop_assert_eq!(seen.insert(sample), model.insert(sample));
            }
        }

        #[test]
        fn the_last_row_of_a_sample_stays(samples in proptest::collection::vec(0_u128..9, 0..60)) {
            let mut rows = LastRows::new();
            for (row, sample) in samples.iter().enumerate() {
                rows.push(*sample << 119, row as u64);
            }
            let expected: Vec<u64> = (0..samples.len())
                .filter(|row| samples[row + 1..].contains(&samples[*row]))
                .map(|row| row as u64)
                .collect();
            prop_assert_eq!(rows.replaced(), expected);
        }
    }
}
