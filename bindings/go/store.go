package metaxy

/*
#include <metaxy.h>
#include <stdlib.h>
*/
import "C"

import (
	"context"
	"runtime"
)

// Store is a metadata store: a directory, a part of a bucket or a database, with a table for each feature. Any number of
// goroutines may use one.
type Store struct {
	handle *owned[*C.MetaxyStore]
	name   string
}

// Open opens the store at uri: a path, or a URL with file, s3, gs, az, db, https or memory.
func Open(ctx context.Context, uri string, options ...Option) (*Store, error) {
	return opened(ctx, func(f *frame, store **C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_open(f.text(uri), f.options(options), f.handle, store, &f.raw)
	})
}

// OpenChain opens a store with others in which reads go on, in this order, each of which may have its own. They may be
// closed at any time: the chain keeps what it needs.
func OpenChain(ctx context.Context, uri string, fallbacks []*Store, options ...Option) (*Store, error) {
	for _, fallback := range fallbacks {
		if err := fallback.owned().usable("fallback store"); err != nil {
			return nil, err
		}
	}
	defer runtime.KeepAlive(fallbacks)
	return opened(ctx, func(f *frame, store **C.MetaxyStore) C.MetaxyStatus {
		handles := zeroed[*C.MetaxyStore](f, len(fallbacks))
		for i, fallback := range fallbacks {
			handles[i] = fallback.handle.pointer
		}
		first, count := first(handles)
		return C.metaxy_store_open_chain(f.text(uri), first, count, f.options(options), f.handle, store, &f.raw)
	})
}

func opened(ctx context.Context, open func(*frame, **C.MetaxyStore) C.MetaxyStatus) (*Store, error) {
	var store *C.MetaxyStore
	err := call(ctx, func(f *frame) C.MetaxyStatus { return open(f, &store) })
	if err != nil {
		C.metaxy_store_free(store)
		return nil, err
	}
	s := &Store{handle: own("store", store, func(store *C.MetaxyStore) { C.metaxy_store_free(store) })}
	var text *C.char
	if C.metaxy_store_display(store, &text, nil) == C.METAXY_OK {
		s.name = C.GoString(text)
		C.metaxy_string_free(text)
	}
	return s, nil
}

// first is a C array as C takes one.
func first[T any](array []T) (*T, C.size_t) {
	if len(array) == 0 {
		return nil, 0
	}
	return &array[0], C.size_t(len(array))
}

func (s *Store) owned() *owned[*C.MetaxyStore] {
	if s == nil {
		return nil
	}
	return s.handle
}

func (s *Store) call(ctx context.Context, act func(*frame, *C.MetaxyStore) C.MetaxyStatus) error {
	return s.owned().call(ctx, "store", act)
}

// String is what messages call the store: its name, or its URI with secrets masked.
func (s *Store) String() string { return s.name }

// Close closes the store; closing it again does nothing. Calls that are under way in other goroutines end as they would
// have, later ones fail with InvalidState and os.ErrClosed. Rows and writers that it gave out go on.
func (s *Store) Close() error {
	s.owned().close()
	return nil
}

// Define defines the features of a JSON text: a spec, an envelope around one, or an array of either; all of them, or
// none. It is the form in which Python Metaxy serialises a spec.
func (s *Store) Define(json string) error {
	return s.call(context.Background(), func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_define(store, f.text(json), &f.raw)
	})
}

// Has tells whether the store itself has a table of a feature.
func (s *Store) Has(ctx context.Context, feature string) (bool, error) {
	var has C.int32_t
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_has(store, f.text(feature), f.handle, &has, &f.raw)
	})
	return err == nil && has == 1, err
}

// Delete deletes the samples that a read with these options would give, and tells how many tombstones it wrote or, with
// With("delete.mode", "hard"), how many rows it removed. Without Where it wants With("delete.all", "true").
func (s *Store) Delete(ctx context.Context, feature string, which ...RequestOption) (uint64, error) {
	var deleted C.uint64_t
	request, options := split(which)
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_delete(store, f.text(feature), f.request(request), f.options(options), f.handle,
			&deleted, &f.raw)
	})
	return uint64(deleted), err
}

// Drop removes the whole table of a feature from the store, and tells whether there was one.
func (s *Store) Drop(ctx context.Context, feature string, options ...Option) (bool, error) {
	var dropped C.int32_t
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_drop(store, f.text(feature), f.options(options), f.handle, &dropped, &f.raw)
	})
	return dropped == 1, err
}
