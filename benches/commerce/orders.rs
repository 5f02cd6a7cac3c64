//! Orders and payments: two big streams that are joined by order_id.
//!
//! Half of the rows are orders, half payments. Three orders in ten are never paid, five once, one twice, one three times,
//! on average 40,000 rows later and in any order. One row in twenty takes away one of the last 90,000.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_dataflow::repr::{Delta, Diff, Diffs};

use super::commerce::{CUSTOMERS, Random};
use super::input::{Change, Source};

static ORDERS: LazyLock<SchemaRef> = LazyLock::new(|| schema(["order_id", "customer_id", "total"]));
static PAYMENTS: LazyLock<SchemaRef> = LazyLock::new(|| schema(["payment_id", "order_id", "amount"]));

fn schema([first, second, cents]: [&str; 3]) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(first, DataType::Int64, false),
        Field::new(second, DataType::Int64, false),
        Field::new(cents, DataType::Decimal128(12, 2), false),
    ]))
}

/// The columns of an order.
pub(crate) fn orders_schema() -> SchemaRef {
    Arc::clone(&ORDERS)
}

/// The columns of a payment.
pub(crate) fn payments_schema() -> SchemaRef {
    Arc::clone(&PAYMENTS)
}

/// Rows that may still be taken away.
const RECENT: usize = 90_000;
/// Payments that are owed before the first is made.
const OWED_MIN: usize = 20_000;

/// Two integers and an amount in cents, of either collection.
type Row = (Source, i64, i64, i64);

/// Makes orders and payments, one after the other, without end.
pub(crate) struct Orders {
    random: Random,
    order: i64,
    payment: i64,
    /// The order of each payment that will come.
    owed: Vec<i64>,
    recent: VecDeque<Row>,
}

impl Orders {
    /// A generator whose rows depend on `seed` alone.
    pub(crate) fn new(seed: u64) -> Orders {
        Orders { random: Random(seed), order: 0, payment: 0, owed: Vec::new(), recent: VecDeque::new() }
    }

    fn row(&mut self) -> (Row, Diff) {
        if self.recent.len() >= RECENT && self.random.below(20) == 0 {
            let at = self.random.below(RECENT as u64) as usize;
            let gone = self.recent.swap_remove_back(at).expect("there are so many");
            return (gone, -1);
        }
        let cents = 1 + self.random.below(10_000) as i64;
        let row = if self.owed.len() > OWED_MIN && self.random.below(2) == 0 {
            let at = self.random.below(self.owed.len() as u64) as usize;
            self.payment += 1;
            (Source::Payments, self.payment, self.owed.swap_remove(at), cents)
        } else {
            self.order += 1;
            let payments = match self.random.below(10) {
                0..=2 => 0,
                3..=7 => 1,
                8 => 2,
                _ => 3,
            };
            self.owed.extend(std::iter::repeat_n(self.order, payments));
            (Source::Orders, self.order, self.random.below(CUSTOMERS as u64) as i64, cents)
        };
        self.recent.push_back(row);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        (row, 1)
    }

    /// The next `rows` rows.
    pub(crate) fn tick(&mut self, rows: usize) -> Change {
        let rows: Vec<(Row, Diff)> = (0..rows).map(|_| self.row()).collect();
        let side = |source: Source| delta(source, rows.iter().filter(|((of, ..), _)| *of == source));
        Change::of(Source::Orders, side(Source::Orders)).and(Source::Payments, side(Source::Payments))
    }
}

fn delta<'a>(source: Source, rows: impl Iterator<Item = &'a (Row, Diff)>) -> Delta {
    let (mut first, mut second, mut cents, mut diffs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((_, a, b, c), diff) in rows {
        first.push(*a);
        second.push(*b);
        cents.push(i128::from(*c));
        diffs.push(*diff);
    }
    let cents = Decimal128Array::from(cents).with_precision_and_scale(12, 2).expect("amounts are small");
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(first)), Arc::new(Int64Array::from(second)), Arc::new(cents)];
    let rows = RecordBatch::try_new(source.schema(), columns).expect("the columns match the schema");
    Delta { rows, diffs: Diffs::Each(diffs.into()) }
}
