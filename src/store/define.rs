//! The features of a store: defining them, and listing what is defined with its versions.

use std::sync::{Arc, RwLock};

use arrow::array::{
    ArrayRef, BooleanArray, LargeListBuilder, LargeStringArray, LargeStringBuilder, RecordBatch,
    StructBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::Store;
use super::context::Call;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureVersions, Graph, Truncation, Versions};

/// The features that are defined in a store; clones are the same.
#[derive(Clone, Default)]
pub struct Features(Arc<RwLock<Arc<Graph>>>);

impl Features {
    /// The features as they are defined now; later definitions do not change it.
    pub fn now(&self) -> Arc<Graph> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Replaces the features by what `change` makes of them, unless that fails, and gives those.
    pub(super) fn change(&self, change: impl FnOnce(&Graph) -> Result<Graph>) -> Result<Arc<Graph>> {
        let mut graph = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        *graph = Arc::new(change(&graph)?);
        Ok(graph.clone())
    }
}

impl Store {
    /// Defines the features of `json`: a spec, an envelope around one, or an array of either. All of
    /// them are defined, or none. A feature that is defined already is replaced.
    pub fn define(&self, json: &str) -> Result<()> {
        self.check_open()?;
        let definitions =
            FeatureDefinition::from_json(json, self.project()).map_err(|error| self.located(error))?;
        let changed = self.defined().change(|graph| graph.with(definitions));
        changed.map(drop).map_err(|error| self.located(error))
    }

    /// The defined features and their versions, in the columns of [`features_schema`], sorted by
    /// key. The versions of a feature whose dependencies are not all defined are null.
    pub async fn features(&self, call: &Call) -> Result<RecordBatch> {
        self.check_open()?;
        let hash = call.run(self.hash_for_read(None)).await.map_err(|error| self.located(error))?;
        let graph = self.graph();
        catalog(&graph, graph.features(), hash.truncation).map_err(|error| self.located(error))
    }
}

/// Features of `graph`, in the order in which they are given, in the columns of [`features_schema`].
pub(super) fn catalog<'g>(
    graph: &'g Graph,
    features: impl Iterator<Item = &'g FeatureDefinition>,
    truncation: Truncation,
) -> Result<RecordBatch> {
    let mut versions = Versions::new(graph, truncation);
    let rows = features
        .map(|definition| {
            let version = match versions.of(definition.key()) {
                Ok(version) => Some(version),
                // A dependency may still be to come.
                Err(error) if error.status() == Status::NotFound => None,
                Err(error) => return Err(error),
            };
            Ok((definition, version))
        })
        .collect::<Result<Vec<_>>>()?;
    rows_of_catalog(&rows, |project| versions.project_version(project))
}

/// The columns of [`Store::features`].
pub fn features_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::LargeUtf8, true);
    Arc::new(Schema::new(vec![
        text("feature"),
        text("project"),
        text("table"),
        Field::new("external", DataType::Boolean, true),
        list("id_columns", DataType::LargeUtf8),
        list("fields", DataType::Struct(field_members())),
        text("feature_version"),
        text("code_version"),
        text("spec_version"),
        text("definition_version"),
        text("project_version"),
    ]))
}

fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::LargeList(Arc::new(Field::new("item", item, true))), true)
}

fn field_members() -> Fields {
    ["field", "code_version", "field_version"]
        .into_iter()
        .map(|name| Field::new(name, DataType::LargeUtf8, true))
        .collect()
}

type Row<'a> = (&'a FeatureDefinition, Option<FeatureVersions>);

fn rows_of_catalog(
    rows: &[Row<'_>],
    project_version: impl Fn(Option<&str>) -> String,
) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<LargeStringArray>())
    };
    let version = |of: &dyn Fn(&FeatureVersions) -> String| text(&|(_, versions)| versions.as_ref().map(of));
    let columns: Vec<ArrayRef> = vec![
        text(&|(definition, _)| Some(definition.key().to_string())),
        text(&|(definition, _)| definition.project.clone()),
        text(&|(definition, _)| Some(definition.key().table_name())),
        Arc::new(rows.iter().map(|(definition, _)| Some(definition.external)).collect::<BooleanArray>()),
        id_columns(rows),
        fields(rows),
        version(&|versions| versions.feature_version.clone()),
        version(&|versions| versions.code_version.clone()),
        version(&|versions| versions.spec_version.clone()),
        version(&|versions| versions.definition_version.clone()),
        text(&|(definition, versions)| {
            versions.as_ref().map(|_| project_version(definition.project.as_deref()))
        }),
    ];
    RecordBatch::try_new(features_schema(), columns).map_err(|cause| {
        Error::new(Status::Internal, format!("the catalog of features is malformed: {cause}"))
    })
}

fn id_columns(rows: &[Row<'_>]) -> ArrayRef {
    let mut lists = LargeListBuilder::new(LargeStringBuilder::new());
    for (definition, _) in rows {
        for column in &definition.spec.id_columns {
            lists.values().append_value(column);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}

fn fields(rows: &[Row<'_>]) -> ArrayRef {
    let mut lists = LargeListBuilder::new(StructBuilder::from_fields(field_members(), rows.len()));
    for (definition, versions) in rows {
        for field in &definition.spec.fields {
            let version = versions.as_ref().and_then(|versions| versions.field_versions.get(&field.key));
            let values = [Some(field.key.to_string()), Some(field.code_version.clone()), version.cloned()];
            for (member, value) in values.into_iter().enumerate() {
                if let Some(builder) = lists.values().field_builder::<LargeStringBuilder>(member) {
                    builder.append_option(value);
                }
            }
            lists.values().append(true);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}
