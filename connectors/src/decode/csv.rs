//! CSV after RFC 4180: records with a header into columns.
//!
//! A field that starts with a quote ends at the next single quote, which a delimiter or the line end must follow; `""`
//! inside is one quote. A quote further inside an unquoted field is an ordinary character. Lines end in LF or CRLF. Blank
//! lines are no records. An empty field is NULL unless it is quoted.
//!
//! A quote that is opened by mistake would swallow the lines behind it. So a record whose quoting is wrong is its first
//! line only, and reading goes on with the second one.

use super::column::Column;
use super::{BadRecord, Columns, Extent, RECORD_BYTES_MAX, Step, record_text, scan};
use crate::source::SourceError;

const QUOTE: u8 = b'"';

/// A decoder of one CSV file.
#[derive(Debug)]
pub(crate) struct CsvDecoder {
    scanner: Scanner,
    /// The number of fields in the header.
    width: usize,
    /// For each declared column the field that holds it.
    field_of_column: Vec<usize>,
    /// Room to take doubled quotes apart.
    unescaped: String,
}

/// A field of the record that was scanned last: bytes `start .. end`, without the quotes around them.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    quoting: Quoting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoting {
    None,
    Quoted,
    /// Quoted, with doubled quotes inside.
    Escaped,
}

/// What stands at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scanned {
    /// A record; its fields are in the scanner.
    Record(Extent),
    Blank(Extent),
    /// The input ends before the record does, inside of quotes or not.
    Open {
        in_quotes: bool,
    },
    /// The quoting is wrong.
    Misquoted(&'static str),
}

const NEVER_CLOSED: &str = "a quote is opened and never closed";
const TEXT_BEHIND_QUOTE: &str =
    "a closing quote is followed by something other than a delimiter or the end of the line";

#[derive(Debug)]
struct Scanner {
    delimiter: u8,
    fields: Vec<Span>,
}

impl Scanner {
    /// Finds the record at the start of `input` and its fields.
    #[inline]
    fn scan(&mut self, input: &[u8], whole: bool) -> Scanned {
        self.fields.clear();
        match input {
            [b'\n', ..] => return Scanned::Blank(Extent { bytes: 1, lines: 1 }),
            [b'\r', b'\n', ..] => return Scanned::Blank(Extent { bytes: 2, lines: 1 }),
            [b'\r'] if whole => return Scanned::Blank(Extent { bytes: 1, lines: 0 }),
            _ => {}
        }
        let (mut at, mut lines) = (0, 0);
        loop {
            if input.get(at) == Some(&QUOTE) {
                match self.scan_quoted(input, at, whole) {
                    Ok((behind, last)) => {
                        let span = self.fields[self.fields.len() - 1];
                        lines += scan::count_lines(&input[span.start..span.end]);
                        at = behind;
                        if last {
                            lines += u64::from(input[at - 1] == b'\n');
                            return Scanned::Record(Extent { bytes: at, lines });
                        }
                    }
                    Err(stopped) => return stopped,
                }
                continue;
            }
            match scan::find_either(input, at, self.delimiter, b'\n') {
                Some(end) if input[end] == b'\n' => {
                    self.push_last(input, at, end);
                    return Scanned::Record(Extent { bytes: end + 1, lines: lines + 1 });
                }
                Some(end) => {
                    self.fields.push(Span { start: at, end, quoting: Quoting::None });
                    at = end + 1;
                }
                None if whole => {
                    self.push_last(input, at, input.len());
                    return Scanned::Record(Extent { bytes: input.len(), lines });
                }
                None => return Scanned::Open { in_quotes: false },
            }
        }
    }

    /// Pushes the unquoted field that ends its line at `end`.
    #[inline]
    fn push_last(&mut self, input: &[u8], start: usize, end: usize) {
        let end = if end > start && input[end - 1] == b'\r' { end - 1 } else { end };
        self.fields.push(Span { start, end, quoting: Quoting::None });
    }

    /// Pushes the quoted field whose quote stands at `quote`; returns where reading goes on, and whether the record is
    /// complete.
    fn scan_quoted(&mut self, input: &[u8], quote: usize, whole: bool) -> Result<(usize, bool), Scanned> {
        let start = quote + 1;
        let (mut from, mut quoting) = (start, Quoting::Quoted);
        loop {
            let Some(end) = scan::find(input, from, QUOTE) else {
                return Err(if whole { Scanned::Misquoted(NEVER_CLOSED) } else { Scanned::Open { in_quotes: true } });
            };
            let (behind, last) = match &input[end + 1..] {
                [QUOTE, ..] => {
                    (from, quoting) = (end + 2, Quoting::Escaped);
                    continue;
                }
                [b'\n', ..] => (end + 2, true),
                [b'\r', b'\n', ..] => (end + 3, true),
                [b'\r'] if whole => (end + 2, true),
                [] if whole => (end + 1, true),
                [] | [b'\r'] => return Err(Scanned::Open { in_quotes: false }),
                [byte, ..] if *byte == self.delimiter => (end + 2, false),
                _ => return Err(Scanned::Misquoted(TEXT_BEHIND_QUOTE)),
            };
            self.fields.push(Span { start, end, quoting });
            return Ok((behind, last));
        }
    }
}

impl CsvDecoder {
    /// A decoder that has not seen its header.
    ///
    /// # Errors
    /// The delimiter is not ASCII, or a quote or line end.
    pub(super) fn new(delimiter: u8) -> Result<CsvDecoder, SourceError> {
        if !delimiter.is_ascii() || [QUOTE, b'\r', b'\n', 0].contains(&delimiter) {
            return Err(SourceError::Delimiter { delimiter });
        }
        let scanner = Scanner { delimiter, fields: Vec::new() };
        Ok(CsvDecoder { scanner, width: 0, field_of_column: Vec::new(), unescaped: String::new() })
    }

    /// A decoder of messages of `width` fields each, in the order of the columns.
    ///
    /// # Errors
    /// The delimiter is not ASCII, or a quote or line end.
    pub(super) fn without_header(delimiter: u8, width: usize) -> Result<CsvDecoder, SourceError> {
        Ok(CsvDecoder { width, field_of_column: (0..width).collect(), ..CsvDecoder::new(delimiter)? })
    }

    /// Finds the fields of a message, which must be one record; [`CsvDecoder::push_fields`] takes them.
    pub(super) fn scan_message(&mut self, text: &str) -> Result<(), BadRecord> {
        match self.scanner.scan(text.as_bytes(), true) {
            Scanned::Record(extent) if extent.bytes < text.len() => {
                Err(BadRecord::whole("the record has more than one line: a message is one record"))
            }
            Scanned::Record(_) if self.scanner.fields.len() == self.width => Ok(()),
            Scanned::Record(_) => Err(BadRecord::whole(format!(
                "the record has {} fields and the source declares {}",
                self.scanner.fields.len(),
                self.width
            ))),
            Scanned::Misquoted(reason) => Err(BadRecord::whole(reason)),
            Scanned::Blank(_) | Scanned::Open { .. } => Err(BadRecord::whole("the record is empty")),
        }
    }

    /// Appends the fields that were scanned last, those of the record `text`, to the columns.
    #[inline]
    pub(super) fn push_fields(&mut self, text: &str, columns: &mut [Column]) -> Result<(), BadRecord> {
        let CsvDecoder { scanner, field_of_column, unescaped, .. } = self;
        for (column, field) in columns.iter_mut().zip(field_of_column.iter()) {
            let Span { start, end, quoting } = scanner.fields[*field];
            match quoting {
                Quoting::None if start == end => column.push_null()?,
                Quoting::None | Quoting::Quoted => column.push_text(&text[start..end])?,
                Quoting::Escaped => column.push_text(unescape(&text[start..end], unescaped))?,
            }
        }
        Ok(())
    }

    /// Reads the header at the start of a file and finds the declared columns in it; see [`super::Decoder::begin`]. A
    /// file without any record needs no header.
    pub(super) fn read_header(
        &mut self,
        file: &str,
        input: &[u8],
        whole: bool,
        columns: &Columns,
    ) -> Result<Option<Extent>, SourceError> {
        let bad = |reason: &str| SourceError::Header { file: file.to_owned(), reason: reason.to_owned() };
        let mut before = Extent::default();
        loop {
            let rest = &input[before.bytes..];
            if rest.is_empty() {
                return Ok(whole.then_some(before));
            }
            match self.scanner.scan(rest, whole) {
                Scanned::Blank(blank) => {
                    before = Extent { bytes: before.bytes + blank.bytes, lines: before.lines + blank.lines };
                }
                Scanned::Record(extent) => {
                    let text = record_text(&rest[..extent.bytes]).map_err(|record| bad(&record.message))?;
                    let names: Vec<String> =
                        (0..self.scanner.fields.len()).map(|index| self.field(text, index).to_owned()).collect();
                    self.field_of_column =
                        columns.names().map(|column| find_column(file, column, &names)).collect::<Result<_, _>>()?;
                    self.width = names.len();
                    return Ok(Some(Extent { bytes: before.bytes + extent.bytes, lines: before.lines + extent.lines }));
                }
                Scanned::Open { .. } if rest.len() < RECORD_BYTES_MAX => return Ok(None),
                Scanned::Open { .. } => return Err(bad(&BadRecord::too_long().message)),
                Scanned::Misquoted(reason) => return Err(bad(reason)),
            }
        }
    }

    /// Decodes the record at the start of `input`; see [`super::Decoder::step`].
    #[inline]
    pub(super) fn step(&mut self, input: &[u8], whole: bool, columns: &mut Columns) -> Step {
        let window = &input[..input.len().min(RECORD_BYTES_MAX)];
        let all_there = whole && window.len() == input.len();
        match self.scanner.scan(window, all_there) {
            Scanned::Record(extent) => self.decode(window, extent, all_there, columns),
            Scanned::Blank(extent) => Step::Blank(extent),
            Scanned::Open { .. } if window.len() < RECORD_BYTES_MAX => Step::Incomplete,
            Scanned::Open { in_quotes: true } => {
                let message = format!("a quote is opened and not closed within {RECORD_BYTES_MAX} bytes");
                first_line(window, false, BadRecord::whole(message))
            }
            Scanned::Open { in_quotes: false } => {
                Step::TooLong(Extent { bytes: window.len(), lines: scan::count_lines(window) })
            }
            Scanned::Misquoted(reason) => first_line(window, all_there, BadRecord::whole(reason)),
        }
    }

    fn decode(&mut self, window: &[u8], extent: Extent, whole: bool, columns: &mut Columns) -> Step {
        let text = match record_text(&window[..extent.bytes]) {
            Ok(text) => text,
            Err(bad) => return Step::Bad(extent, bad),
        };
        if self.scanner.fields.len() != self.width {
            return self.wrong_width(window, extent, whole);
        }
        let pushed = columns.push_row(|columns| self.push_fields(text, columns));
        match pushed {
            Ok(()) => Step::Row(extent),
            Err(bad) => Step::Bad(extent, bad),
        }
    }

    /// The bad record whose number of fields is wrong. If it runs over several lines and the second is a whole record by
    /// itself, a quote that was opened by mistake swallowed it: then the record is its first line only.
    fn wrong_width(&mut self, window: &[u8], extent: Extent, whole: bool) -> Step {
        let bad = BadRecord::whole(format!(
            "the record has {} fields and the header has {}",
            self.scanner.fields.len(),
            self.width
        ));
        let line = scan::find(window, 0, b'\n').map_or(window.len(), |at| at + 1);
        if line < extent.bytes {
            match self.scanner.scan(&window[line..], whole) {
                Scanned::Record(_) if self.scanner.fields.len() == self.width => {
                    return Step::Bad(Extent { bytes: line, lines: 1 }, bad);
                }
                // What is behind it decides, and must decide the same however the bytes arrive.
                Scanned::Open { .. } if !whole && window.len() < RECORD_BYTES_MAX => return Step::Incomplete,
                Scanned::Record(_) | Scanned::Blank(_) | Scanned::Open { .. } | Scanned::Misquoted(_) => {}
            }
        }
        Step::Bad(extent, bad)
    }

    /// The text of field `index` of the record scanned last, whose text is `record`.
    fn field<'a>(&'a mut self, record: &'a str, index: usize) -> &'a str {
        let Span { start, end, quoting } = self.scanner.fields[index];
        match quoting {
            Quoting::None | Quoting::Quoted => &record[start..end],
            Quoting::Escaped => unescape(&record[start..end], &mut self.unescaped),
        }
    }
}

/// The bad record that is the first line of `window`.
fn first_line(window: &[u8], whole: bool, bad: BadRecord) -> Step {
    match scan::find(window, 0, b'\n') {
        Some(at) => Step::Bad(Extent { bytes: at + 1, lines: 1 }, bad),
        None if whole => Step::Bad(Extent { bytes: window.len(), lines: 0 }, bad),
        None if window.len() == RECORD_BYTES_MAX => Step::TooLong(Extent { bytes: window.len(), lines: 0 }),
        None => Step::Incomplete,
    }
}

fn unescape<'a>(text: &str, room: &'a mut String) -> &'a str {
    room.clear();
    for (index, part) in text.split("\"\"").enumerate() {
        if index > 0 {
            room.push('"');
        }
        room.push_str(part);
    }
    room
}

/// The field of the header that is `column`: to the letter, or else the only one without regard to case and spaces around.
fn find_column(file: &str, column: &str, names: &[String]) -> Result<usize, SourceError> {
    let matching =
        |same: &dyn Fn(&str) -> bool| -> Vec<usize> { (0..names.len()).filter(|index| same(&names[*index])).collect() };
    let mut found = matching(&|name| name == column);
    if found.is_empty() {
        found = matching(&|name| name.trim().eq_ignore_ascii_case(column));
    }
    match found[..] {
        [index] => Ok(index),
        [] => Err(SourceError::Column { file: file.to_owned(), column: column.to_owned(), columns: names.to_vec() }),
        _ => Err(SourceError::Ambiguous {
            file: file.to_owned(),
            column: column.to_owned(),
            columns: found.iter().map(|index| names[*index].clone()).collect(),
        }),
    }
}
