//! Random graphs and histories, made of numbers: smaller numbers, and fewer of them, make simpler ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::{Condition, Model, Request};

/// Who understands the scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dialect {
    /// This library.
    Native,
    /// Python Metaxy too: nothing that it refuses, leaves to chance or answers otherwise.
    Both,
}

pub struct Scenario {
    pub specs: Vec<Value>,
    /// What depends on nothing is in another store, on which that of the rest falls back.
    pub chained: bool,
    /// The columns of users of each feature with their types, ids first.
    pub columns: BTreeMap<String, Vec<(String, Value)>>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub enum Step {
    Write {
        feature: String,
        rows: Vec<Value>,
    },
    Delete {
        feature: String,
        condition: Condition,
    },
    /// A feature is defined anew, with other code.
    Recode {
        spec: Value,
    },
    /// What is new or stale is written.
    Sync {
        feature: String,
    },
    Resolve {
        feature: String,
        request: Request,
        shards: u32,
    },
    Samples {
        feature: String,
        rows: Vec<Value>,
        request: Request,
    },
}

/// A failure is told as what it takes to understand it.
impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for spec in &self.specs {
            writeln!(f, "{spec}")?;
        }
        for step in &self.steps {
            match step {
                Step::Write { feature, rows } => writeln!(f, "write {feature} {}", json!(rows))?,
                Step::Samples { feature, rows, request } => {
                    writeln!(f, "samples {feature} {} {request:?}", json!(rows))?
                }
                Step::Recode { spec } => writeln!(f, "recode {spec}")?,
                other => writeln!(f, "{other:?}")?,
            }
        }
        Ok(())
    }
}

pub fn scenarios(dialect: Dialect) -> impl Strategy<Value = Scenario> {
    let features = vec(vec(any::<u8>(), 48), 2..=5);
    let steps = vec(vec(any::<u8>(), 40), 1..=10);
    // Steps first, for they are what a failure is made smaller by.
    (steps, features).prop_map(move |(steps, features)| scenario(dialect, &features, &steps))
}

/// Numbers to make choices with; 0, the simplest choice, when there are no more.
struct Dice<'g>(std::slice::Iter<'g, u8>);

impl Dice<'_> {
    fn pick(&mut self, choices: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % choices
    }

    /// True once in so many times.
    fn chance(&mut self, times: usize) -> bool {
        self.pick(times) == times - 1
    }

    fn of<'v, V>(&mut self, values: &'v [V]) -> &'v V {
        &values[self.pick(values.len())]
    }
}

/// What a feature's rows are of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Video,
    Frame,
}

struct Feature {
    key: String,
    level: Level,
    derived: bool,
    expands: bool,
    spec: Value,
    columns: Vec<(String, Value)>,
}

impl Feature {
    fn ids(&self) -> Vec<String> {
        self.spec["id_columns"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    fn fields(&self) -> Vec<String> {
        let fields = self.spec["fields"].as_array().unwrap().iter();
        fields.map(|field| field["key"].as_str().unwrap().to_owned()).collect()
    }
}

/// Keys whose order as text differs from that of their parts.
const KEYS: [&str; 5] = ["r/a", "r/a-b", "r/a/c", "q/d", "r/a0"];

struct Maker {
    dialect: Dialect,
    vid: Value,
    features: Vec<Feature>,
}

fn scenario(dialect: Dialect, features: &[Vec<u8>], steps: &[Vec<u8>]) -> Scenario {
    let vid = if features[0][0] % 3 == 2 { json!("i64") } else { json!("str") };
    let mut maker = Maker { dialect, vid, features: Vec::new() };
    for (place, genes) in features.iter().enumerate() {
        let mut dice = Dice(genes[1..].iter());
        let feature = match place == 0 || dice.pick(3) == 2 && place < 3 {
            true => maker.root(place, &mut dice),
            false => maker.derived(place, &mut dice),
        };
        maker.features.push(feature);
    }
    let specs: Vec<Value> = maker.features.iter().map(|feature| feature.spec.clone()).collect();
    let mut now = specs.clone();
    let mut made = Vec::new();
    for (place, feature) in maker.features.iter().enumerate().filter(|(_, feature)| !feature.derived) {
        let mut dice = Dice(features[place][20..].iter());
        // A table that is not there is an error for Metaxy, even where it is optional.
        if dialect == Dialect::Both || !dice.chance(8) {
            made.push(Step::Write {
                feature: feature.key.clone(),
                rows: maker.rows(feature, &mut dice, true),
            });
        }
    }
    let derived: Vec<&Feature> = maker.features.iter().filter(|feature| feature.derived).collect();
    if dialect == Dialect::Both {
        made.extend(derived.iter().map(|feature| Step::Sync { feature: feature.key.clone() }));
    }
    for genes in steps {
        made.extend(maker.step(&mut Dice(genes.iter()), &mut now));
    }
    for feature in derived {
        made.push(Step::Sync { feature: feature.key.clone() });
        made.push(Step::Resolve { feature: feature.key.clone(), request: Request::default(), shards: 2 });
    }
    let columns = maker.features.iter().map(|feature| (feature.key.clone(), feature.columns.clone()));
    let chained = dialect == Dialect::Native && features[0][47] % 4 == 3;
    Scenario { specs, chained, columns: columns.collect(), steps: made }
}

impl Maker {
    fn root(&self, place: usize, dice: &mut Dice<'_>) -> Feature {
        let level = *dice.of(&[Level::Video, Level::Frame]);
        // It is renamed where it is depended upon.
        let vid = if level == Level::Video && dice.chance(4) { "uid" } else { "vid" };
        let mut columns = vec![(vid.to_owned(), self.vid.clone())];
        if level == Level::Frame {
            columns.push(("frame".to_owned(), json!("i64")));
        }
        let ids: Vec<&String> = columns.iter().map(|(column, _)| column).collect();
        let spec = json!({
            "key": KEYS[place], "id_columns": ids, "deps": [], "fields": self.fields(dice),
            "metadata": {"map": self.map(dice)}, "description": null,
        });
        columns.push((format!("u{place}"), json!("i64")));
        if dice.chance(2) {
            columns.push((format!("s{place}"), json!("str")));
        }
        Feature { key: KEYS[place].to_owned(), level, derived: false, expands: false, spec, columns }
    }

    /// Whether its by-field columns are maps.
    fn map(&self, dice: &mut Dice<'_>) -> bool {
        self.dialect == Dialect::Native && dice.chance(4)
    }

    fn fields(&self, dice: &mut Dice<'_>) -> Vec<Value> {
        let fields = *dice.of(&[&["x"][..], &["x", "y"], &["a/x", "x"], &["y/x"], &["z"]]);
        fields.iter().map(|key| json!({"key": key, "code_version": "1", "deps": []})).collect()
    }

    fn derived(&self, place: usize, dice: &mut Dice<'_>) -> Feature {
        let level = *dice.of(&[Level::Video, Level::Frame]);
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        for _ in 0..=dice.pick(3) {
            chosen.insert(dice.pick(self.features.len()));
        }
        let mut upstreams: Vec<&Feature> = chosen.into_iter().map(|place| &self.features[place]).collect();
        let frames = upstreams.iter().filter(|upstream| upstream.level == Level::Frame).count();
        // What is per frame is compared per video by Metaxy where something per video takes part.
        if level == Level::Frame && (frames > 1 || frames == 1 && self.dialect == Dialect::Both) {
            upstreams.retain(|upstream| upstream.level == Level::Frame);
        }
        let children = level == Level::Frame && frames == 0;
        // Whoever processes them may make several rows of one, whether the definition says so or not.
        let expands = children && !dice.chance(4);
        let all_frames =
            level == Level::Frame && upstreams.iter().all(|upstream| upstream.level == Level::Frame);
        let own: &[&str] = if level == Level::Frame { &["vid", "frame"] } else { &["vid"] };
        let join: &[&str] = if all_frames { &["vid", "frame"] } else { &["vid"] };
        let mut columns: BTreeMap<String, Value> = BTreeMap::new();
        columns.insert("vid".into(), self.vid.clone());
        if level == Level::Frame {
            columns.insert("frame".into(), json!("i64"));
        }
        let mut seen: BTreeSet<String> =
            own.iter().filter(|id| !join.contains(id)).map(|id| (*id).to_owned()).collect();
        let mut deps = Vec::new();
        let mut unselected = 0;
        for (number, upstream) in upstreams.iter().enumerate() {
            let lineage = match (level, upstream.level) {
                (Level::Video, Level::Frame) => "N:1",
                (Level::Frame, Level::Video) if expands && (number == 0 || dice.chance(2)) => "1:N",
                _ => "1:1",
            };
            let mut rename: BTreeMap<String, String> = BTreeMap::new();
            if upstream.columns[0].0 == "uid" {
                rename.insert("uid".into(), "vid".into());
            }
            let keeps_frame = lineage == "1:1" && upstream.level == Level::Frame;
            let user: Vec<&(String, Value)> = upstream.columns[1..]
                .iter()
                .filter(|(column, _)| !(keeps_frame && column == "frame"))
                .collect();
            if dice.chance(4)
                && let Some((column, _)) = user.iter().find(|(column, _)| column != "frame")
            {
                rename.insert(column.clone(), format!("{column}_r{place}"));
            }
            let mut how = dice.pick(4);
            if self.dialect == Dialect::Both && lineage == "N:1" {
                how = 0;
            }
            if self.dialect == Dialect::Both && how < 2 {
                // Metaxy refuses a third that is not selected from.
                match (unselected == 2, lineage) {
                    (false, _) => unselected += 1,
                    (true, "N:1") => continue,
                    (true, _) => how = 2,
                }
            }
            if how < 2 {
                for (column, _) in &user {
                    let now = rename.get(column).unwrap_or(column).clone();
                    if seen.contains(&now) {
                        rename.insert(column.clone(), format!("{column}_{place}_{number}"));
                    }
                }
            }
            let renamed = |column: &String| rename.get(column).unwrap_or(column).clone();
            let mut on = lineage == "1:N" || dice.chance(2);
            let mut select = None;
            if how >= 2 {
                let free = user.iter().map(|(column, _)| renamed(column));
                let free =
                    free.filter(|column| !seen.contains(column)).filter(|_| how == 3 && !dice.chance(3));
                select = Some(free.collect::<Vec<_>>());
                if lineage == "N:1" && !on {
                    // Without columns to group by, all ids are kept.
                    on = seen.contains("frame")
                        || select.as_ref().unwrap().iter().any(|column| column == "frame");
                }
            }
            for (column, kind) in &user {
                let column = renamed(column);
                let needed = lineage == "N:1" && !on && column == "frame";
                if select.as_ref().is_none_or(|select| select.contains(&column)) || needed {
                    seen.insert(column.clone());
                    columns.insert(column, kind.clone());
                }
            }
            let filters = dice.chance(4).then(|| {
                let (column, kind) = upstream.columns[dice.pick(upstream.columns.len())].clone();
                vec![self.condition(renamed(&column), &kind, dice).text()]
            });
            // Frames that may be missing are no ids: nobody can write what is made of their absence.
            let optional = dice.chance(4) && !(keeps_frame && upstreams.len() > frames);
            let on = on.then(|| json!(["vid"]));
            let relationship = match lineage {
                "N:1" => json!({"type": "N:1", "on": on}),
                "1:N" => json!({"type": "1:N", "on": on, "id_generation_pattern": null}),
                _ => json!({"type": "1:1"}),
            };
            deps.push(json!({
                "feature": upstream.key, "select": select, "rename": (!rename.is_empty()).then_some(rename),
                "fields_mapping": {"mapping": self.mapping(upstream, dice)}, "sql_filters": filters,
                "lineage": {"relationship": relationship}, "optional": optional,
            }));
        }
        let mut fields = self.fields(dice);
        match dice.pick(6) {
            4 => fields[0]["deps"] = json!("__METAXY_ALL_DEP__"),
            5 => {
                let first = upstreams[0].fields().pop();
                let mut explicit = vec![json!({"feature": upstreams[0].key, "fields": [first]})];
                let other = upstreams.get(1);
                explicit
                    .extend(other.map(|other| json!({"feature": other.key, "fields": "__METAXY_ALL_DEP__"})));
                fields[0]["deps"] = json!(explicit);
            }
            _ => {}
        }
        let mut spec = json!({
            "key": KEYS[place], "id_columns": own, "deps": deps, "fields": fields,
            "metadata": {"children": children, "map": self.map(dice)}, "description": null,
        });
        let mut model = Model::default();
        model.define(&self.features.iter().map(|feature| feature.spec.clone()).collect::<Vec<_>>());
        model.define(std::slice::from_ref(&spec));
        if fields.iter().any(|field| model.parents(KEYS[place], field).is_empty()) {
            for dep in spec["deps"].as_array_mut().unwrap() {
                dep["fields_mapping"]["mapping"] = json!({"type": "all"});
            }
        }
        let mut ordered: Vec<(String, Value)> =
            own.iter().map(|id| ((*id).to_owned(), columns.remove(*id).unwrap())).collect();
        ordered.extend(columns);
        // What only those know that process samples.
        ordered.push((format!("w{place}"), json!("i64")));
        Feature { key: KEYS[place].to_owned(), level, derived: true, expands, spec, columns: ordered }
    }

    fn mapping(&self, upstream: &Feature, dice: &mut Dice<'_>) -> Value {
        let default = |suffix: bool, excluded: &[String]| json!({"type": "default", "match_suffix": suffix, "exclude_fields": excluded});
        let first = upstream.fields().remove(0);
        let parts: Vec<&str> = first.split('/').collect();
        match dice.pick(9) {
            3 => default(true, &[]),
            4 => default(false, std::slice::from_ref(&first)),
            5 => json!({"type": "all"}),
            6 => json!({"type": "specific", "mapping": {"x": [parts], "y": [["nothing"], ["x"]]}}),
            7 => json!({"type": "none"}),
            _ => default(false, &[]),
        }
    }

    fn step(&self, dice: &mut Dice<'_>, now: &mut [Value]) -> Option<Step> {
        let place = dice.pick(self.features.len());
        let feature = &self.features[place];
        let name = feature.key.clone();
        let both = self.dialect == Dialect::Both;
        Some(match dice.pick(10) {
            0 | 1 if !feature.derived => Step::Write { feature: name, rows: self.rows(feature, dice, true) },
            // Metaxy lets any child speak for its siblings.
            2 if !(both && feature.expands) => {
                Step::Write { feature: name, rows: self.rows(feature, dice, false) }
            }
            3 => {
                let (column, kind) = dice.of(&feature.columns).clone();
                Step::Delete { feature: name, condition: self.condition(column, &kind, dice) }
            }
            4 => {
                let fields = now[place]["fields"].as_array_mut()?;
                let place_of = dice.pick(fields.len());
                let field = &mut fields[place_of];
                let version: u32 = field["code_version"].as_str()?.parse().ok()?;
                field["code_version"] = json!((version % 2 + 1).to_string());
                Step::Recode { spec: now[place].clone() }
            }
            5 if !(feature.derived && feature.expands) => {
                let rows = self.samples(feature, dice);
                Step::Samples { feature: name, rows, request: self.request(feature, dice, true) }
            }
            6 | 7 if feature.derived => Step::Sync { feature: name },
            _ if feature.derived => {
                let request = self.request(feature, dice, false);
                Step::Resolve { feature: name, request, shards: [1, 2, 3][dice.pick(3)] }
            }
            _ => return None,
        })
    }

    fn request(&self, feature: &Feature, dice: &mut Dice<'_>, samples: bool) -> Request {
        let both = self.dialect == Dialect::Both;
        let mut request = Request::default();
        let upstreams: Vec<&Feature> = match samples {
            true => Vec::new(),
            false => {
                let deps = feature.spec["deps"].as_array().unwrap().iter();
                let of = |key: &Value| self.features.iter().find(|other| json!(other.key) == *key).unwrap();
                deps.map(|dep| of(&dep["feature"])).collect()
            }
        };
        if dice.chance(3) && !upstreams.is_empty() {
            let upstream = *dice.of(&upstreams);
            let (column, kind) = dice.of(&upstream.columns).clone();
            request.filters.push((upstream.key.clone(), self.condition(column, &kind, dice)));
        }
        let own = |dice: &mut Dice<'_>| {
            let (column, kind) = dice.of(&feature.columns).clone();
            self.condition(column, &kind, dice)
        };
        if dice.chance(4) && !both {
            request.filters.push((feature.key.clone(), own(dice)));
        }
        if dice.chance(3) && !both {
            request.target.push(own(dice));
        }
        if dice.chance(4) {
            let everywhere = feature.columns.iter().filter(|column| {
                upstreams.iter().all(|upstream| upstream.columns.contains(column))
                    && (!both || column.0 == "vid")
            });
            let everywhere: Vec<_> = everywhere.collect();
            if !everywhere.is_empty() {
                let (column, kind) = (*dice.of(&everywhere)).clone();
                request.global.push(self.condition(column, &kind, dice));
            }
        }
        if dice.chance(3) {
            request.stale_when.push(match both {
                true => self.condition("vid".into(), &self.vid, dice),
                false if dice.chance(4) => Condition {
                    column: "metaxy_provenance".into(),
                    operator: if dice.chance(2) { "IS NOT" } else { "IS" },
                    value: Value::Null,
                },
                false => own(dice),
            });
            // The id of a root may have another name.
            if both && feature.columns[0].0 != "vid" {
                request.stale_when.clear();
            }
        }
        request.skip = dice.chance(10);
        request
    }

    fn condition(&self, column: String, kind: &Value, dice: &mut Dice<'_>) -> Condition {
        let all: [&'static str; 6] = ["=", "!=", "<", ">=", "IS", "IS NOT"];
        let of_texts: [&'static str; 4] = ["=", "!=", "IS", "IS NOT"];
        let (operators, value) = match kind.as_str().unwrap() {
            "str" => (&of_texts[..], json!(*dice.of(&["a", "b", "c"]))),
            _ => (&all[..], json!(*dice.of(&[1, 2, 10]))),
        };
        let operator: &'static str = operators[dice.pick(operators.len())];
        let value = if operator.starts_with("IS") { Value::Null } else { value };
        Condition { column, operator, value }
    }

    /// Rows to write; each sample once.
    fn rows(&self, feature: &Feature, dice: &mut Dice<'_>, with_data: bool) -> Vec<Value> {
        self.rows_with(feature, dice, with_data, self.dialect == Dialect::Native)
    }

    /// Samples to resolve, which are refused if they have nulls.
    fn samples(&self, feature: &Feature, dice: &mut Dice<'_>) -> Vec<Value> {
        self.rows_with(feature, dice, false, false)
    }

    fn rows_with(&self, feature: &Feature, dice: &mut Dice<'_>, with_data: bool, nulls: bool) -> Vec<Value> {
        let overridden = with_data && dice.chance(5);
        let mut there = BTreeSet::new();
        let mut rows = Vec::new();
        let ids = feature.ids();
        for _ in 0..=dice.pick(4) {
            let mut row = serde_json::Map::new();
            for (column, kind) in &feature.columns {
                let value = match kind.as_str().unwrap() {
                    "str" => json!(*dice.of(&["a", "b", "c"])),
                    _ => json!(*dice.of(&[1, 2, 10])),
                };
                let id = ids.contains(column);
                let null = if id { nulls && dice.chance(10) } else { feature.derived || dice.chance(4) };
                row.insert(column.clone(), if null { Value::Null } else { value });
            }
            let key = json!(ids.iter().map(|id| &row[id]).collect::<Vec<_>>()).to_string();
            if !there.insert(key) {
                continue;
            }
            let members = |dice: &mut Dice<'_>, tag: &str, nulls: bool| -> Value {
                let members = feature.fields().into_iter().map(|field| {
                    let value = (!(nulls && dice.chance(8))).then(|| format!("{tag}{}", dice.pick(3)));
                    (field.replace('/', "_"), json!(value))
                });
                Value::Object(members.collect())
            };
            row.insert("metaxy_provenance_by_field".into(), members(dice, "h", nulls));
            if overridden {
                let data = if dice.chance(2) { Value::Null } else { members(dice, "d", false) };
                row.insert("metaxy_data_version_by_field".into(), data);
            }
            rows.push(Value::Object(row));
        }
        rows
    }
}

/// The columns of users with those that `rows` have besides, for the type of a batch.
pub fn with_versions(columns: &[(String, Value)], rows: &[Value], spec: &Value) -> Vec<(String, Value)> {
    let shape = if spec["metadata"]["map"] == json!(true) { "map" } else { "struct" };
    let mut by_field = vec![json!(shape)];
    let fields = spec["fields"].as_array().unwrap().iter();
    by_field.extend(fields.map(|field| json!(field["key"].as_str().unwrap().replace('/', "_"))));
    with_shape(columns, rows, &json!(by_field))
}

fn with_shape(columns: &[(String, Value)], rows: &[Value], by_field: &Value) -> Vec<(String, Value)> {
    let mut columns = columns.to_vec();
    for column in crate::model::VERSIONS {
        if rows.iter().any(|row| row.get(column).is_some()) {
            let kind = if column.ends_with("_by_field") { by_field.clone() } else { json!("str") };
            columns.push((column.to_owned(), kind));
        }
    }
    columns
}
