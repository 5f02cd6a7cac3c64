//! Frames that move along with the rows they belong to.

use super::kind::{Function, Kind};
use super::measure::Measure;
use super::row::{MEASURE_BYTES, RowLayout, Slot, Value, measure_bytes, measure_of};
use super::walker::Walker;
use crate::expr::Recomputed;
use crate::plan::{Frame, FrameOffset, FrameUnits};
use crate::repr::{RowBlock, order_rows};
use crate::state::{Cursor, Entry, Ordered, Weigh, add_weights};

/// Entries that a bound steps over before it seeks instead.
const STEPS_MAX: usize = 64;
/// Entries that a bound is looked for back from its row before it is sought.
const STEPS_BACK: usize = 8;
/// Rows of a frame that are added up one by one; of more, what stands before the frame is taken from what stands before its
/// end.
const WALK_MAX: i64 = 32;

/// A place between rows, copies counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    cursor: Cursor,
    /// How many copies of the entry behind the cursor stand before the place.
    copy: i64,
}

impl Spot {
    pub(super) fn position(&self) -> i64 {
        self.cursor.rows + self.copy
    }
}

/// Where a bound of a frame belongs.
enum Bound<'a> {
    /// Before a row, by its place.
    Row(i64),
    /// At a place that is known already.
    At(Cursor),
    /// Before the first row whose key is not less.
    Key(&'a [u8]),
    /// The same.
    Measure([u8; MEASURE_BYTES]),
    /// Behind all rows.
    End,
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
        self.tree.rows()
    }

    /// The place before row `position`; behind all rows if there are not so many.
    pub(super) fn select(&self, position: i64) -> Spot {
        let cursor = self.tree.select(position);
        let copy = if self.tree.get(&cursor).is_some() { position - cursor.rows } else { 0 };
        Spot { cursor, copy }
    }

    /// Moves to a bound of the frame of the row at `place`. Where that is a few steps ahead of a spot that is `placed`, `pass`
    /// gets the entries on the way and how many of their copies were passed; the answer is whether it did.
    fn go(
        &self,
        (spot, placed): (&mut Spot, bool),
        bound: &Bound<'_>,
        place: &Place<'_>,
        pass: impl FnMut(Entry<'_>, i64),
    ) -> bool {
        let followed = placed
            && match bound {
                Bound::Row(to) => self.follow_to_row(spot, *to, pass),
                Bound::At(cursor) => self.follow_to_row(spot, cursor.rows, pass),
                Bound::Key(key) => self.follow_to_key(spot, key, pass),
                Bound::Measure(key) => self.follow_to_key(spot, key, pass),
                Bound::End => spot.position() == self.len(),
            };
        if !followed {
            let before = |cursor: Cursor| Spot { cursor, copy: 0 };
            *spot = match bound {
                Bound::Row(to) => self.select(*to),
                Bound::At(cursor) => before(*cursor),
                Bound::Key(key) => before(self.seek_from(place, key)),
                Bound::Measure(key) => before(self.seek_from(place, key)),
                Bound::End => before(self.tree.end()),
            };
        }
        followed
    }

    fn follow_to_row(&self, spot: &mut Spot, to: i64, mut pass: impl FnMut(Entry<'_>, i64)) -> bool {
        if spot.position() > to {
            return false;
        }
        for _ in 0..STEPS_MAX {
            let entry = match self.tree.get(&spot.cursor) {
                Some(entry) if spot.position() < to => entry,
                _ => return true,
            };
            let ahead = to - spot.cursor.rows;
            if ahead < entry.copies() {
                pass(entry, ahead - spot.copy);
                spot.copy = ahead;
                return true;
            }
            pass(entry, entry.copies() - spot.copy);
            self.tree.step(&mut spot.cursor);
            spot.copy = 0;
        }
        false
    }

    fn follow_to_key(&self, spot: &mut Spot, key: &[u8], mut pass: impl FnMut(Entry<'_>, i64)) -> bool {
        for _ in 0..STEPS_MAX {
            match self.tree.get(&spot.cursor) {
                Some(entry) if order_rows(entry.key(), key).is_lt() => {
                    pass(entry, entry.copies() - spot.copy);
                    self.tree.step(&mut spot.cursor);
                    spot.copy = 0;
                }
                _ => return true,
            }
        }
        false
    }

    /// The place before the first entry whose key is not less than `bound`, which often is near `place`.
    fn seek_from(&self, place: &Place<'_>, bound: &[u8]) -> Cursor {
        let near =
            order_rows(place.entry.key(), bound).is_ge().then(|| self.tree.seek_back(&place.cursor, bound, STEPS_BACK));
        near.flatten().unwrap_or_else(|| self.tree.seek(bound))
    }

    /// The sums of the rows from `spot` to row `to`; the negative of them if that stands before.
    fn sums_between(&self, spot: &Spot, to: i64) -> [i128; W] {
        let mut sums = [0; W];
        // What stands before either end of all rows is known, and the rest added up from the nearer side.
        let at_an_end = spot.position() == 0 || to == self.len();
        if !at_an_end && (0..=WALK_MAX).contains(&(to - spot.position())) {
            let mut spot = *spot;
            self.walk(&mut spot, to, |entry, copies, _| {
                add_weights(&mut sums, &self.weigh.weigh(entry.payload()), copies);
            });
            return sums;
        }
        let before = self.tree.sums_before(spot.position(), self.weigh);
        sums = self.tree.sums_before(to, self.weigh);
        for (sum, before) in sums.iter_mut().zip(&before) {
            *sum = sum.wrapping_sub(*before);
        }
        sums
    }

    /// Calls `visit` with entries and how many of their copies stand from `spot` to row `to`, and moves there.
    pub(super) fn walk(&self, spot: &mut Spot, to: i64, mut visit: impl FnMut(Entry<'_>, i64, i64)) {
        while spot.position() < to {
            let Some(entry) = self.tree.get(&spot.cursor) else { return };
            let copies = (entry.copies() - spot.copy).min(to - spot.position());
            let end = spot.position() + copies;
            visit(entry, copies, end);
            if spot.copy + copies == entry.copies() {
                self.tree.step(&mut spot.cursor);
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
    pub(super) entry: Entry<'a>,
    /// The place before its entry.
    pub(super) cursor: Cursor,
    /// The places before its first peer and behind its last.
    pub(super) peers: (Cursor, Cursor),
    /// How many groups of peers stand before its own, where groups are counted.
    pub(super) group: i64,
}

/// The functions that share a frame, and where the frame is.
pub(super) struct MovingFrame<const W: usize> {
    frame: Frame,
    /// Whether the bounds are where they were for some row.
    placed: bool,
    start: Spot,
    end: Spot,
    /// The sums of the rows between the bounds.
    sums: [i128; W],
    walkers: Vec<Walker>,
}

impl<const W: usize> MovingFrame<W> {
    /// A frame before the first row of a stretch. `functions` are those that share it.
    pub(super) fn new<'f, G: Weigh<W>>(
        frame: Frame,
        functions: impl Iterator<Item = &'f Function>,
        rows: &Rows<'_, W, G>,
    ) -> MovingFrame<W> {
        let spot = Spot { cursor: rows.tree.start(), copy: 0 };
        let walkers =
            functions.filter(|function| function.kind.walks()).map(|function| Walker::new(&function.kind, spot));
        MovingFrame { frame, placed: false, start: spot, end: spot, sums: [0; W], walkers: walkers.collect() }
    }

    /// Moves the frame to a row. Rows come in order.
    pub(super) fn move_to<G: Weigh<W>>(&mut self, place: &Place<'_>, rows: &Rows<'_, W, G>) {
        let (units, placed) = (self.frame.units, self.placed);
        let start = self.frame.start.map_or(Bound::Row(0), |offset| bound(units, &offset, false, place, rows));
        let end = self.frame.end.map_or(Bound::End, |offset| bound(units, &offset, true, place, rows));
        let sums = &mut self.sums;
        let mut pass = |entry: Entry<'_>, copies: i64| {
            if W > 0 {
                add_weights(sums, &rows.weigh.weigh(entry.payload()), copies);
            }
        };
        let end_followed = rows.go((&mut self.end, placed), &end, place, &mut pass);
        let followed = rows.go((&mut self.start, placed), &start, place, |entry, copies| pass(entry, -copies));
        if W > 0 && !(followed && end_followed) {
            self.sums = rows.sums_between(&self.start, self.end.position());
        }
        self.placed = true;
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
            Kind::Recomputed { place, function } => self.recomputed(*place, function, end, rows),
            kind if kind.walks() => self.walkers[walker].answer(),
            kind if start == end => kind.summed(0, &[0; W]),
            kind => kind.summed(end - start, &self.sums),
        }
    }

    /// The answer of a function over what it keeps of the rows up to `end`, in their order.
    fn recomputed<G: Weigh<W>>(&self, place: usize, function: &Recomputed, end: i64, rows: &Rows<'_, W, G>) -> Value {
        let (mut kept, mut counts) = (RowBlock::default(), Vec::new());
        let mut spot = self.start;
        rows.walk(&mut spot, end, |entry, copies, _| {
            if let Some(row) = rows.layout.bytes(entry.payload(), place) {
                kept.push(row);
                counts.push(copies);
            }
        });
        Value::Answer(function.answer(kept.iter().zip(counts)))
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
                rows.tree.step(&mut spot.cursor);
                spot.copy = 0;
            }
            return default.clone();
        }
        let mut cursor = rows.select(end).cursor;
        let mut behind = end;
        loop {
            // The entry behind the cursor has rows before `behind`, or none yet.
            if let Some(entry) = rows.tree.get(&cursor) {
                let first = cursor.rows.max(start);
                let value = rows.layout.value(entry.payload(), slot);
                if behind > first && value != Value::Null {
                    left -= behind - first;
                    if left <= 0 {
                        return value;
                    }
                }
                behind = behind.min(first);
            }
            if behind <= start || !rows.tree.step_back(&mut cursor) {
                return default.clone();
            }
        }
    }
}

/// Where a bound of a frame is for a row: before the frame's first row, or behind its last.
fn bound<'a, const W: usize, G: Weigh<W>>(
    units: FrameUnits,
    offset: &FrameOffset,
    is_end: bool,
    place: &Place<'_>,
    rows: &Rows<'a, W, G>,
) -> Bound<'a> {
    let clamped =
        |position: i128, last: i64| i64::try_from(position.clamp(0, i128::from(last))).expect("between 0 and an i64");
    match (units, offset) {
        (FrameUnits::Rows, offset) => {
            let count = if let FrameOffset::Count(count) = offset { *count } else { 0 };
            let position = i128::from(place.position).saturating_add(count).saturating_add(i128::from(is_end));
            Bound::Row(clamped(position, rows.len()))
        }
        (FrameUnits::Range | FrameUnits::Groups, FrameOffset::Current) => {
            Bound::At(if is_end { place.peers.1 } else { place.peers.0 })
        }
        (FrameUnits::Groups, FrameOffset::Count(count)) => {
            let group = i128::from(place.group).saturating_add(*count).saturating_add(i128::from(is_end));
            let cursor = rows.groups.select(clamped(group, rows.groups.rows()));
            rows.groups.get(&cursor).map_or(Bound::End, |first| Bound::Key(first.key()))
        }
        (_, offset) => {
            let measure = measure_of(&place.entry.key()[..MEASURE_BYTES]);
            match (rows.measure.moved(measure, offset), is_end) {
                (i128::MAX, true) => Bound::End,
                (bound, _) => Bound::Measure(measure_bytes(bound + i128::from(is_end))),
            }
        }
    }
}
