//! Reading a table: some columns of some rows, as a stream.

use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::Expr;
use futures::stream::BoxStream;

use super::table::Table;
use super::{native, remote};
use crate::error::Result;

/// Rows per batch that a scan gives when it is not told. LanceDB's own default of 1024 makes scans
/// ten times slower.
const BATCH_ROWS: usize = 8192;

/// What a scan reads.
#[derive(Clone)]
pub struct Query {
    pub columns: Vec<String>,
    pub predicate: Option<Expr>,
    pub batch_rows: usize,
    /// Whether the rows come with their addresses.
    pub address: bool,
    pub limit: Option<u64>,
}

/// A scan to be; nothing is read before [`Scan::stream`].
#[derive(Clone)]
pub struct Scan {
    table: Table,
    query: Query,
}

impl Scan {
    /// The column that [`Scan::with_address`] adds: the row's place in the table, by which rows of one
    /// version are told apart.
    pub const ADDRESS: &'static str = lance_core::ROW_ADDR;

    pub(super) fn new(table: Table, columns: Vec<String>) -> Scan {
        let query = Query { columns, predicate: None, batch_rows: BATCH_ROWS, address: false, limit: None };
        Scan { table, query }
    }

    #[must_use]
    pub fn filter(mut self, predicate: Option<Expr>) -> Scan {
        self.query.predicate = predicate;
        self
    }

    #[must_use]
    pub fn batch_rows(mut self, rows: Option<usize>) -> Scan {
        self.query.batch_rows = rows.unwrap_or(BATCH_ROWS);
        self
    }

    #[must_use]
    pub fn with_address(mut self) -> Scan {
        self.query.address = true;
        self
    }

    #[must_use]
    pub fn limit(mut self, rows: Option<u64>) -> Scan {
        self.query.limit = rows;
        self
    }

    /// Starts reading; batches come in the order of the table, which is that of appending until a
    /// compaction by another program rewrites some of it.
    pub async fn stream(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        match self.table {
            Table::Native(table) => native::Scan::new(table, self.query).stream().await,
            Table::Remote(table) => remote::Scan::new(table, self.query).stream().await,
        }
    }

    /// Reads the rows at `addresses`, which are sorted, and no others.
    pub async fn rows(self, addresses: Vec<u64>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        match self.table {
            Table::Native(table) => native::Scan::new(table, self.query).rows(addresses).await,
            Table::Remote(table) => remote::Scan::new(table, self.query).rows(addresses).await,
        }
    }

    /// Whether `count` rows are better fetched one by one.
    pub async fn prefers_take(&self, count: usize) -> Result<bool> {
        match &self.table {
            Table::Native(table) => {
                native::Scan::new(table.clone(), self.query.clone()).prefers_take(count).await
            }
            Table::Remote(table) => {
                remote::Scan::new(table.clone(), self.query.clone()).prefers_take(count).await
            }
        }
    }

    /// Fetches the rows at `addresses` one by one, in that order.
    pub fn take(self, addresses: Vec<u64>) -> BoxStream<'static, Result<RecordBatch>> {
        match self.table {
            Table::Native(table) => native::Scan::new(table, self.query).take(addresses),
            Table::Remote(table) => remote::Scan::new(table, self.query).take(addresses),
        }
    }
}
