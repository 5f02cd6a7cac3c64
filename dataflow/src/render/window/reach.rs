//! Which rows' answers a change can touch: intervals of keys.
//!
//! They are found in the order as it was before the time's changes. For frames that count rows or groups that is enough: if
//! a row that stays is within k rows of a change afterwards, then the last change between the two, or that change itself, was
//! within k rows of it before.

use std::ops::Range;

use super::kind::Kind;
use super::measure::Measure;
use super::row::{MEASURE_BYTES, measure_bytes, measure_of, order_len};
use super::stretch::Asked;
use crate::plan::{Frame, FrameOffset, FrameUnits, Places, RowLimit};
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
#[derive(Default)]
pub(super) struct Intervals {
    bytes: Vec<u8>,
    intervals: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Intervals {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.intervals.clear();
    }

    fn keep(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        start..self.bytes.len()
    }

    /// Adds one; a bound may come in parts.
    pub(super) fn push(&mut self, low: &[&[u8]], high: Option<&[&[u8]]>) {
        let (low, high) = (self.keep(low), high.map(|high| self.keep(high)));
        self.intervals.push((low, high));
    }

    /// Sorts them and puts together those that touch each other.
    pub(super) fn merge(&mut self) {
        let Intervals { bytes, intervals } = self;
        let key = |range: &Range<usize>| &bytes[range.clone()];
        intervals.sort_unstable_by(|a, b| key(&a.0).cmp(key(&b.0)));
        intervals.retain(|(low, high)| high.as_ref().is_none_or(|high| key(low) < key(high)));
        intervals.dedup_by(|next, kept| {
            let Some(end) = &kept.1 else { return true };
            if key(end) < key(&next.0) {
                return false;
            }
            if next.1.as_ref().is_none_or(|high| key(end) < key(high)) {
                kept.1 = next.1.clone();
            }
            true
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let key = |range: &Range<usize>| &self.bytes[range.clone()];
        self.intervals.iter().map(move |(low, high)| (key(low), high.as_ref().map(key)))
    }
}

/// One partition before a time's changes.
pub(super) struct Reach<'a, const W: usize> {
    pub(super) rows: &'a Ordered<W>,
    pub(super) groups: &'a Ordered<0>,
    pub(super) measure: &'a Measure,
    /// Copies that the time takes away.
    pub(super) removed: i64,
}

impl<const W: usize> Reach<'_, W> {
    /// The rows that a change of the row `key` touches; its order's keys are the first `order` bytes.
    pub(super) fn of(&self, key: &[u8], order: usize, asked: &Asked, out: &mut Intervals) {
        let Asked { functions, limit, .. } = asked;
        let ranks = limit.is_some() || functions.iter().any(|function| function.kind.ranks());
        match limit.map(|limit| self.end_of(limit)) {
            Some(Some(end)) => out.push(&[key], Some(&[&end])),
            _ if ranks => out.push(&[key], None),
            _ => {}
        }
        out.push(&[key], Some(&[key, &[0]]));
        for function in functions {
            match function.kind {
                Kind::PercentRank | Kind::CumeDist | Kind::Ntile(_) => out.push(&[], None),
                ref kind if kind.ranks() => {}
                _ => self.frame(&function.frame, key, order, out),
            }
        }
    }

    /// The key behind everything that can move over the end of the limit.
    fn end_of(&self, limit: RowLimit) -> Option<Vec<u8>> {
        // No more groups can go than rows.
        let end = limit.end().saturating_add(self.removed);
        let entry = || self.rows.get(&self.rows.select(end));
        match limit.places {
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
            Some(last) => out.push(&[low], Some(&[last, &[0]])),
            None => out.push(&[low], None),
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
        out.push(&[low], high.as_ref().map(|high| [high.as_slice()]).as_ref().map(|high| &high[..]));
    }

    fn range_frame(&self, frame: &Frame, key: &[u8], order: usize, out: &mut Intervals) {
        let peers = |bound: &Option<FrameOffset>| matches!(bound, None | Some(FrameOffset::Current));
        if peers(&frame.start) && peers(&frame.end) {
            let low = if frame.end.is_some() { &key[..order] } else { &[] };
            match frame.start.and_then(|_| behind(&key[..order])) {
                Some(high) => out.push(&[low], Some(&[&high])),
                None => out.push(&[low], None),
            }
            return;
        }
        let measure = measure_of(&key[..MEASURE_BYTES]);
        let low = frame.end.as_ref().map(|offset| measure_bytes(self.measure.moved_here(measure, offset).0));
        let low = low.as_ref().map_or(&[][..], |low| &low[..]);
        let last = frame.start.as_ref().map(|offset| self.measure.moved_here(measure, offset).1);
        match last.and_then(|last| last.checked_add(1)) {
            Some(behind) => out.push(&[low], Some(&[&measure_bytes(behind)])),
            None => out.push(&[low], None),
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
