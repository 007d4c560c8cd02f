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

    /// Appends the first characters of a hash, `most` at most, to `text`.
    fn write(self, bytes: &[u8], most: usize, text: &mut Vec<u8>) {
        match self {
            HashAlgorithm::XxHash64 => write_decimal(xxhash_rust::xxh64::xxh64(bytes, 0), most, text),
            HashAlgorithm::XxHash32 => write_decimal(xxhash_rust::xxh32::xxh32(bytes, 0).into(), most, text),
            HashAlgorithm::Xxh3_64 => write_decimal(xxhash_rust::xxh3::xxh3_64(bytes), most, text),
            HashAlgorithm::WyHash => write_decimal(wyhash::wyhash(bytes, 0), most, text),
            HashAlgorithm::Sha256 => write_hex(&Sha256::digest(bytes), most, text),
            HashAlgorithm::Md5 => write_hex(&Md5::digest(bytes), most, text),
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

/// The first digits of a number, `most` at most.
fn write_decimal(mut value: u64, most: usize, text: &mut Vec<u8>) {
    let digits = value.checked_ilog10().unwrap_or_default() as usize + 1;
    let kept = digits.min(most);
    // What is cut off is not written first. Powers that the compiler knows need no division.
    let cut = digits - kept;
    for (bit, power) in [(16, 10_u64.pow(16)), (8, 100_000_000), (4, 10_000), (2, 100), (1, 10)] {
        if cut & bit != 0 {
            value /= power;
        }
    }
    if kept == 8 {
        // As Metaxy cuts. Four divisions that do not wait for each other, and a copy of a known length.
        let (high, low) = ((value / 10_000) as usize, (value % 10_000) as usize);
        let [a, b] = PAIRS[high / 100];
        let [c, d] = PAIRS[high % 100];
        let [e, f] = PAIRS[low / 100];
        let [g, h] = PAIRS[low % 100];
        text.extend_from_slice(&[a, b, c, d, e, f, g, h]);
        return;
    }
    let mut bytes = [0; 20];
    let mut end = kept;
    while end >= 2 {
        // Two digits at a time: half as many divisions.
        let [tens, ones] = PAIRS[(value % 100) as usize];
        value /= 100;
        (bytes[end - 2], bytes[end - 1]) = (tens, ones);
        end -= 2;
    }
    if end == 1 {
        bytes[0] = b'0' + (value % 10) as u8;
    }
    // Copying as many bytes each time takes no call.
    let written = text.len() + kept;
    text.extend_from_slice(&bytes);
    text.truncate(written);
}

/// The first hexadecimal digits, `most` at most.
fn write_hex(digest: &[u8], most: usize, text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.extend(digits.take(most).map(|digit| DIGITS[usize::from(digit)]));
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
        let mut text = Vec::with_capacity(self.width());
        self.algorithm.write(value, self.width(), &mut text);
        // Only ASCII digits and letters were written, so this never falls back.
        String::from_utf8(text).unwrap_or_default()
    }

    /// The number of characters that no hash exceeds.
    fn width(&self) -> usize {
        let widest = match self.algorithm {
            HashAlgorithm::XxHash32 => 10,
            HashAlgorithm::XxHash64 | HashAlgorithm::Xxh3_64 | HashAlgorithm::WyHash => 20,
            HashAlgorithm::Md5 => 32,
            HashAlgorithm::Sha256 => 64,
        };
        self.truncation.length().map_or(widest, |length| length.min(widest))
    }
}

/// A column of hashes under construction, which may be read on the way.
///
/// Arrow's own builder takes strings, so that each hash would have to be checked to be one.
pub(super) struct Hashes {
    algorithm: HashAlgorithm,
    /// The number of characters that are kept.
    width: usize,
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
        Hashes {
            algorithm: hash.algorithm,
            width: hash.width(),
            text,
            offsets,
            valid: Vec::with_capacity(rows),
        }
    }

    /// Appends the hash of a value.
    pub(super) fn append(&mut self, value: &[u8]) {
        self.algorithm.write(value, self.width, &mut self.text);
        self.end_row(true);
    }

    /// Appends what is a hash already.
    pub(super) fn append_hash(&mut self, hash: &str) {
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
            for most in [1, 2, 3, 8, 9, 19, 20] {
                let mut text = Vec::new();
                write_decimal(value, most, &mut text);
                let all = value.to_string();
                assert_eq!(text, &all.as_bytes()[..all.len().min(most)]);
            }
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
                    Some(value) => column.append(value.as_bytes()),
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
