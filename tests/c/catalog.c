/* What is in a store, and what is wrong with asking for it. */
#include "sample.h"

/* The formats of the columns of a catalog, in their order. */
typedef struct {
    const char *name, *format;
} Column;

static const Column LISTED[] = {
    {"feature", "U"},    {"table", "U"},     {"defined", "b"}, {"system", "b"},
    {"rows", "L"},       {"feature_versions", "+L"},           {"fragments", "L"},
    {"bytes", "L"},      {"version", "L"},   {"hash_algorithm", "U"},
    {"hash_truncation_length", "U"},         {"last_write", "tsu:UTC"},
    {"last_commit", "tsu:UTC"},              {"problem", "U"},
};
enum {
    FEATURE, TABLE, DEFINED, SYSTEM, ROWS, VERSIONS, FRAGMENTS, BYTES, VERSION, ALGORITHM, LENGTH, LAST_WRITE,
    LAST_COMMIT, PROBLEM, LISTED_COLUMNS,
};

static const Column DESCRIBED[] = {
    {"feature_version", "U"}, {"is_current", "b"},        {"rows", "L"},
    {"samples", "L"},         {"deleted", "L"},           {"first_write", "tsu:UTC"},
    {"last_write", "tsu:UTC"}, {"project_versions", "+L"}, {"columns", "+L"},
};
enum { DESCRIBED_VERSION, IS_CURRENT, DESCRIBED_ROWS, SAMPLES, DELETED, DESCRIBED_COLUMNS = 9 };

/* The one batch of a catalog that has these columns; the stream is released. */
static struct ArrowArray only_batch(struct ArrowArrayStream *stream, const Column *columns, int64_t count) {
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0}, end = {0};
    CHECK(stream->get_schema(stream, &schema) == 0);
    CHECK(schema.n_children == count);
    for (int64_t i = 0; i < count && i < schema.n_children; i++) {
        CHECK(strcmp(schema.children[i]->name, columns[i].name) == 0);
        CHECK(strcmp(schema.children[i]->format, columns[i].format) == 0);
        CHECK(schema.children[i]->flags & ARROW_FLAG_NULLABLE);
    }
    schema.release(&schema);
    CHECK(stream->get_next(stream, &batch) == 0 && batch.release);
    CHECK(stream->get_next(stream, &end) == 0 && !end.release);
    stream->release(stream);
    return batch;
}

static int is_null(const struct ArrowArray *column, int64_t row) {
    const uint8_t *valid = column->buffers[0];
    row += column->offset;
    return valid && !(valid[row / 8] >> (row % 8) & 1);
}

static int is_text(const struct ArrowArray *column, int64_t row, const char *text) {
    const int64_t *offsets = (const int64_t *)column->buffers[1] + column->offset;
    const char *bytes = column->buffers[2];
    size_t length = (size_t)(offsets[row + 1] - offsets[row]);
    return !is_null(column, row) && length == strlen(text) && memcmp(bytes + offsets[row], text, length) == 0;
}

static uint64_t number(const struct ArrowArray *column, int64_t row) {
    return ((const uint64_t *)column->buffers[1])[column->offset + row];
}

static int flag(const struct ArrowArray *column, int64_t row) {
    row += column->offset;
    return ((const uint8_t *)column->buffers[1])[row / 8] >> (row % 8) & 1;
}

static int64_t list_length(const struct ArrowArray *column, int64_t row) {
    const int64_t *offsets = (const int64_t *)column->buffers[1] + column->offset;
    return offsets[row + 1] - offsets[row];
}

static int32_t has(const MetaxyStore *store, const char *feature) {
    int32_t has = -1;
    GIVES(METAXY_OK, metaxy_store_has(store, feature, NULL, &has, &error));
    return has;
}

static void answers(void) {
    MetaxyStore *store = sample_store();
    struct ArrowArrayStream stream = {0};
    struct ArrowArray batch;

    CHECK(has(store, SAMPLE) == 0 && has(store, "not/defined") == 0);
    GIVES(METAXY_OK, metaxy_store_list(store, NULL, &stream, &error));
    batch = only_batch(&stream, LISTED, LISTED_COLUMNS);
    CHECK(batch.length == 0);
    batch.release(&batch);

    write_sample(store);
    write_sample(store);
    CHECK(has(store, SAMPLE) == 1 && has(store, "not/defined") == 0);
    GIVES(METAXY_OK, metaxy_store_list(store, NULL, &stream, &error));
    batch = only_batch(&stream, LISTED, LISTED_COLUMNS);
    CHECK(batch.length == 1);
    struct ArrowArray **column = batch.children;
    CHECK(is_text(column[FEATURE], 0, SAMPLE) && is_text(column[TABLE], 0, SAMPLE));
    CHECK(flag(column[DEFINED], 0) && !flag(column[SYSTEM], 0));
    CHECK(number(column[ROWS], 0) == 2 * SAMPLE_ROWS && number(column[FRAGMENTS], 0) == 2);
    CHECK(list_length(column[VERSIONS], 0) == 1 && number(column[BYTES], 0) > 0 && number(column[VERSION], 0) > 1);
    CHECK(is_text(column[ALGORITHM], 0, "xxhash64") && is_text(column[LENGTH], 0, "none"));
    CHECK(number(column[LAST_WRITE], 0) > 0 && number(column[LAST_COMMIT], 0) >= number(column[LAST_WRITE], 0));
    CHECK(is_null(column[PROBLEM], 0));
    batch.release(&batch);

    GIVES(METAXY_OK, metaxy_store_describe(store, SAMPLE, NULL, &stream, &error));
    /* The stream needs no store. */
    metaxy_store_free(store);
    batch = only_batch(&stream, DESCRIBED, DESCRIBED_COLUMNS);
    CHECK(batch.length == 1);
    column = batch.children;
    CHECK(!is_null(column[DESCRIBED_VERSION], 0) && flag(column[IS_CURRENT], 0));
    CHECK(number(column[DESCRIBED_ROWS], 0) == 2 * SAMPLE_ROWS);
    CHECK(number(column[SAMPLES], 0) == SAMPLE_ROWS && number(column[DELETED], 0) == 0);
    batch.release(&batch);
}

/* Each argument wrong in turn: the error says which, and every output is empty. */
static void refusals(void) {
    MetaxyStore *store = sample_store(), *freed = sample_store();
    MetaxyContext *cancelled = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    metaxy_store_free(freed);
    write_sample(store);

    const struct {
        const MetaxyStore *store;
        const char *feature;
        const MetaxyContext *context;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, SAMPLE, NULL, METAXY_INVALID_HANDLE, "expected a MetaxyStore, found NULL"},
        {freed, SAMPLE, NULL, METAXY_INVALID_HANDLE, "already freed"},
        {(const MetaxyStore *)cancelled, SAMPLE, NULL, METAXY_INVALID_HANDLE, "found the MetaxyContext"},
        {store, SAMPLE, (const MetaxyContext *)store, METAXY_INVALID_HANDLE, "expected a MetaxyContext"},
        {store, SAMPLE, cancelled, METAXY_CANCELLED, "cancelled"},
        /* From here on the feature is wrong, which a list does not ask for. */
        {store, NULL, NULL, METAXY_INVALID_ARGUMENT, "feature is NULL"},
        {store, "", NULL, METAXY_INVALID_ARGUMENT, "part 1 is empty"},
        {store, "Sample", NULL, METAXY_INVALID_ARGUMENT, "'S'"},
        {store, "../sample", NULL, METAXY_INVALID_ARGUMENT, "'.'"},
        {store, "a__b", NULL, METAXY_INVALID_ARGUMENT, "two underscores"},
        {store, "a\xff", NULL, METAXY_INVALID_ARGUMENT, "feature is not UTF-8 from byte 1"},
    };
    const size_t count = sizeof calls / sizeof *calls, on_feature = 5;
    for (size_t i = 0; i < count; i++) {
        struct ArrowArrayStream stream;
        int32_t has = -1;
        GIVES(calls[i].status, metaxy_store_has(calls[i].store, calls[i].feature, calls[i].context, &has, &error));
        SAYS(calls[i].says);
        CHECK(has == 0);
        memset(&stream, 0xff, sizeof stream);
        GIVES(calls[i].status,
              metaxy_store_describe(calls[i].store, calls[i].feature, calls[i].context, &stream, &error));
        SAYS(calls[i].says);
        CHECK(stream.release == NULL);
        memset(&stream, 0xff, sizeof stream);
        MetaxyStatus status = i < on_feature ? calls[i].status : METAXY_OK;
        GIVES(status, metaxy_store_list(calls[i].store, calls[i].context, &stream, &error));
        if (status == METAXY_OK) {
            CHECK(count_rows(&stream) == 1);
        } else {
            SAYS(calls[i].says);
            CHECK(stream.release == NULL);
        }
    }

    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_has(store, SAMPLE, NULL, NULL, &error));
    SAYS("has is NULL");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_list(store, NULL, NULL, &error));
    SAYS("features is NULL");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_describe(store, SAMPLE, NULL, NULL, &error));
    SAYS("description is NULL");

    struct ArrowArrayStream none = {0};
    GIVES(METAXY_NOT_FOUND, metaxy_store_describe(store, "no/such", NULL, &none, &error));
    SAYS("memory://");
    SAYS("no__such");
    CHECK(none.release == NULL && strcmp(metaxy_error_detail(error, "feature"), "no/such") == 0);
    CHECK(metaxy_store_describe(store, "no/such", NULL, &none, NULL) == METAXY_NOT_FOUND);

    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    int32_t has = -1;
    GIVES(METAXY_INVALID_STATE, metaxy_store_has(store, SAMPLE, NULL, &has, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_list(store, NULL, &none, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_describe(store, SAMPLE, NULL, &none, &error));
    SAYS("is closed");
    CHECK(has == 0 && none.release == NULL);
    metaxy_store_free(store);
    metaxy_context_free(cancelled);
}

int main(void) {
    answers();
    refusals();
    return done();
}
