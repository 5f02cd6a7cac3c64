//! Joins over tables of rows by key, one a side: private ones, or indexes.
//!
//! Both inputs are brought to the worker that owns their key and wait until a time is complete. Then, time after time in
//! order: the changes of one side meet the other's rows of before, and the other's changes meet the first's rows of now. A row
//! that is kept without a partner stands beside NULLs; those go and come when a key of the other side gains its first row or loses
//! its last.
//!
//! An index is on the owners' workers already, and its rows are looked up where they are. Its own changes go first where that
//! is allowed: so what it holds at the beginning meets nothing, and need not even be read.

mod existence;
mod kept;
mod pairs;

use std::rc::Rc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::index::Indexed;
use super::keyed::{KeyedRows, blocks, by_worker};
use super::meter::{Holds, Meter};
use super::pending::Pending;
use super::split::Split;
use super::{ChunkStream, Chunks, Context};
use crate::expr::{ScalarExpr, evaluate};
use crate::figures::Held;
use crate::plan::JoinKind;
use crate::repr::{Chunk, Diff, EncodedRows, RowCodec, Timestamp, any_null, hash_bytes, owner};
use crate::spines::RowTrace;
use crate::state::{Multimap, Presence};
use kept::{IndexRows, Kept};
use pairs::PairBuilder;

/// One input of a join.
pub(super) struct Side<'scope, 'a> {
    pub(super) rows: SideRows<'scope, 'a>,
    pub(super) schema: SchemaRef,
    pub(super) keys: &'a [ScalarExpr],
}

/// Where the rows of an input are.
pub(super) enum SideRows<'scope, 'a> {
    /// They come in, and the join keeps them.
    Chunks(Chunks<'scope>),
    /// An index keeps them; of its columns these are the input's. The meter is that of the input's node.
    Index(Indexed<'scope>, &'a [usize], Meter),
}

impl Side<'_, '_> {
    /// The arrangement of the index.
    fn trace(&self) -> Option<RowTrace> {
        match &self.rows {
            SideRows::Chunks(_) => None,
            SideRows::Index(index, ..) => Some(index.trace.clone()),
        }
    }

    /// How the columns are divided between the key and what is kept beside it.
    fn split(&self) -> Rc<Split> {
        let columns: Vec<Option<usize>> = self.keys.iter().map(ScalarExpr::column).collect();
        Rc::new(match &self.rows {
            SideRows::Chunks(_) => Split::new(&self.schema, &columns),
            SideRows::Index(index, columns, _) => Split::of_index(&index.schema, self.keys.len(), columns),
        })
    }
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

/// What decides how a join goes about its work.
#[derive(Clone, Copy)]
struct Conduct {
    kind: JoinKind,
    /// Which side's changes are applied first.
    right_first: bool,
}

/// The two inputs' changes by key.
type Sides<'scope> = [Stream<'scope, Timestamp, Vec<KeyedRows>>; 2];

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
    let traces = [left.trace(), right.trace()];
    // An existence join lets left rows out with and without a partner, if only to take them back.
    let (keeps_left, keeps_right) = (kind.keeps_left() || !kind.pairs(), kind.keeps_right());
    // A row that is kept without a partner and one that comes at the same time shall meet at once: the side that is not
    // kept goes first. Of two of which neither is kept it is the index, for then nothing is there that it could meet first.
    let right_first = match (keeps_left, keeps_right) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => traces[0].is_none() && traces[1].is_some(),
    };
    let conduct = Conduct { kind, right_first };
    let snapshots = [keeps_left || right_first, keeps_right || !right_first];
    let key_types: Vec<DataType> = left.keys.iter().map(|key| key.data_type.clone()).collect();
    let key_codec = || RowCodec::new(&key_types).unwrap_or_else(|error| panic!("{error}"));
    let (left_split, right_split) = (left.split(), right.split());
    let null_left = null_keys(kind.keeps_left() || matches!(kind, JoinKind::LeftAnti | JoinKind::LeftMark));
    let left = side_rows((left, snapshots[0]), null_left, key_codec(), Some(Rc::clone(&left_split)), context);
    // An existence join asks only whether there is a partner: the right rows themselves stay where they are.
    let whole = kind.pairs().then(|| Rc::clone(&right_split));
    let right = side_rows((right, snapshots[1]), null_keys(keeps_right), key_codec(), whole, context);
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
        // Whether a key has rows at all is asked of the side whose partners are kept without it.
        let index = |trace: &RowTrace, watched| IndexRows::new(trace, context.as_of, watched);
        let left_index = |trace| index(trace, kind.keeps_right());
        let right_index = |trace| index(trace, kind.keeps_left());
        let (sides, table) = ([left, right], Multimap::default);
        match &traces {
            [None, None] => matched(sides, (table(), table()), conduct, pairs, context),
            [Some(left), None] => matched(sides, (left_index(left), table()), conduct, pairs, context),
            [None, Some(right)] => matched(sides, (table(), right_index(right)), conduct, pairs, context),
            [Some(left), Some(right)] => {
                matched(sides, (left_index(left), right_index(right)), conduct, pairs, context)
            }
        }
    } else {
        existence::existence([left, right], &traces, conduct, (key_codec(), left_split), schema.clone(), context)
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

impl NullKeys {
    /// Whether row `index` leaves alone, given its key's columns; `None` if it does not leave.
    #[inline]
    fn alone(self, keys: &[ArrayRef], index: usize) -> Option<bool> {
        match self {
            NullKeys::Join => Some(false),
            _ if !any_null(keys, index) => Some(false),
            NullKeys::Alone => Some(true),
            NullKeys::Drop => None,
        }
    }
}

/// The rows of a side by their keys, with the owners of the keys: what stands beside the key or, without a division, only
/// their count; those of an index at `as_of` only if the snapshot is asked for.
fn side_rows<'scope>(
    (Side { rows, schema, keys }, snapshot): (Side<'scope, '_>, bool),
    null_keys: NullKeys,
    key_codec: RowCodec,
    split: Option<Rc<Split>>,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    match rows {
        SideRows::Chunks(chunks) => key_rows((chunks, &schema, keys), null_keys, key_codec, split, context),
        SideRows::Index(index, _, meter) => {
            let alone = move |keys: &[ArrayRef], index| null_keys.alone(keys, index);
            index.changes((snapshot, split.is_some()), meter, context, alone)
        }
    }
}

/// Evaluates a side's keys and addresses its rows (or, without a division, only their count) to the owners of the keys.
fn key_rows<'scope>(
    (Chunks { stream, steps }, schema, keys): (Chunks<'scope>, &SchemaRef, &[ScalarExpr]),
    null_keys: NullKeys,
    key_codec: RowCodec,
    split: Option<Rc<Split>>,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let keys: Vec<ScalarExpr> = keys.iter().map(|key| key.prepared(schema)).collect();
    let (errors, position, peers) = (context.errors.clone(), context.position("join key"), context.peers);
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
                    let rows = evaluated.delta.len();
                    let bytes = (key_rows.usual_len(), rest.as_ref().map_or(0, EncodedRows::usual_len));
                    let mut out = blocks(peers, time, rows, bytes);
                    let mut alone = blocks(peers, time, 0, (0, 0));
                    alone.iter_mut().for_each(|block| block.alone = true);
                    for index in 0..rows {
                        let row = rest.as_ref().map_or(&[][..], |rest| rest.get(index));
                        let (key, diff) = (key_rows.get(index), evaluated.delta.diffs.get(index));
                        let (to, hash) = match null_keys.alone(&evaluated.columns, index) {
                            Some(false) => (&mut out, hash_bytes(key)),
                            // Nobody looks for them: all workers share them, however alike their keys are.
                            Some(true) => (&mut alone, hash_bytes(row)),
                            None => continue,
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
struct Matched<L, R> {
    left: L,
    right: R,
    conduct: Conduct,
}

impl<L: Kept, R: Kept> Holds for Matched<L, R> {
    fn held(&self) -> Held {
        let mut held = self.left.held();
        held += self.right.held();
        held
    }
}

/// A pair of rows with the key, of either the bytes beside the key.
type Pair<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

impl<L: Kept, R: Kept> Matched<L, R> {
    /// Applies one complete time; `emit` gets (key, left row, right row) and the diff.
    fn apply(&mut self, time: Timestamp, changes: &[Change], mut emit: impl FnMut(Pair<'_>, Diff)) {
        self.left.begin(time);
        self.right.begin(time);
        if self.conduct.right_first {
            self.apply_right(changes, &mut emit);
            self.apply_left(changes, &mut emit);
        } else {
            self.apply_left(changes, &mut emit);
            self.apply_right(changes, &mut emit);
        }
    }

    fn apply_left(&mut self, changes: &[Change], emit: impl FnMut(Pair<'_>, Diff)) {
        let left = changes.iter().filter_map(|change| if let Change::Left(rows) = change { Some(rows) } else { None });
        let Conduct { kind, .. } = self.conduct;
        half(&mut self.left, &self.right, (kind.keeps_left(), kind.keeps_right()), left, emit);
        self.left.reach();
    }

    fn apply_right(&mut self, changes: &[Change], mut emit: impl FnMut(Pair<'_>, Diff)) {
        let right =
            changes.iter().filter_map(|change| if let Change::Right(rows) = change { Some(rows) } else { None });
        let keeps = (self.conduct.kind.keeps_right(), self.conduct.kind.keeps_left());
        half(&mut self.right, &self.left, keeps, right, |(key, row, partner), diff| emit((key, partner, row), diff));
        self.right.reach();
    }
}

/// How many rows ahead the places of keys, and how many ahead their first rows are brought into the cache.
const INDEX_AHEAD: usize = 32;
const ENTRY_AHEAD: usize = 16;

/// Applies the changes of one side; `emit` gets (key, row of that side, row of the other side) and the diff.
fn half<'a>(
    own: &mut impl Kept,
    other: &impl Kept,
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
fn matched<'scope, L: Kept + 'static, R: Kept + 'static>(
    sides: Sides<'scope>,
    (left, right): (L, R),
    conduct: Conduct,
    mut pairs: PairBuilder,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let state = context.meter.holds(Matched { left, right, conduct });
    each_time(sides, ("Join", &context.meter), move |step, give| match step {
        Step::Apply(time, changes) => {
            state.borrow_mut().apply(time, changes, |pair, diff| {
                pairs.push(time, pair, diff).into_iter().for_each(&mut *give);
            });
            pairs.flush(time).into_iter().for_each(give);
        }
        Step::Settle(next) => {
            let state = &mut *state.borrow_mut();
            state.left.settle(next);
            state.right.settle(next);
        }
    })
}

/// What a join is told, one after the other.
enum Step<'a> {
    /// All changes of a time.
    Apply(Timestamp, &'a [Change]),
    /// No changes of a time before this one will come.
    Settle(Timestamp),
}

/// Hands the changes of both sides to `apply`, one complete time after the other; what it gives leaves at that time.
fn each_time<'scope>(
    [left, right]: Sides<'scope>,
    (name, meter): (&str, &Meter),
    mut apply: impl FnMut(Step<'_>, &mut dyn FnMut(Chunk)) + 'static,
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
                apply(Step::Apply(time, &changes), &mut |chunk| {
                    meter.count(&chunk);
                    session.give(chunk);
                });
            }
            let open = [left_frontier, right_frontier].map(|frontier| frontier.frontier().first().copied());
            // An empty frontier is what a dropped producer looks like: then nothing more is asked for.
            if let Some(next) = open.into_iter().flatten().chain(pending.earliest()).min() {
                apply(Step::Settle(next), &mut |_| {});
            }
        }
    })
}
