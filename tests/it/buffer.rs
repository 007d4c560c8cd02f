//! The buffered writer: what is acknowledged is there, what fails is neither lost nor written twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch};
use metaxy::log::Level;
use metaxy::store::context::{Call, Context};
use metaxy::store::{BufferedWriter, ReadRequest, Store};
use metaxy::{Result, Status};

use crate::native::{ROOT, compile, linked};
use crate::support::{batch, by_field, column, failure, listen, open, options, read, root, text, write};

/// Neither the rows nor the time of a test reach these.
const NEVER: (&str, &str) = ("buffer.ms", "3600000");

fn fresh(pairs: &[(&str, &str)]) -> (tempfile::TempDir, Store, BufferedWriter) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", &["x"])).unwrap();
    let writer = buffered(&store, pairs);
    (directory, store, writer)
}

fn buffered(store: &Store, pairs: &[(&str, &str)]) -> BufferedWriter {
    try_buffered(store, &row("a", 0), pairs).unwrap_or_else(|error| panic!("{error}"))
}

/// A buffered writer of such rows.
fn try_buffered(store: &Store, rows: &RecordBatch, pairs: &[(&str, &str)]) -> Result<BufferedWriter> {
    let (options, call) = (options(pairs), Call::default());
    store.runtime().block_on(store.buffered_writer("r/a", rows.schema(), &options, &call))
}

fn row(id: &str, n: i64) -> RecordBatch {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![n]));
    batch(vec![("id", text(&[id])), ("n", number), ("metaxy_provenance_by_field", by_field(&["x"], &[id]))])
}

fn push(store: &Store, writer: &BufferedWriter, id: &str, n: i64) -> Result<u64> {
    store.runtime().block_on(writer.push(row(id, n), &Call::default()))
}

fn flush(store: &Store, writer: &BufferedWriter) -> Result<()> {
    store.runtime().block_on(writer.flush(&Call::default()))
}

fn close(store: &Store, writer: &BufferedWriter) -> Result<()> {
    store.runtime().block_on(writer.close(&Call::default()))
}

fn wait(store: &Store, writer: &BufferedWriter, ticket: u64) -> Result<()> {
    store.runtime().block_on(writer.wait(ticket, &within(20_000)))
}

fn within(ms: u64) -> Call {
    let mut context = Context::new();
    context.set_timeout(Some(Duration::from_millis(ms)));
    context.begin()
}

/// The values of a column in every row that was ever written.
fn written(store: &Store, name: &str) -> Vec<String> {
    let history = ReadRequest { sample_history: true, ..ReadRequest::default() };
    column(&read(store, "r/a", &history).unwrap(), name)
}

/// How many commits there were: each has a time of its own.
fn commits(store: &Store) -> usize {
    let mut times = written(store, "metaxy_updated_at");
    times.dedup();
    times.len()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_threads_push_one_row_each() {
    let (_directory, store, writer) = fresh(&[("buffer.rows", "64"), NEVER]);
    let tickets = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let (store, writer, tickets) = (&store, &writer, &tickets);
            threads.spawn(move || {
                let mut last = 0;
                for n in 0..50 {
                    let ticket = push(store, writer, &format!("{thread}-{n}"), n).unwrap();
                    assert!(ticket > last, "the rows of a thread keep their order");
                    last = ticket;
                    tickets.lock().unwrap().push(ticket);
                }
            });
        }
    });
    let mut tickets = tickets.into_inner().unwrap();
    tickets.sort_unstable();
    assert_eq!(tickets, (1..=400).collect::<Vec<u64>>());
    wait(&store, &writer, 384).unwrap();
    assert_eq!(writer.committed(), 384);
    assert_eq!(written(&store, "id").len(), 384);
    flush(&store, &writer).unwrap();
    assert_eq!(writer.committed(), 400);
    let mut ids = written(&store, "id");
    ids.dedup();
    assert_eq!((ids.len(), commits(&store)), (400, 7));
}

#[test]
fn rows_that_have_waited_long_enough_are_committed() {
    let (_directory, store, writer) = fresh(&[("buffer.ms", "50")]);
    for n in 0..2 {
        let ticket = push(&store, &writer, "a", n).unwrap();
        wait(&store, &writer, ticket).unwrap();
        assert_eq!(written(&store, "n").len() as u64, ticket);
    }
    let error = failure(wait(&store, &writer, 3));
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    assert_eq!(writer.committed(), 2);
}

#[test]
fn rows_are_committed_when_they_are_many_or_large() {
    for (limit, pushes) in [(("buffer.rows", "3"), 3), (("buffer.bytes", "1"), 1)] {
        let (_directory, store, writer) = fresh(&[limit, NEVER]);
        for n in 0..pushes {
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(writer.committed(), 0);
            push(&store, &writer, &n.to_string(), n).unwrap();
        }
        wait(&store, &writer, pushes as u64).unwrap();
        assert_eq!(written(&store, "id").len(), pushes as usize);
    }
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", &["x"])).unwrap();
    for (pairs, option) in [
        ([("buffer.rows", "0")], "buffer.rows"),
        ([("mode", "read")], "mode"),
        ([("buffer.bytes", "0")], "buffer.bytes"),
    ] {
        let error = failure(try_buffered(&store, &row("a", 0), &pairs));
        assert_eq!((error.status(), error.detail("option")), (Status::InvalidArgument, Some(option)));
    }
}

#[test]
fn pushes_wait_while_the_storage_is_behind() {
    let (directory, store, writer) = fresh(&[("buffer.rows", "2"), NEVER]);
    // Staging takes a shared lock on the directory of the rows, and so waits for this one.
    let data = directory.path().join("r__a.lance/data");
    std::fs::create_dir_all(&data).unwrap();
    let lock = File::open(data).unwrap();
    lock.lock().unwrap();
    for n in 0..4 {
        push(&store, &writer, &n.to_string(), n).unwrap();
    }
    let error = failure(store.runtime().block_on(writer.push(row("late", 0), &within(100))));
    assert_eq!(error.status(), Status::Timeout, "{error}");
    let cancelled = Context::new();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            cancelled.cancel();
        });
        let error = failure(store.runtime().block_on(writer.push(row("never", 0), &cancelled.begin())));
        assert_eq!(error.status(), Status::Cancelled, "{error}");
        let error = failure(store.runtime().block_on(writer.flush(&cancelled.begin())));
        assert_eq!(error.status(), Status::Cancelled, "{error}");
        assert!(error.message().contains("4 rows still wait"), "{error}");

        // One that has the time goes on as soon as there is room.
        let pushed = threads.spawn(|| push(&store, &writer, "patient", 0));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(writer.committed(), 0);
        lock.unlock().unwrap();
        assert_eq!(pushed.join().unwrap().unwrap(), 5);
    });
    close(&store, &writer).unwrap();
    assert_eq!(written(&store, "id"), ["0", "1", "2", "3", "patient"]);
}

/// A table that nobody can write to, until it is mended.
struct Broken<'a> {
    table: &'a Path,
    aside: std::path::PathBuf,
}

impl Broken<'_> {
    fn at(table: &Path) -> Broken<'_> {
        let aside = table.with_extension("aside");
        if table.exists() {
            fs::rename(table, &aside).unwrap();
        }
        fs::write(table, "in the way").unwrap();
        Broken { table, aside }
    }

    fn mend(self) {
        fs::remove_file(self.table).unwrap();
        if self.aside.exists() {
            fs::rename(self.aside, self.table).unwrap();
        }
    }
}

#[test]
fn commits_that_fail_lose_nothing_and_repeat_nothing() {
    let (directory, store, writer) = fresh(&[NEVER]);
    let table = directory.path().join("r__a.lance");
    push(&store, &writer, "first", 0).unwrap();
    flush(&store, &writer).unwrap();
    assert!(table.is_dir());

    let broken = Broken::at(&table);
    push(&store, &writer, "a", 1).unwrap();
    push(&store, &writer, "b", 1).unwrap();
    let error = failure(flush(&store, &writer));
    assert_eq!(error.detail("rows"), Some("2"), "{error}");
    assert_eq!((error.detail("feature"), error.detail("store").is_some()), (Some("r/a"), true));
    assert!(error.message().contains("2 rows wait"), "{error}");
    let error = failure(close(&store, &writer));
    assert_eq!(error.detail("rows"), Some("2"), "{error}");
    assert_eq!(writer.committed(), 1);
    broken.mend();
    close(&store, &writer).unwrap();
    assert_eq!(writer.committed(), 3);
    assert_eq!(written(&store, "id"), ["a", "b", "first"]);
}

#[test]
fn failed_commits_are_told_to_those_who_push_and_tried_again_by_themselves() {
    let (directory, store, writer) = fresh(&[("buffer.rows", "2"), NEVER]);
    let table = directory.path().join("r__a.lance");
    let broken = Broken::at(&table);
    let mut refused = Vec::new();
    let mut n = 0;
    // The buffer fills up, and pushes are told instead of waiting for ever.
    while refused.len() < 2 {
        match push(&store, &writer, &n.to_string(), n) {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                assert!(error.message().ends_with("the rows of this push were not added"), "{error}");
                refused.push(n);
            }
        }
        n += 1;
    }
    broken.mend();
    let accepted: Vec<String> = (0..n).filter(|n| !refused.contains(n)).map(|n| n.to_string()).collect();
    let pushed = accepted.len() as u64;
    assert!((2..=4).contains(&pushed), "{pushed}");
    eventually("what is full is committed", || writer.committed() >= 2);
    flush(&store, &writer).unwrap();
    assert_eq!(writer.committed(), pushed);
    assert_eq!(written(&store, "id"), accepted);
}

#[test]
fn bad_rows_are_refused_when_they_are_pushed() {
    let (_directory, store, writer) = fresh(&[NEVER]);
    push(&store, &writer, "a", 1).unwrap();
    flush(&store, &writer).unwrap();
    let null: ArrayRef = Arc::new(LargeStringArray::from(vec![None::<&str>]));
    let number = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let provenance = || ("metaxy_provenance_by_field", by_field(&["x"], &["b"]));
    for (rows, status) in [
        (batch(vec![("id", null), ("n", number()), provenance()]), Status::InvalidArgument),
        (batch(vec![("id", text(&["b"])), ("n", text(&["1"])), provenance()]), Status::SchemaMismatch),
        (batch(vec![("id", text(&["b"])), provenance()]), Status::SchemaMismatch),
    ] {
        let error = failure(store.runtime().block_on(writer.push(rows, &Call::default())));
        assert_eq!((error.status(), error.detail("feature")), (status, Some("r/a")), "{error}");
    }
    // A value that only the column of the table cannot hold.
    let lossy = || {
        let float: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![2.75]));
        batch(vec![("id", text(&["b"])), ("n", float), provenance()])
    };
    let floats = try_buffered(&store, &lossy(), &[NEVER]).unwrap();
    let error = failure(store.runtime().block_on(floats.push(lossy(), &Call::default())));
    assert_eq!((error.status(), error.detail("value")), (Status::SchemaMismatch, Some("2.75")));

    push(&store, &writer, "c", 1).unwrap();
    close(&store, &writer).unwrap();
    assert_eq!(written(&store, "id"), ["a", "c"]);
}

#[test]
fn the_row_that_is_pushed_last_counts() {
    let (_directory, store, writer) = fresh(&[NEVER]);
    for n in 0..3 {
        push(&store, &writer, "a", n).unwrap();
    }
    flush(&store, &writer).unwrap();
    push(&store, &writer, "a", 3).unwrap();
    close(&store, &writer).unwrap();
    assert_eq!(written(&store, "n"), ["2", "3"]);
    assert_eq!(column(&read(&store, "r/a", &ReadRequest::default()).unwrap(), "n"), ["3"]);

    let writer = buffered(&store, &[("write.duplicates", "error"), NEVER]);
    push(&store, &writer, "a", 4).unwrap();
    let error = failure(push(&store, &writer, "a", 5));
    assert_eq!((error.status(), error.detail("value")), (Status::InvalidArgument, Some("id=a")), "{error}");
    flush(&store, &writer).unwrap();
    push(&store, &writer, "a", 6).unwrap();
    close(&store, &writer).unwrap();
    assert_eq!(written(&store, "n"), ["2", "3", "4", "6"]);
}

#[test]
fn a_closed_writer_has_committed_everything_and_takes_no_more() {
    let (_directory, store, writer) = fresh(&[NEVER]);
    push(&store, &writer, "a", 1).unwrap();
    // The store may end, and features change, before the writer does.
    store.define(&root("r/a", &["x", "y"])).unwrap();
    store.close().unwrap();
    close(&store, &writer).unwrap();
    close(&store, &writer).unwrap();
    flush(&store, &writer).unwrap();
    wait(&store, &writer, 1).unwrap();
    let error = failure(push(&store, &writer, "b", 1));
    assert_eq!(error.status(), Status::InvalidState, "{error}");
}

#[test]
fn rows_are_written_as_the_feature_was_when_the_writer_was_opened() {
    let (_directory, store, writer) = fresh(&[NEVER]);
    push(&store, &writer, "a", 1).unwrap();
    store.define(&root("r/a", &["x", "y"])).unwrap();
    close(&store, &writer).unwrap();
    assert!(written(&store, "id").is_empty(), "no row of the new version");
    store.define(&root("r/a", &["x"])).unwrap();
    assert_eq!(written(&store, "id"), ["a"]);
}

/// Rows with a number that only some types of a table hold.
fn float(id: &str, n: f64) -> RecordBatch {
    let number: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![n]));
    batch(vec![("id", text(&[id])), ("n", number), ("metaxy_provenance_by_field", by_field(&["x"], &[id]))])
}

#[test]
fn a_row_that_turns_bad_keeps_no_other_from_being_committed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", &["x"])).unwrap();
    let writer = try_buffered(&store, &float("a", 0.0), &[NEVER]).unwrap();
    let push = |id: &str, n: f64| store.runtime().block_on(writer.push(float(id, n), &Call::default()));
    for (id, n) in [("a", 1.0), ("b", 2.75), ("c", 3.0)] {
        push(id, n).unwrap();
    }
    // Somebody else makes the table, with another type.
    write(&store, "r/a", &[row("other", 7)], &[]).unwrap();
    std::thread::scope(|threads| {
        let first = threads.spawn(|| wait(&store, &writer, 1));
        let second = threads.spawn(|| wait(&store, &writer, 2));
        std::thread::sleep(Duration::from_millis(50));
        let error = failure(flush(&store, &writer));
        assert_eq!((error.status(), error.is_retryable()), (Status::SchemaMismatch, false), "{error}");
        assert!(error.message().contains("1 rows") && error.message().contains("NOT written"), "{error}");
        let details = ["ticket", "rows", "value", "feature"].map(|key| error.detail(key));
        assert_eq!(details, [Some("2"), Some("1"), Some("2.75"), Some("r/a")]);
        first.join().unwrap().unwrap();
        assert_eq!(failure(second.join().unwrap()).detail("ticket"), Some("2"));
    });
    flush(&store, &writer).unwrap();
    assert_eq!(written(&store, "id"), ["a", "c", "other"]);
    // What is there is acknowledged, and what is not is not.
    assert_eq!(writer.committed(), 1);
    for _ in 0..2 {
        assert_eq!(failure(wait(&store, &writer, 2)).detail("ticket"), Some("2"));
        wait(&store, &writer, 1).unwrap();
        wait(&store, &writer, 3).unwrap();
    }
    // From now on such rows are refused at once, and others are written.
    assert_eq!(failure(push("d", 0.5)).status(), Status::SchemaMismatch);
    push("e", 5.0).unwrap();
    close(&store, &writer).unwrap();
    assert_eq!(written(&store, "id"), ["a", "c", "e", "other"]);
    assert_eq!(writer.committed(), 1);
}

#[test]
fn rows_of_a_large_batch_count_as_they_are() {
    let (_directory, store, writer) = fresh(&[("buffer.bytes", "1000000"), NEVER]);
    let ids: Vec<String> = (0..100_000).map(|n| format!("{n:06}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
    let large = batch(vec![
        ("id", text(&ids)),
        ("n", numbers),
        ("metaxy_provenance_by_field", by_field(&["x"], &ids)),
    ]);
    for row in 0..60 {
        store.runtime().block_on(writer.push(large.slice(row * 1000, 1), &Call::default())).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(writer.committed(), 0, "they are far from a million bytes");
    close(&store, &writer).unwrap();
    let written = written(&store, "id");
    assert_eq!((written.len(), written[1].as_str(), commits(&store)), (60, "001000", 1));
}

#[test]
fn a_call_that_comes_to_its_end_too_late_tells_what_is_committed() {
    let (_directory, store, writer) = fresh(&[NEVER]);
    push(&store, &writer, "a", 1).unwrap();
    flush(&store, &writer).unwrap();
    let cancelled = Context::new();
    cancelled.cancel();
    let block_on = |call: Call| {
        let runtime = store.runtime();
        (runtime.block_on(writer.flush(&call)), runtime.block_on(writer.wait(1, &call)))
    };
    for call in [cancelled.begin(), within(0)] {
        let (flushed, waited) = block_on(call);
        flushed.unwrap();
        waited.unwrap();
    }
    push(&store, &writer, "b", 1).unwrap();
    push(&store, &writer, "c", 1).unwrap();
    let error = failure(store.runtime().block_on(writer.wait(2, &cancelled.begin())));
    assert_eq!(error.status(), Status::Cancelled);
    assert!(error.message().contains("1 rows still wait"), "{error}");
    assert!(store.runtime().block_on(writer.wait(1, &cancelled.begin())).is_ok());

    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut watching = Context::new();
    let told = seen.clone();
    watching.set_progress(Some(Arc::new(move |rows, total| told.lock().unwrap().push((rows, total)))));
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| store.runtime().block_on(writer.wait(2, &watching.begin())));
        std::thread::sleep(Duration::from_millis(50));
        flush(&store, &writer).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(*seen.lock().unwrap(), [(2, Some(2))]);
}

#[test]
fn rows_are_acknowledged_and_the_table_is_kept_compact() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[("compact.after_writes", "3")]);
    store.define(&root("r/a", &["x"])).unwrap();
    let writer = buffered(&store, &[NEVER]);
    for n in 1..=7 {
        push(&store, &writer, &n.to_string(), n).unwrap();
        flush(&store, &writer).unwrap();
        assert_eq!(writer.committed(), n as u64);
    }
    close(&store, &writer).unwrap();
    assert_eq!(written(&store, "id"), ["1", "2", "3", "4", "5", "6", "7"]);
    let (none, call) = (options(&[]), Call::default());
    let report = store.compact(Some("r/a"), &none, &call);
    let report = store.runtime().block_on(report).unwrap();
    let fragments: usize = column(&[report], "fragments_before")[0].parse().unwrap();
    assert!(fragments <= 3, "{fragments}");
}

#[test]
fn what_is_given_up_is_logged() {
    let (directory, store, writer) = fresh(&[NEVER]);
    let listener = listen(Level::Warn, directory.path().to_str().unwrap());
    push(&store, &writer, "a", 1).unwrap();
    flush(&store, &writer).unwrap();
    push(&store, &writer, "b", 1).unwrap();
    push(&store, &writer, "c", 1).unwrap();
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| wait(&store, &writer, 3));
        std::thread::sleep(Duration::from_millis(50));
        let began = Instant::now();
        writer.give_up();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(failure(waiting.join().unwrap()).status(), Status::InvalidState);
    });
    drop(writer);
    let said = listener.heard();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("2 rows that were pushed to it are given up"), "{said:?}");
    assert_eq!(written(&store, "id"), ["a"]);
}

#[test]
fn what_a_killed_process_had_acknowledged_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(Path::new(&format!("{ROOT}/tests/c/acknowledge.c")), directory.path());
    for kill_after in [1, 5, 14, 30] {
        let place = directory.path().join(format!("killed{kill_after}"));
        let mut run = linked(&program, directory.path());
        let mut child = run.arg(&place).stdout(Stdio::piped()).spawn().unwrap();
        let mut acknowledged = BTreeSet::new();
        for id in BufReader::new(child.stdout.take().unwrap()).lines() {
            acknowledged.insert(id.unwrap());
            if acknowledged.len() == kill_after {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success() && acknowledged.len() >= kill_after);
        let store = open(&place, &[]);
        store.define(&root("r/a", &["x"])).unwrap();
        let written = written(&store, "id");
        let there: BTreeSet<String> = written.iter().cloned().collect();
        assert_eq!(written.len(), there.len(), "nothing is written twice");
        assert!(acknowledged.is_subset(&there), "{:?}", acknowledged.difference(&there));
    }
}
