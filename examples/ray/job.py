"""More than one machine: Ray runs tasks, each of which loads the library, takes one share of what there is to do, and does it.

    python job.py [STORE]      what all machines reach, such as s3://bucket/metadata; ./metadata by default

Which share a sample is in is the same on every machine, so that the tasks need not know of one another.
"""

import sys

import metaxy_native
import pyarrow as pa
import pyarrow.compute as pc
import ray

SHARES = 4

VIDEO = {"key": "video", "id_columns": ["id"], "fields": [{"key": "frames"}]}
THUMBNAIL = {
    "key": "thumbnail",
    "id_columns": ["id"],
    "deps": [{"feature": "video", "select": ["path"]}],
    "fields": [{"key": "default"}],
}


def videos(numbers, version):
    return pa.table({
        "id": [f"video-{i:03}" for i in numbers],
        "path": [f"/v/{i:03}.mp4" for i in numbers],
        "metaxy_provenance_by_field": [{"frames": f"{version}-{i}"} for i in numbers],
    })


def open_store(uri):
    store = metaxy_native.Store(uri)
    store.define(VIDEO, THUMBNAIL)
    return store


def with_thumbnails(todo):
    """The rows of an increment with the result of the work in a further column; a batch at a time."""
    schema = todo.schema.append(pa.field("thumbnail", pa.large_string()))

    def batches():
        for batch in todo:
            thumbnails = pc.replace_substring(batch["path"], ".mp4", ".jpg")
            yield pa.RecordBatch.from_arrays([*batch.columns, thumbnails], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


@ray.remote
def work(uri, share):
    """One task: it may run on any machine, and again if its machine is lost."""
    with open_store(uri) as store:
        increment = store.resolve("thumbnail", shard=(share, SHARES))
        counts = increment.counts()
        for todo in (increment.new(), increment.stale()):
            store.write("thumbnail", with_thumbnails(todo))
        return counts


def draw(text):
    """Writes to the terminal, if there is one: a bar is nothing for a file."""
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)


def run(uri):
    """Gives the shares to the cluster, shows how far it is, and says what was done and what is left."""
    tasks, done = [work.remote(uri, share) for share in range(SHARES)], []
    while tasks:
        ready, tasks = ray.wait(tasks)
        done += ray.get(ready)
        draw(f"\r[{'#' * len(done):<{SHARES}}] {len(done)} of {SHARES} shares")
    draw("\n")
    new, stale, _ = map(sum, zip(*done))
    print(f"done: {new} new, {stale} stale, in {sum(any(counts) for counts in done)} shares")
    with open_store(uri) as store:
        print("left: {} new, {} stale, {} orphaned".format(*store.resolve("thumbnail").counts()))


def main(uri="./metadata"):
    with open_store(uri) as store:
        store.write("video", videos(range(200), "first"))
        run(uri)
        store.write("video", videos(range(150, 250), "second"))
        run(uri)
        rows = store.read("thumbnail", ["id", "thumbnail"], "id >= 'video-248'").read_all().sort_by("id")
        for row in rows.to_pylist():
            print(row["id"], row["thumbnail"])


if __name__ == "__main__":
    # A cluster of this machine alone; ray.init(address="auto") is one that runs already.
    with ray.init(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, logging_level="error"):
        main(*sys.argv[1:])
