//! Scripts: where a statement ends, which lines are data of a COPY, which are commands of the shell.
//!
//! Only as much of SQL is read as it takes to find the semicolons; what stands between is the server's to understand.

use headwater_proto::v1::StatementText;

/// A part of a script.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// A statement without its semicolon, with the lines behind a COPY.
    Statement(StatementText),
    /// A command of the shell: its line, which begins with a backslash.
    Command(String),
}

/// The parts of a text, and what is left of it.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// The parts, in order.
    pub(super) pieces: Vec<Piece>,
    /// Where the part begins that has no end yet, in bytes.
    pub(super) rest: usize,
    /// What that part waits for.
    pub(super) waits_for: WaitsFor,
}

/// What a text that has no end yet waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// Nothing has begun.
    #[default]
    Nothing,
    /// A semicolon.
    End,
    /// The end of a quotation or comment.
    Quote,
    /// Lines of data and the line `\.` behind them.
    Data,
}

/// Splits `text`, which begins at `line`. If it is `whole`, its end ends everything.
pub(super) fn split(text: &str, line: u32, whole: bool) -> Split {
    let mut cursor = Cursor { text, at: 0, line, column: 1 };
    let mut split = Split::default();
    loop {
        split.waits_for = match cursor.skip_blank() {
            Blank::Over => WaitsFor::Nothing,
            Blank::InComment => WaitsFor::Quote,
        };
        let start = cursor;
        split.rest = start.at;
        if cursor.peek().is_none() || split.waits_for == WaitsFor::Quote {
            return split;
        }
        if cursor.peek() == Some('\\') {
            let Some(command) = cursor.line(whole) else {
                split.waits_for = WaitsFor::End;
                return split;
            };
            split.pieces.push(Piece::Command(command.trim_end().to_owned()));
            continue;
        }
        let (end, waits_for) = cursor.statement();
        if waits_for != WaitsFor::Nothing && !whole {
            split.waits_for = waits_for;
            return split;
        }
        let body = &text[start.at..end];
        let mut statement =
            StatementText { text: body.trim_end().to_owned(), line: start.line, column: start.column, data: None };
        if takes_data(body) {
            let Some(data) = cursor.data(whole) else {
                split.waits_for = WaitsFor::Data;
                return split;
            };
            statement.data = Some(data);
        }
        if !body.is_empty() {
            split.pieces.push(Piece::Statement(statement));
        }
    }
}

/// Whether lines of data stand behind a statement.
fn takes_data(statement: &str) -> bool {
    let mut words = statement.split_whitespace();
    let copy = words.next().is_some_and(|word| word.eq_ignore_ascii_case("copy"));
    let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    copy && words.windows(2).any(|pair| pair[0].ends_with("from") && pair[1].starts_with("stdin"))
}

enum Blank {
    Over,
    InComment,
}

#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        if char == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(char)
    }

    fn skip(&mut self, chars: usize) {
        for _ in 0..chars {
            self.next();
        }
    }

    /// Passes over everything up to and with `end`; false if it is not there.
    fn skip_past(&mut self, end: &str) -> bool {
        while !self.rest().is_empty() {
            if self.rest().starts_with(end) {
                self.skip(end.chars().count());
                return true;
            }
            self.next();
        }
        false
    }

    /// Passes over a comment if one begins here; `None` if none does, false if it does not end.
    fn comment(&mut self) -> Option<bool> {
        if self.rest().starts_with("--") {
            while self.peek().is_some_and(|char| char != '\n') {
                self.next();
            }
            return Some(true);
        }
        if !self.rest().starts_with("/*") {
            return None;
        }
        let mut depth = 0;
        while !self.rest().is_empty() {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return Some(true);
                }
            } else {
                self.next();
            }
        }
        Some(false)
    }

    /// Passes over space, comments and semicolons that end nothing.
    fn skip_blank(&mut self) -> Blank {
        loop {
            match self.peek() {
                Some(char) if char.is_whitespace() || char == ';' => {
                    self.next();
                }
                Some('-' | '/') => {
                    let start = *self;
                    match self.comment() {
                        Some(true) => {}
                        Some(false) => {
                            *self = start;
                            return Blank::InComment;
                        }
                        None => return Blank::Over,
                    }
                }
                _ => return Blank::Over,
            }
        }
    }

    /// Passes over a statement and its semicolon. Returns where its text ends, and what it waits for if it does not end.
    fn statement(&mut self) -> (usize, WaitsFor) {
        let mut before = ' ';
        while let Some(char) = self.peek() {
            match char {
                ';' => {
                    let end = self.at;
                    self.next();
                    return (end, WaitsFor::Nothing);
                }
                '\'' => {
                    self.next();
                    let escapes = matches!(before, 'e' | 'E');
                    if !self.quoted('\'', escapes) {
                        return (self.at, WaitsFor::Quote);
                    }
                }
                '"' => {
                    self.next();
                    if !self.quoted('"', false) {
                        return (self.at, WaitsFor::Quote);
                    }
                }
                '$' if !before.is_alphanumeric() => {
                    if let Some(tag) = dollar_tag(self.rest()) {
                        self.skip(tag.chars().count());
                        if !self.skip_past(tag) {
                            return (self.at, WaitsFor::Quote);
                        }
                    } else {
                        self.next();
                    }
                }
                '-' | '/' => match self.comment() {
                    Some(true) => {}
                    Some(false) => return (self.at, WaitsFor::Quote),
                    None => {
                        self.next();
                    }
                },
                _ => {
                    self.next();
                }
            }
            before = char;
        }
        (self.at, WaitsFor::End)
    }

    /// Passes over the rest of a quotation. A doubled quote opens the next one.
    fn quoted(&mut self, quote: char, escapes: bool) -> bool {
        while let Some(char) = self.next() {
            if char == quote {
                return true;
            }
            if char == '\\' && escapes {
                self.next();
            }
        }
        false
    }

    /// The rest of the line; `None` if it has no end yet.
    fn line(&mut self, whole: bool) -> Option<&'a str> {
        let rest = self.rest();
        let end = match rest.find('\n') {
            Some(end) => end,
            None if whole => rest.len(),
            None => return None,
        };
        self.at = (self.at + end + 1).min(self.text.len());
        (self.line, self.column) = (self.line + 1, 1);
        Some(&rest[..end])
    }

    /// The lines of data behind a statement, up to the line `\.`; `None` if that has not come.
    fn data(&mut self, whole: bool) -> Option<String> {
        // What stands behind the semicolon is no data.
        self.line(whole)?;
        let start = self.at;
        while self.at < self.text.len() {
            let at = self.at;
            let line = self.line(whole)?;
            if line.trim_end_matches('\r') == "\\." {
                return Some(self.text[start..at].to_owned());
            }
        }
        whole.then(|| self.text[start..].to_owned())
    }
}

/// The tag of a quotation in dollars that begins here: `$$` or `$name$`.
fn dollar_tag(rest: &str) -> Option<&str> {
    let inner = rest.get(1..)?;
    let end = inner.find('$')?;
    let name = &inner[..end];
    let valid = name.chars().all(|char| char.is_alphanumeric() || char == '_') && !name.starts_with(char::is_numeric);
    valid.then(|| &rest[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<(u32, u32, String, Option<String>)> {
        let shown = |piece: Piece| match piece {
            Piece::Statement(StatementText { text, line, column, data }) => (line, column, text, data),
            Piece::Command(line) => (0, 0, line, None),
        };
        split(text, 1, true).pieces.into_iter().map(shown).collect()
    }

    #[track_caller]
    fn check(text: &str, wanted: &[(u32, u32, &str, Option<&str>)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(line, column, text, data)| (*line, *column, (*text).to_owned(), data.map(str::to_owned)))
            .collect();
        assert_eq!(statements(text), wanted, "{text}");
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        check("SELECT 1; SELECT 2", &[(1, 1, "SELECT 1", None), (1, 11, "SELECT 2", None)]);
        check(
            "-- a;b\n/* ; /* ; */ ; */ a ';''' \";\" E'\\';' ; b",
            &[(2, 19, "a ';''' \";\" E'\\';'", None), (2, 40, "b", None)],
        );
        check(
            "a $$;$$ $x$ ; $$ $x$;;;\n  b -- tail;\n;",
            &[(1, 1, "a $$;$$ $x$ ; $$ $x$", None), (2, 3, "b -- tail;", None)],
        );
        check(" ; -- nothing\n", &[]);
    }

    #[test]
    fn data_stands_behind_copy_up_to_its_end() {
        check(
            "COPY t FROM STDIN;\n1\t;\n'\n\\.\nSELECT 1",
            &[(1, 1, "COPY t FROM STDIN", Some("1\t;\n'\n")), (5, 1, "SELECT 1", None)],
        );
        check(
            "copy t (a)\n from  stdin with (format csv);\r\n1\r\n\\.\r\n",
            &[(1, 1, "copy t (a)\n from  stdin with (format csv)", Some("1\r\n"))],
        );
        check("COPY t FROM STDIN;\n1", &[(1, 1, "COPY t FROM STDIN", Some("1"))]);
        check("COPY t FROM STDIN", &[(1, 1, "COPY t FROM STDIN", Some(""))]);
    }

    #[test]
    fn commands_stand_where_statements_begin() {
        check(
            "\\d t\nSELECT '\n\\d'; \\q",
            &[(0, 0, "\\d t", None), (2, 1, "SELECT '\n\\d'", None), (0, 0, "\\q", None)],
        );
    }

    #[test]
    fn what_has_no_end_waits_for_it() {
        fn waits(text: &str) -> (usize, &str, WaitsFor) {
            let split = split(text, 1, false);
            (split.pieces.len(), &text[split.rest..], split.waits_for)
        }
        assert_eq!(waits("SELECT 1;\n"), (1, "", WaitsFor::Nothing));
        assert_eq!(waits("SELECT 1;\nSELECT"), (1, "SELECT", WaitsFor::End));
        assert_eq!(waits("SELECT 'a;\n"), (0, "SELECT 'a;\n", WaitsFor::Quote));
        assert_eq!(waits("/* a;\n"), (0, "/* a;\n", WaitsFor::Quote));
        assert_eq!(waits("COPY t FROM STDIN;\n1\n"), (0, "COPY t FROM STDIN;\n1\n", WaitsFor::Data));
        assert_eq!(waits("COPY t FROM STDIN;\n1\n\\.\n"), (1, "", WaitsFor::Nothing));
    }
}
