//! Batches of an arrangement: one run or, while they are small, several side by side.
//!
//! Merging moves every update once a level. So the runs of small batches are first put beside each other, which costs nothing,
//! and merged when there are many: an update is then moved once where it would have been three times. Large batches become
//! one run, so that what has cancelled is not kept for long, unless merging has just shown that nothing cancels; and so do
//! those in which rows are looked up, run by run.
//!
//! Large runs that hardly have rows in common with others stay as they are while small ones are merged: or all that ever came
//! would be moved once more whenever there is a few times as much, and a row would cost more the more there are.

use std::rc::Rc;

use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
use smallvec::SmallVec;

use super::merger::BatchMerger;
use super::run::Run;
use crate::figures::Held;
use crate::repr::Timestamp;

/// A batch has at most so many runs,
pub(super) const RUNS_MAX: usize = 8;
/// and besides so many large ones that are not merged again: reading them takes the logarithm of this.
const LARGE_RUNS_MAX: usize = 32;
/// Large runs have at least so many updates.
pub(super) const LARGE: usize = 1 << 20;
/// How many updates are looked at to tell whether runs have rows in common.
const SAMPLE: usize = 256;
/// They hardly have if it is less than this part of the updates that others of the same row would meet: of two that meet, one
/// is left.
const MEETING_PART: usize = CANCELLED_PART / 2;
/// A batch of several runs has at most so many updates, if merging pays.
const LOOSE_MAX: usize = 1 << 18;
/// Merging pays if less than all but this part of the updates is left.
const CANCELLED_PART: usize = 8;

/// Some runs.
pub(super) type Runs = SmallVec<[Rc<Run>; 1]>;

/// A batch of an arrangement, immutable.
pub(crate) struct Batch {
    runs: Runs,
    updates: usize,
    /// Whether it may stand beside others in one batch.
    loose: bool,
    /// Whether the merge that it comes from paid; so it is taken to be before there was one.
    pays: bool,
}

/// What becomes of two batches.
pub(super) enum Plan {
    /// All runs stand side by side.
    Beside(Batch),
    /// Some do, and the others are merged.
    Merge { kept: Runs, merged: Runs },
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

    /// What merging two batches has made of them: runs that were kept, and what has become of `merged`.
    pub(super) fn merged(mut kept: Runs, merged: &[Rc<Run>], run: Option<Run>, loose: bool) -> Option<Batch> {
        let before = updates(merged);
        let pays = run.as_ref().map_or(0, Run::updates) < before - before / CANCELLED_PART;
        kept.extend(run.map(Rc::new));
        (!kept.is_empty()).then(|| Batch { updates: updates(&kept), runs: kept, loose, pays })
    }

    /// Whether it may stand beside others.
    pub(super) fn loose(&self) -> bool {
        self.loose
    }

    /// What it consists of: rows may be in several runs.
    pub(super) fn runs(&self) -> &[Rc<Run>] {
        &self.runs
    }

    /// What is to become of two batches.
    pub(super) fn plan(&self, other: &Batch) -> Plan {
        let runs: Runs = self.runs.iter().chain(&other.runs).cloned().collect();
        let pays = self.pays || other.pays;
        let beside = |runs| Plan::Beside(Batch { runs, updates: self.updates + other.updates, loose: true, pays });
        if self.loose && runs.len() <= RUNS_MAX && (self.updates + other.updates <= LOOSE_MAX || !pays) {
            return beside(runs);
        }
        let (large, small): (Runs, Runs) = runs.iter().cloned().partition(|run| run.updates() >= LARGE);
        let stay = self.loose && !pays && (1..=LARGE_RUNS_MAX).contains(&large.len()) && hardly_meet(&runs);
        match (stay, small.len()) {
            (false, _) => Plan::Merge { kept: Runs::new(), merged: runs },
            (true, ..=RUNS_MAX) => beside(runs),
            (true, _) => Plan::Merge { kept: large, merged: small },
        }
    }

    /// What it holds: updates are the records.
    pub(super) fn held(&self) -> Held {
        let mut held = Held::default();
        self.runs.iter().for_each(|run| held += run.held());
        held
    }
}

fn updates(runs: &[Rc<Run>]) -> usize {
    runs.iter().map(|run| run.updates()).sum()
}

/// Whether rows that several updates have are few, whatever their times.
fn hardly_meet(runs: &Runs) -> bool {
    let (mut seen, mut met) = (0, 0);
    for run in runs {
        for row in run.sample(SAMPLE.div_ceil(runs.len())) {
            let elsewhere = || runs.iter().any(|other| !Rc::ptr_eq(run, other) && other.has(row));
            seen += 1;
            met += usize::from(row.len() > 1 || elsewhere());
        }
    }
    met * MEETING_PART < seen
}
