/*
 * The least Arrow that a C program needs to hand over a few rows and to show some: text, 64-bit
 * integers, and structs of them. It uses the Arrow C data interface as metaxy.h declares it and
 * nothing else; a larger program would use nanoarrow or Arrow's own libraries instead.
 *
 *   arrow_rows                 columns in C arrays -> a stream of one batch
 *   arrow_rows_print           a stream of batches -> an aligned table on stdout
 *   arrow_rows_print_columns   the same with two columns of it
 */
#ifndef ARROW_ROWS_H
#define ARROW_ROWS_H

#include "metaxy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A column: `text`, `numbers` or, for a struct, `count` members. */
typedef struct ArrowColumn {
    const char *name;
    const char *const *text;
    const int64_t *numbers;
    const struct ArrowColumn *members;
    int64_t count;
} ArrowColumn;

static void *arrow_alloc(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* A child that the consumer has moved out is released already: its `release` is NULL. */
static void arrow_release_schema(struct ArrowSchema *schema) {
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release) schema->children[i]->release(schema->children[i]);
        free(schema->children[i]);
    }
    free(schema->children);
    free(schema->private_data);
    schema->release = NULL;
}

static void arrow_release_array(struct ArrowArray *array) {
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release) array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    for (int64_t i = 0; i < array->n_buffers; i++) free((void *)array->buffers[i]);
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

static void arrow_make_schema(const ArrowColumn *column, struct ArrowSchema *out) {
    size_t bytes = strlen(column->name) + 1;
    char *name = arrow_alloc(bytes, 1);
    memcpy(name, column->name, bytes);
    *out = (struct ArrowSchema){
        .format = column->text ? "U" : column->numbers ? "l" : "+s",
        .name = name,
        .flags = ARROW_FLAG_NULLABLE,
        .n_children = column->count,
        .children = arrow_alloc((size_t)column->count, sizeof(struct ArrowSchema *)),
        .release = arrow_release_schema,
        .private_data = name,
    };
    for (int64_t i = 0; i < column->count; i++) {
        out->children[i] = arrow_alloc(1, sizeof(struct ArrowSchema));
        arrow_make_schema(&column->members[i], out->children[i]);
    }
}

static void arrow_make_array(const ArrowColumn *column, int64_t rows, struct ArrowArray *out) {
    *out = (struct ArrowArray){
        .length = rows,
        .n_buffers = column->text ? 3 : column->numbers ? 2 : 1,
        .n_children = column->count,
        .buffers = arrow_alloc(3, sizeof(void *)), /* the first one says what is null: nothing is */
        .children = arrow_alloc((size_t)column->count, sizeof(struct ArrowArray *)),
        .release = arrow_release_array,
    };
    if (column->numbers) {
        int64_t *numbers = arrow_alloc((size_t)rows, sizeof *numbers);
        if (rows) memcpy(numbers, column->numbers, (size_t)rows * sizeof *numbers);
        out->buffers[1] = numbers;
    }
    if (column->text) {
        int64_t *ends = arrow_alloc((size_t)rows + 1, sizeof *ends);
        for (int64_t i = 0; i < rows; i++) ends[i + 1] = ends[i] + (int64_t)strlen(column->text[i]);
        char *bytes = arrow_alloc((size_t)ends[rows], 1);
        for (int64_t i = 0; i < rows; i++)
            memcpy(bytes + ends[i], column->text[i], (size_t)(ends[i + 1] - ends[i]));
        out->buffers[1] = ends;
        out->buffers[2] = bytes;
    }
    for (int64_t i = 0; i < column->count; i++) {
        out->children[i] = arrow_alloc(1, sizeof(struct ArrowArray));
        arrow_make_array(&column->members[i], rows, out->children[i]);
    }
}

typedef struct ArrowRows {
    struct ArrowSchema schema;
    struct ArrowArray batch; /* given away by the first get_next */
} ArrowRows;

static int arrow_rows_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    ArrowRows *rows = stream->private_data;
    if (!rows->schema.release) return EINVAL;
    *out = rows->schema;
    rows->schema.release = NULL;
    return 0;
}

static int arrow_rows_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    ArrowRows *rows = stream->private_data;
    *out = rows->batch; /* released already, the second time: that is how a stream says it ends */
    rows->batch.release = NULL;
    return 0;
}

static const char *arrow_rows_error(struct ArrowArrayStream *stream) {
    (void)stream;
    return "the schema of these rows can be asked for once";
}

static void arrow_rows_release(struct ArrowArrayStream *stream) {
    ArrowRows *rows = stream->private_data;
    if (rows->schema.release) rows->schema.release(&rows->schema);
    if (rows->batch.release) rows->batch.release(&rows->batch);
    free(rows);
    stream->release = NULL;
}

/* Copies `count` columns of `rows` values each into a stream that owns the copies. */
static inline struct ArrowArrayStream arrow_rows(const ArrowColumn *columns, int64_t count, int64_t rows) {
    const ArrowColumn table = {.name = "", .members = columns, .count = count};
    ArrowRows *owned = arrow_alloc(1, sizeof *owned);
    arrow_make_schema(&table, &owned->schema);
    arrow_make_array(&table, rows, &owned->batch);
    return (struct ArrowArrayStream){
        .get_schema = arrow_rows_schema,
        .get_next = arrow_rows_next,
        .get_last_error = arrow_rows_error,
        .release = arrow_rows_release,
        .private_data = owned,
    };
}

static void arrow_print_value(const char *format, const struct ArrowArray *column, int64_t row) {
    const unsigned char *valid = column->buffers[0];
    int64_t i = column->offset + row;
    if (valid && !(valid[i / 8] >> (i % 8) & 1)) {
        printf("%-22s", "null");
    } else if (!strcmp(format, "U")) {
        const int64_t *ends = column->buffers[1];
        printf("%-22.*s", (int)(ends[i + 1] - ends[i]), (const char *)column->buffers[2] + ends[i]);
    } else if (!strcmp(format, "u")) {
        const int32_t *ends = column->buffers[1];
        printf("%-22.*s", (int)(ends[i + 1] - ends[i]), (const char *)column->buffers[2] + ends[i]);
    } else if (!strcmp(format, "l")) {
        printf("%-22" PRId64, ((const int64_t *)column->buffers[1])[i]);
    } else if (!strcmp(format, "L")) {
        printf("%-22" PRIu64, ((const uint64_t *)column->buffers[1])[i]);
    } else if (!strcmp(format, "b")) {
        printf("%-22s", ((const unsigned char *)column->buffers[1])[i / 8] >> (i % 8) & 1 ? "yes" : "no");
    } else if (!strcmp(format, "+L") && column->children[0]->n_buffers == 3) {
        /* Of texts, as all lists that the library gives of plain values. */
        const int64_t *lengths = column->buffers[1], *ends = column->children[0]->buffers[1];
        const char *bytes = column->children[0]->buffers[2];
        for (int64_t item = lengths[i]; item < lengths[i + 1]; item++) {
            int64_t at = column->children[0]->offset + item;
            printf("%s%.*s", item > lengths[i] ? ", " : "", (int)(ends[at + 1] - ends[at]), bytes + ends[at]);
        }
    } else {
        printf("%-22s", format);
    }
}

/* Prints the columns called `one` and `other`, or all if both are NULL; 0, or what the stream failed with. */
static inline int arrow_rows_print_columns(struct ArrowArrayStream *stream, const char *one, const char *other) {
    struct ArrowSchema schema;
    struct ArrowArray batch;
    int failed = stream->get_schema(stream, &schema);
    if (failed) return failed;
    int wanted[256] = {0};
    for (int64_t c = 0; c < schema.n_children && c < 256; c++) {
        const char *name = schema.children[c]->name;
        wanted[c] = !one || !strcmp(name, one) || !strcmp(name, other);
        if (wanted[c]) printf("%-22s", name);
    }
    putchar('\n');
    while (!(failed = stream->get_next(stream, &batch)) && batch.release) {
        for (int64_t row = 0; row < batch.length; row++) {
            for (int64_t c = 0; c < schema.n_children && c < 256; c++)
                if (wanted[c]) arrow_print_value(schema.children[c]->format, batch.children[c], batch.offset + row);
            putchar('\n');
        }
        batch.release(&batch);
    }
    schema.release(&schema);
    return failed;
}

/* Pulls and prints the whole stream; 0, or what the stream failed with. The stream stays the caller's. */
static inline int arrow_rows_print(struct ArrowArrayStream *stream) {
    return arrow_rows_print_columns(stream, NULL, NULL);
}

#endif
