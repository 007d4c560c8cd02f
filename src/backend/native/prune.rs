//! Removing versions that nobody needs any more, with the files that only they refer to.

use std::fs::File;
use std::io::Error as IoError;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use lance::dataset::cleanup::{CleanupPolicy, cleanup_old_versions};
use lance_table::io::deletion::relative_deletion_file_path;

use super::database::Database;
use super::erase::DELETIONS;
use super::maintain::TRANSACTIONS;
use super::manifests::{VERSIONS, version_of};
use super::pin::is_pinned;
use super::stage::DATA;
use super::table::Table;
use crate::backend::failure::from_io;
use crate::backend::work::{Pruned, Retention};
use crate::error::{Error, Result, Status};

/// Versions that are removed under one hold of the table's lock, so that a drop waits for no more.
const STEP: usize = 1024;

/// Files of this age are on the disk, whatever has written them: the system does not keep them to
/// itself for more than a minute.
const SETTLED: Duration = Duration::from_secs(5 * 60);

impl Database {
    /// Removes the versions of `table` that `retention` does not keep, with the files that only they
    /// refer to; none, and no later one, that a reader still has open. Files that no version refers to
    /// may be of a write that is under way, and stay until they are a week old.
    ///
    /// It is done in steps, before each of which `proceed` is asked.
    pub async fn prune(
        &self,
        table: &str,
        retention: Retention,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<Pruned>> {
        proceed()?;
        // Of a table that was dropped from a bucket there are files to remove, too.
        let opened = match self.is_bucket() {
            true => self.open_even_dropped(table).await?,
            false => self.open_pinned(table).await?,
        };
        let Some(table) = opened else { return Ok(None) };
        let superseded = self.superseded(&table, retention).await?;
        if retention.age < SETTLED && !superseded.removed.is_empty() {
            self.flush(&table).await?;
        }
        let mut pruned =
            Pruned { versions_removed: 0, bytes_removed: 0, version: table.dataset.version().version };
        let steps = superseded.removed.iter().skip(STEP).step_by(STEP);
        for oldest_kept in steps.chain([&superseded.oldest_kept]) {
            // Of a table that is dropped and made again meanwhile, the files of the new one would go.
            let locked = self.lock_to_commit(&table, &proceed).await?;
            let Some(_locked) = locked else { return Ok(None) };
            let policy = CleanupPolicy {
                before_version: Some(*oldest_kept),
                // Tagged versions stay, and are no reason to fail.
                error_if_tagged_old_versions: false,
                ..CleanupPolicy::default()
            };
            let removed = Box::pin(cleanup_old_versions(&table.dataset, policy)).await;
            let removed = removed.map_err(|cause| table.failed("prune", cause))?;
            pruned.versions_removed += removed.old_versions;
            pruned.bytes_removed += removed.bytes_removed;
            if removed.failed_deletes > 0 {
                return Err(self.undeleted(&table, removed.failed_deletes));
            }
        }
        Ok(Some(pruned))
    }

    async fn superseded(&self, table: &Table, retention: Retention) -> Result<SupersededVersions> {
        let newest = table.dataset.version().version;
        let storage = self.storage().await?;
        let root = storage.root.clone().join(format!("{}.lance", table.name())).join(VERSIONS);
        let mut versions: Vec<(u64, SystemTime, String)> = storage
            .store
            .read_dir_all(&root, None)
            .try_filter_map(|file| async move {
                let Some(name) = file.location.filename() else { return Ok(None) };
                Ok(version_of(name.as_ref())
                    .map(|version| (version, SystemTime::from(file.last_modified), name.to_owned())))
            })
            .try_collect()
            .await
            .map_err(|cause| table.failed("list the versions of", cause))?;
        versions.sort_unstable();
        versions.retain(|(version, _, _)| *version <= newest);
        let oldest_kept = oldest_kept(&versions, retention, SystemTime::now());
        versions.retain(|(version, _, _)| *version < oldest_kept);
        let pinned = match self.table_directory(table.name()) {
            Some(directory) => {
                let directory = directory.join(VERSIONS);
                versions
                    .iter()
                    .find(|(_, _, name)| is_pinned(&directory.join(name)))
                    .map(|(version, _, _)| *version)
            }
            None if self.is_bucket() => None,
            None => self.in_memory(table.name()).oldest_pinned(),
        };
        let oldest_kept = pinned.map_or(oldest_kept, |pinned| pinned.min(oldest_kept));
        let removed = versions.into_iter().map(|(version, _, _)| version);
        Ok(SupersededVersions {
            removed: removed.take_while(|version| *version < oldest_kept).collect(),
            oldest_kept,
        })
    }

    /// Brings `table` to the disk before what it came from goes: what was written lately may be in memory
    /// only, while what is deleted had reached the disk long ago, and a crash of the machine would leave
    /// neither.
    async fn flush(&self, table: &Table) -> Result<()> {
        let Some(directory) = self.table_directory(table.name()) else { return Ok(()) };
        let (files, directories) = (files_of(table), ["", DATA, DELETIONS, VERSIONS, TRANSACTIONS, ".."]);
        let flushing = tokio::task::spawn_blocking(move || {
            let files = files.iter().map(|file| directory.join(file)).filter(|file| !is_settled(file));
            // A table need not have each of them.
            let directories = directories.map(|below| directory.join(below));
            let directories = directories.into_iter().filter(|directory| directory.is_dir());
            for path in files.chain(directories) {
                File::open(&path).and_then(|file| file.sync_all()).map_err(|cause| (path, cause))?;
            }
            Ok::<_, (PathBuf, IoError)>(())
        });
        match flushing.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((path, cause))) if !table.is_dropped() => {
                let what = || {
                    format!(
                        "the table {} of {} was not pruned, because flushing {} to the disk failed",
                        table.name(),
                        self.display(),
                        path.display()
                    )
                };
                Err(from_io(&cause, what).with("store", self.display()).with("table", table.name()))
            }
            // Nothing will be deleted.
            Ok(Err(_)) => Ok(()),
            Err(cause) => Err(Error::new(Status::Internal, format!("flushing a table failed: {cause}"))),
        }
    }

    fn undeleted(&self, table: &Table, count: u64) -> Error {
        // Lance keeps the reasons to itself.
        let forbidden = self.table_directory(table.name()).is_some_and(|directory| {
            [DATA, DELETIONS, VERSIONS, TRANSACTIONS].iter().any(|below| is_read_only(&directory.join(below)))
        });
        let (status, advice) = match forbidden {
            true => (Status::Permission, "this process may not change the table's directories"),
            false => (Status::Io, "the next pruning tries again"),
        };
        let message = format!(
            "{count} files of superseded versions of the table {} of {} could not be deleted; {advice}",
            table.name(),
            self.display()
        );
        Error::new(status, message).with("store", self.display()).with("table", table.name())
    }
}

struct SupersededVersions {
    /// In ascending order.
    removed: Vec<u64>,
    oldest_kept: u64,
}

/// The oldest of `versions`, which are in ascending order, that stays.
fn oldest_kept(versions: &[(u64, SystemTime, String)], retention: Retention, now: SystemTime) -> u64 {
    let last = retention.versions.max(1);
    let among_last = versions.len().checked_sub(last).and_then(|place| versions.get(place));
    let Some((among_last, _, _)) = among_last else { return 0 };
    // No clock is asked where it does not matter: that of the files may be another one.
    if retention.age.is_zero() {
        return *among_last;
    }
    let Some(since) = now.checked_sub(retention.age) else { return 0 };
    // What was the newest version then has been superseded later, if at all.
    let by_age = versions.iter().filter(|(_, made, _)| *made <= since).map(|(version, _, _)| *version).max();
    by_age.map_or(0, |by_age| by_age.min(*among_last))
}

/// The files without which `table` cannot be read, below its directory.
fn files_of(table: &Table) -> Vec<PathBuf> {
    let dataset = &table.dataset;
    let manifest = dataset.manifest_location().path.filename().map(|name| Path::new(VERSIONS).join(name));
    let transaction =
        dataset.manifest.transaction_file.as_ref().map(|name| Path::new(TRANSACTIONS).join(name));
    let mut files = Vec::new();
    for fragment in dataset.fragments().iter() {
        // Those with a base are in another table's directory.
        let own = fragment.files.iter().filter(|file| file.base_id.is_none());
        files.extend(own.map(|file| Path::new(DATA).join(&file.path)));
        let deletions = fragment.deletion_file.as_ref().filter(|file| file.base_id.is_none());
        files.extend(deletions.map(|file| PathBuf::from(relative_deletion_file_path(fragment.id, file))));
    }
    // Last what names the others.
    files.into_iter().chain(transaction).chain(manifest).collect()
}

fn is_settled(file: &Path) -> bool {
    let modified = std::fs::metadata(file).and_then(|found| found.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age >= SETTLED))
}

fn is_read_only(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|found| found.permissions().readonly())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_stays_is_young_or_among_the_last() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        // The last one was made by a clock that is ahead.
        let versions: Vec<_> = [(3, 10), (4, 20), (6, 30), (7, 999)]
            .map(|(version, made)| (version, at(made), String::new()))
            .into();
        for (age, last, expected) in [
            (0, 0, 7),
            (0, 1, 7),
            (0, 3, 4),
            (0, 4, 3),
            (0, 5, 0),
            (1, 1, 6),
            (75, 1, 4),
            (75, 2, 4),
            (75, 4, 3),
            (95, 1, 0),
            (1000, 1, 0),
        ] {
            let retention = Retention { age: Duration::from_secs(age), versions: last };
            assert_eq!(oldest_kept(&versions, retention, at(100)), expected, "{age} {last}");
        }
        let retention = Retention { age: Duration::ZERO, versions: 1 };
        assert_eq!(oldest_kept(&[], retention, at(100)), 0);
    }
}
