package metaxy_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/libmetaxy/metaxy-go"
)

const video = `{"feature_spec": {"key": "example/video", "id_columns": ["id"],
  "fields": [{"key": "audio"}, {"key": "frames"}]}, "project": "example"}`

const crop = `{"feature_spec": {"key": "example/crop", "id_columns": ["id"],
  "deps": [{"feature": "example/video"}], "fields": [{"key": "audio"}, {"key": "frames"}]}, "project": "example"}`

var text = arrow.BinaryTypes.LargeString

var videoSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: text},
	{Name: "size", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "metaxy_provenance_by_field", Type: arrow.StructOf(
		arrow.Field{Name: "audio", Type: text}, arrow.Field{Name: "frames", Type: text})},
}, nil)

type Video struct {
	ID         string            `arrow:"id"`
	Size       *int64            `arrow:"size"`
	Provenance map[string]string `arrow:"metaxy_provenance_by_field"`
	UpdatedAt  time.Time         `arrow:"metaxy_updated_at"`
}

// TestMain sees to it that the tests have left nothing behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftover(); left != "" {
			fmt.Println("left behind:", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftover waits for what the collector and goroutines that have been told to end still do.
func leftover() string {
	left := ""
	for range 100 {
		runtime.GC()
		left = ""
		if n := metaxy.LiveHandles(); n > 0 {
			left += fmt.Sprintf("%d handles of the library ", n)
		}
		left += metaxy.Registered()
		if left == "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return left
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func open(t testing.TB, options ...metaxy.Option) *metaxy.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "metadata"), options...)
}

func openAt(t testing.TB, uri string, options ...metaxy.Option) *metaxy.Store {
	t.Helper()
	store := must[*metaxy.Store](t)(metaxy.Open(t.Context(), uri, options...))
	t.Cleanup(func() { check(t, store.Close()) })
	check(t, store.Define("["+video+","+crop+"]"))
	return store
}

// videos is a batch of rows with these ids.
func videos(ids ...string) arrow.RecordBatch {
	return videosOf(memory.DefaultAllocator, ids...)
}

func videosOf(allocator memory.Allocator, ids ...string) arrow.RecordBatch {
	builder := array.NewRecordBuilder(allocator, videoSchema)
	defer builder.Release()
	for i, id := range ids {
		builder.Field(0).(*array.LargeStringBuilder).Append(id)
		builder.Field(1).(*array.Int64Builder).Append(int64(i))
		fields := builder.Field(2).(*array.StructBuilder)
		fields.Append(true)
		fields.FieldBuilder(0).(*array.LargeStringBuilder).Append("a-" + id)
		fields.FieldBuilder(1).(*array.LargeStringBuilder).Append("f-" + id)
	}
	return builder.NewRecordBatch()
}

func reader(t testing.TB, batches ...arrow.RecordBatch) array.RecordReader {
	t.Helper()
	r := must[array.RecordReader](t)(array.NewRecordReader(videoSchema, batches))
	t.Cleanup(r.Release)
	return r
}

// ids are those of the rows that a read gives, sorted.
func ids(t testing.TB, store *metaxy.Store, options ...metaxy.ReadOption) string {
	t.Helper()
	rows := must[*metaxy.Rows](t)(store.Read(context.Background(), "example/video", options...))
	found := []string{}
	for _, video := range must[[]Video](t)(metaxy.Collect[Video](rows)) {
		found = append(found, video.ID)
	}
	sort.Strings(found)
	return strings.Join(found, " ")
}

// source is a reader that makes its batches when they are asked for.
type source struct {
	schema *arrow.Schema
	next   func(batch int) (arrow.RecordBatch, error)
	asked  int
	batch  arrow.RecordBatch
	err    error
}

func (s *source) Retain()                        {}
func (s *source) Release()                       {}
func (s *source) Schema() *arrow.Schema          { return s.schema }
func (s *source) RecordBatch() arrow.RecordBatch { return s.batch }
func (s *source) Record() arrow.RecordBatch      { return s.batch }
func (s *source) Err() error                     { return s.err }
func (s *source) Next() bool {
	s.batch, s.err = s.next(s.asked)
	s.asked++
	return s.batch != nil && s.err == nil
}

// endless is a reader that ends only when the call does.
func endless() *source {
	return &source{schema: videoSchema, next: func(batch int) (arrow.RecordBatch, error) {
		time.Sleep(time.Millisecond)
		return videos(fmt.Sprint(batch)), nil
	}}
}
