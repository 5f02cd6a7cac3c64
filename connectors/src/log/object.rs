//! What is known of one object's log while the process runs: its segments, how far they are bound, and marks from
//! which a reader can start. Shared by the one writer and all readers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{ObjectId, Part, Timestamp, errors_schema};

use super::frame::{Frame, FrameKind};

/// Bytes after which the next tick gets a mark.
const MARK_BYTES: u64 = 1 << 20;
/// Frames after which the next tick gets a mark.
const MARK_FRAMES: u32 = 256;

/// Rows and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows.
    pub(crate) rows: u64,
    /// Errors.
    pub(crate) errors: u64,
}

impl Counts {
    /// The count of one of the two collections.
    pub(crate) fn of(self, part: Part) -> u64 {
        match part {
            Part::Rows => self.rows,
            Part::Errors => self.errors,
        }
    }

    /// Counts what a frame holds.
    pub(crate) fn add(&mut self, frame: &Frame) {
        match frame.kind {
            FrameKind::Rows => self.rows += u64::from(frame.rows),
            FrameKind::Errors => self.errors += u64::from(frame.rows),
            FrameKind::Segment | FrameKind::RowsSchema | FrameKind::ErrorsSchema | FrameKind::Bind => {}
        }
    }
}

/// A place where the first frame of a tick starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The tick.
    pub(crate) tick: Timestamp,
    /// Its segment.
    pub(crate) segment: u32,
    /// Where it starts.
    pub(crate) offset: u64,
    /// What all earlier ticks hold.
    pub(crate) before: Counts,
}

/// Decides which ticks get a mark: few enough to keep for ever, enough to start near any tick.
#[derive(Debug, Default)]
pub(crate) struct Marker {
    last: Option<Mark>,
    last_tick: Timestamp,
    frames: u32,
}

impl Marker {
    /// The mark for the frame that starts at `at`, if it is to have one.
    pub(crate) fn mark(&mut self, at: Mark) -> Option<Mark> {
        self.frames += 1;
        let first_of_tick = at.tick != self.last_tick || self.last.is_none();
        self.last_tick = at.tick;
        let due = self.last.is_none_or(|last| {
            last.segment != at.segment || self.frames >= MARK_FRAMES || at.offset - last.offset >= MARK_BYTES
        });
        if !first_of_tick || !due {
            return None;
        }
        self.frames = 0;
        self.last = Some(at);
        Some(at)
    }
}

/// How far the log is bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// The bound length of each segment, by number.
    pub(crate) segments: Vec<u64>,
    /// Places to start at, ascending.
    pub(crate) marks: Vec<Mark>,
    /// What the bound part holds.
    pub(crate) counts: Counts,
    /// The newest tick in it; 0 if there is none.
    pub(crate) last_tick: Timestamp,
}

/// The log of one object, seen by its readers.
#[derive(Debug)]
pub(crate) struct ObjectLog {
    object: ObjectId,
    dir: PathBuf,
    schema: SchemaRef,
    removed: AtomicBool,
    extent: Mutex<Extent>,
}

impl ObjectLog {
    /// The log of `object` in the folder `dir`, as far as `extent` says.
    pub(crate) fn new(object: ObjectId, dir: PathBuf, schema: SchemaRef, extent: Extent) -> ObjectLog {
        ObjectLog { object, dir, schema, removed: AtomicBool::new(false), extent: Mutex::new(extent) }
    }

    /// The object.
    pub(crate) fn object(&self) -> ObjectId {
        self.object
    }

    /// The folder of its segments.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The columns of one of its collections.
    pub(crate) fn schema(&self, part: Part) -> SchemaRef {
        match part {
            Part::Rows => SchemaRef::clone(&self.schema),
            Part::Errors => errors_schema(),
        }
    }

    /// How far the log is bound.
    pub(crate) fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().expect("no thread panics while it holds an extent")
    }

    /// The source is being dropped: readers give up.
    pub(crate) fn mark_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Whether the source is being dropped.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}
