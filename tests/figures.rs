//! What a user sees of a running dataflow: figures of its operators, freshness, what it holds, what it costs, what failed.

use std::time::Duration;

use anyhow::{Result, ensure};
use headwater_proto::v1::{Encoding, SubscribeRequest, subscribe_response::Message};

use crate::harness::{Headwater, WAIT_MAX, run, wait_for};

/// Two tables and a view over them, with rows that are there before the view is.
const SQL: &str = "
    CREATE TABLE sales (id BIGINT PRIMARY KEY, shop TEXT, amount INT);
    CREATE TABLE shops (shop TEXT, country TEXT);
    INSERT INTO shops VALUES ('a', 'IE'), ('b', 'FR'), ('c', 'FR');
    INSERT INTO sales VALUES (1, 'a', 10), (2, 'b', 20), (3, 'b', 30), (4, 'c', 40), (5, 'x', 50), (6, 'a', 0);
    CREATE MATERIALIZED VIEW by_country AS
      SELECT c.country, count(*) AS sales, max(s.amount) AS most
      FROM sales s JOIN shops c ON s.shop = c.shop WHERE s.amount > 0 GROUP BY c.country;";

fn with_sales(home: &crate::harness::Home, workers: usize) -> Result<Headwater> {
    let server = Headwater::start(home, workers)?;
    server.cli_ok(["sql", "-c", SQL])?;
    settle(&server)?;
    Ok(server)
}

/// Waits until everything serves.
fn settle(server: &Headwater) -> Result<()> {
    wait_for("a healthy server", WAIT_MAX, || Ok((server.cli(["status"])?.code == 0).then_some(())))
}

/// A text without times and sizes, which differ from run to run.
fn masked(text: &str) -> String {
    let bare = |word: &str| word.trim_end_matches([',', ')']).to_owned();
    let mask = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let masked = words.iter().enumerate().map(|(index, word)| {
            let unit = words.get(index + 1).map(|next| bare(next)).unwrap_or_default();
            let value = word.rsplit('=').next().unwrap_or_default();
            if value.parse::<f64>().is_ok() && ["ms", "s", "B", "KiB", "MiB"].contains(&unit.as_str()) {
                return word.replace(value, "_");
            }
            match bare(word).as_str() {
                size @ ("KiB" | "MiB") => word.replace(size, "B"),
                _ => (*word).to_owned(),
            }
        });
        masked.collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(mask).collect()
}

#[test]
fn explain_analyze_shows_what_every_operator_did_and_holds() {
    run(|home| {
        let server = with_sales(home, 1)?;
        let plan = server.cli_ok(["explain", "--analyze", "by_country"])?;
        // What has rows, and what holds how much: of six sales five are looked at, of which four have a shop.
        for (operator, rows, held) in [
            ("Output (arranged, with its errors)", 2, Some(2)),
            ("Reduce (private table)", 2, Some(2)),
            ("Join (private table per side)", 4, Some(8)),
            ("Get sales (shared import, with retractions)", 6, None),
            ("Get shops (shared import, with retractions)", 3, None),
        ] {
            let found = plan.lines().find_map(|line| line.trim_start().strip_prefix(operator));
            let figures = found.unwrap_or_default();
            ensure!(figures.starts_with(&format!("  (rows={rows} time=")), "{operator}: {plan}");
            match held {
                Some(records) => {
                    ensure!(figures.contains(&format!(", holds {records} records in ")), "{operator}: {plan}")
                }
                None => ensure!(!figures.contains("holds"), "{operator}: {plan}"),
            }
        }
        let total = plan.lines().last().unwrap_or_default();
        ensure!(total.starts_with("Total: 9 rows in, 2 rows out, ") && total.contains(" of 1 worker in "), "{plan}");
        // A statement says the same, a line a row.
        let rows = server.cli_ok(["sql", "-o", "json", "-c", "EXPLAIN ANALYZE VIEW by_country"])?;
        ensure!(rows.lines().count() == plan.lines().count(), "{rows}");
        // One changed row: the old answer and the new one of its group.
        server.cli_ok(["sql", "-c", "UPDATE sales SET amount = 60 WHERE id = 1; SELECT * FROM by_country"])?;
        let plan = server.cli_ok(["explain", "--analyze", "by_country"])?;
        let output = plan.lines().next().unwrap_or_default();
        ensure!(output.starts_with("Output (arranged, with its errors)  (rows=4 "), "{plan}");
        // What has gone is held by nobody.
        server.cli_ok(["sql", "-c", "DELETE FROM sales; DELETE FROM shops; SELECT * FROM by_country"])?;
        let plan = server.cli_ok(["explain", "--analyze", "by_country"])?;
        let private = plan.lines().filter(|line| line.contains("(private table"));
        ensure!(
            private.clone().count() == 2 && private.clone().all(|line| line.contains(", holds 0 records")),
            "{plan}"
        );
        for (target, message, hint) in [
            ("SELECT 1", "EXPLAIN ANALYZE of a query", "deploy the query"),
            ("nobody", "relation \"nobody\" does not exist", ""),
        ] {
            let refused = server.cli(["explain", "--analyze", target])?;
            ensure!(refused.code == 1 && refused.stderr.contains(message), "{target}: {refused:?}");
            ensure!(refused.stderr.contains(hint), "{target}: {refused:?}");
        }
        server.cli_ok(["sql", "-c", "CREATE VIEW named AS SELECT shop FROM sales"])?;
        let refused = server.cli(["sql", "-c", "EXPLAIN ANALYZE named"])?;
        ensure!(refused.code == 1 && refused.stderr.contains("\"named\", which is a view"), "{refused:?}");
        Ok(())
    });
}

#[test]
fn workers_add_up_to_the_same_figures() {
    let mut plans = Vec::new();
    for workers in [1, 2] {
        run(|home| {
            let server = with_sales(home, workers)?;
            let plan = masked(&server.cli_ok(["explain", "--analyze", "by_country"])?);
            plans.push(plan.replace("of 2 workers", "of 1 worker"));
            Ok(())
        });
    }
    assert_eq!(plans[0], plans[1]);
}

#[test]
fn status_and_metrics_say_how_fresh_dear_and_large_a_view_is() {
    run(|home| {
        let server = with_sales(home, 2)?;
        let view = wait_for("figures", WAIT_MAX, || {
            let status: serde_json::Value = serde_json::from_str(&server.cli_ok(["status", "-o", "json"])?)?;
            let objects = status["objects"].as_array().cloned().unwrap_or_default();
            Ok(objects.into_iter().find(|object| object["name"] == "by_country" && !object["elapsed_ms"].is_null()))
        })?;
        let fresh = view["freshness_ms"].as_u64().unwrap_or(u64::MAX);
        ensure!(fresh < 10_000, "{view}");
        ensure!(view["elapsed_ms"].as_f64().is_some_and(|elapsed| elapsed > 0.0), "{view}");
        ensure!(view["held_records"].as_u64().is_some_and(|records| records >= 4), "{view}");
        ensure!(view["held_bytes"].as_u64().is_some_and(|bytes| bytes >= 100), "{view}");
        let table = server.cli_ok(["status"])?;
        ensure!(table.contains("freshness_ms") && table.contains("held_bytes"), "{table}");
        wait_for("the metrics of the view", WAIT_MAX, || {
            let metrics = server.http_get("/metrics")?;
            let value = |name: &str| -> Option<f64> {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
                line.strip_prefix("{view=\"by_country\"} ")?.parse().ok()
            };
            let [elapsed, records, bytes] =
                ["headwater_view_elapsed_seconds_total", "headwater_view_held_records", "headwater_view_held_bytes"]
                    .map(value);
            Ok((elapsed > Some(0.0) && records >= Some(4.0) && bytes >= Some(100.0)).then_some(()))
        })
    });
}

#[test]
fn a_rank_of_all_rows_is_accepted_with_a_notice() {
    run(|home| {
        let server = with_sales(home, 1)?;
        let deploy = |text: &str| {
            let path = home.file("ranks.sql", text)?;
            server.cli([std::ffi::OsStr::new("deploy"), path.as_os_str()])
        };
        let ranks = "CREATE MATERIALIZED VIEW ranks AS
              SELECT id, rank() OVER (ORDER BY amount) AS place FROM sales;";
        let deployed = deploy(ranks)?;
        ensure!(deployed.code == 0, "{deployed:?}");
        ensure!(deployed.stderr.contains("notice: ranks: rank() of all rows is kept"), "{deployed:?}");
        ensure!(deployed.stderr.contains("hint: where there are few rows that is cheap"), "{deployed:?}");
        // Nothing is created again, so there is nothing to say; nor of tiles and of the first rows.
        let again = deploy(ranks)?;
        ensure!(again.code == 0 && !again.stderr.contains("notice"), "{again:?}");
        let cheap = deploy(
            "CREATE MATERIALIZED VIEW tiles AS SELECT id, ntile(4) OVER (ORDER BY amount) AS tile FROM sales;
             CREATE MATERIALIZED VIEW firsts AS SELECT id FROM
               (SELECT id, row_number() OVER (PARTITION BY shop ORDER BY amount) AS n FROM sales) AS s WHERE n <= 3;",
        )?;
        ensure!(cheap.code == 0 && !cheap.stderr.contains("notice"), "{cheap:?}");
        let text = "CREATE MATERIALIZED VIEW places AS
            SELECT id, row_number() OVER (PARTITION BY shop ORDER BY amount) AS n FROM sales";
        let said = server.cli(["sql", "-c", text])?;
        ensure!(said.code == 0 && said.stdout == "CREATE MATERIALIZED VIEW\n", "{said:?}");
        ensure!(said.stderr.contains("notice: places: row_number() of all rows is kept"), "{said:?}");
        ensure!(said.stderr.contains("in its partition"), "{said:?}");
        Ok(())
    });
}

#[test]
fn progress_says_how_many_rows_are_in_errors() {
    run(|home| {
        let server = with_sales(home, 2)?;
        server.cli_ok([
            "sql",
            "-c",
            "CREATE MATERIALIZED VIEW inverse AS SELECT id, 100 / amount AS x FROM sales;
             CREATE MATERIALIZED VIEW kept AS SELECT id FROM sales",
        ])?;
        settle(&server)?;
        let errors = |skip_snapshot, sql: &str| -> Result<u64> {
            let views = vec!["inverse".to_owned(), "kept".to_owned()];
            let encoding = Encoding::ArrowIpc.into();
            let request = SubscribeRequest { views, skip_snapshot, progress: true, encoding };
            let mut messages = server.runtime.block_on(server.client.subscribe(request))?;
            server.cli_ok(["sql", "-c", sql])?;
            let (at, _) = server.query_now("SELECT count(*) FROM inverse")?;
            server.runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(60), async {
                    while let Some(message) = messages.next().await? {
                        if let Some(Message::Progress(progress)) = message.message
                            && progress.upper > at
                        {
                            return Ok(progress.errors);
                        }
                    }
                    anyhow::bail!("the subscription ended")
                })
                .await?
            })
        };
        ensure!(errors(false, "INSERT INTO sales VALUES (7, 'a', 0), (8, 'a', 5)")? == 2);
        ensure!(errors(true, "UPDATE sales SET amount = 1 WHERE id = 7")? == 1);
        // Whoever reads the lines is told too, without asking for marks.
        let (at, _) = server.query_now("SELECT count(*) FROM inverse")?;
        let until = (at + 1).to_string();
        let said = server.cli(["subscribe", "-o", "csv", "--until-progress", &until, "inverse"])?;
        ensure!(said.code == 0 && said.stderr.contains("notice: inverse: 1 row is in errors"), "{said:?}");
        ensure!(said.stderr.contains("headwater errors inverse"), "{said:?}");
        let silent = server.cli(["subscribe", "-o", "csv", "--until-progress", &until, "kept"])?;
        ensure!(silent.code == 0 && silent.stderr.is_empty(), "{silent:?}");
        ensure!(errors(false, "DELETE FROM sales WHERE id = 6")? == 0);
        Ok(())
    });
}
