//! Reading: what is current, in which shape it comes, and that it streams.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use metaxy::Status;
use metaxy::store::context::{Call, Context};
use metaxy::store::{ReadRequest, Store};

use crate::support::{
    batch, by_field, column, failure, open, read, read_with_schema, root, samples, text, write,
};

const ROWS: i64 = 50_000;

/// A store with `ROWS` samples, every tenth of them written twice, the numbers of the rewritten ones
/// negative.
fn filled() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[]);
    store.define(&root("r/a", &["x"])).unwrap();
    let rows = |numbers: Vec<i64>, sign: i64| {
        let ids: Vec<String> = numbers.iter().map(|n| format!("s{n:06}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let signed: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| n * sign)));
        batch(vec![
            ("id", text(&ids)),
            ("Number", signed),
            ("metaxy_provenance_by_field", by_field(&["x"], &ids)),
        ])
    };
    write(&store, "r/a", &[rows((0..ROWS).collect(), 1)], &[]).unwrap();
    write(&store, "r/a", &[rows((0..ROWS).step_by(10).collect(), -1)], &[]).unwrap();
    (directory, store)
}

fn count(batches: &[RecordBatch]) -> i64 {
    batches.iter().map(|batch| batch.num_rows() as i64).sum()
}

fn filtered(filters: &[&str]) -> ReadRequest {
    ReadRequest {
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
        ..ReadRequest::default()
    }
}

#[test]
fn filters_see_the_latest_row_of_a_sample_only() {
    let (_directory, store) = filled();
    assert_eq!(count(&read(&store, "r/a", &ReadRequest::default()).unwrap()), ROWS);
    // 10 was replaced by -10: the row that has 10 must not come back through the filter.
    assert_eq!(count(&read(&store, "r/a", &filtered(&["Number = 10"])).unwrap()), 0);
    assert_eq!(
        column(&read(&store, "r/a", &filtered(&["Number IN (-10, 11)"])).unwrap(), "id"),
        ["s000010", "s000011"]
    );
    assert_eq!(column(&read(&store, "r/a", &filtered(&["id = 's000010'"])).unwrap(), "Number"), ["-10"]);
    assert_eq!(
        column(
            &read(&store, "r/a", &filtered(&["id > 's000010'", "Number < 12", "Number > 0"])).unwrap(),
            "Number"
        ),
        ["11"]
    );
    assert_eq!(count(&read(&store, "r/a", &filtered(&["Number < 0 OR Number > 0"])).unwrap()), ROWS - 1);
    let history = ReadRequest { sample_history: true, ..filtered(&["Number = 10"]) };
    assert_eq!(count(&read(&store, "r/a", &history).unwrap()), 1);
}

#[test]
fn bad_filters_and_columns_say_where_and_what() {
    let (_directory, store) = filled();
    let error = failure(read(&store, "r/a", &filtered(&["nmber = 1"])));
    assert_eq!((error.status(), error.detail("column")), (Status::InvalidArgument, Some("nmber")));
    let error = failure(read(&store, "r/a", &filtered(&["Number = 1 AND ("])));
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.detail("position").is_some(), "{error}");
    let request = ReadRequest { columns: Some(vec!["nope".into()]), ..ReadRequest::default() };
    let error = failure(read(&store, "r/a", &request));
    assert_eq!((error.status(), error.detail("column")), (Status::InvalidArgument, Some("nope")));
}

#[test]
fn batches_and_limits_are_as_asked() {
    let (_directory, store) = filled();
    for filters in [vec![], vec!["Number >= 0"], vec!["id >= 's000000'"], vec!["Number >= 49000"]] {
        let request = ReadRequest { batch_rows: Some(700), limit: Some(1000), ..filtered(&filters) };
        let found = read(&store, "r/a", &request).unwrap();
        let expected = if filters == ["Number >= 49000"] { 900 } else { 1000 };
        assert_eq!(count(&found), expected, "{filters:?}");
        assert!(found.iter().all(|batch| batch.num_rows() <= 700), "{filters:?}");
    }
    let none = ReadRequest { limit: Some(0), ..ReadRequest::default() };
    assert_eq!(count(&read(&store, "r/a", &none).unwrap()), 0);
    let error = failure(read(&store, "r/a", &ReadRequest { batch_rows: Some(0), ..ReadRequest::default() }));
    assert_eq!(error.status(), Status::InvalidArgument);
}

#[test]
fn the_schema_is_there_when_no_row_is() {
    let (_directory, store) = filled();
    let request = ReadRequest { columns: Some(vec!["Number".into()]), ..filtered(&["Number = 10"]) };
    let (stream, found) = read_with_schema(&store, "r/a", &request).unwrap();
    assert_eq!(count(&found), 0);
    assert_eq!(stream.schema().field(0).name(), "Number");
}

#[test]
fn a_stream_outlives_its_store_and_does_not_see_later_writes() {
    let (_directory, store) = filled();
    let runtime = store.runtime().clone();
    let request = ReadRequest { batch_rows: Some(1000), ..ReadRequest::default() };
    let mut rows = runtime.block_on(store.read("r/a", &request, &Call::default())).unwrap();
    write(&store, "r/a", &[samples(&["later"])], &[]).unwrap();
    store.close().unwrap();
    assert_eq!(failure(read(&store, "r/a", &request)).status(), Status::InvalidState);
    drop(store);
    drop(runtime);
    let runtime = rows.runtime().clone();
    let mut found = 0;
    while let Some(batch) = runtime.block_on(async { rows.next().await.transpose() }).unwrap() {
        found += batch.num_rows() as i64;
    }
    assert_eq!(found, ROWS);
}

#[test]
fn what_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), &[("name", "dev")]);
    let error = failure(read(&store, "r/a", &ReadRequest::default()));
    assert_eq!(error.status(), Status::NotFound);
    assert!(error.message().contains("not defined"), "{error}");
    store.define(&root("r/a", &["x"])).unwrap();
    let error = failure(read(&store, "r/a", &ReadRequest::default()));
    assert_eq!((error.status(), error.detail("feature")), (Status::NotFound, Some("r/a")));
    assert!(error.detail("store").unwrap().contains("dev"));
    assert_eq!(failure(read(&store, "R/a", &ReadRequest::default())).status(), Status::InvalidArgument);
}

#[test]
fn a_cancelled_or_late_call_ends() {
    let (_directory, store) = filled();
    let mut context = Context::new();
    context.set_timeout(Some(Duration::ZERO));
    let call = context.begin();
    let error = failure(store.runtime().block_on(store.read("r/a", &ReadRequest::default(), &call)));
    assert_eq!(error.status(), Status::Timeout);
    assert!(error.is_retryable());
    let context = Context::new();
    context.cancel();
    let call = context.begin();
    let error = failure(store.runtime().block_on(store.read("r/a", &ReadRequest::default(), &call)));
    assert_eq!(error.status(), Status::Cancelled);
}
