/*
 * One program for every environment: which store it opens, and what that falls back to, is said by
 * metaxy.toml and by ENV, not by the code.
 *
 *   ENV=dev|staging|prod environments [VIDEO]     with the metaxy.toml that is nearest, or that METAXY_CONFIG names
 *
 * It writes the video, if it is given one, and prints what can be read in its environment.
 */
#include "arrow_rows.h"
#include "metaxy.h"

static const char feature[] =
    "{\"key\": \"example/video\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"frames\", \"code_version\": \"1\"}]}";

int main(int argc, char **argv) {
    const char *ids[] = {argc > 1 ? argv[1] : NULL}, *frames[] = {"f-11"};
    const ArrowColumn versions[] = {{.name = "frames", .text = frames}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 1},
    };
    const char *wanted[] = {"id", "metaxy_provenance"};

    MetaxyError *error = NULL;
    MetaxyConfig *config = NULL;
    MetaxyStore *store = NULL;
    MetaxyReadRequest *request = NULL;
    char *display = NULL;
    struct ArrowArrayStream incoming = {0}, rows = {0};

    if (metaxy_config_load(NULL, &config, &error) != METAXY_OK) goto done;

    /* NULL is the default store, which the file takes from ENV. The stores that it falls back to are opened when a read
     * needs them: dev runs without the credentials of production. */
    if (metaxy_config_open_store(config, NULL, NULL, NULL, &store, &error) != METAXY_OK) goto done;
    if (metaxy_store_display(store, &display, &error) != METAXY_OK) goto done;
    printf("%s\n", display);

    if (metaxy_store_define(store, feature, &error) != METAXY_OK) goto done;
    if (argc > 1) {
        incoming = arrow_rows(columns, 2, 1);
        /* Taken over, on failure too. */
        if (metaxy_store_write(store, "example/video", &incoming, NULL, NULL, &error) != METAXY_OK) goto done;
    }
    if (metaxy_read_request_new(&request, &error) != METAXY_OK) goto done;
    if (metaxy_read_request_set_columns(request, wanted, 2, &error) != METAXY_OK) goto done;
    if (metaxy_store_read(store, "example/video", request, NULL, &rows, &error) != METAXY_OK) goto done;
    if (arrow_rows_print(&rows) != 0) metaxy_error_from_stream(&rows, &error);

done:
    if (error) fprintf(stderr, "%s\n", metaxy_error_message(error));
    int failed = error != NULL;
    if (rows.release) rows.release(&rows);
    metaxy_string_free(display);
    metaxy_read_request_free(request);
    metaxy_store_free(store);
    metaxy_config_free(config);
    metaxy_error_free(error);
    return failed;
}
