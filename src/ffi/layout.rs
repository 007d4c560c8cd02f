//! Whether the shape of a foreign Arrow struct is that of its type: so many buffers, children and
//! lengths as the format demands, before anything follows its pointers.

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use arrow::array::{BufferSpec, layout};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Schema, SchemaRef,
};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow::util::bit_chunk_iterator::UnalignedBitChunk;

use crate::error::{Error, Result, Status};

/// Types nested deeper than this are taken for a mistake, such as a schema that contains itself.
const DEEPEST: usize = 64;

/// More columns than this, nested ones counted, are taken for one too: without a limit, a few schemas
/// that contain each other twice would be as many columns as take for ever to look at.
const MOST_COLUMNS: usize = 1 << 20;

/// More entries of metadata than this are text that was taken for metadata; to parse them, room for
/// all of them would be reserved.
const MOST_METADATA: i32 = 1 << 16;

/// The columns that a foreign schema describes; `what` names it in messages.
pub fn schema(schema: &FFI_ArrowSchema, what: &str) -> Result<SchemaRef> {
    check_schema(schema, what, DEEPEST, &mut { MOST_COLUMNS })?;
    let parsed = Schema::try_from(schema).map_err(|cause| {
        Error::new(Status::SchemaMismatch, format!("{what} is not that of rows: {cause}")).caused_by(&cause)
    })?;
    for field in parsed.fields() {
        check_type(field.data_type())
            .map_err(|problem| broken(what, &format!("{:?}", field.name()), &problem))?;
    }
    Ok(Arc::new(parsed))
}

/// Checks a schema and those below it, of which `left` may still come and which may be nested `deeper`.
fn check_schema(schema: &FFI_ArrowSchema, what: &str, deeper: usize, left: &mut usize) -> Result<()> {
    // Before anything else is read: the texts of a released schema are gone.
    if schema.release.is_none() {
        return Err(Error::invalid(format!("{what} was already released; give one that was not")));
    }
    let name = text(schema.name).map_err(|problem| Error::invalid(format!("{what}: a name {problem}")))?;
    let name = name.unwrap_or_default();
    let fail = |problem: &str| Err(broken(what, &format!("{name:?}"), problem));
    let format = match text(schema.format) {
        Ok(Some(format)) => format,
        Ok(None) => return fail("has no format"),
        Err(problem) => return fail(&format!("has a format that {problem}")),
    };
    if deeper == 0 {
        return fail(&format!("is nested more than {DEEPEST} levels deep"));
    }
    let needed = match format {
        "+r" => 2,
        "+s" => 0,
        "+l" | "+L" | "+vl" | "+vL" | "+m" => 1,
        format if format.starts_with("+w:") => 1,
        _ => 0,
    };
    if schema.n_children < needed || (schema.n_children > 0 && schema.children.is_null()) {
        return fail(&format!("has {} children where {format:?} needs {needed}", schema.n_children));
    }
    let count = schema.n_children as usize;
    *left = left.checked_sub(count).ok_or_else(|| {
        Error::invalid(format!("{what} has more than {MOST_COLUMNS} columns, nested ones counted"))
    })?;
    if format.starts_with("+u") {
        return Err(unsupported(
            what,
            name,
            "is a union, which a table cannot hold; give each of its types a column",
        ));
    }
    if let Err(problem) = check_metadata(schema.metadata) {
        return fail(&problem);
    }
    for index in 0..count {
        // SAFETY: `children` points to `n_children` pointers.
        match unsafe { (*schema.children.add(index)).as_ref() } {
            Some(child) if child.release.is_none() => {
                return fail(&format!("has a child {index} that was already released"));
            }
            Some(child) => check_schema(child, what, deeper - 1, left)?,
            None => return fail(&format!("lacks its child {index}")),
        }
    }
    // SAFETY: the dictionary is NULL or a schema.
    match unsafe { schema.dictionary.as_ref() } {
        Some(dictionary) => check_schema(dictionary, what, deeper - 1, left),
        None => Ok(()),
    }
}

fn check_metadata(metadata: *const c_char) -> std::result::Result<(), String> {
    if metadata.is_null() {
        return Ok(());
    }
    // SAFETY: metadata begins with the number of its entries, wherever it lies.
    match unsafe { metadata.cast::<i32>().read_unaligned() } {
        entries if entries > MOST_METADATA => Err(format!(
            "has metadata of {entries} entries; metadata is no text but the binary form of Arrow"
        )),
        _ => Ok(()),
    }
}

fn text<'a>(pointer: *const c_char) -> std::result::Result<Option<&'a str>, &'static str> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the texts of a schema are NUL-terminated and live as long as it.
    unsafe { CStr::from_ptr(pointer) }.to_str().map(Some).map_err(|_| "is not UTF-8")
}

/// Parameters that the format string allows and no array can have.
fn check_type(data_type: &DataType) -> std::result::Result<(), String> {
    match data_type {
        DataType::FixedSizeBinary(width) if *width < 0 => Err(format!("has the width {width}")),
        DataType::FixedSizeList(_, size) if *size < 0 => Err(format!("has lists of {size} values")),
        DataType::Dictionary(key, _) if !key.is_dictionary_key_type() => {
            Err(format!("has dictionary keys of type {key}; they are integers"))
        }
        DataType::RunEndEncoded(ends, _) if !ends.data_type().is_run_ends_type() => {
            Err(format!("has run ends of type {}; they are int16, int32 or int64", ends.data_type()))
        }
        DataType::Decimal32(precision, _) => check_precision::<Decimal32Type>(*precision),
        DataType::Decimal64(precision, _) => check_precision::<Decimal64Type>(*precision),
        DataType::Decimal128(precision, _) => check_precision::<Decimal128Type>(*precision),
        DataType::Decimal256(precision, _) => check_precision::<Decimal256Type>(*precision),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => check_children(data_type),
            other => Err(format!("is a map of {other}; its entries are a struct of key and value")),
        },
        _ => check_children(data_type),
    }
}

fn check_precision<T: DecimalType>(precision: u8) -> std::result::Result<(), String> {
    match precision {
        precision if (1..=T::MAX_PRECISION).contains(&precision) => Ok(()),
        _ => Err(format!("has decimals of {precision} digits; they have 1 to {}", T::MAX_PRECISION)),
    }
}

fn check_children(data_type: &DataType) -> std::result::Result<(), String> {
    if let DataType::Dictionary(_, values) = data_type {
        check_type(values)?;
    }
    children(data_type).into_iter().try_for_each(|(_, child)| check_type(child))
}

/// The children that an array of this type has, with their names.
pub fn children(data_type: &DataType) -> Vec<(&str, &DataType)> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![(field.name(), field.data_type())],
        DataType::Struct(fields) => {
            fields.iter().map(|field| (field.name().as_str(), field.data_type())).collect()
        }
        DataType::RunEndEncoded(ends, values) => {
            vec![(ends.name(), ends.data_type()), (values.name(), values.data_type())]
        }
        _ => Vec::new(),
    }
}

/// Checks an array against its type; `what` names it in messages.
pub fn array(array: &FFI_ArrowArray, data_type: &DataType, what: &str) -> Result<()> {
    Place { what, path: String::new() }.check(array, data_type)
}

/// Where in an array the check is, for messages.
struct Place<'a> {
    what: &'a str,
    path: String,
}

impl Place<'_> {
    fn child(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Place { what: self.what, path: format!("{}{dot}{name}", self.path) }
    }

    fn broken(&self, problem: &str) -> Error {
        match self.path.is_empty() {
            true => Error::invalid(format!("{} {problem}", self.what)),
            false => broken(self.what, &format!("{:?}", self.path), problem),
        }
    }

    /// The array has another shape than its type, for instance because the schema changed.
    fn mismatch(&self, data_type: &DataType, problem: &str) -> Error {
        let column =
            if self.path.is_empty() { String::new() } else { format!(": the column {:?}", self.path) };
        let error = Error::new(
            Status::SchemaMismatch,
            format!("{}{column} does not agree with its schema, {data_type}: {problem}", self.what),
        );
        if self.path.is_empty() { error } else { error.with("column", &self.path) }
    }

    fn check(&self, array: &FFI_ArrowArray, data_type: &DataType) -> Result<()> {
        if array.release.is_none() {
            return Err(self.broken("was already released"));
        }
        let end = self.end(array)?;
        self.check_buffers(array, data_type, end)?;
        self.check_children(array, data_type, end)?;
        // SAFETY: the dictionary is NULL or an array.
        match (data_type, unsafe { array.dictionary.as_ref() }) {
            (DataType::Dictionary(_, values), Some(dictionary)) => {
                self.child("dictionary").check(dictionary, values)
            }
            (DataType::Dictionary(..), None) => Err(self.mismatch(data_type, "it has no dictionary")),
            (_, Some(_)) => Err(self.mismatch(data_type, "it has a dictionary")),
            (_, None) => Ok(()),
        }
    }

    /// How many values the buffers hold: those before the offset and those of the array.
    fn end(&self, array: &FFI_ArrowArray) -> Result<usize> {
        if array.length < 0 || array.offset < 0 || array.null_count < -1 || array.null_count > array.length {
            return Err(self.broken(&format!(
                "has the length {}, the offset {} and {} nulls",
                array.length, array.offset, array.null_count
            )));
        }
        // Far more than fits in memory, and far less than what could overflow in bits.
        let end = array.length.checked_add(array.offset).filter(|end| *end <= 1 << 48);
        end.map(|end| end as usize).ok_or_else(|| self.broken(&format!("ends beyond {} values", 1_u64 << 48)))
    }

    fn check_buffers(&self, array: &FFI_ArrowArray, data_type: &DataType, end: usize) -> Result<()> {
        let shape = match data_type {
            DataType::Dictionary(keys, _) => layout(keys),
            _ => layout(data_type),
        };
        let masks = usize::from(shape.can_contain_null_mask);
        let fixed = shape.buffers.len() + masks;
        let found = array.n_buffers;
        // A view has a buffer of lengths at its end, and before it as many buffers as that says.
        let fits = if shape.variadic { found > fixed as i64 } else { found == fixed as i64 };
        if !fits {
            let more = if shape.variadic { " and at least one more" } else { "" };
            return Err(
                self.mismatch(data_type, &format!("it has {found} buffers, where {fixed}{more} are needed"))
            );
        }
        if found > 0 && array.buffers.is_null() {
            return Err(self.broken(&format!("has no array of its {found} buffers")));
        }
        // SAFETY: `buffers` points to `n_buffers` pointers.
        let buffer = |index: usize| unsafe { *array.buffers.add(index) };
        if masks == 1 && array.null_count > 0 && buffer(0).is_null() {
            return Err(self.broken(&format!("has {} nulls and no validity buffer", array.null_count)));
        }
        if masks == 1 && array.null_count >= 0 && !buffer(0).is_null() {
            // SAFETY: a validity buffer has a bit for each value.
            let mask = unsafe { std::slice::from_raw_parts(buffer(0).cast::<u8>(), end.div_ceil(8)) };
            let valid = UnalignedBitChunk::new(mask, array.offset(), array.len()).count_ones();
            let nulls = array.len() - valid;
            if nulls != array.null_count() {
                return Err(self.broken(&format!(
                    "says that it has {} nulls, and has {nulls} by its validity buffer",
                    array.null_count
                )));
            }
        }
        for (index, spec) in shape.buffers.iter().enumerate() {
            self.check_buffer(buffer(index + masks), index, spec, data_type, end)?;
        }
        self.check_data(array, data_type, &buffer, end)
    }

    /// A buffer whose size follows from the number of values.
    fn check_buffer(
        &self,
        buffer: *const std::ffi::c_void,
        index: usize,
        spec: &BufferSpec,
        data_type: &DataType,
        end: usize,
    ) -> Result<()> {
        let (width, alignment) = match spec {
            BufferSpec::FixedWidth { byte_width, alignment } => (*byte_width, *alignment),
            BufferSpec::BitMap => (1, 1),
            BufferSpec::VariableWidth | BufferSpec::AlwaysNull => return Ok(()),
        };
        if end > 0 && width > 0 && buffer.is_null() {
            return Err(self.broken(&format!("has {end} values and NULL as their buffer {index}")));
        }
        if end.checked_mul(width).is_none_or(|bytes| bytes > isize::MAX as usize / 8) {
            return Err(self.broken(&format!("has {end} values of {width} bytes, more than there is memory")));
        }
        if is_read_at_once(data_type) && !(buffer as usize).is_multiple_of(alignment) {
            return Err(
                self.broken(&format!("has offsets at {buffer:p}, which is no multiple of {alignment}"))
            );
        }
        Ok(())
    }

    /// The bytes of text and binary values, whose number stands in another buffer.
    fn check_data(
        &self,
        array: &FFI_ArrowArray,
        data_type: &DataType,
        buffer: &dyn Fn(usize) -> *const std::ffi::c_void,
        end: usize,
    ) -> Result<()> {
        let bytes = match data_type {
            _ if end == 0 => 0,
            // SAFETY: the offsets are there, aligned, and one more than the values.
            _ if is_read_at_once(data_type) => unsafe { text_bytes(array, data_type, end) },
            DataType::Utf8View | DataType::BinaryView => return self.check_variadic(array, buffer),
            _ => 0,
        };
        self.check_bytes(buffer, 2, bytes)
    }

    fn check_variadic(
        &self,
        array: &FFI_ArrowArray,
        buffer: &dyn Fn(usize) -> *const std::ffi::c_void,
    ) -> Result<()> {
        let count = array.n_buffers as usize - 3;
        let lengths = buffer(array.n_buffers as usize - 1).cast::<i64>();
        if count > 0 && (lengths.is_null() || !lengths.is_aligned()) {
            return Err(
                self.broken(&format!("has {count} data buffers and no aligned buffer of their lengths"))
            );
        }
        // SAFETY: there is a length for each of the data buffers.
        (0..count).try_for_each(|index| self.check_bytes(buffer, 2 + index, unsafe { *lengths.add(index) }))
    }

    fn check_bytes(
        &self,
        buffer: &dyn Fn(usize) -> *const std::ffi::c_void,
        index: usize,
        bytes: i64,
    ) -> Result<()> {
        if bytes < 0 {
            return Err(self.broken(&format!("has {bytes} bytes of data")));
        }
        if bytes > 0 && buffer(index).is_null() {
            return Err(self.broken(&format!("has {bytes} bytes of data and NULL as their buffer {index}")));
        }
        Ok(())
    }

    fn check_children(&self, array: &FFI_ArrowArray, data_type: &DataType, end: usize) -> Result<()> {
        let expected = children(data_type);
        if array.n_children != expected.len() as i64 {
            return Err(self.mismatch(
                data_type,
                &format!("it has {} children, where {} are needed", array.n_children, expected.len()),
            ));
        }
        if !expected.is_empty() && array.children.is_null() {
            return Err(self.broken("has no array of its children"));
        }
        let shortest = match data_type {
            DataType::Struct(_) => end,
            DataType::FixedSizeList(_, size) => end.saturating_mul(*size as usize),
            _ => 0,
        };
        for (index, (name, child_type)) in expected.into_iter().enumerate() {
            let place = self.child(name);
            // SAFETY: `children` points to `n_children` pointers.
            let child = unsafe { (*array.children.add(index)).as_ref() };
            let child = child.ok_or_else(|| place.broken("is missing"))?;
            place.check(child, child_type)?;
            if (child.length as usize) < shortest {
                return Err(
                    place.broken(&format!("has {} values, where its parent needs {shortest}", child.length))
                );
            }
        }
        Ok(())
    }
}

/// How many bytes the texts or binaries of an array have.
///
/// # Safety
/// The array has `end` values of such a type, and aligned offsets, one more than that.
pub unsafe fn text_bytes(array: &FFI_ArrowArray, data_type: &DataType, end: usize) -> i64 {
    let offsets = array.buffer(1);
    // SAFETY: as promised by the caller.
    unsafe {
        match data_type {
            DataType::Utf8 | DataType::Binary => i64::from(*offsets.cast::<i32>().add(end)),
            _ => *offsets.cast::<i64>().add(end),
        }
    }
}

/// Whether importing reads the buffers of this type before they can be copied into alignment.
fn is_read_at_once(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary)
}

fn unsupported(what: &str, column: &str, problem: &str) -> Error {
    Error::new(Status::Unsupported, format!("{what}: the column {column:?} {problem}")).with("column", column)
}

fn broken(what: &str, column: &str, problem: &str) -> Error {
    Error::invalid(format!("{what}: the column {column} {problem}")).with("column", column.trim_matches('"'))
}
