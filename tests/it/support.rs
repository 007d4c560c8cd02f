//! What the tests share: stores to work on, rows from and to JSON.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::{ArrayRef, LargeStringArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use metaxy::log::{Level, set_sink};
use metaxy::store::context::Call;
use metaxy::store::options::Options;
use metaxy::store::{ReadRequest, RowStream, Store};
use metaxy::{Error, Result};
use serde_json::{Value, json};

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

pub fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::new();
    for (key, value) in pairs {
        options.set(key, Some(value)).unwrap();
    }
    options
}

/// Raises a flag when it goes, by a failed assertion too: others wait for it.
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the library logs while this is held; only one test at a time may listen.
pub struct Listener {
    heard: Arc<Mutex<Vec<String>>>,
    _turn: MutexGuard<'static, ()>,
}

/// Listens to messages of `level` and more urgent ones that contain `about`: other tests log, too.
pub fn listen(level: Level, about: &str) -> Listener {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (messages, about) = (heard.clone(), about.to_owned());
    let sink = move |_, message: &str| {
        if message.contains(&about) {
            messages.lock().unwrap().push(message.to_owned());
        }
    };
    set_sink(Some((level, Arc::new(sink))));
    Listener { heard, _turn: turn }
}

impl Listener {
    /// What was logged since it was last asked.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        set_sink(None);
    }
}

pub fn open(directory: &Path, pairs: &[(&str, &str)]) -> Store {
    Store::open(directory.to_str().unwrap(), &options(pairs), &Call::default()).unwrap()
}

/// Copies a directory, so that a test can write into it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn read(store: &Store, feature: &str, request: &ReadRequest) -> Result<Vec<RecordBatch>> {
    let (_, batches) = read_with_schema(store, feature, request)?;
    Ok(batches)
}

pub fn read_with_schema(
    store: &Store,
    feature: &str,
    request: &ReadRequest,
) -> Result<(RowStream, Vec<RecordBatch>)> {
    store.runtime().block_on(async {
        let mut rows = store.read(feature, request, &Call::default()).await?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await {
            batches.push(batch?);
        }
        Ok((rows, batches))
    })
}

pub fn write(store: &Store, feature: &str, batches: &[RecordBatch], pairs: &[(&str, &str)]) -> Result<()> {
    let call = Call::default();
    store.runtime().block_on(async {
        let mut writer = store.writer(feature, batches[0].schema(), &options(pairs), &call).await?;
        for batch in batches {
            writer.push(batch.clone(), &call).await?;
        }
        writer.commit(&call).await
    })
}

/// Rows as JSON objects, nulls and all, timestamps as Python writes them, sorted.
pub fn rows(batches: &[RecordBatch]) -> Vec<Value> {
    let mut writer = arrow_json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow_json::writer::LineDelimited>(Vec::new());
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    let rows = text.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        for (name, value) in row.as_object_mut().unwrap() {
            if name.ends_with("_at") {
                if let Some(time) = value.as_str().and_then(|time| time.strip_suffix('Z')) {
                    *value = json!(format!("{time}+00:00"));
                }
            }
        }
        row
    });
    sorted(rows.collect())
}

pub fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| serde_json::to_string(row).unwrap());
    rows
}

/// A root feature with string ids `id` and the fields `fields`.
pub fn root(key: &str, fields: &[&str]) -> String {
    let fields: Vec<Value> = fields.iter().map(|field| json!({"key": field, "code_version": "1"})).collect();
    json!({"key": key, "id_columns": ["id"], "fields": fields}).to_string()
}

/// A by-field column: one struct per row with the same value in each member.
pub fn by_field(members: &[&str], values: &[&str]) -> ArrayRef {
    let fields: Fields =
        members.iter().map(|member| Field::new(*member, DataType::LargeUtf8, true)).collect();
    let columns = members
        .iter()
        .map(|member| {
            let values = values.iter().map(|value| Some(format!("{value}-{member}")));
            Arc::new(LargeStringArray::from_iter(values)) as ArrayRef
        })
        .collect();
    Arc::new(StructArray::new(fields, columns, None))
}

pub fn text(values: &[&str]) -> ArrayRef {
    Arc::new(LargeStringArray::from_iter_values(values))
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

/// Rows with the ids `ids` for a feature made by [`root`] with the field `x`.
pub fn samples(ids: &[&str]) -> RecordBatch {
    batch(vec![("id", text(ids)), ("metaxy_provenance_by_field", by_field(&["x"], ids))])
}

/// The values of a string column over all batches, sorted.
pub fn column(batches: &[RecordBatch], name: &str) -> Vec<String> {
    let mut values: Vec<String> = rows(batches)
        .iter()
        .map(|row| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned))
        .collect();
    values.sort();
    values
}

/// The error of a call that must fail.
pub fn failure<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("the call succeeded"),
        Err(error) => error,
    }
}
