//! Which library this is, for a program that was compiled against some header.

use std::ffi::c_char;

/// The version of this header, part by part.
pub const METAXY_VERSION_MAJOR: i32 = 0;
/// See `METAXY_VERSION_MAJOR`.
pub const METAXY_VERSION_MINOR: i32 = 1;
/// See `METAXY_VERSION_MAJOR`.
pub const METAXY_VERSION_PATCH: i32 = 0;
/// The version of this header as one number that grows: major * 1000000 + minor * 1000 + patch.
pub const METAXY_VERSION_NUMBER: i32 = 1000;
/// Changes when a program must be compiled anew to use the library.
pub const METAXY_ABI_VERSION: i32 = 1;

/// The version of the library as text, such as `"0.1.0"`.
///
/// The text is static. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library as one number: major * 1000000 + minor * 1000 + patch.
///
/// Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_version_number() -> i32 {
    METAXY_VERSION_NUMBER
}

/// The first part of the library's version.
///
/// Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_version_major() -> i32 {
    METAXY_VERSION_MAJOR
}

/// The second part of the library's version.
///
/// Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_version_minor() -> i32 {
    METAXY_VERSION_MINOR
}

/// The third part of the library's version.
///
/// Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_version_patch() -> i32 {
    METAXY_VERSION_PATCH
}

/// The version of the library's ABI; a program compiled with another `METAXY_ABI_VERSION` must not use it.
///
/// Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn metaxy_abi_version() -> i32 {
    METAXY_ABI_VERSION
}
