//! Rows on their way in: checked, completed with the system columns, in the types of the table.
//!
//! The rules of completion are those of Metaxy 0.1.11; what it lets pass silently (missing or null
//! ids, lossy casts, unknown `metaxy_` columns) is refused.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_not_null, is_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::conform::{conform, show, stored_type};
use super::options::WRITE_VERSIONS;
use super::repeats::Repeat;
use super::system_columns as system;
use crate::backend::unusable_column_name;
use crate::error::{Error, Result, Status};
use crate::feature::FeatureSpec;
use crate::versioning::{ByField, SampleHash, sample_provenance};

/// What one write stamps on all its rows.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Nothing for rows that a store gave: they keep their versions and their times.
    pub fresh: Option<Fresh>,
    pub materialization_id: Option<String>,
}

/// What makes rows those of now.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub versions: Versioned,
    /// Microseconds since 1970 in UTC.
    pub time: i64,
}

/// Of which versions of the feature and of its project rows are.
#[derive(Clone, Debug)]
pub enum Versioned {
    Stamped {
        feature_version: String,
        project_version: String,
    },
    /// Of those that each row brings.
    Kept,
}

/// The columns that [`Versioned`] is about.
const VERSIONS: [&str; 2] = [system::FEATURE_VERSION, system::PROJECT_VERSION];

impl Stamp {
    fn keeps_versions(&self) -> bool {
        matches!(self.fresh, Some(Fresh { versions: Versioned::Kept, .. }))
    }
}

/// How the rows of one write become rows of the table.
#[derive(Clone)]
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
    pub fn new(
        spec: &FeatureSpec,
        given: &Schema,
        table: Option<&Schema>,
        hash: SampleHash,
        stamp: Stamp,
    ) -> Result<Incoming> {
        let feature = spec.key.to_string();
        let given = Arc::new(with_canonical_names(given));
        check_columns(&feature, &spec.id_columns, &given)?;
        let mut members: Vec<String> = spec.fields.iter().map(|field| field.key.struct_key()).collect();
        if stamp.keeps_versions() {
            check_versioned(&feature, &given)?;
            // The feature may have had other fields in that version.
            if let Some(theirs) = struct_members(&given, system::PROVENANCE_BY_FIELD) {
                members = theirs;
            }
        }
        let stored = stored_schema(&given, table, &members).map_err(|error| about(&feature, error))?;
        Ok(Incoming {
            feature,
            id_columns: spec.id_columns.clone(),
            members,
            hash,
            stamp,
            given,
            stored: Arc::new(stored),
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
        let completed = self.try_on(batch)?;
        self.rows += batch.num_rows() as u64;
        Ok(completed)
    }

    /// What the next rows would become, without counting them.
    pub fn try_on(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.given.fields().len() {
            return Err(self.refuse(
                Status::SchemaMismatch,
                "the columns of the rows changed within one write; write rows of one schema".to_owned(),
            ));
        }
        let batch = RecordBatch::try_new_with_options(
            self.given.clone(),
            batch.columns().to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )
        .map_err(|cause| {
            self.refuse(
                Status::SchemaMismatch,
                format!("the rows do not fit the schema of the write: {cause}"),
            )
        })?;
        let fresh = match &self.stamp.fresh {
            Some(fresh) => Some((fresh, self.versions(&batch)?)),
            None => None,
        };
        let columns = self
            .stored
            .fields()
            .iter()
            .map(|field| match &fresh {
                Some((fresh, versions)) => self.column(field, &batch, fresh, versions),
                None => self.kept(field, &batch),
            })
            .collect::<Result<Vec<_>>>()?;
        let completed = RecordBatch::try_new_with_options(
            self.stored.clone(),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )
        .map_err(|cause| {
            self.refuse(Status::Internal, format!("the completed rows do not fit the table: {cause}"))
        })?;
        // Rows without an id are in tables of Metaxy, and those who read them must be able to delete them.
        if self.stamp.fresh.is_some() {
            self.check_ids(&completed)?;
        }
        Ok(completed)
    }

    fn column(
        &self,
        field: &Field,
        batch: &RecordBatch,
        fresh: &Fresh,
        versions: &Versions,
    ) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let given = batch.column_by_name(field.name());
        let array: ArrayRef = match field.name().as_str() {
            system::PROVENANCE_BY_FIELD => versions.provenance_by_field.clone(),
            system::PROVENANCE => versions.provenance.clone(),
            system::DATA_VERSION_BY_FIELD => versions.data_version_by_field.clone(),
            system::DATA_VERSION => versions.data_version.clone(),
            name if VERSIONS.contains(&name) => self.version(name, batch, &fresh.versions)?,
            system::MATERIALIZATION_ID => text(self.stamp.materialization_id.as_deref(), rows),
            system::UPDATED_AT => times(fresh.time, rows),
            system::CREATED_AT => given.cloned().unwrap_or_else(|| times(fresh.time, rows)),
            system::DELETED_AT => {
                given.cloned().unwrap_or_else(|| new_null_array(&system::timestamp(), rows))
            }
            _ => given.cloned().unwrap_or_else(|| new_null_array(field.data_type(), rows)),
        };
        self.in_shape(&array, field)
    }

    fn version(&self, name: &str, batch: &RecordBatch, versions: &Versioned) -> Result<ArrayRef> {
        match (versions, batch.column_by_name(name)) {
            (Versioned::Stamped { feature_version, .. }, _) if name == system::FEATURE_VERSION => {
                Ok(text(Some(feature_version), batch.num_rows()))
            }
            (Versioned::Stamped { project_version, .. }, _) => {
                Ok(text(Some(project_version), batch.num_rows()))
            }
            (Versioned::Kept, Some(given)) => {
                self.refuse_nulls(given, name, |row| {
                    format!(
                        "row {row} has no value in the column {name}; with {WRITE_VERSIONS}=keep every row needs one in each \
                         of: {}",
                        VERSIONS.join(", ")
                    )
                })?;
                Ok(given.clone())
            }
            (Versioned::Kept, None) => Err(about(&self.feature, no_version(name))),
        }
    }

    /// The column of rows that a store gave, as it is; only a run that is named replaces theirs.
    fn kept(&self, field: &Field, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        match (field.name().as_str(), &self.stamp.materialization_id) {
            (system::MATERIALIZATION_ID, Some(run)) => self.conform(&text(Some(run), rows), field),
            (name, _) => match batch.column_by_name(name) {
                Some(given) => self.in_shape(given, field),
                None => Ok(new_null_array(field.data_type(), rows)),
            },
        }
    }

    /// A column in the type of the table, which may keep its by-field columns as structs or as lists
    /// of entries.
    fn in_shape(&self, array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        if !is_by_field(field.name()) {
            return self.conform(array, field);
        }
        match (array.data_type(), field.data_type()) {
            (DataType::Struct(members), DataType::List(_) | DataType::LargeList(_)) => {
                let members: Vec<String> = match self.stamp.fresh {
                    Some(_) => self.members.clone(),
                    None => members.iter().map(|member| member.name().clone()).collect(),
                };
                let entries: ArrayRef =
                    Arc::new(self.members_of(array, field.name(), &members)?.to_map_list()?);
                self.conform(&entries, field)
            }
            (DataType::Struct(_), _) | (_, DataType::List(_) | DataType::LargeList(_)) => {
                self.conform(array, field)
            }
            _ => self.conform(&self.as_struct(array, field.name())?, field),
        }
    }

    /// The four version columns, completed in Metaxy's order.
    fn versions(&self, batch: &RecordBatch) -> Result<Versions> {
        let Some(given) = batch.column_by_name(system::PROVENANCE_BY_FIELD) else {
            return Err(self.refuse(Status::SchemaMismatch, missing_provenance(&self.feature)));
        };
        let by_field = self.by_field(given, system::PROVENANCE_BY_FIELD)?;
        let provenance_by_field = self.as_struct(given, system::PROVENANCE_BY_FIELD)?;
        let provenance: ArrayRef = match batch.column_by_name(system::PROVENANCE) {
            Some(provenance) if provenance.data_type() != &DataType::Null => {
                self.as_text(provenance, system::PROVENANCE)?
            }
            _ => Arc::new(sample_provenance(&by_field, &self.hash)),
        };
        let overridden = batch.column_by_name(system::DATA_VERSION_BY_FIELD);
        let Some(overridden) = overridden.filter(|column| column.data_type() != &DataType::Null) else {
            return Ok(Versions {
                data_version_by_field: provenance_by_field.clone(),
                data_version: provenance.clone(),
                provenance_by_field,
                provenance,
            });
        };
        let overridden = self.as_struct(overridden, system::DATA_VERSION_BY_FIELD)?;
        let data_version_by_field =
            self.filled(&overridden, &provenance_by_field, system::DATA_VERSION_BY_FIELD)?;
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
        self.members_of(array, column, &self.members)
    }

    /// A by-field column as a struct: with every member that it has, in its order, or, if it is a
    /// map, with the fields of the feature, since the rows of a map may each have other entries.
    fn as_struct(&self, array: &ArrayRef, column: &str) -> Result<ArrayRef> {
        let mut members: Vec<String> = match array.data_type() {
            DataType::Struct(given) => given.iter().map(|member| member.name().clone()).collect(),
            _ => Vec::new(),
        };
        members.extend(
            self.members.iter().filter(|member| !members.contains(member)).cloned().collect::<Vec<_>>(),
        );
        Ok(Arc::new(self.members_of(array, column, &members)?.to_struct()?))
    }

    fn members_of(&self, array: &ArrayRef, column: &str, members: &[String]) -> Result<ByField> {
        ByField::try_new(array, column, members, self.rows).map_err(|error| about(&self.feature, error))
    }

    fn as_text(&self, array: &ArrayRef, column: &str) -> Result<ArrayRef> {
        self.conform(array, &Field::new(column, DataType::LargeUtf8, true))
    }

    fn conform(&self, array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        conform(array, field, self.rows).map_err(|error| about(&self.feature, error))
    }

    /// `array` where it has a value, `instead` where it is null.
    fn filled(&self, array: &ArrayRef, instead: &ArrayRef, column: &str) -> Result<ArrayRef> {
        if array.null_count() == 0 {
            return Ok(array.clone());
        }
        let instead = self.conform(instead, &Field::new(column, array.data_type().clone(), true))?;
        is_not_null(array).and_then(|present| zip(&present, array, &instead)).map_err(|cause| {
            self.refuse(Status::Internal, format!("the nulls of {column} cannot be filled: {cause}"))
        })
    }

    fn check_ids(&self, batch: &RecordBatch) -> Result<()> {
        for name in &self.id_columns {
            let Some(column) = batch.column_by_name(name) else { continue };
            self.refuse_nulls(column, name, |row| {
                format!(
                    "row {row} has no value in the id column {name}; every row needs a value in each of: {}",
                    self.id_columns.join(", ")
                )
            })?;
        }
        Ok(())
    }

    /// An error for the first null of a column, with the `reason` for its row.
    fn refuse_nulls(&self, column: &ArrayRef, name: &str, reason: impl Fn(u64) -> String) -> Result<()> {
        let null = match column.logical_null_count() {
            0 => None,
            _ => is_null(column).ok().and_then(|nulls| nulls.values().set_indices().next()),
        };
        match null {
            None => Ok(()),
            Some(row) => {
                let refused = self.refuse(Status::InvalidArgument, reason(self.rows + row as u64));
                Err(refused.with("column", name).with("value", "null"))
            }
        }
    }

    /// The error for two rows about one sample, of which `later` is the second.
    pub fn duplicate(&self, later: &RecordBatch, repeat: Repeat) -> Error {
        let (id, Repeat { earlier, later }) = (self.id_of(later), repeat);
        let reason = format!(
            "the rows {earlier} and {later} of the write both have the id {id}; write each sample once, or set \
             write.duplicates=last to keep the last row of each"
        );
        self.repeated(id, reason)
    }

    /// The error for the first of `rows`, whose sample waits for the same commit already.
    pub fn waiting_already(&self, rows: &RecordBatch) -> Error {
        let id = self.id_of(rows);
        let reason = format!(
            "a row with the id {id} waits for the same commit; flush before its next row is pushed, or leave \
             write.duplicates away so that the last row counts"
        );
        self.repeated(id, reason)
    }

    fn repeated(&self, id: String, reason: String) -> Error {
        self.refuse(Status::InvalidArgument, reason)
            .with("column", self.id_columns.join(", "))
            .with("value", id)
    }

    /// The id of the first row.
    fn id_of(&self, rows: &RecordBatch) -> String {
        let shown = self.id_columns.iter().filter_map(|name| {
            let column = rows.column_by_name(name).filter(|_| rows.num_rows() > 0)?;
            Some(format!("{name}={}", show(column, 0)))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn refuse(&self, status: Status, reason: String) -> Error {
        about(&self.feature, Error::new(status, reason))
    }
}

/// `error` as the reason why rows were not written to `feature`.
fn about(feature: &str, error: Error) -> Error {
    error
        .reworded(|reason| format!("cannot write to the feature {feature}: {reason}; nothing was written"))
        .with("feature", feature)
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

fn times(time: i64, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_value(time, rows).with_timezone("UTC"))
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
        Err(about(feature, Error::new(Status::SchemaMismatch, reason).with("column", column)))
    };
    for (position, field) in given.fields().iter().enumerate() {
        let name = field.name().as_str();
        if given.fields().iter().take(position).any(|other| other.name() == name) {
            return refuse(name, format!("there are two columns {name}; give each its own name"));
        }
        if let Some(reason) = unusable_column_name(name) {
            return refuse(name, format!("{name:?} cannot be the name of a column: {reason}; rename it"));
        }
        if name.starts_with(system::RESERVED_PREFIX) && !system::is_system(name) {
            return refuse(
                name,
                format!(
                    "the column {name} has the prefix {} but is no system column; rename it, or drop it (the system columns are {})",
                    system::RESERVED_PREFIX,
                    system::ALL.join(", ")
                ),
            );
        }
    }
    for id in id_columns {
        if given.column_with_name(id).is_none() {
            let columns: Vec<&str> = given.fields().iter().map(|field| field.name().as_str()).collect();
            return refuse(
                id,
                format!("the id column {id} is missing; the rows have the columns {}", columns.join(", ")),
            );
        }
    }
    if given.column_with_name(system::PROVENANCE_BY_FIELD).is_none() {
        return refuse(system::PROVENANCE_BY_FIELD, missing_provenance(feature));
    }
    for field in given.fields().iter().filter(|field| is_by_field(field.name())) {
        let name = field.name();
        match field.data_type() {
            DataType::Struct(_) | DataType::Map(_, _) | DataType::List(_) | DataType::LargeList(_) => {}
            DataType::Null if name == system::DATA_VERSION_BY_FIELD => {}
            other => {
                return refuse(
                    name,
                    format!("{name} must be a struct or a map with one version per field, not {other}"),
                );
            }
        }
    }
    Ok(())
}

/// Refuses rows that were to keep their versions, and have none.
fn check_versioned(feature: &str, given: &Schema) -> Result<()> {
    match VERSIONS.into_iter().find(|name| given.column_with_name(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(about(feature, no_version(name))),
    }
}

fn no_version(name: &str) -> Error {
    let reason = format!(
        "there is no column {name}, which rows need to keep their versions; add it, or leave {WRITE_VERSIONS} away"
    );
    Error::new(Status::SchemaMismatch, reason).with("column", name).with("option", WRITE_VERSIONS)
}

fn struct_members(schema: &Schema, column: &str) -> Option<Vec<String>> {
    match schema.field_with_name(column).ok()?.data_type() {
        DataType::Struct(members) => Some(members.iter().map(|member| member.name().clone()).collect()),
        _ => None,
    }
}

/// The columns that a write stores: those given and the system columns, in the table's types where
/// it has them, with the table's members and those that only the rows have. `members` are those of
/// the feature's by-field columns.
fn stored_schema(given: &Schema, table: Option<&Schema>, members: &[String]) -> Result<Schema> {
    let in_table = |name: &str| table.and_then(|table| table.column_with_name(name)).map(|(_, field)| field);
    let mut fields: Vec<Field> = Vec::new();
    for field in given.fields() {
        let name = field.name();
        if is_by_field(name) && field.data_type() == &DataType::Null {
            // As if it were not there.
            continue;
        }
        fields.push(match in_table(name) {
            None => new_field(field),
            Some(stored) if is_by_field(name) && is_struct(stored) && !is_struct(field) => {
                // A map, which becomes a struct of the feature's fields.
                joined(stored, &field.as_ref().clone().with_data_type(ByField::struct_type(members)))?
            }
            Some(stored) => joined(stored, field)?,
        });
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
            system::DATA_VERSION_BY_FIELD => {
                fields.iter().find(|field| field.name() == system::PROVENANCE_BY_FIELD).map_or_else(
                    || Field::new(name, DataType::Null, true),
                    |field| field.clone().with_name(name),
                )
            }
            system::CREATED_AT | system::UPDATED_AT | system::DELETED_AT => {
                Field::new(name, system::timestamp(), true)
            }
            _ => Field::new(name, DataType::LargeUtf8, true),
        });
        // The data version has the members of the provenance.
        let field = match fields.iter().find(|field| field.name() == system::PROVENANCE_BY_FIELD) {
            Some(provenance) if name == system::DATA_VERSION_BY_FIELD => joined(&field, provenance)?,
            _ => field,
        };
        fields.push(field);
    }
    Ok(Schema::new(fields))
}

fn is_struct(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Struct(_))
}

fn new_field(field: &Field) -> Field {
    let name = field.name().as_str();
    let data_type = match name {
        system::PROVENANCE_BY_FIELD | system::DATA_VERSION_BY_FIELD => match field.data_type() {
            DataType::Struct(members) => {
                ByField::struct_type(&members.iter().map(|member| member.name().clone()).collect::<Vec<_>>())
            }
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
fn joined(stored: &Field, given: &Field) -> Result<Field> {
    if stored.data_type() == &DataType::Null {
        return Ok(new_field(given));
    }
    let data_type =
        joined_type(stored.data_type(), given.data_type(), stored.name(), is_by_field(stored.name()))?;
    Ok(stored.clone().with_data_type(data_type))
}

fn joined_type(stored: &DataType, given: &DataType, path: &str, by_field: bool) -> Result<DataType> {
    if let (DataType::Struct(members), DataType::Struct(others)) = (stored, given) {
        let mut all = Vec::with_capacity(others.len());
        for member in members {
            all.push(match others.iter().find(|other| other.name() == member.name()) {
                None => member.as_ref().clone(),
                Some(other) => {
                    let path = format!("{path}.{}", member.name());
                    let joined = joined_type(member.data_type(), other.data_type(), &path, false)?;
                    member.as_ref().clone().with_data_type(joined)
                }
            });
        }
        for other in others.iter().filter(|other| members.find(other.name()).is_none()) {
            let data_type = if by_field { DataType::LargeUtf8 } else { stored_type(other.data_type()) };
            all.push(Field::new(other.name(), data_type, true));
        }
        return Ok(DataType::Struct(all.into()));
    }
    if let (Some(item), Some(other)) = (item(stored), item(given)) {
        // Items cannot get new members, but whether they can be stored at all is to be told here.
        joined_type(item.data_type(), other.data_type(), &format!("{path}[]"), false)?;
    }
    if stored == &DataType::Null && given != &DataType::Null {
        return Err(Error::new(
            Status::SchemaMismatch,
            format!(
                "{path} has no type in the table, where it has had only nulls, and inside a column it can no longer be \
                 given one ({given}); write only nulls there, or put the values in a new column"
            ),
        )
        .with("column", path)
        .with("expected", stored)
        .with("found", given));
    }
    Ok(stored.clone())
}

/// What the lists of a type hold.
fn item(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => Some(item),
        _ => None,
    }
}
