//! Values of aggregates as codes: integers whose order is the values' order, or bytes where no integer holds them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, PrimitiveArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::{EncodedRows, RowCodec};

/// How a value is held.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ValueKind {
    /// An integer code of at most 64 bits.
    Narrow,
    /// An integer code of 128 bits.
    Wide,
    /// The UTF-8 or raw bytes of the value, whose order is memcmp's.
    Bytes,
    /// arrow-row bytes: any other type.
    Row,
}

impl ValueKind {
    /// The kind for a type.
    pub(crate) fn of(data_type: &DataType) -> ValueKind {
        match data_type {
            DataType::Decimal128(_, _) => ValueKind::Wide,
            DataType::Utf8 | DataType::Binary => ValueKind::Bytes,
            DataType::Boolean
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(_, _) => ValueKind::Narrow,
            other if other.is_integer() || matches!(other, DataType::Float32 | DataType::Float64) => ValueKind::Narrow,
            _ => ValueKind::Row,
        }
    }

    /// Whether values are integer codes of at most 64 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        matches!(self, ValueKind::Narrow)
    }

    /// Whether values are integer codes.
    pub(crate) fn is_code(&self) -> bool {
        matches!(self, ValueKind::Narrow | ValueKind::Wide)
    }
}

/// Calls `$body` with `$t` bound to the primitive type of `$data_type`; `$other` for types that are none.
macro_rules! for_primitive {
    ($data_type:expr, $t:ident => $body:expr, _ => $other:expr) => {
        match $data_type {
            DataType::Int8 => {
                type $t = Int8Type;
                $body
            }
            DataType::Int16 => {
                type $t = Int16Type;
                $body
            }
            DataType::Int32 => {
                type $t = Int32Type;
                $body
            }
            DataType::Int64 => {
                type $t = Int64Type;
                $body
            }
            DataType::UInt8 => {
                type $t = UInt8Type;
                $body
            }
            DataType::UInt16 => {
                type $t = UInt16Type;
                $body
            }
            DataType::UInt32 => {
                type $t = UInt32Type;
                $body
            }
            DataType::UInt64 => {
                type $t = UInt64Type;
                $body
            }
            DataType::Date32 => {
                type $t = Date32Type;
                $body
            }
            DataType::Date64 => {
                type $t = Date64Type;
                $body
            }
            DataType::Time32(TimeUnit::Second) => {
                type $t = Time32SecondType;
                $body
            }
            DataType::Time32(_) => {
                type $t = Time32MillisecondType;
                $body
            }
            DataType::Time64(TimeUnit::Nanosecond) => {
                type $t = Time64NanosecondType;
                $body
            }
            DataType::Time64(_) => {
                type $t = Time64MicrosecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                type $t = TimestampSecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                type $t = TimestampMillisecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                type $t = TimestampMicrosecondType;
                $body
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                type $t = TimestampNanosecondType;
                $body
            }
            DataType::Decimal128(_, _) => {
                type $t = Decimal128Type;
                $body
            }
            _ => $other,
        }
    };
}

/// A native value as a wide integer, both ways.
trait Integer: ArrowNativeType {
    fn widen(self) -> i128;
    fn bits(self) -> u64;
    fn narrow(code: i128) -> Self;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Integer for $t {
            #[inline]
            fn widen(self) -> i128 { i128::from(self) }
            #[inline]
            fn bits(self) -> u64 { self as u64 }
            #[inline]
            fn narrow(code: i128) -> Self { <$t>::try_from(code).expect("a code of this type") }
        }
    )*};
}
integers!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

/// Doubles as integers of the same order: NaN is the greatest, as in Postgres.
pub(crate) fn float_code(value: f64) -> i128 {
    let bits = (if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    })
    .to_bits();
    i128::from(if bits >> 63 == 1 { !bits } else { bits | 1 << 63 })
}

/// The double of a code.
pub(crate) fn code_float(code: i128) -> f64 {
    let bits = u64::try_from(code).expect("a float's code has 64 bits");
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

fn widen<T: ArrowPrimitiveType<Native: Integer>>(values: &ArrayRef) -> Vec<i128> {
    values.as_primitive::<T>().values().iter().map(|value| value.widen()).collect()
}

fn narrow<T: ArrowPrimitiveType<Native: Integer>>(codes: &[i128], nulls: Option<NullBuffer>) -> PrimitiveArray<T> {
    PrimitiveArray::new(codes.iter().map(|code| T::Native::narrow(*code)).collect::<Vec<_>>().into(), nulls)
}

/// The codes of a column of a type that [`ValueKind::is_code`], or of numbers to be summed. What stands at NULLs is
/// unspecified.
///
/// Panics on other types.
pub(crate) fn codes(values: &ArrayRef) -> Cow<'_, [i128]> {
    if let DataType::Decimal128(_, _) = values.data_type() {
        return Cow::Borrowed(values.as_primitive::<Decimal128Type>().values());
    }
    Cow::Owned(for_primitive!(values.data_type(), T => widen::<T>(values), _ => match values.data_type() {
        DataType::Boolean => values.as_boolean().values().iter().map(i128::from).collect(),
        DataType::Float64 => values.as_primitive::<Float64Type>().values().iter().map(|v| float_code(*v)).collect(),
        DataType::Float32 => {
            values.as_primitive::<Float32Type>().values().iter().map(|v| float_code(f64::from(*v))).collect()
        }
        other => panic!("{other} has no integer codes"),
    }))
}

/// The codes of a column of [`ValueKind::Narrow`] in 64 bits: different values have different ones, their order is lost.
pub(crate) fn narrow_codes(values: &ArrayRef) -> Vec<u64> {
    integers(values).unwrap_or_else(|| codes(values).iter().map(|code| *code as u64).collect())
}

fn bits<T: ArrowPrimitiveType<Native: Integer>>(values: &ArrayRef) -> Vec<u64> {
    values.as_primitive::<T>().values().iter().map(|value| value.bits()).collect()
}

/// The values of a column of integers, dates or times of at most 64 bits, as bits; of other types nothing. What stands at
/// NULLs is unspecified.
pub(crate) fn integers(values: &ArrayRef) -> Option<Vec<u64>> {
    match values.data_type() {
        DataType::Decimal128(_, _) => None,
        data_type => for_primitive!(data_type, T => Some(bits::<T>(values)), _ => None),
    }
}

/// A column of `data_type` from codes.
///
/// Panics if a code is out of the type's range: callers check sums before.
pub(crate) fn from_codes(codes: &[Option<i128>], data_type: &DataType) -> ArrayRef {
    let nulls = codes.iter().any(Option::is_none).then(|| codes.iter().map(Option::is_some).collect());
    column(codes.iter().map(|code| code.unwrap_or(0)).collect(), nulls, data_type)
}

/// The same where `nulls` says which codes count; others are 0.
pub(crate) fn column(codes: Vec<i128>, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
    if let DataType::Decimal128(_, _) = data_type {
        return Arc::new(Decimal128Array::new(codes.into(), nulls).with_data_type(data_type.clone()));
    }
    for_primitive!(data_type, T => Arc::new(narrow::<T>(&codes, nulls).with_data_type(data_type.clone())), _ => {
        match data_type {
            DataType::Boolean => Arc::new(BooleanArray::new(codes.iter().map(|code| *code != 0).collect(), nulls)),
            DataType::Float64 => {
                let floats = codes.iter().map(|code| code_float(*code));
                Arc::new(PrimitiveArray::<Float64Type>::new(floats.collect::<Vec<_>>().into(), nulls))
            }
            DataType::Float32 => {
                let floats = codes.iter().map(|code| code_float(*code) as f32);
                Arc::new(PrimitiveArray::<Float32Type>::new(floats.collect::<Vec<_>>().into(), nulls))
            }
            other => panic!("{other} has no integer codes"),
        }
    })
}

/// The least and the greatest value of a type, as codes: what a sum must lie between.
pub(crate) fn range(data_type: &DataType) -> (i128, i128) {
    match data_type {
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        DataType::Decimal128(precision, _) => {
            let limit = 10i128.pow(u32::from(*precision)) - 1;
            (-limit, limit)
        }
        other => panic!("{other} is no type of an exact sum"),
    }
}

/// The doubles of a column of floats.
pub(crate) fn doubles(values: &ArrayRef) -> Vec<f64> {
    match values.data_type() {
        DataType::Float32 => values.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect(),
        _ => values.as_primitive::<Float64Type>().values().to_vec(),
    }
}

/// The bytes of a column's values.
pub(crate) enum ByteValues {
    Text(StringArray),
    Binary(BinaryArray),
    Rows(EncodedRows),
}

impl ByteValues {
    pub(crate) fn new(values: &ArrayRef) -> ByteValues {
        match values.data_type() {
            DataType::Utf8 => ByteValues::Text(values.as_string::<i32>().clone()),
            DataType::Binary => ByteValues::Binary(values.as_binary::<i32>().clone()),
            other => {
                let codec = RowCodec::new([other]).unwrap_or_else(|error| panic!("{error}"));
                let rows = codec.encode(std::slice::from_ref(values)).expect("a column of the codec's type");
                ByteValues::Rows(rows)
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        match self {
            ByteValues::Text(values) => values.value(index).as_bytes(),
            ByteValues::Binary(values) => values.value(index),
            ByteValues::Rows(rows) => rows.get(index),
        }
    }
}

/// A column of `data_type` from bytes that [`ByteValues`] gave.
pub(crate) fn from_bytes(values: &[Option<&[u8]>], data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Utf8 => {
            let text = values.iter().map(|value| value.map(|v| std::str::from_utf8(v).expect("text stays UTF-8")));
            Arc::new(text.collect::<StringArray>())
        }
        DataType::Binary => Arc::new(values.iter().copied().collect::<BinaryArray>()),
        other => {
            let codec = RowCodec::new([other]).unwrap_or_else(|error| panic!("{error}"));
            let null = arrow::array::new_null_array(other, 1);
            let null_row = codec.encode(&[null]).expect("a column of the codec's type");
            let rows = values.iter().map(|value| value.unwrap_or_else(|| null_row.get(0)));
            codec.decode(rows).expect("bytes of the codec decode").remove(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_codes_keep_order_and_values() {
        let values = [f64::NEG_INFINITY, -1.5, -5e-324, 0.0, 5e-324, 1.5, f64::MAX, f64::INFINITY];
        for pair in values.windows(2) {
            assert!(float_code(pair[0]) < float_code(pair[1]), "{pair:?}");
        }
        for value in values {
            assert_eq!(code_float(float_code(value)).to_bits(), value.to_bits());
        }
        assert_eq!(float_code(-0.0), float_code(0.0));
        assert!(float_code(-f64::NAN) == float_code(f64::NAN) && float_code(f64::NAN) > float_code(f64::INFINITY));
    }
}
