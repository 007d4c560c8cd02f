//! One feature of a store in depth: a row for each of its versions.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, LargeListArray, LargeListBuilder, LargeStringArray, LargeStringBuilder,
    RecordBatch, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use super::Store;
use super::context::Call;
use super::current::{Current, Selection};
use super::system_columns as system;
use super::tally::{Tallies, tally};
use crate::backend::Table;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureKey, Versions};
use crate::versioning::Memory;

impl Store {
    /// The versions of `feature` that its table in this store has rows of, sorted, and the version
    /// that is defined, also without rows. The fallback stores are not asked.
    ///
    /// Samples are counted for a defined feature only, by the rule of a read: the latest row of each
    /// sample within a version decides.
    pub async fn describe(&self, feature: &str, call: &Call) -> Result<RecordBatch> {
        let key = FeatureKey::parse(feature)?;
        call.run(Box::pin(self.describe_key(&key)))
            .await
            .map_err(|error| self.located(error).with("feature", &key))
    }

    async fn describe_key(&self, key: &FeatureKey) -> Result<RecordBatch> {
        self.check_open()?;
        if !key.is_system() {
            Box::pin(self.refresh_externals()).await?;
        }
        let Some(table) = self.database().open(&key.table_name()).await? else {
            return Err(self.absent(key));
        };
        let graph = self.graph();
        let definition = graph.get(key).ok();
        let (current, latest) = match definition {
            Some(definition) => (
                self.current_version(key, &table).await?,
                Some(latest(definition, &table, &self.memory()).await?),
            ),
            None => (None, None),
        };
        let mut tallies = tally(&table, &[system::PROJECT_VERSION], latest.as_ref()).await?;
        if current.is_some() {
            tallies.entry(current.clone()).or_default();
        }
        batch(&table, &tallies, current.as_deref(), latest.is_some())
    }

    /// The version that is defined; none while a feature that this one depends on is not.
    async fn current_version(&self, key: &FeatureKey, table: &Table) -> Result<Option<String>> {
        let hash = self.settings().resolve(self.database(), Some(table)).await?;
        match Versions::new(&self.graph(), hash.truncation).feature_version(key) {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.status() == Status::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn absent(&self, key: &FeatureKey) -> Error {
        let table = key.table_name();
        Error::new(
            Status::NotFound,
            format!(
                "{} has no table {table} of the feature {key}; metaxy_store_list gives those it has, and the tables of \
                 its fallback stores are described by asking them",
                self.display()
            ),
        )
        .with("table", table)
    }
}

/// The latest row of each sample in each feature version.
async fn latest(definition: &FeatureDefinition, table: &Table, memory: &Memory) -> Result<Current> {
    let mut id_columns = definition.spec.id_columns.clone();
    if table.schema().column_with_name(system::FEATURE_VERSION).is_some() {
        id_columns.push(system::FEATURE_VERSION.to_owned());
    }
    let selection = Selection { id_columns, deleted: true, ..Selection::default() };
    Ok(selection.find(table, memory).await?.current)
}

fn batch(table: &Table, tallies: &Tallies, current: Option<&str>, counted: bool) -> Result<RecordBatch> {
    let mut project_versions = LargeListBuilder::new(LargeStringBuilder::new());
    for tally in tallies.values() {
        tally.project_versions.iter().for_each(|version| project_versions.values().append_value(version));
        project_versions.append(true);
    }
    let times = |times: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    };
    let of = |samples: bool| -> ArrayRef {
        let counts = tallies.values().map(|tally| if samples { tally.samples } else { tally.deleted });
        Arc::new(counts.map(|count| counted.then_some(count)).collect::<UInt64Array>())
    };
    let is_current = |version: &Option<String>| current.map(|current| version.as_deref() == Some(current));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("feature_version", Arc::new(tallies.keys().map(Option::as_deref).collect::<LargeStringArray>())),
        ("is_current", Arc::new(tallies.keys().map(is_current).collect::<BooleanArray>())),
        ("rows", Arc::new(tallies.values().map(|tally| Some(tally.rows)).collect::<UInt64Array>())),
        ("samples", of(true)),
        ("deleted", of(false)),
        ("first_write", times(tallies.values().map(|tally| tally.first_write).collect())),
        ("last_write", times(tallies.values().map(|tally| tally.last_write).collect())),
        ("project_versions", Arc::new(project_versions.finish())),
        ("columns", columns_of(table, tallies.len())?),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(malformed)
}

/// The columns of the table, as a reader sees them, `times` over.
fn columns_of(table: &Table, times: usize) -> Result<ArrayRef> {
    let members: Fields =
        ["column", "type"].into_iter().map(|name| Field::new(name, DataType::LargeUtf8, true)).collect();
    let schema = table.schema();
    let visible = || schema.fields().iter().filter(|field| !system::is_leftover(field.name()));
    let each = |text: &dyn Fn(&Field) -> String| -> ArrayRef {
        let texts = (0..times).flat_map(|_| visible()).map(|field| Some(text(field)));
        Arc::new(texts.collect::<LargeStringArray>())
    };
    let texts = vec![each(&|field| field.name().clone()), each(&|field| field.data_type().to_string())];
    let structs = StructArray::try_new(members, texts, None).map_err(malformed)?;
    let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(visible().count(), times));
    Ok(Arc::new(LargeListArray::try_new(item, lengths, Arc::new(structs), None).map_err(malformed)?))
}

fn malformed(cause: arrow::error::ArrowError) -> Error {
    Error::new(Status::Internal, format!("the description of a feature is malformed: {cause}"))
}
