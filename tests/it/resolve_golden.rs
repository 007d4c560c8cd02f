//! What Python Metaxy 0.1.11 found to be new, stale and orphaned is found here too; where not, the table below says why.

use std::collections::{BTreeMap, BTreeSet};

use metaxy::Status;
use metaxy::store::context::Call;
use metaxy::store::{Fallback, IncrementRequest, ReadRequest, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::increments::{Found, batch_of, resolve, resolve_samples, write, write_as_metaxy};
use crate::model::{Expected, Model, Request, Row, VERSIONS, key, normal, parsed, sort};
use crate::resolve_model::{check, comparable, increment_request};
use crate::support::{golden, golden_json, open, options, read, rows};

/// What is found instead of what Metaxy finds: the ids of the rows of each part, and the progress.
struct Difference {
    script: &'static str,
    step: usize,
    because: &'static str,
    new: &'static [Option<&'static str>],
    stale: &'static [Option<&'static str>],
    orphaned: &'static [Option<&'static str>],
    progress: f64,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        script: "downstream",
        step: 8,
        because: "a sample whose stored row fails a filter on the feature itself is left alone, and not counted, instead \
                  of being new",
        new: &[Some("4")],
        stale: &[],
        orphaned: &[],
        progress: 200.0 / 3.0,
    },
    Difference {
        script: "downstream",
        step: 11,
        because: "a sample whose stored row fails a target filter is left alone, and not counted, instead of being new",
        new: &[Some("4")],
        stale: &[Some("2")],
        orphaned: &[],
        progress: 50.0,
    },
    Difference {
        script: "null_ids_and_null_provenance",
        step: 2,
        because: "a null id is that of one sample, instead of being new and orphaned for ever, and a provenance that \
                  stays null is unchanged",
        new: &[],
        stale: &[],
        orphaned: &[],
        progress: 100.0,
    },
    Difference {
        script: "optional_left",
        step: 1,
        because: "an optional feature that has no table yet is all null, instead of an error",
        new: &[Some("1"), Some("2")],
        stale: &[],
        orphaned: &[],
        progress: 0.0,
    },
    Difference {
        script: "three_unselected_parents_fail",
        step: 3,
        because: "any number of dependencies can be joined, instead of two",
        new: &[Some("1")],
        stale: &[],
        orphaned: &[],
        progress: 0.0,
    },
];

/// Whom a script is played to.
trait Player {
    /// Whether it knows which columns there are, and what is wrong with a request.
    const KNOWS_COLUMNS: bool;
    fn write(&mut self, feature: &str, columns: &[(String, Value)], rows: &[Value]);
    fn delete(&mut self, feature: &str, filter: &str);
    /// What is found, or the message of the error.
    fn resolve(&mut self, feature: &str, request: &Request) -> Result<Expected, String>;
    fn resolve_samples(
        &mut self,
        feature: &str,
        columns: &[(String, Value)],
        rows: &[Value],
        request: &Request,
    ) -> Expected;
}

/// The database, and what it last found as it is.
struct Engine {
    store: Store,
    directory: TempDir,
    ids: BTreeMap<String, Vec<String>>,
    found: Option<Found>,
}

impl Player for Engine {
    const KNOWS_COLUMNS: bool = true;

    fn write(&mut self, feature: &str, columns: &[(String, Value)], rows: &[Value]) {
        let ids = &self.ids[feature];
        write_as_metaxy(&self.store, self.directory.path(), feature, columns, ids, rows);
    }

    fn delete(&mut self, feature: &str, filter: &str) {
        let request = ReadRequest { filters: vec![filter.to_owned()], ..ReadRequest::default() };
        let (options, call) = (options(&[]), Call::default());
        self.store.runtime().block_on(self.store.delete(feature, &request, &options, &call)).unwrap();
    }

    fn resolve(&mut self, feature: &str, request: &Request) -> Result<Expected, String> {
        match resolve(&self.store, feature, &increment_request(request)) {
            Ok(found) => Ok(comparable(self.found.insert(found))),
            Err(error) => {
                assert!(matches!(error.status(), Status::NotFound | Status::InvalidArgument), "{error}");
                Err(error.message().to_owned())
            }
        }
    }

    fn resolve_samples(
        &mut self,
        feature: &str,
        columns: &[(String, Value)],
        rows: &[Value],
        request: &Request,
    ) -> Expected {
        let batch = batch_of(columns, rows);
        let found = resolve_samples(&self.store, feature, &batch, &increment_request(request)).unwrap();
        comparable(self.found.insert(found))
    }
}

impl Player for Model {
    const KNOWS_COLUMNS: bool = false;

    fn write(&mut self, feature: &str, columns: &[(String, Value)], rows: &[Value]) {
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        Model::write(self, feature, &names, rows);
    }

    fn delete(&mut self, feature: &str, filter: &str) {
        Model::delete(self, feature, &parsed(&json!(filter))).unwrap();
    }

    fn resolve(&mut self, feature: &str, request: &Request) -> Result<Expected, String> {
        Model::resolve(self, feature, request).ok_or_else(|| "no table".to_owned())
    }

    fn resolve_samples(
        &mut self,
        feature: &str,
        columns: &[(String, Value)],
        rows: &[Value],
        request: &Request,
    ) -> Expected {
        let names = columns.iter().map(|(name, _)| name.clone()).collect();
        Model::resolve_samples(self, feature, &names, rows, request)
    }
}

#[test]
fn every_recorded_script() {
    for script in golden_json("resolve.json").as_array().unwrap() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path().to_str().unwrap(), &script["features"], "xxhash32", "8");
        let ids = list(&script["features"]).iter().map(|spec| {
            let ids = list(&spec["id_columns"]).iter().map(|id| id.as_str().unwrap().to_owned());
            (spec["key"].as_str().unwrap().to_owned(), ids.collect())
        });
        let mut engine = Engine { store, directory, ids: ids.collect(), found: None };
        play(script, &mut engine, |engine, step| {
            let Some(found) = engine.found.take() else { return };
            check_columns(&found, step);
            assert_eq!(stored(&found.orphaned), stored(list(&step["expect"]["orphaned"])), "{step}");
        });
    }
}

#[test]
fn the_model_of_the_tests_finds_the_same() {
    for script in golden_json("resolve.json").as_array().unwrap() {
        let mut model = Model::default();
        model.define(list(&script["features"]));
        // A model has no columns that could be missing.
        play(script, &mut model, |_, _| ());
    }
}

fn play<P: Player>(script: &Value, player: &mut P, also: impl Fn(&mut P, &Value)) {
    let name = script["name"].as_str().unwrap();
    let mut types: BTreeMap<String, Value> = BTreeMap::from([
        ("status".to_owned(), json!("str")),
        ("chunk".to_owned(), json!("i64")),
        ("metaxy_provenance".to_owned(), json!("str")),
        ("metaxy_data_version".to_owned(), json!("str")),
    ]);
    for (place, step) in list(&script["steps"]).iter().enumerate() {
        let what = format!("{name}, step {place}");
        let columns: Vec<(String, Value)> = match step["columns"].as_object() {
            Some(columns) => columns.iter().map(|(column, kind)| (column.clone(), kind.clone())).collect(),
            None => Vec::new(),
        };
        types.extend(columns.iter().cloned());
        let feature = step["feature"].as_str().unwrap();
        let request = request(step);
        match step["op"].as_str().unwrap() {
            "write" => player.write(feature, &columns, list(&step["rows"])),
            "delete" => player.delete(feature, step["filters"][0].as_str().unwrap()),
            _ if step.get("samples").is_some() => {
                let found = player.resolve_samples(feature, &columns, list(&step["samples"]), &request);
                check(&what, &found, &expected(step));
                also(player, step);
            }
            _ => {
                let difference = DIFFERENCES.iter().find(|known| (known.script, known.step) == (name, place));
                let found = match (player.resolve(feature, &request), difference) {
                    (Ok(found), Some(instead)) => {
                        check_ids(&what, &found, instead);
                        continue;
                    }
                    (Ok(found), None) if step["expect"].get("error").is_none() => found,
                    (Ok(_), _) => {
                        // That a filter names no column is not for a model to notice.
                        let lost = step["expect"]["error"] == "ColumnNotFoundError";
                        assert!(lost && !P::KNOWS_COLUMNS, "{what} was to fail: {}", step["expect"]);
                        continue;
                    }
                    (Err(message), Some(instead)) => panic!("{what}: {message}, though {}", instead.because),
                    (Err(message), None) => {
                        let named =
                            match step["staleness_predicates"].get(0).or(step["global_filters"].get(0)) {
                                Some(filter) => filter.as_str().unwrap().split(' ').next().unwrap(),
                                None => "r/a",
                            };
                        assert!(step["expect"].get("error").is_some(), "{what}: {message}");
                        assert!(message.contains(named) || message == "no table", "{what}: {message}");
                        continue;
                    }
                };
                let spec =
                    list(&script["features"]).iter().find(|spec| spec["key"] == step["feature"]).unwrap();
                check(&what, &per_parent(found.clone(), spec), &per_parent(expected(step), spec));
                also(player, step);
                if step["op"] == "resolve_and_write" {
                    let rows = to_write(step, &found);
                    let columns = types_of(&rows, &types, spec);
                    player.write(feature, &columns, &rows);
                }
            }
        }
    }
}

#[test]
fn derived_rows_of_every_case_under_every_algorithm() {
    let mut compared = 0;
    for (name, case) in golden_json("provenance.json").as_object().unwrap() {
        for (hashing, recorded) in case["results"].as_object().unwrap() {
            let (algorithm, truncation) = hashing.split_once('/').unwrap();
            let store = store("memory://", &case["features"], algorithm, truncation);
            let mut types: BTreeMap<String, Value> = BTreeMap::from([
                ("chunk".to_owned(), json!("i64")),
                ("metaxy_provenance".to_owned(), json!("str")),
                ("metaxy_data_version".to_owned(), json!("str")),
            ]);
            for spec in list(&case["features"]) {
                let feature = spec["key"].as_str().unwrap();
                let what = format!("{name}, {hashing}, {feature}");
                if let Some(root) = case["roots"].get(feature) {
                    let columns = root["columns"].as_object().unwrap().iter();
                    let columns: Vec<_> =
                        columns.map(|(column, kind)| (column.clone(), kind.clone())).collect();
                    types
                        .extend(columns.iter().filter(|(column, _)| !column.starts_with("metaxy_")).cloned());
                    write(&store, feature, &columns, list(&root["rows"]));
                    let written = rows(&read(&store, feature, &ReadRequest::default()).unwrap());
                    compare(&what, &written, &recorded["written_roots"][feature]);
                    continue;
                }
                let found = resolve(&store, feature, &IncrementRequest::default()).unwrap();
                compare(&what, &found.new, &recorded["derived"][feature]);
                assert!(found.stale.is_empty() && found.orphaned.is_empty(), "{what}");
                assert_eq!(found.progress, Some(0.0), "{what}");
                let cross = (feature == "x/chunk").then(|| json!({"chunk": [0, 1]}));
                let step = json!({"unique": spec["id_columns"], "cross": cross});
                let written = to_write(&step, &comparable(&found));
                write(&store, feature, &types_of(&written, &types, spec), &written);
                let again = resolve(&store, feature, &IncrementRequest::default()).unwrap();
                assert_eq!((again.new, again.stale, again.orphaned), Default::default(), "{what}, again");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 10 * 14);
}

#[test]
fn stores_that_python_wrote() {
    let basic = golden_json("stores/basic.expected.json");
    for graph in ["v1", "v2"] {
        let store = written_by_python("basic", &basic["graphs"][graph]);
        check_store(&store, &basic["graphs"][graph], &basic["resolve_update"][graph]);
    }
    let lineage = golden_json("stores/lineage.expected.json");
    let store = written_by_python("lineage", &lineage["graph"]);
    check_store(&store, &lineage["graph"], &lineage["resolve_update"]);
}

#[test]
fn what_python_resolved_is_found_to_be_done() {
    for (name, feature) in [("map", "mp/b"), ("sha256_64", "example/crop")] {
        let expected = golden_json(&format!("stores/{name}.expected.json"));
        let store = written_by_python(name, &expected["graph"]);
        let found = resolve(&store, feature, &IncrementRequest::default()).unwrap();
        assert_eq!((found.new, found.stale, found.orphaned), Default::default(), "{name}");
        assert_eq!(found.progress, Some(100.0));
        let all = IncrementRequest { skip_comparison: true, ..IncrementRequest::default() };
        let found = resolve(&store, feature, &all).unwrap();
        let stored = rows(&read(&store, feature, &ReadRequest::default()).unwrap());
        let hashes = |rows: &[Value]| -> BTreeSet<String> {
            rows.iter().map(|row| row["metaxy_provenance"].to_string()).collect()
        };
        assert_eq!(hashes(&found.new), hashes(&stored), "{name}");
        assert_eq!(found.progress, Some(0.0));
    }
}

#[test]
fn upstream_rows_come_from_the_chain_and_stored_ones_do_not() {
    let expected = golden_json("stores/chain.expected.json");
    let opened = |name: &str, fallbacks: Vec<Fallback>| {
        let pairs = [("name", name), ("mode", "read"), ("project", "golden"), ("fallback.missing", "table")];
        let directory = golden("stores/chain").join(name);
        Store::open_chain(directory.to_str().unwrap(), fallbacks, &options(&pairs), &Call::default()).unwrap()
    };
    let prod = opened("prod", Vec::new());
    let stag = opened("stag", vec![Fallback::from(prod)]);
    let dev = opened("dev", vec![Fallback::from(stag)]);
    dev.define(&expected["graph"].to_string()).unwrap();
    check_store(&dev, &expected["graph"], &expected["resolve_update"]);
}

fn store(uri: &str, features: &Value, algorithm: &str, truncation: &str) -> Store {
    let pairs =
        [("hash.algorithm", algorithm), ("hash.truncation_length", truncation), ("project", "golden")];
    let store = Store::open(uri, &options(&pairs), &Call::default()).unwrap();
    store.define(&features.to_string()).unwrap();
    store
}

fn written_by_python(name: &str, graph: &Value) -> Store {
    let store = open(&golden("stores").join(name), &[("mode", "read"), ("project", "golden")]);
    store.define(&graph.to_string()).unwrap();
    store
}

fn check_store(store: &Store, graph: &Value, recorded: &Value) {
    for (feature, expect) in recorded.as_object().unwrap() {
        let found = resolve(store, feature, &IncrementRequest::default()).unwrap();
        let spec = list(graph).iter().find(|spec| spec["key"] == json!(feature)).unwrap();
        let step = json!({"expect": expect, "input_progress": found.progress});
        check(feature, &per_parent(comparable(&found), spec), &per_parent(self::expected(&step), spec));
        if !expands(spec) {
            assert_eq!(stored(&found.orphaned), stored(list(&expect["orphaned"])), "{feature}");
        }
    }
}

fn request(step: &Value) -> Request {
    let conditions = |filters: &Value| list(filters).iter().map(parsed).collect();
    let of = step["filters"].as_object().into_iter().flatten();
    let filters = of.flat_map(|(feature, filters)| {
        list(filters).iter().map(|filter| (feature.clone(), parsed(filter))).collect::<Vec<_>>()
    });
    Request {
        filters: filters.collect(),
        global: conditions(&step["global_filters"]),
        target: conditions(&step["target_filters"]),
        stale_when: conditions(&step["staleness_predicates"]),
        skip: step["skip_comparison"] == json!(true),
    }
}

/// What was recorded, without what only storing adds, and without junk.
fn expected(step: &Value) -> Expected {
    let part = |name: &str| {
        let mut rows: Vec<Row> = list(&step["expect"][name]).iter().map(normal).collect();
        for row in &mut rows {
            row.retain(|column, _| VERSIONS.contains(&column.as_str()) || !is_of_metaxy(column));
        }
        sort(&mut rows);
        rows
    };
    Expected {
        new: part("new"),
        stale: part("stale"),
        orphaned: part("orphaned"),
        progress: step["input_progress"].as_f64(),
    }
}

fn is_of_metaxy(column: &str) -> bool {
    column.starts_with("metaxy_") || column == "__stale_by_predicate"
}

/// Of the stored children of a parent Metaxy gives one, whichever it is; all of them say the same of the parent.
fn per_parent(mut found: Expected, spec: &Value) -> Expected {
    if expands(spec) {
        for row in &mut found.orphaned {
            row.remove("chunk");
        }
        sort(&mut found.orphaned);
        found.orphaned.dedup();
    }
    found
}

fn expands(spec: &Value) -> bool {
    list(&spec["deps"]).iter().any(|dep| dep["lineage"]["relationship"]["type"] == "1:N")
}

/// Orphaned rows with what storing added to them, but for the time.
fn stored(rows: &[Value]) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.iter().map(normal).collect();
    for row in &mut rows {
        row.retain(|column, _| {
            !column.ends_with("_at") && column != "__stale_by_predicate" && column != "chunk"
        });
    }
    sort(&mut rows);
    rows.dedup();
    rows
}

fn check_columns(found: &Found, step: &Value) {
    for (columns, part) in found.columns.iter().zip(["new", "stale"]) {
        let recorded = list(&step["expect_columns"][part]).iter().map(|column| column.as_str().unwrap());
        let recorded: BTreeSet<&str> =
            recorded.filter(|column| !column.starts_with("metaxy_deleted_at")).collect();
        assert_eq!(columns.iter().map(String::as_str).collect::<BTreeSet<_>>(), recorded, "{step}");
    }
}

fn check_ids(what: &str, found: &Expected, instead: &Difference) {
    let ids = |rows: &[Row]| -> Vec<Option<String>> {
        rows.iter().map(|row| row.get("id").map(|id| id.as_str().unwrap().to_owned())).collect()
    };
    let expected = |ids: &[Option<&str>]| -> Vec<Option<String>> {
        ids.iter().map(|id| id.map(str::to_owned)).collect()
    };
    let because = instead.because;
    assert_eq!(ids(&found.new), expected(instead.new), "{what}: new; {because}");
    assert_eq!(ids(&found.stale), expected(instead.stale), "{what}: stale; {because}");
    assert_eq!(ids(&found.orphaned), expected(instead.orphaned), "{what}: orphaned; {because}");
    let off = found.progress.map(|progress| (progress - instead.progress).abs());
    assert!(off.is_some_and(|off| off < 1e-9), "{what}: the progress is {:?}; {because}", found.progress);
}

/// The rows that a script writes after it resolved.
fn to_write(step: &Value, found: &Expected) -> Vec<Value> {
    let mut rows: Vec<Row> = found.new.iter().chain(&found.stale).cloned().collect();
    for row in &mut rows {
        row.extend(step["with"].as_object().into_iter().flatten().map(|(c, v)| (c.clone(), v.clone())));
    }
    for (column, values) in step["cross"].as_object().into_iter().flatten() {
        let crossed = rows.iter().flat_map(|row| {
            list(values).iter().map(|value| {
                let mut row = row.clone();
                row.insert(column.clone(), value.clone());
                row
            })
        });
        rows = crossed.collect();
    }
    let unique: Vec<String> =
        list(&step["unique"]).iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let mut there = BTreeSet::new();
    rows.retain(|row| unique.is_empty() || there.insert(key(row, &unique)));
    let rows = rows.into_iter().map(|mut row| {
        for version in VERSIONS {
            row.entry(version.to_owned()).or_insert(Value::Null);
        }
        Value::Object(row.into_iter().collect())
    });
    rows.collect()
}

fn types_of(rows: &[Value], types: &BTreeMap<String, Value>, spec: &Value) -> Vec<(String, Value)> {
    let mut by_field = vec![json!("struct")];
    by_field.extend(
        list(&spec["fields"]).iter().map(|field| json!(field["key"].as_str().unwrap().replace('/', "_"))),
    );
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.as_object().unwrap().keys()).collect();
    let ids = list(&spec["id_columns"]).iter().map(|id| id.as_str().unwrap().to_owned());
    let names: BTreeSet<String> = names.into_iter().cloned().chain(ids).collect();
    names
        .into_iter()
        .map(|name| {
            let kind = if name.ends_with("_by_field") { json!(by_field) } else { types_for(types, &name) };
            (name, kind)
        })
        .collect()
}

fn types_for(types: &BTreeMap<String, Value>, name: &str) -> Value {
    // A column that was renamed keeps its type.
    let old = match name {
        "ub" => "u",
        other => other,
    };
    types.get(old).cloned().unwrap_or_else(|| panic!("the type of {name} is not known"))
}

/// Compares the columns that were recorded.
fn compare(what: &str, found: &[Value], recorded: &Value) {
    let recorded = list(recorded);
    let columns: BTreeSet<&String> =
        recorded.iter().flat_map(|row| row.as_object().unwrap().keys()).collect();
    let prepared = |rows: &[Value]| {
        let mut rows: Vec<Row> = rows.iter().map(normal).collect();
        for row in &mut rows {
            row.retain(|column, _| columns.contains(column) && !column.starts_with('_'));
        }
        sort(&mut rows);
        rows
    };
    assert_eq!(prepared(found), prepared(recorded), "{what}");
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
