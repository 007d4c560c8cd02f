//! One version of one table.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use futures::FutureExt;
use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;

use super::life::Life;
use super::manifests::VERSIONS;
use super::pin::Pin;
use super::session;
use crate::backend::failure::from_lance;
use crate::error::{Error, Result, Status};

/// A table as it was when it was opened; later writes do not show.
#[derive(Clone)]
pub struct Table {
    pub(super) dataset: Arc<Dataset>,
    name: Arc<str>,
    database: Arc<str>,
    life: Life,
    /// Held by every clone, and so by every stream.
    #[expect(dead_code, reason = "held, not used")]
    pin: Option<Arc<Pin>>,
}

impl Table {
    pub(super) fn new(dataset: Arc<Dataset>, name: &str, database: &str, life: Life) -> Table {
        Table { dataset, name: name.into(), database: database.into(), life, pin: None }
    }

    pub(super) fn pinned(self, pin: Pin) -> Table {
        Table { pin: Some(Arc::new(pin)), ..self }
    }

    /// A later version of the same table, under the same pin.
    pub(super) fn moved_to(&self, dataset: Arc<Dataset>) -> Table {
        Table { dataset, ..self.clone() }
    }

    /// The same version, opened anew for a commit to be based on it. Lance remembers transactions by the
    /// numbers of their versions alone, and compares commits with them; a table that was dropped and made
    /// again has others under these numbers.
    pub(super) async fn afresh(&self) -> Result<Arc<Dataset>> {
        let session = session::private_to_a_commit(&self.dataset.session());
        let opening = DatasetBuilder::from_uri(self.dataset.uri())
            .with_store_params(self.dataset.store_params().cloned().unwrap_or_default())
            .with_version(self.version())
            .with_session(session)
            .load();
        let opened = Box::pin(opening).await.map_err(|cause| self.failed("open", cause))?;
        Ok(Arc::new(opened))
    }

    /// What tells the life that the table is in from those of others of its name.
    pub fn identity(&self) -> (u64, u64, u128) {
        if !self.is_in_bucket() {
            return self.life.identity();
        }
        // Other programs delete a table and make it anew without leaving a trace: what is recorded in it
        // tells, and of a table without a record each version counts.
        let mut record: Vec<_> = self.schema().metadata().clone().into_iter().collect();
        record.sort_unstable();
        let mut hash = DefaultHasher::new();
        record.hash(&mut hash);
        let version = if record.is_empty() { self.version() } else { 0 };
        let (_, generation, _) = self.life.identity();
        (hash.finish(), generation, version.into())
    }

    /// Whether the table was dropped since it was opened; then nothing may be committed to it.
    pub(super) fn is_dropped(&self) -> bool {
        self.life.is_over()
    }

    pub(super) fn is_in_bucket(&self) -> bool {
        matches!(self.life, Life::Bucket(_))
    }

    /// Whether this version says that the table was dropped.
    pub(super) fn says_dropped(&self) -> bool {
        matches!(self.life, Life::Bucket(generation) if generation.is_dropped(&self.dataset))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the table, as Lance counts them: each commit makes the next.
    pub fn version(&self) -> u64 {
        self.dataset.version().version
    }

    /// The columns, with the metadata of the table.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::from(self.dataset.schema()))
    }

    /// The number of rows, from the table's statistics.
    pub async fn rows(&self) -> Result<usize> {
        let counted = AssertUnwindSafe(self.dataset.count_rows(None)).catch_unwind().await;
        counted.map_err(|_| self.damaged())?.map_err(|cause| self.failed("count the rows of", cause))
    }

    /// What these columns of a row take in the files, about; at least 1. Columns whose values have no fixed size are taken for
    /// equally long.
    pub fn row_bytes(&self, columns: &[String]) -> u64 {
        let (mut bytes, mut rows) = (0, 0);
        for fragment in self.dataset.manifest.fragments.iter() {
            let files = fragment.files.iter().filter_map(|file| file.file_size_bytes.get());
            bytes += files.map(u64::from).sum::<u64>();
            rows += fragment.physical_rows.unwrap_or_default() as u64;
        }
        let schema = self.schema();
        let (mut fixed, mut wanted, mut long, mut long_wanted) = (0, 0, 0_u64, 0);
        for field in schema.fields() {
            let is_wanted = columns.contains(field.name());
            match fixed_bytes(field.data_type()) {
                Some(width) => {
                    fixed += width;
                    wanted += if is_wanted { width } else { 0 };
                }
                None => {
                    long += 1;
                    long_wanted += u64::from(is_wanted);
                }
            }
        }
        let of_long = (bytes / rows.max(1)).saturating_sub(fixed) / long.max(1);
        (wanted + of_long * long_wanted).max(1)
    }

    /// The error for a panic of Lance, which means that the files make no sense to it.
    pub(super) fn damaged(&self) -> Error {
        if let Some(gone) = self.gone() {
            return gone;
        }
        let message = format!(
            "the files of the table {} of {} are damaged and cannot be read",
            self.name, self.database
        );
        Error::new(Status::Corrupt, message).with("store", &self.database).with("table", &self.name)
    }

    pub(super) fn failed(&self, doing: &str, cause: lance::Error) -> Error {
        if let Some(gone) = self.gone() {
            return gone.caused_by(&cause);
        }
        from_lance(cause, || format!("cannot {doing} the table {} of {}", self.name, self.database))
            .with("store", &self.database)
            .with("table", &self.name)
    }

    /// The error for files that are gone because the table is, or this version of it.
    fn gone(&self) -> Option<Error> {
        let (name, database) = (&self.name, &self.database);
        let message = if self.is_dropped() {
            format!("the table {name} of {database} was dropped while it was being read")
        } else if self.is_pruned() {
            format!(
                "version {} of the table {name} of {database} was removed while it was being read, by a program that does \
                 not look who reads",
                self.version()
            )
        } else {
            return None;
        };
        let message = format!("{message}; read it again to see what is there now");
        Some(Error::new(Status::Conflict, message).with("store", database).with("table", name))
    }

    /// Whether the directory of the table has this version no more.
    fn is_pruned(&self) -> bool {
        let manifest = self.dataset.manifest_location().path.filename();
        let manifest = self.life.directory().zip(manifest);
        let manifest = manifest.map(|(directory, name)| directory.join(VERSIONS).join(name));
        manifest.is_some_and(|manifest| matches!(manifest.try_exists(), Ok(false)))
    }
}

/// The bytes of a value, if all values of the type have the same.
fn fixed_bytes(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(width) => u64::try_from(*width).ok(),
        DataType::FixedSizeList(item, length) => {
            Some(fixed_bytes(item.data_type())? * u64::try_from(*length).ok()?)
        }
        other => other.primitive_width().map(|width| width as u64),
    }
}
