//! What the tests of increments share: rows from JSON, and what resolving finds as JSON.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use metaxy::Result;
use metaxy::store::context::Call;
use metaxy::store::{Increment, IncrementRequest, Part, Store};
use serde_json::{Value, json};

use crate::support::rows;

/// What resolving a feature found, rows sorted.
#[derive(Debug)]
pub struct Found {
    pub new: Vec<Value>,
    pub stale: Vec<Value>,
    pub orphaned: Vec<Value>,
    pub progress: Option<f64>,
    /// The columns of the new rows, and those of the stale ones.
    pub columns: [Vec<String>; 2],
}

pub fn resolve(store: &Store, feature: &str, request: &IncrementRequest) -> Result<Found> {
    store.runtime().block_on(async {
        let increment = store.resolve_update(feature, request, &Call::default()).await?;
        read(&increment, request).await
    })
}

pub fn resolve_samples(
    store: &Store,
    feature: &str,
    samples: &RecordBatch,
    request: &IncrementRequest,
) -> Result<Found> {
    store.runtime().block_on(async {
        let call = Call::default();
        let mut resolver = store.resolve_samples(feature, samples.schema(), request, &call).await?;
        resolver.push(samples.clone(), &call).await?;
        read(&resolver.finish(&call).await?, request).await
    })
}

/// Reads the parts in another order than that in which they were found, and checks their counts.
async fn read(increment: &Increment, request: &IncrementRequest) -> Result<Found> {
    let mut found = Found {
        new: Vec::new(),
        stale: Vec::new(),
        orphaned: Vec::new(),
        progress: increment.input_progress(),
        columns: Default::default(),
    };
    for part in [Part::Orphaned, Part::New, Part::Stale] {
        let mut stream = increment.read(part, &Call::default()).await?;
        let columns = stream.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut batches: Vec<RecordBatch> = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            assert!(request.batch_rows.is_none_or(|most| batch.num_rows() <= most), "a batch of {part:?}");
            batches.push(batch);
        }
        let read = rows(&batches);
        assert_eq!(increment.count(part), read.len() as u64, "the count of {part:?}");
        match part {
            Part::New => (found.new, found.columns[0]) = (read, columns),
            Part::Stale => (found.stale, found.columns[1]) = (read, columns),
            Part::Orphaned => found.orphaned = read,
        }
    }
    Ok(found)
}

/// Rows with columns of the types that golden data name: `str`, `i64`, or `["struct", member, ...]`; or `["map", key, ...]`,
/// whose rows have all these keys, as those of a struct have all its members.
pub fn batch_of(columns: &[(String, Value)], rows: &[Value]) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, kind)| Field::new(name, data_type(kind), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    if rows.is_empty() {
        return RecordBatch::new_empty(schema);
    }
    let mut decoder =
        arrow_json::ReaderBuilder::new(schema).with_batch_size(rows.len()).build_decoder().unwrap();
    let mut rows = rows.to_vec();
    for (name, kind) in columns.iter().filter(|(_, kind)| kind[0] == "map") {
        for row in &mut rows {
            if let Some(map) = row[name].as_object_mut() {
                for key in &kind.as_array().unwrap()[1..] {
                    map.entry(key.as_str().unwrap()).or_insert(Value::Null);
                }
            }
        }
    }
    decoder.serialize(&rows).unwrap();
    decoder.flush().unwrap().unwrap()
}

fn data_type(kind: &Value) -> DataType {
    match kind {
        Value::Array(parts) if parts[0] == "map" => {
            let entry = [
                Field::new("key", DataType::LargeUtf8, false),
                Field::new("value", DataType::LargeUtf8, true),
            ];
            let entries = Field::new("entries", DataType::Struct(entry.into_iter().collect()), false);
            DataType::Map(Arc::new(entries), false)
        }
        Value::Array(parts) => {
            let members =
                parts[1..].iter().map(|name| Field::new(name.as_str().unwrap(), DataType::LargeUtf8, true));
            DataType::Struct(members.collect())
        }
        kind => match kind.as_str().unwrap() {
            "str" => DataType::LargeUtf8,
            "i64" => DataType::Int64,
            "i32" => DataType::Int32,
            "f64" => DataType::Float64,
            other => panic!("no type is called {other}"),
        },
    }
}

/// Writes JSON rows.
pub fn write(store: &Store, feature: &str, columns: &[(String, Value)], rows: &[Value]) {
    crate::support::write(store, feature, &[batch_of(columns, rows)], &[])
        .unwrap_or_else(|error| panic!("writing {feature}: {error}"));
}

/// Writes JSON rows to a store in `directory`, also such as only Metaxy writes: without values in the columns `ids`.
pub fn write_as_metaxy(
    store: &Store,
    directory: &Path,
    feature: &str,
    columns: &[(String, Value)],
    ids: &[String],
    rows: &[Value],
) {
    let (text, number) = ("no value", -4_611_686_018_427_387_904_i64);
    let mut written = rows.to_vec();
    let mut updates = Vec::new();
    for id in ids {
        let (_, kind) = columns.iter().find(|(column, _)| column == id).unwrap();
        let (mark, condition) = match kind.as_str().unwrap() {
            "str" => (json!(text), format!("{id} = '{text}'")),
            _ => (json!(number), format!("{id} = {number}")),
        };
        let nulls = written.iter_mut().filter(|row| row.get(id).is_none_or(Value::is_null));
        let nulls: Vec<_> = nulls.map(|row| row[id] = mark.clone()).collect();
        if !nulls.is_empty() {
            updates.push((id, condition));
        }
    }
    write(store, feature, columns, &written);
    let name = feature.replace('/', "__").replace('-', "_");
    let removed = store.runtime().block_on(async {
        for (id, condition) in updates {
            let database = lancedb::connect(directory.to_str().unwrap()).execute().await.unwrap();
            let table = database.open_table(&name).execute().await.unwrap();
            table.update().only_if(condition).column(id, "NULL").execute().await.unwrap();
        }
        Ok(())
    });
    removed.unwrap();
}
