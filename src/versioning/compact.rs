//! Slices without what they do not show: a row may hold a table in memory.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, MutableArrayData, OffsetSizeTrait, RecordBatch, make_array,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// The same rows in buffers of their own, where they are a small part of those they are in.
pub fn compact(batch: RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        let shown = size(column)?;
        if column.get_array_memory_size() <= 2 * shown + 1024 { Ok(column.clone()) } else { copy(column) }
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, ArrowError>>()?;
    // A batch may have rows without having columns.
    if columns.is_empty() { Ok(batch) } else { RecordBatch::try_new(batch.schema(), columns) }
}

/// The bytes that the values of a batch take by themselves.
pub fn shown(batch: &RecordBatch) -> std::result::Result<usize, ArrowError> {
    batch.columns().iter().map(|column| size(column)).sum()
}

/// The bytes that the values of an array take by themselves.
fn size(array: &dyn Array) -> std::result::Result<usize, ArrowError> {
    let inner = match array.data_type() {
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .map(|column| size(column))
            .sum::<std::result::Result<_, _>>()?,
        DataType::List(_) => of_lists(array.as_list::<i32>().offsets(), array.as_list::<i32>().values())?,
        DataType::LargeList(_) => {
            of_lists(array.as_list::<i64>().offsets(), array.as_list::<i64>().values())?
        }
        DataType::Map(_, _) => {
            let entries: ArrayRef = Arc::new(array.as_map().entries().clone());
            of_lists(array.as_map().offsets(), &entries)?
        }
        DataType::FixedSizeList(_, _) => size(array.as_fixed_size_list().values())?,
        DataType::Utf8View => array.as_string_view().total_buffer_bytes_used() + 16 * array.len(),
        DataType::BinaryView => array.as_binary_view().total_buffer_bytes_used() + 16 * array.len(),
        _ => return array.to_data().get_slice_memory_size(),
    };
    Ok(inner + array.len() / 8)
}

fn of_lists<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef) -> std::result::Result<usize, ArrowError> {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(0) };
    let (first, last) = (first.as_usize(), last.as_usize());
    Ok(size(&values.slice(first, last - first))? + size_of_val(offsets))
}

fn copy(array: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    match array.data_type() {
        // Copying views would copy only what points into the buffers.
        DataType::Utf8View => return Ok(Arc::new(array.as_string_view().gc())),
        DataType::BinaryView => return Ok(Arc::new(array.as_binary_view().gc())),
        _ => {}
    }
    let data: ArrayData = array.to_data();
    let mut copied = MutableArrayData::new(vec![&data], false, data.len());
    copied.extend(0, 0, data.len());
    Ok(make_array(copied.freeze()))
}
