/* Versions of rows that the caller joined itself: computed as they are pulled; taken over on every path. */
#include "check.h"
#include "table.h"

#define ID_COLUMNS "\"id_columns\": [\"id\"]"
#define CROP(code_version) \
    "{\"key\": \"video/crop\", " ID_COLUMNS ", \"deps\": [\"video/raw\"]," \
    " \"fields\": [{\"key\": \"default\", \"code_version\": \"" code_version "\"}]}"

static MetaxyStore *family(void) {
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "project", "tests", &error));
    GIVES(METAXY_OK, metaxy_store_open("memory://", options, NULL, &store, &error));
    GIVES(METAXY_OK, metaxy_store_define(store,
        "[{\"key\": \"video/raw\", " ID_COLUMNS ", \"fields\": [{\"key\": \"default\"}]}, " CROP("1") "]", &error));
    metaxy_options_free(options);
    return store;
}

static const char THREE[] = "cat|a\ndog|b\nowl|c";

static void write_videos(const MetaxyStore *store) {
    struct ArrowArrayStream rows = table("content id metaxy_provenance_by_field{default}", THREE, 0);
    GIVES(METAXY_OK, metaxy_store_write(store, "video/raw", &rows, NULL, NULL, &error));
}

/* Rows that the caller has joined: the data versions are those of the rows above. */
static struct ArrowArrayStream joined_rows(void) {
    return table("content id metaxy_data_version_by_field__video_raw{default}", THREE, 1);
}

static char *text_and_check(struct ArrowArrayStream *stream, const char *columns) {
    CHECK(stream->release != NULL);
    return stream->release ? text_of(stream, columns) : table_copy("no stream");
}

/* Two texts that are one; both are freed. */
static void are_same(char *one, char *other, int line) {
    if (strcmp(one, other) != 0) {
        check_failed = 1;
        fprintf(stderr, "line %d: one is\n%s\n    the other\n%s\n", line, one, other);
    }
    free(one);
    free(other);
}

#define ARE_SAME(one, other) are_same(one, other, __LINE__)

static MetaxyIncrement *resolve(const MetaxyStore *store) {
    MetaxyIncrement *increment = NULL;
    GIVES(METAXY_OK, metaxy_store_resolve_update(store, "video/crop", NULL, NULL, NULL, &increment, &error));
    return increment;
}

static const char VERSIONS[] =
    "id content metaxy_provenance_by_field metaxy_provenance metaxy_data_version_by_field metaxy_data_version";

static void as_if_resolved(void) {
    MetaxyStore *store = family();
    struct ArrowArrayStream rows = joined_rows(), completed = {0}, expected = {0};
    write_videos(store);
    MetaxyIncrement *increment = resolve(store);
    GIVES(METAXY_OK, metaxy_increment_read_new(increment, NULL, &expected, &error));
    GIVES(METAXY_OK, metaxy_store_compute_provenance(store, "video/crop", &rows, NULL, &completed, &error));
    CHECK(rows.release == NULL);
    ARE_SAME(text_and_check(&completed, VERSIONS), text_and_check(&expected, VERSIONS));

    /* What comes of it is written as it is, and then there is nothing to do. */
    uint64_t new_rows = 9, stale_rows = 9;
    rows = joined_rows();
    GIVES(METAXY_OK, metaxy_store_compute_provenance(store, "video/crop", &rows, NULL, &completed, &error));
    GIVES(METAXY_OK, metaxy_store_write(store, "video/crop", &completed, NULL, NULL, &error));
    metaxy_increment_free(increment);
    increment = resolve(store);
    GIVES(METAXY_OK, metaxy_increment_counts(increment, &new_rows, &stale_rows, NULL, &error));
    CHECK(new_rows == 0 && stale_rows == 0);
    metaxy_increment_free(increment);
    metaxy_store_free(store);
}

static int pulls, releases;

static int count_and_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    pulls++;
    return table_next(stream, out);
}

static void count_and_release(struct ArrowArrayStream *stream) {
    releases++;
    table_release(stream);
}

static struct ArrowArrayStream counted_rows(void) {
    struct ArrowArrayStream rows = joined_rows();
    rows.get_next = count_and_next;
    rows.release = count_and_release;
    pulls = releases = 0;
    return rows;
}

/* A batch is pulled when it is asked for, and the stream goes as soon as it has ended. */
static void lazily(void) {
    MetaxyStore *store = family();
    struct ArrowArrayStream rows = counted_rows(), completed = {0};
    struct ArrowArray batch = {0};
    GIVES(METAXY_OK, metaxy_store_compute_provenance(store, "video/crop", &rows, NULL, &completed, &error));
    metaxy_store_free(store);
    CHECK(pulls == 0 && releases == 0);
    if (!completed.release) return;
    for (int i = 1; i <= 3; i++) {
        CHECK(completed.get_next(&completed, &batch) == 0 && batch.length == 1 && pulls == i);
        batch.release(&batch);
    }
    for (int i = 0; i < 2; i++) CHECK(completed.get_next(&completed, &batch) == 0 && batch.release == NULL);
    CHECK(pulls == 4 && releases == 1);
    completed.release(&completed);
    CHECK(releases == 1);

    /* One that is not read to its end goes with the stream that was given out. */
    store = family();
    rows = counted_rows();
    GIVES(METAXY_OK, metaxy_store_compute_provenance(store, "video/crop", &rows, NULL, &completed, &error));
    metaxy_store_free(store);
    CHECK(completed.get_next(&completed, &batch) == 0 && releases == 0);
    completed.release(&completed);
    CHECK(releases == 1);
    batch.release(&batch);
}

static int fail_instead(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    int failed = count_and_next(stream, out);
    return failed ? failed : out->release ? 0 : EIO;
}

static const char *out_of_order(struct ArrowArrayStream *stream) {
    (void)stream;
    return "the join is out of order";
}

static void failing_later(void) {
    MetaxyStore *store = family();
    struct ArrowArrayStream rows = counted_rows(), completed = {0};
    struct ArrowArray batch = {0};
    rows.get_next = fail_instead;
    rows.get_last_error = out_of_order;
    GIVES(METAXY_OK, metaxy_store_compute_provenance(store, "video/crop", &rows, NULL, &completed, &error));
    for (int i = 0; completed.release && i < 3; i++) {
        CHECK(completed.get_next(&completed, &batch) == 0);
        batch.release(&batch);
    }
    for (int i = 0; completed.release && i < 2; i++) {
        CHECK(completed.get_next(&completed, &batch) == EIO && batch.release == NULL);
        GIVES(METAXY_IO, metaxy_error_from_stream(&completed, &error));
        SAYS("the stream `rows` failed at batch 3: the join is out of order");
        CHECK(pulls == 4 && releases == 1);
    }
    if (completed.release) completed.release(&completed);

    MetaxyContext *context = NULL;
    rows = counted_rows();
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_store_compute_provenance(store, "video/crop", &rows, context, &completed, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
    if (completed.release) {
        CHECK(completed.get_next(&completed, &batch) == ECANCELED && pulls == 0 && releases == 1);
        GIVES(METAXY_CANCELLED, metaxy_error_from_stream(&completed, &error));
        completed.release(&completed);
    }
    metaxy_context_free(context);
    metaxy_store_free(store);
}

/* Whatever else is wrong with a call, the rows are the library's. */
static void wrong_rows(void) {
    MetaxyStore *store = family(), *freed = family(), *closed = family();
    MetaxyContext *cancelled = NULL;
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    GIVES(METAXY_OK, metaxy_store_close(closed, &error));
    metaxy_store_free(freed);

    enum { WHOLE, LACKING, RELEASED };
    const struct {
        const MetaxyStore *store;
        const char *feature;
        const MetaxyContext *context;
        int rows;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, "video/crop", NULL, WHOLE, METAXY_INVALID_HANDLE, "found NULL"},
        {freed, "video/crop", NULL, WHOLE, METAXY_INVALID_HANDLE, "already freed"},
        {store, NULL, NULL, WHOLE, METAXY_INVALID_ARGUMENT, "feature is NULL"},
        {store, "video/crop", (const MetaxyContext *)store, WHOLE, METAXY_INVALID_HANDLE, "found the MetaxyStore"},
        {store, "video/crop", NULL, RELEASED, METAXY_INVALID_ARGUMENT, "the stream `rows` was already released"},
        {store, "video/crop", cancelled, WHOLE, METAXY_CANCELLED, "cancelled"},
        {closed, "video/crop", NULL, WHOLE, METAXY_INVALID_STATE, "closed"},
        {store, "video/corp", NULL, WHOLE, METAXY_NOT_FOUND, "video/corp"},
        {store, "video/raw", NULL, WHOLE, METAXY_INVALID_ARGUMENT, "video/raw"},
        {store, "video/crop", NULL, LACKING, METAXY_SCHEMA_MISMATCH, "metaxy_data_version_by_field__video_raw"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct ArrowArrayStream rows = calls[i].rows == LACKING ? table("content id", "cat|a", 0) : joined_rows(), completed;
        memset(&completed, 0xff, sizeof completed);
        if (calls[i].rows == RELEASED) rows.release(&rows);
        GIVES(calls[i].status, metaxy_store_compute_provenance(calls[i].store, calls[i].feature, &rows, calls[i].context,
                                                               &completed, &error));
        SAYS(calls[i].says);
        CHECK(rows.release == NULL && completed.release == NULL);
    }
    struct ArrowArrayStream rows = joined_rows(), completed = {0};
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_compute_provenance(store, "video/crop", &rows, NULL, NULL, &error));
    SAYS("completed is NULL");
    CHECK(rows.release == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_compute_provenance(store, "video/crop", NULL, NULL, &completed, &error));
    SAYS("rows is NULL");
    metaxy_context_free(cancelled);
    metaxy_store_free(closed);
    metaxy_store_free(store);
}

int main(void) {
    wrong_rows();
    as_if_resolved();
    lazily();
    failing_later();
    return done();
}
