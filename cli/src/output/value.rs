//! The text of one value: for CSV and tables, and for JSON.
//!
//! | type | CSV and table | JSON |
//! |---|---|---|
//! | BOOLEAN | `true`, `false` | the same |
//! | integers | plain | numbers |
//! | DECIMAL | plain, all digits | numbers with all digits: read them as decimals, not as doubles |
//! | REAL, DOUBLE | the shortest text that reads back as the same number | numbers; `"NaN"`, `"Infinity"` as text |
//! | TEXT | as it is | text |
//! | BYTEA | `\x00ff` | the same as text |
//! | DATE | `2011-12-09` | the same as text |
//! | TIME | `12:50:00`, a fraction only if not zero | the same as text |
//! | TIMESTAMP | `2011-12-09T12:50:00`, a fraction only if not zero | the same as text |
//! | TIMESTAMPTZ | the same with `Z`, always UTC | the same as text |
//! | INTERVAL | ISO 8601: `P1Y2M3DT4H5M6.5S` | the same as text |
//! | STRUCT, lists | as JSON | objects, arrays |

use std::fmt::{Display, LowerExp, Write};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use headwater_proto::decimal::decimal_text;

const SECOND_MICROS: i64 = 1_000_000;
const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;
const SECOND_NANOS: i64 = 1_000_000_000;

/// Whether the value is NULL.
pub(crate) fn is_null(array: &dyn Array, row: usize) -> bool {
    // Such a column has no bitmap to ask.
    matches!(array.data_type(), DataType::Null) || array.is_null(row)
}

/// Whether values of the type stand to the right in a table.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Appends the plain text of a value; nothing for NULL.
pub(crate) fn write_text(array: &dyn Array, row: usize, out: &mut String) {
    if is_null(array, row) {
        return;
    }
    match array.data_type() {
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Struct(_) | DataType::List(_) => write_json(array, row, out),
        _ => write_scalar(array, row, out),
    }
}

/// Appends a value as JSON.
pub(crate) fn write_json(array: &dyn Array, row: usize, out: &mut String) {
    if is_null(array, row) {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::Utf8 => write_json_string(array.as_string::<i32>().value(row), out),
        DataType::Struct(fields) => {
            let members = array.as_struct();
            out.push('{');
            for (index, (field, member)) in std::iter::zip(fields, members.columns()).enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json_string(field.name(), out);
                out.push(':');
                write_json(member.as_ref(), row, out);
            }
            out.push('}');
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for index in 0..items.len() {
                if index > 0 {
                    out.push(',');
                }
                write_json(items.as_ref(), index, out);
            }
            out.push(']');
        }
        data_type => {
            let bare = data_type.is_numeric() || matches!(data_type, DataType::Boolean);
            let begin = out.len();
            write_scalar(array, row, out);
            // NaN and the infinities are no JSON numbers.
            if !bare || out[begin..].ends_with(['N', 'y']) {
                let text = out.split_off(begin);
                write_json_string(&text, out);
            }
        }
    }
}

/// Appends text as a JSON string.
pub(crate) fn write_json_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn write_scalar(array: &dyn Array, row: usize, out: &mut String) {
    match array.data_type() {
        DataType::Boolean => show(array.as_boolean().value(row), out),
        DataType::Int8 => show(array.as_primitive::<Int8Type>().value(row), out),
        DataType::Int16 => show(array.as_primitive::<Int16Type>().value(row), out),
        DataType::Int32 => show(array.as_primitive::<Int32Type>().value(row), out),
        DataType::Int64 => show(array.as_primitive::<Int64Type>().value(row), out),
        DataType::UInt8 => show(array.as_primitive::<UInt8Type>().value(row), out),
        DataType::UInt16 => show(array.as_primitive::<UInt16Type>().value(row), out),
        DataType::UInt32 => show(array.as_primitive::<UInt32Type>().value(row), out),
        DataType::UInt64 => show(array.as_primitive::<UInt64Type>().value(row), out),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            write_float(value, value.into(), out);
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            write_float(value, value, out);
        }
        DataType::Decimal128(_, scale) => {
            out.push_str(&decimal_text(array.as_primitive::<Decimal128Type>().value(row), *scale));
        }
        DataType::Decimal256(_, scale) => {
            out.push_str(&decimal_text(array.as_primitive::<Decimal256Type>().value(row), *scale));
        }
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(row), out),
        DataType::Date32 => write_date(array.as_primitive::<Date32Type>().value(row).into(), out),
        DataType::Time64(TimeUnit::Microsecond) => {
            write_time(array.as_primitive::<Time64MicrosecondType>().value(row), out);
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            write_date(micros.div_euclid(DAY_MICROS), out);
            out.push('T');
            write_time(micros.rem_euclid(DAY_MICROS), out);
            if zone.is_some() {
                out.push('Z');
            }
        }
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano) => {
            write_interval(array.as_primitive::<IntervalMonthDayNanoType>().value(row), out);
        }
        // No server sends other types; Arrow's own text is better than none.
        _ => out.push_str(&array_value_to_string(array, row).unwrap_or_else(|error| error.to_string())),
    }
}

fn show(value: impl Display, out: &mut String) {
    write!(out, "{value}").expect("writing to a string cannot fail");
}

/// `value` decides the digits, `wide` (the same number) the notation: plain unless that would be long.
fn write_float(value: impl Display + LowerExp, wide: f64, out: &mut String) {
    let magnitude = wide.abs();
    if wide.is_infinite() {
        out.push_str(if wide > 0.0 { "Infinity" } else { "-Infinity" });
    } else if magnitude != 0.0 && !(1e-7..1e21).contains(&magnitude) && !wide.is_nan() {
        write!(out, "{value:e}").expect("writing to a string cannot fail");
    } else {
        show(value, out);
    }
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    out.push_str("\\x");
    for byte in bytes {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
    }
}

/// `days` since 1970-01-01 in the proleptic Gregorian calendar. Years of more than four digits get a sign, as in ISO 8601.
fn write_date(days: i64, out: &mut String) {
    // Counted in eras of 400 years, from 1 March of year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let sign = match year {
        ..0 => "-",
        0..10_000 => "",
        _ => "+",
    };
    write!(out, "{sign}{:04}-{month:02}-{day:02}", year.abs()).expect("writing to a string cannot fail");
}

fn write_time(micros: i64, out: &mut String) {
    let seconds = micros / SECOND_MICROS;
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        .expect("writing to a string cannot fail");
    write_fraction(micros % SECOND_MICROS, 6, out);
}

/// A fraction of `digits` digits without its last zeros; nothing if it is zero.
fn write_fraction(fraction: i64, digits: usize, out: &mut String) {
    if fraction != 0 {
        let text = format!("{fraction:0digits$}");
        out.push('.');
        out.push_str(text.trim_end_matches('0'));
    }
}

fn write_interval(interval: IntervalMonthDayNano, out: &mut String) {
    let seconds = interval.nanoseconds / SECOND_NANOS;
    let fraction = interval.nanoseconds % SECOND_NANOS;
    let begin = out.len();
    out.push('P');
    let mut part = |count: i64, unit: char| {
        if count != 0 {
            write!(out, "{count}{unit}").expect("writing to a string cannot fail");
        }
    };
    part((interval.months / 12).into(), 'Y');
    part((interval.months % 12).into(), 'M');
    part(interval.days.into(), 'D');
    if interval.nanoseconds != 0 {
        out.push('T');
        let mut part = |count: i64, unit: char| {
            if count != 0 {
                write!(out, "{count}{unit}").expect("writing to a string cannot fail");
            }
        };
        part(seconds / 3600, 'H');
        part(seconds / 60 % 60, 'M');
        if seconds % 60 != 0 || fraction != 0 {
            let sign = if interval.nanoseconds < 0 { "-" } else { "" };
            write!(out, "{sign}{}", (seconds % 60).abs()).expect("writing to a string cannot fail");
            write_fraction(fraction.abs(), 9, out);
            out.push('S');
        }
    }
    if out.len() == begin + 1 {
        out.push_str("T0S");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float32Array, Float64Array,
        Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray, StringArray,
        StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array,
        UInt64Array,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, i256};

    use super::*;

    /// Each row of `array` has the plain text and the JSON text of the table.
    fn check(array: impl Array, expected: &[(&str, &str)]) {
        assert_eq!(array.len(), expected.len());
        for (row, (text, json)) in expected.iter().enumerate() {
            let mut found = (String::new(), String::new());
            write_text(&array, row, &mut found.0);
            write_json(&array, row, &mut found.1);
            assert_eq!((found.0.as_str(), found.1.as_str()), (*text, *json), "{} row {row}", array.data_type());
        }
    }

    #[test]
    fn nothing_and_truth() {
        check(NullArray::new(1), &[("", "null")]);
        check(
            BooleanArray::from(vec![Some(true), Some(false), None]),
            &[("true", "true"), ("false", "false"), ("", "null")],
        );
    }

    #[test]
    fn integers_are_plain() {
        check(Int8Array::from(vec![-128]), &[("-128", "-128")]);
        check(Int16Array::from(vec![-32768]), &[("-32768", "-32768")]);
        check(Int32Array::from(vec![Some(7), None]), &[("7", "7"), ("", "null")]);
        check(Int64Array::from(vec![i64::MIN]), &[("-9223372036854775808", "-9223372036854775808")]);
        check(UInt8Array::from(vec![255]), &[("255", "255")]);
        check(UInt16Array::from(vec![65535]), &[("65535", "65535")]);
        check(UInt32Array::from(vec![u32::MAX]), &[("4294967295", "4294967295")]);
        check(UInt64Array::from(vec![u64::MAX]), &[("18446744073709551615", "18446744073709551615")]);
    }

    #[test]
    fn floats_are_the_shortest_that_read_back() {
        let same = |texts: &[&'static str]| texts.iter().map(|text| (*text, *text)).collect::<Vec<_>>();
        check(
            Float64Array::from(vec![0.1, 1.0, -2.5, 1e21, 1.5e-7, 1e-8, f64::MAX, 0.0]),
            &same(&["0.1", "1", "-2.5", "1e21", "0.00000015", "1e-8", "1.7976931348623157e308", "0"]),
        );
        check(
            Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
            &[("NaN", "\"NaN\""), ("Infinity", "\"Infinity\""), ("-Infinity", "\"-Infinity\"")],
        );
        check(Float32Array::from(vec![0.1, 16_777_216.0, 1e-10]), &same(&["0.1", "16777216", "1e-10"]));
    }

    #[test]
    fn every_float_reads_back() {
        let mut bits: u64 = 0x9E37_79B9_7F4A_7C15;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let mut text = String::new();
                write_float(value, value, &mut text);
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{text}");
            }
        }
    }

    #[test]
    fn decimals_are_plain_with_all_digits() {
        let decimal = |values: Vec<Option<i128>>, precision, scale| {
            Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
        };
        check(
            decimal(vec![Some(1250), Some(-5), Some(0), None], 12, 2),
            &[("12.50", "12.50"), ("-0.05", "-0.05"), ("0.00", "0.00"), ("", "null")],
        );
        check(decimal(vec![Some(12), Some(0), Some(-1)], 5, -2), &[("1200", "1200"), ("0", "0"), ("-100", "-100")]);
        check(decimal(vec![Some(12)], 5, 0), &[("12", "12")]);
        let wide = Decimal256Array::from(vec![i256::from_i128(i128::MAX)]).with_precision_and_scale(76, 10).unwrap();
        let text = "17014118346046923173168730371.5884105727";
        check(wide, &[(text, text)]);
    }

    #[test]
    fn text_and_bytes() {
        check(
            StringArray::from(vec![Some("a\"b\n\u{1}ü"), Some(""), None]),
            &[("a\"b\n\u{1}ü", "\"a\\\"b\\n\\u0001ü\""), ("", "\"\""), ("", "null")],
        );
        check(BinaryArray::from_vec(vec![b"\x00\xff", b""]), &[("\\x00ff", "\"\\\\x00ff\""), ("\\x", "\"\\\\x\"")]);
    }

    #[test]
    fn dates_and_times() {
        check(
            Date32Array::from(vec![0, -1, 15_317, 11_016, -719_528, 2_932_897, -719_529]),
            &[
                ("1970-01-01", "\"1970-01-01\""),
                ("1969-12-31", "\"1969-12-31\""),
                ("2011-12-09", "\"2011-12-09\""),
                ("2000-02-29", "\"2000-02-29\""),
                ("0000-01-01", "\"0000-01-01\""),
                ("+10000-01-01", "\"+10000-01-01\""),
                ("-0001-12-31", "\"-0001-12-31\""),
            ],
        );
        check(
            Time64MicrosecondArray::from(vec![0, 46_200_000_000, 86_399_999_999]),
            &[("00:00:00", "\"00:00:00\""), ("12:50:00", "\"12:50:00\""), ("23:59:59.999999", "\"23:59:59.999999\"")],
        );
        let micros = vec![Some(1_323_435_000_000_000), Some(1_323_435_000_500_000), Some(-1), None];
        check(
            TimestampMicrosecondArray::from(micros.clone()).with_timezone("+00:00"),
            &[
                ("2011-12-09T12:50:00Z", "\"2011-12-09T12:50:00Z\""),
                ("2011-12-09T12:50:00.5Z", "\"2011-12-09T12:50:00.5Z\""),
                ("1969-12-31T23:59:59.999999Z", "\"1969-12-31T23:59:59.999999Z\""),
                ("", "null"),
            ],
        );
        check(
            TimestampMicrosecondArray::from(micros[..1].to_vec()),
            &[("2011-12-09T12:50:00", "\"2011-12-09T12:50:00\"")],
        );
        // The ends of the type's range are years of six digits.
        check(
            TimestampMicrosecondArray::from(vec![i64::MAX, i64::MIN]),
            &[
                ("+294247-01-10T04:00:54.775807", "\"+294247-01-10T04:00:54.775807\""),
                ("-290308-12-21T19:59:05.224192", "\"-290308-12-21T19:59:05.224192\""),
            ],
        );
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        for days in (-800_000..3_000_000).step_by(97) {
            let date = chrono::NaiveDate::from_num_days_from_ce_opt(days + 719_163).unwrap();
            let mut text = String::new();
            write_date(days.into(), &mut text);
            assert_eq!(text, date.to_string());
        }
    }

    #[test]
    fn intervals_are_iso_8601() {
        let interval = |months, days, nanos| IntervalMonthDayNano::new(months, days, nanos);
        check(
            IntervalMonthDayNanoArray::from(vec![
                interval(14, 3, 14_706_500_000_000),
                interval(0, 0, 0),
                interval(-14, -3, -500_000_000),
                interval(0, 1, 0),
                interval(1, 0, 60_000_000_000),
                interval(0, 0, 1),
            ]),
            &[
                ("P1Y2M3DT4H5M6.5S", "\"P1Y2M3DT4H5M6.5S\""),
                ("PT0S", "\"PT0S\""),
                ("P-1Y-2M-3DT-0.5S", "\"P-1Y-2M-3DT-0.5S\""),
                ("P1D", "\"P1D\""),
                ("P1MT1M", "\"P1MT1M\""),
                ("PT0.000000001S", "\"PT0.000000001S\""),
            ],
        );
    }

    #[test]
    fn nested_values_are_json() {
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
        check(list.clone(), &[("[1,null]", "[1,null]"), ("", "null"), ("[]", "[]")]);
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("y")]));
        let fields =
            vec![Field::new("name", DataType::Utf8, true), Field::new("items", list.data_type().clone(), true)];
        let nulls = Some(NullBuffer::from(vec![true, true, false]));
        let structs = StructArray::new(fields.into(), vec![names, Arc::new(list)], nulls);
        let first = "{\"name\":\"x\",\"items\":[1,null]}";
        let second = "{\"name\":null,\"items\":null}";
        check(structs, &[(first, first), (second, second), ("", "null")]);
    }
}
