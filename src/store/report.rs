//! What an operation on tables reports: a row per table, with counts.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch};

use crate::error::{Error, Result, Status};
use crate::feature::FeatureKey;

/// A table, and the feature whose it is, where that is known.
pub struct Target {
    pub feature: Option<String>,
    pub table: String,
}

impl Target {
    pub fn of(key: &FeatureKey) -> Target {
        Target { feature: Some(key.to_string()), table: key.table_name() }
    }
}

/// One row per table: what was done to it, in numbers.
pub struct Report<const N: usize> {
    names: [&'static str; N],
    targets: Vec<Target>,
    counts: Vec<[u64; N]>,
}

impl<const N: usize> Report<N> {
    pub fn new(names: [&'static str; N]) -> Self {
        Report { names, targets: Vec::new(), counts: Vec::new() }
    }

    pub fn add(&mut self, target: Target, counts: [u64; N]) {
        self.targets.push(target);
        self.counts.push(counts);
    }

    pub fn finish(self) -> Result<RecordBatch> {
        let features: LargeStringArray =
            self.targets.iter().map(|target| target.feature.as_deref()).collect();
        let tables: LargeStringArray =
            self.targets.iter().map(|target| Some(target.table.as_str())).collect();
        let mut columns: Vec<(&str, ArrayRef, bool)> =
            vec![("feature", Arc::new(features), true), ("table", Arc::new(tables), true)];
        for (place, name) in self.names.into_iter().enumerate() {
            let counts = self.counts.iter().map(|counts| counts.get(place).map(|count| *count as i64));
            columns.push((name, Arc::new(counts.collect::<Int64Array>()), true));
        }
        RecordBatch::try_from_iter_with_nullable(columns)
            .map_err(|cause| Error::new(Status::Internal, format!("the report is malformed: {cause}")))
    }
}
