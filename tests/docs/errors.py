"""docs/errors.md shows a message for each status. Here each is provoked, and compared with what the page shows."""

import contextlib
import ctypes
import http.server
import json
import os
import re
import socket
import tempfile
import threading
import unittest
from pathlib import Path

import metaxy_native
import pyarrow as pa
from metaxy_native import Context, MetaxyError, Store

PAGE = Path(__file__).parents[2] / "docs/errors.md"
VIDEO = {"key": "video", "id_columns": ["id"], "fields": [{"key": "frames"}]}


def videos(*ids, **columns):
    return pa.table({"id": ids, "metaxy_provenance_by_field": [{"frames": "f-3e"}] * len(ids), **columns})


def opened(**options):
    store = Store("./metadata", **options)
    store.define(VIDEO)
    return store


def drop(store, feature):
    metaxy_native._call("store_drop", store, feature, None, None, ctypes.byref(ctypes.c_int32()))


def invalid_argument():
    Store("./metadata", mod="read")


def invalid_handle():
    store = opened()
    metaxy_native._library.metaxy_store_free(store)
    store.read("video")


def invalid_state():
    store = opened()
    store.close()
    store.read("video")


def not_found():
    opened().read("video")


def unsupported():
    drop(opened(), b"metaxy-system/feature_versions")


def schema_mismatch():
    store = opened()
    store.write("video", videos("intro", size=[7]))
    store.write("video", videos("credits", size=["large"]))


def conflict():
    store = opened()
    store.write("video", videos("intro"))

    before = set(Path("metadata").rglob("*"))

    def batches():
        # The write is under way once it has a file of its own.
        for number in range(100_000):
            yield videos(f"video-{number}").to_batches()[0]
            if set(Path("metadata/video.lance/data").iterdir()) - before:
                break
        drop(store, b"video")
        yield videos("credits").to_batches()[0]

    store.write("video", pa.RecordBatchReader.from_batches(videos("credits").schema, batches()))


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


def bucket(port):
    given = {"aws_endpoint": f"http://127.0.0.1:{port}", "allow_http": True, "aws_region": "us-east-1"}
    given |= {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    store = Store("s3://my-bucket/metaxy", mode="read", **{f"storage_options.{name}": value for name, value in given.items()})
    store.define(VIDEO)
    return store


def unavailable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    bucket(port).read("video")


def permission():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            bucket(server.server_port).read("video")
        finally:
            server.shutdown()


def corrupt():
    store = opened(mode="write")
    store.write("video", videos("intro"))
    store.close()
    for manifest in Path("metadata").rglob("*.manifest"):
        manifest.write_bytes(b"not a manifest")
    opened(mode="read").read("video")


def io():
    Path("file").write_text("in the way")
    Store("./file/metadata")


def cancelled():
    context = Context()
    context.cancel()
    opened().read("video", context=context)


def timeout():
    with socket.create_server(("127.0.0.1", 0)) as server:
        bucket(server.getsockname()[1]).read("video", context=Context(timeout=0.3))


def reentrant():
    store, seen = opened(), []

    def progress(rows, total):
        try:
            metaxy_native._call("store_close", store)
        except MetaxyError as error:
            seen.append(error)

    store.write("video", videos("intro"), context=Context(progress=progress))
    raise seen[0]


def forked():
    """The child says what it gets through a pipe."""
    store = opened()
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            metaxy_native._call("store_close", store)
        except MetaxyError as error:
            os.write(writing, json.dumps(error.args).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        raise MetaxyError(*json.load(told))


PROVOKED = [
    invalid_argument, invalid_handle, invalid_state, not_found, unsupported, schema_mismatch, conflict, unavailable, permission,
    corrupt, io, cancelled, timeout, reentrant, forked,
]
# No function gives the first, the second takes two threads that meet, and the others are bugs of the library.
NOT_PROVOKED = {"METAXY_ALREADY_EXISTS", "METAXY_BUSY", "METAXY_PANIC", "METAXY_INTERNAL"}


def pattern(shown):
    """The message that the page shows; an ellipsis stands for some of a path, and handles are numbers."""
    return re.sub(r"0x\w+", r"0x\\w+", re.escape(shown)).replace("…", ".*")


class Errors(unittest.TestCase):
    def setUp(self):
        self.sections = {}
        for section in PAGE.read_text().split("\n## ")[1:]:
            status, text = section.split("\n", 1)
            self.sections[status] = text

    def test_each_message_is_what_the_library_says(self):
        for provoke in PROVOKED:
            with self.subTest(provoke.__name__), tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                with self.assertRaises(MetaxyError) as caught:
                    provoke()
                error = caught.exception
                self.assertEqual(error.name, f"METAXY_{provoke.__name__.upper()}")
                section = self.sections[error.name]
                shown = re.search(r"```text\n(.*)\n```", section)[1]
                self.assertRegex(str(error), f"^{pattern(shown)}$")
                self.assertEqual(error.retryable, "Trying again helps" in " ".join(section.split()))

    def test_each_status_has_a_section_that_says_whether_trying_again_helps(self):
        library = metaxy_native._library
        names = [library.metaxy_status_name(number).decode() for number in range(1, library.metaxy_status_count())]
        self.assertEqual(list(self.sections), names)
        self.assertEqual(set(names) - NOT_PROVOKED, {f"METAXY_{one.__name__.upper()}" for one in PROVOKED})
        for section in self.sections.values():
            self.assertRegex(" ".join(section.split()), "Trying again (helps|does not help)")


if __name__ == "__main__":
    unittest.main()
