//! SQL: statements, planning, lowering.

/// A place in a script, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// Who can do what about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// The text is wrong.
    Invalid,
    /// The text is right, but cannot be maintained or is not supported.
    Unsupported,
    /// It names what does not exist.
    NotFound,
    /// It creates what exists.
    AlreadyExists,
    /// It drops what others need.
    Dependencies,
}

/// A refusal of SQL text: what, where, what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// Who can do what about it.
    pub kind: SqlErrorKind,
    /// What is wrong.
    pub message: String,
    /// Where in the script.
    pub position: Option<Position>,
    /// What to do.
    pub hint: Option<String>,
}

/// The kinds of objects in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ObjectKind {
    /// Rows that come from outside.
    Source,
    /// A name for a query, inlined where it is used.
    View,
    /// A query whose answer is maintained.
    MaterializedView,
}
