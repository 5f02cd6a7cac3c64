//! Expressions as text: operators between their arguments, columns by name.

use std::sync::Arc;

use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
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
        return constant(literal.value());
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
    conditional(expr, columns).unwrap_or_else(|| without_indexes(&expr.to_string()))
}

/// CASE, IN and LIKE.
fn conditional(expr: &Arc<dyn PhysicalExpr>, columns: &[String]) -> Option<String> {
    let not = |negated: bool| if negated { "NOT " } else { "" };
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        let mut text = "CASE".to_owned();
        if let Some(operand) = case.expr() {
            text.push_str(&format!(" {}", show(operand, columns)));
        }
        for (when, then) in case.when_then_expr() {
            text.push_str(&format!(" WHEN {} THEN {}", show(when, columns), show(then, columns)));
        }
        if let Some(other) = case.else_expr() {
            text.push_str(&format!(" ELSE {}", show(other, columns)));
        }
        return Some(text + " END");
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let values: Vec<String> = list.list().iter().map(|value| show(value, columns)).collect();
        return Some(format!("{} {}IN ({})", show(list.expr(), columns), not(list.negated()), values.join(", ")));
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let word = if like.case_insensitive() { "ILIKE" } else { "LIKE" };
        let (value, pattern) = (show(like.expr(), columns), show(like.pattern(), columns));
        return Some(format!("{value} {}{word} {pattern}", not(like.negated())));
    }
    None
}

/// A constant as one would write it.
fn constant(value: &ScalarValue) -> String {
    if let Some(Some(text)) = value.try_as_str() {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let word = match value {
        _ if value.is_null() => return "NULL".to_owned(),
        ScalarValue::Date32(_) => "DATE",
        ScalarValue::TimestampMicrosecond(..) => "TIMESTAMPTZ",
        ScalarValue::IntervalMonthDayNano(_) => "INTERVAL",
        _ => return value.to_string(),
    };
    let text = value.to_array().and_then(|array| Ok(array_value_to_string(&array, 0)?));
    text.map_or_else(|_| value.to_string(), |text| format!("{word} '{text}'"))
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
