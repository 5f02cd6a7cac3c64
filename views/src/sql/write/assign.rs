//! Assignment: values of one type become values of a column, as Postgres assigns them. Numbers are rounded to the digits
//! that the column has; a text means what the column makes of it; what does not fit is an error, never a wrapped or cut
//! value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use super::{Table, literal, type_name};
use crate::sql::error::{SqlError, tidy};

/// Whole rows: `columns` are the values of `targets`, the others have their defaults.
pub(super) fn complete(
    table: &Table,
    targets: &[usize],
    columns: &[ArrayRef],
    rows: usize,
) -> Result<RecordBatch, SqlError> {
    let mut all = Vec::with_capacity(table.schema.fields().len());
    for (index, field) in table.schema.fields().iter().enumerate() {
        all.push(match targets.iter().position(|target| *target == index) {
            Some(given) => assign(table, index, &columns[given])?,
            None if table.defaults[index].is_none() => new_null_array(field.data_type(), rows),
            None => literal::default_value(table, index)?
                .to_array_of_size(rows)
                .map_err(|error| SqlError::invalid(error.to_string()))?,
        });
    }
    table.batch(all, rows)
}

/// The values as those of the column `target`.
pub(super) fn assign(table: &Table, target: usize, values: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let to = table.schema.field(target).data_type();
    let from = values.data_type();
    if !assignable(from, to) {
        let (name, to, from) = (table.schema.field(target).name(), type_name(to), type_name(from));
        return Err(SqlError::invalid(format!("column \"{name}\" is of type {to} but expression is of type {from}"))
            .hint("rewrite or cast the expression"));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |values: &ArrayRef, to: &DataType| {
        cast_with_options(values, to, &options).map_err(|error| bad_value(table, target, &tidy(&error.to_string())))
    };
    let values = if from == to {
        Arc::clone(values)
    } else if *from == DataType::Null {
        new_null_array(to, values.len())
    } else if to.is_integer() {
        cast(&rounded(values, &cast)?, to)?
    } else {
        cast(values, to)?
    };
    Ok(canonical(&values))
}

/// A value that its column cannot hold.
pub(super) fn bad_value(table: &Table, target: usize, message: &str) -> SqlError {
    SqlError::invalid(format!("column \"{}\": {message}", table.schema.field(target).name()))
}

/// Whether values of one type may be assigned to a column of another without a cast.
fn assignable(from: &DataType, to: &DataType) -> bool {
    let time = |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    from == to
        || matches!(from, DataType::Null | DataType::Utf8)
        || (from.is_numeric() && to.is_numeric())
        || (time(from) && time(to))
        || (!from.is_nested() && *to == DataType::Utf8)
        || (from.is_nested() && to.is_nested() && arrow::compute::can_cast_types(from, to))
}

/// Numbers without anything behind the point: halves of decimals away from zero, halves of floats to the even number.
fn rounded(
    values: &ArrayRef,
    cast: &dyn Fn(&ArrayRef, &DataType) -> Result<ArrayRef, SqlError>,
) -> Result<ArrayRef, SqlError> {
    Ok(match values.data_type() {
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even))
        }
        DataType::Float64 => {
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even))
        }
        DataType::Decimal128(_, scale) if *scale > 0 => cast(values, &DataType::Decimal128(38, 0))?,
        _ => Arc::clone(values),
    })
}

/// Floats with one zero and one NaN, so that equal values are equal rows.
fn canonical(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        _ => Arc::clone(values),
    }
}
