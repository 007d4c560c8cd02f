/*
 * One operation of the benchmark, through the C ABI, in a process of its own.
 *
 *   bench OP ROWS DIRECTORY [check]
 *
 *   write           the rows of benches/bench_metaxy.py into an empty directory
 *   write_stream    the same rows, made while they are written: the input takes no memory
 *   write_captions  as write_stream, a row of another feature for each of these
 *   write_frames    as write_stream, rows of a third feature, ten to a group, the groups interleaved
 *   write_change    1 % of the rows again, with other versions
 *   append1k        1000 more rows
 *   read            every current row and column
 *   history_read    the same, of a table whose rows were partly written twice
 *   read_filter     size < 10000, about 1 %
 *   read_point      one id
 *   read_cols       the column id
 *   fallback3       as read, through a chain: DIRECTORY/dev, DIRECTORY/stag, DIRECTORY/root, which alone has the table
 *   small_writes    ROWS writes of one row each, with automatic compaction
 *   resolve_new     what is to be done for a feature that has no rows, all rows of the increment
 *   resolve_noop    the same, with nothing to do
 *   resolve_stale   the same, with 1 % that has changed
 *   resolve_write   resolve_new, and the rows written
 *   resolve_mixed   as resolve_stale, some being new or orphaned
 *   resolve_joined  what is to be done for a feature of two parents, joined by the id, that has no rows
 *   resolve_joined_noop  the same, with nothing to do
 *   resolve_grouped what is to be done for a feature that aggregates the groups, and has no rows
 *
 * DIRECTORY may be a URI. What it takes to reach it is in METAXY_BENCH_OPTIONS: lines of the form NAME=VALUE.
 *
 * Prints {"op","rows","seconds","result_rows","rss_before_mb","rss_peak_mb"}. `seconds` is from
 * opening the store to having closed it, with every batch pulled. With `check` (never timed) a read
 * also prints sums that the other programs print too, so that equal speed means equal rows. Resolving prints the rows
 * of each part, new, stale and orphaned, as "parts", and the sums of each.
 */
#define _POSIX_C_SOURCE 200809L

#include "metaxy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { BATCH_ROWS = 65536, MEMBERS = 2, PARTS = 3, GROUP = 10 };

#define FIELD(key) "{\"key\": \"" key "\", \"code_version\": \"1\"}"
#define FIELD_OF(key, deps) "{\"key\": \"" key "\", \"code_version\": \"1\", \"deps\": [" deps "]}"
#define FROM(feature, field) "{\"feature\": \"" feature "\", \"fields\": [\"" field "\"]}"
#define FEATURE(key, id, more) \
    "{\"project\": \"bench\", \"feature_spec\": {\"key\": \"" key "\", \"id_columns\": [\"" id "\"], " more "}}"

/* What is written, and what is computed of it: a field of the same name and one of what another is made of; the same of
   two parents; and one value for each group. */
static const char features[] =
    "[" FEATURE("r/a", "id", "\"fields\": [" FIELD("audio") ", " FIELD("frames") "]")
    ", " FEATURE("r/c", "id", "\"fields\": [" FIELD("text") "]")
    ", " FEATURE("r/e", "id", "\"fields\": [" FIELD("px") "]")
    ", " FEATURE("r/b", "id", "\"deps\": [\"r/a\"], \"fields\": ["
                 FIELD("audio") ", " FIELD_OF("faces", FROM("r/a", "frames")) "]")
    ", " FEATURE("r/d", "id", "\"deps\": [\"r/a\", \"r/c\"], \"fields\": ["
                 FIELD("audio") ", " FIELD_OF("faces", FROM("r/a", "frames") ", " FROM("r/c", "text")) "]")
    ", " FEATURE("r/f", "clip", "\"deps\": [{\"feature\": \"r/e\", \"lineage\": {\"relationship\":"
                 " {\"type\": \"N:1\", \"on\": [\"clip\"]}}}], \"fields\": [" FIELD("px") "]") "]";

static void *allocate(size_t size) {
    void *memory = calloc(size ? size : 1, 1);
    if (!memory) {
        fputs("bench: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* ---- rows as Arrow batches ---- */

static void release_schema(struct ArrowSchema *schema) {
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release) schema->children[i]->release(schema->children[i]);
        free(schema->children[i]);
    }
    free(schema->children);
    schema->release = NULL;
}

static void release_array(struct ArrowArray *array) {
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release) array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    for (int64_t i = 0; i < array->n_buffers; i++) free((void *)array->buffers[i]);
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

static void make_schema(struct ArrowSchema *out, const char *name, const char *format, int64_t children) {
    *out = (struct ArrowSchema){
        .format = format,
        .name = name,
        .flags = ARROW_FLAG_NULLABLE,
        .n_children = children,
        .children = allocate((size_t)children * sizeof(struct ArrowSchema *)),
        .release = release_schema,
    };
    for (int64_t i = 0; i < children; i++) out->children[i] = allocate(sizeof(struct ArrowSchema));
}

static void make_array(struct ArrowArray *out, int64_t length, int64_t buffers, int64_t children) {
    *out = (struct ArrowArray){
        .length = length,
        .n_buffers = buffers,
        .n_children = children,
        .buffers = allocate(3 * sizeof(void *)),
        .children = allocate((size_t)children * sizeof(struct ArrowArray *)),
        .release = release_array,
    };
    for (int64_t i = 0; i < children; i++) out->children[i] = allocate(sizeof(struct ArrowArray));
}

/* Row i reads prefix, i, suffix; i is padded with zeros to `digits`, and begins anew after `wrap` unless that is 0. */
static void make_text(struct ArrowArray *out, int64_t from, int64_t rows, int64_t wrap, const char *prefix, int digits,
                      const char *suffix) {
    make_array(out, rows, 3, 0);
    int64_t *ends = allocate((size_t)(rows + 1) * sizeof *ends);
    char *bytes = allocate((size_t)rows * (strlen(prefix) + 20 + strlen(suffix)) + 1);
    for (int64_t i = 0; i < rows; i++) {
        int64_t number = wrap ? (from + i) % wrap : from + i;
        ends[i + 1] = ends[i] + sprintf(bytes + ends[i], "%s%0*" PRId64 "%s", prefix, digits, number, suffix);
    }
    out->buffers[1] = ends;
    out->buffers[2] = bytes;
}

static void make_sizes(struct ArrowArray *out, int64_t from, int64_t rows) {
    int64_t *size = allocate((size_t)rows * sizeof *size);
    for (int64_t i = 0; i < rows; i++) size[i] = (from + i) * 7919 % 1000003;
    make_array(out, rows, 2, 0);
    out->buffers[1] = size;
}

static void make_heights(struct ArrowArray *out, int64_t from, int64_t rows) {
    double *height = allocate((size_t)rows * sizeof *height);
    for (int64_t i = 0; i < rows; i++) height[i] = (double)((from + i) % 1080);
    make_array(out, rows, 2, 0);
    out->buffers[1] = height;
}

/* A feature that is written: its columns besides the id, and the fields that have versions, which begin with the field's
   first letter. */
typedef struct Kind {
    const char *feature;
    struct {
        const char *name, *format;
    } columns[3];
    const char *members[MEMBERS];
} Kind;

static const Kind clips = {"r/a", {{"path", "U"}, {"size", "l"}, {"height", "g"}}, {"audio", "frames"}};
static const Kind captions = {"r/c", {{"caption", "U"}, {"score", "g"}}, {"text"}};
static const Kind frames = {"r/e", {{"clip", "U"}, {"size", "l"}}, {"px"}};

static int64_t column_count(const Kind *kind) {
    int64_t count = 0;
    while (count < 3 && kind->columns[count].name) count++;
    return count;
}

static int64_t member_count(const Kind *kind) {
    int64_t count = 0;
    while (count < MEMBERS && kind->members[count]) count++;
    return count;
}

static void rows_schema(const Kind *kind, struct ArrowSchema *out) {
    int64_t columns = column_count(kind), members = member_count(kind);
    make_schema(out, "", "+s", columns + 2);
    make_schema(out->children[0], "id", "U", 0);
    for (int64_t i = 0; i < columns; i++)
        make_schema(out->children[i + 1], kind->columns[i].name, kind->columns[i].format, 0);
    struct ArrowSchema *versions = out->children[columns + 1];
    make_schema(versions, "metaxy_provenance_by_field", "+s", members);
    for (int64_t i = 0; i < members; i++) make_schema(versions->children[i], kind->members[i], "U", 0);
}

static void rows_batch(const Kind *kind, struct ArrowArray *out, int64_t from, int64_t rows, int64_t groups,
                       const char *tag) {
    int64_t columns = column_count(kind), members = member_count(kind);
    make_array(out, rows, 1, columns + 2);
    make_text(out->children[0], from, rows, 0, "s", 9, "");
    for (int64_t i = 0; i < columns; i++) {
        struct ArrowArray *column = out->children[i + 1];
        if (*kind->columns[i].format == 'l') make_sizes(column, from, rows);
        else if (*kind->columns[i].format == 'g') make_heights(column, from, rows);
        else if (kind == &clips) make_text(column, from, rows, 0, "s3://bucket/video/", 9, "/clip.mp4");
        else if (kind == &captions) make_text(column, from, rows, 0, "what is seen in clip ", 9, "");
        else make_text(column, from, rows, groups, "c", 9, "");
    }
    struct ArrowArray *versions = out->children[columns + 1];
    make_array(versions, rows, 1, members);
    for (int64_t i = 0; i < members; i++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "%s%c", tag, kind->members[i][0]);
        make_text(versions->children[i], from, rows, 0, prefix, 1, "");
    }
}

/* The rows first..first + rows as a stream: made beforehand, or each batch when it is pulled. */
typedef struct Rows {
    const Kind *kind;
    int64_t first, rows, next;
    const char *tag;
    struct ArrowArray *ready;
} Rows;

static int64_t batch_count(const Rows *self) {
    return (self->rows + BATCH_ROWS - 1) / BATCH_ROWS;
}

static void make_batch(const Rows *self, int64_t batch, struct ArrowArray *out) {
    int64_t from = batch * BATCH_ROWS, rest = self->rows - from;
    int64_t groups = self->rows < GROUP ? 1 : self->rows / GROUP;
    rows_batch(self->kind, out, self->first + from, rest < BATCH_ROWS ? rest : BATCH_ROWS, groups, self->tag);
}

static int rows_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    const Rows *self = stream->private_data;
    rows_schema(self->kind, out);
    return 0;
}

static int rows_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    Rows *self = stream->private_data;
    if (self->next == batch_count(self)) {
        out->release = NULL;
        return 0;
    }
    if (self->ready) {
        *out = self->ready[self->next];
        self->ready[self->next].release = NULL;
    } else {
        make_batch(self, self->next, out);
    }
    self->next++;
    return 0;
}

static const char *rows_get_last_error(struct ArrowArrayStream *stream) {
    (void)stream;
    return NULL;
}

static void rows_release(struct ArrowArrayStream *stream) {
    Rows *self = stream->private_data;
    for (int64_t i = 0; self->ready && i < batch_count(self); i++)
        if (self->ready[i].release) self->ready[i].release(&self->ready[i]);
    free(self->ready);
    free(self);
    stream->release = NULL;
}

static struct ArrowArrayStream rows_stream(const Kind *kind, int64_t first, int64_t rows, const char *tag,
                                           int beforehand) {
    Rows *self = allocate(sizeof *self);
    *self = (Rows){.kind = kind, .first = first, .rows = rows, .tag = tag};
    if (beforehand) {
        self->ready = allocate((size_t)batch_count(self) * sizeof *self->ready);
        for (int64_t i = 0; i < batch_count(self); i++) make_batch(self, i, &self->ready[i]);
    }
    return (struct ArrowArrayStream){.get_schema = rows_get_schema,
                                     .get_next = rows_get_next,
                                     .get_last_error = rows_get_last_error,
                                     .release = rows_release,
                                     .private_data = self};
}

/* ---- what came back ---- */

/* Sums that do not depend on the order of the rows; all wrap around. */
typedef struct Sums {
    uint64_t ids, squares, size, version_bytes, versions;
} Sums;

static int64_t end_of(const char *format, const struct ArrowArray *text, int64_t row) {
    return *format == 'U' ? ((const int64_t *)text->buffers[1])[row] : ((const int32_t *)text->buffers[1])[row];
}

static void add_batch(Sums *sums, const struct ArrowSchema *schema, const struct ArrowArray *batch) {
    for (int64_t c = 0; c < schema->n_children; c++) {
        const struct ArrowSchema *type = schema->children[c];
        const struct ArrowArray *column = batch->children[c];
        int64_t from = column->offset + batch->offset, to = from + batch->length;
        if (!strcmp(type->name, "id")) {
            for (int64_t row = from; row < to; row++) {
                const char *text = (const char *)column->buffers[2] + end_of(type->format, column, row);
                uint64_t id = 0;
                for (int digit = 1; digit <= 9; digit++) id = id * 10 + (uint64_t)(text[digit] - '0');
                sums->ids += id;
                sums->squares += id * id;
            }
        } else if (!strcmp(type->name, "size")) {
            for (int64_t row = from; row < to; row++)
                sums->size += (uint64_t)((const int64_t *)column->buffers[1])[row];
        } else if (!strcmp(type->name, "metaxy_provenance")) {
            /* A decimal number, as xxhash32 is written. */
            for (int64_t row = from; row < to; row++) {
                const char *text = (const char *)column->buffers[2];
                int64_t end = end_of(type->format, column, row + 1);
                uint64_t version = 0;
                for (int64_t at = end_of(type->format, column, row); at < end; at++)
                    version = version * 10 + (uint64_t)(text[at] - '0');
                sums->versions += version;
            }
        } else if (!strcmp(type->name, "metaxy_provenance_by_field") && type->format[1] == 's') {
            for (int64_t m = 0; m < type->n_children; m++) {
                const struct ArrowArray *member = column->children[m];
                const char *format = type->children[m]->format;
                sums->version_bytes += (uint64_t)(end_of(format, member, member->offset + to) -
                                                  end_of(format, member, member->offset + from));
            }
        }
    }
}

/* The number of rows, or -1. */
static int64_t pull(struct ArrowArrayStream *stream, Sums *sums) {
    struct ArrowSchema schema;
    struct ArrowArray batch;
    int64_t count = 0;
    if (stream->get_schema(stream, &schema)) return -1;
    for (;;) {
        if (stream->get_next(stream, &batch)) {
            count = -1;
            break;
        }
        if (!batch.release) break;
        count += batch.length;
        if (sums) add_batch(sums, &schema, &batch);
        batch.release(&batch);
    }
    schema.release(&schema);
    return count;
}

/* ---- the operations ---- */

static MetaxyError *error;

static void must(MetaxyStatus status) {
    if (status == METAXY_OK) return;
    fprintf(stderr, "bench: %s\n", error ? metaxy_error_message(error) : "failed without an error");
    exit(1);
}

/* As Python Metaxy writes, so that both do the same work; what is in a table is found out by itself. */
static void hash_as_python(MetaxyOptions *options) {
    must(metaxy_options_set(options, "hash.algorithm", "xxhash32", &error));
    must(metaxy_options_set(options, "hash.truncation_length", "8", &error));
}

/* Compaction after some writes; what it leaves behind goes at once, unless somebody reads it. */
static void compact_by_itself(MetaxyOptions *options) {
    must(metaxy_options_set(options, "compact.after_writes", "32", &error));
    must(metaxy_options_set(options, "compact.keep_ms", "0", &error));
}

/* Sets what METAXY_BENCH_OPTIONS says. */
static void reach(MetaxyOptions *options) {
    const char *lines = getenv("METAXY_BENCH_OPTIONS");
    char *copy = allocate((lines ? strlen(lines) : 0) + 1);
    if (lines) strcpy(copy, lines);
    for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strchr(line, '=');
        if (!value) {
            fprintf(stderr, "bench: METAXY_BENCH_OPTIONS has a line without =\n");
            exit(1);
        }
        *value++ = '\0';
        must(metaxy_options_set(options, line, value, &error));
    }
    free(copy);
}

/* Opens DIRECTORY/name, or DIRECTORY if there is no name, with a fallback or none. */
static MetaxyStore *open_store(const char *directory, const char *name, const MetaxyStore *fallback,
                               const MetaxyOptions *options) {
    char uri[4096];
    MetaxyStore *store = NULL;
    snprintf(uri, sizeof uri, "%s%s%s", directory, name ? "/" : "", name ? name : "");
    must(metaxy_store_open_chain(uri, &fallback, fallback ? 1 : 0, options, NULL, &store, &error));
    return store;
}

static MetaxyReadRequest *request_of(const char *op, int64_t rows) {
    MetaxyReadRequest *request = NULL;
    const char *id = "id";
    char filter[64];
    must(metaxy_read_request_new(&request, &error));
    if (!strcmp(op, "read_filter")) {
        must(metaxy_read_request_add_filter(request, "size < 10000", &error));
    } else if (!strcmp(op, "read_point")) {
        snprintf(filter, sizeof filter, "id = 's%09" PRId64 "'", rows / 2);
        must(metaxy_read_request_add_filter(request, filter, &error));
    } else if (!strcmp(op, "read_cols")) {
        must(metaxy_read_request_set_columns(request, &id, 1, &error));
    } else if (strcmp(op, "read") && strcmp(op, "history_read") && strcmp(op, "fallback3")) {
        fprintf(stderr, "bench: there is no operation %s\n", op);
        exit(1);
    }
    return request;
}

/* Pulls a stream that must not fail. */
static int64_t pull_all(struct ArrowArrayStream *stream, Sums *sums) {
    int64_t rows = pull(stream, sums);
    if (rows < 0) {
        const char *text = stream->get_last_error(stream);
        fprintf(stderr, "bench: %s\n", text ? text : "the stream failed");
        exit(1);
    }
    stream->release(stream);
    return rows;
}

static const char *resolved_by(const char *op) {
    if (!strncmp(op, "resolve_joined", 14)) return "r/d";
    return strcmp(op, "resolve_grouped") ? "r/b" : "r/f";
}

/* Resolves what the operation is about and pulls all parts, of which `sums` are made if there are any; or writes what
   there is to do. */
static void resolve(MetaxyStore *store, const char *op, int write, int64_t *parts, Sums *sums) {
    MetaxyIncrement *increment = NULL;
    must(metaxy_store_resolve_update(store, resolved_by(op), NULL, NULL, NULL, &increment, &error));
    for (int part = 0; part < PARTS; part++) {
        struct ArrowArrayStream stream = {0};
        must(part == 0   ? metaxy_increment_read_new(increment, NULL, &stream, &error)
             : part == 1 ? metaxy_increment_read_stale(increment, NULL, &stream, &error)
                         : metaxy_increment_read_orphaned(increment, NULL, &stream, &error));
        if (write && part == 0)
            must(metaxy_store_write(store, resolved_by(op), &stream, NULL, NULL, &error));
        else
            parts[part] = pull_all(&stream, sums ? &sums[part] : NULL);
    }
    metaxy_increment_free(increment);
}

static void print_sums(const Sums *sums) {
    printf("[%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", sums->ids, sums->squares, sums->size,
           sums->version_bytes, sums->versions);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double peak_mb(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fputs("usage: bench OP ROWS DIRECTORY [check]\n", stderr);
        return 2;
    }
    const char *op = argv[1], *directory = argv[3];
    int64_t rows = strtoll(argv[2], NULL, 10), result = 0;
    int append = !strcmp(op, "append1k"), small = !strcmp(op, "small_writes"), chain = !strcmp(op, "fallback3");
    int resolves = !strncmp(op, "resolve", 7), resolve_write = !strcmp(op, "resolve_write");
    int writes = append || small || resolve_write || !strncmp(op, "write", 5);

    MetaxyStore *store = NULL, *stag = NULL, *prod = NULL;
    MetaxyOptions *options = NULL;
    MetaxyReadRequest *request = writes || resolves ? NULL : request_of(op, rows);
    must(metaxy_options_new(&options, &error));
    reach(options);
    if (writes && !append && !resolves) hash_as_python(options);
    /* Two of the chain's directories are not there, which is an error to who only reads. */
    if (!writes && !(chain && directory[0] == '/')) must(metaxy_options_set(options, "mode", "read", &error));
    struct ArrowArrayStream stream = {0};
    int64_t parts[PARTS] = {0};
    Sums sums[PARTS] = {0}, *checked = argc > 4 ? sums : NULL;
    const Kind *kind = !strcmp(op, "write_captions") ? &captions : !strcmp(op, "write_frames") ? &frames : &clips;
    if (append) {
        rows = 1000;
        stream = rows_stream(kind, 0, rows, "ap", 1);
    } else if (small) {
        compact_by_itself(options);
    } else if (!strcmp(op, "write_change")) {
        rows = rows < 100 ? 1 : rows / 100;
        stream = rows_stream(kind, 0, rows, "new", 0);
    } else if (writes && !resolves) {
        stream = rows_stream(kind, 0, rows, "", !strcmp(op, "write"));
    }

    double before_mb = peak_mb(), started = now();
    if (chain) {
        prod = open_store(directory, "root", NULL, options);
        stag = open_store(directory, "stag", prod, options);
    }
    store = open_store(directory, chain ? "dev" : NULL, stag, options);
    must(metaxy_store_define(store, features, &error));
    if (resolves) {
        resolve(store, op, resolve_write, parts, checked);
        for (int part = 0; part < PARTS; part++) result += parts[part];
    } else if (small) {
        for (result = 0; result < rows; result++) {
            stream = rows_stream(kind, result, 1, "", 1);
            must(metaxy_store_write(store, "r/a", &stream, NULL, NULL, &error));
        }
    } else if (writes) {
        must(metaxy_store_write(store, kind->feature, &stream, NULL, NULL, &error));
        result = rows;
    } else {
        must(metaxy_store_read(store, "r/a", request, NULL, &stream, &error));
        result = pull_all(&stream, checked);
    }
    must(metaxy_store_close(store, &error));
    double seconds = now() - started;

    metaxy_store_free(store);
    metaxy_store_free(stag);
    metaxy_store_free(prod);
    metaxy_options_free(options);
    metaxy_read_request_free(request);
    printf("{\"op\": \"%s\", \"rows\": %s, \"seconds\": %.6f, \"result_rows\": %" PRId64
           ", \"rss_before_mb\": %.1f, \"rss_peak_mb\": %.1f",
           op, argv[2], seconds, result, before_mb, peak_mb());
    if (resolves) printf(", \"parts\": [%" PRId64 ", %" PRId64 ", %" PRId64 "]", parts[0], parts[1], parts[2]);
    if (checked) {
        printf(", \"sums\": %s", resolves ? "[" : "");
        for (int part = 0; part < (resolves ? PARTS : 1); part++) {
            if (part) printf(", ");
            print_sums(&sums[part]);
        }
        if (resolves) printf("]");
    }
    puts("}");
    return 0;
}
