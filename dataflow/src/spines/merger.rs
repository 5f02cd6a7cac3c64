//! Merges of two batches, a little at a time.

use std::cmp::Ordering;

use differential_dataflow::trace::implementations::spine_fueled::Merger;
use timely::progress::frontier::AntichainRef;

use super::batch::{Batch, BatchBuilder, Place, RowUpdates, consolidate};
use crate::repr::{Diff, Timestamp};

/// A merge under way.
pub(crate) struct BatchMerger {
    builder: BatchBuilder,
    /// Times before it are told apart no longer.
    since: Timestamp,
    /// What of either batch comes next.
    places: [Place; 2],
    stamps: Vec<(Timestamp, Diff)>,
}

impl Merger<Batch> for BatchMerger {
    fn new(left: &Batch, right: &Batch, compaction_frontier: AntichainRef<'_, Timestamp>) -> BatchMerger {
        // Nobody can read an arrangement whose frontier is empty: what becomes of times is indifferent.
        let since = compaction_frontier.first().copied().unwrap_or(Timestamp::MAX);
        let bytes = left.row_bytes() + right.row_bytes();
        let builder = BatchBuilder::new(left.updates() + right.updates(), bytes);
        BatchMerger { builder, since, places: [Place::default(); 2], stamps: Vec::new() }
    }

    fn work(&mut self, left: &Batch, right: &Batch, fuel: &mut isize) {
        let (mut next_left, mut next_right) = (left.at(self.places[0]), right.at(self.places[1]));
        while *fuel > 0 {
            let (takes_left, takes_right) = match (&next_left, &next_right) {
                (Some(left), Some(right)) => match left.cmp(right) {
                    Ordering::Less => (true, false),
                    Ordering::Greater => (false, true),
                    Ordering::Equal => (true, true),
                },
                (left, right) => (left.is_some(), right.is_some()),
            };
            let row = match (takes_left, takes_right) {
                (false, false) => break,
                (true, false) => next_left,
                (false, true) => next_right,
                (true, true) => None,
            };
            *fuel -= match row {
                Some(row) => self.copy(row),
                None => self.unite(next_left.expect("taken"), next_right.expect("taken")),
            };
            if takes_left {
                next_left = next_left.and_then(RowUpdates::next);
            }
            if takes_right {
                next_right = next_right.and_then(RowUpdates::next);
            }
        }
        let place = |row: Option<RowUpdates<'_>>, batch: &Batch| row.map_or(batch.end(), RowUpdates::place);
        self.places = [place(next_left, left), place(next_right, right)];
    }

    fn done(self) -> Option<Batch> {
        self.builder.finish()
    }
}

impl BatchMerger {
    /// Takes over a row that only one batch has. Returns how many updates it looked at.
    #[inline]
    fn copy(&mut self, row: RowUpdates<'_>) -> isize {
        if row.len() == 1 {
            let (time, diff) = row.stamp();
            self.builder.push(row.order, row.bytes, (time.max(self.since), diff));
            return 1;
        }
        self.stamps.clear();
        self.gather(row);
        self.close(row)
    }

    /// Takes over a row that both batches have.
    fn unite(&mut self, left: RowUpdates<'_>, right: RowUpdates<'_>) -> isize {
        self.stamps.clear();
        self.gather(left);
        self.gather(right);
        self.close(left)
    }

    fn gather(&mut self, row: RowUpdates<'_>) {
        let since = self.since;
        self.stamps.extend(row.stamps().map(|(time, diff)| (time.max(since), diff)));
    }

    fn close(&mut self, row: RowUpdates<'_>) -> isize {
        let looked_at = self.stamps.len();
        consolidate(&mut self.stamps);
        self.builder.push_all(row.order, row.bytes, &self.stamps);
        isize::try_from(looked_at).expect("updates are in memory")
    }
}

/// Both batches as one, all times as they are.
pub(super) fn merged(left: &Batch, right: &Batch) -> Option<Batch> {
    let mut merger = BatchMerger::new(left, right, AntichainRef::new(&[0]));
    let mut fuel = isize::MAX;
    merger.work(left, right, &mut fuel);
    merger.done()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::batch::order;
    use super::*;
    use crate::repr::hash_bytes;

    type Updates = BTreeMap<(u32, Vec<u8>), BTreeMap<Timestamp, Diff>>;

    fn random_updates(random: &mut ChaCha8Rng, rows: u64, times: std::ops::Range<Timestamp>) -> Updates {
        let mut updates = Updates::new();
        for _ in 0..random.random_range(1..400) {
            let row = random.random_range(0..rows).to_be_bytes().to_vec();
            // Few orders: many rows share one.
            let order = order(hash_bytes(&row)) % 50;
            let time = random.random_range(times.clone());
            *updates.entry((order, row)).or_default().entry(time).or_default() += random.random_range(-2..=2);
        }
        cleared(updates)
    }

    fn cleared(mut updates: Updates) -> Updates {
        updates.values_mut().for_each(|stamps| stamps.retain(|_, diff| *diff != 0));
        updates.retain(|_, stamps| !stamps.is_empty());
        updates
    }

    fn built(updates: &Updates) -> Option<Batch> {
        let mut builder = BatchBuilder::new(updates.values().map(BTreeMap::len).sum(), updates.len() * 8);
        for ((order, row), stamps) in updates {
            let stamps: Vec<_> = stamps.iter().map(|(time, diff)| (*time, *diff)).collect();
            builder.push_all(*order, row, &stamps);
        }
        builder.finish()
    }

    fn read(batch: Option<Batch>) -> Updates {
        let Some(batch) = batch else { return Updates::new() };
        batch.rows().map(|row| ((row.order, row.bytes.to_vec()), row.stamps().collect())).collect()
    }

    #[test]
    fn a_merge_equals_a_map_however_it_is_interrupted() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        for _ in 0..500 {
            let rows = random.random_range(1..200);
            let (left, right) = (random_updates(&mut random, rows, 0..10), random_updates(&mut random, rows, 5..20));
            let (Some(a), Some(b)) = (built(&left), built(&right)) else { continue };
            let since = random.random_range(0..20);
            let mut merger = BatchMerger::new(&a, &b, AntichainRef::new(&[since]));
            loop {
                let mut fuel = isize::from(random.random_range(1..100_i8));
                merger.work(&a, &b, &mut fuel);
                if fuel > 0 {
                    break;
                }
            }
            let mut expected = Updates::new();
            for (row, stamps) in left.iter().chain(&right) {
                let merged = expected.entry(row.clone()).or_default();
                stamps.iter().for_each(|(time, diff)| *merged.entry((*time).max(since)).or_default() += diff);
            }
            assert_eq!(read(merger.done()), cleared(expected));
        }
    }
}
