//! What a join knows of one side's rows: a table of its own, or an index that others keep.

use std::collections::BTreeSet;

use super::Multimap;
use crate::figures::Held;
use crate::repr::{Diff, Row, Timestamp};
use crate::spines::{Lookup, RowTrace};
use crate::state::Presence;

/// The rows of one side by their keys, as they were before a time or are at it. A row is what stands beside the key.
pub(super) trait Kept {
    /// The rows are asked for as they were before `time`, until [`Kept::reach`] is called.
    fn begin(&mut self, time: Timestamp);

    /// All changes of the time have been added.
    fn reach(&mut self);

    /// No time before `next` will be asked for.
    fn settle(&mut self, next: Timestamp);

    /// Adds `diff` copies of a row under a key. Of all additions of a time, those to one key together say truly whether it
    /// has gained its first or lost its last row.
    fn add(&mut self, hash: u64, key: &[u8], row: &[u8], diff: Diff) -> Presence;

    /// Calls `visit` with every row of the key and its count.
    fn for_each(&self, hash: u64, key: &[u8], visit: impl FnMut(&[u8], Diff));

    /// Whether the key has any row.
    fn contains(&self, hash: u64, key: &[u8]) -> bool;

    /// What it holds that nobody else does.
    fn held(&self) -> Held;

    /// See [`Multimap::warm_index`].
    fn warm_index(&self, _hash: u64) {}

    /// See [`Multimap::warm_entry`].
    fn warm_entry(&self, _hash: u64) {}
}

/// A table knows only now: its changes are added when they are to be seen.
impl Kept for Multimap {
    fn begin(&mut self, _time: Timestamp) {}

    fn reach(&mut self) {}

    fn settle(&mut self, _next: Timestamp) {}

    #[inline]
    fn add(&mut self, hash: u64, key: &[u8], row: &[u8], diff: Diff) -> Presence {
        Multimap::add(self, hash, key, row, diff)
    }

    #[inline]
    fn for_each(&self, hash: u64, key: &[u8], visit: impl FnMut(&[u8], Diff)) {
        Multimap::for_each(self, hash, key, visit);
    }

    #[inline]
    fn contains(&self, hash: u64, key: &[u8]) -> bool {
        Multimap::contains(self, hash, key)
    }

    fn held(&self) -> Held {
        Multimap::held(self)
    }

    #[inline]
    fn warm_index(&self, hash: u64) {
        Multimap::warm_index(self, hash);
    }

    #[inline]
    fn warm_entry(&self, hash: u64) {
        Multimap::warm_entry(self, hash);
    }
}

/// Settled times between two compactions: see the worker's own.
const TIMES_PER_COMPACTION: u32 = 8;

/// An index, which may be ahead: its rows have times.
pub(super) struct IndexRows {
    lookup: Lookup,
    as_of: Timestamp,
    /// Whether anybody asks if keys gain their first or lose their last row.
    watched: bool,
    /// The keys of the present time that have been told about.
    told: BTreeSet<Row>,
    time: Timestamp,
    /// The last time whose changes are seen; `None` before `as_of`, when there is nothing.
    at: Option<Timestamp>,
    /// The first time that may still be asked for.
    next: Timestamp,
    settled: u32,
}

impl IndexRows {
    /// Looks up in `trace`, from `as_of` on.
    pub(super) fn new(trace: &RowTrace, as_of: Timestamp, watched: bool) -> IndexRows {
        let told = BTreeSet::new();
        let lookup = Lookup::new(trace, as_of);
        IndexRows { lookup, as_of, watched, told, time: as_of, at: None, next: as_of, settled: 0 }
    }

    fn has_rows(&self, hash: u64, key: &[u8], at: Timestamp) -> bool {
        let mut found = false;
        self.lookup.for_each(hash, key, at, |_, _| found = true);
        found
    }
}

impl Kept for IndexRows {
    fn begin(&mut self, time: Timestamp) {
        self.time = time;
        // What was there before `as_of` counts as of it.
        self.at = (time > self.as_of).then(|| time - 1);
        self.told.clear();
        self.lookup.look();
    }

    fn reach(&mut self) {
        self.at = Some(self.time);
    }

    fn settle(&mut self, next: Timestamp) {
        if next <= self.next {
            return;
        }
        self.next = next;
        self.settled = (self.settled + 1) % TIMES_PER_COMPACTION;
        if self.settled == 0 {
            // At `next` the rows of right before it are asked for first.
            self.lookup.compact(self.as_of.max(next - 1));
        } else {
            self.lookup.forget();
        }
    }

    /// The row is there already, with its time.
    fn add(&mut self, hash: u64, key: &[u8], _row: &[u8], _diff: Diff) -> Presence {
        if !self.watched || !self.told.insert(Row::new(key)) {
            return Presence::Same;
        }
        let before = self.at.is_some_and(|before| self.has_rows(hash, key, before));
        match (before, self.has_rows(hash, key, self.time)) {
            (false, true) => Presence::Gained,
            (true, false) => Presence::Lost,
            _ => Presence::Same,
        }
    }

    fn for_each(&self, hash: u64, key: &[u8], mut visit: impl FnMut(&[u8], Diff)) {
        if let Some(at) = self.at {
            self.lookup.for_each(hash, key, at, |row, count| visit(&row[key.len()..], count));
        }
    }

    fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.at.is_some_and(|at| self.has_rows(hash, key, at))
    }

    fn held(&self) -> Held {
        Held::default()
    }
}
