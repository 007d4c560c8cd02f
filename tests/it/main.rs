//! All end-to-end tests in one program, because each program links all of LanceDB.

mod abi;
mod buffer;
mod catalog;
mod chain;
mod config;
mod copy;
mod delete;
mod golden_stores;
mod header;
mod interop;
mod maintain;
mod native;
mod read;
mod readme;
mod refusals;
mod support;
mod write;
mod write_many;
