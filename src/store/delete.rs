//! Deleting samples: hiding them behind tombstones, or removing their rows for good.
//!
//! Either way the filters choose samples by their latest rows, as a read does. A tombstone is a row like
//! others, later than all of its sample, which any reader of the table takes for the end of it. Rows
//! that are removed take their predecessors with them, which would otherwise be the latest again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use arrow::error::ArrowError;
use datafusion::logical_expr::Expr;
use futures::TryStreamExt;

use super::Store;
use super::chain::Missing;
use super::conform::conform;
use super::context::Call;
use super::current::Current;
use super::find::{Answer, Ask, Outcome, Rows};
use super::identity::Identity;
use super::maintain::partly_done;
use super::options::{DELETE_ALL, DELETE_MODE, MATERIALIZATION_ID, Options};
use super::read::{ReadRequest, RowStream};
use super::samples::Samples;
use super::superseded::in_steps;
use super::system_columns as system;
use super::write::{Writer, now};
use crate::backend::{Erased, Maintaining, Scan, Table};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, FeatureSpec};
use crate::log::{self, Level};

/// How often rows to remove are looked for again because others moved them.
const ATTEMPTS: u32 = 20;

/// After so many of these times nobody else may compact.
const PATIENT_ATTEMPTS: u32 = 3;

/// How long that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Store {
    /// Deletes the samples of `feature` that `request` asks for, in the way that the option `delete.mode`
    /// says, and gives the number of tombstones written or of rows removed.
    pub async fn delete(
        &self,
        feature: &str,
        request: &ReadRequest,
        options: &Options,
        call: &Call,
    ) -> Result<u64> {
        let key = FeatureKey::parse(feature)?;
        let located = |error: Error| self.located(error).with("feature", &key);
        let hard = self.check_delete(&key, request, options).map_err(located)?;
        let graph = call.run(Box::pin(self.refresh_externals())).await.map_err(located)?;
        let definition = graph.get(&key).map_err(located)?;
        self.check_project(definition, options).map_err(located)?;
        let spec = &definition.spec;
        let deleted = match hard {
            true => Box::pin(self.remove(&key, request, call)).await,
            false => Box::pin(self.bury(spec, request, options, call)).await,
        };
        deleted.map_err(located)
    }

    /// Whether rows are to be removed; refuses what cannot be meant.
    fn check_delete(&self, key: &FeatureKey, request: &ReadRequest, options: &Options) -> Result<bool> {
        self.check_writable()?;
        options.check_scope("delete")?;
        let hard = options.get(DELETE_MODE)? == Some("hard");
        if key.is_system() {
            return Err(Error::new(
                Status::Unsupported,
                format!("{key} is a table of Metaxy itself; nothing is deleted from it"),
            ));
        }
        if request.filters.is_empty() && options.get(DELETE_ALL)? != Some("true") {
            return Err(Error::invalid(format!(
                "without a filter this would delete everything of {key}; add a filter, or set {DELETE_ALL}=true if that \
                 is meant"
            ))
            .with("option", DELETE_ALL));
        }
        if request.limit.is_some() {
            return Err(Error::invalid(
                "a delete has no limit: rows have no order, so that it would be anybody's guess which ones go; leave it \
                 out, and say which samples are meant by filters",
            ));
        }
        if request.sample_history && !hard {
            return Err(Error::invalid(format!(
                "a soft delete hides whole samples, not single rows of their history; leave the sample history out, or \
                 remove single rows with {DELETE_MODE}=hard"
            ))
            .with("option", DELETE_MODE));
        }
        Ok(hard)
    }

    /// The soft delete.
    ///
    /// A row of the sample that another writer brings in between is later than the tombstone if its
    /// write began after this call did, and then it stays; otherwise the tombstone is later, though the
    /// row was not seen here. Of two that meet, the later time wins, as between two writes.
    async fn bury(
        &self,
        spec: &FeatureSpec,
        request: &ReadRequest,
        options: &Options,
        call: &Call,
    ) -> Result<u64> {
        let key = &spec.key;
        let time = now();
        let every_version = request.feature_history && request.feature_version.is_none();
        let chosen = match every_version && !request.filters.is_empty() {
            true => Some(self.chosen(spec, request, call).await?),
            false => None,
        };
        let wanted = ReadRequest {
            // By themselves, versions whose latest row does not pass would be left.
            filters: if chosen.is_some() { Vec::new() } else { request.filters.clone() },
            feature_version: request.feature_version.clone(),
            feature_history: request.feature_history,
            each_version: every_version,
            // What a store with rows hides further down would show once these are gone.
            whole_chain: true,
            local: request.local,
            ..ReadRequest::default()
        };
        let rows = self.read(&key.to_string(), &wanted, call).await?;
        self.check_all_asked(&rows)?;
        let first_here = rows.visits().first().is_some_and(|visit| visit.outcome == Outcome::Absent);
        let mut living = Living { rows, chosen };
        let Some(first) = living.next(call).await? else { return Ok(0) };
        let burial = Burial::new(&first.schema(), time);
        let mut writer = self.burying_writer(spec, &burial, options, call).await?;
        match burial.of(first, &mut living, &mut writer, call).await {
            Ok(buried) => {
                writer.commit(call).await?;
                if first_here && self.chain().missing == Missing::Table {
                    log::emit(Level::Warn, || {
                        format!(
                            "{} has had no table of {key} before samples were deleted from it; now it has, and by \
                             fallback.missing=table all other samples of its fallback stores are hidden too",
                            self.display()
                        )
                    });
                }
                Ok(buried)
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    async fn burying_writer(
        &self,
        spec: &FeatureSpec,
        burial: &Burial,
        options: &Options,
        call: &Call,
    ) -> Result<Writer> {
        let mut stamp = Options::new();
        stamp.set(MATERIALIZATION_ID, options.get(MATERIALIZATION_ID)?.or(self.materialization_id()))?;
        let started = async {
            let table = self.database().open(&spec.key.table_name()).await?;
            let hash = self.hash_for_write(table.as_ref()).await?;
            self.keeping_writer(spec, burial.schema.clone(), hash, &stamp).await
        };
        call.run(started).await
    }

    /// The samples whose latest row, of whatever version and be it a tombstone, passes the filters.
    async fn chosen(&self, spec: &FeatureSpec, request: &ReadRequest, call: &Call) -> Result<Chosen> {
        let wanted = ReadRequest {
            columns: Some(spec.id_columns.clone()),
            filters: request.filters.clone(),
            feature_history: true,
            deleted: true,
            whole_chain: true,
            local: request.local,
            ..ReadRequest::default()
        };
        let mut rows = self.read(&spec.key.to_string(), &wanted, call).await?;
        self.check_all_asked(&rows)?;
        let mut chosen = Chosen {
            ids: rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect(),
            samples: Samples::default(),
        };
        while let Some(batch) = call.run(async { rows.next().await.transpose() }).await? {
            chosen.samples.extend(chosen.samples_of(&batch)?);
        }
        Ok(chosen)
    }

    /// Refuses to delete by what a part of the chain says: the rest of the samples would stay.
    fn check_all_asked(&self, rows: &RowStream) -> Result<()> {
        let Some(visit) = rows.visits().iter().find(|visit| visit.outcome == Outcome::Unavailable) else {
            return Ok(());
        };
        Err(Error::new(
            Status::Unavailable,
            format!(
                "{} cannot be reached, so that it is not known which of its samples are to be deleted; nothing was \
                 deleted, try again when it can",
                visit.uri
            ),
        )
        .with("fallback", &visit.uri))
    }

    /// The hard delete: of the store itself only.
    async fn remove(&self, key: &FeatureKey, request: &ReadRequest, call: &Call) -> Result<u64> {
        let ask = self.ask(
            key,
            &ReadRequest {
                filters: request.filters.clone(),
                feature_version: request.feature_version.clone(),
                feature_history: request.feature_history,
                sample_history: request.sample_history,
                whole_samples: !request.sample_history,
                deleted: true,
                local: true,
                ..ReadRequest::default()
            },
        )?;
        let graph = self.graph();
        let id_columns = &graph.get(key)?.spec.id_columns;
        let mut removed = 0;
        let done = self.try_remove(&ask, id_columns, call, &mut removed).await;
        done.map_err(|error| partly_done(error, removed))?;
        call.progress(removed, Some(removed));
        Ok(removed)
    }

    /// Counts the rows as `removed`.
    async fn try_remove(
        &self,
        ask: &Ask,
        id_columns: &[String],
        call: &Call,
        removed: &mut u64,
    ) -> Result<()> {
        let identifying = system::identifying(id_columns);
        let mut _alone = None;
        for tries in 0..ATTEMPTS {
            call.check()?;
            if tries == PATIENT_ATTEMPTS {
                _alone = self.keep_from_compacting(&ask.key, call).await?;
            }
            let doomed = async {
                let (table, addresses) = self.doomed(ask).await?;
                let steps = match self.database().removes_at_once() {
                    true => vec![addresses],
                    false => in_steps(&table, id_columns, addresses).await?,
                };
                Ok((table, steps))
            };
            let (table, steps) = call.run(doomed).await?;
            match Box::pin(self.database().delete_rows(&table, steps, &identifying, removed)).await? {
                Erased::Done { .. } => return Ok(()),
                Erased::Overtaken => tokio::time::sleep(Duration::from_millis(10 << tries.min(6))).await,
            }
        }
        Err(Error::new(
            Status::Conflict,
            format!(
                "the rows of {} were not removed: other writers moved or removed some of them {ATTEMPTS} times; delete again",
                ask.key
            ),
        )
        .retryable(true))
    }

    /// Takes the right to compact the table, so that nobody moves its rows. Whoever compacts all the time
    /// lets go of it for moments only, and after a while of waiting there is nothing but to try again.
    async fn keep_from_compacting(&self, key: &FeatureKey, call: &Call) -> Result<Option<Maintaining>> {
        let begun = Instant::now();
        while begun.elapsed() < LONGEST_WAIT {
            call.check()?;
            if let Some(right) = self.database().try_maintain(&key.table_name()) {
                return Ok(Some(right));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(None)
    }

    /// The rows that a hard delete is about, by their addresses.
    async fn doomed(&self, ask: &Ask) -> Result<(Table, Vec<u64>)> {
        if !self.database().has(&ask.key.table_name()).await? {
            return Err(Error::new(
                Status::NotFound,
                format!(
                    "the store {} has no table of {}, so that there is nothing to remove; a hard delete does not touch \
                     fallback stores, whose rows a soft delete hides",
                    self.display(),
                    ask.key
                ),
            ));
        }
        let Answer { shares, .. } = self.answer(ask).await?;
        let Some(share) = shares.into_iter().next() else {
            return Err(Error::new(Status::Internal, "a table that was found has no rows, not even none"));
        };
        let addresses = match share.rows {
            Rows::Current(Current::Some { addresses, .. }) => addresses,
            Rows::Current(Current::All) => addresses(&share.table, None).await?,
            Rows::Matching(condition) => addresses(&share.table, condition).await?,
        };
        Ok((share.table, addresses))
    }
}

/// Where the rows of a table are that meet a condition, or all.
async fn addresses(table: &Table, condition: Option<Expr>) -> Result<Vec<u64>> {
    let mut rows = table.scan(Vec::new()).filter(condition).with_address().stream().await?;
    let mut all = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        let found =
            batch.column_by_name(Scan::ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let Some(found) = found else {
            return Err(Error::new(Status::Internal, "a scan did not give the addresses of its rows"));
        };
        all.extend(found.values());
    }
    Ok(all)
}

/// Samples that were chosen by one read, to be found in another.
struct Chosen {
    /// The id columns, in the types by which the samples were told apart.
    ids: Vec<Field>,
    samples: Samples,
}

impl Chosen {
    fn samples_of(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let types: Vec<DataType> = self.ids.iter().map(|field| field.data_type().clone()).collect();
        let columns: Vec<ArrayRef> = self
            .ids
            .iter()
            .filter_map(|field| Some(conform(batch.column_by_name(field.name())?, field, 0)))
            .collect::<Result<_>>()?;
        let mut samples = Vec::with_capacity(batch.num_rows());
        Identity::new(&types)
            .and_then(|identity| identity.append(&columns, &mut samples))
            .map_err(|cause| unusable(&cause))?;
        Ok(samples)
    }

    fn among(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let is_chosen: BooleanArray =
            self.samples_of(batch)?.into_iter().map(|sample| Some(self.samples.contains(sample))).collect();
        filter_record_batch(batch, &is_chosen).map_err(|cause| unusable(&cause))
    }
}

/// The rows that are to be hidden, as they are read.
struct Living {
    rows: RowStream,
    /// Rows of other samples are passed over.
    chosen: Option<Chosen>,
}

impl Living {
    /// The next rows, at least one.
    async fn next(&mut self, call: &Call) -> Result<Option<RecordBatch>> {
        while let Some(batch) = call.run(async { self.rows.next().await.transpose() }).await? {
            let batch = match &self.chosen {
                Some(chosen) => chosen.among(&batch)?,
                None => batch,
            };
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// Turns rows into tombstones: the same rows with the time of their deletion.
struct Burial {
    schema: SchemaRef,
    time: i64,
}

impl Burial {
    fn new(given: &Schema, time: i64) -> Burial {
        let mut fields: Vec<Field> = given
            .fields()
            .iter()
            // Metaxy stores columns that have the prefix only; to hide their rows they are not needed.
            .filter(|field| {
                !field.name().starts_with(system::RESERVED_PREFIX) || system::is_system(field.name())
            })
            .filter(|field| field.name() != system::DELETED_AT)
            .map(|field| field.as_ref().clone())
            .collect();
        fields.push(Field::new(system::DELETED_AT, system::timestamp(), true));
        Burial { schema: Arc::new(Schema::new(fields)), time }
    }

    /// Writes a tombstone for each row that is left, and gives their number.
    async fn of(
        &self,
        first: RecordBatch,
        living: &mut Living,
        writer: &mut Writer,
        call: &Call,
    ) -> Result<u64> {
        let (mut next, mut buried) = (Some(first), 0);
        while let Some(rows) = next {
            buried += rows.num_rows() as u64;
            writer.push(self.tombstones(&rows).map_err(|cause| unusable(&cause))?, call).await?;
            next = living.next(call).await?;
        }
        Ok(buried)
    }

    fn tombstones(&self, rows: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let deleted: ArrayRef = Arc::new(self.times(rows)?.with_timezone("UTC"));
        let columns = self
            .schema
            .fields()
            .iter()
            .filter_map(|field| match field.name().as_str() {
                system::DELETED_AT => Some(deleted.clone()),
                name => rows.column_by_name(name).cloned(),
            })
            .collect();
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    /// That of the call; but a row that was written by a clock that is ahead must not be later than its
    /// tombstone, nor as late, since some readers take the first of two such rows.
    fn times(&self, rows: &RecordBatch) -> std::result::Result<TimestampMicrosecondArray, ArrowError> {
        let Some(updated) = rows.column_by_name(system::UPDATED_AT) else {
            return Ok(TimestampMicrosecondArray::from_value(self.time, rows.num_rows()));
        };
        // Whatever the unit and zone of an older table.
        let updated = cast(updated, &system::timestamp())?;
        let updated = updated.as_primitive::<TimestampMicrosecondType>();
        let later = |time: Option<i64>| time.map_or(self.time, |time| self.time.max(time.saturating_add(1)));
        Ok(updated.iter().map(later).map(Some).collect())
    }
}

fn unusable(cause: &ArrowError) -> Error {
    Error::new(Status::SchemaMismatch, format!("the rows to delete cannot be marked: {cause}"))
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use arrow::array::LargeStringArray;

    use super::*;

    fn row(updated: TimestampMicrosecondArray) -> RecordBatch {
        let id: ArrayRef = Arc::new(LargeStringArray::from(vec!["a"; updated.len()]));
        let updated: ArrayRef = Arc::new(updated);
        RecordBatch::try_from_iter([
            ("id", id.clone()),
            (system::UPDATED_AT, updated),
            ("metaxy_note", id.clone()),
            (system::MATERIALIZATION_ID, id),
        ])
        .unwrap()
    }

    #[test]
    fn a_tombstone_is_later_than_its_row_whatever_the_clocks_say() {
        for zone in [None, Some("UTC")] {
            let updated = TimestampMicrosecondArray::from(vec![Some(5), Some(100), Some(700), None]);
            let rows = row(updated.with_timezone_opt(zone));
            let burial = Burial::new(&rows.schema(), 100);
            let tombstones = burial.tombstones(&rows).unwrap();
            let deleted = tombstones.column_by_name(system::DELETED_AT).unwrap();
            let deleted = deleted.as_primitive::<TimestampMicrosecondType>();
            assert_eq!(deleted.values(), &[100, 101, 701, 100]);
        }
    }

    #[test]
    fn a_tombstone_has_the_columns_of_its_row_that_can_be_written() {
        let rows = row(TimestampMicrosecondArray::from(vec![5]).with_timezone("UTC"));
        let tombstones = Burial::new(&rows.schema(), 100).tombstones(&rows).unwrap();
        let schema = tombstones.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", system::UPDATED_AT, system::MATERIALIZATION_ID, system::DELETED_AT]);
    }
}
