//! Removing rows by their place: one commit that marks them as deleted in their files.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use lance::Dataset;
use lance::dataset::CommitBuilder;
use lance::dataset::scanner::RowAddrTreeMap;
use lance::dataset::transaction::{Operation, Transaction};
use lance_table::format::Fragment;

use super::database::Database;
use super::failure::is_conflict;
use super::table::Table;
use crate::error::{Error, Result, Status};

/// Fragments whose deleted rows are read and written at a time.
const PARALLEL: usize = 8;

/// What a commit says of the rows it removes, where Lance has a place for a condition.
const BY_ADDRESS: &str = "by address";

/// What became of rows that were to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// They are gone since this version; with no rows to remove, the version is the one that was
    /// looked at.
    Done { version: u64 },
    /// Nothing was removed: another writer moved or removed some of the rows first. Look for them
    /// in the newest version, and try again.
    Overtaken,
}

impl Database {
    /// Removes the rows of `table` at `addresses` (see [`super::Scan::ADDRESS`]), all of them or
    /// none, in one commit. Rows that others append meanwhile are no obstacle.
    pub async fn delete_rows(&self, table: &Table, addresses: Vec<u64>) -> Result<Erased> {
        let dataset = table.dataset.as_ref();
        let read = dataset.version().version;
        if addresses.is_empty() {
            return Ok(Erased::Done { version: read });
        }
        let failed = |cause| table.failed("remove rows of", cause);
        let (updated_fragments, deleted_fragment_ids) = marked(dataset, &addresses).await.map_err(failed)?;
        let operation =
            Operation::Delete { updated_fragments, deleted_fragment_ids, predicate: BY_ADDRESS.to_owned() };
        let transaction = Transaction::new(read, operation, None);
        let identity = transaction.uuid.clone();
        let committed = CommitBuilder::new(table.dataset.clone())
            // By these Lance joins deletions of other rows of the same file.
            .with_affected_rows(addresses.into_iter().collect::<RowAddrTreeMap>())
            .execute(transaction)
            .await;
        match committed {
            Ok(dataset) => Ok(Erased::Done { version: dataset.version().version }),
            Err(cause) => match self.committed_as(table, &identity, "removed from", &cause).await? {
                Some(dataset) => Ok(Erased::Done { version: dataset.version().version }),
                None if is_conflict(&cause) => Ok(Erased::Overtaken),
                None => Err(failed(cause)),
            },
        }
    }

    /// The version in which the commit `identity` was made, in spite of its answer `cause`, after
    /// the version `table`; by it rows were to be `changed`.
    pub(super) async fn committed_as(
        &self,
        table: &Table,
        identity: &str,
        changed: &str,
        cause: &lance::Error,
    ) -> Result<Option<Dataset>> {
        let unknown = |error: &(dyn std::error::Error + 'static)| {
            Error::new(
                Status::Unavailable,
                format!(
                    "it is not known whether rows were {changed} the table {} of {}: the commit was answered with {cause}, and \
                     looking for it failed with {error}",
                    table.name(),
                    self.display()
                ),
            )
            .caused_by(error)
            .retryable(false)
            .with("store", self.display())
            .with("table", table.name())
        };
        let newest = match self.open(table.name()).await {
            Ok(Some(newest)) => newest,
            Ok(None) => return Ok(None),
            Err(error) => return Err(unknown(&error)),
        };
        let since = table.dataset.version().version;
        for version in (since + 1..=newest.dataset.version().version).rev() {
            let found = async {
                let dataset = newest.dataset.checkout_version(version).await?;
                let made = dataset.read_transaction().await?;
                Ok(made.is_some_and(|made| made.uuid == identity).then_some(dataset))
            };
            match found.await {
                Ok(Some(dataset)) => return Ok(Some(dataset)),
                Ok(None) => {}
                // Cleaned up already, and what is older with it.
                Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => break,
                Err(cause) => return Err(unknown(&cause)),
            }
        }
        Ok(None)
    }
}

/// The fragments of `dataset` in which the rows at `addresses` are marked as deleted, and the numbers
/// of those that then have no row left.
async fn marked(dataset: &Dataset, addresses: &[u64]) -> lance::Result<(Vec<Fragment>, Vec<u64>)> {
    let mut rows: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for address in addresses {
        // A row's number in its fragment is the lower half of its address.
        rows.entry(address >> 32).or_default().push((address & u64::from(u32::MAX)) as u32);
    }
    let mut marking = futures::stream::iter(rows)
        .map(|(id, rows)| async move {
            let fragment = dataset
                .get_fragment(id as usize)
                .ok_or_else(|| lance::Error::invalid_input(format!("the version has no fragment {id}")))?;
            Ok::<_, lance::Error>((id, fragment.extend_deletions(rows).await?))
        })
        .buffered(PARALLEL);
    let (mut updated, mut deleted) = (Vec::new(), Vec::new());
    while let Some((id, marked)) = marking.try_next().await? {
        match marked {
            Some(fragment) => updated.push(fragment.metadata().clone()),
            None => deleted.push(id),
        }
    }
    Ok((updated, deleted))
}
