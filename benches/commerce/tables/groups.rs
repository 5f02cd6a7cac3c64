//! Q1 and Q2: groups with sums, the number of different orders and the latest time.
//!
//! Equal neighbours (one order's lines) are merged into runs first; different orders are counted in one flat table keyed
//! by the group's number.

use super::super::columns::{Columns, MINUTE};
use super::super::input::Change;
use super::super::measure::Sink;
use super::super::queries::{q1_row, q2_row};
use super::index::{Counted, Index, hash_of};

/// How the latest time is kept.
pub(super) trait Latest: Default {
    /// Whether neighbours may be merged although only one of their times is kept.
    const MERGES: bool;

    /// Takes in a time that comes or goes; returns the latest that is left.
    fn add(&mut self, time: i64, diff: i32) -> i64;
}

/// The latest so far: enough while nothing is taken away.
pub(super) struct Slot(i64);

impl Default for Slot {
    fn default() -> Slot {
        Slot(i64::MIN)
    }
}

impl Latest for Slot {
    const MERGES: bool = true;

    #[inline]
    fn add(&mut self, time: i64, _: i32) -> i64 {
        self.0 = self.0.max(time);
        self.0
    }
}

/// All times in order, each with its number of copies. One without copies stays until it is the last, or until they are
/// half of all: times come almost in order, so hardly anything is ever moved.
#[derive(Default)]
pub(super) struct Times {
    times: Vec<(i64, i32)>,
    empty: usize,
}

impl Latest for Times {
    const MERGES: bool = false;

    #[inline]
    fn add(&mut self, time: i64, diff: i32) -> i64 {
        let at = match self.times.last() {
            Some((last, _)) if *last >= time => self.times.partition_point(|(other, _)| *other < time),
            _ => self.times.len(),
        };
        match self.times.get_mut(at) {
            Some((same, copies)) if *same == time => {
                self.empty -= usize::from(*copies == 0);
                *copies += diff;
                self.empty += usize::from(*copies == 0);
            }
            _ => self.times.insert(at, (time, diff)),
        }
        while self.times.last().is_some_and(|(_, copies)| *copies == 0) {
            self.times.pop();
            self.empty -= 1;
        }
        if self.empty * 2 > self.times.len() {
            self.times.retain(|(_, copies)| *copies != 0);
            self.empty = 0;
        }
        self.times.last().map_or(i64::MIN, |(time, _)| *time)
    }
}

/// What a group's row is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    pub(super) sum: i64,
    pub(super) rows: i64,
    pub(super) orders: i64,
    pub(super) latest: i64,
}

struct Entry<L> {
    key: u64,
    group: Group,
    /// The tick that touched it last.
    seen: u32,
    latest: L,
}

/// Equal neighbours of one tick.
struct Run {
    key: u64,
    order: u64,
    sum: i64,
    latest: i64,
    rows: i32,
}

/// Groups by a number.
pub(super) struct Groups<L> {
    index: Index,
    entries: Vec<Entry<L>>,
    orders: Counted,
    runs: Vec<Run>,
    touched: Vec<(u32, Group)>,
}

impl<L: Latest> Groups<L> {
    pub(super) fn new() -> Groups<L> {
        Groups {
            index: Index::new(),
            entries: Vec::new(),
            orders: Counted::new(),
            runs: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// The key of a group and what its row is made of.
    pub(super) fn row(&self, number: u32) -> (u64, &Group) {
        let entry = &self.entries[number as usize];
        (entry.key, &entry.group)
    }

    /// Whether a tick has touched a group.
    pub(super) fn touched_in(&self, number: u32, tick: u32) -> bool {
        self.entries[number as usize].seen == tick
    }

    /// Takes in a tick.
    pub(super) fn apply(&mut self, tick: u32, columns: &Columns<'_>, key: impl Fn(&Columns<'_>, usize) -> u64) {
        merge_runs(columns, key, L::MERGES, &mut self.runs);
        let entries = &mut self.entries;
        for run in &self.runs {
            self.index.make_room(|number| hash_of(entries[number as usize].key));
            let fresh = entries.len() as u32;
            let same = |number: u32| entries[number as usize].key == run.key;
            let number = self.index.find_or_insert(hash_of(run.key), fresh, same);
            if number == fresh {
                entries.push(Entry { key: run.key, group: Group::default(), seen: 0, latest: L::default() });
            }
            let entry = &mut entries[number as usize];
            if entry.seen != tick {
                entry.seen = tick;
                self.touched.push((number, entry.group));
            }
            entry.group.sum += run.sum;
            entry.group.rows += i64::from(run.rows);
            entry.group.latest = entry.latest.add(run.latest, run.rows);
            if run.rows != 0 {
                entry.group.orders += self.orders.add(number, run.order, run.rows);
            }
        }
    }

    /// The groups that the tick has touched, each with what it was.
    pub(super) fn take_changes(&mut self, mut take: impl FnMut(u32, u64, &Group, &Group)) {
        for (number, old) in self.touched.drain(..) {
            let entry = &self.entries[number as usize];
            take(number, entry.key, &old, &entry.group);
        }
    }
}

fn merge_runs(columns: &Columns<'_>, key: impl Fn(&Columns<'_>, usize) -> u64, merges: bool, runs: &mut Vec<Run>) {
    runs.clear();
    for row in 0..columns.len() {
        let (key, order) = (key(columns, row), columns.order[row] as u64);
        let diff = columns.diffs.get(row);
        let (sum, latest) = (columns.amount[row] as i64 * diff, columns.time[row]);
        match runs.last_mut() {
            Some(run) if merges && run.key == key && run.order == order => {
                run.sum += sum;
                run.rows += diff as i32;
                run.latest = run.latest.max(latest);
            }
            _ => runs.push(Run { key, order, sum, latest, rows: diff as i32 }),
        }
    }
}

fn emit(sink: &mut Sink, old: &Group, new: &Group, row: impl Fn(&Group) -> u64) {
    if old.rows > 0 {
        sink.add(row(old), -1);
    }
    if new.rows > 0 {
        sink.add(row(new), 1);
    }
}

/// Q1.
pub(super) fn per_minute(ticks: &[Change]) -> Sink {
    let key = |columns: &Columns<'_>, row: usize| {
        (columns.time[row].div_euclid(MINUTE) as u64) << 16 | u64::from(columns.country_code(row))
    };
    let (mut groups, mut sink) = (Groups::<Slot>::new(), Sink::default());
    for (tick, change) in (1u32..).zip(ticks) {
        groups.apply(tick, &Columns::new(change), key);
        groups.take_changes(|_, key, old, new| {
            let minute = (key >> 16) as i64 * MINUTE;
            emit(&mut sink, old, new, |group| q1_row(minute, key as u16, group.sum, group.rows, group.orders));
        });
    }
    sink
}

/// The customer of a row.
pub(super) fn customer(columns: &Columns<'_>, row: usize) -> u64 {
    columns.customer[row] as u64
}

/// Q2.
pub(super) fn per_customer<L: Latest>(ticks: &[Change]) -> Sink {
    let (mut groups, mut sink) = (Groups::<L>::new(), Sink::default());
    for (tick, change) in (1u32..).zip(ticks) {
        groups.apply(tick, &Columns::new(change), customer);
        groups.take_changes(|_, key, old, new| {
            emit(&mut sink, old, new, |group| q2_row(key as i64, group.latest, group.orders, group.sum));
        });
    }
    sink
}
