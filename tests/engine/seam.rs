//! The seam under load: dataflows that are created at random moments while ticks arrive, some of them so slow that their
//! live queue overflows, show exactly the log at every time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_dataflow::plan::Op;
use headwater_dataflow::protocol::Import;
use headwater_dataflow::repr::{CollectionId, ObjectId, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check::check_states;
use super::driver::Driver;
use super::plans::{int, late};
use super::reference::{CLASSES, Class, needs_clock, pairs, plan_over};
use super::rows::Rows;
use super::world::{Shape, World};

/// Ticks over a whole run.
const TICKS: usize = 1_500;
/// Dataflows over a whole run.
const DATAFLOWS: usize = 60;

/// A copy of the table, made by workers that are late now and then.
const SLOW: Class = Class {
    name: "a slow copy",
    tables: 1,
    append_only: false,
    plan: |tables: &[CollectionId]| {
        plan_over(tables, false, |plan, gets| {
            let op = Op::Mfp { input: gets[0], filters: Vec::new(), project: vec![int(0), late(1)] };
            plan.push(op, pairs());
        })
    },
    reference: |tables: &[Rows]| tables[0].clone(),
};

struct Living {
    object: ObjectId,
    class: Class,
    as_of: Timestamp,
    /// The first time at which it is compared and dropped.
    until: Timestamp,
}

/// Creates a dataflow; what is returned beside it replays the log for it.
fn create<'w>(
    world: &'w Mutex<World>,
    driver: &mut Driver,
    rng: &mut ChaCha8Rng,
) -> (Living, Box<dyn FnOnce() + Send + 'w>) {
    let class = loop {
        let class = if rng.random_bool(0.2) { SLOW } else { CLASSES[rng.random_range(0..CLASSES.len())] };
        let unfit =
            class.append_only || class.name == "cross join" || needs_clock(&(class.plan)(&[ObjectId(1).rows(); 2]));
        if !unfit {
            break class;
        }
    };
    let object = driver.new_object();
    let tables: Vec<usize> = (0..class.tables).collect();
    let (mut seam, plan, back) = {
        let mut world = world.lock().expect("the feeder does not panic");
        let times = world.log.times();
        let as_of = if rng.random_bool(0.3) { times[rng.random_range(0..times.len())] } else { world.now };
        let collections: Vec<_> = world.tables.iter().map(|table| table.collection).collect();
        (
            world.import(&tables, Some(as_of), driver),
            (class.plan)(&collections[..class.tables]),
            rng.random_range(50..400),
        )
    };
    let imports: Vec<Import> = std::mem::take(&mut seam.imports);
    let as_of = seam.as_of;
    driver.create(object, imports, plan, as_of);
    let slice = rng.random_range(100..3_000);
    let wait = Duration::from_micros(rng.random_range(0..4_000));
    // The replay is a thread of its own, as in the server, and may begin late.
    let replay = move || {
        std::thread::sleep(wait);
        seam.replay(&pairs(), slice, &mut |step| step(&mut world.lock().expect("the feeder does not panic")));
    };
    (Living { object, class, as_of, until: as_of + back }, Box::new(replay))
}

fn compare_and_drop(living: &Living, world: &Mutex<World>, driver: &mut Driver) -> usize {
    let (log, last) = {
        let world = world.lock().expect("the feeder does not panic");
        (world.log.clone(), world.now)
    };
    driver.wait_upper(living.object, last + 1).expect("the engine answers");
    let at_as_of = driver.peek(living.object.rows(), living.as_of).expect("the engine answers");
    let states =
        check_states(living.class.name, driver, &log, living.object, (&at_as_of, last), &living.class.reference);
    driver.drop_views(&[living.object]).expect("the engine answers");
    states
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn seam_under_load(workers: usize) {
    let mut driver = Driver::start(workers);
    let shape = Shape { keys: 12, rows: 150, updates: 40, append_only: false, late: 40, nulls: 20 };
    let world = World::new(11, &pairs(), &[shape.clone(), shape], &mut driver);
    let world = Mutex::new(world);
    let (done, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut states = 0;
    for _ in 0..20 {
        world.lock().expect("nobody panics").tick();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..TICKS {
                world.lock().expect("nobody panics").tick();
                std::thread::sleep(Duration::from_micros(300));
            }
            done.store(true, Ordering::Release);
        });
        // Set also when an assertion fails: the scope waits for its threads.
        let _stop = SetAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let behind = world.lock().expect("nobody panics").behind();
                for port in &behind {
                    port.catch_up(&mut |step| step(&mut world.lock().expect("nobody panics")));
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        let mut living: Vec<Living> = Vec::new();
        let mut created = 0;
        while created < DATAFLOWS || !living.is_empty() {
            driver.pump();
            let ended = done.load(Ordering::Acquire);
            if created < DATAFLOWS && living.len() < 8 {
                let (one, replay) = create(&world, &mut driver, &mut rng);
                scope.spawn(replay);
                living.push(one);
                created += 1;
            }
            let now = world.lock().expect("nobody panics").now;
            if let Some(index) = living.iter().position(|one| one.until <= now || ended) {
                let one = living.swap_remove(index);
                states += compare_and_drop(&one, &world, &mut driver);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let overflows = world.lock().expect("nobody panics").overflows;
    driver.wait_installed(0).expect("nothing is left behind");
    driver.shutdown();
    eprintln!("seam on {workers} worker(s): {DATAFLOWS} dataflows, {states} states equal, {overflows} overflows");
}

#[test]
fn dataflows_created_at_random_seams_under_load_are_right_on_1_worker() {
    seam_under_load(1);
}

#[test]
fn dataflows_created_at_random_seams_under_load_are_right_on_2_workers() {
    seam_under_load(2);
}
