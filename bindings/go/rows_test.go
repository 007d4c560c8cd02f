package metaxy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/libmetaxy/metaxy-go"
)

func TestRowsGoThereAndBack(t *testing.T) {
	store := open(t)
	check(t, store.Write(t.Context(), "example/video", reader(t, videos("a", "b"), videos("c"))))
	check(t, store.WriteBatch(t.Context(), "example/video", videos("d")))
	rows := must[*metaxy.Rows](t)(store.Read(t.Context(), "example/video", metaxy.Where("id >= 'b'"), metaxy.BatchRows(1)))
	for _, row := range must[[]Video](t)(metaxy.Collect[Video](rows)) {
		equal(t, row.Provenance, map[string]string{"audio": "a-" + row.ID, "frames": "f-" + row.ID})
		if row.UpdatedAt.IsZero() || row.Size == nil {
			t.Fatal(row)
		}
	}
	equal(t, ids(t, store), "a b c d")
	equal(t, ids(t, store, metaxy.Limit(2), metaxy.Where("id > 'b'")), "c d")
}

func TestAnEmptyReadHasItsColumns(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a")))
	rows := must[*metaxy.Rows](t)(store.Read(t.Context(), "example/video", metaxy.Where("id = 'x'"), metaxy.Columns("size", "id")))
	defer rows.Release()
	equal(t, rows.Schema().Fields()[0].Name, "size")
	if rows.Next() || rows.Err() != nil || rows.RecordBatch() != nil {
		t.Fatal(rows.Err())
	}
}

func TestBatchesOutliveTheStoreAndTheRows(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a")))
	rows := must[*metaxy.Rows](t)(store.Read(t.Context(), "example/video", metaxy.Columns("id")))
	check(t, store.Close())
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	batch := rows.RecordBatch()
	batch.Retain()
	rows.Release()
	rows.Release()
	equal(t, batch.Column(0).ValueStr(0), "a")
	batch.Release()
	if rows.Next() || !errors.Is(rows.Err(), os.ErrClosed) {
		t.Fatal(rows.Err())
	}
	if _, err := rows.ServedBy(); !errors.Is(err, metaxy.InvalidState) {
		t.Fatal(err)
	}
}

func TestRowsOfOneStoreAreWrittenToAnother(t *testing.T) {
	from, to := open(t), open(t)
	check(t, from.WriteBatch(t.Context(), "example/video", videos("a", "b")))
	rows := must[*metaxy.Rows](t)(from.Read(t.Context(), "example/video", metaxy.Columns("id", "size", "metaxy_provenance_by_field")))
	defer rows.Release()
	check(t, to.Write(t.Context(), "example/video", rows))
	equal(t, ids(t, to), "a b")
}

// Memory of Go is released with its batch, however the call ends; so is memory of C.
func TestTheLibraryGivesMemoryBack(t *testing.T) {
	store := open(t)
	allocator := memory.NewCheckedAllocator(memory.NewGoAllocator())
	batch := videosOf(allocator, "a", "b")
	defer func() {
		batch.Release()
		// A writer that was given up may still be at its last batch.
		for range 100 {
			if allocator.CurrentAlloc() == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		allocator.AssertSize(t, 0)
	}()
	rows := func() array.RecordReader {
		return &source{schema: videoSchema, next: func(i int) (arrow.RecordBatch, error) {
			return map[int]arrow.RecordBatch{0: batch}[i], nil
		}}
	}
	check(t, store.Write(t.Context(), "example/video", rows()))
	check(t, store.WriteBatch(t.Context(), "example/video", batch))
	if err := store.Write(t.Context(), "no/such", rows()); !errors.Is(err, metaxy.NotFound) {
		t.Fatal(err)
	}
	if err := store.WriteBatch(t.Context(), "no\x00such", batch); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	writer := must[*metaxy.Writer](t)(store.Writer(t.Context(), "example/video", batch.Schema()))
	check(t, writer.Append(t.Context(), batch))
	check(t, writer.Close())
}

func TestAFailingReaderFailsTheWrite(t *testing.T) {
	store := open(t)
	broken := errors.New("the camera broke")
	err := store.Write(t.Context(), "example/video", &source{schema: videoSchema, next: func(batch int) (arrow.RecordBatch, error) {
		if batch == 2 {
			return nil, broken
		}
		return videos(fmt.Sprint(batch)), nil
	}})
	var failed *metaxy.Error
	if !errors.Is(err, broken) || !errors.As(err, &failed) || !strings.Contains(err.Error(), "the camera broke") {
		t.Fatal(err)
	}
	if has := must[bool](t)(store.Has(t.Context(), "example/video")); has {
		t.Fatal("something was written")
	}
}

func TestAPanickingReaderFailsTheWrite(t *testing.T) {
	store := open(t)
	boom := errors.New("boom")
	for name, next := range map[string]func(int) (arrow.RecordBatch, error){
		"at once": func(int) (arrow.RecordBatch, error) { panic(boom) },
		"later": func(batch int) (arrow.RecordBatch, error) {
			if batch > 0 {
				panic(boom)
			}
			return videos("a"), nil
		},
	} {
		err := store.Write(t.Context(), "example/video", &source{schema: videoSchema, next: next})
		var panicked *metaxy.PanicError
		if !errors.As(err, &panicked) || !errors.Is(err, boom) || panicked.Completed || len(panicked.Stack) == 0 {
			t.Fatal(name, err)
		}
	}
	var nothing *source
	var panicked *metaxy.PanicError
	if err := store.Write(t.Context(), "example/video", nothing); !errors.As(err, &panicked) {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), "example/video", &source{}); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), "example/video", nil); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	if err := store.WriteBatch(t.Context(), "example/video", nil); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	equal(t, must[bool](t)(store.Has(t.Context(), "example/video")), false)
}

// An array crosses without its types: a batch of others would be read as what it is not.
func TestABatchOfOtherColumnsIsRefused(t *testing.T) {
	store := open(t)
	short := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}}, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, short, strings.NewReader(`[{"id": "x"}]`))
	check(t, err)
	err = store.Write(t.Context(), "example/video", &source{schema: videoSchema, next: func(int) (arrow.RecordBatch, error) { return batch, nil }})
	if !errors.Is(err, metaxy.SchemaMismatch) || !strings.Contains(err.Error(), "other columns") {
		t.Fatal(err)
	}
	writer := must[*metaxy.Writer](t)(store.Writer(t.Context(), "example/video", videoSchema))
	defer writer.Close()
	for _, wrong := range []arrow.RecordBatch{batch, nil} {
		if err := writer.Append(t.Context(), wrong); !errors.Is(err, metaxy.SchemaMismatch) && !errors.Is(err, metaxy.InvalidArgument) {
			t.Fatal(err)
		}
	}
}

func TestSeveralFeaturesAreWrittenTogether(t *testing.T) {
	store := open(t)
	both := func() map[string]array.RecordReader {
		return map[string]array.RecordReader{
			"example/crop": reader(t, videos("a")), "example/video": reader(t, videos("a", "b")),
		}
	}
	check(t, store.WriteMany(t.Context(), both()))
	equal(t, ids(t, store), "a b")
	broken := errors.New("broken")
	rows := both()
	rows["example/crop"] = &source{schema: videoSchema, next: func(int) (arrow.RecordBatch, error) { return nil, broken }}
	if err := store.WriteMany(t.Context(), rows); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	check(t, store.WriteMany(t.Context(), nil))
}

func TestAWriterShowsItsRowsAtItsCommit(t *testing.T) {
	store := open(t)
	writer := must[*metaxy.Writer](t)(store.Writer(t.Context(), "example/video", videoSchema))
	check(t, writer.Append(t.Context(), videos("a")))
	check(t, writer.Append(t.Context(), videos("b")))
	equal(t, must[bool](t)(store.Has(t.Context(), "example/video")), false)
	check(t, writer.Commit(t.Context()))
	equal(t, ids(t, store), "a b")
	if err := writer.Append(t.Context(), videos("c")); !errors.Is(err, metaxy.InvalidState) {
		t.Fatal(err)
	}
	check(t, writer.Abort())
	check(t, writer.Close())
	check(t, writer.Close())
	if err := writer.Commit(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}

	writer = must[*metaxy.Writer](t)(store.Writer(t.Context(), "example/video", videoSchema))
	check(t, writer.Append(t.Context(), videos("c")))
	check(t, writer.Abort())
	equal(t, ids(t, store), "a b")
	check(t, writer.Close())
	if _, err := store.Writer(t.Context(), "example/video", nil); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
}

func TestABufferedWriterCommitsWhatManyPush(t *testing.T) {
	store := open(t)
	writer := must[*metaxy.BufferedWriter](t)(store.BufferedWriter(t.Context(), "example/video", videoSchema, metaxy.With("buffer.ms", "50")))
	done := make(chan error)
	for i := range 4 {
		go func() {
			ticket, err := writer.Push(t.Context(), videos(fmt.Sprint(i)))
			if err == nil {
				err = writer.Wait(t.Context(), ticket)
			}
			done <- err
		}()
	}
	for range 4 {
		check(t, <-done)
	}
	equal(t, must[uint64](t)(writer.Committed()), 4)
	must[uint64](t)(writer.Push(t.Context(), videos("last")))
	check(t, writer.Flush(t.Context()))
	must[uint64](t)(writer.Push(t.Context(), videos("very last")))
	check(t, writer.Close(t.Context()))
	check(t, writer.Close(t.Context()))
	equal(t, ids(t, store), "0 1 2 3 last very last")
	if _, err := writer.Push(t.Context(), videos("late")); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}

func TestCollectSaysWhatDoesNotFit(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a")))
	read := func() *metaxy.Rows { return must[*metaxy.Rows](t)(store.Read(t.Context(), "example/video")) }
	if _, err := metaxy.Collect[struct {
		ID int `arrow:"id"`
	}](read()); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	if _, err := metaxy.Collect[struct {
		X int `arrow:"nothing"`
	}](read()); !errors.Is(err, metaxy.InvalidArgument) || !strings.Contains(err.Error(), "nothing") {
		t.Fatal(err)
	}
	if _, err := metaxy.Collect[string](read()); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
}

func TestAStreamThatFailsMidwayTellsWhy(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "metadata")
	store := openAt(t, directory)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b")))
	rows := must[*metaxy.Rows](t)(store.Read(t.Context(), "example/video", metaxy.BatchRows(1)))
	defer rows.Release()
	check(t, os.RemoveAll(directory))
	for rows.Next() {
	}
	var failed *metaxy.Error
	if !errors.As(rows.Err(), &failed) || failed.Status == 0 || failed.Details["table"] != "example__video" {
		t.Fatalf("%#v", rows.Err())
	}
}
