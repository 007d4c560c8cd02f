//! Arrow in: what the host gives away, taken at once and trusted only after a look.
//!
//! The C data interface says nothing of how long a buffer is, so a lie about that cannot be found;
//! everything that can be found without it is an error here and not undefined behaviour later.

use std::ffi::{CStr, c_int};

use arrow::array::{ArrayData, RecordBatch, RecordBatchOptions, make_array};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::{Error, Result, Status};
use crate::ffi::{adopt, argument, export, layout};
use crate::store::context::Call;

/// An array that the host has given away; dropping it releases it.
pub struct GivenArray(Option<FFI_ArrowArray>);

impl GivenArray {
    /// Takes the array, which from now on looks released to the host.
    ///
    /// # Safety
    /// `array` is NULL or an `ArrowArray` that can be read and written.
    pub unsafe fn take(array: *mut FFI_ArrowArray) -> GivenArray {
        // SAFETY: as promised by the caller.
        GivenArray((!array.is_null()).then(|| unsafe { FFI_ArrowArray::from_raw(array) }))
    }

    /// The rows of the array, the first and only batch of a call.
    pub fn into_batch(self, schema: &SchemaRef) -> Result<RecordBatch> {
        batch(self.0.ok_or_else(|| argument::null("rows"))?, schema, "the array `rows`")
    }
}

/// What a stream is called in the call that takes it, and what its failure means there.
#[derive(Clone, Copy)]
pub struct Role {
    name: &'static str,
    failure: &'static str,
}

const ROWS: Role = Role { name: "rows", failure: "; nothing was written" };
/// Samples to resolve.
pub const SAMPLES: Role = Role { name: "samples", failure: "; nothing was resolved" };
/// Rows that the host joined itself.
pub const JOINED: Role = Role { name: "rows", failure: "" };

/// A stream that the host has given away; dropping it releases it.
pub struct GivenStream {
    stream: Option<FFI_ArrowArrayStream>,
    role: Role,
}

impl GivenStream {
    /// Takes a stream of rows to write, which from now on looks released to the host.
    ///
    /// # Safety
    /// `stream` is NULL or an `ArrowArrayStream` that can be read and written.
    pub unsafe fn take(stream: *mut FFI_ArrowArrayStream) -> GivenStream {
        // SAFETY: as promised by the caller.
        unsafe { GivenStream::take_as(ROWS, stream) }
    }

    /// Takes a stream that is something else than rows to write.
    ///
    /// # Safety
    /// As for [`GivenStream::take`].
    pub unsafe fn take_as(role: Role, stream: *mut FFI_ArrowArrayStream) -> GivenStream {
        // SAFETY: as promised by the caller.
        let stream = (!stream.is_null()).then(|| unsafe { FFI_ArrowArrayStream::from_raw(stream) });
        GivenStream { stream, role }
    }

    /// Takes all streams of an array, which must be there unless they are none.
    ///
    /// # Safety
    /// `streams` is NULL or an array of `count` `ArrowArrayStream`s that can be read and written.
    pub unsafe fn take_all(streams: *mut FFI_ArrowArrayStream, count: usize) -> Result<Vec<GivenStream>> {
        match streams.is_null() && count > 0 {
            true => Err(argument::null("rows")),
            // SAFETY: as promised by the caller.
            false => Ok((0..count).map(|place| unsafe { GivenStream::take(streams.add(place)) }).collect()),
        }
    }

    /// Asks the stream for its schema.
    pub fn open(self) -> Result<Incoming> {
        let role = self.role;
        let name = role.name;
        let mut stream = self.stream.ok_or_else(|| argument::null(name))?;
        let (Some(_), Some(get_schema), Some(_)) = (stream.release, stream.get_schema, stream.get_next)
        else {
            return Err(Error::invalid(format!(
                "the stream `{name}` was already released; give one that was not"
            ))
            .with("argument", name));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: a stream that is not released has callbacks that can be called on it.
        let code = unsafe { get_schema(&mut stream, &mut schema) };
        if code != 0 {
            // What a failed callback has left in its place is nothing to release.
            std::mem::forget(schema);
            return Err(stream_failure(&mut stream, role, code, "cannot tell its schema"));
        }
        Ok(Incoming {
            schema: layout::schema(&schema, &format!("the schema of the stream `{name}`"))?,
            stream,
            role,
            pulled: 0,
        })
    }
}

/// The schema behind a borrowed pointer.
///
/// # Safety
/// `schema` is NULL or an `ArrowSchema` that can be read.
pub unsafe fn schema(schema: *const FFI_ArrowSchema) -> Result<SchemaRef> {
    // SAFETY: as promised by the caller.
    layout::schema(unsafe { schema.as_ref() }.ok_or_else(|| argument::null("schema"))?, "`schema`")
}

/// The rows of a stream of the host, pulled batch by batch, each on the thread that asks.
pub struct Incoming {
    stream: FFI_ArrowArrayStream,
    role: Role,
    schema: SchemaRef,
    pulled: u64,
}

impl Incoming {
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next batch, unless `call` has run out meanwhile.
    pub fn next(&mut self, call: &Call) -> Result<Option<RecordBatch>> {
        call.check()?;
        let number = self.pulled;
        self.pull().map_err(|error| error.with("batch", number))
    }

    fn pull(&mut self) -> Result<Option<RecordBatch>> {
        let number = self.pulled;
        self.pulled += 1;
        let mut array = FFI_ArrowArray::empty();
        let Some(get_next) = self.stream.get_next else { return Ok(None) };
        // SAFETY: the stream is not released, so that its callbacks can be called on it.
        let code = unsafe { get_next(&mut self.stream, &mut array) };
        if code != 0 {
            std::mem::forget(array);
            return Err(stream_failure(
                &mut self.stream,
                self.role,
                code,
                &format!("failed at batch {number}"),
            ));
        }
        if array.is_released() {
            return Ok(None);
        }
        batch(array, &self.schema, &format!("batch {number} of the stream `{}`", self.role.name)).map(Some)
    }
}

/// The error of a stream that answered with `code`.
fn stream_failure(stream: &mut FFI_ArrowArrayStream, role: Role, code: c_int, what: &str) -> Error {
    let Role { name, failure } = role;
    // One of our own streams, read by one call and written by another, tells more than a number.
    if let Ok(Some(cause)) = export::failure(stream.private_data.cast_const().cast()) {
        let error = Error::new(cause.status(), format!("the stream `{name}` {what}: {cause}{failure}"));
        let details = cause.details().iter();
        return details.fold(error, |error, (key, value)| error.with(key, value)).caused_by(&cause);
    }
    let text = stream.get_last_error.and_then(|get_last_error| {
        // SAFETY: the stream is not released; its text is valid until the next call on it.
        let text = unsafe { get_last_error(stream) };
        // SAFETY: as above.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    });
    let status = match code {
        libc::ECANCELED => Status::Cancelled,
        libc::ETIMEDOUT => Status::Timeout,
        _ => Status::Io,
    };
    let cause = std::io::Error::from_raw_os_error(code);
    let said = text.filter(|text| !text.is_empty()).unwrap_or_else(|| cause.to_string());
    Error::new(status, format!("the stream `{name}` {what}: {said}{failure}"))
        .with("errno", code)
        .caused_by(&cause)
}

/// A batch from an array that is a struct of the columns of `schema`; `what` names it in messages.
fn batch(array: FFI_ArrowArray, schema: &SchemaRef, what: &str) -> Result<RecordBatch> {
    if array.is_released() {
        return Err(Error::invalid(format!("{what} was already released; give one that was not")));
    }
    let data_type = DataType::Struct(schema.fields().clone());
    layout::array(&array, &data_type, what)?;
    if array.is_empty() {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    // SAFETY: the shape of the array is that of its type; how long its buffers are, only the host knows.
    let mut data = unsafe { adopt::data(array, &data_type) };
    if data.null_count() > 0 {
        return Err(Error::invalid(format!(
            "{what} has {} rows that are null as a whole; make their columns null instead",
            data.null_count()
        )));
    }
    data.align_buffers();
    let rows = data.len();
    let column = |(field, column): (&FieldRef, &ArrayData)| {
        column.validate_full().map_err(|cause| {
            Error::invalid(format!("{what}: the column {:?} is broken: {cause}", field.name()))
                .with("column", field.name())
                .caused_by(&cause)
        })?;
        check_nulls(field, column, what)?;
        Ok(make_array(column.clone()))
    };
    let columns = schema.fields().iter().zip(data.child_data()).map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|cause: ArrowError| Error::invalid(format!("{what}: {cause}")).caused_by(&cause))
}

/// A column that its schema calls free of nulls is.
fn check_nulls(field: &Field, column: &ArrayData, what: &str) -> Result<()> {
    if field.is_nullable() || column.null_count() == 0 {
        return Ok(());
    }
    Err(Error::new(
        Status::SchemaMismatch,
        format!(
            "{what}: the column {:?} has {} nulls, but its schema allows none",
            field.name(),
            column.null_count()
        ),
    )
    .with("column", field.name()))
}
