//! Parsed rows as plain slices.

use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use headwater_dataflow::repr::{Delta, Diffs};

use super::input::{Change, Source};

/// The columns of transactions that the queries read.
pub(crate) struct Columns<'a> {
    /// transaction_id
    pub(crate) transaction: &'a [i64],
    /// order_id
    pub(crate) order: &'a [i64],
    /// customer_id
    pub(crate) customer: &'a [i64],
    /// product_id
    pub(crate) product: &'a [i64],
    /// amount, in cents
    pub(crate) amount: &'a [i128],
    /// country
    pub(crate) country: &'a StringArray,
    /// card_id
    pub(crate) card: &'a [i64],
    /// event_time, in microseconds
    pub(crate) time: &'a [i64],
    /// Whether rows come or go.
    pub(crate) diffs: &'a Diffs,
}

fn ints(delta: &Delta, index: usize) -> &[i64] {
    &delta.rows.column(index).as_primitive::<Int64Type>().values()[..]
}

fn cents(delta: &Delta, index: usize) -> &[i128] {
    &delta.rows.column(index).as_primitive::<Decimal128Type>().values()[..]
}

impl<'a> Columns<'a> {
    /// The transactions of a tick.
    pub(crate) fn new(change: &'a Change) -> Columns<'a> {
        let delta = change.delta(Source::Transactions).expect("every tick has transactions");
        Columns {
            transaction: ints(delta, 0),
            order: ints(delta, 1),
            customer: ints(delta, 2),
            product: ints(delta, 3),
            amount: cents(delta, 6),
            country: delta.rows.column(7).as_string(),
            card: ints(delta, 9),
            time: &delta.rows.column(11).as_primitive::<TimestampMicrosecondType>().values()[..],
            diffs: &delta.diffs,
        }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The country of a row as a number.
    #[inline]
    pub(crate) fn country_code(&self, row: usize) -> u16 {
        let text = self.country.value(row).as_bytes();
        u16::from_be_bytes([text[0], text[1]])
    }
}

/// Orders (order_id, customer_id, total) or payments (payment_id, order_id, amount) of a tick.
pub(crate) struct Side<'a> {
    /// The first column.
    pub(crate) first: &'a [i64],
    /// The second.
    pub(crate) second: &'a [i64],
    /// The third, in cents.
    pub(crate) cents: &'a [i128],
    /// Whether rows come or go.
    pub(crate) diffs: &'a Diffs,
}

impl<'a> Side<'a> {
    /// What a tick changes in one of the two, if anything.
    pub(crate) fn new(change: &'a Change, source: Source) -> Option<Side<'a>> {
        let delta = change.delta(source)?;
        Some(Side { first: ints(delta, 0), second: ints(delta, 1), cents: cents(delta, 2), diffs: &delta.diffs })
    }
}

/// Microseconds in a minute.
pub(crate) const MINUTE: i64 = 60_000_000;
/// Microseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
