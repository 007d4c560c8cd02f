/* Prints the graph of examples/c/pipeline.c, as it is when that begins, in the language of Mermaid. */
#define main pipeline
#include "pipeline.c"
#undef main

int main(void) {
    MetaxyGraph *graph = NULL;
    char *text = NULL;
    must(metaxy_graph_new("[" VIDEO ", " CROP("1") ", " FACES "]", NULL, &graph, &error));
    must(metaxy_graph_render(graph, NULL, "mermaid", &text, &error));
    fputs(text, stdout);
    metaxy_string_free(text);
    metaxy_graph_free(graph);
    return EXIT_SUCCESS;
}
