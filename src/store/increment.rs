//! An increment: what was found to be new, stale and orphaned, to be read in any order.

use arrow::array::RecordBatch;

use super::context::Call;
use super::read::RowStream;
use super::runtime::Runtime;
use crate::error::{Error, Result, Status};

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
    runtime: Runtime,
}

impl Increment {
    /// The number of rows of a part.
    pub fn count(&self, part: Part) -> u64 {
        let _ = part;
        0
    }

    /// How much of the input is done, from 0 to 100; nothing where there is no input, or none of it was looked at.
    pub fn input_progress(&self) -> Option<f64> {
        None
    }

    /// Which stores were asked for each feature that this one depends on, and for itself: the column `feature`, then
    /// those of [`visits_schema`](super::visits_schema).
    pub fn served_by(&self) -> Result<RecordBatch> {
        Err(Error::new(Status::Unsupported, "not yet"))
    }

    /// The rows of a part, as often as they are asked for.
    pub async fn read(&self, part: Part, call: &Call) -> Result<RowStream> {
        let _ = (part, call);
        Err(Error::new(Status::Unsupported, "not yet"))
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}
