//! Lives of a table: one that is dropped and made again has another, under the same name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use lance::Dataset;
use tokio::sync::RwLock;

use super::table_lock::is_same;

/// What a store in memory keeps about a table besides its files.
#[derive(Default, Debug)]
pub struct InMemory {
    pub lock: Arc<RwLock<()>>,
    /// Counts the beginnings and the ends of drops: odd while the table is being dropped.
    drops: AtomicU64,
    /// How often each version is pinned.
    pins: Mutex<BTreeMap<u64, usize>>,
}

/// A version of a table in memory that is not pruned while this lives, nor are those after it.
pub struct PinInMemory {
    table: Arc<InMemory>,
    version: u64,
}

impl PinInMemory {
    pub fn take(table: Arc<InMemory>, version: u64) -> PinInMemory {
        *table.pins().entry(version).or_default() += 1;
        PinInMemory { table, version }
    }
}

impl Drop for PinInMemory {
    fn drop(&mut self) {
        let mut pins = self.table.pins();
        if let Some(count) = pins.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.version);
            }
        }
    }
}

/// A table in memory that is being dropped until this is.
pub struct Dropping<'a>(&'a AtomicU64);

impl InMemory {
    fn pins(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.pins.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The oldest version that somebody is reading.
    pub fn oldest_pinned(&self) -> Option<u64> {
        self.pins().keys().next().copied()
    }

    /// Ends the life of the table, whose lock the caller has alone.
    pub fn begin_drop(&self) -> Dropping<'_> {
        self.drops.fetch_add(1, Ordering::AcqRel);
        Dropping(&self.drops)
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// The life that a table is in.
#[derive(Clone, Debug)]
pub enum Life {
    /// The directory is kept open, or another might get its number.
    Directory(Arc<(File, PathBuf)>),
    Memory(Arc<InMemory>, u64),
    Bucket(Generation),
}

/// Counts the beginnings and the ends of a table in a bucket: odd when it was dropped.
///
/// Nothing locks a bucket, and files that are deleted there could be those of a commit that is just being
/// made. So a table is dropped by a version without rows, on which later commits are based or with which
/// they conflict, like with any other; and made again by a version on top of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// Where the versions of a table keep it.
    pub const KEY: &'static str = "metaxy.generation";

    pub fn of(dataset: &Dataset) -> Generation {
        let kept = dataset.manifest().config.get(Generation::KEY);
        Generation(kept.and_then(|kept| kept.parse().ok()).unwrap_or_default())
    }

    /// Whether a version of this generation is no table. One that has rows is, whatever it says: other
    /// programs add rows to tables that they take for empty.
    pub fn is_dropped(self, dataset: &Dataset) -> bool {
        !self.0.is_multiple_of(2) && dataset.manifest().fragments.is_empty()
    }

    /// What a version keeps that begins a table, or ends it if that is `dropped`.
    pub fn next(self, dropped: bool) -> HashMap<String, String> {
        let next = self.0 + 1;
        let number = if next.is_multiple_of(2) == dropped { next + 1 } else { next };
        HashMap::from([(Generation::KEY.to_owned(), number.to_string())])
    }
}

impl Life {
    /// That of the table in `directory`; nothing if there is none.
    pub fn of_directory(directory: PathBuf) -> std::io::Result<Option<Life>> {
        match File::open(&directory) {
            Ok(file) => Ok(Some(Life::Directory(Arc::new((file, directory))))),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// That of `table`, when it is not just being dropped.
    pub async fn in_memory(table: Arc<InMemory>) -> Life {
        loop {
            let drops = table.drops.load(Ordering::Acquire);
            if drops.is_multiple_of(2) {
                return Life::Memory(table, drops);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What no other life of the table has, as far as the system tells: the number of a directory may be
    /// given again, but not at the same time.
    pub fn identity(&self) -> (u64, u64, u128) {
        match self {
            Life::Directory(opened) => opened.0.metadata().map_or((0, 0, 0), |metadata| {
                let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                (metadata.dev(), metadata.ino(), born.map_or(0, |time| time.as_nanos()))
            }),
            Life::Memory(_, drops) => (0, *drops, 0),
            Life::Bucket(Generation(number)) => (0, *number, 0),
        }
    }

    /// Where the table is, if that is a directory.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Life::Directory(opened) => Some(&opened.1),
            Life::Memory(..) | Life::Bucket(_) => None,
        }
    }

    /// Whether the table was dropped since.
    pub fn is_over(&self) -> bool {
        match self {
            Life::Directory(opened) => !is_same(&opened.0, &opened.1).unwrap_or(false),
            Life::Memory(table, drops) => table.drops.load(Ordering::Acquire) != *drops,
            // Its files stay, and a commit on top of it conflicts with the drop.
            Life::Bucket(_) => false,
        }
    }
}
