package metaxy

// #include "callbacks.h"
import "C"

import (
	"context"
	"math"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// ResolveOption says what to resolve of a feature.
type ResolveOption func(*resolution)

// resolution is what a MetaxyIncrementRequest says, and the samples.
type resolution struct {
	filters        []featureFilter
	targetFilters  []string
	staleness      []string
	skipComparison bool
	index, count   int
	batchRows      int
	samples        array.RecordReader
}

type featureFilter struct{ feature, filter string }

// Filter adds a condition on the rows of a feature: the one that is resolved, or one that it depends on; if feature is
// empty, on all of them. Rows that fail it count as if they were not there.
func Filter(feature, filter string) ResolveOption {
	return func(r *resolution) { r.filters = append(r.filters, featureFilter{feature, filter}) }
}

// TargetFilter adds a condition on the stored rows of the feature: a sample of which no row meets it is left alone.
func TargetFilter(filter string) ResolveOption {
	return func(r *resolution) { r.targetFilters = append(r.targetFilters, filter) }
}

// StaleIf adds a condition on the stored rows of the feature: a sample whose row meets it is stale.
func StaleIf(predicate string) ResolveOption {
	return func(r *resolution) { r.staleness = append(r.staleness, predicate) }
}

// SkipComparison takes everything as new, whatever is stored.
func SkipComparison() ResolveOption { return func(r *resolution) { r.skipComparison = true } }

// Shard asks for one of count shares of the samples, counted from 0, so that count workers divide an increment.
func Shard(index, count int) ResolveOption {
	return func(r *resolution) { r.index, r.count = index, count }
}

// IncrementBatchRows is the most rows that a batch of the increment may have.
func IncrementBatchRows(rows int) ResolveOption { return func(r *resolution) { r.batchRows = rows } }

// Samples are those that the feature should have, with its id columns and metaxy_provenance_by_field: for a feature
// without dependencies, or in place of theirs. The reader stays the caller's to release.
func Samples(samples array.RecordReader) ResolveOption {
	return func(r *resolution) { r.samples = samples }
}

// Increment is what there is to do for a feature, as it was when it was resolved. It never changes, needs no store, and
// may be read by many goroutines.
type Increment struct{ handle *owned[*C.MetaxyIncrement] }

// ResolveUpdate compares the samples that a feature should have with those that are stored of it. Nothing is written.
func (s *Store) ResolveUpdate(ctx context.Context, feature string, options ...ResolveOption) (*Increment, error) {
	r := resolution{count: 1}
	for _, option := range options {
		if option == nil {
			return nil, invalid("an option is nil; leave it out")
		}
		option(&r)
	}
	var increment *C.MetaxyIncrement
	var source *reading
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		var samples *C.struct_ArrowArrayStream
		if r.samples != nil {
			samples, source = f.reader(r.samples)
		}
		return C.metaxy_store_resolve_update(store, f.text(feature), f.resolution(r), samples, f.handle, &increment, &f.raw)
	})
	if err != nil {
		C.metaxy_increment_free(increment)
		return nil, becauseOf(err, source)
	}
	free := func(increment *C.MetaxyIncrement) { C.metaxy_increment_free(increment) }
	return &Increment{own("increment", increment, free)}, nil
}

// resolution is the library's form of a request.
func (f *frame) resolution(r resolution) *C.MetaxyIncrementRequest {
	var made *C.MetaxyIncrementRequest
	f.must(C.metaxy_increment_request_new(&made, &f.raw))
	f.later(func() { C.metaxy_increment_request_free(made) })
	for _, filter := range r.filters {
		f.must(C.metaxy_increment_request_add_filter(made, f.optional(filter.feature), f.text(filter.filter), &f.raw))
	}
	for _, filter := range r.targetFilters {
		f.must(C.metaxy_increment_request_add_target_filter(made, f.text(filter), &f.raw))
	}
	for _, predicate := range r.staleness {
		f.must(C.metaxy_increment_request_add_staleness_predicate(made, f.text(predicate), &f.raw))
	}
	if r.skipComparison {
		f.must(C.metaxy_increment_request_set_skip_comparison(made, 1, &f.raw))
	}
	f.must(C.metaxy_increment_request_set_shard(made, f.int32(r.index), f.int32(r.count), &f.raw))
	f.must(C.metaxy_increment_request_set_batch_rows(made, f.rows(r.batchRows), &f.raw))
	return made
}

func (f *frame) int32(number int) C.int32_t {
	if number < math.MinInt32 || number > math.MaxInt32 {
		panic(refusal{invalid("%d is too large a number for the library", number)})
	}
	return C.int32_t(number)
}

func (i *Increment) owned() *owned[*C.MetaxyIncrement] {
	if i == nil {
		return nil
	}
	return i.handle
}

func (i *Increment) rows(ctx context.Context, act func(*frame, *C.MetaxyIncrement, *C.struct_ArrowArrayStream) C.MetaxyStatus) (*Rows, error) {
	return i.owned().rows(ctx, "increment", act)
}

// New reads the samples of which nothing is stored, each with the columns that it is computed from and with the versions
// that it has when it is written: compute it and write it.
func (i *Increment) New(ctx context.Context) (*Rows, error) {
	return i.rows(ctx, func(f *frame, increment *C.MetaxyIncrement, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_increment_read_new(increment, f.handle, rows, &f.raw)
	})
}

// Stale reads the samples that are stored with another provenance, as they are to be now: compute them again and write
// them.
func (i *Increment) Stale(ctx context.Context) (*Rows, error) {
	return i.rows(ctx, func(f *frame, increment *C.MetaxyIncrement, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_increment_read_stale(increment, f.handle, rows, &f.raw)
	})
}

// Orphaned reads the samples that are stored but what they were computed from is gone: delete them, or leave them.
func (i *Increment) Orphaned(ctx context.Context) (*Rows, error) {
	return i.rows(ctx, func(f *frame, increment *C.MetaxyIncrement, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_increment_read_orphaned(increment, f.handle, rows, &f.raw)
	})
}

// Counts is how many rows the parts of an increment have.
type Counts struct{ New, Stale, Orphaned uint64 }

// Counts tells how many samples are new, stale and orphaned.
func (i *Increment) Counts() (Counts, error) {
	var fresh, stale, orphaned C.uint64_t
	err := i.owned().call(context.Background(), "increment", func(f *frame, increment *C.MetaxyIncrement) C.MetaxyStatus {
		return C.metaxy_increment_counts(increment, &fresh, &stale, &orphaned, &f.raw)
	})
	return Counts{uint64(fresh), uint64(stale), uint64(orphaned)}, err
}

// InputProgress tells how much of the input is done, from 0 to 100, or -1 where it is not known, because there is no
// input, or the caller gave the samples.
func (i *Increment) InputProgress() (percent float64, err error) {
	var done C.double
	err = i.owned().call(context.Background(), "increment", func(f *frame, increment *C.MetaxyIncrement) C.MetaxyStatus {
		return C.metaxy_increment_input_progress(increment, &done, &f.raw)
	})
	return float64(done), err
}

// FeatureServing is a Serving of one of several features.
type FeatureServing struct {
	Feature string `arrow:"feature"`
	Serving
}

// ServedBy tells which stores were asked for each feature that was read, the resolved one included.
func (i *Increment) ServedBy() ([]FeatureServing, error) {
	return collected[FeatureServing](i.rows(context.Background(), func(f *frame, increment *C.MetaxyIncrement, stores *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_increment_served_by(increment, stores, &f.raw)
	}))
}

// Close frees the increment; closing it again does nothing. Rows that it gave out go on.
func (i *Increment) Close() error {
	i.owned().close()
	return nil
}

// ComputeProvenance gives rows that the caller joined itself with the versions that they have as samples of a feature.
// The rows are pulled, and retained, while the result is read.
func (s *Store) ComputeProvenance(ctx context.Context, feature string, rows array.RecordReader) (*Rows, error) {
	var source *reading
	completed, err := s.rows(ctx, func(f *frame, store *C.MetaxyStore, completed *C.struct_ArrowArrayStream) C.MetaxyStatus {
		var stream *C.struct_ArrowArrayStream
		stream, source = f.reader(rows)
		return C.metaxy_store_compute_provenance(store, f.text(feature), stream, f.handle, completed, &f.raw)
	})
	if err != nil {
		return nil, becauseOf(err, source)
	}
	completed.stream.source = source
	return completed, nil
}

// Rebase gives the current rows of one version of a feature as rows of another, which is the current one if to is empty,
// so that what a change of the definition does not concern is not computed again. Nothing is written.
func (s *Store) Rebase(ctx context.Context, feature, from, to string) (*Rows, error) {
	return s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_rebase(store, f.text(feature), f.text(from), f.optional(to), f.handle, rows, &f.raw)
	})
}
