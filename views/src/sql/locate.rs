//! A text as tokens with places: for exact cuts of it, and for saying where something stands that was refused only after
//! planning, when the plan no longer knows the text.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word};

use super::error::{Position, SqlError, from_parser};

/// How many operators may stand in one another: each is a level of recursion, at planning and per row.
const DEPTH_MAX: usize = 400;

/// How deep parentheses may nest.
const NESTING_MAX: usize = 100;

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// A text and its tokens.
#[derive(Debug)]
pub(super) struct Text<'a> {
    text: &'a str,
    lines: Vec<usize>,
    tokens: Vec<TokenWithSpan>,
}

/// What a plan can contain that is refused, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Construct {
    OrderBy,
    Limit,
    Window,
    MarkJoin,
    ScalarSubquery,
    GroupingSets,
    Unnest,
    Recursive,
    /// A function or a name, in lower case.
    Name(String),
    /// Nothing that could be found.
    Query,
}

impl<'a> Text<'a> {
    /// Cuts `text` into tokens. An error if it is no SQL at all, or nested so deeply that recursion over it is not safe.
    pub(super) fn new(text: &'a str) -> Result<Text<'a>, SqlError> {
        let tokens = Tokenizer::new(&DIALECT, text)
            .tokenize_with_location()
            .map_err(|error| from_parser(&ParserError::from(error)))?;
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let text = Text { text, lines, tokens };
        text.check_depth()?;
        Ok(text)
    }

    /// A parser over the tokens. Its errors have places in this text.
    pub(super) fn parser(&self) -> Parser<'static> {
        Parser::new(&DIALECT).with_tokens_with_locations(self.tokens.clone())
    }

    /// An error of that parser. Where it has no place of its own the text ended too early.
    pub(super) fn parser_error(&self, error: &ParserError) -> SqlError {
        let mut error = from_parser(error);
        error.position.get_or_insert(self.end());
        error
    }

    /// The text between two places.
    pub(super) fn cut(&self, start: Location, end: Location) -> &'a str {
        let (start, end) = (self.offset(start), self.offset(end));
        &self.text[start..end.max(start)]
    }

    /// The place of the first token.
    pub(super) fn start(&self) -> Position {
        self.words().next().map_or(Position { line: 1, column: 1 }, |token| token.span.start.into())
    }

    /// The place behind the last token.
    pub(super) fn end(&self) -> Position {
        self.words().last().map_or(Position { line: 1, column: 1 }, |token| token.span.end.into())
    }

    /// The place of the first identifier or string that `message` has in quotes and this text has too.
    pub(super) fn quoted_in(&self, message: &str) -> Option<Position> {
        let pieces: Vec<&str> = message.split(['\'', '"', '`']).skip(1).step_by(2).collect();
        pieces.iter().find_map(|piece| self.find_name(piece.rsplit('.').next().unwrap_or(piece)))
    }

    /// Where `construct` stands; for several, the likeliest.
    pub(super) fn find(&self, construct: &Construct) -> Option<Position> {
        match construct {
            Construct::OrderBy => {
                self.find_top_level(&["ORDER", "BY"]).or_else(|| self.find_words(&[&["ORDER", "BY"]]))
            }
            Construct::Limit => self.find_words(&[&["LIMIT"], &["FETCH"], &["OFFSET"]]),
            Construct::Window => self.find_words(&[&["OVER"], &["QUALIFY"]]),
            Construct::MarkJoin => self.find_words(&[&["EXISTS"], &["IN", "(", "SELECT"], &["IN"], &["ANY"], &["ALL"]]),
            Construct::ScalarSubquery => self.find_scalar_subquery(),
            Construct::GroupingSets => self.find_words(&[&["GROUPING", "SETS"], &["ROLLUP"], &["CUBE"], &["GROUPING"]]),
            Construct::Unnest => self.find_words(&[&["UNNEST"], &["UNNEST_OUTER"]]),
            Construct::Recursive => self.find_words(&[&["RECURSIVE"]]),
            Construct::Name(name) => self.find_name(name),
            Construct::Query => None,
        }
    }

    fn offset(&self, location: Location) -> usize {
        let number = |count: u64| usize::try_from(count.max(1) - 1).unwrap_or(usize::MAX);
        let Some(line) = self.lines.get(number(location.line)) else { return self.text.len() };
        let rest = &self.text[*line..];
        line + rest.char_indices().nth(number(location.column)).map_or(rest.len(), |(at, _)| at)
    }

    fn words(&self) -> impl Iterator<Item = &TokenWithSpan> {
        self.tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
    }

    /// The first place of the first of `patterns` that stands in the text at all.
    pub(super) fn find_words(&self, patterns: &[&[&str]]) -> Option<Position> {
        let words: Vec<&TokenWithSpan> = self.words().collect();
        patterns.iter().find_map(|pattern| {
            words
                .windows(pattern.len())
                .find(|window| matches(window, pattern))
                .map(|window| window[0].span.start.into())
        })
    }

    /// The last place of `pattern` outside all parentheses.
    fn find_top_level(&self, pattern: &[&str]) -> Option<Position> {
        let words: Vec<&TokenWithSpan> = self.words().collect();
        let mut depth = 0_usize;
        let mut found = None;
        for (at, word) in words.iter().enumerate() {
            match word.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth == 0
                    && words.len() >= at + pattern.len()
                    && matches(&words[at..at + pattern.len()], pattern) =>
                {
                    found = Some(word.span.start.into());
                }
                _ => {}
            }
        }
        found
    }

    /// A parenthesis with a query in it that stands where a value is expected.
    fn find_scalar_subquery(&self) -> Option<Position> {
        let words: Vec<&TokenWithSpan> = self.words().collect();
        let relation =
            ["EXISTS", "IN", "FROM", "JOIN", "AS", "ANY", "SOME", "ALL", "UNION", "LATERAL", "EXCEPT", "INTERSECT"];
        (0..words.len().saturating_sub(1)).find_map(|at| {
            let opens =
                words[at].token == Token::LParen && ["SELECT", "WITH"].iter().any(|word| is_word(words[at + 1], word));
            let value = at > 0 && !relation.iter().any(|word| is_word(words[at - 1], word));
            (opens && value).then(|| words[at].span.start.into())
        })
    }

    /// The first identifier, keyword or string `name`, whatever its case.
    fn find_name(&self, name: &str) -> Option<Position> {
        let same = |token: &Token| match token {
            Token::Word(word) => word.value.eq_ignore_ascii_case(name),
            Token::SingleQuotedString(text) => text == name,
            _ => false,
        };
        self.words().find(|token| same(&token.token)).map(|token| token.span.start.into())
    }

    /// Counts, per parenthesis, the operators since the last comma: no tree over the text is deeper than their sum.
    fn check_depth(&self) -> Result<(), SqlError> {
        let mut levels = vec![0_usize];
        let mut depth = 0_usize;
        for token in self.words() {
            match &token.token {
                Token::LParen | Token::LBracket => levels.push(0),
                Token::RParen | Token::RBracket => {
                    depth -= levels.pop().unwrap_or_default();
                    if levels.is_empty() {
                        levels.push(0);
                    }
                }
                Token::Comma | Token::SemiColon => {
                    if let Some(level) = levels.last_mut() {
                        depth -= std::mem::take(level);
                    }
                }
                other if deepens(other) => {
                    if let Some(level) = levels.last_mut() {
                        *level += 1;
                        depth += 1;
                    }
                }
                _ => {}
            }
            if depth > DEPTH_MAX || levels.len() > NESTING_MAX {
                return Err(SqlError::unsupported(format!(
                    "an expression of more than {DEPTH_MAX} operators or {NESTING_MAX} nested parentheses"
                ))
                .at(token.span.start)
                .hint("split it: a list of values belongs into IN (...), a part of a query into CREATE VIEW"));
            }
        }
        Ok(())
    }
}

/// Whether a token can add a level to a tree: an operator, a set operation, a join, a prefix.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(Word { keyword, quote_style: None, .. }) => matches!(
            keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::CASE
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::JOIN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::OPERATOR
        ),
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::LParen
        | Token::RParen
        | Token::LBracket
        | Token::RBracket
        | Token::Comma
        | Token::SemiColon
        | Token::Period
        | Token::Whitespace(_)
        | Token::EOF => false,
        _ => true,
    }
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        Token::LParen => word == "(",
        _ => false,
    }
}

fn matches(tokens: &[&TokenWithSpan], pattern: &[&str]) -> bool {
    tokens.len() == pattern.len() && tokens.iter().zip(pattern).all(|(token, word)| is_word(token, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, construct: Construct, line: u32, column: u32) {
        let text = Text::new(text).unwrap();
        assert_eq!(text.find(&construct), Some(Position { line, column }));
    }

    #[test]
    fn constructs_are_found() {
        check("select a,\n row_number() over (order by b) from t\norder by 1", Construct::OrderBy, 3, 1);
        check("select a,\n row_number() over (order by b) from t", Construct::Window, 2, 15);
        check("select a from t group by x in (select y from u)", Construct::MarkJoin, 1, 28);
        check("select a, (select max(y) from u) from (select 1 a) t", Construct::ScalarSubquery, 1, 11);
        check("select \"limit\" from t limit 3", Construct::Limit, 1, 23);
        check("select STDDEV(x) from t", Construct::Name("stddev".into()), 1, 8);
    }

    #[test]
    fn depth_is_limited() {
        let chain = |length: usize| format!("select {} from t", vec!["a"; length].join(" + "));
        assert!(Text::new(&chain(300)).is_ok());
        assert!(Text::new(&chain(500)).is_err());
        assert!(Text::new(&format!("select {}", vec!["a + b"; 5000].join(", "))).is_ok());
        assert!(Text::new(&"(".repeat(200)).is_err());
        assert!(Text::new("))) , ; )").is_ok());
    }
}
