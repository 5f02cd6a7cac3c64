//! Several runs side by side: which rows come next.

use smallvec::{SmallVec, smallvec};

use super::run::{Cursor, RowUpdates};

/// The rows of several runs, from the least order to the greatest.
///
/// Which run has the least is told by a tournament: an entry of a run that has gone on only meets those that it has not lost
/// to, so that a step costs the logarithm of the runs (D. Knuth, The Art of Computer Programming, vol. 3, 5.4.1).
pub(super) struct Heads<'a> {
    /// What comes next of each run.
    cursors: SmallVec<[Cursor<'a>; 16]>,
    /// Entries in a complete binary tree, whose node 1 is the root and whose node n has 2n and 2n + 1 below it: the runs' own
    /// are its leaves, and any other is the lesser of both below.
    tree: SmallVec<[u64; 32]>,
}

/// An entry is the order of a row and below it the number of its run, which takes so many bits.
const RUN_BITS: u32 = 16;
/// The entry of a run that has ended.
const ENDED: u64 = u64::MAX;

#[inline]
fn entry(cursor: &Cursor<'_>, run: usize) -> u64 {
    cursor.order().map_or(ENDED, |order| u64::from(order) << RUN_BITS | run as u64)
}

impl<'a> Heads<'a> {
    /// Begins where the cursors stand, of which there are at most 2^16.
    pub(super) fn new(cursors: impl Iterator<Item = Cursor<'a>>) -> Heads<'a> {
        let cursors: SmallVec<[_; 16]> = cursors.collect();
        assert!(cursors.len() <= 1 << RUN_BITS, "an arrangement has few runs");
        let leaves = cursors.len().next_power_of_two();
        let mut tree: SmallVec<[u64; 32]> = smallvec![ENDED; 2 * leaves];
        cursors.iter().enumerate().for_each(|(run, cursor)| tree[leaves + run] = entry(cursor, run));
        (1..leaves).rev().for_each(|node| tree[node] = tree[2 * node].min(tree[2 * node + 1]));
        Heads { cursors, tree }
    }

    /// Where each run stands, in the order in which they were given.
    pub(super) fn cursors(&self) -> &[Cursor<'a>] {
        &self.cursors
    }

    /// The order that comes next, above the number of its run.
    #[inline]
    fn least(&self) -> u64 {
        self.tree[1]
    }

    /// Takes the row that comes next, of which there must be one.
    #[inline]
    fn take(&mut self) -> RowUpdates<'a> {
        let run = self.least() as usize & ((1 << RUN_BITS) - 1);
        let cursor = &mut self.cursors[run];
        let row = cursor.next().expect("a run that has not ended");
        let mut least = entry(cursor, run);
        let tree = self.tree.as_mut_slice();
        let mut node = tree.len() / 2 + run;
        while node > 1 {
            tree[node] = least;
            least = least.min(tree[node ^ 1]);
            node /= 2;
        }
        tree[1] = least;
        row
    }

    /// Takes all rows of the order that comes next into `rows`, instead of what is there, in the order of their bytes: equal
    /// ones stand together. Leaves none if all runs have ended.
    #[inline]
    pub(super) fn take_order(&mut self, rows: &mut Vec<RowUpdates<'a>>) {
        rows.clear();
        let least = self.least();
        if least == ENDED {
            return;
        }
        while self.least() >> RUN_BITS == least >> RUN_BITS {
            rows.push(self.take());
        }
        // Almost always they are one row, of several runs.
        if rows.windows(2).any(|pair| pair[0].bytes() != pair[1].bytes()) {
            rows.sort_by(|a, b| a.bytes().cmp(b.bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::run::{Run, RunBuilder};
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_all_runs() {
        let mut random = ChaCha8Rng::seed_from_u64(13);
        for count in (0..20).chain([33]) {
            // Few orders and rows: several rows share an order, within a run and between them.
            let mut expected: Vec<(u32, [u8; 1])> = Vec::new();
            let runs: Vec<Run> = (0..count)
                .filter_map(|_| {
                    let length = random.random_range(0..50);
                    let row = |_| (random.random_range(0..40), [random.random_range(0..3)]);
                    let mut rows: Vec<(u32, [u8; 1])> = (0..length).map(row).collect();
                    rows.sort();
                    rows.dedup();
                    expected.extend(&rows);
                    let mut builder = RunBuilder::new(rows.len(), rows.len());
                    rows.iter().for_each(|(order, row)| builder.push(*order, row, (1, 1)));
                    builder.finish()
                })
                .collect();
            expected.sort();
            let mut heads = Heads::new(runs.iter().map(Run::rows));
            let (mut seen, mut rows) = (Vec::new(), Vec::new());
            loop {
                heads.take_order(&mut rows);
                let Some(first) = rows.first() else { break };
                assert!(rows.iter().all(|row| row.order() == first.order()));
                seen.extend(rows.iter().map(|row| (row.order(), [row.bytes()[0]])));
            }
            assert_eq!(seen, expected, "{count} runs");
            assert!(heads.cursors().iter().all(|cursor| cursor.order().is_none()));
        }
    }
}
