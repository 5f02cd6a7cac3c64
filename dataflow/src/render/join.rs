//! Joins over private tables: one table of rows by key a side.
//!
//! Both inputs are brought to the worker that owns their key and wait until a time is complete. Then, time after time in
//! order: the changes of one side meet the other's rows of before, and the other's changes meet the first's rows of now. A row
//! that is kept without a partner stands beside NULLs; those go and come when a key of the other side gains its first row or loses
//! its last.

mod existence;
mod pairs;
mod split;

use std::rc::Rc;

use arrow::datatypes::{DataType, SchemaRef};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::keyed::{KeyedRows, blocks, by_worker};
use super::meter::{Holds, Meter};
use super::pending::Pending;
use super::{ChunkStream, Chunks, Context};
use crate::expr::{ScalarExpr, evaluate};
use crate::figures::Held;
use crate::plan::JoinKind;
use crate::repr::{Chunk, Diff, RowCodec, Timestamp, any_null, hash_bytes, owner};
use crate::state::{Multimap, Presence};
use pairs::PairBuilder;
use split::Split;

/// One input of a join.
pub(super) struct Side<'scope, 'a> {
    pub(super) chunks: Chunks<'scope>,
    pub(super) schema: SchemaRef,
    pub(super) keys: &'a [ScalarExpr],
}

/// What is joined and how.
pub(super) struct Shape<'a> {
    pub(super) kind: JoinKind,
    pub(super) null_equals_null: bool,
    pub(super) filter: Option<&'a ScalarExpr>,
}

/// A change of one side.
enum Change {
    Left(KeyedRows),
    Right(KeyedRows),
}

/// Joins two streams.
pub(super) fn join<'scope>(
    left: Side<'scope, '_>,
    right: Side<'scope, '_>,
    shape: Shape<'_>,
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let kind = shape.kind;
    let null_keys = |kept: bool| match (shape.null_equals_null, kept) {
        (true, _) => NullKeys::Join,
        (false, true) => NullKeys::Alone,
        (false, false) => NullKeys::Drop,
    };
    let keeps_left = kind.keeps_left() || matches!(kind, JoinKind::LeftAnti | JoinKind::LeftMark);
    let key_types: Vec<DataType> = left.keys.iter().map(|key| key.data_type.clone()).collect();
    let key_codec = || RowCodec::new(&key_types).unwrap_or_else(|error| panic!("{error}"));
    let split = |side: &Side<'scope, '_>| Rc::new(Split::new(&side.schema, side.keys));
    let (left_split, right_split) = (split(&left), split(&right));
    let left = key_rows(left, null_keys(keeps_left), key_codec(), Some(Rc::clone(&left_split)), context);
    // An existence join asks only whether there is a partner: the right rows themselves stay where they are.
    let whole = kind.pairs().then(|| Rc::clone(&right_split));
    let right = key_rows(right, null_keys(kind.keeps_right()), key_codec(), whole, context);
    if kind.pairs() {
        let filter = shape.filter.cloned();
        let position = context.position("join");
        let pairs = PairBuilder::new(
            key_codec(),
            [left_split, right_split],
            schema,
            (filter, position),
            context.errors.clone(),
        );
        matched(left, right, kind, pairs, context)
    } else {
        existence::existence(left, right, kind, (key_codec(), left_split), schema.clone(), context)
    }
}

/// What becomes of rows in whose key there is a NULL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NullKeys {
    /// NULL equals NULL.
    Join,
    /// They have no partner, and leave without one.
    Alone,
    /// They have no partner and therefore do not leave.
    Drop,
}

/// Evaluates a side's keys and addresses its rows (or, without a division, only their count) to the owners of the keys.
fn key_rows<'scope>(
    side: Side<'scope, '_>,
    null_keys: NullKeys,
    key_codec: RowCodec,
    split: Option<Rc<Split>>,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let keys: Vec<ScalarExpr> = side.keys.iter().map(|key| key.prepared(&side.schema)).collect();
    let (errors, position, peers) = (context.errors.clone(), context.position("join key"), context.peers);
    let Chunks { stream, steps } = side.chunks;
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Key rows", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let evaluated = evaluate(&keys, delta, &position);
                    errors.extend(time, evaluated.errors);
                    let key_rows = key_codec.encode(&evaluated.columns).expect("keys have their planned types");
                    let rest = split.as_ref().map(|split| {
                        let columns = split.rest(evaluated.delta.rows.columns());
                        split.codec().encode(&columns).expect("rows have planned types")
                    });
                    let mut out = blocks(peers, time);
                    let mut alone = blocks(peers, time);
                    alone.iter_mut().for_each(|block| block.alone = true);
                    for index in 0..evaluated.delta.len() {
                        let row = rest.as_ref().map_or(&[][..], |rest| rest.get(index));
                        let (key, diff) = (key_rows.get(index), evaluated.delta.diffs.get(index));
                        let hash = hash_bytes(key);
                        let to = match null_keys {
                            NullKeys::Join => &mut out,
                            _ if !any_null(&evaluated.columns, index) => &mut out,
                            NullKeys::Alone => &mut alone,
                            NullKeys::Drop => continue,
                        };
                        to[owner(hash, peers)].push(hash, key, row, diff);
                    }
                    session.give_iterator(out.into_iter().chain(alone).filter(|block| block.len() > 0));
                }
            });
        }
    })
}

/// The two sides' rows, and which of them leave without a partner.
struct Matched {
    left: Multimap,
    right: Multimap,
    kind: JoinKind,
}

impl Holds for Matched {
    fn held(&self) -> Held {
        let mut held = self.left.held();
        held += self.right.held();
        held
    }
}

/// A pair of rows with the key, of either the bytes beside the key.
type Pair<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

impl Matched {
    /// Applies one complete time; `emit` gets (key, left row, right row) and the diff.
    fn apply(&mut self, changes: &[Change], mut emit: impl FnMut(Pair<'_>, Diff)) {
        // A row that is kept without a partner and one that comes at the same time shall meet at once: the side that is not
        // kept goes first.
        if self.kind.keeps_left() {
            self.apply_right(changes, &mut emit);
            self.apply_left(changes, &mut emit);
        } else {
            self.apply_left(changes, &mut emit);
            self.apply_right(changes, &mut emit);
        }
    }

    fn apply_left(&mut self, changes: &[Change], emit: impl FnMut(Pair<'_>, Diff)) {
        let left = changes.iter().filter_map(|change| if let Change::Left(rows) = change { Some(rows) } else { None });
        half(&mut self.left, &self.right, (self.kind.keeps_left(), self.kind.keeps_right()), left, emit);
    }

    fn apply_right(&mut self, changes: &[Change], mut emit: impl FnMut(Pair<'_>, Diff)) {
        let right =
            changes.iter().filter_map(|change| if let Change::Right(rows) = change { Some(rows) } else { None });
        let keeps = (self.kind.keeps_right(), self.kind.keeps_left());
        half(&mut self.right, &self.left, keeps, right, |(key, row, partner), diff| emit((key, partner, row), diff));
    }
}

/// How many rows ahead the places of keys, and how many ahead their first rows are brought into the cache.
const INDEX_AHEAD: usize = 16;
const ENTRY_AHEAD: usize = 8;

/// Applies the changes of one side; `emit` gets (key, row of that side, row of the other side) and the diff.
fn half<'a>(
    own: &mut Multimap,
    other: &Multimap,
    (keeps_own, keeps_other): (bool, bool),
    changes: impl Iterator<Item = &'a KeyedRows> + Clone,
    mut emit: impl FnMut(Pair<'_>, Diff),
) {
    // What comes goes before what leaves: a row that replaces another does not leave its key without rows in between.
    let mut leaves = false;
    for leaving in [false, true] {
        if leaving && !leaves {
            break;
        }
        for rows in changes.clone() {
            for index in 0..rows.len() {
                if let Some(ahead) = rows.hashes.get(index + INDEX_AHEAD) {
                    other.warm_index(*ahead);
                    own.warm_index(*ahead);
                }
                if let Some(ahead) = rows.hashes.get(index + ENTRY_AHEAD) {
                    other.warm_entry(*ahead);
                    own.warm_entry(*ahead);
                }
                let (hash, key, row, diff) = rows.get(index);
                if (diff < 0) != leaving {
                    leaves |= diff < 0;
                    continue;
                }
                if rows.alone {
                    emit((key, Some(row), None), diff);
                    continue;
                }
                let mut alone = true;
                other.for_each(hash, key, |partner, count| {
                    alone = false;
                    emit((key, Some(row), Some(partner)), diff * count);
                });
                if alone && keeps_own {
                    emit((key, Some(row), None), diff);
                }
                let sign = match own.add(hash, key, row, diff) {
                    Presence::Gained => -1,
                    Presence::Lost => 1,
                    Presence::Same => continue,
                };
                if keeps_other && !alone {
                    other.for_each(hash, key, |partner, count| emit((key, None, Some(partner)), sign * count));
                }
            }
        }
    }
}

/// Pairs of rows with equal keys, and what is kept without a partner.
fn matched<'scope>(
    left: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    right: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    kind: JoinKind,
    mut pairs: PairBuilder,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let state = Matched { left: Multimap::default(), right: Multimap::default(), kind };
    let state = context.meter.holds(state);
    each_time(left, right, ("Join", &context.meter), move |time, changes, give| {
        state.borrow_mut().apply(changes, |pair, diff| {
            pairs.push(time, pair, diff).into_iter().for_each(&mut *give);
        });
        pairs.flush(time).into_iter().for_each(give);
    })
}

/// Hands the changes of both sides to `apply`, one complete time after the other; what it gives leaves at that time.
fn each_time<'scope>(
    left: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    right: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    (name, meter): (&str, &Meter),
    mut apply: impl FnMut(Timestamp, &[Change], &mut dyn FnMut(Chunk)) + 'static,
) -> ChunkStream<'scope> {
    let meter = meter.clone();
    left.binary_frontier(right, by_worker(), by_worker(), name, move |_, _| {
        let mut pending: Pending<Change> = Pending::default();
        move |(left, left_frontier), (right, right_frontier), output| {
            let _busy = meter.enter();
            left.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Left(rows)));
            });
            right.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Right(rows)));
            });
            while let Some((time, capability, changes)) = pending.pop_complete(&[left_frontier, right_frontier]) {
                let mut session = output.session(&capability);
                apply(time, &changes, &mut |chunk| {
                    meter.count(&chunk);
                    session.give(chunk);
                });
            }
        }
    })
}
