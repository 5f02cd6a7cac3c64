//! Cuts of a text at words outside parentheses: a statement that is printed again may not mean the same.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

/// The text before the last `word` outside parentheses; all of it if there is none.
pub(super) fn before<'a>(text: &'a str, word: &str) -> &'a str {
    let found = places(text, &[word]);
    found.last().map_or(text, |at| &text[..offset(text, *at)])
}

/// The text from the first of `words` outside parentheses on.
pub(super) fn from<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    let found = places(text, words);
    found.first().map(|at| text[offset(text, *at)..].trim_end().trim_end_matches(';'))
}

fn places(text: &str, words: &[&str]) -> Vec<Location> {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location() else { return Vec::new() };
    let mut depth = 0;
    let mut found = Vec::new();
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Word(word) if depth == 0 && words.iter().any(|known| word.value.eq_ignore_ascii_case(known)) => {
                found.push(token.span.start);
            }
            _ => {}
        }
    }
    found
}

fn offset(text: &str, at: Location) -> usize {
    let number = |count: u64| usize::try_from(count.max(1) - 1).expect("a text fits in memory");
    let line = text.split_inclusive('\n').take(number(at.line)).map(str::len).sum::<usize>();
    let rest = &text[line..];
    line + rest.char_indices().nth(number(at.column)).map_or(rest.len(), |(at, _)| at)
}

#[test]
fn texts_are_cut_at_words() {
    let text = "SELECT a,\n (SELECT b ORDER BY c) FROM t\n order BY - -1";
    assert_eq!(before(text, "ORDER"), "SELECT a,\n (SELECT b ORDER BY c) FROM t\n ");
    assert_eq!(from("INSERT INTO t (a) VALUES (- -1);", &["SELECT", "VALUES"]), Some("VALUES (- -1)"));
}
