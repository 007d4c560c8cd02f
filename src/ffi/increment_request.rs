//! `MetaxyIncrementRequest`: what to resolve of a feature.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::ffi::argument;
use crate::ffi::error::MetaxyError;
use crate::ffi::guard::{self, Entry};
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::status::MetaxyStatus;
use crate::store::IncrementRequest;
use crate::versioning::Shard;

/// What to resolve of a feature. A call copies what it needs; NULL stands for all samples and no filter.
pub struct MetaxyIncrementRequest {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyIncrementRequest {
    type Value = Mutex<IncrementRequest>;
    const KIND: Kind = Kind::IncrementRequest;
}

fn lock(request: &Mutex<IncrementRequest>) -> MutexGuard<'_, IncrementRequest> {
    request.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The request behind a handle that may be NULL.
pub fn optional(entry: &Entry, request: *const MetaxyIncrementRequest) -> Result<IncrementRequest> {
    match request.is_null() {
        true => Ok(IncrementRequest::default()),
        false => Ok(lock(&*entry.object(request)?).clone()),
    }
}

/// Runs a setter on the request behind a handle.
///
/// # Safety
/// `error` is NULL or can be written.
unsafe fn set(
    request: *mut MetaxyIncrementRequest,
    error: *mut *mut MetaxyError,
    setter: impl FnOnce(&mut IncrementRequest) -> Result<()>,
) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe { guard::enter(error, |entry| setter(&mut lock(&*entry.object(request.cast_const())?))) }
}

/// Makes a request for all of a feature's increment.
///
/// `request` receives a handle that the caller frees with `metaxy_increment_request_free`. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_new(
    request: *mut *mut MetaxyIncrementRequest,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("request", request, error, |_| handle::insert(Mutex::new(IncrementRequest::default())))
    }
}

/// Adds a condition on rows, such as `"frames > 10"`.
///
/// It is one on the rows of `feature`. If that is a feature that the resolved one depends on, its rows that fail the
/// condition count as if they were not there. If it is the resolved one, the condition is one of
/// `metaxy_increment_request_add_target_filter`. If it is NULL, rows that fail the condition count as if they were not
/// there in each feature that the resolved one depends on, and its own stored ones are not orphaned if they fail. Given
/// samples count only if they meet all conditions on the resolved feature, target filters included.
///
/// `feature` and `filter` are borrowed for the call and parsed when resolving. One thread at a time. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_add_filter(
    request: *mut MetaxyIncrementRequest,
    feature: *const c_char,
    filter: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            let feature = argument::optional_text("feature", feature)?;
            let filter = argument::text("filter", filter)?.to_owned();
            match feature {
                Some(feature) => request.filters.push((feature.to_owned(), filter)),
                None => request.global_filters.push(filter),
            }
            Ok(())
        })
    }
}

/// Adds a condition on the stored rows of the feature that is resolved: those that fail it are not compared. A sample of
/// which no row meets it is left alone, and is neither new, nor stale, nor orphaned.
///
/// `filter` is borrowed for the call and parsed when resolving. One thread at a time. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_add_target_filter(
    request: *mut MetaxyIncrementRequest,
    filter: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.target_filters.push(argument::text("filter", filter)?.to_owned());
            Ok(())
        })
    }
}

/// Adds a condition on the stored rows of the feature that is resolved, such as `"model = 'v1'"`: a sample whose row meets
/// one of those that were added is stale, even if its provenance is what it was.
///
/// `predicate` is borrowed for the call and parsed when resolving. One thread at a time. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_add_staleness_predicate(
    request: *mut MetaxyIncrementRequest,
    predicate: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.staleness_predicates.push(argument::text("predicate", predicate)?.to_owned());
            Ok(())
        })
    }
}

/// Whether everything is new, whatever is stored (1), or what is stored is compared (0, the default).
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_set_skip_comparison(
    request: *mut MetaxyIncrementRequest,
    skip: i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.skip_comparison = skip != 0;
            Ok(())
        })
    }
}

/// Asks for one of `count` shares of the samples, counted from 0; 0 of 1, the default, is all of them.
///
/// Workers that resolve the same feature with the same `count` and an `index` each divide its increment: every sample,
/// be it new, stale or orphaned, is in the share of one of them, on every machine the same. With aggregation, so is every
/// group.
///
/// A program can compute by itself which share a row belongs to: XXH64 (seed 0) modulo `count` of the bytes of some
/// columns, one after the other. For a null these are 0x00 0x1F; for a value 0x01, its text in UTF-8, and 0x1F. The
/// columns are those by which dependencies are joined, by their names in the feature: of the first dependency in the
/// definition its ids (1:1), or the `on` of its lineage (without one the ids of the feature), in that order, without
/// those that another dependency has not likewise; or, if none is left or there are no dependencies, the ids of the
/// feature in their order. The text of a string is itself; of an integer of any width its decimal digits, with `-`
/// before them if it is negative; of a boolean `true` or `false`; of a decimal its digits with as many after the `.` as
/// its scale says; of a date of 32 bits `2024-01-31`; of a time stamp `2024-01-31T12:30:00` in its zone, then, unless
/// they are all zero, `.` and 3, 6 or 9 digits, as few as tell it, and then, if it has a zone, `Z` for UTC or the
/// offset like `+02:00`; of binary its bytes in lower-case hexadecimal. Other types are divided as well, but nothing is
/// promised about how. The id `a` (text) with the part 7 (integer) gives 01 61 1F 01 37 1F, whose hash is
/// 11663437394356221226.
///
/// One thread at a time. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_set_shard(
    request: *mut MetaxyIncrementRequest,
    index: i32,
    count: i32,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        set(request, error, |request| {
            request.shard = Some(shard(index, count)?);
            Ok(())
        })
    }
}

fn shard(index: i32, count: i32) -> Result<Shard> {
    match (u32::try_from(index), u32::try_from(count)) {
        (Ok(index), Ok(count)) => Shard::new(index, count),
        _ => Err(Error::invalid(format!(
            "there is no shard {index} of {count}: shards are counted from 0, and there is at least one"
        ))
        .with("argument", "shard")),
    }
}

/// The most rows that a batch of the streams may have; 0, the default, leaves it to the library.
///
/// One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_set_batch_rows(
    request: *mut MetaxyIncrementRequest,
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

/// Frees a request; NULL and a handle already freed are ignored.
///
/// `request` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_request_free(request: *mut MetaxyIncrementRequest) {
    guard::quietly((), || drop(handle::remove(request)));
}
