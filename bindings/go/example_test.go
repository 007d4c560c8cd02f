package metaxy_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/libmetaxy/metaxy-go"
)

// exampleStore has three videos and no crop.
func exampleStore() (*metaxy.Store, context.Context) {
	ctx := context.Background()
	store, err := metaxy.Open(ctx, "memory://")
	if err == nil {
		err = store.Define("[" + video + "," + crop + "]")
	}
	if err == nil {
		err = store.WriteBatch(ctx, "example/video", videos("a", "b", "c"))
	}
	if err != nil {
		log.Fatal(err)
	}
	return store, ctx
}

func ExampleStore_Read() {
	store, ctx := exampleStore()
	defer store.Close()
	err := func() error {
		rows, err := store.Read(ctx, "example/video", metaxy.Columns("id", "size"), metaxy.Where("size > 0"))
		if err != nil {
			return err
		}
		defer rows.Release()
		for rows.Next() {
			batch := rows.RecordBatch() // until the next Next; Retain it to keep it
			fmt.Println(batch.NumRows(), "rows")
		}
		return rows.Err()
	}()
	fmt.Println(err)
	// Output:
	// 2 rows
	// <nil>
}

func ExampleStore_ResolveUpdate() {
	store, ctx := exampleStore()
	defer store.Close()
	err := func() error {
		increment, err := store.ResolveUpdate(ctx, "example/crop", metaxy.Shard(0, 1)) // this worker, of how many
		if err != nil {
			return err
		}
		defer increment.Close()
		samples, err := increment.New(ctx) // and Stale, and Orphaned
		if err != nil {
			return err
		}
		defer samples.Release()
		return store.Write(ctx, "example/crop", samples) // with columns of your own added
	}()
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleOpenChain() {
	staging, ctx := exampleStore()
	defer staging.Close()
	dev, err := metaxy.OpenChain(ctx, "memory://", []*metaxy.Store{staging}, metaxy.Name("dev"))
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	if err := dev.Define(video); err != nil {
		log.Fatal(err)
	}
	servings, err := dev.Find(ctx, "example/video")
	for _, serving := range servings {
		fmt.Println(serving.Outcome)
	}
	fmt.Println(err)
	// Output:
	// absent
	// served
	// <nil>
}

func ExampleStore_Write() {
	store, _ := exampleStore()
	defer store.Close()
	rows := endless()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := store.Write(ctx, "example/video", rows)
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("nothing was written")
	}
	// Output: nothing was written
}

func ExampleWithProgress() {
	store, ctx := exampleStore()
	defer store.Close()
	ctx = metaxy.WithProgress(ctx, func(rows uint64, total int64) {
		fmt.Fprintf(os.Stderr, "%d rows\n", rows)
	})
	err := store.WriteBatch(ctx, "example/video", videos("d"))
	fmt.Println(err)
	// Output: <nil>
}

func ExampleError() {
	store, ctx := exampleStore()
	defer store.Close()
	_, err := store.Read(ctx, "example/vidoe")
	if errors.Is(err, metaxy.NotFound) {
		fmt.Println("there is no such feature")
	}
	var failure *metaxy.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Status, failure.Details["feature"], failure.Retryable)
	}
	// Output:
	// there is no such feature
	// METAXY_NOT_FOUND example/vidoe false
}
