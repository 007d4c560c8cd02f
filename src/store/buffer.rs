//! Writing row by row, from many threads: rows wait in memory and are committed together.
//!
//! ```text
//! push -> [checked] -> waiting -> committing -> committed
//!                      at most one buffer each
//! ```
//!
//! One task makes the commits, one after the other and in the order of the pushes, each a [`Writer`]
//! of its own. A row counts as committed only when the write that has it says so, and so a single
//! number tells what is acknowledged: a push gives the number of its last row as a ticket, and all
//! rows up to [`BufferedWriter::committed`] are there to stay.
//!
//! Rows are checked when they are pushed, by the table as it was then. If it is another when they are
//! committed, those that do not fit any more are refused, by whole pushes, so that they do not keep
//! the others from being committed.
//!
//! [`Writer`]: super::Writer

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Store;
use super::backlog::{Backlog, Bad, alone};
use super::context::{Call, Context};
use super::incoming::Incoming;
use super::options::{BUFFER_BYTES, BUFFER_MS, BUFFER_ROWS, Options, WRITE_DUPLICATES};
use super::write::{Aftercare, OnRepeat, Samples, check_same_columns};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Graph};
use crate::log::{self, Level};

/// How long a commit that failed rests before it is tried again: the first time, and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// How long giving up waits for a commit under way to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A buffer before a feature, for any number of threads. Dropping it gives up what is not committed.
pub struct BufferedWriter {
    buffer: Arc<Buffer>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Buffer {
    store: Store,
    /// As it was when the writer was opened: rows belong to the definition that they were made for.
    graph: Arc<Graph>,
    feature: FeatureKey,
    schema: SchemaRef,
    options: Options,
    limits: Limits,
    repeats: OnRepeat,
    /// The plan of the latest commit, by which rows are checked when they are pushed.
    plan: RwLock<Arc<Incoming>>,
    state: Mutex<State>,
    /// Wakes the task that commits.
    wanted: Notify,
    /// Wakes the calls that wait.
    changed: watch::Sender<()>,
    given_up: Context,
}

#[derive(Clone, Copy)]
struct Limits {
    rows: u64,
    bytes: u64,
    time: Duration,
}

#[derive(Default)]
struct State {
    waiting: Backlog,
    /// The rows of the commit under way, kept until it has succeeded.
    committing: Option<Arc<Backlog>>,
    /// Rows that were accepted, and the first so many of them that are committed or refused.
    pushed: u64,
    settled: u64,
    refused: Vec<Refused>,
    /// Up to which row a commit was asked for.
    asked: u64,
    /// Commits that failed, and how many of them since the last success.
    failures: u64,
    in_a_row: u32,
    trouble: Option<Trouble>,
    /// No more rows are accepted.
    closed: bool,
    /// No more commits are made.
    ended: bool,
}

/// Why the last commit failed.
struct Trouble {
    error: Error,
    next: Next,
    told: bool,
}

/// Pushes that were accepted but did not fit the table any more when they were to be committed.
struct Refused {
    /// The first row of each, and its ticket.
    pushes: Vec<RangeInclusive<u64>>,
    error: Error,
    /// How many commits had failed, this one counted.
    failures: u64,
    told: Told,
}

/// Who was told of rows that are refused, besides those who wait for them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nobody,
    /// A push or a wait for later rows.
    Any,
    /// A flush, which answers for all rows before it.
    Flush,
}

/// What asks whether rows are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Push,
    Wait,
    Flush,
}

/// When a commit that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Rest(Instant),
    /// When a flush asks for it.
    Asked,
    /// It may have been made, and would be made twice.
    Never,
}

/// What the task does next.
enum Step {
    Commit(Arc<Backlog>),
    Wait(Option<Instant>),
    End,
}

/// Rows that may be added.
struct Checked {
    rows: RecordBatch,
    /// Given where each sample may wait only once.
    samples: Vec<u128>,
}

impl Store {
    /// Opens a buffer of rows with the columns of `schema` before `feature`.
    pub async fn buffered_writer(
        &self,
        feature: &str,
        schema: SchemaRef,
        options: &Options,
        call: &Call,
    ) -> Result<BufferedWriter> {
        let feature = self.writable_feature(feature)?;
        let located = |error: Error| self.located(error).with("feature", &feature);
        options.check_scope("buffer").map_err(located)?;
        let limits = Limits::from_options(options).map_err(located)?;
        let repeats = match options.given(WRITE_DUPLICATES) {
            Some("error") => OnRepeat::Refuse,
            _ => OnRepeat::KeepLast,
        };
        let graph = call.run(Box::pin(self.refresh_externals())).await.map_err(located)?;
        let planned = call.run(self.plan(&graph, &feature, &schema, options)).await;
        let (plan, _) = planned.map_err(located)?;
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let buffer = Arc::new(Buffer {
            store: self.clone(),
            graph,
            schema: Arc::new(Schema::new(fields)),
            options: options.clone(),
            limits,
            repeats,
            plan: RwLock::new(Arc::new(plan)),
            state: Mutex::default(),
            wanted: Notify::new(),
            changed: watch::Sender::new(()),
            given_up: Context::new(),
            feature,
        });
        let task = Mutex::new(Some(tokio::spawn(buffer.clone().run())));
        Ok(BufferedWriter { buffer, task })
    }
}

impl Limits {
    fn from_options(options: &Options) -> Result<Limits> {
        let at_least_one = |key: &'static str| match options.integer(key)? {
            Some(0) => {
                Err(Error::invalid(format!("the option {key} must be at least 1")).with("option", key))
            }
            value => Ok(value.unwrap_or(u64::MAX)),
        };
        Ok(Limits {
            rows: at_least_one(BUFFER_ROWS)?,
            bytes: at_least_one(BUFFER_BYTES)?,
            time: Duration::from_millis(options.integer(BUFFER_MS)?.unwrap_or(u64::MAX)),
        })
    }
}

impl BufferedWriter {
    /// Adds rows and returns their ticket; waits while a buffer is full and the one before it is
    /// being committed. With an error, none of these rows is added.
    pub async fn push(&self, rows: RecordBatch, call: &Call) -> Result<u64> {
        let buffer = &self.buffer;
        let mut checked = Some(buffer.check(rows).map_err(|error| buffer.located(error))?);
        let mut changed = buffer.changed.subscribe();
        let seen = buffer.state().failures;
        let added = call.run(async {
            loop {
                if let Some(added) = buffer.add(&mut checked, seen) {
                    return added;
                }
                // The sender is this buffer's own.
                let _ = changed.changed().await;
            }
        });
        added.await.map_err(|error| buffer.located(error))
    }

    /// Commits all rows that were pushed before; they are there to stay when this returns without an
    /// error, but for those whose refusal a flush has told before. A call that is cancelled or too late does not end the commit.
    pub async fn flush(&self, call: &Call) -> Result<()> {
        let (pushed, seen) = {
            let mut state = self.buffer.state();
            state.asked = state.pushed;
            (state.pushed, state.failures)
        };
        self.buffer.wanted.notify_one();
        self.buffer.until(pushed, seen, Asker::Flush, call).await
    }

    /// Waits until the rows up to `ticket` are committed, without asking for it.
    pub async fn wait(&self, ticket: u64, call: &Call) -> Result<()> {
        let (pushed, seen) = {
            let state = self.buffer.state();
            (state.pushed, state.failures)
        };
        if ticket > pushed {
            return Err(self.buffer.located(
                Error::invalid(format!(
                    "no push has given the ticket {ticket}; {pushed} rows have been pushed"
                ))
                .with("argument", "ticket"),
            ));
        }
        self.buffer.until(ticket, seen, Asker::Wait, call).await
    }

    /// Up to which ticket all rows are committed; it does not go beyond rows that are refused.
    pub fn committed(&self) -> u64 {
        self.buffer.state().committed()
    }

    /// Refuses further rows, commits those that are there and ends. With an error it has not ended,
    /// and may be closed again; closing what has ended is no error.
    pub async fn close(&self, call: &Call) -> Result<()> {
        self.buffer.state().closed = true;
        // Pushes that wait are refused, too.
        self.buffer.changed.send_replace(());
        self.flush(call).await?;
        self.buffer.state().ended = true;
        self.buffer.wanted.notify_one();
        let task = self.task();
        if let Some(task) = task {
            let _ = task.await;
        }
        Ok(())
    }

    /// Ends at once, and says in the log how many rows are lost by it. Calls that wait fail. A
    /// commit under way is waited for, but not for long.
    pub fn give_up(&self) {
        let buffer = &self.buffer;
        if std::mem::replace(&mut buffer.state().ended, true) {
            return;
        }
        buffer.given_up.cancel();
        buffer.wanted.notify_one();
        buffer.changed.send_replace(());
        let task = self.task();
        let ended = buffer.store.runtime().block_on(async {
            match task {
                Some(task) => Ok(tokio::time::timeout(PATIENCE, task).await.is_ok()),
                None => Ok(true),
            }
        });
        // Not told apart: on a thread of the runtime, which cannot wait.
        let ended = ended.unwrap_or(false);
        let state = buffer.state();
        let (lost, doubtful) = (state.pushed - state.settled, state.is_doubtful() || !ended);
        drop(state);
        if lost > 0 {
            log::emit(Level::Warn, || {
                format!(
                    "a buffered writer to the feature {} of {} was freed without being closed: {lost} rows that were \
                     pushed to it are given up{}",
                    buffer.feature,
                    buffer.store.display(),
                    if doubtful { ", of which those of its last commit may be there" } else { "" }
                )
            });
        }
    }

    fn task(&self) -> Option<JoinHandle<()>> {
        self.task.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

impl Drop for BufferedWriter {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Buffer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Finds out now what a commit would refuse later, together with the rows of others.
    fn check(&self, rows: RecordBatch) -> Result<Checked> {
        check_same_columns(&self.feature, &self.schema, &rows)?;
        let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), rows.columns().to_vec(), &count)
            .map_err(|cause| Error::new(Status::SchemaMismatch, cause.to_string()).caused_by(&cause))?;
        let plan = self.plan();
        let completed = plan.try_on(&rows)?;
        let samples = match self.repeats {
            OnRepeat::Refuse => Samples::new(&plan)?.of(&completed)?.to_vec(),
            OnRepeat::KeepLast | OnRepeat::Keep => Vec::new(),
        };
        Ok(Checked { rows: alone(rows), samples })
    }

    fn plan(&self) -> Arc<Incoming> {
        self.plan.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Adds the rows, takes them from `checked`, and returns their ticket; nothing while there is no
    /// room for them. `seen` are the failures before the call.
    fn add(&self, checked: &mut Option<Checked>, seen: u64) -> Option<Result<u64>> {
        let mut state = self.state();
        if state.closed || state.ended {
            return Some(Err(Error::new(
                Status::InvalidState,
                "the buffered writer was closed; open another for more rows",
            )));
        }
        let refusal = state.refusal(u64::MAX, seen, Asker::Push);
        if let Some(error) = refusal.or_else(|| state.complaint(seen, false)) {
            return Some(Err(
                error.reworded(|reason| format!("{reason}; the rows of this push were not added"))
            ));
        }
        if self.limits.reached(&state.waiting) {
            return None;
        }
        let Checked { rows, samples } = checked.take()?;
        if rows.num_rows() == 0 {
            return Some(Ok(state.pushed));
        }
        if let Some(row) = state.waiting.note(&samples) {
            drop(state);
            return Some(Err(self.plan().waiting_already(&rows.slice(row, 1))));
        }
        state.pushed += rows.num_rows() as u64;
        let ticket = state.pushed;
        let is_first = state.waiting.rows() == 0;
        let spent = state.waiting.add(rows);
        let is_wanted = is_first || self.limits.reached(&state.waiting);
        drop(state);
        drop(spent);
        if is_wanted {
            self.wanted.notify_one();
        }
        Some(Ok(ticket))
    }

    /// Waits until the rows up to `ticket` are committed, or a commit fails.
    async fn until(&self, ticket: u64, seen: u64, asker: Asker, call: &Call) -> Result<()> {
        let mut changed = self.changed.subscribe();
        let mut told = self.state().committed();
        let waited = call.run(async {
            loop {
                let (committed, outcome) = {
                    let mut state = self.state();
                    (state.committed().min(ticket), state.outcome(ticket, seen, asker))
                };
                if committed > told {
                    told = committed;
                    call.progress(committed, Some(ticket));
                }
                if let Some(outcome) = outcome {
                    return Ok(outcome);
                }
                let _ = changed.changed().await;
            }
        });
        let outcome = waited.await.unwrap_or_else(|error| {
            let mut state = self.state();
            if state.settled >= ticket {
                return state.outcome(ticket, seen, asker).unwrap_or(Ok(()));
            }
            let rows = ticket - state.settled;
            Err(match error.status() {
                Status::Timeout => error.reworded(|_| {
                    format!(
                        "{rows} rows were not committed within the timeout of the context; they still wait"
                    )
                }),
                _ => error.reworded(|_| {
                    format!(
                        "the call was cancelled through its context; {rows} rows still wait to be committed"
                    )
                }),
            })
        });
        outcome.map_err(|error| self.located(error))
    }

    /// Makes commits until the end.
    async fn run(self: Arc<Buffer>) {
        let _watch = Watch(&self);
        loop {
            let step = self.state().next(self.limits);
            match step {
                Step::End => return,
                Step::Wait(None) => self.wanted.notified().await,
                Step::Wait(Some(until)) => {
                    let _ = tokio::time::timeout_at(until.into(), self.wanted.notified()).await;
                }
                Step::Commit(rows) => {
                    // There is room for rows again.
                    self.changed.send_replace(());
                    let outcome = Box::pin(self.commit(&rows)).await;
                    match outcome {
                        Err(error) => self.fail(error, &rows),
                        Ok(aftercare) => {
                            drop(rows);
                            self.succeed();
                            Box::pin(aftercare.run(&self.given_up.begin())).await;
                        }
                    }
                }
            }
        }
    }

    async fn commit(&self, rows: &Backlog) -> Result<Aftercare> {
        let call = self.given_up.begin();
        let planned = self.store.plan(&self.graph, &self.feature, &self.schema, &self.options);
        let (plan, hash) = call.run(planned).await?;
        *self.plan.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(plan.clone());
        let mut writer = self.store.begin(&self.feature, plan, self.schema.clone(), hash, self.repeats);
        for batch in rows.batches() {
            if let Err(error) = writer.push(batch.clone(), &call).await {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.stage(&call).await?.publish_only(&call).await
    }

    fn succeed(&self) {
        let committed = self.state().succeed();
        drop(committed);
        self.changed.send_replace(());
    }

    /// Notes that `rows` were not committed; those that no other try could commit are taken out.
    fn fail(&self, error: Error, rows: &Backlog) {
        let plan = self.plan();
        let (good, bad) = match Next::after(&error, FIRST_REST) {
            Next::Asked => rows.sift(|batch| plan.try_on(batch).map(drop)),
            Next::Rest(_) | Next::Never => Default::default(),
        };
        let mut state = self.state();
        let (ended, failure) = (state.ended, error.to_string());
        let spent = match bad.is_empty() {
            true => {
                state.fail(error);
                None
            }
            false => state.refuse(good, bad),
        };
        drop(state);
        drop(spent);
        self.changed.send_replace(());
        if !ended {
            log::emit(Level::Warn, || {
                format!(
                    "a commit of a buffered writer to the feature {} of {} failed: {failure}",
                    self.feature,
                    self.store.display()
                )
            });
        }
    }

    fn located(&self, error: Error) -> Error {
        self.store.located(error).with("feature", &self.feature)
    }
}

impl Limits {
    fn reached(self, waiting: &Backlog) -> bool {
        waiting.is_full(self.rows, self.bytes)
    }
}

impl State {
    fn next(&mut self, limits: Limits) -> Step {
        if self.ended {
            return Step::End;
        }
        let asked = self.asked > self.settled;
        let due = match self.trouble.as_ref().map(|trouble| trouble.next) {
            Some(Next::Never) => None,
            _ if asked => Some(Instant::now()),
            Some(Next::Asked) => None,
            Some(Next::Rest(until)) => Some(until),
            // The rows that are left when others were refused.
            None if self.committing.is_some() => Some(Instant::now()),
            None if limits.reached(&self.waiting) => Some(Instant::now()),
            None => self.waiting.since().and_then(|since| since.checked_add(limits.time)),
        };
        match due {
            Some(due) if due <= Instant::now() => Step::Commit(
                self.committing.get_or_insert_with(|| Arc::new(std::mem::take(&mut self.waiting))).clone(),
            ),
            due => Step::Wait(due),
        }
    }

    /// What a call comes to that waits for the rows up to `ticket`.
    fn outcome(&mut self, ticket: u64, seen: u64, asker: Asker) -> Option<Result<()>> {
        if let Some(error) = self.refusal(ticket, seen, asker) {
            return Some(Err(error));
        }
        if self.settled >= ticket {
            return Some(Ok(()));
        }
        if let Some(error) = self.complaint(seen, asker == Asker::Flush) {
            return Some(Err(error));
        }
        self.ended.then(|| {
            let rows = self.pushed - self.settled;
            Err(Error::new(
                Status::InvalidState,
                format!("the buffered writer was freed; {rows} rows are given up"),
            ))
        })
    }

    /// What is to be told to a call that began after `seen` failures: a failure that happened since,
    /// one that nobody was told of, and any that nothing is done about. A flush, which does
    /// something about it, is not told of what was before.
    fn complaint(&mut self, seen: u64, flushing: bool) -> Option<Error> {
        let is_new = self.failures > seen;
        let rows = self.pushed - self.settled;
        let trouble = self.trouble.as_mut()?;
        let due = is_new
            || match trouble.next {
                Next::Never => true,
                Next::Asked => !flushing,
                Next::Rest(_) => !flushing && !trouble.told,
            };
        due.then(|| {
            trouble.told = true;
            trouble.describe(rows)
        })
    }

    /// What is to be told of rows up to `ticket` that are refused: to a call that waits for them or
    /// began before that, always; once to any other call, and once to a flush.
    fn refusal(&mut self, ticket: u64, seen: u64, asker: Asker) -> Option<Error> {
        let tells = match asker {
            Asker::Push | Asker::Wait => Told::Any,
            Asker::Flush => Told::Flush,
        };
        let refused = self.refused.iter_mut().find(|refused| {
            let is_before = refused.pushes.first().is_some_and(|first| *first.start() <= ticket);
            let is_waited_for =
                asker == Asker::Wait && refused.pushes.iter().any(|push| push.contains(&ticket));
            is_waited_for || (is_before && (refused.failures > seen || refused.told < tells))
        })?;
        refused.told = refused.told.max(tells);
        Some(refused.describe())
    }

    /// Up to which ticket all rows are committed.
    fn committed(&self) -> u64 {
        let refused = self.refused.first().and_then(|refused| refused.pushes.first());
        refused.map_or(self.settled, |push| self.settled.min(push.start().saturating_sub(1)))
    }

    /// Goes on with the `good` rows of the commit under way, without the `bad` ones.
    fn refuse(&mut self, good: Backlog, bad: Vec<Bad>) -> Option<Arc<Backlog>> {
        self.failures += 1;
        let before = self.settled;
        let pushes = bad.iter().map(|bad| before + bad.rows.start + 1..=before + bad.rows.end).collect();
        self.refused.extend(bad.into_iter().next().map(|first| Refused {
            pushes,
            error: first.error,
            failures: self.failures,
            told: Told::Nobody,
        }));
        let is_empty = good.rows() == 0;
        let spent = self.committing.replace(Arc::new(good));
        if is_empty {
            self.succeed();
        } else {
            self.trouble = None;
        }
        spent
    }

    fn succeed(&mut self) -> Option<Arc<Backlog>> {
        let committed = self.committing.take();
        self.settled += committed.as_ref().map_or(0, |rows| rows.pushed());
        self.in_a_row = 0;
        self.trouble = None;
        committed
    }

    fn fail(&mut self, error: Error) {
        let rest = FIRST_REST.saturating_mul(1 << self.in_a_row.min(16)).min(LONGEST_REST);
        self.failures += 1;
        self.in_a_row += 1;
        // Those who asked are told.
        self.asked = self.settled;
        self.trouble = Some(Trouble { next: Next::after(&error, rest), error, told: false });
    }

    fn is_doubtful(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.next == Next::Never)
    }
}

impl Next {
    fn after(error: &Error, rest: Duration) -> Next {
        match (error.status(), error.is_retryable()) {
            _ if error.is_of_unknown_outcome() => Next::Never,
            // What a storage that is not reached says may be over in a while, be it a wrong name of its host.
            (_, true) | (Status::Io | Status::Timeout | Status::Unavailable, _) => {
                Next::Rest(Instant::now() + rest)
            }
            _ => Next::Asked,
        }
    }
}

impl Refused {
    fn describe(&self) -> Error {
        const SHOWN: usize = 5;
        let rows: u64 = self.pushes.iter().map(|push| push.end() - push.start() + 1).sum();
        let tickets = self.pushes.iter().map(|push| push.end().to_string());
        let shown = tickets.clone().take(SHOWN).collect::<Vec<_>>().join(", ");
        let more = match self.pushes.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let error = self.error.clone().retryable(false);
        error
            .reworded(|cause| {
                format!(
                    "{rows} rows that were pushed to the buffered writer, of the tickets {shown}{more}, are NOT written \
                     and given up, as the table has changed since and they do not fit it; the other rows are \
                     committed without them: {cause}"
                )
            })
            .with("rows", rows)
            .with("ticket", tickets.clone().next().unwrap_or_default())
    }
}

impl Trouble {
    fn describe(&self, rows: u64) -> Error {
        let then = match self.next {
            Next::Rest(_) => "they stay in it and the commit is tried again",
            Next::Asked => "they stay in it until a flush or close tries again",
            Next::Never => {
                "none of them is tried again, lest they be written twice; read which of them are there, and push the \
                 others to another buffered writer"
            }
        };
        let error = self.error.clone().retryable(matches!(self.next, Next::Rest(_)));
        error
            .reworded(|cause| {
                format!("{rows} rows wait in the buffered writer, whose last commit failed; {then}: {cause}")
            })
            .with("rows", rows)
    }
}

/// Notices that the task ends before its time, so that nobody waits for it in vain.
struct Watch<'a>(&'a Buffer);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if !state.ended {
            state.failures += 1;
            state.trouble = Some(Trouble {
                error: Error::new(Status::Internal, "the task that makes the commits has ended badly"),
                next: Next::Never,
                told: false,
            });
        }
        drop(state);
        self.0.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    const LIMITS: Limits = Limits { rows: 2, bytes: u64::MAX, time: Duration::from_secs(3600) };

    fn add(state: &mut State, rows: u64) {
        for _ in 0..rows {
            let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1]));
            let _ = state.waiting.add(RecordBatch::try_from_iter([("c", column)]).unwrap());
            state.pushed += 1;
        }
    }

    fn commits(state: &mut State) -> bool {
        matches!(state.next(LIMITS), Step::Commit(_))
    }

    fn failed(status: Status) -> Error {
        Error::new(status, "it failed")
    }

    #[test]
    fn a_commit_begins_when_the_buffer_is_full_asked_for_or_old() {
        let mut state = State::default();
        assert!(!commits(&mut state));
        add(&mut state, 1);
        assert!(matches!(state.next(LIMITS), Step::Wait(Some(_))));
        assert!(matches!(state.next(Limits { time: Duration::MAX, ..LIMITS }), Step::Wait(None)));
        assert!(matches!(state.next(Limits { time: Duration::ZERO, ..LIMITS }), Step::Commit(_)));
        state.succeed();
        add(&mut state, 2);
        assert!(commits(&mut state));
        state.succeed();
        add(&mut state, 1);
        state.asked = state.pushed;
        assert!(commits(&mut state));
        state.succeed();
        assert_eq!((state.settled, commits(&mut state)), (4, false));
        state.ended = true;
        assert!(matches!(state.next(LIMITS), Step::End));
    }

    #[test]
    fn what_failed_is_tried_again_as_it_was_before_anything_newer() {
        let mut state = State::default();
        add(&mut state, 2);
        let Step::Commit(first) = state.next(LIMITS) else { panic!("it is full") };
        state.fail(failed(Status::Conflict));
        add(&mut state, 2);
        assert!(matches!(state.next(LIMITS), Step::Wait(Some(_))));
        state.asked = state.pushed;
        let Step::Commit(again) = state.next(LIMITS) else { panic!("it was asked for") };
        assert!(Arc::ptr_eq(&first, &again));
        state.succeed();
        assert_eq!(state.settled, 2);
        assert!(commits(&mut state));
    }

    #[test]
    fn a_failure_that_passes_is_told_once_and_to_those_who_wait() {
        let mut state = State::default();
        add(&mut state, 1);
        state.asked = 1;
        assert!(commits(&mut state));
        state.fail(failed(Status::Io));
        assert!(state.complaint(0, true).unwrap().is_retryable());
        assert!(state.complaint(0, false).is_some(), "it waited too");
        assert!(state.complaint(1, false).is_none());
        state.fail(failed(Status::Io));
        assert!(state.complaint(2, true).is_none(), "a flush tries itself");
        let error = state.complaint(2, false).unwrap();
        assert_eq!(error.detail("rows"), Some("1"));
        assert!(state.complaint(2, false).is_none());
    }

    #[test]
    fn a_failure_that_stays_is_told_until_a_flush_succeeds() {
        let mut state = State::default();
        add(&mut state, 2);
        assert!(commits(&mut state));
        state.fail(failed(Status::SchemaMismatch));
        for _ in 0..2 {
            assert!(!state.complaint(1, false).unwrap().is_retryable());
        }
        assert!(!commits(&mut state), "not by itself");
        assert!(state.complaint(1, true).is_none());
        state.asked = state.pushed;
        assert!(commits(&mut state));
        state.succeed();
        assert!(state.complaint(1, false).is_none());
    }

    #[test]
    fn a_commit_that_may_have_been_made_is_never_made_again() {
        let mut state = State::default();
        add(&mut state, 2);
        assert!(commits(&mut state));
        state.fail(failed(Status::Unavailable).of_unknown_outcome());
        state.asked = state.pushed;
        assert!(!commits(&mut state));
        for flushing in [true, false] {
            let error = state.complaint(1, flushing).unwrap();
            assert_eq!((error.status(), error.is_retryable()), (Status::Unavailable, false));
        }
        assert!(state.is_doubtful());
    }

    #[test]
    fn a_storage_that_was_not_reached_is_tried_again() {
        let mut state = State::default();
        add(&mut state, 2);
        assert!(commits(&mut state));
        state.fail(failed(Status::Unavailable).retryable(false));
        assert!(!state.is_doubtful());
        state.asked = state.pushed;
        assert!(commits(&mut state));
    }

    fn bad(rows: std::ops::Range<u64>) -> Bad {
        Bad { rows, error: failed(Status::SchemaMismatch) }
    }

    /// The details of an outcome that is a refusal.
    fn refusal(outcome: Option<Result<()>>) -> (String, String) {
        let error = outcome.unwrap().unwrap_err();
        assert!(!error.is_retryable() && error.message().contains("NOT written"), "{error}");
        (error.detail("ticket").unwrap().to_owned(), error.detail("rows").unwrap().to_owned())
    }

    #[test]
    fn rows_that_are_refused_let_the_others_go_and_are_told() {
        let mut state = State::default();
        add(&mut state, 2);
        assert!(commits(&mut state));
        state.succeed();
        add(&mut state, 4);
        let Step::Commit(rows) = state.next(LIMITS) else { panic!("it is full") };
        let is = |row: &'static [usize]| {
            let seen = std::cell::Cell::new(0);
            rows.sift(|_| {
                seen.set(seen.get() + 1);
                if row.contains(&seen.get()) { Err(failed(Status::SchemaMismatch)) } else { Ok(()) }
            })
        };
        // The second and the fourth row, which are loose batches each.
        let (good, bad) = is(&[2, 4]);
        let _ = state.refuse(good, bad);
        assert_eq!((state.settled, state.committed(), state.failures), (2, 2, 1));
        assert!(commits(&mut state), "the others go on by themselves");
        // Who waited is told, and who waits for these rows.
        assert_eq!(refusal(state.outcome(6, 0, Asker::Wait)), ("4".into(), "2".into()));
        assert!(state.outcome(3, 0, Asker::Wait).is_none(), "it is before them");
        state.succeed();
        assert_eq!((state.settled, state.committed()), (6, 3));
        for _ in 0..2 {
            for ticket in [4, 6] {
                assert_eq!(refusal(state.outcome(ticket, 1, Asker::Wait)), ("4".into(), "2".into()));
            }
        }
        assert!(matches!(state.outcome(5, 1, Asker::Wait), Some(Ok(()))));
        assert!(state.refusal(u64::MAX, 1, Asker::Push).is_none(), "a wait was told");
        // One flush is told, whoever was before.
        assert_eq!(refusal(state.outcome(6, 1, Asker::Flush)), ("4".into(), "2".into()));
        assert!(matches!(state.outcome(6, 1, Asker::Flush), Some(Ok(()))));
    }

    #[test]
    fn a_commit_of_bad_rows_only_is_over() {
        let mut state = State::default();
        add(&mut state, 2);
        assert!(commits(&mut state));
        let Some(rows) = state.committing.clone() else { panic!("it is under way") };
        let _ =
            state.refuse(rows.sift(|_| Err(failed(Status::SchemaMismatch))).0, vec![bad(0..1), bad(1..2)]);
        assert_eq!((state.settled, state.committed()), (2, 0));
        assert!(!commits(&mut state));
        assert!(state.refusal(u64::MAX, 1, Asker::Push).is_some());
        assert!(state.refusal(u64::MAX, 1, Asker::Push).is_none());
        add(&mut state, 2);
        assert!(commits(&mut state));
        state.succeed();
        assert_eq!((state.settled, state.committed()), (4, 0));
        assert!(matches!(state.outcome(4, 1, Asker::Wait), Some(Ok(()))));
    }

    #[test]
    fn rests_grow_to_a_limit() {
        let mut state = State::default();
        for _ in 0..80 {
            state.fail(failed(Status::Conflict));
        }
        let Some(Trouble { next: Next::Rest(until), .. }) = state.trouble else { panic!("it rests") };
        assert!(until <= Instant::now() + LONGEST_REST && until > Instant::now() + LONGEST_REST / 2);
    }
}
