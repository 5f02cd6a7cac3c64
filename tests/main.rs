//! The integration tests: one binary, one module a promise.

mod data;
mod example_sql;
mod table;
