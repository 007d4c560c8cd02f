//! The definitions that were pushed to stores: the rows of `metaxy-system/feature_versions`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, LargeStringArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};

use super::Store;
use super::chain::{Missing, is_unavailable};
use super::system_columns as system;
use crate::backend::Table;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureKey, Graph};
use crate::log::{self, Level};

pub const TABLE: &str = "metaxy_system__feature_versions";
pub const PROJECT: &str = "project";
pub const FEATURE_KEY: &str = "feature_key";
pub const DEFINITION_VERSION: &str = "metaxy_definition_version";
pub const RECORDED_AT: &str = "recorded_at";
pub const FEATURE_SPEC: &str = "feature_spec";
pub const FEATURE_SCHEMA: &str = "feature_schema";
pub const CLASS_PATH: &str = "feature_class_path";
pub const TAGS: &str = "tags";
pub const DELETED_AT: &str = "deleted_at";

/// The columns that tell a row from others.
pub const IDENTIFYING: [&str; 4] = [PROJECT, FEATURE_KEY, DEFINITION_VERSION, RECORDED_AT];

/// The columns of the table as Metaxy makes it.
pub fn schema() -> SchemaRef {
    // Of the clock on the wall in UTC, without saying so.
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [
        (PROJECT, DataType::LargeUtf8),
        (FEATURE_KEY, DataType::LargeUtf8),
        (system::FEATURE_VERSION, DataType::LargeUtf8),
        (DEFINITION_VERSION, DataType::LargeUtf8),
        (RECORDED_AT, time.clone()),
        (FEATURE_SPEC, DataType::LargeUtf8),
        (FEATURE_SCHEMA, DataType::LargeUtf8),
        (CLASS_PATH, DataType::LargeUtf8),
        (system::PROJECT_VERSION, DataType::LargeUtf8),
        (TAGS, DataType::LargeUtf8),
        (DELETED_AT, time),
    ];
    let columns = columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
    SchemaRef::new(Schema::new(columns.collect::<Vec<_>>()))
}

/// A definition as it was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub key: FeatureKey,
    pub project: Option<String>,
    pub definition_version: Option<String>,
    pub project_version: Option<String>,
    /// Microseconds since 1970 in UTC.
    pub recorded_at: i64,
    /// What messages call the store that has it.
    pub store: String,
    /// Whether a store that would have been asked before could not be.
    pub behind: bool,
    spec: String,
    schema: Option<String>,
    class_path: Option<String>,
}

impl Pushed {
    pub fn definition(&self) -> Result<FeatureDefinition> {
        let schema = self.schema.as_deref().unwrap_or("{}");
        let (class_path, project) = (self.class_path.as_deref(), self.project.as_deref());
        let definition =
            FeatureDefinition::from_pushed(&self.spec, schema, class_path, project).and_then(|definition| {
                match definition.key() == &self.key {
                    true => Ok(definition),
                    false => Err(Error::invalid(format!("it is one of {}", definition.key()))),
                }
            });
        definition.map_err(|error| {
            error
                .reworded(|said| {
                    format!(
                        "the definition of {} that was pushed to {} cannot be read: {said}",
                        self.key, self.store
                    )
                })
                .with("feature", &self.key)
                .with("store", &self.store)
        })
    }
}

/// One row of the table, as far as it is needed to choose rows.
pub struct Row<'b> {
    batch: &'b Columns,
    index: usize,
    pub key: FeatureKey,
    pub recorded_at: i64,
}

impl<'b> Row<'b> {
    pub fn project(&self) -> Option<&'b str> {
        text(&self.batch.project, self.index)
    }

    pub fn project_version(&self) -> Option<&'b str> {
        text(&self.batch.project_version, self.index)
    }

    pub fn feature_version(&self) -> Option<&'b str> {
        text(&self.batch.feature_version, self.index)
    }

    pub fn definition_version(&self) -> Option<&'b str> {
        text(&self.batch.definition_version, self.index)
    }

    fn pushed(&self, store: &Store, behind: bool) -> Pushed {
        let owned = |column| text(column, self.index).map(str::to_owned);
        Pushed {
            key: self.key.clone(),
            project: owned(&self.batch.project),
            definition_version: owned(&self.batch.definition_version),
            project_version: owned(&self.batch.project_version),
            recorded_at: self.recorded_at,
            store: store.display(),
            behind,
            spec: owned(&self.batch.spec).unwrap_or_default(),
            schema: owned(&self.batch.schema),
            class_path: owned(&self.batch.class_path),
        }
    }
}

fn text(column: &Option<LargeStringArray>, row: usize) -> Option<&str> {
    column.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

struct Columns {
    key: LargeStringArray,
    recorded_at: TimestampMicrosecondArray,
    project: Option<LargeStringArray>,
    project_version: Option<LargeStringArray>,
    feature_version: Option<LargeStringArray>,
    definition_version: Option<LargeStringArray>,
    spec: Option<LargeStringArray>,
    schema: Option<LargeStringArray>,
    class_path: Option<LargeStringArray>,
}

impl Columns {
    fn of(table: &Table, batch: &RecordBatch) -> Result<Columns> {
        let column = |name: &str, wanted: &DataType| match batch.column_by_name(name) {
            None => Ok(None),
            Some(column) => cast(column, wanted).map(Some).map_err(|cause| {
                let message = format!(
                    "the column {name} of the table {} is not what Metaxy writes: {cause}",
                    table.name()
                );
                Error::new(Status::SchemaMismatch, message).caused_by(&cause).with("column", name)
            }),
        };
        let text = |name: &str| -> Result<_> {
            Ok(column(name, &DataType::LargeUtf8)?.and_then(|column| column.as_string_opt().cloned()))
        };
        // Whatever the unit and the zone.
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let recorded_at = column(RECORDED_AT, &time)?.and_then(|column| column.as_primitive_opt().cloned());
        let missing = |name: &str| {
            let message = format!("the table {} has no column {name}, which Metaxy's own has", table.name());
            Error::new(Status::SchemaMismatch, message).with("table", table.name()).with("column", name)
        };
        Ok(Columns {
            key: text(FEATURE_KEY)?.ok_or_else(|| missing(FEATURE_KEY))?,
            recorded_at: recorded_at.ok_or_else(|| missing(RECORDED_AT))?,
            project: text(PROJECT)?,
            project_version: text(system::PROJECT_VERSION)?,
            feature_version: text(system::FEATURE_VERSION)?,
            definition_version: text(DEFINITION_VERSION)?,
            spec: text(FEATURE_SPEC)?,
            schema: text(FEATURE_SCHEMA)?,
            class_path: text(CLASS_PATH)?,
        })
    }
}

/// Reads `columns` of the rows of `table`, of those that it has, in their order, a batch at a time.
pub async fn each_row(table: &Table, columns: &[&str], mut each: impl FnMut(&Row<'_>)) -> Result<()> {
    let schema = table.schema();
    let there = columns.iter().filter(|column| schema.column_with_name(column).is_some());
    let columns = there.map(|column| (*column).to_owned()).collect();
    let mut batches = table.scan(columns).stream().await?;
    while let Some(batch) = batches.try_next().await? {
        let batch = Columns::of(table, &batch)?;
        for index in 0..batch.key.len() {
            let key = batch.key.is_valid(index).then(|| batch.key.value(index)).unwrap_or_default();
            match FeatureKey::parse(key) {
                Ok(key) => {
                    let recorded_at = match batch.recorded_at.is_valid(index) {
                        true => batch.recorded_at.value(index),
                        false => i64::MIN,
                    };
                    each(&Row { batch: &batch, index, key, recorded_at });
                }
                Err(error) => log::emit(Level::Warn, || {
                    format!("a definition in the table {} is passed over: {error}", table.name())
                }),
            }
        }
    }
    Ok(())
}

/// What a row takes to be a definition.
const DEFINITION: &[&str] = &[
    PROJECT,
    FEATURE_KEY,
    system::FEATURE_VERSION,
    DEFINITION_VERSION,
    RECORDED_AT,
    FEATURE_SPEC,
    FEATURE_SCHEMA,
    CLASS_PATH,
    system::PROJECT_VERSION,
];

/// A store of a chain that has definitions.
struct Source {
    store: Store,
    table: Table,
    /// Whether it is passed over if it cannot be read.
    pass_over: bool,
    /// Whether a store before it was passed over.
    behind: bool,
}

/// The stores of a chain that have definitions, in the order in which they are asked.
#[derive(Default)]
pub struct Sources {
    stores: Vec<Source>,
    /// Whether a store could not be opened.
    passed_over: bool,
}

impl Sources {
    /// Opens the tables of definitions of a store and those below it, depth first. A store that says
    /// `fallback.missing=table` and has one asks no further.
    pub async fn of(store: &Store) -> Result<Sources> {
        let mut sources = Sources::default();
        let mut seen = Vec::new();
        sources.visit(store, store.chain().pass_over, &mut seen).await?;
        Ok(sources)
    }

    fn visit<'a>(
        &'a mut self,
        store: &'a Store,
        pass_over: bool,
        seen: &'a mut Vec<Store>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            if seen.iter().any(|other| other.is(store)) {
                return Ok(());
            }
            seen.push(store.clone());
            let chain = store.chain();
            match store.database().open(TABLE).await {
                Ok(Some(table)) => {
                    let behind = self.passed_over;
                    self.stores.push(Source { store: store.clone(), table, pass_over, behind });
                    if chain.missing == Missing::Table {
                        return Ok(());
                    }
                }
                Ok(None) => {}
                Err(error) if pass_over && is_unavailable(&error) => {
                    passed_over(&store.display(), &error);
                    self.passed_over = true;
                }
                Err(error) => return Err(store.located(error)),
            }
            for fallback in &chain.fallbacks {
                match fallback.store() {
                    Ok(below) => self.visit(below, chain.pass_over, seen).await?,
                    Err(error) if chain.pass_over && is_unavailable(&error) => {
                        passed_over(&fallback.display(), &error);
                        self.passed_over = true;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
        .boxed()
    }

    /// Of each feature the definition that `prefers` likes best among those of the first store that has
    /// any which it likes at all.
    async fn choose(&self, prefers: impl Fn(&Row<'_>, Option<&Pushed>) -> bool) -> Result<Definitions> {
        let mut chosen = Definitions { passed_over: self.passed_over, ..Definitions::default() };
        let mut unread = false;
        for Source { store, table, pass_over, behind } in &self.stores {
            let behind = *behind || unread;
            let mut own: BTreeMap<FeatureKey, Pushed> = BTreeMap::new();
            let read = each_row(table, DEFINITION, |row| {
                if prefers(row, own.get(&row.key)) {
                    own.insert(row.key.clone(), row.pushed(store, behind));
                }
            });
            match read.await {
                Ok(()) => {}
                Err(error) if *pass_over && is_unavailable(&error) => {
                    passed_over(&store.display(), &error);
                    unread = true;
                    continue;
                }
                Err(error) => return Err(store.located(error)),
            }
            for (key, pushed) in own {
                chosen.found.entry(key).or_insert(pushed);
            }
        }
        chosen.passed_over |= unread;
        Ok(chosen)
    }

    /// Of each feature the newest definition.
    pub async fn newest(&self) -> Result<Definitions> {
        // Of equal times the later row: two pushes of the same may have met.
        self.choose(|row, known| known.is_none_or(|known| row.recorded_at >= known.recorded_at)).await
    }

    /// Of each feature the definition that was in force at `time`: the newest of before, else the first.
    pub async fn at(&self, time: i64) -> Result<Definitions> {
        self.choose(|row, known| {
            known.is_none_or(|known| match (row.recorded_at <= time, known.recorded_at <= time) {
                (true, true) => row.recorded_at >= known.recorded_at,
                (false, false) => row.recorded_at < known.recorded_at,
                (before, _) => before,
            })
        })
        .await
    }

    /// The definitions of the newest version of a project, from the first store that has any of its.
    pub async fn of_project(&self, project: &str) -> Result<Definitions> {
        let of_project = self.choose(|row, known| {
            row.project() == Some(project) && known.is_none_or(|known| row.recorded_at >= known.recorded_at)
        });
        let mut found = of_project.await?;
        self.keep_first(&mut found);
        let newest = found.iter().max_by_key(|pushed| pushed.recorded_at);
        match newest.and_then(|newest| newest.project_version.clone()) {
            Some(version) => self.of_version(Some(project), &version).await,
            // Rows that do not say of which version they are.
            None => Ok(found),
        }
    }

    /// The definitions of one version of a project, from the first store that has it.
    pub async fn of_version(&self, project: Option<&str>, version: &str) -> Result<Definitions> {
        let found = self.choose(|row, known| {
            row.project_version() == Some(version)
                && project.is_none_or(|project| row.project() == Some(project))
                && known.is_none_or(|known| row.recorded_at >= known.recorded_at)
        });
        let mut found = found.await?;
        self.keep_first(&mut found);
        Ok(found)
    }

    /// The newest definition with which `feature` had `version`, of those that say of which project version they are.
    pub async fn of_feature_version(&self, feature: &FeatureKey, version: &str) -> Result<Option<Pushed>> {
        let found = self.choose(|row, known| {
            row.key == *feature
                && row.feature_version() == Some(version)
                && row.project_version().is_some()
                && known.is_none_or(|known| row.recorded_at >= known.recorded_at)
        });
        Ok(found.await?.found.remove(feature))
    }

    /// Keeps the definitions of the first store that has any of them.
    fn keep_first(&self, found: &mut Definitions) {
        let holders: BTreeSet<String> = found.iter().map(|pushed| pushed.store.clone()).collect();
        let mut stores = self.stores.iter().map(|source| source.store.display());
        if let Some(first) = stores.find(|store| holders.contains(store)) {
            found.found.retain(|_, pushed| pushed.store == first);
        }
    }
}

fn passed_over(store: &str, error: &Error) {
    log::emit(Level::Warn, || {
        format!("{store} cannot be asked for definitions, and is passed over: {error}")
    });
}

/// Definitions that were pushed, at most one of each feature.
#[derive(Default)]
pub struct Definitions {
    found: BTreeMap<FeatureKey, Pushed>,
    /// Whether a store could not be asked.
    passed_over: bool,
}

impl Definitions {
    pub fn get(&self, feature: &FeatureKey) -> Option<&Pushed> {
        self.found.get(feature)
    }

    /// Whether no store that could not be asked might have said otherwise of a feature.
    pub fn is_final(&self, feature: &FeatureKey) -> bool {
        self.get(feature).map_or(!self.passed_over, |pushed| !pushed.behind)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pushed> {
        self.found.values()
    }

    /// Those of `wanted`, with all that they depend on and `known` does not define. The errors are
    /// those of definitions that cannot be read.
    pub fn with_dependencies<'d>(
        &'d self,
        wanted: impl IntoIterator<Item = &'d Pushed>,
        known: &Graph,
    ) -> BTreeMap<&'d FeatureKey, (&'d Pushed, Result<FeatureDefinition>)> {
        let mut found = BTreeMap::new();
        let mut open: Vec<&Pushed> = wanted.into_iter().collect();
        let wanted: BTreeSet<&FeatureKey> = open.iter().map(|pushed| &pushed.key).collect();
        while let Some(pushed) = open.pop() {
            if found.contains_key(&pushed.key) {
                continue;
            }
            let definition = pushed.definition();
            if let Ok(definition) = &definition {
                let deps = definition.spec.deps.iter().map(|dep| &dep.feature);
                let missing = deps.filter(|dep| known.find(dep).is_none() && !wanted.contains(dep));
                open.extend(missing.filter_map(|dep| self.get(dep)));
            }
            found.insert(&pushed.key, (pushed, definition));
        }
        found
    }
}
