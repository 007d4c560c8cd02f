//! Conditions of many parts.

use datafusion::logical_expr::{Expr, Operator, binary_expr};

/// Joins the parts as a tree as flat as can be: a long chain exhausts the stack of whoever walks the
/// expression, and what parsers allow of parentheses. Nothing if there is no part.
pub fn joined(mut parts: Vec<Expr>, operator: Operator) -> Option<Expr> {
    while parts.len() > 1 {
        let mut pairs = parts.into_iter();
        let mut halved = Vec::with_capacity(pairs.len().div_ceil(2));
        while let Some(left) = pairs.next() {
            halved.push(match pairs.next() {
                Some(right) => binary_expr(left, operator, right),
                None => left,
            });
        }
        parts = halved;
    }
    parts.pop()
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::lit;

    use super::*;

    fn depth(expr: &Expr) -> usize {
        match expr {
            Expr::BinaryExpr(both) => 1 + depth(&both.left).max(depth(&both.right)),
            _ => 0,
        }
    }

    #[test]
    fn trees_are_flat_and_keep_the_order() {
        assert_eq!(joined(Vec::new(), Operator::And), None);
        assert_eq!(joined(vec![lit(1)], Operator::And), Some(lit(1)));
        let three = joined(vec![lit(1), lit(2), lit(3)], Operator::Or).unwrap();
        assert_eq!(three.to_string(), "Int32(1) OR Int32(2) OR Int32(3)");
        assert_eq!(depth(&joined((0..1000).map(lit).collect(), Operator::And).unwrap()), 10);
    }
}
