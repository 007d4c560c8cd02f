//! What is asked of tables, and what became of it, wherever they live.

use std::time::Duration;

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its directory is made if it is missing.
    Write,
    /// A missing directory is an error.
    Read,
    /// A missing directory is one without tables, as long as it is missing.
    ReadOnceThere,
}

/// What became of rows that were to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// They are gone since this version; with no rows to remove, the version is the one that was
    /// looked at.
    Done { version: u64 },
    /// Another writer moved or removed some of the rows first, or dropped the table. None of the others
    /// was removed, or, from a server's table, maybe some. Look for them in the newest version, and try again.
    Overtaken,
}

/// Which of a table's fragments a compaction is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that are small or have deleted rows.
    Everything,
    /// The small ones at the end, if there are so many, and of these the last that are not too much
    /// to rewrite; one try.
    Tail { at_least: usize },
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub fragments_before: usize,
    pub fragments_after: usize,
    /// Deleted rows whose space was given back.
    pub rows_removed: u64,
    pub version: u64,
}

/// Which versions stay whatever happens.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Those that were superseded less long ago.
    pub age: Duration,
    /// The last so many; the newest in any case.
    pub versions: usize,
}

/// What pruning did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    pub versions_removed: u64,
    pub bytes_removed: u64,
    /// The newest version, which is never removed.
    pub version: u64,
}

/// The make-up of one version of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub version: u64,
    /// When it was committed, in microseconds since 1970 in UTC.
    pub committed_at: Option<i64>,
    /// Rows that are not physically deleted.
    pub rows: u64,
    /// Unknown where a server does not tell.
    pub fragments: Option<u64>,
    /// The size of its data files; unknown if one of them lies where another table keeps it.
    pub bytes: Option<u64>,
}
