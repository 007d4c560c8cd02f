//! Writing: what is stored, what is refused, and that nothing is lost.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::DataType;
use metaxy::Status;
use metaxy::store::context::{Call, Context};
use metaxy::store::options::Options;
use metaxy::store::{ReadRequest, Store};
use serde_json::json;

use crate::support::{
    batch, by_field, column, copy, failure, golden, golden_json, open, read, read_with_schema, root, rows,
    samples, text, write,
};

fn fresh(pairs: &[(&str, &str)]) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), pairs);
    store.define(&root("r/a", &["x"])).unwrap();
    (directory, store)
}

fn all() -> ReadRequest {
    ReadRequest::default()
}

/// No file or directory: what a write that failed must leave of a table that was not there.
fn assert_untouched(directory: &tempfile::TempDir) {
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn rows_get_all_system_columns() {
    let (_directory, store) = fresh(&[
        ("hash.algorithm", "xxhash32"),
        ("hash.truncation_length", "8"),
        ("materialization_id", "run"),
    ]);
    let rows_in = batch(vec![
        ("id", text(&["a", "b"])),
        ("provenance_by_field", by_field(&["x"], &["a", "b"])),
        ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
    ]);
    write(&store, "r/a", &[rows_in], &[("materialization_id", "call")]).unwrap();
    let found = read(&store, "r/a", &all()).unwrap();
    let names: Vec<String> = found[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        [
            "id",
            "metaxy_provenance_by_field",
            "n",
            "metaxy_feature_version",
            "metaxy_project_version",
            "metaxy_provenance",
            "metaxy_created_at",
            "metaxy_updated_at",
            "metaxy_deleted_at",
            "metaxy_materialization_id",
            "metaxy_data_version_by_field",
            "metaxy_data_version"
        ]
    );
    let row = &rows(&found)[0];
    assert_eq!(row["metaxy_materialization_id"], "call");
    assert_eq!(row["metaxy_data_version"], row["metaxy_provenance"]);
    assert_eq!(row["metaxy_created_at"], row["metaxy_updated_at"]);
    assert_eq!(row["metaxy_provenance_by_field"], json!({"x": "a-x"}));
    assert_eq!(row["metaxy_feature_version"].as_str().unwrap().len(), 8);
    assert!(row["metaxy_deleted_at"].is_null());
}

#[test]
fn data_versions_may_be_overridden_row_by_row() {
    let (_directory, store) = fresh(&[]);
    let overrides = by_field(&["x"], &["1", "2"]);
    let overrides = overrides.as_struct();
    let nulls = arrow::buffer::NullBuffer::from(vec![true, false]);
    let overrides: ArrayRef = Arc::new(arrow::array::StructArray::new(
        overrides.fields().clone(),
        overrides.columns().to_vec(),
        Some(nulls),
    ));
    let given = batch(vec![
        ("id", text(&["a", "b"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["a", "b"])),
        ("metaxy_data_version_by_field", overrides),
    ]);
    write(&store, "r/a", &[given], &[]).unwrap();
    let found = rows(&read(&store, "r/a", &all()).unwrap());
    assert_eq!(found[0]["metaxy_data_version_by_field"], json!({"x": "1-x"}));
    assert_ne!(found[0]["metaxy_data_version"], found[0]["metaxy_provenance"]);
    assert_eq!(found[1]["metaxy_data_version_by_field"], json!({"x": "b-x"}));
    assert_eq!(found[1]["metaxy_data_version"], found[1]["metaxy_provenance"]);
}

#[test]
fn the_latest_row_wins_and_the_last_appended_of_equals() {
    let (_directory, store) = fresh(&[]);
    for n in 0..3 {
        let rows = batch(vec![
            ("id", text(&["a", "b"])),
            ("metaxy_provenance_by_field", by_field(&["x"], &["a", "b"])),
            ("n", Arc::new(Int64Array::from(vec![n, n]))),
        ]);
        write(&store, "r/a", &[rows], &[]).unwrap();
    }
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "n"), ["2", "2"]);
    let history = ReadRequest { sample_history: true, ..all() };
    assert_eq!(column(&read(&store, "r/a", &history).unwrap(), "n"), ["0", "0", "1", "1", "2", "2"]);
}

#[test]
fn a_tombstone_hides_its_sample_until_it_is_written_again() {
    let (_directory, store) = fresh(&[]);
    write(&store, "r/a", &[samples(&["a", "b"])], &[]).unwrap();
    let mut tombstone = vec![("id", text(&["a"])), ("metaxy_provenance_by_field", by_field(&["x"], &["a"]))];
    let future = arrow::array::TimestampMicrosecondArray::from(vec![chrono_now() + 1]).with_timezone("UTC");
    tombstone.push(("metaxy_deleted_at", Arc::new(future)));
    write(&store, "r/a", &[batch(tombstone)], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["b"]);
    assert_eq!(
        column(&read(&store, "r/a", &ReadRequest { deleted: true, ..all() }).unwrap(), "id"),
        ["a", "b"]
    );
    std::thread::sleep(std::time::Duration::from_millis(2));
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a", "b"]);
}

fn chrono_now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64
}

#[test]
fn a_new_column_and_a_new_field_evolve_the_table() {
    let (directory, store) = fresh(&[]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    store.define(&root("r/a", &["x", "y"])).unwrap();
    let wider = batch(vec![
        ("more", Arc::new(Float64Array::from(vec![0.5])) as ArrayRef),
        ("metaxy_provenance_by_field", by_field(&["y", "x"], &["b"])),
        ("id", text(&["b"])),
    ]);
    write(&store, "r/a", &[wider], &[]).unwrap();
    let again = open(directory.path(), &[("mode", "read")]);
    again.define(&root("r/a", &["x", "y"])).unwrap();
    let history = ReadRequest { feature_history: true, ..all() };
    let found = rows(&read(&again, "r/a", &history).unwrap());
    assert_eq!(found.len(), 2);
    let (a, b) = if found[0]["id"] == "a" { (&found[0], &found[1]) } else { (&found[1], &found[0]) };
    assert_eq!(a["metaxy_provenance_by_field"], json!({"x": "a-x", "y": null}));
    assert_eq!(a["more"], json!(null));
    assert_eq!(b["metaxy_provenance_by_field"], json!({"x": "b-x", "y": "b-y"}));
    assert_eq!(b["metaxy_data_version_by_field"], json!({"x": "b-x", "y": "b-y"}));
    assert_eq!(b["more"], json!(0.5));
}

#[test]
fn a_column_that_had_only_nulls_takes_the_type_of_its_first_values() {
    let (_directory, store) = fresh(&[]);
    let with = |id: &str, note: ArrayRef| {
        batch(vec![
            ("id", text(&[id])),
            ("note", note),
            ("metaxy_provenance_by_field", by_field(&["x"], &[id])),
        ])
    };
    let nothing = || Arc::new(arrow::array::NullArray::new(1)) as ArrayRef;
    write(&store, "r/a", &[with("a", nothing())], &[]).unwrap();
    write(&store, "r/a", &[with("b", nothing())], &[]).unwrap();
    write(&store, "r/a", &[with("c", text(&["typed"]))], &[]).unwrap();
    write(&store, "r/a", &[with("d", nothing())], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "note"), ["null", "null", "null", "typed"]);
}

#[test]
fn a_failed_write_changes_nothing_not_even_the_schema() {
    let (_directory, store) = fresh(&[]);
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let (before, _) = read_with_schema(&store, "r/a", &all()).unwrap();
    let bad = batch(vec![
        ("id", text(&["b", "b"])),
        ("new", text(&["1", "2"])),
        ("metaxy_provenance_by_field", by_field(&["x"], &["b", "b"])),
    ]);
    let error = failure(write(&store, "r/a", &[bad], &[]));
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(error.detail("value"), Some("id=b"));
    let (after, found) = read_with_schema(&store, "r/a", &all()).unwrap();
    assert_eq!(before.schema(), after.schema());
    assert_eq!(column(&found, "id"), ["a"]);
}

#[test]
fn bad_rows_are_refused_by_name_and_leave_no_table() {
    let (directory, store) = fresh(&[]);
    let provenance = || ("metaxy_provenance_by_field", by_field(&["x"], &["a"]));
    let null: ArrayRef = Arc::new(arrow::array::LargeStringArray::from(vec![None::<&str>]));
    let cases: Vec<(RecordBatch, Status, &str, &str)> = vec![
        (batch(vec![("id", null), provenance()]), Status::InvalidArgument, "id", "no value"),
        (batch(vec![("other", text(&["a"])), provenance()]), Status::SchemaMismatch, "id", "missing"),
        (
            batch(vec![("id", text(&["a"]))]),
            Status::SchemaMismatch,
            "metaxy_provenance_by_field",
            "no column",
        ),
        (
            batch(vec![("id", text(&["a"])), ("metaxy_provenance_by_field", by_field(&["z"], &["a"]))]),
            Status::SchemaMismatch,
            "metaxy_provenance_by_field",
            "`x`",
        ),
        (
            batch(vec![("id", text(&["a"])), ("metaxy_provenance_by_field", text(&["a"]))]),
            Status::SchemaMismatch,
            "metaxy_provenance_by_field",
            "struct",
        ),
        (
            batch(vec![("id", text(&["a"])), ("metaxy_mine", text(&["a"])), provenance()]),
            Status::SchemaMismatch,
            "metaxy_mine",
            "prefix",
        ),
        (
            batch(vec![("id", text(&["a"])), ("a.b", text(&["a"])), provenance()]),
            Status::SchemaMismatch,
            "a.b",
            "dot",
        ),
    ];
    for (rows, status, column, word) in cases {
        let error = failure(write(&store, "r/a", &[rows], &[]));
        assert_eq!(error.status(), status, "{error}");
        assert_eq!(error.detail("column"), Some(column), "{error}");
        assert_eq!(error.detail("feature"), Some("r/a"), "{error}");
        assert!(error.detail("store").is_some(), "{error}");
        assert!(error.message().contains(word), "{error}");
        assert_untouched(&directory);
    }
}

#[test]
fn lossy_casts_into_the_table_are_refused() {
    let (_directory, store) = fresh(&[]);
    let with = |id: &str, n: ArrayRef, f: ArrayRef| {
        batch(vec![
            ("id", text(&[id])),
            ("n", n),
            ("f", f),
            ("metaxy_provenance_by_field", by_field(&["x"], &[id])),
        ])
    };
    let int = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let float = |f: f64| Arc::new(Float64Array::from(vec![f])) as ArrayRef;
    write(&store, "r/a", &[with("a", int(1), float(1.0))], &[]).unwrap();
    write(&store, "r/a", &[with("b", float(2.0), int(3))], &[]).unwrap();
    let error = failure(write(&store, "r/a", &[with("c", float(2.75), float(0.0))], &[]));
    assert_eq!(
        (error.status(), error.detail("column"), error.detail("value")),
        (Status::SchemaMismatch, Some("n"), Some("2.75"))
    );
    let error = failure(write(&store, "r/a", &[with("c", int(1), int((1 << 53) + 1))], &[]));
    assert_eq!((error.status(), error.detail("column")), (Status::SchemaMismatch, Some("f")));
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["a", "b"]);
}

#[test]
fn duplicates_within_a_write_are_an_error_or_the_last_is_kept() {
    let (directory, store) = fresh(&[]);
    let numbered = |ids: &[&str], from: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + ids.len() as i64));
        batch(vec![("id", text(ids)), ("n", numbers), ("metaxy_provenance_by_field", by_field(&["x"], ids))])
    };
    let batches = [numbered(&["a", "b"], 0), numbered(&["c", "a", "a"], 2)];
    let error = failure(write(&store, "r/a", &batches, &[]));
    assert_eq!(error.detail("value"), Some("id=a"));
    assert!(error.message().contains("rows 0 and 3"), "{error}");
    assert_untouched(&directory);
    write(&store, "r/a", &batches, &[("write.duplicates", "last")]).unwrap();
    // Not only does a reader see the last: the others are not in the table.
    let found = read(&store, "r/a", &ReadRequest { sample_history: true, ..all() }).unwrap();
    assert_eq!(column(&found, "n"), ["1", "2", "4"]);
}

#[test]
fn an_empty_write_makes_an_empty_table_with_its_schema() {
    let (_directory, store) = fresh(&[]);
    write(&store, "r/a", &[samples(&[])], &[]).unwrap();
    let (stream, found) = read_with_schema(&store, "r/a", &all()).unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert_eq!(stream.schema().field(0).name(), "id");
    assert_eq!(stream.schema().field(0).data_type(), &DataType::LargeUtf8);
    write(&store, "r/a", &[samples(&[])], &[]).unwrap();
}

#[test]
fn a_write_that_is_given_up_or_cancelled_leaves_nothing() {
    let (directory, store) = fresh(&[]);
    let schema = samples(&["a"]).schema();
    store
        .runtime()
        .block_on(async {
            let call = Call::default();
            let mut writer = store.writer("r/a", schema.clone(), &Options::new(), &call).await?;
            writer.push(samples(&["a"]), &call).await?;
            writer.abort().await;
            Ok(())
        })
        .unwrap();
    assert_untouched(&directory);
    let context = Context::new();
    let call = context.begin();
    let error = failure(store.runtime().block_on(async {
        let mut writer = store.writer("r/a", schema, &Options::new(), &call).await?;
        writer.push(samples(&["a"]), &call).await?;
        context.cancel();
        writer.commit(&call).await
    }));
    assert_eq!(error.status(), Status::Cancelled);
    assert_eq!(failure(read(&store, "r/a", &all())).status(), Status::NotFound);
}

/// Many rows with ids of their own, in one batch.
fn many(rows: usize) -> RecordBatch {
    let ids: Vec<String> = (0..rows).map(|row| format!("s{row:08}")).collect();
    samples(&ids.iter().map(String::as_str).collect::<Vec<_>>())
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_push_that_is_too_late_adds_none_of_its_rows() {
    let (_directory, store) = fresh(&[]);
    let large = many(300_000);
    let mut context = Context::new();
    context.set_timeout(Some(std::time::Duration::from_millis(1)));
    let mut late = 0;
    let written = store.runtime().block_on(async {
        let mut writer = store.writer("r/a", large.schema(), &Options::new(), &Call::default()).await?;
        // The channel has room for some; what does not fit in time is refused as a whole.
        for _ in 0..6 {
            match writer.push(large.clone(), &context.begin()).await {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.status(), Status::Timeout);
                    late += 1;
                }
            }
        }
        writer.abort().await;
        let mut writer = store.writer("r/a", large.schema(), &Options::new(), &Call::default()).await?;
        writer.push(large.clone(), &Call::default()).await?;
        context.set_timeout(Some(std::time::Duration::ZERO));
        assert_eq!(writer.push(large.clone(), &context.begin()).await.unwrap_err().status(), Status::Timeout);
        writer.commit(&Call::default()).await
    });
    written.unwrap();
    assert!(late > 0, "six pushes of {} rows fit into the channel", large.num_rows());
    assert_eq!(
        read(&store, "r/a", &all()).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(),
        300_000
    );
}

#[test]
fn a_commit_that_is_too_late_leaves_no_files() {
    for duplicates in ["error", "last"] {
        let (directory, store) = fresh(&[]);
        let large = many(400_000);
        let mut context = Context::new();
        context.set_timeout(Some(std::time::Duration::from_millis(20)));
        let error = failure(store.runtime().block_on(async {
            let options = crate::support::options(&[("write.duplicates", duplicates)]);
            let mut writer = store.writer("r/a", large.schema(), &options, &Call::default()).await?;
            writer.push(large.clone(), &Call::default()).await?;
            writer.commit(&context.begin()).await
        }));
        assert_eq!(error.status(), Status::Timeout, "{error}");
        assert_eq!(files(directory.path()), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn rows_of_a_table_that_was_dropped_meanwhile_are_not_acknowledged() {
    let (directory, store) = fresh(&[]);
    let error = failure(store.runtime().block_on(async {
        let rows = samples(&["a"]);
        let mut writer = store.writer("r/a", rows.schema(), &Options::new(), &Call::default()).await?;
        writer.push(rows, &Call::default()).await?;
        let data = directory.path().join("r__a.lance/data");
        while !std::fs::read_dir(&data).is_ok_and(|mut files| files.next().is_some()) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        // Lance keeps an open file under another name until it is complete.
        std::fs::rename(directory.path().join("r__a.lance"), directory.path().join("gone")).unwrap();
        writer.commit(&Call::default()).await
    }));
    assert!(matches!(error.status(), Status::Conflict | Status::NotFound | Status::Io), "{error}");
    assert_eq!(failure(read(&store, "r/a", &all())).status(), Status::NotFound);
    write(&store, "r/a", &[samples(&["b"])], &[]).unwrap();
    assert_eq!(column(&read(&store, "r/a", &all()).unwrap(), "id"), ["b"]);
}

#[test]
fn writes_that_fail_do_not_disturb_a_first_write() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|threads| {
        for writer in 0..4 {
            let path = directory.path();
            threads.spawn(move || {
                let store = open(path, &[]);
                for round in 0..15 {
                    let feature = format!("r/f{round}");
                    store.define(&root(&feature, &["x"])).unwrap();
                    if writer == 0 {
                        write(&store, &feature, &[samples(&["a"])], &[]).unwrap();
                    } else {
                        failure(write(&store, &feature, &[samples(&["a", "a"])], &[]));
                    }
                }
            });
        }
    });
    let store = open(directory.path(), &[]);
    store.define(&root("r/f7", &["x"])).unwrap();
    assert_eq!(column(&read(&store, "r/f7", &all()).unwrap(), "id"), ["a"]);
}

#[test]
fn a_store_for_reading_refuses_writes_and_a_missing_directory() {
    let (directory, _store) = fresh(&[]);
    let reader = open(directory.path(), &[("mode", "read"), ("name", "prod")]);
    reader.define(&root("r/a", &["x"])).unwrap();
    let error = failure(write(&reader, "r/a", &[samples(&["a"])], &[]));
    assert_eq!(error.status(), Status::InvalidState);
    assert!(error.message().contains("prod"), "{error}");
    let missing = directory.path().join("no/such");
    let options = crate::support::options(&[("mode", "read")]);
    let error = failure(Store::open(missing.to_str().unwrap(), &options, &Call::default()));
    assert_eq!(error.status(), Status::NotFound);
    assert!(!missing.exists());
}

#[test]
fn a_damaged_manifest_is_named_and_other_features_stay_usable() {
    let (directory, store) = fresh(&[]);
    store.define(&root("r/b", &["x"])).unwrap();
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    write(&store, "r/b", &[samples(&["b"])], &[]).unwrap();
    let versions = directory.path().join("r__a.lance/_versions");
    let newest = std::fs::read_dir(&versions)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "manifest"))
        .min()
        .unwrap();
    for length in [0, 16] {
        let bytes = std::fs::read(&newest).unwrap();
        std::fs::write(&newest, &bytes[..length]).unwrap();
        let other = open(directory.path(), &[]);
        other.define(&root("r/a", &["x"])).unwrap();
        other.define(&root("r/b", &["x"])).unwrap();
        for error in
            [failure(read(&other, "r/a", &all())), failure(write(&other, "r/a", &[samples(&["c"])], &[]))]
        {
            assert_eq!(error.status(), Status::Corrupt, "{error}");
            assert_eq!(error.detail("file"), newest.to_str());
        }
        assert_eq!(column(&read(&other, "r/b", &all()).unwrap(), "id"), ["b"]);
        std::fs::write(&newest, &bytes).unwrap();
    }
}

#[test]
fn stores_in_memory_are_private() {
    let one = Store::open("memory://", &Options::new(), &Call::default()).unwrap();
    let other = Store::open("memory://", &Options::new(), &Call::default()).unwrap();
    for store in [&one, &other] {
        store.define(&root("r/a", &["x"])).unwrap();
    }
    write(&one, "r/a", &[samples(&["a"])], &[]).unwrap();
    write(&one, "r/a", &[samples(&["b"])], &[]).unwrap();
    assert_eq!(column(&read(&one, "r/a", &all()).unwrap(), "id"), ["a", "b"]);
    assert_eq!(failure(read(&other, "r/a", &all())).status(), Status::NotFound);
}

#[test]
fn first_writers_that_start_together_lose_nothing() {
    for round in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let barrier = Arc::new(std::sync::Barrier::new(6));
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let (path, barrier) = (directory.path().to_owned(), barrier.clone());
                std::thread::spawn(move || {
                    // A cache of its own makes each store as much a stranger as another process is.
                    let cache = (1_000_000 + writer).to_string();
                    let store = open(&path, &[("cache.bytes", &cache)]);
                    store.define(&root("r/a", &["x"])).unwrap();
                    let ids = [format!("{writer}-0"), format!("{writer}-1")];
                    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                    // Columns in another order are other column numbers.
                    let mut columns =
                        vec![("id", text(&ids)), ("metaxy_provenance_by_field", by_field(&["x"], &ids))];
                    if writer % 2 == 1 {
                        columns.reverse();
                    }
                    if writer % 3 == 1 {
                        columns.push(("extra", text(&ids)));
                    }
                    barrier.wait();
                    write(&store, "r/a", &[batch(columns)], &[]).unwrap();
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        let store = open(directory.path(), &[]);
        store.define(&root("r/a", &["x"])).unwrap();
        let found = read(&store, "r/a", &all()).unwrap();
        assert_eq!(column(&found, "id").len(), 12, "round {round}");
        assert_eq!(rows(&found).iter().filter(|row| row["extra"] == row["id"]).count(), 4, "round {round}");
    }
}

#[test]
fn a_directory_that_metaxy_wrote_is_written_by_its_settings() {
    let expected = golden_json("stores/basic.expected.json");
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("stores/basic"), directory.path());
    let store = open(directory.path(), &[("project", "golden")]);
    store.define(&expected["graphs"]["v1"].to_string()).unwrap();
    let given = batch(vec![
        ("video_id", text(&["new"])),
        ("metaxy_provenance_by_field", by_field(&["audio", "frames"], &["new"])),
    ]);
    write(&store, "example/video", &[given], &[]).unwrap();
    let request = ReadRequest { filters: vec!["video_id = 'new'".into()], ..all() };
    let row = rows(&read(&store, "example/video", &request).unwrap()).remove(0);
    assert_eq!(row["metaxy_feature_version"], expected["feature_versions"]["v1"]["example/video"]);
    assert_eq!(row["metaxy_project_version"], expected["project_version"]["v1"]);
    let hash = xxhash_rust::xxh32::xxh32(b"new-audio|new-frames", 0).to_string();
    assert_eq!(row["metaxy_provenance"], hash[..8]);
    // A feature whose table does not exist yet follows the other tables.
    store.define(&root("r/a", &["x"])).unwrap();
    let store = open(directory.path(), &[("project", "golden")]);
    store.define(&root("r/a", &["x"])).unwrap();
    write(&store, "r/a", &[samples(&["a"])], &[]).unwrap();
    let row = rows(&read(&store, "r/a", &all()).unwrap()).remove(0);
    assert_eq!(row["metaxy_feature_version"].as_str().unwrap().len(), 8);
    let hash = xxhash_rust::xxh32::xxh32(b"a-x", 0).to_string();
    assert_eq!(row["metaxy_provenance"], hash[..hash.len().min(8)]);
}

#[test]
fn rows_of_a_map_table_are_stored_as_entries() {
    let expected = golden_json("stores/map.expected.json");
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("stores/map"), directory.path());
    let store = open(directory.path(), &[]);
    store.define(&expected["graph"].to_string()).unwrap();
    let given =
        batch(vec![("id", text(&["9"])), ("metaxy_provenance_by_field", by_field(&["x", "y"], &["9"]))]);
    write(&store, "mp/a", &[given], &[]).unwrap();
    let request = ReadRequest { filters: vec!["id = '9'".into()], ..all() };
    let row = rows(&read(&store, "mp/a", &request).unwrap()).remove(0);
    assert_eq!(
        row["metaxy_provenance_by_field"],
        json!([{"key": "x", "value": "9-x"}, {"key": "y", "value": "9-y"}])
    );
    let found = read(&store, "mp/a", &all()).unwrap();
    assert_eq!(found.iter().map(|batch| batch.column(0).len()).sum::<usize>(), 3);
}
