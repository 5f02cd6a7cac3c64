//! The records of one file: bytes through the decoder into a batch, with the position of the last record boundary.

use headwater_dataflow::repr::{ErrorRow, ErrorRows};

use super::SourceError;
use super::position::FilePosition;
use super::stream::Stream;
use crate::decode::{BadRecord, Columns, Decoder, Step, payload};

/// How many unpacked bytes one poll takes at most, give or take a record. Bounds both its memory and its duration.
const POLL_BYTES_MAX: usize = 8 << 20;

/// The rows and errors of one poll under construction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) columns: Columns,
    pub(super) errors: ErrorRows,
    /// Good and bad records, of this poll and of those before.
    pub(super) records: u64,
    rows_max: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn new(columns: Columns) -> Batch {
        Batch { columns, errors: ErrorRows::default(), records: 0, rows_max: 0, bytes: 0 }
    }

    /// Starts a poll.
    pub(super) fn start(&mut self, rows_max: usize) {
        (self.rows_max, self.bytes) = (rows_max, 0);
    }

    /// Nothing more may go in.
    fn full(&self) -> bool {
        self.columns.rows() >= self.rows_max || self.errors.len() >= self.rows_max || self.bytes >= POLL_BYTES_MAX
    }

    /// Nothing went in.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.rows() == 0 && self.errors.is_empty()
    }
}

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The batch is full.
    Full,
    /// Every record that the file has so far was read.
    AtEnd,
}

/// The records of one file.
#[derive(Debug)]
pub(super) struct FileReader {
    stream: Stream,
    decoder: Decoder,
    /// The last record boundary.
    position: FilePosition,
    /// What stands before the first record was read.
    begun: bool,
    /// A record that is too long and whose end was not found yet: its beginning, as its error row will show it, and its
    /// line ends so far. The stream is ahead of the position meanwhile.
    skipped: Option<(String, u64)>,
    /// The file will not grow: its last line needs no line end.
    complete: bool,
    /// `complete`, and the end was reached since that is known.
    ended: bool,
}

impl FileReader {
    /// Goes on in `stream`, which is at its beginning, at `position`.
    ///
    /// # Errors
    /// The header lacks a declared column, or the file ends before `position`.
    pub(super) fn new(
        stream: Stream,
        decoder: Decoder,
        position: FilePosition,
        complete: bool,
        columns: &Columns,
    ) -> Result<FileReader, SourceError> {
        let (begun, skipped, ended) = (false, None, false);
        let mut reader =
            FileReader { stream, decoder, position: FilePosition::default(), begun, skipped, complete, ended };
        if position.offset == 0 {
            reader.begin(columns)?;
            return Ok(reader);
        }
        if reader.decoder.has_header() && !reader.begin(columns)? {
            let (file, length) = (reader.stream.name().to_owned(), reader.stream.offset());
            return Err(SourceError::Shrunk { file, offset: position.offset, length });
        }
        reader.begun = true;
        reader.stream.seek(position.offset)?;
        reader.position = position;
        Ok(reader)
    }

    /// The last record boundary.
    pub(super) fn position(&self) -> FilePosition {
        self.position
    }

    /// Packed bytes read.
    pub(super) fn packed_bytes(&self) -> u64 {
        self.stream.packed_bytes()
    }

    /// From here on the file will not grow; what it has by now is all.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// The file will not grow.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Makes sure that a file that follows can go on; see [`Stream::check_growing`].
    pub(super) fn check_growing(&mut self) -> Result<(), SourceError> {
        if self.skipped.is_some() {
            // What was skipped cannot be read again, so it must all be there still.
            return self.stream.check_growing(self.stream.offset());
        }
        self.stream.check_growing(self.position.offset)
    }

    /// Reads records into `batch` until it is full or the file has no more.
    pub(super) fn read(&mut self, batch: &mut Batch) -> Result<Stopped, SourceError> {
        if !self.begun && !self.begin(&batch.columns)? {
            return Ok(Stopped::AtEnd);
        }
        while !batch.full() {
            let progressed = if self.skipped.is_some() { self.skip(batch) } else { self.step(batch) };
            if !progressed && !self.fill()? {
                return Ok(Stopped::AtEnd);
            }
        }
        Ok(Stopped::Full)
    }

    /// Gets more bytes, or the knowledge that there are none; false if that leads nowhere.
    fn fill(&mut self) -> Result<bool, SourceError> {
        if self.stream.fill()? > 0 {
            self.ended = false;
            return Ok(true);
        }
        let news = self.complete && !self.ended;
        self.ended = self.complete;
        Ok(news)
    }

    /// Reads what stands before the first record; false if it is not whole yet.
    fn begin(&mut self, columns: &Columns) -> Result<bool, SourceError> {
        loop {
            let begun = self.decoder.begin(self.stream.name(), self.stream.bytes(), self.ended, columns)?;
            if let Some(extent) = begun {
                self.advance(extent.bytes, extent.lines);
                self.begun = true;
                return Ok(true);
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Takes one record or blank line; false if more bytes are needed.
    #[inline]
    fn step(&mut self, batch: &mut Batch) -> bool {
        let step = self.decoder.step(self.stream.bytes(), self.ended, &mut batch.columns);
        let extent = match step {
            Step::Row(extent) => {
                batch.records += 1;
                extent
            }
            Step::Blank(extent) => extent,
            Step::Bad(extent, bad) => {
                let shown = payload(&self.stream.bytes()[..extent.bytes]);
                self.report(batch, bad, shown);
                extent
            }
            Step::TooLong(extent) => {
                self.skipped = Some((payload(self.stream.bytes()), extent.lines));
                self.stream.consume(extent.bytes);
                batch.bytes += extent.bytes;
                return true;
            }
            Step::Incomplete => return false,
        };
        batch.bytes += extent.bytes;
        self.advance(extent.bytes, extent.lines);
        true
    }

    /// Looks for the end of a record that is too long; false if more bytes are needed.
    fn skip(&mut self, batch: &mut Batch) -> bool {
        let bytes = self.stream.bytes();
        let end = bytes.iter().position(|byte| *byte == b'\n');
        if end.is_none() && !self.ended {
            let bytes = bytes.len();
            self.stream.consume(bytes);
            batch.bytes += bytes;
            return bytes > 0;
        }
        let bytes = end.map_or(bytes.len(), |end| end + 1);
        if let Some((shown, lines)) = self.skipped.take() {
            self.report(batch, BadRecord::too_long(), shown);
            batch.bytes += bytes;
            self.advance(bytes, lines + u64::from(end.is_some()));
        }
        true
    }

    /// Consumes up to a record boundary.
    #[inline]
    fn advance(&mut self, bytes: usize, lines: u64) {
        self.stream.consume(bytes);
        self.position.offset = self.stream.offset();
        self.position.line += lines;
    }

    fn report(&self, batch: &mut Batch, bad: BadRecord, payload: String) {
        batch.records += 1;
        batch.errors.push(&ErrorRow {
            position: format!("{}:{}", self.stream.name(), self.position.line),
            column: bad.column,
            message: bad.message,
            payload: Some(payload),
        });
    }
}
