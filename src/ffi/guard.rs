//! The one door of every call: nothing unwinds out, nothing is entered from a callback, and after
//! a fork nothing of the parent is touched.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use crate::error::{Error, Result, Status};
use crate::ffi::argument::{self, Empty};
use crate::ffi::error::MetaxyError;
use crate::ffi::handle::{self, Object, Opaque, Poison};
use crate::ffi::status::MetaxyStatus;
use crate::{process, store::runtime};

/// One call that has come through the door.
#[derive(Default)]
pub struct Entry {
    subject: RefCell<Option<Arc<dyn Poison>>>,
}

impl Entry {
    /// The object that `handle` names. The first one asked for is the subject of the call, the one
    /// that a panic poisons.
    pub fn object<O: Opaque>(&self, handle: *const O) -> Result<Arc<Object<O::Value>>> {
        let object = handle::get(handle)?;
        self.subject.borrow_mut().get_or_insert_with(|| object.clone());
        Ok(object)
    }

    fn panicked(&self, payload: Box<dyn Any + Send>) -> Error {
        if let Some(subject) = &*self.subject.borrow() {
            subject.poison();
        }
        Error::new(
            Status::Panic,
            format!(
                "the library panicked, which is a bug in it: {}; the handle of the call is unusable now",
                message(payload)
            ),
        )
    }
}

/// Runs the body of a function that C calls, and turns its outcome into a status and an error.
///
/// # Safety
/// `error` is NULL or can be written.
pub unsafe fn enter(error: *mut *mut MetaxyError, body: impl FnOnce(&Entry) -> Result<()>) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe {
        enter_anywhere(error, |entry| {
            refuse_reentry()?;
            body(entry)
        })
    }
}

/// As [`enter`], for a function with a result. Its `place`, called `name`, is emptied before anything can
/// fail, so that a call that is refused at the door leaves nothing in it either.
///
/// # Safety
/// `place` and `error` are NULL or can be written.
pub unsafe fn produce<T: Empty>(
    name: &'static str,
    place: *mut T,
    error: *mut *mut MetaxyError,
    body: impl FnOnce(&Entry) -> Result<T>,
) -> MetaxyStatus {
    // SAFETY: as promised by the caller.
    unsafe {
        enter_anywhere(error, |entry| {
            let place = argument::output(name, place)?;
            refuse_reentry()?;
            place.write(body(entry)?);
            Ok(())
        })
    }
}

/// As [`enter`], for the few functions that a callback may call.
///
/// # Safety
/// `error` is NULL or can be written.
pub unsafe fn enter_anywhere(
    error: *mut *mut MetaxyError,
    body: impl FnOnce(&Entry) -> Result<()>,
) -> MetaxyStatus {
    if !error.is_null() {
        // SAFETY: as promised by the caller.
        unsafe { error.write(std::ptr::null_mut()) };
    }
    let Err(failure) = attempt(body) else { return Status::Ok.code() };
    let status = failure.status().code();
    if !error.is_null() {
        // SAFETY: as promised by the caller.
        unsafe { error.write(quietly(std::ptr::null_mut(), || MetaxyError::register(&failure))) };
    }
    status
}

/// Runs `body` so that a panic becomes an error and poisons the subject of the call.
pub fn attempt<T>(body: impl FnOnce(&Entry) -> Result<T>) -> Result<T> {
    watch_forks();
    let entry = Entry::default();
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&entry)))
        .unwrap_or_else(|payload| Err(entry.panicked(payload)));
    // The last share of an object that was freed during the call ends here.
    quietly((), || drop(entry));
    outcome
}

/// Runs what has no way to report a failure; `otherwise` is the answer if it panics.
pub fn quietly<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    watch_forks();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        message(payload);
        otherwise
    })
}

/// What a panic said, as far as it is text.
fn message(payload: Box<dyn Any + Send>) -> String {
    let payload = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    match payload.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => {
            // Dropping what is not known might panic again.
            std::mem::forget(payload);
            "no message".to_owned()
        }
    }
}

thread_local! {
    // Not an error state: only whether a callback of the host is running on this thread, which
    // exactly that thread must know.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs a callback of the host, from which no call may come back in.
pub fn in_callback<T>(callback: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IN_CALLBACK.set(self.0);
        }
    }
    let _restore = Restore(IN_CALLBACK.replace(true));
    callback()
}

/// Fails on a thread where a blocking call would wait for itself.
pub fn refuse_reentry() -> Result<()> {
    match IN_CALLBACK.get() || tokio::runtime::Handle::try_current().is_ok() {
        true => Err(runtime::reentrant()),
        false => Ok(()),
    }
}

/// Lets a forked child know that it is one. Registered on the first call, so that a process that
/// merely links the library is left alone.
fn watch_forks() {
    static ONCE: Once = Once::new();
    unsafe extern "C" fn note_fork() {
        process::note_fork();
    }
    ONCE.call_once(|| {
        // SAFETY: the handler touches one atomic, and the library is never unloaded (`-z nodelete`).
        let failed = unsafe { libc::pthread_atfork(None, None, Some(note_fork)) };
        debug_assert_eq!(failed, 0, "only a lack of memory makes this fail");
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::error::metaxy_error_free;
    use crate::ffi::handle::Kind;

    struct Number;
    impl Opaque for Number {
        type Value = u32;
        const KIND: Kind = Kind::Context;
    }

    fn status_of(body: impl FnOnce(&Entry) -> Result<()>) -> (i32, String) {
        let mut error = std::ptr::dangling_mut();
        let status = unsafe { enter(&mut error, body) };
        let message = match error.is_null() {
            true => String::new(),
            false => handle::get(error).unwrap().message.to_string_lossy().into_owned(),
        };
        unsafe { metaxy_error_free(error) };
        (status, message)
    }

    #[test]
    fn a_panic_poisons_the_subject_of_the_call_and_nothing_else() {
        let (subject, other) = (handle::insert::<Number>(1).unwrap(), handle::insert::<Number>(2).unwrap());
        let (status, message) = status_of(|entry| {
            entry.object(subject)?;
            entry.object(other)?;
            panic!("injected")
        });
        assert_eq!(status, Status::Panic.code());
        assert!(message.contains("injected"), "{message}");
        let (status, _) = status_of(|entry| entry.object(subject).map(drop));
        assert_eq!(status, Status::InvalidState.code());
        let (status, _) = status_of(|entry| entry.object(other).map(drop));
        assert_eq!(status, Status::Ok.code());
        handle::remove(subject);
        handle::remove(other);
    }

    #[test]
    fn a_callback_cannot_call_back_in_but_its_thread_can_afterwards() {
        let (status, message) = in_callback(|| status_of(|_| Ok(())));
        assert_eq!(status, Status::Reentrant.code(), "{message}");
        assert_eq!(status_of(|_| Ok(())).0, Status::Ok.code());
    }

    #[test]
    fn success_writes_a_null_error() {
        assert_eq!(status_of(|_| Ok(())), (0, String::new()));
    }
}
