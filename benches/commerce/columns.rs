//! Parsed transactions as plain slices.

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};

/// The columns that the queries read.
pub(crate) struct Columns<'a> {
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
    /// event_time, in microseconds
    pub(crate) time: &'a [i64],
}

impl<'a> Columns<'a> {
    /// The columns of a batch of transactions.
    pub(crate) fn new(batch: &'a RecordBatch) -> Columns<'a> {
        let int = |index: usize| &batch.column(index).as_primitive::<Int64Type>().values()[..];
        Columns {
            order: int(1),
            customer: int(2),
            product: int(3),
            amount: &batch.column(6).as_primitive::<Decimal128Type>().values()[..],
            country: batch.column(7).as_string(),
            time: &batch.column(11).as_primitive::<TimestampMicrosecondType>().values()[..],
        }
    }

    /// The country of a row as a number.
    #[inline]
    pub(crate) fn country_code(&self, row: usize) -> u16 {
        let text = self.country.value(row).as_bytes();
        u16::from_be_bytes([text[0], text[1]])
    }
}

/// Microseconds in a minute.
pub(crate) const MINUTE: i64 = 60_000_000;
/// Microseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
