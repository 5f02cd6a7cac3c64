//! Existence joins: left rows that have a partner, that have none, or all with a mark that says which.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;

use super::kept::{IndexRows, Kept};
use super::{Change, Conduct, Sides, Step, each_time};
use crate::figures::Held;
use crate::plan::JoinKind;
use crate::render::context::batch;
use crate::render::import::CHUNK_ROWS;
use crate::render::meter::Holds;
use crate::render::split::Split;
use crate::render::{ChunkStream, Context};
use crate::repr::{Chunk, Delta, Diff, Diffs, RowBlock, RowCodec, Timestamp};
use crate::spines::RowTrace;
use crate::state::{Multimap, Presence};

/// Both sides' state.
struct Existence<L, R> {
    left: L,
    /// What is kept of right rows is how often their key is there.
    right: R,
}

impl<L: Kept, R: Kept> Holds for Existence<L, R> {
    fn held(&self) -> Held {
        let mut held = self.left.held();
        held += self.right.held();
        held
    }
}

impl<L: Kept, R: Kept> Existence<L, R> {
    /// Applies one complete time; `emit` gets (key, what the left row has beside it), whether that has a partner, and the
    /// diff.
    fn apply(&mut self, time: Timestamp, changes: &[Change], mut emit: impl FnMut((&[u8], &[u8]), bool, Diff)) {
        self.left.begin(time);
        self.right.begin(time);
        self.apply_right(changes, &mut emit);
        // These meet the partners of now, and leave once.
        for change in changes {
            let Change::Left(rows) = change else { continue };
            rows.for_each(|hash, key, row, diff| {
                if rows.alone {
                    emit((key, row), false, diff);
                } else {
                    emit((key, row), self.right.contains(hash, key), diff);
                    self.left.add(hash, key, row, diff);
                }
            });
        }
        self.left.reach();
    }

    /// A key that gains its first or loses its last partner moves all its left rows of before. What comes goes before what
    /// leaves, so that a partner that replaces another moves none.
    fn apply_right(&mut self, changes: &[Change], mut emit: impl FnMut((&[u8], &[u8]), bool, Diff)) {
        for leaving in [false, true] {
            for change in changes {
                let Change::Right(rows) = change else { continue };
                for index in 0..rows.len() {
                    let (hash, key, _, diff) = rows.get(index);
                    if (diff < 0) != leaving {
                        continue;
                    }
                    let after = match self.right.add(hash, key, &[], diff) {
                        Presence::Gained => true,
                        Presence::Lost => false,
                        Presence::Same => continue,
                    };
                    self.left.for_each(hash, key, |row, count| {
                        emit((key, row), !after, -count);
                        emit((key, row), after, count);
                    });
                }
            }
        }
        self.right.reach();
    }
}

/// Answers on their way back to columns.
struct Answers {
    kind: JoinKind,
    key_codec: RowCodec,
    split: Rc<Split>,
    schema: SchemaRef,
    keys: RowBlock,
    rows: RowBlock,
    marks: Vec<bool>,
    diffs: Vec<Diff>,
}

impl Answers {
    /// Adds a left row, if the kind lets it out; returns a chunk when one is full.
    fn push(&mut self, time: Timestamp, (key, row): (&[u8], &[u8]), partner: bool, diff: Diff) -> Option<Chunk> {
        let leaves = match self.kind {
            JoinKind::LeftSemi => partner,
            JoinKind::LeftAnti => !partner,
            _ => true,
        };
        if leaves {
            self.keys.push(key);
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
        let keys = self.key_codec.decode(self.keys.iter()).expect("keys decode");
        let mut columns: Vec<ArrayRef> = self.split.columns(&keys, self.rows.iter(), None);
        if self.kind == JoinKind::LeftMark {
            columns.push(Arc::new(BooleanArray::from(std::mem::take(&mut self.marks))));
        }
        let rows = batch(&self.schema, columns, self.rows.len());
        let delta = Delta { rows, diffs: Diffs::Each(self.diffs.as_slice().into()) };
        self.keys.clear();
        self.rows.clear();
        self.marks.clear();
        self.diffs.clear();
        Some(Chunk { time, delta })
    }
}

/// Left rows by whether they have a partner. `traces` are those of the sides that an index keeps. Beside the codec of the
/// keys, how the left columns are divided.
pub(super) fn existence<'scope>(
    sides: Sides<'scope>,
    traces: &[Option<RowTrace>; 2],
    conduct: Conduct,
    (key_codec, split): (RowCodec, Rc<Split>),
    schema: SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let (keys, rows, marks, diffs) = Default::default();
    let answers = Answers { kind: conduct.kind, key_codec, split, schema, keys, rows, marks, diffs };
    let index = |trace: &RowTrace, watched| IndexRows::new(trace, context.as_of, watched);
    let (left_index, right_index) = (|trace| index(trace, false), |trace| index(trace, true));
    let table = Multimap::default;
    match traces {
        [None, None] => answered(sides, Existence { left: table(), right: table() }, answers, context),
        [Some(left), None] => answered(sides, Existence { left: left_index(left), right: table() }, answers, context),
        [None, Some(right)] => {
            answered(sides, Existence { left: table(), right: right_index(right) }, answers, context)
        }
        [Some(left), Some(right)] => {
            answered(sides, Existence { left: left_index(left), right: right_index(right) }, answers, context)
        }
    }
}

fn answered<'scope, L: Kept + 'static, R: Kept + 'static>(
    sides: Sides<'scope>,
    state: Existence<L, R>,
    mut answers: Answers,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let state = context.meter.holds(state);
    each_time(sides, ("Existence join", &context.meter), move |step, give| match step {
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
