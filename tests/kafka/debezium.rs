//! A table of a database as Debezium's connector for Postgres tells it: rows come, change, change their key and go, with
//! and without the schema around a change; with kills on the way the source is always that table.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::harness::{Headwater, WAIT_MAX, run, wait_for};
use crate::services::kafka::{Broker, Record, Records, with_broker};

const PARTITIONS: i64 = 3;
/// Changes between two looks at the table.
const CHANGES: usize = 700;
const ROUNDS: usize = 6;

/// A row: (region, id) → (name, balance).
type Table = BTreeMap<(i64, i64), (String, Option<String>)>;

/// A database that tells what happens to one table.
struct Database<'a> {
    rng: ChaCha8Rng,
    table: Table,
    topic: &'a str,
    records: Records,
    offsets: Vec<i64>,
    /// (position, column, what the message says) of what is no change of a row.
    refused: Vec<(String, &'static str, &'static str)>,
    lsn: u64,
}

/// A row as the connector writes it.
fn told(key: (i64, i64), row: &(String, Option<String>)) -> Value {
    json!({"region": key.0, "id": key.1, "name": row.0, "balance": row.1, "unknown": {"x": [1]}})
}

impl Database<'_> {
    fn create<'a>(broker: &Broker, topic: &'a str) -> Result<Database<'a>> {
        broker.create_topic(topic, PARTITIONS as i32)?;
        Ok(Database {
            rng: ChaCha8Rng::seed_from_u64(3),
            table: Table::new(),
            topic,
            records: broker.producer("zstd")?,
            offsets: vec![0; PARTITIONS as usize],
            refused: Vec::new(),
            lsn: 0,
        })
    }

    /// Sends a record to the partition of its key.
    fn send(&mut self, key: (i64, i64), value: Option<&str>) -> Result<String> {
        let partition = (key.0 * 7 + key.1) % PARTITIONS;
        let text = json!({"region": key.0, "id": key.1});
        let text =
            if self.rng.random_bool(0.5) { text } else { json!({"schema": {"type": "struct"}, "payload": text}) };
        let text = text.to_string();
        let record = Record {
            partition: partition as i32,
            key: Some(text.as_bytes()),
            value: value.map(str::as_bytes),
            ..Record::default()
        };
        self.records.send(self.topic, &record)?;
        let offset = &mut self.offsets[partition as usize];
        *offset += 1;
        Ok(format!("{}/{partition}/{}", self.topic, *offset - 1))
    }

    /// Sends a change, wrapped with its schema or bare.
    fn tell(&mut self, key: (i64, i64), op: &str, before: Value, after: Value) -> Result<String> {
        self.lsn += 1;
        let source =
            json!({"version": "3.0", "connector": "postgresql", "db": "shop", "table": "accounts", "lsn": self.lsn});
        let change = json!({"before": before, "after": after, "source": source, "op": op, "ts_ms": 1});
        let wrapped = json!({"schema": {"type": "struct", "fields": []}, "payload": change});
        let value = if self.rng.random_bool(0.5) { change } else { wrapped };
        self.send(key, Some(&value.to_string()))
    }

    /// One thing that happens.
    fn happen(&mut self) -> Result<()> {
        let key = (self.rng.random_range(0..4), self.rng.random_range(0..60));
        let cents = self.rng.random_range(-100_000..100_000);
        let balance = (cents % 7 != 0).then(|| super::decimal(cents));
        let row = (format!("name {}", self.rng.random_range(0..1_000)), balance);
        // With REPLICA IDENTITY FULL the row before is told, else only its key, or nothing.
        let full = self.rng.random_bool(0.5);
        match (self.table.get(&key).cloned(), self.rng.random_range(0..100)) {
            (None, 0..50) => {
                let op = if self.rng.random_bool(0.2) { "r" } else { "c" };
                self.tell(key, op, Value::Null, told(key, &row))?;
                self.table.insert(key, row);
            }
            (Some(before), 0..50) => {
                let before = if full { told(key, &before) } else { Value::Null };
                self.tell(key, "u", before, told(key, &row))?;
                self.table.insert(key, row);
            }
            (Some(before), 50..70) => {
                let only_key = json!({"region": key.0, "id": key.1, "name": null, "balance": null});
                let before = if full { told(key, &before) } else { only_key };
                let before = if self.rng.random_bool(0.2) { Value::Null } else { before };
                self.tell(key, "d", before, Value::Null)?;
                if self.rng.random_bool(0.7) {
                    self.send(key, None)?;
                }
                self.table.remove(&key);
            }
            (Some(before), 70..80) => {
                // The new key belongs to the same partition: both changes of the row stay in order.
                let to = (key.0, key.1 + PARTITIONS * self.rng.random_range(1..5));
                if !self.table.contains_key(&to) {
                    self.tell(to, "u", told(key, &before), told(to, &row))?;
                    self.table.remove(&key);
                    self.table.insert(to, row);
                }
            }
            (_, 90..) => self.say_nonsense(key)?,
            _ => {}
        }
        Ok(())
    }

    /// A record that is no change of a row, or a broken one.
    fn say_nonsense(&mut self, key: (i64, i64)) -> Result<()> {
        let after = json!({"region": key.0, "id": key.1, "name": "x", "balance": "12.5"});
        let with = |name: &str, value: Value| {
            let mut changed = after.clone();
            changed[name] = value;
            changed
        };
        let (column, said, position) = match self.rng.random_range(0..8) {
            0 => ("", "the table was truncated", self.tell(key, "t", Value::Null, Value::Null)?),
            1 => ("", "a message of the database", self.tell(key, "m", Value::Null, Value::Null)?),
            2 => ("", "has no \"after\"", self.tell(key, "u", Value::Null, Value::Null)?),
            3 => ("name", "NOT NULL", self.tell(key, "u", Value::Null, with("name", Value::Null))?),
            4 => {
                ("balance", "'much' is not a value", self.tell(key, "c", Value::Null, with("balance", json!("much")))?)
            }
            5 => {
                let value = json!("__debezium_unavailable_value");
                ("", "REPLICA IDENTITY FULL", self.tell(key, "u", Value::Null, with("name", value))?)
            }
            6 => ("", "invalid JSON: EOF", self.send(key, Some(r#"{"op":"u","after":{"region":1"#))?),
            _ => ("", "it has no \"op\"", self.send(key, Some(&after.to_string()))?),
        };
        self.refused.push((position, column, said));
        Ok(())
    }

    /// Waits until `accounts` is the table, and its errors are all that was refused.
    fn check(&self, server: &Headwater) -> Result<()> {
        self.records.flush()?;
        let row = |((region, id), (name, balance)): (&(i64, i64), &(String, Option<String>))| {
            vec![region.to_string(), id.to_string(), name.clone(), balance.clone().unwrap_or_default()]
        };
        let wanted: Vec<Vec<String>> = self.table.iter().map(row).collect();
        let (mut seen, mut errors) = (Vec::new(), Vec::new());
        let found = wait_for(&format!("{} accounts", wanted.len()), WAIT_MAX, || {
            seen = server.query("SELECT * FROM accounts ORDER BY region, id")?.rows;
            errors = server.query("SELECT position, coalesce(column_name, ''), message FROM \"accounts$errors\"")?.rows;
            Ok((seen == wanted && errors.len() == self.refused.len()).then_some(()))
        });
        found.with_context(|| {
            let wrong: Vec<_> = wanted.iter().filter(|row| !seen.contains(row)).take(3).collect();
            format!("{} rows, {} errors of {}; missing {wrong:?}", seen.len(), errors.len(), self.refused.len())
        })?;
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort();
        errors.sort();
        for (found, (position, column, said)) in errors.iter().zip(refused) {
            ensure!(found[0] == *position && found[1] == *column && found[2].contains(said), "{found:?} is not {said}");
        }
        let sums = server.query("SELECT region, n, least, greatest FROM regions ORDER BY region")?;
        let cents = |row: &(String, Option<String>)| row.1.as_ref().map(|text| text.replace('.', "").parse::<i64>());
        for region in 0..4 {
            let rows = self.table.range((region, 0)..(region + 1, 0)).map(|(_, row)| row);
            let cents: Vec<i64> = rows.clone().filter_map(cents).collect::<Result<_, _>>()?;
            let extreme = |cents: Option<&i64>| cents.map(|cents| super::decimal(*cents)).unwrap_or_default();
            let wanted = [
                region.to_string(),
                rows.count().to_string(),
                extreme(cents.iter().min()),
                extreme(cents.iter().max()),
            ];
            let found = sums.rows.iter().find(|row| row[0] == wanted[0]);
            ensure!(found.is_some_and(|row| row[..] == wanted), "{sums:?} lacks {wanted:?}");
        }
        Ok(())
    }
}

#[test]
fn kafka_debezium_s_changes_make_the_table_of_the_database() {
    run(|home| {
        with_broker(|broker| {
            let mut database = Database::create(broker, "shop.public.accounts")?;
            let mut server = Headwater::start(home, 2)?;
            let script = format!(
                "CREATE SOURCE accounts (region INT, id BIGINT, name TEXT NOT NULL, balance DECIMAL(12, 2),
                                         PRIMARY KEY (region, id))
                   FROM KAFKA (BROKERS '{}', TOPIC '{}') FORMAT JSON ENVELOPE DEBEZIUM;
                 CREATE MATERIALIZED VIEW regions AS SELECT region, count(*) AS n, min(balance) AS least,
                   max(balance) AS greatest FROM accounts GROUP BY region;",
                broker.address(),
                database.topic
            );
            server.deploy(home, "accounts.sql", &script)?;
            for round in 0..ROUNDS {
                for change in 0..CHANGES {
                    database.happen()?;
                    if change == CHANGES / 2 {
                        server.replace_by_kill(home, [1, 2, 4][round % 3])?;
                    }
                }
                database.check(&server)?;
            }
            ensure!(database.refused.len() > 200 && database.table.len() > 80);
            // Nothing is left to read: what is there after one more kill comes from the log alone.
            broker.stop(false)?;
            server.replace_by_kill(home, 4)?;
            database.check(&server)?;
            broker.start()
        })
    });
}
