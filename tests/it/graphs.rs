//! Definitions that are pushed and loaded, and graphs to look at.

use std::path::Path;

use arrow::array::RecordBatch;
use metaxy::log::Level;
use metaxy::store::context::Call;
use metaxy::store::{Pushes, ReadRequest, Snapshot, Store};
use metaxy::{Result, Status};
use serde_json::{Value, json};

use crate::support::{
    column, copy, failure, golden, golden_json, listen, open, options, read, root, rows, samples, write,
};

const PUSHED: &str = "metaxy-system/feature_versions";
const HASHING: [(&str, &str); 2] = [("hash.algorithm", "xxhash32"), ("hash.truncation_length", "8")];

fn push(store: &Store, tags: Option<&str>) -> Result<RecordBatch> {
    store.runtime().block_on(store.push(None, tags, &Call::default()))
}

fn load(store: &Store, pushes: &Pushes) -> Result<RecordBatch> {
    store.runtime().block_on(store.load(pushes, &Call::default()))
}

fn features(store: &Store) -> Vec<Value> {
    rows(&[store.runtime().block_on(store.features(&Call::default())).unwrap()])
}

fn graph(store: &Store) -> Snapshot {
    store.runtime().block_on(store.snapshot(&Call::default())).unwrap()
}

fn pushed_rows(store: &Store) -> Vec<Value> {
    rows(&read(store, PUSHED, &ReadRequest::default()).unwrap())
}

fn of(rows: &[Value], feature: &str) -> Value {
    rows.iter().find(|row| row["feature"] == feature).unwrap_or_else(|| panic!("{feature}: {rows:?}")).clone()
}

fn version(store: &Store, feature: &str) -> String {
    of(&features(store), feature)["feature_version"].as_str().unwrap().to_owned()
}

fn by_project(name: &str) -> Pushes {
    Pushes { project: Some(name.to_owned()), ..Pushes::default() }
}

fn in_project<'a>(path: &'a Path, project: &'a str) -> Store {
    open(path, &[("project", project), HASHING[0], HASHING[1]])
}

const VIDEO: &str =
    r#"{"key": "video", "id_columns": ["id"], "fields": [{"key": "x", "code_version": "1"}]}"#;
const CROP: &str = r#"{"key": "crop", "id_columns": ["id"], "deps": ["video"], "fields": ["x"]}"#;

#[test]
fn what_python_pushed_is_loaded_as_it_is_now_and_as_it_was() {
    let expected = golden_json("stores/basic.expected.json");
    let store = open(&golden("stores/basic"), &[("mode", "read")]);
    let loaded = rows(&[load(&store, &Pushes::default()).unwrap()]);
    for (feature, versions) in expected["feature_versions"]["v2"].as_object().unwrap() {
        let row = of(&loaded, feature);
        assert_eq!(row["feature_version"], *versions, "{feature}");
        assert_eq!((&row["project"], &row["problem"]), (&json!("golden"), &Value::Null));
        assert!(row["store"].as_str().unwrap().ends_with("stores/basic"));
    }
    assert_eq!(of(&features(&store), "example/video")["project_version"], expected["project_version"]["v2"]);

    let pushes = Pushes {
        project_version: Some(expected["project_version"]["v1"].as_str().unwrap().to_owned()),
        ..by_project("golden")
    };
    load(&store, &pushes).unwrap();
    for (feature, versions) in expected["feature_versions"]["v1"].as_object().unwrap() {
        assert_eq!(version(&store, feature), *versions, "{feature}");
    }
    // Everything that depends on the one field that differs.
    let newest = store.runtime().block_on(store.pushed(&Pushes::default(), &Call::default())).unwrap();
    let found = rows(&[newest.difference(&graph(&store)).unwrap()]);
    let video = of(&found, "example/video");
    assert_eq!(
        video["changes"],
        json!([{"what": "code_version", "subject": "audio", "before": "\"1\"", "after": "\"2\""}])
    );
    assert_eq!(of(&found, "example/joined")["because"], json!(["example/video"]));
    assert_eq!(found.len(), 3);
}

#[test]
fn we_write_the_rows_that_python_writes() {
    let expected = golden_json("stores/basic.expected.json");
    let directory = tempfile::tempdir().unwrap();
    let ours = open(directory.path(), &[("project", "golden"), HASHING[0], HASHING[1]]);
    for (graph, tags) in [("v1", Some(r#"{"git": "abc"}"#)), ("v2", None)] {
        let pushes = Pushes {
            project_version: Some(expected["project_version"][graph].as_str().unwrap().to_owned()),
            ..Pushes::default()
        };
        let theirs = open(&golden("stores/basic"), &[("mode", "read")]);
        let snapshot = theirs.runtime().block_on(theirs.pushed(&pushes, &Call::default())).unwrap();
        ours.define(&snapshot.to_json()).unwrap();
        let report = rows(&[push(&ours, tags).unwrap()]);
        assert!(report.iter().all(|row| row["pushed"] == json!(true)));
        let again = rows(&[push(&ours, Some(r#"{"other": "tag"}"#)).unwrap()]);
        assert!(again.iter().all(|row| row["pushed"] == json!(false)));
    }
    let without_times = |rows: Vec<Value>| {
        let rows = rows.into_iter().map(|mut row| {
            row.as_object_mut().unwrap().remove("recorded_at");
            // The members of a row are compared by name, the texts in them by the letter.
            serde_json::to_value(
                row.as_object().unwrap().iter().collect::<std::collections::BTreeMap<_, _>>(),
            )
            .unwrap()
        });
        crate::support::sorted(rows.collect())
    };
    let recorded = expected["system_feature_versions"].as_array().unwrap().clone();
    assert_eq!(without_times(pushed_rows(&ours)), without_times(recorded));
    let schema = &expected["tables"]["metaxy_system__feature_versions"]["schema"];
    let batches = read(&ours, PUSHED, &ReadRequest::default()).unwrap();
    let names: Vec<_> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, schema.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
}

#[test]
fn a_change_pushes_the_project_anew_and_the_newest_counts() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_project(directory.path(), "p");
    store.define(&format!("[{VIDEO}, {CROP}]")).unwrap();
    let first = rows(&[push(&store, None).unwrap()]);
    let (video, crop) = (version(&store, "video"), version(&store, "crop"));
    store.define(&VIDEO.replace('1', "2")).unwrap();
    assert_ne!(version(&store, "crop"), crop);
    push(&store, None).unwrap();
    assert_eq!(pushed_rows(&store).len(), 4);

    let other = open(directory.path(), &[]);
    load(&other, &Pushes::default()).unwrap();
    assert_eq!(version(&other, "crop"), version(&store, "crop"));
    let old = Pushes {
        project_version: first[0]["project_version"].as_str().map(str::to_owned),
        ..Pushes::default()
    };
    load(&other, &old).unwrap();
    assert_eq!((version(&other, "video"), version(&other, "crop")), (video, crop));
    // Back to what was: everything is pushed again, and counts again.
    store.define(VIDEO).unwrap();
    push(&store, None).unwrap();
    assert_eq!(pushed_rows(&store).len(), 6);
    load(&other, &Pushes::default()).unwrap();
    assert_eq!(version(&other, "crop"), version(&store, "crop"));
    let times = column(&read(&store, PUSHED, &ReadRequest::default()).unwrap(), "recorded_at");
    assert_eq!(times.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
}

#[test]
fn pushes_that_meet_leave_equal_definitions() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = in_project(directory.path(), "p");
                store.define(&format!("[{VIDEO}, {CROP}]")).unwrap();
                push(&store, None).unwrap();
            });
        }
    });
    let store = open(directory.path(), &[]);
    let all = pushed_rows(&store);
    assert!(all.len() >= 2 && all.len() % 2 == 0, "a push is there whole: {}", all.len());
    assert_eq!(load(&store, &Pushes::default()).unwrap().num_rows(), 2);
    let again = in_project(directory.path(), "p");
    again.define(&format!("[{VIDEO}, {CROP}]")).unwrap();
    assert!(rows(&[push(&again, None).unwrap()]).iter().all(|row| row["pushed"] == json!(false)));
}

#[test]
fn a_store_that_began_with_a_push_hashes_as_that_did() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(
        directory.path(),
        &[("project", "p"), ("hash.algorithm", "sha256"), ("hash.truncation_length", "12")],
    );
    first.define(&root("video", &["x"])).unwrap();
    push(&first, None).unwrap();
    let second = open(directory.path(), &[]);
    load(&second, &Pushes::default()).unwrap();
    assert_eq!(version(&second, "video").len(), 12);
    write(&second, "video", &[samples(&["a"])], &[]).unwrap();
    let stored = column(&read(&second, "video", &ReadRequest::default()).unwrap(), "metaxy_provenance");
    assert!(stored[0].len() == 12 && stored[0].chars().all(|c| c.is_ascii_hexdigit()), "{stored:?}");
}

#[test]
fn what_belongs_to_others_comes_with_what_depends_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = in_project(directory.path(), "theirs");
    theirs.define(VIDEO).unwrap();
    theirs.define(&root("unrelated", &["x"])).unwrap();
    push(&theirs, None).unwrap();
    let ours = in_project(directory.path(), "ours");
    // What is said of the other's feature is out of date.
    let placeholder = VIDEO.replace('1', "old");
    ours.define(&format!(
        r#"[{{"feature_spec": {placeholder}, "project": "theirs", "external": true}}, {CROP}]"#
    ))
    .unwrap();
    push(&ours, None).unwrap();
    let crop = version(&ours, "crop");

    let worker = open(directory.path(), &[]);
    let loaded = rows(&[load(&worker, &by_project("ours")).unwrap()]);
    assert_eq!(loaded.len(), 2);
    assert_eq!(of(&loaded, "video")["project"], "theirs");
    assert_eq!(version(&worker, "crop"), crop);
    // One feature by its name, with what it depends on; what is defined already stays.
    let worker = open(directory.path(), &[]);
    worker.define(&VIDEO.replace('1', "mine")).unwrap();
    let one = Pushes { features: vec!["crop".into()], ..Pushes::default() };
    assert_eq!(load(&worker, &one).unwrap().num_rows(), 1);
    assert_ne!(version(&worker, "crop"), crop);
    load(&worker, &Pushes { features: vec!["video".into()], ..Pushes::default() }).unwrap();
    assert_eq!(version(&worker, "crop"), crop);
}

#[test]
fn a_version_of_a_project_has_what_others_had_at_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = in_project(directory.path(), "theirs");
    theirs.define(VIDEO).unwrap();
    push(&theirs, None).unwrap();
    let ours = in_project(directory.path(), "ours");
    load(&ours, &by_project("theirs")).unwrap();
    ours.define(CROP).unwrap();
    let pushed = rows(&[push(&ours, None).unwrap()]);
    assert_eq!(pushed.len(), 1, "the features of others are not pushed again");
    let crop = version(&ours, "crop");
    theirs.define(&VIDEO.replace('1', "2")).unwrap();
    push(&theirs, None).unwrap();

    let worker = open(directory.path(), &[]);
    load(&worker, &Pushes::default()).unwrap();
    assert_ne!(version(&worker, "crop"), crop);
    let then = Pushes {
        project_version: pushed[0]["project_version"].as_str().map(str::to_owned),
        ..Pushes::default()
    };
    load(&worker, &then).unwrap();
    // `video` is defined already, and others only depend on it.
    assert_ne!(version(&worker, "crop"), crop);
    let worker = open(directory.path(), &[]);
    load(&worker, &then).unwrap();
    assert_eq!(version(&worker, "crop"), crop);
}

#[test]
fn an_external_feature_gives_way_once_to_what_was_pushed() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = in_project(directory.path(), "theirs");
    theirs.define(VIDEO).unwrap();
    push(&theirs, None).unwrap();
    let ours = in_project(directory.path(), "ours");
    let external = format!(
        r#"[{{"feature_spec": {}, "project": "theirs", "external": true}},
            {{"feature_spec": {{"key": "nobodys", "id_columns": ["id"]}}, "project": "z", "external": true}}, {CROP}]"#,
        VIDEO.replace('1', "old")
    );
    ours.define(&external).unwrap();
    let placeholder = version(&ours, "crop");
    let listener = listen(Level::Warn, "the external feature");
    write(&ours, "crop", &[samples(&["a"])], &[]).unwrap();
    let heard = listener.heard();
    assert!(
        heard.len() == 2 && heard.iter().any(|said| said.contains("nobodys was not pushed")),
        "{heard:?}"
    );
    assert!(heard.iter().any(|said| said.contains("video was defined with the version")), "{heard:?}");
    assert_ne!(version(&ours, "crop"), placeholder);
    let stored = column(&read(&ours, "crop", &ReadRequest::default()).unwrap(), "metaxy_feature_version");
    assert_eq!(stored, [version(&ours, "crop")]);
    // It stays another's: the project of a write can be told, and it is not pushed.
    assert_eq!(of(&features(&ours), "video")["external"], true);
    assert_eq!(push(&ours, None).unwrap().num_rows(), 1);
    // Once for as long as the store is open.
    theirs.define(&VIDEO.replace('1', "3")).unwrap();
    push(&theirs, None).unwrap();
    assert_eq!(read(&ours, "crop", &ReadRequest::default()).unwrap()[0].num_rows(), 1);
    assert!(listener.heard().is_empty());
}

#[test]
fn each_definition_comes_from_the_first_store_of_the_chain_that_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let (prod_path, dev_path) = (directory.path().join("prod"), directory.path().join("dev"));
    let prod = in_project(&prod_path, "p");
    prod.define(&format!("[{VIDEO}, {CROP}]")).unwrap();
    push(&prod, None).unwrap();
    let chain = |pairs: &[(&str, &str)]| {
        let below = Store::open_below(
            prod_path.to_str().unwrap(),
            Vec::new(),
            &options(&[("name", "prod")]),
            &Call::default(),
        );
        Store::open_chain(
            dev_path.to_str().unwrap(),
            vec![below.unwrap().into()],
            &options(pairs),
            &Call::default(),
        )
        .unwrap()
    };
    let dev = chain(&[("name", "dev"), ("project", "p")]);
    dev.define(&VIDEO.replace('1', "dev")).unwrap();
    push(&dev, None).unwrap();
    let served = |store: &Store| {
        let loaded = rows(&[load(store, &Pushes::default()).unwrap()]);
        let name = |row: &Value| row["store"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        loaded
            .iter()
            .map(|row| format!("{} {}", row["feature"].as_str().unwrap(), name(row)))
            .collect::<Vec<_>>()
    };
    let dev = chain(&[("name", "dev")]);
    assert_eq!(served(&dev), ["crop [prod]", "video [dev]"]);
    assert_ne!(version(&dev, "crop"), version(&prod, "crop"));
    let as_python = chain(&[("name", "dev"), ("fallback.missing", "table")]);
    assert_eq!(served(&as_python), ["video [dev]"]);
    let version_of_prod = features(&prod)[0]["project_version"].as_str().unwrap().to_owned();
    let whole = Pushes { project_version: Some(version_of_prod), ..Pushes::default() };
    let fresh = chain(&[("name", "dev")]);
    load(&fresh, &whole).unwrap();
    assert_eq!(version(&fresh, "crop"), version(&prod, "crop"));
}

#[test]
fn what_cannot_be_pushed_or_loaded_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_project(directory.path(), "ours");
    store.define(CROP).unwrap();
    let error = failure(push(&store, None));
    assert_eq!(error.status(), Status::NotFound);
    assert!(error.message().contains("`crop` depends on `video`, which is not defined"), "{error}");
    assert!(error.message().contains("or load it from where its project has pushed it"), "{error}");

    let nobody = open(directory.path(), &HASHING);
    nobody.define(VIDEO).unwrap();
    assert!(failure(push(&nobody, None)).message().contains("belong to no project"));
    let other = in_project(directory.path(), "other");
    let error = failure(push(&other, None));
    assert!(error.message().contains("no feature of the project other is defined"), "{error}");
    let reader = open(directory.path(), &[("mode", "read")]);
    assert_eq!(failure(push(&reader, None)).status(), Status::InvalidState);

    // Nothing there is no error, unless something is asked for.
    assert_eq!(load(&store, &Pushes::default()).unwrap().num_rows(), 0);
    store.define(VIDEO).unwrap();
    push(&store, None).unwrap();
    for (pushes, says) in [
        (by_project("our"), "did you mean `ours`?"),
        (Pushes { features: vec!["vide".into()], ..Pushes::default() }, "did you mean `video`?"),
        (Pushes { features: vec!["a__b".into()], ..Pushes::default() }, "two underscores"),
        (
            Pushes { project_version: Some("0".into()), ..by_project("ours") },
            "the project version 0 of the project ours",
        ),
    ] {
        let error = failure(load(&store, &pushes));
        assert!(error.message().contains(says), "{error}");
    }
}

#[test]
fn a_feature_whose_upstream_nobody_pushed_is_loaded_with_its_problem() {
    let directory = tempfile::tempdir().unwrap();
    let ours = in_project(directory.path(), "ours");
    ours.define(&format!(r#"[{{"feature_spec": {VIDEO}, "project": "theirs", "external": true}}, {CROP}]"#))
        .unwrap();
    push(&ours, None).unwrap();
    let worker = open(directory.path(), &[]);
    let loaded = rows(&[load(&worker, &Pushes::default()).unwrap()]);
    assert_eq!(loaded[0]["feature_version"], Value::Null);
    assert!(
        loaded[0]["problem"].as_str().unwrap().contains("`crop` depends on `video`, which is not defined")
    );
    let error = failure(read(&worker, "crop", &ReadRequest::default()));
    assert!(error.message().contains("`crop`") || error.detail("feature") == Some("crop"), "{error}");
}

#[test]
fn definitions_of_two_stores_that_make_a_cycle_are_not_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    for (path, project, own, other) in [(&one, "p", "a", "b"), (&two, "q", "b", "a")] {
        let store = in_project(path, project);
        let external = json!({
            "feature_spec": {"key": other, "id_columns": ["id"]}, "project": "else", "external": true,
        });
        let spec = json!({"key": own, "id_columns": ["id"], "deps": [other]});
        store.define(&json!([external, spec]).to_string()).unwrap();
        push(&store, None).unwrap();
    }
    let below =
        Store::open_below(two.to_str().unwrap(), Vec::new(), &options(&[]), &Call::default()).unwrap();
    let chain = Store::open_chain(one.to_str().unwrap(), vec![below.into()], &options(&[]), &Call::default())
        .unwrap();
    let error = failure(load(&chain, &Pushes { features: vec!["a".into()], ..Pushes::default() }));
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.message().contains("a -> b -> a is a cycle"), "{error}");
    assert!(features(&chain).is_empty(), "all of them are defined, or none");
    let loaded = rows(&[load(&chain, &Pushes::default()).unwrap()]);
    assert!(of(&loaded, "a")["problem"].as_str().unwrap().contains("a -> b -> a is a cycle"));
    assert_eq!(features(&chain).len(), 1);
}

const AUDIO: &str = r#"{"key": "video", "id_columns": ["id"], "fields": ["audio", "frames"]}"#;
const FRAMES: &str = r#"{"key": "video", "id_columns": ["id"], "fields": ["frames"]}"#;
const OLD: &str = r#"{"key": "old", "id_columns": ["id"], "deps": ["video"],
    "fields": [{"key": "x", "deps": [{"feature": "video", "fields": ["audio"]}]}]}"#;

fn external(spec: &str) -> String {
    format!(r#"{{"feature_spec": {spec}, "project": "theirs", "external": true}}"#)
}

#[test]
fn an_external_that_does_not_fit_disturbs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = in_project(directory.path(), "theirs");
    theirs.define(FRAMES).unwrap();
    push(&theirs, None).unwrap();
    let ours = in_project(directory.path(), "ours");
    ours.define(&format!("[{}, {OLD}, {}]", external(AUDIO), root("mine", &["x"]))).unwrap();
    let listener = listen(Level::Warn, "does not fit what is defined");
    assert_eq!(pushed_rows(&ours).len(), 1);
    assert!(listener.heard().is_empty(), "a table of Metaxy needs no definitions");
    write(&ours, "mine", &[samples(&["a"])], &[]).unwrap();
    let heard = listener.heard();
    assert!(heard.len() == 1 && heard[0].contains("`old`") && heard[0].contains("video"), "{heard:?}");
    assert_eq!(read(&ours, "mine", &ReadRequest::default()).unwrap()[0].num_rows(), 1);
    push(&ours, None).unwrap();
    assert!(listener.heard().is_empty(), "it is looked for once");
}

#[test]
fn an_external_that_is_defined_again_gives_way_again() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = in_project(directory.path(), "theirs");
    theirs.define(VIDEO).unwrap();
    push(&theirs, None).unwrap();
    let ours = in_project(directory.path(), "ours");
    let placeholder = external(&VIDEO.replace('1', "old"));
    ours.define(&format!("[{placeholder}, {CROP}]")).unwrap();
    write(&ours, "crop", &[samples(&["a"])], &[]).unwrap();
    let written = version(&ours, "crop");
    // What was found counts, not what has been pushed since.
    theirs.define(&VIDEO.replace('1', "3")).unwrap();
    push(&theirs, None).unwrap();
    ours.define(&placeholder).unwrap();
    assert_ne!(version(&ours, "crop"), written);
    write(&ours, "crop", &[samples(&["b"])], &[]).unwrap();
    assert_eq!(version(&ours, "crop"), written);
    let stored = column(&read(&ours, "crop", &ReadRequest::default()).unwrap(), "metaxy_feature_version");
    assert_eq!(stored, [written.clone(), written]);
    // One's own definition stays.
    ours.define(&format!(r#"{{"feature_spec": {VIDEO}, "project": "ours"}}"#)).unwrap();
    push(&ours, None).unwrap();
    assert_eq!(of(&features(&ours), "video")["external"], false);
}

#[test]
fn a_store_that_was_passed_over_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let (prod_path, dev_path) = (directory.path().join("prod"), directory.path().join("dev"));
    let theirs = in_project(&prod_path, "theirs");
    theirs.define(VIDEO).unwrap();
    push(&theirs, None).unwrap();
    let below = Store::open_below(
        prod_path.to_str().unwrap(),
        Vec::new(),
        &options(&[("name", "prod"), ("mode", "read")]),
        &Call::default(),
    );
    let ours = Store::open_chain(
        dev_path.to_str().unwrap(),
        vec![below.unwrap().into()],
        &options(&[("project", "ours"), ("fallback.on_unavailable", "next"), HASHING[0], HASHING[1]]),
        &Call::default(),
    )
    .unwrap();
    ours.define(&format!("[{}, {CROP}]", external(&VIDEO.replace('1', "old")))).unwrap();
    let placeholder = version(&ours, "crop");
    // A version file that is none.
    let versions = prod_path.join("metaxy_system__feature_versions.lance/_versions");
    let away = prod_path.join("away");
    std::fs::rename(&versions, &away).unwrap();
    std::fs::write(&versions, "").unwrap();
    let listener = listen(Level::Warn, "");
    // Nobody has written rows of it: what matters is who was asked for definitions.
    assert_eq!(failure(read(&ours, "crop", &ReadRequest::default())).status(), Status::NotFound);
    let heard = listener.heard();
    assert!(heard.iter().any(|said| said.contains("cannot be asked for definitions")), "{heard:?}");
    assert!(!heard.iter().any(|said| said.contains("was not pushed")), "{heard:?}");
    assert_eq!(version(&ours, "crop"), placeholder);
    std::fs::remove_file(&versions).unwrap();
    std::fs::rename(&away, &versions).unwrap();
    assert_eq!(failure(read(&ours, "crop", &ReadRequest::default())).status(), Status::NotFound);
    assert_ne!(version(&ours, "crop"), placeholder);
}

#[test]
fn a_broken_feature_is_left_out_of_what_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_project(directory.path(), "p");
    store.define(&format!("[{AUDIO}, {OLD}]")).unwrap();
    push(&store, None).unwrap();
    let store = in_project(directory.path(), "p");
    store.define(FRAMES).unwrap();
    push(&store, None).unwrap();

    let worker = open(directory.path(), &[]);
    let loaded = rows(&[load(&worker, &Pushes::default()).unwrap()]);
    assert!(of(&loaded, "old")["problem"].as_str().unwrap().contains("`old`"), "{loaded:?}");
    assert_eq!(of(&loaded, "video")["problem"], Value::Null);
    assert_eq!(features(&worker).len(), 1);
    let pushed = worker.runtime().block_on(worker.pushed(&Pushes::default(), &Call::default())).unwrap();
    assert_eq!(pushed.features().unwrap().num_rows(), 1);
    let by_name = Pushes { features: vec!["old".into()], ..Pushes::default() };
    assert_eq!(failure(load(&worker, &by_name)).detail("feature"), Some("old"));
    assert_eq!(load(&worker, &by_project("p")).unwrap().num_rows(), 1, "it was given up");
}

#[test]
fn a_definition_that_contradicts_ones_own_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = in_project(directory.path(), "p");
    store.define(&format!("[{FRAMES}, {}]", root("other", &["x"]))).unwrap();
    push(&store, None).unwrap();
    let worker = open(directory.path(), &[]);
    worker.define(OLD).unwrap();
    let loaded = rows(&[load(&worker, &by_project("p")).unwrap()]);
    assert!(of(&loaded, "video")["problem"].as_str().unwrap().contains("`old`"), "{loaded:?}");
    assert_eq!(of(&loaded, "other")["problem"], Value::Null);
    assert!(load(&worker, &Pushes { features: vec!["video".into()], ..Pushes::default() }).is_err());
}

#[test]
fn what_another_project_has_pushed_since_is_pushed_over() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (in_project(directory.path(), "one"), in_project(directory.path(), "two"));
    one.define(&format!("[{VIDEO}, {CROP}]")).unwrap();
    two.define(&VIDEO.replace('1', "2")).unwrap();
    push(&one, None).unwrap();
    push(&two, None).unwrap();
    let again = rows(&[push(&one, None).unwrap()]);
    assert_eq!(
        (&of(&again, "video")["pushed"], &of(&again, "crop")["pushed"]),
        (&json!(true), &json!(false))
    );
    let worker = open(directory.path(), &[]);
    load(&worker, &Pushes::default()).unwrap();
    assert_eq!(version(&worker, "video"), version(&one, "video"));
    assert!(rows(&[push(&one, None).unwrap()]).iter().all(|row| row["pushed"] == json!(false)));
}

#[test]
fn nothing_of_a_damaged_table_is_taken_for_definitions() {
    let directory = tempfile::tempdir().unwrap();
    copy(
        &golden("stores/basic/example__video.lance"),
        &directory.path().join("metaxy_system__feature_versions.lance"),
    );
    let store = open(directory.path(), &[("mode", "read")]);
    let error = failure(load(&store, &Pushes::default()));
    assert_eq!(error.status(), Status::SchemaMismatch);
    assert_eq!(error.detail("column"), Some("feature_key"));
}

#[test]
fn a_graph_tells_its_features_and_dependencies() {
    let definitions = json!([
        {"key": "report", "id_columns": ["id"], "deps": [
            {"feature": "crop", "select": ["size"], "rename": {"n": "size"}, "filters": ["size > 1"],
             "lineage": {"relationship": {"type": "N:1", "on": ["id"]}}},
            {"feature": "gone", "optional": true}]},
        serde_json::from_str::<Value>(CROP).unwrap(),
        {"feature_spec": serde_json::from_str::<Value>(VIDEO).unwrap(), "feature_schema": {"title": "Video"},
         "feature_class_path": "m.Video"},
    ]);
    let snapshot =
        Snapshot::from_json(&definitions.to_string(), &options(&[("project", "p"), HASHING[1]])).unwrap();
    let batch = snapshot.features().unwrap();
    let order: Vec<_> = (0..3).map(|row| rows(&[batch.slice(row, 1)]).remove(0)).collect();
    let names: Vec<_> = order.iter().map(|row| row["feature"].as_str().unwrap()).collect();
    assert_eq!(names, ["video", "crop", "report"]);
    assert_eq!(order[0]["schema"], r#"{"title": "Video"}"#);
    assert_eq!((&order[0]["class_path"], &order[1]["project"]), (&json!("m.Video"), &json!("p")));
    assert_eq!(order[1]["depends_on"], json!(["video"]));
    assert_eq!(order[1]["feature_version"].as_str().unwrap().len(), 8);
    assert_eq!(order[2]["feature_version"], Value::Null);

    let dependencies = rows(&[snapshot.dependencies().unwrap()]);
    assert_eq!(dependencies.len(), 3);
    let crop = of(&dependencies, "crop");
    assert_eq!(crop["fields"], json!([{"field": "x", "from": "x"}]));
    assert_eq!((&crop["lineage"], &crop["select"], &crop["on"]), (&json!("1:1"), &Value::Null, &Value::Null));
    let report =
        dependencies.iter().find(|row| row["depends_on"] == "crop" && row["feature"] == "report").unwrap();
    assert_eq!(
        (&report["lineage"], &report["on"], &report["select"], &report["filters"]),
        (&json!("N:1"), &json!(["id"]), &json!(["size"]), &json!(["size > 1"]))
    );
    assert_eq!((&report["rename"], &report["fields"]), (&json!([{"from": "n", "to": "size"}]), &Value::Null));
    let gone = dependencies.iter().find(|row| row["depends_on"] == "gone").unwrap();
    assert_eq!((&gone["defined"], &gone["optional"]), (&json!(false), &json!(true)));

    let again = Snapshot::from_json(&snapshot.to_json(), &options(&[HASHING[1]])).unwrap();
    assert_eq!(rows(&[again.features().unwrap()]), rows(&[batch]));
    assert!(snapshot.render("mermaid", None).unwrap().contains("n0 --> n1"));
    assert!(snapshot.render("dot", None).unwrap().contains(r#""gone" -> "report" [style=dashed"#));
    let error = failure(snapshot.render("svg", None));
    assert!(error.message().contains("mermaid or dot"), "{error}");
    let error = failure(snapshot.difference(&again));
    assert!(error.message().contains("`report` depends on `gone`"), "{error}");
}
