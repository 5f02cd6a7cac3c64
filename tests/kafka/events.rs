//! The real shop as events on three topics: delivered out of order and in part twice, with kills of the server and
//! restarts of the broker on the way, every view of the example equals its reference cell by cell.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::data::{example, online_retail, unpack};
use crate::harness::{Headwater, WAIT_MAX, run, wait_for};
use crate::retail::{check_rfm, check_views, deploy_example, deploy_rfm};
use crate::services::kafka::{Broker, Record, with_broker};

const TOPICS: [&str; 3] = ["transactions", "product-data", "user-events"];
const PARTITIONS: i32 = 6;
/// Events of the first half, and the transactions among them and among all.
const HALF: usize = 385_146;
const HALF_LINES: usize = 270_959;
const LINES: usize = 541_909;
/// Events sent between two looks at what is to be killed.
const PIECE: usize = 20_000;

#[derive(Deserialize)]
struct Event<'a> {
    topic: &'a str,
    key: &'a str,
    ts: &'a str,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The example over the topic of transactions, each of which counts once however often it is delivered.
fn sources(address: &str) -> Result<String> {
    let text = example("sources.sql")?;
    let at = text.find("CREATE VIEW lines AS").context("sources.sql does not create lines")?;
    Ok(format!(
        "CREATE SOURCE transactions (
           event_id TEXT NOT NULL, type TEXT NOT NULL, seq BIGINT NOT NULL, invoice_no TEXT NOT NULL, line_no INT,
           customer_id BIGINT, country TEXT NOT NULL, stock_code TEXT NOT NULL, quantity INT NOT NULL,
           unit_price_mils BIGINT NOT NULL, amount_mils BIGINT NOT NULL
         ) FROM KAFKA (BROKERS '{address}', TOPIC 'transactions') FORMAT JSON INCLUDE TIMESTAMP AS ts;
         CREATE SOURCE products (event_id TEXT NOT NULL, stock_code TEXT NOT NULL, unit_price_mils BIGINT NOT NULL)
           FROM KAFKA (BROKERS '{address}', TOPIC 'product-data') FORMAT JSON;
         CREATE SOURCE users (event_id TEXT NOT NULL, type TEXT NOT NULL)
           FROM KAFKA (BROKERS '{address}', TOPIC 'user-events') FORMAT JSON;
         CREATE MATERIALIZED VIEW product_events AS SELECT count(DISTINCT event_id) AS events FROM products;
         CREATE MATERIALIZED VIEW user_events AS SELECT count(DISTINCT event_id) AS events FROM users;
         CREATE VIEW invoice_lines AS
         SELECT invoice_no, stock_code, CAST(NULL AS TEXT) AS description, quantity, ts, unit_price_mils, customer_id, country
         FROM (SELECT DISTINCT event_id, invoice_no, stock_code, quantity, ts, unit_price_mils, customer_id, country
               FROM transactions) AS once;
         {}",
        &text[at..]
    ))
}

/// A broker, a server and events on their way from one to the other.
struct Delivery<'a> {
    home: &'a crate::harness::Home,
    broker: &'a mut Broker,
    server: Headwater,
    rng: ChaCha8Rng,
    kills: usize,
    restarts: usize,
}

impl Delivery<'_> {
    /// Sends events shuffled, every tenth of them twice, and lets something die after every second piece.
    fn send(&mut self, events: &[Event<'_>]) -> Result<()> {
        let mut order: Vec<&Event<'_>> = events.iter().chain(events.iter().step_by(10)).collect();
        order.shuffle(&mut self.rng);
        for (index, piece) in order.chunks(PIECE).enumerate() {
            let records = self.broker.producer("lz4")?;
            for event in piece {
                let time = chrono::DateTime::parse_from_rfc3339(event.ts)?;
                let record = Record {
                    partition: self.rng.random_range(0..PARTITIONS),
                    key: Some(event.key.as_bytes()),
                    value: Some(event.value.get().as_bytes()),
                    timestamp_ms: Some(time.timestamp_millis()),
                    headers: None,
                };
                records.send(event.topic, &record)?;
            }
            records.flush()?;
            if index % 4 == 3 {
                self.kill()?;
            }
            if index % 12 == 8 {
                self.broker.stop(self.restarts % 2 == 1)?;
                self.broker.start()?;
                self.restarts += 1;
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        self.kills += 1;
        self.server.replace_by_kill(self.home, [1, 2, 4][self.kills % 3])
    }

    /// Every view must equal the reference of `prefix`, on 1, 2 and 4 workers.
    fn check_everywhere(&mut self, dir: &Path, prefix: &str, lines: usize, events: &[Event<'_>]) -> Result<()> {
        self.check(dir, prefix, lines, events)?;
        for workers in [1, 2, 4] {
            self.server.replace_by_kill(self.home, workers)?;
            self.check(dir, prefix, lines, events)?;
        }
        Ok(())
    }

    /// Every view must equal the reference of `prefix`.
    fn check(&self, dir: &Path, prefix: &str, lines: usize, events: &[Event<'_>]) -> Result<()> {
        check_views(&self.server, self.server.wait_for_lines(lines)?, dir, prefix)?;
        check_rfm(&self.server, dir, prefix)?;
        for (view, topic) in [("product_events", TOPICS[1]), ("user_events", TOPICS[2])] {
            let wanted = events.iter().filter(|event| event.topic == topic).count().to_string();
            wait_for(view, WAIT_MAX, || {
                let got = self.server.query(&format!("SELECT events FROM {view}"))?;
                Ok((got.cell("events")? == wanted).then_some(()))
            })?;
        }
        Ok(())
    }
}

#[test]
fn kafka_the_shop_s_events_out_of_order_and_twice_make_the_reference_s_views() {
    let test = "kafka_the_shop_s_events_out_of_order_and_twice_make_the_reference_s_views";
    let Some(dir) = online_retail(test) else { return };
    run(|home| {
        with_broker(|broker| {
            let text = String::from_utf8(unpack(&dir.join("events.jsonl.zst"))?)?;
            let events: Vec<Event<'_>> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            for topic in TOPICS {
                broker.create_topic(topic, PARTITIONS)?;
            }
            let server = Headwater::start(home, 2)?;
            deploy_example(&server, home, &sources(&broker.address())?)?;
            deploy_rfm(&server, home)?;
            let rng = ChaCha8Rng::seed_from_u64(7);
            let mut delivery = Delivery { home, broker, server, rng, kills: 0, restarts: 0 };
            delivery.send(&events[..HALF])?;
            delivery.check_everywhere(&dir, "p50", HALF_LINES, &events[..HALF])?;
            delivery.send(&events[HALF..])?;
            delivery.check_everywhere(&dir, "full", LINES, &events)?;
            let (kills, restarts) = (delivery.kills, delivery.restarts);
            ensure!(kills >= 10 && restarts >= 3, "{kills} kills and {restarts} restarts");
            Ok(())
        })
    });
}
