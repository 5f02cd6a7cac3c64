//! Two workers on two free cores are faster than one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use headwater_dataflow::port::{PortItem, Tick};
use headwater_dataflow::repr::Delta;
use headwater_views::sql;

use super::alone::{alone, idle_share};
use super::driver::Driver;
use crate::oracle::batch::Names;

#[path = "../../cli/src/commands/produce/commerce.rs"]
mod commerce;
#[path = "../../benches/commerce/generator.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod generator;

const TICKS: usize = 200;
const TICK_ROWS: usize = 10_000;
const QUERY: &str = "SELECT date_trunc('minute', event_time) AS minute, country, sum(amount) AS revenue, \
     count(*) AS transactions, count(DISTINCT order_id) AS orders FROM transactions GROUP BY 1, 2";

/// How long `workers` take for all ticks, eight of them in flight.
fn run(workers: usize, ticks: &[Arc<Delta>]) -> Duration {
    let mut driver = Driver::start(workers);
    let source = driver.new_object().rows();
    let mut names = Names::default();
    names.add_collection("transactions", source, generator::transactions_schema(), true);
    let planned = sql::plan_view(QUERY, &names).expect("the query is maintained");
    let object = driver.new_object();
    let (feed, import) = driver.port(source, &generator::transactions_schema());
    driver.create(object, vec![import], planned.plan, 0);
    feed.replay(PortItem::SnapshotComplete).expect("the dataflow exists");
    driver.wait_upper(object, 1).expect("the engine answers");
    let start = Instant::now();
    let last = (1..).zip(ticks).fold(0, |_, (time, rows)| {
        let tick = Tick { time, delta: Some((**rows).clone()) };
        feed.replay(PortItem::Tick(Arc::new(tick))).expect("the dataflow exists");
        time
    });
    driver.wait_upper_unread(object, last + 1).expect("the engine answers");
    let taken = start.elapsed();
    driver.shutdown();
    taken
}

#[test]
fn two_workers_are_faster_than_one() {
    alone("engine::scaling::two_workers_are_faster_than_one", || {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut generator = commerce::Generator::new(42);
        let ticks: Vec<Arc<Delta>> = (0..TICKS)
            .map(|_| {
                let rows: RecordBatch = generator::batch(&mut generator, generator::Customers::Skewed, TICK_ROWS);
                Arc::new(Delta::insert(rows))
            })
            .collect();
        let (mut one, mut two) = (Duration::MAX, Duration::MAX);
        for attempt in 0..8 {
            let free = idle_share(Duration::from_millis(300)) * cores as f64;
            one = one.min(run(1, &ticks));
            two = two.min(run(2, &ticks));
            let factor = one.as_secs_f64() / two.as_secs_f64();
            eprintln!("scaling, attempt {attempt}: {free:.1} cores free, best {one:?} and {two:?}, {factor:.2} x");
            if attempt >= 2 && factor >= 1.15 {
                return;
            }
        }
        let free = idle_share(Duration::from_millis(500)) * cores as f64;
        if free < 1.7 {
            eprintln!("scaling: only {free:.1} cores are free, which shows nothing");
            return;
        }
        panic!("two workers are not faster than one: {two:?} beside {one:?}");
    });
}
