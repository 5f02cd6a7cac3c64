//! Which rows' answers a change can touch: intervals of keys.
//!
//! They are found in the order as it was before the time's changes. For frames that count rows or groups that is enough: if
//! a row that stays is within k rows of a change afterwards, then the last change between the two, or that change itself, was
//! within k rows of it before.

use std::ops::Range;

use super::measure::Measure;
use super::row::{MEASURE_BYTES, measure_bytes, measure_of, order_len};
use super::stretch::Asked;
use crate::plan::{Frame, FrameOffset, FrameUnits, Places, RowLimit};
use crate::repr::order_rows;
use crate::state::Ordered;

/// The least bytes above everything that begins with `prefix`.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Some(bytes);
        }
        bytes.pop();
    }
    None
}

/// Intervals of keys: from one key on and below another, or without an end. Their bytes stand in one buffer.
///
/// Those that come in order are put together as they come.
#[derive(Default)]
pub(super) struct Intervals {
    bytes: Vec<u8>,
    intervals: Vec<Interval>,
    /// Whether one began before the one that came before it.
    disordered: bool,
}

type Interval = (Range<usize>, Option<Range<usize>>);

impl Intervals {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.intervals.clear();
        self.disordered = false;
    }

    fn keep(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        start..self.bytes.len()
    }

    /// Adds one; its end may come in parts.
    pub(super) fn push(&mut self, low: &[u8], high: Option<&[&[u8]]>) {
        let interval = (self.keep(&[low]), high.map(|high| self.keep(high)));
        let Intervals { bytes, intervals, disordered } = self;
        *disordered |= intervals.last().is_some_and(|last| order_rows(low, &bytes[last.0.clone()]).is_lt());
        put(bytes, intervals, interval, *disordered);
    }

    /// Adds one of a single key.
    pub(super) fn push_key(&mut self, key: &[u8]) {
        if let Some((low, high)) = self.intervals.last() {
            let bound = |range: &Range<usize>| &self.bytes[range.clone()];
            let below = |high: &Range<usize>| order_rows(key, bound(high)).is_lt();
            if order_rows(key, bound(low)).is_ge() && high.as_ref().is_none_or(below) {
                return;
            }
        }
        self.push(key, Some(&[key, &[0]]));
    }

    /// Puts together those that touch each other, and sorts them.
    pub(super) fn merge(&mut self) {
        if !self.disordered {
            return;
        }
        let Intervals { bytes, intervals, disordered } = self;
        let low = |interval: &Interval| &bytes[interval.0.clone()];
        intervals.sort_unstable_by(|a, b| order_rows(low(a), low(b)));
        for interval in std::mem::take(intervals) {
            put(bytes, intervals, interval, false);
        }
        *disordered = false;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let key = |range: &Range<usize>| &self.bytes[range.clone()];
        self.intervals.iter().map(move |(low, high)| (key(low), high.as_ref().map(key)))
    }
}

/// Adds an interval to others, none of which begins behind it; to those that are disordered, as it is.
fn put(bytes: &[u8], intervals: &mut Vec<Interval>, (low, high): Interval, disordered: bool) {
    let bound = |range: &Range<usize>| &bytes[range.clone()];
    let ends_before = |end: &Range<usize>, bound: &[u8]| order_rows(&bytes[end.clone()], bound).is_lt();
    if let Some(last) = intervals.last_mut().filter(|_| !disordered)
        && last.1.as_ref().is_none_or(|end| !ends_before(end, bound(&low)))
    {
        let further = |end: &Range<usize>| high.as_ref().is_none_or(|high| ends_before(end, bound(high)));
        if last.1.as_ref().is_some_and(further) {
            last.1 = high;
        }
        return;
    }
    if high.as_ref().is_none_or(|high| ends_before(&low, bound(high))) {
        intervals.push((low, high));
    }
}

/// One partition before a time's changes.
pub(super) struct Reach<'a, const W: usize> {
    rows: &'a Ordered<W>,
    groups: &'a Ordered<0>,
    measure: &'a Measure,
    /// Where there is a limit, the key behind everything that can move over its end; `None` if there is nothing behind.
    end: Option<Option<Vec<u8>>>,
}

impl<'a, const W: usize> Reach<'a, W> {
    /// What changes reach that take away `removed` copies in all.
    pub(super) fn new(
        (rows, groups): (&'a Ordered<W>, &'a Ordered<0>),
        measure: &'a Measure,
        limit: Option<RowLimit>,
        removed: i64,
    ) -> Reach<'a, W> {
        let reach = Reach { rows, groups, measure, end: None };
        // No more groups can go than rows.
        let end = limit.map(|limit| reach.end_of(limit.places, limit.end().saturating_add(removed)));
        Reach { end, ..reach }
    }

    /// The rows that a change of the row `key` touches; its order's keys are the first `order` bytes.
    pub(super) fn of(&self, key: &[u8], order: usize, asked: &Asked, out: &mut Intervals) {
        if asked.of_all {
            out.push(&[], None);
        }
        // What begins first goes first.
        asked.frames.iter().for_each(|frame| self.frame(frame, key, order, out));
        match &self.end {
            Some(Some(end)) => out.push(key, Some(&[end])),
            Some(None) => out.push(key, None),
            None if asked.ranks => out.push(key, None),
            None => {}
        }
        out.push_key(key);
    }

    /// The key behind place `end`.
    fn end_of(&self, places: Places, end: i64) -> Option<Vec<u8>> {
        let entry = || self.rows.get(&self.rows.select(end));
        match places {
            // The entry itself may have copies before the end.
            Places::Rows => entry().map(|entry| [entry.key(), &[0]].concat()),
            // And peers.
            Places::FirstPeers => entry().and_then(|entry| behind(&entry.key()[..order_len(entry.payload())])),
            Places::Groups => behind(self.groups.get(&self.groups.select(end))?.key()),
        }
    }

    fn frame(&self, frame: &Frame, key: &[u8], order: usize, out: &mut Intervals) {
        match frame.units {
            FrameUnits::Rows => self.rows_frame(frame, key, out),
            FrameUnits::Groups => self.groups_frame(frame, &key[..order], out),
            FrameUnits::Range => self.range_frame(frame, key, order, out),
        }
    }

    fn rows_frame(&self, frame: &Frame, key: &[u8], out: &mut Intervals) {
        let at = self.rows.seek(key);
        let copies = self.rows.get(&at).filter(|entry| entry.key() == key).map_or(0, |entry| entry.copies());
        let (before, behind) = counted(frame);
        let low = before.map_or(&[][..], |before| {
            let first = at.rows.saturating_sub(before).max(0);
            self.key_at(first).map_or(key, |low| low.min(key))
        });
        let high = behind.and_then(|behind| {
            let last = at.rows.saturating_add(copies).saturating_add(behind).saturating_sub(1);
            Some(self.key_at(last.max(0))?.max(key))
        });
        match high {
            Some(last) => out.push(low, Some(&[last, &[0]])),
            None => out.push(low, None),
        }
    }

    fn key_at(&self, position: i64) -> Option<&[u8]> {
        self.rows.get(&self.rows.select(position)).map(|entry| entry.key())
    }

    fn groups_frame(&self, frame: &Frame, prefix: &[u8], out: &mut Intervals) {
        let at = self.groups.seek(prefix).rows;
        let group = |index: i64| self.groups.get(&self.groups.select(index)).map(|entry| entry.key());
        let (before, after) = counted(frame);
        // One group more on each side: the change may make or end a group.
        let low = before.map_or(&[][..], |before| {
            let first = at.saturating_sub(before).saturating_sub(1).max(0);
            group(first).map_or(prefix, |low| low.min(prefix))
        });
        let high = after.and_then(|after| {
            let last = group(at.saturating_add(after).saturating_add(1))?;
            behind(last.max(prefix))
        });
        out.push(low, high.as_ref().map(|high| [high.as_slice()]).as_ref().map(|high| &high[..]));
    }

    fn range_frame(&self, frame: &Frame, key: &[u8], order: usize, out: &mut Intervals) {
        let peers = |bound: &Option<FrameOffset>| matches!(bound, None | Some(FrameOffset::Current));
        if peers(&frame.start) && peers(&frame.end) {
            let low = if frame.end.is_some() { &key[..order] } else { &[] };
            match frame.start.and_then(|_| behind(&key[..order])) {
                Some(high) => out.push(low, Some(&[&high])),
                None => out.push(low, None),
            }
            return;
        }
        let measure = measure_of(&key[..MEASURE_BYTES]);
        let low = frame.end.as_ref().map(|offset| measure_bytes(self.measure.moved_here(measure, offset).0));
        let low = low.as_ref().map_or(&[][..], |low| &low[..]);
        let last = frame.start.as_ref().map(|offset| self.measure.moved_here(measure, offset).1);
        match last.and_then(|last| last.checked_add(1)) {
            Some(behind) => out.push(low, Some(&[&measure_bytes(behind)])),
            None => out.push(low, None),
        }
    }
}

/// How many rows or groups before and behind a change see it or count over it; `None` for all.
fn counted(frame: &Frame) -> (Option<i64>, Option<i64>) {
    let count = |offset: FrameOffset| match offset {
        FrameOffset::Count(count) => i64::try_from(count).unwrap_or(if count < 0 { i64::MIN } else { i64::MAX }),
        _ => 0,
    };
    let before = frame.end.map(|end| count(end).max(0));
    let behind = frame.start.map(|start| count(start).saturating_neg().max(0));
    (before, behind)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A key: some are the beginning of others.
    fn key(random: &mut ChaCha8Rng, least: u8) -> Vec<u8> {
        let beginning = random.random_range(least..least.saturating_add(20));
        if random.random_bool(0.3) { vec![beginning; 20] } else { vec![beginning] }
    }

    #[test]
    fn together_they_hold_what_each_holds() {
        for seed in 0..300 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut intervals, mut plain) = (Intervals::default(), Vec::new());
            for step in 0..random.random_range(1..20u8) {
                // Mostly in order, as changes are.
                let from = if seed % 2 == 0 { step * 9 } else { random.random_range(0..200) };
                let (low, high) = (key(&mut random, from), key(&mut random, from));
                match random.random_range(0..20) {
                    0 => {
                        intervals.push(&low, None);
                        plain.push((low, None));
                    }
                    1..6 => {
                        intervals.push_key(&low);
                        plain.push((low.clone(), Some([&low[..], &[0]].concat())));
                    }
                    _ => {
                        intervals.push(&low, Some(&[&high, &[0]]));
                        plain.push((low, Some([&high[..], &[0]].concat())));
                    }
                }
            }
            intervals.merge();
            let holds = |low: &[u8], high: Option<&[u8]>, key: &[u8]| low <= key && high.is_none_or(|high| key < high);
            for _ in 0..300 {
                let least = random.random_range(0..220);
                let key = key(&mut random, least);
                let wanted = plain.iter().any(|(low, high)| holds(low, high.as_deref(), &key));
                // In one of them, never in two.
                let found = intervals.iter().filter(|(low, high)| holds(low, *high, &key)).count();
                assert_eq!(found, usize::from(wanted), "seed {seed}, key {key:?}");
            }
            let lows: Vec<&[u8]> = intervals.iter().map(|(low, _)| low).collect();
            assert!(lows.is_sorted(), "seed {seed}");
        }
    }
}
