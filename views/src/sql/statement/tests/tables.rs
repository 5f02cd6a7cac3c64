//! Tables and statements that write: what is declared, what is refused and where.

use super::*;
use crate::sql::statement::write::{Action, Copy};

fn table(text: &str) -> CreateTable {
    match one(text).statement {
        Statement::CreateTable(table) => table,
        other => panic!("{other:?}"),
    }
}

fn copy(text: &str) -> Copy {
    match one(text).statement {
        Statement::Write(Write { action: Action::Copy(copy), .. }) => copy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tables_say_everything() {
    let found = table(
        "CREATE TABLE IF NOT EXISTS T (
            a BIGINT, \"B\" TEXT NOT NULL DEFAULT 'x', c DECIMAL(6, 2) DEFAULT -1.5 NULL, PRIMARY KEY (\"B\", a)
         )",
    );
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("B", DataType::Utf8, false),
        Field::new("c", DataType::Decimal128(6, 2), true),
    ]);
    assert_eq!((found.name.as_str(), found.if_not_exists, found.key), ("t", true, vec![1, 0]));
    assert_eq!((*found.schema).clone(), schema);
    assert_eq!(found.defaults, [None, Some("'x'".to_owned()), Some("-1.5".to_owned())]);
    assert_eq!(table("create table t (a int)").key, [0_usize; 0]);
    assert_eq!(table("create table t (a int, constraint p primary key (a))").key, [0]);
}

#[test]
fn tables_that_are_none_are_refused() {
    unsupported("CREATE TABLE t AS SELECT 1", "1:16", "CREATE TABLE AS", "INSERT INTO it SELECT");
    unsupported("CREATE TABLE t (a INT CHECK (a > 1))", "1:23", "CHECK on a table", "NOT NULL, PRIMARY KEY");
    unsupported("CREATE TABLE t (a INT, UNIQUE (a))", "1:24", "UNIQUE on a table", "NOT NULL");
    unsupported("CREATE TABLE t (a INT) WITH (x = 1)", "1:24", "WITH on a table", "leave it out");
    let default = "the default of column \"a\", which is no literal";
    unsupported("CREATE TABLE t (a INT DEFAULT b)", "1:31", default, "a number, a text in quotes");
    let wrong = "the default of column \"a\": invalid input syntax for type INTEGER: \"x\"";
    invalid("CREATE TABLE t (a INT DEFAULT 'x')", "1:31", wrong, "");
    invalid("CREATE TABLE t (a INT, A TEXT)", "1:24", "column \"a\" is declared twice", "");
    invalid(
        "CREATE TABLE t (a INT PRIMARY KEY, b INT PRIMARY KEY)",
        "1:42",
        "a second PRIMARY KEY",
        "PRIMARY KEY (a, b)",
    );
}

#[test]
fn writes_name_their_table() {
    for (text, verb, name, place) in [
        ("INSERT INTO T (a) VALUES (1)", "INSERT", "t", "1:13"),
        ("insert into \"T\" select 1", "INSERT", "T", "1:13"),
        ("UPDATE t AS x SET a = x.a + 1 WHERE b", "UPDATE", "t", "1:8"),
        ("DELETE FROM t WHERE a IN (SELECT b FROM u)", "DELETE", "t", "1:13"),
        ("COPY t FROM STDIN", "COPY", "t", "1:6"),
    ] {
        let Statement::Write(write) = one(text).statement else { panic!("{text}") };
        assert_eq!(
            (write.verb(), write.table.as_str(), write.place.to_string().as_str()),
            (verb, name, place),
            "{text}"
        );
    }
    let given = copy("COPY t (a, B) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', NULL '-')");
    let names: Vec<&str> = given.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, given.csv, given.header, given.delimiter), (vec!["a", "b"], true, true, ';'));
    assert_eq!(given.null, "-");
    let plain = copy("COPY t FROM STDIN");
    assert_eq!((plain.csv, plain.header, plain.delimiter, plain.null.as_str()), (false, false, '\t', "\\N"));
    assert!(copy("COPY t FROM STDIN CSV HEADER").header);
    assert!(!copy("COPY t FROM STDIN (HEADER FALSE)").header);
}

#[test]
fn writes_that_are_none_are_refused() {
    unsupported("DELETE FROM t USING u WHERE true", "1:1", "DELETE … USING", "subquery");
    unsupported("UPDATE t SET a = 1 FROM u", "1:1", "UPDATE … FROM", "subquery");
    unsupported("INSERT INTO t VALUES (1) RETURNING a", "1:1", "RETURNING", "SELECT");
    unsupported("INSERT INTO s.t VALUES (1)", "1:13", "the qualified name \"s.t\"", "no schemas");
    unsupported("COPY t TO STDOUT", "1:8", "COPY … TO", "SELECT");
    unsupported("COPY (SELECT 1) TO STDOUT", "1:1", "COPY of a query", "SELECT");
    unsupported("COPY t FROM '/etc/passwd'", "1:13", "COPY from a file of the server or a program", "STDIN");
    unsupported("COPY t FROM STDIN (FORMAT binary)", "1:27", "COPY with FORMAT binary", "csv and text");
    unsupported("COPY t FROM STDIN (FREEZE)", "1:20", "the option \"freeze\" of COPY", "HEADER");
}
