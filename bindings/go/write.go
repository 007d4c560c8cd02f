package metaxy

// #include "callbacks.h"
import "C"

import (
	"context"
	"errors"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Write writes the rows of a reader to a feature. They become visible together, or not at all: if the reader fails,
// its error is found in that of the call by errors.Is, and nothing is written. The reader stays the caller's to release.
//
// Nobody can end the reader's Next but the reader: where the end or the deadline of ctx comes while it blocks, Write
// returns when Next does. A reader that may block for long should watch ctx itself.
func (s *Store) Write(ctx context.Context, feature string, rows array.RecordReader, options ...Option) error {
	var source *reading
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		var stream *C.struct_ArrowArrayStream
		stream, source = f.reader(rows)
		return C.metaxy_store_write(store, f.text(feature), stream, f.options(options), f.handle, &f.raw)
	})
	return becauseOf(err, source)
}

// WriteBatch writes the rows of one batch to a feature.
func (s *Store) WriteBatch(ctx context.Context, feature string, rows arrow.RecordBatch, options ...Option) error {
	return s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		if rows == nil {
			panic(refusal{invalid("the record batch is nil")})
		}
		schema := rows.Schema()
		return C.metaxy_store_write_batch(store, f.text(feature), f.batch(rows, schema), f.schema(schema),
			f.options(options), f.handle, &f.raw)
	})
}

// WriteMany writes to several features, parents before children: all rows are checked and staged first, then they
// appear one feature after the other. The detail "written" of an error names those that did.
func (s *Store) WriteMany(ctx context.Context, rows map[string]array.RecordReader, options ...Option) error {
	var sources []*reading
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		streams := zeroed[C.struct_ArrowArrayStream](f, len(rows))
		names := make([]string, 0, len(rows))
		for feature, reader := range rows {
			sources = append(sources, f.readerInto(reader, &streams[len(names)]))
			names = append(names, feature)
		}
		features, count := f.texts(names)
		first, _ := first(streams)
		return C.metaxy_store_write_many(store, features, first, count, f.options(options), f.handle, &f.raw)
	})
	return becauseOf(err, sources...)
}

// becauseOf adds to the failure of a write the error of the reader that led to it.
func becauseOf(err error, sources ...*reading) error {
	var failed *Error
	if !errors.As(err, &failed) || failed.cause != nil {
		return err
	}
	for _, source := range sources {
		if source == nil || source.err == nil {
			continue
		}
		var panicked *PanicError
		if errors.As(source.err, &panicked) {
			return panicked
		}
		failed.cause = source.err
	}
	return err
}

// Writer takes rows of a feature that become visible together, when it commits. One goroutine at a time uses it; a call
// that meets another one fails with Busy.
type Writer struct {
	handle *owned[*C.MetaxyWriter]
	schema *arrow.Schema
}

// Writer begins to write rows with the columns of schema to a feature.
func (s *Store) Writer(ctx context.Context, feature string, schema *arrow.Schema, options ...Option) (*Writer, error) {
	var writer *C.MetaxyWriter
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_writer(store, f.text(feature), f.schema(schema), f.options(options), f.handle, &writer,
			&f.raw)
	})
	if err != nil {
		C.metaxy_writer_free(writer)
		return nil, err
	}
	free := func(writer *C.MetaxyWriter) { C.metaxy_writer_free(writer) }
	return &Writer{own("writer", writer, free), schema}, nil
}

func (w *Writer) call(ctx context.Context, act func(*frame, *C.MetaxyWriter) C.MetaxyStatus) error {
	if w == nil {
		return invalid("the writer is nil")
	}
	return w.handle.call(ctx, "writer", act)
}

// Append adds the rows of a batch; it blocks while the storage is slower. A batch whose Append is refused, cancelled or
// too late is left out as a whole, and the writer goes on.
func (w *Writer) Append(ctx context.Context, rows arrow.RecordBatch) error {
	return w.call(ctx, func(f *frame, writer *C.MetaxyWriter) C.MetaxyStatus {
		batch := f.batch(rows, w.schema)
		return C.metaxy_writer_push(writer, batch, f.handle, &f.raw)
	})
}

// Commit makes the rows visible, all together, and ends the writer.
func (w *Writer) Commit(ctx context.Context) error {
	return w.call(ctx, func(f *frame, writer *C.MetaxyWriter) C.MetaxyStatus {
		return C.metaxy_writer_commit(writer, f.handle, &f.raw)
	})
}

// Abort gives up the rows and ends the writer; after its end it does nothing.
func (w *Writer) Abort() error {
	if w == nil || w.handle.usable("writer") != nil {
		return nil
	}
	return w.call(context.Background(), func(f *frame, writer *C.MetaxyWriter) C.MetaxyStatus {
		return C.metaxy_writer_abort(writer, &f.raw)
	})
}

// Close frees the writer, and gives up its rows if they were not committed; closing it again does nothing.
func (w *Writer) Close() error {
	// Freeing alone leaves it to the background to remove what was staged; so it does where another goroutine is still
	// in a call, which keeps this one from ending the writer.
	w.Abort()
	if w != nil {
		w.handle.close()
	}
	return nil
}

// BufferedWriter collects rows of many goroutines and commits them together in the background, by number, size or age.
type BufferedWriter struct {
	handle *owned[*C.MetaxyBufferedWriter]
	schema *arrow.Schema
}

// BufferedWriter opens a buffer before a feature, for rows with the columns of schema. Close it: what was not committed
// when the process ends is lost.
func (s *Store) BufferedWriter(ctx context.Context, feature string, schema *arrow.Schema, options ...Option) (*BufferedWriter, error) {
	var writer *C.MetaxyBufferedWriter
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_buffered_writer(store, f.text(feature), f.schema(schema), f.options(options), f.handle,
			&writer, &f.raw)
	})
	if err != nil {
		C.metaxy_buffered_writer_free(writer)
		return nil, err
	}
	free := func(writer *C.MetaxyBufferedWriter) { C.metaxy_buffered_writer_free(writer) }
	return &BufferedWriter{own("buffered writer", writer, free), schema}, nil
}

func (w *BufferedWriter) call(ctx context.Context, act func(*frame, *C.MetaxyBufferedWriter) C.MetaxyStatus) error {
	if w == nil {
		return invalid("the buffered writer is nil")
	}
	return w.handle.call(ctx, "buffered writer", act)
}

// Push adds the rows of a batch, and gives the ticket by which Wait and Committed know them.
func (w *BufferedWriter) Push(ctx context.Context, rows arrow.RecordBatch) (ticket uint64, err error) {
	var given C.uint64_t
	err = w.call(ctx, func(f *frame, writer *C.MetaxyBufferedWriter) C.MetaxyStatus {
		batch := f.batch(rows, w.schema)
		return C.metaxy_buffered_writer_push(writer, batch, f.handle, &given, &f.raw)
	})
	return uint64(given), err
}

// Flush commits all rows that were pushed before.
func (w *BufferedWriter) Flush(ctx context.Context) error {
	return w.call(ctx, func(f *frame, writer *C.MetaxyBufferedWriter) C.MetaxyStatus {
		return C.metaxy_buffered_writer_flush(writer, f.handle, &f.raw)
	})
}

// Wait waits until the rows up to a ticket are committed.
func (w *BufferedWriter) Wait(ctx context.Context, ticket uint64) error {
	return w.call(ctx, func(f *frame, writer *C.MetaxyBufferedWriter) C.MetaxyStatus {
		return C.metaxy_buffered_writer_wait(writer, C.uint64_t(ticket), f.handle, &f.raw)
	})
}

// Committed tells up to which ticket all rows are committed, without waiting.
func (w *BufferedWriter) Committed() (ticket uint64, err error) {
	var committed C.uint64_t
	err = w.call(context.Background(), func(f *frame, writer *C.MetaxyBufferedWriter) C.MetaxyStatus {
		return C.metaxy_buffered_writer_committed(writer, &committed, &f.raw)
	})
	return uint64(committed), err
}

// Close commits the rows that are there and ends the writer. If that fails the writer is still there, to be closed
// again or given up by Abort; closing it after its end does nothing.
func (w *BufferedWriter) Close(ctx context.Context) error {
	if w == nil || w.handle.usable("buffered writer") != nil {
		return nil
	}
	err := w.call(ctx, func(f *frame, writer *C.MetaxyBufferedWriter) C.MetaxyStatus {
		return C.metaxy_buffered_writer_close(writer, f.handle, &f.raw)
	})
	if err == nil || errors.Is(err, os.ErrClosed) {
		w.Abort()
		return nil
	}
	return err
}

// Abort ends the writer without the rows that are not committed; a warning in the log says how many.
func (w *BufferedWriter) Abort() {
	if w != nil {
		w.handle.close()
	}
}
