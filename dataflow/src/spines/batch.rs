//! Batches of an arrangement: one run or, while they are small, several side by side.
//!
//! Merging moves every update once a level. So the runs of small batches are first put beside each other, which costs nothing,
//! and merged when there are many: an update is then moved once where it would have been three times. Large batches become
//! one run, so that what has cancelled is not kept for long, unless merging has just shown that nothing cancels; and so do
//! those in which rows are looked up, run by run.

use std::rc::Rc;

use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
use smallvec::SmallVec;

use super::merger::BatchMerger;
use super::run::Run;
use crate::figures::Held;
use crate::repr::Timestamp;

/// A batch has at most so many runs.
const RUNS_MAX: usize = 8;
/// A batch of several runs has at most so many updates, if merging pays.
const LOOSE_MAX: usize = 1 << 18;
/// Merging pays if less than all but this part of the updates is left.
const CANCELLED_PART: usize = 8;

/// A batch of an arrangement, immutable.
pub(crate) struct Batch {
    runs: SmallVec<[Rc<Run>; 1]>,
    updates: usize,
    /// Whether it may stand beside others in one batch.
    loose: bool,
    /// Whether the merge that it comes from paid; so it is taken to be before there was one.
    pays: bool,
}

impl SpineBatch for Batch {
    type Time = Timestamp;
    type Merger = BatchMerger;

    fn len(&self) -> usize {
        self.updates
    }
}

impl Batch {
    /// A batch of one run, which may be put beside others if it is `loose`.
    pub(super) fn new(run: Run, loose: bool) -> Batch {
        Batch { updates: run.updates(), runs: SmallVec::from_buf([Rc::new(run)]), loose, pays: true }
    }

    /// What merging two batches has made of them.
    pub(super) fn merged(run: Run, [left, right]: [&Batch; 2]) -> Batch {
        let before = left.updates + right.updates;
        let pays = run.updates() < before - before / CANCELLED_PART;
        Batch { pays, ..Batch::new(run, left.loose) }
    }

    /// What it consists of: rows may be in several runs.
    pub(super) fn runs(&self) -> &[Rc<Run>] {
        &self.runs
    }

    /// Both batches side by side, if that is allowed.
    pub(super) fn beside(&self, other: &Batch) -> Option<Batch> {
        let updates = self.updates + other.updates;
        let pays = self.pays || other.pays;
        let small = self.runs.len() + other.runs.len() <= RUNS_MAX && (updates <= LOOSE_MAX || !pays);
        let runs = || self.runs.iter().chain(&other.runs).cloned().collect();
        (self.loose && small).then(|| Batch { runs: runs(), updates, loose: true, pays })
    }

    /// What it holds: updates are the records.
    pub(super) fn held(&self) -> Held {
        let mut held = Held::default();
        self.runs.iter().for_each(|run| held += run.held());
        held
    }
}
