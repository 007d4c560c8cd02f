//! Where a process has files with names, and how those of one that was killed go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

/// What the names of the directories begin with, and the file that is locked as long as one is in use.
const PREFIX: &str = "metaxy-spill-";
const LOCK: &str = "lock";

/// A directory of this process, removed with everything in it; or by another process, should this one not come to it.
pub struct Room {
    directory: TempDir,
    _lock: File,
}

impl Room {
    /// A directory below `parent`, after those there were removed whose processes are no more.
    pub fn below(parent: &Path) -> io::Result<Room> {
        remove_abandoned(parent);
        loop {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let path = directory.path().join(LOCK);
            let lock = File::create_new(&path)?;
            lock.lock()?;
            // Before it was locked, somebody may have taken it for abandoned.
            if fs::metadata(&path)
                .is_ok_and(|found| lock.metadata().is_ok_and(|own| own.ino() == found.ino()))
            {
                return Ok(Room { directory, _lock: lock });
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// What cannot be looked at, or removed, is left to others.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        // Held until it is removed, so that nobody takes it for theirs meanwhile.
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_left_behind_goes_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("metaxy-spill-left");
        fs::create_dir(&left).unwrap();
        for name in [LOCK, "rows"] {
            fs::write(left.join(name), "").unwrap();
        }
        fs::create_dir(parent.path().join("metaxy-other")).unwrap();
        let one = Room::below(parent.path()).unwrap();
        let other = Room::below(parent.path()).unwrap();
        assert!(!left.exists());
        assert!(one.path().exists() && other.path().exists());
        drop((one, other));
        assert_eq!(names(parent.path()), ["metaxy-other"]);
    }

    #[test]
    fn many_begin_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let rooms: Vec<Room> = std::thread::scope(|scope| {
            let begun: Vec<_> =
                (0..16).map(|_| scope.spawn(|| Room::below(parent.path()).unwrap())).collect();
            begun.into_iter().map(|room| room.join().unwrap()).collect()
        });
        assert!(rooms.iter().all(|room| room.path().join(LOCK).exists()));
        assert_eq!(names(parent.path()).len(), rooms.len());
    }
}
