/*
 * A panic inside the library. There is no way to ask it for one; but what it cannot go on without
 * can be taken from it: this program answers for the system clock, and can let it fail.
 */
#define _GNU_SOURCE
#include "sample.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local int clock_is_broken;

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock_is_broken) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_clock_gettime, clock, time);
}

int main(void) {
    MetaxyStore *store = sample_store(), *other = sample_store();
    MetaxyContext *context = NULL;
    struct ArrowArrayStream rows = {0};
    struct ArrowArray batch = {0};
    write_sample(store);
    write_sample(other);
    GIVES(METAXY_OK, metaxy_context_new(&context, &error));
    GIVES(METAXY_OK, metaxy_context_set_timeout_ms(context, 60000, &error));

    /* In a call: the handle that it was made on is unusable, and no other. */
    clock_is_broken = 1;
    GIVES(METAXY_PANIC, metaxy_store_read(store, SAMPLE, NULL, context, &rows, &error));
    clock_is_broken = 0;
    SAYS("panicked");
    CHECK(rows.release == NULL);
    GIVES(METAXY_INVALID_STATE, metaxy_store_read(store, SAMPLE, NULL, NULL, &rows, &error));
    SAYS("free it and make another");
    CHECK(stored_rows(other) == SAMPLE_ROWS);

    /* Rows that a call was given are released all the same. */
    struct ArrowArrayStream incoming = sample_stream();
    MetaxyStore *third = sample_store();
    clock_is_broken = 1;
    GIVES(METAXY_PANIC, metaxy_store_write(third, SAMPLE, &incoming, NULL, context, &error));
    clock_is_broken = 0;
    CHECK(incoming.release == NULL);

    /* In a callback of a stream that was given out. */
    GIVES(METAXY_OK, metaxy_store_read(other, SAMPLE, NULL, context, &rows, &error));
    clock_is_broken = 1;
    CHECK(rows.get_next(&rows, &batch) == EIO);
    clock_is_broken = 0;
    CHECK(batch.release == NULL && strstr(rows.get_last_error(&rows), "panicked") != NULL);
    GIVES(METAXY_PANIC, metaxy_error_from_stream(&rows, &error));
    CHECK(rows.get_next(&rows, &batch) == EINVAL);
    rows.release(&rows);
    CHECK(stored_rows(other) == SAMPLE_ROWS);

    metaxy_context_free(context);
    metaxy_store_free(store);
    metaxy_store_free(other);
    metaxy_store_free(third);
    return done();
}
