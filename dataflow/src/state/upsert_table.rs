//! The last record of each key: what an upsert remembers.
//!
//! A record is the last of its key by (order, sequence). The changes of one time may come in any order: which record is
//! the last does not depend on it. What a key showed before the open time is moved out when it is first replaced, so that
//! no row is copied to be compared.

use super::{Chunked, KeyTable, sampled};
use crate::figures::Held;
use crate::repr::Diff;

/// What one record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// The key has this row.
    Row {
        /// Comes first in deciding which record is the last; empty where only the sequence decides.
        order: &'a [u8],
        /// The row.
        row: &'a [u8],
    },
    /// The key has no row.
    Tombstone {
        /// As of a row.
        order: &'a [u8],
    },
    /// The key has no row, whatever the orders of the records with smaller sequences are.
    LooseTombstone,
}

#[derive(Default)]
struct Entry {
    /// The order of the last record.
    order: Box<[u8]>,
    /// Its sequence; 0 before the first.
    sequence: u64,
    /// Its row, unless it is a tombstone or a loose one has come after it.
    row: Option<Box<[u8]>>,
    /// The greatest sequence of a loose tombstone.
    loose: u64,
    /// It stands in the table's list of changes.
    changed: bool,
}

/// Keys with their last records.
pub(crate) struct UpsertTable {
    keys: KeyTable,
    entries: Chunked<Entry>,
    /// What may differ from before the open time, with the rows of before.
    changes: Vec<(u32, Option<Box<[u8]>>)>,
    /// A deleted key is remembered with the order of its last record, for those that come late.
    remembers: bool,
}

impl UpsertTable {
    /// An empty table. `ordered` says that orders are given: then deleted keys are remembered.
    pub(crate) fn new(ordered: bool) -> UpsertTable {
        UpsertTable { keys: KeyTable::default(), entries: Chunked::default(), changes: Vec::new(), remembers: ordered }
    }

    /// Brings what `hash` most likely leads to into the cache: call it some rows ahead, first with `near` false.
    #[inline]
    pub(crate) fn warm(&self, hash: u64, near: bool) {
        if !near {
            return self.keys.warm_index(hash);
        }
        if let Some(slot) = self.keys.warm_entry(hash) {
            self.entries.warm(slot);
        }
    }

    /// What it holds: keys are the records.
    pub(crate) fn held(&self) -> Held {
        let behind = |slot: u32| {
            let entry = &self.entries[slot];
            entry.order.len() + entry.row.as_ref().map_or(0, |row| row.len())
        };
        self.keys.held().and_bytes(self.entries.bytes() + sampled(self.entries.len(), behind))
    }

    /// Takes one record of the open time. Sequences are above 0, and above all of earlier times.
    pub(crate) fn apply(&mut self, hash: u64, key: &[u8], sequence: u64, change: Change<'_>) {
        let (slot, inserted) = self.keys.find_or_insert(hash, key);
        if inserted {
            self.entries.grow_to(self.keys.slots(), Entry::default);
        }
        let entry = &mut self.entries[slot];
        let (order, row) = match change {
            Change::Row { order, row } => (order, Some(row)),
            Change::Tombstone { order } => (order, None),
            Change::LooseTombstone => {
                entry.loose = entry.loose.max(sequence);
                if inserted || (entry.row.is_some() && sequence > entry.sequence) {
                    replace(&mut self.changes, slot, entry, None);
                }
                return;
            }
        };
        if (order, sequence) > (&entry.order, entry.sequence) {
            entry.sequence = sequence;
            if *entry.order != *order {
                entry.order = order.into();
            }
            let row = row.filter(|_| sequence > entry.loose);
            replace(&mut self.changes, slot, entry, row);
        }
    }

    /// Ends the open time: tells which rows have gone and come, and forgets keys that are not needed any more.
    pub(crate) fn finish_time(&mut self, mut emit: impl FnMut(&[u8], Diff)) {
        for (slot, old) in self.changes.drain(..) {
            let entry = &mut self.entries[slot];
            entry.changed = false;
            if old != entry.row {
                if let Some(old) = &old {
                    emit(old, -1);
                }
                if let Some(new) = &entry.row {
                    emit(new, 1);
                }
            }
            // Without orders nothing that comes later can be before what was there.
            if entry.row.is_none() && (!self.remembers || entry.sequence == 0) {
                *entry = Entry::default();
                self.keys.remove(slot);
            }
        }
    }
}

/// Gives the entry at `slot` another row, and notes the one of before the open time.
fn replace(changes: &mut Vec<(u32, Option<Box<[u8]>>)>, slot: u32, entry: &mut Entry, row: Option<&[u8]>) {
    let former = std::mem::replace(&mut entry.row, row.map(Box::from));
    if !std::mem::replace(&mut entry.changed, true) {
        changes.push((slot, former));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::repr::hash_bytes;

    /// A record of key `key`: an order, if it has one, and a row, if it is no tombstone.
    type Record = (u8, Option<u8>, Option<[u8; 2]>);

    /// What is there of a key: the order of the last record, and its row.
    type Plain = BTreeMap<u8, (u8, Option<[u8; 2]>)>;

    /// Records one after the other, in the order of arrival, as the envelope promises.
    fn take(plain: &mut Plain, (key, order, row): Record) {
        let known = plain.get(&key).copied();
        match (order, known) {
            (None, Some((order, _))) => drop(plain.insert(key, (order, None))),
            (None, None) => {}
            (Some(order), Some((last, _))) if order < last => {}
            (Some(order), _) => drop(plain.insert(key, (order, row))),
        }
    }

    fn record(random: &mut ChaCha8Rng, ordered: bool) -> Record {
        let order = if ordered { random.random_range(0..6) } else { 0 };
        let row = random.random_bool(0.7).then(|| [random.random_range(0..3), order]);
        let loose = ordered && row.is_none() && random.random_bool(0.5);
        (random.random_range(0..9), (!loose).then_some(order), row)
    }

    #[test]
    fn whatever_order_the_changes_of_a_time_come_in_the_last_of_each_key_is_there() {
        for seed in 0..400 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let ordered = seed % 2 == 0;
            let mut table = UpsertTable::new(ordered);
            let (mut plain, mut shown) = (Plain::new(), BTreeMap::<Vec<u8>, Diff>::new());
            let mut sequence = 0;
            for _ in 0..random.random_range(1..30) {
                let mut records = Vec::new();
                for _ in 0..random.random_range(0..12) {
                    sequence += 1;
                    let record = record(&mut random, ordered);
                    take(&mut plain, record);
                    records.push((sequence, record));
                }
                records.shuffle(&mut random);
                for (sequence, (key, order, row)) in &records {
                    let order_bytes: &[u8] = if ordered { order.as_slice() } else { &[] };
                    // The key is a part of the row.
                    let row = row.map(|row| [*key, row[0], row[1]]);
                    let change = match (order, &row) {
                        (None, _) => Change::LooseTombstone,
                        (Some(_), Some(row)) => Change::Row { order: order_bytes, row },
                        (Some(_), None) => Change::Tombstone { order: order_bytes },
                    };
                    table.apply(hash_bytes(&[*key]), &[*key], *sequence, change);
                }
                table.finish_time(|row, diff| *shown.entry(row.to_vec()).or_default() += diff);
                shown.retain(|_, count| *count != 0);
                let wanted: BTreeMap<Vec<u8>, Diff> =
                    plain.iter().filter_map(|(key, (_, row))| row.map(|row| (vec![*key, row[0], row[1]], 1))).collect();
                assert_eq!(shown, wanted, "seed {seed}");
            }
        }
    }

    #[test]
    fn deleted_keys_are_forgotten_unless_orders_may_come_late() {
        for (ordered, slots) in [(false, 1), (true, 50)] {
            let mut table = UpsertTable::new(ordered);
            let order: &[u8] = if ordered { &[1] } else { &[] };
            for key in 0..50_u8 {
                let sequence = u64::from(key) * 2 + 1;
                table.apply(hash_bytes(&[key]), &[key], sequence, Change::Row { order, row: &[key] });
                table.finish_time(|_, diff| assert_eq!(diff, 1));
                table.apply(hash_bytes(&[key]), &[key], sequence + 1, Change::LooseTombstone);
                table.finish_time(|_, diff| assert_eq!(diff, -1));
                // What was never there is not remembered.
                table.apply(hash_bytes(&[key, 1]), &[key, 1], sequence + 1, Change::LooseTombstone);
                table.finish_time(|_, _| panic!("nothing was there"));
            }
            assert!(table.keys.slots() <= slots + 1, "{} slots", table.keys.slots());
        }
    }
}
