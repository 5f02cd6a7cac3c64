//! Every differential type name that the engine uses. Differential reshapes its public traits in every release; what
//! breaks, breaks here.
//!
//! One arrangement shape exists: whole rows as keys in a byte arena, with plain counts as diffs. An operator fills it by
//! itself: an operator between it and the arrangement would have to be woken at every tick.

mod arranger;
mod lookup;

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::batcher::merge::MergeBatcher;
use differential_dataflow::batcher::merge::chunker::ContainerChunker;
use differential_dataflow::batcher::merge::vec::VecMerger;
use differential_dataflow::operators::arrange::{ShutdownButton, TraceAgent};
use differential_dataflow::trace::cursor::{Navigable, cursor_list};
use differential_dataflow::trace::implementations::ord_neu::key_batch::OrdKeyStorage;
use differential_dataflow::trace::implementations::ord_neu::layers::UpdsBuilder;
use differential_dataflow::trace::implementations::ord_neu::{OrdKeyBatch, OrdKeyBuilder};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, OffsetList};
use differential_dataflow::trace::wrappers::frontier::BatchFrontier;
use differential_dataflow::trace::{Cursor, ExertionLogic, Span, TraceReader};
use timely::container::PushInto;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

pub(crate) use arranger::RowArranger;
pub(crate) use lookup::{Lookup, for_each_row_of};

use crate::figures::Held;
use crate::repr::{Diff, Row, Timestamp};

/// An update of an arrangement, before it is arranged.
type RowUpdate = ((Row, ()), Timestamp, Diff);

type Layout = (Arena, Vec<()>, Vec<Timestamp>, Vec<Diff>, OffsetList);
/// A batch of an arrangement: sorted, consolidated, immutable, shared.
pub(crate) type RowBatch = Rc<OrdKeyBatch<Layout>>;
type RowSpine = Spine<RowBatch>;
type RowBatcher = MergeBatcher<
    ContainerChunker<Vec<RowUpdate>>,
    VecMerger<(Row, ()), Timestamp, Diff>,
    OrdKeyBuilder<Layout, Vec<RowUpdate>>,
>;
type UpdatesBuilder = UpdsBuilder<Vec<Timestamp>, Vec<Diff>>;

/// The shareable handle of an arrangement.
pub(crate) type RowTrace = TraceAgent<RowSpine>;
/// The stream of batches of an imported arrangement.
pub(crate) type ImportedStream<'scope> =
    Stream<'scope, Timestamp, Vec<Span<Timestamp, BatchFrontier<RowBatch, Timestamp>>>>;

/// Where timely's configuration holds how much idle arrangements merge.
const EXERTION: &str = "differential/default_exert_logic";
/// Records of merging that an idle arrangement does per step.
const IDLE_EFFORT: usize = 1_000;
/// An arrangement at rest is left with batches that together hold up to this part of its largest one.
const LOOSE_PART: usize = 8;

/// How much arrangements merge when nothing arrives.
///
/// Without any effort, deleted rows stay in memory until something else merges. Merging everything into one batch, on the
/// other hand, would move all of a large view for every row that changes. So merges that have begun are finished, and
/// new ones begin only when the small batches weigh something beside the largest.
pub(crate) fn configure(config: &mut timely::WorkerConfig) {
    let exert: ExertionLogic = Arc::new(|layers| {
        let merging = layers.iter().any(|(_, batches, _)| *batches > 1);
        let total: usize = layers.iter().map(|(_, _, length)| length).sum();
        let largest = layers.iter().map(|(_, _, length)| *length).max().unwrap_or(0);
        (merging || (total - largest) * LOOSE_PART > largest).then_some(IDLE_EFFORT)
    });
    config.set::<ExertionLogic>(EXERTION.to_owned(), exert);
}

/// Byte rows back to back. The offsets widen by themselves: they never wrap at 4 GiB.
pub(crate) struct Arena {
    offsets: OffsetList,
    bytes: Vec<u8>,
}

impl Arena {
    fn with_offsets(rows: usize, bytes: usize) -> Arena {
        let mut offsets = OffsetList::with_capacity(rows + 1);
        offsets.push(0);
        Arena { offsets, bytes: Vec::with_capacity(bytes) }
    }
}

impl PushInto<Row> for Arena {
    fn push_into(&mut self, row: Row) {
        self.push_ref(row.bytes());
    }
}

impl BatchContainer for Arena {
    type Owned = Row;
    type ReadItem<'a> = &'a [u8];

    fn into_owned(item: &[u8]) -> Row {
        Row::new(item)
    }
    fn reborrow<'b, 'a: 'b>(item: &'a [u8]) -> &'b [u8] {
        item
    }
    fn push_ref(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.offsets.push(self.bytes.len());
    }
    fn push_own(&mut self, item: &Row) {
        self.push_ref(item.bytes());
    }
    fn clear(&mut self) {
        self.offsets = OffsetList::with_capacity(0);
        self.offsets.push(0);
        self.bytes.clear();
    }
    fn with_capacity(size: usize) -> Arena {
        Arena::with_offsets(size, size * 16)
    }
    fn merge_capacity(left: &Arena, right: &Arena) -> Arena {
        Arena::with_offsets(left.len() + right.len(), left.bytes.len() + right.bytes.len())
    }
    fn index(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets.index(index)..self.offsets.index(index + 1)]
    }
    fn len(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// Releases an import when dropped: differential's button does nothing by itself.
pub(crate) struct ImportToken(ShutdownButton<CapabilitySet<Timestamp>>);

impl Drop for ImportToken {
    fn drop(&mut self) {
        self.0.press();
    }
}

/// Imports an arrangement into another dataflow: its contents advanced to `as_of`, then its changes.
///
/// Panics if the arrangement has been compacted beyond `as_of`: the answers would be silently wrong, and the control
/// plane's read holds make it impossible.
pub(crate) fn import_rows<'scope>(
    trace: &RowTrace,
    scope: Scope<'scope, Timestamp>,
    name: &str,
    as_of: Timestamp,
) -> (ImportedStream<'scope>, ImportToken) {
    let mut reader = trace.clone();
    assert!(
        reader.get_logical_compaction().less_equal(&as_of),
        "{name} is imported at {as_of}, but it is compacted beyond that"
    );
    reader.set_logical_compaction(AntichainRef::new(&[as_of]));
    let (arranged, button) = reader.import_frontier(scope, name);
    (arranged.stream, ImportToken(button))
}

/// Calls `visit` with every (row, time, diff) of a batch, in the order of rows.
pub(crate) fn for_each_update<B>(batch: B, mut visit: impl FnMut(&[u8], Timestamp, Diff))
where
    B: Navigable<Cursor: for<'a> Cursor<Key<'a> = &'a [u8], Time = Timestamp, Diff = Diff>>,
{
    let (mut cursor, storage) = cursor_list(vec![batch]);
    while let Some(key) = cursor.get_key(&storage) {
        cursor.map_times(&storage, |time, diff| {
            visit(key, B::Cursor::owned_time(time), B::Cursor::owned_diff(diff));
        });
        cursor.step_key(&storage);
    }
}

/// How many updates a batch holds.
pub(crate) fn update_count(batch: &RowBatch) -> usize {
    batch.updates
}

/// What an arrangement holds: updates are the records.
pub(crate) fn held(trace: &mut RowTrace) -> Held {
    let batches = trace.batches_through(AntichainRef::new(&[])).expect("the whole trace can always be read");
    let mut held = Held::default();
    for batch in batches {
        let OrdKeyStorage { keys, upds } = &batch.storage;
        let offsets = |list: &OffsetList| list.smol.len() * size_of::<u32>() + list.chonk.len() * size_of::<u64>();
        let updates = upds.times.len() * size_of::<Timestamp>() + upds.diffs.len() * size_of::<Diff>();
        held += Held::new(batch.updates, keys.bytes.len() + offsets(&keys.offsets) + offsets(&upds.offs) + updates);
    }
    held
}

/// Calls `visit` with every row of the trace that is there at time `at`, and how often (never 0).
///
/// Requires since <= `at` < upper, which the control plane knows.
pub(crate) fn for_each_row_at(trace: &mut RowTrace, at: Timestamp, mut visit: impl FnMut(&[u8], Diff)) {
    let batches = trace.batches_through(AntichainRef::new(&[])).expect("the whole trace can always be read");
    let (mut cursor, storage) = cursor_list(batches);
    while let Some(key) = cursor.get_key(&storage) {
        let mut count: Diff = 0;
        cursor.map_times(&storage, |time, diff| {
            if *time <= at {
                count += *diff;
            }
        });
        if count != 0 {
            visit(key, count);
        }
        cursor.step_key(&storage);
    }
}

/// Lets a trace forget distinctions of times before `since`, and merge its batches up to its upper.
pub(crate) fn compact(trace: &mut RowTrace, since: Timestamp) {
    let mut upper = Antichain::new();
    trace.read_upper(&mut upper);
    trace.set_logical_compaction(AntichainRef::new(&[since]));
    trace.set_physical_compaction(upper.borrow());
}
