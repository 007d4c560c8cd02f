//! The engine against the model of its rules, on random graphs and histories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, LargeStringArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field};
use metaxy::store::context::Call;
use metaxy::store::{Fallback, IncrementRequest, Part, ReadRequest, Store};
use metaxy::versioning::Shard;
use metaxy::{Result, Status};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::increments::{Found, batch_of, resolve, resolve_samples, write, write_as_metaxy};
use crate::model::{Condition, Expected, Model, Request, Row, VERSIONS, key, normal, sort, text_of};
use crate::scenario::{Dialect, Scenario, Step, scenarios, with_versions};
use crate::support::{self, batch, failure, open, options};

#[test]
fn random_histories_of_random_graphs_are_resolved_as_the_model_does() {
    let cases = std::env::var("PROPTEST_CASES").map_or(40, |cases| cases.parse().unwrap());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&scenarios(Dialect::Native), |scenario| {
        play(&scenario);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A feature's increment from what is found in the store.
pub fn increment_request(request: &Request) -> IncrementRequest {
    let texts = |conditions: &[Condition]| conditions.iter().map(Condition::text).collect();
    IncrementRequest {
        filters: request.filters.iter().map(|(of, condition)| (of.clone(), condition.text())).collect(),
        global_filters: texts(&request.global),
        target_filters: texts(&request.target),
        staleness_predicates: texts(&request.stale_when),
        skip_comparison: request.skip,
        // Any number, but always the same for one request.
        batch_rows: Some(request.filters.len() + 2 * request.stale_when.len()).filter(|rows| *rows > 0),
        ..IncrementRequest::default()
    }
}

/// What was found in the form of what was expected: without nulls, and without what only storing adds.
pub fn comparable(found: &Found) -> Expected {
    let columns = found.columns.iter().flatten();
    for column in columns.filter(|column| column.starts_with("metaxy_") || column.starts_with('_')) {
        assert!(VERSIONS.contains(&column.as_str()), "a row of an increment has the column {column}");
    }
    let rows = |rows: &[Value]| {
        let mut rows: Vec<Row> = rows.iter().map(normal).collect();
        for row in &mut rows {
            row.retain(|column, _| !column.starts_with("metaxy_") || VERSIONS.contains(&column.as_str()));
        }
        sort(&mut rows);
        rows
    };
    Expected {
        new: rows(&found.new),
        stale: rows(&found.stale),
        orphaned: rows(&found.orphaned),
        progress: found.progress,
    }
}

#[track_caller]
pub fn check(what: &str, found: &Expected, expected: &Expected) {
    let lines = |rows: &[Row]| rows.iter().map(text_of).collect::<Vec<_>>().join("\n    ");
    for (part, found, expected) in [
        ("new", &found.new, &expected.new),
        ("stale", &found.stale, &expected.stale),
        ("orphaned", &found.orphaned, &expected.orphaned),
    ] {
        assert!(
            found == expected,
            "{what}: {part} should be\n    {}\nand is\n    {}",
            lines(expected),
            lines(found)
        );
    }
    let close = match (found.progress, expected.progress) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
        (found, expected) => found == expected,
    };
    assert!(close, "{what}: the progress should be {:?} and is {:?}", expected.progress, found.progress);
}

/// The rows to write after an increment: one per sample, children for parents that have none.
pub fn processed(spec: &Value, columns: &[(String, Value)], expected: &Expected, round: usize) -> Vec<Value> {
    let ids: Vec<String> =
        spec["id_columns"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let expands = spec["metadata"]["children"] == json!(true);
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut rows = Vec::new();
    for row in expected.new.iter().chain(&expected.stale) {
        let children: &[Option<i64>] = if expands { &[Some(0), Some(1)] } else { &[None] };
        for child in children {
            let mut row = row.clone();
            row.extend(child.map(|child| ("frame".to_owned(), json!(child))));
            if there.insert(key(&row, &ids)) {
                // The last of a derived feature's columns is that of its processing.
                row.insert(columns.last().unwrap().0.clone(), json!(round as i64));
                for version in VERSIONS {
                    row.entry(version.to_owned()).or_insert(Value::Null);
                }
                rows.push(Value::Object(row.into_iter().collect()));
            }
        }
    }
    rows
}

fn play(scenario: &Scenario) {
    let hashing = [("hash.algorithm", "xxhash32"), ("hash.truncation_length", "8"), ("project", "p")];
    let directory = tempfile::tempdir().unwrap();
    let (path, base_path) = (directory.path().join("store"), directory.path().join("base"));
    let base = scenario.chained.then(|| open(&base_path, &hashing));
    let store = match &base {
        Some(base) => {
            let fallbacks = vec![Fallback::from(base.clone())];
            Store::open_chain(path.to_str().unwrap(), fallbacks, &options(&hashing), &Call::default())
                .unwrap()
        }
        None => open(&path, &hashing),
    };
    for store in base.iter().chain([&store]) {
        store.define(&json!(scenario.specs).to_string()).unwrap();
    }
    let roots = scenario.specs.iter().filter(|spec| spec["deps"].as_array().unwrap().is_empty());
    let roots = roots.map(|spec| spec["key"].as_str().unwrap().to_owned()).collect();
    Play::new(scenario).all(&mut Engine { store: (store, path), base: base.zip(Some(base_path)), roots });
}

/// Whom a scenario is played to beside the model.
pub trait Player {
    fn define(&mut self, specs: &[Value], changed: &Value);
    fn write(&mut self, feature: &str, columns: &[(String, Value)], ids: &[String], rows: &[Value]);
    /// Fails unless it is deleted, or there is no table and it must not be.
    fn delete(&mut self, what: &str, feature: &str, condition: &Condition, there: bool);
    /// Checks what is found; nothing is expected where a feature that is needed has no table.
    fn resolve(&mut self, what: &str, feature: &str, request: &Request, expected: Option<&Expected>);
    /// The same of shares of it.
    fn resolve_shards(
        &mut self,
        what: &str,
        feature: &str,
        request: &Request,
        shards: u32,
        expected: &Expected,
    );
    fn resolve_samples(
        &mut self,
        what: &str,
        feature: &str,
        columns: &[(String, Value)],
        rows: &[Value],
        request: &Request,
        expected: &Expected,
    );
}

/// A scenario on its way.
pub struct Play<'s> {
    scenario: &'s Scenario,
    specs: Vec<Value>,
    model: Model,
    /// How many rows were found to be new, stale, orphaned.
    pub found: [usize; 3],
}

impl<'s> Play<'s> {
    pub fn new(scenario: &'s Scenario) -> Play<'s> {
        let mut model = Model::default();
        model.define(&scenario.specs);
        Play { scenario, specs: scenario.specs.clone(), model, found: [0; 3] }
    }

    pub fn all(&mut self, player: &mut impl Player) {
        for (round, step) in self.scenario.steps.iter().enumerate() {
            self.step(round, step, player);
        }
    }

    fn step(&mut self, round: usize, step: &Step, player: &mut impl Player) {
        let columns_of = |feature: &str| &self.scenario.columns[feature];
        match step {
            Step::Write { feature, rows } => self.write(feature, rows, player),
            Step::Delete { feature, condition } => {
                let there = self.model.delete(feature, condition).is_some();
                player.delete(&format!("step {round}, {feature}"), feature, condition, there);
            }
            Step::Recode { spec } => {
                *self.specs.iter_mut().find(|old| old["key"] == spec["key"]).unwrap() = spec.clone();
                self.model.define(std::slice::from_ref(spec));
                player.define(&self.specs, spec);
            }
            Step::Sync { feature } => {
                let what = format!("step {round}, {feature}");
                let Some(expected) = self.resolve(&what, feature, &Request::default(), player) else {
                    return;
                };
                let rows = processed(self.spec(feature), columns_of(feature), &expected, round);
                if !rows.is_empty() {
                    self.write(feature, &rows, player);
                }
            }
            Step::Resolve { feature, request, shards } => {
                let what = format!("step {round}, {feature}, {request:?}");
                let expected = self.resolve(&what, feature, request, player);
                if let Some(expected) = expected.filter(|_| *shards > 1) {
                    let what = format!("{what}, {shards} shards together");
                    player.resolve_shards(&what, feature, request, *shards, &expected);
                }
            }
            Step::Samples { feature, rows, request } => {
                let columns = with_versions(columns_of(feature), rows, self.spec(feature));
                let names: BTreeSet<String> = names(&columns).into_iter().collect();
                let expected = self.model.resolve_samples(feature, &names, rows, request);
                let what = format!("step {round}, {feature} with samples, {request:?}");
                player.resolve_samples(&what, feature, &columns, rows, request, &expected);
            }
        }
    }

    fn spec(&self, feature: &str) -> &Value {
        self.specs.iter().find(|spec| spec["key"] == json!(feature)).unwrap()
    }

    fn write(&mut self, feature: &str, rows: &[Value], player: &mut impl Player) {
        let columns = with_versions(&self.scenario.columns[feature], rows, self.spec(feature));
        let spec = self.spec(feature);
        let ids = spec["id_columns"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned());
        player.write(feature, &columns, &ids.collect::<Vec<_>>(), rows);
        self.model.write(feature, &names(&columns), rows);
    }

    fn resolve(
        &mut self,
        what: &str,
        feature: &str,
        request: &Request,
        player: &mut impl Player,
    ) -> Option<Expected> {
        let expected = self.model.resolve(feature, request);
        player.resolve(what, feature, request, expected.as_ref());
        let expected = expected?;
        for (count, part) in self.found.iter_mut().zip([&expected.new, &expected.stale, &expected.orphaned]) {
            *count += part.len();
        }
        Some(expected)
    }
}

struct Engine {
    /// With their directories.
    store: (Store, PathBuf),
    base: Option<(Store, PathBuf)>,
    roots: BTreeSet<String>,
}

impl Engine {
    /// The store to which rows of a feature are written.
    fn of(&self, feature: &str) -> (&Store, &Path) {
        let base = self.base.as_ref().filter(|_| self.roots.contains(feature));
        let (store, path) = base.unwrap_or(&self.store);
        (store, path)
    }
}

impl Player for Engine {
    fn define(&mut self, _: &[Value], changed: &Value) {
        for (store, _) in self.base.iter().chain([&self.store]) {
            store.define(&changed.to_string()).unwrap();
        }
    }

    fn write(&mut self, feature: &str, columns: &[(String, Value)], ids: &[String], rows: &[Value]) {
        let (store, directory) = self.of(feature);
        write_as_metaxy(store, directory, feature, columns, ids, rows);
    }

    fn delete(&mut self, what: &str, feature: &str, condition: &Condition, there: bool) {
        assert_eq!(delete(self.of(feature).0, feature, condition), there, "{what}");
    }

    fn resolve(&mut self, what: &str, feature: &str, request: &Request, expected: Option<&Expected>) {
        check_engine(&self.store.0, what, feature, request, expected);
    }

    fn resolve_shards(
        &mut self,
        what: &str,
        feature: &str,
        request: &Request,
        shards: u32,
        expected: &Expected,
    ) {
        check_shards(&self.store.0, what, feature, request, shards, expected);
    }

    fn resolve_samples(
        &mut self,
        what: &str,
        feature: &str,
        columns: &[(String, Value)],
        rows: &[Value],
        request: &Request,
        expected: &Expected,
    ) {
        let batch = batch_of(columns, rows);
        let found = resolve_samples(self.of(feature).0, feature, &batch, &increment_request(request));
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        check(what, &comparable(&found), expected);
    }
}

/// Whether there was a table.
pub fn delete(store: &Store, feature: &str, condition: &Condition) -> bool {
    let request = ReadRequest { filters: vec![condition.text()], ..ReadRequest::default() };
    let (options, call) = (options(&[]), Call::default());
    match store.runtime().block_on(store.delete(feature, &request, &options, &call)) {
        Ok(_) => true,
        Err(error) if error.status() == Status::NotFound => false,
        Err(error) => panic!("deleting of {feature}: {error}"),
    }
}

pub fn check_engine(
    store: &Store,
    what: &str,
    feature: &str,
    request: &Request,
    expected: Option<&Expected>,
) {
    let found = resolve(store, feature, &increment_request(request));
    match expected {
        Some(expected) => {
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            check(what, &comparable(&found), expected);
        }
        None => assert_eq!(failure(found).status(), Status::NotFound, "{what}"),
    }
}

/// All shards together are the whole increment, each row in one of them.
fn check_shards(
    store: &Store,
    what: &str,
    feature: &str,
    request: &Request,
    shards: u32,
    expected: &Expected,
) {
    let mut all = Expected { progress: expected.progress, ..Expected::default() };
    for index in 0..shards {
        let shard = Some(Shard::new(index, shards).unwrap());
        let request = IncrementRequest { shard, ..increment_request(request) };
        let share = comparable(&resolve(store, feature, &request).unwrap());
        all.new.extend(share.new);
        all.stale.extend(share.stale);
        all.orphaned.extend(share.orphaned);
    }
    for part in [&mut all.new, &mut all.stale, &mut all.orphaned] {
        sort(part);
    }
    check(what, &all, expected);
}

#[test]
fn scenarios_are_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut count =
        |kind: &str, there: bool| *kinds.entry(kind.to_owned()).or_default() += usize::from(there);
    for _ in 0..400 {
        let scenario = scenarios(Dialect::Native).new_tree(&mut runner).unwrap().current();
        let mut play = Play::new(&scenario);
        play.all(&mut Nobody);
        for (kind, found) in ["new", "stale", "orphaned"].into_iter().zip(play.found) {
            count(kind, found > 0);
        }
        count("chain", scenario.chained);
        for dep in scenario.specs.iter().flat_map(|spec| spec["deps"].as_array().unwrap()) {
            let lineage = &dep["lineage"]["relationship"];
            let on = if lineage["on"].is_array() { "with" } else { "without" };
            count(&format!("{} {on} columns", lineage["type"].as_str().unwrap()), true);
            count("optional", dep["optional"] == json!(true));
            for setting in ["select", "rename", "sql_filters"] {
                count(setting, !dep[setting].is_null());
            }
            count(&format!("{} fields", dep["fields_mapping"]["mapping"]["type"].as_str().unwrap()), true);
        }
        for spec in &scenario.specs {
            count("map", spec["metadata"]["map"] == json!(true));
            count("several dependencies", spec["deps"].as_array().unwrap().len() > 2);
            let declared = spec["deps"]
                .as_array()
                .unwrap()
                .iter()
                .any(|dep| dep["lineage"]["relationship"]["type"] == "1:N");
            count("children of 1:1", spec["metadata"]["children"] == json!(true) && !declared);
            count("explicit fields", spec["fields"][0]["deps"].get(0).is_some());
            count("all fields", spec["fields"][0]["deps"].is_string());
        }
        for step in &scenario.steps {
            match step {
                Step::Recode { .. } => count("recode", true),
                Step::Delete { .. } => count("delete", true),
                Step::Samples { .. } => count("samples", true),
                Step::Write { rows, .. } => {
                    count("null id", rows.iter().any(|row| row["vid"].is_null()));
                    count(
                        "overridden",
                        rows.iter().any(|row| row["metaxy_data_version_by_field"].is_object()),
                    );
                }
                Step::Resolve { request, .. } => {
                    count("filters", !request.filters.is_empty());
                    count("global filters", !request.global.is_empty());
                    count("target filters", !request.target.is_empty());
                    count("predicates", !request.stale_when.is_empty());
                    count("skip", request.skip);
                    count("batches", increment_request(request).batch_rows.is_some());
                }
                Step::Sync { .. } => {}
            }
        }
    }
    println!("{kinds:#?}");
    assert_eq!(kinds.len(), 31, "{kinds:#?}");
    for (kind, count) in kinds {
        assert!(count >= 20, "only {count} of 400 scenarios have {kind}");
    }
}

/// Only the model plays.
struct Nobody;

impl Player for Nobody {
    fn define(&mut self, _: &[Value], _: &Value) {}
    fn write(&mut self, _: &str, _: &[(String, Value)], _: &[String], _: &[Value]) {}
    fn delete(&mut self, _: &str, _: &str, _: &Condition, _: bool) {}
    fn resolve(&mut self, _: &str, _: &str, _: &Request, _: Option<&Expected>) {}
    fn resolve_shards(&mut self, _: &str, _: &str, _: &Request, _: u32, _: &Expected) {}
    fn resolve_samples(
        &mut self,
        _: &str,
        _: &str,
        _: &[(String, Value)],
        _: &[Value],
        _: &Request,
        _: &Expected,
    ) {
    }
}

fn names(columns: &[(String, Value)]) -> Vec<String> {
    columns.iter().map(|(column, _)| column.clone()).collect()
}

/// Videos, their sounds, and frames; what both say of a video, what its frames say, and its chapters.
fn large() -> Vec<Value> {
    let dep = |feature: &str, lineage: Value| json!({"feature": feature, "select": [], "lineage": {"relationship": lineage}});
    let feature = |key: &str, ids: &[&str], deps: Vec<Value>| json!({"key": key, "id_columns": ids, "deps": deps, "fields": [{"key": "x", "code_version": "1"}]});
    let same = json!({"type": "1:1"});
    vec![
        feature("l/video", &["vid"], vec![]),
        feature("l/sound", &["vid"], vec![]),
        feature("l/frame", &["vid", "frame"], vec![]),
        feature("l/both", &["vid"], vec![dep("l/sound", same.clone()), dep("l/video", same.clone())]),
        feature("l/scene", &["vid"], vec![dep("l/frame", json!({"type": "N:1", "on": ["vid"]}))]),
        feature("l/still", &["vid", "frame"], vec![dep("l/frame", same.clone()), dep("l/video", same)]),
        feature(
            "l/chapter",
            &["vid", "chapter"],
            vec![dep("l/video", json!({"type": "1:N", "on": ["vid"]}))],
        ),
    ]
}

/// Rows of the features above without their dependencies; a third of them has other versions under another tag.
fn large_rows(feature: &str, rows: std::ops::Range<usize>, tag: usize) -> RecordBatch {
    let of = |row: usize| match feature {
        "l/frame" => (row / 4, row % 4),
        _ => (row, 0),
    };
    let name = |row: usize| format!("s3://videos/{}/{:06}.mp4", "long".repeat(4), of(row).0);
    let names = LargeStringArray::from_iter_values(rows.clone().map(name));
    let versions = rows.clone().map(|row| format!("{row}-{}", if row % 3 == 0 { tag } else { 0 }));
    let versions: ArrayRef = Arc::new(LargeStringArray::from_iter_values(versions));
    let member = Arc::new(Field::new("x", DataType::LargeUtf8, true));
    let by_field: ArrayRef = Arc::new(StructArray::from(vec![(member, versions)]));
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("vid", Arc::new(names)), ("metaxy_provenance_by_field", by_field)];
    if feature == "l/frame" {
        columns.push(("frame", Arc::new(Int64Array::from_iter_values(rows.map(|row| of(row).1 as i64)))));
    }
    batch(columns)
}

/// How many rows each part has, and a number that tells their ids and provenance.
fn digest(store: &Store, feature: &str, request: &IncrementRequest) -> Result<[(u64, u64); 3]> {
    let call = Call::default();
    store.runtime().block_on(async {
        let increment = store.resolve_update(feature, request, &call).await?;
        let mut parts = [(0, 0_u64); 3];
        for (part, (count, sum)) in [Part::New, Part::Stale, Part::Orphaned].into_iter().zip(&mut parts) {
            let mut rows = increment.read(part, &call).await?;
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                *count += batch.num_rows() as u64;
                let texts = ["vid", "metaxy_provenance"]
                    .map(|name| batch.column_by_name(name).unwrap().as_string::<i64>());
                for row in 0..batch.num_rows() {
                    let text = format!("{}|{}", texts[0].value(row), texts[1].value(row));
                    *sum = sum.wrapping_add(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
                }
            }
            assert_eq!(increment.count(part), *count);
        }
        Ok(parts)
    })
}

/// Writes the first `count` of what is new, as if it had been processed.
fn process(store: &Store, feature: &str, count: usize) {
    let call = Call::default();
    let written = store.runtime().block_on(async {
        let increment = store.resolve_update(feature, &IncrementRequest::default(), &call).await?;
        let mut rows = increment.read(Part::New, &call).await?;
        let mut left = count;
        let mut writer = None;
        while let Some(found) = rows.next().await {
            let found = found?;
            let found = found.slice(0, left.min(found.num_rows()));
            left -= found.num_rows();
            let schema = found.schema();
            let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
            for (field, column) in schema.fields().iter().zip(found.columns()) {
                columns.push((field.name(), column.clone()));
            }
            if feature == "l/chapter" {
                columns.push(("chapter", Arc::new(Int64Array::from(vec![1; found.num_rows()]))));
            }
            let rows = batch(columns);
            if writer.is_none() {
                // Of a group one row is enough.
                let options = options(&[("write.duplicates", "last")]);
                writer = Some(store.writer(feature, rows.schema(), &options, &call).await?);
            }
            writer.as_mut().unwrap().push(rows, &call).await?;
        }
        writer.unwrap().commit(&call).await
    });
    written.unwrap();
}

fn large_store(directory: &std::path::Path, more: &[(&str, &str)]) -> Store {
    let hashing = [("hash.algorithm", "xxhash64"), ("hash.truncation_length", "16"), ("project", "p")];
    let store = open(directory, &[&hashing[..], more].concat());
    store.define(&json!(large()).to_string()).unwrap();
    store
}

#[test]
fn shards_share_every_lineage_evenly() {
    let directory = tempfile::tempdir().unwrap();
    let store = large_store(directory.path(), &[]);
    let write = |root: &str, tag: usize| {
        support::write(&store, root, &[large_rows(root, 0..9000, tag)], &[]).unwrap()
    };
    for root in ["l/video", "l/sound", "l/frame"] {
        write(root, 0);
    }
    let features = ["l/both", "l/scene", "l/still", "l/chapter"];
    // Half is processed; then some changes, and some is no more.
    features.iter().for_each(|feature| process(&store, feature, 4500));
    ["l/video", "l/sound", "l/frame"].iter().for_each(|root| write(root, 1));
    for root in ["l/video", "l/frame"] {
        let filter = format!("vid < 's3://videos/{}/000100.mp4'", "long".repeat(4));
        let gone = ReadRequest { filters: vec![filter], ..ReadRequest::default() };
        store.runtime().block_on(store.delete(root, &gone, &options(&[]), &Call::default())).unwrap();
    }
    for feature in features {
        let all = digest(&store, feature, &IncrementRequest::default()).unwrap();
        assert!(all.iter().all(|(count, _)| *count >= 20), "{feature}: {all:?}");
        let mut together = [(0, 0_u64); 3];
        for index in 0..3 {
            let shard = Some(Shard::new(index, 3).unwrap());
            let share =
                digest(&store, feature, &IncrementRequest { shard, ..IncrementRequest::default() }).unwrap();
            let part = share[0].0 as f64 / all[0].0 as f64;
            assert!((0.28..0.39).contains(&part), "{feature}: shard {index} has {part} of what is new");
            for (sum, share) in together.iter_mut().zip(share) {
                *sum = (sum.0 + share.0, sum.1.wrapping_add(share.1));
            }
        }
        assert_eq!(together, all, "{feature}: all shards together");
    }
}

#[test]
fn little_memory_finds_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let spill = tempfile::tempdir().unwrap();
    let spill_directory = spill.path().join("spilled");
    std::fs::create_dir(&spill_directory).unwrap();
    let plenty = large_store(directory.path(), &[]);
    let little = [("memory.bytes", "33554432"), ("spill.directory", spill_directory.to_str().unwrap())];
    let little = large_store(directory.path(), &little);
    for tag in 0..2 {
        for root in ["l/video", "l/sound"] {
            support::write(&plenty, root, &[large_rows(root, 0..120_000, tag)], &[]).unwrap();
        }
        if tag == 0 {
            process(&plenty, "l/both", 100_000);
        }
    }
    let all = digest(&plenty, "l/both", &IncrementRequest::default()).unwrap();
    assert!(all[0].0 == 20_000 && (33_000..34_000).contains(&all[1].0) && all[2].0 == 0, "{all:?}");
    assert_eq!(digest(&little, "l/both", &IncrementRequest::default()).unwrap(), all);
    // That it did not fit: nothing works where there is nowhere to put it.
    std::fs::remove_dir_all(&spill_directory).unwrap();
    let error = failure(digest(&little, "l/both", &IncrementRequest::default()));
    assert!(error.message().contains("spill"), "{error}");
}

#[test]
fn a_sample_whose_stored_row_fails_a_target_filter_is_left_alone() {
    let store = Store::open("memory://", &options(&[]), &Call::default()).unwrap();
    store.define(r#"{"key": "r/a", "id_columns": ["id"], "fields": [{"key": "x"}]}"#).unwrap();
    let columns =
        [("id", json!("str")), ("u", json!("i64")), ("metaxy_provenance_by_field", json!(["struct", "x"]))];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
    let row = |id: &str, u: i64, x: &str| json!({"id": id, "u": u, "metaxy_provenance_by_field": {"x": x}});
    write(
        &store,
        "r/a",
        &columns,
        &[row("a", 1, "old"), row("b", 2, "old"), row("c", 1, "old"), row("d", 2, "old")],
    );
    let samples =
        batch_of(&columns, &[row("a", 2, "new"), row("b", 2, "new"), row("e", 2, "new"), row("f", 1, "new")]);
    let filter = "u = 2".to_owned();
    for request in [
        IncrementRequest { target_filters: vec![filter.clone()], ..IncrementRequest::default() },
        IncrementRequest { filters: vec![("r/a".to_owned(), filter)], ..IncrementRequest::default() },
    ] {
        let found = resolve_samples(&store, "r/a", &samples, &request).unwrap();
        let ids = |rows: &[Value]| {
            rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (ids(&found.new), ids(&found.stale), ids(&found.orphaned)),
            (vec!["e".to_owned()], vec!["b".to_owned()], vec!["d".to_owned()])
        );
    }
}
