//! Resolving a feature: which of its samples are new, stale or orphaned.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::Store;
use super::context::Call;
use super::increment::Increment;
use crate::error::{Error, Result, Status};
use crate::versioning::Shard;

/// What to resolve of a feature. By default: all of it.
#[derive(Clone, Debug, Default)]
pub struct IncrementRequest {
    /// Conditions on the rows of one feature, the one that is resolved or one that it depends on.
    pub filters: Vec<(String, String)>,
    /// Conditions on the rows of each feature that it depends on, on its own, and on samples.
    pub global_filters: Vec<String>,
    /// Conditions on the stored rows of the feature: a sample whose row fails one is left alone.
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
    pub async fn resolve_update(
        &self,
        feature: &str,
        request: &IncrementRequest,
        call: &Call,
    ) -> Result<Increment> {
        let _ = (feature, request, call);
        Err(Error::new(Status::Unsupported, "not yet"))
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
        let _ = (feature, schema, request, call);
        Err(Error::new(Status::Unsupported, "not yet"))
    }
}

/// Takes the samples of a feature, batch by batch.
pub struct SampleResolver {}

impl SampleResolver {
    pub async fn push(&mut self, batch: RecordBatch, call: &Call) -> Result<()> {
        let _ = (batch, call);
        Err(Error::new(Status::Unsupported, "not yet"))
    }

    pub async fn finish(self, call: &Call) -> Result<Increment> {
        let _ = call;
        Err(Error::new(Status::Unsupported, "not yet"))
    }
}
