/* Increments from C: the parts are read in any order, from any thread, also when the store is gone; samples are taken over
   on every path; wrong arguments are told. */
#include "check.h"
#include "table.h"

#include <pthread.h>

#define ID_COLUMNS "\"id_columns\": [\"id\"]"
#define CROP(code_version) \
    "{\"key\": \"crop\", " ID_COLUMNS ", \"deps\": [\"video\"]," \
    " \"fields\": [{\"key\": \"default\", \"code_version\": \"" code_version "\"}]}"

static MetaxyStore *family(void) {
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "project", "tests", &error));
    GIVES(METAXY_OK, metaxy_store_open("memory://", options, NULL, &store, &error));
    GIVES(METAXY_OK, metaxy_store_define(store,
        "[{\"key\": \"video\", " ID_COLUMNS ", \"fields\": [{\"key\": \"default\"}]}, " CROP("1") "]", &error));
    metaxy_options_free(options);
    return store;
}

/* Samples of "video": rows of the text of a file and its id, as in "cat|a\ndog|b"; the text is its provenance, too. */
static struct ArrowArrayStream samples_of(const char *rows) {
    return table("content id metaxy_provenance_by_field{default}", rows, 2);
}

static const char THREE[] = "cat|a\ndog|b\nowl|c";

static MetaxyIncrement *resolve(const MetaxyStore *store, const char *feature, const char *samples) {
    MetaxyIncrement *increment = NULL;
    struct ArrowArrayStream stream = {0};
    if (samples) stream = samples_of(samples);
    GIVES(METAXY_OK,
          metaxy_store_resolve_update(store, feature, NULL, samples ? &stream : NULL, NULL, &increment, &error));
    CHECK(stream.release == NULL);
    return increment;
}

typedef MetaxyStatus Read(const MetaxyIncrement *, const MetaxyContext *, struct ArrowArrayStream *, MetaxyError **);

static Read *const PARTS[] = {metaxy_increment_read_new, metaxy_increment_read_stale, metaxy_increment_read_orphaned};
enum { NEW, STALE, ORPHANED };

static struct ArrowArrayStream part(const MetaxyIncrement *increment, int which) {
    struct ArrowArrayStream rows = {0};
    GIVES(METAXY_OK, PARTS[which](increment, NULL, &rows, &error));
    return rows;
}

static void is_text(struct ArrowArrayStream *stream, const char *columns, const char *wanted, int line) {
    if (!stream->release) {
        check(0, line, "there is a stream");
        return;
    }
    char *found = text_of(stream, columns);
    if (strcmp(found, wanted) != 0) {
        check_failed = 1;
        fprintf(stderr, "line %d: not\n%s\n    but\n%s\n", line, wanted, found);
    }
    free(found);
}

#define IS_TEXT(stream, columns, wanted) is_text(stream, columns, wanted, __LINE__)

static uint64_t lines(const char *text) {
    uint64_t count = *text != 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

/* The ids of the three parts, which are read in this order and then freed. */
static void finds(MetaxyIncrement *increment, const char *const wanted[3], int line) {
    uint64_t counts[3] = {99, 99, 99};
    GIVES(METAXY_OK, metaxy_increment_counts(increment, &counts[NEW], &counts[STALE], &counts[ORPHANED], &error));
    for (int which = 0; which < 3; which++) {
        check(counts[which] == lines(wanted[which]), line, "the count is that of the ids");
        struct ArrowArrayStream rows = part(increment, which);
        is_text(&rows, "id", wanted[which], line);
    }
    metaxy_increment_free(increment);
}

#define FINDS(increment, ...) finds(increment, (const char *const[3]){__VA_ARGS__}, __LINE__)

/* What a worker does: all that is new or stale is computed, which is easy here, and written. */
static void process(const MetaxyStore *store, const char *feature, const char *samples) {
    MetaxyIncrement *increment = resolve(store, feature, samples);
    for (int which = NEW; which <= STALE; which++) {
        struct ArrowArrayStream rows = part(increment, which);
        GIVES(METAXY_OK, metaxy_store_write(store, feature, &rows, NULL, NULL, &error));
        CHECK(rows.release == NULL);
    }
    metaxy_increment_free(increment);
}

static void remove_sample(const MetaxyStore *store, const char *feature, const char *filter) {
    MetaxyReadRequest *request = NULL;
    uint64_t deleted = 0;
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_add_filter(request, filter, &error));
    GIVES(METAXY_OK, metaxy_store_delete(store, feature, request, NULL, NULL, &deleted, &error));
    CHECK(deleted == 1);
    metaxy_read_request_free(request);
}

/* The names of the columns of a stream, which is released. */
static char *columns_of(struct ArrowArrayStream *stream) {
    struct ArrowSchema schema = {0};
    Text names = {0};
    CHECK(stream->get_schema(stream, &schema) == 0);
    for (int64_t c = 0; c < schema.n_children; c++) text_add(&names, c ? " %s" : "%s", schema.children[c]->name);
    schema.release(&schema);
    stream->release(stream);
    return names.bytes;
}

#define VERSIONS "metaxy_provenance_by_field metaxy_provenance metaxy_data_version_by_field metaxy_data_version"

static void has_columns(struct ArrowArrayStream stream, const char *wanted) {
    if (!stream.release) return;
    char *found = columns_of(&stream);
    if (strcmp(found, wanted) != 0) {
        check_failed = 1;
        fprintf(stderr, "the columns are not\n%s\n    but\n%s\n", wanted, found);
    }
    free(found);
}

/* ---- what is found ---- */

static void the_whole_story(void) {
    MetaxyStore *store = family();
    FINDS(resolve(store, "video", THREE), "a\nb\nc", "", "");
    process(store, "video", THREE);
    FINDS(resolve(store, "video", THREE), "", "", "");
    FINDS(resolve(store, "crop", NULL), "a\nb\nc", "", "");
    process(store, "crop", NULL);
    FINDS(resolve(store, "crop", NULL), "", "", "");

    /* One is another, one is gone, one came. */
    static const char later[] = "CAT|a\nowl|c\nbee|d";
    FINDS(resolve(store, "video", later), "d", "a", "b");
    process(store, "video", later);
    remove_sample(store, "video", "id = 'b'");
    FINDS(resolve(store, "video", later), "", "", "");
    FINDS(resolve(store, "crop", NULL), "d", "a", "b");
    process(store, "crop", NULL);
    remove_sample(store, "crop", "id = 'b'");
    FINDS(resolve(store, "crop", NULL), "", "", "");

    /* Other code makes another version of the feature, of which nothing is stored. */
    GIVES(METAXY_OK, metaxy_store_define(store, CROP("2"), &error));
    FINDS(resolve(store, "crop", NULL), "a\nc\nd", "", "");
    metaxy_store_free(store);
}

static void the_columns_of_parts(void) {
    MetaxyStore *store = family();
    MetaxyIncrement *increment = resolve(store, "video", THREE);
    double percent = 99;
    has_columns(part(increment, NEW), "id content " VERSIONS);
    has_columns(part(increment, STALE), "id content " VERSIONS);
    struct ArrowArrayStream rows = part(increment, NEW);
    IS_TEXT(&rows, "id content metaxy_provenance_by_field", "a|cat|{cat-default}\nb|dog|{dog-default}\nc|owl|{owl-default}");
    GIVES(METAXY_OK, metaxy_increment_input_progress(increment, &percent, &error));
    CHECK(percent == -1);
    metaxy_increment_free(increment);

    process(store, "video", THREE);
    increment = resolve(store, "crop", NULL);
    has_columns(part(increment, NEW), "id content " VERSIONS);
    GIVES(METAXY_OK, metaxy_increment_input_progress(increment, &percent, &error));
    CHECK(percent == 0);
    struct ArrowArrayStream stores = {0};
    GIVES(METAXY_OK, metaxy_increment_served_by(increment, &stores, &error));
    has_columns(stores, "feature store uri table version outcome problem");
    GIVES(METAXY_OK, metaxy_increment_served_by(increment, &stores, &error));
    IS_TEXT(&stores, "feature outcome", "video|served");
    metaxy_increment_free(increment);

    process(store, "crop", NULL);
    remove_sample(store, "video", "id = 'b'");
    increment = resolve(store, "crop", NULL);
    GIVES(METAXY_OK, metaxy_increment_served_by(increment, &stores, &error));
    IS_TEXT(&stores, "feature outcome", "crop|served\nvideo|served");
    GIVES(METAXY_OK, metaxy_increment_input_progress(increment, &percent, &error));
    CHECK(percent == 100);
    rows = part(increment, ORPHANED);
    IS_TEXT(&rows, "id content metaxy_deleted_at", "b|dog|null");
    metaxy_increment_free(increment);
    metaxy_store_free(store);
}

/* ---- what is asked ---- */

static MetaxyIncrementRequest *request_of(void) {
    MetaxyIncrementRequest *request = NULL;
    GIVES(METAXY_OK, metaxy_increment_request_new(&request, &error));
    return request;
}

static MetaxyIncrement *resolve_as(const MetaxyStore *store, MetaxyIncrementRequest *request) {
    MetaxyIncrement *increment = NULL;
    GIVES(METAXY_OK, metaxy_store_resolve_update(store, "crop", request, NULL, NULL, &increment, &error));
    metaxy_increment_request_free(request);
    return increment;
}

static void requests(void) {
    MetaxyStore *store = family();
    process(store, "video", THREE);

    MetaxyIncrementRequest *request = request_of();
    GIVES(METAXY_OK, metaxy_increment_request_add_filter(request, "video", "content <> 'dog'", &error));
    GIVES(METAXY_OK, metaxy_increment_request_set_batch_rows(request, 1, &error));
    MetaxyIncrement *increment = resolve_as(store, request);
    struct ArrowArrayStream rows = part(increment, NEW);
    struct ArrowArray batch = {0};
    CHECK(rows.get_next(&rows, &batch) == 0 && batch.length == 1);
    batch.release(&batch);
    IS_TEXT(&rows, "content", "owl");
    FINDS(increment, "a\nc", "", "");

    process(store, "crop", NULL);
    request = request_of();
    GIVES(METAXY_OK, metaxy_increment_request_add_filter(request, NULL, "id <> 'c'", &error));
    GIVES(METAXY_OK, metaxy_increment_request_add_staleness_predicate(request, "content = 'cat'", &error));
    GIVES(METAXY_OK, metaxy_increment_request_add_staleness_predicate(request, "content = 'owl'", &error));
    FINDS(resolve_as(store, request), "", "a", "");

    request = request_of();
    GIVES(METAXY_OK, metaxy_increment_request_add_target_filter(request, "id = 'b'", &error));
    GIVES(METAXY_OK, metaxy_increment_request_add_staleness_predicate(request, "id IS NOT NULL", &error));
    FINDS(resolve_as(store, request), "", "b", "");

    request = request_of();
    GIVES(METAXY_OK, metaxy_increment_request_set_skip_comparison(request, 1, &error));
    FINDS(resolve_as(store, request), "a\nb\nc", "", "");

    /* Two shares are the whole, and have nothing in common. */
    uint64_t sum = 0, share = 0;
    for (int32_t index = 0; index < 2; index++) {
        request = request_of();
        GIVES(METAXY_OK, metaxy_increment_request_set_skip_comparison(request, 1, &error));
        GIVES(METAXY_OK, metaxy_increment_request_set_shard(request, index, 2, &error));
        increment = resolve_as(store, request);
        GIVES(METAXY_OK, metaxy_increment_counts(increment, &share, NULL, NULL, &error));
        metaxy_increment_free(increment);
        sum += share;
    }
    CHECK(sum == 3);
    metaxy_store_free(store);
}

/* ---- who owns what, and on which thread ---- */

static void *read_elsewhere(void *increment) {
    MetaxyError *here = NULL;
    for (int i = 0; i < 4; i++) {
        struct ArrowArrayStream rows = {0};
        CHECK(metaxy_increment_read_new(increment, NULL, &rows, &here) == METAXY_OK && here == NULL);
        IS_TEXT(&rows, "id", "a\nb\nc");
        CHECK(metaxy_increment_read_stale(increment, NULL, &rows, &here) == METAXY_OK && here == NULL);
        IS_TEXT(&rows, "id", "");
    }
    return NULL;
}

static void lifetimes(void) {
    MetaxyStore *store = family();
    process(store, "video", THREE);
    MetaxyIncrement *increment = resolve(store, "crop", NULL);
    /* What is stored later is no part of it. */
    process(store, "video", "bee|d");
    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    metaxy_store_free(store);

    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, read_elsewhere, increment) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);

    /* Backwards, one of them half, one not at all, one after its increment is gone. */
    struct ArrowArrayStream orphaned = part(increment, ORPHANED), half = part(increment, NEW), none = part(increment, NEW),
                            last = part(increment, NEW);
    struct ArrowArray batch = {0};
    IS_TEXT(&orphaned, "id", "");
    CHECK(half.get_next(&half, &batch) == 0 && batch.length > 0);
    half.release(&half);
    none.release(&none);
    metaxy_increment_free(increment);
    IS_TEXT(&last, "id content", "a|cat\nb|dog\nc|owl");
    batch.release(&batch);
    CHECK(metaxy_live_handles(METAXY_KIND_ANY) == 0);
}

/* The stream of one store feeds another; its failure comes through. */
static void piped(void) {
    MetaxyStore *from = family(), *to = family();
    MetaxyContext *context = NULL;
    MetaxyIncrement *first = resolve(from, "video", THREE), *second = NULL;
    struct ArrowArrayStream rows = part(first, NEW);
    GIVES(METAXY_OK, metaxy_store_resolve_update(to, "video", NULL, &rows, NULL, &second, &error));
    FINDS(second, "a\nb\nc", "", "");

    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_increment_read_new(first, context, &rows, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
    GIVES(METAXY_CANCELLED, metaxy_store_resolve_update(to, "video", NULL, &rows, NULL, &second, &error));
    SAYS("the stream `samples` failed at batch 0");
    CHECK(second == NULL);
    metaxy_context_free(context);
    metaxy_increment_free(first);
    metaxy_store_free(from);
    metaxy_store_free(to);
}

/* ---- control ---- */

/* Samples that do something when they are pulled. */
static MetaxyContext *to_cancel;

static int cancel_and_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    metaxy_context_cancel(to_cancel, NULL);
    return table_next(stream, out);
}

static int fail_instead(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    int failed = table_next(stream, out);
    return failed ? failed : out->release ? 0 : EIO;
}

static const char *out_of_order(struct ArrowArrayStream *stream) {
    (void)stream;
    return "the camera is out of order";
}

static void cancelled(void) {
    MetaxyStore *store = family();
    MetaxyContext *context = NULL;
    MetaxyIncrement *increment = resolve(store, "video", THREE), *none = (MetaxyIncrement *)store;
    struct ArrowArrayStream rows = {0}, samples = samples_of(THREE);
    struct ArrowArray batch = {0};
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_increment_read_new(increment, context, &rows, &error));

    to_cancel = context;
    samples.get_next = cancel_and_next;
    GIVES(METAXY_CANCELLED, metaxy_store_resolve_update(store, "video", NULL, &samples, context, &none, &error));
    CHECK(none == NULL && samples.release == NULL);

    CHECK(rows.get_next(&rows, &batch) == ECANCELED && batch.release == NULL);
    GIVES(METAXY_CANCELLED, metaxy_error_from_stream(&rows, &error));
    rows.release(&rows);
    for (int which = 0; which < 3; which++) {
        GIVES(METAXY_CANCELLED, PARTS[which](increment, context, &rows, &error));
        CHECK(rows.release == NULL);
    }
    /* The increment itself is as good as before. */
    FINDS(increment, "a\nb\nc", "", "");
    metaxy_context_free(context);
    metaxy_store_free(store);
}

/* ---- wrong arguments ---- */

static void wrong_requests(void) {
    MetaxyStore *store = family();
    MetaxyIncrementRequest *request = request_of(), *none = (MetaxyIncrementRequest *)store;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_new(NULL, &error));
    SAYS("request is NULL");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_add_filter(request, "video", NULL, &error));
    SAYS("filter is NULL");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_add_filter(request, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_add_filter(request, "\xff", "true", &error));
    SAYS("feature is not UTF-8");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_add_target_filter(request, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_add_staleness_predicate(request, NULL, &error));
    SAYS("predicate is NULL");
    static const int32_t shards[][2] = {{2, 2}, {-1, 2}, {0, 0}, {0, -1}, {INT32_MAX, 1}};
    for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) {
        GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_request_set_shard(request, shards[i][0], shards[i][1], &error));
        SAYS("there is no shard");
        const char *argument = metaxy_error_detail(error, "argument");
        CHECK(argument && strcmp(argument, "shard") == 0);
    }
    GIVES(METAXY_OK, metaxy_increment_request_set_shard(request, 0, 1, &error));
    GIVES(METAXY_OK, metaxy_increment_request_set_batch_rows(request, 0, &error));

    metaxy_increment_request_free(request);
    metaxy_increment_request_free(request);
    metaxy_increment_request_free(NULL);
    MetaxyIncrementRequest *const wrong[] = {NULL, none, request};
    static const char *const says[] = {"found NULL", "expected a MetaxyIncrementRequest, found the MetaxyStore",
                                       "already freed"};
    for (int i = 0; i < 3; i++) {
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_request_add_filter(wrong[i], NULL, "true", &error));
        SAYS(says[i]);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_request_add_target_filter(wrong[i], "true", &error));
        SAYS(says[i]);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_request_add_staleness_predicate(wrong[i], "true", &error));
        SAYS(says[i]);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_request_set_skip_comparison(wrong[i], 1, &error));
        SAYS(says[i]);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_request_set_shard(wrong[i], 0, 1, &error));
        SAYS(says[i]);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_request_set_batch_rows(wrong[i], 1, &error));
        SAYS(says[i]);
    }
    metaxy_store_free(store);
}

static void wrong_increments(void) {
    MetaxyStore *store = family();
    MetaxyIncrement *increment = resolve(store, "video", THREE);
    struct ArrowArrayStream rows;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_input_progress(increment, NULL, &error));
    SAYS("percent is NULL");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_increment_served_by(increment, NULL, &error));
    SAYS("stores is NULL");
    GIVES(METAXY_OK, metaxy_increment_counts(increment, NULL, NULL, NULL, &error));
    for (int which = 0; which < 3; which++) {
        GIVES(METAXY_INVALID_ARGUMENT, PARTS[which](increment, NULL, NULL, &error));
        SAYS("rows is NULL");
        memset(&rows, 0xff, sizeof rows);
        GIVES(METAXY_INVALID_HANDLE, PARTS[which](increment, (const MetaxyContext *)store, &rows, &error));
        CHECK(rows.release == NULL);
    }
    metaxy_increment_free((MetaxyIncrement *)store);
    metaxy_increment_free(increment);
    metaxy_increment_free(increment);
    metaxy_increment_free(NULL);

    const MetaxyIncrement *const wrong[] = {NULL, (const MetaxyIncrement *)store, increment};
    static const char *const says[] = {"expected a MetaxyIncrement, found NULL",
                                       "expected a MetaxyIncrement, found the MetaxyStore", "already freed"};
    for (int i = 0; i < 3; i++) {
        uint64_t counts[3] = {9, 9, 9};
        double percent = 9;
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_counts(wrong[i], &counts[0], &counts[1], &counts[2], &error));
        SAYS(says[i]);
        CHECK(counts[0] + counts[1] + counts[2] == 0);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_input_progress(wrong[i], &percent, &error));
        SAYS(says[i]);
        memset(&rows, 0xff, sizeof rows);
        GIVES(METAXY_INVALID_HANDLE, metaxy_increment_served_by(wrong[i], &rows, &error));
        CHECK(rows.release == NULL);
        for (int which = 0; which < 3; which++) {
            memset(&rows, 0xff, sizeof rows);
            GIVES(METAXY_INVALID_HANDLE, PARTS[which](wrong[i], NULL, &rows, &error));
            SAYS(says[i]);
            CHECK(rows.release == NULL);
        }
    }
    metaxy_store_free(store);
}

/* Whatever else is wrong with a call, the samples are the library's. */
static void wrong_calls(void) {
    MetaxyStore *store = family(), *closed = family(), *freed = family();
    MetaxyContext *done_for = NULL;
    MetaxyIncrementRequest *request = request_of(), *unparsable = request_of(), *stranger = request_of();
    GIVES(METAXY_OK, metaxy_context_new(&done_for, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(done_for, &error));
    GIVES(METAXY_OK, metaxy_increment_request_add_filter(unparsable, NULL, "id = ", &error));
    GIVES(METAXY_OK, metaxy_increment_request_add_filter(stranger, "crop", "true", &error));
    GIVES(METAXY_OK, metaxy_store_close(closed, &error));
    metaxy_store_free(freed);
    metaxy_increment_request_free(request);

    enum { WHOLE, FAILING, RELEASED };
    const struct {
        const MetaxyStore *store;
        const char *feature;
        const MetaxyIncrementRequest *request;
        const MetaxyContext *context;
        int samples;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, "video", NULL, NULL, WHOLE, METAXY_INVALID_HANDLE, "found NULL"},
        {freed, "video", NULL, NULL, WHOLE, METAXY_INVALID_HANDLE, "already freed"},
        {(const MetaxyStore *)done_for, "video", NULL, NULL, WHOLE, METAXY_INVALID_HANDLE, "found the MetaxyContext"},
        {store, NULL, NULL, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "feature is NULL"},
        {store, "video", request, NULL, WHOLE, METAXY_INVALID_HANDLE, "already freed"},
        {store, "video", (const MetaxyIncrementRequest *)store, NULL, WHOLE, METAXY_INVALID_HANDLE, "found the MetaxyStore"},
        {store, "video", NULL, (const MetaxyContext *)store, WHOLE, METAXY_INVALID_HANDLE, "found the MetaxyStore"},
        {store, "video", NULL, NULL, RELEASED, METAXY_INVALID_ARGUMENT, "the stream `samples` was already released"},
        {store, "video", NULL, done_for, WHOLE, METAXY_CANCELLED, "cancelled"},
        {store, "video", NULL, NULL, FAILING, METAXY_IO, "the camera is out of order; nothing was resolved"},
        {closed, "video", NULL, NULL, WHOLE, METAXY_INVALID_STATE, "closed"},
        {store, "vidoe", NULL, NULL, WHOLE, METAXY_NOT_FOUND, "vidoe"},
        {store, "video", unparsable, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "id = "},
        {store, "video", stranger, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "crop"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct ArrowArrayStream samples = samples_of(THREE);
        MetaxyIncrement *none = (MetaxyIncrement *)store;
        if (calls[i].samples == RELEASED) samples.release(&samples);
        if (calls[i].samples == FAILING) samples.get_next = fail_instead, samples.get_last_error = out_of_order;
        GIVES(calls[i].status, metaxy_store_resolve_update(calls[i].store, calls[i].feature, calls[i].request, &samples,
                                                           calls[i].context, &none, &error));
        SAYS(calls[i].says);
        CHECK(samples.release == NULL && none == NULL);
    }
    struct ArrowArrayStream samples = samples_of(THREE);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_resolve_update(store, "video", NULL, &samples, NULL, NULL, &error));
    SAYS("increment is NULL");
    CHECK(samples.release == NULL);

    MetaxyIncrement *none = (MetaxyIncrement *)store;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_resolve_update(store, "video", NULL, NULL, NULL, &none, &error));
    SAYS("samples");
    CHECK(none == NULL);
    GIVES(METAXY_CANCELLED, metaxy_store_resolve_update(store, "crop", NULL, NULL, done_for, &none, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_resolve_update(closed, "crop", NULL, NULL, NULL, &none, &error));
    metaxy_increment_request_free(unparsable);
    metaxy_increment_request_free(stranger);
    metaxy_context_free(done_for);
    metaxy_store_free(closed);
    metaxy_store_free(store);
}

int main(void) {
    wrong_requests();
    wrong_increments();
    wrong_calls();
    the_whole_story();
    the_columns_of_parts();
    requests();
    lifetimes();
    piped();
    cancelled();
    return done();
}
