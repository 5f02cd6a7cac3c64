//! The data directory: its format, its lock, and files that survive a power cut.
//!
//! A file that must exist after a crash is synced, and so is the directory that names it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::EdgeError;

/// The format this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;
const FORMAT_WORD: &str = "headwater";

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), EdgeError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(EdgeError::io("sync directory", dir))
}

/// Creates a directory and those above it, and their names durably, unless it exists.
pub(crate) fn ensure_dir(dir: &Path) -> Result<(), EdgeError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure_dir(parent)?;
    fs::create_dir(dir).map_err(EdgeError::io("create directory", dir))?;
    sync_dir(parent)
}

/// Locks the data directory for this process, creating it if need be. The lock lasts as long as the file is open.
pub(crate) fn lock_data_dir(dir: &Path) -> Result<File, EdgeError> {
    ensure_dir(dir)?;
    let path = dir.join("lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(EdgeError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EdgeError::InUse { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(EdgeError::io("lock", &path)(error)),
    }
}

/// Whether the directory has a format, which must be one this program reads.
pub(crate) fn check_format(dir: &Path) -> Result<bool, EdgeError> {
    let file = dir.join("format");
    let text = match fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(EdgeError::io("read", &file)(error)),
    };
    let found = text
        .strip_prefix(FORMAT_WORD)
        .and_then(|rest| rest.strip_suffix('\n'))
        .and_then(|rest| rest.trim_start().parse::<u32>().ok())
        .filter(|found| *found > 0)
        .ok_or_else(|| EdgeError::damaged(&file, 0, format!("expected \"{FORMAT_WORD} {FORMAT}\"")))?;
    if found > FORMAT {
        return Err(EdgeError::NewerFormat { file, found, known: FORMAT });
    }
    Ok(true)
}

/// Writes the format, durably and as one step.
pub(crate) fn write_format(dir: &Path) -> Result<(), EdgeError> {
    let (path, fresh) = (dir.join("format"), dir.join("format.new"));
    let mut file = File::create(&fresh).map_err(EdgeError::io("create", &fresh))?;
    writeln!(file, "{FORMAT_WORD} {FORMAT}").and_then(|()| file.sync_all()).map_err(EdgeError::io("write", &fresh))?;
    fs::rename(&fresh, &path).map_err(EdgeError::io("rename", &fresh))?;
    sync_dir(dir)
}

/// The file of segment `number` in `dir`.
pub(crate) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}.seg"))
}

/// The numbers of the segments in `dir`, ascending; none if the directory does not exist.
pub(crate) fn segment_numbers(dir: &Path) -> Result<Vec<u32>, EdgeError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EdgeError::io("list", dir)(error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(EdgeError::io("list", dir))?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|n| n.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes the segment `number` of `dir`; the name's absence is durable after [`sync_dir`].
pub(crate) fn remove_segment(dir: &Path, number: u32) -> Result<(), EdgeError> {
    let path = segment_path(dir, number);
    fs::remove_file(&path).map_err(EdgeError::io("remove", &path))
}

/// Cuts `path` to `len` bytes, durably.
pub(crate) fn truncate(path: &Path, len: u64) -> Result<(), EdgeError> {
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(len).and_then(|()| file.sync_all()))
        .map_err(EdgeError::io("cut", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("not/there/yet");
        let held = lock_data_dir(&dir).unwrap();
        let refused = lock_data_dir(&dir).unwrap_err().to_string();
        assert!(refused.contains(dir.to_str().unwrap()), "{refused}");
        drop(held);
        lock_data_dir(&dir).unwrap();
    }

    #[test]
    fn formats_are_read_and_newer_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!check_format(dir.path()).unwrap());
        write_format(dir.path()).unwrap();
        assert!(check_format(dir.path()).unwrap());
        fs::write(dir.path().join("format"), "headwater 2\n").unwrap();
        assert!(matches!(check_format(dir.path()), Err(EdgeError::NewerFormat { found: 2, known: 1, .. })));
        for text in ["", "headwater\n", "headwater 1", "headwater 0\n", "other 1\n"] {
            fs::write(dir.path().join("format"), text).unwrap();
            assert!(matches!(check_format(dir.path()), Err(EdgeError::Damaged { .. })), "{text:?}");
        }
    }
}
