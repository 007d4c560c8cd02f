//! The rules of increments once more: slow, obvious, on maps of JSON, without Arrow or a database.
//!
//! It knows features as their JSON, and hashes with xxhash32 cut to 8 characters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// A row; what is null is not there.
pub type Row = BTreeMap<String, Value>;

/// The members of a by-field column; what is null is not there.
type Members = BTreeMap<String, String>;

const BY_FIELD: &str = "metaxy_provenance_by_field";
const PROVENANCE: &str = "metaxy_provenance";
const DATA_BY_FIELD: &str = "metaxy_data_version_by_field";
const DATA: &str = "metaxy_data_version";
/// The columns that a row of an increment has besides those of its users.
pub const VERSIONS: [&str; 4] = [BY_FIELD, PROVENANCE, DATA_BY_FIELD, DATA];

/// A condition on one column, as filters and predicates are written.
#[derive(Clone, Debug)]
pub struct Condition {
    pub column: String,
    pub operator: &'static str,
    /// Null with `IS` and `IS NOT`.
    pub value: Value,
}

impl Condition {
    pub fn text(&self) -> String {
        let value = match &self.value {
            Value::String(text) => format!("'{text}'"),
            Value::Null => "NULL".to_owned(),
            other => other.to_string(),
        };
        format!("{} {} {value}", self.column, self.operator)
    }

    fn met(&self, row: &Row) -> bool {
        let Some(found) = row.get(&self.column) else { return self.operator == "IS" };
        let order = match (found, &self.value) {
            (Value::String(found), Value::String(value)) => found.as_bytes().cmp(value.as_bytes()),
            (Value::Number(found), Value::Number(value)) => found.as_i64().cmp(&value.as_i64()),
            (_, Value::Null) => return self.operator == "IS NOT",
            (found, value) => panic!("{found} is not compared with {value}"),
        };
        match self.operator {
            "=" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            ">=" => order.is_ge(),
            other => panic!("no operator is called {other}"),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub filters: Vec<(String, Condition)>,
    pub global: Vec<Condition>,
    pub target: Vec<Condition>,
    pub stale_when: Vec<Condition>,
    pub skip: bool,
}

impl Request {
    fn of<'r>(&'r self, feature: &'r str) -> impl Iterator<Item = &'r Condition> {
        self.filters.iter().filter(move |(of, _)| of == feature).map(|(_, condition)| condition)
    }
}

/// What resolving must find, rows sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub new: Vec<Row>,
    pub stale: Vec<Row>,
    pub orphaned: Vec<Row>,
    pub progress: Option<f64>,
}

#[derive(Clone, Debug)]
struct Stored {
    /// Tells the versions of a feature apart.
    version: String,
    row: Row,
    deleted: bool,
}

#[derive(Clone, Debug, Default)]
struct Table {
    columns: BTreeSet<String>,
    rows: Vec<Stored>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    specs: BTreeMap<String, Value>,
    tables: BTreeMap<String, Table>,
}

/// A row of dependencies that were joined, with what each of them says of its data.
#[derive(Clone)]
struct Joined {
    row: Row,
    data: BTreeMap<String, Members>,
}

impl Model {
    pub fn define(&mut self, specs: &[Value]) {
        self.specs.extend(specs.iter().map(|spec| (text(&spec["key"]).to_owned(), spec.clone())));
    }

    pub fn columns_of(&self, feature: &str) -> Option<&BTreeSet<String>> {
        Some(&self.tables.get(feature)?.columns)
    }

    // ---- definitions ----

    /// The fields that feed a field, by the features and keys that are hashed.
    pub fn parents(&self, feature: &str, field: &Value) -> Vec<(String, String)> {
        let spec = &self.specs[feature];
        let fields = |upstream: &str| names(&self.specs[upstream]["fields"], "key");
        let mut parents = BTreeMap::new();
        let mut add = |upstream: &str, field: String| {
            parents.insert(format!("{upstream}.{field}"), (upstream.to_owned(), field));
        };
        match &field["deps"] {
            Value::String(_) => {
                for dep in list(&spec["deps"]) {
                    fields(text(&dep["feature"]))
                        .into_iter()
                        .for_each(|field| add(text(&dep["feature"]), field));
                }
            }
            Value::Array(deps) if !deps.is_empty() => {
                for dep in deps {
                    let upstream = text(&dep["feature"]);
                    match &dep["fields"] {
                        Value::Array(some) => {
                            some.iter().for_each(|field| add(upstream, text(field).to_owned()))
                        }
                        _ => fields(upstream).into_iter().for_each(|field| add(upstream, field)),
                    }
                }
            }
            _ => {
                for dep in list(&spec["deps"]) {
                    let upstream = text(&dep["feature"]);
                    for mapped in
                        mapped(&dep["fields_mapping"]["mapping"], text(&field["key"]), &fields(upstream))
                    {
                        add(upstream, mapped);
                    }
                }
            }
        }
        parents.into_values().collect()
    }

    /// Changes with the feature's version, and only then.
    fn version(&self, feature: &str) -> String {
        let fields = list(&self.specs[feature]["fields"]);
        let versions = fields.iter().map(|field| self.field_version(feature, field));
        format!("{:?}", versions.collect::<BTreeSet<_>>())
    }

    fn field_version(&self, feature: &str, field: &Value) -> String {
        let parents = self.parents(feature, field).into_iter().map(|(upstream, key)| {
            let fields = list(&self.specs[&upstream]["fields"]);
            self.field_version(&upstream, fields.iter().find(|field| text(&field["key"]) == key).unwrap())
        });
        let parents: Vec<String> = parents.collect();
        format!("{feature}.{}={}{parents:?}", field["key"], code_version(field))
    }

    /// The columns by which the dependencies are joined.
    fn join_columns(&self, feature: &str) -> Vec<String> {
        let spec = &self.specs[feature];
        let own = strings(&spec["id_columns"]);
        let mut shared: Option<Vec<String>> = None;
        for dep in list(&spec["deps"]) {
            let ids = match (kind(dep), &dep["lineage"]["relationship"]["on"]) {
                ("1:1", _) => renamed_ids(dep, &self.specs[text(&dep["feature"])]),
                (_, Value::Array(on)) => on.iter().map(|on| text(on).to_owned()).collect(),
                _ => own.clone(),
            };
            shared = Some(match shared {
                Some(shared) => shared.into_iter().filter(|column| ids.contains(column)).collect(),
                None => ids,
            });
        }
        shared.filter(|shared| !shared.is_empty()).unwrap_or(own)
    }

    // ---- storing ----

    /// Rows as they are given to a writer, in the order in which they are appended.
    pub fn write(&mut self, feature: &str, columns: &[String], rows: &[Value]) {
        let rows: Vec<Stored> = rows.iter().map(|row| self.completed(feature, row)).collect();
        let table = self.tables.entry(feature.to_owned()).or_default();
        table.columns.extend(columns.iter().filter(|column| !column.starts_with("metaxy_")).cloned());
        table.rows.extend(rows);
    }

    fn completed(&self, feature: &str, given: &Value) -> Stored {
        let mut row = normal(given);
        if given.get(PROVENANCE).is_none() {
            row.extend(
                self.sample_hash(feature, row.get(BY_FIELD)).map(|hash| (PROVENANCE.to_owned(), hash)),
            );
        }
        if given.get(DATA_BY_FIELD).is_none_or(Value::is_null) {
            let copied = row.get(BY_FIELD).cloned();
            row.extend(copied.map(|members| (DATA_BY_FIELD.to_owned(), members)));
        }
        if given.get(DATA_BY_FIELD).is_none() {
            let copied = row.get(PROVENANCE).cloned();
            row.remove(DATA);
            row.extend(copied.map(|hash| (DATA.to_owned(), hash)));
        } else if given.get(DATA).is_none() {
            let hash = self.sample_hash(feature, row.get(DATA_BY_FIELD));
            row.extend(hash.map(|hash| (DATA.to_owned(), hash)));
        } else if !row.contains_key(DATA) {
            let copied = row.get(PROVENANCE).cloned();
            row.extend(copied.map(|hash| (DATA.to_owned(), hash)));
        }
        Stored { version: self.version(feature), row, deleted: false }
    }

    /// Of how many samples a tombstone was written; none where there is no table.
    pub fn delete(&mut self, feature: &str, condition: &Condition) -> Option<usize> {
        let rows = self.current(feature)?;
        let version = self.version(feature);
        let rows = rows.into_iter().filter(|row| condition.met(row));
        let dead: Vec<Stored> =
            rows.map(|row| Stored { version: version.clone(), row, deleted: true }).collect();
        let count = dead.len();
        self.tables.get_mut(feature)?.rows.extend(dead);
        Some(count)
    }

    /// The latest row of each sample, unless it was deleted; nothing where there is no table.
    pub fn current(&self, feature: &str) -> Option<Vec<Row>> {
        let ids = strings(&self.specs[feature]["id_columns"]);
        let version = self.version(feature);
        let mut latest: BTreeMap<String, &Stored> = BTreeMap::new();
        for stored in self.tables.get(feature)?.rows.iter().filter(|stored| stored.version == version) {
            latest.insert(key(&stored.row, &ids), stored);
        }
        Some(latest.into_values().filter(|stored| !stored.deleted).map(|stored| stored.row.clone()).collect())
    }

    // ---- resolving ----

    /// What there is to do; nothing where no dependency has a table, or one that is not optional has none.
    pub fn resolve(&self, feature: &str, request: &Request) -> Option<Expected> {
        let spec = &self.specs[feature];
        if list(&spec["deps"]).is_empty() {
            return None;
        }
        let on = self.join_columns(feature);
        if !list(&spec["deps"]).iter().any(|dep| self.tables.contains_key(text(&dep["feature"]))) {
            return None;
        }
        let mut columns: BTreeSet<String> = BTreeSet::new();
        let mut prepared = Vec::new();
        for dep in list(&spec["deps"]) {
            let rows = self.prepared(feature, dep, request, &mut columns)?;
            prepared.push((dep, rows));
        }
        let expected: Vec<Row> =
            joined(prepared, &on).into_iter().map(|joined| self.with_provenance(feature, joined)).collect();
        Some(self.compare(feature, expected, &columns, request))
    }

    /// The same with samples from the caller.
    pub fn resolve_samples(
        &self,
        feature: &str,
        columns: &BTreeSet<String>,
        samples: &[Value],
        request: &Request,
    ) -> Expected {
        let mut expected = Vec::new();
        for sample in samples {
            let mut row = normal(sample);
            let conditions = request.of(feature).chain(&request.global).chain(&request.target);
            if !conditions.into_iter().all(|condition| condition.met(&row)) {
                continue;
            }
            row.remove(PROVENANCE);
            row.extend(
                self.sample_hash(feature, row.get(BY_FIELD)).map(|hash| (PROVENANCE.to_owned(), hash)),
            );
            for (data, of) in [(DATA_BY_FIELD, BY_FIELD), (DATA, PROVENANCE)] {
                row.extend(row.get(of).cloned().map(|value| (data.to_owned(), value)));
            }
            expected.push(row);
        }
        // What is done of it is for those to say who know how much there is.
        Expected { progress: None, ..self.compare(feature, expected, columns, request) }
    }

    /// A dependency before it is joined; the columns that it brings along are added to `columns`.
    fn prepared(
        &self,
        feature: &str,
        dep: &Value,
        request: &Request,
        columns: &mut BTreeSet<String>,
    ) -> Option<Vec<Joined>> {
        let upstream = text(&dep["feature"]);
        let spec = &self.specs[upstream];
        let optional = dep["optional"] == json!(true);
        let rows = match self.current(upstream) {
            Some(rows) => rows,
            None if optional => Vec::new(),
            None => return None,
        };
        let stored = self.columns_of(upstream).cloned();
        let stored = stored.unwrap_or_else(|| strings(&spec["id_columns"]).into_iter().collect());
        let ids = renamed_ids(dep, spec);
        let kept: BTreeSet<String> = match &dep["select"] {
            Value::Array(select) => {
                let on = match &dep["lineage"]["relationship"]["on"] {
                    Value::Array(on) => on.iter().map(|on| renamed(dep, text(on))).collect(),
                    _ => ids.clone(),
                };
                select.iter().map(|column| text(column).to_owned()).chain(on).collect()
            }
            _ => stored.iter().map(|column| renamed(dep, column)).collect(),
        };
        columns.extend(kept.iter().cloned());

        let rows = rows
            .into_iter()
            .filter(|row| request.of(upstream).chain(&request.global).all(|condition| condition.met(row)));
        let rows = rows.map(|row| {
            let renamed = row.into_iter().map(|(column, value)| (renamed(dep, &column), value));
            renamed.collect::<Row>()
        });
        // The filters of definitions are text; they were made from conditions.
        let filters: Vec<Condition> = list(&dep["sql_filters"]).iter().map(|text| parsed(text)).collect();
        let rows: Vec<Row> = rows.filter(|row| filters.iter().all(|condition| condition.met(row))).collect();

        let data = |row: &Row| members(row.get(DATA_BY_FIELD));
        let keep = |row: &Row| -> Row {
            row.iter()
                .filter(|(column, _)| kept.contains(*column))
                .map(|(c, v)| (c.clone(), v.clone()))
                .collect()
        };
        let with = |row: &Row, data: Members| Joined {
            row: keep(row),
            data: BTreeMap::from([(upstream.to_owned(), data)]),
        };
        if kind(dep) != "N:1" {
            return Some(rows.iter().map(|row| with(row, data(row))).collect());
        }
        let group = match &dep["lineage"]["relationship"]["on"] {
            Value::Array(on) => on.iter().map(|on| text(on).to_owned()).collect(),
            _ => strings(&self.specs[feature]["id_columns"]),
        };
        // By the ids that are kept, then by the others.
        let mut order: Vec<String> = ids.iter().filter(|id| kept.contains(*id)).cloned().collect();
        order.extend(ids.iter().filter(|id| !kept.contains(*id)).cloned());
        let mut groups: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            groups.entry(key(row, &group)).or_default().push(row);
        }
        let mut aggregated = Vec::new();
        for mut rows in groups.into_values() {
            rows.sort_by(|left, right| by(left, right, &order));
            let hashes = names(&spec["fields"], "key").into_iter().map(|field| {
                let member = field.replace('/', "_");
                let values = rows.iter().filter_map(|row| data(row).get(&member).cloned());
                let hash = hash(&values.collect::<Vec<_>>().join("|"));
                (member, hash)
            });
            let hashes: Members = hashes.collect();
            aggregated.extend(rows.iter().map(|row| with(row, hashes.clone())));
        }
        Some(aggregated)
    }

    fn with_provenance(&self, feature: &str, joined: Joined) -> Row {
        let spec = &self.specs[feature];
        let optional = |upstream: &str| {
            let dep = list(&spec["deps"]).iter().find(|dep| text(&dep["feature"]) == upstream);
            dep.unwrap()["optional"] == json!(true)
        };
        let mut found = serde_json::Map::new();
        for field in list(&spec["fields"]) {
            let mut parts = vec![Some(text(&field["key"]).to_owned()), Some(code_version(field))];
            for (upstream, key) in self.parents(feature, field) {
                let data = joined.data.get(&upstream).and_then(|data| data.get(&key.replace('/', "_")));
                parts.push(Some(format!("{upstream}.{key}")));
                parts.push(data.cloned().or_else(|| optional(&upstream).then(String::new)));
            }
            if let Some(parts) = parts.into_iter().collect::<Option<Vec<String>>>() {
                found.insert(text(&field["key"]).replace('/', "_"), json!(hash(&parts.join("|"))));
            }
        }
        let mut row = joined.row;
        let found = (!found.is_empty()).then_some(Value::Object(found));
        let sample = self.sample_hash(feature, found.as_ref());
        for (columns, value) in [([BY_FIELD, DATA_BY_FIELD], found), ([PROVENANCE, DATA], sample)] {
            for column in columns {
                row.extend(value.clone().map(|value| (column.to_owned(), value)));
            }
        }
        row
    }

    fn sample_hash(&self, feature: &str, by_field: Option<&Value>) -> Option<Value> {
        let members = members(by_field);
        let fields =
            names(&self.specs[feature]["fields"], "key").into_iter().map(|key| key.replace('/', "_"));
        let fields: BTreeSet<String> = fields.collect();
        let values: Option<Vec<&str>> =
            fields.iter().map(|field| members.get(field).map(String::as_str)).collect();
        Some(json!(hash(&values?.join("|"))))
    }

    /// The columns by which expected rows are compared with stored ones.
    pub fn compared_by(&self, feature: &str, columns: &BTreeSet<String>) -> Vec<String> {
        let spec = &self.specs[feature];
        let own = strings(&spec["id_columns"]);
        let expands = list(&spec["deps"]).iter().any(|dep| kind(dep) == "1:N");
        let join = self.join_columns(feature);
        let refines = join.iter().all(|column| own.contains(column));
        let deps = list(&spec["deps"]);
        let one_to_one = deps.iter().filter(|dep| kind(dep) == "1:1" && dep["optional"] != json!(true));
        let given: BTreeSet<String> =
            one_to_one.flat_map(|dep| renamed_ids(dep, &self.specs[text(&dep["feature"])])).collect();
        let known =
            |column: &String| join.contains(column) || (given.contains(column) && columns.contains(column));
        match !expands && refines && own.iter().all(known) {
            true => own,
            false => join,
        }
    }

    /// Whether rows that are joined by the same values have one provenance, which all that is stored of them must have.
    fn agree(&self, feature: &str) -> bool {
        let (spec, on) = (&self.specs[feature], self.join_columns(feature));
        list(&spec["deps"]).iter().all(|dep| {
            let ids = match (kind(dep), &dep["lineage"]["relationship"]["on"]) {
                ("1:N", _) => return false,
                ("1:1", _) => renamed_ids(dep, &self.specs[text(&dep["feature"])]),
                (_, Value::Array(_)) => strings(&dep["lineage"]["relationship"]["on"]),
                _ => strings(&spec["id_columns"]),
            };
            ids.iter().all(|id| on.contains(id))
        })
    }

    fn compare(
        &self,
        feature: &str,
        expected: Vec<Row>,
        columns: &BTreeSet<String>,
        request: &Request,
    ) -> Expected {
        let stored = match request.skip {
            true => Vec::new(),
            false => self.current(feature).unwrap_or_default(),
        };
        let on = self.compared_by(feature, columns);
        let compared =
            |row: &Row| request.of(feature).chain(&request.target).all(|condition| condition.met(row));
        let (stored, others): (Vec<Row>, Vec<Row>) = stored.into_iter().partition(compared);
        let alone: BTreeSet<String> =
            distinct(&others, &on).difference(&distinct(&stored, &on)).cloned().collect();
        let mut found = Expected::default();
        for row in expected.iter().filter(|row| !alone.contains(&key(row, &on))) {
            let same: Vec<&Row> = stored.iter().filter(|stored| key(stored, &on) == key(row, &on)).collect();
            if same.is_empty() {
                found.new.push(row.clone());
                continue;
            }
            let agrees = |stored: &&Row| row.get(PROVENANCE) == stored.get(PROVENANCE);
            let unchanged = match self.agree(feature) {
                _ if !row.contains_key(PROVENANCE) => true,
                true => same.iter().all(agrees),
                false => same.iter().any(agrees),
            };
            let told = request.stale_when.iter().any(|condition| same.iter().any(|row| condition.met(row)));
            if !unchanged || told {
                found.stale.push(row.clone());
            }
        }
        let there: BTreeSet<String> = distinct(&expected, &on);
        let gone = stored.iter().filter(|row| !there.contains(&key(row, &on)));
        let gone = gone.filter(|row| request.global.iter().all(|condition| condition.met(row)));
        found.orphaned = gone.cloned().collect();
        let input = there.difference(&alone).count();
        let missing = distinct(&found.new, &on).len();
        found.progress = (input > 0).then(|| (input - missing) as f64 / input as f64 * 100.0);
        for part in [&mut found.new, &mut found.stale, &mut found.orphaned] {
            sort(part);
        }
        found
    }
}

fn joined(prepared: Vec<(&Value, Vec<Joined>)>, on: &[String]) -> Vec<Joined> {
    let (optional, required): (Vec<_>, Vec<_>) =
        prepared.into_iter().partition(|(dep, _)| dep["optional"] == json!(true));
    let full = required.is_empty();
    let mut all: Option<Vec<Joined>> = None;
    for (may_miss, (_, right)) in
        required.into_iter().map(|dep| (false, dep)).chain(optional.into_iter().map(|dep| (true, dep)))
    {
        let Some(left) = all else {
            all = Some(right);
            continue;
        };
        let mut rows = Vec::new();
        let mut used = BTreeSet::new();
        for one in &left {
            let mut alone = true;
            for (place, other) in right.iter().enumerate() {
                // Null is equal to nothing.
                if on.iter().all(|column| {
                    one.row.contains_key(column) && one.row.get(column) == other.row.get(column)
                }) {
                    alone = false;
                    used.insert(place);
                    let mut both = one.clone();
                    both.row.extend(other.row.clone());
                    both.data.extend(other.data.clone());
                    rows.push(both);
                }
            }
            if alone && may_miss {
                rows.push(one.clone());
            }
        }
        if full {
            rows.extend(
                right.into_iter().enumerate().filter(|(place, _)| !used.contains(place)).map(|(_, row)| row),
            );
        }
        all = Some(rows);
    }
    all.unwrap_or_default()
}

fn mapped(mapping: &Value, field: &str, upstream: &[String]) -> Vec<String> {
    match mapping["type"].as_str().unwrap_or("default") {
        "all" => upstream.to_vec(),
        "none" => Vec::new(),
        "specific" => {
            let chosen: Vec<String> =
                list(&mapping["mapping"][field]).iter().map(|parts| strings(parts).join("/")).collect();
            upstream.iter().filter(|key| chosen.contains(key)).cloned().collect()
        }
        _ => {
            let excluded = strings(&mapping["exclude_fields"]);
            let suffix = mapping["match_suffix"] == json!(true);
            let candidates = || upstream.iter().filter(|key| !excluded.contains(key));
            let matches = |key: &str| key == field || suffix && key.ends_with(&format!("/{field}"));
            let matching: Vec<String> = candidates().filter(|key| matches(key)).cloned().collect();
            if matching.is_empty() { candidates().cloned().collect() } else { matching }
        }
    }
}

pub fn hash(text: &str) -> String {
    let mut hash = xxhash_rust::xxh32::xxh32(text.as_bytes(), 0).to_string();
    hash.truncate(8);
    hash
}

/// A row without what is null, neither in it nor in its by-field columns.
pub fn normal(row: &Value) -> Row {
    let mut normal = Row::new();
    for (column, value) in row.as_object().unwrap() {
        let given = |members: serde_json::Map<String, Value>| {
            let members: serde_json::Map<String, Value> =
                members.into_iter().filter(|(_, value)| !value.is_null()).collect();
            if members.is_empty() { Value::Null } else { Value::Object(members) }
        };
        let value = match value {
            Value::Object(members) => given(members.clone()),
            // The entries of a map.
            Value::Array(entries) => {
                let entry = |entry: &Value| (text(&entry["key"]).to_owned(), entry["value"].clone());
                given(entries.iter().map(entry).collect())
            }
            other => other.clone(),
        };
        if !value.is_null() {
            normal.insert(column.clone(), value);
        }
    }
    normal
}

pub fn sort(rows: &mut [Row]) {
    rows.sort_by_cached_key(text_of);
}

pub fn text_of(row: &Row) -> String {
    let sorted = row.iter().map(|(column, value)| match value {
        Value::Object(members) => (column, json!(members.iter().collect::<BTreeMap<_, _>>())),
        other => (column, other.clone()),
    });
    json!(sorted.collect::<BTreeMap<_, _>>()).to_string()
}

/// The values of columns; null is a value too.
pub fn key(row: &Row, columns: &[String]) -> String {
    json!(columns.iter().map(|column| row.get(column)).collect::<Vec<_>>()).to_string()
}

fn distinct(rows: &[Row], columns: &[String]) -> BTreeSet<String> {
    rows.iter().map(|row| key(row, columns)).collect()
}

fn by(left: &Row, right: &Row, columns: &[String]) -> std::cmp::Ordering {
    let orders = columns.iter().map(|column| match (left.get(column), right.get(column)) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => left.as_i64().cmp(&right.as_i64()),
        (Some(Value::String(left)), Some(Value::String(right))) => left.as_bytes().cmp(right.as_bytes()),
        (left, right) => left.is_some().cmp(&right.is_some()),
    });
    orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
}

/// A condition from its text.
pub fn parsed(filter: &Value) -> Condition {
    let text = text(filter);
    for operator in ["IS NOT", "IS", "!=", ">=", "=", "<"] {
        if let Some((column, value)) = text.split_once(&format!(" {operator} ")) {
            let value = match value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
                Some(text) => json!(text),
                None if value == "NULL" => Value::Null,
                None => serde_json::from_str(value).unwrap(),
            };
            return Condition { column: column.to_owned(), operator, value };
        }
    }
    panic!("{text} is no condition");
}

fn members(by_field: Option<&Value>) -> Members {
    let members = by_field.and_then(Value::as_object).into_iter().flatten();
    members.map(|(member, value)| (member.clone(), text(value).to_owned())).collect()
}

fn kind(dep: &Value) -> &str {
    dep["lineage"]["relationship"]["type"].as_str().unwrap_or("1:1")
}

fn renamed(dep: &Value, column: &str) -> String {
    dep["rename"][column].as_str().unwrap_or(column).to_owned()
}

fn renamed_ids(dep: &Value, upstream: &Value) -> Vec<String> {
    strings(&upstream["id_columns"]).iter().map(|column| renamed(dep, column)).collect()
}

fn code_version(field: &Value) -> String {
    field["code_version"].as_str().unwrap_or("__metaxy_initial__").to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|value| text(value).to_owned()).collect()
}

fn names(objects: &Value, member: &str) -> Vec<String> {
    list(objects).iter().map(|object| text(&object[member]).to_owned()).collect()
}
