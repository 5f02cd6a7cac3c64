//! Sources over a real Kafka broker: every record counts once, whatever dies on the way, and what cannot be read says so.

mod away;
mod crashes;
mod debezium;
mod events;
mod figures;
mod produce;
mod products;
mod records;
#[cfg(feature = "kafka-tls")]
mod tls;
mod topics;
mod upsert;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::harness::{Headwater, WAIT_MAX, wait_for};
use crate::services::kafka::Broker;

/// The statement that reads sales from `topic`, with `options` inside of `FROM KAFKA` and `tail` behind the format.
fn sales(broker: &Broker, name: &str, topic: &str, options: &str, tail: &str) -> String {
    format!(
        "CREATE SOURCE {name} (id BIGINT NOT NULL, shop TEXT NOT NULL, amount DECIMAL(12, 2) NOT NULL)
           FROM KAFKA (BROKERS '{}', TOPIC '{topic}'{options}) FORMAT JSON {tail};",
        broker.address()
    )
}

/// A view over sales that a plain sum can check.
fn totals(view: &str, source: &str) -> String {
    format!(
        "CREATE MATERIALIZED VIEW {view} AS
           SELECT count(*) AS lines, count(DISTINCT id) AS ids, sum(amount) AS amount FROM {source};"
    )
}

/// The `id`th sale as JSON, and its amount in hundredths.
fn sale(id: i64) -> (String, i64) {
    let cents = id * 7_919 % 100_000 - 3_000;
    let sign = if cents < 0 { "-" } else { "" };
    let amount = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
    (format!(r#"{{"id":{id},"shop":"shop {}","amount":{amount},"more":{{"x":[1,"y"]}}}}"#, id % 40), cents)
}

/// Hundredths as DECIMAL(…, 2) shows them.
fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// Waits until `view` holds the sales of `ids`, each once.
fn wait_for_sales(server: &Headwater, view: &str, ids: std::ops::Range<i64>) -> Result<()> {
    let (lines, cents) = (ids.end - ids.start, ids.map(|id| sale(id).1).sum::<i64>());
    let mut seen = String::new();
    let found = wait_for(&format!("{lines} sales in {view}"), WAIT_MAX, || {
        let got = server.query(&format!("SELECT lines, ids, amount FROM {view}"))?;
        seen = format!("{:?}", got.rows);
        let so_far: i64 = got.cell("lines")?.parse()?;
        ensure!(so_far <= lines, "{so_far} sales instead of {lines}");
        Ok((so_far == lines).then_some(got))
    });
    let got = found.with_context(|| format!("there were {seen}"))?;
    ensure!(got.cell("ids")? == lines.to_string() && got.cell("amount")? == decimal(cents), "{got:?} is not {cents}");
    Ok(())
}

/// What `describe` says of an object: its state and the reason.
fn state(server: &Headwater, name: &str) -> Result<(String, String)> {
    let told: Value = serde_json::from_str(&server.cli_ok(["describe", name, "-o", "json"])?)?;
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("reason")))
}

/// Waits until the source `name` is in `wanted` for a reason that holds `words`.
fn wait_for_state(server: &Headwater, name: &str, wanted: &str, words: &str) -> Result<()> {
    let mut seen = (String::new(), String::new());
    let found = wait_for(&format!("{name} {wanted}"), WAIT_MAX, || {
        seen = state(server, name)?;
        Ok((seen.0 == wanted && seen.1.contains(words)).then_some(()))
    });
    found.with_context(|| format!("{name} is {seen:?}"))
}
