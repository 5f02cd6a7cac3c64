//! What a node of the tree holds: byte strings in order, each with a value.
//!
//! The strings stand in one buffer. Beside each stands a number made of the eight bytes that follow what all keys of the node
//! begin with, so that most comparisons are of integers that stand close together (R. Bayer and K. Unterauer, "Prefix
//! B-Trees", ACM TODS 2(1), 1977; G. Graefe and P.-A. Larson, "B-Tree Indexes and CPU Caches", ICDE 2001).

use std::cmp::Ordering;

use prefetch_index::prefetch_index;

use super::LEAF;
use crate::repr::same_bytes;

/// Bytes that belong to no string before a node is written anew for them.
const UNUSED_MIN: u32 = 512;

/// A node that is written anew has room for this part of its strings more.
const SPARE_PART: usize = 4;

/// Most nodes are the only ones of small partitions: up to so many strings there is no room for more than twice as many.
const SMALL: usize = 4;

/// The most strings that a node has, before it splits: leaves have more than inner nodes.
const MOST: usize = LEAF + 1;

#[derive(Debug)]
pub(super) struct Slot<T> {
    head: u64,
    at: u32,
    /// The length of the key, and of all.
    key: u32,
    len: u32,
    pub(super) value: T,
}

/// Different keys in order, each followed by what else is kept of it, and a value.
#[derive(Debug)]
pub(super) struct Node<T> {
    pub(super) slots: Vec<Slot<T>>,
    bytes: Vec<u8>,
    /// How many bytes all keys begin with alike: at least this much is true.
    shared: u32,
    unused: u32,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { slots: Vec::new(), bytes: Vec::new(), shared: 0, unused: 0 }
    }
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("a node stays far below 4 GiB")
}

/// How many bytes `a` and `b` begin with alike.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The eight bytes after the first `shared` as a number, with zeros behind a shorter key: greater keys have no smaller one.
#[inline]
fn head(key: &[u8], shared: usize) -> u64 {
    let rest = &key[shared..];
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

impl<T> Node<T> {
    /// Brings where the last strings are into the cache.
    #[inline]
    pub(super) fn warm_slots(&self) {
        prefetch_index(&self.slots, 0);
        prefetch_index(&self.slots, self.slots.len().saturating_sub(1));
    }

    /// Brings the last strings into the cache, some time after [`Node::warm_slots`].
    #[inline]
    pub(super) fn warm_strings(&self) {
        prefetch_index(&self.bytes, self.slots.last().map_or(0, |last| last.at as usize));
        prefetch_index(&self.bytes, self.bytes.len().saturating_sub(1));
    }

    /// Brings what tells places into the cache: call it some time before [`Node::warm_place`].
    #[inline]
    pub(super) fn warm_heads(&self) {
        let last = self.slots.len().saturating_sub(1);
        [last / 4, last / 2, last / 4 * 3, last].into_iter().for_each(|index| prefetch_index(&self.slots, index));
    }

    /// Brings what is looked at where `key` stands into the cache, and what is written there.
    #[inline]
    pub(super) fn warm_place(&self, key: &[u8]) {
        let (shared, last) = (self.shared as usize, self.slots.len().saturating_sub(1));
        if key.len() >= shared && !self.slots.is_empty() {
            let place = self.place_of(head(key, shared), last).min(last);
            prefetch_index(&self.bytes, self.slots[place].at as usize);
            prefetch_index(&self.bytes, self.bytes.len().saturating_sub(1));
        }
    }

    /// The memory behind it.
    pub(super) fn bytes_held(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>() + self.bytes.capacity()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Key `index`. Panics if there is none.
    #[inline]
    pub(super) fn key(&self, index: usize) -> &[u8] {
        let slot = &self.slots[index];
        &self.bytes[slot.at as usize..(slot.at + slot.key) as usize]
    }

    /// (length of its key, key and what follows it) of string `index`.
    #[inline]
    pub(super) fn string(&self, index: usize) -> (usize, &[u8]) {
        let slot = &self.slots[index];
        (slot.key as usize, &self.bytes[slot.at as usize..(slot.at + slot.len) as usize])
    }

    /// The sum of `part` over the first `index` strings, given that over `all`: added up from the nearer end.
    #[inline]
    pub(super) fn sum_before(&self, index: usize, all: i64, part: impl Fn(&T) -> i64) -> i64 {
        let sum = |slots: &[Slot<T>]| slots.iter().map(|slot| part(&slot.value)).sum::<i64>();
        let (before, behind) = self.slots.split_at(index);
        if before.len() <= behind.len() { sum(before) } else { all - sum(behind) }
    }

    /// How many keys are smaller than `bound`.
    #[inline]
    pub(super) fn lower(&self, bound: &[u8]) -> usize {
        self.find(bound).unwrap_or_else(|place| place)
    }

    /// Where `key` stands, or where it would stand.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(last) = self.slots.len().checked_sub(1) else { return Err(0) };
        let shared = self.shared as usize;
        if key.len() < shared {
            let before = *key <= self.key(last)[..key.len()];
            return Err(if before { 0 } else { last + 1 });
        }
        let wanted = head(key, shared);
        let low = self.place_of(wanted, last);
        // All keys begin alike: the one that is looked at next tells whether this one does, too.
        let (beginning, known) = (&key[..shared], &self.key(low.min(last))[..shared]);
        if !same_bytes(beginning, known) {
            return Err(if beginning < known { 0 } else { last + 1 });
        }
        let alike = self.slots[low..].iter().take_while(|slot| slot.head == wanted).count();
        let (mut low, mut high) = (low, low + alike);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// How many keys have a smaller head than `wanted`. `last` is the number of the last.
    #[inline]
    fn place_of(&self, wanted: u64, last: usize) -> usize {
        // What comes in its order comes at the end.
        if self.slots[last].head < wanted {
            return last + 1;
        }
        self.slots.partition_point(|slot| slot.head < wanted)
    }

    /// Puts a string between others, in order: `bytes`, of which the first `key` are its key.
    ///
    /// Panics if a node comes near 4 GiB.
    pub(super) fn insert(&mut self, index: usize, bytes: &[u8], key: usize, value: T) {
        let new = &bytes[..key];
        // Whatever stands between two keys begins as they do.
        if self.slots.is_empty() {
            self.shared = narrow(key);
        } else if index == 0 || index == self.slots.len() {
            // The one beside it, which has just been looked at: all begin alike.
            let beside = self.key(index.saturating_sub(1));
            let shared = narrow(common_prefix(&beside[..self.shared as usize], new));
            if shared < self.shared {
                self.shared = shared;
                self.note_heads();
            }
        }
        let at = narrow(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        let len = self.slots.len();
        if len == self.slots.capacity() && !(SMALL..=MOST / 2).contains(&len) {
            self.slots.reserve_exact(len.clamp(1, MOST.saturating_sub(len).max(1)));
        }
        let slot =
            Slot { head: head(new, self.shared as usize), at, key: narrow(key), len: narrow(bytes.len()), value };
        self.slots.insert(index, slot);
    }

    /// Takes string `index` out.
    pub(super) fn remove(&mut self, index: usize) -> T {
        let slot = self.slots.remove(index);
        self.unused += slot.len;
        if self.unused >= UNUSED_MIN && self.unused as usize * 2 > self.bytes.len() {
            self.rewrite();
        }
        slot.value
    }

    /// The strings from `index` on, as a node of their own. What is left takes no more memory than it needs if it is `all`
    /// that is expected.
    pub(super) fn split_off(&mut self, index: usize, all: bool) -> Node<T> {
        let mut right = Node { slots: self.slots.split_off(index), ..Node::default() };
        right.write_from(&self.bytes, false);
        let bytes = std::mem::take(&mut self.bytes);
        self.write_from(&bytes, all);
        if all {
            self.slots.shrink_to_fit();
        }
        right
    }

    /// Puts the strings of `right`, which all sort behind, at the end.
    pub(super) fn append(&mut self, right: Node<T>) {
        let moved = narrow(self.bytes.len());
        self.bytes.extend_from_slice(&right.bytes);
        self.slots.extend(right.slots.into_iter().map(|slot| Slot { at: slot.at + moved, ..slot }));
        self.rewrite();
    }

    /// Writes the strings anew, in order and without gaps.
    fn rewrite(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.write_from(&bytes, false);
    }

    /// Writes the strings, which stand in `old`, in order and without gaps, with room for others unless that is all.
    fn write_from(&mut self, old: &[u8], all: bool) {
        let length: usize = self.slots.iter().map(|slot| slot.len as usize).sum();
        let spare = if all { 0 } else { length / SPARE_PART };
        let mut bytes = Vec::with_capacity(length + spare);
        for slot in &mut self.slots {
            let at = narrow(bytes.len());
            bytes.extend_from_slice(&old[slot.at as usize..(slot.at + slot.len) as usize]);
            slot.at = at;
        }
        self.bytes = bytes;
        self.unused = 0;
        self.shared = match self.slots.len() {
            0 => 0,
            len => narrow(common_prefix(self.key(0), self.key(len - 1))),
        };
        self.note_heads();
    }

    fn note_heads(&mut self) {
        for slot in &mut self.slots {
            slot.head = head(&self.bytes[slot.at as usize..(slot.at + slot.key) as usize], self.shared as usize);
        }
    }
}
