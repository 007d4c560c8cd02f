/*
 * A store anywhere: opens the one at URI with the options that follow, writes two rows and reads them back.
 *
 *   storage URI [NAME=VALUE ...]
 *
 *   storage ./metadata
 *   storage s3://my-bucket/metaxy storage_options.aws_region=eu-central-1
 *
 * What is not given as an option is taken from the environment: docs/storage.md says by which names. Only the URI differs
 * between storages; the calls are the same.
 */
#include "arrow_rows.h"
#include "metaxy.h"

#include <string.h>

static const char feature[] =
    "{\"key\": \"example/video\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"frames\", \"code_version\": \"1\"}]}";

/* Sets an option from "NAME=VALUE"; the options copy both. */
static int set(MetaxyOptions *options, char *argument, MetaxyError **error) {
    char *value = strchr(argument, '=');
    if (value) *value++ = '\0';
    int failed = metaxy_options_set(options, argument, value, error) != METAXY_OK;
    if (value) value[-1] = '=';
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs("usage: storage URI [NAME=VALUE ...]\n", stderr);
        return 2;
    }
    const char *ids[] = {"credits", "intro"}, *frames[] = {"f-11", "f-3e"};
    const ArrowColumn versions[] = {{.name = "frames", .text = frames}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 1},
    };
    const char *wanted[] = {"id", "metaxy_provenance"};

    MetaxyError *error = NULL;
    MetaxyOptions *options = NULL;
    MetaxyStore *store = NULL;
    MetaxyReadRequest *request = NULL;
    struct ArrowArrayStream incoming = arrow_rows(columns, 2, 2), rows = {0};
    int failed = 1;

    if (metaxy_options_new(&options, &error) != METAXY_OK) goto done;
    for (int i = 2; i < argc; i++)
        if (set(options, argv[i], &error)) goto done;

    /* Says at once what cannot be right, such as a missing account; most storages are asked on first use only. */
    if (metaxy_store_open(argv[1], options, NULL, &store, &error) != METAXY_OK) goto done;
    if (metaxy_store_define(store, feature, &error) != METAXY_OK) goto done;
    if (metaxy_store_write(store, "example/video", &incoming, NULL, NULL, &error) != METAXY_OK) goto done;

    if (metaxy_read_request_new(&request, &error) != METAXY_OK) goto done;
    if (metaxy_read_request_set_columns(request, wanted, 2, &error) != METAXY_OK) goto done;
    if (metaxy_store_read(store, "example/video", request, NULL, &rows, &error) != METAXY_OK) goto done;
    if (arrow_rows_print(&rows) != 0) {
        metaxy_error_from_stream(&rows, &error);
        goto done;
    }
    failed = metaxy_store_close(store, &error) != METAXY_OK;

done:
    /* A message never holds a key or a token; `reason` tells wrong keys from a host that does not answer. */
    if (error) {
        const char *reason = metaxy_error_detail(error, "reason");
        fprintf(stderr, "%s%s%s\n", metaxy_error_message(error), reason ? "\nreason: " : "", reason ? reason : "");
    }
    if (incoming.release) incoming.release(&incoming);
    if (rows.release) rows.release(&rows);
    metaxy_read_request_free(request);
    metaxy_store_free(store);
    metaxy_options_free(options);
    metaxy_error_free(error);
    return failed;
}
