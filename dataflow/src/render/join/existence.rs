//! Existence joins: left rows that have a partner, that have none, or all with a mark that says which.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;
use timely::dataflow::Stream;

use super::kept::{IndexRows, Kept};
use super::pairs::RowShape;
use super::{ALONE, Change, Conduct, Step, each_time};
use crate::figures::Held;
use crate::plan::JoinKind;
use crate::render::context::batch;
use crate::render::import::CHUNK_ROWS;
use crate::render::keyed::KeyedRows;
use crate::render::meter::Holds;
use crate::render::{ChunkStream, Context};
use crate::repr::{Chunk, Delta, Diff, Diffs, RowBlock, Timestamp};
use crate::spines::RowTrace;
use crate::state::Multimap;

/// Both sides' state.
struct Existence<L, R> {
    left: L,
    /// What is kept of right rows is how often their key is there.
    right: R,
    conduct: Conduct,
}

impl<L: Kept, R: Kept> Holds for Existence<L, R> {
    fn held(&self) -> Held {
        let mut held = self.left.held();
        held += self.right.held();
        held
    }
}

impl<L: Kept, R: Kept> Existence<L, R> {
    fn has_partner(&self, hash: u64, key: &[u8]) -> bool {
        let mut partners = 0;
        self.right.for_each(hash, key, |_, count| partners += count);
        partners > 0
    }

    /// Applies one complete time; `emit` gets (left row, whether it has a partner, diff).
    fn apply(&mut self, time: Timestamp, changes: &[Change], mut emit: impl FnMut(&[u8], bool, Diff)) {
        self.left.begin(time);
        self.right.begin(time);
        self.apply_right(time, changes, &mut emit);
        // These meet the partners of now, and leave once.
        for change in changes {
            let Change::Left(rows) = change else { continue };
            rows.for_each(|hash, key, row, diff| {
                if self.conduct.keyed && key == ALONE {
                    emit(row, false, diff);
                } else {
                    emit(row, self.has_partner(hash, key), diff);
                    self.left.add(hash, key, row, diff);
                }
            });
        }
        self.left.reach(time);
    }

    /// A key that gains its first or loses its last partner moves all its left rows of before.
    fn apply_right(&mut self, time: Timestamp, changes: &[Change], mut emit: impl FnMut(&[u8], bool, Diff)) {
        let mut touched: BTreeMap<&[u8], (u64, bool)> = BTreeMap::new();
        for change in changes {
            let Change::Right(rows) = change else { continue };
            for index in 0..rows.len() {
                let (hash, key, _, diff) = rows.get(index);
                touched.entry(key).or_insert_with(|| (hash, self.has_partner(hash, key)));
                self.right.add(hash, key, &[], diff);
            }
        }
        self.right.reach(time);
        for (key, (hash, before)) in touched {
            let after = self.has_partner(hash, key);
            if before != after {
                self.left.for_each(hash, key, |row, count| {
                    emit(row, before, -count);
                    emit(row, after, count);
                });
            }
        }
    }
}

/// Answers on their way back to columns.
struct Answers {
    kind: JoinKind,
    shape: RowShape,
    schema: SchemaRef,
    rows: RowBlock,
    marks: Vec<bool>,
    diffs: Vec<Diff>,
}

impl Answers {
    /// Adds a left row, if the kind lets it out; returns a chunk when one is full.
    fn push(&mut self, time: Timestamp, row: &[u8], partner: bool, diff: Diff) -> Option<Chunk> {
        let leaves = match self.kind {
            JoinKind::LeftSemi => partner,
            JoinKind::LeftAnti => !partner,
            _ => true,
        };
        if leaves {
            self.rows.push(row);
            self.marks.push(partner);
            self.diffs.push(diff);
        }
        if self.rows.len() >= CHUNK_ROWS { self.flush(time) } else { None }
    }

    fn flush(&mut self, time: Timestamp) -> Option<Chunk> {
        if self.rows.is_empty() {
            return None;
        }
        let mut columns: Vec<ArrayRef> = self.shape.decode(&self.rows);
        if self.kind == JoinKind::LeftMark {
            columns.push(Arc::new(BooleanArray::from(std::mem::take(&mut self.marks))));
        }
        let rows = batch(&self.schema, columns, self.rows.len());
        let delta = Delta { rows, diffs: Diffs::Each(self.diffs.as_slice().into()) };
        self.rows.clear();
        self.marks.clear();
        self.diffs.clear();
        Some(Chunk { time, delta })
    }
}

/// Left rows by whether they have a partner. `traces` are those of the sides that an index keeps, `shape` is that of left rows.
pub(super) fn existence<'scope>(
    (left, right): (Stream<'scope, Timestamp, Vec<KeyedRows>>, Stream<'scope, Timestamp, Vec<KeyedRows>>),
    traces: (Option<RowTrace>, Option<RowTrace>),
    conduct: Conduct,
    shape: RowShape,
    schema: SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let (rows, marks, diffs) = Default::default();
    let answers = Answers { kind: conduct.kind, shape, schema, rows, marks, diffs };
    let streams = (left, right);
    let index = |trace: &RowTrace| IndexRows::new(trace, context.as_of);
    let table = Multimap::default;
    match (&traces.0, &traces.1) {
        (None, None) => answered(streams, Existence { left: table(), right: table(), conduct }, answers, context),
        (Some(left), None) => {
            answered(streams, Existence { left: index(left), right: table(), conduct }, answers, context)
        }
        (None, Some(right)) => {
            answered(streams, Existence { left: table(), right: index(right), conduct }, answers, context)
        }
        (Some(left), Some(right)) => {
            answered(streams, Existence { left: index(left), right: index(right), conduct }, answers, context)
        }
    }
}

fn answered<'scope, L: Kept + 'static, R: Kept + 'static>(
    streams: (Stream<'scope, Timestamp, Vec<KeyedRows>>, Stream<'scope, Timestamp, Vec<KeyedRows>>),
    state: Existence<L, R>,
    mut answers: Answers,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let state = context.meter.holds(state);
    each_time(streams, ("Existence join", &context.meter), move |step, give| match step {
        Step::Apply(time, changes) => {
            state.borrow_mut().apply(time, changes, |row, partner, diff| {
                answers.push(time, row, partner, diff).into_iter().for_each(&mut *give);
            });
            answers.flush(time).into_iter().for_each(give);
        }
        Step::Settle(next) => {
            let state = &mut *state.borrow_mut();
            state.left.settle(next);
            state.right.settle(next);
        }
    })
}
