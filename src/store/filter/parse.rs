//! From the text of a filter to its tree of conditions.
//!
//! Only the tokens are taken from an SQL parser. The grammar is spelled out here because it is not
//! SQL's: it is far smaller and reserves far fewer words.

use std::fmt;

use datafusion::logical_expr::Operator;
use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::{Condition, Literal, Operand, START, Value, reject};
use crate::error::{Error, Result};

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
pub(super) struct Parser<'a> {
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

    pub(super) fn new(text: &'a str) -> Result<Self> {
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

    pub(super) fn parse(mut self) -> Result<Condition> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Status;
    use crate::store::filter::Filter;

    #[test]
    fn words_of_sql_are_names_like_any_other() {
        let filter =
            Filter::parse("order = 1 AND \"in\" = 2 OR select.from IS NULL AND date IN (1)").unwrap();
        assert_eq!(filter.columns().into_iter().collect::<Vec<_>>(), ["date", "in", "order", "select.from"]);
    }

    #[test]
    fn depth_is_limited_and_length_is_not() {
        let parse = |text: &str| Parser::new(text)?.parse();
        let deep = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
        assert!(matches!(parse(&deep(64)), Ok(Condition::Compare { .. })));
        let error = parse(&deep(100_000)).unwrap_err();
        assert!(error.message().contains("nested more than 64 levels deep"));
        assert!(parse(&"NOT ".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
        let long = parse(&vec!["a = 2"; 10_000].join(" OR "));
        assert!(matches!(long, Ok(Condition::Any(parts)) if parts.len() == 10_000));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn no_text_makes_the_parser_fail_badly(text in "[a-z0-9 .,'\"()=<>!*/+\\-\u{65e5}]{0,30}") {
            if let Err(error) = Filter::parse(&text) {
                prop_assert_eq!(error.status(), Status::InvalidArgument);
            }
        }
    }
}
