//! Writing several features in one call: what shows when, and what is left of a failure.

use arrow::array::RecordBatch;
use metaxy::store::context::{Call, Context};
use metaxy::store::{ReadRequest, Store, Writers};
use metaxy::{Result, Status};
use serde_json::json;

use crate::support::{column, failure, open, options, read, root, rows, samples};

/// The features a <- b <- c, and d by itself.
fn family() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store.define(&root("a", &["x"])).unwrap();
    store.define(&root("d", &["x"])).unwrap();
    for (key, parent) in [("b", "a"), ("c", "b")] {
        let child = json!({"key": key, "id_columns": ["id"], "deps": [{"feature": parent}], "fields": ["x"]});
        store.define(&child.to_string()).unwrap();
    }
    (directory, store)
}

/// Starts a write and stages all of it; a failure leaves nothing when this returns.
fn staged(store: &Store, features: &[(&str, RecordBatch)], pairs: &[(&str, &str)]) -> Result<Writers> {
    let call = Call::default();
    store.runtime().block_on(async {
        let schemas: Vec<_> =
            features.iter().map(|(feature, rows)| ((*feature).to_owned(), rows.schema())).collect();
        let mut writers = store.writers(&schemas, &options(pairs), &call).await?;
        for (feature, rows) in features {
            let pushed = match writers.push(feature, rows.clone(), &call).await {
                Ok(()) => writers.stage(feature, &call).await,
                Err(error) => Err(error),
            };
            if let Err(error) = pushed {
                writers.abort().await;
                return Err(error);
            }
        }
        Ok(writers)
    })
}

fn write(store: &Store, features: &[(&str, RecordBatch)], pairs: &[(&str, &str)]) -> Result<()> {
    let writers = staged(store, features, pairs)?;
    store.runtime().block_on(writers.commit(&Call::default()))
}

fn has(store: &Store, feature: &str) -> bool {
    store.runtime().block_on(store.has(feature, &Call::default())).unwrap()
}

fn entries(directory: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_shows_until_all_is_staged_and_then_parents_are_first() {
    let (_directory, store) = family();
    let rows_of = |ids: &[&str]| samples(ids);
    let writers =
        staged(&store, &[("c", rows_of(&["1", "2"])), ("a", rows_of(&["1"])), ("b", rows_of(&["1"]))], &[]);
    let writers = writers.unwrap();
    assert_eq!(["a", "b", "c"].map(|feature| has(&store, feature)), [false; 3]);
    store.runtime().block_on(writers.commit(&Call::default())).unwrap();
    let time = |feature| {
        let found = read(&store, feature, &ReadRequest::default()).unwrap();
        rows(&found)[0]["metaxy_updated_at"].as_str().unwrap().to_owned()
    };
    assert!(time("a") < time("b") && time("b") < time("c"));
    assert_eq!(column(&read(&store, "c", &ReadRequest::default()).unwrap(), "id"), ["1", "2"]);
}

#[test]
fn a_commit_that_fails_leaves_the_parents_and_says_so() {
    for (lost, written) in [("b", Some("a")), ("c", Some("a,b")), ("d", Some("a,b,c")), ("a", None)] {
        let (directory, store) = family();
        let all = ["d", "c", "b", "a"].map(|feature| (feature, samples(&["1", "2"])));
        let writers = staged(&store, &all, &[]).unwrap();
        // Somebody puts a file where the table was to be.
        let table = directory.path().join(format!("{lost}.lance"));
        std::fs::remove_dir_all(&table).unwrap();
        std::fs::write(&table, "in the way").unwrap();
        let error = failure(store.runtime().block_on(writers.commit(&Call::default())));
        assert_eq!((error.detail("feature"), error.detail("written")), (Some(lost), written), "{error}");
        // The features before are whole, and of those behind nothing is left.
        let expected: Vec<&str> =
            written.unwrap_or_default().split(',').filter(|name| !name.is_empty()).collect();
        for feature in &expected {
            assert_eq!(column(&read(&store, feature, &ReadRequest::default()).unwrap(), "id"), ["1", "2"]);
        }
        let mut left: Vec<String> =
            expected.iter().chain(&[lost]).map(|feature| format!("{feature}.lance")).collect();
        left.sort();
        assert_eq!(entries(&directory), left);
    }
}

#[test]
fn bad_rows_of_one_feature_keep_all_from_being_written() {
    let (directory, store) = family();
    let twice = [("a", samples(&["1"])), ("b", samples(&["1", "1"])), ("d", samples(&["1"]))];
    let error = failure(write(&store, &twice, &[]));
    assert_eq!((error.status(), error.detail("feature")), (Status::InvalidArgument, Some("b")));
    assert_eq!((error.detail("value"), error.detail("written")), (Some("id=1"), None));
    assert_eq!(entries(&directory), Vec::<String>::new());
    write(&store, &twice, &[("write.duplicates", "last")]).unwrap();
    assert_eq!(column(&read(&store, "b", &ReadRequest::default()).unwrap(), "id"), ["1"]);
}

#[test]
fn a_write_that_is_dropped_or_cancelled_leaves_nothing() {
    let (directory, store) = family();
    let both = [("a", samples(&["1"])), ("b", samples(&["1"]))];
    let context = Context::new();
    let writers = staged(&store, &both, &[]).unwrap();
    context.cancel();
    let error = failure(store.runtime().block_on(writers.commit(&context.begin())));
    assert_eq!((error.status(), error.detail("written")), (Status::Cancelled, None));
    assert_eq!(entries(&directory), Vec::<String>::new());
    drop(staged(&store, &both, &[]).unwrap());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !entries(&directory).is_empty() {
        assert!(std::time::Instant::now() < end, "{:?}", entries(&directory));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn no_feature_is_nothing_and_two_of_one_are_refused() {
    let (directory, store) = family();
    write(&store, &[], &[]).unwrap();
    for (features, status, word) in [
        (["a", "a"], Status::InvalidArgument, "given twice"),
        (["a", "e"], Status::NotFound, "not defined"),
        (["a", "A"], Status::InvalidArgument, "'A'"),
        (["a", "metaxy-system/feature_versions"], Status::Unsupported, "Metaxy itself"),
    ] {
        let rows = features.map(|feature| (feature, samples(&["1"])));
        let error = failure(write(&store, &rows, &[]));
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(word), "{error}");
    }
    assert_eq!(entries(&directory), Vec::<String>::new());
    let reader = open(directory.path(), &[("mode", "read")]);
    assert_eq!(failure(write(&reader, &[], &[])).status(), Status::InvalidState);
    let mut writers = staged(&store, &[("a", samples(&["1"]))], &[]).unwrap();
    let call = Call::default();
    let pushed = writers.push("a", samples(&["2"]), &call);
    assert_eq!(failure(store.runtime().block_on(pushed)).status(), Status::InvalidState);
}
