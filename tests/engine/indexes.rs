//! Joins that look rows up in indexes equal plain maps at every time, whichever side an index keeps, and so do the rows of
//! a key, on 1, 2 and 4 workers; the indexes forget and merge on the way.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use headwater_dataflow::plan::{Index, JoinKind, Op, Plan};
use headwater_dataflow::protocol::{Import, IndexKeys};
use headwater_dataflow::repr::{ObjectId, Row as Bytes, RowCodec, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check::check_states;
use super::driver::Driver;
use super::plans::{int, schema};
use super::reference::{pairs, plan_over};
use super::rows::{Row, Rows, Value, add};
use super::world::{Shape, World};

const KINDS: [JoinKind; 7] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::LeftSemi,
    JoinKind::LeftAnti,
    JoinKind::LeftMark,
];

/// What is joined: the left key is the first column, the right one the second.
#[derive(Clone, Copy)]
struct Joined {
    kind: JoinKind,
    null_equals_null: bool,
}

impl Joined {
    fn matches(self, a: &Row, b: &Row) -> bool {
        a[0] == b[1] && (self.null_equals_null || a[0] != Value::Null)
    }

    fn reference(self, tables: &[Rows]) -> Rows {
        let mut out = Rows::new();
        let nulls = || [Value::Null, Value::Null];
        let joined = |a: &[Value], b: &[Value]| -> Row { a.iter().chain(b).cloned().collect() };
        for (a, m) in &tables[0] {
            let partners: Vec<_> = tables[1].iter().filter(|(b, _)| self.matches(a, b)).collect();
            match self.kind {
                JoinKind::LeftSemi | JoinKind::LeftAnti => {
                    if partners.is_empty() == (self.kind == JoinKind::LeftAnti) {
                        add(&mut out, a.clone(), *m);
                    }
                }
                JoinKind::LeftMark => add(&mut out, joined(a, &[Value::Boolean(!partners.is_empty())]), *m),
                _ => {
                    partners.iter().for_each(|(b, n)| add(&mut out, joined(a, b), m * *n));
                    if partners.is_empty() && self.kind.keeps_left() {
                        add(&mut out, joined(a, &nulls()), *m);
                    }
                }
            }
        }
        for (b, n) in tables[1].iter().filter(|_| self.kind.keeps_right()) {
            if !tables[0].keys().any(|a| self.matches(a, b)) {
                add(&mut out, joined(&nulls(), b), *n);
            }
        }
        out
    }

    /// The plan over two tables of which `indexes` keep some.
    fn plan(self, world: &World, indexes: &[Index]) -> Plan {
        let tables: Vec<_> = world.tables.iter().map(|table| table.collection).collect();
        let mut columns = vec![("k", DataType::Int64), ("v", DataType::Int64)];
        if self.kind.pairs() {
            columns.extend([("k2", DataType::Int64), ("v2", DataType::Int64)]);
        } else if self.kind == JoinKind::LeftMark {
            columns.push(("mark", DataType::Boolean));
        }
        let mut plan = plan_over(&tables, false, |plan, gets| {
            let op = Op::Join {
                left: gets[0],
                right: gets[1],
                kind: self.kind,
                left_keys: vec![int(0)],
                right_keys: vec![int(1)],
                null_equals_null: self.null_equals_null,
                filter: None,
            };
            plan.push(op, schema(&columns));
        });
        plan.use_indexes(indexes);
        let used = plan.nodes.iter().filter(|node| matches!(node.op, Op::Index { .. })).count();
        assert_eq!(used, indexes.len(), "every index is used");
        plan
    }
}

/// Creates the index of a table as of now: by its first column, or by its second.
fn index(table: usize, world: &mut World, driver: &mut Driver) -> (Index, Timestamp) {
    let object = driver.new_object();
    let columns = if table == 0 { vec![0, 1] } else { vec![1, 0] };
    let of = world.tables[table].collection;
    let as_of = world.now;
    let mut seam = world.import(&[table], Some(as_of), driver);
    let mut plan = Plan::default();
    plan.push(Op::Get { collection: of, columns: columns.clone(), append_only: false }, pairs());
    driver.create_keyed(object, std::mem::take(&mut seam.imports), (plan, Some(1)), as_of);
    seam.replay(&pairs(), 17, &mut |step| step(world));
    (Index { of, rows: object.rows(), columns, key: 1 }, as_of)
}

/// The rows of a key in an index.
fn rows_of(key: Option<i64>, index: &Index, at: Timestamp, driver: &mut Driver) -> Rows {
    let codec = RowCodec::new([&DataType::Int64]).expect("numbers are rows");
    let column: ArrayRef = Arc::new(Int64Array::from(vec![key]));
    let key = Bytes::new(codec.encode(&[column]).expect("a number").get(0));
    let mut rows = |whole| {
        let keys = IndexKeys { beginnings: Arc::from([key.clone()]), whole };
        driver.peek_keys(index.rows, at, Some(keys)).expect("the engine answers")
    };
    let looked_up = rows(true);
    assert_eq!(looked_up, rows(false), "comparing all rows finds the same");
    looked_up
}

fn run(joined: Joined, indexed: [bool; 2], seed: u64, driver: &mut Driver) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = Shape {
        keys: rng.random_range(1..10),
        rows: rng.random_range(2..40),
        updates: rng.random_range(1..20),
        append_only: false,
        late: 0,
        nulls: 6,
    };
    let mut world = World::new(seed, &pairs(), &[shape.clone(), shape], driver);
    for _ in 0..rng.random_range(1..6) {
        world.tick();
    }
    let tables: Vec<usize> = (0..2).filter(|table| indexed[*table]).collect();
    let (mut indexes, mut since) = (Vec::new(), 0);
    for table in tables {
        let (index, as_of) = index(table, &mut world, driver);
        since = since.max(as_of);
        indexes.push(index);
        for _ in 0..rng.random_range(0..10) {
            world.tick();
        }
    }
    let mut view = |world: &mut World, driver: &mut Driver| -> (ObjectId, Timestamp) {
        if rng.random_bool(0.5) {
            since = rng.random_range(since..=world.now);
            driver.allow_compaction(indexes.iter().map(|index| index.rows.object), since);
        }
        let as_of = rng.random_range(since..=world.now);
        let others: Vec<usize> = (0..2).filter(|table| !indexed[*table]).collect();
        let mut seam = world.import(&others, Some(as_of), driver);
        let mut imports = std::mem::take(&mut seam.imports);
        let index = |index: &Index| Import::Index { collection: index.rows, schema: pairs(), key: 1 };
        imports.extend(indexes.iter().map(index));
        let object = driver.new_object();
        driver.create(object, imports, joined.plan(world, &indexes), as_of);
        seam.replay(&pairs(), 17, &mut |step| step(world));
        for _ in 0..rng.random_range(1..25) {
            world.tick();
        }
        (object, as_of)
    };
    let views = [view(&mut world, driver), view(&mut world, driver)];
    let what = format!("{:?} of {indexed:?} on {} worker(s), seed {seed}", joined.kind, driver.workers());
    let mut states = 0;
    for (object, as_of) in views {
        driver.wait_upper(object, world.now + 1).expect("the engine answers");
        let at_as_of = driver.peek(object.rows(), as_of).expect("the engine answers");
        let reference = move |tables: &[Rows]| joined.reference(tables);
        states += check_states(&what, driver, &world.log, object, (&at_as_of, world.now), &reference);
    }
    for index in &indexes {
        driver.wait_upper(index.rows.object, world.now + 1).expect("the engine answers");
        assert!(driver.export(index.rows.object).changes.is_empty(), "nobody is told what changes in an index");
        let at = rng.random_range(since..=world.now);
        let table = usize::from(index.columns[0] == 1);
        let all = &world.log.states(&[at])[&at][table];
        for key in [None, Some(0), Some(1), Some(7)] {
            let value = key.map_or(Value::Null, Value::Int);
            let row = |row: &Row| index.columns.iter().map(|column| row[*column].clone()).collect::<Row>();
            let rows = all.iter().map(|(found, count)| (row(found), *count)).filter(|(row, _)| row[0] == value);
            assert_eq!(rows.collect::<Rows>(), rows_of(key, index, at, driver), "{what}: key {key:?} at {at}");
        }
    }
    let indexes = indexes.iter().map(|index| index.rows.object);
    let order: Vec<ObjectId> = views.iter().map(|(object, _)| *object).chain(indexes).collect();
    driver.drop_views(&order).expect("the engine answers");
    states
}

fn all_joins(workers: usize) {
    let mut driver = Driver::start(workers);
    let mut states = 0;
    for kind in KINDS {
        for indexed in [[true, false], [false, true], [true, true]] {
            for seed in 0..10 {
                let joined = Joined { kind, null_equals_null: seed % 3 == 0 };
                states += run(joined, indexed, 77 + seed, &mut driver);
            }
        }
    }
    driver.wait_installed(0).expect("nothing is left behind");
    assert!(driver.violations.is_empty(), "{:?}", driver.violations);
    driver.shutdown();
    eprintln!("indexes on {workers} worker(s): {} pairs of joins, {states} states equal", KINDS.len() * 30);
}

#[test]
fn joins_by_indexes_equal_plain_maps_on_1_worker() {
    all_joins(1);
}

#[test]
fn joins_by_indexes_equal_plain_maps_on_2_workers() {
    all_joins(2);
}

#[test]
fn joins_by_indexes_equal_plain_maps_on_4_workers() {
    all_joins(4);
}
