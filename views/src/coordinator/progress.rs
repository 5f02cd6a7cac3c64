//! Where every object is in its life: hydrating, catching up, serving, failed; who watches; when a recovery is over.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use headwater_connectors::ingest::{SourceState, SourceStatus};
use headwater_connectors::source::Pace;
use headwater_dataflow::repr::{ObjectId, Timestamp};
use tokio::sync::mpsc;

use super::Coordinator;
use super::dataflows::{Dataflow, Stage};
use crate::catalog::{Definition, Object};
use crate::control::{ControlError, ObjectInfo, ObjectState};
use crate::hub::Frontier;
use crate::sql::ObjectKind;

/// Reports that wait for a watcher that does not read; later ones replace what it misses.
const WATCH_QUEUE: usize = 16;

/// What a view still misses of what its sources had when it was created.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// All sources that the view reads.
    sources: BTreeSet<ObjectId>,
    /// Those of which not everything has been read.
    behind: BTreeSet<ObjectId>,
    /// The last tick with rows of the others.
    target: Timestamp,
    /// The view has passed `target`, with no source behind.
    pub(super) done: bool,
}

impl CatchUp {
    pub(super) fn new(sources: BTreeSet<ObjectId>) -> CatchUp {
        CatchUp { behind: sources.clone(), sources, target: 0, done: false }
    }

    /// Takes note of how far the sources and the view are.
    fn look(&mut self, status: impl Fn(ObjectId) -> Option<SourceStatus>, frontier: Option<&Frontier>) {
        if self.done {
            return;
        }
        self.behind.retain(|source| match status(*source) {
            // A paused source has nothing more to give until somebody says so.
            Some(SourceStatus { state: SourceState::CaughtUp | SourceState::Ended, last_tick, .. })
            | Some(SourceStatus { pace: Pace { paused: true, .. }, state: SourceState::Reading, last_tick, .. }) => {
                self.target = self.target.max(last_tick);
                false
            }
            Some(SourceStatus { state: SourceState::Reading | SourceState::Failed(_), .. }) | None => true,
        });
        let passed = frontier.is_some_and(|frontier| frontier.readable() && frontier.upper > self.target);
        self.done = self.behind.is_empty() && passed;
    }
}

/// Somebody who wants to know how some objects get on.
pub(super) struct Watcher {
    /// The objects as they were last reported.
    infos: Vec<ObjectInfo>,
    sender: mpsc::Sender<Vec<ObjectInfo>>,
}

impl Coordinator {
    /// Lets every view's state move on, and notices the end of the recovery.
    pub(super) fn look_at_progress(&mut self) {
        let frontiers = self.frontiers();
        let ingest = &self.parts.ingest;
        for (object, dataflow) in &mut self.dataflows {
            dataflow.catch_up.look(|source| ingest.source_status(source), frontiers.views.get(object));
        }
        if self.recovery_ms.is_none() {
            let live = self.dataflows.iter().filter(|(_, dataflow)| dataflow.stage == Stage::Live);
            let passed =
                |object| frontiers.views.get(object).is_some_and(|f: &Frontier| f.upper > self.recovered_bound);
            if live.into_iter().all(|(object, _)| passed(object)) {
                let took = u64::try_from(self.parts.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.recovery_ms = Some(took);
                tracing::info!(ms = took, bound = self.recovered_bound, "recovered");
            }
        }
    }

    /// Where an object is in its life.
    pub(super) fn state(&self, object: &Object) -> ObjectState {
        match &object.definition {
            Definition::View { .. } => ObjectState::Serving,
            Definition::Source { .. } => match self.dataflows.get(&object.id) {
                Some(dataflow) => self.enveloped_state(object.id, dataflow),
                None => self.source_state(object.id),
            },
            Definition::Table { .. } | Definition::MaterializedView(_) | Definition::Index { .. } => {
                match self.dataflows.get(&object.id) {
                    Some(dataflow) => self.dataflow_state(object.id, dataflow),
                    None => ObjectState::Planned,
                }
            }
        }
    }

    fn source_state(&self, id: ObjectId) -> ObjectState {
        let Some(status) = self.parts.ingest.source_status(id) else { return ObjectState::Planned };
        match (&status.state, &status.waits_for) {
            (SourceState::Failed(reason), _) => ObjectState::Failed { reason: reason.clone() },
            (SourceState::Reading | SourceState::CaughtUp, _) if status.pace.paused => ObjectState::Paused,
            (SourceState::Ended, _) | (SourceState::CaughtUp, None) => ObjectState::Serving,
            (SourceState::Reading | SourceState::CaughtUp, Some(reason)) => {
                ObjectState::Waiting { reason: reason.clone() }
            }
            (SourceState::Reading, None) => ObjectState::CatchingUp { ratio: read_ratio(&[status]) },
        }
    }

    /// Of an enveloped source: it serves when it has been read and what was read is maintained.
    fn enveloped_state(&self, id: ObjectId, dataflow: &Dataflow) -> ObjectState {
        let read = self.source_state(id);
        let maintained = || self.dataflow_state(id, dataflow);
        match read {
            ObjectState::Failed { .. } => read,
            ObjectState::Serving => maintained(),
            ObjectState::Planned
            | ObjectState::Hydrating { .. }
            | ObjectState::CatchingUp { .. }
            | ObjectState::Waiting { .. }
            | ObjectState::Paused
            | ObjectState::Stopping => match maintained() {
                hydrating @ ObjectState::Hydrating { .. } => hydrating,
                _ => read,
            },
        }
    }

    fn dataflow_state(&self, id: ObjectId, dataflow: &Dataflow) -> ObjectState {
        if let Some(reason) = self.failed_source(dataflow) {
            return ObjectState::Failed { reason };
        }
        match self.frontiers().views.get(&id) {
            None => ObjectState::Planned,
            Some(frontier) if !frontier.hydrated => ObjectState::Hydrating { ratio: hydration_ratio(dataflow) },
            Some(_) if dataflow.catch_up.done => ObjectState::Serving,
            Some(_) => {
                let status = |source: &ObjectId| self.parts.ingest.source_status(*source);
                let statuses: Vec<SourceStatus> = dataflow.catch_up.sources.iter().filter_map(status).collect();
                ObjectState::CatchingUp { ratio: read_ratio(&statuses) }
            }
        }
    }

    /// A source of the dataflow that cannot go on. What it delivered before stays readable.
    fn failed_source(&self, dataflow: &Dataflow) -> Option<String> {
        dataflow.catch_up.sources.iter().find_map(|id| match self.parts.ingest.source_status(*id)?.state {
            SourceState::Failed(reason) => {
                let name = self.catalog.get(*id).map_or_else(|| id.to_string(), |source| source.name.clone());
                Some(format!("source \"{name}\" failed: {reason}"))
            }
            SourceState::Reading | SourceState::CaughtUp | SourceState::Ended => None,
        })
    }

    /// What is known of an object.
    pub(super) fn info(&self, object: &Object) -> ObjectInfo {
        let bound = self.frontiers().bound;
        let mut rows_per_second_max = None;
        let frontier = self.frontiers().views.get(&object.id).copied().unwrap_or_default();
        let (since, upper, updates, errors) = match object.kind() {
            ObjectKind::Source | ObjectKind::Table => {
                let status = self.parts.ingest.source_status(object.id);
                rows_per_second_max = status.as_ref().and_then(|status| status.pace.rows_per_second_max);
                let (records, errors) = status.map_or((0, 0), |status| (status.records, status.errors));
                match object.maintained() {
                    Some(_) => (frontier.since, frontier.upper, records, frontier.errors),
                    None => (0, bound + 1, records, errors),
                }
            }
            ObjectKind::View => {
                let (since, upper) = self.readable_times(object);
                (since, upper, 0, 0)
            }
            ObjectKind::MaterializedView | ObjectKind::Index => {
                (frontier.since, frontier.upper, frontier.updates, frontier.errors)
            }
        };
        let name = |id: &ObjectId| self.catalog.get(*id).map(|read| read.name.clone());
        ObjectInfo {
            object: object.id,
            name: object.name.clone(),
            kind: object.kind(),
            state: self.state(object),
            sql: object.sql.clone(),
            schema: object.schema.clone(),
            reads: object.reads.iter().filter_map(name).collect(),
            since,
            upper,
            updates,
            errors,
            rows_per_second_max: rows_per_second_max.map(NonZeroU32::get),
            freshness_ms: (object.maintained().is_some() && frontier.readable())
                .then(|| self.parts.clock.now_ms().saturating_sub(frontier.upper - 1)),
            figures: self.figures(object.id),
        }
    }

    /// The times at which everything that a view reads is readable: the first, and the first that is not yet.
    fn readable_times(&self, view: &Object) -> (Timestamp, Timestamp) {
        let frontiers = self.frontiers();
        let mut times = (0, frontiers.bound + 1);
        let mut open: Vec<ObjectId> = view.reads.iter().copied().collect();
        while let Some(object) = open.pop().and_then(|id| self.catalog.get(id)) {
            if object.maintained().is_some() {
                let frontier = frontiers.views.get(&object.id).copied().unwrap_or_default();
                times = (times.0.max(frontier.since), times.1.min(frontier.upper));
            } else if object.kind() == ObjectKind::View {
                open.extend(&object.reads);
            }
        }
        times
    }

    /// Reports the states of objects, at once and at every change; without names, of all that there are.
    pub(super) fn watch(&mut self, names: &[String]) -> Result<mpsc::Receiver<Vec<ObjectInfo>>, ControlError> {
        let mut infos = Vec::new();
        for name in names {
            let object = self.catalog.find(name);
            let object = object.ok_or_else(|| ControlError::NotFound { kind: "object", name: name.clone() })?;
            infos.push(self.info(object));
        }
        if names.is_empty() {
            infos = self.catalog.by_name().map(|object| self.info(object)).collect();
        }
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
        // The queue is new and has room.
        let _ = sender.try_send(infos.clone());
        if !infos.iter().all(settled) {
            self.watchers.push(Watcher { infos, sender });
        }
        Ok(receiver)
    }

    /// Tells every watcher what has changed; those whose objects have all settled, or who have gone, are let go.
    pub(super) fn look_at_watchers(&mut self) {
        let mut watchers = std::mem::take(&mut self.watchers);
        watchers.retain_mut(|watcher| {
            let now: Vec<ObjectInfo> = watcher.infos.iter().map(|info| self.info_again(info)).collect();
            let changed = now.iter().zip(&watcher.infos).any(|(now, then)| now.state != then.state);
            if !changed {
                return !watcher.sender.is_closed();
            }
            match watcher.sender.try_send(now.clone()) {
                Ok(()) => {
                    watcher.infos = now;
                    !watcher.infos.iter().all(settled)
                }
                // It is told at the next look what it missed.
                Err(mpsc::error::TrySendError::Full(_)) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
        self.watchers.append(&mut watchers);
    }

    fn info_again(&self, then: &ObjectInfo) -> ObjectInfo {
        match self.catalog.get(then.object) {
            Some(object) => self.info(object),
            None => ObjectInfo { state: ObjectState::Stopping, ..then.clone() },
        }
    }
}

/// Nothing more is to be expected, other than a drop.
pub(super) fn settled(info: &ObjectInfo) -> bool {
    match info.state {
        ObjectState::Paused | ObjectState::Serving | ObjectState::Failed { .. } | ObjectState::Stopping => true,
        ObjectState::Planned
        | ObjectState::Hydrating { .. }
        | ObjectState::CatchingUp { .. }
        | ObjectState::Waiting { .. } => false,
    }
}

/// How much of the snapshot has been delivered, if it has been counted.
pub(super) fn hydration_ratio(dataflow: &Dataflow) -> Option<f64> {
    let progress = dataflow.feeds.iter().map(headwater_dataflow::port::PortFeed::snapshot_progress);
    let (fed, total) = progress.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    ratio(fed, total)
}

/// How much of what is there has been read; unknown as soon as it is for one source.
fn read_ratio(statuses: &[SourceStatus]) -> Option<f64> {
    let mut sum = (0, 0);
    for status in statuses {
        sum = (sum.0 + status.bytes_read, sum.1 + status.bytes_total?);
    }
    ratio(sum.0, sum.1)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    // Percent are shown: what a double loses above 2^53 bytes does not matter.
    #[allow(clippy::cast_precision_loss)]
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}
