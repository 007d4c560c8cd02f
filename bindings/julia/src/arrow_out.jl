# Arrow out: vectors as arrays of the Arrow C data interface. They are copied to memory of C's, which the library may
# release on any of its threads: a release does nothing but free it.

"""Memory of C's with these values in it."""
function outside(values::AbstractVector{T}) where {T}
    memory = Ptr{T}(Libc.malloc(max(1, sizeof(T) * length(values))))
    memory == C_NULL && throw(OutOfMemoryError())
    for (index, value) in enumerate(values)
        unsafe_store!(memory, value, index)
    end
    return memory
end

outside_text(text) = Cstring(Ptr{Cvoid}(outside([codeunits(text); 0x00])))

function release_children(children::Ptr{Ptr{T}}, count) where {T}
    for index in 1:count
        child = unsafe_load(children, index)
        # One that was moved has been released elsewhere.
        release = unsafe_load(child).release
        release == C_NULL || @ccall $release(child::Ptr{T})::Cvoid
        Libc.free(child)
    end
    Libc.free(children)
    return nothing
end

function release_schema(pointer::Ptr{LibMetaxy.ArrowSchema})::Cvoid
    schema = unsafe_load(pointer)
    release_children(schema.children, schema.n_children)
    Libc.free(Ptr{Cvoid}(schema.format))
    Libc.free(Ptr{Cvoid}(schema.name))
    unsafe_store!(pointer, LibMetaxy.ArrowSchema())
    return nothing
end

function release_array(pointer::Ptr{LibMetaxy.ArrowArray})::Cvoid
    array = unsafe_load(pointer)
    release_children(array.children, array.n_children)
    for index in 1:array.n_buffers
        Libc.free(unsafe_load(array.buffers, index))
    end
    Libc.free(array.buffers)
    unsafe_store!(pointer, LibMetaxy.ArrowArray())
    return nothing
end

function make_schema(format, name, children)
    return LibMetaxy.ArrowSchema(
        outside_text(format),
        outside_text(name),
        C_NULL,
        LibMetaxy.ARROW_FLAG_NULLABLE,
        length(children),
        outside(Ptr{LibMetaxy.ArrowSchema}[outside([child]) for child in children]),
        C_NULL,
        @cfunction(release_schema, Cvoid, (Ptr{LibMetaxy.ArrowSchema},)),
        C_NULL,
    )
end

function make_array(count, nulls, buffers, children)
    return LibMetaxy.ArrowArray(
        count,
        nulls,
        0,
        length(buffers),
        length(children),
        outside(Ptr{Cvoid}[buffers...]),
        outside(Ptr{LibMetaxy.ArrowArray}[outside([child]) for child in children]),
        C_NULL,
        @cfunction(release_array, Cvoid, (Ptr{LibMetaxy.ArrowArray},)),
        C_NULL,
    )
end

"""A vector as the pair of its schema and its array."""
function exported(name, given::AbstractVector)
    values = isconcretetype(nonmissingtype(eltype(given))) ? given : identity.(given)
    T = nonmissingtype(eltype(values))
    count, nulls = length(values), sum(ismissing, values; init = 0)
    valid() = nulls == 0 ? C_NULL : bitmap(.!ismissing.(values))
    flat(format, buffers...) =
        (make_schema(format, name, []), make_array(count, nulls, Ptr{Cvoid}[valid(), outside.(buffers)...], []))

    if T === Bool
        bits = bitmap([value === true for value in values])
        return (make_schema("b", name, []), make_array(count, nulls, Ptr{Cvoid}[valid(), bits], []))
    elseif T in Base.values(NUMBERS)
        format = only(key for (key, type) in NUMBERS if type === T)
        return flat(format, T[coalesce(value, zero(T)) for value in values])
    elseif T === Date
        days = [ismissing(value) ? 0 : Dates.value(value - Date(1970)) for value in values]
        return flat("tdD", Int32.(days))
    elseif T === DateTime
        return flat("tsm:", Int64[ismissing(value) ? 0 : Dates.value(value - DateTime(1970)) for value in values])
    elseif T === Timestamp
        kinds = unique((value.unit, value.zone) for value in skipmissing(values))
        length(kinds) <= 1 || throw(ArgumentError("column $name: its times have several units or zones"))
        unit, zone = isempty(kinds) ? ('u', "UTC") : only(kinds)
        return flat("ts$unit:$zone", Int64[ismissing(value) ? 0 : value.ticks for value in values])
    elseif T <: AbstractString
        stored = String[coalesce(value, "") for value in values]
        at = Int64[0; cumsum(Int64.(sizeof.(stored)))]
        return flat("U", at, codeunits(join(stored)))
    elseif T <: NamedTuple
        members = [
            exported(string(member), [ismissing(value) ? missing : value[member] for value in values]) for
            member in fieldnames(T)
        ]
        return (make_schema("+s", name, first.(members)), make_array(count, nulls, Ptr{Cvoid}[valid()], last.(members)))
    elseif T <: AbstractVector
        stored = [ismissing(value) ? eltype(T)[] : value for value in values]
        at = Int64[0; cumsum(Int64.(length.(stored)))]
        schema, items = exported("item", isempty(stored) ? eltype(T)[] : reduce(vcat, stored))
        return (make_schema("+L", name, [schema]), make_array(count, nulls, Ptr{Cvoid}[valid(), outside(at)], [items]))
    elseif T === Union{}
        return (make_schema("n", name, []), make_array(count, count, Ptr{Cvoid}[], []))
    end
    throw(ArgumentError("column $name: this package cannot hand out values of type $T"))
end

function bitmap(bits)
    bytes = zeros(UInt8, cld(length(bits), 8))
    for (index, set) in enumerate(bits)
        set && (bytes[(index-1)÷8+1] |= 0x01 << ((index - 1) % 8))
    end
    return outside(bytes)
end

"""A NamedTuple of columns as the pair of a schema and an array of rows."""
function exported_rows(rows::NamedTuple)
    lengths = unique(length.(values(rows)))
    length(lengths) == 1 || throw(ArgumentError("the columns $(join(keys(rows), ", ")) have several lengths: $lengths"))
    members = [exported(string(name), column) for (name, column) in pairs(rows)]
    return (make_schema("+s", "", first.(members)), make_array(only(lengths), 0, Ptr{Cvoid}[C_NULL], last.(members)))
end

"""How the arrays of a schema are laid out, which they do not say themselves."""
struct Layout
    name::String
    format::String
    members::Vector{Layout}
end

function Layout(schema::LibMetaxy.ArrowSchema)
    members = Layout[Layout(unsafe_load(unsafe_load(schema.children, index))) for index in 1:schema.n_children]
    return Layout(unsafe_string(schema.name), unsafe_string(schema.format), members)
end

"""Throws unless an array of the layout `found` may follow one of the layout `first`."""
function check_same(first::Layout, found::Layout, column = "")
    if first.format != found.format
        formats = "a batch has the Arrow format \"$(found.format)\", but the first one had \"$(first.format)\""
        throw(ArgumentError("column $column: $formats"))
    end
    names(layout) = join((member.name for member in layout.members), ", ")
    if names(first) != names(found)
        place = isempty(column) ? "" : "column $column: "
        throw(ArgumentError("$(place)a batch has the columns $(names(found)), but the first one had $(names(first))"))
    end
    for (before, now) in zip(first.members, found.members)
        check_same(before, now, isempty(column) ? now.name : "$column.$(now.name)")
    end
    return nothing
end

"""Calls `use` with the places of a schema and an array; the schema is released afterwards, and so is an array not taken."""
function lend(use, rows::NamedTuple)
    schema, array = Ref.(exported_rows(rows))
    try
        return use(schema, array)
    finally
        GC.@preserve schema array begin
            release_schema(Base.unsafe_convert(Ptr{LibMetaxy.ArrowSchema}, schema))
            array[].release == C_NULL || release_array(Base.unsafe_convert(Ptr{LibMetaxy.ArrowArray}, array))
        end
    end
end
