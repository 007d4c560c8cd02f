//! What the calls mean: a store of features, opened, written and read.
//!
//! One file per operation. Everything a C function does is done here first, under the same name, so
//! that every behaviour can be had and tested from Rust.

pub mod context;
pub mod options;
pub mod runtime;

mod backlog;
mod buffer;
mod catalog;
mod chain;
mod chosen;
mod compare;
mod conform;
pub mod connect;
mod copy;
mod current;
mod define;
mod delete;
mod describe;
mod drop;
mod external;
mod filter;
mod find;
mod graph;
mod identity;
mod incoming;
mod increment;
mod joined;
mod key_columns;
mod load;
mod maintain;
mod merge;
mod nested;
mod open;
mod parts;
mod present;
mod push;
mod pushed;
mod read;
mod rebase;
mod rebased;
mod repeats;
mod report;
mod resolve;
mod samples;
mod samples_given;
mod serving;
mod settings;
mod superseded;
mod system_columns;
mod tally;
mod upstream;
mod workload;
mod write;
mod write_many;

pub use buffer::BufferedWriter;
pub use chain::Fallback;
pub use find::{Outcome, Visit, visits_schema};
pub use graph::Snapshot;
pub use increment::{Increment, Part};
pub use joined::Joined;
pub use load::Pushes;
pub use open::Store;
pub use read::{ReadRequest, RowStream};
pub use resolve::{IncrementRequest, SampleResolver};
pub use write::Writer;
pub use write_many::Writers;
