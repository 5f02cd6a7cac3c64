//! Frames: the checksummed unit of every file of the log.
//!
//! ```text
//!  0        4        8                16       20     21         24
//!  ├────────┼────────┼────────────────┼────────┼──────┼──────────┼─────────────────┐
//!  │ length │ crc32c │ tick           │ rows   │ kind │ 0  0  0  │ payload         │   little endian
//!  └────────┴────────┴────────────────┴────────┴──────┴──────────┴─────────────────┘
//! ```
//! `length` counts the payload alone and is a multiple of 8, so that every payload starts aligned. `crc32c` covers the
//! whole frame but itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow::buffer::{Buffer, MutableBuffer};
use headwater_dataflow::repr::Timestamp;

use crate::error::EdgeError;

/// Bytes before the payload.
pub(crate) const HEADER_LEN: usize = 24;
/// Bytes read at once when frames are read in order.
const BLOCK_LEN: u64 = 1 << 20;

/// What the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The head of a data segment, as JSON.
    Segment = 1,
    /// The Arrow IPC schema message of the rows.
    RowsSchema = 2,
    /// The Arrow IPC schema message of the errors.
    ErrorsSchema = 3,
    /// An Arrow IPC record batch message with rows of one tick.
    Rows = 4,
    /// An Arrow IPC record batch message with errors of one tick.
    Errors = 5,
    /// A binding, as JSON.
    Bind = 6,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        Some(match byte {
            1 => FrameKind::Segment,
            2 => FrameKind::RowsSchema,
            3 => FrameKind::ErrorsSchema,
            4 => FrameKind::Rows,
            5 => FrameKind::Errors,
            6 => FrameKind::Bind,
            _ => return None,
        })
    }
}

/// A frame as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Where it starts in its file.
    pub(crate) offset: u64,
    /// The tick it belongs to; 0 for segment heads.
    pub(crate) tick: Timestamp,
    /// Rows in the payload.
    pub(crate) rows: u32,
    /// What the payload is.
    pub(crate) kind: FrameKind,
    /// The payload.
    pub(crate) payload: Buffer,
}

/// Fills in the header of a frame whose payload already stands behind [`HEADER_LEN`] spare bytes.
///
/// # Errors
/// The payload is longer than 4 GiB.
pub(crate) fn finish_frame(frame: &mut [u8], kind: FrameKind, tick: Timestamp, rows: usize) -> io::Result<()> {
    debug_assert_eq!(frame.len() % 8, 0, "payloads are padded");
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a tick holds more than 4 GiB or 4 G rows");
    let len = u32::try_from(frame.len() - HEADER_LEN).map_err(too_long)?;
    let rows = u32::try_from(rows).map_err(too_long)?;
    frame[0..4].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&tick.to_le_bytes());
    frame[16..20].copy_from_slice(&rows.to_le_bytes());
    frame[20..24].copy_from_slice(&[kind as u8, 0, 0, 0]);
    let crc = checksum(frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// A whole frame around a JSON payload, padded with spaces.
pub(crate) fn json_frame(kind: FrameKind, tick: Timestamp, payload: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_LEN];
    serde_json::to_writer(&mut frame, payload)?;
    frame.resize(frame.len().next_multiple_of(8), b' ');
    finish_frame(&mut frame, kind, tick, 0)?;
    Ok(frame)
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[0..4]), &frame[8..])
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
}

/// The kind and the total length of the frame that starts `bytes`, if its header can be one.
fn parse_header(bytes: &[u8]) -> Option<(FrameKind, u64)> {
    let kind = FrameKind::from_byte(*bytes.get(20)?)?;
    let len = le_u32(bytes, 0);
    (bytes.get(21..24)? == [0, 0, 0] && len.is_multiple_of(8)).then_some((kind, HEADER_LEN as u64 + u64::from(len)))
}

/// Whether some frame with a right checksum starts anywhere in `bytes`.
pub(crate) fn holds_frame(bytes: &[u8]) -> bool {
    (0..bytes.len().saturating_sub(HEADER_LEN - 1)).any(|at| {
        let rest = &bytes[at..];
        parse_header(rest).is_some_and(|(_, len)| {
            usize::try_from(len).is_ok_and(|len| len <= rest.len() && checksum(&rest[..len]) == le_u32(rest, 4))
        })
    })
}

/// Reads the frames of one file in order and checks each.
pub(crate) struct FrameReader {
    file: File,
    path: PathBuf,
    block: Buffer,
    block_offset: u64,
    at: u64,
    end: u64,
}

impl FrameReader {
    /// Reads the frames of `path` in the bytes `at .. end`; a frame must start at `at`.
    pub(crate) fn open(path: &Path, at: u64, end: u64) -> Result<FrameReader, EdgeError> {
        let file = File::open(path).map_err(EdgeError::io("open", path))?;
        Ok(FrameReader { file, path: path.to_path_buf(), block: Buffer::default(), block_offset: at, at, end })
    }

    /// Lets the reader go on to `end`, when the file has grown.
    pub(crate) fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Where the next frame starts.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// [`EdgeError::Damaged`] if what stands there is not a whole frame with a right checksum; the reader stays in front
    /// of it.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, EdgeError> {
        let left = self.end - self.at;
        if left == 0 {
            return Ok(None);
        }
        if left < HEADER_LEN as u64 {
            return Err(self.damaged("a frame header is cut off"));
        }
        let header = self.bytes(HEADER_LEN as u64)?;
        let Some((kind, len)) = parse_header(&header) else {
            return Err(self.damaged("this is not the header of a frame"));
        };
        if len > left {
            return Err(self.damaged("a frame is longer than the rest of the file"));
        }
        let bytes = self.bytes(len)?;
        if checksum(&bytes) != le_u32(&bytes, 4) {
            return Err(self.damaged("the checksum of a frame is wrong"));
        }
        let frame = Frame {
            offset: self.at,
            tick: u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes were taken")),
            rows: le_u32(&bytes, 16),
            kind,
            payload: bytes.slice(HEADER_LEN),
        };
        self.at += len;
        Ok(Some(frame))
    }

    /// Damage at the reader's place.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> EdgeError {
        EdgeError::damaged(&self.path, self.at, what)
    }

    /// The next `len` bytes, which must not pass `end`.
    fn bytes(&mut self, len: u64) -> Result<Buffer, EdgeError> {
        if self.at + len > self.block_offset + self.block.len() as u64 {
            let block_len = len.max(BLOCK_LEN).min(self.end - self.at);
            let block_len = usize::try_from(block_len).expect("a file of the log fits into memory addresses");
            let mut block = MutableBuffer::from_len_zeroed(block_len);
            self.file.read_exact_at(block.as_slice_mut(), self.at).map_err(EdgeError::io("read", &self.path))?;
            self.block = block.into();
            self.block_offset = self.at;
        }
        let from = usize::try_from(self.at - self.block_offset).expect("within the block");
        Ok(self.block.slice_with_length(from, usize::try_from(len).expect("within the block")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut bytes = json_frame(FrameKind::Bind, 7, &"first").unwrap();
        bytes.extend(json_frame(FrameKind::Bind, 8, &"the second").unwrap());
        std::fs::write(&path, &bytes).unwrap();
        let mut reader = FrameReader::open(&path, 0, bytes.len() as u64).unwrap();
        let ticks: Vec<u64> = std::iter::from_fn(|| reader.next().unwrap()).map(|frame| frame.tick).collect();
        assert_eq!(ticks, [7, 8]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let mut reader = FrameReader::open(&path, 0, bytes.len() as u64).unwrap();
            let read = reader.next().and_then(|_| reader.next());
            assert!(matches!(read, Err(EdgeError::Damaged { .. })), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn a_frame_is_found_behind_garbage() {
        let frame = json_frame(FrameKind::Bind, 7, &"text").unwrap();
        let mut bytes = vec![b'x'; 37];
        assert!(!holds_frame(&bytes));
        bytes.extend(&frame);
        assert!(holds_frame(&bytes));
        bytes.pop();
        assert!(!holds_frame(&bytes));
    }
}
