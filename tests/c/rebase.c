/* Rows of one feature version as rows of another. */
#include "check.h"
#include "table.h"

#define ID_COLUMNS "\"id_columns\": [\"id\"]"
#define CROP(code_version) \
    "{\"key\": \"video/crop\", " ID_COLUMNS ", \"deps\": [\"video/raw\"]," \
    " \"fields\": [{\"key\": \"default\", \"code_version\": \"" code_version "\"}]}"

static MetaxyStore *family(void) {
    MetaxyStore *store = NULL;
    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "project", "tests", &error));
    GIVES(METAXY_OK, metaxy_store_open("memory://", options, NULL, &store, &error));
    GIVES(METAXY_OK, metaxy_store_define(store,
        "[{\"key\": \"video/raw\", " ID_COLUMNS ", \"fields\": [{\"key\": \"default\"}]}, " CROP("1") "]", &error));
    metaxy_options_free(options);
    return store;
}

static const char THREE[] = "cat|a\ndog|b\nowl|c";

static void write_videos(const MetaxyStore *store) {
    struct ArrowArrayStream rows = table("content id metaxy_provenance_by_field{default}", THREE, 0);
    GIVES(METAXY_OK, metaxy_store_write(store, "video/raw", &rows, NULL, NULL, &error));
}

static char *text_and_check(struct ArrowArrayStream *stream, const char *columns) {
    CHECK(stream->release != NULL);
    return stream->release ? text_of(stream, columns) : table_copy("no stream");
}

/* Two texts that are one; both are freed. */
static void are_same(char *one, char *other, int line) {
    if (strcmp(one, other) != 0) {
        check_failed = 1;
        fprintf(stderr, "line %d: one is\n%s\n    the other\n%s\n", line, one, other);
    }
    free(one);
    free(other);
}

#define ARE_SAME(one, other) are_same(one, other, __LINE__)

static MetaxyIncrement *resolve(const MetaxyStore *store) {
    MetaxyIncrement *increment = NULL;
    GIVES(METAXY_OK, metaxy_store_resolve_update(store, "video/crop", NULL, NULL, NULL, &increment, &error));
    return increment;
}

/* The version of "video/crop" now. */
static void version_now(const MetaxyStore *store, char version[128]) {
    struct ArrowArrayStream features = {0};
    GIVES(METAXY_OK, metaxy_store_features(store, NULL, &features, &error));
    char *text = text_of(&features, "feature feature_version");
    CHECK(sscanf(text, "video/crop|%127[^\n]", version) == 1);
    free(text);
}

static void rebased(void) {
    MetaxyStore *store = family();
    struct ArrowArrayStream rows = {0};
    char first[128] = "", second[128] = "";
    uint64_t new_rows = 9;
    write_videos(store);
    version_now(store, first);
    MetaxyIncrement *increment = resolve(store);
    GIVES(METAXY_OK, metaxy_increment_read_new(increment, NULL, &rows, &error));
    GIVES(METAXY_OK, metaxy_store_write(store, "video/crop", &rows, NULL, NULL, &error));
    metaxy_increment_free(increment);

    /* The code is another, and does the same. */
    GIVES(METAXY_OK, metaxy_store_define(store, CROP("2"), &error));
    version_now(store, second);
    CHECK(strcmp(first, second) != 0);
    for (int explicitly = 0; explicitly < 2; explicitly++) {
        GIVES(METAXY_OK, metaxy_store_rebase(store, "video/crop", first, explicitly ? second : NULL, NULL, &rows, &error));
        ARE_SAME(text_and_check(&rows, "id content"), table_copy("a|cat\nb|dog\nc|owl"));
    }
    GIVES(METAXY_OK, metaxy_store_rebase(store, "video/crop", first, NULL, NULL, &rows, &error));
    GIVES(METAXY_OK, metaxy_store_write(store, "video/crop", &rows, NULL, NULL, &error));
    increment = resolve(store);
    GIVES(METAXY_OK, metaxy_increment_counts(increment, &new_rows, NULL, NULL, &error));
    CHECK(new_rows == 0);
    metaxy_increment_free(increment);

    /* The stream needs no store. */
    GIVES(METAXY_OK, metaxy_store_rebase(store, "video/crop", first, NULL, NULL, &rows, &error));
    metaxy_store_free(store);
    ARE_SAME(text_and_check(&rows, "id"), table_copy("a\nb\nc"));
}

static void wrong_versions(void) {
    MetaxyStore *store = family();
    MetaxyContext *cancelled = NULL;
    struct ArrowArrayStream rows;
    char version[128] = "";
    version_now(store, version);
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    const struct {
        const MetaxyStore *store;
        const char *feature, *from, *to;
        const MetaxyContext *context;
        MetaxyStatus status;
        const char *says;
    } calls[] = {
        {NULL, "video/crop", version, NULL, NULL, METAXY_INVALID_HANDLE, "found NULL"},
        {store, NULL, version, NULL, NULL, METAXY_INVALID_ARGUMENT, "feature is NULL"},
        {store, "video/crop", NULL, NULL, NULL, METAXY_INVALID_ARGUMENT, "from_version is NULL"},
        {store, "video/crop", version, "\xff", NULL, METAXY_INVALID_ARGUMENT, "to_version is not UTF-8"},
        {store, "video/crop", version, NULL, (const MetaxyContext *)store, METAXY_INVALID_HANDLE, "found the MetaxyStore"},
        {store, "video/crop", version, NULL, cancelled, METAXY_CANCELLED, "cancelled"},
        {store, "video/corp", version, NULL, NULL, METAXY_NOT_FOUND, "video/corp"},
        {store, "video/raw", version, NULL, NULL, METAXY_INVALID_ARGUMENT, "video/raw"},
        {store, "video/crop", version, "0000", NULL, METAXY_NOT_FOUND, "0000"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        memset(&rows, 0xff, sizeof rows);
        GIVES(calls[i].status, metaxy_store_rebase(calls[i].store, calls[i].feature, calls[i].from, calls[i].to,
                                                   calls[i].context, &rows, &error));
        SAYS(calls[i].says);
        CHECK(rows.release == NULL);
    }
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_rebase(store, "video/crop", version, NULL, NULL, NULL, &error));
    SAYS("rows is NULL");
    metaxy_context_free(cancelled);
    metaxy_store_free(store);
}

int main(void) {
    wrong_versions();
    rebased();
    return done();
}
