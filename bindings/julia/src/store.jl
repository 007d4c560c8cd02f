"""
    Store(uri; context = Context(), options...)
    Store(use, uri; ...)

Opens a metadata store. Options are those of the library: `Store(uri; mode = "read", var"hash.algorithm" = "sha256")`. The
second form closes it when `use` is done. Any number of tasks may use a store; streams of a closed one go on.
"""
struct Store
    handle::Handle{LibMetaxy.MetaxyStore}

    function Store(uri::AbstractString; context::Context = Context(), given...)
        set = options(given)
        return new(Handle{LibMetaxy.MetaxyStore}(LibMetaxy.metaxy_store_free) do place
            run(context, LibMetaxy.metaxy_store_open, uri, set, context.handle, place)
        end)
    end
end

function Store(use::Function, uri::AbstractString; given...)
    store = Store(uri; given...)
    try
        return use(store)
    finally
        close(store)
    end
end

"""Ends a store. Doing so again does nothing; any other call then throws a `MetaxyError`, `"METAXY_INVALID_STATE"`."""
Base.close(store::Store) = check(LibMetaxy.metaxy_store_close, store.handle)

"""Defines the features of a JSON text: one, or an array of them."""
define(store::Store, json::AbstractString) = check(LibMetaxy.metaxy_store_define, store.handle, json)

"""
    write(store, feature, rows; context = Context(), options...)

Writes rows, all or none: a NamedTuple of columns, or several of them with the same columns and types, of which
each is a batch.
"""
function write(store::Store, feature::AbstractString, rows::NamedTuple; context::Context = Context(), given...)
    set = options(given)
    return lend(rows) do schema, array
        run(context, LibMetaxy.metaxy_store_write_batch, store.handle, feature, array, schema, set, context.handle)
    end
end

function write(store::Store, feature::AbstractString, batches; context::Context = Context(), given...)
    set, writer, layout = options(given), nothing, nothing
    try
        for rows in batches
            lend(rows) do schema, array
                if writer === nothing
                    layout = Layout(schema[])
                    writer = Handle{LibMetaxy.MetaxyWriter}(LibMetaxy.metaxy_writer_free) do place
                        run(context, LibMetaxy.metaxy_store_writer, store.handle, feature, schema, set, context.handle, place)
                    end
                end
                check_same(layout, Layout(schema[]))
                run(context, LibMetaxy.metaxy_writer_push, writer, array, context.handle)
            end
        end
        writer === nothing || run(context, LibMetaxy.metaxy_writer_commit, writer, context.handle)
    finally
        # Until the writer has ended, it reads what it was lent. After a commit, this does nothing.
        writer === nothing || check(LibMetaxy.metaxy_writer_abort, writer)
    end
    return nothing
end

"""Rows of the store, batch by batch, each a NamedTuple of columns; each is read when it is asked for. May be closed early."""
mutable struct Rows
    stream::Base.RefValue{LibMetaxy.ArrowArrayStream}
    context::Context
    lock::ReentrantLock
    decode::Function

    # `open` is given the place of the stream.
    function Rows(open, context::Context)
        stream = Ref(LibMetaxy.ArrowArrayStream())
        schema = Ref(LibMetaxy.ArrowSchema())
        try
            open(stream)
            code = @ccall gc_safe = true $(stream[].get_schema)(
                stream::Ptr{LibMetaxy.ArrowArrayStream},
                schema::Ptr{LibMetaxy.ArrowSchema},
            )::Cint
            code == 0 || error("the stream gives no schema: error $code")
            decode = try
                batches(schema[])
            finally
                @ccall gc_safe = true $(schema[].release)(schema::Ptr{LibMetaxy.ArrowSchema})::Cvoid
            end
            return finalizer(rows -> release(rows.stream), new(stream, context, ReentrantLock(), decode))
        catch
            release(stream)
            rethrow()
        end
    end
end

function release(stream::Base.RefValue{LibMetaxy.ArrowArrayStream})
    stream[].release == C_NULL && return nothing
    @ccall gc_safe = true $(stream[].release)(stream::Ptr{LibMetaxy.ArrowArrayStream})::Cvoid
    return nothing
end

"""Ends a stream of rows: an iteration of it, by whomever, then ends too. Doing so again does nothing."""
Base.close(rows::Rows) = @lock rows.lock release(rows.stream)

Base.IteratorSize(::Type{Rows}) = Base.SizeUnknown()
Base.eltype(::Type{Rows}) = NamedTuple

function Base.iterate(rows::Rows, _ = nothing)
    @lock rows.lock begin
        rows.stream[].release == C_NULL && return nothing
        array = Ref(LibMetaxy.ArrowArray())
        code = @ccall gc_safe = true $(rows.stream[].get_next)(
            rows.stream::Ptr{LibMetaxy.ArrowArrayStream},
            array::Ptr{LibMetaxy.ArrowArray},
        )::Cint
        if code != 0
            run(rows.context, LibMetaxy.metaxy_error_from_stream, rows.stream)
            error("the stream failed: error $code")
        end
        array[].release == C_NULL && return throw_told(rows.context)
        try
            throw_told(rows.context)
            return rows.decode(array[]), nothing
        finally
            @ccall gc_safe = true $(array[].release)(array::Ptr{LibMetaxy.ArrowArray})::Cvoid
        end
    end
end

const SETTINGS = (
    feature_history = LibMetaxy.metaxy_read_request_set_feature_history,
    sample_history = LibMetaxy.metaxy_read_request_set_sample_history,
    deleted = LibMetaxy.metaxy_read_request_set_deleted,
    fallback = LibMetaxy.metaxy_read_request_set_fallback,
    feature_version = LibMetaxy.metaxy_read_request_set_feature_version,
    batch_rows = LibMetaxy.metaxy_read_request_set_batch_rows,
    limit = LibMetaxy.metaxy_read_request_set_limit,
)

"""
    read(store, feature; columns = nothing, filters = [], context = Context(), settings...)

The current rows of a feature. `settings` are those of a read request: `limit = 10`, `deleted = true`, ...
"""
function read(store::Store, feature; columns = nothing, filters = [], context::Context = Context(), settings...)
    request = Handle{LibMetaxy.MetaxyReadRequest}(LibMetaxy.metaxy_read_request_free) do place
        check(LibMetaxy.metaxy_read_request_new, place)
    end
    if columns !== nothing
        names = String[columns...]
        GC.@preserve names begin
            pointers = Cstring[Base.unsafe_convert(Cstring, name) for name in names]
            check(LibMetaxy.metaxy_read_request_set_columns, request, pointers, length(pointers))
        end
    end
    for filter in (filters isa AbstractString ? [filters] : filters)
        check(LibMetaxy.metaxy_read_request_add_filter, request, filter)
    end
    for (name, value) in settings
        haskey(SETTINGS, name) || throw(ArgumentError("a read has no setting $name"))
        check(SETTINGS[name], request, value)
    end
    return Rows(context) do stream
        run(context, LibMetaxy.metaxy_store_read, store.handle, feature, request, context.handle, stream)
    end
end

"""What there is to do for a feature. Rows of [`new_rows`](@ref) and [`stale_rows`](@ref) are written with results added."""
struct Increment
    handle::Handle{LibMetaxy.MetaxyIncrement}
end

"""
    resolve(store, feature; filters = [], shard = (0, 1), context = Context())

What there is to do for a feature that depends on others, or the share `shard` of it: `(2, 8)` is the third of eight.
"""
function resolve(store::Store, feature; filters = [], shard = (0, 1), context::Context = Context())
    request = Handle{LibMetaxy.MetaxyIncrementRequest}(LibMetaxy.metaxy_increment_request_free) do place
        check(LibMetaxy.metaxy_increment_request_new, place)
    end
    for filter in (filters isa AbstractString ? [filters] : filters)
        check(LibMetaxy.metaxy_increment_request_add_filter, request, C_NULL, filter)
    end
    check(LibMetaxy.metaxy_increment_request_set_shard, request, shard[1], shard[2])
    return Increment(Handle{LibMetaxy.MetaxyIncrement}(LibMetaxy.metaxy_increment_free) do place
        run(context, LibMetaxy.metaxy_store_resolve_update, store.handle, feature, request, C_NULL, context.handle, place)
    end)
end

"""How many samples are new, stale and orphaned."""
function counts(increment::Increment)
    new, stale, orphaned = Ref(UInt64(0)), Ref(UInt64(0)), Ref(UInt64(0))
    check(LibMetaxy.metaxy_increment_counts, increment.handle, new, stale, orphaned)
    return (new = Int(new[]), stale = Int(stale[]), orphaned = Int(orphaned[]))
end

part(call, increment, context) = Rows(stream -> run(context, call, increment.handle, context.handle, stream), context)

"""The samples that are new, to be computed and written."""
new_rows(increment::Increment; context = Context()) = part(LibMetaxy.metaxy_increment_read_new, increment, context)

"""The samples that are stale, as they are to be now: to be computed again and written."""
stale_rows(increment::Increment; context = Context()) = part(LibMetaxy.metaxy_increment_read_stale, increment, context)

"""The samples that are stored, but what they were computed from is gone."""
orphaned_rows(increment::Increment; context = Context()) = part(LibMetaxy.metaxy_increment_read_orphaned, increment, context)
