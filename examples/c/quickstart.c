/*
 * The main job: open a store, define a feature, write rows, read the current ones back, close.
 *
 *   quickstart [DIRECTORY]      the directory is made when absent; ./metadata by default
 *
 * Running it again writes the same rows again and prints the same table: a read gives the latest
 * row of each id.
 */
#include "arrow_rows.h"
#include "metaxy.h"

/* A feature is a table: what identifies its rows, and the fields that rows carry versions of. */
static const char feature[] =
    "{\"feature_spec\": {\"key\": \"example/video\", \"id_columns\": [\"id\"],"
    "                    \"fields\": [{\"key\": \"audio\", \"code_version\": \"1\"},"
    "                                 {\"key\": \"frames\", \"code_version\": \"1\"}]},"
    " \"project\": \"quickstart\"}";

int main(int argc, char **argv) {
    const char *directory = argc > 1 ? argv[1] : "./metadata";
    const char *ids[] = {"credits", "intro", "interview"};
    const int64_t sizes[] = {48000, 1250000, 98304000};
    const char *audio[] = {"a-7f", "a-02", "a-c9"}, *frames[] = {"f-11", "f-3e", "f-d0"};

    /* Where each row came from, per field: any text that changes when the content does. */
    const ArrowColumn versions[] = {{.name = "audio", .text = audio}, {.name = "frames", .text = frames}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "size", .numbers = sizes},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 2},
    };
    const char *wanted[] = {"id", "size", "metaxy_provenance"};

    /* Everything starts as NULL or zero, so that the one exit below can free all of it. */
    MetaxyError *error = NULL;
    MetaxyStore *store = NULL;
    MetaxyReadRequest *request = NULL;
    struct ArrowArrayStream incoming = arrow_rows(columns, 3, 3), rows = {0};
    int failed = 1;

    if (metaxy_store_open(directory, NULL, NULL, &store, &error) != METAXY_OK) goto done;
    if (metaxy_store_define(store, feature, &error) != METAXY_OK) goto done;

    /* The library takes the stream over, on failure too: `incoming.release` is NULL afterwards. */
    if (metaxy_store_write(store, "example/video", &incoming, NULL, NULL, &error) != METAXY_OK) goto done;

    /* A request may be used for many reads; without one, a read gives every column. */
    if (metaxy_read_request_new(&request, &error) != METAXY_OK) goto done;
    if (metaxy_read_request_set_columns(request, wanted, 3, &error) != METAXY_OK) goto done;
    if (metaxy_store_read(store, "example/video", request, NULL, &rows, &error) != METAXY_OK) goto done;

    /* The stream is ours now: rows are read while we pull them, and closing the store would not end it. */
    if (arrow_rows_print(&rows) != 0) {
        metaxy_error_from_stream(&rows, &error);
        goto done;
    }
    failed = metaxy_store_close(store, &error) != METAXY_OK;

done:
    /* Every free accepts NULL. The message belongs to the error and goes with it. */
    if (error) fprintf(stderr, "%s\n", metaxy_error_message(error));
    if (incoming.release) incoming.release(&incoming);
    if (rows.release) rows.release(&rows);
    metaxy_read_request_free(request);
    metaxy_store_free(store);
    metaxy_error_free(error);
    return failed;
}
