//! Deleting: what is hidden, what is removed, and what stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::Int64Array;
use metaxy::log::Level;
use metaxy::store::context::{Call, Context};
use metaxy::store::options::Options;
use metaxy::store::{Fallback, ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::Value;

use crate::support::{
    Raise, batch, by_field, column, failure, listen, open, options, read, root, rows, samples, text, write,
};

fn define(store: &Store) {
    store.define(&root("r/a", &["x"])).unwrap();
}

/// The next version of the feature.
fn redefine(store: &Store) {
    store.define(&root("r/a", &["x"]).replace("\"1\"", "\"2\"")).unwrap();
}

fn fresh() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    define(&store);
    (directory, store)
}

fn with_fallback(directory: &Path, production: &Store, missing: &str) -> Store {
    let options = options(&[("fallback.missing", missing)]);
    let fallbacks = vec![Fallback::from(production.clone())];
    let uri = directory.to_str().unwrap();
    let store = Store::open_chain(uri, fallbacks, &options, &Call::default()).unwrap();
    define(&store);
    store
}

fn put(store: &Store, ids: &[&str], size: i64) {
    let sizes = Arc::new(Int64Array::from(vec![size; ids.len()]));
    let columns =
        vec![("id", text(ids)), ("size", sizes as _), ("metaxy_provenance_by_field", by_field(&["x"], ids))];
    write(store, "r/a", &[batch(columns)], &[]).unwrap();
}

fn only(filter: &str) -> ReadRequest {
    ReadRequest { filters: vec![filter.to_owned()], ..ReadRequest::default() }
}

fn all_versions(filter: &str) -> ReadRequest {
    ReadRequest { feature_history: true, ..only(filter) }
}

fn every_row() -> ReadRequest {
    ReadRequest { sample_history: true, feature_history: true, deleted: true, ..ReadRequest::default() }
}

fn delete(store: &Store, request: &ReadRequest, pairs: &[(&str, &str)]) -> Result<u64> {
    let (call, options) = (Call::default(), options(pairs));
    store.runtime().block_on(async { store.delete("r/a", request, &options, &call).await })
}

fn soft(store: &Store, filter: &str) -> u64 {
    delete(store, &only(filter), &[]).unwrap()
}

const HARD: &[(&str, &str)] = &[("delete.mode", "hard")];
const ALL: (&str, &str) = ("delete.all", "true");

fn ids_of(store: &Store, request: &ReadRequest) -> Vec<String> {
    column(&read(store, "r/a", request).unwrap(), "id")
}

fn ids(store: &Store) -> Vec<String> {
    ids_of(store, &ReadRequest::default())
}

/// The ids of all rows that the table has, tombstones with a dagger.
fn everything(store: &Store) -> Vec<String> {
    let mut found: Vec<String> =
        rows(&read(store, "r/a", &ReadRequest { local: true, ..every_row() }).unwrap())
            .iter()
            .map(|row| {
                let dagger = if row["metaxy_deleted_at"].is_null() { "" } else { "†" };
                format!("{}{dagger}", row["id"].as_str().unwrap())
            })
            .collect();
    found.sort();
    found
}

fn version_of(store: &Store) -> String {
    column(&read(store, "r/a", &ReadRequest::default()).unwrap(), "metaxy_feature_version").remove(0)
}

fn table_version(directory: &Path) -> Option<usize> {
    Some(std::fs::read_dir(directory.join("r__a.lance/_versions")).ok()?.count())
}

#[test]
fn a_soft_delete_hides_a_sample_until_it_is_written_again() {
    let (_directory, store) = fresh();
    put(&store, &["a", "b", "c"], 1);
    put(&store, &["b"], 2);
    let before = rows(&read(&store, "r/a", &only("id = 'b'")).unwrap());
    // The filter sees the latest rows only.
    assert_eq!(soft(&store, "id = 'b' AND size = 1"), 0);
    assert_eq!(soft(&store, "size = 2"), 1);
    assert_eq!(ids(&store), ["a", "c"]);
    assert_eq!(soft(&store, "size = 2"), 0, "it is deleted already");

    let tombstone = ReadRequest { deleted: true, ..only("id = 'b'") };
    let mut after = rows(&read(&store, "r/a", &tombstone).unwrap());
    let deleted = after[0]["metaxy_deleted_at"].take();
    assert!(deleted.as_str() > before[0]["metaxy_updated_at"].as_str(), "{deleted}");
    assert_eq!(after, before, "a tombstone is the row as it was");

    put(&store, &["b"], 3);
    assert_eq!(ids(&store), ["a", "b", "c"]);
    assert_eq!(everything(&store), ["a", "b", "b", "b", "b†", "c"]);
    assert_eq!(delete(&store, &ReadRequest::default(), &[ALL]).unwrap(), 3);
    assert_eq!(ids(&store), [""; 0]);
}

#[test]
fn a_run_that_is_named_is_stamped_on_tombstones() {
    let directory = tempfile::tempdir().unwrap();
    let runs = |store: &Store| {
        let request = ReadRequest { deleted: true, ..ReadRequest::default() };
        column(&read(store, "r/a", &request).unwrap(), "metaxy_materialization_id")
    };
    let store = open(directory.path(), &[]);
    define(&store);
    write(&store, "r/a", &[samples(&["a", "b", "c"])], &[("materialization_id", "write")]).unwrap();
    soft(&store, "id = 'a'");
    assert_eq!(runs(&store), ["write"; 3]);
    delete(&store, &only("id = 'b'"), &[("materialization_id", "cleanup")]).unwrap();
    assert_eq!(runs(&store), ["cleanup", "write", "write"]);
    let store = open(directory.path(), &[("materialization_id", "nightly")]);
    define(&store);
    soft(&store, "id = 'c'");
    assert_eq!(runs(&store), ["cleanup", "nightly", "write"]);
}

#[test]
fn with_feature_history_every_version_is_deleted() {
    for way in [&[][..], HARD] {
        let (_directory, store) = fresh();
        put(&store, &["a", "b", "c", "d"], 1);
        let old = version_of(&store);
        redefine(&store);
        put(&store, &["a", "b", "d"], 2);
        let of_old = ReadRequest { feature_version: Some(old.clone()), ..ReadRequest::default() };

        // Only the present version, then only the old one.
        assert_eq!(delete(&store, &only("id = 'a'"), way).unwrap(), 1);
        assert_eq!((ids(&store), ids_of(&store, &of_old).len()), (vec!["b".into(), "d".into()], 4));
        let request = ReadRequest { feature_version: Some(old.clone()), ..only("id = 'b'") };
        assert_eq!(delete(&store, &request, way).unwrap(), 1);
        assert_eq!(
            (ids(&store).len(), ids_of(&store, &of_old)),
            (2, vec!["a".into(), "c".into(), "d".into()])
        );

        // A sample is chosen by its latest row: `d` is of size 2, and goes with its row of size 1.
        assert_eq!(delete(&store, &all_versions("id = 'd' AND size = 1"), way).unwrap(), 0);
        assert_eq!(delete(&store, &all_versions("id = 'd' AND size = 2"), way).unwrap(), 2);
        assert_eq!((ids(&store), ids_of(&store, &of_old)), (vec!["b".into()], vec!["a".into(), "c".into()]));
        // What is left of `a` is its old row, though its latest row may be a tombstone.
        assert_eq!(delete(&store, &all_versions("id IN ('a', 'none')"), way).unwrap(), 1);
        assert_eq!(ids_of(&store, &of_old), ["c"]);

        let request = ReadRequest { feature_history: true, ..ReadRequest::default() };
        let removed = delete(&store, &request, &[way, &[ALL]].concat()).unwrap();
        assert_eq!((removed, ids(&store).len(), ids_of(&store, &of_old).len()), (2, 0, 0));
        if way == HARD {
            assert_eq!(everything(&store), [""; 0]);
        }
    }
}

#[test]
fn nothing_is_committed_when_nothing_matches() {
    let (directory, store) = fresh();
    let error = failure(delete(&store, &only("id = 'a'"), &[]));
    assert_eq!(error.status(), Status::NotFound);
    let error = failure(delete(&store, &only("id = 'a'"), HARD));
    assert_eq!(error.status(), Status::NotFound);
    assert!(error.message().contains("fallback") && error.message().contains("table of r/a"), "{error}");
    assert_eq!(table_version(directory.path()), None);

    put(&store, &["a"], 1);
    let version = table_version(directory.path());
    for way in [&[][..], HARD] {
        assert_eq!(delete(&store, &only("id = 'b'"), way).unwrap(), 0);
    }
    assert_eq!(table_version(directory.path()), version);

    let here = tempfile::tempdir().unwrap();
    let chain = with_fallback(here.path(), &store, "rows");
    assert_eq!(soft(&chain, "id = 'b'"), 0);
    assert_eq!(table_version(here.path()), None, "no table is made for nothing");
}

#[test]
fn rows_of_a_fallback_are_hidden_one_by_one() {
    for missing in ["rows", "merge", "table"] {
        let (_production_directory, production) = fresh();
        put(&production, &["a", "b", "c"], 1);
        let directory = tempfile::tempdir().unwrap();
        let store = with_fallback(directory.path(), &production, missing);
        let listener = listen(Level::Warn, &store.display());
        assert_eq!(soft(&store, "id = 'b' AND size = 1"), 1);
        let warned = listener.heard().iter().any(|message| message.contains("fallback.missing=table"));
        assert_eq!(warned, missing == "table");
        drop(listener);
        assert_eq!(everything(&store), ["b†"]);
        assert_eq!(ids(&production), ["a", "b", "c"], "{missing}");
        let left: &[&str] = if missing == "table" { &[] } else { &["a", "c"] };
        assert_eq!(ids(&store), left, "{missing}");

        // Of the store itself only; what it hid comes back.
        assert_eq!(delete(&store, &only("id IN ('b', 'c')"), HARD).unwrap(), 1);
        let left: &[&str] = if missing == "table" { &[] } else { &["a", "b", "c"] };
        assert_eq!(ids(&store), left, "{missing}");
        assert_eq!(ids(&production), ["a", "b", "c"], "{missing}");
    }
}

#[test]
fn rows_of_a_fallback_are_hidden_in_every_version() {
    let (_production_directory, production) = fresh();
    put(&production, &["a", "b"], 1);
    redefine(&production);
    put(&production, &["a", "b"], 2);
    let directory = tempfile::tempdir().unwrap();
    let store = with_fallback(directory.path(), &production, "merge");
    redefine(&store);
    put(&store, &["a"], 3);
    assert_eq!(delete(&store, &all_versions("size = 3"), &[]).unwrap(), 2);
    assert_eq!(everything(&store), ["a", "a†", "a†"]);
    assert_eq!(ids(&store), ["b"]);
    define(&store);
    assert_eq!(ids(&store), ["b"]);
}

#[test]
fn a_hard_delete_takes_whole_samples_so_that_none_comes_back() {
    let (_directory, store) = fresh();
    put(&store, &["a", "b", "c"], 1);
    put(&store, &["a", "b"], 2);
    soft(&store, "id = 'b'");
    // Tombstones are among the latest rows; `size = 1` is no latest row of `a`.
    assert_eq!(delete(&store, &only("size = 1"), HARD).unwrap(), 1);
    assert_eq!(everything(&store), ["a", "a", "b", "b", "b†"]);
    assert_eq!(delete(&store, &only("metaxy_deleted_at IS NOT NULL"), HARD).unwrap(), 3);
    assert_eq!(everything(&store), ["a", "a"]);
    put(&store, &["b"], 3);
    assert_eq!(ids(&store), ["a", "b"]);
    assert_eq!(delete(&store, &ReadRequest::default(), &[HARD, &[ALL]].concat()).unwrap(), 3);
    assert_eq!(ids(&store), [""; 0]);
}

#[test]
fn with_sample_history_just_the_rows_that_match_are_removed() {
    let (_directory, store) = fresh();
    put(&store, &["a", "b"], 1);
    put(&store, &["a"], 2);
    let rows_of = |filter| ReadRequest { sample_history: true, ..only(filter) };
    assert_eq!(delete(&store, &rows_of("size = 2 OR id = 'none'"), HARD).unwrap(), 1);
    assert_eq!(everything(&store), ["a", "b"], "the row before is the latest again");
    redefine(&store);
    assert_eq!(delete(&store, &rows_of("size = 1"), HARD).unwrap(), 0, "they are of another version");
    let every = ReadRequest { feature_history: true, ..rows_of("id = 'a'") };
    assert_eq!(delete(&store, &every, HARD).unwrap(), 1);
    let every = ReadRequest { filters: Vec::new(), ..every };
    assert_eq!(delete(&store, &every, &[HARD, &[ALL]].concat()).unwrap(), 1);
    assert_eq!(everything(&store), [""; 0]);
}

#[test]
fn no_byte_of_a_removed_row_is_left_after_compaction_and_pruning() {
    fn holds(directory: &Path, secret: &[u8]) -> bool {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
            match path.is_dir() {
                true => holds(&path, secret),
                false => std::fs::read(path).unwrap().windows(secret.len()).any(|bytes| bytes == secret),
            }
        })
    }
    let (directory, store) = fresh();
    let secret = "jane.doe@example.org";
    put(&store, &[secret, "b", "c"], 1);
    put(&store, &[secret], 2);
    soft(&store, "size = 2");
    let request = all_versions(&format!("id = '{secret}'"));
    assert_eq!(delete(&store, &request, HARD).unwrap(), 3);
    assert!(holds(directory.path(), secret.as_bytes()), "older versions still have it");
    let (call, now) = (Call::default(), options(&[("prune.older_than_ms", "0")]));
    store.runtime().block_on(async { store.compact(Some("r/a"), &Options::new(), &call).await }).unwrap();
    store.runtime().block_on(async { store.prune(Some("r/a"), &now, &call).await }).unwrap();
    assert!(!holds(directory.path(), secret.as_bytes()));
    assert_eq!(everything(&store), ["b", "c"]);
}

/// One thread writes, one compacts, and this one deletes softly and for good.
#[test]
fn deletes_among_writers_and_compactions_hit_what_they_are_about() {
    const ROUNDS: usize = 6;
    let (directory, store) = fresh();
    put(&store, &["start"], 0);
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let number = |n: usize| format!("w{n:03}");
    let (mut removed, mut buried) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Raise(&done);
            while !done.load(Ordering::Relaxed) {
                let n = written.load(Ordering::Relaxed);
                put(&store, &[&number(n)], 1);
                written.store(n + 1, Ordering::Release);
            }
        });
        scope.spawn(|| {
            let _over = Raise(&done);
            let other = open(directory.path(), &[("cache.bytes", "3000000")]);
            define(&other);
            while !done.load(Ordering::Relaxed) {
                let call = Call::default();
                let compacted =
                    other.runtime().block_on(async { other.compact(None, &Options::new(), &call).await });
                compacted.unwrap();
            }
        });
        let _over = Raise(&done);
        for round in 0..ROUNDS {
            while written.load(Ordering::Acquire) <= 2 * round + 1 {
                assert!(!done.load(Ordering::Acquire), "another thread has failed");
                std::thread::yield_now();
            }
            let (hard, soft) = (number(2 * round), number(2 * round + 1));
            let filter = |id: &str| only(&format!("id = '{id}'"));
            assert_eq!(delete(&store, &filter(&hard), HARD).unwrap(), 1, "{hard}");
            assert_eq!(delete(&store, &filter(&soft), &[]).unwrap(), 1, "{soft}");
            removed.push(hard);
            buried.push(soft);
        }
    });
    let expected: Vec<String> = std::iter::once("start".to_owned())
        .chain((0..written.into_inner()).map(number))
        .filter(|id| !removed.contains(id))
        .flat_map(|id| if buried.contains(&id) { vec![id.clone(), id + "†"] } else { vec![id] })
        .collect();
    assert_eq!(everything(&store), expected);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (directory, store) = fresh();
    put(&store, &["a"], 1);
    let version = table_version(directory.path());
    let refused = |request: ReadRequest, pairs: &[(&str, &str)], parts: &[&str]| {
        let error = failure(delete(&store, &request, pairs));
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
        assert_eq!(error.detail("feature"), Some("r/a"));
        for part in parts {
            assert!(error.message().contains(part), "{error}");
        }
    };
    for way in [&[][..], HARD] {
        refused(ReadRequest::default(), way, &["everything of r/a", "delete.all=true"]);
        refused(ReadRequest { limit: Some(1), ..only("id = 'a'") }, way, &["limit"]);
        refused(only("nosuch = 1"), way, &["nosuch"]);
        refused(only("id = "), way, &["id = "]);
        refused(only("1 = 1"), way, &["no column"]);
    }
    refused(ReadRequest { sample_history: true, ..only("id = 'a'") }, &[], &["delete.mode=hard"]);
    refused(only("id = 'a'"), &[("write.duplicates", "last")], &["write.duplicates"]);
    assert!(Options::new().set("delete.mode", Some("medium")).is_err());

    let failed = |store: &Store, feature: &str, call: &Call| {
        let (runtime, options) = (store.runtime(), Options::new());
        let request = only("id = 'a'");
        failure(runtime.block_on(async { store.delete(feature, &request, &options, call).await })).status()
    };
    assert_eq!(failed(&store, "metaxy-system/feature_versions", &Call::default()), Status::Unsupported);
    assert_eq!(failed(&store, "r/undefined", &Call::default()), Status::NotFound);
    let cancelled = Context::new();
    cancelled.cancel();
    assert_eq!(failed(&store, "r/a", &cancelled.begin()), Status::Cancelled);
    let orphan = open(directory.path(), &[]);
    orphan
        .define(&root("r/a", &["x"]).replace("\"fields\"", r#""deps": [{"feature": "r/parent"}], "fields""#))
        .unwrap();
    let error = failure(delete(&orphan, &only("id = 'a'"), HARD));
    assert!(error.message().contains("r/parent"), "{error}");
    let reader = open(directory.path(), &[("mode", "read")]);
    define(&reader);
    assert_eq!(failed(&reader, "r/a", &Call::default()), Status::InvalidState);
    assert_eq!((table_version(directory.path()), ids(&store)), (version, vec!["a".to_owned()]));
    let guarded = open(directory.path(), &[("project", "mine")]);
    let theirs = format!(r#"{{"feature_spec": {}, "project": "theirs"}}"#, root("r/a", &["x"]));
    guarded.define(&theirs).unwrap();
    assert_eq!(failed(&guarded, "r/a", &Call::default()), Status::InvalidState);
    assert_eq!(delete(&guarded, &only("id = 'none'"), &[("write.cross_project", "allow")]).unwrap(), 0);
    store.close().unwrap();
    assert_eq!(failed(&store, "r/a", &Call::default()), Status::InvalidState);
}

#[test]
fn the_columns_of_a_request_do_not_matter() {
    let (_directory, store) = fresh();
    put(&store, &["a", "b"], 1);
    let columns = Some(vec!["size".to_owned()]);
    let request = ReadRequest { columns, batch_rows: Some(1), deleted: true, ..only("id = 'a'") };
    assert_eq!(delete(&store, &request, &[]).unwrap(), 1);
    let found: Vec<Value> = rows(&read(&store, "r/a", &every_row()).unwrap());
    assert!(found.iter().all(|row| row["size"] == 1 && row["metaxy_provenance"].is_string()), "{found:?}");
    assert_eq!(delete(&store, &request, HARD).unwrap(), 2);
    assert_eq!(everything(&store), ["b"]);
}
