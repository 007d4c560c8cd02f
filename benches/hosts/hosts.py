"""As hosts.c, with examples/python/metaxy_native.py."""
import json
import sys
import time

import metaxy_native
import pyarrow.compute as pc

CALLS = 1_000_000


def read(store) -> tuple[int, int]:
    """The number of rows, and the sum of their sizes."""
    rows = total = 0
    for batch in store.read("r/a"):
        total += pc.sum(batch.column("size")).as_py()
        rows += batch.num_rows
    return rows, total


def main() -> None:
    directory, definition, reads = sys.argv[1:]
    abi_version = metaxy_native._library.metaxy_abi_version
    started = time.perf_counter()
    for _ in range(CALLS):
        abi_version()
    call_ns = (time.perf_counter() - started) / CALLS * 1e9

    seconds = []
    with metaxy_native.Store(directory) as store:
        store.define(json.loads(definition))
        for _ in range(int(reads)):
            started = time.perf_counter()
            rows, total = read(store)
            seconds.append(time.perf_counter() - started)
    print(json.dumps({"call_ns": call_ns, "reads_s": seconds, "rows": rows, "sum": total}))


main()
