/*
 * The life of some rows: written, deleted softly, written again, removed for good, and gone from the disk.
 *
 *   lifecycle DIRECTORY
 */
#include "arrow_rows.h"
#include "metaxy.h"

static const char feature[] =
    "{\"feature_spec\": {\"key\": \"example/video\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"frames\"}]},"
    " \"project\": \"lifecycle\"}";
#define VIDEO "example/video"

static MetaxyError *error; /* of the last call */

/* Ends the program, with the reason, when a call fails. */
static void must(MetaxyStatus status) {
    if (status == METAXY_OK) return;
    fprintf(stderr, "%s\n", metaxy_error_message(error));
    exit(EXIT_FAILURE);
}

static void write_videos(MetaxyStore *store, const char *const *ids, const int64_t *sizes, int64_t count) {
    const ArrowColumn versions[] = {{.name = "frames", .text = ids}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "size", .numbers = sizes},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 1},
    };
    struct ArrowArrayStream rows = arrow_rows(columns, 3, count);
    must(metaxy_store_write(store, VIDEO, &rows, NULL, NULL, &error));
}

/* The samples that are there now. */
static void show(MetaxyStore *store, const MetaxyReadRequest *request, const char *when) {
    struct ArrowArrayStream rows;
    must(metaxy_store_read(store, VIDEO, request, NULL, &rows, &error));
    printf("%s:\n", when);
    if (arrow_rows_print(&rows) != 0) {
        metaxy_error_from_stream(&rows, &error);
        must(metaxy_error_status(error));
    }
    putchar('\n');
    rows.release(&rows);
}

/* The number in the column `name` of the first row of `report`, which is released. */
static int64_t count(struct ArrowArrayStream *report, const char *name) {
    struct ArrowSchema schema;
    struct ArrowArray batch;
    int64_t found = -1;
    if (report->get_schema(report, &schema) != 0 || report->get_next(report, &batch) != 0) {
        metaxy_error_from_stream(report, &error);
        must(metaxy_error_status(error));
        return found;
    }
    for (int64_t c = 0; c < schema.n_children; c++) {
        if (!strcmp(schema.children[c]->name, name) && batch.length > 0)
            found = ((const int64_t *)batch.children[c]->buffers[1])[batch.children[c]->offset];
    }
    batch.release(&batch);
    schema.release(&schema);
    report->release(report);
    return found;
}

int main(int argc, char **argv) {
    const char *ids[] = {"credits", "intro", "interview"}, *shown[] = {"id", "size"};
    const int64_t sizes[] = {48000, 1250000, 98304000}, shorter = 30100200;
    MetaxyStore *store;
    MetaxyReadRequest *columns, *interview;
    MetaxyOptions *hard, *at_once;
    struct ArrowArrayStream report;
    uint64_t deleted;

    must(metaxy_store_open(argc > 1 ? argv[1] : "./lifecycle", NULL, NULL, &store, &error));
    must(metaxy_store_define(store, feature, &error));
    must(metaxy_read_request_new(&columns, &error));
    must(metaxy_read_request_set_columns(columns, shown, 2, &error));
    must(metaxy_read_request_new(&interview, &error));
    must(metaxy_read_request_add_filter(interview, "id = 'interview'", &error));

    write_videos(store, ids, sizes, 3);
    show(store, columns, "written");

    /* A soft delete adds a tombstone: nobody reads the sample any more, and all of it is still there. */
    must(metaxy_store_delete(store, VIDEO, interview, NULL, NULL, &deleted, &error));
    printf("%d tombstone written\n", (int)deleted);
    show(store, columns, "deleted softly");

    /* A later row of the sample ends that. */
    write_videos(store, &ids[2], &shorter, 1);
    show(store, columns, "written again");

    /* Now it has to go, from every version of the feature, with all that it ever was: two rows, one tombstone. */
    must(metaxy_read_request_set_feature_history(interview, 1, &error));
    must(metaxy_options_new(&hard, &error));
    must(metaxy_options_set(hard, "delete.mode", "hard", &error));
    must(metaxy_store_delete(store, VIDEO, interview, hard, NULL, &deleted, &error));
    printf("%d rows removed\n", (int)deleted);
    show(store, columns, "removed");

    /* The files have it until they are written anew, and the versions of the table before that are pruned. */
    must(metaxy_options_new(&at_once, &error));
    must(metaxy_options_set(at_once, "prune.older_than_ms", "0", &error));
    must(metaxy_store_compact(store, VIDEO, NULL, NULL, &report, &error));
    printf("%s\n", count(&report, "rows_removed") > 0 ? "compacted: the files have no removed rows" : "nothing compacted");
    must(metaxy_store_prune(store, VIDEO, at_once, NULL, &report, &error));
    printf("%s\n", count(&report, "versions_removed") > 0 ? "pruned: the files of before are gone" : "nothing pruned");
    show(store, columns, "what is left");

    metaxy_options_free(at_once);
    metaxy_options_free(hard);
    metaxy_read_request_free(interview);
    metaxy_read_request_free(columns);
    metaxy_store_free(store);
    return EXIT_SUCCESS;
}
