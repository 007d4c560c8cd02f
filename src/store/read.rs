//! Reading a feature: its current rows, or its history, as a stream.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};

use super::Store;
use super::context::Call;
use super::current::Current;
use super::find::{Answer, Rows, Visit, visits};
use super::merge::{union, widened};
use super::runtime::Runtime;
use super::system_columns as system;
use crate::backend::Table;
use crate::error::{Error, Result, Status};
use crate::feature::FeatureKey;

/// What to read of a feature. By default: the rows of the feature's current version, of each sample
/// the latest, without those that were deleted, with all columns.
#[derive(Clone, Debug, Default)]
pub struct ReadRequest {
    /// The columns to give, in this order; all when absent.
    pub columns: Option<Vec<String>>,
    /// Conditions that every row must meet.
    pub filters: Vec<String>,
    /// Rows of this version instead of the feature's current one.
    pub feature_version: Option<String>,
    /// Rows of all versions of the feature.
    pub feature_history: bool,
    /// All rows of each sample, not only the latest.
    pub sample_history: bool,
    /// Deleted rows too.
    pub deleted: bool,
    /// Of each sample the latest row of every feature version, where rows of several versions are read.
    pub each_version: bool,
    /// With the latest row of a sample all its other rows, among those that are read: the filters
    /// choose samples by their latest rows, and not rows.
    pub whole_samples: bool,
    /// Every store of the chain that goes on at all, as if it said `fallback.missing=merge`.
    pub whole_chain: bool,
    /// Only what the store itself has, without its fallback stores.
    pub local: bool,
    /// The most rows that a batch has.
    pub batch_rows: Option<usize>,
    /// The most rows that are given.
    pub limit: Option<u64>,
}

impl Store {
    /// Reads the rows of `feature` that `request` asks for, from the first stores of the chain that have
    /// them. What is current is decided before this
    /// returns; the rows themselves come as they are asked for, from the table as it is now,
    /// whatever is written meanwhile.
    pub async fn read(&self, feature: &str, request: &ReadRequest, call: &Call) -> Result<RowStream> {
        let key = FeatureKey::parse(feature)?;
        call.run(self.read_key(&key, request))
            .await
            .map_err(|error| self.located(error).with("feature", &key))
    }

    async fn read_key(&self, key: &FeatureKey, request: &ReadRequest) -> Result<RowStream> {
        self.check_open()?;
        if !key.is_system() {
            Box::pin(self.refresh_externals()).await?;
        }
        let ask = self.ask(key, request)?;
        let Answer { shares, schemas, visits } = self.answer(&ask).await?;
        let all = match schemas.as_slice() {
            [only] => only.clone(),
            several => union(several.iter().map(AsRef::as_ref)),
        };
        let columns = projection(&all, request.columns.as_deref(), &ask.id_columns, &key.table_name())?;
        let schema = Arc::new(
            all.project(&indices(&all, &columns))
                .map_err(|cause| Error::new(Status::Internal, format!("a column is gone: {cause}")))?
                .with_metadata(HashMap::new()),
        );
        let several = schemas.len() > 1;
        let mut streams = Vec::with_capacity(shares.len());
        for share in shares {
            let present = share.table.schema();
            let mut columns: Vec<String> =
                columns.iter().filter(|name| present.column_with_name(name).is_some()).cloned().collect();
            if columns.is_empty() {
                // Rows of which only others have what is asked for are rows all the same.
                columns.extend(present.fields().iter().take(1).map(|field| field.name().clone()));
            }
            let plan =
                Plan { table: share.table, columns, batch_rows: request.batch_rows, limit: request.limit };
            let (schema, store) = (schema.clone(), share.store);
            let rows = plan.rows(share.rows);
            // Each table is read when the one before it has been.
            let rows = futures::stream::once(rows).try_flatten();
            streams.push(rows.map(move |batch| match several {
                true => widened(&batch?, &schema, &store),
                false => in_schema(&batch?, &schema),
            }));
        }
        let rows = futures::stream::iter(streams).flatten();
        let rows = match request.limit {
            Some(limit) if several => first(rows.boxed(), limit).boxed(),
            _ => rows.boxed(),
        };
        Ok(RowStream { schema, rows, visits, runtime: self.runtime().clone() })
    }
}

/// Rows that are being read. It holds all that it needs: the store may be closed before it.
pub struct RowStream {
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
    visits: Vec<Visit>,
    // Last, so that the threads outlive what runs on them.
    runtime: Runtime,
}

impl RowStream {
    pub(super) fn new(
        schema: SchemaRef,
        rows: BoxStream<'static, Result<RecordBatch>>,
        visits: Vec<Visit>,
        runtime: Runtime,
    ) -> RowStream {
        RowStream { schema, rows, visits, runtime }
    }

    /// The columns of every batch, also when there is none.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next batch, nothing at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.rows.next().await
    }

    /// The stores that were asked for these rows, and which of them serve them.
    pub fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// The same in the columns of [`visits_schema`](super::visits_schema).
    pub fn served_by(&self) -> Result<RecordBatch> {
        visits(&self.visits)
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// The batch with the columns in the order that was asked for.
fn in_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns =
        schema.fields().iter().filter_map(|field| batch.column_by_name(field.name()).cloned()).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|cause| {
        Error::new(Status::Internal, format!("the rows do not fit their schema: {cause}")).caused_by(&cause)
    })
}

/// The first rows of a stream; nothing more is asked of it after them.
fn first(
    rows: BoxStream<'static, Result<RecordBatch>>,
    limit: u64,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    futures::stream::try_unfold((rows, limit), |(mut rows, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = rows.try_next().await? else { return Ok(None) };
        let taken = batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX));
        Ok(Some((batch.slice(0, taken), (rows, left - taken as u64))))
    })
}

fn indices(schema: &Schema, columns: &[String]) -> Vec<usize> {
    columns.iter().filter_map(|name| schema.index_of(name).ok()).collect()
}

struct Plan {
    table: Table,
    columns: Vec<String>,
    batch_rows: Option<usize>,
    limit: Option<u64>,
}

impl Plan {
    async fn rows(self, rows: Rows) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let scan = self.table.scan(self.columns.clone()).batch_rows(self.batch_rows);
        match rows {
            Rows::Matching(condition) => scan.filter(condition).limit(self.limit).stream().await,
            Rows::Current(Current::All) => scan.limit(self.limit).stream().await,
            Rows::Current(Current::Some { mut addresses, known }) => {
                addresses.truncate(
                    self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
                );
                match known {
                    Some(known)
                        if self.others(&known).is_empty() || scan.prefers_take(addresses.len()).await? =>
                    {
                        Ok(self.completed(known, addresses))
                    }
                    _ => scan.rows(addresses).await,
                }
            }
        }
    }

    /// Rows of which some columns are known, with the other columns.
    fn completed(&self, known: RecordBatch, addresses: Vec<u64>) -> BoxStream<'static, Result<RecordBatch>> {
        let others = self.others(&known);
        if others.is_empty() {
            let step = self.batch_rows.unwrap_or(BATCH_ROWS);
            let rows = addresses.len();
            let slices =
                (0..rows).step_by(step).map(move |start| Ok(known.slice(start, step.min(rows - start))));
            return futures::stream::iter(slices).boxed();
        }
        let mut start = 0;
        let taken = self.table.scan(others).batch_rows(self.batch_rows).take(addresses);
        let completed = taken.map(move |batch| {
            let batch = batch?;
            let known = known.slice(start, batch.num_rows());
            start += batch.num_rows();
            let fields =
                known.schema().fields().iter().chain(batch.schema().fields()).cloned().collect::<Vec<_>>();
            let columns = known.columns().iter().chain(batch.columns()).cloned().collect();
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|cause| {
                Error::new(Status::Internal, format!("columns do not fit together: {cause}"))
            })
        });
        completed.boxed()
    }

    /// The columns that are still to be read.
    fn others(&self, known: &RecordBatch) -> Vec<String> {
        self.columns.iter().filter(|name| known.column_by_name(name).is_none()).cloned().collect()
    }
}

/// Rows per batch of rows that are known already, unless it is asked for.
const BATCH_ROWS: usize = 8192;

/// The columns that a reader may see.
pub(super) fn visible(schema: &Schema) -> Schema {
    let fields = schema
        .fields()
        .iter()
        .filter(|field| !system::is_leftover(field.name()))
        .cloned()
        .collect::<Vec<_>>();
    Schema::new(fields)
}

/// The columns to read: those asked for, or all, the id columns first as Metaxy gives them.
fn projection(
    schema: &Schema,
    asked: Option<&[String]>,
    id_columns: &[String],
    table: &str,
) -> Result<Vec<String>> {
    let visible = visible(schema);
    let names = || visible.fields().iter().map(|field| field.name().clone());
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        let ids = id_columns.iter().filter(|id| visible.column_with_name(id).is_some()).cloned();
        let others = names().filter(|name| !id_columns.contains(name));
        return Ok(ids.chain(others).collect());
    };
    for (position, name) in asked.iter().enumerate() {
        if asked.iter().take(position).any(|other| other == name) {
            return Err(Error::invalid(format!("the column {name} is asked for twice; ask once"))
                .with("column", name));
        }
        if visible.column_with_name(name).is_none() {
            return Err(Error::invalid(format!(
                "the table {table} has no column {name}; it has: {}",
                names().collect::<Vec<_>>().join(", ")
            ))
            .with("column", name));
        }
    }
    Ok(asked.to_vec())
}
