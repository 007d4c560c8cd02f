/*
 * Every class of metaxy.hpp in use.
 */
#include "check.hpp"

#include <algorithm>
#include <set>
#include <type_traits>

#if __cplusplus >= 202002L && !defined(__clang__)
#include <ranges>
static_assert(std::ranges::input_range<metaxy::Stream>);
#endif

template <class T>
constexpr bool moves_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                            !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(moves_only<metaxy::Store> && moves_only<metaxy::Writer> && moves_only<metaxy::Options>);
static_assert(moves_only<metaxy::Stream> && moves_only<metaxy::Schema> && moves_only<metaxy::Batch>);
static_assert(moves_only<metaxy::Context> && moves_only<metaxy::ReadRequest> && moves_only<metaxy::Config>);
static_assert(moves_only<metaxy::BufferedWriter> && moves_only<metaxy::Graph> && moves_only<metaxy::Increment>);
static_assert(std::is_nothrow_copy_constructible_v<metaxy::Error>);

static std::set<std::string> ids(metaxy::Stream stream) {
    std::set<std::string> ids;
    for (const auto &batch : stream)
        for (std::int64_t row = 0; row < batch.rows(); row++) ids.emplace(rows::text(batch, "id", row));
    return ids;
}

static void rows_in_and_out() {
    const metaxy::Store store = ::store();
    CHECK(!store.has("sample"));
    store.write("sample", batch({"a", "b", "c"}));
    CHECK(store.has("sample"));
    CHECK((ids(store.read("sample")) == std::set<std::string>{"a", "b", "c"}));

    /* Not every view ends with NUL. */
    const std::string_view longer = "samples";
    CHECK(store.read(longer.substr(0, 6)).count() == 3);

    int batches = 0;
    for (auto &batch : store.read("sample", metaxy::ReadRequest().columns({"size", "id"}).batch_rows(1))) {
        CHECK((batch.schema().names() == std::vector<std::string>{"size", "id"}));
        CHECK(batch.rows() == 1 && rows::number(batch, "size", 0) == 10);
        ArrowArray given = batch.release();
        CHECK(given.length == 1 && given.release);
        given.release(&given);
        batches++;
    }
    CHECK(batches == 3);

    metaxy::ReadRequest request;
    request.columns(std::vector<std::string>{"id"}).columns(metaxy::every).filter("id <> 'a'").limit(1).limit({});
    request.feature_history().feature_history(false).sample_history().deleted().fallback(false).feature_version({});
    CHECK((ids(store.read("sample", request)) == std::set<std::string>{"b", "c"}));
    CHECK(ids(store.read("sample", metaxy::ReadRequest().columns(metaxy::Names{}))).empty() == false);
}

static void streams() {
    const metaxy::Store store = ::store();
    int made = 0;
    store.write("sample", metaxy::Stream::from(table({}).schema(), [&made]() -> std::optional<metaxy::Batch> {
                    if (made == 3) return std::nullopt;
                    return batch({std::to_string(made++)});
                }));
    CHECK(store.read("sample").count() == 3);

    /* From store to store, and by way of C. */
    const metaxy::Store other = ::store();
    metaxy::ReadRequest columns;
    columns.columns({"id", "size", "metaxy_provenance_by_field"});
    ArrowArrayStream raw = store.read("sample", columns).release();
    other.write("sample", &raw);
    CHECK(!raw.release);
    other.write("sample", store.read("sample", columns));
    CHECK(other.read("sample").count() == 3);

    metaxy::Stream rows = other.read("sample");
    CHECK(rows.served_by().count() == 1);
    metaxy::Stream moved = std::move(rows);
    CHECK(moved.count() == 3);
    CHECK(!moved.next());

    /* A schema with everything that one may have. */
    const metaxy::Schema schema = store.describe("sample").schema().copy().copy();
    CHECK(schema.index("columns") && !schema.index("nothing"));
    ArrowSchema member = *schema.get()->children[0];
    CHECK(member.release);
}

static void writers() {
    const metaxy::Store store = ::store();
    const metaxy::Schema schema = table({}).schema();
    metaxy::Writer writer = store.writer("sample", schema);
    writer.push(batch({"a"}));
    metaxy::Writer moved = std::move(writer);
    moved.push(batch({"b"}));
    CHECK(THROWS(METAXY_NOT_FOUND, store.read("sample")) != "");
    moved.commit();
    CHECK(store.read("sample").count() == 2);

    metaxy::Writer given_up = store.writer("sample", schema);
    given_up.push(batch({"c"}));
    given_up.abort();

    const metaxy::BufferedWriter buffer = store.buffered_writer("sample", schema, metaxy::Options{{"buffer.rows", "2"}});
    buffer.push(batch({"d"}));
    const std::uint64_t ticket = buffer.push(batch({"e"}));
    buffer.wait(ticket);
    CHECK(buffer.committed() == ticket);
    buffer.push(batch({"f"}));
    buffer.flush();
    buffer.close();
    buffer.close();
    CHECK(store.read("sample").count() == 5);

    std::vector<std::pair<std::string, metaxy::Stream>> many;
    store.define(R"({"feature_spec": {"key": "other", "id_columns": ["id"], "fields": [{"key": "default"}]}, "project": "tests"})");
    for (const char *feature : {"sample", "other"})
        many.emplace_back(feature, metaxy::Stream::from(table({}).schema(), [once = false]() mutable {
            return std::exchange(once, true) ? std::nullopt : std::optional<metaxy::Batch>(batch({"many"}));
        }));
    store.write_many(std::move(many));
    CHECK(store.read("other").count() == 1);

    CHECK(store.delete_samples("sample", metaxy::ReadRequest().filter("id = 'many'")) == 1);
    CHECK(store.drop("other"));
    CHECK(!store.drop("other"));
}

static void definitions() {
    const metaxy::Store store = ::store();
    CHECK(store.features().count() == 1);
    CHECK(store.push().count() == 1);
    CHECK(store.push("tests", R"({"commit": "1f2e"})").count() == 1);
    const metaxy::Store reader = metaxy::Store::open_chain("memory://", {store});
    metaxy::Pushed pushed;
    pushed.project = "tests";
    pushed.features = {"sample"};
    CHECK(reader.load(pushed).count() == 1);

    const metaxy::Graph graph = reader.graph(), old = store.pushed_graph();
    CHECK(graph.features().count() == 1 && graph.dependencies().count() == 0);
    CHECK(old.difference(graph).count() == 0);
    CHECK(contains(graph.render("mermaid"), "sample") && contains(graph.render("dot", old), "sample"));
    CHECK(contains(metaxy::Graph(graph.json()).json(), "sample"));
    CHECK(metaxy::Graph(sample, metaxy::Options{{"project", "tests"}}).features().count() == 1);
}

static metaxy::Stream stream_of(metaxy::Batch batch) {
    auto rest = std::make_shared<std::optional<metaxy::Batch>>(std::move(batch));
    return metaxy::Stream::from((*rest)->schema().copy(), [rest] { return std::exchange(*rest, std::nullopt); });
}

static void increments() {
    const metaxy::Store store = metaxy::Store::open("memory://", metaxy::Options{{"project", "tests"}});
    store.define(sample);
    store.define(R"({"key": "child", "id_columns": ["id"], "deps": [{"feature": "sample", "select": ["size"]}],
                     "fields": [{"key": "default"}]})");
    const metaxy::Increment found = store.resolve_update("sample", {}, stream_of(batch({"a", "b", "c"})));
    CHECK(found.counts().new_rows == 3 && found.counts().stale == 0 && found.counts().orphaned == 0);
    store.write("sample", found.new_rows());
    CHECK(store.resolve_update("sample", {}, stream_of(batch({"a", "b"}))).orphaned().count() == 1);

    metaxy::Increment todo = store.resolve_update("child");
    CHECK(todo.input_progress() == 0.0 && !found.input_progress());
    CHECK(todo.served_by().count() >= 1 && todo.new_rows().count() == 3 && todo.new_rows().count() == 3);
    CHECK((ids(todo.new_rows()) == std::set<std::string>{"a", "b", "c"}));
    store.write("child", todo.new_rows());
    todo = store.resolve_update("child");
    CHECK(todo.new_rows().count() == 0 && todo.stale().count() == 0 && todo.input_progress() == 100.0);

    metaxy::IncrementRequest request;
    request.staleness_predicate("id = 'a'").target_filter("size = 10").filter("size > 0").filter("sample", "id <> 'b'");
    request.batch_rows(1).shard(0, 1);
    CHECK((ids(store.resolve_update("child", request).stale()) == std::set<std::string>{"a"}));
    CHECK(store.resolve_update("child", metaxy::IncrementRequest().skip_comparison()).counts().new_rows == 3);

    rows::Table joined;
    joined.text("id", {"x"}).members("metaxy_data_version_by_field__sample", rows::Table().text("default", {"v"}));
    metaxy::Stream completed = store.compute_provenance("child", stream_of(joined.batch()));
    CHECK(completed.schema().index("metaxy_provenance") && completed.count() == 1);
}

static void stores() {
    const metaxy::Options options{{"name", "prod"}};
    const metaxy::Store prod = metaxy::Store::open("memory://", options);
    prod.define(sample);
    prod.write("sample", batch({"a", "b"}), metaxy::Options{{"materialization_id", "run 1"}});
    CHECK(prod.display() == "prod" || contains(prod.display(), "prod"));
    CHECK(prod.list().count() == 1 && prod.describe("sample").count() == 1);
    CHECK(prod.compact("sample").count() == 1 && prod.prune().count() == 1 && prod.purge().count() == 1);

    const metaxy::Store dev = metaxy::Store::open_chain("memory://", {prod});
    dev.define(sample);
    CHECK(dev.find("sample").count() == 2);
    CHECK(dev.read("sample").count() == 2);

    const metaxy::Store copy = ::store();
    CHECK(prod.copy_to(copy, {"sample"}).count() == 1);
    CHECK(prod.copy_to(copy, metaxy::every).count() == 1);
    CHECK(prod.copy_to(copy, metaxy::Names{}).count() == 0);
    CHECK(copy.read("sample").count() == 2);

    metaxy::Options given;
    given.set("mode", "read").unset("mode");
    CHECK(given.value("mode") == "write" && !given.value("name"));
    CHECK(metaxy::Options::list().count() > 10);
}

static void control() {
    const metaxy::Store store = ::store();
    std::uint64_t told = 0;
    metaxy::Context context;
    context.timeout(std::chrono::seconds(60)).progress([&told](std::uint64_t rows, auto) { told = std::max(told, rows); });
    store.write("sample", batch({"a", "b"}), {}, context);
    CHECK(told == 2);
    const metaxy::Store other = ::store();
    told = 0;
    store.copy_to(other, metaxy::every, {}, {}, context);
    CHECK(told == 2);
    /* One that comes late finds nothing. */
    void *number = context.told()->user_data();
    context.progress({});
    metaxy::detail::Told::callback(7, -1, number);
    CHECK(told == 2);
    context.cancel();
    CHECK(THROWS(METAXY_CANCELLED, store.has("sample", context)) != "");
}

static void the_library() {
    CHECK(metaxy::version() == METAXY_VERSION_STRING && metaxy::version_number() == METAXY_VERSION_NUMBER);
    CHECK(metaxy::is_compatible());
    for (const auto &[status, name] : metaxy::statuses()) CHECK(metaxy::Error(status, "").status_name() == name);
    std::mutex mutex;
    int heard = 0;
    metaxy::set_log(METAXY_LOG_DEBUG, [&](std::int32_t, std::string_view message) {
        const std::lock_guard<std::mutex> guard(mutex);
        heard += !message.empty();
        throw 1; /* is dropped */
    });
    const metaxy::Store store = ::store();
    store.write("sample", batch({"a"}));
    CHECK(store.read("sample").count() == 1);
    metaxy::set_log(METAXY_LOG_ERROR, [](std::int32_t, std::string_view) {});
    metaxy::set_log(METAXY_LOG_ERROR, {});
    CHECK(heard > 0);
}

int main() {
    rows_in_and_out();
    streams();
    writers();
    definitions();
    increments();
    stores();
    control();
    the_library();
    return done();
}
