//! The threads that do the work: one tokio runtime, shared by the open stores and streams.
//!
//! It is built when the first store opens and shut down when the last holder goes, so that a host
//! that has closed everything has no thread of ours left.

use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use crate::error::{Error, Result, Status};
use crate::process::{PerProcess, may_start_threads};

/// How long the last holder waits for background work to notice that it is no longer wanted.
const SHUTDOWN: Duration = Duration::from_secs(5);

static SHARED: PerProcess<Mutex<Weak<Inner>>> = PerProcess::new();

/// A share in the runtime of this process.
#[derive(Clone, Debug)]
pub struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// The runtime of this process, started if nobody holds it yet.
    pub fn acquire() -> Result<Runtime> {
        let shared = SHARED.get().ok_or_else(|| {
            Error::new(Status::Forked, "too many nested forks; open stores in a process started by exec")
        })?;
        let mut shared = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(inner) = shared.upgrade() {
            return Ok(Runtime(inner));
        }
        if !may_start_threads() {
            return Err(Error::new(
                Status::Forked,
                "this process was forked from one that had opened a store, and cannot use stores itself; fork before the \
                 first store is opened, or start workers by exec (in Python: the start method spawn or forkserver)",
            ));
        }
        let runtime =
            Builder::new_multi_thread().thread_name("metaxy").enable_all().build().map_err(|cause| {
                Error::new(Status::Io, format!("cannot start the threads of the store: {cause}"))
                    .caused_by(&cause)
            })?;
        let inner = Arc::new(Inner(Some(runtime)));
        *shared = Arc::downgrade(&inner);
        Ok(Runtime(inner))
    }

    pub fn handle(&self) -> Result<&Handle> {
        match &self.0.0 {
            Some(runtime) => Ok(runtime.handle()),
            None => Err(Error::new(Status::Internal, "the runtime of the store is gone")),
        }
    }

    /// Runs `future` to its end on the calling thread, which must not be a thread of a runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        if Handle::try_current().is_ok() {
            return Err(reentrant());
        }
        self.handle()?.block_on(future)
    }
}

/// The error for a blocking call made from a thread that drives asynchronous work.
pub fn reentrant() -> Error {
    Error::new(
        Status::Reentrant,
        "the library was called from one of its own callbacks or from a thread of an asynchronous runtime; \
         make the call from another thread",
    )
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(runtime) = self.0.take() else { return };
        if Handle::try_current().is_ok() {
            // A runtime thread cannot wait for itself.
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(SHUTDOWN);
        }
    }
}
