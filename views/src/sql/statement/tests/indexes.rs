//! `CREATE INDEX` and `DROP INDEX`: what is said, what is refused and where.

use super::*;

fn index(text: &str) -> CreateIndex {
    match one(text).statement {
        Statement::CreateIndex(index) => index,
        other => panic!("{other:?}"),
    }
}

#[test]
fn indexes_say_of_what_and_by_what() {
    let found = index("CREATE INDEX IF NOT EXISTS By_Country ON Orders USING BTREE (country, \"At\")");
    let columns: Vec<&str> = found.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((found.name.as_str(), found.of.as_str(), columns), ("by_country", "orders", vec!["country", "At"]));
    assert!(found.if_not_exists);
    assert_eq!((found.place.to_string(), found.columns[1].1.to_string()), ("1:42".to_owned(), "1:71".to_owned()));
    assert_eq!(index("create index on t (a)").name, "t_a_idx");
    assert_eq!(index("create index if not exists on t (a, b)").name, "t_a_b_idx");
    let Statement::Drop(drop) = one("DROP INDEX IF EXISTS t_a_idx CASCADE").statement else { panic!("no drop") };
    assert_eq!((drop.kind, drop.name.as_str()), (ObjectKind::Index, "t_a_idx"));
    assert!(drop.if_exists && drop.cascade);
    assert!(matches!(one("SHOW INDEXES").statement, Statement::Show(Show::Indexes)));
    assert!(matches!(one("SHOW CREATE INDEX i").statement, Statement::Show(Show::Create(name)) if name == "i"));
}

#[test]
fn what_an_index_is_not_is_refused() {
    for (text, place, message, hint) in [
        ("CREATE UNIQUE INDEX i ON t (a)", "1:1", "CREATE UNIQUE", "PRIMARY KEY"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "1:14", "CREATE INDEX CONCURRENTLY", "leave the word out"),
        ("CREATE INDEX i ON ONLY t (a)", "1:19", "ON ONLY", "leave the word out"),
        ("CREATE INDEX i ON t USING hash (a)", "1:27", "an index USING hash", "leave it out"),
        ("CREATE INDEX i ON t (lower(a))", "1:22", "an expression in an index", "materialized view"),
        ("CREATE INDEX i ON t ((a + 1))", "1:22", "an expression in an index", "materialized view"),
        ("CREATE INDEX i ON t (a DESC)", "1:24", "DESC in an index", "leave it out"),
        ("CREATE INDEX i ON t (a ASC)", "1:24", "ASC in an index", "leave it out"),
        ("CREATE INDEX i ON t (a NULLS FIRST)", "1:24", "NULLS in an index", "leave it out"),
        ("CREATE INDEX i ON t (a text_ops)", "1:24", "\"text_ops\" behind a column of an index", "names only"),
        ("CREATE INDEX i ON t (a) WHERE a > 1", "1:25", "WHERE of an index", "materialized view"),
        ("CREATE INDEX i ON t (a) INCLUDE (b)", "1:25", "INCLUDE of an index", "all columns"),
        ("CREATE INDEX i ON t (a) WITH (fillfactor = 70)", "1:25", "WITH of an index", "no options"),
        ("CREATE INDEX i ON s.t (a)", "1:19", "the qualified name \"s.…\"", "no schemas"),
        ("DROP INDEX CONCURRENTLY i", "1:12", "DROP INDEX CONCURRENTLY", "leave the word out"),
        ("ALTER INDEX i", "1:1", "the statement ALTER INDEX", "create it anew"),
    ] {
        unsupported(text, place, message, hint);
    }
    invalid("CREATE INDEX i ON t (a, a)", "1:25", "column \"a\" stands twice in the index", "");
    invalid("CREATE INDEX i ON t ()", "1:22", "expected a name, found \")\"", "");
    invalid("CREATE INDEX i t (a)", "1:16", "expected ON, found \"t\"", "");
}
