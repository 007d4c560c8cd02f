"""One case of the interoperability tests: Python Metaxy and libmetaxy over the same directory.

    interop.py CASE LIBRARY DIRECTORY
    interop.py bucket LIBRARY '{"uri": ..., "storage_options": {...}}'

A case is a function below; it fails by raising. tests/it/interop.rs runs them all.
"""
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import lance
import metaxy as mx
import narwhals as nw
import polars as pl
import pyarrow as pa
from metaxy import HashAlgorithm
from metaxy.ext.lancedb import LanceDBMetadataStore
from metaxy.metadata_store.system import SystemTableStorage
from metaxy.models.feature import FeatureGraph

import features
from features import CROP, HYPHEN, JOINED, PAIR, VIDEO
from metaxy_c import Bucket, Library, MetaxyError

IDS = ["", "a", "žluťoučký kůň 🐎", "日本/東京", "it's | a \"pipe\"", "trailing space ", "z" * 2000]
__metaxy_project__ = features.PROJECT  # of the feature classes of this module
PYTHON_HASHING = {"hash__algorithm": "xxhash32", "hash__truncation_length": 8}
NOON = datetime.datetime(2026, 2, 28, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)


# ---- rows ----


def by_field(ids: list, tag: str, *fields: str) -> pl.Series:
    return pl.Series([{field: f"{tag}-{field}-{i}" for field in fields} for i in range(len(ids))])


def videos(ids: list[str], tag: str) -> pl.DataFrame:
    """One column of every kind that users have; the second row has nulls wherever it can."""
    count = len(ids)
    holes = [i % 3 != 1 for i in range(count)]

    def column(values: list, dtype) -> pl.Series:
        return pl.Series([value if there else None for value, there in zip(values, holes)], dtype=dtype)

    return pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.String),
            "path": column([f"s3://b/{tag}/{i}" if i else "" for i in range(count)], pl.String),
            "size": column([i * 10**12 - 1 for i in range(count)], pl.Int64),
            "score": column([i / 3 for i in range(count)], pl.Float64),
            "ok": column([i % 2 == 0 for i in range(count)], pl.Boolean),
            "tags": column([["x", None, f"é{i}"][: i % 4] for i in range(count)], pl.List(pl.String)),
            "shape": column([[i, i * 2] for i in range(count)], pl.List(pl.Int64)),
            "taken": column([NOON + datetime.timedelta(seconds=i) for i in range(count)], pl.Datetime("us", "UTC")),
            "day": column([NOON.date()] * count, pl.Date),
            "camera": column([{"make": "m", "iso": i} for i in range(count)], pl.Struct({"make": pl.String, "iso": pl.Int32})),
            "unknown": pl.Series([None] * count, dtype=pl.Null),
            "metaxy_provenance_by_field": by_field(ids, tag, "audio", "frames"),
        }
    )


def pairs(cameras: list[str], frames: list[int], tag: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "frame": pl.Series(frames, dtype=pl.Int64),
            "camera": cameras,
            "metaxy_provenance_by_field": by_field(frames, tag, "default"),
        }
    )


def tracks(ids: list[str], tag: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": ids,
            "codec": [f"{tag}-opus"] * len(ids),
            "metaxy_provenance_by_field": by_field(ids, tag, "audio_french", "audio_english"),
        }
    )


# ---- the Python side ----


def python_store(place: Path | Bucket, algorithm: str = "xxhash32") -> LanceDBMetadataStore:
    more = {"connect_kwargs": {"storage_options": place.storage_options}} if isinstance(place, Bucket) else {}
    return LanceDBMetadataStore(str(place), hash_algorithm=HashAlgorithm(algorithm), **more)


def python_write(directory: Path, feature: str, rows, algorithm: str = "xxhash32", **more) -> None:
    with python_store(directory, algorithm).open("w") as store:
        store.write(feature, rows, **more)


def python_read(directory: Path, feature: str, algorithm: str = "xxhash32", **request) -> pa.Table:
    with python_store(directory, algorithm) as store:
        rows = arrow(store.read(feature, **request).collect().to_native())
    # Metaxy stores what is left over from joining system columns; it is no data of anybody's.
    return rows.select([name for name in rows.column_names if not name.endswith("_right")])


def arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


# ---- comparing ----


def check_rows(what: str, ours: pa.Table, theirs: pa.Table, without: tuple[str, ...] = ()) -> None:
    """Fails unless both hold the same columns and the same rows, in whatever order."""

    def prepared(table: pa.Table) -> list[str]:
        rows = [{key: value for key, value in row.items() if key not in without} for row in table.to_pylist()]
        return sorted(json.dumps(row, sort_keys=True, default=str, ensure_ascii=False) for row in rows)

    columns = [sorted(set(table.column_names) - set(without)) for table in (ours, theirs)]
    assert columns[0] == columns[1], f"{what}: columns differ\nours   {columns[0]}\nmetaxy {columns[1]}"
    left, right = prepared(ours), prepared(theirs)
    only_left = [row for row in left if row not in right]
    only_right = [row for row in right if row not in left]
    assert left == right, "\n".join(
        [f"{what}: {len(left)} rows, not {len(right)}"]
        + [f"only ours   {row}" for row in only_left[:5]]
        + [f"only metaxy {row}" for row in only_right[:5]]
    )


def check_types(what: str, ours: Path, theirs: Path) -> None:
    """Fails unless the tables of two directories have columns of the same names and types."""
    for table in sorted(path.name for path in theirs.iterdir()):
        types = [{field.name: field.type for field in lance.dataset(str(base / table)).schema} for base in (ours, theirs)]
        for name in sorted(types[0].keys() | types[1].keys()):
            left, right = types[0].get(name), types[1].get(name)
            assert left == right, f"{what}: column {name} of {table} is {left}, not {right}"


# Reads that both sides can be asked for: the request of Python, then ours.
READS = [
    ({}, {}),
    ({"include_soft_deleted": True}, {"deleted": 1}),
    ({"with_sample_history": True}, {"sample_history": 1}),
    ({"with_sample_history": True, "include_soft_deleted": True}, {"sample_history": 1, "deleted": 1}),
    ({"with_feature_history": True}, {"feature_history": 1}),
    (
        {"with_feature_history": True, "with_sample_history": True, "include_soft_deleted": True},
        {"feature_history": 1, "sample_history": 1, "deleted": 1},
    ),
]
VIDEO_READS = [
    ({"filters": [nw.col("size") > 5]}, {"filters": ["size > 5"]}),
    ({"filters": [~nw.col("ok")]}, {"filters": ["NOT ok"]}),
    ({"filters": [nw.col("id") == IDS[2]]}, {"filters": [f"id = '{IDS[2]}'"]}),
    ({"filters": [nw.col("id") == IDS[4]]}, {"filters": ["id = 'it''s | a \"pipe\"'"]}),
    ({"filters": [nw.col("id") == ""]}, {"filters": ["id = ''"]}),
    ({"filters": [nw.col("path").is_null()]}, {"filters": ["path IS NULL"]}),
    ({"filters": [nw.col("score") < 1, nw.col("size") >= 0]}, {"filters": ["score < 1", "size >= 0"]}),
    ({"columns": ["size", "id", "metaxy_provenance"]},) * 2,
    (
        {"columns": ["id", "tags"], "filters": [nw.col("ok")], "include_soft_deleted": True},
        {"columns": ["id", "tags"], "filters": ["ok"], "deleted": 1},
    ),
]


def check_reads(library: Library, directory: Path, code_version: str, names: list[str]) -> None:
    """Every read of every feature gives the same through both, in the graph of one code version."""
    features.activate(code_version)
    with library.open(directory, mode="read") as store:
        store.define(*features.definitions(code_version))
        for name in names:
            for theirs, ours in READS + (VIDEO_READS if name == VIDEO else []):
                what = f"{name} at code version {code_version}, {ours}"
                rows = store.read(name, **ours)
                check_rows(what, rows, python_read(directory, name, **theirs))
                if "columns" in ours:
                    assert rows.column_names == ours["columns"], f"{what}: {rows.column_names}"


# ---- the cases ----


def python_writes(library: Library, directory: Path) -> None:
    """Python writes a history of two code versions, with soft deletes; we read what it reads."""
    python_history(directory)
    first_version = python_read(directory, VIDEO)["metaxy_feature_version"][0].as_py()
    check_reads(library, directory, "1", [VIDEO, PAIR, CROP, JOINED, HYPHEN])

    python_second_version(directory)
    check_reads(library, directory, "2", [VIDEO, PAIR, CROP, JOINED, HYPHEN])
    check_reads(library, directory, "1", [VIDEO, CROP])

    with library.open(directory) as store:
        store.define(*features.definitions("2"))
        old = store.read(VIDEO, feature_version=first_version)
    features.activate("2")
    same = python_read(directory, VIDEO, feature_version=first_version, with_feature_history=True)
    check_rows("an old version by its name", old, same)
    assert old.num_rows, "the old version has rows"


def python_history(directory: Path) -> None:
    features.activate("1")
    with python_store(directory).open("w") as store:
        store.write(VIDEO, videos(IDS, "one"))
        store.write(VIDEO, videos(IDS[:3], "two"), materialization_id="run-2")
        store.delete(VIDEO, [nw.col("id").is_in([IDS[1], IDS[4]])])
        store.write(VIDEO, videos(IDS[4:5], "back"))
        store.write(PAIR, pairs(["l", "r", "l", "", "ř"], [0, 0, 1, -1, 2**60], "one"))
        store.write(PAIR, pairs(["r", "l"], [0, 1], "two"))
        store.delete(PAIR, [nw.col("frame") == -1])
        store.write(HYPHEN, tracks(IDS[2:], "one"))
        for derived in (CROP, JOINED):
            store.write(derived, store.resolve_update(derived).new)
        assert "metaxy_deleted_at_right" in store.read(JOINED).collect().columns, "nothing is left to hide"


def python_second_version(directory: Path) -> None:
    features.activate("2")
    with python_store(directory).open("w") as store:
        store.write(VIDEO, videos(IDS[1:5], "three"))
        store.write(CROP, store.resolve_update(CROP).new)
        store.delete(VIDEO, [nw.col("id") == IDS[3]])


def copied(library: Library, directory: Path) -> None:
    """What Python wrote is copied, in two turns; both read the same in the copy as Python does in the original."""
    original, copy = directory / "original", directory / "copy"
    whole = {"feature_history": 1, "sample_history": 1}
    names = [VIDEO, PAIR, CROP, JOINED, HYPHEN]
    for code_version, write in [("1", python_history), ("2", python_second_version)]:
        write(original)
        with library.open(original, mode="read") as theirs, library.open(copy) as ours:
            theirs.define(*features.definitions(code_version))
            first = theirs.copy_to(ours, **whole).to_pydict()
            again = theirs.copy_to(ours, **whole).to_pydict()
        assert sorted(first["feature"]) == sorted(names) and sum(first["rows_copied"]) > 0, first
        assert again["rows_present"] == first["rows_read"] and sum(again["rows_copied"]) == 0, again
        for graph in sorted({"1", code_version}):
            check_reads(library, copy, graph, names)
            for name in names:
                for request, _ in READS:
                    what = f"{name} at code version {graph}, {request}"
                    check_rows(what, python_read(copy, name, **request), python_read(original, name, **request))
    # Python goes on with the copy.
    python_write(copy, VIDEO, videos(IDS[:1], "four"))
    check_reads(library, copy, "2", [VIDEO])


TIMES = ("metaxy_created_at", "metaxy_updated_at")


def we_write(library: Library, directory: Path) -> None:
    """We write under several hashings; Python reads it, and finds the versions that it would have written."""
    hashings = [
        ({}, "xxhash64", 64),
        (PYTHON_HASHING, "xxhash32", 8),
        ({"hash__algorithm": "xxhash32"}, "xxhash32", 64),
        ({"hash__algorithm": "xxh3_64", "hash__truncation_length": 12}, "xxh3_64", 12),
        ({"hash__algorithm": "wyhash", "hash__truncation_length": 16}, "wyhash", 16),
        ({"hash__algorithm": "sha256"}, "sha256", 64),
        ({"hash__algorithm": "md5", "hash__truncation_length": 9}, "md5", 9),
    ]
    writes = [
        (VIDEO, videos(IDS, "one")),
        (VIDEO, videos(IDS[2:4], "two")),
        (PAIR, pairs(["l", "r", "ř"], [7, 7, -7], "one")),
        (HYPHEN, tracks(IDS, "one")),
        (CROP, videos(IDS[1:], "given").select("id", "size", "metaxy_provenance_by_field")),
    ]
    for options, algorithm, truncation in hashings:
        what = f"{algorithm} cut to {truncation}"
        ours, theirs = (directory / f"{who}-{algorithm}-{truncation}" for who in ("ours", "metaxy"))
        features.activate("1", truncation)
        with library.open(ours, **options) as store:
            store.define(*features.definitions())
            for feature, rows in writes:
                store.write(feature, arrow(rows), batch_rows=2)
                python_write(theirs, feature, rows, algorithm)
            for feature in (VIDEO, PAIR, HYPHEN, CROP):
                rows = python_read(ours, feature, algorithm)
                check_rows(f"{feature}, {what}, against Python's", rows, python_read(theirs, feature, algorithm), TIMES)
                check_rows(f"{feature}, {what}, both readers", store.read(feature), rows)
                assert rows.num_rows, f"{feature}, {what}: no rows"
        check_types(what, ours, theirs)


def turns(library: Library, directory: Path) -> None:
    """Both append to one table in turn, over the same ids; Python deletes some; both always agree."""
    features.activate("1")
    with library.open(directory, **PYTHON_HASHING) as store:
        store.define(*features.definitions())
        for turn in range(4):
            ids = [f"{letter}{turn % 2}" for letter in "abcde"] + IDS[turn:]
            store.write(VIDEO, arrow(videos(ids[turn:], f"ours{turn}")))
            check_rows(f"turn {turn}, after ours", store.read(VIDEO), python_read(directory, VIDEO))
            python_write(directory, VIDEO, videos(ids[: 2 + turn], f"metaxy{turn}"))
            check_rows(f"turn {turn}, after Python's", store.read(VIDEO), python_read(directory, VIDEO))
            with python_store(directory).open("w") as python:
                python.delete(VIDEO, [nw.col("id") == ids[-1]])
            check_rows(f"turn {turn}, after a delete", store.read(VIDEO), python_read(directory, VIDEO))
            # Undeletes it.
            store.write(VIDEO, arrow(videos(ids[-1:], f"back{turn}")))
            assert ids[-1] in store.read(VIDEO, columns=["id"])["id"].to_pylist()
        check_reads(library, directory, "1", [VIDEO])


def deletes(library: Library, directory: Path) -> None:
    """Each side deletes what either wrote, in the same way twice: both find the same left in both directories."""
    def filters(ids: list[str]) -> tuple:
        quoted = ", ".join("'" + i.replace("'", "''") + "'" for i in ids)
        return nw.col("id").is_in(ids), f"id IN ({quoted})"

    ours, theirs = directory / "ours", directory / "metaxy"
    features.activate("1")
    for where in (ours, theirs):
        python_write(where, VIDEO, videos(IDS, "one"))
        python_write(where, VIDEO, videos(IDS[:3], "two"))
        python_write(where, HYPHEN, tracks(IDS, "one"))
    with library.open(ours) as store, python_store(theirs).open("w") as python:
        store.define(*features.definitions())
        for ids in (IDS[1:2], IDS[2:5], IDS[:1]):
            theirs_filter, ours_filter = filters(ids)
            python.delete(VIDEO, theirs_filter)
            assert store.delete(VIDEO, ours_filter) == len(ids), ids
        for theirs_read, ours_read in READS:
            what, without = f"a soft delete, {ours_read}", (*TIMES, "metaxy_deleted_at")
            rows = python_read(ours, VIDEO, **theirs_read)
            check_rows(f"{what}, both readers", store.read(VIDEO, **ours_read), rows)
            check_rows(f"{what}, both writers", rows, python_read(theirs, VIDEO, **theirs_read), without)
        check_types("a soft delete", ours, theirs)
        python_write(ours, VIDEO, videos(IDS[3:4], "back"))
        assert sorted(store.read(VIDEO)["id"].to_pylist()) == sorted([IDS[3], *IDS[5:]])

        # Our tombstones are Python's to keep, and Python's ours to remove.
        with python_store(ours).open("w") as other:
            other.delete(VIDEO, filters(IDS[5:])[0])
        assert store.read(VIDEO)["id"].to_pylist() == IDS[3:4]
        removed = store.delete(VIDEO, filters(IDS[:6])[1], options={"delete.mode": "hard"})
        # One row and its tombstone each; three have a second row, and one of the others is back.
        assert removed == 2 * 6 + 3 + 1, removed
        check_rows("a hard delete", store.read(VIDEO, deleted=1), python_read(ours, VIDEO, include_soft_deleted=True))
        assert store.read(VIDEO, deleted=1)["id"].to_pylist() == IDS[6:]
        python_write(ours, VIDEO, videos(IDS, "again"))
        check_reads(library, ours, "1", [VIDEO])

        # Python stores rows without an id; nobody but a delete gets rid of them.
        for where in (ours, theirs):
            python_write(where, HYPHEN, tracks([None, "x"], "two"))
        assert store.delete(HYPHEN, "id IS NULL") == 1
        python.delete(HYPHEN, nw.col("id").is_null())
        check_rows("no id", store.read(HYPHEN), python_read(ours, HYPHEN))
        check_rows("no id", store.read(HYPHEN), python_read(theirs, HYPHEN), TIMES)

    features.activate("2")
    python_write(ours, VIDEO, videos(IDS[:2], "later"))
    with library.open(ours) as store:
        store.define(*features.definitions("2"))
        # Of Python's, an old version stays.
        assert store.delete(VIDEO, filters(IDS[:2])[1], feature_history=1) == 4
    check_reads(library, ours, "2", [VIDEO])
    check_reads(library, ours, "1", [VIDEO])
    features.activate("1")
    assert sorted(python_read(ours, VIDEO)["id"].to_pylist()) == sorted(IDS[2:])


def inferred(library: Library, directory: Path) -> None:
    """A directory that Python wrote needs no options: how it hashes is found out from its rows."""
    for algorithm, truncation in [("xxhash32", 8), ("xxhash64", 64), ("xxh3_64", 10), ("sha256", 16), ("md5", 8)]:
        what = f"{algorithm} cut to {truncation}"
        ours, theirs = (directory / f"{who}-{algorithm}-{truncation}" for who in ("ours", "metaxy"))
        features.activate("1", truncation)
        python_write(ours, VIDEO, videos(IDS, "one"), algorithm)
        shutil.copytree(ours, theirs)
        more = videos(["further", IDS[2]], "two")
        with library.open(ours) as store:
            store.define(*features.definitions())
            assert store.read(VIDEO).num_rows == len(IDS), f"{what}: reading before anything of ours is there"
            store.write(VIDEO, arrow(more))
            # A table of ours, made beside one of Python's, hashes as that one does.
            store.write(PAIR, arrow(pairs(["l"], [1], "one")))
        python_write(theirs, VIDEO, more, algorithm)
        python_write(theirs, PAIR, pairs(["l"], [1], "one"), algorithm)
        for feature in (VIDEO, PAIR):
            rows = python_read(ours, feature, algorithm)
            check_rows(f"{feature}, {what}", rows, python_read(theirs, feature, algorithm), TIMES)
        assert python_read(ours, VIDEO, algorithm).num_rows == len(IDS) + 1

    another = directory / "ours-xxhash32-8"
    before = lance.dataset(str(another / "i__video.lance")).version
    try:
        with library.open(another, hash__algorithm="md5") as store:
            store.define(*features.definitions())
            store.write(VIDEO, arrow(videos(["x"], "x")))
        raise AssertionError("md5 was accepted in a store of xxhash32")
    except MetaxyError as error:
        assert "md5" in str(error) and "xxhash32" in str(error), error
    assert lance.dataset(str(another / "i__video.lance")).version == before, "the refused write left something"


CONFIGURATION = {
    "base/common.toml": """
project = "interop"
hash_truncation_length = 12
[stores.prod]
type = "metaxy.ext.lancedb.LanceDBMetadataStore"
[stores.prod.config]
uri = "${INTEROP_ROOT}/prod"
hash_algorithm = "sha256"
""",
    "pyproject.toml": """
[tool.metaxy]
extend = "base/common.toml"
store = "${INTEROP_STORE:-dev}"
[tool.metaxy.stores.dev]
type = "metaxy.ext.lancedb.LanceDBMetadataStore"
[tool.metaxy.stores.dev.config]
uri = "/nowhere"
hash_algorithm = "sha256"
fallback_stores = ["prod"]
[tool.metaxy.stores.dev.config.connect_kwargs]
storage_options = {timeout = "30s"}
[tool.metaxy.stores.plain]
type = "metaxy.ext.metadata_stores.lancedb.LanceDBMetadataStore"
[tool.metaxy.stores.plain.config]
uri = "file://${INTEROP_ROOT}/plain"
""",
}


def configured(library_path: str, directory: Path) -> None:
    """The same files and the same environment open the same stores, and what one side writes the other reads."""
    for name, text in CONFIGURATION.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    (directory / "below").mkdir()
    os.chdir(directory / "below")
    # The library reads the environment of the process, which os.environ sets.
    os.environ.update(INTEROP_ROOT=str(directory), METAXY_STORES__DEV__CONFIG__URI=str(directory / "dev"))
    library = Library(library_path)
    features.activate("1", 12)
    config = mx.MetaxyConfig.load()
    assert (config.project, config.store, config.hash_truncation_length) == ("interop", "dev", 12)
    for name in ("dev", None):
        # Where prod alone has rows, both read them through dev.
        with library.open_configured(None, "prod") as ours:
            ours.define(*features.definitions())
            ours.write(PAIR, arrow(pairs(["l", "r"], [1, 2], "chain")))
        with library.open_configured(None, name) as ours, config.get_store(name) as theirs:
            ours.define(*features.definitions())
            rows = arrow(theirs.read(PAIR).collect().to_native())
            check_rows(f"through {name}", ours.read(PAIR), rows)
            assert rows.num_rows == 2
    for name, place in [("prod", "prod"), ("dev", "dev"), ("plain", "plain"), (None, "dev")]:
        with library.open_configured(None, name) as ours:
            ours.define(*features.definitions())
            with config.get_store(name).open("w") as theirs:
                theirs.write(VIDEO, videos(IDS[:3], f"{name}-metaxy"))
            ours.write(VIDEO, arrow(videos(IDS[2:5], f"{name}-ours")))
            with config.get_store(name) as theirs:
                rows = arrow(theirs.read(VIDEO).collect().to_native())
            check_rows(f"the store {name}", ours.read(VIDEO), rows)
            assert rows.num_rows == 5 and (directory / place / "i__video.lance").is_dir()
            assert {len(version) for version in rows["metaxy_feature_version"].to_pylist()} == {12}
    os.environ["INTEROP_STORE"] = "plain"
    with library.open_configured(str(directory / "pyproject.toml"), None) as ours:
        ours.define(*features.definitions())
        # A table of ours records how it was hashed: refused if that is not what Python was configured to do.
        ours.write(PAIR, arrow(pairs(["l"], [1], "one")))
    with mx.MetaxyConfig.load().get_store() as theirs:
        assert theirs.name == "plain" and theirs.read(PAIR).collect().shape[0] == 1


def bucket(library: Library, place: Bucket) -> None:
    """In an object storage, too, each reads what the other writes, deletes and drops."""
    python_writes(library, place.below("python"))
    turns(library, place.below("turns"))
    drops(library, place.below("drops"))


def drops(library: Library, place: Bucket) -> None:
    """What either has dropped, either makes anew, while handles of ours stay open."""
    history = {"sample_history": 1, "feature_history": 1, "deleted": 1}
    features.activate("1")
    with library.open(place, **PYTHON_HASHING) as store, library.open(place, mode="read") as reader:
        store.define(*features.definitions())
        reader.define(*features.definitions())

        def check_agreement(what: str, ids: list[str]) -> None:
            rows = python_read(place, VIDEO)
            assert sorted(rows["id"].to_pylist()) == sorted(ids), f"{what}: {rows['id'].to_pylist()}"
            check_rows(what, store.read(VIDEO), rows)
            check_rows(f"{what}, another handle", reader.read(VIDEO), rows)
            assert reader.read(VIDEO, **history).num_rows == len(ids), f"{what}: something of before is left"

        def check_absence(what: str) -> None:
            for handle in (store, reader):
                try:
                    rows = handle.read(VIDEO)
                    raise AssertionError(f"{what}: {rows.num_rows} rows")
                except MetaxyError as error:
                    assert "no table" in str(error), error

        for turn in range(3):
            store.write(VIDEO, arrow(videos(IDS, f"ours{turn}")))
            check_agreement(f"turn {turn}", IDS)
            assert store.drop(VIDEO) and not store.drop(VIDEO)
            check_absence(f"turn {turn}, dropped by us")
            # To Python it is a table without rows.
            assert python_read(place, VIDEO).num_rows == 0
            python_write(place, VIDEO, videos(IDS[:2], f"metaxy{turn}"))
            check_agreement(f"turn {turn}, made anew by Python", IDS[:2])
            store.write(VIDEO, arrow(videos(IDS[2:4], f"more{turn}")))
            check_agreement(f"turn {turn}, added to", IDS[:4])
            assert store.drop(VIDEO)
            store.write(VIDEO, arrow(videos(IDS[3:], f"again{turn}")))
            check_agreement(f"turn {turn}, made anew by us", IDS[3:])
            with python_store(place).open("w") as python:
                python.drop_feature_metadata(VIDEO)
            check_absence(f"turn {turn}, dropped by Python")
            if turn == 1:
                # As many versions as before, with other rows.
                store.write(VIDEO, arrow(videos(IDS[1:3], f"once{turn}")))
                check_agreement(f"turn {turn}, made anew by us after Python", IDS[1:3])
                assert store.drop(VIDEO)
            python_write(place, VIDEO, videos(IDS[:1], f"anew{turn}"))
            check_agreement(f"turn {turn}, made anew by Python after Python", IDS[:1])
            assert store.drop(VIDEO)


WRITERS, ROUNDS, WRITES_EACH = 6, 8, 3


def first_writers(library_path: str, directory: Path) -> None:
    """Processes that find no table and all write at once: what was acknowledged is there."""
    command = [sys.executable, __file__, "writer", library_path]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    writers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(WRITERS)]
    library = Library(library_path)
    features.activate("1")
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for turn in range(ROUNDS):
            store_directory = directory / f"round{turn}"
            start = time.time() + 0.1
            for writer in writers:
                writer.stdin.write(f"{start} {store_directory}\n")
                writer.stdin.flush()
            answers = [writer.stdout.readline().strip() for writer in writers]
            assert answers == ["ok"] * WRITERS, f"round {turn}: {answers}"
            expected = sorted(f"{n}-{k}-{i}" for n in range(WRITERS) for k in range(WRITES_EACH) for i in range(3))
            with library.open(store_directory) as store:
                store.define(*features.definitions())
                ours = store.read(VIDEO)
            assert sorted(ours["id"].to_pylist()) == expected, f"round {turn}: {ours['id'].to_pylist()}"
            check_rows(f"round {turn}", ours, python_read(store_directory, VIDEO))
    finally:
        for writer in writers:
            writer.stdin.close()
        for writer in writers:
            writer.wait(30)


def writer(library: Library, number: str) -> None:
    """One of the processes of `first_writers`: a line says when to start, and where."""
    print("ready", flush=True)
    for line in sys.stdin:
        start, directory = line.strip().split(" ", 1)
        batches = [arrow(videos([f"{number}-{k}-{i}" for i in range(3)], number)) for k in range(WRITES_EACH)]
        time.sleep(max(0.0, float(start) - time.time()))
        try:
            with library.open(directory, **PYTHON_HASHING) as store:
                store.define(*features.definitions())
                for rows in batches:
                    store.write(VIDEO, rows)
            print("ok", flush=True)
        except MetaxyError as error:
            print(json.dumps(str(error)), flush=True)


# tests/c/processes.c kills many more; here Python reads what is left.
KILLS = 2


def killed(library_path: str, directory: Path) -> None:
    """A writer is killed in the middle of its work, again and again: what it had acknowledged is there, what
    it had not is there as a whole write or not at all, and the table stays in use."""
    features.activate("1")
    library, acknowledged = Library(library_path), set()
    for kill in range(KILLS):
        command = [sys.executable, __file__, "endless_writer", library_path, f"{kill} {directory}"]
        endless = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            for _ in range(3):
                acknowledged.add(endless.stdout.readline().strip())
            # Some time into a later write, another one each time.
            time.sleep(0.003 + 0.011 * kill)
        finally:
            endless.kill()
        acknowledged.update(endless.stdout.read().split())
        endless.wait(30)
        with library.open(directory) as store:
            store.define(*features.definitions())
            ids = store.read(VIDEO, columns=["id"])["id"].to_pylist()
        writes = {}
        for name in ids:
            writes.setdefault(name.rsplit("-", 1)[0], []).append(name)
        assert acknowledged <= writes.keys(), f"kill {kill}: lost {acknowledged - writes.keys()}"
        assert all(len(rows) == 3 for rows in writes.values()), f"kill {kill}: a part of a write: {writes}"
        check_rows(f"kill {kill}", store_rows(library, directory), python_read(directory, VIDEO))


def store_rows(library: Library, directory: Path) -> pa.Table:
    with library.open(directory) as store:
        store.define(*features.definitions())
        return store.read(VIDEO)


def endless_writer(library: Library, rest: str) -> None:
    """Writes three rows at a time until it is killed, and says so after each write."""
    kill, directory = rest.split(" ", 1)
    with library.open(directory, **PYTHON_HASHING) as store:
        store.define(*features.definitions())
        for write in range(1000):
            store.write(VIDEO, arrow(videos([f"{kill}-{write}-{i}" for i in range(3)], kill)))
            print(f"{kill}-{write}", flush=True)


# ---- definitions ----


def loaded_by_python(directory: Path) -> dict[str, str]:
    """The versions of everything that was pushed, as Python Metaxy finds them in an empty graph."""
    graph = FeatureGraph()
    FeatureGraph.set_active(graph)
    with warnings.catch_warnings(), python_store(directory) as store:
        warnings.simplefilter("error")
        mx.sync_external_features(store, selection=mx.FeatureSelection(all=True))
    return {key.to_string(): graph.get_feature_version(key) for key in graph.feature_definitions_by_key}


def pushed_by_python(directory: Path, code_version: str, tags: dict | None = None):
    features.activate(code_version)
    with python_store(directory).open("w") as store:
        return SystemTableStorage(store).push_graph_snapshot(tags=tags)


def definitions_in(directory: Path) -> pl.DataFrame:
    table = lance.dataset(str(directory / "metaxy_system__feature_versions.lance")).to_table()
    return pl.from_arrow(table).sort("recorded_at")


def pushed(library: Library, directory: Path) -> None:
    """Each side pushes what the other loads; the rows are the same; neither pushes again what the other has."""
    ours, theirs = directory / "ours", directory / "metaxy"
    hidden = ["recorded_at", "feature_class_path"]
    for turn, code_version in enumerate(["1", "2", "1"]):
        result = pushed_by_python(theirs, code_version, {"turn": str(turn)})
        project_version = result.project_version
        with library.open(ours, **PYTHON_HASHING) as store:
            store.define(*features.definitions(code_version))
            report = store.push({"turn": str(turn)}).to_pydict()
            assert all(report["pushed"]) and set(report["project_version"]) == {project_version}, report
            assert not any(store.push({"turn": "again"}).to_pydict()["pushed"]), "the same was pushed again"
            versions = dict(zip(report["feature"], report["feature_version"]))
        assert loaded_by_python(ours) == loaded_by_python(theirs) == versions, code_version
        assert pushed_by_python(ours, code_version).already_pushed, "Python does not find what we pushed"
        left, right = definitions_in(ours), definitions_in(theirs)
        assert left.schema == right.schema, f"{left.schema} is not {right.schema}"
        left, right = (rows.drop(hidden).sort("feature_key", "tags") for rows in (left, right))
        assert left.rows() == right.rows(), f"turn {turn}:\n{left.rows()}\n{right.rows()}"
        for where in (ours, theirs):
            with library.open(where, mode="read") as store:
                found = store.load().to_pydict()
                assert dict(zip(found["feature"], found["feature_version"])) == versions, (where, found)
                assert not any(found["problem"]) and set(found["project_version"]) == {project_version}, found
        with library.open(theirs, **PYTHON_HASHING) as store:
            store.load()
            assert not any(store.push().to_pydict()["pushed"]), "what Python pushed was pushed again"

    # As it was in the first turn; features of Python's own classes; a definition that nobody can read.
    features.activate("1")
    with python_store(theirs) as store:
        old = SystemTableStorage(store).load_graph_from_snapshot(project_version)
    with library.open(theirs, mode="read") as store:
        found = store.load(project_version=project_version).to_pydict()
    assert dict(zip(found["feature"], found["feature_version"])) == {
        key.to_string(): old.get_feature_version(key) for key in old.feature_definitions_by_key
    }
    classes = directory / "classes"
    mx.MetaxyConfig.set(mx.MetaxyConfig(project="interop", hash_truncation_length=8))
    FeatureGraph.set_active(FeatureGraph())

    class Seen(mx.BaseFeature, spec=mx.FeatureSpec(key="i/seen", id_columns=["id"], fields=["b/x", "a"])):
        """Was gesehen wurde 👀."""

        id: str
        note: str | None = None

    class Counted(
        mx.BaseFeature,
        spec=mx.FeatureSpec(
            key="i/counted",
            id_columns=["id"],
            deps=[
                mx.FeatureDep(
                    feature=Seen,
                    rename={"note": "words", "at": "alpha"},
                    lineage=mx.LineageRelationship.aggregation(on=["id"]),
                    optional=True,
                )
            ],
            fields=[mx.FieldSpec(key="n", deps=[mx.FieldDep(feature=Seen, fields=["a"])])],
            metadata={"z": 1, "a": {"y": 2.5, "b": None}},
        ),
    ):
        id: str

    with python_store(classes).open("w") as store:
        versions = SystemTableStorage(store).push_graph_snapshot().project_version
    broken = definitions_in(classes).head(1).with_columns(pl.lit("i/broken").alias("feature_key"), pl.lit("{").alias("feature_spec"))
    lance.write_dataset(arrow(broken), str(classes / "metaxy_system__feature_versions.lance"), mode="append")
    with library.open(classes, **PYTHON_HASHING) as store:
        found = {row["feature"]: row for row in store.load().to_pylist()}
        assert found["i/seen"]["feature_version"] == Seen.feature_version(), found
        assert found["i/counted"]["feature_version"] == Counted.feature_version(), found
        assert "cannot be read" in found["i/broken"]["problem"], found
        report = store.push().to_pydict()
        assert set(report["project_version"]) == {versions} and not any(report["pushed"]), report
    # We push what Python's classes say: the texts are Python's, but for the order in which it renames.
    copy = directory / "copy"
    with library.open(classes, **PYTHON_HASHING) as store, library.open(copy, **PYTHON_HASHING) as other:
        store.load()
        other.define(*json.loads(store.graph_json()))
        other.push()
    texts = [definitions_in(where).filter(pl.col("feature_key") != "i/broken").sort("feature_key") for where in (classes, copy)]
    for name in ("feature_spec", "feature_schema", "feature_class_path", "metaxy_definition_version"):
        left, right = (rows[name].to_list() for rows in texts)
        if name == "feature_spec":
            assert [json.loads(text) for text in left] == [json.loads(text) for text in right], (left, right)
            left, right = ([text.replace('"note": "words", "at": "alpha"', '"at": "alpha", "note": "words"') for text in side] for side in (left, right))
        assert left == right, (name, left, right)


def rebased(library: Library, directory: Path) -> None:
    """Rows of another version have the versions that Python gives them; it finds nothing to do, or reads them there."""
    python_history(directory)
    first_project = pushed_by_python(directory, "1").project_version
    first = metaxy_version(CROP)
    python_second_version(directory)
    second = metaxy_version(CROP)

    def rebased_by_python(of_version: str, to_version: str | None) -> list[dict]:
        with python_store(directory) as store:
            rows = store.read(CROP, feature_version=of_version, with_feature_history=True)
            rows = store.rebase(CROP, rows, to_feature_version=to_version).collect()
            return rows.to_native().to_dicts()

    def check(ours: pa.Table, theirs: list[dict], what: str) -> None:
        columns = ["id", "metaxy_provenance", "metaxy_provenance_by_field", "metaxy_feature_version", "metaxy_project_version"]
        ours, theirs = (
            sorted((tuple(str(row[name]) for name in columns) for row in rows)) for rows in (ours.to_pylist(), theirs)
        )
        assert ours and ours == theirs, f"{what}:\n{ours}\n{theirs}"

    with library.open(directory, project=features.PROJECT, **PYTHON_HASHING) as store:
        store.define(*features.definitions("2"))
        rows = store.rebase(CROP, first)
        check(rows, rebased_by_python(first, None), "the current version")
        store.write(CROP, rows)
        with python_store(directory) as metaxy:
            increment = metaxy.resolve_update(CROP)
            assert (len(increment.new), len(increment.stale)) == (0, 0), increment
        rows = store.rebase(CROP, second, first)
        check(rows, rebased_by_python(second, first), "a version that was pushed")
        assert set(rows["metaxy_project_version"].to_pylist()) == {first_project}
        store.write(CROP, rows, options={"write.versions": "keep"})
    found = python_read(directory, CROP, feature_version=first, with_feature_history=True)
    times = dict(zip(found["id"].to_pylist(), found["metaxy_updated_at"].to_pylist()))
    ids = rows["id"].to_pylist()
    assert ids and min(times[i] for i in ids) > max([time for i, time in times.items() if i not in ids] or [NOON]), times


def metaxy_version(feature: str) -> str:
    return FeatureGraph.get_active().get_feature_version(feature)


def main() -> None:
    case, library_path, rest = sys.argv[1:]
    signal.alarm(600)  # a call that never returns ends the case
    if case == "writer":
        writer(Library(library_path), rest)
    elif case == "first_writers":
        first_writers(library_path, Path(rest))
    elif case == "bucket":
        bucket(Library(library_path), Bucket(**json.loads(rest)))
    elif case == "configured":
        configured(library_path, Path(rest))
    elif case == "killed":
        killed(library_path, Path(rest))
    elif case == "endless_writer":
        endless_writer(Library(library_path), rest)
    else:
        cases = [python_writes, we_write, turns, deletes, inferred, copied, pushed, rebased]
        {function.__name__: function for function in cases}[case](Library(library_path), Path(rest))


main()
