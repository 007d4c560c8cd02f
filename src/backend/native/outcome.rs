//! What became of a commit that was answered with a failure.
//!
//! The failure may be that of the answer alone. So the version is looked for; and where a storage may
//! yet do what it was asked for, not finding it proves nothing: then the outcome is unknown, and the
//! files that the commit names have to stay.

use std::error::Error as StdError;

use lance::{Dataset, Error as LanceError};

use super::database::Database;
use crate::backend::failure::is_conflict;
use crate::error::{Error, Result};
use crate::redact::presentable;

/// A commit by what is to be said of it.
pub(super) struct Commit<'a> {
    pub(super) table: &'a str,
    /// That of its transaction.
    pub(super) identity: &'a str,
    /// The version that it was based on.
    pub(super) since: u64,
    /// Such as "the rows were added to".
    pub(super) effect: &'a str,
}

impl Database {
    /// The version that `commit`, which was answered with `cause`, has made all the same; nothing if it
    /// has made none, and an error if that cannot be told.
    pub(super) async fn made(&self, commit: &Commit<'_>, cause: &LanceError) -> Result<Option<Dataset>> {
        let unknown = |known: &str| self.unknown(commit, cause, known);
        let failed = |error: &dyn StdError| {
            unknown(&format!("looking for it failed with {}", presentable(&error.to_string())))
        };
        let mut pruned = false;
        if let Some(newest) = self.open_pinned(commit.table).await.map_err(|error| failed(&error))? {
            let newest = newest.afresh().await.map_err(|error| failed(&error))?;
            for version in (commit.since + 1..=newest.version().version).rev() {
                let looked = async {
                    let dataset = newest.checkout_version(version).await?;
                    let made = dataset.read_transaction().await?;
                    Ok(made.is_some_and(|made| made.uuid == commit.identity).then_some(dataset))
                };
                match looked.await {
                    Ok(Some(dataset)) => return Ok(Some(dataset)),
                    Ok(None) => {}
                    // Pruned already, and what is older with it.
                    Err(LanceError::DatasetNotFound { .. } | LanceError::NotFound { .. }) => {
                        pruned = true;
                        break;
                    }
                    Err(error) => return Err(failed(&error)),
                }
            }
        }
        // In a directory nothing comes late, and what is looked for cannot be pruned meanwhile.
        match self.is_bucket() && may_come_late(cause) {
            true if pruned => Err(unknown("versions made since are pruned already")),
            true => Err(unknown("it is not there, but may yet come")),
            false => Ok(None),
        }
    }

    /// The error for `commit`, of which no more is known than `known`.
    pub(super) fn unknown(&self, commit: &Commit<'_>, cause: &LanceError, known: &str) -> Error {
        let message = format!(
            "it is not known whether {} the table {} of {}: the commit was answered with {}, and {known}; read before doing it \
             again",
            commit.effect,
            commit.table,
            self.display(),
            presentable(&cause.to_string())
        );
        let error = Error::unknown(message).caused_by(cause);
        error.with("store", self.display()).with("table", commit.table)
    }
}

/// Whether somebody else was faster, which a commit is told only if it has not been made.
pub(super) fn is_lost_race(cause: &LanceError) -> bool {
    // Lance tells of a lost create in all these ways.
    let lost_create = matches!(
        cause,
        LanceError::DatasetAlreadyExists { .. }
            | LanceError::DatasetNotFound { .. }
            | LanceError::NotFound { .. }
    );
    lost_create || is_conflict(cause)
}

/// Whether a storage that has answered so may yet make the version: a request of its manifest was sent,
/// perhaps more than once, and it was not refused the only time.
fn may_come_late(cause: &LanceError) -> bool {
    if is_lost_race(cause) {
        return false;
    }
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(error) = next {
        text.push_str(&error.to_string());
        next = error.source();
    }
    // As object_store words it: "Error performing PUT <URL> in 3ms, after 2 retries, ...: <status>".
    let of_another_file = text.contains("Error performing ") && !text.contains(".manifest");
    let refused = ["401 Unauthorized", "403 Forbidden"].iter().any(|status| text.contains(status));
    let once = !text.contains(", after ");
    !of_another_file && !(refused && once)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> LanceError {
        LanceError::io_source(text.into())
    }

    #[test]
    fn only_what_was_never_sent_or_refused_at_once_is_certain() {
        let put = "Generic S3 error: Error performing PUT http://h/b/t.lance/_versions/184.manifest in 1s";
        for late in [
            format!(
                "{put}, after 3 retries, max_retries: 3, retry_timeout: 10s - Server returned non-2xx status code: 503"
            ),
            format!("{put}, after 1 retries - Server returned non-2xx status code: 403 Forbidden"),
            format!("{put} - HTTP error: operation timed out"),
            "something that nobody knows".to_owned(),
        ] {
            assert!(may_come_late(&answered(&late)), "{late}");
        }
        for certain in [
            format!("{put} - Server returned non-2xx status code: 403 Forbidden"),
            "Error performing PUT http://h/b/t.lance/_transactions/1-x.txn in 1s, after 3 retries".to_owned(),
            "Error performing GET http://h/b?list-type=2&prefix=t.lance%2F_versions%2F in 1s".to_owned(),
        ] {
            assert!(!may_come_late(&answered(&certain)), "{certain}");
        }
        assert!(!may_come_late(&LanceError::dataset_already_exists("x")));
    }
}
