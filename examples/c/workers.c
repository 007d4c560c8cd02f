/*
 * Workers that make rows one by one: a few threads take jobs, push one row for each, and call a job
 * done only when its row is on disk.
 *
 *   workers [DIRECTORY]      the directory is made when absent; ./metadata by default
 *
 * Pushing is cheap: rows wait in memory and are committed together in the background. The ticket of
 * a push tells which rows that were; here a worker waits for the ticket of its last row, and so
 * for all its rows.
 */
#include "arrow_rows.h"
#include "metaxy.h"

#include <pthread.h>

enum { WORKERS = 4, JOBS = 20 };

static const char feature[] =
    "{\"feature_spec\": {\"key\": \"example/thumbnail\", \"id_columns\": [\"id\"],"
    "                    \"fields\": [{\"key\": \"default\", \"code_version\": \"1\"}]},"
    " \"project\": \"workers\"}";

/* The row that a job comes to, and its schema if that is asked for. */
static struct ArrowArray row_of(int job, struct ArrowSchema *schema) {
    char id_text[32], version_text[32];
    const char *id = id_text, *version = version_text;
    const int64_t bytes = 1000 + job;
    snprintf(id_text, sizeof id_text, "video-%02d", job);
    snprintf(version_text, sizeof version_text, "v-%02d", job);
    const ArrowColumn versions[] = {{.name = "default", .text = &version}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = &id},
        {.name = "bytes", .numbers = &bytes},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 1},
    };
    struct ArrowArrayStream stream = arrow_rows(columns, 3, 1);
    struct ArrowArray row;
    if (schema) stream.get_schema(&stream, schema);
    stream.get_next(&stream, &row);
    stream.release(&stream);
    return row;
}

typedef struct {
    const MetaxyBufferedWriter *writer; /* const: for many threads at once */
    int number, done;
    MetaxyError *error;
} Worker;

static void *work(void *data) {
    Worker *worker = data;
    uint64_t ticket = 0;
    int jobs = 0;
    for (int job = worker->number; job < JOBS; job += WORKERS) {
        /* A row that is wrong is refused here, and spoils nothing for the others. The array is the library's now. */
        struct ArrowArray row = row_of(job, NULL);
        if (metaxy_buffered_writer_push(worker->writer, &row, NULL, &ticket, &worker->error) != METAXY_OK) return NULL;
        jobs++;
    }
    if (metaxy_buffered_writer_wait(worker->writer, ticket, NULL, &worker->error) != METAXY_OK) return NULL;
    /* Only now may a queue of jobs be told so: whatever happens to this process, the rows are there. */
    worker->done = jobs;
    return NULL;
}

int main(int argc, char **argv) {
    const char *directory = argc > 1 ? argv[1] : "./metadata";
    MetaxyError *error = NULL;
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    MetaxyBufferedWriter *writer = NULL;
    struct ArrowSchema schema = {0};
    struct ArrowArrayStream rows = {0};
    pthread_t threads[WORKERS];
    Worker workers[WORKERS];
    int failed = 1, started = 0;

    if (metaxy_store_open(directory, NULL, NULL, &store, &error) != METAXY_OK) goto done;
    if (metaxy_store_define(store, feature, &error) != METAXY_OK) goto done;

    /* Committed when ten thousand rows wait, or 64 MiB, or, here, when one has waited for 100 ms. */
    if (metaxy_options_new(&options, &error) != METAXY_OK) goto done;
    if (metaxy_options_set(options, "buffer.ms", "100", &error) != METAXY_OK) goto done;
    struct ArrowArray unused = row_of(0, &schema);
    unused.release(&unused);
    if (metaxy_store_buffered_writer(store, "example/thumbnail", &schema, options, NULL, &writer, &error) != METAXY_OK)
        goto done;

    for (; started < WORKERS; started++) {
        workers[started] = (Worker){.writer = writer, .number = started};
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0) break;
    }
    failed = started < WORKERS;
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        printf("worker %d: %d jobs done\n", i, workers[i].done);
        if (workers[i].error) fprintf(stderr, "%s\n", metaxy_error_message(workers[i].error));
        failed |= workers[i].error != NULL;
        metaxy_error_free(workers[i].error);
    }

    /* Commits what still waits, which is nothing here; without it, free would give that up. */
    if (metaxy_buffered_writer_close(writer, NULL, &error) != METAXY_OK) failed = 1;
    if (failed) goto done;

    failed = 1;
    if (metaxy_store_read(store, "example/thumbnail", NULL, NULL, &rows, &error) != METAXY_OK) goto done;
    int64_t count = 0;
    for (struct ArrowArray batch; rows.get_next(&rows, &batch) == 0 && batch.release;) {
        count += batch.length;
        batch.release(&batch);
    }
    if (metaxy_error_from_stream(&rows, &error) != METAXY_OK) goto done;
    printf("%d rows in the store\n", (int)count);
    failed = 0;

done:
    if (error) fprintf(stderr, "%s\n", metaxy_error_message(error));
    if (schema.release) schema.release(&schema);
    if (rows.release) rows.release(&rows);
    metaxy_buffered_writer_free(writer);
    metaxy_options_free(options);
    metaxy_store_free(store);
    metaxy_error_free(error);
    return failed;
}
