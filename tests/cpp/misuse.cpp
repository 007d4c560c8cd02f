/*
 * What goes wrong ends in an exception, and never in a crash.
 */
#include "check.hpp"

#include <atomic>
#include <thread>

struct Oops : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <class Call>
static bool oops(Call call) {
    try {
        call();
    } catch (const Oops &) {
        return true;
    }
    return false;
}

static void errors_say_what_is_wrong() {
    const metaxy::Store store = ::store();
    try {
        store.write("sample", rows::Table().numbers("id", {1}).batch());
        CHECK(!"a write without the column of provenance");
    } catch (const metaxy::Error &error) {
        CHECK(error.status() == METAXY_SCHEMA_MISMATCH && std::string_view(error.status_name()) == "METAXY_SCHEMA_MISMATCH");
        CHECK(!error.retryable() && error.detail("feature") == "sample" && !error.detail("nothing"));
        CHECK(!error.details().empty() && error.causes().size() < 10);
        const metaxy::Error copy = error;
        CHECK(std::string_view(copy.what()) == error.what() && &copy.details() == &error.details());
    }
    CHECK(contains(THROWS(METAXY_NOT_FOUND, store.read("other")), "other"));
    CHECK(contains(THROWS(METAXY_INVALID_ARGUMENT, metaxy::Options{{"mod", "read"}}), "mode"));
    CHECK(contains(THROWS(METAXY_INVALID_ARGUMENT, store.read(std::string_view("sample\0x", 8))), "NUL"));
    CHECK(contains(THROWS(METAXY_INVALID_ARGUMENT, store.define("{")), "JSON"));
    THROWS(METAXY_INVALID_ARGUMENT, metaxy::Context().timeout(std::chrono::milliseconds(-1)));
    THROWS(METAXY_NOT_FOUND, metaxy::Config::load("/nowhere/metaxy.toml"));
}

template <class T>
static T gone(T &object) {
    return T(std::move(object));
}

static void use_after_move() {
    metaxy::Store store = ::store();
    metaxy::Store kept = gone(store);
    THROWS(METAXY_INVALID_HANDLE, store.read("sample"));
    THROWS(METAXY_INVALID_HANDLE, store.write("sample", batch({"a"})));
    THROWS(METAXY_INVALID_HANDLE, store.close());
    THROWS(METAXY_INVALID_HANDLE, store.display());
    THROWS(METAXY_INVALID_HANDLE, metaxy::Store::open_chain("memory://", {store}));
    THROWS(METAXY_INVALID_HANDLE, kept.copy_to(store, metaxy::every));
    store = std::move(kept);
    store.write("sample", batch({"a"}));

    metaxy::Options options;
    gone(options);
    THROWS(METAXY_INVALID_HANDLE, options.set("mode", "read"));
    THROWS(METAXY_INVALID_HANDLE, metaxy::Store::open("memory://", options));
    metaxy::Context context;
    gone(context);
    THROWS(METAXY_INVALID_HANDLE, context.cancel());
    THROWS(METAXY_INVALID_HANDLE, context.progress([](std::uint64_t, auto) {}));
    THROWS(METAXY_INVALID_HANDLE, store.read("sample", {}, context));
    metaxy::ReadRequest request;
    gone(request);
    THROWS(METAXY_INVALID_HANDLE, request.limit(1));
    THROWS(METAXY_INVALID_HANDLE, store.read("sample", request));
    metaxy::Graph graph = store.graph();
    const metaxy::Graph other = gone(graph);
    THROWS(METAXY_INVALID_HANDLE, graph.features());
    THROWS(METAXY_INVALID_HANDLE, other.difference(graph));
    THROWS(METAXY_INVALID_HANDLE, other.render("dot", graph));

    metaxy::IncrementRequest part;
    gone(part);
    THROWS(METAXY_INVALID_HANDLE, part.shard(0, 2));
    THROWS(METAXY_INVALID_HANDLE, store.resolve_update("sample", part));
    metaxy::Increment increment = store.resolve_update("sample", {}, store.read("sample"));
    const metaxy::Increment whole = gone(increment);
    THROWS(METAXY_INVALID_HANDLE, increment.counts());
    THROWS(METAXY_INVALID_HANDLE, increment.new_rows());
    CHECK(whole.counts().new_rows == 0);

    metaxy::Stream rows = store.read("sample");
    gone(rows);
    THROWS(METAXY_INVALID_HANDLE, rows.next());
    THROWS(METAXY_INVALID_HANDLE, rows.schema());
    THROWS(METAXY_INVALID_HANDLE, rows.served_by());
    THROWS(METAXY_INVALID_HANDLE, store.write("sample", std::move(rows)));
    std::vector<std::pair<std::string, metaxy::Stream>> many;
    many.emplace_back("sample", store.read("sample"));
    gone(many[0].second);
    THROWS(METAXY_INVALID_HANDLE, store.write_many(std::move(many)));
    ArrowArrayStream released{};
    THROWS(METAXY_INVALID_HANDLE, metaxy::Stream(&released));
    THROWS(METAXY_INVALID_HANDLE, store.write("sample", &released));

    metaxy::Batch moved = batch({"a"});
    gone(moved);
    THROWS(METAXY_INVALID_HANDLE, moved.rows());
    THROWS(METAXY_INVALID_HANDLE, moved.schema());
    THROWS(METAXY_INVALID_HANDLE, store.write("sample", std::move(moved)));
    metaxy::Schema schema = table({}).schema();
    metaxy::Writer writer = store.writer("sample", schema);
    metaxy::BufferedWriter buffer = store.buffered_writer("sample", schema);
    gone(schema);
    THROWS(METAXY_INVALID_HANDLE, schema.copy());
    THROWS(METAXY_INVALID_HANDLE, schema.names());
    THROWS(METAXY_INVALID_HANDLE, store.writer("sample", schema));
    gone(writer);
    THROWS(METAXY_INVALID_HANDLE, writer.push(batch({"a"})));
    THROWS(METAXY_INVALID_HANDLE, writer.commit());
    THROWS(METAXY_INVALID_HANDLE, writer.abort());
    gone(buffer);
    THROWS(METAXY_INVALID_HANDLE, buffer.push(batch({"a"})));
    THROWS(METAXY_INVALID_HANDLE, buffer.committed());
    THROWS(METAXY_INVALID_HANDLE, buffer.close());
}

static void use_after_the_end() {
    metaxy::Store store = ::store();
    store.write("sample", batch({"a", "b"}));
    metaxy::Stream rows = store.read("sample");
    metaxy::Writer writer = store.writer("sample", table({}).schema());
    store.close();
    store.close();
    THROWS(METAXY_INVALID_STATE, store.read("sample"));
    CHECK(rows.count() == 2);
    CHECK(!rows.next());
    writer.push(batch({"c"}));
    writer.commit();
    THROWS(METAXY_INVALID_STATE, writer.push(batch({"c"})));
    THROWS(METAXY_INVALID_STATE, writer.commit());

    /* C frees what C++ still has. */
    metaxy_store_free(store.get());
    THROWS(METAXY_INVALID_HANDLE, store.read("sample"));
}

static void ended_twice() {
    const metaxy::Store store = ::store();
    const metaxy::Schema schema = table({}).schema();
    metaxy::Writer given_up = store.writer("sample", schema);
    given_up.push(batch({"a"}));
    given_up.abort();
    given_up.abort();
    THROWS(METAXY_INVALID_STATE, given_up.push(batch({"a"})));
    THROWS(METAXY_INVALID_STATE, given_up.commit());
    CHECK(!store.has("sample"));
    metaxy::Writer committed = store.writer("sample", schema);
    committed.push(batch({"a"}));
    committed.commit();
    committed.abort();
    committed.abort();
    CHECK(store.read("sample").count() == 1);
    const metaxy::BufferedWriter buffer = store.buffered_writer("sample", schema);
    buffer.push(batch({"b"}));
    buffer.close();
    buffer.close();
    THROWS(METAXY_INVALID_STATE, buffer.push(batch({"b"})));
    CHECK(store.read("sample").count() == 2);
}

static void rows_of_another_shape() {
    const metaxy::Store store = ::store();
    metaxy::Writer writer = store.writer("sample", table({}).schema());
    THROWS(METAXY_SCHEMA_MISMATCH, writer.push(rows::Table().numbers("id", {1, 2, 3}).batch()));
    rows::Table renamed;
    renamed.text("id", {"a"}).numbers("bytes", {1}).members("metaxy_provenance_by_field", rows::Table().text("default", {"a"}));
    THROWS(METAXY_SCHEMA_MISMATCH, writer.push(renamed.batch()));
    writer.push(batch({"a"}));
    writer.commit();
    const metaxy::BufferedWriter buffer = store.buffered_writer("sample", table({}).schema());
    THROWS(METAXY_SCHEMA_MISMATCH, buffer.push(renamed.batch()));
    buffer.close();
    CHECK(store.read("sample").count() == 1);
}

static void a_callback_throws() {
    const metaxy::Store store = ::store();
    const auto failing = [](std::uint64_t, auto) { throw Oops("progress"); };
    metaxy::Context context;
    context.progress(failing);
    CHECK(oops([&] { store.write("sample", batch({"a"}), {}, context); }));
    CHECK(!context.completed());
    THROWS(METAXY_CANCELLED, store.has("sample", context)); /* it is told once */

    context = metaxy::Context();
    context.progress([](std::uint64_t, auto) { throw 7; });
    try {
        store.writer("sample", table({}).schema()).push(batch({"a"}), context);
        CHECK(!"it throws");
    } catch (int seven) {
        CHECK(seven == 7);
    }
    CHECK(!store.has("sample"));

    /* The total is known when all is written. */
    const auto late = [](std::uint64_t, std::optional<std::uint64_t> total) {
        if (total) throw Oops("late");
    };
    context = metaxy::Context();
    context.progress(late);
    CHECK(!context.completed());
    CHECK(oops([&] { store.write("sample", batch({"a"}), {}, context); }));
    CHECK(context.completed() && store.read("sample").count() == 1);
    THROWS(METAXY_CANCELLED, store.has("sample", context));
    context = metaxy::Context();
    context.progress(late);
    metaxy::Writer writer = store.writer("sample", table({}).schema());
    writer.push(batch({"b"}));
    CHECK(oops([&] { writer.commit(context); }));
    CHECK(context.completed() && store.read("sample").count() == 2);
}

/* The log is set by what it calls, while another thread waits for that to return. */
static void the_log_is_set_by_the_log() {
    std::atomic<bool> called{false}, busy{false};
    metaxy::set_log(METAXY_LOG_DEBUG, [&](std::int32_t, std::string_view) {
        if (called.exchange(true)) return;
        for (int turn = 0; turn < 5000 && !busy; turn++) {
            try {
                metaxy::set_log(METAXY_LOG_ERROR, {});
            } catch (const metaxy::Error &error) {
                busy = error.status() == METAXY_BUSY;
                CHECK(busy || error.status() == METAXY_REENTRANT);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    std::thread working([] { ::store().write("sample", batch({"a"})); });
    for (int turn = 0; turn < 10000 && !called; turn++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto silence = [] {
        try {
            metaxy::set_log(METAXY_LOG_ERROR, {});
            return true;
        } catch (const metaxy::Error &error) {
            CHECK(error.status() == METAXY_BUSY);
            return false;
        }
    };
    while (!silence()) std::this_thread::yield();
    working.join();
    CHECK(busy);
}

/* A stream of the library, each pull of which pulls `joined`. */
static metaxy::Stream children(const metaxy::Store &store, std::function<std::optional<metaxy::Batch>()> joined) {
    store.define(R"({"feature_spec": {"key": "child", "id_columns": ["id"], "deps": [{"feature": "sample"}],
                     "fields": [{"key": "default"}]}, "project": "tests"})");
    metaxy::Schema schema = rows::Table()
                                .text("id", {})
                                .members("metaxy_data_version_by_field__sample", rows::Table().text("default", {}))
                                .schema();
    return store.compute_provenance("child", metaxy::Stream::from(std::move(schema), std::move(joined)));
}

static void a_source_throws() {
    const metaxy::Store store = ::store();
    int made = 0;
    const auto failing = [&made]() -> std::optional<metaxy::Batch> {
        if (made++ == 2) throw Oops("source");
        return batch({std::to_string(made)});
    };
    const metaxy::Schema schema = table({}).schema();
    CHECK(oops([&] { store.write("sample", metaxy::Stream::from(schema.copy(), failing)); }));
    made = 0;
    CHECK(oops([&] { metaxy::Stream::from(schema.copy(), failing).count(); }));
    made = 0;
    std::vector<std::pair<std::string, metaxy::Stream>> many;
    many.emplace_back("sample", metaxy::Stream::from(schema.copy(), failing));
    CHECK(oops([&] { store.write_many(std::move(many)); }));
    made = 0;
    CHECK(oops([&] { store.resolve_update("sample", {}, metaxy::Stream::from(schema.copy(), failing)); }));
    metaxy::Stream completed = children(store, []() -> std::optional<metaxy::Batch> { throw Oops("joined"); });
    CHECK(oops([&] { completed.next(); }));
    /* Something that is no std::exception. */
    try {
        store.write("sample", metaxy::Stream::from(schema.copy(), []() -> std::optional<metaxy::Batch> { throw 7; }));
        CHECK(!"it throws");
    } catch (int seven) {
        CHECK(seven == 7);
    }
    THROWS(METAXY_SCHEMA_MISMATCH, store.write("sample", metaxy::Stream::from(schema.copy(), [] {
               return std::optional<metaxy::Batch>(rows::Table().numbers("id", {1}).batch());
           })));
    THROWS(METAXY_INVALID_HANDLE, store.write("sample", metaxy::Stream::from(schema.copy(), [] {
               metaxy::Batch empty = batch({"a"});
               gone(empty);
               return std::optional<metaxy::Batch>(std::move(empty));
           })));
    THROWS(METAXY_INVALID_ARGUMENT, metaxy::Stream::from(schema.copy(), {}));
    CHECK(!store.has("sample"));
}

/* A stream of some other library, which fails with or without a text. */
static ArrowArrayStream foreign(const char *text) {
    ArrowArrayStream stream{};
    stream.get_schema = [](ArrowArrayStream *, ArrowSchema *out) {
        *out = table({}).schema().release();
        return 0;
    };
    stream.get_next = [](ArrowArrayStream *, ArrowArray *) { return EIO; };
    stream.get_last_error = [](ArrowArrayStream *self) { return static_cast<const char *>(self->private_data); };
    stream.release = [](ArrowArrayStream *self) { self->release = nullptr; };
    stream.private_data = const_cast<char *>(text);
    return stream;
}

static void a_foreign_stream_fails() {
    const metaxy::Store store = ::store();
    for (const char *text : {"the disk is gone", static_cast<const char *>(nullptr)}) {
        ArrowArrayStream stream = foreign(text);
        CHECK(contains(THROWS(METAXY_IO, store.write("sample", &stream)), text ? text : ""));
        CHECK(!stream.release);
        stream = foreign(text);
        CHECK(contains(THROWS(METAXY_IO, metaxy::Stream(&stream).next()), text ? text : "Input/output"));
    }
    CHECK(!store.has("sample"));
}

static void pulled_by_two_threads() {
    const metaxy::Store store = ::store();
    std::atomic<bool> pulling{false}, refused{false};
    metaxy::Stream rows = children(store, [&]() -> std::optional<metaxy::Batch> {
        pulling = true;
        while (!refused) std::this_thread::yield();
        return std::nullopt;
    });
    rows.schema();
    std::thread first([&] { CHECK(!rows.next()); });
    while (!pulling) std::this_thread::yield();
    CHECK(contains(THROWS(METAXY_BUSY, rows.next()), "one thread at a time"));
    try {
        rows.next();
    } catch (const metaxy::Error &busy) {
        CHECK(busy.retryable());
    }
    refused = true;
    first.join();
    CHECK(!rows.next());
}

static void closed_by_another_thread() {
    for (int turn = 0; turn < 20; turn++) {
        const metaxy::Store store = ::store();
        store.write("sample", batch({"a", "b", "c"}));
        std::atomic<bool> begun{false};
        std::thread reader([&] {
            try {
                while (true) {
                    CHECK(store.read("sample", metaxy::ReadRequest().batch_rows(1)).count() == 3);
                    begun = true;
                }
            } catch (const metaxy::Error &error) {
                CHECK(error.status() == METAXY_INVALID_STATE);
                begun = true;
            }
        });
        while (!begun) std::this_thread::yield();
        store.close();
        reader.join();
    }
}

static void cancelled_by_another_thread() {
    const metaxy::Store store = ::store();
    const metaxy::Context context;
    std::thread canceller([&] { context.cancel(); });
    /* The source gives rows for ever, until the write is cancelled. */
    THROWS(METAXY_CANCELLED, store.write("sample", metaxy::Stream::from(table({}).schema(), [n = 0]() mutable {
               return std::optional<metaxy::Batch>(batch({std::to_string(n++)}));
           }), {}, context));
    canceller.join();
}

int main() {
    errors_say_what_is_wrong();
    use_after_move();
    use_after_the_end();
    ended_twice();
    rows_of_another_shape();
    a_callback_throws();
    the_log_is_set_by_the_log();
    a_source_throws();
    a_foreign_stream_fails();
    pulled_by_two_threads();
    closed_by_another_thread();
    cancelled_by_another_thread();
    return done();
}
