//! `METAXY_*`: environment variables that go over the file.
//!
//! As in Metaxy, the letters' case does not matter and `__` goes one table down, so that
//! `METAXY_STORES__DEV__CONFIG__URI` is `stores.dev.config.uri`; a name with capital letters cannot
//! be reached in this way. A table may be given as a JSON object. What else begins with `METAXY_`
//! belongs to somebody else.

use serde_json::Value as Json;

use super::Environment;
use super::tree::{Node, Origin, Table, Value, put_over};
use crate::error::{Error, Result};

const PREFIX: &str = "metaxy_";
const TEXTS: [&str; 3] = ["store", "project", "hash_truncation_length"];
const STORES: &str = "stores";
const CONFIG: &str = "config";

pub fn read(environment: &Environment) -> Result<Table> {
    let mut found = Vec::new();
    for (variable, text) in environment.variables() {
        let lower = variable.to_lowercase();
        let Some(name) = lower.strip_prefix(PREFIX) else { continue };
        let path: Vec<&str> = name.split("__").collect();
        let is_setting = TEXTS.contains(&name) || path.first() == Some(&STORES);
        if is_setting {
            let path: Vec<String> = path.into_iter().map(str::to_owned).collect();
            found.push((path, variable, text));
        }
    }
    // What is deeper is more exact, and goes over an object further up.
    found.sort_by_key(|(path, ..)| path.len());
    let mut table = Table::new();
    for (path, variable, text) in found {
        let origin = Origin::Variable(variable.into());
        let mut node = Node { value: value(&path, variable, text)?, origin: origin.clone() };
        let mut names = path.into_iter().rev();
        let Some(mut name) = names.next() else { continue };
        for above in names {
            let members = Table::from([(std::mem::replace(&mut name, above), node)]);
            node = Node { value: Value::Table(members), origin: origin.clone() };
        }
        put_over(&mut table, Table::from([(name, node)]));
    }
    Ok(table)
}

/// What `text` means at `path`. Metaxy reads numbers below `config.x` (and so spoils a key such as
/// `12e3`), but no list as `config.x` itself; here numbers stay as they are, and lists are lists.
fn value(path: &[String], variable: &str, text: &str) -> Result<Value> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let json = serde_json::from_str::<Json>(text).ok();
    let parsed = match (names.as_slice(), json) {
        ([STORES] | [STORES, _] | [STORES, _, CONFIG], json) => {
            let object = json.filter(Json::is_object).ok_or_else(|| {
                let path = names.join(".");
                Error::invalid(format!(
                    "the environment variable {variable}: {path} must be a JSON object; {variable}__... sets what is in it"
                ))
                .with("variable", variable)
                .with("path", path)
            })?;
            Some(object)
        }
        ([STORES, _, CONFIG, ..], Some(json @ (Json::Object(_) | Json::Array(_)))) => Some(json),
        ([STORES, _, CONFIG, _, _, ..], Some(json @ Json::String(_))) => Some(json),
        _ => None,
    };
    let origin = Origin::Variable(variable.into());
    Ok(parsed.and_then(|json| tree(json, &origin)).unwrap_or_else(|| Value::Text(text.to_owned())))
}

/// What JSON says; null says nothing.
fn tree(json: Json, origin: &Origin) -> Option<Value> {
    let node = |json| Some(Node { value: tree(json, origin)?, origin: origin.clone() });
    Some(match json {
        Json::Null => return None,
        Json::String(text) => Value::Text(text),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::Bool(boolean) => Value::Boolean(boolean),
        Json::Array(items) => Value::List(items.into_iter().filter_map(node).collect()),
        Json::Object(members) => {
            Value::Table(members.into_iter().filter_map(|(name, json)| Some((name, node(json)?))).collect())
        }
    })
}
