//! Writing several features in one call: all rows are staged before any of them shows, and parents
//! show before their children.
//!
//! Each feature is committed by itself, since a commit of LanceDB is about one table. What a failure or
//! a crash among the commits leaves is therefore the first so many features of that order, each with
//! all its rows; no child is ever there without the parents that were written with it.

use std::collections::HashSet;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::Store;
use super::context::Call;
use super::options::Options;
use super::write::{Prepared, Writer};
use crate::error::{Error, Result, Status};
use crate::feature::FeatureKey;

/// A write to several features in progress. Dropping it before [`Writers::commit`] gives it up.
pub struct Writers {
    store: Store,
    /// Parents before children.
    parts: Vec<Part>,
    pushed: u64,
}

struct Part {
    feature: FeatureKey,
    rows: Rows,
}

enum Rows {
    Coming(Writer),
    Staged(Prepared),
    /// The write has failed.
    Gone,
}

impl Store {
    /// Starts a write to several features, each with rows of its own columns. What the schemas tell is
    /// checked here.
    pub async fn writers(
        &self,
        features: &[(String, SchemaRef)],
        options: &Options,
        call: &Call,
    ) -> Result<Writers> {
        self.check_writable()?;
        options.check_scope("write").map_err(|error| self.located(error))?;
        let keys =
            features.iter().map(|(feature, _)| FeatureKey::parse(feature)).collect::<Result<Vec<_>>>()?;
        check_distinct(&keys).map_err(|error| self.located(error))?;
        let graph = call.run(Box::pin(self.refresh_externals())).await;
        let graph = graph.map_err(|error| self.located(error))?;
        let quietly = call.quietly();
        let mut writers = Writers { store: self.clone(), parts: Vec::with_capacity(keys.len()), pushed: 0 };
        for key in graph.parents_first(&keys) {
            let given = keys.iter().zip(features).find(|(given, _)| *given == key);
            let Some((_, (feature, schema))) = given else { continue };
            let writer = match self.writable_feature(feature) {
                Ok(key) => Box::pin(self.writer_in(&graph, &key, schema.clone(), options, &quietly)).await,
                Err(error) => Err(error),
            };
            match writer {
                Ok(writer) => {
                    writers.parts.push(Part { feature: key.clone(), rows: Rows::Coming(writer) });
                }
                Err(error) => {
                    writers.abort().await;
                    return Err(error);
                }
            }
        }
        Ok(writers)
    }
}

impl Writers {
    /// Adds rows to one of the features, as [`Writer::push`] does.
    pub async fn push(&mut self, feature: &str, batch: RecordBatch, call: &Call) -> Result<()> {
        let rows = batch.num_rows() as u64;
        let part = self.part(feature)?;
        match &mut part.rows {
            Rows::Coming(writer) => writer.push(batch, &call.quietly()).await?,
            Rows::Staged(_) | Rows::Gone => return Err(ended(&part.feature)),
        }
        self.pushed += rows;
        call.progress(self.pushed, None);
        Ok(())
    }

    /// Ends the rows of one of the features and waits until they are staged.
    pub async fn stage(&mut self, feature: &str, call: &Call) -> Result<()> {
        self.part(feature)?.stage(call).await
    }

    /// Makes the rows of all features visible, parents before children, once all of them are staged. An
    /// error that has no detail `written` means that nothing was written; else the detail names the
    /// features that were.
    pub async fn commit(mut self, call: &Call) -> Result<()> {
        let quietly = call.quietly();
        for place in 0..self.parts.len() {
            let staged = match self.parts.get_mut(place) {
                Some(part) => part.stage(&quietly).await,
                None => Ok(()),
            };
            if let Err(error) = staged {
                self.abort().await;
                return Err(error);
            }
        }
        let mut written: Vec<FeatureKey> = Vec::new();
        let mut cares = Vec::new();
        let mut parts = std::mem::take(&mut self.parts).into_iter();
        for part in parts.by_ref() {
            let Rows::Staged(prepared) = part.rows else { return Err(ended(&part.feature)) };
            match prepared.publish_only(&quietly).await {
                Ok(due) => {
                    // Nothing takes time before all features are there.
                    cares.push(due);
                    written.push(part.feature);
                }
                Err(error) => {
                    self.parts = parts.collect();
                    self.abort().await;
                    return Err(after(&written, &part.feature, error));
                }
            }
        }
        for due in cares {
            due.run(&quietly).await;
        }
        call.progress(self.pushed, Some(self.pushed));
        Ok(())
    }

    /// Gives the write up and waits until what it had staged is gone.
    pub async fn abort(mut self) {
        give_up(self.store.clone(), std::mem::take(&mut self.parts)).await;
    }

    fn part(&mut self, feature: &str) -> Result<&mut Part> {
        let found = self.parts.iter_mut().find(|part| part.feature.as_str() == feature);
        found.ok_or_else(|| {
            Error::invalid(format!("the feature {feature} is not one of those of this write"))
                .with("feature", feature)
        })
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        if let (false, Ok(threads)) = (parts.is_empty(), self.store.runtime().handle()) {
            threads.spawn(give_up(self.store.clone(), parts));
        }
    }
}

async fn give_up(store: Store, parts: Vec<Part>) {
    let tables: Vec<String> = parts.iter().map(|part| part.feature.table_name()).collect();
    for part in parts {
        match part.rows {
            Rows::Coming(writer) => writer.abort().await,
            Rows::Staged(prepared) => prepared.discard().await,
            Rows::Gone => {}
        }
    }
    // No directory goes while others are staging, which the last of these were until now.
    for table in tables {
        store.database().remove_empty_directories(&table);
    }
}

impl Part {
    async fn stage(&mut self, call: &Call) -> Result<()> {
        match std::mem::replace(&mut self.rows, Rows::Gone) {
            Rows::Coming(writer) => {
                self.rows = Rows::Staged(writer.stage(call).await?);
                Ok(())
            }
            Rows::Staged(prepared) => {
                self.rows = Rows::Staged(prepared);
                Ok(())
            }
            Rows::Gone => Err(ended(&self.feature)),
        }
    }
}

fn ended(feature: &FeatureKey) -> Error {
    Error::new(Status::InvalidState, format!("the rows of {feature} have ended already; start a new write"))
        .with("feature", feature)
}

fn check_distinct(keys: &[FeatureKey]) -> Result<()> {
    let mut seen = HashSet::new();
    match keys.iter().find(|key| !seen.insert(*key)) {
        None => Ok(()),
        Some(twice) => Err(Error::invalid(format!(
            "the feature {twice} is given twice; give all its rows in one stream"
        ))
        .with("feature", twice)),
    }
}

/// `error`, with which the commit of `feature` has failed when those of `written` were made.
fn after(written: &[FeatureKey], feature: &FeatureKey, error: Error) -> Error {
    if written.is_empty() {
        return error;
    }
    let written = written.iter().map(FeatureKey::as_str).collect::<Vec<_>>().join(",");
    error
        .reworded(|reason| {
            format!(
                "the write came as far as {feature} ({reason}); before it, the rows of {written} were written"
            )
        })
        .with("written", written)
}
