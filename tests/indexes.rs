//! Indexes on a real server: views and reads use them, they go last, and come back after a restart.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::harness::{Headwater, Home, Outcome, WAIT_MAX, run, wait_for};

fn sql(server: &Headwater, home: &Home, text: &str) -> Result<Outcome> {
    let path = home.file("script.sql", text)?;
    server.cli([std::ffi::OsStr::new("sql"), "-f".as_ref(), path.as_os_str()])
}

fn sql_ok(server: &Headwater, home: &Home, text: &str) -> Result<String> {
    let outcome = sql(server, home, text)?;
    ensure!(outcome.code == 0, "{text}: {outcome:?}");
    Ok(outcome.stdout)
}

/// A script that must be refused, with these words.
fn refused(server: &Headwater, home: &Home, text: &str, words: &[&str]) -> Result<()> {
    let outcome = sql(server, home, text)?;
    ensure!(outcome.code == 1 && words.iter().all(|word| outcome.stderr.contains(word)), "{text}: {outcome:?}");
    Ok(())
}

/// The answer of a query, rows sorted.
fn rows(server: &Headwater, query: &str) -> Result<Vec<String>> {
    let mut rows: Vec<String> = server.query(query)?.rows.iter().map(|row| row.join(" ")).collect();
    rows.sort();
    Ok(rows)
}

const TABLES: &str = "
    CREATE TABLE c (name TEXT, id INT, city TEXT);
    CREATE TABLE o (id BIGINT PRIMARY KEY, customer INT, amount DECIMAL(8, 2));
    INSERT INTO c VALUES ('ann', 1, 'Oslo'), ('bob', 2, NULL), ('cy', 2, 'Rome'), ('dan', NULL, 'Oslo');
    INSERT INTO o VALUES (10, 1, 5), (11, 2, 7), (12, 3, 9), (13, NULL, 1);
    CREATE INDEX ON c (id);
    CREATE MATERIALIZED VIEW m AS SELECT o.id, c.name FROM o LEFT JOIN c ON o.customer = c.id;
    CREATE MATERIALIZED VIEW n AS SELECT c.name, o.amount FROM c JOIN o ON o.customer = c.id;
";

fn check_views(server: &Headwater, m: &[&str], n: &[&str]) -> Result<()> {
    let found = (rows(server, "SELECT * FROM m")?, rows(server, "SELECT * FROM n")?);
    ensure!(found.0 == m && found.1 == n, "{found:?}");
    Ok(())
}

#[test]
fn an_index_is_used_listed_kept_and_dropped() {
    run(|home| {
        let mut server = Headwater::start(home, 2)?;
        sql_ok(&server, home, TABLES)?;
        let m = ["10 ann", "11 bob", "11 cy", "12 ", "13 "];
        check_views(&server, &m, &["ann 5.00", "bob 7.00", "cy 7.00"])?;
        for (view, shown) in
            [("m", "Left join (private table, index c_id_idx)"), ("n", "Join (index c_id_idx, private table)")]
        {
            let plan = server.cli_ok(["explain", view])?;
            ensure!(plan.contains(shown) && plan.contains("Look up in index c_id_idx"), "{plan}");
            let analyzed = server.cli_ok(["explain", "--analyze", view])?;
            ensure!(analyzed.contains(shown), "{analyzed}");
        }
        let plan = server.cli_ok(["explain", "c_id_idx"])?;
        ensure!(plan.starts_with("Index (arranged by id)\n  Get c (shared import, with retractions)\n"), "{plan}");
        wait_for("an index that serves", WAIT_MAX, || {
            let listed = sql_ok(&server, home, "SHOW INDEXES")?;
            let row = listed.lines().find(|line| line.starts_with("c_id_idx")).unwrap_or_default();
            let cells: Vec<&str> = row.split_whitespace().collect();
            Ok((cells == ["c_id_idx", "c", "id", "serving", "m,", "n"]).then_some(()))
        })?;
        let told: serde_json::Value = serde_json::from_str(&server.cli_ok(["describe", "c_id_idx", "-o", "json"])?)?;
        ensure!(told["kind"] == "index" && told["columns"][0]["name"] == "id" && told["reads"][0] == "c", "{told}");
        wait_for("the metrics of the index", WAIT_MAX, || {
            let metrics = server.http_get("/metrics")?;
            Ok(metrics.contains("headwater_index_held_records{index=\"c_id_idx\"} 4").then_some(()))
        })?;
        // Both sides change, together and alone.
        sql_ok(
            &server,
            home,
            "UPDATE c SET id = 3 WHERE name = 'cy'; INSERT INTO c VALUES ('eve', 3, 'Rome'); DELETE FROM c WHERE id = 1;
             UPDATE o SET amount = amount + 1 WHERE customer = 3; DELETE FROM o WHERE id = 11;",
        )?;
        let m = ["10 ", "12 cy", "12 eve", "13 "];
        check_views(&server, &m, &["cy 10.00", "eve 10.00"])?;
        reads(&server, home)?;
        refusals(&server, home)?;
        server.replace_by_kill(home, 2)?;
        wait_for("the views after the restart", WAIT_MAX, || {
            let healthy = server.cli(["status"])?.code == 0;
            Ok(healthy.then_some(()))
        })?;
        check_views(&server, &m, &["cy 10.00", "eve 10.00"])?;
        let plan = server.cli_ok(["explain", "m"])?;
        ensure!(plan.contains("index c_id_idx"), "{plan}");
        sql_ok(&server, home, "INSERT INTO c VALUES ('fay', 1, NULL)")?;
        check_views(&server, &["10 fay", "12 cy", "12 eve", "13 "], &["cy 10.00", "eve 10.00", "fay 5.00"])?;
        sql_ok(&server, home, "DROP MATERIALIZED VIEW m; DROP MATERIALIZED VIEW n; DROP INDEX c_id_idx")?;
        ensure!(rows(&server, "SELECT name FROM c WHERE id = 3")? == ["cy", "eve"], "a scan finds the same");
        wait_for("the end of three dataflows", WAIT_MAX, || {
            Ok((server.metric("headwater_dataflows")? == 2.0).then_some(()))
        })?;
        sql_ok(&server, home, "CREATE INDEX c_id_idx ON c (id); DROP TABLE c CASCADE; DROP INDEX IF EXISTS c_id_idx")?;
        Ok(())
    });
}

/// Reads by the index see what has been acknowledged, and the past.
fn reads(server: &Headwater, home: &Home) -> Result<()> {
    let explained = sql_ok(server, home, "EXPLAIN SELECT name FROM c WHERE id IN (2, 3)")?;
    ensure!(explained.contains("Read now: index c_id_idx (2 keys looked up, no scan)"), "{explained}");
    ensure!(rows(server, "SELECT name, city FROM c WHERE id IN (2, 3)")? == ["bob ", "cy Rome", "eve Rome"]);
    ensure!(rows(server, "SELECT name FROM c WHERE id = 3 AND city = 'Rome'")? == ["cy", "eve"]);
    ensure!(rows(server, "SELECT name FROM c WHERE id = 99")?.is_empty());
    ensure!(rows(server, "SELECT name FROM c WHERE id IS NULL")? == ["dan"]);
    let (at, before) = server.query_now("SELECT name FROM c WHERE id = 3")?;
    for number in 0..20 {
        let printed = sql_ok(
            server,
            home,
            &format!("INSERT INTO c VALUES ('x{number}', 7, NULL); SELECT count(*) AS n FROM c WHERE id = 7"),
        )?;
        ensure!(printed.contains(&format!("\n{}\n(1 row)", number + 1)), "{printed}");
    }
    ensure!(sql_ok(server, home, "UPDATE c SET id = 3 WHERE id = 7")?.contains("UPDATE 20"));
    ensure!(server.query_at("SELECT name FROM c WHERE id = 3", at)?.sorted() == before.sorted(), "the past is kept");
    ensure!(rows(server, "SELECT name FROM c WHERE id = 3")?.len() == 22);
    ensure!(sql_ok(server, home, "DELETE FROM c WHERE id = 3 AND city IS NULL")?.contains("DELETE 20"));
    Ok(())
}

/// What is said where an index cannot come, go or be read.
fn refusals(server: &Headwater, home: &Home) -> Result<()> {
    refused(server, home, "DROP INDEX c_id_idx", &["cannot drop index \"c_id_idx\": m, n read it", "CASCADE"])?;
    refused(server, home, "DROP TABLE c", &["cannot drop table \"c\": c_id_idx, m, n read it", "CASCADE"])?;
    refused(server, home, "DROP TABLE c_id_idx", &["\"c_id_idx\" is an index, not a table", "DROP INDEX c_id_idx"])?;
    refused(server, home, "DROP INDEX nope", &["index \"nope\" does not exist"])?;
    refused(server, home, "SELECT * FROM c_id_idx", &["\"c_id_idx\" is an index and cannot be read", "read \"c\""])?;
    refused(server, home, "INSERT INTO c_id_idx VALUES (1)", &["c_id_idx", "index"])?;
    refused(server, home, "CREATE INDEX c_id_idx ON o (customer)", &["\"c_id_idx\" exists with another definition"])?;
    refused(server, home, "CREATE INDEX ON c (nope)", &["column \"nope\" of relation \"c\" does not exist", ":1:20"])?;
    let subscribed = server.cli(["subscribe", "c_id_idx"])?;
    ensure!(subscribed.code == 1 && subscribed.stderr.contains("index"), "{subscribed:?}");
    // The same statement again changes nothing, also in a deployment.
    let again = sql_ok(server, home, "CREATE INDEX ON c (id); CREATE INDEX IF NOT EXISTS c_id_idx ON o (id)")?;
    ensure!(again == "UNCHANGED INDEX\nUNCHANGED INDEX\n", "{again}");
    server.deploy(home, "deployed.sql", "CREATE INDEX ON c (id); CREATE INDEX by_city ON c (city, id)")?;
    ensure!(rows(server, "SELECT name FROM c WHERE city = 'Rome'")? == ["cy", "eve"]);
    let explained = sql_ok(server, home, "EXPLAIN SELECT name FROM c WHERE city IN ('Rome', 'Oslo')")?;
    ensure!(
        explained.contains("Read now: index by_city (scanned for 2 beginnings of keys: its other columns"),
        "{explained}"
    );
    sql_ok(server, home, "DROP INDEX by_city")?;
    Ok(())
}

/// The median of some calls.
fn median(mut call: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..15 {
        let begun = Instant::now();
        call()?;
        took.push(begun.elapsed());
    }
    took.sort();
    Ok(took[took.len() / 2])
}

#[test]
fn a_read_by_an_index_does_not_grow_with_the_table() {
    run(|home| {
        const ROWS: usize = 200_000;
        let server = Headwater::start(home, 2)?;
        sql_ok(&server, home, "CREATE TABLE t (id BIGINT, v INT, name TEXT)")?;
        let lines: String = (0..ROWS).map(|id| format!("{id},{},row {id}\n", id % 7)).collect();
        sql_ok(&server, home, &format!("COPY t FROM STDIN WITH (FORMAT csv);\n{lines}\\.\n"))?;
        let read = || -> Result<()> {
            let found = rows(&server, "SELECT v, name FROM t WHERE id = 123456")?;
            ensure!(found == ["4 row 123456"], "{found:?}");
            Ok(())
        };
        let update = || sql_ok(&server, home, "UPDATE t SET v = v WHERE id = 777").map(drop);
        let (scan, scanned_update) = (median(read)?, median(update)?);
        sql_ok(&server, home, "CREATE INDEX ON t (id)")?;
        wait_for("an index that serves", WAIT_MAX, || {
            Ok(sql_ok(&server, home, "SHOW INDEXES")?.contains("serving").then_some(()))
        })?;
        let (lookup, update) = (median(read)?, median(update)?);
        eprintln!(
            "one of {ROWS} rows: {scan:.2?} by a scan, {lookup:.2?} by an index; an UPDATE {scanned_update:.2?}, {update:.2?}"
        );
        ensure!(lookup * 3 < scan, "{lookup:?} by an index, {scan:?} by a scan");
        Ok(())
    });
}
