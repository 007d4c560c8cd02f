//! One feature beside the features it depends on: which fields and columns of theirs it uses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::did_you_mean;
use super::key::{FeatureKey, FieldKey};
use super::spec::{FeatureDep, FeatureSpec, FieldDeps, FieldSelection, FieldSpec, FieldsMapping, Lineage};
use super::system_columns::is_system;
use crate::error::{Error, Result};

/// A field together with the feature it belongs to, written `feature.field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QualifiedField<'g> {
    /// The feature.
    pub feature: &'g FeatureKey,
    /// The field within it.
    pub field: &'g FieldKey,
}

impl QualifiedField<'_> {
    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.feature.as_str().bytes().chain(*b".").chain(self.field.as_str().bytes())
    }
}

impl fmt::Display for QualifiedField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.feature, self.field)
    }
}

/// Orders by the written form, which is the order in which Metaxy hashes the parents of a field.
impl Ord for QualifiedField<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for QualifiedField<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A dependency and the feature it is on.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'g> {
    /// How it is prepared.
    pub dep: &'g FeatureDep,
    /// The feature depended upon.
    pub spec: &'g FeatureSpec,
}

/// A feature and, in the order of its dependencies, the features it is computed from.
#[derive(Clone, Debug)]
pub struct Plan<'g> {
    /// The feature in question.
    pub feature: &'g FeatureSpec,
    /// What it is computed from.
    pub upstreams: Vec<Upstream<'g>>,
}

impl<'g> Upstream<'g> {
    /// The id columns of the upstream feature, under their new names.
    pub fn renamed_id_columns(&self) -> Vec<&'g str> {
        self.spec.id_columns.iter().map(|column| self.dep.renamed(column)).collect()
    }

    /// The columns that identify a row of this dependency once it is prepared for `feature`.
    pub fn input_id_columns(&self, feature: &'g FeatureSpec) -> Vec<&'g str> {
        match &self.dep.lineage {
            Lineage::Identity => self.renamed_id_columns(),
            Lineage::Aggregation { on } => names(on.as_ref().unwrap_or(&feature.id_columns)),
            Lineage::Expansion { on, .. } => names(on),
        }
    }

    /// The user columns that are left once this dependency is prepared: those selected, then those
    /// that the lineage or the join cannot do without.
    ///
    /// Nothing when all columns are kept.
    pub fn kept_columns(&self) -> Option<Vec<&'g str>> {
        let mut kept = names(self.dep.select.as_ref()?);
        let on = match &self.dep.lineage {
            Lineage::Aggregation { on: Some(on) } | Lineage::Expansion { on, .. } => on.as_slice(),
            Lineage::Aggregation { on: None } | Lineage::Identity => &[],
        };
        let needed = if on.is_empty() { &self.spec.id_columns } else { on };
        for column in needed {
            let column = self.dep.renamed(column);
            if !kept.contains(&column) {
                kept.push(column);
            }
        }
        Some(kept)
    }

    /// The fields of the upstream feature that the dependency's mapping assigns to `field`.
    fn mapped_fields(&self, field: &FieldKey) -> Vec<&'g FieldKey> {
        let all = self.spec.fields.iter().map(|upstream| &upstream.key);
        match &self.dep.fields_mapping {
            FieldsMapping::All => all.collect(),
            FieldsMapping::None => Vec::new(),
            FieldsMapping::Specific(mapping) => all
                .filter(|upstream| mapping.get(field).is_some_and(|chosen| chosen.contains(upstream)))
                .collect(),
            FieldsMapping::Default { match_suffix, exclude_fields } => {
                let candidates: Vec<_> = all.filter(|upstream| !exclude_fields.contains(upstream)).collect();
                let matches =
                    |upstream: &FieldKey| upstream == field || *match_suffix && ends_with(upstream, field);
                let matching: Vec<_> =
                    candidates.iter().copied().filter(|upstream| matches(upstream)).collect();
                if matching.is_empty() { candidates } else { matching }
            }
        }
    }

    fn qualify(&self, field: &'g FieldKey) -> QualifiedField<'g> {
        QualifiedField { feature: &self.spec.key, field }
    }
}

fn names(columns: &[String]) -> Vec<&str> {
    columns.iter().map(String::as_str).collect()
}

fn ends_with(key: &FieldKey, suffix: &FieldKey) -> bool {
    let mut parts = key.parts().rev();
    suffix.parts().rev().all(|part| parts.next() == Some(part))
}

impl<'g> Plan<'g> {
    /// The upstream fields that feed `field`, in the order in which they are hashed.
    pub fn parent_fields(&self, field: &FieldKey) -> Result<Vec<QualifiedField<'g>>> {
        let spec = self.feature.field(field).ok_or_else(|| no_such_field(self.feature, field))?;
        self.parents_of(spec)
    }

    /// The columns that identify a sample of the joined dependencies; none for a feature without any.
    pub fn input_id_columns(&self) -> Vec<&'g str> {
        let per_dep = self.upstreams.iter().map(|upstream| upstream.input_id_columns(self.feature));
        let mut per_dep = per_dep.filter(|columns| !columns.is_empty());
        let mut shared = per_dep.next().unwrap_or_default();
        for columns in per_dep {
            shared.retain(|column| columns.contains(column));
        }
        shared
    }

    /// The columns by which dependencies are joined and expected samples compared with stored ones.
    pub fn join_columns(&self) -> Vec<&'g str> {
        let shared = self.input_id_columns();
        if shared.is_empty() { names(&self.feature.id_columns) } else { shared }
    }

    fn parents_of(&self, field: &FieldSpec) -> Result<Vec<QualifiedField<'g>>> {
        if self.upstreams.is_empty() {
            return Ok(Vec::new());
        }
        let mut parents = BTreeSet::new();
        match &field.deps {
            FieldDeps::All => {
                for upstream in &self.upstreams {
                    parents.extend(upstream.spec.fields.iter().map(|field| upstream.qualify(&field.key)));
                }
            }
            FieldDeps::Explicit(deps) => {
                for dep in deps {
                    let upstream = self
                        .upstreams
                        .iter()
                        .find(|upstream| upstream.spec.key == dep.feature)
                        .ok_or_else(|| undeclared(self.feature, field, &dep.feature))?;
                    let fields = &upstream.spec.fields;
                    match &dep.fields {
                        FieldSelection::All => {
                            parents.extend(fields.iter().map(|field| upstream.qualify(&field.key)))
                        }
                        FieldSelection::Only(keys) => {
                            for key in keys {
                                let parent = upstream.spec.field(key).ok_or_else(|| {
                                    needed_by(self.feature, field, no_such_field(upstream.spec, key))
                                })?;
                                parents.insert(upstream.qualify(&parent.key));
                            }
                        }
                    }
                }
            }
            FieldDeps::Mapped => {
                for upstream in &self.upstreams {
                    parents.extend(
                        upstream.mapped_fields(&field.key).into_iter().map(|field| upstream.qualify(field)),
                    );
                }
                if parents.is_empty() {
                    return Err(Error::invalid(format!(
                        "no upstream field feeds the field `{}` of feature `{}`: give the field explicit `deps`, or a dependency a `fields_mapping` that chooses one",
                        field.key, self.feature.key
                    ))
                    .with("feature", &self.feature.key)
                    .with("field", &field.key));
                }
            }
        }
        Ok(parents.into_iter().collect())
    }

    /// Checks what can only be said once every dependency is known.
    pub(super) fn check(&self) -> Result<()> {
        for field in &self.feature.fields {
            self.parents_of(field)?;
        }
        self.check_selections()
    }

    /// Selections of two dependencies may share id columns, and no others.
    fn check_selections(&self) -> Result<()> {
        let mut ids = BTreeSet::new();
        let mut origins: BTreeMap<&str, Vec<&FeatureKey>> = BTreeMap::new();
        for upstream in &self.upstreams {
            ids.extend(upstream.renamed_id_columns());
            ids.extend(upstream.input_id_columns(self.feature));
            for column in upstream.kept_columns().unwrap_or_default() {
                origins.entry(column).or_default().push(&upstream.spec.key);
            }
        }
        for (column, origins) in origins {
            if let [first, second, ..] = origins[..]
                && !ids.contains(column)
            {
                return Err(Error::invalid(format!(
                    "feature `{}` would get the column `{column}` twice, from `{first}` and from `{second}`: rename or leave out one of them",
                    self.feature.key
                ))
                .with("feature", &self.feature.key)
                .with("column", column));
            }
        }
        Ok(())
    }
}

/// Checks what a feature says about a dependency, of which `upstream` may not be known yet.
pub(super) fn check_rename(
    feature: &FeatureSpec,
    dep: &FeatureDep,
    upstream: Option<&FeatureSpec>,
) -> Result<()> {
    let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
    for (old, new) in dep.rename.iter().flatten() {
        let refuse = |problem: String| {
            let message = format!(
                "feature `{}` renames `{old}` of `{}` to `{new}`, {problem}; choose another name",
                feature.key, dep.feature
            );
            Err(Error::invalid(message).with("feature", &feature.key).with("column", new))
        };
        if is_system(new) {
            return refuse("which is a system column".to_owned());
        }
        if upstream.is_some_and(|upstream| upstream.id_columns.contains(new)) {
            return refuse("which is an id column there".to_owned());
        }
        if let Some(other) = sources.insert(new, old) {
            return refuse(format!("and `{other}` as well"));
        }
    }
    Ok(())
}

/// Checks that fields name only features that their own feature depends on.
pub(super) fn check_declared(feature: &FeatureSpec) -> Result<()> {
    if feature.deps.is_empty() {
        return Ok(());
    }
    for field in &feature.fields {
        let FieldDeps::Explicit(deps) = &field.deps else { continue };
        for named in deps.iter().map(|dep| &dep.feature) {
            if !feature.deps.iter().any(|dep| dep.feature == *named) {
                return Err(undeclared(feature, field, named));
            }
        }
    }
    Ok(())
}

fn undeclared(feature: &FeatureSpec, field: &FieldSpec, named: &FeatureKey) -> Error {
    Error::invalid(format!(
        "the field `{}` of feature `{}` depends on fields of `{named}`, which the feature does not depend on: add it to the feature's `deps`",
        field.key, feature.key
    ))
    .with("feature", &feature.key)
    .with("field", &field.key)
}

fn no_such_field(feature: &FeatureSpec, field: &FieldKey) -> Error {
    let hint = did_you_mean(field.as_str(), feature.fields.iter().map(|field| field.key.as_str()));
    Error::invalid(format!("feature `{}` has no field `{field}`{hint}", feature.key))
        .with("feature", &feature.key)
        .with("field", field)
}

fn needed_by(feature: &FeatureSpec, field: &FieldSpec, cause: Error) -> Error {
    Error::invalid(format!(
        "the field `{}` of feature `{}` cannot be computed: {}",
        field.key,
        feature.key,
        cause.message()
    ))
    .with("feature", &feature.key)
    .with("field", &field.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn upstream_columns(dep: &str) -> (Vec<String>, Option<Vec<String>>) {
        let feature = format!(r#"{{"key": "c", "id_columns": ["id", "frame"], "deps": [{dep}]}}"#);
        let feature = FeatureSpec::from_json(&feature).unwrap();
        let spec = FeatureSpec::from_json(r#"{"key": "p", "id_columns": ["id", "k"]}"#).unwrap();
        let upstream = Upstream { dep: &feature.deps[0], spec: &spec };
        let owned = |columns: Vec<&str>| columns.into_iter().map(str::to_owned).collect::<Vec<_>>();
        (owned(upstream.input_id_columns(&feature)), upstream.kept_columns().map(owned))
    }

    #[test]
    fn qualified_fields_are_ordered_as_they_are_written() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/keys.json")).unwrap();
        let golden: Value = serde_json::from_str(&text).unwrap();
        let names =
            golden["fq_field_order_by_string"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let names: Vec<&str> = names.collect();
        let keys: Vec<(FeatureKey, FieldKey)> = names
            .iter()
            .rev()
            .map(|name| name.split_once('.').unwrap())
            .map(|(feature, field)| (feature.parse().unwrap(), field.parse().unwrap()))
            .collect();
        let mut fields: Vec<_> =
            keys.iter().map(|(feature, field)| QualifiedField { feature, field }).collect();
        fields.sort();
        assert_eq!(fields.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
    }

    #[test]
    fn the_lineage_tells_what_identifies_an_input() {
        for (lineage, expected) in [
            (json!({"type": "1:1"}), ["id", "j"].as_slice()),
            (json!({"type": "N:1"}), &["id", "frame"]),
            (json!({"type": "N:1", "on": ["id"]}), &["id"]),
            (json!({"type": "1:N", "on": ["id", "k"]}), &["id", "k"]),
        ] {
            let dep = json!({"feature": "p", "rename": {"k": "j"}, "lineage": {"relationship": lineage}});
            assert_eq!(upstream_columns(&dep.to_string()).0, expected, "{lineage}");
        }
    }

    #[test]
    fn a_selection_keeps_what_the_join_needs() {
        let on_id = json!({"relationship": {"type": "N:1", "on": ["id"]}});
        for (dep, expected) in [
            (json!({"feature": "p"}), None),
            (json!({"feature": "p", "select": []}), Some(vec!["id", "k"])),
            (json!({"feature": "p", "select": ["u", "k"]}), Some(vec!["u", "k", "id"])),
            (json!({"feature": "p", "select": ["u"], "rename": {"k": "j"}}), Some(vec!["u", "id", "j"])),
            (json!({"feature": "p", "select": ["u"], "lineage": on_id}), Some(vec!["u", "id"])),
        ] {
            let kept = upstream_columns(&dep.to_string()).1;
            assert_eq!(kept, expected.map(|names| names.into_iter().map(str::to_owned).collect()), "{dep}");
        }
    }

    #[test]
    fn dependencies_are_joined_by_the_columns_they_share() {
        let feature = FeatureSpec::from_json(
            r#"{"key": "c", "id_columns": ["id"], "deps": ["p", {"feature": "q", "rename": {"key": "id"}}]}"#,
        )
        .unwrap();
        let p = FeatureSpec::from_json(r#"{"key": "p", "id_columns": ["frame", "id"]}"#).unwrap();
        let q = FeatureSpec::from_json(r#"{"key": "q", "id_columns": ["key"]}"#).unwrap();
        let upstreams = feature.deps.iter().zip([&p, &q]).map(|(dep, spec)| Upstream { dep, spec }).collect();
        let plan = Plan { feature: &feature, upstreams };
        assert_eq!(plan.input_id_columns(), ["id"]);
        let root = Plan { feature: &p, upstreams: Vec::new() };
        assert_eq!(root.input_id_columns(), [""; 0]);
        assert_eq!(root.join_columns(), ["frame", "id"]);
    }
}
