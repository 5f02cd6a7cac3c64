//! One partition: its rows in order, and what a time's changes do to the answers.

use std::cmp::Ordering;
use std::ops::Range;

use smallvec::SmallVec;

use super::frames::Rows;
use super::kind::{Kind, Weights, tile};
use super::measure::Measure;
use super::reach::{Intervals, Reach};
use super::row::{RowLayout, Value, order_len, split_written};
use super::stretch::{Answered, Asked};
use crate::repr::{Diff, order_rows};
use crate::state::{Ordered, TOGETHER, Warm, Weightless};

/// Beyond so many tiles, looking where each begins costs more than looking at the rows.
const TILES_MAX: i64 = 1_000;

/// What an operator computes, for all its partitions.
pub(super) struct Shape {
    pub(super) asked: Asked,
    pub(super) layout: RowLayout,
    pub(super) weights: Weights,
    pub(super) measure: Measure,
    /// Whether all that is asked are tiles: then rows that keep theirs are not looked at.
    only_tiles: bool,
    /// The groups of partitions whose groups are not counted.
    no_groups: Ordered<0>,
}

impl Shape {
    pub(super) fn new(asked: Asked, layout: RowLayout, weights: Weights, measure: Measure) -> Shape {
        let tiles = |kind: &Kind| matches!(kind, Kind::Ntile(tiles) if *tiles <= TILES_MAX);
        let only_tiles = asked.limit.is_none()
            && !asked.functions.is_empty()
            && asked.functions.iter().all(|function| tiles(&function.kind));
        Shape { asked, layout, weights, measure, only_tiles, no_groups: Ordered::default() }
    }
}

/// A change of a written row: see [`split_written`].
pub(super) type RowChange<'a> = (&'a [u8], Diff);

/// The key of a changed row.
fn key_of<'a>((written, _): &RowChange<'a>) -> &'a [u8] {
    let (key, bytes) = split_written(written);
    &bytes[..key]
}

/// The bytes of a row: its order's keys, and what is kept beside them.
pub(super) type RowBytes<'a> = (&'a [u8], &'a [u8]);

/// The rows of one partition.
#[derive(Default)]
pub(super) struct Partition<const W: usize> {
    rows: Ordered<W>,
    /// The different keys of the order, where they are counted.
    groups: Option<Box<Ordered<0>>>,
}

/// What one time's work on a partition needs, kept from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    intervals: Intervals,
    before: Answers,
    now: Answers,
}

/// Which row an answer is of.
struct AnsweredRow {
    /// The end of its key in [`Answers::keys`].
    end: usize,
    /// How much of the key is the order's.
    order: usize,
    copy_of_last: bool,
}

/// Answers, row by row in order.
#[derive(Default)]
struct Answers {
    keys: Vec<u8>,
    rows: Vec<AnsweredRow>,
    values: Vec<Value>,
}

impl Answers {
    fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
        self.values.clear();
    }

    fn push(&mut self, Answered { key, order, copy_of_last }: Answered<'_>, values: &[Value]) {
        self.keys.extend_from_slice(key);
        self.rows.push(AnsweredRow { end: self.keys.len(), order, copy_of_last });
        self.values.extend_from_slice(values);
    }

    fn key(&self, at: usize) -> Option<&[u8]> {
        let end = self.rows.get(at)?.end;
        let start = if at == 0 { 0 } else { self.rows[at - 1].end };
        Some(&self.keys[start..end])
    }

    /// The rows from `at` on that have the same key.
    fn copies(&self, at: usize) -> Range<usize> {
        let more = self.rows[at + 1..].iter().take_while(|row| row.copy_of_last).count();
        at..at + 1 + more
    }

    /// The row, and the answers beside it.
    fn get(&self, at: usize, width: usize) -> (RowBytes<'_>, &[Value]) {
        let key = self.key(at).expect("a row that is there");
        (key.split_at(self.rows[at].order), &self.values[at * width..(at + 1) * width])
    }
}

impl<const W: usize> Partition<W> {
    /// Whether no row is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Brings the last rows into the cache, step by step: see [`Ordered::warm`].
    #[inline]
    pub(super) fn warm(&self, step: Warm) {
        self.rows.warm(step);
    }

    /// Applies the changes of one time, in order and different from each other; `emit` gets (row, answers, diff).
    pub(super) fn apply(
        &mut self,
        changes: &[RowChange<'_>],
        shape: &Shape,
        scratch: &mut Scratch,
        mut emit: impl FnMut(RowBytes<'_>, &[Value], Diff),
    ) {
        if shape.only_tiles {
            self.apply_tiles(changes, shape, emit);
            return;
        }
        let Scratch { intervals, before, now } = scratch;
        self.reach(changes, shape, intervals);
        before.clear();
        if !self.rows.is_empty() {
            shape.asked.answers(&self.read(shape), intervals, |row, values| before.push(row, values));
        }
        self.change(changes, shape);
        if before.rows.is_empty() {
            // What comes takes nobody's place.
            shape.asked.answers(&self.read(shape), intervals, |row, values| {
                emit(row.key.split_at(row.order), values, 1);
            });
            return;
        }
        now.clear();
        shape.asked.answers(&self.read(shape), intervals, |row, values| now.push(row, values));
        emit_differences(before, now, shape.asked.functions.len(), &mut emit);
    }

    fn read<'a>(&'a self, shape: &'a Shape) -> Rows<'a, W, Weights> {
        Rows {
            tree: &self.rows,
            groups: self.groups.as_deref().unwrap_or(&shape.no_groups),
            weigh: &shape.weights,
            layout: &shape.layout,
            measure: &shape.measure,
        }
    }

    fn reach(&self, changes: &[RowChange<'_>], shape: &Shape, intervals: &mut Intervals) {
        let removed = changes.iter().map(|(_, diff)| (-diff).max(0)).sum();
        let groups = self.groups.as_deref().unwrap_or(&shape.no_groups);
        let reach = Reach::new((&self.rows, groups), &shape.measure, shape.asked.limit, removed);
        intervals.clear();
        for (written, _) in changes {
            let (key, bytes) = split_written(written);
            let (key, payload) = bytes.split_at(key);
            reach.of(key, order_len(payload), &shape.asked, intervals);
        }
        intervals.merge();
    }

    fn change(&mut self, changes: &[RowChange<'_>], shape: &Shape) {
        let mut group: Option<(&[u8], bool)> = None;
        for (written, diff) in changes {
            let (key, bytes) = split_written(written);
            let prefix = &bytes[..order_len(&bytes[key..])];
            if shape.asked.groups && group.is_none_or(|(known, _)| known != prefix) {
                self.count_group(group);
                group = Some((prefix, self.has_group(prefix)));
            }
            self.rows.add(bytes, key, *diff, &shape.weights);
        }
        self.count_group(group);
    }

    fn has_group(&self, prefix: &[u8]) -> bool {
        self.rows.get(&self.rows.seek(prefix)).is_some_and(|entry| entry.key().starts_with(prefix))
    }

    /// Notes whether a group, of which is known whether it was there, came or went.
    fn count_group(&mut self, group: Option<(&[u8], bool)>) {
        if let Some((prefix, before)) = group {
            let after = self.has_group(prefix);
            let groups = self.groups.get_or_insert_default();
            groups.add(prefix, prefix.len(), i64::from(after) - i64::from(before), &Weightless);
        }
    }

    /// Tiles: the changed rows, and those between where a tile began and where it begins now.
    fn apply_tiles(
        &mut self,
        changes: &[RowChange<'_>],
        shape: &Shape,
        mut emit: impl FnMut(RowBytes<'_>, &[Value], Diff),
    ) {
        let tiles: Vec<i64> = shape.asked.functions.iter().map(|function| tiles_of(&function.kind)).collect();
        let values = |position: i64, rows: i64| -> SmallVec<[Value; 1]> {
            tiles.iter().map(|tiles| Value::Code(i128::from(tile(position, rows, *tiles)))).collect()
        };
        let rows_before = self.rows.rows();
        let rows_now = rows_before + changes.iter().map(|(_, diff)| diff).sum::<i64>();
        let starts_before = self.starts(&tiles);
        let mut shifts: Vec<(&[u8], i64)> = Vec::with_capacity(changes.len());
        let mut shift = 0;
        for together in changes.chunks(TOGETHER) {
            let ways = self.rows.ways(together.iter().map(key_of));
            for ((written, diff), way) in together.iter().zip(ways) {
                let (key, bytes) = split_written(written);
                // Changes come in order: what follows moves nothing before this row.
                let (copies, place) = self.rows.add_placed(way, (bytes, key), *diff, &shape.weights);
                let row = bytes[..key].split_at(order_len(&bytes[key..]));
                for copy in 0..copies.max(copies + diff) {
                    let before = (copy < copies).then(|| values(place - shift + copy, rows_before));
                    let now = (copy < copies + diff).then(|| values(place + copy, rows_now));
                    if before != now {
                        before.iter().for_each(|before| emit(row, before, -1));
                        now.iter().for_each(|now| emit(row, now, 1));
                    }
                }
                shift += diff;
                shifts.push((&bytes[..key], shift));
            }
        }
        let mut moved = Intervals::default();
        for starts in starts_before.iter().zip(&self.starts(&tiles)) {
            match starts {
                (None, None) => {}
                (Some(start), None) | (None, Some(start)) => moved.push(start, None),
                (Some(before), Some(now)) => moved.push(before.min(now), Some(&[before.max(now), &[0]])),
            }
        }
        moved.merge();
        for (low, high) in moved.iter() {
            let mut cursor = self.rows.seek(low);
            while let Some(entry) = self.rows.get(&cursor) {
                let key = entry.key();
                if high.is_some_and(|high| key >= high) {
                    break;
                }
                let change = shifts.partition_point(|(changed, _)| *changed < key);
                let changed = shifts.get(change).is_some_and(|(changed, _)| *changed == key);
                let shift = change.checked_sub(1).map_or(0, |last| shifts[last].1);
                for copy in (0..entry.copies()).filter(|_| !changed) {
                    let position = cursor.rows + copy;
                    let (before, now) = (values(position - shift, rows_before), values(position, rows_now));
                    if before != now {
                        let row = key.split_at(order_len(entry.payload()));
                        emit(row, &before, -1);
                        emit(row, &now, 1);
                    }
                }
                self.rows.step(&mut cursor);
            }
        }
    }

    /// The keys in which the tiles but the first begin; `None` behind the last row.
    fn starts(&self, tiles: &[i64]) -> Vec<Option<Vec<u8>>> {
        let rows = self.rows.rows();
        let mut starts = Vec::new();
        for tiles in tiles {
            let (small, larger) = (rows / tiles, rows % tiles);
            for tile in 1..*tiles {
                let cursor = self.rows.select(tile * small + tile.min(larger));
                starts.push(self.rows.get(&cursor).map(|entry| entry.key().to_vec()));
            }
        }
        starts
    }
}

fn tiles_of(kind: &Kind) -> i64 {
    match kind {
        Kind::Ntile(tiles) => *tiles,
        other => unreachable!("{other:?} is no tile"),
    }
}

/// Emits the rows whose answers differ: those of before are taken away, those of now added.
fn emit_differences(
    before: &Answers,
    now: &Answers,
    width: usize,
    emit: &mut impl FnMut(RowBytes<'_>, &[Value], Diff),
) {
    let (mut old, mut new) = (0, 0);
    loop {
        let order = match (before.key(old), now.key(new)) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => order_rows(old, new),
        };
        let (old_copies, new_copies) = match order {
            Ordering::Less => (before.copies(old), new..new),
            Ordering::Greater => (old..old, now.copies(new)),
            Ordering::Equal => (before.copies(old), now.copies(new)),
        };
        (old, new) = (old_copies.end, new_copies.end);
        // Copies of a row are alike: only how often each answer stands beside them counts.
        let mut left: SmallVec<[usize; 1]> = new_copies.collect();
        for old in old_copies {
            let (row, values) = before.get(old, width);
            match left.iter().position(|new| now.get(*new, width).1 == values) {
                Some(same) => drop(left.remove(same)),
                None => emit(row, values, -1),
            }
        }
        for new in left {
            let (row, values) = now.get(new, width);
            emit(row, values, 1);
        }
    }
}
