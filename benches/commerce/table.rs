//! What each query costs, beside the plain loop and the typed tables: interleaved, the median of three.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use arrow::array::RecordBatch;

use super::TICK_ROWS;
use super::engine::Running;
use super::generator;
use super::input::{Change, Input, Stream};
use super::loops;
use super::measure::{Cost, load, measure, median, settle};
use super::queries::{Bound, Query};
use super::tables;

const ROUNDS: usize = 3;
/// One-row ticks after everything else.
const SMALL_TICKS: usize = 2_000;

/// Ways of computing a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Loop,
    Typed,
    Engine(usize),
}

const ONE: Way = Way::Engine(1);
const TWO: Way = Way::Engine(2);

#[derive(Default)]
struct Figures {
    bulk: BTreeMap<Way, Vec<Cost>>,
    /// One-row ticks, one at a time.
    single: BTreeMap<Way, Vec<Cost>>,
    /// One-row ticks, as many in flight as the engine takes.
    filled: BTreeMap<Way, Vec<Cost>>,
    changes: u64,
}

impl Figures {
    fn cpu(&self, way: Way, rows: usize) -> Option<f64> {
        Some(median(self.bulk.get(&way)?, |cost| cost.cpu_us(rows)))
    }

    /// The shortest wall time: the run that was disturbed least.
    fn wall(&self, way: Way, rows: usize) -> f64 {
        self.bulk[&way].iter().map(|cost| cost.wall_us(rows)).fold(f64::INFINITY, f64::min)
    }

    fn tick(costs: &BTreeMap<Way, Vec<Cost>>, way: Way) -> f64 {
        median(&costs[&way], |cost| cost.cpu_us(SMALL_TICKS))
    }
}

/// What queries with the same input are fed.
struct Fed {
    ticks: Vec<Change>,
    small: Vec<Change>,
}

impl Fed {
    fn new(input: Input, rows: usize) -> Fed {
        let mut stream = Stream::new(input);
        let ticks = stream.ticks(rows.div_ceil(TICK_ROWS), TICK_ROWS);
        Fed { ticks, small: stream.ticks(2 * SMALL_TICKS, 1) }
    }
}

/// Measures and prints the tables.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    let mut inputs: Vec<(Input, Fed)> = Vec::new();
    for input in Input::ALL.into_iter().filter(|input| queries.iter().any(|query| query.input() == *input)) {
        inputs.push((input, Fed::new(input, rows)));
    }
    let products = generator::products();
    let rows = rows.div_ceil(TICK_ROWS) * TICK_ROWS;
    println!("{rows} rows in ticks of {TICK_ROWS}, median of {ROUNDS} interleaved runs; load {}", load());
    let mut all: Vec<(Query, Figures)> = queries.iter().map(|query| (*query, Figures::default())).collect();
    for _ in 0..ROUNDS {
        for (query, figures) in &mut all {
            let fed = inputs.iter().find(|(input, _)| *input == query.input()).map(|(_, fed)| fed);
            round(*query, figures, fed.expect("every input has been made"), &products)?;
        }
    }
    print_bulk(&all, rows);
    print_ticks(&all);
    println!("\nload {}", load());
    Ok(())
}

/// Every way once.
fn round(query: Query, figures: &mut Figures, fed: &Fed, products: &RecordBatch) -> Result<()> {
    let (plain, cost) = measure(|| loops::run(query, &fed.ticks, products));
    let (typed, typed_cost) = measure(|| tables::run(query, &fed.ticks, products));
    figures.bulk.entry(Way::Typed).or_default().push(typed_cost);
    if let Some(plain) = plain {
        figures.bulk.entry(Way::Loop).or_default().push(cost);
        ensure!(plain.hash == typed.hash, "{}: the typed tables differ from the loop", query.name());
    }
    for workers in [1, 2] {
        let way = Way::Engine(workers);
        let mut running = Running::start(query, workers, products)?;
        let ((), mut cost) = measure(|| {
            fed.ticks.iter().for_each(|tick| running.tick(tick));
            running.wait();
        });
        // Arrangements merge on when nothing comes: that is part of what the rows cost, not of what the next ones do.
        cost.cpu_ns += measure(settle).1.cpu_ns;
        figures.bulk.entry(way).or_default().push(cost);
        ensure!(running.sink.hash == typed.hash, "{} on {workers} worker(s) differs from the tables", query.name());
        ensure!(running.sink.rows == typed.rows, "{} on {workers} worker(s) has other rows", query.name());
        figures.changes = running.sink.changes;
        let (single, filled) = fed.small.split_at(SMALL_TICKS);
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

fn three(figure: f64) -> String {
    format!("{figure:.3}")
}

/// The bound and whether the figure keeps it.
fn judged(figure: f64, bound: Option<f64>) -> String {
    bound.map_or("–".to_owned(), |bound| format!("{bound} {}", if figure <= bound { "met" } else { "missed" }))
}

fn print_bulk(all: &[(Query, Figures)], rows: usize) {
    println!("\nCPU us a row; two workers faster: by the shortest wall times\n");
    println!(
        "| | engine | first landing | goal | HashMap loop | typed tables | engine to typed | two workers | two workers faster | \
         changes a row |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let below = all.iter().find(|(query, _)| *query == Query::Q2).and_then(|(_, figures)| figures.cpu(ONE, rows));
    for (query, figures) in all {
        let cpu = |way: Way| figures.cpu(way, rows);
        let (one, two, typed) = (cpu(ONE).unwrap_or(0.0), cpu(TWO).unwrap_or(0.0), cpu(Way::Typed).unwrap_or(0.0));
        let bound = query.bulk_bound();
        let own_bound = if *query == Query::Q2n { Bound::NONE } else { bound };
        println!(
            "| {} {} | {one:.3} | {} | {} | {} | {typed:.3} | {:.1} | {two:.3} | {:.2} | {:.2} |",
            query.name(),
            query.words(),
            judged(one, own_bound.landing),
            judged(one, own_bound.goal),
            cpu(Way::Loop).map_or("–".to_owned(), three),
            one / typed,
            figures.wall(ONE, rows) / figures.wall(TWO, rows),
            figures.changes as f64 / rows as f64,
        );
        if let Some(below) = below.filter(|_| *query == Query::Q2n) {
            let own = one - below;
            let (landing, goal) = (judged(own, bound.landing), judged(own, bound.goal));
            println!("| of it on top of Q2 | {own:.3} | {landing} | {goal} | | | | | | |");
        }
    }
}

fn print_ticks(all: &[(Query, Figures)]) {
    println!("\nticks of one row after that, CPU us a tick: one in flight, then as many as the engine takes\n");
    println!("| | one in flight | first landing | goal | many | two workers, one in flight | many |");
    println!("|---|---|---|---|---|---|---|");
    for (query, figures) in all {
        let one = Figures::tick(&figures.single, ONE);
        let bound = query.tick_bound();
        println!(
            "| {} | {one:.1} | {} | {} | {:.1} | {:.1} | {:.1} |",
            query.name(),
            judged(one, bound.landing),
            judged(one, bound.goal),
            Figures::tick(&figures.filled, ONE),
            Figures::tick(&figures.single, TWO),
            Figures::tick(&figures.filled, TWO),
        );
    }
}
