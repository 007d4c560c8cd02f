//! Copying between stores: what is carried over, what is not copied twice, what is refused.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use metaxy::store::context::{Call, Context};
use metaxy::store::{ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::{Value, json};

use crate::golden_stores;
use crate::support::{
    batch, by_field, column, failure, golden, golden_json, open, options, read, root, rows, samples, text,
    write,
};

fn copy(
    from: &Store,
    to: &Store,
    features: Option<&[&str]>,
    request: &ReadRequest,
    pairs: &[(&str, &str)],
) -> Result<Vec<(String, [i64; 3])>> {
    copy_under(&Call::default(), from, to, features, request, pairs)
}

/// The report: per feature the rows read, copied and present.
fn copy_under(
    call: &Call,
    from: &Store,
    to: &Store,
    features: Option<&[&str]>,
    request: &ReadRequest,
    pairs: &[(&str, &str)],
) -> Result<Vec<(String, [i64; 3])>> {
    let features: Option<Vec<String>> =
        features.map(|features| features.iter().map(|feature| (*feature).to_owned()).collect());
    let options = options(pairs);
    let report = from.runtime().block_on(from.copy(to, features.as_deref(), request, &options, call))?;
    let names: Vec<String> = report.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["feature", "table", "rows_read", "rows_copied", "rows_present"]);
    // The rows of `rows` are sorted; the order of the report matters.
    let features = report.column(0).as_string::<i64>();
    let count = |column: usize, row: usize| report.column(column).as_primitive::<Int64Type>().value(row);
    let row = |row: usize| (features.value(row).to_owned(), [count(2, row), count(3, row), count(4, row)]);
    Ok((0..report.num_rows()).map(row).collect())
}

/// What [`copy`] reports.
fn reported(rows: &[(&str, [i64; 3])]) -> Vec<(String, [i64; 3])> {
    rows.iter().map(|(feature, counts)| ((*feature).to_owned(), *counts)).collect()
}

fn everything() -> ReadRequest {
    ReadRequest { feature_history: true, sample_history: true, ..ReadRequest::default() }
}

fn all_rows(store: &Store, feature: &str) -> Vec<Value> {
    rows(&read(store, feature, &ReadRequest { deleted: true, ..everything() }).unwrap())
}

/// Two directories, with a store in each; only the first knows the feature `r/a`.
fn pair() -> (tempfile::TempDir, Store, Store) {
    let directory = tempfile::tempdir().unwrap();
    let from = open(&directory.path().join("from"), &[("name", "staging")]);
    let to = open(&directory.path().join("to"), &[("name", "production")]);
    from.define(&root("r/a", &["x"])).unwrap();
    (directory, from, to)
}

fn define_in(store: &Store) {
    store.define(&root("r/a", &["x"])).unwrap();
}

/// Deletes a sample, as of now.
fn delete(store: &Store, id: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![now + 1]).with_timezone("UTC"));
    let tombstone = batch(vec![
        ("id", text(&[id])),
        ("metaxy_provenance_by_field", by_field(&["x"], &[id])),
        ("metaxy_deleted_at", time),
    ]);
    write(store, "r/a", &[tombstone], &[]).unwrap();
    // What is written next is later.
    std::thread::sleep(std::time::Duration::from_millis(1));
}

#[test]
fn a_whole_store_of_metaxy_reads_the_same_in_its_copy() {
    let expected = golden_json("stores/basic.expected.json");
    let from = open(&golden("stores/basic"), &[("mode", "read"), ("project", "golden")]);
    from.define(&expected["graphs"]["v2"].to_string()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let to = open(directory.path(), &[]);
    let copied = copy(&from, &to, None, &everything(), &[]).unwrap();
    let features: Vec<&str> = copied.iter().map(|(feature, _)| feature.as_str()).collect();
    assert_eq!(features, ["example/video", "example/crop", "example/joined", "multi/id-feature"]);
    assert!(copied.iter().all(|(_, [read, copied, present])| read == copied && *read > 0 && *present == 0));

    for graph in ["v1", "v2"] {
        let copy = open(directory.path(), &[("mode", "read"), ("project", "golden")]);
        copy.define(&expected["graphs"][graph].to_string()).unwrap();
        let reads = expected["reads"].as_array().unwrap().iter();
        for recorded in reads.filter(|read| read["graph"] == graph && read.get("rows").is_some()) {
            golden_stores::check(&copy, recorded).unwrap();
        }
    }

    // The new tables say how they are hashed.
    let tables = || rows(&[to.runtime().block_on(to.list(&Call::default())).unwrap()]);
    let before = tables();
    assert_eq!(before.len(), 4);
    for table in &before {
        assert_eq!(table["hash_algorithm"], expected["hash_algorithm"]);
        assert_eq!(table["hash_truncation_length"], expected["hash_truncation_length"].to_string());
    }

    // Again, it copies nothing and makes no version of any table.
    let again = copy(&from, &to, None, &everything(), &[]).unwrap();
    for ((feature, [read, _, _]), (same, counts)) in copied.iter().zip(&again) {
        assert_eq!((feature, [*read, 0, *read]), (same, *counts));
    }
    assert_eq!(tables(), before);
}

#[test]
fn rows_keep_what_was_stamped_on_them_but_for_a_run_that_is_named() {
    let (_directory, from, to) = pair();
    write(&from, "r/a", &[samples(&["a", "b", "c"])], &[("materialization_id", "one")]).unwrap();
    write(&from, "r/a", &[samples(&["b"])], &[("materialization_id", "two")]).unwrap();
    // Of a store that does not know the feature, the first copy makes the table.
    let some = ReadRequest { filters: vec!["id <> 'c'".to_owned()], ..ReadRequest::default() };
    assert_eq!(copy(&from, &to, Some(&["r/a"]), &some, &[]).unwrap(), reported(&[("r/a", [2, 2, 0])]));
    define_in(&to);
    assert_eq!(all_rows(&to, "r/a"), rows(&read(&from, "r/a", &some).unwrap()));
    assert_eq!(column(&read(&to, "r/a", &some).unwrap(), "metaxy_materialization_id"), ["one", "two"]);

    let named = [("materialization_id", "promoted")];
    let found = copy(&from, &to, Some(&["r/a", "r/a"]), &ReadRequest::default(), &named).unwrap();
    assert_eq!(found, reported(&[("r/a", [3, 1, 2])]));
    let runs = column(&read(&to, "r/a", &ReadRequest::default()).unwrap(), "metaxy_materialization_id");
    assert_eq!(runs, ["one", "promoted", "two"]);
}

#[test]
fn deletions_are_carried_over_when_asked_for_and_with_every_history() {
    let (_directory, from, to) = pair();
    let latest = ReadRequest::default();
    write(&from, "r/a", &[samples(&["a", "b"])], &[]).unwrap();
    copy(&from, &to, None, &latest, &[]).unwrap();
    define_in(&to);
    delete(&from, "a");
    assert_eq!(copy(&from, &to, None, &latest, &[]).unwrap(), reported(&[("r/a", [1, 0, 1])]));
    assert_eq!(column(&read(&to, "r/a", &latest).unwrap(), "id"), ["a", "b"]);
    let deleted = ReadRequest { deleted: true, ..ReadRequest::default() };
    assert_eq!(copy(&from, &to, None, &deleted, &[]).unwrap(), reported(&[("r/a", [2, 1, 1])]));
    assert_eq!(column(&read(&to, "r/a", &latest).unwrap(), "id"), ["b"]);

    // Nothing that was deleted comes back to life.
    for request in [
        ReadRequest { sample_history: true, ..ReadRequest::default() },
        ReadRequest { feature_history: true, ..ReadRequest::default() },
    ] {
        let directory = tempfile::tempdir().unwrap();
        let other = open(directory.path(), &[]);
        copy(&from, &other, None, &request, &[]).unwrap();
        define_in(&other);
        assert_eq!(column(&read(&other, "r/a", &latest).unwrap(), "id"), ["b"]);
    }
}

#[test]
fn a_feature_history_has_the_latest_row_of_each_sample_in_each_version() {
    let (_directory, from, to) = pair();
    write(&from, "r/a", &[samples(&["a", "b"])], &[]).unwrap();
    write(&from, "r/a", &[samples(&["a"])], &[]).unwrap();
    let second = root("r/a", &["x"]).replace(r#""code_version":"1""#, r#""code_version":"2""#);
    from.define(&second).unwrap();
    write(&from, "r/a", &[samples(&["a"])], &[]).unwrap();
    let history = ReadRequest { feature_history: true, ..ReadRequest::default() };
    assert_eq!(copy(&from, &to, None, &history, &[]).unwrap(), reported(&[("r/a", [3, 3, 0])]));
    for graph in [&root("r/a", &["x"]), &second] {
        from.define(graph).unwrap();
        to.define(graph).unwrap();
        let current = |store| rows(&read(store, "r/a", &ReadRequest::default()).unwrap());
        assert_eq!(current(&from), current(&to));
    }
    // The rest comes later.
    assert_eq!(copy(&from, &to, None, &everything(), &[]).unwrap(), reported(&[("r/a", [4, 1, 3])]));
    assert_eq!(all_rows(&from, "r/a"), all_rows(&to, "r/a"));
}

#[test]
fn a_copy_that_was_cut_short_is_completed_by_another() {
    let (_directory, from, to) = pair();
    let child = json!({"key": "child", "id_columns": ["id"], "deps": [{"feature": "r/a"}], "fields": ["x"]});
    from.define(&child.to_string()).unwrap();
    from.define(&root("z", &["x"])).unwrap();
    from.define(&root("never/written", &["x"])).unwrap();
    for feature in ["r/a", "child", "z"] {
        write(&from, feature, &[samples(&["a", "b", "c"])], &[]).unwrap();
    }
    let context = Context::new();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut cut = context.clone();
    cut.set_progress(Some(Arc::new({
        let told = told.clone();
        move |rows, total| {
            told.lock().unwrap().push((rows, total));
            if rows > 3 {
                context.cancel();
            }
        }
    })));
    let error = failure(copy_under(&cut.begin(), &from, &to, None, &everything(), &[]));
    assert_eq!(error.status(), Status::Cancelled);
    assert_eq!((error.detail("feature"), error.detail("copied")), (Some("child"), Some("r/a")), "{error}");
    assert_eq!(*told.lock().unwrap(), [(3, Some(9)), (6, Some(9))]);
    let has = |feature| to.runtime().block_on(to.has(feature, &Call::default())).unwrap();
    assert_eq!(["r/a", "child", "z"].map(has), [true, false, false]);

    let rest = copy(&from, &to, None, &everything(), &[]).unwrap();
    assert_eq!(rest, reported(&[("r/a", [3, 0, 3]), ("child", [3, 3, 0]), ("z", [3, 3, 0])]));
    to.define(&child.to_string()).unwrap();
    assert_eq!(all_rows(&from, "child"), all_rows(&to, "child"));
}

#[test]
fn rows_are_recognised_in_a_table_of_other_types_and_columns() {
    let (_directory, from, to) = pair();
    let feature = json!({"key": "n", "id_columns": ["n"], "fields": ["x"]}).to_string();
    from.define(&feature).unwrap();
    to.define(&feature).unwrap();
    let of = |ids: ArrayRef, more: &str| {
        let names = ["1", "2"];
        batch(vec![
            ("n", ids),
            (more, text(&names)),
            ("metaxy_provenance_by_field", by_field(&["x"], &names)),
        ])
    };
    write(&to, "n", &[of(Arc::new(Int64Array::from(vec![1, 7])), "there")], &[]).unwrap();
    write(&from, "n", &[of(Arc::new(Int32Array::from(vec![1, 2])), "here")], &[]).unwrap();
    let copied = |[read, copied, present]: [i64; 3]| reported(&[("n", [read, copied, present])]);
    assert_eq!(copy(&from, &to, Some(&["n"]), &everything(), &[]).unwrap(), copied([2, 2, 0]));
    assert_eq!(copy(&from, &to, Some(&["n"]), &everything(), &[]).unwrap(), copied([2, 0, 2]));
    let latest = read(&to, "n", &ReadRequest::default()).unwrap();
    assert_eq!(column(&latest, "n"), ["1", "2", "7"]);
    assert_eq!(column(&latest, "here"), ["1", "2", "null"]);
}

#[test]
fn no_table_is_made_of_a_feature_without_rows_to_copy() {
    let (_directory, from, to) = pair();
    write(&from, "r/a", &[samples(&["a"])], &[]).unwrap();
    let none = ReadRequest { filters: vec!["id = 'b'".to_owned()], ..ReadRequest::default() };
    assert_eq!(copy(&from, &to, None, &none, &[]).unwrap(), reported(&[("r/a", [0, 0, 0])]));
    assert!(!to.runtime().block_on(to.has("r/a", &Call::default())).unwrap());
    assert_eq!(copy(&from, &to, Some(&[]), &none, &[]).unwrap(), []);
}

#[test]
fn stores_that_hash_in_two_ways_are_named_with_both() {
    let (_directory, from, to) = pair();
    write(&from, "r/a", &[samples(&["a"])], &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let explicit = open(&directory.path().join("explicit"), &[("name", "other"), ("hash.algorithm", "md5")]);
    let recorded = open(&directory.path().join("recorded"), &[("name", "other")]);
    let written = open(&directory.path().join("recorded"), &[("hash.algorithm", "md5")]);
    define_in(&written);
    write(&written, "r/a", &[samples(&["a"])], &[]).unwrap();
    for other in [explicit, recorded] {
        let error = failure(copy(&from, &other, None, &everything(), &[]));
        assert_eq!(error.status(), Status::SchemaMismatch);
        for word in ["staging", "other", "xxhash64", "md5"] {
            assert!(error.message().contains(word), "{error}");
        }
    }
    // A store without settings of its own has those of its chain.
    let chained = Store::open_chain(
        to_uri(&directory.path().join("chained")).as_str(),
        vec![written.into()],
        &options(&[]),
        &Call::default(),
    )
    .unwrap();
    assert_eq!(failure(copy(&from, &chained, None, &everything(), &[])).status(), Status::SchemaMismatch);
    copy(&from, &to, None, &everything(), &[]).unwrap();
}

fn to_uri(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_cannot_be_copied_is_refused_before_anything_is() {
    let (directory, from, to) = pair();
    write(&from, "r/a", &[samples(&["a"])], &[]).unwrap();
    from.define(&root("empty", &["x"])).unwrap();
    let latest = ReadRequest::default();
    let refused =
        |to: &Store, features: Option<&[&str]>, request: &ReadRequest, status: Status, word: &str| {
            let error = failure(copy(&from, to, features, request, &[]));
            assert_eq!(error.status(), status, "{error}");
            assert!(error.message().contains(word), "{error}");
        };
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("from"), &link).unwrap();
    for same in [from.clone(), open(&directory.path().join("from"), &[]), open(&link, &[])] {
        refused(&same, None, &latest, Status::InvalidArgument, "itself");
    }
    let reader = open(&directory.path().join("to"), &[("mode", "read")]);
    refused(&reader, None, &latest, Status::InvalidState, "reading only");
    let columns = ReadRequest { columns: Some(vec!["id".to_owned()]), ..ReadRequest::default() };
    refused(&to, None, &columns, Status::InvalidArgument, "all columns");
    let filter = ReadRequest { filters: vec!["nothing = 1".to_owned()], ..ReadRequest::default() };
    refused(&to, None, &filter, Status::InvalidArgument, "nothing");
    refused(&to, Some(&["r/a", "r/b"]), &latest, Status::NotFound, "not defined");
    refused(&to, Some(&["r/a", "empty"]), &latest, Status::NotFound, "has no table of the feature empty");
    refused(&to, Some(&["Not A Key"]), &latest, Status::InvalidArgument, "Not A Key");
    let system = "metaxy-system/feature_versions";
    refused(&to, Some(&["r/a", system]), &latest, Status::Unsupported, system);
    let other = open(&directory.path().join("other"), &[]);
    other.define(&json!({"key": "r/a", "id_columns": ["id", "n"], "fields": ["x"]}).to_string()).unwrap();
    refused(&other, None, &latest, Status::SchemaMismatch, "id, n");
    let error = failure(copy(&from, &to, None, &latest, &[("write.duplicates", "last")]));
    assert_eq!(error.detail("option"), Some("write.duplicates"));
    assert!(!to.runtime().block_on(to.has("r/a", &Call::default())).unwrap());
    from.close().unwrap();
    refused(&to, None, &latest, Status::InvalidState, "is closed");
}

#[test]
fn a_store_of_a_project_takes_features_of_another_only_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let from = open(&directory.path().join("from"), &[]);
    let envelope =
        json!({"feature_spec": {"key": "p", "id_columns": ["id"], "fields": ["x"]}, "project": "theirs"});
    from.define(&envelope.to_string()).unwrap();
    write(&from, "p", &[samples(&["a"])], &[]).unwrap();
    let ours = open(&directory.path().join("ours"), &[("project", "ours")]);
    let error = failure(copy(&from, &ours, None, &ReadRequest::default(), &[]));
    assert_eq!((error.status(), error.detail("project")), (Status::InvalidState, Some("theirs")));
    let allowed = [("write.cross_project", "allow")];
    let copied = copy(&from, &ours, None, &ReadRequest::default(), &allowed).unwrap();
    assert_eq!(copied, reported(&[("p", [1, 1, 0])]));
}

#[test]
fn a_table_that_is_another_features_is_not_added_to() {
    let (_directory, from, to) = pair();
    from.define(&root("a-b", &["x"])).unwrap();
    to.define(&root("a_b", &["x"])).unwrap();
    write(&from, "a-b", &[samples(&["a"])], &[]).unwrap();
    let error = failure(copy(&from, &to, None, &ReadRequest::default(), &[]));
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.message().contains("a_b, not of a-b"), "{error}");
}
