//! Messages of a broker: each is one whole record, with columns from beside its value.
//!
//! A message that does not decode is a bad record and leaves no trace in the columns, so it never touches its neighbours.

use super::column::Column;
use super::csv::CsvDecoder;
use super::debezium::{Change, ChangeReader, key_differs};
use super::enveloped::Keyed;
use super::{BadRecord, Columns, record_text};
use crate::source::{Envelope, Format, Included, SourceError};

/// What a broker delivered, borrowed from its buffers.
#[derive(Clone, Debug)]
pub(crate) struct MessageView<'a> {
    /// The value; `None` is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// The key.
    pub(crate) key: Option<&'a [u8]>,
    /// Which partition it came from.
    pub(crate) partition: i32,
    /// Its place there.
    pub(crate) offset: i64,
    /// When it was made or appended, in milliseconds since 1970.
    pub(crate) timestamp_ms: Option<i64>,
    /// Its headers as the text of a JSON object, if they are asked for.
    pub(crate) headers: Option<String>,
}

/// A decoder of messages.
#[derive(Debug)]
pub(crate) struct MessageDecoder {
    format: MessageFormat,
    envelope: Envelope,
    beside: Beside,
    bytes_max: usize,
}

#[derive(Debug)]
enum MessageFormat {
    Csv(CsvDecoder),
    Json,
    Changes(ChangeReader),
}

/// The first columns come from the value, the others from beside it.
#[derive(Debug)]
struct Beside {
    declared: usize,
    included: Vec<Included>,
}

impl MessageDecoder {
    /// A decoder of the values of a source into the first `declared` columns, and of `included` into those behind them.
    ///
    /// # Errors
    /// A delimiter that cannot be one.
    pub(crate) fn new(
        format: Format,
        envelope: Envelope,
        declared: usize,
        included: Vec<Included>,
        bytes_max: usize,
    ) -> Result<MessageDecoder, SourceError> {
        let format = match (format, &envelope) {
            (Format::Csv { delimiter }, _) => MessageFormat::Csv(CsvDecoder::without_header(delimiter, declared)?),
            (Format::Json, Envelope::Debezium { .. }) => MessageFormat::Changes(ChangeReader::new()),
            (Format::Json, Envelope::None | Envelope::Upsert { .. }) => MessageFormat::Json,
        };
        Ok(MessageDecoder { format, envelope, beside: Beside { declared, included }, bytes_max })
    }

    /// Whether headers must be given.
    pub(crate) fn wants_headers(&self) -> bool {
        self.beside.included.contains(&Included::Headers)
    }

    /// Appends the message: as one row; of an enveloped source as one row, one deletion, or both.
    ///
    /// # Errors
    /// It does not decode; the columns keep nothing of it.
    #[inline]
    pub(crate) fn decode(&mut self, message: &MessageView<'_>, columns: &mut Columns) -> Result<(), BadRecord> {
        let keyed = Keyed { columns: self.envelope.key().unwrap_or_default(), record_key: message.key };
        if message.value.is_none() && keyed.columns.is_empty() {
            return Err(BadRecord::whole("the record has no value, which only ENVELOPE UPSERT would understand"));
        }
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let bytes = len(message.value).saturating_add(len(message.key));
        if bytes > self.bytes_max {
            let message = format!("the record has {bytes} bytes, more than the {} of max_record_bytes", self.bytes_max);
            return Err(BadRecord::whole(message));
        }
        let beside = &self.beside;
        let Some(value) = message.value else { return beside.delete(message, &keyed, None, columns) };
        let record = value.trim_ascii();
        if record.is_empty() {
            return Err(BadRecord::whole("the record is empty"));
        }
        let text = record_text(record)?;
        match &mut self.format {
            MessageFormat::Json => beside.push_row(message, columns, |declared| keyed.push_object(text, declared)),
            MessageFormat::Csv(csv) => {
                csv.scan_message(text)?;
                beside.push_row(message, columns, |declared| csv.push_fields(text, declared))
            }
            MessageFormat::Changes(reader) => match reader.read(text)? {
                Change::Row { after, before } => beside.change(message, &keyed, (before, after), columns),
                Change::Deleted(row) => beside.delete(message, &keyed, row, columns),
            },
        }
    }
}

impl Beside {
    /// Appends a row, of which `append` gives the declared columns their values.
    #[inline]
    fn push_row(
        &self,
        message: &MessageView<'_>,
        columns: &mut Columns,
        append: impl FnOnce(&mut [Column]) -> Result<(), BadRecord>,
    ) -> Result<(), BadRecord> {
        columns.push_row(|columns| {
            let (declared, beside) = columns.split_at_mut(self.declared);
            append(declared)?;
            push_included(message, &self.included, beside)
        })
    }

    /// Appends the deletion of the row of a key, which `row` may tell.
    fn delete(
        &self,
        message: &MessageView<'_>,
        keyed: &Keyed<'_>,
        row: Option<&str>,
        columns: &mut Columns,
    ) -> Result<(), BadRecord> {
        columns.push_rows(&[true], |columns| {
            let (declared, beside) = columns.split_at_mut(self.declared);
            keyed.push_deleted(row, declared)?;
            push_included(message, &self.included, beside)
        })
    }

    /// Appends the row that a change leaves, and before it the deletion of the row that stood there, if that had another
    /// key.
    fn change(
        &self,
        message: &MessageView<'_>,
        keyed: &Keyed<'_>,
        (before, after): (Option<&str>, &str),
        columns: &mut Columns,
    ) -> Result<(), BadRecord> {
        let moved = match before {
            Some(before) if key_differs(before, after, keyed.columns, &columns.all()[..self.declared])? => Some(before),
            _ => None,
        };
        let Some(before) = moved else {
            return self.push_row(message, columns, |declared| keyed.push_object(after, declared));
        };
        columns.push_rows(&[true, false], |columns| {
            let (declared, beside) = columns.split_at_mut(self.declared);
            keyed.push_deleted(Some(before), declared)?;
            push_included(message, &self.included, beside)?;
            keyed.push_object(after, declared)?;
            push_included(message, &self.included, beside)
        })
    }
}

fn push_included(message: &MessageView<'_>, included: &[Included], columns: &mut [Column]) -> Result<(), BadRecord> {
    for (included, column) in included.iter().zip(columns) {
        match included {
            Included::Key => match message.key {
                Some(key) => column.push_text(std::str::from_utf8(key).map_err(|_| BadRecord {
                    column: Some(column.name().to_owned()),
                    message: "the key is not valid UTF-8".to_owned(),
                })?)?,
                None => column.push_null()?,
            },
            Included::Partition => column.push_integer(i64::from(message.partition)),
            Included::Offset => column.push_integer(message.offset),
            Included::Timestamp => match message.timestamp_ms.and_then(|ms| ms.checked_mul(1_000)) {
                Some(microseconds) => column.push_integer(microseconds),
                None => column.push_null()?,
            },
            Included::Headers => match &message.headers {
                Some(headers) => column.push_text(headers)?,
                None => column.push_null()?,
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use arrow::util::pretty::pretty_format_batches;

    use super::*;

    fn schema(included: &[Included]) -> SchemaRef {
        let declared = [Field::new("n", DataType::Int32, false), Field::new("t", DataType::Utf8, true)];
        let beside = included.iter().map(|included| included.field(included.default_name()));
        Arc::new(Schema::new(declared.into_iter().chain(beside).collect::<Vec<_>>()))
    }

    fn decoder(format: Format, included: &[Included]) -> MessageDecoder {
        MessageDecoder::new(format, Envelope::None, 2, included.to_vec(), 100).unwrap()
    }

    fn message(value: &[u8]) -> MessageView<'_> {
        MessageView {
            value: Some(value),
            key: Some(b"k"),
            partition: 3,
            offset: 9,
            timestamp_ms: Some(1),
            headers: None,
        }
    }

    #[test]
    fn values_and_what_is_beside_them_make_rows() {
        let included = [Included::Key, Included::Partition, Included::Offset, Included::Timestamp, Included::Headers];
        for (format, value) in
            [(Format::Json, "{\"t\": \"x\",\n \"n\": 1}\n"), (Format::Csv { delimiter: b';' }, "1;x\r\n")]
        {
            let mut columns = Columns::new(&schema(&included)).unwrap();
            let mut decoder = decoder(format, &included);
            decoder.decode(&message(value.as_bytes()), &mut columns).unwrap();
            let nothing = MessageView { key: None, timestamp_ms: None, ..message(value.as_bytes()) };
            decoder.decode(&nothing, &mut columns).unwrap();
            let shown = pretty_format_batches(&[columns.finish()]).unwrap().to_string();
            assert!(shown.contains("| 1 | x | k   | 3         | 9      | 1970-01-01T00:00:00.001Z | "), "{shown}");
            assert!(shown.contains("| 1 | x |     | 3         | 9      |                          | "), "{shown}");
        }
    }

    #[test]
    fn a_bad_message_says_why_and_leaves_no_trace() {
        let cases: [(Format, &[u8], &str); 9] = [
            (Format::Json, b"{\"n\": 1", "invalid JSON: EOF"),
            (Format::Json, b"{\"n\": 1} {\"n\": 2}", "invalid JSON: trailing characters"),
            (Format::Json, b"{\"n\": \"x\"}", "'x' is not a value of type INT"),
            (Format::Json, b"{\"t\": \"x\"}", "NOT NULL"),
            (Format::Json, b"{\"n\": 1, \"t\": \"\xff\"}", "not valid UTF-8 at byte 16"),
            (Format::Json, b" \n", "the record is empty"),
            (Format::Json, &[b'x'; 100], "the record has 101 bytes, more than the 100 of max_record_bytes"),
            (Format::Csv { delimiter: b',' }, b"1,x\n2,y", "more than one line"),
            (Format::Csv { delimiter: b',' }, b"1", "the record has 1 fields and the source declares 2"),
        ];
        for (format, value, said) in cases {
            let mut columns = Columns::new(&schema(&[])).unwrap();
            let mut decoder = decoder(format, &[]);
            let bad = decoder.decode(&message(value), &mut columns).unwrap_err();
            assert!(bad.message.contains(said), "{}", bad.message);
            assert_eq!(columns.finish().num_rows(), 0);
        }
        let mut columns = Columns::new(&schema(&[Included::Key])).unwrap();
        let mut decoder = decoder(Format::Json, &[Included::Key]);
        let bad = decoder.decode(&MessageView { key: Some(b"\xff"), ..message(b"{\"n\":1}") }, &mut columns);
        assert_eq!(bad.unwrap_err().column.as_deref(), Some("key"));
        let bad = decoder.decode(&MessageView { value: None, ..message(b"") }, &mut columns).unwrap_err();
        assert!(bad.message.contains("ENVELOPE UPSERT"), "{}", bad.message);
        assert_eq!(columns.finish().num_rows(), 0);
    }
}
