//! Which rows of a table are current: of each sample the latest, unless it is a tombstone.
//!
//! Only the id columns, two times and the columns that a filter names are read for that. A row costs
//! 32 bytes, in memory or in a file; the other columns are read afterwards, and only of the rows that remain.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeStringArray, PrimitiveArray, RecordBatch, UInt32Array,
    new_null_array,
};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use arrow::error::ArrowError;
use datafusion::logical_expr::Expr;
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashTable;

use super::conform::conform;
use super::filter::Filter;
use super::identity::Identity;
use super::parts::{Parts, Row};
use super::samples::{Samples, hash};
use super::system_columns as system;
use crate::backend::{Scan, Table};
use crate::error::{Error, Result, Status};
use crate::versioning::Memory;

/// Which rows are asked for.
#[derive(Clone, Default)]
pub struct Selection {
    pub id_columns: Vec<String>,
    /// Rows of other versions of the feature are not looked at.
    pub feature_version: Option<String>,
    /// Also samples whose latest row is a tombstone.
    pub deleted: bool,
    /// Filters on id columns, which say the same of every row of a sample: they may go first.
    pub on_ids: Option<Expr>,
    /// Filters that are asked of the latest row of each sample only. A column that the table lacks
    /// is null to them.
    pub on_latest: Vec<Filter>,
    /// Every row that passes, not only the latest of each sample.
    pub every_row: bool,
    /// Every row of each sample whose latest row passes.
    pub whole_samples: bool,
    /// Samples that a store before this one in the chain has: none of their rows is current here.
    pub hidden: Option<Arc<Samples>>,
    /// The types of the id columns in that store, by which samples are compared.
    pub id_types: Option<Vec<DataType>>,
    pub collect: Collect,
}

/// Which samples of the table are told, for the stores further down the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collect {
    #[default]
    Nothing,
    /// Those whose latest row is a tombstone.
    Deleted,
    All,
}

/// What was found in a table.
#[derive(Debug)]
pub struct Found {
    pub current: Current,
    /// Whether the latest row of any sample, among those that [`Selection::on_ids`] lets pass, is not a
    /// tombstone: of the hidden samples too, since a store does not have less by what others have.
    pub live: bool,
    /// How many rows are current.
    pub count: usize,
    pub collected: Vec<u128>,
    /// The types by which the samples were told apart.
    pub id_types: Vec<DataType>,
}

/// The rows that are current.
#[derive(Debug)]
pub enum Current {
    /// All rows of the table.
    All,
    Some {
        /// Where they are, in ascending order.
        addresses: Vec<u64>,
        /// What had to be read of them to find them, in the same order: kept when a filter leaves
        /// few rows, so that these columns are not read again.
        known: Option<RecordBatch>,
    },
}

/// The most rows of which that is kept, and the most bytes.
const KNOWN_ROWS: usize = 64 * 1024;
const KNOWN_BYTES: usize = 64 << 20;

/// Batches whose samples are computed at the same time.
const PARALLEL: usize = 4;

const BATCH_ROWS: usize = 16 * 1024;

/// Set in an address when the row is a tombstone that is not asked for, or does not pass the
/// filters; a fragment number has no use for the bit.
const UNWANTED: u64 = 1 << 63;

/// Set in an address when the row is a tombstone.
const TOMBSTONE: u64 = 1 << 62;

/// Set in an address when the sample is hidden, which makes the row unwanted, too.
const HIDDEN: u64 = 1 << 61;

const FLAGS: u64 = UNWANTED | TOMBSTONE | HIDDEN;

impl Selection {
    /// Finds the current rows of `table`. Of rows with the same time, the one wins that
    /// comes last in the table's files: the one appended last, until a compaction by another
    /// program rewrites some of them.
    pub async fn find(self, table: &Table, memory: &Memory) -> Result<Found> {
        let schema = table.schema();
        let columns = self.columns(&schema);
        let own_types = self
            .id_columns
            .iter()
            .map(|name| schema.field_with_name(name).map(|field| field.data_type().clone()))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| self.missing_id(table, &schema))?;
        let id_types = self.id_types.clone().unwrap_or(own_types);
        let identity = Identity::new(&id_types).map_err(|cause| unusable(table, &cause))?;
        let (every_row, whole, collect) = (self.every_row, self.whole_samples, self.collect);
        let all_rows = table.rows().await?;
        let filtered = self.on_ids.is_some() || !self.on_latest.is_empty();
        let stream = table
            .scan(columns)
            .filter(self.on_ids.clone())
            .batch_rows(Some(BATCH_ROWS))
            .with_address()
            .stream()
            .await?;
        let reader = Arc::new(Reader {
            selection: self,
            keep: filtered,
            identity,
            id_types: id_types.clone(),
            table: table.clone(),
        });
        let mut batches = stream
            .map(|batch| {
                let reader = reader.clone();
                async move {
                    let batch = batch?;
                    let read = tokio::spawn(async move { reader.rows(&batch) });
                    read.await.map_err(|cause| {
                        Error::new(Status::Internal, format!("reading ids failed: {cause}"))
                    })?
                }
            })
            .buffered(PARALLEL);
        let mut parts = Parts::new(memory);
        let mut known = Known::new(filtered);
        while let Some((rows, wanted)) = batches.try_next().await? {
            known.add(wanted);
            rows.into_iter().try_for_each(|row| parts.push(row))?;
        }
        let together = parts.together(PARALLEL);
        let mut survivors = futures::stream::iter(parts.finish())
            .map(|part| {
                tokio::task::spawn_blocking(move || {
                    Ok(Survivors::of(part.rows()?, every_row, whole, collect))
                })
            })
            .buffer_unordered(together);
        let mut all = Survivors::default();
        while let Some(part) = survivors.next().await {
            let part: Result<Survivors> =
                part.map_err(|cause| Error::new(Status::Internal, format!("comparing ids failed: {cause}")))?;
            let part = part?;
            all.addresses.extend(part.addresses);
            all.live |= part.live;
            all.collected.extend(part.collected);
        }
        let Survivors { mut addresses, live, collected } = all;
        let count = addresses.len();
        if count == all_rows {
            return Ok(Found { current: Current::All, live, count, collected, id_types });
        }
        addresses.sort_unstable();
        let known = known.of(&addresses).map_err(|cause| unusable(table, &cause))?;
        Ok(Found { current: Current::Some { addresses, known }, live, count, collected, id_types })
    }

    fn columns(&self, schema: &SchemaRef) -> Vec<String> {
        let mut columns = self.id_columns.clone();
        let times = [system::UPDATED_AT, system::DELETED_AT].map(str::to_owned);
        let version = self.feature_version.as_ref().map(|_| system::FEATURE_VERSION.to_owned());
        let filtered = self
            .on_latest
            .iter()
            .flat_map(|filter| filter.columns().into_iter().map(|name| name.to_string()));
        for column in times.into_iter().chain(version).chain(filtered) {
            // Tables of the first releases of Metaxy have no times.
            if !columns.contains(&column) && schema.column_with_name(&column).is_some() {
                columns.push(column);
            }
        }
        columns
    }

    fn missing_id(&self, table: &Table, schema: &SchemaRef) -> Error {
        let present: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::new(
            Status::SchemaMismatch,
            format!(
                "the table {} lacks an id column of its feature ({}); it has: {}",
                table.name(),
                self.id_columns.join(", "),
                present.join(", ")
            ),
        )
        .with("table", table.name())
    }
}

/// Turns batches of a scan into [`Row`]s.
struct Reader {
    selection: Selection,
    keep: bool,
    identity: Identity,
    id_types: Vec<DataType>,
    table: Table,
}

impl Reader {
    /// The rows of a batch, and, where that is asked for, what was read of those that are wanted.
    fn rows(&self, batch: &RecordBatch) -> Result<(Vec<Row>, Option<RecordBatch>)> {
        let failed = |cause| unusable(&self.table, &cause);
        let ids = self
            .selection
            .id_columns
            .iter()
            .zip(&self.id_types)
            .filter_map(|(name, data_type)| {
                let column = batch.column_by_name(name)?;
                Some(conform(column, &Field::new(name, data_type.clone(), true), 0))
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let mut samples = Vec::with_capacity(batch.num_rows());
        self.identity.append(&ids, &mut samples).map_err(failed)?;
        let updated = self.time(batch, system::UPDATED_AT)?;
        let deleted = self.time(batch, system::DELETED_AT)?;
        let of_version = self.of_version(batch)?;
        let passing = self.passing(batch)?;
        let Some(addresses) =
            batch.column_by_name(Scan::ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>())
        else {
            return Err(Error::new(Status::Internal, "a scan did not give the addresses of its rows"));
        };
        let mut rows = Vec::with_capacity(samples.len());
        let mut wanted = Vec::new();
        let hidden = self.selection.hidden.as_deref();
        for (row, (sample, address)) in samples.into_iter().zip(addresses.values()).enumerate() {
            if of_version.as_ref().is_some_and(|version| !is_true(version, row)) {
                continue;
            }
            let is_hidden = hidden.is_some_and(|hidden| hidden.contains(sample));
            let deleted_at = deleted.as_ref().and_then(|times| value(times, row));
            let time = deleted_at
                .or_else(|| updated.as_ref().and_then(|times| value(times, row)))
                .unwrap_or(i64::MIN);
            let unwanted = is_hidden
                || (deleted_at.is_some() && !self.selection.deleted)
                || passing.iter().any(|filter| !is_true(filter, row));
            let flag = |set: bool, flag: u64| if set { flag } else { 0 };
            let flags =
                flag(unwanted, UNWANTED) | flag(deleted_at.is_some(), TOMBSTONE) | flag(is_hidden, HIDDEN);
            rows.push(Row { sample, time, address: address | flags });
            if self.keep && !unwanted {
                wanted.push(row as u32);
            }
        }
        let wanted = self
            .keep
            .then(|| take_record_batch(batch, &UInt32Array::from(wanted)))
            .transpose()
            .map_err(failed)?;
        Ok((rows, wanted))
    }

    fn time(
        &self,
        batch: &RecordBatch,
        column: &str,
    ) -> Result<Option<PrimitiveArray<TimestampMicrosecondType>>> {
        let Some(times) = batch.column_by_name(column) else { return Ok(None) };
        // Whatever the unit and zone of an older table, its microseconds compare.
        let times = cast(times, &system::timestamp()).map_err(|cause| unusable(&self.table, &cause))?;
        Ok(times.as_primitive_opt().cloned())
    }

    fn of_version(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(version) = &self.selection.feature_version else { return Ok(None) };
        let Some(versions) = batch.column_by_name(system::FEATURE_VERSION) else { return Ok(None) };
        let versions = cast(versions, &DataType::LargeUtf8).map_err(|cause| unusable(&self.table, &cause))?;
        let same = eq(&versions, &LargeStringArray::new_scalar(version))
            .map_err(|cause| unusable(&self.table, &cause))?;
        // The common table has rows of one version only.
        Ok((same.true_count() < same.len()).then_some(same))
    }

    fn passing(&self, batch: &RecordBatch) -> Result<Vec<BooleanArray>> {
        let missing: BTreeSet<&str> = self
            .selection
            .on_latest
            .iter()
            .flat_map(Filter::columns)
            .filter(|name| batch.column_by_name(name).is_none())
            .collect();
        if missing.is_empty() {
            return self.selection.on_latest.iter().map(|filter| filter.matches(batch)).collect();
        }
        let nulls = missing.iter().map(|name| Field::new(*name, DataType::Null, true));
        let fields: Vec<Field> =
            batch.schema().fields().iter().map(|field| field.as_ref().clone()).chain(nulls).collect();
        let columns = batch
            .columns()
            .iter()
            .cloned()
            .chain(missing.iter().map(|_| new_null_array(&DataType::Null, batch.num_rows())));
        let completed = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect())
            .map_err(|cause| unusable(&self.table, &cause))?;
        self.selection.on_latest.iter().map(|filter| filter.matches(&completed)).collect()
    }
}

/// What was read of the rows that pass the filters, as long as they are few.
struct Known(Option<Vec<RecordBatch>>);

impl Known {
    fn new(keep: bool) -> Known {
        Known(keep.then(Vec::new))
    }

    fn add(&mut self, wanted: Option<RecordBatch>) {
        if let (Some(batches), Some(wanted)) = (&mut self.0, wanted) {
            batches.push(wanted);
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
            if rows > KNOWN_ROWS || bytes > KNOWN_BYTES {
                self.0 = None;
            }
        }
    }

    /// The rows at `addresses`, in their order.
    fn of(self, addresses: &[u64]) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        let Some(batches) = self.0 else { return Ok(None) };
        let Some(first) = batches.first() else { return Ok(None) };
        let all = concat_batches(&first.schema(), &batches)?;
        let Some(found) =
            all.column_by_name(Scan::ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>())
        else {
            return Ok(None);
        };
        let places: HashMap<u64, u32> = found.values().iter().copied().zip(0..).collect();
        let rows: Option<UInt32Array> =
            addresses.iter().map(|address| places.get(address).copied().map(Some)).collect();
        rows.map(|rows| take_record_batch(&all, &rows)).transpose()
    }
}

/// What is left of a part of the rows.
#[derive(Default)]
struct Survivors {
    addresses: Vec<u64>,
    live: bool,
    collected: Vec<u128>,
}

impl Survivors {
    /// The wanted rows among the latest of each sample, or among all; with those among the latest,
    /// the `whole` of their samples.
    fn of(rows: Vec<Row>, every_row: bool, whole: bool, collect: Collect) -> Survivors {
        let mut addresses = Vec::new();
        if every_row {
            addresses.extend(wanted(&rows));
        }
        let all = (whole && !every_row).then(|| rows.clone());
        let newest = latest(rows);
        match all {
            Some(all) => addresses.extend(of_wanted_samples(&all, &newest)),
            None if every_row => {}
            None => addresses.extend(wanted(&newest)),
        }
        let is_deleted = |row: &Row| row.address & TOMBSTONE != 0;
        let live = newest.iter().any(|row| !is_deleted(row));
        let collected = newest
            .into_iter()
            .filter(|row| row.address & HIDDEN == 0)
            .filter(|row| match collect {
                Collect::Nothing => false,
                Collect::Deleted => is_deleted(row),
                Collect::All => true,
            })
            .map(|row| row.sample)
            .collect();
        Survivors { addresses, live, collected }
    }
}

fn wanted(rows: &[Row]) -> impl Iterator<Item = u64> + '_ {
    rows.iter().filter(|row| row.address & UNWANTED == 0).map(|row| row.address & !FLAGS)
}

/// The addresses of all rows of those samples whose newest row is wanted.
fn of_wanted_samples(rows: &[Row], newest: &[Row]) -> impl Iterator<Item = u64> {
    let mut samples = Samples::default();
    samples.extend(newest.iter().filter(|row| row.address & UNWANTED == 0).map(|row| row.sample));
    rows.iter().filter(move |row| samples.contains(row.sample)).map(|row| row.address & !FLAGS)
}

/// The latest row of each sample.
fn latest(rows: Vec<Row>) -> Vec<Row> {
    let mut newest: Vec<Row> = Vec::with_capacity(rows.len());
    let mut places: HashTable<u32> = HashTable::with_capacity(rows.len());
    for row in rows {
        let found = places.find(hash(row.sample), |place| {
            newest.get(*place as usize).is_some_and(|other| other.sample == row.sample)
        });
        match found.and_then(|place| newest.get_mut(*place as usize)) {
            // Rows come in the order of appending, so that a later row wins a tie.
            Some(other) if other.time <= row.time => *other = row,
            Some(_) => {}
            None => {
                let place = newest.len() as u32;
                newest.push(row);
                places.insert_unique(hash(row.sample), place, |place| {
                    newest.get(*place as usize).map_or(0, |other| hash(other.sample))
                });
            }
        }
    }
    newest
}

fn value(times: &PrimitiveArray<TimestampMicrosecondType>, row: usize) -> Option<i64> {
    times.is_valid(row).then(|| times.value(row))
}

fn is_true(flags: &BooleanArray, row: usize) -> bool {
    flags.is_valid(row) && flags.value(row)
}

/// The error of a table whose ids or times are of types that do not compare.
pub(super) fn unusable(table: &Table, cause: &ArrowError) -> Error {
    Error::new(
        Status::SchemaMismatch,
        format!("the rows of the table {} cannot be compared: {cause}", table.name()),
    )
    .caused_by(cause)
    .with("table", table.name())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_latest_row_of_each_sample_wins_and_the_last_of_equals(
            rows in proptest::collection::vec((0_u128..6, 0_i64..4, proptest::bool::ANY), 0..60)
        ) {
            let rows: Vec<Row> = rows
                .iter()
                .enumerate()
                .map(|(address, (sample, time, unwanted))| Row {
                    sample: *sample,
                    time: *time,
                    address: address as u64 | if *unwanted { UNWANTED } else { 0 },
                })
                .collect();
            let mut expected: Vec<u64> = rows
                .iter()
                .enumerate()
                .filter(|(place, row)| {
                    rows.iter().enumerate().all(|(other_place, other)| {
                        other.sample != row.sample || (other.time, other_place) <= (row.time, *place)
                    })
                })
                .map(|(_, row)| row.address)
                .filter(|address| address & UNWANTED == 0)
                .collect();
            expected.sort_unstable();
            let mut found: Vec<u64> = wanted(&latest(rows)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
