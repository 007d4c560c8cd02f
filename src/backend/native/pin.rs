//! Versions that are being read are not pruned.
//!
//! Who opens a table in a local directory locks the newest manifest first, shared, for as long as the
//! table or a stream of it lives; the kernel gives the lock up when the process dies. Who prunes looks
//! for such locks, oldest version first, and removes only what is older than the first. So a pin also
//! keeps every later version: the one that is then opened may be the pinned one or a newer one.
//!
//! A reader may find the newest version, and lose it before it has the lock. But whoever prunes first
//! sees a newest version, which stays, and then looks for locks. So a reader that finds its version
//! still the newest after locking it has locked it in time; any other looks again.
//!
//! A store in memory is of one process, which counts its pins.
//!
//! A child that is forked has the locked files open too. It does not give back what is its parent's; but
//! the pins of a parent that is killed last until the child has ended or has started another program.
//!
//! Locks do not work everywhere (buckets, some network file systems), and other programs take none: the age
//! below which nothing is pruned is for them.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::database::Database;
use super::life::PinInMemory;
use super::manifests::{self, ManifestFile};
use super::table::Table;
use super::table_lock::{Flock, is_same};
use crate::error::{Error, Result, Status};

/// How often the newest version is looked for because others were faster.
const ATTEMPTS: u32 = 100;

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(1);

/// A version that is not pruned while this lives, nor are those after it.
#[expect(dead_code, reason = "held, not used")]
pub(super) enum Pin {
    Manifest(Flock),
    Memory(PinInMemory),
}

/// The newest version of a table in a directory, locked.
struct Newest {
    manifest: ManifestFile,
    lock: Flock,
}

/// What became of a try to pin the newest version.
enum Pinning {
    Held(Newest),
    /// It may be gone already.
    Late,
    /// There is no version.
    Nothing,
    /// Its file cannot be locked.
    Impossible,
}

impl Database {
    /// As [`Database::open`], also while the lock of the table is held: damage stays as it is.
    pub(super) async fn open_pinned(&self, table: &str) -> Result<Option<Table>> {
        if self.is_bucket() {
            return self.open_newest(table).await;
        }
        let Some(directory) = self.table_directory(table) else { return self.open_in_memory(table).await };
        for _ in 0..ATTEMPTS {
            let pinned = match Newest::pin(&directory) {
                Pinning::Held(newest) => Some(newest),
                Pinning::Nothing => None,
                Pinning::Impossible => return self.open_newest(table).await,
                Pinning::Late => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(opened) = self.open_newest(table).await? else { return Ok(None) };
            // One that was made, or dropped and made again, in between is not the one that was pinned.
            if let Some(newest) = pinned.filter(|newest| newest.keeps(&opened)) {
                return Ok(Some(opened.pinned(Pin::Manifest(newest.lock))));
            }
        }
        let message = format!(
            "cannot open the table {table} of {}: others replaced its newest version {ATTEMPTS} times before it could be \
             kept from being pruned; try again",
            self.display()
        );
        Err(Error::new(Status::Conflict, message).with("store", self.display()).with("table", table))
    }

    async fn open_in_memory(&self, table: &str) -> Result<Option<Table>> {
        let pins = self.in_memory(table);
        // Whatever is the newest version now.
        let every = PinInMemory::take(pins.clone(), 0);
        let opened = self.open_newest(table).await?;
        let opened = opened.map(|opened| {
            let pin = PinInMemory::take(pins, opened.version());
            opened.pinned(Pin::Memory(pin))
        });
        drop(every);
        Ok(opened)
    }
}

impl Newest {
    fn pin(directory: &Path) -> Pinning {
        let Some(manifest) = manifests::newest(directory) else { return Pinning::Nothing };
        let file = match File::open(&manifest.path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Pinning::Late,
            Err(_) => return Pinning::Impossible,
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Pinning::Late,
            Err(TryLockError::Error(_)) => return Pinning::Impossible,
        }
        let lock = Flock::of(file);
        if manifests::newest(directory).as_ref() == Some(&manifest) {
            Pinning::Held(Newest { manifest, lock })
        } else {
            Pinning::Late
        }
    }

    fn keeps(&self, opened: &Table) -> bool {
        opened.version() >= self.manifest.version
            && is_same(self.lock.file(), &self.manifest.path).unwrap_or(false)
    }
}

/// Whether anybody is reading the version of `manifest`; also when that cannot be told.
pub(super) fn is_pinned(manifest: &Path) -> bool {
    // Some file systems lock exclusively only what is open for writing.
    let file = match File::options().read(true).write(true).open(manifest) {
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => File::open(manifest),
        opened => opened,
    };
    let file = match file {
        Ok(file) => file,
        Err(cause) => return cause.kind() != ErrorKind::NotFound,
    };
    // The lock is given up at once: a reader that meets it looks again.
    match file.try_lock() {
        Ok(()) => {
            drop(Flock::of(file));
            false
        }
        // Where there are no locks, nobody can have one.
        Err(TryLockError::Error(cause)) => cause.kind() != ErrorKind::Unsupported,
        Err(TryLockError::WouldBlock) => true,
    }
}
