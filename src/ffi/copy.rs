//! Copying features from one store to another.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::read_request::{self, MetaxyReadRequest};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// Copies features from one store to another: the rows that a read of `from` alone, without its fallback stores, gives
/// for `request`. They keep their versions, the times of their creation, update and deletion, and their materialization
/// ids, unless the option `materialization_id` names another. Neither store computes anything anew.
///
/// Deletions are carried over if the request says `metaxy_read_request_set_deleted`; without it, deleted samples are left
/// out, and a sample that was copied before it was deleted stays as it is in `to`. A history (`_set_feature_history`,
/// `_set_sample_history`) always comes with its tombstones, since what they hide would come back without them; without
/// sample history it is the latest row of each sample in each feature version. Filters choose among rows; a limit
/// holds for each feature; columns cannot be chosen.
///
/// Rows that `to` has already are not copied again. Two rows are the same if they agree in their ids, feature version,
/// `metaxy_updated_at`, `metaxy_deleted_at`, `metaxy_provenance` and `metaxy_data_version`; other columns are not
/// compared. The rows of a feature become visible together: a copy that failed, or was killed, leaves the first so many
/// features of the report's order, each whole, and the same call again does the rest. The error then names them in the
/// detail `copied`. Two copies to one store at the same time may each add the rows that the other adds, which a read of
/// the sample history then gives twice, until `metaxy_store_purge`. It takes some 16 to 20 bytes of memory for each row
/// that `to` has of the feature. Where rows of a sample have equal times, as those have that Metaxy's own copies of a
/// history make, the one copied last is current in `to`: copy such a history in one call, into a new table.
///
/// The features must be defined in `from`, whose definitions are used. In `to` they need not be, but may not be defined
/// with other id columns. Both stores must hash alike, by their options or their tables; a store without either takes over
/// how `from` hashes. All of this is checked before anything is copied.
///
/// `features` is an array of `feature_count` texts; NULL, with a count of 0, stands for every feature that is defined in
/// `from` and that it has a table of. It is borrowed for the call, as are `request`, `options` and `context`, each of which
/// may be NULL. The context is told of the rows read so far, and of their total if all rows of the tables are copied.
/// `report` receives a stream that the caller releases, of one batch with a row per feature, parents before children, and
/// the columns `feature`, `table` (large text), `rows_read`, `rows_copied` and `rows_present` (int64), the last being those
/// that were there already. A feature that no row is copied of gets no table. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, also if both are the same store, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE` if `to` is
/// open for reading or either is closed, `METAXY_NOT_FOUND` if a named feature is not defined or has no table,
/// `METAXY_UNSUPPORTED` for a table of Metaxy itself, `METAXY_SCHEMA_MISMATCH`, `METAXY_CONFLICT`, `METAXY_PERMISSION`,
/// `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_copy(
    from: *const MetaxyStore,
    to: *const MetaxyStore,
    features: *const *const c_char,
    feature_count: usize,
    request: *const MetaxyReadRequest,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    report: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("report", report, error, |entry| {
            let (from, to) = (entry.object(from)?, entry.object(to)?);
            let all = features.is_null() && feature_count == 0;
            let features =
                (!all).then(|| argument::texts("features", features, feature_count)).transpose()?;
            let request = read_request::optional(entry, request)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            let copied = from.copy(&to, features.as_deref(), &request, &options, &call);
            export::table(from.runtime().block_on(copied)?)
        })
    }
}
