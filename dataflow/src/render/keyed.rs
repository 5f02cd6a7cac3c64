//! Rows on their way to the worker that owns their key.

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;

use crate::repr::{Diff, RowBlock, Timestamp};

/// Something that one worker sends to one worker.
pub(super) trait Addressed: Clone + Send + Serialize + for<'a> Deserialize<'a> + 'static {
    /// The receiver.
    fn worker(&self) -> u64;
}

/// How the reader of a stream gets what is addressed to its worker: no operator of its own is needed for that.
pub(super) fn by_worker<A: Addressed>() -> Exchange<A, impl FnMut(&A) -> u64 + 'static> {
    Exchange::new(|value: &A| value.worker())
}

/// Rows of one time that one worker owns, with their keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct KeyedRows {
    pub(super) worker: u64,
    pub(super) time: Timestamp,
    /// Whether these are rows that nobody looks for by their key, as in a join those whose key is NULL.
    pub(super) alone: bool,
    pub(super) keys: RowBlock,
    pub(super) hashes: Vec<u64>,
    pub(super) rows: RowBlock,
    pub(super) diffs: Vec<Diff>,
}

impl Addressed for KeyedRows {
    fn worker(&self) -> u64 {
        self.worker
    }
}

impl KeyedRows {
    pub(super) fn push(&mut self, hash: u64, key: &[u8], row: &[u8], diff: Diff) {
        self.keys.push(key);
        self.hashes.push(hash);
        self.rows.push(row);
        self.diffs.push(diff);
    }

    /// (hash, key, row, diff) of row `index`. Panics if there is none.
    #[inline]
    pub(super) fn get(&self, index: usize) -> (u64, &[u8], &[u8], Diff) {
        (self.hashes[index], self.keys.get(index), self.rows.get(index), self.diffs[index])
    }

    /// Calls `visit` with (hash, key, row, diff) of every row.
    #[inline]
    pub(super) fn for_each(&self, mut visit: impl FnMut(u64, &[u8], &[u8], Diff)) {
        for index in 0..self.len() {
            let (hash, key, row, diff) = self.get(index);
            visit(hash, key, row, diff);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }
}

/// One block a worker, for the rows of one chunk: about so many, whose keys and rows take about so many bytes each.
pub(super) fn blocks(peers: usize, time: Timestamp, rows: usize, bytes: (usize, usize)) -> Vec<KeyedRows> {
    let share = if peers == 1 { rows } else { rows / peers + rows / (peers * 8) };
    let block = |worker| KeyedRows {
        worker,
        time,
        alone: false,
        keys: RowBlock::with_capacity(share, share * bytes.0),
        hashes: Vec::with_capacity(share),
        rows: RowBlock::with_capacity(share, share * bytes.1),
        diffs: Vec::with_capacity(share),
    };
    (0..peers as u64).map(block).collect()
}
