//! Views are created and dropped two hundred times, in both orders, while the workers are milliseconds apart: no state
//! that anybody believes closed is wrong, nothing stays installed, memory does not grow.

use headwater_dataflow::plan::Op;
use headwater_dataflow::protocol::{Command, Import};
use headwater_dataflow::repr::{ObjectId, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::alone::{alone, resident_bytes};
use super::check::check_states;
use super::driver::Driver;
use super::plans::{int, late};
use super::reference::{CLASSES, Class, pairs, plan_over};
use super::rows::{Rows, Value};
use super::world::{Shape, World};

const CYCLES: usize = 200;
/// The table whose rows keep a worker busy.
const LATE: usize = 1;

struct Fixture {
    driver: Driver,
    world: World,
    rng: ChaCha8Rng,
    /// Views that live all the time, one of them over the late table.
    standing: Vec<ObjectId>,
}

fn class(name: &str) -> &'static Class {
    CLASSES.iter().find(|class| class.name == name).expect("the class exists")
}

/// What the importer shows of the producer: its distinct pairs.
fn importer_reference(producer: fn(&[Rows]) -> Rows) -> impl Fn(&[Rows]) -> Rows {
    move |tables| producer(tables).keys().map(|row| (row[..2].to_vec(), 1)).collect()
}

impl Fixture {
    fn new() -> Fixture {
        let mut driver = Driver::start(2);
        let shape = Shape { keys: 20, rows: 300, updates: 40, append_only: false, late: 0, nulls: 0 };
        let quiet = Shape { updates: 0, ..shape.clone() };
        let mut world = World::new(17, &pairs(), &[shape, quiet], &mut driver);
        for _ in 0..20 {
            world.tick();
        }
        let mut fixture = Fixture { driver, world, rng: ChaCha8Rng::seed_from_u64(23), standing: Vec::new() };
        let late_collection = fixture.world.tables[LATE].collection;
        let plan = plan_over(&[late_collection], false, |plan, gets| {
            plan.push(Op::Mfp { input: gets[0], filters: Vec::new(), project: vec![int(0), late(1)] }, pairs());
        });
        let (lagging, _) = fixture.import_source(LATE, plan);
        let plan = (class("reduce").plan)(&[fixture.world.tables[0].collection]);
        let (reduced, _) = fixture.import_source(0, plan);
        fixture.standing = vec![lagging, reduced];
        fixture
    }

    /// A dataflow over a table from the current tick on.
    fn import_source(&mut self, table: usize, plan: headwater_dataflow::plan::Plan) -> (ObjectId, Timestamp) {
        let object = self.driver.new_object();
        let mut seam = self.world.import(&[table], None, &self.driver);
        self.driver.create(object, std::mem::take(&mut seam.imports), plan, seam.as_of);
        seam.replay(&pairs(), 200, &mut |step| step(&mut self.world));
        (object, seam.as_of)
    }

    /// Some ticks of load.
    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.world.tick();
        }
        self.driver.pump();
    }

    /// Keeps one of the workers busy for four milliseconds, so that the next command reaches it later than the other.
    fn keep_busy(&mut self) {
        // One row is the last worker's, of two rows each worker gets one.
        let row = |value| (vec![Value::Int(0), Value::Int(value)], 1);
        let rows = if self.rng.random_bool(0.5) { vec![row(-4)] } else { vec![row(-4), row(1)] };
        self.world.tick_of(vec![Vec::new(), rows]);
    }

    fn wait(&mut self, object: ObjectId) {
        let upper = self.world.now + 1;
        self.driver.wait_upper(object, upper).expect("the engine answers");
    }

    /// Creates a producer and an importer of it, drops both, and compares every state that was closed meanwhile.
    fn cycle(&mut self, number: usize) -> usize {
        let producing = class(["reduce", "distinct"][number % 2]);
        let plan = (producing.plan)(&[self.world.tables[0].collection]);
        let schema = plan.schema();
        let (producer, produced) = self.import_source(0, plan);
        self.keep_busy();
        self.ticks(3);
        let importer = self.driver.new_object();
        let mut plan = headwater_dataflow::plan::Plan::default();
        let get = Op::Get { collection: producer.rows(), columns: vec![0, 1], append_only: false };
        let input = plan.push(get, pairs());
        plan.push(Op::Distinct { input }, pairs());
        let imported = self.world.now;
        let import = Import::View { collection: producer.rows(), schema };
        self.driver.create(importer, vec![import], plan, imported);
        self.ticks(6);
        self.wait(importer);
        self.wait(producer);
        let first = self.driver.peek(producer.rows(), produced).expect("the engine answers");
        let second = self.driver.peek(importer.rows(), imported).expect("the engine answers");
        self.close_and_check(number, (producer, &first, producing), (importer, &second))
    }

    fn close_and_check(
        &mut self,
        number: usize,
        (producer, first, producing): (ObjectId, &Rows, &Class),
        (importer, second): (ObjectId, &Rows),
    ) -> usize {
        let order = if number.is_multiple_of(2) { [importer, producer] } else { [producer, importer] };
        for object in order {
            self.keep_busy();
            self.driver.send(Command::CloseSink { object });
            self.ticks(2);
        }
        for object in order {
            self.driver.wait_closed(object).expect("the engine answers");
        }
        self.keep_busy();
        // The importer is released first; in half of the cycles the producer's release follows at once.
        let released = number % 4 < 2;
        self.driver.send(Command::Release { object: importer });
        if released {
            self.keep_busy();
            self.driver.send(Command::Release { object: producer });
        }
        self.ticks(4);
        // What the sinks called closed must be right.
        let what = format!("cycle {number}");
        let (log, driver) = (&self.world.log, &self.driver);
        let closed = driver.export(producer).upper() - 1;
        let mut states = check_states(&what, driver, log, producer, (first, closed), &producing.reference);
        let closed = driver.export(importer).upper() - 1;
        let reference = importer_reference(producing.reference);
        states += check_states(&what, driver, log, importer, (second, closed), &reference);
        self.driver.wait_released(importer).expect("the engine answers");
        if !released {
            self.driver.send(Command::Release { object: producer });
        }
        self.driver.wait_released(producer).expect("the engine answers");
        self.driver.wait_installed(self.standing.len()).expect("the dropped dataflows leave");
        states
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn two_hundred_views_come_and_go_and_leave_nothing() {
    alone("engine::dropping::two_hundred_views_come_and_go_and_leave_nothing", || {
        let mut fixture = Fixture::new();
        let (mut states, mut memory) = (0, Vec::new());
        for number in 0..CYCLES {
            states += fixture.cycle(number);
            for object in fixture.standing.clone() {
                fixture.wait(object);
            }
            let since = fixture.world.now;
            fixture.driver.allow_compaction(fixture.standing.clone(), since);
            let reduced = fixture.standing[1];
            let peeked = fixture.driver.peek(reduced.rows(), since).expect("the engine answers");
            let tables = &fixture.world.log.states(&[since])[&since];
            assert_eq!((class("reduce").reference)(tables), peeked, "a standing view after {number} cycles");
            fixture.driver.forget(reduced);
            fixture.driver.forget(fixture.standing[0]);
            fixture.world.log.forget(60);
            memory.push(resident_bytes());
        }
        let (early, late) = (median(memory[50..80].to_vec()), median(memory[170..].to_vec()));
        eprintln!(
            "dropping: {} views, {states} closed states right, memory {:.1} then {:.1} MiB",
            2 * CYCLES,
            early as f64 / 1_048_576.0,
            late as f64 / 1_048_576.0
        );
        assert!(late < early + (6 << 20), "memory grows: {memory:?}");
        fixture.driver.drop_views(&fixture.standing).expect("the engine answers");
        fixture.driver.wait_installed(0).expect("nothing is left behind");
        fixture.driver.shutdown();
    });
}
