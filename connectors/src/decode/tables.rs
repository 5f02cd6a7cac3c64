//! Tables of what every type accepts from CSV and from JSON, and of what becomes of records that do not decode.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;

fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

fn nested() -> DataType {
    DataType::Struct(
        vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, false),
            Field::new("c", DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true))), true),
        ]
        .into(),
    )
}

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    Arc::new(Schema::new(
        fields
            .iter()
            .map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable))
            .collect::<Vec<_>>(),
    ))
}

/// What a whole file decodes to: the rows, and the bad records as `line|column|message|payload`.
fn decode(format: Format, schema: &SchemaRef, file: &[u8]) -> (RecordBatch, Vec<String>) {
    let mut columns = Columns::new(schema).unwrap();
    let mut decoder = Decoder::new(format).unwrap();
    let begun = decoder.begin("f", file, true, &columns).unwrap().unwrap();
    let (mut at, mut line, mut errors) = (begun.bytes, 1 + begun.lines, Vec::new());
    while at < file.len() {
        let extent = match decoder.step(&file[at..], true, &mut columns) {
            Step::Row(extent) | Step::Blank(extent) => extent,
            Step::Bad(extent, bad) => {
                let column = bad.column.unwrap_or_default();
                errors.push(format!("{line}|{column}|{}|{}", bad.message, payload(&file[at..at + extent.bytes])));
                extent
            }
            Step::TooLong(_) | Step::Incomplete => panic!("a small whole file has only whole records"),
        };
        (at, line) = (at + extent.bytes, line + extent.lines);
    }
    (columns.finish(), errors)
}

fn show(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> =
        rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

const CSV: Format = Format::Csv { delimiter: b',' };

/// One value of one type: what it becomes, or a part of the message.
fn check(format: Format, data_type: &DataType, value: &str, expected: Result<&str, &str>) {
    let file = match format {
        // A second column keeps an empty value from being a blank line.
        Format::Csv { .. } => format!("x,pad\n{value},1\n"),
        Format::Json => format!("{{\"x\":{value}}}\n"),
    };
    let (rows, errors) = decode(format, &schema(&[("x", data_type.clone(), true)]), file.as_bytes());
    match expected {
        Ok(expected) => {
            assert_eq!(errors, [""; 0], "{value} as {data_type}");
            assert_eq!(show(&rows), [expected], "{value} as {data_type}");
        }
        Err(expected) => {
            assert_eq!(rows.num_rows(), 0, "{value} as {data_type}");
            assert_eq!(errors.len(), 1, "{value} as {data_type}");
            assert!(errors[0].contains(expected), "{value} as {data_type}: {}", errors[0]);
            let (line, column) = (file.lines().count(), if errors[0].contains("|x") { "x" } else { "" });
            let line = if matches!(format, Format::Csv { .. }) { 2 } else { line };
            assert!(errors[0].starts_with(&format!("{line}|{column}")), "{value} as {data_type}: {}", errors[0]);
        }
    }
}

#[test]
fn csv_values_of_every_type() {
    let decimal = DataType::Decimal128(12, 2);
    let double = DataType::Float64;
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    for (data_type, value, expected) in [
        (&DataType::Boolean, "true", Ok("true")),
        (&DataType::Boolean, " F ", Ok("false")),
        (&DataType::Boolean, "", Ok("NULL")),
        (&DataType::Boolean, "maybe", Err("x|'maybe' is not a value of type BOOLEAN")),
        (&DataType::Int16, "-32768", Ok("-32768")),
        (&DataType::Int16, "32768", Err("x|'32768' is out of the range of SMALLINT")),
        (&DataType::Int32, "17850.0", Ok("17850")),
        (&DataType::Int32, "17850.5", Err("x|'17850.5' has more decimals than INT holds")),
        (&DataType::Int32, "2147483648", Err("out of the range of INT")),
        (&DataType::Int32, "\"12\"", Ok("12")),
        (&DataType::Int32, "\"\"", Err("x|'' is not a value of type INT")),
        (&DataType::Int64, "9223372036854775807", Ok("9223372036854775807")),
        (&DataType::Int64, "12a", Err("x|'12a' is not a value of type BIGINT")),
        (&DataType::Float32, "0.1", Ok("0.1")),
        (&DataType::Float32, "1e39", Err("out of the range of REAL")),
        (&double, "-0", Ok("0.0")),
        (&double, "nan", Ok("NaN")),
        (&double, "1e400", Err("out of the range of DOUBLE")),
        (&decimal, "2.55", Ok("2.55")),
        (&decimal, "2.5500", Ok("2.55")),
        (&decimal, "25.5e-1", Ok("2.55")),
        (&decimal, "-1", Ok("-1.00")),
        (&decimal, "2.555", Err("x|'2.555' has more decimals than DECIMAL(12,2) holds")),
        (&decimal, "12345678901", Err("x|'12345678901' is out of the range of DECIMAL(12,2)")),
        (&decimal, "GBP 1", Err("x|'GBP 1' is not a value of type DECIMAL(12,2)")),
        (&DataType::Utf8, "", Ok("NULL")),
        (&DataType::Utf8, "\"\"", Ok("")),
        (&DataType::Utf8, "  spaced ", Ok("  spaced ")),
        (&DataType::Utf8, "\"a, \"\"b\"\"\nc\"", Ok("a, \"b\"\nc")),
        (&DataType::Utf8, "\"\"\"\"", Ok("\"")),
        (&DataType::Utf8, "6\" nail", Ok("6\" nail")),
        (&DataType::Utf8, "Žluťoučký", Ok("Žluťoučký")),
        (&DataType::Date32, "2011-12-09", Ok("2011-12-09")),
        (&DataType::Date32, "9.12.2011", Err("x|'9.12.2011' is not a value of type DATE")),
        (&DataType::Date32, "2011-02-29", Err("out of the range of DATE")),
        (&timestamptz(), "2010-12-01 08:26:00", Ok("2010-12-01T08:26:00Z")),
        (&timestamptz(), "2010-12-01T08:26:00.25+01:00", Ok("2010-12-01T07:26:00.250Z")),
        (&timestamptz(), "noon", Err("x|'noon' is not a value of type TIMESTAMPTZ")),
        (&interval, "1 day 02:00:00", Ok("1 days 2 hours")),
        (&interval, "P1M", Ok("1 mons")),
        (&interval, "soon", Err("x|'soon' is not a value of type INTERVAL")),
        (&nested(), "\"{\"\"a\"\":1,\"\"b\"\":\"\"z\"\"}\"", Ok("{a: 1, b: z, c: NULL}")),
        (&nested(), "nonsense", Err("x|'nonsense' is not a value of type STRUCT<a BIGINT, b TEXT, c INT[]>")),
        (&nested(), "{", Err("x|invalid JSON: EOF while parsing an object at byte 1")),
    ] {
        check(CSV, data_type, value, expected);
    }
}

#[test]
fn json_values_of_every_type() {
    let decimal = DataType::Decimal128(20, 4);
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    for (data_type, value, expected) in [
        (&DataType::Boolean, "true", Ok("true")),
        (&DataType::Boolean, "\"no\"", Ok("false")),
        (&DataType::Boolean, "null", Ok("NULL")),
        (&DataType::Boolean, "1", Err("x|'1' is not a value of type BOOLEAN")),
        (&DataType::Int16, "12", Ok("12")),
        (&DataType::Int32, "12.0", Ok("12")),
        (&DataType::Int32, "1e2", Ok("100")),
        (&DataType::Int32, "\"12\"", Ok("12")),
        (&DataType::Int32, "true", Err("x|'true' is not a value of type INT")),
        (&DataType::Int32, "[1]", Err("x|'[1]' is not a value of type INT")),
        (&DataType::Int32, "12.5", Err("more decimals than INT holds")),
        (&DataType::Int64, "9007199254740993", Ok("9007199254740993")),
        (&DataType::Int64, "9223372036854775808", Err("out of the range of BIGINT")),
        (&DataType::Float64, "0.1", Ok("0.1")),
        (&DataType::Float64, "\"NaN\"", Ok("NaN")),
        (&DataType::Float64, "-0.0", Ok("0.0")),
        (&decimal, "1234567890123456.7891", Ok("1234567890123456.7891")),
        (&decimal, "\"0.1\"", Ok("0.1000")),
        (&decimal, "1e-4", Ok("0.0001")),
        (&decimal, "1e-5", Err("x|'1e-5' has more decimals than DECIMAL(20,4) holds")),
        (&DataType::Utf8, "\"a\\n\\u00e9\\\"\"", Ok("a\né\"")),
        (&DataType::Utf8, "\"\"", Ok("")),
        (&DataType::Utf8, "{\"k\": [1, 2]}", Ok("{\"k\": [1, 2]}")),
        (&DataType::Utf8, "[1, \"a\"]", Ok("[1, \"a\"]")),
        (&DataType::Utf8, "1.50", Ok("1.50")),
        (&DataType::Utf8, "false", Ok("false")),
        (&DataType::Utf8, "\"\\ud800\"", Err("x|invalid JSON: ")),
        (&DataType::Date32, "\"2011-12-09\"", Ok("2011-12-09")),
        (&DataType::Date32, "20111209", Err("x|'20111209' is not a value of type DATE")),
        (&timestamptz(), "\"2011-12-09T12:50:00Z\"", Ok("2011-12-09T12:50:00Z")),
        (&timestamptz(), "1323435000", Err("x|'1323435000' is not a value of type TIMESTAMPTZ")),
        (&interval, "\"PT5M\"", Ok("5 mins")),
        (&interval, "5", Err("x|'5' is not a value of type INTERVAL")),
        (&list, "[1, null, \"3\"]", Ok("[1, NULL, 3]")),
        (&list, "[]", Ok("[]")),
        (&list, "null", Ok("NULL")),
        (&list, "{}", Err("x|'{}' is not a value of type INT[]")),
        (&list, "[1, \"a\"]", Err("x[]|'a' is not a value of type INT")),
        (&nested(), "{\"b\":\"z\",\"zz\":{\"b\":1},\"a\":7,\"c\":[1]}", Ok("{a: 7, b: z, c: [1]}")),
        (&nested(), "null", Ok("NULL")),
        (&nested(), "{\"a\":1}", Err("x.b|the value is missing and the column is NOT NULL")),
        (&nested(), "{\"b\":\"z\",\"c\":[1.5]}", Err("x.c[]|'1.5' has more decimals than INT holds")),
        (&nested(), "\"{}\"", Err("x|'\"{}\"' is not a value of type STRUCT<a BIGINT, b TEXT, c INT[]>")),
    ] {
        check(Format::Json, data_type, value, expected);
    }
}

#[test]
fn a_bad_csv_record_is_one_error_and_its_neighbours_stay() {
    let schema = schema(&[("n", DataType::Int32, false), ("t", DataType::Utf8, true), ("d", DataType::Int32, true)]);
    let fields = "the record has";
    for (record, expected) in [
        ("2,b", vec![format!("3||{fields} 2 fields and the header has 3|2,b")]),
        ("2,b,3,4", vec![format!("3||{fields} 4 fields and the header has 3|2,b,3,4")]),
        ("2,b,x", vec!["3|d|'x' is not a value of type INT|2,b,x".to_owned()]),
        (",b,3", vec!["3|n|the value is missing and the column is NOT NULL|,b,3".to_owned()]),
        ("  ", vec![format!("3||{fields} 1 fields and the header has 3|  ")]),
        (
            "2,\"b\"c,3",
            vec![
                "3||a closing quote is followed by something other than a delimiter or the end of the line|2,\"b\"c,3"
                    .to_owned(),
            ],
        ),
        ("2,\"b\nb\",x", vec!["3|d|'x' is not a value of type INT|2,\"b\nb\",x".to_owned()]),
        ("2,\"b\nb\"", vec![format!("3||{fields} 2 fields and the header has 3|2,\"b\nb\"")]),
        // A quote that is opened by mistake costs its own line only.
        ("2,\"b,3", vec!["3||a quote is opened and never closed|2,\"b,3".to_owned()]),
        (
            "2,\"b,3\n2,\"bb\",3",
            vec![
                "3||a closing quote is followed by something other than a delimiter or the end of the line|2,\"b,3"
                    .to_owned(),
            ],
        ),
        ("2,\"b,3\n2,\",bb\",3", vec![format!("3||{fields} 4 fields and the header has 3|2,\"b,3")]),
        ("", vec![]),
        ("\r", vec![]),
    ] {
        let good_inside = usize::from(record.contains("bb"));
        for end in ["\n", "\r\n", ""] {
            let file = format!("n,t,d\n1,a,1\n{record}\n3,c,3{end}");
            let (rows, errors) = decode(CSV, &schema, file.as_bytes());
            assert_eq!(errors, expected, "{file}");
            assert_eq!(rows.num_rows(), 2 + good_inside, "{file}");
            assert_eq!((show(&rows)[0].as_str(), show(&rows)[1 + good_inside].as_str()), ("1|a|1", "3|c|3"), "{file}");
        }
    }
}

#[test]
fn csv_that_is_no_text_is_one_error() {
    let schema = schema(&[("n", DataType::Int32, false), ("t", DataType::Utf8, true)]);
    let (rows, errors) = decode(CSV, &schema, b"n,t,extra\n1,a,x\n2,\xff,x\n3,c,\xff\n4,d,x\n");
    assert_eq!(show(&rows), ["1|a", "4|d"]);
    assert_eq!(
        errors,
        [
            "3||the record is not valid UTF-8 at byte 3|2,\u{fffd},x",
            "4||the record is not valid UTF-8 at byte 5|3,c,\u{fffd}"
        ]
    );
}

#[test]
fn a_bad_json_record_is_one_error_and_its_neighbours_stay() {
    let schema = schema(&[("n", DataType::Int32, false), ("o", nested(), true), ("t", DataType::Utf8, true)]);
    let deep = format!("{{\"n\":1,\"t\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for (record, expected) in [
        ("{\"n\":2", Some("2||invalid JSON: EOF while parsing an object at byte 6|")),
        ("{\"n\":2}}", Some("2||invalid JSON: trailing characters at byte 8|")),
        ("{\"n\" 2}", Some("2||invalid JSON: expected `:` at byte 6|")),
        ("{\"n\":2,\"q\":[1,}", Some("2||invalid JSON: expected value at byte 15|")),
        ("[1]", Some("2||invalid JSON: invalid type: sequence, expected an object at byte 0|")),
        ("x", Some("2||invalid JSON: expected value at byte 1|")),
        ("{\"t\":\"a\"}", Some("2|n|the value is missing and the column is NOT NULL|")),
        ("{\"n\":2,\"o\":{\"b\":\"x\",\"a\":\"y\"}}", Some("2|o.a|'y' is not a value of type BIGINT|")),
        ("{\"n\":2,\"o\":{\"b\":\"x\",\"c\":[1,2,{}]}}", Some("2|o.c[]|'{}' is not a value of type INT|")),
        ("", None),
        ("  \r", None),
    ] {
        let file = format!("{{\"n\":1,\"t\":\"a\"}}\n{record}\n{{\"t\":\"c\",\"n\":3,\"o\":{{\"b\":\"z\"}}}}");
        let (rows, errors) = decode(Format::Json, &schema, file.as_bytes());
        assert_eq!(show(&rows), ["1|NULL|a", "3|{a: NULL, b: z, c: NULL}|c"], "{file}");
        assert_eq!(errors.len(), usize::from(expected.is_some()), "{file}");
        if let Some(expected) = expected {
            assert_eq!(errors, [format!("{expected}{record}")], "{file}");
        }
    }
    let (rows, errors) = decode(Format::Json, &schema, deep.as_bytes());
    assert_eq!((rows.num_rows(), errors.len()), (1, 0), "nesting in a text is only text");
    let (rows, errors) = decode(Format::Json, &schema, b"{\"n\":1,\"t\":\"\xff\"}\n{\"n\":2}\n");
    assert_eq!((show(&rows), errors.len()), (vec!["2|NULL|NULL".to_owned()], 1));
}

#[test]
fn json_keys_match_to_the_letter_or_else_without_case_and_the_last_one_counts() {
    let schema = schema(&[("userId", DataType::Int32, true), ("order_id", DataType::Int32, true)]);
    for (record, expected) in [
        (r#"{"userId":1,"order_id":2}"#, "1|2"),
        (r#"{"order_id":2,"userId":1}"#, "1|2"),
        (r#"{"userid":1,"ORDER_ID":2}"#, "1|2"),
        (r#"{"userId":1,"USERID":9}"#, "1|NULL"),
        (r#"{"USERID":9,"userId":1}"#, "1|NULL"),
        (r#"{"userId":1,"userId":3}"#, "3|NULL"),
        (r#"{"user\u0049d":4}"#, "4|NULL"),
        ("{}", "NULL|NULL"),
    ] {
        let (rows, errors) = decode(Format::Json, &schema, record.as_bytes());
        assert_eq!((show(&rows), errors.len()), (vec![expected.to_owned()], 0), "{record}");
    }
}

#[test]
fn csv_headers() {
    let schema = schema(&[("id", DataType::Int32, true), ("Name", DataType::Utf8, true)]);
    for (file, expected) in [
        ("id,Name\n1,a\n", Ok("1|a")),
        ("\u{feff}id,Name\n1,a\n", Ok("1|a")),
        ("\u{feff}\"id\",\"Name\"\r\n1,a\r\n", Ok("1|a")),
        ("\n\r\nid,Name\n1,a\n", Ok("1|a")),
        ("other,Name,id\nx,a,1\n", Ok("1|a")),
        ("ID, name \n1,a\n", Ok("1|a")),
        ("ID,id,Name\n9,1,a\n", Ok("1|a")),
        ("ID,Id,Name\n9,1,a\n", Err("the header of f has several columns that fit id: ID, Id")),
        ("ident,Name\n", Err("the header of f has no column id: it has ident, Name")),
        ("id,\"Na\"me\n", Err("the header of f cannot be read: a closing quote")),
        ("id,\"Name\n", Err("the header of f cannot be read: a quote is opened and never closed")),
    ] {
        match expected {
            Ok(expected) => assert_eq!(show(&decode(CSV, &schema, file.as_bytes()).0), [expected], "{file}"),
            Err(expected) => {
                let columns = Columns::new(&schema).unwrap();
                let error =
                    Decoder::new(CSV).unwrap().begin("f", file.as_bytes(), true, &columns).unwrap_err().to_string();
                assert!(error.starts_with(expected), "{file}: {error}");
            }
        }
    }
}

#[test]
fn other_delimiters_and_those_that_are_none() {
    let schema = schema(&[("a", DataType::Utf8, true), ("b", DataType::Utf8, true)]);
    let (rows, errors) = decode(Format::Csv { delimiter: b';' }, &schema, b"b;a\nx,y;\"1;2\"\n");
    assert_eq!((show(&rows), errors.len()), (vec!["1;2|x,y".to_owned()], 0));
    for delimiter in [b'"', b'\n', b'\r', 0, 0xc3] {
        assert!(matches!(Decoder::new(Format::Csv { delimiter }), Err(SourceError::Delimiter { .. })));
    }
}

#[test]
fn a_type_that_no_source_has_is_refused_by_name() {
    let schema = schema(&[("o", DataType::Struct(vec![Field::new("u", DataType::UInt8, true)].into()), true)]);
    let error = Columns::new(&schema).unwrap_err().to_string();
    assert!(error.starts_with("column o.u has type UInt8"), "{error}");
}

#[test]
fn every_cut_of_a_file_waits_for_more_and_never_decodes_half_a_record() {
    let schema = schema(&[("n", DataType::Int32, false), ("t", DataType::Utf8, true)]);
    let csv = "1,\"a\"\"\nb\"\r\n";
    let json = "{\"n\":1,\"t\":\"a\"}\n";
    for (format, record) in [(CSV, csv), (Format::Json, json)] {
        let mut columns = Columns::new(&schema).unwrap();
        let mut decoder = Decoder::new(format).unwrap();
        decoder.begin("f", b"n,t\n", true, &columns).unwrap();
        for cut in 0..record.len() {
            assert_eq!(decoder.step(&record.as_bytes()[..cut], false, &mut columns), Step::Incomplete, "{cut}");
        }
        assert!(matches!(decoder.step(record.as_bytes(), false, &mut columns), Step::Row(_)));
        assert_eq!(columns.finish().column(0).null_count(), 0);
    }
}

#[test]
fn no_text_panics_and_what_is_refused_leaves_no_trace() {
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    const PIECES: [&str; 30] = [
        "0",
        "1",
        "9",
        "99999999999999999999",
        "00",
        ".",
        "-",
        "+",
        "e",
        "E",
        ":",
        "T",
        "P",
        "Y",
        "M",
        "D",
        "H",
        "S",
        "W",
        " ",
        "day",
        "mon",
        "year",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "é",
        "2011-12-09",
    ];
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let types = [
        DataType::Boolean,
        DataType::Int16,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 10),
        DataType::Decimal128(5, 0),
        DataType::Date32,
        timestamptz(),
        DataType::Interval(IntervalUnit::MonthDayNano),
        nested(),
        list,
        DataType::Utf8,
    ];
    let fields: Vec<_> =
        types.iter().enumerate().map(|(n, data_type)| Field::new(format!("c{n}"), data_type.clone(), true)).collect();
    let mut columns = Columns::new(&Arc::new(Schema::new(fields))).unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut rows = 0;
    for _ in 0..100_000 {
        let text: String = (0..rng.random_range(0..8)).map(|_| *PIECES.choose(&mut rng).unwrap()).collect();
        // One column gets the text; the row counts only if it takes it.
        let chosen = rng.random_range(0..types.len());
        let pushed = columns.push_row(|columns| {
            columns.iter_mut().enumerate().try_for_each(|(index, column)| {
                if index == chosen { column.push_text(&text) } else { column.push_null() }
            })
        });
        rows += usize::from(pushed.is_ok());
        assert_eq!(columns.rows(), rows);
    }
    assert!(rows > 5_000, "only {rows} rows were accepted");
    let batch = columns.finish();
    let values: usize = batch.columns().iter().map(|column| rows - column.null_count()).sum();
    assert_eq!(values, rows);
}

#[test]
fn a_decimal_is_the_same_however_it_is_written() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    for _ in 0..20_000 {
        let unscaled: i128 =
            rng.random_range(-(10_i128.pow(38) - 1)..10_i128.pow(38)) / 10_i128.pow(rng.random_range(0..38));
        let scale: u8 = rng.random_range(0..=38);
        let exponent = rng.random_range(-50..50_i32);
        let zeros = rng.random_range(0..50_usize);
        let text = format!("{unscaled}{}e{}", "0".repeat(zeros), exponent - i32::try_from(zeros).unwrap());
        let expected_text = format!("{unscaled}e{exponent}");
        let scale = i8::try_from(scale).unwrap();
        assert_eq!(value::parse_decimal(&text, 38, scale), value::parse_decimal(&expected_text, 38, scale), "{text}");
        // The plain form: the point stands `scale` digits from the right.
        let digits = format!("{:0>40}", unscaled.unsigned_abs());
        let at = digits.len() - usize::try_from(scale).unwrap();
        let sign = if unscaled < 0 { "-" } else { "" };
        let plain = format!("{sign}{}.{}", &digits[..at], &digits[at..]);
        assert_eq!(value::parse_decimal(&plain, 38, scale), Ok(unscaled), "{plain}");
        let short = format!("{sign}{}.{}00", digits[..at].trim_start_matches('0'), &digits[at..]);
        assert_eq!(value::parse_decimal(&short, 38, scale), Ok(unscaled), "{short}");
    }
}
