/*
 * Checks for the C tests: a failed one is told with its line, and makes `done` return 1.
 */
#ifndef CHECK_H
#define CHECK_H

#include "metaxy.h"

#include <stdio.h>
#include <string.h>

static int check_failed;

/* The error of the last GIVES; passed to the call as `&error`. */
static MetaxyError *error;

static void check(int holds, int line, const char *what) {
    if (holds) return;
    check_failed = 1;
    fprintf(stderr, "line %d: not so: %s\n", line, what);
}

#define CHECK(condition) check((condition) != 0, __LINE__, #condition)

static void check_status(MetaxyStatus wanted, MetaxyStatus status, int line, const char *call) {
    if (wanted == status && metaxy_error_status(error) == status) return;
    check_failed = 1;
    fprintf(stderr, "line %d: %s\n    gives %s, its error %s, and not %s\n    %s\n", line, call,
            metaxy_status_name(status), metaxy_status_name(metaxy_error_status(error)), metaxy_status_name(wanted),
            error ? metaxy_error_message(error) : "no message");
}

/* A call that takes `&error` comes to a status, and its error says the same. */
#define GIVES(status, call) (metaxy_error_free(error), error = NULL, check_status(status, call, __LINE__, #call))

static inline void check_message(const char *text, int line) {
    const char *message = metaxy_error_message(error);
    if (message && strstr(message, text)) return;
    check_failed = 1;
    fprintf(stderr, "line %d: the error does not say \"%s\" but \"%s\"\n", line, text, message ? message : "nothing");
}

/* The error of the last GIVES says so. */
#define SAYS(text) check_message(text, __LINE__)

/* What main returns: everything held, and nothing is left. */
static int done(void) {
    metaxy_error_free(error);
    for (int32_t kind = METAXY_KIND_STORE; kind <= METAXY_KIND_INCREMENT; kind++) {
        if (metaxy_live_handles(kind) == 0) continue;
        check_failed = 1;
        fprintf(stderr, "%d handles of kind %d were not freed\n", (int)metaxy_live_handles(kind), (int)kind);
    }
    return check_failed;
}

#endif
