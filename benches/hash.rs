//! The hash kernel alone, on one core: how many strings of the length that provenance has are hashed in a second.
//!
//!     hash ROWS     prints {"xxhash32": rows per second, ..., "check": {"xxhash32": sum of the lengths, ...}}
//!
//! `bench_hash.py` does the same with polars-hash.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, LargeStringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use metaxy::feature::Truncation;
use metaxy::versioning::{ByField, HashAlgorithm, SampleHash, sample_provenance};

/// The fastest of so many rounds counts, here and there.
const ROUNDS: usize = 7;

fn main() {
    // Cargo adds `--bench`.
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let strings: LargeStringArray =
        (0..rows).map(|row: u64| Some(format!("audio|1|r/a.audio|a{row}"))).collect();
    let member = Arc::new(Field::new("x", DataType::LargeUtf8, true));
    let by_field: ArrayRef = Arc::new(StructArray::from(vec![(member, Arc::new(strings) as ArrayRef)]));
    let by_field = ByField::try_new(&by_field, "strings", &["x".to_owned()], 0).expect("one member");
    let truncation = Truncation::to(8).expect("8 is allowed");
    let mut speeds = serde_json::Map::new();
    let mut check = serde_json::Map::new();
    for algorithm in HashAlgorithm::ALL {
        let hash = SampleHash::new(algorithm, truncation);
        let rounds = (0..ROUNDS).map(|_| {
            let started = Instant::now();
            let hashes = sample_provenance(&by_field, &hash);
            (started.elapsed().as_secs_f64(), hashes)
        });
        let (seconds, hashes) = rounds.min_by(|one, other| one.0.total_cmp(&other.0)).expect("some rounds");
        assert_eq!(hashes.len() as u64, rows);
        // The first and the last tell whether both sides hashed the same.
        let ends = [hashes.value(0), hashes.value(hashes.len() - 1)];
        speeds.insert(algorithm.name().into(), (rows as f64 / seconds).into());
        check.insert(algorithm.name().into(), ends.to_vec().into());
    }
    speeds.insert("check".into(), check.into());
    println!("{}", serde_json::Value::from(speeds));
}
