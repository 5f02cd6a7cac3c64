//! Which rows' answers a change can touch: intervals of keys.
//!
//! They are found in the order as it was before the time's changes. For frames that count rows or groups that is enough: if
//! a row that stays is within k rows of a change afterwards, then the last change between the two, or that change itself, was
//! within k rows of it before.

use super::kind::{Function, Kind};
use super::measure::Measure;
use super::row::{MEASURE_BYTES, measure_bytes, measure_of};
use crate::plan::{Frame, FrameOffset, FrameUnits, RowLimit};
use crate::state::{Cursor, Ordered, Weigh, Weightless};

/// Keys from the first on and below the second; `None` for no end.
pub(super) type Interval = (Vec<u8>, Option<Vec<u8>>);

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

/// Sorted intervals that do not touch each other.
pub(super) fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by(|a, b| a.0.cmp(&b.0));
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for (low, high) in intervals {
        if let Some((_, last)) = merged.last_mut()
            && last.as_ref().is_none_or(|last| *last >= low)
        {
            if high.is_none() || last.as_ref().is_some_and(|last| high.as_ref().is_some_and(|high| last < high)) {
                *last = high;
            }
            continue;
        }
        if high.as_ref().is_none_or(|high| low < *high) {
            merged.push((low, high));
        }
    }
    merged
}

/// One partition before a time's changes.
pub(super) struct Reach<'a, const W: usize, G: Weigh<W>> {
    pub(super) rows: &'a Ordered<W>,
    pub(super) groups: &'a Ordered<0>,
    pub(super) weigh: &'a G,
    pub(super) measure: &'a Measure,
    /// Copies that the time takes away.
    pub(super) removed: i64,
}

impl<const W: usize, G: Weigh<W>> Reach<'_, W, G> {
    /// The rows that a change of the row `key` touches; its order's keys are the first `order` bytes.
    pub(super) fn of(
        &self,
        key: &[u8],
        order: usize,
        functions: &[Function],
        limit: Option<RowLimit>,
        out: &mut Vec<Interval>,
    ) {
        out.push((key.to_vec(), Some([key, &[0]].concat())));
        if limit.is_some() || functions.iter().any(|function| function.kind.ranks()) {
            out.push((key.to_vec(), limit.and_then(|limit| self.end_of(limit))));
        }
        for function in functions {
            match function.kind {
                Kind::PercentRank | Kind::CumeDist | Kind::Ntile(_) => out.push((Vec::new(), None)),
                ref kind if kind.ranks() => {}
                _ => out.push(self.frame(&function.frame, key, order)),
            }
        }
    }

    /// The key behind everything that can move over the end of the limit.
    fn end_of(&self, limit: RowLimit) -> Option<Vec<u8>> {
        let cursor = self.rows.select(limit.end().saturating_add(self.removed), self.weigh);
        // The entry itself may have copies before the end.
        self.rows.get(&cursor).map(|entry| [entry.key(), &[0]].concat())
    }

    fn frame(&self, frame: &Frame, key: &[u8], order: usize) -> Interval {
        match frame.units {
            FrameUnits::Rows => self.rows_frame(frame, key),
            FrameUnits::Groups => self.groups_frame(frame, &key[..order]),
            FrameUnits::Range => self.range_frame(frame, key, order),
        }
    }

    fn rows_frame(&self, frame: &Frame, key: &[u8]) -> Interval {
        let at = self.rows.seek(|found| found < key, self.weigh);
        let copies = self.rows.get(&at).filter(|entry| entry.key() == key).map_or(0, |entry| entry.copies());
        let (before, behind) = counted(frame);
        let low = before.map_or_else(Vec::new, |before| {
            let first = at.before.rows.saturating_sub(before).max(0);
            self.key_at(first).map_or_else(|| key.to_vec(), |low| low.min(key.to_vec()))
        });
        let high = behind.and_then(|behind| {
            let last = at.before.rows.saturating_add(copies).saturating_add(behind).saturating_sub(1);
            let last = self.key_at(last.max(0))?;
            Some([last.max(key.to_vec()), vec![0]].concat())
        });
        (low, high)
    }

    fn key_at(&self, position: i64) -> Option<Vec<u8>> {
        let cursor: Cursor<W> = self.rows.select(position, self.weigh);
        self.rows.get(&cursor).map(|entry| entry.key().to_vec())
    }

    fn groups_frame(&self, frame: &Frame, prefix: &[u8]) -> Interval {
        let at = self.groups.seek(|found| found < prefix, &Weightless).before.entries;
        let group = |index: i64| {
            let cursor = self.groups.select(index, &Weightless);
            self.groups.get(&cursor).map(|entry| entry.key().to_vec())
        };
        let (before, after) = counted(frame);
        // One group more on each side: the change may make or end a group.
        let low = before.map_or_else(Vec::new, |before| {
            let first = at.saturating_sub(before).saturating_sub(1).max(0);
            group(first).map_or_else(|| prefix.to_vec(), |low| low.min(prefix.to_vec()))
        });
        let high = after.and_then(|after| {
            let last = group(at.saturating_add(after).saturating_add(1))?;
            behind(&last.max(prefix.to_vec()))
        });
        (low, high)
    }

    fn range_frame(&self, frame: &Frame, key: &[u8], order: usize) -> Interval {
        let peers = |bound: &Option<FrameOffset>| matches!(bound, None | Some(FrameOffset::Current));
        if peers(&frame.start) && peers(&frame.end) {
            let low = if frame.end.is_some() { key[..order].to_vec() } else { Vec::new() };
            let high = if frame.start.is_some() { behind(&key[..order]) } else { None };
            return (low, high);
        }
        let measure = measure_of(&key[..MEASURE_BYTES]);
        let low = match &frame.end {
            Some(offset) => measure_bytes(self.measure.moved_here(measure, offset).0).to_vec(),
            None => Vec::new(),
        };
        let high =
            frame.start.as_ref().and_then(|offset| behind(&measure_bytes(self.measure.moved_here(measure, offset).1)));
        (low, high)
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
