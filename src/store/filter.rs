//! Filter strings: which rows a read keeps, written like the condition of an SQL `WHERE`.
//!
//! The language is the one Metaxy defines, and it is small: comparisons between columns and
//! literals, `IS [NOT] NULL`, `[NOT] IN (...)`, `AND`, `OR`, `NOT` and parentheses. It only looks
//! like SQL. `= NULL` asks for null, a null inside an `IN` list is no one's equal, a dot is part of
//! a column's name, and words such as `order` or `date` are names like any other. That is why only
//! the tokens are taken from an SQL parser and the grammar is spelled out here.
//!
//! Parsing needs no schema. [`Filter::to_expr`] then gives every column its type and every literal
//! the type of the column it meets, so that the expression can be evaluated as it is, by DataFusion
//! here or by Lance while it scans.

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast, lit};
use datafusion::physical_expr::create_physical_expr;
use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Result, Status};
use crate::feature::did_you_mean;

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

    /// The string the filter was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names of all columns the filter mentions.
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut columns = BTreeSet::new();
        self.condition.collect_columns(&mut columns);
        columns
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

impl Literal {
    /// The literal as a number; truth values count as 0 and 1.
    fn number(&self) -> Option<Number> {
        match self {
            Literal::Bool(value) => Some(Number::Int(i128::from(*value))),
            Literal::Int(value) => Some(Number::Int(*value)),
            Literal::Float(value) => Some(Number::Float(*value)),
            Literal::Null | Literal::Text(_) => None,
        }
    }
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

#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// The largest whole number that is not above this one, and whether it is this one.
    fn floor(self) -> (i128, bool) {
        match self {
            Number::Int(value) => (value, true),
            Number::Float(value) => (value.floor() as i128, value.floor() == value),
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

/// Identifiers are letters, digits, `_` and `$`, or anything between double quotes.
#[derive(Debug)]
struct FilterDialect;

impl Dialect for FilterDialect {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }
}

/// Recursive descent, one method per level of precedence.
struct Parser<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
    next: usize,
    end: Location,
    depth: usize,
}

const GRAMMAR: &str = "a filter compares columns with literals by = == != <> < <= > >=, IS [NOT] and [NOT] IN (...), \
                       joined by AND, OR, NOT and parentheses";

impl<'a> Parser<'a> {
    /// Parentheses and negations nested deeper than anyone writes, yet safe for the stack.
    const DEEPEST: usize = 64;

    fn new(text: &'a str) -> Result<Self> {
        let mut tokens = Tokenizer::new(&FilterDialect, text)
            .tokenize_with_location()
            .map_err(|error| reject(text, error.location, error.message))?;
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let end = tokens.last().map_or(START, |token| token.span.end);
        if tokens.last().is_some_and(|token| token.token == Token::SemiColon) {
            tokens.pop();
        }
        if tokens.is_empty() {
            return Err(reject(text, START, format!("it is empty; {GRAMMAR}")));
        }
        Ok(Parser { text, tokens, next: 0, end, depth: 0 })
    }

    fn parse(mut self) -> Result<Condition> {
        let condition = self.disjunction()?;
        if self.peek().is_none() { Ok(condition) } else { Err(self.unexpected()) }
    }

    fn disjunction(&mut self) -> Result<Condition> {
        let mut parts = vec![self.conjunction()?];
        while self.accept_word("OR") {
            parts.push(self.conjunction()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn conjunction(&mut self) -> Result<Condition> {
        let mut parts = vec![self.negation()?];
        while self.accept_word("AND") {
            parts.push(self.negation()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn negation(&mut self) -> Result<Condition> {
        if self.accept_word("NOT") || self.accept(&Token::ExclamationMark) {
            let condition = self.nested(Self::negation)?;
            Ok(Condition::Not(Box::new(condition)))
        } else if self.accept(&Token::DoubleExclamationMark) {
            self.nested(Self::negation)
        } else {
            self.comparison()
        }
    }

    fn comparison(&mut self) -> Result<Condition> {
        let at = self.here();
        let left = self.primary()?;
        let Some(operator) = self.comparison_operator() else { return self.membership(left, at) };
        let left = self.operand_of(left, at)?;
        let at = self.here();
        let right = self.primary()?;
        let right = self.operand_of(right, at)?;
        Ok(Condition::Compare { left, operator, right })
    }

    /// The comparisons, and `IS`, which is one of them: `IS NULL` and `= NULL` mean the same.
    fn comparison_operator(&mut self) -> Option<Operator> {
        if self.accept_word("IS") {
            return Some(if self.accept_word("NOT") { Operator::NotEq } else { Operator::Eq });
        }
        let operator = match self.peek()? {
            Token::Eq | Token::DoubleEq => Operator::Eq,
            Token::Neq => Operator::NotEq,
            Token::Lt => Operator::Lt,
            Token::LtEq => Operator::LtEq,
            Token::Gt => Operator::Gt,
            Token::GtEq => Operator::GtEq,
            _ => return None,
        };
        self.next += 1;
        Some(operator)
    }

    /// `[NOT] IN (...)`, or the condition as it stands.
    fn membership(&mut self, left: Condition, at: Location) -> Result<Condition> {
        let negated = self.accept_word("NOT");
        if !self.accept_word("IN") {
            return if negated { Err(self.unexpected()) } else { Ok(left) };
        }
        let Condition::Bare(Operand { value: Value::Column(column), at }) = left else {
            return Err(self.reject(at, "the left side of IN must be a column"));
        };
        self.expect(&Token::LParen)?;
        let mut values = Vec::new();
        while !self.accept(&Token::RParen) {
            if !values.is_empty() {
                self.expect(&Token::Comma)?;
            }
            let at = self.here();
            let value = self.primary()?;
            match self.operand_of(value, at)? {
                Operand { value: Value::Column(name), at } => {
                    return Err(self.reject(
                        at,
                        format!("the column `{name}` cannot be in an IN list, only literals can"),
                    ));
                }
                value => values.push(value),
            }
        }
        let membership = Condition::In { column, at, values };
        Ok(if negated { Condition::Not(Box::new(membership)) } else { membership })
    }

    /// A column, a literal, or anything in parentheses.
    fn primary(&mut self) -> Result<Condition> {
        let at = self.here();
        if self.accept(&Token::LParen) {
            let inner = self.nested(Self::disjunction)?;
            self.expect(&Token::RParen)?;
            return Ok(inner);
        }
        let minus = self.accept(&Token::Minus);
        if minus || self.accept(&Token::Plus) {
            return match self.nested(Self::primary)? {
                Condition::Bare(Operand { value: Value::Literal(Literal::Int(value)), .. }) => {
                    Ok(literal(Literal::Int(if minus { -value } else { value }), at))
                }
                Condition::Bare(Operand { value: Value::Literal(Literal::Float(value)), .. }) => {
                    Ok(literal(Literal::Float(if minus { -value } else { value }), at))
                }
                _ => Err(self.reject(at, "a sign can only stand before a number")),
            };
        }
        let found = match self.peek() {
            Some(Token::Number(digits, false)) => number(digits),
            Some(Token::SingleQuotedString(value)) => Some(Literal::Text(value.clone())),
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                match word.value.to_ascii_uppercase().as_str() {
                    "NULL" => Some(Literal::Null),
                    "TRUE" => Some(Literal::Bool(true)),
                    "FALSE" => Some(Literal::Bool(false)),
                    "AND" | "OR" | "NOT" | "IN" | "IS" => return Err(self.unexpected()),
                    _ => return self.column(),
                }
            }
            Some(Token::Word(_)) => return self.column(),
            _ => None,
        };
        let found = found.ok_or_else(|| self.unexpected())?;
        self.next += 1;
        Ok(literal(found, at))
    }

    /// A column name; parts joined by dots are one name.
    fn column(&mut self) -> Result<Condition> {
        let at = self.here();
        let mut name = String::new();
        loop {
            let Some(Token::Word(word)) = self.peek() else { return Err(self.unexpected()) };
            name.push_str(&word.value);
            self.next += 1;
            if !self.accept(&Token::Period) {
                break;
            }
            name.push('.');
        }
        if name.is_empty() {
            return Err(self.reject(at, "a column name is empty"));
        }
        match self.peek() {
            Some(Token::LParen) => {
                Err(self.reject(at, format!("functions such as `{name}(...)` are not supported; {GRAMMAR}")))
            }
            Some(Token::SingleQuotedString(_)) => Err(self
                .reject(at, format!("typed literals such as `{name} '...'` are not supported; {GRAMMAR}"))),
            _ => Ok(Condition::Bare(Operand { value: Value::Column(name), at })),
        }
    }

    fn operand_of(&self, condition: Condition, at: Location) -> Result<Operand> {
        match condition {
            Condition::Bare(operand) => Ok(operand),
            _ => Err(self.reject(at, "a condition cannot be compared; only columns and literals can")),
        }
    }

    fn nested(&mut self, level: fn(&mut Self) -> Result<Condition>) -> Result<Condition> {
        if self.depth == Self::DEEPEST {
            return Err(
                self.reject(self.here(), format!("it is nested more than {} levels deep", Self::DEEPEST))
            );
        }
        self.depth += 1;
        let condition = level(self);
        self.depth -= 1;
        condition
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|token| &token.token)
    }

    fn accept(&mut self, wanted: &Token) -> bool {
        let accepted = self.peek() == Some(wanted);
        self.next += usize::from(accepted);
        accepted
    }

    fn accept_word(&mut self, wanted: &str) -> bool {
        let accepted = matches!(self.peek(), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted));
        self.next += usize::from(accepted);
        accepted
    }

    fn expect(&mut self, wanted: &Token) -> Result<()> {
        if self.accept(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn here(&self) -> Location {
        self.tokens.get(self.next).map_or(self.end, |token| token.span.start)
    }

    fn unexpected(&self) -> Error {
        match self.peek() {
            Some(token) => self.reject(self.here(), format!("`{token}` is not supported here; {GRAMMAR}")),
            None => self.reject(self.end, format!("it ends too early; {GRAMMAR}")),
        }
    }

    fn reject(&self, at: Location, why: impl fmt::Display) -> Error {
        reject(self.text, at, why)
    }
}

fn number(digits: &str) -> Option<Literal> {
    // An integer beyond 128 bits is beyond every column too, so its size is all that matters.
    digits.parse().map(Literal::Int).or_else(|_| digits.parse().map(Literal::Float)).ok()
}

fn literal(value: Literal, at: Location) -> Condition {
    Condition::Bare(Operand { value: Value::Literal(value), at })
}

/// Gives a condition the types of a schema.
struct Typing<'a> {
    text: &'a str,
    schema: &'a Schema,
}

/// What a column can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    /// Whole numbers, and times, which are whole numbers of their unit.
    Whole {
        is_time: bool,
    },
    Float,
    Text,
    Opaque,
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
            data_type if data_type.is_integer() => Kind::Whole { is_time: false },
            DataType::Timestamp(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_) => Kind::Whole { is_time: true },
            _ => Kind::Opaque,
        }
    }
}

/// A column made ready for comparison: dictionaries unpacked, decimals as floats.
struct Comparable<'a> {
    name: &'a str,
    at: Location,
    expr: Expr,
    data_type: DataType,
    kind: Kind,
}

impl Comparable<'_> {
    fn cast(self, data_type: DataType) -> Self {
        if self.data_type == data_type {
            return self;
        }
        let kind = Kind::of(&data_type);
        Comparable { expr: cast(self.expr, data_type.clone()), data_type, kind, ..self }
    }

    fn is_never_negative(&self) -> bool {
        self.kind == Kind::Bool || self.data_type.is_unsigned_integer()
    }

    /// A truth value for every row that has a value here.
    fn always(self, truth: bool) -> Expr {
        let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
        if truth { self.expr.is_not_null().or(unknown) } else { self.expr.is_null().and(unknown) }
    }

    fn compare(self, operator: Operator, value: ScalarValue) -> Expr {
        binary_expr(self.expr, operator, Expr::Literal(value, None))
    }

    /// The whole number as a value of the column's type, if the type has it.
    fn whole(&self, value: i128) -> Option<ScalarValue> {
        let value = match i64::try_from(value) {
            Ok(value) => ScalarValue::Int64(Some(value)),
            Err(_) => ScalarValue::UInt64(Some(u64::try_from(value).ok()?)),
        };
        let value = match self.data_type {
            // Arrow takes these only from integers of their own width.
            DataType::Date32 | DataType::Time32(_) => value.cast_to(&DataType::Int32).ok()?,
            _ => value,
        };
        value.cast_to(&self.data_type).ok().filter(|value| !value.is_null())
    }

    fn float(&self, value: f64) -> Option<ScalarValue> {
        ScalarValue::Float64(Some(value)).cast_to(&self.data_type).ok()
    }
}

impl<'a> Typing<'a> {
    fn condition(&self, condition: &'a Condition) -> Result<Expr> {
        match condition {
            Condition::All(parts) => self.balanced(parts, Operator::And),
            Condition::Any(parts) => self.balanced(parts, Operator::Or),
            Condition::Not(condition) => Ok(Expr::Not(Box::new(self.condition(condition)?))),
            Condition::Compare { left, operator, right } => self.comparison(left, *operator, right),
            Condition::In { column, at, values } => self.membership(self.column(column, *at)?, values),
            Condition::Bare(operand) => self.bare(operand),
        }
    }

    /// Joins the parts as a tree as flat as can be: a long chain must not exhaust the stack of
    /// whoever walks the expression.
    fn balanced(&self, parts: &'a [Condition], operator: Operator) -> Result<Expr> {
        match parts {
            [part] => self.condition(part),
            parts => {
                let (left, right) = parts.split_at(parts.len() / 2);
                Ok(binary_expr(self.balanced(left, operator)?, operator, self.balanced(right, operator)?))
            }
        }
    }

    fn bare(&self, operand: &'a Operand) -> Result<Expr> {
        match &operand.value {
            Value::Literal(Literal::Null) => Ok(truth(None)),
            Value::Literal(Literal::Bool(value)) => Ok(truth(Some(*value))),
            Value::Literal(value) => {
                Err(self.reject(operand.at, format!("{value} is neither true nor false")))
            }
            Value::Column(name) => {
                let column = self.column(name, operand.at)?;
                match column.kind {
                    Kind::Bool => Ok(column.expr),
                    Kind::Null => Ok(truth(None)),
                    _ => Err(self.reject(
                        operand.at,
                        format!(
                            "the column `{name}` is of type {} and not a truth value; compare it with something",
                            column.data_type
                        ),
                    )),
                }
            }
        }
    }

    fn comparison(&self, left: &'a Operand, operator: Operator, right: &'a Operand) -> Result<Expr> {
        match (&left.value, &right.value) {
            (Value::Column(name), Value::Literal(value)) => {
                self.with_literal(self.column(name, left.at)?, operator, value, right.at)
            }
            (Value::Literal(value), Value::Column(name)) => {
                let operator = operator.swap().unwrap_or(operator);
                self.with_literal(self.column(name, right.at)?, operator, value, left.at)
            }
            (Value::Column(a), Value::Column(b)) => {
                self.with_column(self.column(a, left.at)?, operator, self.column(b, right.at)?)
            }
            (Value::Literal(a), Value::Literal(b)) => {
                let ordering = match (a, b) {
                    (Literal::Null, _) | (_, Literal::Null) => return Ok(truth(None)),
                    (Literal::Text(a), Literal::Text(b)) => Some(a.cmp(b)),
                    _ => a.number().zip(b.number()).and_then(|pair| match pair {
                        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
                        (a, b) => a.as_f64().partial_cmp(&b.as_f64()),
                    }),
                };
                let ordering = ordering
                    .ok_or_else(|| self.reject(right.at, format!("{a} cannot be compared with {b}")))?;
                Ok(truth(Some(match operator {
                    Operator::Eq => ordering.is_eq(),
                    Operator::NotEq => ordering.is_ne(),
                    Operator::Lt => ordering.is_lt(),
                    Operator::LtEq => ordering.is_le(),
                    Operator::Gt => ordering.is_gt(),
                    _ => ordering.is_ge(),
                })))
            }
        }
    }

    fn with_literal(
        &self,
        column: Comparable<'a>,
        operator: Operator,
        value: &Literal,
        at: Location,
    ) -> Result<Expr> {
        if *value == Literal::Null {
            return Ok(match operator {
                Operator::Eq => column.expr.is_null(),
                Operator::NotEq => column.expr.is_not_null(),
                _ => truth(None),
            });
        }
        match (column.kind, value, value.number()) {
            (Kind::Null, ..) => Ok(truth(None)),
            (Kind::Text, Literal::Text(text), _) => {
                let text = self.text_of(&column, text)?;
                Ok(column.compare(operator, text))
            }
            (Kind::Bool, Literal::Bool(value), _) => {
                Ok(column.compare(operator, ScalarValue::Boolean(Some(*value))))
            }
            (Kind::Bool, _, Some(number)) => Ok(with_whole(column.cast(DataType::Int64), operator, number)),
            (Kind::Whole { is_time: false }, _, Some(number)) => Ok(with_whole(column, operator, number)),
            (Kind::Whole { is_time: true }, Literal::Int(_) | Literal::Float(_), Some(number)) => {
                Ok(with_whole(column, operator, number))
            }
            (Kind::Float, _, Some(number)) => with_float(&column, operator, number.as_f64())
                .ok_or_else(|| self.mismatch(&column, value, at)),
            _ => Err(self.mismatch(&column, value, at)),
        }
    }

    fn with_column(&self, left: Comparable<'a>, operator: Operator, right: Comparable<'a>) -> Result<Expr> {
        let common = match (left.kind, right.kind) {
            (Kind::Null, _) | (_, Kind::Null) => return Ok(truth(None)),
            (Kind::Opaque, _) | (_, Kind::Opaque) => None,
            (Kind::Whole { is_time: true }, _) | (_, Kind::Whole { is_time: true }) => {
                common_time(&left.data_type, &right.data_type)
            }
            _ if left.data_type == right.data_type => Some(left.data_type.clone()),
            (Kind::Text, Kind::Text) => Some(DataType::LargeUtf8),
            (Kind::Text, _) | (_, Kind::Text) => None,
            (Kind::Float, _) | (_, Kind::Float) => Some(DataType::Float64),
            _ if ![&left.data_type, &right.data_type].contains(&&DataType::UInt64) => Some(DataType::Int64),
            _ if left.is_never_negative() && right.is_never_negative() => Some(DataType::UInt64),
            _ => Some(DataType::Decimal128(20, 0)),
        };
        let Some(common) = common else {
            return Err(self.reject(
                left.at,
                format!(
                    "the columns `{}` of type {} and `{}` of type {} cannot be compared",
                    left.name, left.data_type, right.name, right.data_type
                ),
            ));
        };
        let is_float = common.is_floating();
        let zero = ScalarValue::new_zero(&common).ok().filter(|_| is_float);
        let [left, right] = [left, right].map(|side| match &zero {
            // Arrow tells the two zeros apart; adding one makes them the same.
            Some(zero) => side.cast(common.clone()).expr + Expr::Literal(zero.clone(), None),
            None => side.cast(common.clone()).expr,
        });
        Ok(binary_expr(left, operator, right))
    }

    fn membership(&self, column: Comparable<'a>, values: &[Operand]) -> Result<Expr> {
        let mut equals = Vec::new();
        for operand in values {
            let Value::Literal(value) = &operand.value else { continue };
            let mismatch = || self.mismatch(&column, value, operand.at);
            match (column.kind, value, value.number()) {
                (_, Literal::Null, _) | (Kind::Null, ..) => {}
                (Kind::Text, Literal::Text(text), _) => equals.push(self.text_of(&column, text)?),
                (Kind::Bool, _, Some(number)) => match number.floor() {
                    (0, true) => equals.push(ScalarValue::Boolean(Some(false))),
                    (1, true) => equals.push(ScalarValue::Boolean(Some(true))),
                    _ => {}
                },
                (Kind::Whole { is_time: true }, Literal::Bool(_), _) => return Err(mismatch()),
                (Kind::Whole { .. }, _, Some(number)) => {
                    if let (whole, true) = number.floor() {
                        equals.extend(column.whole(whole));
                    }
                }
                (Kind::Float, _, Some(number)) => match number.as_f64() {
                    0.0 => equals.extend([column.float(0.0), column.float(-0.0)].into_iter().flatten()),
                    value => equals.extend(column.float(value)),
                },
                _ => return Err(mismatch()),
            }
        }
        Ok(if column.kind == Kind::Null {
            truth(None)
        } else if equals.is_empty() {
            column.always(false)
        } else {
            column.expr.in_list(equals.into_iter().map(lit).collect(), false)
        })
    }

    fn column(&self, name: &'a str, at: Location) -> Result<Comparable<'a>> {
        let Ok(field) = self.schema.field_with_name(name) else {
            let known: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
            let hint = match known.iter().find(|column| column.eq_ignore_ascii_case(name)) {
                Some(column) => format!("; did you mean `{column}`? Upper and lower case matter"),
                None => did_you_mean(name, known.iter().copied()),
            };
            let known = known.join("`, `");
            return Err(self
                .reject(at, format!("there is no column `{name}`{hint}; the columns are `{known}`"))
                .with("column", name));
        };
        // Not parsed as an SQL name: dots and capitals are part of it.
        let expr = Expr::Column(Column::from_name(name));
        let data_type = field.data_type().clone();
        let column = Comparable { name, at, expr, kind: Kind::of(&data_type), data_type };
        Ok(match field.data_type() {
            DataType::Dictionary(_, values) => column.cast(values.as_ref().clone()),
            data_type if data_type.is_decimal() => column.cast(DataType::Float64),
            _ => column,
        })
    }

    fn text_of(&self, column: &Comparable<'_>, text: &str) -> Result<ScalarValue> {
        ScalarValue::Utf8(Some(text.to_owned())).cast_to(&column.data_type).map_err(|error| {
            Error::new(Status::Internal, format!("a literal cannot become {}", column.data_type))
                .caused_by(&error)
        })
    }

    fn mismatch(&self, column: &Comparable<'_>, value: &Literal, at: Location) -> Error {
        let advice = match column.kind {
            Kind::Whole { is_time: true } => match &column.data_type {
                DataType::Date32 => "; give the number of days since 1970-01-01".to_owned(),
                DataType::Timestamp(unit, _) => format!("; give the number of {unit} since 1970-01-01 UTC"),
                _ => "; give a whole number of its unit".to_owned(),
            },
            Kind::Text => "; strings are written in single quotes".to_owned(),
            Kind::Opaque => "; it can only be tested for NULL".to_owned(),
            _ => String::new(),
        };
        self.reject(
            at,
            format!(
                "the column `{}` of type {} cannot be compared with {value}{advice}",
                column.name, column.data_type
            ),
        )
        .with("column", column.name)
    }

    fn reject(&self, at: Location, why: impl fmt::Display) -> Error {
        reject(self.text, at, why)
    }
}

fn truth(value: Option<bool>) -> Expr {
    Expr::Literal(ScalarValue::Boolean(value), None)
}

/// Compares whole numbers with any number, exactly: `a > 2.5` is `a > 2`, and a number the
/// column's type cannot hold is above or below all it can.
fn with_whole(column: Comparable<'_>, operator: Operator, number: Number) -> Expr {
    let (floor, exact) = number.floor();
    let operator = match operator {
        Operator::Eq | Operator::NotEq if !exact => return column.always(operator == Operator::NotEq),
        Operator::GtEq if !exact => Operator::Gt,
        Operator::Lt if !exact => Operator::LtEq,
        operator => operator,
    };
    match column.whole(floor) {
        Some(value) => column.compare(operator, value),
        None => column.always(match operator {
            Operator::Lt | Operator::LtEq => floor > 0,
            Operator::Gt | Operator::GtEq => floor < 0,
            operator => operator == Operator::NotEq,
        }),
    }
}

/// Compares floats with a number. Arrow orders -0.0 before 0.0 and does not call them equal, so
/// a comparison with zero asks for the one that puts both on the right side.
fn with_float(column: &Comparable<'_>, operator: Operator, value: f64) -> Option<Expr> {
    let compare = |operator, value| {
        Some(binary_expr(column.expr.clone(), operator, Expr::Literal(column.float(value)?, None)))
    };
    match operator {
        _ if value != 0.0 => compare(operator, value),
        Operator::Lt | Operator::GtEq => compare(operator, -0.0),
        Operator::LtEq | Operator::Gt => compare(operator, 0.0),
        operator => {
            let zero = compare(Operator::GtEq, -0.0)?.and(compare(Operator::LtEq, 0.0)?);
            Some(if operator == Operator::NotEq { Expr::Not(Box::new(zero)) } else { zero })
        }
    }
}

/// The type in which two columns of times can be compared, if they mean the same kind of time.
fn common_time(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Timestamp(a, zone), DataType::Timestamp(b, other))
            if zone.is_some() == other.is_some() =>
        {
            Some(DataType::Timestamp((*a).max(*b), zone.clone()))
        }
        _ => (left == right).then(|| left.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int8Array,
        Int64Array, LargeStringArray, ListArray, StringArray, StringViewArray, TimestampMicrosecondArray,
        UInt8Array, UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{Int32Type, TimeUnit};
    use proptest::prelude::*;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    fn kept(filter: &str, batch: &RecordBatch) -> Result<Vec<i64>> {
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
    fn words_of_sql_are_names_like_any_other() {
        let filter =
            Filter::parse("order = 1 AND \"in\" = 2 OR select.from IS NULL AND date IN (1)").unwrap();
        assert_eq!(filter.columns().into_iter().collect::<Vec<_>>(), ["date", "in", "order", "select.from"]);
    }

    #[test]
    fn depth_is_limited_and_length_is_not() {
        let batch = golden_rows(&DataType::LargeUtf8);
        let deep = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
        assert_eq!(kept(&deep(64), &batch).unwrap(), [0]);
        let error = Filter::parse(&deep(100_000)).unwrap_err();
        assert!(error.message().contains("nested more than 64 levels deep"));
        assert!(Filter::parse(&"NOT ".repeat(100_000)).is_err());
        assert!(Filter::parse(&"- ".repeat(100_000)).is_err());
        assert_eq!(kept(&vec!["a = 2"; 10_000].join(" OR "), &batch).unwrap(), [1]);
    }

    #[test]
    fn numbers_are_compared_exactly_whatever_their_types() {
        let batch = batch(vec![
            ("i8", Arc::new(Int8Array::from(vec![Some(-128), Some(2), None]))),
            ("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(2), None]))),
            ("i64", Arc::new(Int64Array::from(vec![Some((1 << 53) + 1), Some(-1), None]))),
            ("f32", Arc::new(Float32Array::from(vec![Some(0.1), Some(-0.0), None]))),
            ("f64", Arc::new(Float64Array::from(vec![Some(0.0), Some(f64::NAN), None]))),
            (
                "dec",
                Arc::new(
                    Decimal128Array::from(vec![Some(150), Some(200), None])
                        .with_precision_and_scale(10, 2)
                        .unwrap(),
                ),
            ),
        ]);
        for (filter, rows) in [
            ("i8 < 1000", &[0, 1][..]),
            ("i8 > 1000", &[]),
            ("i8 >= -1000 AND NOT i8 = 1000", &[0, 1]),
            ("i8 > 1.5", &[1]),
            ("i8 <= -127.5", &[0]),
            ("i8 != 0.5", &[0, 1]),
            ("i8 IN (1000, 2.0, 2.5)", &[1]),
            ("NOT i8 IN (1000)", &[0, 1]),
            ("u64 = 18446744073709551615", &[0]),
            ("u64 > -1", &[0, 1]),
            ("u64 < 1e400", &[0, 1]),
            ("u64 < 99999999999999999999999999999999999999999999", &[0, 1]),
            ("u64 = i8", &[1]),
            ("u64 > i64", &[0, 1]),
            ("i64 = 9007199254740993", &[0]),
            ("i64 = 9007199254740992.0", &[]),
            ("f32 = 0.1", &[0]),
            ("f32 = 0", &[1]),
            ("f32 < 0", &[]),
            ("f32 IN (0)", &[1]),
            ("f32 != 0", &[0]),
            ("f32 >= -0.0", &[0, 1]),
            ("f64 = 0 AND f64 = -0.0", &[0]),
            ("f64 = f64", &[0, 1]),
            ("f64 > 1e300", &[1]),
            ("f32 < f64", &[1]),
            ("dec = 1.5 OR dec IN (2)", &[0, 1]),
            ("dec > i8", &[0]),
        ] {
            assert_eq!(kept(filter, &batch).unwrap(), rows, "{filter}");
        }
    }

    #[test]
    fn times_are_numbers_of_their_unit() {
        let times = TimestampMicrosecondArray::from(vec![
            Some(1_767_225_600_000_000),
            Some(1_767_312_000_000_000),
            None,
        ]);
        let seconds = cast(&times, &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
        let days = cast(&times, &DataType::Date32).unwrap();
        let batch = batch(vec![
            ("t", Arc::new(times.with_timezone("UTC"))),
            ("z", cast(&seconds, &DataType::Timestamp(TimeUnit::Second, Some("UTC".into()))).unwrap()),
            ("n", seconds),
            ("d", days),
        ]);
        for (filter, rows) in [
            ("t = 1767225600000000", &[0][..]),
            ("t > 1767225600000000.5", &[1]),
            ("t IN (1767225600000000)", &[0]),
            ("n >= 1767312000", &[1]),
            ("d >= 20455", &[1]),
            ("d < 99999999999", &[0, 1]),
            ("t = z", &[0, 1]),
            ("t IS NULL", &[2]),
        ] {
            assert_eq!(kept(filter, &batch).unwrap(), rows, "{filter}");
        }
        for filter in ["t = '2026-01-01'", "d = '2026-01-01'", "t = TRUE", "t IN (TRUE)", "t = n", "t = d"] {
            assert_eq!(kept(filter, &batch).unwrap_err().status(), Status::InvalidArgument, "{filter}");
        }
        let error = kept("t > '2026-01-01'", &batch).unwrap_err();
        assert!(error.message().ends_with("give the number of \u{b5}s since 1970-01-01 UTC"), "{error}");
    }

    #[test]
    fn columns_of_other_types_can_be_tested_for_null() {
        let batch = batch(vec![
            ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None]))),
            ("d", Arc::new([Some("x"), None].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("n", arrow::array::new_null_array(&DataType::Null, 2)),
        ]);
        assert_eq!(kept("l = NULL", &batch).unwrap(), [1]);
        assert!(kept("l = 1", &batch).unwrap_err().message().ends_with("it can only be tested for NULL"));
        assert_eq!(kept("d = 'x' AND d IN ('x')", &batch).unwrap(), [0]);
        assert_eq!(kept("n = 1 OR n IN (1) OR n", &batch).unwrap(), [] as [i64; 0]);
        assert_eq!(kept("n IS NULL", &batch).unwrap(), [0, 1]);
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

        #[test]
        fn no_text_makes_the_parser_fail_badly(text in "[a-z0-9 .,'\"()=<>!*/+\\-\u{65e5}]{0,30}") {
            if let Err(error) = Filter::parse(&text) {
                prop_assert_eq!(error.status(), Status::InvalidArgument);
            }
        }
    }
}
