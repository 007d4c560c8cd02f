//! `MetaxyGraph`: features as they are at one time, to look at and to compare.

use std::ffi::c_char;

use arrow::array::RecordBatch;
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::Result;
use crate::ffi::argument::{self, c_string};
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;
use crate::store::Snapshot;

/// Features and how they depend on one another, as they are at one time; it never changes, and needs no store.
pub struct MetaxyGraph {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyGraph {
    type Value = Snapshot;
    const KIND: Kind = Kind::Graph;
}

/// The graph of the features that are defined in a store now, with the versions that the store gives them.
///
/// `context` is borrowed for the call and may be NULL. `graph` receives a handle that the caller frees with
/// `metaxy_graph_free`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`,
/// `METAXY_INVALID_STATE`, `METAXY_CORRUPT`, `METAXY_IO`, `METAXY_CANCELLED`, `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_store_graph(
    store: *const MetaxyStore,
    context: *const MetaxyContext,
    graph: *mut *mut MetaxyGraph,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("graph", graph, error, |entry| {
            let store = entry.object(store)?;
            let call = context::optional(entry, context)?.begin();
            handle::insert(store.runtime().block_on(store.snapshot(&call))?)
        })
    }
}

/// Makes a graph of definitions in JSON, as `metaxy_store_define` takes them, without a store.
///
/// Of `options`, `project` is the project of those that name none, and `hash.truncation_length` the length of versions,
/// which are whole without it. `json` and `options` are borrowed for the call; `options` may be NULL. `graph` receives a
/// handle that the caller frees with `metaxy_graph_free`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, which names
/// the JSON path or the features, and `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_new(
    json: *const c_char,
    options: *const MetaxyOptions,
    graph: *mut *mut MetaxyGraph,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("graph", graph, error, |entry| {
            let json = argument::text("json", json)?;
            handle::insert(Snapshot::from_json(json, &options::optional(entry, options)?)?)
        })
    }
}

/// Lists the features of a graph, each after those that it depends on; alphabetical where that leaves a choice.
///
/// `features` receives a stream that the caller releases, of one batch with the columns of `metaxy_store_features`, and
/// `depends_on` (large list of large text), `class_path`, `description` (large text), `spec` and `schema` (large text,
/// JSON in which nothing is left out). Versions are null where a feature depends on one that is not defined. Any thread.
/// Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_features(
    graph: *const MetaxyGraph,
    features: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { answer("features", graph, features, error, Snapshot::features) }
}

/// Lists what the features of a graph depend on: a row for each pair of features, by the order of
/// `metaxy_graph_features`.
///
/// `dependencies` receives a stream that the caller releases, of one batch with the columns `feature`, `depends_on`
/// (large text), `defined`, whether the latter is, `optional` (bool), `lineage` (large text: `1:1`, `N:1` or `1:N`), its
/// columns `on`, `select` (large list of large text), `rename` (large list of struct of `from`, `to`), `filters` (large
/// list of large text), each null if it is not given, and `fields` (large list of struct of `field` and the field `from`
/// the dependency that feeds it; null unless all dependencies of the feature are defined). Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_dependencies(
    graph: *const MetaxyGraph,
    dependencies: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { answer("dependencies", graph, dependencies, error, Snapshot::dependencies) }
}

/// Tells what differs between two graphs, and which features that makes stale; features that are as they were are left
/// out.
///
/// `difference` receives a stream that the caller releases, of one batch with these columns, parents first and removed
/// features last:
///
/// - `feature` (large text);
/// - `difference` (large text): `added`, `removed`, `changed`, or `upstream` if only what it is computed from differs;
/// - `stale` (bool): whether its samples have to be computed again; never of one that was added or removed;
/// - `because` (large list of large text): the features whose own changes make it stale, itself among them;
/// - `changes` (large list of struct of `what`, `subject`, `before`, `after`, large texts): what differs in its own
///   definition: `id_columns`, `dependency`, `select`, `rename`, `filters`, `fields_mapping`, `lineage`, `optional`, of
///   the dependency `subject`; `field`, `code_version`, `field_dependencies`, of the field `subject`; `metadata`,
///   `description`, `order`, `schema`, `project`, `class_path`, `external`, `provenance_by_field`; before and after as
///   JSON, null if it was not there;
/// - `fields` (large list of struct of `field`, `difference`, `version_before`, `version_after`): its fields that are
///   not as they were;
/// - `version_before`, `version_after` (large text): the feature versions, cut to the length of those of `after`.
///
/// Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, and with `METAXY_NOT_FOUND`, which names
/// both features, if one depends on another that is not defined in its graph.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_difference(
    before: *const MetaxyGraph,
    after: *const MetaxyGraph,
    difference: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("difference", difference, error, |entry| {
            let (before, after) = (entry.object(before)?, entry.object(after)?);
            export::table(after.difference(&before)?)
        })
    }
}

/// Draws a graph as text: a flowchart for Mermaid, or a graph for Graphviz.
///
/// `language` is `mermaid` or `dot`. With `before`, which may be NULL, what `metaxy_graph_difference` tells stands out,
/// and features that were removed are drawn too. Both are borrowed for the call. `text` receives a text that the caller
/// frees with `metaxy_string_free`. Any thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, and, with
/// `before`, as `metaxy_graph_difference`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_render(
    graph: *const MetaxyGraph,
    before: *const MetaxyGraph,
    language: *const c_char,
    text: *mut *mut c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("text", text, error, |entry| {
            let graph = entry.object(graph)?;
            let before = (!before.is_null()).then(|| entry.object(before)).transpose()?;
            let before = before.as_ref().map(|before| -> &Snapshot { before });
            Ok(c_string(&graph.render(argument::text("language", language)?, before)?).into_raw())
        })
    }
}

/// The definitions of a graph in JSON, as `metaxy_graph_new` and `metaxy_store_define` take them, parents first.
///
/// `json` receives a text that the caller frees with `metaxy_string_free`. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_json(
    graph: *const MetaxyGraph,
    json: *mut *mut c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("json", json, error, |entry| Ok(c_string(&entry.object(graph)?.to_json()).into_raw()))
    }
}

/// Frees a graph; NULL and a handle already freed are ignored.
///
/// `graph` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_graph_free(graph: *mut MetaxyGraph) {
    guard::quietly((), || drop(handle::remove(graph)));
}

/// Answers a question about a graph with a stream of one batch.
///
/// # Safety
/// `place` and `error` are NULL or can be written.
unsafe fn answer(
    name: &'static str,
    graph: *const MetaxyGraph,
    place: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
    ask: impl FnOnce(&Snapshot) -> Result<RecordBatch>,
) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe { guard::produce(name, place, error, |entry| export::table(ask(&*entry.object(graph)?)?)) }
}
