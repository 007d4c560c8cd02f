//! `MetaxyWriter`: a write in several calls.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, TryLockError};

use arrow::datatypes::SchemaRef;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

use crate::error::{Error, Result, Status};
use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::import::{self, GivenArray};
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::runtime::Runtime;
use crate::store::{Store, Writer};

/// Rows on their way to a feature, invisible until they are committed.
pub struct MetaxyWriter {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyWriter {
    type Value = Open;
    const KIND: Kind = Kind::Writer;
}

/// A writer, until it is committed or aborted, and what its calls need.
pub struct Open {
    // Declared before the runtime, so that it is dropped while that still runs.
    writer: Mutex<Option<Writer>>,
    schema: SchemaRef,
    runtime: Runtime,
}

impl Open {
    fn new(writer: Writer, schema: SchemaRef, store: &Store) -> Open {
        Open { writer: Mutex::new(Some(writer)), schema, runtime: store.runtime().clone() }
    }

    /// The writer, for one call at a time.
    fn exclusive(&self) -> Result<MutexGuard<'_, Option<Writer>>> {
        match self.writer.try_lock() {
            Ok(writer) => Ok(writer),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Status::Busy,
                "another thread is in a call on this writer; a writer is for one thread at a time",
            )),
        }
    }
}

fn ended() -> Error {
    Error::new(Status::InvalidState, "the writer was already committed or aborted; open another")
}

/// Begins to write rows with the columns of `schema` to a feature.
///
/// `feature`, `schema`, `options` and `context` are borrowed for the call; the latter two may be NULL. `writer`
/// receives a handle that the caller frees with `metaxy_writer_free`. Any thread. Fails as `metaxy_store_write`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_writer(
    store: *const MetaxyStore,
    feature: *const c_char,
    schema: *const FFI_ArrowSchema,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    writer: *mut *mut MetaxyWriter,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("writer", writer, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            let schema = import::schema(schema)?;
            let writer = store.runtime().block_on(store.writer(feature, schema.clone(), &options, &call))?;
            handle::insert(Open::new(writer, schema, &store))
        })
    }
}

/// Adds the rows of one array, a struct of the writer's columns; blocks while the storage is slower than the caller.
///
/// `rows` is moved in on every path, failures too: afterwards its `release` is NULL. `context` is borrowed for the
/// call and may be NULL. An array that is refused as malformed, or whose push is cancelled or too late, is left out as a
/// whole, and the writer goes on without it. One thread at a time, or `METAXY_BUSY`. Fails as `metaxy_store_write`, and
/// with `METAXY_INVALID_STATE` after the end of the writer.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_writer_push(
    writer: *mut MetaxyWriter,
    rows: *mut FFI_ArrowArray,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The array is taken before anything can fail.
    unsafe {
        let rows = GivenArray::take(rows);
        guard::enter(error, |entry| {
            let open = entry.object(writer.cast_const())?;
            let mut writer = open.exclusive()?;
            let writer = writer.as_mut().ok_or_else(ended)?;
            let call = context::optional(entry, context)?.begin();
            open.runtime.block_on(writer.push(rows.into_batch(&open.schema)?, &call))
        })
    }
}

/// Makes the rows visible, all together, and ends the writer; if this fails, none of them is, unless the detail
/// `outcome` of the error is `unknown` (`METAXY_UNAVAILABLE`): then it is not known whether the storage has made the
/// commit.
///
/// `context` is borrowed for the call and may be NULL. `writer` stays the caller's to free. One thread at a time, or
/// `METAXY_BUSY`. Fails as `metaxy_store_write`, and with `METAXY_INVALID_STATE` after the end of the writer.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_writer_commit(
    writer: *mut MetaxyWriter,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            let open = entry.object(writer.cast_const())?;
            let call = context::optional(entry, context)?.begin();
            let writer = open.exclusive()?.take().ok_or_else(ended)?;
            open.runtime.block_on(writer.commit(&call))
        })
    }
}

/// Gives up the rows and ends the writer; after its end this does nothing.
///
/// `writer` stays the caller's to free. One thread at a time, or `METAXY_BUSY`. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_writer_abort(
    writer: *mut MetaxyWriter,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            let open = entry.object(writer.cast_const())?;
            let Some(writer) = open.exclusive()?.take() else { return Ok(()) };
            open.runtime.block_on(async {
                writer.abort().await;
                Ok(())
            })
        })
    }
}

/// Frees a writer, and aborts it if it was not committed; NULL and a handle already freed are ignored.
///
/// `writer` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_writer_free(writer: *mut MetaxyWriter) {
    guard::quietly((), || drop(handle::remove(writer)));
}
