//! Writing several features in one call.

use std::ffi::c_char;

use arrow::datatypes::SchemaRef;
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Result;
use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::ffi::import::{GivenStream, Incoming};
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::Store;
use crate::store::context::Call;
use crate::store::options::Options;

/// Writes the rows of `count` streams to as many features, parents before children.
///
/// First all rows are staged, one stream after the other, and nothing shows. If anything is wrong with any of them, the
/// call fails and nothing is written. Then the features are committed one by one, each after those of them that it
/// depends on, alphabetically where that leaves a choice; the order of the arrays does not matter. A crash, or a failure of
/// a commit, leaves the first so many features of that order, each with all its rows, and nothing of the others: no child
/// is there without the parents that were written with it. The error then names those that were written in the detail
/// `written`, separated by commas; without it, nothing was. As with `metaxy_store_write`, it is not
/// known of the detail `feature` if the detail `outcome` is `unknown`.
///
/// `features` is an array of `count` texts, each feature once, and `rows` an array of as many streams. Every stream is
/// moved in on every path, failures too: afterwards its `release` is NULL. Their callbacks are called on the calling
/// thread only, those of their arrays on any. `features`, `options` and `context` are borrowed for the call; the latter two
/// may be NULL. With a count of 0 both arrays may be NULL and nothing is done. Any thread. Fails as `metaxy_store_write`;
/// with `METAXY_INVALID_ARGUMENT` also if a feature is given twice.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_write_many(
    store: *const MetaxyStore,
    features: *const *const c_char,
    rows: *mut FFI_ArrowArrayStream,
    count: usize,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says. The streams are taken before anything can fail.
    unsafe {
        let given = GivenStream::take_all(rows, count);
        guard::enter(error, |entry| {
            let store = entry.object(store)?;
            let features = match count {
                0 => Vec::new(),
                _ => argument::texts("features", features, count)?,
            };
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            write(&store, features, given?, &options, &call)
        })
    }
}

/// Pulls the streams on this thread and outside the runtime, as a write of one feature does.
fn write(
    store: &Store,
    features: Vec<String>,
    given: Vec<GivenStream>,
    options: &Options,
    call: &Call,
) -> Result<()> {
    let mut streams: Vec<(String, Incoming)> = Vec::with_capacity(given.len());
    for (feature, stream) in features.into_iter().zip(given) {
        let stream = stream.open().map_err(|error| error.with("feature", &feature))?;
        streams.push((feature, stream));
    }
    let schemas: Vec<(String, SchemaRef)> =
        streams.iter().map(|(feature, stream)| (feature.clone(), stream.schema())).collect();
    let runtime = store.runtime();
    let mut writers = runtime.block_on(store.writers(&schemas, options, call))?;
    let mut stage_all = || {
        for (feature, stream) in &mut streams {
            while let Some(batch) = stream.next(call).map_err(|error| error.with("feature", &feature))? {
                runtime.block_on(writers.push(feature, batch, call))?;
            }
            runtime.block_on(writers.stage(feature, call))?;
        }
        Ok(())
    };
    match stage_all() {
        Ok(()) => runtime.block_on(writers.commit(call)),
        Err(error) => {
            // Nothing is left of the write when the call returns.
            runtime.block_on(async {
                writers.abort().await;
                Ok(())
            })?;
            Err(error)
        }
    }
}
