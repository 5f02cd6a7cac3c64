//! The queries, as SQL and as the hash of a row of their answers.

use super::measure::{mix, text_value};

/// One query of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// Sum, count and different orders per minute and country.
    Q1,
    /// Latest transaction, different orders and money per customer, over an input that only grows.
    Q2,
    /// The same over an input that may also retract.
    Q2Retractable,
    /// Money per category and hour, the category by a join with the products.
    Q4,
}

impl Query {
    /// All of them.
    pub(crate) const ALL: [Query; 4] = [Query::Q1, Query::Q2, Query::Q2Retractable, Query::Q4];

    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Query::Q1 => "Q1",
            Query::Q2 => "Q2",
            Query::Q2Retractable => "Q2 retractable",
            Query::Q4 => "Q4",
        }
    }

    /// The text of the view.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Query::Q1 => {
                "SELECT date_trunc('minute', event_time) AS minute, country, sum(amount) AS revenue, \
                 count(*) AS transactions, count(DISTINCT order_id) AS orders FROM transactions GROUP BY 1, 2"
            }
            Query::Q2 | Query::Q2Retractable => {
                "SELECT customer_id, max(event_time) AS latest, count(DISTINCT order_id) AS orders, \
                 sum(amount) AS monetary FROM transactions GROUP BY customer_id"
            }
            Query::Q4 => {
                "SELECT p.category, date_trunc('hour', t.event_time) AS hour, sum(t.amount) AS revenue \
                 FROM transactions t JOIN products p ON t.product_id = p.product_id GROUP BY 1, 2"
            }
        }
    }

    /// Whether the transactions are declared to be append-only.
    pub(crate) fn append_only(self) -> bool {
        self != Query::Q2Retractable
    }
}

/// The hash of a row of Q1.
#[inline]
pub(crate) fn q1_row(minute_us: i64, country: u16, sum: i64, rows: i64, orders: i64) -> u64 {
    let country = text_value(&country.to_be_bytes());
    mix(mix(mix(mix(mix(0, minute_us as u64), country), sum as u64), rows as u64), orders as u64)
}

/// The hash of a row of Q2.
#[inline]
pub(crate) fn q2_row(customer: i64, latest: i64, orders: i64, sum: i64) -> u64 {
    mix(mix(mix(mix(0, customer as u64), latest as u64), orders as u64), sum as u64)
}

/// The hash of a row of Q4.
#[inline]
pub(crate) fn q4_row(category: u64, hour_us: i64, sum: i64) -> u64 {
    mix(mix(mix(0, category), hour_us as u64), sum as u64)
}
