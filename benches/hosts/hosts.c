/*
 * What the other programs of this folder are compared with: an empty call, and reading all rows of r/a.
 *
 *   hosts-c DIRECTORY DEFINITION READS
 *
 * Each of them prints {"call_ns", "reads_s", "rows", "sum"}: nanoseconds of a call, the seconds of each read, what it
 * gave, and the sum of a column of it. A read is from asking for the rows to having let go of them.
 */
#define _POSIX_C_SOURCE 200809L

#include "metaxy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CALLS = 10000000 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void must(int failed, const char *why) {
    if (!failed) return;
    fprintf(stderr, "hosts-c: %s\n", why);
    exit(1);
}

static void check(MetaxyStatus status, const MetaxyError *error) {
    must(status != METAXY_OK, error ? metaxy_error_message(error) : "failed without an error");
}

static int64_t read_rows(const MetaxyStore *store, int64_t *sum) {
    MetaxyError *error = NULL;
    struct ArrowArrayStream stream = {0};
    struct ArrowSchema schema;
    int64_t rows = 0, size = 0;
    check(metaxy_store_read(store, "r/a", NULL, NULL, &stream, &error), error);
    must(stream.get_schema(&stream, &schema), "there is no schema");
    while (size < schema.n_children && strcmp(schema.children[size]->name, "size")) size++;
    must(size == schema.n_children, "there is no column size");
    for (*sum = 0;;) {
        struct ArrowArray batch;
        must(stream.get_next(&stream, &batch), "the stream failed");
        if (!batch.release) break;
        const struct ArrowArray *column = batch.children[size];
        const int64_t *values = (const int64_t *)column->buffers[1] + batch.offset + column->offset;
        for (int64_t row = 0; row < batch.length; row++) *sum += values[row];
        rows += batch.length;
        batch.release(&batch);
    }
    schema.release(&schema);
    stream.release(&stream);
    return rows;
}

int main(int argc, char **argv) {
    must(argc != 4, "usage: hosts-c DIRECTORY DEFINITION READS");
    MetaxyError *error = NULL;
    MetaxyStore *store = NULL;
    int64_t versions = 0, rows = 0, sum = 0;

    double started = now();
    for (int i = 0; i < CALLS; i++) versions += metaxy_abi_version();
    double call = (now() - started) / CALLS;
    must(versions != (int64_t)CALLS * METAXY_ABI_VERSION, "another version of the ABI");

    check(metaxy_store_open(argv[1], NULL, NULL, &store, &error), error);
    check(metaxy_store_define(store, argv[2], &error), error);
    printf("{\"call_ns\": %.3f, \"reads_s\": [", call * 1e9);
    for (int i = 0; i < atoi(argv[3]); i++) {
        started = now();
        rows = read_rows(store, &sum);
        printf("%s%.6f", i ? ", " : "", now() - started);
    }
    printf("], \"rows\": %" PRId64 ", \"sum\": %" PRId64 "}\n", rows, sum);
    metaxy_store_free(store);
    return 0;
}
