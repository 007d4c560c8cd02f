// What the library calls back: the C side of the functions that Go exports.
#ifndef METAXY_GO_CALLBACKS_H
#define METAXY_GO_CALLBACKS_H

#include <metaxy.h>
#include <stdint.h>

// Go identifies what a callback is about by a number, which C carries as a pointer: Go must not hold such pointers.

// A context whose progress goes to the call `id`.
MetaxyStatus metaxy_go_set_progress(MetaxyContext *context, uintptr_t id, MetaxyError **error);

// Sends the log to the sink `id`, or nowhere if that is 0.
MetaxyStatus metaxy_go_set_log(int32_t level, uintptr_t id, MetaxyError **error);

// A stream whose batches Go's reader `id` gives.
void metaxy_go_stream(struct ArrowArrayStream *out, uintptr_t id);

// Lets Go unpin the memory `id` once `array` is released; 0 if there is no memory for it.
int metaxy_go_unpin_on_release(struct ArrowArray *array, uintptr_t id);

// The callbacks of streams and structs, which Go cannot call itself.
int metaxy_go_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out);
int metaxy_go_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out);
void metaxy_go_release_stream(struct ArrowArrayStream *stream);
void metaxy_go_release_array(struct ArrowArray *array);
void metaxy_go_release_schema(struct ArrowSchema *schema);

#endif
