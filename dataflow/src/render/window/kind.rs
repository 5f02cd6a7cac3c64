//! What is computed for each row of a window, and from what.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use super::row::{RowLayout, Slot, Value, code, holds_codes};
use crate::exact::Moment;
use crate::expr::{Recomputed, ScalarExpr};
use crate::plan::{AggregateFunc, BitFunc, Frame, FrameOffset, FrameUnits, WindowCall, WindowFunction};
use crate::render::reduce::values::{ByteValues, code_float, codes, float_code, range};
use crate::repr::Row;
use crate::state::Weigh;

/// One summand of the tree's sums, read out of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// 1 for a value.
    Count(Slot),
    /// The value, of at most 64 bits.
    Value(usize),
    /// The value modulo 2^64.
    Low(usize),
    /// The value divided by 2^64, rounded down.
    High(usize),
}

/// The summands of one operator.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    weights: Vec<Weight>,
    layout: RowLayout,
}

impl Weights {
    /// None yet, of rows of a layout.
    pub(super) fn new(layout: RowLayout) -> Weights {
        Weights { weights: Vec::new(), layout }
    }

    fn place(&mut self, weight: Weight) -> usize {
        self.weights.iter().position(|known| *known == weight).unwrap_or_else(|| {
            self.weights.push(weight);
            self.weights.len() - 1
        })
    }

    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }
}

impl<const W: usize> Weigh<W> for Weights {
    #[inline]
    fn weigh(&self, payload: &[u8]) -> [i128; W] {
        let mut weights = [0; W];
        for (place, weight) in weights.iter_mut().zip(&self.weights) {
            *place = match weight {
                Weight::Count(Slot::Code(index)) => i128::from(code(payload, *index).is_some()),
                Weight::Count(slot) => i128::from(self.layout.value(payload, *slot) != Value::Null),
                Weight::Value(index) => code(payload, *index).unwrap_or(0),
                Weight::Low(index) => code(payload, *index).unwrap_or(0) & i128::from(u64::MAX),
                Weight::High(index) => code(payload, *index).unwrap_or(0) >> 64,
            };
        }
        weights
    }
}

/// Decimals of at most so many digits have 64 bits.
const NARROW_DIGITS: u8 = 18;

/// An exact sum: places among the tree's sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    low: usize,
    /// `None` where values have at most 64 bits.
    high: Option<usize>,
    count: usize,
}

impl Sum {
    /// The sum, and how many values it has; `None` for a sum beyond 128 bits.
    fn of<const W: usize>(&self, sums: &[i128; W]) -> (Option<i128>, i128) {
        let low = sums[self.low];
        let sum = match self.high {
            None => Some(low),
            Some(high) => sums[high]
                .checked_add(low >> 64)
                .and_then(|high| high.checked_mul(1 << 64))
                .and_then(|high| high.checked_add(low & i128::from(u64::MAX))),
        };
        (sum, sums[self.count])
    }
}

/// What one function computes.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile(i64),
    /// Rows of the frame.
    Rows,
    /// Values in the frame: a place among the sums.
    Count(usize),
    /// The sum, which must lie in a range.
    Sum {
        sum: Sum,
        range: (i128, i128),
    },
    /// The mean of decimals: the sum times the factor, divided by the count, cut off towards zero.
    Mean {
        sum: Sum,
        factor: i128,
        range: (i128, i128),
    },
    /// The exact sum of floats, or their mean.
    Floats {
        slot: usize,
        mean: bool,
    },
    /// The least or the greatest value.
    Extreme {
        slot: Slot,
        least: bool,
    },
    /// Variance, covariance, correlation, regression of one or two floats.
    Moment {
        moment: Moment,
        first: usize,
        second: Option<usize>,
    },
    /// The combined bits of integers.
    Bits {
        slot: usize,
        func: BitFunc,
    },
    /// Any other aggregate, from all rows of the frame for every row.
    Recomputed {
        /// What it keeps of a row: a place among the bytes.
        place: usize,
        function: Recomputed,
    },
    /// The value of a row of the frame.
    Nth {
        slot: Slot,
        n: i64,
        ignore_nulls: bool,
        default: Value,
    },
}

/// One function of an operator.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) kind: Kind,
    pub(super) frame: Frame,
    /// The name of its column.
    pub(super) name: String,
    /// The type of its answers.
    pub(super) data_type: DataType,
}

impl Function {
    /// What `function` asks for; its summands are added to `weights`.
    ///
    /// Panics on a function that [`WindowFunction::check`] refuses: lowering asks it.
    pub(super) fn new(function: &WindowFunction, layout: &RowLayout, weights: &mut Weights) -> Function {
        let argument = || layout.slot(function.args.first().expect("planned with an argument"));
        let mut frame = function.frame;
        let kind = match &function.call {
            WindowCall::RowNumber => Kind::RowNumber,
            WindowCall::Rank => Kind::Rank,
            WindowCall::DenseRank => Kind::DenseRank,
            WindowCall::PercentRank => Kind::PercentRank,
            WindowCall::CumeDist => Kind::CumeDist,
            WindowCall::Ntile(tiles) => Kind::Ntile(*tiles),
            WindowCall::Lag { offset, default, ignore_nulls } => {
                let n;
                (frame, n) = neighbour(*offset, *ignore_nulls);
                let default = default.as_ref().map_or(Value::Null, constant);
                Kind::Nth { slot: argument(), n, ignore_nulls: *ignore_nulls && *offset != 0, default }
            }
            WindowCall::Nth { n, ignore_nulls } => {
                Kind::Nth { slot: argument(), n: *n, ignore_nulls: *ignore_nulls, default: Value::Null }
            }
            WindowCall::Aggregate(func) => aggregate(func, function, layout, weights),
        };
        Function { kind, frame, name: function.name.clone(), data_type: function.data_type.clone() }
    }
}

/// The frame of the one row that a LAG looks at, and which row of it that is.
fn neighbour(offset: i64, ignore_nulls: bool) -> (Frame, i64) {
    let at = |offset: i64| Some(FrameOffset::Count(i128::from(offset)));
    let (start, end, n) = match offset {
        _ if !ignore_nulls || offset == 0 => (at(-offset), at(-offset), 1),
        1.. => (None, at(-1), -offset),
        _ => (at(1), None, -offset),
    };
    (Frame { units: FrameUnits::Rows, start, end }, n)
}

fn aggregate(func: &AggregateFunc, function: &WindowFunction, layout: &RowLayout, weights: &mut Weights) -> Kind {
    if let AggregateFunc::Recomputed(recomputed) = func {
        return Kind::Recomputed { place: layout.kept_place(function, recomputed), function: recomputed.clone() };
    }
    let Some(arg) = function.args.first() else { return Kind::Rows };
    match (func, layout.slot(arg)) {
        (AggregateFunc::Count, slot) => Kind::Count(weights.place(Weight::Count(slot))),
        (AggregateFunc::Min | AggregateFunc::Max, slot) => Kind::Extreme { slot, least: *func == AggregateFunc::Min },
        (AggregateFunc::Moment(moment), Slot::Code(first)) => {
            let second = function.args.get(1).map(|arg| match layout.slot(arg) {
                Slot::Code(second) => second,
                Slot::Bytes(_) => unreachable!("floats have codes"),
            });
            Kind::Moment { moment: *moment, first, second }
        }
        (AggregateFunc::Bits(func), Slot::Code(slot)) => Kind::Bits { slot, func: *func },
        (AggregateFunc::Sum | AggregateFunc::Avg, Slot::Code(index)) if arg.data_type.is_floating() => {
            Kind::Floats { slot: index, mean: *func == AggregateFunc::Avg }
        }
        (AggregateFunc::Sum | AggregateFunc::Avg, slot @ Slot::Code(index)) => {
            let wide = matches!(arg.data_type, DataType::Decimal128(precision, _) if precision > NARROW_DIGITS);
            let sum = Sum {
                low: weights.place(if wide { Weight::Low(index) } else { Weight::Value(index) }),
                high: wide.then(|| weights.place(Weight::High(index))),
                count: weights.place(Weight::Count(slot)),
            };
            match (func, &arg.data_type, &function.data_type) {
                (AggregateFunc::Avg, DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => {
                    let shift = u32::try_from(to - from).expect("a mean has at least the scale of its argument");
                    Kind::Mean { sum, factor: 10i128.pow(shift), range: range(&function.data_type) }
                }
                _ => Kind::Sum { sum, range: range(&function.data_type) },
            }
        }
        (func, slot) => panic!("{func:?} over {slot:?} is refused by lowering"),
    }
}

/// The value of a constant expression.
fn constant(expr: &ScalarExpr) -> Value {
    if expr.data_type == DataType::Null {
        // Nothing else has that type, and hardly anything can be cast to it.
        return Value::Null;
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
    let one = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options).expect("no columns");
    let column = expr.expr.evaluate(&one).and_then(|value| value.into_array(1)).expect("a constant has a value");
    if arrow::array::Array::is_null(&column, 0) {
        Value::Null
    } else if holds_codes(column.data_type()) {
        Value::Code(codes(&column)[0])
    } else {
        Value::Bytes(Row::new(ByteValues::new(&column).get(0)))
    }
}

impl Kind {
    /// Whether the frame's rows must be walked: the tree's sums do not tell the answer.
    pub(super) fn walks(&self) -> bool {
        matches!(self, Kind::Floats { .. } | Kind::Extreme { .. } | Kind::Moment { .. } | Kind::Bits { .. })
    }

    /// Whether the answer depends on the row's place and not on a frame.
    pub(super) fn ranks(&self) -> bool {
        matches!(
            self,
            Kind::RowNumber | Kind::Rank | Kind::DenseRank | Kind::PercentRank | Kind::CumeDist | Kind::Ntile(_)
        )
    }

    /// The answer of an aggregate whose sums over the frame are `sums`.
    pub(super) fn summed<const W: usize>(&self, rows: i64, sums: &[i128; W]) -> Value {
        match self {
            Kind::Rows => Value::Code(i128::from(rows)),
            Kind::Count(place) => Value::Code(sums[*place]),
            Kind::Sum { sum, range } => match sum.of(sums) {
                (_, 0) => Value::Null,
                (value, _) => within(value, *range),
            },
            Kind::Mean { sum, factor, range } => match sum.of(sums) {
                (_, 0) => Value::Null,
                (value, count) => {
                    let scaled = value.and_then(|value| value.checked_mul(*factor));
                    within(scaled.map(|scaled| scaled / count), *range)
                }
            },
            other => unreachable!("{other:?} is not answered by sums"),
        }
    }
}

fn within(value: Option<i128>, (least, greatest): (i128, i128)) -> Value {
    match value {
        Some(value) if least <= value && value <= greatest => Value::Code(value),
        _ => Value::OutOfRange,
    }
}

/// The answer of a float.
pub(super) fn float_value(value: f64) -> Value {
    Value::Code(float_code(value))
}

/// The float of a code.
pub(super) fn float_of(code: i128) -> f64 {
    code_float(code)
}

/// The number of the tile, from 1, of row `position` (from 0) of `rows` in `tiles` (SQL:2016, 7.11, NTILE).
pub(super) fn tile(position: i64, rows: i64, tiles: i64) -> i64 {
    let (small, larger) = (rows / tiles, rows % tiles);
    let in_larger = larger * (small + 1);
    if position < in_larger { position / (small + 1) + 1 } else { larger + (position - in_larger) / small.max(1) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tiles_are_larger() {
        let tiles = |rows: i64, tiles: i64| -> Vec<i64> { (0..rows).map(|row| tile(row, rows, tiles)).collect() };
        assert_eq!(tiles(7, 3), [1, 1, 1, 2, 2, 3, 3]);
        assert_eq!(tiles(6, 3), [1, 1, 2, 2, 3, 3]);
        assert_eq!(tiles(2, 5), [1, 2]);
        assert_eq!(tiles(3, 1), [1, 1, 1]);
    }
}
