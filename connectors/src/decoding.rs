//! Decoding without a source: what measurements and the fuzz targets call.
//!
//! The same code decodes for sources; nothing here is a way of its own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::decode::{BadRecord, Columns, Decoder, MessageDecoder, MessageView, Step, push_json};
use crate::source::{Envelope, Format, SourceError};

/// The longest record that [`Records`] takes, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// Decodes the values of a topic's records.
#[derive(Debug)]
pub struct Records {
    decoder: MessageDecoder,
    columns: Columns,
}

impl Records {
    /// A decoder into the columns of `schema`.
    ///
    /// # Errors
    /// A type or a delimiter that a source cannot have.
    pub fn new(schema: &SchemaRef, format: Format) -> Result<Records, SourceError> {
        let decoder = MessageDecoder::new(format, Envelope::None, schema.fields().len(), Vec::new(), BYTES_MAX)?;
        Ok(Records { decoder, columns: Columns::new(schema)? })
    }

    /// Decodes one value.
    ///
    /// # Errors
    /// It does not decode, for this reason; the columns keep nothing of it.
    pub fn push(&mut self, value: &[u8]) -> Result<(), String> {
        let message =
            MessageView { value: Some(value), key: None, partition: 0, offset: 0, timestamp_ms: None, headers: None };
        self.decoder.decode(&message, &mut self.columns).map_err(shown)
    }

    /// Takes the rows; there are none afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        self.columns.finish()
    }
}

/// A column of every type that a source can have; CSV has no nested ones.
pub fn schema_of_every_type(nested: bool) -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let mut fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("small", DataType::Int16, true),
        Field::new("n", DataType::Int32, true),
        Field::new("amount", DataType::Decimal128(12, 2), true),
        Field::new("price", DataType::Decimal128(38, 10), true),
        Field::new("r", DataType::Float32, true),
        Field::new("d", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", utc, true),
        Field::new("span", DataType::Interval(IntervalUnit::MonthDayNano), true),
    ];
    if nested {
        let inside = Fields::from(vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)]);
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        fields.push(Field::new("list", DataType::List(item), true));
        fields.push(Field::new("nested", DataType::Struct(inside), true));
    }
    Arc::new(Schema::new(fields))
}

/// What becomes of a text: a row, or a reason.
type Outcome = Result<RecordBatch, String>;

/// What the fast JSON parser with the general one behind it makes of a text, and what the general one alone does. The two
/// must be equal.
///
/// # Errors
/// A type that a source cannot have.
pub fn json_both_ways(text: &str, schema: &SchemaRef) -> Result<(Outcome, Outcome), SourceError> {
    let outcome = |fast: bool| -> Result<Outcome, SourceError> {
        let mut columns = Columns::new(schema)?;
        let pushed = push_json(text, fast, &mut columns);
        let batch = columns.finish();
        Ok(pushed.map(|()| batch).map_err(shown))
    };
    Ok((outcome(true)?, outcome(false)?))
}

/// Decodes a file that arrives in pieces of `piece` bytes, at least 1: its rows, and what is wrong with the others. However
/// it arrives, the answer must be the same.
///
/// # Errors
/// The header of the file, or a type or delimiter, is not one that a source can have.
pub fn file_in_pieces(
    data: &[u8],
    piece: usize,
    format: Format,
    schema: &SchemaRef,
) -> Result<(RecordBatch, Vec<String>), SourceError> {
    let mut decoder = Decoder::new(format)?;
    let (mut columns, mut wrong) = (Columns::new(schema)?, Vec::new());
    let (mut at, mut end) = (0, 0);
    let mut begun = false;
    loop {
        let whole = end == data.len();
        let input = &data[at..end];
        let found = if begun {
            match decoder.step(input, whole, &mut columns) {
                Step::Row(extent) | Step::Blank(extent) => Some(extent),
                Step::Bad(extent, bad) => {
                    wrong.push(shown(bad));
                    Some(extent)
                }
                Step::TooLong(_) => {
                    wrong.push("too long".to_owned());
                    return Ok((columns.finish(), wrong));
                }
                Step::Incomplete => None,
            }
        } else {
            let header = decoder.begin("data", input, whole, &columns)?;
            begun = header.is_some();
            header
        };
        match found {
            Some(extent) => at += extent.bytes,
            None if whole => return Ok((columns.finish(), wrong)),
            None => end = end.saturating_add(piece.max(1)).min(data.len()),
        }
    }
}

fn shown(bad: BadRecord) -> String {
    format!("{}: {}", bad.column.unwrap_or_default(), bad.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false), Field::new("t", DataType::Utf8, true)]))
    }

    #[test]
    fn values_files_and_texts_are_decoded_as_sources_do() {
        let mut records = Records::new(&schema(), Format::Json).unwrap();
        records.push(br#"{"n":1,"t":"x"}"#).unwrap();
        assert!(records.push(br#"{"n":"x"}"#).unwrap_err().starts_with("n: 'x' is not a value"));
        assert_eq!(records.finish().num_rows(), 1);

        let csv = Format::Csv { delimiter: b',' };
        let data = b"t,n\n\"a\nb\",1\nx,y\n\n,2";
        let whole = file_in_pieces(data, usize::MAX, csv, &schema()).unwrap();
        assert_eq!((whole.0.num_rows(), whole.1.len()), (2, 1));
        for piece in 1..data.len() {
            assert_eq!(file_in_pieces(data, piece, csv, &schema()).unwrap(), whole, "pieces of {piece}");
        }

        // Found by the fuzzer: whether the first line is a record of its own shows only behind what looks like its end.
        let data = b"t,n\nx,y,\"a\nb,\"\n7\"\nc,8\n";
        let whole = file_in_pieces(data, usize::MAX, csv, &schema()).unwrap();
        assert_eq!((whole.0.num_rows(), whole.1.len()), (2, 1));
        for piece in 1..data.len() {
            assert_eq!(file_in_pieces(data, piece, csv, &schema()).unwrap(), whole, "pieces of {piece}");
        }

        let (fast, general) = json_both_ways(r#"{"t":"\u0041","n":7}"#, &schema()).unwrap();
        assert_eq!(fast, general);
        assert_eq!(fast.unwrap().num_rows(), 1);
        let (fast, general) = json_both_ways(r#"{"n":7"#, &schema()).unwrap();
        assert_eq!(fast, general);
        assert!(fast.unwrap_err().contains("invalid JSON"));
    }
}
