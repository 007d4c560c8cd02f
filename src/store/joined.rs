//! Rows that the caller joined itself, and the versions that come of them.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::Store;
use super::context::Call;
use crate::error::{Error, Result, Status};

impl Store {
    /// Computes the versions of samples of `feature` from rows with the columns of `schema`: of each feature that it
    /// depends on, they have the data versions, in a column with the suffix of that feature.
    pub async fn joined(&self, feature: &str, schema: SchemaRef, call: &Call) -> Result<Joined> {
        let _ = (feature, schema, call);
        Err(Error::new(Status::Unsupported, "not yet"))
    }
}

/// Completes rows, batch by batch.
pub struct Joined {
    schema: SchemaRef,
}

impl Joined {
    /// The columns of completed rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The rows with their versions, without the columns that those come of.
    pub fn complete(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let _ = batch;
        Err(Error::new(Status::Unsupported, "not yet"))
    }
}
