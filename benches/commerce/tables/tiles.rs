//! Q2n: fifths of the customers by money, on top of the groups of Q2.
//!
//! A tile is where its first customer stands. A tick takes out and puts in the customers that changed; of the others only
//! those are looked at that stand between where a tile began and where it begins now.

use super::super::columns::Columns;
use super::super::input::Change;
use super::super::measure::Sink;
use super::super::queries::{q2_row, q2n_row};
use super::groups::{Group, Groups, Slot, customer};
use super::ranked::Ranked;

const TILES: usize = 5;

/// Money, customer, and the number of its group.
type Key = (i64, u32, u32);
/// The first of the second, the third … tile; `None` if it is empty.
type Starts = [Option<Key>; TILES - 1];

fn tile(starts: &Starts, key: Key) -> u64 {
    1 + starts.iter().flatten().filter(|start| **start <= key).count() as u64
}

fn row(customer: u64, group: &Group, tile: u64) -> u64 {
    q2n_row(q2_row(customer as i64, group.latest, group.orders, group.sum), tile)
}

fn starts(ranked: &Ranked<Key>) -> Starts {
    let (size, larger) = (ranked.len() / TILES, ranked.len() % TILES);
    std::array::from_fn(|index| ranked.select((index + 1) * size + larger.min(index + 1)))
}

/// Q2n.
pub(super) fn per_customer(ticks: &[Change]) -> Sink {
    let (mut groups, mut sink) = (Groups::<Slot>::new(), Sink::default());
    let mut ranked = Ranked::new();
    let mut before: Starts = Default::default();
    let (mut gone, mut come): (Vec<Key>, Vec<Key>) = Default::default();
    for (tick, change) in (1u32..).zip(ticks) {
        groups.apply(tick, &Columns::new(change), customer);
        groups.take_changes(|number, customer, old, new| {
            let key = |group: &Group| (group.sum, customer as u32, number);
            if old.rows > 0 {
                gone.push(key(old));
                sink.add(row(customer, old, tile(&before, key(old))), -1);
            }
            if new.rows > 0 {
                come.push(key(new));
            }
        });
        // In order, neighbours meet in one leaf.
        gone.sort_unstable();
        come.sort_unstable();
        gone.drain(..).for_each(|key| ranked.remove(key));
        come.iter().for_each(|key| ranked.insert(*key));
        let after = starts(&ranked);
        for key in come.drain(..) {
            let (customer, group) = groups.row(key.2);
            sink.add(row(customer, group, tile(&after, key)), 1);
        }
        for (from, end) in moved(&before, &after) {
            ranked.walk(from, end, |key| {
                let (was, is) = (tile(&before, key), tile(&after, key));
                if was != is && !groups.touched_in(key.2, tick) {
                    let (customer, group) = groups.row(key.2);
                    sink.add(row(customer, group, was), -1);
                    sink.add(row(customer, group, is), 1);
                }
            });
        }
        before = after;
    }
    sink
}

/// The stretches between old and new starts, none twice. A tile that was or is empty begins behind everything.
fn moved(before: &Starts, after: &Starts) -> Vec<(Key, Option<Key>)> {
    const BEHIND: Key = (i64::MAX, u32::MAX, u32::MAX);
    let pairs = before.iter().zip(after).map(|(old, new)| (old.unwrap_or(BEHIND), new.unwrap_or(BEHIND)));
    let mut stretches: Vec<(Key, Key)> = pairs.map(|(old, new)| (old.min(new), old.max(new))).collect();
    stretches.sort_unstable();
    let mut reached = (i64::MIN, 0, 0);
    let mut all = Vec::new();
    for (from, end) in stretches {
        if end > from.max(reached) {
            all.push((from.max(reached), (end != BEHIND).then_some(end)));
            reached = end;
        }
    }
    all
}
