//! Samples that occur more than once in one write.
//!
//! A write may be longer than memory, so a row must cost little: its sample and its number, 24 bytes.
//! They are only sorted when the write ends, which costs a fifth of the time that a hash set takes.

/// The numbers are kept apart by the first bits of their sample, so that sorting stays within a
/// cache.
const PARTS: usize = 256;

/// The samples of a write, row by row.
pub struct Occurrences {
    parts: Vec<Vec<[u64; 3]>>,
    rows: u64,
}

/// Two rows about one sample, and none between them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repeat {
    pub earlier: u64,
    pub later: u64,
}

impl Occurrences {
    pub fn new() -> Occurrences {
        Occurrences { parts: vec![Vec::new(); PARTS], rows: 0 }
    }

    /// Notes the next rows by their samples.
    pub fn push(&mut self, samples: &[u128]) {
        for sample in samples {
            if let Some(part) = self.parts.get_mut((sample >> 120) as usize) {
                if part.len() == part.capacity() {
                    // Doubling would cost up to 48 bytes for each row.
                    part.reserve_exact(part.len() / 5 + 64);
                }
                part.push([(sample >> 64) as u64, *sample as u64, self.rows]);
            }
            self.rows += 1;
        }
    }

    /// All repeats, in the order of the earlier rows.
    pub fn repeats(self) -> Vec<Repeat> {
        let mut repeats = Vec::new();
        for mut part in self.parts {
            part.sort_unstable();
            for (earlier, later) in part.iter().zip(part.iter().skip(1)) {
                if (earlier[0], earlier[1]) == (later[0], later[1]) {
                    repeats.push(Repeat { earlier: earlier[2], later: later[2] });
                }
            }
        }
        repeats.sort_unstable();
        repeats
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    #[test]
    fn a_row_costs_at_most_24_bytes_and_a_fifth_of_room_to_grow() {
        let mut occurrences = Occurrences::new();
        let rows = 400_000_u64;
        for row in 0..rows {
            occurrences.push(&[xxh3_128(&row.to_le_bytes())]);
        }
        let held: usize = occurrences.parts.iter().map(|part| part.len() * 24).sum();
        let room: usize = occurrences.parts.iter().map(|part| part.capacity() * 24).sum();
        assert_eq!(held, 24 * rows as usize);
        assert!(room as f64 <= 1.25 * held as f64, "room for {room} bytes, {held} of them held");
        assert_eq!(occurrences.repeats(), []);
    }

    proptest! {
        #[test]
        fn each_row_is_paired_with_the_next_of_its_sample(
            samples in proptest::collection::vec(0_u128..9, 0..60)
        ) {
            let samples: Vec<u128> = samples.into_iter().map(|sample| sample << 119).collect();
            let mut occurrences = Occurrences::new();
            occurrences.push(&samples);
            let expected: Vec<Repeat> = (0..samples.len())
                .filter_map(|earlier| {
                    let later = (earlier + 1..samples.len()).find(|later| samples[*later] == samples[earlier])?;
                    Some(Repeat { earlier: earlier as u64, later: later as u64 })
                })
                .collect();
            prop_assert_eq!(occurrences.repeats(), expected);
        }
    }
}
