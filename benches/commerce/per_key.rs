//! What a key costs in memory: a process of its own is fed, and what it has grown by is divided by the number of keys.
//!
//! Two figures: with freed memory given back to the system at once, which is what the state needs, and with freed memory
//! kept, as a server does. Rows are made as they are fed and dropped when they have been taken in.

use std::collections::HashSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::TICK_ROWS;
use super::columns::Columns;
use super::engine::Running;
use super::generator;
use super::input::{Input, Stream};
use super::measure::{load, resident_bytes, settle};
use super::queries::Query;

/// The queries that keep something per key.
pub(crate) const QUERIES: [Query; 4] = [Query::Q2, Query::Q2Retractable, Query::Q2n, Query::Q5];

/// How far back the view can be read, in ticks: it has run for longer than its history, as a server's usually has.
const HISTORY_TICKS: u64 = 20;

/// The mode of a process that measures itself.
pub(crate) const ONE: &str = "memory-of";

/// Prints a table.
pub(crate) fn print(queries: &[Query], rows: usize) -> Result<()> {
    println!(
        "\nbytes of memory a key after {rows} rows, one worker (RssAnon of a process of its own, grown since the view"
    );
    println!("began; with freed memory given back at once, and kept for a minute as `serve` does); load {}\n", load());
    println!("| | keys | bytes a key | freed memory kept |\n|---|---|---|---|");
    for query in queries {
        let (keys, needed) = measured(*query, rows, "0")?;
        let (_, kept) = measured(*query, rows, "60000")?;
        println!("| {} | {keys} | {} | {} |", query.name(), needed / keys, kept / keys);
    }
    Ok(())
}

/// Keys and bytes, by a process of its own.
fn measured(query: Query, rows: usize, purge_delay: &str) -> Result<(u64, u64)> {
    let program = std::env::current_exe().context("a process knows its program")?;
    let mut command = Command::new(program);
    command.args([ONE, query.name(), &rows.to_string()]).env("MIMALLOC_PURGE_DELAY", purge_delay);
    let output = command.output().context("the program starts again")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {}", query.name(), String::from_utf8_lossy(&output.stderr));
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next().context("two numbers are printed")?.context("they are numbers");
    Ok((next()?, next()?))
}

/// The input of a query when memory is looked at: there every customer is a key.
fn input(query: Query) -> Input {
    match query {
        Query::Q2 | Query::Q2n => Input::Uniform,
        _ => query.input(),
    }
}

/// Prints the number of keys and what this process has grown by.
pub(crate) fn print_one(query: Query, rows: usize) -> Result<()> {
    let ticks = rows.div_ceil(TICK_ROWS);
    let mut running = Running::start(query, 1, &generator::products())?;
    // What the making of rows needs is there before and after.
    drop(Stream::new(input(query)).ticks(20, TICK_ROWS));
    let before = resident_bytes();
    let mut stream = Stream::new(input(query));
    for _ in 0..ticks {
        running.tick(&stream.tick(TICK_ROWS));
        running.keep_history(HISTORY_TICKS);
    }
    running.wait();
    settle();
    // Rows that workers have freed are taken back by the thread that made them when it makes others.
    drop(stream.ticks(20, TICK_ROWS));
    drop(stream);
    let grown = resident_bytes().saturating_sub(before);
    let keys = match query {
        Query::Q5 => products_of_countries(ticks),
        _ => u64::try_from(running.sink.rows)?,
    };
    println!("{keys} {grown}");
    running.shutdown();
    Ok(())
}

/// The groups below the top-k of Q5, counted over the same rows made anew.
fn products_of_countries(ticks: usize) -> u64 {
    let mut stream = Stream::new(Input::Transactions);
    let mut keys: HashSet<(u16, i64)> = HashSet::new();
    for _ in 0..ticks {
        let change = stream.tick(TICK_ROWS);
        let columns = Columns::new(&change);
        keys.extend((0..columns.len()).map(|row| (columns.country_code(row), columns.product[row])));
    }
    keys.len() as u64
}
