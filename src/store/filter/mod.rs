//! Filter strings: which rows a read keeps, written like the condition of an SQL `WHERE`.
//!
//! The language is the one Metaxy defines, and it is small: comparisons between columns and
//! literals, `IS [NOT] NULL`, `[NOT] IN (...)`, `AND`, `OR`, `NOT` and parentheses. It only looks
//! like SQL. `= NULL` asks for null, a null inside an `IN` list is no one's equal, a dot is part of
//! a column's name, and words such as `order` or `date` are names like any other.
//!
//! Parsing needs no schema. [`Filter::to_expr`] then gives every column its type and every literal
//! the type of the column it meets, so that the expression can be evaluated as it is, by DataFusion
//! here or by Lance while it scans.

mod parse;
mod typing;

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::create_physical_expr;
use sqlparser::tokenizer::Location;

use self::parse::Parser;
use self::typing::Typing;
use crate::error::{Error, Result, Status};

/// A parsed filter string.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    condition: Condition,
}

impl Filter {
    /// Reads a filter string; whether its columns exist and fit is asked later.
    pub fn parse(text: &str) -> Result<Self> {
        let condition = Parser::new(text)?.parse()?;
        Ok(Filter { text: text.to_owned(), condition })
    }

    /// The names of all columns the filter mentions.
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut columns = BTreeSet::new();
        self.condition.collect_columns(&mut columns);
        columns
    }

    /// The same filter over rows whose columns are called otherwise: `rename` gives the name of each there.
    #[must_use]
    pub fn renamed(mut self, rename: &dyn Fn(&str) -> String) -> Filter {
        self.condition.rename(rename);
        self
    }

    /// The filters that must all be met for this one to be met: the parts of an `AND`, which may be
    /// applied at different places.
    pub fn split(self) -> Vec<Filter> {
        let text = self.text;
        match self.condition {
            // A part without a column is no filter by itself.
            Condition::All(parts) if parts.iter().all(|part| part.has_column()) => parts
                .into_iter()
                .map(|condition| Filter { text: text.clone(), condition })
                .flat_map(Filter::split)
                .collect(),
            condition => vec![Filter { text, condition }],
        }
    }

    /// The filter as a DataFusion expression over rows of `schema`.
    pub fn to_expr(&self, schema: &Schema) -> Result<Expr> {
        if self.columns().is_empty() {
            return Err(reject(
                &self.text,
                START,
                "it mentions no column; a filter that keeps every row is no filter, so leave it out",
            ));
        }
        Typing { text: &self.text, schema }.condition(&self.condition)
    }

    /// Which rows of `batch` the filter keeps; never null.
    pub fn matches(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let expr = self.to_expr(batch.schema_ref())?;
        let evaluate = || -> std::result::Result<_, DataFusionError> {
            let schema = DFSchema::try_from(batch.schema())?;
            let expr = create_physical_expr(&expr, &schema, &ExecutionProps::new())?;
            expr.evaluate(batch)?.into_array(batch.num_rows())
        };
        let kept = evaluate().map_err(|error| {
            Error::new(Status::Internal, format!("the filter `{}` could not be evaluated", self.text))
                .with("filter", &self.text)
                .caused_by(&error)
        })?;
        match kept.as_boolean_opt() {
            Some(kept) if kept.null_count() > 0 => Ok(prep_null_mask_filter(kept)),
            Some(kept) => Ok(kept.clone()),
            None => {
                Err(Error::new(Status::Internal, format!("the filter `{}` gave no truth values", self.text)))
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare {
        left: Operand,
        operator: Operator,
        right: Operand,
    },
    In {
        column: String,
        at: Location,
        values: Vec<Operand>,
    },
    /// A value standing where a condition is expected; only true, false and null can.
    Bare(Operand),
}

impl Condition {
    fn rename(&mut self, rename: &dyn Fn(&str) -> String) {
        match self {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter_mut().for_each(|part| part.rename(rename));
            }
            Condition::Not(condition) => condition.rename(rename),
            Condition::Compare { left, right, .. } => {
                left.rename(rename);
                right.rename(rename);
            }
            Condition::In { column, .. } => *column = rename(column),
            Condition::Bare(operand) => operand.rename(rename),
        }
    }

    fn has_column(&self) -> bool {
        let mut columns = BTreeSet::new();
        self.collect_columns(&mut columns);
        !columns.is_empty()
    }

    fn collect_columns<'a>(&'a self, columns: &mut BTreeSet<&'a str>) {
        match self {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().for_each(|part| part.collect_columns(columns));
            }
            Condition::Not(condition) => condition.collect_columns(columns),
            Condition::Compare { left, right, .. } => {
                columns.extend(left.column().into_iter().chain(right.column()))
            }
            Condition::In { column, .. } => {
                columns.insert(column);
            }
            Condition::Bare(operand) => columns.extend(operand.column()),
        }
    }
}

#[derive(Clone, Debug)]
struct Operand {
    value: Value,
    at: Location,
}

impl Operand {
    fn rename(&mut self, rename: &dyn Fn(&str) -> String) {
        if let Value::Column(name) = &mut self.value {
            *name = rename(name);
        }
    }

    fn column(&self) -> Option<&str> {
        match &self.value {
            Value::Column(name) => Some(name),
            Value::Literal(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
enum Value {
    Column(String),
    Literal(Literal),
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("NULL"),
            Literal::Bool(value) => write!(f, "{}", if *value { "TRUE" } else { "FALSE" }),
            Literal::Int(value) => write!(f, "{value}"),
            Literal::Float(value) => write!(f, "{value}"),
            Literal::Text(value) => write!(f, "'{}'", value.replace('\'', "''")),
        }
    }
}

const START: Location = Location { line: 1, column: 1 };

fn reject(text: &str, at: Location, why: impl fmt::Display) -> Error {
    let position = format!("line {}, column {}", at.line.max(1), at.column.max(1));
    Error::invalid(format!("the filter `{text}` is not usable at {position}: {why}"))
        .with("filter", text)
        .with("position", position)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Float64Array, Int64Array, LargeStringArray, StringArray, StringViewArray, UInt8Array,
        UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    use super::*;

    pub(super) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    pub(super) fn kept(filter: &str, batch: &RecordBatch) -> Result<Vec<i64>> {
        let kept = Filter::parse(filter)?.matches(batch)?;
        assert_eq!(kept.null_count(), 0);
        Ok((0_i64..).zip(kept.values().iter()).filter_map(|(row, kept)| kept.then_some(row)).collect())
    }

    fn golden() -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/filters.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The rows of the golden set, as Metaxy stores them or with another string type.
    fn golden_rows(strings: &DataType) -> RecordBatch {
        let golden = golden();
        let rows = golden["data"].as_array().unwrap();
        let ints = |name: &str| {
            Arc::new(rows.iter().map(|row| row[name].as_i64()).collect::<Int64Array>()) as ArrayRef
        };
        let text: LargeStringArray = rows.iter().map(|row| row["s"].as_str()).collect();
        batch(vec![
            ("r", ints("r")),
            ("a", ints("a")),
            ("f", Arc::new(rows.iter().map(|row| row["f"].as_f64()).collect::<Float64Array>())),
            ("s", cast(&text, strings).unwrap()),
            ("b", Arc::new(rows.iter().map(|row| row["b"].as_bool()).collect::<BooleanArray>())),
            ("a.b", ints("a.b")),
            ("Camel", ints("Camel")),
        ])
    }

    #[test]
    fn filters_mean_what_they_mean_in_metaxy() {
        let golden = golden();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() > 70);
        for strings in [DataType::LargeUtf8, DataType::Utf8, DataType::Utf8View] {
            let batch = golden_rows(&strings);
            for case in cases {
                let text = case["filter"].as_str().unwrap();
                match (Filter::parse(text), case["stage"].as_str()) {
                    (Err(error), Some("parse")) => {
                        assert_eq!(error.status(), Status::InvalidArgument);
                        assert_eq!(error.detail("filter"), Some(text));
                        assert!(error.message().contains("at line 1, column "), "{error}");
                    }
                    (Ok(filter), Some("evaluate")) => {
                        let error = filter.to_expr(&batch.schema()).unwrap_err();
                        assert_eq!(error.status(), Status::InvalidArgument);
                        assert_eq!(error.detail("filter"), Some(text));
                    }
                    (Ok(_), None) => {
                        let rows: Vec<i64> = serde_json::from_value(case["rows"].clone()).unwrap();
                        assert_eq!(kept(text, &batch).unwrap(), rows, "{text}");
                    }
                    (parsed, stage) => panic!("{text}: {stage:?} expected, but {parsed:?}"),
                }
            }
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        let batch = golden_rows(&DataType::LargeUtf8);
        let message = |filter| kept(filter, &batch).unwrap_err().message().to_owned();
        for (filter, part) in [
            ("a = 1 AND\n  b + 1 = 2", "at line 2, column 5: `+` is not supported here; a filter compares"),
            ("a = ", "at line 1, column 4: it ends too early"),
            ("a = 'x", "at line 1, column 5: Unterminated string literal"),
            ("lower(s) = 'x'", "at line 1, column 1: functions such as `lower(...)` are not supported"),
            ("DATE '2020-01-01' = s", "typed literals such as `DATE '...'` are not supported"),
            ("`a` = 1", "at line 1, column 1: ``` is not supported here"),
            ("[a] = 1", "at line 1, column 1: `[` is not supported here"),
            ("a = 1L", "at line 1, column 5"),
            ("a = -b", "at line 1, column 5: a sign can only stand before a number"),
            ("b AND Camle = 1", "at line 1, column 7: there is no column `Camle`; did you mean `Camel`?"),
            (
                "camel = 1",
                "did you mean `Camel`? Upper and lower case matter; the columns are `r`, `a`, `f`,",
            ),
            ("a = 'x'", "at line 1, column 5: the column `a` of type Int64 cannot be compared with 'x'"),
            (
                "s = 1",
                "the column `s` of type LargeUtf8 cannot be compared with 1; strings are written in single",
            ),
            ("s IN ('x', 1)", "at line 1, column 12: the column `s`"),
            ("a = s", "the columns `a` of type Int64 and `s` of type LargeUtf8 cannot be compared"),
            ("a AND b", "at line 1, column 1: the column `a` is of type Int64 and not a truth value"),
            ("b AND 1", "at line 1, column 7: 1 is neither true nor false"),
            ("1 = 1", "it mentions no column"),
            ("(a = 1) = b", "at line 1, column 1: a condition cannot be compared"),
            ("a IN (1", "at line 1, column 8: it ends too early"),
        ] {
            assert!(message(filter).contains(part), "{filter}: {}", message(filter));
        }
    }

    #[test]
    fn an_in_list_finds_the_column_spelled_with_capitals() {
        let batch = batch(vec![
            ("id", Arc::new(Int64Array::from(vec![Some(5), Some(6), Some(7), Some(8)]))),
            ("ID", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(5)]))),
            ("NAME", Arc::new(StringArray::from(vec![Some("x"), Some("y"), Some("X"), None]))),
        ]);
        for (filter, rows) in [
            ("ID IN (1, 5)", &[0, 3][..]),
            ("\"ID\" NOT IN (1, 5)", &[1]),
            ("id IN (1, 5)", &[0]),
            ("NAME IN ('x', 'y') AND NOT ID IN (2)", &[0]),
        ] {
            assert_eq!(kept(filter, &batch).unwrap(), rows, "{filter}");
        }
        assert!(kept("Id IN (1)", &batch).unwrap_err().message().contains("there is no column `Id`"));
    }

    /// One value of a row, or a literal; truth values are 0 and 1.
    #[derive(Clone, Debug, PartialEq, PartialOrd)]
    enum Cell {
        Number(f64),
        Text(String),
    }

    #[derive(Clone, Debug)]
    enum Term {
        Column(usize),
        Literal(&'static str, Option<Cell>),
    }

    #[derive(Clone, Debug)]
    enum Tree {
        Compare(Term, &'static str, Term),
        In(usize, bool, Vec<Term>),
        Bare(Term),
        Not(Box<Tree>),
        And(Box<Tree>, Box<Tree>),
        Or(Box<Tree>, Box<Tree>),
    }

    const NUMBERS: [&str; 5] = ["a", "F", "u.n", "v", "b"];
    const TEXTS: [&str; 2] = ["s", "t"];
    const BOOL: usize = 4;

    fn name(column: usize) -> &'static str {
        NUMBERS.iter().chain(&TEXTS).nth(column).unwrap()
    }

    impl Term {
        fn value(&self, row: &[Option<Cell>]) -> Option<Cell> {
            match self {
                Term::Column(column) => row[*column].clone(),
                Term::Literal(_, value) => value.clone(),
            }
        }

        fn text(&self) -> &'static str {
            match self {
                Term::Column(column) => name(*column),
                Term::Literal(text, _) => text,
            }
        }

        fn is_null_literal(&self) -> bool {
            matches!(self, Term::Literal(_, None))
        }
    }

    impl Tree {
        /// What the rules say, row by row.
        fn holds(&self, row: &[Option<Cell>]) -> Option<bool> {
            match self {
                Tree::Compare(left, operator, right) => {
                    let equality = ["=", "==", "IS"].contains(operator);
                    let inequality = ["!=", "<>", "IS NOT"].contains(operator);
                    if equality || inequality {
                        let tested = match (left, right) {
                            (Term::Column(column), literal) | (literal, Term::Column(column))
                                if literal.is_null_literal() =>
                            {
                                Some(*column)
                            }
                            _ => None,
                        };
                        if let Some(column) = tested {
                            return Some(row[column].is_none() == equality);
                        }
                    }
                    let (left, right) = (left.value(row)?, right.value(row)?);
                    Some(match *operator {
                        "<" => left < right,
                        "<=" => left <= right,
                        ">" => left > right,
                        ">=" => left >= right,
                        _ => (left == right) == equality,
                    })
                }
                Tree::In(column, negated, values) => {
                    let value = row[*column].clone()?;
                    Some(values.iter().any(|term| term.value(row) == Some(value.clone())) != *negated)
                }
                Tree::Bare(term) => term.value(row).map(|value| value == Cell::Number(1.0)),
                Tree::Not(tree) => tree.holds(row).map(|holds| !holds),
                Tree::And(left, right) => match (left.holds(row), right.holds(row)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                },
                Tree::Or(left, right) => match (left.holds(row), right.holds(row)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                },
            }
        }

        /// The tree as text with no more parentheses than precedence asks for.
        fn text(&self) -> String {
            let at_least = |tree: &Tree, level: u8| {
                if tree.level() < level { format!("({})", tree.text()) } else { tree.text() }
            };
            match self {
                Tree::Compare(left, operator, right) => {
                    format!("{} {operator} {}", left.text(), right.text())
                }
                Tree::In(column, negated, values) => {
                    let values: Vec<&str> = values.iter().map(Term::text).collect();
                    format!(
                        "{}{} in ({})",
                        name(*column),
                        if *negated { " NOT" } else { "" },
                        values.join(", ")
                    )
                }
                Tree::Bare(term) => term.text().to_owned(),
                Tree::Not(tree) => format!("not {}", at_least(tree, 2)),
                Tree::And(left, right) => format!("{} AND {}", at_least(left, 1), at_least(right, 1)),
                Tree::Or(left, right) => format!("{} or {}", left.text(), right.text()),
            }
        }

        fn level(&self) -> u8 {
            match self {
                Tree::Or(..) => 0,
                Tree::And(..) => 1,
                Tree::Not(_) => 2,
                _ => 3,
            }
        }
    }

    const LITERALS: [(&str, f64); 10] = [
        ("0", 0.0),
        ("1", 1.0),
        ("- 2", -2.0),
        ("2.0", 2.0),
        (".5", 0.5),
        ("-1.5e0", -1.5),
        ("-0.0", 0.0),
        ("300", 300.0),
        ("TRUE", 1.0),
        ("false", 0.0),
    ];

    fn numeric_literal() -> impl Strategy<Value = Term> {
        prop_oneof![
            9 => prop::sample::select(&LITERALS[..])
                .prop_map(|(text, value)| Term::Literal(text, Some(Cell::Number(value)))),
            1 => Just(Term::Literal("NULL", None)),
        ]
    }

    fn text_literal() -> impl Strategy<Value = Term> {
        let text = |text, value: &str| Term::Literal(text, Some(Cell::Text(value.to_owned())));
        prop_oneof![
            Just(text("''", "")),
            Just(text("'x'", "x")),
            Just(text("'it''s'", "it's")),
            Just(text("'\u{65e5}'", "\u{65e5}")),
            Just(Term::Literal("null", None)),
        ]
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let operator =
            || prop::sample::select(&["=", "==", "!=", "<>", "<", "<=", ">", ">=", "IS", "IS NOT"][..]);
        let number = || prop_oneof![(0..NUMBERS.len()).prop_map(Term::Column), numeric_literal()];
        let texts = NUMBERS.len()..NUMBERS.len() + TEXTS.len();
        let text = || prop_oneof![texts.clone().prop_map(Term::Column), text_literal()];
        let leaf = prop_oneof![
            4 => (number(), operator(), number()).prop_map(|(left, operator, right)| Tree::Compare(left, operator, right)),
            2 => (text(), operator(), text()).prop_map(|(left, operator, right)| Tree::Compare(left, operator, right)),
            1 => (0..NUMBERS.len(), any::<bool>(), prop::collection::vec(numeric_literal(), 0..4))
                .prop_map(|(column, negated, values)| Tree::In(column, negated, values)),
            1 => (texts.clone(), any::<bool>(), prop::collection::vec(text_literal(), 0..4))
                .prop_map(|(column, negated, values)| Tree::In(column, negated, values)),
            1 => Just(Tree::Bare(Term::Column(BOOL))),
            1 => Just(Tree::Bare(Term::Literal("NULL", None))),
        ];
        leaf.prop_recursive(4, 16, 2, |tree| {
            prop_oneof![
                tree.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
                (tree.clone(), tree.clone())
                    .prop_map(|(left, right)| Tree::And(Box::new(left), Box::new(right))),
                (tree.clone(), tree).prop_map(|(left, right)| Tree::Or(Box::new(left), Box::new(right))),
            ]
        })
    }

    fn cells() -> impl Strategy<Value = Vec<Option<Cell>>> {
        let number = |values: &'static [f64]| {
            prop::option::weighted(0.8, prop::sample::select(values).prop_map(Cell::Number))
        };
        let text = || {
            let texts = &["", "x", "it's", "\u{65e5}"][..];
            prop::option::weighted(
                0.8,
                prop::sample::select(texts).prop_map(|text| Cell::Text(text.to_owned())),
            )
        };
        (
            number(&[-2.0, 0.0, 1.0, 2.0, 300.0]),
            number(&[-2.0, -1.5, -0.0, 0.0, 0.5, 1.0, 300.0]),
            number(&[0.0, 1.0, 2.0]),
            number(&[0.0, 1.0, 300.0]),
            number(&[0.0, 1.0]),
            text(),
            text(),
        )
            .prop_map(|(a, f, u, v, b, s, t)| vec![a, f, u, v, b, s, t])
    }

    fn rows_as_batch(rows: &[Vec<Option<Cell>>]) -> RecordBatch {
        let number = |column: usize| {
            rows.iter().map(move |row| match row[column] {
                Some(Cell::Number(value)) => Some(value),
                _ => None,
            })
        };
        let text = |column: usize| {
            rows.iter().map(move |row| match &row[column] {
                Some(Cell::Text(value)) => Some(value.as_str()),
                _ => None,
            })
        };
        let whole = |column| number(column).map(|value| value.map(|value| value as i64));
        batch(vec![
            ("a", Arc::new(whole(0).collect::<Int64Array>())),
            ("F", Arc::new(number(1).collect::<Float64Array>())),
            ("u.n", Arc::new(whole(2).map(|value| value.map(|value| value as u8)).collect::<UInt8Array>())),
            ("v", Arc::new(whole(3).map(|value| value.map(|value| value as u64)).collect::<UInt64Array>())),
            ("b", Arc::new(number(4).map(|value| value.map(|value| value == 1.0)).collect::<BooleanArray>())),
            ("s", Arc::new(text(5).collect::<StringArray>())),
            ("t", Arc::new(text(6).collect::<StringViewArray>())),
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn filters_keep_the_rows_the_rules_keep(tree in tree(), rows in prop::collection::vec(cells(), 1..8)) {
            let text = tree.text();
            let filter = Filter::parse(&text).unwrap();
            prop_assume!(!filter.columns().is_empty());
            let kept = filter.matches(&rows_as_batch(&rows)).unwrap();
            for (row, cells) in rows.iter().enumerate() {
                prop_assert_eq!(kept.value(row), tree.holds(cells) == Some(true), "{} on {:?}", text, cells);
            }
        }
    }
}
