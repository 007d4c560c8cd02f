//! The rows that a table has already, so that a copy adds no row twice.
//!
//! Two rows are the same row when they agree in their ids, their feature version, the times of their
//! update and deletion, and in their two hashes, provenance and data version. The hashes tell rows
//! apart that were written with one time, as Metaxy's own copies of a history are. Other columns are
//! not compared.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use futures::TryStreamExt;

use super::conform::conform;
use super::identity::Identity;
use super::samples::{PARTS, part};
use super::system_columns as system;
use crate::backend::Table;
use crate::error::{Error, Result, Status};

/// What is compared besides the ids.
fn compared() -> [(&'static str, DataType); 5] {
    [
        (system::FEATURE_VERSION, DataType::LargeUtf8),
        (system::UPDATED_AT, system::timestamp()),
        (system::DELETED_AT, system::timestamp()),
        (system::PROVENANCE, DataType::LargeUtf8),
        (system::DATA_VERSION, DataType::LargeUtf8),
    ]
}

/// The rows of one version of a table. One costs 16 bytes, and up to a fifth more of room to grow.
pub struct Present {
    rows: Rows,
    /// Sorted, each, and kept apart by their first bits.
    parts: Vec<Vec<u128>>,
}

impl Present {
    /// Looks through `table`, whose feature has these id columns.
    pub async fn of(table: &Table, id_columns: &[String]) -> Result<Present> {
        let schema = table.schema();
        let rows = Rows::new(table.name(), id_columns, &schema)?;
        let columns = rows.ids.iter().map(|id| id.name().as_str()).chain(compared().map(|(name, _)| name));
        let columns = columns.filter(|name| schema.column_with_name(name).is_some()).map(str::to_owned);
        let mut batches = table.scan(columns.collect()).stream().await?;
        let (mut parts, mut numbers) = (vec![Vec::new(); PARTS], Vec::new());
        while let Some(batch) = batches.try_next().await? {
            numbers.clear();
            rows.append(&batch, &mut numbers)?;
            for number in &numbers {
                if let Some(part) = parts.get_mut(part(*number)) {
                    if part.len() == part.capacity() {
                        // Doubling would cost up to 32 bytes for each row.
                        part.reserve_exact(part.len() / 5 + 16);
                    }
                    part.push(*number);
                }
            }
        }
        let sorted = tokio::task::spawn_blocking(move || {
            parts.iter_mut().for_each(|part| part.sort_unstable());
            parts
        });
        let parts = sorted
            .await
            .map_err(|cause| Error::new(Status::Internal, format!("sorting rows failed: {cause}")))?;
        Ok(Present { rows, parts })
    }

    /// The rows of `batch` that are not among these. A row that comes twice stays so.
    pub fn missing(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut numbers = Vec::with_capacity(batch.num_rows());
        self.rows.append(batch, &mut numbers)?;
        let missing: BooleanArray = numbers.into_iter().map(|number| Some(!self.has(number))).collect();
        filter_record_batch(batch, &missing).map_err(|cause| self.rows.unusable(&cause))
    }

    fn has(&self, number: u128) -> bool {
        self.parts.get(part(number)).is_some_and(|part| part.binary_search(&number).is_ok())
    }
}

/// Turns rows into one number each, by what makes them the same row.
struct Rows {
    table: String,
    /// The id columns in the types of the table.
    ids: Vec<Field>,
    identity: Identity,
}

impl Rows {
    fn new(table: &str, id_columns: &[String], schema: &Schema) -> Result<Rows> {
        let of_table =
            |name: &String| schema.field_with_name(name).cloned().map_err(|cause| unusable(table, &cause));
        let ids = id_columns.iter().map(of_table).collect::<Result<Vec<Field>>>()?;
        let types: Vec<DataType> = ids
            .iter()
            .map(|id| id.data_type().clone())
            .chain(compared().map(|(_, data_type)| data_type))
            .collect();
        let identity = Identity::new(&types).map_err(|cause| unusable(table, &cause))?;
        Ok(Rows { table: table.to_owned(), ids, identity })
    }

    fn append(&self, batch: &RecordBatch, numbers: &mut Vec<u128>) -> Result<()> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for id in &self.ids {
            let Some(column) = batch.column_by_name(id.name()) else {
                let message = format!("the id column {} is missing", id.name());
                return Err(self.unusable(&ArrowError::SchemaError(message)));
            };
            columns.push(conform(column, id, 0)?);
        }
        for (name, data_type) in compared() {
            columns.push(match batch.column_by_name(name) {
                Some(column) => cast(column, &data_type).map_err(|cause| self.unusable(&cause))?,
                // Tables of the first releases of Metaxy lack some.
                None => new_null_array(&data_type, batch.num_rows()),
            });
        }
        self.identity.append(&columns, numbers).map_err(|cause| self.unusable(&cause))
    }

    fn unusable(&self, cause: &ArrowError) -> Error {
        unusable(&self.table, cause)
    }
}

fn unusable(table: &str, cause: &ArrowError) -> Error {
    let message = format!("rows cannot be compared with those of the table {table}: {cause}");
    Error::new(Status::SchemaMismatch, message).caused_by(cause).with("table", table)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, LargeStringArray, StringArray, TimestampNanosecondArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn numbers(rows: &Rows, batch: &RecordBatch) -> Vec<u128> {
        let mut numbers = Vec::new();
        rows.append(batch, &mut numbers).unwrap();
        numbers
    }

    #[test]
    fn rows_are_compared_whatever_their_types_and_whatever_columns_they_lack() {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        let rows = Rows::new("t", &["id".to_owned()], &schema).unwrap();
        let time = |nanoseconds: Vec<i64>| -> ArrayRef {
            Arc::new(TimestampNanosecondArray::from(nanoseconds).with_timezone("UTC"))
        };
        let one = numbers(
            &rows,
            &batch(vec![
                ("id", Arc::new(Int64Array::from(vec![1, 1, 2, 1]))),
                (system::UPDATED_AT, time(vec![1000, 2000, 1000, 1000])),
                (system::PROVENANCE, Arc::new(LargeStringArray::from(vec!["p", "p", "p", "q"]))),
            ]),
        );
        let other = numbers(
            &rows,
            &batch(vec![
                (system::PROVENANCE, Arc::new(StringArray::from(vec!["p"]))),
                (system::DELETED_AT, Arc::new(arrow::array::NullArray::new(1))),
                (system::UPDATED_AT, time(vec![1000])),
                ("other", Arc::new(Int32Array::from(vec![7]))),
                ("id", Arc::new(Int32Array::from(vec![1]))),
            ]),
        );
        assert_eq!(other, one[..1]);
        let mut distinct = one.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), one.len());
    }
}
