//! libmetaxy: a metadata store for multimodal data pipelines, on LanceDB tables, behind a C ABI.
//!
//! A call is one straight corridor: `ffi` decodes the pointers of the C caller, [`store`] knows
//! what the call means, [`feature`] and [`versioning`] compute, [`backend`] is the only place that
//! talks to LanceDB. [`config`] lies between `ffi` and `store`: it opens stores by the names that a
//! `metaxy.toml` gives them. Arrows point downwards only.

#![deny(unsafe_code)]

pub mod backend;
pub mod config;
pub mod error;
pub mod feature;
pub mod ffi;
pub mod log;
pub mod process;
mod redact;
pub mod store;
pub mod versioning;

pub use error::{Error, Result, Status};
