//! Settings as a tree, each of which knows where it was written.
//!
//! Nothing here shows a value: it may be a credential. A refusal names the file and line or the
//! variable, and the TOML path.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::expand::{Unset, expand};
use crate::error::{Error, Result, Status};
use crate::feature::did_you_mean;

pub type Table = BTreeMap<String, Node>;

#[derive(Clone)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Clone)]
pub enum Value {
    Text(String),
    /// As text: nobody computes with it.
    Number(String),
    Boolean(bool),
    Time,
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "text",
            Value::Number(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Time => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    File { file: Arc<Path>, line: usize },
    Variable(Arc<str>),
    Environment,
}

impl Origin {
    pub fn start_of(file: &Path) -> Origin {
        Origin::File { file: file.into(), line: 1 }
    }

    pub fn file(&self) -> Option<&Path> {
        match self {
            Origin::File { file, .. } => Some(file),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line } => write!(f, "{}, line {line}", file.display()),
            Origin::Variable(name) => write!(f, "the environment variable {name}"),
            Origin::Environment => f.write_str("the environment"),
        }
    }
}

/// The table that a TOML text is. What the parser says of the text is kept, the text itself is not.
pub fn parse(text: &str, file: &Path) -> Result<Table> {
    let lines: Vec<usize> = text.match_indices('\n').map(|(end, _)| end + 1).collect();
    let line_of = |offset: usize| lines.partition_point(|start| *start <= offset) + 1;
    let document = DeTable::parse(text).map_err(|cause| {
        let line = cause.span().map_or(1, |span| line_of(span.start));
        let problem = cause.message().replace('\n', ", ");
        Error::invalid(format!("{}, line {line}: this is not valid TOML: {problem}", file.display()))
            .with("file", file.display())
    })?;
    let file: Arc<Path> = file.into();
    Ok(table(document.into_inner(), &|offset| Origin::File { file: file.clone(), line: line_of(offset) }))
}

fn table(table: DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Table {
    let member = |(name, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        // Where the name stands: for the table that a header begins, that is the header.
        let start = name.span().start;
        let name: std::borrow::Cow<'_, str> = name.into_inner();
        (name.into_owned(), Node { origin: origin(start), ..node(value, origin) })
    };
    table.into_iter().map(member).collect()
}

fn node(value: Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> Node {
    let start = value.span().start;
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Number(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Value::Number(
            number
                .as_str()
                .parse::<f64>()
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        ),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(_) => Value::Time,
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node(item, origin)).collect()),
        DeValue::Table(members) => Value::Table(table(members, origin)),
    };
    Node { value, origin: origin(start) }
}

/// A file's settings over those of the one that it extends: tables are merged one level deep, lists
/// appended, all else replaced.
pub fn extended(mut below: Table, above: Table) -> Table {
    for (name, mut node) in above {
        if let Some(old) = below.remove(&name) {
            match (old.value, &mut node.value) {
                (Value::Table(mut old), Value::Table(new)) => {
                    old.append(new);
                    *new = old;
                }
                (Value::List(mut old), Value::List(new)) => {
                    old.append(new);
                    *new = old;
                }
                _ => {}
            }
        }
        below.insert(name, node);
    }
    below
}

/// Puts settings over others: tables are merged all the way down, all else is replaced.
pub fn put_over(below: &mut Table, above: Table) {
    for (name, node) in above {
        match (below.get_mut(&name).map(|old| &mut old.value), node.value) {
            (Some(Value::Table(old)), Value::Table(new)) => put_over(old, new),
            (_, value) => {
                below.insert(name, Node { value, origin: node.origin });
            }
        }
    }
}

/// A setting and the way to it.
#[derive(Clone)]
pub struct Place<'a> {
    node: &'a Node,
    path: String,
    environment: &'a Environment,
}

impl<'a> Place<'a> {
    pub fn root(node: &'a Node, environment: &'a Environment) -> Place<'a> {
        Place { node, path: String::new(), environment }
    }

    pub fn origin(&self) -> &'a Origin {
        &self.node.origin
    }

    /// The member `name`, if this is a table and has one.
    pub fn member(&self, name: &str) -> Option<Place<'a>> {
        match &self.node.value {
            Value::Table(members) => members.get_key_value(name).map(|(name, node)| self.at(name, node)),
            _ => None,
        }
    }

    pub fn members(&self) -> Result<Vec<(&'a str, Place<'a>)>> {
        match &self.node.value {
            Value::Table(members) => {
                Ok(members.iter().map(|(name, node)| (name.as_str(), self.at(name, node))).collect())
            }
            _ => Err(self.expected("a table")),
        }
    }

    fn at(&self, name: &str, node: &'a Node) -> Place<'a> {
        let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let name = if is_bare { name.to_owned() } else { format!("{name:?}") };
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        Place { node, path, environment: self.environment }
    }

    /// Refuses members that are none of `known`; `advice` ends the sentence.
    pub fn check_names(&self, known: &[&str], advice: &str) -> Result<()> {
        for (name, place) in self.members()? {
            if !known.contains(&name) {
                let hint = did_you_mean(name, known.iter().copied());
                return Err(
                    place.refuse(format!("is not known; there are: {}{hint}{advice}", known.join(", ")))
                );
            }
        }
        Ok(())
    }

    /// The text, its variables expanded if it is from a file.
    pub fn text(&self) -> Result<String> {
        let Value::Text(text) = &self.node.value else { return Err(self.expected("text")) };
        if self.origin().file().is_none() {
            return Ok(text.clone());
        }
        expand(text, self.environment).map_err(|Unset(variable)| {
            self.refuse(format!(
                "needs the environment variable {variable}, which is not set; set it, or give a default by \
                 ${{{variable}:-...}}"
            ))
            .with("variable", variable)
        })
    }

    /// Text, or what is as good as text.
    pub fn scalar(&self) -> Result<String> {
        match &self.node.value {
            Value::Number(number) => Ok(number.clone()),
            Value::Boolean(boolean) => Ok(boolean.to_string()),
            _ => self.text(),
        }
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        let Value::List(items) = &self.node.value else { return Err(self.expected("a list of texts")) };
        let item = |(index, node)| {
            let path = format!("{}[{index}]", self.path);
            Place { node, path, environment: self.environment }.text()
        };
        items.iter().enumerate().map(item).collect()
    }

    fn expected(&self, what: &str) -> Error {
        self.refuse(format!("must be {what}, not {}", self.node.value.kind()))
    }

    /// The error that this setting is wrong: `problem` goes on after its name.
    pub fn refuse(&self, problem: impl fmt::Display) -> Error {
        self.refuse_as(Status::InvalidArgument, problem)
    }

    pub fn refuse_as(&self, status: Status, problem: impl fmt::Display) -> Error {
        let error = Error::new(status, format!("{}: {} {problem}", self.origin(), self.path));
        let error = error.with("path", &self.path);
        match self.origin() {
            Origin::File { file, .. } => error.with("file", file.display()),
            Origin::Variable(name) => error.with("variable", name),
            Origin::Environment => error,
        }
    }
}
