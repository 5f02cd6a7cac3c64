//! One partition: its rows in order, and what a time's changes do to the answers.

use super::frames::Rows;
use super::kind::{Function, Kind, Weights, tile};
use super::measure::Measure;
use super::reach::{Interval, Reach, merged};
use super::row::{RowLayout, Value, order_len, split_written};
use super::stretch::Asked;
use crate::plan::RowLimit;
use crate::repr::Diff;
use crate::state::{Ordered, Weightless};

/// Beyond so many tiles, looking where each begins costs more than looking at the rows.
const TILES_MAX: i64 = 1_000;

/// What an operator computes, for all its partitions.
pub(super) struct Shape {
    pub(super) functions: Vec<Function>,
    pub(super) limit: Option<RowLimit>,
    pub(super) layout: RowLayout,
    pub(super) weights: Weights,
    pub(super) measure: Measure,
    /// Whether groups of peers are counted.
    pub(super) groups: bool,
}

impl Shape {
    /// Whether all that is asked are tiles: then rows that keep theirs are not looked at.
    fn only_tiles(&self) -> bool {
        self.limit.is_none()
            && !self.functions.is_empty()
            && self.functions.iter().all(|function| matches!(function.kind, Kind::Ntile(tiles) if tiles <= TILES_MAX))
    }
}

/// A change of a written row: see [`split_written`].
pub(super) type RowChange<'a> = (&'a [u8], Diff);

/// The rows of one partition.
#[derive(Default)]
pub(super) struct Partition<const W: usize> {
    rows: Ordered<W>,
    /// The different keys of the order.
    groups: Ordered<0>,
}

/// Answers before a time, row by row in order.
#[derive(Default)]
struct Before {
    bytes: Vec<u8>,
    /// (end of the key in `bytes`, how much of the key is the order's) of each row.
    rows: Vec<(usize, usize)>,
    values: Vec<Value>,
}

impl<const W: usize> Partition<W> {
    /// Whether no row is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Applies the changes of one time, in order and different from each other; `emit` gets (row, answers, diff).
    pub(super) fn apply(
        &mut self,
        changes: &[RowChange<'_>],
        shape: &Shape,
        mut emit: impl FnMut(&[u8], &[Value], Diff),
    ) {
        if shape.only_tiles() {
            self.apply_tiles(changes, shape, emit);
            return;
        }
        let intervals = self.intervals(changes, shape);
        let asked = Asked { functions: &shape.functions, limit: shape.limit };
        let mut before = Before::default();
        asked.answers(&self.read(shape), &intervals, |key, order, values| {
            before.bytes.extend_from_slice(key);
            before.rows.push((before.bytes.len(), order));
            before.values.extend_from_slice(values);
        });
        self.change(changes, shape);
        let mut merge =
            Merge { before: &before, width: shape.functions.len(), at: 0, now: Vec::new(), key: Vec::new(), order: 0 };
        asked.answers(&self.read(shape), &intervals, |key, order, values| {
            if merge.key != key || merge.now.is_empty() {
                merge.finish_key(&mut emit);
                merge.key.clear();
                merge.key.extend_from_slice(key);
                merge.order = order;
            }
            merge.now.push(values.to_vec());
        });
        merge.finish_key(&mut emit);
        merge.finish(&mut emit);
    }

    fn read<'a>(&'a self, shape: &'a Shape) -> Rows<'a, W, Weights> {
        Rows {
            tree: &self.rows,
            groups: &self.groups,
            weigh: &shape.weights,
            layout: &shape.layout,
            measure: &shape.measure,
        }
    }

    fn intervals(&self, changes: &[RowChange<'_>], shape: &Shape) -> Vec<Interval> {
        let removed = changes.iter().map(|(_, diff)| (-diff).max(0)).sum();
        let (rows, groups) = (&self.rows, &self.groups);
        let reach = Reach { rows, groups, weigh: &shape.weights, measure: &shape.measure, removed };
        let mut intervals = Vec::new();
        for (written, _) in changes {
            let (key, bytes) = split_written(written);
            let (key, payload) = bytes.split_at(key);
            reach.of(key, order_len(payload), &shape.functions, shape.limit, &mut intervals);
        }
        merged(intervals)
    }

    fn change(&mut self, changes: &[RowChange<'_>], shape: &Shape) {
        let mut group: Option<(&[u8], bool)> = None;
        for (written, diff) in changes {
            let (key, bytes) = split_written(written);
            let prefix = &bytes[..order_len(&bytes[key..])];
            if shape.groups && group.is_none_or(|(known, _)| known != prefix) {
                self.count_group(group, shape);
                group = Some((prefix, self.has_group(prefix, shape)));
            }
            self.rows.add(bytes, key, *diff, &shape.weights);
        }
        self.count_group(group, shape);
    }

    fn has_group(&self, prefix: &[u8], shape: &Shape) -> bool {
        let cursor = self.rows.seek(|key| key < prefix, &shape.weights);
        self.rows.get(&cursor).is_some_and(|entry| entry.key().starts_with(prefix))
    }

    /// Notes whether a group, of which is known whether it was there, came or went.
    fn count_group(&mut self, group: Option<(&[u8], bool)>, shape: &Shape) {
        if let Some((prefix, before)) = group {
            let after = self.has_group(prefix, shape);
            self.groups.add(prefix, prefix.len(), i64::from(after) - i64::from(before), &Weightless);
        }
    }

    /// Tiles: the changed rows, and those between where a tile began and where it begins now.
    fn apply_tiles(&mut self, changes: &[RowChange<'_>], shape: &Shape, mut emit: impl FnMut(&[u8], &[Value], Diff)) {
        let tiles: Vec<i64> = shape.functions.iter().map(|function| tiles_of(&function.kind)).collect();
        let values = |position: i64, rows: i64| -> Vec<Value> {
            tiles.iter().map(|tiles| Value::Code(i128::from(tile(position, rows, *tiles)))).collect()
        };
        let rows_before = self.rows.totals().rows;
        let starts_before = self.starts(&tiles, shape);
        for (written, _) in changes {
            let (key, bytes) = split_written(written);
            let cursor = self.rows.seek(|found| found < &bytes[..key], &shape.weights);
            if let Some(entry) = self.rows.get(&cursor).filter(|entry| entry.key() == &bytes[..key]) {
                let row = &entry.key()[order_len(entry.payload())..];
                (0..entry.copies()).for_each(|copy| emit(row, &values(cursor.before.rows + copy, rows_before), -1));
            }
        }
        self.change(changes, shape);
        let rows_now = self.rows.totals().rows;
        let mut shifts: Vec<(&[u8], i64)> = Vec::with_capacity(changes.len());
        let mut shift = 0;
        for (written, diff) in changes {
            let (key, bytes) = split_written(written);
            let cursor = self.rows.seek(|found| found < &bytes[..key], &shape.weights);
            if let Some(entry) = self.rows.get(&cursor).filter(|entry| entry.key() == &bytes[..key]) {
                let row = &entry.key()[order_len(entry.payload())..];
                (0..entry.copies()).for_each(|copy| emit(row, &values(cursor.before.rows + copy, rows_now), 1));
            }
            shift += diff;
            shifts.push((&bytes[..key], shift));
        }
        let starts = starts_before.into_iter().zip(self.starts(&tiles, shape));
        let moved = starts.filter_map(|starts| match starts {
            (None, None) => None,
            (Some(start), None) | (None, Some(start)) => Some((start, None)),
            (Some(before), Some(now)) => {
                let last = [before.as_slice().max(now.as_slice()), &[0]].concat();
                Some((before.min(now), Some(last)))
            }
        });
        for (low, high) in merged(moved.collect()) {
            let mut cursor = self.rows.seek(|key| key < low.as_slice(), &shape.weights);
            while let Some(entry) = self.rows.get(&cursor) {
                let key = entry.key();
                if high.as_ref().is_some_and(|high| key >= high.as_slice()) {
                    break;
                }
                let change = shifts.partition_point(|(changed, _)| *changed < key);
                let changed = shifts.get(change).is_some_and(|(changed, _)| *changed == key);
                let shift = change.checked_sub(1).map_or(0, |last| shifts[last].1);
                for copy in (0..entry.copies()).filter(|_| !changed) {
                    let position = cursor.before.rows + copy;
                    let (before, now) = (values(position - shift, rows_before), values(position, rows_now));
                    if before != now {
                        let row = &key[order_len(entry.payload())..];
                        emit(row, &before, -1);
                        emit(row, &now, 1);
                    }
                }
                self.rows.step(&mut cursor, &shape.weights);
            }
        }
    }

    /// The keys in which the tiles but the first begin; `None` behind the last row.
    fn starts(&self, tiles: &[i64], shape: &Shape) -> Vec<Option<Vec<u8>>> {
        let rows = self.rows.totals().rows;
        let mut starts = Vec::new();
        for tiles in tiles {
            let (small, larger) = (rows / tiles, rows % tiles);
            for tile in 1..*tiles {
                let cursor = self.rows.select(tile * small + tile.min(larger), &shape.weights);
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

/// Meets the answers of before, in order, with those of now.
struct Merge<'a> {
    before: &'a Before,
    width: usize,
    /// The next row of before.
    at: usize,
    /// The answers now of the copies of the row `key`.
    now: Vec<Vec<Value>>,
    key: Vec<u8>,
    order: usize,
}

impl Merge<'_> {
    fn key_before(&self, at: usize) -> Option<(&[u8], usize)> {
        let (end, order) = *self.before.rows.get(at)?;
        let start = if at == 0 { 0 } else { self.before.rows[at - 1].0 };
        Some((&self.before.bytes[start..end], order))
    }

    fn values_before(&self, at: usize) -> &[Value] {
        &self.before.values[at * self.width..(at + 1) * self.width]
    }

    /// Emits what has become of the rows up to `key`.
    fn finish_key(&mut self, emit: &mut impl FnMut(&[u8], &[Value], Diff)) {
        if self.now.is_empty() {
            return;
        }
        let mut now = std::mem::take(&mut self.now);
        while let Some((key, order)) = self.key_before(self.at) {
            match key.cmp(&self.key) {
                std::cmp::Ordering::Less => emit(&key[order..], self.values_before(self.at), -1),
                std::cmp::Ordering::Equal => {
                    // Copies of a row are alike: only how often each answer stands beside them counts.
                    let before = self.values_before(self.at);
                    match now.iter().position(|values| values == before) {
                        Some(same) => drop(now.swap_remove(same)),
                        None => emit(&key[order..], before, -1),
                    }
                }
                std::cmp::Ordering::Greater => break,
            }
            self.at += 1;
        }
        for values in now {
            emit(&self.key[self.order..], &values, 1);
        }
    }

    /// Takes away the rows of before that are left.
    fn finish(&mut self, emit: &mut impl FnMut(&[u8], &[Value], Diff)) {
        while let Some((key, order)) = self.key_before(self.at) {
            emit(&key[order..], self.values_before(self.at), -1);
            self.at += 1;
        }
    }
}
