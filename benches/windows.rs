//! CPU of order-based views: tiles over many customers, and a sliding frame by card with a hot card and late rows.
//!
//! `cargo bench --workspace --bench windows -- [ROWS]` (5,000,000 rows of the frame by default). CPU per input row and per
//! changed row; what the group-by below the tiles costs is measured by itself and taken off.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(dead_code, reason = "parts of the commerce benchmark are shared")]

#[path = "../cli/src/commands/produce/commerce.rs"]
mod commerce;
#[path = "commerce/engine.rs"]
mod engine;
#[path = "commerce/generator.rs"]
mod generator;
#[path = "commerce/input.rs"]
mod input;
#[path = "commerce/measure.rs"]
mod measure;
#[path = "../cli/src/memory.rs"]
mod memory;
#[path = "commerce/orders.rs"]
mod orders;
#[path = "commerce/queries.rs"]
mod queries;

use anyhow::Result;

use engine::Running;
use headwater_dataflow::repr::{Delta, Diffs};
use input::{Change, Input, Source, Stream};
use measure::{Cost, load, measure, settle};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TICK_ROWS: usize = 10_000;
/// Ticks that are measured after every customer is there.
const MEASURED_TICKS: usize = 100;
const SMALL_TICKS: usize = 500;
/// How often the frames are fed: the middle run counts.
const FRAME_RUNS: usize = 3;

fn main() -> Result<()> {
    memory::keep_freed();
    let rows: usize =
        std::env::args().skip(1).find_map(|arg| arg.replace(['_', ','], "").parse().ok()).unwrap_or(5_000_000);
    let mut stream = Stream::new(Input::Transactions);
    let ticks = stream.ticks(rows.div_ceil(TICK_ROWS), TICK_ROWS);
    let small = stream.ticks(SMALL_TICKS, 1);
    println!("tiles of customers, ticks of {TICK_ROWS} rows, one worker; load {}", load());
    println!("{:>10}{:>14}{:>16}{:>16}{:>18}", "customers", "us/row", "us/change", "changes/row", "us/one customer");
    for customers in [10_000, 100_000, 1_000_000] {
        tiles(customers, &ticks, &small)?;
    }
    frames(&ticks, &small)
}

/// Feeds until most customers have been seen, then the ticks that count.
fn warmed(sql: &str, customers: usize, ticks: &[Change]) -> Result<(Running, Cost, u64)> {
    let mut running = Running::start_sql("view", sql, true, 1, None)?;
    let warm = (3 * customers).div_ceil(TICK_ROWS).min(ticks.len() - MEASURED_TICKS);
    ticks[..warm].iter().for_each(|tick| running.tick(tick));
    running.wait();
    settle();
    let before = running.sink.changes;
    let ((), cost) = measure(|| {
        ticks[warm..warm + MEASURED_TICKS].iter().for_each(|tick| running.tick(tick));
        running.wait();
    });
    let changes = running.sink.changes - before;
    Ok((running, cost, changes))
}

fn one_by_one(running: &mut Running, small: &[Change]) -> Cost {
    settle();
    let ((), cost) = measure(|| {
        for tick in small {
            running.tick(tick);
            running.wait();
        }
    });
    cost
}

fn tiles(customers: usize, ticks: &[Change], small: &[Change]) -> Result<()> {
    let sums = format!("SELECT customer_id % {customers} AS c, sum(amount) AS m FROM transactions GROUP BY 1");
    let tiles = format!("SELECT c, ntile(5) OVER (ORDER BY m, c) AS tile FROM ({sums}) AS t");
    let (mut running, below, _) = warmed(&format!("SELECT c FROM ({sums}) AS t WHERE m < -1000000"), customers, ticks)?;
    let below_small = one_by_one(&mut running, small);
    running.shutdown();
    let (mut running, cost, changes) = warmed(&tiles, customers, ticks)?;
    let one = one_by_one(&mut running, small);
    running.shutdown();
    let rows = MEASURED_TICKS * TICK_ROWS;
    let own = Cost { cpu_ns: cost.cpu_ns.saturating_sub(below.cpu_ns), ..cost };
    println!(
        "{customers:>10}{:>14}{:>16.3}{:>16.3}{:>18}",
        format!("{:.3} ({:.3})", own.cpu_us(rows), cost.cpu_us(rows)),
        own.cpu_us(usize::try_from(changes.max(1))?),
        changes as f64 / rows as f64,
        format!("{:.1} ({:.1})", one.cpu_us(SMALL_TICKS) - below_small.cpu_us(SMALL_TICKS), one.cpu_us(SMALL_TICKS)),
    );
    Ok(())
}

const FRAME: &str = "SELECT transaction_id, card_id, count(*) OVER w AS n, sum(amount) OVER w AS spent FROM transactions \
    WINDOW w AS (PARTITION BY card_id ORDER BY event_time RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW)";

fn frames(ticks: &[Change], small: &[Change]) -> Result<()> {
    println!("\nframes over {} rows, CPU us/row, one worker", ticks.len() * TICK_ROWS);
    let rows = ticks.len() * TICK_ROWS;
    let views =
        [("pass", "SELECT transaction_id, card_id, amount FROM transactions"), ("RANGE 10 minutes by card", FRAME)];
    let mut costs = [const { Vec::new() }; 2];
    // What a first run costs is the kernel's: it makes ready the memory that later runs use again.
    for run in 1..=FRAME_RUNS {
        for ((name, sql), costs) in views.iter().zip(&mut costs) {
            let mut running = Running::start_sql(name, sql, false, 1, None)?;
            let ((), mut cost) = measure(|| {
                ticks.iter().for_each(|tick| running.tick(tick));
                running.wait();
            });
            cost.cpu_ns += measure(settle).1.cpu_ns;
            costs.push(cost.cpu_us(rows));
            if run == FRAME_RUNS {
                let changes = running.sink.changes;
                let one = one_by_one(&mut running, small);
                let all: Vec<String> = costs.iter().map(|cost| format!("{cost:.3}")).collect();
                costs.sort_by(f64::total_cmp);
                println!(
                    "{name:<40}{:>8.3} ({})   changes/row {:.2}   one-row tick {:.1} us",
                    costs[FRAME_RUNS / 2],
                    all.join(", "),
                    changes as f64 / rows as f64,
                    one.cpu_us(SMALL_TICKS)
                );
                if *sql == FRAME {
                    deletes(&mut running, ticks);
                }
            }
            running.shutdown();
        }
    }
    Ok(())
}

/// Old rows of the hottest card are taken away, one and then a hundred in a tick.
fn deletes(running: &mut Running, ticks: &[Change]) {
    use arrow::array::{AsArray, UInt32Array};
    use arrow::datatypes::Int64Type;
    let old = ticks[ticks.len() / 2].delta(Source::Transactions).expect("every tick has transactions");
    let cards = old.rows.column_by_name("card_id").expect("the work has cards").as_primitive::<Int64Type>();
    let mut counts = std::collections::BTreeMap::new();
    cards.values().iter().for_each(|card| *counts.entry(*card).or_insert(0) += 1);
    let hottest = counts.iter().max_by_key(|(_, count)| **count).map(|(card, _)| *card).expect("there are rows");
    let rows: Vec<u32> =
        (0u32..).zip(cards.values()).filter(|(_, card)| **card == hottest).map(|(row, _)| row).collect();
    for count in [1, 100] {
        let taken =
            &rows[rows.len().saturating_sub(count + usize::from(count > 1))..rows.len() - usize::from(count > 1)];
        let delta = old.take(&UInt32Array::from(taken.to_vec())).expect("rows of the batch");
        let diffs = Diffs::Each(vec![-1; taken.len()].into());
        let before = running.sink.changes;
        let ((), cost) = measure(|| {
            running.tick(&Change::of(Source::Transactions, Delta { diffs, ..delta }));
            running.wait();
        });
        println!(
            "  {} old rows of the hottest card deleted in one tick: {:.0} us CPU, {} changes",
            taken.len(),
            cost.cpu_us(1),
            running.sink.changes - before
        );
    }
}
