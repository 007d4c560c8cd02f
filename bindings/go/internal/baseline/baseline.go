// Package baseline is what the benchmarks compare with: the same calls, made by C alone.
package baseline

/*
#cgo !pkgconfig LDFLAGS: -lmetaxy
#cgo pkgconfig pkg-config: metaxy
#include <metaxy.h>
#include <stdlib.h>

static int32_t calls(int count) {
    int32_t version = 0;
    for (int i = 0; i < count; i++) version = metaxy_abi_version();
    return version;
}

// How many rows a feature has, or -1.
static int64_t read_rows(const MetaxyStore *store, const char *feature) {
    struct ArrowArrayStream rows = {0};
    struct ArrowSchema schema = {0};
    if (metaxy_store_read(store, feature, NULL, NULL, &rows, NULL) != METAXY_OK) return -1;
    int64_t count = rows.get_schema(&rows, &schema) ? -1 : 0;
    if (schema.release) schema.release(&schema);
    while (count >= 0) {
        struct ArrowArray batch = {0};
        if (rows.get_next(&rows, &batch)) count = -1;
        if (!batch.release) break;
        count += batch.length;
        batch.release(&batch);
    }
    rows.release(&rows);
    return count;
}
*/
import "C"

import (
	"errors"
	"unsafe"
)

// Calls makes so many empty calls.
func Calls(count int) int { return int(C.calls(C.int(count))) }

// Reader reads a feature of a store.
type Reader struct {
	store   *C.MetaxyStore
	feature *C.char
}

// Open opens the store at uri, which has the feature that json defines.
func Open(uri, json, feature string) (*Reader, error) {
	text, definition := C.CString(uri), C.CString(json)
	defer C.free(unsafe.Pointer(text))
	defer C.free(unsafe.Pointer(definition))
	r := &Reader{feature: C.CString(feature)}
	if C.metaxy_store_open(text, nil, nil, &r.store, nil) != C.METAXY_OK ||
		C.metaxy_store_define(r.store, definition, nil) != C.METAXY_OK {
		r.Close()
		return nil, errors.New("the store does not open")
	}
	return r, nil
}

// Rows reads all rows and counts them.
func (r *Reader) Rows() int64 { return int64(C.read_rows(r.store, r.feature)) }

// Close frees the store.
func (r *Reader) Close() {
	C.metaxy_store_free(r.store)
	C.free(unsafe.Pointer(r.feature))
}
