//! All end-to-end tests in one program, because each program links all of LanceDB.

mod golden_stores;
mod read;
mod support;
mod write;
