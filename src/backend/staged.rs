//! Rows that are written but belong to no version of any table.

use super::native;

pub enum Staged {
    Native(native::Staged),
}
