package metaxy

import (
	"sync"
	"sync/atomic"
)

// registry gives Go values numbers that C can keep. Unlike a cgo.Handle, a number whose value is gone is no panic: a
// callback may come late, when nobody waits for it any more.
type registry[T any] struct {
	values sync.Map
	last   atomic.Uintptr
}

func (r *registry[T]) add(value T) uintptr {
	id := r.last.Add(1)
	r.values.Store(id, value)
	return id
}

func (r *registry[T]) get(id uintptr) (value T, ok bool) {
	found, ok := r.values.Load(id)
	if ok {
		value = found.(T)
	}
	return value, ok
}

func (r *registry[T]) remove(id uintptr) (value T, ok bool) {
	found, ok := r.values.LoadAndDelete(id)
	if ok {
		value = found.(T)
	}
	return value, ok
}
