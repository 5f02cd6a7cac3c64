//! The grammar of `CREATE INDEX`.

use super::CreateIndex;
use super::reader::Reader;
use crate::sql::error::{Position, SqlError};

/// Reads what follows `CREATE INDEX`.
pub(super) fn create_index(reader: &mut Reader<'_>) -> Result<CreateIndex, SqlError> {
    if reader.at("CONCURRENTLY") {
        return Err(refused("CREATE INDEX CONCURRENTLY", reader.place())
            .hint("leave the word out: reads and writes always go on while an index is built"));
    }
    let if_not_exists = reader.accept_all(&["IF", "NOT", "EXISTS"]);
    let given = if reader.at("ON") { None } else { Some(reader.new_name()?) };
    reader.expect("ON")?;
    if reader.at("ONLY") {
        return Err(refused("ON ONLY", reader.place()).hint("leave the word out: there are no partitions"));
    }
    let place = reader.place();
    let of = reader.name()?;
    if reader.accept("USING") {
        let place = reader.place();
        let method = reader.name()?;
        if method != "btree" {
            return Err(refused(&format!("an index USING {method}"), place)
                .hint("leave it out: rows are kept in the order of the index's columns and found by their values"));
        }
    }
    reader.expect("(")?;
    let mut columns: Vec<(String, Position)> = Vec::new();
    loop {
        let column = column(reader)?;
        if columns.iter().any(|(other, _)| *other == column.0) {
            return Err(SqlError::invalid(format!("column \"{}\" stands twice in the index", column.0)).at(column.1));
        }
        columns.push(column);
        if !reader.accept(",") {
            break;
        }
    }
    reader.expect(")")?;
    behind(reader)?;
    let name = given.unwrap_or_else(|| default_name(&of, &columns));
    Ok(CreateIndex { name, if_not_exists, of, place, columns })
}

/// What Postgres calls an index that is given no name.
fn default_name(of: &str, columns: &[(String, Position)]) -> String {
    let columns: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    format!("{of}_{}_idx", columns.join("_"))
}

fn column(reader: &mut Reader<'_>) -> Result<(String, Position), SqlError> {
    let place = reader.place();
    let expression = || {
        refused("an expression in an index", place).hint(
            "index a column; for an expression create a materialized view that has it as a column, and index that",
        )
    };
    if reader.at("(") {
        return Err(expression());
    }
    let name = reader.name()?;
    if reader.at("(") {
        return Err(expression());
    }
    for word in ["ASC", "DESC", "NULLS"] {
        if reader.at(word) {
            return Err(refused(&format!("{word} in an index"), reader.place())
                .hint("leave it out: an index finds rows by the values of its columns, it does not order answers"));
        }
    }
    if !reader.at(",") && !reader.at(")") {
        return Err(refused(&format!("{} behind a column of an index", reader.shown()), reader.place())
            .hint("write the columns' names only, separated by commas"));
    }
    Ok((name, place))
}

/// Refuses what may stand behind the columns elsewhere.
fn behind(reader: &Reader<'_>) -> Result<(), SqlError> {
    let known = [
        ("WHERE", "create a materialized view with the condition, and index that"),
        ("INCLUDE", "leave it out: an index has all columns"),
        ("NULLS", "leave it out: an index does not make its columns unique"),
        ("WITH", "an index has no options: leave it out"),
        ("TABLESPACE", "leave it out"),
    ];
    match known.into_iter().find(|(word, _)| reader.at(word)) {
        Some((word, hint)) => Err(refused(&format!("{word} of an index"), reader.place()).hint(hint)),
        None => Ok(()),
    }
}

fn refused(what: &str, place: Position) -> SqlError {
    SqlError::unsupported(what).at(place)
}
