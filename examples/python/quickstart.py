"""The main job: open a store, define a feature, write rows, read the current ones back.

    python quickstart.py [DIRECTORY]      the directory is made when absent; ./metadata by default
"""

import sys

import metaxy_native
import pyarrow as pa

# A feature is a table: what identifies its rows, and the fields that rows carry versions of.
VIDEO = {
    "feature_spec": {
        "key": "example/video",
        "id_columns": ["id"],
        "fields": [{"key": "audio", "code_version": "1"}, {"key": "frames", "code_version": "1"}],
    },
    "project": "quickstart",
}

VIDEOS = pa.table({
    "id": ["credits", "intro", "interview"],
    "size": [48000, 1250000, 98304000],
    # Where each row came from, per field: any text that changes when the content does.
    "metaxy_provenance_by_field": [
        {"audio": "a-7f", "frames": "f-11"},
        {"audio": "a-02", "frames": "f-3e"},
        {"audio": "a-c9", "frames": "f-d0"},
    ],
})


def draw(text):
    """Writes to the terminal, if there is one: a bar is nothing for a file."""
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)


def bar(total):
    """Shows how far a call has come; the library may call it from any thread."""

    def show(rows, _):
        draw(f"\r[{'#' * (30 * rows // total):<30}] {rows} of {total} rows")

    return metaxy_native.Context(progress=show)


def main(directory="./metadata"):
    with metaxy_native.Store(directory) as store:
        store.define(VIDEO)
        store.write("example/video", VIDEOS, context=bar(len(VIDEOS)))
        draw("\n")

        # Rows are read while they are pulled.
        columns = ["id", "size", "metaxy_provenance"]
        reader = store.read("example/video", columns, filters=["size < 10000000"])
        for row in reader.read_all().sort_by("id").to_pylist():
            print(f"{row['id']:<10} {row['size']:>8}  {row['metaxy_provenance']}")

        try:
            store.read("example/audio")
        except metaxy_native.MetaxyError as error:
            print(f"{error.name}: {error.details['feature']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
