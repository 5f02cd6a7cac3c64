//! Literal values: they become columns without a planner, as most rows of most scripts do.
//!
//! A text means what its column makes of it. What is no plain literal is left to the planner.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};

use super::target::is_default;
use super::{Table, assign, type_name};
use crate::sql::error::SqlError;
use crate::sql::locate::Text;

/// The columns `targets` of literal rows; `None` if a value has to be computed.
pub(super) fn columns(table: &Table, targets: &[usize], rows: &[&[Expr]]) -> Option<Result<Vec<ArrayRef>, SqlError>> {
    let mut columns = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        let field = table.schema.field(*target);
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            let value = &row[index];
            let value = if is_default(value) {
                match default_value(table, *target) {
                    Ok(value) => value,
                    Err(error) => return Some(Err(error)),
                }
            } else {
                match literal(value, field.data_type())? {
                    Ok(value) => value,
                    Err(message) => return Some(Err(assign::bad_value(table, *target, &message))),
                }
            };
            values.push(value);
        }
        match ScalarValue::iter_to_array(values) {
            Ok(column) => columns.push(column),
            Err(error) => return Some(Err(SqlError::invalid(error.to_string()))),
        }
    }
    Some(Ok(columns))
}

/// The value of a literal in a column of type `data_type`, or why it is none; `None` if it is no plain literal.
fn literal(value: &Expr, data_type: &DataType) -> Option<Result<ScalarValue, String>> {
    if data_type.is_nested() && !matches!(value, Expr::Value(value) if value.value == Value::Null) {
        return None;
    }
    match value {
        Expr::Value(value) => match &value.value {
            Value::Null => Some(ScalarValue::try_from(data_type).map_err(|error| error.to_string())),
            Value::Boolean(value) if *data_type == DataType::Boolean => Some(Ok(ScalarValue::Boolean(Some(*value)))),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text_value(text, data_type)),
            Value::Number(digits, _) => number(digits, data_type),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => number(&format!("-{digits}"), data_type),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The value that a text stands for.
fn text_value(text: &str, data_type: &DataType) -> Result<ScalarValue, String> {
    let invalid = |_| format!("invalid input syntax for type {}: \"{text}\"", type_name(data_type));
    let value = ScalarValue::Utf8(Some(text.to_owned()));
    if *data_type == DataType::Utf8 {
        return Ok(value);
    }
    ScalarValue::Utf8(Some(text.trim().to_owned())).cast_to(data_type).map_err(invalid)
}

/// The value of a number as it is written; `None` where a conversion has to be planned.
fn number(digits: &str, data_type: &DataType) -> Option<Result<ScalarValue, String>> {
    let whole = digits.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    let out_of_range = || format!("value \"{digits}\" is out of range for type {}", type_name(data_type));
    match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 if whole => {
            let number = digits.parse::<i64>().map_err(|_| out_of_range());
            Some(number.and_then(|number| match data_type {
                DataType::Int16 => {
                    i16::try_from(number).map(|n| ScalarValue::Int16(Some(n))).map_err(|_| out_of_range())
                }
                DataType::Int32 => {
                    i32::try_from(number).map(|n| ScalarValue::Int32(Some(n))).map_err(|_| out_of_range())
                }
                _ => Ok(ScalarValue::Int64(Some(number))),
            }))
        }
        DataType::Float32 | DataType::Float64 => {
            let value = ScalarValue::Utf8(Some(digits.to_owned())).cast_to(data_type);
            Some(value.map_err(|_| out_of_range()))
        }
        DataType::Decimal128(..) if !digits.contains(['e', 'E']) => {
            let value = ScalarValue::Utf8(Some(digits.to_owned())).cast_to(data_type);
            Some(value.map_err(|_| out_of_range()))
        }
        DataType::Utf8 if whole => Some(Ok(ScalarValue::Utf8(Some(digits.to_owned())))),
        _ => None,
    }
}

/// Whether a default is a literal that its column can hold.
pub(in crate::sql) fn check_default(text: &str, name: &str, data_type: &DataType) -> Result<(), SqlError> {
    match literal(&parsed(text)?, data_type) {
        Some(Ok(_)) => Ok(()),
        Some(Err(message)) => Err(SqlError::invalid(format!("the default of column \"{name}\": {message}"))),
        None => Err(SqlError::unsupported(format!("the default of column \"{name}\", which is no literal"))
            .hint("a default is a number, a text in quotes, true, false or NULL")),
    }
}

/// The default of a column, as an expression.
pub(super) fn default_of(table: &Table, column: usize) -> Result<Expr, SqlError> {
    parsed(table.defaults[column].as_deref().unwrap_or("NULL"))
}

/// The default of a column, which has been checked.
pub(super) fn default_value(table: &Table, column: usize) -> Result<ScalarValue, SqlError> {
    let expr = default_of(table, column)?;
    match literal(&expr, table.schema.field(column).data_type()) {
        Some(value) => value.map_err(|message| assign::bad_value(table, column, &message)),
        None => Err(SqlError::invalid(format!("the default {expr} is no literal"))),
    }
}

fn parsed(text: &str) -> Result<Expr, SqlError> {
    let text = Text::new(text)?;
    text.parser().parse_expr().map_err(|error| text.parser_error(&error))
}
