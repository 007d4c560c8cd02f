//! Giving staged rows to the server: one request, after which all of them show, or none.
//!
//! The protocol has no way to ask whether a request was carried out whose answer was lost. The rows tell
//! themselves: their ids, and the time of their write, are in no row before. So they are looked for, and
//! are never sent again as long as the server may have them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, and};
use lancedb::table::{NaNVectorBehavior, NewColumnTransform};

use super::database::Database;
use super::failure::Fault;
use super::stage::Staged;
use super::table::Table;
use crate::backend::evolve::{missing_fields, untyped_fields};
use crate::error::{Error, Result, Status};

/// The pauses after which rows are sent again that the server was too busy to take.
const BUSY: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The pauses between looks for rows whose answer was lost. What has not come by then is taken for lost.
const LOOKS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 256 << 10;

/// The longest text by which rows are told apart.
const LONGEST_TEXT: usize = 1024;

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
    /// that have had only nulls.
    async fn evolve(&self, staged: &Staged, table: Table) -> Result<Table> {
        let missing = |table: &Table| {
            let schema = table.schema();
            let untyped: Vec<String> = untyped_fields(staged.schema.fields(), schema.fields())
                .into_iter()
                .map(str::to_owned)
                .collect();
            let kept: Fields =
                schema.fields().iter().filter(|field| !untyped.contains(field.name())).cloned().collect();
            (missing_fields(staged.schema.fields(), &kept), untyped)
        };
        let (additions, untyped) = missing(&table);
        if additions.is_empty() {
            return Ok(table);
        }
        let refused = self.add_columns(&staged.table, &additions, &untyped).await.err();
        // Another writer may have added them, and an answer may be lost.
        let table = self.open(&staged.table).await?.ok_or_else(|| self.dropped(&staged.table))?;
        let (left, _) = missing(&table);
        let Some(column) = left.first() else {
            self.check_columns(staged, &table)?;
            return Ok(table);
        };
        let problem = refused.unwrap_or_else(|| {
            let message =
                format!("the server says that it has added the column {}, and has not", column.name());
            Error::new(Status::Internal, message)
        });
        Err(self.located(&staged.table, problem.with("column", column.name())))
    }

    async fn add_columns(&self, table: &str, additions: &[Field], untyped: &[String]) -> Result<()> {
        let opened = self.connection().await?.open_table(table).execute().await;
        let opened = opened.map_err(|cause| self.peer().failed("open", table, cause))?;
        let changed = async {
            if !untyped.is_empty() {
                // Nothing is lost by a column without values.
                let untyped: Vec<&str> = untyped.iter().map(String::as_str).collect();
                opened.drop_columns(&untyped).await?;
            }
            let additions = Arc::new(Schema::new(additions.to_vec()));
            opened.add_columns().transform(NewColumnTransform::AllNulls(additions)).execute().await
        };
        let Err(cause) = changed.await else { return Ok(()) };
        let fault = Fault::of(&cause);
        let names = additions.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let error = self.peer().failed(&format!("add the columns ({names}) to"), table, cause);
        match fault {
            Fault::Malformed | Fault::Unsupported | Fault::Absent | Fault::Other => {
                let message = format!(
                    "{}; the server cannot change the table in this way: leave these columns, or struct members, out, or copy the \
                     feature into a new table that has them",
                    error.message()
                );
                Err(Error::new(Status::Unsupported, message).caused_by(&error).with("table", table))
            }
            _ => Err(error),
        }
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
                fault if fault.may_have_happened() => return self.find(staged, table, fault, cause).await,
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
    async fn find(&self, staged: &Staged, table: &Table, fault: Fault, cause: lancedb::Error) -> Result<()> {
        let error = self.peer().failed("add rows to", &staged.table, cause);
        let found = self.look_for(staged, table).await;
        let (sentence, retryable) = match (found, fault) {
            (Ok(true), _) => return Ok(()),
            // The server may still be at it.
            (Ok(false), Fault::Timeout) => {
                ("it is not known whether they were; read before writing them again", false)
            }
            (Ok(false), _) => ("they are not there, so that nothing was written; write them again", true),
            (Err(look), _) => {
                let message = format!(
                    "it is not known whether the rows were added to the table {} of {}: the request met with this: {}; and \
                     looking for them failed with this: {look}; read before writing them again",
                    staged.table,
                    self.display(),
                    error.message()
                );
                let error = Error::new(Status::Unavailable, message).caused_by(&error).retryable(false);
                return Err(self.located(&staged.table, error));
            }
        };
        let status = if fault == Fault::Conflict { Status::Conflict } else { Status::Unavailable };
        let message = format!("{}; {sentence}", error.message());
        let told = Error::new(status, message).caused_by(&error).retryable(retryable);
        let told = match error.detail("reason") {
            Some(reason) => told.with("reason", reason),
            None => told,
        };
        Err(self.located(&staged.table, told))
    }

    /// Whether there are more rows like the first and like the last of `staged` than in `table`.
    async fn look_for(&self, staged: &Staged, table: &Table) -> Result<bool> {
        let ends: Vec<Expr> = staged.ends.iter().filter_map(like).collect();
        if ends.len() != staged.ends.len() {
            let message = "the rows have no column by which they could be recognised";
            return Err(self.located(&staged.table, Error::new(Status::Unsupported, message)));
        }
        let mut answer = Ok(false);
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            answer = self.has_more(&ends, table).await;
            if matches!(answer, Ok(true)) {
                break;
            }
        }
        answer
    }

    async fn has_more(&self, ends: &[Expr], before: &Table) -> Result<bool> {
        let Some(newest) = self.open(before.name()).await? else { return Err(self.dropped(before.name())) };
        if newest.version() == before.version() {
            return Ok(false);
        }
        for end in ends {
            if newest.count(Some(end)).await? <= before.count(Some(end)).await? {
                return Ok(false);
            }
        }
        Ok(true)
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

/// The condition that a row has the values of this one, as far as they are plain.
fn like(row: &RecordBatch) -> Option<Expr> {
    let schema = row.schema();
    let equals = schema.fields().iter().zip(row.columns()).filter_map(|(field, column)| {
        let value = ScalarValue::try_from_array(column, 0).ok().filter(is_plain)?;
        Some(Expr::Column(Column::from_name(field.name())).eq(Expr::Literal(value, None)))
    });
    equals.reduce(and)
}

/// Whether rows can be told apart by this value, in a request of moderate size.
pub(super) fn is_plain(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => text.len() <= LONGEST_TEXT,
        value => {
            let data_type = value.data_type();
            !value.is_null() && (data_type.is_integer() || matches!(data_type, DataType::Timestamp(..)))
        }
    }
}
