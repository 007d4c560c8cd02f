//! Dropping a feature, while others write and read it too.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metaxy::store::context::{Call, Context};
use metaxy::store::options::Options;
use metaxy::store::{ReadRequest, Store};
use metaxy::{Result, Status};

use crate::support::{column, failure, open, options, read, root, samples, write};

fn drop_feature(store: &Store, feature: &str) -> Result<bool> {
    store.runtime().block_on(store.drop_feature(feature, &Options::new(), &Call::default()))
}

fn defined(directory: &Path, pairs: &[(&str, &str)]) -> Store {
    let store = open(directory, pairs);
    store.define(&root("r/a", &["x"])).unwrap();
    store
}

fn all() -> ReadRequest {
    ReadRequest::default()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_dropped_feature_is_gone_with_its_history() {
    let directory = tempfile::tempdir().unwrap();
    for pairs in [[("name", "local")].as_slice(), &[("durability", "disk")]] {
        let store = defined(directory.path(), pairs);
        assert!(!drop_feature(&store, "r/a").unwrap());
        write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
        write(&store, "r/a", &[samples(&["b"])], &[]).unwrap();
        assert!(drop_feature(&store, "r/a").unwrap());
        assert_eq!(names(directory.path()), Vec::<String>::new());
        assert_eq!(failure(read(&store, "r/a", &all())).status(), Status::NotFound);
        assert!(!drop_feature(&store, "r/a").unwrap());
        // A new table of the name knows nothing of the old one.
        write(&store, "r/a", &[samples(&["c"])], &[]).unwrap();
        let history = ReadRequest { sample_history: true, feature_history: true, ..all() };
        assert_eq!(column(&read(&store, "r/a", &history).unwrap(), "id"), ["c"]);
        assert!(drop_feature(&store, "r/a").unwrap());
    }
}

#[test]
fn a_feature_need_not_be_defined_nor_its_table_be_whole() {
    let directory = tempfile::tempdir().unwrap();
    write(&defined(directory.path(), &[]), "r/a", &[samples(&["a"])], &[]).unwrap();
    for manifest in fs::read_dir(directory.path().join("r__a.lance/_versions")).unwrap() {
        fs::write(manifest.unwrap().path(), "damaged").unwrap();
    }
    let store = open(directory.path(), &[]);
    assert!(drop_feature(&store, "r/a").unwrap());
    assert!(!drop_feature(&store, "r/a").unwrap());
}

#[test]
fn a_store_in_memory_drops_too() {
    let store = Store::open("memory://", &Options::new(), &Call::default()).unwrap();
    store.define(&root("r/a", &["x"])).unwrap();
    assert!(!drop_feature(&store, "r/a").unwrap());
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    assert!(drop_feature(&store, "r/a").unwrap());
    assert_eq!(failure(read(&store, "r/a", &all())).status(), Status::NotFound);
    write(&store, "r/a", &[samples(&["b"])], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["b"]);
}

#[test]
fn what_must_not_be_dropped_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = defined(directory.path(), &[]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let reader = defined(directory.path(), &[("mode", "read")]);
    for (store, feature, status) in [
        (&store, "metaxy-system/feature_versions", Status::Unsupported),
        (&store, "a b", Status::InvalidArgument),
        (&reader, "r/a", Status::InvalidState),
    ] {
        let error = failure(drop_feature(store, feature));
        assert_eq!(error.status(), status, "{error}");
    }
    let call = Call::default();
    let other = options(&[("mode", "write")]);
    let error = failure(store.runtime().block_on(store.drop_feature("r/a", &other, &call)));
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(column(&read(&reader, "r/a", &all()).unwrap(), "id"), ["a"]);
    store.close().unwrap();
    assert_eq!(failure(drop_feature(&store, "r/a")).status(), Status::InvalidState);
}

#[test]
fn a_drop_waits_for_commits_and_can_be_given_up_till_then() {
    let directory = tempfile::tempdir().unwrap();
    let store = defined(directory.path(), &[]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let committing = File::open(directory.path().join("r__a.lance")).unwrap();
    committing.lock_shared().unwrap();
    let mut context = Context::new();
    context.set_timeout(Some(Duration::from_millis(50)));
    let dropped = store.runtime().block_on(store.drop_feature("r/a", &Options::new(), &context.begin()));
    assert_eq!(failure(dropped).status(), Status::Timeout);
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a"]);
    // Another commit is not kept waiting by a drop that was given up.
    write(&store, "r/a", &[samples(&["b"])], &[]).unwrap();
    std::thread::scope(|threads| {
        let dropping = threads.spawn(|| drop_feature(&store, "r/a"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!dropping.is_finished());
        committing.unlock().unwrap();
        assert!(dropping.join().unwrap().unwrap());
    });
}

#[test]
fn a_write_whose_table_is_dropped_says_so_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for recreated in [false, true] {
        let store = defined(directory.path(), &[]);
        write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
        let call = Call::default();
        let error = failure(store.runtime().block_on(async {
            let batch = samples(&["b", "c"]);
            let mut writer = store.writer("r/a", batch.schema(), &Options::new(), &call).await?;
            writer.push(batch, &call).await?;
            // Its rows are on their way to a file by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(store.drop_feature("r/a", &Options::new(), &call).await?);
            if recreated {
                let batch = samples(&["d"]);
                let mut other = store.writer("r/a", batch.schema(), &Options::new(), &call).await?;
                other.push(batch, &call).await?;
                other.commit(&call).await?;
            }
            writer.commit(&call).await
        }));
        assert_eq!(error.status(), Status::Conflict, "{error}");
        assert!(error.message().contains("was dropped while rows were being written"), "{error}");
        if recreated {
            assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["d"]);
            assert_eq!(names(&directory.path().join("r__a.lance/data")).len(), 1);
        } else {
            assert_eq!(names(directory.path()), Vec::<String>::new());
        }
    }
}

#[test]
fn a_stream_of_a_dropped_table_ends_or_says_so() {
    let directory = tempfile::tempdir().unwrap();
    for (uri, again) in
        [(directory.path().to_str().unwrap(), true), ("memory://", true), ("memory://", false)]
    {
        let store = Store::open(uri, &Options::new(), &Call::default()).unwrap();
        store.define(&root("r/a", &["x"])).unwrap();
        for number in 0..40 {
            write(&store, "r/a", &[samples(&[&format!("{number}")])], &[]).unwrap();
        }
        let request = ReadRequest { batch_rows: Some(1), ..all() };
        let (mut rows, mut failed) = (0, None);
        store
            .runtime()
            .block_on(async {
                let mut stream = store.read("r/a", &request, &Call::default()).await.unwrap();
                rows += stream.next().await.unwrap().unwrap().num_rows();
                assert!(store.drop_feature("r/a", &Options::new(), &Call::default()).await.unwrap());
                if again {
                    let batch = samples(&["new"]);
                    let mut writer =
                        store.writer("r/a", batch.schema(), &Options::new(), &Call::default()).await.unwrap();
                    writer.push(batch, &Call::default()).await.unwrap();
                    writer.commit(&Call::default()).await.unwrap();
                }
                while let Some(batch) = stream.next().await {
                    match batch {
                        Ok(batch) => rows += batch.num_rows(),
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
        match failed {
            None => assert_eq!(rows, 40),
            Some(error) => {
                assert_eq!(error.status(), Status::Conflict, "{error}");
                assert!(error.message().contains("was dropped while it was being read"), "{error}");
            }
        }
    }
}

#[test]
fn what_a_killed_drop_left_is_deleted_by_the_next_that_writes() {
    let directory = tempfile::tempdir().unwrap();
    let leftover = directory.path().join(".r__a.lance.dropped-12-345");
    let leave = || fs::create_dir_all(leftover.join("data")).unwrap();
    leave();
    open(directory.path(), &[("mode", "read")]);
    assert!(leftover.exists());
    let store = open(directory.path(), &[]);
    assert!(!leftover.exists());
    leave();
    assert!(!drop_feature(&store, "r/b").unwrap());
    assert!(!leftover.exists());
}

/// What the threads of the stress test have done.
#[derive(Default)]
struct Log {
    /// Acknowledged writes: when each began and ended, and what it wrote.
    written: Mutex<Vec<(Instant, Instant, usize)>>,
    /// When drops began and returned.
    dropped: Mutex<Vec<(Instant, Instant)>>,
    no_more_drops: AtomicBool,
    over: AtomicBool,
    next: AtomicUsize,
    refused: AtomicUsize,
}

const ROWS: usize = 3;

fn write_until_over(directory: &Path, log: &Log) {
    let store = defined(directory, &[]);
    while !log.over.load(Ordering::Relaxed) {
        let number = log.next.fetch_add(1, Ordering::Relaxed);
        let ids: Vec<String> = (0..ROWS).map(|row| format!("{number}-{row}")).collect();
        let began = Instant::now();
        match write(&store, "r/a", &[samples(&ids.iter().map(String::as_str).collect::<Vec<_>>())], &[]) {
            Ok(()) => log.written.lock().unwrap().push((began, Instant::now(), number)),
            Err(error) => {
                assert_eq!(error.status(), Status::Conflict, "{error} {:?}", error.causes());
                log.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn read_until_over(directory: &Path, log: &Log) {
    let store = defined(directory, &[]);
    while !log.over.load(Ordering::Relaxed) {
        match read(&store, "r/a", &all()) {
            Ok(batches) => {
                let ids = column(&batches, "id");
                assert_eq!(ids.len() % ROWS, 0, "a part of a write: {ids:?}");
            }
            Err(error) => {
                let expected = matches!(error.status(), Status::Conflict | Status::NotFound);
                assert!(expected, "{error} {:?}", error.causes());
            }
        }
    }
}

fn drop_until_over(directory: &Path, log: &Log) {
    let store = defined(directory, &[]);
    while !log.no_more_drops.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(30));
        let began = Instant::now();
        drop_feature(&store, "r/a").unwrap();
        log.dropped.lock().unwrap().push((began, Instant::now()));
    }
}

#[test]
fn writers_droppers_and_readers_at_once_lose_nothing() {
    let (directory, log) = (tempfile::tempdir().unwrap(), Log::default());
    std::thread::scope(|threads| {
        for work in [
            write_until_over,
            write_until_over,
            write_until_over,
            drop_until_over,
            drop_until_over,
            read_until_over,
        ] {
            let (directory, log) = (directory.path(), &log);
            threads.spawn(move || work(directory, log));
        }
        std::thread::sleep(Duration::from_secs(3));
        log.no_more_drops.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(500));
        log.over.store(true, Ordering::Relaxed);
    });
    let dropped = log.dropped.into_inner().unwrap();
    let written = log.written.into_inner().unwrap();
    let first = dropped.iter().map(|(began, _)| *began).max().unwrap();
    let last = dropped.iter().map(|(_, ended)| *ended).max().unwrap();
    assert!(dropped.len() > 10 && written.len() > 10, "{} drops, {} writes", dropped.len(), written.len());
    assert!(log.refused.into_inner() > 0, "no write met a drop");
    let store = defined(directory.path(), &[]);
    let present: BTreeSet<String> = match read(&store, "r/a", &all()) {
        Ok(batches) => column(&batches, "id").into_iter().collect(),
        Err(error) => {
            assert_eq!(error.status(), Status::NotFound, "{error}");
            BTreeSet::new()
        }
    };
    for (_, acknowledged, number) in written {
        let there = (0..ROWS).filter(|row| present.contains(&format!("{number}-{row}"))).count();
        assert!(there == ROWS || there == 0, "write {number} is there in part");
        assert!(acknowledged < last || there == ROWS, "write {number} was acknowledged after the last drop");
        assert!(
            acknowledged > first || there == 0,
            "write {number} was acknowledged before the last drop began"
        );
    }
    assert!(names(directory.path()).iter().all(|name| name == "r__a.lance"), "{:?}", names(directory.path()));
}
