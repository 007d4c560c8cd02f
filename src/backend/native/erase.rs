//! Removing rows by their place: one commit that marks them as deleted in their files.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use lance::Dataset;
use lance::dataset::CommitBuilder;
use lance::dataset::scanner::RowAddrTreeMap;
use lance::dataset::transaction::{Operation, Transaction};
use lance_table::format::Fragment;
use lance_table::io::deletion::deletion_file_path;

use super::database::Database;
use super::outcome::Commit;
use super::table::Table;
use crate::backend::failure::is_conflict;
use crate::backend::work::Erased;
use crate::error::Result;

/// Where a table keeps the lists of its deleted rows.
pub(super) const DELETIONS: &str = "_deletions";

/// Fragments whose deleted rows are read and written at a time.
const PARALLEL: usize = 8;

/// What a commit says of the rows it removes, where Lance has a place for a condition.
const BY_ADDRESS: &str = "by address";

impl Database {
    /// Removes the rows of `table` at `addresses` (see [`crate::backend::Scan::ADDRESS`]), all of them or
    /// none, in one commit. Rows that others append meanwhile are no obstacle.
    pub async fn delete_rows(&self, table: &Table, addresses: Vec<u64>) -> Result<Erased> {
        let dataset = table.dataset.as_ref();
        let read = dataset.version().version;
        if addresses.is_empty() {
            return Ok(Erased::Done { version: read });
        }
        let failed = |cause| table.failed("remove rows of", cause);
        let marked = marked(dataset, &addresses).await;
        let locked = match self.lock_to_commit(table, || Ok(())).await? {
            Some(locked) => locked,
            None => {
                self.remove_marks(table, marked).await;
                return Ok(Erased::Overtaken);
            }
        };
        let (updated_fragments, deleted_fragment_ids) = marked.map_err(failed)?;
        let operation =
            Operation::Delete { updated_fragments, deleted_fragment_ids, predicate: BY_ADDRESS.to_owned() };
        let transaction = Transaction::new(read, operation, None);
        let identity = transaction.uuid.clone();
        let committed = CommitBuilder::new(table.afresh().await?)
            // By these Lance joins deletions of other rows of the same file.
            .with_affected_rows(addresses.into_iter().collect::<RowAddrTreeMap>())
            .execute(transaction)
            .await;
        drop(locked);
        let effect = "rows were removed from";
        let commit = Commit { table: table.name(), identity: &identity, since: read, effect };
        match committed {
            Ok(dataset) => Ok(Erased::Done { version: dataset.version().version }),
            Err(cause) => match self.made(&commit, &cause).await? {
                Some(dataset) => Ok(Erased::Done { version: dataset.version().version }),
                None if is_conflict(&cause) => Ok(Erased::Overtaken),
                None => Err(failed(cause)),
            },
        }
    }

    /// Deletes what was written for a commit that is not to be, of a table that has been dropped.
    async fn remove_marks(&self, table: &Table, marked: lance::Result<(Vec<Fragment>, Vec<u64>)>) {
        if let (Ok((fragments, _)), Ok(storage)) = (marked, self.storage().await) {
            let root = storage.root.clone().join(format!("{}.lance", table.name()));
            for fragment in fragments {
                let Some(file) = fragment.deletion_file else { continue };
                // The names of these files are random, so that none of another table is meant.
                let _ = storage.store.delete(&deletion_file_path(&root, fragment.id, &file)).await;
            }
        }
        self.remove_empty_directories(table.name());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{Int64Type, UInt64Type};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;
    use crate::backend::work::{Extent, Mode, Retention};
    use crate::backend::{Connect, Durability, Location};

    const NAME: &str = "t";
    const EVERYTHING: Retention = Retention { age: Duration::ZERO, versions: 1 };

    async fn append(database: &Database, numbers: std::ops::Range<i64>) {
        let column = Arc::new(Int64Array::from_iter_values(numbers));
        let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        let schema = batch.schema();
        let rows = RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter([Ok(batch)]));
        let staged = Box::pin(database.stage(NAME, &schema, Box::pin(rows))).await.unwrap();
        Box::pin(database.publish(staged, || Ok(()), |_| Ok(()))).await.unwrap();
    }

    /// The numbers in the newest version, and where they are.
    async fn rows(database: &Database) -> (Table, Vec<(i64, u64)>) {
        let table = database.open(NAME).await.unwrap().unwrap();
        let scan = crate::backend::Table::Native(table.clone()).scan(vec!["n".into()]);
        let stream = scan.with_address().stream().await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let rows = batches.iter().flat_map(|batch| {
            let numbers = batch["n"].as_primitive::<Int64Type>().values().to_vec();
            numbers
                .into_iter()
                .zip(batch[crate::backend::Scan::ADDRESS].as_primitive::<UInt64Type>().values().to_vec())
        });
        let rows = rows.collect();
        (table, rows)
    }

    fn addresses(rows: &[(i64, u64)], wanted: impl Fn(i64) -> bool) -> Vec<u64> {
        rows.iter().filter(|row| wanted(row.0)).map(|row| row.1).collect()
    }

    async fn left(database: &Database) -> Vec<i64> {
        rows(database).await.1.into_iter().map(|row| row.0).collect()
    }

    /// Databases with caches of different sizes share none.
    fn database(directory: &std::path::Path, cache_bytes: u64) -> Database {
        let location = Location::parse(directory.to_str().unwrap()).unwrap();
        Database::new(location, &Connect::default(), "test", cache_bytes, Mode::Write, Durability::Process)
            .unwrap()
    }

    /// Runs `test` on a database with the numbers 0 to 4 in one file and 5 to 9 in another.
    fn with_rows<F: Future<Output = ()>>(test: impl FnOnce(Arc<Database>) -> F) {
        let directory = tempfile::tempdir().unwrap();
        let database = Arc::new(database(directory.path(), 1 << 20));
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            append(&database, 0..5).await;
            append(&database, 5..10).await;
            Box::pin(test(database)).await;
        });
    }

    #[test]
    fn rows_are_removed_and_whole_files_with_them() {
        with_rows(async |database| {
            let (table, found) = rows(&database).await;
            let erased = database.delete_rows(&table, addresses(&found, |n| n == 2 || n >= 5)).await.unwrap();
            assert_eq!(left(&database).await, [0, 1, 3, 4]);
            let (newer, found) = rows(&database).await;
            let version = newer.dataset.version().version;
            assert_eq!(erased, Erased::Done { version });
            assert_eq!(database.delete_rows(&newer, Vec::new()).await.unwrap(), Erased::Done { version });
            database.delete_rows(&newer, addresses(&found, |_| true)).await.unwrap();
            assert_eq!(left(&database).await, [0; 0]);
        });
    }

    #[test]
    fn what_others_append_or_remove_elsewhere_is_no_obstacle() {
        with_rows(async |database| {
            let (table, found) = rows(&database).await;
            append(&database, 10..12).await;
            for removed in [1, 3, 7] {
                let erased = database.delete_rows(&table, addresses(&found, |n| n == removed)).await.unwrap();
                assert!(matches!(erased, Erased::Done { .. }), "{removed}");
            }
            assert_eq!(left(&database).await, [0, 2, 4, 5, 6, 8, 9, 10, 11]);
        });
    }

    #[test]
    fn rows_that_others_removed_or_moved_are_to_be_looked_for_again() {
        with_rows(async |database| {
            let (table, found) = rows(&database).await;
            database.delete_rows(&table, addresses(&found, |n| n == 2)).await.unwrap();
            for overlapping in [vec![2], vec![2, 3], vec![0, 1, 2, 3, 4]] {
                let rows = addresses(&found, |n| overlapping.contains(&n));
                assert_eq!(database.delete_rows(&table, rows).await.unwrap(), Erased::Overtaken);
            }
            assert_eq!(left(&database).await, [0, 1, 3, 4, 5, 6, 7, 8, 9]);
            let (table, found) = rows(&database).await;
            Box::pin(database.compact(NAME, Extent::Everything, || Ok(()))).await.unwrap();
            // Neither a later version nor pruning hides that the rows have moved.
            append(&database, 10..11).await;
            Box::pin(database.prune(NAME, EVERYTHING, || Ok(()))).await.unwrap();
            for moved in [vec![3], vec![5, 6, 7, 8, 9]] {
                let rows = addresses(&found, |n| moved.contains(&n));
                assert_eq!(database.delete_rows(&table, rows).await.unwrap(), Erased::Overtaken);
            }
            assert_eq!(left(&database).await, [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]);
        });
    }

    #[test]
    fn a_compaction_does_not_bring_removed_rows_back() {
        with_rows(async |database| {
            let over = std::sync::atomic::AtomicBool::new(false);
            let compacting = async {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    Box::pin(database.compact(NAME, Extent::Everything, || Ok(()))).await.unwrap();
                    Box::pin(database.prune(NAME, EVERYTHING, || Ok(()))).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let removing = async {
                for removed in 0..10 {
                    loop {
                        let (table, found) = rows(&database).await;
                        let gone = addresses(&found, |n| n == removed);
                        if matches!(database.delete_rows(&table, gone).await.unwrap(), Erased::Done { .. }) {
                            break;
                        }
                    }
                    append(&database, 10 + removed..11 + removed).await;
                }
                over.store(true, std::sync::atomic::Ordering::Relaxed);
            };
            tokio::join!(compacting, removing);
            assert_eq!(left(&database).await, (10..20).collect::<Vec<_>>());
        });
    }

    /// What Lance remembers of the versions of a table that was dropped is not taken for those of the
    /// one that has its name now.
    #[test]
    fn commits_are_not_compared_with_those_of_a_former_life() {
        let directory = tempfile::tempdir().unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (one, other) = (database(directory.path(), 32 << 20), database(directory.path(), 33 << 20));
            for n in 0..60 {
                append(&one, 3 * n..3 * n + 3).await;
            }
            // Looking for a commit reads the transactions of all versions.
            let first = one.open(NAME).await.unwrap().unwrap().dataset.checkout_version(1).await.unwrap();
            for version in 1..=60 {
                first.checkout_version(version).await.unwrap().read_transaction().await.unwrap();
            }
            drop(first);
            assert!(other.drop_table(NAME, || Ok(())).await.unwrap());
            for n in 0..40 {
                append(&other, 3 * n..3 * n + 3).await;
            }
            let (table, found) = rows(&one).await;
            let (newest, elsewhere) = rows(&other).await;
            other.delete_rows(&newest, addresses(&elsewhere, |n| n % 3 == 0)).await.unwrap();
            one.delete_rows(&table, addresses(&found, |n| n % 3 == 1)).await.unwrap();
            assert_eq!(left(&one).await, (0..120).filter(|n| n % 3 == 2).collect::<Vec<_>>());
        });
    }
}
