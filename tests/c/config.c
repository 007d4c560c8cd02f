/* Stores by name: found from the working directory, changed by the environment, free of each other. */
#define _XOPEN_SOURCE 700
#include "sample.h"

#include <sys/stat.h>
#include <unistd.h>

static const char toml[] =
    "project = \"tests\"\n"
    "[stores.dev]\n"
    "type = \"metaxy.ext.lancedb.LanceDBMetadataStore\"\n"
    "[stores.dev.config]\n"
    "uri = \"${WHERE:-memory://}\"\n"
    "fallback_stores = [\"cloud\"]\n"
    "[stores.cloud]\n"
    "type = \"metaxy.ext.lancedb.LanceDBMetadataStore\"\n"
    "[stores.cloud.config]\n"
    "uri = \"db://user:sesame@cloud\"\n"
    "[stores.cloud.config.connect_kwargs]\n"
    "api_key = \"sesame\"\n";

static const char feature[] = "{\"key\": \"sample\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"default\"}]}";

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static MetaxyConfig *load(const char *path) {
    MetaxyConfig *config = NULL;
    GIVES(METAXY_OK, metaxy_config_load(path, &config, &error));
    return config;
}

/* The store is discovered, opened by its name or by default, and does not need the configuration. */
static void discovered(void) {
    for (int by_name = 0; by_name < 2; by_name++) {
        MetaxyConfig *config = load(NULL);
        MetaxyStore *store = NULL;
        GIVES(METAXY_OK, metaxy_config_open_store(config, by_name ? "dev" : NULL, NULL, NULL, &store, &error));
        metaxy_config_free(config);
        metaxy_config_free(config);
        GIVES(METAXY_OK, metaxy_store_define(store, feature, &error));
        write_sample(store);
        CHECK(stored_rows(store) == SAMPLE_ROWS);
        metaxy_store_free(store);
    }
}

static void overridden(void) {
    MetaxyStore *store = NULL;
    char *display = NULL;
    setenv("METAXY_STORES__DEV__CONFIG__URI", "elsewhere", 1);
    MetaxyConfig *config = load("../metaxy.toml");
    /* What the environment was when the configuration was loaded counts. */
    unsetenv("METAXY_STORES__DEV__CONFIG__URI");
    char here[4096];
    CHECK(getcwd(here, sizeof here) && chdir("/") == 0);
    GIVES(METAXY_OK, metaxy_config_open_store(config, "dev", NULL, NULL, &store, &error));
    CHECK(chdir(here) == 0);
    GIVES(METAXY_OK, metaxy_store_display(store, &display, &error));
    CHECK(display && strncmp(display, "[dev] /", 7) == 0 && strcmp(strrchr(display, '/'), "/elsewhere") == 0);
    CHECK(access("elsewhere", F_OK) == 0);
    metaxy_string_free(display);
    metaxy_store_free(store);
    metaxy_config_free(config);

    setenv("METAXY_CONFIG", "../other.toml", 1);
    GIVES(METAXY_NOT_FOUND, metaxy_config_load(NULL, &config, &error));
    SAYS("other.toml");
    CHECK(config == NULL);
    unsetenv("METAXY_CONFIG");
}

static void listed(void) {
    MetaxyConfig *config = load(NULL);
    struct ArrowArrayStream stores = {0};
    struct ArrowSchema schema;
    GIVES(METAXY_OK, metaxy_config_stores(config, &stores, &error));
    metaxy_config_free(config);
    CHECK(stores.get_schema(&stores, &schema) == 0);
    CHECK(schema.n_children == 9 && strcmp(schema.children[0]->name, "name") == 0);
    schema.release(&schema);
    CHECK(count_rows(&stores) == 2);
}

static void refused(void) {
    MetaxyConfig *config = load(NULL);
    MetaxyStore *store = NULL;
    MetaxyContext *cancelled = NULL;
    struct ArrowArrayStream stores = {0};
    GIVES(METAXY_NOT_FOUND, metaxy_config_open_store(config, "deev", NULL, NULL, &store, &error));
    SAYS("it has: dev, cloud");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_config_open_store(config, "cloud", NULL, NULL, &store, &error));
    CHECK(strstr(metaxy_error_message(error), "sesame") == NULL);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_config_open_store(config, "\xff", NULL, NULL, &store, &error));
    GIVES(METAXY_OK, metaxy_context_new(&cancelled, &error));
    GIVES(METAXY_OK, metaxy_context_cancel(cancelled, &error));
    GIVES(METAXY_CANCELLED, metaxy_config_open_store(config, NULL, NULL, cancelled, &store, &error));
    metaxy_context_free(cancelled);
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_config_open_store(config, NULL, NULL, NULL, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_config_stores(config, NULL, &error));
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_config_load(NULL, NULL, &error));
    CHECK(store == NULL);

    GIVES(METAXY_INVALID_HANDLE, metaxy_config_open_store(NULL, NULL, NULL, NULL, &store, &error));
    GIVES(METAXY_INVALID_HANDLE, metaxy_config_stores((MetaxyConfig *)&stores, &stores, &error));
    metaxy_config_free(config);
    GIVES(METAXY_INVALID_HANDLE, metaxy_config_stores(config, &stores, &error));
    SAYS("already freed");
    metaxy_config_free(NULL);

    write_file("broken.toml", "[stores.dev]\napi_key = \"sesame\n");
    GIVES(METAXY_INVALID_ARGUMENT, metaxy_config_load("broken.toml", &config, &error));
    SAYS("broken.toml, line 2");
    CHECK(strstr(metaxy_error_message(error), "sesame") == NULL);
    CHECK(config == NULL);
}

int main(void) {
    char directory[] = "/tmp/metaxy-config-XXXXXX";
    CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0);
    write_file("metaxy.toml", toml);
    CHECK(mkdir("below", 0700) == 0 && chdir("below") == 0);
    discovered();
    overridden();
    listed();
    refused();
    CHECK(remove("broken.toml") == 0 && rmdir("elsewhere") == 0 && chdir("..") == 0);
    CHECK(remove("metaxy.toml") == 0 && rmdir("below") == 0 && rmdir(directory) == 0);
    return done();
}
