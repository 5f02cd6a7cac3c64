//! Values as SQLite's files write them: by the letter of the column, whatever the value's own type.

use arrow::datatypes::DataType;
use md5::{Digest, Md5};

use super::datafusion;
use crate::engine::rows::Value;

/// The text of one value.
pub(super) fn cell(letter: char, value: &Value, data_type: &DataType) -> String {
    if *value == Value::Null {
        return "NULL".to_owned();
    }
    match letter {
        'I' => match value {
            Value::Boolean(value) => i64::from(*value).to_string(),
            // An integer has one zero.
            Value::Double(bits) => format!("{:.0}", f64::from_bits(*bits).trunc() + 0.0),
            Value::Decimal(value, scale) => (value / 10i128.pow(u32::from(scale.unsigned_abs()))).to_string(),
            // SQLite reads a text as the number that it begins with.
            Value::Text(text) => beginning(text).split_once('.').map_or(beginning(text), |(whole, _)| whole).to_owned(),
            other => datafusion::cell(other, data_type),
        },
        'R' => match number(value) {
            Some(number) => format!("{number:.3}"),
            None => datafusion::cell(value, data_type),
        },
        _ => {
            let text = datafusion::cell(value, data_type);
            text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '@' }).collect()
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Boolean(value) => Some(f64::from(u8::from(*value))),
        Value::Double(bits) => Some(f64::from_bits(*bits)),
        Value::Decimal(value, scale) => Some(*value as f64 / 10f64.powi(i32::from(*scale))),
        Value::Text(text) => beginning(text).parse().ok(),
        _ => None,
    }
}

/// The number at the beginning of a text, 0 if there is none.
fn beginning(text: &str) -> &str {
    let end = text.char_indices().find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || *at == 0 && *c == '-'));
    let number = &text[..end.map_or(text.len(), |(at, _)| at)];
    if number.bytes().any(|byte| byte.is_ascii_digit()) { number } else { "0" }
}

/// What a file says instead of many values, taken apart: how many, and their hash.
pub(super) fn hashed(lines: &[String]) -> Option<(usize, &str)> {
    let [line] = lines else { return None };
    let (count, hash) = line.split_once(" values hashing to ")?;
    Some((count.parse().ok()?, hash.trim()))
}

/// The hash of values.
pub(super) fn hash(values: &[String]) -> String {
    let mut hash = Md5::new();
    for value in values {
        hash.update(value.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn floats_in_columns_of_integers_are_cut_off() {
    let cut = |value: f64| cell('I', &Value::Double(value.to_bits()), &DataType::Float64);
    assert_eq!([-0.2, -2.9, 0.7, 3.0].map(cut), ["0", "-2", "0", "3"]);
}
