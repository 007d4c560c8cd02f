//! Reading a table: some columns of some rows, as a stream.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use lance::dataset::ProjectionRequest;
use lance::dataset::scanner::{MaterializationStyle, RowAddrTreeMap};

use super::table::Table;
use crate::backend::scan::Query;
use crate::error::Result;

/// Fetching rows one by one is faster than scanning when they are less than one in this many.
const TAKE_SHARE: usize = 20;

/// The same in a bucket: what is fetched there is 64 KiB at least, so that some rows in a thousand, scattered
/// over a table, are most of it in many requests.
const TAKE_SHARE_OF_BUCKET: usize = 1000;

/// Chunks of rows that are fetched at a time.
const TAKES: usize = 4;

/// What a scan may hold in buffers of its own.
const BUFFER_BYTES: u64 = 64 << 20;

/// What a batch may take, about: of rows that are long there are few.
const BATCH_BYTES: u64 = 8 << 20;
const LEAST_ROWS: usize = 16;

/// A set of rows of one table version, by their place in its files.
#[derive(Clone, Debug, Default)]
struct RowAddresses(RowAddrTreeMap);

impl FromIterator<u64> for RowAddresses {
    fn from_iter<I: IntoIterator<Item = u64>>(addresses: I) -> Self {
        RowAddresses(addresses.into_iter().collect())
    }
}

/// A scan to be; nothing is read before [`Scan::stream`].
#[derive(Clone)]
pub struct Scan {
    table: Table,
    query: Query,
    rows: Option<RowAddresses>,
}

impl Scan {
    pub fn new(table: Table, query: Query) -> Scan {
        Scan { table, query, rows: None }
    }

    fn only(mut self, rows: RowAddresses) -> Scan {
        self.rows = Some(rows);
        self
    }

    /// Reads the rows at `addresses`, which are sorted, and no others.
    pub async fn rows(self, addresses: Vec<u64>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        if self.prefers_take(addresses.len()).await? {
            return Ok(self.take(addresses));
        }
        self.only(addresses.into_iter().collect()).stream().await
    }

    /// Whether `count` rows are better fetched one by one. What Lance takes are row numbers, which
    /// are addresses unless the table has stable ones.
    pub async fn prefers_take(&self, count: usize) -> Result<bool> {
        let stable = self.table.dataset.manifest.uses_stable_row_ids();
        let share = if self.table.is_in_bucket() { TAKE_SHARE_OF_BUCKET } else { TAKE_SHARE };
        Ok(!stable && count.saturating_mul(share) <= self.table.rows().await?)
    }

    /// Fetches the rows at `addresses` one by one, in that order.
    pub fn take(self, addresses: Vec<u64>) -> BoxStream<'static, Result<RecordBatch>> {
        let Scan { table, query: Query { columns, batch_rows, .. }, .. } = self;
        let projection = match table.dataset.schema().project(&columns) {
            Ok(projection) => Arc::new(projection),
            Err(cause) => return futures::stream::iter([Err(table.failed("read", cause))]).boxed(),
        };
        // Each take runs on one core, so that there are some even for a few rows.
        let chunk_rows = batch_rows.min(addresses.len().div_ceil(TAKES)).min(within_bytes(&table, &columns));
        let chunks: Vec<Vec<u64>> = addresses.chunks(chunk_rows.max(1)).map(<[u64]>::to_vec).collect();
        let taken = futures::stream::iter(chunks).map(move |chunk| {
            let (table, projection, damaged) = (table.clone(), projection.clone(), table.damaged());
            let take = tokio::spawn(async move {
                let rows = table.dataset.take_rows(&chunk, ProjectionRequest::Schema(projection)).await;
                rows.map_err(|cause| table.failed("read", cause))
            });
            async { take.await.map_err(|_| damaged)? }
        });
        taken.buffered(TAKES).boxed()
    }

    /// Starts reading; batches come in the order of the table's files, which is that of
    /// appending until a compaction by another program rewrites some of them.
    pub async fn stream(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Scan { table, query, rows } = self;
        let failed = |cause| table.failed("read", cause);
        let mut scanner = table.dataset.scan();
        if query.columns.is_empty() {
            scanner.empty_project().map_err(failed)?;
        } else {
            scanner.project(&query.columns).map_err(failed)?;
        }
        if query.address {
            scanner.with_row_address();
        }
        if let Some(predicate) = query.predicate {
            scanner.filter_expr(predicate);
            scanner.prefilter(true);
        }
        if let Some(RowAddresses(rows)) = rows {
            scanner.with_physical_row_addr_prefilter(rows);
            // Which rows come is known: fetching a column row by row would be slower.
            scanner.materialization_style(MaterializationStyle::AllEarly);
        }
        // Lance sees how long rows are when it has read the first batch.
        scanner.batch_size(query.batch_rows.min(within_bytes(&table, &query.columns)));
        scanner.batch_size_bytes(BATCH_BYTES);
        scanner.io_buffer_size(BUFFER_BYTES);
        scanner.scan_in_order(true);
        if let Some(limit) = query.limit {
            scanner.limit(Some(i64::try_from(limit).unwrap_or(i64::MAX)), None).map_err(failed)?;
        }
        let started = AssertUnwindSafe(scanner.try_into_stream()).catch_unwind().await;
        let stream = started.map_err(|_| table.damaged())?.map_err(failed)?;
        Ok(AssertUnwindSafe(stream)
            .catch_unwind()
            .map(move |batch| {
                batch.map_err(|_| table.damaged())?.map_err(|cause| table.failed("read", cause))
            })
            .boxed())
    }
}

/// How many rows of these columns are a batch's bytes, about.
fn within_bytes(table: &Table, columns: &[String]) -> usize {
    usize::try_from(BATCH_BYTES / table.row_bytes(columns)).unwrap_or(usize::MAX).max(LEAST_ROWS)
}
