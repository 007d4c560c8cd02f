# Arrow in: arrays of the Arrow C data interface as Julia's own vectors. Values are copied, so that an array can be
# released at once.

using Dates

"""A time as the store keeps it, which may be finer than a `DateTime`: `ticks` of `unit` ('s', 'm', 'u' or 'n') since 1970."""
struct Timestamp
    ticks::Int64
    unit::Char
    zone::String
end

const TICKS = Dict('s' => 1, 'm' => 1_000, 'u' => 1_000_000, 'n' => 1_000_000_000)

"""The time in UTC, to the millisecond."""
function Dates.DateTime(time::Timestamp)
    seconds, rest = fldmod(time.ticks, TICKS[time.unit])
    return unix2datetime(seconds) + Millisecond(fld(1000 * rest, TICKS[time.unit]))
end

const NUMBERS = Dict(
    "c" => Int8, "s" => Int16, "i" => Int32, "l" => Int64,
    "C" => UInt8, "S" => UInt16, "I" => UInt32, "L" => UInt64,
    "e" => Float16, "f" => Float32, "g" => Float64,
)

"""
A function of an array, a first row (from 0) and a number of rows, which gives these as a vector: of the values of an array
that is described by `schema`.
"""
function decoder(schema::LibMetaxy.ArrowSchema)
    format = unsafe_string(schema.format)
    children = [unsafe_load(unsafe_load(schema.children, index)) for index in 1:schema.n_children]
    if schema.dictionary != C_NULL
        values = decoder(unsafe_load(schema.dictionary))
        return (array, from, count) -> begin
            dictionary = unsafe_load(array.dictionary)
            known = values(dictionary, 0, dictionary.length)
            [ismissing(key) ? missing : known[key+1] for key in numbers(NUMBERS[format], array, from, count)]
        end
    elseif haskey(NUMBERS, format)
        return (array, from, count) -> numbers(NUMBERS[format], array, from, count)
    elseif format == "b"
        return (array, from, count) ->
            masked(array, from, [bit(buffer(array, 2), array.offset + from + row - 1) for row in 1:count])
    elseif format in ("u", "z")
        return (array, from, count) -> texts(Int32, array, from, count, format == "z")
    elseif format in ("U", "Z")
        return (array, from, count) -> texts(Int64, array, from, count, format == "Z")
    elseif format == "tdD"
        return (array, from, count) -> map(numbers(Int32, array, from, count)) do days
            ismissing(days) ? missing : Date(1970) + Day(days)
        end
    elseif startswith(format, "ts")
        unit, zone = format[3], String(format[5:end])
        return (array, from, count) -> map(numbers(Int64, array, from, count)) do ticks
            ismissing(ticks) ? missing : Timestamp(ticks, unit, zone)
        end
    elseif format == "+s"
        return structs(children)
    elseif format == "+l"
        return lists(Int32, decoder(only(children)))
    elseif format == "+L"
        return lists(Int64, decoder(only(children)))
    elseif format == "n"
        return (array, from, count) -> fill(missing, count)
    end
    throw(ArgumentError("column $(unsafe_string(schema.name)): the Arrow format \"$format\" is not known to this package"))
end

buffer(array, index) = unsafe_load(array.buffers, index)
bit(bits, index) = (unsafe_load(Ptr{UInt8}(bits), index ÷ 8 + 1) >> (index % 8)) & 0x01 == 0x01

"""The values, with `missing` where the array has nulls."""
function masked(array, from, values)
    (array.null_count == 0 || isempty(values) || buffer(array, 1) == C_NULL) && return values
    bits = buffer(array, 1)
    return [bit(bits, array.offset + from + row - 1) ? values[row] : missing for row in eachindex(values)]
end

function numbers(T, array, from, count)
    count == 0 && return T[]
    first = Ptr{T}(buffer(array, 2)) + (array.offset + from) * sizeof(T)
    return masked(array, from, copy(unsafe_wrap(Array, first, count)))
end

"""The ends of the values of rows, from that of the row before the first."""
function ends(Offset, array, from, count)
    count == 0 && return Int64[0]
    first = Ptr{Offset}(buffer(array, 2)) + (array.offset + from) * sizeof(Offset)
    return Int64.(unsafe_wrap(Array, first, count + 1))
end

function texts(Offset, array, from, count, binary)
    at = ends(Offset, array, from, count)
    bytes = Ptr{UInt8}(count == 0 ? C_NULL : buffer(array, 3))
    text(row) = at[row] == at[row+1] ? "" : unsafe_string(bytes + at[row], at[row+1] - at[row])
    values = [text(row) for row in 1:count]
    return masked(array, from, binary ? Vector{UInt8}.(codeunits.(values)) : values)
end

function lists(Offset, items)
    return (array, from, count) -> begin
        at = ends(Offset, array, from, count)
        child = unsafe_load(unsafe_load(array.children, 1))
        values = items(child, at[1], at[end] - at[1])
        masked(array, from, [values[at[row]-at[1]+1:at[row+1]-at[1]] for row in 1:count])
    end
end

function structs(children)
    names = Tuple(Symbol(unsafe_string(child.name)) for child in children)
    members = decoder.(children)
    return (array, from, count) -> begin
        columns = [
            member(unsafe_load(unsafe_load(array.children, index)), array.offset + from, count) for
            (index, member) in enumerate(members)
        ]
        masked(array, from, [NamedTuple{names}(Tuple(column[row] for column in columns)) for row in 1:count])
    end
end

"""A function of an array of rows that gives them as a NamedTuple of columns."""
function batches(schema::LibMetaxy.ArrowSchema)
    children = [unsafe_load(unsafe_load(schema.children, index)) for index in 1:schema.n_children]
    names = Tuple(Symbol(unsafe_string(child.name)) for child in children)
    members = decoder.(children)
    return array -> NamedTuple{names}(
        Tuple(
            member(unsafe_load(unsafe_load(array.children, index)), array.offset, array.length) for
            (index, member) in enumerate(members)
        ),
    )
end
