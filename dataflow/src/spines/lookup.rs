//! Look-ups: the rows of an arrangement that begin with given bytes.
//!
//! An index is arranged by the hashes of what its rows begin with, so all rows of a key are found by a search among numbers
//! and a walk in each run. Rows that begin with the same columns are told from others of the same hash by these bytes: the
//! bytes of a column never begin those of another value.

use differential_dataflow::trace::TraceReader;
use smallvec::SmallVec;
use timely::progress::frontier::AntichainRef;

use super::run::order;
use super::{RowBatch, RowTrace, batches, compact};
use crate::repr::{Diff, Row, Timestamp, hash_bytes};

/// A reader of an arrangement that looks rows up by what they begin with, at times that never move back.
pub(crate) struct Lookup {
    trace: RowTrace,
    /// What the trace consisted of when it was last looked at.
    batches: Vec<RowBatch>,
}

impl Lookup {
    /// Looks up in `trace`, which keeps telling times after `since` apart until [`Lookup::compact`] says otherwise.
    pub(crate) fn new(trace: &RowTrace, since: Timestamp) -> Lookup {
        let mut trace = trace.clone();
        trace.set_logical_compaction(AntichainRef::new(&[since]));
        Lookup { trace, batches: Vec::new() }
    }

    /// Takes note of what the arrangement consists of by now, unless that has been done.
    pub(crate) fn look(&mut self) {
        if self.batches.is_empty() {
            self.batches = batches(&mut self.trace);
        }
    }

    /// Lets go of what was seen until the next [`Lookup::look`].
    pub(crate) fn forget(&mut self) {
        self.batches.clear();
    }

    /// Nothing is looked up at times before `since` any more, and nothing at all before the next [`Lookup::look`].
    pub(crate) fn compact(&mut self, since: Timestamp) {
        self.forget();
        compact(&mut self.trace, since);
    }

    /// Calls `visit` with every row that begins with `key`, of this hash, and is there at time `at`, and how often (never 0).
    pub(crate) fn for_each(&self, hash: u64, key: &[u8], at: Timestamp, visit: impl FnMut(&[u8], Diff)) {
        for_each_row_with(&self.batches, (hash, key), at, visit);
    }
}

/// Calls `visit` with every row of the trace that begins with one of `keys`, which are different and do not begin each
/// other, and is there at time `at`, and how often (never 0). Requires since <= `at` < upper.
pub(crate) fn for_each_row_of(trace: &mut RowTrace, keys: &[Row], at: Timestamp, mut visit: impl FnMut(&[u8], Diff)) {
    let batches = batches(trace);
    for key in keys {
        for_each_row_with(&batches, (hash_bytes(key.bytes()), key.bytes()), at, &mut visit);
    }
}

/// Calls `visit` with every row of `batches` that begins with `key` and is there at time `at`, in order, and how often
/// (never 0).
fn for_each_row_with(
    batches: &[RowBatch],
    (hash, key): (u64, &[u8]),
    at: Timestamp,
    mut visit: impl FnMut(&[u8], Diff),
) {
    let mut found: SmallVec<[(&[u8], Diff); 8]> = SmallVec::new();
    let mut origins = 0;
    for run in batches.iter().flat_map(|batch| batch.runs()) {
        let before = found.len();
        let rows = run.rows_of(order(hash)).filter(|row| row.bytes().starts_with(key));
        found.extend(rows.map(|row| (row.bytes(), row.count_at(at))).filter(|(_, count)| *count != 0));
        origins += usize::from(found.len() > before);
    }
    if origins > 1 {
        // A stable sort merges what is in order already.
        found.sort_by(|a, b| a.0.cmp(b.0));
    }
    for same in found.chunk_by(|a, b| a.0 == b.0) {
        let count: Diff = same.iter().map(|(_, count)| count).sum();
        if count != 0 {
            visit(same[0].0, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::operators::generic::operator::source;

    use super::super::RowArranger;
    use super::*;

    type Rows = BTreeMap<Vec<u8>, Diff>;

    /// All rows of `rows` that begin with `prefix`, where they are there.
    fn plain(rows: &BTreeMap<Vec<u8>, Vec<(Timestamp, Diff)>>, prefix: &[u8], at: Timestamp) -> Rows {
        let count = |updates: &Vec<(Timestamp, Diff)>| updates.iter().filter(|(t, _)| *t <= at).map(|(_, d)| d).sum();
        let beginning = rows.iter().filter(|(row, _)| row.starts_with(prefix));
        beginning.map(|(row, updates)| (row.clone(), count(updates))).filter(|(_, count)| *count != 0).collect()
    }

    /// One random history in a trace that merges and forgets as it goes.
    fn run(seed: u64, arranger: &mut RowArranger, trace: &mut RowTrace) -> usize {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut lookup = Lookup::new(trace, 0);
        let mut rows: BTreeMap<Vec<u8>, Vec<(Timestamp, Diff)>> = BTreeMap::new();
        let (mut upper, mut since, mut seen) = (1, 0, 0);
        let (keys, tails) = (random.random_range(1..20u8), random.random_range(1..30u8));
        for _ in 0..random.random_range(1..40) {
            let next = upper + random.random_range(1..4);
            for _ in 0..random.random_range(0..30) {
                // A key of one or two bytes, none of which begins another, and a tail of any length.
                let key = match random.random_range(0..keys) {
                    key @ 0..4 => vec![9, key],
                    key => vec![key + 10],
                };
                let mut row = key.clone();
                row.extend(vec![random.random_range(0..3); usize::from(random.random_range(0..tails)) / 7]);
                let (time, diff) = (random.random_range(upper..next), random.random_range(-2..=2));
                arranger.insert(hash_bytes(&key), &row, time, diff);
                rows.entry(row).or_default().push((time, diff));
            }
            arranger.seal(AntichainRef::new(&[next]));
            arranger.exert();
            upper = next;
            lookup.forget();
            lookup.look();
            for _ in 0..8 {
                let at = random.random_range(since..upper);
                let prefix = match random.random_range(0..=keys) {
                    key @ 0..4 => vec![9, key],
                    key => vec![key + 10],
                };
                let mut found = Vec::new();
                lookup.for_each(hash_bytes(&prefix), &prefix, at, |row, count| found.push((row.to_vec(), count)));
                seen += found.len();
                let expected: Vec<_> = plain(&rows, &prefix, at).into_iter().collect();
                assert_eq!(found, expected, "{prefix:?} at {at}, since {since}, seed {seed}");
            }
            if random.random_bool(0.4) {
                since = random.random_range(since..upper);
                lookup.compact(since);
                compact(trace, since);
            }
        }
        arranger.seal(AntichainRef::new(&[]));
        seen
    }

    #[test]
    fn rows_of_a_key_equal_a_map_at_every_readable_time() {
        let mut seen = 0;
        for seed in 0..300 {
            let found = timely::execute_directly(move |worker| {
                worker.dataflow::<Timestamp, _, _>(|scope| {
                    let mut found = 0;
                    source::<_, CapacityContainerBuilder<Vec<()>>, _, _>(scope, "Arranger", |_, info| {
                        let (mut arranger, mut trace) = RowArranger::new(&scope, &info, seed % 2 == 0);
                        found = run(seed, &mut arranger, &mut trace);
                        |_| {}
                    });
                    found
                })
            });
            seen += found;
        }
        assert!(seen > 10_000, "{seen} rows were found");
    }

    #[test]
    fn a_row_that_several_batches_hold_is_found_once() {
        timely::execute_directly(|worker| {
            worker.dataflow::<Timestamp, _, _>(|scope| {
                source::<_, CapacityContainerBuilder<Vec<()>>, _, _>(scope, "Arranger", |_, info| {
                    let (mut arranger, trace) = RowArranger::new(&scope, &info, true);
                    let mut lookup = Lookup::new(&trace, 0);
                    for (time, row, diff) in [(1, [1, 1], 1), (2, [1, 2], 1), (3, [1, 1], -1), (4, [1, 0], 2)] {
                        arranger.insert(hash_bytes(&row[..1]), &row, time, diff);
                        arranger.seal(AntichainRef::new(&[time + 1]));
                    }
                    lookup.look();
                    let at = |at| {
                        let mut found = Vec::new();
                        lookup.for_each(hash_bytes(&[1]), &[1], at, |row, count| found.push((row[1], count)));
                        found
                    };
                    assert_eq!(at(2), [(1, 1), (2, 1)]);
                    assert_eq!(at(3), [(2, 1)]);
                    assert_eq!(at(4), [(0, 2), (2, 1)]);
                    |_| {}
                });
            });
        });
    }
}
