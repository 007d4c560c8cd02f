/* Graphs and pushes from C: handles outlive their stores, every answer is an Arrow stream or a text, wrong arguments are
   told. */
#include "sample.h"

static const char TWO[] =
    "[{\"key\": \"a\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"f\", \"code_version\": \"1\"}]},"
    " {\"key\": \"b\", \"id_columns\": [\"id\"], \"deps\": [\"a\"]}]";
static const char OTHER[] =
    "[{\"key\": \"a\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"f\", \"code_version\": \"2\"}]},"
    " {\"key\": \"b\", \"id_columns\": [\"id\"], \"deps\": [\"a\"]}]";

static MetaxyGraph *graph_of(const char *json) {
    MetaxyGraph *graph = NULL;
    GIVES(METAXY_OK, metaxy_graph_new(json, NULL, &graph, &error));
    return graph;
}

static int contains(char *text, const char *part) {
    int found = text && strstr(text, part);
    metaxy_string_free(text);
    return found;
}

static void answers(void) {
    MetaxyGraph *before = graph_of(TWO), *after = graph_of(OTHER), *again = NULL;
    struct ArrowArrayStream stream = {0};
    char *text = NULL;
    GIVES(METAXY_OK, metaxy_graph_features(before, &stream, &error));
    CHECK(count_rows(&stream) == 2);
    GIVES(METAXY_OK, metaxy_graph_dependencies(before, &stream, &error));
    CHECK(count_rows(&stream) == 1);
    GIVES(METAXY_OK, metaxy_graph_difference(before, after, &stream, &error));
    CHECK(count_rows(&stream) == 2);
    GIVES(METAXY_OK, metaxy_graph_difference(before, before, &stream, &error));
    CHECK(count_rows(&stream) == 0);
    GIVES(METAXY_OK, metaxy_graph_render(after, NULL, "mermaid", &text, &error));
    CHECK(contains(text, "n0 --> n1"));
    GIVES(METAXY_OK, metaxy_graph_render(after, before, "dot", &text, &error));
    CHECK(contains(text, "(changed, stale)"));
    GIVES(METAXY_OK, metaxy_graph_json(after, &text, &error));
    GIVES(METAXY_OK, metaxy_graph_new(text, NULL, &again, &error));
    metaxy_string_free(text);
    GIVES(METAXY_OK, metaxy_graph_difference(after, again, &stream, &error));
    metaxy_graph_free(after);
    metaxy_graph_free(again);
    metaxy_graph_free(before);
    /* The stream needs none of them. */
    CHECK(count_rows(&stream) == 0);
    metaxy_graph_free(before);
    metaxy_graph_free(NULL);
    GIVES(METAXY_INVALID_HANDLE, metaxy_graph_features(before, &stream, &error));
    SAYS("already freed");
}

static void pushes(void) {
    MetaxyStore *store = sample_store();
    MetaxyGraph *graph = NULL;
    struct ArrowArrayStream stream = {0};
    GIVES(METAXY_OK, metaxy_store_push(store, "tests", "{\"by\": \"c\"}", NULL, &stream, &error));
    CHECK(count_rows(&stream) == 1);
    GIVES(METAXY_OK, metaxy_store_push(store, NULL, NULL, NULL, &stream, &error));
    CHECK(count_rows(&stream) == 1);
    const char *const features[] = {SAMPLE};
    GIVES(METAXY_OK, metaxy_store_load(store, "tests", NULL, features, 1, NULL, &stream, &error));
    CHECK(count_rows(&stream) == 1);
    GIVES(METAXY_OK, metaxy_store_pushed_graph(store, NULL, NULL, NULL, 0, NULL, &graph, &error));
    metaxy_store_free(store);
    GIVES(METAXY_OK, metaxy_graph_features(graph, &stream, &error));
    CHECK(count_rows(&stream) == 1);
    metaxy_graph_free(graph);
}

static void refusals(void) {
    MetaxyStore *store = sample_store();
    MetaxyGraph *graph = graph_of(TWO), *none = (MetaxyGraph *)store;
    MetaxyContext *cancelled = NULL;
    struct ArrowArrayStream stream;
    memset(&stream, 0xff, sizeof stream);
    char *text = (char *)store;

    GIVES(METAXY_INVALID_ARGUMENT, metaxy_graph_new("[", NULL, &none, &error));
    CHECK(none == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_graph_new(NULL, NULL, &none, &error));
    SAYS("json is NULL");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_graph_new(TWO, NULL, NULL, &error));
    SAYS("graph is NULL");
    GIVES(METAXY_INVALID_ARGUMENT,
          metaxy_graph_new("[{\"key\": \"a\", \"id_columns\": [\"i\"], \"deps\": [\"a\"]}]", NULL, &none, &error));
    SAYS("a -> a is a cycle");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_graph_render(graph, NULL, "svg", &text, &error));
    SAYS("mermaid or dot");
    CHECK(text == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_graph_render(graph, NULL, NULL, &text, &error));
    SAYS("language is NULL");
    GIVES(METAXY_INVALID_HANDLE, metaxy_graph_render(graph, (const MetaxyGraph *)store, "dot", &text, &error));
    SAYS("expected a MetaxyGraph, found the MetaxyStore");
    GIVES(METAXY_INVALID_HANDLE, metaxy_graph_json(NULL, &text, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_graph_difference(graph, NULL, &stream, &error));
    CHECK(stream.release == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_graph_dependencies(graph, NULL, &error));
    SAYS("dependencies is NULL");
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_graph((const MetaxyStore *)graph, NULL, &none, &error));

    GIVES(METAXY_NOT_FOUND, metaxy_store_push(store, "others", NULL, NULL, &stream, &error));
    SAYS("project others");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_push(store, NULL, "[1]", NULL, &stream, &error));
    SAYS("JSON object of texts");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_push(store, NULL, NULL, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_load(store, NULL, NULL, NULL, 1, NULL, &stream, &error));
    SAYS("features is NULL");
    const char *const features[] = {"sampel"};
    GIVES(METAXY_NOT_FOUND, metaxy_store_load(store, NULL, NULL, features, 1, NULL, &stream, &error));
    GIVES(METAXY_NOT_FOUND, metaxy_store_pushed_graph(store, NULL, "0", NULL, 0, NULL, &none, &error));
    CHECK(none == NULL);
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    GIVES(METAXY_CANCELLED, metaxy_store_push(store, NULL, NULL, cancelled, &stream, &error));
    GIVES(METAXY_CANCELLED, metaxy_store_load(store, NULL, NULL, NULL, 0, cancelled, &stream, &error));
    GIVES(METAXY_OK, metaxy_store_close(store, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_push(store, NULL, NULL, NULL, &stream, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_load(store, NULL, NULL, NULL, 0, NULL, &stream, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_graph(store, NULL, &none, &error));
    metaxy_context_free(cancelled);
    metaxy_graph_free(graph);
    metaxy_store_free(store);
}

int main(void) {
    answers();
    pushes();
    refusals();
    return done();
}
