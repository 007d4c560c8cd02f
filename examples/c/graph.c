/*
 * What does a change of the code make stale? The definitions that were pushed are compared with those of today before
 * anything is computed.
 *
 *   graph DIRECTORY
 */
#include "arrow_rows.h"
#include "metaxy.h"

#define VIDEO(code_version) \
    "{\"key\": \"example/video\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"audio\", \"code_version\": \"" \
    code_version "\"}, {\"key\": \"frames\", \"code_version\": \"1\"}]}"
#define DERIVED(key, field, from) \
    "{\"key\": \"example/" key "\", \"id_columns\": [\"id\"], \"deps\": [\"example/video\"], \"fields\": [{\"key\": \"" \
    field "\", \"deps\": [{\"feature\": \"example/video\", \"fields\": [\"" from "\"]}]}]}"

static const char yesterday[] =
    "[" VIDEO("1") ", " DERIVED("transcript", "text", "audio") ", " DERIVED("faces", "boxes", "frames") "]";

/* The code that extracts the audio is another one, and there is a new feature. */
static const char today[] = "[" VIDEO("2") ", " DERIVED("scenes", "cuts", "frames") "]";

static MetaxyError *error; /* of the last call */

/* Ends the program, with the reason, when a call fails. */
static void must(MetaxyStatus status) {
    if (status == METAXY_OK) return;
    fprintf(stderr, "%s\n", metaxy_error_message(error));
    exit(EXIT_FAILURE);
}

static void show(const char *title, struct ArrowArrayStream *answer, const char *one, const char *other) {
    printf("\n%s\n", title);
    if (arrow_rows_print_columns(answer, one, other) != 0) exit(EXIT_FAILURE);
    answer->release(answer);
}

int main(int argc, char **argv) {
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    MetaxyGraph *before = NULL, *after = NULL;
    struct ArrowArrayStream answer = {0};
    char *text = NULL;
    if (argc != 2) {
        fputs("usage: graph DIRECTORY\n", stderr);
        return EXIT_FAILURE;
    }
    must(metaxy_options_new(&options, &error));
    must(metaxy_options_set(options, "project", "example", &error));
    must(metaxy_store_open(argv[1], options, NULL, &store, &error));

    /* Yesterday's code has pushed its definitions. */
    must(metaxy_store_define(store, yesterday, &error));
    must(metaxy_store_push(store, NULL, "{\"commit\": \"1f2e3d\"}", NULL, &answer, &error));
    show("pushed yesterday", &answer, "feature", "pushed");

    /* Today's is compared with what was pushed. */
    must(metaxy_store_define(store, today, &error));
    must(metaxy_store_graph(store, NULL, &after, &error));
    must(metaxy_store_pushed_graph(store, "example", NULL, NULL, 0, NULL, &before, &error));
    must(metaxy_graph_difference(before, after, &answer, &error));
    show("what differs", &answer, "feature", "difference");
    must(metaxy_graph_difference(before, after, &answer, &error));
    show("what is stale", &answer, "feature", "stale");
    must(metaxy_graph_difference(before, after, &answer, &error));
    show("because of", &answer, "feature", "because");

    must(metaxy_graph_render(after, before, "mermaid", &text, &error));
    printf("\n%s", text);
    metaxy_string_free(text);

    /* From now on today's definitions count, for every program that loads them. */
    must(metaxy_store_push(store, NULL, NULL, NULL, &answer, &error));
    show("pushed today", &answer, "feature", "pushed");
    must(metaxy_store_push(store, NULL, NULL, NULL, &answer, &error));
    show("pushed again", &answer, "feature", "pushed");

    metaxy_graph_free(before);
    metaxy_graph_free(after);
    metaxy_options_free(options);
    metaxy_store_free(store);
    return EXIT_SUCCESS;
}
