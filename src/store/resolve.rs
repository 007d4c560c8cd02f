//! Resolving a feature: which of its samples are new, stale or orphaned.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use roaring::RoaringTreemap;

use super::Store;
use super::chosen::{NOWHERE, Sink};
use super::compare::{Conditions, Examined, Keying, StoredRows, common_type, unlike};
use super::context::Call;
use super::filter::Filter;
use super::find::Visit;
use super::increment::{Increment, Selected, Source};
use super::key_columns::{
    Given, agree, beside_stored, compared_columns, comparison_columns, repeats_of_samples,
};
use super::read::ReadRequest;
use super::samples_given::GivenSamples;
use super::serving::Serving;
use super::upstream::{Upstream, comparable};
use super::workload::{Workload, spread};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Graph, Plan};
use crate::versioning::{Comparison, Expected, Repeats, Rules, SampleHash, Shard, Spool, Spooled, Tally};

/// What to resolve of a feature. By default: all of it.
#[derive(Clone, Debug, Default)]
pub struct IncrementRequest {
    /// Conditions on the rows of one feature, the one that is resolved or one that it depends on.
    pub filters: Vec<(String, String)>,
    /// Conditions on the rows of each feature that it depends on, on its own, and on samples.
    pub global_filters: Vec<String>,
    /// Conditions on the stored rows of the feature: those that fail one are not compared, and a sample that has no
    /// others is left alone.
    pub target_filters: Vec<String>,
    /// Conditions on the stored rows of the feature: a sample whose row meets one is stale.
    pub staleness_predicates: Vec<String>,
    /// Everything is new, whatever is stored.
    pub skip_comparison: bool,
    /// The share of the samples that is resolved.
    pub shard: Option<Shard>,
    /// The most rows that a batch has.
    pub batch_rows: Option<usize>,
}

impl Store {
    /// Compares what the features that `feature` depends on say of its samples with what is stored of them.
    ///
    /// Which rows belong to which part is decided before this returns; the rows themselves are read when they are asked
    /// for, from the tables as they are now, whatever is written meanwhile.
    pub async fn resolve_update(
        &self,
        feature: &str,
        request: &IncrementRequest,
        call: &Call,
    ) -> Result<Increment> {
        let key = FeatureKey::parse(feature)?;
        let resolved = call.run(Box::pin(self.resolve(&key, request, call))).await;
        resolved.map_err(|error| self.located(error).with("feature", &key))
    }

    /// As [`Store::resolve_update`], with samples that the caller has instead of those of other features: what a
    /// feature without dependencies needs. Their columns are those of `schema`.
    pub async fn resolve_samples(
        &self,
        feature: &str,
        schema: SchemaRef,
        request: &IncrementRequest,
        call: &Call,
    ) -> Result<SampleResolver> {
        let key = FeatureKey::parse(feature)?;
        let resolver = call.run(Box::pin(self.sample_resolver(&key, schema, request, call))).await;
        resolver.map_err(|error| self.located(error).with("feature", &key))
    }

    async fn resolve(&self, key: &FeatureKey, request: &IncrementRequest, call: &Call) -> Result<Increment> {
        let (graph, hash) = self.resolvable(key).await?;
        let plan = graph.plan(key)?;
        if plan.upstreams.is_empty() {
            return Err(Error::invalid(format!(
                "{key} depends on no other feature, which could say what its samples are; give them yourself, with their \
                 id columns and metaxy_provenance_by_field"
            ))
            .with("argument", "samples"));
        }
        let mut visits = Vec::new();
        let workload = Arc::new(self.workload(&graph, &plan, request, hash, &mut visits).await?);
        let own = Filters::of(key, request)?;
        let stored = self.stored(&graph, key, request, &mut visits).await?;
        let conditions = Conditions {
            targets: own.own.into_iter().chain(own.target).collect(),
            orphans: own.global,
            predicates: own.predicates,
        };
        let stored = stored.map(|serving| StoredRows::new(serving, conditions, key)).transpose()?;
        let memory = self.memory();
        let mut increment = Increment {
            feature: key.clone(),
            new: Selected::none(),
            stale: Selected::none(),
            orphaned: Arc::default(),
            source: Source::Workload(workload.clone()),
            stored: stored.as_ref().map(|stored| stored.serving.clone()),
            progress: None,
            visits,
            batch_rows: request.batch_rows,
            memory,
            runtime: self.runtime().clone(),
        };
        let nothing_stored = stored.as_ref().is_none_or(|stored| stored.serving.rows() == 0);
        if let ([only], true, None) = (workload.upstreams(), nothing_stored, request.shard) {
            increment.new = Selected::All(only.rows());
            increment.progress = (only.rows() > 0).then_some(0.0);
            return Ok(increment);
        }
        compare(&plan, &workload, stored.filter(|_| !nothing_stored), request, &mut increment, call).await?;
        Ok(increment)
    }

    async fn sample_resolver(
        &self,
        key: &FeatureKey,
        schema: SchemaRef,
        request: &IncrementRequest,
        call: &Call,
    ) -> Result<SampleResolver> {
        let (graph, hash) = self.resolvable(key).await?;
        let plan = graph.plan(key)?;
        check_filtered(&plan, request)?;
        let own = Filters::of(key, request)?;
        let targets: Vec<Filter> = own.own.into_iter().chain(own.target).collect();
        let everywhere = targets.iter().chain(&own.global).cloned().collect();
        let given = GivenSamples::new(&plan, schema, everywhere, hash)?;
        let mut visits = Vec::new();
        let stored = self.stored(&graph, key, request, &mut visits).await?;
        let conditions = Conditions { targets, orphans: own.global, predicates: own.predicates };
        let stored = stored.map(|serving| StoredRows::new(serving, conditions, key)).transpose()?;
        let stored = stored.filter(|stored| stored.serving.rows() > 0);
        let columns = comparison_columns(&plan, |name| {
            given.schema().field_with_name(name).ok().map(|field| Given::new(name, field.data_type()))
        })?;
        let columns = match &stored {
            Some(stored) => beside_stored(key, columns, &stored.serving, "the samples")?,
            None => columns,
        };
        let rules = Rules { repeats: repeats_of_samples(&plan, &given, &columns), every: agree(&plan) };
        let sharded = plan.join_columns().len();
        let keying = Arc::new(Keying::new(columns, sharded, request.shard)?);
        let memory = self.memory();
        let mut comparison = Comparison::new(&memory, rules);
        if let Some(stored) = &stored {
            add_stored(&mut comparison, stored, &keying, key, call).await?;
        }
        let spool = Spool::new(&memory, "samples", given.schema().clone());
        let increment = Increment {
            feature: key.clone(),
            new: Selected::none(),
            stale: Selected::none(),
            orphaned: Arc::default(),
            // Until there are any.
            source: Source::Samples(Spool::new(&memory, "samples", given.schema().clone()).finish()?),
            stored: stored.map(|stored| stored.serving),
            progress: None,
            visits,
            batch_rows: request.batch_rows,
            memory: memory.clone(),
            runtime: self.runtime().clone(),
        };
        let sink = Sink::new(&memory, 1);
        Ok(SampleResolver { store: self.clone(), given, keying, comparison, spool, sink, rows: 0, increment })
    }

    /// The graph in which `key` is resolved, and how its samples are hashed.
    pub(super) async fn resolvable(&self, key: &FeatureKey) -> Result<(Arc<Graph>, SampleHash)> {
        self.check_open()?;
        if key.is_system() {
            return Err(Error::new(
                Status::Unsupported,
                format!("{key} is a table of Metaxy's own, which has no samples to resolve"),
            ));
        }
        let graph = Box::pin(self.refresh_externals()).await?;
        graph.get(key)?;
        let table = self.database().open(&key.table_name()).await?;
        let hash = self.hash_for_read(table.as_ref()).await?;
        Ok((graph, hash))
    }

    /// The dependencies of a feature, their current rows found.
    pub(super) async fn workload(
        &self,
        graph: &Arc<Graph>,
        plan: &Plan<'_>,
        request: &IncrementRequest,
        hash: SampleHash,
        visits: &mut Vec<(FeatureKey, Vec<Visit>)>,
    ) -> Result<Workload> {
        let feature = &plan.feature.key;
        check_filtered(plan, request)?;
        let expected = Expected::new(plan, hash)?;
        let mut upstreams = Vec::with_capacity(plan.upstreams.len());
        for (number, upstream) in plan.upstreams.iter().enumerate() {
            let own = request.filters.iter().filter(|(name, _)| name == upstream.spec.key.as_str());
            let filters: Vec<String> =
                own.map(|(_, text)| text.clone()).chain(request.global_filters.iter().cloned()).collect();
            let found = Upstream::find(self, graph, plan, number, &filters, &expected, hash, visits);
            upstreams.extend(Box::pin(found).await?);
        }
        if upstreams.is_empty() {
            return Err(Error::new(
                Status::NotFound,
                format!(
                    "none of the features on which {feature} depends has a table in the chain of {}; write one first",
                    self.display()
                ),
            ));
        }
        agree_on_keys(&mut upstreams)?;
        Workload::new(plan, upstreams.into_iter().map(Arc::new).collect(), expected)
    }

    /// The stored rows of the feature itself, which are never those of a fallback store.
    async fn stored(
        &self,
        graph: &Arc<Graph>,
        key: &FeatureKey,
        request: &IncrementRequest,
        visits: &mut Vec<(FeatureKey, Vec<Visit>)>,
    ) -> Result<Option<Serving>> {
        if request.skip_comparison {
            return Ok(None);
        }
        let local = ReadRequest { local: true, ..ReadRequest::default() };
        match Box::pin(Serving::find(self, graph, key, &local, Vec::new())).await {
            Ok(serving) => {
                visits.push((key.clone(), serving.visits().to_vec()));
                Ok(Some(serving))
            }
            Err(error) if error.status() == Status::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Has dependencies joined by columns of common types.
fn agree_on_keys(upstreams: &mut [Upstream]) -> Result<()> {
    let all_optional = upstreams.iter().all(|upstream| upstream.optional);
    let Some((first, others)) = upstreams.split_first() else { return Ok(()) };
    let mut types: Vec<DataType> = first.keys().map(|(_, data_type)| data_type.clone()).collect();
    for other in others {
        for (compared, (one, two)) in types.iter_mut().zip(first.given_keys().zip(other.given_keys())) {
            let ((name, data_type), (other_name, other_type)) = (one, two);
            let one = (first.feature.as_str(), data_type, name);
            let two = (other.feature.as_str(), other_type, other_name);
            if all_optional && comparable(data_type) != comparable(other_type) {
                return Err(unlike(one, two, "a row of either may be the only one that gives the id"));
            }
            *compared = common_type(compared, one, two)?;
        }
    }
    for upstream in upstreams {
        upstream.compare_keys_in(types.clone());
    }
    Ok(())
}

/// Refuses filters on features that have nothing to do with the one that is resolved.
fn check_filtered(plan: &Plan<'_>, request: &IncrementRequest) -> Result<()> {
    let feature = &plan.feature.key;
    for (name, text) in &request.filters {
        let known = name == feature.as_str()
            || plan.upstreams.iter().any(|upstream| upstream.spec.key.as_str() == name);
        if !known {
            return Err(Error::invalid(format!(
                "the filter `{text}` is for {name}, which is neither {feature} nor a dependency of it"
            ))
            .with("filter", text));
        }
    }
    Ok(())
}

/// The filters of a request that are not those of dependencies.
struct Filters {
    own: Vec<Filter>,
    global: Vec<Filter>,
    target: Vec<Filter>,
    predicates: Vec<Filter>,
}

impl Filters {
    fn of(key: &FeatureKey, request: &IncrementRequest) -> Result<Filters> {
        let parsed = |texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| Filter::parse(text)).collect::<Result<Vec<Filter>>>()
        };
        let own = request.filters.iter().filter(|(name, _)| name == key.as_str());
        Ok(Filters {
            own: parsed(&mut own.map(|(_, text)| text))?,
            global: parsed(&mut request.global_filters.iter())?,
            target: parsed(&mut request.target_filters.iter())?,
            predicates: parsed(&mut request.staleness_predicates.iter())?,
        })
    }
}

async fn add_stored(
    comparison: &mut Comparison,
    stored: &StoredRows,
    keying: &Arc<Keying>,
    key: &FeatureKey,
    call: &Call,
) -> Result<()> {
    let columns = stored.columns(keying, key)?;
    let rows = stored.serving.stream(&columns, Some(COMPARED_ROWS))?;
    let (keying, conditions) = (keying.clone(), stored.conditions.clone());
    let mut examined = spread(rows, move |batch| conditions.examine(&batch, &keying));
    while let Some(rows) = examined.try_next().await? {
        for row in rows {
            comparison.add(row)?;
        }
        call.check()?;
    }
    Ok(())
}

/// Rows per batch of what is only compared.
const COMPARED_ROWS: usize = 16 * 1024;

/// Decides about every row that the dependencies make.
async fn compare(
    plan: &Plan<'_>,
    workload: &Arc<Workload>,
    stored: Option<StoredRows>,
    request: &IncrementRequest,
    increment: &mut Increment,
    call: &Call,
) -> Result<()> {
    let key = &plan.feature.key;
    let sharded = plan.join_columns().len();
    let mut columns = compared_columns(plan, workload)?;
    if let Some(stored) = &stored {
        columns = beside_stored(key, columns, &stored.serving, "what it is compared with")?;
    }
    let more: Vec<String> = columns.iter().skip(sharded).map(|column| column.name.clone()).collect();
    let keying = Arc::new(Keying::new(columns, sharded, request.shard)?);
    let memory = increment.memory.clone();
    let unique = match workload.upstreams() {
        [only] => !only.repeats(),
        _ => false,
    };
    // Where nothing is stored nobody needs to know how often a key comes.
    let repeats = if unique || stored.is_none() { Repeats::Never } else { Repeats::Compared };
    let rules = Rules { repeats, every: agree(plan) };
    let mut comparison = Comparison::new(&memory, rules);
    if let Some(stored) = &stored {
        add_stored(&mut comparison, stored, &keying, key, call).await?;
    }
    let places = workload.places();
    let rows = workload.comparable(&more, &memory).await?;
    let mut examined = {
        let (workload, keying, places) = (workload.clone(), keying.clone(), places.clone());
        spread(rows, move |batch| keying.examine(&batch, workload.expected(), workload.inputs(), &places))
    };
    let mut sink = Sink::new(&memory, places.len());
    let total = workload.upstreams().iter().map(|upstream| upstream.rows()).max();
    let mut done = 0;
    let mut origin = vec![0; places.len()];
    while let Some(rows) = examined.try_next().await? {
        for (row, (key, mark)) in rows.keys.iter().zip(&rows.marks).enumerate() {
            for (place, places) in origin.iter_mut().zip(&rows.places) {
                *place = if places.is_null(row) { NOWHERE } else { places.value(row) };
            }
            comparison.expect(*key, *mark, &origin, &mut |change, origin| sink.add(change, origin))?;
        }
        done += rows.keys.len() as u64;
        call.progress(done, total);
        call.check()?;
    }
    let (tally, _) = settle(comparison, sink, increment).await?;
    increment.progress = match stored {
        None => (done > 0).then_some(0.0),
        Some(_) => progress(&tally),
    };
    Ok(())
}

/// Decides about what had to wait, and fills the parts of the increment; gives also what came again.
async fn settle(
    comparison: Comparison,
    mut sink: Sink,
    increment: &mut Increment,
) -> Result<(Tally, Option<Vec<u64>>)> {
    // What was spilled is read back here, which may take its time.
    let settled = tokio::task::spawn_blocking(move || {
        let mut orphaned = RoaringTreemap::new();
        let tally = comparison.finish(&mut |change, origin| sink.add(change, origin), &mut |place| {
            orphaned.insert(place);
            Ok(())
        })?;
        let Sink { new, stale, again } = sink;
        Ok((tally, orphaned, new.finish()?, stale.finish()?, again))
    });
    let settled =
        settled.await.map_err(|cause| Error::new(Status::Internal, format!("comparing failed: {cause}")))?;
    let (tally, orphaned, new, stale, again) = settled?;
    (increment.new, increment.stale, increment.orphaned) = (new, stale, Arc::new(orphaned));
    Ok((tally, again))
}

/// The share of the keys that are not new, in percent; Metaxy's `calculate_input_progress`.
fn progress(tally: &Tally) -> Option<f64> {
    let (keys, new) = (tally.keys as f64, tally.new_keys as f64);
    (tally.keys > 0).then(|| (keys - new) / keys * 100.0)
}

/// Takes the samples of a feature, batch by batch.
pub struct SampleResolver {
    store: Store,
    given: GivenSamples,
    keying: Arc<Keying>,
    comparison: Comparison,
    spool: Spool,
    sink: Sink,
    rows: u64,
    increment: Increment,
}

impl SampleResolver {
    /// Compares the samples of a batch.
    pub async fn push(&mut self, batch: RecordBatch, call: &Call) -> Result<()> {
        call.check()?;
        let pushed = self.compare(&batch);
        pushed.map_err(|error| self.store.located(error).with("feature", &self.increment.feature))
    }

    fn compare(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.given.complete(batch)?;
        let (batch, Examined { keys, marks, places }) = self.keying.examine_samples(&batch)?;
        let numbers = places.first().map(|numbers| numbers.values().iter()).unwrap_or_default();
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        // By their places among those that are kept, and their numbers among those that are given.
        for (((key, mark), place), number) in keys.into_iter().zip(marks).zip(first..).zip(numbers) {
            let sink = &mut self.sink;
            let mut found = |change, origin: &[u64]| sink.add(change, origin);
            self.comparison.expect(key, mark, &[place, *number], &mut found)?;
        }
        self.spool.push(batch)
    }

    /// Ends the samples: what is stored and was not among them is orphaned.
    pub async fn finish(self, call: &Call) -> Result<Increment> {
        let SampleResolver { store, given, comparison, spool, sink, mut increment, .. } = self;
        let feature = increment.feature.clone();
        let resolved = call.run(async {
            let (_, again) = settle(comparison, sink, &mut increment).await?;
            let samples = spool.finish()?;
            if let Some([place, number]) = again.as_deref() {
                return Err(repeated(&given, &samples, *place, *number).await?);
            }
            increment.source = Source::Samples(samples);
            Ok(increment)
        });
        resolved.await.map_err(|error| store.located(error).with("feature", &feature))
    }
}

/// The error for the sample at `place` of those that are kept.
async fn repeated(given: &GivenSamples, samples: &Spooled, place: u64, number: u64) -> Result<Error> {
    let mut rows = samples.stream();
    let mut before = place as usize;
    while let Some(batch) = rows.try_next().await? {
        if before < batch.num_rows() {
            return Ok(given.repeated(&batch, before, number));
        }
        before -= batch.num_rows();
    }
    Err(Error::new(Status::Internal, "a sample is gone"))
}
