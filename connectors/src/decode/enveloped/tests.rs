//! Records of enveloped sources: which rows and deletions they become, and what is refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_dataflow::repr::ObjectId;

use crate::decode::{BadRecord, Columns, MessageDecoder, MessageView};
use crate::source::{Compression, Connector, Envelope, FileOptions, Format, Included, Pace, SourceDescription};

/// Decodes records of a source with the columns `id BIGINT, sub TEXT, name TEXT NOT NULL, n INT` and INCLUDE OFFSET.
struct Reading {
    decoder: MessageDecoder,
    columns: Columns,
    offset: i64,
}

impl Reading {
    fn new(format: Format, envelope: Envelope) -> Reading {
        let key = envelope.key().unwrap_or_default();
        let column =
            |index, name, data_type, nullable: bool| Field::new(name, data_type, nullable && !key.contains(&index));
        let fields = vec![
            column(0, "id", DataType::Int64, true),
            column(1, "sub", DataType::Utf8, true),
            column(2, "name", DataType::Utf8, false),
            column(3, "n", DataType::Int32, true),
            Included::Offset.field("offset"),
        ];
        let file = FileOptions { path: "unused".to_owned(), follow: false, compression: Compression::None };
        let (schema, connector) = (Arc::new(Schema::new(fields)), Connector::File(file));
        let (object, name, pace) = (ObjectId(1), "s".to_owned(), Pace::default());
        let description =
            SourceDescription { object, name, schema, connector, format, envelope: envelope.clone(), pace };
        Reading {
            decoder: MessageDecoder::new(format, envelope, 4, vec![Included::Offset], 1_000).unwrap(),
            columns: Columns::of_source(&description).unwrap(),
            offset: 0,
        }
    }

    fn take(&mut self, key: Option<&str>, value: Option<&str>) -> Result<(), BadRecord> {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        let view = MessageView { value, key, partition: 0, offset: self.offset, timestamp_ms: None, headers: None };
        self.offset += 1;
        self.decoder.decode(&view, &mut self.columns)
    }

    /// The rows of all records so far, deletions marked with a minus.
    fn rows(&mut self) -> Vec<String> {
        let batch = self.columns.finish();
        let options = FormatOptions::default().with_null("NULL");
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        let row = |row: usize| {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            let (deleted, cells) = cells.split_last().unwrap();
            format!("{}{}", if deleted == "true" { "-" } else { "+" }, cells.join("|"))
        };
        (0..batch.num_rows()).map(row).collect()
    }

    #[track_caller]
    fn becomes(&mut self, key: Option<&str>, value: Option<&str>, expected: &[&str]) {
        let offset = self.offset;
        self.take(key, value).unwrap_or_else(|bad| panic!("{key:?} {value:?}: {bad:?}"));
        let expected: Vec<String> = expected.iter().map(|row| format!("{row}|{offset}")).collect();
        assert_eq!(self.rows(), expected, "{key:?} {value:?}");
    }

    #[track_caller]
    fn is_refused(&mut self, key: Option<&str>, value: Option<&str>, column: Option<&str>, said: &str) {
        let bad = self.take(key, value).expect_err("it must be refused");
        assert_eq!(bad.column.as_deref(), column, "{key:?} {value:?}: {bad:?}");
        assert!(bad.message.contains(said), "{key:?} {value:?}: {bad:?}");
        assert!(self.rows().is_empty(), "what is refused leaves a trace");
    }
}

fn upsert(key: &[usize]) -> Envelope {
    Envelope::Upsert { key: key.to_vec() }
}

#[test]
fn the_key_comes_from_the_value_and_else_from_the_record_s_key() {
    let mut one = Reading::new(Format::Json, upsert(&[0]));
    one.becomes(Some("9"), Some(r#"{"id":1,"name":"x"}"#), &["+1|NULL|x|NULL"]);
    one.becomes(None, Some(r#"{"ID":1,"name":"x","n":2}"#), &["+1|NULL|x|2"]);
    for key in ["9", " 9 ", "\"9\"", r#"{"id":9}"#, r#"{ "Id" : "9", "sub": "no" }"#, r#"{"schema":{},"payload":9}"#] {
        one.becomes(Some(key), Some(r#"{"name":"x"}"#), &["+9|NULL|x|NULL"]);
        one.becomes(Some(key), None, &["-9|NULL|NULL|NULL"]);
    }
    one.becomes(Some(r#"{"payload":{"id":9},"schema":null}"#), None, &["-9|NULL|NULL|NULL"]);
    one.is_refused(None, Some(r#"{"name":"x"}"#), Some("id"), "the value lacks it, and the record has no key");
    one.is_refused(Some("x"), Some(r#"{"name":"x"}"#), Some("id"), "'x' is not a value of type BIGINT");
    one.is_refused(Some("9"), Some(r#"{"id":null,"name":"x"}"#), Some("id"), "NOT NULL");
    one.is_refused(Some("9"), Some(r#"{"id":1}"#), Some("name"), "NOT NULL");
    one.is_refused(Some("9"), Some(""), None, "the record is empty");
    one.is_refused(None, None, None, "the record has no key");
    one.is_refused(Some("x"), None, Some("id"), "'x' is not a value of type BIGINT");
    one.is_refused(Some(r#"{"sub":1}"#), None, Some("id"), "the key of the record lacks the column");
    one.is_refused(Some(r#"{"id":1"#), None, None, "the key of the record: invalid JSON");
    one.is_refused(Some(r#"{"id":null}"#), None, Some("id"), "NOT NULL");
    one.is_refused(Some(r#"{"payload":{"sub":1}}"#), None, Some("id"), "lacks the column");
    one.is_refused(Some(&"9".repeat(2_000)), None, None, "2000 bytes, more than the 1000");

    let mut two = Reading::new(Format::Json, upsert(&[1, 0]));
    two.becomes(Some(r#"{"id":9,"sub":"a"}"#), Some(r#"{"sub":"b","name":"x"}"#), &["+9|b|x|NULL"]);
    two.becomes(Some(r#"{"id":9,"sub":"a"}"#), None, &["-9|a|NULL|NULL"]);
    two.is_refused(Some("9"), None, None, "no JSON object with the 2 columns of the key");
    two.is_refused(Some(r#"{"id":9}"#), None, Some("sub"), "lacks the column");

    let mut text = Reading::new(Format::Json, upsert(&[1]));
    for (key, meant) in
        [("85123A", "85123A"), ("\"a\\\"b\"", "a\"b"), ("22", "22"), ("\"torn", "\"torn"), ("null", "null")]
    {
        text.becomes(Some(key), None, &[&format!("-NULL|{meant}|NULL|NULL")]);
    }
    let bytes =
        MessageView { value: None, key: Some(b"\xff"), partition: 0, offset: 0, timestamp_ms: None, headers: None };
    let bad = text.decoder.decode(&bytes, &mut text.columns).unwrap_err();
    assert_eq!(bad.message, "the key of the record is not valid UTF-8");
}

#[test]
fn csv_values_have_their_key_and_tombstones_that_of_the_record() {
    let mut csv = Reading::new(Format::Csv { delimiter: b',' }, upsert(&[0]));
    csv.becomes(None, Some("1,a,x,2\n"), &["+1|a|x|2"]);
    csv.becomes(Some("1"), None, &["-1|NULL|NULL|NULL"]);
    csv.is_refused(Some("1"), Some(",a,x,2"), Some("id"), "NOT NULL");
}

#[test]
fn records_without_a_value_are_refused_where_rows_are_only_appended() {
    let mut plain = Reading::new(Format::Json, Envelope::None);
    plain.is_refused(Some("1"), None, None, "the record has no value, which only ENVELOPE UPSERT would understand");
}

fn debezium(key: &[usize]) -> Reading {
    Reading::new(Format::Json, Envelope::Debezium { key: key.to_vec() })
}

/// A change, bare and wrapped with its schema.
fn changes(change: &str) -> [String; 2] {
    [change.to_owned(), format!(r#"{{"schema":{{"type":"struct","optional":false}},"payload":{change}}}"#)]
}

#[test]
fn changes_become_rows_and_deletions() {
    let mut reading = debezium(&[0]);
    let source = r#""source":{"db":"shop","lsn":7},"ts_ms":1,"transaction":null"#;
    for (op, before) in [("c", "null"), ("r", "null"), ("u", "null"), ("u", r#"{"id":1,"name":"old"}"#)] {
        let change =
            format!(r#"{{"before":{before},"after":{{"id":1,"sub":"s","name":"x","n":2}},{source},"op":"{op}"}}"#);
        for value in changes(&change) {
            reading.becomes(Some(r#"{"id":1}"#), Some(&value), &["+1|s|x|2"]);
        }
    }
    for value in changes(&format!(r#"{{"before":{{"id":1,"name":"old"}},"after":null,{source},"op":"d"}}"#)) {
        reading.becomes(None, Some(&value), &["-1|NULL|NULL|NULL"]);
    }
    // What the connector does not tell of the row before stands in the record's key.
    for before in ["null", "{}", r#"{"id":null,"name":"old"}"#] {
        for value in changes(&format!(r#"{{"op":"d","before":{before},"after":null}}"#)) {
            for key in [r#"{"id":3}"#, r#"{"schema":{},"payload":{"id":3}}"#] {
                reading.becomes(Some(key), Some(&value), &["-3|NULL|NULL|NULL"]);
            }
        }
    }
    reading.becomes(Some(r#"{"schema":{},"payload":{"id":3}}"#), None, &["-3|NULL|NULL|NULL"]);
    reading.becomes(Some("3"), Some(r#"{"schema":null,"payload":null}"#), &["-3|NULL|NULL|NULL"]);
}

#[test]
fn a_change_of_the_key_deletes_the_row_of_the_old_one() {
    let mut reading = debezium(&[0, 1]);
    let change = |before: &str| format!(r#"{{"op":"u","before":{before},"after":{{"id":2,"sub":"b","name":"x"}}}}"#);
    for value in changes(&change(r#"{"id":1,"sub":"b","name":"old"}"#)) {
        reading.becomes(None, Some(&value), &["-1|b|NULL|NULL", "+2|b|x|NULL"]);
    }
    // Written in another way it is deleted, and there again at once.
    reading.becomes(None, Some(&change(r#"{"id":2.0,"sub":"b"}"#)), &["-2|b|NULL|NULL", "+2|b|x|NULL"]);
    for before in [r#"{"id":2,"sub":"b","name":"y"}"#, r#"{"id":1}"#, r#"{"id":1,"sub":null}"#, "null"] {
        reading.becomes(None, Some(&change(before)), &["+2|b|x|NULL"]);
    }
    // Both or neither.
    let broken = r#"{"op":"u","before":{"id":1,"sub":"b"},"after":{"id":2,"sub":"b"}}"#;
    reading.is_refused(None, Some(broken), Some("name"), "NOT NULL");
}

#[test]
fn what_is_no_change_of_a_row_is_refused() {
    let mut reading = debezium(&[0]);
    let key = Some(r#"{"id":1}"#);
    for (change, column, said) in [
        (r#"{"op":"t","before":null,"after":null}"#, None, "the table was truncated"),
        (r#"{"op":"m","message":{}}"#, None, "a message of the database"),
        (r#"{"op":"x"}"#, None, "the unknown op \"x\""),
        (r#"{"op":7}"#, None, "the unknown op 7"),
        (r#"{"id":1,"name":"x"}"#, None, "it has no \"op\""),
        (r#"{"op":"c","after":null}"#, None, "the change with op \"c\" has no \"after\""),
        (r#"{"op":"u","before":null}"#, None, "the change with op \"u\" has no \"after\""),
        (r#"{"op":"u","after":[1]}"#, None, "invalid JSON"),
        (r#"{"op":"u","after":{"id":1}}"#, Some("name"), "NOT NULL"),
        (r#"{"op":"u","after":{"id":"one","name":"x"}}"#, Some("id"), "'one' is not a value of type BIGINT"),
        (r#"{"op":"u","after":{"id":1,"name":"__debezium_unavailable_value"}}"#, None, "REPLICA IDENTITY FULL"),
        (r#"{"op":"d","before":7}"#, None, "invalid JSON"),
    ] {
        for value in changes(change) {
            reading.is_refused(key, Some(&value), column, said);
        }
    }
    reading.is_refused(key, Some(r#"{"op":"u","after":{"id":1"#), None, "invalid JSON: EOF");
    reading.is_refused(key, Some("7"), None, "invalid JSON");
    reading.is_refused(None, None, None, "the record has no key");
    reading.is_refused(None, Some(r#"{"op":"d","before":null}"#), None, "the record has no key");
}
