/* Rows from many threads, one by one: every ticket is kept, and a writer may end at any time. */
#define _GNU_SOURCE
#include "sample.h"

#include <pthread.h>
#include <unistd.h>

enum { THREADS = 4, EACH = 10 };

/* One row with the id `<thread>-<number>`, and its schema where one is asked for. */
static void one_row(int thread, int number, struct ArrowSchema *schema, struct ArrowArray *row) {
    char id[32];
    snprintf(id, sizeof id, "%d-%d", thread, number);
    const char *text = id;
    const int64_t size = number;
    const ArrowColumn fields[] = {{.name = "default", .text = &text}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = &text},
        {.name = "size", .numbers = &size},
        {.name = "metaxy_provenance_by_field", .members = fields, .count = 1},
    };
    struct ArrowArrayStream stream = arrow_rows(columns, 3, 1);
    if (schema) CHECK(stream.get_schema(&stream, schema) == 0);
    CHECK(stream.get_next(&stream, row) == 0);
    stream.release(&stream);
}

/* A buffered writer that commits by `rows` or `ms`. */
static MetaxyBufferedWriter *buffered(const MetaxyStore *store, const char *rows, const char *ms) {
    MetaxyBufferedWriter *writer = NULL;
    MetaxyOptions *options = NULL;
    struct ArrowSchema schema;
    struct ArrowArray row;
    one_row(0, 0, &schema, &row);
    row.release(&row);
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "buffer.rows", rows, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "buffer.ms", ms, &error));
    GIVES(METAXY_OK, metaxy_store_buffered_writer(store, SAMPLE, &schema, options, NULL, &writer, &error));
    schema.release(&schema);
    metaxy_options_free(options);
    return writer;
}

static MetaxyStatus push(const MetaxyBufferedWriter *writer, int thread, int number, uint64_t *ticket) {
    struct ArrowArray row;
    one_row(thread, number, NULL, &row);
    MetaxyStatus status = metaxy_buffered_writer_push(writer, &row, NULL, ticket, NULL);
    CHECK(row.release == NULL);
    return status;
}

typedef struct {
    const MetaxyBufferedWriter *writer;
    int thread;
    MetaxyStatus status;
} Worker;

static void *work(void *data) {
    Worker *worker = data;
    uint64_t ticket = 0, committed = 0;
    for (int number = 0; number < EACH; number++) {
        worker->status = push(worker->writer, worker->thread, number, &ticket);
        if (worker->status != METAXY_OK) return NULL;
    }
    worker->status = metaxy_buffered_writer_wait(worker->writer, ticket, NULL, NULL);
    CHECK(metaxy_buffered_writer_committed(worker->writer, &committed, NULL) == METAXY_OK && committed >= ticket);
    return NULL;
}

static void many_threads(void) {
    MetaxyStore *store = sample_store();
    MetaxyBufferedWriter *writer = buffered(store, "10", "100");
    pthread_t threads[THREADS];
    Worker workers[THREADS];
    uint64_t committed = 0;
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (Worker){writer, i, -1};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0 && workers[i].status == METAXY_OK);
    CHECK(stored_rows(store) == THREADS * EACH);
    GIVES(METAXY_OK, metaxy_buffered_writer_close(writer, NULL, &error));
    GIVES(METAXY_OK, metaxy_buffered_writer_close(writer, NULL, &error));
    GIVES(METAXY_OK, metaxy_buffered_writer_committed(writer, &committed, &error));
    CHECK(committed == THREADS * EACH);
    CHECK(push(writer, 0, 0, NULL) == METAXY_INVALID_STATE);
    metaxy_buffered_writer_free(writer);
    metaxy_store_free(store);
}

static void refused(void) {
    MetaxyStore *store = sample_store();
    MetaxyBufferedWriter *writer = buffered(store, "1000", "3600000"), *none = (MetaxyBufferedWriter *)store;
    struct ArrowArray row;
    uint64_t ticket = 77;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_buffered_writer(store, SAMPLE, NULL, NULL, NULL, &none, &error));
    CHECK(none == NULL);
    CHECK(push(NULL, 0, 0, &ticket) == METAXY_INVALID_HANDLE && ticket == 77);
    CHECK(push((const MetaxyBufferedWriter *)store, 0, 0, &ticket) == METAXY_INVALID_HANDLE && ticket == 77);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_buffered_writer_push(writer, NULL, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_buffered_writer_wait(writer, 1, NULL, &error));
    SAYS("no push has given the ticket 1");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_buffered_writer_committed(writer, NULL, &error));

    /* A bad row is refused alone. */
    one_row(1, 1, NULL, &row);
    int64_t *ends = (int64_t *)row.children[ID]->buffers[1];
    ends[0] = 1 << 20;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_buffered_writer_push(writer, &row, NULL, &ticket, &error));
    CHECK(row.release == NULL && ticket == 77);
    CHECK(push(writer, 1, 2, &ticket) == METAXY_OK && ticket == 1);
    GIVES(METAXY_OK, metaxy_buffered_writer_flush(writer, NULL, &error));
    CHECK(stored_rows(store) == 1);
    metaxy_buffered_writer_free(writer);
    metaxy_buffered_writer_free(writer);
    metaxy_buffered_writer_free(NULL);
    GIVES(METAXY_INVALID_HANDLE, metaxy_buffered_writer_flush(writer, NULL, &error));
    metaxy_store_free(store);
}

static void *wait_for_ever(void *data) {
    Worker *worker = data;
    worker->status = metaxy_buffered_writer_wait(worker->writer, 1, NULL, NULL);
    return NULL;
}

static void count_warning(int32_t level, const char *message, void *data) {
    if (level == METAXY_LOG_WARN && strstr(message, "1 rows that were pushed to it are given up")) ++*(int *)data;
}

/* Freed while a thread waits on it, and before its store or after. */
static void freed_early(void) {
    for (int store_first = 0; store_first < 2; store_first++) {
        MetaxyStore *store = sample_store();
        MetaxyBufferedWriter *writer = buffered(store, "1000", "3600000");
        Worker worker = {writer, 0, -1};
        pthread_t thread;
        int warnings = 0;
        GIVES(METAXY_OK, metaxy_log_set_callback(METAXY_LOG_WARN, count_warning, &warnings, &error));
        CHECK(push(writer, 0, 0, NULL) == METAXY_OK);
        CHECK(pthread_create(&thread, NULL, wait_for_ever, &worker) == 0);
        if (store_first) metaxy_store_free(store);
        usleep(20000);
        metaxy_buffered_writer_free(writer);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(worker.status == METAXY_INVALID_STATE || worker.status == METAXY_INVALID_HANDLE);
        if (!store_first) metaxy_store_free(store);
        GIVES(METAXY_OK, metaxy_log_set_callback(METAXY_LOG_WARN, NULL, NULL, &error));
        CHECK(warnings == 1);
        CHECK(metaxy_live_handles(METAXY_KIND_ANY) == 0);
    }
}

int main(void) {
    many_threads();
    refused();
    freed_early();
    return done();
}
