//! Sample-level versions: how rows are hashed, and what their by-field columns say.
//!
//! Arrow in, Arrow out: nothing here knows where the rows come from or where they go.

mod hash;
mod provenance;
mod shard;

pub use hash::{HashAlgorithm, SampleHash};
pub use provenance::{ByField, infer_algorithm, infer_truncation, sample_provenance};
pub use shard::Shard;
