//! Python Metaxy and this library resolve the same features over one directory, and find the same.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use arrow::array::RecordBatch;
use metaxy::Status;
use metaxy::store::context::Call;
use metaxy::store::{Part, Pushes, Store};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::increments::{Found, batch_of, resolve, resolve_samples, write};
use crate::model::{Condition, Expected, Request, sort};
use crate::native::{ROOT, python};
use crate::resolve_model::{Play, Player, check, comparable, delete, increment_request};
use crate::scenario::{Dialect, scenarios, with_versions};
use crate::support::{failure, open, options, rows};

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
                row.retain(|column, _| {
                    !column.starts_with("metaxy_deleted_at") && column != "__stale_by_predicate"
                });
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
    /// The features whose rows are children of what they depend on.
    expanding: BTreeSet<String>,
    /// The features of which several rows may be made of one, whether they say so or not.
    several: BTreeSet<String>,
}

impl<'p> Turns<'p> {
    fn begin(python: &'p mut Python, directory: &Path, specs: &[Value]) -> Turns<'p> {
        python.tell(json!({"do": "open", "directory": directory}));
        let hashing =
            [("hash.algorithm", "xxhash32"), ("hash.truncation_length", "8"), ("project", "interop")];
        let store = open(directory, &hashing);
        let expands = |spec: &&Value| {
            let mut deps = spec["deps"].as_array().unwrap().iter();
            deps.any(|dep| dep["lineage"]["relationship"]["type"] == "1:N")
        };
        let expanding = specs.iter().filter(expands).map(|spec| spec["key"].as_str().unwrap().to_owned());
        let several = specs.iter().filter(|spec| spec["metadata"]["children"] == json!(true));
        let several = several.map(|spec| spec["key"].as_str().unwrap().to_owned()).collect();
        let mut turns = Turns { python, store, turn: 0, expanding: expanding.collect(), several };
        turns.push(specs);
        turns
    }

    /// True when it is Python's turn.
    fn pythons(&mut self) -> bool {
        self.turn += 1;
        self.turn % 2 == 1
    }

    /// Of the children that are orphaned Metaxy gives one, whichever it is, where we give all.
    fn per_parent(&self, feature: &str, found: &Expected) -> Expected {
        let mut found = found.clone();
        if self.expanding.contains(feature) {
            for row in &mut found.orphaned {
                row.retain(|column, _| column == "vid");
            }
            sort(&mut found.orphaned);
            found.orphaned.dedup();
        }
        found
    }

    /// Metaxy gives what is stale once for each row that is stored of it, where we give it once.
    fn once(&self, feature: &str, mut found: Expected) -> Expected {
        if self.several.contains(feature) {
            found.stale.dedup();
        }
        found
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
            true => drop(
                self.python
                    .tell(json!({"do": "write", "feature": feature, "columns": columns, "rows": rows})),
            ),
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
        let of_python = self.python.resolve(feature, request, Value::Null);
        let ours = resolve(&self.store, feature, &increment_request(request));
        let Some(expected) = expected else {
            let error = of_python.expect_err(what);
            assert!(error.starts_with("FeatureNotFoundError"), "Python, {what}: {error}");
            assert_eq!(failure(ours).status(), Status::NotFound, "{what}");
            return;
        };
        let expected = self.per_parent(feature, expected);
        match of_python.map(|found| self.once(feature, found)) {
            Ok(found) => check(&format!("Python, {what}"), &self.per_parent(feature, &found), &expected),
            // To Metaxy a feature that is optional is missing, too, if it has no table.
            Err(error) => assert!(error.starts_with("FeatureNotFoundError"), "Python, {what}: {error}"),
        }
        let ours = comparable(&ours.unwrap_or_else(|error| panic!("{what}: {error}")));
        check(what, &self.per_parent(feature, &ours), &expected);
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
        let found = found.unwrap_or_else(|error| panic!("Python, {what}: {error}"));
        check(&format!("Python, {what}"), &self.once(feature, found), expected);
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

const STORY: [&str; 3] = ["s/crop", "s/frame", "s/scene"];

/// Videos and their sounds; crops of them, frames of these, and what all frames of a video say.
fn story(code_version: &str) -> Vec<Value> {
    let dep = |feature: &str, lineage: Value, optional: bool| {
        json!({
            "feature": feature, "select": if optional { json!([]) } else { Value::Null }, "rename": null,
            "fields_mapping": {"mapping": {"type": "default", "match_suffix": false, "exclude_fields": []}},
            "sql_filters": null, "lineage": {"relationship": lineage}, "optional": optional,
        })
    };
    let feature = |key: &str, ids: &[&str], deps: Vec<Value>, fields: &[&str]| {
        let version = |field: &str| if key == "s/video" && field == "frames" { code_version } else { "1" };
        let fields: Vec<Value> = fields
            .iter()
            .map(|field| json!({"key": field, "code_version": version(field), "deps": []}))
            .collect();
        json!({"key": key, "id_columns": ids, "deps": deps, "fields": fields, "metadata": {}, "description": null})
    };
    let (same, many) =
        (json!({"type": "1:1"}), json!({"type": "1:N", "on": ["vid"], "id_generation_pattern": null}));
    vec![
        feature("s/video", &["vid"], vec![], &["audio", "frames"]),
        feature("s/sound", &["vid"], vec![], &["x"]),
        feature(
            "s/crop",
            &["vid"],
            vec![dep("s/video", same.clone(), false), dep("s/sound", same, true)],
            &["audio", "frames"],
        ),
        feature("s/frame", &["vid", "frame"], vec![dep("s/crop", many, false)], &["frames"]),
        feature(
            "s/scene",
            &["vid"],
            vec![dep("s/frame", json!({"type": "N:1", "on": ["vid"]}), false)],
            &["all"],
        ),
    ]
}

/// One side's work on all features that are derived, of which the other then finds nothing left.
fn work(turns: &mut Turns<'_>, python_works: bool, specs: &[Value]) -> [usize; 3] {
    let mut sum = [0; 3];
    for feature in STORY {
        let found = turns.python.resolve(feature, &Request::default(), Value::Null).unwrap();
        turns.resolve(feature, feature, &Request::default(), Some(&found));
        let counts = match python_works {
            true => {
                let (unique, cross) = match feature {
                    "s/frame" => (json!(["vid", "frame"]), json!({"frame": [0, 1, 2]})),
                    _ => (json!(["vid"]), Value::Null),
                };
                let done = turns.python.tell(json!({
                    "do": "process", "feature": feature, "unique": unique, "cross": cross,
                }));
                ["new", "stale", "orphaned"].map(|part| done[part].as_u64().unwrap() as usize)
            }
            false => {
                let spec = specs.iter().find(|spec| spec["key"] == json!(feature)).unwrap();
                native_work(&turns.store, feature, spec);
                [found.new.len(), found.stale.len(), found.orphaned.len()]
            }
        };
        let what = format!("{feature} after {}", if python_works { "Python" } else { "us" });
        let left = Expected { orphaned: found.orphaned, progress: Some(100.0), ..Expected::default() };
        turns.resolve(&what, feature, &Request::default(), Some(&left));
        sum = [0, 1, 2].map(|part| sum[part] + counts[part]);
    }
    sum
}

/// What is new or stale is written as it was found; parents are given children, and of a group one row is enough.
fn native_work(store: &Store, feature: &str, spec: &Value) {
    let call = Call::default();
    let work = async {
        let increment = store.resolve_update(feature, &Default::default(), &call).await?;
        for part in [Part::New, Part::Stale] {
            let mut rows = increment.read(part, &call).await?;
            let mut found = Vec::new();
            while let Some(batch) = rows.next().await {
                found.push(batch?);
            }
            let found = match feature {
                "s/crop" => found,
                _ if found.iter().all(|batch| batch.num_rows() == 0) => Vec::new(),
                _ => vec![processed_rows(feature, spec, &found)],
            };
            let Some(first) = found.first() else { continue };
            let mut writer = store.writer(feature, first.schema(), &options(&[]), &call).await?;
            for batch in found {
                writer.push(batch, &call).await?;
            }
            writer.commit(&call).await?;
        }
        Ok(())
    };
    store.runtime().block_on(work).unwrap_or_else(|error: metaxy::Error| panic!("{feature}: {error}"));
}

fn processed_rows(feature: &str, spec: &Value, found: &[RecordBatch]) -> RecordBatch {
    let children: &[i64] = if feature == "s/frame" { &[0, 1, 2] } else { &[0] };
    let mut there = BTreeSet::new();
    let mut made = Vec::new();
    for row in rows(found).iter().filter(|row| feature == "s/frame" || there.insert(row["vid"].to_string())) {
        for child in children {
            let mut row = row.clone();
            if feature == "s/frame" {
                row["frame"] = json!(child);
            }
            made.push(row);
        }
    }
    let columns = [("vid", "str"), ("frame", "i64"), ("size", "i64")];
    let columns: Vec<(String, Value)> = columns.map(|(name, kind)| (name.to_owned(), json!(kind))).to_vec();
    batch_of(&with_versions(&columns, &made, spec), &made)
}

#[test]
fn what_one_side_processed_the_other_finds_done() {
    let mut python = Python::start();
    let directory = tempfile::tempdir().unwrap();
    let specs = story("1");
    let mut turns = Turns::begin(&mut python, directory.path(), &specs);
    let columns = |specs: &[Value], feature: &str, rows: &[Value]| {
        let columns = [("vid".to_owned(), json!("str")), ("size".to_owned(), json!("i64"))];
        let columns = if feature == "s/video" { &columns[..] } else { &columns[..1] };
        with_versions(columns, rows, specs.iter().find(|spec| spec["key"] == json!(feature)).unwrap())
    };
    let videos = |ids: &[&str], tag: &str| -> Vec<Value> {
        let row = |id: &&str| {
            let by_field = json!({"audio": format!("a{tag}{id}"), "frames": format!("f{tag}{id}")});
            json!({"vid": id, "size": 7, "metaxy_provenance_by_field": by_field})
        };
        ids.iter().map(row).collect()
    };
    let sounds = |ids: &[&str]| -> Vec<Value> {
        ids.iter()
            .map(|id| json!({"vid": id, "metaxy_provenance_by_field": {"x": format!("x{id}")}}))
            .collect()
    };
    let write_by = |turns: &mut Turns<'_>, python: bool, specs: &[Value], feature: &str, rows: &[Value]| {
        turns.turn = usize::from(!python);
        turns.write(feature, &columns(specs, feature, rows), &[], rows);
    };

    // Python pushes and writes the roots; we process them all, and Python finds nothing left.
    write_by(&mut turns, true, &specs, "s/video", &videos(&["a", "b", "c", "d"], ""));
    write_by(&mut turns, true, &specs, "s/sound", &sounds(&["a", "b"]));
    assert_eq!(work(&mut turns, false, &specs), [4 + 4 + 12, 0, 0]);

    // The roots change from our side; Python processes that, and we find nothing left.
    write_by(&mut turns, false, &specs, "s/video", &videos(&["b", "e"], "new"));
    write_by(&mut turns, false, &specs, "s/sound", &sounds(&["c"]));
    let condition = Condition { column: "vid".into(), operator: "=", value: json!("d") };
    assert!(delete(&turns.store, "s/video", &condition));
    assert_eq!(work(&mut turns, true, &specs), [1 + 1 + 3, 2 + 2 + 6, 1]);

    // Other code, pushed by us: everything is new again, from our side and from Python's.
    let specs = story("2");
    turns.turn = 1;
    turns.push(&specs);
    write_by(&mut turns, false, &specs, "s/video", &videos(&["a", "b"], ""));
    assert_eq!(work(&mut turns, true, &specs)[0], 2 + 2 + 6);
    write_by(&mut turns, true, &specs, "s/video", &videos(&["a", "c"], "newer"));
    let [new, stale, _] = work(&mut turns, false, &specs);
    assert_eq!((new, stale), (1 + 1 + 3, 1 + 1 + 3));
}
