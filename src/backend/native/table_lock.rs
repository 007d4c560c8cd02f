//! The lock of a table: commits share it, and what takes files away from under them has it alone.
//!
//! A commit that began before a drop and ends after it would bring the manifest of the old table
//! back, over whatever has its name by then. Lance cannot tell, so commits hold the lock shared from
//! opening the newest version until they are made.
//!
//! The lock is an advisory one (`flock`) on the table's directory itself: it leaves no file behind,
//! goes with the process that holds it, and is void once the directory has another name. Commits
//! that follow each other closely would keep a drop out for ever; so there is a second lock, on the
//! directory of versions, that everybody takes first. Commits give it back at once, a drop keeps
//! it while those before it end, and lets no others in.
//!
//! Metaxy for Python knows of no lock, nor do file systems without `flock`: there the checks that a
//! commit makes itself are all there is.

use std::fs::{File, TryLockError};
use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::database::Database;
use super::manifests::VERSIONS;
use super::table::Table;
use crate::backend::failure::from_io;
use crate::error::Result;
use crate::log::{self, Level};
use crate::process::epoch;

/// The first and the longest pause between two looks at a lock that is taken.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// How much of a table somebody wants to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Shared,
    Exclusive,
}

/// A table that is locked until this is dropped.
#[must_use]
#[derive(Debug)]
pub enum TableLock {
    Directory(DirectoryLock),
    Shared(OwnedRwLockReadGuard<()>),
    Exclusive(OwnedRwLockWriteGuard<()>),
    /// Where locks do not exist.
    Nothing,
}

impl Database {
    /// Locks `table`, when those who have it in another way let it go; nothing if there is no such
    /// table. Giving this future up is safe, and so is a `proceed` that fails: it is asked before
    /// each look.
    pub async fn lock_table(
        &self,
        table: &str,
        access: Access,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<TableLock>> {
        match self.table_directory(table) {
            Some(directory) => lock_directory(&directory, access, proceed)
                .await
                .map_err(|error| error.with("store", self.display()).with("table", table)),
            None if self.is_bucket() => proceed().map(|()| Some(TableLock::Nothing)),
            None => self.lock_in_memory(table, access, proceed).await.map(Some),
        }
    }

    /// Locks a table that was opened before for a commit on top of it; nothing if it has been dropped
    /// since, even if there is another one of its name.
    pub(super) async fn lock_to_commit(
        &self,
        table: &Table,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<TableLock>> {
        let locked = self.lock_table(table.name(), Access::Shared, proceed).await?;
        Ok(locked.filter(|_| !table.is_dropped()))
    }

    async fn lock_in_memory(
        &self,
        table: &str,
        access: Access,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<TableLock> {
        let lock = self.in_memory(table).lock.clone();
        let locked = async {
            match access {
                Access::Shared => TableLock::Shared(lock.read_owned().await),
                Access::Exclusive => TableLock::Exclusive(lock.write_owned().await),
            }
        };
        tokio::pin!(locked);
        loop {
            proceed()?;
            if let Ok(locked) = tokio::time::timeout(PAUSES.1, &mut locked).await {
                return Ok(locked);
            }
        }
    }
}

async fn lock_directory(
    table: &Path,
    access: Access,
    proceed: impl Fn() -> Result<()>,
) -> Result<Option<TableLock>> {
    let versions = table.join(VERSIONS);
    let (mut pause, longest) = PAUSES;
    let mut turn = None;
    loop {
        proceed()?;
        if turn.is_none() {
            turn = match DirectoryLock::claim(&versions, access) {
                Ok(Claim::Locked(lock)) => Some(Turn::Had(lock)),
                Ok(Claim::Busy) => None,
                Err(cause) if cause.kind() == ErrorKind::NotFound => Some(Turn::NotNeeded),
                Err(cause) => return without_locks(table, &cause),
            };
        }
        if turn.is_some() {
            match DirectoryLock::claim(table, access) {
                Ok(Claim::Locked(lock)) => return Ok(Some(TableLock::Directory(lock))),
                Ok(Claim::Busy) => {}
                Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
                Err(cause) => return without_locks(table, &cause),
            }
        }
        // Only who wants the table alone keeps the turn, as long as it is one.
        turn = turn.filter(|turn| access == Access::Exclusive && turn.is_at(&versions));
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// The right to be the next to lock a table.
enum Turn {
    Had(DirectoryLock),
    /// Nothing is committed yet, so that there is nothing to queue at.
    NotNeeded,
}

impl Turn {
    fn is_at(&self, versions: &Path) -> bool {
        match self {
            Turn::Had(lock) => lock.is_of(versions).unwrap_or(false),
            Turn::NotNeeded => false,
        }
    }
}

/// Goes on without a lock on file systems that have none.
fn without_locks(table: &Path, cause: &IoError) -> Result<Option<TableLock>> {
    // Network file systems lock a byte range in their stead, which needs a file open for writing.
    let unknown = matches!(cause.raw_os_error(), Some(libc::EBADF | libc::ENOLCK | libc::EINVAL));
    if !unknown && cause.kind() != ErrorKind::Unsupported {
        return Err(from_io(cause, || format!("cannot lock {}", table.display())));
    }
    log::emit(Level::Debug, || {
        format!("{} cannot be locked ({cause}); writing to it goes on without", table.display())
    });
    Ok(Some(TableLock::Nothing))
}

/// A locked file, given back when this is dropped.
#[derive(Debug)]
pub struct Flock {
    file: File,
    process: usize,
}

impl Flock {
    /// That of `file`, which the caller has locked.
    pub fn of(file: File) -> Flock {
        Flock { file, process: epoch() }
    }

    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        // Closing would not be enough: a child that was forked meanwhile has the file open too. And
        // what that child inherits is the parent's, and not for the child to give back.
        if self.process == epoch() {
            let _ = self.file.unlock();
        }
    }
}

/// A lock on a directory, given back when this is dropped.
#[derive(Debug)]
pub struct DirectoryLock(Flock);

/// What came of one look at a lock.
pub enum Claim {
    Locked(DirectoryLock),
    Busy,
}

impl DirectoryLock {
    /// Locks `directory` if that is possible at once.
    pub fn claim(directory: &Path, access: Access) -> IoResult<Claim> {
        let file = File::open(directory)?;
        let locked = match access {
            Access::Shared => file.try_lock_shared(),
            Access::Exclusive => file.try_lock(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Claim::Busy),
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        let lock = DirectoryLock(Flock::of(file));
        // The directory that was locked may have lost its name to another one in between.
        Ok(if lock.is_of(directory)? { Claim::Locked(lock) } else { Claim::Busy })
    }

    /// Whether `directory` is the one that is locked.
    pub fn is_of(&self, directory: &Path) -> IoResult<bool> {
        is_same(self.0.file(), directory)
    }
}

/// Whether `path` still names the file that was opened as `file`.
pub fn is_same(file: &File, path: &Path) -> IoResult<bool> {
    let (opened, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    async fn lock(table: &Path, access: Access) -> Option<TableLock> {
        lock_directory(table, access, || Ok(())).await.unwrap()
    }

    fn is_free(table: &Path, access: Access) -> bool {
        matches!(DirectoryLock::claim(table, access).unwrap(), Claim::Locked(_))
    }

    fn table(directory: &Path) -> std::path::PathBuf {
        let table = directory.join("t.lance");
        std::fs::create_dir_all(table.join(VERSIONS)).unwrap();
        table
    }

    #[tokio::test]
    async fn commits_share_and_a_drop_is_alone() {
        let directory = tempfile::tempdir().unwrap();
        let table = table(directory.path());
        let shared = lock(&table, Access::Shared).await.unwrap();
        assert!(is_free(&table, Access::Shared));
        assert!(!is_free(&table, Access::Exclusive));
        drop(shared);
        let alone = lock(&table, Access::Exclusive).await.unwrap();
        assert!(!is_free(&table, Access::Shared));
        drop(alone);
        assert!(is_free(&table, Access::Exclusive));
        assert!(lock(&directory.path().join("no.lance"), Access::Shared).await.is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn commits_without_a_gap_do_not_keep_a_drop_out() {
        let directory = tempfile::tempdir().unwrap();
        let table = table(directory.path());
        let (over, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let committing: Vec<_> = (0..6)
            .map(|_| {
                let (table, over, commits) = (table.clone(), over.clone(), commits.clone());
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let _shared = lock(&table, Access::Shared).await.unwrap();
                        commits.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                })
            })
            .collect();
        while commits.load(Ordering::Relaxed) < 12 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        let alone = lock(&table, Access::Exclusive).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "waited {:?}", began.elapsed());
        drop(alone);
        over.store(true, Ordering::Relaxed);
        for task in committing {
            task.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_drop_that_was_there_before_the_first_version_is_not_kept_out_either() {
        let directory = tempfile::tempdir().unwrap();
        let table = directory.path().join("t.lance");
        std::fs::create_dir(&table).unwrap();
        let first = lock(&table, Access::Shared).await.unwrap();
        let alone = tokio::spawn({
            let table = table.clone();
            async move { lock(&table, Access::Exclusive).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        std::fs::create_dir(table.join(VERSIONS)).unwrap();
        tokio::time::sleep(PAUSES.1 * 3).await;
        assert!(!is_free(&table.join(VERSIONS), Access::Shared));
        drop(first);
        drop(alone.await.unwrap());
    }

    #[tokio::test]
    async fn a_lock_on_a_directory_that_was_moved_is_void() {
        let directory = tempfile::tempdir().unwrap();
        let table = table(directory.path());
        let alone = lock(&table, Access::Exclusive).await.unwrap();
        std::fs::rename(&table, directory.path().join("aside")).unwrap();
        std::fs::create_dir(&table).unwrap();
        assert!(is_free(&table, Access::Exclusive));
        let TableLock::Directory(alone) = alone else { panic!("no lock") };
        assert!(!alone.is_of(&table).unwrap());
    }

    #[tokio::test]
    async fn waiting_ends_when_it_may_not_proceed() {
        let directory = tempfile::tempdir().unwrap();
        let table = table(directory.path());
        let _alone = lock(&table, Access::Exclusive).await.unwrap();
        let looks = AtomicU32::new(0);
        let proceed = || match looks.fetch_add(1, Ordering::Relaxed) {
            3 => Err(crate::error::Error::invalid("enough")),
            _ => Ok(()),
        };
        assert_eq!(lock_directory(&table, Access::Shared, proceed).await.unwrap_err().message(), "enough");
    }
}
