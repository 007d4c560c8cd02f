//! The chain of a store: where reads go on when it has not got what is asked for, and how its
//! stores agree on their hash settings.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Store;
use super::options::{
    FALLBACK_MISSING, FALLBACK_ON_UNAVAILABLE, HASH_ALGORITHM, HASH_TRUNCATION_LENGTH, Options,
};
use super::settings::{Partial, agree_along_chain};
use crate::backend::{Location, Table};
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};
use crate::versioning::SampleHash;

/// When a read goes on to the fallback stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// When there is no table.
    Table,
    /// When no row of the feature version is current. Samples that were deleted stay so.
    Rows,
    /// Always, for the samples that are not there.
    Merge,
}

/// What a store looks through besides itself, and how.
pub struct Chain {
    pub fallbacks: Vec<Fallback>,
    pub missing: Missing,
    /// Whether a store that cannot be reached is passed over.
    pub pass_over: bool,
}

impl Chain {
    pub fn new(fallbacks: Vec<Fallback>, options: &Options) -> Result<Chain> {
        let missing = match options.get(FALLBACK_MISSING)? {
            Some("table") => Missing::Table,
            Some("merge") => Missing::Merge,
            _ => Missing::Rows,
        };
        let pass_over = options.get(FALLBACK_ON_UNAVAILABLE)? == Some("next");
        Ok(Chain { fallbacks, missing, pass_over })
    }

    /// Refuses a chain that leads back to `location`, or whose settings are known to differ, for the
    /// store `display` at its head. Stores that are not open yet are looked at when they are.
    pub fn check(&self, display: &str, location: &Location, settings: &Partial) -> Result<()> {
        for store in self.fallbacks.iter().filter_map(Fallback::opened) {
            if store.database().location().is(location) {
                return Err(Error::invalid(format!(
                    "the chain of {display} leads back to it through {}; a store cannot be its own fallback",
                    store.display()
                ))
                .with("store", display)
                .with("fallback", store.display()));
            }
            agree_along_chain(display, settings, &store.display(), &store.settings().known_so_far())?;
            store.chain().check(display, location, settings)?;
        }
        Ok(())
    }
}

/// Whether an error means that a store could not be asked, rather than that it has answered.
pub fn is_unavailable(error: &Error) -> bool {
    matches!(error.status(), Status::Unavailable | Status::Permission | Status::Timeout | Status::Io)
}

impl Store {
    /// How rows are hashed that are written to `table`, or to a new one. A store whose options and
    /// tables tell nothing takes after its chain: it is there to be compared with it.
    pub(super) async fn hash_for_write(&self, table: Option<&Table>) -> Result<SampleHash> {
        self.inherit(table).await?;
        self.settings().resolve_for_write(self.database(), table).await
    }

    /// As [`Store::hash_for_write`], for reading `table`, or for naming versions.
    pub(super) async fn hash_for_read(&self, table: Option<&Table>) -> Result<SampleHash> {
        self.inherit(table).await?;
        self.settings().resolve(self.database(), table).await
    }

    /// What the store tells of its settings, or else its chain; nothing is assumed.
    pub(super) async fn hash_told(&self) -> Result<Partial> {
        self.inherit(None).await?;
        self.settings().told(self.database(), None).await
    }

    async fn inherit(&self, table: Option<&Table>) -> Result<()> {
        if self.chain().fallbacks.is_empty() || self.settings().decided(self.database(), table).await? {
            return Ok(());
        }
        for fallback in &self.chain().fallbacks {
            match self.told_by(fallback).await {
                Ok(told) => {
                    let mut ours = self.settings().known_so_far();
                    agree_along_chain(&self.display(), &ours, fallback.display(), &told)?;
                    self.settings().inherit(&told);
                    ours.complete(&told);
                    if ours.is_complete() {
                        break;
                    }
                }
                Err(error) if error.status() == Status::NotFound => {}
                Err(error) if is_unavailable(&error) && self.chain().pass_over => {
                    log::emit(Level::Warn, || {
                        format!(
                            "{} cannot be asked how it hashes, and is passed over by {}: {error}",
                            fallback.display(),
                            self.display()
                        )
                    });
                }
                Err(error) => {
                    return Err(error.reworded(|reason| {
                        format!(
                            "the hash settings of {} are those of its chain, but {} cannot be asked for them ({reason}); \
                             open it with {HASH_ALGORITHM} and {HASH_TRUNCATION_LENGTH}, or make the fallback available",
                            self.display(),
                            fallback.display()
                        )
                    }));
                }
            }
        }
        Ok(())
    }

    /// What a fallback store, or the chain below it, tells of its settings.
    fn told_by<'a>(&'a self, fallback: &'a Fallback) -> BoxFuture<'a, Result<Partial>> {
        async move {
            let store = fallback.store()?;
            let mut told = store.settings().told(store.database(), None).await?;
            for below in &store.chain().fallbacks {
                if told.is_complete() {
                    break;
                }
                told.complete(&store.told_by(below).await?);
            }
            Ok(told)
        }
        .boxed()
    }
}

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
