//! Rows on their way in: checked, completed with the system columns, in the types of the table.
//!
//! The rules of completion are those of Metaxy 0.1.11; what it lets pass silently (missing or null
//! ids, lossy casts, unknown `metaxy_` columns) is refused.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_not_null, is_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::conform::{conform, show, stored_type};
use super::system_columns as system;
use crate::error::{Error, Result, Status};
use crate::feature::FeatureSpec;
use crate::versioning::{ByField, SampleHash, sample_provenance};

/// What one write stamps on all its rows.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub feature_version: String,
    pub project_version: String,
    pub materialization_id: Option<String>,
    /// Microseconds since 1970 in UTC.
    pub time: i64,
}

/// How the rows of one write become rows of the table.
pub struct Incoming {
    feature: String,
    id_columns: Vec<String>,
    /// The struct members that every row must bring.
    members: Vec<String>,
    hash: SampleHash,
    stamp: Stamp,
    given: SchemaRef,
    stored: SchemaRef,
    rows: u64,
}

impl Incoming {
    /// Plans a write of rows that come as `given` into a table that has the columns of `table`, or
    /// into a new one. Everything that the schema alone tells is checked here.
    pub fn new(spec: &FeatureSpec, given: &Schema, table: Option<&Schema>, hash: SampleHash, stamp: Stamp) -> Result<Incoming> {
        let feature = spec.key.to_string();
        let given = Arc::new(with_canonical_names(given));
        check_columns(&feature, &spec.id_columns, &given)?;
        let stored = Arc::new(stored_schema(&given, table));
        Ok(Incoming {
            feature,
            id_columns: spec.id_columns.clone(),
            members: spec.fields.iter().map(|field| field.key.struct_key()).collect(),
            hash,
            stamp,
            given,
            stored,
            rows: 0,
        })
    }

    /// The columns that the write stores, in the table's order; columns that only the table has are
    /// not among them.
    pub fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    pub fn id_columns(&self) -> &[String] {
        &self.id_columns
    }

    /// Checks and completes the next rows.
    pub fn complete(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.given.fields().len() {
            return Err(self.refuse(Status::SchemaMismatch, "the columns of the rows changed within one write; write rows of one schema".to_owned()));
        }
        let batch = RecordBatch::try_new_with_options(
            self.given.clone(),
            batch.columns().to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )
        .map_err(|cause| {
            self.refuse(Status::SchemaMismatch, format!("the rows do not fit the schema of the write: {cause}"))
        })?;
        let versions = self.versions(&batch)?;
        let columns = self
            .stored
            .fields()
            .iter()
            .map(|field| self.column(field, &batch, &versions))
            .collect::<Result<Vec<_>>>()?;
        let completed = RecordBatch::try_new_with_options(
            self.stored.clone(),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )
        .map_err(|cause| self.refuse(Status::Internal, format!("the completed rows do not fit the table: {cause}")))?;
        self.check_ids(&completed)?;
        self.rows += batch.num_rows() as u64;
        Ok(completed)
    }

    fn column(&self, field: &Field, batch: &RecordBatch, versions: &Versions) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let given = batch.column_by_name(field.name());
        let array: ArrayRef = match field.name().as_str() {
            system::PROVENANCE_BY_FIELD => versions.provenance_by_field.clone(),
            system::PROVENANCE => versions.provenance.clone(),
            system::DATA_VERSION_BY_FIELD => versions.data_version_by_field.clone(),
            system::DATA_VERSION => versions.data_version.clone(),
            system::FEATURE_VERSION => text(Some(&self.stamp.feature_version), rows),
            system::PROJECT_VERSION => text(Some(&self.stamp.project_version), rows),
            system::MATERIALIZATION_ID => text(self.stamp.materialization_id.as_deref(), rows),
            system::UPDATED_AT => self.now(rows),
            system::CREATED_AT => given.cloned().unwrap_or_else(|| self.now(rows)),
            system::DELETED_AT => given.cloned().unwrap_or_else(|| new_null_array(&system::timestamp(), rows)),
            _ => given.cloned().unwrap_or_else(|| new_null_array(field.data_type(), rows)),
        };
        if let (true, DataType::Struct(_)) = (is_by_field(field.name()), array.data_type()) {
            if matches!(field.data_type(), DataType::List(_) | DataType::LargeList(_)) {
                // The table keeps its by-field columns as lists of entries.
                let entries: ArrayRef = Arc::new(self.by_field(&array, field.name())?.to_map_list()?);
                return conform(&entries, field, self.rows);
            }
        }
        conform(&array, field, self.rows).map_err(|error| error.with("feature", &self.feature))
    }

    /// The four version columns, completed in Metaxy's order.
    fn versions(&self, batch: &RecordBatch) -> Result<Versions> {
        let Some(given) = batch.column_by_name(system::PROVENANCE_BY_FIELD) else {
            return Err(self.refuse(Status::SchemaMismatch, missing_provenance(&self.feature)));
        };
        let by_field = self.by_field(given, system::PROVENANCE_BY_FIELD)?;
        let provenance_by_field = self.readable(given, system::PROVENANCE_BY_FIELD)?;
        let provenance: ArrayRef = match batch.column_by_name(system::PROVENANCE) {
            Some(provenance) if provenance.data_type() != &DataType::Null => self.as_text(provenance, system::PROVENANCE)?,
            _ => Arc::new(sample_provenance(&by_field, &self.hash)),
        };
        let Some(overridden) = batch.column_by_name(system::DATA_VERSION_BY_FIELD) else {
            return Ok(Versions {
                data_version_by_field: provenance_by_field.clone(),
                data_version: provenance.clone(),
                provenance_by_field,
                provenance,
            });
        };
        let readable = self.readable(overridden, system::DATA_VERSION_BY_FIELD)?;
        let data_version_by_field = self.filled(&readable, &provenance_by_field, system::DATA_VERSION_BY_FIELD)?;
        let data_version: ArrayRef = match batch.column_by_name(system::DATA_VERSION) {
            Some(version) if version.data_type() != &DataType::Null => {
                let version = self.as_text(version, system::DATA_VERSION)?;
                self.filled(&version, &provenance, system::DATA_VERSION)?
            }
            _ => {
                let by_field = self.by_field(&data_version_by_field, system::DATA_VERSION_BY_FIELD)?;
                Arc::new(sample_provenance(&by_field, &self.hash))
            }
        };
        Ok(Versions { provenance_by_field, provenance, data_version_by_field, data_version })
    }

    fn by_field(&self, array: &ArrayRef, column: &str) -> Result<ByField> {
        ByField::try_new(array, column, &self.members).map_err(|error| error.with("feature", &self.feature))
    }

    /// A by-field column as a struct with every member it has, in the order it has them.
    fn readable(&self, array: &ArrayRef, column: &str) -> Result<ArrayRef> {
        let mut members = ByField::member_names(array, column)?;
        // A column of entries without rows has no names; the spec's do.
        for member in &self.members {
            if !members.contains(member) {
                members.push(member.clone());
            }
        }
        let by_field = match array.data_type() {
            DataType::Struct(_) => ByField::try_new(array, column, &members),
            _ => ByField::try_new(array, column, &self.members),
        };
        Ok(Arc::new(by_field.map_err(|error| error.with("feature", &self.feature))?.to_struct()?))
    }

    fn as_text(&self, array: &ArrayRef, column: &str) -> Result<ArrayRef> {
        conform(array, &Field::new(column, DataType::LargeUtf8, true), self.rows)
            .map_err(|error| error.with("feature", &self.feature))
    }

    /// `array` where it has a value, `instead` where it is null.
    fn filled(&self, array: &ArrayRef, instead: &ArrayRef, column: &str) -> Result<ArrayRef> {
        if array.null_count() == 0 {
            return Ok(array.clone());
        }
        let instead = conform(instead, &Field::new(column, array.data_type().clone(), true), self.rows)?;
        is_not_null(array).and_then(|present| zip(&present, array, &instead)).map_err(|cause| {
            self.refuse(Status::Internal, format!("the nulls of {column} cannot be filled: {cause}"))
        })
    }

    fn check_ids(&self, batch: &RecordBatch) -> Result<()> {
        for name in &self.id_columns {
            let Some(column) = batch.column_by_name(name) else { continue };
            let null = match column.logical_null_count() {
                0 => None,
                _ => is_null(column).ok().and_then(|nulls| nulls.values().set_indices().next()),
            };
            if let Some(row) = null {
                return Err(self
                    .refuse(
                        Status::InvalidArgument,
                        format!(
                            "row {} has no value in the id column {name}; every row needs a value in each of: {}",
                            self.rows + row as u64,
                            self.id_columns.join(", ")
                        ),
                    )
                    .with("column", name)
                    .with("value", "null"));
            }
        }
        Ok(())
    }

    /// The error for row `row` of `batch`, whose id another row of the write has too.
    pub fn duplicate(&self, batch: &RecordBatch, row: usize) -> Error {
        let id = self
            .id_columns
            .iter()
            .filter_map(|name| Some(format!("{name}={}", show(batch.column_by_name(name)?, row))))
            .collect::<Vec<_>>()
            .join(", ");
        self.refuse(
            Status::InvalidArgument,
            format!(
                "two rows of the write have the id {id} (the second is row {}); write each sample once, or set \
                 write.duplicates=last to keep the last row of each",
                self.rows - batch.num_rows() as u64 + row as u64
            ),
        )
        .with("column", self.id_columns.join(", "))
        .with("value", id)
    }

    fn now(&self, rows: usize) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_value(self.stamp.time, rows).with_timezone("UTC"))
    }

    fn refuse(&self, status: Status, reason: String) -> Error {
        Error::new(status, format!("cannot write to the feature {}: {reason}; nothing was written", self.feature))
            .with("feature", &self.feature)
    }
}

struct Versions {
    provenance_by_field: ArrayRef,
    provenance: ArrayRef,
    data_version_by_field: ArrayRef,
    data_version: ArrayRef,
}

fn is_by_field(column: &str) -> bool {
    column == system::PROVENANCE_BY_FIELD || column == system::DATA_VERSION_BY_FIELD
}

fn missing_provenance(feature: &str) -> String {
    format!(
        "there is no column {}, a struct or map with one version per field of {feature}",
        system::PROVENANCE_BY_FIELD
    )
}

fn text(value: Option<&str>, rows: usize) -> ArrayRef {
    Arc::new(LargeStringArray::from_iter(std::iter::repeat_n(value, rows)))
}

/// `given`, with the unprefixed by-field column of older documents under today's name.
fn with_canonical_names(given: &Schema) -> Schema {
    let has_canonical = given.fields().iter().any(|field| field.name() == system::PROVENANCE_BY_FIELD);
    let fields: Vec<Field> = given
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            system::PROVENANCE_BY_FIELD_ALIAS if !has_canonical => {
                field.as_ref().clone().with_name(system::PROVENANCE_BY_FIELD)
            }
            _ => field.as_ref().clone(),
        })
        .map(|field| field.with_nullable(true))
        .collect();
    Schema::new(fields)
}

fn check_columns(feature: &str, id_columns: &[String], given: &Schema) -> Result<()> {
    let refuse = |column: &str, reason: String| {
        Err(Error::new(
            Status::SchemaMismatch,
            format!("cannot write to the feature {feature}: {reason}; nothing was written"),
        )
        .with("feature", feature)
        .with("column", column))
    };
    for (position, field) in given.fields().iter().enumerate() {
        let name = field.name().as_str();
        if given.fields().iter().take(position).any(|other| other.name() == name) {
            return refuse(name, format!("there are two columns {name}; give each its own name"));
        }
        if name.is_empty() || name.contains('.') {
            return refuse(name, format!("{name:?} cannot be the name of a column: LanceDB allows neither an empty name nor a dot; rename it"));
        }
        if name.starts_with(system::RESERVED_PREFIX) && !system::is_system(name) {
            return refuse(name, format!(
                "the column {name} has the prefix {} but is no system column; rename it, or drop it (the system columns are {})",
                system::RESERVED_PREFIX,
                system::ALL.join(", ")
            ));
        }
        if name.starts_with("_row") && ["_rowid", "_rowaddr", "_rowoffset"].contains(&name) {
            return refuse(name, format!("the column name {name} is taken by LanceDB; rename it"));
        }
    }
    for id in id_columns {
        if given.column_with_name(id).is_none() {
            let columns: Vec<&str> = given.fields().iter().map(|field| field.name().as_str()).collect();
            return refuse(id, format!("the id column {id} is missing; the rows have the columns {}", columns.join(", ")));
        }
    }
    match given.column_with_name(system::PROVENANCE_BY_FIELD) {
        None => refuse(system::PROVENANCE_BY_FIELD, missing_provenance(feature)),
        Some((_, field)) => match field.data_type() {
            DataType::Struct(_) | DataType::Map(_, _) | DataType::List(_) | DataType::LargeList(_) => Ok(()),
            other => refuse(
                system::PROVENANCE_BY_FIELD,
                format!("{} must be a struct or a map with one version per field, not {other}", system::PROVENANCE_BY_FIELD),
            ),
        },
    }
}

/// The columns that a write stores: those given and the system columns, in the table's types where
/// it has them, with the table's members and those that only the rows have.
fn stored_schema(given: &Schema, table: Option<&Schema>) -> Schema {
    let in_table = |name: &str| table.and_then(|table| table.column_with_name(name)).map(|(_, field)| field);
    let mut fields: Vec<Field> = Vec::new();
    for field in given.fields() {
        let name = field.name();
        match in_table(name) {
            Some(stored) => fields.push(joined(stored, field)),
            None => fields.push(new_field(field)),
        }
    }
    // The order of a table that Metaxy creates.
    for name in [
        system::FEATURE_VERSION,
        system::PROJECT_VERSION,
        system::PROVENANCE,
        system::CREATED_AT,
        system::UPDATED_AT,
        system::DELETED_AT,
        system::MATERIALIZATION_ID,
        system::DATA_VERSION_BY_FIELD,
        system::DATA_VERSION,
    ] {
        if fields.iter().any(|field| field.name() == name) {
            continue;
        }
        let field = in_table(name).cloned().unwrap_or_else(|| match name {
            system::DATA_VERSION_BY_FIELD => fields
                .iter()
                .find(|field| field.name() == system::PROVENANCE_BY_FIELD)
                .map_or_else(|| Field::new(name, DataType::Null, true), |field| field.clone().with_name(name)),
            system::CREATED_AT | system::UPDATED_AT | system::DELETED_AT => Field::new(name, system::timestamp(), true),
            _ => Field::new(name, DataType::LargeUtf8, true),
        });
        // The data version has the members of the provenance.
        let field = match fields.iter().find(|field| field.name() == system::PROVENANCE_BY_FIELD) {
            Some(provenance) if name == system::DATA_VERSION_BY_FIELD => joined(&field, provenance),
            _ => field,
        };
        fields.push(field);
    }
    Schema::new(fields)
}

fn new_field(field: &Field) -> Field {
    let name = field.name().as_str();
    let data_type = match name {
        system::PROVENANCE_BY_FIELD | system::DATA_VERSION_BY_FIELD => match field.data_type() {
            DataType::Struct(members) => ByField::struct_type(&members.iter().map(|member| member.name().clone()).collect::<Vec<_>>()),
            _ => return ByField::map_list_field(name),
        },
        system::CREATED_AT | system::UPDATED_AT | system::DELETED_AT => system::timestamp(),
        _ if system::is_system(name) => DataType::LargeUtf8,
        _ => stored_type(field.data_type()),
    };
    Field::new(name, data_type, true).with_metadata(field.metadata().clone())
}

/// The field of a table with the struct members that only `given` has added at the end. A column
/// that has had only nulls so far, and no type, takes that of `given`.
fn joined(stored: &Field, given: &Field) -> Field {
    if stored.data_type() == &DataType::Null {
        return new_field(given);
    }
    let (DataType::Struct(members), DataType::Struct(others)) = (stored.data_type(), given.data_type()) else {
        return stored.clone();
    };
    let mut all: Vec<Field> = members
        .iter()
        .map(|member| match others.iter().find(|other| other.name() == member.name()) {
            Some(other) => joined(member, other),
            None => member.as_ref().clone(),
        })
        .collect();
    for other in others {
        if !members.iter().any(|member| member.name() == other.name()) {
            let data_type = if is_by_field(stored.name()) { DataType::LargeUtf8 } else { stored_type(other.data_type()) };
            all.push(Field::new(other.name(), data_type, true));
        }
    }
    stored.clone().with_data_type(DataType::Struct(all.into()))
}
