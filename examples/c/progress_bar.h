/*
 * A bar for calls that take long. It is drawn on stderr where that is a terminal, and wiped away in the end, so that what
 * a program prints stays as it is.
 *
 *   progress_bar_begin   a bar, whose context goes to the calls that it is to follow
 *   progress_bar_end     frees the context; there may be none any more
 */
#ifndef PROGRESS_BAR_H
#define PROGRESS_BAR_H

#include "metaxy.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

typedef struct ProgressBar {
    MetaxyContext *context;
    int64_t total; /* how many rows there are; where that is -1, the library may know */
} ProgressBar;

/* A call tells its progress from any thread, but one at a time. */
static void progress_bar_draw(uint64_t rows, int64_t total, void *data) {
    static const char full[] = "########################################";
    const ProgressBar *bar = data;
    const uint64_t width = sizeof full - 1;
    if (bar->total >= 0) total = bar->total;
    if (total > 0 && rows <= (uint64_t)total)
        fprintf(stderr, "\r[%-*.*s] %" PRIu64 " of %" PRId64 " rows", (int)width, (int)(width * rows / (uint64_t)total), full, rows, total);
    else
        fprintf(stderr, "\r%" PRIu64 " rows", rows);
}

/* The bar stays where it is until the end. */
static MetaxyStatus progress_bar_begin(ProgressBar *bar, int64_t total, MetaxyError **error) {
    *bar = (ProgressBar){.total = total};
    MetaxyStatus status = metaxy_context_new(&bar->context, error);
    if (status != METAXY_OK || !isatty(STDERR_FILENO)) return status;
    return metaxy_context_set_progress(bar->context, progress_bar_draw, bar, error);
}

static void progress_bar_end(ProgressBar *bar) {
    if (bar->context && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    metaxy_context_free(bar->context);
    bar->context = NULL;
}

#endif
