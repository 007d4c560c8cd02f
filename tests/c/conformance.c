/*
 * The store is the same on every storage.
 *
 *     conformance URI [--remote] [option=value ...]
 *
 * runs everything that a store does at URI, which must be empty, and checks what comes of it to the last value. The
 * options are those of metaxy_store_open. `--remote` is for a storage that is behind a server, which compacts and prunes
 * its tables itself. Each topic has features of its own.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "table.h"

#include <pthread.h>
#include <time.h>

static struct {
    const char *uri;
    char **options;
    int option_count, remote, in_memory;
} place;

#define BY_X " metaxy_provenance_by_field{x}"
#define BY_XY " metaxy_provenance_by_field{x,y}"

/* ---- what all topics need ---- */

static MetaxyOptions *with(const char *key, const char *value) {
    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, key, value, &error));
    return options;
}

/* Options for the place, and one more. */
static MetaxyOptions *with_those_of_place(const char *key, const char *value) {
    MetaxyOptions *options = with(key, value);
    for (int i = 0; i < place.option_count; i++) {
        char *name = table_copy(place.options[i]), *equals = strchr(name, '=');
        if (!equals) continue;
        *equals = 0;
        GIVES(METAXY_OK, metaxy_options_set(options, name, equals + 1, &error));
        free(name);
    }
    return options;
}

static MetaxyStore *open_as(const char *mode) {
    MetaxyStore *store = NULL;
    MetaxyOptions *options = with_those_of_place("mode", mode);
    GIVES(METAXY_OK, metaxy_store_open(place.uri, options, NULL, &store, &error));
    metaxy_options_free(options);
    return store;
}

static MetaxyStore *open_here(void) { return open_as("write"); }

static MetaxyStore *open_memory(void) {
    MetaxyStore *store = NULL;
    GIVES(METAXY_OK, metaxy_store_open("memory://", NULL, NULL, &store, &error));
    return store;
}

/* Defines a feature with the fields `x`, and `y` unless there is only one, by the version of its code. */
static void define_as(const MetaxyStore *store, const char *feature, int fields, const char *version, const char *parent) {
    char json[512];
    snprintf(json, sizeof json,
             "{\"feature_spec\": {\"key\": \"%s\", \"id_columns\": [\"id\"], \"deps\": [%s%s%s], \"fields\": ["
             "{\"key\": \"x\", \"code_version\": \"%s\"}%s]}, \"project\": \"conformance\"}",
             feature, parent ? "\"" : "", parent ? parent : "", parent ? "\"" : "", version,
             fields > 1 ? ", {\"key\": \"y\", \"code_version\": \"1\"}" : "");
    GIVES(METAXY_OK, metaxy_store_define(store, json, &error));
}

static void define(const MetaxyStore *store, const char *feature) { define_as(store, feature, 1, "1", NULL); }

static MetaxyStore *open_and_define(const char *feature) {
    MetaxyStore *store = open_here();
    define(store, feature);
    return store;
}

/* A write, for GIVES. */
static MetaxyStatus put(const MetaxyStore *store, const char *feature, const char *columns, const char *rows) {
    struct ArrowArrayStream stream = table(columns, rows, 2);
    MetaxyStatus status = metaxy_store_write(store, feature, &stream, NULL, NULL, &error);
    CHECK(stream.release == NULL);
    return status;
}

/* What to read; nothing stands for everything that is current. */
typedef struct Query {
    /* Separated by spaces. */
    const char *columns;
    const char *filter, *and;
    const char *version;
    /* One more than the limit. */
    int64_t limit_below;
    size_t batch_rows;
    int feature_history, sample_history, deleted, here;
} Query;

static MetaxyReadRequest *request_of(Query query) {
    MetaxyReadRequest *request = NULL;
    const char *names[MOST_COLUMNS];
    size_t count = 0;
    char *words = table_copy(query.columns ? query.columns : ""), *rest = words;
    for (char *word; (word = table_word(&rest, " "));) names[count++] = word;
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    if (query.columns) GIVES(METAXY_OK, metaxy_read_request_set_columns(request, names, count, &error));
    if (query.filter) GIVES(METAXY_OK, metaxy_read_request_add_filter(request, query.filter, &error));
    if (query.and) GIVES(METAXY_OK, metaxy_read_request_add_filter(request, query.and, &error));
    if (query.version) GIVES(METAXY_OK, metaxy_read_request_set_feature_version(request, query.version, &error));
    if (query.limit_below) GIVES(METAXY_OK, metaxy_read_request_set_limit(request, query.limit_below - 1, &error));
    if (query.batch_rows) GIVES(METAXY_OK, metaxy_read_request_set_batch_rows(request, query.batch_rows, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_feature_history(request, query.feature_history, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_sample_history(request, query.sample_history, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_deleted(request, query.deleted, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_fallback(request, !query.here, &error));
    free(words);
    return request;
}

/* A read, for GIVES; what it gives is text. */
static MetaxyStatus get(const MetaxyStore *store, const char *feature, Query query, char **found) {
    struct ArrowArrayStream stream = {0};
    MetaxyReadRequest *request = request_of(query);
    metaxy_error_free(error);
    error = NULL;
    MetaxyStatus status = metaxy_store_read(store, feature, request, NULL, &stream, &error);
    metaxy_read_request_free(request);
    *found = stream.release ? text_of(&stream, query.columns) : table_copy("");
    return status;
}

/* Two texts are the same; the second is freed. */
static void is_text(const char *expected, char *found, int line) {
    if (strcmp(expected, found) != 0) {
        check_failed = 1;
        fprintf(stderr, "line %d: expected\n%s\nbut found\n%s\n", line, expected, found);
    }
    free(found);
}

static void find(const MetaxyStore *store, const char *feature, Query query, const char *expected, int line) {
    char *found = NULL;
    MetaxyStatus status = get(store, feature, query, &found);
    check_status(METAXY_OK, status, line, "a read");
    is_text(expected, found, line);
}

/* FINDS(store, feature, text, .columns = ..., .filter = ...): the rows are exactly these. */
#define FINDS(store, feature, expected, ...) find(store, feature, (Query){__VA_ARGS__}, expected, __LINE__)

/* No rows are read, but this status. */
#define FINDS_NONE(status, store, feature)                                                  \
    do {                                                                                    \
        char *found_ = NULL;                                                                \
        check_status(status, get(store, feature, (Query){.columns = "id"}, &found_), __LINE__, "a read"); \
        is_text("", found_, __LINE__);                                                      \
    } while (0)

/* REPORTS(call with &stream and &error, columns, text): a call that gives a stream. */
#define REPORTS(call, columns, expected)                                                    \
    do {                                                                                    \
        struct ArrowArrayStream stream = {0};                                               \
        GIVES(METAXY_OK, call);                                                             \
        if (stream.release) is_text(expected, text_of(&stream, columns), __LINE__);         \
    } while (0)

static int32_t has(const MetaxyStore *store, const char *feature) {
    int32_t has = -1;
    GIVES(METAXY_OK, metaxy_store_has(store, feature, NULL, &has, &error));
    return has;
}

static int32_t drop(const MetaxyStore *store, const char *feature) {
    int32_t dropped = -1;
    GIVES(METAXY_OK, metaxy_store_drop(store, feature, NULL, NULL, &dropped, &error));
    return dropped;
}

/* How many samples, or rows, of the filter were deleted. */
static int64_t erase(const MetaxyStore *store, const char *feature, Query query, const char *mode) {
    uint64_t deleted = 0;
    MetaxyReadRequest *request = request_of(query);
    MetaxyOptions *options = with("delete.mode", mode);
    GIVES(METAXY_OK, metaxy_options_set(options, "delete.all", query.filter ? "false" : "true", &error));
    GIVES(METAXY_OK, metaxy_store_delete(store, feature, request, options, NULL, &deleted, &error));
    metaxy_options_free(options);
    metaxy_read_request_free(request);
    return (int64_t)deleted;
}

#define DELETE(store, feature, mode, ...) erase(store, feature, (Query){__VA_ARGS__}, mode)

static char *version_of(const MetaxyStore *store, const char *feature) {
    struct ArrowArrayStream stream = {0};
    GIVES(METAXY_OK, metaxy_store_features(store, NULL, &stream, &error));
    char *all = text_of(&stream, "feature feature_version"), *rest = all, *version = NULL;
    for (char *line; (line = table_word(&rest, "\n"));) {
        char *end = line + strcspn(line, "|");
        if (*end) *end++ = 0;
        if (!strcmp(line, feature)) version = table_copy(end);
    }
    free(all);
    return version;
}

static void sleep_ms(long ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* ---- the topics ---- */

static void nothing(void) {
    MetaxyStore *store = open_here();
    uint64_t deleted = 9;
    MetaxyOptions *all = with("delete.all", "true");
    REPORTS(metaxy_store_list(store, NULL, &stream, &error), NULL, "");
    REPORTS(metaxy_store_features(store, NULL, &stream, &error), NULL, "");
    FINDS_NONE(METAXY_NOT_FOUND, store, "no/thing");
    SAYS("not defined");
    define(store, "no/thing");
    FINDS_NONE(METAXY_NOT_FOUND, store, "no/thing");
    SAYS("no__thing");
    CHECK(has(store, "no/thing") == 0);
    CHECK(drop(store, "no/thing") == 0);
    struct ArrowArrayStream stream = {0};
    GIVES(METAXY_NOT_FOUND, metaxy_store_describe(store, "no/thing", NULL, &stream, &error));
    GIVES(METAXY_NOT_FOUND, metaxy_store_find(store, "no/thing", NULL, NULL, &stream, &error));
    GIVES(METAXY_NOT_FOUND, metaxy_store_delete(store, "no/thing", NULL, all, NULL, &deleted, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_define(store, "{\"key\": 1}", &error));
    metaxy_options_free(all);
    metaxy_store_free(store);
}

static void definitions(void) {
    MetaxyStore *store = open_here();
    define(store, "d/one");
    define_as(store, "d/two", 2, "1", "d/one");
    REPORTS(metaxy_store_features(store, NULL, &stream, &error), "feature project table external id_columns",
            "d/one|conformance|d__one|false|[id]\nd/two|conformance|d__two|false|[id]");
    char *before = version_of(store, "d/two");
    define_as(store, "d/one", 1, "2", NULL);
    char *after = version_of(store, "d/two");
    CHECK(before && after && strcmp(before, after) != 0);
    free(before);
    free(after);
    metaxy_store_free(store);
}

static void writes(void) {
    const char *feature = "w/rows";
    MetaxyStore *store = open_and_define(feature);
    GIVES(METAXY_OK, put(store, feature, "id n:int f:float ok:bool at:time" BY_X,
                         "a|1|0.5|true|0\nb|null|null|null|null\nc|-3|-2.25|false|1767225600000000\n"
                         "d|9223372036854775807|1e300|true|-1\ne|0|0|false|1"));
    FINDS(store, feature,
          "a|1|0.5|true|0|{a-x}\nb|null|null|null|null|{b-x}\nc|-3|-2.25|false|1767225600000000|{c-x}\n"
          "d|9223372036854775807|1e+300|true|-1|{d-x}\ne|0|0|false|1|{e-x}",
          .columns = "id n f ok at metaxy_provenance_by_field");
    /* A later write may leave columns out, and has them in any order; the latest row of a sample counts. */
    GIVES(METAXY_OK, put(store, feature, "n:int id" BY_X, "20|b\n60|f"));
    GIVES(METAXY_OK, put(store, feature, "id" BY_X, "g"));
    FINDS(store, feature, "a|1|true\nb|20|null\nc|-3|false\nd|9223372036854775807|true\ne|0|false\nf|60|null\ng|null|null",
          .columns = "id n ok");
    FINDS(store, feature, "b|20\nb|null", .columns = "id n", .filter = "id = 'b'", .sample_history = 1);
    /* System columns. */
    FINDS(store, feature, "a\nb\nc\nd\ne\nf\ng", .columns = "id", .filter = "metaxy_provenance = metaxy_data_version",
          .and = "metaxy_created_at = metaxy_updated_at AND metaxy_deleted_at IS NULL");
    char *version = version_of(store, feature);
    char expected[256];
    snprintf(expected, sizeof expected, "a|%s|{a-x}|null", version);
    FINDS(store, feature, expected, .columns = "id metaxy_feature_version metaxy_data_version_by_field metaxy_materialization_id",
          .filter = "id = 'a'");
    free(version);
    /* No rows make a table all the same. */
    define(store, "w/none");
    GIVES(METAXY_OK, put(store, "w/none", "id n:int" BY_X, ""));
    CHECK(has(store, "w/none") == 1);
    FINDS(store, "w/none", "", .columns = "id n");
    metaxy_store_free(store);
}

static void refused_rows(void) {
    const char *feature = "w/bad";
    MetaxyStore *store = open_and_define(feature);
    static const struct {
        const char *columns, *rows;
        MetaxyStatus status;
        const char *says;
    } cases[] = {
        {"id n:int" BY_X, "a|1\nb|2\nc|3\na|4", METAXY_INVALID_ARGUMENT, "id=a"},
        {"id n:int" BY_X, "a|1\nb|2\nnull|3", METAXY_INVALID_ARGUMENT, "no value"},
        {"n:int" BY_X, "1", METAXY_SCHEMA_MISMATCH, "id"},
        {"id", "a", METAXY_SCHEMA_MISMATCH, "metaxy_provenance_by_field"},
        {"id metaxy_provenance_by_field{z}", "a", METAXY_SCHEMA_MISMATCH, "`x`"},
        {"id metaxy_mine" BY_X, "a|1", METAXY_SCHEMA_MISMATCH, "metaxy_mine"},
        {"id a.b" BY_X, "a|1", METAXY_SCHEMA_MISMATCH, "a.b"},
        /* From here on only because of the table. */
        {"id n:float" BY_X, "a|2.0\nb|2.75", METAXY_SCHEMA_MISMATCH, "2.75"},
        {"id n" BY_X, "a|2\nb|x", METAXY_SCHEMA_MISMATCH, "n"},
        {"id n{x}" BY_X, "a", METAXY_SCHEMA_MISMATCH, "n"},
    };
    const size_t count = sizeof cases / sizeof *cases, without_table = 7;
    for (size_t i = 0; i < without_table; i++) {
        GIVES(cases[i].status, put(store, feature, cases[i].columns, cases[i].rows));
        SAYS(cases[i].says);
        CHECK(has(store, feature) == 0);
    }
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|10\nz|20"));
    char *before = NULL, *after = NULL;
    GIVES(METAXY_OK, get(store, feature, (Query){.sample_history = 1}, &before));
    for (size_t i = 0; i < count; i++) {
        GIVES(cases[i].status, put(store, feature, cases[i].columns, cases[i].rows));
        SAYS(cases[i].says);
        CHECK(!strcmp(metaxy_error_detail(error, "feature"), feature));
    }
    GIVES(METAXY_OK, get(store, feature, (Query){.sample_history = 1}, &after));
    is_text(before, after, __LINE__);
    free(before);
    /* A whole number is one, whatever type it comes in. */
    GIVES(METAXY_OK, put(store, feature, "id n:float" BY_X, "b|2.0"));
    FINDS(store, feature, "a|10\nb|2\nz|20", .columns = "id n");
    /* Of repeated samples the last is kept if that is what is asked for. */
    struct ArrowArrayStream rows = table("id n:int" BY_X, "c|1\nd|2\nc|3\nc|4", 2);
    MetaxyOptions *last = with("write.duplicates", "last");
    GIVES(METAXY_OK, metaxy_store_write(store, feature, &rows, last, NULL, &error));
    metaxy_options_free(last);
    FINDS(store, feature, "c|4\nd|2", .columns = "id n", .filter = "id IN ('c', 'd')", .sample_history = 1);
    metaxy_store_free(store);
}

/* Pushes the only batch of a table. */
static MetaxyStatus push(MetaxyWriter *writer, const char *columns, const char *rows) {
    struct ArrowArrayStream stream = table(columns, rows, 0);
    struct ArrowArray batch = {0};
    stream.get_next(&stream, &batch);
    stream.release(&stream);
    return metaxy_writer_push(writer, &batch, NULL, &error);
}

static MetaxyWriter *writer_of(const MetaxyStore *store, const char *feature, const char *columns) {
    struct ArrowArrayStream stream = table(columns, "", 0);
    struct ArrowSchema schema = {0};
    MetaxyWriter *writer = NULL;
    stream.get_schema(&stream, &schema);
    GIVES(METAXY_OK, metaxy_store_writer(store, feature, &schema, NULL, NULL, &writer, &error));
    schema.release(&schema);
    stream.release(&stream);
    return writer;
}

static void writers(void) {
    const char *feature = "w/pushed", *columns = "id n:int" BY_X;
    MetaxyStore *store = open_and_define(feature);
    /* Given up in either way. */
    MetaxyWriter *writer = writer_of(store, feature, columns);
    GIVES(METAXY_OK, push(writer, columns, "a|1\nb|2"));
    GIVES(METAXY_OK, metaxy_writer_abort(writer, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_writer_commit(writer, NULL, &error));
    metaxy_writer_free(writer);
    CHECK(has(store, feature) == 0);

    writer = writer_of(store, feature, columns);
    GIVES(METAXY_OK, push(writer, columns, "a|1\nb|2"));
    GIVES(METAXY_OK, push(writer, columns, "c|3"));
    CHECK(has(store, feature) == 0);
    GIVES(METAXY_OK, metaxy_writer_commit(writer, NULL, &error));
    GIVES(METAXY_INVALID_STATE, push(writer, columns, "d|4"));
    metaxy_writer_free(writer);
    FINDS(store, feature, "a|1\nb|2\nc|3", .columns = "id n");

    writer = writer_of(store, feature, "id n:int more" BY_X);
    GIVES(METAXY_OK, push(writer, "id n:int more" BY_X, "a|100|new"));
    metaxy_writer_free(writer);
    char *all = NULL;
    GIVES(METAXY_OK, get(store, feature, (Query){.columns = "id n", .sample_history = 1}, &all));
    is_text("a|1\nb|2\nc|3", all, __LINE__);
    GIVES(METAXY_INVALID_ARGUMENT, get(store, feature, (Query){.columns = "more"}, &all));
    free(all);
    metaxy_store_free(store);
}

static void reads(void) {
    const char *feature = "r/filters";
    MetaxyStore *store = open_and_define(feature);
    GIVES(METAXY_OK, put(store, feature, "id n:int f:float ok:bool at:time s" BY_X,
                         "a|1|0.5|true|1000000|it's\n"
                         "b|2|1.5|false|2000000|a \"quoted\" word\n"
                         "c|3|null|null|null|null\n"
                         "žluťoučký kůň 🐎|4|2.5|true|4000000|日本/東京\n"
                         "e|null|-1|false|5000000|100% _ \\ ; --\n"
                         "o|0|9|true|0|old"));
    /* A filter sees the latest row only. */
    GIVES(METAXY_OK, put(store, feature, "id n:int f:float ok:bool at:time s" BY_X, "o|6|6|true|6000000|"));
    static const struct {
        const char *filter, *ids;
    } cases[] = {
        {"n = 1", "a"},
        {"n > 1 AND n <= 3", "b\nc"},
        {"n != 2", "a\nc\no\nžluťoučký kůň 🐎"},
        {"NOT n = 2", "a\nc\no\nžluťoučký kůň 🐎"},
        {"n < 0 OR f < 0", "e"},
        {"n IN (1, 4, 99)", "a\nžluťoučký kůň 🐎"},
        {"n NOT IN (1, 2, 3)", "o\nžluťoučký kůň 🐎"},
        {"n IS NULL", "e"},
        {"f IS NOT NULL AND n IS NOT NULL", "a\nb\no\nžluťoučký kůň 🐎"},
        {"f >= 1.5", "b\no\nžluťoučký kůň 🐎"},
        {"ok", "a\no\nžluťoučký kůň 🐎"},
        {"NOT ok", "b\ne"},
        {"ok IS NULL", "c"},
        {"at = 1000000", "a"},
        {"at > 2000000", "e\no\nžluťoučký kůň 🐎"},
        {"at IN (0, 4000000)", "žluťoučký kůň 🐎"},
        {"metaxy_updated_at > 1000000", "a\nb\nc\ne\no\nžluťoučký kůň 🐎"},
        {"metaxy_updated_at < 1000000", ""},
        {"s = 'it''s'", "a"},
        {"s = 'a \"quoted\" word'", "b"},
        {"s = '日本/東京'", "žluťoučký kůň 🐎"},
        {"id = 'žluťoučký kůň 🐎'", "žluťoučký kůň 🐎"},
        {"id IN ('žluťoučký kůň 🐎', 'a', 'nobody')", "a\nžluťoučký kůň 🐎"},
        {"s = '100% _ \\ ; --'", "e"},
        {"s = ''", "o"},
        {"s = 'old'", ""},
        {"s > 'b'", "a\nžluťoučký kůň 🐎"},
        {"\"n\" = 1", "a"},
        {"(n = 1 OR n = 2) AND ok", "a"},
        {"metaxy_provenance_by_field IS NULL", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int failed = check_failed;
        check_failed = 0;
        FINDS(store, feature, cases[i].ids, .columns = "id", .filter = cases[i].filter);
        if (check_failed) fprintf(stderr, "that was the filter %s\n", cases[i].filter);
        check_failed |= failed;
    }
    FINDS(store, feature, "b", .columns = "id", .filter = "n > 1", .and = "f < 2");
    FINDS(store, feature, "1|a|0.5", .columns = "n id f", .filter = "ok AND n < 4");
    FINDS(store, feature, "o|0\no|6", .columns = "id n", .filter = "id = 'o'", .sample_history = 1);
    /* The schema is there when no row is. */
    FINDS(store, feature, "", .columns = "s", .filter = "n = 99");

    char *found = NULL;
    GIVES(METAXY_INVALID_ARGUMENT, get(store, feature, (Query){.columns = "nope"}, &found));
    SAYS("nope");
    free(found);
    GIVES(METAXY_INVALID_ARGUMENT, get(store, feature, (Query){.filter = "nmber = 1"}, &found));
    SAYS("nmber");
    free(found);
    GIVES(METAXY_INVALID_ARGUMENT, get(store, feature, (Query){.filter = "n = 1 AND ("}, &found));
    free(found);
    metaxy_store_free(store);
}

static void batches(void) {
    enum { MANY = 3000 };
    const char *feature = "r/many";
    MetaxyStore *store = open_and_define(feature);
    Text rows = {0};
    for (int i = 0; i < MANY; i++) text_add(&rows, "%ss%04d|%d", i ? "\n" : "", i, i);
    struct ArrowArrayStream stream = table("id n:int" BY_X, rows.bytes, 1000);
    GIVES(METAXY_OK, metaxy_store_write(store, feature, &stream, NULL, NULL, &error));
    FINDS(store, feature, rows.bytes, .columns = "id n");
    free(rows.bytes);
    static const struct {
        Query query;
        int64_t rows;
    } cases[] = {
        {{.columns = "n", .batch_rows = 700}, MANY},
        {{.columns = "n", .batch_rows = 700, .limit_below = 1001}, 1000},
        {{.columns = "n", .batch_rows = 7, .filter = "n >= 2900"}, 100},
        {{.columns = "n", .batch_rows = 700, .filter = "n < 2900", .limit_below = 1001}, 1000},
        {{.columns = "id", .limit_below = 1}, 0},
        {{.columns = "id", .limit_below = 100000}, MANY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        MetaxyReadRequest *request = request_of(cases[i].query);
        struct ArrowArray batch = {0};
        int64_t found = 0;
        GIVES(METAXY_OK, metaxy_store_read(store, feature, request, NULL, &stream, &error));
        metaxy_read_request_free(request);
        while (stream.release && !stream.get_next(&stream, &batch) && batch.release) {
            CHECK(!cases[i].query.batch_rows || batch.length <= (int64_t)cases[i].query.batch_rows);
            found += batch.length;
            batch.release(&batch);
        }
        GIVES(METAXY_OK, metaxy_error_from_stream(&stream, &error));
        stream.release(&stream);
        CHECK(found == cases[i].rows);
    }
    metaxy_store_free(store);
}

/* More than fits into one request: a bucket takes it in parts. */
static void large(void) {
    enum { ROWS = 192, CELL = 1 << 16 };
    const char *feature = "w/large";
    MetaxyStore *store = open_and_define(feature);
    Text rows = {0};
    char *cell = arrow_alloc(CELL + 1, 1), *found = NULL;
    uint64_t random = 1;
    for (int row = 0; row < ROWS; row++) {
        for (int i = 0; i < CELL; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            /* What no compression makes much smaller, and no separator. */
            cell[i] = (char)('!' + (random >> 33) % ('|' - '!'));
        }
        text_add(&rows, "%sr%03d|%s", row ? "\n" : "", row, cell);
    }
    free(cell);
    struct ArrowArrayStream stream = table("id s" BY_X, rows.bytes, 64);
    GIVES(METAXY_OK, metaxy_store_write(store, feature, &stream, NULL, NULL, &error));
    GIVES(METAXY_OK, get(store, feature, (Query){.columns = "id s"}, &found));
    CHECK(rows.length > 12000000 && !strcmp(rows.bytes, found));
    free(found);
    free(rows.bytes);
    CHECK(drop(store, feature) == 1);
    metaxy_store_free(store);
}

static void versions(void) {
    const char *feature = "v/code";
    MetaxyStore *store = open_and_define(feature);
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|1\nb|1\nc|1"));
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|2"));
    char *first = version_of(store, feature);
    define_as(store, feature, 1, "2", NULL);
    FINDS(store, feature, "", .columns = "id n");
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|3\nd|3"));
    FINDS(store, feature, "a|3\nd|3", .columns = "id n");
    FINDS(store, feature, "a|2\nb|1\nc|1", .columns = "id n", .version = first);
    FINDS(store, feature, "a|1\na|2\nb|1\nc|1", .columns = "id n", .version = first, .sample_history = 1);
    FINDS(store, feature, "a|3\nb|1\nc|1\nd|3", .columns = "id n", .feature_history = 1);
    FINDS(store, feature, "a|1\na|2\na|3\nb|1\nc|1\nd|3", .columns = "id n", .feature_history = 1, .sample_history = 1);
    CHECK(DELETE(store, feature, "soft", .filter = "id = 'd'") == 1);
    FINDS(store, feature, "a|3\nb|1\nc|1", .columns = "id n", .feature_history = 1);
    FINDS(store, feature, "a|3\nd|3", .columns = "id n", .deleted = 1);
    define(store, feature);
    FINDS(store, feature, "a|2\nb|1\nc|1", .columns = "id n");
    char *unknown = NULL;
    GIVES(METAXY_OK, get(store, feature, (Query){.columns = "id", .version = "0123456789abcdef"}, &unknown));
    is_text("", unknown, __LINE__);
    free(first);
    metaxy_store_free(store);
}

static void evolution(void) {
    const char *feature = "e/shapes";
    MetaxyStore *store = open_and_define(feature);
    const char *untyped = "id camera{make} note:none" BY_X;
    if (place.remote) {
        /* A column of nulls only cannot be given a type behind a server. */
        const char *other = "e/untyped";
        define(store, other);
        GIVES(METAXY_OK, put(store, other, untyped, "a|null"));
        GIVES(METAXY_UNSUPPORTED, put(store, other, "id camera{make} note" BY_X, "b|typed"));
        FINDS(store, other, "a|{a-make}|null", .columns = "id camera note");
        untyped = "id camera{make} note" BY_X;
    }
    GIVES(METAXY_OK, put(store, feature, untyped, "a|null\nb|null"));
    FINDS(store, feature, "a|{a-make}|null\nb|{b-make}|null", .columns = "id camera note");
    /* A column, a member of a struct, a type for what had only nulls; and a field of the feature. */
    GIVES(METAXY_OK, put(store, feature, "id camera{make,iso} note more:int" BY_X, "c|typed|7"));
    GIVES(METAXY_OK, put(store, feature, "id camera{make} note:none" BY_X, "d|null"));
    FINDS(store, feature,
          "a|{a-make,null}|null|null\nb|{b-make,null}|null|null\nc|{c-make,c-iso}|typed|7\nd|{d-make,null}|null|null",
          .columns = "id camera note more");
    define_as(store, feature, 2, "1", NULL);
    GIVES(METAXY_OK, put(store, feature, "id extra:float" BY_XY, "e|0.5"));
    FINDS(store, feature, "a|{a-x,null}|null\nb|{b-x,null}|null\nc|{c-x,null}|null\nd|{d-x,null}|null\ne|{e-x,e-y}|0.5",
          .columns = "id metaxy_provenance_by_field extra", .feature_history = 1);
    FINDS(store, feature, "c", .columns = "id", .filter = "more = 7 AND note = 'typed'", .feature_history = 1);
    /* A type stays. */
    GIVES(METAXY_SCHEMA_MISMATCH, put(store, feature, "id more" BY_XY, "f|words"));
    metaxy_store_free(store);
}

static int fail_at_end(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    int failed = table_next(stream, out);
    return failed ? failed : out->release ? 0 : EIO;
}

static void many_features(void) {
    static const char *const features[] = {"m/child", "m/parent"};
    MetaxyStore *store = open_and_define("m/parent");
    define_as(store, "m/child", 1, "1", "m/parent");
    struct ArrowArrayStream rows[] = {table("id n:int" BY_X, "a|1", 0), table("id n:int" BY_X, "a|1\nb|2\nc|3", 2)};
    rows[1].get_next = fail_at_end;
    GIVES(METAXY_IO, metaxy_store_write_many(store, features, rows, 2, NULL, NULL, &error));
    CHECK(!rows[0].release && !rows[1].release);
    CHECK(has(store, "m/parent") == 0 && has(store, "m/child") == 0);
    for (int turn = 0; turn < 2; turn++) {
        rows[0] = table("id n:int" BY_X, turn ? "a|10" : "a|1", 0);
        rows[1] = table("id n:int" BY_X, turn ? "b|20" : "a|1\nb|2\nc|3", 2);
        GIVES(METAXY_OK, metaxy_store_write_many(store, features, rows, 2, NULL, NULL, &error));
        CHECK(!rows[0].release && !rows[1].release);
        FINDS(store, "m/parent", turn ? "a|1\nb|20\nc|3" : "a|1\nb|2\nc|3", .columns = "id n");
        FINDS(store, "m/child", turn ? "a|10" : "a|1", .columns = "id n");
    }
    metaxy_store_free(store);
}

static MetaxyStatus push_buffered(const MetaxyBufferedWriter *writer, const char *rows, uint64_t *ticket) {
    struct ArrowArrayStream stream = table("id n:int" BY_X, rows, 0);
    struct ArrowArray batch = {0};
    stream.get_next(&stream, &batch);
    stream.release(&stream);
    return metaxy_buffered_writer_push(writer, &batch, NULL, ticket, &error);
}

static void buffers(void) {
    const char *feature = "b/rows";
    MetaxyStore *store = open_and_define(feature);
    struct ArrowArrayStream stream = table("id n:int" BY_X, "", 0);
    struct ArrowSchema schema = {0};
    MetaxyBufferedWriter *writer = NULL;
    MetaxyOptions *options = with("buffer.rows", "3");
    uint64_t ticket = 0, committed = 0;
    stream.get_schema(&stream, &schema);
    stream.release(&stream);
    GIVES(METAXY_OK, metaxy_options_set(options, "buffer.ms", "3600000", &error));
    GIVES(METAXY_OK, metaxy_store_buffered_writer(store, feature, &schema, options, NULL, &writer, &error));
    GIVES(METAXY_OK, push_buffered(writer, "a|1\nb|2", &ticket));
    CHECK(ticket == 2 && has(store, feature) == 0);
    GIVES(METAXY_OK, push_buffered(writer, "c|3", &ticket));
    GIVES(METAXY_OK, metaxy_buffered_writer_wait(writer, ticket, NULL, &error));
    FINDS(store, feature, "a|1\nb|2\nc|3", .columns = "id n");
    GIVES(METAXY_INVALID_ARGUMENT, push_buffered(writer, "null|4", NULL));
    GIVES(METAXY_OK, push_buffered(writer, "a|10", &ticket));
    GIVES(METAXY_OK, metaxy_buffered_writer_flush(writer, NULL, &error));
    FINDS(store, feature, "a|10\nb|2\nc|3", .columns = "id n");
    GIVES(METAXY_OK, push_buffered(writer, "d|4", &ticket));
    GIVES(METAXY_OK, metaxy_buffered_writer_close(writer, NULL, &error));
    GIVES(METAXY_OK, metaxy_buffered_writer_committed(writer, &committed, &error));
    CHECK(committed == 5 && ticket == 5);
    metaxy_buffered_writer_free(writer);
    FINDS(store, feature, "a|1\na|10\nb|2\nc|3\nd|4", .columns = "id n", .sample_history = 1);
    schema.release(&schema);
    metaxy_options_free(options);
    metaxy_store_free(store);
}

static void deletes(void) {
    const char *feature = "d/rows";
    MetaxyStore *store = open_and_define(feature);
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|1\nit's|2\nc|3\nd|4\ne|5"));
    CHECK(DELETE(store, feature, "soft", .filter = "id IN ('it''s', 'c')") == 2);
    CHECK(DELETE(store, feature, "soft", .filter = "id IN ('it''s', 'c')") == 0);
    FINDS(store, feature, "a|1\nd|4\ne|5", .columns = "id n");
    FINDS(store, feature, "a|1\nc|3\nd|4\ne|5\nit's|2", .columns = "id n", .deleted = 1);
    FINDS(store, feature, "c|3\nit's|2", .columns = "id n", .filter = "metaxy_deleted_at IS NOT NULL", .deleted = 1);
    FINDS(store, feature, "c|3\nc|3\nit's|2\nit's|2", .columns = "id n", .filter = "n = 2 OR n = 3", .deleted = 1,
          .sample_history = 1);
    /* Written again, it is back. */
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "c|30"));
    FINDS(store, feature, "a|1\nc|30\nd|4\ne|5", .columns = "id n");
    /* A row, its tombstone and what came after. */
    CHECK(DELETE(store, feature, "hard", .filter = "id = 'c'") == 3);
    CHECK(DELETE(store, feature, "hard", .filter = "n > 4") == 1);
    FINDS(store, feature, "a|1\nd|4", .columns = "id n");
    FINDS(store, feature, "a|1\nd|4\nit's|2", .columns = "id n", .deleted = 1);
    MetaxyReadRequest *none = request_of((Query){.columns = NULL});
    uint64_t deleted = 9;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_delete(store, feature, none, NULL, NULL, &deleted, &error));
    SAYS("delete.all=true");
    CHECK(deleted == 0);
    metaxy_read_request_free(none);
    CHECK(DELETE(store, feature, "soft", .filter = NULL) == 2);
    FINDS(store, feature, "", .columns = "id n");
    CHECK(DELETE(store, feature, "hard", .filter = NULL, .deleted = 1) >= 4);
    FINDS(store, feature, "", .columns = "id n", .deleted = 1, .sample_history = 1);
    /* A table without rows is one. */
    CHECK(has(store, feature) == 1);
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|7"));
    FINDS(store, feature, "a|7", .columns = "id n", .deleted = 1, .sample_history = 1);
    metaxy_store_free(store);
}

static void copies(void) {
    static const char *const features[] = {"c/rows"};
    MetaxyStore *store = open_and_define("c/rows"), *copy = open_memory();
    MetaxyReadRequest *history = request_of((Query){.sample_history = 1, .feature_history = 1});
    GIVES(METAXY_OK, put(store, "c/rows", "id n:int s" BY_X, "a|1|x\nb|2|it's\nc|3|null"));
    GIVES(METAXY_OK, put(store, "c/rows", "id n:int s" BY_X, "a|10|y"));
    CHECK(DELETE(store, "c/rows", "soft", .filter = "id = 'b'") == 1);
    char *original = NULL, *copied = NULL;
    Query everything = {.columns = "id n s metaxy_provenance metaxy_feature_version metaxy_updated_at metaxy_deleted_at",
                        .sample_history = 1, .deleted = 1};
    GIVES(METAXY_OK, get(store, "c/rows", everything, &original));
    REPORTS(metaxy_store_copy(store, copy, features, 1, history, NULL, NULL, &stream, &error), NULL, "c/rows|c__rows|5|5|0");
    REPORTS(metaxy_store_copy(store, copy, features, 1, history, NULL, NULL, &stream, &error), NULL, "c/rows|c__rows|5|0|5");
    define(copy, "c/rows");
    GIVES(METAXY_OK, get(copy, "c/rows", everything, &copied));
    is_text(original, copied, __LINE__);
    /* And back: to where it is still, and to where it was dropped. */
    REPORTS(metaxy_store_copy(copy, store, features, 1, history, NULL, NULL, &stream, &error), NULL, "c/rows|c__rows|5|0|5");
    CHECK(drop(store, "c/rows") == 1);
    REPORTS(metaxy_store_copy(copy, store, features, 1, history, NULL, NULL, &stream, &error), NULL, "c/rows|c__rows|5|5|0");
    GIVES(METAXY_OK, get(store, "c/rows", everything, &copied));
    is_text(original, copied, __LINE__);
    FINDS(store, "c/rows", "a|10\nc|3", .columns = "id n");
    free(original);
    metaxy_read_request_free(history);
    metaxy_store_free(copy);
    metaxy_store_free(store);
}

/* The lines of a list that are about the topic. */
static void lists(const MetaxyStore *store, const char *prefix, const char *expected, int line) {
    struct ArrowArrayStream stream = {0};
    Text kept = {0};
    GIVES(METAXY_OK, metaxy_store_list(store, NULL, &stream, &error));
    if (!stream.release) return;
    char *all = text_of(&stream, "feature table defined system rows hash_algorithm hash_truncation_length problem");
    char *rest = all;
    text_add(&kept, "%s", "");
    for (char *text; (text = table_word(&rest, "\n"));)
        if (!strncmp(text, prefix, strlen(prefix))) text_add(&kept, kept.length ? "\n%s" : "%s", text);
    free(all);
    is_text(expected, kept.bytes, line);
}

static void catalog(void) {
    MetaxyStore *store = open_and_define("l/one"), *other = open_here();
    define(store, "l/gone");
    GIVES(METAXY_OK, put(store, "l/one", "id n:int" BY_X, "a|1\nb|2\nc|3"));
    GIVES(METAXY_OK, put(store, "l/one", "id n:int" BY_X, "a|10"));
    CHECK(DELETE(store, "l/one", "soft", .filter = "id = 'b'") == 1);
    GIVES(METAXY_OK, put(store, "l/gone", "id" BY_X, "a"));
    lists(store, "l/", "l/gone|l__gone|true|false|1|xxhash64|none|null\nl/one|l__one|true|false|5|xxhash64|none|null", __LINE__);
    CHECK(drop(store, "l/gone") == 1);
    CHECK(has(store, "l/one") == 1 && has(store, "l/gone") == 0 && has(store, "l/never") == 0);
    lists(store, "l/", "l/one|l__one|true|false|5|xxhash64|none|null", __LINE__);
    if (!place.in_memory) lists(other, "l/", "l/one|l__one|false|false|5|xxhash64|none|null", __LINE__);
    REPORTS(metaxy_store_describe(store, "l/one", NULL, &stream, &error), "is_current rows samples deleted", "true|5|2|1");
    define_as(store, "l/one", 1, "2", NULL);
    REPORTS(metaxy_store_describe(store, "l/one", NULL, &stream, &error), "is_current rows samples deleted",
            "false|5|2|1\ntrue|0|0|0");
    metaxy_store_free(store);
    metaxy_store_free(other);
}

static void maintenance(void) {
    const char *feature = "t/rows";
    MetaxyStore *store = open_and_define(feature);
    MetaxyOptions *prune = with("prune.older_than_ms", "0"), *purge = with("purge.older_than_ms", "0");
    MetaxyStatus status = place.remote ? METAXY_UNSUPPORTED : METAXY_OK;
    for (int i = 0; i < 4; i++) GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, i % 2 ? "a|1\nb|2" : "b|3\nc|4"));
    struct ArrowArrayStream stream = {0};
    GIVES(METAXY_OK, metaxy_store_purge(store, feature, purge, NULL, &stream, &error));
    if (stream.release) is_text("t/rows|5|null", text_of(&stream, "feature rows_removed problem"), __LINE__);
    GIVES(status, metaxy_store_compact(store, feature, NULL, NULL, &stream, &error));
    if (stream.release) is_text("t/rows|1|null", text_of(&stream, "feature fragments_after problem"), __LINE__);
    FINDS(store, feature, "a|1\nb|2\nc|4", .columns = "id n");
    GIVES(status, metaxy_store_prune(store, feature, NULL, NULL, &stream, &error));
    if (stream.release) is_text("t/rows|0|0|null", text_of(&stream, "feature versions_removed bytes_removed problem"), __LINE__);
    GIVES(status, metaxy_store_prune(store, feature, prune, NULL, &stream, &error));
    if (stream.release) free(text_of(&stream, NULL));
    else SAYS("server");
    FINDS(store, feature, "a|1\nb|2\nc|4", .columns = "id n");
    GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "d|5"));
    FINDS(store, feature, "a|1\nb|2\nc|4\nd|5", .columns = "id n", .sample_history = 1);
    metaxy_options_free(prune);
    metaxy_options_free(purge);
    metaxy_store_free(store);
}

static void drops(void) {
    const char *feature = "x/rows";
    MetaxyStore *store = open_and_define(feature);
    MetaxyOptions *prune = with("prune.older_than_ms", "0");
    for (int turn = 0; turn < 3; turn++) {
        GIVES(METAXY_OK, put(store, feature, "id n:int old" BY_X, "a|1|x\nb|2|y"));
        GIVES(METAXY_OK, put(store, feature, "id n:int old" BY_X, "a|3|z"));
        CHECK(drop(store, feature) == 1);
        CHECK(drop(store, feature) == 0);
        CHECK(has(store, feature) == 0);
        FINDS_NONE(METAXY_NOT_FOUND, store, feature);
        lists(store, "x/", "", __LINE__);
        /* Another type for a name, and nothing of what was there before. */
        GIVES(METAXY_OK, put(store, feature, "id n" BY_X, "b|text\nc|more"));
        FINDS(store, feature, "b|text\nc|more", .columns = "id n", .sample_history = 1, .feature_history = 1, .deleted = 1);
        char *found = NULL;
        GIVES(METAXY_INVALID_ARGUMENT, get(store, feature, (Query){.columns = "old"}, &found));
        free(found);
        GIVES(METAXY_OK, put(store, feature, "id n" BY_X, "c|most"));
        if (turn == 1 && !place.remote) {
            struct ArrowArrayStream stream = {0};
            GIVES(METAXY_OK, metaxy_store_compact(store, feature, NULL, NULL, &stream, &error));
            if (stream.release) free(text_of(&stream, NULL));
            GIVES(METAXY_OK, metaxy_store_prune(store, feature, prune, NULL, &stream, &error));
            if (stream.release) free(text_of(&stream, NULL));
        }
        FINDS(store, feature, "b|text\nc|more\nc|most", .columns = "id n", .sample_history = 1);
        CHECK(DELETE(store, feature, "soft", .filter = "id = 'b'") == 1);
        FINDS(store, feature, "c|most", .columns = "id n");
        CHECK(drop(store, feature) == 1);
        /* Made anew without rows, it is there. */
        GIVES(METAXY_OK, put(store, feature, "id n:float" BY_X, ""));
        CHECK(has(store, feature) == 1);
        FINDS(store, feature, "", .columns = "id n");
        CHECK(drop(store, feature) == 1);
        if (!place.remote) {
            struct ArrowArrayStream stream = {0};
            GIVES(METAXY_NOT_FOUND, metaxy_store_prune(store, feature, prune, NULL, &stream, &error));
            GIVES(METAXY_NOT_FOUND, metaxy_store_compact(store, feature, NULL, NULL, &stream, &error));
        }
    }
    metaxy_options_free(prune);
    metaxy_store_free(store);
}

/* What is left of a stream of which one row was read: all that was there, or the reason why not. */
static void ends_or_says_so(struct ArrowArrayStream *stream, int64_t rows, int may_fail, int line) {
    struct ArrowArray batch = {0};
    int64_t found = 1;
    int failed = 0;
    while (!(failed = stream->get_next(stream, &batch)) && batch.release) {
        found += batch.length;
        batch.release(&batch);
    }
    if (failed && may_fail) check_status(METAXY_CONFLICT, metaxy_error_from_stream(stream, &error), line, "a stream");
    else check(!failed && found == rows, line, "every row is read");
    metaxy_error_free(error);
    error = NULL;
    stream->release(stream);
}

static void streams(void) {
    const char *feature = "s/rows";
    MetaxyStore *store = open_and_define(feature);
    MetaxyReadRequest *one = request_of((Query){.columns = "id n", .batch_rows = 1});
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < 4; i++) {
            char rows[64];
            snprintf(rows, sizeof rows, "a%d|%d\nb%d|%d\nc%d|%d", i, i, i, i, i, i);
            GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, rows));
        }
        struct ArrowArrayStream stream = {0};
        struct ArrowArray batch = {0};
        GIVES(METAXY_OK, metaxy_store_read(store, feature, one, NULL, &stream, &error));
        if (!stream.release) break;
        CHECK(stream.get_next(&stream, &batch) == 0 && batch.release && batch.length == 1);
        if (batch.release) batch.release(&batch);
        if (turn == 0) {
            /* Later writes do not show. */
            GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a1|99\nnew|99"));
            CHECK(DELETE(store, feature, "hard", .filter = "id = 'a2'") == 1);
        } else {
            CHECK(drop(store, feature) == 1);
            if (turn == 2) GIVES(METAXY_OK, put(store, feature, "id other" BY_X, "n|x"));
        }
        ends_or_says_so(&stream, 12, turn > 0, __LINE__);
        drop(store, feature);
    }
    metaxy_read_request_free(one);
    metaxy_store_free(store);
}

/* Rows that take their time, or whose reader loses patience. */
static struct {
    MetaxyContext *cancelled;
    long ms;
} interruption;

static int interrupted_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    sleep_ms(interruption.ms);
    if (interruption.cancelled) metaxy_context_cancel(interruption.cancelled, NULL);
    return table_next(stream, out);
}

static void contexts(void) {
    const char *feature = "k/rows";
    MetaxyStore *store = open_and_define(feature);
    MetaxyReadRequest *one = request_of((Query){.columns = "id", .batch_rows = 1});
    struct ArrowArrayStream rows, stream = {0};
    int32_t dropped = 9;
    for (int turn = 0; turn < 2; turn++) {
        MetaxyContext *cancelled = NULL, *late = NULL;
        GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
        GIVES(METAXY_OK, metaxy_context_new(&late, &error));
        GIVES(METAXY_OK, metaxy_context_set_timeout_ms(late, 100, &error));

        interruption.cancelled = NULL;
        interruption.ms = 150;
        rows = table("id n:int" BY_X, "p|1\nq|2\nr|3", 1);
        rows.get_next = interrupted_next;
        GIVES(METAXY_TIMEOUT, metaxy_store_write(store, feature, &rows, NULL, late, &error));
        CHECK(metaxy_error_is_retryable(error));

        interruption.cancelled = cancelled;
        interruption.ms = 0;
        rows = table("id n:int" BY_X, "p|1\nq|2\nr|3", 1);
        rows.get_next = interrupted_next;
        GIVES(METAXY_CANCELLED, metaxy_store_write(store, feature, &rows, NULL, cancelled, &error));
        /* It stays cancelled. */
        GIVES(METAXY_CANCELLED, metaxy_store_read(store, feature, one, cancelled, &stream, &error));
        GIVES(METAXY_CANCELLED, metaxy_store_list(store, cancelled, &stream, &error));
        GIVES(METAXY_CANCELLED, metaxy_store_drop(store, feature, NULL, cancelled, &dropped, &error));
        metaxy_context_free(cancelled);
        metaxy_context_free(late);
        if (turn == 0) {
            CHECK(has(store, feature) == 0);
            GIVES(METAXY_OK, put(store, feature, "id n:int" BY_X, "a|1\nb|2\nc|3"));
        }
    }
    FINDS(store, feature, "a\nb\nc", .columns = "id", .sample_history = 1);

    MetaxyContext *context = NULL;
    struct ArrowArray batch = {0};
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_store_read(store, feature, one, context, &stream, &error));
    CHECK(stream.get_next(&stream, &batch) == 0 && batch.release);
    if (batch.release) batch.release(&batch);
    GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
    CHECK(stream.get_next(&stream, &batch) != 0);
    GIVES(METAXY_CANCELLED, metaxy_error_from_stream(&stream, &error));
    stream.release(&stream);
    metaxy_context_free(context);
    metaxy_read_request_free(one);
    metaxy_store_free(store);
}

static void handles(void) {
    const char *feature = "h/rows";
    MetaxyStore *one = open_and_define(feature), *other = open_and_define(feature), *reader = open_as("read");
    struct ArrowArrayStream rows = table("id n:int" BY_X, "z|26", 0);
    uint64_t deleted = 9;
    int32_t dropped = 9;
    define(reader, feature);
    FINDS_NONE(METAXY_NOT_FOUND, reader, feature);
    /* What one does, all see at once. */
    GIVES(METAXY_OK, put(one, feature, "id n:int" BY_X, "a|1\nb|2"));
    FINDS(reader, feature, "a|1\nb|2", .columns = "id n");
    GIVES(METAXY_OK, put(other, feature, "id n:int" BY_X, "b|3\nc|4"));
    FINDS(one, feature, "a|1\nb|3\nc|4", .columns = "id n");
    CHECK(DELETE(one, feature, "soft", .filter = "n = 3") == 1);
    FINDS(reader, feature, "a|1\nc|4", .columns = "id n");
    GIVES(METAXY_OK, put(other, feature, "id n:int more" BY_X, "d|5|x"));
    FINDS(reader, feature, "a|1|null\nc|4|null\nd|5|x", .columns = "id n more");

    MetaxyReadRequest *all = request_of((Query){.filter = "n > 0"});
    GIVES(METAXY_INVALID_STATE, metaxy_store_write(reader, feature, &rows, NULL, NULL, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_delete(reader, feature, all, NULL, NULL, &deleted, &error));
    GIVES(METAXY_INVALID_STATE, metaxy_store_drop(reader, feature, NULL, NULL, &dropped, &error));
    metaxy_read_request_free(all);

    CHECK(drop(one, feature) == 1);
    CHECK(has(other, feature) == 0 && has(reader, feature) == 0);
    FINDS_NONE(METAXY_NOT_FOUND, reader, feature);
    CHECK(drop(other, feature) == 0);
    GIVES(METAXY_OK, put(other, feature, "id n" BY_X, "a|text"));
    GIVES(METAXY_OK, put(one, feature, "id n" BY_X, "b|word"));
    FINDS(reader, feature, "a|text\nb|word", .columns = "id n", .sample_history = 1);
    metaxy_store_free(one);
    metaxy_store_free(other);
    FINDS(reader, feature, "a|text\nb|word", .columns = "id n");
    metaxy_store_free(reader);
    one = open_and_define(feature);
    FINDS(one, feature, "a|text\nb|word", .columns = "id n");
    GIVES(METAXY_OK, metaxy_store_close(one, &error));
    FINDS_NONE(METAXY_INVALID_STATE, one, feature);
    metaxy_store_free(one);
}

enum { THREADS = 4, WRITES = 4 };

typedef struct Worker {
    const MetaxyStore *store;
    int number;
    MetaxyStatus status;
} Worker;

static void *work(void *data) {
    Worker *worker = data;
    for (int i = 0; i < WRITES && worker->status == METAXY_OK; i++) {
        char rows[64];
        snprintf(rows, sizeof rows, "%d-%d-a|%d\n%d-%d-b|%d", worker->number, i, i, worker->number, i, i);
        struct ArrowArrayStream stream = table("id n:int" BY_X, rows, 0);
        MetaxyError *failure = NULL;
        worker->status = metaxy_store_write(worker->store, "p/rows", &stream, NULL, NULL, &failure);
        if (failure) fprintf(stderr, "thread %d, write %d: %s\n", worker->number, i, metaxy_error_message(failure));
        metaxy_error_free(failure);
    }
    return NULL;
}

static void threads(void) {
    MetaxyStore *store = open_and_define("p/rows");
    pthread_t threads[THREADS];
    Worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (Worker){store, i, METAXY_OK};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    Text expected = {0};
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(workers[i].status == METAXY_OK);
        for (int j = 0; j < WRITES; j++) text_add(&expected, "%s%d-%d-a\n%d-%d-b", i + j ? "\n" : "", i, j, i, j);
    }
    FINDS(store, "p/rows", expected.bytes, .columns = "id", .sample_history = 1);
    free(expected.bytes);
    metaxy_store_free(store);
}

/* A store of its own that goes on in another: this storage over one in memory, or the other way round. */
static void chain(const char *missing, int upper_is_here, const char *const expected[4]) {
    char feature[64];
    snprintf(feature, sizeof feature, "f/%s/%d", missing, upper_is_here);
    MetaxyStore *lower = upper_is_here ? open_memory() : open_here(), *upper = NULL;
    const MetaxyStore *fallbacks[] = {lower};
    MetaxyOptions *options = upper_is_here ? with_those_of_place("fallback.missing", missing) : with("fallback.missing", missing);
    GIVES(METAXY_OK, metaxy_store_open_chain(upper_is_here ? place.uri : "memory://", fallbacks, 1, options, NULL, &upper, &error));
    metaxy_options_free(options);
    define(lower, feature);
    define(upper, feature);
    FINDS_NONE(METAXY_NOT_FOUND, upper, feature);
    GIVES(METAXY_OK, put(lower, feature, "id n:int" BY_X, "a|1\nb|2\nc|3"));
    FINDS(upper, feature, expected[0], .columns = "id n");
    CHECK(has(upper, feature) == 0);
    CHECK(DELETE(upper, feature, "soft", .filter = "id = 'c'") == 1);
    FINDS(upper, feature, expected[1], .columns = "id n");
    GIVES(METAXY_OK, put(upper, feature, "id n:int" BY_X, "a|10"));
    FINDS(upper, feature, expected[2], .columns = "id n");
    FINDS(upper, feature, expected[3], .columns = "id n", .deleted = 1);
    FINDS(upper, feature, "a|10", .columns = "id n", .here = 1);
    FINDS(upper, feature, "a|10", .columns = "id n", .filter = "id = 'a'");
    FINDS(lower, feature, "a|1\nb|2\nc|3", .columns = "id n");
    int both = !strcmp(missing, "merge");
    REPORTS(metaxy_store_find(upper, feature, NULL, NULL, &stream, &error), "outcome", both ? "served\nserved" : "served");
    CHECK(drop(upper, feature) == 1);
    FINDS(upper, feature, expected[0], .columns = "id n");
    REPORTS(metaxy_store_find(upper, feature, NULL, NULL, &stream, &error), "outcome", "absent\nserved");
    metaxy_store_free(lower);
    metaxy_store_free(upper);
}

static void chains(void) {
    static const struct {
        const char *missing, *expected[4];
    } cases[] = {
        {"rows", {"a|1\nb|2\nc|3", "a|1\nb|2", "a|10", "a|10\nc|3"}},
        {"table", {"a|1\nb|2\nc|3", "", "a|10", "a|10\nc|3"}},
        {"merge", {"a|1\nb|2\nc|3", "a|1\nb|2", "a|10\nb|2", "a|10\nb|2\nc|3"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int upper_is_here = 0; upper_is_here < 2; upper_is_here++)
            chain(cases[i].missing, upper_is_here, cases[i].expected);
}

static void pushes(void) {
    MetaxyStore *store = open_and_define("p/one");
    define_as(store, "p/two", 1, "1", "p/one");
    char *first = version_of(store, "p/two");
    REPORTS(metaxy_store_push(store, NULL, "{\"commit\": \"1\"}", NULL, &stream, &error), "feature pushed",
            "p/one|true\np/two|true");
    REPORTS(metaxy_store_push(store, NULL, NULL, NULL, &stream, &error), "feature pushed", "p/one|false\np/two|false");
    define_as(store, "p/one", 1, "2", NULL);
    char *second = version_of(store, "p/two");
    REPORTS(metaxy_store_push(store, NULL, NULL, NULL, &stream, &error), "feature pushed", "p/one|true\np/two|true");
    define_as(store, "p/one", 1, "3", NULL);

    MetaxyStore *reader = place.in_memory ? store : open_as("read");
    REPORTS(metaxy_store_load(reader, "conformance", NULL, NULL, 0, NULL, &stream, &error), "feature project problem",
            "p/one|conformance|null\np/two|conformance|null");
    char *loaded = version_of(reader, "p/two");
    CHECK(first && second && loaded && strcmp(first, second) != 0 && strcmp(second, loaded) == 0);
    if (!place.in_memory) metaxy_store_free(reader);
    free(first);
    free(second);
    free(loaded);
    metaxy_store_free(store);
}

static const struct {
    const char *name;
    void (*run)(void);
    /* Each handle of memory:// has tables of its own. */
    int shares_tables;
} topics[] = {
    {"nothing", nothing, 0},         {"definitions", definitions, 0}, {"writes", writes, 0},
    {"refused rows", refused_rows, 0}, {"writers", writers, 0},       {"reads", reads, 0},
    {"batches", batches, 0},         {"large", large, 0},             {"versions", versions, 0},
    {"evolution", evolution, 0},     {"many features", many_features, 0}, {"buffers", buffers, 0},
    {"deletes", deletes, 0},         {"copies", copies, 0},           {"catalog", catalog, 0},
    {"maintenance", maintenance, 0}, {"drops", drops, 0},             {"streams", streams, 0},
    {"contexts", contexts, 0},       {"handles", handles, 1},         {"threads", threads, 0},
    {"chains", chains, 0},           {"pushes", pushes, 0},
};

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int failed = 0;
    place.uri = argv[1];
    place.in_memory = !strncmp(argv[1], "memory:", strlen("memory:"));
    place.remote = argc > 2 && !strcmp(argv[2], "--remote");
    place.options = argv + 2 + place.remote;
    place.option_count = argc - 2 - place.remote;
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        struct timespec from, to;
        if (place.in_memory && topics[i].shares_tables) {
            printf("not applicable %s\n", topics[i].name);
            continue;
        }
        check_failed = 0;
        clock_gettime(CLOCK_MONOTONIC, &from);
        topics[i].run();
        clock_gettime(CLOCK_MONOTONIC, &to);
        double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        printf("%s %s (%.1f s)\n", check_failed ? "failed" : "ok", topics[i].name, seconds);
        fflush(stdout);
        failed |= check_failed;
        /* There is no storage to try the others on. */
        if (failed && i == 0) break;
    }
    return done() || failed;
}
