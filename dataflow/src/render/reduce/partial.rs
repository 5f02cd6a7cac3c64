//! Pre-aggregation: what one chunk contributes to each of its groups.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use serde::{Deserialize, Serialize};

use super::find::{GroupFinder, GroupKeys};
use super::layout::{Kind, Layout, ROWS, Slots};
use super::slots::{CodeForm, put_wide, wide};
use super::values::{ByteValues, codes, doubles, narrow_codes};
use crate::estimate::hashes;
use crate::expr::as_filter;
use crate::render::keyed::Addressed;
use crate::repr::{Diffs, RowBlock, Timestamp, hash_bytes, owner};

/// Contributions to groups that one worker owns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PartialGroups {
    pub(super) worker: u64,
    pub(super) time: Timestamp,
    pub(super) keys: RowBlock,
    pub(super) hashes: Vec<u64>,
    /// Below a join: the join key of each group, which decides its worker, and its hash. Else empty.
    pub(super) join_keys: RowBlock,
    pub(super) join_hashes: Vec<u64>,
    /// Slots, group after group.
    pub(super) slots: Vec<i64>,
    /// Per aggregate that keeps more than slots: its values.
    pub(super) values: Vec<Values>,
}

impl Addressed for PartialGroups {
    fn worker(&self) -> u64 {
        self.worker
    }
}

/// Values of one aggregate: (group in the block, value, how often).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Values {
    /// Codes of 64 bits, or hashes. Truncation keeps different ones different, which is all that a set asks; extremes get
    /// them as they lie in slots.
    Narrow(Vec<(u32, u64, i64)>),
    Codes(Vec<(u32, i128, i64)>),
    Bytes {
        groups: Vec<(u32, i64)>,
        bytes: RowBlock,
    },
    Floats(Vec<(u32, f64, i64)>),
    Pairs(Vec<(u32, (f64, f64), i64)>),
}

impl Values {
    fn empty(aggregate: &Slots) -> Option<Values> {
        match &aggregate.kind {
            _ if aggregate.distinct => Some(Values::Codes(Vec::new())),
            Kind::EstimateDistinct | Kind::Bits(_) => Some(Values::Narrow(Vec::new())),
            Kind::CountDistinct(value) | Kind::Best { value, .. } if value.is_narrow() => {
                Some(Values::Narrow(Vec::new()))
            }
            Kind::Quantile { place, .. } if !place.is_kept_here() => None,
            Kind::CountDistinct(value) | Kind::Best { value, .. } | Kind::Quantile { value, .. } if value.is_code() => {
                Some(Values::Codes(Vec::new()))
            }
            Kind::CountDistinct(_) | Kind::Best { .. } | Kind::Quantile { .. } | Kind::Recomputed(_) => {
                Some(Values::Bytes { groups: Vec::new(), bytes: RowBlock::default() })
            }
            Kind::Moment(moment) if moment.arguments() == 2 => Some(Values::Pairs(Vec::new())),
            Kind::SumFloat | Kind::AvgFloat | Kind::Moment(_) => Some(Values::Floats(Vec::new())),
            Kind::Rows | Kind::Count | Kind::SumExact | Kind::AvgDecimal { .. } | Kind::BestOfGrowing { .. } => None,
        }
    }
}

/// Adds up a chunk by group.
pub(super) struct Preaggregator {
    layout: Layout,
    /// The slots of a group without rows.
    empty: Vec<i64>,
    finder: GroupFinder,
}

/// Where a chunk's groups go: the worker and the place in its block.
type Routes = Vec<(usize, u32)>;

impl Preaggregator {
    pub(super) fn new(layout: Layout) -> Preaggregator {
        let finder = GroupFinder::new(&layout.key_types, None);
        Preaggregator { empty: layout.empty(), layout, finder }
    }

    /// A preaggregator below a join: the first `join_keys` keys decide the worker.
    pub(super) fn below_join(layout: Layout, join_keys: usize) -> Preaggregator {
        let finder = GroupFinder::new(&layout.key_types, Some(join_keys));
        Preaggregator { finder, ..Preaggregator::new(layout) }
    }

    /// The contributions of a chunk, one block a worker that gets any.
    pub(super) fn run(
        &mut self,
        time: Timestamp,
        keys: &[ArrayRef],
        arguments: &[ArrayRef],
        diffs: &Diffs,
        rows: usize,
        peers: usize,
    ) -> Vec<PartialGroups> {
        let keys = self.finder.find(keys, rows);
        let group_of_row = &self.finder.of_row;
        let width = self.layout.slots;
        let mut slots = self.empty.repeat(keys.len());
        match diffs {
            Diffs::Ones => group_of_row.iter().for_each(|group| slots[*group as usize * width + ROWS] += 1),
            Diffs::Each(diffs) => {
                let rows = group_of_row.iter().zip(diffs.iter());
                rows.for_each(|(group, diff)| slots[*group as usize * width + ROWS] += diff);
            }
        }
        let mut values = Vec::new();
        for aggregate in &self.layout.aggregates {
            let column = Column::new(aggregate, arguments);
            accumulate(aggregate, &column, group_of_row, diffs, &mut slots, width);
            values.extend(gather(aggregate, &column, arguments, group_of_row, diffs));
        }
        self.route(time, &keys, slots, values, peers)
    }

    /// Splits groups, slots and values by owner.
    fn route(
        &self,
        time: Timestamp,
        keys: &GroupKeys,
        slots: Vec<i64>,
        values: Vec<Values>,
        peers: usize,
    ) -> Vec<PartialGroups> {
        if keys.len() == 0 {
            return Vec::new();
        }
        if peers == 1 {
            let ((hashes, keys), (join_hashes, join_keys)) = keys.all();
            return vec![PartialGroups { worker: 0, time, keys, hashes, join_keys, join_hashes, slots, values }];
        }
        let width = self.layout.slots;
        let expected = keys.len() / peers;
        let empty: Vec<Values> = self.layout.aggregates.iter().filter_map(Values::empty).collect();
        let mut blocks: Vec<PartialGroups> = (0..peers as u64)
            .map(|worker| PartialGroups {
                worker,
                time,
                hashes: Vec::with_capacity(expected),
                slots: Vec::with_capacity(expected * width),
                values: empty.clone(),
                ..PartialGroups::default()
            })
            .collect();
        let mut routes: Routes = Vec::with_capacity(keys.len());
        for (group, (hash, key, join_key)) in keys.iter().enumerate() {
            let join = join_key.map(|key| (hash_bytes(key), key));
            let worker = owner(join.map_or(hash, |(hash, _)| hash), peers);
            let block = &mut blocks[worker];
            if let Some((hash, key)) = join {
                block.join_hashes.push(hash);
                block.join_keys.push(key);
            }
            routes.push((worker, block.hashes.len() as u32));
            block.hashes.push(hash);
            block.keys.push(key);
            block.slots.extend_from_slice(&slots[group * width..(group + 1) * width]);
        }
        for (index, values) in values.into_iter().enumerate() {
            split(values, index, &routes, &mut blocks);
        }
        blocks.retain(|block| !block.hashes.is_empty());
        blocks
    }
}

fn split(values: Values, index: usize, routes: &Routes, blocks: &mut [PartialGroups]) {
    match values {
        Values::Narrow(codes) => {
            for (group, code, count) in codes {
                let (worker, place) = routes[group as usize];
                if let Values::Narrow(out) = &mut blocks[worker].values[index] {
                    out.push((place, code, count));
                }
            }
        }
        Values::Codes(codes) => {
            for (group, code, count) in codes {
                let (worker, place) = routes[group as usize];
                if let Values::Codes(out) = &mut blocks[worker].values[index] {
                    out.push((place, code, count));
                }
            }
        }
        Values::Bytes { groups, bytes } => {
            for (at, (group, count)) in groups.into_iter().enumerate() {
                let (worker, place) = routes[group as usize];
                if let Values::Bytes { groups, bytes: out } = &mut blocks[worker].values[index] {
                    groups.push((place, count));
                    out.push(bytes.get(at));
                }
            }
        }
        Values::Pairs(pairs) => {
            for (group, pair, count) in pairs {
                let (worker, place) = routes[group as usize];
                if let Values::Pairs(out) = &mut blocks[worker].values[index] {
                    out.push((place, pair, count));
                }
            }
        }
        Values::Floats(floats) => {
            for (group, value, count) in floats {
                let (worker, place) = routes[group as usize];
                if let Values::Floats(out) = &mut blocks[worker].values[index] {
                    out.push((place, value, count));
                }
            }
        }
    }
}

/// An aggregate's argument and which rows take part.
struct Column<'a> {
    values: Option<&'a ArrayRef>,
    second: Option<&'a ArrayRef>,
    filter: Option<BooleanArray>,
}

impl<'a> Column<'a> {
    fn new(aggregate: &Slots, arguments: &'a [ArrayRef]) -> Column<'a> {
        let argument = |at: usize| aggregate.args.get(at).map(|index| &arguments[*index]);
        Column {
            values: argument(0).filter(|_| aggregate.skips_null()),
            second: argument(1).filter(|_| aggregate.skips_null()),
            filter: aggregate.filter.map(|index| as_filter(&arguments[index])),
        }
    }

    /// Calls `visit` with (row, group, diff) of every row that takes part.
    #[inline]
    fn for_each(&self, group_of_row: &[u32], diffs: &Diffs, mut visit: impl FnMut(usize, usize, i64)) {
        let nulls =
            |values: Option<&'a ArrayRef>| values.and_then(|v| v.nulls()).filter(|nulls| nulls.null_count() > 0);
        let nulls = NullBuffer::union(nulls(self.values), nulls(self.second));
        let rows = group_of_row.iter().map(|group| *group as usize).enumerate();
        if let (Diffs::Ones, None, None) = (diffs, &nulls, &self.filter) {
            return rows.for_each(|(row, group)| visit(row, group, 1));
        }
        for (row, group) in rows {
            let takes_part = !nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
                && self.filter.as_ref().is_none_or(|filter| filter.value(row));
            if takes_part {
                visit(row, group, diffs.get(row));
            }
        }
    }
}

/// Adds the rows of a chunk to the additive slots of their groups.
fn accumulate(
    aggregate: &Slots,
    column: &Column<'_>,
    group_of_row: &[u32],
    diffs: &Diffs,
    slots: &mut [i64],
    width: usize,
) {
    let Slots { slot, count, codes: form, sums, .. } = *aggregate;
    match &aggregate.kind {
        // Only what is new to the group's values counts: that is known where they stand.
        _ if aggregate.distinct => return,
        Kind::SumExact | Kind::AvgDecimal { .. } => {
            let codes = codes(column.values.expect("a sum has an argument"));
            column.for_each(group_of_row, diffs, |row, group, diff| {
                let at = group * width + slot;
                sums.add(&mut slots[at..at + sums.slots()], codes[row], diff);
            });
        }
        Kind::BestOfGrowing { least, .. } => {
            let values = column.values.expect("an extreme has an argument");
            if form == CodeForm::Wide {
                let codes = codes(values);
                column.for_each(group_of_row, diffs, |row, group, _| {
                    let best = &mut slots[group * width + slot..];
                    put_wide(best, wide(best).max(if *least { !codes[row] } else { codes[row] }));
                });
            } else {
                let codes = extremes(values, form, *least);
                column.for_each(group_of_row, diffs, |row, group, _| {
                    let best = &mut slots[group * width + slot];
                    *best = (*best).max(codes[row].cast_signed());
                });
            }
        }
        _ => {}
    }
    if count != ROWS {
        column.for_each(group_of_row, diffs, |_, group, diff| slots[group * width + count] += diff);
    }
}

/// The codes of a column as they lie in one slot, turned so that the greatest is the best.
fn extremes(values: &ArrayRef, form: CodeForm, least: bool) -> Vec<u64> {
    let mut narrow = match form {
        CodeForm::Signed => narrow_codes(values),
        _ => codes(values).iter().map(|code| form.narrow(*code).cast_unsigned()).collect(),
    };
    if least {
        narrow.iter_mut().for_each(|code| *code = !*code);
    }
    narrow
}

fn gather_codes<C: Copy + PartialEq>(
    codes: &[C],
    column: &Column<'_>,
    group_of_row: &[u32],
    diffs: &Diffs,
    out: &mut Vec<(u32, C, i64)>,
) {
    out.reserve(group_of_row.len());
    column.for_each(group_of_row, diffs, |row, group, diff| match out.last_mut() {
        Some((last, code, count)) if *last as usize == group && *code == codes[row] => *count += diff,
        _ => out.push((group as u32, codes[row], diff)),
    });
}

/// The values of a chunk for what an aggregate keeps beside its slots. Neighbours that are equal are merged.
fn gather(
    aggregate: &Slots,
    column: &Column<'_>,
    arguments: &[ArrayRef],
    group_of_row: &[u32],
    diffs: &Diffs,
) -> Option<Values> {
    let mut values = Values::empty(aggregate)?;
    let argument = || column.values.expect("what keeps values has an argument");
    match &mut values {
        Values::Narrow(out) if aggregate.kind == Kind::EstimateDistinct => {
            gather_codes(&hashes(argument()), column, group_of_row, diffs, out);
        }
        Values::Narrow(out) => {
            let codes = match aggregate.kind {
                Kind::Best { least, .. } => extremes(argument(), aggregate.codes, least),
                _ => narrow_codes(argument()),
            };
            gather_codes(&codes, column, group_of_row, diffs, out);
        }
        Values::Codes(out) => gather_codes(&codes(argument()), column, group_of_row, diffs, out),
        Values::Bytes { groups, bytes } => {
            let source = match &aggregate.kind {
                Kind::Recomputed(function) => {
                    let columns: Vec<ArrayRef> = aggregate.args.iter().map(|at| arguments[*at].clone()).collect();
                    ByteValues::Rows(function.encode(&columns))
                }
                _ => ByteValues::new(argument()),
            };
            column.for_each(group_of_row, diffs, |row, group, diff| {
                let value = source.get(row);
                match groups.last_mut() {
                    Some((last, count)) if *last as usize == group && bytes.get(bytes.len() - 1) == value => {
                        *count += diff
                    }
                    _ => {
                        groups.push((group as u32, diff));
                        bytes.push(value);
                    }
                }
            });
        }
        Values::Pairs(out) => {
            let (first, second) = (doubles(argument()), doubles(column.second.expect("a pair has two arguments")));
            column.for_each(group_of_row, diffs, |row, group, diff| {
                out.push((group as u32, (first[row], second[row]), diff));
            });
        }
        Values::Floats(out) => {
            let doubles = doubles(argument());
            column.for_each(group_of_row, diffs, |row, group, diff| out.push((group as u32, doubles[row], diff)));
        }
    }
    Some(values)
}
