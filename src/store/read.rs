//! Reading a feature: its current rows, or its history, as a stream.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, lit};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;

use super::Store;
use super::context::Call;
use super::current::{Current, Selection};
use super::filter::Filter;
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
    /// The most rows that a batch has.
    pub batch_rows: Option<usize>,
    /// The most rows that are given.
    pub limit: Option<u64>,
}

impl Store {
    /// Reads the rows of `feature` that `request` asks for. What is current is decided before this
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
        if request.batch_rows == Some(0) {
            return Err(Error::invalid("a batch cannot have 0 rows; leave batch_rows out for the default"));
        }
        let filters = request.filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>>>()?;
        // Metaxy keeps no history of its own tables: each row counts.
        let every_row = request.sample_history || key.is_system();
        let id_columns = if key.is_system() || (every_row && request.feature_history) {
            Vec::new()
        } else {
            self.graph().get(key)?.spec.id_columns.clone()
        };
        let Some(table) = self.database().open(&key.table_name()).await? else {
            return Err(self.not_found(key));
        };
        let schema = table.schema();
        for filter in &filters {
            filter.to_expr(&visible(&schema))?;
        }
        let version = self.wanted_version(key, request, &table).await?;
        let columns = projection(&schema, request.columns.as_deref(), &id_columns, &table)?;
        let plan = Plan { table, columns, batch_rows: request.batch_rows, limit: request.limit };
        if every_row {
            let undeleted = (!request.deleted && !key.is_system()).then_some(system::DELETED_AT);
            return self.stream(plan.every_row(version, undeleted, &filters).await?, plan);
        }
        let (on_ids, on_latest): (Vec<_>, Vec<_>) = filters
            .into_iter()
            .flat_map(Filter::split)
            .partition(|filter| filter.columns().iter().all(|name| id_columns.iter().any(|id| id == name)));
        let selection = Selection {
            id_columns,
            feature_version: version,
            deleted: request.deleted,
            on_ids: all_of(on_ids.iter().map(|filter| filter.to_expr(&schema)).collect::<Result<Vec<_>>>()?),
            on_latest,
        };
        let current = selection.find(&plan.table).await?;
        self.stream(plan.rows(current).await?, plan)
    }

    /// The feature version whose rows are read; none when all are.
    async fn wanted_version(
        &self,
        key: &FeatureKey,
        request: &ReadRequest,
        table: &Table,
    ) -> Result<Option<String>> {
        match &request.feature_version {
            Some(version) => Ok(Some(version.clone())),
            None if request.feature_history || key.is_system() => Ok(None),
            None => {
                let hash = self.settings().resolve(self.database(), Some(table)).await?;
                Ok(Some(self.feature_version(key, hash.truncation)?))
            }
        }
    }

    fn not_found(&self, key: &FeatureKey) -> Error {
        Error::new(
            Status::NotFound,
            format!(
                "the feature {key} has no rows in {}: there is no table {}; write it first, or look for it in another store",
                self.display(),
                key.table_name()
            ),
        )
    }

    fn stream(&self, rows: BoxStream<'static, Result<RecordBatch>>, plan: Plan) -> Result<RowStream> {
        let schema = Arc::new(Schema::new(
            plan.columns
                .iter()
                .map(|name| plan.table.schema().field_with_name(name).cloned())
                .collect::<std::result::Result<Vec<Field>, _>>()
                .map_err(|cause| Error::new(Status::Internal, format!("a column is gone: {cause}")))?,
        ));
        Ok(RowStream { schema, rows, runtime: self.runtime().clone() })
    }
}

/// Rows that are being read. It holds all that it needs: the store may be closed before it.
pub struct RowStream {
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
    // Last, so that the threads outlive what runs on them.
    runtime: Runtime,
}

impl RowStream {
    /// The columns of every batch, also when there is none.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next batch, nothing at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        let batch = self.rows.next().await?;
        Some(batch.and_then(|batch| self.in_schema(&batch)))
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The batch with the columns in the order that was asked for.
    fn in_schema(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .schema
            .fields()
            .iter()
            .filter_map(|field| batch.column_by_name(field.name()).cloned())
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|cause| {
            Error::new(Status::Internal, format!("the rows do not fit their schema: {cause}"))
                .caused_by(&cause)
        })
    }
}

struct Plan {
    table: Table,
    columns: Vec<String>,
    batch_rows: Option<usize>,
    limit: Option<u64>,
}

impl Plan {
    /// All rows that meet the conditions, without asking which are the latest.
    async fn every_row(
        &self,
        version: Option<String>,
        undeleted: Option<&str>,
        filters: &[Filter],
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema = self.table.schema();
        let mut conditions =
            filters.iter().map(|filter| filter.to_expr(&schema)).collect::<Result<Vec<_>>>()?;
        if let Some(version) = version {
            conditions.push(column_is(&schema, system::FEATURE_VERSION, version));
        }
        if let Some(column) = undeleted.filter(|name| schema.column_with_name(name).is_some()) {
            conditions.push(Expr::Column(Column::from_name(column)).is_null());
        }
        self.table
            .scan(self.columns.clone())
            .filter(all_of(conditions))
            .batch_rows(self.batch_rows)
            .limit(self.limit)
            .stream()
            .await
    }

    async fn rows(&self, current: Current) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let scan = self.table.scan(self.columns.clone()).batch_rows(self.batch_rows);
        match current {
            Current::All => scan.limit(self.limit).stream().await,
            Current::Some { mut addresses, known } => {
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

fn all_of(conditions: Vec<Expr>) -> Option<Expr> {
    conditions.into_iter().reduce(Expr::and)
}

fn column_is(schema: &Schema, column: &str, value: String) -> Expr {
    let value = match schema.field_with_name(column).map(Field::data_type) {
        Ok(arrow::datatypes::DataType::LargeUtf8) => ScalarValue::LargeUtf8(Some(value)),
        _ => ScalarValue::Utf8(Some(value)),
    };
    Expr::Column(Column::from_name(column)).eq(lit(value))
}

/// The columns that a reader may see.
fn visible(schema: &Schema) -> Schema {
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
    table: &Table,
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
                "the table {} has no column {name}; it has: {}",
                table.name(),
                names().collect::<Vec<_>>().join(", ")
            ))
            .with("column", name));
        }
    }
    Ok(asked.to_vec())
}
