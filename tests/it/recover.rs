//! A machine that crashed while a manifest was on its way to the disk.

use std::fs;
use std::path::{Path, PathBuf};

use metaxy::Status;
use metaxy::log::Level;
use metaxy::store::{ReadRequest, Store};

use crate::support::{column, failure, listen, open, read, root, samples, write};

/// The manifests of the table of r/a, newest first.
fn manifests(directory: &Path) -> Vec<PathBuf> {
    let mut manifests: Vec<PathBuf> = fs::read_dir(directory.join("r__a.lance/_versions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "manifest"))
        .collect();
    manifests.sort();
    manifests
}

/// A store after the writes of a, b and c, the manifests of the last `count` of which are cut short.
fn crashed(count: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = defined(directory.path(), &[]);
    for id in ["a", "b", "c"] {
        write(&store, "r/a", &[samples(&[id])], &[]).unwrap();
    }
    for (number, manifest) in manifests(directory.path()).iter().take(count).enumerate() {
        let whole = fs::read(manifest).unwrap();
        // Nothing, a part, and what a file system shows of blocks that were never written.
        match number {
            0 => fs::write(manifest, []).unwrap(),
            1 => fs::write(manifest, &whole[..whole.len() / 2]).unwrap(),
            _ => fs::write(manifest, vec![0; whole.len()]).unwrap(),
        }
    }
    directory
}

fn defined(directory: &Path, pairs: &[(&str, &str)]) -> Store {
    let store = open(directory, pairs);
    store.define(&root("r/a", &["x"])).unwrap();
    store
}

fn ids(store: &Store) -> metaxy::Result<Vec<String>> {
    Ok(column(&read(store, "r/a", &ReadRequest::default())?, "id"))
}

#[test]
fn what_only_reads_names_the_file_and_leaves_it() {
    let directory = crashed(1);
    let damaged = &manifests(directory.path())[0];
    let error = failure(ids(&defined(directory.path(), &[("mode", "read")])));
    assert_eq!(error.status(), Status::Corrupt);
    assert_eq!(error.detail("file"), damaged.to_str());
    assert!(error.message().contains("mode=write moves that file away and brings version 2 back"), "{error}");
    assert_eq!(manifests(directory.path()).len(), 3);
}

#[test]
fn what_writes_brings_the_version_before_back_and_says_so() {
    for (count, left, version) in [(1, ["a", "b"].as_slice(), 2), (2, &["a"], 1)] {
        for pairs in [[].as_slice(), &[("durability", "disk")]] {
            let directory = crashed(count);
            let damaged = manifests(directory.path())[0].clone();
            let store = defined(directory.path(), pairs);
            let log = listen(Level::Warn, directory.path().to_str().unwrap());
            assert_eq!(ids(&store).unwrap(), left);
            let said = log.heard();
            assert_eq!(said.len(), 1, "{said:?}");
            for part in [
                "cut short",
                &format!("to version {version}"),
                "(0 bytes)",
                ".manifest.damaged",
                "written again",
            ] {
                assert!(said[0].contains(part), "no {part:?} in {}", said[0]);
            }
            assert!(fs::read(damaged.with_extension("manifest.damaged")).unwrap().is_empty());
            assert_eq!(manifests(directory.path()).len(), 3 - count);
            // Others see the same, and life goes on.
            assert_eq!(ids(&defined(directory.path(), &[("mode", "read")])).unwrap(), left);
            write(&store, "r/a", &[samples(&["d"])], &[]).unwrap();
            let mut expected = left.to_vec();
            expected.push("d");
            assert_eq!(ids(&store).unwrap(), expected);
            // The same version may be hit again.
            fs::write(&manifests(directory.path())[0], []).unwrap();
            assert_eq!(ids(&store).unwrap(), left);
        }
    }
}

#[test]
fn a_write_recovers_too() {
    let directory = crashed(1);
    let store = defined(directory.path(), &[]);
    write(&store, "r/a", &[samples(&["d"])], &[]).unwrap();
    assert_eq!(ids(&store).unwrap(), ["a", "b", "d"]);
}

#[test]
fn without_a_whole_version_nothing_is_touched() {
    let directory = crashed(3);
    let store = defined(directory.path(), &[]);
    let error = failure(ids(&store));
    assert_eq!(error.status(), Status::Corrupt);
    assert!(error.message().contains("no version before it"), "{error}");
    assert_eq!(manifests(directory.path()).len(), 3);
}

#[test]
fn many_recover_at_once_and_no_whole_manifest_is_moved() {
    for _ in 0..5 {
        let directory = crashed(2);
        std::thread::scope(|threads| {
            for number in 0..6 {
                let directory = directory.path();
                threads.spawn(move || {
                    let store = defined(directory, &[]);
                    for write_number in 0..3 {
                        let id = format!("new-{number}-{write_number}");
                        write(&store, "r/a", &[samples(&[&id])], &[]).unwrap();
                        assert!(ids(&store).unwrap().contains(&id));
                    }
                });
            }
        });
        let ids = ids(&defined(directory.path(), &[])).unwrap();
        assert_eq!(ids.len(), 1 + 6 * 3, "{ids:?}");
        let aside = fs::read_dir(directory.path().join("r__a.lance/_versions")).unwrap();
        let aside = aside.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "damaged");
        assert_eq!(aside.count(), 2);
    }
}
