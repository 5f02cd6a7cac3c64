//! SQL types and Arrow types: which there are, and what to use instead of those that there are not.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};

use crate::sql::error::SqlError;

/// TIMESTAMPTZ: microseconds in UTC.
pub(crate) fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// INTERVAL.
pub(crate) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Where a type is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As the type of a source's column: it must say exactly what is meant.
    Column,
    /// In an expression, as in `x::NUMERIC`: what can be understood is understood.
    Expression,
}

/// Why a type is refused.
#[derive(Clone, Debug)]
pub(crate) struct TypeRefusal {
    /// What is refused.
    pub(crate) message: String,
    /// What to use instead.
    pub(crate) hint: String,
}

fn refuse<T>(sql_type: &SqlType, hint: impl Into<String>) -> Result<T, TypeRefusal> {
    Err(TypeRefusal { message: format!("the type {sql_type}"), hint: hint.into() })
}

/// The Arrow type of an SQL type.
pub(crate) fn arrow_type(sql_type: &SqlType, place: Place) -> Result<DataType, TypeRefusal> {
    Ok(match sql_type {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::SmallInt(None) | SqlType::Int2(None) => DataType::Int16,
        SqlType::TinyInt(None) if place == Place::Expression => DataType::Int16,
        SqlType::TinyInt(_) => return refuse(sql_type, "use SMALLINT"),
        SqlType::Int(None) | SqlType::Integer(None) | SqlType::Int4(None) => DataType::Int32,
        SqlType::BigInt(None) | SqlType::Int8(None) => DataType::Int64,
        SqlType::Real | SqlType::Float4 => DataType::Float32,
        SqlType::Double(ExactNumberInfo::None) | SqlType::DoublePrecision | SqlType::Float8 => DataType::Float64,
        SqlType::Float(ExactNumberInfo::None) => DataType::Float64,
        SqlType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => DataType::Float32,
        SqlType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 53 => DataType::Float64,
        SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => decimal(sql_type, info, place)?,
        SqlType::Text | SqlType::String(None) => DataType::Utf8,
        SqlType::Varchar(length) | SqlType::CharacterVarying(length) | SqlType::CharVarying(length) => {
            text(sql_type, length)?
        }
        SqlType::Char(_) | SqlType::Character(_) => return refuse(sql_type, "use TEXT: texts are never padded"),
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp(precision, zone) => timestamp(sql_type, *precision, *zone, place)?,
        SqlType::Interval { fields: None, precision: None } => INTERVAL,
        SqlType::Array(ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, None)) => {
            DataType::List(Arc::new(Field::new_list_field(arrow_type(element, place)?, true)))
        }
        SqlType::Struct(fields, _) => structure(sql_type, fields, place)?,
        SqlType::JSON | SqlType::JSONB => return refuse(sql_type, "use TEXT and read it with -> and ->>"),
        SqlType::Uuid => return refuse(sql_type, "use TEXT"),
        SqlType::Time(..) => return refuse(sql_type, "use TEXT, or TIMESTAMPTZ with a date"),
        SqlType::Bytea => return refuse(sql_type, "use TEXT with encode(bytes, 'hex')"),
        SqlType::Custom(name, _) if ["serial", "bigserial"].contains(&name.to_string().to_lowercase().as_str()) => {
            return refuse(sql_type, "use BIGINT: rows come from outside with their numbers");
        }
        other => return refuse(other, KNOWN),
    })
}

/// The types there are, for hints.
const KNOWN: &str = "the types are BOOLEAN, SMALLINT, INTEGER, BIGINT, NUMERIC(p, s), REAL, DOUBLE PRECISION, TEXT, DATE, \
                     TIMESTAMPTZ, INTERVAL, STRUCT<...> and type[]";

fn decimal(sql_type: &SqlType, info: &ExactNumberInfo, place: Place) -> Result<DataType, TypeRefusal> {
    let (precision, scale) = match (*info, place) {
        (ExactNumberInfo::None, Place::Expression) => (38, 10),
        (ExactNumberInfo::None, Place::Column) => {
            return refuse(sql_type, "say how many digits there are, in all and after the point: NUMERIC(12, 2)");
        }
        (ExactNumberInfo::Precision(precision), _) => (precision, 0),
        (ExactNumberInfo::PrecisionAndScale(precision, scale), _) => (precision, scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s)) if s >= 0 && u64::try_from(scale).is_ok_and(|scale| scale <= precision) => {
            Ok(DataType::Decimal128(p, s))
        }
        _ => refuse(sql_type, "at most 38 digits, and none more after the point than in all"),
    }
}

fn text(sql_type: &SqlType, length: &Option<CharacterLength>) -> Result<DataType, TypeRefusal> {
    match length {
        None | Some(CharacterLength::Max) => Ok(DataType::Utf8),
        Some(CharacterLength::IntegerLength { .. }) => {
            refuse(sql_type, "use TEXT: lengths are not kept; cut a text with left(x, n)")
        }
    }
}

fn timestamp(
    sql_type: &SqlType,
    precision: Option<u64>,
    zone: TimezoneInfo,
    place: Place,
) -> Result<DataType, TypeRefusal> {
    let zoned = matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone);
    if precision.is_some_and(|digits| digits != 6) {
        return refuse(sql_type, "use TIMESTAMPTZ, which has microseconds");
    }
    // In an expression a time without a zone is a time in the session's zone, which is UTC.
    if zoned || place == Place::Expression {
        Ok(timestamptz())
    } else {
        refuse(sql_type, "use TIMESTAMPTZ: a time without a zone in the data is read as UTC")
    }
}

fn structure(
    sql_type: &SqlType,
    fields: &[datafusion::sql::sqlparser::ast::StructField],
    place: Place,
) -> Result<DataType, TypeRefusal> {
    let mut found = Vec::with_capacity(fields.len());
    for field in fields {
        let Some(name) = &field.field_name else {
            return refuse(sql_type, "name the fields: STRUCT<a BIGINT, b TEXT>");
        };
        let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
        found.push(Field::new(name, arrow_type(&field.field_type, place)?, true));
    }
    Ok(DataType::Struct(Fields::from(found)))
}

/// What a view shows instead of a value of `data_type`: the same type, one that it is cast to, or a refusal.
pub(crate) fn column_type(data_type: &DataType) -> Result<DataType, TypeRefusal> {
    let refused = |hint: &str| {
        Err(TypeRefusal { message: format!("a column of type {}", sql_name(data_type)), hint: hint.to_owned() })
    };
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Date32
        | DataType::Decimal128(..) => data_type.clone(),
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Decimal256(..) => return refused("numbers have at most 38 digits: cast to NUMERIC(38, s)"),
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => timestamptz(),
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::Dictionary(_, value) => column_type(value)?,
        DataType::RunEndEncoded(_, values) => column_type(values.data_type())?,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => {
            DataType::List(Arc::new(Field::new(field.name(), column_type(field.data_type())?, field.is_nullable())))
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| Ok(Field::new(field.name(), column_type(field.data_type())?, field.is_nullable())))
                .collect::<Result<Fields, TypeRefusal>>()?,
        ),
        DataType::Time32(_) | DataType::Time64(_) => return refused("cast it to TEXT"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            return refused("turn it into text: encode(x, 'hex')");
        }
        DataType::Union(..) => {
            return refused("take the value out as text with ->> or cast it, as in (x->'a')::BIGINT");
        }
        DataType::Map(..) => return refused("take values out of it: map_extract(x, 'key')"),
    })
}

/// What SQL calls a type.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE PRECISION".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("NUMERIC({precision}, {scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMPTZ".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "BYTEA".to_owned()
        }
        DataType::Null => "NULL".to_owned(),
        DataType::List(field) => format!("{}[]", sql_name(field.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        // The only union there is comes from reading JSON with ->.
        DataType::Union(..) => "JSON".to_owned(),
        other => other.to_string(),
    }
}

/// Teaches the planner our types, in expressions.
#[derive(Debug)]
pub(super) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        match arrow_type(sql_type, Place::Expression) {
            Ok(data_type) => Ok(Some(Arc::new(Field::new("", data_type, true)))),
            Err(refusal) => {
                let error = SqlError::unsupported(refusal.message).hint(refusal.hint);
                Err(DataFusionError::External(Box::new(error)))
            }
        }
    }
}
