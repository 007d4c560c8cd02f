//! All end-to-end tests in one program, because each program links all of LanceDB.

mod abi;
mod buffer;
mod catalog;
mod chain;
mod config;
mod conformance;
mod copy;
mod delete;
mod drop;
mod durability;
mod golden_stores;
mod header;
mod interop;
mod maintain;
mod native;
mod processes;
mod read;
mod readme;
mod recover;
mod refusals;
mod remote;
mod servers;
mod storage_docs;
mod support;
mod write;
mod write_many;
