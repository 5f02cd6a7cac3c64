//! JSON: one object a line into columns, values by their text and never through a float.
//!
//! Keys are matched to columns exactly, or else without regard to case, so that a column whose SQL name was folded finds
//! its key. Of a key given twice the last one counts. Unknown keys are checked for syntax and otherwise ignored.
//!
//! There are two parsers: [`usual`] is fast and takes what writers usually write, values included; whatever it does not take
//! goes to serde_json, which finds the texts of the values, and alone says what is wrong.

pub(super) mod lex;
mod usual;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::column::Column;
use super::{BadRecord, Columns, Extent, RECORD_BYTES_MAX, Step, record_text, scan};

/// Decodes the line at the start of `input`; see [`super::Decoder::step`].
pub(super) fn step(input: &[u8], whole: bool, columns: &mut Columns) -> Step {
    let window = &input[..input.len().min(RECORD_BYTES_MAX)];
    let extent = match scan::find(window, 0, b'\n') {
        Some(at) => Extent { bytes: at + 1, lines: 1 },
        None if window.len() == RECORD_BYTES_MAX => return Step::TooLong(Extent { bytes: window.len(), lines: 0 }),
        None if whole => Extent { bytes: window.len(), lines: 0 },
        None => return Step::Incomplete,
    };
    let record = window[..extent.bytes].trim_ascii();
    if record.is_empty() {
        return Step::Blank(extent);
    }
    let pushed = record_text(record).and_then(|text| columns.push_row(|columns| push_object(text, columns)));
    match pushed {
        Ok(()) => Step::Row(extent),
        Err(bad) => Step::Bad(extent, bad),
    }
}

/// Appends one value to each of `columns` from the text of a JSON object.
///
/// # Errors
/// The text is none, or a value does not fit. The columns may then be a value longer, each of them.
#[inline]
pub(super) fn push_object(text: &str, columns: &mut [Column]) -> Result<(), BadRecord> {
    if push_usual(text, columns) { Ok(()) } else { push_general(text, columns) }
}

/// The same for a usual object. Of any other nothing is appended, and it says so.
#[inline]
pub(super) fn push_usual(text: &str, columns: &mut [Column]) -> bool {
    let len = columns.first().map_or(0, Column::len);
    let usual = usual::push_object(text, columns).is_some();
    if !usual {
        columns.iter_mut().for_each(|column| column.truncate(len));
    }
    usual
}

/// The same for any object.
pub(super) fn push_general(text: &str, columns: &mut [Column]) -> Result<(), BadRecord> {
    let values = find(text, columns)?;
    columns.iter_mut().zip(&values).try_for_each(|(column, value)| push_value(value.as_ref(), column))
}

/// Appends a value that was found, or NULL where there is none.
#[inline]
pub(super) fn push_value(value: Option<&Value<'_>>, column: &mut Column) -> Result<(), BadRecord> {
    match value {
        Some(value) => column.push_json(value.text),
        None => column.push_null(),
    }
}

/// Finds the text of the value of each of `columns` in the text of a JSON object.
#[inline]
pub(super) fn find<'a>(text: &'a str, columns: &[Column]) -> Result<Values<'a>, BadRecord> {
    let mut values = Values::new();
    values.resize(columns.len(), None);
    find_values(text, columns, &mut values).map_err(|error| BadRecord::whole(reason(&error)))?;
    Ok(values)
}

/// Names that are looked for in JSON objects and are no columns.
#[derive(Debug)]
pub(super) struct Names(Vec<Column>);

impl Names {
    pub(super) fn new(names: &[&str]) -> Names {
        let text = |name: &&str| Column::new(&Arc::new(Field::new(*name, DataType::Utf8, true)));
        Names(names.iter().map(|name| text(name).expect("a source can have texts")).collect())
    }

    /// The text of the value of each name in the text of a JSON object.
    pub(super) fn find<'a>(&self, text: &'a str) -> Result<Values<'a>, BadRecord> {
        find(text, &self.0)
    }
}

/// Finds the text of the value of each column in any object.
fn find_values<'a>(text: &'a str, columns: &[Column], values: &mut Values<'a>) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    (&mut parser).deserialize_map(ObjectVisitor { columns, values })?;
    parser.end()
}

/// The column that a key names, and whether to the letter. The one at `expected` is tried first.
#[inline]
fn column_of(columns: &[Column], expected: usize, key: &str) -> Option<(usize, bool)> {
    if columns.get(expected).is_some_and(|column| column.name() == key) {
        return Some((expected, true));
    }
    if let Some(index) = columns.iter().position(|column| column.name() == key) {
        return Some((index, true));
    }
    let mut similar = (0..columns.len()).filter(|index| columns[*index].name().eq_ignore_ascii_case(key));
    match (similar.next(), similar.next()) {
        (Some(index), None) => Some((index, false)),
        _ => None,
    }
}

/// Appends the elements of the text of a JSON array to `items`.
pub(super) fn push_array(text: &str, items: &mut Column) -> Result<(), BadRecord> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| BadRecord::whole(reason(&error)))?;
    elements.into_iter().try_for_each(|element| items.push_json(element.get()))
}

/// The text that a JSON string stands for.
pub(super) fn unquote(value: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
        _ => serde_json::from_str(value).map(Cow::Owned),
    }
}

/// What is wrong with a JSON text. Its line is always the first, so only the character is told.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("invalid JSON: {what} at byte {}", error.column())
}

/// The text of a key's value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) text: &'a str,
    /// The key is the column's name to the letter.
    exact: bool,
}

/// One optional value a column; an object of the usual width needs no allocation.
pub(super) type Values<'a> = SmallVec<[Option<Value<'a>>; 24]>;

struct ObjectVisitor<'c, 'a> {
    columns: &'c [Column],
    values: &'c mut Values<'a>,
}

impl<'a> Visitor<'a> for ObjectVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // Writers keep the order of their keys, so the next key is usually that of the next column.
        let mut expected = 0;
        while let Some(key) = map.next_key_seed(Key { columns: self.columns, expected })? {
            match key {
                Some((index, exact)) => {
                    let value: &'a RawValue = map.next_value()?;
                    if exact || self.values[index].is_none_or(|earlier| !earlier.exact) {
                        self.values[index] = Some(Value { text: value.get(), exact });
                    }
                    expected = index + 1;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a key as the column it names, and whether to the letter.
struct Key<'c> {
    columns: &'c [Column],
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<(usize, bool)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<(usize, bool)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(column_of(self.columns, self.expected, key))
    }
}
