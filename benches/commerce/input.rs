//! What is fed: for every tick the change of each collection, from generators that go on without end and make the same
//! rows in every run.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{Delta, Diffs};

use super::commerce::{Generator, Random};
use super::generator::{self, Customers};
use super::orders::{self, Orders};

/// A collection that queries read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The lines of orders.
    Transactions,
    /// Products and their categories, there from the beginning.
    Products,
    /// Orders of a second shop, as wholes.
    Orders,
    /// What was paid for them.
    Payments,
}

impl Source {
    /// All of them.
    pub(crate) const ALL: [Source; 4] = [Source::Transactions, Source::Products, Source::Orders, Source::Payments];

    /// Its name in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Transactions => "transactions",
            Source::Products => "products",
            Source::Orders => "orders",
            Source::Payments => "payments",
        }
    }

    /// Its columns.
    pub(crate) fn schema(self) -> SchemaRef {
        match self {
            Source::Transactions => generator::transactions_schema(),
            Source::Products => generator::products_schema(),
            Source::Orders => orders::orders_schema(),
            Source::Payments => orders::payments_schema(),
        }
    }
}

/// What one tick changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    deltas: Vec<(Source, Delta)>,
}

impl Change {
    /// A change of one collection.
    pub(crate) fn of(source: Source, delta: Delta) -> Change {
        Change { deltas: vec![(source, delta)] }
    }

    /// The same with a change of another.
    pub(crate) fn and(mut self, source: Source, delta: Delta) -> Change {
        self.deltas.push((source, delta));
        self
    }

    /// What happens to a collection, if anything does.
    pub(crate) fn delta(&self, source: Source) -> Option<&Delta> {
        self.deltas.iter().find(|(changed, delta)| *changed == source && !delta.is_empty()).map(|(_, delta)| delta)
    }
}

/// A kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Transactions that only come. Customers by Zipf.
    Transactions,
    /// The same, every customer as often as any other.
    Uniform,
    /// The same by Zipf; one row in twenty takes away one of the last half million.
    Corrected,
    /// Orders and payments, half and half, in any order; one row in twenty takes an earlier one away.
    Joined,
}

impl Input {
    /// All of them.
    pub(crate) const ALL: [Input; 4] = [Input::Transactions, Input::Uniform, Input::Corrected, Input::Joined];
}

/// The rows of a kind of input, tick by tick.
pub(crate) enum Stream {
    /// Only additions.
    Growing(Box<Generator>, Customers),
    /// Some are taken away.
    Corrected(Box<Corrected>),
    /// Two collections.
    Joined(Box<Orders>),
}

impl Stream {
    /// The stream from its beginning.
    pub(crate) fn new(input: Input) -> Stream {
        let generator = Box::new(Generator::new(42));
        match input {
            Input::Transactions => Stream::Growing(generator, Customers::Skewed),
            Input::Uniform => Stream::Growing(generator, Customers::Uniform),
            Input::Corrected => Stream::Corrected(Box::new(Corrected::new(generator))),
            Input::Joined => Stream::Joined(Box::new(Orders::new(7))),
        }
    }

    /// The next tick.
    pub(crate) fn tick(&mut self, rows: usize) -> Change {
        match self {
            Stream::Growing(generator, customers) => {
                let batch = generator::batch(generator, *customers, rows);
                Change::of(Source::Transactions, Delta::insert(batch))
            }
            Stream::Corrected(corrected) => Change::of(Source::Transactions, corrected.tick(rows)),
            Stream::Joined(orders) => orders.tick(rows),
        }
    }

    /// The next `count` ticks.
    pub(crate) fn ticks(&mut self, count: usize, rows: usize) -> Vec<Change> {
        (0..count).map(|_| self.tick(rows)).collect()
    }
}

/// How far back rows are taken away.
const RECENT_ROWS: usize = 500_000;

/// Transactions of which some are taken away later.
pub(crate) struct Corrected {
    generator: Box<Generator>,
    random: Random,
    /// What came last, and what of it has been taken away.
    recent: VecDeque<(RecordBatch, Vec<bool>)>,
    recent_rows: usize,
}

impl Corrected {
    fn new(generator: Box<Generator>) -> Corrected {
        Corrected { generator, random: Random(11), recent: VecDeque::new(), recent_rows: 0 }
    }

    fn tick(&mut self, rows: usize) -> Delta {
        let tries = (0..rows).filter(|_| self.random.below(20) == 0).count();
        let taken: Vec<(usize, usize)> = (0..tries).filter_map(|_| self.pick()).collect();
        let new = rows - taken.len();
        let mut batches = Vec::with_capacity(2);
        let mut diffs = vec![1; new];
        if new > 0 {
            batches.push(generator::batch(&mut self.generator, Customers::Skewed, new));
        }
        if !taken.is_empty() {
            let recent: Vec<&RecordBatch> = self.recent.iter().map(|(batch, _)| batch).collect();
            batches.push(interleave_record_batch(&recent, &taken).expect("the rows exist"));
            diffs.resize(rows, -1);
        }
        let rows = concat_batches(&generator::transactions_schema(), &batches).expect("the schemas are the same");
        if new > 0 {
            self.remember(batches.swap_remove(0));
        }
        Delta { rows, diffs: Diffs::Each(diffs.into()) }
    }

    /// A row that is still there, by batch and row; it counts as taken away from here on.
    fn pick(&mut self) -> Option<(usize, usize)> {
        if self.recent.is_empty() {
            return None;
        }
        let batch = self.random.below(self.recent.len() as u64) as usize;
        let (_, gone) = &mut self.recent[batch];
        let row = self.random.below(gone.len() as u64) as usize;
        (!std::mem::replace(&mut gone[row], true)).then_some((batch, row))
    }

    fn remember(&mut self, batch: RecordBatch) {
        self.recent_rows += batch.num_rows();
        let gone = vec![false; batch.num_rows()];
        self.recent.push_back((batch, gone));
        while self.recent_rows > RECENT_ROWS {
            let Some((oldest, _)) = self.recent.pop_front() else { break };
            self.recent_rows -= oldest.num_rows();
        }
    }
}
