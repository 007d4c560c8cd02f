"""The floor under one operation: raw Lance doing the reading or writing of it and nothing else.

    bench_lance.py OP ROWS DIRECTORY [SOURCE]

No deduplication, no versions. A write writes the fifteen columns that Metaxy stores, taken from the
table in SOURCE beforehand; fallback3 reads the last table of the chain; read_cols scans what a read of ids must look at: ids and times;
resolving scans what must be compared, ids and versions, or all rows if all are new, of each table that takes part.
DIRECTORY and SOURCE may be URIs; METAXY_BENCH_STORAGE then holds their storage options as JSON.
"""
import json
import os
import sys
import time

import lance
import pyarrow as pa

from rows import peak_mb, report

TABLE, CAPTIONS, FRAMES, DERIVED, JOINED = (f"r__{name}.lance" for name in "acebd")
TIMES = ["metaxy_updated_at", "metaxy_deleted_at", "metaxy_feature_version"]
STORAGE = json.loads(os.environ.get("METAXY_BENCH_STORAGE", "null"))


def scan(uri: str, **what) -> int:
    return sum(len(batch) for batch in lance.dataset(uri, storage_options=STORAGE).scanner(**what).to_batches())


def main() -> None:
    op, rows, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    uri = os.path.join(directory, "root" if op == "fallback3" else "", TABLE)
    every: dict = {}
    upstream = {"columns": ["id", "metaxy_data_version_by_field", *TIMES]}
    stored = {"columns": ["id", "metaxy_provenance", *TIMES]}
    resolves = {
        "resolve_new": {TABLE: every},
        "resolve_noop": {TABLE: upstream, DERIVED: stored},
        "resolve_stale": {TABLE: upstream, DERIVED: stored},
        "resolve_joined": {TABLE: every, CAPTIONS: every},
        "resolve_joined_noop": {TABLE: upstream, CAPTIONS: upstream, JOINED: stored},
        "resolve_grouped": {FRAMES: every},
    }
    scans = {
        "read": {},
        "history_read": {},
        "fallback3": {},
        "read_filter": {"filter": "size < 10000"},
        "read_point": {"filter": f"id = 's{rows // 2:09d}'"},
        "read_cols": {"columns": ["id", "metaxy_updated_at", "metaxy_deleted_at"]},
    }
    incoming = None
    if op in ("write", "append1k"):
        source = lance.dataset(os.path.join(sys.argv[4], TABLE), storage_options=STORAGE)
        incoming: pa.Table = source.to_table(limit=1000 if op == "append1k" else None)

    before, started = peak_mb(), time.perf_counter()
    if incoming is not None:
        mode = "append" if op == "append1k" else "create"
        lance.write_dataset(incoming, uri, mode=mode, storage_options=STORAGE)
        count = len(incoming)
    elif op in resolves:
        count = sum(scan(os.path.join(directory, table), **what) for table, what in resolves[op].items())
    else:
        count = scan(uri, **scans[op])
    seconds = time.perf_counter() - started
    report(op, rows, seconds, count, before, peak_mb())


main()
