/*
 * A pipeline that computes only what has to be computed: after each change of the files, or of the code, every feature is
 * asked what is new, stale and orphaned, and just that is worked on.
 *
 *   pipeline DIRECTORY
 *
 *   example/video                 example/crop                  example/faces
 *   audio, frames  ------------>  audio (from audio)   ------>  boxes (from the frames of the crop)
 *   (files on a disk)             frames (from frames)
 */
#include "arrow_rows.h"
#include "metaxy.h"
#include "progress_bar.h"

/* ---- The features ---- */

/* Fields say what is computed from what: a field is fed by those of the same name, unless it names others. The column
 * `path` comes along from feature to feature. */
#define VIDEO \
    "{\"key\": \"example/video\", \"id_columns\": [\"id\"]," \
    " \"fields\": [{\"key\": \"audio\"}, {\"key\": \"frames\"}]}"
#define CROP(audio_code) \
    "{\"key\": \"example/crop\", \"id_columns\": [\"id\"]," \
    " \"deps\": [{\"feature\": \"example/video\", \"select\": [\"path\"]}]," \
    " \"fields\": [{\"key\": \"audio\", \"code_version\": \"" audio_code "\"}, {\"key\": \"frames\", \"code_version\": \"1\"}]}"
#define FACES \
    "{\"key\": \"example/faces\", \"id_columns\": [\"id\"]," \
    " \"deps\": [{\"feature\": \"example/crop\", \"select\": [\"path\"]}]," \
    " \"fields\": [{\"key\": \"boxes\", \"code_version\": \"1\"," \
    "              \"deps\": [{\"feature\": \"example/crop\", \"fields\": [\"frames\"]}]}]}"

/* ---- The files ---- */

enum { MOST = 8 };

/* What a scan of the disk finds: of each file its two tracks, each by a text that changes when the track does. */
typedef struct {
    const char *id, *path, *audio, *frames;
} Video;

static const Video monday[] = {
    {"credits", "/v/credits.mp4", "a-7f", "f-11"},
    {"interview", "/v/interview.mp4", "a-c9", "f-d0"},
    {"intro", "/v/intro.mp4", "a-02", "f-3e"},
};
/* The intro was cut again, the credits were taken down, and there is a trailer. */
static const Video tuesday[] = {
    {"interview", "/v/interview.mp4", "a-c9", "f-d0"},
    {"intro", "/v/intro.mp4", "a-5b", "f-88"},
    {"trailer", "/v/trailer.mp4", "a-e1", "f-4c"},
};
/* The sound of the interview was mixed anew; its frames are what they were. */
static const Video wednesday[] = {
    {"interview", "/v/interview.mp4", "a-3d", "f-d0"},
    {"intro", "/v/intro.mp4", "a-5b", "f-88"},
    {"trailer", "/v/trailer.mp4", "a-e1", "f-4c"},
};

/* Videos as rows: this is how the pipeline learns of the world outside. */
static struct ArrowArrayStream rows_of(const Video *videos, int64_t count) {
    const char *ids[MOST], *paths[MOST], *audio[MOST], *frames[MOST];
    for (int64_t i = 0; i < count; i++) {
        ids[i] = videos[i].id;
        paths[i] = videos[i].path;
        audio[i] = videos[i].audio;
        frames[i] = videos[i].frames;
    }
    const ArrowColumn tracks[] = {{.name = "audio", .text = audio}, {.name = "frames", .text = frames}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "path", .text = paths},
        {.name = "metaxy_provenance_by_field", .members = tracks, .count = 2},
    };
    return arrow_rows(columns, 3, count);
}

/* ---- One step of the pipeline ---- */

static MetaxyError *error; /* of the last call */

/* Ends the program, with the reason, when a call fails. */
static void must(MetaxyStatus status) {
    if (status == METAXY_OK) return;
    fprintf(stderr, "%s\n", metaxy_error_message(error));
    exit(EXIT_FAILURE);
}

static int compare(const void *one, const void *other) { return strcmp(one, other); }

/* The ids of a stream's rows, sorted, which is then released; how many there are. */
static int ids_of(struct ArrowArrayStream *rows, char ids[MOST][32]) {
    struct ArrowSchema schema;
    struct ArrowArray batch;
    int count = 0, failed = rows->get_schema(rows, &schema);
    int64_t id = 0;
    while (!failed && id < schema.n_children && strcmp(schema.children[id]->name, "id") != 0) id++;
    while (!failed && !(failed = rows->get_next(rows, &batch)) && batch.release) {
        const struct ArrowArray *column = batch.children[id];
        const int64_t *ends = column->buffers[1];
        for (int64_t row = column->offset; row < column->offset + batch.length && count < MOST; row++)
            snprintf(ids[count++], 32, "%.*s", (int)(ends[row + 1] - ends[row]), (const char *)column->buffers[2] + ends[row]);
        batch.release(&batch);
    }
    /* The stream can tell in full what a number cannot. */
    if (failed) must(metaxy_error_from_stream(rows, &error));
    schema.release(&schema);
    rows->release(rows);
    qsort(ids, (size_t)count, sizeof *ids, compare);
    return count;
}

/* Prints the ids of a part, if it has any; how many it has. */
static int show(const char *what, struct ArrowArrayStream *rows, char ids[MOST][32]) {
    int count = ids_of(rows, ids);
    if (count > 0) printf("    %-10s", what);
    for (int i = 0; i < count; i++) printf("%s%s", ids[i], i < count - 1 ? ", " : "\n");
    return count;
}

/* The work itself is left out: what the increment says is written as it is. A real worker would pull the rows, compute
 * something for each `path`, and write the rows with its results in further columns; the versions stay as they are. As
 * the library pulls the rows while it writes, its progress is that of the work. */
static void compute(MetaxyStore *store, const char *feature, struct ArrowArrayStream *rows, uint64_t count) {
    ProgressBar bar;
    must(progress_bar_begin(&bar, (int64_t)count, &error));
    must(metaxy_store_write(store, feature, rows, NULL, bar.context, &error));
    progress_bar_end(&bar);
}

static void remove_samples(MetaxyStore *store, const char *feature, char ids[MOST][32], int count) {
    MetaxyReadRequest *request = NULL;
    uint64_t deleted = 0;
    char filter[MOST * 40] = "id IN (";
    for (int i = 0; i < count; i++)
        snprintf(filter + strlen(filter), sizeof filter - strlen(filter), "%s'%s'", i ? ", " : "", ids[i]);
    snprintf(filter + strlen(filter), sizeof filter - strlen(filter), ")");
    must(metaxy_read_request_new(&request, &error));
    must(metaxy_read_request_add_filter(request, filter, &error));
    must(metaxy_store_delete(store, feature, request, NULL, NULL, &deleted, &error));
    metaxy_read_request_free(request);
}

/* Asks what there is to do for a feature, and does it. `samples` is for a feature that depends on no other. */
static void step(MetaxyStore *store, const char *feature, struct ArrowArrayStream *samples) {
    MetaxyIncrement *increment = NULL;
    struct ArrowArrayStream rows = {0};
    char ids[MOST][32];
    uint64_t new_rows = 0, stale_rows = 0, orphaned_rows = 0;

    /* As with a write, the samples are the library's from here on. */
    must(metaxy_store_resolve_update(store, feature, NULL, samples, NULL, &increment, &error));
    must(metaxy_increment_counts(increment, &new_rows, &stale_rows, &orphaned_rows, &error));
    printf("%-14s %d new, %d stale, %d orphaned\n", feature, (int)new_rows, (int)stale_rows, (int)orphaned_rows);

    /* A part may be read as often as one likes: here once to show it and once to work on it. */
    must(metaxy_increment_read_new(increment, NULL, &rows, &error));
    if (show("new", &rows, ids) > 0) {
        must(metaxy_increment_read_new(increment, NULL, &rows, &error));
        compute(store, feature, &rows, new_rows);
    }
    must(metaxy_increment_read_stale(increment, NULL, &rows, &error));
    if (show("stale", &rows, ids) > 0) {
        must(metaxy_increment_read_stale(increment, NULL, &rows, &error));
        compute(store, feature, &rows, stale_rows);
    }
    must(metaxy_increment_read_orphaned(increment, NULL, &rows, &error));
    int gone = show("orphaned", &rows, ids);
    if (gone > 0) remove_samples(store, feature, ids, gone);
    metaxy_increment_free(increment);
}

/* All features, each after those that it depends on: what was written of one is what the next one is computed from. */
static void run(const char *title, MetaxyStore *store, const Video *videos, int64_t count) {
    struct ArrowArrayStream samples = rows_of(videos, count);
    printf("\n%s\n", title);
    step(store, "example/video", &samples);
    step(store, "example/crop", NULL);
    step(store, "example/faces", NULL);
}

/* ---- The story ---- */

int main(int argc, char **argv) {
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    MetaxyGraph *before = NULL, *after = NULL;
    struct ArrowArrayStream difference = {0};
    if (argc != 2) {
        fputs("usage: pipeline DIRECTORY\n", stderr);
        return EXIT_FAILURE;
    }
    must(metaxy_options_new(&options, &error));
    must(metaxy_options_set(options, "project", "example", &error));
    must(metaxy_store_open(argv[1], options, NULL, &store, &error));
    must(metaxy_store_define(store, "[" VIDEO ", " CROP("1") ", " FACES "]", &error));

    run("Monday: everything is new", store, monday, 3);
    run("Monday, once more: nothing is left to do", store, monday, 3);
    run("Tuesday: one file is another, one is gone, one came", store, tuesday, 3);
    run("Wednesday: one soundtrack is another, which no face was found in", store, wednesday, 3);

    /* On Thursday there is better code for the audio of crops. Which features does that change? */
    must(metaxy_store_graph(store, NULL, &before, &error));
    must(metaxy_store_define(store, CROP("2"), &error));
    must(metaxy_store_graph(store, NULL, &after, &error));
    must(metaxy_graph_difference(before, after, &difference, &error));
    printf("\nThursday: other code for one field\n");
    if (arrow_rows_print_columns(&difference, "feature", "difference") != 0) return EXIT_FAILURE;
    difference.release(&difference);

    /* That is another version of the crops, and nothing is stored of it yet. But the frames of the crops come out as
     * before, so that the faces, which depend on nothing else, stay as they are. */
    run("Thursday: all crops again, and no faces", store, wednesday, 3);

    metaxy_graph_free(before);
    metaxy_graph_free(after);
    metaxy_options_free(options);
    metaxy_store_free(store);
    return EXIT_SUCCESS;
}
