/* A forked child: what it inherited says so instead of hanging, and it can begin anew. */
#define _POSIX_C_SOURCE 200809L
#include "sample.h"

#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    MetaxyStore *store = sample_store();
    MetaxyWriter *writer = NULL;
    MetaxyContext *context = NULL;
    struct ArrowArrayStream rows = {0};
    struct ArrowSchema schema;
    struct ArrowArray batch;
    char *text = NULL;
    write_sample(store);
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));

    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct ArrowArray none = {0};
        GIVES(METAXY_FORKED, metaxy_store_display(store, &text, &error));
        SAYS("make another in this process");
        GIVES(METAXY_FORKED, metaxy_writer_push(writer, &batch, NULL, &error));
        CHECK(batch.release == NULL);
        GIVES(METAXY_FORKED, metaxy_context_cancel(context, &error));
        CHECK(rows.get_next(&rows, &none) == EBADF);
        GIVES(METAXY_FORKED, metaxy_error_from_stream(&rows, &error));

        /* Freeing the parent's objects is harmless, and frees nothing of the parent. */
        rows.release(&rows);
        metaxy_writer_free(writer);
        metaxy_context_free(context);
        metaxy_store_free(store);
        schema.release(&schema);

        store = sample_store();
        write_sample(store);
        CHECK(stored_rows(store) == SAMPLE_ROWS);
        metaxy_store_free(store);
        _exit(done());
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* The parent has lost nothing. */
    GIVES(METAXY_OK, metaxy_writer_push(writer, &batch, NULL, &error));
    GIVES(METAXY_OK, metaxy_writer_commit(writer, NULL, &error));
    CHECK(count_rows(&rows) == SAMPLE_ROWS);
    schema.release(&schema);
    metaxy_writer_free(writer);
    metaxy_context_free(context);
    metaxy_store_free(store);
    return done();
}
