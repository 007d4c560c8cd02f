/*
 * Local development falls back to staging, and staging to production: three stores, one chain.
 *
 *   chain [DIRECTORY]      holds prod, staging and dev; ./chain by default
 *
 * What a read gives depends on the option fallback.missing of the store that is read:
 *
 *   table   go on if there is no table here              (as Python Metaxy does)
 *   rows    go on if no row is current here              (the default)
 *   merge   always go on, for the ids that are not here
 */
#include "arrow_rows.h"
#include "metaxy.h"

static const char feature[] =
    "{\"feature_spec\": {\"key\": \"example/video\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"audio\"}]},"
    " \"project\": \"chain\"}";

/* Opens DIRECTORY/name; `below` is the store that it falls back to, NULL for none. */
static MetaxyStore *open_store(const char *directory, const char *name, const char *missing, const MetaxyStore *below,
                               MetaxyError **error) {
    char uri[4096];
    MetaxyOptions *options = NULL;
    MetaxyStore *store = NULL;
    snprintf(uri, sizeof uri, "%s/%s", directory, name);
    if (metaxy_options_new(&options, error) != METAXY_OK) return NULL;
    if (metaxy_options_set(options, "name", name, error) == METAXY_OK &&
        metaxy_options_set(options, "fallback.missing", missing, error) == METAXY_OK)
        metaxy_store_open_chain(uri, &below, below ? 1 : 0, options, NULL, &store, error);
    metaxy_options_free(options);
    if (store && metaxy_store_define(store, feature, error) != METAXY_OK) {
        metaxy_store_free(store);
        return NULL;
    }
    return store;
}

static int write_videos(const MetaxyStore *store, const char *const *ids, int64_t count, MetaxyError **error) {
    const ArrowColumn versions[] = {{.name = "audio", .text = ids}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 1},
    };
    struct ArrowArrayStream rows = arrow_rows(columns, 2, count);
    return metaxy_store_write(store, "example/video", &rows, NULL, NULL, error) == METAXY_OK;
}

/* Prints the ids that a read gives, and then which stores gave them. */
static int show(const char *title, const MetaxyStore *store, MetaxyError **error) {
    const char *id[] = {"id"};
    struct ArrowArrayStream rows = {0}, stores = {0};
    MetaxyReadRequest *request = NULL;
    int shown = 0;
    printf("-- %s\n", title);
    if (metaxy_read_request_new(&request, error) == METAXY_OK &&
        metaxy_read_request_set_columns(request, id, 1, error) == METAXY_OK &&
        metaxy_store_read(store, "example/video", request, NULL, &rows, error) == METAXY_OK &&
        metaxy_stream_served_by(&rows, &stores, error) == METAXY_OK)
        shown = arrow_rows_print(&rows) == 0 && arrow_rows_print_columns(&stores, "store", "outcome") == 0;
    if (rows.release) rows.release(&rows);
    if (stores.release) stores.release(&stores);
    metaxy_read_request_free(request);
    return shown;
}

int main(int argc, char **argv) {
    const char *directory = argc > 1 ? argv[1] : "./chain";
    const char *const published[] = {"credits", "intro"}, *const recut[] = {"intro", "outro"};
    static const char *const rules[] = {"table", "rows", "merge"};
    MetaxyError *error = NULL;
    MetaxyStore *prod = NULL, *staging = NULL, *dev = NULL;
    int failed = 1;

    if (!(prod = open_store(directory, "prod", "rows", NULL, &error))) goto done;
    if (!(staging = open_store(directory, "staging", "rows", prod, &error))) goto done;
    if (!write_videos(prod, published, 2, &error)) goto done;

    if (!(dev = open_store(directory, "dev", "rows", staging, &error))) goto done;
    if (!show("nothing but in production", dev, &error)) goto done;

    /* A table without rows; staging still has none. */
    if (!write_videos(dev, recut, 0, &error)) goto done;
    for (int rule = 0; rule < 3; rule++) {
        metaxy_store_free(dev);
        if (!(dev = open_store(directory, "dev", rules[rule], staging, &error))) goto done;
        char title[64];
        snprintf(title, sizeof title, "dev is empty, fallback.missing=%s", rules[rule]);
        if (!show(title, dev, &error)) goto done;
    }

    /* Freeing the handle of a fallback leaves the chain as it is. */
    metaxy_store_free(prod);
    prod = NULL;
    if (!write_videos(dev, recut, 2, &error)) goto done;
    for (int rule = 0; rule < 3; rule++) {
        metaxy_store_free(dev);
        if (!(dev = open_store(directory, "dev", rules[rule], staging, &error))) goto done;
        char title[64];
        snprintf(title, sizeof title, "dev has two rows, fallback.missing=%s", rules[rule]);
        if (!show(title, dev, &error)) goto done;
    }
    failed = 0;

done:
    if (error) fprintf(stderr, "%s\n", metaxy_error_message(error));
    metaxy_store_free(dev);
    metaxy_store_free(staging);
    metaxy_store_free(prod);
    metaxy_error_free(error);
    return failed;
}
