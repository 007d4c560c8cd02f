"""
A call failed: `name` is its status, such as `"METAXY_NOT_FOUND"`; `details` are the facts behind it, `causes` what led to
it, and `retryable` says whether the same call may succeed when it is simply made again.
"""
struct MetaxyError <: Exception
    status::Int32
    name::String
    message::String
    causes::Vector{String}
    details::Dict{String,String}
    retryable::Bool
end

Base.showerror(io::IO, error::MetaxyError) = print(io, error.name, ": ", error.message)

"""The exception for an error of the library, which is freed."""
function taken(status, error::Ptr{LibMetaxy.MetaxyError})
    try
        return MetaxyError(
            status,
            unsafe_string(LibMetaxy.metaxy_status_name(status)),
            unsafe_string(LibMetaxy.metaxy_error_message(error)),
            [
                unsafe_string(LibMetaxy.metaxy_error_cause(error, index - 1)) for
                index in 1:LibMetaxy.metaxy_error_cause_count(error)
            ],
            Dict(
                unsafe_string(LibMetaxy.metaxy_error_detail_key(error, index - 1)) =>
                    unsafe_string(LibMetaxy.metaxy_error_detail_value(error, index - 1)) for
                index in 1:LibMetaxy.metaxy_error_detail_count(error)
            ),
            LibMetaxy.metaxy_error_is_retryable(error) != 0,
        )
    finally
        LibMetaxy.metaxy_error_free(error)
    end
end

"""Calls a function of the library, whose last parameter is the error."""
function check(call, arguments...)
    error = Ref{Ptr{LibMetaxy.MetaxyError}}(C_NULL)
    status = call(arguments..., error)
    status == LibMetaxy.METAXY_OK || throw(taken(status, error[]))
    return nothing
end
