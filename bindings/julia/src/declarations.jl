# Written from include/metaxy.h by scripts/julia_declarations.py; not to be edited.
#
# The functions are those of the header under their own names. What they give and take, who owns it and which threads may
# call them is said there. A call lets Julia collect garbage meanwhile, so that callbacks may come on any thread.

# ---- constants ----

const METAXY_VERSION_STRING = "0.1.0"
const ARROW_FLAG_DICTIONARY_ORDERED = Int32(1)
const ARROW_FLAG_NULLABLE = Int32(2)
const ARROW_FLAG_MAP_KEYS_SORTED = Int32(4)
const METAXY_VERSION_MAJOR = Int32(0)
const METAXY_VERSION_MINOR = Int32(1)
const METAXY_VERSION_PATCH = Int32(0)
const METAXY_VERSION_NUMBER = Int32(1000)
const METAXY_ABI_VERSION = Int32(1)
const METAXY_OK = Int32(0)
const METAXY_INVALID_ARGUMENT = Int32(1)
const METAXY_INVALID_HANDLE = Int32(2)
const METAXY_INVALID_STATE = Int32(3)
const METAXY_NOT_FOUND = Int32(4)
const METAXY_ALREADY_EXISTS = Int32(5)
const METAXY_UNSUPPORTED = Int32(6)
const METAXY_SCHEMA_MISMATCH = Int32(7)
const METAXY_CONFLICT = Int32(8)
const METAXY_UNAVAILABLE = Int32(9)
const METAXY_PERMISSION = Int32(10)
const METAXY_CORRUPT = Int32(11)
const METAXY_IO = Int32(12)
const METAXY_CANCELLED = Int32(13)
const METAXY_TIMEOUT = Int32(14)
const METAXY_BUSY = Int32(15)
const METAXY_REENTRANT = Int32(16)
const METAXY_FORKED = Int32(17)
const METAXY_PANIC = Int32(18)
const METAXY_INTERNAL = Int32(19)
const METAXY_LOG_ERROR = Int32(1)
const METAXY_LOG_WARN = Int32(2)
const METAXY_LOG_INFO = Int32(3)
const METAXY_LOG_DEBUG = Int32(4)
const METAXY_KIND_ANY = Int32(0)
const METAXY_KIND_STORE = Int32(1)
const METAXY_KIND_WRITER = Int32(2)
const METAXY_KIND_READ_REQUEST = Int32(3)
const METAXY_KIND_OPTIONS = Int32(4)
const METAXY_KIND_CONTEXT = Int32(5)
const METAXY_KIND_ERROR = Int32(6)
const METAXY_KIND_STREAM = Int32(7)
const METAXY_KIND_CONFIG = Int32(8)
const METAXY_KIND_BUFFERED_WRITER = Int32(9)
const METAXY_KIND_GRAPH = Int32(10)
const METAXY_KIND_INCREMENT_REQUEST = Int32(11)
const METAXY_KIND_INCREMENT = Int32(12)

# ---- handles ----

struct MetaxyBufferedWriter end
struct MetaxyConfig end
struct MetaxyContext end
struct MetaxyError end
struct MetaxyGraph end
struct MetaxyIncrement end
struct MetaxyIncrementRequest end
struct MetaxyOptions end
struct MetaxyReadRequest end
struct MetaxyStore end
struct MetaxyWriter end

# ---- the Arrow C data and C stream interfaces ----

struct ArrowSchema
    format::Cstring
    name::Cstring
    metadata::Cstring
    flags::Int64
    n_children::Int64
    children::Ptr{Ptr{ArrowSchema}}
    dictionary::Ptr{ArrowSchema}
    release::Ptr{Cvoid}
    private_data::Ptr{Cvoid}
end
ArrowSchema() = ArrowSchema(C_NULL, C_NULL, C_NULL, 0, 0, C_NULL, C_NULL, C_NULL, C_NULL)

struct ArrowArray
    length::Int64
    null_count::Int64
    offset::Int64
    n_buffers::Int64
    n_children::Int64
    buffers::Ptr{Ptr{Cvoid}}
    children::Ptr{Ptr{ArrowArray}}
    dictionary::Ptr{ArrowArray}
    release::Ptr{Cvoid}
    private_data::Ptr{Cvoid}
end
ArrowArray() = ArrowArray(0, 0, 0, 0, 0, C_NULL, C_NULL, C_NULL, C_NULL, C_NULL)

struct ArrowArrayStream
    get_schema::Ptr{Cvoid}
    get_next::Ptr{Cvoid}
    get_last_error::Ptr{Cvoid}
    release::Ptr{Cvoid}
    private_data::Ptr{Cvoid}
end
ArrowArrayStream() = ArrowArrayStream(C_NULL, C_NULL, C_NULL, C_NULL, C_NULL)

# ---- functions ----

function metaxy_version_string()
    @ccall gc_safe = true $(symbol(:metaxy_version_string))()::Cstring
end

function metaxy_version_number()
    @ccall gc_safe = true $(symbol(:metaxy_version_number))()::Int32
end

function metaxy_version_major()
    @ccall gc_safe = true $(symbol(:metaxy_version_major))()::Int32
end

function metaxy_version_minor()
    @ccall gc_safe = true $(symbol(:metaxy_version_minor))()::Int32
end

function metaxy_version_patch()
    @ccall gc_safe = true $(symbol(:metaxy_version_patch))()::Int32
end

function metaxy_abi_version()
    @ccall gc_safe = true $(symbol(:metaxy_abi_version))()::Int32
end

function metaxy_status_name(status)
    @ccall gc_safe = true $(symbol(:metaxy_status_name))(status::Int32)::Cstring
end

function metaxy_status_count()
    @ccall gc_safe = true $(symbol(:metaxy_status_count))()::Csize_t
end

function metaxy_status_at(index, status, name, error)
    @ccall gc_safe = true $(symbol(:metaxy_status_at))(
        index::Csize_t,
        status::Ptr{Int32},
        name::Ptr{Cstring},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_error_status(error)
    @ccall gc_safe = true $(symbol(:metaxy_error_status))(error::Ptr{MetaxyError})::Int32
end

function metaxy_error_message(error)
    @ccall gc_safe = true $(symbol(:metaxy_error_message))(error::Ptr{MetaxyError})::Cstring
end

function metaxy_error_cause_count(error)
    @ccall gc_safe = true $(symbol(:metaxy_error_cause_count))(error::Ptr{MetaxyError})::Csize_t
end

function metaxy_error_cause(error, index)
    @ccall gc_safe = true $(symbol(:metaxy_error_cause))(error::Ptr{MetaxyError}, index::Csize_t)::Cstring
end

function metaxy_error_detail_count(error)
    @ccall gc_safe = true $(symbol(:metaxy_error_detail_count))(error::Ptr{MetaxyError})::Csize_t
end

function metaxy_error_detail_key(error, index)
    @ccall gc_safe = true $(symbol(:metaxy_error_detail_key))(error::Ptr{MetaxyError}, index::Csize_t)::Cstring
end

function metaxy_error_detail_value(error, index)
    @ccall gc_safe = true $(symbol(:metaxy_error_detail_value))(error::Ptr{MetaxyError}, index::Csize_t)::Cstring
end

function metaxy_error_detail(error, key)
    @ccall gc_safe = true $(symbol(:metaxy_error_detail))(error::Ptr{MetaxyError}, key::Cstring)::Cstring
end

function metaxy_error_is_retryable(error)
    @ccall gc_safe = true $(symbol(:metaxy_error_is_retryable))(error::Ptr{MetaxyError})::Int32
end

function metaxy_error_from_stream(stream, error)
    @ccall gc_safe = true $(symbol(:metaxy_error_from_stream))(
        stream::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_error_free(error)
    @ccall gc_safe = true $(symbol(:metaxy_error_free))(error::Ptr{MetaxyError})::Cvoid
end

function metaxy_options_new(options, error)
    @ccall gc_safe = true $(symbol(:metaxy_options_new))(
        options::Ptr{Ptr{MetaxyOptions}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_options_set(options, key, value, error)
    @ccall gc_safe = true $(symbol(:metaxy_options_set))(
        options::Ptr{MetaxyOptions},
        key::Cstring,
        value::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_options_get(options, key, value, error)
    @ccall gc_safe = true $(symbol(:metaxy_options_get))(
        options::Ptr{MetaxyOptions},
        key::Cstring,
        value::Ptr{Cstring},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_options_list(options, error)
    @ccall gc_safe = true $(symbol(:metaxy_options_list))(
        options::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_options_free(options)
    @ccall gc_safe = true $(symbol(:metaxy_options_free))(options::Ptr{MetaxyOptions})::Cvoid
end

function metaxy_context_new(context, error)
    @ccall gc_safe = true $(symbol(:metaxy_context_new))(
        context::Ptr{Ptr{MetaxyContext}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_context_set_timeout_ms(context, timeout_ms, error)
    @ccall gc_safe = true $(symbol(:metaxy_context_set_timeout_ms))(
        context::Ptr{MetaxyContext},
        timeout_ms::UInt64,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_context_set_progress(context, callback, user_data, error)
    @ccall gc_safe = true $(symbol(:metaxy_context_set_progress))(
        context::Ptr{MetaxyContext},
        callback::Ptr{Cvoid},
        user_data::Ptr{Cvoid},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_context_cancel(context, error)
    @ccall gc_safe = true $(symbol(:metaxy_context_cancel))(
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_context_free(context)
    @ccall gc_safe = true $(symbol(:metaxy_context_free))(context::Ptr{MetaxyContext})::Cvoid
end

function metaxy_store_open(uri, options, context, store, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_open))(
        uri::Cstring,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        store::Ptr{Ptr{MetaxyStore}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_close(store, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_close))(store::Ptr{MetaxyStore}, error::Ptr{Ptr{MetaxyError}})::Int32
end

function metaxy_store_free(store)
    @ccall gc_safe = true $(symbol(:metaxy_store_free))(store::Ptr{MetaxyStore})::Cvoid
end

function metaxy_store_display(store, text, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_display))(
        store::Ptr{MetaxyStore},
        text::Ptr{Cstring},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_define(store, json, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_define))(
        store::Ptr{MetaxyStore},
        json::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_features(store, context, features, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_features))(
        store::Ptr{MetaxyStore},
        context::Ptr{MetaxyContext},
        features::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_write(store, feature, rows, options, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_write))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        rows::Ptr{ArrowArrayStream},
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_write_batch(store, feature, rows, schema, options, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_write_batch))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        rows::Ptr{ArrowArray},
        schema::Ptr{ArrowSchema},
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_read(store, feature, request, context, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_read))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        request::Ptr{MetaxyReadRequest},
        context::Ptr{MetaxyContext},
        rows::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_string_free(text)
    @ccall gc_safe = true $(symbol(:metaxy_string_free))(text::Cstring)::Cvoid
end

function metaxy_store_open_chain(uri, fallbacks, fallback_count, options, context, store, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_open_chain))(
        uri::Cstring,
        fallbacks::Ptr{Ptr{MetaxyStore}},
        fallback_count::Csize_t,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        store::Ptr{Ptr{MetaxyStore}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_find(store, feature, request, context, stores, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_find))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        request::Ptr{MetaxyReadRequest},
        context::Ptr{MetaxyContext},
        stores::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_stream_served_by(rows, stores, error)
    @ccall gc_safe = true $(symbol(:metaxy_stream_served_by))(
        rows::Ptr{ArrowArrayStream},
        stores::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_has(store, feature, context, has, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_has))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        context::Ptr{MetaxyContext},
        has::Ptr{Int32},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_list(store, context, features, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_list))(
        store::Ptr{MetaxyStore},
        context::Ptr{MetaxyContext},
        features::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_describe(store, feature, context, description, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_describe))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        context::Ptr{MetaxyContext},
        description::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_push(store, project, tags, context, pushed, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_push))(
        store::Ptr{MetaxyStore},
        project::Cstring,
        tags::Cstring,
        context::Ptr{MetaxyContext},
        pushed::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_load(store, project, project_version, features, feature_count, context, loaded, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_load))(
        store::Ptr{MetaxyStore},
        project::Cstring,
        project_version::Cstring,
        features::Ptr{Cstring},
        feature_count::Csize_t,
        context::Ptr{MetaxyContext},
        loaded::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_pushed_graph(store, project, project_version, features, feature_count, context, graph, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_pushed_graph))(
        store::Ptr{MetaxyStore},
        project::Cstring,
        project_version::Cstring,
        features::Ptr{Cstring},
        feature_count::Csize_t,
        context::Ptr{MetaxyContext},
        graph::Ptr{Ptr{MetaxyGraph}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_graph(store, context, graph, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_graph))(
        store::Ptr{MetaxyStore},
        context::Ptr{MetaxyContext},
        graph::Ptr{Ptr{MetaxyGraph}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_new(json, options, graph, error)
    @ccall gc_safe = true $(symbol(:metaxy_graph_new))(
        json::Cstring,
        options::Ptr{MetaxyOptions},
        graph::Ptr{Ptr{MetaxyGraph}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_features(graph, features, error)
    @ccall gc_safe = true $(symbol(:metaxy_graph_features))(
        graph::Ptr{MetaxyGraph},
        features::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_dependencies(graph, dependencies, error)
    @ccall gc_safe = true $(symbol(:metaxy_graph_dependencies))(
        graph::Ptr{MetaxyGraph},
        dependencies::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_difference(before, after, difference, error)
    @ccall gc_safe = true $(symbol(:metaxy_graph_difference))(
        before::Ptr{MetaxyGraph},
        after::Ptr{MetaxyGraph},
        difference::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_render(graph, before, language, text, error)
    @ccall gc_safe = true $(symbol(:metaxy_graph_render))(
        graph::Ptr{MetaxyGraph},
        before::Ptr{MetaxyGraph},
        language::Cstring,
        text::Ptr{Cstring},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_json(graph, json, error)
    @ccall gc_safe = true $(symbol(:metaxy_graph_json))(
        graph::Ptr{MetaxyGraph},
        json::Ptr{Cstring},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_graph_free(graph)
    @ccall gc_safe = true $(symbol(:metaxy_graph_free))(graph::Ptr{MetaxyGraph})::Cvoid
end

function metaxy_read_request_new(request, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_new))(
        request::Ptr{Ptr{MetaxyReadRequest}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_columns(request, columns, count, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_columns))(
        request::Ptr{MetaxyReadRequest},
        columns::Ptr{Cstring},
        count::Csize_t,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_add_filter(request, filter, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_add_filter))(
        request::Ptr{MetaxyReadRequest},
        filter::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_feature_version(request, version, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_feature_version))(
        request::Ptr{MetaxyReadRequest},
        version::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_feature_history(request, history, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_feature_history))(
        request::Ptr{MetaxyReadRequest},
        history::Int32,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_sample_history(request, history, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_sample_history))(
        request::Ptr{MetaxyReadRequest},
        history::Int32,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_deleted(request, deleted, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_deleted))(
        request::Ptr{MetaxyReadRequest},
        deleted::Int32,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_fallback(request, fallback, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_fallback))(
        request::Ptr{MetaxyReadRequest},
        fallback::Int32,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_batch_rows(request, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_batch_rows))(
        request::Ptr{MetaxyReadRequest},
        rows::Csize_t,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_set_limit(request, limit, error)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_set_limit))(
        request::Ptr{MetaxyReadRequest},
        limit::Int64,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_read_request_free(request)
    @ccall gc_safe = true $(symbol(:metaxy_read_request_free))(request::Ptr{MetaxyReadRequest})::Cvoid
end

function metaxy_increment_request_new(request, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_new))(
        request::Ptr{Ptr{MetaxyIncrementRequest}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_add_filter(request, feature, filter, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_add_filter))(
        request::Ptr{MetaxyIncrementRequest},
        feature::Cstring,
        filter::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_add_target_filter(request, filter, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_add_target_filter))(
        request::Ptr{MetaxyIncrementRequest},
        filter::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_add_staleness_predicate(request, predicate, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_add_staleness_predicate))(
        request::Ptr{MetaxyIncrementRequest},
        predicate::Cstring,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_set_skip_comparison(request, skip, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_set_skip_comparison))(
        request::Ptr{MetaxyIncrementRequest},
        skip::Int32,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_set_shard(request, index, count, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_set_shard))(
        request::Ptr{MetaxyIncrementRequest},
        index::Int32,
        count::Int32,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_set_batch_rows(request, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_set_batch_rows))(
        request::Ptr{MetaxyIncrementRequest},
        rows::Csize_t,
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_request_free(request)
    @ccall gc_safe = true $(symbol(:metaxy_increment_request_free))(request::Ptr{MetaxyIncrementRequest})::Cvoid
end

function metaxy_store_resolve_update(store, feature, request, samples, context, increment, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_resolve_update))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        request::Ptr{MetaxyIncrementRequest},
        samples::Ptr{ArrowArrayStream},
        context::Ptr{MetaxyContext},
        increment::Ptr{Ptr{MetaxyIncrement}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_counts(increment, new_rows, stale_rows, orphaned_rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_counts))(
        increment::Ptr{MetaxyIncrement},
        new_rows::Ptr{UInt64},
        stale_rows::Ptr{UInt64},
        orphaned_rows::Ptr{UInt64},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_input_progress(increment, percent, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_input_progress))(
        increment::Ptr{MetaxyIncrement},
        percent::Ptr{Cdouble},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_served_by(increment, stores, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_served_by))(
        increment::Ptr{MetaxyIncrement},
        stores::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_read_new(increment, context, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_read_new))(
        increment::Ptr{MetaxyIncrement},
        context::Ptr{MetaxyContext},
        rows::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_read_stale(increment, context, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_read_stale))(
        increment::Ptr{MetaxyIncrement},
        context::Ptr{MetaxyContext},
        rows::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_read_orphaned(increment, context, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_increment_read_orphaned))(
        increment::Ptr{MetaxyIncrement},
        context::Ptr{MetaxyContext},
        rows::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_increment_free(increment)
    @ccall gc_safe = true $(symbol(:metaxy_increment_free))(increment::Ptr{MetaxyIncrement})::Cvoid
end

function metaxy_store_compute_provenance(store, feature, rows, context, completed, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_compute_provenance))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        rows::Ptr{ArrowArrayStream},
        context::Ptr{MetaxyContext},
        completed::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_rebase(store, feature, from_version, to_version, context, rows, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_rebase))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        from_version::Cstring,
        to_version::Cstring,
        context::Ptr{MetaxyContext},
        rows::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_writer(store, feature, schema, options, context, writer, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_writer))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        schema::Ptr{ArrowSchema},
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        writer::Ptr{Ptr{MetaxyWriter}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_writer_push(writer, rows, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_writer_push))(
        writer::Ptr{MetaxyWriter},
        rows::Ptr{ArrowArray},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_writer_commit(writer, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_writer_commit))(
        writer::Ptr{MetaxyWriter},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_writer_abort(writer, error)
    @ccall gc_safe = true $(symbol(:metaxy_writer_abort))(
        writer::Ptr{MetaxyWriter},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_writer_free(writer)
    @ccall gc_safe = true $(symbol(:metaxy_writer_free))(writer::Ptr{MetaxyWriter})::Cvoid
end

function metaxy_store_buffered_writer(store, feature, schema, options, context, writer, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_buffered_writer))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        schema::Ptr{ArrowSchema},
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        writer::Ptr{Ptr{MetaxyBufferedWriter}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_buffered_writer_push(writer, rows, context, ticket, error)
    @ccall gc_safe = true $(symbol(:metaxy_buffered_writer_push))(
        writer::Ptr{MetaxyBufferedWriter},
        rows::Ptr{ArrowArray},
        context::Ptr{MetaxyContext},
        ticket::Ptr{UInt64},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_buffered_writer_flush(writer, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_buffered_writer_flush))(
        writer::Ptr{MetaxyBufferedWriter},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_buffered_writer_wait(writer, ticket, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_buffered_writer_wait))(
        writer::Ptr{MetaxyBufferedWriter},
        ticket::UInt64,
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_buffered_writer_committed(writer, ticket, error)
    @ccall gc_safe = true $(symbol(:metaxy_buffered_writer_committed))(
        writer::Ptr{MetaxyBufferedWriter},
        ticket::Ptr{UInt64},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_buffered_writer_close(writer, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_buffered_writer_close))(
        writer::Ptr{MetaxyBufferedWriter},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_buffered_writer_free(writer)
    @ccall gc_safe = true $(symbol(:metaxy_buffered_writer_free))(writer::Ptr{MetaxyBufferedWriter})::Cvoid
end

function metaxy_store_delete(store, feature, request, options, context, deleted, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_delete))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        request::Ptr{MetaxyReadRequest},
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        deleted::Ptr{UInt64},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_write_many(store, features, rows, count, options, context, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_write_many))(
        store::Ptr{MetaxyStore},
        features::Ptr{Cstring},
        rows::Ptr{ArrowArrayStream},
        count::Csize_t,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_copy(from, to, features, feature_count, request, options, context, report, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_copy))(
        from::Ptr{MetaxyStore},
        to::Ptr{MetaxyStore},
        features::Ptr{Cstring},
        feature_count::Csize_t,
        request::Ptr{MetaxyReadRequest},
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        report::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_compact(store, feature, options, context, report, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_compact))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        report::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_prune(store, feature, options, context, report, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_prune))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        report::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_purge(store, feature, options, context, report, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_purge))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        report::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_store_drop(store, feature, options, context, dropped, error)
    @ccall gc_safe = true $(symbol(:metaxy_store_drop))(
        store::Ptr{MetaxyStore},
        feature::Cstring,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        dropped::Ptr{Int32},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_config_load(path, config, error)
    @ccall gc_safe = true $(symbol(:metaxy_config_load))(
        path::Cstring,
        config::Ptr{Ptr{MetaxyConfig}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_config_open_store(config, store, options, context, opened, error)
    @ccall gc_safe = true $(symbol(:metaxy_config_open_store))(
        config::Ptr{MetaxyConfig},
        store::Cstring,
        options::Ptr{MetaxyOptions},
        context::Ptr{MetaxyContext},
        opened::Ptr{Ptr{MetaxyStore}},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_config_stores(config, stores, error)
    @ccall gc_safe = true $(symbol(:metaxy_config_stores))(
        config::Ptr{MetaxyConfig},
        stores::Ptr{ArrowArrayStream},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_config_free(config)
    @ccall gc_safe = true $(symbol(:metaxy_config_free))(config::Ptr{MetaxyConfig})::Cvoid
end

function metaxy_log_set_callback(level, callback, user_data, error)
    @ccall gc_safe = true $(symbol(:metaxy_log_set_callback))(
        level::Int32,
        callback::Ptr{Cvoid},
        user_data::Ptr{Cvoid},
        error::Ptr{Ptr{MetaxyError}},
    )::Int32
end

function metaxy_live_handles(kind)
    @ccall gc_safe = true $(symbol(:metaxy_live_handles))(kind::Int32)::UInt64
end
