//! The current rows of a feature as the stores of a chain serve them: found once, read as often as needed.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringTreemap;

use super::Store;
use super::current::Current;
use super::filter::Filter;
use super::find::{Answer, Rows, Visit};
use super::merge::{union, widened};
use super::read::{ReadRequest, visible};
use crate::backend::{Scan, Table};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Graph};

/// The column that says where a row is: in which share, and at which address there.
pub const PLACE: &str = "metaxy:place";

/// Places and what is read at them. Cloned for each stream.
#[derive(Clone)]
pub struct Serving {
    schema: SchemaRef,
    shares: Arc<Vec<Share>>,
    visits: Vec<Visit>,
}

/// The rows that one table adds.
struct Share {
    store: String,
    table: Table,
    /// In ascending order; nothing where every row of the table is current.
    addresses: Option<Vec<u64>>,
    rows: u64,
}

/// The bits of a place that are an address: fragments are numbered from 0, and no table has 2^28 of them.
const ADDRESS_BITS: u32 = 60;

impl Serving {
    /// Finds the current rows of `feature`, as `graph` defines it, that meet `filters` as well as those of `request`; an
    /// error with the status `NOT_FOUND` if no store of the chain has a table of it.
    pub async fn find(
        store: &Store,
        graph: &Arc<Graph>,
        feature: &FeatureKey,
        request: &ReadRequest,
        filters: Vec<Filter>,
    ) -> Result<Serving> {
        let Answer { shares, schemas, visits } =
            store.answer(&store.ask_in(graph.clone(), feature, request)?.and(filters)).await?;
        let schema = match schemas.as_slice() {
            [only] => visible(only),
            several => visible(&union(several.iter().map(AsRef::as_ref))),
        };
        if shares.len() > 1 << (u64::BITS - ADDRESS_BITS) {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "{} stores of the chain have rows of {feature}; at most 16 can be resolved",
                    shares.len()
                ),
            ));
        }
        let mut found = Vec::with_capacity(shares.len());
        for share in shares {
            let (addresses, rows) = match share.rows {
                Rows::Current(Current::All) => (None, share.table.rows().await?),
                Rows::Current(Current::Some { addresses, .. }) => {
                    let rows = addresses.len();
                    (Some(addresses), rows)
                }
                Rows::Matching(_) => {
                    return Err(Error::new(Status::Internal, "a chain was not asked for current rows"));
                }
            };
            found.push(Share { store: share.store, table: share.table, addresses, rows: rows as u64 });
        }
        Ok(Serving { schema: Arc::new(schema), shares: Arc::new(found), visits })
    }

    /// The columns that there are.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.shares.iter().map(|share| share.rows).sum()
    }

    /// What these columns of a row take, about.
    pub fn row_bytes(&self, columns: &[String]) -> u64 {
        self.shares.iter().map(|share| share.table.row_bytes(columns)).max().unwrap_or(1)
    }

    /// The columns of the streams that read `columns`.
    pub fn placed(&self, columns: &[String]) -> Result<SchemaRef> {
        let mut fields = Vec::with_capacity(columns.len() + 1);
        for name in columns {
            let field = self.schema.field_with_name(name).map_err(|_| {
                Error::new(Status::Internal, format!("the column {name} was asked for, which is not there"))
            })?;
            fields.push(field.clone().with_nullable(true));
        }
        fields.push(Field::new(PLACE, DataType::UInt64, true));
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Reads `columns` of every row, followed by [`PLACE`].
    pub fn stream(
        &self,
        columns: &[String],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.read(columns, batch_rows, None)
    }

    /// Reads `columns` of the rows at `places`, in their order, followed by [`PLACE`].
    pub fn at(
        &self,
        places: Arc<RoaringTreemap>,
        columns: &[String],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.read(columns, batch_rows, Some(places))
    }

    fn read(
        &self,
        columns: &[String],
        batch_rows: Option<usize>,
        places: Option<Arc<RoaringTreemap>>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema = self.placed(columns)?;
        let shares = self.shares.clone();
        // Each table is read when the one before it has been.
        let streams = (0..shares.len()).map(move |number| {
            let (shares, schema, places) = (shares.clone(), schema.clone(), places.clone());
            let rows = async move {
                match shares.get(number) {
                    Some(share) => share.read(number as u64, schema, batch_rows, places.as_deref()).await,
                    None => Ok(futures::stream::empty().boxed()),
                }
            };
            futures::stream::once(rows).try_flatten()
        });
        Ok(futures::stream::iter(streams).flatten().boxed())
    }
}

impl Share {
    async fn read(
        &self,
        number: u64,
        schema: SchemaRef,
        batch_rows: Option<usize>,
        places: Option<&RoaringTreemap>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let first = number << ADDRESS_BITS;
        let addresses = match places {
            None => self.addresses.clone(),
            Some(places) => {
                let mut inside = places.iter();
                inside.advance_to(first);
                let last = first | ((1 << ADDRESS_BITS) - 1);
                let inside = inside.take_while(|place| *place <= last).map(|place| place - first);
                let addresses: Vec<u64> = inside.collect();
                // All of them need no list.
                match addresses.len() as u64 == self.rows {
                    true => self.addresses.clone(),
                    false => Some(addresses),
                }
            }
        };
        let present = self.table.schema();
        let mut columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        columns.retain(|name| name != PLACE && present.column_with_name(name).is_some());
        if columns.is_empty() {
            // Rows of which only others have what is asked for are rows all the same.
            columns.extend(present.fields().iter().take(1).map(|field| field.name().clone()));
        }
        let scan = self.table.scan(columns).batch_rows(batch_rows);
        let rows = match addresses {
            None => scan.with_address().stream().await?,
            Some(addresses) if scan.prefers_take(addresses.len()).await? => numbered(scan, addresses),
            Some(addresses) => scan.with_address().rows(addresses).await?,
        };
        let store = self.store.clone();
        Ok(rows.map(move |batch| placed(&batch?, first, &schema, &store)).boxed())
    }
}

/// Rows that are fetched one by one, with their addresses.
fn numbered(scan: Scan, addresses: Vec<u64>) -> BoxStream<'static, Result<RecordBatch>> {
    let mut start = 0;
    let all = UInt64Array::from(addresses.clone());
    let rows = scan.take(addresses).map(move |batch| {
        let batch = batch?;
        let own: ArrayRef = Arc::new(all.slice(start, batch.num_rows()));
        start += batch.num_rows();
        let (schema, columns, _) = batch.into_parts();
        let address = Arc::new(Field::new(Scan::ADDRESS, DataType::UInt64, true));
        let fields: Vec<_> = schema.fields().iter().cloned().chain([address]).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().chain([own]).collect())
            .map_err(|cause| {
                Error::new(Status::Internal, format!("addresses do not fit their rows: {cause}"))
            })
    });
    rows.boxed()
}

/// A batch of a share in the columns of all, its addresses being places.
fn placed(batch: &RecordBatch, first: u64, schema: &SchemaRef, store: &str) -> Result<RecordBatch> {
    let addresses =
        batch.column_by_name(Scan::ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let Some(addresses) = addresses else {
        return Err(Error::new(Status::Internal, "a scan did not give the addresses of its rows"));
    };
    if addresses.values().iter().any(|address| address >> ADDRESS_BITS != 0) {
        return Err(Error::new(
            Status::Unsupported,
            format!(
                "a row of {store} has a number beyond 2^{ADDRESS_BITS}, with which nothing can be resolved"
            ),
        ));
    }
    let places: ArrayRef = match first {
        0 => Arc::new(UInt64Array::new(addresses.values().clone(), None)),
        _ => Arc::new(addresses.values().iter().map(|address| first | address).collect::<UInt64Array>()),
    };
    let fields: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| match field.name() == Scan::ADDRESS {
            true => Arc::new(Field::new(PLACE, DataType::UInt64, true)),
            false => field.clone(),
        })
        .collect();
    let columns = fields
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| if field.name() == PLACE { places.clone() } else { column.clone() })
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|cause| Error::new(Status::Internal, format!("places do not fit their rows: {cause}")))?;
    widened(&batch, schema, store)
}
