//! The text of a decimal, as [`Value.decimal_value`](crate::v1::value::Kind::DecimalValue) carries it.

use std::fmt::Display;

/// The plain notation of `unscaled` · 10^−`scale`, exactly: `-12.50`, never an exponent. `unscaled` is any signed integer
/// (128 or 256 bits); a negative `scale` appends zeros.
pub fn decimal_text(unscaled: impl Display, scale: i8) -> String {
    let digits = unscaled.to_string();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.as_str()),
    };
    let places = usize::from(scale.unsigned_abs());
    if digits.bytes().all(|digit| digit == b'0') {
        return if scale > 0 { format!("0.{}", "0".repeat(places)) } else { "0".to_owned() };
    }
    if scale <= 0 {
        return format!("{sign}{digits}{}", "0".repeat(places));
    }
    // At least one digit stands before the point.
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::decimal_text;

    #[test]
    fn decimals_are_plain_and_exact() {
        let table: &[(i128, i8, &str)] = &[
            (0, 0, "0"),
            (0, 2, "0.00"),
            (0, -3, "0"),
            (5, 0, "5"),
            (-5, 2, "-0.05"),
            (1250, 2, "12.50"),
            (-1250, 3, "-1.250"),
            (12, -3, "12000"),
            (-12, -1, "-120"),
            (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
            (99, 38, "0.00000000000000000000000000000000000099"),
        ];
        for (unscaled, scale, text) in table {
            assert_eq!(decimal_text(unscaled, *scale), *text);
        }
    }
}
