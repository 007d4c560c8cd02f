//! Opening a store by its name, with the chain below it.

use std::collections::BTreeMap;

use super::{Config, StoreSettings};
use crate::backend::mask;
use crate::error::Result;
use crate::feature::{Truncation, check_project_name};
use crate::store::context::Call;
use crate::store::options::{
    API_KEY, DATABASE, HASH_ALGORITHM, HASH_TRUNCATION_LENGTH, HOST_OVERRIDE, MATERIALIZATION_ID, MODE, NAME,
    Options, PROJECT, REGION, STORAGE_OPTIONS, TLS_CA_FILE,
};
use crate::store::{Fallback, Store};

/// Options that are about one store; all others go down the chain.
const OF_ONE_STORE: [&str; 11] = [
    MODE,
    NAME,
    PROJECT,
    MATERIALIZATION_ID,
    HASH_ALGORITHM,
    STORAGE_OPTIONS,
    API_KEY,
    REGION,
    HOST_OVERRIDE,
    DATABASE,
    TLS_CA_FILE,
];

/// Metaxy's own default.
const METAXY_TRUNCATION: &str = "8";

impl Config {
    /// Opens the store `name`, or the default one. `options` go over what the configuration says of
    /// it. Its fallback stores are opened for reading, each when it is first needed, and one that
    /// several stores of the chain share only once.
    pub fn open_store(&self, name: Option<&str>, options: &Options, call: &Call) -> Result<Store> {
        let name = name.map_or_else(|| self.default_store(), |name| Ok(name.to_owned()))?;
        self.check_chain(&name)?;
        let below = options.without(&OF_ONE_STORE);
        let fallbacks = self.fallbacks(&name, &below, &mut BTreeMap::new())?;
        let options = options.clone().or(&self.project_option()?);
        self.open_one(Store::open_chain, &name, fallbacks, options, call)
    }

    /// The fallback stores of `name`; `shared` has those that occurred before, so that two that fall
    /// back to one share it.
    pub(super) fn fallbacks(
        &self,
        name: &str,
        options: &Options,
        shared: &mut BTreeMap<String, Fallback>,
    ) -> Result<Vec<Fallback>> {
        let mut fallbacks = Vec::new();
        for name in self.fallbacks_of(name)? {
            if let Some(fallback) = shared.get(&name) {
                fallbacks.push(fallback.clone());
                continue;
            }
            let below = self.fallbacks(&name, options, shared)?;
            let uri = match self.store_settings(&name) {
                Ok(StoreSettings { uri, .. }) => {
                    mask(&self.0.environment.locate(&uri).map_or(uri, |place| place.uri()))
                }
                Err(_) => String::new(),
            };
            let fallback = Fallback::lazy(Some(&name), uri, {
                let (config, name, options) = (self.clone(), name.clone(), options.clone());
                move || {
                    let (below, options) = (below.clone(), options.clone());
                    config.open_one(Store::open_below, &name, below, options, &Call::default())
                }
            });
            shared.insert(name, fallback.clone());
            fallbacks.push(fallback);
        }
        Ok(fallbacks)
    }

    fn open_one(
        &self,
        open: impl Fn(&str, Vec<Fallback>, &Options, &Call) -> Result<Store>,
        name: &str,
        below: Vec<Fallback>,
        options: Options,
        call: &Call,
    ) -> Result<Store> {
        let settings = self.store_settings(name)?;
        let mut configured = Options::new();
        configured.set(NAME, Some(name))?;
        configured.set(HASH_ALGORITHM, Some(&settings.hash_algorithm))?;
        configured.set(HASH_TRUNCATION_LENGTH, Some(&self.truncation()?))?;
        self.warn_of_unused(name);
        let opened = self.0.environment.locate(&settings.uri).and_then(|place| {
            settings.connect.set(&place, &mut configured)?;
            open(&place.uri(), below, &options.or(&configured), call)
        });
        opened.map_err(|error| {
            error.reworded(|message| format!("the store {name}: {message}")).with("store", name)
        })
    }

    pub(super) fn truncation(&self) -> Result<String> {
        let Some(place) = self.root().member("hash_truncation_length") else {
            return Ok(METAXY_TRUNCATION.to_owned());
        };
        let text = place.scalar()?;
        match text.trim().parse().ok().filter(|length| Truncation::to(*length).is_ok()) {
            Some(length) => Ok(length.to_string()),
            None => Err(place.refuse("must be a whole number that is at least 8; 64 keeps hashes whole")),
        }
    }

    /// The project that is configured.
    pub(super) fn project(&self) -> Result<Option<String>> {
        let Some(place) = self.root().member("project") else { return Ok(None) };
        let project = place.text()?;
        check_project_name(&project)
            .map_err(|error| place.refuse(format!("is not right: {}", error.message())))?;
        Ok(Some(project))
    }

    fn project_option(&self) -> Result<Options> {
        let mut options = Options::new();
        options.set(PROJECT, self.project()?.as_deref())?;
        Ok(options)
    }

    /// Why the store `name` could not be opened, as far as that is known without trying.
    pub(super) fn problem(&self, name: &str) -> Option<String> {
        let check = || {
            self.check_chain(name)?;
            self.project()?;
            self.truncation()?;
            self.0.environment.locate(&self.store_settings(name)?.uri)
        };
        check().err().map(|error| error.message().to_owned())
    }
}
