//! How a store hashes: one algorithm and one truncation for every sample-level string.

use std::fmt;

use arrow::array::LargeStringArray;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::error::{Error, Result, Status};
use crate::feature::Truncation;

/// The function that turns a sample's string into its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    #[default]
    XxHash64,
    XxHash32,
    Xxh3_64,
    WyHash,
    Sha256,
    Md5,
}

impl HashAlgorithm {
    pub const ALL: [HashAlgorithm; 6] = [
        HashAlgorithm::XxHash64,
        HashAlgorithm::XxHash32,
        HashAlgorithm::Xxh3_64,
        HashAlgorithm::WyHash,
        HashAlgorithm::Sha256,
        HashAlgorithm::Md5,
    ];

    /// The name used in configurations and table records.
    pub fn name(self) -> &'static str {
        match self {
            HashAlgorithm::XxHash64 => "xxhash64",
            HashAlgorithm::XxHash32 => "xxhash32",
            HashAlgorithm::Xxh3_64 => "xxh3_64",
            HashAlgorithm::WyHash => "wyhash",
            HashAlgorithm::Sha256 => "sha256",
            HashAlgorithm::Md5 => "md5",
        }
    }

    fn render(self, bytes: &[u8]) -> Rendered {
        match self {
            HashAlgorithm::XxHash64 => Rendered::decimal(xxhash_rust::xxh64::xxh64(bytes, 0)),
            HashAlgorithm::XxHash32 => Rendered::decimal(xxhash_rust::xxh32::xxh32(bytes, 0).into()),
            HashAlgorithm::Xxh3_64 => Rendered::decimal(xxhash_rust::xxh3::xxh3_64(bytes)),
            HashAlgorithm::WyHash => Rendered::decimal(wyhash::wyhash(bytes, 0)),
            HashAlgorithm::Sha256 => Rendered::hex(&Sha256::digest(bytes)),
            HashAlgorithm::Md5 => Rendered::hex(&Md5::digest(bytes)),
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for HashAlgorithm {
    type Err = Error;

    /// Reads an algorithm's name exactly as [`HashAlgorithm::name`] writes it.
    fn from_str(name: &str) -> Result<Self> {
        if let Some(algorithm) = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name) {
            return Ok(algorithm);
        }
        let names = Self::ALL.map(HashAlgorithm::name).join(", ");
        // Metaxy has this name in its list but cannot compute it over LanceDB either.
        Err(if name == "farmhash" {
            Error::new(
                Status::Unsupported,
                format!(
                    "the hash algorithm \"farmhash\" is not supported by LanceDB stores; use one of {names}"
                ),
            )
        } else {
            Error::invalid(format!("there is no hash algorithm \"{name}\"; use one of {names}"))
        })
    }
}

/// A hash as text, on the stack: a table of a million rows needs no million allocations.
#[derive(Clone)]
pub(super) struct Rendered {
    bytes: [u8; Rendered::WIDEST],
    start: usize,
    end: usize,
}

impl Rendered {
    /// SHA-256 in hexadecimal, the longest of all.
    const WIDEST: usize = 64;

    fn decimal(mut value: u64) -> Self {
        let mut bytes = [0; Self::WIDEST];
        let mut start = Self::WIDEST;
        // Two digits at a time: half as many divisions.
        while value >= 10 {
            let [tens, ones] = PAIRS[(value % 100) as usize];
            value /= 100;
            bytes[start - 1] = ones;
            bytes[start - 2] = tens;
            start -= 2;
        }
        if value > 0 || start == Self::WIDEST {
            start -= 1;
            bytes[start] = b'0' + value as u8;
        }
        Rendered { bytes, start, end: Self::WIDEST }
    }

    fn hex(digest: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; Self::WIDEST];
        for (pair, byte) in bytes.chunks_exact_mut(2).zip(digest) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Rendered { bytes, start: 0, end: 2 * digest.len() }
    }

    /// Every character is one byte, so that a cut never falls into one.
    fn cut(mut self, truncation: Truncation) -> Self {
        if let Some(length) = truncation.length() {
            self.end = self.end.min(self.start.saturating_add(length));
        }
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn as_str(&self) -> &str {
        // Only ASCII digits and letters were put in, so this never falls back.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// 00, 01 and so on to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// How a store hashes: the algorithm, and how much of each hash is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleHash {
    pub algorithm: HashAlgorithm,
    pub truncation: Truncation,
}

impl SampleHash {
    /// Joins the two choices that together decide every sample-level version.
    pub fn new(algorithm: HashAlgorithm, truncation: Truncation) -> Self {
        SampleHash { algorithm, truncation }
    }

    /// The hash of one value.
    pub fn hash(&self, value: &[u8]) -> String {
        self.render(value).as_str().to_owned()
    }

    /// The hash of one value, for those who need no string of their own.
    pub(super) fn render(&self, value: &[u8]) -> Rendered {
        self.algorithm.render(value).cut(self.truncation)
    }

    /// The number of characters that no hash exceeds.
    fn width(&self) -> usize {
        let widest = match self.algorithm {
            HashAlgorithm::XxHash32 => 10,
            HashAlgorithm::XxHash64 | HashAlgorithm::Xxh3_64 | HashAlgorithm::WyHash => 20,
            HashAlgorithm::Md5 => 32,
            HashAlgorithm::Sha256 => Rendered::WIDEST,
        };
        self.truncation.length().map_or(widest, |length| length.min(widest))
    }
}

/// A column of hashes under construction, which may be read on the way.
///
/// Arrow's own builder takes strings, so that each hash would have to be checked to be one.
pub(super) struct Hashes {
    text: Vec<u8>,
    /// Where each row begins, and where the last one ends.
    offsets: Vec<i64>,
    valid: Vec<bool>,
}

impl Hashes {
    /// A column with room for `rows` hashes.
    pub(super) fn with_capacity(rows: usize, hash: SampleHash) -> Self {
        let mut offsets = Vec::with_capacity(rows.saturating_add(1));
        offsets.push(0);
        let text = Vec::with_capacity(rows.saturating_mul(hash.width()));
        Hashes { text, offsets, valid: Vec::with_capacity(rows) }
    }

    pub(super) fn append(&mut self, hash: &Rendered) {
        self.text.extend_from_slice(hash.as_bytes());
        self.end_row(true);
    }

    pub(super) fn append_null(&mut self) {
        self.end_row(false);
    }

    fn end_row(&mut self, valid: bool) {
        self.offsets.push(self.text.len() as i64);
        self.valid.push(valid);
    }

    /// The hash in a row, if there is one.
    pub(super) fn get(&self, row: usize) -> Option<&[u8]> {
        self.valid.get(row).filter(|valid| **valid)?;
        self.text.get(*self.offsets.get(row)? as usize..*self.offsets.get(row + 1)? as usize)
    }

    /// Forgets all rows and keeps their room.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.offsets.truncate(1);
        self.valid.clear();
    }

    pub(super) fn finish(self) -> LargeStringArray {
        let nulls = self.valid.contains(&false).then(|| NullBuffer::from(self.valid));
        // The offsets rise and the text is ASCII, which is all that is checked.
        LargeStringArray::new(OffsetBuffer::new(self.offsets.into()), self.text.into(), nulls)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use proptest::prelude::*;

    use super::*;

    fn golden() -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hashes.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn every_algorithm_agrees_with_metaxy() {
        let golden = golden();
        let vectors = golden["vectors"].as_array().unwrap();
        assert!(vectors.len() > 10);
        for vector in vectors {
            let input = vector["input"].as_str().unwrap().as_bytes();
            for name in golden["algorithms"].as_array().unwrap() {
                let name = name.as_str().unwrap();
                let algorithm: HashAlgorithm = name.parse().unwrap();
                let full = SampleHash::new(algorithm, Truncation::FULL);
                let cut = SampleHash::new(algorithm, Truncation::to(8).unwrap());
                assert_eq!(full.hash(input), vector["full"][name], "{name} of {vector}");
                assert_eq!(cut.hash(input), vector["trunc8"][name], "{name}/8 of {vector}");
            }
        }
    }

    #[test]
    fn the_golden_set_covers_every_algorithm() {
        let golden = golden();
        for algorithm in HashAlgorithm::ALL {
            assert!(
                golden["algorithms"].as_array().unwrap().contains(&algorithm.name().into()),
                "{algorithm}"
            );
            assert_eq!(algorithm.name().parse::<HashAlgorithm>().unwrap(), algorithm);
        }
    }

    #[test]
    fn the_default_is_xxhash64_untruncated() {
        assert_eq!(HashAlgorithm::default().name(), "xxhash64");
        assert_eq!(SampleHash::default().hash(b"a"), "15154266338359012955");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "XXHASH64".parse::<HashAlgorithm>().unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert_eq!(
            error.message(),
            "there is no hash algorithm \"XXHASH64\"; use one of xxhash64, xxhash32, xxh3_64, wyhash, sha256, md5"
        );
        let error = "farmhash".parse::<HashAlgorithm>().unwrap_err();
        assert_eq!(error.status(), Status::Unsupported);
    }

    #[test]
    fn decimals_are_not_padded() {
        let around_powers = (0..20).map(|power| 10_u64.pow(power)).flat_map(|ten| [ten - 1, ten, ten + 1]);
        for value in around_powers.chain([u64::from(u32::MAX), u64::MAX]) {
            assert_eq!(Rendered::decimal(value).as_str(), value.to_string());
        }
    }

    proptest! {
        #[test]
        fn a_column_is_hashed_value_by_value(
            values in prop::collection::vec(prop::option::of(".{0,40}"), 0..20),
            algorithm in prop::sample::select(&HashAlgorithm::ALL[..]),
            length in prop::option::of(8_usize..80),
        ) {
            let truncation = length.map_or(Truncation::FULL, |length| Truncation::to(length).unwrap());
            let hash = SampleHash::new(algorithm, truncation);
            let mut column = Hashes::with_capacity(values.len(), hash);
            for value in &values {
                match value {
                    Some(value) => column.append(&hash.render(value.as_bytes())),
                    None => column.append_null(),
                }
            }
            let read: Vec<_> = (0..=values.len()).map(|row| column.get(row).map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(&read[values.len()], &None);
            let hashes = column.finish();
            prop_assert_eq!(hashes.len(), values.len());
            prop_assert_eq!(hashes.null_count(), values.iter().filter(|value| value.is_none()).count());
            for (row, value) in values.iter().enumerate() {
                let expected = value.as_ref().map(|value| {
                    let bytes = value.as_bytes();
                    let full = match algorithm {
                        HashAlgorithm::XxHash64 => xxhash_rust::xxh64::xxh64(bytes, 0).to_string(),
                        HashAlgorithm::XxHash32 => xxhash_rust::xxh32::xxh32(bytes, 0).to_string(),
                        HashAlgorithm::Xxh3_64 => xxhash_rust::xxh3::xxh3_64(bytes).to_string(),
                        HashAlgorithm::WyHash => wyhash::wyhash(bytes, 0).to_string(),
                        HashAlgorithm::Sha256 => {
                            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
                        }
                        HashAlgorithm::Md5 => {
                            Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
                        }
                    };
                    full.chars().take(length.unwrap_or(usize::MAX)).collect::<String>()
                });
                let hash = hashes.is_valid(row).then(|| hashes.value(row).to_owned());
                prop_assert_eq!(&hash, &expected);
                prop_assert_eq!(&read[row], &expected.map(String::into_bytes));
            }
        }
    }
}
