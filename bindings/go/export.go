package metaxy

// #include "callbacks.h"
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/cdata"
)

// Batches go to the library without a copy. Their buffers may be memory of Go, to which C may keep pointers only while
// it is pinned: it is, from the export of a batch until the library releases it, on whatever thread.

var pins registry[*runtime.Pinner]

//export metaxyGoUnpin
func metaxyGoUnpin(id C.uintptr_t) {
	if pinner, ok := pins.remove(uintptr(id)); ok {
		pinner.Unpin()
	}
}

func pin(pinner *runtime.Pinner, data arrow.ArrayData) {
	for _, buffer := range data.Buffers() {
		if buffer != nil && buffer.Len() > 0 {
			pinner.Pin(unsafe.SliceData(buffer.Bytes()))
		}
	}
	for _, child := range data.Children() {
		pin(pinner, child)
	}
	// A nil *array.Data is no nil ArrayData.
	if dictionary, ok := data.Dictionary().(*array.Data); ok && dictionary != nil {
		pin(pinner, dictionary)
	}
}

// exportBatch moves a batch into out, which is zeroed memory of C.
func exportBatch(batch arrow.RecordBatch, out *C.struct_ArrowArray) {
	pinner := new(runtime.Pinner)
	id := C.uintptr_t(pins.add(pinner))
	handed := false
	defer func() {
		if !handed {
			C.metaxy_go_release_array(out)
			metaxyGoUnpin(id)
		}
	}()
	for _, column := range batch.Columns() {
		pin(pinner, column.Data())
	}
	cdata.ExportArrowRecordBatch(batch, (*cdata.CArrowArray)(unsafe.Pointer(out)), nil)
	if C.metaxy_go_unpin_on_release(out, id) == 0 {
		panic("out of memory")
	}
	handed = true
}

// export makes an argument of Arrow data, or refuses what arrow-go panics at: a nil, or a type that C has no name for.
func export(what string, act func()) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case *Error:
			panic(refusal{value})
		default:
			panic(refusal{invalid("the %s cannot be passed to C: %v", what, value)})
		}
	}()
	act()
}

// batch is a batch for C, which is released at the end of the call if the library has not taken it.
func (f *frame) batch(batch arrow.RecordBatch, schema *arrow.Schema) *C.struct_ArrowArray {
	out := &zeroed[C.struct_ArrowArray](f, 1)[0]
	f.later(func() { C.metaxy_go_release_array(out) })
	export("record batch", func() {
		if err := sameColumns(batch, schema); err != nil {
			panic(err)
		}
		exportBatch(batch, out)
	})
	return out
}

// schema is a schema for C.
func (f *frame) schema(schema *arrow.Schema) *C.struct_ArrowSchema {
	out := &zeroed[C.struct_ArrowSchema](f, 1)[0]
	f.later(func() { C.metaxy_go_release_schema(out) })
	export("schema", func() { cdata.ExportArrowSchema(schema, (*cdata.CArrowSchema)(unsafe.Pointer(out))) })
	return out
}

// sameColumns refuses a batch of other columns than were announced: an array crosses without its types, and would be
// read as what it is not.
func sameColumns(batch arrow.RecordBatch, schema *arrow.Schema) error {
	if batch.Schema() == schema || batch.Schema().Equal(schema) {
		return nil
	}
	return &Error{Status: SchemaMismatch, Message: fmt.Sprintf(
		"the batch has other columns than were announced: %v instead of %v", batch.Schema(), schema)}
}

// reading is a reader that the library pulls. What it gives is called from C, through which no panic may go.
type reading struct {
	array.RecordReader
	schema *arrow.Schema
	err    error
	text   *C.char
}

var readings registry[*reading]

// reader lets C pull a reader, which is retained until C releases it.
func (f *frame) reader(reader array.RecordReader) (*C.struct_ArrowArrayStream, *reading) {
	out := &zeroed[C.struct_ArrowArrayStream](f, 1)[0]
	return out, f.readerInto(reader, out)
}

func (f *frame) readerInto(reader array.RecordReader, out *C.struct_ArrowArrayStream) *reading {
	if reader == nil {
		panic(refusal{invalid("the reader is nil")})
	}
	r := &reading{RecordReader: reader}
	if r.guard(r.Retain) != 0 {
		panic(refusal{r.err})
	}
	C.metaxy_go_stream(out, C.uintptr_t(readings.add(r)))
	f.later(func() { C.metaxy_go_release_stream(out) })
	return r
}

// guard runs a step of the reader and keeps what goes wrong.
func (r *reading) guard(step func()) (errno C.int) {
	defer func() {
		if value := recover(); value != nil {
			r.err = panicked("reader", value)
		}
		if r.err != nil {
			errno = C.int(syscall.EIO)
		}
	}()
	step()
	return 0
}

//export metaxyGoSchema
func metaxyGoSchema(id C.uintptr_t, out *C.struct_ArrowSchema) C.int {
	r, ok := readings.get(uintptr(id))
	if !ok {
		return C.int(syscall.EINVAL)
	}
	return r.guard(func() {
		schema := r.Schema()
		if schema == nil {
			if r.err = r.Err(); r.err == nil {
				r.err = invalid("the reader has no schema")
			}
			return
		}
		cdata.ExportArrowSchema(schema, (*cdata.CArrowSchema)(unsafe.Pointer(out)))
		r.schema = schema
	})
}

//export metaxyGoNext
func metaxyGoNext(id C.uintptr_t, out *C.struct_ArrowArray) C.int {
	r, ok := readings.get(uintptr(id))
	if !ok {
		return C.int(syscall.EINVAL)
	}
	return r.guard(func() {
		if !r.Next() {
			r.err = r.Err()
			return
		}
		batch := r.RecordBatch()
		if r.err = sameColumns(batch, r.schema); r.err == nil {
			exportBatch(batch, out)
		}
	})
}

//export metaxyGoLastError
func metaxyGoLastError(id C.uintptr_t) *C.char {
	r, ok := readings.get(uintptr(id))
	if !ok || r.err == nil {
		return nil
	}
	r.forget()
	r.guard(func() { r.text = C.CString(r.err.Error()) })
	return r.text
}

//export metaxyGoReleaseReader
func metaxyGoReleaseReader(id C.uintptr_t) {
	if r, ok := readings.remove(uintptr(id)); ok {
		r.forget()
		r.guard(r.Release)
	}
}

func (r *reading) forget() {
	C.free(unsafe.Pointer(r.text))
	r.text = nil
}
