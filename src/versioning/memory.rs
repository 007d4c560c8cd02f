//! Memory that a call may hold, and the directory for what is more.

use std::error::Error as Cause;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;

use super::room::Room;
use crate::error::{Error, Result, Status};
use crate::redact::presentable;

const MEMORY_OPTION: &str = "memory.bytes";
const DIRECTORY_OPTION: &str = "spill.directory";

/// The least that a call gets on with.
pub const MINIMUM: usize = 32 << 20;

/// The most rows of a batch that DataFusion makes.
const BATCH_ROWS: usize = 8192;

/// Of the memory of an operator, what a batch that it makes may take, should its rows be as long as those that came first,
/// and what a batch that it takes may, however long they are. Merging sorted files needs several of each.
const BATCH_SHARE: usize = 32;
const PIECE_SHARE: usize = 16;

/// What a call, or a stream that is read, may hold in memory, and where it puts what is more. Clones share both.
///
/// Half may be reserved for what is [kept](Memory::reserve), which can go to a file at any time. The rest is
/// divided among DataFusion's [operators](Memory::operator) beforehand: one that finds nothing left fails.
#[derive(Clone)]
pub struct Memory {
    kept: Arc<dyn MemoryPool>,
    /// Of one operator, or of all that it is still to be divided among.
    working: usize,
    limits: Arc<Limits>,
}

struct Limits {
    bytes: usize,
    directory: Option<PathBuf>,
    /// Made for the first operator.
    disk: Mutex<Option<Disk>>,
}

/// Where operators have files.
#[derive(Clone)]
struct Disk {
    runtime: RuntimeEnv,
    /// Nothing where the system's directory cannot be written to: then who needs files fails.
    _room: Option<Arc<Room>>,
}

impl Memory {
    /// At most `bytes`. The directory has to be there; by default it is the system's for temporary files.
    pub fn new(bytes: usize, spill_directory: Option<&Path>) -> Result<Memory> {
        if bytes < MINIMUM {
            let message = format!(
                "the memory limit is {bytes} bytes, which is too small: give {MEMORY_OPTION} at least {MINIMUM}"
            );
            return Err(Error::invalid(message).with("option", MEMORY_OPTION));
        }
        Memory::limited(bytes, spill_directory)
    }

    /// As [`Memory::new`], however small.
    pub(super) fn limited(bytes: usize, spill_directory: Option<&Path>) -> Result<Memory> {
        spill_directory.map(check).transpose()?;
        let directory = spill_directory.map(Path::to_owned);
        Ok(Memory::within(Arc::new(Limits { bytes, directory, disk: Mutex::default() })))
    }

    fn within(limits: Arc<Limits>) -> Memory {
        let kept = limits.bytes / 2;
        let working = limits.bytes - kept;
        Memory { kept: Arc::new(GreedyMemoryPool::new(kept)), working, limits }
    }

    /// How much there is of it.
    pub fn bytes(&self) -> usize {
        self.limits.bytes
    }

    /// As much once more, for another call or stream: those that share memory may each wait for what the other has.
    pub fn another(&self) -> Memory {
        Memory::within(self.limits.clone())
    }

    /// For each of so many, with a share of what operators have.
    pub fn divided(&self, among: usize) -> Memory {
        Memory { working: self.working / among.max(1), ..self.clone() }
    }

    /// What DataFusion runs an operator with, which makes rows of about so many bytes.
    pub(super) fn operator(&self, row_bytes: usize) -> Result<Arc<TaskContext>> {
        let rows = (self.working / BATCH_SHARE / row_bytes.max(1)).clamp(1, BATCH_ROWS);
        // Before a sort has to merge what it holds, so much is set free: texts may take twice the room when they are sorted, and
        // keys that are compared are counted once more.
        let merging = self.working / 2;
        let config = SessionConfig::new()
            .with_batch_size(rows)
            .with_target_partitions(1)
            .with_sort_spill_reservation_bytes(merging);
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(self.working));
        let runtime = RuntimeEnv { memory_pool: pool, ..self.disk()?.runtime };
        Ok(Arc::new(TaskContext::default().with_session_config(config).with_runtime(Arc::new(runtime))))
    }

    fn disk(&self) -> Result<Disk> {
        let mut made = self.limits.disk.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(disk) = &*made {
            return Ok(disk.clone());
        }
        let room = match &self.limits.directory {
            Some(directory) => Some(Room::below(directory).map_err(|cause| self.broken(&cause))?),
            None => Room::below(&std::env::temp_dir()).ok(),
        };
        let mode = match &room {
            Some(room) => DiskManagerMode::Directories(vec![room.path().to_owned()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        // The disk has its own limit.
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(u64::MAX);
        let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build();
        let runtime = runtime.map_err(|cause| self.failed(&cause))?;
        Ok(made.insert(Disk { runtime, _room: room.map(Arc::new) }).clone())
    }

    /// The most bytes of a batch that an operator takes.
    pub(super) fn piece_bytes(&self) -> usize {
        self.working / PIECE_SHARE
    }

    /// Memory, none as yet, for what can be put into a [file](Memory::file) should there be no more of it.
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.kept)
    }

    /// Memory, none as yet, of the share that an operator would have.
    pub fn reserve_own(&self, name: &str) -> MemoryReservation {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(self.working));
        MemoryConsumer::new(name).register(&pool)
    }

    /// A file without a name, which is gone when it is closed, also by the death of the process.
    pub fn file(&self) -> Result<File> {
        match &self.limits.directory {
            Some(directory) => tempfile::tempfile_in(directory),
            None => tempfile::tempfile(),
        }
        .map_err(|cause| self.broken(&cause))
    }

    /// The error of a file in the spill directory.
    pub fn broken(&self, cause: &io::Error) -> Error {
        let directory = self.limits.directory.clone().unwrap_or_else(std::env::temp_dir);
        of_directory(&format!("the spill directory {}", directory.display()), cause)
            .with("path", directory.display())
    }

    /// What a failure of DataFusion means. An [`Error`] that it carries comes out as it was.
    pub(super) fn failed(&self, cause: &DataFusionError) -> Error {
        match cause.find_root() {
            DataFusionError::ResourcesExhausted(_) => Error::invalid(format!(
                "its rows are too long for what is left to an operation of {MEMORY_OPTION}, which is {}: give it at least {}, or \
                 leave long columns out by the select of the dependency",
                self.limits.bytes,
                self.limits.bytes.saturating_mul(2)
            ))
            .with("option", MEMORY_OPTION)
            .caused_by(cause),
            _ => failed(cause),
        }
    }
}

/// Refuses a directory that cannot have files.
fn check(directory: &Path) -> Result<()> {
    let tried = directory.metadata().and_then(|found| {
        if !found.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        tempfile::NamedTempFile::new_in(directory)?.close()
    });
    tried.map_err(|cause| {
        of_directory(&format!("the spill directory {}", directory.display()), &cause)
            .with("path", directory.display())
    })
}

fn of_directory(directory: &str, cause: &io::Error) -> Error {
    let (status, wrong, remedy) = match cause.kind() {
        ErrorKind::NotFound => (Status::InvalidArgument, "does not exist", "make it"),
        ErrorKind::NotADirectory => (Status::InvalidArgument, "is not a directory", "remove what is there"),
        ErrorKind::PermissionDenied => {
            (Status::Permission, "cannot be written to", "let this user write to it")
        }
        ErrorKind::ReadOnlyFilesystem => (
            Status::Permission,
            "cannot be written to, as its file system is read-only",
            "mount it for writing",
        ),
        _ if is_full(cause) => (Status::Io, "is full", "make room in it"),
        _ => (Status::Io, "does not work", "see to its disk"),
    };
    let message =
        format!("{directory} {wrong}: {cause}; {remedy}, or name another one as {DIRECTORY_OPTION}");
    Error::new(status, message).caused_by(cause).with("option", DIRECTORY_OPTION)
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn failed(cause: &DataFusionError) -> Error {
    if let Some(own) = chain(cause).find_map(|error| error.downcast_ref::<Error>()) {
        return own.clone();
    }
    if let Some(cause) = chain(cause).find_map(|error| error.downcast_ref::<io::Error>()) {
        return of_directory("the spill directory", cause);
    }
    let root = cause.find_root().strip_backtrace();
    Error::new(Status::Internal, format!("computing failed: {}", presentable(&root))).caused_by(cause)
}

fn chain(first: &DataFusionError) -> impl Iterator<Item = &(dyn Cause + 'static)> {
    successors(Some(first as &(dyn Cause + 'static)), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use arrow::error::ArrowError;

    use super::*;

    fn refused(directory: &Path) -> Error {
        Memory::new(MINIMUM, Some(directory)).err().unwrap()
    }

    #[test]
    fn too_little_memory_is_refused_with_the_least_that_will_do() {
        let error = Memory::new(MINIMUM - 1, None).err().unwrap();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert_eq!(error.detail("option"), Some("memory.bytes"));
        assert!(error.message().contains("33554431 bytes") && error.message().contains("at least 33554432"));
        assert!(Memory::new(MINIMUM, None).is_ok());
    }

    #[test]
    fn a_spill_directory_that_cannot_have_files_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = refused(&missing);
        assert_eq!(error.status(), Status::InvalidArgument);
        assert_eq!(error.detail("option"), Some("spill.directory"));
        assert_eq!(error.detail("path"), missing.to_str());
        assert!(error.message().contains("does not exist") && error.message().contains("spill.directory"));
        assert!(!missing.exists());

        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = refused(&file);
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains("is not a directory"), "{error}");

        // Nobody can make files there, not even root.
        let error = refused(Path::new("/proc/self"));
        assert_eq!(error.detail("path"), Some("/proc/self"));
    }

    #[test]
    fn what_is_wrong_with_a_directory_decides_the_status() {
        for (kind, status, says) in [
            (ErrorKind::PermissionDenied, Status::Permission, "let this user write"),
            (ErrorKind::ReadOnlyFilesystem, Status::Permission, "read-only"),
            (ErrorKind::StorageFull, Status::Io, "make room"),
            (ErrorKind::QuotaExceeded, Status::Io, "make room"),
            (ErrorKind::Other, Status::Io, "does not work"),
        ] {
            let error = of_directory("the spill directory /x", &kind.into());
            assert_eq!(error.status(), status);
            assert!(error.message().contains(says), "{error}");
        }
    }

    #[test]
    fn a_directory_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(MINIMUM, Some(directory.path())).unwrap();
        let _file = memory.file().unwrap();
        let task = memory.operator(1).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
        drop((memory, task));
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_is_kept_leaves_half_of_the_memory_to_operators() {
        let memory = Memory::new(MINIMUM, None).unwrap();
        let (one, other) = (memory.reserve("one"), memory.divided(7).reserve("other"));
        one.try_grow(MINIMUM / 4).unwrap();
        other.try_grow(MINIMUM / 4).unwrap();
        assert!(one.try_grow(1).is_err());
        drop(other);
        one.try_grow(MINIMUM / 4).unwrap();
        let working = |memory: &Memory| {
            let reservation =
                MemoryConsumer::new("theirs").register(memory.operator(1).unwrap().memory_pool());
            reservation.try_grow(memory.working).unwrap();
            assert!(reservation.try_grow(1).is_err());
            memory.working
        };
        assert_eq!(working(&memory), MINIMUM / 2);
        assert_eq!(working(&memory.divided(4)), MINIMUM / 8);
        // Another call does not have to wait for this one.
        memory.another().reserve("another").try_grow(MINIMUM / 2).unwrap();
    }

    #[test]
    fn an_error_comes_out_as_it_went_in() {
        let own = || Error::new(Status::Conflict, "ours").with("table", "t").retryable(false);
        let external = || DataFusionError::External(Box::new(own()));
        let arrow = ArrowError::ExternalError(Box::new(external()));
        for cause in [
            external(),
            external().context("while joining"),
            DataFusionError::ArrowError(Box::new(arrow), None),
            DataFusionError::Shared(Arc::new(external())),
            DataFusionError::External(Box::new(Arc::new(external()))),
        ] {
            let error = failed(&cause);
            assert_eq!(error.status(), Status::Conflict);
            assert_eq!(error.message(), "ours");
            assert_eq!(error.detail("table"), Some("t"));
            assert!(!error.is_retryable());
        }
        let full = DataFusionError::IoError(ErrorKind::StorageFull.into());
        assert!(failed(&full).message().contains("make room"));
        assert_eq!(failed(&DataFusionError::Execution("odd".to_owned())).status(), Status::Internal);
    }
}
