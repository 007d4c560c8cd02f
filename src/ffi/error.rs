//! `MetaxyError`: an [`Error`] as C reads it.

use std::ffi::{CString, c_char};
use std::ptr;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Error;
use crate::ffi::argument::{self, c_string};
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::status::{METAXY_OK, MetaxyStatus};

/// A failure: its status, a sentence for people, the facts behind it and its causes.
///
/// Whoever receives one frees it with `metaxy_error_free`. The texts it returns live as long as it.
pub struct MetaxyError {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyError {
    type Value = Report;
    const KIND: Kind = Kind::Error;
}

impl MetaxyError {
    /// A handle for `error`, or NULL if there is no room for one.
    pub fn register(error: &Error) -> *mut MetaxyError {
        handle::insert(Report::from(error)).unwrap_or(ptr::null_mut())
    }
}

/// An [`Error`] whose texts C can borrow.
pub struct Report {
    status: MetaxyStatus,
    pub(super) message: CString,
    causes: Vec<CString>,
    details: Vec<(CString, CString)>,
    retryable: bool,
}

impl From<&Error> for Report {
    fn from(error: &Error) -> Self {
        Report {
            status: error.status().code(),
            message: c_string(error.message()),
            causes: error.causes().iter().map(|cause| c_string(cause)).collect(),
            details: error.details().iter().map(|(key, value)| (c_string(key), c_string(value))).collect(),
            retryable: error.is_retryable(),
        }
    }
}

/// Asks the error behind `error`; `otherwise` is the answer when there is none.
fn ask<T: Copy>(error: *const MetaxyError, otherwise: T, question: impl FnOnce(&Report) -> Option<T>) -> T {
    guard::quietly(otherwise, || {
        handle::get(error).ok().and_then(|report| question(&report)).unwrap_or(otherwise)
    })
}

/// The status of the failure; `METAXY_OK` if `error` is NULL or no error.
///
/// `error` is borrowed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_status(error: *const MetaxyError) -> MetaxyStatus {
    ask(error, METAXY_OK, |report| Some(report.status))
}

/// One or two sentences: what was wrong, with which value, and what to do. NULL if `error` is NULL or no error.
///
/// `error` is borrowed; the text lives as long as it. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_message(error: *const MetaxyError) -> *const c_char {
    ask(error, ptr::null(), |report| Some(report.message.as_ptr()))
}

/// How many causes are below the failure.
///
/// `error` is borrowed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_cause_count(error: *const MetaxyError) -> usize {
    ask(error, 0, |report| Some(report.causes.len()))
}

/// The cause at `index`, outermost first; NULL beyond the last.
///
/// `error` is borrowed; the text lives as long as it. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_cause(error: *const MetaxyError, index: usize) -> *const c_char {
    ask(error, ptr::null(), |report| report.causes.get(index).map(|cause| cause.as_ptr()))
}

/// How many facts the failure carries.
///
/// `error` is borrowed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_detail_count(error: *const MetaxyError) -> usize {
    ask(error, 0, |report| Some(report.details.len()))
}

/// The key of the fact at `index`, such as `store`, `feature`, `column`, `option`, `uri`; NULL beyond the last.
///
/// `error` is borrowed; the text lives as long as it. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_detail_key(error: *const MetaxyError, index: usize) -> *const c_char {
    ask(error, ptr::null(), |report| report.details.get(index).map(|(key, _)| key.as_ptr()))
}

/// The value of the fact at `index`; NULL beyond the last.
///
/// `error` is borrowed; the text lives as long as it. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_detail_value(error: *const MetaxyError, index: usize) -> *const c_char {
    ask(error, ptr::null(), |report| report.details.get(index).map(|(_, value)| value.as_ptr()))
}

/// The value of the fact called `key`; NULL if the failure does not carry it.
///
/// `error` and `key` are borrowed; the text lives as long as `error`. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_detail(error: *const MetaxyError, key: *const c_char) -> *const c_char {
    ask(error, ptr::null(), |report| {
        // SAFETY: the caller passes NULL or a NUL-terminated string.
        let key = unsafe { argument::text("key", key) }.ok()?;
        let found = report.details.iter().find(|(name, _)| name.as_bytes() == key.as_bytes());
        found.map(|(_, value)| value.as_ptr())
    })
}

/// 1 if the same call may succeed when it is simply made again, else 0.
///
/// `error` is borrowed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_is_retryable(error: *const MetaxyError) -> i32 {
    ask(error, 0, |report| Some(i32::from(report.retryable)))
}

/// Tells why a stream that the library gave out failed: `error` receives the failure of its last `get_next`, and the
/// call returns its status; `METAXY_OK` and NULL if nothing has failed.
///
/// `stream` is borrowed; the caller frees `error`. Any thread, but not during a call on the stream. Fails with
/// `METAXY_INVALID_HANDLE` if the stream was released or is not one of the library.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_from_stream(
    stream: *const FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::enter_anywhere(error, |_| export::failure(export::handle(stream)?)?.map_or(Ok(()), Err)) }
}

/// Frees an error and the texts borrowed from it; NULL and an error already freed are ignored.
///
/// `error` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_error_free(error: *mut MetaxyError) {
    guard::quietly((), || drop(handle::remove(error)));
}
