/*
 * The main job: open a store, define a feature, write rows, read the current ones back.
 *
 *   quickstart [DIRECTORY]      the directory is made when absent; ./metadata by default
 */
#include "rows.hpp"

#include <iostream>

/* A feature is a table: what identifies its rows, and the fields that rows carry versions of. */
constexpr std::string_view feature = R"({
    "feature_spec": {"key": "example/video", "id_columns": ["id"],
                     "fields": [{"key": "audio", "code_version": "1"}, {"key": "frames", "code_version": "1"}]},
    "project": "quickstart"})";

int main(int argc, char **argv) try {
    const metaxy::Store store = metaxy::Store::open(argc > 1 ? argv[1] : "./metadata");
    store.define(feature);

    /* Where each row came from, per field: any text that changes when the content does. */
    rows::Table versions;
    versions.text("audio", {"a-7f", "a-02", "a-c9"}).text("frames", {"f-11", "f-3e", "f-d0"});
    rows::Table videos;
    videos.text("id", {"credits", "intro", "interview"}).numbers("size", {48000, 1250000, 98304000});
    videos.members("metaxy_provenance_by_field", versions);
    store.write("example/video", videos.batch());

    /* A request may be used for many reads; without one, a read gives every column. */
    metaxy::ReadRequest request;
    request.columns({"id", "size", "metaxy_provenance"}).filter("size < 10000000");
    rows::print(std::cout, store.read("example/video", request));

    /* The same batch by batch. They are read while they are pulled. */
    std::int64_t bytes = 0;
    for (const auto &batch : store.read("example/video"))
        for (std::int64_t row = 0; row < batch.rows(); row++) bytes += rows::number(batch, "size", row);
    std::cout << bytes << " bytes in all, with the interview\n";
    return 0;
} catch (const metaxy::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
