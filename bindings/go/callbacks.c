#include "callbacks.h"
#include "_cgo_export.h"

#include <stdlib.h>
#include <string.h>

static void progress(uint64_t rows, int64_t total, void *id) { metaxyGoProgress((uintptr_t)id, rows, total); }

MetaxyStatus metaxy_go_set_progress(MetaxyContext *context, uintptr_t id, MetaxyError **error) {
    return metaxy_context_set_progress(context, progress, (void *)id, error);
}

static void message(int32_t level, const char *text, void *id) { metaxyGoLog((uintptr_t)id, level, (char *)text); }

MetaxyStatus metaxy_go_set_log(int32_t level, uintptr_t id, MetaxyError **error) {
    return metaxy_log_set_callback(level, id ? message : NULL, (void *)id, error);
}

// Go writes into zeroed structs only: what happens to be in them might look like a pointer of its own.

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    memset(out, 0, sizeof *out);
    return metaxyGoSchema((uintptr_t)stream->private_data, out);
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    memset(out, 0, sizeof *out);
    return metaxyGoNext((uintptr_t)stream->private_data, out);
}

static const char *get_last_error(struct ArrowArrayStream *stream) {
    return metaxyGoLastError((uintptr_t)stream->private_data);
}

static void release_stream(struct ArrowArrayStream *stream) {
    metaxyGoReleaseReader((uintptr_t)stream->private_data);
    stream->release = NULL;
}

void metaxy_go_stream(struct ArrowArrayStream *out, uintptr_t id) {
    *out = (struct ArrowArrayStream){get_schema, get_next, get_last_error, release_stream, (void *)id};
}

// What stands before the release of an array that Go exported.
struct pinned {
    void (*release)(struct ArrowArray *);
    void *private_data;
    uintptr_t id;
};

static void release_pinned(struct ArrowArray *array) {
    struct pinned pinned = *(struct pinned *)array->private_data;
    free(array->private_data);
    array->release = pinned.release;
    array->private_data = pinned.private_data;
    array->release(array);
    metaxyGoUnpin(pinned.id);
}

int metaxy_go_unpin_on_release(struct ArrowArray *array, uintptr_t id) {
    struct pinned *pinned = malloc(sizeof *pinned);
    if (!pinned) return 0;
    *pinned = (struct pinned){array->release, array->private_data, id};
    array->release = release_pinned;
    array->private_data = pinned;
    return 1;
}

int metaxy_go_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    return stream->get_schema(stream, out);
}

int metaxy_go_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    return stream->get_next(stream, out);
}

void metaxy_go_release_stream(struct ArrowArrayStream *stream) {
    if (stream->release) stream->release(stream);
}

void metaxy_go_release_array(struct ArrowArray *array) {
    if (array->release) array->release(array);
}

void metaxy_go_release_schema(struct ArrowSchema *schema) {
    if (schema->release) schema->release(schema);
}
