//! What differs between two graphs, and which samples that makes stale.
//!
//! A field is stale if anything that its samples' versions are made of has changed: its code version,
//! the fields that feed it, how their samples are brought together, or those fields themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::definition::FeatureDefinition;
use super::graph::Graph;
use super::key::{FeatureKey, FieldKey};
use super::plan::QualifiedField;
use super::spec::{FeatureDep, FeatureSpec, FieldDeps, Lineage};
use crate::error::Result;

/// What became of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Removed,
    /// Its own definition differs.
    Changed,
    /// Only what it is computed from differs.
    Upstream,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Changed => "changed",
            Kind::Upstream => "upstream",
        }
    }
}

/// One thing about a feature's definition that is not as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What has changed: `code_version`, `dependency`, `id_columns`, ...
    pub what: &'static str,
    /// The field or the dependency that it is about, if it is about one.
    pub subject: Option<String>,
    /// What it was, unless it was not there.
    pub before: Option<Value>,
    /// What it is, unless it is not there any more.
    pub after: Option<Value>,
}

/// A field that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    pub field: FieldKey,
    pub kind: Kind,
}

/// A feature that is not as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDifference {
    pub feature: FeatureKey,
    pub kind: Kind,
    /// What differs in its own definition.
    pub changes: Vec<Change>,
    /// Whether its samples have to be computed again; never of one that was added or removed.
    pub stale: bool,
    /// The features whose own changes make it stale, itself among them; in the order of their keys.
    pub because: Vec<FeatureKey>,
    /// Its fields that are not as they were, in their order; removed ones last.
    pub fields: Vec<FieldDifference>,
}

/// All that differs between two graphs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Parents first; removed ones last.
    pub features: Vec<FeatureDifference>,
}

impl Difference {
    /// What has changed from `before` to `after`. In both, whatever a feature depends on must be defined.
    pub fn between(before: &Graph, after: &Graph) -> Result<Difference> {
        let (before, after) = (Side::of(before)?, Side::of(after)?);
        let mut staleness = Staleness::default();
        let mut features = Vec::new();
        for key in after.graph.topological_order() {
            let new = after.graph.get(key)?;
            let Some(old) = before.graph.find(key) else {
                let fields = new.spec.fields.iter();
                let fields = fields.map(|field| staleness.note_new(key, &field.key)).collect();
                features.push(whole(key, Kind::Added, fields));
                continue;
            };
            let changes = changes(old, new);
            let fields = staleness.fields(&before, &after, old, new);
            let because: Vec<FeatureKey> = staleness.causes.get(key).into_iter().flatten().cloned().collect();
            if changes.is_empty() && because.is_empty() {
                continue;
            }
            let kind = if changes.is_empty() { Kind::Upstream } else { Kind::Changed };
            let stale = !because.is_empty();
            features.push(FeatureDifference { feature: key.clone(), kind, changes, stale, because, fields });
        }
        let removed = before.graph.topological_order();
        for key in removed.into_iter().filter(|key| after.graph.find(key).is_none()) {
            let fields = before.graph.get(key)?.spec.fields.iter();
            let fields = fields.map(|field| of_field(&field.key, Kind::Removed)).collect();
            features.push(whole(key, Kind::Removed, fields));
        }
        Ok(Difference { features })
    }

    /// What became of a feature; nothing if it is as it was.
    pub fn of(&self, feature: &FeatureKey) -> Option<&FeatureDifference> {
        self.features.iter().find(|difference| difference.feature == *feature)
    }
}

fn whole(feature: &FeatureKey, kind: Kind, fields: Vec<FieldDifference>) -> FeatureDifference {
    let feature = feature.clone();
    FeatureDifference { feature, kind, changes: Vec::new(), stale: false, because: Vec::new(), fields }
}

fn of_field(field: &FieldKey, kind: Kind) -> FieldDifference {
    FieldDifference { field: field.clone(), kind }
}

/// A graph and, of each field in it, the fields that feed it.
struct Side<'g> {
    graph: &'g Graph,
    parents: HashMap<QualifiedField<'g>, Vec<QualifiedField<'g>>>,
}

impl<'g> Side<'g> {
    fn of(graph: &'g Graph) -> Result<Side<'g>> {
        let mut parents = HashMap::new();
        for FeatureDefinition { spec, provenance_by_field, .. } in graph.features() {
            // Given versions stand for what an external feature is made of, which need not be known.
            let given = |field: &FieldKey| provenance_by_field.contains_key(field);
            if spec.fields.iter().all(|field| given(&field.key)) {
                continue;
            }
            let plan = graph.plan(&spec.key)?;
            for field in spec.fields.iter().filter(|field| !given(&field.key)) {
                let name = QualifiedField { feature: &spec.key, field: &field.key };
                parents.insert(name, plan.parent_fields(&field.key)?);
            }
        }
        Ok(Side { graph, parents })
    }

    fn parents<'s>(&'s self, feature: &'s FeatureKey, field: &'s FieldKey) -> &'s [QualifiedField<'s>] {
        let parents = self.parents.get(&QualifiedField { feature, field });
        parents.map(Vec::as_slice).unwrap_or_default()
    }
}

/// What is stale among the features that were looked at so far.
#[derive(Default)]
struct Staleness {
    fields: HashSet<(FeatureKey, FieldKey)>,
    causes: BTreeMap<FeatureKey, BTreeSet<FeatureKey>>,
}

impl Staleness {
    /// A field that was not there is new to those that it feeds.
    fn note_new(&mut self, feature: &FeatureKey, field: &FieldKey) -> FieldDifference {
        self.fields.insert((feature.clone(), field.clone()));
        of_field(field, Kind::Added)
    }

    /// The fields of a feature that are not as they were. What feeds it has been looked at.
    fn fields(
        &mut self,
        before: &Side<'_>,
        after: &Side<'_>,
        old: &FeatureDefinition,
        new: &FeatureDefinition,
    ) -> Vec<FieldDifference> {
        let key = new.key();
        let regrouped = old.spec.id_columns != new.spec.id_columns || regroups(&old.spec, &new.spec);
        let mut causes = BTreeSet::new();
        let mut fields = Vec::new();
        for field in &new.spec.fields {
            let Some(was) = old.spec.field(&field.key) else {
                fields.push(self.note_new(key, &field.key));
                causes.insert(key.clone());
                continue;
            };
            let (fed, feeding) = (before.parents(key, &field.key), after.parents(key, &field.key));
            let given =
                |definition: &FeatureDefinition| definition.provenance_by_field.get(&field.key).cloned();
            let itself = regrouped
                || was.code_version != field.code_version
                || fed != feeding
                || given(old) != given(new);
            let stale_parents: Vec<_> =
                feeding.iter().filter(|parent| self.is_stale(parent)).map(|parent| parent.feature).collect();
            if !itself && stale_parents.is_empty() {
                continue;
            }
            if itself {
                causes.insert(key.clone());
            }
            for parent in stale_parents {
                causes.extend(self.causes.get(parent).into_iter().flatten().cloned());
            }
            self.fields.insert((key.clone(), field.key.clone()));
            fields.push(of_field(&field.key, if itself { Kind::Changed } else { Kind::Upstream }));
        }
        for field in old.spec.fields.iter().filter(|field| new.spec.field(&field.key).is_none()) {
            causes.insert(key.clone());
            fields.push(of_field(&field.key, Kind::Removed));
        }
        if !causes.is_empty() {
            self.causes.insert(key.clone(), causes);
        }
        fields
    }

    fn is_stale(&self, field: &QualifiedField<'_>) -> bool {
        self.fields.contains(&(field.feature.clone(), field.field.clone()))
    }
}

/// Whether the samples of a dependency are brought together in another way, which the versions of
/// samples tell and those of fields do not.
fn regroups(old: &FeatureSpec, new: &FeatureSpec) -> bool {
    deps(new).any(|(dep, position)| {
        dependency(old, &dep.feature, position).is_some_and(|was| {
            // A filter leaves out whole samples elsewhere: those that are left are as they were.
            let filter_tells = [was, dep]
                .iter()
                .any(|dep| dep.optional || matches!(dep.lineage, Lineage::Aggregation { .. }));
            Grouping::of(old, was) != Grouping::of(new, dep) || filter_tells && filters(was) != filters(dep)
        })
    })
}

/// What decides which samples of a dependency make a sample.
#[derive(PartialEq)]
struct Grouping<'s> {
    relationship: &'static str,
    on: &'s [String],
    /// The columns that become those by which samples are found, with their new names.
    renamed: Vec<(&'s String, &'s String)>,
}

impl<'s> Grouping<'s> {
    fn of(spec: &'s FeatureSpec, dep: &'s FeatureDep) -> Grouping<'s> {
        let ids = &spec.id_columns;
        let (relationship, on) = match &dep.lineage {
            Lineage::Identity => ("1:1", ids),
            Lineage::Aggregation { on } => ("N:1", on.as_ref().unwrap_or(ids)),
            Lineage::Expansion { on, .. } => ("1:N", on),
        };
        let renamed = dep.rename.iter().flatten();
        let renamed = renamed.filter(|(from, to)| from != to && (ids.contains(to) || on.contains(to)));
        Grouping { relationship, on, renamed: renamed.collect() }
    }
}

fn filters(dep: &FeatureDep) -> &[String] {
    dep.filters.as_deref().unwrap_or_default()
}

/// The dependencies of a feature, each with its position among those on the same feature.
fn deps(spec: &FeatureSpec) -> impl Iterator<Item = (&FeatureDep, usize)> {
    spec.deps.iter().enumerate().map(|(index, dep)| {
        let before = spec.deps.iter().take(index);
        (dep, before.filter(|other| other.feature == dep.feature).count())
    })
}

fn dependency<'s>(spec: &'s FeatureSpec, feature: &FeatureKey, position: usize) -> Option<&'s FeatureDep> {
    spec.deps.iter().filter(|dep| dep.feature == *feature).nth(position)
}

/// What differs between two definitions of one feature.
fn changes(old: &FeatureDefinition, new: &FeatureDefinition) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    let (was, is) = (&old.spec, &new.spec);
    changes.compare("id_columns", None, json!(was.id_columns), json!(is.id_columns));
    changes.dependencies(was, is);
    changes.fields(was, is);
    changes.compare("metadata", None, json!(was.metadata), json!(is.metadata));
    changes.compare("description", None, json!(was.description), json!(is.description));
    if changes.0.is_empty() && was != is {
        // All that is left is how fields or dependencies are arranged.
        let order = |spec: &FeatureSpec| {
            let deps: Vec<_> = spec.deps.iter().map(|dep| &dep.feature).collect();
            let fields: Vec<_> = spec.fields.iter().map(|field| &field.key).collect();
            json!({"deps": deps, "fields": fields})
        };
        changes.compare("order", None, order(was), order(is));
    }
    changes.compare("schema", None, old.schema.clone(), new.schema.clone());
    changes.compare("project", None, json!(old.project), json!(new.project));
    changes.compare("class_path", None, json!(old.class_path), json!(new.class_path));
    changes.compare("external", None, json!(old.external), json!(new.external));
    let given = |definition: &FeatureDefinition| {
        let versions = definition.provenance_by_field.iter();
        versions.map(|(field, version)| (field.to_string(), json!(version))).collect::<Value>()
    };
    changes.compare("provenance_by_field", None, given(old), given(new));
    changes.0
}

struct Changes(Vec<Change>);

impl Changes {
    fn compare(&mut self, what: &'static str, subject: Option<&str>, before: Value, after: Value) {
        if before != after {
            let subject = subject.map(str::to_owned);
            self.0.push(Change { what, subject, before: Some(before), after: Some(after) });
        }
    }

    fn dependencies(&mut self, was: &FeatureSpec, is: &FeatureSpec) {
        for (dep, position) in deps(is) {
            let name = Some(dep.feature.as_str());
            let after = dep.canonical_json();
            let Some(before) = dependency(was, &dep.feature, position).map(FeatureDep::canonical_json) else {
                self.0.push(Change {
                    what: "dependency",
                    subject: name.map(str::to_owned),
                    before: None,
                    after: Some(after),
                });
                continue;
            };
            for (what, member) in [
                ("select", "select"),
                ("rename", "rename"),
                ("filters", "sql_filters"),
                ("fields_mapping", "fields_mapping"),
                ("lineage", "lineage"),
                ("optional", "optional"),
            ] {
                let of = |dep: &Value| dep.get(member).cloned().unwrap_or_default();
                self.compare(what, name, of(&before), of(&after));
            }
        }
        let gone = deps(was).filter(|(dep, position)| dependency(is, &dep.feature, *position).is_none());
        for (dep, _) in gone {
            self.0.push(Change {
                what: "dependency",
                subject: Some(dep.feature.to_string()),
                before: Some(dep.canonical_json()),
                after: None,
            });
        }
    }

    fn fields(&mut self, was: &FeatureSpec, is: &FeatureSpec) {
        let deps = |deps: &FieldDeps| deps.canonical_json();
        for field in &is.fields {
            let name = Some(field.key.as_str());
            match was.field(&field.key) {
                Some(before) => {
                    self.compare("code_version", name, json!(before.code_version), json!(field.code_version));
                    self.compare("field_dependencies", name, deps(&before.deps), deps(&field.deps));
                }
                None => self.0.push(Change {
                    what: "field",
                    subject: name.map(str::to_owned),
                    before: None,
                    after: Some(field.canonical_json()),
                }),
            }
        }
        for field in was.fields.iter().filter(|field| is.field(&field.key).is_none()) {
            self.0.push(Change {
                what: "field",
                subject: Some(field.key.to_string()),
                before: Some(field.canonical_json()),
                after: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::{Truncation, Versions};
    use super::*;
    use proptest::prelude::*;

    const BEFORE: &str = r#"[
        {"key": "video", "id_columns": ["id"],
         "fields": [{"key": "audio", "code_version": "1"}, {"key": "frames", "code_version": "1"}]},
        {"key": "stt", "id_columns": ["id"], "deps": ["video"],
         "fields": [{"key": "text", "deps": [{"feature": "video", "fields": ["audio"]}]}]},
        {"key": "faces", "id_columns": ["id"], "deps": ["video"],
         "fields": [{"key": "boxes", "deps": [{"feature": "video", "fields": ["frames"]}]}]},
        {"key": "report", "id_columns": ["id"], "deps": ["stt", "faces"]}
    ]"#;

    fn graph(text: &str) -> Graph {
        Graph::default().with(FeatureDefinition::from_json(text, Some("p")).unwrap()).unwrap()
    }

    /// The difference that replacing one text in the definitions makes.
    fn after(old: &str, new: &str) -> Difference {
        assert!(BEFORE.contains(old), "{old}");
        Difference::between(&graph(BEFORE), &graph(&BEFORE.replacen(old, new, 1))).unwrap()
    }

    fn shown(difference: &Difference) -> Vec<String> {
        let names = |keys: &[FeatureKey]| keys.iter().map(FeatureKey::as_str).collect::<Vec<_>>().join("+");
        let one = |found: &FeatureDifference| {
            let changes: Vec<String> = found
                .changes
                .iter()
                .map(|change| format!("{} {}", change.what, change.subject.as_deref().unwrap_or("-")))
                .collect();
            let fields: Vec<String> =
                found.fields.iter().map(|field| format!("{} {}", field.kind.name(), field.field)).collect();
            format!(
                "{} {} [{}] [{}] because {}",
                found.kind.name(),
                found.feature,
                changes.join(", "),
                fields.join(", "),
                names(&found.because)
            )
        };
        difference.features.iter().map(one).collect()
    }

    #[test]
    fn a_code_version_makes_stale_what_is_computed_from_that_field() {
        let found = after(r#""audio", "code_version": "1""#, r#""audio", "code_version": "2""#);
        assert_eq!(
            shown(&found),
            [
                "changed video [code_version audio] [changed audio] because video",
                "upstream stt [] [upstream text] because video",
                "upstream report [] [upstream default] because video",
            ]
        );
        assert_eq!(found.features[0].changes[0].before, Some(json!("1")));
        assert_eq!(found.features[0].changes[0].after, Some(json!("2")));
        assert!(found.features.iter().all(|feature| feature.stale));
    }

    #[test]
    fn words_make_nothing_stale() {
        for (member, what) in
            [(r#""description": "x","#, "description"), (r#""metadata": {"a": 1},"#, "metadata")]
        {
            let found = after(r#"{"key": "stt","#, &format!(r#"{{"key": "stt", {member}"#));
            assert_eq!(shown(&found), [format!("changed stt [{what} -] [] because ")]);
        }
    }

    #[test]
    fn preparing_a_dependency_otherwise_makes_stale_only_what_hashes_otherwise() {
        for (dep, what, stale) in [
            (r#"{"feature": "video", "select": ["x"]}"#, "select", false),
            (r#"{"feature": "video", "rename": {"x": "y"}}"#, "rename", false),
            (r#"{"feature": "video", "filters": ["x > 1"]}"#, "filters", false),
            (r#"{"feature": "video", "optional": true}"#, "optional", false),
            (r#"{"feature": "video", "lineage": {"relationship": {"type": "N:1"}}}"#, "lineage", true),
            (
                r#"{"feature": "video", "fields_mapping": {"mapping": {"type": "all"}}}"#,
                "fields_mapping",
                false,
            ),
        ] {
            let found = after(r#"["video"]"#, &format!("[{dep}]"));
            let mut expected = vec![format!("changed stt [{what} video] [] because ")];
            if stale {
                expected = vec![
                    format!("changed stt [{what} video] [changed text] because stt"),
                    "upstream report [] [upstream default] because stt".to_owned(),
                ];
            }
            assert_eq!(shown(&found), expected);
        }
    }

    #[test]
    fn what_decides_which_samples_are_brought_together_makes_stale() {
        let with = |dep: &str| {
            graph(&format!(
                r#"[{{"key": "u", "id_columns": ["id"]}}, {{"key": "d", "id_columns": ["spk"], "deps": [{dep}]}}]"#
            ))
        };
        let n_to_1 = |more: &str| {
            format!(
                r#"{{"feature": "u", "lineage": {{"relationship": {{"type": "N:1", "on": ["spk"]}}}}{more}}}"#
            )
        };
        let twice = |more: &str| {
            let first = r#"{"feature": "u", "rename": {"id": "spk"}}"#;
            format!(
                r#"{first}, {{"feature": "u", "optional": true, "rename": {{"id": "spk", "x": "y"}}, "select": ["y"]{more}}}"#
            )
        };
        let identity = r#"{"feature": "u", "rename": {"id": "spk"}}"#;
        let optional = r#"{"feature": "u", "optional": true, "rename": {"id": "spk"}}"#;
        for (before, after, stale) in [
            (n_to_1(""), n_to_1(r#", "filters": ["q > 1"]"#), true),
            (n_to_1(""), n_to_1(r#", "filters": []"#), false),
            (n_to_1(r#", "rename": {"s1": "spk"}"#), n_to_1(r#", "rename": {"s2": "spk"}"#), true),
            (n_to_1(r#", "rename": {"s1": "a"}"#), n_to_1(r#", "rename": {"s2": "a"}"#), false),
            (n_to_1(""), n_to_1("").replace(r#", "on": ["spk"]"#, ""), false),
            (n_to_1(""), n_to_1("").replace(r#"["spk"]"#, r#"["other"]"#), true),
            (identity.to_owned(), optional.to_owned(), false),
            (identity.to_owned(), identity.replace("}}", r#"}, "filters": ["q > 1"]}"#), false),
            (optional.to_owned(), optional.replace("}}", r#"}, "filters": ["q > 1"]}"#), true),
            (twice(""), twice(r#", "filters": ["q > 1"]"#), true),
        ] {
            let found = Difference::between(&with(&before), &with(&after)).unwrap();
            let is_stale = found.features.iter().any(|found| found.stale);
            assert_eq!(is_stale, stale, "{before} -> {after}: {:?}", shown(&found));
        }
        let (same, again) = (with(&twice("")), with(&twice("")));
        assert_eq!(Difference::between(&same, &again).unwrap(), Difference::default());
    }

    #[test]
    fn fields_and_features_come_and_go() {
        let added = graph(BEFORE);
        let smaller = graph(
            &BEFORE
                .replace(r#", {"key": "frames", "code_version": "1"}"#, "")
                .replace(
                    r#""fields": [{"key": "boxes", "deps": [{"feature": "video", "fields": ["frames"]}]}]"#,
                    r#""fields": ["boxes"]"#,
                )
                .replace(r#", "deps": ["stt", "faces"]"#, r#", "deps": ["faces"]"#),
        );
        assert_eq!(
            shown(&Difference::between(&smaller, &added).unwrap()),
            [
                "changed video [field frames] [added frames] because video",
                "changed faces [field_dependencies boxes] [changed boxes] because faces+video",
                "changed report [dependency stt] [changed default] because faces+report+video",
            ]
        );
        let nothing = Graph::default();
        let all = Difference::between(&nothing, &added).unwrap();
        assert_eq!(all.features.iter().map(|found| found.kind).collect::<Vec<_>>(), [Kind::Added; 4]);
        assert!(!all.features.iter().any(|found| found.stale));
        let none = Difference::between(&added, &nothing).unwrap();
        assert_eq!(none.features.iter().map(|found| found.kind).collect::<Vec<_>>(), [Kind::Removed; 4]);
        assert_eq!(none.of(&"stt".parse().unwrap()).unwrap().fields[0].kind, Kind::Removed);
        assert_eq!(Difference::between(&added, &added).unwrap(), Difference::default());
    }

    #[test]
    fn the_order_alone_makes_nothing_stale() {
        let found = after(r#"["stt", "faces"]"#, r#"["faces", "stt"]"#);
        assert_eq!(shown(&found), ["changed report [order -] [] because "]);
    }

    #[test]
    fn what_is_not_defined_is_named() {
        let whole = graph(BEFORE);
        let torn = graph(r#"{"key": "report", "id_columns": ["id"], "deps": ["stt"]}"#);
        let error = Difference::between(&torn, &whole).unwrap_err();
        assert!(error.message().contains("`report` depends on `stt`"), "{error}");
    }

    #[test]
    fn a_given_version_stands_for_what_is_not_known() {
        let external = |version: &str| {
            graph(&format!(
                r#"[{{"feature_spec": {{"key": "e", "id_columns": ["id"], "deps": ["far"]}}, "external": true,
                     "provenance_by_field": {{"default": "{version}"}}}},
                    {{"key": "f", "id_columns": ["id"], "deps": ["e"]}}]"#
            ))
        };
        assert_eq!(
            shown(&Difference::between(&external("1"), &external("2")).unwrap()),
            [
                "changed e [provenance_by_field -] [changed default] because e",
                "upstream f [] [upstream default] because e",
            ]
        );
    }

    proptest! {
        /// The rule of staleness is another than that of versions, and must come to the same: of
        /// changes that versions tell, exactly the features are stale whose version differs.
        #[test]
        fn stale_is_what_has_another_version(
            edges in prop::collection::vec(prop::collection::btree_set(0usize..8, 0..4), 8),
            codes in prop::collection::vec((0u8..3, 0u8..3), 8),
            also in prop::collection::vec(any::<bool>(), 8),
        ) {
            let side = |which: usize| {
                let specs: Vec<Value> = edges.iter().enumerate().map(|(child, parents)| {
                    let deps: Vec<String> = parents.iter().filter(|parent| **parent < child).map(|parent| format!("f{parent}")).collect();
                    let code = if which == 0 { codes[child].0 } else { codes[child].1 };
                    let mut fields = vec![json!({"key": "a", "code_version": code.to_string()}), json!({"key": "b"})];
                    if which == 1 && also[child] {
                        fields.push(json!({"key": "c"}));
                    }
                    json!({"key": format!("f{child}"), "id_columns": ["id"], "deps": deps, "fields": fields})
                }).collect();
                graph(&Value::from(specs).to_string())
            };
            let (before, after) = (side(0), side(1));
            let found = Difference::between(&before, &after).unwrap();
            for definition in after.features() {
                let version = |graph: &Graph| Versions::new(graph, Truncation::FULL).feature_version(definition.key()).unwrap();
                let stale = found.of(definition.key()).is_some_and(|found| found.stale);
                prop_assert_eq!(stale, version(&before) != version(&after), "{}", definition.key());
            }
        }
    }
}
