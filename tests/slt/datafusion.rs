//! Values as DataFusion's files write them: normalised by their own type, so that 1, 1.0 and 1.00 are one text.

use std::sync::Arc;

use arrow::array::{ArrayRef, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Days, NaiveDate};

use crate::engine::rows::Value;

/// Digits behind the point that are looked at.
const DIGITS: usize = 12;

/// The text of one value.
pub(super) fn cell(value: &Value, data_type: &DataType) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Decimal(value, scale) => decimal(*value, *scale),
        Value::Double(bits) => double(f64::from_bits(*bits), data_type),
        Value::Text(text) if text.is_empty() => "(empty)".to_owned(),
        Value::Text(text) => text.trim_end_matches('\n').replace('\u{0}', "\\0"),
        Value::Date(days) => date(*days),
        Value::Timestamp(micros) => match DateTime::from_timestamp_micros(*micros) {
            Some(time) => time.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
            None => format!("{micros} us"),
        },
        Value::Duration(micros) => interval(0, 0, micros.saturating_mul(1000)),
        Value::Interval(months, days, nanos) => interval(*months, *days, *nanos),
        Value::Other(text) => text.clone(),
    }
}

fn date(days: i32) -> String {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    date.map_or_else(|| format!("day {days}"), |date| date.format("%Y-%m-%d").to_string())
}

fn interval(months: i32, days: i32, nanos: i64) -> String {
    let array: ArrayRef =
        Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(months, days, nanos)]));
    let options = FormatOptions::default();
    let format = ArrayFormatter::try_new(&array, &options).expect("intervals can be formatted");
    format.value(0).to_string()
}

fn decimal(value: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    shorter(format!("{sign}{whole}.{fraction}"))
}

fn double(value: f64, data_type: &DataType) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if *data_type == DataType::Float32 {
        // The shortest text that means this single.
        shorter(format!("{}.", value as f32).replacen("..", ".", 1))
    } else {
        // The shortest text that means this double, not its binary expansion.
        let text = format!("{value}");
        let long = text.split_once('.').is_some_and(|(_, fraction)| fraction.len() > DIGITS);
        shorter(if long { format!("{value:.DIGITS$}") } else { format!("{text}.") })
    }
}

/// A number with a point without the zeros at its end, nor a point without digits, nor minus nothing.
fn shorter(text: String) -> String {
    let text = match text.trim_end_matches('.').split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }
        None => text.trim_end_matches('.').to_owned(),
    };
    if text == "-0" { "0".to_owned() } else { text }
}

#[test]
fn numbers_are_normalised() {
    assert_eq!(decimal(-1200, 2), "-12");
    assert_eq!(decimal(5, 3), "0.005");
    assert_eq!(double(1.5, &DataType::Float64), "1.5");
    assert_eq!(double(-0.0, &DataType::Float64), "0");
    assert_eq!(double(100.0, &DataType::Float32), "100");
    assert_eq!(double(0.1 + 0.2, &DataType::Float64), "0.3");
    assert_eq!(double(1.1f32.into(), &DataType::Float32), "1.1");
}
