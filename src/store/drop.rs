//! Dropping a feature: its table with all rows, versions and history.

use super::Store;
use super::context::Call;
use super::options::Options;
use crate::error::{Error, Result, Status};
use crate::feature::FeatureKey;

impl Store {
    /// Drops the table of `feature`, which need not be defined; tells whether there was one. The
    /// fallback stores keep theirs. A write that begins after this is not touched by it.
    pub async fn drop_feature(&self, feature: &str, options: &Options, call: &Call) -> Result<bool> {
        let key = FeatureKey::parse(feature)?;
        self.drop_key(&key, options, call).await.map_err(|error| self.located(error).with("feature", &key))
    }

    async fn drop_key(&self, key: &FeatureKey, options: &Options, call: &Call) -> Result<bool> {
        self.check_writable()?;
        options.check_scope("drop")?;
        if key.is_system() {
            return Err(Error::new(
                Status::Unsupported,
                format!("{key} is a table of Metaxy itself; it is not dropped as a feature"),
            ));
        }
        call.check()?;
        let table = key.table_name();
        // Once the table is locked, the drop is carried through.
        let dropped = Box::pin(self.database().drop_table(&table, || call.check())).await?;
        self.settings().forget(&table);
        Ok(dropped)
    }
}
