//! Keys and envelopes: what is declared, and where what does not go together is refused.

use headwater_connectors::source::Envelope;

use super::{invalid, source, unsupported};

const KAFKA: &str = "FROM KAFKA (BROKERS 'h', TOPIC 't') FORMAT JSON";

#[test]
fn keys_and_envelopes_are_declared() {
    let upsert = |key: &[usize], order: &str| (Envelope::Upsert { key: key.to_vec() }, order.to_owned());
    let other = |envelope| (envelope, String::new());
    for (columns, tail, (expected, order)) in [
        ("a INT", "", other(Envelope::None)),
        ("a INT, b TEXT", "ENVELOPE NONE", other(Envelope::None)),
        ("a INT PRIMARY KEY, b TEXT", "ENVELOPE UPSERT", upsert(&[0], "")),
        ("b TEXT, a INT NOT NULL PRIMARY KEY", "envelope upsert", upsert(&[1], "")),
        ("b TEXT, a INT PRIMARY KEY NOT NULL", "ENVELOPE UPSERT", upsert(&[1], "")),
        ("a INT, b TEXT, c INT, PRIMARY KEY (c, a)", "ENVELOPE UPSERT (ORDER BY b)", upsert(&[2, 0], "b")),
        ("PRIMARY KEY (a), a INT", "ENVELOPE UPSERT (ORDER BY a ASC)", upsert(&[0], "a")),
        ("a INT PRIMARY KEY", "INCLUDE TIMESTAMP AS at ENVELOPE UPSERT (ORDER BY at)", upsert(&[0], "at")),
        ("a INT PRIMARY KEY", "ENVELOPE UPSERT (ORDER BY \"offset\") INCLUDE OFFSET", upsert(&[0], "\"offset\"")),
        ("a INT, PRIMARY KEY (A)", "ENVELOPE DEBEZIUM", other(Envelope::Debezium { key: vec![0] })),
    ] {
        let found = source(&format!("CREATE SOURCE s ({columns}) {KAFKA} {tail}"));
        assert_eq!(found.envelope, expected, "{columns} {tail}");
        assert_eq!(found.order.map(|order| order.text).unwrap_or_default(), order, "{columns} {tail}");
        for index in expected.key().unwrap_or_default() {
            assert!(!found.schema.field(*index).is_nullable(), "{columns}: a key is NOT NULL");
        }
    }
    let found = source("CREATE SOURCE s (a INT PRIMARY KEY) FROM FILE (PATH 'p') FORMAT CSV ENVELOPE UPSERT");
    assert_eq!((found.envelope, found.order), (upsert(&[0], "").0, None));
    let found = source(
        "CREATE SOURCE s (a INT PRIMARY KEY, t TEXT) FROM FILE (PATH 'p') FORMAT CSV
        ENVELOPE UPSERT (ORDER BY CAST(substr(t, 3)
          AS BIGINT))",
    );
    let order = found.order.unwrap();
    assert_eq!(
        (order.text.as_str(), order.position.to_string()),
        ("CAST(substr(t, 3)\n          AS BIGINT)", "2:35".into())
    );
}

#[test]
fn keys_and_envelopes_that_do_not_go_together_are_refused_where_they_are_wrong() {
    let create = |columns: &str, tail: &str| format!("CREATE SOURCE s ({columns})\n{KAFKA}\n{tail}");
    for (columns, tail, place, message, hint) in [
        ("a INT", "ENVELOPE UPSERT", "3:10", "ENVELOPE UPSERT without a PRIMARY KEY", "BIGINT PRIMARY KEY"),
        ("a INT", "ENVELOPE DEBEZIUM", "3:10", "ENVELOPE DEBEZIUM without a PRIMARY KEY", "PRIMARY KEY (a, b)"),
        ("a INT PRIMARY KEY, PRIMARY KEY (a)", "", "1:37", "a second PRIMARY KEY", "PRIMARY KEY (a, b)"),
        ("a INT PRIMARY KEY, b INT PRIMARY KEY", "", "1:43", "a second PRIMARY KEY", "PRIMARY KEY (a, b)"),
        ("a INT, PRIMARY KEY (a, a)", "", "1:41", "column \"a\" stands twice in the key", ""),
        ("a INT, PRIMARY KEY (b)", "ENVELOPE UPSERT", "1:38", "there is no column \"b\"", "the columns are a"),
        (
            "a INT, PRIMARY KEY (key)",
            "INCLUDE KEY ENVELOPE UPSERT",
            "1:38",
            "there is no column \"key\"",
            "the columns are a",
        ),
        ("PRIMARY KEY (a)", "ENVELOPE UPSERT", "1:33", "the source has no columns", ""),
        ("a INT PRIMARY KEY", "ENVELOPE UPSERT (BY a)", "3:18", "expected ORDER, found \"BY\"", ""),
        ("a INT PRIMARY KEY", "ENVELOPE APPEND", "3:10", "expected NONE, UPSERT or DEBEZIUM, found \"APPEND\"", ""),
    ] {
        invalid(&create(columns, tail), place, message, hint);
    }
    for (columns, tail, place, message, hint) in [
        (
            "a INT PRIMARY KEY",
            "",
            "1:24",
            "PRIMARY KEY on a source whose rows are only appended",
            "add ENVELOPE UPSERT",
        ),
        (
            "a INT, PRIMARY KEY (a)",
            "ENVELOPE NONE",
            "1:25",
            "PRIMARY KEY on a source whose rows are only appended",
            "leave the key out",
        ),
        ("a INT[] PRIMARY KEY", "ENVELOPE UPSERT", "1:26", "the type of column \"a\" in a key", "numbers, texts"),
        ("a INTERVAL PRIMARY KEY", "ENVELOPE UPSERT", "1:29", "the type of column \"a\" in a key", "numbers, texts"),
        ("a INT PRIMARY KEY", "ENVELOPE UPSERT (ORDER BY a DESC)", "3:29", "DESC in an envelope", "greatest value"),
        (
            "a INT PRIMARY KEY, b INT",
            "ENVELOPE UPSERT (ORDER BY b, a)",
            "3:28",
            "an order by several expressions in an envelope",
            "write one",
        ),
        (
            "a INT PRIMARY KEY",
            "ENVELOPE DEBEZIUM (ORDER BY a)",
            "3:19",
            "options of ENVELOPE DEBEZIUM",
            "one partition",
        ),
        ("a INT UNIQUE", "", "1:24", "UNIQUE on a source", "NOT NULL and PRIMARY KEY"),
    ] {
        unsupported(&create(columns, tail), place, message, hint);
    }
    for rest in ["FROM FILE (PATH 'p') FORMAT JSON", "FROM KAFKA (BROKERS 'h', TOPIC 't') FORMAT CSV"] {
        let text = format!("CREATE SOURCE s (a INT PRIMARY KEY) {rest}\nENVELOPE DEBEZIUM");
        unsupported(&text, "2:10", "ENVELOPE DEBEZIUM on what is no topic in JSON", "FORMAT JSON ENVELOPE DEBEZIUM");
    }
}
