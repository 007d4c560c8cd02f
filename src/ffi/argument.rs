//! What C passes besides handles: texts in, places for results.

use std::ffi::{CStr, CString, c_char};

use crate::error::{Error, Result};

/// The text behind `pointer`, which must be there and be UTF-8.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that outlives `'a`.
pub unsafe fn text<'a>(name: &'static str, pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: as promised by the caller.
    unsafe { optional_text(name, pointer) }?.ok_or_else(|| null(name))
}

/// The text behind `pointer`, or `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that outlives `'a`.
pub unsafe fn optional_text<'a>(name: &'static str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as promised by the caller.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    bytes.to_str().map(Some).map_err(|cause| {
        Error::invalid(format!(
            "{name} is not UTF-8 from byte {} on: {:?}",
            cause.valid_up_to(),
            bytes.to_string_lossy()
        ))
        .with("argument", name)
        .caused_by(&cause)
    })
}

/// The texts of an array of `count` pointers.
///
/// # Safety
/// `pointer` is NULL or an array of `count` NUL-terminated strings.
pub unsafe fn texts(name: &'static str, pointer: *const *const c_char, count: usize) -> Result<Vec<String>> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: as promised by the caller.
    let text_at = |index| unsafe { text(name, *pointer.add(index)) };
    (0..count).map(|index| text_at(index).map(str::to_owned)).collect()
}

/// The items of an array of `count`; NULL is an array of none.
///
/// # Safety
/// `pointer` is NULL or an array of `count` items that outlives `'a`.
pub unsafe fn items<'a, T>(name: &'static str, pointer: *const T, count: usize) -> Result<&'a [T]> {
    match (pointer.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(null(name)),
        (false, _) if count > isize::MAX as usize / size_of::<T>().max(1) => {
            Err(Error::invalid(format!("{name} cannot have {count} items")).with("argument", name))
        }
        // SAFETY: as promised by the caller.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

/// A place of the caller where a result goes; until then it holds an empty value.
pub struct Output<T>(*mut T);

impl<T> Output<T> {
    pub fn write(self, value: T) {
        // SAFETY: `output` was promised that the place can be written, and it is used only once.
        unsafe { self.0.write(value) }
    }
}

/// The place for a result, emptied, so that a failing call leaves nothing in it.
///
/// # Safety
/// `place` is NULL or can be written until the end of the call.
pub unsafe fn output<T: Empty>(name: &'static str, place: *mut T) -> Result<Output<T>> {
    // SAFETY: as promised by the caller.
    unsafe { optional_output(place) }.ok_or_else(|| null(name))
}

/// As [`output`], for a result that the caller need not want.
///
/// # Safety
/// As for [`output`].
pub unsafe fn optional_output<T: Empty>(place: *mut T) -> Option<Output<T>> {
    if place.is_null() {
        return None;
    }
    // SAFETY: as promised by the caller.
    unsafe { place.write(T::empty()) };
    Some(Output(place))
}

/// What a result is before the call has succeeded.
pub trait Empty {
    fn empty() -> Self;
}

impl<T> Empty for *mut T {
    fn empty() -> Self {
        std::ptr::null_mut()
    }
}

impl<T> Empty for *const T {
    fn empty() -> Self {
        std::ptr::null()
    }
}

impl Empty for u64 {
    fn empty() -> Self {
        0
    }
}

impl Empty for f64 {
    fn empty() -> Self {
        0.0
    }
}

impl Empty for i32 {
    fn empty() -> Self {
        0
    }
}

impl Empty for arrow::ffi_stream::FFI_ArrowArrayStream {
    fn empty() -> Self {
        Self::empty()
    }
}

/// `text` as C wants it; a NUL inside, which C cannot show, becomes U+FFFD.
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default())
}

pub fn null(name: &'static str) -> Error {
    Error::invalid(format!("{name} is NULL")).with("argument", name)
}

pub fn beyond(index: usize, count: usize) -> Error {
    Error::invalid(format!("there is no index {index}; there are {count}")).with("argument", "index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_utf_8_says_where() {
        let error = unsafe { text("json", c"ab\xff".as_ptr()) }.unwrap_err();
        assert!(error.message().starts_with("json is not UTF-8 from byte 2 on"), "{error}");
        assert_eq!(error.detail("argument"), Some("json"));
    }

    #[test]
    fn a_nul_in_a_message_does_not_cut_it() {
        assert_eq!(c_string("a\0b").to_str(), Ok("a\u{fffd}b"));
    }
}
