//! The chain of a store: where reads go on when it has not got what is asked for.

use std::sync::{Arc, OnceLock};

use super::Store;
use crate::error::Result;

/// How a fallback store is opened.
type Opener = dyn Fn() -> Result<Store> + Send + Sync;

/// A store further down a chain: opened when it is first needed, and kept open.
#[derive(Clone)]
pub struct Fallback(Arc<Inner>);

struct Inner {
    display: String,
    open: Box<Opener>,
    opened: OnceLock<Store>,
}

impl Fallback {
    /// A store that is to be opened by `open`, at the first read that gets so far; a failure is the
    /// failure of that read, and the next one tries again. `display` is what messages call it before.
    pub fn lazy(display: String, open: impl Fn() -> Result<Store> + Send + Sync + 'static) -> Fallback {
        Fallback(Arc::new(Inner { display, open: Box::new(open), opened: OnceLock::new() }))
    }

    /// What messages call the store.
    pub fn display(&self) -> &str {
        &self.0.display
    }

    /// The store, opened now if it is not yet.
    pub fn store(&self) -> Result<&Store> {
        if let Some(store) = self.0.opened.get() {
            return Ok(store);
        }
        let store = (self.0.open)()?;
        Ok(self.0.opened.get_or_init(|| store))
    }

    /// The store, if it is open already.
    pub fn opened(&self) -> Option<&Store> {
        self.0.opened.get()
    }
}

impl From<Store> for Fallback {
    fn from(store: Store) -> Fallback {
        let fallback = Fallback::lazy(store.display(), {
            let store = store.clone();
            move || Ok(store.clone())
        });
        fallback.0.opened.get_or_init(|| store);
        fallback
    }
}
