//! How a store hashes: what its options say, what its tables record, what their rows tell.
//!
//! Metaxy keeps the algorithm and the truncation in its configuration only, and mixing them makes
//! every row stale or invisible without a word. Here a table that we create records them in its
//! schema metadata, which Metaxy leaves alone; a table that Metaxy created tells them by its rows:
//! a feature version is a cut SHA-256, so its length is the truncation, and only one algorithm turns
//! `metaxy_provenance_by_field` into `metaxy_provenance`.

use std::collections::HashMap;
use std::sync::Mutex;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Schema};
use futures::TryStreamExt;

use super::define::Features;
use super::options::{HASH_ALGORITHM, HASH_TRUNCATION_LENGTH, NONE, Options};
use super::system_columns as system;
use crate::backend::{Database, Table};
use crate::error::{Error, Result, Status};
use crate::feature::{SYSTEM_TABLE_PREFIX, Truncation};
use crate::log::{self, Level};
use crate::versioning::{HashAlgorithm, SampleHash, infer_algorithm, infer_truncation};

const RECORDED_ALGORITHM: &str = "metaxy.hash_algorithm";
const RECORDED_TRUNCATION: &str = "metaxy.hash_truncation_length";

/// Rows of a table that are looked at to infer its settings.
const SAMPLE_ROWS: usize = 64;

/// What Metaxy uses unless told.
const METAXY_DEFAULT: HashAlgorithm = HashAlgorithm::XxHash32;

/// The hash settings of one store: what its tables tell is held against its options, and then
/// against every further table.
pub struct Settings {
    explicit: Partial,
    features: Features,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What tables have told so far. An empty directory tells nothing, and nothing is concluded
    /// from that: another process may write to it first.
    told: Partial,
    /// What the chain tells where nothing here does. It is no evidence about the tables of this store.
    inherited: Partial,
    /// The tables that agree, each by its name and its life.
    checked: HashMap<String, (u64, u64, u128)>,
    /// Whether all tables have been asked, of which there were some.
    searched: bool,
    warned: bool,
}

/// Settings of which either may be unknown, and what says so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    pub algorithm: Option<HashAlgorithm>,
    pub truncation: Option<Truncation>,
    algorithm_by: String,
    truncation_by: String,
}

/// What tables were found to tell.
#[derive(Clone, Debug, Default)]
struct Evidence {
    told: Partial,
    /// A table whose rows no algorithm explains.
    unexplained: Option<String>,
    /// Why a table that is not damaged could not be asked.
    unasked: Option<Error>,
    /// Whether Metaxy has pushed definitions to the store.
    definitions: bool,
}

impl Settings {
    pub fn from_options(options: &Options, features: Features) -> Result<Settings> {
        let explicit = Partial::new(
            options.get(HASH_ALGORITHM)?.map(str::parse::<HashAlgorithm>).transpose()?,
            truncation_option(options)?,
            "the options it was opened with".into(),
        );
        Ok(Settings { explicit, features, known: Mutex::default() })
    }

    /// The settings by which `table` (a feature's own table, if it exists) is read. Reading depends
    /// on the truncation alone; of the algorithm this is the best guess.
    pub async fn resolve(&self, database: &Database, table: Option<&Table>) -> Result<SampleHash> {
        let own_table = table.is_some();
        let enough = |told: &Partial| told.is_complete() || (own_table && told.truncation.is_some());
        Ok(self.hash(&self.find(database, table, enough).await?))
    }

    /// What is known without looking into any table.
    pub fn known_so_far(&self) -> Partial {
        self.with_explicit(&self.known().told)
    }

    fn with_explicit(&self, told: &Partial) -> Partial {
        let mut known = self.explicit.clone();
        known.complete(told);
        known
    }

    /// What the options and `table` tell, or, without a table, all tables of the store, which are asked
    /// only once.
    pub async fn told(&self, database: &Database, table: Option<&Table>) -> Result<Partial> {
        let own_table = table.is_some();
        let searched = self.known().searched;
        let enough =
            |told: &Partial| searched || told.is_complete() || (own_table && told.truncation.is_some());
        Ok(self.with_explicit(&self.find(database, table, enough).await?.told))
    }

    /// What the options and tables tell to a store that takes after this one, and, if it needs to know the
    /// `algorithm`, what is assumed where tables do not tell it; nothing is assumed of an empty store.
    pub async fn to_inherit(&self, database: &Database, algorithm: bool) -> Result<(Partial, Partial)> {
        let found = self.find(database, None, Partial::is_complete).await?;
        let told = self.with_explicit(&found.told);
        let untold = found.definitions || found.unexplained.is_some() || found.unasked.is_some();
        let assumed = match algorithm && told.algorithm.is_none() && untold {
            true => {
                let hash = self.resolve_for_write(database, None).await?;
                Partial::of(hash, "what is assumed of its tables".to_owned())
            }
            false => Partial::default(),
        };
        Ok((told, assumed))
    }

    /// Whether nothing has to be assumed, or learned from the chain, to read `table` or to write to it.
    pub async fn decided(&self, database: &Database, table: Option<&Table>, writing: bool) -> Result<bool> {
        let enough = |told: &Partial| told.is_complete() || (!writing && told.truncation.is_some());
        let found = self.find(database, table, enough).await?;
        Ok(enough(&self.with_explicit(&found.told)) || found.definitions || found.unexplained.is_some())
    }

    /// Takes over what stores further down the chain tell, where nothing here tells otherwise.
    pub fn inherit(&self, mut below: Partial) {
        let mut known = self.known();
        // A store that cannot be asked now may have told before.
        below.complete(&known.inherited);
        known.inherited = below;
    }

    /// The settings by which rows are written to `table`, or to a new one. Nothing is guessed where
    /// there are rows: rows hashed in another way would look changed, every one of them.
    pub async fn resolve_for_write(&self, database: &Database, table: Option<&Table>) -> Result<SampleHash> {
        let mut found = self.find(database, table, Partial::is_complete).await?;
        let decided = self.with_explicit(&found.told).is_complete();
        if let (false, Some(error)) = (decided, found.unasked.take()) {
            return Err(error);
        }
        if self.explicit.algorithm.is_none() && found.told.algorithm.is_none() {
            if let Some(table) = &found.unexplained {
                return Err(Error::new(
                    Status::SchemaMismatch,
                    format!(
                        "the rows of the table {table} of {} do not tell their hash algorithm; open the store with \
                         {HASH_ALGORITHM}=..., the one that they were written by ({METAXY_DEFAULT} is Metaxy's default)",
                        database.display()
                    ),
                )
                .with("store", database.display())
                .with("table", table)
                .with("option", HASH_ALGORITHM));
            }
            if found.definitions && !std::mem::replace(&mut self.known().warned, true) {
                log::emit(Level::Warn, || {
                    format!(
                        "{} has definitions that Metaxy pushed but no rows that tell their hash algorithm; \
                         {METAXY_DEFAULT}, Metaxy's default, is assumed; set {HASH_ALGORITHM} to say otherwise",
                        database.display()
                    )
                });
            }
        }
        Ok(self.hash(&found))
    }

    /// Whether rows that are hashed by `hash` may be shown in the store as its tables are now.
    pub async fn allow(&self, database: &Database, hash: SampleHash) -> Result<bool> {
        let found = self.find(database, None, Partial::is_complete).await?;
        Ok([&self.explicit, &found.told].into_iter().all(|told| {
            told.algorithm.is_none_or(|algorithm| algorithm == hash.algorithm)
                && told.truncation.is_none_or(|truncation| truncation == hash.truncation)
        }))
    }

    /// Notes that rows were written by `hash`, which the store stays with from now on.
    pub fn wrote(&self, hash: SampleHash) {
        self.known().told.complete(&Partial::of(hash, "what was written through it".into()));
    }

    /// Forgets a table that was dropped: the next of its name may be another's.
    pub fn forget(&self, table: &str) {
        self.known().checked.remove(table);
    }

    /// Refuses a table whose record, which needs no rows, says something else than `hash`.
    pub fn check_record(
        &self,
        database: &Database,
        table: &str,
        schema: &Schema,
        hash: SampleHash,
    ) -> Result<()> {
        let ours = Partial::of(hash, "this write".into());
        match recorded(table, schema)? {
            Some(record) => agree(database, &ours, &record),
            None => Ok(()),
        }
    }

    fn hash(&self, found: &Evidence) -> SampleHash {
        // Only Metaxy leaves its tables without a record.
        let by_metaxy = found.definitions || found.unexplained.is_some();
        let default = if by_metaxy { METAXY_DEFAULT } else { HashAlgorithm::default() };
        let mut told = self.with_explicit(&found.told);
        told.complete(&self.known().inherited);
        SampleHash::new(told.algorithm.unwrap_or(default), told.truncation.unwrap_or_default())
    }

    /// Asks the feature's own table first, then what was told before, then the other tables, until
    /// it is `enough`.
    async fn find(
        &self,
        database: &Database,
        table: Option<&Table>,
        enough: impl Fn(&Partial) -> bool,
    ) -> Result<Evidence> {
        let mut found = match table {
            Some(table) => self.check(database, table).await?,
            None => Evidence::default(),
        };
        found.told.complete(&self.known().told);
        if !enough(&self.with_explicit(&found.told)) {
            self.search(database, &mut found, enough).await?;
        }
        agree(database, &self.explicit, &found.told)?;
        self.known().told.complete(&found.told);
        Ok(found)
    }

    /// What `table` tells, unless it is known; refuses one that was written by other settings than
    /// the store's.
    async fn check(&self, database: &Database, table: &Table) -> Result<Evidence> {
        if self.known().checked.get(table.name()) == Some(&table.identity()) {
            return Ok(Evidence::default());
        }
        let found = self.of_table(table).await?;
        agree(database, &self.explicit, &found.told)?;
        let told = self.known().told.clone();
        agree(database, &told, &found.told)?;
        // An inconclusive table may be conclusive later.
        if found.told.is_complete() {
            self.known().checked.insert(table.name().to_owned(), table.identity());
        }
        Ok(found)
    }

    async fn search(
        &self,
        database: &Database,
        found: &mut Evidence,
        enough: impl Fn(&Partial) -> bool,
    ) -> Result<()> {
        // Definitions come last: they tell the truncation only.
        let (definitions, features): (Vec<_>, Vec<_>) =
            database.tables().await?.into_iter().partition(|name| name.starts_with(SYSTEM_TABLE_PREFIX));
        for name in features.iter().chain(&definitions) {
            if enough(&self.with_explicit(&found.told)) {
                return Ok(());
            }
            let asked = match database.open(name).await {
                Ok(Some(table)) => self.of_table(&table).await,
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            let other = match asked {
                Ok(other) => other,
                // A damaged table is told when it is used; it must not keep the others from use, nor does
                // one that is being dropped.
                Err(error)
                    if matches!(error.status(), Status::Corrupt | Status::NotFound | Status::Conflict) =>
                {
                    continue;
                }
                Err(error) => {
                    found.unasked.get_or_insert(error);
                    continue;
                }
            };
            found.told.complete(&other.told);
            if name.starts_with(SYSTEM_TABLE_PREFIX) {
                found.definitions = true;
            } else if found.unexplained.is_none() {
                found.unexplained = other.unexplained;
            }
        }
        // An empty store may be begun by anybody, and what could not be asked may answer later.
        self.known().searched = found.unasked.is_none() && !(features.is_empty() && definitions.is_empty());
        Ok(())
    }

    async fn of_table(&self, table: &Table) -> Result<Evidence> {
        match recorded(table.name(), &table.schema())? {
            Some(told) => Ok(Evidence { told, ..Evidence::default() }),
            None => inferred(table, self.members_of(table.name())).await,
        }
    }

    /// The members that the feature of a table hashes; its structs may have more.
    fn members_of(&self, table: &str) -> Option<Vec<String>> {
        let graph = self.features.now();
        let spec = &graph.owner_of(table)?.spec;
        Some(spec.fields.iter().map(|field| field.key.struct_key()).collect())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Partial {
    fn new(algorithm: Option<HashAlgorithm>, truncation: Option<Truncation>, by: String) -> Partial {
        Partial { algorithm, truncation, algorithm_by: by.clone(), truncation_by: by }
    }

    fn of(hash: SampleHash, by: String) -> Partial {
        Partial::new(Some(hash.algorithm), Some(hash.truncation), by)
    }

    pub fn is_complete(&self) -> bool {
        self.algorithm.is_some() && self.truncation.is_some()
    }

    /// Takes from `other` what is unknown here.
    pub fn complete(&mut self, other: &Partial) {
        if self.algorithm.is_none() {
            (self.algorithm, self.algorithm_by) = (other.algorithm, other.algorithm_by.clone());
        }
        if self.truncation.is_none() {
            (self.truncation, self.truncation_by) = (other.truncation, other.truncation_by.clone());
        }
    }
}

fn agree(database: &Database, one: &Partial, other: &Partial) -> Result<()> {
    agree_unless(one, other, |one_says, other_says, theirs| {
        format!(
            "{} has {one_says}, but {other_says}; rows of both would never match, so open the store with {theirs}, or \
             keep them in different stores",
            database.display()
        )
    })
    .map_err(|error| error.with("store", database.display()))
}

/// Refuses a chain in which rows are hashed in two ways: they would never match.
pub fn agree_along_chain(store: &str, one: &Partial, below: &str, other: &Partial) -> Result<()> {
    agree_unless(one, other, |one_says, other_says, theirs| {
        format!(
            "{store} has {one_says}, but further down its chain {below} has {other_says}; rows of both would never \
             match, so open {store} with {theirs}, or without this fallback"
        )
    })
    .map_err(|error| error.with("store", store).with("fallback", below))
}

/// Refuses to copy rows into a store that hashes in another way.
pub fn agree_to_copy(from: &str, one: &Partial, to: &str, other: &Partial) -> Result<()> {
    agree_unless(one, other, |one_says, other_says, _| {
        format!(
            "{from} has {one_says}, but {to}, which its rows are to be copied to, has {other_says}; rows of both would \
             never match, so copy to a store that hashes like {from}"
        )
    })
    .map_err(|error| error.with("store", to).with("from", from))
}

fn agree_unless(
    one: &Partial,
    other: &Partial,
    message: impl Fn(String, String, String) -> String,
) -> Result<()> {
    let differ = |option: &'static str, one: (String, &str), other: (String, &str)| {
        let says = |(value, by): &(String, &str)| format!("{option}={value} by {by}");
        let theirs = format!("{option}={}", other.0);
        Err(Error::new(Status::SchemaMismatch, message(says(&one), says(&other), theirs))
            .with("option", option)
            .with("expected", one.0)
            .with("found", other.0))
    };
    if let (Some(ours), Some(theirs)) = (one.algorithm, other.algorithm)
        && ours != theirs
    {
        let (ours, theirs) = (ours.name().to_owned(), theirs.name().to_owned());
        return differ(HASH_ALGORITHM, (ours, &one.algorithm_by), (theirs, &other.algorithm_by));
    }
    if let (Some(ours), Some(theirs)) = (one.truncation, other.truncation)
        && ours != theirs
    {
        let (ours, theirs) = (length(ours), length(theirs));
        return differ(HASH_TRUNCATION_LENGTH, (ours, &one.truncation_by), (theirs, &other.truncation_by));
    }
    Ok(())
}

/// The record that a new table gets.
pub fn record(hash: SampleHash) -> HashMap<String, String> {
    HashMap::from([
        (RECORDED_ALGORITHM.to_owned(), hash.algorithm.name().to_owned()),
        (RECORDED_TRUNCATION.to_owned(), length(hash.truncation)),
    ])
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
    Ok(Some(Partial::new(
        Some(algorithm.parse::<HashAlgorithm>().map_err(|_| unreadable())?),
        Some(parse_truncation(truncation).map_err(|_| unreadable())?),
        format!("the record in its table {table}"),
    )))
}

/// What `table` alone tells, as the options spell it: the algorithm and the truncation.
pub async fn told_by(
    table: &Table,
    members: Option<Vec<String>>,
) -> Result<(Option<&'static str>, Option<String>)> {
    let told = match recorded(table.name(), &table.schema())? {
        Some(told) => told,
        None => inferred(table, members).await?.told,
    };
    Ok((told.algorithm.map(HashAlgorithm::name), told.truncation.map(length)))
}

/// What the first rows of a table without a record tell; `members` are those that its feature hashes now.
async fn inferred(table: &Table, members: Option<Vec<String>>) -> Result<Evidence> {
    let schema = table.schema();
    if schema.column_with_name(system::FEATURE_VERSION).is_none() {
        // Not the table of a feature.
        return Ok(Evidence::default());
    }
    let columns: Vec<String> = [system::FEATURE_VERSION, system::PROVENANCE_BY_FIELD, system::PROVENANCE]
        .into_iter()
        .filter(|column| schema.column_with_name(column).is_some())
        .map(str::to_owned)
        .collect();
    let scan = table.scan(columns).batch_rows(Some(SAMPLE_ROWS)).limit(Some(SAMPLE_ROWS as u64));
    let batches: Vec<RecordBatch> = scan.stream().await?.try_collect().await?;
    let Some(first) = batches.first() else { return Ok(Evidence::default()) };
    let sample = concat_batches(&first.schema(), &batches).map_err(|cause| {
        Error::new(
            Status::Internal,
            format!("the first rows of the table {} do not fit together: {cause}", table.name()),
        )
    })?;
    if sample.num_rows() == 0 {
        return Ok(Evidence::default());
    }
    let truncation = sample.column_by_name(system::FEATURE_VERSION).and_then(truncation_of);
    let by_field = sample.column_by_name(system::PROVENANCE_BY_FIELD);
    let provenance = sample.column_by_name(system::PROVENANCE);
    let algorithm = match (truncation, by_field, provenance) {
        (Some(truncation), Some(by_field), Some(provenance)) => {
            // Columns of other types explain nothing.
            infer_algorithm(by_field, provenance, members.as_slice(), truncation).unwrap_or_default()
        }
        _ => None,
    };
    let source = format!("the rows of its table {}", table.name());
    Ok(Evidence {
        told: Partial::new(algorithm, truncation.map(canonical), source),
        unexplained: algorithm.is_none().then(|| table.name().to_owned()),
        ..Evidence::default()
    })
}

fn truncation_of(versions: &ArrayRef) -> Option<Truncation> {
    let versions = cast(versions, &DataType::LargeUtf8).ok()?;
    infer_truncation(versions.as_string::<i64>().iter().flatten().map(str::len))
}

/// The length that the options say.
pub fn truncation_option(options: &Options) -> Result<Option<Truncation>> {
    options.get(HASH_TRUNCATION_LENGTH)?.map(parse_truncation).transpose()
}

fn parse_truncation(text: &str) -> Result<Truncation> {
    if text == NONE {
        return Ok(Truncation::default());
    }
    let length = text.parse().map_err(|_| {
        Error::invalid(format!("{HASH_TRUNCATION_LENGTH} must be a whole number or {NONE}, not {text:?}"))
    })?;
    Truncation::to(length).map(canonical)
}

/// No hash has more than 64 characters, so that keeping 64 keeps them whole.
fn canonical(truncation: Truncation) -> Truncation {
    if truncation.length().is_some_and(|length| length >= 64) { Truncation::default() } else { truncation }
}

fn length(truncation: Truncation) -> String {
    truncation.length().map_or_else(|| NONE.to_owned(), |length| length.to_string())
}
