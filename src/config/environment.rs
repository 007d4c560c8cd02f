//! What surrounds the process, read in one place, so that all the rest is a function of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::backend::Location;
use crate::error::Result;

/// Environment variables and a working directory. It has no `Debug`, because it has credentials.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    directory: PathBuf,
}

impl Environment {
    pub fn new<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
        directory: impl Into<PathBuf>,
    ) -> Environment {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment { variables, directory: directory.into() }
    }

    /// That of this process. Variables that are not UTF-8 are left out.
    pub fn of_process() -> Environment {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Environment::new(variables, std::env::current_dir().unwrap_or_default())
    }

    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where `uri` is, as seen from here. That does not change when the process changes its working
    /// directory or its `HOME`, before a store that is opened late is needed.
    pub(super) fn locate(&self, uri: &str) -> Result<Location> {
        Location::parse_in(uri, &self.directory, self.variable("HOME").map(OsStr::new))
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
