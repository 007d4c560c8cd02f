//! The system columns as a store keeps them: their types, and the names that are as good as theirs.

use arrow::datatypes::{DataType, TimeUnit};

pub use crate::feature::system_columns::*;

/// The column as older documents call it; accepted on write.
pub const PROVENANCE_BY_FIELD_ALIAS: &str = "provenance_by_field";

/// Metaxy stores a leftover of its joins under names such as `metaxy_deleted_at_right`; readers do
/// not want to see it.
pub fn is_leftover(column: &str) -> bool {
    let mut name = column;
    while let Some(shorter) = name.strip_suffix("_right") {
        name = shorter;
        if is_system(name) {
            return true;
        }
    }
    false
}

/// The columns that tell a row from others of a table whose samples have `id_columns`: also from those that the
/// sample had before.
pub fn identifying(id_columns: &[String]) -> Vec<String> {
    let system = [UPDATED_AT, DELETED_AT, FEATURE_VERSION, PROVENANCE, MATERIALIZATION_ID];
    id_columns.iter().cloned().chain(system.map(str::to_owned)).collect()
}

/// Microseconds since 1970 in UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_of_system_columns_are_hidden() {
        assert!(is_leftover("metaxy_deleted_at_right"));
        assert!(is_leftover("metaxy_deleted_at_right_right"));
        assert!(!is_leftover("copy_right"));
        assert!(!is_leftover("metaxy_deleted_at"));
    }
}
