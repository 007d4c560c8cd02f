//! Resolving a feature: its parts, and what cannot be resolved.

use std::path::Path;

use arrow::array::{Int64Array, RecordBatch};
use metaxy::store::context::Call;
use metaxy::store::{Increment, IncrementRequest, Part, ReadRequest, Store};
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
    println!("{:?}", rows(&[increment.served_by().unwrap()]));
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
    println!("{:?}", rows(&part(&increment, Part::New)));
    assert_eq!(column(&part(&increment, Part::New), "id"), ["a", "a", "a", "b"]);
}
