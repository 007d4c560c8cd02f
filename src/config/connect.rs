//! `connect_kwargs`: what it takes to reach a remote store.

use std::collections::BTreeMap;
use std::fmt;

use super::tree::Place;
use crate::backend::Location;
use crate::error::Result;
use crate::log::{self, Level};
use crate::store::options::{API_KEY, HOST_OVERRIDE, Options, REGION, STORAGE_OPTIONS, TLS_CA_FILE};

/// What is kept, by the names of `lancedb.connect`.
const KEPT: [&str; 5] = ["api_key", "region", "host_override", "storage_options", "client_config"];

/// What `lancedb.connect` takes besides, which has no meaning here.
const PASSED_OVER: [&str; 7] = [
    "sql_host_override",
    "read_consistency_interval",
    "request_thread_pool",
    "manifest_enabled",
    "namespace_client_impl",
    "namespace_client_properties",
    "namespace_client_pushdown_operations",
];

/// How to reach a remote store; a local one takes no notice of it. Its `Debug` tells names only.
#[derive(Clone, Default, PartialEq)]
pub struct Connect {
    pub api_key: Option<String>,
    pub region: Option<String>,
    pub host_override: Option<String>,
    /// `client_config.tls_config.ssl_ca_cert`.
    pub ca_file: Option<String>,
    pub storage_options: BTreeMap<String, String>,
}

impl Connect {
    pub(super) fn read(place: &Place<'_>) -> Result<Connect> {
        let known: Vec<&str> = KEPT.into_iter().chain(PASSED_OVER).collect();
        place.check_names(&known, "")?;
        let text = |name: &str| place.member(name).map(|place| place.scalar()).transpose();
        let storage_options = match place.member("storage_options") {
            Some(options) => options.members()?,
            None => Vec::new(),
        };
        let tls = place.member("client_config").and_then(|client| client.member("tls_config"));
        let ca_file = tls.and_then(|tls| tls.member("ssl_ca_cert"));
        Ok(Connect {
            ca_file: ca_file.map(|path| path.text()).transpose()?,
            api_key: text("api_key")?,
            region: text("region")?,
            host_override: text("host_override")?,
            storage_options: storage_options
                .into_iter()
                .map(|(name, place)| Ok((name.to_owned(), place.scalar()?)))
                .collect::<Result<_>>()?,
        })
    }
}

impl Connect {
    /// Sets the options for a store at `location`, as far as they mean something there: `lancedb.connect`
    /// takes no notice of the others either.
    pub fn set(&self, location: &Location, options: &mut Options) -> Result<()> {
        match location {
            Location::Directory(_) | Location::Memory => Ok(()),
            Location::Bucket(_) => {
                let mut all = self.storage_options.iter();
                all.try_for_each(|(name, value)| {
                    options.set(&format!("{STORAGE_OPTIONS}{name}"), Some(value))
                })
            }
            Location::Server(server) => {
                options.set(API_KEY, self.api_key.as_deref())?;
                options.set(TLS_CA_FILE, self.ca_file.as_deref())?;
                // Where the URI says where the server is, these two say it again.
                let of_cloud = |text: &Option<String>| text.clone().filter(|_| server.url.is_none());
                options.set(REGION, of_cloud(&self.region).as_deref())?;
                options.set(HOST_OVERRIDE, of_cloud(&self.host_override).as_deref())
            }
        }
    }
}

/// Says in the log what of `connect_kwargs` has no meaning here.
pub fn warn_of_unused(place: &Place<'_>) {
    for place in PASSED_OVER.into_iter().filter_map(|name| place.member(name)) {
        log::emit(Level::Warn, || place.refuse("has no meaning here and is passed over").to_string());
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = [
            ("api_key", self.api_key.is_some()),
            ("region", self.region.is_some()),
            ("host_override", self.host_override.is_some()),
            ("client_config", self.ca_file.is_some()),
        ];
        let options = self.storage_options.keys().map(|name| format!("storage_options.{name}"));
        let names = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned());
        f.write_str("Connect")?;
        f.debug_set().entries(names.chain(options)).finish()
    }
}
