//! Options: strings by name, known to the library itself, so that a wrong one is told at once.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};

/// What an option's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    IntegerOrNone,
    Choice(&'static [&'static str]),
}

impl Kind {
    pub fn name(self) -> String {
        match self {
            Kind::Text => "text".into(),
            Kind::Integer => "integer".into(),
            Kind::IntegerOrNone => format!("integer|{NONE}"),
            Kind::Choice(values) => values.join("|"),
        }
    }
}

/// One option that the library understands.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub key: &'static str,
    pub kind: Kind,
    /// The calls that read it, such as `open` and `write`.
    pub scope: &'static str,
    /// Empty when there is none.
    pub default: &'static str,
    pub description: &'static str,
}

pub const MODE: &str = "mode";
pub const NAME: &str = "name";
pub const PROJECT: &str = "project";
pub const HASH_ALGORITHM: &str = "hash.algorithm";
pub const HASH_TRUNCATION_LENGTH: &str = "hash.truncation_length";
pub const MATERIALIZATION_ID: &str = "materialization_id";
pub const CACHE_BYTES: &str = "cache.bytes";
pub const DURABILITY: &str = "durability";
/// What the names of options begin with that go to the storage as they are.
pub const STORAGE_OPTIONS: &str = "storage_options.";
pub const API_KEY: &str = "api_key";
pub const REGION: &str = "region";
pub const HOST_OVERRIDE: &str = "host_override";
pub const DATABASE: &str = "database";
pub const TLS_CA_FILE: &str = "tls.ca_file";
pub const CONNECT_TIMEOUT_MS: &str = "connect.timeout_ms";
pub const READ_TIMEOUT_MS: &str = "read.timeout_ms";
pub const WRITE_SINGLE_WRITER: &str = "write.single_writer";
pub const MEMORY_BYTES: &str = "memory.bytes";
pub const SPILL_DIRECTORY: &str = "spill.directory";
pub const FALLBACK_MISSING: &str = "fallback.missing";
pub const FALLBACK_ON_UNAVAILABLE: &str = "fallback.on_unavailable";
/// The value that sets no bound, where an option says that it has one.
pub const NONE: &str = "none";

pub const COMPACT_AFTER_WRITES: &str = "compact.after_writes";
pub const COMPACT_KEEP_MS: &str = "compact.keep_ms";
pub const PRUNE_OLDER_THAN_MS: &str = "prune.older_than_ms";
pub const PURGE_OLDER_THAN_MS: &str = "purge.older_than_ms";
pub const PURGE_TOMBSTONES: &str = "purge.tombstones";
pub const WRITE_DUPLICATES: &str = "write.duplicates";
pub const WRITE_VERSIONS: &str = "write.versions";
pub const WRITE_CROSS_PROJECT: &str = "write.cross_project";
pub const BUFFER_ROWS: &str = "buffer.rows";
pub const BUFFER_BYTES: &str = "buffer.bytes";
pub const BUFFER_MS: &str = "buffer.ms";
pub const DELETE_MODE: &str = "delete.mode";
pub const DELETE_ALL: &str = "delete.all";

/// Every option, in the order in which they are listed.
pub const KNOWN: &[Known] = &[
    Known {
        key: MODE,
        kind: Kind::Choice(&["write", "read"]),
        scope: "open",
        default: "write",
        description: "write creates the directory and allows writing; read refuses every write",
    },
    Known {
        key: NAME,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "what messages call the store; its masked URI when absent",
    },
    Known {
        key: PROJECT,
        kind: Kind::Text,
        scope: "open, graph",
        default: "",
        description: "the project whose version is stamped on written rows; the only project of the defined \
                      features when absent",
    },
    Known {
        key: HASH_ALGORITHM,
        kind: Kind::Choice(&["xxhash64", "xxhash32", "xxh3_64", "wyhash", "sha256", "md5"]),
        scope: "open",
        default: "",
        description: "how samples are hashed; what the store's tables use when absent, xxhash64 in an empty store",
    },
    Known {
        key: HASH_TRUNCATION_LENGTH,
        kind: Kind::IntegerOrNone,
        scope: "open, graph",
        default: "",
        description: "characters kept of every hash, at least 8, or none to keep all; what the store's tables use \
                      when absent, none in an empty store",
    },
    Known {
        key: MATERIALIZATION_ID,
        kind: Kind::Text,
        scope: "open, write, buffer, delete, copy",
        default: "",
        description: "the run that rows, and tombstones, are stamped with; that of the call goes before that of the store, \
                      and only that of a copy replaces the one of copied rows",
    },
    Known {
        key: CACHE_BYTES,
        kind: Kind::Integer,
        scope: "open",
        default: "67108864",
        description: "the most that the metadata cache may hold, in bytes; stores with the same value share one",
    },
    Known {
        key: MEMORY_BYTES,
        kind: Kind::Integer,
        scope: "open",
        default: "1073741824",
        description: "the most that each call that reads or resolves, and each part that is read, holds in memory, in bytes, at least \
                      33554432; what is more goes to the spill directory",
    },
    Known {
        key: SPILL_DIRECTORY,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "where resolving puts what does not fit into memory; the system's directory for temporary files \
                      when absent",
    },
    Known {
        key: DURABILITY,
        kind: Kind::Choice(&["process", "disk"]),
        scope: "open",
        default: "process",
        description: "what acknowledged writes survive: the end of the process, however it ends; or disk, a crash of the \
                      machine too, because all is flushed to the disk first",
    },
    Known {
        key: STORAGE_OPTIONS,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "the beginning of the names of all options of s3://, gs://, az:// and abfss://, as in \
                      storage_options.aws_region; docs/storage.md lists them",
    },
    Known {
        key: API_KEY,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "the key for db://, https:// and http://; the environment's LANCEDB_API_KEY when absent",
    },
    Known {
        key: REGION,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "the region of a database of LanceDB Cloud; the environment's LANCEDB_REGION when absent, or else \
                      us-east-1",
    },
    Known {
        key: HOST_OVERRIDE,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "where the server of a database at db:// is, if it is not LanceDB Cloud: an https:// or http:// URL",
    },
    Known {
        key: DATABASE,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "the name by which a server at https:// or http:// knows the database; the last part of the URL's path \
                      when absent",
    },
    Known {
        key: TLS_CA_FILE,
        kind: Kind::Text,
        scope: "open",
        default: "",
        description: "the file with the authorities, in PEM, that the certificate of a server at https:// is checked by; \
                      those of the system when absent",
    },
    Known {
        key: CONNECT_TIMEOUT_MS,
        kind: Kind::Integer,
        scope: "open",
        default: "10000",
        description: "how long it may take to reach a storage that is not local, in milliseconds",
    },
    Known {
        key: READ_TIMEOUT_MS,
        kind: Kind::Integer,
        scope: "open",
        default: "60000",
        description: "how long such a storage may leave a request without any answer, in milliseconds",
    },
    Known {
        key: WRITE_SINGLE_WRITER,
        kind: Kind::Choice(&["refuse", "accept"]),
        scope: "open",
        default: "refuse",
        description: "whether an S3 server that does not keep writers apart, for want of conditional writes, may be written \
                      to; accept promises that only one process at a time does",
    },
    Known {
        key: FALLBACK_MISSING,
        kind: Kind::Choice(&["rows", "table", "merge"]),
        scope: "open",
        default: "rows",
        description: "when a read goes on to the fallback stores: rows, if no row of the feature version is current; \
                      table, if there is no table; merge, always, for the samples that are not here",
    },
    Known {
        key: FALLBACK_ON_UNAVAILABLE,
        kind: Kind::Choice(&["error", "next"]),
        scope: "open",
        default: "error",
        description: "what a store of the chain that cannot be reached means to a read: an error, or that it is \
                      passed over",
    },
    Known {
        key: WRITE_DUPLICATES,
        kind: Kind::Choice(&["error", "last"]),
        scope: "write, buffer",
        default: "error",
        description: "what an id that occurs twice in one write means: an error, or that its last row is kept, which \
                      is what a buffered writer does unless told",
    },
    Known {
        key: WRITE_VERSIONS,
        kind: Kind::Choice(&["stamp", "keep"]),
        scope: "write, buffer",
        default: "stamp",
        description: "the feature and project version of written rows: stamp, those of now; keep, those that each row \
                      brings, and must bring",
    },
    Known {
        key: BUFFER_ROWS,
        kind: Kind::Integer,
        scope: "buffer",
        default: "10000",
        description: "a buffered writer commits when so many rows wait",
    },
    Known {
        key: BUFFER_BYTES,
        kind: Kind::Integer,
        scope: "buffer",
        default: "67108864",
        description: "a buffered writer commits when the rows that wait take so many bytes; with those of the commit \
                      under way it holds about twice as much",
    },
    Known {
        key: BUFFER_MS,
        kind: Kind::Integer,
        scope: "buffer",
        default: "2000",
        description: "a buffered writer commits when a row has waited for so many milliseconds",
    },
    Known {
        key: WRITE_CROSS_PROJECT,
        kind: Kind::Choice(&["refuse", "allow"]),
        scope: "write, buffer, delete, copy",
        default: "refuse",
        description: "whether a store that was given a project may be written a feature of another one, or deleted from it",
    },
    Known {
        key: DELETE_MODE,
        kind: Kind::Choice(&["soft", "hard"]),
        scope: "delete",
        default: "soft",
        description: "soft hides samples behind tombstones, until they are written again; hard removes their rows",
    },
    Known {
        key: DELETE_ALL,
        kind: Kind::Choice(&["false", "true"]),
        scope: "delete",
        default: "false",
        description: "whether a delete without a filter, of every sample, is meant; it is refused otherwise",
    },
    Known {
        key: COMPACT_AFTER_WRITES,
        kind: Kind::IntegerOrNone,
        scope: "open",
        default: NONE,
        description: "how many small fragments the writes to a table may leave before the writer that made the last one \
                      joins them and prunes the table; none, or 0, for never",
    },
    Known {
        key: COMPACT_KEEP_MS,
        kind: Kind::Integer,
        scope: "open",
        default: "600000",
        description: "how long ago a version must have been superseded before such a writer prunes it, in milliseconds; \
                      the last 8 stay, and in a directory what readers of this library have open; with a small age \
                      other programs that read the table, or write to it, may fail, and in a bucket those of this \
                      library, too",
    },
    Known {
        key: PRUNE_OLDER_THAN_MS,
        kind: Kind::Integer,
        scope: "prune",
        default: "604800000",
        description: "how long ago a version must have been superseded to be pruned, in milliseconds; in a directory readers \
                      of this library keep what they have open; with a small age other programs that read the table, \
                      or write to it, may fail, and in a bucket those of this library, too",
    },
    Known {
        key: PURGE_OLDER_THAN_MS,
        kind: Kind::Integer,
        scope: "purge",
        default: "2592000000",
        description: "how long ago a row must have been superseded to be purged, in milliseconds",
    },
    Known {
        key: PURGE_TOMBSTONES,
        kind: Kind::Choice(&["auto", "keep", "remove"]),
        scope: "purge",
        default: "auto",
        description: "whether tombstones that old are purged: auto, unless the store has fallbacks, where they may hide \
                      rows; keep, never; remove, always",
    },
];

/// A set of options, each checked when it is set. Its `Debug` tells names only: values may be secret.
#[derive(Clone, Default)]
pub struct Options(BTreeMap<String, String>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options")?;
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Options {
    pub fn new() -> Self {
        Options::default()
    }

    /// Sets an option, or takes it back with `None`.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let known = find(key)?;
        match value {
            Some(value) => {
                check(known, value)?;
                self.0.insert(key.to_owned(), value.to_owned());
            }
            None => {
                self.0.remove(key);
            }
        }
        Ok(())
    }

    /// The value that was set, else the default, else `None`.
    pub fn get(&self, key: &str) -> Result<Option<&str>> {
        let known = find(key)?;
        Ok(self.0.get(key).map(String::as_str).or(Some(known.default).filter(|value| !value.is_empty())))
    }

    /// These options, and those of `defaults` that are not set here.
    pub fn or(mut self, defaults: &Options) -> Options {
        for (key, value) in &defaults.0 {
            self.0.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// These options without those of `keys`.
    pub fn without(&self, keys: &[&str]) -> Options {
        let is_of = |key: &str, known: &&str| find(key).is_ok_and(|found| found.key == *known);
        let kept = self.0.iter().filter(|(key, _)| !keys.iter().any(|known| is_of(key, known)));
        Options(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// The options for the storage, by their names there.
    pub fn storage_options(&self) -> impl Iterator<Item = (&str, &str)> {
        let options = self.0.iter();
        options.filter_map(|(key, value)| Some((key.strip_prefix(STORAGE_OPTIONS)?, value.as_str())))
    }

    /// The value that was set, whatever the default.
    pub fn given(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn integer(&self, key: &str) -> Result<Option<u64>> {
        self.get(key)?.map(|value| parse_integer(key, value)).transpose()
    }

    /// Fails if an option is set that `call` does not read, rather than ignoring it.
    pub fn check_scope(&self, call: &str) -> Result<()> {
        for key in self.0.keys() {
            let known = find(key)?;
            if !known.scope.split(", ").any(|scope| scope == call) {
                return Err(Error::invalid(format!(
                    "the option {key} is not one of {call}; it is read by: {}",
                    known.scope
                ))
                .with("option", key));
            }
        }
        Ok(())
    }
}

fn find(key: &str) -> Result<&'static Known> {
    let is_meant = |known: &&Known| match known.key {
        STORAGE_OPTIONS => key.strip_prefix(STORAGE_OPTIONS).is_some_and(|name| !name.is_empty()),
        name => name == key,
    };
    if let Some(known) = KNOWN.iter().find(is_meant) {
        return Ok(known);
    }
    if ["aws_", "google_", "azure_", "allow_http"].iter().any(|start| key.starts_with(start)) {
        let message = format!(
            "there is no option {key:?}; the options of buckets begin with {STORAGE_OPTIONS}, so write {STORAGE_OPTIONS}{key}"
        );
        return Err(Error::invalid(message).with("option", key));
    }
    let nearest = KNOWN
        .iter()
        .filter(|known| known.key != STORAGE_OPTIONS)
        .max_by(|a, b| strsim::jaro_winkler(a.key, key).total_cmp(&strsim::jaro_winkler(b.key, key)))
        .map_or("", |known| known.key);
    Err(Error::invalid(format!(
        "there is no option {key:?}; the nearest is {nearest}, and metaxy_options_list lists them all"
    ))
    .with("option", key))
}

fn check(known: &Known, value: &str) -> Result<()> {
    match known.kind {
        Kind::Text => Ok(()),
        Kind::IntegerOrNone if value == NONE => Ok(()),
        Kind::Integer | Kind::IntegerOrNone => parse_integer(known.key, value).map(drop),
        Kind::Choice(values) if values.contains(&value) => Ok(()),
        Kind::Choice(values) => Err(Error::invalid(format!(
            "the option {} cannot be {value:?}; it is one of: {}",
            known.key,
            values.join(", ")
        ))
        .with("option", known.key)),
    }
}

fn parse_integer(key: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| {
        let or_none = match find(key).map(|known| known.kind) {
            Ok(Kind::IntegerOrNone) => format!(", or {NONE}"),
            _ => String::new(),
        };
        Error::invalid(format!(
            "the option {key} must be a whole number that is not negative{or_none}, not {value:?}"
        ))
        .with("option", key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_name_the_nearest() {
        let error = Options::new().set("hash.algoritm", Some("md5")).unwrap_err();
        assert!(error.message().contains(HASH_ALGORITHM), "{error}");
        assert_eq!(error.detail("option"), Some("hash.algoritm"));
    }

    #[test]
    fn options_of_buckets_are_named_with_their_beginning() {
        let error = Options::new().set("aws_region", Some("x")).unwrap_err();
        assert!(error.message().contains("write storage_options.aws_region"), "{error}");
        Options::new().set("storage_options.aws_region", Some("x")).unwrap();
        assert!(Options::new().set(STORAGE_OPTIONS, Some("x")).is_err());
    }

    #[test]
    fn values_are_checked_when_set() {
        let mut options = Options::new();
        assert!(options.set(MODE, Some("append")).is_err());
        assert!(options.set(CACHE_BYTES, Some("-1")).is_err());
        options.set(HASH_TRUNCATION_LENGTH, Some(NONE)).unwrap();
        options.set(HASH_TRUNCATION_LENGTH, Some("16")).unwrap();
        let error = options.set(HASH_TRUNCATION_LENGTH, Some("all")).unwrap_err();
        assert!(error.message().contains("none"), "{error}");
        assert!(options.set(CACHE_BYTES, Some(NONE)).is_err());
        options.set(MODE, Some("read")).unwrap();
        assert_eq!(options.get(MODE).unwrap(), Some("read"));
        options.set(MODE, None).unwrap();
        assert_eq!(options.get(MODE).unwrap(), Some("write"));
    }

    #[test]
    fn an_option_of_another_call_is_not_ignored() {
        let mut options = Options::new();
        options.set(WRITE_DUPLICATES, Some("last")).unwrap();
        assert!(options.check_scope("open").is_err());
        options.check_scope("write").unwrap();
    }
}
