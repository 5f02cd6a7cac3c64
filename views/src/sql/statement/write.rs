//! The grammar of `INSERT`, `UPDATE`, `DELETE` and `COPY`. The first three are the SQL parser's, and what of them has no
//! meaning here is refused by name.

use datafusion::sql::sqlparser::ast::{
    Delete, FromTable, Ident, Insert, ObjectName, Statement as Ast, TableFactor, TableObject, TableWithJoins, Update,
};

use super::reader::Reader;
use crate::sql::error::{Position, SqlError};

/// `INSERT`, `UPDATE`, `DELETE` or `COPY`.
#[derive(Clone, Debug)]
pub struct Write {
    /// The folded name of the table.
    pub table: String,
    /// Where it stands.
    pub place: Position,
    /// What is done to the table.
    pub(in crate::sql) action: Action,
}

impl Write {
    /// The word that the statement begins with.
    pub fn verb(&self) -> &'static str {
        match self.action {
            Action::Insert(_) => "INSERT",
            Action::Update(_) => "UPDATE",
            Action::Delete(_) => "DELETE",
            Action::Copy(_) => "COPY",
        }
    }
}

/// What is done to a table.
#[derive(Clone, Debug)]
pub(in crate::sql) enum Action {
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Copy(Copy),
}

/// `COPY name [(columns)] FROM STDIN [[WITH] (option, …)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sql) struct Copy {
    /// The columns that are given, with their places; all of them if none is named.
    pub(in crate::sql) columns: Vec<(String, Position)>,
    /// Whether the lines are CSV, not tab-separated text.
    pub(in crate::sql) csv: bool,
    /// Whether the first line is passed over.
    pub(in crate::sql) header: bool,
    /// What stands between two fields.
    pub(in crate::sql) delimiter: char,
    /// What stands for NULL.
    pub(in crate::sql) null: String,
}

/// Reads an `INSERT`, `UPDATE` or `DELETE`.
pub(super) fn write(reader: &mut Reader<'_>) -> Result<Write, SqlError> {
    let start = reader.place();
    let ast = reader.dml()?;
    let action = match ast {
        Ast::Insert(insert) => Action::Insert(Box::new(insert)),
        Ast::Update(update) => Action::Update(Box::new(update)),
        Ast::Delete(delete) => Action::Delete(Box::new(delete)),
        _ => return Err(SqlError::unsupported("this form of the statement").at(start)),
    };
    let refuse = |what: &str, hint: &str| Err(SqlError::unsupported(what).at(start).hint(hint));
    let (name, returning) = match &action {
        Action::Insert(insert) => {
            let TableObject::TableName(name) = &insert.table else {
                return refuse("INSERT into what is no table", "name the table: INSERT INTO name …");
            };
            if insert.or.is_some() || insert.ignore || insert.replace_into || insert.overwrite {
                return refuse("this form of INSERT", "write INSERT INTO name … [ON CONFLICT …]");
            }
            (name, insert.returning.is_some())
        }
        Action::Update(update) => {
            if update.from.is_some() {
                return refuse("UPDATE … FROM", "use a subquery: SET a = (SELECT …) WHERE key IN (SELECT …)");
            }
            if update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some() {
                return refuse("this form of UPDATE", "write UPDATE name SET column = value, … [WHERE condition]");
            }
            (only_table(std::slice::from_ref(&update.table), "UPDATE", start)?, update.returning.is_some())
        }
        Action::Delete(delete) => {
            if delete.using.is_some() {
                return refuse("DELETE … USING", "use a subquery: WHERE key IN (SELECT …)");
            }
            if !delete.tables.is_empty() || !delete.order_by.is_empty() || delete.limit.is_some() {
                return refuse("this form of DELETE", "write DELETE FROM name [WHERE condition]");
            }
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            (only_table(from, "DELETE", start)?, delete.returning.is_some())
        }
        Action::Copy(_) => unreachable!("COPY is read by its own grammar"),
    };
    if returning {
        return refuse("RETURNING", "read the rows with a SELECT behind the statement");
    }
    let (table, place) = bare(name)?;
    Ok(Write { table, place, action })
}

/// The name of the one table of a statement.
fn only_table<'a>(from: &'a [TableWithJoins], verb: &str, start: Position) -> Result<&'a ObjectName, SqlError> {
    match from {
        [TableWithJoins { relation: TableFactor::Table { name, .. }, joins }] if joins.is_empty() => Ok(name),
        _ => Err(SqlError::unsupported(format!("{verb} of more than one table"))
            .at(start)
            .hint("name one table, and use subqueries for what is elsewhere")),
    }
}

/// A name without schema, folded, and where it stands.
pub(in crate::sql) fn bare(name: &ObjectName) -> Result<(String, Position), SqlError> {
    let part = name.0.first().and_then(|part| part.as_ident());
    match (part, name.0.len()) {
        (Some(ident), 1) => Ok((folded(ident), ident.span.start.into())),
        _ => {
            let error = SqlError::unsupported(format!("the qualified name \"{name}\""))
                .hint("there are no schemas: use the name alone");
            Err(part.map_or(error.clone(), |ident| error.at(ident.span.start)))
        }
    }
}

/// A name as it is meant: in lower case unless it is in quotes.
pub(in crate::sql) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Reads what follows `COPY`, which stands at `start`.
pub(super) fn copy(reader: &mut Reader<'_>, start: Position) -> Result<Write, SqlError> {
    if reader.at("(") {
        return Err(SqlError::unsupported("COPY of a query").at(start).hint("write the SELECT, with -o csv"));
    }
    let place = reader.place();
    let table = reader.name()?;
    let mut columns = Vec::new();
    if reader.accept("(") {
        loop {
            let place = reader.place();
            columns.push((reader.name()?, place));
            if !reader.accept(",") {
                break;
            }
        }
        reader.expect(")")?;
    }
    if reader.at("TO") {
        return Err(SqlError::unsupported("COPY … TO").at(reader.place()).hint("write a SELECT, with -o csv"));
    }
    reader.expect("FROM")?;
    if !reader.accept("STDIN") {
        return Err(SqlError::unsupported("COPY from a file of the server or a program")
            .at(reader.place())
            .hint("write COPY name FROM STDIN, and the lines behind the statement up to a line \\."));
    }
    let copy = options(reader, columns)?;
    Ok(Write { table, place, action: Action::Copy(copy) })
}

/// Reads `[WITH] (FORMAT csv | text, HEADER [true | false], DELIMITER 'c', NULL 's')`, or the older `[WITH] CSV [HEADER]`.
fn options(reader: &mut Reader<'_>, columns: Vec<(String, Position)>) -> Result<Copy, SqlError> {
    let (mut csv, mut header, mut delimiter, mut null) = (false, false, None, None);
    let with = reader.accept("WITH");
    if reader.accept("(") {
        loop {
            let place = reader.place();
            match reader.name()?.as_str() {
                "format" => csv = format(reader)?,
                "header" => {
                    header = !reader.accept("FALSE");
                    // The word may be left out.
                    reader.accept("TRUE");
                }
                "delimiter" => delimiter = Some(delimiter_value(reader)?),
                "null" => null = Some(reader.string("a text in single quotes")?),
                other => {
                    return Err(SqlError::unsupported(format!("the option \"{other}\" of COPY"))
                        .at(place)
                        .hint("the options are FORMAT csv | text, HEADER, DELIMITER 'c' and NULL 'text'"));
                }
            }
            if !reader.accept(",") {
                break;
            }
        }
        reader.expect(")")?;
    } else if reader.accept("CSV") {
        csv = true;
        header = reader.accept("HEADER");
    } else if with {
        return Err(reader.unexpected("(FORMAT csv | text, …)"));
    }
    let delimiter = delimiter.unwrap_or(if csv { ',' } else { '\t' });
    let null = null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
    Ok(Copy { columns, csv, header, delimiter, null })
}

fn format(reader: &mut Reader<'_>) -> Result<bool, SqlError> {
    let place = reader.place();
    let name = if reader.at_string() { reader.string("csv or text")? } else { reader.name()? };
    match name.to_ascii_lowercase().as_str() {
        "csv" => Ok(true),
        "text" => Ok(false),
        other => Err(SqlError::unsupported(format!("COPY with FORMAT {other}"))
            .at(place)
            .hint("the formats are csv and text")),
    }
}

fn delimiter_value(reader: &mut Reader<'_>) -> Result<char, SqlError> {
    let place = reader.place();
    let value = reader.string("a character in single quotes")?;
    let mut chars = value.chars();
    match (if value == "\\t" { Some('\t') } else { chars.next() }, chars.next()) {
        (Some('\t'), _) => Ok('\t'),
        (Some(char), None) if char.is_ascii() && !matches!(char, '"' | '\\' | '\n' | '\r') => Ok(char),
        _ => Err(SqlError::invalid(format!("'{}' cannot be a delimiter", value.escape_default()))
            .at(place)
            .hint("it is one ASCII character, neither a quote, a backslash nor a line end")),
    }
}
