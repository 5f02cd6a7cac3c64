//! Kills of the server and restarts of the broker on the way change nothing.

use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{sale, sales, totals, wait_for_sales};
use crate::harness::{Headwater, WAIT_MAX, run};
use crate::services::kafka::{Record, Records, with_broker};

const PARTITIONS: i32 = 6;
const SALES: i64 = 60_000;
const KILLS: i64 = 5;
/// Sales sent at once.
const PIECE: i64 = 300;

/// Sends sales in pieces, as slowly as a shop would, and tells after each how many there are. Partitions are drawn.
fn send_slowly(records: Records, topic: &'static str) -> Receiver<i64> {
    let (tell, pieces) = channel();
    std::thread::spawn(move || {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut sent = 0;
        while sent < SALES {
            for id in sent..(sent + PIECE).min(SALES) {
                let (value, _) = sale(id);
                let value = Some(value.as_bytes());
                let record = Record { partition: rng.random_range(0..PARTITIONS), value, ..Record::default() };
                if records.send(topic, &record).is_err() {
                    return;
                }
            }
            sent = (sent + PIECE).min(SALES);
            if records.flush().is_err() || tell.send(sent).is_err() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    });
    pieces
}

#[test]
fn kafka_kills_of_the_server_and_a_restart_of_the_broker_lose_and_double_nothing() {
    run(|home| {
        with_broker(|broker| {
            let topic = "crashes";
            broker.create_topic(topic, PARTITIONS)?;
            let mut server = Headwater::start(home, 2)?;
            let script = sales(broker, "sold", topic, "", "") + &totals("totals", "sold");
            server.deploy(home, "sold.sql", &script)?;
            let pieces = send_slowly(broker.producer("lz4")?, topic);
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let mut sent = 0;
            let mut wait_until = |moment: i64| -> Result<()> {
                while sent < moment {
                    sent = pieces.recv_timeout(WAIT_MAX).context("nothing more is sent")?;
                }
                Ok(())
            };
            for kill in 1..=KILLS {
                wait_until(rng.random_range(SALES * (kill - 1) / KILLS..SALES * kill / KILLS))?;
                if kill == 3 {
                    // Together: the server comes back before the broker does.
                    broker.stop(false)?;
                    server.kill()?;
                    server = Headwater::start(home, 2)?;
                    broker.start()?;
                } else {
                    server.kill()?;
                    server = Headwater::start(home, [1, 2, 4][usize::try_from(kill)? % 3])?;
                }
            }
            wait_until(SALES)?;
            wait_for_sales(&server, "totals", 0..SALES)?;
            let shops = server.query("SELECT shop, count(*) AS sold FROM sold GROUP BY shop ORDER BY shop")?;
            ensure!(shops.rows.len() == 40 && shops.sum("sold")? == SALES, "{shops:?}");
            ensure!(server.query("SELECT * FROM \"sold$errors\"")?.rows.is_empty(), "there are errors");
            ensure!(server.stop()?.success());
            Ok(())
        })
    });
}
