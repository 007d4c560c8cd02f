//! Giving staged rows to the server: one request, after which all of them show, or none.
//!
//! The protocol has no way to ask whether a request was carried out whose answer was lost. The rows tell
//! themselves: their ids, and the time of their write, are in no row before. So they are looked for, and
//! are never sent again as long as the server may have them. That they are not there says little unless the
//! server itself has ended the request: behind a gateway that has given up, it may still be at it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatchIterator, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use lancedb::table::{ColumnAlteration, NaNVectorBehavior, NewColumnTransform};

use super::database::Database;
use super::failure::{Fault, has_ended};
use super::stage::Staged;
use super::table::Table;
use crate::backend::evolve::{missing_fields, untyped_fields};
use crate::error::{Error, Result, Status};

/// The pauses after which rows are sent again that the server was too busy to take.
const BUSY: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The pauses between looks for rows whose answer was lost: the first few where the server has ended the
/// request, all of them where it may still be at it.
const LOOKS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
    LONGEST_PAUSE,
    LONGEST_PAUSE,
];
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const LOOKS_ONCE_ENDED: usize = 4;

/// For each so many bytes there is one more look, up to some.
const BYTES_PER_LOOK: u64 = 16 << 20;
const LONGER_LOOKS: u64 = 5;

/// How often, and after which pause, columns are added again because another writer was changing the table.
const PATIENCE: u32 = 5;
const BUSY_TABLE: Duration = Duration::from_millis(200);

/// The slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 256 << 10;

/// Whether rows that were sent are in the table.
enum Found {
    All,
    None,
    /// There are rows like some of them, or of some others too.
    Some,
}

impl Database {
    /// Adds the staged rows to their table, which is made if it is missing: first empty, so that of two
    /// that make it neither takes the other's rows away.
    pub async fn publish(
        &self,
        staged: Staged,
        proceed: impl Fn() -> Result<()>,
        accept: impl Fn(&Schema) -> Result<()>,
    ) -> Result<()> {
        proceed()?;
        let table = match self.open(&staged.table).await? {
            Some(table) => table,
            None => self.create(&staged).await?,
        };
        accept(&table.schema())?;
        self.check_columns(&staged, &table)?;
        let table = self.evolve(&staged, table).await?;
        if staged.rows == 0 {
            return Ok(());
        }
        self.append(&staged, &table, proceed).await
    }

    async fn create(&self, staged: &Staged) -> Result<Table> {
        let connection = self.connection().await?;
        let made = connection.create_empty_table(&staged.table, staged.schema.clone()).execute().await;
        // Whoever has made it, and whatever the answer, it may be there.
        let told = match made {
            Ok(_) => None,
            Err(cause) => {
                let fault = Fault::of(&cause);
                let error = self.peer().failed("create", &staged.table, cause);
                if fault != Fault::Exists && !fault.may_have_happened() {
                    return Err(error);
                }
                Some(error)
            }
        };
        match self.open(&staged.table).await? {
            Some(table) => Ok(table),
            None => Err(told.unwrap_or_else(|| self.dropped(&staged.table))),
        }
    }

    /// Refuses columns that have another type in the table.
    fn check_columns(&self, staged: &Staged, table: &Table) -> Result<()> {
        let Some((path, theirs, ours)) = conflict(staged.schema.fields(), table.schema().fields()) else {
            return Ok(());
        };
        let error = Error::new(
            Status::Conflict,
            format!(
                "the column {path} of the table {} of {} was given the type {theirs} by another writer while rows with the \
                 type {ours} were being written; nothing was written, write them again",
                staged.table,
                self.display()
            ),
        );
        Err(self.located(&staged.table, error.with("column", path)))
    }

    /// Adds the columns and struct members that only the staged rows have, and gives a type to columns
    /// that have had only nulls. Others may be doing the same.
    async fn evolve(&self, staged: &Staged, mut table: Table) -> Result<Table> {
        let (mut lack, mut patience) = (Lack::of(staged, &table), PATIENCE);
        while let Some(column) = lack.first() {
            let column = column.clone();
            let refused = match self.type_columns(&staged.table, &lack.untyped).await {
                Ok(()) => self.add_columns(&staged.table, &lack.missing).await.err(),
                refused => refused.err(),
            };
            // Another writer may have added them, and an answer may be lost.
            table = self.open(&staged.table).await?.ok_or_else(|| self.dropped(&staged.table))?;
            self.check_columns(staged, &table)?;
            let left = Lack::of(staged, &table);
            if left.size() >= lack.size() {
                let conflict = refused.as_ref().is_some_and(|error| error.status() == Status::Conflict);
                if !conflict || patience == 0 {
                    let problem = refused.unwrap_or_else(|| {
                        let message =
                            format!("the server says that it has added the column {column}, and has not");
                        Error::new(Status::Internal, message)
                    });
                    return Err(self.located(&staged.table, problem.with("column", column)));
                }
                patience -= 1;
                tokio::time::sleep(BUSY_TABLE).await;
            }
            lack = left;
        }
        Ok(table)
    }

    /// Gives columns without a type theirs. They are never dropped for that: another writer may have done it
    /// first, and have put values into them.
    async fn type_columns(&self, table: &str, columns: &[Field]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let opened = self.connection().await?.open_table(table).execute().await;
        let opened = opened.map_err(|cause| self.peer().failed("open", table, cause))?;
        let alterations: Vec<_> = columns
            .iter()
            .map(|field| ColumnAlteration::new(field.name().clone()).cast_to(field.data_type().clone()))
            .collect();
        let Err(cause) = opened.alter_columns(&alterations).await else { return Ok(()) };
        let fault = Fault::of(&cause);
        let error = self.peer().failed(&format!("give a type to {} in", listed(columns)), table, cause);
        Err(unchangeable(
            fault,
            error,
            table,
            "these columns have been made of nulls only, and the server cannot give them a type: write a column with its type \
             from the start, or copy the feature into a new table without them",
        ))
    }

    async fn add_columns(&self, table: &str, columns: &[Field]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let opened = self.connection().await?.open_table(table).execute().await;
        let opened = opened.map_err(|cause| self.peer().failed("open", table, cause))?;
        let additions = NewColumnTransform::AllNulls(Arc::new(Schema::new(columns.to_vec())));
        let Err(cause) = opened.add_columns().transform(additions).execute().await else { return Ok(()) };
        let fault = Fault::of(&cause);
        let error = self.peer().failed(&format!("add {} to", listed(columns)), table, cause);
        Err(unchangeable(
            fault,
            error,
            table,
            "the server cannot change the table in this way: leave these columns, or struct members, out, or copy the feature \
             into a new table that has them",
        ))
    }

    async fn append(&self, staged: &Staged, table: &Table, proceed: impl Fn() -> Result<()>) -> Result<()> {
        let own;
        // The server answers when it has all the rows, so that a long upload is a long silence.
        let connection = match Duration::from_secs(staged.bytes / SLOWEST) {
            longer if longer.is_zero() => self.connection().await?,
            longer => {
                own = self.connect(longer).await?;
                &own
            }
        };
        let mut pauses = BUSY.into_iter();
        loop {
            proceed()?;
            let opened = connection.open_table(&staged.table).execute().await;
            let opened = opened.map_err(|cause| match Fault::of(&cause) {
                Fault::Absent => self.dropped(&staged.table),
                _ => self.peer().failed("open", &staged.table, cause),
            })?;
            let rows = self.rows_of(staged)?;
            // One request, of rows that cannot be sent twice.
            let added =
                opened.add(rows).write_parallelism(1).on_nan_vectors(NaNVectorBehavior::Keep).execute();
            let Err(cause) = added.await else { return Ok(()) };
            match Fault::of(&cause) {
                Fault::Throttled => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(self.peer().failed("add rows to", &staged.table, cause)),
                },
                Fault::Absent => return Err(self.dropped(&staged.table)),
                fault if fault.may_have_happened() => return self.find(staged, table, cause).await,
                _ => return Err(self.peer().failed("add rows to", &staged.table, cause)),
            }
        }
    }

    fn rows_of(&self, staged: &Staged) -> Result<Box<dyn RecordBatchReader + Send>> {
        let rows = staged.reader().map_err(|cause| {
            let message =
                format!("cannot read back rows of the table {} of {}: {cause}", staged.table, self.display());
            self.located(&staged.table, Error::new(Status::Io, message).caused_by(&cause))
        })?;
        Ok(Box::new(RecordBatchIterator::new(rows, staged.schema.clone())))
    }

    /// What became of rows that were sent on top of `table`, which was answered with `cause`.
    async fn find(&self, staged: &Staged, table: &Table, cause: lancedb::Error) -> Result<()> {
        let (fault, ended) = (Fault::of(&cause), has_ended(&cause));
        let error = self.peer().failed("add rows to", &staged.table, cause);
        let known = match self.look_for(staged, table, ended).await {
            Ok(Found::All) => return Ok(()),
            Ok(Found::None) if ended => {
                let status = if fault == Fault::Conflict { Status::Conflict } else { Status::Unavailable };
                let told = format!(
                    "{}; they are not there, so that nothing was written; write them again",
                    error.message()
                );
                return Err(self.told(staged, &error, Error::new(status, told).caused_by(&error)));
            }
            Ok(Found::None) => "they are not there now, but may yet be".to_owned(),
            Ok(Found::Some) => "there are rows like some of them".to_owned(),
            Err(look) => format!("looking for them failed with this: {look}"),
        };
        let message = format!(
            "it is not known whether the rows were added to the table {} of {}: the request met with this: {}; and {known}; \
             read before writing them again",
            staged.table,
            self.display(),
            error.message()
        );
        Err(self.told(staged, &error, Error::unknown(message).caused_by(&error)))
    }

    /// `told`, which `error` is the reason for.
    fn told(&self, staged: &Staged, error: &Error, told: Error) -> Error {
        let told = self.located(&staged.table, told);
        match error.detail("reason") {
            Some(reason) => told.with("reason", reason),
            None => told,
        }
    }

    /// Whether the rows are there that were sent on top of `table`.
    async fn look_for(&self, staged: &Staged, table: &Table, ended: bool) -> Result<Found> {
        if staged.mark.sample.is_none() {
            let message = "the rows have no column by which they could be recognised";
            return Err(self.located(&staged.table, Error::new(Status::Unsupported, message)));
        }
        let longer = (staged.bytes / BYTES_PER_LOOK).min(LONGER_LOOKS) as usize;
        let looks = if ended { LOOKS_ONCE_ENDED } else { LOOKS.len() + longer };
        let pauses = LOOKS.into_iter().chain(std::iter::repeat(LONGEST_PAUSE)).take(looks);
        let mut found = Ok(Found::None);
        for pause in pauses {
            tokio::time::sleep(pause).await;
            found = self.compare(staged, table).await;
            if matches!(found, Ok(Found::All)) {
                break;
            }
        }
        found
    }

    /// Compares the newest version with `before`, in which the staged rows are not.
    async fn compare(&self, staged: &Staged, before: &Table) -> Result<Found> {
        let Some(newest) = self.open(before.name()).await? else { return Err(self.dropped(before.name())) };
        if newest.version() == before.version() {
            return Ok(Found::None);
        }
        let mark = &staged.mark;
        let sample = mark.sample.as_ref();
        let found = newest.count(sample).await?.saturating_sub(before.count(sample).await?);
        if found == 0 {
            return Ok(Found::None);
        }
        let common = mark.common.as_ref();
        let grown = newest.count(common).await?.saturating_sub(before.count(common).await?) as u64;
        // All come at once. So if some are missing, what was found is of others, or others have removed some.
        Ok(if found >= mark.sampled && grown >= staged.rows { Found::All } else { Found::Some })
    }

    fn dropped(&self, table: &str) -> Error {
        let message = format!(
            "the table {table} of {} was dropped while rows were being written to it; write them again",
            self.display()
        );
        self.located(table, Error::new(Status::Conflict, message))
    }
}

/// The first column, or member of one, that has two types.
fn conflict(ours: &Fields, theirs: &Fields) -> Option<(String, DataType, DataType)> {
    ours.iter().find_map(|field| {
        let other = theirs.iter().find(|other| other.name() == field.name())?;
        match (other.data_type(), field.data_type()) {
            (DataType::Struct(theirs), DataType::Struct(ours)) => conflict(ours, theirs)
                .map(|(path, theirs, ours)| (format!("{}.{path}", field.name()), theirs, ours)),
            (DataType::List(theirs), DataType::List(ours))
            | (DataType::LargeList(theirs), DataType::LargeList(ours)) => {
                let (ours, theirs) = (Fields::from(vec![ours.clone()]), Fields::from(vec![theirs.clone()]));
                conflict(&ours, &theirs)
                    .map(|(path, theirs, ours)| (format!("{}.{path}", field.name()), theirs, ours))
            }
            (theirs, ours) if theirs == ours || *theirs == DataType::Null => None,
            (theirs, ours) => Some((field.name().clone(), theirs.clone(), ours.clone())),
        }
    })
}

/// What the table lacks of the columns that rows bring.
struct Lack {
    missing: Vec<Field>,
    /// Those that are there without a type.
    untyped: Vec<Field>,
}

impl Lack {
    fn of(staged: &Staged, table: &Table) -> Lack {
        let (ours, schema) = (staged.schema.fields(), table.schema());
        let untyped = untyped_fields(ours, schema.fields());
        let untyped = ours.iter().filter(|field| untyped.contains(&field.name().as_str()));
        Lack {
            missing: missing_fields(ours, schema.fields()),
            untyped: untyped.map(|field| field.as_ref().clone()).collect(),
        }
    }

    fn first(&self) -> Option<&String> {
        self.untyped.iter().chain(&self.missing).next().map(Field::name)
    }

    fn size(&self) -> usize {
        self.untyped.len() + self.missing.iter().map(|field| leaves(field.data_type())).sum::<usize>()
    }
}

fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(members) if !members.is_empty() => {
            members.iter().map(|member| leaves(member.data_type())).sum()
        }
        _ => 1,
    }
}

fn listed(columns: &[Field]) -> String {
    let names = columns.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    format!("the columns ({names})")
}

/// The error for a change of columns that the server does not know how to make, with `advice`; or the one it
/// met otherwise.
fn unchangeable(fault: Fault, error: Error, table: &str, advice: &str) -> Error {
    match fault {
        Fault::Malformed | Fault::Unsupported | Fault::Absent | Fault::Other => {
            let message = format!("{}; {advice}", error.message());
            Error::new(Status::Unsupported, message).caused_by(&error).with("table", table)
        }
        _ => error,
    }
}
