package metaxy

// #include <metaxy.h>
import "C"

import (
	"context"
	"runtime"
)

// Compacted tells what Compact did to a table.
type Compacted struct {
	Feature         string `arrow:"feature"`
	Table           string `arrow:"table"`
	FragmentsBefore int64  `arrow:"fragments_before"`
	FragmentsAfter  int64  `arrow:"fragments_after"`
	RowsRemoved     int64  `arrow:"rows_removed"`
	Version         int64  `arrow:"version"`
	Problem         string `arrow:"problem"`
}

// Compact joins the small fragments of a feature's table, or of every table if feature is empty.
func (s *Store) Compact(ctx context.Context, feature string, options ...Option) ([]Compacted, error) {
	return collected[Compacted](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_compact(store, f.optional(feature), f.options(options), f.handle, rows, &f.raw)
	}))
}

// Pruned tells what Prune did to a table.
type Pruned struct {
	Feature         string `arrow:"feature"`
	Table           string `arrow:"table"`
	VersionsRemoved int64  `arrow:"versions_removed"`
	BytesRemoved    int64  `arrow:"bytes_removed"`
	Version         int64  `arrow:"version"`
	Problem         string `arrow:"problem"`
}

// Prune removes the versions of a feature's table, or of every table if feature is empty, that were superseded longer
// ago than the option prune.older_than_ms says.
func (s *Store) Prune(ctx context.Context, feature string, options ...Option) ([]Pruned, error) {
	return collected[Pruned](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_prune(store, f.optional(feature), f.options(options), f.handle, rows, &f.raw)
	}))
}

// Purged tells what Purge did to a table.
type Purged struct {
	Feature     string `arrow:"feature"`
	Table       string `arrow:"table"`
	RowsRemoved int64  `arrow:"rows_removed"`
	Version     int64  `arrow:"version"`
	Problem     string `arrow:"problem"`
}

// Purge removes for good the rows of a feature, or of every defined one if feature is empty, that were superseded
// longer ago than the option purge.older_than_ms says.
func (s *Store) Purge(ctx context.Context, feature string, options ...Option) ([]Purged, error) {
	return collected[Purged](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_purge(store, f.optional(feature), f.options(options), f.handle, rows, &f.raw)
	}))
}

// Copied tells what a copy did to a feature; RowsPresent were there already.
type Copied struct {
	Feature     string `arrow:"feature"`
	Table       string `arrow:"table"`
	RowsRead    int64  `arrow:"rows_read"`
	RowsCopied  int64  `arrow:"rows_copied"`
	RowsPresent int64  `arrow:"rows_present"`
}

// CopyTo copies the features, or all if there are none, to another store: the rows that a read of this store alone
// would give. Rows that are there already are not copied again.
func (s *Store) CopyTo(ctx context.Context, to *Store, features []string, which ...RequestOption) ([]Copied, error) {
	if err := to.owned().usable("store that is copied to"); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(to)
	request, options := split(which)
	return collected[Copied](s.rows(ctx, func(f *frame, from *C.MetaxyStore, report *C.struct_ArrowArrayStream) C.MetaxyStatus {
		names, count := f.texts(features)
		return C.metaxy_store_copy(from, to.handle.pointer, names, count, f.request(request), f.options(options),
			f.handle, report, &f.raw)
	}))
}
