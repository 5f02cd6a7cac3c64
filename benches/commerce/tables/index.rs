//! Flat hash tables: from hashes to numbers of entries, and how often each (group, value) is there.
//!
//! The index holds 32 bits of the hash beside the entry's number, so that it grows without looking at entries.

/// A hash whose high bits are good.
#[inline]
pub(super) fn hash_of(value: u64) -> u64 {
    let product = u128::from(value ^ 0x2545_F491_4F6C_DD1D).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    (product >> 64) as u64 ^ product as u64
}

/// Open addressing from hashes to entry numbers; places are (32 bits of the hash, number + 1).
pub(super) struct Index {
    places: Vec<u64>,
    shift: u32,
    len: usize,
}

impl Index {
    pub(super) fn new() -> Index {
        Index { places: vec![0; 1 << 10], shift: 64 - 10, len: 0 }
    }

    /// The number of the entry for which `same`, or a place for `fresh`, which is then returned.
    #[inline]
    pub(super) fn find_or_insert(&mut self, hash: u64, fresh: u32, same: impl Fn(u32) -> bool) -> u32 {
        let mask = self.places.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let place = self.places[at];
            if place == 0 {
                break;
            }
            let number = place as u32 - 1;
            if (place >> 32) as u32 == hash as u32 && same(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
        self.places[at] = (hash & 0xFFFF_FFFF) << 32 | u64::from(fresh + 1);
        self.len += 1;
        fresh
    }

    /// Doubles the index when it is three quarters full; `hash` gives an entry's hash.
    pub(super) fn make_room(&mut self, hash: impl Fn(u32) -> u64) {
        if self.len * 4 < self.places.len() * 3 {
            return;
        }
        let old = std::mem::take(&mut self.places);
        self.places = vec![0; old.len() * 2];
        self.shift -= 1;
        let mask = self.places.len() - 1;
        for place in old.into_iter().filter(|place| *place != 0) {
            let mut at = (hash(place as u32 - 1) >> self.shift) as usize;
            while self.places[at] != 0 {
                at = (at + 1) & mask;
            }
            self.places[at] = place;
        }
    }
}

/// How often each (group, value) is there.
pub(super) struct Counted {
    /// (value, group, count); a count of 0 is a free place.
    places: Vec<(u64, u32, i32)>,
    shift: u32,
    len: usize,
}

impl Counted {
    pub(super) fn new() -> Counted {
        Counted { places: vec![(0, 0, 0); 1 << 12], shift: 64 - 12, len: 0 }
    }

    #[inline]
    fn home(&self, value: u64, group: u32) -> usize {
        (hash_of(value.rotate_left(20) ^ u64::from(group)) >> self.shift) as usize
    }

    /// Adds `diff` copies; returns by how much the number of different values of the group changes.
    #[inline]
    pub(super) fn add(&mut self, group: u32, value: u64, diff: i32) -> i64 {
        let mask = self.places.len() - 1;
        let mut at = self.home(value, group);
        while self.places[at].2 != 0 {
            let place = &mut self.places[at];
            if place.0 == value && place.1 == group {
                let before = place.2;
                place.2 += diff;
                let after = place.2;
                if after == 0 {
                    self.remove(at);
                }
                return i64::from(after > 0) - i64::from(before > 0);
            }
            at = (at + 1) & mask;
        }
        self.places[at] = (value, group, diff);
        self.len += 1;
        if self.len * 4 > self.places.len() * 3 {
            self.grow();
        }
        i64::from(diff > 0)
    }

    /// Frees a place and moves back what was pushed beyond it.
    fn remove(&mut self, mut free: usize) {
        let mask = self.places.len() - 1;
        self.len -= 1;
        let mut at = (free + 1) & mask;
        while self.places[at].2 != 0 {
            let home = self.home(self.places[at].0, self.places[at].1);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(free) & mask) {
                self.places[free] = self.places[at];
                free = at;
            }
            at = (at + 1) & mask;
        }
        self.places[free].2 = 0;
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places = vec![(0, 0, 0); old.len() * 2];
        self.shift -= 1;
        let mask = self.places.len() - 1;
        for place in old.into_iter().filter(|place| place.2 != 0) {
            let mut at = self.home(place.0, place.1);
            while self.places[at].2 != 0 {
                at = (at + 1) & mask;
            }
            self.places[at] = place;
        }
    }
}
