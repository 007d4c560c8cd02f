"""One operation of the benchmark with Python Metaxy, in a process of its own.

    bench_metaxy.py OP ROWS DIRECTORY [check]     as bench.c: the same operations on the same rows
    bench_metaxy.py prepare ROWS DIRECTORY        the tables that the operations start from

`seconds` leaves out the start of Python and its imports, as it leaves out the start of the C
program; the peak memory holds both. DIRECTORY may be a URI; METAXY_BENCH_STORAGE then holds its storage options as
JSON.
"""
import json
import os
import shutil
import sys
import time
import warnings

warnings.simplefilter("ignore")

import lancedb  # noqa: F401  Metaxy imports it when a store is opened; that must not be timed
import metaxy as mx
import narwhals as nw
from metaxy.ext.lancedb import LanceDBMetadataStore
from metaxy.models.feature import FeatureGraph
from metaxy.models.feature_definition import FeatureDefinition

from rows import frame, peak_mb, report, sums

FEATURE, DERIVED = "r/a", "r/b"
STORAGE = json.loads(os.environ.get("METAXY_BENCH_STORAGE", "{}"))


def define() -> None:
    mx.MetaxyConfig.set(mx.MetaxyConfig(project="bench"))
    spec = mx.FeatureSpec(
        key=FEATURE,
        id_columns=["id"],
        fields=[mx.FieldSpec(key="audio", code_version="1"), mx.FieldSpec(key="frames", code_version="1")],
    )
    derived = mx.FeatureSpec(
        key=DERIVED,
        id_columns=["id"],
        deps=[mx.FeatureDep(feature=FEATURE)],
        fields=[
            mx.FieldSpec(key="audio", code_version="1"),
            mx.FieldSpec(key="faces", code_version="1", deps=[mx.FieldDep(feature=FEATURE, fields=["frames"])]),
        ],
    )
    graph = FeatureGraph()
    for one in (spec, derived):
        path = f"bench.{one.key.table_name}"
        graph.add_feature_definition(FeatureDefinition.from_stored_data(one.model_dump_json(), {}, path, "bench"))
    FeatureGraph.set_active(graph)


def store_at(directory: str, **settings) -> LanceDBMetadataStore:
    reached = {"connect_kwargs": {"storage_options": STORAGE}} if STORAGE else {}
    return LanceDBMetadataStore(directory, **settings, **reached)


def write(directory: str, rows) -> None:
    with store_at(directory).open("w") as store:
        store.write(FEATURE, rows)


def read(directory: str, **request):
    with store_at(directory) as store:
        return store.read(FEATURE, **request).collect()


def read_chain(directory: str):
    """The store `dev` falls back to `stag`, and that to `root`, which alone has the table."""
    prod = store_at(os.path.join(directory, "root"))
    stag = store_at(os.path.join(directory, "stag"), fallback_stores=[prod])
    with store_at(os.path.join(directory, "dev"), fallback_stores=[stag]) as store:
        return store.read(FEATURE).collect()


def resolve(directory: str) -> list:
    """The parts of an increment."""
    with store_at(directory) as store:
        increment = store.resolve_update(DERIVED)
        return [increment.new, increment.stale, increment.orphaned]


def small_writes(rows: int, directory: str) -> None:
    with store_at(directory).open("w") as store:
        for i in range(rows):
            store.write(FEATURE, frame(i, i + 1))


def prepare(rows: int, directory: str) -> None:
    """`root`: every row once. In a directory only also `hist`: ten times a hundredth of them again, each with another version;
    `down`: what is computed from them, too; `stale`: the same, and a hundredth of what it was computed from has changed."""
    root, hist, down, stale = (os.path.join(directory, name) for name in ("root", "hist", "down", "stale"))
    write(root, frame(0, rows))
    if STORAGE:
        return
    shutil.copytree(root, hist)
    for k in range(10):
        write(hist, frame(k * rows // 100, (k + 1) * rows // 100, tag=f"h{k}"))
    shutil.copytree(root, down)
    with store_at(down).open("w") as store:
        store.write(DERIVED, store.resolve_update(DERIVED).new)
    shutil.copytree(down, stale)
    write(stale, frame(0, max(1, rows // 100), tag="new"))


def main() -> None:
    op, rows, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    define()
    if op == "prepare":
        return prepare(rows, directory)
    requests = {
        "read": {},
        "history_read": {},
        "read_filter": {"filters": [nw.col("size") < 10_000]},
        "read_point": {"filters": [nw.col("id") == f"s{rows // 2:09d}"]},
        "read_cols": {"columns": ["id"]},
    }
    given = {"write": lambda: frame(0, rows), "append1k": lambda: frame(0, 1000, tag="ap")}
    incoming = given[op]() if op in given else None

    parts, result = [], None
    before, started = peak_mb(), time.perf_counter()
    if incoming is not None:
        result = write(directory, incoming)
    elif op == "small_writes":
        result = small_writes(rows, directory)
    elif op == "fallback3":
        result = read_chain(directory)
    elif op.startswith("resolve"):
        parts = resolve(directory)
    else:
        result = read(directory, **requests[op])
    seconds, peak = time.perf_counter() - started, peak_mb()

    if parts:
        of_parts = [sums(part.to_native()) if len(part) else [0] * 5 for part in parts] if "check" in sys.argv[4:] else []
        check = {"sums": [sum(each) % (1 << 64) for each in zip(*of_parts)]} if of_parts else {}
        return report(op, rows, seconds, sum(len(part) for part in parts), before, peak, **check)
    if result is not None:
        check = {"sums": sums(result.to_native())} if "check" in sys.argv[4:] else {}
        return report(op, rows, seconds, len(result), before, peak, **check)
    report(op, rows, seconds, rows if incoming is None else len(incoming), before, peak)


main()
