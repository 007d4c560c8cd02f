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

from rows import captions, clips, frames, peak_mb, report, sums

FEATURE, CAPTIONS, FRAMES = "r/a", "r/c", "r/e"
DERIVED, JOINED, GROUPED = "r/b", "r/d", "r/f"
STORAGE = json.loads(os.environ.get("METAXY_BENCH_STORAGE", "{}"))


def define() -> None:
    mx.MetaxyConfig.set(mx.MetaxyConfig(project="bench"))

    def field(key: str, **deps: str) -> mx.FieldSpec:
        """A field of those of the features with this last part of their keys."""
        of = [mx.FieldDep(feature=f"r/{feature}", fields=[name]) for feature, name in deps.items()]
        return mx.FieldSpec(key=key, code_version="1", **({"deps": of} if of else {}))

    def feature(key: str, *fields: mx.FieldSpec, of: list[mx.FeatureDep] = [], by: str = "id") -> mx.FeatureSpec:
        return mx.FeatureSpec(key=key, id_columns=[by], fields=list(fields), **({"deps": of} if of else {}))

    clip, caption = mx.FeatureDep(feature=FEATURE), mx.FeatureDep(feature=CAPTIONS)
    by_clip = mx.FeatureDep(feature=FRAMES, lineage=mx.LineageRelationship.aggregation(on=["clip"]))
    graph = FeatureGraph()
    for one in (
        feature(FEATURE, field("audio"), field("frames")),
        feature(CAPTIONS, field("text")),
        feature(FRAMES, field("px")),
        feature(DERIVED, field("audio"), field("faces", a="frames"), of=[clip]),
        feature(JOINED, field("audio"), field("faces", a="frames", c="text"), of=[clip, caption]),
        feature(GROUPED, field("px"), of=[by_clip], by="clip"),
    ):
        path = f"bench.{one.key.table_name}"
        graph.add_feature_definition(FeatureDefinition.from_stored_data(one.model_dump_json(), {}, path, "bench"))
    FeatureGraph.set_active(graph)


def store_at(directory: str, **settings) -> LanceDBMetadataStore:
    reached = {"connect_kwargs": {"storage_options": STORAGE}} if STORAGE else {}
    return LanceDBMetadataStore(directory, **settings, **reached)


def write(directory: str, rows, feature: str = FEATURE) -> None:
    with store_at(directory).open("w") as store:
        store.write(feature, rows)


def read(directory: str, **request):
    with store_at(directory) as store:
        return store.read(FEATURE, **request).collect()


def read_chain(directory: str):
    """The store `dev` falls back to `stag`, and that to `root`, which alone has the table."""
    prod = store_at(os.path.join(directory, "root"))
    stag = store_at(os.path.join(directory, "stag"), fallback_stores=[prod])
    with store_at(os.path.join(directory, "dev"), fallback_stores=[stag]) as store:
        return store.read(FEATURE).collect()


def resolved_by(op: str) -> str:
    """The feature that an operation resolves."""
    return JOINED if op.startswith("resolve_joined") else GROUPED if op == "resolve_grouped" else DERIVED


def resolve(directory: str, feature: str) -> list:
    """The parts of an increment."""
    with store_at(directory) as store:
        increment = store.resolve_update(feature)
        return [increment.new, increment.stale, increment.orphaned]


def compute(directory: str, feature: str) -> None:
    """Writes what is new."""
    with store_at(directory).open("w") as store:
        store.write(feature, store.resolve_update(feature).new)


def small_writes(rows: int, directory: str) -> None:
    with store_at(directory).open("w") as store:
        for i in range(rows):
            store.write(FEATURE, clips(i, i + 1))


def prepare(rows: int, directory: str) -> None:
    """`root`: every row once. In a directory only also `hist`: ten times a hundredth of them again, each with another version;
    `down`: what is computed from them, too; `stale`: the same, and a hundredth of what it was computed from has changed;
    `mixed`: the same, and some of it is more, and some is deleted; `joined`: `root` and a caption for each of its rows;
    `joined_down`: what is computed from both, too; `grouped`: rows of which ten belong together."""
    names = ("root", "hist", "down", "stale", "mixed", "joined", "joined_down", "grouped")
    root, hist, down, stale, mixed, joined, joined_down, grouped = (os.path.join(directory, name) for name in names)
    write(root, clips(0, rows))
    if STORAGE:
        return
    shutil.copytree(root, hist)
    for k in range(10):
        write(hist, clips(k * rows // 100, (k + 1) * rows // 100, tag=f"h{k}"))
    shutil.copytree(root, down)
    compute(down, DERIVED)
    shutil.copytree(down, stale)
    write(stale, clips(0, max(1, rows // 100), tag="new"))
    shutil.copytree(stale, mixed)
    with store_at(mixed).open("w") as store:
        store.delete(FEATURE, filters=nw.col("id") >= f"s{rows - max(1, rows // 200):09d}")
    write(mixed, clips(rows, rows + max(1, rows // 50)))
    shutil.copytree(root, joined)
    write(joined, captions(rows), CAPTIONS)
    shutil.copytree(joined, joined_down)
    compute(joined_down, JOINED)
    write(grouped, frames(rows), FRAMES)


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
    given = {"write": lambda: clips(0, rows), "append1k": lambda: clips(0, 1000, tag="ap")}
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
        parts = resolve(directory, resolved_by(op))
    else:
        result = read(directory, **requests[op])
    seconds, peak = time.perf_counter() - started, peak_mb()

    if parts:
        counts = [len(part) for part in parts]
        check = {"sums": [sums(part.to_native()) for part in parts]} if "check" in sys.argv[4:] else {}
        return report(op, rows, seconds, sum(counts), before, peak, parts=counts, **check)
    if result is not None:
        check = {"sums": sums(result.to_native())} if "check" in sys.argv[4:] else {}
        return report(op, rows, seconds, len(result), before, peak, **check)
    report(op, rows, seconds, rows if incoming is None else len(incoming), before, peak)


main()
