//! Sources that are paused, resumed and limited: others go on, and a restart changes nothing of it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::harness::{Headwater, Home, WAIT_MAX, run, wait_for};

/// A source `name` of numbers that follows `name.csv`, and a view that counts them.
fn numbers(name: &str, options: &str) -> String {
    format!(
        "CREATE SOURCE {name} (n INT NOT NULL) FROM FILE (PATH '{name}.csv', FOLLOW true{options}) FORMAT CSV;
         CREATE MATERIALIZED VIEW {name}_count AS SELECT count(*) AS lines, count(DISTINCT n) AS numbers FROM {name};"
    )
}

/// Lets the file of `name` hold the numbers up to `end`. The file grows in place.
fn write(home: &Home, name: &str, end: usize) -> Result<()> {
    use std::io::Write as _;
    let path = home.path().join(format!("{name}.csv"));
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = if there.is_empty() { "n\n".to_owned() } else { String::new() };
    for number in there.lines().count().saturating_sub(1)..end {
        writeln!(text, "{number}")?;
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// How many lines the view over `name` counts, each once.
fn counted(server: &Headwater, name: &str) -> Result<usize> {
    let got = server.query(&format!("SELECT lines, numbers FROM {name}_count"))?;
    ensure!(got.cell("lines")? == got.cell("numbers")?, "lines came twice: {got:?}");
    Ok(got.cell("lines")?.parse()?)
}

fn wait_for_count(server: &Headwater, name: &str, lines: usize) -> Result<()> {
    let mut seen = 0;
    let found = wait_for(&format!("{lines} lines of {name}"), WAIT_MAX, || {
        seen = counted(server, name)?;
        ensure!(seen <= lines, "{seen} lines of {name}, more than there are");
        Ok((seen == lines).then_some(()))
    });
    found.with_context(|| format!("there were {seen}"))
}

fn described(server: &Headwater, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&server.cli_ok(["describe", name, "-o", "json"])?)?)
}

/// What every place that shows sources says of a paused one.
fn check_shown(server: &Headwater, name: &str, limit: u32) -> Result<()> {
    let told = described(server, name)?;
    ensure!(told["state"] == "paused" && told["max_rows_per_second"] == limit, "{told}");
    let listed = server.cli_ok(["list", "-o", "csv"])?;
    let shown = format!("{name},source,\"paused, at most {limit} rows/s\"");
    ensure!(listed.contains(&shown), "{listed}");
    let script = server.cli_ok(["describe", name])?;
    ensure!(script.contains("paused, at most"), "{script}");
    wait_for("the metrics", WAIT_MAX, || {
        let metrics = server.http_get("/metrics")?;
        let paused = format!("headwater_source_paused{{source=\"{name}\"}} 1");
        let limited = format!("headwater_source_max_rows_per_second{{source=\"{name}\"}} {limit}");
        Ok((metrics.contains(&paused) && metrics.contains(&limited)).then_some(()))
    })
}

#[test]
fn a_paused_source_rests_over_a_restart_while_others_go_on() {
    run(|home| {
        for name in ["a", "b"] {
            write(home, name, 10)?;
        }
        let mut server = Headwater::start(home, 2)?;
        server.deploy(home, "s.sql", &(numbers("a", "") + &numbers("b", "")))?;
        let altered = server.cli_ok(["pause", "a", "-o", "csv"])?;
        ensure!(altered.contains("<pause>,1,altered,source,a"), "{altered}");
        ensure!(server.cli_ok(["pause", "A", "-o", "csv"])?.contains("unchanged"), "paused twice");
        server.deploy(home, "limit.sql", "ALTER SOURCE a SET (MAX_ROWS_PER_SECOND 100000)")?;
        for (round, kill) in [(2, true), (3, false)] {
            write(home, "a", 10 * round)?;
            write(home, "b", 10 * round)?;
            wait_for_count(&server, "b", 10 * round)?;
            // The view over the paused source is complete at a time at which the other has everything.
            let (now, _) = server.query_now("SELECT * FROM b_count")?;
            let rested = server.query_at("SELECT lines FROM a_count", now)?;
            ensure!(rested.cell("lines")? == "10", "a paused source was read: {rested:?}");
            check_shown(&server, "a", 100_000)?;
            // A pause that was asked for is healthy, as soon as what was killed has caught up.
            wait_for("a healthy server", WAIT_MAX, || Ok((server.cli(["status"])?.code == 0).then_some(())))?;
            if kill {
                server.replace_by_kill(home, 1)?;
            }
        }
        // A view over what a paused source has given so far can be deployed, and serves.
        server.deploy(home, "more.sql", "CREATE MATERIALIZED VIEW more AS SELECT max(n) AS n FROM a")?;
        ensure!(server.query("SELECT n FROM more")?.cell("n")? == "9");
        let rows = home.file("show.sql", "SHOW SOURCES")?;
        let shown = server.cli_ok([std::ffi::OsStr::new("deploy"), rows.as_os_str()])?;
        ensure!(shown.contains("paused, at most 100000 rows/s"), "{shown}");
        server.cli_ok(["resume", "a"])?;
        wait_for_count(&server, "a", 30)?;
        server.deploy(home, "unlimit.sql", "ALTER SOURCE a RESET (MAX_ROWS_PER_SECOND)")?;
        server.replace_by_kill(home, 2)?;
        write(home, "a", 40)?;
        wait_for_count(&server, "a", 40)?;
        let told = described(&server, "a")?;
        ensure!(told["state"] == "serving" && told["max_rows_per_second"].is_null(), "{told}");
        Ok(())
    })
}

#[test]
fn a_source_that_is_paused_when_the_server_starts_is_not_opened() {
    run(|home| {
        write(home, "a", 10)?;
        let mut server = Headwater::start(home, 1)?;
        server.deploy(home, "s.sql", &(numbers("a", "") + "ALTER SOURCE a PAUSE;"))?;
        let before = counted(&server, "a")?;
        let moved = home.path().join("moved");
        std::fs::rename(home.path().join("a.csv"), &moved)?;
        server.replace_by_kill(home, 1)?;
        ensure!(described(&server, "a")?["state"] == "paused" && counted(&server, "a")? == before);
        std::fs::rename(&moved, home.path().join("a.csv"))?;
        server.cli_ok(["resume", "a"])?;
        wait_for_count(&server, "a", 10)
    })
}

#[test]
fn a_limit_holds_and_can_be_lifted() {
    run(|home| {
        let (lines, limit) = (3_000, 400);
        write(home, "a", lines)?;
        let server = Headwater::start(home, 1)?;
        let script = home.file("s.sql", numbers("a", &format!(", MAX_ROWS_PER_SECOND {limit}")))?;
        let started = Instant::now();
        server.cli_ok(["deploy".as_ref(), "--no-wait".as_ref(), script.as_os_str()])?;
        wait_for("a quarter of the lines", WAIT_MAX, || Ok((counted(&server, "a")? >= lines / 4).then_some(())))?;
        let (elapsed, seen) = (started.elapsed(), counted(&server, "a")?);
        // What may have been saved up comes on top.
        let most = elapsed.as_secs_f64() * f64::from(limit) + f64::from(limit) / 5.0;
        ensure!(seen as f64 <= most, "{seen} lines after {elapsed:?} at {limit} a second");
        server.deploy(home, "lift.sql", "ALTER SOURCE a RESET (MAX_ROWS_PER_SECOND)")?;
        let lifted = Instant::now();
        wait_for_count(&server, "a", lines)?;
        let rest = Duration::from_secs_f64((lines - seen) as f64 / f64::from(limit));
        ensure!(lifted.elapsed() < rest, "the rest took {:?}, as long as with the limit", lifted.elapsed());
        Ok(())
    })
}

#[test]
fn what_cannot_be_altered_says_why() {
    run(|home| {
        write(home, "a", 1)?;
        let server = Headwater::start(home, 1)?;
        server.deploy(home, "s.sql", &numbers("a", ""))?;
        for (name, said) in [("b", "source \"b\" does not exist"), ("a_count", "is a materialized view, not a source")]
        {
            let refused = server.cli(["pause", name])?;
            ensure!(refused.code == 1 && refused.stderr.contains(said), "{refused:?}");
        }
        server.deploy(home, "ok.sql", "ALTER SOURCE IF EXISTS b PAUSE; DROP VIEW IF EXISTS c")
    })
}
