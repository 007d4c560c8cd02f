//! Dropping a feature of a `MetaxyStore`.

use std::ffi::c_char;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// Drops a feature: its table with all rows and their history. Fallback stores keep theirs, and a feature without a
/// table is no error.
///
/// It waits for the commits that are being made to the feature, by any process; when `context` ends that, nothing was
/// dropped. A write that is under way fails with `METAXY_CONFLICT`, one that begins afterwards makes a new table; a
/// stream that is reading the feature may fail with `METAXY_CONFLICT`. The feature need not be defined.
///
/// `feature`, `options` and `context` are borrowed for the call; the latter two may be NULL. `dropped` receives 1 if
/// there was a table, else 0. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`,
/// `METAXY_INVALID_STATE` in a store that is closed or open for reading, `METAXY_UNSUPPORTED` for a table of Metaxy
/// itself, `METAXY_PERMISSION`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_drop(
    store: *const MetaxyStore,
    feature: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    dropped: *mut i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("dropped", dropped, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            store.runtime().block_on(store.drop_feature(feature, &options, &call)).map(i32::from)
        })
    }
}
