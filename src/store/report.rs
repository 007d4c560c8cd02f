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
    /// Whether there is a column for it.
    tells_problems: bool,
    targets: Vec<Target>,
    outcomes: Vec<Outcome<N>>,
}

/// Counts, or why there are none.
type Outcome<const N: usize> = std::result::Result<[u64; N], String>;

impl<const N: usize> Report<N> {
    pub fn new(names: [&'static str; N]) -> Self {
        Report { names, tells_problems: false, targets: Vec::new(), outcomes: Vec::new() }
    }

    /// As [`Report::new`], with a last column `problem`, for tables that stand in nobody's way.
    pub fn with_problems(names: [&'static str; N]) -> Self {
        Report { tells_problems: true, ..Report::new(names) }
    }

    pub fn add(&mut self, target: Target, counts: [u64; N]) {
        self.targets.push(target);
        self.outcomes.push(Ok(counts));
    }

    pub fn add_problem(&mut self, target: Target, problem: String) {
        self.targets.push(target);
        self.outcomes.push(Err(problem));
    }

    pub fn finish(self) -> Result<RecordBatch> {
        let features: LargeStringArray =
            self.targets.iter().map(|target| target.feature.as_deref()).collect();
        let tables: LargeStringArray =
            self.targets.iter().map(|target| Some(target.table.as_str())).collect();
        let mut columns: Vec<(&str, ArrayRef, bool)> =
            vec![("feature", Arc::new(features), true), ("table", Arc::new(tables), true)];
        for (place, name) in self.names.into_iter().enumerate() {
            let count = |outcome: &Outcome<N>| Some(*outcome.as_ref().ok()?.get(place)? as i64);
            columns.push((name, Arc::new(self.outcomes.iter().map(count).collect::<Int64Array>()), true));
        }
        if self.tells_problems {
            let problems: LargeStringArray =
                self.outcomes.iter().map(|outcome| outcome.as_ref().err().map(String::as_str)).collect();
            columns.push(("problem", Arc::new(problems), true));
        }
        RecordBatch::try_from_iter_with_nullable(columns)
            .map_err(|cause| Error::new(Status::Internal, format!("the report is malformed: {cause}")))
    }
}
