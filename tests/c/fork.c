/* A forked child: what it inherited says so instead of hanging, and it can begin anew where that is possible. */
#define _POSIX_C_SOURCE 200809L
#include "sample.h"

#include <sys/wait.h>
#include <unistd.h>

/* Runs `work` in a child, which must succeed. */
static void in_child(int (*work)(void)) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* By another program: what belonged to threads that the fork did not copy is no leak to report. */
        execlp(work() ? "false" : "true", "done", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int use_a_store(void) {
    MetaxyStore *store = sample_store();
    write_sample(store);
    CHECK(stored_rows(store) == SAMPLE_ROWS);
    metaxy_store_free(store);
    return done();
}

static MetaxyStore *store;
static MetaxyWriter *writer;
static MetaxyContext *context;
static struct ArrowArrayStream rows;
static struct ArrowSchema schema;
static struct ArrowArray batch;

static int use_what_is_the_parents(void) {
    struct ArrowArray none = {0};
    MetaxyStore *own = NULL;
    MetaxyOptions *options = NULL;
    char *text = NULL;
    GIVES(METAXY_FORKED, metaxy_store_display(store, &text, &error));
    SAYS("can be used only there");
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

    /* What needs no threads works; what does says that it cannot. */
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    metaxy_options_free(options);
    GIVES(METAXY_FORKED, metaxy_store_open("memory://", NULL, NULL, &own, &error));
    SAYS("exec");
    CHECK(own == NULL);
    return done();
}

int main(void) {
    /* The parent has used the library, but no store yet. */
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    in_child(use_a_store);

    store = sample_store();
    write_sample(store);
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    sample_batch(&schema, &batch);
    GIVES(METAXY_OK, metaxy_store_writer(store, SAMPLE, &schema, NULL, NULL, &writer, &error));
    in_child(use_what_is_the_parents);

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
