//! Writing in two steps: rows become files that nobody sees, then one commit shows them all.
//!
//! [`Database::stage`] needs no table: it writes data files that no version refers to, so that a
//! stream that fails half way changes nothing. [`Database::publish`] then creates the table with the
//! rows, or evolves its schema where needed and appends them, whichever other writers have left to
//! do. Both steps are safe with any number of processes:
//!
//! - A table is created by a strict commit, which fails when anybody else has created it. LanceDB's
//!   own create would rebase itself over the other's rows and lose them.
//! - A loser, and every append, opens the newest version first. The staged files only refer to
//!   columns by number, so they are renumbered to the table's columns rather than written again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::physical_plan::SendableRecordBatchStream;
use lance::dataset::fragment::write::FragmentCreateBuilder;
use lance::dataset::transaction::{Operation, Transaction};
use lance::dataset::{CommitBuilder, NewColumnTransform, WriteParams};
use lance_core::datatypes::{Field as LanceField, Schema as LanceSchema};
use lance_table::format::{DataFile, Fragment};

use super::database::Database;
use super::failure::{from_lance, is_conflict};
use super::table::Table;
use crate::error::{Error, Result, Status};

/// How often a commit is tried again when other writers are in the way; LanceDB itself tries some
/// twenty times before each of these counts.
const ATTEMPTS: u32 = 20;

/// Rows that are written but belong to no version of any table.
pub struct Staged {
    table: String,
    schema: Schema,
    columns: LanceSchema,
    fragments: Vec<Fragment>,
}

/// What [`Database::publish`] found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The table was made by this call.
    Table,
    /// The rows were added to a table that was there.
    Nothing,
}

impl Database {
    /// Writes the rows of `stream` as files of `table`, which need not exist. On failure no file is
    /// left behind.
    pub async fn stage(&self, table: &str, schema: &Schema, stream: SendableRecordBatchStream) -> Result<Staged> {
        let mut columns =
            LanceSchema::try_from(schema).map_err(|cause| self.failed("prepare the columns of", table, cause))?;
        columns.set_field_id(None);
        columns.validate().map_err(|cause| self.failed("prepare the columns of", table, cause))?;
        let params = WriteParams { session: Some(self.session().clone()), ..WriteParams::default() };
        let uri = self.table_uri(table);
        let written =
            FragmentCreateBuilder::new(&uri).schema(&columns).write_params(&params).write_fragments(stream).await;
        match written {
            Ok(fragments) => Ok(Staged { table: table.to_owned(), schema: schema.clone(), columns, fragments }),
            Err(cause) => {
                self.remove_empty_directories(table);
                Err(self.failed("write the rows of", table, cause))
            }
        }
    }

    /// Shows the staged rows to everybody, all at once. `accept` is asked before rows are added to
    /// a table that is already there, with its schema.
    pub async fn publish(&self, staged: &Staged, accept: impl Fn(&Schema) -> Result<()>) -> Result<Created> {
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(10 << attempt.min(6))).await;
            }
            let attempted = match self.open(&staged.table).await? {
                None => self.create(staged).await.map(|()| Created::Table),
                // A commit whose answer was lost has happened all the same.
                Some(table) if staged.is_in(&table) => return Ok(Created::Nothing),
                Some(table) => {
                    accept(&table.schema())?;
                    self.append(staged, table).await.map(|()| Created::Nothing)
                }
            };
            match attempted {
                Ok(created) => return Ok(created),
                Err(Attempt::Failed(error)) => {
                    // The commit may have happened although its answer was lost.
                    return match self.open(&staged.table).await {
                        Ok(Some(table)) if staged.is_in(&table) => Ok(Created::Nothing),
                        _ => Err(error),
                    };
                }
                Err(Attempt::Overtaken(cause)) => last = Some(cause),
            }
        }
        let error = Error::new(
            Status::Conflict,
            format!(
                "the rows were not added to the table {} of {}: other writers were in the way {ATTEMPTS} times; write \
                 them again",
                staged.table,
                self.display()
            ),
        )
        .with("store", self.display())
        .with("table", &staged.table);
        Err(match last {
            Some(cause) => error.caused_by(&cause),
            None => error,
        })
    }

    /// Forgets staged rows: their files are deleted, as far as that is possible.
    pub async fn discard(&self, staged: &Staged) {
        if let Ok(storage) = self.storage().await {
            for path in staged.files() {
                // A file that stays is unused space, no harm, and cleanup finds it.
                let _ = storage.store.delete(&self.data_path(&storage.root, &staged.table, path)).await;
            }
        }
        self.remove_empty_directories(&staged.table);
    }

    async fn create(&self, staged: &Staged) -> std::result::Result<(), Attempt> {
        let operation = Operation::Overwrite {
            fragments: staged.fragments.clone(),
            schema: staged.columns.clone(),
            config_upsert_values: None,
            initial_bases: None,
        };
        let uri = self.table_uri(&staged.table);
        CommitBuilder::new(uri.as_str())
            .with_max_retries(0)
            .enable_v2_manifest_paths(true)
            .with_session(self.session().clone())
            .execute(Transaction::new(0, operation, None))
            .await
            .map(drop)
            .map_err(|cause| match cause {
                // Lance tells of a lost race in all these ways.
                lance::Error::DatasetAlreadyExists { .. }
                | lance::Error::DatasetNotFound { .. }
                | lance::Error::NotFound { .. } => Attempt::Overtaken(cause),
                cause => self.attempt(staged, cause),
            })
    }

    async fn append(&self, staged: &Staged, table: Table) -> std::result::Result<(), Attempt> {
        let table = self.evolve(staged, table).await?;
        if staged.fragments.is_empty() {
            return Ok(());
        }
        self.check_files(staged).await.map_err(Attempt::Failed)?;
        let fragments = staged.renumbered(&table, self.display()).map_err(Attempt::Failed)?;
        let dataset = table.dataset;
        let transaction = Transaction::new(dataset.version().version, Operation::Append { fragments }, None);
        match CommitBuilder::new(dataset).execute(transaction).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(self.attempt(staged, cause)),
        }
    }

    /// Adds the columns and struct members that only the staged rows have, and gives a type to
    /// columns that have had only nulls.
    async fn evolve(&self, staged: &Staged, table: Table) -> std::result::Result<Table, Attempt> {
        let schema = table.schema();
        let untyped = untyped_fields(staged.schema.fields(), schema.fields());
        let kept: Fields = schema.fields().iter().filter(|field| !untyped.contains(&field.name().as_str())).cloned().collect();
        let additions = missing_fields(staged.schema.fields(), &kept);
        if additions.is_empty() {
            return Ok(table);
        }
        let mut dataset = table.dataset.as_ref().clone();
        let evolved = async {
            if !untyped.is_empty() {
                // Lance does not cast from null; nothing is lost by a column without values.
                dataset.drop_columns(&untyped).await?;
            }
            dataset.add_columns(NewColumnTransform::AllNulls(Arc::new(Schema::new(additions))), None, None).await
        };
        match evolved.await {
            Ok(()) => Ok(Table::new(Arc::new(dataset), &staged.table, self.display())),
            Err(cause) => Err(self.attempt(staged, cause)),
        }
    }

    /// A table that was dropped during the write took the staged files with it; committing them
    /// would break the table that has its name now.
    async fn check_files(&self, staged: &Staged) -> Result<()> {
        let storage = self.storage().await?;
        for path in staged.files() {
            let full = self.data_path(&storage.root, &staged.table, path);
            let exists = storage.store.exists(&full).await.map_err(|cause| self.failed("check the files of", &staged.table, cause))?;
            if !exists {
                return Err(Error::new(
                    Status::Conflict,
                    format!(
                        "the table {} of {} was dropped while rows were being written to it; nothing was written, write \
                         them again",
                        staged.table,
                        self.display()
                    ),
                )
                .with("store", self.display())
                .with("table", &staged.table));
            }
        }
        Ok(())
    }

    fn attempt(&self, staged: &Staged, cause: lance::Error) -> Attempt {
        if is_conflict(&cause) {
            Attempt::Overtaken(cause)
        } else {
            Attempt::Failed(self.failed("add rows to", &staged.table, cause))
        }
    }

    fn data_path(&self, root: &object_store::path::Path, table: &str, file: &str) -> object_store::path::Path {
        root.clone().join(format!("{table}.lance")).join("data").join(file)
    }

    /// A write that came to nothing leaves no directory where there was no table.
    fn remove_empty_directories(&self, table: &str) {
        if let Some(directory) = self.table_directory(table) {
            // Both fail, as they should, when anything is in them.
            let _ = std::fs::remove_dir(directory.join("data"));
            let _ = std::fs::remove_dir(directory);
        }
    }

    fn failed(&self, doing: &str, table: &str, cause: lance::Error) -> Error {
        from_lance(cause, || format!("cannot {doing} the table {table} of {}", self.display()))
            .with("store", self.display())
            .with("table", table)
    }
}

/// Why one try to publish did not succeed.
enum Attempt {
    /// Another writer was faster; the next try starts from what it left.
    Overtaken(lance::Error),
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Attempt::Failed(error)
    }
}

impl Staged {
    fn files(&self) -> impl Iterator<Item = &str> {
        self.fragments.iter().flat_map(|fragment| &fragment.files).map(|file| file.path.as_str())
    }

    fn is_in(&self, table: &Table) -> bool {
        let Some(mine) = self.files().next() else { return false };
        table.dataset.fragments().iter().flat_map(|fragment| &fragment.files).any(|file| file.path == mine)
    }

    /// The staged files with the column numbers of `table`.
    fn renumbered(&self, table: &Table, database: &str) -> Result<Vec<Fragment>> {
        let theirs: HashMap<String, &LanceField> = paths(&table.dataset.schema().fields).into_iter().collect();
        let mut numbers = HashMap::new();
        for (path, mine) in paths(&self.columns.fields) {
            let same = theirs.get(&path).filter(|field| {
                field.data_type() == mine.data_type() || (!mine.children.is_empty() && !field.children.is_empty())
            });
            let Some(field) = same else {
                return Err(Error::new(
                    Status::Conflict,
                    format!(
                        "the column {path} of the table {} of {database} was given the type {} by another writer while \
                         rows with the type {} were being written; nothing was written, write them again",
                        self.table,
                        theirs.get(&path).map_or_else(|| "none".to_owned(), |field| field.data_type().to_string()),
                        mine.data_type()
                    ),
                )
                .with("store", database)
                .with("table", &self.table)
                .with("column", path));
            };
            numbers.insert(mine.id, field.id);
        }
        let renumber = |file: &DataFile| {
            let mut file = file.clone();
            file.fields = file.fields.iter().map(|id| numbers.get(id).copied().unwrap_or(*id)).collect();
            file
        };
        Ok(self
            .fragments
            .iter()
            .map(|fragment| Fragment { files: fragment.files.iter().map(renumber).collect(), ..fragment.clone() })
            .collect())
    }
}

/// Every field by its path, parents before children.
fn paths(fields: &[LanceField]) -> Vec<(String, &LanceField)> {
    let mut all = Vec::new();
    for field in fields {
        all.push((field.name.clone(), field));
        for (below, child) in paths(&field.children) {
            all.push((format!("{}.{below}", field.name), child));
        }
    }
    all
}

/// The columns that have no type in `present` but one in `wanted`.
fn untyped_fields<'a>(wanted: &'a Fields, present: &Fields) -> Vec<&'a str> {
    wanted
        .iter()
        .filter(|field| field.data_type() != &DataType::Null)
        .filter(|field| present.iter().any(|other| other.name() == field.name() && other.data_type() == &DataType::Null))
        .map(|field| field.name().as_str())
        .collect()
}

/// The part of `wanted` that `present` lacks: whole columns, or structs with only the new members.
fn missing_fields(wanted: &Fields, present: &Fields) -> Vec<Field> {
    let mut missing = Vec::new();
    for field in wanted {
        match present.iter().find(|other| other.name() == field.name()) {
            None => missing.push(field.as_ref().clone()),
            Some(other) => {
                if let (DataType::Struct(wanted), DataType::Struct(present)) = (field.data_type(), other.data_type()) {
                    let members = missing_fields(wanted, present);
                    if !members.is_empty() {
                        missing.push(field.as_ref().clone().with_data_type(DataType::Struct(members.into())));
                    }
                }
            }
        }
    }
    missing
}
