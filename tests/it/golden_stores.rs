//! Stores that Python Metaxy 0.1.11 wrote are read as Python reads them.

use metaxy::store::{ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::Value;

use crate::support::{column, failure, golden, golden_json, open, read, rows, sorted};

fn store(name: &str, graph: &Value) -> Store {
    let store = open(&golden("stores").join(name), &[("mode", "read"), ("project", "golden")]);
    store.define(&graph.to_string()).unwrap();
    store
}

fn request(arguments: &Value) -> ReadRequest {
    let flag = |name: &str| arguments[name].as_bool().unwrap_or(false);
    let strings = |name: &str| -> Option<Vec<String>> {
        let values = arguments.get(name)?.as_array()?;
        Some(values.iter().map(|value| value.as_str().unwrap().to_owned()).collect())
    };
    ReadRequest {
        columns: strings("columns"),
        filters: strings("filters").unwrap_or_default(),
        feature_version: arguments["feature_version"].as_str().map(str::to_owned),
        feature_history: flag("with_feature_history"),
        sample_history: flag("with_sample_history"),
        deleted: flag("include_soft_deleted"),
        ..ReadRequest::default()
    }
}

/// Compares one recorded read; rows have no order, columns have.
pub fn check(store: &Store, recorded: &Value) -> Result<()> {
    let feature = recorded["feature"].as_str().unwrap();
    let found = read(store, feature, &request(&recorded["args"]))?;
    let expected = sorted(recorded["rows"].as_array().unwrap().clone());
    let comparable = |rows: Vec<Value>| -> Vec<Value> {
        // Objects compare by content; a column hidden by us is not compared.
        rows.into_iter()
            .map(|mut row| {
                row.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_right"));
                row
            })
            .collect()
    };
    assert_eq!(
        sorted(comparable(rows(&found))),
        sorted(comparable(expected)),
        "{feature} {}",
        recorded["args"]
    );
    Ok(())
}

#[test]
fn histories_deletions_versions_and_filters() {
    let expected = golden_json("stores/basic.expected.json");
    let mut reads = 0;
    for graph in ["v1", "v2"] {
        let store = store("basic", &expected["graphs"][graph]);
        for recorded in expected["reads"].as_array().unwrap().iter().filter(|read| read["graph"] == graph) {
            if recorded.get("rows").is_some() {
                check(&store, recorded).unwrap();
                reads += 1;
            } else if recorded["args"].get("feature_version").is_none() {
                // Metaxy refuses a feature version without feature history; here it selects it.
                let feature = recorded["feature"].as_str().unwrap();
                let error = failure(read(&store, feature, &request(&recorded["args"])));
                assert!(matches!(error.status(), Status::InvalidArgument | Status::NotFound), "{error}");
            }
        }
    }
    assert_eq!(reads, 36);
}

#[test]
fn the_order_of_columns_is_that_of_the_request() {
    let expected = golden_json("stores/basic.expected.json");
    let store = store("basic", &expected["graphs"]["v1"]);
    for columns in [vec!["n", "video_id"], vec!["metaxy_provenance", "path"]] {
        let request = ReadRequest {
            columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
            ..ReadRequest::default()
        };
        let found = read(&store, "example/video", &request).unwrap();
        let names: Vec<String> =
            found[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, columns);
    }
}

#[test]
fn one_feature_version_is_read_by_its_version() {
    let expected = golden_json("stores/basic.expected.json");
    let store = store("basic", &expected["graphs"]["v2"]);
    let version = expected["feature_versions"]["v1"]["example/video"].as_str().unwrap().to_owned();
    let request = ReadRequest { feature_version: Some(version.clone()), ..ReadRequest::default() };
    let found = read(&store, "example/video", &request).unwrap();
    assert_eq!(column(&found, "metaxy_feature_version"), vec![version; 5]);
}

#[test]
fn another_algorithm_is_inferred() {
    let expected = golden_json("stores/sha256_64.expected.json");
    let store = store("sha256_64", &expected["graph"]);
    for recorded in expected["reads"].as_array().unwrap() {
        check(&store, recorded).unwrap();
    }
}

#[test]
fn explicit_settings_that_contradict_the_rows_name_both() {
    let expected = golden_json("stores/sha256_64.expected.json");
    for (option, value, found) in
        [("hash.algorithm", "md5", "sha256"), ("hash.truncation_length", "8", "none")]
    {
        let store = open(&golden("stores/sha256_64"), &[("mode", "read"), (option, value)]);
        store.define(&expected["graph"].to_string()).unwrap();
        let error = failure(read(&store, "example/video", &ReadRequest::default()));
        assert_eq!(error.status(), Status::SchemaMismatch);
        assert!(error.message().contains(value) && error.message().contains(found), "{error}");
        assert_eq!(error.detail("option"), Some(option));
    }
}

#[test]
fn rows_with_fewer_fields_and_other_types() {
    let expected = golden_json("stores/evolution.expected.json");
    let graph = r#"{"key": "e/a", "id_columns": ["id"], "fields": [{"key": "x"}, {"key": "y"}]}"#;
    let store = store("evolution", &serde_json::from_str(graph).unwrap());
    check(&store, &expected["all_rows"]).unwrap();
}

#[test]
fn deletion_vectors_hide_rows() {
    let expected = golden_json("stores/harddelete.expected.json");
    let store = store("harddelete", &expected["graph"]);
    for recorded in expected["reads"].as_array().unwrap() {
        check(&store, recorded).unwrap();
    }
}

#[test]
fn by_field_columns_in_the_shape_of_a_map() {
    let expected = golden_json("stores/map.expected.json");
    let store = store("map", &expected["graph"]);
    for (feature, recorded) in expected["reads"].as_object().unwrap() {
        let found = read(&store, feature, &ReadRequest::default()).unwrap();
        assert_eq!(rows(&found), sorted(recorded.as_array().unwrap().clone()));
    }
}

#[test]
fn a_table_of_metaxy_itself_is_read_row_by_row() {
    let expected = golden_json("stores/basic.expected.json");
    let store = store("basic", &expected["graphs"]["v1"]);
    let found = read(&store, "metaxy-system/feature_versions", &ReadRequest::default()).unwrap();
    let recorded = expected["system_feature_versions"].as_array().unwrap();
    assert_eq!(rows(&found).len(), recorded.len());
}
