//! Random histories: ticks of inserts, deletes, updates and duplicates, so that groups come and go.

use std::collections::BTreeMap;

use headwater_dataflow::repr::{Diff, Timestamp};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::tables::Table;
use crate::engine::rows::{Row, Rows, add};

/// What happens to all tables at one time.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) time: Timestamp,
    /// Per table its updates.
    pub(crate) updates: Vec<Vec<(Row, Diff)>>,
}

/// All that happens, times ascending.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) changes: Vec<Change>,
}

impl History {
    /// A random history: first the initial rows, then some ticks.
    pub(crate) fn random(rng: &mut ChaCha8Rng, tables: &[Table]) -> History {
        let mut bags: Vec<Vec<Row>> = vec![Vec::new(); tables.len()];
        let mut time = rng.random_range(10..1_000);
        let ticks = if rng.random_bool(0.1) { rng.random_range(8..16) } else { rng.random_range(2..7) };
        let mut changes = Vec::new();
        for tick in 0..ticks {
            let updates = tables
                .iter()
                .zip(&mut bags)
                .map(|(table, bag)| if tick == 0 { initial(rng, table, bag) } else { tick_of(rng, table, bag) })
                .collect();
            changes.push(Change { time, updates });
            time += rng.random_range(1..6);
        }
        History { changes }
    }

    /// The rows of table `table` after change `index`.
    pub(crate) fn rows_at(&self, table: usize, index: usize) -> Rows {
        let mut rows = Rows::new();
        for change in &self.changes[..=index] {
            for (row, diff) in &change.updates[table] {
                add(&mut rows, row.clone(), *diff);
            }
        }
        rows
    }

    /// Histories with less in them that still never take away what is not there.
    pub(crate) fn smaller(&self, created: &[usize]) -> Vec<History> {
        let mut found = Vec::new();
        let last = self.changes.len() - 1;
        if created.iter().all(|index| *index < last) {
            found.push(History { changes: self.changes[..last].to_vec() });
        }
        for (index, change) in self.changes.iter().enumerate() {
            for (table, updates) in change.updates.iter().enumerate() {
                for size in [updates.len(), updates.len() / 2, updates.len() / 4, 1] {
                    if size == 0 || (size != updates.len() && size != 1 && size < 2) {
                        continue;
                    }
                    let mut from = 0;
                    while from < updates.len() {
                        let mut less = self.clone();
                        let list = &mut less.changes[index].updates[table];
                        list.drain(from..(from + size).min(updates.len()));
                        if less.is_sound(table) {
                            found.push(less);
                        }
                        from += size;
                    }
                    if size == 1 {
                        break;
                    }
                }
            }
        }
        found
    }

    /// Whether no row's count is ever below zero.
    fn is_sound(&self, table: usize) -> bool {
        let mut rows: BTreeMap<&Row, Diff> = BTreeMap::new();
        self.changes.iter().all(|change| {
            for (row, diff) in &change.updates[table] {
                *rows.entry(row).or_default() += diff;
            }
            rows.values().all(|count| *count >= 0)
        })
    }

    /// How many updates there are.
    pub(crate) fn len(&self) -> usize {
        self.changes.iter().flat_map(|change| &change.updates).map(Vec::len).sum()
    }
}

fn initial(rng: &mut ChaCha8Rng, table: &Table, bag: &mut Vec<Row>) -> Vec<(Row, Diff)> {
    let count = if rng.random_bool(0.15) { 0 } else { rng.random_range(0..=table.rows_max) };
    (0..count).map(|_| insert(rng, table, bag)).collect()
}

/// A new row, or another copy of one that is there.
fn insert(rng: &mut ChaCha8Rng, table: &Table, bag: &mut Vec<Row>) -> (Row, Diff) {
    let row = if !bag.is_empty() && rng.random_bool(0.15) {
        bag[rng.random_range(0..bag.len())].clone()
    } else {
        table.row(rng)
    };
    let copies = if rng.random_bool(0.1) && !table.append_only { rng.random_range(2..=3) } else { 1 };
    for _ in 0..copies {
        bag.push(row.clone());
    }
    (row, copies)
}

fn tick_of(rng: &mut ChaCha8Rng, table: &Table, bag: &mut Vec<Row>) -> Vec<(Row, Diff)> {
    if rng.random_bool(0.3) {
        return Vec::new();
    }
    if table.append_only {
        let count = if bag.len() > 2 * table.rows_max { 1 } else { rng.random_range(1..=5) };
        return (0..count).map(|_| insert(rng, table, bag)).collect();
    }
    if rng.random_bool(0.06) {
        return bag.drain(..).map(|row| (row, -1)).collect();
    }
    let big = table.rows_max > 100 && rng.random_bool(0.5);
    let mut updates = Vec::new();
    for _ in 0..if big { rng.random_range(20..150) } else { rng.random_range(1..7) } {
        let crowded = bag.len() > table.rows_max;
        match rng.random_range(0..10) {
            0..4 if !crowded => updates.push(insert(rng, table, bag)),
            0..7 if !bag.is_empty() => updates.push((bag.swap_remove(rng.random_range(0..bag.len())), -1)),
            7..9 if !bag.is_empty() => {
                let old = bag.swap_remove(rng.random_range(0..bag.len()));
                let mut new = old.clone();
                let column = rng.random_range(0..new.len());
                new[column] = table.domains[column].value(rng);
                bag.push(new.clone());
                updates.extend([(old, -1), (new, 1)]);
            }
            9 => {
                // Comes and goes within the tick.
                let row = table.row(rng);
                updates.extend([(row.clone(), 1), (row, -1)]);
            }
            _ => {}
        }
    }
    updates.shuffle(rng);
    updates
}
