//! Places between rows, how to get from one to another, and sums of what stands before them.

use super::{Child, Entry, NONE, Ordered, Totals, Weigh};
use crate::repr::order_rows;

/// A place before an entry, or behind all of them. Valid until the rows change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    leaf: u32,
    index: u32,
    /// The rows before the place, copies counted.
    pub(crate) rows: i64,
}

/// What rows add up to, as far as it is asked for.
trait Part<const W: usize>: Copy + Default {
    fn of(totals: &Totals<W>) -> Self;
    fn rows(&self) -> i64;
    fn merge(&mut self, totals: &Totals<W>);
    fn subtract(&mut self, totals: &Totals<W>);
}

impl<const W: usize> Part<W> for Totals<W> {
    fn of(totals: &Totals<W>) -> Totals<W> {
        *totals
    }

    fn rows(&self) -> i64 {
        self.rows
    }

    fn merge(&mut self, totals: &Totals<W>) {
        Totals::merge(self, totals);
    }

    fn subtract(&mut self, totals: &Totals<W>) {
        Totals::subtract(self, totals);
    }
}

/// The rows alone.
impl<const W: usize> Part<W> for i64 {
    fn of(totals: &Totals<W>) -> i64 {
        totals.rows
    }

    fn rows(&self) -> i64 {
        *self
    }

    fn merge(&mut self, totals: &Totals<W>) {
        *self += totals.rows;
    }

    fn subtract(&mut self, totals: &Totals<W>) {
        *self -= totals.rows;
    }
}

/// Whether a row between the ends of `before` and `through` is nearer to the former.
#[inline]
fn nearer_to_start(position: i64, before: i64, through: i64) -> bool {
    position - before <= through - position
}

impl<const W: usize> Ordered<W> {
    /// The place before everything.
    pub(crate) fn start(&self) -> Cursor {
        self.settled(Cursor { leaf: 0, index: 0, rows: 0 })
    }

    /// The place behind everything.
    pub(crate) fn end(&self) -> Cursor {
        let leaf = self.nodes.as_ref().map_or(0, |nodes| nodes.last);
        let index = u32::try_from(self.leaf(leaf).entries.len()).expect("a leaf is small");
        Cursor { leaf, index, rows: self.totals.rows }
    }

    /// The place before the first entry whose key is not less than `bound`.
    pub(crate) fn seek(&self, bound: &[u8]) -> Cursor {
        let (mut rows, mut leaf, mut all) = (0, 0, self.totals.rows);
        if let Some(nodes) = &self.nodes {
            leaf = nodes.root;
            for _ in 0..nodes.depth {
                let children = &nodes.inners[leaf as usize];
                let child = children.lower(bound).saturating_sub(1);
                rows += children.sum_before(child, all, Child::rows);
                (leaf, all) = (children.slots[child].value.at, children.slots[child].value.rows());
            }
        }
        let entries = &self.leaf(leaf).entries;
        let index = entries.lower(bound);
        rows += entries.sum_before(index, all, |copies| *copies);
        self.settled(Cursor { leaf, index: u32::try_from(index).expect("a leaf is small"), rows })
    }

    /// The same, sought up to `steps` entries back from an entry that is not less than `bound`; `None` if it is further away.
    pub(crate) fn seek_back(&self, from: &Cursor, bound: &[u8], steps: usize) -> Option<Cursor> {
        let mut found = *from;
        for _ in 0..steps {
            let mut before = found;
            if !self.step_back(&mut before) {
                return Some(found);
            }
            if self.get(&before).is_some_and(|entry| order_rows(entry.key(), bound).is_lt()) {
                return Some(found);
            }
            found = before;
        }
        None
    }

    /// The place before the entry that has row `position`, counted from 0 with copies; behind everything if there are not
    /// so many rows.
    pub(crate) fn select(&self, position: i64) -> Cursor {
        let (leaf, mut rows, _) = self.descend::<i64>(position);
        let slots = &self.leaf(leaf).entries.slots;
        let mut index = 0;
        while let Some(slot) = slots.get(index)
            && rows + slot.value <= position
        {
            rows += slot.value;
            index += 1;
        }
        self.settled(Cursor { leaf, index: u32::try_from(index).expect("a leaf is small"), rows })
    }

    /// The leaf that row `position` is in, what stands before it, and what stands before its end.
    fn descend<P: Part<W>>(&self, position: i64) -> (u32, P, P) {
        let (mut at, mut before, mut through) = (0, P::default(), P::of(&self.totals));
        let Some(nodes) = &self.nodes else { return (at, before, through) };
        at = nodes.root;
        for _ in 0..nodes.depth {
            let children = &nodes.inners[at as usize].slots;
            let (first, last) = (&children[0].value, children.last().expect("an inner node has children"));
            if nearer_to_start(position, before.rows(), through.rows()) {
                at = last.value.at;
                for child in children {
                    let mut end = before;
                    end.merge(&child.value.totals);
                    if end.rows() > position {
                        (at, through) = (child.value.at, end);
                        break;
                    }
                    before = end;
                }
            } else {
                at = first.at;
                for child in children[1..].iter().rev() {
                    let mut start = through;
                    start.subtract(&child.value.totals);
                    if start.rows() <= position {
                        (at, before) = (child.value.at, start);
                        break;
                    }
                    through = start;
                }
            }
        }
        (at, before, through)
    }

    /// The sums over the first `position` rows, copies counted.
    pub(crate) fn sums_before(&self, position: i64, weigh: &impl Weigh<W>) -> [i128; W] {
        if position <= 0 {
            return [0; W];
        }
        if position >= self.totals.rows {
            return self.totals.sums;
        }
        let (leaf, mut before, mut through) = self.descend::<Totals<W>>(position);
        let entries = &self.leaf(leaf).entries;
        let weights = |index: usize| {
            let (key, bytes) = entries.string(index);
            weigh.weigh(&bytes[key..])
        };
        if nearer_to_start(position, before.rows, through.rows) {
            for (index, slot) in entries.slots.iter().enumerate() {
                let copies = slot.value.min(position - before.rows);
                if copies <= 0 {
                    break;
                }
                before.add(&weights(index), copies);
            }
            return before.sums;
        }
        for (index, slot) in entries.slots.iter().enumerate().rev() {
            let copies = slot.value.min(through.rows - position);
            if copies <= 0 {
                break;
            }
            through.add(&weights(index), -copies);
        }
        through.sums
    }

    /// A place at the end of a leaf is the one at the beginning of the next.
    #[inline]
    fn settled(&self, mut cursor: Cursor) -> Cursor {
        while cursor.index as usize >= self.leaf(cursor.leaf).entries.len() {
            let next = self.leaf(cursor.leaf).next;
            if next == NONE {
                break;
            }
            (cursor.leaf, cursor.index) = (next, 0);
        }
        cursor
    }

    /// The entry behind the place.
    #[inline]
    pub(crate) fn get(&self, cursor: &Cursor) -> Option<Entry<'_>> {
        let entries = &self.leaf(cursor.leaf).entries;
        let index = cursor.index as usize;
        let copies = entries.slots.get(index)?.value;
        let (key, bytes) = entries.string(index);
        Some(Entry { bytes, key, copies })
    }

    /// Moves over the entry behind the place. Does nothing at the end.
    #[inline]
    pub(crate) fn step(&self, cursor: &mut Cursor) {
        let Some(slot) = self.leaf(cursor.leaf).entries.slots.get(cursor.index as usize) else { return };
        cursor.rows += slot.value;
        cursor.index += 1;
        *cursor = self.settled(*cursor);
    }

    /// Moves back over the entry before the place; `false` if there is none.
    pub(crate) fn step_back(&self, cursor: &mut Cursor) -> bool {
        while cursor.index == 0 {
            let previous = self.leaf(cursor.leaf).previous;
            if previous == NONE {
                return false;
            }
            let len = self.leaf(previous).entries.len();
            (cursor.leaf, cursor.index) = (previous, u32::try_from(len).expect("a leaf is small"));
        }
        cursor.index -= 1;
        cursor.rows -= self.leaf(cursor.leaf).entries.slots[cursor.index as usize].value;
        true
    }
}
