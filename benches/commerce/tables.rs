//! The typed way: private tables written for one query, right under retractions, every change emitted tick by tick as the
//! old row taken away and the new one added. The floor that a general engine is measured against.
//!
//! Equal neighbours (one order's lines) are merged into runs first; the index holds 32 bits of the hash beside the
//! entry's number, so that it grows without looking at entries; different orders are counted in one flat table keyed by
//! the group's number.

use arrow::array::{AsArray, RecordBatch};

use super::columns::{Columns, HOUR, MINUTE};
use super::measure::{Sink, text_value};
use super::queries::{Query, q1_row, q2_row, q4_row};

/// The changes of a query over all ticks.
pub(crate) fn run(query: Query, ticks: &[RecordBatch], products: &RecordBatch) -> Sink {
    match query {
        Query::Q1 => {
            let key = |columns: &Columns<'_>, row: usize| {
                (columns.time[row].div_euclid(MINUTE) as u64) << 16 | u64::from(columns.country_code(row))
            };
            let row = |key: u64, group: &Group| {
                let minute = (key >> 16) as i64 * MINUTE;
                q1_row(minute, key as u16, group.sum, group.rows, group.orders)
            };
            groups(ticks, key, row)
        }
        // The latest time is a slot: without retractions that is enough; the retractable form keeps no multiset here.
        Query::Q2 | Query::Q2Retractable => {
            let key = |columns: &Columns<'_>, row: usize| columns.customer[row] as u64;
            let row = |key: u64, group: &Group| q2_row(key as i64, group.latest, group.orders, group.sum);
            groups(ticks, key, row)
        }
        Query::Q4 => joined(ticks, products),
    }
}

#[inline]
fn hash_of(value: u64) -> u64 {
    let product = u128::from(value ^ 0x2545_F491_4F6C_DD1D).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    (product >> 64) as u64 ^ product as u64
}

/// Open addressing from hashes to entry numbers; places are (32 bits of the hash, number + 1).
struct Index {
    places: Vec<u64>,
    shift: u32,
    len: usize,
}

impl Index {
    fn new() -> Index {
        Index { places: vec![0; 1 << 10], shift: 64 - 10, len: 0 }
    }

    /// The number of the entry for which `same`, or a place for `fresh`, which is then returned.
    #[inline]
    fn find_or_insert(&mut self, hash: u64, fresh: u32, same: impl Fn(u32) -> bool) -> u32 {
        let mask = self.places.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let place = self.places[at];
            if place == 0 {
                break;
            }
            let number = place as u32 - 1;
            if (place >> 32) as u32 == hash as u32 && same(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
        self.places[at] = (hash & 0xFFFF_FFFF) << 32 | u64::from(fresh + 1);
        self.len += 1;
        fresh
    }

    /// Doubles the index when it is three quarters full; `hash` gives an entry's hash.
    fn make_room(&mut self, hash: impl Fn(u32) -> u64) {
        if self.len * 4 < self.places.len() * 3 {
            return;
        }
        let old = std::mem::take(&mut self.places);
        self.places = vec![0; old.len() * 2];
        self.shift -= 1;
        let mask = self.places.len() - 1;
        for place in old.into_iter().filter(|place| *place != 0) {
            let mut at = (hash(place as u32 - 1) >> self.shift) as usize;
            while self.places[at] != 0 {
                at = (at + 1) & mask;
            }
            self.places[at] = place;
        }
    }
}

/// How often each (group, value) is there.
struct Counted {
    /// (value, group, count); a count of 0 is a free place.
    places: Vec<(u64, u32, i32)>,
    shift: u32,
    len: usize,
}

impl Counted {
    fn new() -> Counted {
        Counted { places: vec![(0, 0, 0); 1 << 12], shift: 64 - 12, len: 0 }
    }

    #[inline]
    fn home(&self, value: u64, group: u32) -> usize {
        (hash_of(value.rotate_left(20) ^ u64::from(group)) >> self.shift) as usize
    }

    /// Adds `diff` copies; returns by how much the number of different values of the group changes.
    #[inline]
    fn add(&mut self, group: u32, value: u64, diff: i32) -> i64 {
        let mask = self.places.len() - 1;
        let mut at = self.home(value, group);
        while self.places[at].2 != 0 {
            let place = &mut self.places[at];
            if place.0 == value && place.1 == group {
                let before = place.2;
                place.2 += diff;
                let after = place.2;
                if after == 0 {
                    self.remove(at);
                }
                return i64::from(after > 0) - i64::from(before > 0);
            }
            at = (at + 1) & mask;
        }
        self.places[at] = (value, group, diff);
        self.len += 1;
        if self.len * 4 > self.places.len() * 3 {
            self.grow();
        }
        i64::from(diff > 0)
    }

    /// Frees a place and moves back what was pushed beyond it.
    fn remove(&mut self, mut free: usize) {
        let mask = self.places.len() - 1;
        self.len -= 1;
        let mut at = (free + 1) & mask;
        while self.places[at].2 != 0 {
            let home = self.home(self.places[at].0, self.places[at].1);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(free) & mask) {
                self.places[free] = self.places[at];
                free = at;
            }
            at = (at + 1) & mask;
        }
        self.places[free].2 = 0;
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places = vec![(0, 0, 0); old.len() * 2];
        self.shift -= 1;
        let mask = self.places.len() - 1;
        for place in old.into_iter().filter(|place| place.2 != 0) {
            let mut at = self.home(place.0, place.1);
            while self.places[at].2 != 0 {
                at = (at + 1) & mask;
            }
            self.places[at] = place;
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Group {
    sum: i64,
    rows: i64,
    orders: i64,
    latest: i64,
}

/// Equal neighbours of one tick.
struct Run {
    key: u64,
    order: u64,
    sum: i64,
    latest: i64,
    rows: i32,
}

/// Groups by `key`; `answer` is the hash of a group's row.
fn groups(
    ticks: &[RecordBatch],
    key: impl Fn(&Columns<'_>, usize) -> u64,
    answer: impl Fn(u64, &Group) -> u64,
) -> Sink {
    let mut index = Index::new();
    let mut entries: Vec<(u64, Group, u32)> = Vec::new();
    let mut orders = Counted::new();
    let mut sink = Sink::default();
    let (mut runs, mut touched): (Vec<Run>, Vec<(u32, Group)>) = Default::default();
    for (tick, batch) in (1u32..).zip(ticks) {
        let columns = Columns::new(batch);
        merge_runs(&columns, batch.num_rows(), &key, &mut runs);
        for run in &runs {
            index.make_room(|number| hash_of(entries[number as usize].0));
            let fresh = entries.len() as u32;
            let number = index.find_or_insert(hash_of(run.key), fresh, |number| entries[number as usize].0 == run.key);
            if number == fresh {
                entries.push((run.key, Group { latest: i64::MIN, ..Group::default() }, 0));
            }
            let (_, group, seen) = &mut entries[number as usize];
            if *seen != tick {
                *seen = tick;
                touched.push((number, *group));
            }
            group.sum += run.sum;
            group.rows += i64::from(run.rows);
            group.latest = group.latest.max(run.latest);
            group.orders += orders.add(number, run.order, run.rows);
        }
        for (number, old) in touched.drain(..) {
            let (key, group, _) = &entries[number as usize];
            if old.rows > 0 {
                sink.add(answer(*key, &old), -1);
            }
            if group.rows > 0 {
                sink.add(answer(*key, group), 1);
            }
        }
    }
    sink
}

fn merge_runs(columns: &Columns<'_>, rows: usize, key: impl Fn(&Columns<'_>, usize) -> u64, runs: &mut Vec<Run>) {
    runs.clear();
    for row in 0..rows {
        let (key, order) = (key(columns, row), columns.order[row] as u64);
        let (sum, latest) = (columns.amount[row] as i64, columns.time[row]);
        match runs.last_mut() {
            Some(run) if run.key == key && run.order == order => {
                run.sum += sum;
                run.rows += 1;
                run.latest = run.latest.max(latest);
            }
            _ => runs.push(Run { key, order, sum, latest, rows: 1 }),
        }
    }
}

/// Money by category and hour: the transactions are added up by (product, hour) first, and the join of those sums with
/// the products, whose key is unique, keeps them, so that a product's change could move them.
fn joined(ticks: &[RecordBatch], products: &RecordBatch) -> Sink {
    let names: Vec<u64> =
        products.column(1).as_string::<i32>().iter().flatten().map(|name| text_value(name.as_bytes())).collect();
    let mut kinds: Vec<u64> = names.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let kind_of: Vec<u64> = names.iter().map(|name| kinds.binary_search(name).expect("it is there") as u64).collect();
    let mut left = Sums::new();
    let mut out = Sums::new();
    let mut sink = Sink::default();
    for (tick, batch) in (1u32..).zip(ticks) {
        let columns = Columns::new(batch);
        for row in 0..batch.num_rows() {
            let (hour, product) = (columns.time[row].div_euclid(HOUR) as u64, columns.product[row] as u64);
            left.add(tick, hour << 32 | product, columns.amount[row] as i64);
        }
        let mut changes: Vec<(u64, i64)> = Vec::with_capacity(left.touched.len());
        left.take_changes(|key, old, new| changes.push((key, new.0 - old.0)));
        for (key, change) in changes {
            let kind = kind_of[(key & 0xFFFF_FFFF) as usize];
            out.add(tick, (key >> 32) << 32 | kind, change);
        }
        out.take_changes(|key, old, new| {
            let (kind, hour) = (kinds[(key & 0xFFFF_FFFF) as usize], (key >> 32) as i64 * HOUR);
            if old.1 > 0 {
                sink.add(q4_row(kind, hour, old.0), -1);
            }
            sink.add(q4_row(kind, hour, new.0), 1);
        });
    }
    sink
}

/// Sums and how often they were changed.
type Sum = (i64, i64);

struct Sums {
    index: Index,
    entries: Vec<(u64, Sum, u32)>,
    touched: Vec<(u32, Sum)>,
}

impl Sums {
    fn new() -> Sums {
        Sums { index: Index::new(), entries: Vec::new(), touched: Vec::new() }
    }

    #[inline]
    fn add(&mut self, tick: u32, key: u64, change: i64) {
        let entries = &mut self.entries;
        self.index.make_room(|number| hash_of(entries[number as usize].0));
        let fresh = entries.len() as u32;
        let number = self.index.find_or_insert(hash_of(key), fresh, |number| entries[number as usize].0 == key);
        if number == fresh {
            entries.push((key, (0, 0), 0));
        }
        let (_, sum, seen) = &mut entries[number as usize];
        if *seen != tick {
            *seen = tick;
            self.touched.push((number, *sum));
        }
        sum.0 += change;
        sum.1 += 1;
    }

    fn take_changes(&mut self, mut take: impl FnMut(u64, Sum, Sum)) {
        for (number, old) in self.touched.drain(..) {
            let (key, new, _) = self.entries[number as usize];
            take(key, old, new);
        }
    }
}
