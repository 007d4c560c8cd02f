"""The hash kernel of Python Metaxy alone, on one core: polars-hash on the strings of benches/hash.rs.

    bench_hash.py ROWS     prints {"xxhash32": rows per second, ..., "check": {"xxhash32": [first, last], ...}}

As Metaxy does, hashes are made text and cut to 8 characters.
"""
import json
import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "1"

import polars as pl
import polars_hash  # noqa: F401  adds the namespaces

ROUNDS = 7


def main() -> None:
    rows = int(sys.argv[1])
    strings = pl.DataFrame({"i": pl.int_range(0, rows, eager=True)}).select(s=pl.format("audio|1|r/a.audio|a{}", pl.col("i")))
    column = pl.col("s")
    hashes = {
        "xxhash64": column.nchash.xxhash64(),
        "xxhash32": column.nchash.xxhash32(),
        "xxh3_64": column.nchash.xxh3_64(),
        "wyhash": column.nchash.wyhash(),
        "sha256": column.chash.sha2_256(),
        "md5": column.nchash.md5(),
    }
    speeds: dict = {}
    check = {}
    for name, hashed in hashes.items():
        text = hashed.cast(pl.String).str.slice(0, 8)
        seconds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            result = strings.select(text)
            seconds.append(time.perf_counter() - started)
        speeds[name] = rows / min(seconds)
        check[name] = [result["s"][0], result["s"][-1]]
    print(json.dumps(speeds | {"check": check}))


main()
