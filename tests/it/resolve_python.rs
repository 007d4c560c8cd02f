//! Python Metaxy and this library resolve the same features over one directory, and find the same.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use metaxy::store::Store;
use metaxy::store::context::Call;
use metaxy::store::Pushes;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::increments::{Found, batch_of, resolve_samples, write};
use crate::model::{Condition, Expected, Request};
use crate::native::{ROOT, python};
use crate::resolve_model::{Play, Player, check, check_engine, comparable, delete, increment_request};
use crate::scenario::{Dialect, scenarios};
use crate::support::open;

/// Python Metaxy, told what to do.
struct Python {
    process: Child,
    told: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Python {
        let mut command = Command::new(python());
        command.arg("-B").arg(format!("{ROOT}/tests/interop/increments.py"));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("make test-tools installs Python Metaxy");
        let told = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Python { process, told, answers }
    }

    /// The answer, or the error.
    fn ask(&mut self, what: Value) -> Result<Value, String> {
        writeln!(self.told.as_mut().unwrap(), "{what}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).expect("an answer of Python");
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap().to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    #[track_caller]
    fn tell(&mut self, what: Value) -> Value {
        let said = what.to_string();
        self.ask(what).unwrap_or_else(|error| panic!("Python was told {said}: {error}"))
    }

    fn resolve(&mut self, feature: &str, request: &Request, samples: Value) -> Result<Expected, String> {
        let texts = |conditions: &[Condition]| conditions.iter().map(Condition::text).collect::<Vec<_>>();
        let filters: Vec<_> = request.filters.iter().map(|(of, filter)| json!([of, filter.text()])).collect();
        let found = self.ask(json!({
            "do": "resolve", "feature": feature, "filters": filters, "global_filters": texts(&request.global),
            "staleness_predicates": texts(&request.stale_when), "skip": request.skip, "samples": samples,
        }))?;
        let rows = |part: &str| -> Vec<Value> {
            let mut rows = found[part].as_array().unwrap().clone();
            for row in &mut rows {
                // Junk, of which Metaxy leaves some in its rows.
                let row = row.as_object_mut().unwrap();
                row.retain(|column, _| !column.starts_with("metaxy_deleted_at") && column != "__stale_by_predicate");
            }
            rows
        };
        let (new, stale, orphaned) = (rows("new"), rows("stale"), rows("orphaned"));
        let progress = found["progress"].as_f64();
        Ok(comparable(&Found { new, stale, orphaned, progress, columns: Default::default() }))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends when there is nothing more to read.
        self.told = None;
        let _ = self.process.wait();
    }
}

/// Both take turns at changing the directory; both must always find the same.
struct Turns<'p> {
    python: &'p mut Python,
    store: Store,
    turn: usize,
}

impl<'p> Turns<'p> {
    fn begin(python: &'p mut Python, directory: &Path, specs: &[Value]) -> Turns<'p> {
        python.tell(json!({"do": "open", "directory": directory}));
        let hashing = [("hash.algorithm", "xxhash32"), ("hash.truncation_length", "8"), ("project", "interop")];
        let store = open(directory, &hashing);
        let mut turns = Turns { python, store, turn: 0 };
        turns.push(specs);
        turns
    }

    /// True when it is Python's turn.
    fn pythons(&mut self) -> bool {
        self.turn += 1;
        self.turn % 2 == 1
    }

    /// One pushes, the other loads.
    fn push(&mut self, specs: &[Value]) {
        let call = Call::default();
        let runtime = self.store.runtime().clone();
        if self.pythons() {
            self.python.tell(json!({"do": "define", "specs": specs}));
            self.python.tell(json!({"do": "push"}));
            runtime.block_on(self.store.load(&Pushes::default(), &call)).unwrap();
        } else {
            self.store.define(&json!(specs).to_string()).unwrap();
            runtime.block_on(self.store.push(None, None, &call)).unwrap();
            self.python.tell(json!({"do": "load"}));
        }
    }
}

impl Player for Turns<'_> {
    fn define(&mut self, specs: &[Value], _: &Value) {
        self.push(specs);
    }

    fn write(&mut self, feature: &str, columns: &[(String, Value)], _: &[String], rows: &[Value]) {
        match self.pythons() {
            true => drop(self.python.tell(json!({"do": "write", "feature": feature, "columns": columns, "rows": rows}))),
            false => write(&self.store, feature, columns, rows),
        }
    }

    fn delete(&mut self, what: &str, feature: &str, condition: &Condition, there: bool) {
        let deleted = match self.pythons() {
            true => {
                let deleted =
                    self.python.ask(json!({"do": "delete", "feature": feature, "filter": condition.text()}));
                assert!(deleted.is_ok() || !there, "{what}: {deleted:?}");
                deleted.is_ok()
            }
            false => delete(&self.store, feature, condition),
        };
        assert_eq!(deleted, there, "{what}");
    }

    fn resolve(&mut self, what: &str, feature: &str, request: &Request, expected: Option<&Expected>) {
        match (self.python.resolve(feature, request, Value::Null), expected) {
            (Ok(found), Some(expected)) => check(&format!("Python, {what}"), &found, expected),
            // To Metaxy every feature that has no table is missing.
            (Err(error), _) => assert!(error.starts_with("FeatureNotFoundError"), "Python, {what}: {error}"),
            (Ok(found), None) => panic!("Python, {what}: {found:?}"),
        }
        check_engine(&self.store, what, feature, request, expected);
    }

    fn resolve_shards(&mut self, _: &str, _: &str, _: &Request, _: u32, _: &Expected) {}

    fn resolve_samples(
        &mut self,
        what: &str,
        feature: &str,
        columns: &[(String, Value)],
        rows: &[Value],
        request: &Request,
        expected: &Expected,
    ) {
        let samples = json!({"columns": columns, "rows": rows});
        let found = self.python.resolve(feature, request, samples);
        check(&format!("Python, {what}"), &found.unwrap_or_else(|error| panic!("Python, {what}: {error}")), expected);
        let batch = batch_of(columns, rows);
        let found = resolve_samples(&self.store, feature, &batch, &increment_request(request));
        check(what, &comparable(&found.unwrap_or_else(|error| panic!("{what}: {error}"))), expected);
    }
}

#[test]
fn both_find_the_same_in_random_histories_of_random_graphs() {
    let seed = std::env::var("METAXY_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        |seed| seed.parse().expect("METAXY_SEED is a number"),
    );
    let cases = std::env::var("PROPTEST_CASES").map_or(6, |cases| cases.parse().unwrap());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let python = Mutex::new(Python::start());
    let result = TestRunner::new_with_rng(config, rng).run(&scenarios(Dialect::Both), |scenario| {
        let directory = tempfile::tempdir().unwrap();
        let mut python = python.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut turns = Turns::begin(&mut python, directory.path(), &scenario.specs);
        Play::new(&scenario).all(&mut turns);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}\nagain with METAXY_SEED={seed}");
    }
}
