//! Rows and deletions by key: what the records of an enveloped source append to its columns.

use super::column::Column;
use super::record_key::RecordKey;
use super::{BadRecord, json};

/// The key of a source, and that of one of its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed<'a> {
    /// The columns of the key, by position.
    pub(super) columns: &'a [usize],
    /// The bytes of the record's key.
    pub(super) record_key: Option<&'a [u8]>,
}

impl Keyed<'_> {
    /// Appends one value to each of `columns` from the text of a JSON object; columns of the key that it lacks come from
    /// the record's key.
    ///
    /// # Errors
    /// Something is no value of its column, or a part of the key stands nowhere.
    pub(super) fn push_object(&self, text: &str, columns: &mut [Column]) -> Result<(), BadRecord> {
        // Columns of the key are NOT NULL: an object that lacks one is not usual.
        if json::push_usual(text, columns) {
            return Ok(());
        }
        let values = json::find(text, columns)?;
        let record_key = match self.columns.iter().find(|index| values[**index].is_none()) {
            None => None,
            Some(lacking) => {
                Some(RecordKey::read(self.record_key, self.columns, columns).map_err(|bad| BadRecord {
                    column: Some(columns[*lacking].name().to_owned()),
                    message: format!("the value lacks it, and {}", bad.message),
                })?)
            }
        };
        for (index, column) in columns.iter_mut().enumerate() {
            match (&values[index], &record_key) {
                (None, Some(key)) if self.columns.contains(&index) => key.push(index, column)?,
                (value, _) => json::push_value(value.as_ref(), column)?,
            }
        }
        Ok(())
    }

    /// Appends the key of a row that is gone, and nothing in the other `columns`. The key comes from `row`, the text of a
    /// JSON object, if that tells all of it, and else from the record's key.
    ///
    /// # Errors
    /// The key is no value of its columns, or stands nowhere.
    pub(super) fn push_deleted(&self, row: Option<&str>, columns: &mut [Column]) -> Result<(), BadRecord> {
        let told = row.map(|row| json::find(row, columns)).transpose()?;
        let whole = |values: &json::Values<'_>| {
            self.columns.iter().all(|index| values[*index].is_some_and(|value| value.text != "null"))
        };
        let key = match told.filter(whole) {
            Some(values) => RecordKey::Object(values),
            None => RecordKey::read(self.record_key, self.columns, columns)?,
        };
        for (index, column) in columns.iter_mut().enumerate() {
            if self.columns.contains(&index) {
                key.push(index, column)?;
            } else {
                column.push_blank();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
