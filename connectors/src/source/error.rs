//! Why a source cannot be opened or cannot go on. A record that does not decode is not among these: it is data.

use std::io;
use std::sync::Arc;

/// Why a source cannot be opened or cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// The path names nothing.
    #[error("there is no file {path}: give an existing file or a glob that matches one, relative to {base_dir}")]
    Missing {
        /// The path as declared, or the file that a position names.
        path: String,
        /// Where relative paths start.
        base_dir: String,
    },
    /// The path names a directory.
    #[error("{path} is a directory: name its files with a glob, such as {path}/*.csv")]
    Directory {
        /// The path as declared.
        path: String,
    },
    /// The glob is not one.
    #[error("{path} is not a valid glob: {reason}")]
    Glob {
        /// The path as declared.
        path: String,
        /// What the matcher says.
        reason: String,
    },
    /// A file name that is not UTF-8.
    #[error("the path {path} is not valid UTF-8: rename it")]
    Name {
        /// The path, with replacement characters.
        path: String,
    },
    /// A packed file in a source that follows.
    #[error("{file} is packed and cannot be followed: follow a plain file, or read it without follow")]
    FollowPacked {
        /// The file.
        file: String,
    },
    /// Input or output failed.
    #[error("cannot {action} {file}")]
    Io {
        /// The file.
        file: String,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The header lacks a declared column.
    #[error("the header of {file} has no column {column}: it has {}; declare one of these or mend the file", .columns.join(", "))]
    Column {
        /// The file.
        file: String,
        /// The declared column.
        column: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// Several columns of the header fit a declared one.
    #[error("the header of {file} has several columns that fit {column}: {}; rename one in the file", .columns.join(", "))]
    Ambiguous {
        /// The file.
        file: String,
        /// The declared column.
        column: String,
        /// The columns that fit.
        columns: Vec<String>,
    },
    /// The header is not a record.
    #[error("the header of {file} cannot be read: {reason}; the first record must name the columns")]
    Header {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is shorter than what was read of it.
    #[error(
        "{file} has {length} bytes, but was read up to byte {offset}: a source's files may grow but not shrink; \
         restore the file, or drop the source and create it again"
    )]
    Shrunk {
        /// The file.
        file: String,
        /// How far it was read, in unpacked bytes.
        offset: u64,
        /// How long it is, in unpacked bytes.
        length: u64,
    },
    /// Another file took the place of the one that is followed.
    #[error(
        "{file} was replaced by another file while it was followed: append to it, or write new files and follow a glob"
    )]
    Replaced {
        /// The file.
        file: String,
    },
    /// The file that is followed was removed.
    #[error("{file} was removed while it was followed: restore it, or drop the source and create it again")]
    Gone {
        /// The file.
        file: String,
    },
    /// A declared type that no decoder fills.
    #[error("column {column} has type {data_type}, which a source cannot have: use a SQL type such as TEXT")]
    Type {
        /// The declared column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A delimiter that cannot separate fields.
    #[error(
        "the byte {delimiter:#04x} cannot separate fields: use an ASCII character that is no quote and no line end"
    )]
    Delimiter {
        /// The declared byte.
        delimiter: u8,
    },
    /// The brokers do not answer.
    #[error("the brokers at {brokers} do not answer: {reason}; are the addresses right, and do the brokers run?")]
    Brokers {
        /// The addresses as declared.
        brokers: String,
        /// What the client says.
        reason: String,
    },
    /// The brokers refuse the client, or the client does not trust them.
    #[error(
        "the brokers at {brokers} cannot be talked to: {reason}; are the user, the password and the certificates right?"
    )]
    Rejected {
        /// The addresses as declared.
        brokers: String,
        /// What the client says.
        reason: String,
    },
    /// A topic that cannot be read, or not any more.
    #[error("topic {topic} {reason}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A property that the client library does not take, or that the statement must not set.
    #[error("property {name}: {reason}")]
    Property {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable that the environment lacks.
    #[error("property {property} names ${{{name}}}, which is not in the environment: set it where the server starts")]
    Environment {
        /// The property.
        property: String,
        /// The variable.
        name: String,
    },
    /// The client library cannot be started, or has given up.
    #[error("the Kafka client failed: {reason}; restart the server to have the source tried again, or create it again")]
    Client {
        /// What it says.
        reason: String,
    },
    /// A position that is not one of this source.
    #[error("the position {position} is not one of this source: {reason}; it may come from a newer version")]
    Position {
        /// The text.
        position: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl SourceError {
    /// Wraps a failure of the operating system with what was tried on which file.
    pub(crate) fn io(file: &str, action: &'static str, source: io::Error) -> SourceError {
        SourceError::Io { file: file.to_owned(), action, source: Arc::new(source) }
    }
}
