//! Tables as Lance files, in a directory, in memory or in a bucket.

mod bucket;
mod database;
mod drop;
mod durable;
mod environment;
mod erase;
mod keys;
mod life;
mod maintain;
mod manifests;
mod outcome;
mod pin;
mod presence;
mod prune;
mod reach;
mod recover;
mod scan;
mod session;
mod stage;
mod statistics;
mod table;
mod table_lock;
mod writers;

pub use database::Database;
pub use durable::Durability;
pub use maintain::Maintaining;
pub use scan::Scan;
pub use stage::Staged;
pub use table::Table;
