//! Where tables live: a URI becomes a LanceDB database, a name in it becomes a table.
//!
//! The only room that names lancedb and lance. It knows nothing of features or versions: it opens,
//! scans, stages and publishes tables, and turns LanceDB's failures into ours.

mod database;
mod drop;
mod durable;
mod erase;
mod failure;
mod life;
mod location;
mod maintain;
mod manifests;
mod pin;
mod presence;
mod prune;
mod recover;
mod scan;
mod session;
mod stage;
mod statistics;
mod table;
mod table_lock;

pub use database::{Database, Mode, unusable_column_name};
pub use durable::Durability;
pub use erase::Erased;
pub use location::{Location, mask};
pub use maintain::{Compacted, Extent, Maintaining};
pub use prune::{Pruned, Retention};
pub use scan::Scan;
pub use stage::Staged;
pub use statistics::Statistics;
pub use table::Table;
pub use table_lock::{Access, TableLock};
