//! What order-based operators are asked: window functions over ordered partitions, and the first rows of each.

use arrow::datatypes::DataType;

use super::AggregateFunc;
use crate::expr::ScalarExpr;

/// One key of an order.
#[derive(Clone, Debug)]
pub struct OrderBy {
    /// What is ordered by, over the input's columns.
    pub expr: ScalarExpr,
    /// Greatest first.
    pub descending: bool,
    /// NULLs first.
    pub nulls_first: bool,
}

/// What the places of a limit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Those of the rows.
    Rows,
    /// Every row has that of its first peer, as in a rank.
    FirstPeers,
    /// Those of the groups of peers, as in a dense rank.
    Groups,
}

/// Which rows of a partition leave, by their place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLimit {
    /// What places are.
    pub places: Places,
    /// The first place, from 0.
    pub offset: i64,
    /// How many places; `None` for all.
    pub fetch: Option<i64>,
}

impl RowLimit {
    /// The first place behind the limit.
    pub fn end(&self) -> i64 {
        self.fetch.map_or(i64::MAX, |fetch| self.offset.saturating_add(fetch))
    }
}

/// One function over a window: it becomes a column behind the input's.
#[derive(Clone, Debug)]
pub struct WindowFunction {
    /// What is computed.
    pub call: WindowCall,
    /// Its arguments over the input's columns: none or one for most; for [`AggregateFunc::Recomputed`] the columns of a kept
    /// row.
    pub args: Vec<ScalarExpr>,
    /// Only rows for which this is true are seen. Of [`AggregateFunc::Recomputed`] alone: for other functions a row that is not
    /// to be seen has the argument NULL.
    pub filter: Option<ScalarExpr>,
    /// Which rows it sees; ranks, tiles and neighbours ignore it.
    pub frame: Frame,
    /// The name of the output column.
    pub name: String,
    /// The type of the result.
    pub data_type: DataType,
}

/// The window functions. Rows that are equal in the order's keys are peers; among peers whole rows are in the order of their
/// encoded bytes, and copies of a row are rows of their own.
#[derive(Clone, Debug)]
pub enum WindowCall {
    /// The place in the partition, from 1.
    RowNumber,
    /// The place of the first peer, from 1.
    Rank,
    /// How many different keys come before, plus 1.
    DenseRank,
    /// (rank − 1) / (rows − 1), 0 in a partition of one row.
    PercentRank,
    /// Rows up to the last peer, divided by all rows.
    CumeDist,
    /// The number of the tile, of so many: the first tiles are one row larger where they cannot be equal.
    Ntile(i64),
    /// The argument of the row so many places before; behind, if negative.
    Lag {
        /// How many places.
        offset: i64,
        /// What stands for a row that is not there: a constant; `None` for NULL.
        default: Option<ScalarExpr>,
        /// Rows whose argument is NULL do not count.
        ignore_nulls: bool,
    },
    /// The argument of a row of the frame, counted from 1; from the end, if negative.
    Nth {
        /// Which row.
        n: i64,
        /// Rows whose argument is NULL do not count.
        ignore_nulls: bool,
    },
    /// An aggregate over the frame.
    Aggregate(AggregateFunc),
}

/// The rows around a row that its function sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// What offsets count.
    pub units: FrameUnits,
    /// The first row; `None` for the first of the partition.
    pub start: Option<FrameOffset>,
    /// The last row; `None` for the last of the partition.
    pub end: Option<FrameOffset>,
}

/// What offsets of a frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// The value of the one key of the order; an offset of 0 means peers, whatever the keys.
    Range,
    /// Groups of peers.
    Groups,
}

/// How far a bound of a frame is from its row: before it, if negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrameOffset {
    /// The row itself, or its peers.
    Current,
    /// So many rows, groups, or units of the key's type: days of dates, microseconds of times, units of the last digit of
    /// decimals.
    Count(i128),
    /// So much, of a key that is a float.
    Float(f64),
    /// So many months, then microseconds, of a key that is a date or a time.
    Calendar {
        /// Months.
        months: i32,
        /// Microseconds.
        micros: i64,
    },
}
