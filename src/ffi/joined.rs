//! The versions of rows that the caller joined itself.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::import::{GivenStream, JOINED};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// Computes the versions of a feature's samples from rows that the caller joined itself, where
/// `metaxy_store_resolve_update` cannot join them. Nothing is read of the features that it depends on, and nothing is written.
///
/// For each of these features the rows have its `metaxy_data_version_by_field` under that name with a suffix: two
/// underscores and the key of the feature with `_` in place of `/`, as in `metaxy_data_version_by_field__video_raw`. In
/// `completed` they have the same columns without those, and then `metaxy_provenance_by_field` (struct of large texts, one
/// for each field), `metaxy_provenance` (large text), `metaxy_data_version_by_field`, `metaxy_data_version` (likewise).
///
/// `rows` is moved in on every path, failures too: afterwards its `release` is NULL. `feature` and `context` are borrowed
/// for the call; the latter may be NULL. `completed` receives a stream that the caller releases, on any thread, also after
/// the store is freed. Each of its `get_next` pulls one batch of `rows`, on the thread that calls it, and is one call under
/// `context`, whose cancel switch it shares; `metaxy_error_from_stream` tells why one failed. `rows` is released at its end,
/// on a failure, or with `completed`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, also for a feature without
/// dependencies, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_NOT_FOUND`, `METAXY_UNSUPPORTED`,
/// `METAXY_SCHEMA_MISMATCH` if `rows` lacks a column that is needed, `METAXY_PERMISSION`, `METAXY_CORRUPT`,
/// `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_compute_provenance(
    store: *const MetaxyStore,
    feature: *const c_char,
    rows: *mut FFI_ArrowArrayStream,
    context: *const MetaxyContext,
    completed: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The stream is taken before anything can fail.
    unsafe {
        let rows = GivenStream::take_as(JOINED, rows);
        guard::produce("completed", completed, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let context = context::optional(entry, context)?;
            let call = context.begin();
            let rows = rows.open()?;
            let joined = store.runtime().block_on(store.joined(feature, rows.schema(), &call))?;
            export::joined(rows, joined, context)
        })
    }
}
