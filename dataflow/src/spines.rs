//! Every differential type name that the engine uses. Differential reshapes its public traits in every release; what
//! breaks, breaks here.
//!
//! One arrangement shape exists: byte rows in the order of their hashes, with plain counts as diffs ([`Batch`]). An operator
//! fills it by itself: an operator between it and the arrangement would have to be woken at every tick.

mod arranger;
mod batch;
mod heads;
mod lookup;
mod merger;
mod run;
mod walk;

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::operators::arrange::{ShutdownButton, TraceAgent};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::wrappers::frontier::BatchFrontier;
use differential_dataflow::trace::{ExertionLogic, Span, TraceReader};
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

pub(crate) use arranger::{Consolidated, RowArranger, Seal};
pub(crate) use batch::Batch;
pub(crate) use lookup::{Lookup, for_each_row_of};

use crate::figures::Held;
use crate::repr::{Diff, Timestamp};

/// A batch of an arrangement, shared.
pub(crate) type RowBatch = Rc<Batch>;
type RowSpine = Spine<RowBatch>;

/// The shareable handle of an arrangement.
pub(crate) type RowTrace = TraceAgent<RowSpine>;
/// A batch as an importer sees it.
type ImportedBatch = BatchFrontier<RowBatch, Timestamp>;
/// The stream of batches of an imported arrangement.
pub(crate) type ImportedStream<'scope> = Stream<'scope, Timestamp, Vec<Span<Timestamp, ImportedBatch>>>;

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

/// Calls `visit` with every (row, time, diff) of a batch, row after row.
pub(crate) fn for_each_update(batch: &Batch, mut visit: impl FnMut(&[u8], Timestamp, Diff)) {
    for row in batch.runs().iter().flat_map(|run| run.rows()) {
        row.stamps().for_each(|(time, diff)| visit(row.bytes(), time, diff));
    }
}

/// The same for an imported batch: what is there at `as_of`, or earlier, has come at `as_of`.
pub(crate) fn for_each_imported(batch: &ImportedBatch, mut visit: impl FnMut(&[u8], Timestamp, Diff)) {
    let mut stamps = Vec::new();
    for row in batch.inner().runs().iter().flat_map(|run| run.rows()) {
        stamps.clear();
        stamps.extend(row.stamps());
        stamps.retain_mut(|(time, _)| batch.advance_time(time));
        run::consolidate(&mut stamps);
        stamps.iter().for_each(|(time, diff)| visit(row.bytes(), *time, *diff));
    }
}

fn batches(trace: &mut RowTrace) -> Vec<RowBatch> {
    trace.batches_through(AntichainRef::new(&[])).expect("the whole trace can always be read")
}

/// What an arrangement holds: updates are the records.
pub(crate) fn held(trace: &mut RowTrace) -> Held {
    let mut held = Held::default();
    batches(trace).iter().for_each(|batch| held += batch.held());
    held
}

/// Calls `visit` with every row of the trace that is there at time `at`, and how often (never 0).
///
/// Requires since <= `at` < upper, which the control plane knows.
pub(crate) fn for_each_row_at(trace: &mut RowTrace, at: Timestamp, visit: impl FnMut(&[u8], Diff)) {
    let batches = batches(trace);
    walk::for_each_row_at(batches.iter().flat_map(|batch| batch.runs()).map(|run| &**run), at, visit);
}

/// Lets a trace forget distinctions of times before `since`, and merge its batches up to its upper.
pub(crate) fn compact(trace: &mut RowTrace, since: Timestamp) {
    let mut upper = Antichain::new();
    trace.read_upper(&mut upper);
    trace.set_logical_compaction(AntichainRef::new(&[since]));
    trace.set_physical_compaction(upper.borrow());
}
