//! A multiset with its greatest value at hand: what a retractable MIN or MAX remembers of one group.
//!
//! `top` is sorted and holds everything above `bound`; `rest` is an unsorted log of signed counts at or below it. Most
//! changes never get near the top and cost one push; the rest is sorted only when deletes have eaten the top.

const TOP_MAX: usize = 64;
const TOP_KEPT: usize = 32;

/// A multiset of `V` that knows its greatest value. Store reversed values to know the least.
pub(crate) struct Extremes<V> {
    top: Vec<(V, i64)>,
    rest: Vec<(V, i64)>,
    /// Values at or below it belong to `rest`.
    bound: Option<V>,
    /// The length of `rest` after it was last consolidated.
    consolidated: usize,
}

impl<V> Default for Extremes<V> {
    fn default() -> Self {
        Extremes { top: Vec::new(), rest: Vec::new(), bound: None, consolidated: 0 }
    }
}

impl<V: Ord + Clone> Extremes<V> {
    /// Brings what most changes touch into the cache: call it some values ahead.
    #[inline]
    pub(crate) fn warm(&self) {
        std::hint::black_box(self.top.last().map(|entry| entry.1));
    }

    /// Adds `diff` copies of `value`.
    pub(crate) fn add(&mut self, value: V, diff: i64) {
        if self.bound.as_ref().is_some_and(|bound| value <= *bound) {
            self.rest.push((value, diff));
            // A log that only grows would hold every copy ever added and taken away.
            if self.rest.len() > 2 * self.consolidated + TOP_MAX {
                self.consolidate();
            }
            return;
        }
        match self.top.binary_search_by(|entry| entry.0.cmp(&value)) {
            Ok(found) => {
                self.top[found].1 += diff;
                if self.top[found].1 == 0 {
                    self.top.remove(found);
                }
            }
            Err(place) => {
                self.top.insert(place, (value, diff));
                if self.top.len() > TOP_MAX {
                    let kept = self.top.len() - TOP_KEPT;
                    self.bound = Some(self.top[kept - 1].0.clone());
                    self.rest.extend(self.top.drain(..kept));
                }
            }
        }
    }

    /// The greatest value. Call it only when the time is complete: counts below zero would show.
    pub(crate) fn greatest(&mut self) -> Option<&V> {
        if self.top.is_empty() && !self.rest.is_empty() {
            self.consolidate();
            let kept = self.rest.len().saturating_sub(TOP_KEPT);
            self.top.extend(self.rest.drain(kept..));
            self.bound = self.rest.last().map(|entry| entry.0.clone());
            self.consolidated = self.rest.len();
        }
        if self.top.is_empty() {
            self.bound = None;
        }
        self.top.last().map(|entry| &entry.0)
    }

    /// The memory that its values take, without what lies behind them.
    pub(crate) fn bytes(&self) -> usize {
        (self.top.capacity() + self.rest.capacity()) * size_of::<(V, i64)>()
    }

    fn consolidate(&mut self) {
        self.rest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.rest.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.rest.retain(|entry| entry.1 != 0);
        self.consolidated = self.rest.len();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn equals_a_sorted_map_under_random_changes() {
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let domain = [3, 40, 500, 20_000][seed as usize % 4];
            let (mut tested, mut plain): (Extremes<i128>, BTreeMap<i128, i64>) = Default::default();
            for _ in 0..60 {
                for _ in 0..random.random_range(0..60) {
                    let existing = plain.keys().next_back().copied().filter(|_| random.random_bool(0.5));
                    let (value, diff) = match existing {
                        Some(value) => (value, -1),
                        None => (random.random_range(0..domain), 1),
                    };
                    tested.add(value, diff);
                    let count = plain.entry(value).or_insert(0);
                    *count += diff;
                    if *count == 0 {
                        plain.remove(&value);
                    }
                }
                assert_eq!(tested.greatest(), plain.keys().next_back(), "seed {seed}");
            }
        }
    }
}
