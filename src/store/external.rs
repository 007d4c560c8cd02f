//! External features: what a program says of features of others gives way to what those have pushed.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::Store;
use super::pushed::{Definitions, Sources};
use crate::error::Result;
use crate::feature::{FeatureDefinition, FeatureKey, Graph, Truncation, Versions};
use crate::log::{self, Level};

/// What was found of external features, nothing where what is defined counts: each is looked for once
/// for as long as a store is open, so that its rows of that time have one version.
#[derive(Default)]
pub struct Externals(Mutex<Found>);

type Found = HashMap<FeatureKey, Option<FeatureDefinition>>;

impl Store {
    /// Replaces external features by their newest pushed definitions, with what those depend on, and gives
    /// the features as they are then. They stay external: they are of another project, and are not pushed
    /// again. One that does not fit what is defined here is left out.
    ///
    /// Every call that names versions comes through here first; nothing is read unless there are external
    /// features that are new.
    pub async fn refresh_externals(&self) -> Result<Arc<Graph>> {
        let graph = self.graph();
        if externals(&graph).next().is_none() {
            return Ok(graph);
        }
        let mut known = self.externals().0.lock().await;
        let graph = self.graph();
        let new: Vec<&FeatureKey> = externals(&graph).filter(|key| !known.contains_key(key)).collect();
        if new.is_empty() {
            // Unless somebody has defined one of them again.
            if replaced(&graph, known.values().flatten()).next().is_none() {
                return Ok(graph);
            }
            return self.apply(&mut known, &mut Found::new());
        }
        let all = Sources::of(self).await?.newest().await?;
        let mut found = found(&new, &all, &graph);
        // A store that could not be asked is asked by the next call.
        known.extend(found.extract_if(|key, _| all.is_final(key)));
        let after = self.apply(&mut known, &mut found)?;
        let hash = self.hash_for_read(None).await?;
        self.warn_of_externals(&new, &graph, &after, &all, hash.truncation);
        Ok(after)
    }

    /// Replaces external features by what is `known` of them, or was `found` for now. What does not fit is
    /// forgotten: what is defined of it counts.
    fn apply(&self, known: &mut Found, found: &mut Found) -> Result<Arc<Graph>> {
        let mut left_out = Vec::new();
        let graph = self.defined().change(|graph| {
            // What somebody has defined of his own meanwhile stays.
            let definitions = replaced(graph, known.values().chain(found.values()).flatten());
            let (graph, others) = graph.with_fitting(definitions.cloned().collect());
            left_out = others;
            Ok(graph)
        })?;
        for (key, error) in left_out {
            log::emit(Level::Warn, || {
                format!(
                    "the definition of {key} that was pushed to {}, or to a store of its chain, does not fit what is defined \
                     here, which counts: {error}",
                    self.display()
                )
            });
            for definitions in [&mut *known, &mut *found] {
                if let Some(definition) = definitions.get_mut(&key) {
                    *definition = None;
                }
            }
        }
        Ok(graph)
    }

    /// Tells of features that are not what they were said to be, or that nobody has pushed.
    fn warn_of_externals(
        &self,
        externals: &[&FeatureKey],
        before: &Graph,
        after: &Graph,
        all: &Definitions,
        truncation: Truncation,
    ) {
        let (mut said, mut found) = (Versions::new(before, truncation), Versions::new(after, truncation));
        for key in externals {
            if all.get(key).is_none() {
                if all.is_final(key) {
                    log::emit(Level::Warn, || {
                        format!(
                            "the external feature {key} was not pushed to {}, or to a store of its chain; what is defined of \
                             it counts",
                            self.display()
                        )
                    });
                }
                continue;
            }
            let (Ok(said), Ok(found)) = (said.feature_version(key), found.feature_version(key)) else {
                continue;
            };
            if said != found {
                log::emit(Level::Warn, || {
                    format!(
                        "the external feature {key} was defined with the version {said}, but {found} was pushed to {}, or to \
                         a store of its chain, and counts",
                        self.display()
                    )
                });
            }
        }
    }
}

fn externals(graph: &Graph) -> impl Iterator<Item = &FeatureKey> {
    graph.features().filter(|definition| definition.external).map(FeatureDefinition::key)
}

/// What was pushed of `externals`, and of what that depends on.
fn found(externals: &[&FeatureKey], all: &Definitions, graph: &Graph) -> Found {
    let mut found: Found = externals.iter().map(|key| ((*key).clone(), None)).collect();
    let wanted = externals.iter().filter_map(|key| all.get(key));
    for (key, (_, definition)) in all.with_dependencies(wanted, graph) {
        let definition = match definition {
            Ok(definition) => Some(FeatureDefinition { external: true, ..definition }),
            Err(error) => {
                log::emit(Level::Warn, || error.message().to_owned());
                None
            }
        };
        found.insert(key.clone(), definition);
    }
    found
}

/// Those of `definitions` that a graph does not have, or has otherwise from somebody's say.
fn replaced<'d>(
    graph: &Graph,
    definitions: impl Iterator<Item = &'d FeatureDefinition>,
) -> impl Iterator<Item = &'d FeatureDefinition> {
    definitions.filter(|definition| {
        graph.find(definition.key()).is_none_or(|now| now.external && now != *definition)
    })
}
