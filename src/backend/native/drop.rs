//! Dropping a table, whatever others are doing with it.
//!
//! The table is moved out of sight in one step, so that nobody ever meets half of it, and its files
//! are deleted after that. Those that a killed process left are deleted by the next that writes.
//!
//! In a bucket nothing can be moved or locked: there a version says that the table is gone (see
//! [`Generation`]).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lance::dataset::CommitBuilder;
use lance::dataset::transaction::{Operation, Transaction};

use super::database::Database;
use super::life::Generation;
use super::manifests;
use super::table_lock::Access;
use crate::backend::failure::{from_io, from_lance, from_lancedb, is_conflict};
use crate::error::{Error, Result};
use crate::log::{self, Level};

/// What stands between the name of a table that was dropped and what tells it from others. Nothing
/// with it ends as the tables that LanceDB lists do.
const DROPPED: &str = ".lance.dropped-";

/// How often a drop is tried again because others changed the table at the same time, and how often Lance
/// does so each time: it waits twice as long after each, so that many of them take long where others write
/// all the time.
const ATTEMPTS: u32 = 50;
const RETRIES: u32 = 3;

impl Database {
    /// Drops `table`, unless there is none: then the answer is false. It waits for the commits that
    /// are being made, asking `proceed` whether to go on; after that it is not given up.
    pub async fn drop_table(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<bool> {
        if self.is_bucket() {
            return self.drop_in_bucket(table, proceed).await;
        }
        let Some(directory) = self.table_directory(table) else {
            return self.drop_in_memory(table, proceed).await;
        };
        if let Some(root) = directory.parent() {
            remove_leftovers(root).await;
        }
        let Some(alone) = self.lock_table(table, Access::Exclusive, proceed).await? else { return Ok(false) };
        // Files of a write that is still to create the table may be there all the same.
        if manifests::newest(&directory).is_none() {
            return Ok(false);
        }
        let aside = name_for_dropped(&directory, table);
        std::fs::rename(&directory, &aside)
            .map_err(|cause| self.undropped(table, |what| from_io(&cause, || what)))?;
        let flushed = self.durability().sync(directory.parent());
        drop(alone);
        remove(aside).await;
        if let Err(cause) = flushed {
            log::emit(Level::Warn, || {
                format!(
                    "the table {table} of {} is dropped, but that could not be flushed to the disk: {cause}",
                    self.display()
                )
            });
        }
        Ok(true)
    }

    async fn drop_in_memory(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<bool> {
        let connection = self.connection().await?;
        let _alone = self.lock_table(table, Access::Exclusive, proceed).await?;
        // Dropping tells nothing of what was there.
        if matches!(Box::pin(self.open_newest(table)).await, Ok(None)) {
            return Ok(false);
        }
        let in_memory = self.in_memory(table);
        let _dropping = in_memory.begin_drop();
        match connection.drop_table(table, &[]).await {
            Ok(()) => Ok(true),
            Err(cause) => Err(self.undropped(table, |what| from_lancedb(cause, || what))),
        }
    }

    /// Makes a version without rows that says that it is no table.
    async fn drop_in_bucket(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<bool> {
        let mut tries = 0;
        loop {
            proceed()?;
            let Some(opened) = Box::pin(self.open_newest(table)).await? else { return Ok(false) };
            let dataset = opened.afresh().await?;
            let operation = Operation::Overwrite {
                fragments: Vec::new(),
                schema: dataset.schema().clone(),
                config_upsert_values: Some(Generation::of(&dataset).next(true)),
                initial_bases: None,
            };
            let transaction = Transaction::new(dataset.version().version, operation, None);
            // Rows that others add meanwhile are dropped, too.
            let commit = CommitBuilder::new(dataset).with_max_retries(RETRIES);
            match Box::pin(commit.execute(transaction)).await {
                Ok(_) => return Ok(true),
                // Others dropped it, made it anew, or were faster too often.
                Err(cause) if is_conflict(&cause) && tries < ATTEMPTS => tries += 1,
                // Its answer may be lost.
                Err(_) if matches!(Box::pin(self.open_newest(table)).await, Ok(None)) => return Ok(true),
                Err(cause) => return Err(self.undropped(table, |what| from_lance(cause, || what))),
            }
        }
    }

    fn undropped(&self, table: &str, error: impl FnOnce(String) -> Error) -> Error {
        error(format!("cannot drop the table {table} of {}", self.display()))
            .with("store", self.display())
            .with("table", table)
    }
}

fn name_for_dropped(directory: &Path, table: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    directory.with_file_name(format!(".{table}{DROPPED}{}-{now}", std::process::id()))
}

fn is_leftover(name: &OsStr) -> bool {
    let Some((table, number)) = name.to_str().and_then(|name| name.split_once(DROPPED)) else { return false };
    table.len() > 1
        && table.starts_with('.')
        && number.split('-').count() == 2
        && number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// Deletes what drops have left in the database at `root`.
pub async fn remove_leftovers(root: &Path) {
    for leftover in leftovers(root) {
        remove(leftover).await;
    }
}

/// As [`remove_leftovers`], where waiting is no harm.
pub fn remove_leftovers_now(root: &Path) {
    leftovers(root).into_iter().for_each(remove_now);
}

fn leftovers(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    entries.flatten().filter(|entry| is_leftover(&entry.file_name())).map(|entry| entry.path()).collect()
}

async fn remove(directory: PathBuf) {
    // Lasts as long as there are files.
    let _ = tokio::task::spawn_blocking(move || remove_now(directory)).await;
}

fn remove_now(directory: PathBuf) {
    match std::fs::remove_dir_all(&directory) {
        Ok(()) => {}
        // Others may be deleting it too.
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
        Err(cause) => log::emit(Level::Warn, || {
            format!(
                "{} is left of a table that was dropped, and cannot be deleted yet: {cause}",
                directory.display()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_drop_has_moved_aside_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let aside = name_for_dropped(&root.path().join("a__b.lance"), "a__b");
        let kept = [
            "a__b.lance",
            ".hidden",
            ".a.lance.dropped-mine",
            "a.lance.dropped-1-2",
            ".a.lance.dropped-1-2.old",
            ".lance.dropped-1-2",
        ];
        for name in kept {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::create_dir_all(aside.join("data")).unwrap();
        std::fs::write(aside.join("data/x"), "x").unwrap();
        remove_leftovers_now(root.path());
        assert!(!aside.exists());
        for name in kept {
            assert!(root.path().join(name).exists(), "{name}");
        }
    }
}
