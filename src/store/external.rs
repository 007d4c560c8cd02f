//! External features: what a program says of features of others gives way to what those have pushed.

use std::collections::HashSet;

use tokio::sync::Mutex;

use super::Store;
use super::pushed::Sources;
use crate::error::Result;
use crate::feature::{FeatureDefinition, FeatureKey, Graph, Truncation, Versions};
use crate::log::{self, Level};

/// The external features whose definitions were looked for: each once for as long as a store is open.
#[derive(Default)]
pub struct Externals(Mutex<HashSet<FeatureKey>>);

impl Store {
    /// Replaces external features by their newest pushed definitions, with what those depend on, unless
    /// that was done before. They stay external: they are of another project, and are not pushed again.
    ///
    /// Every call that names versions comes through here first; nothing is read unless there are external
    /// features that are new.
    pub async fn refresh_externals(&self) -> Result<()> {
        if !self.graph().features().any(|definition| definition.external) {
            return Ok(());
        }
        let mut asked = self.externals().0.lock().await;
        let graph = self.graph();
        let externals: Vec<&FeatureKey> = graph
            .features()
            .filter(|definition| definition.external && !asked.contains(definition.key()))
            .map(FeatureDefinition::key)
            .collect();
        if externals.is_empty() {
            return Ok(());
        }
        let all = Sources::of(self).await?.newest().await?;
        let wanted = externals.iter().filter_map(|key| all.get(key));
        let mut definitions = Vec::new();
        for (_, (_, definition)) in all.with_dependencies(wanted, &graph) {
            match definition {
                Ok(definition) => definitions.push(FeatureDefinition { external: true, ..definition }),
                Err(error) => log::emit(Level::Warn, || error.message().to_owned()),
            }
        }
        let found: Vec<FeatureKey> = definitions.iter().map(|definition| definition.key().clone()).collect();
        let hash = self.hash_for_read(None).await?;
        self.defined().change(|graph| {
            // What somebody has defined of his own meanwhile stays.
            let ours = |key: &FeatureKey| graph.find(key).is_some_and(|definition| !definition.external);
            graph.with(definitions.into_iter().filter(|definition| !ours(definition.key())))
        })?;
        asked.extend(externals.iter().map(|key| (*key).clone()).chain(found));
        self.warn_of_externals(
            &externals,
            &graph,
            &self.graph(),
            |key| all.get(key).is_some(),
            hash.truncation,
        );
        Ok(())
    }

    /// Tells of features that are not what they were said to be, or that nobody has pushed.
    fn warn_of_externals(
        &self,
        externals: &[&FeatureKey],
        before: &Graph,
        after: &Graph,
        is_pushed: impl Fn(&FeatureKey) -> bool,
        truncation: Truncation,
    ) {
        let (mut said, mut found) = (Versions::new(before, truncation), Versions::new(after, truncation));
        for key in externals {
            if !is_pushed(key) {
                log::emit(Level::Warn, || {
                    format!(
                        "the external feature {key} was not pushed to {}, or to a store of its chain; what is defined of it \
                         counts",
                        self.display()
                    )
                });
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
