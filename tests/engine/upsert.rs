//! Upsert equals a plain map at every time, on 1, 2 and 4 workers: many changes of a key within one tick, tombstones,
//! keys that come back, orders that arrive late, dataflows that begin in the past or fall behind, and views that read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use headwater_dataflow::plan::{AggregateFunc, Op, Plan};
use headwater_dataflow::protocol::{Import, PortForm};
use headwater_dataflow::repr::{CollectionId, ObjectId, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::driver::Driver;
use super::plans::{aggregate, int, schema};
use super::rows::{Row, Rows, Value, add, difference};
use super::world::{Shape, World};

/// Histories per number of workers.
const HISTORIES: u64 = 120;
/// Ticks that a live queue does not take.
const OVERFLOW: usize = 300;

/// What the log holds of a record: two columns of which the first or both are the key, a value that may order them, and
/// whether it deletes.
fn records() -> SchemaRef {
    schema(&[("a", DataType::Int64), ("b", DataType::Int64), ("at", DataType::Int64), ("deleted", DataType::Boolean)])
}

fn rows_schema() -> SchemaRef {
    schema(&[("a", DataType::Int64), ("b", DataType::Int64), ("at", DataType::Int64)])
}

/// How the last record of a key is told.
#[derive(Clone, Debug)]
struct Rule {
    key: Vec<usize>,
    ordered: bool,
}

/// Every key that was there: the order of its last record, and its row if it has one.
type Table = BTreeMap<Row, (Value, Option<Row>)>;

impl Rule {
    /// Takes one record in the order of arrival.
    fn take(&self, table: &mut Table, record: &Row) {
        let key: Row = self.key.iter().map(|column| record[*column].clone()).collect();
        let deletes = record[3] == Value::Boolean(true);
        let order = if self.ordered { record[2].clone() } else { Value::Null };
        let row = (!deletes).then(|| record[..3].to_vec());
        let known = table.get(&key).map(|(order, _)| order.clone());
        match known {
            // A tombstone without an order comes last of what is there.
            Some(last) if self.ordered && deletes && order == Value::Null => drop(table.insert(key, (last, None))),
            None if self.ordered && deletes && order == Value::Null => {}
            Some(last) if order < last => {}
            _ => drop(table.insert(key, (order, row))),
        }
    }

    fn plan(&self, log: CollectionId) -> Plan {
        let mut plan = Plan::default();
        let numbered = numbered();
        let columns = (0..numbered.fields().len()).collect();
        let input = plan.push(Op::Get { collection: log, columns, append_only: true }, numbered);
        let order = self.ordered.then_some(2);
        plan.push(Op::Upsert { input, keys: self.key.clone(), order }, rows_schema());
        plan
    }
}

fn numbered() -> SchemaRef {
    let mut fields: Vec<_> = records().fields().iter().cloned().collect();
    fields.push(Arc::new(arrow::datatypes::Field::new("sequence", DataType::Int64, true)));
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// The least and the greatest `at` of each `b`, and how many there are: nothing of it may take the rows to be append-only.
fn reading(table: CollectionId) -> Plan {
    let out = schema(&[
        ("b", DataType::Int64),
        ("least", DataType::Int64),
        ("greatest", DataType::Int64),
        ("n", DataType::Int64),
    ]);
    let mut plan = Plan::default();
    let get = Op::Get { collection: table, columns: vec![0, 1, 2], append_only: false };
    let input = plan.push(get, rows_schema());
    let aggregates = vec![
        aggregate(AggregateFunc::Min, Some(int(2)), DataType::Int64),
        aggregate(AggregateFunc::Max, Some(int(2)), DataType::Int64),
        aggregate(AggregateFunc::Count, None, DataType::Int64),
    ];
    plan.push(Op::Reduce { input, keys: vec![int(1)], aggregates, append_only: false, best: None }, out);
    plan
}

fn read(table: &Rows) -> Rows {
    let mut groups: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    table.keys().for_each(|row| groups.entry(row[1].clone()).or_default().push(row[2].clone()));
    let extreme = |values: &[Value], greatest: bool| {
        let values = values.iter().filter(|value| **value != Value::Null).cloned();
        if greatest { values.max() } else { values.min() }.unwrap_or(Value::Null)
    };
    let count = |values: &[Value]| Value::Int(i64::try_from(values.len()).expect("it is small"));
    let row = |(b, values): (Value, Vec<Value>)| {
        (vec![b, extreme(&values, false), extreme(&values, true), count(&values)], 1)
    };
    groups.into_iter().map(row).collect()
}

/// A history of records.
struct History {
    rng: ChaCha8Rng,
    rule: Rule,
    keys: i64,
    busy: usize,
    ticks: Vec<(Timestamp, Vec<Row>)>,
}

impl History {
    fn tick(&mut self, world: &mut World) {
        let count = self.rng.random_range(0..=self.busy);
        let records: Vec<Row> = (0..count).map(|_| self.record()).collect();
        world.tick_of(vec![records.iter().map(|record| (record.clone(), 1)).collect()]);
        self.ticks.push((world.now, records));
    }

    fn record(&mut self) -> Row {
        let rng = &mut self.rng;
        let deletes = rng.random_bool(0.3);
        let at = if rng.random_ratio(1, 4) { Value::Null } else { Value::Int(rng.random_range(0..8)) };
        let b = if rng.random_bool(0.1) && !self.rule.key.contains(&1) {
            Value::Null
        } else {
            Value::Int(rng.random_range(0..3))
        };
        vec![Value::Int(rng.random_range(0..self.keys)), b, at, Value::Boolean(deletes)]
    }

    /// The rows at each of `times`, which ascend.
    fn states(&self, times: &[Timestamp]) -> Vec<Rows> {
        let (mut table, mut ticks) = (Table::new(), self.ticks.iter().peekable());
        let mut states = Vec::with_capacity(times.len());
        for time in times {
            while let Some((_, records)) = ticks.next_if(|(at, _)| at <= time) {
                records.iter().for_each(|record| self.rule.take(&mut table, record));
            }
            let mut rows = Rows::new();
            table.values().filter_map(|(_, row)| row.clone()).for_each(|row| add(&mut rows, row, 1));
            states.push(rows);
        }
        states
    }

    /// Compares what `object` shows at every time from its `as_of` on.
    fn check(&self, what: &str, driver: &mut Driver, object: ObjectId, through: &dyn Fn(&Rows) -> Rows) -> usize {
        let as_of = driver.export(object).as_of;
        let at_as_of = driver.peek(object.rows(), as_of).expect("the engine answers");
        let later = self.ticks.iter().map(|(time, _)| *time).filter(|time| *time > as_of);
        let times: Vec<Timestamp> = std::iter::once(as_of).chain(later).collect();
        let got = driver.export(object).states(&at_as_of, &times);
        for ((time, wanted), got) in times.iter().zip(self.states(&times)).zip(&got) {
            let said = difference(&through(&wanted), got, 10);
            assert!(said.is_empty(), "{what}: {object} is wrong at {time} (as_of {as_of}):\n{said}");
        }
        let last = *times.last().expect("there is as_of");
        let peeked = driver.peek(object.rows(), last).expect("the engine answers");
        assert_eq!(got.last(), Some(&peeked), "{what}: a peek at {last}");
        assert!(driver.violations.is_empty(), "{what}: {:?}", driver.violations);
        times.len()
    }
}

/// Creates the table over the log so far as of `as_of`; returns it and what feeds it.
fn create(world: &mut World, driver: &mut Driver, rule: &Rule, as_of: Timestamp) -> (ObjectId, super::world::Seam) {
    let mut seam = world.import(&[0], Some(as_of), driver);
    let numbered = |import: Import| match import {
        Import::Source { collection, port, .. } => {
            Import::Source { collection, schema: numbered(), port, form: PortForm::Numbered }
        }
        other @ (Import::View { .. } | Import::Index { .. }) => other,
    };
    let imports = std::mem::take(&mut seam.imports).into_iter().map(numbered).collect();
    let object = driver.new_object();
    driver.create(object, imports, rule.plan(world.tables[0].collection), as_of);
    (object, seam)
}

fn run(seed: u64, driver: &mut Driver) -> (usize, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rule = Rule { key: if rng.random_bool(0.3) { vec![0, 1] } else { vec![0] }, ordered: rng.random_bool(0.5) };
    let shape = Shape { keys: 1, rows: 0, updates: 0, append_only: true, late: 0, nulls: 0 };
    let mut world = World::new(seed, &records(), &[shape], driver);
    let (keys, busy) = (rng.random_range(1..15), rng.random_range(1..25));
    let history_rng = ChaCha8Rng::seed_from_u64(seed + 1);
    let mut history = History { rng: history_rng, rule: rule.clone(), keys, busy, ticks: Vec::new() };
    for _ in 0..rng.random_range(1..12) {
        history.tick(&mut world);
    }
    let as_of = history.ticks[rng.random_range(0..history.ticks.len())].0;
    let (table, seam) = create(&mut world, driver, &rule, as_of);
    let (early, slice) = (rng.random_bool(0.5), rng.random_range(1..50));
    let overflows = !early && rng.random_bool(0.2);
    if early {
        seam.replay(&records(), slice, &mut |step| step(&mut world));
    }
    for _ in 0..if overflows { OVERFLOW } else { rng.random_range(1..40) } {
        history.tick(&mut world);
        if early && rng.random_bool(0.1) {
            driver.wait_upper(table, world.now + 1).expect("the engine answers");
        }
    }
    if !early {
        seam.replay(&records(), slice, &mut |step| step(&mut world));
    }
    // A view over it that begins in the middle, and the same table once more, as a restart builds it from the log.
    let (view, middle) = (driver.new_object(), world.now);
    let import = Import::View { collection: table.rows(), schema: rows_schema() };
    driver.create(view, vec![import], reading(table.rows()), middle);
    let back = history.ticks[rng.random_range(0..history.ticks.len())].0;
    let (again, seam) = create(&mut world, driver, &rule, back);
    seam.replay(&records(), rng.random_range(1..50), &mut |step| step(&mut world));
    for _ in 0..rng.random_range(1..20) {
        history.tick(&mut world);
    }
    let what = format!("{rule:?} on {} worker(s), seed {seed}", driver.workers());
    let mut states = 0;
    for object in [table, view, again] {
        driver.wait_upper(object, world.now + 1).expect("the engine answers");
        let through: &dyn Fn(&Rows) -> Rows = if object == view { &read } else { &Rows::clone };
        states += history.check(&what, driver, object, through);
    }
    driver.drop_views(&[view, again, table]).expect("the engine answers");
    (states, world.overflows)
}

fn histories(workers: usize) {
    let mut driver = Driver::start(workers);
    let (mut states, mut overflows) = (0, 0);
    for seed in 0..HISTORIES {
        let (compared, overflown) = run(seed * 17 + 3, &mut driver);
        (states, overflows) = (states + compared, overflows + overflown);
    }
    driver.wait_installed(0).expect("nothing is left behind");
    driver.shutdown();
    assert!(overflows > 0, "no live queue was ever full");
    eprintln!("upsert on {workers} worker(s): {HISTORIES} histories, {states} states equal, {overflows} overflows");
}

#[test]
fn upsert_equals_a_plain_map_at_every_time_on_1_worker() {
    histories(1);
}

#[test]
fn upsert_equals_a_plain_map_at_every_time_on_2_workers() {
    histories(2);
}

#[test]
fn upsert_equals_a_plain_map_at_every_time_on_4_workers() {
    histories(4);
}
