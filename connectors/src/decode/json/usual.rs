//! The usual way to write a JSON object: finds its values in one pass, and leaves everything else to the general parser.
//!
//! What this accepts the general parser accepts too, with the same values: a test compares the two on random and on broken
//! records. It never says what is wrong; an escape, a key's case, deep nesting and all that is broken are not usual.

use super::{Value, Values, column_of};
use crate::decode::column::Column;

/// Objects and lists in each other, beyond which the general parser decides.
const DEPTH_MAX: usize = 16;

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// Finds the text of the value of each column; `None` if the text is not a usual object.
pub(super) fn scan_object<'a>(text: &'a str, columns: &[Column], values: &mut Values<'a>) -> Option<()> {
    let bytes = text.as_bytes();
    let mut at = after(bytes, 0, b'{')?;
    // Writers keep the order of their keys, so the next key is usually that of the next column.
    let mut expected = 0;
    if bytes.get(at) != Some(&b'}') {
        loop {
            let key_start = after_quote(bytes, at)?;
            let key_end = string_end(bytes, key_start)?;
            let start = after(bytes, skip_space(bytes, key_end + 1), b':')?;
            let end = value_end(bytes, start, 0)?;
            if let Some((index, exact)) = column_of(columns, expected, &text[key_start..key_end]) {
                if exact || values[index].is_none_or(|earlier| !earlier.exact) {
                    values[index] = Some(Value { text: &text[start..end], exact });
                }
                expected = index + 1;
            }
            at = skip_space(bytes, end);
            match bytes.get(at)? {
                b',' => at = skip_space(bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
    }
    (skip_space(bytes, at + 1) == bytes.len()).then_some(())
}

/// Behind `sign`, which must stand at `at`, and the space that follows.
#[inline]
fn after(bytes: &[u8], at: usize, sign: u8) -> Option<usize> {
    (bytes.get(at) == Some(&sign)).then(|| skip_space(bytes, at + 1))
}

/// Behind the quote that must stand at `at`.
#[inline]
fn after_quote(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'"')).then_some(at + 1)
}

#[inline]
fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The quote that ends the string whose first character stands at `at`; `None` if there is an escape or a control
/// character before it, or no such quote.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes were taken"));
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        // A mark may be wrong only above a right one, so the lowest is right.
        let marks = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if marks != 0 {
            at += usize::try_from(marks.trailing_zeros() / 8).expect("less than eight");
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' | 0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

/// The end of the value that begins at `at`.
#[inline]
fn value_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at + 1).map(|quote| quote + 1),
        b'-' | b'0'..=b'9' => number_end(bytes, at),
        b't' => word_end(bytes, at, b"true"),
        b'f' => word_end(bytes, at, b"false"),
        b'n' => word_end(bytes, at, b"null"),
        b'{' | b'[' if depth < DEPTH_MAX => nested_end(bytes, at, depth + 1),
        _ => None,
    }
}

#[inline]
fn word_end(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

#[inline]
fn digits_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    (end > at).then_some(end)
}

/// The end of a number: no zero in front, digits around the point and in the exponent.
#[inline]
fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first = start + usize::from(bytes[start] == b'-');
    let mut at = digits_end(bytes, first)?;
    if bytes[first] == b'0' && at > first + 1 {
        return None;
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits_end(bytes, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

/// The end of the object or list that begins at `at`.
fn nested_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    let (object, close) = if bytes[at] == b'{' { (true, b'}') } else { (false, b']') };
    let mut at = skip_space(bytes, at + 1);
    if bytes.get(at) == Some(&close) {
        return Some(at + 1);
    }
    loop {
        if object {
            let key_end = string_end(bytes, after_quote(bytes, at)?)?;
            at = after(bytes, skip_space(bytes, key_end + 1), b':')?;
        }
        at = skip_space(bytes, value_end(bytes, at, depth)?);
        match bytes.get(at)? {
            b',' => at = skip_space(bytes, at + 1),
            end if *end == close => return Some(at + 1),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::decode::json::find_values;

    const NAMES: [&str; 7] = ["id", "shop", "amount", "é", "Mixed", "a\"b", "list"];

    fn columns() -> Vec<Column> {
        let column = |name: &&str| Column::new(&Arc::new(Field::new(*name, DataType::Utf8, true))).unwrap();
        NAMES.iter().map(column).collect()
    }

    fn values<'a>(find: impl FnOnce(&mut Values<'a>) -> bool) -> Option<Vec<Option<(&'a str, bool)>>> {
        let mut values = Values::new();
        values.resize(NAMES.len(), None);
        find(&mut values).then(|| values.iter().map(|value| value.map(|value| (value.text, value.exact))).collect())
    }

    /// Whether the text is usual; if so, the general parser must agree.
    #[track_caller]
    fn compare(text: &str, columns: &[Column]) -> bool {
        let Some(usual) = values(|values| scan_object(text, columns, values).is_some()) else { return false };
        let general = values(|values| find_values(text, columns, values).is_ok());
        assert_eq!(general.as_ref(), Some(&usual), "{text}");
        true
    }

    /// Text of a random value, most of them usual.
    fn value(rng: &mut ChaCha8Rng, depth: usize, out: &mut String) {
        let space = [" ", "", "", "", "\t", "\n"][rng.random_range(0..6)];
        out.push_str(space);
        match rng.random_range(0..if depth < 3 { 12 } else { 9 }) {
            0 => out.push_str(["true", "false", "null", "nul", "truee"][rng.random_range(0..5)]),
            1 | 2 => out.push_str(&rng.random_range(-1_000_000_000_000_i64..1_000_000_000_000).to_string()),
            3 => out.push_str(&format!("{:.3}", rng.random_range(-1_000.0..1_000.0))),
            4 => out.push_str(
                ["-0", "0.0", "1e5", "1E-7", "-3.25e+10", "00", "1.", ".5", "-", "1e", "+1"][rng.random_range(0..11)],
            ),
            5..9 => {
                out.push('"');
                for _ in 0..rng.random_range(0..20) {
                    let signs = ["a", "b", "Z", "7", " ", "é", "🦀", "{", ",", "'", "\u{7f}", "\u{80}"];
                    out.push_str(signs[rng.random_range(0..signs.len())]);
                }
                if rng.random_range(0..20) == 0 {
                    out.push_str(["\\n", "\\u0041", "\\", "\n", "\u{1}", "\\\""][rng.random_range(0..6)]);
                }
                out.push('"');
            }
            9 => {
                out.push('[');
                for index in 0..rng.random_range(0..4) {
                    out.push_str(if index > 0 { "," } else { "" });
                    value(rng, depth + 1, out);
                }
                out.push(']');
            }
            _ => object(rng, depth + 1, out),
        }
        out.push_str(space);
    }

    fn object(rng: &mut ChaCha8Rng, depth: usize, out: &mut String) {
        out.push('{');
        for index in 0..rng.random_range(0..8) {
            out.push_str(if index > 0 { "," } else { "" });
            let key = ["id", "shop", "amount", "é", "mixed", "MIXED", "a\"b", "other", "list", "Mixed"]
                [rng.random_range(0..10)];
            out.push_str(&format!("\"{key}\":"));
            value(rng, depth, out);
        }
        out.push('}');
    }

    #[test]
    fn what_is_usual_is_what_the_general_parser_finds() {
        let columns = columns();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (mut usual, mut broken_usual) = (0, 0);
        for _ in 0..30_000 {
            let mut text = String::new();
            object(&mut rng, 0, &mut text);
            usual += usize::from(compare(&text, &columns));
            // Broken: a byte changed, removed or added, or cut short, where that leaves text.
            let mut bytes = text.into_bytes();
            let at = rng.random_range(0..bytes.len());
            let signs = b"\"\\{}[]:,0-+.eE tn\x01\x1f";
            let sign = signs[rng.random_range(0..signs.len())];
            match rng.random_range(0..4) {
                0 => bytes[at] = sign,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, sign),
                _ => bytes.truncate(at),
            }
            if let Ok(text) = std::str::from_utf8(&bytes) {
                broken_usual += usize::from(compare(text, &columns));
            }
        }
        assert!(usual > 5_000 && broken_usual > 500, "{usual} and {broken_usual} of 30,000 were usual");
    }

    #[test]
    fn what_writers_write_is_usual() {
        let columns = columns();
        for text in [
            "{}",
            " { } ".trim(),
            r#"{"id":1,"shop":"x","amount":-12.50}"#,
            "{ \"amount\": 1e3,\n  \"id\": null, \"other\": {\"a\": [1, {}, []]} }",
            r#"{"é":"é","mixed":true}"#,
        ] {
            assert!(compare(text, &columns), "{text}");
        }
        for text in ["", "[]", "{", r#"{"a"b":1}"#, r#"{"id":01}"#, r#"{"id":1,}"#, r#"{"id":"\n"}"#, "{}x"] {
            assert!(!compare(text, &columns), "{text}");
        }
        let deep = format!("{{\"id\":{}1{}}}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        assert!(!compare(&deep, &columns));
    }
}
