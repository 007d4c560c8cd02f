"""The features of the interoperability tests, known to both sides by the same JSON."""
import json

import metaxy as mx
from metaxy.models.feature import FeatureGraph
from metaxy.models.feature_definition import FeatureDefinition

PROJECT = "interop"
VIDEO, PAIR, CROP, JOINED, HYPHEN = "i/video", "i/pair", "i/crop", "i/joined", "i-x/sound-track"


def specs(code_version: str) -> list[mx.FeatureSpec]:
    """The graph with one version of the code that makes the video's frames."""

    def field(key: str, version: str = "1") -> mx.FieldSpec:
        return mx.FieldSpec(key=key, code_version=version)

    def dep(key: str) -> mx.FeatureDep:
        return mx.FeatureDep(feature=key)

    return [
        mx.FeatureSpec(key=VIDEO, id_columns=["id"], fields=[field("audio"), field("frames", code_version)]),
        mx.FeatureSpec(key=PAIR, id_columns=["camera", "frame"], description="zwei Schlüssel 🔑"),
        mx.FeatureSpec(key=CROP, id_columns=["id"], deps=[dep(VIDEO)], fields=[field("audio"), field("frames")]),
        mx.FeatureSpec(
            key=JOINED,
            id_columns=["id"],
            deps=[dep(VIDEO), dep(HYPHEN)],
            fields=[field("audio"), field("frames")],
        ),
        mx.FeatureSpec(
            key=HYPHEN,
            id_columns=["id"],
            fields=[field("audio/french"), field("audio/english")],
            metadata={"owner": "Žofie", "rate": 1.5, "nested": {"b": [1, None], "a": True}},
        ),
    ]


def definitions(code_version: str = "1") -> list[dict]:
    """What `metaxy_store_define` is given."""
    return [{"feature_spec": json.loads(spec.model_dump_json()), "project": PROJECT} for spec in specs(code_version)]


def activate(code_version: str = "1", truncation: int = 8) -> None:
    """Makes the graph Python Metaxy's own, at a truncation of all its hashes."""
    mx.MetaxyConfig.set(mx.MetaxyConfig(project=PROJECT, hash_truncation_length=truncation))
    graph = FeatureGraph()
    for spec in specs(code_version):
        definition = FeatureDefinition.from_stored_data(spec.model_dump_json(), {}, f"i.{spec.table_name()}", PROJECT)
        graph.add_feature_definition(definition)
    FeatureGraph.set_active(graph)
