//! What a table lacks of the columns that rows bring.

use arrow::datatypes::{DataType, Field, Fields};

/// The columns that have no type in `present` but one in `wanted`.
pub fn untyped_fields<'a>(wanted: &'a Fields, present: &Fields) -> Vec<&'a str> {
    wanted
        .iter()
        .filter(|field| field.data_type() != &DataType::Null)
        .filter(|field| {
            present.iter().any(|other| other.name() == field.name() && other.data_type() == &DataType::Null)
        })
        .map(|field| field.name().as_str())
        .collect()
}

/// The part of `wanted` that `present` lacks: whole columns, or structs with only the new members.
pub fn missing_fields(wanted: &Fields, present: &Fields) -> Vec<Field> {
    let mut missing = Vec::new();
    for field in wanted {
        match present.iter().find(|other| other.name() == field.name()) {
            None => missing.push(field.as_ref().clone()),
            Some(other) => {
                if let (DataType::Struct(wanted), DataType::Struct(present)) =
                    (field.data_type(), other.data_type())
                {
                    let members = missing_fields(wanted, present);
                    if !members.is_empty() {
                        missing.push(field.as_ref().clone().with_data_type(DataType::Struct(members.into())));
                    }
                }
            }
        }
    }
    missing
}
