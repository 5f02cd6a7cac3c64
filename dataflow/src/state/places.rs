//! An open-addressing index from hashes to numbers. What the numbers stand for is the caller's, and so is telling equal keys
//! from equal hashes.
//!
//! A word holds the upper half of a hash and a number + 1; its position is the high bits of the hash, so that growth walks
//! the old words in order and never looks at a key.

use prefetch_index::prefetch_index;

const BITS_MIN: u32 = 6;
/// How many words are looked at to tell which number a hash leads to: those of a line of the cache.
const NEAR: usize = 8;
/// The lower half of a word.
const NUMBER: u64 = 0xffff_ffff;

/// Numbers by hash.
pub(crate) struct Places {
    words: Vec<u64>,
    bits: u32,
    len: usize,
}

impl Default for Places {
    fn default() -> Self {
        Places { words: vec![0; 1 << BITS_MIN], bits: BITS_MIN, len: 0 }
    }
}

/// The word of a number below 2^32 - 1.
#[inline]
fn word(hash: u64, number: u32) -> u64 {
    hash & !NUMBER | (u64::from(number) + 1)
}

#[inline]
fn number(word: u64) -> u32 {
    ((word & NUMBER) - 1) as u32
}

impl Places {
    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    #[inline]
    fn position(&self, hash: u64) -> usize {
        (hash >> (64 - self.bits)) as usize
    }

    /// Brings the word of `hash` into the cache: call it some rows ahead.
    #[inline]
    pub(crate) fn warm(&self, hash: u64) {
        prefetch_index(&self.words, self.position(hash));
    }

    /// The number that `hash` most likely leads to, if it is near its place. It costs little after [`Places::warm`].
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> Option<u32> {
        let mask = self.words.len() - 1;
        let mut position = self.position(hash);
        for _ in 0..NEAR {
            let found = self.words[position];
            if found == 0 {
                return None;
            }
            if found >> 32 == hash >> 32 {
                return Some(number(found));
            }
            position = (position + 1) & mask;
        }
        None
    }

    /// The place and the number of `hash` for which `is` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mask = self.words.len() - 1;
        let mut position = self.position(hash);
        loop {
            let found = self.words[position];
            if found == 0 {
                return None;
            }
            if found >> 32 == hash >> 32 && is(number(found)) {
                return Some((position, number(found)));
            }
            position = (position + 1) & mask;
        }
    }

    /// Puts in a number that is not there, below 2^32 - 1.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        debug_assert!(number < u32::MAX, "a number + 1 fits into half a word");
        if self.len * 4 >= self.words.len() * 3 {
            self.grow();
        }
        self.len += 1;
        let position = self.position(hash);
        self.put(position, word(hash, number));
    }

    /// Puts another number into a place that [`Places::find`] told.
    pub(crate) fn replace(&mut self, place: usize, number: u32) {
        self.words[place] = word(self.words[place], number);
    }

    /// Empties a place that [`Places::find`] told.
    pub(crate) fn remove(&mut self, place: usize) {
        let mask = self.words.len() - 1;
        let (mut hole, mut next) = (place, place);
        loop {
            next = (next + 1) & mask;
            let found = self.words[next];
            if found == 0 {
                break;
            }
            let home = self.position(found);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.words[hole] = found;
                hole = next;
            }
        }
        self.words[hole] = 0;
        self.len -= 1;
    }

    #[inline]
    fn put(&mut self, mut position: usize, word: u64) {
        let mask = self.words.len() - 1;
        while self.words[position] != 0 {
            position = (position + 1) & mask;
        }
        self.words[position] = word;
    }

    fn grow(&mut self) {
        let doubled = self.words.len() * 2;
        let old = std::mem::replace(&mut self.words, vec![0; doubled]);
        self.bits += 1;
        for word in old.into_iter().filter(|word| *word != 0) {
            // The upper half of a hash is enough while there are at most 2^32 places.
            let position = self.position(word);
            self.put(position, word);
        }
    }
}
