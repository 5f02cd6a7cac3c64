//! The commerce work: every query from SQL text over parsed Arrow input, beside hand-written typed tables and a plain
//! HashMap loop in the same process.
//!
//! `cargo bench --workspace --bench commerce -- [table|growth|ticks|memory] [ROWS] [QUERY…]`. By itself it prints the table
//! of costs over 5,000,000 rows and then what a key costs in memory; `growth` prints what a row costs after 1, 5, 10 and 20
//! million others, `ticks` where a tick of one row goes. Judge by CPU and by the ratios of one run: wall times say what else the machine was doing.

#![allow(clippy::print_stdout, reason = "a benchmark prints its tables")]

mod columns;
#[path = "../../cli/src/commands/produce/commerce.rs"]
mod commerce;
mod engine;
mod generator;
mod growth;
mod input;
mod loops;
mod measure;
#[path = "../../cli/src/memory.rs"]
mod memory;
mod orders;
mod per_key;
mod queries;
mod table;
mod tables;
mod ticks;

use anyhow::{Context as _, Result};

use queries::Query;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a tick.
const TICK_ROWS: usize = 10_000;

/// What the command line asks for.
struct Asked {
    mode: Option<String>,
    rows: Option<usize>,
    queries: Vec<Query>,
}

impl Asked {
    fn new(arguments: impl Iterator<Item = String>) -> Asked {
        let mut asked = Asked { mode: None, rows: None, queries: Vec::new() };
        // Cargo passes flags of its own.
        for argument in arguments.filter(|argument| !argument.starts_with("--")) {
            if let Ok(rows) = argument.replace(['_', ','], "").parse() {
                asked.rows = Some(rows);
            } else if let Some(query) = Query::ALL.iter().find(|query| argument.eq_ignore_ascii_case(query.name())) {
                asked.queries.push(*query);
            } else {
                asked.mode = Some(argument);
            }
        }
        asked
    }

    /// The query that was named.
    fn one(&self) -> Result<Query> {
        self.queries.first().copied().context("which query?")
    }

    /// The queries that were named, or `others`.
    fn queries_or(&self, others: &[Query]) -> Vec<Query> {
        if self.queries.is_empty() { others.to_vec() } else { self.queries.clone() }
    }
}

fn main() -> Result<()> {
    memory::keep_freed();
    let asked = Asked::new(std::env::args().skip(1));
    let rows = asked.rows.unwrap_or(5_000_000);
    match asked.mode.as_deref() {
        None => {
            table::print(&asked.queries_or(&Query::ALL), rows)?;
            per_key::print(&per_key::QUERIES, rows)
        }
        Some("table") => table::print(&asked.queries_or(&Query::ALL), rows),
        Some("growth") => growth::print(&asked.queries_or(&Query::ALL), asked.rows.unwrap_or(20_000_000)),
        Some("ticks") => ticks::print(&asked.queries_or(&Query::ALL), asked.rows.unwrap_or(2_000_000)),
        Some("memory") => per_key::print(&asked.queries_or(&per_key::QUERIES), rows),
        Some(per_key::ONE) => per_key::print_one(asked.one()?, rows),
        Some(growth::ONE) => growth::print_one(asked.one()?, rows),
        Some(other) => {
            anyhow::bail!("there is no {other}: table, growth, ticks, memory, a number of rows or names of queries")
        }
    }
}
