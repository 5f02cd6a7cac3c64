//! Every operator class equals plain maps at every time, over histories with retractions, on 1, 2 and 4 workers, stepped
//! lazily: often a single batch holds many times.

use headwater_dataflow::protocol::Import;
use headwater_dataflow::repr::ObjectId;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check::check_states;
use super::driver::Driver;
use super::reference::{CLASSES, Class, clock_schema, needs_clock, pairs};
use super::world::{Shape, World};

/// Histories per class and number of workers.
const HISTORIES: u64 = 40;

fn run(class: &Class, seed: u64, driver: &mut Driver) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = Shape {
        keys: *[1, 4, 12].get(rng.random_range(0..3)).expect("three choices"),
        rows: if class.name == "cross join" { 8 } else { rng.random_range(4..60) },
        updates: rng.random_range(1..30),
        append_only: class.append_only,
        late: 0,
        nulls: *[0, 6].get(rng.random_range(0..2)).expect("two choices"),
    };
    let mut world = World::new(seed, &pairs(), &vec![shape; class.tables], driver);
    for _ in 0..rng.random_range(1..12) {
        world.tick();
    }
    let as_of = if rng.random_bool(0.3) { world.log.times()[0] } else { world.now };
    let collections: Vec<_> = world.tables.iter().map(|table| table.collection).collect();
    let plan = (class.plan)(&collections);
    let tables: Vec<usize> = (0..class.tables).collect();
    let mut seam = world.import(&tables, Some(as_of), driver);
    let mut imports: Vec<Import> = std::mem::take(&mut seam.imports);
    let clock = needs_clock(&plan).then(|| driver.port(ObjectId(0).rows(), &clock_schema()));
    let clock = clock.map(|(feed, import)| {
        imports.push(import);
        feed
    });
    let object = driver.new_object();
    driver.create(object, imports, plan, as_of);
    let early = rng.random_bool(0.5);
    let slice = rng.random_range(1..50);
    if early {
        seam.replay(&pairs(), slice, &mut |step| step(&mut world));
    }
    let patient = rng.random_range(0..3);
    for _ in 0..rng.random_range(1..50) {
        world.tick();
        if early && clock.is_none() && patient == 0 && rng.random_bool(0.3) {
            driver.wait_upper(object, world.now + 1).expect("the engine answers");
        }
    }
    if !early {
        seam.replay(&pairs(), slice, &mut |step| step(&mut world));
    }
    if let Some(feed) = clock {
        use headwater_dataflow::port::{PortItem, Tick};
        feed.replay(PortItem::SnapshotComplete).expect("the dataflow exists");
        let tick = Tick { time: world.now, delta: None };
        feed.replay(PortItem::Tick(tick.into())).expect("the dataflow exists");
    }
    driver.wait_upper(object, world.now + 1).expect("the engine answers");
    let at_as_of = driver.peek(object.rows(), as_of).expect("the engine answers");
    let what = format!("{} on {} worker(s), seed {seed}", class.name, driver.workers());
    let states = check_states(&what, driver, &world.log, object, (&at_as_of, world.now), &class.reference);
    let at = world.now;
    let peeked = driver.peek(object.rows(), at).expect("the engine answers");
    let expected = (class.reference)(&world.log.states(&[at])[&at]);
    assert_eq!(expected, peeked, "{what}: a peek at {at}");
    driver.drop_views(&[object]).expect("the engine answers");
    states
}

fn all_classes(workers: usize) {
    let mut driver = Driver::start(workers);
    let mut states = 0;
    for class in &CLASSES {
        for seed in 0..HISTORIES {
            states += run(class, seed * 31 + 7, &mut driver);
        }
    }
    driver.wait_installed(0).expect("nothing is left behind");
    driver.shutdown();
    eprintln!(
        "operators on {workers} worker(s): {} histories, {states} states equal",
        CLASSES.len() as u64 * HISTORIES
    );
}

#[test]
fn every_operator_equals_plain_maps_at_every_time_on_1_worker() {
    all_classes(1);
}

#[test]
fn every_operator_equals_plain_maps_at_every_time_on_2_workers() {
    all_classes(2);
}

#[test]
fn every_operator_equals_plain_maps_at_every_time_on_4_workers() {
    all_classes(4);
}
