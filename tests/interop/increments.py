"""Python Metaxy as a program that is told what to do, a line of JSON at a time, and answers in kind.

tests/it/resolve_python.rs tells it, and does the same itself. It ends when there is no more to read.
"""
import datetime
import json
import sys
import warnings

warnings.simplefilter("ignore")

import metaxy as mx
import polars as pl
from metaxy import HashAlgorithm
from metaxy.ext.lancedb import LanceDBMetadataStore
from metaxy.metadata_store.system import SystemTableStorage
from metaxy.models.feature import FeatureGraph
from metaxy.models.feature_definition import FeatureDefinition
from metaxy.models.filter_expression import parse_filter_string

PROJECT = "interop"
TYPES = {"str": pl.String, "i64": pl.Int64}
PARTS = ("new", "stale", "orphaned")


def frame(columns: list, rows: list) -> pl.DataFrame:
    def kind(of):
        return pl.Struct({member: pl.String for member in of[1:]}) if isinstance(of, list) else TYPES[of]

    return pl.DataFrame(rows, schema={name: kind(of) for name, of in columns})


def told(value):
    """As JSON has it; times do not matter here."""
    return None if isinstance(value, datetime.datetime) else value


class Session:
    """What is told to one directory."""

    def open(self, directory: str) -> None:
        mx.MetaxyConfig.set(mx.MetaxyConfig(project=PROJECT, hash_truncation_length=8))
        FeatureGraph.set_active(FeatureGraph())
        self.store = LanceDBMetadataStore(directory, hash_algorithm=HashAlgorithm("xxhash32"))

    def define(self, specs: list) -> None:
        graph = FeatureGraph()
        for spec in specs:
            spec = json.dumps(spec)
            graph.add_feature_definition(FeatureDefinition.from_stored_data(spec, {}, "i.Feature", PROJECT))
        FeatureGraph.set_active(graph)

    def push(self) -> None:
        with self.store.open("w") as store:
            SystemTableStorage(store).push_graph_snapshot()

    def load(self) -> dict:
        graph = FeatureGraph()
        FeatureGraph.set_active(graph)
        with self.store as store:
            mx.sync_external_features(store, selection=mx.FeatureSelection(all=True))
        return {key.to_string(): graph.get_feature_version(key) for key in graph.feature_definitions_by_key}

    def write(self, feature: str, columns: list, rows: list) -> None:
        with self.store.open("w") as store:
            store.write(feature, frame(columns, rows))

    def delete(self, feature: str, filter: str) -> None:
        with self.store.open("w") as store:
            store.delete(feature, [parse_filter_string(filter)])

    def resolve(self, feature: str, filters=(), global_filters=(), staleness_predicates=(), skip=False, samples=None) -> dict:
        by_feature = {}
        for of, text in filters:
            by_feature.setdefault(of, []).append(parse_filter_string(text))
        request = dict(
            filters=by_feature,
            global_filters=[parse_filter_string(text) for text in global_filters],
            staleness_predicates=[parse_filter_string(text) for text in staleness_predicates],
            skip_comparison=skip,
            samples=samples and frame(**samples),
        )
        with self.store as store:
            increment = store.resolve_update(feature, lazy=True, **request)
            progress = None if samples else store.calculate_input_progress(increment, feature)
            found = increment.collect()
        rows = {part: getattr(found, part).to_native().to_dicts() for part in PARTS}
        rows = {part: [{name: told(value) for name, value in row.items()} for row in rows[part]] for part in PARTS}
        return rows | {"progress": progress}

    def process(self, feature: str, unique: list, cross: dict) -> dict:
        """Resolves and writes what there is to do, as users of Metaxy do it; gives how much that was."""
        with self.store.open("w") as store:
            increment = store.resolve_update(feature)
            rows = pl.concat([increment.new.to_native(), increment.stale.to_native()])
            if cross:
                rows = rows.join(pl.DataFrame(cross), how="cross")
            # What is left over from joining system columns would be stored.
            rows = rows.unique(subset=unique).select(pl.exclude("^.*_right$"))
            if len(rows):
                store.write(feature, rows)
        return {part: len(getattr(increment, part)) for part in PARTS}


def main() -> None:
    session = Session()
    for line in sys.stdin:
        told = json.loads(line)
        try:
            answer = {"ok": getattr(session, told.pop("do"))(**told)}
        except Exception as error:  # noqa: BLE001
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
