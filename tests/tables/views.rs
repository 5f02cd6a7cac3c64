//! Views over tables: every statement is one transition, every acknowledged row is seen, and under any sequence of writes a
//! view is what its query gives.

use anyhow::{Context, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{execute_ok, sql_ok};
use crate::harness::{Headwater, WAIT_MAX, run};
use crate::wire::{Mirror, Reached, contents, query};

#[test]
fn each_statement_is_one_transition_of_the_views_over_its_table() {
    run(|home| {
        let server = Headwater::start(home, 2)?;
        sql_ok(
            &server,
            home,
            "CREATE TABLE t (k INT PRIMARY KEY, g INT, v INT);
            CREATE MATERIALIZED VIEW s AS SELECT g, count(*) AS n, sum(v) AS sum FROM t GROUP BY g;
            CREATE MATERIALIZED VIEW all_rows AS SELECT k FROM t",
        )?;
        let values = |from: i32, to: i32| {
            let rows: Vec<String> = (from..to).map(|k| format!("({k}, {}, {k})", k % 3)).collect();
            rows.join(", ")
        };
        // How many rows there are after each.
        let statements = [
            (format!("INSERT INTO t VALUES {}", values(0, 300)), 300),
            ("UPDATE t SET v = v + 1000 WHERE g < 2".to_owned(), 300),
            ("DELETE FROM t WHERE k >= 100".to_owned(), 100),
            (format!("INSERT INTO t VALUES {}", values(500, 700)), 300),
            ("UPDATE t SET g = 9".to_owned(), 300),
            ("DELETE FROM t".to_owned(), 0),
        ];
        let follow = async {
            // A snapshot at the time 0 of a new server would be none.
            execute_ok(&server.client, "INSERT INTO t VALUES (-1, 0, 0)").await?;
            execute_ok(&server.client, "DELETE FROM t").await?;
            let mut mirror = Mirror::open(&server.client, &["t", "s", "all_rows"]).await?;
            mirror.next().await?;
            for (statement, rows) in &statements {
                execute_ok(&server.client, statement).await?;
                // The first contents that differ are those after the statement, whole.
                let before = mirror.views.clone();
                while mirror.views == before {
                    tokio::time::timeout(WAIT_MAX, mirror.next()).await.context("nothing comes any more")??;
                }
                let count = |view: usize| mirror.views[view].values().sum::<i64>();
                ensure!((count(0), count(2)) == (*rows, *rows), "{} rows after {statement}", count(0));
                for (view, sql) in [(0, "SELECT * FROM t"), (1, "SELECT g, count(*), sum(v) FROM t GROUP BY g")] {
                    let (_, table) = query(&server.client, sql, None).await?;
                    ensure!(contents(&table) == mirror.views[view], "{sql} after {statement}");
                }
            }
            Ok(())
        };
        server.runtime.block_on(follow)
    });
}

#[test]
fn what_was_acknowledged_is_seen_by_the_next_query() {
    run(|home| {
        let server = Headwater::start(home, 2)?;
        sql_ok(
            &server,
            home,
            "CREATE TABLE t (k INT PRIMARY KEY); CREATE TABLE u (k INT);
            CREATE VIEW both AS SELECT k FROM t UNION ALL SELECT k FROM u;
            CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM both;
            CREATE MATERIALIZED VIEW nn AS SELECT max(n) AS n FROM n",
        )?;
        let follow = async {
            for round in 0..150 {
                let table = ["t", "u"][round % 2];
                execute_ok(&server.client, &format!("INSERT INTO {table} VALUES ({round})")).await?;
                for sql in ["SELECT n FROM nn", "SELECT count(*) AS n FROM both", "SELECT n FROM n"] {
                    let (_, found) = query(&server.client, sql, None).await?;
                    ensure!(found.cell("n")? == (round + 1).to_string(), "{sql} gives {found:?} after row {round}");
                }
            }
            Ok(())
        };
        server.runtime.block_on(follow)
    });
}

const JOINED: &str = "SELECT c.name, count(*) AS n, sum(o.amount) AS sum, max(o.amount) AS most
    FROM orders o JOIN customers c ON o.customer = c.id GROUP BY c.name";
const DISTINCT: &str = "SELECT DISTINCT customer FROM orders WHERE amount > 20";
const KNOWN: &str = "SELECT id, amount FROM orders WHERE customer IN (SELECT id FROM customers WHERE region < 3)";

/// A statement at random.
fn draw(rng: &mut ChaCha8Rng, next: &mut i32) -> String {
    let customer = rng.random_range(0..12);
    match rng.random_range(0..12) {
        0..=3 => {
            let count = rng.random_range(1..6);
            let rows: Vec<String> = (0..count)
                .map(|_| {
                    *next += 1;
                    let (customer, cents) = (rng.random_range(0..12), rng.random_range(0..9_000));
                    format!("({next}, {customer}, {}.{:02})", cents / 100, cents % 100)
                })
                .collect();
            format!("INSERT INTO orders VALUES {}", rows.join(", "))
        }
        4 => format!("UPDATE orders SET amount = amount + 1.25 WHERE customer = {customer}"),
        5 => format!("UPDATE orders SET customer = {customer} WHERE id % 7 = {}", rng.random_range(0..7)),
        6 => format!("DELETE FROM orders WHERE id % 11 = {}", rng.random_range(0..11)),
        7 => format!("DELETE FROM orders WHERE customer IN (SELECT id FROM customers WHERE region = {})", customer % 5),
        8 => format!(
            "INSERT INTO customers VALUES ({customer}, 'name {}', {}) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            rng.random_range(0..4),
            rng.random_range(0..5)
        ),
        9 => format!("UPDATE customers SET region = region + 1, name = upper(name) WHERE id = {customer}"),
        10 => format!("DELETE FROM customers WHERE id = {customer}"),
        _ => format!(
            "INSERT INTO orders SELECT id + 100000 * {}, customer, amount FROM orders WHERE id % 5 = 1 AND id < 1000",
            {
                *next += 1;
                *next
            }
        ),
    }
}

#[test]
fn views_over_tables_are_what_their_queries_give_under_any_writes() {
    run(|home| {
        let mut rng = ChaCha8Rng::seed_from_u64(77);
        for workers in [1, 2, 4] {
            let server = Headwater::start(home, workers)?;
            sql_ok(&server, home, "DROP TABLE IF EXISTS orders CASCADE; DROP TABLE IF EXISTS customers CASCADE")?;
            sql_ok(
                &server,
                home,
                &format!(
                    "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer INT, amount DECIMAL(12, 2));
                CREATE TABLE customers (id INT PRIMARY KEY, name TEXT, region INT);
                INSERT INTO customers VALUES (1, 'a', 1), (2, 'b', 2), (3, 'a', 3), (4, 'c', 4);
                CREATE MATERIALIZED VIEW joined AS {JOINED};
                CREATE MATERIALIZED VIEW big AS {DISTINCT};
                CREATE MATERIALIZED VIEW known AS {KNOWN}"
                ),
            )?;
            let mut next = 0;
            let follow = async {
                for step in 0..80 {
                    let statement = draw(&mut rng, &mut next);
                    execute_ok(&server.client, &statement).await?;
                    for (view, sql) in [("joined", JOINED), ("big", DISTINCT), ("known", KNOWN)] {
                        let (at, kept) = query(&server.client, &format!("SELECT * FROM {view}"), None).await?;
                        let (_, plain) = query(&server.client, sql, Some(at)).await?;
                        let same = contents(&kept) == contents(&plain);
                        ensure!(
                            same,
                            "{view} at step {step}, {workers} workers, after {statement}: {kept:?} {plain:?}"
                        );
                    }
                }
                Ok(())
            };
            server.runtime.block_on(follow)?;
            // A subscription that begins now has the same snapshot.
            let kept = server.query("SELECT * FROM joined")?;
            let snapshot = server.runtime.block_on(async {
                let mut mirror = Mirror::open(&server.client, &["joined"]).await?;
                while !matches!(mirror.next().await?, Reached::Contents { .. }) {}
                Ok::<_, anyhow::Error>(mirror.views[0].clone())
            });
            ensure!(snapshot? == contents(&kept), "the snapshot differs");
        }
        Ok(())
    });
}
