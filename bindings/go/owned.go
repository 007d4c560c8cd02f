package metaxy

import (
	"runtime"
	"sync/atomic"
)

// owned is a handle of the library, which is freed once: when it is closed, or, as a net, when it is collected.
//
// Freeing while another goroutine is in a call is safe: the library looks a handle up, finds what it names or an error,
// and keeps what it found until the call ends.
type owned[P any] struct {
	what    string
	pointer P
	free    func(P)
	net     runtime.Cleanup
	closed  atomic.Bool
}

func own[P any](what string, pointer P, free func(P)) *owned[P] {
	o := &owned[P]{what: what, pointer: pointer, free: free}
	o.net = runtime.AddCleanup(o, free, pointer)
	return o
}

// usable is nil, or why there is nothing to call.
func (o *owned[P]) usable(what string) error {
	switch {
	case o == nil:
		return invalid("the %s is nil or was not opened", what)
	case o.closed.Load():
		return closed(o.what)
	}
	return nil
}

// close frees the handle if nobody has, and tells whether it did.
func (o *owned[P]) close() bool {
	if o == nil || o.closed.Swap(true) {
		return false
	}
	o.net.Stop()
	o.free(o.pointer)
	return true
}
