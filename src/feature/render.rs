//! Pictures of a graph, as text that Mermaid or Graphviz draws.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use super::difference::{Difference, Kind};
use super::graph::Graph;
use super::key::FeatureKey;
use super::spec::{DEFAULT_CODE_VERSION, FeatureDep, Lineage};
use super::version::{Truncation, Versions};

/// The characters of a version that are shown.
const SHOWN: usize = 8;

/// A graph and, if wanted, what has changed in it.
pub struct Picture<'g> {
    nodes: Vec<Node<'g>>,
    edges: Vec<Edge<'g>>,
}

struct Node<'g> {
    feature: &'g FeatureKey,
    /// Its version, then each of its fields with the code version that it was given.
    lines: Vec<String>,
    look: Look,
}

struct Edge<'g> {
    from: &'g FeatureKey,
    to: &'g FeatureKey,
    /// What it says besides that one is computed from the other.
    label: String,
    optional: bool,
}

/// How a feature is drawn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Plain,
    External,
    /// Depended upon, and not defined.
    Missing,
    Added,
    Removed,
    Changed,
    Stale,
}

impl Look {
    fn name(self) -> &'static str {
        match self {
            Look::Plain => "plain",
            Look::External => "external",
            Look::Missing => "missing",
            Look::Added => "added",
            Look::Removed => "removed",
            Look::Changed => "changed",
            Look::Stale => "stale",
        }
    }

    fn fill(self) -> &'static str {
        match self {
            Look::Plain => "#ffffff",
            Look::External | Look::Missing => "#eeeeee",
            Look::Added => "#c8e6c9",
            Look::Removed => "#ffcdd2",
            Look::Changed => "#fff59d",
            Look::Stale => "#ffe0b2",
        }
    }

    fn dashed(self) -> bool {
        matches!(self, Look::External | Look::Missing | Look::Removed)
    }
}

impl<'g> Picture<'g> {
    /// A picture of `graph`, with versions cut to one length.
    pub fn of(graph: &'g Graph, truncation: Truncation) -> Picture<'g> {
        let mut picture = Picture { nodes: Vec::new(), edges: Vec::new() };
        picture.add(graph, truncation, |_| true);
        picture.add_missing();
        picture
    }

    /// A picture of what has changed from `before` to `after`, which is their `difference`: the features
    /// that were added, changed, or made stale stand out, and those that were removed are there too.
    pub fn of_difference(
        before: &'g Graph,
        after: &'g Graph,
        difference: &Difference,
        truncation: Truncation,
    ) -> Picture<'g> {
        let mut picture = Picture { nodes: Vec::new(), edges: Vec::new() };
        picture.add(after, truncation, |_| true);
        picture.add(before, truncation, |feature| after.find(feature).is_none());
        for node in &mut picture.nodes {
            let Some(found) = difference.of(node.feature) else { continue };
            node.look = match found.kind {
                Kind::Added => Look::Added,
                Kind::Removed => Look::Removed,
                Kind::Changed => Look::Changed,
                Kind::Upstream => Look::Stale,
            };
            if !matches!(node.look, Look::Plain | Look::External) {
                let stale = if found.stale && found.kind == Kind::Changed { ", stale" } else { "" };
                node.lines.insert(0, format!("({}{stale})", node.look.name()));
            }
        }
        picture.add_missing();
        picture
    }

    fn add(&mut self, graph: &'g Graph, truncation: Truncation, wanted: impl Fn(&FeatureKey) -> bool) {
        let mut versions = Versions::new(graph, truncation);
        for key in graph.topological_order().into_iter().filter(|key| wanted(key)) {
            let Some(definition) = graph.find(key) else { continue };
            let mut lines = Vec::new();
            // Not known while a feature that it depends on is not defined.
            if let Ok(version) = versions.feature_version(key) {
                lines.push(version.chars().take(SHOWN).collect());
            }
            let fields = definition.spec.fields.iter();
            lines.extend(fields.map(|field| match field.code_version.as_str() {
                DEFAULT_CODE_VERSION => field.key.to_string(),
                version => format!("{}: {version}", field.key),
            }));
            let look = if definition.external { Look::External } else { Look::Plain };
            self.nodes.push(Node { feature: key, lines, look });
            self.edges.extend(definition.spec.deps.iter().map(|dep| Edge::of(dep, key)));
        }
    }

    fn add_missing(&mut self) {
        let drawn: BTreeSet<&FeatureKey> = self.nodes.iter().map(|node| node.feature).collect();
        let missing: BTreeSet<&FeatureKey> =
            self.edges.iter().map(|edge| edge.from).filter(|from| !drawn.contains(from)).collect();
        let lines = || vec!["(not defined)".to_owned()];
        let nodes = missing.into_iter().map(|feature| Node { feature, lines: lines(), look: Look::Missing });
        self.nodes.extend(nodes);
    }

    fn looks(&self) -> BTreeSet<Look> {
        self.nodes.iter().map(|node| node.look).filter(|look| *look != Look::Plain).collect()
    }

    /// As a Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        // Mermaid takes few characters in the name of a node, and some words for its own.
        let numbers: BTreeMap<&FeatureKey, usize> =
            self.nodes.iter().enumerate().map(|(number, node)| (node.feature, number)).collect();
        let id = |feature: &FeatureKey| {
            numbers.get(feature).map(|number| format!("n{number}")).unwrap_or_default()
        };
        self.written(|text| {
            writeln!(text, "flowchart LR")?;
            for node in &self.nodes {
                let lines: String = node.lines.iter().map(|line| format!("<br/>{}", html(line))).collect();
                writeln!(text, "    {}[\"<b>{}</b>{lines}\"]", id(node.feature), node.feature)?;
            }
            for edge in &self.edges {
                let arrow = if edge.optional { "-.->" } else { "-->" };
                let label = if edge.label.is_empty() { String::new() } else { format!("|{}|", edge.label) };
                writeln!(text, "    {} {arrow}{label} {}", id(edge.from), id(edge.to))?;
            }
            for look in self.looks() {
                let dashes = if look.dashed() { ",stroke-dasharray:4" } else { "" };
                writeln!(text, "    classDef {} fill:{}{dashes}", look.name(), look.fill())?;
                let nodes = self.nodes.iter().filter(|node| node.look == look);
                let names: Vec<String> = nodes.map(|node| id(node.feature)).collect();
                writeln!(text, "    class {} {}", names.join(","), look.name())?;
            }
            Ok(())
        })
    }

    /// As a graph in Graphviz's language DOT.
    pub fn dot(&self) -> String {
        self.written(|text| {
            writeln!(text, "digraph features {{")?;
            writeln!(text, "    rankdir=LR;")?;
            writeln!(text, "    node [shape=box, style=filled, fillcolor=\"{}\"];", Look::Plain.fill())?;
            for node in &self.nodes {
                let lines: String = node.lines.iter().map(|line| format!("\\n{}", quoted(line))).collect();
                let dashes = if node.look.dashed() { ", style=\"filled,dashed\"" } else { "" };
                let look = match node.look {
                    Look::Plain => String::new(),
                    look => format!(", class=\"{}\", fillcolor=\"{}\"{dashes}", look.name(), look.fill()),
                };
                writeln!(text, "    \"{0}\" [label=\"{0}{lines}\"{look}];", node.feature)?;
            }
            for edge in &self.edges {
                let mut looks = Vec::new();
                if edge.optional {
                    looks.push("style=dashed".to_owned());
                }
                if !edge.label.is_empty() {
                    looks.push(format!("label=\"{}\"", edge.label));
                }
                let looks = if looks.is_empty() { String::new() } else { format!(" [{}]", looks.join(", ")) };
                writeln!(text, "    \"{}\" -> \"{}\"{looks};", edge.from, edge.to)?;
            }
            writeln!(text, "}}")
        })
    }

    fn written(&self, write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write(&mut text);
        text
    }
}

impl<'g> Edge<'g> {
    fn of(dep: &'g FeatureDep, to: &'g FeatureKey) -> Edge<'g> {
        let lineage = match dep.lineage {
            Lineage::Identity => None,
            Lineage::Aggregation { .. } => Some("N:1"),
            Lineage::Expansion { .. } => Some("1:N"),
        };
        let optional = dep.optional.then_some("optional");
        let label: Vec<&str> = lineage.into_iter().chain(optional).collect();
        Edge { from: &dep.feature, to, label: label.join(" "), optional: dep.optional }
    }
}

/// Text that Mermaid shows as it is: code versions are their author's choice.
fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' ' | '.' | ',' | ':' | '(' | ')' | '_' | '-' | '/' | '+' => shown.push(character),
            character if character.is_alphanumeric() => shown.push(character),
            character => {
                let _ = write!(shown, "#{};", u32::from(character));
            }
        }
    }
    shown
}

/// Text inside the quotes of a label in DOT, where `&` begins the name of a character.
fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => shown.extend(['\\', character]),
            '&' => shown.push_str("&amp;"),
            character if character.is_control() => shown.push(' '),
            character => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::definition::FeatureDefinition;
    use super::*;

    fn graph(text: &str) -> Graph {
        Graph::default().with(FeatureDefinition::from_json(text, Some("p")).unwrap()).unwrap()
    }

    fn pictured() -> Graph {
        graph(
            r#"[{"key": "a/v-x", "id_columns": ["id"], "fields": [{"key": "f", "code_version": "1\"<b>\\"}]},
                {"key": "b", "id_columns": ["id"], "deps": ["a/v-x",
                    {"feature": "gone", "optional": true, "lineage": {"relationship": {"type": "N:1"}}}]},
                {"feature_spec": {"key": "end", "id_columns": ["id"]}, "external": true}]"#,
        )
    }

    #[test]
    fn mermaid_shows_features_fields_and_dependencies() {
        let text = Picture::of(&pictured(), Truncation::FULL).mermaid();
        let version =
            Versions::new(&pictured(), Truncation::FULL).feature_version(&"a/v-x".parse().unwrap()).unwrap();
        assert_eq!(
            text,
            format!(
                "flowchart LR\n\
                 \x20   n0[\"<b>a/v-x</b><br/>{}<br/>f: 1#34;#60;b#62;#92;\"]\n\
                 \x20   n1[\"<b>b</b><br/>default\"]\n\
                 \x20   n2[\"<b>end</b><br/>{}<br/>default\"]\n\
                 \x20   n3[\"<b>gone</b><br/>(not defined)\"]\n\
                 \x20   n0 --> n1\n\
                 \x20   n3 -.->|N:1 optional| n1\n\
                 \x20   classDef external fill:#eeeeee,stroke-dasharray:4\n\
                 \x20   class n2 external\n\
                 \x20   classDef missing fill:#eeeeee,stroke-dasharray:4\n\
                 \x20   class n3 missing\n",
                &version[..8],
                &Versions::new(&pictured(), Truncation::FULL)
                    .feature_version(&"end".parse().unwrap())
                    .unwrap()[..8],
            )
        );
    }

    #[test]
    fn dot_shows_the_same() {
        let text = Picture::of(&pictured(), Truncation::FULL).dot();
        for line in [
            r#"f: 1\"<b>\\"];"#,
            r#"    "b" [label="b\ndefault"];"#,
            r#"    "a/v-x" -> "b";"#,
            r#"    "gone" -> "b" [style=dashed, label="N:1 optional"];"#,
            r##"class="external", fillcolor="#eeeeee", style="filled,dashed"];"##,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.starts_with("digraph features {\n") && text.ends_with("}\n"));
    }

    #[test]
    fn names_that_look_alike_stay_apart() {
        let alike = graph(
            r#"[{"key": "a-b", "id_columns": ["id"], "fields": [{"key": "f", "code_version": "x&lt;y"}]},
                {"key": "elsewhere", "id_columns": ["id"], "deps": ["a_45_b"]},
                {"key": "c", "id_columns": ["id"], "deps": ["a-b"]}]"#,
        );
        let text = Picture::of(&alike, Truncation::FULL);
        let mermaid = text.mermaid();
        for line in ["n0[\"<b>a-b</b>", "n3[\"<b>a_45_b</b>", "n0 --> n1\n", "n3 --> n2\n", "f: x#38;lt#59;y"]
        {
            assert!(mermaid.contains(line), "{line} in\n{mermaid}");
        }
        assert!(text.dot().contains("f: x&amp;lt;y"), "{}", text.dot());
    }

    #[test]
    fn a_difference_shows_what_was_removed_too() {
        let before = graph(
            r#"[{"key": "a", "id_columns": ["id"]}, {"key": "b", "id_columns": ["id"], "deps": ["a"]},
                {"key": "old", "id_columns": ["id"], "deps": ["a"]}]"#,
        );
        let after = graph(
            r#"[{"key": "a", "id_columns": ["id"], "fields": [{"key": "default", "code_version": "2"}]},
                {"key": "b", "id_columns": ["id"], "deps": ["a"]}, {"key": "new", "id_columns": ["id"]}]"#,
        );
        let difference = Difference::between(&before, &after).unwrap();
        let picture = Picture::of_difference(&before, &after, &difference, Truncation::FULL);
        let text = picture.mermaid();
        for line in [
            "<b>a</b><br/>(changed, stale)",
            "<b>b</b><br/>(stale)",
            "<b>old</b><br/>(removed)",
            "n0 --> n3",
            "class n2 added",
            "class n3 removed",
            "class n1 stale",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
