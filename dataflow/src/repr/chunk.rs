//! Updates in columns: a record batch, one diff a row, one time.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::error::ArrowError;

use super::{Diff, Timestamp};

/// The diffs of the rows of a batch.
#[derive(Clone, Debug)]
pub enum Diffs {
    /// Every row is added once: what an append-only source delivers.
    Ones,
    /// One diff a row.
    Each(Arc<[Diff]>),
}

impl Diffs {
    /// The diff of row `index`. Panics if `index` is out of bounds of an [`Diffs::Each`].
    #[inline]
    pub fn get(&self, index: usize) -> Diff {
        match self {
            Diffs::Ones => 1,
            Diffs::Each(diffs) => diffs[index],
        }
    }

    /// The diffs of rows `offset .. offset + len`.
    pub fn slice(&self, offset: usize, len: usize) -> Diffs {
        match self {
            Diffs::Ones => Diffs::Ones,
            Diffs::Each(diffs) => Diffs::Each(diffs[offset..offset + len].into()),
        }
    }
}

/// Rows and their diffs, without a time.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The rows.
    pub rows: RecordBatch,
    /// As many diffs as rows.
    pub diffs: Diffs,
}

impl Delta {
    /// Every row of `rows` added once.
    pub fn insert(rows: RecordBatch) -> Delta {
        Delta { rows, diffs: Diffs::Ones }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// No row at all.
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// Rows `offset .. offset + len`; the columns are shared, not copied.
    pub fn slice(&self, offset: usize, len: usize) -> Delta {
        if offset == 0 && len == self.len() {
            // The usual case, and small ticks pass here often: nothing is made anew.
            return self.clone();
        }
        Delta { rows: self.rows.slice(offset, len), diffs: self.diffs.slice(offset, len) }
    }

    /// The rows for which `mask` is true (NULL counts as false).
    pub fn filter(&self, mask: &BooleanArray) -> Result<Delta, ArrowError> {
        let rows = filter_record_batch(&self.rows, mask)?;
        let diffs = match &self.diffs {
            Diffs::Ones => Diffs::Ones,
            Diffs::Each(diffs) => Diffs::Each(
                mask.iter().zip(diffs.iter()).filter(|(keep, _)| *keep == Some(true)).map(|(_, diff)| *diff).collect(),
            ),
        };
        Ok(Delta { rows, diffs })
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Delta, ArrowError> {
        let rows = take_record_batch(&self.rows, indices)?;
        let diffs = match &self.diffs {
            Diffs::Ones => Diffs::Ones,
            Diffs::Each(diffs) => Diffs::Each(
                indices.values().iter().map(|index| diffs[usize::try_from(*index).expect("u32 fits usize")]).collect(),
            ),
        };
        Ok(Delta { rows, diffs })
    }
}

/// Updates that share one time. What flows between the operators of a dataflow.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The time of every row.
    pub time: Timestamp,
    /// The rows and their diffs.
    pub delta: Delta,
}
