//! What is in a store: whether a feature is, and all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, LargeListBuilder, LargeStringArray, LargeStringBuilder, RecordBatch,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::{StreamExt, TryStreamExt};

use super::Store;
use super::context::Call;
use super::pushed;
use super::settings::told_by;
use super::system_columns as system;
use super::tally::tally;
use crate::backend::{Statistics, Table};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureKey, SYSTEM_NAMESPACE, SYSTEM_TABLE_PREFIX};

/// Tables that are looked at at the same time.
const TABLES: usize = 8;

impl Store {
    /// Whether this store has a table of `feature`, which need not be defined, with rows or without.
    /// The fallback stores are not asked, and no table is opened.
    pub async fn has(&self, feature: &str, call: &Call) -> Result<bool> {
        let key = FeatureKey::parse(feature)?;
        self.check_open()?;
        call.run(self.database().has(&key.table_name()))
            .await
            .map_err(|error| self.located(error).with("feature", &key))
    }

    /// The tables of this store, sorted by name, with what they hold. A table that cannot be read is
    /// listed with its problem. The fallback stores are not asked.
    ///
    /// Of each table the feature versions and the times are read, once and a batch at a time.
    pub async fn list(&self, call: &Call) -> Result<RecordBatch> {
        self.check_open()?;
        call.run(Box::pin(self.list_tables())).await.map_err(|error| self.located(error))
    }

    async fn list_tables(&self) -> Result<RecordBatch> {
        let tables = self.database().tables().await?;
        let graph = self.graph();
        let owners: HashMap<String, &FeatureDefinition> =
            graph.features().map(|definition| (definition.key().table_name(), definition)).collect();
        let unnamed = tables.iter().map(String::as_str).filter(|table| !owners.contains_key(*table));
        let unnamed = unnamed.filter(|table| !table.starts_with(SYSTEM_TABLE_PREFIX));
        let pushed = self.pushed_keys(unnamed.collect()).await;
        let entries = futures::stream::iter(tables)
            .map(|table| {
                let definition = owners.get(&table).copied();
                let feature = match definition {
                    Some(definition) => Some(definition.key().clone()),
                    None => pushed.get(&table).cloned().or_else(|| likely_key(&table)),
                };
                let entry = Entry { feature, defined: definition.is_some(), table, ..Entry::default() };
                Box::pin(async move { entry.filled(self, definition).await })
            })
            .buffered(TABLES)
            .filter_map(std::future::ready)
            .collect::<Vec<Entry>>()
            .await;
        batch(&entries)
    }

    /// The keys of pushed definitions to which `tables` belong, by table. It is for names only: that
    /// the definitions cannot be read is told where they are listed themselves.
    async fn pushed_keys(&self, tables: HashSet<&str>) -> HashMap<String, FeatureKey> {
        let mut keys = HashMap::new();
        if !tables.is_empty()
            && let Ok(Some(definitions)) = self.database().open(pushed::TABLE).await
        {
            // What was read before a failure is true all the same.
            let _ = collect_keys(&definitions, &tables, &mut keys).await;
        }
        keys
    }
}

async fn collect_keys(
    definitions: &Table,
    tables: &HashSet<&str>,
    keys: &mut HashMap<String, FeatureKey>,
) -> Result<()> {
    if definitions.schema().column_with_name(pushed::FEATURE_KEY).is_none() {
        return Ok(());
    }
    let mut batches = definitions.scan(vec![pushed::FEATURE_KEY.to_owned()]).stream().await?;
    while let Some(batch) = batches.try_next().await? {
        let texts = batch
            .column_by_name(pushed::FEATURE_KEY)
            .and_then(|texts| cast(texts, &DataType::LargeUtf8).ok());
        let Some(texts) = texts.as_ref().and_then(|texts| texts.as_string_opt::<i64>()) else { break };
        for key in texts.iter().flatten().filter_map(|text| FeatureKey::parse(text).ok()) {
            let table = key.table_name();
            if tables.contains(table.as_str()) {
                // Later definitions are those that count.
                keys.insert(table, key);
            }
        }
    }
    Ok(())
}

/// The key that a table's name was most likely made of: it does not tell `-` from `_`. None if no
/// key makes that name.
fn likely_key(table: &str) -> Option<FeatureKey> {
    let key = match table.strip_prefix(SYSTEM_TABLE_PREFIX) {
        Some(name) => format!("{SYSTEM_NAMESPACE}/{}", name.replace("__", "/")),
        None => table.replace("__", "/"),
    };
    FeatureKey::parse(&key).ok().filter(|key| key.table_name() == table)
}

/// One table of the list; what could not be found out is absent.
#[derive(Default)]
struct Entry {
    table: String,
    feature: Option<FeatureKey>,
    defined: bool,
    statistics: Option<Statistics>,
    feature_versions: Option<Vec<String>>,
    algorithm: Option<&'static str>,
    truncation: Option<String>,
    last_write: Option<i64>,
    problem: Option<String>,
}

impl Entry {
    /// The entry with what the table tells; nothing if there is no such table, only a directory.
    async fn filled(mut self, store: &Store, definition: Option<&FeatureDefinition>) -> Option<Entry> {
        match store.database().open(&self.table).await {
            Ok(Some(table)) => self.fill(&table, definition).await,
            Ok(None) => return None,
            Err(error) => self.note(&error),
        }
        Some(self)
    }

    /// Each part by itself: what damage leaves of a table is told.
    async fn fill(&mut self, table: &Table, definition: Option<&FeatureDefinition>) {
        match table.statistics().await {
            Ok(statistics) => self.statistics = Some(statistics),
            Err(error) => self.note(&error),
        }
        let members = definition.map(|definition| {
            definition.spec.fields.iter().map(|field| field.key.struct_key()).collect::<Vec<_>>()
        });
        match told_by(table, members).await {
            Ok(told) => (self.algorithm, self.truncation) = told,
            Err(error) => self.note(&error),
        }
        if table.schema().column_with_name(system::FEATURE_VERSION).is_none() {
            return;
        }
        match tally(table, &[], None).await {
            Ok(tallies) => {
                self.last_write = tallies.values().filter_map(|tally| tally.last_write).max();
                self.feature_versions = Some(tallies.into_keys().flatten().collect());
            }
            Err(error) => self.note(&error),
        }
    }

    /// Keeps the first problem.
    fn note(&mut self, error: &Error) {
        self.problem.get_or_insert_with(|| error.message().to_owned());
    }
}

fn batch(entries: &[Entry]) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Entry) -> Option<String>| -> ArrayRef {
        Arc::new(entries.iter().map(of).collect::<LargeStringArray>())
    };
    let flag = |of: &dyn Fn(&Entry) -> bool| -> ArrayRef {
        Arc::new(entries.iter().map(|entry| Some(of(entry))).collect::<BooleanArray>())
    };
    let number = |of: &dyn Fn(&Statistics) -> Option<u64>| -> ArrayRef {
        let numbers = entries.iter().map(|entry| entry.statistics.as_ref().and_then(of));
        Arc::new(numbers.collect::<UInt64Array>())
    };
    let time = |of: &dyn Fn(&Entry) -> Option<i64>| -> ArrayRef {
        let times = entries.iter().map(of).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_timezone("UTC"))
    };
    let mut feature_versions = LargeListBuilder::new(LargeStringBuilder::new());
    for entry in entries {
        let versions = entry.feature_versions.iter().flatten();
        versions.for_each(|version| feature_versions.values().append_value(version));
        feature_versions.append(entry.feature_versions.is_some());
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("feature", text(&|entry| entry.feature.as_ref().map(ToString::to_string))),
        ("table", text(&|entry| Some(entry.table.clone()))),
        ("defined", flag(&|entry| entry.defined)),
        ("system", flag(&|entry| entry.table.starts_with(SYSTEM_TABLE_PREFIX))),
        ("rows", number(&|statistics| Some(statistics.rows))),
        ("feature_versions", Arc::new(feature_versions.finish())),
        ("fragments", number(&|statistics| statistics.fragments)),
        ("bytes", number(&|statistics| statistics.bytes)),
        ("version", number(&|statistics| Some(statistics.version))),
        ("hash_algorithm", text(&|entry| entry.algorithm.map(str::to_owned))),
        ("hash_truncation_length", text(&|entry| entry.truncation.clone())),
        ("last_write", time(&|entry| entry.last_write)),
        ("last_commit", time(&|entry| entry.statistics.as_ref().and_then(|found| found.committed_at))),
        ("problem", text(&|entry| entry.problem.clone())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(|cause| Error::new(Status::Internal, format!("the list of features is malformed: {cause}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_name_is_read_back_as_far_as_it_goes() {
        for (table, key) in [
            ("example__video_raw", Some("example/video_raw")),
            ("a___b", Some("a/_b")),
            ("metaxy_system__feature_versions", Some("metaxy-system/feature_versions")),
            ("metaxy_system", Some("metaxy_system")),
            ("a-b", None),
            ("Videos", None),
            ("a____b", None),
            ("__a", None),
        ] {
            assert_eq!(likely_key(table).as_ref().map(FeatureKey::as_str), key, "{table}");
        }
    }
}
