//! Deleting samples of a feature.

use std::ffi::c_char;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::read_request::{self, MetaxyReadRequest};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// Deletes the samples of a feature that a request asks for: by the option `delete.mode`, hides them (`soft`, the
/// default) or removes their rows (`hard`). In either way all of them are deleted, or none if it fails.
///
/// Filters choose samples by their latest rows, as in a read; without any, the call is refused unless the option
/// `delete.all` is `true`. It is about the current feature version, or the one of `set_feature_version`; with
/// `set_feature_history` a sample is chosen by its latest row of whatever version, and deleted in every version. The
/// columns, the batch size and `set_deleted` of the request say nothing here; a limit is refused.
///
/// A soft delete writes a tombstone per sample to this store, whatever store of the chain the sample is read from: its
/// latest row again, with `metaxy_deleted_at`, and `metaxy_materialization_id` if one is named. The sample is gone from
/// every read that does not ask for deleted rows, until it is written again; a read of the feature history does not show
/// it either as long as its latest row, of whatever version, is a tombstone. `deleted` receives the number of tombstones;
/// if it is 0, nothing was written. Under `fallback.missing` = `rows` or `merge` a tombstone hides just its sample further
/// down the chain; under `table` the first one makes a table here, which hides all of the feature further down.
/// `set_sample_history` is refused. A row that another writer brings meanwhile stays if its time is later.
///
/// A hard delete removes rows of this store only, in one commit, tombstones included: all rows of the chosen samples in
/// the version that it is about, so that no older one comes back; or, with `set_sample_history`, just the rows that the
/// filters match. On a server it takes one commit per some hundreds of rows, older rows of a sample before its latest:
/// if it fails in between, some samples are gone and no older row shows, and the detail `removed` of the error says how
/// many rows went. Where a row or a tombstone here has hidden a row of a fallback store, that one is read from then on.
/// `deleted` receives the number of removed rows. Their bytes stay in the files of older table versions until
/// `metaxy_store_compact` and then `metaxy_store_prune` with `prune.older_than_ms` = `0` have run, and as long as a
/// stream that was opened before is not released; what a killed writer left is pruned when it is a week old. It finds
/// the rows as a read does, with at most half of `memory.bytes` and a file beyond that; besides, it holds some 8 bytes
/// for each row that it removes, on a server some 50.
///
/// `feature`, `request`, `options` and `context` are borrowed for the call; the latter three may be NULL. Any thread.
/// Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE` if the store is closed, open
/// for reading, or of another project than the feature (see the option `write.cross_project`), `METAXY_NOT_FOUND` if the
/// feature is not defined or has no table (for a soft delete: in the whole chain), `METAXY_UNSUPPORTED` for a table of
/// Metaxy itself, `METAXY_SCHEMA_MISMATCH`, `METAXY_CONFLICT` if other writers moved the rows again and again,
/// `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`, and with
/// `METAXY_UNAVAILABLE` if it is not known whether the storage has made the commit.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_delete(
    store: *const MetaxyStore,
    feature: *const c_char,
    request: *const MetaxyReadRequest,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    deleted: *mut u64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("deleted", deleted, error, |entry| {
            let store = entry.object(store)?;
            let feature = argument::text("feature", feature)?;
            let request = read_request::optional(entry, request)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            store.runtime().block_on(store.delete(feature, &request, &options, &call))
        })
    }
}
