//! Arrow out: streams that the host pulls.
//!
//! A stream's private data is a handle as well, so that a released, forked or foreign stream is
//! recognised like any other wrong handle.

use std::ffi::{CString, c_char, c_int};
use std::sync::{Mutex, TryLockError};

use arrow::array::{Array, RecordBatch, StructArray};
use arrow::datatypes::SchemaRef;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::{Error, Result, Status};
use crate::ffi::argument::{self, Empty, c_string};
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::import::Incoming;
use crate::store::context::Context;
use crate::store::{Joined, RowStream};

impl Opaque for FFI_ArrowArrayStream {
    type Value = Outgoing;
    const KIND: Kind = Kind::Stream;
}

impl Empty for FFI_ArrowArray {
    fn empty() -> Self {
        Self::empty()
    }
}

impl Empty for FFI_ArrowSchema {
    fn empty() -> Self {
        Self::empty()
    }
}

/// What stands behind a stream that was given out.
pub struct Outgoing {
    schema: SchemaRef,
    /// Which stores the rows come from, if they come from any.
    served_by: Option<RecordBatch>,
    source: Mutex<Source>,
    failure: Mutex<Option<(Error, CString)>>,
}

enum Source {
    Rows {
        rows: RowStream,
        context: Context,
    },
    Table(Option<RecordBatch>),
    /// Rows of the host, each batch of which is completed when it is pulled.
    Joined {
        rows: Incoming,
        joined: Joined,
        context: Context,
    },
    /// A failed stream is not pulled again: what it would give next is not what comes next.
    Failed(Error),
}

/// A stream of `rows`, each pull of which is one call under `context`.
pub fn rows(rows: RowStream, context: Context) -> Result<FFI_ArrowArrayStream> {
    outgoing(rows.schema(), Some(rows.served_by()?), Source::Rows { rows, context })
}

/// A stream of one batch.
pub fn table(batch: RecordBatch) -> Result<FFI_ArrowArrayStream> {
    outgoing(batch.schema(), None, Source::Table(Some(batch)))
}

/// A stream of `rows` with their versions. Each pull is one call under `context`, and pulls `rows` once.
pub fn joined(rows: Incoming, joined: Joined, context: Context) -> Result<FFI_ArrowArrayStream> {
    outgoing(joined.schema(), None, Source::Joined { rows, joined, context })
}

fn outgoing(
    schema: SchemaRef,
    served_by: Option<RecordBatch>,
    source: Source,
) -> Result<FFI_ArrowArrayStream> {
    let outgoing = Outgoing { schema, served_by, source: Mutex::new(source), failure: Mutex::new(None) };
    Ok(FFI_ArrowArrayStream {
        get_schema: Some(get_schema),
        get_next: Some(get_next),
        get_last_error: Some(get_last_error),
        release: Some(release),
        private_data: handle::insert::<FFI_ArrowArrayStream>(outgoing)?.cast(),
    })
}

/// The handle in the private data of `stream`; that of a foreign stream is none of ours.
///
/// # Safety
/// `stream` is NULL or can be read.
pub unsafe fn handle(stream: *const FFI_ArrowArrayStream) -> Result<*const FFI_ArrowArrayStream> {
    // SAFETY: as promised by the caller.
    let stream = unsafe { stream.as_ref() }.ok_or_else(|| argument::null("stream"))?;
    Ok(stream.private_data.cast_const().cast())
}

/// What made the stream fail, if it did.
pub fn failure(handle: *const FFI_ArrowArrayStream) -> Result<Option<Error>> {
    let outgoing = handle::find(handle)?;
    let failure = outgoing.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(failure.as_ref().map(|(error, _)| error.clone()))
}

/// Which stores the rows of the stream come from.
pub fn served_by(handle: *const FFI_ArrowArrayStream) -> Result<RecordBatch> {
    handle::find(handle)?
        .served_by
        .clone()
        .ok_or_else(|| Error::invalid("the stream is not one of rows that were read from a store"))
}

impl Outgoing {
    fn next(&self) -> Result<FFI_ArrowArray> {
        let mut source = self.source.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => Error::new(
                Status::Busy,
                "another thread is reading this stream; read it from one thread at a time",
            ),
            TryLockError::Poisoned(_) => {
                Error::new(Status::InvalidState, "the stream panicked in an earlier call")
            }
        })?;
        match source.next() {
            Ok(Some(batch)) => Ok(FFI_ArrowArray::new(&StructArray::from(batch).to_data())),
            Ok(None) => Ok(FFI_ArrowArray::empty()),
            Err(error) => {
                *source = Source::Failed(error.clone());
                Err(error)
            }
        }
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Source::Rows { rows, context } => {
                let runtime = rows.runtime().clone();
                let call = context.begin();
                runtime.block_on(call.run(async { rows.next().await.transpose() }))
            }
            Source::Table(batch) => Ok(batch.take()),
            // On this thread and outside the runtime, as all streams of the host are pulled.
            Source::Joined { rows, joined, context } => match rows.next(&context.begin())? {
                Some(batch) => joined.complete(&batch).map(Some),
                None => {
                    // The stream of the host is released, and not asked again after its end.
                    *self = Source::Table(None);
                    Ok(None)
                }
            },
            Source::Failed(error) => Err(error.clone()),
        }
    }
}

unsafe extern "C" fn get_schema(stream: *mut FFI_ArrowArrayStream, schema: *mut FFI_ArrowSchema) -> c_int {
    // SAFETY: the host passes the stream and a place for the schema.
    unsafe {
        answer(stream, schema, |outgoing| {
            FFI_ArrowSchema::try_from(&*outgoing.schema).map_err(|cause| {
                Error::new(Status::Unsupported, format!("the schema has no C form: {cause}"))
                    .caused_by(&cause)
            })
        })
    }
}

unsafe extern "C" fn get_next(stream: *mut FFI_ArrowArrayStream, array: *mut FFI_ArrowArray) -> c_int {
    // SAFETY: the host passes the stream and a place for the array.
    unsafe { answer(stream, array, Outgoing::next) }
}

/// One call on a stream, answered with a result or an errno value.
///
/// # Safety
/// `stream` is NULL or can be read; `place` is NULL or can be written.
unsafe fn answer<T: Empty>(
    stream: *const FFI_ArrowArrayStream,
    place: *mut T,
    produce: impl FnOnce(&Outgoing) -> Result<T>,
) -> c_int {
    let outcome = guard::attempt(|entry| {
        // SAFETY: as promised by the caller.
        let (place, handle) = unsafe { (argument::output("out", place)?, handle(stream)?) };
        guard::refuse_reentry()?;
        place.write(produce(&*entry.object(handle)?)?);
        Ok(())
    });
    let Err(error) = outcome else { return 0 };
    // SAFETY: as promised by the caller.
    guard::quietly((), || unsafe { record(stream, &error) });
    errno(error.status())
}

/// Keeps the failure of a call for `get_last_error` and `metaxy_error_from_stream`.
///
/// # Safety
/// `stream` is NULL or can be read.
unsafe fn record(stream: *const FFI_ArrowArrayStream, error: &Error) {
    // SAFETY: as promised by the caller.
    let found = unsafe { handle(stream) }.and_then(handle::find);
    // The failure of an intruder is not that of the thread that reads the stream.
    let (Ok(outgoing), false) = (found, error.status() == Status::Busy) else { return };
    let mut failure = outgoing.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *failure = Some((error.clone(), c_string(error.message())));
}

unsafe extern "C" fn get_last_error(stream: *mut FFI_ArrowArrayStream) -> *const c_char {
    guard::quietly(std::ptr::null(), || {
        // SAFETY: the host passes the stream.
        let Ok(outgoing) = unsafe { handle(stream) }.and_then(handle::find) else { return std::ptr::null() };
        let failure = outgoing.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.as_ref().map_or(std::ptr::null(), |(_, message)| message.as_ptr())
    })
}

unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
    // SAFETY: the host passes the stream.
    let Some(stream) = (unsafe { stream.as_mut() }) else { return };
    let handle: *const FFI_ArrowArrayStream = stream.private_data.cast_const().cast();
    guard::quietly((), || drop(handle::remove(handle)));
    stream.get_schema = None;
    stream.get_next = None;
    stream.get_last_error = None;
    stream.release = None;
    stream.private_data = std::ptr::null_mut();
}

/// The errno value nearest to a status, which is all that the C stream interface can say.
fn errno(status: Status) -> c_int {
    match status {
        Status::Ok => 0,
        Status::InvalidArgument | Status::InvalidState | Status::SchemaMismatch => libc::EINVAL,
        Status::InvalidHandle | Status::Forked => libc::EBADF,
        Status::NotFound => libc::ENOENT,
        Status::AlreadyExists => libc::EEXIST,
        Status::Unsupported => libc::ENOTSUP,
        Status::Conflict | Status::Unavailable => libc::EAGAIN,
        Status::Permission => libc::EACCES,
        Status::Cancelled => libc::ECANCELED,
        Status::Timeout => libc::ETIMEDOUT,
        Status::Busy => libc::EBUSY,
        Status::Reentrant => libc::EDEADLK,
        Status::Corrupt | Status::Io | Status::Panic | Status::Internal => libc::EIO,
    }
}
