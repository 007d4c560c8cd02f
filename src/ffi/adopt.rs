//! The buffers of a foreign array, used where they are and released with the last value that uses them.
//!
//! In place of `arrow::ffi::from_ffi`, which refuses the NULL that an empty array may have for its
//! offsets, believes the number of nulls that it is told, and leaves to a struct an offset that the
//! arrays made of it apply twice. Here the offset of a struct becomes that of its members.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::{ArrayData, ArrayDataBuilder, BufferSpec, layout};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow::datatypes::DataType;
use arrow::ffi::FFI_ArrowArray;

use crate::ffi::layout::{children, text_bytes};

/// The values of `array`, which are yet to be validated.
///
/// # Safety
/// `layout::array` found that the array has the shape of `data_type`, and its buffers are as long as it says.
pub unsafe fn data(array: FFI_ArrowArray, data_type: &DataType) -> ArrayData {
    let (rows, owner) = (array.len(), Arc::new(array));
    let whole = Window { array: &owner, owner: &owner, start: 0, rows };
    // SAFETY: as promised by the caller.
    unsafe { whole.data(data_type) }
}

/// The part of an array, or of one below it, that is wanted.
struct Window<'a> {
    array: &'a FFI_ArrowArray,
    owner: &'a Arc<FFI_ArrowArray>,
    start: usize,
    rows: usize,
}

impl Window<'_> {
    /// # Safety
    /// As for [`data`].
    unsafe fn data(&self, data_type: &DataType) -> ArrayData {
        let end = self.array.offset() + self.array.len();
        let shape = layout(data_type);
        if end == 0 && !shape.buffers.is_empty() {
            return ArrayData::new_empty(data_type);
        }
        let first = self.array.offset() + self.start;
        let masks = usize::from(shape.can_contain_null_mask);
        // SAFETY: the array has the buffers of its type, and they have values up to its end.
        let (nulls, mut buffers) = unsafe {
            let nulls = (masks == 1).then(|| self.nulls(first, end)).flatten();
            let sizes = shape.buffers.iter().enumerate();
            let sized = |(index, spec)| self.buffer(index + masks, self.bytes(spec, index, data_type, end));
            (nulls, sizes.map(sized).collect::<Vec<_>>())
        };
        if shape.variadic {
            // SAFETY: the last buffer has the lengths of those after the views.
            unsafe { self.add_variadic(&mut buffers) };
        }
        let (offset, wanted) = match data_type {
            DataType::Struct(_) => (0, Some((first, self.rows))),
            DataType::FixedSizeList(_, size) => {
                (0, Some((first * *size as usize, self.rows * *size as usize)))
            }
            _ => (first, None),
        };
        let below = |array: &FFI_ArrowArray, data_type: &DataType| {
            let (start, rows) = wanted.unwrap_or((0, array.len()));
            // SAFETY: what is below has the shape of its type, and as many values as are wanted.
            unsafe { Window { array, owner: self.owner, start, rows }.data(data_type) }
        };
        let children = children(data_type).into_iter().enumerate();
        let children = children.map(|(index, (_, child_type))| below(self.array.child(index), child_type));
        let values = match (data_type, self.array.dictionary()) {
            (DataType::Dictionary(_, value_type), Some(values)) => Some(below(values, value_type)),
            _ => None,
        };
        let builder = ArrayDataBuilder::new(data_type.clone())
            .len(self.rows)
            .offset(offset)
            .nulls(nulls)
            .buffers(buffers)
            .child_data(children.chain(values).collect());
        // SAFETY: the shape is that of the type; `import` validates the values before they are used.
        unsafe { builder.build_unchecked() }
    }

    /// Which of the rows are null, counted here.
    unsafe fn nulls(&self, first: usize, end: usize) -> Option<NullBuffer> {
        // Without a mask nothing is null.
        let mask = NonNull::new(self.array.buffer(0).cast_mut())?;
        // SAFETY: a mask has a bit for each value.
        let mask = unsafe { Buffer::from_custom_allocation(mask, end.div_ceil(8), self.owner.clone()) };
        let nulls = NullBuffer::new(BooleanBuffer::new(mask, first, self.rows));
        Some(nulls).filter(|nulls| nulls.null_count() > 0)
    }

    /// How long a buffer is that holds `end` values.
    unsafe fn bytes(&self, spec: &BufferSpec, index: usize, data_type: &DataType, end: usize) -> usize {
        match spec {
            BufferSpec::FixedWidth { byte_width, .. } if index == 0 && has_offsets(data_type) => {
                (end + 1) * byte_width
            }
            BufferSpec::FixedWidth { byte_width, .. } => end * byte_width,
            BufferSpec::BitMap => end.div_ceil(8),
            // SAFETY: the offsets are there, aligned, and one more than the values.
            BufferSpec::VariableWidth => unsafe { text_bytes(self.array, data_type, end) as usize },
            BufferSpec::AlwaysNull => 0,
        }
    }

    unsafe fn buffer(&self, index: usize, bytes: usize) -> Buffer {
        match NonNull::new(self.array.buffer(index).cast_mut()) {
            // SAFETY: the buffer has so many bytes, and lives as long as its owner.
            Some(start) if bytes > 0 => unsafe {
                Buffer::from_custom_allocation(start, bytes, self.owner.clone())
            },
            // Not the empty buffer by default, whose address is aligned for bytes alone.
            _ => MutableBuffer::new(0).into(),
        }
    }

    unsafe fn add_variadic(&self, buffers: &mut Vec<Buffer>) {
        let last = self.array.num_buffers() - 1;
        let lengths = self.array.buffer(last).cast::<i64>();
        for index in 2..last {
            // SAFETY: the lengths are aligned, and none is negative.
            buffers.push(unsafe { self.buffer(index, *lengths.add(index - 2) as usize) });
        }
    }
}

/// Whether the first buffer says where values begin and end: it has one more than there are values.
fn has_offsets(data_type: &DataType) -> bool {
    use DataType::{Binary, LargeBinary, LargeList, LargeUtf8, List, Map, Utf8};
    matches!(data_type, Utf8 | LargeUtf8 | Binary | LargeBinary | List(_) | LargeList(_) | Map(..))
}
