//! Semi joins: left rows that have a partner, as often as they stand on the left.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use timely::dataflow::Stream;
use timely::dataflow::operators::generic::Operator;

use super::Change;
use crate::render::ChunkStream;
use crate::render::import::{CHUNK_ROWS, decode_chunk};
use crate::render::keyed::{KeyedRows, by_worker};
use crate::render::pending::Pending;
use crate::repr::{Chunk, Diff, RowBlock, RowCodec, Timestamp};
use crate::state::Multimap;

/// Both sides' state.
#[derive(Default)]
struct SemiState {
    left: Multimap,
    /// One empty row a key, as often as the key stands on the right.
    right: Multimap,
}

impl SemiState {
    fn partners(&self, hash: u64, key: &[u8]) -> Diff {
        let mut partners = 0;
        self.right.for_each(hash, key, |_, count| partners += count);
        partners
    }

    /// Applies one complete time and emits the change of the answer.
    fn apply(&mut self, changes: &[Change], mut emit: impl FnMut(&[u8], Diff)) {
        for change in changes {
            let Change::Left(rows) = change else { continue };
            rows.for_each(|hash, key, row, diff| {
                if self.partners(hash, key) > 0 {
                    emit(row, diff);
                }
            });
        }
        for change in changes {
            let Change::Left(rows) = change else { continue };
            rows.for_each(|hash, key, row, diff| self.left.add(hash, key, row, diff));
        }
        let mut touched: BTreeMap<&[u8], (u64, Diff)> = BTreeMap::new();
        for change in changes {
            let Change::Right(rows) = change else { continue };
            for index in 0..rows.len() {
                let (hash, key) = (rows.hashes[index], rows.keys.get(index));
                let before = self.partners(hash, key);
                touched.entry(key).or_insert((hash, before));
                self.right.add(hash, key, &[], rows.diffs[index]);
            }
        }
        // Left rows of this time were emitted by the partners of before; a key that gains its first or loses its last
        // partner brings all its left rows of now.
        for (key, (hash, before)) in touched {
            let after = self.partners(hash, key);
            let sign = Diff::from(after > 0) - Diff::from(before > 0);
            if sign != 0 {
                self.left.for_each(hash, key, |row, count| emit(row, sign * count));
            }
        }
    }
}

/// Left rows with a partner.
pub(super) fn semi<'scope>(
    left: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    right: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    codec: RowCodec,
    schema: SchemaRef,
) -> ChunkStream<'scope> {
    let mut state = SemiState::default();
    left.binary_frontier(right, by_worker(), by_worker(), "Semi join", move |_, _| {
        let mut pending: Pending<Change> = Pending::default();
        let (mut rows, mut diffs): (RowBlock, Vec<Diff>) = Default::default();
        move |(left, left_frontier), (right, right_frontier), output| {
            left.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Left(rows)));
            });
            right.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Right(rows)));
            });
            while let Some((time, capability, changes)) = pending.pop_complete(&[left_frontier, right_frontier]) {
                let mut session = output.session(&capability);
                let mut flush = |rows: &mut RowBlock, diffs: &mut Vec<Diff>| {
                    let chunk: Chunk = decode_chunk(time, rows, diffs, &codec, &schema);
                    session.give(chunk);
                    rows.clear();
                    diffs.clear();
                };
                state.apply(&changes, |row, diff| {
                    rows.push(row);
                    diffs.push(diff);
                    if rows.len() >= CHUNK_ROWS {
                        flush(&mut rows, &mut diffs);
                    }
                });
                if !rows.is_empty() {
                    flush(&mut rows, &mut diffs);
                }
            }
        }
    })
}
