//! Reading a table of a server: page by page, so that what is in memory is bounded.
//!
//! An answer comes whole. So only some rows are asked for at a time, as many as make up a few
//! megabytes by what was seen of them, and the next page is on its way while one is used. All pages are
//! of one version, in which the order of the rows does not change; that it does not is checked, since
//! otherwise rows would come twice, or not at all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use arrow::error::ArrowError;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::Expr;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lancedb::query::{QueryFilter, QueryRequest, Select};
use tokio::task::JoinHandle;

use super::sql::sql;
use super::table::Table;
use crate::backend::Scan as Facade;
use crate::backend::scan::Query;
use crate::error::{Error, Result, Status};

/// What the server calls the number of a row, which is its place in the table.
pub(super) const ROW_ID: &str = lance_core::ROW_ID;

/// Fetching rows one by one is faster than reading all when they are less than one in this many.
const TAKE_SHARE: usize = 20;

/// What a page should come to.
const PAGE_BYTES: usize = 8 << 20;

/// Rows of the first page, of the largest and of the smallest.
const FIRST_PAGE: usize = 256;
const LARGEST_PAGE: usize = 16 * 1024;
const SMALLEST_PAGE: usize = 16;

/// How much larger the next page may be, and until so many rows were seen.
const GROWTH: usize = 8;
const FIRST_GROWTH: usize = 2;
const KNOWN_ROWS: usize = 1024;

/// Rows that are named in one request.
const TAKE_ROWS: usize = 512;

/// A scan to be; nothing is asked before [`Scan::stream`].
#[derive(Clone)]
pub struct Scan {
    table: Table,
    query: Query,
}

impl Scan {
    pub fn new(table: Table, query: Query) -> Scan {
        Scan { table, query }
    }

    /// Reads the rows at `addresses`, which are sorted, and no others.
    pub async fn rows(self, addresses: Vec<u64>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        if self.prefers_take(addresses.len()).await? {
            return Ok(self.take(addresses));
        }
        let (table, address) = (self.table.clone(), self.query.address);
        let query = Query { address: true, limit: None, ..self.query };
        let rows = Scan { query, ..self }.stream().await?;
        let (wanted, found) = (Arc::new(addresses), Arc::new(AtomicUsize::new(0)));
        let (expected, seen) = (wanted.len(), found.clone());
        let kept = rows.map(move |batch| {
            let batch = only(&batch?, &wanted).map_err(|cause| table_fault(&cause))?;
            found.fetch_add(batch.num_rows(), Ordering::Relaxed);
            if address { Ok(batch) } else { without_address(batch) }
        });
        let complete = futures::stream::once(async move {
            match seen.load(Ordering::Relaxed) {
                seen if seen == expected => Ok(None),
                seen => Err(missing(&table, seen, expected)),
            }
        });
        Ok(kept.map_ok(Some).chain(complete).try_filter_map(|batch| async { Ok(batch) }).boxed())
    }

    /// Whether `count` rows are better asked for by their numbers.
    pub async fn prefers_take(&self, count: usize) -> Result<bool> {
        Ok(count.saturating_mul(TAKE_SHARE) <= self.table.rows().await?)
    }

    /// Fetches the rows at `addresses`, in that order.
    pub fn take(self, addresses: Vec<u64>) -> BoxStream<'static, Result<RecordBatch>> {
        self.walk(Course::Named { addresses, done: 0 }, None)
    }

    /// Starts reading, in the order of the table.
    pub async fn stream(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let condition = match &self.query.predicate {
            None => None,
            Some(predicate) => match sql(predicate).map_err(|cause| self.table.failed("read", cause))? {
                None => return Ok(futures::stream::empty().boxed()),
                condition => condition,
            },
        };
        let left = self.query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        // Known, so that a page that is short is not taken for the end, and the last one is.
        let total = match (&condition, self.query.limit) {
            (None, None) => Some(self.table.rows().await?),
            _ => None,
        };
        let course =
            Course::All { offset: 0, left: total.unwrap_or(left), exact: total.is_some(), last: None };
        Ok(self.walk(course, condition))
    }

    fn walk(self, course: Course, condition: Option<String>) -> BoxStream<'static, Result<RecordBatch>> {
        let batch_rows = self.query.batch_rows.max(1);
        let walk =
            Walk { scan: self, course, condition, page_rows: FIRST_PAGE, seen: 0, heaviest: 1, ahead: None };
        let pages = futures::stream::try_unfold(walk, Walk::next);
        pages
            .map_ok(move |page| futures::stream::iter(sliced(page, batch_rows).map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// The request for the rows that `request` says.
    fn request(&self, condition: Option<String>) -> QueryRequest {
        let mut request = QueryRequest::default();
        // No columns would mean all.
        let narrow = || narrowest(&self.table.schema()).into_iter().collect();
        request.select = Select::Columns(match self.query.columns.as_slice() {
            [] => narrow(),
            columns => columns.to_vec(),
        });
        request.with_row_id = true;
        request.filter = condition.map(QueryFilter::Sql);
        request
    }

    /// A batch as it was asked for, with its row numbers, if at all, as addresses.
    fn batch(&self, batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let schema = batch.schema();
        let mut names: Vec<&str> = self.query.columns.iter().map(String::as_str).collect();
        if self.query.address {
            names.push(ROW_ID);
        }
        let indices =
            names.iter().map(|name| schema.index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
        let fields = indices.iter().map(|index| {
            let field = schema.field(*index);
            match field.name().as_str() {
                ROW_ID => Arc::new(Field::new(Facade::ADDRESS, DataType::UInt64, true)),
                _ => Arc::new(field.clone()),
            }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = indices.iter().map(|index| batch.column(*index).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema, columns, &options)
    }
}

/// Which rows are asked for, and how far that has come.
enum Course {
    /// All that meet the condition, in the order of the table.
    All {
        offset: usize,
        /// How many are still wanted.
        left: usize,
        /// Whether there are that many for certain.
        exact: bool,
        /// The number of the last row that came.
        last: Option<u64>,
    },
    /// Some, in an order of their own.
    Named { addresses: Vec<u64>, done: usize },
}

/// A page that was asked for.
struct Ahead {
    rows: usize,
    page: JoinHandle<Result<Vec<RecordBatch>>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.page.abort();
    }
}

/// A scan under way.
struct Walk {
    scan: Scan,
    course: Course,
    condition: Option<String>,
    page_rows: usize,
    /// Rows that came, and the most bytes that one took on the average of a page.
    seen: usize,
    heaviest: usize,
    ahead: Option<Ahead>,
}

impl Walk {
    /// The next page, and the rest of the way.
    async fn next(mut self) -> Result<Option<(Vec<RecordBatch>, Walk)>> {
        let ahead = match self.ahead.take() {
            Some(ahead) => Some(ahead),
            None => self.ask(),
        };
        let Some(mut ahead) = ahead else { return Ok(None) };
        let page = (&mut ahead.page).await;
        let page =
            page.map_err(|cause| Error::new(Status::Internal, format!("a request failed: {cause}")))??;
        let page = self.accept(page, ahead.rows)?;
        if page.is_empty() {
            return Ok(None);
        }
        self.count().await?;
        self.ahead = self.ask();
        Ok(Some((page, self)))
    }

    /// Asks how many rows there are, once the first have come, unless that is known or not all are wanted:
    /// a page that is short, or empty, may not be the last.
    async fn count(&mut self) -> Result<()> {
        let (table, query) = (&self.scan.table, &self.scan.query);
        if let Course::All { offset, left, exact, .. } = &mut self.course
            && !*exact
            && query.limit.is_none()
        {
            let counted = table.count(query.predicate.as_ref()).await?;
            *left = counted.checked_sub(*offset).ok_or_else(|| {
                strange(table, &format!("gave {offset} rows when it had counted {counted}"))
            })?;
            *exact = true;
        }
        Ok(())
    }

    /// Asks for the next page, if there is one.
    fn ask(&self) -> Option<Ahead> {
        let mut request = self.scan.request(self.condition.clone());
        let rows = match &self.course {
            Course::All { left: 0, .. } => return None,
            Course::All { offset, left, .. } => {
                request.offset = Some(*offset);
                self.page_rows.min(*left)
            }
            Course::Named { addresses, done } => {
                let rows = self.page_rows.min(TAKE_ROWS).min(addresses.len() - done);
                let named = addresses.get(*done..done + rows).filter(|named| !named.is_empty())?;
                // Numbers always have a notation in SQL.
                request.filter = sql(&numbered(named)).ok().flatten().map(QueryFilter::Sql);
                rows
            }
        };
        request.limit = Some(rows);
        let table = self.scan.table.clone();
        let page = tokio::spawn(async move { table.query(request).await });
        Some(Ahead { rows, page })
    }

    /// What came for `asked` rows, checked and in shape; nothing at the end.
    fn accept(&mut self, page: Vec<RecordBatch>, asked: usize) -> Result<Vec<RecordBatch>> {
        let table = &self.scan.table;
        let rows: usize = page.iter().map(RecordBatch::num_rows).sum();
        if rows > asked {
            return Err(strange(table, &format!("gave {rows} rows when it was asked for {asked}")));
        }
        let page = match &mut self.course {
            Course::All { left, exact, .. } if rows == 0 => {
                return match exact {
                    true => Err(strange(table, &format!("gave {left} rows less than it had counted"))),
                    false => Ok(Vec::new()),
                };
            }
            Course::All { offset, left, last, .. } => {
                for number in
                    page.iter().map(numbers).collect::<Result<Vec<_>>>()?.iter().flat_map(|n| n.values())
                {
                    if last.is_some_and(|last| *number <= last) {
                        return Err(strange(
                            table,
                            "gave rows in another order than that of the table, so that reading it page by page would miss \
                             some",
                        ));
                    }
                    *last = Some(*number);
                }
                *offset += rows;
                *left -= rows;
                page
            }
            Course::Named { addresses, done } => {
                let named = addresses.get(*done..*done + asked).unwrap_or_default();
                *done += asked;
                vec![ordered(table, &page, named)?]
            }
        };
        let bytes: usize = page.iter().map(size).sum();
        self.seen += rows;
        self.heaviest = self.heaviest.max(bytes.div_ceil(rows.max(1)));
        let growth = if self.seen < KNOWN_ROWS { FIRST_GROWTH } else { GROWTH };
        let fitting = PAGE_BYTES / self.heaviest;
        self.page_rows = fitting.clamp(SMALLEST_PAGE, LARGEST_PAGE).min(self.page_rows * growth);
        let shaped: std::result::Result<_, _> = page.iter().map(|batch| self.scan.batch(batch)).collect();
        shaped.map_err(|cause| strange(table, &format!("did not give the columns it was asked for: {cause}")))
    }
}

/// The condition that a row's number is one of these.
pub(super) fn numbered(numbers: &[u64]) -> Expr {
    let literal = |number: &u64| Expr::Literal(ScalarValue::UInt64(Some(*number)), None);
    Expr::Column(Column::from_name(ROW_ID)).in_list(numbers.iter().map(literal).collect(), false)
}

fn numbers(batch: &RecordBatch) -> Result<UInt64Array> {
    let column = batch.column_by_name(ROW_ID).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let column = column.filter(|column| column.null_count() == 0).cloned();
    column.ok_or_else(|| {
        Error::new(Status::Unsupported, "the server did not give the numbers of its rows, which this needs")
    })
}

/// The rows of `page` in the order of `named`, each of which has to be there.
fn ordered(table: &Table, page: &[RecordBatch], named: &[u64]) -> Result<RecordBatch> {
    let Some(first) = page.first() else { return Err(missing(table, 0, named.len())) };
    let all = concat_batches(&first.schema(), page).map_err(|cause| table_fault(&cause))?;
    let numbers = numbers(&all)?;
    let places: HashMap<u64, u64> = numbers.values().iter().copied().zip(0..).collect();
    let order: Vec<u64> = named.iter().filter_map(|number| places.get(number).copied()).collect();
    if order.len() != named.len() || places.len() != all.num_rows() {
        return Err(missing(table, order.len(), named.len()));
    }
    take_record_batch(&all, &UInt64Array::from(order)).map_err(|cause| table_fault(&cause))
}

fn missing(table: &Table, found: usize, wanted: usize) -> Error {
    strange(table, &format!("gave {found} of {wanted} rows of the version {}", table.version()))
}

fn strange(table: &Table, what: &str) -> Error {
    let message = format!("the server of {} {what}, in the table {}", table.display(), table.name());
    table.error(Error::new(Status::Unsupported, message))
}

fn table_fault(cause: &ArrowError) -> Error {
    Error::new(Status::Internal, format!("rows do not fit together: {cause}")).caused_by(cause)
}

/// The rows whose addresses are among `wanted`, which is sorted.
fn only(batch: &RecordBatch, wanted: &[u64]) -> std::result::Result<RecordBatch, ArrowError> {
    let addresses =
        batch.column_by_name(Facade::ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let Some(addresses) = addresses else { return Ok(batch.slice(0, 0)) };
    let keep: BooleanArray =
        addresses.values().iter().map(|address| Some(wanted.binary_search(address).is_ok())).collect();
    filter_record_batch(batch, &keep)
}

fn without_address(mut batch: RecordBatch) -> Result<RecordBatch> {
    if let Ok(index) = batch.schema().index_of(Facade::ADDRESS) {
        let rows = batch.num_rows();
        batch.remove_column(index);
        if batch.num_columns() == 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            return RecordBatch::try_new_with_options(batch.schema(), Vec::new(), &options)
                .map_err(|cause| table_fault(&cause));
        }
    }
    Ok(batch)
}

/// The batches of a page, none with more than `most` rows.
fn sliced(page: Vec<RecordBatch>, most: usize) -> impl Iterator<Item = RecordBatch> + Send {
    page.into_iter().flat_map(move |batch| {
        let slices: VecDeque<RecordBatch> = (0..batch.num_rows())
            .step_by(most)
            .map(|start| batch.slice(start, most.min(batch.num_rows() - start)))
            .collect();
        slices
    })
}

/// The bytes of the rows themselves: what they are slices of is the whole answer.
fn size(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
    batch.columns().iter().map(bytes).sum()
}

/// The column that costs least to read.
fn narrowest(schema: &Schema) -> Option<String> {
    let width = |field: &&Arc<Field>| field.data_type().primitive_width().unwrap_or(usize::MAX);
    schema.fields().iter().min_by_key(width).map(|field| field.name().clone())
}
