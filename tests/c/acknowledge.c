/*
 * Pushes rows from several threads for ever, and prints the id of each as soon as it is acknowledged: to be killed.
 *
 *   acknowledge DIRECTORY
 */
#define _GNU_SOURCE
#include "arrow_rows.h"

#include <pthread.h>
#include <unistd.h>

enum { THREADS = 4 };

static const char feature[] =
    "{\"feature_spec\": {\"key\": \"r/a\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"x\", \"code_version\": \"1\"}]}}";

static struct ArrowArrayStream one_row(const char *id) {
    const ArrowColumn fields[] = {{.name = "x", .text = &id}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = &id},
        {.name = "metaxy_provenance_by_field", .members = fields, .count = 1},
    };
    return arrow_rows(columns, 2, 1);
}

static MetaxyBufferedWriter *writer;

static void *work(void *data) {
    for (int number = 0;; number++) {
        char id[32], line[33];
        uint64_t ticket;
        struct ArrowArray row;
        snprintf(id, sizeof id, "%d-%d", *(const int *)data, number);
        struct ArrowArrayStream rows = one_row(id);
        rows.get_next(&rows, &row);
        rows.release(&rows);
        if (metaxy_buffered_writer_push(writer, &row, NULL, &ticket, NULL) != METAXY_OK) return NULL;
        if (metaxy_buffered_writer_wait(writer, ticket, NULL, NULL) != METAXY_OK) return NULL;
        int length = snprintf(line, sizeof line, "%s\n", id);
        if (write(STDOUT_FILENO, line, (size_t)length) != length) return NULL;
    }
}

int main(int argc, char **argv) {
    static const int numbers[THREADS] = {0, 1, 2, 3};
    MetaxyError *error = NULL;
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    struct ArrowSchema schema;
    pthread_t threads[THREADS];
    struct ArrowArrayStream rows = one_row("");
    rows.get_schema(&rows, &schema);
    if (argc == 2 && metaxy_store_open(argv[1], NULL, NULL, &store, &error) == METAXY_OK &&
        metaxy_store_define(store, feature, &error) == METAXY_OK && metaxy_options_new(&options, &error) == METAXY_OK &&
        metaxy_options_set(options, "buffer.rows", "3", &error) == METAXY_OK &&
        metaxy_options_set(options, "buffer.ms", "5", &error) == METAXY_OK &&
        metaxy_store_buffered_writer(store, "r/a", &schema, options, NULL, &writer, &error) == METAXY_OK) {
        for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)&numbers[i]);
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    }
    fprintf(stderr, "%s\n", error ? metaxy_error_message(error) : "it was not killed");
    return 1;
}
