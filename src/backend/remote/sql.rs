//! Conditions as the server reads them: SQL, in which every value keeps its type.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use lancedb::expr::expr_to_sql_string;

/// The function by which SQL gives a value a type of Arrow.
fn arrow_cast(value: Expr, data_type: &DataType) -> Expr {
    // As Debug writes types, every version of the function reads them.
    let name = Expr::Literal(ScalarValue::Utf8(Some(format!("{data_type:?}"))), None);
    datafusion::functions::core::expr_fn::arrow_cast(value, name)
}

/// `condition` in SQL; nothing if no row can meet it.
pub fn sql(condition: &Expr) -> lancedb::Result<Option<String>> {
    if matches!(condition, Expr::Literal(ScalarValue::Boolean(None | Some(false)) | ScalarValue::Null, _)) {
        // Lance takes no literal for a condition.
        return Ok(None);
    }
    let typed = condition.clone().transform(|expr| Ok(typed(expr)));
    let typed = typed.map_err(|cause| lancedb::Error::InvalidInput { message: cause.to_string() })?;
    expr_to_sql_string(&typed.data).map(Some)
}

/// A literal that SQL has no notation for, or another one in every dialect.
fn typed(expr: Expr) -> Transformed<Expr> {
    let Expr::Literal(value, _) = &expr else { return Transformed::no(expr) };
    let integer = |value: i64| Expr::Literal(ScalarValue::Int64(Some(value)), None);
    let data_type = value.data_type();
    let inner = match value {
        ScalarValue::TimestampSecond(Some(time), _)
        | ScalarValue::TimestampMillisecond(Some(time), _)
        | ScalarValue::TimestampMicrosecond(Some(time), _)
        | ScalarValue::TimestampNanosecond(Some(time), _)
        | ScalarValue::Date64(Some(time))
        | ScalarValue::Time64Microsecond(Some(time))
        | ScalarValue::Time64Nanosecond(Some(time))
        | ScalarValue::DurationSecond(Some(time))
        | ScalarValue::DurationMillisecond(Some(time))
        | ScalarValue::DurationMicrosecond(Some(time))
        | ScalarValue::DurationNanosecond(Some(time))
            if *time > i64::MIN =>
        {
            integer(*time)
        }
        ScalarValue::Date32(Some(time))
        | ScalarValue::Time32Second(Some(time))
        | ScalarValue::Time32Millisecond(Some(time)) => {
            arrow_cast(integer(i64::from(*time)), &DataType::Int32)
        }
        ScalarValue::UInt64(Some(value)) if *value > i64::MAX as u64 => text(value.to_string()),
        ScalarValue::Int64(Some(i64::MIN)) => text(i64::MIN.to_string()),
        _ => return Transformed::no(expr),
    };
    Transformed::new(
        arrow_cast(inner, &data_type),
        true,
        datafusion::common::tree_node::TreeNodeRecursion::Jump,
    )
}

fn text(value: String) -> Expr {
    Expr::Literal(ScalarValue::Utf8(Some(value)), None)
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn values_keep_their_types() {
        let zoned = ScalarValue::TimestampMicrosecond(Some(1_704_067_203_123_456), Some("UTC".into()));
        for (condition, expected) in [
            (col("id").eq(lit("it's")), "(id = 'it''s')"),
            (
                col("t").gt(Expr::Literal(zoned, None)),
                "(t > arrow_cast(1704067203123456, 'Timestamp(Microsecond, Some(\"UTC\"))'))",
            ),
            (col("n").eq(lit(u64::MAX)), "(n = arrow_cast('18446744073709551615', 'UInt64'))"),
            (col("n").eq(lit(i64::MIN)), "(n = arrow_cast('-9223372036854775808', 'Int64'))"),
            (col("n").in_list(vec![lit(1_i64), lit(2_i64)], false), "n IN (1, 2)"),
            (col("n").is_null(), "n IS NULL"),
            (
                col("d").eq(Expr::Literal(ScalarValue::Date32(Some(3)), None)),
                "(d = arrow_cast(arrow_cast(3, 'Int32'), 'Date32'))",
            ),
        ] {
            assert_eq!(sql(&condition).unwrap().as_deref(), Some(expected));
        }
        assert_eq!(sql(&lit(false)).unwrap(), None);
        assert_eq!(sql(&lit(ScalarValue::Boolean(None))).unwrap(), None);
    }
}
