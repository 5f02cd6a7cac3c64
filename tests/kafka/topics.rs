//! Topics that change: new partitions are read, a topic that is not what it was fails with the reason, and a source begins
//! where it is told.

use anyhow::{Result, ensure};

use super::{sale, sales, state, totals, wait_for_sales, wait_for_state};
use crate::harness::{Headwater, Home, run};
use crate::services::kafka::{Broker, with_broker};

/// Sends the sales of `ids` to one partition.
fn send(broker: &Broker, topic: &str, partition: i32, ids: std::ops::Range<i64>) -> Result<()> {
    let records = broker.producer("none")?;
    ids.into_iter().try_for_each(|id| records.value(topic, partition, &sale(id).0))?;
    records.flush()
}

/// A server that has read the first 100 sales of each topic, which has one partition.
fn reading(home: &Home, broker: &Broker, topics: &[&str]) -> Result<Headwater> {
    let server = Headwater::start(home, 2)?;
    for (index, topic) in topics.iter().enumerate() {
        broker.create_topic(topic, 1)?;
        send(broker, topic, 0, 0..100)?;
        let script =
            sales(broker, &format!("s{index}"), topic, "", "") + &totals(&format!("v{index}"), &format!("s{index}"));
        server.deploy(home, "s.sql", &script)?;
        wait_for_sales(&server, &format!("v{index}"), 0..100)?;
    }
    Ok(server)
}

#[test]
fn kafka_a_topic_that_changed_while_the_server_was_away_fails_with_the_reason() {
    run(|home| {
        with_broker(|broker| {
            let topics = ["away-truncated", "away-shorter", "away-longer", "away-gone", "away-kept"];
            let server = reading(home, broker, &topics)?;
            server.kill()?;
            send(broker, topics[0], 0, 100..200)?;
            broker.delete_records(topics[0], 0, 150)?;
            for (topic, sales) in [(topics[1], 10), (topics[2], 300)] {
                broker.delete_topic(topic)?;
                broker.create_topic(topic, 1)?;
                send(broker, topic, 0, 0..sales)?;
            }
            broker.delete_topic(topics[3])?;
            // What was read and is deleted afterwards is no loss.
            broker.delete_records(topics[4], 0, 100)?;
            send(broker, topics[4], 0, 100..110)?;
            let server = Headwater::start(home, 2)?;
            wait_for_state(
                &server,
                "s0",
                "failed",
                "begins at offset 150 in partition 0, but was read up to offset 100",
            )?;
            wait_for_state(&server, "s1", "failed", "deleted and created again")?;
            wait_for_state(&server, "s2", "failed", "deleted and created again")?;
            wait_for_state(&server, "s3", "failed", "was deleted")?;
            wait_for_sales(&server, "v4", 0..110)?;
            for index in 0..4 {
                wait_for_sales(&server, &format!("v{index}"), 0..100)?;
                let (view, reason) = state(&server, &format!("v{index}"))?;
                ensure!(view == "failed" && reason.contains(topics[index]), "{view}: {reason}");
            }
            Ok(())
        })
    });
}

#[test]
fn kafka_a_topic_that_changes_under_the_reader_fails_with_the_reason() {
    run(|home| {
        with_broker(|broker| {
            let topics = ["live-shorter", "live-longer", "live-gone", "live-kept"];
            let server = reading(home, broker, &topics)?;
            for (topic, sales) in [(topics[0], 10), (topics[1], 300)] {
                broker.delete_topic(topic)?;
                broker.create_topic(topic, 1)?;
                send(broker, topic, 0, 0..sales)?;
            }
            broker.delete_topic(topics[2])?;
            wait_for_state(&server, "s0", "failed", "deleted and created again")?;
            wait_for_state(&server, "s1", "failed", "deleted and created again")?;
            wait_for_state(&server, "s2", "failed", "was deleted")?;
            send(broker, topics[3], 0, 100..110)?;
            wait_for_sales(&server, "v3", 0..110)?;
            for index in 0..3 {
                wait_for_sales(&server, &format!("v{index}"), 0..100)?;
            }
            Ok(())
        })
    });
}

#[test]
fn kafka_new_partitions_are_read_from_their_beginning() {
    run(|home| {
        with_broker(|broker| {
            let topic = "growing";
            broker.create_topic(topic, 1)?;
            send(broker, topic, 0, 0..10)?;
            let mut server = Headwater::start(home, 2)?;
            let script = sales(broker, "sold", topic, ", START OFFSET LATEST", "") + &totals("totals", "sold");
            server.deploy(home, "s.sql", &script)?;
            // The position behind the last record is durable: a restart does not move it.
            server.kill()?;
            send(broker, topic, 0, 10..20)?;
            server = Headwater::start(home, 2)?;
            wait_for_sales(&server, "totals", 10..20)?;
            broker.add_partitions(topic, 3)?;
            send(broker, topic, 1, 20..30)?;
            send(broker, topic, 2, 30..40)?;
            send(broker, topic, 0, 40..50)?;
            wait_for_sales(&server, "totals", 10..50)?;
            server.kill()?;
            broker.add_partitions(topic, 4)?;
            send(broker, topic, 3, 50..60)?;
            server = Headwater::start(home, 4)?;
            wait_for_sales(&server, "totals", 10..60)
        })
    });
}

#[test]
fn kafka_a_source_begins_where_it_is_told() {
    run(|home| {
        with_broker(|broker| {
            let topic = "begins";
            broker.create_topic(topic, 1)?;
            let records = broker.producer("none")?;
            for id in 0..100 {
                let (value, at) = (sale(id).0, 1_700_000_000_000 + id * 1_000);
                let value = Some(value.as_bytes());
                let record = crate::services::kafka::Record { value, timestamp_ms: Some(at), ..Default::default() };
                records.send(topic, &record)?;
            }
            records.flush()?;
            let server = Headwater::start(home, 2)?;
            for (name, options, first) in [
                ("a", ", START OFFSET 30", 30),
                ("b", ", START TIMESTAMP '2023-11-14 22:14:19.5+00'", 60),
                ("c", ", START TIMESTAMP '2033-01-01'", 100),
                ("d", ", START OFFSET EARLIEST, 'fetch.min.bytes' '1', MAX_RECORD_BYTES 2000", 0),
            ] {
                let (source, view) = (format!("{name}s"), format!("{name}v"));
                let script = sales(broker, &source, topic, options, "") + &totals(&view, &source);
                server.deploy(home, "s.sql", &script)?;
                let got = server.query(&format!("SELECT lines FROM {view}"))?;
                ensure!(got.cell("lines")? == (100 - first).to_string(), "{options}: {got:?}");
            }
            Ok(())
        })
    });
}
