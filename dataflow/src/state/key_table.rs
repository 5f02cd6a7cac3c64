//! A hash table from row bytes to slot numbers. Payloads live beside it, addressed by slot.
//!
//! The index holds (upper half of the hash, slot + 1) in one word; its position is the high bits of the hash, so that
//! growth walks the old index in order and never looks at a key.

use super::{Chunked, sampled};
use crate::figures::Held;
use crate::repr::{Row, same_bytes};

const BITS_MIN: u32 = 6;

struct Entry {
    hash: u64,
    key: Row,
}

/// Keys with slot numbers. Freed slots are used again.
pub(crate) struct KeyTable {
    index: Vec<u64>,
    bits: u32,
    entries: Chunked<Entry>,
    free: Vec<u32>,
    len: usize,
}

impl Default for KeyTable {
    fn default() -> Self {
        KeyTable {
            index: vec![0; 1 << BITS_MIN],
            bits: BITS_MIN,
            entries: Chunked::default(),
            free: Vec::new(),
            len: 0,
        }
    }
}

#[inline]
fn slot_of(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32 - 1
}

impl KeyTable {
    /// One more than the greatest slot that was ever used.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// What it holds.
    pub(crate) fn held(&self) -> Held {
        Held::new(self.len, self.bytes())
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let keys = sampled(self.slots(), |slot| self.entries[slot].key.bytes_beside());
        self.index.len() * size_of::<u64>() + self.entries.bytes() + self.free.capacity() * size_of::<u32>() + keys
    }

    #[inline]
    fn position(&self, hash: u64) -> usize {
        (hash >> (64 - self.bits)) as usize
    }

    /// Brings the index word of `hash` into the cache: call it some rows ahead.
    #[inline]
    pub(crate) fn warm_index(&self, hash: u64) {
        std::hint::black_box(self.index[self.position(hash)]);
    }

    /// Brings the entry that `hash` most likely leads to into the cache, and returns its slot: call it a few rows ahead,
    /// after [`KeyTable::warm_index`].
    #[inline]
    pub(crate) fn warm_entry(&self, hash: u64) -> Option<u32> {
        let word = self.index[self.position(hash)];
        if word == 0 || word >> 32 != hash >> 32 {
            return None;
        }
        std::hint::black_box(self.entries[slot_of(word)].hash);
        Some(slot_of(word))
    }

    /// The key of `slot`.
    #[inline]
    pub(crate) fn key(&self, slot: u32) -> &[u8] {
        self.entries[slot].key.bytes()
    }

    /// The slot of `key`, whose hash is `hash`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let mask = self.index.len() - 1;
        let mut position = self.position(hash);
        loop {
            let word = self.index[position];
            if word == 0 {
                return None;
            }
            if word >> 32 == hash >> 32 && same_bytes(self.entries[slot_of(word)].key.bytes(), key) {
                return Some(slot_of(word));
            }
            position = (position + 1) & mask;
        }
    }

    /// The slot of `key`, and whether it was inserted.
    ///
    /// Panics at 2^32 - 1 keys.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        match self.find(hash, key) {
            Some(slot) => (slot, false),
            None => (self.insert(hash, key), true),
        }
    }

    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        if self.len * 4 >= self.index.len() * 3 {
            self.grow();
        }
        let entry = Entry { hash, key: Row::new(key) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot] = entry;
                slot
            }
            None => {
                let slot = u32::try_from(self.entries.len()).expect("fewer than 2^32 keys in one table");
                assert!(slot < u32::MAX, "fewer than 2^32 keys in one table");
                self.entries.push(entry);
                slot
            }
        };
        self.len += 1;
        let mask = self.index.len() - 1;
        let mut position = self.position(hash);
        while self.index[position] != 0 {
            position = (position + 1) & mask;
        }
        self.index[position] = (hash >> 32) << 32 | (u64::from(slot) + 1);
        slot
    }

    fn grow(&mut self) {
        let doubled = self.index.len() * 2;
        let old = std::mem::replace(&mut self.index, vec![0; doubled]);
        self.bits += 1;
        let mask = self.index.len() - 1;
        for word in old.into_iter().filter(|word| *word != 0) {
            // The word's upper half is the hash's: enough for positions while the index has at most 2^32 places.
            let mut position = (word >> (64 - self.bits)) as usize;
            while self.index[position] != 0 {
                position = (position + 1) & mask;
            }
            self.index[position] = word;
        }
    }

    /// Removes the key at `slot`. Whatever else is addressed by the slot must be empty: it will be used again.
    pub(crate) fn remove(&mut self, slot: u32) {
        let mask = self.index.len() - 1;
        let mut hole = self.position(self.entries[slot].hash);
        while self.index[hole] & 0xffff_ffff != u64::from(slot) + 1 {
            hole = (hole + 1) & mask;
        }
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let word = self.index[next];
            if word == 0 {
                break;
            }
            let home = (word >> (64 - self.bits)) as usize;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.index[hole] = word;
                hole = next;
            }
        }
        self.index[hole] = 0;
        self.entries[slot].key = Row::default();
        self.free.push(slot);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::repr::hash_bytes;

    #[test]
    fn equals_a_hash_map_under_random_changes() {
        for seed in 0..50 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut table = KeyTable::default();
            let mut plain: HashMap<Vec<u8>, u32> = HashMap::new();
            for _ in 0..4_000 {
                let key = random.random_range(0..600u32).to_le_bytes()[..random.random_range(1..4)].to_vec();
                // A weak hash now and then: long probe sequences must stay whole.
                let hash = if seed % 2 == 0 { hash_bytes(&key) } else { u64::from(key[0]) << 56 };
                if random.random_bool(0.4) {
                    if let Some(slot) = plain.remove(&key) {
                        table.remove(slot);
                    }
                } else {
                    let (slot, inserted) = table.find_or_insert(hash, &key);
                    assert_eq!(inserted, plain.insert(key.clone(), slot).is_none());
                    assert_eq!(table.key(slot), key);
                }
                assert_eq!(table.find(hash, &key), plain.get(&key).copied());
            }
            assert_eq!(table.held().records, plain.len() as u64);
            for (key, slot) in &plain {
                let hash = if seed % 2 == 0 { hash_bytes(key) } else { u64::from(key[0]) << 56 };
                assert_eq!(table.find(hash, key), Some(*slot));
            }
        }
    }
}
