//! What reaches the disk before a write is acknowledged, as the operating system is asked for it.

use std::path::Path;

use crate::native::{ROOT, compile, finish, linked};

/// The paths that were flushed, in their order, while `writes` rows were written one by one.
fn flushed(store: &Path, durability: &str, writes: usize) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Path::new(&format!("{ROOT}/tests/c/commits.c")), directory.path());
    let trace = directory.path().join("trace");
    let mut run = linked(Path::new("strace"), directory.path());
    run.args(["-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,syncfs,sync,msync", "-o"]);
    run.arg(&trace).arg(&program).arg(store).arg(durability).arg(writes.to_string());
    finish(run, "strace is needed: make test-tools installs it");
    let trace = std::fs::read_to_string(trace).expect("the trace");
    let path = |line: &str| line.split_once('<')?.1.split_once('>').map(|(path, _)| path.to_owned());
    trace.lines().filter(|line| line.contains("sync")).filter_map(path).collect()
}

#[test]
fn every_file_and_every_name_is_flushed_with_durability_disk() {
    const WRITES: usize = 5;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path().canonicalize().expect("its path");
    // Also where a URL has to be quoted.
    let root = directory.join("new/a b%20#?");
    let flushed = flushed(&root, "disk", WRITES);
    let table = root.join("sample.lance");
    let count = |path: &Path| flushed.iter().filter(|flushed| Path::new(flushed) == path).count();
    let last =
        |what: &dyn Fn(&str) -> bool| flushed.iter().rposition(|path| what(path)).expect("it was flushed");
    let data = |path: &str| path.contains("/sample.lance/data/") && path.contains(".lance");
    let manifest = |path: &str| path.contains("/sample.lance/_versions/") && path.contains(".manifest");

    assert_eq!(flushed.iter().filter(|path| data(path)).count(), WRITES, "{flushed:#?}");
    assert_eq!(flushed.iter().filter(|path| manifest(path)).count(), WRITES, "{flushed:#?}");
    assert!(
        count(&table.join("data")) >= WRITES && count(&table.join("_versions")) >= WRITES,
        "{flushed:#?}"
    );
    assert!(count(&table) >= WRITES && count(&root) >= WRITES, "{flushed:#?}");
    // The directories that opening has made.
    assert!(count(&directory) >= 1 && count(&directory.join("new")) >= 1, "{flushed:#?}");
    // Rows before the manifest that names them, names after what they stand for.
    assert!(last(&data) < last(&manifest));
    assert!(last(&manifest) < last(&|path| Path::new(path) == table.join("_versions")));
}

#[test]
fn nothing_is_flushed_without_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(flushed(&directory.path().join("store"), "process", 3), Vec::<String>::new());
}

#[test]
fn a_store_in_memory_cannot_promise_it() {
    let options = crate::support::options(&[("durability", "disk")]);
    let opened = metaxy::store::Store::open("memory://", &options, &metaxy::store::context::Call::default());
    assert_eq!(crate::support::failure(opened).detail("option"), Some("durability"));
}
