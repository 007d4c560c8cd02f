/* Deleting from C: what the calls take and give, and what they refuse. */
#include "sample.h"

static MetaxyReadRequest *samples(const char *filter) {
    MetaxyReadRequest *request = NULL;
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    if (filter) GIVES(METAXY_OK, metaxy_read_request_add_filter(request, filter, &error));
    return request;
}

static MetaxyOptions *option(const char *key, const char *value) {
    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, key, value, &error));
    return options;
}

static void soft_and_hard(void) {
    MetaxyStore *store = sample_store();
    MetaxyReadRequest *one = samples("id = 'a'");
    MetaxyOptions *hard = option("delete.mode", "hard"), *all = option("delete.all", "true");
    uint64_t deleted = 99;
    write_sample(store);

    GIVES(METAXY_OK, metaxy_store_delete(store, SAMPLE, one, NULL, NULL, &deleted, &error));
    CHECK(deleted == 1 && stored_rows(store) == SAMPLE_ROWS - 1);
    GIVES(METAXY_OK, metaxy_store_delete(store, SAMPLE, one, NULL, NULL, &deleted, &error));
    CHECK(deleted == 0);
    write_sample(store);
    CHECK(stored_rows(store) == SAMPLE_ROWS);

    /* Two rows and the tombstone between them. */
    GIVES(METAXY_OK, metaxy_store_delete(store, SAMPLE, one, hard, NULL, &deleted, &error));
    CHECK(deleted == 3 && stored_rows(store) == SAMPLE_ROWS - 1);

    GIVES(METAXY_OK, metaxy_store_delete(store, SAMPLE, NULL, all, NULL, &deleted, NULL));
    CHECK(deleted == SAMPLE_ROWS - 1 && stored_rows(store) == 0);

    metaxy_options_free(hard);
    metaxy_options_free(all);
    metaxy_read_request_free(one);
    metaxy_store_free(store);
}

static void refusals(void) {
    MetaxyStore *store = sample_store(), *freed = sample_store();
    MetaxyReadRequest *one = samples("id = 'a'"), *none = samples(NULL), *bad = samples("id >");
    MetaxyReadRequest *limited = samples("size > 0");
    MetaxyOptions *foreign = option("mode", "write"), *hard = option("delete.mode", "hard");
    MetaxyContext *cancelled = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_limit(limited, 1, &error));
    metaxy_store_free(freed);

    GIVES(METAXY_NOT_FOUND, metaxy_store_delete(store, SAMPLE, one, NULL, NULL, &(uint64_t){0}, &error));
    SAYS("no table");
    GIVES(METAXY_NOT_FOUND, metaxy_store_delete(store, SAMPLE, one, hard, NULL, &(uint64_t){0}, &error));
    SAYS("no table");
    write_sample(store);

    const struct {
        const MetaxyStore *store;
        const char *feature;
        const MetaxyReadRequest *request;
        const MetaxyOptions *options;
        const MetaxyContext *context;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, SAMPLE, one, NULL, NULL, METAXY_INVALID_HANDLE, "expected a MetaxyStore, found NULL"},
        {freed, SAMPLE, one, NULL, NULL, METAXY_INVALID_HANDLE, "already freed"},
        {store, NULL, one, NULL, NULL, METAXY_INVALID_ARGUMENT, "feature is NULL"},
        {store, "Sample", one, NULL, NULL, METAXY_INVALID_ARGUMENT, "'S'"},
        {store, "no/such", one, NULL, NULL, METAXY_NOT_FOUND, "no/such"},
        {store, "metaxy-system/feature_versions", one, NULL, NULL, METAXY_UNSUPPORTED, "Metaxy itself"},
        {store, SAMPLE, (const MetaxyReadRequest *)store, NULL, NULL, METAXY_INVALID_HANDLE,
         "expected a MetaxyReadRequest"},
        {store, SAMPLE, one, (const MetaxyOptions *)store, NULL, METAXY_INVALID_HANDLE, "expected a MetaxyOptions"},
        {store, SAMPLE, one, NULL, (const MetaxyContext *)store, METAXY_INVALID_HANDLE, "expected a MetaxyContext"},
        {store, SAMPLE, NULL, NULL, NULL, METAXY_INVALID_ARGUMENT, "delete.all=true"},
        {store, SAMPLE, none, hard, NULL, METAXY_INVALID_ARGUMENT, "delete.all=true"},
        {store, SAMPLE, bad, NULL, NULL, METAXY_INVALID_ARGUMENT, "id >"},
        {store, SAMPLE, limited, NULL, NULL, METAXY_INVALID_ARGUMENT, "limit"},
        {store, SAMPLE, one, foreign, NULL, METAXY_INVALID_ARGUMENT, "mode"},
        {store, SAMPLE, one, NULL, cancelled, METAXY_CANCELLED, "cancelled"},
        {store, SAMPLE, one, hard, cancelled, METAXY_CANCELLED, "cancelled"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        uint64_t deleted = 99;
        GIVES(calls[i].status, metaxy_store_delete(calls[i].store, calls[i].feature, calls[i].request, calls[i].options,
                                                   calls[i].context, &deleted, &error));
        SAYS(calls[i].says);
        CHECK(deleted == 0);
    }
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_delete(store, SAMPLE, one, NULL, NULL, NULL, &error));
    SAYS("deleted is NULL");
    CHECK(stored_rows(store) == SAMPLE_ROWS);

    metaxy_context_free(cancelled);
    metaxy_options_free(foreign);
    metaxy_options_free(hard);
    metaxy_read_request_free(one);
    metaxy_read_request_free(none);
    metaxy_read_request_free(bad);
    metaxy_read_request_free(limited);
    metaxy_store_free(store);
}

int main(void) {
    soft_and_hard();
    refusals();
    return done();
}
