"""examples/python/metaxy_native.py used in every wrong way, and ended in every way."""

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import weakref
from functools import partial

import duckdb
import metaxy_native
import pyarrow as pa
from metaxy_native import Context, MetaxyError, Store

STREAM = 7  # METAXY_KIND_STREAM
VIDEO = {"key": "video", "id_columns": ["id"], "fields": [{"key": "frames"}]}


def videos(count, first=0):
    ids = [f"video-{i}" for i in range(first, first + count)]
    return pa.table({"id": ids, "metaxy_provenance_by_field": [{"frames": "f"}] * count})


def live_streams():
    return metaxy_native._library.metaxy_live_handles(STREAM)


@contextlib.contextmanager
def silent_bucket():
    """The options of a store on a server that takes every connection and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = {"endpoint": endpoint, "allow_http": True, "region": "us-east-1"}
        secrets = {"access_key_id": "a", "secret_access_key": "b"}
        yield {"mode": "read", **{f"storage_options.{key}": value for key, value in (names | secrets).items()}}


def ended_by(test, expected, **options):
    """Opens and reads the silent bucket, which must end with `expected`, and soon."""
    begun = time.monotonic()
    with test.assertRaises(expected) as caught:
        with silent_bucket() as bucket, Store("s3://bucket/store", **bucket, **options) as store:
            store.define(VIDEO)
            store.read("video", **options)
    test.assertLess(time.monotonic() - begun, 5)
    return caught.exception


class Hosts(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store = Store(directory.name)
        self.store.define(VIDEO)

    def tearDown(self):
        del self.store
        gc.collect()
        self.assertEqual(metaxy_native._library.metaxy_live_handles(0), 0)

    def test_rows_go_in_and_come_out_in_every_shape(self):
        self.store.write("video", videos(3))
        self.store.write("video", videos(3, 3).to_batches()[0])
        self.store.write("video", videos(3, 6).to_reader(1))
        self.store.write("video", self.store.read("video", ["id", "metaxy_provenance_by_field"]))
        self.assertEqual(self.store.read("video").read_all().num_rows, 9)
        self.assertEqual(self.store.read("video", sample_history=1).read_all().num_rows, 18)
        self.assertEqual(self.store.read("video", ["id"], "id = 'video-4'").read_all().to_pydict(), {"id": ["video-4"]})
        self.assertEqual(self.store.delete("video", "id = 'video-4'"), 1)
        self.assertEqual(self.store.read("video", limit=100).read_all().num_rows, 8)

    def test_rows_are_not_copied(self):
        self.store.write("video", videos(10_000))
        before = pa.total_allocated_bytes()
        rows = self.store.read("video").read_all()
        self.assertGreater(rows.nbytes, 1_000_000)
        self.assertLess(pa.total_allocated_bytes() - before, 10_000)
        taken = pa.table(self.store.read("video"))
        self.assertGreater(taken.nbytes, 1_000_000)
        self.assertLess(pa.total_allocated_bytes() - before, 10_000)

    def test_an_increment_is_divided_and_done(self):
        self.store.define({"key": "thumbnail", "id_columns": ["id"], "deps": [{"feature": "video"}], "fields": [{"key": "x"}]})
        self.assertEqual(self.store.resolve("video", videos(9)).counts(), (9, 0, 0))
        self.store.write("video", self.store.resolve("video", videos(9)).new())
        for share in range(3):
            self.store.write("thumbnail", self.store.resolve("thumbnail", shard=(share, 3)).new())
        self.assertEqual(self.store.resolve("thumbnail").counts(), (0, 0, 0))
        self.assertEqual(self.store.resolve("thumbnail", filters="id = 'video-1'").orphaned().read_all().num_rows, 0)

    def test_an_error_says_what_is_wrong(self):
        with self.assertRaisesRegex(MetaxyError, "nearest") as caught:
            Store("memory://", mod="read")
        self.assertEqual((caught.exception.name, caught.exception.status), ("METAXY_INVALID_ARGUMENT", 1))
        self.assertEqual(caught.exception.details["option"], "mod")
        self.assertFalse(caught.exception.retryable)
        sent = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((str(sent), vars(sent)), (str(caught.exception), vars(caught.exception)))
        with self.assertRaisesRegex(TypeError, "columnz"):
            self.store.read("video", columnz=["id"])

    def test_a_closed_store_says_so(self):
        self.store.write("video", videos(3))
        reader = self.store.read("video")
        self.store.close()
        self.store.close()
        for use in (lambda: self.store.read("video"), lambda: self.store.define(VIDEO)):
            with self.assertRaises(MetaxyError) as caught:
                use()
            self.assertEqual(caught.exception.name, "METAXY_INVALID_STATE")
        self.assertEqual(reader.read_all().num_rows, 3)

    def test_a_store_may_be_closed_while_others_read(self):
        self.store.write("video", videos(1000))
        ends = []

        def read():
            try:
                while True:
                    self.assertEqual(self.store.read("video", batch_rows=10).read_all().num_rows, 1000)
            except Exception as error:
                ends.append(getattr(error, "name", error))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        self.store.close()
        for thread in threads:
            thread.join()
        self.assertEqual(ends, ["METAXY_INVALID_STATE"] * 4)

    def test_rows_that_are_closed_are_let_go(self):
        self.store.write("video", videos(100))
        rows = self.store.read("video", batch_rows=10)
        other = self.store.read("video", batch_rows=10)
        self.assertEqual(live_streams(), 2)
        self.assertEqual(rows.read_next_batch().num_rows, 10)
        rows.close()
        rows.close()
        self.assertEqual(live_streams(), 1)
        for pull in (rows.read_next_batch, rows.read_all, lambda: list(rows), lambda: pa.table(rows)):
            with self.assertRaisesRegex(ValueError, "closed"):
                pull()
        with self.assertRaisesRegex(MetaxyError, "closed"):
            self.store.write("video", rows)
        with other:
            self.assertEqual(next(other).num_rows, 10)
        self.assertEqual(live_streams(), 0)
        with self.assertRaisesRegex(ValueError, "closed"):
            next(other)

    def test_rows_are_let_go_at_their_end(self):
        self.store.write("video", videos(3))
        rows = self.store.read("video")
        self.assertEqual(sum(batch.num_rows for batch in rows), 3)
        self.assertEqual(live_streams(), 0)
        self.assertEqual(list(rows), [])
        with self.assertRaises(StopIteration):
            rows.read_next_batch()

    def test_rows_may_be_closed_while_other_threads_pull_them(self):
        self.store.write("video", videos(10_000))
        for _ in range(10):
            rows, begun, ends = self.store.read("video", batch_rows=10), threading.Event(), []

            def pull():
                try:
                    while rows.read_next_batch().num_rows:
                        begun.set()
                except BaseException as error:
                    ends.append(repr(error))

            threads = [threading.Thread(target=pull) for _ in range(3)]
            for thread in threads:
                thread.start()
            self.assertTrue(begun.wait(60))
            rows.close()
            self.assertEqual(live_streams(), 0)
            for thread in threads:
                thread.join()
            self.assertEqual(ends, [repr(ValueError("the rows were closed"))] * 3)

    def test_what_a_callback_raises_comes_out_of_the_call(self):
        def fail(rows, total):
            raise ZeroDivisionError(f"after {rows} rows")

        with self.assertRaisesRegex(ZeroDivisionError, "after 1 rows"):
            self.store.write("video", videos(5).to_reader(1), context=Context(progress=fail))
        with self.assertRaises(MetaxyError):
            self.store.read("video")

    def test_what_a_callback_raises_at_the_last_report_comes_out_too(self):
        for number, kind in enumerate([ZeroDivisionError, KeyboardInterrupt, SystemExit]):
            def fail(rows, total, kind=kind):
                if total is not None:
                    raise kind("enough")

            with self.assertRaisesRegex(kind, "enough") as caught:
                self.store.write("video", videos(3, 3 * number), context=Context(progress=fail))
            self.assertTrue(caught.exception.completed)
            self.assertEqual(self.store.read("video").read_all().num_rows, 3 * (number + 1))

    def test_a_callback_may_interrupt(self):
        for kind in (KeyboardInterrupt, SystemExit):
            def fail(rows, total, kind=kind):
                raise kind("enough")

            with self.assertRaisesRegex(kind, "enough") as caught:
                self.store.write("video", videos(5).to_reader(1), context=Context(progress=fail))
            self.assertFalse(hasattr(caught.exception, "completed"))

    def test_a_text_that_c_would_cut_is_refused(self):
        self.store.write("video", videos(3))
        cut = "id IS NOT NULL\0 AND id = 'none'"
        for use in (
            lambda: self.store.delete("video", cut),
            lambda: self.store.delete("video", [cut]),
            lambda: self.store.read("video", filters=cut),
            lambda: self.store.read("video", ["id\0x"]),
            lambda: self.store.read("video", feature_version="a\0"),
            lambda: self.store.resolve("video", videos(1), cut),
            *(partial(use, "video\0x") for use in (self.store.read, self.store.delete, self.store.resolve)),
            lambda: self.store.write("video\0x", videos(1)),
            lambda: self.store.write("video", videos(1), **{"a\0": "b"}),
            lambda: Store("memory://", mode="read\0x"),
            lambda: Store("memory://\0x"),
        ):
            with self.assertRaisesRegex(ValueError, "NUL"):
                use()
        for use in (
            lambda: self.store.read("video", "id"),
            lambda: self.store.read("video", [b"id"]),
            lambda: self.store.read(7),
            lambda: self.store.read(None),
            lambda: self.store.delete("video", b"id"),
        ):
            with self.assertRaises(TypeError):
                use()
        self.assertEqual(self.store.read("video").read_all().num_rows, 3)

    def test_rows_that_were_not_taken_are_let_go(self):
        class Rows:
            def __init__(self):
                self.rows = videos(3)

            def __arrow_c_stream__(self, schema=None):
                return pa.RecordBatchReader.from_batches(self.rows.schema, self.batches()).__arrow_c_stream__(schema)

            def batches(self):
                yield from self.rows.to_batches()

        def fail(*_):
            raise ZeroDivisionError

        for use in (
            lambda rows: self.store.write("video", rows, mode="none"),
            lambda rows: self.store.write("video\0x", rows),
            lambda rows: self.store.write("audio", rows),
            lambda rows: self.store.write("video", rows, context=Context(progress=fail)),
            lambda rows: self.store.resolve("video\0x", rows),
            lambda rows: self.store.resolve("audio", rows),
        ):
            rows = Rows()
            kept = weakref.ref(rows)
            with self.assertRaises((MetaxyError, ValueError, ZeroDivisionError)):
                use(rows)
            del rows
            gc.collect()
            self.assertIsNone(kept())

    def test_progress_tells_the_rows(self):
        seen = []
        context = Context(progress=lambda rows, total: seen.append((rows, total)))
        self.store.write("video", videos(4).to_reader(2), context=context)
        self.assertEqual(seen, [(2, None), (4, None), (4, 4)])

    def test_a_foreign_stream_that_fails_is_an_error(self):
        def batches():
            yield videos(1).to_batches()[0]
            raise ZeroDivisionError("the camera is gone")

        with self.assertRaisesRegex(MetaxyError, "the camera is gone") as caught:
            self.store.write("video", pa.RecordBatchReader.from_batches(videos(1).schema, batches()))
        self.assertEqual(caught.exception.name, "METAXY_IO")
        with self.assertRaises(TypeError):
            self.store.write("video", [1, 2, 3])

    def test_a_reader_that_fails_raises_the_whole_error(self):
        self.store.write("video", videos(100))
        context = Context()
        reader = self.store.read("video", batch_rows=10, context=context)
        self.assertEqual(reader.read_next_batch().num_rows, 10)
        context.cancel()
        with self.assertRaises(MetaxyError) as caught:
            reader.read_all()
        self.assertEqual(caught.exception.name, "METAXY_CANCELLED")

    def test_an_engine_that_pulls_a_reader_reports_that_it_failed(self):
        self.store.write("video", videos(100))
        context = Context()
        reader = self.store.read("video", batch_rows=10, context=context)
        context.cancel()
        with self.assertRaisesRegex(Exception, "cancelled"):
            duckdb.sql("SELECT count(*) FROM reader").fetchall()
        del reader

    def test_a_call_ends_by_a_timeout(self):
        self.assertEqual(ended_by(self, MetaxyError, context=Context(timeout=0.2)).name, "METAXY_TIMEOUT")

    def test_a_call_ends_by_another_thread(self):
        context = Context()
        threading.Timer(0.2, context.cancel).start()
        self.assertEqual(ended_by(self, MetaxyError, context=context).name, "METAXY_CANCELLED")

    def test_a_call_ends_by_ctrl_c(self):
        # A shell starts what runs in its background with interrupts ignored, and then Python has no handler.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        ended_by(self, KeyboardInterrupt)


class Library(unittest.TestCase):
    def test_a_library_that_is_not_found_says_what_to_set(self):
        for path, name in [(None, "libmetaxy.so.0.1"), ("/nowhere/libmetaxy.so", "/nowhere/libmetaxy.so")]:
            given = {name: value for name, value in os.environ.items() if name not in ("METAXY_LIBRARY", "LD_LIBRARY_PATH")}
            given |= {"METAXY_LIBRARY": path} if path else {}
            command = [sys.executable, "-c", "import metaxy_native"]
            ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
            self.assertEqual(ended.returncode, 1)
            told = ended.stderr.splitlines()[-1]
            self.assertRegex(told, f"^ImportError: .*{name}.*set METAXY_LIBRARY to .* or LD_LIBRARY_PATH to ")


if __name__ == "__main__":
    unittest.main()
