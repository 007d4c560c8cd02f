//! Expected provenance: what the rows of a feature would say of their origin if they were computed now.
//!
//! Metaxy 0.1.11 hashes one string for each field: its name, its code version, and then the name and
//! the data version of each upstream field that feeds it, all joined with `|`. The hashes of the
//! fields, joined in the order of their names, hashed, are the provenance of the sample.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StructArray};
use arrow::datatypes::DataType;
use xxhash_rust::xxh3::xxh3_64;

use super::hash::{Hashes, SampleHash};
use super::provenance::{ByField, Texts, internal, join};
use crate::error::Result;
use crate::feature::system_columns::PROVENANCE;
use crate::feature::{FieldSpec, Plan};

/// How many rows are hashed at a time when the hashes themselves are not kept.
const MARKED_AT_A_TIME: usize = 1024;

/// A value that provenance is computed from: one field of the row of one dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The dependency, as a position in [`Plan::upstreams`].
    pub upstream: usize,
    /// The member of its `metaxy_data_version_by_field`.
    pub member: String,
}

/// Computes the provenance of a feature's rows from the data versions of the rows they depend on.
///
/// Two fields of one struct key, such as `a/b` and `a_b`, share a member, which tells of the later one.
/// A feature without fields has a struct without members, and the hash of an empty string as the
/// provenance of every row.
#[derive(Clone, Debug)]
pub struct Expected {
    inputs: Vec<Input>,
    members: Vec<String>,
    /// How each member is hashed.
    fields: Vec<Recipe>,
    /// The positions of the members in the order in which a sample's provenance takes them.
    order: Vec<usize>,
    hash: SampleHash,
}

/// The string that a field's provenance is the hash of, but for the data versions within it.
#[derive(Clone, Debug)]
struct Recipe {
    /// What comes before the first data version.
    head: Vec<u8>,
    parents: Vec<Parent>,
}

/// A data version within a field's string.
#[derive(Clone, Debug)]
struct Parent {
    /// Its position among the inputs.
    input: usize,
    /// Whether it may be missing.
    optional: bool,
    /// What comes between it and the next one.
    tail: Vec<u8>,
}

impl Expected {
    /// The provenance of the feature of `plan`, hashed in this way.
    pub fn new(plan: &Plan<'_>, hash: SampleHash) -> Result<Expected> {
        let mut expected =
            Expected { inputs: Vec::new(), members: Vec::new(), fields: Vec::new(), order: Vec::new(), hash };
        for field in &plan.feature.fields {
            let recipe = expected.recipe(plan, field)?;
            let member = field.key.struct_key();
            let known = expected.members.iter().position(|known| *known == member);
            match known.and_then(|position| expected.fields.get_mut(position)) {
                Some(shared) => *shared = recipe,
                None => {
                    expected.members.push(member);
                    expected.fields.push(recipe);
                }
            }
        }
        let mut order: Vec<(usize, &String)> = expected.members.iter().enumerate().collect();
        order.sort_by_key(|(_, member)| *member);
        expected.order = order.into_iter().map(|(position, _)| position).collect();
        Ok(expected)
    }

    fn recipe(&mut self, plan: &Plan<'_>, field: &FieldSpec) -> Result<Recipe> {
        let mut recipe = Recipe {
            head: format!("{}|{}", field.key, field.code_version).into_bytes(),
            parents: Vec::new(),
        };
        for parent in plan.parent_fields(&field.key)? {
            let of_parent = plan.upstreams.iter().enumerate();
            let (upstream, dep) = of_parent
                .map(|(position, upstream)| (position, upstream.dep))
                .find(|(_, dep)| dep.feature == *parent.feature)
                .ok_or_else(|| internal("a field is fed by a feature that its own does not depend on"))?;
            let name = format!("|{parent}|").into_bytes();
            match recipe.parents.last_mut() {
                Some(previous) => previous.tail = name,
                None => recipe.head.extend(name),
            }
            let input = self.input(Input { upstream, member: parent.field.struct_key() });
            recipe.parents.push(Parent { input, optional: dep.optional, tail: Vec::new() });
        }
        Ok(recipe)
    }

    fn input(&mut self, input: Input) -> usize {
        self.inputs.iter().position(|known| *known == input).unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        })
    }

    /// What is needed of the dependencies' rows, each value once.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The members of `metaxy_provenance_by_field`, in the order of the feature's fields.
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// The columns `metaxy_provenance_by_field` and `metaxy_provenance` of `rows` rows, for which
    /// `inputs` are the columns of [`Expected::inputs`], as large strings.
    ///
    /// A field is null where a value that feeds it is, unless that is of an optional dependency, when
    /// null is as good as an empty string. The provenance is null where a field is.
    pub fn provenance(&self, inputs: &[ArrayRef], rows: usize) -> Result<(StructArray, LargeStringArray)> {
        let inputs = self.texts(inputs, rows)?;
        let mut work = Work::new(self, rows);
        work.compute(self, &inputs, 0..rows);
        let members = work.fields.into_iter().map(|hashes| Arc::new(hashes.finish()) as ArrayRef).collect();
        let by_field = match ByField::struct_type(&self.members) {
            DataType::Struct(fields) if !fields.is_empty() => StructArray::try_new(fields, members, None)
                .map_err(|error| internal("provenance could not be made a struct").caused_by(&error))?,
            _ => StructArray::new_empty_fields(rows, None),
        };
        Ok((by_field, work.samples.finish()))
    }

    /// The [`mark`] of each row's `metaxy_provenance`, for much less memory than the provenance takes.
    pub fn marks(&self, inputs: &[ArrayRef], rows: usize) -> Result<Vec<Option<u64>>> {
        let inputs = self.texts(inputs, rows)?;
        let mut work = Work::new(self, rows.min(MARKED_AT_A_TIME));
        let mut marks = Vec::with_capacity(rows);
        for start in (0..rows).step_by(MARKED_AT_A_TIME) {
            let end = rows.min(start + MARKED_AT_A_TIME);
            work.compute(self, &inputs, start..end);
            marks.extend((0..end - start).map(|row| work.samples.get(row).map(xxh3_64)));
        }
        Ok(marks)
    }

    fn texts<'a>(&self, inputs: &'a [ArrayRef], rows: usize) -> Result<Vec<&'a LargeStringArray>> {
        if inputs.len() != self.inputs.len() || inputs.iter().any(|input| input.len() != rows) {
            return Err(internal("provenance was asked for with other inputs than it is computed from"));
        }
        let text = |input: &'a ArrayRef| input.as_string_opt::<i64>();
        let texts: Option<Vec<_>> = inputs.iter().map(text).collect();
        texts.ok_or_else(|| internal("provenance was asked for of values that are no large strings"))
    }
}

/// The hashes of some rows, and what is needed to make them: used again for the next rows.
struct Work {
    fields: Vec<Hashes>,
    samples: Hashes,
    string: Vec<u8>,
}

impl Work {
    fn new(expected: &Expected, rows: usize) -> Work {
        let column = || Hashes::with_capacity(rows, expected.hash);
        Work {
            fields: expected.fields.iter().map(|_| column()).collect(),
            samples: column(),
            string: Vec::new(),
        }
    }

    /// Makes the hashes those of `rows`.
    fn compute(&mut self, expected: &Expected, inputs: &[&LargeStringArray], rows: Range<usize>) {
        for (field, hashes) in expected.fields.iter().zip(&mut self.fields) {
            hashes.clear();
            field.hash(inputs, rows.clone(), &mut self.string, hashes);
        }
        let sorted: Vec<&Hashes> =
            expected.order.iter().filter_map(|position| self.fields.get(*position)).collect();
        self.samples.clear();
        for row in 0..rows.len() {
            if join(sorted.iter().map(|hashes| hashes.get(row)), &mut self.string) {
                self.samples.append(&self.string);
            } else {
                self.samples.append_null();
            }
        }
    }
}

impl Recipe {
    fn hash(
        &self,
        inputs: &[&LargeStringArray],
        rows: Range<usize>,
        string: &mut Vec<u8>,
        hashes: &mut Hashes,
    ) {
        let parents: Vec<(&LargeStringArray, &Parent)> =
            self.parents.iter().filter_map(|parent| Some((*inputs.get(parent.input)?, parent))).collect();
        string.clear();
        string.extend_from_slice(&self.head);
        for row in rows {
            // The head is the same in each row.
            string.truncate(self.head.len());
            let complete = parents.iter().all(|(values, parent)| {
                let present = values.is_valid(row);
                if present {
                    string.extend_from_slice(values.value(row).as_bytes());
                }
                string.extend_from_slice(&parent.tail);
                present || parent.optional
            });
            if complete {
                hashes.append(string);
            } else {
                hashes.append_null();
            }
        }
    }
}

/// Stands for a `metaxy_provenance` in comparisons, where eight bytes are cheaper to keep than a string.
pub fn mark(provenance: Option<&str>) -> Option<u64> {
    provenance.map(|text| xxh3_64(text.as_bytes()))
}

/// The [`mark`] of each row of a stored `metaxy_provenance` column.
pub fn marks_of(provenance: &ArrayRef) -> Result<Vec<Option<u64>>> {
    let texts = Texts::of_column(provenance, PROVENANCE)?;
    Ok((0..provenance.len()).map(|row| mark(texts.value(row))).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{RecordBatch, StringViewArray};
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
    use futures::executor::block_on;
    use futures::{StreamExt, TryStreamExt, stream};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::Status;
    use crate::feature::{FeatureKey, FeatureSpec, Lineage, Truncation, Upstream};
    use crate::versioning::{HashAlgorithm, aggregated};

    /// The rule as it is written: the string of each field, of which null has none, by the data version
    /// that `value` finds of a dependency and a member.
    fn strings(
        plan: &Plan<'_>,
        value: impl Fn(&FeatureKey, &str) -> Option<String>,
    ) -> Vec<(String, Option<String>)> {
        let mut found: Vec<(String, Option<String>)> = Vec::new();
        for field in &plan.feature.fields {
            let mut parts = vec![Some(field.key.to_string()), Some(field.code_version.clone())];
            for parent in plan.parent_fields(&field.key).unwrap() {
                let dep = plan.feature.deps.iter().find(|dep| dep.feature == *parent.feature).unwrap();
                let version = value(parent.feature, &parent.field.struct_key());
                parts.push(Some(format!("{}.{}", parent.feature, parent.field)));
                parts.push(if dep.optional { Some(version.unwrap_or_default()) } else { version });
            }
            let string = parts.into_iter().collect::<Option<Vec<_>>>().map(|parts| parts.join("|"));
            match found.iter_mut().find(|(member, _)| *member == field.key.struct_key()) {
                Some(shared) => shared.1 = string,
                None => found.push((field.key.struct_key(), string)),
            }
        }
        found
    }

    /// The string of a sample, by the hashes of its fields.
    fn sample_string(hashes: &[(String, Option<String>)]) -> Option<String> {
        let sorted: BTreeMap<&String, &Option<String>> =
            hashes.iter().map(|(key, hash)| (key, hash)).collect();
        Some(sorted.into_values().cloned().collect::<Option<Vec<String>>>()?.join("|"))
    }

    /// Checks all that is computed of these rows, and returns it: hashes by member, and of the sample.
    fn compute(
        expected: &Expected,
        rows: &[Vec<Option<String>>],
    ) -> Vec<(Vec<Option<String>>, Option<String>)> {
        let input = |position: usize| -> ArrayRef {
            let values = rows.iter().map(|row| row[position].as_deref());
            Arc::new(values.collect::<LargeStringArray>())
        };
        let inputs: Vec<ArrayRef> = (0..expected.inputs().len()).map(input).collect();
        let (by_field, samples) = expected.provenance(&inputs, rows.len()).unwrap();
        assert_eq!(by_field.data_type(), &ByField::struct_type(expected.members()));
        assert_eq!((by_field.len(), by_field.null_count(), samples.len()), (rows.len(), 0, rows.len()));
        let marks: Vec<Option<u64>> = samples.iter().map(mark).collect();
        assert_eq!(expected.marks(&inputs, rows.len()).unwrap(), marks);
        assert_eq!(marks_of(&(Arc::new(samples.clone()) as ArrayRef)).unwrap(), marks);
        let owned =
            |values: &LargeStringArray, row| values.is_valid(row).then(|| values.value(row).to_owned());
        let of_row = |row: usize| {
            let hashes = by_field.columns().iter().map(|values| owned(values.as_string::<i64>(), row));
            (hashes.collect(), owned(&samples, row))
        };
        (0..rows.len()).map(of_row).collect()
    }

    fn text(value: &Value) -> Option<String> {
        value.as_str().map(str::to_owned)
    }

    /// A row's data version of one field, as the golden data have it.
    fn data_version(row: &Value, member: &str) -> Option<String> {
        // Where they are not those of the user, they are left out of most results.
        let versions = row.get("metaxy_data_version_by_field").unwrap_or(&row["metaxy_provenance_by_field"]);
        text(&versions[member])
    }

    /// The golden rows of a dependency with the data versions of their groups.
    fn aggregate(upstream: &Upstream<'_>, group: &str, rows: &[Value], hash: SampleHash) -> Vec<Value> {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|row| (text(&row[group]), row["frame"].as_i64()));
        let members: Vec<String> = upstream.spec.fields.iter().map(|field| field.key.struct_key()).collect();
        let column = |value: &dyn Fn(&Value) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<LargeStringArray>())
        };
        let mut columns = vec![(group.to_owned(), column(&|row| text(&row[group])))];
        for member in &members {
            columns.push((member.clone(), column(&|row| data_version(row, member))));
        }
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let memory = MemoryConsumer::new("groups").register(&pool);
        let input = stream::iter([Ok(batch)]).boxed();
        let groups = vec![group.to_owned()];
        let found = aggregated(input, upstream.spec.key.clone(), groups, members.clone(), hash, memory);
        let found: Vec<RecordBatch> = block_on(found.try_collect()).unwrap();
        for (position, row) in rows.iter_mut().enumerate() {
            let value = |column: &str| {
                found[0].column_by_name(column).unwrap().as_string::<i64>().value(position).to_owned()
            };
            let versions: BTreeMap<&String, String> =
                members.iter().map(|member| (member, value(member))).collect();
            row["metaxy_data_version_by_field"] = json!(versions);
        }
        rows
    }

    /// Checks one derived feature of a golden result, and returns the number of rows.
    fn check(
        plan: &Plan<'_>,
        tables: &BTreeMap<&str, Vec<Value>>,
        golden: &[Value],
        hash: SampleHash,
    ) -> usize {
        let upstreams: Vec<Vec<Value>> = plan
            .upstreams
            .iter()
            .map(|upstream| {
                let rows = &tables[upstream.spec.key.as_str()];
                match upstream.dep.lineage {
                    Lineage::Aggregation { .. } => {
                        aggregate(upstream, upstream.input_id_columns(plan.feature)[0], rows, hash)
                    }
                    _ => rows.clone(),
                }
            })
            .collect();
        // Each golden row knows its ids, and so the rows it was joined from.
        let find = |position: usize, golden: &Value| {
            let dep = plan.upstreams[position].dep;
            let same = |row: &&Value| {
                plan.join_columns().iter().all(|column| {
                    let renamed = dep.rename.iter().flatten().find(|(_, new)| new == column);
                    row[renamed.map_or(*column, |(old, _)| old.as_str())] == golden[*column]
                })
            };
            upstreams[position].iter().find(same).cloned().unwrap_or_default()
        };
        let expected = Expected::new(plan, hash).unwrap();
        let rows: Vec<Vec<Option<String>>> = golden
            .iter()
            .map(|golden| {
                let input = |input: &Input| data_version(&find(input.upstream, golden), &input.member);
                expected.inputs().iter().map(input).collect()
            })
            .collect();
        for (golden, (hashes, sample)) in golden.iter().zip(compute(&expected, &rows)) {
            let by_field: Vec<(String, Option<String>)> =
                expected.members().iter().cloned().zip(hashes).collect();
            let recorded = golden["metaxy_provenance_by_field"].as_object().unwrap();
            let recorded: Vec<(String, Option<String>)> =
                recorded.iter().map(|(member, hash)| (member.clone(), text(hash))).collect();
            assert_eq!(by_field, recorded, "{golden}");
            assert_eq!(sample, text(&golden["metaxy_provenance"]), "{golden}");

            let strings = strings(plan, |feature, member| {
                let position =
                    plan.upstreams.iter().position(|upstream| upstream.spec.key == *feature).unwrap();
                data_version(&find(position, golden), member)
            });
            let hashed: Vec<(String, Option<String>)> = strings
                .iter()
                .map(|(member, string)| {
                    (member.clone(), string.as_ref().map(|string| hash.hash(string.as_bytes())))
                })
                .collect();
            assert_eq!(hashed, recorded, "{golden}");
            for (member, string) in
                golden.get("_hashed_field_strings").and_then(Value::as_object).into_iter().flatten()
            {
                assert!(strings.contains(&(member.clone(), text(string))), "{strings:?} {golden}");
            }
            if let Some(string) = golden.get("_hashed_sample_string") {
                assert_eq!(sample_string(&hashed), text(string), "{golden}");
            }
        }
        golden.len()
    }

    #[test]
    fn provenance_is_that_of_metaxy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/provenance.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut checked: BTreeMap<&str, usize> = BTreeMap::new();
        for (case, golden) in golden.as_object().unwrap() {
            let specs = golden["features"].as_array().unwrap().iter();
            let specs: Vec<FeatureSpec> =
                specs.map(|spec| FeatureSpec::from_json(&spec.to_string()).unwrap()).collect();
            let spec = |key: &str| specs.iter().find(|spec| spec.key.as_str() == key).unwrap();
            for (name, result) in golden["results"].as_object().unwrap() {
                let (algorithm, length) = name.split_once('/').unwrap();
                let truncation = Truncation::to(length.parse().unwrap()).unwrap();
                let hash = SampleHash::new(algorithm.parse().unwrap(), truncation);
                let tables: BTreeMap<&str, Vec<Value>> = ["written_roots", "derived"]
                    .iter()
                    .flat_map(|kind| result[*kind].as_object().unwrap())
                    .map(|(feature, rows)| (feature.as_str(), rows.as_array().unwrap().clone()))
                    .collect();
                for (feature, rows) in result["derived"].as_object().unwrap() {
                    let feature = spec(feature);
                    let upstreams =
                        feature.deps.iter().map(|dep| Upstream { dep, spec: spec(dep.feature.as_str()) });
                    let plan = Plan { feature, upstreams: upstreams.collect() };
                    *checked.entry(case).or_default() +=
                        check(&plan, &tables, rows.as_array().unwrap(), hash);
                }
            }
        }
        let expected = [
            ("aggregation", 168),
            ("data_version_override", 28),
            ("expansion", 42),
            ("identity", 196),
            ("multi_id_int", 42),
            ("multi_parent", 42),
            ("optional", 112),
        ];
        assert_eq!(checked, expected.into());
    }

    fn plan_of<'g>(feature: &'g FeatureSpec, upstreams: &'g [FeatureSpec]) -> Plan<'g> {
        let upstreams = feature.deps.iter().zip(upstreams).map(|(dep, spec)| Upstream { dep, spec });
        Plan { feature, upstreams: upstreams.collect() }
    }

    fn xxhash32_8() -> SampleHash {
        SampleHash::new(HashAlgorithm::XxHash32, Truncation::to(8).unwrap())
    }

    #[test]
    fn the_worked_example() {
        let parent =
            FeatureSpec::from_json(r#"{"key": "i/a", "id_columns": ["id"], "fields": ["x", "sub/y"]}"#)
                .unwrap();
        let child = FeatureSpec::from_json(
            r#"{"key": "i/b", "id_columns": ["id"], "deps": ["i/a"], "fields": [{"key": "x", "code_version": "3"}, "z"]}"#,
        )
        .unwrap();
        let expected = Expected::new(&plan_of(&child, &[parent]), xxhash32_8()).unwrap();
        let input = |member: &str| Input { upstream: 0, member: member.to_owned() };
        assert_eq!(expected.inputs(), [input("x"), input("sub_y")]);
        assert_eq!(expected.members(), ["x", "z"]);
        let rows = [vec![Some("h1".into()), Some("g1".into())], vec![Some("h1".into()), None]];
        let x = Some("15708039".to_owned());
        assert_eq!(
            compute(&expected, &rows),
            [(vec![x.clone(), Some("93839427".into())], Some("16176693".into())), (vec![x, None], None)]
        );
    }

    #[test]
    fn many_rows_are_marked_like_few() {
        let parent = FeatureSpec::from_json(r#"{"key": "a", "id_columns": ["id"]}"#).unwrap();
        let child = FeatureSpec::from_json(r#"{"key": "b", "id_columns": ["id"], "deps": ["a"]}"#).unwrap();
        let expected = Expected::new(&plan_of(&child, &[parent]), xxhash32_8()).unwrap();
        for count in [MARKED_AT_A_TIME, 2 * MARKED_AT_A_TIME + 1] {
            let rows: Vec<Vec<Option<String>>> =
                (0..count).map(|row| vec![(row % 5 > 0).then(|| row.to_string())]).collect();
            let found = compute(&expected, &rows);
            assert_eq!(found.iter().filter(|(_, sample)| sample.is_none()).count(), count.div_ceil(5));
        }
    }

    #[test]
    fn a_feature_without_fields_hashes_nothing() {
        let parent = FeatureSpec::from_json(r#"{"key": "a", "id_columns": ["id"]}"#).unwrap();
        let child =
            FeatureSpec::from_json(r#"{"key": "b", "id_columns": ["id"], "deps": ["a"], "fields": []}"#)
                .unwrap();
        let expected = Expected::new(&plan_of(&child, &[parent]), xxhash32_8()).unwrap();
        assert_eq!((expected.inputs(), expected.members()), (&[][..], &[][..]));
        let nothing = (vec![], Some(xxhash32_8().hash(b"")));
        assert_eq!(compute(&expected, &[vec![], vec![]]), [nothing.clone(), nothing]);
    }

    #[test]
    fn other_inputs_are_refused() {
        let parent = FeatureSpec::from_json(r#"{"key": "a", "id_columns": ["id"]}"#).unwrap();
        let child = FeatureSpec::from_json(r#"{"key": "b", "id_columns": ["id"], "deps": ["a"]}"#).unwrap();
        let expected = Expected::new(&plan_of(&child, &[parent]), xxhash32_8()).unwrap();
        let one: ArrayRef = Arc::new(LargeStringArray::from(vec!["1"]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["1"]));
        assert!(expected.provenance(&[one.clone()], 1).is_ok());
        for (inputs, rows) in [(vec![], 1), (vec![one.clone()], 2), (vec![view], 1)] {
            assert_eq!(expected.provenance(&inputs, rows).unwrap_err().status(), Status::Internal);
            assert_eq!(expected.marks(&inputs, rows).unwrap_err().status(), Status::Internal);
        }
    }

    #[test]
    fn marks_are_of_any_layout_of_strings() {
        let values = [Some("1"), None, Some("")];
        let marks: Vec<Option<u64>> = values.iter().map(|value| mark(*value)).collect();
        assert_eq!(marks, [Some(xxh3_64(b"1")), None, Some(xxh3_64(b""))]);
        let large: ArrayRef = Arc::new(LargeStringArray::from(values.to_vec()));
        for layout in [DataType::LargeUtf8, DataType::Utf8, DataType::Utf8View] {
            assert_eq!(marks_of(&arrow::compute::cast(&large, &layout).unwrap()).unwrap(), marks);
        }
        let error = marks_of(&(Arc::new(arrow::array::Int64Array::from(vec![1])) as ArrayRef)).unwrap_err();
        assert_eq!(error.message(), "column `metaxy_provenance` must hold strings, not Int64");
    }

    /// A feature, those it depends on, and which of their fields feed its own.
    fn features() -> impl Strategy<Value = (FeatureSpec, Vec<FeatureSpec>)> {
        let fields = || prop::sample::subsequence(vec!["x", "x/y", "x_y", "z", "a"], 1..=4).prop_shuffle();
        let parents = prop::sample::subsequence(vec!["p", "p-q", "p/q", "a"], 1..=3).prop_shuffle();
        parents.prop_flat_map(move |parents| {
            let count = parents.len();
            let parent = (fields(), any::<bool>());
            let field_deps = prop::sample::select(vec![
                json!([]),
                json!("__METAXY_ALL_DEP__"),
                json!([{"feature": parents[0]}]),
            ]);
            let code = prop::sample::select(vec!["", "1", "\u{e9}|"]);
            (
                Just(parents),
                prop::collection::vec(parent, count),
                fields(),
                prop::collection::vec((field_deps, code), 5),
            )
                .prop_map(|(parents, shapes, fields, of_fields)| {
                    let read = |spec: Value| FeatureSpec::from_json(&spec.to_string()).unwrap();
                    let deps: Vec<Value> = parents
                        .iter()
                        .zip(&shapes)
                        .map(|(parent, (_, optional))| json!({"feature": parent, "optional": optional}))
                        .collect();
                    let fields: Vec<Value> = fields
                        .iter()
                        .zip(of_fields)
                        .map(|(key, (deps, code))| json!({"key": key, "deps": deps, "code_version": code}))
                        .collect();
                    let child =
                        read(json!({"key": "c", "id_columns": ["id"], "deps": deps, "fields": fields}));
                    let parents = parents.iter().zip(&shapes).map(|(key, (fields, _))| {
                        read(json!({"key": key, "id_columns": ["id"], "fields": fields}))
                    });
                    (child, parents.collect())
                })
        })
    }

    proptest! {
        #[test]
        fn provenance_is_the_hash_of_the_rules_strings(
            (child, parents) in features(),
            values in prop::collection::vec(prop::option::weighted(0.8, "[|a\u{fc}\u{1f3ac}]{0,4}"), 1..80),
            count in 0_usize..12,
            algorithm in prop::sample::select(&HashAlgorithm::ALL[..]),
            length in prop::option::of(8_usize..80),
        ) {
            let truncation = length.map_or(Truncation::FULL, |length| Truncation::to(length).unwrap());
            let hash = SampleHash::new(algorithm, truncation);
            let plan = plan_of(&child, &parents);
            let expected = Expected::new(&plan, hash).unwrap();
            let inputs = expected.inputs();
            for (position, input) in inputs.iter().enumerate() {
                prop_assert!(!inputs[..position].contains(input));
            }
            let rows: Vec<Vec<Option<String>>> = (0..count)
                .map(|row| {
                    let value = |position: usize| values[(row * inputs.len() + position) % values.len()].clone();
                    (0..inputs.len()).map(value).collect()
                })
                .collect();
            for (row, (hashes, sample)) in rows.iter().zip(compute(&expected, &rows)) {
                let strings = strings(&plan, |feature, member| {
                    let known = inputs.iter().position(|input| {
                        parents[input.upstream].key == *feature && input.member == member
                    });
                    row[known.unwrap()].clone()
                });
                let model: Vec<(String, Option<String>)> = strings
                    .into_iter()
                    .map(|(member, string)| (member, string.map(|string| hash.hash(string.as_bytes()))))
                    .collect();
                let members: Vec<&String> = model.iter().map(|(member, _)| member).collect();
                prop_assert_eq!(members, expected.members().iter().collect::<Vec<_>>());
                prop_assert_eq!(hashes, model.iter().map(|(_, hash)| hash.clone()).collect::<Vec<_>>());
                prop_assert_eq!(sample, sample_string(&model).map(|string| hash.hash(string.as_bytes())));
            }
        }
    }
}
