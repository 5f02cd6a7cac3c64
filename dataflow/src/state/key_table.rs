//! A hash table from row bytes to slot numbers. Payloads live beside it, addressed by slot. Hashes are those of
//! [`hash_bytes`], so that none is kept.

use super::{Chunked, Places, sampled};
use crate::figures::Held;
use crate::repr::{Row, hash_bytes, same_bytes};

/// Keys with slot numbers. Freed slots are used again.
#[derive(Default)]
pub(crate) struct KeyTable {
    places: Places,
    keys: Chunked<Row>,
    free: Vec<u32>,
}

impl KeyTable {
    /// One more than the greatest slot that was ever used.
    pub(crate) fn slots(&self) -> usize {
        self.keys.len()
    }

    /// What it holds.
    pub(crate) fn held(&self) -> Held {
        Held::new(self.places.len(), self.bytes())
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let keys = sampled(self.slots(), |slot| self.keys[slot].bytes_beside());
        self.places.bytes() + self.keys.bytes() + self.free.capacity() * size_of::<u32>() + keys
    }

    /// Brings the place of `hash` into the cache: call it some rows ahead.
    #[inline]
    pub(crate) fn warm_index(&self, hash: u64) {
        self.places.warm(hash);
    }

    /// Brings the entry that `hash` most likely leads to into the cache, and returns its slot: call it a few rows ahead,
    /// after [`KeyTable::warm_index`].
    #[inline]
    pub(crate) fn warm_entry(&self, hash: u64) -> Option<u32> {
        let slot = self.places.likely(hash)?;
        self.keys.warm(slot);
        Some(slot)
    }

    /// The key of `slot`.
    #[inline]
    pub(crate) fn key(&self, slot: u32) -> &[u8] {
        self.keys[slot].bytes()
    }

    /// The slot of `key`, whose hash is `hash`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let found = self.places.find(hash, |slot| same_bytes(self.keys[slot].bytes(), key));
        found.map(|(_, slot)| slot)
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
        let slot = match self.free.pop() {
            Some(slot) => {
                self.keys[slot] = Row::new(key);
                slot
            }
            None => {
                let slot = u32::try_from(self.keys.len()).expect("fewer than 2^32 keys in one table");
                assert!(slot < u32::MAX, "fewer than 2^32 keys in one table");
                self.keys.push(Row::new(key));
                slot
            }
        };
        self.places.insert(hash, slot);
        slot
    }

    /// Removes the key at `slot`. Whatever else is addressed by the slot must be empty: it will be used again.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.remove_hashed(hash_bytes(self.key(slot)), slot);
    }

    /// The same of a key whose hash is known.
    fn remove_hashed(&mut self, hash: u64, slot: u32) {
        let (place, _) = self.places.find(hash, |known| known == slot).expect("a slot in use has a place");
        self.places.remove(place);
        self.keys[slot] = Row::default();
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

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
                        table.remove_hashed(hash, slot);
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
