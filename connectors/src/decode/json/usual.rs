//! The usual way to write a JSON object: one pass from the text to the columns, and everything else is left to the general
//! parser.
//!
//! The next key is expected to be that of the next column, because writers keep the order of their keys: then it is one
//! comparison, and the value behind it is read as the type of its column. Keys in another order cost a look at the names.
//!
//! What this accepts the general parser accepts too, with the same values: tests compare the two on random and on broken
//! records, and so does the fuzz target. It never says what is wrong; escapes, keys in another case or given twice, deep
//! nesting and all that is broken are not usual.

use smallvec::SmallVec;

use super::lex::{after, after_quote, skip_space, string_end, value_end};
use crate::decode::column::Column;
use crate::decode::column::usual::glance;

/// Columns whose values were found, one bit each.
type Found = SmallVec<[u64; 2]>;

/// Appends one value to each of `columns` from the text of a usual object. `None` if it is none: the columns may then be a
/// value longer than before, each of them.
#[inline]
pub(super) fn push_object(text: &str, columns: &mut [Column]) -> Option<()> {
    let bytes = text.as_bytes();
    let mut at = after(bytes, 0, b'{')?;
    let mut found = Found::from_elem(0, columns.len().div_ceil(64));
    let (mut expected, mut count) = (0, 0);
    if bytes.get(at) != Some(&b'}') {
        loop {
            let column = match columns.get(expected).and_then(|column| column.after_key(bytes, at)) {
                Some(behind) => {
                    at = skip_space(bytes, behind);
                    Some(expected)
                }
                None => {
                    let start = after_quote(bytes, at)?;
                    let end = string_end(bytes, start)?;
                    at = after(bytes, skip_space(bytes, end + 1), b':')?;
                    named(columns, &text[start..end])?
                }
            };
            at = match column {
                Some(index) => {
                    let (word, bit) = (&mut found[index / 64], 1 << (index % 64));
                    if *word & bit != 0 {
                        return None;
                    }
                    *word |= bit;
                    (expected, count) = (index + 1, count + 1);
                    columns[index].push_usual(text, at)?
                }
                None => value_end(bytes, at, 0)?,
            };
            at = skip_space(bytes, at);
            match bytes.get(at)? {
                b',' => at = skip_space(bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
    }
    if skip_space(bytes, at + 1) != bytes.len() {
        return None;
    }
    if count < columns.len() {
        for (index, column) in columns.iter_mut().enumerate() {
            if found[index / 64] & (1 << (index % 64)) == 0 {
                column.push_null().ok()?;
            }
        }
    }
    Some(())
}

/// The column that a key names; `Some(None)` if no column does, `None` if one does but not to the letter.
fn named(columns: &[Column], key: &str) -> Option<Option<usize>> {
    let glance = glance(key.as_bytes());
    match columns.iter().position(|column| column.looks_like(glance) && column.name() == key) {
        Some(index) => Some(Some(index)),
        None if columns.iter().any(|column| column.name().eq_ignore_ascii_case(key)) => None,
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::{lex, push_general};
    use super::*;
    use crate::decode::Columns;

    const NAMES: [&str; 10] = ["id", "shop", "amount", "é", "Mixed", "a\"b", "list", "at", "real", "nested"];

    /// As texts, or as the types that the names suggest.
    fn schema(typed: bool) -> SchemaRef {
        let item = Arc::new(Field::new_list_field(DataType::Int32, true));
        let inside =
            Fields::from(vec![Field::new("id", DataType::Int16, false), Field::new("shop", DataType::Utf8, true)]);
        let types = [
            DataType::Int64,
            DataType::Utf8,
            DataType::Decimal128(12, 2),
            DataType::Int32,
            DataType::Boolean,
            DataType::Utf8,
            DataType::List(item),
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            DataType::Float64,
            DataType::Struct(inside),
        ];
        let field = |(name, typed_as): (&&str, DataType)| {
            Field::new(*name, if typed { typed_as } else { DataType::Utf8 }, *name != "id" || !typed)
        };
        Arc::new(Schema::new(NAMES.iter().zip(types).map(field).collect::<Vec<_>>()))
    }

    fn rows(schema: &SchemaRef, push: impl FnOnce(&mut [Column]) -> bool) -> Option<RecordBatch> {
        let mut columns = Columns::new(schema).unwrap();
        let pushed = columns.push_row(|columns| if push(columns) { Ok(()) } else { Err(()) });
        pushed.is_ok().then(|| columns.finish())
    }

    /// Whether the text is usual; if so, the general parser must agree.
    #[track_caller]
    fn compare(text: &str, schema: &SchemaRef) -> bool {
        let Some(usual) = rows(schema, |columns| push_object(text, columns).is_some()) else { return false };
        let general = rows(schema, |columns| push_general(text, columns).is_ok());
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
                ["-0", "0.0", "0", "12.5", "-7", "1e5", "1E-7", "-3.25e+10", "00", "1.", ".5", "-", "1e", "+1"]
                    [rng.random_range(0..14)],
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
            let key = [
                "id", "shop", "amount", "é", "mixed", "MIXED", "a\"b", "other", "list", "Mixed", "at", "real", "nested",
            ][rng.random_range(0..13)];
            out.push_str(&format!("\"{key}\":"));
            value(rng, depth, out);
        }
        out.push('}');
    }

    /// A value that fits the column of the name, most of the time.
    fn fitting(rng: &mut ChaCha8Rng, name: &str, out: &mut String) {
        match name {
            "id" | "é" => out.push_str(&rng.random_range(-3_000_000_000_i64..3_000_000_000).to_string()),
            "amount" | "real" => out.push_str(&format!("{:.*}", rng.random_range(0..4), rng.random_range(-99.0..99.0))),
            "Mixed" => out.push_str(["true", "false", "null"][rng.random_range(0..3)]),
            "at" => {
                let texts = [
                    "2026-01-31T08:00:00.25Z",
                    "2026-01-31 08:00",
                    "2026-02-30T08:00:00Z",
                    "2026-01-31T08:00:00+01:30",
                ];
                out.push_str(&format!("\"{}\"", texts[rng.random_range(0..4)]));
            }
            "list" => out.push_str(["[]", "[1, 2]", "[1,null]", "[1.5]", "null"][rng.random_range(0..5)]),
            "nested" => {
                let texts =
                    [r#"{"id":1,"shop":"x"}"#, r#"{ "shop":null, "id":7 }"#, r#"{"shop":"x"}"#, r#"{"id":99999}"#];
                out.push_str(texts[rng.random_range(0..4)]);
            }
            _ => value(rng, 3, out),
        }
    }

    /// An object whose keys are the columns' in order, nearly.
    fn orderly(rng: &mut ChaCha8Rng, out: &mut String) {
        out.push('{');
        for name in NAMES.iter().filter(|name| **name != "a\"b") {
            if rng.random_range(0..12) == 0 {
                continue;
            }
            out.push_str(if out.len() > 1 { "," } else { "" });
            let name = if rng.random_range(0..12) == 0 { NAMES[rng.random_range(0..5)] } else { name };
            out.push_str(&format!("\"{name}\":"));
            if rng.random_range(0..12) == 0 { value(rng, 2, out) } else { fitting(rng, name, out) }
        }
        out.push('}');
    }

    #[test]
    fn what_is_usual_is_what_the_general_parser_finds() {
        let schemas = [schema(false), schema(true)];
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (mut usual, mut broken_usual) = ([0, 0], [0, 0]);
        for round in 0..60_000 {
            let mut text = String::new();
            if round % 2 == 0 {
                object(&mut rng, 0, &mut text)
            } else {
                orderly(&mut rng, &mut text)
            }
            // Broken: a byte changed, removed or added, or cut short, where that leaves text.
            let mut bytes = text.clone().into_bytes();
            let at = rng.random_range(0..bytes.len());
            let signs = b"\"\\{}[]:,0-+.eE tn\x01\x1f";
            let sign = signs[rng.random_range(0..signs.len())];
            match rng.random_range(0..4) {
                0 => bytes[at] = sign,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, sign),
                _ => bytes.truncate(at),
            }
            for (typed, schema) in schemas.iter().enumerate() {
                usual[typed] += usize::from(compare(&text, schema));
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    broken_usual[typed] += usize::from(compare(text, schema));
                }
            }
        }
        // Few random values fit the types.
        assert!(usual[0] > 5_000 && usual[1] > 1_000, "{usual:?} of 60,000 were usual");
        assert!(broken_usual[0] > 500 && broken_usual[1] > 50, "{broken_usual:?} of 60,000 broken ones were usual");
    }

    #[test]
    fn what_writers_write_is_usual() {
        let texts = schema(false);
        for text in [
            "{}",
            " { } ".trim(),
            r#"{"id":1,"shop":"x","amount":-12.50}"#,
            "{ \"amount\": 1e3,\n  \"id\": null, \"other\": {\"a\": [1, {}, []]} }",
            r#"{"é":"é","Mixed":true}"#,
        ] {
            assert!(compare(text, &texts), "{text}");
        }
        let not_usual = [
            "",
            "[]",
            "{",
            r#"{"a"b":1}"#,
            r#"{"id":01}"#,
            r#"{"id":1,}"#,
            r#"{"id":"\n"}"#,
            "{}x",
            r#"{"mixed":true}"#,
            r#"{"id":1,"id":2}"#,
        ];
        for text in not_usual {
            assert!(!compare(text, &texts), "{text}");
        }
        let deep = format!("{{\"id\":{}1{}}}", "[".repeat(lex::DEPTH_MAX + 1), "]".repeat(lex::DEPTH_MAX + 1));
        assert!(!compare(&deep, &texts));
    }

    #[test]
    fn typed_values_are_read_in_place() {
        let typed = schema(true);
        for text in [
            r#"{"id":-9223372036854775808,"shop":"ü","amount":1234567890.12,"é":2147483647,"Mixed":false,"list":[1,2]}"#,
            r#"{"id":0,"amount":"12.50","at":"2026-01-31T08:00:00Z","real":-1.5e-3,"nested":{"id":3,"shop":"x"}}"#,
            r#"{"id":-0,"amount":-0.00,"é":-2147483648,"real":0,"nested":null}"#,
            r#"{"id":1.0,"amount":5.000,"é":"7"}"#,
        ] {
            assert!(compare(text, &typed), "{text}");
        }
        for text in
            [r#"{"id":1.5}"#, r#"{"id":null}"#, r#"{"id":1,"é":2147483648}"#, r#"{"id":1,"amount":1.234}"#, "{}"]
        {
            assert!(!compare(text, &typed), "{text}");
        }
    }
}
