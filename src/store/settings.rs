//! How a store hashes: what its options say, what its tables record, what their rows tell.
//!
//! Metaxy keeps the algorithm and the truncation in its configuration only, and mixing them makes
//! every row stale or invisible without a word. Here a table that we create records them in its
//! schema metadata, which Metaxy leaves alone; a table that Metaxy created tells them by its rows:
//! a feature version is a cut SHA-256, so its length is the truncation, and only one algorithm turns
//! `metaxy_provenance_by_field` into `metaxy_provenance`.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Schema};
use futures::TryStreamExt;

use super::options::{HASH_ALGORITHM, HASH_TRUNCATION_LENGTH, Options};
use super::system_columns as system;
use crate::backend::{Database, Table};
use crate::error::{Error, Result, Status};
use crate::feature::Truncation;
use crate::log::{self, Level};
use crate::versioning::{ByField, HashAlgorithm, SampleHash, infer_algorithm, infer_truncation};

const RECORDED_ALGORITHM: &str = "metaxy.hash_algorithm";
const RECORDED_TRUNCATION: &str = "metaxy.hash_truncation_length";
const WHOLE: &str = "none";

/// Rows of a table that are looked at to infer its settings.
const SAMPLE_ROWS: u64 = 64;

const SYSTEM_TABLE_PREFIX: &str = "metaxy_system__";
const PUSHED_DEFINITIONS: &str = "metaxy_system__feature_versions";

/// The hash settings of one store, found once and then held against every table it touches.
pub struct Settings {
    explicit: Partial,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    store: Option<(SampleHash, String)>,
    checked: HashSet<String>,
}

/// Settings of which either may be unknown, and who says so.
#[derive(Clone, Debug, Default, PartialEq)]
struct Partial {
    algorithm: Option<HashAlgorithm>,
    truncation: Option<Truncation>,
    source: String,
}

impl Settings {
    pub fn from_options(options: &Options) -> Result<Settings> {
        let algorithm = options.get(HASH_ALGORITHM)?.map(str::parse::<HashAlgorithm>).transpose()?;
        let truncation = options
            .integer(HASH_TRUNCATION_LENGTH)?
            .map(|length| Truncation::to(usize::try_from(length).unwrap_or(usize::MAX)).map(canonical))
            .transpose()?;
        let explicit = Partial { algorithm, truncation, source: "the options of the store".into() };
        Ok(Settings { explicit, known: Mutex::default() })
    }

    /// The settings by which `table` (a feature's own table, if it exists) is read and written.
    pub async fn resolve(&self, database: &Database, table: Option<&Table>) -> Result<SampleHash> {
        if let Some(table) = table {
            self.check(database, table).await?;
        }
        if let Some((hash, _)) = &self.known().store {
            return Ok(*hash);
        }
        let found = self.discover(database, table).await?;
        self.agree(database, &self.explicit, &found)?;
        let hash = SampleHash::new(
            self.explicit.algorithm.or(found.algorithm).unwrap_or_default(),
            self.explicit.truncation.or(found.truncation).unwrap_or_default(),
        );
        self.known().store = Some((hash, found.source));
        Ok(hash)
    }

    /// Refuses a table that was written by other settings than the store's.
    pub async fn check(&self, database: &Database, table: &Table) -> Result<()> {
        if self.known().checked.contains(table.name()) {
            return Ok(());
        }
        let found = of_table(table).await?;
        self.agree(database, &self.explicit, &found)?;
        if let Some((hash, source)) = &self.known().store {
            let store =
                Partial { algorithm: Some(hash.algorithm), truncation: Some(hash.truncation), source: source.clone() };
            self.agree(database, &store, &found)?;
        }
        // An inconclusive table may be conclusive later.
        if found.algorithm.is_some() && found.truncation.is_some() {
            self.known().checked.insert(table.name().to_owned());
        }
        Ok(())
    }

    /// As [`Settings::check`] for the record alone, which needs no rows.
    pub fn check_record(&self, database: &Database, table: &str, schema: &Schema, hash: SampleHash) -> Result<()> {
        let ours =
            Partial { algorithm: Some(hash.algorithm), truncation: Some(hash.truncation), source: "this store".into() };
        match recorded(table, schema)? {
            Some(record) => self.agree(database, &ours, &record),
            None => Ok(()),
        }
    }

    /// Looks at the feature's own table first, then at the others until both settings are known.
    async fn discover(&self, database: &Database, table: Option<&Table>) -> Result<Partial> {
        let mut found = Partial { source: "the defaults".into(), ..Partial::default() };
        let mut written = false;
        if let Some(table) = table {
            found.complete(of_table(table).await?);
            written = table.rows().await? > 0;
        }
        if found.is_complete() {
            return Ok(found);
        }
        let names = database.tables().await?;
        for name in names.iter().filter(|name| !name.starts_with(SYSTEM_TABLE_PREFIX)) {
            // A damaged table is told when it is used; it must not keep the others from use.
            let Ok(Some(other)) = database.open(name).await else { continue };
            let Ok(partial) = of_table(&other).await else { continue };
            written = written || other.rows().await? > 0;
            found.complete(partial);
            if found.is_complete() {
                return Ok(found);
            }
        }
        if names.iter().any(|name| name == PUSHED_DEFINITIONS) {
            if let Some(pushed) = database.open(PUSHED_DEFINITIONS).await? {
                found.complete(of_table(&pushed).await?);
                written = true;
            }
        }
        if written && found.algorithm.is_none() {
            // Only Metaxy leaves its tables without a record, and this is what it uses unless told.
            found.algorithm = Some(HashAlgorithm::XxHash32);
            log::emit(Level::Warn, || {
                format!(
                    "the tables of {} do not tell their hash algorithm; xxhash32, Metaxy's default, is assumed; set \
                     {HASH_ALGORITHM} to say otherwise",
                    database.display()
                )
            });
        }
        Ok(found)
    }

    fn agree(&self, database: &Database, one: &Partial, other: &Partial) -> Result<()> {
        let differ = |option: &'static str, one_says: String, other_says: String| {
            Err(Error::new(
                Status::SchemaMismatch,
                format!(
                    "{} of {} says {option}={one_says}, but {} says {option}={other_says}; rows of both would never match, \
                     so open the store with {option}={other_says}, or keep them in different stores",
                    one.source,
                    database.display(),
                    other.source
                ),
            )
            .with("store", database.display())
            .with("option", option)
            .with("expected", one_says)
            .with("found", other_says))
        };
        if let (Some(one), Some(other)) = (one.algorithm, other.algorithm) {
            if one != other {
                return differ(HASH_ALGORITHM, one.name().into(), other.name().into());
            }
        }
        if let (Some(one), Some(other)) = (one.truncation, other.truncation) {
            if one != other {
                return differ(HASH_TRUNCATION_LENGTH, length(one), length(other));
            }
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Partial {
    fn is_complete(&self) -> bool {
        self.algorithm.is_some() && self.truncation.is_some()
    }

    fn complete(&mut self, other: Partial) {
        if (self.algorithm.is_none() && other.algorithm.is_some())
            || (self.truncation.is_none() && other.truncation.is_some())
        {
            self.source = other.source;
        }
        self.algorithm = self.algorithm.or(other.algorithm);
        self.truncation = self.truncation.or(other.truncation);
    }
}

/// The record that a new table gets.
pub fn record(hash: SampleHash) -> HashMap<String, String> {
    HashMap::from([
        (RECORDED_ALGORITHM.to_owned(), hash.algorithm.name().to_owned()),
        (RECORDED_TRUNCATION.to_owned(), length(hash.truncation)),
    ])
}

async fn of_table(table: &Table) -> Result<Partial> {
    match recorded(table.name(), &table.schema())? {
        Some(recorded) => Ok(recorded),
        None => inferred(table).await,
    }
}

fn recorded(table: &str, schema: &Schema) -> Result<Option<Partial>> {
    let (Some(algorithm), Some(truncation)) =
        (schema.metadata.get(RECORDED_ALGORITHM), schema.metadata.get(RECORDED_TRUNCATION))
    else {
        return Ok(None);
    };
    let unreadable = || {
        Error::new(
            Status::Unsupported,
            format!(
                "the table {table} records the hash settings {algorithm} and {truncation}, which this version does not \
                 know; use a newer one"
            ),
        )
        .with("table", table)
    };
    let truncation = match truncation.as_str() {
        WHOLE => Truncation::default(),
        length => canonical(length.parse().ok().and_then(|length| Truncation::to(length).ok()).ok_or_else(unreadable)?),
    };
    Ok(Some(Partial {
        algorithm: Some(algorithm.parse::<HashAlgorithm>().map_err(|_| unreadable())?),
        truncation: Some(truncation),
        source: format!("the table {table}"),
    }))
}

async fn inferred(table: &Table) -> Result<Partial> {
    let schema = table.schema();
    let columns: Vec<String> = [system::FEATURE_VERSION, system::PROVENANCE_BY_FIELD, system::PROVENANCE]
        .into_iter()
        .filter(|column| schema.column_with_name(column).is_some())
        .map(str::to_owned)
        .collect();
    if columns.is_empty() {
        return Ok(Partial::default());
    }
    let batches: Vec<RecordBatch> = table.scan(columns).limit(Some(SAMPLE_ROWS)).stream().await?.try_collect().await?;
    let Some(first) = batches.first() else { return Ok(Partial::default()) };
    let sample = concat_batches(&first.schema(), &batches).map_err(|cause| {
        Error::new(Status::Internal, format!("the first rows of the table {} do not fit together: {cause}", table.name()))
    })?;
    let Some(truncation) = sample.column_by_name(system::FEATURE_VERSION).and_then(truncation_of) else {
        return Ok(Partial::default());
    };
    let algorithm = match (sample.column_by_name(system::PROVENANCE_BY_FIELD), sample.column_by_name(system::PROVENANCE)) {
        (Some(by_field), Some(provenance)) => {
            let members = ByField::member_names(by_field, system::PROVENANCE_BY_FIELD)?;
            infer_algorithm(by_field, provenance, &[members], truncation)?.algorithm
        }
        _ => None,
    };
    Ok(Partial {
        algorithm,
        truncation: Some(canonical(truncation)),
        source: format!("what the rows of the table {} tell", table.name()),
    })
}

fn truncation_of(versions: &ArrayRef) -> Option<Truncation> {
    let versions = cast(versions, &DataType::LargeUtf8).ok()?;
    infer_truncation(versions.as_string::<i64>().iter().flatten().map(str::len))
}

/// No hash has more than 64 characters, so that keeping 64 keeps them whole.
fn canonical(truncation: Truncation) -> Truncation {
    if truncation.length().is_some_and(|length| length >= 64) { Truncation::default() } else { truncation }
}

fn length(truncation: Truncation) -> String {
    truncation.length().map_or_else(|| WHOLE.to_owned(), |length| length.to_string())
}
