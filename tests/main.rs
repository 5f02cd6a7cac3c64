//! The integration tests: one binary, one module a promise.

#![allow(clippy::print_stderr, reason = "tests say what they measured and what they skipped")]
#![allow(
    clippy::type_complexity,
    clippy::needless_range_loop,
    reason = "tests over several lists at once read better so"
)]

mod cli;
mod consistency;
mod data;
mod demo;
mod deploy;
mod engine;
mod example_sql;
mod figures;
mod harness;
mod incremental;
mod indexes;
mod kafka;
mod oracle;
mod pace;
mod recovery;
mod retail;
mod services;
mod slt;
mod table;
mod tables;
mod tidy;
mod upsert;
mod wire;
