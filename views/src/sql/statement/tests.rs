//! Statements: what is parsed, where errors point.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use headwater_connectors::source::{Compression, FileOptions, KafkaStart};

use super::*;
use crate::sql::SqlErrorKind;
use crate::sql::session::types::{INTERVAL, timestamptz};

mod indexes;
mod keys;
mod tables;

#[track_caller]
fn one(text: &str) -> Parsed {
    let mut statements = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

#[track_caller]
fn source(text: &str) -> CreateSource {
    match one(text).statement {
        Statement::CreateSource(source) => source,
        other => panic!("{other:?}"),
    }
}

/// A refusal: kind, place, message, and a piece of the hint ("" where there is none).
#[track_caller]
fn refused(text: &str, kind: SqlErrorKind, place: &str, message: &str, hint: &str) {
    let error = parse(text).map(|found| panic!("{text}: {found:?}")).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (kind, message), "{text}");
    assert_eq!(error.position.map(|position| position.to_string()).unwrap_or_default(), place, "{text}");
    let found = error.hint.unwrap_or_default();
    assert!(if hint.is_empty() { found.is_empty() } else { found.contains(hint) }, "{text}: the hint is {found:?}");
}

#[track_caller]
fn unsupported(text: &str, place: &str, message: &str, hint: &str) {
    refused(text, SqlErrorKind::Unsupported, place, message, hint);
}

#[track_caller]
fn invalid(text: &str, place: &str, message: &str, hint: &str) {
    refused(text, SqlErrorKind::Invalid, place, message, hint);
}

#[test]
fn scripts_are_split_with_exact_texts_and_places() {
    let script = "-- a comment; with a semicolon\nSELECT ';' AS a;\n\n  create view V as\n    select 1 as x -- tail\n;;DROP VIEW v";
    let found: Vec<(String, String)> =
        parse(script).unwrap().into_iter().map(|parsed| (parsed.position.to_string(), parsed.text)).collect();
    let expected = [("2:1", "SELECT ';' AS a"), ("4:3", "create view V as\n    select 1 as x"), ("6:3", "DROP VIEW v")]
        .map(|(place, text)| (place.to_owned(), text.to_owned()));
    assert_eq!(found, expected);
    assert!(parse("").unwrap().is_empty());
    assert!(parse(" ; -- nothing\n ; ").unwrap().is_empty());
}

#[test]
fn views_keep_the_text_of_their_query() {
    for (text, name, if_not_exists, query, place) in [
        ("CREATE VIEW a AS SELECT 1", "a", false, "SELECT 1", "1:18"),
        (
            "CREATE VIEW IF NOT EXISTS Big AS\n  WITH t AS (SELECT 1 x) SELECT é.x FROM t é ; ",
            "big",
            true,
            "WITH t AS (SELECT 1 x) SELECT é.x FROM t é",
            "2:3",
        ),
        ("CREATE VIEW \"Big\" AS VALUES (1, 'é')", "Big", false, "VALUES (1, 'é')", "1:22"),
        ("CREATE VIEW a AS (SELECT 1) UNION ALL (SELECT 2)", "a", false, "(SELECT 1) UNION ALL (SELECT 2)", "1:18"),
    ] {
        let Statement::CreateView(view) = one(text).statement else { panic!("{text}") };
        assert_eq!((view.name.as_str(), view.if_not_exists, view.query.as_str()), (name, if_not_exists, query));
        assert_eq!(view.position.to_string(), place);
    }
    let parsed = one("create materialized view if not exists m as select * from t");
    let Statement::CreateMaterializedView(view) = parsed.statement else { panic!() };
    assert_eq!((view.name.as_str(), view.query.as_str()), ("m", "select * from t"));
}

#[test]
fn sources_say_everything() {
    let found = source(
        "CREATE SOURCE IF NOT EXISTS Lines (
            invoice TEXT NOT NULL, \"Stock Code\" VARCHAR, qty INTEGER NOT NULL, price NUMERIC(12,3), at TIMESTAMPTZ
         ) FROM FILE (PATH 'data/*.csv.gz', FOLLOW true, COMPRESSION 'gzip') FORMAT CSV (DELIMITER ';')",
    );
    let schema = Schema::new(vec![
        Field::new("invoice", DataType::Utf8, false),
        Field::new("Stock Code", DataType::Utf8, true),
        Field::new("qty", DataType::Int32, false),
        Field::new("price", DataType::Decimal128(12, 3), true),
        Field::new("at", timestamptz(), true),
    ]);
    let file = FileOptions { path: "data/*.csv.gz".into(), follow: true, compression: Compression::Gzip };
    assert_eq!((found.name.as_str(), found.if_not_exists), ("lines", true));
    assert_eq!(*found.schema, schema);
    assert_eq!((found.connector, found.format), (Connector::File(file), Format::Csv { delimiter: b';' }));

    let found = source("create source e (a int null) from file (path = 'e.ndjson') format json envelope none");
    let file = FileOptions { path: "e.ndjson".into(), follow: false, compression: Compression::Auto };
    assert_eq!((found.connector, found.format), (Connector::File(file), Format::Json));
    let found = source("create source e (a int) from file (path 'e', follow false) format csv (delimiter '\\t')");
    assert_eq!(found.format, Format::Csv { delimiter: b'\t' });
}

#[test]
fn sources_are_paused_resumed_and_limited() {
    let found = source("CREATE SOURCE s (a INT) FROM FILE (PATH 'x', MAX_ROWS_PER_SECOND = 1000) FORMAT CSV");
    assert_eq!(found.rows_per_second_max, NonZeroU32::new(1_000));
    let kafka = "CREATE SOURCE s (a INT) FROM KAFKA (BROKERS 'h', TOPIC 't', MAX_ROWS_PER_SECOND 7) FORMAT CSV";
    assert_eq!(source(kafka).rows_per_second_max, NonZeroU32::new(7));
    for (text, if_exists, change) in [
        ("ALTER SOURCE Lines PAUSE", false, PaceChange::Pause),
        ("alter source if exists lines resume", true, PaceChange::Resume),
        ("ALTER SOURCE lines SET (MAX_ROWS_PER_SECOND 500)", false, PaceChange::Limit(NonZeroU32::new(500))),
        ("ALTER SOURCE lines SET (max_rows_per_second = 1)", false, PaceChange::Limit(NonZeroU32::new(1))),
        ("ALTER SOURCE lines RESET (MAX_ROWS_PER_SECOND)", false, PaceChange::Limit(None)),
    ] {
        let Statement::Alter(alter) = one(text).statement else { panic!("{text}") };
        assert_eq!(alter, AlterSource { name: "lines".to_owned(), if_exists, change }, "{text}");
    }
    let other = "expected PAUSE, RESUME, SET or RESET, found \"RENAME\"";
    invalid("ALTER SOURCE s RENAME TO t", "1:16", other, "creating it anew");
    let none = "ALTER SOURCE s SET (MAX_ROWS_PER_SECOND 0)";
    invalid(none, "1:41", "0 cannot be the most rows in a second", "PAUSE");
}

#[test]
fn kafka_sources_say_everything() {
    let found = source(
        "CREATE SOURCE t (a INT) FROM KAFKA (
            BROKERS 'h:1,h:2', TOPIC = 'Orders', START TIMESTAMP '1970-01-01 00:00:01.5+00', MAX_RECORD_BYTES 500,
            'client.rack' '${RACK}', 'fetch.min.bytes' = '10'
         ) FORMAT JSON INCLUDE KEY AS k, OFFSET INCLUDE TIMESTAMP ENVELOPE NONE INCLUDE HEADERS, PARTITION",
    );
    let Connector::Kafka(options) = found.connector else { panic!() };
    assert_eq!((options.brokers.as_str(), options.topic.as_str()), ("h:1,h:2", "Orders"));
    assert_eq!((options.start, options.record_bytes_max), (KafkaStart::Timestamp(1_500), 500));
    let properties: Vec<_> = options.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(properties, [("client.rack", "${RACK}"), ("fetch.min.bytes", "10")]);
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("k", DataType::Utf8, true),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamptz(), true),
        Field::new("headers", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, false),
    ]);
    assert_eq!(*found.schema, schema);
    for (start, expected) in [
        ("", KafkaStart::Earliest),
        (", START OFFSET earliest", KafkaStart::Earliest),
        (", START OFFSET = LATEST", KafkaStart::Latest),
        (", start offset 17", KafkaStart::Offset(17)),
    ] {
        let found = source(&format!("CREATE SOURCE t (a INT) FROM KAFKA (BROKERS 'h', TOPIC 't'{start}) FORMAT CSV"));
        let Connector::Kafka(options) = found.connector else { panic!() };
        assert_eq!((options.start, options.record_bytes_max), (expected, 1 << 20));
    }
}

#[test]
fn kafka_sources_are_refused_where_they_are_wrong() {
    let create = |options: &str| format!("CREATE SOURCE s (a INT) FROM KAFKA (TOPIC 't'{options}");
    for (options, place, message, hint) in [
        (", BROKERS 'h', TOPIC 'u') FORMAT JSON", "1:61", "option \"topic\" is given twice", ""),
        (") FORMAT JSON", "1:30", "option BROKERS is missing", "host:9092"),
        (", BROKERS ' ') FORMAT JSON", "1:56", "the text is empty", ""),
        (", SPEED 3) FORMAT JSON", "1:48", "unknown option \"speed\" of FROM KAFKA", "MAX_RECORD_BYTES"),
        (", START 3) FORMAT JSON", "1:54", "expected OFFSET or TIMESTAMP, found \"3\"", ""),
        (", START OFFSET 'x') FORMAT JSON", "1:61", "expected EARLIEST, LATEST or an offset, found \"'x'\"", ""),
        (", START TIMESTAMP 'x') FORMAT JSON", "1:64", "'x' is not a timestamp", "08:00"),
        (", MAX_RECORD_BYTES 0) FORMAT JSON", "1:65", "0 cannot be the longest record", "67108864"),
        (
            ", BROKERS 'h') FORMAT JSON INCLUDE A",
            "1:81",
            "expected KEY, PARTITION, OFFSET, TIMESTAMP or HEADERS, found \"A\"",
            "",
        ),
        (", BROKERS 'h') FORMAT JSON INCLUDE KEY, KEY", "1:86", "\"key\" is included twice", ""),
        (", BROKERS 'h') FORMAT JSON INCLUDE KEY AS a", "1:81", "column \"a\" is declared twice", "AS name"),
    ] {
        invalid(&create(options), place, message, hint);
    }
    for (options, place, message, hint) in [
        (", 'auto.offset.reset' 'latest'", "1:48", "the property auto.offset.reset", "START OFFSET"),
        (", 'sasl.mechanism' 'GSSAPI'", "1:48", "the property sasl.mechanism", "SCRAM-SHA-256"),
        (", 'sasl.password' 'word'", "1:48", "the property sasl.password", "never stored"),
        (", BROKERS 'h') FORMAT AVRO", "1:68", "FORMAT AVRO", "JSON"),
    ] {
        unsupported(&create(options), place, message, hint);
    }
}

#[test]
fn types_are_mapped() {
    let list = |inner: DataType| DataType::List(Arc::new(Field::new_list_field(inner, true)));
    let pair = |inner: DataType| {
        DataType::Struct(Fields::from(vec![Field::new("a", DataType::Int64, false), Field::new("b", inner, true)]))
    };
    for (text, expected) in [
        ("BOOLEAN", DataType::Boolean),
        ("bool", DataType::Boolean),
        ("SMALLINT", DataType::Int16),
        ("INT", DataType::Int32),
        ("INTEGER", DataType::Int32),
        ("int4", DataType::Int32),
        ("BIGINT", DataType::Int64),
        ("REAL", DataType::Float32),
        ("FLOAT", DataType::Float64),
        ("FLOAT8", DataType::Float64),
        ("FLOAT(24)", DataType::Float32),
        ("DOUBLE", DataType::Float64),
        ("DOUBLE PRECISION", DataType::Float64),
        ("NUMERIC(10, 2)", DataType::Decimal128(10, 2)),
        ("DECIMAL(38)", DataType::Decimal128(38, 0)),
        ("TEXT", DataType::Utf8),
        ("VARCHAR", DataType::Utf8),
        ("CHARACTER VARYING", DataType::Utf8),
        ("DATE", DataType::Date32),
        ("TIMESTAMPTZ", timestamptz()),
        ("TIMESTAMP WITH TIME ZONE", timestamptz()),
        ("TIMESTAMP(6) WITH TIME ZONE", timestamptz()),
        ("INTERVAL", INTERVAL),
        ("BIGINT[]", list(DataType::Int64)),
        ("TEXT[][]", list(list(DataType::Utf8))),
        ("STRUCT<a BIGINT NOT NULL, b TEXT>", pair(DataType::Utf8)),
        (
            "STRUCT<a BIGINT NOT NULL, b STRUCT<a BIGINT NOT NULL, b NUMERIC(4,1)>>",
            pair(pair(DataType::Decimal128(4, 1))),
        ),
        (
            "STRUCT<a BIGINT NOT NULL, b STRUCT<a BIGINT NOT NULL, b STRUCT<a BIGINT NOT NULL, b DATE>>>",
            pair(pair(pair(DataType::Date32))),
        ),
        ("STRUCT<a BIGINT NOT NULL, b TEXT[]>[]", list(pair(list(DataType::Utf8)))),
    ] {
        let found = source(&format!("CREATE SOURCE s (x {text}, y INT) FROM FILE (PATH 'p') FORMAT JSON"));
        assert_eq!(*found.schema.field(0).data_type(), expected, "{text}");
    }
}

#[test]
fn types_are_refused_with_what_to_use() {
    for (text, message, hint) in [
        ("TIMESTAMP", "the type TIMESTAMP", "TIMESTAMPTZ"),
        ("TIMESTAMP(3) WITH TIME ZONE", "the type TIMESTAMP(3) WITH TIME ZONE", "microseconds"),
        ("VARCHAR(10)", "the type VARCHAR(10)", "TEXT"),
        ("CHAR(3)", "the type CHAR(3)", "TEXT"),
        ("NUMERIC", "the type NUMERIC", "NUMERIC(12, 2)"),
        ("NUMERIC(39, 2)", "the type NUMERIC(39,2)", "38 digits"),
        ("NUMERIC(4, 5)", "the type NUMERIC(4,5)", "38 digits"),
        ("JSONB", "the type JSONB", "->>"),
        ("UUID", "the type UUID", "TEXT"),
        ("TIME", "the type TIME", "TEXT"),
        ("money", "the type money", "the types are BOOLEAN"),
        ("INT UNSIGNED", "the type INT UNSIGNED", "the types are BOOLEAN"),
    ] {
        let text = format!("CREATE SOURCE s (x {text}) FROM FILE (PATH 'p') FORMAT CSV");
        unsupported(&text, "1:20", message, hint);
    }
    let text = "CREATE SOURCE s (\n  a INT,\n  b STRUCT<c INT>) FROM FILE (PATH 'p') FORMAT CSV";
    unsupported(text, "3:5", "the nested type of column \"b\" in CSV", "->>");
}

#[test]
fn sources_are_refused_where_they_are_wrong() {
    let create = |rest: &str| format!("CREATE SOURCE s (a INT)\n{rest}");
    for (rest, place, message, hint) in [
        ("FROM POSTGRES (URL 'x') FORMAT JSON", "2:6", "FROM POSTGRES", "FROM FILE"),
        ("FROM FILE (PATH 'p') FORMAT AVRO", "2:29", "FORMAT AVRO", "CSV"),
        ("FROM FILE (PATH 'p') FORMAT JSON INCLUDE OFFSET", "2:34", "INCLUDE on a source of files", "leave it out"),
        ("FROM FILE (PATH 'p') FORMAT CSV WITH HEADER", "2:33", "WITH after FORMAT CSV", "header"),
    ] {
        unsupported(&create(rest), place, message, hint);
    }
    for (rest, place, message, hint) in [
        ("FROM FILE (PATH 'p', PATH 'q') FORMAT CSV", "2:22", "option \"path\" is given twice", ""),
        ("FROM FILE (PATH 'p', SPEED 3) FORMAT CSV", "2:22", "unknown option \"speed\" of FROM FILE", "FOLLOW"),
        ("FROM FILE (FOLLOW true) FORMAT CSV", "2:6", "option PATH is missing", "PATH"),
        ("FROM FILE (PATH '') FORMAT CSV", "2:17", "the path is empty", ""),
        ("FROM FILE (PATH p) FORMAT CSV", "2:17", "expected a path in single quotes, found \"p\"", ""),
        ("FROM FILE (PATH 'p', FOLLOW 1) FORMAT CSV", "2:29", "expected true or false, found \"1\"", ""),
        ("FROM FILE (PATH 'p', COMPRESSION 'lz4') FORMAT CSV", "2:34", "unknown compression 'lz4'", "zstd"),
        (
            "FROM FILE (PATH 'p') FORMAT CSV (HEADER true)",
            "2:34",
            "unknown option \"header\" of FORMAT CSV",
            "DELIMITER",
        ),
        ("FROM FILE (PATH 'p') FORMAT CSV (DELIMITER ';;')", "2:44", "';;' cannot be a delimiter", "ASCII"),
        (
            "FROM FILE (PATH 'p') FORMAT CSV (DELIMITER ';', DELIMITER ',')",
            "2:49",
            "option \"delimiter\" is given twice",
            "",
        ),
        ("FROM FILE (PATH 'p') FORMAT JSON (X 1)", "2:34", "FORMAT JSON has no options", ""),
        ("FROM FILE (PATH 'p')", "2:21", "expected FORMAT, found the end of the script", ""),
        ("FROM FILE (PATH 'p') FORMAT CSV;x", "2:33", "expected a statement, found \"x\"", "statements are"),
        (
            "FROM FILE (PATH 'p') FORMAT CSV x",
            "2:33",
            "expected the end of the statement or a semicolon, found \"x\"",
            "",
        ),
    ] {
        invalid(&create(rest), place, message, hint);
    }
    invalid("CREATE SOURCE s (a INT, A TEXT) FROM FILE", "1:25", "column \"a\" is declared twice", "");
    invalid("CREATE SOURCE s (a STRUCT<b INT, b INT>)", "1:34", "field \"b\" is declared twice", "");
    invalid("CREATE SOURCE s (a STRUCT<b INT>>)", "1:34", "one > too many after STRUCT", "");
    invalid("CREATE SOURCE s (a)", "1:19", "expected: a data type name, found: )", "");
    invalid("CREATE SOURCE \"s$errors\" (a INT)", "1:15", "the name \"s$errors\" is reserved", "choose a name");
    invalid("CREATE VIEW a$b AS SELECT 1", "1:13", "the name \"a$b\" is reserved", "choose a name");
    unsupported("CREATE SOURCE x.s (a INT)", "1:15", "the qualified name \"x.…\"", "no schemas");
    unsupported("CREATE SOURCE s (a INT DEFAULT 3)", "1:24", "DEFAULT on a source", "NOT NULL");
}

#[test]
fn other_statements_are_parsed() {
    let drop = |text: &str| match one(text).statement {
        Statement::Drop(drop) => drop,
        other => panic!("{other:?}"),
    };
    let expected =
        |kind, name: &str, if_exists, cascade| DropObject { kind, name: name.to_owned(), if_exists, cascade };
    assert_eq!(drop("DROP SOURCE S"), expected(ObjectKind::Source, "s", false, false));
    assert_eq!(drop("drop view if exists \"V\" cascade"), expected(ObjectKind::View, "V", true, true));
    assert_eq!(drop("DROP MATERIALIZED VIEW m RESTRICT"), expected(ObjectKind::MaterializedView, "m", false, false));
    for (text, expected) in [
        ("SHOW SOURCES", Show::Sources),
        ("show views", Show::Views),
        ("SHOW MATERIALIZED VIEWS", Show::MaterializedViews),
        ("SHOW OBJECTS", Show::Objects),
        ("SHOW ERRORS FOR Lines", Show::Errors("lines".to_owned())),
        ("SHOW CREATE lines", Show::Create("lines".to_owned())),
        ("SHOW CREATE MATERIALIZED VIEW m", Show::Create("m".to_owned())),
    ] {
        let Statement::Show(show) = one(text).statement else { panic!("{text}") };
        assert_eq!(show, expected);
    }
    for (text, target, place) in [
        ("EXPLAIN m", ExplainTarget::Name("m".to_owned()), "1:9"),
        ("EXPLAIN ANALYZE VIEW m", ExplainTarget::Name("m".to_owned()), "1:17"),
        ("EXPLAIN MATERIALIZED VIEW \"M\"", ExplainTarget::Name("M".to_owned()), "1:9"),
        ("EXPLAIN\n  SELECT 1", ExplainTarget::Query("SELECT 1".to_owned()), "2:3"),
    ] {
        let Statement::Explain(explain) = one(text).statement else { panic!("{text}") };
        assert_eq!((explain.target, explain.position.to_string().as_str()), (target, place));
        assert_eq!(explain.analyze, text.contains("ANALYZE"));
    }
    for text in
        ["SELECT 1", "WITH t AS (SELECT 1) SELECT * FROM t", "VALUES (1), (2)", "((SELECT 1))", "SELECT 1 LIMIT 3"]
    {
        let Statement::Query(query) = one(&format!(" {text} ;")).statement else { panic!("{text}") };
        assert_eq!(query, text);
    }
}

#[test]
fn foreign_statements_are_refused() {
    for (text, place, message, hint) in [
        ("CREATE UNLOGGED TABLE t (a INT)", "1:1", "CREATE UNLOGGED", "CREATE TABLE"),
        ("SELECT 1;\nCREATE SINK s", "2:1", "CREATE SINK", "subscrib"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "1:1", "CREATE OR REPLACE", "DROP"),
        ("CREATE TEMP VIEW v AS SELECT 1", "1:1", "CREATE TEMP", "durable"),
        ("MERGE INTO t", "1:1", "the statement MERGE", "ON CONFLICT"),
        ("TRUNCATE t", "1:1", "the statement TRUNCATE", "DELETE FROM"),
        ("ALTER VIEW s", "1:1", "the statement ALTER VIEW", "drop"),
        (
            "ALTER SOURCE s SET (PATH 'x')",
            "1:21",
            "changing option \"path\" of a source",
            "MAX_ROWS_PER_SECOND can be changed",
        ),
        ("BEGIN", "1:1", "the statement BEGIN", "leave it out"),
        ("DROP SINK t", "1:1", "DROP SINK", "sources, tables, views"),
        ("DROP VIEW a, b", "1:12", "dropping several objects in one statement", "one DROP"),
        ("CREATE VIEW v (a) AS SELECT 1", "1:15", "a list of column names", "AS name"),
        ("EXPLAIN VERBOSE m", "1:9", "options of EXPLAIN", "EXPLAIN followed"),
        ("EXPLAIN ANALYZE SELECT 1", "1:17", "EXPLAIN ANALYZE of a query", "deploy the query"),
        ("SHOW CREATE a.b", "1:13", "the qualified name \"a.…\"", "no schemas"),
    ] {
        unsupported(text, place, message, hint);
    }
    for (text, place, message) in [
        ("FOO", "1:1", "expected a statement, found \"FOO\""),
        ("SELECT 1 SELECT 2", "1:10", "expected the end of the statement or a semicolon, found \"SELECT\""),
        ("CREATE", "1:7", "expected SOURCE, TABLE, VIEW, MATERIALIZED VIEW or INDEX, found the end of the script"),
        ("CREATE VIEW", "1:12", "expected a name, found the end of the script"),
        ("CREATE VIEW v AS INSERT", "1:18", "expected a query: SELECT, WITH or VALUES, found \"INSERT\""),
        (
            "SHOW TABLE",
            "1:6",
            "expected SOURCES, TABLES, VIEWS, MATERIALIZED VIEWS, INDEXES, OBJECTS, ERRORS FOR name or CREATE name, found \"TABLE\"",
        ),
        ("SELECT 'abc", "1:8", "unterminated string literal"),
        ("SELECT a FROM\n  ,", "2:3", "expected: identifier, found: ,"),
        ("SELECT a FROM", "1:14", "expected: identifier, found: EOF"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (SqlErrorKind::Invalid, message), "{text}");
        assert_eq!(error.position.unwrap().to_string(), place, "{text}");
    }
}
