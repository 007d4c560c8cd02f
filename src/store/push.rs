//! Pushing: the definitions of a project are written to the store, where Metaxy finds them.
//!
//! A push is one commit. Two that meet may both write the same definitions: such rows are equal but
//! for their time, of which the newest counts, so that nothing comes of it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, LargeStringArray, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{Field, Schema};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use serde_json::{Map, Value, json};

use super::Store;
use super::conform::conform;
use super::context::Call;
use super::pushed::{self, each_row};
use super::settings;
use super::system_columns as system;
use super::write::now;
use crate::backend::Table;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureKey, FeatureVersions, Graph, Versions, python_json};
use crate::versioning::SampleHash;

/// The tag that Metaxy keeps to itself, and what it says in there.
const METAXY_TAG: &str = "metaxy";
const METAXY_VERSION: &str = "0.1.11";

/// What is known of the definitions in the table before a push.
#[derive(Default)]
struct Before {
    /// The greatest time of any row.
    time: Option<i64>,
    /// The version that was pushed last for the project, and when.
    latest: Option<(i64, String)>,
    /// When the newest definition of each feature was pushed, by whomever, and which it is if it is of the
    /// version to be pushed.
    in_force: HashMap<FeatureKey, (i64, Option<String>)>,
}

/// A feature to be pushed.
struct Item<'g> {
    definition: &'g FeatureDefinition,
    versions: FeatureVersions,
    /// Whether the table has not got it yet.
    new: bool,
}

impl Store {
    /// Writes the definitions of `project`, those of them that the store has not got yet, as Metaxy keeps
    /// them. Without `project`, it is that of the store, else the only one of the defined features. `tags`
    /// is a JSON object of texts that are kept with what is written.
    ///
    /// Gives a row for each feature of the project, with the columns `feature`, `project`,
    /// `feature_version`, `definition_version`, `project_version`, `pushed`.
    pub async fn push(&self, project: Option<&str>, tags: Option<&str>, call: &Call) -> Result<RecordBatch> {
        self.check_writable()?;
        Box::pin(self.push_project(project, tags, call)).await.map_err(|error| self.located(error))
    }

    async fn push_project(
        &self,
        project: Option<&str>,
        tags: Option<&str>,
        call: &Call,
    ) -> Result<RecordBatch> {
        let tags = tags_with_version(tags)?;
        let (graph, hash, table) = call
            .run(Box::pin(async {
                let graph = self.refresh_externals().await?;
                let table = self.database().open(pushed::TABLE).await?;
                if let Some(table) = &table {
                    self.database().check_appendable(table)?;
                }
                Ok((graph, self.hash_for_write(None).await?, table))
            }))
            .await?;
        let project = self.pushed_project(&graph, project)?;
        let mut versions = Versions::new(&graph, hash.truncation);
        let project_version = versions.project_version(Some(&project));
        let before = match &table {
            Some(table) => call.run(Box::pin(Before::read(table, &project, &project_version))).await?,
            None => Before::default(),
        };
        let again = before.latest.as_ref().is_some_and(|(_, latest)| *latest == project_version);
        let mut items = Vec::new();
        for key in graph.topological_order() {
            let definition = graph.get(key)?;
            if definition.external || definition.project.as_deref() != Some(&project) {
                continue;
            }
            let versions = versions.of(key)?;
            let in_force = before.in_force.get(key).and_then(|(_, version)| version.as_ref());
            let new = !again || in_force != Some(&versions.definition_version);
            items.push(Item { definition, versions, new });
        }
        if items.iter().any(|item| item.new) {
            let new: Vec<&Item<'_>> = items.iter().filter(|item| item.new).collect();
            // Later than all that is there, whatever the clock says: the newest definitions count.
            let time = now().max(before.time.map_or(i64::MIN, |time| time.saturating_add(1)));
            let rows = rows(&new, &project, &project_version, &tags, time)?;
            self.append_definitions(rows, table.as_ref(), hash, call).await?;
        }
        report(&items, &project, &project_version)
    }

    /// The project whose definitions are pushed; it has some.
    fn pushed_project(&self, graph: &Graph, given: Option<&str>) -> Result<String> {
        let project = match given.or(self.project()) {
            Some(project) => project,
            None => graph.single_project()?.ok_or_else(|| {
                let message = "the defined features belong to no project, and definitions are pushed by project: open the \
                               store with the option `project`, or give the definitions one";
                Error::new(Status::InvalidState, message).with("option", "project")
            })?,
        };
        let own = |definition: &FeatureDefinition| {
            !definition.external && definition.project.as_deref() == Some(project)
        };
        if graph.features().any(own) {
            return Ok(project.to_owned());
        }
        let message = format!(
            "no feature of the project {project} is defined that could be pushed: define its features first, as those of \
             this project"
        );
        Err(Error::new(Status::NotFound, message).with("project", project))
    }

    async fn append_definitions(
        &self,
        rows: RecordBatch,
        table: Option<&Table>,
        hash: SampleHash,
        call: &Call,
    ) -> Result<()> {
        let (database, settings) = (self.database(), self.settings());
        let rows = match table {
            Some(table) => in_types_of(&rows, &table.schema())?,
            None => rows,
        };
        let schema = Arc::new(rows.schema().as_ref().clone().with_metadata(settings::record(hash)));
        let rows = rows.with_schema(schema.clone()).map_err(malformed)?;
        let stream = RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter([Ok(rows)]));
        let identifying = pushed::IDENTIFYING.map(str::to_owned);
        let staged = Box::pin(database.stage(pushed::TABLE, &schema, Box::pin(stream), &identifying)).await?;
        let agreed = match settings.allow(database, hash).await {
            Ok(true) => call.check(),
            Ok(false) => Err(Error::new(
                Status::Conflict,
                format!(
                    "another writer began the store {} with other hash settings; push again",
                    self.display()
                ),
            )),
            Err(error) => Err(error),
        };
        if let Err(error) = agreed {
            database.discard(&staged).await;
            return Err(error);
        }
        let accept = |schema: &Schema| settings.check_record(database, pushed::TABLE, schema, hash);
        Box::pin(database.publish(staged, || call.check(), accept)).await?;
        settings.wrote(hash);
        self.keep_compact(pushed::TABLE, call).await;
        Ok(())
    }
}

impl Before {
    async fn read(table: &Table, project: &str, project_version: &str) -> Result<Before> {
        let columns = [
            pushed::PROJECT,
            pushed::FEATURE_KEY,
            pushed::DEFINITION_VERSION,
            pushed::RECORDED_AT,
            system::PROJECT_VERSION,
        ];
        let mut before = Before::default();
        each_row(table, &columns, |row| {
            before.time = before.time.max(Some(row.recorded_at));
            let is_newer = |known: i64| row.recorded_at >= known;
            let version = row.project_version().filter(|_| row.project() == Some(project));
            if let Some(version) = version
                && before.latest.as_ref().is_none_or(|(known, _)| is_newer(*known))
            {
                before.latest = Some((row.recorded_at, version.to_owned()));
            }
            if before.in_force.get(&row.key).is_none_or(|(known, _)| is_newer(*known)) {
                let definition = row.definition_version().filter(|_| version == Some(project_version));
                before.in_force.insert(row.key.clone(), (row.recorded_at, definition.map(str::to_owned)));
            }
        })
        .await?;
        Ok(before)
    }
}

/// The tags as Metaxy writes them: its own is a JSON text within the JSON text.
fn tags_with_version(tags: Option<&str>) -> Result<String> {
    let refuse = |problem: String| Error::invalid(format!("the tags {problem}")).with("argument", "tags");
    let expected = "must be a JSON object of texts, such as {\"commit\": \"1f2e\"}";
    let mut tags: Map<String, Value> = match tags {
        None => Map::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|cause| refuse(format!("{expected}: {cause}")).caused_by(&cause))?,
    };
    if let Some((name, value)) = tags.iter().find(|(_, value)| !value.is_string()) {
        return Err(refuse(format!("{expected}, but {name:?} is {value}")));
    }
    let version = python_json::to_string(&json!({"version": METAXY_VERSION}));
    if tags.insert(METAXY_TAG.to_owned(), json!(version)).is_some() {
        return Err(refuse(format!("may not have one called {METAXY_TAG:?}, which Metaxy writes itself")));
    }
    Ok(python_json::to_string(&Value::Object(tags)))
}

/// The rows of a push, parents first, each later than the one before.
fn rows(
    items: &[&Item<'_>],
    project: &str,
    project_version: &str,
    tags: &str,
    time: i64,
) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Item<'_>) -> String| -> ArrayRef {
        Arc::new(items.iter().map(|item| Some(of(item))).collect::<LargeStringArray>())
    };
    let times = (time..).take(items.len()).map(Some).collect::<TimestampMicrosecondArray>();
    let schema = pushed::schema();
    let columns: Vec<ArrayRef> = vec![
        text(&|_| project.to_owned()),
        text(&|item| item.definition.key().to_string()),
        text(&|item| item.versions.feature_version.clone()),
        text(&|item| item.versions.definition_version.clone()),
        Arc::new(times),
        text(&|item| python_json::to_string(&item.definition.spec.canonical_json())),
        text(&|item| python_json::to_string(&item.definition.schema)),
        text(&|item| item.definition.pushed_class_path()),
        text(&|_| project_version.to_owned()),
        text(&|_| tags.to_owned()),
        new_null_array(schema.field(schema.fields().len() - 1).data_type(), items.len()),
    ];
    RecordBatch::try_new(schema, columns).map_err(malformed)
}

/// Rows in the types of a table that somebody else may have made.
fn in_types_of(rows: &RecordBatch, table: &Schema) -> Result<RecordBatch> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let wanted = table.field_with_name(field.name()).unwrap_or(field);
        let wanted = Field::new(field.name(), wanted.data_type().clone(), true);
        Ok((field.name().clone(), conform(column, &wanted, 0)?, true))
    });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>>>()?).map_err(malformed)
}

fn report(items: &[Item<'_>], project: &str, project_version: &str) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Item<'_>) -> String| -> ArrayRef {
        Arc::new(items.iter().map(|item| Some(of(item))).collect::<LargeStringArray>())
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("feature", text(&|item| item.definition.key().to_string())),
        ("project", text(&|_| project.to_owned())),
        ("feature_version", text(&|item| item.versions.feature_version.clone())),
        ("definition_version", text(&|item| item.versions.definition_version.clone())),
        ("project_version", text(&|_| project_version.to_owned())),
        ("pushed", Arc::new(items.iter().map(|item| Some(item.new)).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(malformed)
}

fn malformed(cause: arrow::error::ArrowError) -> Error {
    Error::new(Status::Internal, format!("the rows of a push are malformed: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_written_as_metaxy_writes_them() {
        let golden = r#"{"git": "abc", "metaxy": "{\"version\": \"0.1.11\"}"}"#;
        assert_eq!(tags_with_version(Some(r#"{"git":"abc"}"#)).unwrap(), golden);
        assert_eq!(tags_with_version(None).unwrap(), r#"{"metaxy": "{\"version\": \"0.1.11\"}"}"#);
        for (tags, says) in [
            ("[]", "JSON object"),
            ("", "JSON object"),
            (r#"{"a": 1}"#, "\"a\" is 1"),
            (r#"{"metaxy": "x"}"#, "which Metaxy writes itself"),
        ] {
            let error = tags_with_version(Some(tags)).unwrap_err();
            assert!(error.message().contains(says), "{error}");
        }
    }
}
