//! Versions that are being read are not pruned.
//!
//! Who opens a table in a local directory locks the manifest of that version, shared, for as long as
//! the table or a stream of it lives; the kernel gives the lock up when the process dies. Who prunes
//! looks for such locks, oldest version first, and removes only what is older than the first.
//!
//! A reader may find the newest version, and lose it before it has the lock. But whoever prunes first
//! sees a newest version, which stays, and then looks for locks. So a reader that finds its version
//! still the newest after locking it has locked it in time; any other opens the table again.
//!
//! Locks do not work everywhere (some network file systems), and other programs take none: the age
//! below which nothing is pruned is for them.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database::Database;
use super::manifests::{VERSIONS, newest};
use super::table::Table;
use crate::error::Result;

/// How often a table is opened again because writers were faster than the lock. The last time the
/// version is taken as it is; whoever prunes would have to be as fast as all of them.
const ATTEMPTS: u32 = 32;

/// A version that is not pruned while this lives.
pub(super) struct Pin(#[expect(dead_code, reason = "held, not used")] File);

/// What became of a try to pin a version.
enum Pinning {
    Held(Pin),
    /// It may be gone already.
    Late,
    /// The version has no file that could be locked.
    Impossible,
}

impl Database {
    /// As [`Database::open`], also while the lock of the table is held: damage stays as it is.
    pub(super) async fn open_pinned(&self, table: &str) -> Result<Option<Table>> {
        let directory = self.table_directory(table);
        let mut tries = 0;
        loop {
            let Some(opened) = self.open_newest(table).await? else { return Ok(None) };
            let Some(directory) = &directory else { return Ok(Some(opened)) };
            tries += 1;
            match Pin::take(directory, &opened) {
                Pinning::Held(pin) => return Ok(Some(opened.pinned(Arc::new(pin)))),
                Pinning::Late if tries < ATTEMPTS => {}
                Pinning::Late | Pinning::Impossible => return Ok(Some(opened)),
            }
        }
    }
}

impl Pin {
    fn take(directory: &Path, table: &Table) -> Pinning {
        let Some(manifest) = manifest_of(directory, table) else { return Pinning::Impossible };
        let file = match File::open(&manifest) {
            Ok(file) => file,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Pinning::Late,
            Err(_) => return Pinning::Impossible,
        };
        match file.try_lock_shared() {
            Ok(()) if newest(directory).is_some_and(|newest| newest.path == manifest) => {
                Pinning::Held(Pin(file))
            }
            Ok(()) | Err(TryLockError::WouldBlock) => Pinning::Late,
            Err(TryLockError::Error(_)) => Pinning::Impossible,
        }
    }
}

fn manifest_of(directory: &Path, table: &Table) -> Option<PathBuf> {
    Some(directory.join(VERSIONS).join(table.dataset.manifest_location().path.filename()?))
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
    // The lock is given up at once: a reader that meets it opens the table again.
    match file.try_lock() {
        Ok(()) => false,
        // Where there are no locks, nobody can have one.
        Err(TryLockError::Error(cause)) => cause.kind() != ErrorKind::Unsupported,
        Err(TryLockError::WouldBlock) => true,
    }
}
