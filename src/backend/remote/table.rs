//! One version of one table of a server.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Expr;
use futures::TryStreamExt;
use lancedb::query::{QueryExecutionOptions, QueryRequest};
use lancedb::table::{AnyQuery, BaseTable, Filter};
use tokio::sync::OnceCell;

use super::ask::ask;
use super::failure::Peer;
use super::sql::sql;
use crate::backend::work::Statistics;
use crate::error::{Error, Result};

/// A table as it was when it was opened: every request about it names its version.
#[derive(Clone)]
pub struct Table {
    name: Arc<str>,
    peer: Arc<Peer>,
    /// LanceDB's handle, which stays at the version.
    snapshot: Arc<dyn BaseTable>,
    version: u64,
    schema: SchemaRef,
    rows: Arc<OnceCell<usize>>,
}

impl Table {
    pub(super) fn new(
        name: &str,
        peer: Arc<Peer>,
        snapshot: Arc<dyn BaseTable>,
        version: u64,
        schema: SchemaRef,
    ) -> Table {
        Table { name: name.into(), peer, snapshot, version, schema, rows: Arc::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that the protocol tells: a table that was dropped and made again has this in common with the
    /// former one only if it has as many versions, the same columns, and the same metadata.
    pub fn identity(&self) -> (u64, u64, u128) {
        let mut hash = DefaultHasher::new();
        let mut metadata: Vec<_> = self.schema.metadata().iter().collect();
        metadata.sort_unstable();
        (metadata, self.schema.fields()).hash(&mut hash);
        (self.version, hash.finish(), 0)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The number of rows; asked once.
    pub async fn rows(&self) -> Result<usize> {
        self.rows.get_or_try_init(|| self.count(None)).await.copied()
    }

    /// What the server tells; when the version was committed, it does not.
    pub async fn statistics(&self) -> Result<Statistics> {
        let rows = self.rows().await? as u64;
        // Not every server has them.
        let told = ask(|| self.snapshot.stats()).await.ok();
        let bytes = told.as_ref().map(|told| told.total_bytes as u64).filter(|bytes| *bytes > 0);
        let fragments = told.map(|told| told.fragment_stats.num_fragments as u64);
        Ok(Statistics { version: self.version, committed_at: None, rows, fragments, bytes })
    }

    /// How many rows meet `condition`.
    pub(super) async fn count(&self, condition: Option<&Expr>) -> Result<usize> {
        let failed = |cause| self.failed("count the rows of", cause);
        let condition = match condition {
            None => None,
            Some(condition) => match sql(condition).map_err(failed)? {
                None => return Ok(0),
                condition => condition,
            },
        };
        ask(|| self.snapshot.count_rows(condition.clone().map(Filter::Sql))).await.map_err(failed)
    }

    /// The answer to one request.
    pub(super) async fn query(&self, request: QueryRequest) -> Result<Vec<RecordBatch>> {
        let query = AnyQuery::Query(request);
        let answer = ask(|| async {
            let rows = self.snapshot.query(&query, QueryExecutionOptions::default()).await?;
            Ok(rows.try_collect().await?)
        });
        answer.await.map_err(|cause| self.failed("read", cause))
    }

    pub(super) fn failed(&self, doing: &str, cause: lancedb::Error) -> Error {
        self.peer.failed(doing, &self.name, cause)
    }

    /// An error about the table, where it is.
    pub(super) fn error(&self, error: Error) -> Error {
        error.with("store", self.peer.display()).with("table", &self.name)
    }

    pub(super) fn display(&self) -> &str {
        self.peer.display()
    }
}
