//! Keeping a store small: compact, prune, purge.

use std::ffi::c_char;

use arrow::array::RecordBatch;
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Result;
use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::Store;
use crate::store::context::Call;
use crate::store::options::Options;

/// Joins the small fragments of a feature's table, or of every table if `feature` is NULL, and gives the space of
/// deleted rows back. The rows and their order stay as they are; readers and writers go on meanwhile, in any process.
/// What the files were before stays until it is pruned.
///
/// `feature`, `options` and `context` are borrowed for the call; each may be NULL. A key of `metaxy-system/` names a
/// table of Metaxy itself. `report` receives a stream that the caller releases, of one batch with a row per table and
/// the columns `feature` (large text, null where no defined feature has the table), `table` (large text),
/// `fragments_before`, `fragments_after`, `rows_removed` (deleted rows whose space was given back), `version` (int64)
/// and `problem` (large text): where `feature` is NULL, a table that cannot be compacted does not keep the others from
/// it, but has no numbers and the reason here. If the call fails or is cancelled, the tables before are compacted. Any
/// thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE` if the store is closed or
/// open for reading, `METAXY_NOT_FOUND` if there is no such table, `METAXY_UNSUPPORTED` if a server keeps the tables, `METAXY_CONFLICT`,
/// `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_compact(
    store: *const MetaxyStore,
    feature: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    report: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        maintain(store, feature, options, context, report, error, async |store, feature, options, call| {
            store.compact(feature, options, call).await
        })
    }
}

/// Removes the versions of a feature's table, or of every table if `feature` is NULL, that were superseded longer ago
/// than the option `prune.older_than_ms` says, with the files that only they need.
///
/// The newest version is never removed, and in a local directory none that a read or a stream of this library, in any
/// process, still uses, nor a later one. Other programs are protected by the age alone: with a small one, their reads
/// and their writes may fail. Files that belong to no version may be of a write that is under way: they go when they are
/// a week old. Pointers, threads and statuses as `metaxy_store_compact`. The columns of `report` are `feature`, `table` (large text), `versions_removed`,
/// `bytes_removed`, `version` (int64) and `problem` (large text).
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_prune(
    store: *const MetaxyStore,
    feature: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    report: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        maintain(store, feature, options, context, report, error, async |store, feature, options, call| {
            store.prune(feature, options, call).await
        })
    }
}

/// Removes for good the rows of a feature, or of every defined feature if `feature` is NULL, that have been superseded
/// for longer than the option `purge.older_than_ms` says: a later row of the same sample and the same feature version
/// is that old. Rows of other feature versions do not count.
///
/// A tombstone that is the last row of its sample goes at that age, with everything it hides; unless an older row of
/// the sample in another feature version stays, which would show again. Since a tombstone may hide a row of a fallback
/// store, it stays in a store that has fallbacks; the option `purge.tombstones` says otherwise, as `keep` must where
/// another store has this one in its chain. The space is given back by `metaxy_store_compact` and `metaxy_store_prune`.
/// The rows of a table go in one commit; on a server in one per some hundreds of rows, tombstones last, and the detail
/// `removed` of an error says how many went before it.
/// Pointers, threads and statuses as `metaxy_store_compact`, and `METAXY_UNSUPPORTED` for a table of Metaxy itself,
/// `METAXY_SCHEMA_MISMATCH` for one without the feature's id columns; `feature` must be defined. The columns of
/// `report` are `feature`, `table` (large text), `rows_removed`, `version` (int64) and `problem` (large text).
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_purge(
    store: *const MetaxyStore,
    feature: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    report: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        maintain(store, feature, options, context, report, error, async |store, feature, options, call| {
            store.purge(feature, options, call).await
        })
    }
}

/// One call of maintenance, of one table or of all, and its report.
///
/// # Safety
/// The pointers are as the header says.
unsafe fn maintain(
    store: *const MetaxyStore,
    feature: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    report: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
    work: impl AsyncFnOnce(&Store, Option<&str>, &Options, &Call) -> Result<RecordBatch>,
) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe {
        guard::produce("report", report, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::optional_text("feature", feature)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            export::table(store.runtime().block_on(work(&store, feature, &options, &call))?)
        })
    }
}
