//! `MetaxyBufferedWriter`: rows one by one, from many threads.

use std::ffi::c_char;

use arrow::datatypes::SchemaRef;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::import::{self, GivenArray};
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::BufferedWriter;
use crate::store::runtime::Runtime;

/// A buffer before a feature, for workers that make rows one by one.
///
/// Rows wait in memory until enough of them do (`buffer.rows`, `buffer.bytes`) or one has waited long enough
/// (`buffer.ms`); then they are committed together, as one write with one time, in the background and in the order of
/// their pushes. A push tells a ticket, which counts the rows that were pushed up to its last; its rows, and all before
/// them, are committed and there to stay once `metaxy_buffered_writer_committed` is not less; its own rows are once
/// `metaxy_buffered_writer_wait` has returned `METAXY_OK` for it. Nothing else acknowledges a row: until then, the end of
/// the process takes it.
///
/// Of several rows of one sample the one pushed last counts. With `write.duplicates=error` a push is refused instead, if
/// a row of its sample waits for the same commit.
///
/// A commit that fails loses nothing: its rows stay and are tried again, before any later ones. It is reported to the
/// calls that wait for it, or else to the next push, wait, flush or close, with the number of rows that wait (detail
/// `rows`). Those that another try may help are tried again, ever more seldom; such an error is retryable. Otherwise a
/// flush or close tries again, and every push and wait fails until one succeeds.
///
/// Rows are checked when they are pushed. If the table has changed by the time they are committed, so that some do not fit
/// it any more, those are given up, with the other rows of their push, and all others are committed without them. The
/// calls that wait meanwhile report it, or else the next call, and the next flush or close in any case, with the number
/// of rows that are not written (detail `rows`) and the first of their tickets (detail `ticket`); a wait for one of these
/// tickets always does. `metaxy_buffered_writer_committed` stays before them.
///
/// If it is not known whether the storage has made the commit (the detail `outcome` of the error is `unknown`), nothing
/// is tried again, and every call but `metaxy_buffered_writer_committed` reports it.
pub struct MetaxyBufferedWriter {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyBufferedWriter {
    type Value = Open;
    const KIND: Kind = Kind::BufferedWriter;
}

/// A buffered writer and what its calls need.
pub struct Open {
    // Declared before the runtime, so that it is dropped while that still runs.
    writer: BufferedWriter,
    schema: SchemaRef,
    runtime: Runtime,
}

/// Opens a buffer before a feature, for rows with the columns of `schema`.
///
/// `feature`, `schema`, `options` and `context` are borrowed for the call; the latter two may be NULL. `writer`
/// receives a handle that the caller closes with `metaxy_buffered_writer_close` and frees with
/// `metaxy_buffered_writer_free`; it goes on when the store is closed or freed. A feature that is defined anew is
/// written as it was defined when this was called. Any thread. Fails as `metaxy_store_write`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_buffered_writer(
    store: *const MetaxyStore,
    feature: *const c_char,
    schema: *const FFI_ArrowSchema,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    writer: *mut *mut MetaxyBufferedWriter,
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
            let runtime = store.runtime().clone();
            let writer = runtime.block_on(store.buffered_writer(feature, schema.clone(), &options, &call))?;
            handle::insert(Open { writer, schema, runtime })
        })
    }
}

/// Adds the rows of one array, a struct of the writer's columns; blocks while the buffer is full and the one before it
/// is still being committed.
///
/// `rows` is moved in on every path, failures too: afterwards its `release` is NULL. `context` is borrowed for the
/// call and may be NULL. `ticket`, which may be NULL, receives the ticket of the rows. What a write to the table as it is
/// now would refuse is refused here. With any error none of the rows is added: where a failed commit is
/// reported, and the error is retryable, they are to be pushed again. The rows of one thread keep their order. Any thread,
/// many at once. Fails as `metaxy_store_write`, and with `METAXY_INVALID_STATE` after the end of the writer.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_buffered_writer_push(
    writer: *const MetaxyBufferedWriter,
    rows: *mut FFI_ArrowArray,
    context: *const MetaxyContext,
    ticket: *mut u64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The array is taken before anything can fail.
    unsafe {
        let rows = GivenArray::take(rows);
        guard::enter(error, |entry| {
            let open = entry.object(writer)?;
            let call = context::optional(entry, context)?.begin();
            let added = open.runtime.block_on(open.writer.push(rows.into_batch(&open.schema)?, &call))?;
            if !ticket.is_null() {
                ticket.write(added);
            }
            Ok(())
        })
    }
}

/// Commits all rows that were pushed before; when this returns `METAXY_OK`, they are there to stay, but for those that an
/// earlier flush has reported as given up.
///
/// `context` is borrowed for the call and may be NULL; a flush that is cancelled or too late goes on in the background,
/// and its rows wait to be committed. If they are committed by then, it returns `METAXY_OK`. Any thread, many at once. Fails as `metaxy_store_write`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_buffered_writer_flush(
    writer: *const MetaxyBufferedWriter,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            let open = entry.object(writer)?;
            let call = context::optional(entry, context)?.begin();
            open.runtime.block_on(open.writer.flush(&call))
        })
    }
}

/// Waits until the rows up to `ticket` are committed, which it leaves to the buffer's limits.
///
/// `context` is borrowed for the call and may be NULL; its timeout bounds the wait. Any thread, many at once. Fails as
/// `metaxy_store_write`, and with `METAXY_INVALID_ARGUMENT` for a ticket that no push has given.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_buffered_writer_wait(
    writer: *const MetaxyBufferedWriter,
    ticket: u64,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            let open = entry.object(writer)?;
            let call = context::optional(entry, context)?.begin();
            open.runtime.block_on(open.writer.wait(ticket, &call))
        })
    }
}

/// Tells up to which ticket all rows are committed, without waiting.
///
/// `ticket` receives it. Any thread, also after the end of the writer. Fails with `METAXY_INVALID_ARGUMENT`,
/// `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_buffered_writer_committed(
    writer: *const MetaxyBufferedWriter,
    ticket: *mut u64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::produce("ticket", ticket, error, |entry| Ok(entry.object(writer)?.writer.committed())) }
}

/// Refuses further rows, commits those that are there and ends the writer. If this fails, the writer has not ended, and
/// may be closed again; closing it after its end does nothing.
///
/// `context` is borrowed for the call and may be NULL. `writer` stays the caller's to free. Any thread. Fails as
/// `metaxy_store_write`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_buffered_writer_close(
    writer: *const MetaxyBufferedWriter,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            let open = entry.object(writer)?;
            let call = context::optional(entry, context)?.begin();
            open.runtime.block_on(open.writer.close(&call))
        })
    }
}

/// Frees a buffered writer; NULL and a handle already freed are ignored. Rows that are not committed are given up, and a
/// warning in the log says how many; calls that wait on the writer end with `METAXY_INVALID_STATE`.
///
/// `writer` is consumed. Any thread. Waits for a commit under way, but at most a second.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_buffered_writer_free(writer: *mut MetaxyBufferedWriter) {
    guard::quietly((), || {
        if let Some(open) = handle::remove(writer) {
            // Not left to the last share, which a call that waits may hold.
            open.writer.give_up();
        }
    });
}
