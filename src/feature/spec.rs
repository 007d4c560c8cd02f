//! What a feature is made of: identifying columns, dependencies and fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::document::{self, Node};
use super::key::{FeatureKey, FieldKey};
use super::system_columns::RESERVED_PREFIX;
use crate::error::Result;

/// The code version of a field that names none.
pub const DEFAULT_CODE_VERSION: &str = "__metaxy_initial__";

/// How JSON says "every field" where a list of fields could stand.
pub const ALL_FIELDS: &str = "__METAXY_ALL_DEP__";

/// A feature as its author describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// Its name.
    pub key: FeatureKey,
    /// The columns that together identify a sample; at least one.
    pub id_columns: Vec<String>,
    /// What it is computed from; nothing for a root.
    pub deps: Vec<FeatureDep>,
    /// The fields in the order in which structs of one value per field hold them.
    pub fields: Vec<FieldSpec>,
    /// Anything its author wants to keep with it.
    pub metadata: Map<String, Value>,
    /// What it is, in words.
    pub description: Option<String>,
}

/// That a feature is computed from another one, and how that one is prepared for it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDep {
    /// The feature depended upon.
    pub feature: FeatureKey,
    /// The columns to keep, by their names after renaming; all when absent.
    pub select: Option<Vec<String>>,
    /// New column names by old ones.
    pub rename: Option<BTreeMap<String, String>>,
    /// Which of its fields feed which field here.
    pub fields_mapping: FieldsMapping,
    /// Filter strings over the renamed columns, all of which must hold.
    pub filters: Option<Vec<String>>,
    /// How many of its samples make one here.
    pub lineage: Lineage,
    /// Whether samples without a counterpart in this dependency are computed all the same.
    pub optional: bool,
}

/// Which fields of a dependency feed a field that does not say so itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldsMapping {
    /// The fields of equal name, or else all of them.
    Default {
        /// Whether a field also matches when its last parts are the other's name.
        match_suffix: bool,
        /// Fields that are never chosen.
        exclude_fields: Vec<FieldKey>,
    },
    /// Every one.
    All,
    /// Not any.
    None,
    /// For each field of this feature, the fields of the dependency that feed it.
    Specific(BTreeMap<FieldKey, BTreeSet<FieldKey>>),
}

impl Default for FieldsMapping {
    fn default() -> Self {
        FieldsMapping::Default { match_suffix: false, exclude_fields: Vec::new() }
    }
}

/// How many samples of a dependency make how many samples of a feature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lineage {
    /// One makes one.
    #[default]
    Identity,
    /// All with equal `on` columns (the feature's own id columns when absent) make one.
    Aggregation {
        /// The columns that members of one group share.
        on: Option<Vec<String>>,
    },
    /// One, identified by `on`, makes many.
    Expansion {
        /// The columns that children of one sample share.
        on: Vec<String>,
        /// Recorded for the author; nothing acts on it.
        id_generation_pattern: Option<String>,
    },
}

/// One separately versioned piece of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name within the feature.
    pub key: FieldKey,
    /// What its author changes whenever the code that computes it changes.
    pub code_version: String,
    /// What it is computed from.
    pub deps: FieldDeps,
}

/// From which upstream fields a field is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldDeps {
    /// Those that the mapping of each dependency chooses.
    #[default]
    Mapped,
    /// Every field of every dependency.
    All,
    /// These and no others.
    Explicit(Vec<FieldDep>),
}

/// Fields of one dependency that a field is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDep {
    /// The feature, which must be a dependency of the field's own.
    pub feature: FeatureKey,
    /// The fields of it.
    pub fields: FieldSelection,
}

/// Some fields of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldSelection {
    /// Every one.
    All,
    /// Those named.
    Only(Vec<FieldKey>),
}

impl FeatureSpec {
    /// Reads a spec, refusing whatever is not part of one.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::read(&Node::root(&document::parse(text)?))
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let members = node.members(&["key", "id_columns", "deps", "fields", "metadata", "description"])?;
        let key: FeatureKey = members.required("key")?.key()?;
        let read = || {
            Ok(FeatureSpec {
                id_columns: read_id_columns(&members.required("id_columns")?)?,
                deps: match members.get("deps") {
                    Some(deps) => deps.list()?.iter().map(FeatureDep::read).collect::<Result<_>>()?,
                    None => Vec::new(),
                },
                fields: match members.get("fields") {
                    Some(fields) => read_fields(&fields)?,
                    None => vec![FieldSpec::named(FieldKey::parse("default")?)],
                },
                metadata: members
                    .get("metadata")
                    .map(|node| node.object().cloned())
                    .transpose()?
                    .unwrap_or_default(),
                description: members
                    .given("description")
                    .map(|node| node.string().map(str::to_owned))
                    .transpose()?,
                key: key.clone(),
            })
        };
        read().map_err(|error: crate::error::Error| error.with("feature", &key))
    }

    /// The field of this name, if the feature has it.
    pub fn field(&self, key: &FieldKey) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.key == *key)
    }

    /// The complete spec with every default written out, which Metaxy hashes and stores.
    pub fn canonical_json(&self) -> Value {
        json!({
            "key": self.key,
            "id_columns": self.id_columns,
            "deps": self.deps.iter().map(FeatureDep::canonical_json).collect::<Vec<_>>(),
            "fields": self.fields.iter().map(FieldSpec::canonical_json).collect::<Vec<_>>(),
            "metadata": self.metadata,
            "description": self.description,
        })
    }
}

fn read_id_columns(node: &Node<'_>) -> Result<Vec<String>> {
    let columns = node.list()?;
    if columns.is_empty() {
        return Err(node.refuse("a feature needs at least one id column"));
    }
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        let name = column.string()?;
        let refuse = |problem: String| column.refuse(problem).with("column", name);
        if name.is_empty() {
            return Err(refuse("an id column needs a name".to_owned()));
        }
        if name.starts_with(RESERVED_PREFIX) {
            return Err(refuse(format!(
                "the id column `{name}` begins with `{RESERVED_PREFIX}`, which is kept for system columns; give it another name"
            )));
        }
        if names.iter().any(|earlier| earlier == name) {
            return Err(refuse(format!("the id column `{name}` is there twice; keep one of them")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn read_fields(node: &Node<'_>) -> Result<Vec<FieldSpec>> {
    let mut seen = BTreeSet::new();
    let mut fields = Vec::new();
    for item in node.list()? {
        let field = FieldSpec::read(&item)?;
        if !seen.insert(field.key.clone()) {
            let problem = format!("the field `{}` is there twice; keep one of them", field.key);
            return Err(item.refuse(problem).with("field", &field.key));
        }
        fields.push(field);
    }
    Ok(fields)
}

impl FeatureDep {
    /// A dependency on all of a feature, with nothing renamed, filtered or regrouped.
    pub fn on(feature: FeatureKey) -> Self {
        FeatureDep {
            feature,
            select: None,
            rename: None,
            fields_mapping: FieldsMapping::default(),
            filters: None,
            lineage: Lineage::default(),
            optional: false,
        }
    }

    /// The name that a column of the dependency has once it is prepared.
    pub fn renamed<'c>(&'c self, column: &'c str) -> &'c str {
        self.rename.as_ref().and_then(|rename| rename.get(column)).map_or(column, String::as_str)
    }

    fn read(node: &Node<'_>) -> Result<Self> {
        if node.value().is_string() || node.value().is_array() {
            return Ok(Self::on(node.key()?));
        }
        let members = node.members(&[
            "feature",
            "select",
            "rename",
            "fields_mapping",
            "sql_filters",
            "filters",
            "lineage",
            "optional",
        ])?;
        if let (Some(filters), Some(_)) = (members.get("filters"), members.get("sql_filters")) {
            return Err(
                filters.refuse("`filters` and `sql_filters` are two names of one member; give only one")
            );
        }
        let filters = members.given("filters").or_else(|| members.given("sql_filters"));
        let dep = FeatureDep {
            feature: members.required("feature")?.key()?,
            select: members.given("select").map(|node| node.strings()).transpose()?,
            rename: members.given("rename").map(|node| read_rename(&node)).transpose()?,
            fields_mapping: match members.get("fields_mapping") {
                Some(mapping) => FieldsMapping::read(&mapping)?,
                None => FieldsMapping::default(),
            },
            filters: filters.map(|node| node.strings()).transpose()?,
            lineage: match members.get("lineage") {
                Some(lineage) => Lineage::read(&lineage)?,
                None => Lineage::default(),
            },
            optional: members.get("optional").map_or(Ok(false), |node| node.boolean())?,
        };
        if let Some(select) = members.given("select") {
            dep.check_select(&select)?;
        }
        Ok(dep)
    }

    /// Selection comes after renaming, so a name that was renamed away selects nothing.
    fn check_select(&self, node: &Node<'_>) -> Result<()> {
        let Some(rename) = &self.rename else { return Ok(()) };
        for item in node.list()? {
            let name = item.string()?;
            if let Some(new) = rename.get(name)
                && !rename.values().any(|target| target == name)
            {
                let problem = format!("`{name}` is renamed to `{new}`; select it by its new name");
                return Err(item.refuse(problem).with("column", name));
            }
        }
        Ok(())
    }

    pub(super) fn canonical_json(&self) -> Value {
        json!({
            "feature": self.feature,
            "select": self.select,
            "rename": self.rename,
            "fields_mapping": {"mapping": self.fields_mapping.canonical_json()},
            "sql_filters": self.filters,
            "lineage": {"relationship": self.lineage.canonical_json()},
            "optional": self.optional,
        })
    }
}

fn read_rename(node: &Node<'_>) -> Result<BTreeMap<String, String>> {
    node.entries()?.into_iter().map(|(old, new)| Ok((old.to_owned(), new.string()?.to_owned()))).collect()
}

impl FieldsMapping {
    fn read(node: &Node<'_>) -> Result<Self> {
        let node = node.members(&["mapping"])?.required("mapping")?;
        let tagged = node.members(&["type", "match_suffix", "exclude_fields", "mapping"])?;
        let kind = tagged.required("type")?;
        match kind.string()? {
            "default" => {
                let members = node.members(&["type", "match_suffix", "exclude_fields"])?;
                Ok(FieldsMapping::Default {
                    match_suffix: members.get("match_suffix").map_or(Ok(false), |node| node.boolean())?,
                    exclude_fields: members
                        .get("exclude_fields")
                        .map_or(Ok(Vec::new()), |node| node.keys())?,
                })
            }
            "all" => node.members(&["type"]).map(|_| FieldsMapping::All),
            "none" => node.members(&["type"]).map(|_| FieldsMapping::None),
            "specific" => {
                let mapping = node.members(&["type", "mapping"])?.required("mapping")?;
                let mut fields = BTreeMap::new();
                for (name, upstream) in mapping.entries()? {
                    let field = FieldKey::parse(name).map_err(|error| upstream.key_refused(&error))?;
                    fields.insert(field, upstream.keys()?.into_iter().collect());
                }
                Ok(FieldsMapping::Specific(fields))
            }
            _ => Err(kind.expected("\"default\", \"all\", \"none\" or \"specific\"")),
        }
    }

    fn canonical_json(&self) -> Value {
        match self {
            FieldsMapping::Default { match_suffix, exclude_fields } => {
                json!({"type": "default", "match_suffix": match_suffix, "exclude_fields": exclude_fields})
            }
            FieldsMapping::All => json!({"type": "all"}),
            FieldsMapping::None => json!({"type": "none"}),
            FieldsMapping::Specific(fields) => {
                // Here alone, Metaxy writes keys as lists of parts.
                let mapping: Map<String, Value> = fields
                    .iter()
                    .map(|(field, upstream)| {
                        let upstream: Vec<Vec<&str>> =
                            upstream.iter().map(|key| key.parts().collect()).collect();
                        (field.to_string(), json!(upstream))
                    })
                    .collect();
                json!({"type": "specific", "mapping": mapping})
            }
        }
    }
}

impl Lineage {
    fn read(node: &Node<'_>) -> Result<Self> {
        let node = node.members(&["relationship"])?.required("relationship")?;
        let tagged = node.members(&["type", "on", "id_generation_pattern"])?;
        let kind = tagged.required("type")?;
        match kind.string()? {
            "1:1" => node.members(&["type"]).map(|_| Lineage::Identity),
            "N:1" => {
                let members = node.members(&["type", "on"])?;
                Ok(Lineage::Aggregation { on: members.given("on").map(|node| node.strings()).transpose()? })
            }
            "1:N" => {
                let pattern = tagged.given("id_generation_pattern");
                Ok(Lineage::Expansion {
                    on: tagged.required("on")?.strings()?,
                    id_generation_pattern: pattern
                        .map(|node| node.string().map(str::to_owned))
                        .transpose()?,
                })
            }
            _ => Err(kind.expected("\"1:1\", \"N:1\" or \"1:N\"")),
        }
    }

    fn canonical_json(&self) -> Value {
        match self {
            Lineage::Identity => json!({"type": "1:1"}),
            Lineage::Aggregation { on } => json!({"type": "N:1", "on": on}),
            Lineage::Expansion { on, id_generation_pattern } => {
                json!({"type": "1:N", "on": on, "id_generation_pattern": id_generation_pattern})
            }
        }
    }
}

impl FieldSpec {
    /// A field with the default code version and mapped dependencies.
    pub fn named(key: FieldKey) -> Self {
        FieldSpec { key, code_version: DEFAULT_CODE_VERSION.to_owned(), deps: FieldDeps::Mapped }
    }

    fn read(node: &Node<'_>) -> Result<Self> {
        if node.value().is_string() {
            return Ok(Self::named(node.key()?));
        }
        let members = node.members(&["key", "code_version", "deps"])?;
        let code_version = members.get("code_version").map(|node| node.string()).transpose()?;
        Ok(FieldSpec {
            key: members.required("key")?.key()?,
            code_version: code_version.unwrap_or(DEFAULT_CODE_VERSION).to_owned(),
            deps: members.get("deps").map_or(Ok(FieldDeps::Mapped), |node| FieldDeps::read(&node))?,
        })
    }

    pub(super) fn canonical_json(&self) -> Value {
        json!({"key": self.key, "code_version": self.code_version, "deps": self.deps.canonical_json()})
    }
}

impl FieldDeps {
    fn read(node: &Node<'_>) -> Result<Self> {
        match node.value() {
            Value::String(marker) if marker == ALL_FIELDS => Ok(FieldDeps::All),
            Value::Array(items) if items.is_empty() => Ok(FieldDeps::Mapped),
            Value::Array(_) => {
                Ok(FieldDeps::Explicit(node.list()?.iter().map(FieldDep::read).collect::<Result<_>>()?))
            }
            _ => Err(node.expected(&format!("a list or {ALL_FIELDS:?}"))),
        }
    }

    pub(super) fn canonical_json(&self) -> Value {
        match self {
            FieldDeps::Mapped => json!([]),
            FieldDeps::All => json!(ALL_FIELDS),
            FieldDeps::Explicit(deps) => deps.iter().map(FieldDep::canonical_json).collect(),
        }
    }
}

impl FieldDep {
    fn read(node: &Node<'_>) -> Result<Self> {
        let members = node.members(&["feature", "fields"])?;
        Ok(FieldDep {
            feature: members.required("feature")?.key()?,
            fields: match members.get("fields") {
                None => FieldSelection::All,
                Some(fields) => match fields.value() {
                    Value::String(marker) if marker == ALL_FIELDS => FieldSelection::All,
                    Value::Array(_) => FieldSelection::Only(fields.keys()?),
                    _ => return Err(fields.expected(&format!("a list of field keys or {ALL_FIELDS:?}"))),
                },
            },
        })
    }

    fn canonical_json(&self) -> Value {
        match &self.fields {
            FieldSelection::All => json!({"feature": self.feature, "fields": ALL_FIELDS}),
            FieldSelection::Only(fields) => json!({"feature": self.feature, "fields": fields}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::python_json;
    use super::*;
    use crate::error::Status;

    fn read(text: &str) -> FeatureSpec {
        FeatureSpec::from_json(text).unwrap()
    }

    fn canonical(text: &str) -> String {
        python_json::to_string_sorted(&read(text).canonical_json())
    }

    #[test]
    fn the_shortest_spec_gets_every_default() {
        // Written by Metaxy 0.1.11, as are the other expected texts here.
        assert_eq!(
            canonical(r#"{"key": ["a", "b"], "id_columns": ["id"], "deps": ["x/y"]}"#),
            r#"{"deps": [{"feature": "x/y", "fields_mapping": {"mapping": {"exclude_fields": [], "match_suffix": false, "type": "default"}}, "lineage": {"relationship": {"type": "1:1"}}, "optional": false, "rename": null, "select": null, "sql_filters": null}], "description": null, "fields": [{"code_version": "__metaxy_initial__", "deps": [], "key": "default"}], "id_columns": ["id"], "key": "a/b", "metadata": {}}"#
        );
    }

    #[test]
    fn keys_of_a_specific_mapping_become_sorted_lists_of_parts() {
        let text = canonical(
            r#"{"key": "a", "id_columns": ["id"], "fields": [], "deps": [{"feature": "x", "filters": ["u > 1"],
                "rename": {"b": "c", "a": "d"}, "select": [], "lineage": {"relationship": {"type": "N:1"}},
                "fields_mapping": {"mapping": {"type": "specific", "mapping": {"a": ["z", "b/c", ["b"], "z"]}}}}]}"#,
        );
        assert_eq!(
            text,
            r#"{"deps": [{"feature": "x", "fields_mapping": {"mapping": {"mapping": {"a": [["b"], ["b", "c"], ["z"]]}, "type": "specific"}}, "lineage": {"relationship": {"on": null, "type": "N:1"}}, "optional": false, "rename": {"a": "d", "b": "c"}, "select": [], "sql_filters": ["u > 1"]}], "description": null, "fields": [], "id_columns": ["id"], "key": "a", "metadata": {}}"#
        );
    }

    #[test]
    fn the_canonical_form_reads_back_as_the_same_spec() {
        let spec = read(
            r#"{"key": "a", "id_columns": ["id", "k"], "metadata": {"f": 1e-7, "l": [null]}, "description": "é",
                "fields": ["p", {"key": "q", "code_version": "", "deps": "__METAXY_ALL_DEP__"},
                    {"key": "r", "deps": [{"feature": "x"}, {"feature": "y", "fields": ["s/t"]}]}],
                "deps": ["x", {"feature": "y", "optional": true, "sql_filters": [], "rename": {},
                    "fields_mapping": {"mapping": {"type": "none"}},
                    "lineage": {"relationship": {"type": "1:N", "on": ["id"]}}},
                    {"feature": "z", "fields_mapping": {"mapping": {"type": "all"}}}]}"#,
        );
        assert_eq!(read(&spec.canonical_json().to_string()), spec);
    }

    #[test]
    fn what_is_no_spec_is_refused_at_its_place() {
        let cases = [
            (r#"[]"#, "$", "expected an object, found a list of 0"),
            (r#"{"id_columns": ["id"]}"#, "$", "`key` is missing"),
            (r#"{"key": "a"}"#, "$", "`id_columns` is missing"),
            (r#"{"key": null, "id_columns": ["id"]}"#, "$.key", "must be a string"),
            (
                r#"{"key": "a", "id_columns": "id"}"#,
                "$.id_columns",
                "expected a list, found the string \"id\"",
            ),
            (
                r#"{"key": "a", "id_columns": ["id", 1]}"#,
                "$.id_columns[1]",
                "expected a string, found the number 1",
            ),
            (r#"{"key": "a", "id_columns": ["id", "id"]}"#, "$.id_columns[1]", "twice"),
            (r#"{"key": "a", "id_columns": [""]}"#, "$.id_columns[0]", "needs a name"),
            (r#"{"key": "a", "id_columns": ["metaxy_id"]}"#, "$.id_columns[0]", "kept for system columns"),
            (
                r#"{"key": "a", "id_columns": ["id"], "fields": null}"#,
                "$.fields",
                "expected a list, found null",
            ),
            (r#"{"key": "a", "id_columns": ["id"], "metadata": []}"#, "$.metadata", "expected an object"),
            (
                r#"{"key": "a", "id_columns": ["id"], "metadata": {"n": 1e999}}"#,
                "$.metadata.n",
                "64-bit float",
            ),
            (r#"{"key": "a", "id_columns": ["id"], "description": 1}"#, "$.description", "expected a string"),
            (r#"{"key": "a", "id_columns": ["id"], "fields": [{}]}"#, "$.fields[0]", "`key` is missing"),
            (
                r#"{"key": "a", "id_columns": ["id"], "fields": [["x", "y"]]}"#,
                "$.fields[0]",
                "expected an object",
            ),
            (
                r#"{"key": "a", "id_columns": ["id"], "fields": [{"key": "x", "deps": "all"}]}"#,
                "$.fields[0].deps",
                "__METAXY_ALL_DEP__",
            ),
            (
                r#"{"key": "a", "id_columns": ["id"], "fields": [{"key": "x", "deps": [{"feature": "b", "fields": ["B"]}]}]}"#,
                "$.fields[0].deps[0].fields[0]",
                "contains 'B'",
            ),
        ];
        for (text, path, words) in cases {
            let error = FeatureSpec::from_json(text).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
            assert_eq!(error.detail("path"), Some(path), "{text}: {error}");
            assert!(error.message().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_dependency_is_refused_at_its_place() {
        let cases = [
            (r#"1"#, "$.deps[0]", "expected an object, found the number 1"),
            (r#"{}"#, "$.deps[0]", "`feature` is missing"),
            (r#"{"feature": "b", "optional": 1}"#, "$.deps[0].optional", "expected true or false"),
            (r#"{"feature": "b", "selct": []}"#, "$.deps[0].selct", "did you mean `select`?"),
            (r#"{"feature": "b", "select": "x"}"#, "$.deps[0].select", "expected a list"),
            (r#"{"feature": "b", "rename": {"x": null}}"#, "$.deps[0].rename.x", "expected a string"),
            (
                r#"{"feature": "b", "rename": {"x": "y"}, "select": ["y", "x"]}"#,
                "$.deps[0].select[1]",
                "by its new name",
            ),
            (r#"{"feature": "b", "filters": [], "sql_filters": []}"#, "$.deps[0].filters", "only one"),
            (r#"{"feature": "b", "fields_mapping": null}"#, "$.deps[0].fields_mapping", "expected an object"),
            (
                r#"{"feature": "b", "fields_mapping": {"mapping": {}}}"#,
                "$.deps[0].fields_mapping.mapping",
                "`type` is missing",
            ),
            (
                r#"{"feature": "b", "fields_mapping": {"mapping": {"type": "some"}}}"#,
                "$.deps[0].fields_mapping.mapping.type",
                "\"specific\", found the string \"some\"",
            ),
            (
                r#"{"feature": "b", "fields_mapping": {"mapping": {"type": "all", "match_suffix": true}}}"#,
                "$.deps[0].fields_mapping.mapping.match_suffix",
                "no member `match_suffix` here",
            ),
            (
                r#"{"feature": "b", "fields_mapping": {"mapping": {"type": "specific", "mapping": {"A": []}}}}"#,
                "$.deps[0].fields_mapping.mapping.mapping.A",
                "field key \"A\"",
            ),
            (
                r#"{"feature": "b", "lineage": {"relationship": {"type": "1:N"}}}"#,
                "$.deps[0].lineage.relationship",
                "`on` is missing",
            ),
            (
                r#"{"feature": "b", "lineage": {"relationship": {"type": "1:1", "on": ["id"]}}}"#,
                "$.deps[0].lineage.relationship.on",
                "no member `on` here",
            ),
        ];
        for (dep, path, words) in cases {
            let text = format!(r#"{{"key": "a", "id_columns": ["id"], "deps": [{dep}]}}"#);
            let error = FeatureSpec::from_json(&text).unwrap_err();
            assert_eq!(error.detail("path"), Some(path), "{text}: {error}");
            assert_eq!(error.detail("feature"), Some("a"));
            assert!(error.message().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_column_may_take_a_name_that_was_renamed_away() {
        let swap = r#"{"key": "a", "id_columns": ["id"], "deps": [{"feature": "b", "rename": {"x": "y", "y": "x"}, "select": ["x"]}]}"#;
        assert_eq!(read(swap).deps[0].renamed("y"), "x");
    }
}
