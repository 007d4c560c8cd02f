//! Shards: one increment divided among workers that do not know of each other.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use xxhash_rust::xxh64::xxh64;

use super::provenance::{Texts, internal};
use crate::error::{Error, Result};

/// What a column's text begins with, by whether it has a value, and what it ends with.
const NULL: char = '\0';
const VALUE: char = '\x01';
const END: char = '\x1f';

/// One of `count` shares, counted from 0.
///
/// A sample belongs to the share `hash % count`, where `hash` is the XXH64 with seed 0 of the bytes of its
/// id columns. These are for each column in order: the byte 0x01, the value as UTF-8 text and the byte
/// 0x1F; or, for a null, the two bytes 0x00 and 0x1F. The text of a string is the string, that of an
/// integer its decimal digits after a minus sign if it is negative, that of a boolean `true` or `false`,
/// and that of any other value what Arrow displays. So the same ids in other types (views or large
/// strings, dictionaries, integers of other widths), on other machines or in other languages belong to
/// the same share.
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

    /// Which rows belong to this share, by their id columns.
    pub fn keeps(&self, columns: &[ArrayRef]) -> Result<BooleanArray> {
        let Some(rows) = columns.first().map(|column| column.len()) else {
            return Err(internal("samples without id columns cannot be divided into shards"));
        };
        let columns: Vec<Values<'_>> = columns.iter().map(Values::of).collect::<Result<_>>()?;
        let mut text = String::new();
        let mut keeps = Vec::with_capacity(rows);
        for row in 0..rows {
            text.clear();
            for column in &columns {
                column.append(row, &mut text)?;
            }
            keeps.push(xxh64(text.as_bytes(), 0) % u64::from(self.count) == u64::from(self.index));
        }
        Ok(keeps.into())
    }
}

/// A column, value by value as text.
enum Values<'a> {
    Texts(Texts),
    Others(ArrayFormatter<'a>, Option<NullBuffer>),
}

impl<'a> Values<'a> {
    fn of(column: &'a ArrayRef) -> Result<Values<'a>> {
        if let Some(texts) = Texts::try_new(column) {
            return Ok(Values::Texts(texts));
        }
        let options = FormatOptions::default().with_display_error(false);
        let formatter = ArrayFormatter::try_new(column, &options).map_err(|error| {
            Error::invalid(format!(
                "samples cannot be divided into shards by an id column of {}: resolve them in one piece",
                column.data_type()
            ))
            .with("argument", "shard")
            .caused_by(&error)
        })?;
        Ok(Values::Others(formatter, column.logical_nulls()))
    }

    fn append(&self, row: usize, text: &mut String) -> Result<()> {
        let written = match self {
            Values::Texts(texts) => match texts.value(row) {
                Some(value) => write!(text, "{VALUE}{value}"),
                None => text.write_char(NULL),
            },
            Values::Others(_, Some(nulls)) if nulls.is_null(row) => text.write_char(NULL),
            Values::Others(formatter, _) => write!(text, "{VALUE}{}", formatter.value(row)),
        };
        text.push(END);
        written.map_err(|error| internal("an id could not be written as text").caused_by(&error))
    }
}
