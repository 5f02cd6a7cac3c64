//! Rows by key with counts: what a join remembers of one side.
//!
//! Entries are found by (key, row) in constant time, also under a hot key, and listed by key through links.

use super::{Chunked, KeyTable, sampled};
use crate::figures::Held;
use crate::repr::{Diff, Row};

const NONE: u32 = u32::MAX;
const BITS_MIN: u32 = 6;

struct Entry {
    row: Row,
    count: Diff,
    key: u32,
    next: u32,
    previous: u32,
}

/// A multiset of rows per key.
pub(crate) struct Multimap {
    keys: KeyTable,
    /// The first entry of each key, by the key's slot.
    heads: Chunked<u32>,
    index: Vec<u64>,
    bits: u32,
    entries: Chunked<Entry>,
    free: Vec<u32>,
    len: usize,
}

impl Default for Multimap {
    fn default() -> Self {
        Multimap {
            keys: KeyTable::default(),
            heads: Chunked::default(),
            index: vec![0; 1 << BITS_MIN],
            bits: BITS_MIN,
            entries: Chunked::default(),
            free: Vec::new(),
            len: 0,
        }
    }
}

#[inline]
fn pair_hash(key_hash: u64, row: &[u8]) -> u64 {
    let product = u128::from(key_hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(crate::repr::hash_bytes(row) | 1);
    ((product >> 64) ^ product) as u64
}

impl Multimap {
    /// What it holds: different rows of a key are the records.
    pub(crate) fn held(&self) -> Held {
        let rows = sampled(self.entries.len(), |at| self.entries[at].row.bytes_beside());
        let places = self.index.len() * size_of::<u64>() + self.free.capacity() * size_of::<u32>();
        let tables = self.keys.bytes() + self.heads.bytes() + self.entries.bytes();
        Held::new(self.len, tables + places + rows)
    }

    /// Calls `visit` with every row of the key and its count.
    #[inline]
    pub(crate) fn for_each(&self, key_hash: u64, key: &[u8], mut visit: impl FnMut(&[u8], Diff)) {
        let Some(slot) = self.keys.find(key_hash, key) else { return };
        let mut at = self.heads[slot];
        while at != NONE {
            let entry = &self.entries[at];
            visit(entry.row.bytes(), entry.count);
            at = entry.next;
        }
    }

    /// Whether the key has any row.
    #[inline]
    pub(crate) fn contains(&self, key_hash: u64, key: &[u8]) -> bool {
        self.keys.find(key_hash, key).is_some()
    }

    /// Adds `diff` copies of a row under a key.
    pub(crate) fn add(&mut self, key_hash: u64, key: &[u8], row: &[u8], diff: Diff) {
        if diff == 0 {
            return;
        }
        let (slot, inserted) = self.keys.find_or_insert(key_hash, key);
        if inserted {
            self.heads.grow_to(self.keys.slots(), || NONE);
            self.heads[slot] = NONE;
        }
        let hash = pair_hash(key_hash, row);
        let mask = self.index.len() - 1;
        let mut position = (hash >> (64 - self.bits)) as usize;
        loop {
            let word = self.index[position];
            if word == 0 {
                self.insert(hash, slot, row, diff);
                return;
            }
            if word >> 32 == hash >> 32 {
                let at = (word & 0xffff_ffff) as u32 - 1;
                let entry = &mut self.entries[at];
                if entry.key == slot && entry.row.bytes() == row {
                    entry.count += diff;
                    if entry.count == 0 {
                        self.remove(position, at);
                    }
                    return;
                }
            }
            position = (position + 1) & mask;
        }
    }

    fn insert(&mut self, hash: u64, key: u32, row: &[u8], count: Diff) {
        if self.len * 4 >= self.index.len() * 3 {
            self.grow();
        }
        let head = self.heads[key];
        let entry = Entry { row: Row::new(row), count, key, next: head, previous: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at] = entry;
                at
            }
            None => {
                let at = u32::try_from(self.entries.len()).expect("fewer than 2^32 rows in one table");
                assert!(at < NONE, "fewer than 2^32 rows in one table");
                self.entries.push(entry);
                at
            }
        };
        if head != NONE {
            self.entries[head].previous = at;
        }
        self.heads[key] = at;
        self.len += 1;
        let mask = self.index.len() - 1;
        let mut position = (hash >> (64 - self.bits)) as usize;
        while self.index[position] != 0 {
            position = (position + 1) & mask;
        }
        self.index[position] = (hash >> 32) << 32 | (u64::from(at) + 1);
    }

    fn grow(&mut self) {
        let doubled = self.index.len() * 2;
        let old = std::mem::replace(&mut self.index, vec![0; doubled]);
        self.bits += 1;
        let mask = doubled - 1;
        for word in old.into_iter().filter(|word| *word != 0) {
            let mut position = (word >> (64 - self.bits)) as usize;
            while self.index[position] != 0 {
                position = (position + 1) & mask;
            }
            self.index[position] = word;
        }
    }

    fn remove(&mut self, mut hole: usize, at: u32) {
        let Entry { key, next, previous, .. } = self.entries[at];
        if previous == NONE {
            self.heads[key] = next
        } else {
            self.entries[previous].next = next
        }
        if next != NONE {
            self.entries[next].previous = previous;
        }
        self.entries[at].row = Row::default();
        self.free.push(at);
        self.len -= 1;
        let mask = self.index.len() - 1;
        let mut follower = hole;
        loop {
            follower = (follower + 1) & mask;
            let word = self.index[follower];
            if word == 0 {
                break;
            }
            let home = (word >> (64 - self.bits)) as usize;
            if (follower.wrapping_sub(home) & mask) >= (follower.wrapping_sub(hole) & mask) {
                self.index[hole] = word;
                hole = follower;
            }
        }
        self.index[hole] = 0;
        if self.heads[key] == NONE {
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::repr::hash_bytes;

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
                tested.add(hash_bytes(&key), &key, &row, diff);
                let rows = plain.entry(key.clone()).or_default();
                *rows.entry(row.clone()).or_insert(0) += diff;
                rows.retain(|_, count| *count != 0);
                let mut listed = BTreeMap::new();
                tested.for_each(hash_bytes(&key), &key, |row, count| {
                    assert_eq!(listed.insert(row.to_vec(), count), None, "seed {seed}");
                });
                assert_eq!(&listed, rows, "seed {seed}");
                assert_eq!(tested.contains(hash_bytes(&key), &key), !rows.is_empty(), "seed {seed}");
            }
            let held = tested.held();
            assert_eq!(held.records, plain.values().map(|rows| rows.len() as u64).sum::<u64>(), "seed {seed}");
            assert!(held.bytes > held.records * 24, "seed {seed}");
        }
    }
}
