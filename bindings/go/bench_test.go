package metaxy_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/libmetaxy/metaxy-go"
	"github.com/libmetaxy/metaxy-go/internal/baseline"
)

const million = 1_000_000

func BenchmarkEmptyCall(b *testing.B) {
	b.Run("C", func(b *testing.B) { baseline.Calls(b.N) })
	b.Run("Go", func(b *testing.B) {
		for b.Loop() {
			metaxy.ABIVersion()
		}
	})
}

// All columns of a million rows.
func BenchmarkRead(b *testing.B) {
	directory := filepath.Join(b.TempDir(), "metadata")
	store := openAt(b, directory)
	writer := must[*metaxy.Writer](b)(store.Writer(b.Context(), "example/video", videoSchema))
	defer writer.Close()
	const batch = 50_000
	for from := 0; from < million; from += batch {
		names := make([]string, batch)
		for i := range names {
			names[i] = fmt.Sprintf("video-%07d", from+i)
		}
		rows := videos(names...)
		check(b, writer.Append(b.Context(), rows))
		rows.Release()
	}
	check(b, writer.Commit(b.Context()))

	c := must[*baseline.Reader](b)(baseline.Open(directory, video, "example/video"))
	defer c.Close()
	// In turns, so that both meet the same machine.
	inC, inGo := []float64{}, []float64{}
	for b.Loop() {
		begin := time.Now()
		equal(b, c.Rows(), million)
		inC = append(inC, time.Since(begin).Seconds())

		begin = time.Now()
		rows := must[*metaxy.Rows](b)(store.Read(b.Context(), "example/video"))
		count := int64(0)
		for rows.Next() {
			count += rows.RecordBatch().NumRows()
		}
		rows.Release()
		check(b, rows.Err())
		equal(b, count, million)
		inGo = append(inGo, time.Since(begin).Seconds())
	}
	b.ReportMetric(median(inC)*1000, "C-ms")
	b.ReportMetric(median(inGo)*1000, "Go-ms")
	b.ReportMetric(median(inGo)/median(inC), "Go/C")
}

func median(times []float64) float64 {
	slices.Sort(times)
	return times[len(times)/2]
}
