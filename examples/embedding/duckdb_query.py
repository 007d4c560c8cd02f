"""SQL over features: DuckDB reads the Arrow stream of a read, batch by batch, and its answer is written back as a stream.

    python duckdb_query.py [DIRECTORY]
"""

import sys

import duckdb
import metaxy_native
import pyarrow as pa

# A feature of the clips, and one that is computed from it.
CLIP = {"key": "clip", "id_columns": ["id"], "fields": [{"key": "frames"}]}
LENGTH = {"key": "length", "id_columns": ["codec"], "fields": [{"key": "default"}]}

CLIPS = pa.table({
    "id": [f"clip-{i}" for i in range(1000)],
    "codec": ["av1" if i % 3 else "h264" for i in range(1000)],
    "frames": range(1000),
    "metaxy_provenance_by_field": [{"frames": f"f-{i}"} for i in range(1000)],
})


def main(directory="./metadata"):
    with metaxy_native.Store(directory) as store:
        store.define(CLIP, LENGTH)
        store.write("clip", CLIPS)

        # Columns and conditions that are given here are not even read. DuckDB finds `clips` by its name, and pulls it.
        clips = store.read("clip", columns=["codec", "frames"], filters=["frames >= 10"])
        answer = duckdb.sql("""
            SELECT codec, count(*) AS clips, sum(frames)::BIGINT AS frames,
                   {'default': codec || '-' || sum(frames)} AS metaxy_provenance_by_field
            FROM clips GROUP BY codec
        """)
        store.write("length", answer)

        for row in store.read("length", ["codec", "clips", "frames"]).read_all().sort_by("codec").to_pylist():
            print(f"{row['codec']:<4}  {row['clips']:>3} clips  {row['frames']:>6} frames")


if __name__ == "__main__":
    main(*sys.argv[1:])
