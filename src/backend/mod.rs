//! Where tables live: a URI becomes a LanceDB database, a name in it becomes a table.
//!
//! The only room that names lancedb and lance. It knows nothing of features or versions: it opens,
//! scans, stages and publishes tables, and turns LanceDB's failures into ours. What is here is the same
//! for every storage; `native` keeps tables as files, which this library reads and writes itself, and `remote`
//! asks a server that keeps them.

mod column;
mod condition;
mod connect;
mod database;
mod evolve;
mod failure;
mod location;
mod native;
mod reason;
mod remote;
mod scan;
mod staged;
mod table;
mod work;

pub use column::unusable_column_name;
pub use condition::joined;
pub use connect::Connect;
pub use database::{Database, Maintaining};
pub use location::{Location, mask};
pub use native::Durability;
pub use scan::Scan;
pub use staged::Staged;
pub use table::Table;
pub use work::{Compacted, Erased, Extent, Mode, Pruned, Retention, Statistics};
