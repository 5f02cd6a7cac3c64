//! `headwater produce`: files become topics, always the same ones.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{sale, sales, totals, wait_for_sales};
use crate::harness::{Headwater, headwater, outcome, run};
use crate::services::kafka::with_broker;

/// Runs `headwater produce` with words and a file.
fn produce(address: &str, words: &str, file: &std::path::Path) -> Result<crate::harness::Outcome> {
    let mut command = headwater()?;
    command.args(["produce", "--brokers", address]).args(words.split_whitespace()).arg(file);
    outcome(&mut command)
}

#[test]
fn kafka_a_produced_file_is_the_same_topic_every_time() {
    run(|home| {
        with_broker(|broker| {
            let count = 20_000;
            let mut text = String::new();
            for id in 0..count {
                writeln!(text, "{}", sale(id).0)?;
            }
            let file = home.file("sales.ndjson.zst", zstd::encode_all(text.as_bytes(), 1)?)?;
            let server = Headwater::start(home, 2)?;
            for (name, codec) in [("a", "zstd"), ("b", "gzip")] {
                let topic = format!("produced-{name}");
                let words = format!("--topic {topic} --partitions 6 --key shop --compression {codec}");
                let sent = produce(&broker.address(), &words, &file)?;
                ensure!(sent.code == 0 && sent.stderr.contains("sent 20000 records to produced-"), "{sent:?}");
                let beside = "INCLUDE KEY, PARTITION, OFFSET";
                let script =
                    sales(broker, &format!("s{name}"), &topic, "", beside) + &totals(name, &format!("s{name}"));
                server.deploy(home, "s.sql", &script)?;
                wait_for_sales(&server, name, 0..count)?;
            }
            let placed = |name: &str| {
                server.query(&format!("SELECT id, key, \"partition\", \"offset\" FROM {name} ORDER BY id"))
            };
            let (first, second) = (placed("sa")?, placed("sb")?);
            ensure!(first == second, "the topics differ");
            let keys = server
                .query("SELECT key FROM sa WHERE key = shop GROUP BY key HAVING count(DISTINCT \"partition\") = 1")?;
            ensure!(keys.rows.len() == 40, "{keys:?}");
            Ok(())
        })
    });
}

#[test]
fn kafka_files_of_every_form_are_produced_at_a_rate_or_refused() {
    run(|home| {
        with_broker(|broker| {
            let address = broker.address();
            let csv = home.file("sales.csv", "id,shop\n1,\"a, b\"\n2,c\n")?;
            let missing = produce(&address, "--topic not-produced", &csv)?;
            ensure!(missing.code == 1 && missing.stderr.contains("give --partitions N"), "{missing:?}");
            let started = Instant::now();
            let sent = produce(&address, "--topic produced-csv --partitions 2 --rate 10 --key id", &csv)?;
            ensure!(sent.code == 0 && started.elapsed() >= Duration::from_millis(100), "{sent:?}");
            let other = produce(&address, "--topic produced-csv --partitions 3", &csv)?;
            ensure!(other.code == 1 && other.stderr.contains("has 2 partitions, not 3"), "{other:?}");
            let event = r#"{"topic":"produced-events","key":"k","ts":"2010-12-01T08:26:00Z","value":{"id": 7}}"#;
            let events = home.file("events.jsonl", format!("{event}\n"))?;
            let sent = produce(&address, "--form events --partitions 1", &events)?;
            ensure!(sent.code == 0, "{sent:?}");
            let server = Headwater::start(home, 1)?;
            server.deploy(
                home,
                "s.sql",
                &format!(
                    "CREATE SOURCE c (id INT NOT NULL, shop TEXT) FROM KAFKA (BROKERS '{address}', TOPIC 'produced-csv')
                       FORMAT CSV INCLUDE KEY;
                     CREATE SOURCE e (id INT NOT NULL) FROM KAFKA (BROKERS '{address}', TOPIC 'produced-events')
                       FORMAT JSON INCLUDE KEY INCLUDE TIMESTAMP;
                     CREATE MATERIALIZED VIEW cv AS SELECT * FROM c;
                     CREATE MATERIALIZED VIEW ev AS SELECT * FROM e;"
                ),
            )?;
            let got = server.query("SELECT id, shop, key FROM cv ORDER BY id")?;
            ensure!(got.rows == [["1", "a, b", "1"], ["2", "c", "2"]], "{got:?}");
            let got = server.query("SELECT id, key, \"timestamp\" FROM ev")?;
            ensure!(got.rows == [["7", "k", "2010-12-01T08:26:00Z"]], "{got:?}");
            let nowhere = produce("127.0.0.1:1", "--topic t", &csv)?;
            ensure!(nowhere.code == 1 && nowhere.stderr.contains("do not answer"), "{nowhere:?}");
            Ok(())
        })
    });
}

#[test]
fn kafka_generated_records_are_the_same_in_topics_and_files() {
    run(|home| {
        with_broker(|broker| {
            let address = broker.address();
            let generate = |words: &str| -> Result<crate::harness::Outcome> {
                let mut command = headwater()?;
                command.current_dir(home.path()).args(["produce", "--generator"]).args(words.split_whitespace());
                let made = outcome(&mut command)?;
                ensure!(made.code == 0, "{made:?}");
                Ok(made)
            };
            let sent = generate(&format!(
                "commerce-bench --rows 5000 --seed 7 --brokers {address} --topic generated --partitions 3 --key customer_id"
            ))?;
            ensure!(sent.stderr.contains("sent 5000 records to generated in"), "{sent:?}");
            generate("commerce-bench --rows 5000 --seed 7 --to made.ndjson")?;
            generate("commerce-bench --rows 5000 --seed 7 --to made.csv.zst")?;
            generate("commerce-bench --rows 5000 --seed 8 --to other.csv.gz")?;
            let columns = "transaction_id BIGINT NOT NULL, order_id BIGINT NOT NULL, customer_id BIGINT NOT NULL,
                amount DECIMAL(12,2) NOT NULL, event_time TIMESTAMPTZ NOT NULL";
            let server = Headwater::start(home, 2)?;
            let mut script = format!(
                "CREATE SOURCE t ({columns}) FROM KAFKA (BROKERS '{address}', TOPIC 'generated')
                   FORMAT JSON INCLUDE KEY, PARTITION, TIMESTAMP AS sent;"
            );
            for (name, file, format) in
                [("j", "made.ndjson", "JSON"), ("c", "made.csv.zst", "CSV"), ("o", "other.csv.gz", "CSV")]
            {
                script += &format!("CREATE SOURCE {name} ({columns}) FROM FILE (PATH '{file}') FORMAT {format};");
            }
            server.deploy(home, "s.sql", &script)?;
            let rows = |name: &str| {
                server.query(&format!(
                    "SELECT transaction_id, order_id, customer_id, amount, event_time FROM {name} ORDER BY transaction_id"
                ))
            };
            let (topic, json, csv, other) = (rows("t")?, rows("j")?, rows("c")?, rows("o")?);
            ensure!(topic.rows.len() == 5_000 && topic == json && json == csv, "topic and files differ");
            ensure!(csv != other, "another seed makes the same rows");
            let keyed = server.query(
                "SELECT count(*) AS n FROM t WHERE key = CAST(customer_id AS TEXT) AND sent = date_trunc('millisecond', event_time)",
            )?;
            ensure!(keyed.cell("n")? == "5000", "{keyed:?}");
            let spread = server.query(
                "SELECT count(*) AS n FROM (SELECT key FROM t GROUP BY key HAVING count(DISTINCT \"partition\") > 1) s",
            )?;
            ensure!(spread.cell("n")? == "0", "a key is in two partitions");
            Ok(())
        })
    });
}
