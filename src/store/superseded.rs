//! Which rows of a table nobody has been able to see for a while: those a purge removes.
//!
//! A row is superseded by the next later row of its sample in its feature version. Rows of other
//! versions of the feature do not count, since each version is read by itself.
//!
//! Rows that are to be removed come in steps, for storages that do not remove all of them at once: when each
//! step begins after the one before is over, then whatever part of it is done, no row shows that was hidden.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType, UInt64Type};
use arrow::error::ArrowError;
use futures::TryStreamExt;

use super::current::unusable;
use super::identity::Identity;
use super::system_columns as system;
use crate::backend::{Scan, Table};
use crate::error::{Error, Result, Status};

/// What is to be found.
pub struct Superseded<'a> {
    pub id_columns: &'a [String],
    /// Rows that were superseded at this time or before, in microseconds since 1970. A row is
    /// superseded by a later one only: of rows of the same time, all stay.
    pub until: i64,
    /// Also the last row of a sample, if it is a tombstone no later than that.
    pub tombstones: bool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    sample: u128,
    time: i64,
    address: u64,
    version: u32,
    tombstone: bool,
}

impl Superseded<'_> {
    /// The addresses of the rows, in steps.
    pub async fn find(&self, table: &Table) -> Result<Vec<Vec<u64>>> {
        let rows = read_rows(table, self.id_columns, None).await?;
        let (until, tombstones) = (self.until, self.tombstones);
        working(move || choose(rows, until, tombstones)).await
    }
}

/// The rows at `addresses`, in steps.
pub async fn in_steps(table: &Table, id_columns: &[String], addresses: Vec<u64>) -> Result<Vec<Vec<u64>>> {
    let rows = read_rows(table, id_columns, Some(addresses)).await?;
    working(move || order(rows)).await
}

async fn working<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(Status::Internal, format!("comparing rows failed: {cause}")))
}

/// Reads the rows at `addresses`, or all.
async fn read_rows(table: &Table, id_columns: &[String], addresses: Option<Vec<u64>>) -> Result<Vec<Row>> {
    let schema = table.schema();
    let types = id_columns
        .iter()
        .map(|name| schema.field_with_name(name).map(|field| field.data_type().clone()))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|cause| unusable(table, &cause))?;
    let identity = Identity::new(&types).map_err(|cause| unusable(table, &cause))?;
    let mut columns = id_columns.to_vec();
    for column in [system::UPDATED_AT, system::DELETED_AT, system::FEATURE_VERSION] {
        // Tables of the first releases of Metaxy have no times.
        if schema.column_with_name(column).is_some() {
            columns.push(column.to_owned());
        }
    }
    let scan = table.scan(columns).with_address();
    let mut stream = match addresses {
        None => scan.stream().await?,
        Some(addresses) => scan.rows(addresses).await?,
    };
    let (mut rows, mut versions) = (Vec::new(), HashMap::new());
    while let Some(batch) = stream.try_next().await? {
        read_batch(&batch, id_columns, &identity, &mut versions, &mut rows)
            .map_err(|cause| unusable(table, &cause))?;
    }
    Ok(rows)
}

fn read_batch(
    batch: &RecordBatch,
    id_columns: &[String],
    identity: &Identity,
    versions: &mut HashMap<Option<String>, u32>,
    rows: &mut Vec<Row>,
) -> std::result::Result<(), ArrowError> {
    let ids: Vec<ArrayRef> =
        id_columns.iter().filter_map(|name| batch.column_by_name(name).cloned()).collect();
    let mut samples = Vec::with_capacity(batch.num_rows());
    identity.append(&ids, &mut samples)?;
    let (updated, deleted) = (times(batch, system::UPDATED_AT)?, times(batch, system::DELETED_AT)?);
    let texts = batch
        .column_by_name(system::FEATURE_VERSION)
        .map(|column| cast(column, &DataType::LargeUtf8))
        .transpose()?;
    let texts = texts.as_ref().and_then(|column| column.as_string_opt::<i64>());
    let addresses = batch
        .column_by_name(Scan::ADDRESS)
        .and_then(|column| column.as_primitive_opt::<UInt64Type>())
        .ok_or_else(|| ArrowError::SchemaError("a scan did not give the addresses of its rows".into()))?;
    for (row, (sample, address)) in samples.into_iter().zip(addresses.values()).enumerate() {
        let text = texts.and_then(|texts| texts.is_valid(row).then(|| texts.value(row)));
        let next = versions.len() as u32;
        let version = *versions.entry(text.map(str::to_owned)).or_insert(next);
        let deleted_at = value(deleted.as_ref(), row);
        rows.push(Row {
            sample,
            time: deleted_at.or_else(|| value(updated.as_ref(), row)).unwrap_or(i64::MIN),
            address: *address,
            version,
            tombstone: deleted_at.is_some(),
        });
    }
    Ok(())
}

/// The addresses of the rows to remove: the tombstones after all that they hide.
fn choose(mut rows: Vec<Row>, until: i64, tombstones: bool) -> Vec<Vec<u64>> {
    // Of rows of the same time, the one further down the table is the later one.
    rows.sort_unstable_by_key(|row| (row.sample, row.version, row.time, row.address));
    let (mut hidden, mut hiding) = (Vec::new(), Vec::new());
    for sample in rows.chunk_by(|a, b| a.sample == b.sample) {
        let mut tombs = Vec::new();
        // The first row that stays and is not a tombstone, over all versions.
        let mut oldest_left: Option<(i64, u64)> = None;
        for version in sample.chunk_by(|a, b| a.version == b.version) {
            // A row without a time is the earliest of all, and so supersedes nothing.
            let mut times = version.chunk_by(|a, b| a.time == b.time).peekable();
            while let Some(equals) = times.next() {
                let successor = times.peek().and_then(|later| later.first()).map(|later| later.time);
                for (place, row) in equals.iter().enumerate() {
                    let last = place + 1 == equals.len();
                    match successor {
                        Some(time) if time <= until && row.tombstone => hiding.push(row.address),
                        Some(time) if time <= until => hidden.push(row.address),
                        None if last && row.tombstone && tombstones && row.time <= until => tombs.push(row),
                        _ if row.tombstone => {}
                        _ => {
                            let left = (row.time, row.address);
                            oldest_left = Some(oldest_left.map_or(left, |oldest| oldest.min(left)));
                        }
                    }
                }
            }
        }
        // One that hides an older version's row from those who read all versions has to stay.
        let idle = |tomb: &&Row| oldest_left.is_none_or(|left| left > (tomb.time, tomb.address));
        hiding.extend(tombs.into_iter().filter(idle).map(|tomb| tomb.address));
    }
    steps([hidden, hiding])
}

/// The addresses of all rows: the last of each sample after those that are the last in their versions, and
/// these after all others.
fn order(mut rows: Vec<Row>) -> Vec<Vec<u64>> {
    rows.sort_unstable_by_key(|row| (row.sample, row.version, row.time, row.address));
    let (mut hidden, mut last_in_versions, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for sample in rows.chunk_by(|a, b| a.sample == b.sample) {
        let newest = sample.iter().max_by_key(|row| (row.time, row.address)).map(|row| row.address);
        for version in sample.chunk_by(|a, b| a.version == b.version) {
            let Some((latest, others)) = version.split_last() else { continue };
            hidden.extend(others.iter().map(|row| row.address));
            let step = if Some(latest.address) == newest { &mut last } else { &mut last_in_versions };
            step.push(latest.address);
        }
    }
    steps([hidden, last_in_versions, last])
}

/// The steps in which there is something to do, each in the order of the table.
fn steps<const N: usize>(steps: [Vec<u64>; N]) -> Vec<Vec<u64>> {
    let mut steps: Vec<Vec<u64>> = steps.into_iter().filter(|step| !step.is_empty()).collect();
    steps.iter_mut().for_each(|step| step.sort_unstable());
    steps
}

fn times(
    batch: &RecordBatch,
    column: &str,
) -> std::result::Result<Option<PrimitiveArray<TimestampMicrosecondType>>, ArrowError> {
    let Some(times) = batch.column_by_name(column) else { return Ok(None) };
    // Whatever the unit and zone of an older table, its microseconds compare.
    Ok(cast(times, &system::timestamp())?.as_primitive_opt().cloned())
}

fn value(times: Option<&PrimitiveArray<TimestampMicrosecondType>>, row: usize) -> Option<i64> {
    times.and_then(|times| times.is_valid(row).then(|| times.value(row)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(sample: u128, version: u32, time: i64, tombstone: bool) -> Row {
        Row { sample, time, address: 0, version, tombstone }
    }

    fn numbered(rows: &[Row]) -> Vec<Row> {
        rows.iter().enumerate().map(|(address, row)| Row { address: address as u64, ..*row }).collect()
    }

    fn chosen(rows: &[Row], until: i64, tombstones: bool) -> Vec<u64> {
        let mut chosen = choose(numbered(rows), until, tombstones).concat();
        chosen.sort_unstable();
        chosen
    }

    /// The place of the latest row of a sample, in one version or over all, among those that are not `gone`.
    fn latest(rows: &[Row], gone: &[u64], sample: u128, version: Option<u32>) -> Option<usize> {
        rows.iter()
            .enumerate()
            .filter(|(place, row)| {
                row.sample == sample
                    && version.is_none_or(|version| row.version == version)
                    && !gone.contains(&(*place as u64))
            })
            .max_by_key(|(place, row)| (row.time, *place))
            .filter(|(_, row)| !row.tombstone)
            .map(|(place, _)| place)
    }

    const VERSIONS: [Option<u32>; 4] = [None, Some(0), Some(1), Some(2)];

    /// Whatever is gone when removing is interrupted: the first steps, and any part of the next.
    fn interruptions(steps: &[Vec<u64>], part: u64) -> Vec<Vec<u64>> {
        let partly = |step: &[u64]| -> Vec<u64> {
            step.iter()
                .enumerate()
                .filter(|(place, _)| part >> (place % 64) & 1 == 1)
                .map(|(_, row)| *row)
                .collect()
        };
        (0..steps.len()).map(|done| [steps[..done].concat(), partly(&steps[done])].concat()).collect()
    }

    #[test]
    fn a_row_goes_when_its_successor_is_old_enough() {
        let rows = [row(1, 0, 10, false), row(1, 0, 20, false), row(1, 0, 30, false), row(2, 0, 5, false)];
        assert!(chosen(&rows, 19, true).is_empty());
        assert_eq!(chosen(&rows, 20, true), [0]);
        assert_eq!(chosen(&rows, 100, true), [0, 1]);
    }

    #[test]
    fn rows_of_the_same_time_and_without_one_stay() {
        assert!(chosen(&[row(1, 0, 10, false), row(1, 0, 10, false)], 100, true).is_empty());
        assert!(chosen(&[row(1, 0, i64::MIN, false), row(1, 0, i64::MIN, false)], 100, true).is_empty());
        // Unless a later one hides all of them.
        let rows =
            [row(1, 0, i64::MIN, false), row(1, 0, 10, false), row(1, 0, 10, false), row(1, 0, 20, false)];
        assert_eq!(chosen(&rows, 10, true), [0]);
        assert_eq!(chosen(&rows, 20, true), [0, 1, 2]);
        assert!(chosen(&[row(1, 0, 10, false), row(1, 0, 10, true)], 100, true).is_empty());
    }

    #[test]
    fn a_row_of_another_version_supersedes_nothing() {
        assert!(chosen(&[row(1, 0, 10, false), row(1, 1, 20, false)], 100, true).is_empty());
    }

    #[test]
    fn a_tombstone_goes_with_all_it_hides() {
        let rows = [row(1, 0, 10, false), row(1, 0, 20, true)];
        assert!(chosen(&rows, 19, true).is_empty());
        assert_eq!(chosen(&rows, 20, true), [0, 1]);
        assert_eq!(chosen(&rows, 20, false), [0]);
        // Written again.
        let rows = [row(1, 0, 10, false), row(1, 0, 20, true), row(1, 0, 30, false)];
        assert_eq!(chosen(&rows, 100, true), [0, 1]);
    }

    #[test]
    fn a_tombstone_stays_over_an_older_row_of_another_version() {
        let rows = [row(1, 0, 10, false), row(1, 1, 20, false), row(1, 1, 30, true)];
        assert_eq!(chosen(&rows, 100, true), [1]);
        let rows = [row(1, 0, 40, false), row(1, 1, 20, false), row(1, 1, 30, true)];
        assert_eq!(chosen(&rows, 100, true), [1, 2]);
    }

    proptest! {
        /// What a reader finds: of each sample the latest row, in one version or over all of them.
        #[test]
        fn nobody_sees_a_difference(
            rows in proptest::collection::vec((0_u128..3, 0_u32..3, 0_i64..6, proptest::bool::ANY), 0..40),
            until in 0_i64..6,
            tombstones in proptest::bool::ANY,
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(a, b, c, d)| row(a, b, c, d)).collect();
            let gone = chosen(&rows, until, tombstones);
            for sample in 0..3 {
                for version in VERSIONS {
                    prop_assert_eq!(latest(&rows, &[], sample, version), latest(&rows, &gone, sample, version));
                }
            }
        }

        /// Nor when only a part of it was done.
        #[test]
        fn nobody_sees_an_interruption(
            rows in proptest::collection::vec((0_u128..3, 0_u32..3, 0_i64..6, proptest::bool::ANY), 0..40),
            until in 0_i64..6,
            part in proptest::num::u64::ANY,
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(a, b, c, d)| row(a, b, c, d)).collect();
            for gone in interruptions(&choose(numbered(&rows), until, true), part) {
                for (sample, version) in (0..3).flat_map(|sample| VERSIONS.map(|version| (sample, version))) {
                    prop_assert_eq!(latest(&rows, &[], sample, version), latest(&rows, &gone, sample, version));
                }
            }
        }

        /// When removing samples is interrupted, a sample shows its latest row or none at all.
        #[test]
        fn no_row_shows_instead_of_a_later_one(
            rows in proptest::collection::vec((0_u128..3, 0_u32..3, 0_i64..6, proptest::bool::ANY), 0..40),
            part in proptest::num::u64::ANY,
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(a, b, c, d)| row(a, b, c, d)).collect();
            let steps = order(numbered(&rows));
            prop_assert_eq!(steps.concat().len(), rows.len());
            for gone in interruptions(&steps, part) {
                for (sample, version) in (0..3).flat_map(|sample| VERSIONS.map(|version| (sample, version))) {
                    let left = latest(&rows, &gone, sample, version);
                    prop_assert!(left.is_none() || left == latest(&rows, &[], sample, version));
                }
            }
        }
    }
}
