//! The statuses, as constants and as a table that a binding can compare with its own.

use std::ffi::{CString, c_char};

use crate::error::Status;
use crate::ffi::argument;
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::process::PerProcess;

/// What a call came to: `METAXY_OK` or the kind of its failure. The numbers never change.
pub type MetaxyStatus = i32;

/// The call did what it says.
pub const METAXY_OK: i32 = 0;
/// An argument is NULL, malformed or not one of the accepted values.
pub const METAXY_INVALID_ARGUMENT: i32 = 1;
/// A handle is NULL, was freed, is of another kind or never was a handle.
pub const METAXY_INVALID_HANDLE: i32 = 2;
/// The object cannot do this now: it is closed, committed, read-only or panicked earlier.
pub const METAXY_INVALID_STATE: i32 = 3;
/// The feature, table or directory does not exist.
pub const METAXY_NOT_FOUND: i32 = 4;
/// What was to be made exists already.
pub const METAXY_ALREADY_EXISTS: i32 = 5;
/// The library cannot do this.
pub const METAXY_UNSUPPORTED: i32 = 6;
/// The columns or types of the rows are not those that are needed.
pub const METAXY_SCHEMA_MISMATCH: i32 = 7;
/// Another writer was faster; the call may be made again.
pub const METAXY_CONFLICT: i32 = 8;
/// The storage cannot be reached now.
pub const METAXY_UNAVAILABLE: i32 = 9;
/// The storage refuses access.
pub const METAXY_PERMISSION: i32 = 10;
/// What is stored cannot be understood.
pub const METAXY_CORRUPT: i32 = 11;
/// Reading, writing or the caller's own stream failed.
pub const METAXY_IO: i32 = 12;
/// The call was cancelled through its context.
pub const METAXY_CANCELLED: i32 = 13;
/// The timeout of the call's context passed.
pub const METAXY_TIMEOUT: i32 = 14;
/// Another thread is using the same exclusive handle.
pub const METAXY_BUSY: i32 = 15;
/// The call was made from a callback of the library.
pub const METAXY_REENTRANT: i32 = 16;
/// The handle belongs to the process that was forked.
pub const METAXY_FORKED: i32 = 17;
/// The library has a bug; the handle of the call is unusable from now on.
pub const METAXY_PANIC: i32 = 18;
/// The library has a bug.
pub const METAXY_INTERNAL: i32 = 19;

/// The name of a status, such as `"METAXY_NOT_FOUND"`, or NULL if there is none with this number.
///
/// The text is static. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_status_name(status: MetaxyStatus) -> *const c_char {
    guard::quietly(std::ptr::null(), || {
        let index = Status::ALL.iter().position(|known| known.code() == status);
        index.map_or(std::ptr::null(), name_at)
    })
}

/// How many statuses there are.
///
/// Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_status_count() -> usize {
    Status::ALL.len()
}

/// The status at `index`, counted from 0, for walking through all of them.
///
/// `status` and `name` receive its number and its static name. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_status_at(
    index: usize,
    status: *mut MetaxyStatus,
    name: *mut *const c_char,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter_anywhere(error, |_| {
            let (status, name) = (argument::output("status", status)?, argument::output("name", name)?);
            let known = Status::ALL.get(index).ok_or_else(|| argument::beyond(index, Status::ALL.len()))?;
            status.write(known.code());
            name.write(name_at(index));
            Ok(())
        })
    }
}

/// The names with the NUL that C needs, in the order of [`Status::ALL`].
struct Names(Vec<CString>);

impl Default for Names {
    fn default() -> Self {
        Names(Status::ALL.iter().map(|status| argument::c_string(status.name())).collect())
    }
}

static NAMES: PerProcess<Names> = PerProcess::new();

fn name_at(index: usize) -> *const c_char {
    NAMES.get().and_then(|names| names.0.get(index)).map_or(std::ptr::null(), |name| name.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_table_tells_every_status_once() {
        for (index, expected) in Status::ALL.iter().enumerate() {
            let (mut status, mut name) = (-1, std::ptr::null());
            let outcome = unsafe { metaxy_status_at(index, &mut status, &mut name, std::ptr::null_mut()) };
            assert_eq!((outcome, status), (METAXY_OK, expected.code()));
            assert_eq!(unsafe { CStr::from_ptr(name) }.to_str(), Ok(expected.name()));
            assert_eq!(metaxy_status_name(status), name);
        }
        assert!(metaxy_status_name(-1).is_null());
    }
}
