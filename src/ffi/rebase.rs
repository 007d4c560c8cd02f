//! Rows of one feature version as rows of another.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// Gives the current rows of one version of a feature as rows of another version, so that what was computed under the
/// first is not computed again where the change of the definition makes no difference to it. Nothing is written.
///
/// The rows have the columns that they are stored with; their provenance is the one that they have under the definition
/// of `to_version`, and so are their data versions, unless the caller had given those. Samples that are gone from the
/// features that this one depends on are left out. Written to the feature, they are neither new nor stale; those of another
/// version than the current one are written with `write.versions=keep`.
///
/// `feature`, `from_version`, `to_version` and `context` are borrowed for the call; the latter two may be NULL:
/// `to_version` then is the current version, else it is that or one that was pushed. `rows` receives a stream that the
/// caller releases, on any thread, also after the store is freed. Each of its `get_next` is one call under `context`, whose
/// cancel switch it shares; `metaxy_error_from_stream` tells why one failed. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, also for a feature without dependencies, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`,
/// `METAXY_NOT_FOUND` for a feature that is not defined or has no table, or a version that is not known,
/// `METAXY_UNSUPPORTED`, `METAXY_SCHEMA_MISMATCH`, `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`,
/// `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_rebase(
    store: *const MetaxyStore,
    feature: *const c_char,
    from_version: *const c_char,
    to_version: *const c_char,
    context: *const MetaxyContext,
    rows: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("rows", rows, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let from = argument::text("from_version", from_version)?;
            let to = argument::optional_text("to_version", to_version)?;
            let context = context::optional(entry, context)?;
            let call = context.begin();
            export::rows(store.runtime().block_on(store.rebase(feature, from, to, &call))?, context)
        })
    }
}
