"""
libmetaxy for Julia: a metadata store for multimodal data pipelines.

    Metaxy.Store("./metadata") do store
        Metaxy.define(store, \"\"\"{"key": "video", "id_columns": ["id"], "fields": [{"key": "frames"}]}\"\"\")
        Metaxy.write(store, "video", (id = ["intro"], metaxy_provenance_by_field = [(frames = "f-3e",)]))
        for batch in Metaxy.read(store, "video"; columns = ["id"])
            println(batch.id)
        end
    end

Rows are NamedTuples of columns, which every package that knows Tables.jl accepts. The library is the file in the
environment variable METAXY_LIBRARY, or else the installed one.
"""
module Metaxy

export MetaxyError

"""The functions of the C library, under their own names."""
module LibMetaxy

using Libdl

const library = Ref{Ptr{Cvoid}}(C_NULL)

# At run time, since a precompiled package may meet another library than the one that it was compiled with.
function __init__()
    library[] = dlopen(get(ENV, "METAXY_LIBRARY", "libmetaxy.so.0.1"))
    found = metaxy_abi_version()
    found == METAXY_ABI_VERSION || error("this package is for version $METAXY_ABI_VERSION of the ABI of libmetaxy, not $found")
end

symbol(name::Symbol) = dlsym(library[], name)

include("declarations.jl")

end

using .LibMetaxy

include("error.jl")
include("handles.jl")
include("arrow_in.jl")
include("arrow_out.jl")
include("store.jl")

end
