//! The few column types that leave the server, and how the many that Arrow has become one of them.
//!
//! Both encodings carry the same types, so that what a client must understand is one short list, whatever a query's plan
//! happens to produce.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef, TimeUnit};
use headwater_proto::v1;
use headwater_proto::v1::data_type::Kind;
use tonic::Status;

use super::refusal::{failed, type_unsupported};

/// The columns of a relation as they leave.
#[derive(Clone, Debug)]
pub(super) struct WireSchema {
    schema: SchemaRef,
}

impl WireSchema {
    /// Refuses a column whose type has no place on the wire.
    pub(super) fn new(schema: &Schema) -> Result<WireSchema, Status> {
        let field = |field: &FieldRef| {
            let data_type =
                wire_type(field.data_type()).ok_or_else(|| type_unsupported(field.name(), field.data_type()))?;
            Ok(Field::new(field.name(), data_type, field.is_nullable()))
        };
        let fields = schema.fields().iter().map(field).collect::<Result<Vec<Field>, Status>>()?;
        Ok(WireSchema { schema: Arc::new(Schema::new(fields)) })
    }

    /// The columns in Arrow's terms.
    pub(super) fn arrow(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns as a message, without the head of an Arrow stream.
    pub(super) fn message(&self) -> v1::Schema {
        v1::Schema { columns: self.schema.fields().iter().map(|field| column(field)).collect(), arrow_ipc: Vec::new() }
    }

    /// The same rows in the types of the wire.
    pub(super) fn convert(&self, rows: &RecordBatch) -> Result<RecordBatch, Status> {
        if rows.num_columns() != self.schema.fields().len() {
            return Err(failed("the rows of the answer do not have its columns"));
        }
        let columns = std::iter::zip(rows.columns(), self.schema.fields())
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    return Ok(Arc::clone(column));
                }
                cast(column, field.data_type())
                    .map_err(|error| failed(format!("column \"{}\" cannot be sent: {error}", field.name())))
            })
            .collect::<Result<Vec<_>, Status>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| failed(format!("the rows of the answer do not fit its columns: {error}")))
    }
}

/// The type in which values of `data_type` leave, if there is one.
fn wire_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Null => DataType::Null,
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Int16,
        DataType::UInt16 | DataType::Int32 => DataType::Int32,
        DataType::UInt32 | DataType::Int64 => DataType::Int64,
        DataType::UInt64 => DataType::UInt64,
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        DataType::Float64 => DataType::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal256(precision, scale) => DataType::Decimal256(*precision, *scale),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(wire_field(item)?),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect::<Option<_>>()?),
        DataType::Dictionary(_, values) => wire_type(values)?,
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type())?,
        DataType::Map(..) | DataType::Union(..) => return None,
    })
}

fn wire_field(field: &FieldRef) -> Option<FieldRef> {
    Some(Arc::new(Field::new(field.name(), wire_type(field.data_type())?, field.is_nullable())))
}

fn column(field: &Field) -> v1::Column {
    v1::Column {
        name: field.name().clone(),
        r#type: Some(type_message(field.data_type())),
        nullable: field.is_nullable(),
    }
}

/// The message for a type that [`wire_type`] gave.
fn type_message(data_type: &DataType) -> v1::DataType {
    let simple = |kind: Kind| v1::DataType { kind: kind.into(), ..v1::DataType::default() };
    match data_type {
        DataType::Null => simple(Kind::Null),
        DataType::Boolean => simple(Kind::Boolean),
        DataType::Int16 => simple(Kind::Smallint),
        DataType::Int32 => simple(Kind::Integer),
        DataType::Int64 => simple(Kind::Bigint),
        DataType::UInt64 => simple(Kind::UnsignedBigint),
        DataType::Float32 => simple(Kind::Real),
        DataType::Float64 => simple(Kind::Double),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            v1::DataType { precision: u32::from(*precision), scale: i32::from(*scale), ..simple(Kind::Decimal) }
        }
        DataType::Utf8 => simple(Kind::Text),
        DataType::Binary => simple(Kind::Bytes),
        DataType::Date32 => simple(Kind::Date),
        DataType::Time64(_) => simple(Kind::Time),
        DataType::Timestamp(_, None) => simple(Kind::Timestamp),
        DataType::Timestamp(_, Some(_)) => simple(Kind::Timestamptz),
        DataType::Interval(_) => simple(Kind::Interval),
        DataType::Struct(fields) => {
            v1::DataType { fields: fields.iter().map(|field| column(field)).collect(), ..simple(Kind::Struct) }
        }
        DataType::List(item) => v1::DataType { fields: vec![column(item)], ..simple(Kind::List) },
        other => unreachable!("{other} is not a type of the wire"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, DictionaryArray, StringViewArray, TimestampNanosecondArray, UInt8Array};
    use arrow::datatypes::Int32Type;
    use headwater_proto::refusal;
    use tonic::Code;

    use super::*;

    fn kind_of(data_type: DataType) -> Kind {
        let schema = Schema::new(vec![Field::new("c", data_type, true)]);
        let message = WireSchema::new(&schema).unwrap().message();
        message.columns[0].r#type.as_ref().unwrap().kind()
    }

    #[test]
    fn every_type_has_its_kind() {
        let zone = || Some("Europe/London".into());
        let table = [
            (DataType::Null, Kind::Null),
            (DataType::Boolean, Kind::Boolean),
            (DataType::Int8, Kind::Smallint),
            (DataType::UInt8, Kind::Smallint),
            (DataType::Int32, Kind::Integer),
            (DataType::UInt32, Kind::Bigint),
            (DataType::UInt64, Kind::UnsignedBigint),
            (DataType::Float16, Kind::Real),
            (DataType::Float64, Kind::Double),
            (DataType::Decimal32(9, 2), Kind::Decimal),
            (DataType::Decimal256(76, 10), Kind::Decimal),
            (DataType::LargeUtf8, Kind::Text),
            (DataType::FixedSizeBinary(16), Kind::Bytes),
            (DataType::Date64, Kind::Date),
            (DataType::Time32(TimeUnit::Second), Kind::Time),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), Kind::Timestamp),
            (DataType::Timestamp(TimeUnit::Second, zone()), Kind::Timestamptz),
            (DataType::Interval(IntervalUnit::DayTime), Kind::Interval),
            (DataType::Duration(TimeUnit::Second), Kind::Interval),
            (DataType::new_large_list(DataType::Utf8View, true), Kind::List),
            (DataType::Struct(vec![Field::new("a", DataType::Int8, true)].into()), Kind::Struct),
            (DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)), Kind::Text),
        ];
        for (data_type, kind) in table {
            assert_eq!(kind_of(data_type.clone()), kind, "{data_type}");
        }
    }

    #[test]
    fn a_type_without_a_place_is_refused_by_the_columns_name() {
        let union = DataType::Union(arrow::datatypes::UnionFields::empty(), arrow::datatypes::UnionMode::Sparse);
        let status = WireSchema::new(&Schema::new(vec![Field::new("json", union, true)])).unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(refusal::detail(&status).unwrap().name, "json");
    }

    #[test]
    fn rows_are_cast_to_the_types_of_the_wire() {
        let dictionary: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
        let columns: Vec<(&str, Arc<dyn Array>)> = vec![
            ("small", Arc::new(UInt8Array::from(vec![1, 2, 255]))),
            ("view", Arc::new(StringViewArray::from(vec![Some("a"), None, Some("")]))),
            ("word", Arc::new(dictionary)),
            ("at", Arc::new(TimestampNanosecondArray::from(vec![1_000, 2_000, 3_999]).with_timezone("+02:00"))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let wire = WireSchema::new(&rows.schema()).unwrap();
        let converted = wire.convert(&rows).unwrap();
        let types: Vec<DataType> = converted.columns().iter().map(|column| column.data_type().clone()).collect();
        let at = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        assert_eq!(types, [DataType::Int16, DataType::Utf8, DataType::Utf8, at]);
        assert!(converted.column(1).is_null(1));
    }
}
