"""libmetaxy for Python: one module over the C library, with ctypes and pyarrow. Copy it into your project.

    with metaxy_native.Store("./metadata") as store:
        store.define({"key": "video", "id_columns": ["id"], "fields": [{"key": "frames"}]})
        store.write("video", table)
        for batch in store.read("video", columns=["id", "size"], filters=["size > 1000"]):
            ...

The library is the file in METAXY_LIBRARY, or else the installed one.
"""

import concurrent.futures
import contextlib
import ctypes
import json
import os
import threading
import weakref
from ctypes import byref, c_char_p, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import partial

import pyarrow as pa

ABI_VERSION = 1

try:
    _library = ctypes.CDLL(os.environ.get("METAXY_LIBRARY", "libmetaxy.so.0.1"))
except OSError as error:
    advice = "set METAXY_LIBRARY to the path of libmetaxy.so, or LD_LIBRARY_PATH to its folder"
    raise ImportError(f"libmetaxy was not loaded: {error}; {advice}") from None
if _library.metaxy_abi_version() != ABI_VERSION:
    raise ImportError(f"this module is for version {ABI_VERSION} of libmetaxy's ABI, not {_library.metaxy_abi_version()}")

# What each function takes before the last parameter, the error: pointers, texts, numbers.
_TYPES = {"p": c_void_p, "s": c_char_p, "n": c_size_t, "i": c_int32, "l": c_int64, "u": c_uint64}
_FALLIBLE = {
    "context_new": "p",
    "context_set_timeout_ms": "pu",
    "context_set_progress": "ppp",
    "context_cancel": "p",
    "error_from_stream": "p",
    "increment_request_new": "p",
    "increment_request_add_filter": "pss",
    "increment_request_set_shard": "pii",
    "increment_counts": "pppp",
    "increment_read_new": "ppp",
    "increment_read_stale": "ppp",
    "increment_read_orphaned": "ppp",
    "options_new": "p",
    "options_set": "pss",
    "read_request_new": "p",
    "read_request_set_columns": "ppn",
    "read_request_add_filter": "ps",
    "read_request_set_feature_version": "ps",
    "read_request_set_feature_history": "pi",
    "read_request_set_sample_history": "pi",
    "read_request_set_deleted": "pi",
    "read_request_set_fallback": "pi",
    "read_request_set_batch_rows": "pn",
    "read_request_set_limit": "pl",
    "store_open": "sppp",
    "store_close": "p",
    "store_define": "ps",
    "store_write": "psppp",
    "store_read": "psppp",
    "store_delete": "pspppp",
    "store_resolve_update": "pspppp",
}
_OTHER = {
    "status_name": (c_char_p, "i"),
    "error_message": (c_char_p, "p"),
    "error_cause_count": (c_size_t, "p"),
    "error_cause": (c_char_p, "pn"),
    "error_detail_count": (c_size_t, "p"),
    "error_detail_key": (c_char_p, "pn"),
    "error_detail_value": (c_char_p, "pn"),
    "error_is_retryable": (c_int32, "p"),
}
_NOUNS = ("context", "error", "increment", "increment_request", "options", "read_request", "store")
_OTHER |= {f"{noun}_free": (None, "p") for noun in _NOUNS}


def _function(name):
    return getattr(_library, f"metaxy_{name}")


for _name, (_result, _parameters) in {**{n: (c_int32, p + "p") for n, p in _FALLIBLE.items()}, **_OTHER}.items():
    _function(_name).restype = _result
    _function(_name).argtypes = [_TYPES[letter] for letter in _parameters]

_Progress = ctypes.CFUNCTYPE(None, c_uint64, c_int64, c_void_p)
_Release = ctypes.CFUNCTYPE(None, c_void_p)


class _ArrowArrayStream(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("get_schema", "get_next", "get_last_error", "release", "private_data")]


@contextlib.contextmanager
def _new_stream():
    """A stream to be filled, which is released at the end unless it was moved by then."""
    stream = _ArrowArrayStream()
    try:
        yield stream
    finally:
        if stream.release:
            _Release(stream.release)(byref(stream))


class MetaxyError(Exception):
    """A call failed. `name` is the status by its name, such as "METAXY_NOT_FOUND"; `details` are the facts behind it."""

    def __init__(self, message, status, name, retryable, causes, details):
        # All of them are arguments of the exception, so that it can be pickled and sent to another process.
        super().__init__(message, status, name, retryable, causes, details)
        self.status, self.name, self.retryable, self.causes, self.details = status, name, retryable, causes, details

    def __str__(self):
        return self.args[0]


def _error(status, error):
    def text(name, *arguments):
        return _function(name)(*arguments).decode()

    return MetaxyError(
        text("error_message", error),
        status,
        text("status_name", status),
        bool(_function("error_is_retryable")(error)),
        [text("error_cause", error, i) for i in range(_function("error_cause_count")(error))],
        {
            text("error_detail_key", error, i): text("error_detail_value", error, i)
            for i in range(_function("error_detail_count")(error))
        },
    )


def _call(name, *arguments):
    error = c_void_p()
    status = _function(name)(*arguments, byref(error))
    if status:
        try:
            raise _error(status, error)
        finally:
            _function("error_free")(error)


class _Handle:
    """A handle of the library, which is freed together with this object."""

    def __init__(self, noun, make):
        """`make` is called with the place of the handle."""
        self._as_parameter_ = c_void_p()
        # At once, since a call can both have made a handle and raise what a callback raised.
        weakref.finalize(self, _function(f"{noun}_free"), self._as_parameter_)
        make(byref(self._as_parameter_))


class Context(_Handle):
    """What bounds the calls that are given it: `timeout` in seconds for each of them, and `cancel`.

    `progress(rows, total)` is called now and then, on any thread, with None for a total that is not known. What it raises
    ends the call, and is raised by it. If that was too late, since the call was done, it has the attribute `completed`.
    """

    def __init__(self, timeout=None, progress=None):
        super().__init__("context", partial(_call, "context_new"))
        self._raised = []
        if timeout is not None:
            _call("context_set_timeout_ms", self, max(1, round(timeout * 1000)))
        if progress is not None:
            # It must not know `self`, which would then be freed late.
            handle, raised = self._as_parameter_, self._raised

            def report(rows, total, _):
                try:
                    progress(rows, None if total < 0 else total)
                except BaseException as error:
                    raised.append(error)
                    _call("context_cancel", handle)

            self._progress = _Progress(report)
            _call("context_set_progress", self, self._progress, None)

    def cancel(self):
        """Ends the calls that use this context, and all later ones. Any thread may call it."""
        _call("context_cancel", self)

    def _run(self, call, *arguments):
        """Makes a call of which Ctrl-C makes a KeyboardInterrupt at once.

        Python handles signals on the main thread and between its own steps: while that is in the library, they wait. So
        it is kept out of it: another thread makes the call.
        """
        try:
            result = self._wait(call, arguments)
        except Exception:
            if self._raised:
                raise self._raised[0] from None
            raise
        if self._raised:
            self._raised[0].completed = True
            raise self._raised[0]
        return result

    def _wait(self, call, arguments):
        if threading.current_thread() is not threading.main_thread():
            return call(*arguments)
        outcome = concurrent.futures.Future()
        threading.Thread(target=_settle, args=(outcome, call, arguments), daemon=True).start()
        try:
            return outcome.result()
        finally:
            if not outcome.done():
                self.cancel()
                concurrent.futures.wait([outcome])


def _settle(outcome, call, arguments):
    try:
        outcome.set_result(call(*arguments))
    except BaseException as error:
        outcome.set_exception(error)


def _text(value):
    """A text for C, for which it ends at its first NUL."""
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    if "\0" in value:
        raise ValueError(f"a text with a NUL in it: {value!r}")
    return value.encode()


def _texts(values):
    return [_text(value) for value in ([values] if isinstance(values, str) else values)]


def _options(given):
    options = _Handle("options", partial(_call, "options_new"))
    for key, value in given.items():
        written = str(value).lower() if isinstance(value, bool) else str(value)
        _call("options_set", options, _text(key), None if value is None else _text(written))
    return options


def _request(columns, filters, settings):
    request = _Handle("read_request", partial(_call, "read_request_new"))
    if columns is not None:
        if isinstance(columns, str):
            raise TypeError(f"columns are a list of names, not a text: {columns!r}")
        names = _texts(columns)
        _call("read_request_set_columns", request, (c_char_p * len(names))(*names), len(names))
    for text in _texts(filters):
        _call("read_request_add_filter", request, text)
    for name, value in settings.items():
        if f"read_request_set_{name}" not in _FALLIBLE:
            raise TypeError(f"a read has no setting {name!r}")
        _call(f"read_request_set_{name}", request, _text(value) if isinstance(value, str) else value)
    return request


def _export(rows, stream):
    pa.RecordBatchReader.from_stream(rows)._export_to_c(ctypes.addressof(stream))
    return byref(stream)


class Rows:
    """The rows of a read: record batches, each pulled when it is asked for, and not copied.

    Whatever takes an Arrow stream takes this, too. One thread pulls at a time, and others wait for it.
    """

    def __init__(self, stream, context):
        self._context, self._pulling, self._closed = context, threading.Lock(), False
        # The library knows its stream by this copy, wherever pyarrow moves the stream itself.
        self._known = _ArrowArrayStream.from_buffer_copy(stream)
        self._reader = pa.RecordBatchReader._import_from_c(ctypes.addressof(stream))
        self.schema = self._reader.schema

    def __iter__(self):
        return self

    def __next__(self):
        """The next batch; each is one call under the context of the read."""
        batch = self._context._run(self._pull)
        if batch is None:
            raise StopIteration
        return batch

    read_next_batch = __next__

    def read_all(self):
        """All rows that are left, as a pyarrow.Table."""
        return pa.Table.from_batches(self, self.schema)

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.RecordBatchReader.from_batches(self.schema, self).__arrow_c_stream__(requested_schema)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Lets the stream go, after a pull that is under way on another thread. To pull is a ValueError from then on."""
        self._closed = True  # now, or those who wait to pull might come first
        with self._pulling:
            self._end()

    def _end(self):
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _pull(self):
        with self._pulling:
            if self._closed:
                raise ValueError("the rows were closed")
            return self._next()

    def _next(self):
        """The next batch, or None at the end and after it."""
        if self._reader is None:
            return None
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            self._end()
            return None
        except (OSError, pa.ArrowException):
            _call("error_from_stream", byref(self._known))
            raise


def _rows(context, function, *arguments):
    """The Rows of the stream that a function gives."""
    context = context or Context()
    with _new_stream() as stream:
        context._run(_call, function, *arguments, context, byref(stream))
        return Rows(stream, context)


class Increment(_Handle):
    """What there is to do for a feature. Rows of `new` and `stale` are written back with results as further columns."""

    def counts(self):
        """How many samples are new, stale and orphaned."""
        numbers = c_uint64(), c_uint64(), c_uint64()
        _call("increment_counts", self, *(byref(number) for number in numbers))
        return tuple(number.value for number in numbers)

    def new(self, *, context=None):
        return _rows(context, "increment_read_new", self)

    def stale(self, *, context=None):
        return _rows(context, "increment_read_stale", self)

    def orphaned(self, *, context=None):
        return _rows(context, "increment_read_orphaned", self)


class Store(_Handle):
    """A metadata store. Any number of threads may use it; when it is closed, the readers that it gave go on.

    Options are those of the library: Store(uri, mode="read", **{"hash.algorithm": "sha256"}).
    """

    def __init__(self, uri, *, context=None, **options):
        context, given = context or Context(), _options(options)
        super().__init__("store", partial(context._run, _call, "store_open", _text(os.fspath(uri)), given, context))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the store. Doing so again does nothing; any other call then fails with METAXY_INVALID_STATE."""
        _call("store_close", self)

    def define(self, *features):
        """Defines features, given as dictionaries."""
        _call("store_define", self, json.dumps(features).encode())

    def write(self, feature, rows, *, context=None, **options):
        """Writes rows, all or none: a table, a reader, or whatever else can be read as an Arrow stream."""
        context, name, given = context or Context(), _text(feature), _options(options)
        with _new_stream() as stream:
            context._run(_call, "store_write", self, name, _export(rows, stream), given, context)

    def read(self, feature, columns=None, filters=(), *, context=None, **settings):
        """The current Rows. `settings` are those of a read request: limit=10, deleted=1."""
        return _rows(context, "store_read", self, _text(feature), _request(columns, filters, settings))

    def delete(self, feature, filters=(), *, context=None, settings={}, **options):
        """Hides the samples that a read with these filters would give, and says how many."""
        context, deleted = context or Context(), c_uint64()
        request = _request(None, filters, settings)
        context._run(_call, "store_delete", self, _text(feature), request, _options(options), context, byref(deleted))
        return deleted.value

    def resolve(self, feature, samples=None, filters=(), *, shard=(0, 1), context=None):
        """The Increment of a feature, or the share `shard` of it: (2, 8) is the third of eight.

        `samples` are rows for a feature that depends on no other.
        """
        context, request = context or Context(), _Handle("increment_request", partial(_call, "increment_request_new"))
        for text in _texts(filters):
            _call("increment_request_add_filter", request, None, text)
        _call("increment_request_set_shard", request, *shard)
        name = _text(feature)

        def resolve(increment):
            with _new_stream() as stream:
                given = None if samples is None else _export(samples, stream)
                context._run(_call, "store_resolve_update", self, name, request, given, context, increment)

        return Increment("increment", resolve)
