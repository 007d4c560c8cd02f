// A pipeline worker: it computes the crops of videos, those that are new or whose video has changed, and no others.
//
//	go run . [DIRECTORY]      the directory is made when absent; ./metadata by default
//
// What there is to do is an increment, which the store resolves; Ctrl-C ends the worker between two commits, and nothing
// is half done. The bar goes to stderr, if that is a terminal, what was done to stdout.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/libmetaxy/metaxy-go"
)

const videos = `{"project": "worker", "feature_spec": {"key": "example/video", "id_columns": ["id"],
    "fields": [{"key": "frames"}]}}`

const crops = `{"project": "worker", "feature_spec": {"key": "example/crop", "id_columns": ["id"],
    "deps": [{"feature": "example/video"}], "fields": [{"key": "frames"}]}}`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	directory := "./metadata"
	if len(os.Args) > 1 {
		directory = os.Args[1]
	}
	if err := run(ctx, directory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, directory string) error {
	store, err := metaxy.Open(ctx, directory, metaxy.Project("worker"))
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Define("[" + videos + "," + crops + "]"); err != nil {
		return err
	}

	fmt.Println("Monday: five hundred videos")
	if err := record(ctx, store, 0, 500, "monday"); err != nil {
		return err
	}
	if err := work(ctx, store); err != nil {
		return err
	}

	fmt.Println("Tuesday: some were cut anew, some are new, and one is withdrawn")
	if err := record(ctx, store, 480, 530, "tuesday"); err != nil {
		return err
	}
	if _, err := store.Delete(ctx, "example/video", metaxy.Where("id = 'video-007'")); err != nil {
		return err
	}
	if err := work(ctx, store); err != nil {
		return err
	}
	return show(ctx, store, metaxy.Where("id IN ('video-000', 'video-007', 'video-500')"))
}

// record writes the videos of a day; their provenance says what they were made from.
func record(ctx context.Context, store *metaxy.Store, from, to int, day string) error {
	text := arrow.BinaryTypes.LargeString
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: text},
		{Name: "metaxy_provenance_by_field", Type: arrow.StructOf(arrow.Field{Name: "frames", Type: text})},
	}, nil)
	rows := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer rows.Release()
	for i := from; i < to; i++ {
		rows.Field(0).(*array.LargeStringBuilder).Append(fmt.Sprintf("video-%03d", i))
		provenance := rows.Field(1).(*array.StructBuilder)
		provenance.Append(true)
		provenance.FieldBuilder(0).(*array.LargeStringBuilder).Append(day)
	}
	batch := rows.NewRecordBatch()
	defer batch.Release()
	return store.WriteBatch(ctx, "example/video", batch)
}

// work does what there is to do.
func work(ctx context.Context, store *metaxy.Store) error {
	increment, err := store.ResolveUpdate(ctx, "example/crop", metaxy.IncrementBatchRows(50))
	if err != nil {
		return err
	}
	defer increment.Close()
	counts, err := increment.Counts()
	if err != nil {
		return err
	}
	fmt.Printf("  %d new, %d stale, %d orphaned\n", counts.New, counts.Stale, counts.Orphaned)

	fresh, err := increment.New(ctx)
	if err != nil {
		return err
	}
	defer fresh.Release()
	stale, err := increment.Stale(ctx)
	if err != nil {
		return err
	}
	defer stale.Release()

	// All crops appear together, at the commit.
	schema := withPath(fresh.Schema())
	writer, err := store.Writer(ctx, "example/crop", schema)
	if err != nil {
		return err
	}
	defer writer.Close()
	told := metaxy.WithProgress(ctx, bar(counts.New+counts.Stale))
	for _, rows := range []*metaxy.Rows{fresh, stale} {
		for rows.Next() {
			batch := compute(rows.RecordBatch(), schema)
			err := writer.Append(told, batch)
			batch.Release()
			if err != nil {
				return err
			}
		}
		if rows.Err() != nil {
			return rows.Err()
		}
	}
	if err := writer.Commit(ctx); err != nil {
		return err
	}
	draw("\n")

	orphaned, err := increment.Orphaned(ctx)
	if err != nil {
		return err
	}
	gone, err := metaxy.Collect[crop](orphaned)
	if err != nil {
		return err
	}
	for _, crop := range gone {
		fmt.Println("  the video of", crop.Path, "is gone")
		if _, err := store.Delete(ctx, "example/crop", metaxy.Where("id = '"+crop.ID+"'")); err != nil {
			return err
		}
	}
	return nil
}

// withPath is the columns of a sample and what this worker adds to them.
func withPath(sample *arrow.Schema) *arrow.Schema {
	return arrow.NewSchema(append(slices.Clone(sample.Fields()), arrow.Field{Name: "path", Type: arrow.BinaryTypes.LargeString}), nil)
}

// compute makes the crops of a batch of samples, which it takes over as they are, with their versions.
func compute(samples arrow.RecordBatch, schema *arrow.Schema) arrow.RecordBatch {
	paths := array.NewLargeStringBuilder(memory.DefaultAllocator)
	defer paths.Release()
	ids := samples.Column(samples.Schema().FieldIndices("id")[0])
	for i := range int(samples.NumRows()) {
		paths.Append("crops/" + ids.ValueStr(i) + ".png")
	}
	made := paths.NewArray()
	defer made.Release()
	return array.NewRecordBatch(schema, append(slices.Clone(samples.Columns()), made), samples.NumRows())
}

// draw writes to stderr where that is a terminal: a bar is nothing for a file.
func draw(format string, values ...any) {
	if stderr, err := os.Stderr.Stat(); err == nil && stderr.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, format, values...)
	}
}

// bar draws how far the worker is.
func bar(total uint64) metaxy.Progress {
	const width = 40
	return func(rows uint64, _ int64) {
		done := int(min(rows, total) * width / max(total, 1))
		draw("\r  [%s%s] %d of %d", strings.Repeat("#", done), strings.Repeat(".", width-done), rows, total)
	}
}

// crop is a row of example/crop.
type crop struct {
	ID   string `arrow:"id"`
	Path string `arrow:"path"`
}

func show(ctx context.Context, store *metaxy.Store, which ...metaxy.ReadOption) error {
	rows, err := store.Read(ctx, "example/crop", which...)
	if err != nil {
		return err
	}
	crops, err := metaxy.Collect[crop](rows)
	if err != nil {
		return err
	}
	slices.SortFunc(crops, func(a, b crop) int { return strings.Compare(a.ID, b.ID) })
	for _, crop := range crops {
		fmt.Println(crop.ID, "->", crop.Path)
	}
	return nil
}
