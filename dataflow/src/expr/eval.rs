//! Vectorised evaluation in which a failing row costs itself alone.
//!
//! A kernel fails for a whole batch and names no row. The batch is then halved until the failing rows stand alone: k
//! failing rows of n cost about 2 k log n kernel calls, and nothing when no row fails.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::expressions::Column;

use super::{ScalarExpr, caught};
use crate::repr::{Delta, ErrorRow, slice_rows};

/// Characters of a row that an error shows.
const PAYLOAD_CHARS: usize = 256;

/// Rows for which every expression had a value, with the values, and the errors of the other rows.
pub(crate) struct Evaluated {
    /// The rows that are left.
    pub(crate) delta: Delta,
    /// One column an expression, as long as `delta`.
    pub(crate) columns: Vec<ArrayRef>,
    /// What failed, with the diff of the row.
    pub(crate) errors: Vec<(ErrorRow, i64)>,
}

/// Evaluates `exprs` over the rows of `delta`. A row for which one fails leaves with one error: that of the first
/// expression that fails for it.
pub(crate) fn evaluate(exprs: &[ScalarExpr], delta: Delta, position: &str) -> Evaluated {
    let rows = delta.len();
    if let Ok(columns) = columns(exprs, &delta.rows) {
        return Evaluated { delta, columns, errors: Vec::new() };
    }
    let mut columns = Vec::with_capacity(exprs.len());
    let mut failed: Vec<(usize, usize, String)> = Vec::new();
    for (index, expr) in exprs.iter().enumerate() {
        match column(expr, &delta.rows) {
            Ok(values) => columns.push(values),
            Err(_) => {
                let mut failures = Vec::new();
                columns.push(bisect(expr, &delta.rows, 0, &mut failures));
                failed.extend(failures.into_iter().map(|(row, message)| (row, index, message)));
            }
        }
    }
    failed.sort_by_key(|failure| (failure.0, failure.1));
    failed.dedup_by_key(|failure| failure.0);
    let mut keep = vec![true; rows];
    let mut errors = Vec::with_capacity(failed.len());
    for (row, index, message) in failed {
        keep[row] = false;
        let error = ErrorRow {
            position: position.to_owned(),
            column: Some(exprs[index].name.clone()),
            message,
            payload: Some(describe_row(&delta.rows, row)),
        };
        errors.push((error, delta.diffs.get(row)));
    }
    let mask = BooleanArray::from(keep);
    let columns = columns
        .iter()
        .map(|values| arrow::compute::filter(values, &mask).expect("a mask as long as the column"))
        .collect();
    let delta = delta.filter(&mask).expect("a mask as long as the batch");
    Evaluated { delta, columns, errors }
}

/// The values of all expressions for a whole batch. Most of them are columns of the input as it stands: in a tick of few rows
/// a call and a guard for each of those would cost more than the work.
fn columns(exprs: &[ScalarExpr], rows: &RecordBatch) -> Result<Vec<ArrayRef>, DataFusionError> {
    let values = |expr: &ScalarExpr| match expr.expr.downcast_ref::<Column>() {
        Some(column) if column.index() < rows.num_columns() => Ok(Arc::clone(rows.column(column.index()))),
        _ => expr.expr.evaluate(rows)?.into_array(rows.num_rows()),
    };
    caught(|| exprs.iter().map(values).collect()).map_err(DataFusionError::Execution)?
}

/// The values of one expression for a whole batch.
fn column(expr: &ScalarExpr, rows: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
    let values = caught(|| expr.expr.evaluate(rows)).map_err(DataFusionError::Execution)?;
    values?.into_array(rows.num_rows())
}

/// The values of `expr`, NULL where it fails; `failures` gets (row, message), rows counted from `offset`.
fn bisect(expr: &ScalarExpr, rows: &RecordBatch, offset: usize, failures: &mut Vec<(usize, String)>) -> ArrayRef {
    match column(expr, rows) {
        Ok(values) => values,
        Err(error) if rows.num_rows() <= 1 => {
            failures.push((offset, message_of(&error)));
            new_null_array(&expr.data_type, rows.num_rows())
        }
        Err(_) => {
            let half = rows.num_rows() / 2;
            let left = bisect(expr, &slice_rows(rows, 0, half), offset, failures);
            let right = bisect(expr, &slice_rows(rows, half, rows.num_rows() - half), offset + half, failures);
            concat(&[&left, &right]).expect("both halves have the expression's type")
        }
    }
}

/// What went wrong, without the layers that reported it.
pub(super) fn message_of(error: &DataFusionError) -> String {
    match error {
        DataFusionError::ArrowError(arrow, _) => arrow_message(arrow),
        DataFusionError::Execution(message) => message.clone(),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => message_of(inner),
        other => other.strip_backtrace(),
    }
}

fn arrow_message(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ArithmeticOverflow(message)
        | ArrowError::ComputeError(message)
        | ArrowError::CastError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ParseError(message) => message.clone(),
        other => other.to_string(),
    }
}

/// A row as `name=value, …`, shortened.
pub(crate) fn describe_row(rows: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        // Names with $ belong to the system: what stands there is nobody's data.
        if field.name().starts_with('$') {
            continue;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        let value = match ArrayFormatter::try_new(values.as_ref(), &options) {
            Ok(formatter) => formatter.value(row).to_string(),
            Err(_) => "?".to_owned(),
        };
        text.push_str(&format!("{}={value}", field.name()));
        if text.len() > 4 * PAYLOAD_CHARS {
            break;
        }
    }
    if text.chars().count() > PAYLOAD_CHARS {
        text = text.chars().take(PAYLOAD_CHARS - 1).collect();
        text.push('…');
    }
    text
}

/// A boolean column as a filter: NULL counts as false.
///
/// Panics if the column is not boolean, which planning excludes.
pub(crate) fn as_filter(values: &ArrayRef) -> BooleanArray {
    let mask = values.as_any().downcast_ref::<BooleanArray>().expect("a condition is planned as BOOLEAN");
    if mask.null_count() == 0 { mask.clone() } else { arrow::compute::prep_null_mask_filter(mask) }
}
