//! The real shop's products as an upsert topic: at every mark of a subscription the maintained table is what a plain map
//! says, whatever dies on the way and in whatever order the records come.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::data::{online_retail, unpack};
use crate::harness::{Headwater, Home, WAIT_MAX, run};
use crate::services::kafka::{Broker, Record, with_broker};
use crate::wire::{Mirror, Reached, contents, query};

const PARTITIONS: usize = 6;
/// Pieces after each of which the server is killed while the next one is on its way.
const ROUNDS: usize = 5;
/// Records sent at once.
const PIECE: usize = 400;
/// One in so many records of a partition says how many there have been.
const WINDOW: usize = 40;

#[derive(Deserialize)]
struct Event<'a> {
    topic: &'a str,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Clone, Deserialize)]
struct Product {
    event_id: String,
    stock_code: String,
    description: Option<String>,
    unit_price_mils: i64,
}

impl Product {
    /// The number in `event_id`, which tells the newer of two.
    fn version(&self) -> u64 {
        let digits = self.event_id.rsplit('p').next().unwrap_or_default();
        digits.parse().unwrap_or_default()
    }

    fn json(&self) -> String {
        serde_json::json!({
            "event_id": self.event_id, "stock_code": self.stock_code, "description": self.description,
            "unit_price_mils": self.unit_price_mils,
        })
        .to_string()
    }

    /// The first cells of its row.
    fn row(&self) -> Vec<String> {
        let description = self.description.clone().unwrap_or_default();
        vec![self.event_id.clone(), self.stock_code.clone(), description, self.unit_price_mils.to_string()]
    }

    /// Says that `count` records of the partition stand before it; newer than whatever said so before.
    fn mark(partition: usize, count: usize) -> Product {
        let (event_id, stock_code) = (format!("or1-p{count}"), format!("#{partition}"));
        Product { event_id, stock_code, description: None, unit_price_mils: count as i64 }
    }
}

/// All products in the order of the events.
fn products(dir: &std::path::Path) -> Result<Vec<Product>> {
    let text = String::from_utf8(unpack(&dir.join("events.jsonl.zst"))?)?;
    let events = text.lines().map(serde_json::from_str::<Event<'_>>).collect::<Result<Vec<_>, _>>()?;
    let products = events.iter().filter(|event| event.topic == "product-data");
    let products = products.map(|event| serde_json::from_str(event.value.get())).collect::<Result<Vec<_>, _>>()?;
    ensure!(products.len() == 188_800, "{} products", products.len());
    Ok(products)
}

/// What is sent: records by partition, and in which order they are sent, round by round.
struct Delivery {
    partitions: Vec<Vec<Product>>,
    order: Vec<usize>,
    /// Where each round ends.
    ends: Vec<usize>,
}

impl Delivery {
    fn new(rounds: Vec<Vec<(usize, Product)>>) -> Delivery {
        let mut delivery = Delivery { partitions: vec![Vec::new(); PARTITIONS], order: Vec::new(), ends: Vec::new() };
        for round in rounds {
            for (partition, product) in round {
                delivery.partitions[partition].push(product);
                delivery.order.push(partition);
            }
            delivery.ends.push(delivery.order.len());
        }
        delivery
    }

    /// How many records each partition has after so many rounds.
    fn sent(&self, rounds: usize) -> [usize; PARTITIONS] {
        let mut sent = [0; PARTITIONS];
        let end = rounds.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.order[..end].iter().for_each(|partition| sent[*partition] += 1);
        sent
    }

    /// Sends one round in pieces, and tells when it is through.
    fn send(&self, broker: &Broker, topic: &'static str, round: usize) -> Result<Receiver<()>> {
        let records = broker.producer("lz4")?;
        let mut next = self.sent(round);
        let from: usize = next.iter().sum();
        let mut batch = Vec::new();
        for partition in &self.order[from..self.ends[round]] {
            let product = &self.partitions[*partition][next[*partition]];
            batch.push((*partition as i32, product.stock_code.clone(), product.json()));
            next[*partition] += 1;
        }
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for piece in batch.chunks(PIECE) {
                for (partition, key, value) in piece {
                    let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
                    let record = Record { partition: *partition, key, value, ..Record::default() };
                    if records.send(topic, &record).is_err() {
                        return;
                    }
                }
                if records.flush().is_err() {
                    return;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(4));
            }
            // Nobody listens if the test has failed.
            let _ = tell.send(());
        });
        Ok(told)
    }
}

/// Checks one table against what was delivered.
trait Check {
    /// Forgets how much has been taken.
    fn begin(&mut self);

    /// How many records of each partition the table has at least, given its rows.
    fn check(&mut self, delivery: &Delivery, rows: &BTreeMap<Vec<String>, i64>) -> Result<[usize; PARTITIONS]>;
}

/// Follows the table until `done`, and asks for it now and then; how many marks there were, and how many were asked for.
async fn follow(
    server: &Headwater,
    delivery: &Delivery,
    check: &mut dyn Check,
    mut done: impl FnMut(&[usize; PARTITIONS], usize) -> bool,
) -> Result<(usize, usize)> {
    let mut mirror = Mirror::open(&server.client, &["products"]).await?;
    // A server that has just recovered may first show a time from before it was killed.
    check.begin();
    let (mut marks, mut asked) = (0, 0);
    loop {
        let reached = tokio::time::timeout(WAIT_MAX, mirror.next()).await.context("nothing comes any more")??;
        let at = match reached {
            Reached::Contents { at, .. } => at,
            Reached::Progress { upper } => upper - 1,
        };
        marks += 1;
        let taken = check.check(delivery, &mirror.views[0]).with_context(|| format!("at {at}"))?;
        if marks % 16 == 1 {
            match query(&server.client, "SELECT * FROM products", Some(at)).await {
                Ok((_, table)) => {
                    ensure!(contents(&table) == mirror.views[0], "the query at {at} differs from the subscription");
                    asked += 1;
                }
                // Right after a recovery the marks may lie so far back that the time is forgotten meanwhile.
                Err(error) => ensure!(format!("{error:?}").contains("the oldest readable time"), "{error:?}"),
            }
        }
        if done(&taken, marks) {
            return Ok((marks, asked));
        }
    }
}

/// Delivers everything in rounds; in each the server is killed and looked at before and afterwards.
fn deliver(
    home: &Home,
    broker: &Broker,
    topic: &'static str,
    script: &str,
    delivery: &Delivery,
    check: &mut dyn Check,
) -> Result<Headwater> {
    broker.create_topic(topic, PARTITIONS as i32)?;
    let mut server = Headwater::start(home, 2)?;
    server.deploy(home, "products.sql", script)?;
    let (mut marks, mut asked) = (0, 0);
    let mut count = |(more_marks, more_asked): (usize, usize)| {
        marks += more_marks;
        asked += more_asked;
    };
    for round in 0..ROUNDS {
        let through = delivery.send(broker, topic, round)?;
        let some = |_: &[usize; PARTITIONS], marks: usize| marks >= 20;
        count(server.runtime.block_on(follow(&server, delivery, check, some))?);
        server.replace_by_kill(home, [1, 2, 4][round % 3])?;
        let sent = delivery.sent(round + 1);
        let all = |taken: &[usize; PARTITIONS], _: usize| *taken == sent;
        count(server.runtime.block_on(follow(&server, delivery, check, all))?);
        through.recv_timeout(WAIT_MAX).context("the records are not all sent")?;
    }
    ensure!(marks > 120 && asked > 5, "only {marks} marks, {asked} of them asked for");
    Ok(server)
}

/// Totals over the table, to be compared with those over the plain map.
const TOTALS: &str = "CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n, sum(unit_price_mils) AS mils,
    min(unit_price_mils) AS least, max(unit_price_mils) AS greatest FROM products WHERE stock_code NOT LIKE '#%';";

fn check_totals<'a>(server: &Headwater, last: impl Iterator<Item = &'a Product>) -> Result<()> {
    let prices: Vec<i64> = last.map(|product| product.unit_price_mils).collect();
    let wanted = [
        prices.len() as i64,
        prices.iter().sum(),
        prices.iter().copied().min().unwrap_or(0),
        prices.iter().copied().max().unwrap_or(0),
    ];
    let got = server.query("SELECT n, mils, least, greatest FROM totals")?;
    ensure!(got.rows == [wanted.map(|value| value.to_string())], "{got:?} instead of {wanted:?}");
    ensure!(server.query("SELECT * FROM \"products$errors\"")?.rows.is_empty(), "there are errors");
    Ok(())
}

/// The rows say how many records of each partition have been taken: the last one of each is there.
#[derive(Default)]
struct ByOffset {
    taken: [usize; PARTITIONS],
    /// By key, its row with partition and offset.
    last: BTreeMap<String, Vec<String>>,
}

impl Check for ByOffset {
    fn begin(&mut self) {
        *self = ByOffset::default();
    }

    fn check(&mut self, delivery: &Delivery, rows: &BTreeMap<Vec<String>, i64>) -> Result<[usize; PARTITIONS]> {
        let mut taken = [0; PARTITIONS];
        for row in rows.keys() {
            let (partition, offset): (usize, usize) = (row[4].parse()?, row[5].parse()?);
            taken[partition] = taken[partition].max(offset + 1);
        }
        for (partition, products) in delivery.partitions.iter().enumerate() {
            let before = self.taken[partition];
            ensure!(before <= taken[partition], "records were forgotten: {taken:?} after {:?}", self.taken);
            for (offset, product) in products.iter().enumerate().take(taken[partition]).skip(before) {
                let mut row = product.row();
                row.extend([partition.to_string(), offset.to_string()]);
                self.last.insert(product.stock_code.clone(), row);
            }
        }
        self.taken = taken;
        ensure!(rows.len() == self.last.len(), "{} rows instead of {}", rows.len(), self.last.len());
        let wrong = self.last.values().find(|row| rows.get(*row) != Some(&1));
        ensure!(wrong.is_none(), "{wrong:?} is missing after {taken:?}");
        Ok(taken)
    }
}

#[test]
fn kafka_the_shop_s_products_are_the_last_of_each_key_at_every_mark() {
    let test = "kafka_the_shop_s_products_are_the_last_of_each_key_at_every_mark";
    let Some(dir) = online_retail(test) else { return };
    run(|home| {
        with_broker(|broker| {
            let hash = |code: &str| code.bytes().fold(7_usize, |hash, byte| hash * 31 % 1_009 + usize::from(byte));
            let products = products(&dir)?;
            let place = |one: &Product| (hash(&one.stock_code) % PARTITIONS, one.clone());
            let rounds = products.chunks(products.len().div_ceil(ROUNDS));
            let delivery = Delivery::new(rounds.map(|round| round.iter().map(place).collect()).collect());
            let script = format!(
                "CREATE SOURCE products (event_id TEXT NOT NULL, stock_code TEXT PRIMARY KEY, description TEXT,
                                         unit_price_mils BIGINT NOT NULL)
                   FROM KAFKA (BROKERS '{}', TOPIC 'products-in-order') FORMAT JSON
                   INCLUDE PARTITION, OFFSET ENVELOPE UPSERT; {TOTALS}",
                broker.address()
            );
            let mut check = ByOffset::default();
            let server = deliver(home, broker, "products-in-order", &script, &delivery, &mut check)?;
            let last: BTreeMap<&str, &Product> = products.iter().map(|one| (one.stock_code.as_str(), one)).collect();
            ensure!(last.len() == check.last.len() && last.len() > 3_000);
            check_totals(&server, last.into_values())
        })
    });
}

/// Marks say how many records of each partition have been taken, up to a window.
#[derive(Default)]
struct ByWindow {
    taken: [usize; PARTITIONS],
    /// By key, the newest of the records that must have been taken.
    newest: BTreeMap<String, Product>,
}

impl Check for ByWindow {
    fn begin(&mut self) {
        *self = ByWindow::default();
    }

    fn check(&mut self, delivery: &Delivery, rows: &BTreeMap<Vec<String>, i64>) -> Result<[usize; PARTITIONS]> {
        let mut taken = self.taken;
        for row in rows.keys() {
            if let Some(partition) = row[1].strip_prefix('#') {
                taken[partition.parse::<usize>()?] = row[3].parse::<usize>()? + 1;
            }
        }
        // What may have been taken beyond: no mark has come for it.
        let mut maybe: BTreeMap<&str, Vec<&Product>> = BTreeMap::new();
        for (partition, products) in delivery.partitions.iter().enumerate() {
            ensure!(self.taken[partition] <= taken[partition], "forgotten: {taken:?} after {:?}", self.taken);
            for product in &products[self.taken[partition]..taken[partition]] {
                let newest = self.newest.entry(product.stock_code.clone()).or_insert_with(|| product.clone());
                if product.version() >= newest.version() {
                    *newest = product.clone();
                }
            }
            let window = products[taken[partition]..].iter().take_while(|product| !product.stock_code.starts_with('#'));
            window.for_each(|product| maybe.entry(&product.stock_code).or_default().push(product));
        }
        self.taken = taken;
        let mut must: BTreeMap<&str, &Product> = self.newest.iter().map(|(code, one)| (code.as_str(), one)).collect();
        for (row, count) in rows {
            let newest = must.remove(row[1].as_str());
            let newer = maybe
                .get(row[1].as_str())
                .into_iter()
                .flatten()
                .filter(|product| newest.is_none_or(|newest| product.version() >= newest.version()));
            let right = newest.into_iter().chain(newer.copied()).any(|product| product.row() == *row);
            ensure!(right && *count == 1, "{count} times {row:?} after {taken:?}");
        }
        ensure!(must.is_empty(), "{:?} are missing after {taken:?}", must.keys().take(5).collect::<Vec<_>>());
        Ok(taken)
    }
}

#[test]
fn kafka_the_shop_s_products_out_of_order_and_twice_are_the_newest_of_each_key_at_every_mark() {
    let test = "kafka_the_shop_s_products_out_of_order_and_twice_are_the_newest_of_each_key_at_every_mark";
    let Some(dir) = online_retail(test) else { return };
    run(|home| {
        with_broker(|broker| {
            let products = products(&dir)?;
            let mut rng = ChaCha8Rng::seed_from_u64(11);
            let mut order: Vec<&Product> = products.iter().chain(products.iter().step_by(10)).collect();
            order.shuffle(&mut rng);
            let mut counts = [0; PARTITIONS];
            let mut rounds = Vec::new();
            for products in order.chunks(order.len().div_ceil(ROUNDS)) {
                let mut round: Vec<(usize, Product)> = Vec::new();
                let mark = |round: &mut Vec<(usize, Product)>, counts: &mut [usize; PARTITIONS], partition: usize| {
                    round.push((partition, Product::mark(partition, counts[partition])));
                    counts[partition] += 1;
                };
                for product in products {
                    let partition = rng.random_range(0..PARTITIONS);
                    round.push((partition, (*product).clone()));
                    counts[partition] += 1;
                    if counts[partition] % WINDOW == WINDOW - 1 {
                        mark(&mut round, &mut counts, partition);
                    }
                }
                // A round ends with a mark in every partition.
                (0..PARTITIONS).for_each(|partition| mark(&mut round, &mut counts, partition));
                rounds.push(round);
            }
            let delivery = Delivery::new(rounds);
            let script = format!(
                "CREATE SOURCE products (event_id TEXT NOT NULL, stock_code TEXT PRIMARY KEY, description TEXT,
                                         unit_price_mils BIGINT NOT NULL)
                   FROM KAFKA (BROKERS '{}', TOPIC 'products-shuffled') FORMAT JSON
                   ENVELOPE UPSERT (ORDER BY CAST(substr(event_id, 6) AS BIGINT)); {TOTALS}",
                broker.address()
            );
            let mut check = ByWindow::default();
            let server = deliver(home, broker, "products-shuffled", &script, &delivery, &mut check)?;
            let last: BTreeMap<&str, &Product> = products.iter().map(|one| (one.stock_code.as_str(), one)).collect();
            check_totals(&server, last.into_values())
        })
    });
}
