/* Several features in one call: every stream is taken over on every path, and all are written or none. */
#include "sample.h"

#include <errno.h>

static const char *const BOTH[] = {"child", SAMPLE};

static MetaxyStore *family(void) {
    MetaxyStore *store = sample_store();
    GIVES(METAXY_OK, metaxy_store_define(store,
        "{\"feature_spec\": {\"key\": \"child\", \"id_columns\": [\"id\"], \"deps\": [\"sample\"],"
        " \"fields\": [{\"key\": \"default\"}]}, \"project\": \"tests\"}", &error));
    return store;
}

static int32_t has(const MetaxyStore *store, const char *feature) {
    int32_t has = -1;
    GIVES(METAXY_OK, metaxy_store_has(store, feature, NULL, &has, &error));
    return has;
}

/* A stream that gives the rows of another and then fails instead of ending. */
static int get_next_or_fail(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    int failed = arrow_rows_next(stream, out);
    return failed ? failed : out->release ? 0 : EIO;
}

static const char *out_of_order(struct ArrowArrayStream *stream) {
    (void)stream;
    return "the disk is out of order";
}

static struct ArrowArrayStream failing_stream(void) {
    struct ArrowArrayStream stream = sample_stream();
    stream.get_next = get_next_or_fail;
    stream.get_last_error = out_of_order;
    return stream;
}

static void writes(void) {
    MetaxyStore *store = family();
    struct ArrowArrayStream rows[] = {sample_stream(), sample_stream()};
    GIVES(METAXY_OK, metaxy_store_write_many(store, BOTH, rows, 2, NULL, NULL, &error));
    CHECK(rows[0].release == NULL && rows[1].release == NULL);
    CHECK(has(store, "child") && stored_rows(store) == SAMPLE_ROWS);

    /* A stream that the library gave is as good as any. */
    struct ArrowArrayStream again[] = {{0}, {0}};
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &again[0], &error));
    GIVES(METAXY_OK, metaxy_store_read(store, "child", NULL, NULL, &again[1], &error));
    GIVES(METAXY_OK, metaxy_store_write_many(store, BOTH, again, 2, NULL, NULL, &error));
    CHECK(stored_rows(store) == SAMPLE_ROWS);

    GIVES(METAXY_OK, metaxy_store_write_many(store, NULL, NULL, 0, NULL, NULL, &error));
    metaxy_store_free(store);
}

static void refusals(void) {
    MetaxyStore *store = family(), *freed = family();
    MetaxyContext *cancelled = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    metaxy_store_free(freed);

    static const char *const twice[] = {SAMPLE, SAMPLE}, *const unknown[] = {SAMPLE, "other"},
                             *const nothing[] = {SAMPLE, NULL};
    enum { WHOLE, FAILING, RELEASED };
    const struct {
        const MetaxyStore *store;
        const char *const *features;
        const MetaxyContext *context;
        int second;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, BOTH, NULL, WHOLE, METAXY_INVALID_HANDLE, "found NULL"},
        {freed, BOTH, NULL, WHOLE, METAXY_INVALID_HANDLE, "already freed"},
        {store, NULL, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "features is NULL"},
        {store, nothing, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "features is NULL"},
        {store, twice, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "given twice"},
        {store, unknown, NULL, WHOLE, METAXY_NOT_FOUND, "other"},
        {store, BOTH, cancelled, WHOLE, METAXY_CANCELLED, "cancelled"},
        {store, BOTH, NULL, FAILING, METAXY_IO, "the disk is out of order"},
        {store, BOTH, NULL, RELEASED, METAXY_INVALID_ARGUMENT, "already released"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct ArrowArrayStream rows[] = {sample_stream(), calls[i].second == FAILING ? failing_stream() : sample_stream()};
        if (calls[i].second == RELEASED) rows[1].release(&rows[1]);
        GIVES(calls[i].status,
              metaxy_store_write_many(calls[i].store, calls[i].features, rows, 2, NULL, calls[i].context, &error));
        SAYS(calls[i].says);
        CHECK(rows[0].release == NULL && rows[1].release == NULL);
        CHECK(metaxy_error_detail(error, "written") == NULL);
        if (calls[i].second != WHOLE) CHECK(strcmp(metaxy_error_detail(error, "feature"), SAMPLE) == 0);
    }
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write_many(store, BOTH, NULL, 2, NULL, NULL, &error));
    SAYS("rows is NULL");
    CHECK(!has(store, SAMPLE) && !has(store, "child"));
    metaxy_context_free(cancelled);
    metaxy_store_free(store);
}

int main(void) {
    writes();
    refusals();
    return done();
}
