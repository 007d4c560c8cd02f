//! `MetaxyOptions`: texts by name, and the list of the names there are.

use std::ffi::c_char;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::error::{Error, Result, Status};
use crate::ffi::argument::{self, c_string};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard::{self, Entry};
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::status::MetaxyStatus;
use crate::store::options::{KNOWN, Known, Options};

/// A set of options. A call that takes one copies what it needs; NULL stands for an empty set.
pub struct MetaxyOptions {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyOptions {
    type Value = Mutex<Options>;
    const KIND: Kind = Kind::Options;
}

fn lock(options: &Mutex<Options>) -> MutexGuard<'_, Options> {
    options.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The options behind a handle that may be NULL.
pub fn optional(entry: &Entry, options: *const MetaxyOptions) -> Result<Options> {
    match options.is_null() {
        true => Ok(Options::new()),
        false => Ok(lock(&*entry.object(options)?).clone()),
    }
}

/// Makes an empty set of options.
///
/// `options` receives a handle that the caller frees with `metaxy_options_free`. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_options_new(
    options: *mut *mut MetaxyOptions,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::produce("options", options, error, |_| handle::insert(Mutex::new(Options::new()))) }
}

/// Sets the option `key` to `value`, or takes it back if `value` is NULL.
///
/// `key` and `value` are borrowed for the call. One thread at a time. Fails with `METAXY_INVALID_ARGUMENT`, which
/// names the nearest option if there is none called `key`, and `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_options_set(
    options: *mut MetaxyOptions,
    key: *const c_char,
    value: *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            let options = entry.object(options.cast_const())?;
            lock(&options).set(argument::text("key", key)?, argument::optional_text("value", value)?)
        })
    }
}

/// The value of the option `key`: the one that was set, else the default, else NULL.
///
/// `key` is borrowed for the call; `value` receives a text that the caller frees with `metaxy_string_free`. Any
/// thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_options_get(
    options: *const MetaxyOptions,
    key: *const c_char,
    value: *mut *mut c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("value", value, error, |entry| {
            let options = entry.object(options)?;
            let options = lock(&options);
            let text = options.get(argument::text("key", key)?)?;
            Ok(text.map_or(ptr::null_mut(), |text| c_string(text).into_raw()))
        })
    }
}

/// Lists every option that the library knows.
///
/// `options` receives a stream that the caller releases, of one batch with the columns `key`, `type`, `scope`,
/// `default` and `description`, all text and only `default` nullable: it is null where there is none. `scope` names
/// the calls that read the option. Any thread. Fails with `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_options_list(
    options: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::produce("options", options, error, |_| export::table(catalog()?)) }
}

/// Frees a set of options; NULL and a handle already freed are ignored.
///
/// `options` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_options_free(options: *mut MetaxyOptions) {
    guard::quietly((), || drop(handle::remove(options)));
}

/// [`KNOWN`] as rows.
fn catalog() -> Result<RecordBatch> {
    let column = |value: &dyn Fn(&Known) -> Option<String>| -> ArrayRef {
        Arc::new(KNOWN.iter().map(value).collect::<StringArray>())
    };
    let default = |known: &Known| Some(known.default.to_owned()).filter(|value| !value.is_empty());
    let columns = vec![
        column(&|known| Some(known.key.to_owned())),
        column(&|known| Some(known.kind.name())),
        column(&|known| Some(known.scope.to_owned())),
        column(&default),
        column(&|known| Some(known.description.to_owned())),
    ];
    let field = |name: &str| Field::new(name, DataType::Utf8, name == "default");
    let schema = Schema::new(["key", "type", "scope", "default", "description"].map(field).to_vec());
    RecordBatch::try_new(Arc::new(schema), columns).map_err(|cause| {
        Error::new(Status::Internal, format!("cannot list the options: {cause}")).caused_by(&cause)
    })
}
