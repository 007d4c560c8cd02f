//! Loading: definitions that were pushed to the stores of a chain become known.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, RecordBatch, TimestampMicrosecondArray};

use super::Store;
use super::context::Call;
use super::graph::Snapshot;
use super::pushed::{Definitions, Pushed, Sources};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureDefinition, FeatureKey, Graph, Versions, did_you_mean};
use crate::log::{self, Level};

/// Which of the pushed definitions to load; everything that was pushed, if nothing is said. What they
/// depend on comes with them.
#[derive(Clone, Debug, Default)]
pub struct Pushes {
    /// The features of this project, without those that its newest version does not have any more.
    pub project: Option<String>,
    /// As they were in this version of the project, or of any.
    pub project_version: Option<String>,
    /// And these.
    pub features: Vec<String>,
}

/// A definition that was found.
struct Found {
    pushed: Pushed,
    /// Or why it cannot be read, or does not fit.
    definition: Result<FeatureDefinition>,
    wanted: Wanted,
}

/// How it was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    ByName,
    WithOthers,
    /// Not at all: others depend on it.
    AsDependency,
}

impl Store {
    /// Defines features as they were pushed to this store or to its fallback stores: of each the newest
    /// definition of the first store that has one. A feature that is defined already is replaced if it is
    /// asked for, and stays if others only depend on it. One whose definition is broken, or contradicts
    /// others, is left out with its `problem`, unless it was asked for by its name: then nothing is loaded.
    ///
    /// Gives a row for each definition that was found, with the columns `feature`, `project`,
    /// `feature_version`, `definition_version`, `project_version`, `recorded_at`, `store`, `problem`.
    pub async fn load(&self, pushes: &Pushes, call: &Call) -> Result<RecordBatch> {
        let load = async {
            self.check_open()?;
            let mut found = self.find_pushed(pushes, &self.graph()).await?;
            let hash = self.hash_for_read(None).await?;
            let graph = self.defined().change(|graph| {
                // What somebody has defined meanwhile stays, too.
                found.retain(|one| {
                    one.wanted != Wanted::AsDependency || graph.find(&one.pushed.key).is_none()
                });
                with_fitting(graph, &mut found)
            })?;
            report(&found, &mut Versions::new(&graph, hash.truncation))
        };
        call.run(Box::pin(load)).await.map_err(|error| self.located(error))
    }

    /// The graph of definitions as they were pushed, whatever is defined here. What [`Store::load`] leaves
    /// out is left out, with a warning.
    pub async fn pushed(&self, pushes: &Pushes, call: &Call) -> Result<Snapshot> {
        let read = async {
            self.check_open()?;
            let mut found = self.find_pushed(pushes, &Graph::default()).await?;
            let hash = self.hash_for_read(None).await?;
            let graph = with_fitting(&Graph::default(), &mut found)?;
            for one in &found {
                if let Err(error) = &one.definition {
                    log::emit(Level::Warn, || {
                        format!("the pushed feature {} is left out: {error}", one.pushed.key)
                    });
                }
            }
            Ok(Snapshot::new(graph, hash.truncation))
        };
        call.run(Box::pin(read)).await.map_err(|error| self.located(error))
    }

    /// The graph in which `feature` had `version` when it was last pushed with it, and what was pushed.
    pub(super) async fn pushed_as(
        &self,
        feature: &FeatureKey,
        version: &str,
    ) -> Result<Option<(Graph, Pushed)>> {
        let sources = Sources::of(self).await?;
        let Some(pushed) = sources.of_feature_version(feature, version).await? else { return Ok(None) };
        let pushes = Pushes {
            project: pushed.project.clone(),
            project_version: pushed.project_version.clone(),
            features: vec![feature.to_string()],
        };
        let mut found = self.find_pushed(&pushes, &Graph::default()).await?;
        Ok(Some((with_fitting(&Graph::default(), &mut found)?, pushed)))
    }

    /// The definitions that are asked for, with those that they depend on and `known` does not have.
    async fn find_pushed(&self, pushes: &Pushes, known: &Graph) -> Result<Vec<Found>> {
        let features = pushes.features.iter().map(|name| FeatureKey::parse(name));
        let features = features.collect::<Result<BTreeSet<_>>>()?;
        let sources = Sources::of(self).await?;
        let project = pushes.project.as_deref();
        let (chosen, all) = match (&pushes.project_version, project) {
            (Some(version), _) => {
                let chosen = sources.of_version(project, version).await?;
                let Some(time) = chosen.iter().map(|pushed| pushed.recorded_at).max() else {
                    return Err(self.no_such_version(project, version));
                };
                (chosen, sources.at(time).await?)
            }
            (None, Some(project)) => (sources.of_project(project).await?, sources.newest().await?),
            (None, None) => (Definitions::default(), sources.newest().await?),
        };
        let everything = pushes.project_version.is_none() && project.is_none() && features.is_empty();
        let mut wanted: Vec<&Pushed> = match everything {
            true => all.iter().collect(),
            false => chosen.iter().collect(),
        };
        if let (Some(project), true) = (project, wanted.is_empty()) {
            return Err(self.no_such_project(project, &all));
        }
        for feature in &features {
            let Some(pushed) = chosen.get(feature).or_else(|| all.get(feature)) else {
                return Err(self.not_pushed(feature, &all));
            };
            wanted.push(pushed);
        }
        let asked: BTreeSet<&FeatureKey> = wanted.iter().map(|pushed| &pushed.key).collect();
        let found = all.with_dependencies(wanted, known).into_values().map(|(pushed, definition)| Found {
            pushed: pushed.clone(),
            definition,
            wanted: match (features.contains(&pushed.key), asked.contains(&pushed.key)) {
                (true, _) => Wanted::ByName,
                (false, true) => Wanted::WithOthers,
                (false, false) => Wanted::AsDependency,
            },
        });
        Ok(found.collect())
    }

    fn no_such_version(&self, project: Option<&str>, version: &str) -> Error {
        let of = project.map(|project| format!(" of the project {project}")).unwrap_or_default();
        let message = format!(
            "no store of the chain of {} has the project version {version}{of}; metaxy_store_read of \
             metaxy-system/feature_versions gives those that were pushed to a store",
            self.display()
        );
        Error::new(Status::NotFound, message).with("project_version", version)
    }

    fn no_such_project(&self, project: &str, all: &Definitions) -> Error {
        let projects = all.iter().filter_map(|pushed| pushed.project.as_deref());
        let message = format!(
            "no definition of the project {project} was pushed to {}, or to a store of its chain{}",
            self.display(),
            did_you_mean(project, projects)
        );
        Error::new(Status::NotFound, message).with("project", project)
    }

    fn not_pushed(&self, feature: &FeatureKey, all: &Definitions) -> Error {
        let message = format!(
            "no definition of the feature {feature} was pushed to {}, or to a store of its chain: push it from where it is \
             defined, or define it here{}",
            self.display(),
            did_you_mean(feature.as_str(), all.iter().map(|pushed| pushed.key.as_str()))
        );
        Error::new(Status::NotFound, message).with("feature", feature)
    }
}

/// A graph with what was found, as far as it fits; the others get the reason why not. What was asked for
/// by its name must fit.
fn with_fitting(graph: &Graph, found: &mut [Found]) -> Result<Graph> {
    let readable = found.iter().filter_map(|one| one.definition.as_ref().ok().cloned()).collect();
    let (graph, left_out) = graph.with_fitting(readable);
    for (key, error) in left_out {
        for one in found.iter_mut().filter(|one| one.pushed.key == key) {
            one.definition = Err(error.clone());
        }
    }
    let mut broken = found.iter().filter(|one| one.wanted == Wanted::ByName);
    match broken.find_map(|one| one.definition.as_ref().err()) {
        Some(error) => Err(error.clone()),
        None => Ok(graph),
    }
}

fn report(found: &[Found], versions: &mut Versions<'_>) -> Result<RecordBatch> {
    let mut feature_versions = Vec::new();
    let mut problems = Vec::new();
    for Found { pushed, definition, .. } in found {
        let version = match definition {
            Ok(_) => versions.feature_version(&pushed.key),
            Err(error) => Err(error.clone()),
        };
        problems.push(version.as_ref().err().map(|error| error.message().to_owned()));
        feature_versions.push(version.ok());
    }
    let text = |of: &dyn Fn(&Pushed) -> Option<String>| -> ArrayRef {
        Arc::new(found.iter().map(|one| of(&one.pushed)).collect::<LargeStringArray>())
    };
    let times = found.iter().map(|one| Some(one.pushed.recorded_at));
    let times = times.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("feature", text(&|pushed| Some(pushed.key.to_string()))),
        ("project", text(&|pushed| pushed.project.clone())),
        ("feature_version", Arc::new(feature_versions.into_iter().collect::<LargeStringArray>())),
        ("definition_version", text(&|pushed| pushed.definition_version.clone())),
        ("project_version", text(&|pushed| pushed.project_version.clone())),
        ("recorded_at", Arc::new(times)),
        ("store", text(&|pushed| Some(pushed.store.clone()))),
        ("problem", Arc::new(problems.into_iter().collect::<LargeStringArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(|cause| Error::new(Status::Internal, format!("the report of a load is malformed: {cause}")))
}
