//! CPU per row of the commerce work: the engine from SQL text over parsed Arrow input, beside hand-written typed tables
//! and a plain HashMap loop in the same process, interleaved, the median of three.
//!
//! `cargo bench --workspace --bench commerce -- [ROWS] [QUERY…]` (5,000,000 rows and all queries by default). Judge by CPU
//! and by the ratios: wall times say what else the machine was doing.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "commerce/columns.rs"]
mod columns;
#[path = "../cli/src/commands/produce/commerce.rs"]
mod commerce;
#[path = "commerce/engine.rs"]
mod engine;
#[path = "commerce/generator.rs"]
mod generator;
#[path = "commerce/loops.rs"]
mod loops;
#[path = "commerce/measure.rs"]
mod measure;
#[path = "../cli/src/memory.rs"]
mod memory;
#[path = "commerce/queries.rs"]
mod queries;
#[path = "commerce/tables.rs"]
mod tables;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use arrow::array::RecordBatch;

use commerce::Generator;
use engine::Running;
use measure::{Cost, measure, median, settle};
use queries::Query;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TICK_ROWS: usize = 10_000;
const ROUNDS: usize = 3;
/// One-row ticks after everything else.
const SMALL_TICKS: usize = 2_000;

/// Ways of computing a query.
const WAYS: [&str; 4] = ["HashMap loop", "typed tables", "engine, 1 worker", "engine, 2 workers"];

#[derive(Default)]
struct Figures {
    bulk: BTreeMap<&'static str, Vec<Cost>>,
    /// One-row ticks, one at a time and as many in flight as the engine takes; per way.
    single: BTreeMap<&'static str, Vec<Cost>>,
    filled: BTreeMap<&'static str, Vec<Cost>>,
    changes: u64,
}

fn main() -> Result<()> {
    memory::keep_freed();
    let rows: usize =
        std::env::args().skip(1).find_map(|arg| arg.replace(['_', ','], "").parse().ok()).unwrap_or(5_000_000);
    let mut generator = Generator::new(42);
    let ticks: Vec<RecordBatch> =
        (0..rows.div_ceil(TICK_ROWS)).map(|_| generator::batch(&mut generator, TICK_ROWS)).collect();
    let small: Vec<RecordBatch> = (0..2 * SMALL_TICKS).map(|_| generator::batch(&mut generator, 1)).collect();
    let products = generator::products();
    let rows = ticks.len() * TICK_ROWS;
    println!("{rows} rows in ticks of {TICK_ROWS}, median of {ROUNDS}; load {}", load());
    let asked = |query: &Query| std::env::args().skip(1).any(|arg| arg.eq_ignore_ascii_case(query.name()));
    let any = Query::ALL.iter().any(asked);
    let queries = Query::ALL.iter().filter(|query| !any || asked(query));
    let mut all: Vec<(Query, Figures)> = queries.map(|query| (*query, Figures::default())).collect();
    for _ in 0..ROUNDS {
        for (query, figures) in &mut all {
            round(*query, figures, &ticks, &small, &products)?;
        }
    }
    report(&all, rows);
    Ok(())
}

/// Every way once.
fn round(
    query: Query,
    figures: &mut Figures,
    ticks: &[RecordBatch],
    small: &[RecordBatch],
    products: &RecordBatch,
) -> Result<()> {
    let (plain, cost) = measure(|| loops::run(query, ticks, products));
    figures.bulk.entry(WAYS[0]).or_default().push(cost);
    let (typed, cost) = measure(|| tables::run(query, ticks, products));
    figures.bulk.entry(WAYS[1]).or_default().push(cost);
    ensure!(plain.hash == typed.hash, "{}: the typed tables differ from the loop", query.name());
    for (workers, way) in [(1, WAYS[2]), (2, WAYS[3])] {
        let mut running = Running::start(query, workers, products)?;
        let ((), mut cost) = measure(|| {
            ticks.iter().for_each(|tick| running.tick(tick));
            running.wait();
        });
        // Arrangements merge on when nothing comes: that is part of what the rows cost, not of what the next ones do.
        cost.cpu_ns += measure(settle).1.cpu_ns;
        figures.bulk.entry(way).or_default().push(cost);
        ensure!(running.sink.hash == plain.hash, "{} on {workers} worker(s) differs from the loop", query.name());
        figures.changes = running.sink.changes;
        let (single, filled) = small.split_at(SMALL_TICKS);
        let ((), cost) = measure(|| {
            for tick in single {
                running.tick(tick);
                running.wait();
            }
        });
        figures.single.entry(way).or_default().push(cost);
        let ((), cost) = measure(|| {
            filled.iter().for_each(|tick| running.tick(tick));
            running.wait();
        });
        figures.filled.entry(way).or_default().push(cost);
        running.shutdown();
    }
    Ok(())
}

fn report(all: &[(Query, Figures)], rows: usize) {
    println!("\nCPU us/row (wall us/row)");
    println!("{:<16}{}", "", WAYS.map(|way| format!("{way:>22}")).concat());
    for (query, figures) in all {
        let cells = WAYS.map(|way| {
            let costs = &figures.bulk[way];
            let (cpu, wall) = (median(costs, |cost| cost.cpu_us(rows)), median(costs, |cost| cost.wall_us(rows)));
            format!("{:>22}", format!("{cpu:.3} ({wall:.3})"))
        });
        println!("{:<16}{}", query.name(), cells.concat());
    }
    println!("\nratios: engine on 1 worker by CPU; two workers by wall; changed rows per input row");
    println!("{:<16}{:>18}{:>18}{:>18}{:>18}", "", "to HashMap loop", "to typed tables", "2 workers faster", "changes");
    for (query, figures) in all {
        let cpu = |way: &str| median(&figures.bulk[way], |cost| cost.cpu_us(rows));
        let best = |way: &str| figures.bulk[way].iter().map(|cost| cost.wall_us(rows)).fold(f64::INFINITY, f64::min);
        println!(
            "{:<16}{:>18.2}{:>18.2}{:>18.2}{:>18.2}",
            query.name(),
            cpu(WAYS[2]) / cpu(WAYS[0]),
            cpu(WAYS[2]) / cpu(WAYS[1]),
            best(WAYS[2]) / best(WAYS[3]),
            figures.changes as f64 / rows as f64
        );
    }
    println!("\none-row ticks after that, CPU us a tick: one in flight / as many as the engine takes");
    for (query, figures) in all {
        let cells = [WAYS[2], WAYS[3]].map(|way| {
            let single = median(&figures.single[way], |cost| cost.cpu_us(SMALL_TICKS));
            let filled = median(&figures.filled[way], |cost| cost.cpu_us(SMALL_TICKS));
            format!("{:>28}", format!("{way}: {single:.1} / {filled:.1}"))
        });
        println!("{:<16}{}", query.name(), cells.concat());
    }
    println!("\nload {}", load());
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
