/* Chains from C: handles of fallbacks come and go, served_by and find say the same, wrong arguments are told. */
#include "sample.h"

/* A store in memory with the feature, which falls back to others. */
static MetaxyStore *chain_of(const MetaxyStore *const *fallbacks, size_t count) {
    MetaxyStore *store = NULL, *defined = sample_store();
    GIVES(METAXY_OK, metaxy_store_open_chain("memory://", fallbacks, count, NULL, NULL, &store, &error));
    GIVES(METAXY_OK, metaxy_store_define(store,
        "{\"feature_spec\": {\"key\": \"sample\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"default\"}]},"
        " \"project\": \"tests\"}", &error));
    metaxy_store_free(defined);
    return store;
}

static void handles_come_and_go(void) {
    MetaxyStore *prod = sample_store();
    write_sample(prod);
    const MetaxyStore *one[] = {prod};
    MetaxyStore *staging = chain_of(one, 1);
    const MetaxyStore *two[] = {staging, prod};
    MetaxyStore *dev = chain_of(two, 2);
    GIVES(METAXY_OK, metaxy_store_close(prod, &error));
    metaxy_store_free(prod);
    metaxy_store_free(staging);
    CHECK(stored_rows(dev) == SAMPLE_ROWS);

    struct ArrowArrayStream rows = {0}, stores = {0};
    GIVES(METAXY_OK, metaxy_store_read(dev, SAMPLE, NULL, NULL, &rows, &error));
    GIVES(METAXY_OK, metaxy_store_find(dev, SAMPLE, NULL, NULL, &stores, &error));
    CHECK(count_rows(&stores) == 3);
    metaxy_store_free(dev);
    GIVES(METAXY_OK, metaxy_stream_served_by(&rows, &stores, &error));
    /* Only streams of rows come from stores. */
    struct ArrowArrayStream none = {0};
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_stream_served_by(&stores, &none, &error));
    CHECK(none.release == NULL);
    CHECK(count_rows(&stores) == 3);
    CHECK(count_rows(&rows) == SAMPLE_ROWS);
    GIVES(METAXY_INVALID_HANDLE, metaxy_stream_served_by(&rows, &none, &error));
}

static void wrong_arguments(void) {
    MetaxyStore *store = sample_store(), *other = (MetaxyStore *)&store;
    MetaxyStore *freed = sample_store();
    metaxy_store_free(freed);
    const MetaxyStore *stale[] = {store, freed}, *missing[] = {store, NULL};
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_open_chain("memory://", stale, 2, NULL, NULL, &other, &error));
    CHECK(other == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_open_chain("memory://", NULL, 1, NULL, NULL, &other, &error));
    SAYS("fallbacks");
    CHECK(metaxy_store_open_chain("memory://", missing, 2, NULL, NULL, &other, NULL) != METAXY_OK);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_open_chain(NULL, stale, 1, NULL, NULL, &other, &error));
    GIVES(METAXY_OK, metaxy_store_open_chain("memory://", NULL, 0, NULL, NULL, &other, &error));
    metaxy_store_free(other);

    struct ArrowArrayStream stores = {0};
    GIVES(METAXY_NOT_FOUND, metaxy_store_find(store, SAMPLE, NULL, NULL, &stores, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_find(store, NULL, NULL, NULL, &stores, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_find(store, SAMPLE, NULL, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_stream_served_by(NULL, &stores, &error));
    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    const MetaxyStore *closed[] = {store};
    GIVES(METAXY_INVALID_STATE, metaxy_store_open_chain("memory://", closed, 1, NULL, NULL, &other, &error));
    metaxy_store_free(store);
}

static void only_this_store(void) {
    MetaxyStore *prod = sample_store();
    write_sample(prod);
    const MetaxyStore *one[] = {prod};
    MetaxyStore *dev = chain_of(one, 1);
    MetaxyReadRequest *request = NULL;
    struct ArrowArrayStream rows = {0};
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_fallback(request, 0, &error));
    GIVES(METAXY_NOT_FOUND, metaxy_store_read(dev, SAMPLE, request, NULL, &rows, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_fallback(request, 1, &error));
    GIVES(METAXY_OK, metaxy_store_read(dev, SAMPLE, request, NULL, &rows, &error));
    CHECK(count_rows(&rows) == SAMPLE_ROWS);
    metaxy_read_request_free(request);
    metaxy_store_free(dev);
    metaxy_store_free(prod);
}

int main(void) {
    handles_come_and_go();
    wrong_arguments();
    only_this_store();
    return done();
}
