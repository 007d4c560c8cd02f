//! What features are: their keys, their specs, the graph they form and the versions that follow.
//!
//! Everything here is a pure function of JSON text: nothing reads a store, a clock or a setting.

mod definition;
mod difference;
mod document;
mod graph;
mod key;
mod plan;
pub mod python_json;
mod render;
mod spec;
pub mod system_columns;
mod version;

pub use definition::{FeatureDefinition, check_project_name};
pub use difference::{Change, Difference, FeatureDifference, FieldDifference, Kind as DifferenceKind};
pub use graph::Graph;
pub use key::{FeatureKey, FieldKey, Key, KeyKind, SYSTEM_NAMESPACE, SYSTEM_TABLE_PREFIX};
pub use plan::{Plan, QualifiedField, Upstream};
pub use render::Picture;
pub use spec::{
    ALL_FIELDS, DEFAULT_CODE_VERSION, FeatureDep, FeatureSpec, FieldDep, FieldDeps, FieldSelection,
    FieldSpec, FieldsMapping, Lineage,
};
pub use version::{FeatureVersions, Truncation, Versions};

/// The name among `known` that a writer of `name` most likely meant, if any is close enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters: enough for a slip or a forgotten plural, too little for another word.
    let tolerance = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The sentence that offers the [`nearest`] name, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|found| format!("; did you mean `{found}`?")).unwrap_or_default()
}
