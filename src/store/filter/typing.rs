//! From a tree of conditions and the schema of the rows to an expression.
//!
//! No coercion is left to whoever evaluates the expression: both sides of a comparison get one type,
//! and a literal that the column's type cannot hold is decided here.

use std::fmt;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast, lit};
use sqlparser::tokenizer::Location;

use super::{Condition, Literal, Operand, Value, reject};
use crate::backend::joined;
use crate::error::{Error, Result, Status};
use crate::feature::did_you_mean;

/// Gives a condition the types of a schema.
pub(super) struct Typing<'a> {
    pub(super) text: &'a str,
    pub(super) schema: &'a Schema,
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
    pub(super) fn condition(&self, condition: &'a Condition) -> Result<Expr> {
        match condition {
            Condition::All(parts) => self.all(parts, Operator::And),
            Condition::Any(parts) => self.all(parts, Operator::Or),
            Condition::Not(condition) => Ok(Expr::Not(Box::new(self.condition(condition)?))),
            Condition::Compare { left, operator, right } => self.comparison(left, *operator, right),
            Condition::In { column, at, values } => self.membership(self.column(column, *at)?, values),
            Condition::Bare(operand) => self.bare(operand),
        }
    }

    fn all(&self, parts: &'a [Condition], operator: Operator) -> Result<Expr> {
        let parts = parts.iter().map(|part| self.condition(part)).collect::<Result<Vec<_>>>()?;
        Ok(joined(parts, operator).unwrap_or_else(|| truth(Some(operator == Operator::And))))
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
        Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int8Array, Int64Array, ListArray,
        TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Int32Type, TimeUnit};

    use crate::error::Status;
    use crate::store::filter::tests::{batch, kept};

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

    #[test]
    fn a_long_chain_leaves_the_stack_alone() {
        let batch = batch(vec![("a", Arc::new(Int64Array::from(vec![Some(1), Some(2), None])))]);
        assert_eq!(kept(&vec!["a = 2"; 10_000].join(" OR "), &batch).unwrap(), [1]);
    }
}
