//! The grammar of keys and envelopes, and which of them go together.

use arrow::datatypes::{DataType, Field};
use headwater_connectors::source::{Connector, Envelope, Format};

use super::Order;
use super::reader::Reader;
use crate::sql::error::{Position, SqlError};

/// A declared PRIMARY KEY.
#[derive(Debug)]
pub(super) struct Key {
    /// Its columns and their places.
    columns: Vec<(String, Position)>,
    /// Where it is declared.
    place: Position,
}

/// What stands behind ENVELOPE.
#[derive(Debug)]
pub(super) enum Declared {
    None,
    Upsert { place: Position, order: Option<Order> },
    Debezium { place: Position },
}

impl Key {
    /// The key that the column `name`, declared at `place`, is by itself.
    pub(super) fn column(name: &str, place: Position) -> Key {
        Key { columns: vec![(name.to_owned(), place)], place }
    }

    /// Reads `PRIMARY KEY (column, …)` if it is next.
    pub(super) fn table(reader: &mut Reader<'_>) -> Result<Option<Key>, SqlError> {
        let place = reader.place();
        if !reader.accept("PRIMARY") {
            return Ok(None);
        }
        reader.expect("KEY")?;
        reader.expect("(")?;
        let mut columns: Vec<(String, Position)> = Vec::new();
        loop {
            let place = reader.place();
            let name = reader.name()?;
            if columns.iter().any(|(other, _)| *other == name) {
                return Err(SqlError::invalid(format!("column \"{name}\" stands twice in the key")).at(place));
            }
            columns.push((name, place));
            if !reader.accept(",") {
                break;
            }
        }
        reader.expect(")")?;
        Ok(Some(Key { columns, place }))
    }

    /// Takes `key` as the only key.
    pub(super) fn declare(declared: &mut Option<Key>, key: Key) -> Result<(), SqlError> {
        let place = key.place;
        match declared.replace(key) {
            None => Ok(()),
            Some(_) => Err(SqlError::invalid("a second PRIMARY KEY")
                .at(place)
                .hint("a key of several columns is PRIMARY KEY (a, b) behind the columns")),
        }
    }

    /// The positions of the key's columns among `fields`, which become NOT NULL.
    pub(super) fn find(self, fields: &mut [Field]) -> Result<Vec<usize>, SqlError> {
        let mut found = Vec::with_capacity(self.columns.len());
        for (name, place) in self.columns {
            let index = column(fields, &name, place)?;
            let data_type = fields[index].data_type();
            if data_type.is_nested() || matches!(data_type, DataType::Interval(_)) {
                return Err(SqlError::unsupported(format!("the type of column \"{name}\" in a key"))
                    .at(place)
                    .hint("a key consists of numbers, texts, booleans, dates and timestamps"));
            }
            fields[index].set_nullable(false);
            found.push(index);
        }
        Ok(found)
    }
}

fn column(fields: &[Field], name: &str, place: Position) -> Result<usize, SqlError> {
    fields.iter().position(|field| *field.name() == name).ok_or_else(|| {
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        SqlError::invalid(format!("there is no column \"{name}\""))
            .at(place)
            .hint(format!("the columns are {}", names.join(", ")))
    })
}

/// Reads `[ENVELOPE NONE | UPSERT [(ORDER BY expression)] | DEBEZIUM]`.
pub(super) fn declared(reader: &mut Reader<'_>) -> Result<Declared, SqlError> {
    if !reader.accept("ENVELOPE") || reader.accept("NONE") {
        return Ok(Declared::None);
    }
    let place = reader.place();
    if reader.accept("UPSERT") {
        let order = if reader.accept("(") { Some(order(reader)?) } else { None };
        return Ok(Declared::Upsert { place, order });
    }
    if reader.accept("DEBEZIUM") {
        if reader.at("(") {
            return Err(SqlError::unsupported("options of ENVELOPE DEBEZIUM")
                .at(reader.place())
                .hint("leave them out: the changes of a row stand in one partition, in their order"));
        }
        return Ok(Declared::Debezium { place });
    }
    Err(reader.unexpected("NONE, UPSERT or DEBEZIUM"))
}

/// Reads what follows `UPSERT (`.
fn order(reader: &mut Reader<'_>) -> Result<Order, SqlError> {
    reader.expect("ORDER")?;
    reader.expect("BY")?;
    let position = reader.place();
    let text = reader.expression()?;
    if !reader.accept("ASC") && (reader.at("DESC") || reader.at("NULLS")) {
        return Err(SqlError::unsupported(format!("{} in an envelope", reader.shown().trim_matches('"')))
            .at(reader.place())
            .hint("the greatest value makes a record the last of its key, and NULL is the least: leave it out"));
    }
    if reader.at(",") {
        return Err(SqlError::unsupported("an order by several expressions in an envelope")
            .at(reader.place())
            .hint("write one: equal values are told apart by their order of arrival"));
    }
    reader.expect(")")?;
    Ok(Order { text, position })
}

/// The envelope of a source with the columns `fields`, and how the last record of a key is told. The key's columns become
/// NOT NULL.
pub(super) fn envelope(
    said: Declared,
    key: Option<Key>,
    fields: &mut [Field],
    (connector, format): (&Connector, Format),
) -> Result<(Envelope, Option<Order>), SqlError> {
    match (said, key) {
        (Declared::None, None) => Ok((Envelope::None, None)),
        (Declared::None, Some(key)) => {
            Err(SqlError::unsupported("PRIMARY KEY on a source whose rows are only appended").at(key.place).hint(
                "add ENVELOPE UPSERT behind the format, which keeps the last row of each key, or leave the key out",
            ))
        }
        (Declared::Upsert { place, .. }, None) => Err(without_key("UPSERT", place)),
        (Declared::Debezium { place }, None) => Err(without_key("DEBEZIUM", place)),
        (Declared::Upsert { order, .. }, Some(key)) => Ok((Envelope::Upsert { key: key.find(fields)? }, order)),
        (Declared::Debezium { place }, Some(key)) => {
            if !matches!((connector, format), (Connector::Kafka(_), Format::Json)) {
                return Err(SqlError::unsupported("ENVELOPE DEBEZIUM on what is no topic in JSON")
                    .at(place)
                    .hint("write FROM KAFKA (…) FORMAT JSON ENVELOPE DEBEZIUM"));
            }
            Ok((Envelope::Debezium { key: key.find(fields)? }, None))
        }
    }
}

fn without_key(envelope: &str, place: Position) -> SqlError {
    SqlError::invalid(format!("ENVELOPE {envelope} without a PRIMARY KEY"))
        .at(place)
        .hint("declare the key: product_id BIGINT PRIMARY KEY, or PRIMARY KEY (a, b) behind the columns")
}
