//! Graphs to look at: the features of a store, or of JSON definitions, as they are at one time.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, LargeStringArray, RecordBatch};

use super::Store;
use super::context::Call;
use super::define::catalog;
use super::nested::{list_of_structs, list_of_texts};
use super::options::{Options, PROJECT};
use super::settings::truncation_option;
use crate::error::{Error, Result, Status};
use crate::feature::{
    Difference, FeatureDefinition, FeatureDep, FeatureDifference, FeatureKey, Graph, Lineage, Picture,
    Truncation, Versions, python_json,
};

/// Features as they are at one time, and the length that their versions are cut to.
#[derive(Clone)]
pub struct Snapshot {
    graph: Arc<Graph>,
    truncation: Truncation,
}

/// The languages in which a graph is drawn.
const LANGUAGES: [&str; 2] = ["mermaid", "dot"];

impl Store {
    /// The features that are defined in the store now.
    pub async fn snapshot(&self, call: &Call) -> Result<Snapshot> {
        self.check_open()?;
        let hash = call.run(self.hash_for_read(None)).await.map_err(|error| self.located(error))?;
        Ok(Snapshot { graph: self.graph(), truncation: hash.truncation })
    }
}

impl Snapshot {
    pub(super) fn new(graph: Graph, truncation: Truncation) -> Snapshot {
        Snapshot { graph: Arc::new(graph), truncation }
    }

    /// The features of `json`, which is what a store is given to define them, by the options `project`
    /// and `hash.truncation_length`.
    pub fn from_json(json: &str, options: &Options) -> Result<Snapshot> {
        options.check_scope("graph")?;
        let definitions = FeatureDefinition::from_json(json, options.get(PROJECT)?)?;
        let truncation = truncation_option(options)?.unwrap_or_default();
        Ok(Snapshot::new(Graph::default().with(definitions)?, truncation))
    }

    /// The definitions, as [`Snapshot::from_json`] takes them, parents first.
    pub fn to_json(&self) -> String {
        let definitions = self.parents_first().map(FeatureDefinition::to_json).collect();
        python_json::to_string(&definitions)
    }

    fn parents_first(&self) -> impl Iterator<Item = &FeatureDefinition> {
        self.graph.topological_order().into_iter().filter_map(|key| self.graph.find(key))
    }

    /// The features, parents first, with the columns of [`Store::features`] and further ones.
    pub fn features(&self) -> Result<RecordBatch> {
        let definitions: Vec<&FeatureDefinition> = self.parents_first().collect();
        let text = |of: &dyn Fn(&FeatureDefinition) -> Option<String>| -> ArrayRef {
            Arc::new(definitions.iter().map(|definition| of(definition)).collect::<LargeStringArray>())
        };
        let catalog = catalog(&self.graph, definitions.iter().copied(), self.truncation)?;
        let depends_on = definitions.iter().map(|definition| {
            Some(definition.spec.deps.iter().map(|dep| dep.feature.to_string()).collect::<Vec<_>>())
        });
        let more: Vec<(&str, ArrayRef)> = vec![
            ("depends_on", list_of_texts(depends_on)),
            ("class_path", text(&|definition| definition.class_path.clone())),
            ("description", text(&|definition| definition.spec.description.clone())),
            ("spec", text(&|definition| Some(python_json::to_string(&definition.spec.canonical_json())))),
            ("schema", text(&|definition| Some(python_json::to_string(&definition.schema)))),
        ];
        let schema = catalog.schema();
        let columns = schema.fields().iter().zip(catalog.columns());
        let columns = columns.map(|(field, column)| (field.name().as_str(), column.clone()));
        batch(columns.chain(more))
    }

    /// What each feature depends on and which fields feed which, children in the order of
    /// [`Snapshot::features`].
    pub fn dependencies(&self) -> Result<RecordBatch> {
        let mut rows: Vec<Dependency<'_>> = Vec::new();
        for definition in self.parents_first() {
            // Which fields feed which is not known while one of the dependencies is not defined.
            let plan = self.graph.plan(definition.key()).ok();
            for dep in &definition.spec.deps {
                let mut fields = Vec::new();
                for field in definition.spec.fields.iter().filter(|_| plan.is_some()) {
                    let parents = self.graph.parent_fields(definition.key(), &field.key)?;
                    let of_dep = parents.into_iter().filter(|parent| *parent.feature == dep.feature);
                    fields.extend(of_dep.map(|parent| [field.key.to_string(), parent.field.to_string()]));
                }
                let defined = self.graph.find(&dep.feature).is_some();
                let fields = plan.is_some().then_some(fields);
                rows.push(Dependency { feature: definition.key(), dep, defined, fields });
            }
        }
        let text = |of: &dyn Fn(&Dependency<'_>) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(of(row))).collect::<LargeStringArray>())
        };
        let flag = |of: &dyn Fn(&Dependency<'_>) -> bool| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(of(row))).collect::<BooleanArray>())
        };
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("feature", text(&|row| row.feature.to_string())),
            ("depends_on", text(&|row| row.dep.feature.to_string())),
            ("defined", flag(&|row| row.defined)),
            ("optional", flag(&|row| row.dep.optional)),
            ("lineage", text(&|row| lineage(&row.dep.lineage).0.to_owned())),
            ("on", list_of_texts(rows.iter().map(|row| lineage(&row.dep.lineage).1))),
            ("select", list_of_texts(rows.iter().map(|row| row.dep.select.clone()))),
            ("rename", {
                let renames = rows.iter().map(|row| {
                    let rename = row.dep.rename.as_ref()?.iter();
                    Some(rename.map(|(old, new)| [Some(old.clone()), Some(new.clone())]).collect())
                });
                list_of_structs(["from", "to"], renames)?
            }),
            ("filters", list_of_texts(rows.iter().map(|row| row.dep.filters.clone()))),
            ("fields", {
                let fields = rows.iter().map(|row| {
                    let pairs = row.fields.clone()?;
                    Some(pairs.into_iter().map(|[field, from]| [Some(field), Some(from)]).collect())
                });
                list_of_structs(["field", "from"], fields)?
            }),
        ];
        batch(columns)
    }

    /// What has changed since `before`, parents first, features that are as they were left out.
    pub fn difference(&self, before: &Snapshot) -> Result<RecordBatch> {
        let difference = Difference::between(&before.graph, &self.graph)?;
        let found = &difference.features;
        let mut was = Versions::new(&before.graph, self.truncation);
        let mut is = Versions::new(&self.graph, self.truncation);
        let text = |of: &dyn Fn(&FeatureDifference) -> Option<String>| -> ArrayRef {
            Arc::new(found.iter().map(of).collect::<LargeStringArray>())
        };
        let version = |versions: &mut Versions<'_>| -> ArrayRef {
            let versions = found.iter().map(|found| versions.feature_version(&found.feature).ok());
            Arc::new(versions.collect::<LargeStringArray>())
        };
        let (version_before, version_after) = (version(&mut was), version(&mut is));
        let changes = found.iter().map(|found| {
            let changes = found.changes.iter().map(|change| {
                let json = |value: &Option<_>| value.as_ref().map(python_json::to_string);
                [
                    Some(change.what.to_owned()),
                    change.subject.clone(),
                    json(&change.before),
                    json(&change.after),
                ]
            });
            Some(changes.collect())
        });
        let fields = found.iter().map(|found| {
            let fields = found.fields.iter().map(|field| {
                let before = was.field_version(&found.feature, &field.field).ok();
                let after = is.field_version(&found.feature, &field.field).ok();
                [Some(field.field.to_string()), Some(field.kind.name().to_owned()), before, after]
            });
            Some(fields.collect())
        });
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("feature", text(&|found| Some(found.feature.to_string()))),
            ("difference", text(&|found| Some(found.kind.name().to_owned()))),
            ("stale", Arc::new(found.iter().map(|found| Some(found.stale)).collect::<BooleanArray>())),
            ("because", {
                let because =
                    |found: &FeatureDifference| found.because.iter().map(FeatureKey::to_string).collect();
                list_of_texts(found.iter().map(|found| Some(because(found))))
            }),
            ("changes", list_of_structs(["what", "subject", "before", "after"], changes)?),
            ("fields", list_of_structs(["field", "difference", "version_before", "version_after"], fields)?),
            ("version_before", version_before),
            ("version_after", version_after),
        ];
        batch(columns)
    }

    /// The graph as text that `language`, `mermaid` or `dot`, draws; with `before`, what has changed since
    /// stands out.
    pub fn render(&self, language: &str, before: Option<&Snapshot>) -> Result<String> {
        if !LANGUAGES.contains(&language) {
            let message = format!("a graph is drawn as {}, not as {language:?}", LANGUAGES.join(" or "));
            return Err(Error::invalid(message).with("argument", "language"));
        }
        let drawn = |picture: Picture<'_>| match language {
            "dot" => picture.dot(),
            _ => picture.mermaid(),
        };
        Ok(match before {
            None => drawn(Picture::of(&self.graph, self.truncation)),
            Some(before) => {
                let difference = Difference::between(&before.graph, &self.graph)?;
                drawn(Picture::of_difference(&before.graph, &self.graph, &difference, self.truncation))
            }
        })
    }
}

/// A feature and one that it depends on.
struct Dependency<'g> {
    feature: &'g FeatureKey,
    dep: &'g FeatureDep,
    defined: bool,
    /// Each field of the feature with each one that feeds it.
    fields: Option<Vec<[String; 2]>>,
}

/// A lineage as specs write it, and its columns.
fn lineage(lineage: &Lineage) -> (&'static str, Option<Vec<String>>) {
    match lineage {
        Lineage::Identity => ("1:1", None),
        Lineage::Aggregation { on } => ("N:1", on.clone()),
        Lineage::Expansion { on, .. } => ("1:N", Some(on.clone())),
    }
}

fn batch<'n>(columns: impl IntoIterator<Item = (&'n str, ArrayRef)>) -> Result<RecordBatch> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(|cause| Error::new(Status::Internal, format!("what a graph tells is malformed: {cause}")))
}
