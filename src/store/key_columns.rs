//! The columns by which samples are compared with what is stored of them.

use arrow::datatypes::DataType;

use super::compare::{KeyColumn, common_type};
use super::samples_given::GivenSamples;
use super::serving::Serving;
use super::upstream::comparable;
use super::workload::Workload;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Lineage, Plan};
use crate::versioning::Repeats;

/// The columns by which samples are compared, as [`Keying::new`] takes them: first those by which dependencies are joined,
/// as in Metaxy. Where the other ids of the feature are ids of a dependency of which each row makes one sample, they
/// count as well: frames that are joined with what is known of their videos are compared frame by frame. A column that
/// only has the name of an id says nothing, and members of a group are computed together.
pub fn comparison_columns(
    plan: &Plan<'_>,
    expected: impl Fn(&str) -> Option<Given>,
) -> Result<Vec<KeyColumn>> {
    let mut names: Vec<&str> = plan.join_columns();
    let ids = &plan.feature.id_columns;
    let expands =
        plan.upstreams.iter().any(|upstream| matches!(upstream.dep.lineage, Lineage::Expansion { .. }));
    let refines = names.iter().all(|name| ids.iter().any(|id| id == name));
    let given = |id: &str| {
        plan.upstreams.iter().any(|upstream| {
            let one_to_one = matches!(upstream.dep.lineage, Lineage::Identity) && !upstream.dep.optional;
            one_to_one && upstream.renamed_id_columns().contains(&id)
        })
    };
    let complete = ids.iter().all(|id| names.contains(&id.as_str()) || (given(id) && expected(id).is_some()));
    if !expands && refines && complete {
        names.extend(ids.iter().map(String::as_str).filter(|id| !names.contains(id)).collect::<Vec<_>>());
    }
    let columns = names.into_iter().map(|name| {
        let Given { column, data_type, compared } = expected(name).ok_or_else(|| {
            Error::new(
                Status::SchemaMismatch,
                format!("the samples have no column {name}, by which they are told apart; add it"),
            )
            .with("column", name)
        })?;
        Ok(KeyColumn { expected: column, name: name.to_owned(), given: data_type, compared })
    });
    columns.collect()
}

/// A column of expected rows.
pub struct Given {
    column: String,
    data_type: DataType,
    compared: DataType,
}

impl Given {
    pub fn new(column: &str, data_type: &DataType) -> Given {
        let compared = comparable(data_type);
        Given { column: column.to_owned(), data_type: data_type.clone(), compared }
    }
}

/// What samples of one key are: the same sample twice, unless they are parts of what is computed together.
pub fn repeats_of_samples(plan: &Plan<'_>, given: &GivenSamples, columns: &[KeyColumn]) -> Repeats {
    let each_one = plan.upstreams.iter().all(|upstream| matches!(upstream.dep.lineage, Lineage::Identity));
    let all_ids = given.ids().iter().all(|id| columns.iter().any(|column| column.name == *id));
    if each_one && agree(plan) && all_ids { Repeats::Told } else { Repeats::Compared }
}

/// Whether rows that are joined by the same values are expected to be of one provenance, so that whatever is stored of
/// them must be of it, as in Metaxy. Children speak for their siblings, and rows that share fewer columns than they are
/// told apart by differ from each other.
pub fn agree(plan: &Plan<'_>) -> bool {
    let joined = plan.join_columns();
    plan.upstreams.iter().all(|upstream| {
        !matches!(upstream.dep.lineage, Lineage::Expansion { .. })
            && upstream.input_id_columns(plan.feature).iter().all(|column| joined.contains(column))
    })
}

/// The [`comparison_columns`] of rows that are computed from dependencies.
pub fn compared_columns(plan: &Plan<'_>, workload: &Workload) -> Result<Vec<KeyColumn>> {
    let joined = plan.join_columns();
    comparison_columns(plan, |name| match joined.iter().position(|other| *other == name) {
        Some(position) => {
            let first = workload.upstreams().first()?;
            let ((_, data_type), (_, compared)) =
                first.given_keys().zip(first.keys()).nth(position).map(|(given, key)| (given, key))?;
            Some(Given {
                column: workload.key(position),
                data_type: data_type.clone(),
                compared: compared.clone(),
            })
        }
        None => workload.column(name).map(|(column, data_type)| Given::new(column, data_type)),
    })
}

/// The columns by which expected rows are compared with stored ones, in types that both have; refused if there is none.
pub fn beside_stored(
    key: &FeatureKey,
    mut columns: Vec<KeyColumn>,
    stored: &Serving,
    owner: &str,
) -> Result<Vec<KeyColumn>> {
    for KeyColumn { name, given, compared, .. } in &mut columns {
        if let Ok(field) = stored.schema().field_with_name(name) {
            let stored = format!("the stored rows of {key}");
            *compared = common_type(compared, (owner, given, name), (&stored, field.data_type(), name))?;
        }
    }
    Ok(columns)
}
