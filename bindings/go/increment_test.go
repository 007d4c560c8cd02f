package metaxy_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/libmetaxy/metaxy-go"
)

func resolve(t *testing.T, store *metaxy.Store, options ...metaxy.ResolveOption) *metaxy.Increment {
	t.Helper()
	increment := must[*metaxy.Increment](t)(store.ResolveUpdate(t.Context(), "example/crop", options...))
	t.Cleanup(func() { check(t, increment.Close()) })
	return increment
}

func counts(t *testing.T, increment *metaxy.Increment) string {
	t.Helper()
	c := must[metaxy.Counts](t)(increment.Counts())
	return fmt.Sprintf("%d new, %d stale, %d orphaned", c.New, c.Stale, c.Orphaned)
}

func TestAnIncrementIsReadAndDone(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b", "c")))
	increment := resolve(t, store)
	equal(t, counts(t, increment), "3 new, 0 stale, 0 orphaned")
	equal(t, must[float64](t)(increment.InputProgress()), 0.0)
	rows := must[*metaxy.Rows](t)(increment.New(t.Context()))
	defer rows.Release()
	check(t, store.Write(t.Context(), "example/crop", rows))
	equal(t, counts(t, resolve(t, store)), "0 new, 0 stale, 0 orphaned")
	equal(t, must[float64](t)(resolve(t, store).InputProgress()), 100.0)

	// One changes, one goes.
	changed, _, err := array.RecordFromJSON(memory.DefaultAllocator, videoSchema, strings.NewReader(
		`[{"id": "b", "size": 1, "metaxy_provenance_by_field": {"audio": "other", "frames": "other"}}]`))
	check(t, err)
	check(t, store.WriteBatch(t.Context(), "example/video", changed))
	must[uint64](t)(store.Delete(t.Context(), "example/video", metaxy.Where("id = 'c'")))
	increment = resolve(t, store)
	equal(t, counts(t, increment), "0 new, 1 stale, 1 orphaned")
	check(t, store.Close())
	for id, read := range map[string]func() (*metaxy.Rows, error){
		"b": func() (*metaxy.Rows, error) { return increment.Stale(t.Context()) },
		"c": func() (*metaxy.Rows, error) { return increment.Orphaned(t.Context()) },
	} {
		type sample struct {
			ID string `arrow:"id"`
		}
		equal(t, must[[]sample](t)(metaxy.Collect[sample](must[*metaxy.Rows](t)(read())))[0].ID, id)
	}
	servings := must[[]metaxy.FeatureServing](t)(increment.ServedBy())
	equal(t, servings[0].Outcome, "served")
	check(t, increment.Close())
	check(t, increment.Close())
	if _, err := increment.Counts(); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := increment.New(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	var none *metaxy.Increment
	check(t, none.Close())
	if _, err := none.Counts(); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
}

func TestWorkersDivideAnIncrement(t *testing.T) {
	store := open(t)
	names := []string{}
	for i := range 40 {
		names = append(names, fmt.Sprint(i))
	}
	check(t, store.WriteBatch(t.Context(), "example/video", videos(names...)))
	total := uint64(0)
	for worker := range 3 {
		total += must[metaxy.Counts](t)(resolve(t, store, metaxy.Shard(worker, 3), metaxy.IncrementBatchRows(2)).Counts()).New
	}
	equal(t, total, 40)
	for _, wrong := range []metaxy.ResolveOption{metaxy.Shard(3, 3), metaxy.Shard(0, 1<<40), metaxy.IncrementBatchRows(-1), metaxy.StaleIf("?")} {
		if _, err := store.ResolveUpdate(t.Context(), "example/crop", wrong); !errors.Is(err, metaxy.InvalidArgument) {
			t.Fatal(err)
		}
	}
}

func TestAnIncrementIsChosen(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b", "c")))
	equal(t, counts(t, resolve(t, store, metaxy.Filter("example/video", "id <> 'a'"))), "2 new, 0 stale, 0 orphaned")
	equal(t, counts(t, resolve(t, store, metaxy.Filter("", "id = 'a'"))), "1 new, 0 stale, 0 orphaned")
	rows := must[*metaxy.Rows](t)(resolve(t, store).New(t.Context()))
	defer rows.Release()
	check(t, store.Write(t.Context(), "example/crop", rows))
	equal(t, counts(t, resolve(t, store, metaxy.StaleIf("id < 'c'"), metaxy.TargetFilter("id > 'a'"))), "0 new, 1 stale, 0 orphaned")
	equal(t, counts(t, resolve(t, store, metaxy.SkipComparison())), "3 new, 0 stale, 0 orphaned")
}

func TestTheSamplesOfARootAreGiven(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a")))
	if _, err := store.ResolveUpdate(t.Context(), "example/video"); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	increment := must[*metaxy.Increment](t)(store.ResolveUpdate(t.Context(), "example/video", metaxy.Samples(reader(t, videos("a", "b")))))
	equal(t, counts(t, increment), "1 new, 0 stale, 0 orphaned")
	equal(t, must[float64](t)(increment.InputProgress()), -1.0)
	check(t, increment.Close())
	broken := errors.New("broken")
	_, err := store.ResolveUpdate(t.Context(), "example/video", metaxy.Samples(
		&source{schema: videoSchema, next: func(int) (arrow.RecordBatch, error) { return nil, broken }}))
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

// joined is a batch of samples of example/crop that the caller joined itself.
func joined(t *testing.T) arrow.RecordBatch {
	versions := arrow.StructOf(arrow.Field{Name: "audio", Type: text}, arrow.Field{Name: "frames", Type: text})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: text}, {Name: "metaxy_data_version_by_field__example_video", Type: versions},
	}, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(
		`[{"id": "a", "metaxy_data_version_by_field__example_video": {"audio": "1", "frames": "2"}}]`))
	check(t, err)
	return batch
}

func TestProvenanceOfRowsThatTheCallerJoined(t *testing.T) {
	store := open(t)
	batch := joined(t)
	rows := must[array.RecordReader](t)(array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch}))
	completed := must[*metaxy.Rows](t)(store.ComputeProvenance(t.Context(), "example/crop", rows))
	rows.Release() // the result has retained it
	type sample struct {
		ID         string            `arrow:"id"`
		Provenance map[string]string `arrow:"metaxy_provenance_by_field"`
	}
	samples := must[[]sample](t)(metaxy.Collect[sample](completed))
	equal(t, len(samples), 1)
	if samples[0].Provenance["audio"] == "" {
		t.Fatal(samples)
	}

	for _, failure := range []func(){func() {}, func() { panic("boom") }} {
		broken := errors.New("broken")
		failing := &source{schema: batch.Schema(), next: func(i int) (arrow.RecordBatch, error) {
			if i == 0 {
				return batch, nil
			}
			failure()
			return nil, broken
		}}
		completed = must[*metaxy.Rows](t)(store.ComputeProvenance(t.Context(), "example/crop", failing))
		for completed.Next() {
		}
		var panicked *metaxy.PanicError
		if err := completed.Err(); !errors.Is(err, broken) && !errors.As(err, &panicked) {
			t.Fatal(err)
		}
		completed.Release()
	}
	if _, err := store.ComputeProvenance(t.Context(), "example/crop", nil); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
}

func TestRowsOfAnotherVersionAreRebased(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a")))
	rows := must[*metaxy.Rows](t)(resolve(t, store).New(t.Context()))
	defer rows.Release()
	check(t, store.Write(t.Context(), "example/crop", rows))
	before := must[[]metaxy.Version](t)(store.Describe(t.Context(), "example/crop"))[0].FeatureVersion
	must[[]metaxy.Pushed](t)(store.Push(t.Context(), "example", nil))
	check(t, store.Define(strings.Replace(crop, `{"key": "audio"}`, `{"key": "audio", "code_version": "2"}`, 1)))
	equal(t, counts(t, resolve(t, store)), "1 new, 0 stale, 0 orphaned")
	rebased := must[*metaxy.Rows](t)(store.Rebase(t.Context(), "example/crop", before, ""))
	defer rebased.Release()
	check(t, store.Write(t.Context(), "example/crop", rebased))
	equal(t, counts(t, resolve(t, store)), "0 new, 0 stale, 0 orphaned")
}
