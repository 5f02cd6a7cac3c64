//! Decoding: bytes in, columns out, directed by the declared schema.
//!
//! A decoder looks at the bytes after the last record boundary and says what is there: a row, whose values are in the
//! columns by then, a bad record, nothing whole yet. It never fails: what cannot be decoded is a bad record, of which the
//! columns keep no trace, and the next record is found behind it. It neither reads nor waits.

mod column;
mod columns;
mod csv;
mod debezium;
mod enveloped;
mod json;
mod message;
mod record_key;
mod scan;
mod time;
mod value;

pub(crate) use columns::Columns;
pub(crate) use csv::CsvDecoder;
pub(crate) use message::{MessageDecoder, MessageView};

use crate::source::{Format, SourceError};

/// The longest record, its line end included. A longer one is a bad record.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 20;

/// The most characters of a bad record that its error row shows.
const PAYLOAD_CHARS_MAX: usize = 256;

/// What a decoder found at the start of its input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record, whose values were appended to the columns.
    Row(Extent),
    /// A blank line, which is no record.
    Blank(Extent),
    /// A record that does not decode.
    Bad(Extent, BadRecord),
    /// A record longer than [`RECORD_BYTES_MAX`]; the extent is its beginning, its end is behind the next line end.
    TooLong(Extent),
    /// Not a whole record yet: more bytes are needed. Never at the end of a whole input that is not empty.
    Incomplete,
}

/// How much of the input something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes, line end included.
    pub(crate) bytes: usize,
    /// Line ends.
    pub(crate) lines: u64,
}

/// Why a record does not decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord {
    /// The column concerned, if it is one; nested ones with dots.
    pub(crate) column: Option<String>,
    /// What is wrong.
    pub(crate) message: String,
}

impl BadRecord {
    fn whole(message: impl Into<String>) -> BadRecord {
        BadRecord { column: None, message: message.into() }
    }

    /// The record is longer than a record may be.
    pub(crate) fn too_long() -> BadRecord {
        BadRecord::whole(format!("the record is longer than {RECORD_BYTES_MAX} bytes"))
    }
}

/// A decoder of one of the formats.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// See [`CsvDecoder`].
    Csv(CsvDecoder),
    /// One object a line.
    Json,
}

impl Decoder {
    /// A decoder for one file of `format`.
    ///
    /// # Errors
    /// A delimiter that cannot be one.
    pub(crate) fn new(format: Format) -> Result<Decoder, SourceError> {
        match format {
            Format::Csv { delimiter } => Ok(Decoder::Csv(CsvDecoder::new(delimiter)?)),
            Format::Json => Ok(Decoder::Json),
        }
    }

    /// Whether the start of a file must be seen before a record further on can be decoded.
    pub(crate) fn has_header(&self) -> bool {
        match self {
            Decoder::Csv(_) => true,
            Decoder::Json => false,
        }
    }

    /// Reads what stands before the first record of a file: a byte order mark, and the header of a CSV file. `whole` says
    /// that `input` is all there will ever be. `None` asks for more bytes.
    ///
    /// # Errors
    /// A header that cannot be read or lacks a declared column, naming `file`.
    pub(crate) fn begin(
        &mut self,
        file: &str,
        input: &[u8],
        whole: bool,
        columns: &Columns,
    ) -> Result<Option<Extent>, SourceError> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        if input.len() < MARK.len() && MARK.starts_with(input) && !whole {
            return Ok(None);
        }
        let mark = if input.starts_with(MARK) { MARK.len() } else { 0 };
        match self {
            Decoder::Csv(csv) => {
                let header = csv.read_header(file, &input[mark..], whole, columns)?;
                Ok(header.map(|header| Extent { bytes: mark + header.bytes, lines: header.lines }))
            }
            Decoder::Json => Ok(Some(Extent { bytes: mark, lines: 0 })),
        }
    }

    /// Decodes what stands at the start of `input`, a record boundary. `whole` says that `input` is all there will ever
    /// be, so that its last line needs no line end.
    #[inline]
    pub(crate) fn step(&mut self, input: &[u8], whole: bool, columns: &mut Columns) -> Step {
        if input.is_empty() {
            return Step::Incomplete;
        }
        match self {
            Decoder::Csv(csv) => csv.step(input, whole, columns),
            Decoder::Json => json::step(input, whole, columns),
        }
    }
}

/// The text of a bad record as its error row shows it: without the line end, at most 256 characters, with replacement
/// characters where it is not UTF-8.
pub(crate) fn payload(record: &[u8]) -> String {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    // A character has at most four bytes, so this prefix always holds as many characters as are shown.
    let prefix = &record[..record.len().min(PAYLOAD_CHARS_MAX * 4)];
    String::from_utf8_lossy(prefix).chars().take(PAYLOAD_CHARS_MAX).collect()
}

/// The milliseconds since 1970 of a timestamp as TIMESTAMPTZ columns take it; finer parts are cut.
pub(crate) fn timestamp_ms(text: &str) -> Option<i64> {
    time::parse_timestamp(text.trim()).ok().map(|microseconds| microseconds.div_euclid(1_000))
}

/// The text of a record, or why it has none.
fn record_text(record: &[u8]) -> Result<&str, BadRecord> {
    std::str::from_utf8(record)
        .map_err(|error| BadRecord::whole(format!("the record is not valid UTF-8 at byte {}", error.valid_up_to() + 1)))
}

/// Appends a row from the text of a JSON object, with the fast parser in front of the general one or without.
pub(crate) fn push_json(text: &str, fast: bool, columns: &mut Columns) -> Result<(), BadRecord> {
    let push = if fast { json::push_object } else { json::push_general };
    columns.push_row(|columns| push(text, columns))
}

#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_the_record_without_its_line_end_cut_at_256_characters() {
        assert_eq!(payload(b"a,b\r\n"), "a,b");
        assert_eq!(payload(b"a\nb\n"), "a\nb");
        assert_eq!(payload(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(payload("é".repeat(300).as_bytes()), "é".repeat(256));
        assert_eq!(payload("🦀".repeat(300).as_bytes()), "🦀".repeat(256));
    }
}
