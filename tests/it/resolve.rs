//! Resolving a feature: its parts, and what cannot be resolved.

use std::path::Path;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, LargeStringArray, RecordBatch, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use metaxy::store::context::Call;
use metaxy::store::{Fallback, Increment, IncrementRequest, Part, ReadRequest, Store};
use metaxy::versioning::Shard;
use metaxy::{Result, Status};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::{
    batch, by_field, column, failure, open, options, root, rows, samples, sorted, text, write,
};

fn resolve(store: &Store, feature: &str, request: &IncrementRequest) -> Result<Increment> {
    store.runtime().block_on(store.resolve_update(feature, request, &Call::default()))
}

fn resolve_samples(
    store: &Store,
    feature: &str,
    given: &[RecordBatch],
    request: &IncrementRequest,
) -> Result<Increment> {
    let call = Call::default();
    store.runtime().block_on(async {
        let mut resolver = store.resolve_samples(feature, given[0].schema(), request, &call).await?;
        for batch in given {
            resolver.push(batch.clone(), &call).await?;
        }
        resolver.finish(&call).await
    })
}

fn part(increment: &Increment, part: Part) -> Vec<RecordBatch> {
    increment
        .runtime()
        .block_on(async {
            let mut stream = increment.read(part, &Call::default()).await?;
            let mut batches = vec![RecordBatch::new_empty(stream.schema())];
            while let Some(batch) = stream.next().await {
                batches.push(batch?);
            }
            assert_eq!(
                increment.count(part),
                batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(),
                "{part:?}"
            );
            Ok(batches)
        })
        .unwrap()
}

fn parts(increment: &Increment) -> [Vec<String>; 3] {
    [Part::New, Part::Stale, Part::Orphaned].map(|of| column(&part(increment, of), "id"))
}

fn all(store: &Store, feature: &str) -> [Vec<String>; 3] {
    parts(&resolve(store, feature, &IncrementRequest::default()).unwrap())
}

fn write_part(store: &Store, feature: &str, increment: &Increment) {
    for of in [Part::New, Part::Stale] {
        write(store, feature, &part(increment, of), &[]).unwrap();
    }
}

fn define(store: &Store, specs: Value) {
    store.define(&specs.to_string()).unwrap();
}

fn videos(store: &Store, ids: &[&str], versions: &[&str]) {
    let frames: Vec<i64> = (0..ids.len() as i64).collect();
    let rows = batch(vec![
        ("id", text(ids)),
        ("frames", Arc::new(Int64Array::from(frames))),
        ("metaxy_provenance_by_field", by_field(&["x"], versions)),
    ]);
    write(store, "video", &[rows], &[]).unwrap();
}

fn in_directory(path: &Path) -> Store {
    let store = open(path, &[]);
    store.define(&root("video", &["x"])).unwrap();
    define(&store, json!({"key": "crop", "id_columns": ["id"], "deps": ["video"], "fields": ["x"]}));
    store
}

/// Of each store that was asked: for which feature, its name, and the outcome.
fn served_by(increment: &Increment) -> Vec<[String; 3]> {
    let asked = increment.served_by().unwrap();
    let texts =
        ["feature", "store", "outcome"].map(|name| asked.column_by_name(name).unwrap().as_string::<i64>());
    (0..asked.num_rows())
        .map(|row| {
            texts.map(|texts| if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() })
        })
        .collect()
}

#[test]
fn the_stores_of_a_chain_that_were_asked_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let prod = open(&at("prod"), &[("name", "prod")]);
    let dev = Store::open_chain(
        at("dev").to_str().unwrap(),
        vec![Fallback::from(prod.clone())],
        &options(&[("name", "dev"), ("fallback.missing", "merge")]),
        &Call::default(),
    )
    .unwrap();
    for store in [&prod, &dev] {
        store.define(&root("video", &["x"])).unwrap();
        define(
            store,
            json!([
                {"key": "audio", "id_columns": ["id"], "fields": ["x"]},
                {"key": "both", "id_columns": ["id"], "fields": ["x"],
                 "deps": [{"feature": "video", "select": []}, {"feature": "audio", "optional": true}]}
            ]),
        );
    }
    videos(&prod, &["a", "b"], &["1", "1"]);
    videos(&dev, &["b", "c"], &["2", "2"]);
    let of = |feature: &str, store: &str, outcome: &str| [feature, store, outcome].map(str::to_owned);
    let increment = resolve(&dev, "both", &IncrementRequest::default()).unwrap();
    assert_eq!(served_by(&increment), [of("video", "dev", "served"), of("video", "prod", "served")]);
    assert_eq!(parts(&increment)[0], ["a", "b", "c"]);
    // What is stored is that of the store itself alone.
    write_part(&prod, "both", &resolve(&prod, "both", &IncrementRequest::default()).unwrap());
    write(&prod, "audio", &[samples(&["a"])], &[]).unwrap();
    write(&dev, "both", &[samples(&["c"])], &[]).unwrap();
    let increment = resolve(&dev, "both", &IncrementRequest::default()).unwrap();
    assert_eq!(
        served_by(&increment),
        [
            of("video", "dev", "served"),
            of("video", "prod", "served"),
            of("audio", "dev", "absent"),
            of("audio", "prod", "served"),
            of("both", "dev", "served")
        ]
    );
    assert_eq!(parts(&increment), [vec!["a", "b"], vec!["c"], vec![]]);
    // Each row from where it is, in batches of one, as often as it is asked for.
    for _ in 0..2 {
        let request = IncrementRequest { batch_rows: Some(1), ..Default::default() };
        let found = part(&resolve(&dev, "both", &request).unwrap(), Part::New);
        assert!(found.iter().all(|batch| batch.num_rows() <= 1));
        let versions = ["a", "b"]
            .map(|id| rows(&found).iter().find(|row| row["id"] == id).unwrap()["metaxy_provenance"].clone());
        assert_ne!(versions[0], versions[1]);
    }
}

/// What happens to the tables between resolving and reading.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Pruned,
    PrunedByAnotherStore,
    /// By a program that knows nothing of who reads what.
    PrunedByAnotherProgram,
    Dropped,
}

#[test]
fn an_increment_is_read_as_it_was_or_not_at_all_whatever_happens_to_the_tables() {
    use Meanwhile::{Dropped, Pruned, PrunedByAnotherProgram, PrunedByAnotherStore};
    for meanwhile in [Pruned, PrunedByAnotherStore, PrunedByAnotherProgram, Dropped] {
        let directory = tempfile::tempdir().unwrap();
        let store = in_directory(directory.path());
        videos(&store, &["a", "b"], &["1", "1"]);
        write_part(&store, "crop", &resolve(&store, "crop", &IncrementRequest::default()).unwrap());
        videos(&store, &["b", "c"], &["2", "2"]);
        let call = Call::default();
        let gone = ReadRequest { filters: vec!["id = 'a'".into()], ..Default::default() };
        store.runtime().block_on(store.delete("video", &gone, &options(&[]), &call)).unwrap();
        let increment = resolve(&store, "crop", &IncrementRequest::default()).unwrap();
        videos(&store, &["b"], &["3"]);
        write(&store, "crop", &[samples(&["a", "z"])], &[]).unwrap();
        // It shares nothing with the first one.
        let stranger = open(directory.path(), &[("cache.bytes", "3000001")]);
        stranger.define(&root("video", &["x"])).unwrap();
        stranger.define(&root("crop", &["x"])).unwrap();
        let maintained = store.runtime().block_on(async {
            for feature in ["video", "crop"] {
                let (keeper, nothing) = (if meanwhile == Pruned { &store } else { &stranger }, options(&[]));
                match meanwhile {
                    Dropped => drop(store.drop_feature(feature, &nothing, &call).await?),
                    PrunedByAnotherProgram => prune_as_lancedb_does(directory.path(), feature).await,
                    Pruned | PrunedByAnotherStore => {
                        let at_once = options(&[("prune.older_than_ms", "0")]);
                        keeper.compact(Some(feature), &nothing, &call).await?;
                        keeper.prune(Some(feature), &at_once, &call).await?;
                    }
                }
            }
            Ok(())
        });
        maintained.unwrap();
        for (of, ids) in [(Part::New, ["c"]), (Part::Stale, ["b"]), (Part::Orphaned, ["a"])] {
            let found = increment.runtime().block_on(async {
                let mut stream = increment.read(of, &call).await?;
                let mut batches = Vec::new();
                while let Some(batch) = stream.next().await {
                    batches.push(batch?);
                }
                Ok(batches)
            });
            match found {
                Ok(found) => {
                    assert!([Pruned, PrunedByAnotherStore].contains(&meanwhile), "{meanwhile:?} {of:?}");
                    assert_eq!(column(&found, "id"), ids, "{meanwhile:?} {of:?}");
                }
                Err(error) => {
                    let what = if meanwhile == Dropped { "was dropped" } else { "was removed" };
                    assert!([PrunedByAnotherProgram, Dropped].contains(&meanwhile), "{meanwhile:?}: {error}");
                    assert_eq!(error.status(), Status::Conflict, "{error}");
                    assert!(
                        error.message().contains(what) && error.message().contains("crop is another"),
                        "{error}"
                    );
                    assert!(error.message().ends_with("resolve it again"), "{error}");
                }
            }
        }
    }
}

async fn prune_as_lancedb_does(directory: &Path, table: &str) {
    use lancedb::table::{CompactionOptions, OptimizeAction};
    let database = lancedb::connect(directory.to_str().unwrap()).execute().await.unwrap();
    let table = database.open_table(table).execute().await.unwrap();
    let compact = OptimizeAction::Compact { options: CompactionOptions::default(), remap_options: None };
    table.optimize(compact).await.unwrap();
    let prune = OptimizeAction::Prune {
        older_than: Some(lancedb::table::Duration::zero()),
        delete_unverified: Some(true),
        error_if_tagged_old_versions: None,
    };
    table.optimize(prune).await.unwrap();
}

#[test]
fn what_is_new_stale_and_orphaned() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    videos(&store, &["a", "b", "c"], &["1", "1", "1"]);
    let increment = resolve(&store, "crop", &IncrementRequest::default()).unwrap();
    assert_eq!(parts(&increment), [vec!["a", "b", "c"], vec![], vec![]]);
    assert_eq!(increment.input_progress(), Some(0.0));
    write_part(&store, "crop", &increment);
    assert_eq!(all(&store, "crop"), [[""; 0]; 3]);
    videos(&store, &["b", "d"], &["2", "1"]);
    let call = Call::default();
    let gone = ReadRequest { filters: vec!["id = 'c'".into()], ..Default::default() };
    store.runtime().block_on(store.delete("video", &gone, &options(&[]), &call)).unwrap();
    let increment = resolve(&store, "crop", &IncrementRequest::default()).unwrap();
    assert_eq!(parts(&increment), [["d"], ["b"], ["c"]]);
    assert_eq!(increment.input_progress().unwrap().round(), 67.0);
    // In another order, and again.
    assert_eq!(column(&part(&increment, Part::Orphaned), "id"), ["c"]);
    assert_eq!(column(&part(&increment, Part::New), "id"), ["d"]);
    write_part(&store, "crop", &increment);
    assert_eq!(all(&store, "crop"), [vec![], vec![], vec!["c"]]);
    assert_eq!(served_by(&increment), [["video", "", "served"], ["crop", "", "served"]]);
}

#[test]
fn samples_of_a_root() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    let increment =
        resolve_samples(&store, "video", &[samples(&["a", "b"])], &IncrementRequest::default()).unwrap();
    assert_eq!(parts(&increment), [vec!["a", "b"], vec![], vec![]]);
    write_part(&store, "video", &increment);
    let again = [samples(&["b"]), samples(&["c"])];
    let increment = resolve_samples(&store, "video", &again, &IncrementRequest::default()).unwrap();
    assert_eq!(parts(&increment), [vec!["c"], vec![], vec!["a"]]);
    assert_eq!(
        failure(resolve(&store, "video", &IncrementRequest::default())).status(),
        Status::InvalidArgument
    );
}

#[test]
fn several_parents_and_shards() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    define(
        &store,
        json!([
            {"key": "audio", "id_columns": ["id"], "fields": ["x"]},
            {"key": "text", "id_columns": ["id"], "fields": ["x"]},
            {"key": "joint", "id_columns": ["id"], "fields": ["x"],
             "deps": ["video", "audio", {"feature": "text", "optional": true}]},
            {"key": "frames", "id_columns": ["id", "frame"], "fields": ["x"]},
            {"key": "clips", "id_columns": ["id"], "fields": ["x"],
             "deps": [{"feature": "frames", "lineage": {"relationship": {"type": "N:1", "on": ["id"]}}}]}
        ]),
    );
    let ids: Vec<String> = (0..500).map(|id| format!("s{id:03}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    write(&store, "video", &[samples(&ids)], &[]).unwrap();
    write(&store, "audio", &[samples(&ids[100..])], &[]).unwrap();
    write(&store, "text", &[samples(&ids[..300])], &[]).unwrap();
    let whole = resolve(&store, "joint", &IncrementRequest::default()).unwrap();
    assert_eq!(whole.count(Part::New), 400);
    let whole = sorted(rows(&part(&whole, Part::New)));
    let mut shards = Vec::new();
    for index in 0..3 {
        let request = IncrementRequest { shard: Some(Shard::new(index, 3).unwrap()), ..Default::default() };
        shards.extend(rows(&part(&resolve(&store, "joint", &request).unwrap(), Part::New)));
    }
    assert_eq!(sorted(shards), whole);
    let frames = batch(vec![
        ("id", text(&["a", "a", "b", "a"])),
        ("frame", Arc::new(Int64Array::from(vec![10, 2, 1, 1]))),
        ("metaxy_provenance_by_field", by_field(&["x"], &["p0", "p1", "q", "p2"])),
    ]);
    write(&store, "frames", &[frames], &[]).unwrap();
    let increment = resolve(&store, "clips", &IncrementRequest::default()).unwrap();
    let clips = rows(&part(&increment, Part::New));
    let told: Vec<_> =
        clips.iter().map(|row| (&row["id"], &row["frame"], &row["metaxy_provenance"])).collect();
    let (a, b) = (told[0].2, told[3].2);
    assert_ne!(a, b);
    let (one, two) = (json!("a"), json!("b"));
    let frames = [json!(1), json!(10), json!(2)];
    assert_eq!(
        told,
        [(&one, &frames[0], a), (&one, &frames[1], a), (&one, &frames[2], a), (&two, &frames[0], b)]
    );
}

fn refused(store: &Store, feature: &str, request: &IncrementRequest, status: Status, parts: &[&str]) {
    let error = failure(resolve(store, feature, request));
    assert_eq!(error.status(), status, "{error}");
    for part in parts.iter().chain([&feature]) {
        assert!(error.message().contains(part) || error.detail("feature") == Some(part), "{part}: {error}");
    }
}

#[test]
fn dependencies_that_are_not_there_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    let everything = IncrementRequest::default();
    refused(&store, "crop", &everything, Status::NotFound, &["video", "crop", "write it first"]);
    refused(&store, "frame", &everything, Status::NotFound, &["frame"]);
    define(&store, json!({"key": "faces", "id_columns": ["id"], "deps": ["frame"], "fields": ["x"]}));
    refused(&store, "faces", &everything, Status::NotFound, &["frame"]);
    let cycle = json!([
        {"key": "egg", "id_columns": ["id"], "deps": ["hen"], "fields": ["x"]},
        {"key": "hen", "id_columns": ["id"], "deps": ["egg"], "fields": ["x"]}
    ]);
    let error = failure(store.define(&cycle.to_string()));
    assert!(["egg", "hen"].iter().all(|key| error.message().contains(key)), "{error}");
    refused(&store, "metaxy-system/feature_versions", &everything, Status::Unsupported, &["samples"]);
}

#[test]
fn filters_name_columns_and_features_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    videos(&store, &["a", "b"], &["1", "1"]);
    let increment = resolve(&store, "crop", &IncrementRequest::default()).unwrap();
    write_part(&store, "crop", &increment);
    let of = |feature: &str, text: &str| IncrementRequest {
        filters: vec![(feature.to_owned(), text.to_owned())],
        ..Default::default()
    };
    let invalid = Status::InvalidArgument;
    refused(&store, "crop", &of("video", "width > 1"), invalid, &["width", "video"]);
    refused(&store, "crop", &of("crop", "width > 1"), invalid, &["width", "crop"]);
    refused(&store, "crop", &of("audio", "id = 'a'"), invalid, &["audio", "dependency"]);
    refused(&store, "crop", &of("video", "frames >"), invalid, &["frames >"]);
    let everywhere =
        |text: &str| IncrementRequest { global_filters: vec![text.to_owned()], ..Default::default() };
    refused(&store, "crop", &everywhere("width > 1"), invalid, &["width", "video"]);
    // Only the feature itself has it, or only what it depends on.
    let own = batch(vec![
        ("id", text(&["a"])),
        ("score", text(&["good"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["1"])),
    ]);
    write(&store, "crop", &[own], &[]).unwrap();
    refused(&store, "crop", &everywhere("score = 'good'"), invalid, &["score", "video"]);
    let predicate =
        IncrementRequest { staleness_predicates: vec!["width > 1".to_owned()], ..Default::default() };
    refused(&store, "crop", &predicate, invalid, &["width", "stored rows"]);
    assert_eq!(all(&store, "crop")[1], ["a"]);
    // It makes no difference that no row is of the current version, or none at all.
    define(
        &store,
        json!({"key": "crop", "id_columns": ["id"], "deps": ["video"], "fields": [{"key": "x", "code_version": "2"}]}),
    );
    let target = IncrementRequest { target_filters: vec!["width > 1".to_owned()], ..Default::default() };
    let given =
        |request: &IncrementRequest| failure(resolve_samples(&store, "crop", &[samples(&["a"])], request));
    for request in [&of("crop", "width > 1"), &target, &predicate] {
        refused(&store, "crop", request, invalid, &["width", "stored rows"]);
        assert!(given(request).message().contains("width"));
    }
    refused(&store, "crop", &everywhere("score = 'good'"), invalid, &["score", "video"]);
    // Where nothing was ever written nobody knows what columns there will be.
    store.runtime().block_on(store.drop_feature("crop", &options(&[]), &Call::default())).unwrap();
    for request in [&of("crop", "width > 1"), &target, &predicate] {
        assert_eq!(parts(&resolve(&store, "crop", request).unwrap())[0], ["a", "b"]);
    }
    refused(&store, "crop", &of("crop", "width >"), invalid, &["width >"]);
    define(
        &store,
        json!({"key": "late", "id_columns": ["id"], "fields": ["x"],
        "deps": [{"feature": "video", "rename": {"frames": "length"}, "filters": ["frames > 0"]}]}),
    );
    refused(&store, "late", &IncrementRequest::default(), invalid, &["frames", "length", "video"]);
}

#[test]
fn columns_that_two_dependencies_bring_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    define(
        &store,
        json!([
            {"key": "audio", "id_columns": ["id"], "fields": ["x"]},
            {"key": "both", "id_columns": ["id"], "fields": ["x"], "deps": ["video", "audio"]},
            {"key": "renamed", "id_columns": ["id"], "fields": ["x"],
             "deps": ["video", {"feature": "audio", "rename": {"frames": "samples"}}]},
            {"key": "selected", "id_columns": ["id"], "fields": ["x"],
             "deps": ["video", {"feature": "audio", "select": ["pitch"]}]},
            {"key": "twice", "id_columns": ["id"], "fields": ["x"], "deps": [{"feature": "video", "rename": {"frames": "id2"}},
              {"feature": "audio", "rename": {"frames": "pitch"}}]}
        ]),
    );
    videos(&store, &["a"], &["1"]);
    let audio = batch(vec![
        ("id", text(&["a"])),
        ("frames", text(&["f"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["1"])),
    ]);
    write(&store, "audio", &[audio], &[]).unwrap();
    let everything = IncrementRequest::default();
    let invalid = Status::InvalidArgument;
    refused(&store, "both", &everything, invalid, &["video", "audio", "frames", "rename", "select"]);
    refused(&store, "selected", &everything, Status::SchemaMismatch, &["audio", "pitch"]);
    let increment = resolve(&store, "renamed", &everything).unwrap();
    let rows = rows(&part(&increment, Part::New));
    assert_eq!((&rows[0]["frames"], &rows[0]["samples"]), (&json!(0), &json!("f")));
    define(
        &store,
        json!({"key": "lost", "id_columns": ["id"], "fields": ["x"], "deps": [{"feature": "video", "select": ["frames"],
            "rename": {"width": "w"}}]}),
    );
    refused(
        &store,
        "lost",
        &everything,
        Status::SchemaMismatch,
        &["lost", "video", "rename", "width", "id, frames"],
    );
    // Where there is no table, there is nothing to be renamed.
    define(
        &store,
        json!({"key": "hopeful", "id_columns": ["id"], "fields": ["x"], "deps": ["video", {"feature": "late", "optional": true,
            "rename": {"width": "w"}}]}),
    );
    define(&store, json!({"key": "late", "id_columns": ["id"], "fields": ["x"]}));
    assert_eq!(all(&store, "hopeful")[0], ["a"]);
    // A column that takes the name of another.
    let more = batch(vec![
        ("id", text(&["b"])),
        ("frames", text(&["f"])),
        ("pitch", text(&["p"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["1"])),
    ]);
    write(&store, "audio", &[more], &[]).unwrap();
    refused(&store, "twice", &everything, invalid, &["audio", "frames", "pitch"]);
}

#[test]
fn ids_that_cannot_be_equal_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    define(
        &store,
        json!([
            {"key": "audio", "id_columns": ["id"], "fields": ["x"]},
            {"key": "both", "id_columns": ["id"], "fields": ["x"], "deps": ["video", "audio"]}
        ]),
    );
    videos(&store, &["1"], &["1"]);
    let numbered = |version: &str| {
        batch(vec![
            ("id", Arc::new(Int64Array::from(vec![1])) as _),
            ("metaxy_provenance_by_field", by_field(&["x"], &[version])),
        ])
    };
    write(&store, "audio", &[numbered("1")], &[]).unwrap();
    let mismatch = Status::SchemaMismatch;
    refused(
        &store,
        "both",
        &IncrementRequest::default(),
        mismatch,
        &["id", "Int64", "LargeUtf8", "video", "audio"],
    );
    write(&store, "crop", &[numbered("1")], &[]).unwrap();
    refused(&store, "crop", &IncrementRequest::default(), mismatch, &["id", "Int64", "LargeUtf8"]);
}

#[test]
fn ids_are_equal_whatever_integers_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    define(
        &store,
        json!([
            {"key": "video", "id_columns": ["id"], "fields": ["x"]},
            {"key": "audio", "id_columns": ["id"], "fields": ["x"]},
            {"key": "crop", "id_columns": ["id"], "fields": ["x"], "deps": ["video"]},
            {"key": "both", "id_columns": ["id"], "fields": ["x"], "deps": ["video", "audio"]},
            {"key": "either", "id_columns": ["id"], "fields": ["x"],
             "deps": [{"feature": "video", "optional": true}, {"feature": "audio", "optional": true}]}
        ]),
    );
    let rows_of = |ids: ArrayRef| {
        let versions = vec!["1"; ids.len()];
        batch(vec![("id", ids), ("metaxy_provenance_by_field", by_field(&["x"], &versions))])
    };
    let large = (1_u64 << 53) as i64;
    let signed = rows_of(Arc::new(Int64Array::from(vec![1, large + 1, -1, 7])));
    let unsigned = rows_of(Arc::new(UInt64Array::from(vec![1, large as u64, u64::MAX, 7])));
    write(&store, "video", &[signed], &[]).unwrap();
    write(&store, "audio", &[unsigned.clone()], &[]).unwrap();
    let ids = |increment: &Increment, of: Part| {
        let found = part(increment, of);
        sorted(rows(&found)).iter().map(|row| row["id"].clone()).collect::<Vec<_>>()
    };
    let increment = resolve(&store, "both", &IncrementRequest::default()).unwrap();
    assert_eq!(ids(&increment, Part::New), [json!(1), json!(7)]);
    // In shares, and beside stored ids without a sign.
    let stored = rows_of(Arc::new(UInt64Array::from(vec![1, u64::MAX])));
    write(&store, "both", &[stored.clone()], &[]).unwrap();
    let mut counts = [0; 3];
    for index in 0..3 {
        let request = IncrementRequest { shard: Some(Shard::new(index, 3).unwrap()), ..Default::default() };
        let share = resolve(&store, "both", &request).unwrap();
        for (count, of) in counts.iter_mut().zip([Part::New, Part::Stale, Part::Orphaned]) {
            *count += share.count(of);
        }
    }
    assert_eq!(counts, [1, 1, 1]);
    let increment = resolve(&store, "both", &IncrementRequest::default()).unwrap();
    assert_eq!(ids(&increment, Part::New), [json!(7)]);
    assert_eq!(ids(&increment, Part::Orphaned), [json!(u64::MAX)]);
    write(&store, "crop", &[stored], &[]).unwrap();
    let increment = resolve(&store, "crop", &IncrementRequest::default()).unwrap();
    assert_eq!(
        [increment.count(Part::New), increment.count(Part::Stale), increment.count(Part::Orphaned)],
        [3, 1, 1]
    );
    let increment = resolve_samples(&store, "video", &[unsigned], &IncrementRequest::default()).unwrap();
    assert_eq!(ids(&increment, Part::Orphaned), [json!(-1), json!(large + 1)]);
    // Where any of them may give the id, one column has to hold it.
    let reasons = ["video", "Int64", "audio", "UInt64", "the only one that gives the id"];
    refused(&store, "either", &IncrementRequest::default(), Status::SchemaMismatch, &reasons);
}

#[test]
fn samples_that_cannot_be_compared_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    let everything = IncrementRequest::default();
    let no_ids = batch(vec![("metaxy_provenance_by_field", by_field(&["x"], &["1"]))]);
    let no_provenance = batch(vec![("id", text(&["a"]))]);
    let no_member =
        batch(vec![("id", text(&["a"])), ("metaxy_provenance_by_field", by_field(&["y"], &["1"]))]);
    let no_struct = batch(vec![("id", text(&["a"])), ("metaxy_provenance_by_field", text(&["1"]))]);
    for (given, missing) in [
        (no_ids, "no column id"),
        (no_provenance, "no column metaxy_provenance_by_field"),
        (no_member, "`x`"),
        (no_struct, "must be a struct"),
    ] {
        let error = failure(resolve_samples(&store, "video", &[given], &everything));
        assert_eq!(error.status(), Status::SchemaMismatch, "{error}");
        assert!(error.message().contains(missing), "{error}");
        assert_eq!(error.detail("feature"), Some("video"), "{error}");
    }
}

#[test]
fn samples_without_a_value_and_samples_that_come_twice_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    define(&store, json!({"key": "video", "id_columns": ["id", "part"], "fields": ["x", "y"]}));
    let given = |ids: &[Option<&str>], x: &[Option<&str>]| {
        let x: LargeStringArray = x.iter().copied().collect();
        let y = LargeStringArray::from(vec!["1"; ids.len()]);
        let by_field = StructArray::from(vec![
            (Arc::new(Field::new("x", DataType::LargeUtf8, true)), Arc::new(x) as ArrayRef),
            (Arc::new(Field::new("y", DataType::LargeUtf8, true)), Arc::new(y) as ArrayRef),
        ]);
        batch(vec![
            ("id", Arc::new(ids.iter().copied().collect::<LargeStringArray>())),
            ("part", Arc::new(Int64Array::from(vec![7; ids.len()]))),
            ("metaxy_provenance_by_field", Arc::new(by_field)),
        ])
    };
    let good = given(&[Some("a"), Some("b")], &[Some("1"), Some("2")]);
    let no_struct = {
        let mut columns = good.columns().to_vec();
        let (fields, members, _) = columns[2].as_struct().clone().into_parts();
        columns[2] = Arc::new(StructArray::new(fields, members, Some(vec![true, false].into())));
        let names = good.schema();
        batch(names.fields().iter().map(|field| field.name().as_str()).zip(columns).collect())
    };
    let later = given(&[Some("c"), Some("a")], &[Some("1"), Some("1")]);
    let refused = |batches: &[RecordBatch], column: &str, value: &str, parts: &[&str]| {
        for stored in [false, true] {
            if stored {
                write(&store, "video", &[good.clone()], &[("write.duplicates", "last")]).unwrap();
            }
            let error = failure(resolve_samples(&store, "video", batches, &IncrementRequest::default()));
            assert_eq!(error.status(), Status::InvalidArgument, "{error}");
            assert!(parts.iter().all(|part| error.message().contains(part)), "{error}");
            assert_eq!(
                [error.detail("feature"), error.detail("column"), error.detail("value")],
                [Some("video"), Some(column), Some(value)]
            );
        }
        store.runtime().block_on(store.drop_feature("video", &options(&[]), &Call::default())).unwrap();
    };
    let by_field = "metaxy_provenance_by_field";
    let null_id = given(&[Some("c"), None], &[Some("1"), Some("1")]);
    refused(
        &[good.clone(), null_id.clone()],
        "id",
        "null",
        &["row 3", "video", "id column id", "leave the sample out"],
    );
    let null_member = given(&[Some("c"), Some("d")], &[None, Some("1")]);
    refused(&[good.clone(), null_member], by_field, "null", &["row 2", "for: x;", "checksum"]);
    refused(&[no_struct], by_field, "null", &["row 1", "in metaxy_provenance_by_field;", "checksum"]);
    refused(&[good.clone(), later.clone()], "id, part", "id=a, part=7", &["row 3", "id=a, part=7", "once"]);
    // What a filter leaves out is not looked at, and does not change the numbers.
    let filter =
        |text: &str| IncrementRequest { target_filters: vec![text.to_owned()], ..Default::default() };
    let found =
        resolve_samples(&store, "video", &[good.clone(), null_id], &filter("id IS NOT NULL")).unwrap();
    assert_eq!(parts(&found)[0], ["a", "b", "c"]);
    let twice = [good.clone(), later, good.clone()];
    let error = failure(resolve_samples(&store, "video", &twice, &filter("id != 'a'")));
    assert!(error.message().contains("row 5 ") && error.message().contains("id=b"), "{error}");
}

#[test]
fn memory_and_its_files_are_looked_at_when_a_store_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let try_with = |pairs: &[(&str, &str)]| failure(Store::open(path, &options(pairs), &Call::default()));
    let error = try_with(&[("memory.bytes", "1000000")]);
    assert_eq!((error.status(), error.detail("option")), (Status::InvalidArgument, Some("memory.bytes")));
    assert!(error.message().contains("33554432"), "{error}");
    let error = try_with(&[("spill.directory", "/proc/self")]);
    assert_eq!(error.detail("option"), Some("spill.directory"), "{error}");
    let error = try_with(&[("spill.directory", "/nowhere/at/all")]);
    assert!(error.message().contains("/nowhere/at/all"), "{error}");
    let error = try_with(&[("spill.directory", "/etc/hostname")]);
    assert!(error.message().contains("/etc/hostname"), "{error}");
}

#[test]
fn a_call_that_is_cancelled_resolves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_directory(directory.path());
    videos(&store, &["a"], &["1"]);
    let context = metaxy::store::context::Context::new();
    context.cancel();
    let (everything, call) = (IncrementRequest::default(), context.begin());
    let resolved = store.runtime().block_on(store.resolve_update("crop", &everything, &call));
    assert_eq!(failure(resolved).status(), Status::Cancelled);
    store.close().unwrap();
    refused(&store, "crop", &IncrementRequest::default(), Status::InvalidState, &[]);
}

fn per_frame(store: &Store, feature: &str, frames: &[i64]) {
    let videos = vec!["a"; frames.len()];
    let versions: Vec<String> = frames.iter().map(|frame| format!("p{frame}")).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let rows = batch(vec![
        ("id", text(&videos)),
        ("frame", Arc::new(Int64Array::from(frames.to_vec()))),
        ("metaxy_provenance_by_field", by_field(&["x"], &versions)),
    ]);
    write(store, feature, &[rows], &[]).unwrap();
}

#[test]
fn a_group_is_computed_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    let aggregated = json!({"feature": "frames", "lineage": {"relationship": {"type": "N:1", "on": ["id"]}}});
    define(
        &store,
        json!([
            {"key": "frames", "id_columns": ["id", "frame"], "fields": ["x"]},
            {"key": "normalised", "id_columns": ["id", "frame"], "fields": ["x"], "deps": [aggregated]}
        ]),
    );
    per_frame(&store, "frames", &[1, 2]);
    let increment = resolve(&store, "normalised", &IncrementRequest::default()).unwrap();
    write_part(&store, "normalised", &increment);
    per_frame(&store, "frames", &[3]);
    let increment = resolve(&store, "normalised", &IncrementRequest::default()).unwrap();
    let todo: Vec<Value> =
        [Part::New, Part::Stale].iter().flat_map(|of| rows(&part(&increment, *of))).collect();
    assert_eq!(todo.len(), 3);
    assert!(todo.iter().all(|row| row["metaxy_provenance"] == todo[0]["metaxy_provenance"]), "{todo:?}");
    write_part(&store, "normalised", &increment);
    assert_eq!(all(&store, "normalised"), [[""; 0]; 3]);
}

#[test]
fn a_column_with_the_name_of_an_id_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    define(
        &store,
        json!([
            {"key": "video", "id_columns": ["id"], "fields": ["x"]},
            {"key": "scene", "id_columns": ["id", "frame"], "fields": ["x"], "deps": ["video"]}
        ]),
    );
    // The number of scenes, and one result for each.
    per_frame(&store, "video", &[3]);
    let increment = resolve(&store, "scene", &IncrementRequest::default()).unwrap();
    let found = &part(&increment, Part::New)[1];
    let mut columns = found.columns().to_vec();
    let frame = found.schema().index_of("frame").unwrap();
    for number in 0..3 {
        columns[frame] = Arc::new(Int64Array::from(vec![number]));
        let child = RecordBatch::try_new(found.schema(), columns.clone()).unwrap();
        write(&store, "scene", &[child], &[]).unwrap();
    }
    assert_eq!(all(&store, "scene"), [[""; 0]; 3]);
}

#[test]
fn all_rows_of_a_sample_must_be_of_its_provenance_unless_they_are_children() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    let expansion = json!({"feature": "video", "lineage": {"relationship": {"type": "1:N", "on": ["id"]}}});
    let scene = |key: &str, dep: Value| json!({"key": key, "id_columns": ["id", "scene"], "fields": ["x"], "deps": [dep]});
    store.define(&root("video", &["x"])).unwrap();
    define(&store, json!([scene("plain", json!({"feature": "video"})), scene("expanded", expansion)]));
    videos(&store, &["a"], &["1"]);
    let with_scenes = |feature: &str, scenes: &[i64]| {
        let increment = resolve(&store, feature, &IncrementRequest::default()).unwrap();
        for found in [Part::New, Part::Stale].iter().flat_map(|of| part(&increment, *of)) {
            for scene in scenes.iter().filter(|_| found.num_rows() > 0) {
                let mut columns = found.columns().to_vec();
                columns.push(Arc::new(Int64Array::from(vec![*scene; found.num_rows()])));
                let mut names: Vec<String> =
                    found.schema().fields().iter().map(|field| field.name().clone()).collect();
                names.push("scene".to_owned());
                let named = names.iter().map(String::as_str).zip(columns).collect();
                write(&store, feature, &[batch(named)], &[]).unwrap();
            }
        }
    };
    for feature in ["plain", "expanded"] {
        with_scenes(feature, &[0, 1]);
        assert_eq!(all(&store, feature), [[""; 0]; 3]);
    }
    videos(&store, &["a"], &["2"]);
    for feature in ["plain", "expanded"] {
        with_scenes(feature, &[0]);
    }
    assert_eq!(all(&store, "plain"), [vec![], vec!["a"], vec![]]);
    assert_eq!(all(&store, "expanded"), [[""; 0]; 3]);
    // Which row is left over only its user knows.
    let rest = ReadRequest { filters: vec!["scene = 1".into()], ..Default::default() };
    store.runtime().block_on(store.delete("plain", &rest, &options(&[]), &Call::default())).unwrap();
    assert_eq!(all(&store, "plain"), [[""; 0]; 3]);
}
