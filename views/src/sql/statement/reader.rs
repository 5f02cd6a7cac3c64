//! Reads statements word by word: the small part of the grammar that is ours, over the SQL parser's tokens.

use datafusion::sql::sqlparser::ast::{DataType as SqlType, Statement};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::sql::error::{Position, SqlError};
use crate::sql::locate::Text;

/// A place in the tokens of a script.
pub(super) struct Reader<'a> {
    text: &'a Text<'a>,
    parser: Parser<'static>,
    first: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a Text<'a>) -> Reader<'a> {
        Reader { text, parser: text.parser(), first: true }
    }

    /// Goes to the beginning of the next statement; `None` at the end of the script.
    pub(super) fn next_statement(&mut self) -> Result<Option<Location>, SqlError> {
        let mut separated = std::mem::take(&mut self.first);
        while self.parser.consume_token(&Token::SemiColon) {
            separated = true;
        }
        let next = self.peek();
        if next.token == Token::EOF {
            return Ok(None);
        }
        if separated {
            Ok(Some(next.span.start))
        } else {
            Err(self.unexpected("the end of the statement or a semicolon"))
        }
    }

    /// The text from `start` to the end of the last token that was read.
    pub(super) fn text_since(&self, start: Location) -> &'a str {
        let mut index = self.parser.index();
        while index > 0 {
            index -= 1;
            let token = self.parser.token_at(index);
            if !matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                return self.text.cut(start, token.span.end);
            }
        }
        ""
    }

    /// Where the next token stands; at the end of the script, where its last token ends.
    pub(super) fn place(&self) -> Position {
        let next = self.peek();
        if next.token == Token::EOF { self.text.end() } else { next.span.start.into() }
    }

    /// The next token as it is written.
    pub(super) fn shown(&self) -> String {
        match self.peek().token {
            Token::EOF => "the end of the script".to_owned(),
            token => format!("\"{token}\""),
        }
    }

    /// Whether the next token is `word`: a keyword without quotes, or a sign.
    pub(super) fn at(&self, word: &str) -> bool {
        is(&self.peek(), word)
    }

    /// Whether the `ahead`th token after the next is `word`.
    fn at_nth(&self, ahead: usize, word: &str) -> bool {
        is(&self.parser.peek_nth_token(ahead), word)
    }

    /// Reads `word` if it is next.
    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.at(word);
        if found {
            self.parser.advance_token();
        }
        found
    }

    /// Reads all of `words` if they are next, or nothing.
    pub(super) fn accept_all(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(ahead, word)| self.at_nth(ahead, word));
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), SqlError> {
        if self.accept(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    /// What is next instead of `expected`.
    pub(super) fn unexpected(&self, expected: &str) -> SqlError {
        SqlError::invalid(format!("expected {expected}, found {}", self.shown())).at(self.place())
    }

    /// Whether a query begins here.
    pub(super) fn at_query(&self) -> bool {
        let mut ahead = 0;
        while self.at_nth(ahead, "(") {
            ahead += 1;
        }
        ["SELECT", "WITH", "VALUES"].iter().any(|word| self.at_nth(ahead, word))
    }

    /// Reads a query and returns its text.
    pub(super) fn query(&mut self) -> Result<String, SqlError> {
        let start = self.peek().span.start;
        self.parser.parse_query().map_err(|error| self.text.parser_error(&error))?;
        Ok(self.text_since(start).to_owned())
    }

    /// Reads an expression and returns its text.
    pub(super) fn expression(&mut self) -> Result<String, SqlError> {
        let start = self.peek().span.start;
        self.parser.parse_expr().map_err(|error| self.text.parser_error(&error))?;
        Ok(self.text_since(start).to_owned())
    }

    /// Reads a value as it may stand behind `DEFAULT` and returns its text: what follows may be a constraint, which an
    /// expression would take for its own.
    pub(super) fn default_value(&mut self) -> Result<String, SqlError> {
        let start = self.peek().span.start;
        self.parser.parse_prefix().map_err(|error| self.text.parser_error(&error))?;
        Ok(self.text_since(start).to_owned())
    }

    /// Reads an INSERT, UPDATE or DELETE.
    pub(super) fn dml(&mut self) -> Result<Statement, SqlError> {
        self.parser.parse_statement().map_err(|error| self.text.parser_error(&error))
    }

    /// Reads a name and folds it as Postgres does: to lower case unless it is in quotes.
    pub(super) fn name(&mut self) -> Result<String, SqlError> {
        let next = self.peek();
        let Token::Word(word) = next.token else { return Err(self.unexpected("a name")) };
        self.parser.advance_token();
        if self.at(".") {
            return Err(SqlError::unsupported(format!("the qualified name \"{}.…\"", word.value))
                .at(next.span.start)
                .hint("there are no schemas: use the name alone"));
        }
        Ok(if word.quote_style.is_some() { word.value } else { word.value.to_lowercase() })
    }

    /// Reads the name of something that is to be created.
    pub(super) fn new_name(&mut self) -> Result<String, SqlError> {
        let place = self.place();
        let name = self.name()?;
        if name.is_empty() {
            return Err(SqlError::invalid("a name must not be empty").at(place));
        }
        if name.contains('$') {
            return Err(SqlError::invalid(format!("the name \"{name}\" is reserved"))
                .at(place)
                .hint("names with $ belong to the system, like \"orders$errors\": choose a name without $"));
        }
        Ok(name)
    }

    /// Reads a string in single quotes.
    pub(super) fn string(&mut self, what: &str) -> Result<String, SqlError> {
        match self.peek().token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.parser.advance_token();
                Ok(text)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Reads a whole number that is not negative, if one is next.
    pub(super) fn accept_number(&mut self) -> Option<i64> {
        let Token::Number(digits, _) = self.peek().token else { return None };
        let number = digits.parse().ok()?;
        self.parser.advance_token();
        Some(number)
    }

    /// Whether a string in single quotes is next.
    pub(super) fn at_string(&self) -> bool {
        matches!(self.peek().token, Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_))
    }

    /// Reads one token of closing angle brackets and returns how many they are.
    pub(super) fn closing_angles(&mut self) -> Result<usize, SqlError> {
        let count = match self.peek().token {
            Token::Gt => 1,
            Token::ShiftRight => 2,
            Token::CustomBinaryOperator(signs) if signs.chars().all(|sign| sign == '>') => signs.len(),
            _ => return Err(self.unexpected("\",\" or \">\"")),
        };
        self.parser.advance_token();
        Ok(count)
    }

    /// Reads a type as the SQL parser understands it.
    pub(super) fn sql_type(&mut self) -> Result<SqlType, SqlError> {
        self.parser.parse_data_type().map_err(|error| self.text.parser_error(&error))
    }

    fn peek(&self) -> TokenWithSpan {
        self.parser.peek_token()
    }
}

fn is(token: &TokenWithSpan, word: &str) -> bool {
    match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        Token::EOF => false,
        Token::LParen => word == "(",
        Token::RParen => word == ")",
        Token::Comma => word == ",",
        Token::Period => word == ".",
        Token::Lt => word == "<",
        Token::Eq => word == "=",
        Token::LBracket => word == "[",
        Token::RBracket => word == "]",
        _ => false,
    }
}
