//! What is in a store: whether a feature is, all of them, one of them in depth.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// Tells whether the store itself has a table of a feature, which need not be defined; its fallback stores are not
/// asked.
///
/// `feature` and `context` are borrowed for the call; the latter may be NULL. `has` receives 1 if a version of the table
/// has been committed, even one without rows, else 0. No table is opened, so that a damaged one counts as well. Features
/// whose keys differ in nothing but `-` and `_` share a table. Any thread. Fails with `METAXY_INVALID_ARGUMENT`,
/// `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_PERMISSION`, `METAXY_IO`, `METAXY_CANCELLED`,
/// `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_has(
    store: *const MetaxyStore,
    feature: *const c_char,
    context: *const MetaxyContext,
    has: *mut i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("has", has, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let call = context::optional(entry, context)?.begin();
            store.runtime().block_on(store.has(feature, &call)).map(i32::from)
        })
    }
}

/// Lists the tables of the store itself, sorted by name, whether their features are defined or not; its fallback stores
/// are not asked.
///
/// `context` is borrowed for the call and may be NULL. `features` receives a stream that the caller releases, of one
/// batch with these columns, each null where it is not known:
///
/// - `feature` (large text): the key, as it is defined, else as it was pushed, else as the table's name has it, which
///   does not tell `-` from `_`; null if no feature has such a table;
/// - `table` (large text);
/// - `defined` (bool): whether the feature is defined in the store;
/// - `system` (bool): whether it is a table of Metaxy itself;
/// - `rows` (uint64): the rows that are not physically deleted, older ones and tombstones among them;
/// - `feature_versions` (large list of large text, sorted): the versions of the feature that the rows have;
/// - `fragments`, `bytes` (uint64): the fragments of the newest version, and the size of its data files, as far as a
///   server that keeps the table tells;
/// - `version` (uint64): the newest version, as Lance counts them;
/// - `hash_algorithm`, `hash_truncation_length` (large text): what the table records, else what its rows tell, as the
///   options `hash.algorithm` and `hash.truncation_length` spell it: a length may be `none`;
/// - `last_write` (timestamp in microseconds, UTC): the greatest time of a row's update or deletion;
/// - `last_commit` (timestamp in microseconds, UTC): when the newest version was made, be it by a write or a compaction;
/// - `problem` (large text): what is wrong with the table; null if all of the above could be read.
///
/// A damaged table is listed with its problem, and is no failure of the call. Of the rows the feature versions and the
/// times are read, a batch at a time. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`,
/// `METAXY_INVALID_STATE`, `METAXY_PERMISSION`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_list(
    store: *const MetaxyStore,
    context: *const MetaxyContext,
    features: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("features", features, error, |entry| {
            let store = entry.object(store)?;
            let call = context::optional(entry, context)?.begin();
            export::table(store.runtime().block_on(store.list(&call))?)
        })
    }
}

/// Describes a feature of the store itself: a row for each feature version that its table has rows of, sorted, and one
/// for the defined version, also without rows. Its fallback stores are not asked.
///
/// `feature` and `context` are borrowed for the call; the latter may be NULL. `description` receives a stream that the
/// caller releases, of one batch with these columns:
///
/// - `feature_version` (large text): null for rows that have none;
/// - `is_current` (bool): whether it is the defined version; null while the feature, or one that it depends on, is not
///   defined;
/// - `rows` (uint64): the rows of that version that are not physically deleted, older ones and tombstones among them;
/// - `samples` (uint64): the samples that a read of that version gives; null if the feature is not defined, which tells
///   its id columns;
/// - `deleted` (uint64): the samples whose latest row of that version is a tombstone; null likewise;
/// - `first_write`, `last_write` (timestamp in microseconds, UTC): the least time of a row's update, and the greatest of
///   an update or deletion;
/// - `project_versions` (large list of large text, sorted): the project versions of the rows;
/// - `columns` (large list of struct of `column`, `type`, large texts): the columns of the table, the same in each row.
///
/// For a defined feature it reads the ids and times of every row, within the option `memory.bytes`, as a read does. Any
/// thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_NOT_FOUND` if there is no
/// table of the feature, `METAXY_UNSUPPORTED`, `METAXY_SCHEMA_MISMATCH`, `METAXY_PERMISSION`, `METAXY_CORRUPT`,
/// `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_describe(
    store: *const MetaxyStore,
    feature: *const c_char,
    context: *const MetaxyContext,
    description: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("description", description, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let call = context::optional(entry, context)?.begin();
            export::table(store.runtime().block_on(store.describe(feature, &call))?)
        })
    }
}
