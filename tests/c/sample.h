/*
 * A store in memory with the feature "sample", and rows for it.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "arrow_rows.h"
#include "check.h"

#define SAMPLE "sample"
#define SAMPLE_ROWS 3

static inline void sample_define(const MetaxyStore *store) {
    GIVES(METAXY_OK, metaxy_store_define(store,
        "{\"feature_spec\": {\"key\": \"sample\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"default\"}]},"
        " \"project\": \"tests\"}", &error));
}

static inline MetaxyStore *sample_store(void) {
    MetaxyStore *store = NULL;
    GIVES(METAXY_OK, metaxy_store_open("memory://", NULL, NULL, &store, &error));
    sample_define(store);
    return store;
}

/* A stream of one batch of SAMPLE_ROWS rows. */
static inline struct ArrowArrayStream sample_stream(void) {
    static const char *const ids[] = {"a", "b", "c"}, *const sources[] = {"1", "2", "3"};
    static const int64_t sizes[] = {10, 20, 30};
    const ArrowColumn fields[] = {{.name = "default", .text = sources}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "size", .numbers = sizes},
        {.name = "metaxy_provenance_by_field", .members = fields, .count = 1},
    };
    return arrow_rows(columns, 3, SAMPLE_ROWS);
}

enum { ID, SIZE, PROVENANCE };

/* The schema and the only batch of such a stream. */
static inline void sample_batch(struct ArrowSchema *schema, struct ArrowArray *batch) {
    struct ArrowArrayStream stream = sample_stream();
    CHECK(stream.get_schema(&stream, schema) == 0);
    CHECK(stream.get_next(&stream, batch) == 0);
    stream.release(&stream);
}

/* Pulls a stream to its end and releases it; -1 if it fails. */
static inline int64_t count_rows(struct ArrowArrayStream *stream) {
    int64_t rows = 0;
    struct ArrowArray batch = {0};
    int failed;
    while (!(failed = stream->get_next(stream, &batch)) && batch.release) {
        rows += batch.length;
        batch.release(&batch);
    }
    stream->release(stream);
    return failed ? -1 : rows;
}

/* How many rows the feature has now. */
static inline int64_t stored_rows(const MetaxyStore *store) {
    struct ArrowArrayStream rows = {0};
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    return rows.release ? count_rows(&rows) : -1;
}

/* Writes SAMPLE_ROWS rows. */
static inline void write_sample(const MetaxyStore *store) {
    struct ArrowArrayStream rows = sample_stream();
    GIVES(METAXY_OK, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    CHECK(rows.release == NULL);
}

#endif
