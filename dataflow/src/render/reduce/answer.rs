//! Answers of groups as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, NullBufferBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::layout::{Kind, Layout, ROWS, Slots};
use super::values::{column, from_bytes};
use crate::expr::describe_row;
use crate::render::context::batch;
use crate::repr::{Delta, Diff, Diffs, ErrorRow, RowCodec};

/// What a group-by emits at the end of a time.
pub(super) enum Answer {
    /// Old answers taken away, new ones added.
    Rows(Delta),
    /// Groups whose answer does not fit its type, likewise. The position is left to the operator.
    Errors(Vec<(ErrorRow, Diff)>),
}

/// One answer to emit.
pub(super) struct Pick {
    /// The group.
    pub(super) group: u32,
    /// Its index among the touched groups.
    pub(super) touched: usize,
    /// The answer before the time; else the answer now.
    pub(super) old: bool,
    /// Whether it is taken away or added.
    pub(super) diff: Diff,
}

impl Pick {
    /// The answer that a touched group had before, to be taken away.
    pub(super) fn before(group: u32, touched: usize) -> Pick {
        Pick { group, touched, old: true, diff: -1 }
    }

    /// The answer that a group has now.
    pub(super) fn now(group: u32, touched: usize, diff: Diff) -> Pick {
        Pick { group, touched, old: false, diff }
    }
}

/// An aggregate over a group that cannot be represented.
struct Failure {
    answer: usize,
    column: String,
    message: String,
}

/// Builds output batches.
pub(super) struct AnswerBuilder {
    codec: RowCodec,
    /// Of each aggregate: its place among those that have state beside the slots, if it is one.
    beside: Vec<usize>,
}

impl AnswerBuilder {
    pub(super) fn new(layout: &Layout) -> AnswerBuilder {
        let count = |beside: &mut usize, aggregate: &Slots| {
            let place = *beside;
            *beside += usize::from(has_beside(aggregate));
            Some(place)
        };
        AnswerBuilder {
            codec: RowCodec::new(&layout.key_types).unwrap_or_else(|error| panic!("{error}")),
            beside: layout.aggregates.iter().scan(0, count).collect(),
        }
    }

    /// Emits the picked answers. `keys`, `slots` and `bytes` give a pick's key, its slots, and the bytes that stand
    /// beside the slots (by index among the aggregates that have such state, and which of the answers over it).
    pub(super) fn build<'a>(
        &self,
        layout: &Layout,
        picks: &[Pick],
        keys: impl Fn(&Pick) -> &'a [u8],
        slots: impl Fn(&Pick) -> &'a [i64],
        bytes: impl Fn(usize, usize, &Pick) -> Option<&'a [u8]>,
        emit: &mut impl FnMut(Answer),
    ) {
        let mut columns = self.codec.decode(picks.iter().map(&keys)).expect("keys decode");
        let diffs: Vec<Diff> = picks.iter().map(|pick| pick.diff).collect();
        let slots: Vec<&[i64]> = picks.iter().map(&slots).collect();
        let mut failures = Vec::new();
        for (aggregate, beside) in layout.aggregates.iter().zip(&self.beside) {
            let column = match &aggregate.kind {
                Kind::Best { value, .. } if !value.is_code() => {
                    let values: Vec<Option<&[u8]>> = picks.iter().map(|pick| bytes(*beside, 0, pick)).collect();
                    from_bytes(&values, &aggregate.data_type)
                }
                Kind::Quantile { value, place, .. } if !value.is_code() => {
                    let beside = self.beside[place.kept_by];
                    let values: Vec<Option<&[u8]>> = picks.iter().map(|pick| bytes(beside, place.nth, pick)).collect();
                    from_bytes(&values, &aggregate.data_type)
                }
                Kind::Recomputed(function) => {
                    let answers = picks.iter().map(|pick| bytes(*beside, 0, pick).unwrap_or(function.empty().bytes()));
                    let name = &aggregate.name;
                    let fail = |answer, message| failures.push(Failure { answer, column: name.clone(), message });
                    function.decode(answers, fail)
                }
                _ => from_slots(aggregate, &slots, &mut failures),
            };
            columns.push(column);
        }
        let rows = batch(&layout.schema, columns, picks.len());
        if failures.is_empty() {
            emit(Answer::Rows(Delta { rows, diffs: Diffs::Each(diffs.into()) }));
            return;
        }
        failures.sort_by_key(|failure| failure.answer);
        failures.dedup_by_key(|failure| failure.answer);
        let mut keep = vec![true; picks.len()];
        let mut errors = Vec::with_capacity(failures.len());
        let key_columns: Vec<usize> = (0..layout.keys).collect();
        let key_rows = rows.project(&key_columns).expect("keys are the first columns");
        for failure in failures {
            keep[failure.answer] = false;
            let error = ErrorRow {
                position: String::new(),
                column: Some(failure.column),
                message: failure.message,
                payload: Some(describe_row(&key_rows, failure.answer)),
            };
            errors.push((error, diffs[failure.answer]));
        }
        let delta = Delta { rows, diffs: Diffs::Each(diffs.into()) };
        let delta = delta.filter(&BooleanArray::from(keep)).expect("a mask as long as the batch");
        if !delta.is_empty() {
            emit(Answer::Rows(delta));
        }
        emit(Answer::Errors(errors));
    }
}

fn has_beside(aggregate: &Slots) -> bool {
    match &aggregate.kind {
        Kind::CountDistinct(_) | Kind::EstimateDistinct | Kind::Best { .. } | Kind::SumFloat | Kind::AvgFloat => true,
        Kind::Bits(_) | Kind::Moment(_) | Kind::Recomputed(_) => true,
        Kind::Quantile { place, .. } => place.is_kept_here(),
        Kind::SumExact | Kind::AvgDecimal { .. } => aggregate.distinct,
        Kind::Rows | Kind::Count | Kind::BestOfGrowing { .. } => false,
    }
}

/// The column of an aggregate whose answers are in the slots.
fn from_slots(aggregate: &Slots, slots: &[&[i64]], failures: &mut Vec<Failure>) -> ArrayRef {
    let (slot, data_type) = (aggregate.slot, &aggregate.data_type);
    match &aggregate.kind {
        Kind::SumFloat | Kind::AvgFloat => return floats(aggregate, slots),
        Kind::Moment(_) => {
            let value = |slots: &&[i64]| (slots[slot] != 0).then(|| f64::from_bits(slots[slot + 1].cast_unsigned()));
            let values = slots.iter().map(value);
            return Arc::new(values.collect::<Float64Array>());
        }
        _ => {}
    }
    let (mut codes, mut nulls) = (Vec::with_capacity(slots.len()), NullBufferBuilder::new(slots.len()));
    for (answer, slots) in slots.iter().enumerate() {
        let code = code(aggregate, slots).unwrap_or_else(|OutOfRange| {
            let message = format!("the result of {} is out of the range of {data_type}", aggregate.name);
            failures.push(Failure { answer, column: aggregate.name.clone(), message });
            None
        });
        nulls.append(code.is_some());
        codes.push(code.unwrap_or(0));
    }
    column(codes, nulls.finish(), data_type)
}

/// A result that its type cannot hold.
pub(super) struct OutOfRange;

/// The integer code of an aggregate's answer, `None` for NULL. Panics on aggregates whose answers have none.
#[inline]
pub(super) fn code(aggregate: &Slots, slots: &[i64]) -> Result<Option<i128>, OutOfRange> {
    let Slots { slot, count, codes, .. } = *aggregate;
    let number = |slot: usize| Some(i128::from(slots[slot]));
    Ok(match &aggregate.kind {
        Kind::Rows => number(ROWS),
        Kind::Count => number(count),
        Kind::CountDistinct(_) | Kind::EstimateDistinct => number(slot),
        Kind::BestOfGrowing { least, .. } | Kind::Best { least, .. } => {
            (slots[count] > 0).then(|| codes.read_best(&slots[slot..], *least))
        }
        Kind::Bits(_) => number(slot).filter(|_| slots[count] > 0),
        Kind::Quantile { .. } => (slots[slot] != 0).then(|| codes.read(&slots[slot + 1..])),
        Kind::SumExact | Kind::AvgDecimal { .. } if slots[count] <= 0 => None,
        Kind::SumExact | Kind::AvgDecimal { .. } => {
            let (least, greatest) = aggregate.range;
            let value = exact(aggregate, slots);
            Some(value.filter(|value| least <= *value && *value <= greatest).ok_or(OutOfRange)?)
        }
        Kind::SumFloat | Kind::AvgFloat | Kind::Moment(_) | Kind::Recomputed(_) => {
            unreachable!("{} has no code", aggregate.name)
        }
    })
}

/// An exact sum or the mean of decimals; `None` beyond 128 bits. A mean is cut off towards zero, as DataFusion's is.
fn exact(aggregate: &Slots, slots: &[i64]) -> Option<i128> {
    let sum = aggregate.sums.total(&slots[aggregate.slot..])?;
    match aggregate.kind {
        Kind::AvgDecimal { factor } => {
            sum.checked_mul(factor).map(|scaled| scaled / i128::from(slots[aggregate.count]))
        }
        _ => Some(sum),
    }
}

fn floats(aggregate: &Slots, slots: &[&[i64]]) -> ArrayRef {
    let Slots { slot, count, .. } = *aggregate;
    let values: Float64Array = slots
        .iter()
        .map(|slots| {
            (slots[count] > 0).then(|| {
                let sum = f64::from_bits(slots[slot].cast_unsigned());
                let value = if aggregate.kind == Kind::AvgFloat { sum / slots[count] as f64 } else { sum };
                // One zero and one NaN.
                if value.is_nan() {
                    f64::NAN
                } else if value == 0.0 {
                    0.0
                } else {
                    value
                }
            })
        })
        .collect();
    let values: ArrayRef = Arc::new(values);
    match &aggregate.data_type {
        DataType::Float64 => values,
        other => cast(&values, other).expect("floats are cast to floats"),
    }
}
