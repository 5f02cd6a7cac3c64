//! Byte records of different lengths in pages: one number names a record, and a freed one is used again by a record of its
//! size. A record is one stretch of memory, so that what is read together lies together.

use prefetch_index::prefetch_index;

/// Records begin at multiples of this, in bytes.
const GRANULE: usize = 8;
/// Granules of a page: a mebibyte.
const PAGE_BITS: u32 = 17;
const PAGE_GRANULES: usize = 1 << PAGE_BITS;
/// Bytes of a line of the cache.
const LINE: usize = 64;
/// Up to this many granules every size has a list of free records; above, sizes are rounded up.
const EXACT_MAX: usize = 32;
/// A larger size keeps this many of its leading bits, so that it is at most an eighth above what was asked.
const LEADING_BITS: u32 = 4;

/// Records by number. The caller knows their lengths.
#[derive(Default)]
pub(crate) struct Slab {
    pages: Vec<Vec<u8>>,
    /// Free records, by the class of their size.
    free: Vec<Vec<u32>>,
}

/// The granules that a record of so many bytes takes.
fn granules(bytes: usize) -> usize {
    let granules = bytes.div_ceil(GRANULE).max(1);
    if granules <= EXACT_MAX {
        return granules;
    }
    let step = 1 << (granules.ilog2() + 1 - LEADING_BITS);
    granules.next_multiple_of(step)
}

/// The number of a size among all that [`granules`] gives.
fn class(granules: usize) -> usize {
    if granules <= EXACT_MAX {
        return granules;
    }
    let dropped = granules.ilog2() + 1 - LEADING_BITS;
    EXACT_MAX + ((dropped as usize) << LEADING_BITS) + (granules >> dropped)
}

impl Slab {
    /// Puts a record of `parts`, one after the other, and returns its number, which is below 2^32 - 1.
    ///
    /// Panics at 32 GiB.
    pub(crate) fn insert(&mut self, parts: [&[u8]; 3]) -> u32 {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let granules = granules(bytes);
        if let Some(record) = self.free.get_mut(class(granules)).and_then(Vec::pop) {
            let mut at = 0;
            let place = self.get_mut(record, bytes);
            for part in parts {
                place[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            return record;
        }
        let length = granules * GRANULE;
        if self.pages.last().is_none_or(|page| page.len() + length > PAGE_GRANULES * GRANULE) {
            // The first page grows, as most tables are small; a record above a page has one of its own.
            let size = if self.pages.is_empty() { 0 } else { (PAGE_GRANULES * GRANULE).max(length) };
            self.pages.push(Vec::with_capacity(size));
        }
        let number = self.pages.len() - 1;
        let page = &mut self.pages[number];
        let start = page.len();
        parts.iter().for_each(|part| page.extend_from_slice(part));
        page.resize(start + length, 0);
        let record = u32::try_from((number << PAGE_BITS) + start / GRANULE).expect("a table stays below 32 GiB");
        assert!(record < u32::MAX, "a table stays below 32 GiB");
        record
    }

    /// `bytes` bytes of a record, from its beginning.
    #[inline]
    pub(crate) fn get(&self, record: u32, bytes: usize) -> &[u8] {
        let start = (record as usize & (PAGE_GRANULES - 1)) * GRANULE;
        &self.pages[(record >> PAGE_BITS) as usize][start..start + bytes]
    }

    /// Brings a record into the cache, as far as two lines go.
    #[inline]
    pub(crate) fn warm(&self, record: u32) {
        let page = &self.pages[(record >> PAGE_BITS) as usize];
        let start = (record as usize & (PAGE_GRANULES - 1)) * GRANULE;
        prefetch_index(page, start);
        prefetch_index(page, start + LINE);
    }

    /// `bytes` bytes of a record, from its beginning, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, record: u32, bytes: usize) -> &mut [u8] {
        let start = (record as usize & (PAGE_GRANULES - 1)) * GRANULE;
        &mut self.pages[(record >> PAGE_BITS) as usize][start..start + bytes]
    }

    /// Frees a record of `bytes` bytes.
    pub(crate) fn remove(&mut self, record: u32, bytes: usize) {
        let class = class(granules(bytes));
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(record);
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(Vec::capacity).sum();
        pages + self.free.iter().map(|records| records.capacity() * size_of::<u32>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn sizes_hold_what_was_asked_and_have_classes_of_their_own() {
        let mut known = BTreeMap::new();
        for bytes in 0..100_000 {
            let size = granules(bytes);
            assert!(size * GRANULE >= bytes && size * GRANULE <= (bytes + GRANULE - 1) * 9 / 8 + GRANULE, "{bytes}");
            assert_eq!(granules(size * GRANULE), size);
            assert_eq!(*known.entry(class(size)).or_insert(size), size, "{bytes}");
        }
    }

    #[test]
    fn records_keep_their_bytes_while_others_come_and_go() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut slab = Slab::default();
        let mut known: Vec<(u32, Vec<u8>)> = Vec::new();
        for step in 0..20_000 {
            if !known.is_empty() && random.random_bool(0.45) {
                let (record, bytes) = known.swap_remove(random.random_range(0..known.len()));
                assert_eq!(slab.get(record, bytes.len()), bytes);
                slab.remove(record, bytes.len());
            } else {
                let longest = if step % 1_000 == 0 { 3 << 20 } else { 400 };
                let bytes: Vec<u8> = (0..random.random_range(0..longest)).map(|_| random.random()).collect();
                let (a, rest) = bytes.split_at(bytes.len() / 3);
                let (b, c) = rest.split_at(rest.len() / 2);
                known.push((slab.insert([a, b, c]), bytes));
            }
        }
        let all: usize = known.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(slab.bytes() > all);
        for (record, bytes) in known {
            assert_eq!(slab.get(record, bytes.len()), bytes);
        }
    }
}
