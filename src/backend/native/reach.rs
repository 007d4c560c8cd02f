//! The first request to a bucket: whether the storage is there, and whether it knows us.
//!
//! Lance says of a storage that cannot be reached what its loops of retries leave over, and when they are
//! done with it; of a bucket that does not exist, that the table does not. So the storage is asked one
//! question before Lance is, without any retries below, that everybody needs the answer of who opens a
//! table: which objects there are, in a place where there are none. It is a list because a key that is not
//! there is forbidden, on Amazon's storage, to those who may not list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use lance_io::object_store::{ObjectStoreParams, StorageOptionsAccessor};
use tokio::time::{sleep, timeout};

use super::bucket::Reach;
use super::database::{Database, Storage};
use crate::backend::failure::{from_lance, unreachable};
use crate::backend::location::Provider;
use crate::backend::reason::{Evidence, Reason};
use crate::error::{Error, Result};

/// How long to wait before the same question is asked again, if the reason may pass.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(900)];

/// A place where nobody keeps anything.
const NOWHERE: &str = ".metaxy-nothing";

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How Lance reaches a storage with `options`.
pub fn store_params(options: Option<HashMap<String, String>>) -> ObjectStoreParams {
    let accessor = options.map(|options| Arc::new(StorageOptionsAccessor::with_static_options(options)));
    ObjectStoreParams { storage_options_accessor: accessor, ..ObjectStoreParams::default() }
}

impl Database {
    /// The files of this bucket, once it has answered.
    pub(super) async fn reached(&self, reach: &Reach) -> Result<Storage> {
        let mut last = None;
        let reaching = async {
            self.answered(reach, &mut last).await?;
            self.files(&self.store_params()).await.map_err(|cause| self.unreached(reach, cause))
        };
        match timeout(reach.patience.unwrap_or(FOR_EVER), reaching).await {
            Ok(reached) => reached,
            Err(_) => Err(last.unwrap_or_else(|| self.silent(reach))),
        }
    }

    /// Asks until there is an answer, or a reason that will not pass. Who has no time for that finds in
    /// `last` why it has failed so far.
    async fn answered(&self, reach: &Reach, last: &mut Option<Error>) -> Result<()> {
        for pause in PAUSES {
            match self.ask(reach).await {
                Err(failure) if failure.is_retryable() => {
                    // That an answer came too late tells less than an answer that came before.
                    if last.is_none() || failure.detail("reason") != Some(Reason::Timeout.word()) {
                        *last = Some(failure);
                    }
                }
                outcome => return outcome,
            }
            sleep(pause).await;
        }
        self.ask(reach).await
    }

    /// Asks the question, once.
    async fn ask(&self, reach: &Reach) -> Result<()> {
        let failed = |cause| self.unreached(reach, cause);
        let Storage { store, root } = self.files(&store_params(Some(reach.once()))).await.map_err(failed)?;
        let nowhere = root.join(NOWHERE);
        let mut found = store.inner.list(Some(&nowhere));
        found
            .try_next()
            .await
            .map(drop)
            .map_err(|cause| failed(lance_core::Error::io_source(Box::new(cause))))
    }

    fn unreached(&self, reach: &Reach, cause: lance_core::Error) -> Error {
        let what = self.reaching();
        let error = match Evidence::in_chain(&cause) {
            Some(evidence) => self.explained(reach, &evidence).caused_by(&cause),
            None => from_lance(cause, || what),
        };
        error.with("store", self.display())
    }

    /// The error for a storage that has said nothing at all.
    fn silent(&self, reach: &Reach) -> Error {
        // Without credentials the one who does not answer is most likely the server that gives some to the
        // machines of a cloud, which this is not then. Amazon's client gives up on that one earlier.
        let asked = reach.credentials || reach.provider == Provider::S3;
        let reason = if asked { Reason::Timeout } else { Reason::Credentials };
        self.explained(reach, &Evidence::of(reason)).with("store", self.display())
    }

    fn explained(&self, reach: &Reach, evidence: &Evidence) -> Error {
        let error = unreachable(evidence, Some(reach.provider), &self.reaching());
        // Who was told by the storage that they are wrong has some.
        if evidence.reason != Reason::Credentials || evidence.code.is_some() || reach.credentials {
            return error;
        }
        let advice = evidence.reason.advice(Some(reach.provider));
        let anonymous = match reach.provider {
            Provider::S3 => "aws_skip_signature",
            Provider::Gcs => "google_skip_signature",
            Provider::Azure => "azure_skip_signature",
        };
        error.reworded(|_| {
            format!(
                "{}: no credentials are given, and none could be got on this machine; {advice}, or read what is public with \
                 storage_options.{anonymous}=true",
                self.reaching()
            )
        })
    }

    fn reaching(&self) -> String {
        format!("cannot reach {}", self.display())
    }
}
