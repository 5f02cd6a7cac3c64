//! Rows by key with counts: what a join remembers of one side.
//!
//! A key with one row, as most are, is one record of a slab, found by one look into an index: its count, its key, its row
//! stand together. Further rows of a key are linked behind the first, and an index of (key, row) finds them in constant
//! time, also under a hot key.

use std::ops::Range;

use super::{Places, Slab};
use crate::figures::Held;
use crate::repr::{Diff, hash_bytes, same_bytes};

const NONE: u32 = u32::MAX;

/// What stands before the key and the row of a record.
#[derive(Clone, Copy)]
struct Head {
    count: Diff,
    next: u32,
    previous: u32,
    key: u32,
    row: u32,
}

const HEAD: usize = 24;
const COUNT: Range<usize> = 0..8;
const NEXT: Range<usize> = 8..12;
const PREVIOUS: Range<usize> = 12..16;

impl Head {
    #[inline]
    fn read(bytes: &[u8]) -> Head {
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Head {
            count: Diff::from_le_bytes(bytes[COUNT].try_into().expect("eight bytes")),
            next: half(NEXT.start),
            previous: half(PREVIOUS.start),
            key: half(16),
            row: half(20),
        }
    }

    fn write(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[COUNT].copy_from_slice(&self.count.to_le_bytes());
        let halves = [self.next, self.previous, self.key, self.row];
        bytes[NEXT.start..]
            .chunks_exact_mut(4)
            .zip(halves)
            .for_each(|(at, half)| at.copy_from_slice(&half.to_le_bytes()));
        bytes
    }

    /// The length of the record.
    #[inline]
    fn bytes(self) -> usize {
        HEAD + self.key as usize + self.row as usize
    }
}

/// What a change did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has its first row.
    Gained,
    /// It had rows and has rows, or neither.
    Same,
    /// Its last row is gone.
    Lost,
}

/// A multiset of rows per key.
#[derive(Default)]
pub(crate) struct Multimap {
    records: Slab,
    /// The first record of each key.
    firsts: Places,
    /// The other records, by key and row.
    others: Places,
}

fn pair_hash(key_hash: u64, row: &[u8]) -> u64 {
    let product = u128::from(key_hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(hash_bytes(row) | 1);
    ((product >> 64) ^ product) as u64
}

impl Multimap {
    /// What it holds: different rows of a key are the records.
    pub(crate) fn held(&self) -> Held {
        let tables = self.records.bytes() + self.firsts.bytes() + self.others.bytes();
        Held::new(self.firsts.len() + self.others.len(), tables)
    }

    /// Brings the place of a key into the cache: call it some rows ahead.
    #[inline]
    pub(crate) fn warm_index(&self, key_hash: u64) {
        self.firsts.warm(key_hash);
    }

    /// Brings the first row of a key into the cache: call it a few rows ahead, after [`Multimap::warm_index`].
    #[inline]
    pub(crate) fn warm_entry(&self, key_hash: u64) {
        if let Some(record) = self.firsts.likely(key_hash) {
            self.records.warm(record);
        }
    }

    #[inline]
    fn head(&self, record: u32) -> Head {
        Head::read(self.records.get(record, HEAD))
    }

    #[inline]
    fn key(&self, record: u32, head: Head) -> &[u8] {
        &self.records.get(record, HEAD + head.key as usize)[HEAD..]
    }

    #[inline]
    fn row(&self, record: u32, head: Head) -> &[u8] {
        &self.records.get(record, head.bytes())[HEAD + head.key as usize..]
    }

    /// Where the first record of a key is named, and that record.
    #[inline]
    fn first(&self, key_hash: u64, key: &[u8]) -> Option<(usize, u32)> {
        self.firsts.find(key_hash, |record| same_bytes(self.key(record, self.head(record)), key))
    }

    /// Calls `visit` with every row of the key and its count.
    #[inline]
    pub(crate) fn for_each(&self, key_hash: u64, key: &[u8], mut visit: impl FnMut(&[u8], Diff)) {
        let Some((_, mut record)) = self.first(key_hash, key) else { return };
        while record != NONE {
            let head = self.head(record);
            visit(self.row(record, head), head.count);
            record = head.next;
        }
    }

    /// Whether the key has any row.
    #[inline]
    pub(crate) fn contains(&self, key_hash: u64, key: &[u8]) -> bool {
        self.first(key_hash, key).is_some()
    }

    /// Adds `diff` copies of a row under a key.
    pub(crate) fn add(&mut self, key_hash: u64, key: &[u8], row: &[u8], diff: Diff) -> Presence {
        if diff == 0 {
            return Presence::Same;
        }
        let Some((place, first)) = self.first(key_hash, key) else {
            let record = self.insert((NONE, NONE), key, row, diff);
            self.firsts.insert(key_hash, record);
            return Presence::Gained;
        };
        let head = self.head(first);
        if self.row(first, head) == row {
            if head.count + diff == 0 {
                return self.remove_first(key_hash, place, first, head);
            }
            self.set_count(first, head.count + diff);
            return Presence::Same;
        }
        let hash = pair_hash(key_hash, row);
        let known = self.others.find(hash, |record| {
            let head = self.head(record);
            self.row(record, head) == row && self.key(record, head) == key
        });
        match known {
            None => {
                let record = self.insert((head.next, first), key, row, diff);
                self.others.insert(hash, record);
                self.link(first, record);
                self.link(record, head.next);
            }
            Some((place, record)) => {
                let head = self.head(record);
                if head.count + diff == 0 {
                    self.others.remove(place);
                    self.link(head.previous, head.next);
                    self.records.remove(record, head.bytes());
                } else {
                    self.set_count(record, head.count + diff);
                }
            }
        }
        Presence::Same
    }

    /// Forgets the first row of a key; the next one, if there is one, takes its place.
    fn remove_first(&mut self, key_hash: u64, place: usize, first: u32, head: Head) -> Presence {
        self.records.remove(first, head.bytes());
        if head.next == NONE {
            self.firsts.remove(place);
            return Presence::Lost;
        }
        let hash = pair_hash(key_hash, self.row(head.next, self.head(head.next)));
        let (other, _) =
            self.others.find(hash, |record| record == head.next).expect("every record but the first is there");
        self.others.remove(other);
        self.firsts.replace(place, head.next);
        self.records.get_mut(head.next, HEAD)[PREVIOUS].copy_from_slice(&NONE.to_le_bytes());
        Presence::Same
    }

    fn insert(&mut self, (next, previous): (u32, u32), key: &[u8], row: &[u8], count: Diff) -> u32 {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a row stays below 4 GiB");
        let head = Head { count, next, previous, key: length(key), row: length(row) };
        self.records.insert([&head.write(), key, row])
    }

    fn set_count(&mut self, record: u32, count: Diff) {
        self.records.get_mut(record, HEAD)[COUNT].copy_from_slice(&count.to_le_bytes());
    }

    /// Makes `next`, if it is one, follow `record`.
    fn link(&mut self, record: u32, next: u32) {
        self.records.get_mut(record, HEAD)[NEXT].copy_from_slice(&next.to_le_bytes());
        if next != NONE {
            self.records.get_mut(next, HEAD)[PREVIOUS].copy_from_slice(&record.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn equals_a_nested_map_under_random_changes() {
        for seed in 0..50 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut tested = Multimap::default();
            let mut plain: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Diff>> = BTreeMap::new();
            for _ in 0..3_000 {
                let key = vec![random.random_range(0..40u8); random.random_range(0..3)];
                let row = vec![random.random_range(0..9u8); random.random_range(0..40)];
                let diff = random.random_range(-2..3);
                let presence = tested.add(hash_bytes(&key), &key, &row, diff);
                let rows = plain.entry(key.clone()).or_default();
                let before = !rows.is_empty();
                *rows.entry(row.clone()).or_insert(0) += diff;
                rows.retain(|_, count| *count != 0);
                let expected = match (before, !rows.is_empty()) {
                    (false, true) => Presence::Gained,
                    (true, false) => Presence::Lost,
                    _ => Presence::Same,
                };
                assert_eq!(presence, expected, "seed {seed}");
                assert_eq!(tested.contains(hash_bytes(&key), &key), !rows.is_empty(), "seed {seed}");
                let mut listed = BTreeMap::new();
                tested.for_each(hash_bytes(&key), &key, |row, count| {
                    assert_eq!(listed.insert(row.to_vec(), count), None, "seed {seed}");
                });
                assert_eq!(&listed, rows, "seed {seed}");
            }
            let held = tested.held();
            assert_eq!(held.records, plain.values().map(|rows| rows.len() as u64).sum::<u64>(), "seed {seed}");
            assert!(held.bytes > held.records * 24, "seed {seed}");
        }
    }
}
