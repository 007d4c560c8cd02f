//! Samples that occur more than once in one write.
//!
//! A write may be longer than memory, so a row must cost little: 20 bytes for its sample and its
//! number, and at most a fifth more of room to grow. They are only sorted when the write ends, which
//! takes a fifth of the time that a hash set does.

/// The numbers are kept apart by the first bits of their sample, so that sorting stays within a
/// cache.
const PARTS: usize = 256;

/// The samples of a write, row by row.
pub struct Occurrences {
    parts: Vec<Vec<Entry>>,
    rows: u64,
}

/// The lower 120 bits of a sample, whose upper 8 the part tells, and 40 bits of a row's number; in
/// words of 32 bits, which need no padding. They sort by sample first.
type Entry = [u32; 5];

const ROW_BITS: u32 = 40;

fn entry(sample: u128, row: u64) -> Entry {
    let low = u64::from((sample & 0xff_ffff) as u32) << ROW_BITS | row & ((1 << ROW_BITS) - 1);
    [(sample >> 88) as u32, (sample >> 56) as u32, (sample >> 24) as u32, (low >> 32) as u32, low as u32]
}

fn row(entry: &Entry) -> u64 {
    (u64::from(entry[3]) << 32 | u64::from(entry[4])) & ((1 << ROW_BITS) - 1)
}

fn same_sample(one: &Entry, other: &Entry) -> bool {
    one[..3] == other[..3] && one[3] >> 8 == other[3] >> 8
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
                    // Doubling would cost up to 40 bytes for each row.
                    part.reserve_exact(part.len() / 5 + 16);
                }
                part.push(entry(*sample, self.rows));
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
                if same_sample(earlier, later) {
                    if repeats.len() == repeats.capacity() {
                        repeats.reserve_exact(repeats.len() / 5 + 16);
                    }
                    repeats.push(Repeat { earlier: row(earlier), later: row(later) });
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
    fn a_row_costs_at_most_24_bytes() {
        let mut occurrences = Occurrences::new();
        let rows = 400_000_u64;
        for row in 0..rows {
            occurrences.push(&[xxh3_128(&row.to_le_bytes())]);
        }
        let bytes: usize = occurrences.parts.iter().map(|part| part.capacity() * size_of::<Entry>()).sum();
        assert!(bytes <= 24 * rows as usize, "{bytes} bytes for {rows} rows");
        assert_eq!(occurrences.repeats(), []);
    }

    proptest! {
        #[test]
        fn each_row_is_paired_with_the_next_of_its_sample(
            samples in proptest::collection::vec(0_u128..9, 0..60)
        ) {
            // They differ in their highest and in their lowest bits.
            let samples: Vec<u128> = samples.into_iter().map(|sample| sample << 126 | sample >> 2 << 23 | sample >> 3).collect();
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
