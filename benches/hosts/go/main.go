// As hosts.c, with bindings/go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/libmetaxy/metaxy-go"
)

const calls = 10_000_000

type result struct {
	CallNs float64   `json:"call_ns"`
	ReadsS []float64 `json:"reads_s"`
	Rows   int64     `json:"rows"`
	Sum    int64     `json:"sum"`
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hosts-go:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) != 3 {
		return errors.New("usage: hosts-go DIRECTORY DEFINITION READS")
	}
	reads, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	var r result
	versions, started := 0, time.Now()
	for range calls {
		versions += metaxy.ABIVersion()
	}
	r.CallNs = float64(time.Since(started).Nanoseconds()) / calls
	if versions != calls*metaxy.HeaderABIVersion {
		return errors.New("another version of the ABI")
	}

	store, err := metaxy.Open(ctx, arguments[0])
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Define(arguments[1]); err != nil {
		return err
	}
	for range reads {
		started := time.Now()
		if r.Rows, r.Sum, err = read(ctx, store); err != nil {
			return err
		}
		r.ReadsS = append(r.ReadsS, time.Since(started).Seconds())
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// read gives the number of rows, and the sum of their sizes.
func read(ctx context.Context, store *metaxy.Store) (count, sum int64, err error) {
	rows, err := store.Read(ctx, "r/a")
	if err != nil {
		return 0, 0, err
	}
	defer rows.Release()
	size := rows.Schema().FieldIndices("size")[0]
	for rows.Next() {
		batch := rows.RecordBatch()
		for _, value := range batch.Column(size).(*array.Int64).Int64Values() {
			sum += value
		}
		count += batch.NumRows()
	}
	return count, sum, rows.Err()
}
