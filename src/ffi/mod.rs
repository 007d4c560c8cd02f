//! The C ABI: decode pointers, one call, encode the answer. All `unsafe` of the library is here.
//!
//! The contract of each function stands in its comment, which becomes `include/metaxy.h`; what
//! holds for all of them stands at the top of that header.

#![allow(unsafe_code)]
// The header, not a Rust caller, states what the pointers must be.
#![allow(clippy::missing_safety_doc)]
// The opaque types have no C representation on purpose: cbindgen then declares them and no more.
#![allow(improper_ctypes_definitions)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unsafe_op_in_unsafe_fn
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod adopt;
mod argument;
pub mod buffered_writer;
pub mod catalog;
pub mod chain;
pub mod config;
pub mod context;
pub mod copy;
pub mod delete;
pub mod drop;
pub mod error;
mod export;
pub mod graph;
mod guard;
mod handle;
mod import;
pub mod increment;
pub mod increment_request;
pub mod joined;
mod layout;
pub mod log;
pub mod maintain;
pub mod options;
pub mod push;
pub mod read_request;
pub mod rebase;
pub mod status;
pub mod store;
pub mod version;
pub mod write_many;
pub mod writer;
