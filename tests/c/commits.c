/*
 * Writes to the feature "sample", one row at a time, for a test that watches what that does.
 *
 *     commits DIRECTORY DURABILITY WRITES
 *
 * prints the milliseconds that a write took, the first aside.
 */
#include "sample.h"

#include <time.h>

static double now(void) {
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void write_row(const MetaxyStore *store, int number) {
    char id[16];
    const char *ids[] = {id}, *sources[] = {"1"};
    const int64_t sizes[] = {number};
    const ArrowColumn fields[] = {{.name = "default", .text = sources}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "size", .numbers = sizes},
        {.name = "metaxy_provenance_by_field", .members = fields, .count = 1},
    };
    snprintf(id, sizeof id, "%d", number);
    struct ArrowArrayStream rows = arrow_rows(columns, 3, 1);
    GIVES(METAXY_OK, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    MetaxyOptions *options = NULL;
    MetaxyStore *store = NULL;
    int writes = atoi(argv[3]);
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "durability", argv[2], &error));
    GIVES(METAXY_OK, metaxy_store_open(argv[1], options, NULL, &store, &error));
    sample_define(store);
    write_row(store, 0);
    double began = now();
    for (int number = 1; number < writes; number++) write_row(store, number);
    if (writes > 1) printf("%.2f\n", (now() - began) / (writes - 1));
    CHECK(stored_rows(store) == writes);
    metaxy_options_free(options);
    metaxy_store_free(store);
    return done();
}
