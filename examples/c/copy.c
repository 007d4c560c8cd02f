/*
 * Promoting a feature from staging to production: the rows that were approved, with the times and versions that they
 * have. Promoting again copies only what is new.
 *
 *   copy [DIRECTORY]      two stores in it, staging and production; ./metadata by default
 */
#include "arrow_rows.h"
#include "metaxy.h"
#include "progress_bar.h"

static const char feature[] =
    "{\"feature_spec\": {\"key\": \"example/video\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"frames\"}]},"
    " \"project\": \"example\"}";

static const char *const promoted[] = {"example/video"};

static MetaxyStatus write_row(const MetaxyStore *store, const char *id, int64_t score, MetaxyError **error) {
    const ArrowColumn frames = {.name = "frames", .text = &id};
    const ArrowColumn columns[] = {
        {.name = "id", .text = &id},
        {.name = "score", .numbers = &score},
        {.name = "metaxy_provenance_by_field", .members = &frames, .count = 1},
    };
    struct ArrowArrayStream rows = arrow_rows(columns, 3, 1);
    return metaxy_store_write(store, "example/video", &rows, NULL, NULL, error);
}

/* Copies what scores well and prints what was done. */
static int promote(const MetaxyStore *staging, const MetaxyStore *production, MetaxyError **error) {
    MetaxyReadRequest *approved = NULL;
    struct ArrowArrayStream report = {0};
    ProgressBar bar = {0};
    int failed = 1;
    if (metaxy_read_request_new(&approved, error) != METAXY_OK) goto done;
    if (metaxy_read_request_add_filter(approved, "score >= 50", error) != METAXY_OK) goto done;
    /* What was deleted in staging is to go in production too. */
    if (metaxy_read_request_set_deleted(approved, 1, error) != METAXY_OK) goto done;
    /* How many rows there are to look at is known for whole features, but not where a filter chooses among them. */
    if (progress_bar_begin(&bar, -1, error) != METAXY_OK) goto done;
    if (metaxy_store_copy(staging, production, promoted, 1, approved, NULL, bar.context, &report, error) != METAXY_OK)
        goto done;
    progress_bar_end(&bar);
    failed = arrow_rows_print(&report) != 0;
done:
    progress_bar_end(&bar);
    if (report.release) report.release(&report);
    metaxy_read_request_free(approved);
    return failed;
}

int main(int argc, char **argv) {
    const char *directory = argc > 1 ? argv[1] : "./metadata";
    char path[4096];
    MetaxyError *error = NULL;
    MetaxyStore *staging = NULL, *production = NULL;
    struct ArrowArrayStream rows = {0};
    int failed = 1;

    snprintf(path, sizeof path, "%s/staging", directory);
    if (metaxy_store_open(path, NULL, NULL, &staging, &error) != METAXY_OK) goto done;
    snprintf(path, sizeof path, "%s/production", directory);
    if (metaxy_store_open(path, NULL, NULL, &production, &error) != METAXY_OK) goto done;
    if (metaxy_store_define(staging, feature, &error) != METAXY_OK) goto done;
    if (metaxy_store_define(production, feature, &error) != METAXY_OK) goto done;

    if (write_row(staging, "intro", 80, &error) != METAXY_OK) goto done;
    if (write_row(staging, "credits", 20, &error) != METAXY_OK) goto done;
    if (write_row(staging, "interview", 65, &error) != METAXY_OK) goto done;
    puts("promoted:");
    if (promote(staging, production, &error)) goto done;

    if (write_row(staging, "credits", 55, &error) != METAXY_OK) goto done;
    puts("\npromoted again, with better credits:");
    if (promote(staging, production, &error)) goto done;

    puts("\nin production:");
    if (metaxy_store_read(production, "example/video", NULL, NULL, &rows, &error) != METAXY_OK) goto done;
    failed = arrow_rows_print_columns(&rows, "id", "score") != 0;

done:
    if (error) fprintf(stderr, "%s\n", metaxy_error_message(error));
    if (rows.release) rows.release(&rows);
    metaxy_store_free(production);
    metaxy_store_free(staging);
    metaxy_error_free(error);
    return failed;
}
