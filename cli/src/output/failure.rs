//! What a refused or failed command prints: what, where (with the offending line), and what to do.

use std::fmt;

use headwater_proto::client::ClientError;

/// A failure for people.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    /// What is wrong.
    pub(crate) message: String,
    /// Where, if it is in a text.
    pub(crate) place: Option<Place>,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

/// A place in a text of statements.
#[derive(Debug)]
pub(crate) struct Place {
    /// The name of the text.
    pub(crate) origin: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// In characters, counted from 1; 0 when only the line is known.
    pub(crate) column: usize,
    /// The line itself, if the text is at hand.
    pub(crate) text: Option<String>,
}

impl Failure {
    /// A failure with something to do about it.
    pub(crate) fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { message: message.into(), place: None, hint: hint.into() }
    }

    /// The same failure; if it has no place, in this line of `origin`, unless that is 0.
    pub(crate) fn or_in(mut self, origin: &str, line: u32) -> Failure {
        let line = usize::try_from(line).ok().filter(|line| *line > 0);
        if let (None, Some(line)) = (&self.place, line) {
            self.place = Some(Place { origin: origin.to_owned(), line, column: 0, text: None });
        }
        self
    }

    /// Says why a call failed. `texts` are the (name, text) pairs that were sent, in which the offending line is looked up.
    pub(crate) fn of_call(error: ClientError, texts: &[(String, String)]) -> Failure {
        match error {
            ClientError::Address { .. } => Failure::with_hint(
                error.to_string(),
                "give --server or HEADWATER_SERVER the form http://127.0.0.1:6565",
            ),
            ClientError::Unreachable { .. } => Failure::with_hint(
                error.to_string(),
                "start a server with `headwater serve --data-dir DIR`, or name another one with --server or HEADWATER_SERVER",
            ),
            ClientError::Refused(refusal) => {
                let detail = refusal.detail.unwrap_or_default();
                Failure { message: refusal.message, place: Place::new(&detail, texts), hint: detail.hint }
            }
        }
    }
}

impl Place {
    fn new(detail: &headwater_proto::v1::ErrorDetail, texts: &[(String, String)]) -> Option<Place> {
        // A query has one text, whatever the server calls it.
        let sent = texts.iter().find(|(name, _)| *name == detail.origin).or(match texts {
            [only] => Some(only),
            _ => None,
        });
        let origin = sent.map_or(detail.origin.as_str(), |(name, _)| name.as_str());
        let line = usize::try_from(detail.line).ok().filter(|line| *line > 0)?;
        let column = usize::try_from(detail.column).unwrap_or(0);
        let text = sent.and_then(|(_, text)| text.lines().nth(line - 1)).map(str::to_owned);
        Some(Place { origin: origin.to_owned(), line, column, text })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n{place}")?;
        }
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { origin, line, column, text } = self;
        write!(f, "  --> {origin}:{line}")?;
        if *column > 0 {
            write!(f, ":{column}")?;
        }
        let Some(text) = text else { return Ok(()) };
        let (text, column) = window(text, *column);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        write!(f, "\n{margin} |\n{number} | {text}")?;
        if column > 0 {
            // Tabs stay tabs, so that the caret stands below its character whatever their width.
            let before = text.chars().chain(std::iter::repeat(' ')).take(column - 1);
            let before: String = before.map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{margin} | {before}^")?;
        }
        Ok(())
    }
}

/// A long line is cut around the column; also gives the column in what is left.
fn window(text: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let skip = if column > WIDTH { column - WIDTH / 2 } else { 0 };
    let shown: String = text
        .chars()
        .skip(skip)
        .take(WIDTH)
        .map(|char| if char.is_control() && char != '\t' { ' ' } else { char })
        .collect();
    (shown, column.saturating_sub(skip))
}

#[cfg(test)]
mod tests {
    use headwater_proto::client::Refusal;
    use headwater_proto::v1::ErrorDetail;
    use tonic::Code;

    use super::*;

    fn refused(origin: &str, line: u32, column: u32, hint: &str, texts: &[(&str, &str)]) -> String {
        let detail =
            ErrorDetail { origin: origin.to_owned(), line, column, hint: hint.to_owned(), ..Default::default() };
        let message = "column \"foo\" does not exist".to_owned();
        let refusal = Refusal { code: Code::InvalidArgument, message, detail: Some(detail) };
        let texts: Vec<_> = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Failure::of_call(ClientError::Refused(Box::new(refusal)), &texts).to_string()
    }

    #[test]
    fn the_caret_stands_below_the_place() {
        let text = "SELECT a,\n\tfoo\nFROM t";
        assert_eq!(
            refused("b.sql", 2, 2, "did you mean f", &[("a.sql", ""), ("b.sql", text)]),
            "column \"foo\" does not exist\n  --> b.sql:2:2\n  |\n2 | \tfoo\n  | \t^\nhint: did you mean f"
        );
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let text = refused("q.sql", 1, 4, "", &[("q.sql", "'ü' foo")]);
        assert!(text.ends_with("1 | 'ü' foo\n  |    ^"), "{text}");
    }

    #[test]
    fn a_place_behind_the_end_is_shown_there() {
        let text = refused("q.sql", 1, 10, "", &[("q.sql", "SELECT")]);
        assert!(text.ends_with("1 | SELECT\n  |          ^"), "{text}");
    }

    #[test]
    fn only_what_is_known_is_said() {
        let what = "column \"foo\" does not exist";
        assert_eq!(refused("", 0, 0, "", &[]), what);
        assert_eq!(refused("a.sql", 3, 0, "", &[]), format!("{what}\n  --> a.sql:3"));
        assert_eq!(refused("a.sql", 9, 1, "", &[("a.sql", "x")]), format!("{what}\n  --> a.sql:9:1"));
    }

    #[test]
    fn a_query_keeps_the_name_that_the_user_gave() {
        let text = refused("<query>", 1, 1, "", &[("q.sql", "foo")]);
        assert!(text.contains("--> q.sql:1:1"), "{text}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}foo", " ".repeat(1_000));
        let text = refused("q.sql", 1, 1_001, "", &[("q.sql", &text)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].len() < 130);
        assert_eq!(lines[3].find("foo"), lines[4].find('^'));
    }
}
