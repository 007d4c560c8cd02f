//! `MetaxyContext`: how the caller stays in control of blocking calls.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::error::Result;
use crate::ffi::error::MetaxyError;
use crate::ffi::guard::{self, Entry};
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::status::MetaxyStatus;
use crate::store::context::{Context, Progress};

/// A timeout, a cancel switch and a progress callback for the calls that are given it; NULL stands for none of them.
pub struct MetaxyContext {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyContext {
    type Value = Mutex<Context>;
    const KIND: Kind = Kind::Context;
}

/// Told how many rows a call has done, and out of how many, or -1 where that is not known. It runs on the calling
/// thread or one of the library's, and may make no call but `metaxy_context_cancel` and those on errors.
pub type MetaxyProgressCallback = Option<unsafe extern "C" fn(rows: u64, total: i64, user_data: *mut c_void)>;

/// What the host gives for its callback; it answers for using it from whatever thread the callback runs on.
#[derive(Clone, Copy)]
pub struct UserData(pub *mut c_void);

// SAFETY: the pointer is only handed back to the host, whose callback is documented to run on any thread.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    /// A method, so that a closure captures the whole value and not its bare pointer.
    pub fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// Longer than this means for ever; the clock could not even add it to now.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fn lock(context: &Mutex<Context>) -> MutexGuard<'_, Context> {
    context.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The context behind a handle that may be NULL, as it is now; its cancel switch stays shared.
pub fn optional(entry: &Entry, context: *const MetaxyContext) -> Result<Context> {
    match context.is_null() {
        true => Ok(Context::new()),
        false => Ok(lock(&*entry.object(context)?).clone()),
    }
}

/// Makes a context without timeout or progress callback.
///
/// `context` receives a handle that the caller frees with `metaxy_context_free`, also while calls use it. Any thread.
/// Fails with `METAXY_INVALID_ARGUMENT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_context_new(
    context: *mut *mut MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::produce("context", context, error, |_| handle::insert(Mutex::new(Context::new()))) }
}

/// Sets the longest that one call may take, in milliseconds; 0, as in a new context, is for ever.
///
/// Calls under way keep the timeout they began with. One thread at a time. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_context_set_timeout_ms(
    context: *mut MetaxyContext,
    timeout_ms: u64,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    let timeout = Duration::from_millis(timeout_ms);
    let timeout = Some(timeout).filter(|timeout| !timeout.is_zero() && *timeout < LONGEST_TIMEOUT);
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            lock(&*entry.object(context.cast_const())?).set_timeout(timeout);
            Ok(())
        })
    }
}

/// Sets the callback that is told of progress, or removes it if `callback` is NULL.
///
/// `user_data` is passed to the callback and must live until no call uses the context any more. One thread at a time.
/// Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_context_set_progress(
    context: *mut MetaxyContext,
    callback: MetaxyProgressCallback,
    user_data: *mut c_void,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    let user_data = UserData(user_data);
    let progress = callback.map(|callback| -> Progress {
        Arc::new(move |rows, total| {
            let total = total.and_then(|total| i64::try_from(total).ok()).unwrap_or(-1);
            // SAFETY: the caller keeps callback and user data valid while calls use the context.
            guard::in_callback(|| unsafe { callback(rows, total, user_data.pointer()) });
        })
    });
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter(error, |entry| {
            lock(&*entry.object(context.cast_const())?).set_progress(progress);
            Ok(())
        })
    }
}

/// Ends the calls that use the context, those under way and all later ones, with `METAXY_CANCELLED`.
///
/// Any thread, also during a call that uses the context, and from a callback. Fails with `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_context_cancel(
    context: *const MetaxyContext,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::enter_anywhere(error, |entry| {
            lock(&*entry.object(context)?).cancel();
            Ok(())
        })
    }
}

/// Frees a context; NULL and a handle already freed are ignored. Calls that use it go on.
///
/// `context` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_context_free(context: *mut MetaxyContext) {
    guard::quietly((), || drop(handle::remove(context)));
}
