//! A hash table from keys to slots. A group's key and its slots are one record, as a rule in one line of the cache: what finds
//! the group has then brought in what is to be changed. Keys that are unusually long stand beside the records.

use arrow::datatypes::DataType;
use prefetch_index::prefetch_index;

use crate::figures::Held;
use crate::repr::{Row, hash_bytes, same_bytes};
use crate::state::{Chunked, Places, sampled};

/// Groups in a chunk, which never moves. Chunks are large enough for the allocator to give them whole pages, so that they
/// begin where lines of the cache do.
const CHUNK_GROUPS: usize = 1 << 10;
const WORD_BYTES: usize = size_of::<i64>();
/// Words in a line of the cache.
const LINE_WORDS: usize = 64 / WORD_BYTES;
/// Words of a record that are for the key, at most.
const KEY_WORDS_MAX: usize = 4;
/// The length that is noted of keys that do not fit.
const LONG: u8 = u8::MAX;

/// Groups by key. Their numbers begin with 0; those of removed groups are used again.
pub(super) struct Records {
    places: Places,
    /// Per group the bytes of its key, of which the last one is the key's length, and its slots.
    chunks: Vec<Vec<i64>>,
    key_words: usize,
    slots: usize,
    /// Words from one record to the next.
    width: usize,
    len: usize,
    free: Vec<u32>,
    /// Keys that do not fit their records, by group.
    long: Chunked<Row>,
}

/// About how many bytes a key of these types has if its texts are short.
fn usual_bytes(types: &[DataType]) -> usize {
    // A byte says whether a value is NULL.
    types.iter().map(|data_type| data_type.primitive_width().map_or(10, |width| 1 + width)).sum()
}

impl Records {
    /// No groups yet; their keys have these types, and they have so many slots each.
    pub(super) fn new(key_types: &[DataType], slots: usize) -> Records {
        // Where keys are usually longer than that, there is only their length.
        let usual_words = (usual_bytes(key_types) + 1).div_ceil(WORD_BYTES);
        let key_words = if usual_words <= KEY_WORDS_MAX { usual_words } else { 1 };
        let words = key_words + slots;
        // With a word or two more no record lies in two lines.
        let width = if words + 2 >= LINE_WORDS { words.max(LINE_WORDS) } else { words };
        let (places, chunks, free, long) = Default::default();
        Records { places, chunks, key_words, slots, width, len: 0, free, long }
    }

    /// One more than the greatest number that a group ever had.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What it holds.
    pub(super) fn held(&self) -> Held {
        let long = self.long.bytes() + sampled(self.long.len(), |group| self.long[group].bytes_beside());
        let records = self.chunks.len() * CHUNK_GROUPS * self.width * WORD_BYTES;
        Held::new(self.places.len(), self.places.bytes() + records + self.free.capacity() * size_of::<u32>() + long)
    }

    #[inline]
    fn place(&self, group: u32) -> (usize, usize) {
        (group as usize / CHUNK_GROUPS, group as usize % CHUNK_GROUPS * self.width)
    }

    #[inline]
    fn key_bytes(&self, group: u32) -> &[u8] {
        let (chunk, at) = self.place(group);
        bytemuck::cast_slice(&self.chunks[chunk][at..at + self.key_words])
    }

    /// The key of a group.
    #[inline]
    pub(super) fn key(&self, group: u32) -> &[u8] {
        match self.key_bytes(group) {
            [.., LONG] => self.long[group].bytes(),
            [bytes @ .., length] => &bytes[..usize::from(*length)],
            [] => unreachable!("a record has a word for the key's length"),
        }
    }

    /// The slots of a group.
    #[inline]
    pub(super) fn get(&self, group: u32) -> &[i64] {
        let (chunk, at) = self.place(group);
        &self.chunks[chunk][at + self.key_words..][..self.slots]
    }

    /// The slots of a group, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, group: u32) -> &mut [i64] {
        let (chunk, at) = self.place(group);
        &mut self.chunks[chunk][at + self.key_words..][..self.slots]
    }

    /// Brings the place of `hash` into the cache: call it some groups ahead.
    #[inline]
    pub(super) fn warm_index(&self, hash: u64) {
        self.places.warm(hash);
    }

    /// Brings the record that `hash` most likely leads to into the cache: call it a few groups ahead, after
    /// [`Records::warm_index`].
    #[inline]
    pub(super) fn warm(&self, hash: u64) {
        if let Some(group) = self.places.likely(hash) {
            self.warm_record(group);
        }
    }

    /// Brings a group's record into the cache.
    #[inline]
    pub(super) fn warm_record(&self, group: u32) {
        let (chunk, at) = self.place(group);
        prefetch_index(&self.chunks[chunk], at);
        if self.width > LINE_WORDS {
            prefetch_index(&self.chunks[chunk], at + self.width - 1);
        }
    }

    /// The group of `key`, whose hash is `hash`, and whether it is new: then its slots are anything.
    ///
    /// Panics at 2^32 - 1 groups.
    #[inline]
    pub(super) fn find_or_insert(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        match self.places.find(hash, |group| same_bytes(self.key(group), key)) {
            Some((_, group)) => (group, false),
            None => (self.insert(hash, key), true),
        }
    }

    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        let group = self.free.pop().unwrap_or_else(|| {
            let group = u32::try_from(self.len).ok().filter(|group| *group < u32::MAX);
            self.len += 1;
            group.expect("fewer than 2^32 groups in one table")
        });
        let (chunk, at) = self.place(group);
        if chunk == self.chunks.len() {
            self.chunks.push(vec![0; CHUNK_GROUPS * self.width]);
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.chunks[chunk][at..at + self.key_words]);
        let last = bytes.len() - 1;
        if key.len() <= last {
            bytes[..key.len()].copy_from_slice(key);
            bytes[last] = key.len() as u8;
        } else {
            bytes[last] = LONG;
            self.long.grow_to(group as usize + 1, Row::default);
            self.long[group] = Row::new(key);
        }
        self.places.insert(hash, group);
        group
    }

    /// Removes a group. Whatever else is addressed by its number must be empty: it will be used again.
    pub(super) fn remove(&mut self, group: u32) {
        let hash = hash_bytes(self.key(group));
        let (place, _) = self.places.find(hash, |known| known == group).expect("a group has a place");
        self.places.remove(place);
        if self.key_bytes(group).ends_with(&[LONG]) {
            self.long[group] = Row::default();
        }
        self.free.push(group);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn equal_a_map_under_random_changes_whatever_the_length_of_keys() {
        for seed in 0..40 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let types = [DataType::Int64, DataType::Utf8, DataType::Int16, DataType::Decimal128(38, 2)];
            let slots = random.random_range(1..12);
            let mut records = Records::new(&types[..random.random_range(0..=types.len())], slots);
            let mut plain: BTreeMap<Vec<u8>, (u32, Vec<i64>)> = BTreeMap::new();
            for _ in 0..4_000 {
                let mut key = vec![random.random_range(0..3u8); random.random_range(0..40)];
                key.extend_from_slice(&random.random_range(0..40u8).to_le_bytes());
                let hash = hash_bytes(&key);
                if random.random_bool(0.3) {
                    if let Some((group, _)) = plain.remove(&key) {
                        records.remove(group);
                    }
                    continue;
                }
                records.warm_index(hash);
                records.warm(hash);
                let (group, inserted) = records.find_or_insert(hash, &key);
                let value: Vec<i64> = (0..slots).map(|_| random.random()).collect();
                records.get_mut(group).copy_from_slice(&value);
                let before = plain.insert(key, (group, value));
                assert_eq!(before.map(|(group, _)| group), (!inserted).then_some(group), "seed {seed}");
            }
            assert_eq!(records.held().records, plain.len() as u64);
            for (key, (group, value)) in &plain {
                assert_eq!((records.key(*group), records.get(*group)), (&key[..], &value[..]), "seed {seed}");
                assert_eq!(records.find_or_insert(hash_bytes(key), key), (*group, false), "seed {seed}");
            }
        }
    }

    #[test]
    fn records_that_nearly_fill_a_line_get_one_to_themselves() {
        let width = |slots| Records::new(&[DataType::Int64], slots).width;
        assert_eq!([width(3), width(4), width(5), width(6), width(7)], [5, 8, 8, 8, 9]);
        assert_eq!(Records::new(&[DataType::Decimal128(38, 0), DataType::Decimal128(38, 0)], 9).width, 10);
    }
}
