//! First rows of groups, of which there are many more than are asked for: groups far from the first stay in their table, and
//! which are far changes with every tick.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_dataflow::port::{PortItem, Tick};
use headwater_views::sql::plan_view;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{Batch, Contents, Names};
use crate::engine::driver::Driver;
use crate::engine::rows::{Row, Rows, Value, add, delta_of, difference};

const TICKS: u64 = 60;
/// Groups a partition: the floor is set where about twice as many as asked for are left.
const GROUPS: i64 = 60;
/// Sums of these groups of partition 0 are now and then beyond BIGINT.
const LARGE_GROUPS: i64 = 25;

/// The first rows of `groups` in some orders, and the same over groups whose sums are in range alone.
const QUERIES: [&str; 6] = [
    "SELECT p, g, s FROM (SELECT p, g, s, row_number() OVER (PARTITION BY p ORDER BY s DESC, g) AS n
     FROM (SELECT p, g, sum(v) AS s FROM t GROUP BY p, g) AS a) AS b WHERE n <= 3",
    "SELECT g, p, c, s FROM (SELECT *, row_number() OVER (PARTITION BY p ORDER BY s NULLS FIRST, c, g) AS n
     FROM (SELECT g, p, count(*) AS c, sum(v) AS s FROM t GROUP BY g, p) AS a) AS b WHERE n <= 2",
    "SELECT g, count(v) AS c FROM t GROUP BY g ORDER BY c DESC, g LIMIT 4",
    "SELECT p, g, m, r FROM (SELECT *, rank() OVER w AS r, row_number() OVER w AS n
     FROM (SELECT p, g, max(v) AS m FROM t GROUP BY p, g) AS a WINDOW w AS (PARTITION BY p ORDER BY m, g)) AS b WHERE n <= 1",
    "SELECT p, g, a FROM (SELECT p, g, avg(CAST(v AS DECIMAL(12,2))) AS a FROM t WHERE abs(v) < 1000 GROUP BY p, g) AS a
     ORDER BY a DESC NULLS LAST, p, g LIMIT 3 OFFSET 1",
    "SELECT p, g, m, f FROM (SELECT *, row_number() OVER (PARTITION BY p ORDER BY m DESC NULLS LAST, g) AS n
     FROM (SELECT p, g, median(v) AS m, percentile_disc(0) WITHIN GROUP (ORDER BY v) AS f FROM t GROUP BY p, g) AS a) AS b
     WHERE n <= 2",
];

fn schema() -> SchemaRef {
    let field = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("p"), field("g"), field("v")]))
}

/// What one tick changes: a few rows come and go, more at times.
fn changes(random: &mut ChaCha8Rng, rows: &Rows) -> Vec<(Row, i64)> {
    let mut changes: Vec<(Row, i64)> = Vec::new();
    let most = if random.random_bool(0.2) { 150 } else { 12 };
    for _ in 0..random.random_range(0..most) {
        let (p, g) = (random.random_range(0..3_i64), random.random_range(0..GROUPS));
        let v = match random.random_range(0..12) {
            0 => Value::Null,
            1 if p == 0 && g < LARGE_GROUPS => Value::Int(i64::MAX),
            _ => Value::Int(random.random_range(-40..60)),
        };
        changes.push((vec![Value::Int(p), Value::Int(g), v], 1));
    }
    let deleted = if random.random_bool(0.1) { 0.9 } else { 0.15 };
    changes.extend(rows.iter().filter(|_| random.random_bool(deleted)).map(|(row, count)| (row.clone(), -count)));
    changes
}

/// The rows of groups whose sums fit.
fn fitting(rows: &Rows) -> Rows {
    let sum = |row: &Row| {
        let same = rows.iter().filter(|(other, _)| other[..2] == row[..2]);
        same.map(|(other, count)| i128::from(other[2].int().unwrap_or(0)) * i128::from(*count)).sum::<i128>()
    };
    rows.iter().filter(|(row, _)| i64::try_from(sum(row)).is_ok()).map(|(row, count)| (row.clone(), *count)).collect()
}

fn check(workers: usize) {
    let batch = Batch::new();
    let mut driver = Driver::start(workers);
    for (index, query) in QUERIES.iter().enumerate() {
        for seed in 0..4 {
            let mut random = ChaCha8Rng::seed_from_u64(100 * index as u64 + seed);
            let (table, object, schema) = (driver.new_object().rows(), driver.new_object(), schema());
            let mut names = Names::default();
            names.add_collection("t", table, schema.clone(), false);
            let planned = plan_view(query, &names).expect("a view");
            assert!(planned.explain.contains("and some to spare"), "{}", planned.explain);
            let (feed, import) = driver.port(table, &schema);
            driver.create(object, vec![import], planned.plan, 0);
            feed.replay(PortItem::SnapshotComplete).expect("the dataflow exists");
            feed.follow();
            let mut rows = Rows::new();
            for time in 1..=TICKS {
                let changes = changes(&mut random, &rows);
                changes.iter().for_each(|(row, diff)| add(&mut rows, row.clone(), *diff));
                let delta = (!changes.is_empty()).then(|| delta_of(&schema, &changes));
                feed.push(&Arc::new(Tick { time, delta })).expect("the dataflow keeps up");
                driver.wait_upper(object, time + 1).expect("the engine answers");
                let found = driver.peek(object.rows(), time).expect("the engine answers");
                let sums = query.contains("sum(v)");
                let right = if sums { fitting(&rows) } else { rows.clone() };
                let contents = Contents::from([(table, (schema.clone(), right.clone()))]);
                let expected = batch.answer(query, &names, &contents).expect("sums fit").rows;
                let said = difference(&expected, &found, 5);
                assert!(said.is_empty(), "{query}\nseed {seed}, {workers} worker(s), time {time}:\n{said}");
                let failing = driver.peek(object.errors(), time).expect("the engine answers");
                assert_eq!(failing.is_empty(), !sums || right == rows, "{failing:?}");
            }
            driver.drop_views(&[object]).expect("the engine answers");
        }
    }
    driver.shutdown();
}

#[test]
fn first_groups_equal_a_batch_at_every_tick_on_1_worker() {
    check(1);
}

#[test]
fn first_groups_equal_a_batch_at_every_tick_on_2_workers() {
    check(2);
}

#[test]
fn first_groups_equal_a_batch_at_every_tick_on_4_workers() {
    check(4);
}
