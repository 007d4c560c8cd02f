package metaxy_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libmetaxy/metaxy-go"
)

func TestAContextEndsACall(t *testing.T) {
	store := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err := store.Write(ctx, "example/video", endless())
	if !errors.Is(err, context.Canceled) || !errors.Is(err, metaxy.Cancelled) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	// It had ended before.
	_, err = store.Read(ctx, "example/video")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, metaxy.Cancelled) {
		t.Fatal(err)
	}
}

func TestADeadlineEndsACall(t *testing.T) {
	store := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := store.Write(ctx, "example/video", endless())
	var failed *metaxy.Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) || failed.Status != metaxy.Timeout ||
		!failed.Retryable || errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-ctx.Done()
	_, err = metaxy.Open(ctx, t.TempDir())
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, metaxy.Timeout) {
		t.Fatal(err)
	}
}

func TestTheCauseOfACancelIsFound(t *testing.T) {
	store := open(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the machine is needed")
	time.AfterFunc(20*time.Millisecond, func() { cancel(stopped) })
	if err := store.Write(ctx, "example/video", endless()); !errors.Is(err, stopped) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAContextEndsARead(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b", "c")))
	ctx, cancel := context.WithCancel(t.Context())
	rows := must[*metaxy.Rows](t)(store.Read(ctx, "example/video", metaxy.BatchRows(1)))
	defer rows.Release()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	cancel()
	for rows.Next() {
		time.Sleep(time.Millisecond)
	}
	if !errors.Is(rows.Err(), context.Canceled) {
		t.Fatal(rows.Err())
	}
	// The deadline is one for the whole read, not for each batch.
	ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	late := must[*metaxy.Rows](t)(store.Read(ctx, "example/video", metaxy.BatchRows(1)))
	defer late.Release()
	<-ctx.Done()
	time.Sleep(10 * time.Millisecond)
	for late.Next() {
	}
	if !errors.Is(late.Err(), context.DeadlineExceeded) {
		t.Fatal(late.Err())
	}
}

func TestProgressIsTold(t *testing.T) {
	store := open(t)
	var most atomic.Uint64
	ctx := metaxy.WithProgress(t.Context(), func(rows uint64, total int64) { most.Store(max(most.Load(), rows)) })
	check(t, store.Write(ctx, "example/video", reader(t, videos("a"), videos("b"), videos("c"))))
	equal(t, most.Load(), 3)
}

func TestAPanicInTheProgressEndsTheCall(t *testing.T) {
	store := open(t)
	boom := errors.New("boom")
	ctx := metaxy.WithProgress(t.Context(), func(uint64, int64) { panic(boom) })
	err := store.Write(ctx, "example/video", endless())
	var panicked *metaxy.PanicError
	if !errors.As(err, &panicked) || !errors.Is(err, boom) || panicked.Completed ||
		!strings.Contains(string(panicked.Stack), "control_test.go") {
		t.Fatal(err)
	}
	equal(t, must[bool](t)(store.Has(t.Context(), "example/video")), false)

	// The total is known when all is written.
	ctx = metaxy.WithProgress(t.Context(), func(rows uint64, total int64) {
		if total >= 0 {
			panic(boom)
		}
	})
	err = store.WriteBatch(ctx, "example/video", videos("a"))
	if !errors.As(err, &panicked) || !panicked.Completed {
		t.Fatal(err)
	}
	equal(t, ids(t, store), "a")
}

func TestACallFromTheProgressIsRefused(t *testing.T) {
	store := open(t)
	refused := make(chan error, 100)
	ctx := metaxy.WithProgress(t.Context(), func(uint64, int64) {
		_, err := store.Features(context.Background())
		refused <- err
	})
	check(t, store.Write(ctx, "example/video", reader(t, videos("a"))))
	if err := <-refused; !errors.Is(err, metaxy.Reentrant) {
		t.Fatal(err)
	}
}

func TestTheLogGoesToItsSink(t *testing.T) {
	store := open(t)
	// A buffer that is given up with rows in it warns of them.
	warn := func() {
		writer := must[*metaxy.BufferedWriter](t)(store.BufferedWriter(t.Context(), "example/video", videoSchema))
		must[uint64](t)(writer.Push(t.Context(), videos("a")))
		writer.Abort()
	}
	heard := make(chan string, 100)
	check(t, metaxy.SetLog(metaxy.LogWarn, func(level metaxy.LogLevel, message string) {
		if level == metaxy.LogWarn {
			heard <- message
		}
	}))
	warn()
	if message := <-heard; !strings.Contains(message, "1 row") {
		t.Fatal(message)
	}
	refused := make(chan error, 100)
	check(t, metaxy.SetLog(metaxy.LogWarn, func(metaxy.LogLevel, string) {
		refused <- metaxy.SetLog(metaxy.LogWarn, nil)
		panic("the sink")
	}))
	warn()
	if err := <-refused; !errors.Is(err, metaxy.Reentrant) {
		t.Fatal(err)
	}
	if err := metaxy.SetLog(77, func(metaxy.LogLevel, string) {}); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	check(t, metaxy.SetLog(metaxy.LogWarn, nil))
	warn()
	equal(t, len(heard), 0)
}

func TestClosingTwiceIsOnce(t *testing.T) {
	store := open(t)
	check(t, store.Close())
	check(t, store.Close())
	for name, use := range map[string]func() error{
		"define": func() error { return store.Define(video) },
		"read":   func() error { _, err := store.Read(t.Context(), "example/video"); return err },
		"write":  func() error { return store.WriteBatch(t.Context(), "example/video", videos("a")) },
		"list":   func() error { _, err := store.List(t.Context()); return err },
		"writer": func() error { _, err := store.Writer(t.Context(), "example/video", videoSchema); return err },
		"chain":  func() error { _, err := metaxy.OpenChain(t.Context(), t.TempDir(), []*metaxy.Store{store}); return err },
		"copy":   func() error { _, err := open(t).CopyTo(t.Context(), store, nil); return err },
	} {
		if err := use(); !errors.Is(err, os.ErrClosed) || !errors.Is(err, metaxy.InvalidState) {
			t.Fatal(name, err)
		}
	}
	var none *metaxy.Store
	check(t, none.Close())
	if _, err := none.Features(t.Context()); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	check(t, new(metaxy.Store).Close())
	if err := new(metaxy.Store).Define(video); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
}

// Whatever another goroutine does, a read that meets Close gives its rows or the error of something closed.
func TestClosingWhileOthersRead(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b", "c")))
	uri := store.String()
	for range 8 {
		store := openAt(t, uri)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					rows, err := store.Read(context.Background(), "example/video", metaxy.BatchRows(1))
					if err == nil {
						_, err = metaxy.Collect[Video](rows)
					}
					if errors.Is(err, metaxy.InvalidState) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 2 {
			readers.Go(func() {
				time.Sleep(20 * time.Millisecond)
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		readers.Wait()
	}
}

func TestReleasingWhileAnotherReads(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b", "c")))
	for range 20 {
		rows := must[*metaxy.Rows](t)(store.Read(t.Context(), "example/video", metaxy.BatchRows(1)))
		released := make(chan struct{})
		go func() { rows.Release(); close(released) }()
		for rows.Next() {
		}
		<-released
		if err := rows.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Fatal(err)
		}
	}
}

// A writer is for one goroutine; others get an error, not a crash.
func TestManyGoroutinesInOneWriter(t *testing.T) {
	store := openAt(t, "memory://")
	writer := must[*metaxy.Writer](t)(store.Writer(t.Context(), "example/video", videoSchema))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				err := writer.Append(t.Context(), videos("a"))
				if err != nil && !errors.Is(err, metaxy.Busy) && !errors.Is(err, metaxy.InvalidState) {
					t.Error(err)
				}
			}
		})
	}
	time.Sleep(time.Millisecond)
	check(t, writer.Close())
	all.Wait()
}

// What nobody closes is freed when it is collected.
func TestTheCollectorIsTheNet(t *testing.T) {
	before := metaxy.LiveHandles()
	func() {
		store := must[*metaxy.Store](t)(metaxy.Open(t.Context(), t.TempDir()))
		check(t, store.Define(video))
		check(t, store.WriteBatch(t.Context(), "example/video", videos("a")))
		ctx, cancel := context.WithCancel(metaxy.WithProgress(context.Background(), func(uint64, int64) {}))
		defer cancel()
		rows := must[*metaxy.Rows](t)(store.Read(ctx, "example/video"))
		rows.Next()
		must[*metaxy.Writer](t)(store.Writer(t.Context(), "example/video", videoSchema))
		must[*metaxy.BufferedWriter](t)(store.BufferedWriter(t.Context(), "example/video", videoSchema))
		must[*metaxy.Graph](t)(store.Graph(t.Context()))
	}()
	for range 200 {
		runtime.GC()
		if metaxy.LiveHandles() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d handles more than before", metaxy.LiveHandles()-before)
}
