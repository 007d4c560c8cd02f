/* Dropping a feature: how often one likes, and only what may be dropped. */
#include "sample.h"

static MetaxyStatus drop(const MetaxyStore *store, const char *feature, int32_t *dropped) {
    return metaxy_store_drop(store, feature, NULL, NULL, dropped, &error);
}

int main(void) {
    MetaxyStore *store = sample_store();
    MetaxyContext *cancelled = NULL;
    MetaxyOptions *options = NULL;
    struct ArrowArrayStream rows = {0};
    int32_t dropped = 7;

    GIVES(METAXY_OK, drop(store, SAMPLE, &dropped));
    CHECK(dropped == 0);
    write_sample(store);
    GIVES(METAXY_OK, drop(store, SAMPLE, &dropped));
    CHECK(dropped == 1);
    GIVES(METAXY_NOT_FOUND, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    GIVES(METAXY_OK, drop(store, "never/defined", &dropped));
    CHECK(dropped == 0);

    write_sample(store);
    GIVES(METAXY_INVALID_ARGUMENT, drop(store, SAMPLE, NULL));
    dropped = 7;
    GIVES(METAXY_INVALID_ARGUMENT, drop(store, NULL, &dropped));
    CHECK(dropped == 0);
    GIVES(METAXY_INVALID_ARGUMENT, drop(store, "not a key", &dropped));
    GIVES(METAXY_INVALID_HANDLE, drop(NULL, SAMPLE, &dropped));
    GIVES(METAXY_UNSUPPORTED, drop(store, "metaxy-system/feature_versions", &dropped));
    SAYS("table of Metaxy itself");
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    GIVES(METAXY_CANCELLED, metaxy_store_drop(store, SAMPLE, NULL, cancelled, &dropped, &error));
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "write.duplicates", "last", &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_drop(store, SAMPLE, options, NULL, &dropped, &error));
    CHECK(stored_rows(store) == SAMPLE_ROWS);

    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    GIVES(METAXY_INVALID_STATE, drop(store, SAMPLE, &dropped));
    metaxy_options_free(options);
    metaxy_context_free(cancelled);
    metaxy_store_free(store);
    return done();
}
