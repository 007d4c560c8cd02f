//! Whether a table is there, without opening it.

use std::path::Path;

use futures::TryStreamExt;

use super::database::Database;
use super::manifests::{VERSIONS, version_of};
use crate::backend::failure::from_lance;
use crate::error::Result;

impl Database {
    /// Whether `table` has a version. A directory alone is no table: writers that have not committed
    /// yet make one too. That the files are sound is not said.
    pub async fn has(&self, table: &str) -> Result<bool> {
        if self.is_bucket() {
            return Ok(self.open_newest(table).await?.is_some());
        }
        let storage = self.storage().await?;
        let versions = storage.root.clone().join(format!("{table}.lance")).join(VERSIONS);
        let mut files = storage.store.inner.list(Some(&versions));
        loop {
            let file = files.try_next().await.map_err(|cause| {
                from_lance(cause.into(), || {
                    format!("cannot look for the table {table} of {}", self.display())
                })
                .with("store", self.display())
                .with("table", table)
            })?;
            match file {
                None => return Ok(false),
                Some(file) if version_of(Path::new(file.location.as_ref())).is_some() => return Ok(true),
                Some(_) => {}
            }
        }
    }
}
