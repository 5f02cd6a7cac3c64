//! Updates in columns: a record batch, one diff a row, one time.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{filter_record_batch, take, take_record_batch};
use arrow::datatypes::DataType;
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

/// Rows `offset .. offset + len`. Lists are copied: Arrow casts lists to lists of a fixed size as if the items of the first
/// one were the first of all.
pub(crate) fn slice_rows(rows: &RecordBatch, offset: usize, len: usize) -> RecordBatch {
    let slice = rows.slice(offset, len);
    let is_list = |column: &ArrayRef| matches!(column.data_type(), DataType::List(_) | DataType::LargeList(_));
    if !slice.columns().iter().any(is_list) {
        return slice;
    }
    let all = UInt64Array::from_iter_values(0..len as u64);
    let columns = slice.columns().iter().map(|column| match is_list(column) {
        true => take(column, &all, None).expect("rows of the column"),
        false => Arc::clone(column),
    });
    RecordBatch::try_new(slice.schema(), columns.collect()).expect("the same columns")
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

    /// Rows `offset .. offset + len`; the columns are shared, not copied, except for lists.
    pub fn slice(&self, offset: usize, len: usize) -> Delta {
        if offset == 0 && len == self.len() {
            // The usual case, and small ticks pass here often: nothing is made anew.
            return self.clone();
        }
        Delta { rows: slice_rows(&self.rows, offset, len), diffs: self.diffs.slice(offset, len) }
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

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, ListArray};
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;

    #[test]
    fn lists_of_a_slice_can_be_cast_to_a_fixed_size() {
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
            [[1, 2], [3, 4], [5, 6]].map(|list| Some(list.map(Some))),
        ));
        let schema = Schema::new(vec![Field::new("l", lists.data_type().clone(), true)]);
        let rows = RecordBatch::try_new(schema.into(), vec![lists]).expect("one column");
        let fixed = DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Int64, true)), 2);
        let slice = Delta::insert(rows).slice(1, 2);
        let cast = cast(slice.rows.column(0), &fixed).expect("lists of two");
        assert_eq!(cast.as_fixed_size_list().value(0).as_primitive::<Int64Type>().values(), &[3, 4]);
    }
}
