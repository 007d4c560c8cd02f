# Handles of the library. Each is freed with the object that holds it; what is done with a handle that was freed is an
# error like any other, and reads nothing.

"""A handle that `make` writes to the place that it is given; `free` is called when the object goes."""
mutable struct Handle{T}
    pointer::Ptr{T}

    function Handle{T}(make, free) where {T}
        place = Ref{Ptr{T}}(C_NULL)
        handle = finalizer(gone -> free(gone.pointer), new{T}(C_NULL))
        try
            make(place)
        finally
            # A call can both make a handle and throw what a callback has thrown.
            handle.pointer = place[]
        end
        return handle
    end
end

Base.cconvert(::Type{Ptr{T}}, handle::Handle{T}) where {T} = handle
Base.unsafe_convert(::Type{Ptr{T}}, handle::Handle{T}) where {T} = handle.pointer

function options(given)
    made = Handle{LibMetaxy.MetaxyOptions}(LibMetaxy.metaxy_options_free) do place
        check(LibMetaxy.metaxy_options_new, place)
    end
    for (key, value) in given
        check(LibMetaxy.metaxy_options_set, made, string(key), string(value))
    end
    return made
end

"""What the progress callback of a context knows: it may run on any thread, while Julia's own are in the library."""
mutable struct Progress
    report::Any
    context::Ptr{LibMetaxy.MetaxyContext}
    thrown::Any
end

function tell(rows::UInt64, total::Int64, data::Ptr{Cvoid})::Cvoid
    progress = unsafe_pointer_to_objref(data)::Progress
    try
        progress.report(Int(rows), total < 0 ? nothing : Int(total))
    catch thrown
        progress.thrown = thrown
        LibMetaxy.metaxy_context_cancel(progress.context, C_NULL)
    end
    return nothing
end

"""
    Context(; timeout = nothing, progress = nothing)

Bounds the calls that are given it: `timeout` in seconds for each of them, and [`cancel`](@ref). `progress(rows, total)` is
called now and then, with `nothing` for a total that is not known. What it throws ends the call and comes out of it, also if
that was too late, since the call was done.
"""
struct Context
    handle::Handle{LibMetaxy.MetaxyContext}
    progress::Union{Nothing,Progress}

    function Context(; timeout = nothing, progress = nothing)
        handle = Handle{LibMetaxy.MetaxyContext}(LibMetaxy.metaxy_context_free) do place
            check(LibMetaxy.metaxy_context_new, place)
        end
        if timeout !== nothing
            check(LibMetaxy.metaxy_context_set_timeout_ms, handle, max(1, round(UInt64, 1000 * timeout)))
        end
        progress === nothing && return new(handle, nothing)
        told = Progress(progress, handle.pointer, nothing)
        callback = @cfunction(tell, Cvoid, (UInt64, Int64, Ptr{Cvoid}))
        check(LibMetaxy.metaxy_context_set_progress, handle, callback, pointer_from_objref(told))
        return new(handle, told)
    end
end

"""Ends the calls that use a context, and all later ones. Any task may call it."""
cancel(context::Context) = check(LibMetaxy.metaxy_context_cancel, context.handle)

"""Makes a call under a context, and throws what the caller's own callback has thrown meanwhile."""
function run(context::Context, call, arguments...)
    GC.@preserve context try
        check(call, arguments...)
    catch
        throw_told(context)
        rethrow()
    end
    return throw_told(context)
end

"""Throws what the callback of a context has thrown, if it has."""
function throw_told(context::Context)
    context.progress === nothing || context.progress.thrown === nothing || throw(context.progress.thrown)
    return nothing
end
