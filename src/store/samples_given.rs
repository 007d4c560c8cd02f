//! Samples that a caller has: their versions computed, as if they had been read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::compare::filtered;
use super::filter::Filter;
use super::system_columns as system;
use super::upstream::{column, unfit};
use crate::error::{Error, Result, Status};
use crate::feature::FeatureSpec;
use crate::versioning::{ByField, SampleHash, sample_provenance};

/// What becomes of the samples of a feature.
pub struct GivenSamples {
    /// The columns as they are given, by their proper names.
    given: SchemaRef,
    schema: SchemaRef,
    filters: Vec<Filter>,
    members: Vec<String>,
    hash: SampleHash,
    rows: u64,
}

impl GivenSamples {
    /// For samples of `feature` with the columns of `schema`, of which those are kept that meet `filters`.
    pub fn new(
        feature: &FeatureSpec,
        schema: SchemaRef,
        filters: Vec<Filter>,
        hash: SampleHash,
    ) -> Result<GivenSamples> {
        let given = named(&schema);
        let shown =
            || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let needed = system::PROVENANCE_BY_FIELD;
        if given.column_with_name(needed).is_none() {
            return Err(Error::new(
                Status::SchemaMismatch,
                format!("the samples of {} have no column {needed}; they have: {}", feature.key, shown()),
            )
            .with("column", needed));
        }
        for filter in &filters {
            filter.to_expr(&given).map_err(|error| {
                error
                    .reworded(|reason| format!("the samples of {} cannot be filtered: {reason}", feature.key))
            })?;
        }
        let by_field = given.field_with_name(system::PROVENANCE_BY_FIELD).map_err(unfit)?.data_type().clone();
        let versions = [
            system::PROVENANCE_BY_FIELD,
            system::PROVENANCE,
            system::DATA_VERSION_BY_FIELD,
            system::DATA_VERSION,
        ];
        let is_version = |field: &Field| versions.contains(&field.name().as_str());
        let mut fields: Vec<Field> = given
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .filter(|field| !is_version(field))
            .collect();
        let id = |field: &Field| feature.id_columns.iter().position(|id| id == field.name());
        fields.sort_by_key(|field| id(field).unwrap_or(usize::MAX));
        fields.push(Field::new(system::PROVENANCE_BY_FIELD, by_field.clone(), true));
        fields.push(Field::new(system::PROVENANCE, DataType::LargeUtf8, true));
        match given.field_with_name(system::DATA_VERSION_BY_FIELD) {
            // Writing completes what is overridden.
            Ok(overridden) => {
                fields.push(overridden.clone());
                fields.extend(given.field_with_name(system::DATA_VERSION).ok().cloned());
            }
            Err(_) => {
                fields.push(Field::new(system::DATA_VERSION_BY_FIELD, by_field, true));
                fields.push(Field::new(system::DATA_VERSION, DataType::LargeUtf8, true));
            }
        }
        let members = feature.fields.iter().map(|field| field.key.struct_key()).collect();
        Ok(GivenSamples { given, schema: Arc::new(Schema::new(fields)), filters, members, hash, rows: 0 })
    }

    /// The columns of what [`GivenSamples::complete`] gives.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The samples of a batch that are kept, with their versions.
    pub fn complete(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = RecordBatch::try_new(self.given.clone(), batch.columns().to_vec()).map_err(unfit)?;
        let by_field = column(&batch, system::PROVENANCE_BY_FIELD)?;
        let first_row = self.rows;
        self.rows += batch.num_rows() as u64;
        let by_field = ByField::try_new(&by_field, system::PROVENANCE_BY_FIELD, &self.members, first_row)?;
        let provenance: ArrayRef = Arc::new(sample_provenance(&by_field, &self.hash));
        let columns = self.schema.fields().iter().map(|field| match field.name().as_str() {
            system::PROVENANCE => Ok(provenance.clone()),
            system::DATA_VERSION if self.is_derived() => Ok(provenance.clone()),
            system::DATA_VERSION_BY_FIELD if self.is_derived() => column(&batch, system::PROVENANCE_BY_FIELD),
            name => column(&batch, name),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let completed = RecordBatch::try_new(self.schema.clone(), columns).map_err(unfit)?;
        filtered(&completed, &self.filters)
    }

    /// Whether the data versions are those of the provenance.
    fn is_derived(&self) -> bool {
        self.given.column_with_name(system::DATA_VERSION_BY_FIELD).is_none()
    }
}

/// The columns by their proper names, where older documents use another.
fn named(schema: &Schema) -> SchemaRef {
    let has_proper = schema.column_with_name(system::PROVENANCE_BY_FIELD).is_some();
    let fields = schema.fields().iter().map(|field| {
        let alias = field.name() == system::PROVENANCE_BY_FIELD_ALIAS && !has_proper;
        let name = if alias { system::PROVENANCE_BY_FIELD } else { field.name().as_str() };
        field.as_ref().clone().with_name(name).with_nullable(true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
