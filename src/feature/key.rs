//! Names of features and fields: `/`-separated parts, and the table and column names made of them.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, Result};

/// The first part of every system table's key.
pub const SYSTEM_NAMESPACE: &str = "metaxy-system";

/// The beginning of every system table's name.
pub const SYSTEM_TABLE_PREFIX: &str = "metaxy_system__";

/// What a [`Key`] names, so that the key of a feature is never taken for the key of a field.
pub trait KeyKind {
    /// How error messages call a key of this kind.
    const NOUN: &'static str;
}

/// Marks keys of features.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {}

/// Marks keys of fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {}

impl KeyKind for Feature {
    const NOUN: &'static str = "feature key";
}

impl KeyKind for Field {
    const NOUN: &'static str = "field key";
}

/// The name of a feature, such as `example/video`.
pub type FeatureKey = Key<Feature>;

/// The name of a field within a feature, such as `audio/french`.
pub type FieldKey = Key<Field>;

/// One or more valid parts, held as they are written: joined with `/`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key<K> {
    text: String,
    kind: PhantomData<K>,
}

impl<K: KeyKind> Key<K> {
    /// Reads the `/`-joined form; nothing is trimmed.
    pub fn parse(text: &str) -> Result<Self> {
        for (index, part) in text.split('/').enumerate() {
            check_part(index, part).map_err(|rule| Self::rejected(text, &rule))?;
        }
        Ok(Key { text: text.to_owned(), kind: PhantomData })
    }

    /// Joins parts, none of which may contain a `/`.
    pub fn from_parts<S: AsRef<str>>(parts: &[S]) -> Result<Self> {
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        let text = parts.join("/");
        if parts.is_empty() {
            return Err(Self::rejected(&text, "it has no parts, and needs at least one"));
        }
        if let Some(index) = parts.iter().position(|part| part.contains('/')) {
            let rule =
                format!("part {} ({:?}) contains `/`; give each part on its own", index + 1, parts[index]);
            return Err(Self::rejected(&text, &rule));
        }
        Self::parse(&text)
    }

    /// Reads any JSON form of a key: `"a/b"`, `["a", "b"]`, `{"parts": ["a", "b"]}` or
    /// `{"root": ["a", "b"]}`.
    pub fn from_value(value: &Value) -> Result<Self> {
        let parts = match value {
            Value::String(text) => return Self::parse(text),
            Value::Object(members) if members.len() == 1 => {
                members.get("parts").or_else(|| members.get("root"))
            }
            other => Some(other),
        };
        let strings: Option<Vec<&str>> =
            parts.and_then(Value::as_array).and_then(|parts| parts.iter().map(Value::as_str).collect());
        match strings {
            Some(strings) => Self::from_parts(&strings),
            None => Err(Self::rejected(
                &value.to_string(),
                "it must be a string such as \"a/b\" or a list of parts",
            )),
        }
    }

    /// The `/`-joined form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parts in order; there is at least one.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.text.split('/')
    }

    /// The name of this key's member in the structs that hold one value per field.
    pub fn struct_key(&self) -> String {
        self.text.replace('/', "_")
    }

    /// What is appended to a system column's name while columns of several features stand side by side.
    pub fn column_suffix(&self) -> String {
        format!("__{}", self.struct_key())
    }

    fn rejected(text: &str, rule: &str) -> Error {
        Error::invalid(format!("the {} {text:?} is not valid: {rule}", K::NOUN)).with("key", text)
    }
}

impl FeatureKey {
    /// The name of the Lance table that holds this feature.
    pub fn table_name(&self) -> String {
        self.text.replace('-', "_").replace('/', "__")
    }

    /// Whether this names one of the store's own tables rather than a feature of the user.
    pub fn is_system(&self) -> bool {
        self.parts().next() == Some(SYSTEM_NAMESPACE)
    }
}

fn check_part(index: usize, part: &str) -> std::result::Result<(), String> {
    let number = index + 1;
    let Some(first) = part.chars().next() else {
        return Err(format!("part {number} is empty; every part needs at least one character"));
    };
    let may_follow = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    if let Some(wrong) = part.chars().find(|c| !may_follow(*c)) {
        return Err(format!(
            "part {number} ({part:?}) contains {wrong:?}; only a-z, 0-9, `_` and `-` are allowed"
        ));
    }
    if first == '-' {
        return Err(format!("part {number} ({part:?}) must not start with `-`"));
    }
    if index == 0 && first.is_ascii_digit() {
        return Err(format!("part 1 ({part:?}) must start with a letter or `_`"));
    }
    if part.contains("__") {
        return Err(format!(
            "part {number} ({part:?}) contains two underscores in a row, which would read as the border between two parts"
        ));
    }
    Ok(())
}

/// Orders by parts, so that `a/b` stands before `a-b`; the joined strings would order otherwise.
impl<K: KeyKind + Eq> Ord for Key<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl<K: KeyKind + Eq> PartialOrd for Key<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> fmt::Display for Key<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> fmt::Debug for Key<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl<K: KeyKind> FromStr for Key<K> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl<K> Serialize for Key<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, K: KeyKind> Deserialize<'de> for Key<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use proptest::prelude::*;

    fn golden() -> Value {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/keys.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn strings_are_read_as_metaxy_reads_them() {
        for case in golden()["strings"].as_array().unwrap() {
            let input = case["input"].as_str().unwrap();
            let key = FeatureKey::parse(input);
            // Metaxy lets one trailing newline through its pattern; no table should be named so.
            if case["ok"] == false || input == "a\n" {
                let error = key.unwrap_err();
                assert_eq!(error.status(), Status::InvalidArgument, "{input:?}");
                assert_eq!(error.detail("key"), Some(input));
                continue;
            }
            let key = key.unwrap();
            assert_eq!(serde_json::to_value(key.parts().collect::<Vec<_>>()).unwrap(), case["parts"]);
            assert_eq!(key.to_string(), case["string"]);
            assert_eq!(key.table_name(), case["table_name"]);
            assert_eq!(key.struct_key(), case["struct_key"]);
            assert_eq!(key.column_suffix(), case["column_suffix"]);
            assert_eq!(FieldKey::parse(input).unwrap().struct_key(), case["struct_key"]);
        }
    }

    #[test]
    fn sequences_are_read_as_metaxy_reads_them() {
        for case in golden()["sequences"].as_array().unwrap() {
            let key = serde_json::from_value::<FeatureKey>(case["input"].clone());
            // Metaxy makes a key without parts out of an empty sequence; it could name nothing.
            if case["ok"] == false || case["input"] == serde_json::json!([]) {
                assert!(key.is_err(), "{case}");
            } else {
                assert_eq!(key.unwrap().table_name(), case["table_name"]);
            }
        }
    }

    #[test]
    fn features_are_ordered_by_parts() {
        let golden = golden();
        let expected: Vec<&str> = golden["feature_key_order_by_parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect();
        let mut keys: Vec<FeatureKey> = expected.iter().rev().map(|text| text.parse().unwrap()).collect();
        keys.sort();
        assert_eq!(keys.iter().map(Key::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_json_form_names_the_same_key() {
        let expected = FeatureKey::parse("a/b").unwrap();
        for form in [r#""a/b""#, r#"["a","b"]"#, r#"{"parts":["a","b"]}"#, r#"{"root":["a","b"]}"#] {
            assert_eq!(serde_json::from_str::<FeatureKey>(form).unwrap(), expected, "{form}");
        }
        for form in ["1", "null", "[1]", "{}", r#"{"parts":"a"}"#, r#"{"parts":["a"],"x":1}"#, r#"["a/b"]"#] {
            assert!(serde_json::from_str::<FeatureKey>(form).is_err(), "{form}");
        }
        assert_eq!(serde_json::to_string(&expected).unwrap(), r#""a/b""#);
    }

    #[test]
    fn only_the_exact_first_part_is_a_system_key() {
        assert!(FeatureKey::parse("metaxy-system/feature_versions").unwrap().is_system());
        assert!(!FeatureKey::parse("metaxy_system/feature_versions").unwrap().is_system());
        assert!(!FeatureKey::parse("metaxy-systems/a").unwrap().is_system());
        assert!(!FeatureKey::parse("a/metaxy-system").unwrap().is_system());
    }

    #[test]
    fn an_error_names_the_key_the_part_and_the_rule() {
        let error = FeatureKey::parse("video/Frames").unwrap_err();
        assert_eq!(
            error.message(),
            "the feature key \"video/Frames\" is not valid: part 2 (\"Frames\") contains 'F'; \
             only a-z, 0-9, `_` and `-` are allowed"
        );
    }

    proptest! {
        #[test]
        fn parts_and_text_are_the_same_key(parts in prop::collection::vec("[a-z][a-z0-9-]{0,6}", 1..5)) {
            let key = FeatureKey::from_parts(&parts).unwrap();
            prop_assert_eq!(key.parts().collect::<Vec<_>>(), parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(FeatureKey::parse(key.as_str()).unwrap(), key);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            if let Ok(key) = FieldKey::parse(&text) {
                prop_assert_eq!(key.as_str(), text);
            }
        }
    }
}
