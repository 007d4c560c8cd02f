//! The features that a store knows, and how they depend on one another.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::definition::FeatureDefinition;
use super::did_you_mean;
use super::key::{FeatureKey, FieldKey, SYSTEM_NAMESPACE, SYSTEM_TABLE_PREFIX};
use super::plan::{self, Plan, QualifiedField, Upstream};
use super::spec::FeatureSpec;
use crate::error::{Error, Result, Status};

/// A set of feature definitions without contradictions; defining more of them makes another graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    definitions: BTreeMap<FeatureKey, Arc<FeatureDefinition>>,
}

impl Graph {
    /// This graph with `definitions` added, or replaced where their keys are known already.
    ///
    /// A feature may come before those it depends on; what cannot be checked without them is checked
    /// when the last of them comes.
    pub fn with(&self, definitions: impl IntoIterator<Item = FeatureDefinition>) -> Result<Graph> {
        let mut graph = self.clone();
        let mut defined = BTreeSet::new();
        for definition in definitions {
            check_not_reserved(definition.key())?;
            if !defined.insert(definition.key().clone()) {
                let key = definition.key();
                let message =
                    format!("feature `{key}` is defined twice at once: keep one of the definitions");
                return Err(Error::invalid(message).with("feature", key));
            }
            graph.definitions.insert(definition.key().clone(), Arc::new(definition));
        }
        graph.check_table_names()?;
        graph.check_acyclic(&defined)?;
        for definition in graph.features() {
            let concerns = |key: &FeatureKey| defined.contains(key);
            if concerns(definition.key()) || definition.spec.deps.iter().any(|dep| concerns(&dep.feature)) {
                graph.check_plan(&definition.spec)?;
            }
        }
        Ok(graph)
    }

    /// This graph with those of `definitions` that fit, and why the others do not: of two that contradict
    /// each other the one that the error names is left out, or what has come to such a one of this graph.
    pub fn with_fitting(&self, mut definitions: Vec<FeatureDefinition>) -> (Graph, Vec<(FeatureKey, Error)>) {
        let mut left_out = Vec::new();
        loop {
            let error = match self.with(definitions.iter().cloned()) {
                Ok(graph) => return (graph, left_out),
                Err(error) => error,
            };
            let culprits = self.culprits(&error, &definitions);
            definitions.retain(|definition| !culprits.contains(definition.key()));
            left_out.extend(culprits.into_iter().map(|key| (key, error.clone())));
        }
    }

    /// Which of `definitions` an error is about: at least one of them.
    fn culprits(&self, error: &Error, definitions: &[FeatureDefinition]) -> BTreeSet<FeatureKey> {
        let those = |about: &dyn Fn(&FeatureKey) -> bool| -> BTreeSet<FeatureKey> {
            let keys = definitions.iter().map(FeatureDefinition::key);
            keys.filter(|key| about(key)).cloned().collect()
        };
        let named = error.detail("feature").and_then(|name| FeatureKey::parse(name).ok());
        let child = named.as_ref().and_then(|name| self.find(name));
        let feeds = |key: &FeatureKey| {
            child.is_some_and(|child| child.spec.deps.iter().any(|dep| dep.feature == *key))
        };
        let shares = |key: &FeatureKey| error.detail("table") == Some(key.table_name().as_str());
        let by_blame: [&dyn Fn(&FeatureKey) -> bool; 3] =
            [&|key| named.as_ref() == Some(key), &feeds, &shares];
        let found = by_blame.into_iter().map(those).find(|found| !found.is_empty());
        found.unwrap_or_else(|| those(&|_| true))
    }

    /// The definition of a feature, or an error that offers the most similar name.
    pub fn get(&self, feature: &FeatureKey) -> Result<&FeatureDefinition> {
        self.find(feature).ok_or_else(|| {
            let hint = did_you_mean(feature.as_str(), self.definitions.keys().map(FeatureKey::as_str));
            Error::new(Status::NotFound, format!("feature `{feature}` is not defined: define it first{hint}"))
                .with("feature", feature)
        })
    }

    /// The definition of the feature that has the table of this name.
    pub fn owner_of(&self, table: &str) -> Option<&FeatureDefinition> {
        self.features().find(|definition| definition.key().table_name() == table)
    }

    /// All definitions in the order of their keys.
    pub fn features(&self) -> impl ExactSizeIterator<Item = &FeatureDefinition> {
        self.definitions.values().map(Arc::as_ref)
    }

    /// All features, each after those it depends on; alphabetical where that leaves a choice.
    pub fn topological_order(&self) -> Vec<&FeatureKey> {
        self.parents_first(self.definitions.keys())
    }

    /// The given features, each once and after those of them that it depends on itself; alphabetical
    /// where that leaves a choice. A feature that is not defined depends on nothing.
    pub fn parents_first<'a>(
        &'a self,
        features: impl IntoIterator<Item = &'a FeatureKey>,
    ) -> Vec<&'a FeatureKey> {
        let given: HashSet<&FeatureKey> = features.into_iter().collect();
        let deps = |feature| {
            let deps = self.defined_deps(feature).into_iter();
            deps.filter(|dep| given.contains(dep)).collect::<Vec<_>>().into_iter()
        };
        let mut order = Vec::with_capacity(given.len());
        let mut visited = HashSet::new();
        let mut roots: Vec<&FeatureKey> = given.iter().copied().collect();
        roots.sort_by_key(|key| key.as_str());
        for root in roots {
            if !visited.insert(root) {
                continue;
            }
            let mut path = vec![(root, deps(root))];
            while let Some((feature, remaining)) = path.last_mut() {
                match remaining.next() {
                    Some(dep) if visited.insert(dep) => path.push((dep, deps(dep))),
                    Some(_) => {}
                    None => {
                        order.push(*feature);
                        path.pop();
                    }
                }
            }
        }
        order
    }

    /// A feature beside all the features it depends on.
    pub fn plan(&self, feature: &FeatureKey) -> Result<Plan<'_>> {
        let spec = &self.get(feature)?.spec;
        let upstreams = spec.deps.iter().map(|dep| match self.find(&dep.feature) {
            Some(upstream) => Ok(Upstream { dep, spec: &upstream.spec }),
            None => {
                let hint = did_you_mean(dep.feature.as_str(), self.definitions.keys().map(FeatureKey::as_str));
                let message = format!(
                    "feature `{feature}` depends on `{missing}`, which is not defined: define `{missing}` first, or load it \
                     from where its project has pushed it{hint}",
                    missing = dep.feature
                );
                Err(Error::new(Status::NotFound, message).with("feature", feature).with("dependency", &dep.feature))
            }
        });
        Ok(Plan { feature: spec, upstreams: upstreams.collect::<Result<_>>()? })
    }

    /// The upstream fields that feed a field, sorted by their written form `feature.field`.
    pub fn parent_fields(&self, feature: &FeatureKey, field: &FieldKey) -> Result<Vec<QualifiedField<'_>>> {
        self.plan(feature)?.parent_fields(field)
    }

    /// The columns that identify a sample of a feature's joined dependencies; none for a root.
    pub fn input_id_columns(&self, feature: &FeatureKey) -> Result<Vec<&str>> {
        Ok(self.plan(feature)?.input_id_columns())
    }

    /// The one project of all features that are not external; nothing if they belong to none.
    pub fn single_project(&self) -> Result<Option<&str>> {
        let own = self.features().filter(|definition| !definition.external);
        let projects: BTreeSet<Option<&str>> = own.map(|definition| definition.project.as_deref()).collect();
        let Some(project) = projects.first() else {
            return Err(Error::new(
                Status::InvalidState,
                "no project can be told from the features, because none of the store's own is defined: set the option `project`",
            )
            .with("option", "project"));
        };
        if projects.len() > 1 {
            let named =
                projects.iter().map(|project| project.map_or("none".to_owned(), |name| format!("`{name}`")));
            let message = format!(
                "the features belong to several projects ({}): set the option `project` to the one that writes",
                named.collect::<Vec<_>>().join(", ")
            );
            return Err(Error::new(Status::InvalidState, message).with("option", "project"));
        }
        Ok(*project)
    }

    /// The project that a write is stamped with: the configured one, else the [`Graph::single_project`].
    pub fn writing_project<'a>(&'a self, configured: Option<&'a str>) -> Result<Option<&'a str>> {
        match configured {
            Some(project) => Ok(Some(project)),
            None => self.single_project(),
        }
    }

    /// The definition of a feature, if it is defined.
    pub fn find(&self, feature: &FeatureKey) -> Option<&FeatureDefinition> {
        self.definitions.get(feature).map(Arc::as_ref)
    }

    /// The dependencies of a feature that are defined, in alphabetical order.
    fn defined_deps(&self, feature: &FeatureKey) -> Vec<&FeatureKey> {
        let deps = self.find(feature).map(|definition| definition.spec.deps.as_slice()).unwrap_or_default();
        let mut keys: Vec<&FeatureKey> =
            deps.iter().filter_map(|dep| self.find(&dep.feature)).map(FeatureDefinition::key).collect();
        keys.sort_by_key(|key| key.as_str());
        keys
    }

    fn check_plan(&self, spec: &FeatureSpec) -> Result<()> {
        plan::check_declared(spec)?;
        for dep in &spec.deps {
            plan::check_rename(spec, dep, self.find(&dep.feature).map(|upstream| &upstream.spec))?;
        }
        if spec.deps.iter().all(|dep| self.definitions.contains_key(&dep.feature)) {
            self.plan(&spec.key)?.check()?;
        }
        Ok(())
    }

    fn check_table_names(&self) -> Result<()> {
        let mut owners: BTreeMap<String, &FeatureKey> = BTreeMap::new();
        for feature in self.definitions.keys() {
            if let Some(other) = owners.insert(feature.table_name(), feature) {
                let table = feature.table_name();
                return Err(Error::invalid(format!(
                    "features `{other}` and `{feature}` would share the table `{table}`: give one of them another key"
                ))
                .with("feature", feature)
                .with("table", table));
            }
        }
        Ok(())
    }

    /// Looks for a cycle through one of the features in `defined`; any new one goes through such.
    fn check_acyclic(&self, defined: &BTreeSet<FeatureKey>) -> Result<()> {
        let mut finished: HashSet<&FeatureKey> = HashSet::new();
        for root in defined {
            if finished.contains(root) {
                continue;
            }
            let mut path = vec![(root, self.defined_deps(root).into_iter())];
            let mut on_path = HashSet::from([root]);
            while let Some((feature, deps)) = path.last_mut() {
                match deps.next() {
                    Some(dep) if on_path.contains(dep) => {
                        let features = path.iter().map(|(feature, _)| *feature);
                        return Err(cycle(features.skip_while(|feature| *feature != dep).collect()));
                    }
                    Some(dep) if !finished.contains(dep) => {
                        on_path.insert(dep);
                        path.push((dep, self.defined_deps(dep).into_iter()));
                    }
                    Some(_) => {}
                    None => {
                        on_path.remove(*feature);
                        finished.insert(*feature);
                        path.pop();
                    }
                }
            }
        }
        Ok(())
    }
}

fn cycle(features: Vec<&FeatureKey>) -> Error {
    let mut names: Vec<&str> = features.iter().map(|feature| feature.as_str()).collect();
    names.extend(names.first().copied());
    let message = format!(
        "features may not depend on themselves, but {} is a cycle: remove one of these dependencies",
        names.join(" -> ")
    );
    let error = Error::invalid(message);
    match features.first() {
        Some(first) => error.with("feature", first),
        None => error,
    }
}

fn check_not_reserved(feature: &FeatureKey) -> Result<()> {
    let problem = if feature.is_system() {
        format!("keys under `{SYSTEM_NAMESPACE}` are kept for system tables")
    } else if let Some(table) = feature.table_name().strip_prefix(SYSTEM_TABLE_PREFIX) {
        let table = table.replace("__", "/");
        format!("it would share the table `{}` with `{SYSTEM_NAMESPACE}/{table}`", feature.table_name())
    } else {
        return Ok(());
    };
    let message = format!("feature `{feature}` cannot be defined: {problem}; give it another key");
    Err(Error::invalid(message).with("feature", feature).with("table", feature.table_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn define(text: &str) -> Vec<FeatureDefinition> {
        FeatureDefinition::from_json(text, None).unwrap()
    }

    fn feature(key: &str, deps: &[&str]) -> FeatureDefinition {
        let deps = serde_json::to_string(deps).unwrap();
        define(&format!(r#"{{"key": "{key}", "id_columns": ["id"], "deps": {deps}}}"#)).remove(0)
    }

    fn graph(features: &[(&str, &[&str])]) -> Result<Graph> {
        Graph::default().with(features.iter().map(|(key, deps)| feature(key, deps)))
    }

    fn key(text: &str) -> FeatureKey {
        text.parse().unwrap()
    }

    #[test]
    fn cycles_are_refused_with_every_feature_on_them() {
        for (features, named) in [
            (vec![("a", &["a"] as &[&str])], "a -> a"),
            (vec![("a", &["b"]), ("b", &["a"])], "a -> b -> a"),
            (
                vec![("a", &["b"]), ("b", &["c", "d"]), ("c", &[]), ("d", &["e"]), ("e", &["b"])],
                "b -> d -> e -> b",
            ),
        ] {
            let error = graph(&features).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument);
            assert!(error.message().contains(&format!("but {named} is a cycle")), "{error}");
        }
    }

    #[test]
    fn a_cycle_may_not_be_closed_later() {
        let before = graph(&[("a", &["b"]), ("b", &["c"])]).unwrap();
        let error = before.with([feature("c", &["a"])]).unwrap_err();
        assert!(error.message().contains("c -> a -> b -> c"), "{error}");
        assert_eq!(before.features().len(), 2);
        assert!(before.with([feature("c", &[])]).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_left_out_alone() {
        let mine = define(
            r#"{"key": "mine", "id_columns": ["id"], "deps": ["theirs"],
                "fields": [{"key": "f", "deps": [{"feature": "theirs", "fields": ["gone"]}]}]}"#,
        );
        let before = Graph::default().with(mine).unwrap();
        let theirs = define(
            r#"[{"key": "theirs", "id_columns": ["id"]}, {"key": "fine", "id_columns": ["id"], "deps": ["loop"]},
                {"key": "loop", "id_columns": ["id"], "deps": ["loop"]}, {"key": "mi_ne", "id_columns": ["id"]},
                {"key": "mi-ne", "id_columns": ["id"]}]"#,
        );
        let (after, left_out) = before.with_fitting(theirs);
        let names = after.features().map(|definition| definition.key().as_str()).collect::<Vec<_>>();
        assert!(names.contains(&"fine") && names.contains(&"mine"), "{names:?}");
        let left_out: Vec<&str> = left_out.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(left_out, ["mi_ne", "loop", "theirs"]);
    }

    #[test]
    fn one_table_holds_one_feature() {
        for (first, second, table) in [("a-b", "a_b", "a_b"), ("a_/b", "a/_b", "a___b")] {
            let error = graph(&[(first, &[]), (second, &[])]).unwrap_err();
            for name in [first, second] {
                assert!(error.message().contains(&format!("`{name}`")), "{error}");
            }
            assert_eq!(error.detail("table"), Some(table));
        }
    }

    #[test]
    fn system_tables_are_nobodys_features() {
        let error = graph(&[("metaxy_system/feature_versions", &[])]).unwrap_err();
        assert!(error.message().contains("`metaxy-system/feature_versions`"), "{error}");
        assert!(graph(&[("metaxy-system/feature_versions", &[])]).is_err());
        assert!(graph(&[("metaxy-system", &[])]).is_err());
        assert!(graph(&[("metaxy_system", &[]), ("metaxy_systems/a", &[])]).is_ok());
    }

    #[test]
    fn a_child_may_come_before_its_parent_but_not_be_used() {
        let child = graph(&[("child", &["parents"])]).unwrap();
        let error = child.plan(&key("child")).unwrap_err();
        assert_eq!(error.status(), Status::NotFound);
        assert_eq!(error.detail("feature"), Some("child"));
        assert_eq!(error.detail("dependency"), Some("parents"));
        let family = child.with([feature("parents", &[])]).unwrap();
        assert_eq!(family.input_id_columns(&key("child")).unwrap(), ["id"]);
    }

    #[test]
    fn a_child_is_checked_when_its_parent_comes_or_changes() {
        let child = define(
            r#"{"key": "c", "id_columns": ["id"], "deps": ["p"],
                "fields": [{"key": "f", "deps": [{"feature": "p", "fields": ["audio"]}]}]}"#,
        );
        let parent =
            |fields: &str| define(&format!(r#"{{"key": "p", "id_columns": ["id"], "fields": {fields}}}"#));
        let waiting = Graph::default().with(child).unwrap();
        let error = waiting.with(parent(r#"["audios"]"#)).unwrap_err();
        assert!(
            error.message().contains("feature `p` has no field `audio`; did you mean `audios`?"),
            "{error}"
        );
        assert_eq!((error.detail("feature"), error.detail("field")), (Some("c"), Some("f")));
        let family = waiting.with(parent(r#"["audio"]"#)).unwrap();
        assert!(family.with(parent("[]")).is_err());
    }

    #[test]
    fn what_needs_no_parent_is_checked_at_once() {
        for deps in [
            r#""deps": [{"feature": "p", "rename": {"n": "metaxy_provenance"}}]"#,
            r#""deps": [{"feature": "p", "rename": {"n": "q", "m": "q"}}]"#,
            r#""deps": ["p"], "fields": [{"key": "f", "deps": [{"feature": "other"}]}]"#,
        ] {
            let text = format!(r#"{{"key": "c", "id_columns": ["id"], {deps}}}"#);
            assert_eq!(
                Graph::default().with(define(&text)).unwrap_err().detail("feature"),
                Some("c"),
                "{deps}"
            );
        }
    }

    #[test]
    fn parents_come_first_and_only_the_given_features_count() {
        let graph =
            graph(&[("a", &["z"]), ("b", &["a"]), ("c", &["b", "z"]), ("d", &[]), ("z", &[])]).unwrap();
        for (given, order) in [
            ("c b a", "a b c"),
            ("a z", "z a"),
            ("d c z", "z c d"),
            // What lies between them is not given.
            ("a c", "a c"),
            ("b z", "b z"),
            ("b unknown a a", "a b unknown"),
            ("", ""),
        ] {
            let given: Vec<FeatureKey> = given.split_whitespace().map(key).collect();
            let found: Vec<&str> = graph.parents_first(&given).into_iter().map(FeatureKey::as_str).collect();
            assert_eq!(found.join(" "), order);
        }
    }

    #[test]
    fn an_unknown_feature_is_named_with_its_neighbour() {
        let graph = graph(&[("example/video", &[]), ("example/crop", &[])]).unwrap();
        let error = graph.get(&key("example/vide")).unwrap_err();
        assert_eq!(error.status(), Status::NotFound);
        assert_eq!(
            error.message(),
            "feature `example/vide` is not defined: define it first; did you mean `example/video`?"
        );
        assert!(!graph.get(&key("something/else")).unwrap_err().message().contains("did you mean"));
    }

    #[test]
    fn the_last_definition_of_a_feature_stands() {
        let first = graph(&[("a", &["b"]), ("b", &[])]).unwrap();
        let second = first.with([feature("a", &[])]).unwrap();
        assert_eq!(first.get(&key("a")).unwrap().spec.deps.len(), 1);
        assert_eq!(second.get(&key("a")).unwrap().spec.deps.len(), 0);
    }

    #[test]
    fn the_project_of_a_write_is_the_configured_or_the_only_one() {
        let of = |key: &str, project: Option<&str>, external: bool| FeatureDefinition {
            project: project.map(str::to_owned),
            external,
            ..feature(key, &[])
        };
        let one = Graph::default().with([of("a", Some("p"), false), of("b", Some("q"), true)]).unwrap();
        assert_eq!(one.writing_project(None).unwrap(), Some("p"));
        assert_eq!(one.writing_project(Some("z")).unwrap(), Some("z"));
        let none = Graph::default().with([of("a", None, false)]).unwrap();
        assert_eq!(none.writing_project(None).unwrap(), None);
        let several = one.with([of("c", None, false)]).unwrap();
        let error = several.writing_project(None).unwrap_err();
        assert!(error.message().contains("(none, `p`)"), "{error}");
        assert_eq!(error.detail("option"), Some("project"));
        assert!(Graph::default().with([of("b", Some("q"), true)]).unwrap().single_project().is_err());
    }

    proptest! {
        /// Edges only go from higher to lower numbers, so every generated graph is acyclic.
        #[test]
        fn every_feature_comes_after_its_dependencies(
            edges in prop::collection::vec(prop::collection::btree_set(0usize..12, 0..4), 12)
        ) {
            let names: Vec<String> = (0..12).map(|number| format!("f{number}")).collect();
            let definitions: Vec<FeatureDefinition> = edges.iter().enumerate().map(|(child, parents)| {
                let deps: Vec<&str> = parents.iter().filter(|parent| **parent < child).map(|parent| names[*parent].as_str()).collect();
                feature(&names[child], &deps)
            }).collect();
            let graph = Graph::default().with(definitions.into_iter().rev()).unwrap();
            let order = graph.topological_order();
            prop_assert_eq!(order.len(), 12);
            for (position, feature) in order.iter().enumerate() {
                for dep in &graph.get(feature).unwrap().spec.deps {
                    prop_assert!(order[..position].contains(&&dep.feature));
                }
            }
        }
    }
}
