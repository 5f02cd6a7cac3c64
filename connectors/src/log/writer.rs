//! Appends ticks to the log of one object.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use headwater_dataflow::repr::{ObjectId, Part, Timestamp};
use serde::{Deserialize, Serialize};

use super::dir::{ensure_dir, segment_path, sync_dir};
use super::frame::{FrameKind, HEADER_LEN, finish_frame, json_frame};
use super::object::{Counts, Mark, Marker, ObjectLog};
use crate::error::EdgeError;

/// What the first frame of a data segment says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentHead {
    /// The object.
    pub(crate) object: ObjectId,
    /// The segment's number.
    pub(crate) segment: u32,
    /// The length of the segment before, in bytes; 0 in the first.
    pub(crate) previous_len: u64,
    /// Rows in the segments before.
    pub(crate) rows: u64,
    /// Errors in the segments before.
    pub(crate) errors: u64,
}

struct OpenSegment {
    number: u32,
    file: File,
    len: u64,
    unsynced: bool,
}

/// Turns batches of one schema into frames whose payloads, one after the other, are one Arrow IPC stream.
struct Encoder {
    stream: StreamWriter<Vec<u8>>,
    schema_frame: Vec<u8>,
}

impl Encoder {
    fn new(schema: &Schema, kind: FrameKind) -> Result<Encoder, ArrowError> {
        // Eight bytes keep one-row ticks small. Nothing is compressed: LZ4 makes invoice lines three times smaller, but
        // writing and reading each cost about twice the time.
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
        let mut stream = StreamWriter::try_new_with_options(vec![0; HEADER_LEN], schema, options)?;
        let mut schema_frame = std::mem::take(stream.get_mut());
        finish_frame(&mut schema_frame, kind, 0, 0)?;
        Ok(Encoder { stream, schema_frame })
    }

    /// The frame of one batch. It stays valid until the next call.
    fn encode(&mut self, kind: FrameKind, tick: Timestamp, rows: &RecordBatch) -> Result<&[u8], ArrowError> {
        let buffer = self.stream.get_mut();
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        self.stream.write(rows)?;
        let frame = self.stream.get_mut();
        finish_frame(frame, kind, tick, rows.num_rows())?;
        Ok(frame)
    }
}

/// The writing end of one object's log. Readers see what it wrote after [`ObjectWriter::publish`].
pub(crate) struct ObjectWriter {
    log: Arc<ObjectLog>,
    segment_len_max: u64,
    open: Option<OpenSegment>,
    rows: Encoder,
    errors: Encoder,
    counts: Counts,
    last_tick: Timestamp,
    marker: Marker,
    marks: Vec<Mark>,
    /// Lengths of segments that were finished since the last publish.
    finished: Vec<(u32, u64)>,
    bytes_written: u64,
}

impl ObjectWriter {
    /// Goes on where `log` ends.
    pub(crate) fn open(log: Arc<ObjectLog>, segment_len_max: u64) -> Result<ObjectWriter, EdgeError> {
        let encode_error = |error| EdgeError::io("encode the schema of", log.dir())(into_io(error));
        let rows = Encoder::new(&log.schema(Part::Rows), FrameKind::RowsSchema).map_err(encode_error)?;
        let errors = Encoder::new(&log.schema(Part::Errors), FrameKind::ErrorsSchema).map_err(encode_error)?;
        let extent = log.extent();
        let (counts, last_tick) = (extent.counts, extent.last_tick);
        let end = extent.segments.iter().copied().zip(0u32..).last();
        drop(extent);
        let open = match end {
            None => None,
            Some((len, number)) => {
                let path = segment_path(log.dir(), number);
                let file = File::options().write(true).open(&path).map_err(EdgeError::io("open", &path))?;
                Some(OpenSegment { number, file, len, unsynced: false })
            }
        };
        Ok(ObjectWriter {
            log,
            segment_len_max,
            open,
            rows,
            errors,
            counts,
            last_tick,
            marker: Marker::default(),
            marks: Vec::new(),
            finished: Vec::new(),
            bytes_written: 0,
        })
    }

    /// Appends what the object gains at `tick`.
    pub(crate) fn append(
        &mut self,
        tick: Timestamp,
        rows: Option<&RecordBatch>,
        errors: Option<&RecordBatch>,
    ) -> Result<(), EdgeError> {
        if rows.is_none() && errors.is_none() {
            return Ok(());
        }
        if self.open.as_ref().is_none_or(|open| open.len >= self.segment_len_max) {
            self.start_segment()?;
        }
        let open = self.open.as_mut().expect("a segment was started");
        let path = segment_path(self.log.dir(), open.number);
        let mark = Mark { tick, segment: open.number, offset: open.len, before: self.counts };
        self.marks.extend(self.marker.mark(mark));
        let encode_error = |error| EdgeError::io("encode a tick for", &path)(into_io(error));
        let mut write = |frame: &[u8]| {
            open.unsynced = true;
            open.file.write_all_at(frame, open.len).map_err(EdgeError::io("write", &path))?;
            open.len += frame.len() as u64;
            self.bytes_written += frame.len() as u64;
            Ok::<_, EdgeError>(())
        };
        if let Some(rows) = rows {
            write(self.rows.encode(FrameKind::Rows, tick, rows).map_err(encode_error)?)?;
            self.counts.rows += rows.num_rows() as u64;
        }
        if let Some(errors) = errors {
            write(self.errors.encode(FrameKind::Errors, tick, errors).map_err(encode_error)?)?;
            self.counts.errors += errors.num_rows() as u64;
        }
        self.last_tick = tick;
        Ok(())
    }

    /// Makes durable what was appended. Returns whether there was anything to sync.
    pub(crate) fn sync(&mut self) -> Result<bool, EdgeError> {
        let Some(open) = self.open.as_mut().filter(|open| open.unsynced) else {
            return Ok(false);
        };
        let path = segment_path(self.log.dir(), open.number);
        open.file.sync_data().map_err(EdgeError::io("sync", &path))?;
        open.unsynced = false;
        Ok(true)
    }

    /// The segment in which the log ends, and where.
    pub(crate) fn end(&self) -> (u32, u64) {
        self.open.as_ref().map_or((0, 0), |open| (open.number, open.len))
    }

    /// What the log holds.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes written since the last call.
    pub(crate) fn take_bytes_written(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_written)
    }

    /// Shows readers what was appended; it must be bound.
    pub(crate) fn publish(&mut self) {
        let mut extent = self.log.extent();
        let end = self.open.as_ref().map(|open| (open.number, open.len));
        for (number, len) in self.finished.drain(..).chain(end) {
            let number = usize::try_from(number).expect("u32 fits usize");
            let len_min = extent.segments.len().max(number + 1);
            extent.segments.resize(len_min, 0);
            extent.segments[number] = len;
        }
        extent.marks.append(&mut self.marks);
        extent.counts = self.counts;
        extent.last_tick = self.last_tick;
    }

    fn start_segment(&mut self) -> Result<(), EdgeError> {
        self.sync()?;
        let dir = self.log.dir();
        let mut head = SegmentHead {
            object: self.log.object(),
            segment: 0,
            previous_len: 0,
            rows: self.counts.rows,
            errors: self.counts.errors,
        };
        match self.open.take() {
            None => ensure_dir(dir)?,
            Some(full) => {
                self.finished.push((full.number, full.len));
                (head.segment, head.previous_len) = (full.number + 1, full.len);
            }
        }
        let path = segment_path(dir, head.segment);
        let write = || {
            let mut bytes = json_frame(FrameKind::Segment, 0, &head)?;
            bytes.extend(&self.rows.schema_frame);
            bytes.extend(&self.errors.schema_frame);
            let file = File::create(&path)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            Ok((file, bytes.len() as u64))
        };
        let (file, len) = write().map_err(EdgeError::io("write", &path))?;
        sync_dir(dir)?;
        self.bytes_written += len;
        self.open = Some(OpenSegment { number: head.segment, file, len, unsynced: false });
        Ok(())
    }
}

fn into_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}
