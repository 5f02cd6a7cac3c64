//! Sums over the different values of a group: a value is added when its first copy comes, and taken away with its last.

use super::super::super::layout::{Kind, Slots};
use super::super::super::slots::SumForm;
use super::super::super::values::code_float;
use super::boxed_bytes;
use crate::state::{Chunked, CountedSet, FloatSum, sampled};

pub(in super::super) struct DistinctSums {
    slot: usize,
    count: usize,
    sums: SumForm,
    set: CountedSet<u128>,
    /// Sums of floats; those of other numbers are in the slots.
    floats: Option<Chunked<Option<Box<FloatSum>>>>,
}

impl DistinctSums {
    pub(super) fn new(aggregate: &Slots) -> DistinctSums {
        let floating = matches!(aggregate.kind, Kind::SumFloat | Kind::AvgFloat);
        let floats = floating.then(Chunked::default);
        let Slots { slot, count, sums, .. } = *aggregate;
        DistinctSums { slot, count, sums, set: CountedSet::default(), floats }
    }

    pub(super) fn grow_to(&mut self, groups: usize) {
        if let Some(floats) = &mut self.floats {
            floats.grow_to(groups, || None);
        }
    }

    /// Adds `diff` copies of a value.
    pub(super) fn add(&mut self, group: u32, code: i128, diff: i64, slots: &mut [i64]) {
        let (old, new) = self.set.add(group, code as u128, diff);
        // Counts below zero stand for an incomplete time; only entries above zero are values.
        let change = i64::from(new > 0) - i64::from(old > 0);
        if change == 0 {
            return;
        }
        slots[self.count] += change;
        match &mut self.floats {
            Some(floats) => floats[group].get_or_insert_default().add(code_float(code), change),
            None => self.sums.add(&mut slots[self.slot..self.slot + self.sums.slots()], code, change),
        }
    }

    /// Copies a sum of floats into its slot.
    pub(super) fn refresh(&mut self, group: u32, slots: &mut [i64]) {
        let Some(floats) = &mut self.floats else { return };
        match &floats[group] {
            Some(sum) if !sum.is_zero() => slots[self.slot] = sum.value().to_bits().cast_signed(),
            _ => {
                slots[self.slot] = 0;
                floats[group] = None;
            }
        }
    }

    pub(super) fn bytes_held(&self, groups: usize) -> usize {
        let floats = self
            .floats
            .as_ref()
            .map_or(0, |floats| floats.bytes() + sampled(groups, |group| boxed_bytes(&floats[group])));
        self.set.bytes() + floats
    }

    pub(super) fn reset(&mut self, group: u32) {
        if let Some(floats) = &mut self.floats {
            floats[group] = None;
        }
    }
}
