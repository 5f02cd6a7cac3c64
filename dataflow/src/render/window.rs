//! Order-based operators: window functions, ranks, and the first rows of partitions, over one private tree a partition.
//!
//! Rows are brought to the worker that owns their partition and wait until a time is complete. Then, time after time in
//! order: the time's changes are added up, the stretches of the order whose answers they can touch are answered before and
//! after, and what differs leaves. So a row leaves at most once a time, and only if its answer changed.

mod frames;
mod kind;
mod measure;
mod output;
mod partition;
mod reach;
mod row;
mod stretch;
mod walker;

use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::keyed::{KeyedRows, blocks, by_worker};
use super::meter::{Holds, Meter};
use super::pending::Pending;
use super::{ChunkStream, Chunks, Context};
use crate::expr::{ScalarExpr, evaluate};
use crate::figures::Held;
use crate::plan::{OrderBy, RowLimit, WindowFunction};
use crate::repr::{Chunk, Diff, Timestamp, hash_bytes, owner, prefix};
use crate::state::{Chunked, KeyTable, Warm};
use kind::{Function, Weights};
use measure::Measure;
use output::{Input, Output};
use partition::{Partition, RowBytes, RowChange, Scratch, Shape};
use row::{Arguments, RowLayout, split_written, written_len};
use stretch::Asked;

/// What is asked of a window: see [`crate::plan::Op::Window`].
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    pub(super) partition: &'a [ScalarExpr],
    pub(super) order: &'a [OrderBy],
    pub(super) functions: &'a [WindowFunction],
    pub(super) limit: Option<RowLimit>,
}

/// The input's rows that leave, each with one more column a function.
pub(super) fn window<'scope>(
    (chunks, input): (Chunks<'scope>, SchemaRef),
    over: Over<'_>,
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let layout = RowLayout::new(over.functions);
    let mut weights = Weights::new(layout.clone());
    let functions: Vec<Function> =
        over.functions.iter().map(|function| Function::new(function, &layout, &mut weights)).collect();
    let kept = Rc::new(Input::new(&input, &over));
    let rows = write_rows((chunks, &input), over, (Rc::clone(&kept), layout.clone()), context);
    let output = Output::new(kept, &functions, schema, context);
    let measure = Measure::new(over.order);
    let sums = weights.len();
    let shape = Shape::new(Asked::new(functions, over.limit), layout, weights, measure);
    // Few sizes of the tree's totals, each compiled by itself.
    match sums {
        0 => answer::<0>(rows, shape, output, &context.meter),
        1..=2 => answer::<2>(rows, shape, output, &context.meter),
        3..=4 => answer::<4>(rows, shape, output, &context.meter),
        5..=8 => answer::<8>(rows, shape, output, &context.meter),
        _ => {
            assert!(sums <= SUMS_MAX, "lowering divides functions over several operators");
            answer::<SUMS_MAX>(rows, shape, output, &context.meter)
        }
    }
}

/// The most sums of one operator.
const SUMS_MAX: usize = 32;

/// Evaluates keys and arguments and addresses rows to the owners of their partitions.
fn write_rows<'scope>(
    (chunks, input): (Chunks<'scope>, &SchemaRef),
    over: Over<'_>,
    (kept, layout): (Rc<Input>, RowLayout),
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let keys = over.partition.len();
    let exprs: Vec<ScalarExpr> = over
        .partition
        .iter()
        .chain(over.order.iter().map(|key| &key.expr))
        .chain(&layout.args)
        .map(|expr| expr.prepared(input))
        .collect();
    let arguments_at = keys + over.order.len();
    let meter = context.meter.clone();
    let (errors, position, peers) = (context.errors.clone(), context.position("window"), context.peers);
    let Chunks { stream, steps } = chunks;
    stream.unary(Pipeline, "Write rows", move |_, _| {
        let mut written = Vec::new();
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let evaluated = evaluate(&exprs, delta, &position);
                    errors.extend(time, evaluated.errors);
                    let (delta, columns) = (evaluated.delta, evaluated.columns);
                    let partitions = kept.partition.encode(&columns[..keys]).expect("keys have their planned types");
                    let orders = kept.order.encode(&columns[keys..arguments_at]);
                    let rest = kept.split.rest(delta.rows.columns());
                    let rows = kept.split.codec().encode(&rest).expect("rows have planned types");
                    let arguments = Arguments::new(&layout, &columns[arguments_at..]);
                    let bytes = (partitions.usual_len(), written_len(orders.usual_len() + rows.usual_len(), &layout));
                    let mut out = blocks(peers, time, delta.len(), bytes);
                    for index in 0..delta.len() {
                        let key = partitions.get(index);
                        let hash = hash_bytes(key);
                        arguments.write(orders.get(index), rows.get(index), index, &mut written);
                        out[owner(hash, peers)].push(hash, key, &written, delta.diffs.get(index));
                    }
                    session.give_iterator(out.into_iter().filter(|block| block.len() > 0));
                }
            });
        }
    })
}

/// How many changes ahead the index of partitions, a partition, and the way to its last rows are brought into the cache.
const AHEAD_INDEX: usize = 28;
const AHEAD_PARTITION: usize = 20;
const AHEAD_ROWS: [(usize, Warm); 4] = [(16, Warm::Nodes), (12, Warm::Leaf), (8, Warm::Slots), (4, Warm::Strings)];

/// All partitions of one worker.
struct Partitions<const W: usize> {
    keys: KeyTable,
    partitions: Chunked<Partition<W>>,
    shape: Shape,
    scratch: Scratch,
    /// Rows, and the bytes that were written of them.
    held: (i64, i64),
}

/// What a row takes in the tree besides its bytes, about.
const ROW_BYTES: i64 = 24;

impl<const W: usize> Holds for Partitions<W> {
    fn held(&self) -> Held {
        let (rows, bytes) = self.held;
        let count = |value: i64| usize::try_from(value).unwrap_or(0);
        Held::new(count(rows), count(bytes + rows * ROW_BYTES) + self.keys.bytes() + self.partitions.bytes())
    }
}

/// The key of a partition and a row of it.
type Emitted<'a> = (&'a [u8], RowBytes<'a>);

/// A change of a row that a partition has.
struct Change<'a> {
    key: &'a [u8],
    row: &'a [u8],
    diff: Diff,
}

/// The same by the hash of its partition: where it stands among the blocks.
struct Changed {
    hash: u64,
    block: u32,
    index: u32,
}

impl<const W: usize> Partitions<W> {
    /// Applies one complete time.
    fn apply(&mut self, blocks: &[KeyedRows], mut emit: impl FnMut(Emitted<'_>, &[row::Value], Diff)) {
        let mut changed: Vec<Changed> = Vec::with_capacity(blocks.iter().map(KeyedRows::len).sum());
        for (block, rows) in (0_u32..).zip(blocks) {
            changed.extend((0_u32..).zip(&rows.hashes).map(|(index, hash)| Changed { hash: *hash, block, index }));
        }
        changed.sort_unstable_by_key(|changed| changed.hash);
        let mut same: Vec<Change<'_>> = Vec::new();
        let mut order: Vec<(u128, u32)> = Vec::new();
        let mut changes: Vec<RowChange<'_>> = Vec::new();
        let mut slots: Vec<Option<u32>> = Vec::with_capacity(changed.len());
        let mut at = 0;
        while let Some(Changed { hash, .. }) = changed.get(at) {
            same.clear();
            while let Some(Changed { block, index, .. }) = changed.get(at).filter(|changed| changed.hash == *hash) {
                self.warm(&changed, &mut slots, at);
                let (_, key, row, diff) = blocks[*block as usize].get(*index as usize);
                same.push(Change { key, row, diff });
                at += 1;
            }
            if same.iter().any(|change| change.key != same[0].key) {
                same.sort_by(|a, b| a.key.cmp(b.key));
            }
            for partition in same.chunk_by(|a, b| a.key == b.key) {
                consolidate(partition, &mut order, &mut changes);
                self.apply_to(*hash, partition[0].key, &changes, &mut emit);
            }
        }
    }

    fn apply_to(
        &mut self,
        hash: u64,
        key: &[u8],
        changes: &[RowChange<'_>],
        emit: &mut impl FnMut(Emitted<'_>, &[row::Value], Diff),
    ) {
        if changes.is_empty() {
            return;
        }
        let (slot, inserted) = self.keys.find_or_insert(hash, key);
        if inserted {
            self.partitions.grow_to(self.keys.slots(), Partition::default);
        }
        for (row, diff) in changes {
            self.held = (self.held.0 + diff, self.held.1 + diff * row.len() as i64);
        }
        self.partitions[slot].apply(changes, &self.shape, &mut self.scratch, |row, values, diff| {
            emit((key, row), values, diff);
        });
        if self.partitions[slot].is_empty() {
            self.partitions[slot] = Partition::default();
            self.keys.remove(slot);
        }
    }

    /// Looks ahead of change `at`. `slots` are those of the changes up to the partition that is looked at.
    #[inline]
    fn warm(&self, changed: &[Changed], slots: &mut Vec<Option<u32>>, at: usize) {
        if let Some(ahead) = changed.get(at + AHEAD_INDEX) {
            self.keys.warm_index(ahead.hash);
        }
        while slots.len() <= at + AHEAD_PARTITION
            && let Some(ahead) = changed.get(slots.len())
        {
            // Changes of one partition stand together: once is enough.
            let known = slots.len().checked_sub(1).is_some_and(|before| changed[before].hash == ahead.hash);
            let slot = if known { None } else { self.keys.warm_entry(ahead.hash) };
            slot.into_iter().for_each(|slot| self.partitions.warm(slot));
            slots.push(slot);
        }
        for (distance, step) in AHEAD_ROWS {
            if let Some(Some(slot)) = slots.get(at + distance) {
                self.partitions[*slot].warm(step);
            }
        }
    }
}

/// The changes of one partition in its order, those of the same row added up. `order` is scratch space.
fn consolidate<'a>(partition: &[Change<'a>], order: &mut Vec<(u128, u32)>, changes: &mut Vec<RowChange<'a>>) {
    let written = |change: &Change<'a>| split_written(change.row).1;
    order.clear();
    order.extend((0_u32..).zip(partition).map(|(at, change)| (prefix(written(change)), at)));
    // The first bytes decide nearly always, and stand side by side.
    let row = |at: u32| written(&partition[at as usize]);
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| row(a.1).cmp(row(b.1))));
    changes.clear();
    let mut before = None;
    for (prefix, at) in &*order {
        let Change { row, diff, .. } = &partition[*at as usize];
        match changes.last_mut() {
            Some((last, sum)) if before == Some(*prefix) && last == row => *sum += diff,
            _ => changes.push((row, *diff)),
        }
        before = Some(*prefix);
    }
    changes.retain(|change| change.1 != 0);
}

fn answer<'scope, const W: usize>(
    rows: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    shape: Shape,
    mut out: Output,
    meter: &Meter,
) -> ChunkStream<'scope> {
    let meter = meter.clone();
    let (keys, partitions, scratch) = (KeyTable::default(), Chunked::default(), Scratch::default());
    let partitions: Partitions<W> = Partitions { keys, partitions, shape, scratch, held: (0, 0) };
    let partitions = meter.holds(partitions);
    rows.unary_frontier(by_worker(), "Window", move |_, _| {
        let mut pending: Pending<KeyedRows> = Pending::default();
        move |(input, frontier), output| {
            let _busy = meter.enter();
            let mut partitions = partitions.borrow_mut();
            input.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|block| pending.insert(&capability, block.time, block));
            });
            while let Some((time, capability, blocks)) = pending.pop_complete(&[frontier]) {
                let mut session = output.session(&capability);
                let mut give = |chunk: Chunk| {
                    meter.count(&chunk);
                    session.give(chunk);
                };
                partitions.apply(&blocks, |row, values, diff| {
                    out.push(time, row, values, diff).into_iter().for_each(&mut give);
                });
                out.flush(time).into_iter().for_each(give);
            }
        }
    })
}
