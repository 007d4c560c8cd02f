//! What is compared: the id columns of expected and of stored rows, in the same types, and their provenance.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, UInt64Type};

use super::conform::conform;
use super::filter::Filter;
use super::identity::Identity;
use super::samples_given::ROW;
use super::serving::{PLACE, Serving};
use super::system_columns as system;
use super::upstream::{column, common, comparable, unfit};
use crate::error::{Error, Result, Status};
use crate::feature::FeatureKey;
use crate::versioning::{Expected, Shard, Stored, marks_of};

/// The columns that tell samples apart, and how rows are told apart by them.
pub struct Keying {
    /// What expected rows call them.
    pub expected: Vec<String>,
    /// What stored rows call them.
    pub names: Vec<String>,
    pub types: Vec<DataType>,
    identity: Identity,
    shard: Option<Shard>,
    /// How many of the columns, the first ones, say which share a row belongs to.
    sharded: usize,
}

/// A column by which samples are compared.
pub struct KeyColumn {
    /// What expected rows call it.
    pub expected: String,
    /// What stored rows call it.
    pub name: String,
    /// Its type in the rows that are expected.
    pub given: DataType,
    /// The type in which its values are compared.
    pub compared: DataType,
}

/// What is compared of expected rows.
pub struct Examined {
    pub keys: Vec<u128>,
    pub marks: Vec<Option<u64>>,
    /// Where each row comes from, once for each dependency.
    pub places: Vec<UInt64Array>,
}

impl Keying {
    /// The first `sharded` columns decide about the share.
    pub fn new(columns: Vec<KeyColumn>, sharded: usize, shard: Option<Shard>) -> Result<Keying> {
        let types: Vec<DataType> = columns.iter().map(|column| column.compared.clone()).collect();
        let identity = Identity::new(&types).map_err(|cause| {
            Error::new(
                Status::SchemaMismatch,
                format!("samples cannot be told apart by their id columns: {cause}"),
            )
        })?;
        let (expected, names) = columns.into_iter().map(|column| (column.expected, column.name)).unzip();
        Ok(Keying { expected, names, types, identity, shard, sharded })
    }

    /// The keys of the rows of one side, whose columns are called `names`, and those rows of the batch that are kept.
    pub fn keys(&self, batch: &RecordBatch, names: &[String]) -> Result<(RecordBatch, Vec<u128>)> {
        let mut columns = self.columns(batch, names)?;
        let mut batch = batch.clone();
        if let Some(shard) = &self.shard {
            let kept = shard.keeps(columns.get(..self.sharded).unwrap_or(&columns))?;
            batch = filter_record_batch(&batch, &kept).map_err(unfit)?;
            columns = self.columns(&batch, names)?;
        }
        let mut keys = Vec::with_capacity(batch.num_rows());
        self.identity.append(&columns, &mut keys).map_err(unfit)?;
        Ok((batch, keys))
    }

    fn columns(&self, batch: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>> {
        let typed = names.iter().zip(&self.types).zip(&self.names);
        let typed = typed.map(|((name, data_type), shown)| {
            conform(&column(batch, name)?, &Field::new(shown, data_type.clone(), true), 0)
        });
        typed.collect()
    }

    /// What is compared of rows whose data versions are in the columns `inputs`, nothing where a dependency is
    /// missing, and whose places are in the columns `places`.
    pub fn examine(
        &self,
        batch: &RecordBatch,
        expected: &Expected,
        inputs: &[Option<String>],
        places: &[String],
    ) -> Result<Examined> {
        let (batch, keys) = self.keys(batch, &self.expected)?;
        let inputs = input_arrays(&batch, inputs)?;
        let marks = expected.marks(&inputs, batch.num_rows())?;
        let places = places.iter().map(|name| places_of(&batch, name)).collect::<Result<_>>()?;
        Ok(Examined { keys, marks, places })
    }

    /// What is compared of samples that the caller has, whose places are their numbers, and the samples without these.
    pub fn examine_samples(&self, batch: &RecordBatch) -> Result<(RecordBatch, Examined)> {
        let (mut batch, keys) = self.keys(batch, &self.expected)?;
        let marks = marks_of(&column(&batch, system::PROVENANCE)?)?;
        let places = vec![places_of(&batch, ROW)?];
        batch.remove_column(batch.num_columns().saturating_sub(1));
        Ok((batch, Examined { keys, marks, places }))
    }
}

/// The arrays that are hashed; those of a missing dependency are null.
pub fn input_arrays(batch: &RecordBatch, inputs: &[Option<String>]) -> Result<Vec<ArrayRef>> {
    inputs
        .iter()
        .map(|input| match input {
            Some(name) => column(batch, name),
            None => Ok(arrow::array::new_null_array(&DataType::LargeUtf8, batch.num_rows())),
        })
        .collect()
}

pub fn places_of(batch: &RecordBatch, name: &str) -> Result<UInt64Array> {
    let places = column(batch, name)?;
    match places.as_primitive_opt::<UInt64Type>() {
        Some(places) => Ok(places.clone()),
        None => Err(Error::new(Status::Internal, "places are not numbers")),
    }
}

/// The stored rows of the feature that is resolved.
pub struct StoredRows {
    pub serving: Serving,
    pub conditions: Arc<Conditions>,
}

/// What stored rows are asked besides their provenance.
pub struct Conditions {
    /// Those that fail one of these are not compared; a sample that has no others is left alone.
    pub targets: Vec<Filter>,
    /// Those that fail one of these are not orphaned.
    pub orphans: Vec<Filter>,
    /// Those that meet one of these are stale.
    pub predicates: Vec<Filter>,
}

impl StoredRows {
    /// Refuses conditions on what the table of `feature` does not have, whether it has rows or not.
    pub fn new(serving: Serving, conditions: Conditions, feature: &FeatureKey) -> Result<StoredRows> {
        for filter in conditions.all() {
            filter.to_expr(serving.schema()).map_err(|error| {
                error.reworded(|reason| format!("the stored rows of {feature} cannot be filtered: {reason}"))
            })?;
        }
        Ok(StoredRows { serving, conditions: Arc::new(conditions) })
    }

    /// The columns that are read of them.
    pub fn columns(&self, keying: &Keying, feature: &FeatureKey) -> Result<Vec<String>> {
        let schema = self.serving.schema();
        let filters = self.conditions.all();
        let mut columns: Vec<String> = Vec::new();
        let wanted = keying.names.iter().cloned().chain([system::PROVENANCE.to_owned()]);
        let of_filters =
            filters.flat_map(|filter| filter.columns().into_iter().map(str::to_owned).collect::<Vec<_>>());
        for column in wanted.chain(of_filters) {
            if schema.column_with_name(&column).is_none() {
                return Err(Error::new(
                    Status::SchemaMismatch,
                    format!(
                        "the stored rows of {feature} have no column {column}, by which they are compared; they have: {}. \
                         Write it with the results",
                        schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
                    ),
                )
                .with("column", &column));
            }
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        Ok(columns)
    }
}

impl Conditions {
    /// Of rows that are asked nothing.
    pub fn none() -> Conditions {
        Conditions { targets: Vec::new(), orphans: Vec::new(), predicates: Vec::new() }
    }

    fn all(&self) -> impl Iterator<Item = &Filter> {
        self.targets.iter().chain(&self.orphans).chain(&self.predicates)
    }

    /// What is compared of a batch of [`StoredRows::columns`].
    pub fn examine(&self, batch: &RecordBatch, keying: &Keying) -> Result<Vec<Stored>> {
        let (batch, keys) = keying.keys(batch, &keying.names)?;
        let marks = marks_of(&column(&batch, system::PROVENANCE)?)?;
        let places = places_of(&batch, PLACE)?;
        let matching = |filters: &[Filter]| {
            filters.iter().map(|filter| filter.matches(&batch)).collect::<Result<Vec<BooleanArray>>>()
        };
        let targets = matching(&self.targets)?;
        let orphans = matching(&self.orphans)?;
        let predicates = matching(&self.predicates)?;
        let rows = keys.into_iter().zip(marks).zip(places.values()).enumerate();
        let rows = rows.map(|(row, ((key, mark), place))| Stored {
            key,
            mark,
            address: *place,
            skipped: !targets.iter().all(|kept| kept.value(row)),
            forced: predicates.iter().any(|met| met.value(row)),
            orphan: orphans.iter().all(|kept| kept.value(row)),
        });
        Ok(rows.collect())
    }
}

/// A column of a table: whose it is, its type, and its name.
pub type Owned<'c> = (&'c str, &'c DataType, &'c str);

/// The type in which values of two columns are compared, if those of `one` are compared in `compared` so far; an error
/// if they cannot be equal.
pub fn common_type(compared: &DataType, one: Owned<'_>, other: Owned<'_>) -> Result<DataType> {
    common(compared, &comparable(other.1)).ok_or_else(|| unlike(one, other, "they cannot be compared"))
}

/// The error of two columns whose types do not go together.
pub fn unlike(one: Owned<'_>, other: Owned<'_>, why: &str) -> Error {
    let ((owner, data_type, name), (other_owner, other_type, other_name)) = (one, other);
    Error::new(
        Status::SchemaMismatch,
        format!(
            "the id column {name} of {owner} is {data_type}, and {other_name} of {other_owner} is {other_type}: {why}; write \
             one of them in the type of the other"
        ),
    )
    .with("column", name)
    .with("expected", data_type)
    .with("found", other_type)
}
