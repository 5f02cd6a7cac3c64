//! The grammar of `CREATE TABLE`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::CreateTable;
use super::key::Key;
use super::reader::Reader;
use super::source::column_type;
use crate::sql::error::{Position, SqlError};
use crate::sql::write::check_default;

/// Reads what follows `CREATE TABLE`.
pub(super) fn create_table(reader: &mut Reader<'_>) -> Result<CreateTable, SqlError> {
    let if_not_exists = reader.accept_all(&["IF", "NOT", "EXISTS"]);
    let name = reader.new_name()?;
    if reader.at("AS") {
        return Err(SqlError::unsupported("CREATE TABLE AS")
            .at(reader.place())
            .hint("create the table with its columns, then INSERT INTO it SELECT …; or create a materialized view"));
    }
    reader.expect("(")?;
    let (mut fields, mut defaults, mut key): (Vec<Field>, Vec<Option<String>>, Option<Key>) = Default::default();
    loop {
        let place = reader.place();
        for word in ["UNIQUE", "FOREIGN", "CHECK", "EXCLUDE", "LIKE"] {
            if reader.at(word) {
                return Err(constraint(word, place));
            }
        }
        if reader.accept("CONSTRAINT") {
            // The key has one name, whatever it is called here.
            reader.name()?;
            if !reader.at("PRIMARY") {
                return Err(constraint("CONSTRAINT", place));
            }
        }
        if let Some(declared) = Key::table(reader)? {
            Key::declare(&mut key, declared)?;
        } else {
            let name = reader.new_name()?;
            if fields.iter().any(|field| *field.name() == name) {
                return Err(SqlError::invalid(format!("column \"{name}\" is declared twice")).at(place));
            }
            let data_type = column_type(reader)?;
            let (nullable, default) = constraints(reader, &name, &data_type, &mut key)?;
            fields.push(Field::new(name, data_type, nullable));
            defaults.push(default);
        }
        if !reader.accept(",") {
            break;
        }
    }
    let place = reader.place();
    reader.expect(")")?;
    if fields.is_empty() {
        return Err(SqlError::invalid("the table has no columns").at(place));
    }
    for word in ["WITH", "FROM", "PARTITION", "INHERITS", "TABLESPACE", "AS"] {
        if reader.at(word) {
            return Err(SqlError::unsupported(format!("{word} on a table")).at(reader.place()).hint("leave it out"));
        }
    }
    let key = key.map(|key| key.find(&mut fields)).transpose()?.unwrap_or_default();
    Ok(CreateTable { name, if_not_exists, schema: Arc::new(Schema::new(fields)), key, defaults })
}

/// Reads `[NOT NULL | NULL] [PRIMARY KEY] [DEFAULT literal]` of the column `name`, in any order, and refuses every other
/// constraint. Whether the column may be NULL, and its default.
fn constraints(
    reader: &mut Reader<'_>,
    name: &str,
    data_type: &DataType,
    key: &mut Option<Key>,
) -> Result<(bool, Option<String>), SqlError> {
    let (mut nullable, mut default) = (true, None);
    loop {
        let place = reader.place();
        if reader.accept_all(&["NOT", "NULL"]) {
            nullable = false;
        } else if reader.accept_all(&["PRIMARY", "KEY"]) {
            Key::declare(key, Key::column(name, place))?;
        } else if reader.accept("DEFAULT") {
            let place = reader.place();
            let text = reader.default_value()?;
            check_default(&text, name, data_type).map_err(|error| error.at(place))?;
            if default.replace(text).is_some() {
                return Err(SqlError::invalid(format!("column \"{name}\" has two defaults")).at(place));
            }
        } else if !reader.accept("NULL") {
            break;
        }
    }
    let place = reader.place();
    for word in ["UNIQUE", "REFERENCES", "CONSTRAINT", "CHECK", "GENERATED", "COLLATE"] {
        if reader.at(word) {
            return Err(constraint(word, place));
        }
    }
    Ok((nullable, default))
}

fn constraint(word: &str, place: Position) -> SqlError {
    SqlError::unsupported(format!("{word} on a table"))
        .at(place)
        .hint("the constraints are NOT NULL, PRIMARY KEY and DEFAULT; count what breaks others in a view")
}
