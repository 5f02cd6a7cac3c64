//! Frames that move along with the rows they belong to.

use std::collections::VecDeque;

use super::kind::{Function, Kind, float_of, float_value};
use super::measure::Measure;
use super::row::{MEASURE_BYTES, RowLayout, Slot, Value, code, measure_bytes, measure_of};
use crate::plan::{Frame, FrameOffset, FrameUnits};
use crate::state::{Cursor, Entry, FloatSum, Ordered, Weigh, Weightless};

/// Entries that a bound steps over before it seeks instead.
const STEPS_MAX: usize = 64;

/// A place between rows, copies counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<const W: usize> {
    cursor: Cursor<W>,
    /// How many copies of the entry behind the cursor stand before the place.
    copy: i64,
}

impl<const W: usize> Spot<W> {
    fn position(&self) -> i64 {
        self.cursor.before.rows + self.copy
    }
}

/// One partition, to be read.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const W: usize, G: Weigh<W>> {
    pub(super) tree: &'a Ordered<W>,
    /// The different keys of the order, where groups are counted.
    pub(super) groups: &'a Ordered<0>,
    pub(super) weigh: &'a G,
    pub(super) layout: &'a RowLayout,
    pub(super) measure: &'a Measure,
}

impl<const W: usize, G: Weigh<W>> Rows<'_, W, G> {
    pub(super) fn len(&self) -> i64 {
        self.tree.totals().rows
    }

    /// The place before row `position`; behind all rows if there are not so many.
    fn select(&self, position: i64) -> Spot<W> {
        let cursor = self.tree.select(position, self.weigh);
        let copy = if self.tree.get(&cursor).is_some() { position - cursor.before.rows } else { 0 };
        Spot { cursor, copy }
    }

    /// Moves to before row `to`, which is not behind the last row's end.
    fn go(&self, spot: &mut Spot<W>, to: i64) {
        let mut steps = 0;
        while spot.position() < to && steps < STEPS_MAX {
            let Some(entry) = self.tree.get(&spot.cursor) else { return };
            if to - spot.cursor.before.rows < entry.copies() {
                spot.copy = to - spot.cursor.before.rows;
                return;
            }
            self.tree.step(&mut spot.cursor, self.weigh);
            spot.copy = 0;
            steps += 1;
        }
        if spot.position() != to {
            *spot = self.select(to);
        }
    }

    /// Moves forward to before the first entry whose key does not satisfy `less`.
    fn go_while(&self, spot: &mut Spot<W>, less: impl Fn(&[u8]) -> bool) {
        for _ in 0..STEPS_MAX {
            match self.tree.get(&spot.cursor) {
                Some(entry) if less(entry.key()) => self.tree.step(&mut spot.cursor, self.weigh),
                _ => return,
            }
        }
        spot.cursor = self.tree.seek(less, self.weigh);
    }

    /// The sums of all rows before the place.
    fn sums(&self, spot: &Spot<W>) -> [i128; W] {
        let mut sums = spot.cursor.before.sums;
        if spot.copy > 0
            && let Some(entry) = self.tree.get(&spot.cursor)
        {
            let weights = self.weigh.weigh(entry.payload());
            for (sum, weight) in sums.iter_mut().zip(&weights) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i128::from(spot.copy)));
            }
        }
        sums
    }

    /// Calls `visit` with entries and how many of their copies stand from `spot` to row `to`, and moves there.
    fn walk(&self, spot: &mut Spot<W>, to: i64, mut visit: impl FnMut(&Entry, i64, i64)) {
        while spot.position() < to {
            let Some(entry) = self.tree.get(&spot.cursor) else { return };
            let copies = (entry.copies() - spot.copy).min(to - spot.position());
            let end = spot.position() + copies;
            visit(entry, copies, end);
            if spot.copy + copies == entry.copies() {
                self.tree.step(&mut spot.cursor, self.weigh);
                spot.copy = 0;
            } else {
                spot.copy += copies;
            }
        }
    }
}

/// Where a row stands.
pub(super) struct Place<'a> {
    /// Its place from 0, copies counted.
    pub(super) position: i64,
    pub(super) entry: &'a Entry,
    /// The places of its first peer and behind its last.
    pub(super) peers: (i64, i64),
    /// How many groups of peers stand before its own, where groups are counted.
    pub(super) group: i64,
}

/// The functions that share a frame, and where the frame is.
pub(super) struct MovingFrame<const W: usize> {
    frame: Frame,
    start: Spot<W>,
    end: Spot<W>,
    walkers: Vec<Walker<W>>,
}

impl<const W: usize> MovingFrame<W> {
    /// A frame before the first row of a stretch. `functions` are those that share it.
    pub(super) fn new<'f, G: Weigh<W>>(
        frame: Frame,
        functions: impl Iterator<Item = &'f Function>,
        rows: &Rows<'_, W, G>,
    ) -> MovingFrame<W> {
        let spot = Spot { cursor: rows.tree.start(), copy: 0 };
        let walkers = functions.filter(|function| function.kind.walks()).map(|function| Walker {
            values: match function.kind {
                Kind::Floats { slot, mean } => Walked::Floats { slot, mean, sum: Box::default(), count: 0 },
                Kind::Extreme { slot, least } => Walked::Extreme { slot, least, best: VecDeque::new() },
                ref other => unreachable!("{other:?} does not walk"),
            },
            start: spot,
            end: spot,
        });
        MovingFrame { frame, start: spot, end: spot, walkers: walkers.collect() }
    }

    /// Moves the frame to a row. Rows come in order.
    pub(super) fn move_to<G: Weigh<W>>(&mut self, place: &Place<'_>, rows: &Rows<'_, W, G>) {
        match self.frame.start {
            None => self.start = Spot { cursor: rows.tree.start(), copy: 0 },
            Some(offset) => bound(&mut self.start, self.frame.units, &offset, false, place, rows),
        }
        match self.frame.end {
            None => self.end = Spot { cursor: rows.tree.end(), copy: 0 },
            Some(offset) => bound(&mut self.end, self.frame.units, &offset, true, place, rows),
        }
        let (start, end) = (self.start.position(), self.end.position().max(self.start.position()));
        for walker in &mut self.walkers {
            walker.move_to(start, end, rows);
        }
    }

    /// The answer of `function`, the `walker`th of those that walk.
    pub(super) fn answer<G: Weigh<W>>(&self, function: &Function, walker: usize, rows: &Rows<'_, W, G>) -> Value {
        let (start, end) = (self.start.position(), self.end.position().max(self.start.position()));
        match &function.kind {
            Kind::Nth { slot, n, ignore_nulls, default } => {
                self.nth((*slot, *n, *ignore_nulls), default, (start, end), rows)
            }
            kind if kind.walks() => self.walkers[walker].answer(),
            kind if start == end => kind.summed(0, &[0; W]),
            kind => {
                let (mut sums, before) = (rows.sums(&self.end), rows.sums(&self.start));
                for (sum, before) in sums.iter_mut().zip(&before) {
                    *sum = sum.wrapping_sub(*before);
                }
                kind.summed(end - start, &sums)
            }
        }
    }

    fn nth<G: Weigh<W>>(
        &self,
        (slot, n, ignore_nulls): (Slot, i64, bool),
        default: &Value,
        (start, end): (i64, i64),
        rows: &Rows<'_, W, G>,
    ) -> Value {
        if ignore_nulls {
            return self.nth_value((slot, n), default, (start, end), rows);
        }
        let at = if n > 0 { start.saturating_add(n - 1) } else { end.saturating_add(n) };
        if n == 0 || at < start || at >= end {
            return default.clone();
        }
        let spot = if at == start { self.start } else { rows.select(at) };
        let entry = rows.tree.get(&spot.cursor).expect("the place is inside of the partition");
        rows.layout.value(entry.payload(), slot)
    }

    /// The nth value that is not NULL.
    fn nth_value<G: Weigh<W>>(
        &self,
        (slot, n): (Slot, i64),
        default: &Value,
        (start, end): (i64, i64),
        rows: &Rows<'_, W, G>,
    ) -> Value {
        let mut left = n.abs();
        if n > 0 {
            let mut spot = self.start;
            while spot.position() < end {
                let entry = rows.tree.get(&spot.cursor).expect("the place is inside of the partition");
                let value = rows.layout.value(entry.payload(), slot);
                let copies = (entry.copies() - spot.copy).min(end - spot.position());
                if value != Value::Null {
                    left -= copies;
                    if left <= 0 {
                        return value;
                    }
                }
                rows.tree.step(&mut spot.cursor, rows.weigh);
                spot.copy = 0;
            }
            return default.clone();
        }
        let mut cursor = rows.select(end).cursor;
        let mut behind = end;
        loop {
            // The entry behind the cursor has rows before `behind`, or none yet.
            if let Some(entry) = rows.tree.get(&cursor) {
                let first = cursor.before.rows.max(start);
                let value = rows.layout.value(entry.payload(), slot);
                if behind > first && value != Value::Null {
                    left -= behind - first;
                    if left <= 0 {
                        return value;
                    }
                }
                behind = behind.min(first);
            }
            if behind <= start || !rows.tree.step_back(&mut cursor, rows.weigh) {
                return default.clone();
            }
        }
    }
}

/// Moves a bound of a frame to where it is for a row: before the frame's first row, or behind its last.
fn bound<const W: usize, G: Weigh<W>>(
    spot: &mut Spot<W>,
    units: FrameUnits,
    offset: &FrameOffset,
    is_end: bool,
    place: &Place<'_>,
    rows: &Rows<'_, W, G>,
) {
    let last = rows.len();
    let clamped = |position: i128| i64::try_from(position.clamp(0, i128::from(last))).expect("between 0 and an i64");
    match (units, offset) {
        (FrameUnits::Rows, offset) => {
            let count = if let FrameOffset::Count(count) = offset { *count } else { 0 };
            let position = i128::from(place.position).saturating_add(count).saturating_add(i128::from(is_end));
            rows.go(spot, clamped(position));
        }
        (FrameUnits::Range | FrameUnits::Groups, FrameOffset::Current) => {
            rows.go(spot, if is_end { place.peers.1 } else { place.peers.0 });
        }
        (FrameUnits::Groups, FrameOffset::Count(count)) => {
            let group = i128::from(place.group).saturating_add(*count).saturating_add(i128::from(is_end));
            let groups = rows.groups.totals().rows;
            let group = group.clamp(0, i128::from(groups));
            let cursor = rows.groups.select(i64::try_from(group).expect("between 0 and an i64"), &Weightless);
            match rows.groups.get(&cursor) {
                Some(first) => {
                    let prefix = first.key();
                    *spot = Spot { cursor: rows.tree.seek(|key| key < prefix, rows.weigh), copy: 0 };
                }
                None => *spot = Spot { cursor: rows.tree.end(), copy: 0 },
            }
        }
        (_, offset) => {
            let measure = measure_of(&place.entry.key()[..MEASURE_BYTES]);
            let bytes = measure_bytes(rows.measure.moved(measure, offset));
            if is_end {
                rows.go_while(spot, |key| key[..MEASURE_BYTES] <= bytes[..]);
            } else {
                rows.go_while(spot, |key| key[..MEASURE_BYTES] < bytes[..]);
            }
        }
    }
}

/// What is kept of a frame's rows where sums do not tell the answer.
struct Walker<const W: usize> {
    values: Walked,
    start: Spot<W>,
    end: Spot<W>,
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
}

impl<const W: usize> Walker<W> {
    fn move_to<G: Weigh<W>>(&mut self, start: i64, end: i64, rows: &Rows<'_, W, G>) {
        if start < self.start.position() || start >= self.end.position() || end < self.end.position() {
            // Nothing of the old frame is in the new one, or the frame moved back: begin anew.
            match &mut self.values {
                Walked::Floats { sum, count, .. } => (**sum, *count) = (FloatSum::default(), 0),
                Walked::Extreme { best, .. } => best.clear(),
            }
            self.start = rows.select(start);
            self.end = self.start;
        }
        let values = &mut self.values;
        rows.walk(&mut self.end, end, |entry, copies, behind| values.add(rows.layout, entry, copies, behind));
        rows.walk(&mut self.start, start, |entry, copies, _| values.remove(entry, copies));
        if let Walked::Extreme { best, .. } = values {
            while best.front().is_some_and(|(_, behind)| *behind <= start) {
                best.pop_front();
            }
        }
    }

    fn answer(&self) -> Value {
        match &self.values {
            Walked::Floats { count: 0, .. } => Value::Null,
            Walked::Floats { mean, sum, count, .. } => {
                float_value(if *mean { sum.value() / *count as f64 } else { sum.value() })
            }
            Walked::Extreme { best, .. } => best.front().map_or(Value::Null, |(value, _)| value.clone()),
        }
    }
}

impl Walked {
    fn add(&mut self, layout: &RowLayout, entry: &Entry, copies: i64, behind: i64) {
        match self {
            Walked::Floats { slot, sum, count, .. } => {
                if let Some(code) = code(entry.payload(), *slot) {
                    sum.add(float_of(code), copies);
                    *count += copies;
                }
            }
            Walked::Extreme { slot, least, best } => {
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
        }
    }

    fn remove(&mut self, entry: &Entry, copies: i64) {
        if let Walked::Floats { slot, sum, count, .. } = self
            && let Some(code) = code(entry.payload(), *slot)
        {
            sum.add(float_of(code), -copies);
            *count -= copies;
        }
    }
}
