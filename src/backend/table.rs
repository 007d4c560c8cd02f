//! One version of one table.

use arrow::datatypes::SchemaRef;

use super::scan::Scan;
use super::work::Statistics;
use super::{native, remote};
use crate::error::Result;

/// A table as it was when it was opened; later writes do not show.
#[derive(Clone)]
pub enum Table {
    Native(native::Table),
    Remote(remote::Table),
}

impl Table {
    pub fn name(&self) -> &str {
        match self {
            Table::Native(table) => table.name(),
            Table::Remote(table) => table.name(),
        }
    }

    /// What tells the life that the table is in from those of others of its name.
    pub fn identity(&self) -> (u64, u64, u128) {
        match self {
            Table::Native(table) => table.identity(),
            Table::Remote(table) => table.identity(),
        }
    }

    /// The version of the table, as Lance counts them: each commit makes the next.
    pub fn version(&self) -> u64 {
        match self {
            Table::Native(table) => table.version(),
            Table::Remote(table) => table.version(),
        }
    }

    /// The columns, with the metadata of the table.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Table::Native(table) => table.schema(),
            Table::Remote(table) => table.schema(),
        }
    }

    /// The number of rows.
    pub async fn rows(&self) -> Result<usize> {
        match self {
            Table::Native(table) => table.rows().await,
            Table::Remote(table) => table.rows().await,
        }
    }

    /// What these columns of a row take, about; at least 1, which is what is known of a server's.
    pub fn row_bytes(&self, columns: &[String]) -> u64 {
        match self {
            Table::Native(table) => table.row_bytes(columns),
            Table::Remote(_) => 1,
        }
    }

    /// What the table is made of; no row is read.
    pub async fn statistics(&self) -> Result<Statistics> {
        match self {
            Table::Native(table) => table.statistics().await,
            Table::Remote(table) => table.statistics().await,
        }
    }

    /// Reads `columns`, which must be top-level columns of the table.
    pub fn scan(&self, columns: Vec<String>) -> Scan {
        Scan::new(self.clone(), columns)
    }
}
