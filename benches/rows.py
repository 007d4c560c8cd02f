"""What the Python sides of the benchmark share: the rows, and how a run is reported.

The same rows are made in C by benches/bench.c.
"""
import json
import resource

import polars as pl

WRAP = 1 << 64
GROUP = 10


def clips(start: int, end: int, tag: str = "") -> pl.DataFrame:
    i = pl.col("i")
    padded = i.cast(pl.String).str.zfill(9)
    return pl.DataFrame({"i": pl.int_range(start, end, eager=True)}).select(
        id=pl.format("s{}", padded),
        path=pl.format("s3://bucket/video/{}/clip.mp4", padded),
        size=i * 7919 % 1_000_003,
        height=(i % 1080).cast(pl.Float64),
        metaxy_provenance_by_field=pl.struct(
            audio=pl.format(tag + "a{}", i),
            frames=pl.format(tag + "f{}", i),
        ),
    )


def captions(rows: int) -> pl.DataFrame:
    """One for each clip."""
    i = pl.col("i")
    padded = i.cast(pl.String).str.zfill(9)
    return pl.DataFrame({"i": pl.int_range(0, rows, eager=True)}).select(
        id=pl.format("s{}", padded),
        caption=pl.format("what is seen in clip {}", padded),
        score=(i % 1080).cast(pl.Float64),
        metaxy_provenance_by_field=pl.struct(text=pl.format("t{}", i)),
    )


def frames(rows: int) -> pl.DataFrame:
    """Ten to a clip; those of a clip are far from each other."""
    i = pl.col("i")
    return pl.DataFrame({"i": pl.int_range(0, rows, eager=True)}).select(
        id=pl.format("s{}", i.cast(pl.String).str.zfill(9)),
        clip=pl.format("c{}", (i % max(1, rows // GROUP)).cast(pl.String).str.zfill(9)),
        size=i * 7919 % 1_000_003,
        metaxy_provenance_by_field=pl.struct(px=pl.format("p{}", i)),
    )


def sums(rows: pl.DataFrame) -> list[int]:
    """Sums that do not depend on the order of the rows, as bench.c makes them."""
    if rows.is_empty():
        return [0] * 5
    ids = rows["id"].str.slice(1).cast(pl.UInt64)
    size = int(rows["size"].sum()) if "size" in rows.columns else 0
    version_bytes = 0
    if "metaxy_provenance_by_field" in rows.columns:
        members = rows["metaxy_provenance_by_field"].struct.unnest()
        version_bytes = sum(int(members[name].str.len_bytes().sum()) for name in members.columns)
    versions = 0
    if "metaxy_provenance" in rows.columns:
        versions = int(rows["metaxy_provenance"].cast(pl.UInt64).sum())
    return [int(ids.sum()) % WRAP, int((ids * ids).sum()) % WRAP, size, version_bytes, versions]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(op: str, rows: int, seconds: float, result_rows: int, before: float, peak: float, **more) -> None:
    line = {"op": op, "rows": rows, "seconds": seconds, "result_rows": result_rows}
    print(json.dumps(line | {"rss_before_mb": round(before, 1), "rss_peak_mb": round(peak, 1)} | more))
