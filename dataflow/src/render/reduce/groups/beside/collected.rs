//! All rows of a group, for functions that are computed anew when one of them changes.

use std::collections::BTreeMap;

use super::counted_bytes;
use crate::expr::Recomputed;
use crate::render::reduce::answer::Pick;
use crate::repr::Row;
use crate::state::{Chunked, sampled};

/// The rows of all groups, their answers now and before the open time.
pub(in super::super) struct Collected {
    function: Recomputed,
    groups: Chunked<Group>,
    old: Vec<Option<Row>>,
}

#[derive(Default)]
struct Group {
    /// How often each row is there, in the order in which the function sees them.
    rows: BTreeMap<Row, i64>,
    /// The answer, unless it is that over nothing.
    answer: Option<Row>,
    /// Whether rows have changed since the answer.
    stale: bool,
}

impl Collected {
    pub(super) fn new(function: Recomputed) -> Collected {
        Collected { function, groups: Chunked::default(), old: Vec::new() }
    }

    pub(super) fn grow_to(&mut self, groups: usize) {
        self.groups.grow_to(groups, Group::default);
    }

    pub(super) fn note_old(&mut self, group: u32) {
        self.old.push(self.groups[group].answer.clone());
    }

    pub(super) fn forget_old(&mut self) {
        self.old.clear();
    }

    pub(super) fn add(&mut self, group: u32, row: &[u8], diff: i64) {
        let Group { rows, stale, .. } = &mut self.groups[group];
        let row = Row::new(row);
        let count = rows.entry(row.clone()).or_insert(0);
        *count += diff;
        if *count == 0 {
            rows.remove(&row);
        }
        *stale = true;
    }

    /// Answers a group anew if its rows have changed. The slot changes with the answer.
    pub(super) fn refresh(&mut self, group: u32, slot: &mut i64) {
        let Group { rows, answer, stale } = &mut self.groups[group];
        if !std::mem::take(stale) {
            return;
        }
        let now = self.function.answer(rows.iter().map(|(row, count)| (row.bytes(), *count)));
        let now = (now != *self.function.empty()).then_some(now);
        if now != *answer {
            *slot = if now.is_some() { *slot + 1 } else { 0 };
            *answer = now;
        }
    }

    /// The answer that is to be emitted, unless it is that over nothing.
    pub(super) fn answer(&self, pick: &Pick) -> Option<&[u8]> {
        let answer = if pick.old { &self.old[pick.touched] } else { &self.groups[pick.group].answer };
        answer.as_ref().map(Row::bytes)
    }

    pub(super) fn bytes_held(&self, groups: usize) -> usize {
        self.groups.bytes() + sampled(groups, |group| counted_bytes(&self.groups[group].rows))
    }

    pub(super) fn reset(&mut self, group: u32) {
        self.groups[group] = Group::default();
    }
}
