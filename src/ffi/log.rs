//! The host's log, and the count of what the host has not freed.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::error::Error;
use crate::ffi::argument::c_string;
use crate::ffi::context::UserData;
use crate::ffi::error::MetaxyError;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind};
use crate::ffi::status::MetaxyStatus;
use crate::log::{self, Level, Sink};

/// Something did not work.
pub const METAXY_LOG_ERROR: i32 = 1;
/// Something looks wrong.
pub const METAXY_LOG_WARN: i32 = 2;
/// Something worth knowing happened.
pub const METAXY_LOG_INFO: i32 = 3;
/// What the library does, step by step.
pub const METAXY_LOG_DEBUG: i32 = 4;

/// Receives a message, which is valid during the call. It runs on any thread, on several at once, and may make no
/// call but `metaxy_context_cancel` and those on errors.
pub type MetaxyLogCallback =
    Option<unsafe extern "C" fn(level: i32, message: *const c_char, user_data: *mut c_void)>;

/// Sends messages of `level` and more urgent ones to `callback`, or, if that is NULL, nowhere, as at the beginning.
///
/// `level` is one of `METAXY_LOG_*`; `user_data` is passed to the callback and must live until another one is set. When
/// this returns, the former callback is no longer running: it waits for that, so that the caller must hold no lock that
/// the callback takes. There is one callback for the process. Any thread. Fails with `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_log_set_callback(
    level: i32,
    callback: MetaxyLogCallback,
    user_data: *mut c_void,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    let user_data = UserData(user_data);
    let sink = callback.map(|callback| -> Sink {
        Arc::new(move |level, message| {
            let message = c_string(message);
            // SAFETY: the caller keeps callback and user data valid until another callback is set.
            guard::in_callback(|| unsafe { callback(level as i32, message.as_ptr(), user_data.pointer()) });
        })
    });
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |_| {
            let level = Level::from_code(level).ok_or_else(|| unknown_level(level));
            log::set_sink(sink.map(|sink| level.map(|level| (level, sink))).transpose()?);
            Ok(())
        })
    }
}

fn unknown_level(level: i32) -> Error {
    Error::invalid(format!("there is no log level {level}; use one of METAXY_LOG_*"))
        .with("argument", "level")
}

/// Every kind of handle together.
pub const METAXY_KIND_ANY: i32 = 0;
/// `MetaxyStore`.
pub const METAXY_KIND_STORE: i32 = 1;
/// `MetaxyWriter`.
pub const METAXY_KIND_WRITER: i32 = 2;
/// `MetaxyReadRequest`.
pub const METAXY_KIND_READ_REQUEST: i32 = 3;
/// `MetaxyOptions`.
pub const METAXY_KIND_OPTIONS: i32 = 4;
/// `MetaxyContext`.
pub const METAXY_KIND_CONTEXT: i32 = 5;
/// `MetaxyError`.
pub const METAXY_KIND_ERROR: i32 = 6;
/// An Arrow stream that the library gave out.
pub const METAXY_KIND_STREAM: i32 = 7;
/// `MetaxyConfig`.
pub const METAXY_KIND_CONFIG: i32 = 8;
/// `MetaxyBufferedWriter`.
pub const METAXY_KIND_BUFFERED_WRITER: i32 = 9;
/// `MetaxyGraph`.
pub const METAXY_KIND_GRAPH: i32 = 10;
/// `MetaxyIncrementRequest`.
pub const METAXY_KIND_INCREMENT_REQUEST: i32 = 11;
/// `MetaxyIncrement`.
pub const METAXY_KIND_INCREMENT: i32 = 12;

/// How many objects of `kind` (`METAXY_KIND_*`) this process has received and not freed; 0 for a kind there is not.
///
/// For tests of leaks, which tools cannot see behind handles. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_live_handles(kind: i32) -> u64 {
    guard::quietly(0, || match (kind, u64::try_from(kind).ok().and_then(Kind::from_code)) {
        (METAXY_KIND_ANY, _) => handle::count(None),
        (_, None) => 0,
        (_, kind) => handle::count(kind),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_kinds_and_levels() {
        let kinds = [
            (METAXY_KIND_STORE, Kind::Store),
            (METAXY_KIND_WRITER, Kind::Writer),
            (METAXY_KIND_READ_REQUEST, Kind::ReadRequest),
            (METAXY_KIND_OPTIONS, Kind::Options),
            (METAXY_KIND_CONTEXT, Kind::Context),
            (METAXY_KIND_ERROR, Kind::Error),
            (METAXY_KIND_STREAM, Kind::Stream),
            (METAXY_KIND_CONFIG, Kind::Config),
            (METAXY_KIND_BUFFERED_WRITER, Kind::BufferedWriter),
            (METAXY_KIND_GRAPH, Kind::Graph),
            (METAXY_KIND_INCREMENT_REQUEST, Kind::IncrementRequest),
            (METAXY_KIND_INCREMENT, Kind::Increment),
        ];
        for (constant, kind) in kinds {
            assert_eq!(constant, kind as i32);
        }
        let levels = [
            (METAXY_LOG_ERROR, Level::Error),
            (METAXY_LOG_WARN, Level::Warn),
            (METAXY_LOG_INFO, Level::Info),
            (METAXY_LOG_DEBUG, Level::Debug),
        ];
        for (constant, level) in levels {
            assert_eq!(constant, level as i32);
        }
    }
}
