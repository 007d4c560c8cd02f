//! `MetaxyReadRequest`: which rows and columns to read.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::ffi::argument;
use crate::ffi::error::MetaxyError;
use crate::ffi::guard::{self, Entry};
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::status::MetaxyStatus;
use crate::store::ReadRequest;

/// Which rows and columns to read. A read copies what it needs; NULL stands for all columns of the current rows.
pub struct MetaxyReadRequest {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyReadRequest {
    type Value = Mutex<ReadRequest>;
    const KIND: Kind = Kind::ReadRequest;
}

fn lock(request: &Mutex<ReadRequest>) -> MutexGuard<'_, ReadRequest> {
    request.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The request behind a handle that may be NULL.
pub fn optional(entry: &Entry, request: *const MetaxyReadRequest) -> Result<ReadRequest> {
    match request.is_null() {
        true => Ok(ReadRequest::default()),
        false => Ok(lock(&*entry.object(request)?).clone()),
    }
}

/// Runs a setter on the request behind a handle.
///
/// # Safety
/// `error` is NULL or can be written.
unsafe fn set(
    request: *mut MetaxyReadRequest,
    error: *mut *mut MetaxyError,
    setter: impl FnOnce(&mut ReadRequest) -> Result<()>,
) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe { guard::enter(error, |entry| setter(&mut lock(&*entry.object(request.cast_const())?))) }
}

/// Makes a request for all columns of the current rows.
///
/// `request` receives a handle that the caller frees with `metaxy_read_request_free`. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_new(
    request: *mut *mut MetaxyReadRequest,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("request", request, error, |_| handle::insert(Mutex::new(ReadRequest::default())))
    }
}

/// Asks for these columns, in this order; a `count` of 0, with whatever pointer, asks for all again.
///
/// `columns` is an array of `count` texts, borrowed for the call. One thread at a time. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_columns(
    request: *mut MetaxyReadRequest,
    columns: *const *const c_char,
    count: usize,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            let all = columns.is_null() && count == 0;
            request.columns = (!all).then(|| argument::texts("columns", columns, count)).transpose()?;
            Ok(())
        })
    }
}

/// Adds a condition, such as `"frames > 10 AND codec = 'av1'"`; rows must meet all conditions that were added.
///
/// `filter` is borrowed for the call and parsed when reading. One thread at a time. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_add_filter(
    request: *mut MetaxyReadRequest,
    filter: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.filters.push(argument::text("filter", filter)?.to_owned());
            Ok(())
        })
    }
}

/// Asks for the rows of one feature version instead of the current one; NULL asks for the current one again.
///
/// `version` is borrowed for the call. One thread at a time. Fails with `METAXY_INVALID_ARGUMENT`,
/// `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_feature_version(
    request: *mut MetaxyReadRequest,
    version: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.feature_version = argument::optional_text("version", version)?.map(str::to_owned);
            Ok(())
        })
    }
}

/// Whether to read the rows of every feature version (1) or only of one (0, the default).
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_feature_history(
    request: *mut MetaxyReadRequest,
    history: i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.feature_history = history != 0;
            Ok(())
        })
    }
}

/// Whether to read every row that was written for a sample (1) or only the latest (0, the default).
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_sample_history(
    request: *mut MetaxyReadRequest,
    history: i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.sample_history = history != 0;
            Ok(())
        })
    }
}

/// Whether to read samples that were deleted as well (1) or not (0, the default).
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_deleted(
    request: *mut MetaxyReadRequest,
    deleted: i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.deleted = deleted != 0;
            Ok(())
        })
    }
}

/// Whether to look in the fallback stores of the store (1, the default) or only in it (0).
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_fallback(
    request: *mut MetaxyReadRequest,
    fallback: i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.local = fallback == 0;
            Ok(())
        })
    }
}

/// The most rows that a batch of the stream may have; 0, the default, leaves it to the library.
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_batch_rows(
    request: *mut MetaxyReadRequest,
    rows: usize,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.batch_rows = Some(rows).filter(|rows| *rows > 0);
            Ok(())
        })
    }
}

/// The most rows to read; -1, the default, for all of them.
///
/// One thread at a time. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_set_limit(
    request: *mut MetaxyReadRequest,
    limit: i64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.limit = match limit {
                -1 => None,
                _ => Some(u64::try_from(limit).map_err(|_| {
                    Error::invalid(format!("the limit cannot be {limit}; -1 stands for no limit"))
                        .with("argument", "limit")
                })?),
            };
            Ok(())
        })
    }
}

/// Frees a request; NULL and a handle already freed are ignored.
///
/// `request` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_read_request_free(request: *mut MetaxyReadRequest) {
    guard::quietly((), || drop(handle::remove(request)));
}
