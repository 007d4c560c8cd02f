/* Compacting, pruning and purging: what the reports say, and what is refused. */
#include "sample.h"

static MetaxyOptions *option(const char *key, const char *value) {
    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, key, value, &error));
    return options;
}

/* The number in the column `name` of a report of one row, which is released. */
static int64_t count(struct ArrowArrayStream *report, const char *name) {
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    int64_t found = -1;
    CHECK(report->get_schema(report, &schema) == 0);
    CHECK(report->get_next(report, &batch) == 0);
    CHECK(batch.length == 1);
    for (int64_t i = 0; i < schema.n_children; i++) {
        if (strcmp(schema.children[i]->name, name) != 0) continue;
        CHECK(strcmp(schema.children[i]->format, "l") == 0);
        found = ((const int64_t *)batch.children[i]->buffers[1])[batch.children[i]->offset];
    }
    batch.release(&batch);
    schema.release(&schema);
    report->release(report);
    return found;
}

static void reports(void) {
    MetaxyStore *store = sample_store();
    MetaxyOptions *prune = option("prune.older_than_ms", "0"), *purge = option("purge.older_than_ms", "0");
    struct ArrowArrayStream report = {0};
    for (int i = 0; i < 3; i++) write_sample(store);
    GIVES(METAXY_OK, metaxy_store_purge(store, SAMPLE, purge, NULL, &report, &error));
    CHECK(count(&report, "rows_removed") == 2 * SAMPLE_ROWS);
    GIVES(METAXY_OK, metaxy_store_compact(store, NULL, NULL, NULL, &report, &error));
    CHECK(count(&report, "fragments_before") == 1);
    for (int i = 0; i < 3; i++) write_sample(store);
    GIVES(METAXY_OK, metaxy_store_compact(store, SAMPLE, NULL, NULL, &report, &error));
    CHECK(count(&report, "fragments_after") == 1);
    GIVES(METAXY_OK, metaxy_store_prune(store, SAMPLE, NULL, NULL, &report, &error));
    CHECK(count(&report, "versions_removed") == 0);
    GIVES(METAXY_OK, metaxy_store_prune(store, SAMPLE, prune, NULL, &report, &error));
    CHECK(count(&report, "versions_removed") > 6);
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    /* A report outlives its store. */
    GIVES(METAXY_OK, metaxy_store_prune(store, NULL, prune, NULL, &report, &error));
    metaxy_store_free(store);
    CHECK(count(&report, "bytes_removed") == 0);
    metaxy_options_free(prune);
    metaxy_options_free(purge);
}

typedef MetaxyStatus Maintain(const MetaxyStore *, const char *, const MetaxyOptions *, const MetaxyContext *,
                              struct ArrowArrayStream *, MetaxyError **);

static void refusals(void) {
    Maintain *const calls[] = {metaxy_store_compact, metaxy_store_prune, metaxy_store_purge};
    MetaxyStore *store = sample_store();
    MetaxyOptions *foreign = option("write.duplicates", "last");
    MetaxyContext *cancelled = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct ArrowArrayStream report = {0};
        GIVES(METAXY_NOT_FOUND, calls[i](store, SAMPLE, NULL, NULL, &report, &error));
        GIVES(METAXY_INVALID_HANDLE, calls[i](NULL, SAMPLE, NULL, NULL, &report, &error));
        GIVES(METAXY_INVALID_ARGUMENT, calls[i](store, SAMPLE, NULL, NULL, NULL, &error));
        GIVES(METAXY_INVALID_ARGUMENT, calls[i](store, "\xff", NULL, NULL, &report, &error));
        GIVES(METAXY_INVALID_ARGUMENT, calls[i](store, SAMPLE, foreign, NULL, &report, &error));
        SAYS("write.duplicates");
        GIVES(METAXY_CANCELLED, calls[i](store, SAMPLE, NULL, cancelled, &report, &error));
        CHECK(report.release == NULL);
    }
    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct ArrowArrayStream report = {0};
        GIVES(METAXY_INVALID_STATE, calls[i](store, NULL, NULL, NULL, &report, &error));
    }
    metaxy_context_free(cancelled);
    metaxy_options_free(foreign);
    metaxy_store_free(store);
}

int main(void) {
    reports();
    refusals();
    return done();
}
