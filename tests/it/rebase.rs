//! Rows of one feature version as rows of another: what is kept, what is recomputed, what is left out.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, LargeStringArray, RecordBatch};
use arrow::datatypes::DataType;
use metaxy::store::context::Call;
use metaxy::store::{IncrementRequest, Part, ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::{Value, json};

use crate::support::{batch, by_field, column, failure, open, options, read, rows, text, write};

const KEEP: &[(&str, &str)] = &[("write.versions", "keep")];

fn crop(code_version: &str) -> Value {
    json!({"key": "crop", "id_columns": ["id"], "deps": ["video"],
           "fields": [{"key": "x", "code_version": code_version}, {"key": "y", "code_version": "1"}]})
}

/// A store with the videos a, b and c, and crops of them.
fn cropped(directory: &Path) -> Store {
    let store = open(directory, &[("project", "tests")]);
    define(&store, json!([{"key": "video", "id_columns": ["id"], "fields": ["x"]}, crop("1")]));
    videos(&store, &["a", "b", "c"], "1");
    let todo = todo(&store, "crop", Part::New);
    write(&store, "crop", &with_paths(&todo, "old"), &[]).unwrap();
    store
}

fn define(store: &Store, specs: Value) {
    store.define(&specs.to_string()).unwrap();
}

fn videos(store: &Store, ids: &[&str], version: &str) {
    let versions: Vec<String> = ids.iter().map(|id| format!("{id}{version}")).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let rows = batch(vec![("id", text(ids)), ("metaxy_provenance_by_field", by_field(&["x"], &versions))]);
    write(store, "video", &[rows], &[]).unwrap();
}

/// Rows with the results of work on them.
fn with_paths(batches: &[RecordBatch], tag: &str) -> Vec<RecordBatch> {
    let with_path = |rows: &RecordBatch| {
        let ids = rows.column_by_name("id").unwrap().as_string::<i64>();
        let paths: LargeStringArray = ids.iter().map(|id| id.map(|id| format!("{tag}/{id}"))).collect();
        with(rows, "path", Arc::new(paths))
    };
    batches.iter().map(with_path).collect()
}

/// The rows with a column more, or in place of one.
fn with(rows: &RecordBatch, name: &str, values: ArrayRef) -> RecordBatch {
    let schema = rows.schema();
    let fields =
        schema.fields().iter().map(|field| field.name().as_str()).zip(rows.columns().iter().cloned());
    let others = fields.filter(|(other, _)| *other != name);
    batch(others.chain([(name, values)]).collect())
}

fn todo(store: &Store, feature: &str, part: Part) -> Vec<RecordBatch> {
    let call = Call::default();
    store
        .runtime()
        .block_on(async {
            let increment = store.resolve_update(feature, &IncrementRequest::default(), &call).await?;
            collected(increment.read(part, &call).await?).await
        })
        .unwrap()
}

async fn collected(mut stream: metaxy::store::RowStream) -> Result<Vec<RecordBatch>> {
    let mut batches = vec![RecordBatch::new_empty(stream.schema())];
    while let Some(batch) = stream.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// How many samples are new, stale and orphaned.
fn counts(store: &Store, feature: &str) -> [usize; 3] {
    [Part::New, Part::Stale, Part::Orphaned]
        .map(|part| todo(store, feature, part).iter().map(RecordBatch::num_rows).sum())
}

fn rebase(store: &Store, feature: &str, from: &str, to: Option<&str>) -> Result<Vec<RecordBatch>> {
    let call = Call::default();
    store.runtime().block_on(async { collected(store.rebase(feature, from, to, &call).await?).await })
}

fn version(store: &Store, feature: &str) -> String {
    let features = store.runtime().block_on(store.features(&Call::default())).unwrap();
    let found = rows(&[features]).into_iter().find(|row| row["feature"] == feature).unwrap();
    found["feature_version"].as_str().unwrap().to_owned()
}

fn push(store: &Store) {
    store.runtime().block_on(store.push(None, None, &Call::default())).unwrap();
}

fn delete(store: &Store, feature: &str, filter: &str) {
    let request = ReadRequest { filters: vec![filter.to_owned()], ..ReadRequest::default() };
    store.runtime().block_on(store.delete(feature, &request, &options(&[]), &Call::default())).unwrap();
}

fn of_version(version: &str) -> ReadRequest {
    ReadRequest { feature_version: Some(version.to_owned()), ..ReadRequest::default() }
}

#[test]
fn what_a_change_of_code_leaves_right_is_not_computed_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let first = version(&store, "crop");
    let before = rows(&read(&store, "crop", &ReadRequest::default()).unwrap());
    define(&store, crop("2"));
    assert_eq!(counts(&store, "crop"), [3, 0, 0]);

    let rebased = rebase(&store, "crop", &first, None).unwrap();
    let expected = rows(&todo(&store, "crop", Part::New));
    for ((row, before), expected) in rows(&rebased).iter().zip(&before).zip(&expected) {
        assert_eq!(row["metaxy_feature_version"], json!(version(&store, "crop")));
        for kept in ["id", "path", "metaxy_created_at", "metaxy_updated_at", "metaxy_deleted_at"] {
            assert_eq!(row[kept], before[kept], "{kept}");
        }
        for made in ["metaxy_provenance", "metaxy_provenance_by_field", "metaxy_data_version"] {
            assert_eq!(row[made], expected[made], "{made}");
            assert_ne!(row[made], before[made], "{made}");
        }
        assert_eq!(row["metaxy_data_version_by_field"], row["metaxy_provenance_by_field"]);
        assert_ne!(row["metaxy_project_version"], before["metaxy_project_version"]);
    }
    assert_eq!(rebased[0].schema().field(0).name(), "id");
    assert_eq!(rebased[0].num_columns(), before[0].as_object().unwrap().len());

    write(&store, "crop", &rebased, &[]).unwrap();
    assert_eq!(counts(&store, "crop"), [0, 0, 0]);
    assert_eq!(
        column(&read(&store, "crop", &ReadRequest::default()).unwrap(), "path"),
        ["old/a", "old/b", "old/c"]
    );
    // The old rows are still there, and rows may also be rebased on their own version.
    assert_eq!(rows(&read(&store, "crop", &of_version(&first)).unwrap()), before);
    let same = rebase(&store, "crop", &version(&store, "crop"), Some(&version(&store, "crop"))).unwrap();
    assert_eq!(rows(&same), rows(&read(&store, "crop", &ReadRequest::default()).unwrap()));
}

#[test]
fn samples_that_are_there_already_are_included() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let first = version(&store, "crop");
    define(&store, crop("2"));
    let rebased = rebase(&store, "crop", &first, None).unwrap();
    let new = todo(&store, "crop", Part::New);
    let computed: Vec<RecordBatch> =
        with_paths(&new, "new").iter().map(|rows| rows.slice(0, rows.num_rows().min(1))).collect();
    write(&store, "crop", &computed, &[]).unwrap();
    let again = rebase(&store, "crop", &first, None).unwrap();
    assert_eq!(rows(&again), rows(&rebased));
    assert_eq!(column(&again, "path"), ["old/a", "old/b", "old/c"]);
    // Who writes last is right.
    write(&store, "crop", &again, &[]).unwrap();
    let all = ReadRequest::default();
    assert_eq!(column(&read(&store, "crop", &all).unwrap(), "path"), ["old/a", "old/b", "old/c"]);
    write(&store, "crop", &computed, &[]).unwrap();
    let paths = column(&read(&store, "crop", &all).unwrap(), "path");
    assert_eq!(paths.iter().filter(|path| path.starts_with("new/")).count(), 1);
    assert_eq!(counts(&store, "crop"), [0, 0, 0]);
}

#[test]
fn data_versions_of_the_users_own_stay() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let rewritten =
        read(&store, "crop", &ReadRequest { filters: vec!["id = 'b'".into()], ..Default::default() });
    let own = with(&rewritten.unwrap()[0], "metaxy_data_version_by_field", by_field(&["x", "y"], &["mine"]));
    let own = with(&own, "metaxy_data_version", text(&["my own"]));
    write(&store, "crop", &[own], &[]).unwrap();
    let first = version(&store, "crop");
    // Of a field that is new nothing is known.
    let mut spec = crop("2");
    spec["fields"].as_array_mut().unwrap().push(json!({"key": "z"}));
    define(&store, spec);
    let rebased = rebase(&store, "crop", &first, None).unwrap();
    for row in rows(&rebased) {
        let provenance = &row["metaxy_provenance_by_field"];
        assert_eq!(provenance.as_object().unwrap().len(), 3);
        let own = json!({"x": "mine-x", "y": "mine-y", "z": provenance["z"]});
        match row["id"] == "b" {
            true => assert_eq!(
                (&row["metaxy_data_version_by_field"], &row["metaxy_data_version"]),
                (&own, &json!("my own"))
            ),
            false => assert_eq!(&row["metaxy_data_version_by_field"], provenance),
        }
    }
    write(&store, "crop", &rebased, &[]).unwrap();
    assert_eq!(counts(&store, "crop"), [0, 0, 0]);
    let stored = rows(&read(&store, "crop", &ReadRequest::default()).unwrap());
    assert_eq!(stored[1]["metaxy_data_version"], "my own");
}

#[test]
fn samples_that_are_no_more_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let first = version(&store, "crop");
    delete(&store, "video", "id = 'a'");
    delete(&store, "crop", "id = 'c'");
    define(&store, crop("2"));
    assert_eq!(column(&rebase(&store, "crop", &first, None).unwrap(), "id"), ["b"]);
    delete(&store, "video", "id = 'b'");
    let nothing = rebase(&store, "crop", &first, None).unwrap();
    assert_eq!(nothing.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert!(nothing[0].column_by_name("path").is_some());
}

#[test]
fn every_lineage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    let specs = |code: &str| {
        let fields = json!([{"key": "x", "code_version": code}]);
        let lineage = |dep: &str, kind: Value| json!({"feature": dep, "lineage": {"relationship": kind}});
        json!([
            {"key": "video", "id_columns": ["id"], "fields": ["x"]},
            {"key": "frame", "id_columns": ["id", "number"], "fields": ["x"]},
            {"key": "track", "id_columns": ["id"], "fields": fields,
             "deps": [lineage("frame", json!({"type": "N:1", "on": ["id"]}))]},
            {"key": "scene", "id_columns": ["id", "scene"], "fields": fields,
             "deps": [lineage("video", json!({"type": "1:N", "on": ["id"]}))]},
            {"key": "face", "id_columns": ["id", "number"], "fields": fields,
             "deps": ["frame", {"feature": "video", "optional": true, "select": []}]},
        ])
    };
    define(&store, specs("1"));
    videos(&store, &["a", "b"], "1");
    let numbered = |ids: &[&str], column: &str, numbers: &[i64], versions: &[&str]| {
        batch(vec![
            ("id", text(ids)),
            (column, Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef),
            ("metaxy_provenance_by_field", by_field(&["x"], versions)),
        ])
    };
    let frames = numbered(&["a", "a", "a", "b", "c"], "number", &[1, 2, 3, 1, 1], &["p", "q", "r", "s", "t"]);
    write(&store, "frame", &[frames], &[]).unwrap();
    let faces = todo(&store, "face", Part::New);
    assert_eq!(column(&faces, "id"), ["a", "a", "a", "b", "c"]);
    write(&store, "face", &faces, &[]).unwrap();
    let tracks = todo(&store, "track", Part::New);
    write(&store, "track", &tracks, &[("write.duplicates", "last")]).unwrap();
    let children: Vec<RecordBatch> = todo(&store, "scene", Part::New)
        .iter()
        .flat_map(|rows| {
            let numbers = |scene: i64| Arc::new(Int64Array::from(vec![scene; rows.num_rows()])) as ArrayRef;
            [with(rows, "scene", numbers(1)), with(rows, "scene", numbers(2))]
        })
        .collect();
    write(&store, "scene", &children, &[]).unwrap();

    let features = ["track", "scene", "face"];
    let first = features.map(|feature| version(&store, feature));
    define(&store, specs("2"));
    for ((feature, first), ids) in features.iter().zip(first).zip([
        vec!["a", "b", "c"],
        vec!["a", "a", "b", "b"],
        vec!["a", "a", "a", "b", "c"],
    ]) {
        assert!(counts(&store, feature)[0] > 0);
        let rebased = rebase(&store, feature, &first, None).unwrap();
        assert_eq!(column(&rebased, "id"), ids, "{feature}");
        write(&store, feature, &rebased, &[]).unwrap();
        assert_eq!(counts(&store, feature), [0, 0, 0], "{feature}");
    }
}

#[test]
fn versions_that_are_not_known_and_features_without_dependencies() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let now = version(&store, "crop");
    let refused = |feature: &str, from: &str, to: Option<&str>, status: Status, says: &str| {
        let error = failure(rebase(&store, feature, from, to));
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(says), "{error}");
        assert_eq!(error.detail("feature"), Some(feature));
    };
    refused("crop", "0000", None, Status::NotFound, "has no version 0000");
    refused("crop", &now, Some("1111"), Status::NotFound, "has no version 1111");
    refused("video", &version(&store, "video"), None, Status::InvalidArgument, "depends on no other feature");
    refused("corp", &now, None, Status::NotFound, "corp");
    refused("metaxy-system/feature_versions", &now, None, Status::Unsupported, "Metaxy's own");
    define(
        &store,
        json!([
            {"key": "unwritten", "id_columns": ["id"], "deps": ["video"], "fields": ["x"]},
        ]),
    );
    refused("unwritten", &now, None, Status::NotFound, "no table unwritten");
    // Known, and without rows.
    define(&store, crop("2"));
    let nothing = rebase(&store, "crop", &version(&store, "crop"), None).unwrap();
    assert_eq!(nothing.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[test]
fn a_version_that_was_pushed() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let first = version(&store, "crop");
    push(&store);
    // All of the videos are of another version now, and there is one more.
    define(&store, json!([{"key": "video", "id_columns": ["id"], "fields": ["x", "sound"]}, crop("2")]));
    let second = version(&store, "crop");
    let ids = ["a", "b", "d"];
    let newer =
        batch(vec![("id", text(&ids)), ("metaxy_provenance_by_field", by_field(&["x", "sound"], &ids))]);
    write(&store, "video", &[newer], &[]).unwrap();
    write(&store, "crop", &with_paths(&todo(&store, "crop", Part::New), "new"), &[]).unwrap();
    let before = rows(&read(&store, "crop", &of_version(&first)).unwrap());

    let rebased = rebase(&store, "crop", &second, Some(&first)).unwrap();
    assert_eq!(column(&rebased, "path"), ["new/a", "new/b"], "there is no video d of the first version");
    for (row, before) in rows(&rebased).iter().zip(&before) {
        for same in [
            "id",
            "metaxy_provenance",
            "metaxy_provenance_by_field",
            "metaxy_feature_version",
            "metaxy_project_version",
        ] {
            assert_eq!(row[same], before[same], "{same}");
        }
    }
    write(&store, "crop", &rebased, KEEP).unwrap();
    assert_eq!(
        column(&read(&store, "crop", &of_version(&first)).unwrap(), "path"),
        ["new/a", "new/b", "old/c"]
    );
    assert_eq!(
        column(&read(&store, "crop", &ReadRequest::default()).unwrap(), "path"),
        ["new/a", "new/b", "new/d"]
    );
    // Who defines the features as they were finds nothing to do.
    let other = open(directory.path(), &[("project", "tests")]);
    define(&other, json!([{"key": "video", "id_columns": ["id"], "fields": ["x"]}, crop("1")]));
    assert_eq!(counts(&other, "crop"), [0, 0, 0]);
}

#[test]
fn rows_that_keep_their_versions_must_have_both() {
    let directory = tempfile::tempdir().unwrap();
    let store = cropped(directory.path());
    let stored = read(&store, "crop", &ReadRequest::default()).unwrap();
    let stored = stored.into_iter().find(|rows| rows.num_rows() > 1).unwrap();
    let count = stored.num_rows();
    let refused = |rows: RecordBatch, status: Status, column: &str, says: &str| {
        let error = failure(write(&store, "crop", &[rows], KEEP));
        assert_eq!((error.status(), error.detail("column")), (status, Some(column)), "{error}");
        assert!(error.message().contains(says), "{error}");
    };
    for name in ["metaxy_feature_version", "metaxy_project_version"] {
        let position = stored.schema().index_of(name).unwrap();
        let mut lacking = stored.clone();
        lacking.remove_column(position);
        refused(lacking, Status::SchemaMismatch, name, "add it, or leave write.versions away");
        let mut some = vec![Some("v"); count];
        some[1] = None;
        let holes = with(&stored, name, Arc::new(LargeStringArray::from(some)));
        refused(holes, Status::InvalidArgument, name, "row 1 has no value");
        let nulls = with(&stored, name, arrow::array::new_null_array(&DataType::Null, count));
        refused(nulls, Status::InvalidArgument, name, "row 0 has no value");
    }
    // Without the option nobody looks at them.
    let others = with(&stored, "metaxy_feature_version", text(&vec!["v"; count]));
    write(&store, "crop", &[others.clone()], &[]).unwrap();
    assert_eq!(counts(&store, "crop"), [0, 0, 0]);
    write(&store, "crop", &[others], KEEP).unwrap();
    assert_eq!(
        read(&store, "crop", &of_version("v")).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(),
        count
    );
}

#[test]
fn more_rows_than_memory_go_through_files() {
    let (directory, spilled) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spill = spilled.path().to_str().unwrap();
    let store = open(directory.path(), &[("memory.bytes", "33554432"), ("spill.directory", spill)]);
    define(&store, json!([{"key": "video", "id_columns": ["id"], "fields": ["x"]}, crop("1")]));
    let ids: Vec<String> = (0..50_000).map(|id| format!("{:08}", id * 7919 % 50_000)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows = batch(vec![("id", text(&ids)), ("metaxy_provenance_by_field", by_field(&["x"], &ids))]);
    write(&store, "video", &[rows], &[]).unwrap();
    let long = "x".repeat(600);
    write(&store, "crop", &with_paths(&todo(&store, "crop", Part::New), &long), &[]).unwrap();
    let first = version(&store, "crop");
    define(&store, crop("2"));
    let files = || std::fs::read_dir(spilled.path()).unwrap().count();
    let call = Call::default();
    let (mut count, mut most) = (0, 0);
    store
        .runtime()
        .block_on(async {
            let mut writer = None;
            let mut stream = store.rebase("crop", &first, None, &call).await.unwrap();
            while let Some(batch) = stream.next().await {
                let batch = batch.unwrap();
                count += batch.num_rows();
                most = most.max(files());
                if writer.is_none() {
                    writer = Some(store.writer("crop", batch.schema(), &options(&[]), &call).await.unwrap());
                }
                writer.as_mut().unwrap().push(batch, &call).await.unwrap();
            }
            writer.unwrap().commit(&call).await
        })
        .unwrap();
    assert_eq!(count, 50_000);
    assert!(most > 0, "nothing went through files");
    assert_eq!(counts(&store, "crop"), [0, 0, 0]);
}
