//! The ten columns that every stored row has besides the user's own, by the names that Metaxy 0.1.11 gives them.

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

/// The beginning of every column name that is not the user's to choose.
pub const RESERVED_PREFIX: &str = "metaxy_";

pub fn is_system(column: &str) -> bool {
    ALL.contains(&column)
}
