"""libmetaxy for the interoperability tests: its C ABI through ctypes, its rows through pyarrow."""
import contextlib
import ctypes
import json
from ctypes import byref, c_char_p, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from typing import NamedTuple

import pyarrow as pa


class MetaxyError(Exception):
    """A call did not return METAXY_OK."""

    def __init__(self, status: int, message: str):
        super().__init__(f"{message} (status {status})")
        self.status = status


class Bucket(NamedTuple):
    """A database in an object storage, with the options that both LanceDB and the library need for it."""

    uri: str
    storage_options: dict[str, str]

    def __str__(self) -> str:
        return self.uri

    def below(self, name: str) -> "Bucket":
        return self._replace(uri=f"{self.uri}/{name}")


class ArrowArrayStream(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("get_schema", "get_next", "get_last_error", "release", "private_data")]


# The parameters before the last one of every fallible function, the error.
FALLIBLE = {
    "options_new": [c_void_p],
    "options_set": [c_void_p, c_char_p, c_char_p],
    "read_request_new": [c_void_p],
    "read_request_set_columns": [c_void_p, c_void_p, c_size_t],
    "read_request_add_filter": [c_void_p, c_char_p],
    "read_request_set_feature_version": [c_void_p, c_char_p],
    "read_request_set_feature_history": [c_void_p, c_int32],
    "read_request_set_sample_history": [c_void_p, c_int32],
    "read_request_set_deleted": [c_void_p, c_int32],
    "read_request_set_batch_rows": [c_void_p, c_size_t],
    "read_request_set_limit": [c_void_p, c_int64],
    "config_load": [c_char_p, c_void_p],
    "config_open_store": [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p],
    "store_open": [c_char_p, c_void_p, c_void_p, c_void_p],
    "store_define": [c_void_p, c_char_p],
    "store_write": [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p],
    "store_read": [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p],
    "store_rebase": [c_void_p, c_char_p, c_char_p, c_char_p, c_void_p, c_void_p],
    "store_delete": [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p, c_void_p],
    "store_copy": [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p],
    "store_drop": [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p],
    "store_push": [c_void_p, c_char_p, c_char_p, c_void_p, c_void_p],
    "store_load": [c_void_p, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p, c_void_p],
    "store_graph": [c_void_p, c_void_p, c_void_p],
    "graph_json": [c_void_p, c_void_p],
    "store_close": [c_void_p],
}
FREES = ["options_free", "config_free", "read_request_free", "graph_free", "store_free", "string_free", "error_free"]


class Library:
    def __init__(self, path: str):
        self.functions = ctypes.CDLL(path)
        for name, parameters in FALLIBLE.items():
            self._declare(name, c_int32, [*parameters, c_void_p])
        for name in FREES:
            self._declare(name, None, [c_void_p])
        self._declare("error_message", c_char_p, [c_void_p])

    def _declare(self, name: str, result, parameters: list) -> None:
        function = self._function(name)
        function.restype, function.argtypes = result, parameters

    def _function(self, name: str):
        return getattr(self.functions, f"metaxy_{name}")

    def call(self, name: str, *arguments) -> None:
        error = c_void_p()
        status = self._function(name)(*arguments, byref(error))
        if status == 0:
            assert not error, f"metaxy_{name} succeeded and gave an error"
            return
        assert error, f"metaxy_{name} returned {status} without an error"
        message = self._function("error_message")(error).decode()
        self.free("error", error)
        raise MetaxyError(status, message)

    def free(self, noun: str, handle) -> None:
        self._function(f"{noun}_free")(handle)

    def open(self, place, **options) -> "Store":
        """The store in a directory or a bucket."""
        uri = str(place).encode()
        if isinstance(place, Bucket):
            options |= {f"storage_options.{name}": value for name, value in place.storage_options.items()}
        return Store(self, lambda given, store: self.call("store_open", uri, given, None, store), options)

    def open_configured(self, file: str | None, name: str | None, **options) -> "Store":
        """The store `name`, or the default one, of the configuration in `file`, or of the one that is found."""
        config = c_void_p()
        self.call("config_load", file and file.encode(), byref(config))
        name = name and name.encode()
        try:
            return Store(self, lambda given, store: self.call("config_open_store", config, name, given, None, store), options)
        finally:
            self.free("config", config)

    def make_options(self, options: dict) -> c_void_p:
        """`hash__algorithm` stands for the option `hash.algorithm`."""
        handle = c_void_p()
        self.call("options_new", byref(handle))
        for key, value in options.items():
            self.call("options_set", handle, key.replace("__", ".").encode(), str(value).encode())
        return handle


class Store:
    def __init__(self, library: Library, open_it, options: dict):
        """`open_it` is called with the options and the place of the handle."""
        self.library, self.handle = library, c_void_p()
        with_options = library.make_options(options)
        try:
            open_it(with_options, byref(self.handle))
        finally:
            library.free("options", with_options)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.library.call("store_close", self.handle)
        self.library.free("store", self.handle)

    def define(self, *definitions: dict) -> "Store":
        self.library.call("store_define", self.handle, json.dumps(definitions).encode())
        return self

    def write(self, feature: str, rows: pa.Table, batch_rows: int | None = None, options={}) -> None:
        stream, with_options = ArrowArrayStream(), self.library.make_options(options)
        rows.to_reader(batch_rows)._export_to_c(ctypes.addressof(stream))
        try:
            self.library.call("store_write", self.handle, feature.encode(), byref(stream), with_options, None)
        finally:
            self.library.free("options", with_options)
            assert not stream.release, "a stream that is passed in must be taken over on every path"

    def read(self, feature: str, columns=None, filters=(), feature_version=None, **settings) -> pa.Table:
        """`settings` are those of a read request by their names: feature_history=1, limit=10, ..."""
        stream = ArrowArrayStream()
        with self.request(columns, filters, feature_version, settings) as request:
            self.library.call("store_read", self.handle, feature.encode(), request, None, byref(stream))
        return pa.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()

    def rebase(self, feature: str, of_version: str, to_version: str | None = None) -> pa.Table:
        stream, to_version = ArrowArrayStream(), to_version and to_version.encode()
        arguments = (feature.encode(), of_version.encode(), to_version, None)
        self.library.call("store_rebase", self.handle, *arguments, byref(stream))
        return pa.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()

    def delete(self, feature: str, *filters: str, feature_version=None, options={}, **settings) -> int:
        """How many tombstones were written, or rows removed."""
        deleted, with_options = c_uint64(), self.library.make_options(options)
        try:
            with self.request(None, filters, feature_version, settings) as request:
                self.library.call(
                    "store_delete", self.handle, feature.encode(), request, with_options, None, byref(deleted)
                )
        finally:
            self.library.free("options", with_options)
        return deleted.value

    def drop(self, feature: str) -> bool:
        """Whether there was a table."""
        dropped = c_int32()
        self.library.call("store_drop", self.handle, feature.encode(), None, None, byref(dropped))
        return bool(dropped.value)

    def copy_to(self, other: "Store", **settings) -> pa.Table:
        """Copies every feature that there is a table of; `settings` as of `read`. Gives the report."""
        stream = ArrowArrayStream()
        with self.request(None, (), None, settings) as request:
            self.library.call("store_copy", self.handle, other.handle, None, 0, request, None, None, byref(stream))
        return pa.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()

    def push(self, tags: dict | None = None) -> pa.Table:
        stream = ArrowArrayStream()
        tags = tags and json.dumps(tags).encode()
        self.library.call("store_push", self.handle, None, tags, None, byref(stream))
        return pa.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()

    def load(self, project_version: str | None = None) -> pa.Table:
        stream = ArrowArrayStream()
        project_version = project_version and project_version.encode()
        self.library.call("store_load", self.handle, None, project_version, None, 0, None, byref(stream))
        return pa.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()

    def graph_json(self) -> str:
        graph, text = c_void_p(), c_void_p()
        self.library.call("store_graph", self.handle, None, byref(graph))
        self.library.call("graph_json", graph, byref(text))
        try:
            return ctypes.string_at(text).decode()
        finally:
            self.library.free("string", text)
            self.library.free("graph", graph)

    @contextlib.contextmanager
    def request(self, columns, filters, feature_version, settings: dict):
        request = c_void_p()
        self.library.call("read_request_new", byref(request))
        try:
            if columns is not None:
                names = (c_char_p * len(columns))(*(name.encode() for name in columns))
                self.library.call("read_request_set_columns", request, names, len(columns))
            for text in filters:
                self.library.call("read_request_add_filter", request, text.encode())
            if feature_version is not None:
                self.library.call("read_request_set_feature_version", request, feature_version.encode())
            for name, value in settings.items():
                self.library.call(f"read_request_set_{name}", request, value)
            yield request
        finally:
            self.library.free("read_request", request)
