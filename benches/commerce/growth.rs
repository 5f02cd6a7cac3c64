//! What a row costs when there have been few others and when there have been many: it should be the same.

use anyhow::Result;

use super::TICK_ROWS;
use super::engine::Running;
use super::generator;
use super::input::Stream;
use super::measure::{load, measure, settle};
use super::queries::Query;

/// Rows of history, in millions, after which a million is measured.
const HISTORY: [usize; 4] = [1, 5, 10, 20];
const MEASURED: usize = 1_000_000;

/// Prints a table of CPU a row, on one worker, up to `rows` rows of history.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    let points: Vec<usize> =
        HISTORY.iter().map(|millions| millions * MEASURED).filter(|point| *point <= rows).collect();
    println!("CPU us a row over the million rows after so many millions, one worker, one run; load {}\n", load());
    let titles: Vec<String> = points.iter().map(|point| format!("{} M", point / MEASURED)).collect();
    println!("| | {} | last to first |", titles.join(" | "));
    println!("|---|{}---|", "---|".repeat(points.len()));
    for query in queries {
        let costs = costs(*query, &points)?;
        let cells: Vec<String> = costs.iter().map(|cost| format!("{cost:.3}")).collect();
        let ratio = costs.last().zip(costs.first()).map_or(1.0, |(last, first)| last / first);
        println!("| {} | {} | {ratio:.2} |", query.name(), cells.join(" | "));
    }
    println!("\nload {}", load());
    Ok(())
}

/// Rows are made as they are fed, those that are measured beforehand.
fn costs(query: Query, points: &[usize]) -> Result<Vec<f64>> {
    let products = generator::products();
    let mut running = Running::start(query, 1, &products)?;
    let mut stream = Stream::new(query.input());
    let (mut fed, mut costs) = (0, Vec::new());
    for point in points {
        while fed < *point {
            running.tick(&stream.tick(TICK_ROWS));
            fed += TICK_ROWS;
        }
        let ticks = stream.ticks(MEASURED / TICK_ROWS, TICK_ROWS);
        fed += MEASURED;
        running.wait();
        settle();
        let ((), cost) = measure(|| {
            ticks.iter().for_each(|tick| running.tick(tick));
            running.wait();
            settle();
        });
        costs.push(cost.cpu_us(MEASURED));
    }
    running.shutdown();
    Ok(costs)
}
