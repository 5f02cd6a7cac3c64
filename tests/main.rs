//! The integration tests: one binary, one module a promise.

mod cli;
mod consistency;
mod data;
mod demo;
mod deploy;
mod engine;
mod example_sql;
mod harness;
mod incremental;
mod oracle;
mod recovery;
mod retail;
mod table;
mod tidy;
mod wire;
