//! Deploying, dropping and refusing: a late view answers as an early one, cycles leave nothing behind, a wrong statement
//! disturbs nothing, broken records cost nobody else.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::{CHECKED_VIEWS, example, online_retail, unpack};
use crate::harness::{Feed, Headwater, WAIT_MAX, run, serve, wait_for};
use crate::retail::{deploy_example, sources_over};
use crate::table::Table;

/// Deploy and drop, so often.
const CYCLES: usize = 200;
/// Cycles after which everything that is built once has been built.
const WARM: usize = 40;
/// How much memory the other cycles may add.
const GROWTH_MAX_BYTES: u64 = 24 << 20;

/// The names of the views of `kpi.sql` and `rfm_base.sql` with a suffix, in a text of the files.
fn renamed(text: &str) -> String {
    let names = ["totals", "first_sales", "period_entries"].into_iter().chain(CHECKED_VIEWS.map(|(view, _, _)| view));
    names.fold(text.to_owned(), |text, name| {
        text.replace(&format!("VIEW {name} AS"), &format!("VIEW {name}_late AS"))
            .replace(&format!("FROM {name}"), &format!("FROM {name}_late"))
    })
}

#[test]
fn a_late_view_answers_as_an_early_one() {
    let Some(dir) = online_retail("a_late_view_answers_as_an_early_one") else { return };
    run(|home| {
        let mut feed =
            Feed::create(&home.path().join("online_retail.csv"), unpack(&dir.join("online_retail.csv.zst"))?)?;
        let server = Headwater::start(home, 2)?;
        deploy_example(&server, home, &sources_over("online_retail.csv", ", FOLLOW true")?)?;
        let lines = feed.lines();
        feed.write(lines)?;
        server.wait_for_lines(lines)?;
        server.deploy(home, "late.sql", &renamed(&(example("kpi.sql")? + &example("rfm_base.sql")?)))?;
        for view in ["totals", "first_sales"].into_iter().chain(CHECKED_VIEWS.map(|(view, _, _)| view)) {
            let (at, late) = server.query_now(&format!("SELECT * FROM {view}_late"))?;
            let (early, late) = (server.query_at(&format!("SELECT * FROM {view}"), at)?.sorted(), late.sorted());
            ensure!(!early.rows.is_empty() && early == late, "{view}_late differs from {view}");
        }
        Ok(())
    });
}

/// A server with a small source and a view over it.
const SMALL: &str = "
    CREATE SOURCE sales (id BIGINT NOT NULL, shop TEXT NOT NULL, amount DECIMAL(12, 2) NOT NULL, sold TIMESTAMPTZ)
      FROM FILE (PATH 'sales.csv', FOLLOW true) FORMAT CSV;
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS lines, sum(amount) AS amount FROM sales;
";

fn small_sales(lines: usize) -> String {
    let mut text = "id,shop,amount,sold\n".to_owned();
    for id in 0..lines {
        writeln!(text, "{id},shop {},{}.{:02},2025-03-{:02}T10:00:00Z", id % 17, id % 503, id % 100, id % 28 + 1)
            .expect("writing to a string does not fail");
    }
    text
}

#[test]
fn cycles_of_deploy_and_drop_leave_memory_flat() {
    run(|home| {
        home.file("sales.csv", small_sales(20_000))?;
        // Freed memory goes back at once: what is kept for later would be the most that was ever needed, not what is.
        let mut command = serve(home, 2)?;
        command.env("MIMALLOC_PURGE_DELAY", "0");
        let server = Headwater::spawn(home, command)?;
        server.deploy(home, "small.sql", SMALL)?;
        server.wait_for_lines(20_000)?;
        home.file(
            "cycle.sql",
            "CREATE MATERIALIZED VIEW by_shop AS
               SELECT shop, count(DISTINCT id) AS sales, max(amount) AS most FROM sales GROUP BY shop;
             CREATE MATERIALIZED VIEW large AS
               SELECT s.id, s.amount, b.sales FROM sales s JOIN by_shop b ON s.shop = b.shop WHERE s.amount > 400;",
        )?;
        // The dataflow that is left is of totals. The figure is observed about once a second.
        let dropped = || Ok((server.metric("headwater_dataflows")? == 1.0).then_some(()));
        let mut warm = 0;
        for cycle in 1..=CYCLES {
            let path = home.path().join("cycle.sql");
            server.cli_ok(["deploy".as_ref(), path.as_os_str()])?;
            server.cli_ok(["drop", "--cascade", "by_shop"])?;
            if cycle == WARM {
                wait_for("the dropped dataflows to end", WAIT_MAX, dropped)?;
                warm = server.resident_bytes()?;
            }
        }
        wait_for("the dropped dataflows to end", WAIT_MAX, dropped)?;
        let end = server.resident_bytes()?;
        println!("resident after {WARM} cycles {} KiB, after {CYCLES} {} KiB", warm / 1024, end / 1024);
        ensure!(
            end <= warm + GROWTH_MAX_BYTES,
            "{} KiB after {WARM} cycles, {} KiB after {CYCLES}",
            warm / 1024,
            end / 1024
        );
        server.wait_for_lines(20_000).map(drop)
    });
}

#[test]
fn a_wrong_statement_disturbs_nothing() {
    run(|home| {
        let feed_path = home.path().join("sales.csv");
        let mut feed = Feed::create(&feed_path, small_sales(2_000).into_bytes())?;
        let server = Headwater::start(home, 2)?;
        server.deploy(home, "small.sql", SMALL)?;
        feed.write(1_000)?;
        server.wait_for_lines(1_000)?;
        let listed = server.cli_ok(["list", "-o", "csv"])?.lines().count();
        let wrong = [
            ("SELEC 1", "1:1", "SELEC"),
            ("CREATE MATERIALIZED VIEW v AS SELECT nothing FROM sales", "1:38", "nothing"),
            ("CREATE MATERIALIZED VIEW v AS SELECT * FROM nowhere", "1:45", "nowhere"),
            (
                "CREATE MATERIALIZED VIEW fine AS SELECT count(*) AS n FROM sales;\n\
                 CREATE MATERIALIZED VIEW v AS\n  SELECT id, count(DISTINCT id) OVER (ORDER BY id) AS n FROM sales",
                "3:",
                "window",
            ),
            ("CREATE MATERIALIZED VIEW v AS SELECT * FROM sales ORDER BY id", "1:", "ORDER BY"),
            ("CREATE MATERIALIZED VIEW v AS SELECT now() AS n FROM sales", "1:38", "now"),
            ("CREATE MATERIALIZED VIEW totals AS SELECT 1 AS one", "", "totals"),
        ];
        for (statement, place, word) in wrong {
            let path = home.file("wrong.sql", statement)?;
            let refused = server.cli(["deploy".as_ref(), path.as_os_str()])?;
            ensure!(refused.code == 1, "{statement}: {refused:?}");
            ensure!(refused.stderr.to_lowercase().contains(&word.to_lowercase()), "{statement}: {refused:?}");
            ensure!(
                refused.stderr.contains(&format!("wrong.sql:{place}")) || place.is_empty(),
                "{statement}: {refused:?}"
            );
            // Not even the statements before the wrong one are applied.
            ensure!(
                server.cli_ok(["list", "-o", "csv"])?.lines().count() == listed,
                "{statement} left something behind"
            );
        }
        feed.write(2_000)?;
        server.wait_for_lines(2_000).map(drop)
    });
}

#[test]
fn broken_records_are_listed_and_lose_no_other() {
    run(|home| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut text, mut good, mut amount, mut broken) = ("id,shop,amount,sold\n".to_owned(), 0, 0, Vec::new());
        for line in 2..=20_001 {
            if rng.random_ratio(1, 100) {
                let record = match rng.random_range(0..4) {
                    0 => format!("{line},shop,12.x5,2025-03-01T10:00:00Z"),
                    1 => ",shop,12.05,2025-03-01T10:00:00Z".to_owned(),
                    2 => format!("{line},shop"),
                    _ => format!("{line},shop,1.00,on a monday"),
                };
                writeln!(text, "{record}")?;
                broken.push(line);
            } else {
                let cents = rng.random_range(1..100_000);
                writeln!(text, "{line},shop,{}.{:02},2025-03-01T10:00:00Z", cents / 100, cents % 100)?;
                (good, amount) = (good + 1, amount + cents);
            }
        }
        home.file("sales.csv", text)?;
        let server = Headwater::start(home, 2)?;
        server.deploy(home, "small.sql", &SMALL.replace(", FOLLOW true", ""))?;
        let totals = server.query("SELECT * FROM totals")?;
        ensure!(totals.cell("lines")? == format!("{good}"), "{totals:?} instead of {good} lines");
        ensure!(totals.cell("amount")? == format!("{}.{:02}", amount / 100, amount % 100), "{totals:?}");
        let listed = Table::from_csv(server.cli_ok(["errors", "-o", "csv", "sales"])?.as_bytes())?;
        let position = listed.column("position")?;
        let places =
            listed.rows.iter().map(|row| row[position].rsplit(':').next().unwrap_or_default().parse::<usize>());
        let mut places = places.collect::<Result<Vec<_>, _>>().context("a position without a line")?;
        places.sort_unstable();
        ensure!(places == broken, "{} of {} broken records are listed", places.len(), broken.len());
        Ok(())
    });
}
