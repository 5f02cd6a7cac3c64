//! Expressions as text: operators between their arguments, columns by name.

use std::sync::Arc;

use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::sql::session::operator_of;

/// `expr` over columns of the given names.
pub(super) fn show(expr: &Arc<dyn PhysicalExpr>, columns: &[String]) -> String {
    let operand = |inner: &Arc<dyn PhysicalExpr>| {
        let text = show(inner, columns);
        if is_operation(inner) { format!("({text})") } else { text }
    };
    if let Some(column) = expr.downcast_ref::<Column>() {
        return columns.get(column.index()).cloned().unwrap_or_else(|| column.name().to_owned());
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        let value = literal.value();
        return match value.try_as_str() {
            Some(Some(text)) => format!("'{}'", text.replace('\'', "''")),
            _ => value.to_string(),
        };
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return format!("{} {} {}", operand(binary.left()), binary.op(), operand(binary.right()));
    }
    if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        if let (Some(op), [left, right]) = (operator_of(function.fun()), function.args()) {
            return format!("{} {op} {}", operand(left), operand(right));
        }
        let args: Vec<String> = function.args().iter().map(|arg| show(arg, columns)).collect();
        return format!("{}({})", function.name(), args.join(", "));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return format!("CAST({} AS {})", show(cast.expr(), columns), cast.cast_type());
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return format!("NOT {}", operand(not.arg()));
    }
    if let Some(test) = expr.downcast_ref::<IsNullExpr>() {
        return format!("{} IS NULL", operand(test.arg()));
    }
    if let Some(test) = expr.downcast_ref::<IsNotNullExpr>() {
        return format!("{} IS NOT NULL", operand(test.arg()));
    }
    without_indexes(&expr.to_string())
}

fn is_operation(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<BinaryExpr>().is_some()
        || expr.downcast_ref::<NotExpr>().is_some()
        || expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|function| operator_of(function.fun()).is_some())
}

/// DataFusion's own text without the numbers of columns: `a@3` is `a`.
fn without_indexes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        if next == '@' && chars.peek().is_some_and(char::is_ascii_digit) {
            while chars.peek().is_some_and(char::is_ascii_digit) {
                chars.next();
            }
        } else {
            out.push(next);
        }
    }
    out
}
