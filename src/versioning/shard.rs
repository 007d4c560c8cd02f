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
/// 0x1F; or, for a null, the two bytes 0x00 and 0x1F. The text of a value is what Arrow displays; that of
/// `metaxy_increment_request_set_shard` says what this is for the types that others may rely on. So the
/// same ids in other types (views or large strings, dictionaries, integers of other widths), on other
/// machines or in other languages belong to the same share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// The share `index` of `count`.
    pub fn new(index: u32, count: u32) -> Result<Shard> {
        if index >= count {
            let counted = match count {
                0 => "there must be one at least".to_owned(),
                _ => format!("shards are counted from 0, so the last of {count} is {}", count - 1),
            };
            return Err(Error::invalid(format!("there is no shard {index} of {count}: {counted}"))
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
        match self {
            Values::Texts(texts) => match texts.value(row) {
                Some(value) => {
                    text.push(VALUE);
                    text.push_str(value);
                }
                None => text.push(NULL),
            },
            Values::Others(_, Some(nulls)) if nulls.is_null(row) => text.push(NULL),
            Values::Others(formatter, _) => write!(text, "{VALUE}{}", formatter.value(row))
                .map_err(|error| internal("an id could not be written as text").caused_by(&error))?,
        }
        text.push(END);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, Int32Array, Int64Array, LargeStringArray, StringArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampSecondArray, UInt8Array, UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    use super::*;

    fn kept(columns: &[ArrayRef], index: u32, count: u32) -> Vec<bool> {
        Shard::new(index, count).unwrap().keeps(columns).unwrap().values().iter().collect()
    }

    /// The share of each row.
    fn shares(columns: &[ArrayRef], count: u32) -> Vec<u32> {
        let kept: Vec<Vec<bool>> = (0..count).map(|index| kept(columns, index, count)).collect();
        let share_of = |row: usize| {
            let shares: Vec<u32> = (0..count).filter(|index| kept[*index as usize][row]).collect();
            assert_eq!(shares.len(), 1, "row {row}");
            shares[0]
        };
        (0..columns[0].len()).map(share_of).collect()
    }

    fn text(values: Vec<Option<&str>>) -> ArrayRef {
        Arc::new(LargeStringArray::from(values))
    }

    #[test]
    fn shares_are_those_that_polars_computes() {
        // nchash.xxhash64 of polars-hash 0.9.3, remainders by 3 and by 7.
        let one = [text(vec![Some("a"), None, Some("")])];
        assert_eq!((shares(&one, 3), shares(&one, 7)), (vec![1, 1, 1], vec![6, 1, 4]));
        let two = [text(vec![Some("\u{65e5}\u{672c}")]), Arc::new(Int64Array::from(vec![-42])) as ArrayRef];
        assert_eq!((shares(&two, 3), shares(&two, 7)), (vec![0], vec![4]));
        let two = [Arc::new(BooleanArray::from(vec![true])) as ArrayRef, text(vec![None])];
        assert_eq!((shares(&two, 3), shares(&two, 7)), (vec![0], vec![6]));
        let two = [text(vec![Some("a|b")]), text(vec![Some("x")])];
        assert_eq!((shares(&two, 3), shares(&two, 7)), (vec![1], vec![3]));
    }

    #[test]
    fn the_bytes_are_those_of_the_rule() {
        let columns: [ArrayRef; 4] = [
            Arc::new(UInt8Array::from(vec![Some(200), None])),
            Arc::new(Date32Array::from(vec![Some(19_723), None])),
            Arc::new(BooleanArray::from(vec![Some(false), None])),
            text(vec![Some("x"), None]),
        ];
        let bytes: [&[u8]; 2] =
            [b"\x01200\x1f\x012024-01-01\x1f\x01false\x1f\x01x\x1f", b"\x00\x1f\x00\x1f\x00\x1f\x00\x1f"];
        let count = 1_000_003;
        for (row, bytes) in bytes.into_iter().enumerate() {
            let index = (xxh64(bytes, 0) % u64::from(count)) as u32;
            assert!(kept(&columns, index, count)[row]);
            assert!(!kept(&columns, (index + 1) % count, count)[row]);
        }
    }

    #[test]
    fn hashes_of_every_promised_type_are_what_they_were() {
        let seconds = 1_704_112_200_i64;
        // Hashes by nchash.xxhash64 of polars-hash 0.9.3.
        let fixed: [(ArrayRef, &str, u64); 14] = [
            (text(vec![Some("\u{65e5}\u{672c}")]), "\u{65e5}\u{672c}", 8_219_622_076_717_041_046),
            (Arc::new(Int32Array::from(vec![-42])), "-42", 17_496_659_809_870_347_328),
            (Arc::new(Int64Array::from(vec![-42])), "-42", 17_496_659_809_870_347_328),
            (Arc::new(UInt64Array::from(vec![u64::MAX])), "18446744073709551615", 12_244_162_255_361_819_467),
            (Arc::new(BooleanArray::from(vec![true])), "true", 3_015_488_725_341_112_506),
            (Arc::new(Date32Array::from(vec![19_723])), "2024-01-01", 10_682_494_487_039_386_043),
            (
                Arc::new(TimestampSecondArray::from(vec![seconds])),
                "2024-01-01T12:30:00",
                2_417_997_709_031_629_178,
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![seconds * 1_000_000])),
                "2024-01-01T12:30:00",
                2_417_997_709_031_629_178,
            ),
            (
                Arc::new(TimestampMillisecondArray::from(vec![seconds * 1000 + 250])),
                "2024-01-01T12:30:00.250",
                15_040_331_785_639_802_640,
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![seconds * 1_000_000 + 250])),
                "2024-01-01T12:30:00.000250",
                13_972_403_386_252_566_427,
            ),
            (
                Arc::new(TimestampSecondArray::from(vec![seconds]).with_timezone("UTC")),
                "2024-01-01T12:30:00Z",
                10_873_662_537_095_656_268,
            ),
            (
                Arc::new(TimestampSecondArray::from(vec![seconds]).with_timezone("+02:00")),
                "2024-01-01T14:30:00+02:00",
                2_200_728_560_701_209_169,
            ),
            (
                Arc::new(Decimal128Array::from(vec![150]).with_precision_and_scale(9, 2).unwrap()),
                "1.50",
                14_231_605_735_165_383_555,
            ),
            (Arc::new(BinaryArray::from(vec![&[0_u8, 255][..]])), "00ff", 11_684_740_116_281_189_709),
        ];
        let share = |hash: u64| (hash % 1_000_003) as u32;
        for (column, shown, hash) in fixed {
            assert_eq!(xxh64(format!("\u{1}{shown}\u{1f}").as_bytes(), 0), hash, "{shown}");
            assert_eq!(
                kept(&[column.clone()], share(hash), 1_000_003),
                [true],
                "{shown} {}",
                column.data_type()
            );
        }
        let (null, two) = (12_214_799_826_253_943_773, 11_663_437_394_356_221_226);
        assert_eq!(kept(&[text(vec![None])], share(null), 1_000_003), [true]);
        let columns = [text(vec![Some("a")]), Arc::new(Int64Array::from(vec![7])) as ArrayRef];
        assert_eq!(kept(&columns, share(two), 1_000_003), [true]);
    }

    #[test]
    fn one_shard_is_everything() {
        assert_eq!(kept(&[text(vec![Some("a"), None])], 0, 1), [true, true]);
    }

    #[test]
    fn shards_are_of_about_equal_size() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        for index in 0..4 {
            let rows = kept(&[ids.clone()], index, 4).into_iter().filter(|kept| *kept).count();
            assert!((2300..2700).contains(&rows), "{rows}");
        }
    }

    #[test]
    fn the_last_shard_is_one_less_than_there_are() {
        let error = Shard::new(4, 4).unwrap_err();
        assert_eq!(
            error.message(),
            "there is no shard 4 of 4: shards are counted from 0, so the last of 4 is 3"
        );
    }

    proptest! {
        #[test]
        fn types_make_no_difference(
            texts in prop::collection::vec(prop::option::of("[a\u{65e5}\u{0}\u{1f}]{0,3}"), 1..30),
            count in 1_u32..9,
        ) {
            let plain: StringArray = texts.iter().map(|value| value.as_deref()).collect();
            let numbers: Int32Array =
                texts.iter().map(|value| value.as_ref().map(|value| value.len() as i32 - 4)).collect();
            let plain: [ArrayRef; 2] = [Arc::new(plain), Arc::new(numbers)];
            let expected = shares(&plain, count);
            let dictionary =
                |values| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
            for text in [DataType::LargeUtf8, DataType::Utf8View, dictionary(DataType::Utf8)] {
                for number in [DataType::Int64, DataType::Int8, dictionary(DataType::Int64)] {
                    let columns = [cast(&plain[0], &text).unwrap(), cast(&plain[1], &number).unwrap()];
                    prop_assert_eq!(shares(&columns, count), expected.clone(), "{} {}", text, number);
                }
            }
        }
    }
}
