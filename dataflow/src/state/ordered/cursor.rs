//! Places between rows, how to get from one to another, and sums of what stands before them.

use super::{Entry, NONE, Ordered, Totals, Weigh, add_weights};
use crate::repr::order_rows;

/// A place before an entry, or behind all of them. Valid until the rows change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    leaf: u32,
    index: u32,
    /// The rows before the place, copies counted.
    pub(crate) rows: i64,
}

impl<const W: usize> Ordered<W> {
    /// The place before everything.
    pub(crate) fn start(&self) -> Cursor {
        self.settled(Cursor { leaf: 0, index: 0, rows: 0 })
    }

    /// The place behind everything.
    pub(crate) fn end(&self) -> Cursor {
        let mut leaf = 0;
        if let Some(nodes) = &self.nodes {
            leaf = nodes.root;
            for _ in 0..nodes.depth {
                leaf = nodes.inners[leaf as usize].slots.last().expect("an inner node has children").value.at;
            }
        }
        let index = u32::try_from(self.leaf(leaf).entries.len()).expect("a leaf is small");
        Cursor { leaf, index, rows: self.totals.rows }
    }

    /// The place before the first entry whose key is not less than `bound`.
    pub(crate) fn seek(&self, bound: &[u8]) -> Cursor {
        let (mut rows, mut leaf) = (0, 0);
        if let Some(nodes) = &self.nodes {
            leaf = nodes.root;
            for _ in 0..nodes.depth {
                let children = &nodes.inners[leaf as usize];
                let child = children.lower(bound).saturating_sub(1);
                rows += children.slots[..child].iter().map(|child| child.value.totals.rows).sum::<i64>();
                leaf = children.slots[child].value.at;
            }
        }
        let entries = &self.leaf(leaf).entries;
        let index = entries.lower(bound);
        rows += entries.slots[..index].iter().map(|slot| slot.value).sum::<i64>();
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
        let mut rows = 0;
        let leaf = self.descend(position, |totals| rows += totals.rows);
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

    /// The leaf that row `position` is in; `pass` gets the totals of the subtrees before it.
    fn descend(&self, position: i64, mut pass: impl FnMut(&Totals<W>)) -> u32 {
        let Some(nodes) = &self.nodes else { return 0 };
        let (mut rows, mut at) = (0, nodes.root);
        for _ in 0..nodes.depth {
            let (last, others) = nodes.inners[at as usize].slots.split_last().expect("an inner node has children");
            at = last.value.at;
            for child in others {
                if rows + child.value.totals.rows > position {
                    at = child.value.at;
                    break;
                }
                rows += child.value.totals.rows;
                pass(&child.value.totals);
            }
        }
        at
    }

    /// The sums over the first `position` rows, copies counted.
    pub(crate) fn sums_before(&self, position: i64, weigh: &impl Weigh<W>) -> [i128; W] {
        if position >= self.totals.rows {
            return self.totals.sums;
        }
        let mut before = Totals::default();
        let leaf = self.descend(position, |totals| before.merge(totals));
        let entries = &self.leaf(leaf).entries;
        for (index, slot) in entries.slots.iter().enumerate() {
            let copies = slot.value.min(position - before.rows);
            if copies <= 0 {
                break;
            }
            let (key, bytes) = entries.string(index);
            before.rows += copies;
            add_weights(&mut before.sums, &weigh.weigh(&bytes[key..]), copies);
        }
        before.sums
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
