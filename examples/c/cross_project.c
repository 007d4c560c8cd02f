/*
 * A store that was given a project takes only features of that project, unless a write says that it is meant.
 *
 *   cross_project [DIRECTORY]      ./metadata by default
 *
 * The store is given its hash algorithm as well, in place of xxhash64. At the end it lists what is stored: one table
 * for the feature, to which each write has appended its rows.
 */
#include "arrow_rows.h"
#include "metaxy.h"

static const char feature[] =
    "{\"feature_spec\": {\"key\": \"video/raw\", \"id_columns\": [\"sample_uid\"],"
    "                    \"fields\": [{\"key\": \"frames\"}, {\"key\": \"audio\"}]},"
    " \"project\": \"ingest\"}";

static struct ArrowArrayStream samples(void) {
    static const int64_t ids[] = {1, 2};
    static const char *const frames[] = {"hash1", "hash2"}, *const audio[] = {"hash1", "hash2"};
    const ArrowColumn provenance[] = {{.name = "frames", .text = frames}, {.name = "audio", .text = audio}};
    const ArrowColumn columns[] = {
        {.name = "sample_uid", .numbers = ids},
        {.name = "provenance_by_field", .members = provenance, .count = 2},
    };
    return arrow_rows(columns, 2, 2);
}

int main(int argc, char **argv) {
    MetaxyError *error = NULL;
    MetaxyOptions *opening = NULL, *writing = NULL;
    MetaxyStore *store = NULL;
    struct ArrowArrayStream incoming = {0}, rows = {0}, tables = {0};
    int failed = 1;

    if (metaxy_options_new(&opening, &error) != METAXY_OK) goto done;
    if (metaxy_options_set(opening, "project", "annotation", &error) != METAXY_OK) goto done;
    if (metaxy_options_set(opening, "hash.algorithm", "sha256", &error) != METAXY_OK) goto done;
    if (metaxy_store_open(argc > 1 ? argv[1] : "./metadata", opening, NULL, &store, &error) != METAXY_OK) goto done;
    if (metaxy_store_define(store, feature, &error) != METAXY_OK) goto done;

    /* Refused: the feature is of the project "ingest". */
    incoming = samples();
    if (metaxy_store_write(store, "video/raw", &incoming, NULL, NULL, &error) != METAXY_INVALID_STATE) goto done;
    printf("refused: the feature belongs to the project %s\n", metaxy_error_detail(error, "project"));
    metaxy_error_free(error);
    error = NULL;

    /* Allowed for the writes that are given these options, and for no others. */
    if (metaxy_options_new(&writing, &error) != METAXY_OK) goto done;
    if (metaxy_options_set(writing, "write.cross_project", "allow", &error) != METAXY_OK) goto done;
    for (int time = 0; time < 2; time++) {
        incoming = samples();
        if (metaxy_store_write(store, "video/raw", &incoming, writing, NULL, &error) != METAXY_OK) goto done;
    }

    if (metaxy_store_read(store, "video/raw", NULL, NULL, &rows, &error) != METAXY_OK) goto done;
    if (arrow_rows_print_columns(&rows, "sample_uid", "metaxy_feature_version") != 0) goto done;
    if (metaxy_store_list(store, NULL, &tables, &error) != METAXY_OK) goto done;
    failed = arrow_rows_print_columns(&tables, "table", "rows") != 0;

done:
    if (error) fprintf(stderr, "%s\n", metaxy_error_message(error));
    if (rows.release) rows.release(&rows);
    if (tables.release) tables.release(&tables);
    metaxy_store_free(store);
    metaxy_options_free(writing);
    metaxy_options_free(opening);
    metaxy_error_free(error);
    return failed;
}
