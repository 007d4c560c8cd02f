//! What rows are recognised by in a table, when nobody says whether they have come there.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, Operator};

use crate::backend::condition::joined;

/// Of so many rows at least, if there are as many, each is looked for.
const SAMPLES: usize = 16;

/// The longest text by which rows are told apart.
const LONGEST_TEXT: usize = 1024;

/// The conditions that some rows meet.
pub struct Mark {
    /// What all of them have in common, such as the time of their write; nothing if that is nothing.
    pub common: Option<Expr>,
    /// To be one of `sampled` of them.
    pub sample: Option<Expr>,
    pub sampled: usize,
}

/// Makes a mark while the rows pass.
pub struct Marking {
    columns: Vec<Watched>,
    /// Conditions of every so many rows, evenly over all.
    samples: Vec<Option<Expr>>,
    stride: u64,
    rows: u64,
}

struct Watched {
    name: String,
    value: Value,
}

/// What a column has had so far.
enum Value {
    None,
    One(ScalarValue),
    Several,
}

impl Marking {
    /// Rows are told from others by the columns `identifying`, as far as they are there and plain.
    pub fn new(schema: &Schema, identifying: &[String]) -> Marking {
        let columns = plain_columns(schema, identifying).into_iter();
        let columns = columns.map(|name| Watched { name, value: Value::None }).collect();
        Marking { columns, samples: Vec::new(), stride: 1, rows: 0 }
    }

    pub fn see(&mut self, batch: &RecordBatch) {
        for watched in &mut self.columns {
            if let Some(column) = batch.column_by_name(&watched.name) {
                watched.see(column);
            }
        }
        let rows = batch.num_rows() as u64;
        let mut next = self.rows.next_multiple_of(self.stride);
        while next < self.rows + rows {
            let place = (next - self.rows) as usize;
            self.samples.push(self.like(batch, place));
            if self.samples.len() == 2 * SAMPLES {
                let mut even = false;
                self.samples.retain(|_| {
                    even = !even;
                    even
                });
                self.stride *= 2;
            }
            next = (next + 1).next_multiple_of(self.stride);
        }
        self.rows += rows;
    }

    pub fn finish(self) -> Mark {
        let common = self.columns.into_iter().filter_map(|watched| match watched.value {
            Value::One(value) if is_plain(&value) => Some(equal(&watched.name, value)),
            _ => None,
        });
        let samples: Vec<Expr> = self.samples.into_iter().flatten().collect();
        Mark {
            common: joined(common.collect(), Operator::And),
            sampled: samples.len(),
            sample: joined(samples, Operator::Or),
        }
    }

    /// The condition that a row has the values of this one.
    fn like(&self, batch: &RecordBatch, row: usize) -> Option<Expr> {
        let equals = self.columns.iter().filter_map(|watched| {
            let column = batch.column_by_name(&watched.name)?;
            let value = ScalarValue::try_from_array(column, row).ok().filter(is_plain)?;
            Some(equal(&watched.name, value))
        });
        joined(equals.collect(), Operator::And)
    }
}

impl Watched {
    fn see(&mut self, column: &ArrayRef) {
        if column.is_empty() {
            return;
        }
        if matches!(self.value, Value::None) {
            self.value = ScalarValue::try_from_array(column, 0).map_or(Value::Several, Value::One);
        }
        let Value::One(value) = &self.value else { return };
        let same = value.to_scalar().ok().and_then(|value| not_distinct(column, &value).ok());
        if same.is_none_or(|same| same.true_count() != column.len()) {
            self.value = Value::Several;
        }
    }
}

fn equal(name: &str, value: ScalarValue) -> Expr {
    Expr::Column(Column::from_name(name)).eq(Expr::Literal(value, None))
}

/// Those of the columns `identifying` that are in `schema` and of a type by which rows are told apart.
pub fn plain_columns(schema: &Schema, identifying: &[String]) -> Vec<String> {
    let plain = |name: &&String| {
        schema.field_with_name(name).is_ok_and(|field| match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Timestamp(..) => true,
            data_type => data_type.is_integer(),
        })
    };
    identifying.iter().filter(plain).cloned().collect()
}

/// Whether rows can be told apart by this value, in a request of moderate size.
pub fn is_plain(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => text.len() <= LONGEST_TEXT,
        value => !value.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, LargeStringArray};

    use super::*;

    fn mark(batches: &[(i64, std::ops::Range<i64>)]) -> Mark {
        let batch = |(time, ids): &(i64, std::ops::Range<i64>)| {
            let texts = LargeStringArray::from_iter_values(ids.clone().map(|id| format!("t{id}")));
            let times = Int64Array::from_iter_values(ids.clone().map(|_| *time));
            RecordBatch::try_from_iter([
                ("id", Arc::new(Int64Array::from_iter_values(ids.clone())) as ArrayRef),
                ("time", Arc::new(times) as _),
                ("other", Arc::new(texts) as _),
            ])
            .unwrap()
        };
        let batches: Vec<RecordBatch> = batches.iter().map(batch).collect();
        let mut marking =
            Marking::new(&batches[0].schema(), &["id".to_owned(), "time".to_owned(), "none".to_owned()]);
        for batch in &batches {
            marking.see(batch);
        }
        marking.finish()
    }

    #[test]
    fn what_all_rows_share_is_told_and_some_of_them() {
        let small = mark(&[(7, 0..2), (7, 2..2), (7, 2..3)]);
        assert_eq!(small.common.unwrap().to_string(), "time = Int64(7)");
        assert_eq!(small.sampled, 3);
        let sample = small.sample.unwrap().to_string();
        assert!(sample.contains("id = Int64(2) AND time = Int64(7)"), "{sample}");
        let large = mark(&[(7, 0..700), (8, 700..1000)]);
        assert!(large.common.is_none());
        assert!((SAMPLES..2 * SAMPLES).contains(&large.sampled), "{}", large.sampled);
        let sample = large.sample.unwrap().to_string();
        assert!(sample.contains("time = Int64(7)") && sample.contains("time = Int64(8)"), "{sample}");
        let none = Marking::new(&Schema::empty(), &[]).finish();
        assert!(none.common.is_none() && none.sample.is_none());
    }
}
