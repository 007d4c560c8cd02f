/* The caller stays in control: cancel, timeout, progress, one thread at a time, no way back in. */
#define _GNU_SOURCE
#include "sample.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Where a call waits until it is let go. */
typedef struct {
    pthread_barrier_t inside, go;
} Gate;

static void gate_make(Gate *gate) {
    pthread_barrier_init(&gate->inside, NULL, 2);
    pthread_barrier_init(&gate->go, NULL, 2);
}

static void gate_destroy(Gate *gate) {
    pthread_barrier_destroy(&gate->inside);
    pthread_barrier_destroy(&gate->go);
}

static void gate_hold(Gate *gate) {
    pthread_barrier_wait(&gate->inside);
    pthread_barrier_wait(&gate->go);
}

/*
 * A pull calls nothing of the caller's that could hold it. But under a timeout it asks for the time,
 * and this program answers for the clock.
 */
static _Thread_local Gate *gate_at_clock;

int clock_gettime(clockid_t clock, struct timespec *time) {
    Gate *gate = gate_at_clock;
    gate_at_clock = NULL;
    if (gate) gate_hold(gate);
    return (int)syscall(SYS_clock_gettime, clock, time);
}

static void sleep_ms(long ms) {
    struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
}

/* A stream that does something before it answers. */
typedef struct {
    struct ArrowArrayStream rows;
    void (*before)(void *);
    void *data;
} Slow;

static int slow_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    Slow *slow = stream->private_data;
    return slow->rows.get_schema(&slow->rows, out);
}

static int slow_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    Slow *slow = stream->private_data;
    slow->before(slow->data);
    return slow->rows.get_next(&slow->rows, out);
}

static const char *slow_error(struct ArrowArrayStream *stream) {
    (void)stream;
    return NULL;
}

static void slow_release(struct ArrowArrayStream *stream) {
    Slow *slow = stream->private_data;
    slow->rows.release(&slow->rows);
    stream->release = NULL;
}

static struct ArrowArrayStream slow_stream(Slow *slow) {
    slow->rows = sample_stream();
    return (struct ArrowArrayStream){slow_schema, slow_next, slow_error, slow_release, slow};
}

static void *cancel(void *context) {
    CHECK(metaxy_context_cancel(context, NULL) == METAXY_OK);
    return NULL;
}

static void cancel_from_another_thread(void *context) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, cancel, context) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void cancelled(void) {
    MetaxyStore *store = sample_store();
    MetaxyContext *context = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    Slow slow = {.before = cancel_from_another_thread, .data = context};
    struct ArrowArrayStream rows = slow_stream(&slow);
    GIVES(METAXY_CANCELLED, metaxy_store_write(store, SAMPLE, &rows, NULL, context, &error));
    CHECK(!metaxy_error_is_retryable(error));
    CHECK(rows.release == NULL);
    metaxy_context_free(context);

    /* A stream shares the cancel switch of its read, and stays failed. */
    struct ArrowArray batch = {0};
    write_sample(store);
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, context, &rows, &error));
    GIVES(METAXY_OK, metaxy_error_from_stream(&rows, &error));
    cancel_from_another_thread(context);
    metaxy_context_free(context);
    for (int i = 0; i < 2; i++) {
        CHECK(rows.get_next(&rows, &batch) == ECANCELED && batch.release == NULL);
        CHECK(strstr(rows.get_last_error(&rows), "cancelled") != NULL);
        GIVES(METAXY_CANCELLED, metaxy_error_from_stream(&rows, &error));
    }
    rows.release(&rows);
    metaxy_store_free(store);
}

static void wait_long(void *unused) {
    (void)unused;
    sleep_ms(60);
}

static void timed_out(void) {
    MetaxyStore *store = sample_store();
    MetaxyContext *context = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    /* Long enough to begin the write even under valgrind; the stream then uses it up. */
    GIVES(METAXY_OK, metaxy_context_set_timeout_ms(context, 40, &error));
    Slow slow = {.before = wait_long};
    struct ArrowArrayStream rows = slow_stream(&slow);
    GIVES(METAXY_TIMEOUT, metaxy_store_write(store, SAMPLE, &rows, NULL, context, &error));
    SAYS("40 ms");
    CHECK(metaxy_error_is_retryable(error));
    metaxy_context_free(context);
    metaxy_store_free(store);
}

/* What a callback saw, and what came of the calls that it made. */
typedef struct {
    const MetaxyStore *store;
    const MetaxyContext *context;
    int calls;
    uint64_t rows;
} Seen;

static void called(uint64_t rows, int64_t total, void *data) {
    Seen *seen = data;
    struct ArrowArrayStream none;
    MetaxyStore *no_store = (MetaxyStore *)data;
    MetaxyError *inner = NULL;
    (void)total;
    seen->calls++;
    seen->rows = rows;

    /* A call that is refused at the door leaves its results empty, whatever was there. */
    memset(&none, 0xff, sizeof none);
    CHECK(metaxy_store_read(seen->store, SAMPLE, NULL, NULL, &none, &inner) == METAXY_REENTRANT);
    CHECK(metaxy_error_status(inner) == METAXY_REENTRANT && none.release == NULL);
    metaxy_error_free(inner);
    CHECK(metaxy_store_open("memory://", NULL, NULL, &no_store, NULL) == METAXY_REENTRANT && no_store == NULL);

    /* Rows that a refused call was given are released all the same. */
    struct ArrowArrayStream rows_in = sample_stream();
    CHECK(metaxy_store_write(seen->store, SAMPLE, &rows_in, NULL, NULL, NULL) == METAXY_REENTRANT);
    CHECK(rows_in.release == NULL);
    if (seen->context) CHECK(metaxy_context_cancel(seen->context, NULL) == METAXY_OK);
}

static void called_back(void) {
    MetaxyStore *store = sample_store();
    MetaxyContext *context = NULL;
    Seen seen = {.store = store};
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_set_progress(context, called, &seen, &error));
    struct ArrowArrayStream rows = sample_stream();
    GIVES(METAXY_OK, metaxy_store_write(store, SAMPLE, &rows, NULL, context, &error));
    CHECK(seen.calls > 0 && seen.rows == SAMPLE_ROWS);
    CHECK(stored_rows(store) == SAMPLE_ROWS);

    /* The one thing that a callback may do is to end the call. */
    seen.context = context;
    rows = sample_stream();
    GIVES(METAXY_CANCELLED, metaxy_store_write(store, SAMPLE, &rows, NULL, context, &error));
    metaxy_context_free(context);
    metaxy_store_free(store);
}

/* A push that is under way until it is let go. */
static void hold(uint64_t rows, int64_t total, void *gate) {
    (void)rows;
    (void)total;
    gate_hold(gate);
}

typedef struct {
    MetaxyWriter *writer;
    MetaxyContext *context;
    MetaxyStatus status;
} Push;

static void *push(void *data) {
    Push *push = data;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    sample_batch(&schema, &batch);
    push->status = metaxy_writer_push(push->writer, &batch, push->context, NULL);
    schema.release(&schema);
    return NULL;
}

static void one_thread_at_a_time(void) {
    MetaxyStore *store = sample_store();
    MetaxyWriter *writer = NULL;
    MetaxyContext *context = NULL;
    Gate gate;
    pthread_t thread;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    gate_make(&gate);
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_set_progress(context, hold, &gate, &error));
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
    schema.release(&schema);

    Push first = {.writer = writer, .context = context, .status = -1};
    CHECK(pthread_create(&thread, NULL, push, &first) == 0);
    pthread_barrier_wait(&gate.inside);
    GIVES(METAXY_BUSY, metaxy_writer_push(writer, &batch, NULL, &error));
    CHECK(batch.release == NULL);
    GIVES(METAXY_BUSY, metaxy_writer_abort(writer, &error));
    GIVES(METAXY_BUSY, metaxy_writer_commit(writer, NULL, &error));
    CHECK(metaxy_error_is_retryable(error));
    pthread_barrier_wait(&gate.go);
    CHECK(pthread_join(thread, NULL) == 0 && first.status == METAXY_OK);

    GIVES(METAXY_OK, metaxy_writer_commit(writer, NULL, &error));
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    metaxy_writer_free(writer);

    /* All that a call uses may be freed while it runs. */
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
    schema.release(&schema);
    batch.release(&batch);
    first = (Push){.writer = writer, .context = context, .status = -1};
    CHECK(pthread_create(&thread, NULL, push, &first) == 0);
    pthread_barrier_wait(&gate.inside);
    metaxy_writer_free(writer);
    metaxy_context_free(context);
    metaxy_store_free(store);
    CHECK(metaxy_live_handles(METAXY_KIND_ANY) == 0);
    pthread_barrier_wait(&gate.go);
    CHECK(pthread_join(thread, NULL) == 0 && first.status == METAXY_OK);
    gate_destroy(&gate);
}

/* The rows of a push that was cancelled are left out, and the writer goes on. */
static void cancelled_push(void) {
    MetaxyStore *store = sample_store();
    MetaxyWriter *writer = NULL;
    MetaxyContext *context = NULL;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
    schema.release(&schema);
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
    GIVES(METAXY_CANCELLED, metaxy_writer_push(writer, &batch, context, &error));
    CHECK(batch.release == NULL);
    sample_batch(&schema, &batch);
    schema.release(&schema);
    GIVES(METAXY_OK, metaxy_writer_push(writer, &batch, NULL, &error));
    GIVES(METAXY_OK, metaxy_writer_commit(writer, NULL, &error));
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    metaxy_writer_free(writer);
    metaxy_context_free(context);
    metaxy_store_free(store);
}

typedef struct {
    struct ArrowArrayStream *rows;
    struct ArrowArray batch;
    Gate *gate;
    int code;
} Pull;

static void *pull(void *data) {
    Pull *pull = data;
    gate_at_clock = pull->gate;
    pull->code = pull->rows->get_next(pull->rows, &pull->batch);
    return NULL;
}

/* What other threads may do while one is in `get_next`. */
static void one_reader_at_a_time(void) {
    MetaxyStore *store = sample_store();
    MetaxyContext *context = NULL;
    struct ArrowArrayStream rows = {0};
    struct ArrowArray none;
    pthread_t thread;
    Gate gate;
    gate_make(&gate);
    write_sample(store);
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_set_timeout_ms(context, 60000, &error));
    enum { READ, RELEASE, CANCEL, WAYS };
    for (int way = 0; way < WAYS; way++) {
        GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, context, &rows, &error));
        struct ArrowArrayStream copy = rows;
        Pull first = {.rows = &rows, .gate = &gate, .code = -1};
        CHECK(pthread_create(&thread, NULL, pull, &first) == 0);
        pthread_barrier_wait(&gate.inside);
        if (way == READ) {
            memset(&none, 0xff, sizeof none);
            CHECK(copy.get_next(&copy, &none) == EBUSY && none.release == NULL);
            /* The intruder's failure is not that of the stream. */
            CHECK(copy.get_last_error(&copy) == NULL);
            GIVES(METAXY_OK, metaxy_error_from_stream(&copy, &error));
        }
        if (way == RELEASE) copy.release(&copy);
        if (way == CANCEL) GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
        pthread_barrier_wait(&gate.go);
        CHECK(pthread_join(thread, NULL) == 0);
        if (way == CANCEL) {
            CHECK(first.code == ECANCELED && first.batch.release == NULL);
        } else {
            CHECK(first.code == 0 && first.batch.length == SAMPLE_ROWS);
            first.batch.release(&first.batch);
        }
        rows.release(&rows);
    }
    gate_destroy(&gate);
    metaxy_context_free(context);
    metaxy_store_free(store);
}

static void logged(int32_t level, const char *message, void *data) {
    int *messages = data;
    CHECK(level >= METAXY_LOG_ERROR && level <= METAXY_LOG_DEBUG && message != NULL);
    CHECK(metaxy_log_set_callback(METAXY_LOG_INFO, NULL, NULL, NULL) == METAXY_REENTRANT);
    ++*messages;
}

static void log_callback(void) {
    int messages = 0;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_log_set_callback(0, logged, &messages, &error));
    GIVES(METAXY_OK, metaxy_log_set_callback(METAXY_LOG_DEBUG, logged, &messages, &error));
    metaxy_store_free(sample_store());
    int seen = messages;
    CHECK(seen > 0);
    GIVES(METAXY_OK, metaxy_log_set_callback(METAXY_LOG_DEBUG, NULL, NULL, &error));
    metaxy_store_free(sample_store());
    CHECK(messages == seen);
}

static void logged_long(int32_t level, const char *message, void *gate) {
    (void)level;
    (void)message;
    gate_hold(gate);
}

static void *open_a_store(void *unused) {
    (void)unused;
    metaxy_store_free(sample_store());
    return NULL;
}

static void *remove_callback(void *removed) {
    CHECK(metaxy_log_set_callback(METAXY_LOG_DEBUG, NULL, NULL, NULL) == METAXY_OK);
    __atomic_store_n((int *)removed, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* When a callback has been removed, it is not running. */
static void log_callback_removed_while_it_runs(void) {
    Gate gate;
    pthread_t opening, removing;
    int removed = 0;
    gate_make(&gate);
    GIVES(METAXY_OK, metaxy_log_set_callback(METAXY_LOG_INFO, logged_long, &gate, &error));
    CHECK(pthread_create(&opening, NULL, open_a_store, NULL) == 0);
    pthread_barrier_wait(&gate.inside);
    CHECK(pthread_create(&removing, NULL, remove_callback, &removed) == 0);
    sleep_ms(50);
    CHECK(!__atomic_load_n(&removed, __ATOMIC_SEQ_CST));
    pthread_barrier_wait(&gate.go);
    CHECK(pthread_join(opening, NULL) == 0 && pthread_join(removing, NULL) == 0 && removed);
    gate_destroy(&gate);
}

int main(void) {
    cancelled();
    timed_out();
    called_back();
    one_thread_at_a_time();
    cancelled_push();
    one_reader_at_a_time();
    log_callback();
    log_callback_removed_while_it_runs();
    return done();
}
