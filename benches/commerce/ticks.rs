//! Where the CPU of a one-row tick goes, one in flight: what the thread that feeds and waits takes, what the workers take,
//! and how often any of them rests.

use anyhow::Result;

use super::TICK_ROWS;
use super::engine::Running;
use super::generator;
use super::input::Stream;
use super::measure::{Thread, load, settle, threads};
use super::queries::Query;

/// Ticks of one round.
const TICKS: usize = 4_000;
const ROUNDS: usize = 5;

/// What one round cost a tick.
struct Round {
    /// CPU of the thread that feeds and waits, and of all workers, in microseconds.
    feeding: f64,
    working: f64,
    /// Rests of the thread that feeds and waits, and of all workers.
    feeding_rests: f64,
    working_rests: f64,
}

/// Prints a table after `rows` rows of history.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    println!(
        "{TICKS} ticks of one row, one in flight, after {rows} rows; median of {ROUNDS} rounds; load {}\n",
        load()
    );
    println!(
        "| | workers | CPU us a tick | of it feeding and waiting | workers | rests of the feeding thread | of workers |"
    );
    println!("|---|---|---|---|---|---|---|");
    let products = generator::products();
    for query in queries {
        for workers in [1, 2] {
            let mut running = Running::start(*query, workers, &products)?;
            let mut stream = Stream::new(query.input());
            for _ in 0..rows.div_ceil(TICK_ROWS) {
                running.tick(&stream.tick(TICK_ROWS));
            }
            running.wait();
            settle();
            let mut rounds: Vec<Round> = (0..ROUNDS).map(|_| round(&mut running, &mut stream)).collect();
            rounds.sort_by(|a, b| (a.feeding + a.working).total_cmp(&(b.feeding + b.working)));
            let Round { feeding, working, feeding_rests, working_rests } = rounds[ROUNDS / 2];
            println!(
                "| {} | {workers} | {:.1} | {feeding:.1} | {working:.1} | {feeding_rests:.2} | {working_rests:.2} |",
                query.name(),
                feeding + working,
            );
            running.shutdown();
        }
    }
    println!("\nload {}", load());
    Ok(())
}

fn round(running: &mut Running, stream: &mut Stream) -> Round {
    let ticks = stream.ticks(TICKS, 1);
    let before = threads();
    for tick in &ticks {
        running.tick(tick);
        running.wait();
    }
    let mut round = Round { feeding: 0.0, working: 0.0, feeding_rests: 0.0, working_rests: 0.0 };
    for (id, Thread { cpu_ns, rests }) in threads() {
        let since = before.get(&id).copied().unwrap_or_default();
        let us = (cpu_ns - since.cpu_ns) as f64 / 1e3 / TICKS as f64;
        let rests = (rests - since.rests) as f64 / TICKS as f64;
        if id == std::process::id() {
            (round.feeding, round.feeding_rests) = (us, rests);
        } else {
            round.working += us;
            round.working_rests += rests;
        }
    }
    round
}
