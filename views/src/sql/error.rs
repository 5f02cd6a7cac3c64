//! What is wrong with a text: kind, message, place and hint; and how errors of the planner become such.

use std::fmt;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Location;

use super::locate::Text;

/// A place in a script, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Position {
    /// The place of `inner`, counted from this place, counted from where this place is counted from.
    pub fn then(self, inner: Position) -> Position {
        if inner.line <= 1 {
            Position { line: self.line, column: self.column.saturating_add(inner.column.saturating_sub(1)) }
        } else {
            Position { line: self.line.saturating_add(inner.line - 1), column: inner.column }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Position {
        let narrow = |count: u64| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        Position { line: narrow(location.line), column: narrow(location.column) }
    }
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

impl SqlError {
    /// An error of `kind` without place and hint.
    pub fn new(kind: SqlErrorKind, message: impl Into<String>) -> SqlError {
        SqlError { kind, message: message.into(), position: None, hint: None }
    }

    /// The text is wrong.
    pub fn invalid(message: impl Into<String>) -> SqlError {
        SqlError::new(SqlErrorKind::Invalid, message)
    }

    /// The text asks for what is not supported.
    pub fn unsupported(message: impl Into<String>) -> SqlError {
        SqlError::new(SqlErrorKind::Unsupported, message)
    }

    /// The same error with a place.
    pub fn at(mut self, position: impl Into<Position>) -> SqlError {
        self.position = Some(position.into());
        self
    }

    /// The same error with what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> SqlError {
        self.hint = Some(hint.into());
        self
    }

    /// The same error for a reader of the script in which the erroneous text begins at `start`: [`super::plan_view`]
    /// and [`super::plan_read`] count from the beginning of the query they are given.
    pub fn within(mut self, start: Position) -> SqlError {
        self.position = Some(self.position.map_or(start, |position| start.then(position)));
        self
    }
}

/// An error of the parser; its message ends with the place.
pub(super) fn from_parser(error: &ParserError) -> SqlError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::unsupported("the statement is nested too deeply")
                .hint("split it: give parts of it a name with CREATE VIEW or WITH");
        }
    };
    match message.rsplit_once(" at Line: ") {
        Some((what, place)) => {
            let mut numbers = place.split(", Column: ").map(|number| number.trim().parse::<u32>());
            let error = SqlError::invalid(tidy(what));
            match (numbers.next(), numbers.next()) {
                (Some(Ok(line)), Some(Ok(column))) => error.at(Position { line, column }),
                _ => error,
            }
        }
        None => SqlError::invalid(tidy(message)),
    }
}

/// An error of the planner about `text`. It always has a place: the planner's own, or that of the first thing in the
/// text that the message quotes, or the beginning.
pub(super) fn from_datafusion(error: &DataFusionError, text: &Text) -> SqlError {
    let mut found = classify(error.find_root());
    if found.position.is_none() {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        let place = span.map(|span| Location { line: span.start.line, column: span.start.column });
        found.position = place.map(Position::from).or_else(|| text.quoted_in(&found.message));
    }
    found.position.get_or_insert(text.start());
    found
}

/// Kind, message and hint of an error's innermost cause.
fn classify(root: &DataFusionError) -> SqlError {
    match root {
        DataFusionError::Diagnostic(_, inner) => classify(inner.find_root()),
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(own) => own.clone(),
            None => SqlError::invalid(tidy(&inner.to_string())),
        },
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let error =
                    SqlError::new(SqlErrorKind::NotFound, format!("column \"{}\" does not exist", field.flat_name()));
                let known: Vec<String> = valid_fields.iter().map(|column| column.flat_name()).collect();
                if known.is_empty() { error } else { error.hint(format!("the columns are {}", known.join(", "))) }
            }
            SchemaError::AmbiguousReference { field } if field.relation.is_none() => {
                SqlError::invalid(format!("column \"{}\" is in several relations", field.name))
                    .hint(format!("say which is meant: relation.{}", field.name))
            }
            SchemaError::AmbiguousReference { field } => two_columns(&field.name),
            SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
                two_columns(name)
            }
        },
        DataFusionError::SQL(inner, _) => from_parser(inner),
        DataFusionError::NotImplemented(message) => with_suggestion(SqlError::unsupported, message),
        DataFusionError::Internal(message) => {
            SqlError::unsupported(format!("the planner cannot handle this query: {}", tidy(message)))
                .hint("write it differently; and please report it")
        }
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| SqlError::invalid("the query is wrong"), |first| classify(first.find_root()))
        }
        other => with_suggestion(SqlError::invalid, &other.message()),
    }
}

/// A query with two columns of one name.
pub(super) fn two_columns(name: &str) -> SqlError {
    SqlError::invalid(format!("two columns have the name \"{name}\"")).hint("give one of them another name with AS")
}

/// Whether an error says that two columns have one name.
pub(super) fn is_two_columns(error: &SqlError) -> bool {
    error.message.starts_with("two columns have the name ")
}

/// Splits the planner's "did you mean" from its message, and says in our words what it says often.
fn with_suggestion(make: fn(String) -> SqlError, message: &str) -> SqlError {
    if message.contains("require unique expression names")
        && let Some(name) = message.split('"').nth(1)
    {
        return two_columns(name.rsplit('.').next().unwrap_or(name));
    }
    match message.split_once("Did you mean ") {
        Some((what, meant)) => make(tidy(what)).hint(format!("did you mean {}", meant.trim_end_matches(['?', '.']))),
        None => make(tidy(message)),
    }
}

/// A message in our style: one line without prefix and full stop, beginning with a small letter.
pub(super) fn tidy(message: &str) -> String {
    let message = DataFusionError::Plan(message.to_owned()).message().into_owned();
    let line = message.split("\n\nbacktrace").next().unwrap_or_default().trim();
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "sql parser error: ",
        "Parser error: ",
        "Execution error: ",
    ] {
        if let Some(rest) = line.strip_prefix(prefix) {
            line = rest.to_owned();
        }
    }
    let line = line.trim_end_matches('.');
    let mut chars = line.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().collect::<String>() + &line[first.len_utf8()..]
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_add_up() {
        let at = |line, column| Position { line, column };
        assert_eq!(at(3, 10).then(at(1, 1)), at(3, 10));
        assert_eq!(at(3, 10).then(at(1, 5)), at(3, 14));
        assert_eq!(at(3, 10).then(at(2, 5)), at(4, 5));
    }

    #[test]
    fn parser_errors_lose_their_tail() {
        let error = from_parser(&ParserError::ParserError("Expected: x, found: y at Line: 2, Column: 7".into()));
        assert_eq!(error, SqlError::invalid("expected: x, found: y").at(Position { line: 2, column: 7 }));
    }
}
