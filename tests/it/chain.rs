//! Chains of fallback stores: who serves a read, what counts as missing, what hides what.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use metaxy::Status;
use metaxy::log::Level;
use metaxy::store::context::Call;
use metaxy::store::{Fallback, Outcome, ReadRequest, Store};
use serde_json::Value;

use crate::support::{
    batch, by_field, column, failure, golden, golden_json, listen, open, options, read, read_with_schema,
    root, rows, samples, sorted, text, write,
};

fn open_chain(directory: &Path, fallbacks: &[&Store], pairs: &[(&str, &str)]) -> Store {
    let fallbacks = fallbacks.iter().map(|store| Fallback::from(Store::clone(store))).collect();
    Store::open_chain(directory.to_str().unwrap(), fallbacks, &options(pairs), &Call::default()).unwrap()
}

/// Three empty stores in a temporary directory: dev falls back to stag, stag to prod.
struct Chain {
    directory: tempfile::TempDir,
    dev: Store,
    stag: Store,
    prod: Store,
}

fn chain(missing: &str) -> Chain {
    chain_with(&[("fallback.missing", missing)])
}

fn chain_with(pairs: &[(&str, &str)]) -> Chain {
    let directory = tempfile::tempdir().unwrap();
    let named = |name| [&[("name", name)], pairs].concat();
    let prod = open(&directory.path().join("prod"), &named("prod"));
    let stag = open_chain(&directory.path().join("stag"), &[&prod], &named("stag"));
    let dev = open_chain(&directory.path().join("dev"), &[&stag], &named("dev"));
    for store in [&dev, &stag, &prod] {
        store.define(&root("r/a", &["x"])).unwrap();
    }
    Chain { directory, dev, stag, prod }
}

fn ids(store: &Store, request: &ReadRequest) -> Vec<String> {
    column(&read(store, "r/a", request).unwrap(), "id")
}

/// What each store of the chain answered, by its name.
fn outcomes(store: &Store, request: &ReadRequest) -> BTreeMap<String, Outcome> {
    let (stream, _) = read_with_schema(store, "r/a", request).unwrap();
    let visits = stream.visits();
    visits.iter().map(|visit| (visit.name.clone().unwrap_or(visit.uri.clone()), visit.outcome)).collect()
}

/// The rows with the ids `ids` as tombstones.
fn tombstones(ids: &[&str]) -> arrow::array::RecordBatch {
    let deleted = arrow::array::TimestampMicrosecondArray::from(vec![4_000_000_000_000_000; ids.len()]);
    batch(vec![
        ("id", text(ids)),
        ("metaxy_provenance_by_field", by_field(&["x"], ids)),
        ("metaxy_deleted_at", Arc::new(deleted.with_timezone("UTC"))),
    ])
}

#[test]
fn golden_chains_are_read_as_python_reads_them() {
    let expected = golden_json("stores/chain.expected.json");
    let directory = golden("stores/chain");
    let pairs =
        |name| [("name", name), ("mode", "read"), ("project", "golden"), ("fallback.missing", "table")];
    let prod = open(&directory.join("prod"), &pairs("prod"));
    let stag = open_chain(&directory.join("stag"), &[&prod], &pairs("stag"));
    let dev = open_chain(&directory.join("dev"), &[&stag], &pairs("dev"));
    let mut compared = 0;
    for recorded in expected["reads"].as_array().unwrap() {
        let store = match recorded["from"].as_str().unwrap() {
            "dev" => &dev,
            "stag" => &stag,
            _ => &prod,
        };
        store.define(&expected["graph"].to_string()).unwrap();
        let feature = recorded["feature"].as_str().unwrap();
        let local = recorded["args"]["allow_fallback"] == Value::Bool(false);
        let found = read_with_schema(store, feature, &ReadRequest { local, ..ReadRequest::default() });
        match recorded.get("rows") {
            None => assert_eq!(failure(found).status(), Status::NotFound, "{recorded}"),
            Some(expected) => {
                let (stream, found) = found.unwrap();
                assert_eq!(rows(&found), sorted(expected.as_array().unwrap().clone()), "{recorded}");
                let server = stream.visits().iter().find(|visit| visit.outcome == Outcome::Served).unwrap();
                assert_eq!(server.name.as_deref(), recorded["store"].as_str(), "{recorded}");
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 13);
}

#[test]
fn a_table_without_current_rows_does_not_hide_production_unless_asked_to() {
    for (missing, served) in [("table", vec![]), ("rows", vec!["p1", "p2"]), ("merge", vec!["p1", "p2"])] {
        let chain = chain(missing);
        write(&chain.prod, "r/a", &[samples(&["p1", "p2"])], &[]).unwrap();
        // Outdated: rows of another version of the feature.
        let older = r#"{"key": "r/a", "id_columns": ["id"], "fields": [{"key": "x", "code_version": "0"}]}"#;
        chain.dev.define(older).unwrap();
        write(&chain.dev, "r/a", &[samples(&["old"])], &[]).unwrap();
        chain.dev.define(&root("r/a", &["x"])).unwrap();
        assert_eq!(ids(&chain.dev, &ReadRequest::default()), served, "{missing}");
        // Empty.
        write(&chain.stag, "r/a", &[samples(&[])], &[]).unwrap();
        assert_eq!(ids(&chain.stag, &ReadRequest::default()), served, "{missing}");
        // What a store has is never hidden from itself.
        assert_eq!(ids(&chain.prod, &ReadRequest::default()), ["p1", "p2"]);
    }
}

#[test]
fn tombstones_hide_the_same_samples_further_down() {
    for (missing, served) in [("table", vec![]), ("rows", vec!["p2"]), ("merge", vec!["p2"])] {
        let chain = chain(missing);
        write(&chain.prod, "r/a", &[samples(&["p1", "p2"])], &[]).unwrap();
        write(&chain.dev, "r/a", &[tombstones(&["p1"])], &[]).unwrap();
        assert_eq!(ids(&chain.dev, &ReadRequest::default()), served, "{missing}");
        let with_deleted = ReadRequest { deleted: true, ..ReadRequest::default() };
        let all = if missing == "table" { vec!["p1"] } else { vec!["p1", "p2"] };
        assert_eq!(ids(&chain.dev, &with_deleted), all, "{missing}");
        let history = ReadRequest { sample_history: true, ..ReadRequest::default() };
        assert_eq!(ids(&chain.dev, &history), served, "{missing}");
        // Filters do not bring a hidden row back, whatever they are about.
        for filter in ["id = 'p1'", "metaxy_provenance_by_field IS NOT NULL", "id IN ('p1', 'p2')"] {
            let request = ReadRequest { filters: vec![filter.to_owned()], ..ReadRequest::default() };
            assert!(!ids(&chain.dev, &request).contains(&"p1".to_owned()), "{missing} {filter}");
        }
    }
}

#[test]
fn a_merge_takes_each_sample_from_the_first_store_that_has_it() {
    let chain = chain("merge");
    let numbered = |ids: &[&str], number: i64| {
        batch(vec![
            ("id", text(ids)),
            ("n", Arc::new(arrow::array::Int64Array::from(vec![number; ids.len()]))),
            ("metaxy_provenance_by_field", by_field(&["x"], ids)),
        ])
    };
    write(&chain.prod, "r/a", &[numbered(&["a", "b", "c", "d"], 3)], &[]).unwrap();
    write(&chain.stag, "r/a", &[numbered(&["b", "c"], 2)], &[]).unwrap();
    write(&chain.stag, "r/a", &[tombstones(&["d"])], &[]).unwrap();
    let wide = batch(vec![
        ("id", text(&["c", "e"])),
        ("extra", text(&["x", "y"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["c", "e"])),
    ]);
    write(&chain.dev, "r/a", &[wide], &[]).unwrap();
    let columns = |request: &ReadRequest| {
        let request = ReadRequest {
            columns: Some(["id", "n", "extra"].map(str::to_owned).to_vec()),
            ..request.clone()
        };
        let found = rows(&read(&chain.dev, "r/a", &request).unwrap());
        found
            .iter()
            .map(|row| format!("{} {} {}", row["id"], row["n"], row["extra"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    let everything = ["a 3 null", "b 2 null", "c null x", "e null y"];
    let mut found = columns(&ReadRequest::default());
    found.sort();
    assert_eq!(found, everything);
    let filtered = |filter: &str| {
        let mut found = columns(&ReadRequest { filters: vec![filter.to_owned()], ..ReadRequest::default() });
        found.sort();
        found
    };
    // c is hidden further down although it does not pass here, where it has no n.
    assert_eq!(filtered("n >= 2"), ["a 3 null", "b 2 null"]);
    assert_eq!(filtered("extra = 'x'"), ["c null x"]);
    assert_eq!(filtered("id = 'c'"), ["c null x"]);
    let history = ReadRequest { sample_history: true, ..ReadRequest::default() };
    let mut found = columns(&history);
    found.sort();
    assert_eq!(found, everything);
    for limit in 0..5 {
        let limited = ReadRequest { limit: Some(limit), ..ReadRequest::default() };
        assert_eq!(columns(&limited).len() as u64, limit.min(4));
    }
    let error = failure(read(
        &chain.dev,
        "r/a",
        &ReadRequest { filters: vec!["nope = 1".to_owned()], ..ReadRequest::default() },
    ));
    assert_eq!((error.status(), error.detail("column")), (Status::InvalidArgument, Some("nope")));
}

#[test]
fn ids_of_other_integer_types_are_the_same_samples() {
    let chain = chain("merge");
    let numbers = |array: arrow::array::ArrayRef| {
        let rows = vec!["v"; array.len()];
        batch(vec![("id", array), ("metaxy_provenance_by_field", by_field(&["x"], &rows))])
    };
    write(&chain.prod, "r/a", &[numbers(Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3])))], &[])
        .unwrap();
    write(&chain.dev, "r/a", &[numbers(Arc::new(arrow::array::Int32Array::from(vec![2, 9])))], &[]).unwrap();
    assert_eq!(ids(&chain.dev, &ReadRequest::default()), ["1", "2", "3", "9"]);
}

#[test]
fn the_answer_says_which_store_served_it_and_find_says_the_same() {
    let chain = chain("rows");
    let error = failure(read(&chain.dev, "r/a", &ReadRequest::default()));
    assert_eq!(error.status(), Status::NotFound);
    assert!(["[dev]", "[stag]", "[prod]"].iter().all(|name| error.message().contains(name)), "{error}");
    write(&chain.prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    write(&chain.stag, "r/a", &[samples(&[])], &[]).unwrap();
    let found = outcomes(&chain.dev, &ReadRequest::default());
    let expected = [("dev", Outcome::Absent), ("stag", Outcome::NoRows), ("prod", Outcome::Served)];
    assert_eq!(found, expected.map(|(name, outcome)| (name.to_owned(), outcome)).into());
    let call = Call::default();
    let request = ReadRequest::default();
    let find = chain.dev.find("r/a", &request, &call);
    let stores = rows(&[chain.dev.runtime().block_on(find).unwrap()]);
    let prod = stores.iter().find(|row| row["store"] == "prod").unwrap();
    assert_eq!((prod["outcome"].as_str(), prod["table"].as_str()), (Some("served"), Some("r__a")));
    assert_eq!(prod["version"], 1);
    assert_eq!(prod["uri"].as_str(), chain.directory.path().join("prod").to_str());
    let local = ReadRequest { local: true, ..ReadRequest::default() };
    assert_eq!(failure(read(&chain.dev, "r/a", &local)).status(), Status::NotFound);
    assert_eq!(ids(&chain.stag, &local), Vec::<String>::new());
}

#[test]
fn fallbacks_are_asked_in_order_and_a_store_that_two_ways_lead_to_only_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let prod = open(&at("prod"), &[("name", "prod")]);
    let one = open_chain(&at("one"), &[&prod], &[("name", "one")]);
    let two = open_chain(&at("two"), &[&prod], &[("name", "two")]);
    let dev = open_chain(&at("dev"), &[&one, &two], &[("name", "dev"), ("fallback.missing", "merge")]);
    for store in [&dev, &two, &prod] {
        store.define(&root("r/a", &["x"])).unwrap();
    }
    write(&prod, "r/a", &[samples(&["p", "t"])], &[]).unwrap();
    write(&two, "r/a", &[samples(&["t", "u"])], &[]).unwrap();
    assert_eq!(ids(&dev, &ReadRequest::default()), ["p", "t", "u"]);
    let (stream, _) = read_with_schema(&dev, "r/a", &ReadRequest::default()).unwrap();
    let names: Vec<&str> = stream.visits().iter().filter_map(|visit| visit.name.as_deref()).collect();
    assert_eq!(names, ["dev", "one", "prod", "two"]);
}

#[test]
fn a_chain_outlives_the_handles_of_its_stores() {
    let Chain { directory: _directory, dev, stag, prod } = chain("rows");
    write(&prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    stag.close().unwrap();
    drop(stag);
    prod.close().unwrap();
    drop(prod);
    assert_eq!(ids(&dev, &ReadRequest::default()), ["p"]);
}

#[test]
fn a_chain_that_leads_back_is_refused() {
    let chain = chain("rows");
    let at = |name: &str| chain.directory.path().join(name).to_str().unwrap().to_owned();
    for (uri, fallback) in
        [(at("dev"), &chain.dev), (at("prod"), &chain.dev), (format!("file://{}", at("stag")), &chain.dev)]
    {
        let fallback = Fallback::from(fallback.clone());
        let error =
            failure(Store::open_chain(&uri, vec![fallback], &options(&[]), &Call::default()).map(|_| ()));
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
        assert!(error.message().contains("leads back"), "{error}");
    }
    chain.prod.close().unwrap();
    let closed = Fallback::from(chain.prod.clone());
    let error =
        failure(Store::open_chain(&at("new"), vec![closed], &options(&[]), &Call::default()).map(|_| ()));
    assert_eq!(error.status(), Status::InvalidState);
    assert!(!Path::new(&at("new")).exists());
}

#[test]
fn stores_that_hash_in_other_ways_are_no_chain() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Known when it is opened: by an option, or by what was written.
    let prod = open(&at("prod"), &[("name", "prod"), ("hash.algorithm", "sha256")]);
    prod.define(&root("r/a", &["x"])).unwrap();
    write(&prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    let refused = |pairs: &[(&str, &str)], store: &Store| {
        let uri = at("dev").to_str().unwrap().to_owned();
        let chain = vec![Fallback::from(store.clone())];
        failure(Store::open_chain(&uri, chain, &options(pairs), &Call::default()).map(|_| ()))
    };
    let error = refused(&[("name", "dev"), ("hash.algorithm", "md5")], &prod);
    assert_eq!((error.status(), error.detail("option")), (Status::SchemaMismatch, Some("hash.algorithm")));
    for part in ["[dev]", "[prod]", "md5", "sha256"] {
        assert!(error.message().contains(part), "{error}");
    }
    // Known only when a read gets there.
    let unread = open(&at("prod"), &[("name", "prod")]);
    let pairs = [("name", "dev"), ("hash.truncation_length", "16"), ("hash.algorithm", "sha256")];
    let dev = open_chain(&at("dev"), &[&unread], &pairs);
    dev.define(&root("r/a", &["x"])).unwrap();
    let error = failure(read(&dev, "r/a", &ReadRequest::default()));
    assert_eq!(error.detail("option"), Some("hash.truncation_length"), "{error}");
    for part in ["[dev]", "[prod]", "16", "none"] {
        assert!(error.message().contains(part), "{error}");
    }
    // By rows that another table of the store has, without any option.
    let other = open(&at("other"), &[("hash.algorithm", "md5")]);
    other.define(&root("r/b", &["x"])).unwrap();
    write(&other, "r/b", &[samples(&["q"])], &[]).unwrap();
    let other = open_chain(&at("other"), &[&open(&at("prod"), &[])], &[("name", "other")]);
    other.define(&root("r/a", &["x"])).unwrap();
    let error = failure(read(&other, "r/a", &ReadRequest::default()));
    assert!(error.message().contains("md5") && error.message().contains("sha256"), "{error}");
}

#[test]
fn an_empty_store_takes_after_its_chain() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let pairs = [("hash.algorithm", "xxhash32"), ("hash.truncation_length", "8")];
    let prod = open(&at("prod"), &pairs);
    prod.define(&root("r/a", &["x"])).unwrap();
    write(&prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    let stag = open_chain(&at("stag"), &[&open(&at("prod"), &[("mode", "read")])], &[]);
    let dev = open_chain(&at("dev"), &[&stag], &[("fallback.missing", "merge")]);
    dev.define(&root("r/a", &["x"])).unwrap();
    write(&dev, "r/a", &[samples(&["d"])], &[]).unwrap();
    let found = read(&dev, "r/a", &ReadRequest::default()).unwrap();
    let versions = column(&found, "metaxy_feature_version");
    assert!(versions.len() == 2 && versions[0] == versions[1] && versions[0].len() == 8, "{versions:?}");
}

#[test]
fn a_store_that_cannot_be_reached_is_an_error_unless_it_may_be_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let prod = open(&at("prod"), &[("name", "prod")]);
    prod.define(&root("r/a", &["x"])).unwrap();
    write(&prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    let stag = open_chain(&at("stag"), &[&prod], &[("name", "stag")]);
    let open_dev = |pairs: &[(&str, &str)]| {
        let dev = open_chain(&at("dev"), &[&stag, &prod], &[&[("name", "dev")], pairs].concat());
        dev.define(&root("r/a", &["x"])).unwrap();
        dev
    };
    std::fs::remove_dir(at("stag")).unwrap();
    std::fs::write(at("stag"), "no directory").unwrap();
    let error = failure(read(&open_dev(&[]), "r/a", &ReadRequest::default()));
    assert_eq!(error.status(), Status::Io, "{error}");
    assert!(error.message().contains("stag"), "{error}");
    let dev = open_dev(&[("fallback.on_unavailable", "next")]);
    let log = listen(Level::Warn, directory.path().to_str().unwrap());
    assert_eq!(ids(&dev, &ReadRequest::default()), ["p"]);
    assert!(log.heard().iter().any(|line| line.contains("[stag]") && line.contains("passed over")));
    let (stream, _) = read_with_schema(&dev, "r/a", &ReadRequest::default()).unwrap();
    let skipped = stream.visits().iter().find(|visit| visit.outcome == Outcome::Unavailable).unwrap();
    assert!(skipped.problem.as_ref().unwrap().contains("stag"), "{skipped:?}");
    let found = outcomes(&dev, &ReadRequest::default());
    assert_eq!(found.get("stag"), Some(&Outcome::Unavailable));
    assert_eq!(found.get("prod"), Some(&Outcome::Served));
}

#[test]
fn a_fallback_is_opened_when_it_is_needed_and_stays_open() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (prod, opened) = (at("prod"), Arc::new(Mutex::new(0)));
    let count = opened.clone();
    let opener = move || {
        *count.lock().unwrap() += 1;
        Store::open_below(prod.to_str().unwrap(), Vec::new(), &options(&[]), &Call::default())
    };
    let chain = vec![Fallback::lazy(Some("prod"), at("prod").display().to_string(), opener)];
    let dev = Store::open_chain(at("dev").to_str().unwrap(), chain, &options(&[]), &Call::default()).unwrap();
    dev.define(&root("r/a", &["x"])).unwrap();
    assert_eq!(*opened.lock().unwrap(), 0);
    // There is no such directory yet, which is as good as no table; reading does not make it.
    assert_eq!(failure(read(&dev, "r/a", &ReadRequest::default())).status(), Status::NotFound);
    assert!(!at("prod").exists());
    let prod = open(&at("prod"), &[]);
    prod.define(&root("r/a", &["x"])).unwrap();
    write(&prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(ids(&dev, &ReadRequest::default()), ["p"]);
    }
    assert_eq!(*opened.lock().unwrap(), 1);
    write(&dev, "r/a", &[samples(&["d"])], &[]).unwrap();
    assert_eq!(ids(&dev, &ReadRequest::default()), ["d"]);
}

#[test]
fn a_read_opens_one_table_of_each_store() {
    let chain = chain("merge");
    for (store, id) in [(&chain.dev, "d"), (&chain.stag, "s"), (&chain.prod, "p")] {
        write(store, "r/a", &[samples(&[id])], &[]).unwrap();
    }
    let log = listen(Level::Debug, chain.directory.path().to_str().unwrap());
    for _ in 0..2 {
        log.heard();
        assert_eq!(ids(&chain.dev, &ReadRequest::default()), ["d", "p", "s"]);
        let opens: Vec<String> =
            log.heard().into_iter().filter(|message| message.starts_with("opened version")).collect();
        assert_eq!(opens.len(), 3, "{opens:?}");
        assert!(
            ["[dev]", "[stag]", "[prod]"].iter().all(|name| opens.iter().any(|open| open.contains(name)))
        );
    }
}

#[test]
fn a_project_guards_its_store() {
    let directory = tempfile::tempdir().unwrap();
    let ours = open(directory.path(), &[("project", "ours"), ("hash.algorithm", "md5")]);
    let theirs = r#"{"feature_spec": {"key": "r/a", "id_columns": ["id"], "fields": [{"key": "x"}]}, "project": "theirs"}"#;
    ours.define(theirs).unwrap();
    let error = failure(write(&ours, "r/a", &[samples(&["a"])], &[]));
    assert_eq!((error.status(), error.detail("project")), (Status::InvalidState, Some("theirs")));
    assert!(error.message().contains("write.cross_project=allow"), "{error}");
    assert_eq!(failure(read(&ours, "r/a", &ReadRequest::default())).status(), Status::NotFound);
    write(&ours, "r/a", &[samples(&["a"])], &[("write.cross_project", "allow")]).unwrap();
    // Without a project there is no guard.
    let anyone = open(directory.path(), &[]);
    anyone.define(theirs).unwrap();
    write(&anyone, "r/a", &[samples(&["b"])], &[]).unwrap();
    assert_eq!(ids(&ours, &ReadRequest::default()), ["a", "b"]);
}

#[test]
fn what_is_hidden_here_does_not_bring_back_what_a_fallback_hides() {
    let chain = chain("rows");
    write(&chain.prod, "r/a", &[samples(&["p1", "p2"])], &[]).unwrap();
    write(&chain.stag, "r/a", &[samples(&["p1"])], &[]).unwrap();
    assert_eq!(ids(&chain.dev, &ReadRequest::default()), ["p1"]);
    write(&chain.dev, "r/a", &[tombstones(&["p1"])], &[]).unwrap();
    assert_eq!(ids(&chain.dev, &ReadRequest::default()), Vec::<String>::new());
}

#[test]
fn filters_do_not_change_who_serves() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let prod = open(&at("prod"), &[("name", "prod")]);
    let stag = open_chain(&at("stag"), &[&prod], &[("name", "stag")]);
    let other = open(&at("other"), &[("name", "other")]);
    let dev = open_chain(&at("dev"), &[&stag, &other], &[("name", "dev"), ("fallback.missing", "merge")]);
    for store in [&dev, &stag, &prod] {
        store.define(&root("r/a", &["x"])).unwrap();
    }
    write(&prod, "r/a", &[samples(&["x"])], &[]).unwrap();
    write(&stag, "r/a", &[samples(&["y"])], &[]).unwrap();
    let filtered = ReadRequest { filters: vec!["id = 'x'".to_owned()], ..ReadRequest::default() };
    assert_eq!(ids(&dev, &ReadRequest::default()), ["y"]);
    assert_eq!(ids(&dev, &filtered), Vec::<String>::new());
}

#[test]
fn a_store_that_two_ways_lead_to_counts_both_times() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let prod = open(&at("prod"), &[]);
    let last = open(&at("last"), &[]);
    let one = open_chain(&at("one"), &[&prod], &[]);
    let two = open_chain(&at("two"), &[&prod, &last], &[]);
    let dev = open_chain(&at("dev"), &[&one, &two], &[("fallback.missing", "merge")]);
    for store in [&dev, &prod, &last] {
        store.define(&root("r/a", &["x"])).unwrap();
    }
    write(&prod, "r/a", &[samples(&["p"])], &[]).unwrap();
    write(&last, "r/a", &[samples(&["z"])], &[]).unwrap();
    assert_eq!(ids(&dev, &ReadRequest::default()), ["p"]);
}

#[test]
fn an_outdated_table_with_other_columns_does_not_spoil_production() {
    let chain = chain("rows");
    let with = |number: arrow::array::ArrayRef| {
        batch(vec![
            ("id", text(&["a"])),
            ("n", number),
            ("metaxy_provenance_by_field", by_field(&["x"], &["a"])),
        ])
    };
    let older = r#"{"key": "r/a", "id_columns": ["id"], "fields": [{"key": "x", "code_version": "0"}]}"#;
    chain.dev.define(older).unwrap();
    write(&chain.dev, "r/a", &[with(text(&["many"]))], &[]).unwrap();
    chain.dev.define(&root("r/a", &["x"])).unwrap();
    write(&chain.prod, "r/a", &[with(Arc::new(arrow::array::Int64Array::from(vec![7])))], &[]).unwrap();
    let found = rows(&read(&chain.dev, "r/a", &ReadRequest::default()).unwrap());
    assert_eq!(found[0]["n"], 7);
    for sample_history in [false, true] {
        let filters = vec!["n >= 7".to_owned()];
        let request = ReadRequest { filters, sample_history, ..ReadRequest::default() };
        assert_eq!(ids(&chain.dev, &request), ["a"]);
    }
    // A column that only the table without rows has is null.
    let request = ReadRequest { filters: vec!["n = 'x'".to_owned()], ..ReadRequest::default() };
    assert_eq!(failure(read(&chain.dev, "r/a", &request)).status(), Status::InvalidArgument);
}

#[test]
fn rows_count_also_where_nothing_that_is_asked_for_is_theirs() {
    let chain = chain("merge");
    let wide = batch(vec![
        ("id", text(&["d"])),
        ("extra", text(&["x"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["d"])),
    ]);
    write(&chain.dev, "r/a", &[wide], &[]).unwrap();
    write(&chain.prod, "r/a", &[samples(&["p", "d"])], &[]).unwrap();
    let request = ReadRequest { columns: Some(vec!["extra".to_owned()]), ..ReadRequest::default() };
    assert_eq!(column(&read(&chain.dev, "r/a", &request).unwrap(), "extra"), ["null", "x"]);
}

#[test]
fn a_history_is_deleted_in_every_store_of_the_chain() {
    let chain = chain("rows");
    let call = Call::default();
    let older = r#"{"key": "r/a", "id_columns": ["id"], "fields": [{"key": "x", "code_version": "0"}]}"#;
    chain.dev.define(older).unwrap();
    write(&chain.dev, "r/a", &[samples(&["a"])], &[]).unwrap();
    chain.dev.define(&root("r/a", &["x"])).unwrap();
    write(&chain.prod, "r/a", &[samples(&["a", "b"])], &[]).unwrap();
    assert_eq!(ids(&chain.dev, &ReadRequest::default()), ["a", "b"]);
    let filters = vec!["id = 'a'".to_owned()];
    let request = ReadRequest { filters, feature_history: true, ..ReadRequest::default() };
    let options = options(&[]);
    let delete = chain.dev.delete("r/a", &request, &options, &call);
    assert_eq!(chain.dev.runtime().block_on(delete).unwrap(), 2);
    assert_eq!(ids(&chain.dev, &ReadRequest::default()), ["b"]);
}

#[test]
fn nothing_is_concluded_from_a_store_that_was_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let stag = open(&at("stag"), &[]);
    let dev = open_chain(
        &at("dev"),
        &[&stag],
        &[("fallback.on_unavailable", "next"), ("hash.algorithm", "md5"), ("hash.truncation_length", "none")],
    );
    dev.define(&root("r/a", &["x"])).unwrap();
    std::fs::remove_dir(at("stag")).unwrap();
    std::fs::write(at("stag"), "no directory").unwrap();
    assert_eq!(failure(read(&dev, "r/a", &ReadRequest::default())).status(), Status::Unavailable);
    // How the chain hashes is not guessed.
    let unset = open_chain(&at("dev"), &[&stag], &[("fallback.on_unavailable", "next")]);
    unset.define(&root("r/a", &["x"])).unwrap();
    let error = failure(write(&unset, "r/a", &[samples(&["a"])], &[]));
    assert!(error.status() == Status::Unavailable && error.message().contains("hash.algorithm"), "{error}");
    write(&dev, "r/a", &[samples(&["a"])], &[("write.duplicates", "error")]).unwrap();
    let options = options(&[("delete.all", "true")]);
    let dev = open_chain(
        &at("dev"),
        &[&stag],
        &[("fallback.on_unavailable", "next"), ("fallback.missing", "merge")],
    );
    dev.define(&root("r/a", &["x"])).unwrap();
    let (request, call) = (ReadRequest::default(), Call::default());
    let delete = dev.delete("r/a", &request, &options, &call);
    assert_eq!(failure(dev.runtime().block_on(delete)).status(), Status::Unavailable);
    assert_eq!(ids(&dev, &ReadRequest::default()), ["a"]);
}

#[test]
fn a_disagreement_names_the_stores_that_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let written = |name: &str, algorithm: &str| {
        let store = open(&at(name), &[("name", name), ("hash.algorithm", algorithm)]);
        store.define(&root("r/b", &["x"])).unwrap();
        write(&store, "r/b", &[samples(&["q"])], &[]).unwrap();
        open(&at(name), &[("name", name)])
    };
    let (one, two) = (written("one", "md5"), written("two", "sha256"));
    let dev = open_chain(&at("dev"), &[&one, &two], &[("name", "dev")]);
    dev.define(&root("r/a", &["x"])).unwrap();
    let error = failure(read(&dev, "r/a", &ReadRequest::default()));
    for part in ["[one]", "md5", "[two]", "sha256"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(!error.message().contains("[dev]"), "{error}");
    // What is known when the chain is opened is compared then, siblings too.
    let fallbacks = vec![Fallback::from(one), Fallback::from(two)];
    let opened = Store::open_chain(at("new").to_str().unwrap(), fallbacks, &options(&[]), &Call::default());
    assert!(failure(opened.map(|_| ())).message().contains("md5"));
}

#[test]
fn deleting_everything_leaves_nothing_to_come_up_from_below() {
    let chain = chain("rows");
    write(&chain.prod, "r/a", &[samples(&["a", "b"])], &[]).unwrap();
    write(&chain.dev, "r/a", &[samples(&["a"])], &[]).unwrap();
    let (request, options, call) =
        (ReadRequest::default(), options(&[("delete.all", "true")]), Call::default());
    let delete = chain.dev.delete("r/a", &request, &options, &call);
    assert_eq!(chain.dev.runtime().block_on(delete).unwrap(), 2);
    assert_eq!(ids(&chain.dev, &ReadRequest::default()), Vec::<String>::new());
    assert_eq!(ids(&chain.prod, &ReadRequest::default()), ["a", "b"]);
}

#[test]
fn filters_do_not_change_who_serves_where_two_ways_lead_to_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (shared, last) = (open(&at("shared"), &[]), open(&at("last"), &[]));
    let way = open_chain(&at("way"), &[&shared, &last], &[]);
    let dev = open_chain(&at("dev"), &[&shared, &way], &[("fallback.missing", "merge")]);
    for store in [&dev, &shared, &last] {
        store.define(&root("r/a", &["x"])).unwrap();
    }
    write(&shared, "r/a", &[samples(&["x"])], &[]).unwrap();
    write(&last, "r/a", &[samples(&["c"])], &[]).unwrap();
    let filtered = ReadRequest { filters: vec!["id = 'c'".to_owned()], ..ReadRequest::default() };
    assert_eq!(ids(&dev, &ReadRequest::default()), ["x"]);
    assert_eq!(ids(&dev, &filtered), Vec::<String>::new());
}
