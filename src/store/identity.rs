//! Which sample a row is about: 128 bits for the values of its id columns.
//!
//! Two rows are the same sample when their id columns are equal, null being equal to null. With 128
//! bits, ten million different samples collide once in 10^24 such tables.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::xxh3_128;

/// Turns id columns into one number per row. The types of the columns are fixed; the same values in
/// other types give other numbers.
pub enum Identity {
    /// One string column needs no conversion.
    Text,
    Rows(RowConverter),
}

/// Stands for a null in a single string column; differs from the hash of any likely string.
const NULL: u128 = 0x6d65_7461_7879_2d6e_756c_6c2d_6964_2121;

impl Identity {
    pub fn new(types: &[DataType]) -> Result<Identity, ArrowError> {
        match types {
            [DataType::Utf8 | DataType::LargeUtf8] => Ok(Identity::Text),
            _ => Ok(Identity::Rows(RowConverter::new(types.iter().cloned().map(SortField::new).collect())?)),
        }
    }

    /// Appends one number per row of `columns`, which come in the order of the types.
    pub fn append(&self, columns: &[ArrayRef], numbers: &mut Vec<u128>) -> Result<(), ArrowError> {
        match (self, columns) {
            (Identity::Text, [column]) => match column.data_type() {
                DataType::Utf8 => append_text(column.as_string::<i32>().iter(), numbers),
                _ => append_text(column.as_string::<i64>().iter(), numbers),
            },
            (Identity::Text, _) => {
                return Err(ArrowError::InvalidArgumentError("one id column was expected".into()));
            }
            (Identity::Rows(converter), columns) => {
                let rows = converter.convert_columns(columns)?;
                numbers.extend(rows.iter().map(|row| xxh3_128(row.as_ref())));
            }
        }
        Ok(())
    }
}

fn append_text<'a>(values: impl Iterator<Item = Option<&'a str>>, numbers: &mut Vec<u128>) {
    numbers.extend(values.map(|value| value.map_or(NULL, |text| xxh3_128(text.as_bytes()))));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, LargeStringArray, StringArray};

    use super::*;

    fn numbers(columns: &[ArrayRef]) -> Vec<u128> {
        let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
        let mut numbers = Vec::new();
        Identity::new(&types).unwrap().append(columns, &mut numbers).unwrap();
        numbers
    }

    #[test]
    fn equal_ids_and_only_they_have_equal_numbers() {
        let text: ArrayRef =
            Arc::new(LargeStringArray::from(vec![Some("a"), Some(""), None, Some("a"), None]));
        let found = numbers(&[text]);
        assert_eq!(found[0], found[3]);
        assert_eq!(found[2], found[4]);
        assert_ne!(found[1], found[2]);
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn several_columns_do_not_run_into_each_other() {
        let left: ArrayRef = Arc::new(StringArray::from(vec!["ab", "a", "a"]));
        let right: ArrayRef = Arc::new(StringArray::from(vec!["c", "bc", "bc"]));
        let found = numbers(&[left, right]);
        assert_ne!(found[0], found[1]);
        assert_eq!(found[1], found[2]);
    }

    #[test]
    fn numbers_and_nulls_in_other_types() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1), None, Some(2)]));
        let found = numbers(&[ids]);
        assert_eq!(found[0], found[2]);
        assert_eq!(found[1], found[3]);
        assert_ne!(found[0], found[4]);
    }
}
