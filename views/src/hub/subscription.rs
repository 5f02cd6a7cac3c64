//! One subscription: a snapshot of its views at one time, then atomic transitions that follow each other without a gap.
//!
//! ```text
//!  views ── changes that became visible ──► pending (per collection) ──► transition (from, to] ──► outgoing ──► queue
//!  peeks at `at` ─────────────────────────► snapshot ────────────────────────────────────────────┘
//! ```
//! `at` is chosen so that no change after it has been passed on before the subscription existed. While the queue of the
//! subscriber is full nothing is made: changes stay pending, merged, and leave as one transition later.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use headwater_dataflow::repr::{CollectionId, Delta, Diffs, ObjectId, Timestamp};
use tokio::sync::mpsc;

use super::merge::consolidate;
use crate::control::{SubscriptionEvent, ViewChanges};

/// Rows in one event.
const PART_ROWS_MAX: usize = 8_192;
/// Pending rows beyond which a subscriber that does not read is closed.
const PENDING_ROWS_MAX: usize = 1_000_000;
/// Pending rows beyond which it is worth while to merge them.
const MERGE_ROWS_MIN: usize = 65_536;
/// How often a subscriber hears at least how far its views are.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Where the snapshot of one collection is.
pub(super) enum Snapshot {
    /// The view has not reached the time of the snapshot, or nobody has asked yet.
    Expected,
    /// A peek is on its way.
    Asked,
    /// Here it is; nothing if the subscriber does not want it, or has it.
    Ready(Vec<Delta>),
}

/// One collection of a subscription.
pub(super) struct Member {
    pub(super) collection: CollectionId,
    pub(super) schema: SchemaRef,
    pub(super) snapshot: Snapshot,
    /// Visible changes after `from`, in the order of their times.
    pending: VecDeque<(Timestamp, Delta)>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Everything is in the subscriber's queue.
    Done,
    /// The queue is full.
    Blocked,
    /// The subscriber has gone, or has been told why there is no more.
    Over,
}

/// The hub's state of one subscriber.
pub(super) struct Subscription {
    pub(super) members: Vec<Member>,
    /// The views of the members, each once.
    pub(super) objects: BTreeSet<ObjectId>,
    /// Something happened since it was last served.
    pub(super) touched: bool,
    /// The time of the snapshot.
    pub(super) at: Timestamp,
    /// Somebody waits for room in the queue and will tell.
    pub(super) awaits_room: bool,
    /// What the subscriber's last mark says; `None` before the snapshot.
    from: Option<Timestamp>,
    wants_snapshot: bool,
    wants_progress: bool,
    sender: mpsc::Sender<SubscriptionEvent>,
    outgoing: VecDeque<SubscriptionEvent>,
    closing: bool,
    pending_rows: usize,
    /// Merge when there are more pending rows than this.
    merge_above: usize,
    progress_sent: Instant,
}

impl Subscription {
    /// A subscription to `collections` from `at` on. `at` must not be before the last visible time of any of them.
    pub(super) fn new(
        collections: Vec<(CollectionId, SchemaRef)>,
        at: Timestamp,
        (skip_snapshot, wants_progress): (bool, bool),
        sender: mpsc::Sender<SubscriptionEvent>,
    ) -> Subscription {
        let schemas = collections.iter().map(|(_, schema)| SchemaRef::clone(schema)).collect();
        let member = |(collection, schema)| {
            let snapshot = if skip_snapshot { Snapshot::Ready(Vec::new()) } else { Snapshot::Expected };
            Member { collection, schema, snapshot, pending: VecDeque::new() }
        };
        Subscription {
            objects: collections.iter().map(|(collection, _)| collection.object).collect(),
            touched: true,
            members: collections.into_iter().map(member).collect(),
            at,
            awaits_room: false,
            from: None,
            wants_snapshot: !skip_snapshot,
            wants_progress,
            sender,
            outgoing: VecDeque::from([SubscriptionEvent::Started { schemas, at }]),
            closing: false,
            pending_rows: 0,
            merge_above: MERGE_ROWS_MIN,
            progress_sent: Instant::now(),
        }
    }

    /// Whether one of its collections is of `object`.
    pub(super) fn reads(&self, object: ObjectId) -> bool {
        self.objects.contains(&object)
    }

    /// The sending end of the subscriber's queue.
    pub(super) fn sender(&self) -> &mpsc::Sender<SubscriptionEvent> {
        &self.sender
    }

    /// Notes a change of `collection` that has become visible.
    pub(super) fn note(&mut self, collection: CollectionId, time: Timestamp, delta: &Delta) {
        if time <= self.at || self.closing {
            return;
        }
        for member in self.members.iter_mut().filter(|member| member.collection == collection) {
            self.pending_rows += delta.len();
            member.pending.push_back((time, delta.clone()));
        }
    }

    /// Makes and sends what can be sent, given that everything before `upper` is visible in all of the views.
    pub(super) fn advance(&mut self, upper: Timestamp, errors: u64) -> Delivery {
        match self.deliver() {
            Delivery::Done => {}
            Delivery::Blocked => {
                self.hold(upper);
                return self.deliver();
            }
            Delivery::Over => return Delivery::Over,
        }
        if self.closing {
            return Delivery::Done;
        }
        if upper <= self.at {
            // The views that are ahead do not wait for the slowest one.
            self.hold(upper);
            return self.deliver();
        }
        if let Err(error) = self.step(upper - 1, errors) {
            self.close(&format!("cannot merge changes: {error}"));
        }
        self.deliver()
    }

    /// Ends the subscription: what waits is given up, the reason is the last event.
    pub(super) fn close(&mut self, reason: &str) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.touched = true;
        self.pending_rows = 0;
        for member in &mut self.members {
            member.pending.clear();
            member.snapshot = Snapshot::Ready(Vec::new());
        }
        self.outgoing.clear();
        self.outgoing.push_back(SubscriptionEvent::Closing { reason: reason.to_owned() });
    }

    /// Puts what is outgoing into the subscriber's queue, as far as there is room.
    pub(super) fn deliver(&mut self) -> Delivery {
        if self.sender.is_closed() {
            return Delivery::Over;
        }
        while let Some(event) = self.outgoing.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.outgoing.push_front(event);
                    return Delivery::Blocked;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Delivery::Over,
            }
        }
        if self.closing { Delivery::Over } else { Delivery::Done }
    }

    /// The queue has room and everything up to `to` is visible: the snapshot, or the next transition, or a mark.
    fn step(&mut self, to: Timestamp, errors: u64) -> Result<(), ArrowError> {
        let Some(from) = self.from else {
            if self.members.iter().all(|member| matches!(member.snapshot, Snapshot::Ready(_))) {
                self.start(errors);
            } else {
                self.hold(to + 1);
            }
            return Ok(());
        };
        if to < from {
            return Ok(());
        }
        let mut changes = Vec::new();
        for (view, member) in self.members.iter_mut().enumerate() {
            let delta = member.take(to)?;
            self.pending_rows -= delta.1;
            changes.push((view, vec![delta.0]));
        }
        self.merge_above = MERGE_ROWS_MIN.max(2 * self.pending_rows);
        let changed = changes.iter().flat_map(|(_, deltas)| deltas).any(|delta| !delta.is_empty());
        if changed {
            self.transition((from, to), false, changes);
            self.from = Some(to);
        }
        let due = self.progress_sent.elapsed() >= PROGRESS_EVERY;
        if due || (self.wants_progress && !changed && to > from) {
            self.from = Some(to);
            self.progress(to, errors);
        }
        Ok(())
    }

    /// Sends the snapshot and its mark.
    fn start(&mut self, errors: u64) {
        if self.wants_snapshot {
            let take = |member: &mut Member| match std::mem::replace(&mut member.snapshot, Snapshot::Ready(Vec::new()))
            {
                Snapshot::Ready(deltas) => deltas,
                Snapshot::Expected | Snapshot::Asked => Vec::new(),
            };
            let changes = self.members.iter_mut().map(take).enumerate().collect();
            self.transition((0, self.at), true, changes);
        }
        self.from = Some(self.at);
        self.progress(self.at, errors);
    }

    fn progress(&mut self, to: Timestamp, errors: u64) {
        self.progress_sent = Instant::now();
        self.outgoing.push_back(SubscriptionEvent::Progress { upper: to + 1, errors });
    }

    /// Appends a transition in parts of at most [`PART_ROWS_MAX`] rows.
    fn transition(&mut self, (from, to): (Timestamp, Timestamp), snapshot: bool, changes: Vec<(usize, Vec<Delta>)>) {
        let mut parts: Vec<Vec<ViewChanges>> = Vec::new();
        let mut part = Vec::new();
        let mut room = PART_ROWS_MAX;
        for (view, delta) in changes.iter().flat_map(|(view, deltas)| deltas.iter().map(move |delta| (*view, delta))) {
            let mut offset = 0;
            while offset < delta.len() {
                let len = room.min(delta.len() - offset);
                part.push(view_changes(view, &delta.slice(offset, len)));
                offset += len;
                room -= len;
                if room == 0 {
                    parts.push(std::mem::take(&mut part));
                    room = PART_ROWS_MAX;
                }
            }
        }
        if !part.is_empty() || parts.is_empty() {
            parts.push(part);
        }
        let last = parts.len() - 1;
        for (index, changes) in parts.into_iter().enumerate() {
            let more = index < last;
            self.outgoing.push_back(SubscriptionEvent::Transition { from, to, snapshot, more, changes });
        }
    }

    /// Nothing can be sent: keeps what is pending small, and gives up if that does not help.
    fn hold(&mut self, upper: Timestamp) {
        if self.closing || self.pending_rows <= self.merge_above.min(PENDING_ROWS_MAX) {
            return;
        }
        if let Err(error) = self.merge(upper) {
            self.close(&format!("cannot merge changes: {error}"));
        } else if self.pending_rows > PENDING_ROWS_MAX {
            self.close(match self.from {
                Some(_) => "the subscriber is too slow: more than 1000000 changed rows wait for it; subscribe again",
                None => {
                    "the views are too far apart: one is ahead by more than 1000000 changed rows; subscribe again later"
                }
            });
        }
    }

    /// Merges the pending changes that will leave in one transition.
    fn merge(&mut self, upper: Timestamp) -> Result<(), ArrowError> {
        for member in &mut self.members {
            let Some(to) = upper.checked_sub(1) else { continue };
            let (delta, taken) = member.take(to)?;
            self.pending_rows = self.pending_rows - taken + delta.len();
            if !delta.is_empty() {
                member.pending.push_front((to, delta));
            }
        }
        self.merge_above = MERGE_ROWS_MIN.max(2 * self.pending_rows);
        Ok(())
    }
}

impl Member {
    /// Takes the pending changes up to `to`, consolidated, and says how many rows they were before.
    fn take(&mut self, to: Timestamp) -> Result<(Delta, usize), ArrowError> {
        let later = self.pending.partition_point(|(time, _)| *time <= to);
        let mut deltas: Vec<Delta> = self.pending.drain(..later).map(|(_, delta)| delta).collect();
        let rows = deltas.iter().map(Delta::len).sum();
        // One alone is a worker's share of one time, or what was merged before: consolidated as it comes.
        let delta = if deltas.len() == 1 { deltas.remove(0) } else { consolidate(&self.schema, &deltas)? };
        Ok((delta, rows))
    }
}

fn view_changes(view: usize, delta: &Delta) -> ViewChanges {
    let diffs = match &delta.diffs {
        Diffs::Ones => std::iter::repeat_n(1, delta.len()).collect(),
        Diffs::Each(diffs) => Arc::clone(diffs),
    };
    ViewChanges { view, rows: delta.rows.clone(), diffs }
}
