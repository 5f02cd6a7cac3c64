//! Arrow columns as rows of typed values.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt64Type,
};
use headwater_proto::decimal::decimal_text;
use headwater_proto::v1::value::Kind;
use headwater_proto::v1::{Interval, ListValue, Row, StructValue, Value};

/// The rows of a batch whose columns have types of the wire.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Row> {
    transpose(batch.columns(), batch.num_rows()).map(|values| Row { values }).collect()
}

fn transpose(columns: &[ArrayRef], rows: usize) -> impl Iterator<Item = Vec<Value>> {
    let mut columns: Vec<_> = columns.iter().map(|column| values(column.as_ref()).into_iter()).collect();
    (0..rows).map(move |_| {
        columns.iter_mut().map(|column| column.next().expect("a column has as many values as there are rows")).collect()
    })
}

/// One value a row; the type must be one of the wire.
fn values(array: &dyn Array) -> Vec<Value> {
    let kinds: Vec<Option<Kind>> = match array.data_type() {
        DataType::Null => vec![None; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map(Kind::BoolValue)).collect(),
        DataType::Int16 => {
            array.as_primitive::<Int16Type>().iter().map(|value| value.map(|v| Kind::Int64Value(v.into()))).collect()
        }
        DataType::Int32 => {
            array.as_primitive::<Int32Type>().iter().map(|value| value.map(|v| Kind::Int64Value(v.into()))).collect()
        }
        DataType::Int64 => array.as_primitive::<Int64Type>().iter().map(|value| value.map(Kind::Int64Value)).collect(),
        DataType::UInt64 => {
            array.as_primitive::<UInt64Type>().iter().map(|value| value.map(Kind::Uint64Value)).collect()
        }
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().iter().map(|value| value.map(|v| Kind::DoubleValue(v.into()))).collect()
        }
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().map(|value| value.map(Kind::DoubleValue)).collect()
        }
        DataType::Decimal128(_, scale) => array
            .as_primitive::<Decimal128Type>()
            .iter()
            .map(|value| value.map(|v| Kind::DecimalValue(decimal_text(v, *scale))))
            .collect(),
        DataType::Decimal256(_, scale) => array
            .as_primitive::<Decimal256Type>()
            .iter()
            .map(|value| value.map(|v| Kind::DecimalValue(decimal_text(v, *scale))))
            .collect(),
        DataType::Utf8 => {
            array.as_string::<i32>().iter().map(|value| value.map(|text| Kind::StringValue(text.to_owned()))).collect()
        }
        DataType::Binary => {
            array.as_binary::<i32>().iter().map(|value| value.map(|bytes| Kind::BytesValue(bytes.to_vec()))).collect()
        }
        _ => calendar_or_nested(array),
    };
    kinds.into_iter().map(|kind| Value { kind }).collect()
}

fn calendar_or_nested(array: &dyn Array) -> Vec<Option<Kind>> {
    match array.data_type() {
        DataType::Date32 => array.as_primitive::<Date32Type>().iter().map(|value| value.map(Kind::DateDays)).collect(),
        DataType::Time64(_) => {
            array.as_primitive::<Time64MicrosecondType>().iter().map(|value| value.map(Kind::TimeMicros)).collect()
        }
        DataType::Timestamp(..) => array
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|value| value.map(Kind::TimestampMicros))
            .collect(),
        DataType::Interval(_) => array
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .map(|value| {
                value.map(|v| {
                    Kind::IntervalValue(Interval { months: v.months, days: v.days, nanoseconds: v.nanoseconds })
                })
            })
            .collect(),
        DataType::Struct(_) => {
            let array = array.as_struct();
            let members = transpose(array.columns(), array.len());
            let kind = |(row, values)| array.is_valid(row).then_some(Kind::StructValue(StructValue { values }));
            members.enumerate().map(kind).collect()
        }
        DataType::List(_) => array
            .as_list::<i32>()
            .iter()
            .map(|items| items.map(|items| Kind::ListValue(ListValue { values: values(items.as_ref()) })))
            .collect(),
        other => unreachable!("{other} is not a type of the wire"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float32Array, Float64Array,
        Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray, StringArray, StructArray,
        Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, IntervalMonthDayNano, i256};

    use super::*;

    fn check(array: impl Array, expected: &[Option<Kind>]) {
        let expected: Vec<Value> = expected.iter().map(|kind| Value { kind: kind.clone() }).collect();
        assert_eq!(values(&array), expected, "{}", array.data_type());
    }

    #[test]
    fn every_type_has_its_value() {
        check(NullArray::new(1), &[None]);
        check(BooleanArray::from(vec![Some(true), None]), &[Some(Kind::BoolValue(true)), None]);
        check(Int16Array::from(vec![Some(-3), None]), &[Some(Kind::Int64Value(-3)), None]);
        check(Int32Array::from(vec![i32::MIN]), &[Some(Kind::Int64Value(i32::MIN.into()))]);
        check(Int64Array::from(vec![i64::MAX]), &[Some(Kind::Int64Value(i64::MAX))]);
        check(UInt64Array::from(vec![u64::MAX]), &[Some(Kind::Uint64Value(u64::MAX))]);
        check(Float32Array::from(vec![0.5]), &[Some(Kind::DoubleValue(0.5))]);
        check(Float64Array::from(vec![Some(0.1), None]), &[Some(Kind::DoubleValue(0.1)), None]);
        let decimals = Decimal128Array::from(vec![Some(-5), None]).with_precision_and_scale(10, 2).unwrap();
        check(decimals, &[Some(Kind::DecimalValue("-0.05".to_owned())), None]);
        let wide = Decimal256Array::from(vec![i256::from_i128(12)]).with_precision_and_scale(40, -2).unwrap();
        check(wide, &[Some(Kind::DecimalValue("1200".to_owned()))]);
        let text = StringArray::from(vec![Some(""), None]);
        check(text, &[Some(Kind::StringValue(String::new())), None]);
        check(BinaryArray::from_vec(vec![b"\x00"]), &[Some(Kind::BytesValue(vec![0]))]);
        check(Date32Array::from(vec![-1]), &[Some(Kind::DateDays(-1))]);
        check(Time64MicrosecondArray::from(vec![5]), &[Some(Kind::TimeMicros(5))]);
        let at = TimestampMicrosecondArray::from(vec![Some(7), None]).with_timezone("+00:00");
        check(at, &[Some(Kind::TimestampMicros(7)), None]);
        let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, -2, 3)]);
        let expected = Interval { months: 1, days: -2, nanoseconds: 3 };
        check(interval, &[Some(Kind::IntervalValue(expected))]);
    }

    #[test]
    fn nested_values_keep_their_nulls() {
        let number = |n: i64| Value { kind: Some(Kind::Int64Value(n)) };
        let null = Value { kind: None };
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
        let items = |values: Vec<Value>| Some(Kind::ListValue(ListValue { values }));
        check(list.slice(1, 2), &[None, items(vec![])]);
        check(list, &[items(vec![number(1), null.clone()]), None, items(vec![])]);
        let members: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), Some(5), None]));
        let fields = vec![Field::new("a", DataType::Int64, true)].into();
        let structs = StructArray::new(fields, vec![members], Some(NullBuffer::from(vec![true, false, true])));
        let inside = |values: Vec<Value>| Some(Kind::StructValue(StructValue { values }));
        check(structs, &[inside(vec![number(4)]), None, inside(vec![null])]);
    }

    #[test]
    fn rows_are_the_transposed_columns() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![1, 2]))),
            ("s", Arc::new(StringArray::from(vec![Some("x"), None]))),
        ];
        let rows = rows(&RecordBatch::try_from_iter(columns).unwrap());
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].values[1].kind, Some(Kind::StringValue("x".to_owned())));
        assert_eq!(rows[1].values[0].kind, Some(Kind::Int64Value(2)));
        assert_eq!(rows[1].values[1].kind, None);
    }
}
