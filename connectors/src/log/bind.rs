//! Bindings: which place of every source, and of every object's log, a time stands for.
//!
//! A binding is appended after the data it speaks of is durable. It names only the objects that changed; each segment
//! starts with a full binding, so that the newest segment is enough to recover from. There is one binding per sync, so a
//! whole frame behind a broken one proves that the broken one had been whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headwater_dataflow::repr::{ObjectId, Timestamp};
use serde::{Deserialize, Serialize};

use super::dir::{ensure_dir, remove_segment, segment_numbers, segment_path, sync_dir, truncate};
use super::frame::{FrameKind, FrameReader, holds_frame, json_frame};
use crate::error::EdgeError;
use crate::source::SourcePosition;

/// Size at which the bindings go on in a fresh segment, in bytes.
const SEGMENT_LEN_MAX: u64 = 16 << 20;

/// How much of a source is in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// Where the source can be opened again.
    pub(crate) position: SourcePosition,
    /// Rows behind `position` that are in the log too: the source's batch was divided among ticks.
    #[serde(default)]
    pub(crate) rows_ahead: u64,
    /// The same for errors.
    #[serde(default)]
    pub(crate) errors_ahead: u64,
}

/// What a binding says of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectBind {
    /// The object.
    pub(crate) object: ObjectId,
    /// The segment in which its log ends.
    pub(crate) segment: u32,
    /// Where in that segment, in bytes; 0 if the object has no segment yet.
    pub(crate) offset: u64,
    /// Rows in the log.
    pub(crate) rows: u64,
    /// Errors in the log.
    pub(crate) errors: u64,
    /// How much of the source that is.
    pub(crate) reached: Reached,
}

#[derive(Debug, Serialize, Deserialize)]
struct BindFrame {
    lease: Timestamp,
    full: bool,
    objects: Vec<ObjectBind>,
    #[serde(default)]
    removed: Vec<ObjectId>,
}

/// What all bindings up to a time amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bindings {
    /// The time of the last binding.
    pub(crate) tick: Timestamp,
    /// No time above this has been announced.
    pub(crate) lease: Timestamp,
    /// Every object that has something in the log.
    pub(crate) objects: BTreeMap<ObjectId, ObjectBind>,
}

impl Bindings {
    fn apply(&mut self, tick: Timestamp, frame: BindFrame) {
        if frame.full {
            self.objects.clear();
        }
        self.tick = tick;
        self.lease = frame.lease;
        self.objects.extend(frame.objects.into_iter().map(|bind| (bind.object, bind)));
        for object in frame.removed {
            self.objects.remove(&object);
        }
    }
}

/// The bindings on disk.
pub(crate) struct BindLog {
    dir: PathBuf,
    segment: u32,
    file: File,
    len: u64,
    segment_len_max: u64,
    bindings: Bindings,
}

impl BindLog {
    /// Creates `dir` with a first, empty binding.
    pub(crate) fn create(dir: &Path) -> Result<(), EdgeError> {
        ensure_dir(dir)?;
        create_segment(dir, 0, &Bindings::default())?;
        Ok(())
    }

    /// Reads the bindings of `dir` and cuts a torn tail.
    ///
    /// # Errors
    /// [`EdgeError::Damaged`] for everything that is not a torn tail.
    pub(crate) fn recover(dir: &Path) -> Result<BindLog, EdgeError> {
        let mut numbers = segment_numbers(dir)?;
        let Some(mut newest) = numbers.pop() else {
            return Err(EdgeError::damaged(&segment_path(dir, 0), 0, "the file is missing"));
        };
        let mut found = read_segment(dir, newest)?;
        let mut changed = false;
        if found.is_none() && numbers.last() == newest.checked_sub(1).as_ref() {
            // The process ended while it began this segment. The one before is deleted only after that.
            remove_segment(dir, newest)?;
            changed = true;
            newest -= 1;
            numbers.pop();
            found = read_segment(dir, newest)?;
        }
        let path = segment_path(dir, newest);
        let Some((bindings, len)) = found else {
            return Err(EdgeError::damaged(&path, 0, "the first binding is not whole"));
        };
        for number in numbers {
            remove_segment(dir, number)?;
            changed = true;
        }
        if fs::metadata(&path).map_err(EdgeError::io("read", &path))?.len() > len {
            truncate(&path, len)?;
        }
        if changed {
            sync_dir(dir)?;
        }
        let file = File::options().write(true).open(&path).map_err(EdgeError::io("open", &path))?;
        Ok(BindLog { dir: dir.to_path_buf(), segment: newest, file, len, segment_len_max: SEGMENT_LEN_MAX, bindings })
    }

    /// What is bound.
    pub(crate) fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// Appends a binding and makes it durable. Returns the bytes written.
    pub(crate) fn append(
        &mut self,
        tick: Timestamp,
        lease: Timestamp,
        objects: Vec<ObjectBind>,
        removed: Vec<ObjectId>,
    ) -> Result<u64, EdgeError> {
        let frame = BindFrame { lease, full: false, objects, removed };
        let path = segment_path(&self.dir, self.segment);
        let bytes = json_frame(FrameKind::Bind, tick, &frame).map_err(EdgeError::io("encode a binding for", &path))?;
        self.bindings.apply(tick, frame);
        if self.len >= self.segment_len_max {
            return self.roll();
        }
        self.file
            .write_all_at(&bytes, self.len)
            .and_then(|()| self.file.sync_data())
            .map_err(EdgeError::io("write", &path))?;
        self.len += bytes.len() as u64;
        Ok(bytes.len() as u64)
    }

    /// Goes on in a fresh segment, whose first binding is the full state.
    fn roll(&mut self) -> Result<u64, EdgeError> {
        let (file, len) = create_segment(&self.dir, self.segment + 1, &self.bindings)?;
        remove_segment(&self.dir, self.segment)?;
        (self.file, self.len) = (file, len);
        self.segment += 1;
        Ok(len)
    }
}

fn create_segment(dir: &Path, number: u32, bindings: &Bindings) -> Result<(File, u64), EdgeError> {
    let path = segment_path(dir, number);
    let frame = BindFrame {
        lease: bindings.lease,
        full: true,
        objects: bindings.objects.values().cloned().collect(),
        removed: Vec::new(),
    };
    let write = || {
        let bytes = json_frame(FrameKind::Bind, bindings.tick, &frame)?;
        let file = File::create(&path)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        Ok((file, bytes.len() as u64))
    };
    let created = write().map_err(EdgeError::io("write", &path))?;
    sync_dir(dir)?;
    Ok(created)
}

/// The bindings of one segment and where they end; `None` if not even the first is whole.
fn read_segment(dir: &Path, number: u32) -> Result<Option<(Bindings, u64)>, EdgeError> {
    let path = segment_path(dir, number);
    let file_len = fs::metadata(&path).map_err(EdgeError::io("read", &path))?.len();
    let mut reader = FrameReader::open(&path, 0, file_len)?;
    let mut bindings = Bindings::default();
    loop {
        let at = reader.at();
        let frame = match reader.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(damage @ EdgeError::Damaged { .. }) => {
                let bytes = fs::read(&path).map_err(EdgeError::io("read", &path))?;
                let at = usize::try_from(at).expect("a file of the log fits into memory addresses");
                if holds_frame(&bytes[at + 1..]) {
                    return Err(damage);
                }
                break;
            }
            Err(other) => return Err(other),
        };
        let damaged = |what: String| EdgeError::damaged(&path, at, what);
        if frame.kind != FrameKind::Bind || frame.tick < bindings.tick {
            return Err(damaged(format!("a binding at {} follows one at {}", frame.tick, bindings.tick)));
        }
        let bind: BindFrame = serde_json::from_slice(&frame.payload)
            .map_err(|error| damaged(format!("a binding is not valid: {error}")))?;
        if bind.full != (at == 0) {
            return Err(damaged("full bindings stand at the head of a segment and only there".into()));
        }
        bindings.apply(frame.tick, bind);
    }
    Ok((reader.at() > 0).then(|| (bindings, reader.at())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(object: u64, offset: u64) -> ObjectBind {
        ObjectBind {
            object: ObjectId(object),
            segment: 0,
            offset,
            rows: offset / 2,
            errors: 0,
            reached: Reached {
                position: SourcePosition(format!("{{\"at\":{offset}}}")),
                rows_ahead: 1,
                errors_ahead: 2,
            },
        }
    }

    #[test]
    fn what_is_bound_comes_back_over_many_segments() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("bind");
        BindLog::create(&dir).unwrap();
        let mut log = BindLog::recover(&dir).unwrap();
        assert_eq!(*log.bindings(), Bindings::default());
        log.segment_len_max = 1_000;
        for tick in 1..=50 {
            let removed = if tick % 7 == 0 { vec![ObjectId(2)] } else { Vec::new() };
            log.append(tick, tick + 10, vec![bind(1 + tick % 3, tick)], removed).unwrap();
            let recovered = BindLog::recover(&dir).unwrap();
            assert_eq!(recovered.bindings(), log.bindings(), "after {tick}");
        }
        assert!(log.segment > 2);
        assert_eq!(segment_numbers(&dir).unwrap().len(), 1, "older segments are gone");
    }

    #[test]
    fn a_segment_that_was_only_begun_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("bind");
        BindLog::create(&dir).unwrap();
        let mut log = BindLog::recover(&dir).unwrap();
        log.append(5, 15, vec![bind(1, 8)], Vec::new()).unwrap();
        let first = fs::read(segment_path(&dir, 0)).unwrap();
        for len in [0, 10, 30] {
            fs::write(segment_path(&dir, 0), &first).unwrap();
            fs::write(segment_path(&dir, 1), &first[..len]).unwrap();
            let recovered = BindLog::recover(&dir).unwrap();
            assert_eq!(recovered.bindings(), log.bindings(), "cut at {len}");
            assert_eq!(segment_numbers(&dir).unwrap(), [0]);
        }
        fs::remove_file(segment_path(&dir, 0)).unwrap();
        assert!(matches!(BindLog::recover(&dir), Err(EdgeError::Damaged { .. })));
    }
}
