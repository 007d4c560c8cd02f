/* Copying from one store to another: the report, wrong arguments, what is freed when. */
#include "sample.h"

static const char *const SAMPLES[] = {SAMPLE};

enum { FEATURE, TABLE, READ, COPIED, PRESENT, COLUMNS };

/* The counts of the only feature of a report, which is released. */
static void counts(struct ArrowArrayStream *report, int64_t read, int64_t copied, int64_t present, int line) {
    static const char *const names[] = {"feature", "table", "rows_read", "rows_copied", "rows_present"};
    static const char *const formats[] = {"U", "U", "l", "l", "l"};
    const int64_t wanted[] = {read, copied, present};
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    check(report->get_schema(report, &schema) == 0 && schema.n_children == COLUMNS, line, "the report has its columns");
    for (int64_t i = 0; i < schema.n_children && i < COLUMNS; i++) {
        check(strcmp(schema.children[i]->name, names[i]) == 0, line, names[i]);
        check(strcmp(schema.children[i]->format, formats[i]) == 0, line, formats[i]);
    }
    schema.release(&schema);
    check(report->get_next(report, &batch) == 0 && batch.release && batch.length == 1, line, "there is one feature");
    report->release(report);
    if (!batch.release) return;
    for (int i = READ; i < COLUMNS && batch.length == 1; i++) {
        const int64_t *numbers = batch.children[i]->buffers[1];
        check(numbers[batch.children[i]->offset] == wanted[i - READ], line, names[i]);
    }
    batch.release(&batch);
}

#define COUNTS(report, read, copied, present) counts(report, read, copied, present, __LINE__)

/* Copies the sample, or everything. */
static struct ArrowArrayStream copied(const MetaxyStore *from, const MetaxyStore *to, size_t count) {
    struct ArrowArrayStream report = {0};
    const char *const *features = count ? SAMPLES : NULL;
    GIVES(METAXY_OK, metaxy_store_copy(from, to, features, count, NULL, NULL, NULL, &report, &error));
    return report;
}

static void note(uint64_t rows, int64_t total, void *user_data) {
    int64_t *told = user_data;
    told[0] = (int64_t)rows;
    told[1] = total;
}

static void copies(void) {
    MetaxyStore *from = sample_store(), *to = sample_store();
    MetaxyReadRequest *request = NULL;
    MetaxyContext *context = NULL;
    struct ArrowArrayStream report = copied(from, to, 0);
    CHECK(count_rows(&report) == 0);
    write_sample(from);
    report = copied(from, to, 0);
    COUNTS(&report, SAMPLE_ROWS, SAMPLE_ROWS, 0);
    report = copied(from, to, 1);
    COUNTS(&report, SAMPLE_ROWS, 0, SAMPLE_ROWS);
    CHECK(stored_rows(to) == SAMPLE_ROWS);

    write_sample(from);
    int64_t told[] = {0, 0};
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_sample_history(request, 1, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_feature_history(request, 1, &error));
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_set_progress(context, note, told, &error));
    GIVES(METAXY_OK, metaxy_store_copy(from, to, SAMPLES, 1, request, NULL, context, &report, &error));
    CHECK(told[0] == 2 * SAMPLE_ROWS && told[1] == 2 * SAMPLE_ROWS);
    metaxy_context_free(context);
    metaxy_read_request_free(request);
    metaxy_store_free(from);
    metaxy_store_free(to);
    /* The report needs neither store. */
    COUNTS(&report, 2 * SAMPLE_ROWS, SAMPLE_ROWS, SAMPLE_ROWS);
}

/* Each argument wrong in turn: the error says which, the report stays empty, and nothing is copied. */
static void refusals(void) {
    MetaxyStore *from = sample_store(), *to = sample_store(), *freed = sample_store();
    MetaxyContext *cancelled = NULL;
    MetaxyReadRequest *columns = NULL;
    MetaxyOptions *options = NULL;
    const char *const id[] = {"id"};
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    GIVES(METAXY_OK, metaxy_read_request_new(&columns, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_columns(columns, id, 1, &error));
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "mode", "read", &error));
    metaxy_store_free(freed);
    write_sample(from);

    static const char *const nothing[] = {NULL}, *const broken[] = {"a\xff"}, *const unknown[] = {SAMPLE, "other"},
                             *const tables[] = {"metaxy-system/feature_versions"};
    const struct {
        const MetaxyStore *from, *to;
        const char *const *features;
        size_t count;
        const MetaxyReadRequest *request;
        const MetaxyOptions *options;
        const MetaxyContext *context;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, to, SAMPLES, 1, NULL, NULL, NULL, METAXY_INVALID_HANDLE, "expected a MetaxyStore, found NULL"},
        {from, NULL, SAMPLES, 1, NULL, NULL, NULL, METAXY_INVALID_HANDLE, "expected a MetaxyStore, found NULL"},
        {freed, to, SAMPLES, 1, NULL, NULL, NULL, METAXY_INVALID_HANDLE, "already freed"},
        {from, freed, SAMPLES, 1, NULL, NULL, NULL, METAXY_INVALID_HANDLE, "already freed"},
        {from, from, SAMPLES, 1, NULL, NULL, NULL, METAXY_INVALID_ARGUMENT, "itself"},
        {from, to, NULL, 1, NULL, NULL, NULL, METAXY_INVALID_ARGUMENT, "features is NULL"},
        {from, to, nothing, 1, NULL, NULL, NULL, METAXY_INVALID_ARGUMENT, "features is NULL"},
        {from, to, broken, 1, NULL, NULL, NULL, METAXY_INVALID_ARGUMENT, "not UTF-8"},
        {from, to, unknown, 2, NULL, NULL, NULL, METAXY_NOT_FOUND, "other"},
        {from, to, tables, 1, NULL, NULL, NULL, METAXY_UNSUPPORTED, "Metaxy itself"},
        {from, to, SAMPLES, 1, columns, NULL, NULL, METAXY_INVALID_ARGUMENT, "all columns"},
        {from, to, SAMPLES, 1, (const MetaxyReadRequest *)to, NULL, NULL, METAXY_INVALID_HANDLE, "MetaxyReadRequest"},
        {from, to, SAMPLES, 1, NULL, options, NULL, METAXY_INVALID_ARGUMENT, "mode"},
        {from, to, SAMPLES, 1, NULL, NULL, cancelled, METAXY_CANCELLED, "cancelled"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct ArrowArrayStream report;
        memset(&report, 0xff, sizeof report);
        GIVES(calls[i].status, metaxy_store_copy(calls[i].from, calls[i].to, calls[i].features, calls[i].count,
                                                 calls[i].request, calls[i].options, calls[i].context, &report, &error));
        SAYS(calls[i].says);
        CHECK(report.release == NULL);
    }
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_copy(from, to, SAMPLES, 1, NULL, NULL, NULL, NULL, &error));
    SAYS("report is NULL");
    int32_t has = -1;
    GIVES(METAXY_OK, metaxy_store_has(to, SAMPLE, NULL, &has, &error));
    CHECK(has == 0);
    metaxy_options_free(options);
    metaxy_read_request_free(columns);
    metaxy_context_free(cancelled);
    metaxy_store_free(from);
    metaxy_store_free(to);
}

int main(void) {
    copies();
    refusals();
    return done();
}
