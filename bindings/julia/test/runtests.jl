using Dates, Metaxy, Test
using Metaxy: Context, Store, Timestamp, cancel, counts, define, new_rows, resolve

const VIDEO = """{"key": "video", "id_columns": ["id"], "fields": [{"key": "frames"}]}"""
const THUMBNAIL = """
{"key": "thumbnail", "id_columns": ["id"], "deps": [{"feature": "video"}], "fields": [{"key": "default"}]}
"""

videos(range) = (id = ["video-$i" for i in range], metaxy_provenance_by_field = [(frames = "f-$i",) for i in range])
count_rows(rows) = sum(batch -> length(first(batch)), rows; init = 0)

function fails(use, name)
    try
        use()
    catch error
        return error isa MetaxyError && error.name == name
    end
    return false
end

# Each test has a store of its own, with both features defined.
function with_store(use)
    mktempdir() do directory
        Store(directory) do store
            define(store, "[$VIDEO, $THUMBNAIL]")
            use(store)
        end
    end
end

@testset "the constants and structs are those of this machine's C" begin
    @test Metaxy.LibMetaxy.metaxy_version_number() == Metaxy.LibMetaxy.METAXY_VERSION_NUMBER
    @test sizeof(Metaxy.LibMetaxy.ArrowSchema) == 72
    @test sizeof(Metaxy.LibMetaxy.ArrowArray) == 80
    @test sizeof(Metaxy.LibMetaxy.ArrowArrayStream) == 40
end

@testset "rows go in and come out" begin
    with_store() do store
        Metaxy.write(store, "video", videos(1:3))
        Metaxy.write(store, "video", [videos(4:6), videos(7:9)])
        Metaxy.write(store, "video", Metaxy.read(store, "video"; columns = ["id", "metaxy_provenance_by_field"]))
        @test count_rows(Metaxy.read(store, "video")) == 9
        @test count_rows(Metaxy.read(store, "video"; sample_history = true)) == 18
        batch = first(Metaxy.read(store, "video"; columns = ["id"], filters = "id = 'video-4'"))
        @test batch == (id = ["video-4"],)
        @test count_rows(Metaxy.read(store, "video"; batch_rows = 2, limit = 5)) == 5
    end
end

@testset "every type comes back as it was" begin
    with_store() do store
        columns = (
            id = ["a", "b", "c"],
            text = ["é", missing, ""],
            integer = [1, missing, typemin(Int64)],
            small = Int8[1, 2, 3],
            float = [1.5, missing, -Inf],
            flag = [true, missing, false],
            day = [Date(2024, 2, 29), missing, Date(1969, 12, 31)],
            time = [Timestamp(1, 'u', "UTC"), missing, Timestamp(-1, 'u', "UTC")],
            tags = [["x", "y"], missing, String[]],
            nested = [(a = 1, b = "x"), missing, (a = 2, b = "y")],
            metaxy_provenance_by_field = [(frames = "1",), (frames = "2",), (frames = "3",)],
        )
        Metaxy.write(store, "video", columns)
        found = first(Metaxy.read(store, "video"; columns = [string(name) for name in keys(columns)]))
        order = sortperm(found.id)
        for name in keys(columns)
            @test isequal(found[name][order], columns[name])
        end
    end
    @test DateTime(Timestamp(-1, 'u', "UTC")) == DateTime(1969, 12, 31, 23, 59, 59, 999)
    @test_throws ArgumentError Metaxy.exported("x", [1 + 2im])
end

@testset "an increment is divided and done" begin
    with_store() do store
        Metaxy.write(store, "video", videos(1:9))
        @test counts(resolve(store, "thumbnail")) == (new = 9, stale = 0, orphaned = 0)
        for share in 0:2
            Metaxy.write(store, "thumbnail", new_rows(resolve(store, "thumbnail"; shard = (share, 3))))
        end
        @test counts(resolve(store, "thumbnail")) == (new = 0, stale = 0, orphaned = 0)
    end
end

@testset "an error says what is wrong" begin
    error = try
        Store("memory://"; mod = "read")
    catch caught
        caught
    end
    @test error isa MetaxyError
    @test error.name == "METAXY_INVALID_ARGUMENT"
    @test error.details["option"] == "mod"
    @test occursin("nearest", sprint(showerror, error))
end

@testset "a closed store says so, and its rows go on" begin
    with_store() do store
        Metaxy.write(store, "video", videos(1:3))
        rows = Metaxy.read(store, "video")
        close(store)
        close(store)
        @test fails(() -> Metaxy.read(store, "video"), "METAXY_INVALID_STATE")
        @test count_rows(rows) == 3
        close(rows)
        close(rows)
        @test count_rows(rows) == 0
    end
end

@testset "a store may be closed while others read" begin
    with_store() do store
        Metaxy.write(store, "video", videos(1:1000))
        readers = [
            Threads.@spawn fails("METAXY_INVALID_STATE") do
                while true
                    count_rows(Metaxy.read(store, "video"; batch_rows = 10))
                end
            end for _ in 1:4
        ]
        sleep(0.1)
        close(store)
        @test all(fetch, readers)
    end
end

@testset "what a callback throws comes out of the call" begin
    with_store() do store
        context = Context(; progress = (rows, total) -> throw(DomainError(rows)))
        @test_throws DomainError Metaxy.write(store, "video", [videos(1:2), videos(3:4)]; context)
        @test fails(() -> Metaxy.read(store, "video"), "METAXY_NOT_FOUND")
    end
end

@testset "what a callback throws after the commit comes out, too" begin
    with_store() do store
        context = Context(; progress = (rows, total) -> total === nothing || throw(DomainError(rows)))
        @test_throws DomainError Metaxy.write(store, "video", videos(1:3); context)
        @test count_rows(Metaxy.read(store, "video")) == 3
    end
end

@testset "batches of several layouts are refused, and nothing is written" begin
    with_store() do store
        first = merge(videos(1:2), (x = [1, 2], y = [1.5, 2.5]))
        for second in [
            merge(videos(3:3), (x = [1.5], y = [1.5])),
            merge(videos(3:3), (y = [1.5], x = [1])),
            merge(videos(3:3), (x = [1],)),
            merge(first, (metaxy_provenance_by_field = [(audio = "f",), (audio = "f",)],)),
        ]
            @test_throws ArgumentError Metaxy.write(store, "video", [first, second])
        end
        @test fails(() -> Metaxy.read(store, "video"), "METAXY_NOT_FOUND")
        Metaxy.write(store, "video", [first, merge(videos(3:3), (x = [3], y = [missing, 3.5][2:2]))])
    end
end

@testset "a text that C would cut is refused" begin
    with_store() do store
        Metaxy.write(store, "video", videos(1:3))
        @test_throws ArgumentError Store("memory://\0x")
        @test_throws ArgumentError Metaxy.read(store, "video\0x")
        @test_throws ArgumentError Metaxy.read(store, "video"; columns = ["id\0x"])
        @test_throws ArgumentError Metaxy.read(store, "video"; filters = "id = 'a'\0")
    end
end

@testset "a call ends when it is cancelled" begin
    with_store() do store
        Metaxy.write(store, "video", videos(1:100))
        context = Context()
        rows = Metaxy.read(store, "video"; batch_rows = 10, context)
        cancel(context)
        @test fails(() -> count_rows(rows), "METAXY_CANCELLED")
    end
end

@testset "nothing is left" begin
    for _ in 1:10
        GC.gc()
    end
    @test Metaxy.LibMetaxy.metaxy_live_handles(Metaxy.LibMetaxy.METAXY_KIND_ANY) == 0
end
