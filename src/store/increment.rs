//! An increment: what was found to be new, stale and orphaned, to be read in any order.

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringTreemap;

use super::context::Call;
use super::find::{Visit, visits};
use super::read::RowStream;
use super::runtime::Runtime;
use super::serving::{PLACE, Serving};
use super::upstream::unfit;
use super::workload::{Workload, origin_column};
use crate::error::{Error, Result, Status};
use crate::feature::FeatureKey;
use crate::versioning::{Memory, Spooled};

/// The parts of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Samples that are not stored.
    New,
    /// Samples that are stored with another provenance than they have now.
    Stale,
    /// Stored rows of samples that are no more.
    Orphaned,
}

/// What there is to do for a feature, as it was when it was resolved. It holds all that it needs: the store may be
/// closed before it.
pub struct Increment {
    pub(super) feature: FeatureKey,
    pub(super) new: Selected,
    pub(super) stale: Selected,
    pub(super) orphaned: Arc<RoaringTreemap>,
    /// Where the new and the stale rows come from.
    pub(super) source: Source,
    /// Where the orphaned rows are, if any are stored.
    pub(super) stored: Option<Serving>,
    pub(super) progress: Option<f64>,
    pub(super) visits: Vec<(FeatureKey, Vec<Visit>)>,
    pub(super) batch_rows: Option<usize>,
    pub(super) memory: Memory,
    // Last, so that the threads outlive what runs on them.
    pub(super) runtime: Runtime,
}

/// Rows that were chosen.
pub(super) enum Selected {
    /// All that there are, and how many.
    All(u64),
    /// Those at these places of the only dependency, or with these numbers among the samples.
    Places(Arc<RoaringTreemap>),
    /// Combinations of rows of the dependencies, by their places.
    Combinations { rows: Spooled, places: Vec<Arc<RoaringTreemap>> },
}

/// Where rows come from.
pub(super) enum Source {
    Workload(Arc<Workload>),
    Samples(Spooled),
}

impl Increment {
    /// The number of rows of a part.
    pub fn count(&self, part: Part) -> u64 {
        match part {
            Part::New => self.new.count(),
            Part::Stale => self.stale.count(),
            Part::Orphaned => self.orphaned.len(),
        }
    }

    /// How much of the input is done, from 0 to 100: the share of samples that are not new. Nothing where there is
    /// no input, and for samples of the caller's.
    pub fn input_progress(&self) -> Option<f64> {
        self.progress
    }

    /// Which stores were asked for each feature that this one depends on, and for itself: the column `feature`, then
    /// those of [`visits_schema`](super::visits_schema).
    pub fn served_by(&self) -> Result<RecordBatch> {
        let all: Vec<Visit> = self.visits.iter().flat_map(|(_, visits)| visits.iter().cloned()).collect();
        let features =
            self.visits.iter().flat_map(|(feature, visits)| visits.iter().map(move |_| feature.as_str()));
        let features: ArrayRef = Arc::new(features.map(Some).collect::<LargeStringArray>());
        let (schema, columns, _) = visits(&all)?.into_parts();
        let feature = Arc::new(Field::new("feature", DataType::LargeUtf8, true));
        let fields: Vec<_> = [feature].into_iter().chain(schema.fields().iter().cloned()).collect();
        let columns = [features].into_iter().chain(columns).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unfit)
    }

    /// The rows of a part, as often as they are asked for.
    pub async fn read(&self, part: Part, call: &Call) -> Result<RowStream> {
        let schema = self.schema(part)?;
        let rows = call.run(async {
            match part {
                Part::New => self.selected(&self.new).await,
                Part::Stale => self.selected(&self.stale).await,
                Part::Orphaned => self.orphans(&schema),
            }
        });
        let rows = rows.await.map_err(|error| error.with("feature", &self.feature))?;
        let rows = match self.batch_rows {
            Some(most) => sliced(rows, most),
            None => rows,
        };
        let feature = self.feature.clone();
        let rows = rows.map_err(move |error| outdated(error, &feature)).boxed();
        let visits = self.visits.iter().flat_map(|(_, visits)| visits.iter().cloned()).collect();
        Ok(RowStream::new(schema, rows, visits, self.runtime.clone()))
    }

    /// The columns of a part.
    pub fn schema(&self, part: Part) -> Result<SchemaRef> {
        match (part, &self.stored) {
            (Part::Orphaned, Some(stored)) => {
                let placed = stored.placed(&columns(stored))?;
                let (_, fields) =
                    placed.fields().split_last().ok_or_else(|| internal("rows have no columns"))?;
                Ok(Arc::new(Schema::new(fields.to_vec())))
            }
            _ => Ok(match &self.source {
                Source::Workload(workload) => workload.schema().clone(),
                Source::Samples(samples) => samples.schema().clone(),
            }),
        }
    }

    async fn selected(&self, selected: &Selected) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        if selected.count() == 0 {
            return Ok(futures::stream::empty().boxed());
        }
        let memory = &self.memory.another();
        match (&self.source, selected) {
            (Source::Workload(workload), Selected::All(_)) => {
                workload.only(None, self.batch_rows, memory).await
            }
            (Source::Workload(workload), Selected::Places(places)) => {
                workload.only(Some(places.clone()), self.batch_rows, memory).await
            }
            (Source::Workload(workload), Selected::Combinations { rows, places }) => {
                workload.combined(rows, places, self.batch_rows, memory).await
            }
            (Source::Samples(samples), Selected::All(_)) => Ok(samples.stream()),
            (Source::Samples(samples), Selected::Places(numbers)) => {
                Ok(numbered(samples.stream(), numbers.clone()))
            }
            (Source::Samples(_), Selected::Combinations { .. }) => {
                Err(internal("samples have no dependencies"))
            }
        }
    }

    fn orphans(&self, schema: &SchemaRef) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Some(stored) = self.stored.as_ref().filter(|_| !self.orphaned.is_empty()) else {
            return Ok(futures::stream::empty().boxed());
        };
        let rows = stored.at(self.orphaned.clone(), &columns(stored), self.batch_rows)?;
        let schema = schema.clone();
        let own = rows.map(move |batch| {
            let mut batch = batch?;
            if let Ok(place) = batch.schema_ref().index_of(PLACE) {
                batch.remove_column(place);
            }
            batch.with_schema(schema.clone()).map_err(unfit)
        });
        Ok(own.boxed())
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Selected {
    pub fn none() -> Selected {
        Selected::All(0)
    }

    fn count(&self) -> u64 {
        match self {
            Selected::All(rows) => *rows,
            Selected::Places(places) => places.len(),
            Selected::Combinations { rows, .. } => rows.rows(),
        }
    }
}

/// Batches of `most` rows at most, also where rows came together by a join.
fn sliced(
    rows: BoxStream<'static, Result<RecordBatch>>,
    most: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    let slices = rows.map_ok(move |batch| {
        let starts = (0..batch.num_rows()).step_by(most.max(1));
        futures::stream::iter(
            starts.map(move |start| Ok(batch.slice(start, most.min(batch.num_rows() - start)))),
        )
    });
    slices.try_flatten().boxed()
}

/// A table that is gone is not read again, but resolved again.
fn outdated(error: Error, feature: &FeatureKey) -> Error {
    match error.status() {
        Status::Conflict => error.reworded(|reason| {
            format!("{reason}; what is left to do for {feature} is another increment: resolve it again")
        }),
        _ => error,
    }
}

fn columns(stored: &Serving) -> Vec<String> {
    stored.schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// Those rows of a stream whose numbers are among `numbers`.
fn numbered(
    rows: BoxStream<'static, Result<RecordBatch>>,
    numbers: Arc<RoaringTreemap>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let mut first = 0;
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let kept = (first..).take(batch.num_rows()).map(|number| Some(numbers.contains(number))).collect();
        first += batch.num_rows() as u64;
        filter_record_batch(&batch, &kept).map_err(unfit)
    });
    rows.try_filter(|batch| futures::future::ready(batch.num_rows() > 0)).boxed()
}

/// The columns that say of which rows of the dependencies a combination is made.
pub(super) fn combination_schema(dependencies: usize) -> SchemaRef {
    let fields =
        (0..dependencies).map(|position| Field::new(origin_column(position), DataType::UInt64, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn internal(message: &str) -> Error {
    Error::new(Status::Internal, message)
}
