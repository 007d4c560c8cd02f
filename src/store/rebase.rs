//! Rows of one feature version as rows of another.

use super::Store;
use super::context::Call;
use super::read::RowStream;
use crate::error::{Error, Result, Status};

impl Store {
    /// The current rows of the version `from` of `feature`, with the provenance that they have under the version `to`,
    /// or under the current one.
    pub async fn rebase(
        &self,
        feature: &str,
        from: &str,
        to: Option<&str>,
        call: &Call,
    ) -> Result<RowStream> {
        let _ = (feature, from, to, call);
        Err(Error::new(Status::Unsupported, "not yet"))
    }
}
