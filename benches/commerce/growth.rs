//! What a row costs when there have been few others and when there have been many: it should be the same.

use anyhow::Result;

use super::TICK_ROWS;
use super::engine::Running;
use super::generator;
use super::input::Stream;
use super::measure::{load, measure, settle};
use super::queries::Query;

/// Rows of history, in millions, after which the cost of a million is printed.
const HISTORY: [usize; 4] = [1, 5, 10, 20];
const MILLION: usize = 1_000_000;
/// Millions at both ends whose means are compared: how much is merged in a single one is chance.
const SPAN: usize = 5;

/// Prints a table of CPU a row, on one worker, up to `rows` rows of history.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    let points: Vec<usize> = HISTORY.into_iter().filter(|point| point * MILLION <= rows).collect();
    let Some(last) = points.last() else { anyhow::bail!("growth is measured from a million rows on") };
    let span = SPAN.min(last.div_ceil(2));
    println!("CPU us a row over the million rows after so many millions, one worker, one run; load {}\n", load());
    let titles: Vec<String> = points.iter().map(|point| format!("{point} M")).collect();
    let means = format!("mean of the first {span} | of the last {span}");
    println!("| | {} | last to first | {means} | last to first |", titles.join(" | "));
    println!("|---|{}---|---|---|---|", "---|".repeat(points.len()));
    for query in queries {
        let costs = costs(*query, *last)?;
        let cells: Vec<String> = points.iter().map(|point| format!("{:.3}", costs[point - 1])).collect();
        let mean = |costs: &[f64]| costs.iter().sum::<f64>() / costs.len() as f64;
        let (first, end) = (mean(&costs[..span]), mean(&costs[costs.len() - span..]));
        println!(
            "| {} | {} | {:.2} | {first:.3} | {end:.3} | {:.2} |",
            query.name(),
            cells.join(" | "),
            costs[last - 1] / costs[0],
            end / first
        );
    }
    println!("\nload {}", load());
    Ok(())
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
            ticks.iter().for_each(|tick| running.tick(tick));
            running.wait();
            settle();
        });
        costs.push(cost.cpu_us(MILLION));
    }
    running.shutdown();
    // In the first one everything is built that is built once.
    Ok(costs.split_off(1))
}
