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

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::import::codec_for;
use super::index::Indexed;
use super::keyed::{KeyedRows, blocks, by_worker};
use super::meter::{Holds, Meter};
use super::pending::Pending;
use super::{ChunkStream, Chunks, Context};
use crate::expr::{ScalarExpr, evaluate};
use crate::figures::Held;
use crate::plan::JoinKind;
use crate::repr::{Chunk, Diff, RowCodec, Timestamp, any_null, hash_bytes, owner};
use crate::spines::RowTrace;
use crate::state::Multimap;
use kept::{IndexRows, Kept};
use pairs::{PairBuilder, RowShape};

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

impl SideRows<'_, '_> {
    /// The arrangement of the index.
    fn trace(&self) -> Option<RowTrace> {
        match self {
            SideRows::Chunks(_) => None,
            SideRows::Index(index, ..) => Some(index.trace.clone()),
        }
    }
}

impl Side<'_, '_> {
    /// How the bytes of a row become the input's columns.
    fn shape(&self) -> RowShape {
        match &self.rows {
            SideRows::Chunks(_) => RowShape::new(&self.schema, None),
            SideRows::Index(index, columns, _) => RowShape::new(&index.schema, Some(columns.to_vec())),
        }
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
    /// Whether there are keys at all: then [`ALONE`] is none of them.
    keyed: bool,
    /// Which side's changes are applied first.
    right_first: bool,
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
    let keeps_left = kind.keeps_left() || !kind.pairs();
    let keeps_right = kind.keeps_right();
    let traces = (left.rows.trace(), right.rows.trace());
    // A row that is kept without a partner and one that comes at the same time shall meet at once: the side that is not
    // kept goes first. Of two of which neither is kept it is the index, for then nothing is there that it could meet first.
    let right_first = match (keeps_left, keeps_right) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => traces.0.is_none() && traces.1.is_some(),
    };
    let conduct = Conduct { kind, keyed: !left.keys.is_empty(), right_first };
    let shapes = (left.shape(), right.shape());
    // An existence join asks only whether there is a partner: the right rows themselves stay where they are.
    let snapshots = (keeps_left || right_first, keeps_right || !right_first);
    let null_left = null_keys(kind.keeps_left() || matches!(kind, JoinKind::LeftAnti | JoinKind::LeftMark));
    let left = side_rows(left, null_left, (true, snapshots.0), context);
    let right = side_rows(right, null_keys(keeps_right), (kind.pairs(), snapshots.1), context);
    if kind.pairs() {
        let filter = shape.filter.cloned();
        let position = context.position("join");
        let pairs = PairBuilder::new(shapes, schema, filter, position, context.errors.clone());
        let as_of = context.as_of;
        let index = |trace: &RowTrace| IndexRows::new(trace, as_of);
        match (&traces.0, &traces.1) {
            (None, None) => matched((left, Multimap::default()), (right, Multimap::default()), conduct, pairs, context),
            (Some(trace), None) => matched((left, index(trace)), (right, Multimap::default()), conduct, pairs, context),
            (None, Some(trace)) => matched((left, Multimap::default()), (right, index(trace)), conduct, pairs, context),
            (Some(one), Some(other)) => matched((left, index(one)), (right, index(other)), conduct, pairs, context),
        }
    } else {
        existence::existence((left, right), traces, conduct, shapes.0, schema.clone(), context)
    }
}

/// What becomes of rows in whose key there is a NULL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NullKeys {
    /// NULL equals NULL.
    Join,
    /// They have no partner, and leave without one: they travel under [`ALONE`].
    Alone,
    /// They have no partner and therefore do not leave.
    Drop,
}

/// The key of rows that have no partner by nature. No row of a table has it: keys of no column are those of a cross join,
/// none of which is NULL.
const ALONE: &[u8] = &[];

impl NullKeys {
    /// The hash and the key under which row `index` travels, given its key's columns and bytes; `None` if it stays away.
    #[inline]
    fn of<'k>(self, keys: &[ArrayRef], index: usize, key: &'k [u8], row: &[u8]) -> Option<(u64, &'k [u8])> {
        if self == NullKeys::Join || !any_null(keys, index) {
            return Some((hash_bytes(key), key));
        }
        // Nobody looks for them: all workers share them.
        (self == NullKeys::Alone).then(|| (hash_bytes(row), ALONE))
    }
}

/// The rows of a side by their keys, with the owners of the keys: whole rows, or only how often the key is there; those of
/// an index at `as_of` only if the snapshot is asked for.
fn side_rows<'scope>(
    side: Side<'scope, '_>,
    null_keys: NullKeys,
    (whole, snapshot): (bool, bool),
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    match side.rows {
        SideRows::Chunks(chunks) => key_rows(chunks, (&side.schema, side.keys), null_keys, whole, context),
        SideRows::Index(index, _, meter) => {
            index.changes(snapshot, meter, context, move |block, keys, index, key, row, diff| {
                if let Some((hash, key)) = null_keys.of(keys, index, key, row) {
                    block.push(hash, key, if whole { row } else { &[] }, diff);
                }
            })
        }
    }
}

/// Evaluates a side's keys and addresses its rows (or only their count, if not `whole`) to the owners of the keys.
fn key_rows<'scope>(
    Chunks { stream, steps }: Chunks<'scope>,
    (schema, keys): (&SchemaRef, &[ScalarExpr]),
    null_keys: NullKeys,
    whole: bool,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let keys: Vec<ScalarExpr> = keys.iter().map(|key| key.prepared(schema)).collect();
    let key_codec = RowCodec::new(keys.iter().map(|key| &key.data_type)).unwrap_or_else(|error| panic!("{error}"));
    let row_codec = codec_for(schema);
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
                    let rows = whole
                        .then(|| row_codec.encode(evaluated.delta.rows.columns()).expect("rows have planned types"));
                    let mut out = blocks(peers, time);
                    for index in 0..evaluated.delta.len() {
                        let row = rows.as_ref().map_or(&[][..], |rows| rows.get(index));
                        let keyed = null_keys.of(&evaluated.columns, index, key_rows.get(index), row);
                        let Some((hash, key)) = keyed else { continue };
                        out[owner(hash, peers)].push(hash, key, row, evaluated.delta.diffs.get(index));
                    }
                    session.give_iterator(out.into_iter().filter(|block| block.len() > 0));
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

impl<L: Kept, R: Kept> Matched<L, R> {
    /// Applies one complete time; `emit` gets (left row, right row, diff).
    fn apply(&mut self, time: Timestamp, changes: &[Change], mut emit: impl FnMut(Option<&[u8]>, Option<&[u8]>, Diff)) {
        self.left.begin(time);
        self.right.begin(time);
        if self.conduct.right_first {
            self.apply_right(time, changes, &mut emit);
            self.apply_left(time, changes, &mut emit);
        } else {
            self.apply_left(time, changes, &mut emit);
            self.apply_right(time, changes, &mut emit);
        }
    }

    fn apply_left(
        &mut self,
        time: Timestamp,
        changes: &[Change],
        emit: impl FnMut(Option<&[u8]>, Option<&[u8]>, Diff),
    ) {
        let left = changes.iter().filter_map(|change| if let Change::Left(rows) = change { Some(rows) } else { None });
        let Conduct { kind, keyed, .. } = self.conduct;
        half((&mut self.left, kind.keeps_left()), (&self.right, kind.keeps_right()), (time, left), keyed, emit);
    }

    fn apply_right(
        &mut self,
        time: Timestamp,
        changes: &[Change],
        mut emit: impl FnMut(Option<&[u8]>, Option<&[u8]>, Diff),
    ) {
        let right =
            changes.iter().filter_map(|change| if let Change::Right(rows) = change { Some(rows) } else { None });
        let Conduct { kind, keyed, .. } = self.conduct;
        let (own, other) = ((&mut self.right, kind.keeps_right()), (&self.left, kind.keeps_left()));
        half(own, other, (time, right), keyed, |row, partner, diff| emit(partner, row, diff));
    }
}

/// How many rows ahead the places of keys and rows, and how many ahead the entries of keys are brought into the cache.
const INDEX_AHEAD: usize = 16;
const ENTRY_AHEAD: usize = 8;

/// Applies the changes of one side; `emit` gets (row of that side, row of the other side, diff).
fn half<'a>(
    (own, keeps_own): (&mut impl Kept, bool),
    (other, keeps_other): (&impl Kept, bool),
    (time, changes): (Timestamp, impl Iterator<Item = &'a KeyedRows> + Clone),
    keyed: bool,
    mut emit: impl FnMut(Option<&[u8]>, Option<&[u8]>, Diff),
) {
    let mut touched: Vec<(u64, &[u8], bool)> = Vec::new();
    for rows in changes.clone() {
        for index in 0..rows.len() {
            if let Some(ahead) = rows.hashes.get(index + INDEX_AHEAD) {
                other.warm_index(*ahead);
                own.warm_index(*ahead);
            }
            if let Some(ahead) = rows.hashes.get(index + ENTRY_AHEAD) {
                other.warm_entry(*ahead);
            }
            let (hash, key, row, diff) = rows.get(index);
            if keyed && key == ALONE {
                emit(Some(row), None, diff);
                continue;
            }
            let mut alone = true;
            other.for_each(hash, key, |partner, count| {
                alone = false;
                emit(Some(row), Some(partner), diff * count);
            });
            if alone && keeps_own {
                emit(Some(row), None, diff);
            }
            if keeps_other {
                touched.push((hash, key, own.contains(hash, key)));
            }
        }
    }
    for rows in changes {
        for index in 0..rows.len() {
            if index + INDEX_AHEAD < rows.len() {
                let (hash, _, row, _) = rows.get(index + INDEX_AHEAD);
                own.warm_row(hash, row);
            }
            if let Some(ahead) = rows.hashes.get(index + ENTRY_AHEAD) {
                own.warm_entry(*ahead);
            }
            let (hash, key, row, diff) = rows.get(index);
            if !(keyed && key == ALONE) {
                own.add(hash, key, row, diff);
            }
        }
    }
    own.reach(time);
    // Each key once.
    touched.sort_unstable();
    touched.dedup();
    for (hash, key, before) in touched {
        let sign = Diff::from(before) - Diff::from(own.contains(hash, key));
        if sign != 0 {
            other.for_each(hash, key, |partner, count| emit(None, Some(partner), sign * count));
        }
    }
}

/// Pairs of rows with equal keys, and what is kept without a partner.
fn matched<'scope, L: Kept + 'static, R: Kept + 'static>(
    (left, left_rows): (Stream<'scope, Timestamp, Vec<KeyedRows>>, L),
    (right, right_rows): (Stream<'scope, Timestamp, Vec<KeyedRows>>, R),
    conduct: Conduct,
    mut pairs: PairBuilder,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let state = context.meter.holds(Matched { left: left_rows, right: right_rows, conduct });
    each_time((left, right), ("Join", &context.meter), move |step, give| match step {
        Step::Apply(time, changes) => {
            state.borrow_mut().apply(time, changes, |left, right, diff| {
                pairs.push(time, left, right, diff).into_iter().for_each(&mut *give);
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
    (left, right): (Stream<'scope, Timestamp, Vec<KeyedRows>>, Stream<'scope, Timestamp, Vec<KeyedRows>>),
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
