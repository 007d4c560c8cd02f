//! What is refused, and how: the status, what the message names, and that nothing changed.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, LargeStringArray, ListArray, MapArray, NullArray,
    RecordBatch, RecordBatchIterator, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use lancedb::connection::LanceFileVersion;
use metaxy::backend::{Connect, Database, Durability, Location, Mode};
use metaxy::store::context::Call;
use metaxy::store::options::Options;
use metaxy::store::{ReadRequest, Store};
use metaxy::{Error, Status};
use serde_json::json;

use crate::support::{
    batch, by_field, column, copy, failure, golden, open, options, read, root, rows, samples, text, write,
};

fn all() -> ReadRequest {
    ReadRequest::default()
}

fn fresh(fields: &[&str]) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", fields)).unwrap();
    (directory, store)
}

/// Tries to open a store that cannot be opened.
fn open_failure(uri: &str, pairs: &[(&str, &str)]) -> Error {
    failure(Store::open(uri, &options(pairs), &Call::default()))
}

/// A by-field column as an Arrow map: for each row its entries.
fn map(rows: &[&[(&str, Option<&str>)]]) -> ArrayRef {
    let entries = rows.concat();
    let fields = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(entries.iter().map(|(key, _)| key))),
        Arc::new(entries.iter().map(|(_, value)| *value).collect::<StringArray>()),
    ];
    Arc::new(MapArray::new(
        Arc::new(Field::new("entries", DataType::Struct(fields.clone()), false)),
        OffsetBuffer::from_lengths(rows.iter().map(|row| row.len())),
        StructArray::new(fields, columns, None),
        None,
        false,
    ))
}

fn with_provenance(ids: &[&str], provenance: ArrayRef) -> RecordBatch {
    batch(vec![("id", text(ids)), ("metaxy_provenance_by_field", provenance)])
}

fn with(ids: &[&str], name: &str, values: ArrayRef) -> RecordBatch {
    batch(vec![("id", text(ids)), (name, values), ("metaxy_provenance_by_field", by_field(&["x"], ids))])
}

#[test]
fn a_map_written_to_a_table_of_structs_brings_its_new_fields() {
    let (_directory, store) = fresh(&["x"]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    store.define(&root("r/a", &["x", "y"])).unwrap();
    let given = with_provenance(&["b"], map(&[&[("y", Some("2y")), ("x", Some("2x"))]]));
    write(&store, "r/a", &[given], &[]).unwrap();
    let found = rows(&read(&store, "r/a", &all()).unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["metaxy_provenance_by_field"], json!({"x": "2x", "y": "2y"}));
    assert_eq!(found[0]["metaxy_data_version_by_field"], json!({"x": "2x", "y": "2y"}));
}

#[test]
fn members_beyond_the_fields_do_not_hide_the_algorithm() {
    // As a table of Metaxy's, but with a member in its structs that no field stands for.
    let directory = tempfile::tempdir().unwrap();
    let as_metaxy = [("hash.algorithm", "sha256"), ("hash.truncation_length", "16")];
    {
        let store = open(directory.path(), &as_metaxy);
        store.define(&root("r/a", &["x"])).unwrap();
        let ids = ["a", "b", "c"];
        write(&store, "r/a", &[with_provenance(&ids, by_field(&["x", "zzz"], &ids))], &[]).unwrap();
        forget_record(&store, directory.path(), "r__a");
    }
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", &["x"])).unwrap();
    let before = rows(&read(&store, "r/a", &all()).unwrap());
    assert_eq!(before.len(), 3);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let after = rows(&read(&store, "r/a", &all()).unwrap());
    let provenance = |rows: &[serde_json::Value]| {
        rows.iter().find(|row| row["id"] == "a").map(|row| row["metaxy_provenance"].clone())
    };
    assert_eq!(provenance(&before), provenance(&after));
}

/// Writes a table anew as Metaxy would have, without the record of its hash settings.
fn forget_record(store: &Store, directory: &Path, table: &str) {
    replace_table(store, directory, table, lance::dataset::WriteParams::default());
}

fn replace_table(store: &Store, directory: &Path, table: &str, params: lance::dataset::WriteParams) {
    let path = directory.join(format!("{table}.lance"));
    let uri = path.to_str().unwrap().to_owned();
    let rewritten = async {
        let dataset = lance::Dataset::open(&uri).await.unwrap();
        let batch = dataset.scan().try_into_batch().await.unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let schema = Arc::new(batch.schema().as_ref().clone().with_metadata(Default::default()));
        let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap();
        let rows = RecordBatchIterator::new([Ok(batch)], schema);
        lance::Dataset::write(rows, &uri, Some(params)).await.unwrap();
        Ok(())
    };
    store.runtime().block_on(rewritten).unwrap();
}

#[test]
fn rows_that_no_algorithm_explains_are_read_but_not_added_to() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path(), &[]);
        store.define(&root("r/a", &["x"])).unwrap();
        let given = batch(vec![
            ("id", text(&["a"])),
            ("metaxy_provenance_by_field", by_field(&["x"], &["a"])),
            ("metaxy_provenance", text(&["my own"])),
        ]);
        write(&store, "r/a", &[given], &[]).unwrap();
        forget_record(&store, directory.path(), "r__a");
    }
    let store = open(directory.path(), &[]);
    store.define(&format!("[{}, {}]", root("r/a", &["x"]), root("r/b", &["x"]))).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a"]);
    for feature in ["r/a", "r/b"] {
        let error = failure(write(&store, feature, &[samples(&["b"])], &[]));
        assert_eq!(error.status(), Status::SchemaMismatch, "{error}");
        assert!(error.message().contains("hash.algorithm=") && error.message().contains("r__a"), "{error}");
    }
    assert!(!directory.path().join("r__b.lance").exists());
    let told = open(directory.path(), &[("hash.algorithm", "md5")]);
    told.define(&root("r/a", &["x"])).unwrap();
    write(&told, "r/a", &[samples(&["b"])], &[]).unwrap();
    assert_eq!(column(&read(&told, "r/a", &all()).unwrap(), "id"), ["a", "b"]);
}

#[test]
fn pushed_definitions_alone_stand_for_the_defaults_of_metaxy() {
    let directory = tempfile::tempdir().unwrap();
    let definitions = "metaxy_system__feature_versions.lance";
    copy(&golden("stores/basic").join(definitions), &directory.path().join(definitions));
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", &["x"])).unwrap();
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let row = rows(&read(&store, "r/a", &all()).unwrap()).remove(0);
    let hash = xxhash_rust::xxh32::xxh32(b"a-x", 0).to_string();
    assert_eq!(row["metaxy_provenance"], hash[..hash.len().min(8)]);
    assert_eq!(row["metaxy_feature_version"].as_str().unwrap().len(), 8);
}

#[test]
fn an_empty_directory_settles_nothing_until_somebody_writes() {
    let (directory, store) = fresh(&["x"]);
    store.runtime().block_on(store.features(&Call::default())).unwrap();
    let other = open(directory.path(), &[("hash.algorithm", "xxhash32"), ("hash.truncation_length", "8")]);
    other.define(&root("r/a", &["x"])).unwrap();
    write(&other, "r/a", &[samples(&["a"])], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a"]);
    write(&store, "r/a", &[samples(&["b"])], &[]).unwrap();
    let versions = column(&read(&store, "r/a", &all()).unwrap(), "metaxy_feature_version");
    assert!(versions.len() == 2 && versions.iter().all(|version| version.len() == 8), "{versions:?}");
}

#[test]
fn a_store_stays_with_what_it_wrote() {
    let (directory, store) = fresh(&["x"]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    std::fs::remove_dir_all(directory.path().join("r__a.lance")).unwrap();
    let other = open(directory.path(), &[("hash.algorithm", "md5")]);
    other.define(&root("r/b", &["x"])).unwrap();
    write(&other, "r/b", &[samples(&["a"])], &[]).unwrap();
    store.define(&root("r/b", &["x"])).unwrap();
    let error = failure(write(&store, "r/b", &[samples(&["b"])], &[]));
    assert_eq!(error.status(), Status::SchemaMismatch, "{error}");
    assert!(error.message().contains("md5") && error.message().contains("xxhash64"), "{error}");
}

#[test]
fn a_whole_hash_can_be_asked_for() {
    let (directory, store) = fresh(&["x"]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let cut = open(directory.path(), &[("hash.truncation_length", "16")]);
    cut.define(&root("r/a", &["x"])).unwrap();
    let error = failure(read(&cut, "r/a", &all()));
    assert_eq!(error.status(), Status::SchemaMismatch);
    let advice = "hash.truncation_length=none";
    assert!(error.message().contains(&format!("open the store with {advice}")), "{error}");
    let (option, value) = advice.split_once('=').unwrap();
    let whole = open(directory.path(), &[(option, value)]);
    whole.define(&root("r/a", &["x"])).unwrap();
    assert_eq!(column(&read(&whole, "r/a", &all()).unwrap(), "id"), ["a"]);
}

#[test]
fn names_that_would_make_a_table_unreadable_are_refused() {
    let (directory, store) = fresh(&["x"]);
    for name in [
        "_rowid",
        "_rowaddr",
        "_rowoffset",
        "_row_created_at_version",
        "_row_last_updated_at_version",
        "a`b",
        "a.b",
        "",
    ] {
        let error = failure(write(&store, "r/a", &[with(&["a"], name, text(&["v"]))], &[]));
        assert_eq!(error.status(), Status::SchemaMismatch, "{name}: {error}");
        assert_eq!(error.detail("column"), Some(name));
        assert!(error.message().contains("r/a"), "{error}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    for name in ["_row", "_distance", "a b", "a'b"] {
        write(&store, "r/a", &[with(&["a"], name, text(&[name]))], &[]).unwrap();
        assert!(column(&read(&store, "r/a", &all()).unwrap(), name).contains(&name.to_owned()));
    }
}

#[test]
fn an_open_that_fails_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for (option, value) in [("hash.truncation_length", "3"), ("project", "a b")] {
        let error = open_failure(missing.to_str().unwrap(), &[(option, value)]);
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
        assert!(!missing.exists(), "{option}");
    }
}

fn newest_manifest(table: &Path) -> std::path::PathBuf {
    let names = std::fs::read_dir(table.join("_versions")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "manifest")).min().unwrap()
}

#[test]
fn only_a_manifest_without_an_end_is_to_be_moved_away() {
    let (directory, store) = fresh(&["x"]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    write(&store, "r/a", &[samples(&["b"])], &[]).unwrap();
    let manifest = newest_manifest(&directory.path().join("r__a.lance"));
    let whole = std::fs::read(&manifest).unwrap();
    let again = |cache: &str| {
        let store = open(directory.path(), &[("cache.bytes", cache), ("mode", "read")]);
        store.define(&root("r/a", &["x"])).unwrap();
        read(&store, "r/a", &all())
    };
    let mut damaged = whole.clone();
    let middle = damaged.len() - 16;
    damaged[..middle].fill(0xff);
    std::fs::write(&manifest, damaged).unwrap();
    let error = failure(again("1000001"));
    assert!(!error.message().contains("that file away"), "{error}");
    assert_eq!((error.detail("file"), error.detail("table")), (None, Some("r__a")));
    let name = b"large_string";
    let at = whole.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let mut renamed = whole.clone();
    renamed[at] = b'L';
    std::fs::write(&manifest, renamed).unwrap();
    let error = failure(again("1000004"));
    assert_eq!((error.status(), error.detail("table")), (Status::Unsupported, Some("r__a")), "{error}");
    std::fs::write(&manifest, &whole[..whole.len() - 1]).unwrap();
    let error = failure(again("1000002"));
    assert_eq!(error.status(), Status::Corrupt);
    assert!(error.message().contains("mode=write moves that file away"), "{error}");
    assert_eq!(error.detail("file"), manifest.to_str());
    // By hand it helps too.
    std::fs::remove_file(&manifest).unwrap();
    assert_eq!(column(&again("1000003").unwrap(), "id"), ["a"]);
}

#[cfg(unix)]
#[test]
fn a_table_that_cannot_be_looked_for_is_not_taken_for_none() {
    let (directory, store) = fresh(&["x"]);
    // Permissions do not bind root; links that lead nowhere bind everybody.
    let table = directory.path().join("r__a.lance");
    std::os::unix::fs::symlink(&table, &table).unwrap();
    for error in
        [failure(read(&store, "r/a", &all())), failure(write(&store, "r/a", &[samples(&["a"])], &[]))]
    {
        assert_eq!(error.status(), Status::Io, "{error}");
        assert_eq!(error.detail("table"), Some("r__a"));
    }
    std::fs::remove_file(&table).unwrap();
    std::fs::create_dir(&table).unwrap();
    std::fs::write(table.join("_versions"), "in the way").unwrap();
    let error = failure(read(&store, "r/a", &all()));
    assert_eq!(error.status(), Status::Io, "{error}");
}

#[test]
fn a_damaged_system_table_leaves_the_features_usable() {
    let (directory, store) = fresh(&["x"]);
    let versions = directory.path().join("metaxy_system__feature_versions.lance/_versions");
    std::fs::create_dir_all(&versions).unwrap();
    std::fs::write(versions.join("18446744073709551614.manifest"), []).unwrap();
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a"]);
    assert_eq!(failure(read(&store, "metaxy-system/feature_versions", &all())).status(), Status::Corrupt);
}

#[test]
fn what_had_only_nulls_inside_a_column_cannot_get_a_type() {
    let structs = |member: ArrayRef| -> ArrayRef {
        Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("m", member.data_type().clone(), true)),
            member,
        )]))
    };
    let lists = |items: ArrayRef| -> ArrayRef {
        let item = Arc::new(Field::new("item", items.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([items.len()]), items, None))
    };
    let nulls = || Arc::new(NullArray::new(1)) as ArrayRef;
    let number = || Arc::new(Int64Array::from(vec![5])) as ArrayRef;
    for (before, now, path) in
        [(structs(nulls()), structs(number()), "u.m"), (lists(nulls()), lists(number()), "u[]")]
    {
        let (_directory, store) = fresh(&["x"]);
        write(&store, "r/a", &[with(&["a"], "u", before.clone())], &[]).unwrap();
        let error = failure(write(&store, "r/a", &[with(&["b"], "u", now)], &[]));
        assert_eq!(error.status(), Status::SchemaMismatch, "{error}");
        assert_eq!(error.detail("column"), Some(path));
        assert!(error.message().contains("no type") && error.message().contains("r/a"), "{error}");
        write(&store, "r/a", &[with(&["c"], "u", before)], &[]).unwrap();
        assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a", "c"]);
    }
}

#[test]
fn rows_of_a_map_are_numbered_through_the_whole_write() {
    let (_directory, store) = fresh(&["x", "y"]);
    let rows = 40_000;
    let entries: &[(&str, Option<&str>)] = &[("x", Some("1")), ("y", Some("2"))];
    let mut maps = vec![entries; rows];
    maps.push(&entries[..1]);
    let ids: Vec<String> = (0..maps.len()).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let error = failure(write(&store, "r/a", &[with_provenance(&ids, map(&maps))], &[]));
    assert_eq!(error.status(), Status::SchemaMismatch);
    assert!(error.message().contains("in row 40000") && error.message().contains("r/a"), "{error}");
    assert_eq!(error.detail("row"), Some("40000"));
}

#[test]
fn a_map_with_a_key_twice_is_refused() {
    let (_directory, store) = fresh(&["x"]);
    let twice = map(&[&[("x", Some("1"))], &[("x", Some("1")), ("x", Some("2"))]]);
    let error = failure(write(&store, "r/a", &[with_provenance(&["a", "b"], twice)], &[]));
    assert_eq!((error.status(), error.detail("row")), (Status::SchemaMismatch, Some("1")));
    assert!(error.message().contains("`x` twice"), "{error}");
}

#[test]
fn members_in_a_dictionary_are_texts() {
    let (_directory, store) = fresh(&["x"]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let plain = by_field(&["x"], &["a"]);
    let member = cast(plain.as_struct().column(0), &dictionary).unwrap();
    let encoded: ArrayRef =
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", dictionary, true)), member)]));
    write(&store, "r/a", &[with_provenance(&["a"], encoded)], &[]).unwrap();
    write(&store, "r/a", &[with_provenance(&["b"], plain)], &[]).unwrap();
    let found = rows(&read(&store, "r/a", &all()).unwrap());
    assert_eq!(found[0]["metaxy_provenance_by_field"], json!({"x": "a-x"}));
    assert_eq!(found[0]["metaxy_provenance"], found[1]["metaxy_provenance"]);
}

#[test]
fn data_versions_that_are_all_null_are_those_of_the_provenance() {
    let (_directory, store) = fresh(&["x"]);
    let nothing = || Arc::new(NullArray::new(1)) as ArrayRef;
    for id in ["a", "b"] {
        // Into a new table, and into one that has the column.
        write(&store, "r/a", &[with(&[id], "metaxy_data_version_by_field", nothing())], &[]).unwrap();
    }
    for row in rows(&read(&store, "r/a", &all()).unwrap()) {
        assert_eq!(row["metaxy_data_version_by_field"], row["metaxy_provenance_by_field"]);
        assert_eq!(row["metaxy_data_version"], row["metaxy_provenance"]);
    }
    let number = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let error = failure(write(&store, "r/a", &[with(&["c"], "metaxy_data_version_by_field", number)], &[]));
    assert_eq!(error.detail("column"), Some("metaxy_data_version_by_field"));
}

#[test]
fn messages_name_the_feature_and_cut_long_values() {
    let (_directory, store) = fresh(&["x"]);
    let numbers = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    write(&store, "r/a", &[with(&["a"], "n", numbers(vec![1]))], &[]).unwrap();
    let long = "9".repeat(3000);
    let fraction = Arc::new(Float64Array::from(vec![2.5])) as ArrayRef;
    for values in [text(&[&long]), fraction, by_field(&["m"], &["b"])] {
        let error = failure(write(&store, "r/a", &[with(&["b"], "n", values)], &[]));
        assert_eq!(error.status(), Status::SchemaMismatch);
        assert!(error.message().contains("cannot write to the feature r/a: "), "{error}");
        assert!(error.message().ends_with("; nothing was written"), "{error}");
        assert!(error.message().len() < 500, "{error}");
    }
    let ids = [long.as_str(), long.as_str()];
    let error = failure(write(&store, "r/a", &[samples(&ids)], &[]));
    assert!(error.message().len() < 500 && error.message().contains('…'), "{error}");
    let missing = with_provenance(&["b"], by_field(&["z"], &["b"]));
    let error = failure(write(&store, "r/a", &[missing], &[]));
    assert!(error.message().contains("r/a") && error.message().contains("`x`"), "{error}");
}

#[test]
fn one_call_defines_a_feature_once() {
    let (_directory, store) = fresh(&["x"]);
    let error = failure(store.define(&format!("[{}, {}]", root("r/b", &["x"]), root("r/b", &["y"]))));
    assert_eq!((error.status(), error.detail("feature")), (Status::InvalidArgument, Some("r/b")));
    assert!(error.message().contains("r/b"), "{error}");
    assert_eq!(failure(read(&store, "r/b", &all())).status(), Status::NotFound);
    // In another call it is replaced.
    store.define(&root("r/a", &["y"])).unwrap();
}

#[test]
fn file_urls_are_urls_however_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    for (prefix, name) in [("file:", "a"), ("FILE://", "b"), ("file://", "c")] {
        Store::open(&format!("{prefix}{path}/{name}"), &Options::new(), &Call::default()).unwrap();
        assert!(directory.path().join(name).is_dir(), "{prefix}");
    }
    for query in ["?x=1", "#part"] {
        let error = open_failure(&format!("file://{path}/d{query}"), &[]);
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_table_in_the_legacy_format_is_not_appended_to() {
    let (directory, store) = fresh(&["x"]);
    let present = |params| {
        let given = with(&["a"], "n", Arc::new(LargeStringArray::from(vec!["1"])));
        let path = directory.path().join("r__a.lance");
        let written = async {
            let rows = RecordBatchIterator::new([Ok(given.clone())], given.schema());
            lance::Dataset::write(rows, path.to_str().unwrap(), Some(params)).await.unwrap();
            let location = Location::parse(directory.path().to_str().unwrap())?;
            let database = Database::new(
                location,
                &Connect::default(),
                "the store",
                1 << 20,
                Mode::Read,
                Durability::Process,
            )?;
            let table = database.open("r__a").await?.unwrap();
            std::fs::remove_dir_all(&path).unwrap();
            database.check_appendable(&table)
        };
        store.runtime().block_on(written)
    };
    present(lance::dataset::WriteParams::default()).unwrap();
    let error = failure(present(lance::dataset::WriteParams::with_storage_version(LanceFileVersion::Legacy)));
    assert_eq!((error.status(), error.detail("table")), (Status::Unsupported, Some("r__a")));
}
