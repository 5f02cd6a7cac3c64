//! The grammar of `CREATE SOURCE`.

use std::num::NonZeroU32;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use headwater_connectors::source::{Compression, Connector, FileOptions, Format};

use super::key::{self, Key};
use super::reader::Reader;
use super::{CreateSource, alter, kafka};
use crate::sql::error::{Position, SqlError};
use crate::sql::session::types::{Place, arrow_type};

/// Reads what follows `CREATE SOURCE`.
pub(super) fn create_source(reader: &mut Reader<'_>) -> Result<CreateSource, SqlError> {
    let if_not_exists = reader.accept_all(&["IF", "NOT", "EXISTS"]);
    let name = reader.new_name()?;
    let Columns { mut fields, key, nested } = columns(reader)?;
    let declared = fields.len();
    reader.expect("FROM")?;
    let mut rows_per_second_max = None;
    let mut connector = connector(reader, &mut rows_per_second_max)?;
    reader.expect("FORMAT")?;
    let format = format(reader)?;
    if let (Format::Csv { .. }, Some((column, place))) = (&format, nested) {
        return Err(SqlError::unsupported(format!("the nested type of column \"{column}\" in CSV"))
            .at(place)
            .hint("declare it as TEXT and read JSON in it with -> and ->>"));
    }
    let envelope = if let Connector::Kafka(options) = &mut connector {
        kafka::include(reader, &mut fields, &mut options.included)?;
        let envelope = key::declared(reader)?;
        kafka::include(reader, &mut fields, &mut options.included)?;
        envelope
    } else {
        let envelope = key::declared(reader)?;
        if reader.at("INCLUDE") {
            return Err(SqlError::unsupported("INCLUDE on a source of files")
                .at(reader.place())
                .hint("keys, partitions and offsets are Kafka's: leave it out"));
        }
        envelope
    };
    for word in ["WATERMARK", "RETAIN", "WITH"] {
        if reader.at(word) {
            return Err(SqlError::unsupported(format!("{word} on a source")).at(reader.place()).hint("leave it out"));
        }
    }
    let (envelope, order) = key::envelope(envelope, key, &mut fields[..declared], (&connector, format))?;
    Ok(CreateSource {
        name,
        if_not_exists,
        schema: Arc::new(Schema::new(fields)),
        connector,
        format,
        envelope,
        order,
        rows_per_second_max,
    })
}

/// The declared columns.
struct Columns {
    fields: Vec<Field>,
    key: Option<Key>,
    /// The first column of a nested type.
    nested: Option<Named>,
}

/// A column and the place of its type.
type Named = (String, Position);

/// Reads `(name type [NOT NULL] [PRIMARY KEY], …, [PRIMARY KEY (name, …)])`.
fn columns(reader: &mut Reader<'_>) -> Result<Columns, SqlError> {
    reader.expect("(")?;
    let mut fields: Vec<Field> = Vec::new();
    let (mut key, mut nested) = (None, None);
    loop {
        let place = reader.place();
        for word in ["UNIQUE", "FOREIGN", "CONSTRAINT", "CHECK", "WATERMARK"] {
            if reader.at(word) {
                return Err(constraint(word, place));
            }
        }
        if let Some(table) = Key::table(reader)? {
            Key::declare(&mut key, table)?;
        } else {
            let name = reader.new_name()?;
            if fields.iter().any(|field| *field.name() == name) {
                return Err(SqlError::invalid(format!("column \"{name}\" is declared twice")).at(place));
            }
            let type_place = reader.place();
            let data_type = column_type(reader)?;
            if data_type.is_nested() && nested.is_none() {
                nested = Some((name.clone(), type_place));
            }
            let nullable = constraints(reader, &name, &mut key)?;
            fields.push(Field::new(name, data_type, nullable));
        }
        if !reader.accept(",") {
            break;
        }
    }
    let place = reader.place();
    reader.expect(")")?;
    if fields.is_empty() {
        return Err(SqlError::invalid("the source has no columns").at(place));
    }
    Ok(Columns { fields, key, nested })
}

/// Reads `[NOT NULL | NULL] [PRIMARY KEY]` of the column `name`, in any order, and refuses every other constraint. Whether
/// the column may be NULL.
fn constraints(reader: &mut Reader<'_>, name: &str, key: &mut Option<Key>) -> Result<bool, SqlError> {
    let mut nullable = true;
    loop {
        let place = reader.place();
        if reader.accept_all(&["NOT", "NULL"]) {
            nullable = false;
        } else if reader.accept_all(&["PRIMARY", "KEY"]) {
            Key::declare(key, Key::column(name, place))?;
        } else if !reader.accept("NULL") {
            break;
        }
    }
    let place = reader.place();
    for word in ["UNIQUE", "REFERENCES", "CONSTRAINT", "CHECK", "DEFAULT", "GENERATED", "COLLATE"] {
        if reader.at(word) {
            return Err(constraint(word, place));
        }
    }
    Ok(nullable)
}

fn constraint(word: &str, place: Position) -> SqlError {
    let error = |what: &str| SqlError::unsupported(format!("{what} on a source")).at(place);
    match word {
        "WATERMARK" => error("WATERMARK").hint("leave it out"),
        other => error(other).hint("the only constraints are NOT NULL and PRIMARY KEY; check the rest in a view"),
    }
}

/// Reads a type: `STRUCT<name type [NOT NULL], …>`, one that the SQL parser knows, either with `[]` behind it.
pub(super) fn column_type(reader: &mut Reader<'_>) -> Result<DataType, SqlError> {
    let place = reader.place();
    if !reader.accept("STRUCT") {
        let sql_type = reader.sql_type()?;
        return arrow_type(&sql_type, Place::Column)
            .map_err(|refusal| SqlError::unsupported(refusal.message).at(place).hint(refusal.hint));
    }
    let mut pending = 0;
    let data_type = struct_type(reader, &mut pending)?;
    if pending > 0 {
        return Err(SqlError::invalid("one > too many after STRUCT").at(reader.place()));
    }
    Ok(data_type)
}

/// Reads what follows `STRUCT`. `>>` is one token that closes two: the other is left in `pending`.
fn struct_type(reader: &mut Reader<'_>, pending: &mut usize) -> Result<DataType, SqlError> {
    reader.expect("<")?;
    let mut fields: Vec<Field> = Vec::new();
    loop {
        let place = reader.place();
        let name = reader.name()?;
        if fields.iter().any(|field| *field.name() == name) {
            return Err(SqlError::invalid(format!("field \"{name}\" is declared twice")).at(place));
        }
        let data_type = if reader.accept("STRUCT") { struct_type(reader, pending)? } else { column_type(reader)? };
        let nullable = !reader.accept_all(&["NOT", "NULL"]);
        fields.push(Field::new(name, data_type, nullable));
        if *pending > 0 || !reader.accept(",") {
            break;
        }
    }
    if *pending == 0 {
        *pending = reader.closing_angles()?;
    }
    *pending -= 1;
    let mut data_type = DataType::Struct(Fields::from(fields));
    while *pending == 0 && reader.accept_all(&["[", "]"]) {
        data_type = DataType::List(Arc::new(Field::new_list_field(data_type, true)));
    }
    Ok(data_type)
}

/// Reads what follows `FROM`; the limit that every connector takes goes to `limit`.
fn connector(reader: &mut Reader<'_>, limit: &mut Option<NonZeroU32>) -> Result<Connector, SqlError> {
    let place = reader.place();
    if reader.accept("KAFKA") {
        return kafka::options(reader, place, limit).map(Connector::Kafka);
    }
    if !reader.accept("FILE") {
        for word in ["POSTGRES", "MYSQL", "GENERATOR", "LOAD", "WEBHOOK", "S3", "CHANGES"] {
            if reader.at(word) {
                return Err(SqlError::unsupported(format!("FROM {word}"))
                    .at(place)
                    .hint("sources read files, FROM FILE (PATH 'orders.csv'), and topics, FROM KAFKA (BROKERS '…', TOPIC '…')"));
            }
        }
        return Err(reader.unexpected("FILE or KAFKA"));
    }
    let (mut path, mut follow, mut compression) = (None, None, None);
    reader.expect("(")?;
    loop {
        let option_place = reader.place();
        let option = reader.name()?;
        reader.accept("=");
        let value_place = reader.place();
        let repeated = match option.as_str() {
            "path" => path.replace(path_value(reader)?).is_some(),
            "follow" => follow.replace(boolean(reader)?).is_some(),
            "compression" => {
                let value = reader.string("'auto', 'none', 'gzip' or 'zstd'")?;
                compression.replace(compression_of(&value, value_place)?).is_some()
            }
            "max_rows_per_second" => limit.replace(alter::rows_per_second(reader)?).is_some(),
            other => {
                return Err(SqlError::invalid(format!("unknown option \"{other}\" of FROM FILE"))
                    .at(option_place)
                    .hint("the options are PATH, FOLLOW, COMPRESSION and MAX_ROWS_PER_SECOND"));
            }
        };
        if repeated {
            return Err(SqlError::invalid(format!("option \"{option}\" is given twice")).at(option_place));
        }
        if !reader.accept(",") {
            break;
        }
    }
    reader.expect(")")?;
    let path = path.ok_or_else(|| {
        SqlError::invalid("option PATH is missing")
            .at(place)
            .hint("name one file or a glob: FROM FILE (PATH 'orders/*.csv')")
    })?;
    Ok(Connector::File(FileOptions {
        path,
        follow: follow.unwrap_or(false),
        compression: compression.unwrap_or(Compression::Auto),
    }))
}

fn path_value(reader: &mut Reader<'_>) -> Result<String, SqlError> {
    let place = reader.place();
    let path = reader.string("a path in single quotes")?;
    if path.is_empty() {
        return Err(SqlError::invalid("the path is empty").at(place));
    }
    Ok(path)
}

fn boolean(reader: &mut Reader<'_>) -> Result<bool, SqlError> {
    if reader.accept("TRUE") {
        Ok(true)
    } else if reader.accept("FALSE") {
        Ok(false)
    } else {
        Err(reader.unexpected("true or false"))
    }
}

fn compression_of(value: &str, place: Position) -> Result<Compression, SqlError> {
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(Compression::Auto),
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(SqlError::invalid(format!("unknown compression '{value}'"))
            .at(place)
            .hint("it is 'auto' (by the file's name), 'none', 'gzip' or 'zstd'")),
    }
}

fn format(reader: &mut Reader<'_>) -> Result<Format, SqlError> {
    let place = reader.place();
    if reader.accept("CSV") {
        return csv(reader);
    }
    if reader.accept("JSON") {
        if reader.at("(") {
            return Err(SqlError::invalid("FORMAT JSON has no options").at(reader.place()));
        }
        return Ok(Format::Json);
    }
    for word in ["AVRO", "PROTOBUF", "PARQUET", "TEXT", "BYTES", "NDJSON", "JSONL"] {
        if reader.at(word) {
            return Err(SqlError::unsupported(format!("FORMAT {word}"))
                .at(place)
                .hint("the formats are CSV (with a header line) and JSON (one object a line)"));
        }
    }
    Err(reader.unexpected("CSV or JSON"))
}

fn csv(reader: &mut Reader<'_>) -> Result<Format, SqlError> {
    let mut delimiter = None;
    if reader.accept("(") {
        loop {
            let option_place = reader.place();
            let option = reader.name()?;
            if option != "delimiter" {
                return Err(SqlError::invalid(format!("unknown option \"{option}\" of FORMAT CSV"))
                    .at(option_place)
                    .hint("the only option is DELIMITER; the first line of a file is always the header"));
            }
            reader.accept("=");
            if delimiter.replace(delimiter_value(reader)?).is_some() {
                return Err(SqlError::invalid("option \"delimiter\" is given twice").at(option_place));
            }
            if !reader.accept(",") {
                break;
            }
        }
        reader.expect(")")?;
    }
    if reader.at("WITH") {
        return Err(SqlError::unsupported("WITH after FORMAT CSV")
            .at(reader.place())
            .hint("the first line of a file is always the header: leave it out"));
    }
    Ok(Format::Csv { delimiter: delimiter.unwrap_or(b',') })
}

fn delimiter_value(reader: &mut Reader<'_>) -> Result<u8, SqlError> {
    let place = reader.place();
    let value = reader.string("a character in single quotes")?;
    let value = if value == "\\t" { "\t".to_owned() } else { value };
    match value.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err(SqlError::invalid(format!("'{}' cannot be a delimiter", value.escape_default()))
            .at(place)
            .hint("it is one ASCII character, neither a quote nor a line end; a tab is '\\t'")),
    }
}
