//! Rows in the types of their table: every value as it was, or an error that names it.
//!
//! LanceDB casts silently (2.75 becomes 2 in an integer column). Here a value may change its type
//! only if it can be changed back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, new_null_array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Result, Status};

/// `array` in the type of `field`, without loss. Struct members are matched by name; those that are
/// missing become null. `first_row` is the number of the array's first row in the write.
pub fn conform(array: &ArrayRef, field: &Field, first_row: u64) -> Result<ArrayRef> {
    conform_at(array, field.data_type(), field.name(), first_row)
}

fn conform_at(array: &ArrayRef, wanted: &DataType, path: &str, first_row: u64) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    match (array.data_type(), wanted) {
        (DataType::Null, _) => Ok(new_null_array(wanted, array.len())),
        (DataType::Struct(_), DataType::Struct(members)) => {
            conform_members(array.as_struct(), members, path, first_row)
        }
        _ => cast(array, wanted, path, first_row),
    }
}

fn conform_members(array: &StructArray, members: &Fields, path: &str, first_row: u64) -> Result<ArrayRef> {
    let columns = members
        .iter()
        .map(|member| match array.column_by_name(member.name()) {
            Some(column) => {
                conform_at(column, member.data_type(), &format!("{path}.{}", member.name()), first_row)
            }
            None => Ok(new_null_array(member.data_type(), array.len())),
        })
        .collect::<Result<Vec<_>>>()?;
    let conformed =
        StructArray::try_new_with_length(members.clone(), columns, array.nulls().cloned(), array.len());
    Ok(Arc::new(conformed.map_err(|cause| {
        mismatch(array.data_type(), &DataType::Struct(members.clone()), path).caused_by(&cause)
    })?))
}

fn cast(array: &ArrayRef, wanted: &DataType, path: &str, first_row: u64) -> Result<ArrayRef> {
    let given = array.data_type();
    if !can_cast_types(given, wanted) || !can_cast_types(wanted, given) {
        return Err(mismatch(given, wanted, path));
    }
    // Values that do not fit become null here, and are found by comparing with what was given.
    let lenient = CastOptions { safe: true, ..CastOptions::default() };
    let failed = |cause| mismatch(given, wanted, path).caused_by(&cause);
    let there = cast_with_options(array, wanted, &lenient).map_err(failed)?;
    if is_text(given) && is_text(wanted) {
        return Ok(there);
    }
    let back = cast_with_options(&there, given, &lenient).map_err(failed)?;
    let changed = match distinct(&back, &array) {
        Ok(changed) => changed.values().set_indices().next(),
        // Nested values have no comparison kernel.
        Err(_) => {
            (0..array.len()).find(|row| back.slice(*row, 1).to_data() != array.slice(*row, 1).to_data())
        }
    };
    match changed {
        None => Ok(there),
        Some(row) => {
            let value = show(array, row);
            Err(Error::new(
                Status::SchemaMismatch,
                format!(
                    "row {} has the value {value} in the column {path}, which is {wanted} in the table and cannot hold it \
                     exactly",
                    first_row + row as u64
                ),
            )
            .with("column", path)
            .with("value", value)
            .with("expected", wanted)
            .with("found", given))
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn mismatch(given: &DataType, wanted: &DataType, path: &str) -> Error {
    Error::new(
        Status::SchemaMismatch,
        format!("the column {path} is {wanted} in the table and cannot take {given}"),
    )
    .with("column", path)
    .with("expected", wanted)
    .with("found", given)
}

/// The most characters of a value that a message repeats.
const SHOWN: usize = 100;

/// One value, for a message.
pub fn show(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    let mut shown = ArrayFormatter::try_new(array, &FormatOptions::default())
        .map_or_else(|_| "?".to_owned(), |formatter| formatter.value(row).to_string());
    if let Some((end, _)) = shown.char_indices().nth(SHOWN) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// The type in which a new table stores a column that comes as `given`: views, dictionaries and runs
/// become the plain types that every client of the table reads.
pub fn stored_type(given: &DataType) -> DataType {
    let stored_field =
        |field: &Field| field.clone().with_data_type(stored_type(field.data_type())).with_nullable(true);
    match given {
        DataType::Utf8 | DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        DataType::Dictionary(_, values) => stored_type(values),
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type()),
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(|member| stored_field(member)).collect())
        }
        DataType::List(item) | DataType::ListView(item) => DataType::List(Arc::new(stored_field(item))),
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(Arc::new(stored_field(item)))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray,
        TimestampNanosecondArray,
    };
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn to(array: impl Array + 'static, wanted: DataType) -> Result<ArrayRef> {
        conform(&(Arc::new(array) as ArrayRef), &Field::new("c", wanted, true), 100)
    }

    #[test]
    fn values_that_fit_are_cast() {
        let wide = to(Int32Array::from(vec![Some(1), None]), DataType::Int64).unwrap();
        assert_eq!(wide.as_ref(), &Int64Array::from(vec![Some(1), None]) as &dyn Array);
        let whole = to(Float64Array::from(vec![2.0, f64::from(1 << 30)]), DataType::Int64).unwrap();
        assert_eq!(whole.as_ref(), &Int64Array::from(vec![2, 1 << 30]) as &dyn Array);
        assert!(to(Int64Array::from(vec![1 << 53]), DataType::Float64).is_ok());
        assert!(to(StringArray::from(vec!["é"]), DataType::LargeUtf8).is_ok());
        assert!(to(StringArray::from(vec!["12"]), DataType::Int64).is_ok());
        assert!(to(Float64Array::from(vec![f64::NAN]), DataType::Float32).is_ok());
        let seconds = TimestampNanosecondArray::from(vec![1_000_000_000]);
        assert!(to(seconds, DataType::Timestamp(TimeUnit::Microsecond, None)).is_ok());
    }

    #[test]
    fn lossy_casts_name_row_column_and_value() {
        let error = to(Float64Array::from(vec![1.0, 2.75]), DataType::Int64).unwrap_err();
        assert_eq!(error.status(), Status::SchemaMismatch);
        assert!(error.message().contains("row 101") && error.message().contains("2.75"), "{error}");
        assert_eq!(error.detail("column"), Some("c"));
        for error in [
            to(Int64Array::from(vec![(1 << 53) + 1]), DataType::Float64).unwrap_err(),
            to(Int64Array::from(vec![i64::MAX]), DataType::Float64).unwrap_err(),
            to(Int64Array::from(vec![1 << 40]), DataType::Int32).unwrap_err(),
            to(LargeStringArray::from(vec!["007"]), DataType::Int64).unwrap_err(),
            to(LargeStringArray::from(vec!["abc"]), DataType::Int64).unwrap_err(),
            to(TimestampNanosecondArray::from(vec![1]), DataType::Timestamp(TimeUnit::Microsecond, None))
                .unwrap_err(),
            to(BooleanArray::from(vec![true]), DataType::Struct(Fields::empty())).unwrap_err(),
        ] {
            assert_eq!(error.status(), Status::SchemaMismatch, "{error}");
        }
    }

    #[test]
    fn long_values_are_shown_cut() {
        let long = StringArray::from(vec!["é".repeat(3000), "é".repeat(100)]);
        assert_eq!(show(&long, 0), format!("{}…", "é".repeat(100)));
        assert_eq!(show(&long, 1), "é".repeat(100));
    }

    #[test]
    fn struct_members_are_matched_by_name() {
        let given = StructArray::from(vec![
            (
                Arc::new(Field::new("y", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("x", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["a"])) as ArrayRef,
            ),
        ]);
        let wanted: Fields = vec![
            Field::new("x", DataType::LargeUtf8, true),
            Field::new("y", DataType::Int64, true),
            Field::new("z", DataType::Int64, true),
        ]
        .into();
        let found = to(given, DataType::Struct(wanted)).unwrap();
        let found = found.as_struct();
        assert_eq!(found.column(0).as_string::<i64>().value(0), "a");
        assert_eq!(show(found.column(1), 0), "1");
        assert!(found.column(2).is_null(0));
    }
}
