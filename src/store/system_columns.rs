//! The ten columns that every feature table has beside those of its user.
//!
//! Names and types are those that Metaxy 0.1.11 writes.

use arrow::datatypes::{DataType, TimeUnit};

pub const PROVENANCE_BY_FIELD: &str = "metaxy_provenance_by_field";
pub const PROVENANCE: &str = "metaxy_provenance";
pub const DATA_VERSION_BY_FIELD: &str = "metaxy_data_version_by_field";
pub const DATA_VERSION: &str = "metaxy_data_version";
pub const FEATURE_VERSION: &str = "metaxy_feature_version";
pub const PROJECT_VERSION: &str = "metaxy_project_version";
pub const CREATED_AT: &str = "metaxy_created_at";
pub const UPDATED_AT: &str = "metaxy_updated_at";
pub const DELETED_AT: &str = "metaxy_deleted_at";
pub const MATERIALIZATION_ID: &str = "metaxy_materialization_id";

/// The column as older documents call it; accepted on write.
pub const PROVENANCE_BY_FIELD_ALIAS: &str = "provenance_by_field";

pub const ALL: [&str; 10] = [
    PROVENANCE_BY_FIELD,
    PROVENANCE,
    DATA_VERSION_BY_FIELD,
    DATA_VERSION,
    FEATURE_VERSION,
    PROJECT_VERSION,
    CREATED_AT,
    UPDATED_AT,
    DELETED_AT,
    MATERIALIZATION_ID,
];

/// The prefix that no column of a user may have.
pub const RESERVED_PREFIX: &str = "metaxy_";

pub fn is_system(column: &str) -> bool {
    ALL.contains(&column)
}

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
