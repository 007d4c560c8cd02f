//! How a caller stays in control of a blocking call: timeout, cancel, progress.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, Status};

/// Told how many rows are done, and out of how many where that is known.
pub type Progress = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// What a caller lends to a call; clones share the cancel switch.
#[derive(Clone, Default)]
pub struct Context {
    cancel: CancellationToken,
    timeout: Option<Duration>,
    progress: Option<Progress>,
}

impl Context {
    pub fn new() -> Self {
        Context::default()
    }

    /// The longest that one blocking call may take, `None` for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    pub fn set_progress(&mut self, progress: Option<Progress>) {
        self.progress = progress;
    }

    /// Ends the calls that use this context, now and later, with `CANCELLED`.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Starts the clock of one blocking call.
    pub fn begin(&self) -> Call {
        Call {
            cancel: self.cancel.clone(),
            deadline: self.timeout.map(|timeout| (std::time::Instant::now() + timeout, timeout)),
            progress: self.progress.clone(),
        }
    }
}

/// One blocking call under a [`Context`].
#[derive(Clone, Default)]
pub struct Call {
    cancel: CancellationToken,
    deadline: Option<(std::time::Instant, Duration)>,
    progress: Option<Progress>,
}

impl Call {
    /// Fails when the call has been cancelled or its time is up.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        match self.deadline {
            Some((deadline, timeout)) if std::time::Instant::now() >= deadline => Err(timed_out(timeout)),
            _ => Ok(()),
        }
    }

    /// Runs `work` until it ends, is cancelled or runs out of time. Work that must not be given up
    /// half way, such as a commit, is awaited without this.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.check()?;
        let limit = async {
            match self.deadline {
                Some((deadline, timeout)) => {
                    tokio::time::sleep_until(deadline.into()).await;
                    timeout
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled()),
            timeout = limit => Err(timed_out(timeout)),
            result = work => result,
        }
    }

    /// The same call for a part of its work, whose progress is told by who knows all of it.
    pub fn quietly(&self) -> Call {
        Call { progress: None, ..self.clone() }
    }

    pub fn progress(&self, rows: u64, total: Option<u64>) {
        if let Some(progress) = &self.progress {
            progress(rows, total);
        }
    }
}

fn cancelled() -> Error {
    Error::new(Status::Cancelled, "the call was cancelled through its context; nothing was changed")
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(
        Status::Timeout,
        format!(
            "the call did not end within {} ms, the timeout of its context; nothing was changed",
            timeout.as_millis()
        ),
    )
    .retryable(true)
}
