//! Kills and rivals: what was acknowledged is there, what was not is there whole or not at all, and no update is lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headwater_proto::client::Client;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{execute, execute_ok, sql_ok};
use crate::harness::{Headwater, run};

/// Rows of one statement.
const ROWS: usize = 7;
const KILLS: usize = 8;

#[test]
fn acknowledged_rows_survive_kills_and_statements_are_there_whole_or_not_at_all() {
    run(|home| {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut server = Headwater::start(home, 2)?;
        sql_ok(
            &server,
            home,
            "CREATE TABLE t (statement INT, i INT, PRIMARY KEY (statement, i));
            CREATE MATERIALIZED VIEW n AS SELECT statement, count(*) AS n FROM t GROUP BY statement;
            CREATE TABLE counter (n INT); INSERT INTO counter VALUES (0)",
        )?;
        let (mut next, mut acknowledged) = (0, BTreeSet::new());
        let (mut counted, mut tried) = (0, 0);
        for kill in 0..KILLS {
            let cut = Duration::from_millis(rng.random_range(20..400));
            let address = server.address.clone();
            let stopped = AtomicBool::new(false);
            std::thread::scope(|scope| -> Result<()> {
                let writer = scope.spawn(|| write(&address, &stopped, &mut next, &mut acknowledged));
                let counter = scope.spawn(|| count(&address, &stopped, &mut counted, &mut tried));
                std::thread::park_timeout(cut);
                let workers = [1, 2, 4][kill % 3];
                server.replace_by_kill(home, workers)?;
                stopped.store(true, Ordering::Release);
                writer.join().expect("the writer does not panic")?;
                counter.join().expect("the counter does not panic")
            })?;
            let found = server.query("SELECT statement, n FROM n")?;
            let mut there = BTreeSet::new();
            for row in &found.rows {
                ensure!(row[1] == ROWS.to_string(), "statement {} is there in part: {row:?}", row[0]);
                there.insert(row[0].parse::<usize>()?);
            }
            let lost: Vec<&usize> = acknowledged.difference(&there).collect();
            ensure!(lost.is_empty(), "after kill {kill} acknowledged statements are gone: {lost:?}");
            let direct = server.query("SELECT count(*) AS n FROM t")?;
            ensure!(direct.cell("n")? == (there.len() * ROWS).to_string(), "{direct:?}");
            let n: usize = server.query("SELECT n FROM counter")?.cell("n")?.parse()?;
            ensure!(
                (counted..=tried).contains(&n),
                "the counter says {n}: {counted} updates acknowledged, {tried} tried"
            );
            (counted, tried) = (n, n);
            // The keys that there are, are taken.
            if let Some(taken) = there.last() {
                let again = format!("INSERT INTO t VALUES ({taken}, 0)");
                let (_, end) = server.runtime.block_on(execute(&server.client, &[again]));
                ensure!(end.is_err_and(|error| error.to_string().contains("duplicate key")), "a key came twice");
            }
        }
        ensure!(acknowledged.len() > KILLS, "hardly anything was written: {}", acknowledged.len());
        eprintln!("{} statements acknowledged, {next} sent, {counted} updates, {KILLS} kills", acknowledged.len());
        Ok(())
    });
}

/// Inserts until the server is gone; several statements a call, each of several rows.
fn write(address: &str, stopped: &AtomicBool, next: &mut usize, acknowledged: &mut BTreeSet<usize>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The server may be gone already.
        let Ok(client) = Client::connect(address).await else { return Ok(()) };
        while !stopped.load(Ordering::Acquire) {
            let first = *next;
            let statement = |statement: usize| {
                let rows: Vec<String> = (0..ROWS).map(|i| format!("({statement}, {i})")).collect();
                format!("INSERT INTO t VALUES {}", rows.join(", "))
            };
            let statements: Vec<String> = (first..first + 20).map(statement).collect();
            *next += statements.len();
            let (tags, end) = execute(&client, &statements).await;
            acknowledged.extend(first..first + tags.len());
            if end.is_err() {
                return Ok(());
            }
        }
        Ok(())
    })
}

/// Counts in the database until the server is gone.
fn count(address: &str, stopped: &AtomicBool, counted: &mut usize, tried: &mut usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The server may be gone already.
        let Ok(client) = Client::connect(address).await else { return Ok(()) };
        while !stopped.load(Ordering::Acquire) {
            *tried += 1;
            let (tags, _) = execute(&client, &["UPDATE counter SET n = n + 1".to_owned()]).await;
            if tags.is_empty() {
                return Ok(());
            }
            *counted += 1;
        }
        Ok(())
    })
}

#[test]
fn no_update_of_two_writers_is_lost() {
    run(|home| {
        const UPDATES: usize = 60;
        let server = Headwater::start(home, 2)?;
        sql_ok(
            &server,
            home,
            "CREATE TABLE c (k INT PRIMARY KEY, n INT); INSERT INTO c VALUES (1, 0), (2, 0);
            CREATE MATERIALIZED VIEW m AS SELECT sum(n) AS n FROM c",
        )?;
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| -> Result<()> {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let (address, taken) = (&server.address, &taken);
                    scope.spawn(move || -> Result<()> {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                        runtime.block_on(async {
                            let client = Client::connect(address).await?;
                            for round in 0..UPDATES {
                                execute_ok(&client, "UPDATE c SET n = n + 1 WHERE k = 1").await?;
                                // All of them want the same key; one gets it.
                                let insert = format!("INSERT INTO c VALUES ({}, {writer})", 100 + round);
                                let (tags, _) = execute(&client, &[insert]).await;
                                taken.fetch_add(tags.len(), Ordering::Relaxed);
                            }
                            Ok(())
                        })
                    })
                })
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
        })?;
        let n = server.query("SELECT n FROM c WHERE k = 1")?;
        ensure!(n.cell("n")? == (3 * UPDATES).to_string(), "updates are lost: {n:?}");
        ensure!(taken.into_inner() == UPDATES, "a key was given more than once");
        let keys = server.query("SELECT count(*) AS n, count(DISTINCT k) AS k FROM c")?;
        let wanted = (UPDATES + 2).to_string();
        ensure!(keys.cell("n")? == wanted && keys.cell("k")? == wanted, "{keys:?}");
        let sums = server.query("SELECT m.n AS kept, (SELECT sum(n) FROM c) AS plain FROM m")?;
        ensure!(sums.cell("kept").context("kept")? == sums.cell("plain")?, "{sums:?}");
        Ok(())
    });
}
