//! The position of a file source: which files it has, and how far each was read.
//!
//! Written as compact JSON, for example `{"done":["a.csv"],"at":[["b.csv",4711,52]],"todo":["c.csv"]}`: finished files;
//! files read in part, with the offset of a record boundary in unpacked bytes and the number of the line there; files not
//! begun. A source that does not follow keeps the files that were there when it was first opened, so that a restart reads
//! what it would have read without one; a source that follows looks for new files and does not write down those to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SourceError, SourcePosition};

/// How far one file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilePosition {
    /// The offset of a record boundary, in unpacked bytes.
    pub(super) offset: u64,
    /// The number of the line there, from 1.
    pub(super) line: u64,
    /// Read to its end, and not to be looked at again.
    pub(super) done: bool,
}

impl Default for FilePosition {
    fn default() -> FilePosition {
        FilePosition { offset: 0, line: 1, done: false }
    }
}

/// The files of a source by name, that is in the order in which they are read.
pub(super) type FilePositions = BTreeMap<String, FilePosition>;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    done: Vec<Name<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    at: Vec<(Name<'a>, u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    todo: Vec<Name<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// Reads a position; `None` is the beginning.
pub(super) fn read(position: &SourcePosition) -> Result<Option<FilePositions>, SourceError> {
    if position.0.is_empty() {
        return Ok(None);
    }
    let bad = |reason: String| SourceError::Position { position: position.0.clone(), reason };
    if !position.0.starts_with('{') {
        return Err(bad("it is no JSON object".to_owned()));
    }
    let written: Written<'_> = serde_json::from_str(&position.0).map_err(|error| bad(error.to_string()))?;
    let done = written.done.into_iter().map(|name| (name, FilePosition { done: true, ..FilePosition::default() }));
    let at = written.at.into_iter().map(|(name, offset, line)| (name, FilePosition { offset, line, done: false }));
    let todo = written.todo.into_iter().map(|name| (name, FilePosition::default()));
    let mut files = FilePositions::new();
    for (name, file) in done.chain(at).chain(todo) {
        if let Some(name) = files.insert(name.0.clone().into_owned(), file).map(|_| name.0) {
            return Err(bad(format!("it names {name} twice")));
        }
    }
    Ok(Some(files))
}

/// Writes a position.
pub(super) fn write(files: &FilePositions, follow: bool) -> SourcePosition {
    let mut written = Written::default();
    for (name, file) in files {
        let name = Name(name.as_str().into());
        if file.done {
            written.done.push(name);
        } else if file.offset > 0 {
            written.at.push((name, file.offset, file.line));
        } else if !follow {
            written.todo.push(name);
        }
    }
    SourcePosition(serde_json::to_string(&written).expect("names and numbers always serialise"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_as_written() {
        let text = r#"{"done":["a \"1\".csv"],"at":[["b.csv",4711,52]],"todo":["c.csv"]}"#;
        let files = read(&SourcePosition(text.to_owned())).unwrap().unwrap();
        assert_eq!(files["a \"1\".csv"], FilePosition { offset: 0, line: 1, done: true });
        assert_eq!(files["b.csv"], FilePosition { offset: 4711, line: 52, done: false });
        assert_eq!(files["c.csv"], FilePosition::default());
        assert_eq!(write(&files, false).0, text);
        assert_eq!(write(&files, true).0, r#"{"done":["a \"1\".csv"],"at":[["b.csv",4711,52]]}"#);
        assert_eq!(read(&SourcePosition::default()).unwrap(), None);
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["x", "[]", r#"{"at":[["a",1]]}"#, r#"{"partitions":{}}"#, r#"{"done":["a"],"todo":["a"]}"#] {
            let error = read(&SourcePosition(text.to_owned())).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
