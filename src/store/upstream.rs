//! One dependency of a feature, prepared: its current rows, renamed, filtered, selected and aggregated.
//!
//! Columns go by names of our own until the rows are complete, so that those of several dependencies, and names that
//! a user may give, cannot meet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use futures::stream::BoxStream;
use roaring::RoaringTreemap;

use super::Store;
use super::conform::conform;
use super::filter::Filter;
use super::find::Visit;
use super::read::ReadRequest;
use super::serving::{PLACE, Serving};
use super::system_columns as system;
use crate::error::{Error, Result, Status};
use crate::feature::{self, FeatureKey, Graph, Lineage, Plan};
use crate::versioning::{ByField, Expected, Memory, SampleHash, Side, aggregated, sorted};

/// A dependency of which there are rows, or could be.
pub struct Upstream {
    pub feature: FeatureKey,
    pub optional: bool,
    /// Its place among the dependencies of the feature.
    number: usize,
    serving: Serving,
    /// The columns by which dependencies are joined, as the tables call them.
    keys: Vec<String>,
    /// The types by which they are compared.
    key_types: Vec<DataType>,
    /// The members of its data versions that are hashed, by the numbers of the inputs.
    inputs: Vec<(usize, String)>,
    by_field: String,
    aggregation: Option<Aggregation>,
    /// The columns that its rows add, as the tables and as the result call them.
    payload: Vec<(String, String)>,
    repeats: bool,
    hash: SampleHash,
}

/// What makes samples of several rows: equal `group` columns, the rows of each in the order of `order`.
struct Aggregation {
    group: Vec<String>,
    order: Vec<String>,
}

/// Which of the columns a stream has.
#[derive(Clone, Copy)]
pub enum Content<'c> {
    /// What it takes to join and to compare: keys, data versions and these columns of the payload.
    Comparison(&'c [String]),
    /// What it takes to give the rows: data versions and the payload.
    Rows,
}

/// The name of a column by which dependencies are joined.
pub fn key_column(number: usize, position: usize) -> String {
    format!("u{number}_key{position}")
}

/// The name of the column that holds an input of the hashes.
pub fn input_column(input: usize) -> String {
    format!("in{input}")
}

/// The name of the column that says where a row comes from.
pub fn place_column(number: usize) -> String {
    format!("u{number}_place")
}

/// The name of a column of the payload.
fn payload_column(number: usize, position: usize) -> String {
    format!("u{number}_column{position}")
}

impl Upstream {
    /// Finds the current rows of the dependency `number` of a plan in `graph`; nothing if it may be missing, and is. What stores
    /// were asked is added to `visits`.
    pub async fn find(
        store: &Store,
        graph: &Arc<Graph>,
        plan: &Plan<'_>,
        number: usize,
        filters: &[String],
        expected: &Expected,
        hash: SampleHash,
        visits: &mut Vec<(FeatureKey, Vec<Visit>)>,
    ) -> Result<Option<Upstream>> {
        let Some(upstream) = plan.upstreams.get(number) else {
            return Err(Error::new(Status::Internal, "a dependency was asked for that is not there"));
        };
        let (dep, spec) = (upstream.dep, upstream.spec);
        let names = Names::new(upstream);
        let own = dep.filters.iter().flatten().map(|text| {
            let filter = Filter::parse(text)?;
            if let Some(column) = filter.columns().into_iter().find(|column| names.is_given_up(column)) {
                return Err(Error::invalid(format!(
                    "the filter `{text}` on {} uses the column {column}, which is called {} here; use that name",
                    spec.key,
                    names.after(column)
                ))
                .with("column", column));
            }
            Ok(filter.renamed(&|column| names.before(column)))
        });
        let own = own.collect::<Result<Vec<_>>>().map_err(|error| error.with("upstream", &spec.key))?;
        let request = ReadRequest { filters: filters.to_vec(), ..ReadRequest::default() };
        let serving = match Serving::find(store, graph, &spec.key, &request, own).await {
            Ok(serving) => serving,
            Err(error) if dep.optional && error.status() == Status::NotFound => return Ok(None),
            Err(error) => {
                let of = |reason: &str| {
                    format!(
                        "the rows of {}, on which {} depends, cannot be read: {reason}",
                        spec.key, plan.feature.key
                    )
                };
                return Err(error.reworded(of).with("upstream", &spec.key));
            }
        };
        visits.push((spec.key.clone(), serving.visits().to_vec()));
        let schema = serving.schema().clone();
        let present = |name: &String| schema.column_with_name(name).is_some();
        let missing = |column: &str, use_: &str| {
            Error::new(
                Status::SchemaMismatch,
                format!(
                    "the rows of {} have no column {column}, {use_} {}; they have: {}",
                    spec.key,
                    plan.feature.key,
                    schema
                        .fields()
                        .iter()
                        .map(|field| names.after(field.name()))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )
            .with("upstream", &spec.key)
            .with("column", column)
        };
        for (before, after) in dep.rename.iter().flatten() {
            if !present(before) {
                return Err(unrenamed(&plan.feature.key, &spec.key, before, after, &schema));
            }
        }
        let keys: Vec<String> = plan.join_columns().into_iter().map(|name| names.before(name)).collect();
        let mut key_types = Vec::with_capacity(keys.len());
        for key in &keys {
            let field = schema.field_with_name(key).map_err(|_| {
                missing(&names.after(key), "by which it is joined to the other dependencies of")
            })?;
            key_types.push(comparable(field.data_type()));
        }
        let by_field = [system::DATA_VERSION_BY_FIELD, system::PROVENANCE_BY_FIELD];
        let by_field = by_field.map(str::to_owned).into_iter().find(present).ok_or_else(|| {
            missing(
                system::DATA_VERSION_BY_FIELD,
                "which says what its samples are: they cannot be an input of",
            )
        })?;
        let kept = upstream.kept_columns();
        let mut payload = Vec::new();
        match &kept {
            None => {
                let fields = schema.fields().iter().map(|field| field.name());
                let user = fields.filter(|name| !system::is_system(name));
                payload.extend(user.map(|name| (name.clone(), names.after(name))));
            }
            Some(kept) => {
                for column in kept {
                    let before = names.before(column);
                    if !present(&before) {
                        return Err(missing(column, "which is selected by"));
                    }
                    payload.push((before, (*column).to_owned()));
                }
            }
        }
        payload.retain(|(before, _)| !system::is_system(before));
        for (position, (before, after)) in payload.iter().enumerate() {
            if let Some((other, _)) = payload.iter().take(position).find(|(_, name)| name == after) {
                return Err(Error::invalid(format!(
                    "the columns {other} and {before} of {} are both called {after} in {}; rename one of them otherwise, or \
                     leave it out with select",
                    spec.key, plan.feature.key
                ))
                .with("upstream", &spec.key)
                .with("column", after));
            }
        }
        let aggregation = match &dep.lineage {
            Lineage::Aggregation { .. } => {
                let group = upstream.input_id_columns(plan.feature);
                let group: Vec<String> = group.into_iter().map(|name| names.before(name)).collect();
                if group.is_empty() {
                    return Err(Error::invalid(format!(
                        "{} is aggregated into {} by no column at all; name those that the rows of one sample share in `on`",
                        spec.key, plan.feature.key
                    ))
                    .with("upstream", &spec.key));
                }
                if let Some(lost) = group.iter().find(|name| !present(name)) {
                    return Err(missing(&names.after(lost), "by which it is aggregated into"));
                }
                // Metaxy orders by the ids that are selected, and leaves ties to chance.
                let selected = |name: &&String| payload.iter().any(|(before, _)| before == *name);
                let ids = spec.id_columns.iter();
                let order = ids.clone().filter(selected).chain(ids.filter(|name| !selected(name)));
                let order = order.filter(|name| !group.contains(name)).cloned().collect();
                Some(Aggregation { group, order })
            }
            Lineage::Identity | Lineage::Expansion { .. } => None,
        };
        let inputs = expected.inputs().iter().enumerate().filter(|(_, input)| input.upstream == number);
        let inputs = inputs.map(|(position, input)| (position, input.member.clone())).collect();
        let keys_hold = |id: &String| keys.contains(id);
        let repeats = !matches!(dep.lineage, Lineage::Identity) || !spec.id_columns.iter().all(keys_hold);
        Ok(Some(Upstream {
            feature: spec.key.clone(),
            optional: dep.optional,
            number,
            serving,
            keys,
            key_types,
            inputs,
            by_field,
            aggregation,
            payload,
            repeats,
            hash,
        }))
    }

    pub fn number(&self) -> usize {
        self.number
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.serving.rows()
    }

    /// The columns by which it is joined, as its tables call them, with their types there.
    pub fn given_keys(&self) -> impl Iterator<Item = (&str, &DataType)> {
        let schema = self.serving.schema();
        let field = |name: &String| schema.field_with_name(name).ok();
        self.keys.iter().filter_map(field).map(|field| (field.name().as_str(), field.data_type()))
    }

    /// Takes other types to compare those columns by.
    pub fn compare_keys_in(&mut self, types: Vec<DataType>) {
        self.key_types = types;
    }

    /// The columns by which it is joined, as its tables call them, with the types by which they are compared.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &DataType)> {
        self.keys.iter().map(String::as_str).zip(&self.key_types)
    }

    /// The fields that its rows add to the result, by their names there.
    pub fn payload(&self) -> Result<Vec<(String, Field)>> {
        let schema = self.serving.schema();
        self.payload
            .iter()
            .enumerate()
            .map(|(position, (before, after))| {
                let field = schema.field_with_name(before).map_err(gone)?;
                let field = field.clone().with_name(after).with_nullable(true);
                Ok((payload_column(self.number, position), field))
            })
            .collect()
    }

    /// Whether its rows are sorted and put together to groups.
    pub fn aggregates(&self) -> bool {
        self.aggregation.is_some()
    }

    /// Whether several of its rows may have the same keys.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// The columns of [`Upstream::stream`].
    pub fn schema(&self, content: Content<'_>) -> Result<SchemaRef> {
        let mut fields = Vec::new();
        if let Content::Comparison(_) = content {
            for (position, data_type) in self.key_types.iter().enumerate() {
                fields.push(Field::new(key_column(self.number, position), data_type.clone(), true));
            }
        }
        for (input, _) in &self.inputs {
            fields.push(Field::new(input_column(*input), DataType::LargeUtf8, true));
        }
        fields.push(Field::new(place_column(self.number), DataType::UInt64, true));
        for (position, (before, after)) in self.payload.iter().enumerate() {
            if content.has(after) {
                let field = self.serving.schema().field_with_name(before).map_err(gone)?;
                let data_type = field.data_type().clone();
                fields.push(Field::new(payload_column(self.number, position), data_type, true));
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Reads the rows at `places`, or all of them.
    pub async fn stream(
        self: &Arc<Self>,
        content: Content<'_>,
        places: Option<Arc<RoaringTreemap>>,
        batch_rows: Option<usize>,
        memory: &Memory,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema = self.schema(content)?;
        let columns = self.read(content);
        let rows = match places {
            Some(places) => self.serving.at(places, &columns, batch_rows)?,
            None => self.serving.stream(&columns, batch_rows)?,
        };
        let row_bytes = self.row_bytes(content);
        let own = self.clone();
        let Some(aggregation) = &self.aggregation else {
            return Ok(rows.map(move |batch| own.prepared(&batch?, &schema)).boxed());
        };
        // The columns that decide go last, and are dropped when they have.
        let deciding = aggregation.group.iter().chain(&aggregation.order).enumerate();
        let deciding: Vec<(String, String)> =
            deciding.map(|(position, before)| (before.clone(), format!("by{position}"))).collect();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        for (before, name) in &deciding {
            let field = self.serving.schema().field_with_name(before).map_err(gone)?;
            fields.push(Arc::new(field.clone().with_name(name).with_nullable(true)));
        }
        let wide = Arc::new(Schema::new(fields));
        let names: Vec<String> = deciding.iter().map(|(_, name)| name.clone()).collect();
        let group = names.iter().take(aggregation.group.len()).cloned().collect();
        let rows = {
            let (schema, wide) = (schema.clone(), wide.clone());
            rows.map(move |batch| {
                let batch = batch?;
                let prepared = own.prepared(&batch, &schema)?;
                let mut columns = prepared.columns().to_vec();
                for (before, _) in &deciding {
                    columns.push(column(&batch, before)?);
                }
                RecordBatch::try_new(wide.clone(), columns).map_err(unfit)
            })
        };
        // Half to sort, half for a group.
        let memory = memory.divided(2);
        let side =
            Side { schema: wide, rows: rows.boxed(), keys: names, optional: false, sorted: false, row_bytes };
        let rows = sorted(&memory, side).await?;
        let members = self.inputs.iter().map(|(input, _)| input_column(*input)).collect();
        let reservation = memory.reserve_own("the rows of one group");
        let kept: Vec<usize> = (0..schema.fields().len()).collect();
        let rows = aggregated(rows, self.feature.clone(), group, members, self.hash, reservation);
        Ok(rows.map(move |batch| batch?.project(&kept).map_err(unfit)).boxed())
    }

    /// What a row of [`Upstream::stream`] takes, about.
    pub fn row_bytes(&self, content: Content<'_>) -> u64 {
        self.serving.row_bytes(&self.read(content))
    }

    /// The columns that are read for it.
    fn read(&self, content: Content<'_>) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        let mut add = |name: &String| {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        };
        if let Content::Comparison(_) = content {
            self.keys.iter().for_each(&mut add);
        }
        add(&self.by_field);
        self.payload.iter().filter(|(_, after)| content.has(after)).for_each(|(before, _)| add(before));
        if let Some(aggregation) = &self.aggregation {
            aggregation.group.iter().chain(&aggregation.order).for_each(&mut add);
        }
        columns
    }

    /// A batch of the tables in the columns of `schema`.
    fn prepared(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut made: HashMap<String, ArrayRef> = HashMap::new();
        for (position, (key, data_type)) in self.keys().enumerate() {
            let name = key_column(self.number, position);
            if schema.column_with_name(&name).is_some() {
                let field = Field::new(key, data_type.clone(), true);
                made.insert(name, conform(&column(batch, key)?, &field, 0)?);
            }
        }
        let members: Vec<String> = self.inputs.iter().map(|(_, member)| member.clone()).collect();
        let by_field = ByField::with_nulls(&column(batch, &self.by_field)?, &self.by_field, &members)
            .map_err(|error| error.with("upstream", &self.feature))?;
        for (position, (input, _)) in self.inputs.iter().enumerate() {
            if let Some(member) = by_field.member(position) {
                made.insert(input_column(*input), member);
            }
        }
        made.insert(place_column(self.number), column(batch, PLACE)?);
        for (position, (before, _)) in self.payload.iter().enumerate() {
            let name = payload_column(self.number, position);
            if schema.column_with_name(&name).is_some() {
                made.insert(name, column(batch, before)?);
            }
        }
        let columns = schema
            .fields()
            .iter()
            .map(|field| made.get(field.name()).cloned().ok_or_else(|| gone(field.name())));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(unfit)
    }
}

impl Content<'_> {
    fn has(&self, column: &String) -> bool {
        match self {
            Content::Comparison(columns) => columns.contains(column),
            Content::Rows => true,
        }
    }
}

/// What the columns of a dependency are called before and after it is prepared.
struct Names {
    after: BTreeMap<String, String>,
    before: BTreeMap<String, String>,
}

impl Names {
    fn new(upstream: &feature::Upstream<'_>) -> Names {
        let mut after: BTreeMap<String, String> = BTreeMap::new();
        for (old, new) in upstream.dep.rename.iter().flatten() {
            after.insert(old.clone(), new.clone());
        }
        let suffix = upstream.spec.key.column_suffix();
        for column in [
            system::PROVENANCE_BY_FIELD,
            system::PROVENANCE,
            system::DATA_VERSION_BY_FIELD,
            system::DATA_VERSION,
        ] {
            after.insert(column.to_owned(), format!("{column}{suffix}"));
        }
        let before = after.iter().map(|(old, new)| (new.clone(), old.clone())).collect();
        Names { after, before }
    }

    fn after(&self, column: &str) -> String {
        self.after.get(column).map_or(column, String::as_str).to_owned()
    }

    /// Whether nothing has the name any more.
    fn is_given_up(&self, column: &str) -> bool {
        self.after.contains_key(column) && !self.before.contains_key(column)
    }

    fn before(&self, column: &str) -> String {
        self.before.get(column).map_or(column, String::as_str).to_owned()
    }
}

fn unrenamed(feature: &FeatureKey, upstream: &FeatureKey, before: &str, after: &str, rows: &Schema) -> Error {
    let there = rows.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    Error::new(
        Status::SchemaMismatch,
        format!(
            "`rename` of the dependency on {upstream} in the definition of {feature} calls the column {before} {after}, and \
             the rows of {upstream} have no column {before}; they have: {there}"
        ),
    )
    .with("upstream", upstream)
    .with("column", before)
}

/// The type in which values of this one are compared with those of other tables.
pub fn comparable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::LargeUtf8,
        DataType::Dictionary(_, values) => comparable(values),
        integer if integer.is_integer() && *integer != DataType::UInt64 => DataType::Int64,
        other => other.clone(),
    }
}

/// The type in which values of two [`comparable`] types are compared; nothing if they cannot be equal.
pub fn common(one: &DataType, other: &DataType) -> Option<DataType> {
    // Has every integer, signed or not.
    let every = DataType::Decimal128(20, 0);
    let is_integer = |data_type: &DataType| data_type.is_integer() || *data_type == every;
    match (one, other) {
        _ if one == other => Some(one.clone()),
        _ if is_integer(one) && is_integer(other) => Some(every),
        _ => None,
    }
}

pub fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    batch.column_by_name(name).cloned().ok_or_else(|| gone(name))
}

fn gone(name: impl std::fmt::Display) -> Error {
    Error::new(Status::Internal, format!("a column is gone: {name}"))
}

pub fn unfit(cause: arrow::error::ArrowError) -> Error {
    Error::new(Status::Internal, format!("columns do not fit together: {cause}"))
}
