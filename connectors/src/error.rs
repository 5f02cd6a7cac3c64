//! Everything that can go wrong at the edge, told apart by who can act.

use std::io;
use std::path::{Path, PathBuf};

use headwater_dataflow::repr::{CollectionId, ObjectId, Timestamp};

/// Why the edge refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Another process works in the data directory.
    #[error("data directory {} is in use by another process: stop that process or choose another directory", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The data directory was written by a newer program.
    #[error("{} says format {found}, this program reads formats up to {known}: start a newer version of the program", file.display())]
    NewerFormat {
        /// The file that names the format.
        file: PathBuf,
        /// The format of the directory.
        found: u32,
        /// The newest format this program reads.
        known: u32,
    },
    /// The durable state is not what was written.
    #[error("{} is damaged at byte {offset}: {what}; {hint}", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage was noticed, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: String,
        /// What the operator can do.
        hint: &'static str,
    },
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A source of this identity is already read.
    #[error("source {name} ({object}) exists already")]
    SourceExists {
        /// The object.
        object: ObjectId,
        /// Its name.
        name: String,
    },
    /// The log of the object holds other columns than the source now declares.
    #[error(
        "source {name} ({object}) declares {declared}, but its log holds {logged}: drop the source and create it again"
    )]
    SchemaChanged {
        /// The object.
        object: ObjectId,
        /// Its name.
        name: String,
        /// The columns that are declared.
        declared: String,
        /// The columns that are in the log.
        logged: String,
    },
    /// No source owns the collection.
    #[error("no source owns collection {collection}")]
    UnknownCollection {
        /// The collection that was asked for.
        collection: CollectionId,
    },
    /// History is asked for as of a time that has not come.
    #[error("time {as_of} has not come yet: the current time is {current}")]
    AsOfAhead {
        /// The time that was asked for.
        as_of: Timestamp,
        /// The last sealed time.
        current: Timestamp,
    },
    /// The log cannot be written any more; what is bound is safe, and a restart goes on from there.
    #[error("the log failed and nothing more is read until a restart: {message}")]
    LogFailed {
        /// The first failure.
        message: String,
    },
    /// Ingest has been shut down.
    #[error("ingest has been shut down")]
    Stopped,
}

impl EdgeError {
    /// For `map_err`: an I/O error with what was tried on which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EdgeError {
        let path = path.to_path_buf();
        move |source| EdgeError::Io { action, path, source }
    }

    /// Damage in a file of the log.
    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> EdgeError {
        EdgeError::Damaged {
            file: file.to_path_buf(),
            offset,
            what: what.into(),
            hint: "restore the data directory from a copy, or move it away and let the sources be read again",
        }
    }

    /// The message with all its causes, for reports that keep text only.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
