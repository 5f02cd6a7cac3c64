//! Counted sets of values, one per group, in one table: what COUNT(DISTINCT) remembers.
//!
//! Places are keyed by (slot of the group, code of the value), so that the group's key never stands here. A place of a
//! 64-bit code has sixteen bytes: four share a line of memory, and most searches touch one.

use std::collections::BTreeMap;

use prefetch_index::prefetch_index;

/// A value as an integer of fixed width.
pub(crate) trait Code: Copy + Ord + Default {
    /// A well-mixed hash of the value and its group.
    fn hash(self, group: u32) -> u64;
}

/// Two numbers as one hash.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd1b5_4a32_d192_ed03);
    ((product >> 64) ^ product) as u64
}

impl Code for u64 {
    #[inline]
    fn hash(self, group: u32) -> u64 {
        mix(mix(self, u64::from(group)), 0x2545_f491_4f6c_dd1d)
    }
}

impl Code for u128 {
    #[inline]
    fn hash(self, group: u32) -> u64 {
        mix(mix((self >> 64) as u64, u64::from(group)), self as u64 ^ 0x2545_f491_4f6c_dd1d)
    }
}

#[derive(Clone, Copy, Default)]
struct Place<C> {
    code: C,
    group: u32,
    /// [`GREAT`] where the count does not fit.
    count: i32,
}

const GREAT: i32 = i32::MIN;

struct Part<C> {
    /// A power of two of them. A value's home is given by high bits of its hash, so that growth walks the old places and the
    /// new ones in order.
    places: Vec<Place<C>>,
    len: usize,
}

/// How many places further than its first one a search is expected to reach.
const AHEAD: usize = 3;

const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 6;

/// How often each (group, value) is there. Counts may be negative while a time is incomplete; zero means absent.
pub(crate) struct CountedSet<C> {
    parts: Vec<Part<C>>,
    /// The counts that do not fit their places.
    great: BTreeMap<(u32, C), i64>,
}

impl<C: Code> Default for CountedSet<C> {
    fn default() -> Self {
        // 64 parts spread growth over many ticks.
        let parts = (0..PARTS).map(|_| Part { places: vec![Place::default(); 16], len: 0 }).collect();
        CountedSet { parts, great: BTreeMap::new() }
    }
}

impl<C: Code> CountedSet<C> {
    /// Brings the place where `code` of `group` most likely stands into the cache: call it some values ahead.
    #[inline]
    pub(crate) fn warm(&self, group: u32, code: C) {
        let hash = code.hash(group);
        let part = &self.parts[part_of(hash)];
        let home = part.home(hash);
        // A search goes on to the right, and often into the next line.
        prefetch_index(&part.places, home);
        prefetch_index(&part.places, (home + AHEAD) & (part.places.len() - 1));
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.places.len()).sum::<usize>() * size_of::<Place<C>>()
    }

    /// Adds `diff` to the count of `code` in `group` and returns the count before and after.
    #[inline]
    pub(crate) fn add(&mut self, group: u32, code: C, diff: i64) -> (i64, i64) {
        let hash = code.hash(group);
        let part = &mut self.parts[part_of(hash)];
        if part.len * 4 >= part.places.len() * 3 {
            part.grow();
        }
        let mask = part.places.len() - 1;
        let mut position = part.home(hash);
        loop {
            let place = &mut part.places[position];
            if place.count == 0 {
                *place = Place { code, group, count: 0 };
                part.len += 1;
            } else if place.code != code || place.group != group {
                position = (position + 1) & mask;
                continue;
            }
            let old = match place.count {
                GREAT => self.great.remove(&(group, code)).expect("a great count is kept"),
                count => i64::from(count),
            };
            let new = old + diff;
            place.count = match i32::try_from(new) {
                Ok(count) if count != GREAT => count,
                _ => {
                    self.great.insert((group, code), new);
                    GREAT
                }
            };
            if new == 0 {
                part.close(position);
            }
            return (old, new);
        }
    }
}

#[inline]
fn part_of(hash: u64) -> usize {
    (hash >> (64 - PART_BITS)) as usize
}

impl<C: Code> Part<C> {
    /// Where the search for what hashes to `hash` begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((hash << PART_BITS) >> (64 - self.places.len().trailing_zeros())) as usize
    }

    /// Closes the gap at `hole`, so that no probe sequence is interrupted.
    fn close(&mut self, mut hole: usize) {
        let mask = self.places.len() - 1;
        self.len -= 1;
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let place = self.places[next];
            if place.count == 0 {
                return;
            }
            let home = self.home(place.code.hash(place.group));
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.places[hole] = place;
                self.places[next].count = 0;
                hole = next;
            }
        }
    }

    fn grow(&mut self) {
        let doubled = self.places.len() * 2;
        let old = std::mem::replace(&mut self.places, vec![Place::default(); doubled]);
        let mask = doubled - 1;
        for place in old.into_iter().filter(|place| place.count != 0) {
            let mut position = self.home(place.code.hash(place.group));
            while self.places[position].count != 0 {
                position = (position + 1) & mask;
            }
            self.places[position] = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn check<C: Code + std::hash::Hash + std::fmt::Debug>(code: impl Fn(u64) -> C, times: i64) {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut set: CountedSet<C> = CountedSet::default();
            let mut plain: HashMap<(u32, C), i64> = HashMap::new();
            for _ in 0..20_000 {
                let (group, value) = (random.random_range(0..30), code(random.random_range(0..90)));
                let diff = times * random.random_range(-2..3);
                let count = plain.entry((group, value)).or_insert(0);
                let before = *count;
                *count += diff;
                assert_eq!(set.add(group, value, diff), (before, *count), "seed {seed}");
            }
        }
    }

    #[test]
    fn equals_a_hash_map_under_random_changes() {
        check(|value| value, 1);
        check(|value| u128::from(value) << 64, 1);
    }

    #[test]
    fn counts_may_be_great() {
        check(|value| value, i64::from(i32::MAX) / 2);
        check(|value| value, i64::from(i32::MIN));
    }
}
