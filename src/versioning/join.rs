//! Joining and sorting streams, on disk where memory does not suffice: DataFusion's work, asked for here.

use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, JoinType, when};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::memory::{Memory, failed};
use crate::error::{Error, Result, Status};

/// A stream to be joined with others. The names of its columns are its own.
pub struct Side {
    pub schema: SchemaRef,
    pub rows: BoxStream<'static, Result<RecordBatch>>,
    /// The columns whose values must be equal, and not null, in the order in which the other sides have theirs.
    pub keys: Vec<String>,
    /// Whether rows of the others stay that have none here.
    pub optional: bool,
    /// How much there is of it, in bytes.
    pub size: u64,
}

/// The names of the columns that [`join`] adds, with the keys of each row.
pub fn joined_key(position: usize) -> String {
    format!("key{position}")
}

/// The columns of each side after each other, then the keys. Sides that are not optional come first, by inner joins, then the
/// others, by left joins; where all are optional, a row of any of them is a row of the result.
pub async fn join(memory: &Memory, sides: Vec<Side>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let mut columns: Vec<Expr> = Vec::new();
    for side in &sides {
        columns.extend(side.schema.fields().iter().map(|field| column(field.name())));
    }
    let (optional, mut ordered): (Vec<Side>, Vec<Side>) = sides.into_iter().partition(|side| side.optional);
    let kind = if ordered.is_empty() { JoinType::Full } else { JoinType::Left };
    let required = ordered.len();
    ordered.extend(optional);
    let session = session(memory, ordered.iter().map(|side| side.size).sum());
    let mut sides = ordered.into_iter().enumerate();
    let Some((_, first)) = sides.next() else {
        return Ok(futures::stream::empty().boxed());
    };
    let keys: Vec<String> = (0..first.keys.len()).map(joined_key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut frame = with_keys(&session, first, &keys)?;
    for (position, side) in sides {
        let kind = if position < required { JoinType::Inner } else { kind };
        let of_side: Vec<String> = side.keys.clone();
        let names: Vec<&str> = of_side.iter().map(String::as_str).collect();
        let right = table(&session, side.schema, side.rows)?;
        let mut all: Vec<Expr> = frame
            .schema()
            .fields()
            .iter()
            .map(|field| field.name())
            .filter(|name| !keys.contains(&name.as_str()))
            .map(|name| column(name))
            .collect();
        all.extend(right.schema().fields().iter().map(|field| column(field.name())));
        frame = frame.join(right, kind, &keys, &names, None).map_err(|error| failed(&error))?;
        for (key, other) in keys.iter().zip(&names) {
            let either = match kind {
                JoinType::Full => when(column(key).is_null(), column(other))
                    .otherwise(column(key))
                    .map_err(|error| failed(&error))?
                    .alias(*key),
                _ => column(key),
            };
            all.push(either);
        }
        frame = frame.select(all).map_err(|error| failed(&error))?;
    }
    columns.extend(keys.iter().map(|key| column(key)));
    execute(frame.select(columns).map_err(|error| failed(&error))?).await
}

/// The rows, each with that of every side to which its column points: `on` names the column, and the side has one
/// whose values are equal. Columns that are null point to nothing.
pub async fn attach(
    memory: &Memory,
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
    on: Vec<(String, Side)>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let session = session(memory, on.iter().map(|(_, side)| side.size).sum());
    let mut frame = table(&session, schema, rows)?;
    for (name, side) in on {
        let keys: Vec<&str> = side.keys.iter().map(String::as_str).collect();
        let kind = if side.optional { JoinType::Left } else { JoinType::Inner };
        let right = table(&session, side.schema, side.rows)?;
        frame = frame.join(right, kind, &[&name], &keys, None).map_err(|error| failed(&error))?;
    }
    execute(frame).await
}

/// The rows in ascending order of the columns `by`, null before everything.
pub async fn sorted(
    memory: &Memory,
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
    by: &[String],
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let session = memory.session();
    let frame = table(&session, schema, rows)?;
    let order = by.iter().map(|name| column(name).sort(true, true)).collect();
    execute(frame.sort(order).map_err(|error| failed(&error))?).await
}

/// A hash join holds one of its sides; what may not fit is sorted first, and merged.
fn session(memory: &Memory, size: u64) -> SessionContext {
    let session = memory.session();
    let state = session.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options.optimizer.prefer_hash_join = size < memory.bytes() as u64 / 4;
    if !options.optimizer.prefer_hash_join {
        // Of one partition DataFusion makes a hash join in any case.
        options.execution.target_partitions = options.execution.target_partitions.max(2);
    }
    drop(state);
    session
}

async fn execute(frame: DataFrame) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let stream = Box::pin(frame.execute_stream()).await.map_err(|error| failed(&error))?;
    Ok(stream.map_err(|error| failed(&error)).boxed())
}

/// A stream with its keys once more, by the names that the result has for them.
fn with_keys(session: &SessionContext, side: Side, keys: &[&str]) -> Result<DataFrame> {
    let mut columns: Vec<Expr> = side.schema.fields().iter().map(|field| column(field.name())).collect();
    columns.extend(side.keys.iter().zip(keys).map(|(own, key)| column(own).alias(*key)));
    table(session, side.schema, side.rows)?.select(columns).map_err(|error| failed(&error))
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn table(
    session: &SessionContext,
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
) -> Result<DataFrame> {
    let once = Once { schema: schema.clone(), rows: Mutex::new(Some(rows)) };
    let table = StreamingTable::try_new(schema, vec![Arc::new(once)]).map_err(|error| failed(&error))?;
    session.read_table(Arc::new(table)).map_err(|error| failed(&error))
}

/// A stream that is read once.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<BoxStream<'static, Result<RecordBatch>>>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> datafusion::execution::SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let rows = rows.unwrap_or_else(|| {
            let again = Error::new(Status::Internal, "a stream was asked for twice");
            futures::stream::iter([Err(again)]).boxed()
        });
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}
