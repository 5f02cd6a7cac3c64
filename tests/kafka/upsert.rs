//! Topics of records that replace each other: tombstones, keys that stand in the record's key, what is refused and where.

use anyhow::{Result, ensure};

use crate::harness::{Headwater, WAIT_MAX, run, wait_for};
use crate::services::kafka::{Broker, Record, Records, with_broker};
use crate::table::Table;

/// A topic with what was sent to it.
struct Topic<'a> {
    name: &'a str,
    records: Records,
    /// How many records each partition has.
    offsets: [i64; 2],
}

impl<'a> Topic<'a> {
    fn create(broker: &Broker, name: &'a str) -> Result<Topic<'a>> {
        broker.create_topic(name, 2)?;
        Ok(Topic { name, records: broker.producer("lz4")?, offsets: [0; 2] })
    }

    /// Sends a record and returns its position.
    fn send(&mut self, partition: usize, key: Option<&str>, value: Option<&str>) -> Result<String> {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        let record = Record { partition: partition as i32, key, value, ..Record::default() };
        self.records.send(self.name, &record)?;
        self.offsets[partition] += 1;
        Ok(format!("{}/{partition}/{}", self.name, self.offsets[partition] - 1))
    }

    /// Waits until the source `name` has read everything, and what it read is maintained; returns its rows.
    fn rows(&self, server: &Headwater, name: &str) -> Result<Table> {
        self.records.flush()?;
        let sent: i64 = self.offsets.iter().sum();
        wait_for(&format!("{sent} records in {name}"), WAIT_MAX, || {
            let metrics = server.http_get("/metrics")?;
            let value = |metric: &str| -> i64 {
                let wanted = format!("headwater_{metric}{{source=\"{name}\"}} ");
                let line = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
                line.and_then(|value| value.parse::<f64>().ok()).map_or(-1, |value| value as i64)
            };
            let taken = value("source_records_total") + value("source_errors_total");
            ensure!(taken <= sent, "{taken} of {sent} records");
            Ok((taken == sent).then_some(()))
        })?;
        server.query(&format!("SELECT * FROM {name} ORDER BY 1"))
    }
}

fn cells(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}

#[test]
fn kafka_upsert_keeps_the_last_record_of_each_key_and_tombstones_delete_it() {
    run(|home| {
        with_broker(|broker| {
            let mut topic = Topic::create(broker, "upsert-records")?;
            let mut server = Headwater::start(home, 2)?;
            let script = format!(
                "CREATE SOURCE stock (sku TEXT PRIMARY KEY, n INT NOT NULL, note TEXT)
                   FROM KAFKA (BROKERS '{}', TOPIC '{}') FORMAT JSON INCLUDE OFFSET AS o ENVELOPE UPSERT;
                 CREATE MATERIALIZED VIEW extremes AS SELECT min(n) AS least, max(n) AS greatest, count(*) AS n FROM stock;
                 CREATE VIEW plenty AS SELECT sku FROM stock WHERE n > 100;",
                broker.address(),
                topic.name
            );
            server.deploy(home, "s.sql", &script)?;
            topic.send(0, None, Some(r#"{"sku":"a","n":1}"#))?;
            topic.send(0, Some("b"), Some(r#"{"n":900,"note":"key from the record"}"#))?;
            topic.send(1, Some(r#"{"sku":"c"}"#), Some(r#"{"n":3}"#))?;
            topic.send(0, None, Some(r#"{"sku":"a","n":10}"#))?;
            let rows = topic.rows(&server, "stock")?;
            let wanted =
                cells(&[&["a", "10", "", "2"], &["b", "900", "key from the record", "1"], &["c", "3", "", "0"]]);
            ensure!(rows.rows == wanted, "{rows:?}");
            ensure!(server.query("SELECT * FROM extremes")?.rows == cells(&[&["3", "900", "3"]]));
            ensure!(server.query("SELECT * FROM plenty")?.rows == cells(&[&["b"]]));

            // Gone, and gone before it was there; the greatest value is taken back with its row.
            topic.send(0, Some("b"), None)?;
            topic.send(1, Some(r#"{"sku":"z"}"#), None)?;
            let rows = topic.rows(&server, "stock")?;
            ensure!(rows.rows == cells(&[&["a", "10", "", "2"], &["c", "3", "", "0"]]), "{rows:?}");
            ensure!(server.query("SELECT * FROM extremes")?.rows == cells(&[&["3", "10", "2"]]));

            // What cannot be read costs itself only, and says where it stands.
            let mut wanted = vec![
                (topic.send(0, None, None)?, "", "the record has no key"),
                (topic.send(1, Some(r#"{"id":1}"#), None)?, "sku", "the key of the record lacks the column"),
                (topic.send(0, None, Some(r#"{"n":5}"#))?, "sku", "the value lacks it, and the record has no key"),
                (topic.send(1, Some("a"), Some(r#"{"sku":null,"n":5}"#))?, "sku", "NOT NULL"),
                (topic.send(1, None, Some(r#"{"sku":"a","n":"many"}"#))?, "n", "'many' is not a value of type INT"),
                (topic.send(0, Some("a"), Some(r#"{"sku":"a","n":"#))?, "", "invalid JSON: EOF"),
            ];
            topic.send(0, Some("b"), Some(r#"{"n":20}"#))?;
            let again = cells(&[&["a", "10", "", "2"], &["b", "20", "", "7"], &["c", "3", "", "0"]]);
            wanted.sort();
            for workers in [2, 1, 4] {
                let rows = topic.rows(&server, "stock")?;
                ensure!(rows.rows == again, "{rows:?}");
                ensure!(server.query("SELECT * FROM extremes")?.rows == cells(&[&["3", "20", "3"]]));
                let errors = server.query(
                    "SELECT position, coalesce(column_name, ''), message FROM \"stock$errors\" ORDER BY position",
                )?;
                ensure!(errors.rows.len() == wanted.len(), "{errors:?}");
                for (row, (position, column, message)) in errors.rows.iter().zip(&wanted) {
                    ensure!(row[0] == *position && row[1] == *column && row[2].contains(message), "{row:?}");
                }
                server.replace_by_kill(home, workers)?;
            }
            Ok(())
        })
    });
}

#[test]
fn kafka_upsert_by_an_order_takes_the_greatest_however_late_it_comes() {
    run(|home| {
        with_broker(|broker| {
            let mut topic = Topic::create(broker, "upsert-orders")?;
            let mut server = Headwater::start(home, 2)?;
            let source = |name: &str, order: &str| {
                format!(
                    "CREATE SOURCE {name} (a BIGINT, b TEXT, version TEXT, n INT, PRIMARY KEY (b, a))
                       FROM KAFKA (BROKERS '{}', TOPIC '{}') FORMAT JSON ENVELOPE UPSERT {order};",
                    broker.address(),
                    topic.name
                )
            };
            let script = source("latest", "(ORDER BY CAST(substr(version, 2) AS BIGINT))") + &source("last", "");
            server.deploy(home, "s.sql", &script)?;
            let value = |version: &str, n: i32| Some(format!(r#"{{"a":1,"b":"x","version":"{version}","n":{n}}}"#));
            let (key, mut sent) = (r#"{"b":"x","a":1}"#, 0);
            for (record, latest, last) in [
                (value("v9", 1), &["1", "x", "v9", "1"][..], &["1", "x", "v9", "1"][..]),
                // Older, in spite of its text.
                (value("v10", 2), &["1", "x", "v10", "2"], &["1", "x", "v10", "2"]),
                (value("v9", 3), &["1", "x", "v10", "2"], &["1", "x", "v9", "3"]),
                // Equal: the later one.
                (value("v10", 4), &["1", "x", "v10", "4"], &["1", "x", "v10", "4"]),
                // A tombstone comes last of what is there.
                (None, &[], &[]),
                (value("v9", 5), &[], &["1", "x", "v9", "5"]),
                (value("v10", 6), &["1", "x", "v10", "6"], &["1", "x", "v10", "6"]),
                (None, &[], &[]),
            ] {
                topic.send(sent % 2, Some(key), record.as_deref())?;
                sent += 1;
                for (name, wanted) in [("latest", latest), ("last", last)] {
                    let rows = topic.rows(&server, name)?;
                    let wanted = if wanted.is_empty() { Vec::new() } else { cells(&[wanted]) };
                    ensure!(rows.rows == wanted, "{name} after {sent}: {rows:?}");
                }
                if sent % 3 == 0 {
                    server.replace_by_kill(home, [1, 2, 4][sent / 3 % 3])?;
                }
            }
            // A deleted key is remembered over a restart, and what has no order says so.
            server.replace_by_kill(home, 2)?;
            topic.send(0, Some(key), value("v8", 7).as_deref())?;
            ensure!(topic.rows(&server, "latest")?.rows.is_empty());
            topic.send(0, Some(key), value("vX", 8).as_deref())?;
            topic.records.flush()?;
            wait_for("the record without an order", WAIT_MAX, || {
                let errors = server.query("SELECT position, message, payload FROM \"latest$errors\"")?;
                let said = errors.rows.first().is_some_and(|row| {
                    row[0].starts_with("latest: ") && row[1].contains("'X'") && row[2].contains("vX")
                });
                ensure!(errors.rows.len() <= 1 && (errors.rows.is_empty() || said), "{errors:?}");
                Ok((!errors.rows.is_empty()).then_some(()))
            })?;
            ensure!(server.query("SELECT * FROM latest")?.rows.is_empty());
            Ok(())
        })
    });
}
