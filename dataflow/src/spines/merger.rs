//! Merges of runs, a little at a time.

use differential_dataflow::trace::implementations::spine_fueled::Merger;
use smallvec::SmallVec;
use timely::progress::frontier::AntichainRef;

use super::batch::{Batch, Plan, Runs};
use super::heads::Heads;
use super::run::{Cursor, Place, RowUpdates, Run, RunBuilder, consolidate};
use crate::repr::{Diff, Timestamp};

/// A merge of two batches under way.
pub(crate) enum BatchMerger {
    /// There was nothing to do.
    Beside(Batch),
    /// Some runs of both become one.
    Runs(Box<SomeMerged>),
    /// They have become one.
    Merged(Option<Batch>),
}

/// Runs of which some are being merged.
pub(crate) struct SomeMerged {
    kept: Runs,
    merged: Runs,
    merge: RunMerger,
}

impl Merger<Batch> for BatchMerger {
    fn new(left: &Batch, right: &Batch, compaction_frontier: AntichainRef<'_, Timestamp>) -> BatchMerger {
        let (kept, merged) = match left.plan(right) {
            Plan::Beside(batch) => return BatchMerger::Beside(batch),
            Plan::Merge { kept, merged } => (kept, merged),
        };
        // Nobody can read an arrangement whose frontier is empty: what becomes of times is indifferent.
        let since = compaction_frontier.first().copied().unwrap_or(Timestamp::MAX);
        let merge = RunMerger::new(&borrowed(&merged), since);
        BatchMerger::Runs(Box::new(SomeMerged { kept, merged, merge }))
    }

    fn work(&mut self, left: &Batch, _: &Batch, fuel: &mut isize) {
        if let BatchMerger::Runs(some) = self {
            let SomeMerged { kept, merged, merge } = &mut **some;
            merge.work(&borrowed(merged), fuel);
            if *fuel > 0 {
                let batch = Batch::merged(std::mem::take(kept), merged, merge.finish(), left.loose());
                *self = BatchMerger::Merged(batch);
            }
        }
    }

    fn done(self) -> Option<Batch> {
        match self {
            BatchMerger::Beside(batch) => Some(batch),
            BatchMerger::Merged(batch) => batch,
            BatchMerger::Runs(_) => unreachable!("a merge is only asked for when it has ended"),
        }
    }
}

fn borrowed(runs: &Runs) -> SmallVec<[&Run; 16]> {
    runs.iter().map(|run| &**run).collect()
}

/// All runs as one, all times as they are.
pub(super) fn merged(runs: &[&Run]) -> Option<Run> {
    let mut merger = RunMerger::new(runs, 0);
    let mut fuel = isize::MAX;
    merger.work(runs, &mut fuel);
    merger.finish()
}

/// A merge of several runs under way.
pub(crate) struct RunMerger {
    builder: RunBuilder,
    /// Times before it are told apart no longer.
    since: Timestamp,
    /// What of each run comes next.
    places: SmallVec<[Place; 16]>,
    stamps: Vec<(Timestamp, Diff)>,
}

impl RunMerger {
    fn new(runs: &[&Run], since: Timestamp) -> RunMerger {
        let updates = runs.iter().map(|run| run.updates()).sum();
        let bytes = runs.iter().map(|run| run.row_bytes()).sum();
        let places = runs.iter().map(|_| Place::default()).collect();
        RunMerger { builder: RunBuilder::new(updates, bytes), since, places, stamps: Vec::new() }
    }

    /// Merges until the fuel is used up or, with fuel left, everything is done.
    fn work(&mut self, runs: &[&Run], fuel: &mut isize) {
        let mut heads = Heads::new(runs.iter().zip(&self.places).map(|(run, place)| run.rows_from(*place)));
        let mut rows = Vec::with_capacity(runs.len());
        while *fuel > 0 {
            heads.take_order(&mut rows);
            match rows.as_slice() {
                [] => break,
                [row] => *fuel -= self.copy(*row),
                rows => rows.chunk_by(|a, b| a.bytes() == b.bytes()).for_each(|equal| *fuel -= self.unite(equal)),
            }
        }
        self.places = heads.cursors().iter().map(Cursor::place).collect();
    }

    /// What has become of the runs; leaves nothing.
    fn finish(&mut self) -> Option<Run> {
        std::mem::replace(&mut self.builder, RunBuilder::new(0, 0)).finish()
    }

    /// Takes over a row that only one run has. Returns how many updates it looked at.
    #[inline]
    fn copy(&mut self, row: RowUpdates<'_>) -> isize {
        if row.len() > 1 {
            return self.unite(&[row]);
        }
        let (time, diff) = row.stamp();
        self.builder.push(row.order(), row.bytes(), (time.max(self.since), diff));
        1
    }

    /// Takes over a row that several runs have. Returns how many updates it looked at.
    fn unite(&mut self, rows: &[RowUpdates<'_>]) -> isize {
        let since = self.since;
        self.stamps.clear();
        self.stamps.extend(rows.iter().flat_map(|row| row.stamps()).map(|(time, diff)| (time.max(since), diff)));
        let looked_at = self.stamps.len();
        consolidate(&mut self.stamps);
        self.builder.push_all(rows[0].order(), rows[0].bytes(), &self.stamps);
        isize::try_from(looked_at).expect("updates are in memory")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::batch::{LARGE, RUNS_MAX};
    use super::super::run::order;
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

    fn built(updates: &Updates) -> Option<Run> {
        let mut builder = RunBuilder::new(updates.values().map(BTreeMap::len).sum(), updates.len() * 8);
        for ((order, row), stamps) in updates {
            let stamps: Vec<_> = stamps.iter().map(|(time, diff)| (*time, *diff)).collect();
            builder.push_all(*order, row, &stamps);
        }
        builder.finish()
    }

    fn add(sum: &mut Updates, updates: &Updates, since: Timestamp) {
        for (row, stamps) in updates {
            let merged = sum.entry(row.clone()).or_default();
            stamps.iter().for_each(|(time, diff)| *merged.entry((*time).max(since)).or_default() += diff);
        }
    }

    fn read(batch: Option<&Batch>) -> Updates {
        let mut updates = Updates::new();
        for row in batch.iter().flat_map(|batch| batch.runs()).flat_map(|run| run.rows()) {
            let merged = updates.entry((row.order(), row.bytes().to_vec())).or_default();
            row.stamps().for_each(|(time, diff)| *merged.entry(time).or_default() += diff);
        }
        cleared(updates)
    }

    fn batch(rows: std::ops::Range<usize>, diff: Diff) -> Batch {
        let mut builder = RunBuilder::new(rows.len(), 0);
        rows.for_each(|row| builder.push(u32::try_from(row).expect("few rows"), &[1], (3, diff)));
        Batch::new(builder.finish().expect("there are rows"), true)
    }

    fn merge(left: &Batch, right: &Batch) -> Batch {
        let mut merger = BatchMerger::new(left, right, AntichainRef::new(&[9]));
        merger.work(left, right, &mut { isize::MAX });
        merger.done().expect("something is left")
    }

    /// A batch of one run of which is known that merging it does not pay.
    fn known(rows: std::ops::Range<usize>, diff: Diff) -> Batch {
        let middle = usize::midpoint(rows.start, rows.end);
        merge(&batch(rows.start..middle, diff), &batch(middle..rows.end, diff))
    }

    #[test]
    fn large_batches_stand_side_by_side_if_nothing_cancels() {
        let grown = || known(0..400_000, 1);
        assert_eq!(grown().runs().len(), 1, "whether something cancels is not known");
        assert_eq!(merge(&grown(), &grown()).runs().len(), 2);
        let shrunk = || merge(&batch(0..200_000, 1), &batch(0..150_000, -1));
        assert_eq!(merge(&grown(), &shrunk()).runs().len(), 1);
        assert_eq!(merge(&shrunk(), &shrunk()).runs().len(), 2, "they are small");
    }

    #[test]
    fn many_runs_stand_side_by_side_if_they_are_large_and_hardly_meet() {
        let runs = |count: usize, rows: usize, step: usize| {
            let run = |number: usize| known(number * step..number * step + rows, 1);
            (1..count).fold(run(0), |whole, number| merge(&whole, &run(number))).runs().len()
        };
        let count = 2 * RUNS_MAX;
        assert_eq!(runs(count, LARGE, LARGE), count);
        assert_eq!(runs(count, LARGE, LARGE - LARGE / 20), count, "one row in ten is in another run, too");
        let meeting = runs(count, LARGE, LARGE - LARGE / 4);
        assert!(meeting <= RUNS_MAX, "every other row is in another run, and there are {meeting}");
    }

    #[test]
    fn small_runs_are_merged_beside_large_ones() {
        let rows = LARGE / 3;
        let run = |from: usize, rows: usize| known(from * LARGE..from * LARGE + rows, 1);
        let mut whole = merge(&run(0, LARGE), &run(1, LARGE));
        for number in 0..RUNS_MAX {
            whole = merge(&whole, &run(2 + number, rows));
        }
        assert_eq!(whole.runs().len(), 2 + RUNS_MAX);
        whole = merge(&whole, &run(2 + RUNS_MAX, rows));
        let updates: Vec<usize> = whole.runs().iter().map(|run| run.updates()).collect();
        assert_eq!(updates, [LARGE, LARGE, (RUNS_MAX + 1) * rows]);
        assert_eq!(SpineBatch::len(&whole), updates.iter().sum::<usize>());
    }

    #[test]
    fn a_merge_equals_a_map_however_it_is_interrupted() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let (mut beside, mut merged) = (0, 0);
        for _ in 0..100 {
            let (rows, loose) = (random.random_range(1..200), random.random_bool(0.7));
            // Batches are merged one after the other, as a trace does it.
            let mut whole: Option<Batch> = None;
            let mut expected = Updates::new();
            for step in 0..random.random_range(2..24) {
                let updates = random_updates(&mut random, rows, step..step + 5);
                let Some(next) = built(&updates).map(|run| Batch::new(run, loose)) else { continue };
                let Some(before) = whole.take() else {
                    expected = updates;
                    whole = Some(next);
                    continue;
                };
                let since = random.random_range(0..20);
                let mut merger = BatchMerger::new(&before, &next, AntichainRef::new(&[since]));
                loop {
                    let mut fuel = isize::from(random.random_range(1..100_i8));
                    merger.work(&before, &next, &mut fuel);
                    if fuel > 0 {
                        break;
                    }
                }
                whole = merger.done();
                // Runs that stand beside each other keep their times.
                let several = whole.as_ref().is_some_and(|whole| whole.runs().len() > 1);
                let mut sum = Updates::new();
                [&expected, &updates]
                    .into_iter()
                    .for_each(|updates| add(&mut sum, updates, if several { 0 } else { since }));
                expected = cleared(sum);
                assert_eq!(read(whole.as_ref()), expected);
                assert!(loose || !several);
                (beside, merged) = (beside + usize::from(several), merged + usize::from(!several));
            }
        }
        assert!(beside > 100 && merged > 100, "{beside} and {merged}");
    }
}
