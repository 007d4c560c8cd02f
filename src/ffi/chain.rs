//! Fallback stores: opening a chain of them, and which of them serves a feature.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::handle;
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::read_request::{self, MetaxyReadRequest};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::{Fallback, Store};

/// Opens the store at `uri` as `metaxy_store_open` does, with other stores in which reads go on, each of which may have
/// its own: local development falls back to staging, and staging to production.
///
/// Reads go down the chain, depth first, in order; the option `fallback.missing` says when. Everything else (writes,
/// drops, hard deletes) concerns this store alone. The features defined in this store are the ones read from all.
/// `fallbacks` is an array of `fallback_count` handles, borrowed for the call: the chain keeps what it needs, and they
/// may be closed and freed at any time. `uri`, `options` and `context` are borrowed for the call; the latter two may be
/// NULL. `store` receives a handle that the caller frees with `metaxy_store_free`. Any thread. Fails as
/// `metaxy_store_open`, with `METAXY_INVALID_ARGUMENT` if the chain leads back to `uri`, with `METAXY_INVALID_STATE` if a
/// fallback is closed, and with `METAXY_SCHEMA_MISMATCH` if the stores are known to hash in different ways; what is not
/// known yet is compared when a read gets there.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_open_chain(
    uri: *const c_char,
    fallbacks: *const *const MetaxyStore,
    fallback_count: usize,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    store: *mut *mut MetaxyStore,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("store", store, error, |entry| {
            let uri = argument::text("uri", uri)?;
            let fallbacks = argument::items("fallbacks", fallbacks, fallback_count)?
                .iter()
                .map(|fallback| Ok(Fallback::from(Store::clone(&*entry.object(*fallback)?))))
                .collect::<crate::error::Result<Vec<_>>>()?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            handle::insert(Store::open_chain(uri, fallbacks, &options, &call)?)
        })
    }
}

/// Tells which stores of the chain would serve a read, without reading the rows.
///
/// `feature`, `request` and `context` are borrowed for the call; the latter two may be NULL. `stores` receives a stream
/// that the caller releases, of one batch with one row for each store that was asked, in the order of asking: `store`
/// (large text, its name, null if it has none), `uri` (large text, secrets masked), `table` (large text), `version`
/// (uint64, the version of its Lance table, null if it has none), `outcome` (large text: `served`; `absent`, it has no
/// table of the feature; `no rows`, none of its table is current; `unavailable`, it was passed over) and `problem` (large
/// text, why it could not be asked). Any thread. Fails as `metaxy_store_read`: with `METAXY_NOT_FOUND` if no store has a
/// table of the feature.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_find(
    store: *const MetaxyStore,
    feature: *const c_char,
    request: *const MetaxyReadRequest,
    context: *const MetaxyContext,
    stores: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("stores", stores, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let request = read_request::optional(entry, request)?;
            let call = context::optional(entry, context)?.begin();
            export::table(store.runtime().block_on(store.find(feature, &request, &call))?)
        })
    }
}

/// Tells which stores serve the rows of a stream that `metaxy_store_read` gave.
///
/// `rows` is borrowed for the call and stays as it is, wherever it has been moved to. `stores` receives a stream that the
/// caller releases, with the columns of `metaxy_store_find`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, also for a
/// stream that is not one of rows, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_stream_served_by(
    rows: *const FFI_ArrowArrayStream,
    stores: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("stores", stores, error, |_| export::table(export::served_by(export::handle(rows)?)?))
    }
}
