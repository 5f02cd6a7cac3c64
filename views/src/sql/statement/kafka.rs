//! The grammar of `FROM KAFKA` and of `INCLUDE`.

use std::num::NonZeroU32;

use arrow::datatypes::Field;
use headwater_connectors::source::{Included, KafkaOptions, KafkaStart};

use super::alter;
use super::reader::Reader;
use crate::sql::error::{Position, SqlError};

/// Reads what follows `FROM KAFKA`, which stands at `place`.
pub(super) fn options(
    reader: &mut Reader<'_>,
    place: Position,
    limit: &mut Option<NonZeroU32>,
) -> Result<KafkaOptions, SqlError> {
    let (mut brokers, mut topic, mut start, mut record_bytes_max) = (None, None, None, None);
    let mut properties: Vec<(String, String)> = Vec::new();
    reader.expect("(")?;
    loop {
        let option_place = reader.place();
        let (option, repeated) = if reader.at_string() {
            let (name, value) = property(reader)?;
            let repeated = properties.iter().any(|(other, _)| *other == name);
            properties.push((name.clone(), value));
            (name, repeated)
        } else {
            let option = reader.name()?;
            let repeated = match option.as_str() {
                "start" => start.replace(start_of(reader)?).is_some(),
                "brokers" => brokers.replace(text(reader, "addresses in single quotes")?).is_some(),
                "topic" => topic.replace(text(reader, "a topic in single quotes")?).is_some(),
                "max_rows_per_second" => {
                    reader.accept("=");
                    limit.replace(alter::rows_per_second(reader)?).is_some()
                }
                "max_record_bytes" => record_bytes_max.replace(record_bytes(reader)?).is_some(),
                other => {
                    return Err(SqlError::invalid(format!("unknown option \"{other}\" of FROM KAFKA"))
                        .at(option_place)
                        .hint(
                            "the options are BROKERS, TOPIC, START OFFSET, START TIMESTAMP, MAX_RECORD_BYTES and \
                             MAX_ROWS_PER_SECOND; a property of the client library stands in quotes: 'fetch.min.bytes' '1000'",
                        ));
                }
            };
            (option, repeated)
        };
        if repeated {
            return Err(SqlError::invalid(format!("option \"{option}\" is given twice")).at(option_place));
        }
        if !reader.accept(",") {
            break;
        }
    }
    reader.expect(")")?;
    let missing = |name: &str| {
        SqlError::invalid(format!("option {name} is missing"))
            .at(place)
            .hint("write FROM KAFKA (BROKERS 'host:9092', TOPIC 'orders')")
    };
    Ok(KafkaOptions {
        brokers: brokers.ok_or_else(|| missing("BROKERS"))?,
        topic: topic.ok_or_else(|| missing("TOPIC"))?,
        start: start.unwrap_or_default(),
        record_bytes_max: record_bytes_max.unwrap_or(KafkaOptions::RECORD_BYTES_MAX),
        properties,
        included: Vec::new(),
    })
}

/// Reads a string that is not empty.
fn text(reader: &mut Reader<'_>, what: &str) -> Result<String, SqlError> {
    reader.accept("=");
    let place = reader.place();
    let text = reader.string(what)?;
    if text.trim().is_empty() { Err(SqlError::invalid("the text is empty").at(place)) } else { Ok(text) }
}

/// Reads a property of the client library and its value.
fn property(reader: &mut Reader<'_>) -> Result<(String, String), SqlError> {
    let place = reader.place();
    let name = reader.string("a property in single quotes")?;
    reader.accept("=");
    let value = reader.string("a value in single quotes")?;
    match KafkaOptions::refused_property(&name, &value) {
        Some(reason) => Err(SqlError::unsupported(format!("the property {name}")).at(place).hint(reason)),
        None => Ok((name, value)),
    }
}

/// Reads what follows `START`.
fn start_of(reader: &mut Reader<'_>) -> Result<KafkaStart, SqlError> {
    if reader.accept("TIMESTAMP") {
        reader.accept("=");
        let place = reader.place();
        let text = reader.string("a timestamp in single quotes")?;
        return KafkaStart::at(&text).ok_or_else(|| {
            SqlError::invalid(format!("'{text}' is not a timestamp")).at(place).hint("write '2026-01-31 08:00:00+00'")
        });
    }
    if !reader.accept("OFFSET") {
        return Err(reader.unexpected("OFFSET or TIMESTAMP"));
    }
    reader.accept("=");
    if reader.accept("EARLIEST") {
        Ok(KafkaStart::Earliest)
    } else if reader.accept("LATEST") {
        Ok(KafkaStart::Latest)
    } else if let Some(offset) = reader.accept_number() {
        Ok(KafkaStart::Offset(offset))
    } else {
        Err(reader.unexpected("EARLIEST, LATEST or an offset"))
    }
}

/// The longest record that the log takes in one piece.
const RECORD_BYTES_LIMIT: usize = 64 << 20;

fn record_bytes(reader: &mut Reader<'_>) -> Result<usize, SqlError> {
    reader.accept("=");
    let place = reader.place();
    let bytes = reader.accept_number().ok_or_else(|| reader.unexpected("a number of bytes"))?;
    match usize::try_from(bytes) {
        Ok(bytes) if (1..=RECORD_BYTES_LIMIT).contains(&bytes) => Ok(bytes),
        _ => Err(SqlError::invalid(format!("{bytes} cannot be the longest record"))
            .at(place)
            .hint(format!("it is 1 to {RECORD_BYTES_LIMIT} bytes"))),
    }
}

/// Reads any number of `INCLUDE what [AS name], …`, and adds what is included to the columns.
pub(super) fn include(
    reader: &mut Reader<'_>,
    fields: &mut Vec<Field>,
    included: &mut Vec<Included>,
) -> Result<(), SqlError> {
    while reader.accept("INCLUDE") {
        loop {
            let place = reader.place();
            let what = Included::ALL.into_iter().find(|what| reader.accept(what.default_name()));
            let what = what.ok_or_else(|| reader.unexpected("KEY, PARTITION, OFFSET, TIMESTAMP or HEADERS"))?;
            if included.contains(&what) {
                return Err(SqlError::invalid(format!("\"{}\" is included twice", what.default_name())).at(place));
            }
            let named = reader.accept("AS");
            let name = if named { reader.new_name()? } else { what.default_name().to_owned() };
            if fields.iter().any(|field| *field.name() == name) {
                return Err(SqlError::invalid(format!("column \"{name}\" is declared twice"))
                    .at(place)
                    .hint("give it another name: INCLUDE … AS name"));
            }
            fields.push(what.field(&name));
            included.push(what);
            if !reader.accept(",") {
                break;
            }
        }
    }
    Ok(())
}
