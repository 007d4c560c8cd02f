//! `MetaxyIncrement`: what there is to do for a feature.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Result;
use crate::ffi::argument::{self, optional_output};
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::import::{GivenStream, Incoming, SAMPLES};
use crate::ffi::increment_request::{self, MetaxyIncrementRequest};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::context::Call;
use crate::store::{Increment, IncrementRequest, Part, Store};

/// What there is to do for a feature, as it was when it was resolved; it never changes, and needs no store.
pub struct MetaxyIncrement {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyIncrement {
    type Value = Increment;
    const KIND: Kind = Kind::Increment;
}

/// Resolves a feature: compares the samples that it should have with those that are stored of it. Nothing is written.
///
/// The samples that it should have are the rows of the features that it depends on, joined by their id columns; the data
/// versions of those rows and the definition of the feature give each sample its provenance. A sample is
///
/// - *new* if nothing is stored of it: compute it and write it;
/// - *stale* if it is stored with another provenance, because what it was computed from has changed, or if a staleness
///   predicate of the request says so: compute it again and write it;
/// - *orphaned* if it is stored, but what it was computed from is gone: delete it, or leave it.
///
/// What is stored are the current rows of the feature's current version in the store itself; the features that it depends
/// on are also read from its fallback stores. After a change of the definition that gives the feature another version, all
/// its samples are therefore new. A feature without dependencies takes `samples` instead, with its id columns and
/// `metaxy_provenance_by_field`; one with dependencies may take them in place of theirs. A sample without a value in one of
/// these, or one that comes again, is refused with `METAXY_INVALID_ARGUMENT`, which names its row.
///
/// `samples` may be NULL; it is moved in on every path, failures too: afterwards its `release` is NULL. Its callbacks are
/// called on the calling thread only, those of its arrays on any. `feature`, `request` and `context` are borrowed for the
/// call; the latter two may be NULL. `increment` receives a handle that the caller frees with `metaxy_increment_free`; it
/// outlives the store. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, also for a feature without dependencies if
/// `samples` is NULL, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_NOT_FOUND`, `METAXY_UNSUPPORTED`,
/// `METAXY_SCHEMA_MISMATCH`, `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`,
/// `METAXY_TIMEOUT`, or as the stream failed if it is one of the library.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_resolve_update(
    store: *const MetaxyStore,
    feature: *const c_char,
    request: *const MetaxyIncrementRequest,
    samples: *mut FFI_ArrowArrayStream,
    context: *const MetaxyContext,
    increment: *mut *mut MetaxyIncrement,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The stream is taken before anything can fail.
    unsafe {
        let samples = (!samples.is_null()).then(|| GivenStream::take_as(SAMPLES, samples));
        guard::produce("increment", increment, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let request = increment_request::optional(entry, request)?;
            let call = context::optional(entry, context)?.begin();
            handle::insert(match samples {
                None => store.runtime().block_on(store.resolve_update(feature, &request, &call))?,
                Some(samples) => resolve_samples(&store, feature, samples.open()?, &request, &call)?,
            })
        })
    }
}

/// Pulls the samples on this thread and outside the runtime, as a write does with its rows.
fn resolve_samples(
    store: &Store,
    feature: &str,
    mut samples: Incoming,
    request: &IncrementRequest,
    call: &Call,
) -> Result<Increment> {
    let runtime = store.runtime();
    let mut resolver = runtime.block_on(store.resolve_samples(feature, samples.schema(), request, call))?;
    while let Some(batch) = samples.next(call)? {
        runtime.block_on(resolver.push(batch, call))?;
    }
    runtime.block_on(resolver.finish(call))
}

/// Tells how many samples are new, stale and orphaned: the number of rows of each part.
///
/// `new_rows`, `stale_rows` and `orphaned_rows` each receive a number, and may be NULL. Any thread. Fails with
/// `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_counts(
    increment: *const MetaxyIncrement,
    new_rows: *mut u64,
    stale_rows: *mut u64,
    orphaned_rows: *mut u64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter_anywhere(error, |entry| {
            let places = [(new_rows, Part::New), (stale_rows, Part::Stale), (orphaned_rows, Part::Orphaned)]
                .map(|(place, part)| (optional_output(place), part));
            guard::refuse_reentry()?;
            let increment = entry.object(increment)?;
            for (place, part) in places {
                if let Some(place) = place {
                    place.write(increment.count(part));
                }
            }
            Ok(())
        })
    }
}

/// Tells how much of the input is done: the share, from 0 to 100, of what the features that this one depends on give it
/// that is not new.
///
/// `percent` receives it; -1 where it is not known, because there is no input, or the caller gave the samples. Any thread.
/// Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_input_progress(
    increment: *const MetaxyIncrement,
    percent: *mut f64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("percent", percent, error, |entry| {
            Ok(entry.object(increment)?.input_progress().unwrap_or(NOT_KNOWN))
        })
    }
}

/// As for a total that is not known. NaN would be lost in JSON, and compares with nothing.
const NOT_KNOWN: f64 = -1.0;

/// Tells which stores were asked for each feature that was read to resolve this one, itself included. A feature is not
/// listed if no store has a table of it.
///
/// `stores` receives a stream that the caller releases, of one batch with the column `feature` (large text) and then those
/// of `metaxy_store_find`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_served_by(
    increment: *const MetaxyIncrement,
    stores: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("stores", stores, error, |entry| export::table(entry.object(increment)?.served_by()?))
    }
}

/// Reads the samples that are new.
///
/// Each row has the columns by which the dependencies of the feature are joined, then the other columns of the features
/// that it depends on, as its definition selects and renames them; or, of samples that were given, the id columns of the
/// feature and then their others. Ids that only the feature has, as children of an expansion do, are for the caller to
/// add. Last come the versions that the sample has when it is written as it is: `metaxy_provenance_by_field` (struct of large texts, one for each field), `metaxy_provenance` (large
/// text), `metaxy_data_version_by_field`, `metaxy_data_version` (likewise). With columns of the result added, the row is
/// one to write to the feature. With aggregation there is a row for each that is aggregated, all rows of a group with the
/// versions of the group; with expansion one for each that is to be expanded, whose versions all of what comes of it has.
///
/// `context` is borrowed for the call and may be NULL. `rows` receives a stream that the caller releases, on any thread,
/// also after the increment and the store are freed. Each of its `get_next` is one call under `context`, whose cancel
/// switch it shares; `metaxy_error_from_stream` tells why one failed. The parts may be read in any order, each any number of
/// times, by many threads at once, or not at all. A table that was dropped since, or whose versions another program has
/// removed without looking who reads them, fails the read with `METAXY_CONFLICT`: resolve again. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_CONFLICT`, `METAXY_PERMISSION`, `METAXY_CORRUPT`,
/// `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_read_new(
    increment: *const MetaxyIncrement,
    context: *const MetaxyContext,
    rows: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { read(increment, Part::New, context, rows, error) }
}

/// Reads the samples that are stale, as they are to be now: with the columns of `metaxy_increment_read_new`.
///
/// `context` and `rows` are as for `metaxy_increment_read_new`, and so are failures. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_read_stale(
    increment: *const MetaxyIncrement,
    context: *const MetaxyContext,
    rows: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { read(increment, Part::Stale, context, rows, error) }
}

/// Reads the samples that are orphaned, as they are stored: with all columns that the feature has in the store.
///
/// `context` and `rows` are as for `metaxy_increment_read_new`, and so are failures. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_read_orphaned(
    increment: *const MetaxyIncrement,
    context: *const MetaxyContext,
    rows: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { read(increment, Part::Orphaned, context, rows, error) }
}

/// # Safety
/// `place` and `error` are NULL or can be written.
unsafe fn read(
    increment: *const MetaxyIncrement,
    part: Part,
    context: *const MetaxyContext,
    place: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe {
        guard::produce("rows", place, error, |entry| {
            let increment = entry.object(increment)?;
            let context = context::optional(entry, context)?;
            let call = context.begin();
            export::rows(increment.runtime().block_on(increment.read(part, &call))?, context)
        })
    }
}

/// Frees an increment; NULL and a handle already freed are ignored. Streams that it gave out go on.
///
/// `increment` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_increment_free(increment: *mut MetaxyIncrement) {
    guard::quietly((), || drop(handle::remove(increment)));
}
