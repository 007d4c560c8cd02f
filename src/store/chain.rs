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
    pub fn check(&self, display: &str, location: &Location, settings: Partial) -> Result<()> {
        let mut told = Told::default();
        told.add(display, settings)?;
        self.check_below(display, location, &mut told)
    }

    fn check_below(&self, head: &str, location: &Location, told: &mut Told) -> Result<()> {
        for store in self.fallbacks.iter().filter_map(Fallback::opened) {
            if store.database().location().is(location) {
                return Err(Error::invalid(format!(
                    "the chain of {head} leads back to it through {}; a store cannot be its own fallback",
                    store.display()
                ))
                .with("store", head)
                .with("fallback", store.display()));
            }
            told.add(&store.display(), store.settings().known_so_far())?;
            store.chain().check_below(head, location, told)?;
        }
        Ok(())
    }
}

/// What the stores of a chain tell of their settings, each by its name; none contradicts another.
#[derive(Clone, Default)]
pub struct Told {
    stores: Vec<(String, Partial)>,
    /// What is assumed where none tells. It contradicts nobody.
    assumed: Partial,
    /// A store that could not be asked.
    passed_over: Option<String>,
}

impl Told {
    pub fn add(&mut self, store: &str, told: Partial) -> Result<()> {
        for (other, theirs) in self.stores.iter().filter(|(other, _)| other != store) {
            agree_along_chain(other, theirs, store, &told)?;
        }
        self.stores.push((store.to_owned(), told));
        Ok(())
    }

    fn add_all(&mut self, below: Told) -> Result<()> {
        for (store, told) in below.stores {
            self.add(&store, told)?;
        }
        self.assumed.complete(&below.assumed);
        self.passed_over = self.passed_over.take().or(below.passed_over);
        Ok(())
    }

    /// What all of them tell together.
    pub fn together(&self) -> Partial {
        let mut all = Partial::default();
        self.stores.iter().for_each(|(_, told)| all.complete(told));
        all
    }

    fn with_assumed(&self) -> Partial {
        let mut all = self.together();
        all.complete(&self.assumed);
        all
    }
}

/// Whether an error means that a store could not be asked, rather than that it has answered.
pub fn is_unavailable(error: &Error) -> bool {
    // A bucket that does not exist, or is in another region, cannot be asked either.
    error.detail("reason").is_some()
        || matches!(error.status(), Status::Unavailable | Status::Permission | Status::Timeout | Status::Io)
}

impl Store {
    /// How rows are hashed that are written to `table`, or to a new one. A store whose options and
    /// tables tell nothing takes after its chain: it is there to be compared with it.
    pub(super) async fn hash_for_write(&self, table: Option<&Table>) -> Result<SampleHash> {
        self.inherit(table, true).await?;
        self.settings().resolve_for_write(self.database(), table).await
    }

    /// As [`Store::hash_for_write`], for reading `table`, or for naming versions.
    pub(super) async fn hash_for_read(&self, table: Option<&Table>) -> Result<SampleHash> {
        self.inherit(table, false).await?;
        self.settings().resolve(self.database(), table).await
    }

    /// What the store tells of its settings, or else its chain, with what is assumed there of tables that
    /// do not tell it; nothing is assumed of empty stores.
    pub(super) async fn hash_told(&self) -> Result<Partial> {
        let mut told = self.settings().told(self.database(), None).await?;
        if !told.is_complete() {
            told.complete(&self.told_below(true).await?.with_assumed());
        }
        Ok(told)
    }

    async fn inherit(&self, table: Option<&Table>, writing: bool) -> Result<()> {
        if self.chain().fallbacks.is_empty()
            || self.settings().decided(self.database(), table, writing).await?
        {
            return Ok(());
        }
        let told = self.told_below(writing).await?;
        let below = told.with_assumed();
        if let (true, false, Some(store)) = (writing, below.is_complete(), &told.passed_over) {
            return Err(self.untold(store, "it was passed over, and nothing else tells them"));
        }
        self.settings().inherit(below);
        Ok(())
    }

    /// The error of a store whose rows nobody could say how to hash.
    fn untold(&self, fallback: &str, reason: &str) -> Error {
        Error::new(
            Status::Unavailable,
            format!(
                "the hash settings of {} are those of its chain, but {fallback} cannot be asked for them ({reason}); open \
                 it with {HASH_ALGORITHM} and {HASH_TRUNCATION_LENGTH}, or make the fallback available",
                self.display()
            ),
        )
        .with("fallback", fallback)
    }

    /// What the stores below tell, as far as it takes to know all.
    fn told_below(&self, writing: bool) -> BoxFuture<'_, Result<Told>> {
        async move {
            let mut told = Told::default();
            told.add(&self.display(), self.settings().known_so_far())?;
            for fallback in &self.chain().fallbacks {
                let algorithm = writing && told.together().algorithm.is_none();
                match self.told_by(fallback, algorithm).await {
                    Ok(below) => told.add_all(below)?,
                    Err(error) if is_unavailable(&error) && self.chain().pass_over => {
                        log::emit(Level::Warn, || {
                            format!(
                                "{} cannot be asked how it hashes, and is passed over by {}: {error}",
                                fallback.display(),
                                self.display()
                            )
                        });
                        told.passed_over.get_or_insert(fallback.display());
                    }
                    Err(error) => {
                        let untold = self.untold(&fallback.display(), error.message());
                        return Err(error.reworded(|_| untold.message().to_owned()));
                    }
                }
                if told.with_assumed().is_complete() {
                    break;
                }
            }
            Ok(told)
        }
        .boxed()
    }

    /// What a fallback store tells, and, where that is not all, the stores below it.
    async fn told_by(&self, fallback: &Fallback, algorithm: bool) -> Result<Told> {
        let store = fallback.store()?;
        let (own, assumed) = store.settings().to_inherit(store.database(), algorithm).await?;
        let complete = own.is_complete() || assumed.is_complete();
        let mut told = Told { assumed, ..Told::default() };
        told.add(&store.display(), own)?;
        if !complete {
            told.add_all(store.told_below(algorithm).await?)?;
        }
        Ok(told)
    }
}

/// How a fallback store is opened.
type Opener = dyn Fn() -> Result<Store> + Send + Sync;

/// A store further down a chain: opened when it is first needed, and kept open.
#[derive(Clone)]
pub struct Fallback(Arc<Inner>);

struct Inner {
    name: Option<String>,
    uri: String,
    open: Box<Opener>,
    opened: OnceLock<Store>,
}

impl Fallback {
    /// A store that is to be opened by `open`, at the first read that gets so far; a failure is the
    /// failure of that read, and the next one tries again. `name` and `uri`, its secrets masked, are
    /// what messages call it before.
    pub fn lazy(
        name: Option<&str>,
        uri: String,
        open: impl Fn() -> Result<Store> + Send + Sync + 'static,
    ) -> Fallback {
        let name = name.map(str::to_owned);
        Fallback(Arc::new(Inner { name, uri, open: Box::new(open), opened: OnceLock::new() }))
    }

    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The URI of the store, without secrets.
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    /// What messages call the store.
    pub fn display(&self) -> String {
        display(self.name(), self.uri())
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
        let fallback = Fallback::lazy(store.name(), store.uri().to_owned(), {
            let store = store.clone();
            move || Ok(store.clone())
        });
        fallback.0.opened.get_or_init(|| store);
        fallback
    }
}

/// What messages call a store.
pub fn display(name: Option<&str>, uri: &str) -> String {
    match name {
        Some(name) => format!("[{name}] {uri}"),
        None => uri.to_owned(),
    }
}
