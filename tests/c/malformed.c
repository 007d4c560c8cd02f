/* Arrow structs that lie: an error that says where, and nothing is written. */
#include "sample.h"

enum { COLUMNS = 3, BUFFERS = 3 };

/*
 * Rows whose structs can be spoiled: copies, so that the originals can still be released.
 */
typedef struct {
    struct ArrowSchema schema_original, schema, fields[COLUMNS], *field_pointers[COLUMNS];
    struct ArrowArray original, rows, columns[COLUMNS], *column_pointers[COLUMNS];
    const void *buffers[COLUMNS][BUFFERS];
    const void *row_buffers[1];
} Case;

static void leave_schema(struct ArrowSchema *schema) { schema->release = NULL; }

static void leave_array(struct ArrowArray *array) { array->release = NULL; }

static void release_rows(struct ArrowArray *rows) {
    struct ArrowArray *original = rows->private_data;
    original->release(original);
    rows->release = NULL;
}

static void prepare(Case *spoiled) {
    sample_batch(&spoiled->schema_original, &spoiled->original);
    spoiled->schema = spoiled->schema_original;
    spoiled->schema.children = spoiled->field_pointers;
    spoiled->schema.release = leave_schema;
    spoiled->rows = spoiled->original;
    spoiled->rows.children = spoiled->column_pointers;
    spoiled->rows.private_data = &spoiled->original;
    spoiled->rows.buffers = spoiled->row_buffers;
    spoiled->rows.release = release_rows;
    spoiled->row_buffers[0] = NULL;
    for (int i = 0; i < COLUMNS; i++) {
        spoiled->fields[i] = *spoiled->schema_original.children[i];
        spoiled->fields[i].release = leave_schema;
        spoiled->field_pointers[i] = &spoiled->fields[i];
        spoiled->columns[i] = *spoiled->original.children[i];
        spoiled->columns[i].buffers = spoiled->buffers[i];
        spoiled->columns[i].release = leave_array;
        spoiled->column_pointers[i] = &spoiled->columns[i];
        for (int b = 0; b < BUFFERS; b++) spoiled->buffers[i][b] = spoiled->original.children[i]->buffers[b];
    }
}

static MetaxyStore *store;

static void expect_refused(Case *spoiled, MetaxyStatus status, const char *text, int line) {
    metaxy_error_free(error);
    check_status(status,
                 metaxy_store_write_batch(store, SAMPLE, &spoiled->rows, &spoiled->schema, NULL, NULL, &error), line,
                 "metaxy_store_write_batch");
    check_message(text, line);
    check(spoiled->rows.release == NULL, line, "the rows are released");
    spoiled->schema_original.release(&spoiled->schema_original);
}

/* Rows at which the statements were are refused with `status` and a message that says `text`. */
#define REFUSED(status, text, ...) \
    do { \
        Case spoiled; \
        prepare(&spoiled); \
        struct ArrowSchema *schema = &spoiled.schema, *field = &spoiled.fields[ID]; \
        struct ArrowArray *rows = &spoiled.rows, *id = &spoiled.columns[ID], *size = &spoiled.columns[SIZE]; \
        (void)schema, (void)field, (void)rows, (void)id, (void)size; \
        __VA_ARGS__; \
        expect_refused(&spoiled, status, text, __LINE__); \
    } while (0)

static void arrays(void) {
    static const int64_t falling[] = {0, 2, 1, 3}, negative[] = {0, 1, 2, -3};
    static const uint8_t two_of_three = 6;
    static const int64_t misaligned[5] = {0};

    REFUSED(METAXY_INVALID_ARGUMENT, "the length -1", rows->length = -1);
    REFUSED(METAXY_INVALID_ARGUMENT, "the offset -1", id->offset = -1);
    REFUSED(METAXY_INVALID_ARGUMENT, "and 4 nulls", id->null_count = 4);
    REFUSED(METAXY_INVALID_ARGUMENT, "\"id\" has 3 values, where its parent needs 4", rows->length = 4);
    REFUSED(METAXY_INVALID_ARGUMENT, "\"id\" has 3 values, where its parent needs 4", rows->offset = 1);
    REFUSED(METAXY_INVALID_ARGUMENT, "ends beyond", id->offset = INT64_MAX);
    REFUSED(METAXY_INVALID_ARGUMENT, "ends beyond", id->length = INT64_MAX / 2);
    REFUSED(METAXY_SCHEMA_MISMATCH, "it has 2 children, where 3 are needed", rows->n_children = 2);
    REFUSED(METAXY_SCHEMA_MISMATCH, "it has -1 children", rows->n_children = -1);
    REFUSED(METAXY_INVALID_ARGUMENT, "no array of its children", rows->children = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "the column \"id\" is missing", rows->children[ID] = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "the column \"size\" was already released", size->release = NULL);
    REFUSED(METAXY_SCHEMA_MISMATCH, "it has 2 buffers, where 3 are needed", id->n_buffers = 2);
    REFUSED(METAXY_SCHEMA_MISMATCH, "it has -1 buffers", id->n_buffers = -1);
    REFUSED(METAXY_SCHEMA_MISMATCH, "it has a dictionary", id->dictionary = size);
    REFUSED(METAXY_INVALID_ARGUMENT, "no array of its 3 buffers", id->buffers = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "NULL as their buffer", id->buffers[1] = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "3 bytes of data and NULL", id->buffers[2] = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "NULL as their buffer", size->buffers[1] = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "1 nulls and no validity buffer", id->null_count = 1);
    REFUSED(METAXY_INVALID_ARGUMENT, "-3 bytes of data", id->buffers[1] = negative);
    REFUSED(METAXY_INVALID_ARGUMENT, "the column \"id\" is broken", id->buffers[1] = falling);
    REFUSED(METAXY_INVALID_ARGUMENT, "no multiple of 8", id->buffers[1] = (const char *)misaligned + 1);
    REFUSED(METAXY_INVALID_ARGUMENT, "the column \"id\" is broken", id->buffers[2] = "\xff\xff\xff");
    REFUSED(METAXY_INVALID_ARGUMENT, "says that it has 2 nulls, and has 1", {
        id->buffers[0] = &two_of_three;
        id->null_count = 2;
    });
    REFUSED(METAXY_INVALID_ARGUMENT, "says that it has 0 nulls, and has 1", id->buffers[0] = &two_of_three);
    REFUSED(METAXY_INVALID_ARGUMENT, "1 rows that are null as a whole", {
        rows->buffers[0] = &two_of_three;
        rows->null_count = 1;
    });
    REFUSED(METAXY_SCHEMA_MISMATCH, "1 nulls, but its schema allows none", {
        field->flags = 0;
        id->buffers[0] = &two_of_three;
        id->null_count = -1;
    });
}

static void schemas(void) {
    REFUSED(METAXY_INVALID_ARGUMENT, "was already released", schema->release = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "has a child 0 that was already released", field->release = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "\"id\" has no format", field->format = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "not UTF-8", field->format = "\xff");
    REFUSED(METAXY_INVALID_ARGUMENT, "not UTF-8", field->name = "\xff");
    REFUSED(METAXY_SCHEMA_MISMATCH, "not that of rows", field->format = "?");
    REFUSED(METAXY_SCHEMA_MISMATCH, "not that of rows", schema->format = "l");
    REFUSED(METAXY_INVALID_ARGUMENT, "-1 children", schema->n_children = -1);
    REFUSED(METAXY_INVALID_ARGUMENT, "0 children where \"+l\" needs 1", field->format = "+l");
    REFUSED(METAXY_INVALID_ARGUMENT, "3 children", schema->children = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "lacks its child 0", schema->children[ID] = NULL);
    REFUSED(METAXY_INVALID_ARGUMENT, "has the width -4", field->format = "w:-4");
    REFUSED(METAXY_INVALID_ARGUMENT, "decimals of 200 digits", field->format = "d:200,0");
    REFUSED(METAXY_INVALID_ARGUMENT, "decimals of 0 digits", field->format = "d:0,0");
    REFUSED(METAXY_INVALID_ARGUMENT, "metadata of", field->metadata = "text, whose first bytes are a number");
    REFUSED(METAXY_UNSUPPORTED, "\"id\" is a union", field->format = "+us:0");
    REFUSED(METAXY_UNSUPPORTED, "\"id\" is a union", field->format = "+ud:0,0,-1");
    REFUSED(METAXY_INVALID_ARGUMENT, "levels deep", schema->children[ID] = schema);
    REFUSED(METAXY_INVALID_ARGUMENT, "more than 1048576 columns", {
        static struct ArrowSchema pairs[40], *twice[40][2];
        for (int i = 0; i < 40; i++) {
            pairs[i] = *field;
            if (i == 0) continue;
            twice[i][0] = twice[i][1] = &pairs[i - 1];
            pairs[i].format = "+s";
            pairs[i].n_children = 2;
            pairs[i].children = twice[i];
        }
        schema->children[ID] = &pairs[39];
    });
}

/* Nothing of a released schema is read: its texts are gone. */
static void released_schema(void) {
    struct ArrowSchema schema;
    struct ArrowArray batch;
    sample_batch(&schema, &batch);
    schema.release(&schema);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write_batch(store, SAMPLE, &batch, &schema, NULL, NULL, &error));
    SAYS("was already released");
    CHECK(batch.release == NULL);
}

/* A stream of good batches that ends badly. */
typedef struct {
    struct ArrowArrayStream first;
    int pulled;
    int code;
    const char *text;
    int other_schema;
} Bad;

static int bad_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    Bad *bad = stream->private_data;
    return bad->first.get_schema(&bad->first, out);
}

static int bad_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    Bad *bad = stream->private_data;
    if (bad->pulled++ == 0) return bad->first.get_next(&bad->first, out);
    if (!bad->other_schema) return bad->code;
    struct ArrowSchema schema;
    sample_batch(&schema, out);
    schema.release(&schema);
    out->children[ID]->release(out->children[ID]);
    free(out->children[ID]);
    out->n_children--;
    for (int64_t i = 0; i < out->n_children; i++) out->children[i] = out->children[i + 1];
    return 0;
}

static const char *bad_error(struct ArrowArrayStream *stream) { return ((Bad *)stream->private_data)->text; }

static void bad_release(struct ArrowArrayStream *stream) {
    Bad *bad = stream->private_data;
    bad->first.release(&bad->first);
    stream->release = NULL;
}

/* A failed callback may leave anything in the place of its result; that is nothing to release. */
static void schema_is_none(struct ArrowSchema *schema) {
    (void)schema;
    CHECK(!"released");
}

static void array_is_none(struct ArrowArray *array) {
    (void)array;
    CHECK(!"released");
}

static int no_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    (void)stream;
    out->release = schema_is_none;
    return EIO;
}

static int no_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    (void)stream;
    out->release = array_is_none;
    return EIO;
}

static struct ArrowArrayStream bad_stream(Bad *bad) {
    bad->first = sample_stream();
    bad->pulled = 0;
    return (struct ArrowArrayStream){bad_schema, bad_next, bad_error, bad_release, bad};
}

static void streams(void) {
    Bad bad = {.code = ENOSPC, .text = "the camera is off"};
    struct ArrowArrayStream rows = bad_stream(&bad);
    GIVES(METAXY_IO, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("failed at batch 1: the camera is off");
    CHECK(rows.release == NULL);
    CHECK(strcmp(metaxy_error_detail(error, "batch"), "1") == 0);

    bad.text = NULL;
    rows = bad_stream(&bad);
    GIVES(METAXY_IO, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("No space left");

    bad.other_schema = 1;
    rows = bad_stream(&bad);
    GIVES(METAXY_SCHEMA_MISMATCH, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("batch 1 of the stream `rows` does not agree with its schema");

    rows = bad_stream(&bad);
    rows.get_schema = no_schema;
    GIVES(METAXY_IO, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("cannot tell its schema");

    rows = bad_stream(&bad);
    rows.get_next = no_next;
    GIVES(METAXY_IO, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("failed at batch 0");

    rows = bad_stream(&bad);
    rows.get_next = NULL;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    CHECK(rows.release == NULL);

    /* Only what is not read may be missing. */
    bad = (Bad){.code = EIO};
    rows = bad_stream(&bad);
    rows.get_last_error = NULL;
    GIVES(METAXY_IO, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
}

/* A writer goes on after an array that was refused. */
static void writer(void) {
    MetaxyWriter *writer = NULL;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    Case spoiled;
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
    schema.release(&schema);
    prepare(&spoiled);
    spoiled.rows.length = -1;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_writer_push(writer, &spoiled.rows, NULL, &error));
    CHECK(spoiled.rows.release == NULL);
    spoiled.schema_original.release(&spoiled.schema_original);
    GIVES(METAXY_OK, metaxy_writer_push(writer, &batch, NULL, &error));
    GIVES(METAXY_OK, metaxy_writer_commit(writer, NULL, &error));
    metaxy_writer_free(writer);
}

int main(void) {
    store = sample_store();
    arrays();
    schemas();
    released_schema();
    streams();
    struct ArrowArrayStream nothing = {0};
    GIVES(METAXY_NOT_FOUND, metaxy_store_read(store, SAMPLE, NULL, NULL, &nothing, &error));
    writer();
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    metaxy_store_free(store);
    return done();
}
