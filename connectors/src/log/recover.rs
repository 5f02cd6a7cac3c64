//! Checks the log of one object against its binding, and cuts what is not bound.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use headwater_dataflow::repr::errors_schema;

use super::bind::ObjectBind;
use super::dir::{remove_segment, segment_numbers, segment_path, sync_dir, truncate};
use super::frame::{Frame, FrameKind, FrameReader};
use super::object::{Counts, Extent, Mark, Marker, ObjectLog};
use super::writer::SegmentHead;
use crate::error::EdgeError;

/// The state of the walk over an object's segments.
struct Walk<'a> {
    bind: &'a ObjectBind,
    marker: Marker,
    schema: Option<SchemaRef>,
    extent: Extent,
}

/// Reads every bound byte of the object's log and cuts the rest.
///
/// Returns `None` if nothing of the object is in its log yet.
///
/// # Errors
/// [`EdgeError::Damaged`] if a bound byte is missing or wrong.
pub(crate) fn recover_object(dir: &Path, bind: &ObjectBind) -> Result<Option<ObjectLog>, EdgeError> {
    if bind.offset == 0 {
        clear_segments(dir)?;
        return Ok(None);
    }
    let mut walk = Walk { bind, marker: Marker::default(), schema: None, extent: Extent::default() };
    for number in 0..=bind.segment {
        walk.read_segment(dir, number)?;
    }
    let end = segment_path(dir, bind.segment);
    let bound = Counts { rows: bind.rows, errors: bind.errors };
    if walk.extent.counts != bound {
        let what = format!("the log holds {:?}, but {bound:?} are bound", walk.extent.counts);
        return Err(EdgeError::damaged(&end, bind.offset, what));
    }
    if fs::metadata(&end).map_err(EdgeError::io("read", &end))?.len() > bind.offset {
        truncate(&end, bind.offset)?;
    }
    remove_segments(dir, bind.segment + 1)?;
    let schema = walk.schema.expect("every segment has a schema");
    Ok(Some(ObjectLog::new(bind.object, dir.to_path_buf(), schema, walk.extent)))
}

/// Removes all segments of an object of which nothing is bound.
pub(crate) fn clear_segments(dir: &Path) -> Result<(), EdgeError> {
    remove_segments(dir, 0)
}

fn remove_segments(dir: &Path, from: u32) -> Result<(), EdgeError> {
    let mut numbers = segment_numbers(dir)?;
    numbers.retain(|number| *number >= from);
    for number in &numbers {
        remove_segment(dir, *number)?;
    }
    if numbers.is_empty() { Ok(()) } else { sync_dir(dir) }
}

impl Walk<'_> {
    fn read_segment(&mut self, dir: &Path, number: u32) -> Result<(), EdgeError> {
        let path = segment_path(dir, number);
        let file_len = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(EdgeError::damaged(&path, 0, "the file is missing"));
            }
            Err(error) => return Err(EdgeError::io("read", &path)(error)),
        };
        let last = number == self.bind.segment;
        let end = if last { self.bind.offset } else { file_len };
        if file_len < end {
            return Err(EdgeError::damaged(&path, file_len, format!("the file ends here, but {end} bytes are bound")));
        }
        let mut reader = FrameReader::open(&path, 0, end)?;
        self.read_head(&mut reader, number)?;
        loop {
            let at = reader.at();
            let Some(frame) = reader.next()? else { break };
            self.read_tick(&frame, number).map_err(|what| EdgeError::damaged(&path, at, what))?;
        }
        self.extent.segments.push(end);
        Ok(())
    }

    fn read_head(&mut self, reader: &mut FrameReader, number: u32) -> Result<(), EdgeError> {
        let expected = SegmentHead {
            object: self.bind.object,
            segment: number,
            previous_len: self.extent.segments.last().copied().unwrap_or(0),
            rows: self.extent.counts.rows,
            errors: self.extent.counts.errors,
        };
        let head = expect_frame(reader, FrameKind::Segment)?;
        match serde_json::from_slice::<SegmentHead>(&head.payload) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                let what = format!("the head is {found:?}, but the files before it require {expected:?}");
                return Err(EdgeError::damaged(reader.path(), 0, what));
            }
            Err(error) => return Err(EdgeError::damaged(reader.path(), 0, format!("the head is not valid: {error}"))),
        }
        let rows = read_schema(reader, FrameKind::RowsSchema)?;
        let errors = read_schema(reader, FrameKind::ErrorsSchema)?;
        if errors != *errors_schema() || self.schema.as_ref().is_some_and(|schema| **schema != rows) {
            return Err(reader.damaged("the columns are not those of the segments before"));
        }
        self.schema.get_or_insert_with(|| Arc::new(rows));
        Ok(())
    }

    fn read_tick(&mut self, frame: &Frame, segment: u32) -> Result<(), String> {
        if !matches!(frame.kind, FrameKind::Rows | FrameKind::Errors) {
            return Err(format!("a frame of kind {:?} stands among the ticks", frame.kind));
        }
        if frame.tick < self.extent.last_tick {
            return Err(format!("tick {} follows tick {}", frame.tick, self.extent.last_tick));
        }
        let mark = Mark { tick: frame.tick, segment, offset: frame.offset, before: self.extent.counts };
        self.extent.marks.extend(self.marker.mark(mark));
        self.extent.counts.add(frame);
        self.extent.last_tick = frame.tick;
        Ok(())
    }
}

fn expect_frame(reader: &mut FrameReader, kind: FrameKind) -> Result<Frame, EdgeError> {
    match reader.next()? {
        Some(frame) if frame.kind == kind => Ok(frame),
        Some(_) | None => Err(reader.damaged(format!("a frame of kind {kind:?} should stand before this place"))),
    }
}

fn read_schema(reader: &mut FrameReader, kind: FrameKind) -> Result<Schema, EdgeError> {
    let frame = expect_frame(reader, kind)?;
    try_schema_from_ipc_buffer(&frame.payload)
        .map_err(|error| EdgeError::damaged(reader.path(), frame.offset, format!("the schema cannot be read: {error}")))
}
