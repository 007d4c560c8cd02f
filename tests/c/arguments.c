/* Wrong arguments in each position: an error that says which, and nothing touched. */
#include "sample.h"

static void statuses(void) {
    CHECK(metaxy_status_count() == METAXY_INTERNAL + 1);
    for (size_t i = 0; i < metaxy_status_count(); i++) {
        MetaxyStatus status = -1;
        const char *name = NULL;
        GIVES(METAXY_OK, metaxy_status_at(i, &status, &name, &error));
        CHECK(name && strcmp(name, metaxy_status_name(status)) == 0);
    }
    MetaxyStatus status = -1;
    const char *name = "x";
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_status_at(1000, &status, &name, &error));
    CHECK(name == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_status_at(0, NULL, &name, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_status_at(0, &status, NULL, &error));
    CHECK(metaxy_status_name(-1) == NULL);
}

static void versions(void) {
    CHECK(strcmp(metaxy_version_string(), METAXY_VERSION_STRING) == 0);
    CHECK(metaxy_version_number() == METAXY_VERSION_NUMBER);
    CHECK(metaxy_version_major() == METAXY_VERSION_MAJOR);
    CHECK(metaxy_version_minor() == METAXY_VERSION_MINOR);
    CHECK(metaxy_version_patch() == METAXY_VERSION_PATCH);
    CHECK(metaxy_abi_version() == METAXY_ABI_VERSION);
}

static void errors(void) {
    CHECK(metaxy_error_status(NULL) == METAXY_OK);
    CHECK(metaxy_error_message(NULL) == NULL);
    CHECK(metaxy_error_cause_count(NULL) == 0 && metaxy_error_cause(NULL, 0) == NULL);
    CHECK(metaxy_error_detail_count(NULL) == 0 && metaxy_error_detail_key(NULL, 0) == NULL);
    CHECK(metaxy_error_detail_value(NULL, 0) == NULL && metaxy_error_detail(NULL, "option") == NULL);
    CHECK(metaxy_error_is_retryable(NULL) == 0);

    MetaxyOptions *options = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_set(options, "hash.algoritm", "md5", &error));
    SAYS("hash.algorithm");
    CHECK(strcmp(metaxy_error_detail(error, "option"), "hash.algoritm") == 0);
    CHECK(metaxy_error_detail(error, "nothing") == NULL && metaxy_error_detail(error, NULL) == NULL);
    size_t details = metaxy_error_detail_count(error);
    CHECK(details > 0 && metaxy_error_detail_key(error, details) == NULL);
    CHECK(metaxy_error_cause(error, metaxy_error_cause_count(error)) == NULL);

    /* A freed error is no error any more, and says nothing. */
    MetaxyError *freed = error;
    metaxy_error_free(freed);
    CHECK(metaxy_error_message(freed) == NULL);
    metaxy_error_free(freed);
    error = NULL;

    /* Whoever does not want the error passes NULL. */
    CHECK(metaxy_options_set(options, "nothing", "x", NULL) == METAXY_INVALID_ARGUMENT);
    metaxy_options_free(options);
}

static void handles(void) {
    MetaxyStore *store = sample_store();
    MetaxyOptions *options = NULL;
    MetaxyContext *context = NULL;
    char local[64] = {0}, *text = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));

    GIVES(METAXY_INVALID_HANDLE, metaxy_store_define(NULL, "{}", &error));
    SAYS("expected a MetaxyStore, found NULL");
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_define((MetaxyStore *)(void *)local, "{}", &error));
    SAYS("no handle of metaxy");
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_define((MetaxyStore *)(uintptr_t)1, "{}", &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_define((MetaxyStore *)UINTPTR_MAX, "{}", &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_define((MetaxyStore *)options, "{}", &error));
    SAYS("expected a MetaxyStore, found the MetaxyOptions");
    GIVES(METAXY_INVALID_HANDLE, metaxy_options_set((MetaxyOptions *)context, "mode", "read", &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_context_cancel((MetaxyContext *)store, &error));
    MetaxyStore *other = store;
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_open("memory://", (MetaxyOptions *)store, NULL, &other, &error));
    CHECK(other == NULL);
    metaxy_options_free(options);
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_open("memory://", options, NULL, &other, &error));
    SAYS("already freed");

    /* Freeing what is not of the kind frees nothing. */
    metaxy_context_free((MetaxyContext *)store);
    metaxy_store_free((MetaxyStore *)local);
    GIVES(METAXY_OK, metaxy_store_display(store, &text, &error));
    metaxy_string_free(text);

    metaxy_store_free(store);
    metaxy_store_free(store);
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_display(store, &text, &error));
    SAYS("already freed");
    CHECK(text == NULL);
    metaxy_context_free(context);

    metaxy_store_free(NULL);
    metaxy_options_free(NULL);
    metaxy_context_free(NULL);
    metaxy_read_request_free(NULL);
    metaxy_writer_free(NULL);
    metaxy_error_free(NULL);
    metaxy_string_free(NULL);
}

static void nulls(void) {
    MetaxyStore *store = NULL;
    struct ArrowArrayStream rows = {0};
    struct ArrowArray batch = {0};
    struct ArrowSchema schema = {0};
    MetaxyWriter *writer = NULL;

    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_open(NULL, NULL, NULL, &store, &error));
    SAYS("uri is NULL");
    CHECK(store == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_open("memory://", NULL, NULL, NULL, &error));
    store = sample_store();
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_define(store, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_define(store, "{\xff}", &error));
    SAYS("UTF-8 from byte 1");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_define(store, "nonsense", &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_close(NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_display(store, NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_store_features(NULL, NULL, &rows, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_features(store, NULL, NULL, &error));

    GIVES(METAXY_INVALID_HANDLE, metaxy_store_read(NULL, SAMPLE, NULL, NULL, &rows, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_read(store, NULL, NULL, NULL, &rows, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_read(store, SAMPLE, NULL, NULL, NULL, &error));
    GIVES(METAXY_NOT_FOUND, metaxy_store_read(store, "no/such", NULL, NULL, &rows, &error));
    SAYS("no/such");
    CHECK(metaxy_error_detail(error, "feature") != NULL);
    CHECK(rows.release == NULL);

    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write(store, SAMPLE, NULL, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error));
    SAYS("already released");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write_batch(store, SAMPLE, NULL, &schema, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write_batch(store, SAMPLE, &batch, NULL, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write_batch(store, SAMPLE, &batch, &schema, NULL, NULL, &error));
    SAYS("already released");
    sample_batch(&schema, &batch);
    batch.release(&batch);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_write_batch(store, SAMPLE, &batch, &schema, NULL, NULL, &error));
    SAYS("the array `rows` was already released");

    GIVES(METAXY_INVALID_HANDLE, metaxy_store_writer(NULL, SAMPLE, &schema, NULL, NULL, &writer, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_writer(store, NULL, &schema, NULL, NULL, &writer, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_writer(store, SAMPLE, NULL, NULL, NULL, &writer, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, NULL, &error));
    GIVES(METAXY_NOT_FOUND, metaxy_store_writer(store, "no/such", &schema, NULL, NULL, &writer, &error));
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_writer_push(writer, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_writer_push(writer, &batch, NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_writer_push(NULL, &batch, NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_writer_commit(NULL, NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_writer_abort(NULL, &error));
    metaxy_writer_free(writer);
    schema.release(&schema);

    GIVES(METAXY_INVALID_ARGUMENT, metaxy_error_from_stream(NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_error_from_stream(&rows, &error));
    struct ArrowArrayStream foreign = sample_stream();
    GIVES(METAXY_INVALID_HANDLE, metaxy_error_from_stream(&foreign, &error));
    foreign.release(&foreign);
    metaxy_store_free(store);
}

static void options(void) {
    MetaxyOptions *options = NULL;
    char *value = NULL;
    struct ArrowArrayStream list = {0};
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_new(NULL, &error));
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_options_set(NULL, "mode", "read", &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_set(options, NULL, "read", &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_set(options, "mode", "sideways", &error));
    SAYS("write, read");
    GIVES(METAXY_OK, metaxy_options_set(options, "mode", "read", &error));
    GIVES(METAXY_OK, metaxy_options_get(options, "mode", &value, &error));
    CHECK(value && strcmp(value, "read") == 0);
    metaxy_string_free(value);
    GIVES(METAXY_OK, metaxy_options_set(options, "mode", NULL, &error));
    GIVES(METAXY_OK, metaxy_options_get(options, "mode", &value, &error));
    CHECK(value && strcmp(value, "write") == 0);
    metaxy_string_free(value);
    GIVES(METAXY_OK, metaxy_options_get(options, "name", &value, &error));
    CHECK(value == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_get(options, NULL, &value, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_get(options, "mode", NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_options_get(NULL, "mode", &value, &error));
    metaxy_options_free(options);

    GIVES(METAXY_INVALID_ARGUMENT, metaxy_options_list(NULL, &error));
    GIVES(METAXY_OK, metaxy_options_list(&list, &error));
    struct ArrowSchema schema;
    CHECK(list.get_schema(&list, &schema) == 0);
    CHECK(schema.n_children == 5 && strcmp(schema.children[0]->name, "key") == 0);
    schema.release(&schema);
    CHECK(count_rows(&list) > 3);
}

static void requests(void) {
    MetaxyReadRequest *request = NULL;
    const char *columns[] = {"id", NULL};
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_read_request_new(NULL, &error));
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_columns(request, columns, 1, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_read_request_set_columns(request, columns, 2, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_read_request_set_columns(request, NULL, 2, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_columns(request, NULL, 0, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_read_request_add_filter(request, NULL, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_feature_version(request, NULL, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_feature_history(request, 1, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_sample_history(request, 1, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_deleted(request, 1, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_batch_rows(request, 2, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_limit(request, 2, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_read_request_set_limit(request, -2, &error));
    metaxy_read_request_free(request);
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_columns(request, columns, 1, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_add_filter(request, "id = 'a'", &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_feature_version(request, "x", &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_feature_history(request, 1, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_sample_history(request, 1, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_deleted(request, 1, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_batch_rows(request, 1, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_read_request_set_limit(request, 1, &error));
}

static void contexts(void) {
    MetaxyContext *context = NULL;
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_context_new(NULL, &error));
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_set_timeout_ms(context, UINT64_MAX, &error));
    GIVES(METAXY_OK, metaxy_context_set_progress(context, NULL, NULL, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(context, &error));
    metaxy_context_free(context);
    GIVES(METAXY_INVALID_HANDLE, metaxy_context_set_timeout_ms(context, 1, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_context_set_progress(context, NULL, NULL, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_context_cancel(NULL, &error));
    GIVES(METAXY_OK, metaxy_log_set_callback(0, NULL, NULL, &error));
    CHECK(metaxy_live_handles(99) == 0 && metaxy_live_handles(-1) == 0);
}

int main(void) {
    statuses();
    versions();
    errors();
    handles();
    nulls();
    options();
    requests();
    contexts();
    return done();
}
