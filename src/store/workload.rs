//! All that a feature is computed from: its dependencies side by side, and what their rows become.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use roaring::RoaringTreemap;

use super::compare::input_arrays;
use super::conform::conform;
use super::system_columns as system;
use super::upstream::{Content, Upstream, column, comparable, input_column, key_column, place_column, unfit};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Plan};
use crate::versioning::{ByField, Expected, Memory, Side, Spooled, attach, join};

/// Batches that are worked on at the same time.
pub const PARALLEL: usize = 4;

/// The dependencies of a feature of which there are rows, or could be, and how rows of it are made of theirs.
pub struct Workload {
    upstreams: Vec<Arc<Upstream>>,
    expected: Expected,
    /// The columns that are hashed; nothing for those of a missing dependency.
    inputs: Vec<Option<String>>,
    /// The user's columns of the result, and where each comes from: the first that is not null counts.
    columns: Vec<(Field, Vec<String>)>,
    schema: SchemaRef,
}

/// The column that points to a row of a dependency.
pub fn origin_column(position: usize) -> String {
    format!("origin{position}")
}

impl Workload {
    pub fn new(plan: &Plan<'_>, upstreams: Vec<Arc<Upstream>>, expected: Expected) -> Result<Workload> {
        let feature = &plan.feature.key;
        let keys = plan.join_columns();
        let all_optional = upstreams.iter().all(|upstream| upstream.optional);
        let mut columns: Vec<(Field, Vec<String>)> = Vec::new();
        let mut owners: Vec<&FeatureKey> = Vec::new();
        for key in &keys {
            let mut field = None;
            let mut sources = Vec::new();
            for upstream in upstreams.iter().filter(|upstream| all_optional || !upstream.optional) {
                let own = upstream.payload()?.into_iter().find(|(_, field)| field.name() == key);
                if let Some((source, own)) = own {
                    let data_type = own.data_type().clone();
                    let field: &mut Field = field.get_or_insert(own);
                    if *field.data_type() != data_type
                        && comparable(field.data_type()) == comparable(&data_type)
                    {
                        // Any of them may give it.
                        *field = field.clone().with_data_type(comparable(&data_type));
                    }
                    sources.push(source);
                }
            }
            let Some(field) = field else {
                return Err(Error::invalid(format!(
                    "the samples of {feature} are told apart by {key}, which no dependency selects; add it to a select"
                ))
                .with("column", key));
            };
            columns.push((field, sources));
        }
        for upstream in &upstreams {
            for (source, field) in upstream.payload()? {
                if keys.contains(&field.name().as_str()) {
                    continue;
                }
                let others = columns.iter().skip(keys.len()).zip(&owners);
                if let Some((_, owner)) =
                    others.into_iter().find(|((other, _), _)| other.name() == field.name())
                {
                    return Err(collision(feature, owner, &upstream.feature, field.name()));
                }
                columns.push((field, vec![source]));
                owners.push(&upstream.feature);
            }
        }
        let present = |upstream: usize| upstreams.iter().any(|found| found.number() == upstream);
        let inputs = expected.inputs().iter().enumerate();
        let inputs =
            inputs.map(|(number, input)| present(input.upstream).then(|| input_column(number))).collect();
        let by_field = ByField::struct_type(expected.members());
        let versions = [
            Field::new(system::PROVENANCE_BY_FIELD, by_field.clone(), true),
            Field::new(system::PROVENANCE, DataType::LargeUtf8, true),
            Field::new(system::DATA_VERSION_BY_FIELD, by_field, true),
            Field::new(system::DATA_VERSION, DataType::LargeUtf8, true),
        ];
        let fields: Vec<Field> = columns.iter().map(|(field, _)| field.clone()).chain(versions).collect();
        let workload =
            Workload { upstreams, expected, inputs, columns, schema: Arc::new(Schema::new(fields)) };
        Ok(workload)
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    pub fn inputs(&self) -> &[Option<String>] {
        &self.inputs
    }

    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The names of the columns of [`Workload::comparable`] that say where a row comes from.
    pub fn places(&self) -> Vec<String> {
        self.upstreams.iter().map(|upstream| place_column(upstream.number())).collect()
    }

    /// The name that [`Workload::comparable`] has for the column by which dependencies are joined.
    pub fn key(&self, position: usize) -> String {
        match self.upstreams.as_slice() {
            [only] => key_column(only.number(), position),
            _ => crate::versioning::joined_key(position),
        }
    }

    /// The name that [`Workload::comparable`] has for a column of the result, with its type.
    pub fn column(&self, name: &str) -> Option<(&str, &DataType)> {
        let (field, sources) = self.columns.iter().find(|(field, _)| field.name() == name)?;
        sources.first().map(|source| (source.as_str(), field.data_type()))
    }

    /// What is compared of all rows: keys, inputs, places, and the columns `more` of the result.
    pub async fn comparable(
        &self,
        more: &[String],
        memory: &Memory,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let content = Content::Comparison(more);
        if let [only] = self.upstreams.as_slice() {
            return only.stream(content, None, None, memory).await;
        }
        let memory = &self.divided(memory);
        let mut sides = Vec::with_capacity(self.upstreams.len());
        for upstream in &self.upstreams {
            let schema = upstream.schema(content)?;
            let keys = (0..upstream.keys().count()).map(|position| key_column(upstream.number(), position));
            sides.push(Side {
                rows: upstream.stream(content, None, None, memory).await?,
                schema,
                keys: keys.collect(),
                optional: upstream.optional,
                sorted: false,
                row_bytes: upstream.row_bytes(content),
            });
        }
        join(memory, sides).await
    }

    /// The rows of the only dependency at `places`, or all of them.
    pub async fn only(
        self: &Arc<Self>,
        places: Option<Arc<RoaringTreemap>>,
        batch_rows: Option<usize>,
        memory: &Memory,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let [only] = self.upstreams.as_slice() else {
            return Err(Error::new(Status::Internal, "several dependencies were taken for one"));
        };
        let rows = only.stream(Content::Rows, places, batch_rows, memory).await?;
        Ok(self.completed(rows))
    }

    /// The rows that are made of `combinations` of rows at `places`.
    pub async fn combined(
        self: &Arc<Self>,
        combinations: &Spooled,
        places: &[Arc<RoaringTreemap>],
        batch_rows: Option<usize>,
        memory: &Memory,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let memory = &self.divided(memory);
        let mut sides = Vec::with_capacity(self.upstreams.len());
        for (position, (upstream, places)) in self.upstreams.iter().zip(places).enumerate() {
            let schema = upstream.schema(Content::Rows)?;
            let side = Side {
                rows: upstream.stream(Content::Rows, Some(places.clone()), batch_rows, memory).await?,
                schema,
                keys: vec![place_column(upstream.number())],
                optional: upstream.optional,
                sorted: !upstream.aggregates(),
                row_bytes: upstream.row_bytes(Content::Rows),
            };
            sides.push((origin_column(position), side));
        }
        let (schema, rows, count) = (combinations.schema(), combinations.stream(), combinations.rows());
        let rows = attach(memory, schema, rows, count, sides).await?;
        Ok(self.completed(rows))
    }

    /// What each of those that aggregate and the join may hold.
    fn divided(&self, memory: &Memory) -> Memory {
        memory.divided(1 + self.upstreams.iter().filter(|upstream| upstream.aggregates()).count())
    }

    fn completed(
        self: &Arc<Self>,
        rows: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let own = self.clone();
        spread(rows, move |batch| own.complete(&batch)).boxed()
    }

    /// Rows of the result, with their versions.
    fn complete(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (field, sources) in &self.columns {
            columns.push(first_given(batch, field, sources)?);
        }
        let inputs = input_arrays(batch, &self.inputs)?;
        let (by_field, provenance) = self.expected.provenance(&inputs, batch.num_rows())?;
        let (by_field, provenance): (ArrayRef, ArrayRef) = (Arc::new(by_field), Arc::new(provenance));
        columns.extend([by_field.clone(), provenance.clone(), by_field, provenance]);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(unfit)
    }
}

/// Does `work` with each batch, several at a time; the results come in the order of the batches.
pub fn spread<T: Send + 'static>(
    rows: BoxStream<'static, Result<RecordBatch>>,
    work: impl Fn(RecordBatch) -> Result<T> + Send + Sync + 'static,
) -> impl Stream<Item = Result<T>> + Send + 'static {
    let work = Arc::new(work);
    rows.map(move |batch| {
        let work = work.clone();
        async move {
            let batch = batch?;
            let done = tokio::spawn(async move { work(batch) });
            done.await
                .map_err(|cause| Error::new(Status::Internal, format!("work on a batch failed: {cause}")))?
        }
    })
    .buffered(PARALLEL)
}

fn first_given(batch: &RecordBatch, field: &Field, sources: &[String]) -> Result<ArrayRef> {
    let mut given: Option<ArrayRef> = None;
    for source in sources {
        let source = conform(&column(batch, source)?, field, 0)?;
        given = Some(match given {
            None => source,
            Some(first) if first.null_count() == 0 => first,
            Some(first) => zip(&is_not_null(&first).map_err(unfit)?, &first, &source).map_err(unfit)?,
        });
    }
    given.ok_or_else(|| {
        Error::new(Status::Internal, format!("the column {} comes from nowhere", field.name()))
    })
}

fn collision(feature: &FeatureKey, one: &FeatureKey, other: &FeatureKey, column: &str) -> Error {
    Error::invalid(format!(
        "both {one} and {other}, on which {feature} depends, have a column {column}; rename it in one of the dependencies, \
         or leave it out with select"
    ))
    .with("column", column)
    .with("upstream", other)
}
