//! Random histories of given rows: rows come in any order, some go and come back, some come and go; at the end there is
//! exactly what was given.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_record_batch;
use headwater_dataflow::repr::{Delta, Diff, Diffs};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// How one table came to its rows.
pub(super) struct History {
    rows: RecordBatch,
    /// Per tick row numbers and diffs.
    ticks: Vec<Vec<(u32, Diff)>>,
}

impl History {
    /// A random history of `rows` in so many ticks.
    pub(super) fn random(rng: &mut ChaCha8Rng, rows: RecordBatch, ticks: usize) -> History {
        let mut found = vec![Vec::new(); ticks];
        let count = u32::try_from(rows.num_rows()).expect("suites have small tables");
        for row in 0..count {
            let first = rng.random_range(0..ticks);
            found[first].push((row, 1));
            if first + 1 < ticks && rng.random_bool(0.3) {
                let gone = rng.random_range(first + 1..ticks);
                let back = rng.random_range(gone..ticks);
                found[gone].push((row, -1));
                found[back].push((row, 1));
            }
        }
        if count > 0 && ticks > 1 {
            // Copies that are there for a while.
            for _ in 0..=count / 4 {
                let row = rng.random_range(0..count);
                let first = rng.random_range(0..ticks - 1);
                let gone = rng.random_range(first + 1..ticks);
                found[first].push((row, 1));
                found[gone].push((row, -1));
            }
        }
        for tick in &mut found {
            tick.shuffle(rng);
        }
        History { rows, ticks: found }
    }

    /// What changes at tick `tick`; `None` if nothing.
    pub(super) fn delta(&self, tick: usize) -> Option<Delta> {
        let changes = &self.ticks[tick];
        if changes.is_empty() {
            return None;
        }
        let rows = self.take(changes.iter().map(|(row, _)| *row));
        Some(Delta { rows, diffs: Diffs::Each(changes.iter().map(|(_, diff)| *diff).collect::<Arc<[Diff]>>()) })
    }

    /// The rows after tick `tick`.
    pub(super) fn rows_at(&self, tick: usize) -> RecordBatch {
        let mut counts = vec![0i64; self.rows.num_rows()];
        for (row, diff) in self.ticks[..=tick].iter().flatten() {
            counts[*row as usize] += diff;
        }
        let copies = |(row, count): (usize, &i64)| {
            let count = usize::try_from(*count).expect("nothing goes that is not there");
            std::iter::repeat_n(u32::try_from(row).expect("suites have small tables"), count)
        };
        self.take(counts.iter().enumerate().flat_map(copies))
    }

    fn take(&self, rows: impl Iterator<Item = u32>) -> RecordBatch {
        let indices = UInt32Array::from_iter_values(rows);
        if self.rows.num_columns() == 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(arrow::array::Array::len(&indices)));
            return RecordBatch::try_new_with_options(self.rows.schema(), Vec::new(), &options).expect("no columns");
        }
        take_record_batch(&self.rows, &indices).expect("the row numbers are those of the rows")
    }
}
