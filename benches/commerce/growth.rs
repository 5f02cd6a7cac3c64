//! What a row costs when there have been few others and when there have been many: it should be the same.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use arrow::array::RecordBatch;

use super::TICK_ROWS;
use super::engine::Running;
use super::generator;
use super::input::{Change, Stream};
use super::measure::{load, measure, settle};
use super::queries::Query;
use super::tables;

/// Rows of history, in millions, after which the cost of a million is printed.
const HISTORY: [usize; 4] = [1, 5, 10, 20];
const MILLION: usize = 1_000_000;
/// The first doubling of the history whose mean is printed. The last one ends with the history.
///
/// What a single million costs depends on which merges fall into it; over a doubling that evens out.
const DOUBLING: (usize, usize) = (2, 4);
/// How far back the view can be read, in ticks: the last million rows. A server forgets what is older, too.
const HISTORY_TICKS: u64 = 100;

/// The mode of a process that measures one query: it begins without the memory that others have used.
pub(crate) const ONE: &str = "growth-of";

/// Prints a table of CPU a row, on one worker, up to `rows` rows of history.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    let Points { points, doublings } = Points::new(rows)?;
    println!("CPU us a row over the million rows after so many millions, and the mean from one number of millions to");
    println!("its double, also of typed tables; the less of two runs on one worker; load {}\n", load());
    let mut titles: Vec<String> = points.iter().map(|point| format!("{point} M")).collect();
    for way in ["", "typed "] {
        titles.extend(doublings.iter().map(|(from, to)| format!("{way}{from} to {to} M")));
        titles.extend(doublings.first().map(|_| "last to first".to_owned()));
    }
    println!("| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    let program = std::env::current_exe().context("a process knows its program")?;
    for query in queries {
        let status = Command::new(&program).args([ONE, query.name(), &rows.to_string()]).status();
        ensure!(status.context("the program starts again")?.success(), "{} was not measured", query.name());
    }
    println!("\nload {}", load());
    Ok(())
}

/// Where costs are looked at.
struct Points {
    /// Millions of rows of history.
    points: Vec<usize>,
    /// From so many millions to so many, both or none.
    doublings: Vec<(usize, usize)>,
}

impl Points {
    fn new(rows: usize) -> Result<Points> {
        let points: Vec<usize> = HISTORY.into_iter().filter(|point| point * MILLION <= rows).collect();
        let last = *points.last().context("growth is measured from a million rows on")?;
        let doublings = if last > DOUBLING.1 { vec![DOUBLING, (last / 2, last)] } else { vec![] };
        Ok(Points { points, doublings })
    }
}

/// Prints the row of one query.
pub(crate) fn print_one(query: Query, rows: usize) -> Result<()> {
    let Points { points, doublings } = Points::new(rows)?;
    let last = points[points.len() - 1];
    // What others do on the machine seldom meets both runs, and the second one finds its memory at hand.
    let runs = [costs(query, last)?, costs(query, last)?];
    let less = |cost: &dyn Fn(&[f64]) -> f64| cost(&runs[0]).min(cost(&runs[1]));
    let mut cells: Vec<String> = points.iter().map(|point| format!("{:.3}", less(&|run| run[point - 1]))).collect();
    let mean =
        |&(from, to): &(usize, usize)| less(&|run| run[from - 1..to - 1].iter().sum::<f64>() / (to - from) as f64);
    cells.extend(compared(&doublings.iter().map(mean).collect::<Vec<_>>()));
    cells.extend(compared(&typed_means(query, &doublings)));
    println!("| {} | {} |", query.name(), cells.join(" | "));
    Ok(())
}

/// The means and, if there are two, their ratio.
fn compared(means: &[f64]) -> Vec<String> {
    let mut cells: Vec<String> = means.iter().map(|mean| format!("{mean:.3}")).collect();
    if let [first, last] = means {
        cells.push(format!("{:.2}", last / first));
    }
    cells
}

/// What a row costs the typed tables in each of the doublings: what the memory of the machine makes of the same growth. They
/// come after the engine, and find its memory at hand.
fn typed_means(query: Query, doublings: &[(usize, usize)]) -> Vec<f64> {
    let Some((_, last)) = doublings.last() else { return Vec::new() };
    let ticks_of = |millions: usize| millions * MILLION / TICK_ROWS;
    let ticks = Stream::new(query.input()).ticks(ticks_of(*last), TICK_ROWS);
    let products = generator::products();
    let whole = |millions: usize| typed_ns(query, &ticks[..ticks_of(millions)], &products);
    let mean = |&(from, to): &(usize, usize)| (whole(to) - whole(from)) / ((to - from) * MILLION) as f64 / 1e3;
    doublings.iter().map(mean).collect()
}

/// CPU nanoseconds of the typed tables for all ticks: the less of two runs, as it is their difference that is looked at.
fn typed_ns(query: Query, ticks: &[Change], products: &RecordBatch) -> f64 {
    let run = || measure(|| tables::run(query, ticks, products)).1.cpu_ns;
    run().min(run()) as f64
}

/// What a row costs in each million after the first, up to the one after `last` millions. Rows are made before they are fed.
fn costs(query: Query, last: usize) -> Result<Vec<f64>> {
    let products = generator::products();
    let mut running = Running::start(query, 1, &products)?;
    let mut stream = Stream::new(query.input());
    let mut costs = Vec::with_capacity(last + 1);
    for _ in 0..=last {
        let ticks = stream.ticks(MILLION / TICK_ROWS, TICK_ROWS);
        let ((), cost) = measure(|| {
            for tick in &ticks {
                running.tick(tick);
                running.keep_history(HISTORY_TICKS);
            }
            running.wait();
            settle();
        });
        costs.push(cost.cpu_us(MILLION));
    }
    running.shutdown();
    // In the first one everything is built that is built once.
    Ok(costs.split_off(1))
}
