//! A growing array that never moves what it holds: growth costs one chunk, never a copy of everything.

use std::ops::{Index, IndexMut};

use prefetch_index::prefetch_index;

const CHUNK_BITS: u32 = 12;
const CHUNK_LEN: usize = 1 << CHUNK_BITS;

/// An array of chunks of 4,096 places.
pub(crate) struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Chunked { chunks: Vec::new() }
    }
}

impl<T> Chunked<T> {
    /// The number of places.
    pub(crate) fn len(&self) -> usize {
        match self.chunks.last() {
            Some(last) => (self.chunks.len() - 1) * CHUNK_LEN + last.len(),
            None => 0,
        }
    }

    /// The memory that the places take.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_LEN * size_of::<T>()
    }

    /// Brings a place into the cache: call it some places ahead.
    #[inline]
    pub(crate) fn warm(&self, index: u32) {
        prefetch_index(&self.chunks[(index >> CHUNK_BITS) as usize], index as usize & (CHUNK_LEN - 1));
    }

    /// Appends a value.
    pub(crate) fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_LEN => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK_LEN);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    /// Appends values until there are `len`.
    pub(crate) fn grow_to(&mut self, len: usize, mut value: impl FnMut() -> T) {
        while self.len() < len {
            self.push(value());
        }
    }
}

/// How many places are looked at to tell what lies behind all of them.
const SAMPLED_MAX: usize = 256;

/// About how much memory lies behind `places` places, given what lies behind one. Few places are looked at all, of many
/// some at equal distances.
pub(crate) fn sampled(places: usize, bytes: impl Fn(u32) -> usize) -> usize {
    let step = places.div_ceil(SAMPLED_MAX).max(1);
    let seen = (0..places).step_by(step).map(|place| bytes(u32::try_from(place).expect("places are numbered by u32")));
    let (count, sum) = seen.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    (sum * places).checked_div(count).unwrap_or(0)
}

impl<T> Index<u32> for Chunked<T> {
    type Output = T;
    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.chunks[(index >> CHUNK_BITS) as usize][(index as usize) & (CHUNK_LEN - 1)]
    }
}

impl<T> IndexMut<u32> for Chunked<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[(index >> CHUNK_BITS) as usize][(index as usize) & (CHUNK_LEN - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_places_are_counted_and_many_estimated() {
        assert_eq!(sampled(0, |_| 7), 0);
        assert_eq!(sampled(200, |place| place as usize), 199 * 200 / 2);
        let estimate = sampled(100_000, |place| if place % 3 == 0 { 30 } else { 0 });
        assert!((900_000..1_100_000).contains(&estimate), "{estimate}");
    }
}
