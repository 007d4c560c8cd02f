//! Columns of lists, as answers about stores and graphs have them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, LargeListArray, LargeListBuilder, LargeStringArray, LargeStringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};

use crate::error::{Error, Result, Status};

/// A list of texts for each row, or null.
pub fn list_of_texts(rows: impl Iterator<Item = Option<Vec<String>>>) -> ArrayRef {
    let mut lists = LargeListBuilder::new(LargeStringBuilder::new());
    for row in rows {
        row.iter().flatten().for_each(|text| lists.values().append_value(text));
        lists.append(row.is_some());
    }
    Arc::new(lists.finish())
}

/// A list of structs of texts for each row, or null.
pub fn list_of_structs<const N: usize>(
    members: [&str; N],
    rows: impl Iterator<Item = Option<Vec<[Option<String>; N]>>>,
) -> Result<ArrayRef> {
    let rows: Vec<Option<Vec<[Option<String>; N]>>> = rows.collect();
    let mut columns: [Vec<Option<&str>>; N] = std::array::from_fn(|_| Vec::new());
    for item in rows.iter().flatten().flatten() {
        columns.iter_mut().zip(item).for_each(|(column, text)| column.push(text.as_deref()));
    }
    let texts = columns.into_iter().map(|column| Arc::new(LargeStringArray::from(column)) as ArrayRef);
    let fields: Fields =
        members.into_iter().map(|name| Field::new(name, DataType::LargeUtf8, true)).collect();
    let malformed = |cause| Error::new(Status::Internal, format!("a list of structs is malformed: {cause}"));
    let structs = StructArray::try_new(fields, texts.collect(), None).map_err(malformed)?;
    let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)));
    let there = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    Ok(Arc::new(LargeListArray::try_new(item, lengths, Arc::new(structs), Some(there)).map_err(malformed)?))
}
