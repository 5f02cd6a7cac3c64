//! Places between rows, and how to get from one to another.

use super::{Entry, NONE, Ordered, Totals, Weigh};

/// A place before an entry, or behind all of them, with what stands before it. Valid until the rows change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<const W: usize> {
    leaf: u32,
    index: u32,
    /// What the entries before the place add up to.
    pub(crate) before: Totals<W>,
}

impl<const W: usize> Ordered<W> {
    /// The place before everything.
    pub(crate) fn start(&self) -> Cursor<W> {
        let mut at = self.root;
        for _ in 0..self.depth {
            at = self.inners[at as usize][0].at;
        }
        self.settled(Cursor { leaf: at, index: 0, before: Totals::default() })
    }

    /// The place behind everything.
    pub(crate) fn end(&self) -> Cursor<W> {
        let mut at = self.root;
        for _ in 0..self.depth {
            at = self.inners[at as usize].last().expect("an inner node has children").at;
        }
        let index = u32::try_from(self.leaves[at as usize].entries.len()).expect("a leaf is small");
        Cursor { leaf: at, index, before: self.totals }
    }

    /// The place before the first entry whose key does not satisfy `less`, which must hold for the keys up to some place and
    /// for none behind it.
    pub(crate) fn seek(&self, less: impl Fn(&[u8]) -> bool, weigh: &impl Weigh<W>) -> Cursor<W> {
        let mut before = Totals::default();
        let mut at = self.root;
        for _ in 0..self.depth {
            let children = &self.inners[at as usize];
            let child = children[1..].partition_point(|child| less(&child.least));
            children[..child].iter().for_each(|child| before.merge(&child.totals));
            at = children[child].at;
        }
        let index = self.leaves[at as usize].entries.partition_point(|entry| less(entry.key()));
        self.in_leaf(at, index, before, weigh)
    }

    /// The place before the entry that has row `position`, counted from 0 with copies; behind everything if there are not
    /// so many rows.
    pub(crate) fn select(&self, position: i64, weigh: &impl Weigh<W>) -> Cursor<W> {
        let mut before = Totals::default();
        let mut at = self.root;
        for _ in 0..self.depth {
            let children = &self.inners[at as usize];
            let mut child = 0;
            while child + 1 < children.len() && before.rows + children[child].totals.rows <= position {
                before.merge(&children[child].totals);
                child += 1;
            }
            at = children[child].at;
        }
        let entries = &self.leaves[at as usize].entries;
        let mut rows = before.rows;
        let index = entries.iter().position(|entry| {
            rows += entry.copies;
            rows > position
        });
        self.in_leaf(at, index.unwrap_or(entries.len()), before, weigh)
    }

    fn in_leaf(&self, leaf: u32, index: usize, mut before: Totals<W>, weigh: &impl Weigh<W>) -> Cursor<W> {
        for entry in &self.leaves[leaf as usize].entries[..index] {
            before.add(&weigh.weigh(entry.payload()), entry.copies, 1);
        }
        self.settled(Cursor { leaf, index: u32::try_from(index).expect("a leaf is small"), before })
    }

    /// A place at the end of a leaf is the one at the beginning of the next.
    #[inline]
    fn settled(&self, mut cursor: Cursor<W>) -> Cursor<W> {
        while cursor.index as usize >= self.leaves[cursor.leaf as usize].entries.len() {
            let next = self.leaves[cursor.leaf as usize].next;
            if next == NONE {
                break;
            }
            (cursor.leaf, cursor.index) = (next, 0);
        }
        cursor
    }

    /// The entry behind the place.
    #[inline]
    pub(crate) fn get(&self, cursor: &Cursor<W>) -> Option<&Entry> {
        self.leaves[cursor.leaf as usize].entries.get(cursor.index as usize)
    }

    /// Moves over the entry behind the place. Does nothing at the end.
    #[inline]
    pub(crate) fn step(&self, cursor: &mut Cursor<W>, weigh: &impl Weigh<W>) {
        let Some(entry) = self.get(cursor) else { return };
        cursor.before.add(&weigh.weigh(entry.payload()), entry.copies, 1);
        cursor.index += 1;
        *cursor = self.settled(*cursor);
    }

    /// Moves back over the entry before the place; `false` if there is none.
    pub(crate) fn step_back(&self, cursor: &mut Cursor<W>, weigh: &impl Weigh<W>) -> bool {
        while cursor.index == 0 {
            let previous = self.leaves[cursor.leaf as usize].previous;
            if previous == NONE {
                return false;
            }
            let len = self.leaves[previous as usize].entries.len();
            (cursor.leaf, cursor.index) = (previous, u32::try_from(len).expect("a leaf is small"));
        }
        cursor.index -= 1;
        let entry = &self.leaves[cursor.leaf as usize].entries[cursor.index as usize];
        cursor.before.add(&weigh.weigh(entry.payload()), -entry.copies, -1);
        true
    }
}
