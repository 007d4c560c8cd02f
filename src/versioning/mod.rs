//! Sample-level versions: how rows are hashed, and what their by-field columns say.
//!
//! Arrow in, Arrow out: nothing here knows where the rows come from or where they go. What does not fit into
//! memory waits in files.

mod aggregation;
mod compact;
mod comparison;
mod expected;
mod hash;
mod join;
mod memory;
mod provenance;
mod room;
mod shard;
mod spool;

pub use aggregation::aggregated;
pub use comparison::{Change, Comparison, Repeats, Rules, Stored, Tally};
pub use expected::{Expected, Input, mark, marks_of};
pub use hash::{HashAlgorithm, SampleHash};
pub use join::{Side, attach, join, joined_key, sorted};
pub use memory::Memory;
pub use provenance::{ByField, infer_algorithm, infer_truncation, sample_provenance};
pub use shard::Shard;
pub use spool::{Spool, Spooled};
