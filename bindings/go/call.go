package metaxy

/*
#include "callbacks.h"
#include <stdlib.h>
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

type progressKey struct{}

// Progress is told how many rows a call has done, and out of how many, or -1 where that is not known. It runs on any
// thread; calls of this package that it makes fail with Reentrant. If it panics, the call is cancelled and fails with a
// PanicError.
type Progress func(rows uint64, total int64)

// WithProgress gives a context under which the calls that change something tell their progress. Who reads sees the rows
// come, and counts them.
func WithProgress(ctx context.Context, progress Progress) context.Context {
	return context.WithValue(ctx, progressKey{}, progress)
}

// control carries a context.Context into the library: its cancellation, its deadline and its Progress. Where it has
// none of them, handle is nil, and costs nothing.
type control struct {
	ctx      context.Context
	handle   *C.MetaxyContext
	progress Progress
	id       uintptr
	stop     func() bool
	panicked atomic.Pointer[PanicError]
}

var controls registry[*control]

// compatible is nil if the library is one that this package was compiled for.
var compatible = sync.OnceValue(func() error {
	if ABIVersion() == HeaderABIVersion {
		return nil
	}
	return &Error{Status: Unsupported, Message: fmt.Sprintf(
		"the program was compiled for version %d of the ABI of libmetaxy, but %s has version %d; compile it anew",
		HeaderABIVersion, LibraryVersion(), ABIVersion())}
})

func newControl(ctx context.Context) (*control, error) {
	if err := compatible(); err != nil {
		return nil, err
	}
	if ctx == nil {
		return nil, invalid("the context is nil; pass context.Background()")
	}
	progress, _ := ctx.Value(progressKey{}).(Progress)
	c := &control{ctx: ctx, progress: progress}
	if ctx.Err() != nil {
		return nil, c.ended(&Error{Status: Cancelled, Message: "the context had ended before the call"})
	}
	if ctx.Done() == nil && progress == nil {
		return c, nil
	}
	var raw *C.MetaxyError
	if status := C.metaxy_context_new(&c.handle, &raw); status != C.METAXY_OK {
		return nil, take(status, raw)
	}
	if progress != nil {
		c.id = controls.add(c)
		if status := C.metaxy_go_set_progress(c.handle, C.uintptr_t(c.id), &raw); status != C.METAXY_OK {
			c.end()
			return nil, take(status, raw)
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(1, math.Ceil(float64(time.Until(deadline))/float64(time.Millisecond)))
		if status := C.metaxy_context_set_timeout_ms(c.handle, C.uint64_t(left), &raw); status != C.METAXY_OK {
			c.end()
			return nil, take(status, raw)
		}
	}
	// It may run after the end: then the handle is none any more, which the library tells apart.
	c.stop = context.AfterFunc(ctx, c.cancel)
	return c, nil
}

func (c *control) cancel() { C.metaxy_context_cancel(c.handle, nil) }

func (c *control) end() {
	if c.stop != nil {
		c.stop()
	}
	C.metaxy_context_free(c.handle)
	controls.remove(c.id)
}

// failure is what a call came to, in Go. It frees raw.
func (c *control) failure(status C.MetaxyStatus, raw *C.MetaxyError) error {
	if p := c.panicked.Load(); p != nil {
		C.metaxy_error_free(raw)
		told := *p
		told.Completed = status == C.METAXY_OK
		return &told
	}
	if status == C.METAXY_OK {
		return nil
	}
	return c.ended(take(status, raw))
}

// ended tells of a failure by the context what the context says of itself.
func (c *control) ended(e *Error) *Error {
	if e.Status != Cancelled && e.Status != Timeout {
		return e
	}
	if e.Status == Cancelled && errors.Is(c.ctx.Err(), context.DeadlineExceeded) {
		e.Status, e.Retryable = Timeout, true
		e.Message = "the deadline of the context passed before the call had ended; nothing was changed"
	}
	e.cause = context.Cause(c.ctx)
	return e
}

//export metaxyGoProgress
func metaxyGoProgress(id C.uintptr_t, rows C.uint64_t, total C.int64_t) {
	c, ok := controls.get(uintptr(id))
	if !ok || c.panicked.Load() != nil {
		return
	}
	defer func() {
		if value := recover(); value != nil {
			c.panicked.CompareAndSwap(nil, panicked("progress callback", value))
			c.cancel()
		}
	}()
	c.progress(uint64(rows), int64(total))
}

// frame holds the C copies of what a call is given, and where the call writes what it gives.
type frame struct {
	*control
	raw  *C.MetaxyError
	free []func()
}

// refusal is the panic by which an argument that C cannot be given ends a call before it is made.
type refusal struct{ err error }

// call makes one call of the library under ctx: act passes what it is given through the frame.
func call(ctx context.Context, act func(*frame) C.MetaxyStatus) (err error) {
	control, err := newControl(ctx)
	if err != nil {
		return err
	}
	defer control.end()
	return callUnder(control, act)
}

func callUnder(control *control, act func(*frame) C.MetaxyStatus) (err error) {
	f := &frame{control: control}
	defer func() {
		for _, free := range slices.Backward(f.free) {
			free()
		}
		if value := recover(); value != nil {
			refused, ok := value.(refusal)
			if !ok {
				panic(value)
			}
			err = refused.err
		}
	}()
	status := act(f)
	return control.failure(status, f.raw)
}

// call makes a call on the handle, which stays alive meanwhile.
func (o *owned[P]) call(ctx context.Context, what string, act func(*frame, P) C.MetaxyStatus) error {
	if err := o.usable(what); err != nil {
		return err
	}
	err := call(ctx, func(f *frame) C.MetaxyStatus { return act(f, o.pointer) })
	runtime.KeepAlive(o)
	return o.orClosed(err)
}

// orClosed is the failure of a call, which found nothing behind the handle if another goroutine was faster to close it.
func (o *owned[P]) orClosed(err error) error {
	if errors.Is(err, InvalidHandle) && o.closed.Load() {
		return closed(o.what)
	}
	return err
}

func (f *frame) later(free func()) { f.free = append(f.free, free) }

// text is a C copy of a text.
func (f *frame) text(text string) *C.char {
	if strings.IndexByte(text, 0) >= 0 {
		panic(refusal{invalid("%q has a NUL character, which no text of the library can have", text)})
	}
	copied := C.CString(text)
	f.later(func() { C.free(unsafe.Pointer(copied)) })
	return copied
}

// optional is a C copy of a text, NULL if it is empty.
func (f *frame) optional(text string) *C.char {
	if text == "" {
		return nil
	}
	return f.text(text)
}

// texts is a C array of C copies, NULL if there are none.
func (f *frame) texts(texts []string) (**C.char, C.size_t) {
	copies := zeroed[*C.char](f, len(texts))
	for i, text := range texts {
		copies[i] = f.text(text)
	}
	return unsafe.SliceData(copies), C.size_t(len(texts))
}

// zeroed is empty memory of C for the length of the call: Go memory could not hold what C writes into it.
func zeroed[T any](f *frame, count int) []T {
	if count == 0 {
		return nil
	}
	var one T
	memory := C.calloc(C.size_t(count), C.size_t(unsafe.Sizeof(one)))
	f.later(func() { C.free(memory) })
	return unsafe.Slice((*T)(memory), count)
}

// options is a set of the library's options, NULL if there are none.
func (f *frame) options(options []Option) *C.MetaxyOptions {
	if len(options) == 0 {
		return nil
	}
	var set *C.MetaxyOptions
	f.must(C.metaxy_options_new(&set, &f.raw))
	f.later(func() { C.metaxy_options_free(set) })
	for _, option := range options {
		f.must(C.metaxy_options_set(set, f.text(option.key), f.text(option.value), &f.raw))
	}
	return set
}

// must ends the call if a step that prepares it failed.
func (f *frame) must(status C.MetaxyStatus) {
	if status != C.METAXY_OK {
		panic(refusal{take(status, f.raw)})
	}
}
