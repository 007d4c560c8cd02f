/* Everything may be released in any order and on any thread; what is given away is given away on every path. */
#include "sample.h"

#include <pthread.h>

enum { STORE, STREAM, WRITER, REQUEST, CONTEXT, OPTIONS, OBJECTS };

/* Makes one of each and frees them in the given order. */
static void free_in_order(const int *order) {
    MetaxyStore *store = sample_store();
    MetaxyOptions *options = NULL;
    MetaxyContext *context = NULL;
    MetaxyReadRequest *request = NULL;
    MetaxyWriter *writer = NULL;
    struct ArrowArrayStream rows = {0};
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    write_sample(store);
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, request, context, &rows, &error));
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, options, context, &writer, &error));
    GIVES(METAXY_OK, metaxy_writer_push(writer, &batch, context, &error));
    schema.release(&schema);

    for (int i = 0; i < OBJECTS; i++) {
        switch (order[i]) {
        case STORE: metaxy_store_free(store); break;
        case STREAM: CHECK(count_rows(&rows) == SAMPLE_ROWS); break;
        case WRITER: metaxy_writer_free(writer); break;
        case REQUEST: metaxy_read_request_free(request); break;
        case CONTEXT: metaxy_context_free(context); break;
        default: metaxy_options_free(options); break;
        }
    }
    CHECK(metaxy_live_handles(METAXY_KIND_ANY) == 0);
}

/* Each object goes first once and last once, and in every rotation. */
static void orders(void) {
    for (int first = 0; first < OBJECTS; first++) {
        int forward[OBJECTS], backward[OBJECTS];
        for (int i = 0; i < OBJECTS; i++) {
            forward[i] = (first + i) % OBJECTS;
            backward[i] = (first + OBJECTS - i) % OBJECTS;
        }
        free_in_order(forward);
        free_in_order(backward);
    }
}

/* Whatever else is wrong with a call, the rows are the library's. */
static void moved_on_every_path(void) {
    MetaxyStore *store = sample_store();
    MetaxyContext *cancelled = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    const struct {
        const MetaxyStore *store;
        const char *feature;
        const MetaxyContext *context;
        MetaxyStatus status;
    } paths[] = {
        {NULL, SAMPLE, NULL, METAXY_INVALID_HANDLE},
        {store, NULL, NULL, METAXY_INVALID_ARGUMENT},
        {store, "no/such", NULL, METAXY_NOT_FOUND},
        {store, SAMPLE, (const MetaxyContext *)store, METAXY_INVALID_HANDLE},
        {store, SAMPLE, cancelled, METAXY_CANCELLED},
        {store, SAMPLE, NULL, METAXY_OK},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct ArrowArrayStream rows = sample_stream();
        struct ArrowSchema schema;
        struct ArrowArray batch;
        GIVES(paths[i].status,
              metaxy_store_write(paths[i].store, paths[i].feature, &rows, NULL, paths[i].context, &error));
        CHECK(rows.release == NULL);
        sample_batch(&schema, &batch);
        GIVES(paths[i].status, metaxy_store_write_batch(paths[i].store, paths[i].feature, &batch, &schema, NULL,
                                                        paths[i].context, &error));
        CHECK(batch.release == NULL);
        CHECK(schema.release != NULL);
        schema.release(&schema);
    }
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    metaxy_context_free(cancelled);
    metaxy_store_free(store);
}

static void closed_store(void) {
    MetaxyStore *store = sample_store();
    struct ArrowArrayStream rows = {0}, none = {0};
    write_sample(store);
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_read(store, SAMPLE, NULL, NULL, &none, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_define(store, "{}", &error));
    CHECK(count_rows(&rows) == SAMPLE_ROWS);
    metaxy_store_free(store);
}

static void ended_writer(void) {
    MetaxyStore *store = sample_store();
    struct ArrowSchema schema;
    struct ArrowArray batch;
    for (int commit = 0; commit < 2; commit++) {
        MetaxyWriter *writer = NULL;
        sample_batch(&schema, &batch);
        GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
        schema.release(&schema);
        GIVES(METAXY_OK, metaxy_writer_push(writer, &batch, NULL, &error));
        CHECK(batch.release == NULL);
        if (commit) GIVES(METAXY_OK, metaxy_writer_commit(writer, NULL, &error));
        GIVES(METAXY_OK, metaxy_writer_abort(writer, &error));
        GIVES(METAXY_OK, metaxy_writer_abort(writer, &error));
        GIVES(METAXY_INVALID_STATE, metaxy_writer_commit(writer, NULL, &error));
        sample_batch(&schema, &batch);
        GIVES(METAXY_INVALID_STATE, metaxy_writer_push(writer, &batch, NULL, &error));
        CHECK(batch.release == NULL);
        schema.release(&schema);
        metaxy_writer_free(writer);
        if (commit) CHECK(stored_rows(store) == SAMPLE_ROWS);
    }
    metaxy_store_free(store);
}

static void released_stream(void) {
    MetaxyStore *store = sample_store();
    struct ArrowArrayStream rows = {0};
    struct ArrowArray batch = {0};
    write_sample(store);
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    struct ArrowArrayStream copy = rows;
    CHECK(metaxy_live_handles(METAXY_KIND_STREAM) == 1);
    rows.release(&rows);
    CHECK(rows.release == NULL && metaxy_live_handles(METAXY_KIND_STREAM) == 0);

    /* A copy of a stream that was released is refused like any freed handle. */
    CHECK(copy.get_next(&copy, &batch) == EBADF);
    CHECK(copy.get_last_error(&copy) == NULL);
    GIVES(METAXY_INVALID_HANDLE, metaxy_error_from_stream(&copy, &error));
    copy.release(&copy);

    /* A stream whose end was reached goes on saying so; NULL as a place is an error. */
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    CHECK(rows.get_next(&rows, &batch) == 0 && batch.length == SAMPLE_ROWS);
    struct ArrowArray end = {0};
    for (int i = 0; i < 2; i++) CHECK(rows.get_next(&rows, &end) == 0 && end.release == NULL);
    CHECK(rows.get_next(&rows, NULL) == EINVAL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_error_from_stream(&rows, &error));
    rows.release(&rows);
    metaxy_store_free(store);

    /* The array lives on without the stream and the store. */
    CHECK(batch.n_children >= 3);
    batch.release(&batch);
}

/* A stream of one call may feed another; its failure comes through. */
static void piped(void) {
    MetaxyStore *from = sample_store(), *to = sample_store();
    MetaxyReadRequest *request = NULL;
    MetaxyContext *context = NULL;
    struct ArrowArrayStream rows = {0};
    const char *columns[] = {"id", "size", "metaxy_provenance_by_field"};
    write_sample(from);
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_columns(request, columns, 3, &error));
    GIVES(METAXY_OK, metaxy_store_read(from, SAMPLE, request, NULL, &rows, &error));
    GIVES(METAXY_OK, metaxy_store_write(to, SAMPLE, &rows, NULL, NULL, &error));
    CHECK(stored_rows(to) == SAMPLE_ROWS);

    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_store_read(from, SAMPLE, request, context, &rows, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
    GIVES(METAXY_CANCELLED, metaxy_store_write(to, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("batch 0");
    metaxy_context_free(context);
    metaxy_read_request_free(request);
    metaxy_store_free(from);
    metaxy_store_free(to);
}

static void *release_elsewhere(void *stream) {
    struct ArrowArrayStream *rows = stream;
    CHECK(count_rows(rows) == SAMPLE_ROWS);
    return NULL;
}

static void other_threads(void) {
    MetaxyStore *store = sample_store();
    struct ArrowArrayStream rows = {0};
    pthread_t thread;
    write_sample(store);
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    metaxy_store_free(store);
    CHECK(pthread_create(&thread, NULL, release_elsewhere, &rows) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void empty(void) {
    MetaxyStore *store = sample_store();
    struct ArrowArrayStream rows = {0};
    struct ArrowSchema schema, read;
    struct ArrowArray batch;
    sample_batch(&schema, &batch);
    batch.length = 0;
    for (int64_t i = 0; i < batch.n_children; i++) batch.children[i]->length = 0;
    GIVES(METAXY_OK, metaxy_store_write_batch(store, SAMPLE, &batch, &schema, NULL, NULL, &error));
    schema.release(&schema);
    write_sample(store);

    MetaxyReadRequest *request = NULL;
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_limit(request, 0, &error));
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, request, NULL, &rows, &error));
    CHECK(rows.get_schema(&rows, &read) == 0 && read.n_children >= 3);
    read.release(&read);
    CHECK(count_rows(&rows) == 0);
    metaxy_read_request_free(request);
    metaxy_store_free(store);
}

int main(void) {
    orders();
    moved_on_every_path();
    closed_store();
    ended_writer();
    released_stream();
    piped();
    other_threads();
    empty();
    return done();
}
