//! How a storage is reached: credentials, endpoints and patience, apart from where it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// What it takes to reach a storage; each kind takes its own part. Its `Debug` tells names only.
#[derive(Clone, Default, PartialEq)]
pub struct Connect {
    /// As `object_store` and Lance name them.
    pub storage_options: BTreeMap<String, String>,
    pub api_key: Option<String>,
    pub region: Option<String>,
    pub host_override: Option<String>,
    /// The name of the database, where the URI tells another one or none.
    pub database: Option<String>,
    /// The authorities that a server's certificate is checked by, in PEM.
    pub ca_file: Option<PathBuf>,
    /// How long it may take to reach the storage; no bound if absent.
    pub connect_timeout: Option<Duration>,
    /// How long an answer may take.
    pub read_timeout: Option<Duration>,
    /// Whether somebody sees to it that only one process at a time writes to a bucket whose server does
    /// not keep writers apart.
    pub single_writer: bool,
}

/// What names each option that is given.
pub const STORAGE_OPTIONS: &str = "storage_options.";

impl Connect {
    /// The options that are about credentials and addresses, by name.
    fn given(&self) -> impl Iterator<Item = String> {
        let texts = [
            ("api_key", self.api_key.is_some()),
            ("region", self.region.is_some()),
            ("host_override", self.host_override.is_some()),
            ("database", self.database.is_some()),
            ("tls.ca_file", self.ca_file.is_some()),
        ];
        let options: Vec<String> =
            self.storage_options.keys().map(|name| format!("{STORAGE_OPTIONS}{name}")).collect();
        texts.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned()).chain(options)
    }

    /// Refuses options that mean nothing to `storage`, which takes those that `takes` says.
    pub fn check(&self, storage: &str, takes: impl Fn(&str) -> bool) -> Result<()> {
        match self.given().find(|name| !takes(name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("the option {name} means nothing for {storage}; leave it out");
                Err(Error::invalid(message).with("option", name))
            }
        }
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")?;
        f.debug_set().entries(self.given()).finish()
    }
}
