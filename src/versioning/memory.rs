//! Memory that a call may hold, and the directory for what is more.

use std::error::Error as Cause;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::{Error, Result, Status};
use crate::redact::presentable;

const MEMORY_OPTION: &str = "memory.bytes";
const DIRECTORY_OPTION: &str = "spill.directory";

/// The least that a call gets on with.
pub const MINIMUM: usize = 32 << 20;

/// The most rows of a batch that DataFusion takes and makes, and the least.
const BATCH_ROWS: usize = 8192;
const SMALL_BATCH_ROWS: usize = 512;

/// What there should be for each row of a batch: some operators hold one, several times over, before they spill.
const BATCH_ROW_BYTES: usize = 64 << 10;

/// What one of DataFusion's partitions should have for itself, or there is one only.
const PARTITION_BYTES: usize = 64 << 20;

/// What a call may hold in memory, and where it puts what is more. Clones share both.
///
/// Half may be reserved for what is [kept](Memory::reserve), which can go to a file at any time. The rest,
/// and what is not kept of the half, is divided fairly among DataFusion's operators: one that gets nothing
/// fails, so that first come, first served would not do.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    runtime: Arc<RuntimeEnv>,
    kept: Arc<dyn MemoryPool>,
    bytes: usize,
    directory: Option<PathBuf>,
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
        let mode = match spill_directory {
            Some(directory) => {
                check(directory)?;
                DiskManagerMode::Directories(vec![directory.to_owned()])
            }
            // Made when the first file is.
            None => DiskManagerMode::OsTmpDirectory,
        };
        // The disk has its own limit.
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(u64::MAX);
        let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(bytes));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool.clone())
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|cause| failed(&cause))?;
        let kept = Arc::new(Share { pool, most: bytes / 2, used: AtomicUsize::new(0) });
        Ok(Memory(Arc::new(Inner { runtime, kept, bytes, directory: spill_directory.map(Path::to_owned) })))
    }

    /// How much there is of it.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// A session of DataFusion within this memory.
    pub fn session(&self) -> SessionContext {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let partitions = (self.0.bytes / PARTITION_BYTES).clamp(1, cores);
        let mut config =
            SessionConfig::new().with_batch_size(self.batch_rows()).with_target_partitions(partitions);
        // Each sort sets this apart from the start, and joins of several features have many.
        let merging = config.options().execution.sort_spill_reservation_bytes;
        config = config.with_sort_spill_reservation_bytes(merging.min(self.0.bytes / partitions / 32));
        SessionContext::new_with_config_rt(config, self.0.runtime.clone())
    }

    /// The most rows that a batch should have.
    pub(super) fn batch_rows(&self) -> usize {
        (self.0.bytes / BATCH_ROW_BYTES).clamp(SMALL_BATCH_ROWS, BATCH_ROWS)
    }

    /// Memory, none as yet, for what can be put into a [file](Memory::file) should there be no more of it.
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        // Not of the kind that DataFusion has to share memory with fairly.
        MemoryConsumer::new(name).register(&self.0.kept)
    }

    /// A file without a name, which is gone when it is closed, also by the death of the process.
    pub(super) fn file(&self) -> Result<File> {
        match &self.0.directory {
            Some(directory) => tempfile::tempfile_in(directory),
            None => tempfile::tempfile(),
        }
        .map_err(|cause| self.broken(&cause))
    }

    /// The error of a file in the spill directory.
    pub(super) fn broken(&self, cause: &io::Error) -> Error {
        let directory = self.0.directory.clone().unwrap_or_else(std::env::temp_dir);
        of_directory(&format!("the spill directory {}", directory.display()), cause)
            .with("path", directory.display())
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

/// What a failure of DataFusion means. An [`Error`] that it carries comes out as it was.
pub fn failed(cause: &DataFusionError) -> Error {
    if let Some(own) = chain(cause).find_map(|error| error.downcast_ref::<Error>()) {
        return own.clone();
    }
    if let Some(cause) = chain(cause).find_map(|error| error.downcast_ref::<io::Error>()) {
        return of_directory("the spill directory", cause);
    }
    match cause.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::invalid(format!(
            "the memory that this call may hold is too small for it, though it spills what it can: raise {MEMORY_OPTION}"
        ))
        .with("option", MEMORY_OPTION),
        root => Error::new(
            Status::Internal,
            format!("computing failed: {}", presentable(&root.strip_backtrace())),
        ),
    }
    .caused_by(cause)
}

fn chain(first: &DataFusionError) -> impl Iterator<Item = &(dyn Cause + 'static)> {
    successors(Some(first as &(dyn Cause + 'static)), |error| (*error).source())
}

/// A share of a pool, for those who come first.
#[derive(Debug)]
struct Share {
    pool: Arc<dyn MemoryPool>,
    most: usize,
    used: AtomicUsize,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(used: {}, at most: {})", self.name(), self.reserved(), self.most)
    }
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        "share"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> datafusion::error::Result<()> {
        let within = |used: usize| used.checked_add(additional).filter(|used| *used <= self.most);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return Err(DataFusionError::ResourcesExhausted(format!("no more than {self}")));
        }
        self.pool.try_grow(reservation, additional).inspect_err(|_| {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.most)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, RecordBatch};
    use arrow::datatypes::Int64Type;
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
        drop(memory);
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_is_kept_leaves_half_of_the_memory_to_others() {
        let memory = Memory::new(MINIMUM, None).unwrap();
        let (one, other) = (memory.reserve("one"), memory.reserve("other"));
        one.try_grow(MINIMUM / 4).unwrap();
        other.try_grow(MINIMUM / 4).unwrap();
        assert!(one.try_grow(1).is_err());
        drop(other);
        one.try_grow(MINIMUM / 4).unwrap();
        let theirs = MemoryConsumer::new("theirs").register(&memory.0.runtime.memory_pool);
        theirs.try_grow(MINIMUM / 2).unwrap();
        assert!(theirs.try_grow(1).is_err());
        one.free();
        theirs.try_grow(MINIMUM / 2).unwrap();
        assert!(one.try_grow(1).is_err());
        drop(theirs);
        one.try_grow(MINIMUM / 2).unwrap();
    }

    #[tokio::test]
    async fn the_least_memory_sorts_and_joins_what_is_larger_while_half_of_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(MINIMUM, Some(directory.path())).unwrap();
        let kept = memory.reserve("kept");
        kept.try_grow(MINIMUM / 2).unwrap();
        let session = memory.session();
        let settings = session.sql("set datafusion.optimizer.prefer_hash_join = false").await.unwrap();
        settings.collect().await.unwrap();
        let query = "select count(*) from \
            (select value as a, repeat('x', 40) as text from generate_series(1, 300000) order by value desc) \
            join (select value + 150000 as b, repeat('y', 40) as other from generate_series(1, 300000)) on a = b";
        let batches: Vec<RecordBatch> = session.sql(query).await.unwrap().collect().await.unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 150_000);
    }

    #[tokio::test]
    async fn what_does_not_fit_says_which_option_to_raise() {
        let memory = Memory::limited(1 << 12, None).unwrap();
        let query = "select value from generate_series(1, 100000) order by value desc";
        let cause = memory.session().sql(query).await.unwrap().collect().await.unwrap_err();
        let error = failed(&cause);
        assert_eq!(error.status(), Status::InvalidArgument, "{cause}");
        assert!(error.message().contains("raise memory.bytes"));
        assert!(!error.causes().is_empty());
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
