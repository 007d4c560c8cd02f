//! Samples that a caller has: their versions computed, as if they had been read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, LargeStringArray, RecordBatch, UInt64Array};
use arrow::compute::{and, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::conform::show;
use super::filter::Filter;
use super::system_columns as system;
use super::upstream::{column, unfit};
use crate::error::{Error, Result, Status};
use crate::feature::Plan;
use crate::versioning::{ByField, SampleHash, sample_provenance};

/// The column of the numbers that samples have among all that are given.
pub const ROW: &str = "metaxy:row";

/// What becomes of the samples of a feature.
pub struct GivenSamples {
    feature: String,
    /// The columns that must have values.
    ids: Vec<String>,
    /// The columns as they are given, by their proper names.
    given: SchemaRef,
    schema: SchemaRef,
    filters: Vec<Filter>,
    members: Vec<String>,
    hash: SampleHash,
    rows: u64,
}

impl GivenSamples {
    /// For samples of the feature of `plan` with the columns of `schema`, of which those are kept that meet `filters`.
    pub fn new(
        plan: &Plan<'_>,
        schema: SchemaRef,
        filters: Vec<Filter>,
        hash: SampleHash,
    ) -> Result<GivenSamples> {
        let feature = plan.feature;
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
        let joined = plan.join_columns();
        let own = feature.id_columns.iter().map(String::as_str).filter(|id| !joined.contains(id));
        let ids = joined.iter().copied().chain(own).filter(|id| given.column_with_name(id).is_some());
        Ok(GivenSamples {
            feature: feature.key.to_string(),
            ids: ids.map(str::to_owned).collect(),
            given,
            schema: Arc::new(Schema::new(fields)),
            filters,
            members,
            hash,
            rows: 0,
        })
    }

    /// The columns that there are of those that tell samples apart.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The columns of what [`GivenSamples::complete`] gives, without [`ROW`].
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The samples of a batch that are kept, with their versions; [`ROW`] comes last.
    pub fn complete(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = RecordBatch::try_new(self.given.clone(), batch.columns().to_vec()).map_err(unfit)?;
        let by_field = column(&batch, system::PROVENANCE_BY_FIELD)?;
        let first_row = self.rows;
        self.rows += batch.num_rows() as u64;
        let by_field = ByField::try_new(&by_field, system::PROVENANCE_BY_FIELD, &self.members, first_row)?;
        let versions = sample_provenance(&by_field, &self.hash);
        let provenance: ArrayRef = Arc::new(versions.clone());
        let columns = self.schema.fields().iter().map(|field| match field.name().as_str() {
            system::PROVENANCE => Ok(provenance.clone()),
            system::DATA_VERSION if self.is_derived() => Ok(provenance.clone()),
            system::DATA_VERSION_BY_FIELD if self.is_derived() => column(&batch, system::PROVENANCE_BY_FIELD),
            name => column(&batch, name),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let completed = RecordBatch::try_new(self.schema.clone(), columns).map_err(unfit)?;
        let mut kept = BooleanArray::from(vec![true; batch.num_rows()]);
        for filter in &self.filters {
            kept = and(&kept, &filter.matches(&completed)?).map_err(unfit)?;
        }
        self.check_ids(&completed, &kept, first_row)?;
        self.check_versions(&by_field, &versions, &kept, first_row)?;
        let (schema, mut columns, _) = completed.into_parts();
        columns.push(Arc::new(UInt64Array::from_iter_values((first_row..).take(batch.num_rows()))));
        let row = Arc::new(Field::new(ROW, DataType::UInt64, true));
        let fields: Vec<_> = schema.fields().iter().cloned().chain([row]).collect();
        let numbered = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unfit)?;
        filter_record_batch(&numbered, &kept).map_err(unfit)
    }

    fn check_ids(&self, batch: &RecordBatch, kept: &BooleanArray, first_row: u64) -> Result<()> {
        for name in &self.ids {
            let Some(nulls) = column(batch, name)?.logical_nulls() else { continue };
            if let Some(row) = (0..batch.num_rows()).find(|row| kept.value(*row) && nulls.is_null(*row)) {
                return Err(self.refuse(
                    name,
                    format!(
                        "row {} of the samples of {} has no value in the id column {name}; give it one, or leave the \
                         sample out",
                        first_row + row as u64,
                        self.feature
                    ),
                    "null",
                ));
            }
        }
        Ok(())
    }

    /// Refuses samples of which nothing says whether they have changed.
    fn check_versions(
        &self,
        by_field: &ByField,
        versions: &LargeStringArray,
        kept: &BooleanArray,
        first_row: u64,
    ) -> Result<()> {
        let Some(nulls) = versions.nulls() else { return Ok(()) };
        let unknown = (0..versions.len()).find(|row| kept.value(*row) && nulls.is_null(*row));
        let Some(row) = unknown else { return Ok(()) };
        let name = system::PROVENANCE_BY_FIELD;
        let lost = self.members.iter().enumerate();
        let lost = lost.filter(|(position, _)| by_field.value(*position, row).is_none());
        let lost: Vec<&str> = lost.map(|(_, member)| member.as_str()).collect();
        let place = match by_field.is_null(row) {
            true => name.to_owned(),
            false => format!("{name} for: {}", lost.join(", ")),
        };
        Err(self.refuse(
            name,
            format!(
                "row {} of the samples of {} has no value in {place}; give each field what tells whether it has changed, \
                 such as a checksum, or leave the sample out",
                first_row + row as u64,
                self.feature
            ),
            "null",
        ))
    }

    /// The error for the sample `row` of those that were given, which is at `place` of `samples` and came before.
    pub fn repeated(&self, samples: &RecordBatch, place: usize, row: u64) -> Error {
        let shown = self.ids.iter().filter_map(|name| {
            let column = samples.column_by_name(name).filter(|column| place < column.len())?;
            Some(format!("{name}={}", show(column, place)))
        });
        let id = shown.collect::<Vec<_>>().join(", ");
        let message = format!(
            "row {row} of the samples of {} has the id {id}, which an earlier row has; give each sample once",
            self.feature
        );
        self.refuse(&self.ids.join(", "), message, &id)
    }

    fn refuse(&self, column: &str, message: String, value: &str) -> Error {
        Error::invalid(message).with("column", column).with("value", value)
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
