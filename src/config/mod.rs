//! The configuration that Python Metaxy reads, `metaxy.toml`: stores by name, with their chains.
//!
//! Where a file is looked for, how files and the environment are put together and what an unset
//! variable means is said in `docs/configuration.md`. The way of a setting: [`environment`] and
//! `file` read, `overrides` and `tree` put together, `store` says what a store's table means, `open`
//! opens it.
//!
//! Names and tables are checked when a configuration is loaded, values when they are needed, so that
//! a variable that only production has does not keep a laptop from working.

mod chain;
mod connect;
mod environment;
mod expand;
mod file;
mod list;
mod open;
mod overrides;
mod store;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use connect::Connect;
pub use environment::Environment;
pub use list::stores_schema;
pub use store::StoreSettings;

use crate::error::{Error, Result, Status};
use crate::log::{self, Level};
use tree::{Node, Origin, Place, Value};

/// What may stand at the top, whether it means anything here or not.
const SETTINGS: [&str; 14] = [
    "auto_create_tables",
    "enable_map_datatype",
    "entrypoints",
    "ext",
    "extend",
    "extra_features",
    "hash_truncation_length",
    "locked",
    "metaxy_lock_path",
    "project",
    "store",
    "stores",
    "sync",
    "theme",
];

/// A loaded configuration; clones are the same. It has no `Debug`, because it has credentials.
#[derive(Clone)]
pub struct Config(Arc<Inner>);

struct Inner {
    file: Option<PathBuf>,
    root: Node,
    environment: Environment,
}

impl Config {
    /// Loads the file at `path`; without one, the file that `METAXY_CONFIG` names; without that, the
    /// first that is found in the working directory or above it. That there is none is no error:
    /// the environment may say everything.
    pub fn load(path: Option<&Path>, environment: Environment) -> Result<Config> {
        let named = path
            .or_else(|| environment.variable("METAXY_CONFIG").filter(|path| !path.is_empty()).map(Path::new));
        let file = match named {
            Some(path) => Some(environment.directory().join(path)),
            None => file::discover(environment.directory())?,
        };
        let (mut table, origin) = match &file {
            Some(file) => (file::load(file, &environment)?, Origin::start_of(file)),
            None => (tree::Table::new(), Origin::Environment),
        };
        tree::put_over(&mut table, overrides::read(&environment)?);
        let root = Node { value: Value::Table(table), origin };
        let config = Config(Arc::new(Inner { file, root, environment }));
        config.check()?;
        Ok(config)
    }

    /// The file it was loaded from.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Refuses names that nobody knows.
    fn check(&self) -> Result<()> {
        self.root().check_names(&SETTINGS, "")?;
        for (name, store) in self.stores_by_name()? {
            match store::check(name, &store) {
                Err(error) if store::is_complete(&store) => return Err(error),
                // What has the right names is a table.
                Err(error) => {
                    store.members()?;
                    log::emit(Level::Warn, || format!("the store {name} cannot be opened: {error}"));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn root(&self) -> Place<'_> {
        Place::root(&self.0.root, &self.0.environment)
    }

    fn stores_by_name(&self) -> Result<Vec<(&str, Place<'_>)>> {
        self.root().member("stores").map_or_else(|| Ok(Vec::new()), |stores| stores.members())
    }

    /// The store that is meant when none is named.
    fn default_store(&self) -> Result<String> {
        // Metaxy's own default.
        const DEV: &str = "dev";
        match self.root().member("store") {
            Some(place) => {
                let name = place.text()?;
                match self.find(&name) {
                    Ok(_) => Ok(name),
                    Err(error) => Err(place
                        .refuse_as(error.status(), format!("names no store: {}", error.message()))
                        .with("store", name)),
                }
            }
            None => match self.find(DEV) {
                Ok(_) => Ok(DEV.to_owned()),
                Err(error) => Err(error.reworded(|message| {
                    format!("there is no default store: set `store`, or name one when opening ({message})")
                })),
            },
        }
    }

    /// The table of a store.
    fn find(&self, name: &str) -> Result<Place<'_>> {
        let stores = self.stores_by_name()?;
        if let Some((_, place)) = stores.iter().find(|(known, _)| *known == name) {
            return Ok(place.clone());
        }
        let mut known: Vec<&str> = stores.iter().map(|(known, _)| *known).collect();
        let distance = |known: &str| 1.0 - strsim::jaro_winkler(known, name);
        known.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        let known = match known.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has: {}", known.join(", ")),
        };
        Err(Error::new(
            Status::NotFound,
            format!("there is no store {name:?} in the configuration, {}; {known}", self.source()),
        )
        .with("store", name))
    }

    /// Where it comes from, for people.
    fn source(&self) -> String {
        match &self.0.file {
            Some(file) => file.display().to_string(),
            None => format!(
                "which is the environment only, as neither a metaxy.toml nor a pyproject.toml with [tool.metaxy] was \
                 found in {} or above it",
                self.0.environment.directory().display()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
