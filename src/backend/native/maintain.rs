//! Keeping tables small: many fragments become few.
//!
//! Which of two rows of the same time is the later one is told by their order in the table, and Lance
//! orders fragments by their numbers. So a compaction rewrites the last fragments of a table, however
//! many, and takes their new numbers before it begins: what is appended meanwhile comes after them.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use lance::dataset::CommitBuilder;
use lance::dataset::index::DatasetIndexRemapperOptions;
use lance::dataset::optimize::{CompactionOptions, CompactionTask, TaskData, commit_compaction};
use lance::dataset::transaction::{Operation, RewriteGroup, Transaction};
use lance_table::format::Fragment;

use super::database::Database;
use super::outcome::Commit;
use super::table::Table;
use super::table_lock::{Access, Claim, DirectoryLock};
use crate::backend::failure::is_conflict;
use crate::backend::work::{Compacted, Extent};
use crate::error::{Error, Result, Status};

/// Rows that a fragment should have; one that has as many is left alone.
const FRAGMENT_ROWS: usize = 1 << 20;

/// What a compaction reads at a time, and what may wait to be written.
const BATCH_ROWS: usize = 8192;
const BUFFER_BYTES: u64 = 32 << 20;

/// Fragments that a compaction may make beyond those that are expected.
const SPARE_FRAGMENTS: usize = 8;

/// A fragment joins the smaller ones after it when it has at most this many times their rows. So
/// each row is rewritten a few times only, however often a table is compacted.
const GROWTH: usize = 4;

/// How often a compaction that others were faster than is tried again.
const ATTEMPTS: u32 = 10;

/// Where a table keeps its transactions. Its lock is the right to maintain the table: that of the
/// table itself would keep writers out.
pub(super) const TRANSACTIONS: &str = "_transactions";

const POLL: Duration = Duration::from_millis(20);

/// How often a rewrite that is under way looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// What a compaction of the tail may rewrite: whoever has written a row must not pay for gigabytes.
const TAIL_BYTES: u64 = 256 << 20;

/// Held by the one who maintains a table.
pub struct Maintaining(#[expect(dead_code, reason = "held, not used")] Option<DirectoryLock>);

/// Keeps everybody from maintaining a table.
pub(super) struct Unmaintained(#[expect(dead_code, reason = "held, not used")] DirectoryLock);

impl Unmaintained {
    /// Nothing when the table is being maintained already.
    pub(super) fn hold(table: &Path) -> Option<Unmaintained> {
        let transactions = table.join(TRANSACTIONS);
        std::fs::create_dir_all(&transactions).ok()?;
        match DirectoryLock::claim(&transactions, Access::Shared) {
            Ok(Claim::Locked(lock)) => Some(Unmaintained(lock)),
            Ok(Claim::Busy) | Err(_) => None,
        }
    }
}

impl Database {
    /// The right to maintain `table`, or nothing while another process has it.
    pub fn try_maintain(&self, table: &str) -> Option<Maintaining> {
        let Some(directory) = self.table_directory(table) else { return Some(Maintaining(None)) };
        match DirectoryLock::claim(&directory.join(TRANSACTIONS), Access::Exclusive) {
            Ok(Claim::Locked(lock)) => Some(Maintaining(Some(lock))),
            Ok(Claim::Busy) => None,
            // Two compactions at a time waste work, and do no harm.
            Err(_) => Some(Maintaining(None)),
        }
    }

    /// Waits for the right to maintain `table`, as long as `proceed` allows.
    pub async fn maintain(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<Maintaining> {
        loop {
            proceed()?;
            if let Some(right) = self.try_maintain(table) {
                return Ok(right);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Joins small fragments and drops deleted rows. Nothing else changes: not which rows there are,
    /// not their order. Nothing is done, and nothing given, when there is no such table, or nothing to
    /// do at the tail.
    pub async fn compact(
        &self,
        table: &str,
        extent: Extent,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<Compacted>> {
        for tries in 0..ATTEMPTS {
            proceed()?;
            let Some(table) = self.open(table).await? else { return Ok(None) };
            let fragments = table.dataset.fragments();
            let first = match extent {
                Extent::Everything => first_unfit(fragments),
                Extent::Tail { at_least } => match tail(fragments) {
                    tail if tail.len() < at_least.max(2) => return Ok(None),
                    tail => match last_within(tail, TAIL_BYTES) {
                        last if last.len() < 2 => return Ok(None),
                        last => last.first(),
                    },
                },
            };
            let Some(first) = first.map(|fragment| fragment.id) else {
                return Ok(Some(Compacted {
                    fragments_before: fragments.len(),
                    fragments_after: fragments.len(),
                    rows_removed: 0,
                    version: table.dataset.version().version,
                }));
            };
            if let Some(done) = Box::pin(self.rewrite(&table, first, &proceed)).await? {
                return Ok(Some(done));
            }
            if extent != Extent::Everything {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(10 << tries.min(6))).await;
        }
        Err(Error::new(
            Status::Conflict,
            format!(
                "the table {table} of {} was not compacted: other writers were in the way {ATTEMPTS} times; compact it \
                 again",
                self.display()
            ),
        )
        .with("store", self.display())
        .with("table", table))
    }

    /// The number of fragments that a compaction of the tail would join.
    pub async fn tail_fragments(&self, table: &str) -> Result<usize> {
        Ok(self.open(table).await?.map_or(0, |table| tail(table.dataset.fragments()).len()))
    }

    /// Rewrites the fragments from number `first` on; gives nothing when others were faster.
    async fn rewrite(
        &self,
        table: &Table,
        first: u64,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<Compacted>> {
        let rewritten = self.try_rewrite(table, first, proceed).await;
        if matches!(rewritten, Ok(Some(_))) || !table.is_dropped() {
            return rewritten;
        }
        // There is nothing left to compact, whatever went wrong.
        self.remove_empty_directories(table.name());
        Ok(None)
    }

    async fn try_rewrite(
        &self,
        table: &Table,
        first: u64,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Option<Compacted>> {
        let failed = |cause| table.failed("compact", cause);
        let before = table.dataset.fragments();
        let rows: usize = before.iter().filter_map(Fragment::num_rows).sum();
        let count = (rows / FRAGMENT_ROWS + SPARE_FRAGMENTS) as u32;
        let reserve = Operation::ReserveFragments { num_fragments: count };
        let reserve = Transaction::new(table.dataset.version().version, reserve, None);
        let Some(locked) = self.lock_to_commit(table, &proceed).await? else { return Ok(None) };
        let dataset = match CommitBuilder::new(table.afresh().await?).execute(reserve).await {
            Ok(dataset) => dataset,
            Err(cause) if is_conflict(&cause) => return Ok(None),
            Err(cause) => return Err(failed(cause)),
        };
        drop(locked);
        let last = u64::from(dataset.manifest.max_fragment_id.unwrap_or_default());
        let numbers = (last + 1).saturating_sub(u64::from(count))..=last;

        let old_fragments: Vec<Fragment> =
            dataset.fragments().iter().filter(|fragment| fragment.id >= first).cloned().collect();
        let rows_removed = old_fragments.iter().map(deleted_rows).sum();
        let version = dataset.version().version;
        let options = options();
        let task = CompactionTask {
            task: TaskData { fragments: old_fragments.clone() },
            read_version: version,
            options: options.clone(),
        };
        // Lance panics on some damaged files. What a rewrite that is given up has written belongs to no
        // version, and goes in time.
        let rewriting = AssertUnwindSafe(task.execute(&dataset)).catch_unwind();
        let rewritten = while_wanted(rewriting, &proceed).await?;
        let mut rewritten = rewritten.map_err(|_| table.damaged())?.map_err(failed)?;
        let files = rewritten.new_fragments.clone();
        let _locked = match self.lock_to_commit(table, &proceed).await {
            Ok(Some(locked)) => locked,
            given_up => {
                self.forget(table, &files).await;
                return given_up.map(|_| None);
            }
        };
        let mut done = Compacted {
            fragments_before: before.len(),
            fragments_after: before.len(),
            rows_removed,
            version,
        };
        // Metaxy makes neither indices nor stable row ids; Lance has more to do where somebody has.
        if rewritten.row_addrs.is_some() || dataset.manifest.uses_stable_row_ids() {
            let (mut dataset, remap) = (dataset, Arc::new(DatasetIndexRemapperOptions::default()));
            return match Box::pin(commit_compaction(&mut dataset, vec![rewritten], remap, &options)).await {
                Ok(_) => {
                    done.fragments_after = dataset.fragments().len();
                    done.version = dataset.version().version;
                    Ok(Some(done))
                }
                Err(cause) if is_conflict(&cause) => {
                    self.forget(table, &files).await;
                    Ok(None)
                }
                Err(cause) => Err(failed(cause)),
            };
        }
        let new_fragments = &mut rewritten.new_fragments;
        if new_fragments.len() > count as usize {
            self.forget(table, new_fragments).await;
            return Ok(None);
        }
        for (fragment, number) in new_fragments.iter_mut().zip(numbers) {
            fragment.id = number;
        }
        let groups = vec![RewriteGroup { old_fragments, new_fragments: new_fragments.clone() }];
        let operation = Operation::Rewrite { groups, rewritten_indices: Vec::new(), frag_reuse_index: None };
        let transaction = Transaction::new(version, operation, None);
        let identity = transaction.uuid.clone();
        let effect = "a compaction was made in";
        let commit = Commit { table: table.name(), identity: &identity, since: version, effect };
        let committed = match CommitBuilder::new(Arc::new(dataset)).execute(transaction).await {
            Ok(committed) => committed,
            Err(cause) => match self.made(&commit, &cause).await? {
                Some(committed) => committed,
                None => {
                    self.forget(table, &files).await;
                    return if is_conflict(&cause) { Ok(None) } else { Err(failed(cause)) };
                }
            },
        };
        done.fragments_after = committed.fragments().len();
        done.version = committed.version().version;
        Ok(Some(done))
    }

    /// Deletes the files of fragments that belong to no version.
    async fn forget(&self, table: &Table, fragments: &[Fragment]) {
        let Ok(storage) = self.storage().await else { return };
        for file in fragments.iter().flat_map(|fragment| &fragment.files) {
            // A file that stays is unused space, no harm, and pruning finds it.
            let _ = storage.store.delete(&self.data_path(&storage.root, table.name(), &file.path)).await;
        }
    }
}

/// Does `work`, as long as `proceed` allows.
async fn while_wanted<T>(work: impl Future<Output = T>, proceed: impl Fn() -> Result<()>) -> Result<T> {
    let mut work = Box::pin(work);
    loop {
        proceed()?;
        if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
            return Ok(done);
        }
    }
}

fn options() -> CompactionOptions {
    CompactionOptions {
        target_rows_per_fragment: FRAGMENT_ROWS,
        batch_size: Some(BATCH_ROWS),
        io_buffer_size: Some(BUFFER_BYTES),
        num_threads: Some(1),
        ..CompactionOptions::default()
    }
}

fn rows(fragment: &Fragment) -> usize {
    fragment.num_rows().unwrap_or(FRAGMENT_ROWS)
}

fn deleted_rows(fragment: &Fragment) -> u64 {
    fragment.deletion_file.as_ref().and_then(|file| file.num_deleted_rows).unwrap_or_default() as u64
}

/// The first fragment that a compaction would improve.
fn first_unfit(fragments: &[Fragment]) -> Option<&Fragment> {
    fragments.iter().enumerate().find_map(|(place, fragment)| {
        let alone = place + 1 == fragments.len();
        let unfit = fragment.deletion_file.is_some() || (!alone && rows(fragment) < FRAGMENT_ROWS);
        unfit.then_some(fragment)
    })
}

/// The fragments at the end that are small, each compared with those after it.
fn tail(fragments: &[Fragment]) -> &[Fragment] {
    let mut after = 0_usize;
    let mut first = fragments.len();
    for (place, fragment) in fragments.iter().enumerate().rev() {
        let rows = rows(fragment);
        if rows >= FRAGMENT_ROWS || (after > 0 && rows > after.saturating_mul(GROWTH)) {
            break;
        }
        after = after.saturating_add(rows);
        first = place;
    }
    fragments.get(first..).unwrap_or_default()
}

/// The last of `fragments` whose files have no more than `limit` bytes together; those of unknown size
/// are too large.
fn last_within(fragments: &[Fragment], limit: u64) -> &[Fragment] {
    let mut left = limit;
    let within = |fragment: &&Fragment| match bytes(fragment).and_then(|bytes| left.checked_sub(bytes)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let count = fragments.iter().rev().take_while(within).count();
    fragments.get(fragments.len() - count..).unwrap_or_default()
}

fn bytes(fragment: &Fragment) -> Option<u64> {
    fragment.files.iter().map(|file| file.file_size_bytes.get().map(u64::from)).sum()
}

#[cfg(test)]
mod tests {
    use lance_io::utils::CachedFileSize;
    use lance_table::format::DataFile;

    use super::*;

    fn fragments(rows: &[usize]) -> Vec<Fragment> {
        let fragment =
            |(id, rows): (usize, &usize)| Fragment { physical_rows: Some(*rows), ..Fragment::new(id as u64) };
        rows.iter().enumerate().map(fragment).collect()
    }

    #[test]
    fn the_tail_is_what_is_small_for_what_follows() {
        for (sizes, expected) in [
            (&[][..], 0),
            (&[1], 1),
            (&[1, 1, 1], 3),
            (&[1000, 1, 1, 1], 3),
            (&[1, 1, 1, 1000], 4),
            (&[64, 16, 1, 1, 1, 1], 6),
            (&[90, 16, 1, 1, 1, 1], 5),
            (&[1, FRAGMENT_ROWS, 1, 1], 2),
        ] {
            assert_eq!(tail(&fragments(sizes)).len(), expected, "{sizes:?}");
        }
    }

    #[test]
    fn a_table_that_is_compacted_after_every_few_writes_stays_so_and_moves_each_row_seldom() {
        const WRITES: usize = 10_000;
        const AFTER: usize = 8;
        let (mut sizes, mut moved, mut most) = (Vec::new(), 0, 0);
        for _ in 0..WRITES {
            sizes.push(1);
            let all = fragments(&sizes);
            let joined = tail(&all).len();
            if joined >= AFTER {
                let rows: usize = sizes.drain(sizes.len() - joined..).sum();
                moved += rows;
                sizes.push(rows);
            }
            most = most.max(sizes.len());
        }
        assert!(most < 3 * AFTER, "{most} fragments");
        assert!(moved < 12 * WRITES, "{moved} rows were moved");
    }

    #[tokio::test]
    async fn a_rewrite_that_is_under_way_can_be_given_up() {
        let looks = std::sync::atomic::AtomicU32::new(0);
        let proceed = || match looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            2 => Err(Error::invalid("enough")),
            _ => Ok(()),
        };
        let given_up = while_wanted(std::future::pending::<()>(), proceed).await;
        assert_eq!(given_up.unwrap_err().message(), "enough");
        assert_eq!(while_wanted(async { 7 }, || Ok(())).await.unwrap(), 7);
    }

    #[test]
    fn the_tail_is_cut_to_what_may_be_rewritten() {
        let of_size = |size: Option<u64>| {
            let mut file = DataFile::new_legacy_from_fields("f", Vec::new(), None);
            file.file_size_bytes = CachedFileSize::from(size.and_then(std::num::NonZero::new));
            Fragment { files: vec![file], ..Fragment::new(0) }
        };
        for (sizes, expected) in [
            (&[][..], 0),
            (&[Some(11)], 0),
            (&[Some(1), Some(2)], 2),
            (&[Some(1), Some(8), Some(2)], 2),
            (&[Some(1), None, Some(2)], 1),
            (&[Some(1), Some(11), Some(2)], 1),
        ] {
            let fragments: Vec<_> = sizes.iter().copied().map(of_size).collect();
            assert_eq!(last_within(&fragments, 10).len(), expected, "{sizes:?}");
        }
    }

    #[test]
    fn only_what_can_be_improved_is_rewritten() {
        assert!(first_unfit(&fragments(&[1])).is_none());
        assert!(first_unfit(&fragments(&[FRAGMENT_ROWS, FRAGMENT_ROWS, 1])).is_none());
        assert_eq!(first_unfit(&fragments(&[FRAGMENT_ROWS, 1, 1])).unwrap().id, 1);
    }
}
