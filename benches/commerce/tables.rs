//! The typed way: private tables written for one query, every change emitted tick by tick as the old row taken away and
//! the new one added. The floor that a general engine is measured against. They are right under retractions where the
//! query's input retracts.

mod fraud;
mod groups;
mod index;
mod joins;
mod ranked;
mod sums;
mod tiles;

use arrow::array::RecordBatch;

use super::input::Change;
use super::measure::Sink;
use super::queries::Query;

/// The changes of a query over all ticks.
pub(crate) fn run(query: Query, ticks: &[Change], products: &RecordBatch) -> Sink {
    match query {
        Query::Q1 => groups::per_minute(ticks),
        Query::Q2 => groups::per_customer::<groups::Slot>(ticks),
        Query::Q2Retractable => groups::per_customer::<groups::Times>(ticks),
        Query::Q2n => tiles::per_customer(ticks),
        Query::Q3 => fraud::run(ticks),
        Query::Q4 => sums::by_category(ticks, products),
        Query::Q5 => sums::top_products(ticks),
        Query::Q6 => joins::run(ticks, joins::Kind::Inner),
        Query::Q7 => joins::run(ticks, joins::Kind::Left),
    }
}
