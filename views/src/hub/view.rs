//! One dataflow as the hub sees it: how far each worker is, and what may not be shown yet.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{Chunk, CollectionId, Delta, Diff, ObjectId, Part, Timestamp, errors_schema};

use super::merge::total;

/// Arrangements stay readable this much longer than is promised, so that a read that was just allowed still finds its
/// time when it reaches the hub.
const READ_MARGIN_MS: u64 = 2_000;

/// How far a view is, as everybody may know it (rule W).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// The first time of the dataflow.
    pub as_of: Timestamp,
    /// The first readable time.
    pub since: Timestamp,
    /// The first time that is not yet readable; nothing is readable while it is not above `as_of`.
    pub upper: Timestamp,
    /// Every worker holds the snapshot at `as_of`.
    pub hydrated: bool,
    /// Changes that became visible since the start.
    pub updates: u64,
    /// Rows now in the errors collection.
    pub errors: u64,
}

impl Frontier {
    /// Whether any time can be read.
    pub fn readable(&self) -> bool {
        self.upper > self.as_of
    }
}

/// What became visible in one step: times in order, each with its changes.
pub(super) type Closed = Vec<(Timestamp, Vec<(Part, Delta)>)>;

/// The hub's state of one dataflow.
pub(super) struct View {
    object: ObjectId,
    schema: SchemaRef,
    as_of: Timestamp,
    history_ms: u64,
    /// The upper of each worker's last batch.
    uppers: Vec<Option<Timestamp>>,
    /// The first time that is not visible; at first `as_of`.
    visible: Timestamp,
    /// The workers may have forgotten what was before.
    allowed: Timestamp,
    /// Changes at times that are not visible.
    waiting: BTreeMap<Timestamp, Vec<(Part, Delta)>>,
    updates: u64,
    /// The visible error rows, without those that still have to be counted.
    errors: Diff,
    /// How the error rows changed at recent times.
    recent_errors: BTreeMap<Timestamp, Diff>,
    /// Whether the errors that were there at first have been asked for, and are known.
    asked: bool,
    counted: bool,
}

impl View {
    pub(super) fn new(object: ObjectId, schema: SchemaRef, as_of: Timestamp, history_ms: u64, workers: usize) -> View {
        View {
            object,
            schema,
            as_of,
            history_ms,
            uppers: vec![None; workers],
            visible: as_of,
            allowed: as_of,
            waiting: BTreeMap::new(),
            updates: 0,
            errors: 0,
            recent_errors: BTreeMap::new(),
            asked: false,
            counted: false,
        }
    }

    /// The columns of one of the view's collections.
    pub(super) fn schema(&self, part: Part) -> SchemaRef {
        match part {
            Part::Rows => SchemaRef::clone(&self.schema),
            Part::Errors => errors_schema(),
        }
    }

    pub(super) fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// The first time that is not visible; `as_of` while nothing is.
    pub(super) fn visible(&self) -> Timestamp {
        self.visible
    }

    /// Error rows among what is visible.
    fn errors(&self) -> u64 {
        u64::try_from(self.errors).unwrap_or(0)
    }

    /// Error rows right before `upper`, which is visible and within the history; `None` while they are not known.
    pub(super) fn errors_before(&self, upper: Timestamp) -> Option<u64> {
        let later: Diff = self.recent_errors.range(upper..).map(|(_, change)| change).sum();
        self.counted.then(|| u64::try_from(self.errors - later).unwrap_or(0))
    }

    /// Takes a worker's batch. Panics if it does not follow the worker's last one: a gap would be a wrong answer.
    pub(super) fn receive(
        &mut self,
        worker: usize,
        (lower, upper): (Timestamp, Timestamp),
        rows: Vec<Chunk>,
        errors: Vec<Chunk>,
    ) {
        let expected = self.uppers[worker].unwrap_or(self.as_of + 1);
        assert_eq!(lower, expected, "batches of {} from worker {worker} meet", self.object);
        assert!(upper >= lower, "a batch of {} from worker {worker} goes forward", self.object);
        self.uppers[worker] = Some(upper);
        for (part, chunks) in [(Part::Rows, rows), (Part::Errors, errors)] {
            for chunk in chunks {
                assert!(lower <= chunk.time && chunk.time < upper, "updates of {} lie in their batch", self.object);
                if !chunk.delta.is_empty() {
                    self.waiting.entry(chunk.time).or_default().push((part, chunk.delta));
                }
            }
        }
    }

    /// Makes visible what all workers have closed and `bound` allows. `None`: the visible upper stays where it is.
    pub(super) fn advance(&mut self, bound: Timestamp) -> Option<Closed> {
        let upper = self.upper()?.min(bound + 1);
        if upper <= self.visible {
            return None;
        }
        self.visible = upper;
        let later = self.waiting.split_off(&upper);
        let closed: Closed = std::mem::replace(&mut self.waiting, later).into_iter().collect();
        for (time, changes) in &closed {
            let mut errors = 0;
            for (part, delta) in changes {
                match part {
                    Part::Rows => self.updates += u64::try_from(delta.len()).unwrap_or(u64::MAX),
                    Part::Errors => errors += total(delta),
                }
            }
            self.errors += errors;
            if errors != 0 {
                self.recent_errors.insert(*time, errors);
            }
        }
        let since = self.since();
        while self.recent_errors.first_entry().is_some_and(|first| *first.key() < since) {
            self.recent_errors.pop_first();
        }
        Some(closed)
    }

    /// The time at which the errors have to be counted once, right after the view has become readable; changes after it
    /// are counted as they pass.
    pub(super) fn start_counting(&mut self) -> Option<(CollectionId, Timestamp)> {
        if self.asked || self.visible <= self.as_of {
            return None;
        }
        self.asked = true;
        self.errors = 0;
        self.recent_errors.clear();
        Some((self.object.errors(), self.visible - 1))
    }

    /// Adds what stood in the errors collection at the time of [`View::start_counting`].
    pub(super) fn count(&mut self, errors: Diff) {
        self.errors += errors;
        self.counted = true;
    }

    /// Whether every worker holds the snapshot.
    pub(super) fn hydrated(&self) -> bool {
        self.upper().is_some()
    }

    /// Whether the workers still know what was at `at`.
    pub(super) fn remembers(&self, at: Timestamp) -> bool {
        at >= self.allowed
    }

    /// How far the workers may forget, given that somebody will still read at `held`; `None` if no further than before.
    pub(super) fn allow_compaction(&mut self, held: Option<Timestamp>) -> Option<Timestamp> {
        let since = self.since().saturating_sub(READ_MARGIN_MS);
        let since = held.map_or(since, |held| since.min(held));
        (since > self.allowed).then(|| {
            self.allowed = since;
            since
        })
    }

    pub(super) fn frontier(&self) -> Frontier {
        Frontier {
            as_of: self.as_of,
            since: self.since(),
            upper: self.visible,
            hydrated: self.hydrated(),
            updates: self.updates,
            errors: self.errors(),
        }
    }

    /// The first readable time: `history` before the newest one.
    fn since(&self) -> Timestamp {
        self.as_of.max(self.visible.saturating_sub(1).saturating_sub(self.history_ms))
    }

    /// The first time that some worker has not closed, once every worker has the snapshot.
    fn upper(&self) -> Option<Timestamp> {
        self.uppers.iter().copied().min().flatten()
    }
}

#[cfg(test)]
mod tests {
    use headwater_dataflow::repr::{Diffs, ErrorRow, ErrorRows};

    use super::*;

    fn errors(time: Timestamp, diffs: &[Diff]) -> Chunk {
        let mut rows = ErrorRows::default();
        for message in 0..diffs.len() {
            let message = message.to_string();
            rows.push(&ErrorRow { position: "v".to_owned(), column: None, message, payload: None });
        }
        Chunk { time, delta: Delta { rows: rows.finish(), diffs: Diffs::Each(diffs.into()) } }
    }

    #[test]
    fn errors_are_told_as_of_a_time() {
        let mut view = View::new(ObjectId(1), errors_schema(), 10, 5, 1);
        view.receive(0, (11, 11), Vec::new(), Vec::new());
        assert!(view.advance(100).is_some());
        assert_eq!(view.start_counting(), Some((ObjectId(1).errors(), 10)));
        assert_eq!(view.start_counting(), None);
        view.receive(0, (11, 15), Vec::new(), vec![errors(11, &[1, 1]), errors(13, &[-1])]);
        assert!(view.advance(100).is_some());
        assert_eq!(view.errors_before(15), None, "what was there at first is not known");
        view.count(4);
        assert_eq!([11, 12, 13, 14, 15].map(|upper| view.errors_before(upper)), [4, 6, 6, 5, 5].map(Some));
        // Beyond the history only the present is kept.
        view.receive(0, (15, 40), Vec::new(), vec![errors(39, &[1])]);
        assert!(view.advance(100).is_some());
        assert_eq!([39, 40].map(|upper| view.errors_before(upper)), [5, 6].map(Some));
        assert_eq!(view.recent_errors.len(), 1);
    }
}
