//! Pre-aggregation: what one chunk contributes to each of its groups.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use serde::{Deserialize, Serialize};

use super::layout::{Kind, Layout, ROWS, Slots};
use super::values::{ByteValues, ValueKind, codes, doubles, narrow_codes};
use crate::estimate::hashes;
use crate::expr::as_filter;
use crate::render::keyed::Addressed;
use crate::repr::{Diffs, EncodedRows, RowBlock, RowCodec, Timestamp, hash_bytes, owner, same_bytes};

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
    pub(super) slots: Vec<i128>,
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
    /// Codes of 64 bits, or hashes. Truncation keeps different ones different, which is all that a set asks.
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
            Kind::CountDistinct(ValueKind::Narrow) | Kind::EstimateDistinct | Kind::Bits(_) => {
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

/// Groups a chunk by hash. The scratch table is kept from chunk to chunk and never cleared: places carry an epoch.
pub(super) struct Preaggregator {
    layout: Layout,
    codec: RowCodec,
    /// Below a join: how many of the keys, the first ones, are the join key, and their codec.
    join: Option<(usize, RowCodec)>,
    /// (epoch, group) by hash.
    places: Vec<(u32, u32)>,
    epoch: u32,
    /// (hash, first row) of each group.
    groups: Vec<(u64, u32)>,
    /// The group of each row.
    group_of_row: Vec<u32>,
}

/// Where a chunk's groups go: the worker and the place in its block.
type Routes = Vec<(usize, u32)>;

impl Preaggregator {
    pub(super) fn new(layout: Layout) -> Preaggregator {
        let codec = RowCodec::new(&layout.key_types).unwrap_or_else(|error| panic!("{error}"));
        let (places, groups, group_of_row) = Default::default();
        Preaggregator { layout, codec, join: None, places, epoch: 0, groups, group_of_row }
    }

    /// A preaggregator below a join: the first `join_keys` keys decide the worker.
    pub(super) fn below_join(layout: Layout, join_keys: usize) -> Preaggregator {
        let codec = RowCodec::new(&layout.key_types[..join_keys]).unwrap_or_else(|error| panic!("{error}"));
        Preaggregator { join: Some((join_keys, codec)), ..Preaggregator::new(layout) }
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
        let join_keys = self
            .join
            .as_ref()
            .map(|(count, codec)| codec.encode(&keys[..*count]).expect("keys have their planned types"));
        let keys = self.codec.encode(keys).expect("keys have their planned types");
        self.group(&keys, rows);
        let width = self.layout.slots;
        let mut slots = vec![0i128; width * self.groups.len()];
        for (row, group) in self.group_of_row.iter().enumerate() {
            slots[*group as usize * width + ROWS] += i128::from(diffs.get(row));
        }
        let mut values = Vec::new();
        for aggregate in &self.layout.aggregates {
            let column = Column::new(aggregate, arguments);
            accumulate(aggregate, &column, &self.group_of_row, diffs, &mut slots, width);
            values.extend(gather(aggregate, &column, arguments, &self.group_of_row, diffs));
        }
        self.route(time, &keys, join_keys.as_ref(), slots, values, peers)
    }

    /// Finds each row's group. Runs of equal keys are recognised without hashing.
    fn group(&mut self, keys: &EncodedRows, rows: usize) {
        self.groups.clear();
        self.group_of_row.clear();
        let wanted = (rows * 2).next_power_of_two().max(64);
        if self.places.len() < wanted || self.epoch == u32::MAX {
            self.places = vec![(0, 0); wanted.max(self.places.len())];
            self.epoch = 0;
        }
        self.epoch += 1;
        let mask = self.places.len() - 1;
        let shift = 64 - self.places.len().trailing_zeros();
        let mut previous: Option<(&[u8], u32)> = None;
        for row in 0..rows {
            let key = keys.get(row);
            if let Some((last, group)) = previous
                && same_bytes(last, key)
            {
                self.group_of_row.push(group);
                continue;
            }
            let hash = hash_bytes(key);
            let mut position = (hash >> shift) as usize;
            let group = loop {
                let (epoch, group) = self.places[position];
                if epoch != self.epoch {
                    let group = self.groups.len() as u32;
                    self.places[position] = (self.epoch, group);
                    self.groups.push((hash, row as u32));
                    break group;
                }
                let (known, first) = self.groups[group as usize];
                if known == hash && same_bytes(keys.get(first as usize), key) {
                    break group;
                }
                position = (position + 1) & mask;
            };
            self.group_of_row.push(group);
            previous = Some((key, group));
        }
    }

    /// Splits groups, slots and values by owner.
    fn route(
        &self,
        time: Timestamp,
        keys: &EncodedRows,
        join_keys: Option<&EncodedRows>,
        slots: Vec<i128>,
        values: Vec<Values>,
        peers: usize,
    ) -> Vec<PartialGroups> {
        let width = self.layout.slots;
        let expected = self.groups.len() / peers;
        let empty: Vec<Values> = self.layout.aggregates.iter().filter_map(Values::empty).collect();
        let mut blocks: Vec<PartialGroups> = (0..peers as u64)
            .map(|worker| PartialGroups {
                worker,
                time,
                hashes: Vec::with_capacity(expected),
                values: empty.clone(),
                ..PartialGroups::default()
            })
            .collect();
        let mut routes: Routes = Vec::with_capacity(self.groups.len());
        for (group, (hash, first)) in self.groups.iter().enumerate() {
            let join = join_keys.map(|keys| keys.get(*first as usize)).map(|key| (hash_bytes(key), key));
            let worker = owner(join.map_or(*hash, |(hash, _)| hash), peers);
            let block = &mut blocks[worker];
            if let Some((hash, key)) = join {
                block.join_hashes.push(hash);
                block.join_keys.push(key);
            }
            routes.push((worker, block.hashes.len() as u32));
            block.hashes.push(*hash);
            block.keys.push(keys.get(*first as usize));
            if peers > 1 {
                block.slots.extend_from_slice(&slots[group * width..(group + 1) * width]);
            }
        }
        if peers == 1 {
            // One block, whose groups stand in the order of the chunk's groups.
            blocks[0].slots = slots;
        }
        for (index, values) in values.into_iter().enumerate() {
            if peers == 1 {
                blocks[0].values[index] = values;
            } else {
                split(values, index, &routes, &mut blocks);
            }
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
        for (row, group) in group_of_row.iter().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
                || self.filter.as_ref().is_some_and(|f| !f.value(row))
            {
                continue;
            }
            visit(row, *group as usize, diffs.get(row));
        }
    }
}

/// Adds the rows of a chunk to the additive slots of their groups.
fn accumulate(
    aggregate: &Slots,
    column: &Column<'_>,
    group_of_row: &[u32],
    diffs: &Diffs,
    slots: &mut [i128],
    width: usize,
) {
    let slot = aggregate.slot;
    match &aggregate.kind {
        // Only what is new to the group's values counts: that is known where they stand.
        _ if aggregate.distinct => {}
        Kind::Rows | Kind::CountDistinct(_) | Kind::EstimateDistinct | Kind::Quantile { .. } | Kind::Recomputed(_) => {}
        Kind::Count => column.for_each(group_of_row, diffs, |_, group, diff| {
            slots[group * width + slot] += i128::from(diff);
        }),
        Kind::SumFloat | Kind::AvgFloat | Kind::Best { .. } | Kind::Bits(_) | Kind::Moment(_) => {
            column.for_each(group_of_row, diffs, |_, group, diff| slots[group * width + slot + 1] += i128::from(diff));
        }
        Kind::SumExact | Kind::AvgDecimal { .. } => {
            let codes = codes(column.values.expect("a sum has an argument"));
            column.for_each(group_of_row, diffs, |row, group, diff| {
                let (code, diff) = (codes[row], i128::from(diff));
                let sum = &mut slots[group * width + slot..group * width + slot + 3];
                // Two's complement halves: code = (code >> 64) · 2^64 + (code mod 2^64).
                sum[0] += (code & i128::from(u64::MAX)) * diff;
                sum[1] += (code >> 64) * diff;
                sum[2] += diff;
            });
        }
        Kind::BestOfGrowing { least, .. } => {
            let codes = codes(column.values.expect("an extreme has an argument"));
            column.for_each(group_of_row, diffs, |row, group, diff| {
                let best = &mut slots[group * width + slot..group * width + slot + 2];
                // Stored so that the greatest is the best.
                let code = if *least { !codes[row] } else { codes[row] };
                best[0] = if best[1] == 0 { code } else { best[0].max(code) };
                best[1] += i128::from(diff);
            });
        }
    }
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
        Values::Narrow(out) => gather_codes(&narrow_codes(argument()), column, group_of_row, diffs, out),
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
