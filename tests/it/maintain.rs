//! Compaction, pruning and purging: what they do, and that nobody else notices.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use metaxy::log::Level;
use metaxy::store::context::{Call, Context};
use metaxy::store::options::Options;
use metaxy::store::{Fallback, ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::json;

use crate::support::{
    Raise, batch, by_field, column, copy, failure, golden, golden_json, listen, open, options, read, root,
    rows, samples, text, write,
};

fn define(store: &Store) {
    store.define(&root("r/a", &["x"])).unwrap();
}

fn fresh(pairs: &[(&str, &str)]) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), pairs);
    define(&store);
    (directory, store)
}

/// A store that shares nothing with others of this process but the directory.
fn stranger(directory: &Path, number: usize, pairs: &[(&str, &str)]) -> Store {
    let cache = (2_000_000 + number).to_string();
    let store = open(directory, &[&[("cache.bytes", cache.as_str())], pairs].concat());
    define(&store);
    store
}

fn all() -> ReadRequest {
    ReadRequest::default()
}

fn history() -> ReadRequest {
    ReadRequest { sample_history: true, feature_history: true, deleted: true, ..all() }
}

fn ids(store: &Store, request: &ReadRequest) -> Vec<String> {
    column(&read(store, "r/a", request).unwrap(), "id")
}

fn put(store: &Store, id: &str) {
    write(store, "r/a", &[samples(&[id])], &[]).unwrap();
}

fn bury(store: &Store, id: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = TimestampMicrosecondArray::from(vec![now.as_micros() as i64]).with_timezone("UTC");
    let columns = vec![
        ("id", text(&[id])),
        ("metaxy_provenance_by_field", by_field(&["x"], &[id])),
        ("metaxy_deleted_at", Arc::new(now)),
    ];
    std::thread::sleep(Duration::from_millis(2));
    write(store, "r/a", &[batch(columns)], &[]).unwrap();
    std::thread::sleep(Duration::from_millis(2));
}

fn compact(store: &Store, feature: Option<&str>) -> Result<RecordBatch> {
    let call = Call::default();
    store.runtime().block_on(async { store.compact(feature, &Options::new(), &call).await })
}

fn prune(store: &Store, feature: Option<&str>, age: &str) -> Result<RecordBatch> {
    let (call, options) = (Call::default(), options(&[("prune.older_than_ms", age)]));
    store.runtime().block_on(async { store.prune(feature, &options, &call).await })
}

fn purge(store: &Store, feature: Option<&str>, pairs: &[(&str, &str)]) -> Result<RecordBatch> {
    let (call, options) = (Call::default(), options(pairs));
    store.runtime().block_on(async { store.purge(feature, &options, &call).await })
}

/// A count of a report of one row.
fn count(report: &RecordBatch, name: &str) -> i64 {
    assert_eq!(report.num_rows(), 1, "{report:?}");
    report.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0)
}

/// The files of the table, `data` or `_versions`; Lance keeps a hint to the newest version with the latter.
fn files(directory: &Path, kind: &str) -> usize {
    let Ok(files) = std::fs::read_dir(directory.join("r__a.lance").join(kind)) else { return 0 };
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|kind| kind != "json")).count()
}

#[test]
fn compaction_and_pruning_say_what_they_did() {
    let (directory, store) = fresh(&[]);
    for n in 0..20 {
        put(&store, &format!("{n:02}"));
    }
    let before = ids(&store, &all());
    let report = compact(&store, Some("r/a")).unwrap();
    assert_eq!(count(&report, "fragments_before"), 20);
    assert_eq!(count(&report, "fragments_after"), 1);
    assert_eq!(count(&report, "rows_removed"), 0);
    let version = count(&report, "version");
    assert_eq!(column(&[report.clone()], "feature"), ["r/a"]);
    assert_eq!(column(&[report], "table"), ["r__a"]);
    assert_eq!(ids(&store, &all()), before);
    assert_eq!(files(directory.path(), "data"), 21);

    // Nothing is a week old.
    let report = prune(&store, None, "604800000").unwrap();
    assert_eq!((count(&report, "versions_removed"), count(&report, "bytes_removed")), (0, 0));
    let report = prune(&store, None, "0").unwrap();
    assert_eq!(count(&report, "version"), version);
    assert_eq!(count(&report, "versions_removed"), version - 1);
    assert!(count(&report, "bytes_removed") > 10_000, "{report:?}");
    assert_eq!((files(directory.path(), "data"), files(directory.path(), "_versions")), (1, 1));
    assert_eq!(ids(&store, &all()), before);

    // There is nothing left to do, and no version is made for it.
    let report = compact(&store, None).unwrap();
    assert_eq!((count(&report, "fragments_after"), count(&report, "version")), (1, version));
    put(&store, "20");
    assert_eq!(ids(&store, &all()).len(), 21);
}

#[test]
fn a_version_is_kept_until_it_was_superseded_long_enough() {
    let (directory, store) = fresh(&[]);
    put(&store, "a");
    std::thread::sleep(Duration::from_millis(1500));
    put(&store, "b");
    put(&store, "c");
    // Both older ones were superseded just now, however old the first is.
    assert_eq!(count(&prune(&store, None, "1000").unwrap(), "versions_removed"), 0);
    assert!(files(directory.path(), "_versions") >= 3);
    assert!(count(&prune(&store, None, "0").unwrap(), "versions_removed") >= 2);
}

#[test]
fn a_stream_sees_all_its_rows_through_compaction_and_pruning() {
    let (directory, store) = fresh(&[]);
    for n in 0..12 {
        let ids: Vec<String> = (0..1000).map(|id| format!("{n}-{id}")).collect();
        write(&store, "r/a", &[samples(&ids.iter().map(String::as_str).collect::<Vec<_>>())], &[]).unwrap();
    }
    let request = ReadRequest { batch_rows: Some(100), ..all() };
    let (reader, call) = (stranger(directory.path(), 0, &[("mode", "read")]), Call::default());
    let mut stream = reader
        .runtime()
        .block_on(async {
            let mut stream = reader.read("r/a", &request, &call).await?;
            stream.next().await.unwrap()?;
            Ok(stream)
        })
        .unwrap();
    compact(&store, Some("r/a")).unwrap();
    let purged = purge(&store, Some("r/a"), &[("purge.older_than_ms", "0")]).unwrap();
    assert_eq!(count(&purged, "rows_removed"), 0);
    let pinned = count(&prune(&store, Some("r/a"), "0").unwrap(), "versions_removed");
    assert!(files(directory.path(), "data") > 12, "the files that are read were removed");
    let rest = reader
        .runtime()
        .block_on(async {
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch?.num_rows();
            }
            Ok(rows)
        })
        .unwrap();
    assert_eq!(rest, 12_000 - 100);
    assert!(pinned > 0, "what is older than the version that is read may go");
    drop(stream);
    assert!(count(&prune(&store, Some("r/a"), "0").unwrap(), "versions_removed") > 0);
    assert_eq!((files(directory.path(), "data"), files(directory.path(), "_versions")), (1, 1));
    assert_eq!(ids(&reader, &all()).len(), 12_000);
}

/// Starts this test program as another process that does `role` in `directory`.
fn process(role: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "maintain::another_process", "--quiet"])
        .env("METAXY_TEST_ROLE", role)
        .env("METAXY_TEST_DIRECTORY", directory)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

const WRITES: usize = 40;

/// A part of other tests, which start it in a process of its own; else it has nothing to do.
#[test]
fn another_process() {
    let Some(role) = std::env::var_os("METAXY_TEST_ROLE") else { return };
    let directory = std::env::var_os("METAXY_TEST_DIRECTORY").unwrap();
    let store = open(Path::new(&directory), &[("compact.after_writes", "8"), ("compact.keep_ms", "0")]);
    define(&store);
    for n in 0..WRITES {
        put(&store, &format!("{}-{n}", role.to_str().unwrap()));
    }
}

#[test]
fn processes_that_append_read_and_maintain_do_not_disturb_each_other() {
    let (directory, store) = fresh(&[]);
    put(&store, "first");
    let mut writers: Vec<Child> =
        (0..3).map(|number| process(&format!("w{number}"), directory.path())).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        scope.spawn(|| {
            let keeper = stranger(directory.path(), 1, &[]);
            while !over.load(Ordering::Relaxed) {
                compact(&keeper, None).unwrap();
                prune(&keeper, None, "0").unwrap();
                purge(&keeper, None, &[("purge.older_than_ms", "0")]).unwrap();
            }
        });
        for number in 2..4 {
            let over = &over;
            let directory = directory.path();
            scope.spawn(move || {
                let reader = stranger(directory, number, &[("mode", "read")]);
                let mut seen = 0;
                while !over.load(Ordering::Relaxed) {
                    let now = ids(&reader, &all()).len();
                    assert!(now >= seen, "{now} rows after {seen}");
                    seen = now;
                }
            });
        }
        let ended: Vec<_> = writers.iter_mut().map(|writer| writer.wait().unwrap()).collect();
        assert!(ended.iter().all(|status| status.success()), "{ended:?}");
    });
    assert_eq!(ids(&store, &history()).len(), 1 + 3 * WRITES);
    compact(&store, None).unwrap();
    prune(&store, None, "0").unwrap();
    assert_eq!((files(directory.path(), "data"), files(directory.path(), "_versions")), (1, 1));
    assert_eq!(ids(&store, &all()).len(), 1 + 3 * WRITES);
}

/// Rows of equal times: the last one counts, whatever is compacted while they are appended.
#[test]
fn compaction_keeps_the_order_of_rows() {
    let (directory, store) = fresh(&[]);
    let append = |store: &Store, n: i64| {
        let time = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]).with_timezone("UTC");
        let columns = vec![
            ("id", text(&["a"])),
            ("metaxy_provenance_by_field", by_field(&["x"], &["a"])),
            ("metaxy_deleted_at", Arc::new(time) as _),
            ("n", Arc::new(Int64Array::from(vec![n])) as _),
        ];
        write(store, "r/a", &[batch(columns)], &[]).unwrap();
    };
    append(&store, 0);
    let over = AtomicBool::new(false);
    let request = ReadRequest { deleted: true, ..all() };
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        scope.spawn(|| {
            let keeper = stranger(directory.path(), 4, &[]);
            while !over.load(Ordering::Relaxed) {
                compact(&keeper, None).unwrap();
            }
        });
        for n in 1..40 {
            append(&store, n);
            assert_eq!(column(&read(&store, "r/a", &request).unwrap(), "n"), [n.to_string()]);
        }
    });
    compact(&store, None).unwrap();
    assert_eq!(column(&read(&store, "r/a", &request).unwrap(), "n"), ["39"]);
    let every = read(&store, "r/a", &history()).unwrap();
    let order: Vec<i64> = every
        .iter()
        .flat_map(|batch| batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(order, (0..40).collect::<Vec<_>>());
}

#[test]
fn purging_removes_what_nobody_sees_any_more() {
    let (_directory, store) = fresh(&[]);
    for id in ["a", "a", "b", "a"] {
        put(&store, id);
    }
    bury(&store, "b");
    bury(&store, "c");
    assert_eq!(count(&purge(&store, Some("r/a"), &[]).unwrap(), "rows_removed"), 0, "30 days by default");
    let zero = ("purge.older_than_ms", "0");
    let kept = purge(&store, Some("r/a"), &[zero, ("purge.tombstones", "keep")]).unwrap();
    assert_eq!(count(&kept, "rows_removed"), 3);
    assert_eq!(ids(&store, &history()), ["a", "b", "c"]);
    assert_eq!(count(&purge(&store, None, &[zero]).unwrap(), "rows_removed"), 2);
    assert_eq!(ids(&store, &history()), ["a"]);
    let again = purge(&store, None, &[zero]).unwrap();
    assert_eq!(count(&again, "rows_removed"), 0);
    // The space is given back by a compaction, also where a fragment is left with nothing.
    let report = compact(&store, None).unwrap();
    assert_eq!(count(&report, "fragments_after"), 1);
    put(&store, "b");
    assert_eq!(ids(&store, &all()), ["a", "b"]);
}

#[test]
fn deleted_rows_within_a_fragment_are_compacted_away() {
    let (_directory, store) = fresh(&[]);
    write(&store, "r/a", &[samples(&["a", "b", "c"])], &[]).unwrap();
    put(&store, "b");
    assert_eq!(count(&purge(&store, None, &[("purge.older_than_ms", "0")]).unwrap(), "rows_removed"), 1);
    let report = compact(&store, None).unwrap();
    assert_eq!((count(&report, "rows_removed"), count(&report, "fragments_after")), (1, 1));
    assert_eq!(ids(&store, &history()), ["a", "b", "c"]);
}

#[test]
fn a_table_of_which_nothing_is_left_stays_usable() {
    let (_directory, store) = fresh(&[]);
    bury(&store, "a");
    bury(&store, "b");
    assert_eq!(count(&purge(&store, None, &[("purge.older_than_ms", "0")]).unwrap(), "rows_removed"), 2);
    assert_eq!(ids(&store, &history()), Vec::<String>::new());
    compact(&store, None).unwrap();
    prune(&store, None, "0").unwrap();
    put(&store, "a");
    assert_eq!(ids(&store, &all()), ["a"]);
}

#[test]
fn purging_keeps_to_each_version_of_the_feature() {
    let (_directory, store) = fresh(&[]);
    put(&store, "a");
    put(&store, "a");
    store.define(&root("r/a", &["x"]).replace("\"1\"", "\"2\"")).unwrap();
    put(&store, "a");
    put(&store, "b");
    bury(&store, "a");
    let versions = ReadRequest { feature_history: true, ..all() };
    assert_eq!(ids(&store, &versions), ["b"]);
    let report = purge(&store, None, &[("purge.older_than_ms", "0")]).unwrap();
    // The tombstone stays: without it the first version's row would be the latest of all.
    assert_eq!(count(&report, "rows_removed"), 2);
    assert_eq!(ids(&store, &history()), ["a", "a", "b"]);
    assert_eq!(ids(&store, &versions), ["b"]);
    define(&store);
    assert_eq!(ids(&store, &all()), ["a"], "the row of the first version is still there");
}

#[test]
fn tombstones_over_a_fallback_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (_production, production) = fresh(&[]);
    put(&production, "a");
    let call = Call::default();
    let uri = directory.path().to_str().unwrap();
    let store = Store::open_chain(uri, vec![Fallback::from(production)], &Options::new(), &call).unwrap();
    define(&store);
    bury(&store, "a");
    let zero = ("purge.older_than_ms", "0");
    assert_eq!(count(&purge(&store, None, &[zero]).unwrap(), "rows_removed"), 0);
    let forced = purge(&store, None, &[zero, ("purge.tombstones", "remove")]).unwrap();
    assert_eq!(count(&forced, "rows_removed"), 1);
}

#[test]
fn writes_keep_a_table_compact_when_they_are_told_to() {
    let (directory, store) = fresh(&[("compact.after_writes", "4"), ("compact.keep_ms", "0")]);
    for n in 0..30 {
        put(&store, &format!("{n:02}"));
        // The last eight versions stay, and what was committed since the last compaction.
        assert!(files(directory.path(), "data") <= 8 + 8, "after {n}");
        assert!(files(directory.path(), "_versions") <= 8 + 6, "after {n}");
    }
    assert_eq!(ids(&store, &all()).len(), 30);
    for none in ["none", "0"] {
        let (directory, store) = fresh(&[("compact.after_writes", none)]);
        (0..6).for_each(|n| put(&store, &n.to_string()));
        assert_eq!(files(directory.path(), "data"), 6);
    }
}

#[test]
fn a_compaction_that_fails_does_not_fail_the_write() {
    let (directory, store) = fresh(&[("compact.after_writes", "2")]);
    put(&store, "a");
    // Another one is at it.
    let table = std::fs::File::open(directory.path().join("r__a.lance/_transactions")).unwrap();
    table.lock().unwrap();
    put(&store, "b");
    put(&store, "c");
    assert_eq!(files(directory.path(), "data"), 3);
    table.unlock().unwrap();
    // The first rows cannot be read any more.
    for entry in std::fs::read_dir(directory.path().join("r__a.lance/data")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"damaged").unwrap();
    }
    let log = listen(Level::Warn, directory.path().to_str().unwrap());
    write(&store, "r/a", &[samples(&["d"])], &[]).unwrap();
    assert!(log.heard().iter().any(|message| message.contains("was not compacted")));
}

#[test]
fn a_table_that_is_dropped_while_it_is_compacted_leaves_nothing() {
    let (directory, store) = fresh(&[]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        for number in 8..10 {
            let (over, directory) = (&over, directory.path());
            scope.spawn(move || {
                let keeper = stranger(directory, number, &[]);
                while !over.load(Ordering::Relaxed) {
                    let report = compact(&keeper, None).unwrap();
                    assert!(rows(&[report.clone()]).iter().all(|row| row["problem"].is_null()), "{report:?}");
                    let report = prune(&keeper, None, "0").unwrap();
                    assert!(rows(&[report.clone()]).iter().all(|row| row["problem"].is_null()), "{report:?}");
                }
            });
        }
        for _ in 0..15 {
            (0..4).for_each(|n| put(&store, &n.to_string()));
            let call = Call::default();
            store
                .runtime()
                .block_on(async { store.drop_feature("r/a", &Options::new(), &call).await })
                .unwrap();
        }
    });
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(files(directory.path(), "_versions") == 0, "{left:?}");
    put(&store, "a");
    assert_eq!(ids(&store, &history()), ["a"]);
}

#[test]
fn tables_of_metaxy_itself_are_compacted_and_pruned_but_not_purged() {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("stores/basic"), directory.path());
    let graph = golden_json("stores/basic.expected.json")["graphs"]["v2"].to_string();
    let store = open(directory.path(), &[("project", "golden")]);
    store.define(&graph).unwrap();
    let every = |feature: &str| rows(&read(&store, feature, &history()).unwrap());
    let features = ["metaxy-system/feature_versions", "example/video"];
    let before = features.map(every);
    let report = compact(&store, None).unwrap();
    let described: Vec<_> = rows(&[report.clone()]).into_iter().map(|row| row["feature"].clone()).collect();
    assert!(described.contains(&json!("metaxy-system/feature_versions")), "{described:?}");
    assert!(prune(&store, None, "0").unwrap().num_rows() == report.num_rows());
    assert_eq!(features.map(every), before);
    compact(&store, Some("metaxy-system/feature_versions")).unwrap();
    let refused = failure(purge(&store, Some("metaxy-system/feature_versions"), &[]));
    assert_eq!(refused.status(), Status::Unsupported);
}

#[test]
fn what_cannot_be_maintained_is_refused() {
    let (directory, store) = fresh(&[]);
    assert_eq!(compact(&store, None).unwrap().num_rows(), 0);
    for refused in
        [compact(&store, Some("r/a")), prune(&store, Some("r/a"), "0"), purge(&store, Some("r/a"), &[])]
    {
        assert_eq!(failure(refused).status(), Status::NotFound);
    }
    assert_eq!(failure(purge(&store, Some("no/such"), &[])).status(), Status::NotFound);
    assert_eq!(failure(compact(&store, Some("No"))).status(), Status::InvalidArgument);
    put(&store, "a");
    let reader = stranger(directory.path(), 5, &[("mode", "read")]);
    for refused in
        [compact(&reader, Some("r/a")), prune(&reader, None, "0"), purge(&reader, Some("r/a"), &[])]
    {
        assert_eq!(failure(refused).status(), Status::InvalidState);
    }
    assert_eq!(
        failure(purge(&store, None, &[("prune.older_than_ms", "0")])).detail("option"),
        Some("prune.older_than_ms")
    );
    for (key, value) in [
        ("compact.after_writes", "often"),
        ("compact.keep_ms", "-1"),
        ("prune.older_than_ms", "none"),
        ("purge.older_than_ms", "1d"),
        ("purge.tombstones", "yes"),
    ] {
        assert_eq!(failure(Options::new().set(key, Some(value))).status(), Status::InvalidArgument, "{key}");
    }
    let context = Context::new();
    context.cancel();
    let (call, none) = (context.begin(), Options::new());
    let cancelled = store.runtime().block_on(async { store.compact(None, &none, &call).await });
    assert_eq!(failure(cancelled).status(), Status::Cancelled);
    assert_eq!(ids(&store, &all()), ["a"]);
}

/// The bytes of all files, and what they take on the disk.
fn size(directory: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()).fold((0, 0), |sum, entry| {
        let found = entry.metadata().unwrap();
        let (bytes, blocks) = if found.is_dir() { size(&entry.path()) } else { (0, 0) };
        (sum.0 + found.len() + bytes, sum.1 + found.blocks() * 512 + blocks)
    })
}

#[test]
fn a_table_of_many_small_writes_stays_small() {
    let (directory, store) = fresh(&[("compact.after_writes", "32"), ("compact.keep_ms", "0")]);
    (0..200).for_each(|n| put(&store, &format!("{n:04}")));
    assert_eq!(ids(&store, &all()).len(), 200);
    let (bytes, on_disk) = size(directory.path());
    assert!(on_disk < 2 << 20, "{bytes} bytes, which take {on_disk}");
    // The versions since the last compaction, it, and those before that stay.
    assert!(files(directory.path(), "_versions") <= 32 + 2 + 8);
    let fragments = count(&compact(&store, None).unwrap(), "fragments_before");
    assert!(fragments < 3 * 32, "{fragments} fragments");
}

#[test]
fn a_stream_of_a_table_in_memory_keeps_its_version() {
    let store = Store::open("memory://", &Options::new(), &Call::default()).unwrap();
    define(&store);
    for n in 0..4 {
        let ids: Vec<String> = (0..1000).map(|id| format!("{n}-{id}")).collect();
        write(&store, "r/a", &[samples(&ids.iter().map(String::as_str).collect::<Vec<_>>())], &[]).unwrap();
    }
    let (request, call) = (ReadRequest { batch_rows: Some(10), ..all() }, Call::default());
    let (mut stream, first) = store
        .runtime()
        .block_on(async {
            let mut stream = store.read("r/a", &request, &call).await?;
            let first = stream.next().await.unwrap()?.num_rows();
            Ok((stream, first))
        })
        .unwrap();
    compact(&store, None).unwrap();
    let removed = count(&prune(&store, None, "0").unwrap(), "versions_removed");
    let rest = store
        .runtime()
        .block_on(async {
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch?.num_rows();
            }
            Ok(rows)
        })
        .unwrap();
    assert_eq!(first + rest, 4000);
    drop(stream);
    let later = count(&prune(&store, None, "0").unwrap(), "versions_removed");
    assert!(removed == 3 && later == 2, "{removed}, then {later}");
}

#[test]
fn a_table_that_cannot_be_maintained_does_not_stop_the_others() {
    let (directory, store) = fresh(&[]);
    store.define(&root("r/b", &["x"])).unwrap();
    for feature in ["r/a", "r/b"] {
        (0..3).for_each(|n| write(&store, feature, &[samples(&[&n.to_string()])], &[]).unwrap());
    }
    for entry in std::fs::read_dir(directory.path().join("r__a.lance/data")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"damaged").unwrap();
    }
    let stranger = stranger(directory.path(), 7, &[]);
    for report in
        [compact(&stranger, None).unwrap(), purge(&stranger, None, &[("purge.older_than_ms", "0")]).unwrap()]
    {
        let rows = rows(&[report]);
        let problems: Vec<_> = rows.iter().map(|row| (&row["table"], row["problem"].is_null())).collect();
        assert!(problems.contains(&(&json!("r__a"), false)), "{rows:?}");
        assert!(problems.contains(&(&json!("r__b"), true)) || problems.len() == 1, "{rows:?}");
        assert!(rows.iter().all(|row| row["version"].is_null() != row["problem"].is_null()), "{rows:?}");
    }
    failure(compact(&stranger, Some("r/a")));
    compact(&stranger, Some("r/b")).unwrap();
}

#[test]
fn what_cannot_be_kept_from_being_pruned_is_not_opened() {
    let (directory, store) = fresh(&[]);
    put(&store, "a");
    let versions = std::fs::read_dir(directory.path().join("r__a.lance/_versions")).unwrap();
    let newest = versions
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().unwrap() == "manifest")
        .min();
    // As if somebody was pruning all the time.
    let newest = std::fs::File::open(newest.unwrap()).unwrap();
    newest.lock().unwrap();
    for error in [
        failure(read(&store, "r/a", &all())),
        failure(write(&store, "r/a", &[samples(&["b"])], &[])),
        failure(prune(&store, Some("r/a"), "0")),
    ] {
        assert_eq!((error.status(), error.is_retryable()), (Status::Conflict, true), "{error}");
        assert!(error.message().contains("r__a"), "{error}");
    }
    newest.unlock().unwrap();
    put(&store, "b");
    assert_eq!(ids(&store, &all()), ["a", "b"]);
}

#[test]
fn a_pruning_that_has_to_wait_can_be_given_up() {
    let (directory, store) = fresh(&[]);
    (0..3).for_each(|n| put(&store, &n.to_string()));
    // Whoever has the table alone keeps a pruning out, which can be given up.
    let table = std::fs::File::open(directory.path().join("r__a.lance")).unwrap();
    table.lock().unwrap();
    let mut context = Context::new();
    context.set_timeout(Some(Duration::from_millis(100)));
    let (call, at_once) = (context.begin(), options(&[("prune.older_than_ms", "0")]));
    let late = store.runtime().block_on(async { store.prune(None, &at_once, &call).await });
    assert_eq!(failure(late).status(), Status::Timeout);
    table.unlock().unwrap();
    assert!(count(&prune(&store, None, "0").unwrap(), "versions_removed") > 0);
}

#[test]
fn a_write_is_done_however_long_its_compaction_would_take() {
    let (directory, store) = fresh(&[("compact.after_writes", "2"), ("compact.keep_ms", "0")]);
    put(&store, "a");
    let mut context = Context::new();
    let (sender, cancelled) = (context.clone(), AtomicBool::new(false));
    // Told when the rows are committed, which is before the compaction.
    let done = Arc::new(move |_, total: Option<u64>| {
        if total.is_some() {
            sender.cancel();
        }
    });
    context.set_progress(Some(done));
    let call = context.begin();
    store
        .runtime()
        .block_on(async {
            let mut writer = store.writer("r/a", samples(&["b"]).schema(), &Options::new(), &call).await?;
            writer.push(samples(&["b"]), &call).await?;
            let committed = writer.commit(&call).await;
            cancelled.store(context.is_cancelled(), Ordering::Relaxed);
            committed
        })
        .unwrap();
    assert!(cancelled.into_inner());
    assert_eq!((ids(&store, &all()).len(), files(directory.path(), "data")), (2, 2));
    put(&store, "c");
    assert!(files(directory.path(), "_versions") > 3, "it was compacted by the next write");
}
