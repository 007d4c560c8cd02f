//! Versions of definitions: short hashes that change when what they describe changes.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::definition::FeatureDefinition;
use super::graph::Graph;
use super::key::{FeatureKey, FieldKey};
use super::plan::{Plan, QualifiedField};
use super::python_json;
use super::spec::FieldSpec;
use crate::error::{Error, Result, Status};

/// The project version of a project without features of its own.
const EMPTY_PROJECT: &str = "empty";

/// How many leading characters of every hash are kept.
///
/// A hash is cut the moment it is made, before it goes into any other hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Truncation {
    length: Option<usize>,
}

impl Truncation {
    /// Hashes are kept whole.
    pub const FULL: Truncation = Truncation { length: None };

    /// The shortest allowed length; anything shorter would soon give two samples one hash.
    pub const MIN_LENGTH: usize = 8;

    /// Hashes are cut to `length` characters.
    pub fn to(length: usize) -> Result<Self> {
        if length < Self::MIN_LENGTH {
            let message = format!(
                "the option `hash.truncation_length` is {length}, but must be at least {}: choose a longer one, or leave it out to keep hashes whole",
                Self::MIN_LENGTH
            );
            return Err(Error::invalid(message).with("option", "hash.truncation_length"));
        }
        Ok(Truncation { length: Some(length) })
    }

    /// The number of characters kept, unless all are.
    pub fn length(self) -> Option<usize> {
        self.length
    }

    /// The part of `hash` that is kept.
    pub fn apply(self, hash: &str) -> &str {
        let end = self.length.and_then(|length| hash.char_indices().nth(length));
        end.map_or(hash, |(end, _)| &hash[..end])
    }
}

/// All versions of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureVersions {
    /// Changes when a field version changes; rows are stamped with it.
    pub feature_version: String,
    /// Change when the field's code or anything upstream of it changes.
    pub field_versions: BTreeMap<FieldKey, String>,
    /// Changes when the code version of a field changes.
    pub code_version: String,
    /// Changes when anything in the spec changes.
    pub spec_version: String,
    /// Changes when anything in the spec or the schema changes.
    pub definition_version: String,
}

/// Computes the versions of a graph's features, each field once however many depend on it.
pub struct Versions<'g> {
    graph: &'g Graph,
    truncation: Truncation,
    plans: HashMap<&'g FeatureKey, Plan<'g>>,
    fields: HashMap<QualifiedField<'g>, String>,
}

impl<'g> Versions<'g> {
    /// Versions of the features of `graph`, cut to one length.
    pub fn new(graph: &'g Graph, truncation: Truncation) -> Self {
        Versions { graph, truncation, plans: HashMap::new(), fields: HashMap::new() }
    }

    /// Every version of a feature.
    pub fn of(&mut self, feature: &FeatureKey) -> Result<FeatureVersions> {
        Ok(FeatureVersions {
            feature_version: self.feature_version(feature)?,
            field_versions: self.field_versions(feature)?,
            code_version: self.code_version(feature)?,
            spec_version: self.spec_version(feature)?,
            definition_version: self.definition_version(feature)?,
        })
    }

    /// Metaxy 0.1.11 field version: the field's name and code version, then its parents' field versions.
    pub fn field_version(&mut self, feature: &FeatureKey, field: &FieldKey) -> Result<String> {
        let definition = self.graph.get(feature)?;
        let Some(spec) = definition.spec.field(field) else {
            return Err(Error::invalid(format!("feature `{feature}` has no field `{field}`"))
                .with("feature", feature)
                .with("field", field));
        };
        let wanted = QualifiedField { feature: &definition.spec.key, field: &spec.key };
        self.compute_fields(wanted)?;
        self.known(wanted).map(str::to_owned)
    }

    /// The version of each field of a feature.
    pub fn field_versions(&mut self, feature: &FeatureKey) -> Result<BTreeMap<FieldKey, String>> {
        let fields = &self.graph.get(feature)?.spec.fields;
        fields.iter().map(|field| Ok((field.key.clone(), self.field_version(feature, &field.key)?))).collect()
    }

    /// Metaxy 0.1.11 feature version: names and versions of the fields, sorted by name.
    pub fn feature_version(&mut self, feature: &FeatureKey) -> Result<String> {
        let versions = self.field_versions(feature)?;
        let mut versions: Vec<_> =
            versions.iter().map(|(key, version)| (key.as_str(), version.as_str())).collect();
        versions.sort_unstable();
        Ok(self.hash(versions.into_iter().flat_map(|(key, version)| [key, version])))
    }

    /// Metaxy 0.1.11 feature code version: names and code versions of the fields, sorted by name.
    pub fn code_version(&self, feature: &FeatureKey) -> Result<String> {
        let mut fields: Vec<&FieldSpec> = self.graph.get(feature)?.spec.fields.iter().collect();
        fields.sort_by_key(|field| field.key.as_str());
        Ok(self.hash(fields.into_iter().flat_map(|field| [field.key.as_str(), &field.code_version])))
    }

    /// Metaxy 0.1.11 feature spec version: the canonical spec as sorted JSON.
    pub fn spec_version(&self, feature: &FeatureKey) -> Result<String> {
        Ok(self.spec_version_of(self.graph.get(feature)?))
    }

    /// Metaxy 0.1.11 definition version: the spec version, then the schema as sorted JSON.
    pub fn definition_version(&self, feature: &FeatureKey) -> Result<String> {
        Ok(self.definition_version_of(self.graph.get(feature)?))
    }

    /// Metaxy 0.1.11 project version: keys and definition versions of a project's own features,
    /// sorted by the parts of their keys.
    ///
    /// `None` stands for the features that belong to no project.
    pub fn project_version(&self, project: Option<&str>) -> String {
        let own = |definition: &&FeatureDefinition| {
            !definition.external && definition.project.as_deref() == project
        };
        let versions: Vec<(&str, String)> = self
            .graph
            .features()
            .filter(own)
            .map(|definition| (definition.key().as_str(), self.definition_version_of(definition)))
            .collect();
        if versions.is_empty() {
            return EMPTY_PROJECT.to_owned();
        }
        self.hash(versions.iter().flat_map(|(key, version)| [*key, version.as_str()]))
    }

    fn spec_version_of(&self, definition: &FeatureDefinition) -> String {
        self.hash([python_json::to_string_sorted(&definition.spec.canonical_json()).as_str()])
    }

    fn definition_version_of(&self, definition: &FeatureDefinition) -> String {
        let schema = python_json::to_string_sorted(&definition.schema);
        self.hash([self.spec_version_of(definition).as_str(), &schema])
    }

    /// Computes `wanted` and whatever it is made of that is not known yet.
    ///
    /// The open fields are kept in a list of our own, because a chain of features may be longer than
    /// a thread's stack is deep.
    fn compute_fields(&mut self, wanted: QualifiedField<'g>) -> Result<()> {
        let mut open = vec![(wanted, None)];
        while let Some((field, parents)) = open.pop() {
            if self.fields.contains_key(&field) {
                continue;
            }
            let definition = self.graph.get(field.feature)?;
            if let Some(given) = definition.provenance_by_field.get(field.field)
                && definition.external
            {
                self.fields.insert(field, given.clone());
                continue;
            }
            match parents {
                None => {
                    let parents = self.plan(field.feature)?.parent_fields(field.field)?;
                    let unknown: Vec<_> =
                        parents.iter().copied().filter(|parent| !self.fields.contains_key(parent)).collect();
                    open.push((field, Some(parents)));
                    open.extend(unknown.into_iter().map(|parent| (parent, None)));
                }
                Some(parents) => {
                    let version = self.field_version_from(definition, field, &parents)?;
                    self.fields.insert(field, version);
                }
            }
        }
        Ok(())
    }

    fn field_version_from(
        &self,
        definition: &FeatureDefinition,
        field: QualifiedField<'g>,
        parents: &[QualifiedField<'g>],
    ) -> Result<String> {
        let name = field.to_string();
        let code_version = definition.spec.field(field.field).map(|spec| spec.code_version.as_str());
        let mut hashed = vec![name.as_str(), code_version.unwrap_or_default()];
        for parent in parents {
            hashed.push(self.known(*parent)?);
        }
        Ok(self.hash(hashed))
    }

    fn known(&self, field: QualifiedField<'g>) -> Result<&str> {
        self.fields.get(&field).map(String::as_str).ok_or_else(|| {
            Error::new(
                Status::Internal,
                format!("the version of `{field}` was needed before it was computed"),
            )
        })
    }

    fn plan(&mut self, feature: &'g FeatureKey) -> Result<&Plan<'g>> {
        use std::collections::hash_map::Entry;
        match self.plans.entry(feature) {
            Entry::Occupied(plan) => Ok(plan.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(self.graph.plan(feature)?)),
        }
    }

    fn hash<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> String {
        let mut hasher = Sha256::new();
        for text in texts {
            hasher.update(text);
        }
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.truncation.apply(&hex).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::FeatureSpec;
    use serde_json::{Value, json};

    fn golden() -> Value {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/versions.json"))
                .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn graphs() -> Vec<(String, Value, Graph)> {
        let golden = golden();
        let entries = golden["graphs"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, entry)| entry["by_truncation"].is_object());
        let graphs = entries.map(|(name, entry)| {
            let text = entry["features"].to_string();
            let definitions = FeatureDefinition::from_json(&text, entry["project"].as_str()).unwrap();
            (name.clone(), entry.clone(), Graph::default().with(definitions).unwrap())
        });
        let graphs: Vec<_> = graphs.collect();
        assert!(graphs.len() >= 9);
        graphs
    }

    fn strings<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
        values.into_iter().map(|value| value.to_string()).collect()
    }

    #[test]
    fn versions_are_those_of_metaxy_at_every_truncation() {
        for (name, entry, graph) in graphs() {
            assert_eq!(entry["by_truncation"].as_object().unwrap().len(), 5);
            for (length, expected) in entry["by_truncation"].as_object().unwrap() {
                let truncation = Truncation::to(length.parse().unwrap()).unwrap();
                let mut versions = Versions::new(&graph, truncation);
                assert_eq!(
                    versions.project_version(entry["project"].as_str()),
                    expected["project_version"],
                    "{name}"
                );
                for (feature, expected) in expected["features"].as_object().unwrap() {
                    let computed = versions.of(&feature.parse().unwrap()).unwrap();
                    let computed = json!({
                        "feature_version": computed.feature_version,
                        "field_versions": computed.field_versions,
                        "code_version": computed.code_version,
                        "feature_spec_version": computed.spec_version,
                        "definition_version": computed.definition_version,
                    });
                    assert_eq!(computed, *expected, "{name} {feature} {length}");
                }
            }
        }
    }

    #[test]
    fn full_hashes_are_those_of_a_truncation_beyond_their_length() {
        for (_, entry, graph) in graphs() {
            let full = Versions::new(&graph, Truncation::FULL).project_version(entry["project"].as_str());
            assert_eq!(full, entry["by_truncation"]["100"]["project_version"]);
        }
    }

    #[test]
    fn the_hashed_spec_is_that_of_metaxy_to_the_letter() {
        for (_, entry, graph) in graphs() {
            for (feature, expected) in entry["spec_json_hashed"].as_object().unwrap() {
                let spec = &graph.get(&feature.parse().unwrap()).unwrap().spec;
                assert_eq!(python_json::to_string_sorted(&spec.canonical_json()), *expected);
            }
        }
    }

    #[test]
    fn parents_inputs_and_order_are_those_of_metaxy() {
        for (name, entry, graph) in graphs() {
            for (feature, fields) in entry["resolved_parents"].as_object().unwrap() {
                for (field, expected) in fields.as_object().unwrap() {
                    let parents =
                        graph.parent_fields(&feature.parse().unwrap(), &field.parse().unwrap()).unwrap();
                    assert_eq!(json!(strings(parents)), *expected, "{name} {feature}.{field}");
                }
            }
            for (feature, expected) in entry["plan"].as_object().unwrap() {
                let plan = graph.plan(&feature.parse().unwrap()).unwrap();
                let mut columns = plan.input_id_columns();
                columns.sort_unstable();
                assert_eq!(json!(columns), expected["input_id_columns"], "{name} {feature}");
                for upstream in &plan.upstreams {
                    let expected = &expected["input_id_columns_per_dep"][upstream.spec.key.as_str()];
                    assert_eq!(json!(upstream.input_id_columns(plan.feature)), *expected, "{name} {feature}");
                }
            }
            assert_eq!(json!(strings(graph.topological_order())), entry["topological_order"], "{name}");
        }
    }

    #[test]
    fn versions_given_for_an_external_feature_stand() {
        let golden = &golden()["graphs"]["external_override"];
        let text = json!([
            {"feature_spec": golden["features"][0], "project": "other", "external": true, "provenance_by_field": {"x": "cafecafe"}},
            {"feature_spec": golden["features"][1]},
        ]);
        let definitions = FeatureDefinition::from_json(&text.to_string(), Some("golden")).unwrap();
        let graph = Graph::default().with(definitions).unwrap();
        let mut versions = Versions::new(&graph, Truncation::to(8).unwrap());
        for feature in ["ext/a", "ext/child"] {
            let computed = versions.of(&feature.parse().unwrap()).unwrap();
            assert_eq!(computed.feature_version, golden[format!("{feature} feature_version")]);
            assert_eq!(json!(computed.field_versions), golden[format!("{feature} field_versions")]);
        }
        for project in ["golden", "other"] {
            assert_eq!(
                versions.project_version(Some(project)),
                golden[format!("project_version({project})")]
            );
        }
    }

    /// The invalid cases of the golden data, by their names there.
    fn invalid(case: &str) -> Value {
        let child = |more: Value| {
            let mut spec = json!({"key": "c", "id_columns": ["id"]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([spec, {"key": "a", "id_columns": ["id"], "fields": ["x"]}, {"key": "b", "id_columns": ["id"], "fields": ["x"]}])
        };
        match case {
            "empty id_columns" => json!({"key": "a", "id_columns": []}),
            "duplicate field keys" => json!({"key": "a", "id_columns": ["id"], "fields": ["x", "x"]}),
            "bad field key" => json!({"key": "a", "id_columns": ["id"], "fields": ["X"]}),
            "unknown attribute" => json!({"key": "a", "id_columns": ["id"], "foo": 1}),
            "non string code_version" => {
                json!({"key": "a", "id_columns": ["id"], "fields": [{"key": "x", "code_version": 1}]})
            }
            "select uses pre-rename name" => {
                child(json!({"deps": [{"feature": "a", "rename": {"x": "y"}, "select": ["x"]}]}))
            }
            "rename to system column" => {
                child(json!({"deps": [{"feature": "a", "rename": {"n": "metaxy_provenance"}}]}))
            }
            "rename to upstream id column" => {
                child(json!({"deps": [{"feature": "a", "rename": {"n": "id"}}]}))
            }
            "duplicate rename targets" => {
                child(json!({"deps": [{"feature": "a", "rename": {"n": "q", "m": "q"}}]}))
            }
            "selected column collides across deps" => {
                child(json!({"deps": [{"feature": "a", "select": ["u"]}, {"feature": "b", "select": ["u"]}]}))
            }
            "dependency missing from graph" => child(json!({"deps": ["zz"]})),
            "explicit dep on unknown field" => child(
                json!({"deps": ["a"], "fields": [{"key": "f", "deps": [{"feature": "a", "fields": ["nope"]}]}]}),
            ),
            "no mapped parent for a field" => child(
                json!({"deps": [{"feature": "a", "fields_mapping": {"mapping": {"type": "none"}}}], "fields": ["f"]}),
            ),
            "self dependency" => json!({"key": "a", "id_columns": ["id"], "deps": ["a"], "fields": ["x"]}),
            other => panic!("the golden data has a new invalid case {other:?}"),
        }
    }

    #[test]
    fn what_metaxy_refuses_is_refused() {
        // What each refusal must speak of: a case refused for another reason has proved nothing.
        let reasons = BTreeMap::from([
            ("empty id_columns", "at least one id column"),
            ("duplicate field keys", "the field `x` is there twice"),
            ("bad field key", "field key \"X\""),
            ("unknown attribute", "no member `foo`"),
            ("non string code_version", "expected a string, found the number 1"),
            ("select uses pre-rename name", "`x` is renamed to `y`"),
            ("rename to system column", "which is a system column"),
            ("rename to upstream id column", "which is an id column there"),
            ("duplicate rename targets", "as well"),
            ("selected column collides across deps", "the column `u` twice, from `a` and from `b`"),
            ("dependency missing from graph", "`c` depends on `zz`, which is not defined"),
            ("explicit dep on unknown field", "feature `a` has no field `nope`"),
            ("no mapped parent for a field", "no upstream field feeds the field `f`"),
            ("self dependency", "a -> a is a cycle"),
        ]);
        for case in golden()["invalid"].as_array().unwrap() {
            let case = case["case"].as_str().unwrap();
            let refused = || -> Result<String> {
                let definitions = FeatureDefinition::from_json(&invalid(case).to_string(), None)?;
                let graph = Graph::default().with(definitions)?;
                Versions::new(&graph, Truncation::FULL).feature_version(&FeatureKey::parse("c")?)
            };
            let error = refused().unwrap_err();
            assert!(error.message().contains(reasons[case]), "{case}: {error}");
        }
    }

    fn layer(level: usize, name: char, deps: &[String]) -> FeatureDefinition {
        let text = json!({"key": format!("{name}{level}"), "id_columns": ["id"], "deps": deps});
        FeatureDefinition::of(FeatureSpec::from_json(&text.to_string()).unwrap())
    }

    #[test]
    fn stacked_diamonds_are_computed_once_each() {
        // Without memory this would take 2^200 hashes.
        let mut definitions = vec![layer(0, 'l', &[]), layer(0, 'r', &[])];
        for level in 1..200 {
            let deps = [format!("l{}", level - 1), format!("r{}", level - 1)];
            definitions.extend([layer(level, 'l', &deps), layer(level, 'r', &deps)]);
        }
        let graph = Graph::default().with(definitions).unwrap();
        let top = FeatureKey::parse("l199").unwrap();
        assert_eq!(Versions::new(&graph, Truncation::FULL).feature_version(&top).unwrap().len(), 64);
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack() {
        let length = 20_000;
        let chain = (0..length).map(|level| match level {
            0 => layer(0, 'f', &[]),
            _ => layer(level, 'f', &[format!("f{}", level - 1)]),
        });
        let graph = Graph::default().with(chain).unwrap();
        let last = FeatureKey::parse(&format!("f{}", length - 1)).unwrap();
        assert!(Versions::new(&graph, Truncation::FULL).feature_version(&last).is_ok());
        assert_eq!(graph.topological_order().last(), Some(&&last));
    }

    #[test]
    fn an_external_feature_with_all_versions_given_needs_no_parents() {
        let text = r#"{"feature_spec": {"key": "e", "id_columns": ["id"], "deps": ["far"], "fields": ["x"]},
                       "external": true, "provenance_by_field": {"x": "cafecafe"}}"#;
        let graph = Graph::default().with(FeatureDefinition::from_json(text, None).unwrap()).unwrap();
        let field = Versions::new(&graph, Truncation::FULL)
            .field_version(&"e".parse().unwrap(), &"x".parse().unwrap());
        assert_eq!(field.unwrap(), "cafecafe");
    }

    #[test]
    fn hashes_are_cut_to_eight_characters_at_the_least() {
        assert_eq!(Truncation::to(8).unwrap().apply("123456789"), "12345678");
        assert_eq!(Truncation::to(8).unwrap().apply("1234"), "1234");
        assert_eq!(Truncation::FULL.apply("123456789"), "123456789");
        assert_eq!(Truncation::default(), Truncation::FULL);
        assert_eq!(Truncation::to(7).unwrap_err().detail("option"), Some("hash.truncation_length"));
    }
}
