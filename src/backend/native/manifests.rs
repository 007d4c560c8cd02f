//! The manifests of a table as files: one for each version, and how a damaged one is known.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where a table keeps its manifests.
pub const VERSIONS: &str = "_versions";

/// The last bytes of a manifest: where its content begins, the format's version, and these four.
const FOOTER_BYTES: u64 = 16;
const MAGIC: &[u8; 4] = lance_table::format::MAGIC;

/// A manifest by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestFile {
    pub version: u64,
    pub path: PathBuf,
}

/// The manifests of the table in the directory `table`; the first is the one that it is opened with.
pub fn newest_first(table: &Path) -> Vec<ManifestFile> {
    let mut manifests: Vec<ManifestFile> = all(table).collect();
    manifests.sort_by(|one, other| other.cmp(one));
    manifests
}

/// The manifest that the table in the directory `table` is opened with.
pub fn newest(table: &Path) -> Option<ManifestFile> {
    all(table).max()
}

fn all(table: &Path) -> impl Iterator<Item = ManifestFile> {
    let entries = std::fs::read_dir(table.join(VERSIONS)).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let path = entry.path();
        Some(ManifestFile { version: version_of(&path)?, path })
    })
}

/// The version that a manifest's name tells; names of 20 digits count down, so that the newest is listed first.
pub fn version_of(manifest: &Path) -> Option<u64> {
    if manifest.extension()? != "manifest" {
        return None;
    }
    let name = manifest.file_stem()?.to_str()?;
    let number: u64 = name.parse().ok()?;
    Some(if name.len() == 20 { u64::MAX - number } else { number })
}

impl ManifestFile {
    /// The size of a manifest that does not end as each must; nothing if it does, or cannot be read.
    pub fn size_if_cut_short(&self) -> Option<u64> {
        let mut file = File::open(&self.path).ok()?;
        let bytes = file.metadata().ok()?.len();
        if bytes < FOOTER_BYTES {
            return Some(bytes);
        }
        let mut end = [0; MAGIC.len()];
        file.seek(SeekFrom::End(-(MAGIC.len() as i64))).ok()?;
        file.read_exact(&mut end).ok()?;
        (end != *MAGIC).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_manifest_is_found_in_either_naming() {
        for (names, expected, version) in [
            (["1.manifest", "9.manifest", "10.manifest", "11.manifest.damaged"], "10.manifest", 10),
            (
                [
                    "18446744073709551614.manifest",
                    "18446744073709551606.manifest",
                    "d123.manifest",
                    "18446744073709551605.manifest#1",
                ],
                "18446744073709551606.manifest",
                9,
            ),
        ] {
            let table = tempfile::tempdir().unwrap();
            let versions = table.path().join(VERSIONS);
            std::fs::create_dir(&versions).unwrap();
            for name in names {
                std::fs::write(versions.join(name), []).unwrap();
            }
            let first = newest_first(table.path()).into_iter().next().unwrap();
            assert_eq!(newest(table.path()).as_ref(), Some(&first));
            assert_eq!(first, ManifestFile { version, path: versions.join(expected) });
            assert_eq!(first.size_if_cut_short(), Some(0));
        }
        assert!(newest_first(Path::new("/no/such/table")).is_empty());
    }

    #[test]
    fn a_manifest_is_known_by_its_end() {
        let directory = tempfile::tempdir().unwrap();
        for (content, cut_short) in [
            (b"0123456789abLANC".as_slice(), None),
            (b"0123456789abcdef", Some(16)),
            (&[0; 4096], Some(4096)),
            (b"LANC", Some(4)),
        ] {
            let path = directory.path().join("1.manifest");
            std::fs::write(&path, content).unwrap();
            assert_eq!(ManifestFile { version: 1, path }.size_if_cut_short(), cut_short);
        }
    }
}
