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
/// The first doubling of the history whose mean is printed. The last one ends with the history.
///
/// What a single million costs depends on which merges fall into it; over a doubling that evens out.
const DOUBLING: (usize, usize) = (2, 4);

/// Prints a table of CPU a row, on one worker, up to `rows` rows of history.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    let points: Vec<usize> = HISTORY.into_iter().filter(|point| point * MILLION <= rows).collect();
    let Some(last) = points.last() else { anyhow::bail!("growth is measured from a million rows on") };
    let doublings: Vec<(usize, usize)> = if *last > DOUBLING.1 { vec![DOUBLING, (last / 2, *last)] } else { vec![] };
    println!("CPU us a row over the million rows after so many millions, and the mean from one number of millions to");
    println!("its double; one worker, one run; load {}\n", load());
    let mut titles: Vec<String> = points.iter().map(|point| format!("{point} M")).collect();
    titles.push("last to first".to_owned());
    titles.extend(doublings.iter().map(|(from, to)| format!("{from} to {to} M")));
    titles.extend(doublings.first().map(|_| "last to first".to_owned()));
    println!("| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for query in queries {
        let costs = costs(*query, *last)?;
        let mut cells: Vec<String> = points.iter().map(|point| format!("{:.3}", costs[point - 1])).collect();
        cells.push(format!("{:.2}", costs[last - 1] / costs[0]));
        let mean = |&(from, to): &(usize, usize)| costs[from - 1..to - 1].iter().sum::<f64>() / (to - from) as f64;
        let means: Vec<f64> = doublings.iter().map(mean).collect();
        cells.extend(means.iter().map(|mean| format!("{mean:.3}")));
        if let [first, last] = means[..] {
            cells.push(format!("{:.2}", last / first));
        }
        println!("| {} | {} |", query.name(), cells.join(" | "));
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
