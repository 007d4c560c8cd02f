//! Rows of several tables as rows of one: their columns together, each in one type.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::conform::conform;
use super::system_columns as system;
use crate::error::{Error, Result, Status};
use crate::versioning::ByField;

/// The columns of several tables: those of the first, then what each of the others adds. A struct has
/// the members of all.
pub fn union<'a>(schemas: impl IntoIterator<Item = &'a Schema>) -> SchemaRef {
    let mut schemas = schemas.into_iter();
    let first = schemas.next().map(|schema| nullable(schema.fields())).unwrap_or_default();
    Arc::new(Schema::new(schemas.fold(first, |fields, schema| joined(&fields, &nullable(schema.fields())))))
}

/// Fields that another table may lack.
fn nullable(fields: &Fields) -> Fields {
    let one = |field: &Field| {
        let field = field.clone().with_nullable(true);
        match field.data_type() {
            DataType::Struct(members) => {
                let members = DataType::Struct(nullable(members));
                field.with_data_type(members)
            }
            _ => field,
        }
    };
    fields.iter().map(|field| one(field)).collect()
}

fn joined(fields: &Fields, others: &Fields) -> Fields {
    let mut all: Vec<Field> = Vec::with_capacity(fields.len());
    for field in fields {
        let field = field.as_ref().clone();
        all.push(match others.find(field.name()).map(|(_, other)| other.data_type()) {
            Some(other) => {
                let data_type = joined_type(field.data_type(), other);
                field.with_data_type(data_type)
            }
            None => field,
        });
    }
    all.extend(
        others.iter().filter(|other| fields.find(other.name()).is_none()).map(|other| other.as_ref().clone()),
    );
    all.into()
}

fn joined_type(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        (DataType::Null, other) => other.clone(),
        (DataType::Struct(members), DataType::Struct(others)) => DataType::Struct(joined(members, others)),
        (one, _) => one.clone(),
    }
}

/// A batch of one of the tables in the columns of all; `store` is where it comes from.
pub fn widened(batch: &RecordBatch, schema: &SchemaRef, store: &str) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => in_type(column, field).map_err(|error| unlike(error, field, store)),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|cause| {
        Error::new(Status::Internal, format!("the rows of {store} do not fit together with others: {cause}"))
    })
}

fn in_type(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let by_field = [system::PROVENANCE_BY_FIELD, system::DATA_VERSION_BY_FIELD];
    let is_struct = |data_type: &DataType| matches!(data_type, DataType::Struct(_));
    if !by_field.contains(&field.name().as_str())
        || is_struct(column.data_type()) == is_struct(field.data_type())
    {
        return conform(column, field, 0);
    }
    // One store keeps the column as a struct, the other as a map.
    let shaped: ArrayRef = match field.data_type() {
        DataType::Struct(members) => {
            let members: Vec<String> = members.iter().map(|member| member.name().clone()).collect();
            let given = ByField::member_names(column, field.name())?;
            if let Some(lost) = given.iter().find(|name| !members.contains(name)) {
                let reason = format!("the column {} is a struct without the member {lost}", field.name());
                return Err(Error::new(Status::SchemaMismatch, reason));
            }
            Arc::new(ByField::with_nulls(column, field.name(), &members)?.to_struct()?)
        }
        _ => {
            let members = ByField::member_names(column, field.name())?;
            Arc::new(ByField::with_nulls(column, field.name(), &members)?.to_map_list()?)
        }
    };
    conform(&shaped, field, 0)
}

fn unlike(error: Error, field: &Field, store: &str) -> Error {
    let column = field.name();
    error
        .reworded(|reason| {
            format!(
                "the rows of {store} cannot be read together with those of the stores before it in the chain: {reason}; \
                 leave out the column {column}, or read the stores one by one"
            )
        })
        .with("store", store)
        .with("column", column)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, LargeStringArray};

    use super::*;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    #[test]
    fn columns_and_members_of_all_are_there_in_the_types_of_the_first() {
        let members = |names: &[&str]| {
            DataType::Struct(names.iter().map(|name| field(name, DataType::LargeUtf8)).collect())
        };
        let one = Schema::new(vec![field("id", DataType::LargeUtf8), field("s", members(&["x"]))]);
        let other = Schema::new(vec![
            field("n", DataType::Int64),
            field("s", members(&["y", "x"])),
            field("id", DataType::Utf8),
        ]);
        let both = union([&one, &other]);
        let expected = Schema::new(vec![
            field("id", DataType::LargeUtf8),
            field("s", members(&["x", "y"])),
            field("n", DataType::Int64),
        ]);
        assert_eq!(*both, expected);
        let ids: ArrayRef = Arc::new(LargeStringArray::from(vec!["a"]));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let wide = widened(&batch, &both, "there").unwrap();
        assert_eq!(wide.num_columns(), 3);
        assert_eq!(wide.column(2).null_count(), 1);
    }

    #[test]
    fn a_value_that_does_not_fit_names_the_store_and_the_column() {
        let schema = Arc::new(Schema::new(vec![field("n", DataType::Int32)]));
        let large: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
        let error =
            widened(&RecordBatch::try_from_iter([("n", large)]).unwrap(), &schema, "prod").unwrap_err();
        assert_eq!((error.detail("store"), error.detail("column")), (Some("prod"), Some("n")));
        let small: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let batch = widened(&RecordBatch::try_from_iter([("n", small)]).unwrap(), &schema, "prod").unwrap();
        assert_eq!(batch.column(0).as_ref(), &Int32Array::from(vec![7]) as &dyn arrow::array::Array);
    }
}
