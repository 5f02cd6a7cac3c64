//! Values, rows and multisets of rows: how tests write down what they feed, expect and get.
//!
//! Equality is by value: every NaN is one NaN, and -0 is 0. Nothing else is normalised.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, SchemaRef, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_dataflow::repr::{Delta, Diff, Diffs};
use serde::{Deserialize, Serialize};

/// One value, without its type's width.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Int(i64),
    Decimal(i128, i8),
    /// The bits of a normalised double: see [`Value::double`].
    Double(u64),
    Text(String),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Timestamp(i64),
    /// Microseconds.
    Duration(i64),
    Interval(i32, i32, i64),
    /// Anything else, as text.
    Other(String),
}

/// One row.
pub(crate) type Row = Vec<Value>;

/// How often each row is there.
pub(crate) type Rows = BTreeMap<Row, Diff>;

impl Value {
    /// A double: NaN is one NaN, -0 is 0.
    pub(crate) fn double(value: f64) -> Value {
        let value = if value.is_nan() {
            f64::NAN
        } else if value == 0.0 {
            0.0
        } else {
            value
        };
        Value::Double(value.to_bits())
    }

    /// A text.
    pub(crate) fn text(value: impl Into<String>) -> Value {
        Value::Text(value.into())
    }

    /// The integer in an [`Value::Int`].
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => write!(f, "NULL"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Decimal(value, scale) => write!(f, "{value}e-{scale}"),
            Value::Double(bits) => write!(f, "{:?}f", f64::from_bits(*bits)),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::Date(days) => write!(f, "day {days}"),
            Value::Timestamp(micros) => write!(f, "{micros}us"),
            Value::Duration(micros) => write!(f, "for {micros}us"),
            Value::Interval(months, days, nanos) => write!(f, "{months}mo {days}d {nanos}ns"),
            Value::Other(text) => write!(f, "<{text}>"),
        }
    }
}

/// The columns of `rows` as a batch of `schema`. Panics where a value does not fit its column.
pub(crate) fn batch_of<'a>(schema: &SchemaRef, rows: impl IntoIterator<Item = &'a Row> + Clone) -> RecordBatch {
    let len = rows.clone().into_iter().count();
    let columns = (0..schema.fields().len())
        .map(|index| {
            let values = rows.clone().into_iter().map(move |row| &row[index]);
            column_of(schema.field(index).data_type(), values)
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).expect("the columns match the schema")
}

fn column_of<'a>(data_type: &DataType, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
    let int = |value: &Value| match value {
        Value::Int(value) => Some(*value),
        Value::Null => None,
        other => panic!("{other:?} is no integer"),
    };
    let double = |value: &Value| match value {
        Value::Double(bits) => Some(f64::from_bits(*bits)),
        Value::Null => None,
        other => panic!("{other:?} is no double"),
    };
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.map(|value| match value {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }))),
        DataType::Int16 => {
            Arc::new(Int16Array::from_iter(values.map(|v| int(v).map(|v| i16::try_from(v).expect("fits")))))
        }
        DataType::Int32 => {
            Arc::new(Int32Array::from_iter(values.map(|v| int(v).map(|v| i32::try_from(v).expect("fits")))))
        }
        DataType::Int64 => Arc::new(Int64Array::from_iter(values.map(int))),
        DataType::Float32 => Arc::new(Float32Array::from_iter(values.map(|v| double(v).map(|v| v as f32)))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(values.map(double))),
        DataType::Decimal128(precision, scale) => {
            let array = Decimal128Array::from_iter(values.map(|value| match value {
                Value::Decimal(value, _) => Some(*value),
                _ => None,
            }));
            Arc::new(array.with_precision_and_scale(*precision, *scale).expect("a valid decimal type"))
        }
        DataType::Utf8 => Arc::new(StringArray::from_iter(values.map(|value| match value {
            Value::Text(value) => Some(value.as_str()),
            _ => None,
        }))),
        DataType::Date32 => Arc::new(Date32Array::from_iter(values.map(|value| match value {
            Value::Date(value) => Some(*value),
            _ => None,
        }))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array = TimestampMicrosecondArray::from_iter(values.map(|value| match value {
                Value::Timestamp(value) => Some(*value),
                _ => None,
            }));
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Arc::new(IntervalMonthDayNanoArray::from_iter(values.map(|value| match value {
                Value::Interval(months, days, nanos) => Some(IntervalMonthDayNano::new(*months, *days, *nanos)),
                _ => None,
            })))
        }
        other => panic!("tests feed no {other}"),
    }
}

/// The rows of a batch.
pub(crate) fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<Vec<Value>> = batch.columns().iter().map(values_of).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

fn values_of(array: &ArrayRef) -> Vec<Value> {
    macro_rules! each {
        ($type:ty, $make:expr) => {
            array.as_primitive::<$type>().iter().map(|v| v.map_or(Value::Null, $make)).collect()
        };
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().iter().map(|v| v.map_or(Value::Null, Value::Boolean)).collect(),
        DataType::Int8 => each!(Int8Type, |v| Value::Int(v.into())),
        DataType::Int16 => each!(Int16Type, |v| Value::Int(v.into())),
        DataType::Int32 => each!(Int32Type, |v| Value::Int(v.into())),
        DataType::Int64 => each!(Int64Type, Value::Int),
        DataType::UInt8 => each!(UInt8Type, |v| Value::Int(v.into())),
        DataType::UInt16 => each!(UInt16Type, |v| Value::Int(v.into())),
        DataType::UInt32 => each!(UInt32Type, |v| Value::Int(v.into())),
        DataType::UInt64 => each!(UInt64Type, |v| i64::try_from(v).map_or(Value::Other(v.to_string()), Value::Int)),
        DataType::Float32 => each!(Float32Type, |v| Value::double(v.into())),
        DataType::Float64 => each!(Float64Type, Value::double),
        DataType::Decimal128(_, scale) => each!(Decimal128Type, |v| Value::Decimal(v, *scale)),
        DataType::Utf8 => array.as_string::<i32>().iter().map(|v| v.map_or(Value::Null, Value::text)).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(|v| v.map_or(Value::Null, Value::text)).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(|v| v.map_or(Value::Null, Value::text)).collect(),
        DataType::Date32 => each!(Date32Type, Value::Date),
        DataType::Timestamp(TimeUnit::Microsecond, _) => each!(TimestampMicrosecondType, Value::Timestamp),
        DataType::Duration(TimeUnit::Microsecond) => each!(DurationMicrosecondType, Value::Duration),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            each!(IntervalMonthDayNanoType, |v| Value::Interval(v.months, v.days, v.nanoseconds))
        }
        _ => {
            let options = FormatOptions::default().with_null("NULL");
            let format = ArrayFormatter::try_new(array, &options).expect("every type can be formatted");
            let text = |row| if array.is_null(row) { Value::Null } else { Value::Other(format.value(row).to_string()) };
            (0..array.len()).map(text).collect()
        }
    }
}

/// Adds `diff` copies of `row`.
pub(crate) fn add(rows: &mut Rows, row: Row, diff: Diff) {
    if diff == 0 {
        return;
    }
    match rows.entry(row) {
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(diff);
        }
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            *entry.get_mut() += diff;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Adds all updates of `delta`.
pub(crate) fn add_delta(rows: &mut Rows, delta: &Delta) {
    for (index, row) in rows_of(&delta.rows).into_iter().enumerate() {
        add(rows, row, delta.diffs.get(index));
    }
}

/// Adds all rows of `more`.
pub(crate) fn add_all(rows: &mut Rows, more: &Rows) {
    for (row, diff) in more {
        add(rows, row.clone(), *diff);
    }
}

/// The multiset of the rows of `batches`.
pub(crate) fn multiset(batches: &[RecordBatch]) -> Rows {
    let mut rows = Rows::new();
    for batch in batches {
        for row in rows_of(batch) {
            add(&mut rows, row, 1);
        }
    }
    rows
}

/// A delta of updates.
pub(crate) fn delta_of(schema: &SchemaRef, updates: &[(Row, Diff)]) -> Delta {
    let rows = batch_of(schema, updates.iter().map(|(row, _)| row));
    if updates.iter().all(|(_, diff)| *diff == 1) {
        return Delta::insert(rows);
    }
    Delta { rows, diffs: Diffs::Each(updates.iter().map(|(_, diff)| *diff).collect()) }
}

/// What `got` has too much and too little, at most `max` rows of each; empty if they are equal.
pub(crate) fn difference(expected: &Rows, got: &Rows, max: usize) -> String {
    let mut difference = got.clone();
    for (row, diff) in expected {
        add(&mut difference, row.clone(), -diff);
    }
    let mut text = String::new();
    for (name, sign) in [("missing", -1), ("unexpected", 1)] {
        let some: Vec<_> = difference.iter().filter(|(_, diff)| diff.signum() == sign).collect();
        for (row, diff) in some.iter().take(max) {
            let _ = writeln!(text, "  {name} {} x {row:?}", diff.abs());
        }
        if some.len() > max {
            let _ = writeln!(text, "  {name} {} more", some.len() - max);
        }
    }
    text
}
