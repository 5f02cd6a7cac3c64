//! The durable catalog: every statement that created an object, every change of a source's pace and every drop, in order, in one append-only file.
//!
//! ```text
//! data_dir/catalog/entries
//!   header   magic (8 bytes) | format version (u32) | crc32c of the 12 bytes before
//!   entry    length of the body (u32) | crc32c of the length | crc32c of the body | body (JSON)
//! ```
//! All numbers are little-endian. An entry is acknowledged after it has been synced, so what a crash can leave behind
//! the last acknowledged entry is a part of one entry, or zeros where the file system gave the file its length before
//! its bytes: that is cut. Anything else that does not check is damage, and is refused by file and byte: a catalog that
//! lost an entry in its middle must not be served.
//!
//! The file does not lock itself: whoever opens it holds the lock of the data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use headwater_connectors::source::Pace;
use headwater_dataflow::repr::ObjectId;
use serde::{Deserialize, Serialize};

use crate::sql::ObjectKind;

const MAGIC: &[u8; 8] = b"hwcatlog";
const FORMAT_VERSION: u32 = 1;
const FILE_HEADER_BYTES: usize = 16;
const ENTRY_HEADER_BYTES: usize = 12;
/// A body above this is damage: no statement is that long.
const BODY_BYTES_MAX: usize = 64 << 20;

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// An object came.
    Create {
        /// Its id, never used before.
        id: ObjectId,
        /// Its name.
        name: String,
        /// What it is.
        kind: ObjectKind,
        /// The exact text of the statement.
        sql: String,
    },
    /// A source is read at another pace.
    Alter {
        /// Its id.
        id: ObjectId,
        /// The pace from now on.
        pace: Pace,
    },
    /// An object went.
    Drop {
        /// Its id.
        id: ObjectId,
    },
}

/// Why the catalog cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged at byte {offset}: {what}; restore the data directory from a copy", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the damaged part starts.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A newer program wrote the file.
    #[error("{} (byte 8) has format {found}, this program reads up to {FORMAT_VERSION}: use a newer one", path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// The format it says it has.
        found: u32,
    },
    /// An earlier failure left the file in an unknown state.
    #[error("{} could not be brought back to its last good state: restart the server", path.display())]
    Poisoned {
        /// Which file.
        path: PathBuf,
    },
}

/// The open catalog file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
    /// Where the next entry goes.
    len: u64,
    poisoned: bool,
}

impl Store {
    /// Opens (or creates) the catalog of `data_dir` and returns its changes in order. A torn entry at the end is cut.
    ///
    /// # Errors
    /// Damage, an unknown newer format, or the operating system's refusal: each names the file.
    pub fn open(data_dir: &Path) -> Result<(Store, Vec<Change>), StoreError> {
        let dir = data_dir.join("catalog");
        let path = dir.join("entries");
        let io = |action, path: &Path, error| StoreError::Io { action, path: path.to_owned(), error };
        fs::create_dir_all(&dir).map_err(|error| io("create", &dir, error))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io("open", &path, error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| io("read", &path, error))?;

        let mut store = Store { path, file, len: 0, poisoned: false };
        let header = file_header();
        // The header is written once, before any entry: a part of it means that the very first start was cut off.
        if torn_header(&bytes, &header) {
            store.restart(&header)?;
            sync_dir(&dir)?;
            sync_dir(data_dir)?;
            return Ok((store, Vec::new()));
        }
        let (changes, end) = decode(&store.path, &bytes)?;
        store.len = end;
        if end < u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
            tracing::warn!(file = %store.path.display(), at = end, "cut a torn entry at the end of the catalog");
            store.file.set_len(end).map_err(|error| store.io("cut", error))?;
            store.file.sync_all().map_err(|error| store.io("sync", error))?;
        }
        Ok((store, changes))
    }

    /// Appends one change; when this returns it is durable.
    ///
    /// # Errors
    /// The operating system's refusal. The change is then not in the catalog.
    pub fn append(&mut self, change: &Change) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.path.clone() });
        }
        let entry = encode(change);
        if let Err(error) = self.write(&entry) {
            // What was written of the entry must not stand before the next one.
            if self.file.set_len(self.len).and_then(|()| self.file.sync_all()).is_err() {
                self.poisoned = true;
            }
            return Err(self.io("append to", error));
        }
        self.len += u64::try_from(entry.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    fn restart(&mut self, header: &[u8]) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(|error| self.io("cut", error))?;
        self.write(header).map_err(|error| self.io("write", error))?;
        self.file.sync_all().map_err(|error| self.io("sync", error))?;
        self.len = u64::try_from(header.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn io(&self, action: &'static str, error: io::Error) -> StoreError {
        StoreError::Io { action, path: self.path.clone(), error }
    }
}

fn file_header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(FORMAT_VERSION.to_le_bytes());
    let check = crc32c::crc32c(&header);
    header.extend(check.to_le_bytes());
    header
}

fn encode(change: &Change) -> Vec<u8> {
    let body = serde_json::to_vec(change).expect("a change consists of texts and numbers");
    let len = u32::try_from(body.len()).expect("statements are shorter than 4 GiB").to_le_bytes();
    let mut entry = Vec::with_capacity(ENTRY_HEADER_BYTES + body.len());
    entry.extend(len);
    entry.extend(crc32c::crc32c(&len).to_le_bytes());
    entry.extend(crc32c::crc32c(&body).to_le_bytes());
    entry.extend(body);
    entry
}

/// The changes in `bytes`, and where the last complete one ends.
fn decode(path: &Path, bytes: &[u8]) -> Result<(Vec<Change>, u64), StoreError> {
    let damaged = |offset: usize, what: String| StoreError::Damaged {
        path: path.to_owned(),
        offset: u64::try_from(offset).unwrap_or(u64::MAX),
        what,
    };
    let version = check_file_header(bytes).map_err(|(offset, what)| damaged(offset, what))?;
    if version > FORMAT_VERSION {
        return Err(StoreError::NewerFormat { path: path.to_owned(), found: version });
    }
    let mut changes = Vec::new();
    let mut at = FILE_HEADER_BYTES;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match next_entry(rest) {
            Entry::Whole(body) => {
                let change =
                    serde_json::from_slice(body).map_err(|error| damaged(at, format!("not an entry: {error}")))?;
                changes.push(change);
                at += ENTRY_HEADER_BYTES + body.len();
            }
            Entry::Torn => break,
            Entry::Damaged(what) => return Err(damaged(at, what.to_owned())),
        }
    }
    Ok((changes, u64::try_from(at).unwrap_or(u64::MAX)))
}

enum Entry<'a> {
    Whole(&'a [u8]),
    Torn,
    Damaged(&'static str),
}

fn next_entry(rest: &[u8]) -> Entry<'_> {
    if rest.len() < ENTRY_HEADER_BYTES || zeros(rest) {
        return Entry::Torn;
    }
    let len = number(rest, 0);
    if number(rest, 4) != crc32c::crc32c(&rest[..4]) {
        // A header of which only the front reached the disk.
        return if zeros(&rest[8..]) { Entry::Torn } else { Entry::Damaged("the length of the entry does not check") };
    }
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= BODY_BYTES_MAX) else {
        return Entry::Damaged("the entry is longer than any statement");
    };
    let Some(body) = rest.get(ENTRY_HEADER_BYTES..ENTRY_HEADER_BYTES + len) else { return Entry::Torn };
    if number(rest, 8) == crc32c::crc32c(body) {
        return Entry::Whole(body);
    }
    // A body never ends with a zero, so a zero at the end of the file is what never reached the disk.
    let last_of_file = rest.len() == ENTRY_HEADER_BYTES + len;
    if last_of_file && rest.ends_with(&[0]) { Entry::Torn } else { Entry::Damaged("the entry does not check") }
}

fn check_file_header(bytes: &[u8]) -> Result<u32, (usize, String)> {
    if bytes.len() < FILE_HEADER_BYTES {
        return Err((0, "the file ends within its header".to_owned()));
    }
    if &bytes[..8] != MAGIC {
        return Err((0, "this is not a catalog".to_owned()));
    }
    if number(bytes, 12) != crc32c::crc32c(&bytes[..12]) {
        return Err((8, "the header does not check".to_owned()));
    }
    Ok(number(bytes, 8))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A part of the header, or of it followed by zeros, and nothing else.
fn torn_header(bytes: &[u8], header: &[u8]) -> bool {
    let same = bytes.iter().zip(header).take_while(|(found, expected)| found == expected).count();
    same < header.len() && zeros(&bytes[same..])
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let io = |action, error| StoreError::Io { action, path: dir.to_owned(), error };
    File::open(dir).map_err(|error| io("open", error))?.sync_all().map_err(|error| io("sync", error))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn sample() -> Vec<Change> {
        vec![
            Change::Create {
                id: ObjectId(1),
                name: "lines".to_owned(),
                kind: ObjectKind::Source,
                sql: "CREATE SOURCE lines (a BIGINT) FROM FILE (PATH 'ü.csv') FORMAT CSV".to_owned(),
            },
            Change::Create {
                id: ObjectId(2),
                name: "total".to_owned(),
                kind: ObjectKind::MaterializedView,
                sql: "CREATE MATERIALIZED VIEW total AS SELECT sum(a) FROM lines".to_owned(),
            },
            Change::Alter { id: ObjectId(1), pace: Pace { paused: true, rows_per_second_max: NonZeroU32::new(9) } },
            Change::Drop { id: ObjectId(2) },
        ]
    }

    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, changes) = Store::open(dir.path()).unwrap();
        assert!(changes.is_empty());
        let mut ends = vec![FILE_HEADER_BYTES];
        for change in sample() {
            store.append(&change).unwrap();
            ends.push(usize::try_from(store.len).unwrap());
        }
        let path = store.path.clone();
        let bytes = fs::read(&path).unwrap();
        (dir, path, bytes, ends)
    }

    #[test]
    fn what_was_appended_comes_back() {
        let (dir, ..) = written();
        assert_eq!(Store::open(dir.path()).unwrap().1, sample());
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_the_complete_entries_and_goes_on() {
        let (dir, path, bytes, ends) = written();
        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let (mut store, changes) = Store::open(dir.path()).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(changes, sample()[..whole], "cut at {cut}");
            store.append(&Change::Drop { id: ObjectId(1) }).unwrap();
            let again = Store::open(dir.path()).unwrap().1;
            assert_eq!(again.len(), whole + 1, "cut at {cut}");
            assert_eq!(again.last(), Some(&Change::Drop { id: ObjectId(1) }));
        }
    }

    #[test]
    fn zeros_after_any_byte_of_the_last_entry_are_cut() {
        let (dir, path, bytes, ends) = written();
        for from in ends[3]..bytes.len() {
            let mut torn = bytes.clone();
            torn[from..].fill(0);
            fs::write(&path, &torn).unwrap();
            assert_eq!(Store::open(dir.path()).unwrap().1, sample()[..3], "zeros from {from}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused_with_its_place() {
        let (dir, path, bytes, ends) = written();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            fs::write(&path, &bad).unwrap();
            let error = Store::open(dir.path()).expect_err("damage is refused");
            let StoreError::Damaged { offset, .. } = &error else { panic!("byte {at}: {error}") };
            let start = ends.iter().rev().find(|end| **end <= at).copied();
            assert_eq!(*offset, start.map_or(if at < 8 { 0 } else { 8 }, |start| u64::try_from(start).unwrap()));
            assert!(error.to_string().contains("entries is damaged at byte"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bad, "a refused file is left as it is");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let (dir, path, mut bytes, _) = written();
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let error = Store::open(dir.path()).expect_err("a newer format is refused");
        assert!(error.to_string().contains("has format 2, this program reads up to 1"), "{error}");
    }
}
