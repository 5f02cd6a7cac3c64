//! Workers with nothing to do take no CPU.

use std::time::{Duration, Instant};

use super::alone::{alone, cpu_ns};
use super::driver::Driver;
use super::reference::{CLASSES, pairs};
use super::world::{Shape, World};

#[test]
fn two_parked_workers_take_no_cpu() {
    alone("engine::idle::two_parked_workers_take_no_cpu", || {
        let mut driver = Driver::start(2);
        let shape = Shape { keys: 9, rows: 50, updates: 20, append_only: false, late: 0, nulls: 0 };
        let mut world = World::new(3, &pairs(), &[shape.clone(), shape], &mut driver);
        let collections: Vec<_> = world.tables.iter().map(|table| table.collection).collect();
        for name in ["reduce", "inner join", "distinct"] {
            let class = CLASSES.iter().find(|class| class.name == name).expect("the class exists");
            let tables: Vec<usize> = (0..class.tables).collect();
            let mut seam = world.import(&tables, None, &driver);
            let object = driver.new_object();
            let plan = (class.plan)(&collections[..class.tables]);
            driver.create(object, std::mem::take(&mut seam.imports), plan, seam.as_of);
            seam.replay(&pairs(), 100, &mut |step| step(&mut world));
            for _ in 0..100 {
                world.tick();
            }
            driver.wait_upper(object, world.now + 1).expect("the engine answers");
        }
        // Lazy merges finish first.
        std::thread::sleep(Duration::from_millis(500));
        let (spent, start) = (cpu_ns(), Instant::now());
        std::thread::sleep(Duration::from_secs(2));
        let share = (cpu_ns() - spent) as f64 / start.elapsed().as_nanos() as f64;
        eprintln!("idle: {:.3} % of a core for two workers and three dataflows", 100.0 * share);
        assert!(share < 0.005, "idle workers take {:.2} % of a core", 100.0 * share);
        driver.shutdown();
    });
}
