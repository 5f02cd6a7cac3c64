//! A subscriber that applies transitions has at every mark exactly what a query at that time gives, and views that must
//! agree do agree at every mark.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::data::{online_retail, unpack};
use crate::harness::{Feed, Headwater, WAIT_MAX, run};
use crate::retail::{deploy_example, sources_over};
use crate::table::Table;
use crate::wire::{Mirror, Reached, contents, query};

const VIEWS: [&str; 5] = ["totals", "daily_kpis", "hourly_kpis", "country_kpis", "rfm_base"];

/// Lines that are fed while the subscription is checked, and how many at once.
const LINES: usize = 24_000;
const PIECE: usize = 150;

/// The sum of `gross_mils` in one view of the mirror.
fn gross(mirror: &Mirror, view: usize) -> Result<i64> {
    mirror.table(view)?.sum("gross_mils")
}

/// All views that sum the same money must come to the same.
fn check_agreement(mirror: &Mirror, at: i64) -> Result<()> {
    let total = gross(mirror, 0)?;
    for (view, name) in VIEWS.iter().enumerate().skip(1).take(3) {
        let sum = gross(mirror, view)?;
        ensure!(sum == total, "at {at} {name} comes to {sum} and totals to {total}");
    }
    let known: i64 = mirror.table(0)?.sum("gross_known_customer_mils")?;
    let spent = mirror.table(4)?.sum("monetary_mils")?;
    ensure!(spent == known, "at {at} rfm_base comes to {spent} and totals to {known}");
    Ok(())
}

/// How long all of it may take on a busy machine.
const FOLLOW_MAX: Duration = Duration::from_secs(300);

/// Follows the views until `lines` lines are in them; at every mark the mirror must be what the queries say.
async fn follow(server: &Headwater, lines: usize) -> Result<(usize, usize)> {
    let mut mirror = Mirror::open(&server.client, &VIEWS).await?;
    let (mut transitions, mut marks) = (0, 0);
    loop {
        let reached = tokio::time::timeout(WAIT_MAX, mirror.next()).await.context("nothing comes any more")??;
        let at = match reached {
            Reached::Contents { at, .. } => {
                transitions += 1;
                at
            }
            Reached::Progress { upper } => {
                marks += 1;
                upper - 1
            }
        };
        check_agreement(&mirror, at)?;
        for (view, name) in VIEWS.iter().enumerate() {
            let (_, table) = query(&server.client, &format!("SELECT * FROM {name}"), Some(at)).await?;
            let (queried, mirrored) = (contents(&table), &mirror.views[view]);
            ensure!(
                queried == *mirrored,
                "{name} at {at}: the query gives {} rows, the subscription {}; first of them {:?} and {:?}",
                queried.len(),
                mirrored.len(),
                queried.iter().find(|(row, count)| mirrored.get(*row) != Some(count)),
                mirrored.iter().find(|(row, count)| queried.get(*row) != Some(count)),
            );
        }
        let all_in = mirror.table(0)?.cell("lines")?.parse::<usize>()? == lines;
        if all_in && matches!(reached, Reached::Progress { .. }) {
            return Ok((transitions, marks));
        }
    }
}

#[test]
fn subscriptions_and_queries_agree_at_every_mark() {
    let Some(dir) = online_retail("subscriptions_and_queries_agree_at_every_mark") else { return };
    run(|home| {
        let feed = Feed::create(&home.path().join("online_retail.csv"), unpack(&dir.join("online_retail.csv.zst"))?)?;
        let server = Headwater::start(home, 2)?;
        deploy_example(&server, home, &sources_over("online_retail.csv", ", FOLLOW true")?)?;
        let writer = std::thread::spawn(move || -> Result<()> {
            let mut feed = feed;
            for line in (PIECE..=LINES).step_by(PIECE) {
                feed.write(line)?;
                // The pace of the replay.
                std::thread::park_timeout(Duration::from_millis(30));
            }
            Ok(())
        });
        let follow = async { tokio::time::timeout(FOLLOW_MAX, follow(&server, LINES)).await };
        let followed = server.runtime.block_on(follow);
        let (transitions, marks) = followed.context("the lines do not all come to the views")??;
        writer.join().expect("the writer does not panic")?;
        ensure!(transitions > 20, "only {transitions} transitions");
        ensure!(marks > 0, "no progress marks");
        Ok(())
    });
}

#[test]
fn a_time_outside_of_history_is_refused_with_the_limit() {
    run(|home| {
        home.file("n.csv", "n\n1\n2\n")?;
        let server = Headwater::start(home, 1)?;
        server.deploy(
            home,
            "n.sql",
            "CREATE SOURCE n (n INT) FROM FILE (PATH 'n.csv') FORMAT CSV;
             CREATE MATERIALIZED VIEW s AS SELECT sum(n) AS s FROM n;",
        )?;
        let (at, table) = server.query_now("SELECT s FROM s")?;
        ensure!(table == Table { columns: vec!["s".to_owned()], rows: vec![vec!["3".to_owned()]] }, "{table:?}");
        ensure!(server.query_at("SELECT s FROM s", at)? == table);
        for (time, word) in [("1", "oldest"), ("99999999999999", "newest")] {
            let refused = server.cli(["query", "--at", time, "SELECT s FROM s"])?;
            ensure!(refused.code == 1 && refused.stderr.contains(word), "{refused:?}");
        }
        Ok(())
    });
}
