//! Shards: one increment divided among workers that do not know of each other.

use crate::error::{Error, Result};

/// One of `count` shares, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// The share `index` of `count`.
    pub fn new(index: u32, count: u32) -> Result<Shard> {
        if index >= count {
            return Err(Error::invalid(format!(
                "there is no shard {index} of {count}: shards are counted from 0, so the last of {count} is {}",
                i64::from(count) - 1
            ))
            .with("argument", "shard"));
        }
        Ok(Shard { index, count })
    }
}
