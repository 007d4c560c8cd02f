//! Tables that a server keeps: LanceDB Cloud, or one of one's own that speaks the same protocol.
//!
//! The server does what `native` does with files. What it does not offer is told as unsupported, and
//! what its protocol leaves open is settled here: how much is asked for at a time, which version a read
//! is of, and what became of a write whose answer was lost.

mod ask;
mod database;
mod erase;
mod failure;
mod mark;
mod publish;
mod reach;
mod scan;
mod sql;
mod stage;
mod table;

pub use database::Database;
pub use scan::Scan;
pub use stage::Staged;
pub use table::Table;
