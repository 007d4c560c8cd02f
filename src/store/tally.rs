//! What the rows of a table tell of its feature versions: how many rows each has, written when.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use futures::TryStreamExt;

use super::current::Current;
use super::system_columns as system;
use crate::backend::{Scan, Table};
use crate::error::{Error, Result, Status};

/// More versions than any feature has seen, of its own or of its project; a table with more holds
/// something else in that column, of which there may be as much as there are rows.
const MOST_VERSIONS: usize = 10_000;

/// What the rows of one feature version come to. Times are microseconds since 1970 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    pub first_write: Option<i64>,
    pub last_write: Option<i64>,
    pub project_versions: BTreeSet<String>,
    /// Of the rows that are the latest of their sample: those that are not tombstones, and those that are.
    pub samples: u64,
    pub deleted: u64,
}

/// A [`Tally`] for each feature version of a table, by version; rows may have none.
pub type Tallies = BTreeMap<Option<String>, Tally>;

/// Reads the rows of `table` once, of their columns the feature version, the times and `also`; what
/// the table lacks of them stays uncounted. `latest` are the rows that are the latest of their sample.
pub async fn tally(table: &Table, also: &[&str], latest: Option<&Current>) -> Result<Tallies> {
    let schema = table.schema();
    let columns = [system::FEATURE_VERSION, system::UPDATED_AT, system::DELETED_AT]
        .iter()
        .chain(also)
        .filter(|column| schema.column_with_name(column).is_some())
        .map(|column| (*column).to_owned());
    let mut batches = table.scan(columns.collect()).with_address().stream().await?;
    let mut tallies = Tallies::new();
    while let Some(batch) = batches.try_next().await? {
        Columns::read(table, &batch)?.add_to(&mut tallies, latest);
        check_bounds(&tallies, table.name())?;
    }
    Ok(tallies)
}

fn check_bounds(tallies: &Tallies, table: &str) -> Result<()> {
    let project_versions: usize = tallies.values().map(|tally| tally.project_versions.len()).sum();
    let counts = [(system::FEATURE_VERSION, tallies.len()), (system::PROJECT_VERSION, project_versions)];
    match counts.into_iter().find(|(_, count)| *count > MOST_VERSIONS) {
        None => Ok(()),
        Some((column, _)) => Err(Error::new(
            Status::Unsupported,
            format!(
                "the column {column} of the table {table} has more than {MOST_VERSIONS} values, which cannot be \
                 versions of a feature or a project"
            ),
        )
        .with("table", table)
        .with("column", column)),
    }
}

/// The columns of one batch that are counted.
struct Columns {
    rows: usize,
    addresses: Option<ArrayRef>,
    feature_versions: Option<LargeStringArray>,
    project_versions: Option<LargeStringArray>,
    updated: Option<TimestampMicrosecondArray>,
    deleted: Option<TimestampMicrosecondArray>,
}

impl Columns {
    fn read(table: &Table, batch: &RecordBatch) -> Result<Columns> {
        let column = |name: &'static str, wanted: &DataType| {
            let Some(column) = batch.column_by_name(name) else { return Ok(None) };
            // Whatever the string type, the unit and the zone of an older table.
            cast(column, wanted).map(Some).map_err(|cause| {
                Error::new(
                    Status::SchemaMismatch,
                    format!("the column {name} of the table {} cannot be counted: {cause}", table.name()),
                )
                .caused_by(&cause)
                .with("table", table.name())
                .with("column", name)
            })
        };
        let text = |name| -> Result<_> {
            Ok(column(name, &DataType::LargeUtf8)?.and_then(|column| column.as_string_opt().cloned()))
        };
        let time = |name| -> Result<_> {
            Ok(column(name, &system::timestamp())?.and_then(|column| column.as_primitive_opt().cloned()))
        };
        Ok(Columns {
            rows: batch.num_rows(),
            addresses: batch.column_by_name(Scan::ADDRESS).cloned(),
            feature_versions: text(system::FEATURE_VERSION)?,
            project_versions: text(system::PROJECT_VERSION)?,
            updated: time(system::UPDATED_AT)?,
            deleted: time(system::DELETED_AT)?,
        })
    }

    /// Rows of one version mostly stand together, so that a version is looked up once for many.
    fn add_to(&self, tallies: &mut Tallies, latest: Option<&Current>) {
        let mut start = 0;
        while start < self.rows {
            let versions = |row| (text(&self.feature_versions, row), text(&self.project_versions, row));
            let (version, project_version) = versions(start);
            let end = (start + 1..self.rows)
                .find(|row| versions(*row) != (version, project_version))
                .unwrap_or(self.rows);
            let tally = tallies.entry(version.map(str::to_owned)).or_default();
            if let Some(project_version) = project_version
                && !tally.project_versions.contains(project_version)
            {
                tally.project_versions.insert(project_version.to_owned());
            }
            self.add_rows(start..end, tally, latest);
            start = end;
        }
    }

    fn add_rows(&self, rows: Range<usize>, tally: &mut Tally, latest: Option<&Current>) {
        let addresses = self.addresses.as_ref().and_then(|column| column.as_primitive_opt::<UInt64Type>());
        tally.rows += rows.len() as u64;
        for row in rows {
            let (updated, deleted) = (time(&self.updated, row), time(&self.deleted, row));
            if let Some(written) = updated.or(deleted) {
                tally.first_write = Some(tally.first_write.map_or(written, |first| first.min(written)));
            }
            // A tombstone keeps the time at which its sample was written before.
            tally.last_write = tally.last_write.max(updated).max(deleted);
            let is_latest = match (latest, addresses) {
                (Some(Current::All), _) => true,
                (Some(Current::Some { addresses: latest, .. }), Some(addresses)) => {
                    latest.binary_search(&addresses.value(row)).is_ok()
                }
                _ => false,
            };
            match (is_latest, deleted) {
                (true, None) => tally.samples += 1,
                (true, Some(_)) => tally.deleted += 1,
                (false, _) => {}
            }
        }
    }
}

fn text(column: &Option<LargeStringArray>, row: usize) -> Option<&str> {
    column.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn time(column: &Option<TimestampMicrosecondArray>, row: usize) -> Option<i64> {
    column.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::UInt64Array;

    use super::*;

    #[test]
    fn there_are_not_more_versions_than_features_have() {
        let project = |name: String, versions: usize| {
            let project_versions = (0..versions).map(|n| n.to_string()).collect();
            (Some(name), Tally { project_versions, ..Tally::default() })
        };
        let many = |features: usize, versions: usize| -> Tallies {
            (0..features).map(|n| project(n.to_string(), versions)).collect()
        };
        for tallies in [many(MOST_VERSIONS, 1), many(2, MOST_VERSIONS / 2)] {
            check_bounds(&tallies, "t").unwrap();
        }
        for (tallies, column) in [
            (many(MOST_VERSIONS + 1, 0), system::FEATURE_VERSION),
            (many(2, MOST_VERSIONS / 2 + 1), system::PROJECT_VERSION),
        ] {
            let error = check_bounds(&tallies, "t").unwrap_err();
            assert_eq!((error.status(), error.detail("column")), (Status::Unsupported, Some(column)));
        }
    }

    #[test]
    fn runs_of_a_version_come_together() {
        let columns = Columns {
            rows: 6,
            addresses: Some(Arc::new(UInt64Array::from_iter_values(0..6))),
            feature_versions: Some(LargeStringArray::from(vec![
                Some("b"),
                Some("b"),
                Some("a"),
                None,
                Some("b"),
                Some("b"),
            ])),
            project_versions: Some(LargeStringArray::from(vec!["p", "q", "p", "p", "p", "p"])),
            updated: Some(TimestampMicrosecondArray::from(vec![
                Some(3),
                Some(1),
                Some(9),
                None,
                None,
                Some(1),
            ])),
            deleted: Some(TimestampMicrosecondArray::from(vec![None, None, None, None, Some(2), Some(7)])),
        };
        let mut tallies = Tallies::new();
        let latest = Current::Some { addresses: vec![1, 2, 5], known: None };
        columns.add_to(&mut tallies, Some(&latest));
        let versions: Vec<_> = tallies.keys().map(Option::as_deref).collect();
        assert_eq!(versions, [None, Some("a"), Some("b")]);
        assert_eq!(
            tallies[&None],
            Tally { rows: 1, project_versions: BTreeSet::from(["p".to_owned()]), ..Tally::default() }
        );
        assert_eq!(
            tallies[&Some("b".to_owned())],
            Tally {
                rows: 4,
                first_write: Some(1),
                last_write: Some(7),
                project_versions: BTreeSet::from(["p".to_owned(), "q".to_owned()]),
                samples: 1,
                deleted: 1,
            }
        );
    }
}
