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
            field.hash(expected.hash, inputs, rows.clone(), &mut self.string, hashes);
        }
        let sorted: Vec<&Hashes> =
            expected.order.iter().filter_map(|position| self.fields.get(*position)).collect();
        self.samples.clear();
        for row in 0..rows.len() {
            if join(sorted.iter().map(|hashes| hashes.get(row)), &mut self.string) {
                self.samples.append(&expected.hash.render(&self.string));
            } else {
                self.samples.append_null();
            }
        }
    }
}

impl Recipe {
    fn hash(
        &self,
        hash: SampleHash,
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
                hashes.append(&hash.render(string));
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
