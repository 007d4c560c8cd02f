//! Where tables live: a URI becomes a LanceDB database, a name in it becomes a table.
//!
//! The only room that names lancedb and lance. It knows nothing of features or versions: it opens,
//! scans, stages and publishes tables, and turns LanceDB's failures into ours.

mod database;
mod erase;
mod failure;
mod location;
mod maintain;
mod pin;
mod presence;
mod scan;
mod session;
mod stage;
mod statistics;
mod table;

pub use database::{Database, unusable_column_name};
pub use erase::Erased;
pub use location::{Location, mask};
pub use maintain::{Compacted, Extent, Maintaining, Pruned};
pub use scan::Scan;
pub use stage::Staged;
pub use statistics::Statistics;
pub use table::Table;
