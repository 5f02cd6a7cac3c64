//! One column under construction: values of one declared type, appended from text or JSON, cut back after a bad record.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, ListArray, NullBufferBuilder, PrimitiveArray,
    StringArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Fields, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};

use super::BadRecord;
use super::value::{BadValue, parse_boolean, parse_decimal, parse_double, parse_integer, parse_real};
use super::{json, time};
use crate::source::SourceError;

pub(super) mod usual;

/// One column under construction.
///
/// An append that fails may leave the column, or one nested in it, a value longer: the caller cuts all columns back to
/// the last whole row with [`Column::truncate`].
#[derive(Debug)]
pub(super) struct Column {
    field: FieldRef,
    /// The name in error rows; nested ones with dots.
    path: String,
    /// The key as JSON usually has it, `"name":`; empty if the name cannot stand there as it is.
    key: Box<[u8]>,
    /// Tells names apart at a glance.
    glance: u64,
    validity: NullBufferBuilder,
    values: Values,
}

/// The values of a column. Those of NULLs are zeros, empty, or NULLs.
#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    SmallInt(Vec<i16>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Real(Vec<f32>),
    Double(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    Text { ends: Vec<i32>, bytes: Vec<u8> },
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    Interval(Vec<IntervalMonthDayNano>),
    Struct { fields: Fields, columns: Vec<Column> },
    List { ends: Vec<i32>, items: Box<Column> },
}

impl Values {
    /// `None` if no SQL type of a source is stored as `data_type`.
    fn new(data_type: &DataType, path: &str) -> Result<Option<Values>, SourceError> {
        Ok(Some(match data_type {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int16 => Values::SmallInt(Vec::new()),
            DataType::Int32 => Values::Int(Vec::new()),
            DataType::Int64 => Values::BigInt(Vec::new()),
            DataType::Float32 => Values::Real(Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            DataType::Utf8 => Values::Text { ends: vec![0], bytes: Vec::new() },
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Values::Timestamp(Vec::new()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(Vec::new()),
            DataType::Struct(fields) => {
                let column = |field: &FieldRef| Column::nested(field, format!("{path}.{}", field.name()));
                Values::Struct { fields: fields.clone(), columns: fields.iter().map(column).collect::<Result<_, _>>()? }
            }
            DataType::List(field) => {
                Values::List { ends: vec![0], items: Box::new(Column::nested(field, format!("{path}[]"))?) }
            }
            _ => return Ok(None),
        }))
    }
}

/// The only reason why text or lists could outgrow their 32-bit offsets, which a poll's byte limit rules out.
const OFFSET_FITS: &str = "a batch holds far less than 2 GiB";

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// The type is not one that a source can have.
    pub(super) fn new(field: &FieldRef) -> Result<Column, SourceError> {
        Column::nested(field, field.name().clone())
    }

    fn nested(field: &FieldRef, path: String) -> Result<Column, SourceError> {
        let Some(values) = Values::new(field.data_type(), &path)? else {
            return Err(SourceError::Type { column: path, data_type: field.data_type().to_string() });
        };
        let plain = |name: &&String| !name.contains(|c: char| c == '"' || c == '\\' || c.is_ascii_control());
        let key = Some(field.name()).filter(plain).map_or_else(String::new, |name| format!("\"{name}\":"));
        let key = key.into_bytes().into_boxed_slice();
        let glance = usual::glance(field.name().as_bytes());
        Ok(Column { field: Arc::clone(field), path, key, glance, validity: NullBufferBuilder::new(0), values })
    }

    /// The declared name.
    pub(super) fn name(&self) -> &str {
        self.field.name()
    }

    /// Appends a missing value.
    ///
    /// # Errors
    /// The column is NOT NULL.
    pub(super) fn push_null(&mut self) -> Result<(), BadRecord> {
        if !self.field.is_nullable() {
            return Err(self.bad("the value is missing and the column is NOT NULL".to_owned()));
        }
        self.push_blank();
        Ok(())
    }

    /// Appends the stand-in for a value under a NULL, whether the column may be NULL or not: what a record that deletes has
    /// beside its key.
    pub(super) fn push_blank(&mut self) {
        self.validity.append_null();
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::SmallInt(values) => values.push(0),
            Values::Int(values) | Values::Date(values) => values.push(0),
            Values::BigInt(values) | Values::Timestamp(values) => values.push(0),
            Values::Real(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Values::Text { ends, .. } | Values::List { ends, .. } => ends.push(ends[ends.len() - 1]),
            Values::Struct { columns, .. } => columns.iter_mut().for_each(Column::push_blank),
        }
    }

    /// Appends a number to an INT or BIGINT column, or microseconds to a TIMESTAMPTZ one.
    ///
    /// # Panics
    /// The column has another type, or an INT column is given more than it holds.
    #[inline]
    pub(super) fn push_integer(&mut self, value: i64) {
        match &mut self.values {
            Values::Int(values) => values.push(i32::try_from(value).expect("whoever gives a number to INT has an INT")),
            Values::BigInt(values) | Values::Timestamp(values) => values.push(value),
            _ => unreachable!("numbers are given to columns that were declared for them"),
        }
        self.validity.append_non_null();
    }

    /// Appends a value given as text. Spaces around it count for TEXT only; STRUCT and LIST take their JSON.
    ///
    /// # Errors
    /// The text is not a value of the type.
    #[inline]
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), BadRecord> {
        if let Values::Text { ends, bytes } = &mut self.values {
            bytes.extend_from_slice(text.as_bytes());
            ends.push(i32::try_from(bytes.len()).expect(OFFSET_FITS));
            self.validity.append_non_null();
            return Ok(());
        }
        let value = text.trim_ascii();
        let pushed = match &mut self.values {
            Values::Boolean(values) => parse_boolean(value).map(|value| values.append(value)),
            Values::SmallInt(values) => parse_narrow(value).map(|value| values.push(value)),
            Values::Int(values) => parse_narrow(value).map(|value| values.push(value)),
            Values::BigInt(values) => parse_integer(value).map(|value| values.push(value)),
            Values::Real(values) => parse_real(value).map(|value| values.push(value)),
            Values::Double(values) => parse_double(value).map(|value| values.push(value)),
            Values::Decimal { values, precision, scale } => {
                parse_decimal(value, *precision, *scale).map(|value| values.push(value))
            }
            Values::Date(values) => time::parse_date(value).map(|value| values.push(value)),
            Values::Timestamp(values) => time::parse_timestamp(value).map(|value| values.push(value)),
            Values::Interval(values) => time::parse_interval(value).map(|value| values.push(value)),
            Values::Struct { .. } | Values::List { .. } => return self.push_json(value),
            Values::Text { .. } => unreachable!("texts were appended above"),
        };
        match pushed {
            Ok(()) => {
                self.validity.append_non_null();
                Ok(())
            }
            Err(bad) => Err(self.bad_value(text, bad)),
        }
    }

    /// Appends a value given as the text of one JSON value without space around it. Strings may hold any value; numbers
    /// are no dates, times, intervals or booleans; TEXT takes the JSON text of what is no string.
    ///
    /// # Errors
    /// The JSON is not valid or not a value of the type.
    pub(super) fn push_json(&mut self, value: &str) -> Result<(), BadRecord> {
        match value.as_bytes().first() {
            Some(b'n') if value == "null" => return self.push_null(),
            Some(b'"') if !matches!(self.values, Values::Struct { .. } | Values::List { .. }) => {
                let text = json::unquote(value).map_err(|error| self.bad(json::reason(&error)))?;
                return self.push_text(&text);
            }
            _ => {}
        }
        let number = matches!(value.as_bytes().first(), Some(b'-' | b'0'..=b'9'));
        let boolean = matches!(value, "true" | "false");
        match &mut self.values {
            Values::Text { .. } => self.push_text(value),
            Values::SmallInt(_)
            | Values::Int(_)
            | Values::BigInt(_)
            | Values::Real(_)
            | Values::Double(_)
            | Values::Decimal { .. }
                if number =>
            {
                self.push_text(value)
            }
            Values::Boolean(_) if boolean => self.push_text(value),
            Values::Struct { columns, .. } if value.starts_with('{') => match json::push_object(value, columns) {
                Ok(()) => {
                    self.validity.append_non_null();
                    Ok(())
                }
                Err(bad) if bad.column.is_none() => Err(self.bad(bad.message)),
                Err(bad) => Err(bad),
            },
            Values::List { ends, items } if value.starts_with('[') => {
                match json::push_array(value, items) {
                    Ok(()) => {}
                    Err(bad) if bad.column.is_none() => return Err(self.bad(bad.message)),
                    Err(bad) => return Err(bad),
                }
                ends.push(i32::try_from(items.len()).expect(OFFSET_FITS));
                self.validity.append_non_null();
                Ok(())
            }
            _ => Err(self.bad_value(value, BadValue::Syntax)),
        }
    }

    /// How many values there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.validity.len()
    }

    /// Cuts the column back to its first `len` values; a shorter one stays as it is.
    pub(super) fn truncate(&mut self, len: usize) {
        self.validity.truncate(len);
        match &mut self.values {
            Values::Boolean(values) if values.len() > len => values.truncate(len),
            Values::Boolean(_) => {}
            Values::SmallInt(values) => values.truncate(len),
            Values::Int(values) | Values::Date(values) => values.truncate(len),
            Values::BigInt(values) | Values::Timestamp(values) => values.truncate(len),
            Values::Real(values) => values.truncate(len),
            Values::Double(values) => values.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::Interval(values) => values.truncate(len),
            Values::Text { ends, bytes } => {
                ends.truncate(len + 1);
                bytes.truncate(last_end(ends));
            }
            Values::Struct { columns, .. } => columns.iter_mut().for_each(|column| column.truncate(len)),
            Values::List { ends, items } => {
                ends.truncate(len + 1);
                items.truncate(last_end(ends));
            }
        }
    }

    /// Takes the values as an array; the column is empty afterwards, with room for as many again.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let len = self.len();
        let nulls = self.validity.finish();
        match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::SmallInt(values) => primitive::<Int16Type>(values, nulls, &self.field),
            Values::Int(values) => primitive::<Int32Type>(values, nulls, &self.field),
            Values::BigInt(values) => primitive::<Int64Type>(values, nulls, &self.field),
            Values::Real(values) => primitive::<Float32Type>(values, nulls, &self.field),
            Values::Double(values) => primitive::<Float64Type>(values, nulls, &self.field),
            Values::Decimal { values, .. } => primitive::<Decimal128Type>(values, nulls, &self.field),
            Values::Date(values) => primitive::<Date32Type>(values, nulls, &self.field),
            Values::Timestamp(values) => primitive::<TimestampMicrosecondType>(values, nulls, &self.field),
            Values::Interval(values) => primitive::<IntervalMonthDayNanoType>(values, nulls, &self.field),
            Values::Text { ends, bytes } => {
                let bytes = take(bytes);
                Arc::new(StringArray::new(offsets(ends), Buffer::from_vec(bytes), nulls))
            }
            Values::Struct { fields, columns } => {
                let columns = columns.iter_mut().map(Column::finish).collect();
                let array = StructArray::try_new_with_length(fields.clone(), columns, nulls, len);
                Arc::new(
                    array.expect("every nested column has one value a row, NOT NULL ones wherever there is a struct"),
                )
            }
            Values::List { ends, items } => {
                let DataType::List(field) = self.field.data_type() else {
                    unreachable!("lists are made of lists only")
                };
                Arc::new(ListArray::new(Arc::clone(field), offsets(ends), items.finish(), nulls))
            }
        }
    }

    fn bad(&self, message: String) -> BadRecord {
        BadRecord { column: Some(self.path.clone()), message }
    }

    fn bad_value(&self, text: &str, bad: BadValue) -> BadRecord {
        const SHOWN_CHARS_MAX: usize = 64;
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let sql_type = sql_type(self.field.data_type());
        self.bad(match bad {
            BadValue::Syntax => format!("'{shown}' is not a value of type {sql_type}"),
            BadValue::Range => format!("'{shown}' is out of the range of {sql_type}"),
            BadValue::Decimals => format!("'{shown}' has more decimals than {sql_type} holds"),
        })
    }
}

fn parse_narrow<T: TryFrom<i64>>(text: &str) -> Result<T, BadValue> {
    T::try_from(parse_integer(text)?).map_err(|_| BadValue::Range)
}

fn last_end(ends: &[i32]) -> usize {
    usize::try_from(ends[ends.len() - 1]).expect("offsets are not negative")
}

/// Takes a vector and leaves an empty one with as much room as was used.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let taken = take(ends);
    ends.push(0);
    OffsetBuffer::new(ScalarBuffer::from(taken))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>, field: &Field) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(take(values)), nulls);
    // Decimals and timestamps carry their precision and zone in the type.
    Arc::new(array.with_data_type(field.data_type().clone()))
}

/// A type as `CREATE SOURCE` writes it.
fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMPTZ".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::List(item) => format!("{}[]", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_type(field.data_type()))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}
