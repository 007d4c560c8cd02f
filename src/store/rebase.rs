//! Rows of one feature version as rows of another, so that results that are still right are not computed again.
//!
//! The stored rows are joined with what the features that theirs depends on say of their samples now:
//!
//! ```text
//! stored rows of `from` --[key, columns, place]--+
//!                                                +-- inner join --> each place once --> versions of `to`
//! upstream rows of `to` --[key, data versions]---+
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringTreemap;

use super::Store;
use super::compare::{Conditions, Keying, StoredRows, places_of};
use super::context::Call;
use super::find::Visit;
use super::key_columns::{beside_stored, compared_columns};
use super::read::{ReadRequest, RowStream};
use super::rebased::{Rebased, TargetVersion};
use super::resolve::IncrementRequest;
use super::serving::{PLACE, Serving};
use super::upstream::{column, unfit};
use super::workload::{Workload, spread};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Graph, Versions};
use crate::versioning::{Memory, SampleHash, Side, join};

/// The key of an expected row, in two halves: nulls among its ids are equal, which they are not to a join.
const EXPECTED_KEY: [&str; 2] = ["expected_high", "expected_low"];

/// The key of a stored row.
const STORED_KEY: [&str; 2] = ["stored_high", "stored_low"];

/// Where a stored row is.
const STORED_PLACE: &str = "stored_place";

/// The name of a column of the stored rows while they are joined.
fn stored_column(position: usize) -> String {
    format!("stored{position}")
}

impl Store {
    /// The current rows of the version `from` of `feature`, as a read gives them, with the provenance that they have
    /// under the version `to`, or under the current one: that which the current upstream rows of that version say.
    ///
    /// Rows whose samples are no more among those are left out. It is not looked at whether a row was stale under its
    /// own version.
    pub async fn rebase(
        &self,
        feature: &str,
        from: &str,
        to: Option<&str>,
        call: &Call,
    ) -> Result<RowStream> {
        let key = FeatureKey::parse(feature)?;
        let rebased = call.run(Box::pin(self.rebase_key(&key, from, to))).await;
        rebased.map_err(|error| self.located(error).with("feature", &key))
    }

    async fn rebase_key(&self, key: &FeatureKey, from: &str, to: Option<&str>) -> Result<RowStream> {
        let (current, hash) = self.resolvable(key).await?;
        let target = self.target(key, &current, to, hash).await?;
        let plan = target.graph.plan(key)?;
        if plan.upstreams.is_empty() {
            return Err(Error::invalid(format!(
                "{key} depends on no other feature, so its provenance is not computed but given: its rows cannot be \
                 rebased; write them again"
            ))
            .with("argument", "feature"));
        }
        let request = ReadRequest { feature_version: Some(from.to_owned()), ..ReadRequest::default() };
        let serving = Box::pin(Serving::find(self, &current, key, &request, Vec::new())).await?;
        if serving.rows() == 0 {
            self.check_known(key, &current, from, hash).await?;
        }
        let mut upstream_visits = Vec::new();
        let everything = IncrementRequest::default();
        let workload = self.workload(&target.graph, &plan, &everything, hash, &mut upstream_visits).await?;
        let columns = compared_columns(&plan, &workload)?;
        let columns = beside_stored(key, columns, &serving, "what it is rebased on")?;
        let refining = plan.join_columns().len();
        let more = columns.iter().skip(refining).map(|column| column.name.clone()).collect();
        let keying = Keying::new(columns, refining, None)?;
        let stored = StoredRows::new(serving, Conditions::none(), key)?;
        // For its error: they must have what they are compared by.
        stored.columns(&keying, key)?;
        let serving = stored.serving;
        let ids = &current.get(key)?.spec.id_columns;
        let rebased = Rebased::new(ids, serving.schema(), workload.expected(), target.version);
        let rebase = Rebase {
            visits: serving.visits().to_vec(),
            schema: rebased.schema().clone(),
            rebased: Arc::new(rebased),
            workload: Arc::new(workload),
            keying: Arc::new(keying),
            more,
            serving,
        };
        let memory = self.memory();
        let rows = Box::pin(rebase.rows(&memory)).await?;
        Ok(RowStream::new(rebase.schema, rows, rebase.visits, self.runtime().clone()))
    }

    /// The graph in which the feature has the version `to`.
    async fn target(
        &self,
        key: &FeatureKey,
        current: &Arc<Graph>,
        to: Option<&str>,
        hash: SampleHash,
    ) -> Result<Target> {
        let mut versions = Versions::new(current, hash.truncation);
        let now = versions.feature_version(key)?;
        let Some(to) = to.filter(|to| *to != now) else {
            let project = current.get(key)?.project.as_deref();
            let version =
                TargetVersion { feature_version: now, project_version: versions.project_version(project) };
            return Ok(Target { graph: current.clone(), version });
        };
        let Some((graph, pushed)) = self.pushed_as(key, to).await? else {
            return Err(self.unknown_version(key, to, &now));
        };
        let mut versions = Versions::new(&graph, hash.truncation);
        let computed = versions.feature_version(key)?;
        if computed != to {
            let message = format!(
                "the definitions that were pushed to {} with the version {to} of {key} give it the version {computed} here: \
                 they are not complete, or were pushed with another hash.truncation_length",
                pushed.store
            );
            return Err(Error::new(Status::InvalidState, message).with("feature_version", to));
        }
        let project_version =
            pushed.project_version.unwrap_or_else(|| versions.project_version(pushed.project.as_deref()));
        let version = TargetVersion { feature_version: computed, project_version };
        Ok(Target { graph: Arc::new(graph), version })
    }

    /// Refuses a version that no row has, unless it is known otherwise.
    async fn check_known(
        &self,
        key: &FeatureKey,
        current: &Graph,
        version: &str,
        hash: SampleHash,
    ) -> Result<()> {
        let now = Versions::new(current, hash.truncation).feature_version(key)?;
        match version == now || self.pushed_as(key, version).await?.is_some() {
            true => Ok(()),
            false => Err(self.unknown_version(key, version, &now)),
        }
    }

    fn unknown_version(&self, key: &FeatureKey, version: &str, now: &str) -> Error {
        let message = format!(
            "the feature {key} has no version {version}: it is {now} now, and no definition with that version was pushed to \
             {}, or to a store of its chain; metaxy_store_read of metaxy-system/feature_versions gives those that were, \
             and metaxy_store_describe those that rows have",
            self.display()
        );
        Error::new(Status::NotFound, message).with("feature_version", version)
    }
}

/// What rows become rows of.
struct Target {
    graph: Arc<Graph>,
    version: TargetVersion,
}

/// A rebase whose rows are found.
struct Rebase {
    serving: Serving,
    workload: Arc<Workload>,
    keying: Arc<Keying>,
    /// The columns of the expected rows, besides those by which dependencies are joined, that count for their keys.
    more: Vec<String>,
    rebased: Arc<Rebased>,
    schema: SchemaRef,
    visits: Vec<Visit>,
}

impl Rebase {
    async fn rows(&self, memory: &Memory) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let memory = memory.divided(2);
        let sides = vec![self.expected(&memory).await?, self.stored()?];
        let rows = join(&memory, sides).await?;
        let mut seen = RoaringTreemap::new();
        let once = rows.map(move |batch| first_of_each(&batch?, &mut seen)).boxed();
        let (rebased, workload) = (self.rebased.clone(), self.workload.clone());
        let columns = self.stored_columns();
        let rows = spread(once, move |batch| {
            let stored = columns.iter().enumerate();
            let stored =
                stored.map(|(position, name)| Ok((name.clone(), column(&batch, &stored_column(position))?)));
            let stored = stored.collect::<Result<Vec<_>>>()?;
            rebased.complete(&batch, stored, workload.expected(), workload.inputs())
        });
        Ok(rows.try_filter(|batch| futures::future::ready(batch.num_rows() > 0)).boxed())
    }

    /// What there should be: keys, and the data versions that are hashed.
    async fn expected(&self, memory: &Memory) -> Result<Side> {
        let inputs: Vec<String> = self.workload.inputs().iter().flatten().cloned().collect();
        let of_inputs = inputs.iter().map(|input| Field::new(input, DataType::LargeUtf8, true));
        let schema = Arc::new(Schema::new(halves(EXPECTED_KEY).chain(of_inputs).collect::<Vec<_>>()));
        let rows = self.workload.comparable(&self.more, memory).await?;
        let (keying, of_side) = (self.keying.clone(), schema.clone());
        let rows = spread(rows, move |batch| {
            let (batch, keys) = keying.keys(&batch, &keying.expected)?;
            let mut columns = split(&keys).to_vec();
            for input in &inputs {
                columns.push(column(&batch, input)?);
            }
            let batch = RecordBatch::try_new(of_side.clone(), columns).map_err(unfit)?;
            // The members of a group stand together, and say the same.
            let first = (0..keys.len()).map(|row| Some(row == 0 || keys.get(row) != keys.get(row - 1)));
            filter_record_batch(&batch, &first.collect()).map_err(unfit)
        });
        Ok(Side {
            rows: rows.boxed(),
            schema,
            keys: EXPECTED_KEY.map(str::to_owned).to_vec(),
            optional: false,
            sorted: false,
            row_bytes: 1,
        })
    }

    /// What there is: keys, places, and all columns by names that nothing else has.
    fn stored(&self) -> Result<Side> {
        let columns = self.stored_columns();
        let placed = self.serving.placed(&columns)?;
        let renamed = columns.iter().enumerate().map(|(position, name)| {
            let field = placed.field_with_name(name).map_err(unfit)?;
            Ok(field.clone().with_name(stored_column(position)))
        });
        let mut fields = halves(STORED_KEY).collect::<Vec<_>>();
        fields.push(Field::new(STORED_PLACE, DataType::UInt64, true));
        fields.extend(renamed.collect::<Result<Vec<_>>>()?);
        let schema = Arc::new(Schema::new(fields));
        let rows = self.serving.stream(&columns, None)?;
        let row_bytes = self.serving.row_bytes(&columns);
        let (keying, of_side) = (self.keying.clone(), schema.clone());
        let rows = spread(rows, move |batch| {
            let (batch, keys) = keying.keys(&batch, &keying.names)?;
            let mut made = split(&keys).to_vec();
            made.push(column(&batch, PLACE)?);
            for name in &columns {
                made.push(column(&batch, name)?);
            }
            RecordBatch::try_new(of_side.clone(), made).map_err(unfit)
        });
        Ok(Side {
            rows: rows.boxed(),
            schema,
            keys: STORED_KEY.map(str::to_owned).to_vec(),
            optional: false,
            sorted: false,
            row_bytes,
        })
    }

    fn stored_columns(&self) -> Vec<String> {
        self.serving.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
}

fn halves(names: [&str; 2]) -> impl Iterator<Item = Field> {
    names.map(|name| Field::new(name, DataType::UInt64, true)).into_iter()
}

/// Keys in two columns: Arrow has no integers as large.
fn split(keys: &[u128]) -> [ArrayRef; 2] {
    let half = |shift: u32| -> ArrayRef {
        Arc::new(keys.iter().map(|key| (key >> shift) as u64).collect::<UInt64Array>())
    };
    [half(u64::BITS), half(0)]
}

/// The stored rows that have not been seen: one comes with each expected row that has its key.
fn first_of_each(batch: &RecordBatch, seen: &mut RoaringTreemap) -> Result<RecordBatch> {
    let places = places_of(batch, STORED_PLACE)?;
    let first: BooleanArray = places.values().iter().map(|place| Some(seen.insert(*place))).collect();
    filter_record_batch(batch, &first).map_err(unfit)
}
