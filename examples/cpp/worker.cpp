/*
 * A worker of a pipeline: asks what there is to do for a feature, does it, and shows how far it has got. Several workers,
 * on as many machines, divide the samples among them and need not know of each other.
 *
 *   worker [DIRECTORY]      the directory is made when absent; ./metadata by default
 *
 * The feature "example/video" is what a scan of the disk found; "example/thumbnail" is what the workers make of it.
 */
#include "rows.hpp"

#include <iostream>
#include <unistd.h>

constexpr std::string_view features = R"([
    {"key": "example/video", "id_columns": ["id"], "fields": [{"key": "frames"}]},
    {"key": "example/thumbnail", "id_columns": ["id"],
     "deps": [{"feature": "example/video", "select": ["path"]}],
     "fields": [{"key": "image", "code_version": "1"}]}])";

/* What a scan of the disk finds: a file for each name, whose frames are of some cut. */
static metaxy::Batch scan(int first, int last, const std::string &cut_of_the_first) {
    std::vector<std::string> ids, paths, frames;
    for (int i = first; i <= last; i++) {
        ids.push_back("video-" + std::to_string(i));
        paths.push_back("/videos/" + ids.back() + ".mp4");
        frames.push_back(i == first ? cut_of_the_first : "cut 1");
    }
    rows::Table table;
    table.text("id", ids).text("path", paths);
    table.members("metaxy_provenance_by_field", rows::Table().text("frames", frames));
    return table.batch();
}

/* A stream of one batch. */
static metaxy::Stream stream_of(metaxy::Batch batch) {
    auto rest = std::make_shared<std::optional<metaxy::Batch>>(std::move(batch));
    return metaxy::Stream::from((*rest)->schema().copy(), [rest] { return std::exchange(*rest, std::nullopt); });
}

/* A bar on the terminal, if there is one, which a progress callback moves. */
class Bar {
public:
    explicit Bar(std::uint64_t total) : total_(total), drawn_(total > 0 && isatty(STDERR_FILENO)) {}
    ~Bar() {
        if (drawn_) std::cerr << '\n';
    }

    void operator()(std::uint64_t done) const {
        if (!drawn_) return;
        const std::size_t width = 40, full = std::size_t(width * done / total_);
        std::cerr << "\r[" << std::string(full, '#') << std::string(width - full, '.') << "] " << done << '/' << total_;
    }

private:
    std::uint64_t total_;
    bool drawn_;
};

/* The work itself: the size of a thumbnail, were one made. */
static std::int64_t thumbnail(std::string_view path) { return 1000 + std::int64_t(path.size()); }

/* Deletes what is there of samples that are gone. */
static void forget(const metaxy::Store &store, std::string_view feature, metaxy::Stream orphaned) {
    for (const auto &batch : orphaned)
        for (std::int64_t row = 0; row < batch.rows(); row++)
            store.delete_samples(feature, metaxy::ReadRequest().filter("id = '" + std::string(rows::text(batch, "id", row)) + "'"));
}

static metaxy::Increment::Counts shown(const std::string &who, const metaxy::Increment &increment) {
    const metaxy::Increment::Counts counts = increment.counts();
    std::cout << who << ": " << counts.new_rows << " new, " << counts.stale << " stale, " << counts.orphaned
              << " orphaned\n";
    return counts;
}

/* Tells the store what a scan has found. */
static void take_in(const metaxy::Store &store, metaxy::Batch found) {
    const metaxy::Increment increment = store.resolve_update("example/video", {}, stream_of(std::move(found)));
    shown("videos", increment);
    store.write("example/video", increment.new_rows());
    store.write("example/video", increment.stale());
    forget(store, "example/video", increment.orphaned());
}

/* Does the work of one of `workers` workers. */
static void work(const metaxy::Store &store, int worker, int workers) {
    const metaxy::Increment increment =
        store.resolve_update("example/thumbnail", metaxy::IncrementRequest().shard(worker, workers).batch_rows(100));
    const auto counts = shown("worker " + std::to_string(worker), increment);

    const Bar bar(counts.new_rows + counts.stale);
    metaxy::Context context;
    context.progress([&bar](std::uint64_t rows, std::optional<std::uint64_t>) { bar(rows); });

    /* The rows come with their provenance; the results are one more column. All of them become visible at the commit. */
    std::optional<metaxy::Writer> writer;
    for (auto &part : {&metaxy::Increment::new_rows, &metaxy::Increment::stale}) {
        for (auto &batch : (increment.*part)({})) {
            std::vector<std::int64_t> bytes;
            for (std::int64_t row = 0; row < batch.rows(); row++)
                bytes.push_back(thumbnail(rows::text(batch, "path", row)));
            metaxy::Batch results = rows::extended(std::move(batch), rows::Table().numbers("bytes", bytes));
            if (!writer) writer = store.writer("example/thumbnail", results.schema());
            writer->push(std::move(results), context);
        }
    }
    if (writer) writer->commit(context);
    forget(store, "example/thumbnail", increment.orphaned());
}

int main(int argc, char **argv) try {
    const metaxy::Store store =
        metaxy::Store::open(argc > 1 ? argv[1] : "./metadata", metaxy::Options{{"project", "example"}});
    store.define(features);

    std::cout << "Monday: a thousand files\n";
    take_in(store, scan(1000, 1999, "cut 1"));
    for (int worker = 0; worker < 2; worker++) work(store, worker, 2);

    std::cout << "Tuesday: the first was cut anew, the last is gone\n";
    take_in(store, scan(1000, 1998, "cut 2"));
    for (int worker = 0; worker < 2; worker++) work(store, worker, 2);

    std::cout << "Once more: nothing is left to do\n";
    work(store, 0, 1);
    std::cout << store.read("example/thumbnail").count() << " thumbnails\n";
    return 0;
} catch (const metaxy::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
