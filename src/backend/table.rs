//! One version of one table.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use lance::Dataset;

use super::failure::from_lance;
use super::scan::Scan;
use crate::error::{Error, Result};

/// A table as it was when it was opened; later writes do not show.
#[derive(Clone)]
pub struct Table {
    pub(super) dataset: Arc<Dataset>,
    name: Arc<str>,
    database: Arc<str>,
}

impl Table {
    pub(super) fn new(dataset: Arc<Dataset>, name: &str, database: &str) -> Table {
        Table { dataset, name: name.into(), database: database.into() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns, with the metadata of the table.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::from(self.dataset.schema()))
    }

    /// The number of rows, from the table's statistics.
    pub async fn rows(&self) -> Result<usize> {
        self.dataset.count_rows(None).await.map_err(|cause| self.failed("count the rows of", cause))
    }

    /// Reads `columns`, which must be top-level columns of the table.
    pub fn scan(&self, columns: Vec<String>) -> Scan {
        Scan::new(self.clone(), columns)
    }

    pub(super) fn failed(&self, doing: &str, cause: lance::Error) -> Error {
        from_lance(cause, || format!("cannot {doing} the table {} of {}", self.name, self.database))
            .with("store", &self.database)
            .with("table", &self.name)
    }
}
