// Quickstart writes two rows and reads them.
package main

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/libmetaxy/metaxy-go"
)

const video = `{"feature_spec": {"key": "example/video", "id_columns": ["id"],
    "fields": [{"key": "audio"}, {"key": "frames"}]}, "project": "readme"}`

const rows = `[
    {"id": "intro",   "metaxy_provenance_by_field": {"audio": "a-02", "frames": "f-3e"}},
    {"id": "credits", "metaxy_provenance_by_field": {"audio": "a-7f", "frames": "f-11"}}]`

// Video is what this program wants of a row.
type Video struct {
	ID         string            `arrow:"id"`
	Provenance map[string]string `arrow:"metaxy_provenance_by_field"`
	Version    string            `arrow:"metaxy_data_version"`
}

func main() {
	ctx := context.Background()
	store, err := metaxy.Open(ctx, "./metadata")
	check(err)
	defer store.Close()
	check(store.Define(video))

	text := arrow.BinaryTypes.LargeString
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: text}, {Name: "metaxy_provenance_by_field",
		Type: arrow.StructOf(arrow.Field{Name: "audio", Type: text}, arrow.Field{Name: "frames", Type: text})}}, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	check(err)
	defer batch.Release()
	check(store.WriteBatch(ctx, "example/video", batch))

	reader, err := store.Read(ctx, "example/video") // an array.RecordReader
	check(err)
	videos, err := metaxy.Collect[Video](reader)
	check(err)
	for _, video := range videos {
		fmt.Println(video.ID, video.Provenance["audio"], video.Version)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
