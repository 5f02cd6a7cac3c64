//! The engine by itself, without SQL: its operators, its seam, its sharing and its dropping, under random load.

pub(crate) mod driver;
pub(crate) mod rows;

mod check;
mod operators;
mod plans;
mod reference;
mod seam;
mod sharing;
mod world;
