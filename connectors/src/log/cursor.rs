//! Reads one collection out of the log, tick by tick.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use headwater_dataflow::repr::{Part, Timestamp};

use super::dir::segment_path;
use super::frame::{Frame, FrameKind, FrameReader};
use super::object::{Counts, Mark, ObjectLog};
use crate::error::EdgeError;

/// Rows that [`LogCursor::next_coalesced`] aims at.
pub(crate) const COALESCED_ROWS: usize = 10_000;

/// What one collection gained at one tick.
#[derive(Debug)]
pub(crate) struct LoggedTick {
    /// The tick.
    pub(crate) tick: Timestamp,
    /// At least one row.
    pub(crate) rows: RecordBatch,
}

/// Walks the bound part of an object's log. It notices when the log grows.
pub(crate) struct LogCursor {
    log: Arc<ObjectLog>,
    part: Part,
    schema: SchemaRef,
    /// Ticks before this one are passed over.
    from: Timestamp,
    segment: u32,
    offset: u64,
    reader: Option<FrameReader>,
    /// A frame that was read but belongs behind the limit of its reader's call.
    ahead: Option<Frame>,
}

impl LogCursor {
    /// Starts at the first tick >= `from`.
    pub(crate) fn new(log: &Arc<ObjectLog>, part: Part, from: Timestamp) -> LogCursor {
        let mark = mark_for(log, from);
        LogCursor {
            log: Arc::clone(log),
            part,
            schema: log.schema(part),
            from,
            segment: mark.map_or(0, |mark| mark.segment),
            offset: mark.map_or(0, |mark| mark.offset),
            reader: None,
            ahead: None,
        }
    }

    /// The next tick that changes the collection, if it is <= `limit`. What is bound must reach `limit`.
    pub(crate) fn next(&mut self, limit: Timestamp) -> Result<Option<LoggedTick>, EdgeError> {
        let wanted = match self.part {
            Part::Rows => FrameKind::Rows,
            Part::Errors => FrameKind::Errors,
        };
        while let Some(frame) = self.frame(limit)? {
            if frame.kind == wanted && frame.tick >= self.from && frame.rows > 0 {
                let rows = decode(&frame, &self.schema).map_err(|error| {
                    let path = segment_path(self.log.dir(), self.segment);
                    EdgeError::damaged(&path, frame.offset, format!("a tick cannot be decoded: {error}"))
                })?;
                return Ok(Some(LoggedTick { tick: frame.tick, rows }));
            }
        }
        Ok(None)
    }

    /// The rows of the next ticks <= `limit` in one batch, of about [`COALESCED_ROWS`] rows if there are as many.
    pub(crate) fn next_coalesced(&mut self, limit: Timestamp) -> Result<Option<RecordBatch>, EdgeError> {
        let (mut batches, mut rows) = (Vec::new(), 0);
        while rows < COALESCED_ROWS {
            let Some(tick) = self.next(limit)? else { break };
            rows += tick.rows.num_rows();
            batches.push(tick.rows);
        }
        Ok(match batches.len() {
            0 => None,
            1 => batches.pop(),
            _ => Some(concat_batches(&self.schema, &batches).map_err(|error| {
                EdgeError::damaged(&segment_path(self.log.dir(), self.segment), self.offset, error.to_string())
            })?),
        })
    }

    fn frame(&mut self, limit: Timestamp) -> Result<Option<Frame>, EdgeError> {
        if self.ahead.as_ref().is_some_and(|frame| frame.tick > limit) {
            return Ok(None);
        }
        if let Some(frame) = self.ahead.take() {
            return Ok(Some(frame));
        }
        loop {
            let reader = match self.reader.as_mut() {
                Some(reader) => reader,
                None => match self.open_segment()? {
                    Some(reader) => self.reader.insert(reader),
                    None => return Ok(None),
                },
            };
            match reader.next()? {
                Some(frame) if frame.tick > limit => {
                    self.ahead = Some(frame);
                    return Ok(None);
                }
                Some(frame) => return Ok(Some(frame)),
                None => {
                    if !self.advance() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn open_segment(&mut self) -> Result<Option<FrameReader>, EdgeError> {
        let number = usize::try_from(self.segment).expect("u32 fits usize");
        let Some(end) = self.log.extent().segments.get(number).copied() else { return Ok(None) };
        FrameReader::open(&segment_path(self.log.dir(), self.segment), self.offset, end).map(Some)
    }

    /// At the end of what the reader knew of its segment: whether there is more, there or in the next segment.
    fn advance(&mut self) -> bool {
        let reader = self.reader.as_mut().expect("only called with an open segment");
        self.offset = reader.at();
        let number = usize::try_from(self.segment).expect("u32 fits usize");
        let extent = self.log.extent();
        if extent.segments.get(number).is_some_and(|end| *end > self.offset) {
            reader.extend(extent.segments[number]);
            return true;
        }
        if extent.segments.len() > number + 1 {
            drop(extent);
            self.reader = None;
            self.segment += 1;
            self.offset = 0;
            return true;
        }
        false
    }
}

/// What the ticks <= `limit` hold. What is bound must reach `limit`.
pub(crate) fn counts_through(log: &Arc<ObjectLog>, limit: Timestamp) -> Result<Counts, EdgeError> {
    {
        let extent = log.extent();
        if extent.last_tick <= limit {
            return Ok(extent.counts);
        }
    }
    let Some(mark) = mark_for(log, limit) else { return Ok(Counts::default()) };
    let mut counts = mark.before;
    let mut cursor = LogCursor::new(log, Part::Rows, limit);
    while let Some(frame) = cursor.frame(limit)? {
        counts.add(&frame);
    }
    Ok(counts)
}

/// The last mark at or before `tick`.
fn mark_for(log: &ObjectLog, tick: Timestamp) -> Option<Mark> {
    let extent = log.extent();
    let after = extent.marks.partition_point(|mark| mark.tick <= tick);
    after.checked_sub(1).map(|index| extent.marks[index])
}

fn decode(frame: &Frame, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let ipc = |what: &str| ArrowError::IpcError(what.to_owned());
    // An encapsulated message: a marker, the length of its metadata, the metadata, the body.
    let payload = &frame.payload;
    let metadata_len = payload.get(4..8).ok_or_else(|| ipc("the message is too short"))?;
    let metadata_len = u32::from_le_bytes(metadata_len.try_into().expect("four bytes were taken"));
    let body_at = 8 + usize::try_from(metadata_len).expect("u32 fits usize");
    let metadata = payload.get(8..body_at).ok_or_else(|| ipc("the message is too short"))?;
    let message = root_as_message(metadata).map_err(|error| ipc(&error.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| ipc("the message is not a record batch"))?;
    read_record_batch(
        &payload.slice(body_at),
        batch,
        SchemaRef::clone(schema),
        &HashMap::new(),
        None,
        &message.version(),
    )
}
