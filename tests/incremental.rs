//! What a line costs does not depend on how many came before it, and only what it changes leaves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::data::{online_retail, unpack};
use crate::harness::{Feed, Headwater, WAIT_MAX, run};
use crate::retail::{deploy_example, sources_over};
use crate::wire::{Mirror, Reached};

const VIEWS: [&str; 8] =
    ["totals", "first_sales", "daily_kpis", "hourly_kpis", "monthly_kpis", "country_kpis", "product_kpis", "rfm_base"];

/// Ticks of one line each, after little and after much history.
const TICKS: usize = 1_000;

/// The little history, in lines.
const LITTLE: usize = 10_000;

/// CPU time of one tick over all views, the whole server with its log and subscription counted. The aim is 1 ms in a
/// release build. The test profile takes about twice as long, a busy machine up to twice that; this catches what makes it
/// worse.
const CPU_MAX: Duration = Duration::from_millis(8);
/// How much more the later ticks may cost.
const RATIO_MAX: f64 = 1.5;

/// The most rows of a view that one line changes: its old form goes, its new form comes.
const CHANGED_MAX: usize = 2 * VIEWS.len();

/// Waits until the mirror holds `lines` lines and returns the most rows that changed in one transition.
async fn until(mirror: &mut Mirror, lines: usize) -> Result<usize> {
    let mut most = 0;
    loop {
        let reached = tokio::time::timeout(WAIT_MAX, mirror.next()).await.context("nothing comes any more")??;
        if let Reached::Contents { changed, .. } = reached {
            most = most.max(changed);
            let seen: usize = mirror.table(0)?.cell("lines")?.parse()?;
            ensure!(seen <= lines, "{seen} lines instead of {lines}");
            if seen == lines {
                return Ok(most);
            }
        }
    }
}

/// Writes line after line, each when the one before is visible, and returns the CPU time of one.
fn line_by_line(server: &Headwater, mirror: &mut Mirror, feed: &mut Feed, from: usize) -> Result<Duration> {
    let before = server.cpu()?;
    for line in from + 1..=from + TICKS {
        feed.write(line)?;
        let changed = server.runtime.block_on(until(mirror, line))?;
        ensure!(changed <= CHANGED_MAX, "line {line} changed {changed} rows");
    }
    Ok((server.cpu()? - before) / TICKS as u32)
}

#[test]
fn a_line_costs_the_same_after_any_history() {
    let Some(dir) = online_retail("a_line_costs_the_same_after_any_history") else { return };
    run(|home| {
        let path = home.path().join("online_retail.csv");
        let mut text = unpack(&dir.join("online_retail.csv.zst"))?;
        // More lines of the last day, so that there are some after the last.
        let more: Vec<u8> = text.split_inclusive(|byte| *byte == b'\n').rev().take(TICKS).flatten().copied().collect();
        let all = text.iter().filter(|byte| **byte == b'\n').count() - 1;
        text.extend_from_slice(&more);
        let mut feed = Feed::create(&path, text)?;
        let server = Headwater::start(home, 1)?;
        deploy_example(&server, home, &sources_over("online_retail.csv", ", FOLLOW true")?)?;
        feed.write(LITTLE)?;
        server.wait_for_lines(LITTLE)?;
        let mut mirror = server.runtime.block_on(Mirror::open(&server.client, &VIEWS))?;
        server.runtime.block_on(until(&mut mirror, LITTLE))?;
        let early = line_by_line(&server, &mut mirror, &mut feed, LITTLE)?;
        feed.write(all)?;
        server.runtime.block_on(until(&mut mirror, all))?;
        let late = line_by_line(&server, &mut mirror, &mut feed, all)?;
        let ratio = late.as_secs_f64() / early.as_secs_f64();
        println!("CPU of a tick of one line over all views: {early:?} after {LITTLE} lines, {late:?} after {all}");
        ensure!(early <= CPU_MAX && late <= CPU_MAX, "a tick of one line costs {early:?}, later {late:?}");
        ensure!(ratio <= RATIO_MAX, "a tick costs {ratio:.2} times as much after {all} lines as after {LITTLE}");
        Ok(())
    });
}
