//! Rows that are written but belong to no version of any table.

use super::{native, remote};

pub enum Staged {
    Native(native::Staged),
    /// In a file of this machine, for a server.
    Remote(remote::Staged),
}
