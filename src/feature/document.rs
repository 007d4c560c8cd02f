//! Reading JSON documents strictly: every refusal says where in the document it stands.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::did_you_mean;
use super::key::{Key, KeyKind};
use crate::error::{Error, Result};

/// As deep as serde_json itself goes, which keeps every later walk over the value off the end of the stack.
const MAX_DEPTH: usize = 127;

/// Parses `text` into the value Python would hash, or refuses.
///
/// `serde_json` alone would turn an integer beyond 64 bits, and `-0`, into floats and keep the last
/// of two members with one name; the hashes of such documents would not be those of Python.
pub(super) fn parse(text: &str) -> Result<Value> {
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|cause| Error::invalid(format!("this is not valid JSON: {cause}")).with("path", "$"))?;
    parse_raw(raw, &Path::root(), 0)
}

fn parse_raw(raw: &RawValue, path: &Path, depth: usize) -> Result<Value> {
    if depth > MAX_DEPTH {
        return Err(path.refuse(format!("the document is nested more than {MAX_DEPTH} levels deep")));
    }
    let token = raw.get();
    match token.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = read_token(token, path)?;
            let mut members = Map::new();
            for (name, member) in entries {
                let path = path.member(&name);
                let member = parse_raw(member, &path, depth + 1)?;
                if members.insert(name, member).is_some() {
                    return Err(path.refuse("this member is there twice; keep one of them"));
                }
            }
            Ok(Value::Object(members))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = read_token(token, path)?;
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| parse_raw(item, &path.item(index), depth + 1)).collect()
        }
        Some(b'-' | b'0'..=b'9') => parse_number(token, path).map(Value::Number),
        _ => read_token(token, path),
    }
}

fn read_token<'t, T: Deserialize<'t>>(token: &'t str, path: &Path) -> Result<T> {
    serde_json::from_str(token).map_err(|cause| path.refuse(format!("this is not valid JSON: {cause}")))
}

fn parse_number(token: &str, path: &Path) -> Result<Number> {
    if token.contains(['.', 'e', 'E']) {
        return token.parse().ok().and_then(Number::from_f64).ok_or_else(|| {
            path.refuse(format!(
                "the number {token} is beyond the range of a 64-bit float; give it as a string"
            ))
        });
    }
    let signed = token.parse::<i64>().map(Number::from);
    signed.or_else(|_| token.parse::<u64>().map(Number::from)).map_err(|_| {
        path.refuse(format!(
            "the integer {token} needs more than 64 bits and could not be hashed as Metaxy hashes it; give it as a string"
        ))
    })
}

/// The members of an object as they are written, names that occur twice included.
struct Entries<'t>(Vec<(String, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Entries<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(Collect).map(Entries)
    }
}

/// A place in a document, written as in `$.deps[0].rename`.
#[derive(Clone)]
struct Path(String);

impl Path {
    fn root() -> Self {
        Path("$".to_owned())
    }

    fn member(&self, name: &str) -> Self {
        let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        Path(if is_plain { format!("{}.{name}", self.0) } else { format!("{}[{name:?}]", self.0) })
    }

    fn item(&self, index: usize) -> Self {
        Path(format!("{}[{index}]", self.0))
    }

    fn refuse(&self, problem: impl fmt::Display) -> Error {
        Error::invalid(format!("at `{}`: {problem}", self.0)).with("path", &self.0)
    }
}

/// A value together with its place, which it puts into every error.
#[derive(Clone)]
pub(super) struct Node<'v> {
    value: &'v Value,
    path: Path,
}

impl<'v> Node<'v> {
    pub fn root(value: &'v Value) -> Self {
        Node { value, path: Path::root() }
    }

    pub fn value(&self) -> &'v Value {
        self.value
    }

    /// An error at this place.
    pub fn refuse(&self, problem: impl fmt::Display) -> Error {
        self.path.refuse(problem)
    }

    /// The error for a value of the wrong kind.
    pub fn expected(&self, what: &str) -> Error {
        self.refuse(format!("expected {what}, found {}", describe(self.value)))
    }

    /// Nothing for `null`, which stands for "not given" wherever a value is optional.
    pub fn non_null(self) -> Option<Self> {
        (!self.value.is_null()).then_some(self)
    }

    pub fn string(&self) -> Result<&'v str> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    pub fn boolean(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub fn list(&self) -> Result<Vec<Node<'v>>> {
        let items = self.value.as_array().ok_or_else(|| self.expected("a list"))?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| Node { value, path: self.path.item(index) })
            .collect())
    }

    pub fn strings(&self) -> Result<Vec<String>> {
        self.list()?.iter().map(|item| item.string().map(str::to_owned)).collect()
    }

    pub fn object(&self) -> Result<&'v Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.expected("an object"))
    }

    /// The members of an object whose names are the writer's choice.
    pub fn entries(&self) -> Result<Vec<(&'v str, Node<'v>)>> {
        let members = self.object()?.iter();
        Ok(members
            .map(|(name, value)| (name.as_str(), Node { value, path: self.path.member(name) }))
            .collect())
    }

    /// The members of an object that may have these and no others.
    pub fn members(&self, known: &'static [&'static str]) -> Result<Members<'v>> {
        for (name, member) in self.entries()? {
            if !known.contains(&name) {
                let (known, hint) = (known.join(", "), did_you_mean(name, known.iter().copied()));
                return Err(member.refuse(format!("there is no member `{name}` here, only {known}{hint}")));
            }
        }
        Ok(Members { object: self.clone() })
    }

    pub fn key<K: KeyKind>(&self) -> Result<Key<K>> {
        Key::from_value(self.value).map_err(|error| self.key_refused(&error))
    }

    pub fn keys<K: KeyKind>(&self) -> Result<Vec<Key<K>>> {
        self.list()?.iter().map(Node::key).collect()
    }

    /// An error about a key, now with the place it was found at.
    pub fn key_refused(&self, error: &Error) -> Error {
        self.refuse(error.message()).with("key", error.detail("key").unwrap_or_default())
    }
}

/// An object all of whose members are known.
pub(super) struct Members<'v> {
    object: Node<'v>,
}

impl<'v> Members<'v> {
    pub fn get(&self, name: &str) -> Option<Node<'v>> {
        let value = self.object.value.get(name)?;
        Some(Node { value, path: self.object.path.member(name) })
    }

    /// The member unless it is absent or `null`.
    pub fn given(&self, name: &str) -> Option<Node<'v>> {
        self.get(name).and_then(Node::non_null)
    }

    pub fn required(&self, name: &str) -> Result<Node<'v>> {
        self.get(name).ok_or_else(|| self.object.refuse(format!("the member `{name}` is missing")))
    }
}

fn describe(value: &Value) -> String {
    const SHOWN: usize = 60;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(boolean) => boolean.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(string) if string.chars().count() > SHOWN => {
            format!("the string {:?}...", string.chars().take(SHOWN).collect::<String>())
        }
        Value::String(string) => format!("the string {string:?}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::python_json;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        let text = "[-0, -0.0, 18446744073709551615, -9223372036854775808, 1E5, 1e-7, 0.1e1, 3.0000000000000001, \
                    8.41e21, 9007199254740993, 2.2250738585072011e-308, 6631236846766476521e-10]";
        // The output of Python 3.11's json.dumps(json.loads(text)).
        let expected = "[0, -0.0, 18446744073709551615, -9223372036854775808, 100000.0, 1e-07, 1.0, 3.0, \
                        8.41e+21, 9007199254740993, 2.225073858507201e-308, 663123684.6766477]";
        assert_eq!(python_json::to_string_sorted(&parse(text).unwrap()), expected);
    }

    #[test]
    fn what_would_be_hashed_differently_is_refused_at_its_place() {
        for (text, path, word) in [
            (r#"{"metadata":{"n":[1,18446744073709551616]}}"#, "$.metadata.n[1]", "18446744073709551616"),
            (r#"{"metadata":{"a b":-9223372036854775809}}"#, r#"$.metadata["a b"]"#, "64 bits"),
            (r#"[1e400]"#, "$[0]", "1e400"),
            (r#"{"a":{"b":1,"b":2}}"#, "$.a.b", "twice"),
            (r#"{"a":"\ud800"}"#, "$.a", "not valid JSON"),
            (r#"{"a":}"#, "$", "line 1 column 6"),
            ("", "$", "not valid JSON"),
            ("{} {}", "$", "not valid JSON"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.detail("path"), Some(path), "{text}");
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn a_document_may_be_deep_but_not_bottomless() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(100)).is_ok());
        assert!(parse(&nested(200)).is_err());
        assert!(parse(&nested(100_000)).is_err());
    }

    #[test]
    fn an_unknown_member_is_named_with_its_neighbour() {
        let value = json!({"a": {"id_colums": []}});
        let members = Node::root(&value).members(&["a"]).unwrap();
        let error = members.required("a").unwrap().members(&["key", "id_columns"]).err().unwrap();
        assert_eq!(
            error.message(),
            "at `$.a.id_colums`: there is no member `id_colums` here, only key, id_columns; did you mean `id_columns`?"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in r#"[\[\]{}",:0-9eE.\-a\\ ]{0,40}"#) {
            let ours = parse(&text).is_ok();
            let theirs = serde_json::from_str::<Value>(&text).is_ok();
            prop_assert!(!ours || theirs);
        }
    }
}
