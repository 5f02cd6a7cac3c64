//! Records: six partitions into one sum, bad ones listed exactly, every compression, what stands beside the value.

use anyhow::ensure;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::message::{Header, OwnedHeaders};

use super::{sale, sales, totals, wait_for_sales};
use crate::harness::{Headwater, WAIT_MAX, run, wait_for};
use crate::services::kafka::{Record, with_broker};

#[test]
fn kafka_six_partitions_make_one_sum() {
    run(|home| {
        with_broker(|broker| {
            let (topic, count) = ("six-partitions", 100_000);
            broker.create_topic(topic, 6)?;
            let records = broker.producer("none")?;
            for id in 0..count {
                records.value(topic, (id % 7 % 6) as i32, &sale(id).0)?;
            }
            records.flush()?;
            let server = Headwater::start(home, 2)?;
            // The deployment returns when everything that was there has been read.
            server.deploy(home, "s.sql", &(sales(broker, "sold", topic, "", "") + &totals("totals", "sold")))?;
            let got = server.query("SELECT lines FROM totals")?;
            ensure!(got.cell("lines")? == count.to_string(), "deployed before it had caught up: {got:?}");
            wait_for_sales(&server, "totals", 0..count)?;
            for id in count..count + 100 {
                records.value(topic, (id % 6) as i32, &sale(id).0)?;
            }
            records.flush()?;
            wait_for_sales(&server, "totals", 0..count + 100)?;
            wait_for("nothing behind", WAIT_MAX, || {
                let metrics = server.http_get("/metrics")?;
                Ok(metrics.contains("headwater_source_behind_records{source=\"sold\"} 0").then_some(()))
            })
        })
    });
}

/// A kind of bad record: its value, the column and a part of the message that its error row has.
type Bad = (Option<Vec<u8>>, &'static str, &'static str);

/// The kinds, of which the `id`th sale is made.
fn bad_kinds(id: i64) -> [Bad; 6] {
    let (good, _) = sale(id);
    let mut not_text = good.clone().into_bytes();
    not_text[20] = 0xff;
    let long = good.replace("\"x\"", &format!("\"{}\"", "x".repeat(1 << 20)));
    [
        (Some(long.into_bytes()), "", "more than the 1048576 of max_record_bytes"),
        (Some(good.as_bytes()[..good.len() - 9].to_vec()), "", "invalid JSON: EOF"),
        (
            Some(good.replace("\"id\":", "\"id\":\"a").replacen(",", "\",", 1).into_bytes()),
            "id",
            "is not a value of type BIGINT",
        ),
        (Some(not_text), "", "not valid UTF-8"),
        (Some(good.replace("shop\":", "shopping\":").into_bytes()), "shop", "NOT NULL"),
        (None, "", "no value"),
    ]
}

#[test]
fn kafka_bad_records_are_listed_with_partition_and_offset_and_cost_no_other() {
    run(|home| {
        with_broker(|broker| {
            let (topic, count) = ("bad-records", 12_000);
            broker.create_topic(topic, 3)?;
            let records = broker.producer("gzip")?;
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut offsets = [0_i64; 3];
            let mut wanted: Vec<Vec<String>> = Vec::new();
            for id in 0..count {
                let partition = rng.random_range(0..3_i32);
                for (value, column, _) in bad_kinds(id) {
                    if rng.random_range(0..100) > 0 {
                        continue;
                    }
                    records.send(topic, &Record { partition, value: value.as_deref(), ..Record::default() })?;
                    let offset = &mut offsets[partition as usize];
                    wanted.push(vec![format!("{topic}/{partition}/{offset}"), column.to_owned()]);
                    *offset += 1;
                }
                records.value(topic, partition, &sale(id).0)?;
                offsets[partition as usize] += 1;
            }
            records.flush()?;
            ensure!(wanted.len() > 600, "only {} bad records", wanted.len());
            let server = Headwater::start(home, 2)?;
            server.deploy(home, "s.sql", &(sales(broker, "sold", topic, "", "") + &totals("totals", "sold")))?;
            wait_for_sales(&server, "totals", 0..count)?;
            let got =
                server.query("SELECT position, coalesce(column_name, '') AS c, message FROM \"sold$errors\"")?.sorted();
            wanted.sort();
            let found: Vec<Vec<String>> = got.rows.iter().map(|row| row[..2].to_vec()).collect();
            ensure!(found == wanted, "the errors differ: {} instead of {}", found.len(), wanted.len());
            for (_, column, message) in bad_kinds(1) {
                let said = got.rows.iter().filter(|row| row[1] == column && row[2].contains(message)).count();
                ensure!(said > 60, "{said} errors of {column:?} say {message}");
            }
            Ok(())
        })
    });
}

#[test]
fn kafka_every_compression_is_read() {
    run(|home| {
        with_broker(|broker| {
            let (topic, count) = ("compressions", 4_000);
            broker.create_topic(topic, 4)?;
            for (partition, codec) in (0_i32..).zip(["gzip", "snappy", "lz4", "zstd"]) {
                let records = broker.producer(codec)?;
                for id in (0..count).filter(|id| id % 4 == i64::from(partition)) {
                    records.value(topic, partition, &sale(id).0)?;
                }
                records.flush()?;
            }
            let server = Headwater::start(home, 2)?;
            server.deploy(home, "s.sql", &(sales(broker, "sold", topic, "", "") + &totals("totals", "sold")))?;
            wait_for_sales(&server, "totals", 0..count)
        })
    });
}

#[test]
fn kafka_what_stands_beside_the_value_can_be_included() {
    run(|home| {
        with_broker(|broker| {
            let topic = "included";
            broker.create_topic(topic, 2)?;
            let records = broker.producer("zstd")?;
            let header = |key, value| Header { key, value };
            let headers = OwnedHeaders::new()
                .insert(header("a", Some("first")))
                .insert(header("a", Some("é")))
                .insert(Header { key: "b", value: None::<&[u8]> });
            let first = Record {
                partition: 1,
                key: Some(b"k1"),
                value: Some(b"1,\"x, y\""),
                timestamp_ms: Some(1_292_000_000_123),
                headers: Some(headers),
            };
            records.send(topic, &first)?;
            let second = Record { key: None, headers: None, value: Some(b"2,\n"), ..first.clone() };
            records.send(topic, &second)?;
            records.send(topic, &Record { key: Some(b"\xff"), ..second })?;
            records.flush()?;
            let server = Headwater::start(home, 1)?;
            let script = format!(
                "CREATE SOURCE s (n INT NOT NULL, t TEXT) FROM KAFKA (BROKERS '{}', TOPIC '{topic}')
                   FORMAT CSV INCLUDE KEY AS k, PARTITION INCLUDE OFFSET, TIMESTAMP AS at, HEADERS ENVELOPE NONE;
                 CREATE MATERIALIZED VIEW v AS SELECT * FROM s;",
                broker.address()
            );
            server.deploy(home, "s.sql", &script)?;
            let got = server.query("SELECT n, t, k, \"partition\", \"offset\", at, headers FROM v ORDER BY n")?;
            let at = "2010-12-10T16:53:20.123Z";
            let wanted = [["1", "x, y", "k1", "1", "0", at, r#"{"a":"é","b":null}"#], ["2", "", "", "1", "1", at, ""]];
            ensure!(got.rows == wanted, "{got:?}");
            let errors = server.query("SELECT position, column_name, message FROM \"s$errors\"")?;
            ensure!(errors.rows == [["included/1/2", "k", "the key is not valid UTF-8"]], "{errors:?}");
            Ok(())
        })
    });
}
