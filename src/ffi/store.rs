//! `MetaxyStore`: opening, defining, writing in one call, reading.

use std::ffi::c_char;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Result;
use crate::ffi::argument::{self, c_string};
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::import::{self, GivenArray, GivenStream};
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::read_request::{self, MetaxyReadRequest};
use crate::ffi::status::MetaxyStatus;
use crate::store::Store;
use crate::store::context::Call;
use crate::store::options::Options;

/// A metadata store: a directory of tables, one for each feature.
pub struct MetaxyStore {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyStore {
    type Value = Store;
    const KIND: Kind = Kind::Store;
}

/// Opens the store at `uri`: a path, `file://` or `memory://`.
///
/// `uri`, `options` and `context` are borrowed for the call; `options` and `context` may be NULL. `store` receives a
/// handle that the caller frees with `metaxy_store_free`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`,
/// `METAXY_INVALID_HANDLE`, `METAXY_NOT_FOUND`, `METAXY_PERMISSION`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`; for
/// writing to an S3 server that is not Amazon's also with `METAXY_UNAVAILABLE`, and with `METAXY_UNSUPPORTED` if it does
/// not keep writers apart. Other storages are reached by the first call that needs them.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_open(
    uri: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    store: *mut *mut MetaxyStore,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("store", store, error, |entry| {
            let uri = argument::text("uri", uri)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            handle::insert(Store::open(uri, &options, &call)?)
        })
    }
}

/// Closes a store: later calls on it fail with `METAXY_INVALID_STATE`, while streams and writers that it gave out go on.
/// Closing it again does nothing.
///
/// `store` stays the caller's to free. Any thread. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_close(
    store: *const MetaxyStore,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::enter(error, |entry| entry.object(store)?.close()) }
}

/// Frees a store, and closes it; NULL and a handle already freed are ignored. Streams and writers that it gave out go on.
///
/// `store` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_free(store: *mut MetaxyStore) {
    guard::quietly((), || drop(handle::remove(store)));
}

/// What messages call the store: its name, or its URI with secrets masked.
///
/// `text` receives a text that the caller frees with `metaxy_string_free`. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_display(
    store: *const MetaxyStore,
    text: *mut *mut c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("text", text, error, |entry| Ok(c_string(&entry.object(store)?.display()).into_raw()))
    }
}

/// Defines the features of a JSON text: a spec, an envelope around one, or an array of either. All of them are defined,
/// or none; a feature that is defined already is replaced.
///
/// `json` is borrowed for the call. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, which names the JSON path,
/// `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_define(
    store: *const MetaxyStore,
    json: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::enter(error, |entry| entry.object(store)?.define(argument::text("json", json)?)) }
}

/// Lists the defined features with their versions, sorted by key.
///
/// `context` is borrowed for the call and may be NULL. `features` receives a stream that the caller releases, of one
/// batch with the columns `feature`, `project`, `table` (large text), `external` (bool), `id_columns` (large list of
/// large text), `fields` (large list of struct of `field`, `code_version`, `field_version`), `feature_version`,
/// `code_version`, `spec_version`, `definition_version`, `project_version` (large text). The versions are null while a
/// feature that this one depends on is not defined. Any thread. Fails with `METAXY_INVALID_ARGUMENT`,
/// `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`,
/// `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_features(
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
            export::table(store.runtime().block_on(store.features(&call))?)
        })
    }
}

/// Writes the rows of a stream to a feature; they become visible together, or not at all. If it fails, none of them is,
/// unless the detail `outcome` of the error is `unknown` (`METAXY_UNAVAILABLE`): then it is not known whether the storage
/// has made the commit.
///
/// `rows` is moved in on every path, failures too: afterwards its `release` is NULL. Its callbacks are called on the
/// calling thread only, those of its arrays on any. `feature`, `options` and `context` are borrowed for the call; the
/// latter two may be NULL. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`,
/// `METAXY_INVALID_STATE`, `METAXY_NOT_FOUND`, `METAXY_UNSUPPORTED`, `METAXY_SCHEMA_MISMATCH`, `METAXY_CONFLICT`,
/// `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`, or as the stream failed if
/// it is one of the library.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_write(
    store: *const MetaxyStore,
    feature: *const c_char,
    rows: *mut FFI_ArrowArrayStream,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The stream is taken before anything can fail.
    unsafe {
        let rows = GivenStream::take(rows);
        guard::enter(error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            let mut rows = rows.open()?;
            write(&store, feature, rows.schema(), || rows.next(&call), &options, &call)
        })
    }
}

/// Writes the rows of one array, a struct of columns, to a feature.
///
/// `rows` is moved in on every path, failures too: afterwards its `release` is NULL. `schema`, `feature`, `options` and
/// `context` are borrowed for the call; the latter two may be NULL. Any thread. Fails as `metaxy_store_write`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_write_batch(
    store: *const MetaxyStore,
    feature: *const c_char,
    rows: *mut FFI_ArrowArray,
    schema: *const FFI_ArrowSchema,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The array is taken before anything can fail.
    unsafe {
        let rows = GivenArray::take(rows);
        guard::enter(error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            let schema = import::schema(schema)?;
            let mut batch = Some(rows.into_batch(&schema)?);
            write(&store, feature, schema, || Ok(batch.take()), &options, &call)
        })
    }
}

/// Writes what `next` gives. It is asked on this thread and outside the runtime, since many hosts
/// can answer on no other thread, and since it may itself be a stream that the library gave out.
fn write(
    store: &Store,
    feature: &str,
    schema: SchemaRef,
    mut next: impl FnMut() -> Result<Option<RecordBatch>>,
    options: &Options,
    call: &Call,
) -> Result<()> {
    let runtime = store.runtime();
    let mut writer = runtime.block_on(store.writer(feature, schema, options, call))?;
    let mut push_all = || {
        while let Some(batch) = next()? {
            runtime.block_on(writer.push(batch, call))?;
        }
        Ok(())
    };
    match push_all() {
        Ok(()) => runtime.block_on(writer.commit(call)),
        Err(error) => {
            // Nothing is left of the write when the call returns.
            runtime.block_on(async {
                writer.abort().await;
                Ok(())
            })?;
            Err(error)
        }
    }
}

/// Reads a feature: the current rows of its current version, unless `request` says otherwise.
///
/// `feature`, `request` and `context` are borrowed for the call; the latter two may be NULL. `rows` receives a stream
/// that the caller releases, on any thread, also after the store is freed. Each of its `get_next` is one call under
/// `context`, whose cancel switch it shares; `metaxy_error_from_stream` tells why one failed. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_NOT_FOUND`,
/// `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_read(
    store: *const MetaxyStore,
    feature: *const c_char,
    request: *const MetaxyReadRequest,
    context: *const MetaxyContext,
    rows: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("rows", rows, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let request = read_request::optional(entry, request)?;
            let context = context::optional(entry, context)?;
            let call = context.begin();
            let found = store.runtime().block_on(store.read(feature, &request, &call))?;
            export::rows(found, context)
        })
    }
}

/// Frees a text that the library gave out; NULL is ignored.
///
/// `text` is consumed: freeing it twice is not detected, as it is with handles. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller passes a text that came from `CString::into_raw`.
        guard::quietly((), || drop(unsafe { std::ffi::CString::from_raw(text) }));
    }
}
