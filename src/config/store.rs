//! What the table of a store means.

use super::tree::Place;
use super::{Config, Connect, connect};
use crate::error::{Result, Status};
use crate::store::options::{HASH_ALGORITHM, Options};

/// The paths of Metaxy's LanceDB store: today's, where it is defined, and those of earlier versions.
const LANCEDB: [&str; 4] = [
    "metaxy.ext.lancedb.LanceDBMetadataStore",
    "metaxy.ext.lancedb.metadata_store.LanceDBMetadataStore",
    "metaxy.ext.metadata_stores.lancedb.LanceDBMetadataStore",
    "metaxy.metadata_store.lancedb.LanceDBMetadataStore",
];

const SETTINGS: [&str; 5] =
    ["uri", "fallback_stores", "hash_algorithm", "versioning_engine", "connect_kwargs"];
const ENGINES: [&str; 3] = ["auto", "native", "polars"];

/// The algorithm of Metaxy's LanceDB store.
const METAXY_ALGORITHM: &str = "xxhash32";

/// A store as it is configured. It has no `Debug`, because its URI may have credentials.
#[derive(Clone)]
pub struct StoreSettings {
    pub uri: String,
    /// Names of other stores of the configuration, in the order in which they are asked.
    pub fallback_stores: Vec<String>,
    pub hash_algorithm: String,
    pub connect: Connect,
}

/// The type of a store. Refuses one without, and what does not belong directly under
/// `[stores.<name>]`, where many pages show it.
pub fn check<'a>(name: &str, store: &Place<'a>) -> Result<Place<'a>> {
    store.check_names(
        &["type", "config"],
        &format!("; put settings such as uri under [stores.{name}.config]"),
    )?;
    store.member("config").map_or(Ok(()), |config| config.members().map(drop))?;
    let missing =
        || store.refuse(format!("has no type; write type = {:?} under [stores.{name}]", LANCEDB[0]));
    store.member("type").ok_or_else(missing)
}

/// Whether anything says what the store is. Metaxy leaves out what has no type: most likely a
/// variable has the name of a store that is no more.
pub fn is_complete(store: &Place<'_>) -> bool {
    store.member("type").is_some()
}

impl Config {
    /// What is said of the store `name`, which is needed now: fails if it is of another type, or if
    /// anything in its settings is not right.
    pub fn store_settings(&self, name: &str) -> Result<StoreSettings> {
        let store = self.find(name)?;
        read(name, &store).map_err(|error| error.with("store", name))
    }

    /// Says in the log what of the settings of `name` has no meaning here.
    pub(super) fn warn_of_unused(&self, name: &str) {
        let config = self.find(name).ok().and_then(|store| store.member("config"));
        if let Some(place) = config.and_then(|config| config.member("connect_kwargs")) {
            connect::warn_of_unused(&place);
        }
    }

    /// The stores that `name` falls back to, whatever else is said of it.
    pub(super) fn fallbacks_of(&self, name: &str) -> Result<Vec<String>> {
        let Some(list) =
            self.find(name)?.member("config").and_then(|config| config.member("fallback_stores"))
        else {
            return Ok(Vec::new());
        };
        let names = list.texts().map_err(|error| error.with("store", name))?;
        for fallback in &names {
            self.find(fallback).map_err(|error| {
                let problem = format!("names {fallback:?}, but {}", error.message());
                list.refuse_as(error.status(), problem).with("store", name).with("fallback", fallback)
            })?;
        }
        Ok(names)
    }
}

fn read(name: &str, store: &Place<'_>) -> Result<StoreSettings> {
    let kind = check(name, store)?;
    let text = kind.text()?;
    // Metaxy also takes module:class.
    if !LANCEDB.contains(&text.replace(':', ".").as_str()) {
        return Err(kind.refuse_as(
            Status::Unsupported,
            format!(
                "is {text}, but this library opens LanceDB stores only, {}; the store {name} is needed here",
                LANCEDB[0]
            ),
        ));
    }
    let missing = || store.refuse(format!("has no uri; write uri = \"...\" under [stores.{name}.config]"));
    let config = store.member("config").ok_or_else(missing)?;
    config
        .check_names(&SETTINGS, "; materialization_id, mode and the like are options of opening the store")?;
    if let Some(engine) = config.member("versioning_engine")
        && !ENGINES.contains(&engine.text()?.as_str())
    {
        return Err(engine.refuse(format!("is none of: {}", ENGINES.join(", "))));
    }
    let hash_algorithm = match config.member("hash_algorithm") {
        Some(place) => {
            let algorithm = place.text()?;
            Options::new()
                .set(HASH_ALGORITHM, Some(&algorithm))
                .map_err(|error| place.refuse(format!("is not right: {}", error.message())))?;
            algorithm
        }
        None => METAXY_ALGORITHM.to_owned(),
    };
    Ok(StoreSettings {
        uri: config.member("uri").ok_or_else(missing)?.text()?,
        fallback_stores: config
            .member("fallback_stores")
            .map_or_else(|| Ok(Vec::new()), |list| list.texts())?,
        hash_algorithm,
        connect: config
            .member("connect_kwargs")
            .map_or_else(|| Ok(Connect::default()), |place| Connect::read(&place))?,
    })
}
