package metaxy_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/libmetaxy/metaxy-go"
)

// one is a reader of one row with one column, x, whose value is given as JSON.
func one(t *testing.T, kind arrow.DataType, json string) array.RecordReader {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: kind, Nullable: true}}, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(`[{"x": `+json+`}]`))
	check(t, err)
	return must[array.RecordReader](t)(array.NewRecordReader(schema, []arrow.RecordBatch{batch}))
}

type cell[T any] struct {
	X T `arrow:"x"`
}

// goes tells that the value goes into a T and is what is wanted there.
func goes[T comparable](t *testing.T, kind arrow.DataType, json string, want T) {
	t.Helper()
	rows, err := metaxy.Collect[cell[T]](one(t, kind, json))
	if err != nil || len(rows) != 1 || rows[0].X != want {
		t.Errorf("%s %s: got %v %v, want %v", kind, json, rows, err, want)
	}
}

// refused tells that the value does not go into a T.
func refused[T any](t *testing.T, kind arrow.DataType, json string) {
	t.Helper()
	rows, err := metaxy.Collect[T](one(t, kind, json))
	if !errors.Is(err, metaxy.InvalidArgument) || rows != nil {
		t.Errorf("%s %s: got %v %v, not an error", kind, json, rows, err)
	}
}

func TestANumberIsTheSameInTheFieldOrAnError(t *testing.T) {
	types := arrow.PrimitiveTypes
	goes(t, types.Int64, "98304000000", int64(98304000000))
	goes(t, types.Int64, "-5", int8(-5))
	goes(t, types.Int64, "5", uint8(5))
	goes(t, types.Uint64, "18446744073709551615", uint64(math.MaxUint64))
	goes(t, types.Uint8, "200", int(200))
	goes(t, types.Int64, "5", float32(5))
	goes(t, types.Float64, "0.9", 0.9)
	goes(t, types.Float64, "0.9", float32(0.9))
	goes(t, types.Float32, "0.5", 0.5)
	goes(t, arrow.FixedWidthTypes.Boolean, "true", true)
	goes(t, types.Int64, "null", int8(0))

	refused[cell[int32]](t, types.Int64, "98304000000")
	refused[cell[uint64]](t, types.Int64, "-1")
	refused[cell[uint8]](t, types.Int64, "256")
	refused[cell[int64]](t, types.Uint64, "9223372036854775808")
	refused[cell[int8]](t, types.Uint8, "200")
	refused[cell[int64]](t, types.Float64, "0.9")
	refused[cell[int64]](t, types.Float64, "1")
	refused[cell[float32]](t, types.Float64, "1e300")
	refused[cell[float32]](t, types.Int64, "16777217")
	refused[cell[float64]](t, types.Int64, "9007199254740993")
	refused[cell[float64]](t, types.Int64, "9223372036854775807")
	refused[cell[float64]](t, types.Uint64, "18446744073709551615")
	refused[cell[bool]](t, types.Int64, "1")
	refused[cell[int]](t, arrow.FixedWidthTypes.Boolean, "true")
	refused[cell[string]](t, types.Int64, "65")
	refused[cell[int64]](t, arrow.FixedWidthTypes.Duration_s, `"5s"`)
	refused[cell[*int32]](t, types.Int64, "98304000000")
}

func TestBytesAreCopied(t *testing.T) {
	rows := one(t, arrow.BinaryTypes.Binary, `"YWJj"`)
	equal(t, string(must[[]cell[[]byte]](t)(metaxy.Collect[cell[[]byte]](rows))[0].X), "abc")
	refused[cell[string]](t, arrow.BinaryTypes.Binary, `"YWJj"`)
}

type Embedded struct {
	X int64 `arrow:"x"`
}

func TestWhatCollectCannotFillIsAnError(t *testing.T) {
	number := arrow.PrimitiveTypes.Int64
	refused[struct {
		x int64 `arrow:"x"`
	}](t, number, "1")
	refused[struct{ *Embedded }](t, number, "1")
	refused[map[int]int64](t, number, "1")
	refused[int](t, number, "1")
	refused[[]int](t, number, "1")
	rows := must[[]struct{ Embedded }](t)(metaxy.Collect[struct{ Embedded }](one(t, number, "1")))
	equal(t, rows[0].X, 1)
	type name string
	equal(t, must[[]map[name]int64](t)(metaxy.Collect[map[name]int64](one(t, number, "1")))[0]["x"], 1)

	var none *metaxy.Rows
	for _, reader := range []array.RecordReader{nil, none} {
		if _, err := metaxy.Collect[Video](reader); !errors.Is(err, metaxy.InvalidArgument) {
			t.Error(err)
		}
	}
}

func TestANilOptionIsAnError(t *testing.T) {
	store := open(t)
	var read metaxy.ReadOption
	calls := map[string]func() error{
		"Read":          func() error { _, err := store.Read(t.Context(), "example/video", nil); return err },
		"Find":          func() error { _, err := store.Find(t.Context(), "example/video", nil); return err },
		"Delete":        func() error { _, err := store.Delete(t.Context(), "example/video", nil); return err },
		"Delete, typed": func() error { _, err := store.Delete(t.Context(), "example/video", read); return err },
		"CopyTo":        func() error { _, err := store.CopyTo(t.Context(), store, nil, nil); return err },
		"ResolveUpdate": func() error { _, err := store.ResolveUpdate(t.Context(), "example/video", nil); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, metaxy.InvalidArgument) || !strings.Contains(err.Error(), "nil") {
			t.Error(name, err)
		}
	}
}
