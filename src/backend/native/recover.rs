//! Recovery from a crash of the machine that has cut the newest manifests of a table short.
//!
//! Such a table does not open at all, although the version before is whole. A damaged manifest is
//! moved aside, never deleted, under a name that Lance passes over.

use std::path::{Path, PathBuf};

use super::database::Database;
use super::manifests::{self, ManifestFile};
use super::table_lock::Access;
use crate::backend::failure::from_io;
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};

/// What the name of a manifest that was moved aside ends with.
const ASIDE: &str = "damaged";

/// The newest manifests of a table, without which it would open.
pub struct Damage {
    /// Newest first, at least one.
    cut_short: Vec<(ManifestFile, u64)>,
    /// The version that would be the newest.
    before: Option<u64>,
}

impl Damage {
    /// What is wrong with the table in the directory `table`, if it is this.
    pub fn of(table: &Path) -> Option<Damage> {
        let mut damage = Damage { cut_short: Vec::new(), before: None };
        for manifest in manifests::newest_first(table) {
            match manifest.size_if_cut_short() {
                Some(bytes) => damage.cut_short.push((manifest, bytes)),
                None => {
                    damage.before = Some(manifest.version);
                    break;
                }
            }
        }
        (!damage.cut_short.is_empty()).then_some(damage)
    }

    /// Whether there is a version to go back to.
    pub fn can_be_undone(&self) -> bool {
        self.before.is_some()
    }

    fn newest(&self) -> Option<&Path> {
        self.cut_short.first().map(|(manifest, _)| manifest.path.as_path())
    }

    fn describe(&self) -> String {
        let each =
            |(manifest, bytes): &(ManifestFile, u64)| format!("{} ({bytes} bytes)", manifest.path.display());
        self.cut_short.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

impl Database {
    /// Brings the newest whole version of `table` back. It does nothing where somebody else has done
    /// so meanwhile.
    pub(super) async fn recover(&self, table: &str) -> Result<()> {
        let Some(directory) = self.table_directory(table) else { return Ok(()) };
        // Nobody can have committed on top of the damage, and nobody else is moving it away.
        let Some(_alone) = self.lock_table(table, Access::Exclusive, || Ok(())).await? else {
            return Ok(());
        };
        let Some(damage) = Damage::of(&directory) else { return Ok(()) };
        let Some(before) = damage.before else { return Ok(()) };
        let mut moved = Vec::new();
        for (manifest, _) in &damage.cut_short {
            let aside = free_name(&manifest.path);
            std::fs::rename(&manifest.path, &aside).map_err(|cause| {
                let what = || {
                    format!(
                        "the table {table} of {} cannot be opened: its newest manifest {} was cut short, as by a crash \
                         of the machine, and moving it away failed",
                        self.display(),
                        manifest.path.display()
                    )
                };
                self.of_table(table, from_io(&cause, what)).with("file", manifest.path.display())
            })?;
            moved.push(aside.display().to_string());
        }
        self.durability()
            .sync(Some(&directory.join(manifests::VERSIONS)))
            .map_err(|cause| self.of_table(table, from_io(&cause, || format!("cannot flush {table}"))))?;
        log::emit(Level::Warn, || {
            let lost: Vec<_> =
                damage.cut_short.iter().rev().map(|(file, _)| file.version.to_string()).collect();
            format!(
                "the table {table} of {} was brought back to version {before}: its newest manifest had been cut short, as \
                 by a crash of the machine ({}); it was moved aside to {}. Rows that were acknowledged in version {} are \
                 lost and must be written again; durability=disk keeps them in a crash",
                self.display(),
                damage.describe(),
                moved.join(", "),
                lost.join(", ")
            )
        });
        Ok(())
    }

    /// Says which files are damaged, where that is the reason why a table does not open.
    pub(super) fn unreadable(&self, table: &str, error: Error) -> Error {
        let error = self.of_table(table, error);
        let Some(damage) = self.table_directory(table).and_then(|directory| Damage::of(&directory)) else {
            return error;
        };
        let advice = match (damage.before, self.is_writable()) {
            (None, _) => {
                "there is no version before it to go back to, so drop the feature and write it again"
                    .to_owned()
            }
            (Some(before), false) => {
                format!(
                    "opening the store with mode=write moves that file away and brings version {before} back"
                )
            }
            (Some(before), true) => format!("moving that file away brings version {before} back"),
        };
        let mut damaged = Error::new(
            Status::Corrupt,
            format!(
                "the table {table} of {} cannot be opened: its newest manifest {} has no end, as if it was cut short by \
                 a crash; {advice}",
                self.display(),
                damage.describe()
            ),
        )
        .caused_by(&error);
        if let Some(newest) = damage.newest() {
            damaged = damaged.with("file", newest.display());
        }
        for (key, value) in error.details() {
            damaged = damaged.with(key, value);
        }
        damaged
    }

    fn of_table(&self, table: &str, error: Error) -> Error {
        error.with("store", self.display()).with("table", table)
    }
}

/// A name beside `manifest` that nothing has: the same version may be damaged more than once.
fn free_name(manifest: &Path) -> PathBuf {
    let name = |number: u32| match number {
        0 => manifest.with_added_extension(ASIDE),
        number => manifest.with_added_extension(format!("{ASIDE}-{number}")),
    };
    let mut number = 0;
    while name(number).exists() {
        number += 1;
    }
    name(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(manifests: &[(&str, bool)]) -> (Option<usize>, Option<u64>) {
        let table = tempfile::tempdir().unwrap();
        let versions = table.path().join(manifests::VERSIONS);
        std::fs::create_dir(&versions).unwrap();
        for (name, whole) in manifests {
            let content: &[u8] = if *whole { b"0123456789abLANC" } else { b"" };
            std::fs::write(versions.join(name), content).unwrap();
        }
        let damage = Damage::of(table.path());
        (damage.as_ref().map(|damage| damage.cut_short.len()), damage.and_then(|damage| damage.before))
    }

    #[test]
    fn only_what_is_newer_than_the_newest_whole_version_is_in_the_way() {
        assert_eq!(damage(&[("1.manifest", true), ("2.manifest", true)]), (None, None));
        assert_eq!(damage(&[("1.manifest", true), ("2.manifest", false)]), (Some(1), Some(1)));
        assert_eq!(
            damage(&[("1.manifest", true), ("2.manifest", false), ("3.manifest", false)]),
            (Some(2), Some(1))
        );
        assert_eq!(damage(&[("1.manifest", false), ("2.manifest", true)]), (None, None));
        assert_eq!(damage(&[("1.manifest", false)]), (Some(1), None));
        assert_eq!(damage(&[]), (None, None));
    }

    #[test]
    fn a_version_may_be_damaged_again() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("7.manifest");
        assert_eq!(free_name(&manifest), directory.path().join("7.manifest.damaged"));
        std::fs::write(free_name(&manifest), []).unwrap();
        assert_eq!(free_name(&manifest), directory.path().join("7.manifest.damaged-1"));
    }
}
