//! Keeping a store small: joining fragments, removing old versions, removing rows that nobody sees.
//!
//! All of it is safe while others read and write, in any number of processes.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use futures::FutureExt;

use super::Store;
use super::context::Call;
use super::options::{
    COMPACT_AFTER_WRITES, COMPACT_KEEP_MS, NONE, Options, PRUNE_OLDER_THAN_MS, PURGE_OLDER_THAN_MS,
    PURGE_TOMBSTONES,
};
use super::report::{Report, Target};
use super::superseded::Superseded;
use super::system_columns as system;
use crate::backend::{Erased, Extent, Retention};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, SYSTEM_NAMESPACE, SYSTEM_TABLE_PREFIX};
use crate::log::{self, Level};

/// How often rows to purge are looked for again because others moved them.
const ATTEMPTS: u32 = 20;

/// Versions that a writer leaves when it prunes, whatever their age: other programs, which pin nothing,
/// have these for finding out what happened since they opened the table.
const KEPT_VERSIONS: usize = 8;

/// When tables are compacted without being asked.
#[derive(Clone, Copy)]
pub(super) struct Upkeep {
    /// Small fragments that must have gathered.
    after_writes: usize,
    /// How long versions stay after they were superseded.
    keep: Duration,
}

impl Upkeep {
    pub(super) fn from_options(options: &Options) -> Result<Option<Upkeep>> {
        let keep = milliseconds(options, COMPACT_KEEP_MS)?;
        let after_writes = match options.get(COMPACT_AFTER_WRITES)? {
            None | Some(NONE) => 0,
            Some(_) => options.integer(COMPACT_AFTER_WRITES)?.unwrap_or_default(),
        };
        let after_writes = usize::try_from(after_writes).unwrap_or(usize::MAX);
        Ok((after_writes > 0).then_some(Upkeep { after_writes, keep }))
    }
}

impl Store {
    /// Joins the small fragments of the table of `feature`, or of every table, and gives the space of
    /// deleted rows back. The rows and their order stay as they are. One row per table, with the
    /// columns `feature`, `table`, `fragments_before`, `fragments_after`, `rows_removed`, `version`,
    /// `problem`: a table that fails, unless it is the one that was asked for, does not stop the others.
    pub async fn compact(
        &self,
        feature: Option<&str>,
        options: &Options,
        call: &Call,
    ) -> Result<RecordBatch> {
        let targets = self.to_maintain("compact", feature, options, call).await?;
        let mut report =
            Report::with_problems(["fragments_before", "fragments_after", "rows_removed", "version"]);
        for target in targets {
            let proceed = || call.check();
            let done = async {
                let _right = self.database().maintain(&target.table, proceed).await?;
                Box::pin(self.database().compact(&target.table, Extent::Everything, proceed)).await
            };
            match done.await {
                Ok(Some(done)) => {
                    let (before, after) = (done.fragments_before as u64, done.fragments_after as u64);
                    report.add(target, [before, after, done.rows_removed, done.version]);
                }
                Ok(None) => {}
                Err(error) => {
                    let problem = self.problem("compact", feature, &target, error, call)?;
                    report.add_problem(target, problem);
                }
            }
        }
        report.finish()
    }

    /// Removes the versions of the table of `feature`, or of every table, that were superseded longer
    /// ago than the option `prune.older_than_ms` says, with the files that only they need; none that
    /// is being read. One row per table, with the columns `feature`, `table`, `versions_removed`,
    /// `bytes_removed`, `version`, `problem`.
    pub async fn prune(&self, feature: Option<&str>, options: &Options, call: &Call) -> Result<RecordBatch> {
        let targets = self.to_maintain(PRUNE, feature, options, call).await?;
        let retention = Retention { age: milliseconds(options, PRUNE_OLDER_THAN_MS)?, versions: 1 };
        let mut report = Report::with_problems(["versions_removed", "bytes_removed", "version"]);
        for target in targets {
            let done = async {
                let _right = self.database().maintain(&target.table, || call.check()).await?;
                Box::pin(self.database().prune(&target.table, retention, || call.check())).await
            };
            match done.await {
                Ok(Some(done)) => {
                    report.add(target, [done.versions_removed, done.bytes_removed, done.version]);
                }
                Ok(None) => {}
                Err(error) => {
                    let problem = self.problem(PRUNE, feature, &target, error, call)?;
                    report.add_problem(target, problem);
                }
            }
        }
        report.finish()
    }

    /// Removes for good the rows of `feature`, or of every defined feature, that have not been the
    /// latest of their sample in their feature version for longer than the option
    /// `purge.older_than_ms` says; and tombstones of that age with everything they hide, as far as the
    /// option `purge.tombstones` allows. One row per table, with the columns `feature`, `table`,
    /// `rows_removed`, `version`, `problem`.
    pub async fn purge(&self, feature: Option<&str>, options: &Options, call: &Call) -> Result<RecordBatch> {
        self.check_maintainable("purge", options)?;
        let age = milliseconds(options, PURGE_OLDER_THAN_MS)?;
        let tombstones = match options.get(PURGE_TOMBSTONES)? {
            Some("keep") => false,
            Some("remove") => true,
            // One that hides nothing here may hide a row further down the chain.
            _ => self.chain().fallbacks.is_empty(),
        };
        let until = SystemTime::now()
            .checked_sub(age)
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(i64::MIN, |time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
        let mut report = Report::with_problems(["rows_removed", "version"]);
        for key in self.to_purge(feature, call).await? {
            let target = Target::of(&key);
            let purged = async {
                let graph = self.graph();
                let id_columns = graph.get(&key)?.spec.id_columns.as_slice();
                let superseded = Superseded { id_columns, until, tombstones };
                self.purge_table(&key, &superseded, call).await
            };
            match purged.await {
                Ok(Some(counts)) => report.add(target, counts),
                Ok(None) => {}
                Err(error) => {
                    let error = error.with("feature", &key);
                    let problem = self.problem("purge", feature, &target, error, call)?;
                    report.add_problem(target, problem);
                }
            }
        }
        report.finish()
    }

    async fn purge_table(
        &self,
        key: &FeatureKey,
        superseded: &Superseded<'_>,
        call: &Call,
    ) -> Result<Option<[u64; 2]>> {
        let mut removed = 0;
        let version = self.try_purge(key, superseded, call, &mut removed).await;
        Ok(version.map_err(|error| partly_done(error, removed))?.map(|version| [removed, version]))
    }

    /// Counts the rows as `removed`, and gives the version in which they are gone.
    async fn try_purge(
        &self,
        key: &FeatureKey,
        superseded: &Superseded<'_>,
        call: &Call,
        removed: &mut u64,
    ) -> Result<Option<u64>> {
        let identifying = system::identifying(superseded.id_columns);
        for tries in 0..ATTEMPTS {
            call.check()?;
            let Some(table) = self.database().open(&key.table_name()).await? else { return Ok(None) };
            let steps = call.run(superseded.find(&table)).await?;
            match Box::pin(self.database().delete_rows(&table, steps, &identifying, removed)).await? {
                Erased::Done { version } => return Ok(Some(version)),
                Erased::Overtaken => tokio::time::sleep(Duration::from_millis(10 << tries.min(6))).await,
            }
        }
        Err(Error::new(
            Status::Conflict,
            format!("{key} was not purged: other writers moved the rows {ATTEMPTS} times; purge again"),
        ))
    }

    /// What a writer does when its rows are there to stay: nothing that happens here is a failure of the
    /// write.
    pub(super) async fn keep_compact(&self, table: &str, call: &Call) {
        let Some(upkeep) = self.upkeep() else { return };
        let compacted =
            AssertUnwindSafe(Box::pin(self.compact_tail(table, upkeep, call))).catch_unwind().await;
        let reason = match compacted {
            Ok(Ok(())) => return,
            // A caller that has no more time has its rows, and wants to go on.
            Ok(Err(_)) if call.check().is_err() => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its files make no sense".to_owned(),
        };
        log::emit(Level::Warn, || {
            format!("the table {table} of {} was not compacted after a write: {reason}", self.display())
        });
    }

    async fn compact_tail(&self, table: &str, upkeep: Upkeep, call: &Call) -> Result<()> {
        let (database, proceed) = (self.database(), || call.check());
        proceed()?;
        if database.tail_fragments(table).await? < upkeep.after_writes {
            return Ok(());
        }
        let Some(_right) = database.try_maintain(table) else { return Ok(()) };
        let extent = Extent::Tail { at_least: upkeep.after_writes };
        if Box::pin(database.compact(table, extent, proceed)).await?.is_some() {
            let retention = Retention { age: upkeep.keep, versions: KEPT_VERSIONS };
            Box::pin(database.prune(table, retention, proceed)).await?;
        }
        Ok(())
    }

    /// What a report says of a table on which `operation` failed: one table does not keep the others
    /// from being maintained, unless it is the one that was asked for.
    fn problem(
        &self,
        operation: &str,
        asked: Option<&str>,
        target: &Target,
        error: Error,
        call: &Call,
    ) -> Result<String> {
        let error = self.located(error);
        if asked.is_some() || call.check().is_err() {
            return Err(error);
        }
        log::emit(Level::Warn, || {
            format!("cannot {operation} the table {} of {}: {error}", target.table, self.display())
        });
        Ok(error.message().to_owned())
    }

    fn check_maintainable(&self, operation: &str, options: &Options) -> Result<()> {
        self.check_writable()?;
        options.check_scope(operation).map_err(|error| self.located(error))
    }

    /// The tables that `operation` is about: that of `feature`, or all.
    async fn to_maintain(
        &self,
        operation: &str,
        feature: Option<&str>,
        options: &Options,
        call: &Call,
    ) -> Result<Vec<Target>> {
        self.check_maintainable(operation, options)?;
        let what = if operation == PRUNE { "pruned" } else { "compacted" };
        self.database().check_maintained_here(what).map_err(|error| self.located(error))?;
        if let Some(feature) = feature {
            let key = FeatureKey::parse(feature)?;
            self.check_present(&key, call).await?;
            return Ok(vec![Target::of(&key)]);
        }
        let listing = async {
            match operation {
                PRUNE => self.database().tables_even_dropped().await,
                _ => self.database().tables().await,
            }
        };
        let tables = call.run(listing).await.map_err(|error| self.located(error))?;
        let graph = self.graph();
        let feature_of = |table: &str| match table.strip_prefix(SYSTEM_TABLE_PREFIX) {
            Some(name) => Some(format!("{SYSTEM_NAMESPACE}/{name}")),
            None => graph
                .features()
                .map(|definition| definition.key())
                .find(|key| key.table_name() == table)
                .map(|key| key.to_string()),
        };
        Ok(tables.into_iter().map(|table| Target { feature: feature_of(&table), table }).collect())
    }

    async fn to_purge(&self, feature: Option<&str>, call: &Call) -> Result<Vec<FeatureKey>> {
        let Some(feature) = feature else {
            return Ok(self.graph().features().map(|definition| definition.key().clone()).collect());
        };
        let key = FeatureKey::parse(feature)?;
        if key.is_system() {
            let message =
                format!("{key} is a table of Metaxy itself, whose rows all count; it is not purged");
            return Err(self.located(Error::new(Status::Unsupported, message)).with("feature", &key));
        }
        self.graph().get(&key).map_err(|error| self.located(error))?;
        self.check_present(&key, call).await?;
        Ok(vec![key])
    }

    async fn check_present(&self, key: &FeatureKey, call: &Call) -> Result<()> {
        let located = |error: Error| self.located(error).with("feature", key);
        match call.run(self.database().open(&key.table_name())).await.map_err(located)? {
            Some(_) => Ok(()),
            None => {
                let message = format!("the store {} has no table of {key}", self.display());
                Err(located(Error::new(Status::NotFound, message)))
            }
        }
    }
}

const PRUNE: &str = "prune";

/// Says of a removal that failed how much of it was done before: that cannot be taken back.
pub(super) fn partly_done(error: Error, removed: u64) -> Error {
    match removed {
        0 => error,
        _ => error
            .reworded(|message| {
                format!("{message}; {removed} rows had been removed by then, and not the others; do it again")
            })
            .with("removed", removed),
    }
}

fn milliseconds(options: &Options, key: &str) -> Result<Duration> {
    Ok(Duration::from_millis(options.integer(key)?.unwrap_or_default()))
}
