//! Text to booleans and numbers: pure, exact, and never through a float on the way to anything that is none.

/// Why a text is not a value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadValue {
    /// The text is not written like a value of the type.
    Syntax,
    /// The value is outside of what the type holds.
    Range,
    /// The value has more decimals than the type holds.
    Decimals,
}

/// `true`, `t`, `yes`, `y`, `on`, `1` and their opposites, in any case.
pub(super) fn parse_boolean(text: &str) -> Result<bool, BadValue> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["true", "t", "yes", "y", "on", "1"]) {
        Ok(true)
    } else if is(&["false", "f", "no", "n", "off", "0"]) {
        Ok(false)
    } else {
        Err(BadValue::Syntax)
    }
}

/// A whole number; it may be written with a fraction of zeros or with an exponent.
#[inline]
pub(super) fn parse_integer(text: &str) -> Result<i64, BadValue> {
    let (negative, digits) = split_sign(text.as_bytes());
    if !digits.is_empty()
        && digits.len() <= 18
        && let Some(value) = plain_digits(digits)
    {
        return Ok(if negative { -value } else { value });
    }
    let value = parse_decimal_slowly(text.as_bytes(), 38, 0)?;
    i64::try_from(value).map_err(|_| BadValue::Range)
}

/// A decimal with at most `precision` digits, `scale` of them behind the point, as its unscaled value.
///
/// Zeros beyond the scale are fine, and so are exponents, as long as the value is exact.
#[inline]
pub(super) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Result<i128, BadValue> {
    let (negative, digits) = split_sign(text.as_bytes());
    // The common case, a short number without an exponent, needs no division and no 128-bit multiplication in a loop.
    if digits.len() <= 18
        && let Some((value, decimals)) = short_decimal(digits)
        && let Ok(missing) = u32::try_from(i32::from(scale) - decimals)
        && missing <= 19
    {
        let value = i128::from(value) * POWERS[missing as usize];
        if POWERS.get(usize::from(precision)).is_none_or(|limit| value < *limit) {
            return Ok(if negative { -value } else { value });
        }
        return Err(BadValue::Range);
    }
    parse_decimal_slowly(text.as_bytes(), precision, scale)
}

/// A number in double precision: the nearest one; zero has no sign and there is one NaN.
pub(super) fn parse_double(text: &str) -> Result<f64, BadValue> {
    let value: f64 = text.parse().map_err(|_| BadValue::Syntax)?;
    match value {
        value if value.is_nan() => Ok(f64::NAN),
        value if value.is_infinite() && !names_infinity(text) => Err(BadValue::Range),
        // Adding positive zero takes the sign off negative zero and changes nothing else.
        value => Ok(value + 0.0),
    }
}

/// A number in single precision: the nearest one; zero has no sign and there is one NaN.
pub(super) fn parse_real(text: &str) -> Result<f32, BadValue> {
    let value: f32 = text.parse().map_err(|_| BadValue::Syntax)?;
    match value {
        value if value.is_nan() => Ok(f32::NAN),
        value if value.is_infinite() && !names_infinity(text) => Err(BadValue::Range),
        value => Ok(value + 0.0),
    }
}

/// Powers of ten, up to the greatest that 128 bits hold.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Infinity is written in letters; digits that come out infinite are too large.
fn names_infinity(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_digit())
}

#[inline]
fn split_sign(bytes: &[u8]) -> (bool, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    }
}

/// The value of at most 18 digits, if there is nothing else.
#[inline]
fn plain_digits(digits: &[u8]) -> Option<i64> {
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// The digits of `12.34` as one number and how many stand behind the point, if there are digits and one point at most.
/// `text` has at most 18 bytes.
#[inline]
fn short_decimal(text: &[u8]) -> Option<(u64, i32)> {
    let (mut value, mut digits, mut decimals, mut point) = (0_u64, 0_i32, 0_i32, false);
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
            digits += 1;
            decimals += i32::from(point);
        } else if *byte == b'.' && !point {
            point = true;
        } else {
            return None;
        }
    }
    (digits > 0).then_some((value, decimals))
}

/// A number as written: digits before and behind the point, and the exponent.
struct Written<'a> {
    negative: bool,
    before: &'a [u8],
    behind: &'a [u8],
    exponent: i64,
}

/// Exponents are cut here; no decimal holds a value anywhere near.
const EXPONENT_MAX: i64 = 1_000_000_000;

impl<'a> Written<'a> {
    fn read(bytes: &'a [u8]) -> Option<Written<'a>> {
        let (negative, bytes) = split_sign(bytes);
        let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (before, rest) = bytes.split_at(digits(bytes));
        let (behind, rest) = match rest {
            [b'.', rest @ ..] => rest.split_at(digits(rest)),
            _ => (&rest[..0], rest),
        };
        if before.is_empty() && behind.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => {
                let (negative, rest) = split_sign(rest);
                if rest.is_empty() || digits(rest) != rest.len() {
                    return None;
                }
                let size =
                    rest.iter().fold(0, |value: i64, byte| (value * 10 + i64::from(byte - b'0')).min(EXPONENT_MAX));
                if negative { -size } else { size }
            }
            _ => return None,
        };
        Some(Written { negative, before, behind, exponent })
    }
}

fn parse_decimal_slowly(bytes: &[u8], precision: u8, scale: i8) -> Result<i128, BadValue> {
    let written = Written::read(bytes).ok_or(BadValue::Syntax)?;
    let count = written.before.len() + written.behind.len();
    let digits = || written.before.iter().chain(written.behind);
    let leading = digits().take_while(|byte| **byte == b'0').count();
    if leading == count {
        return Ok(0);
    }
    let trailing = written.behind.iter().rev().chain(written.before.iter().rev());
    let trailing = trailing.take_while(|byte| **byte == b'0').count();
    let significant = count - leading - trailing;
    let length = |length: usize| i64::try_from(length).unwrap_or(i64::MAX / 4);
    // The value is (significant digits) × 10^power, and the unscaled decimal is (significant digits) × 10^missing.
    let power = written.exponent - length(written.behind.len()) + length(trailing);
    let missing = power + i64::from(scale);
    if missing < 0 {
        return Err(BadValue::Decimals);
    }
    if length(significant) + missing > i64::from(precision.min(38)) {
        return Err(BadValue::Range);
    }
    let missing = usize::try_from(missing).expect("it is between 0 and 38");
    let value =
        digits().skip(leading).take(significant).fold(0_i128, |value, byte| value * 10 + i128::from(byte - b'0'));
    let value = value * POWERS[missing];
    Ok(if written.negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::BadValue::{Decimals, Range, Syntax};
    use super::*;

    #[test]
    fn booleans() {
        for (text, expected) in [
            ("true", Ok(true)),
            ("T", Ok(true)),
            ("Yes", Ok(true)),
            ("1", Ok(true)),
            ("FALSE", Ok(false)),
            ("off", Ok(false)),
            ("0", Ok(false)),
            ("2", Err(Syntax)),
            ("", Err(Syntax)),
        ] {
            assert_eq!(parse_boolean(text), expected, "{text}");
        }
    }

    #[test]
    fn integers() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("+17", Ok(17)),
            ("007", Ok(7)),
            ("17850.0", Ok(17850)),
            ("17850.", Ok(17850)),
            ("-3.000000000000000000000000000000000000000000000000", Ok(-3)),
            ("1e3", Ok(1000)),
            ("1500e-2", Ok(15)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(Range)),
            ("1e400", Err(Range)),
            ("17850.5", Err(Decimals)),
            ("1e-1", Err(Decimals)),
            ("", Err(Syntax)),
            ("-", Err(Syntax)),
            (".", Err(Syntax)),
            ("1 2", Err(Syntax)),
            ("1,000", Err(Syntax)),
            ("0x10", Err(Syntax)),
            ("--1", Err(Syntax)),
            ("1e", Err(Syntax)),
            ("1e+", Err(Syntax)),
            ("NaN", Err(Syntax)),
        ] {
            assert_eq!(parse_integer(text), expected, "{text}");
        }
    }

    #[test]
    fn decimals() {
        for (text, precision, scale, expected) in [
            ("2.55", 12, 2, Ok(255)),
            ("-2.5", 12, 2, Ok(-250)),
            ("2", 12, 2, Ok(200)),
            (".5", 12, 2, Ok(50)),
            ("5.", 12, 2, Ok(500)),
            ("2.5500000", 12, 2, Ok(255)),
            ("2.551", 12, 2, Err(Decimals)),
            ("0.001", 12, 2, Err(Decimals)),
            ("0.000", 12, 2, Ok(0)),
            ("-0.00", 12, 2, Ok(0)),
            ("9999999999.99", 12, 2, Ok(999_999_999_999)),
            ("10000000000.00", 12, 2, Err(Range)),
            ("10000000000", 12, 2, Err(Range)),
            ("1.5e3", 12, 2, Ok(150_000)),
            ("15E-1", 12, 2, Ok(150)),
            ("1e-3", 12, 2, Err(Decimals)),
            ("1000e-3", 12, 2, Ok(100)),
            ("1e999999999999999999999", 12, 2, Err(Range)),
            ("1e-999999999999999999999", 12, 2, Err(Decimals)),
            ("0e999999999999999999999", 12, 2, Ok(0)),
            ("99999999999999999999999999999999999999", 38, 0, Ok(99_999_999_999_999_999_999_999_999_999_999_999_999)),
            ("100000000000000000000000000000000000000", 38, 0, Err(Range)),
            ("0.00000000000000000000000000000000000001", 38, 38, Ok(1)),
            ("1", 38, 38, Err(Range)),
            ("1", 38, 20, Ok(100_000_000_000_000_000_000)),
            ("0000000000000000000000000000000000000000000001.10", 3, 2, Ok(110)),
            ("1200", 4, -2, Ok(12)),
            ("1250", 4, -2, Err(Decimals)),
            ("abc", 12, 2, Err(Syntax)),
            ("1.2.3", 12, 2, Err(Syntax)),
            ("£2.55", 12, 2, Err(Syntax)),
            ("", 12, 2, Err(Syntax)),
        ] {
            assert_eq!(parse_decimal(text, precision, scale), expected, "{text} as DECIMAL({precision},{scale})");
        }
    }

    #[test]
    fn floats() {
        assert_eq!(parse_double("-0").map(f64::to_bits), Ok(0));
        assert_eq!(parse_double("-0.0e5").map(f64::to_bits), Ok(0));
        assert_eq!(parse_double("nan").map(f64::to_bits), Ok(f64::NAN.to_bits()));
        assert_eq!(parse_double("-NaN").map(f64::to_bits), Ok(f64::NAN.to_bits()));
        assert_eq!(parse_double("-inf"), Ok(f64::NEG_INFINITY));
        assert_eq!(parse_double("Infinity"), Ok(f64::INFINITY));
        assert_eq!(parse_double("1e400"), Err(Range));
        assert_eq!(parse_double("0.1"), Ok(0.1));
        assert_eq!(parse_double("1.5x"), Err(Syntax));
        assert_eq!(parse_double(""), Err(Syntax));
        assert_eq!(parse_real("-0").map(f32::to_bits), Ok(0));
        assert_eq!(parse_real("NaN").map(f32::to_bits), Ok(f32::NAN.to_bits()));
        assert_eq!(parse_real("1e39"), Err(Range));
        assert_eq!(parse_real("16777217"), Ok(16_777_216.0));
    }
}
