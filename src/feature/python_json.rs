//! JSON text exactly as Python's `json.dumps` writes it: sorted where it is hashed, else as it is.

use std::fmt::Write;

use serde_json::{Number, Value};

/// Writes `value` with sorted members, `", "` and `": "` between tokens, and ASCII only.
pub fn to_string_sorted(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, Members::Sorted);
    text
}

/// As [`to_string_sorted`], with the members in the order in which they were given.
pub fn to_string(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, Members::Given);
    text
}

/// The order of an object's members.
#[derive(Clone, Copy, PartialEq)]
enum Members {
    Sorted,
    Given,
}

fn write_value(text: &mut String, value: &Value, order: Members) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(text, number),
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(text, index);
                write_value(text, item, order);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if order == Members::Sorted {
                // Python compares strings by code point, which is also the order of their UTF-8 bytes.
                members.sort_by_key(|(name, _)| *name);
            }
            text.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                separate(text, index);
                write_string(text, name);
                text.push_str(": ");
                write_value(text, member, order);
            }
            text.push('}');
        }
    }
}

fn separate(text: &mut String, index: usize) {
    if index > 0 {
        text.push_str(", ");
    }
}

fn write_number(text: &mut String, number: &Number) {
    match number.as_f64() {
        Some(float) if number.is_f64() => text.push_str(&float_repr(float)),
        _ => text.push_str(&number.to_string()),
    }
}

/// A float as Python's `repr` writes it: the shortest digits that read back to the same value, with
/// an exponent only below 1e-4 and from 1e16 on.
fn float_repr(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => {
            let plain = float.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
    }
}

fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    // Every expected literal below is the output of Python 3.11's json.dumps(..., sort_keys=True).

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (float, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (0.3, "0.3"),
            (1e15, "1000000000000000.0"),
            (5e15, "5000000000000000.0"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1.5e-5, "1.5e-05"),
            (1e-4, "0.0001"),
            (0.00012345, "0.00012345"),
            (2e-7, "2e-07"),
            (-2.5e-10, "-2.5e-10"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9007199254740992.0, "9007199254740992.0"),
            (123456789.12345679, "123456789.12345679"),
            (1234567.875, "1234567.875"),
        ] {
            assert_eq!(to_string_sorted(&json!(float)), expected);
        }
    }

    #[test]
    fn integers_keep_all_their_digits() {
        assert_eq!(
            to_string_sorted(&json!([u64::MAX, i64::MIN, 0])),
            "[18446744073709551615, -9223372036854775808, 0]"
        );
    }

    #[test]
    fn members_are_sorted_by_code_point_and_text_is_ascii() {
        let value = json!({
            "b": 1, "a": [1.0, null, true, false],
            "é": "é\u{1F600}\u{7f}\u{1}\n\r\t\u{8}\u{c}\"\\/",
            "\u{ffff}": 1, "\u{1F600}": 2, "Z": {}, "": [],
        });
        assert_eq!(
            to_string_sorted(&value),
            r#"{"": [], "Z": {}, "a": [1.0, null, true, false], "b": 1, "\u00e9": "\u00e9\ud83d\ude00\u007f\u0001\n\r\t\b\f\"\\/", "\uffff": 1, "\ud83d\ude00": 2}"#
        );
    }

    #[test]
    fn members_stay_as_they_were_given_unless_they_are_sorted() {
        let value: Value = serde_json::from_str(r#"{"b": {"d": 1, "c": []}, "a": "é"}"#).unwrap();
        assert_eq!(to_string(&value), r#"{"b": {"d": 1, "c": []}, "a": "\u00e9"}"#);
        assert_eq!(to_string_sorted(&value), r#"{"a": "\u00e9", "b": {"c": [], "d": 1}}"#);
    }

    proptest! {
        #[test]
        fn strings_read_back_unchanged(string in ".*") {
            let text = to_string_sorted(&json!(string));
            prop_assert!(text.is_ascii());
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), string);
        }

        #[test]
        fn floats_read_back_unchanged(float in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
            let read: f64 = float_repr(float).parse().unwrap();
            prop_assert_eq!(read.to_bits(), float.to_bits());
        }
    }
}
