//! Rows that the caller joined itself, and the versions that come of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::Store;
use super::context::Call;
use super::system_columns as system;
use super::upstream::{column, unfit};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Plan};
use crate::versioning::{ByField, Expected};

impl Store {
    /// Computes the versions of samples of `feature` from rows with the columns of `schema`: of each feature that it
    /// depends on, they have the data versions, in a column with the suffix of that feature. Those of an optional one
    /// may be missing, as if they were null.
    pub async fn joined(&self, feature: &str, schema: SchemaRef, call: &Call) -> Result<Joined> {
        let key = FeatureKey::parse(feature)?;
        let joined = call.run(async {
            let (graph, hash) = self.resolvable(&key).await?;
            let plan = graph.plan(&key)?;
            Joined::new(&plan, &schema, Expected::new(&plan, hash)?)
        });
        Box::pin(joined).await.map_err(|error| self.located(error).with("feature", &key))
    }
}

/// Completes rows, batch by batch.
pub struct Joined {
    schema: SchemaRef,
    expected: Expected,
    sources: Vec<Source>,
}

/// The data versions of one dependency.
struct Source {
    column: String,
    /// Whether the rows have them.
    given: bool,
    /// The inputs that are members of them, by their numbers.
    inputs: Vec<usize>,
    members: Vec<String>,
}

impl Joined {
    fn new(plan: &Plan<'_>, given: &Schema, expected: Expected) -> Result<Joined> {
        let feature = &plan.feature.key;
        if plan.upstreams.is_empty() {
            return Err(Error::invalid(format!(
                "{feature} depends on no other feature, so its provenance is not computed but given: write it as \
                 {}",
                system::PROVENANCE_BY_FIELD
            )));
        }
        let mut sources = Vec::new();
        let mut missing = Vec::new();
        for (number, upstream) in plan.upstreams.iter().enumerate() {
            let column = format!("{}{}", system::DATA_VERSION_BY_FIELD, upstream.spec.key.column_suffix());
            let inputs = expected.inputs().iter().enumerate().filter(|(_, input)| input.upstream == number);
            let (inputs, members) = inputs.map(|(input, of)| (input, of.member.clone())).unzip();
            let source = Source { given: given.column_with_name(&column).is_some(), column, inputs, members };
            if !source.given && !upstream.dep.optional {
                missing.push(format!("{} (of {})", source.column, upstream.spec.key));
            }
            sources.push(source);
        }
        if !missing.is_empty() {
            return Err(Error::new(
                Status::SchemaMismatch,
                format!("the rows lack data versions of what {feature} depends on: {}", missing.join(", ")),
            )
            .with("column", missing.join(", ")));
        }
        let versions = [
            system::PROVENANCE_BY_FIELD,
            system::PROVENANCE,
            system::DATA_VERSION_BY_FIELD,
            system::DATA_VERSION,
        ];
        let suffixes = plan.upstreams.iter().map(|upstream| upstream.spec.key.column_suffix());
        let mut dropped: Vec<String> = versions.map(str::to_owned).to_vec();
        for suffix in suffixes {
            dropped.extend(versions.iter().map(|version| format!("{version}{suffix}")));
        }
        let by_field = ByField::struct_type(expected.members());
        let text = |name: &str| Arc::new(Field::new(name, DataType::LargeUtf8, true));
        let members = |name: &str| Arc::new(Field::new(name, by_field.clone(), true));
        let kept = given.fields().iter().filter(|field| !dropped.contains(field.name())).cloned();
        let fields: Vec<FieldRef> = kept
            .chain([
                members(system::PROVENANCE_BY_FIELD),
                text(system::PROVENANCE),
                members(system::DATA_VERSION_BY_FIELD),
                text(system::DATA_VERSION),
            ])
            .collect();
        Ok(Joined { schema: Arc::new(Schema::new(fields)), expected, sources })
    }

    /// The columns of completed rows: those that were given, without the data versions of dependencies, then the four
    /// version columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The rows with their versions, without the columns that those come of.
    pub fn complete(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut inputs: Vec<ArrayRef> =
            vec![new_null_array(&DataType::LargeUtf8, rows); self.expected.inputs().len()];
        for source in self.sources.iter().filter(|source| source.given) {
            let by_field =
                ByField::with_nulls(&column(batch, &source.column)?, &source.column, &source.members)?;
            for (position, input) in source.inputs.iter().enumerate() {
                if let (Some(place), Some(member)) = (inputs.get_mut(*input), by_field.member(position)) {
                    *place = member;
                }
            }
        }
        let (by_field, provenance) = self.expected.provenance(&inputs, rows)?;
        let (by_field, provenance): (ArrayRef, ArrayRef) = (Arc::new(by_field), Arc::new(provenance));
        let columns = self.schema.fields().iter().map(|field| match field.name().as_str() {
            system::PROVENANCE_BY_FIELD | system::DATA_VERSION_BY_FIELD => Ok(by_field.clone()),
            system::PROVENANCE | system::DATA_VERSION => Ok(provenance.clone()),
            name => column(batch, name),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(unfit)
    }
}
