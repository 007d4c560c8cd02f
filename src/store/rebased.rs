//! What becomes of a stored row under another version of its feature.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, LargeStringBuilder, RecordBatch, RecordBatchOptions,
    StructArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::compare::input_arrays;
use super::conform::conform;
use super::system_columns as system;
use super::upstream::unfit;
use crate::error::{Error, Result, Status};
use crate::versioning::{ByField, Expected};

/// The versions that rows are given.
pub struct TargetVersion {
    pub feature_version: String,
    pub project_version: String,
}

/// Makes rows those of another version.
pub struct Rebased {
    schema: SchemaRef,
    version: TargetVersion,
}

/// The columns of stored rows, by their names.
type Columns = Vec<(String, ArrayRef)>;

impl Rebased {
    /// For rows with the columns of `stored`, which become rows that are `expected`.
    pub fn new(
        id_columns: &[String],
        stored: &Schema,
        expected: &Expected,
        version: TargetVersion,
    ) -> Rebased {
        let by_field = ByField::struct_type(expected.members());
        let versions = [
            (system::PROVENANCE_BY_FIELD, &by_field),
            (system::PROVENANCE, &DataType::LargeUtf8),
            (system::DATA_VERSION_BY_FIELD, &by_field),
            (system::DATA_VERSION, &DataType::LargeUtf8),
            (system::FEATURE_VERSION, &DataType::LargeUtf8),
            (system::PROJECT_VERSION, &DataType::LargeUtf8),
        ];
        let mut fields: Vec<Field> = Vec::new();
        for field in stored.fields() {
            fields.push(match versions.iter().find(|(name, _)| name == field.name()) {
                Some((name, data_type)) => Field::new(*name, (*data_type).clone(), true),
                None => field.as_ref().clone().with_nullable(true),
            });
        }
        for (name, data_type) in versions {
            // Tables of older releases may lack some.
            if stored.column_with_name(name).is_none() {
                fields.push(Field::new(name, data_type.clone(), true));
            }
        }
        let id = |field: &Field| id_columns.iter().position(|id| id == field.name());
        fields.sort_by_key(|field| id(field).unwrap_or(usize::MAX));
        Rebased { schema: Arc::new(Schema::new(fields)), version }
    }

    /// The columns of rebased rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows with the columns `stored`; what is hashed of them are the `inputs` in `batch`.
    pub fn complete(
        &self,
        batch: &RecordBatch,
        stored: Columns,
        expected: &Expected,
        inputs: &[Option<String>],
    ) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let (by_field, provenance) = expected.provenance(&input_arrays(batch, inputs)?, rows)?;
        let find = |name: &str| stored.iter().find(|(other, _)| other == name).map(|(_, column)| column);
        let constant = |value: &str| -> ArrayRef {
            Arc::new(LargeStringArray::from_iter_values(std::iter::repeat_n(value, rows)))
        };
        let columns = self.schema.fields().iter().map(|field| -> Result<ArrayRef> {
            Ok(match field.name().as_str() {
                system::PROVENANCE_BY_FIELD => Arc::new(by_field.clone()),
                system::PROVENANCE => Arc::new(provenance.clone()),
                system::DATA_VERSION_BY_FIELD => {
                    let old = (find(system::DATA_VERSION_BY_FIELD), find(system::PROVENANCE_BY_FIELD));
                    Arc::new(data_versions_by_field(old, &by_field, expected.members())?)
                }
                system::DATA_VERSION => {
                    let old = (find(system::DATA_VERSION), find(system::PROVENANCE));
                    Arc::new(data_versions(old, &provenance)?)
                }
                system::FEATURE_VERSION => constant(&self.version.feature_version),
                system::PROJECT_VERSION => constant(&self.version.project_version),
                name => find(name).cloned().ok_or_else(|| {
                    Error::new(Status::Internal, format!("the column {name} of stored rows is gone"))
                })?,
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(unfit)
    }
}

/// The data versions by field: those of rows that had ones of their own, with the new provenance for fields that they
/// know nothing of; else the new provenance.
fn data_versions_by_field(
    (versions, provenance): (Option<&ArrayRef>, Option<&ArrayRef>),
    new: &StructArray,
    members: &[String],
) -> Result<StructArray> {
    let (Some(versions), Some(provenance)) = (versions, provenance) else { return Ok(new.clone()) };
    let mut known = ByField::member_names(versions, system::DATA_VERSION_BY_FIELD)?;
    for name in ByField::member_names(provenance, system::PROVENANCE_BY_FIELD)? {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    let old = ByField::with_nulls(versions, system::DATA_VERSION_BY_FIELD, &known)?;
    let before = ByField::with_nulls(provenance, system::PROVENANCE_BY_FIELD, &known)?;
    let overridden: Vec<bool> = (0..old.len())
        .map(|row| {
            let differs = |position| old.value(position, row) != before.value(position, row);
            !old.is_null(row) && (0..known.len()).any(differs)
        })
        .collect();
    if !overridden.contains(&true) || members.is_empty() {
        return Ok(new.clone());
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(members.len());
    for (member, new) in members.iter().zip(new.columns()) {
        let own = known.iter().position(|name| name == member);
        let own = |row: usize| own.and_then(|position| old.value(position, row));
        columns.push(Arc::new(replaced(new, |row| own(row).filter(|_| overridden.get(row) == Some(&true)))?));
    }
    StructArray::try_new(new.fields().clone(), columns, new.nulls().cloned()).map_err(unfit)
}

/// The data versions: those of rows that had ones of their own, else the new provenance.
fn data_versions(
    (versions, provenance): (Option<&ArrayRef>, Option<&ArrayRef>),
    new: &LargeStringArray,
) -> Result<LargeStringArray> {
    let (Some(versions), Some(provenance)) = (versions, provenance) else { return Ok(new.clone()) };
    let versions = text(versions, system::DATA_VERSION)?;
    let provenance = text(provenance, system::PROVENANCE)?;
    let new: ArrayRef = Arc::new(new.clone());
    replaced(&new, |row| value(&versions, row).filter(|old| value(&provenance, row) != Some(*old)))
}

/// A column of texts with others in place of some.
fn replaced<'a>(column: &ArrayRef, by: impl Fn(usize) -> Option<&'a str>) -> Result<LargeStringArray> {
    let column = text(column, "the provenance")?;
    let mut made = LargeStringBuilder::with_capacity(column.len(), column.value_data().len());
    for row in 0..column.len() {
        made.append_option(by(row).or_else(|| value(&column, row)));
    }
    Ok(made.finish())
}

fn value(column: &LargeStringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn text(column: &ArrayRef, name: &str) -> Result<LargeStringArray> {
    let column = conform(column, &Field::new(name, DataType::LargeUtf8, true), 0)?;
    match column.as_string_opt::<i64>() {
        Some(column) => Ok(column.clone()),
        None => Err(Error::new(Status::Internal, format!("{name} is no text"))),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::new_null_array;

    use super::*;

    type Row<'r> = Option<Vec<Option<&'r str>>>;

    fn members(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn by_field(names: &[&str], rows: &[Row<'_>]) -> StructArray {
        let DataType::Struct(fields) = ByField::struct_type(&members(names)) else { panic!("no struct") };
        let column = |position: usize| -> ArrayRef {
            let values = rows.iter().map(|row| row.as_ref().and_then(|row| row[position]));
            Arc::new(values.collect::<LargeStringArray>())
        };
        let nulls = rows.iter().map(Option::is_some).collect::<Vec<bool>>().into();
        StructArray::new(fields, (0..names.len()).map(column).collect(), Some(nulls))
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<LargeStringArray>())
    }

    #[test]
    fn versions_of_their_own_stay() {
        let old = by_field(
            &["x", "y"],
            &[
                Some(vec![Some("p"), Some("q")]),
                Some(vec![Some("mine"), Some("q")]),
                None,
                Some(vec![Some("p"), None]),
            ],
        );
        let provenance = by_field(&["y", "x"], &vec![Some(vec![Some("q"), Some("p")]); 4]);
        let new = by_field(&["x", "z"], &vec![Some(vec![Some("X"), Some("Z")]); 4]);
        let old: ArrayRef = Arc::new(old);
        let provenance: ArrayRef = Arc::new(provenance);
        let maps: Vec<ArrayRef> = [&old, &provenance]
            .map(|array| {
                let names = members(&["x", "y"]);
                let read = ByField::with_nulls(array, "c", &names).unwrap();
                Arc::new(read.to_map_list().unwrap()) as ArrayRef
            })
            .to_vec();
        for (old, provenance) in [(&old, &provenance), (&maps[0], &maps[1])] {
            let found =
                data_versions_by_field((Some(old), Some(provenance)), &new, &members(&["x", "z"])).unwrap();
            let column = |name| found.column_by_name(name).unwrap().clone();
            assert_eq!(&column("x"), &texts(&[Some("X"), Some("mine"), Some("X"), Some("p")]));
            assert_eq!(&column("z"), &texts(&[Some("Z"); 4]));
        }
        let found = data_versions_by_field((None, Some(&provenance)), &new, &members(&["x", "z"])).unwrap();
        assert_eq!(found, new);
    }

    #[test]
    fn the_version_of_a_sample_stays_where_it_was_its_own() {
        let old = texts(&[Some("p"), Some("mine"), None, Some("p")]);
        let provenance = texts(&[Some("p"), Some("p"), Some("p"), None]);
        let new = LargeStringArray::from(vec!["N"; 4]);
        let found = data_versions((Some(&old), Some(&provenance)), &new).unwrap();
        assert_eq!(found, LargeStringArray::from(vec!["N", "mine", "N", "p"]));
        let nothing = new_null_array(&DataType::Null, 4);
        assert_eq!(data_versions((Some(&nothing), Some(&provenance)), &new).unwrap(), new);
    }
}
