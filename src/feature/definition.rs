//! A feature's spec together with what is recorded about it: schema, class path and project.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::document::{self, Node};
use super::key::{FeatureKey, FieldKey};
use super::spec::FeatureSpec;
use crate::error::{Error, Result};

/// Where Python looks for the class of a pushed feature that has none: it does not do without a path.
const NO_CLASS: &str = "libmetaxy";

/// Everything that a graph knows about one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDefinition {
    /// What its author wrote.
    pub spec: FeatureSpec,
    /// The JSON schema of the feature's columns; an empty object when there is none.
    pub schema: Value,
    /// Where Python finds the feature's class.
    pub class_path: Option<String>,
    /// The project it belongs to.
    pub project: Option<String>,
    /// Whether the feature belongs to somebody else and is only described here to be depended upon.
    pub external: bool,
    /// Versions that stand for fields of an external feature instead of computed ones.
    pub provenance_by_field: BTreeMap<FieldKey, String>,
}

impl FeatureDefinition {
    /// A feature of no project, without schema or class.
    pub fn of(spec: FeatureSpec) -> Self {
        FeatureDefinition {
            spec,
            schema: json!({}),
            class_path: None,
            project: None,
            external: false,
            provenance_by_field: BTreeMap::new(),
        }
    }

    /// Reads a spec, an envelope around one, or a list of either.
    ///
    /// `default_project` is the project of those that name none.
    pub fn from_json(text: &str, default_project: Option<&str>) -> Result<Vec<Self>> {
        if let Some(project) = default_project {
            check_project_name(project)?;
        }
        let value = document::parse(text)?;
        let root = Node::root(&value);
        let nodes = if value.is_array() { root.list()? } else { vec![root] };
        nodes.iter().map(|node| Self::read(node, default_project)).collect()
    }

    /// Reads a definition that a store keeps: the texts of its spec and its schema, and what belongs
    /// to them.
    pub fn from_pushed(
        spec: &str,
        schema: &str,
        class_path: Option<&str>,
        project: Option<&str>,
    ) -> Result<Self> {
        let spec = FeatureSpec::from_json(spec)?;
        let key = spec.key.clone();
        let schema = document::parse(schema)
            .and_then(|schema| Ok(Value::Object(Node::root(&schema).object()?.clone())))
            .map_err(|error| error.reworded(|said| format!("the schema: {said}")).with("feature", &key))?;
        Ok(FeatureDefinition {
            schema,
            class_path: class_path.filter(|path| *path != no_class(&key)).map(str::to_owned),
            project: project.map(str::to_owned),
            ..Self::of(spec)
        })
    }

    /// The class path as a store keeps it.
    pub fn pushed_class_path(&self) -> String {
        self.class_path.clone().unwrap_or_else(|| no_class(self.key()))
    }

    /// The envelope that [`FeatureDefinition::from_json`] reads.
    pub fn to_json(&self) -> Value {
        let mut envelope = json!({
            "feature_spec": self.spec.canonical_json(),
            "feature_schema": self.schema,
            "feature_class_path": self.class_path,
            "project": self.project,
        });
        if let (true, Value::Object(members)) = (self.external, &mut envelope) {
            members.insert("external".to_owned(), json!(true));
            let versions = self.provenance_by_field.iter();
            let versions: Map<_, _> =
                versions.map(|(field, version)| (field.to_string(), json!(version))).collect();
            if !versions.is_empty() {
                members.insert("provenance_by_field".to_owned(), Value::Object(versions));
            }
        }
        envelope
    }

    /// The name of the feature.
    pub fn key(&self) -> &FeatureKey {
        &self.spec.key
    }

    fn read(node: &Node<'_>, default_project: Option<&str>) -> Result<Self> {
        let object = node.value().as_object().ok_or_else(|| node.expected("a feature spec"))?;
        if !object.contains_key("feature_spec") {
            let spec = FeatureSpec::read(node)?;
            return Ok(FeatureDefinition { project: default_project.map(str::to_owned), ..Self::of(spec) });
        }
        let members = node.members(&[
            "feature_spec",
            "feature_schema",
            "feature_class_path",
            "project",
            "external",
            "provenance_by_field",
        ])?;
        let spec = FeatureSpec::read(&members.required("feature_spec")?)?;
        let key = spec.key.clone();
        let read = || {
            let external = members.get("external").map_or(Ok(false), |node| node.boolean())?;
            let provenance_by_field = match members.given("provenance_by_field") {
                None => BTreeMap::new(),
                Some(versions) if external => read_provenance(&spec, &versions)?,
                Some(versions) => {
                    return Err(versions
                        .refuse("only an external feature may have versions given; add \"external\": true"));
                }
            };
            let project = match members.given("project") {
                None => default_project,
                Some(node) => {
                    let name = node.string()?;
                    check_project_name(name)
                        .map_err(|error| node.refuse(error.message()).with("project", name))?;
                    Some(name)
                }
            };
            let class_path = members.given("feature_class_path").map(|node| node.string()).transpose()?;
            let schema = match members.get("feature_schema") {
                Some(schema) => Value::Object(schema.object()?.clone()),
                None => json!({}),
            };
            Ok(FeatureDefinition {
                spec,
                schema,
                class_path: class_path.map(str::to_owned),
                project: project.map(str::to_owned),
                external,
                provenance_by_field,
            })
        };
        read().map_err(|error: Error| error.with("feature", &key))
    }
}

fn no_class(feature: &FeatureKey) -> String {
    format!("{NO_CLASS}.{}", feature.table_name())
}

fn read_provenance(spec: &FeatureSpec, node: &Node<'_>) -> Result<BTreeMap<FieldKey, String>> {
    let mut versions = BTreeMap::new();
    for (name, version) in node.entries()? {
        let field = FieldKey::parse(name).map_err(|error| version.key_refused(&error))?;
        if spec.field(&field).is_none() {
            let problem = format!("feature `{}` has no field `{field}`", spec.key);
            return Err(version.refuse(problem).with("field", field));
        }
        versions.insert(field, version.string()?.to_owned());
    }
    Ok(versions)
}

/// Refuses a project name that Metaxy would refuse.
pub fn check_project_name(name: &str) -> Result<()> {
    let refuse = |rule: String| {
        Err(Error::invalid(format!("the project name {name:?} is not valid: {rule}")).with("project", name))
    };
    if name.is_empty() {
        return refuse("it is empty".to_owned());
    }
    if let Some(wrong) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        return refuse(format!("it contains {wrong:?}; only A-Z, a-z, 0-9, `_` and `-` are allowed"));
    }
    if name.contains("__") {
        return refuse("it contains two underscores in a row".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"key": "a", "id_columns": ["id"], "fields": ["x"]}"#;

    fn envelope(members: &str) -> Result<Vec<FeatureDefinition>> {
        FeatureDefinition::from_json(&format!(r#"{{"feature_spec": {SPEC}{members}}}"#), Some("mine"))
    }

    #[test]
    fn a_bare_spec_belongs_to_the_default_project() {
        let definitions = FeatureDefinition::from_json(SPEC, Some("mine")).unwrap();
        assert_eq!(definitions.len(), 1);
        assert_eq!(definitions[0].project.as_deref(), Some("mine"));
        assert_eq!(definitions[0].schema, json!({}));
        assert!(!definitions[0].external);
        assert_eq!(FeatureDefinition::from_json(SPEC, None).unwrap()[0].project, None);
    }

    #[test]
    fn an_envelope_says_more_than_a_spec() {
        let definition = envelope(
            r#", "feature_schema": {"b": null}, "feature_class_path": "m.C", "project": "theirs", "external": true,
                "provenance_by_field": {"x": "cafecafe"}"#,
        )
        .unwrap()
        .remove(0);
        assert_eq!(definition.schema, json!({"b": null}));
        assert_eq!(definition.class_path.as_deref(), Some("m.C"));
        assert_eq!(definition.project.as_deref(), Some("theirs"));
        assert!(definition.external);
        assert_eq!(definition.provenance_by_field[&FieldKey::parse("x").unwrap()], "cafecafe");
        assert_eq!(envelope(r#", "project": null"#).unwrap()[0].project.as_deref(), Some("mine"));
    }

    #[test]
    fn a_list_mixes_specs_and_envelopes() {
        let text = format!(r#"[{SPEC}, {{"feature_spec": {{"key": "b", "id_columns": ["id"]}}}}]"#);
        let keys = FeatureDefinition::from_json(&text, None).unwrap();
        assert_eq!(keys.iter().map(|definition| definition.key().as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(FeatureDefinition::from_json("[]", None).unwrap().is_empty());
        let error = FeatureDefinition::from_json(&format!(r#"[{SPEC}, {{"key": "b"}}]"#), None).unwrap_err();
        assert_eq!(error.detail("path"), Some("$[1]"));
    }

    #[test]
    fn what_is_no_envelope_is_refused_at_its_place() {
        for (members, path) in [
            (r#", "feature_shema": {}"#, "$.feature_shema"),
            (r#", "feature_schema": null"#, "$.feature_schema"),
            (r#", "feature_schema": "{}""#, "$.feature_schema"),
            (r#", "external": "yes""#, "$.external"),
            (r#", "project": "a b""#, "$.project"),
            (r#", "provenance_by_field": {"x": "1"}"#, "$.provenance_by_field"),
            (r#", "external": true, "provenance_by_field": {"y": "1"}"#, "$.provenance_by_field.y"),
            (r#", "external": true, "provenance_by_field": {"x": 1}"#, "$.provenance_by_field.x"),
        ] {
            let error = envelope(members).unwrap_err();
            assert_eq!(error.detail("path"), Some(path), "{error}");
            assert_eq!(error.detail("feature").unwrap_or("a"), "a");
        }
        let error = FeatureDefinition::from_json(r#"{"feature_spec": {"key": "a"}}"#, None).unwrap_err();
        assert_eq!(error.detail("path"), Some("$.feature_spec"));
        assert!(FeatureDefinition::from_json("7", None).is_err());
        assert!(FeatureDefinition::from_json(SPEC, Some("a__b")).is_err());
    }

    #[test]
    fn an_envelope_is_read_back_from_what_is_written_of_it() {
        for members in [
            "",
            r#", "feature_schema": {"b": null, "a": [1.5]}, "feature_class_path": "m.C", "project": "theirs""#,
            r#", "external": true, "provenance_by_field": {"x": "cafecafe"}"#,
            r#", "external": true"#,
        ] {
            let definition = envelope(members).unwrap().remove(0);
            let again = FeatureDefinition::from_json(&definition.to_json().to_string(), None).unwrap();
            assert_eq!(again, [definition], "{members}");
        }
    }

    #[test]
    fn what_a_store_keeps_of_a_definition_is_read_back() {
        let definition =
            envelope(r#", "feature_schema": {"b": null}, "feature_class_path": "m.C""#).unwrap().remove(0);
        let spec = definition.spec.canonical_json().to_string();
        let read = |schema| FeatureDefinition::from_pushed(&spec, schema, Some("m.C"), Some("mine"));
        assert_eq!(read(r#"{"b": null}"#).unwrap(), definition);
        let without_class = FeatureDefinition { class_path: None, ..definition.clone() };
        let path = without_class.pushed_class_path();
        let again =
            FeatureDefinition::from_pushed(&spec, r#"{"b": null}"#, Some(&path), Some("mine")).unwrap();
        assert_eq!((path.as_str(), again), ("libmetaxy.a", without_class));
        let error = read("[]").unwrap_err();
        assert_eq!(error.detail("feature"), Some("a"));
        assert!(error.message().starts_with("the schema: "), "{error}");
        assert!(FeatureDefinition::from_pushed("{", "{}", None, None).is_err());
    }

    #[test]
    fn project_names_are_plain_words() {
        for name in ["a", "A-1_b", "_", "-"] {
            assert!(check_project_name(name).is_ok(), "{name}");
        }
        for name in ["", "a/b", "a__b", "a b", "é", "a\n", "a.b"] {
            assert_eq!(check_project_name(name).unwrap_err().detail("project"), Some(name));
        }
    }
}
