//! Literal rows are what the planner would make of them; what does not fit is refused in the same words.

use arrow::util::pretty::pretty_format_batches;
use futures::executor::block_on;

use super::*;
use crate::sql::{Statement, parse};

/// A table with a column of each kind of type, and its relations.
struct One(Arc<Table>);

impl One {
    fn new() -> One {
        let text = "CREATE TABLE t (i INT, s SMALLINT, b BIGINT, r REAL, d DOUBLE, n NUMERIC(8, 2), x TEXT DEFAULT 'dx', f BOOLEAN,
                    day DATE, at TIMESTAMPTZ, l INT[], k INT NOT NULL DEFAULT 7)";
        let Statement::CreateTable(create) = parse(text).unwrap().remove(0).statement else { panic!("{text}") };
        let (name, schema, key, defaults) = (create.name, create.schema, create.key, create.defaults);
        One(Arc::new(Table { name, schema, key, defaults }))
    }

    /// The rows that a statement brings, and whether they were at hand.
    fn rows(&self, text: &str) -> Result<(String, bool), SqlError> {
        let Statement::Write(write) = parse(text)?.remove(0).statement else { panic!("{text}") };
        let planned = plan_write(&write, (text, None), &self.0, self)?;
        let (rows, literal) = match planned.rows {
            RowsOf::Values(rows) => (rows, true),
            RowsOf::Query(read, completion) => {
                let schema = read.schema();
                let answer = block_on(read.run(std::collections::BTreeMap::new()))?;
                (completion.rows(&schema, &answer)?.new.expect("an INSERT brings rows"), false)
            }
        };
        Ok((pretty_format_batches(&[rows]).unwrap().to_string(), literal))
    }
}

impl Relations for One {
    fn relation(&self, name: &str) -> Option<Relation> {
        let (collection, schema) = (ObjectId(1).rows(), Arc::clone(&self.0.schema));
        let kind = RelationKind::Collection { collection, schema, append_only: false };
        (name == "t").then(|| Relation { name: name.to_owned(), kind })
    }

    fn names(&self) -> Vec<String> {
        vec!["t".to_owned()]
    }
}

#[test]
fn literals_are_what_the_planner_makes_of_them() {
    let one = One::new();
    for (columns, values) in [
        ("i, s, b", "1, -2, 9223372036854775807"),
        ("i, b, x", "NULL, NULL, NULL"),
        ("d, r", "1, -2"),
        ("d, n", "1.25, 12.345"),
        ("d, n", "-0.5, -12.345"),
        ("n, x", "7, 'it''s'"),
        ("i, n, day, at, f", "'12', '3.5', '2026-01-31', '2026-01-31 10:00:00+02', 'true'"),
        ("f, x", "true, 'ü'"),
        ("at", "'2026-01-31'"),
    ] {
        let literal = one.rows(&format!("INSERT INTO t ({columns}) VALUES ({values})")).unwrap();
        let planned = one.rows(&format!("INSERT INTO t ({columns}) SELECT {values}")).unwrap();
        assert_eq!((literal.1, planned.1), (true, false), "{values}");
        assert_eq!(literal.0, planned.0, "{values}");
    }
}

#[test]
fn numbers_are_rounded_as_they_are_assigned() {
    let one = One::new();
    for (values, integer, double, decimal) in [
        ("2.5, 1 + 1, 0.005", "3", "2.0", "0.01"),
        ("-2.5, 0, 0.004", "-3", "0.0", "0.00"),
        ("CAST(2.5 AS DOUBLE), 0, 1", "2", "0.0", "1.00"),
        ("CAST(3.5 AS DOUBLE), -0.0, 1", "4", "0.0", "1.00"),
    ] {
        let text = one.rows(&format!("INSERT INTO t (i, d, n) VALUES ({values})")).unwrap().0;
        let row = text.lines().nth(3).unwrap().replace(' ', "");
        let cells: Vec<&str> = row.split('|').collect();
        assert_eq!((cells[1], cells[5], cells[6]), (integer, double, decimal), "{values}");
    }
}

#[test]
fn defaults_fill_what_is_not_given() {
    let one = One::new();
    let row = |text: &str| one.rows(text).unwrap().0.lines().nth(3).unwrap().replace(' ', "");
    let wanted = "|5||||||dx|||||7|";
    assert_eq!(row("INSERT INTO t (i) VALUES (5)"), wanted);
    assert_eq!(row("INSERT INTO t VALUES (5)"), wanted);
    assert_eq!(row("INSERT INTO t (i, x, k) VALUES (5, DEFAULT, DEFAULT)"), wanted);
    assert_eq!(row("INSERT INTO t (i, x, k) VALUES (2 + 3, DEFAULT, DEFAULT)"), wanted);
    assert_eq!(row("INSERT INTO t (i, s) SELECT 5, NULL"), wanted);
    assert_eq!(row("INSERT INTO t DEFAULT VALUES"), wanted.replace('5', ""));
}

#[test]
fn what_does_not_fit_is_refused_in_the_same_words() {
    let one = One::new();
    let message = |text: &str| one.rows(text).map(|(rows, _)| panic!("{text}: {rows}")).unwrap_err().message;
    for (values, piece) in [
        ("(i) VALUES (3000000000)", "\"3000000000\" is out of range for type INTEGER"),
        ("(b) VALUES (9223372036854775808)", "out of range for type BIGINT"),
        ("(s) SELECT 40000", "column \"s\": "),
        ("(n) VALUES (1234567.5)", "column \"n\": "),
        ("(i) VALUES ('x')", "column \"i\": invalid input syntax for type INTEGER: \"x\""),
        ("(i) SELECT 'x'", "column \"i\": "),
        ("(day) VALUES ('soon')", "invalid input syntax for type DATE: \"soon\""),
        ("(day) VALUES (1)", "column \"day\" is of type DATE but expression is of type BIGINT"),
        ("(f) VALUES (1)", "column \"f\" is of type BOOLEAN but expression is of type BIGINT"),
        ("(i) VALUES (true)", "column \"i\" is of type INTEGER but expression is of type BOOLEAN"),
        ("(i, k) VALUES (1, NULL)", "null value in column \"k\" of relation \"t\" violates not-null constraint"),
        ("(i, k) SELECT 1, NULL", "null value in column \"k\" of relation \"t\" violates not-null constraint"),
        ("(i, i) VALUES (1, 2)", "column \"i\" specified more than once"),
        ("(i) SELECT 1, 2", "INSERT has more expressions than target columns"),
        ("(i, s) SELECT 1", "INSERT has more target columns than expressions"),
        ("(i) VALUES (1) ON CONFLICT DO NOTHING", "which has no PRIMARY KEY"),
    ] {
        let found = message(&format!("INSERT INTO t {values}"));
        assert!(found.contains(piece), "{values}: {found}");
    }
}
