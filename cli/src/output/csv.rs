//! RFC 4180 with `\n` at the end of lines. NULL is the empty field, empty text is `""`.

use arrow::array::RecordBatch;

use super::value::{is_null, write_text};

/// Appends the fields of a row, without the end of the line.
pub(crate) fn write_row(rows: &RecordBatch, row: usize, line: &mut String) {
    let mut text = String::new();
    for (index, column) in rows.columns().iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        if !is_null(column.as_ref(), row) {
            text.clear();
            write_text(column.as_ref(), row, &mut text);
            write_field(&text, line);
        }
    }
}

/// Appends one field that is not NULL.
pub(crate) fn write_field(text: &str, line: &mut String) {
    if text.is_empty() || text.contains(['"', ',', '\n', '\r']) {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}

/// Appends fields that are not NULL, with a comma between each two.
pub(crate) fn write_fields<'a>(fields: impl IntoIterator<Item = &'a str>, line: &mut String) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        write_field(field, line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_reader_gets_back_what_was_written() {
        let texts =
            vec![Some("plain"), Some(""), None, Some("a,b"), Some("say \"hi\""), Some("two\nlines"), Some("\r")];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("text", Arc::new(StringArray::from(texts.clone()))),
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5), Some(6), Some(7)]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut written = String::new();
        for row in 0..rows.num_rows() {
            write_row(&rows, row, &mut written);
            written.push('\n');
        }
        assert!(written.starts_with("plain,1\n\"\",\n,3\n\"a,b\",4\n\"say \"\"hi\"\"\",5\n"), "{written}");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(written.as_bytes());
        let read: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
        let expected: Vec<&str> = texts.iter().map(|text| text.unwrap_or_default()).collect();
        assert_eq!(read, expected);
    }
}
