package metaxy

/*
#include "callbacks.h"
#include <stdlib.h>
*/
import "C"

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/cdata"
)

// Rows is a stream of record batches that the library gives: an array.RecordReader, which whoever holds the last
// reference releases. It outlives the store it comes from. Its batches are read while Next is called, under the context
// of the call that gave it. One goroutine at a time reads it; releasing it meanwhile in another is safe, and waits.
type Rows struct {
	references atomic.Int64
	schema     *arrow.Schema

	using  sync.Mutex
	stream *stream
	net    runtime.Cleanup
	batch  arrow.RecordBatch
	err    error
}

var _ array.RecordReader = (*Rows)(nil)

// stream is what Rows frees: a stream of the library in memory of C, and the context that it is read under.
type stream struct {
	*control
	c    *C.struct_ArrowArrayStream
	next *C.struct_ArrowArray
	// source is the reader that the library pulls for it, if there is one.
	source *reading
}

func newStream(ctx context.Context) (*stream, error) {
	control, err := newControl(ctx)
	if err != nil {
		return nil, err
	}
	return &stream{
		control: control,
		c:       (*C.struct_ArrowArrayStream)(C.calloc(1, C.sizeof_struct_ArrowArrayStream)),
		next:    (*C.struct_ArrowArray)(C.calloc(1, C.sizeof_struct_ArrowArray)),
	}, nil
}

func (s *stream) release() {
	C.metaxy_go_release_stream(s.c)
	C.metaxy_go_release_array(s.next)
	C.free(unsafe.Pointer(s.c))
	C.free(unsafe.Pointer(s.next))
	s.end()
}

// failure tells why a callback of the stream failed.
func (s *stream) failure() error {
	var raw *C.MetaxyError
	status := C.metaxy_error_from_stream(s.c, &raw)
	if status == C.METAXY_OK {
		return &Error{Status: IO, Message: "the stream failed and does not tell why"}
	}
	return becauseOf(s.control.failure(status, raw), s.source)
}

// rows makes a call that gives a stream.
func (o *owned[P]) rows(ctx context.Context, what string, act func(*frame, P, *C.struct_ArrowArrayStream) C.MetaxyStatus) (*Rows, error) {
	if err := o.usable(what); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(o)
	given, err := rows(ctx, func(f *frame, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return act(f, o.pointer, rows)
	})
	return given, o.orClosed(err)
}

func rows(ctx context.Context, act func(*frame, *C.struct_ArrowArrayStream) C.MetaxyStatus) (*Rows, error) {
	stream, err := newStream(ctx)
	if err != nil {
		return nil, err
	}
	if err := callUnder(stream.control, func(f *frame) C.MetaxyStatus { return act(f, stream.c) }); err != nil {
		stream.release()
		return nil, err
	}
	return newRows(stream)
}

// newRows takes the stream over.
func newRows(from *stream) (*Rows, error) {
	schema := (*C.struct_ArrowSchema)(C.calloc(1, C.sizeof_struct_ArrowSchema))
	defer C.free(unsafe.Pointer(schema))
	if C.metaxy_go_get_schema(from.c, schema) != 0 {
		defer from.release()
		return nil, from.failure()
	}
	imported, err := cdata.ImportCArrowSchema((*cdata.CArrowSchema)(unsafe.Pointer(schema)))
	if err != nil {
		C.metaxy_go_release_schema(schema)
		from.release()
		return nil, notImported(err)
	}
	r := &Rows{stream: from, schema: imported}
	r.references.Store(1)
	r.net = runtime.AddCleanup(r, (*stream).release, from)
	return r, nil
}

func notImported(err error) error {
	return &Error{Status: Unsupported, Message: "arrow-go cannot import the rows: " + err.Error(), cause: err}
}

// Schema is the columns of the rows; it is there also when there are none.
func (r *Rows) Schema() *arrow.Schema { return r.schema }

// Next goes to the next batch, and tells whether there is one; at the end Err says whether it is the end of the rows.
func (r *Rows) Next() bool {
	r.using.Lock()
	defer r.using.Unlock()
	if r.batch != nil {
		r.batch.Release()
		r.batch = nil
	}
	if r.stream == nil && r.err == nil {
		r.err = closed("stream of rows")
	}
	if r.err != nil {
		return false
	}
	r.batch, r.err = r.stream.read(r.schema)
	return r.batch != nil
}

// read is the next batch, nil at the end.
func (s *stream) read(schema *arrow.Schema) (arrow.RecordBatch, error) {
	if C.metaxy_go_get_next(s.c, s.next) != 0 {
		return nil, s.failure()
	}
	if s.control.panicked.Load() != nil {
		C.metaxy_go_release_array(s.next)
		return nil, s.control.failure(C.METAXY_CANCELLED, nil)
	}
	if s.next.release == nil {
		return nil, nil
	}
	batch, err := cdata.ImportCRecordBatchWithSchema((*cdata.CArrowArray)(unsafe.Pointer(s.next)), schema)
	if err != nil {
		C.metaxy_go_release_array(s.next)
		return nil, notImported(err)
	}
	return batch, nil
}

// RecordBatch is the batch that Next went to, until it is called again; retain what shall live longer.
func (r *Rows) RecordBatch() arrow.RecordBatch {
	r.using.Lock()
	defer r.using.Unlock()
	return r.batch
}

// Record is RecordBatch by its former name.
func (r *Rows) Record() arrow.RecordBatch { return r.RecordBatch() }

// Err is why Next ended before the rows did.
func (r *Rows) Err() error {
	r.using.Lock()
	defer r.using.Unlock()
	return r.err
}

// Retain adds a reference.
func (r *Rows) Retain() { r.references.Add(1) }

// Release gives a reference back; with the last one the stream is closed. Another Release does nothing.
func (r *Rows) Release() {
	if r.references.Add(-1) != 0 {
		return
	}
	r.using.Lock()
	defer r.using.Unlock()
	if r.stream == nil {
		return
	}
	if r.batch != nil {
		r.batch.Release()
		r.batch = nil
	}
	r.net.Stop()
	r.stream.release()
	r.stream = nil
}

// ServedBy tells which stores serve the rows of a Read.
func (r *Rows) ServedBy() ([]Serving, error) {
	r.using.Lock()
	defer r.using.Unlock()
	if r.stream == nil {
		return nil, closed("stream of rows")
	}
	return collected[Serving](rows(context.Background(), func(f *frame, stores *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_stream_served_by(r.stream.c, stores, &f.raw)
	}))
}

// Read reads a feature: the current rows of its current version, unless the options say otherwise. The rows are read
// while the caller pulls them, and ctx, with its deadline, holds until they are released.
func (s *Store) Read(ctx context.Context, feature string, options ...ReadOption) (*Rows, error) {
	return s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_read(store, f.text(feature), f.request(newRequest(options)), f.handle, rows, &f.raw)
	})
}

func (s *Store) rows(ctx context.Context, act func(*frame, *C.MetaxyStore, *C.struct_ArrowArrayStream) C.MetaxyStatus) (*Rows, error) {
	return s.owned().rows(ctx, "store", act)
}
