//! Removing rows of a server's table, which is asked for by a condition, and not by their place.

use std::collections::HashSet;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, Operator, and, or};
use futures::TryStreamExt;

use super::ask::ask;
use super::database::Database;
use super::failure::Fault;
use super::mark::{is_plain, plain_columns};
use super::scan::{Scan, numbered};
use super::sql::sql;
use super::table::Table;
use crate::backend::condition::joined;
use crate::backend::scan::{Query, Scan as Facade};
use crate::backend::work::Erased;
use crate::error::{Error, Result, Status};

/// Rows that are named in one request, and the length of its condition.
const ROWS: usize = 512;
const LONGEST: usize = 512 << 10;

impl Database {
    /// Removes the rows of `table` at the addresses `steps`, counting them as `removed`.
    ///
    /// A condition names rows by their numbers, and by their values in the columns `identifying` as well: the
    /// rows that have the numbers by then may be others, and those are not touched. Rows that were moved, or
    /// removed, by others first are noticed, since fewer go than were named. It takes one request per some
    /// hundreds of rows, which are no transaction: when one of them fails, or finds its rows moved, the rows of
    /// those before it are gone, and maybe others that it named; none of a later step is.
    pub async fn delete_rows(
        &self,
        table: &Table,
        steps: Vec<Vec<u64>>,
        identifying: &[String],
        removed: &mut u64,
    ) -> Result<Erased> {
        let query = Query {
            columns: plain_columns(&table.schema(), identifying),
            predicate: None,
            batch_rows: ROWS,
            address: true,
            limit: None,
        };
        let mut version = table.version();
        for addresses in steps.into_iter().filter(|addresses| !addresses.is_empty()) {
            let mut rows = Scan::new(table.clone(), query.clone()).rows(addresses).await?;
            while let Some(batch) = rows.try_next().await? {
                let mut left = batch;
                while left.num_rows() > 0 {
                    let (chunk, condition) = self.condition(table, &left)?;
                    match self.delete_chunk(table, &chunk, condition, removed).await? {
                        Erased::Done { version: later } => version = version.max(later),
                        Erased::Overtaken => return Ok(Erased::Overtaken),
                    }
                    left = left.slice(chunk.num_rows(), left.num_rows() - chunk.num_rows());
                }
            }
        }
        Ok(Erased::Done { version })
    }

    /// The first of `rows`, as many as one condition can name, and that condition.
    fn condition(&self, table: &Table, rows: &RecordBatch) -> Result<(RecordBatch, String)> {
        let mut count = rows.num_rows();
        loop {
            let chunk = rows.slice(0, count);
            let named = addresses(&chunk)?;
            let condition = sql(&and(numbered(&named), values(&chunk)?));
            let condition =
                condition.map_err(|cause| table.failed("remove rows of", cause))?.unwrap_or_default();
            if condition.len() <= LONGEST || count == 1 {
                return Ok((chunk, condition));
            }
            count = count.div_ceil(2);
        }
    }

    async fn delete_chunk(
        &self,
        table: &Table,
        chunk: &RecordBatch,
        condition: String,
        removed: &mut u64,
    ) -> Result<Erased> {
        let Some(handle) = self.handle(table.name()).await? else { return Ok(Erased::Overtaken) };
        let rows = chunk.num_rows() as u64;
        // Doing it twice is doing it once.
        let deleted = ask(|| handle.delete(condition.as_str().into())).await;
        let (version, told) = match deleted {
            Ok(deleted) if deleted.num_deleted_rows == rows => {
                *removed += rows;
                return Ok(Erased::Done { version: deleted.version });
            }
            // What some servers say whatever they did, and all when they are asked again.
            Ok(deleted) => (deleted.version, deleted.num_deleted_rows),
            Err(cause) if Fault::of(&cause) == Fault::Absent => return Ok(Erased::Overtaken),
            Err(cause) => return Err(table.failed("remove rows of", cause)),
        };
        *removed += told.min(rows);
        let values = values(chunk)?;
        let Some(newest) = self.open(table.name()).await? else { return Ok(Erased::Overtaken) };
        let left = newest.count(Some(&values)).await? as u64;
        let gone = (table.count(Some(&values)).await? as u64).saturating_sub(left);
        if left == 0 || gone >= rows {
            *removed += rows.saturating_sub(told);
            return Ok(Erased::Done { version: version.max(newest.version()) });
        }
        Ok(Erased::Overtaken)
    }
}

fn addresses(rows: &RecordBatch) -> Result<Vec<u64>> {
    let column =
        rows.column_by_name(Facade::ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let column = column.ok_or_else(|| Error::new(Status::Internal, "rows came without their addresses"))?;
    Ok(column.values().to_vec())
}

/// The condition that each column of a row has a value that it has in one of `rows`.
fn values(rows: &RecordBatch) -> Result<Expr> {
    let schema = rows.schema();
    let mut conditions = Vec::new();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        if field.name() != Facade::ADDRESS {
            conditions.extend(among(field.name(), column));
        }
    }
    joined(conditions, Operator::And).ok_or_else(|| {
        let message = "the rows have no column by which they could be told apart from those that others write; remove them \
                       where the files of the table are";
        Error::new(Status::Unsupported, message)
    })
}

/// Nothing for a column with other values than plain ones.
fn among(name: &str, column: &ArrayRef) -> Option<Expr> {
    let mut distinct = HashSet::new();
    for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
        distinct.insert(ScalarValue::try_from_array(column, row).ok().filter(is_plain)?);
    }
    let place = || Expr::Column(Column::from_name(name));
    let literals = distinct.into_iter().map(|value| Expr::Literal(value, None)).collect::<Vec<_>>();
    let one_of = (!literals.is_empty()).then(|| place().in_list(literals, false));
    let none = (column.null_count() > 0).then(|| place().is_null());
    one_of.into_iter().chain(none).reduce(or)
}
