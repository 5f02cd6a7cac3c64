//! The key of a Kafka record: where the columns of a source's key stand in it.
//!
//! It is a JSON object that has them (also as the `payload` of an object with its schema, as Kafka Connect writes it), or,
//! for a key of one column, the value alone: a JSON string, or any other text as it is.

use std::borrow::Cow;

use super::column::Column;
use super::json::{self, Names, Values};
use super::{BadRecord, record_text};

/// What a record's key says.
#[allow(clippy::large_enum_variant, reason = "it lives on the stack while one record is decoded")]
#[derive(Debug)]
pub(super) enum RecordKey<'a> {
    /// Values of columns.
    Object(Values<'a>),
    /// The value of the only column.
    Scalar(Cow<'a, str>),
}

impl<'a> RecordKey<'a> {
    /// Reads the bytes of a record's key for the columns `key` of `columns`.
    ///
    /// # Errors
    /// There are none; they are no text; an object lacks a column; one value stands there and the key has more columns.
    pub(super) fn read(bytes: Option<&'a [u8]>, key: &[usize], columns: &[Column]) -> Result<RecordKey<'a>, BadRecord> {
        let Some(bytes) = bytes else { return Err(bad("the record has no key")) };
        let text = record_text(bytes).map_err(|_| bad("the key of the record is not valid UTF-8"))?;
        if !text.trim_ascii_start().starts_with('{') {
            return scalar(text, key);
        }
        let text = text.trim_ascii();
        let of_key = |error: BadRecord| bad(format!("the key of the record: {}", error.message));
        let values = json::find(text, columns).map_err(of_key)?;
        let missing = key.iter().copied().find(|index| values[*index].is_none());
        let Some(missing) = missing else { return Ok(RecordKey::Object(values)) };
        if key.iter().all(|index| values[*index].is_none())
            && let Some(payload) = Names::new(&["payload"]).find(text).map_err(of_key)?[0]
        {
            return RecordKey::read_payload(payload.text, key, columns);
        }
        Err(lacks(&columns[missing]))
    }

    fn read_payload(payload: &'a str, key: &[usize], columns: &[Column]) -> Result<RecordKey<'a>, BadRecord> {
        if !payload.starts_with('{') {
            return scalar(payload, key);
        }
        let values = json::find(payload, columns)?;
        match key.iter().find(|index| values[**index].is_none()) {
            None => Ok(RecordKey::Object(values)),
            Some(missing) => Err(lacks(&columns[*missing])),
        }
    }

    /// Appends the value of the key's column `index` to `column`, which it is.
    ///
    /// # Errors
    /// It is no value of the column's type.
    pub(super) fn push(&self, index: usize, column: &mut Column) -> Result<(), BadRecord> {
        match self {
            RecordKey::Object(values) => json::push_value(values[index].as_ref(), column),
            RecordKey::Scalar(text) => column.push_text(text),
        }
    }
}

fn scalar<'a>(text: &'a str, key: &[usize]) -> Result<RecordKey<'a>, BadRecord> {
    if key.len() > 1 {
        return Err(bad(format!("the key of the record is no JSON object with the {} columns of the key", key.len())));
    }
    let trimmed = text.trim_ascii();
    // A text in quotes that is no JSON string is meant as it is.
    let text =
        if trimmed.starts_with('"') { json::unquote(trimmed).unwrap_or(Cow::Borrowed(text)) } else { text.into() };
    Ok(RecordKey::Scalar(text))
}

fn bad(message: impl Into<String>) -> BadRecord {
    BadRecord { column: None, message: message.into() }
}

fn lacks(column: &Column) -> BadRecord {
    BadRecord { column: Some(column.name().to_owned()), message: "the key of the record lacks the column".to_owned() }
}
