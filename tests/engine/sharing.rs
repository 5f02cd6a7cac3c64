//! Views over views: B imports A's arrangement and C imports B's, at times in the past where they still are readable, on
//! 1, 2 and 4 workers that move at different speeds.

use headwater_dataflow::plan::{AggregateFunc, NodeId, Op, Plan};
use headwater_dataflow::protocol::Import;
use headwater_dataflow::repr::{CollectionId, ObjectId, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use arrow::datatypes::DataType;

use super::check::check_states;
use super::driver::Driver;
use super::plans::{aggregate, int, late};
use super::reference::{pairs, plan_over};
use super::rows::{Row, Rows, Value, add};
use super::world::{Shape, World};

fn count_by(plan: &mut Plan, input: NodeId, key: usize) {
    let count = aggregate(AggregateFunc::Count, None, DataType::Int64);
    plan.push(
        Op::Reduce { input, keys: vec![int(key)], aggregates: vec![count], append_only: false, best: None },
        pairs(),
    );
}

/// The values per key: (k, how many rows).
fn first(table: CollectionId) -> Plan {
    plan_over(&[table], false, |plan, gets| {
        let op = Op::Mfp { input: gets[0], filters: Vec::new(), project: vec![int(0), late(1)] };
        let input = plan.push(op, pairs());
        count_by(plan, input, 0);
    })
}

/// The counts of the counts.
fn second(view: CollectionId) -> Plan {
    plan_over(&[view], false, |plan, gets| count_by(plan, gets[0], 1))
}

fn count_rows(rows: &Rows, key: usize) -> Rows {
    let mut counts: std::collections::BTreeMap<Value, i64> = std::collections::BTreeMap::new();
    for (row, diff) in rows {
        *counts.entry(row[key].clone()).or_default() += diff;
    }
    let mut out = Rows::new();
    for (key, count) in counts {
        let row: Row = vec![key, Value::Int(count)];
        add(&mut out, row, 1);
    }
    out
}

/// One view of a chain.
struct Link {
    object: ObjectId,
    as_of: Timestamp,
    /// Its arrangement may have forgotten `as_of`.
    compacted: bool,
}

fn run(seed: u64, driver: &mut Driver) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = Shape {
        keys: rng.random_range(1..12),
        rows: rng.random_range(4..80),
        updates: rng.random_range(1..25),
        append_only: false,
        late: if rng.random_bool(0.3) { 60 } else { 0 },
        nulls: 10,
    };
    let mut world = World::new(seed, &pairs(), &[shape], driver);
    for _ in 0..rng.random_range(1..10) {
        world.tick();
    }
    let (a, as_of) = (driver.new_object(), world.now);
    let mut seam = world.import(&[0], Some(as_of), driver);
    let plan = first(world.tables[0].collection);
    driver.create(a, std::mem::take(&mut seam.imports), plan, as_of);
    seam.replay(&pairs(), rng.random_range(1..60), &mut |step| step(&mut world));
    let mut chain = vec![Link { object: a, as_of, compacted: false }];
    let mut since = as_of;
    for _ in 0..2 {
        for _ in 0..rng.random_range(0..20) {
            world.tick();
        }
        let last = chain.last_mut().expect("there is a first");
        let producer = last.object;
        if rng.random_bool(0.4) {
            // What nobody is promised may be forgotten.
            since = rng.random_range(since..=world.now);
            driver.allow_compaction([producer], since);
            last.compacted = true;
        }
        let as_of = rng.random_range(since..=world.now);
        since = as_of;
        let object = driver.new_object();
        let import = Import::View { collection: producer.rows(), schema: pairs() };
        driver.create(object, vec![import], second(producer.rows()), as_of);
        chain.push(Link { object, as_of, compacted: false });
    }
    for _ in 0..rng.random_range(1..20) {
        world.tick();
    }
    let mut states = 0;
    for (index, Link { object, as_of, compacted }) in chain.iter().enumerate() {
        driver.wait_upper(*object, world.now + 1).expect("the engine answers");
        let reference = move |tables: &[Rows]| {
            let mut rows = count_rows(&tables[0], 0);
            for _ in 0..index {
                rows = count_rows(&rows, 1);
            }
            rows
        };
        let at_as_of = if *compacted {
            reference(&world.log.states(&[*as_of])[as_of])
        } else {
            driver.peek(object.rows(), *as_of).expect("the engine answers")
        };
        let what = format!("view {index} of a chain on {} worker(s), seed {seed}", driver.workers());
        states += check_states(&what, driver, &world.log, *object, (&at_as_of, world.now), &reference);
        let peeked = driver.peek(object.rows(), world.now).expect("the engine answers");
        assert_eq!(reference(&world.log.states(&[world.now])[&world.now]), peeked, "{what}: a peek at the end");
    }
    let order: Vec<ObjectId> = chain.iter().rev().map(|link| link.object).collect();
    driver.drop_views(&order).expect("the engine answers");
    states
}

fn chains(workers: usize) {
    let mut driver = Driver::start(workers);
    let mut states = 0;
    for seed in 0..150 {
        states += run(9_000 + seed, &mut driver);
    }
    driver.wait_installed(0).expect("nothing is left behind");
    driver.shutdown();
    eprintln!("sharing on {workers} worker(s): 150 chains of three views, {states} states equal");
}

#[test]
fn views_over_views_are_right_from_their_as_of_on_with_1_worker() {
    chains(1);
}

#[test]
fn views_over_views_are_right_from_their_as_of_on_with_2_workers() {
    chains(2);
}

#[test]
fn views_over_views_are_right_from_their_as_of_on_with_4_workers() {
    chains(4);
}
