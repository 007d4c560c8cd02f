//! `MetaxyConfig`: stores by the names that a `metaxy.toml` gives them.

use std::ffi::c_char;
use std::path::Path;

use arrow::ffi_stream::FFI_ArrowArrayStream;

use crate::config::{Config, Environment};
use crate::ffi::argument;
use crate::ffi::context::{self, MetaxyContext};
use crate::ffi::error::MetaxyError;
use crate::ffi::export;
use crate::ffi::guard;
use crate::ffi::handle::{self, Kind, Opaque};
use crate::ffi::options::{self, MetaxyOptions};
use crate::ffi::status::MetaxyStatus;
use crate::ffi::store::MetaxyStore;

/// A configuration that was loaded, as Python Metaxy reads it: `metaxy.toml`, or `[tool.metaxy]` in `pyproject.toml`,
/// the files that it extends, and the environment variables `METAXY_*`.
pub struct MetaxyConfig {
    _opaque: [u8; 0],
}

impl Opaque for MetaxyConfig {
    type Value = Config;
    const KIND: Kind = Kind::Config;
}

/// Loads the configuration in the file `path`; if that is NULL, in the file that the environment variable
/// `METAXY_CONFIG` names, else in the nearest `metaxy.toml` or `pyproject.toml` with `[tool.metaxy]`, in the working
/// directory or above it. If there is none, the environment may still configure stores.
///
/// `path` is borrowed for the call and may be NULL. `config` receives a handle that the caller frees with
/// `metaxy_config_free`; it keeps the environment as it is now. Any thread, while none changes the environment. Fails
/// with `METAXY_INVALID_ARGUMENT`, which names the file, the line and the key, `METAXY_NOT_FOUND`, `METAXY_PERMISSION`,
/// `METAXY_IO`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_config_load(
    path: *const c_char,
    config: *mut *mut MetaxyConfig,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("config", config, error, |_| {
            let path = argument::optional_text("path", path)?;
            handle::insert(Config::load(path.map(Path::new), Environment::of_process())?)
        })
    }
}

/// Opens a store by its name, with the whole chain of its fallback stores. Those are opened for reading, each when it is
/// first needed, so that what is wrong with one of them is told by the call that needs it.
///
/// `store` is a name of the configuration, or NULL for its default. `options` go over what the configuration says of
/// that store; all but `mode`, `name`, `project`, `materialization_id` and `hash.algorithm` hold for its fallback stores
/// too. `store`, `options` and `context` are borrowed for the call and may be NULL. `opened` receives a handle that the
/// caller frees with `metaxy_store_free`; it does not need `config` any more. Any thread. Fails with
/// `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`, `METAXY_NOT_FOUND` for a name that is not there,
/// `METAXY_UNSUPPORTED` for a store of another type than LanceDB, `METAXY_PERMISSION`, `METAXY_IO`, `METAXY_CANCELLED`,
/// `METAXY_TIMEOUT`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_config_open_store(
    config: *const MetaxyConfig,
    store: *const c_char,
    options: *const MetaxyOptions,
    context: *const MetaxyContext,
    opened: *mut *mut MetaxyStore,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe {
        guard::produce("opened", opened, error, |entry| {
            let config = entry.object(config)?;
            let store = argument::optional_text("store", store)?;
            let options = options::optional(entry, options)?;
            let call = context::optional(entry, context)?.begin();
            handle::insert(config.open_store(store, &options, &call)?)
        })
    }
}

/// Lists the stores of a configuration, sorted by name. Nothing is opened for it.
///
/// `stores` receives a stream that the caller releases, of one batch with the columns `name`, `type`, `uri` with its
/// secrets masked (large text), `fallback_stores` (large list of large text), `hash_algorithm`, `project` (large text),
/// `is_default` (bool), `file` where the store is configured, and `problem` that keeps it from being opened (large text).
/// What is not said, or cannot be told because a variable is not set, is null; so is `problem` where none is known. Any
/// thread. Fails with `METAXY_INVALID_ARGUMENT`, `METAXY_INVALID_HANDLE`.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_config_stores(
    config: *const MetaxyConfig,
    stores: *mut FFI_ArrowArrayStream,
    error: *mut *mut MetaxyError,
) -> MetaxyStatus {
    // SAFETY: the caller passes pointers as the header says.
    unsafe { guard::produce("stores", stores, error, |entry| export::table(entry.object(config)?.stores()?)) }
}

/// Frees a configuration; NULL and a handle already freed are ignored. Stores that were opened by it go on.
///
/// `config` is consumed. Any thread.
///
/// @since 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn metaxy_config_free(config: *mut MetaxyConfig) {
    guard::quietly((), || drop(handle::remove(config)));
}
