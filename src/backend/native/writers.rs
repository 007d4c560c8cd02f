//! Whether a storage keeps writers apart.
//!
//! Writers agree on the next version of a table by creating its manifest only if it is not there. Servers
//! that speak S3 and do not know that condition ignore it: both of two writers are told that theirs is the
//! version, and the rows of one are gone without an error. So a server that is not Amazon's is tried
//! before anything is written to it.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;

use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use super::bucket::Reach;
use super::database::{Database, Storage};
use crate::backend::failure::from_lance;
use crate::backend::location::{Provider, mask};
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};
use crate::process::PerProcess;
use crate::redact::presentable;

/// The places that were found to keep writers apart.
static TRIED: PerProcess<Mutex<HashSet<String>>> = PerProcess::new();

/// The option that accepts a server that does not.
const ACCEPT: &str = "write.single_writer";

impl Database {
    /// Whether this is a storage that has to be tried before it is written to, and has not been yet.
    pub fn must_try_writers(&self) -> bool {
        self.is_writable() && self.custom().is_some_and(|(_, place)| !tried(|tried| tried.contains(&place)))
    }

    /// Refuses a storage that does not keep writers apart, unless that is accepted.
    pub async fn try_writers(&self) -> Result<()> {
        let Some((reach, place)) = self.custom() else { return Ok(()) };
        let server = mask(reach.endpoint.as_deref().unwrap_or_default());
        match self.with_conditions().await? {
            Conditions::Kept => {
                tried(|tried| tried.insert(place));
                Ok(())
            }
            Conditions::Refused => {
                let message = format!(
                    "{} is not opened for writing: its server {server} refuses every request with the condition \
                     (If-None-Match) that keeps writers apart, and each commit has it; use a server that knows it, such as \
                     MinIO",
                    self.display()
                );
                let error = Error::new(Status::Unsupported, message).with("store", self.display());
                Err(error.with("endpoint", server))
            }
            Conditions::Ignored if reach.single_writer => {
                log::emit(Level::Warn, || {
                    format!(
                        "the server {server} of {} does not keep writers apart; as {ACCEPT}=accept promises that only one process \
                         at a time writes, it is written to",
                        self.display()
                    )
                });
                Ok(())
            }
            Conditions::Ignored => {
                let message = format!(
                    "{} is not opened for writing: its server {server} ignores the condition (If-None-Match) that keeps writers \
                     apart, so that rows of processes that write at the same time would be lost; use a server that knows it, \
                     such as MinIO, or give the option {ACCEPT}=accept if only one process at a time writes",
                    self.display()
                );
                let error = Error::new(Status::Unsupported, message).with("store", self.display());
                Err(error.with("option", ACCEPT).with("endpoint", server))
            }
        }
    }

    /// Creates an object that is not there, twice: the second time has to fail.
    async fn with_conditions(&self) -> Result<Conditions> {
        let Storage { store, root } = self.storage().await?;
        let key = root.clone().join(format!(".metaxy-writers-{}", random()));
        let create = || {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            store.inner.put_opts(&key, PutPayload::from_static(b"metaxy"), options)
        };
        let first = create().await.map_err(Outcome::of);
        let outcome = match first {
            Ok(_) => create().await.map_err(Outcome::of).err(),
            // Who did not hear the answer to a first try has asked twice already.
            Err(outcome) => Some(outcome),
        };
        if let Err(cause) = store.inner.delete(&key).await
            && !matches!(cause, StoreError::NotFound { .. })
        {
            log::emit(Level::Debug, || {
                format!("{key} is left in {}: {}", self.display(), presentable(&cause.to_string()))
            });
        }
        match outcome {
            None => Ok(Conditions::Ignored),
            Some(Outcome::Exists) => Ok(Conditions::Kept),
            Some(Outcome::Failed(cause)) if is_refusal(&cause) => Ok(Conditions::Refused),
            Some(Outcome::Failed(cause)) => {
                let cause = lance_core::Error::io_source(Box::new(cause));
                let what = || format!("cannot write to {}", self.display());
                Err(from_lance(cause, what).with("store", self.display()))
            }
        }
    }

    /// How a storage is reached whose writers are kept apart by a server that is not its provider's, and
    /// what tells it from others.
    fn custom(&self) -> Option<(&Reach, String)> {
        let reach = self.reach().filter(|reach| reach.provider == Provider::S3)?;
        let endpoint = Url::parse(reach.endpoint.as_deref()?).ok()?;
        let host = endpoint.host_str().unwrap_or_default();
        if host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn") {
            return None;
        }
        let bucket = Url::parse(&self.location().uri()).ok()?.host_str().unwrap_or_default().to_owned();
        Some((reach, format!("{bucket}\n{}", reach.place())))
    }
}

/// What a server makes of the condition that an object is not there.
enum Conditions {
    Kept,
    Ignored,
    Refused,
}

/// Whether a server says that it has not got what a request takes.
fn is_refusal(cause: &StoreError) -> bool {
    let chain = std::iter::successors(Some(cause as &dyn std::error::Error), |cause| cause.source());
    chain
        .map(ToString::to_string)
        .any(|text| text.contains("<Code>NotImplemented</Code>") || text.contains("501 Not Implemented"))
}

/// What came of creating an object.
enum Outcome {
    Exists,
    Failed(StoreError),
}

impl Outcome {
    fn of(cause: StoreError) -> Outcome {
        match cause {
            StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => Outcome::Exists,
            cause => Outcome::Failed(cause),
        }
    }
}

fn tried(look: impl FnOnce(&mut HashSet<String>) -> bool) -> bool {
    TRIED.get().is_some_and(|tried| look(&mut tried.lock().unwrap_or_else(|poisoned| poisoned.into_inner())))
}

fn random() -> String {
    // Each of these has keys of its own.
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
