//! What is in a store: one feature, all of them, one of them in depth.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use metaxy::store::context::{Call, Context};
use metaxy::store::{ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::{Value, json};

use crate::support::{
    batch, copy, failure, golden, golden_json, open, options, read, root, rows, samples, text, write,
};

fn has(store: &Store, feature: &str) -> Result<bool> {
    store.runtime().block_on(store.has(feature, &Call::default()))
}

fn list(store: &Store) -> RecordBatch {
    store.runtime().block_on(store.list(&Call::default())).unwrap()
}

fn describe(store: &Store, feature: &str) -> Result<RecordBatch> {
    store.runtime().block_on(store.describe(feature, &Call::default()))
}

/// The listed tables by name.
fn listed(store: &Store) -> serde_json::Map<String, Value> {
    let entries = rows(&[list(store)]);
    entries.into_iter().map(|entry| (entry["table"].as_str().unwrap().to_owned(), entry)).collect()
}

/// A copy of what Python wrote, for a test to damage.
fn basic() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("stores/basic"), directory.path());
    let store = open(directory.path(), &[("mode", "read"), ("project", "golden")]);
    (directory, store)
}

fn only_file(directory: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_feature_is_there_once_its_table_has_a_version() {
    let directory = tempfile::tempdir().unwrap();
    for uri in ["memory://", directory.path().to_str().unwrap()] {
        let store = Store::open(uri, &options(&[("project", "p")]), &Call::default()).unwrap();
        store.define(&root("r/a-b", &["x"])).unwrap();
        assert!(!has(&store, "r/a-b").unwrap(), "{uri}");
        write(&store, "r/a-b", &[samples(&["1"])], &[]).unwrap();
        assert!(has(&store, "r/a-b").unwrap(), "{uri}");
        assert!(has(&store, "r/a_b").unwrap(), "the same table");
        assert!(!has(&store, "r/a").unwrap() && !has(&store, "r").unwrap(), "{uri}");
        assert_eq!(list(&store).num_rows(), 1);
    }
}

#[test]
fn a_directory_without_a_version_is_no_table() {
    let (directory, store) = basic();
    for below in ["x__y.lance/data", "x__z.lance/_versions"] {
        fs::create_dir_all(directory.path().join(below)).unwrap();
    }
    fs::write(directory.path().join("x__z.lance/_versions/notes.txt"), "").unwrap();
    assert!(!has(&store, "x/y").unwrap() && !has(&store, "x/z").unwrap());
    assert!(has(&store, "example/video").unwrap() && has(&store, "metaxy-system/feature_versions").unwrap());
    assert_eq!(failure(has(&store, "Example")).status(), Status::InvalidArgument);
    let tables = listed(&store);
    assert!(!tables.contains_key("x__y") && !tables.contains_key("x__z"), "{tables:?}");
}

#[test]
fn what_python_wrote_is_listed_without_a_definition() {
    let (_directory, store) = basic();
    let expected = golden_json("stores/basic.expected.json");
    let found = rows(&[list(&store)]);
    let names: Vec<&str> = found.iter().map(|entry| entry["feature"].as_str().unwrap()).collect();
    // The key that was pushed, since the name of the table does not tell `-` from `_`.
    assert!(names.contains(&"multi/id-feature"), "{names:?}");
    assert!(names.contains(&"metaxy-system/feature_versions"), "{names:?}");
    let tables = list(&store);
    let tables: Vec<&str> = tables["table"].as_string::<i64>().iter().flatten().collect();
    assert!(tables.is_sorted() && tables.len() == found.len(), "{tables:?}");
    for entry in found {
        let table = entry["table"].as_str().unwrap();
        let system = table.starts_with("metaxy_system__");
        assert_eq!((&entry["defined"], &entry["system"]), (&json!(false), &json!(system)));
        assert_eq!(entry["problem"], Value::Null);
        if let Some(recorded) = expected["tables"].get(table) {
            assert_eq!(entry["rows"], recorded["count_rows"], "{table}");
            assert_eq!(entry["version"], recorded["version"], "{table}");
        }
        assert_eq!(entry["hash_truncation_length"], "8");
        assert_eq!(entry["hash_algorithm"], if system { Value::Null } else { json!("xxhash32") });
        let on_disk: u64 = fs::read_dir(golden("stores/basic").join(format!("{table}.lance/data")))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(entry["bytes"], on_disk, "{table}");
        if table == "example__video" {
            let versions = ["v1", "v2"].map(|graph| &expected["feature_versions"][graph]["example/video"]);
            assert_eq!(entry["feature_versions"], {
                let mut versions = versions.map(Clone::clone).to_vec();
                versions.sort_by_key(ToString::to_string);
                Value::from(versions)
            });
        }
    }
}

#[test]
fn settings_are_told_as_the_options_spell_them() {
    let store = open(&golden("stores/sha256_64"), &[("mode", "read")]);
    for entry in listed(&store).values() {
        assert_eq!(
            (&entry["hash_algorithm"], &entry["hash_truncation_length"]),
            (&json!("sha256"), &json!("none"))
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let store = open(
        directory.path(),
        &[("hash.algorithm", "md5"), ("hash.truncation_length", "16"), ("project", "p")],
    );
    store.define(&root("r/a", &["x"])).unwrap();
    write(&store, "r/a", &[samples(&["1", "2"])], &[]).unwrap();
    let entry = &listed(&store)["r__a"];
    assert_eq!((&entry["hash_algorithm"], &entry["hash_truncation_length"]), (&json!("md5"), &json!("16")));
    assert_eq!((&entry["feature"], &entry["defined"]), (&json!("r/a"), &json!(true)));
    assert_eq!((&entry["rows"], &entry["fragments"]), (&json!(2), &json!(1)));
    assert!(entry["last_write"].is_string() && entry["last_commit"].is_string(), "{entry}");
}

#[test]
fn a_damaged_table_does_not_hide_the_others() {
    let (directory, store) = basic();
    let sound = listed(&store);
    // One lacks its manifest's end, one its rows.
    let manifest = only_file(&directory.path().join("example__joined.lance/_versions"), "manifest");
    fs::write(&manifest, "").unwrap();
    let data = only_file(&directory.path().join("multi__id_feature.lance/data"), "lance");
    fs::write(&data, "nothing of Lance").unwrap();
    let store = open(directory.path(), &[("mode", "read")]);
    let found = listed(&store);
    for (table, entry) in &found {
        match table.as_str() {
            "example__joined" => {
                assert!(entry["problem"].as_str().unwrap().contains("cut short"), "{entry}");
                assert_eq!((&entry["rows"], &entry["feature"]), (&Value::Null, &json!("example/joined")));
                assert_eq!(entry["feature_versions"], Value::Null);
            }
            "multi__id_feature" => {
                assert!(entry["problem"].is_string(), "{entry}");
                // The manifest still tells something.
                assert_eq!((&entry["rows"], &entry["version"]), (&sound[table]["rows"], &json!(1)));
            }
            _ => assert_eq!(entry, &sound[table]),
        }
    }
    assert_eq!(found.len(), sound.len());
    assert!(has(&store, "example/joined").unwrap());
    assert_eq!(failure(describe(&store, "example/joined")).status(), Status::Corrupt);
    assert!(describe(&store, "multi/id-feature").is_err());
}

#[test]
fn a_record_of_a_later_version_is_a_problem_of_its_table_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[("project", "p")]);
    store.define(&root("r/a", &["x"])).unwrap();
    write(&store, "r/a", &[samples(&["1", "2"])], &[]).unwrap();
    store
        .runtime()
        .block_on(async {
            let connection = lancedb::connect(directory.path().to_str().unwrap()).execute().await.unwrap();
            let table = connection.open_table("r__a").execute().await.unwrap();
            let record = vec![("metaxy.hash_algorithm".to_owned(), Some("blake9".to_owned()))];
            let mut dataset = (*table.dataset().unwrap().get().await.unwrap()).clone();
            dataset.update_schema_metadata(record).await.unwrap();
            Ok(())
        })
        .unwrap();
    let entry = &listed(&store)["r__a"];
    assert!(entry["problem"].as_str().unwrap().contains("blake9"), "{entry}");
    assert_eq!((&entry["hash_algorithm"], &entry["rows"]), (&Value::Null, &json!(2)));
    assert_eq!(entry["feature_versions"].as_array().unwrap().len(), 1);
}

#[test]
fn damaged_definitions_cost_names_only() {
    let (directory, _) = basic();
    for file in fs::read_dir(directory.path().join("metaxy_system__feature_versions.lance/data")).unwrap() {
        fs::write(file.unwrap().path(), "nothing of Lance").unwrap();
    }
    let found = listed(&open(directory.path(), &[("mode", "read")]));
    assert_eq!(found["multi__id_feature"]["feature"], "multi/id_feature");
    assert!(found["metaxy_system__feature_versions"]["problem"].is_string());
    assert_eq!(found["example__video"]["problem"], Value::Null);
}

#[test]
fn a_table_that_is_nobodys_is_listed_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store
        .runtime()
        .block_on(async {
            let connection = lancedb::connect(directory.path().to_str().unwrap()).execute().await.unwrap();
            let rows = batch(vec![("name", text(&["a", "b"]))]);
            connection.create_table("Videos", rows).execute().await.unwrap();
            let many: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
            let many = text(&many.iter().map(String::as_str).collect::<Vec<_>>());
            let rows = batch(vec![("metaxy_feature_version", many)]);
            connection.create_table("many", rows).execute().await.unwrap();
            let none = batch(vec![("name", text(&[]))]);
            connection.create_table("none", none).execute().await.unwrap();
            Ok(())
        })
        .unwrap();
    let found = listed(&store);
    let videos = &found["Videos"];
    assert_eq!((&videos["feature"], &videos["rows"]), (&Value::Null, &json!(2)));
    for column in ["feature_versions", "hash_algorithm", "hash_truncation_length", "last_write", "problem"] {
        assert_eq!(videos[column], Value::Null, "{column}");
    }
    assert!(found["many"]["problem"].as_str().unwrap().contains("metaxy_feature_version"), "{found:?}");
    assert_eq!((&found["none"]["rows"], &found["none"]["problem"]), (&json!(0), &Value::Null));

    assert_eq!(describe(&store, "none").unwrap().num_rows(), 0);
    store.define(&root("none", &["x"])).unwrap();
    let error = failure(describe(&store, "none"));
    assert!(error.status() == Status::SchemaMismatch && error.message().contains("id column"), "{error}");
}

#[test]
fn an_empty_store_has_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let found = list(&open(directory.path(), &[]));
    assert_eq!(found.num_rows(), 0);
    let names: Vec<String> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        [
            "feature",
            "table",
            "defined",
            "system",
            "rows",
            "feature_versions",
            "fragments",
            "bytes",
            "version",
            "hash_algorithm",
            "hash_truncation_length",
            "last_write",
            "last_commit",
            "problem"
        ]
    );
}

#[test]
fn a_description_counts_what_reads_give() {
    let expected = golden_json("stores/basic.expected.json");
    let (_directory, store) = basic();
    store.define(&expected["graphs"]["v2"].to_string()).unwrap();
    let mut tombstones = 0;
    for (feature, current) in expected["feature_versions"]["v2"].as_object().unwrap() {
        let description = describe(&store, feature).unwrap();
        let mut all_rows = 0;
        for row in rows(&[description]) {
            let count = |deleted: bool, history: bool| {
                let request = ReadRequest {
                    feature_version: row["feature_version"].as_str().map(str::to_owned),
                    deleted,
                    sample_history: history,
                    ..ReadRequest::default()
                };
                let found = read(&store, feature, &request).unwrap();
                found.iter().map(RecordBatch::num_rows).sum::<usize>()
            };
            assert_eq!(row["is_current"], row["feature_version"] == *current);
            assert_eq!(row["samples"], count(false, false), "{feature}");
            assert_eq!(row["deleted"], count(true, false) - count(false, false), "{feature}");
            assert_eq!(row["rows"], count(true, true), "{feature}");
            assert_eq!(row["first_write"].is_string(), row["rows"] != 0);
            assert!(row["first_write"].as_str() <= row["last_write"].as_str(), "{row}");
            tombstones += row["deleted"].as_u64().unwrap();
            all_rows += row["rows"].as_u64().unwrap();
            let columns = row["columns"].as_array().unwrap();
            assert!(columns.contains(&json!({"column": "metaxy_feature_version", "type": "LargeUtf8"})));
            assert!(!columns.iter().any(|column| column["column"].as_str().unwrap().ends_with("_right")));
        }
        let table = feature.replace('-', "_").replace('/', "__");
        assert_eq!(expected["tables"][&table]["count_rows"], all_rows, "{feature}");
    }
    assert!(tombstones > 0);
}

#[test]
fn without_a_definition_rows_are_counted_and_samples_are_not() {
    let (_directory, store) = basic();
    let description = describe(&store, "example/video").unwrap();
    assert!(description.num_rows() > 1);
    for column in ["is_current", "samples", "deleted"] {
        assert_eq!(description[column].null_count(), description.num_rows(), "{column}");
    }
    // Its dependency is not defined, so that its version is not known; its ids are.
    let crop = &golden_json("stores/basic.expected.json")["graphs"]["v1"][1];
    store.define(&crop.to_string()).unwrap();
    let description = describe(&store, "example/crop").unwrap();
    assert_eq!(description["is_current"].null_count(), description.num_rows());
    assert_eq!(description["samples"].null_count(), 0);
}

#[test]
fn the_defined_version_is_described_before_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[("project", "p")]);
    store.define(&root("r/a", &["x"])).unwrap();
    write(&store, "r/a", &[samples(&["1", "2"])], &[]).unwrap();
    write(&store, "r/a", &[samples(&["2"])], &[]).unwrap();
    store.define(&root("r/a", &["x", "y"])).unwrap();
    let found = describe(&store, "r/a").unwrap();
    let mut counts: Vec<_> = rows(std::slice::from_ref(&found))
        .iter()
        .map(|row| (row["is_current"].clone(), row["rows"].clone(), row["samples"].clone()))
        .collect();
    counts.sort_by_key(|(current, ..)| current.to_string());
    assert_eq!(counts, [(json!(false), json!(3), json!(2)), (json!(true), json!(0), json!(0))]);
    assert_eq!(
        found["last_write"].data_type(),
        &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
    );
    let last = found["last_write"].as_primitive::<TimestampMicrosecondType>().iter().flatten().max();
    let listed = list(&store);
    assert_eq!(listed["last_write"].as_primitive::<TimestampMicrosecondType>().value(0), last.unwrap());
}

#[test]
fn what_is_not_there_is_not_described() {
    let (_directory, store) = basic();
    let error = failure(describe(&store, "no/such"));
    assert_eq!(error.status(), Status::NotFound);
    for part in ["no/such", "no__such", "metaxy_store_list", &store.display()] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(error.detail("feature"), Some("no/such"));
    assert_eq!(error.detail("table"), Some("no__such"));

    let cancelled = Context::new();
    cancelled.cancel();
    let (call, runtime) = (cancelled.begin(), store.runtime());
    assert_eq!(failure(runtime.block_on(store.has("a", &call))).status(), Status::Cancelled);
    assert_eq!(failure(runtime.block_on(store.list(&call))).status(), Status::Cancelled);
    assert_eq!(failure(runtime.block_on(store.describe("a", &call))).status(), Status::Cancelled);
    store.close().unwrap();
    assert_eq!(failure(has(&store, "a")).status(), Status::InvalidState);
    assert_eq!(failure(describe(&store, "a")).status(), Status::InvalidState);
}
