//! Updates that wait until their time is complete.

use std::collections::BTreeMap;

use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::frontier::MutableAntichain;

use crate::repr::Timestamp;

/// Values by time, each time with the capability to answer at it.
pub(crate) struct Pending<V> {
    times: BTreeMap<Timestamp, (Capability<Timestamp>, Vec<V>)>,
}

impl<V> Default for Pending<V> {
    fn default() -> Self {
        Pending { times: BTreeMap::new() }
    }
}

impl<V> Pending<V> {
    /// Keeps `value` until `time` is complete.
    pub(crate) fn insert(&mut self, capability: &InputCapability<Timestamp>, time: Timestamp, value: V) {
        self.times.entry(time).or_insert_with(|| (capability.delayed(&time, 0), Vec::new())).1.push(value);
    }

    /// Keeps `time` open for an answer that no input asks for.
    pub(crate) fn open(&mut self, capability: Capability<Timestamp>) {
        self.times.entry(*capability.time()).or_insert_with(|| (capability, Vec::new()));
    }

    /// The earliest time that is kept.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.times.first_key_value().map(|(time, _)| *time)
    }

    /// Takes the earliest time if it is complete: no frontier may still bring it.
    pub(crate) fn pop_complete(
        &mut self,
        frontiers: &[&MutableAntichain<Timestamp>],
    ) -> Option<(Timestamp, Capability<Timestamp>, Vec<V>)> {
        let (time, _) = self.times.first_key_value()?;
        if frontiers.iter().any(|frontier| frontier.less_equal(time)) {
            return None;
        }
        let (time, (capability, values)) = self.times.pop_first().expect("a first time was just seen");
        Some((time, capability, values))
    }

    /// Takes what has arrived of the earliest time if no earlier time can still come: it may be applied to state that
    /// tolerates a part of a time. The time stays open.
    pub(crate) fn take_earliest(&mut self, frontier: &MutableAntichain<Timestamp>) -> Option<(Timestamp, Vec<V>)> {
        let (time, entry) = self.times.iter_mut().next()?;
        if frontier.less_than(time) || entry.1.is_empty() {
            return None;
        }
        Some((*time, std::mem::take(&mut entry.1)))
    }
}
