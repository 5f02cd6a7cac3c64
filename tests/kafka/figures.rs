//! Figures of the edge, printed: what a record costs from a topic to a view, decoding alone, how long a record takes to a
//! subscriber, and how long a server takes to be back after kill -9.
//!
//! `make figures` runs them with `HEADWATER_FIGURES_ROWS` rows; otherwise they are few, and what is checked is that the
//! answers are right and nothing is grossly slow. Judge by CPU, and by figures of one run: machines are shared.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use headwater_connectors::decoding::Records;
use headwater_connectors::source::Format;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::harness::{Headwater, Home, WAIT_MAX, headwater, outcome, run, wait_for};
use crate::services::kafka::{Broker, with_broker};
use crate::wire::Arrivals;

/// A record may cost no more CPU than this, the whole server counted. The aim is 1.2 µs in a release build; this catches
/// what makes it ten times worse in the test profile on a busy machine.
const CPU_US_MAX: f64 = 40.0;
/// Half of the records must be with the subscriber within this time.
const LATENCY_MAX: Duration = Duration::from_secs(1);
/// Records that are decoded.
const DECODED: usize = 20_000;

/// The queries of the commerce work, as the benchmark of the engine has them, each with the column that adds up to the same
/// in all.
const QUERIES: [(&str, &str, &str); 3] = [
    (
        "q1",
        "SELECT date_trunc('minute', event_time) AS minute, country, sum(amount) AS revenue, count(*) AS transactions,
           count(DISTINCT order_id) AS orders FROM transactions GROUP BY 1, 2",
        "revenue",
    ),
    (
        "q2",
        "SELECT customer_id, max(event_time) AS latest, count(DISTINCT order_id) AS orders, sum(amount) AS monetary
           FROM transactions GROUP BY customer_id",
        "monetary",
    ),
    (
        "q4",
        "SELECT p.category, date_trunc('hour', t.event_time) AS hour, sum(t.amount) AS revenue
           FROM transactions t JOIN products p ON t.product_id = p.product_id GROUP BY 1, 2",
        "revenue",
    ),
];

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.replace('_', "").parse().ok()).unwrap_or(otherwise)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Runs `headwater produce` with words.
fn produce(words: &str) -> Result<String> {
    let mut command = headwater()?;
    let sent = outcome(command.arg("produce").args(words.split_whitespace()))?;
    ensure!(sent.code == 0, "{sent:?}");
    Ok(sent.stdout)
}

fn source(broker: &Broker, name: &str, topic: &str, columns: &str) -> String {
    let address = broker.address();
    format!("CREATE SOURCE {name} ({columns}) FROM KAFKA (BROKERS '{address}', TOPIC '{topic}') FORMAT JSON;")
}

const TRANSACTION: &str = "transaction_id BIGINT NOT NULL, order_id BIGINT NOT NULL, customer_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL, category TEXT NOT NULL, quantity INT NOT NULL, amount DECIMAL(12,2) NOT NULL,
    country TEXT NOT NULL, channel TEXT NOT NULL, card_id BIGINT NOT NULL, device_id BIGINT NOT NULL,
    event_time TIMESTAMPTZ NOT NULL";

/// Waits until the server does nothing but wait.
fn settle(server: &Headwater) -> Result<()> {
    let mut before = (Instant::now(), server.cpu()?);
    wait_for("a server at rest", WAIT_MAX, || {
        if before.0.elapsed() < Duration::from_millis(400) {
            return Ok(None);
        }
        let now = (Instant::now(), server.cpu()?);
        let busy = now.1 - before.1 > Duration::from_millis(20);
        before = now;
        Ok((!busy).then_some(()))
    })
}

/// Deploys `script`, and says what that cost and how long it took until everything was there.
fn measured(server: &Headwater, home: &Home, script: &str) -> Result<(Duration, Duration)> {
    settle(server)?;
    let (cpu, begun) = (server.cpu()?, Instant::now());
    server.deploy(home, "measured.sql", script)?;
    let wall = begun.elapsed();
    settle(server)?;
    Ok((server.cpu()? - cpu, wall))
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]
fn shown(name: &str, rows: usize, (cpu, wall): (Duration, Duration)) -> Result<f64> {
    let us = cpu.as_secs_f64() * 1e6 / rows as f64;
    let rate = rows as f64 / wall.as_secs_f64();
    eprintln!("{name}: {us:.2} us of CPU a record, {rate:.0} records/s, load {}", load());
    ensure!(us < CPU_US_MAX, "{name} costs {us:.1} us a record");
    Ok(us)
}

#[test]
fn kafka_figures_of_the_commerce_work() {
    let rows = setting("HEADWATER_FIGURES_ROWS", 60_000);
    run(|home| {
        with_broker(|broker| {
            let address = broker.address();
            produce(&format!(
                "--brokers {address} --topic commerce --partitions 6 --key order_id --generator commerce-bench --rows {rows}"
            ))?;
            produce(&format!(
                "--brokers {address} --topic commerce-products --partitions 1 --generator commerce-bench-products"
            ))?;
            eprintln!("{rows} records of commerce-bench, six partitions, lz4, two workers, log included");
            let transactions = source(broker, "transactions", "commerce", TRANSACTION);
            let products =
                source(broker, "products", "commerce-products", "product_id BIGINT NOT NULL, category TEXT NOT NULL");
            let mut sums = Vec::new();
            for (name, query, sum) in std::iter::once(("log alone", "", "")).chain(QUERIES) {
                let data = tempfile::tempdir_in(home.path())?;
                let server = Headwater::spawn(home, serve_over(home, data.path())?)?;
                if name == "q4" {
                    server.deploy(home, "products.sql", &products)?;
                }
                let view =
                    if query.is_empty() { String::new() } else { format!("CREATE MATERIALIZED VIEW v AS {query};") };
                let cost = measured(&server, home, &(transactions.clone() + &view))?;
                shown(name, rows, cost)?;
                if !query.is_empty() {
                    sums.push(server.query(&format!("SELECT sum({sum}) AS total FROM v"))?.cell("total")?.to_owned());
                }
                if name == "q1" {
                    let counted = server.query("SELECT sum(transactions) AS n FROM v")?;
                    ensure!(counted.cell("n")? == rows.to_string(), "{counted:?} of {rows} records");
                    recovery(home, server, data.path(), rows)?;
                }
            }
            ensure!(sums.windows(2).all(|pair| pair[0] == pair[1]), "the queries add up differently: {sums:?}");
            Ok(())
        })
    });
}

/// The command of a server with two workers over the data of a folder of its own.
fn serve_over(home: &Home, data: &std::path::Path) -> Result<std::process::Command> {
    let mut command = headwater()?;
    command.arg("serve").current_dir(home.path()).arg("--data-dir").arg(data).arg("--base-dir").arg(home.path());
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--workers", "2"]);
    Ok(command)
}

/// Kills the server and prints how long the next one takes until everything serves.
fn recovery(home: &Home, server: Headwater, data: &std::path::Path, rows: usize) -> Result<()> {
    let before = server.query("SELECT sum(revenue) AS revenue, count(*) AS groups FROM v")?;
    server.kill()?;
    let begun = Instant::now();
    let server = Headwater::spawn(home, serve_over(home, data)?)?;
    wait_for("everything to serve", WAIT_MAX, || Ok((server.cli(["status"])?.code == 0).then_some(())))?;
    let after = server.query("SELECT sum(revenue) AS revenue, count(*) AS groups FROM v")?;
    let wall = begun.elapsed();
    eprintln!("recovery after kill -9 with {rows} records in the log: {:.2} s", wall.as_secs_f64());
    ensure!(before == after, "{before:?} before the kill, {after:?} after it");
    Ok(())
}

fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Sends records that say when they were made, `rate` in a second. A few go to one partition, then a few to the next, as
/// Kafka's own clients do: a broker that gets a request for each record is what would be measured otherwise.
fn send_stamped(
    broker: &Broker,
    topic: &'static str,
    rate: usize,
    records: usize,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    const BURSTS_PER_SECOND: usize = 250;
    let producer = broker.prompt_producer()?;
    let burst = rate / BURSTS_PER_SECOND;
    Ok(std::thread::spawn(move || {
        let begun = Instant::now();
        for id in 0..records {
            let due = begun + Duration::from_micros(u64::try_from(id / burst * 1_000_000 / BURSTS_PER_SECOND)?);
            while let Some(wait) = due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero()) {
                producer.wait(wait);
            }
            let value = format!("{{\"id\":{id},\"sent\":{},\"text\":\"something of the usual length\"}}", now_us());
            producer.value(topic, i32::try_from(id / burst % 6)?, &value)?;
        }
        producer.flush()
    }))
}

/// The time from a record's making to its arrival, in order of size. So many first ones do not count: until then the
/// producer and the broker warm up.
async fn latencies(arrivals: &mut Arrivals, records: usize, warm_up: usize) -> Result<Vec<Duration>> {
    let mut taken = Vec::with_capacity(records);
    let mut seen = 0;
    while seen < records {
        let batches = tokio::time::timeout(WAIT_MAX, arrivals.next()).await.context("nothing comes any more")??;
        let now = now_us();
        for batch in batches {
            let (sent, ids) =
                (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
            seen += batch.num_rows();
            for (sent, id) in sent.values().iter().zip(ids.values()) {
                if usize::try_from(*id)? >= warm_up {
                    taken.push(Duration::from_micros(u64::try_from(now - sent).unwrap_or(0)));
                }
            }
        }
    }
    taken.sort_unstable();
    Ok(taken)
}

#[test]
fn kafka_figures_from_a_record_to_a_subscriber() {
    let seconds = setting("HEADWATER_FIGURES_SECONDS", 2);
    run(|home| {
        with_broker(|broker| {
            let server = Headwater::start(home, 2)?;
            for (topic, rate) in [("stamped-slow", 1_000), ("stamped-fast", 10_000)] {
                broker.create_topic(topic, 6)?;
                let name = topic.replace('-', "_");
                let columns = "id BIGINT NOT NULL, sent BIGINT NOT NULL, text TEXT";
                let script = source(broker, &name, topic, columns)
                    + &format!("CREATE MATERIALIZED VIEW v_{name} AS SELECT sent, id FROM {name};");
                server.deploy(home, "s.sql", &script)?;
                let mut arrivals = server.runtime.block_on(Arrivals::open(&server.client, &format!("v_{name}")))?;
                // The first second is the warm-up.
                let records = rate * (seconds + 1);
                let sending = send_stamped(broker, topic, rate, records)?;
                let taken = server.runtime.block_on(latencies(&mut arrivals, records, rate))?;
                sending.join().expect("the producer does not panic")?;
                ensure!(taken.len() == rate * seconds, "{} of {} records came", taken.len(), rate * seconds);
                let (median, slow) = (taken[taken.len() / 2], taken[taken.len() * 99 / 100]);
                eprintln!(
                    "record to subscriber at {rate} records/s: {:.1} ms (median), {:.1} ms (99 of 100), load {}",
                    median.as_secs_f64() * 1e3,
                    slow.as_secs_f64() * 1e3,
                    load()
                );
                ensure!(median < LATENCY_MAX, "half of the records took longer than {median:?}");
            }
            Ok(())
        })
    });
}

fn transaction_schema() -> SchemaRef {
    let int = |name| Field::new(name, DataType::Int64, false);
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        int("transaction_id"),
        int("order_id"),
        int("customer_id"),
        int("product_id"),
        text("category"),
        Field::new("quantity", DataType::Int32, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
        text("country"),
        text("channel"),
        int("card_id"),
        int("device_id"),
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), false),
    ]))
}

/// The object with its keys in another order.
fn shuffled(object: &str, rng: &mut ChaCha8Rng) -> String {
    // No value holds a comma.
    let mut members: Vec<&str> = object.trim_matches(['{', '}']).split(',').collect();
    members.shuffle(rng);
    format!("{{{}}}", members.join(","))
}

/// The least time that decoding one of `texts` takes, out of several runs.
fn decoding(texts: &[String], format: Format) -> Result<Duration> {
    let mut records = Records::new(&transaction_schema(), format)?;
    let mut least = Duration::MAX;
    for _ in 0..7 {
        let begun = Instant::now();
        for chunk in texts.chunks(2_500) {
            for text in chunk {
                records.push(text.as_bytes()).map_err(|bad| anyhow::anyhow!("{text}: {bad}"))?;
            }
            ensure!(records.finish().num_rows() == chunk.len(), "rows are missing");
        }
        least = least.min(begun.elapsed());
    }
    Ok(least / u32::try_from(texts.len())?)
}

#[test]
fn figures_of_decoding_alone() -> Result<()> {
    let made = |form: &str| -> Result<Vec<String>> {
        let text = produce(&format!("--generator commerce-bench --rows {DECODED} --to - --form {form}"))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let ordered = made("ndjson")?;
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let any_order: Vec<String> = ordered.iter().map(|object| shuffled(object, &mut rng)).collect();
    let csv = made("csv")?.split_off(1);
    let bytes: usize = ordered.iter().map(String::len).sum::<usize>() / ordered.len();
    let mut line = format!("decoding a record of {bytes} bytes:");
    for (name, texts, format) in [
        ("keys in order", &ordered, Format::Json),
        ("in random order", &any_order, Format::Json),
        ("CSV", &csv, Format::Csv { delimiter: b',' }),
    ] {
        let each = decoding(texts, format)?;
        write!(line, " {name} {:.3} us,", each.as_secs_f64() * 1e6)?;
        ensure!(each < Duration::from_micros(10), "{name}: {each:?} a record");
    }
    eprintln!("{line} load {}", load());
    Ok(())
}
