//! The by-field columns: reading them in any physical shape, and hashing them into one version.
//!
//! A by-field column says, for each row, which version every field of the sample has. Most tables
//! store it as a struct with one member per field; tables written with the map datatype store a
//! list of key and value pairs instead. Past [`ByField`] that difference is gone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, LargeListArray, LargeStringArray, LargeStringBuilder, ListArray, MapArray,
    StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType, Field, Fields};

use super::hash::{HashAlgorithm, Hashes, SampleHash};
use crate::error::{Error, Result, Status};
use crate::feature::Truncation;
use crate::feature::system_columns::{PROVENANCE, PROVENANCE_BY_FIELD};

/// A by-field column, member by member, whatever shape it was stored in.
#[derive(Clone, Debug)]
pub struct ByField {
    names: Vec<String>,
    members: Vec<Texts>,
    nulls: Option<NullBuffer>,
    rows: usize,
}

impl ByField {
    /// Reads `members`, in this order, from the by-field column called `column`. Members the
    /// column has beyond these are ignored; a null row has only null members. `first_row` is the
    /// number of the array's first row, for messages.
    pub fn try_new(array: &ArrayRef, column: &str, members: &[String], first_row: u64) -> Result<Self> {
        Self::read(array, column, members, Missing::Refuse { first_row })
    }

    /// As [`ByField::try_new`]; what a row has not is null.
    pub fn with_nulls(array: &ArrayRef, column: &str, members: &[String]) -> Result<Self> {
        Self::read(array, column, members, Missing::Null)
    }

    /// The names of all members the column has, in the order it has them.
    pub fn member_names(array: &ArrayRef, column: &str) -> Result<Vec<String>> {
        match Shape::of(array, column)? {
            Shape::Struct(members) => Ok(members.fields().iter().map(|field| field.name().clone()).collect()),
            Shape::Entries(entries) => {
                let mut names: Vec<String> = Vec::new();
                for (_, key) in (0..array.len()).flat_map(|row| entries.of_row(row)) {
                    match key {
                        Some(key) if !names.iter().any(|name| name == key) => names.push(key.to_owned()),
                        _ => {}
                    }
                }
                Ok(names)
            }
        }
    }

    fn read(array: &ArrayRef, column: &str, members: &[String], missing: Missing) -> Result<Self> {
        let columns = match Shape::of(array, column)? {
            Shape::Struct(stored) => {
                members.iter().map(|member| struct_member(stored, column, member)).collect::<Result<_>>()?
            }
            Shape::Entries(entries) => {
                if let Missing::Refuse { first_row } = missing {
                    entries.check_keys(column, first_row)?;
                }
                members
                    .iter()
                    .enumerate()
                    .map(|(position, member)| entries.member(column, member, position, missing))
                    .collect::<Result<_>>()?
            }
        };
        Ok(ByField {
            names: members.to_vec(),
            members: columns,
            nulls: array.nulls().cloned(),
            rows: array.len(),
        })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The member names, in the order they were asked for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the row has no struct or map at all.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The value of the member at `position` in [`ByField::names`], if it is not null.
    pub fn value(&self, position: usize, row: usize) -> Option<&str> {
        self.members.get(position)?.value(row)
    }

    /// The column of the member at `position` in [`ByField::names`]; null where the row is.
    pub fn member(&self, position: usize) -> Option<ArrayRef> {
        Some(Arc::new(self.members.get(position)?.to_large()))
    }

    /// The type [`ByField::to_struct`] gives for these members.
    pub fn struct_type(members: &[String]) -> DataType {
        DataType::Struct(
            members.iter().map(|member| Field::new(member, DataType::LargeUtf8, true)).collect::<Fields>(),
        )
    }

    /// The column as a struct of large strings; a null row stays null.
    pub fn to_struct(&self) -> Result<StructArray> {
        let DataType::Struct(fields) = Self::struct_type(&self.names) else {
            return Err(internal("the struct form of a by-field column is not a struct"));
        };
        if fields.is_empty() {
            return Ok(StructArray::new_empty_fields(self.rows, self.nulls.clone()));
        }
        let members = self.members.iter().map(|member| Arc::new(member.to_large()) as ArrayRef).collect();
        StructArray::try_new(fields, members, self.nulls.clone())
            .map_err(|error| internal("a by-field column could not be made a struct").caused_by(&error))
    }

    /// The field under which a table stores a by-field column in the map shape.
    pub fn map_list_field(column: &str) -> Field {
        let entry = DataType::Struct(entry_fields());
        Field::new(column, DataType::LargeList(Arc::new(Field::new("item", entry, true))), true)
            .with_metadata(HashMap::from([("ARROW:extension:name".into(), "polars_map.map".into())]))
    }

    /// The column as the list of entries that [`ByField::map_list_field`] describes; a null row
    /// stays null, a null member becomes an entry with a null value.
    pub fn to_map_list(&self) -> Result<LargeListArray> {
        let mut keys = LargeStringBuilder::new();
        let mut values = LargeStringBuilder::new();
        for row in (0..self.rows).filter(|row| !self.is_null(*row)) {
            for (name, member) in self.names.iter().zip(&self.members) {
                keys.append_value(name);
                values.append_option(member.value(row));
            }
        }
        let lengths = (0..self.rows).map(|row| if self.is_null(row) { 0 } else { self.names.len() });
        let entries = StructArray::try_new(
            entry_fields(),
            vec![Arc::new(keys.finish()), Arc::new(values.finish())],
            None,
        );
        entries
            .and_then(|entries| {
                LargeListArray::try_new(
                    Arc::new(Field::new("item", DataType::Struct(entry_fields()), true)),
                    OffsetBuffer::from_lengths(lengths),
                    Arc::new(entries),
                    self.nulls.clone(),
                )
            })
            .map_err(|error| {
                internal("a by-field column could not be made a list of entries").caused_by(&error)
            })
    }

    /// Positions of the members in the order they are hashed in: by code point of their names.
    fn hashing_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by_key(|position| &self.names[*position]);
        order
    }
}

/// The version of each sample: its members in code point order, joined with `|`, hashed. A row
/// with any null member has no version; without any members, all rows have that of nothing joined.
pub fn sample_provenance(by_field: &ByField, hash: &SampleHash) -> LargeStringArray {
    let members: Vec<&Texts> =
        by_field.hashing_order().into_iter().map(|position| &by_field.members[position]).collect();
    let mut versions = Hashes::with_capacity(by_field.len(), *hash);
    if let [only] = members[..] {
        // A member is null where its row is, and nothing has to be put together.
        only.for_each(|value| match value {
            Some(value) => versions.append(value.as_bytes()),
            None => versions.append_null(),
        });
        return versions.finish();
    }
    let mut joined = Vec::new();
    for row in 0..by_field.len() {
        let values = members.iter().map(|member| member.value(row).map(str::as_bytes));
        if !by_field.is_null(row) && join(values, &mut joined) {
            versions.append(&joined);
        } else {
            versions.append_null();
        }
    }
    versions.finish()
}

/// Makes `joined` the values with `|` between them; false if one of them is null.
pub(super) fn join<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, joined: &mut Vec<u8>) -> bool {
    joined.clear();
    for (position, value) in values.enumerate() {
        let Some(value) = value else { return false };
        if position > 0 {
            joined.push(b'|');
        }
        joined.extend_from_slice(value);
    }
    true
}

/// Finds the algorithm that leads from a table's `metaxy_provenance_by_field` to its
/// `metaxy_provenance`.
///
/// Each row is tried with all of its non-null members, since a member added later is null in
/// older rows, and with each of `candidates`, since members of fields given up since are not
/// hashed. Rows may have been given their provenance by the user, so a majority is enough, and
/// without one there is no answer.
pub fn infer_algorithm(
    by_field: &ArrayRef,
    provenance: &ArrayRef,
    candidates: &[Vec<String>],
    truncation: Truncation,
) -> Result<Option<HashAlgorithm>> {
    let names = ByField::member_names(by_field, PROVENANCE_BY_FIELD)?;
    let by_field = ByField::read(by_field, PROVENANCE_BY_FIELD, &names, Missing::Null)?;
    let provenance = Texts::of_column(provenance, PROVENANCE)?;
    let order = by_field.hashing_order();
    let mut explained = [0; HashAlgorithm::ALL.len()];
    let mut rows = 0;
    for row in 0..by_field.len() {
        let Some(version) = provenance.value(row) else { continue };
        let present: Vec<(&str, &str)> = order
            .iter()
            .filter_map(|position| {
                Some((by_field.names[*position].as_str(), by_field.value(*position, row)?))
            })
            .collect();
        if present.is_empty() {
            continue;
        }
        let join = |wanted: &dyn Fn(&str) -> bool| {
            let values: Vec<&str> =
                present.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| *value).collect();
            values.join("|")
        };
        let mut strings = vec![join(&|_| true)];
        for members in candidates {
            if members.iter().all(|member| present.iter().any(|(name, _)| name == member)) {
                strings.push(join(&|name| members.iter().any(|member| member == name)));
            }
        }
        rows += 1;
        for (count, algorithm) in explained.iter_mut().zip(HashAlgorithm::ALL) {
            let hash = SampleHash::new(algorithm, truncation);
            if strings.iter().any(|string| hash.hash(string.as_bytes()) == version) {
                *count += 1;
            }
        }
    }
    let best = explained.into_iter().zip(HashAlgorithm::ALL).max_by_key(|(count, _)| *count);
    Ok(best.filter(|(explained, _)| 2 * explained > rows).map(|(_, algorithm)| algorithm))
}

/// Finds the truncation of a table from the lengths of its `metaxy_feature_version` values: they
/// are SHA-256 in hexadecimal, so any length below 64 was cut. `None` when no length stands for
/// more than half of the values, or when it is one no truncation gives.
pub fn infer_truncation(lengths: impl IntoIterator<Item = usize>) -> Option<Truncation> {
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut values = 0;
    for length in lengths {
        *seen.entry(length).or_default() += 1;
        values += 1;
    }
    match seen.into_iter().find(|(_, count)| 2 * count > values)?.0 {
        64 => Some(Truncation::FULL),
        length if length < 64 => Truncation::to(length).ok(),
        _ => None,
    }
}

/// What a member that a row does not have means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Refuse { first_row: u64 },
    Null,
}

/// A column of strings in any of Arrow's three layouts.
#[derive(Clone, Debug)]
pub(super) enum Texts {
    Utf8(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

impl Texts {
    pub(super) fn try_new(array: &ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => array.as_string_opt().cloned().map(Texts::Utf8),
            DataType::LargeUtf8 => array.as_string_opt().cloned().map(Texts::Large),
            DataType::Utf8View => array.as_string_view_opt().cloned().map(Texts::View),
            DataType::Dictionary(_, values) if is_text(values) => Self::decoded(array),
            DataType::RunEndEncoded(_, values) if is_text(values.data_type()) => Self::decoded(array),
            // A column nobody ever wrote a value to.
            DataType::Null => Some(Texts::Large(LargeStringArray::new_null(array.len()))),
            _ => None,
        }
    }

    /// The strings of the column of this name, which has to hold some.
    pub(super) fn of_column(array: &ArrayRef, column: &str) -> Result<Self> {
        Self::try_new(array).ok_or_else(|| {
            mismatch(column, format!("column `{column}` must hold strings, not {}", array.data_type()))
        })
    }

    fn decoded(array: &ArrayRef) -> Option<Self> {
        cast(array, &DataType::LargeUtf8).ok()?.as_string_opt().cloned().map(Texts::Large)
    }

    /// The same values, null also where `outer` is.
    fn under(self, outer: Option<&NullBuffer>) -> Self {
        let Some(outer) = outer else { return self };
        let nulls = |inner: Option<&NullBuffer>| NullBuffer::union(inner, Some(outer));
        match self {
            Texts::Utf8(array) => {
                let nulls = nulls(array.nulls());
                let (offsets, values, _) = array.into_parts();
                Texts::Utf8(StringArray::new(offsets, values, nulls))
            }
            Texts::Large(array) => {
                let nulls = nulls(array.nulls());
                let (offsets, values, _) = array.into_parts();
                Texts::Large(LargeStringArray::new(offsets, values, nulls))
            }
            Texts::View(array) => {
                let nulls = nulls(array.nulls());
                let (views, buffers, _) = array.into_parts();
                Texts::View(StringViewArray::new(views, buffers, nulls))
            }
        }
    }

    fn for_each(&self, each: impl FnMut(Option<&str>)) {
        match self {
            Texts::Utf8(array) => array.iter().for_each(each),
            Texts::Large(array) => array.iter().for_each(each),
            Texts::View(array) => array.iter().for_each(each),
        }
    }

    pub(super) fn value(&self, row: usize) -> Option<&str> {
        match self {
            Texts::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            Texts::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Texts::View(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }

    fn to_large(&self) -> LargeStringArray {
        match self {
            Texts::Utf8(array) => array.iter().collect(),
            Texts::Large(array) => array.clone(),
            Texts::View(array) => array.iter().collect(),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// How a by-field column is stored.
enum Shape<'a> {
    Struct(&'a StructArray),
    Entries(Box<Entries>),
}

impl<'a> Shape<'a> {
    fn of(array: &'a ArrayRef, column: &str) -> Result<Self> {
        let entries = |entries: &ArrayRef, offsets: Vec<usize>| {
            Entries::try_new(entries, offsets, array.nulls().cloned())
                .map(|entries| Shape::Entries(Box::new(entries)))
        };
        let any: &dyn Array = array.as_ref();
        let shape = if let Some(members) = any.as_struct_opt() {
            Some(Shape::Struct(members))
        } else if let Some(list) = any.as_any().downcast_ref::<ListArray>() {
            entries(list.values(), list.offsets().iter().map(|offset| offset.as_usize()).collect())
        } else if let Some(list) = any.as_any().downcast_ref::<LargeListArray>() {
            entries(list.values(), list.offsets().iter().map(|offset| offset.as_usize()).collect())
        } else if let Some(map) = any.as_any().downcast_ref::<MapArray>() {
            let offsets = map.offsets().iter().map(|offset| offset.as_usize()).collect();
            entries(&(Arc::new(map.entries().clone()) as ArrayRef), offsets)
        } else {
            None
        };
        shape.ok_or_else(|| {
            mismatch(
                column,
                format!(
                    "column `{column}` must be a struct of strings, or a map from string to string, not {}",
                    array.data_type()
                ),
            )
        })
    }
}

fn struct_member(stored: &StructArray, column: &str, member: &str) -> Result<Texts> {
    let Some(array) = stored.column_by_name(member) else {
        return Err(missing(column, member, "", stored.fields().iter().map(|field| field.name().as_str())));
    };
    // A child keeps values of its own under a null struct; they mean nothing.
    let texts = Texts::try_new(array).ok_or_else(|| {
        mismatch(
            column,
            format!(
                "member `{member}` of column `{column}` must hold strings, not {}; cast it before writing",
                array.data_type()
            ),
        )
        .with("member", member)
    })?;
    Ok(texts.under(stored.nulls()))
}

/// The map shape: each row is a range of key and value pairs.
struct Entries {
    keys: Texts,
    values: Texts,
    offsets: Vec<usize>,
    nulls: Option<NullBuffer>,
}

impl Entries {
    fn try_new(entries: &ArrayRef, offsets: Vec<usize>, nulls: Option<NullBuffer>) -> Option<Self> {
        let pairs = entries.as_struct_opt()?;
        // An Arrow map may name its two columns as it likes.
        let [keys, values] = pairs.columns() else { return None };
        Some(Entries {
            keys: Texts::try_new(keys)?.under(pairs.nulls()),
            values: Texts::try_new(values)?.under(pairs.nulls()),
            offsets,
            nulls,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The row's entries, each with its key.
    fn of_row(&self, row: usize) -> impl Iterator<Item = (usize, Option<&str>)> {
        let range = if self.is_null(row) { 0..0 } else { self.offsets[row]..self.offsets[row + 1] };
        range.map(|entry| (entry, self.keys.value(entry)))
    }

    /// Refuses rows that have a key twice: which of its values counts would be anybody's guess.
    fn check_keys(&self, column: &str, first_row: u64) -> Result<()> {
        let mut keys: Vec<&str> = Vec::new();
        for row in 0..self.offsets.len().saturating_sub(1) {
            keys.clear();
            keys.extend(self.of_row(row).filter_map(|(_, key)| key));
            keys.sort_unstable();
            if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
                let (member, row) = (twice[0], first_row + row as u64);
                let message =
                    format!("column `{column}` has the member `{member}` twice in row {row}; give it once");
                return Err(mismatch(column, message).with("member", member).with("row", row));
            }
        }
        Ok(())
    }

    /// One member's values; `position` is where its entry is likely to be in each row.
    fn member(&self, column: &str, member: &str, position: usize, missing_is: Missing) -> Result<Texts> {
        let rows = self.offsets.len().saturating_sub(1);
        let mut values = LargeStringBuilder::with_capacity(rows, 0);
        for row in 0..rows {
            if self.is_null(row) {
                values.append_null();
                continue;
            }
            let guess = self.offsets[row] + position;
            let found = if guess < self.offsets[row + 1] && self.keys.value(guess) == Some(member) {
                Some(guess)
            } else {
                self.of_row(row).find(|(_, key)| *key == Some(member)).map(|(entry, _)| entry)
            };
            match found {
                Some(entry) => values.append_option(self.values.value(entry)),
                None => match missing_is {
                    Missing::Null => values.append_null(),
                    Missing::Refuse { first_row } => {
                        let present = self.of_row(row).filter_map(|(_, key)| key);
                        let row = first_row + row as u64;
                        return Err(
                            missing(column, member, &format!(" in row {row}"), present).with("row", row)
                        );
                    }
                },
            }
        }
        Ok(Texts::Large(values.finish()))
    }
}

fn entry_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::LargeUtf8, true),
        Field::new("value", DataType::LargeUtf8, true),
    ])
}

fn missing<'a>(column: &str, member: &str, place: &str, present: impl Iterator<Item = &'a str>) -> Error {
    let present: Vec<String> = present.map(|name| format!("`{name}`")).collect();
    let present = if present.is_empty() { "no members".to_owned() } else { present.join(", ") };
    mismatch(column, format!("column `{column}` has no member `{member}`{place}; it has {present}"))
        .with("member", member)
}

fn mismatch(column: &str, message: String) -> Error {
    Error::new(Status::SchemaMismatch, message).with("column", column)
}

pub(super) fn internal(message: &str) -> Error {
    Error::new(Status::Internal, message)
}

#[cfg(test)]
mod tests {
    use arrow::array::MapArray;
    use proptest::prelude::*;

    use super::*;

    type Row = Option<Vec<Option<String>>>;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn row(values: &[Option<&str>]) -> Row {
        Some(values.iter().map(|value| value.map(str::to_owned)).collect())
    }

    /// The struct shape, with rubbish under its null rows, as other writers leave it there.
    fn as_struct(members: &[String], rows: &[Row], member_type: &DataType) -> ArrayRef {
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = members
            .iter()
            .enumerate()
            .map(|(position, member)| {
                let values: LargeStringArray = rows
                    .iter()
                    .map(|row| row.as_ref().map_or(Some("rubbish"), |values| values[position].as_deref()))
                    .collect();
                (Field::new(member, member_type.clone(), true), cast(&values, member_type).unwrap())
            })
            .unzip();
        let nulls: NullBuffer = rows.iter().map(Option::is_some).collect::<Vec<bool>>().into();
        Arc::new(StructArray::new(fields.into(), columns, Some(nulls)))
    }

    /// Every shape the same rows can be stored in.
    fn shapes(members: &[String], rows: &[Row]) -> Vec<ArrayRef> {
        let large = as_struct(members, rows, &DataType::LargeUtf8);
        let by_field = ByField::try_new(&large, "c", members, 0).unwrap();
        let large_list: ArrayRef = Arc::new(by_field.to_map_list().unwrap());
        let item = |nullable| Field::new("item", DataType::Struct(entry_fields()), nullable);
        let list = cast(&large_list, &DataType::List(Arc::new(item(true)))).unwrap();
        let parts = list.as_list::<i32>();
        let map = MapArray::new(
            Arc::new(item(false).with_name("entries")),
            parts.offsets().clone(),
            parts.values().as_struct().clone(),
            parts.nulls().cloned(),
            false,
        );
        let utf8 = as_struct(members, rows, &DataType::Utf8);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let encoded = as_struct(members, rows, &dictionary);
        let view = as_struct(members, rows, &DataType::Utf8View);
        vec![large, utf8, view, encoded, large_list, list, Arc::new(map)]
    }

    fn versions(array: &ArrayRef, members: &[String], hash: &SampleHash) -> Vec<Option<String>> {
        let by_field = ByField::try_new(array, "c", members, 0).unwrap();
        let versions = sample_provenance(&by_field, hash);
        versions.iter().map(|version| version.map(str::to_owned)).collect()
    }

    fn xxhash32_8() -> SampleHash {
        SampleHash::new(HashAlgorithm::XxHash32, Truncation::to(8).unwrap())
    }

    #[test]
    fn versions_are_those_of_metaxy() {
        let cases = [
            (row(&[Some("h1"), Some("g1")]), Some("28002859")),
            (row(&[Some("\u{fc}"), Some("\u{1f3ac}")]), Some("32218086")),
            (row(&[Some(""), Some("")]), Some("34840429")),
            (row(&[Some("a|b"), Some("c")]), Some("74473440")),
            (row(&[Some("a"), Some("b|c")]), Some("36998736")),
            (row(&[Some("a"), None]), None),
            (None, None),
        ];
        let members = names(&["x", "sub_y"]);
        let rows: Vec<Row> = cases.iter().map(|(row, _)| row.clone()).collect();
        let expected: Vec<Option<String>> =
            cases.iter().map(|(_, version)| version.map(str::to_owned)).collect();
        for array in shapes(&members, &rows) {
            assert_eq!(versions(&array, &members, &xxhash32_8()), expected, "{}", array.data_type());
        }
    }

    #[test]
    fn a_single_member_is_hashed_alone_and_others_are_ignored() {
        let array = as_struct(
            &names(&["old", "x"]),
            &[row(&[None, Some("h1")]), row(&[Some("o"), None])],
            &DataType::Utf8,
        );
        let hash = xxhash32_8();
        assert_eq!(versions(&array, &names(&["x"]), &hash), [Some(hash.hash(b"h1")), None]);
    }

    #[test]
    fn a_missing_member_is_named_together_with_those_present() {
        let members = names(&["audio", "frames"]);
        let array = as_struct(&members, &[row(&[Some("a"), Some("f")])], &DataType::Utf8);
        let error =
            ByField::try_new(&array, "metaxy_provenance_by_field", &names(&["video"]), 0).unwrap_err();
        assert_eq!(error.status(), Status::SchemaMismatch);
        assert_eq!(
            error.message(),
            "column `metaxy_provenance_by_field` has no member `video`; it has `audio`, `frames`"
        );
    }

    #[test]
    fn a_map_row_without_the_key_is_named_by_its_number() {
        let members = names(&["audio"]);
        let with =
            ByField::try_new(&as_struct(&members, &[row(&[Some("a")])], &DataType::Utf8), "c", &members, 0);
        let other = names(&["frames"]);
        let without =
            ByField::try_new(&as_struct(&other, &[row(&[Some("f")])], &DataType::Utf8), "c", &other, 0);
        let (with, without) = (with.unwrap().to_map_list().unwrap(), without.unwrap().to_map_list().unwrap());
        let both = arrow::compute::concat(&[&with, &without]).unwrap();
        let error = ByField::try_new(&both, "c", &members, 40).unwrap_err();
        assert_eq!(error.message(), "column `c` has no member `audio` in row 41; it has `frames`");
        assert_eq!(error.detail("row"), Some("41"));
        assert_eq!(ByField::member_names(&both, "c").unwrap(), ["audio", "frames"]);
    }

    #[test]
    fn a_map_row_with_a_key_twice_is_refused() {
        let entries = StructArray::new(
            entry_fields(),
            vec![
                Arc::new(LargeStringArray::from(vec!["x", "y", "x"])),
                Arc::new(LargeStringArray::from(vec!["1", "2", "3"])),
            ],
            None,
        );
        let item = Arc::new(Field::new("item", DataType::Struct(entry_fields()), true));
        let list = |lengths: &[usize]| -> ArrayRef {
            let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
            Arc::new(LargeListArray::new(item.clone(), offsets, Arc::new(entries.clone()), None))
        };
        let error = ByField::try_new(&list(&[0, 3]), "c", &[], 7).unwrap_err();
        assert_eq!(error.message(), "column `c` has the member `x` twice in row 8; give it once");
        // The same key in two rows is no repetition.
        assert!(ByField::try_new(&list(&[2, 1]), "c", &names(&["x"]), 0).is_ok());
    }

    #[test]
    fn other_types_are_refused_by_name() {
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let error = ByField::try_new(&numbers, "c", &[], 0).unwrap_err();
        assert_eq!(
            error.message(),
            "column `c` must be a struct of strings, or a map from string to string, not Int64"
        );
        let fields = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
        let array: ArrayRef = Arc::new(StructArray::new(fields, vec![numbers], None));
        let error = ByField::try_new(&array, "c", &names(&["x"]), 0).unwrap_err();
        assert_eq!(error.status(), Status::SchemaMismatch);
        assert_eq!(
            error.message(),
            "member `x` of column `c` must hold strings, not Int64; cast it before writing"
        );
    }

    #[test]
    fn a_slice_reads_its_own_rows() {
        let members = names(&["a", "b"]);
        let rows = [row(&[Some("1"), Some("2")]), None, row(&[Some("3"), Some("4")])];
        for array in shapes(&members, &rows) {
            let by_field = ByField::try_new(&array.slice(1, 2), "c", &members, 0).unwrap();
            assert!(by_field.is_null(0), "{}", array.data_type());
            assert_eq!(by_field.value(0, 0), None);
            assert_eq!((by_field.value(0, 1), by_field.value(1, 1)), (Some("3"), Some("4")));
        }
    }

    #[test]
    fn the_map_shape_is_the_one_tables_have() {
        let members = names(&["a"]);
        let array = as_struct(&members, &[row(&[Some("1")])], &DataType::Utf8);
        let list = ByField::try_new(&array, "c", &members, 0).unwrap().to_map_list().unwrap();
        let field = ByField::map_list_field("c");
        assert_eq!(list.data_type(), field.data_type());
        assert_eq!(field.metadata()["ARROW:extension:name"], "polars_map.map");
    }

    #[test]
    fn every_algorithm_is_recognised() {
        let members = names(&["b", "a"]);
        // The last row was written before the member `b` existed.
        let rows = [row(&[Some("1"), Some("2")]), row(&[Some("3"), Some("")]), None, row(&[None, Some("5")])];
        for algorithm in HashAlgorithm::ALL {
            for truncation in [Truncation::FULL, Truncation::to(8).unwrap()] {
                let hash = SampleHash::new(algorithm, truncation);
                let written: LargeStringArray =
                    [Some(hash.hash(b"2|1")), Some(hash.hash(b"|3")), None, Some(hash.hash(b"5"))]
                        .iter()
                        .collect();
                let written: ArrayRef = Arc::new(written);
                for array in shapes(&members, &rows) {
                    let inferred = infer_algorithm(&array, &written, &[], truncation).unwrap();
                    assert_eq!(inferred, Some(algorithm), "{}", array.data_type());
                }
            }
        }
    }

    #[test]
    fn a_half_is_no_majority() {
        let hash = xxhash32_8();
        let members = names(&["a"]);
        let array = as_struct(&members, &[row(&[Some("1")]), row(&[Some("2")])], &DataType::Utf8);
        let written: ArrayRef =
            Arc::new(LargeStringArray::from(vec![hash.hash(b"1"), "the user's own".into()]));
        let infer = |rows: usize| {
            infer_algorithm(&array.slice(0, rows), &written.slice(0, rows), &[], hash.truncation).unwrap()
        };
        assert_eq!(infer(2), None);
        assert_eq!(infer(1), Some(hash.algorithm));
        assert_eq!(infer(0), None);
    }

    #[test]
    fn members_of_fields_given_up_are_left_out() {
        let hash = xxhash32_8();
        let array = as_struct(&names(&["x", "gone"]), &[row(&[Some("1"), Some("2")])], &DataType::Utf8);
        let written: ArrayRef = Arc::new(LargeStringArray::from(vec![hash.hash(b"1")]));
        let infer = |candidates: &[Vec<String>]| {
            infer_algorithm(&array, &written, candidates, hash.truncation).unwrap()
        };
        assert_eq!(infer(&[]), None);
        assert_eq!(infer(&[names(&["x"])]), Some(HashAlgorithm::XxHash32));
    }

    #[test]
    fn the_length_of_feature_versions_is_the_truncation() {
        assert_eq!(infer_truncation([64, 64]), Some(Truncation::FULL));
        assert_eq!(infer_truncation([8, 8, 64]).and_then(|truncation| truncation.length()), Some(8));
        assert_eq!(infer_truncation([8, 64]), None);
        assert_eq!(infer_truncation([5]), None);
        assert_eq!(infer_truncation([65]), None);
        assert_eq!(infer_truncation([]), None);
    }

    fn table() -> impl Strategy<Value = (Vec<String>, Vec<Row>)> {
        prop::collection::hash_set("[a-z_\u{e9}\u{1f3ac}-]{1,3}", 1..5).prop_flat_map(|members| {
            let members: Vec<String> = members.into_iter().collect();
            let value = prop::option::weighted(0.9, "[|a\u{fc}\u{65e5}\u{1f3ac} ]{0,5}");
            let row = prop::option::weighted(0.9, prop::collection::vec(value, members.len()));
            (Just(members), prop::collection::vec(row, 0..8))
        })
    }

    proptest! {
        #[test]
        fn the_strings_hashed_are_those_of_the_rule(
            (members, rows) in table(),
            algorithm in prop::sample::select(&HashAlgorithm::ALL[..]),
        ) {
            let hash = SampleHash::new(algorithm, Truncation::to(12).unwrap());
            let expected: Vec<Option<String>> = rows
                .iter()
                .map(|row| {
                    let named: HashMap<&String, &Option<String>> = members.iter().zip(row.as_ref()?).collect();
                    let mut sorted: Vec<&String> = members.iter().collect();
                    sorted.sort_by_key(|name| name.chars().collect::<Vec<char>>());
                    let values: Option<Vec<String>> = sorted.iter().map(|name| named[*name].clone()).collect();
                    Some(hash.hash(values?.join("|").as_bytes()))
                })
                .collect();
            for array in shapes(&members, &rows) {
                prop_assert_eq!(&versions(&array, &members, &hash), &expected, "{}", array.data_type());
            }
        }

        #[test]
        fn every_shape_becomes_the_same_struct_and_list((members, rows) in table()) {
            let expected = as_struct(&members, &rows, &DataType::LargeUtf8);
            let expected = ByField::try_new(&expected, "c", &members, 0).unwrap();
            for array in shapes(&members, &rows) {
                let by_field = ByField::try_new(&array, "c", &members, 0).unwrap();
                prop_assert_eq!(by_field.to_struct().unwrap(), expected.to_struct().unwrap());
                prop_assert_eq!(by_field.to_map_list().unwrap(), expected.to_map_list().unwrap());
                for (row, values) in rows.iter().enumerate() {
                    prop_assert_eq!(by_field.is_null(row), values.is_none());
                    for position in 0..members.len() {
                        let value = values.as_ref().and_then(|values| values[position].as_deref());
                        prop_assert_eq!(by_field.value(position, row), value);
                    }
                }
            }
        }
    }
}
