//! Values as JSON usually has them, read in place as the type of their column.
//!
//! Only what is certain is taken: the rest goes the general way, and is refused there if it has to be.

use super::{Column, OFFSET_FITS, Values};
use crate::decode::json::lex::{string_end, value_end};
use crate::decode::time::parse_timestamp;

/// Digits of which any number fits 64 bits.
const DIGITS_MAX: usize = 18;

const POWERS: [i64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// The first eight bytes of a name and its length, in one: names that differ in it differ, those that do not may.
#[inline]
pub(in crate::decode) fn glance(name: &[u8]) -> u64 {
    let word = match name.first_chunk::<8>() {
        Some(first) => u64::from_le_bytes(*first),
        None => name.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    word ^ (name.len() as u64) << 57
}

impl Column {
    /// Whether the column may have the name of this glance.
    #[inline]
    pub(in crate::decode) fn looks_like(&self, glance: u64) -> bool {
        self.glance == glance
    }

    /// Behind the column's key and its colon, if they stand at `at`.
    #[inline]
    pub(in crate::decode) fn after_key(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let end = at + self.key.len();
        (bytes.get(at..end)? == &*self.key && !self.key.is_empty()).then_some(end)
    }

    /// Appends the JSON value that begins at `at` of `text` and returns where it ends; `None` if it is no usual value of
    /// the type. The column may then be a value longer.
    #[inline]
    pub(in crate::decode) fn push_usual(&mut self, text: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let quoted = bytes.get(at) == Some(&b'"');
        match &mut self.values {
            Values::Text { ends, bytes: texts } if quoted => {
                let end = string_end(bytes, at + 1)?;
                texts.extend_from_slice(&bytes[at + 1..end]);
                ends.push(i32::try_from(texts.len()).expect(OFFSET_FITS));
                self.validity.append_non_null();
                return Some(end + 1);
            }
            Values::BigInt(values) => {
                if let Some((value, 0, end)) = short_number(bytes, at) {
                    values.push(value);
                    self.validity.append_non_null();
                    return Some(end);
                }
            }
            Values::Int(values) => {
                if let Some((value, 0, end)) = short_number(bytes, at) {
                    values.push(i32::try_from(value).ok()?);
                    self.validity.append_non_null();
                    return Some(end);
                }
            }
            Values::Decimal { values, precision, scale } => {
                if let Some((value, decimals, end)) = short_number(bytes, at)
                    && let Some(value) = scaled(value, decimals, *precision, *scale)
                {
                    values.push(i128::from(value));
                    self.validity.append_non_null();
                    return Some(end);
                }
            }
            Values::Timestamp(values) if quoted => {
                let end = string_end(bytes, at + 1)?;
                values.push(parse_timestamp(text[at + 1..end].trim_ascii()).ok()?);
                self.validity.append_non_null();
                return Some(end + 1);
            }
            _ => {}
        }
        let end = value_end(bytes, at, 0)?;
        self.push_json(&text[at..end]).ok()?;
        Some(end)
    }
}

/// A number as its digits in one, how many of them stand behind the point, and where it ends. `None` if it has an exponent,
/// more than [`DIGITS_MAX`] digits, or is no JSON number.
#[inline]
fn short_number(bytes: &[u8], start: usize) -> Option<(i64, usize, usize)> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mut value, mut at) = digits(bytes, first, 0)?;
    if at == first || bytes[first] == b'0' && at > first + 1 {
        return None;
    }
    let mut decimals = 0;
    if bytes.get(at) == Some(&b'.') {
        let (whole, behind) = (value, at + 1);
        (value, at) = digits(bytes, behind, whole)?;
        decimals = at - behind;
        if decimals == 0 {
            return None;
        }
    }
    if at - first > DIGITS_MAX || matches!(bytes.get(at), Some(b'e' | b'E')) {
        return None;
    }
    Some((if negative { -value } else { value }, decimals, at))
}

/// Appends digits to `value`, and says where they end; `None` if they are too many.
#[inline]
fn digits(bytes: &[u8], start: usize, mut value: i64) -> Option<(i64, usize)> {
    let mut at = start;
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        if at - start == DIGITS_MAX {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        at += 1;
    }
    Some((value, at))
}

/// The unscaled value of a decimal, if it is exact and the type holds it.
#[inline]
fn scaled(value: i64, decimals: usize, precision: u8, scale: i8) -> Option<i64> {
    let missing = usize::try_from(scale).ok()?.checked_sub(decimals)?;
    let value = value.checked_mul(*POWERS.get(missing)?)?;
    let fits = POWERS.get(usize::from(precision)).is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs());
    fits.then_some(value)
}
