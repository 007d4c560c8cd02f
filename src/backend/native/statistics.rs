//! What a table is made of, as its manifest tells it: no file of rows is read.

use futures::{StreamExt, TryStreamExt};
use lance_table::format::DataFile;

use super::table::Table;
use crate::backend::work::Statistics;
use crate::error::Result;

/// Files whose size the manifest does not tell are asked for it so many at a time.
const SIZES: usize = 16;

impl Table {
    pub async fn statistics(&self) -> Result<Statistics> {
        let manifest = self.dataset.manifest();
        let committed_at = i64::try_from(manifest.timestamp_nanos / 1000).ok().filter(|time| *time > 0);
        Ok(Statistics {
            version: manifest.version,
            committed_at,
            rows: self.rows().await? as u64,
            fragments: Some(manifest.fragments.len() as u64),
            bytes: self.bytes().await?,
        })
    }

    async fn bytes(&self) -> Result<Option<u64>> {
        let fragments = self.dataset.fragments();
        let files = fragments.iter().flat_map(|fragment| fragment.referenced_lance_files());
        futures::stream::iter(files)
            .map(|file| self.size(file))
            .buffered(SIZES)
            .try_fold(Some(0), |sum, size| async move { Ok(sum.zip(size).map(|(sum, size)| sum + size)) })
            .await
    }

    async fn size(&self, file: &DataFile) -> Result<Option<u64>> {
        if let Some(size) = file.file_size_bytes.get() {
            return Ok(Some(size.get()));
        }
        if file.base_id.is_some() {
            return Ok(None);
        }
        // Old versions of Lance did not note it.
        let failed = |cause| self.failed("measure a file of", cause);
        let store = self.dataset.object_store(None).await.map_err(failed)?;
        let path = self.dataset.data_dir().join(file.path.as_str());
        store.size(&path).await.map(Some).map_err(failed)
    }
}
