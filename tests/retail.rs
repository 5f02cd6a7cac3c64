//! Every view of the example equals its reference cell by cell: over the first half of the real lines and over all of
//! them, on 1, 2 and 4 workers, from the published file and from the typed one, followed as it grows or packed.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::data::{CHECKED_VIEWS, TOTALS, example, online_retail, reference, reference_json, unpack};
use crate::harness::{Feed, Headwater, Home, run};
use crate::table::{Table, assert_cells};

/// The file that `sources.sql` names.
const PUBLISHED: &str = "online_retail.csv";

/// Lines of the first half.
const HALF: usize = 270_959;

/// `sources.sql` over another file, with more options.
pub(crate) fn sources_over(path: &str, options: &str) -> Result<String> {
    let named = format!("PATH '{PUBLISHED}'");
    let text = example("sources.sql")?;
    ensure!(text.contains(&named), "sources.sql does not read {PUBLISHED}");
    Ok(text.replace(&named, &format!("PATH '{path}'{options}")))
}

/// A source over the typed lines, and the view of `sources.sql` that says what each line is.
fn typed_sources(path: &str) -> Result<String> {
    let text = example("sources.sql")?;
    let at = text.find("CREATE VIEW lines AS").context("sources.sql does not create lines")?;
    Ok(format!(
        "CREATE SOURCE typed_lines (
           seq BIGINT NOT NULL, invoice_no TEXT NOT NULL, stock_code TEXT NOT NULL, description TEXT,
           quantity INT NOT NULL, ts TIMESTAMPTZ NOT NULL, unit_price_mils BIGINT NOT NULL, customer_id BIGINT,
           country TEXT NOT NULL
         ) FROM FILE (PATH '{path}', FOLLOW true) FORMAT CSV;
         CREATE VIEW invoice_lines AS
         SELECT invoice_no, stock_code, description, quantity, ts, unit_price_mils, customer_id, country FROM typed_lines;
         {}",
        &text[at..]
    ))
}

/// Deploys the example over the source of `sources`.
pub(crate) fn deploy_example(server: &Headwater, home: &Home, sources: &str) -> Result<()> {
    let mut args = vec!["deploy".into()];
    for (name, text) in
        [("sources.sql", sources), ("kpi.sql", &example("kpi.sql")?), ("rfm_base.sql", &example("rfm_base.sql")?)]
    {
        args.push(home.file(name, text)?.into_os_string());
    }
    server.cli_ok(args).map(drop)
}

/// At the time `at` every view must equal the reference of `prefix`.
pub(crate) fn check_views(server: &Headwater, at: i64, dir: &Path, prefix: &str) -> Result<()> {
    for (view, file, left_out) in CHECKED_VIEWS {
        let got = server.query_at(&format!("SELECT * FROM {view}"), at)?;
        assert_cells(view, &got, &reference(dir, &format!("{prefix}/{file}"))?, left_out)?;
    }
    let totals = reference_json(dir, &format!("{prefix}/totals.json"))?;
    let got = server.query_at("SELECT * FROM totals", at)?;
    for (column, figure) in TOTALS {
        let (got, want) = (got.cell(column)?, totals[figure].to_string());
        ensure!(got == want.trim_matches('"'), "{prefix}: totals.{column} is {got} instead of {want}");
    }
    let errors = server.query_at("SELECT * FROM \"totals$errors\"", at)?;
    ensure!(errors.rows.is_empty(), "errors in totals: {:?}", errors.rows);
    Ok(())
}

/// Deploys the scores above the example's views.
pub(crate) fn deploy_rfm(server: &Headwater, home: &Home) -> Result<()> {
    let path = home.file("rfm.sql", &example("rfm.sql")?)?;
    server.cli_ok(["deploy".into(), path.into_os_string()]).map(drop)
}

/// Moves `as_of` to where the reference of `prefix` has it: every score, code and segment must equal it.
pub(crate) fn check_rfm(server: &Headwater, dir: &Path, prefix: &str) -> Result<()> {
    let totals = reference_json(dir, &format!("{prefix}/totals.json"))?;
    let as_of = totals["as_of"].as_str().context("the totals say as_of")?;
    server.cli_ok(["sql", "-c", &format!("DELETE FROM as_of; INSERT INTO as_of VALUES ('{as_of}')")])?;
    for (view, file) in
        [("rfm_customers", "rfm_customers.csv"), ("rfm_segments", "segments.csv"), ("rfm_cells", "rfm_cells.csv")]
    {
        let (_, got) = server.query_now(&format!("SELECT * FROM {view}"))?;
        assert_cells(view, &got, &reference(dir, &format!("{prefix}/{file}"))?, &[])?;
    }
    Ok(())
}

/// When as_of moves by a day, recency does and nothing else: no score, code or segment is sent again.
fn check_as_of_moves_alone(server: &Headwater) -> Result<()> {
    let scores = "SELECT count(*) AS rows, sum(rfm_code) AS codes FROM rfm_scores";
    let recency = "SELECT sum(recency_days) AS days, count(*) AS rows FROM rfm_customers";
    let (before, days_before) = (server.query(scores)?, server.query(recency)?);
    server.cli_ok(["sql", "-c", "UPDATE as_of SET at = at + INTERVAL '1 day'"])?;
    let days = |table: &Table| -> Result<i64> { Ok(table.cell("days")?.parse()?) };
    let (_, after) = server.query_now(recency)?;
    let customers: i64 = after.cell("rows")?.parse()?;
    ensure!(days(&after)? == days(&days_before)? + customers, "every customer's last sale is a day longer ago");
    ensure!(server.query(scores)?.rows == before.rows, "the scores moved with as_of");
    Ok(())
}

/// Both halves through a followed file on `workers` workers.
fn check_both_halves(home: &Home, dir: &Path, workers: usize, typed: bool) -> Result<()> {
    let file = if typed { "lines.csv" } else { PUBLISHED };
    let mut feed = Feed::create(&home.path().join(file), unpack(&dir.join(format!("{file}.zst")))?)?;
    let server = Headwater::start(home, workers)?;
    let sources = if typed { typed_sources(file)? } else { sources_over(file, ", FOLLOW true")? };
    deploy_example(&server, home, &sources)?;
    deploy_rfm(&server, home)?;
    feed.write(HALF)?;
    check_views(&server, server.wait_for_lines(HALF)?, dir, "p50")?;
    check_rfm(&server, dir, "p50")?;
    feed.write(feed.lines())?;
    check_views(&server, server.wait_for_lines(feed.lines())?, dir, "full")?;
    check_rfm(&server, dir, "full")?;
    check_as_of_moves_alone(&server)?;
    let status = server.stop()?;
    ensure!(status.success(), "after SIGTERM the server ended with {status}");
    Ok(())
}

#[test]
fn views_equal_the_references_on_1_worker() {
    let Some(dir) = online_retail("views_equal_the_references_on_1_worker") else { return };
    run(|home| check_both_halves(home, &dir, 1, false));
}

#[test]
fn views_equal_the_references_on_2_workers_over_typed_lines() {
    let Some(dir) = online_retail("views_equal_the_references_on_2_workers_over_typed_lines") else { return };
    run(|home| check_both_halves(home, &dir, 2, true));
}

#[test]
fn views_equal_the_references_on_4_workers() {
    let Some(dir) = online_retail("views_equal_the_references_on_4_workers") else { return };
    run(|home| check_both_halves(home, &dir, 4, false));
}

#[test]
fn a_deployment_waits_until_a_packed_file_is_in() {
    let Some(dir) = online_retail("a_deployment_waits_until_a_packed_file_is_in") else { return };
    run(|home| {
        let server = Headwater::start(home, 2)?;
        let packed = dir.join("online_retail.csv.zst");
        deploy_example(&server, home, &sources_over(&packed.display().to_string(), "")?)?;
        // No waiting here: the deployment has returned, so everything is in.
        let (at, _) = server.query_now("SELECT * FROM rfm_base")?;
        check_views(&server, at, &dir, "full")
    });
}
