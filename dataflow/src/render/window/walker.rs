//! Frames whose rows are walked, because the tree's sums do not tell the answer: what enters is added, what leaves is taken
//! away.

use std::collections::VecDeque;

use super::frames::{Rows, Spot};
use super::kind::{Kind, float_of, float_value};
use super::row::{RowLayout, Slot, Value, code};
use crate::exact::{Moment, Moments};
use crate::plan::BitFunc;
use crate::render::reduce::bits;
use crate::state::{Entry, FloatSum, Weigh};

/// What is kept of a frame's rows where sums do not tell the answer.
pub(super) struct Walker {
    values: Walked,
    start: Spot,
    end: Spot,
}

enum Walked {
    Floats {
        slot: usize,
        mean: bool,
        sum: Box<FloatSum>,
        count: i64,
    },
    /// Values that no later one of the frame outdoes, each with the place behind its last row.
    Extreme {
        slot: Slot,
        least: bool,
        best: VecDeque<(Value, i64)>,
    },
    Moment {
        moment: Moment,
        first: usize,
        second: Option<usize>,
        sums: Box<Moments>,
    },
    Bits {
        slot: usize,
        func: BitFunc,
        /// How many values have each bit.
        counts: Box<[i64; 64]>,
        values: i64,
    },
}

impl Walker {
    /// Nothing yet, of a kind that walks.
    pub(super) fn new(kind: &Kind, spot: Spot) -> Walker {
        let values = match *kind {
            Kind::Floats { slot, mean } => Walked::Floats { slot, mean, sum: Box::default(), count: 0 },
            Kind::Extreme { slot, least } => Walked::Extreme { slot, least, best: VecDeque::new() },
            Kind::Moment { moment, first, second } => Walked::Moment { moment, first, second, sums: Box::default() },
            Kind::Bits { slot, func } => Walked::Bits { slot, func, counts: Box::new([0; 64]), values: 0 },
            ref other => unreachable!("{other:?} does not walk"),
        };
        Walker { values, start: spot, end: spot }
    }

    /// Moves to the frame from row `start` to row `end`.
    pub(super) fn move_to<const W: usize, G: Weigh<W>>(&mut self, start: i64, end: i64, rows: &Rows<'_, W, G>) {
        if start < self.start.position() || start >= self.end.position() || end < self.end.position() {
            // Nothing of the old frame is in the new one, or the frame moved back: begin anew.
            match &mut self.values {
                Walked::Floats { sum, count, .. } => (**sum, *count) = (FloatSum::default(), 0),
                Walked::Extreme { best, .. } => best.clear(),
                Walked::Moment { sums, .. } => **sums = Moments::default(),
                Walked::Bits { counts, values, .. } => (**counts, *values) = ([0; 64], 0),
            }
            self.start = rows.select(start);
            self.end = self.start;
        }
        let values = &mut self.values;
        rows.walk(&mut self.end, end, |entry, copies, behind| values.add(rows.layout, entry, copies, behind));
        rows.walk(&mut self.start, start, |entry, copies, _| values.count(entry.payload(), -copies));
        if let Walked::Extreme { best, .. } = values {
            while best.front().is_some_and(|(_, behind)| *behind <= start) {
                best.pop_front();
            }
        }
    }

    /// The answer over the frame.
    pub(super) fn answer(&self) -> Value {
        match &self.values {
            Walked::Floats { count: 0, .. } => Value::Null,
            Walked::Floats { mean, sum, count, .. } => {
                float_value(if *mean { sum.value() / *count as f64 } else { sum.value() })
            }
            Walked::Extreme { best, .. } => best.front().map_or(Value::Null, |(value, _)| value.clone()),
            Walked::Moment { moment, sums, .. } => sums.answer(*moment).map_or(Value::Null, float_value),
            Walked::Bits { values: 0, .. } => Value::Null,
            Walked::Bits { func, counts, values, .. } => Value::Code(bits(*func, counts, *values).into()),
        }
    }
}

impl Walked {
    fn add(&mut self, layout: &RowLayout, entry: Entry<'_>, copies: i64, behind: i64) {
        let Walked::Extreme { slot, least, best } = self else { return self.count(entry.payload(), copies) };
        let value = layout.value(entry.payload(), *slot);
        if value == Value::Null {
            return;
        }
        let outdone = |kept: &Value| match (kept, &value) {
            (Value::Code(kept), Value::Code(new)) => {
                if *least {
                    new <= kept
                } else {
                    new >= kept
                }
            }
            (Value::Bytes(kept), Value::Bytes(new)) => {
                if *least {
                    new <= kept
                } else {
                    new >= kept
                }
            }
            _ => false,
        };
        while best.back().is_some_and(|(kept, _)| outdone(kept)) {
            best.pop_back();
        }
        best.push_back((value, behind));
    }

    /// Counts `copies` of a row, or takes them away. Extremes are not counted: they go when the frame has passed them.
    fn count(&mut self, payload: &[u8], copies: i64) {
        match self {
            Walked::Extreme { .. } => {}
            Walked::Floats { slot, sum, count, .. } => {
                if let Some(code) = code(payload, *slot) {
                    sum.add(float_of(code), copies);
                    *count += copies;
                }
            }
            Walked::Moment { first, second, sums, .. } => {
                let float = |slot: usize| code(payload, slot).map(float_of);
                match (float(*first), second.map(float)) {
                    (Some(x), None) => sums.add(x, copies),
                    (Some(x), Some(Some(y))) => sums.add_pair(x, y, copies),
                    _ => {}
                }
            }
            Walked::Bits { slot, counts, values, .. } => {
                if let Some(code) = code(payload, *slot) {
                    *values += copies;
                    (0..64).filter(|bit| code >> bit & 1 == 1).for_each(|bit| counts[bit] += copies);
                }
            }
        }
    }
}
