//! The engine by itself, without SQL: its operators, its seam, its sharing and its dropping, under random load.

pub(crate) mod driver;
pub(crate) mod rows;

mod alone;
mod check;
mod dropping;
mod idle;
mod indexes;
mod operators;
mod plans;
mod quantiles;
mod reference;
mod scaling;
mod seam;
mod sharing;
mod upsert;
mod world;
