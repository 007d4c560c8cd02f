//! Definitions that are pushed to a store, and loaded from where they were pushed.

use std::ffi::c_char;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Result;
use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::graph::MetaxyGraph;
use crate::ffi::guard;
use crate::ffi::handle;
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::Pushes;

/// Pushes the definitions of a project: those that the store has not got yet are written to it, where Metaxy and
/// `metaxy_store_load` find them.
///
/// `project` is the project whose features are pushed; if it is NULL, the project of the store, or else the only one of
/// the defined features. External features, and those of other projects, are not pushed. `tags` is a JSON object of
/// texts that is kept with what is written, such as `{"commit": "1f2e"}`, or NULL. If the newest version of the project
/// in the store is another one, all its features are written, else those whose definitions differ, in one commit;
/// pushing the same again writes nothing. Two pushes of the same that meet may both write it, which changes nothing.
/// `project`, `tags` and `context` are borrowed for the call and may be NULL. `pushed` receives a stream that the caller
/// releases, of one batch with a row for each feature of the project, parents first: `feature`, `project`,
/// `feature_version`, `definition_version`, `project_version` (large text), `pushed` (bool, whether it was written). Any
/// thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, also if no project can
/// be told, `METAXY_NOT_FOUND` if nothing of the project is defined, or not all that its features depend on,
/// `METAXY_UNSUPPORTED`, `METAXY_SCHEMA_MISMATCH`, `METAXY_CONFLICT`, `METAXY_PERMISSION`, `METAXY_CORRUPT`,
/// `METAXY_UNAVAILABLE`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_push(
    store: *const MetaxyStore,
    project: *const c_char,
    tags: *const c_char,
    context: *const MetaxyContext,
    pushed: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("pushed", pushed, error, |entry| {
            let store = entry.object(store)?;
            let project = argument::optional_text("project", project)?;
            let tags = argument::optional_text("tags", tags)?;
            let call = context::optional(entry, context)?.begin();
            export::table(store.runtime().block_on(store.push(project, tags, &call))?)
        })
    }
}

/// Loads definitions that were pushed, as if they were defined by `metaxy_store_define`.
///
/// With `project`, the features of that project as it was pushed last; with `project_version`, as they were in that version; and those in the
/// array `features` of `feature_count` keys. If all of that is NULL, everything. What they depend on comes with them,
/// unless it is defined already; a feature that is asked for replaces its definition here. Of each feature it is the
/// newest definition of the first store of the chain that has one, be it pushed from here or by Python Metaxy; what a
/// project version depends on in other projects is as it was at its time. One that cannot be read, or contradicts others
/// or what is defined, is left out; if it is one of `features`, nothing is defined. `project`,
/// `project_version`, `features` and `context` are borrowed for the call and may be NULL. `loaded` receives a stream that
/// the caller releases, of one batch with a row for each definition that was found: `feature`, `project`,
/// `feature_version` as it is now, `definition_version` and `project_version` as they were pushed (large text),
/// `recorded_at` (timestamp in microseconds, UTC), `store` that served it (large text), and `problem` (large text): why
/// it was left out, or why its version cannot be told, as when it depends on a feature that nobody has
/// pushed; else null. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, also for definitions of `features`
/// that do not fit, `METAXY_INVALID_HANDLE`, `METAXY_INVALID_STATE`, `METAXY_NOT_FOUND` for a project, a version or a
/// feature that was never pushed, `METAXY_SCHEMA_MISMATCH`, `METAXY_PERMISSION`, `METAXY_CORRUPT`, `METAXY_UNAVAILABLE`,
/// `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_load(
    store: *const MetaxyStore,
    project: *const c_char,
    project_version: *const c_char,
    features: *const *const c_char,
    feature_count: usize,
    context: *const MetaxyContext,
    loaded: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("loaded", loaded, error, |entry| {
            let store = entry.object(store)?;
            let pushes = pushes(project, project_version, features, feature_count)?;
            let call = context::optional(entry, context)?.begin();
            export::table(store.runtime().block_on(store.load(&pushes, &call))?)
        })
    }
}

/// The graph of definitions that were pushed, chosen as by `metaxy_store_load`. The store's own definitions stay as they
/// are: what they change can be told by `metaxy_graph_difference`.
///
/// `project`, `project_version`, `features` and `context` are borrowed for the call and may be NULL. `graph` receives a
/// handle that the caller frees with `metaxy_graph_free`. Any thread. What would be left out of a load is
/// left out, with a warning in the log. Fails as `metaxy_store_load`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_pushed_graph(
    store: *const MetaxyStore,
    project: *const c_char,
    project_version: *const c_char,
    features: *const *const c_char,
    feature_count: usize,
    context: *const MetaxyContext,
    graph: *mut *mut MetaxyGraph,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("graph", graph, error, |entry| {
            let store = entry.object(store)?;
            let pushes = pushes(project, project_version, features, feature_count)?;
            let call = context::optional(entry, context)?.begin();
            handle::insert(store.runtime().block_on(store.pushed(&pushes, &call))?)
        })
    }
}

/// # Safety
/// The texts are NULL or NUL-terminated, and `features` is NULL or an array of `count` of them.
unsafe fn pushes(
    project: *const c_char,
    project_version: *const c_char,
    features: *const *const c_char,
    count: usize,
) -> Result<Pushes> {
    // SAFETY: as promised by the caller.
    unsafe {
        let text = |name, pointer| Ok(argument::optional_text(name, pointer)?.map(str::to_owned));
        Ok(Pushes {
            project: text("project", project)?,
            project_version: text("project_version", project_version)?,
            features: if count == 0 { Vec::new() } else { argument::texts("features", features, count)? },
        })
    }
}
