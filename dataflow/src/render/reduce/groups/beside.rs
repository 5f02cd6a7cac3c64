//! State that does not fit slots: counted sets, multisets, exact float sums. What shows in answers is copied into the
//! slots when a time ends.

mod collected;
mod distinct_sums;
mod quantiles;

use std::collections::BTreeMap;

use super::super::answer::Pick;
use super::super::layout::{Kind, Layout};
use super::super::slots::put_wide;
use super::super::values::ValueKind;
use crate::estimate::DistinctEstimate;
use crate::exact::{Moment, Moments};
use crate::plan::BitFunc;
use crate::repr::{Row, hash_bytes};
use crate::state::{Chunked, CountedSet, Extremes, FloatSum, KeyTable, sampled};
use collected::Collected;
use distinct_sums::DistinctSums;
use quantiles::Quantiles;

/// Longest text that is its own code.
const INLINE_BYTES: usize = 15;

/// Long values as numbers, counted by their users.
#[derive(Default)]
pub(super) struct Dictionary {
    values: KeyTable,
    users: Chunked<i64>,
}

impl Dictionary {
    fn intern(&mut self, bytes: &[u8]) -> u32 {
        let (id, inserted) = self.values.find_or_insert(hash_bytes(bytes), bytes);
        if inserted {
            self.users.grow_to(self.values.slots(), || 0);
            self.users[id] = 0;
        }
        id
    }

    fn change_users(&mut self, id: u32, by: i64) {
        self.users[id] += by;
        if self.users[id] == 0 {
            self.values.remove(id);
        }
    }
}

/// Multisets of values without integer codes, their best value now and before the open time.
#[derive(Default)]
pub(super) struct ByteExtremes {
    values: Chunked<BTreeMap<Row, i64>>,
    best: Chunked<Option<Row>>,
    old: Vec<Option<Row>>,
}

/// One aggregate's state beside the slots. `slot` is the aggregate's first slot.
pub(super) enum Beside {
    /// COUNT(DISTINCT) over codes of 64 bits.
    NarrowSet { slot: usize, set: CountedSet<u64> },
    /// COUNT(DISTINCT) over codes of 128 bits.
    WideSet { slot: usize, set: CountedSet<u128> },
    /// COUNT(DISTINCT) over bytes: short ones are their own code, long ones are numbered.
    ByteSet { slot: usize, set: Box<(CountedSet<u128>, Dictionary)> },
    /// MIN or MAX over codes of 64 bits, which come turned so that the greatest is the best.
    Narrow { slot: usize, values: Chunked<Extremes<i64>> },
    /// MIN or MAX over codes of 128 bits.
    Wide { slot: usize, least: bool, values: Chunked<Extremes<i128>> },
    /// MIN or MAX over bytes.
    Bytes { slot: usize, least: bool, values: ByteExtremes },
    /// SUM or AVG over floats.
    Floats { slot: usize, sums: Chunked<Option<Box<FloatSum>>> },
    /// SUM or AVG over the different values of a group.
    DistinctSums(DistinctSums),
    /// BIT_AND, BIT_OR, BIT_XOR.
    Bits { slot: usize, count: usize, func: BitFunc, counts: Chunked<Option<Box<[i64; 64]>>> },
    /// Variance and the like.
    Moments { slot: usize, moment: Moment, sums: Chunked<Option<Box<Moments>>> },
    /// Medians and percentiles.
    Quantiles(Quantiles),
    /// About how many different values.
    Estimates { slot: usize, estimates: Chunked<DistinctEstimate> },
    /// A function that is computed anew from all rows.
    Rows { slot: usize, rows: Collected },
}

impl Beside {
    /// The state that aggregate `index` needs, in the order in which contributions carry its values.
    pub(super) fn for_aggregate(layout: &Layout, index: usize) -> Option<Beside> {
        let aggregate = &layout.aggregates[index];
        let slot = aggregate.slot;
        match &aggregate.kind {
            _ if aggregate.distinct => Some(Beside::DistinctSums(DistinctSums::new(aggregate))),
            Kind::Bits(func) => {
                Some(Beside::Bits { slot, count: aggregate.count, func: *func, counts: Chunked::default() })
            }
            Kind::Moment(moment) => Some(Beside::Moments { slot, moment: *moment, sums: Chunked::default() }),
            Kind::EstimateDistinct => Some(Beside::Estimates { slot, estimates: Chunked::default() }),
            Kind::CountDistinct(ValueKind::Narrow) => Some(Beside::NarrowSet { slot, set: CountedSet::default() }),
            Kind::CountDistinct(value) if value.is_code() => Some(Beside::WideSet { slot, set: CountedSet::default() }),
            Kind::CountDistinct(_) => Some(Beside::ByteSet { slot, set: Box::default() }),
            Kind::Best { value, .. } if value.is_narrow() => Some(Beside::Narrow { slot, values: Chunked::default() }),
            Kind::Best { value, least } if value.is_code() => {
                Some(Beside::Wide { slot, least: *least, values: Chunked::default() })
            }
            Kind::Best { least, .. } => Some(Beside::Bytes { slot, least: *least, values: ByteExtremes::default() }),
            Kind::SumFloat | Kind::AvgFloat => Some(Beside::Floats { slot, sums: Chunked::default() }),
            Kind::Quantile { place, .. } => {
                place.is_kept_here().then(|| Beside::Quantiles(Quantiles::new(layout, index)))
            }
            Kind::Recomputed(function) => Some(Beside::Rows { slot, rows: Collected::new(function.clone()) }),
            Kind::Rows | Kind::Count | Kind::SumExact | Kind::AvgDecimal { .. } | Kind::BestOfGrowing { .. } => None,
        }
    }

    /// Makes room for `groups` groups.
    pub(super) fn grow_to(&mut self, groups: usize) {
        match self {
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::ByteSet { .. } => {}
            Beside::Narrow { values, .. } => values.grow_to(groups, Extremes::default),
            Beside::Wide { values, .. } => values.grow_to(groups, Extremes::default),
            Beside::Bytes { values, .. } => {
                values.values.grow_to(groups, BTreeMap::new);
                values.best.grow_to(groups, || None);
            }
            Beside::Floats { sums, .. } => sums.grow_to(groups, || None),
            Beside::DistinctSums(sums) => sums.grow_to(groups),
            Beside::Bits { counts, .. } => counts.grow_to(groups, || None),
            Beside::Moments { sums, .. } => sums.grow_to(groups, || None),
            Beside::Quantiles(quantiles) => quantiles.grow_to(groups),
            Beside::Estimates { estimates, .. } => estimates.grow_to(groups, DistinctEstimate::default),
            Beside::Rows { rows, .. } => rows.grow_to(groups),
        }
    }

    /// Notes what the slots cannot hold of a group's answer before the open time. Called once per touched group, in the
    /// order of touches.
    pub(super) fn note_old(&mut self, group: u32) {
        match self {
            Beside::Bytes { values, .. } => values.old.push(values.best[group].clone()),
            Beside::Quantiles(quantiles) => quantiles.note_old(group),
            Beside::Rows { rows, .. } => rows.note_old(group),
            _ => {}
        }
    }

    /// Forgets the answers of the time that has ended.
    pub(super) fn forget_old(&mut self) {
        match self {
            Beside::Bytes { values, .. } => values.old.clear(),
            Beside::Quantiles(quantiles) => quantiles.forget_old(),
            Beside::Rows { rows, .. } => rows.forget_old(),
            _ => {}
        }
    }

    /// Brings what belongs to a value of 64 bits into the cache: call it some values ahead.
    #[inline]
    pub(super) fn warm_narrow(&self, group: u32, code: u64) {
        match self {
            Beside::NarrowSet { set, .. } => set.warm(group, code),
            Beside::Narrow { values, .. } => values[group].warm(),
            _ => {}
        }
    }

    /// Adds `diff` copies of a value that has a code of 64 bits.
    #[inline]
    pub(super) fn add_narrow(&mut self, group: u32, code: u64, diff: i64, slots: &mut [i64]) {
        // Copies that came and went within a chunk: a value that was never there must not become known.
        if diff == 0 {
            return;
        }
        match self {
            Beside::NarrowSet { slot, set } => count_change(&mut slots[*slot], set.add(group, code, diff)),
            Beside::Narrow { values, .. } => values[group].add(code.cast_signed(), diff),
            Beside::Estimates { estimates, .. } => estimates[group].add(code),
            Beside::Bits { counts, .. } => {
                let counts = counts[group].get_or_insert_with(|| Box::new([0; 64]));
                let mut rest = code;
                while rest != 0 {
                    counts[rest.trailing_zeros() as usize] += diff;
                    rest &= rest - 1;
                }
            }
            _ => unreachable!("narrow codes go to sets and extremes of them, to estimates and to bits"),
        }
    }

    /// Adds `diff` copies of a value that has a code.
    #[inline]
    pub(super) fn add_code(&mut self, group: u32, code: i128, diff: i64, slots: &mut [i64]) {
        if diff == 0 {
            return;
        }
        match self {
            Beside::WideSet { slot, set } => count_change(&mut slots[*slot], set.add(group, code as u128, diff)),
            Beside::Wide { least, values, .. } => values[group].add(if *least { !code } else { code }, diff),
            Beside::DistinctSums(sums) => sums.add(group, code, diff, slots),
            Beside::Quantiles(quantiles) => quantiles.add_code(group, code, diff),
            _ => unreachable!("values with codes go to state over codes"),
        }
    }

    /// Adds `diff` copies of a value without a code.
    pub(super) fn add_bytes(&mut self, group: u32, bytes: &[u8], diff: i64, slots: &mut [i64]) {
        if diff == 0 {
            return;
        }
        match self {
            Beside::ByteSet { slot, set } => {
                let (set, dictionary) = &mut **set;
                let change = if bytes.len() <= INLINE_BYTES {
                    let mut code = [0u8; 16];
                    code[..bytes.len()].copy_from_slice(bytes);
                    code[INLINE_BYTES] = bytes.len() as u8;
                    set.add(group, u128::from_be_bytes(code), diff)
                } else {
                    let id = dictionary.intern(bytes);
                    // A length that no inline value has.
                    let change = set.add(group, u128::from(id) << 8 | 0xff, diff);
                    dictionary.change_users(id, i64::from(change.1 != 0) - i64::from(change.0 != 0));
                    change
                };
                count_change(&mut slots[*slot], change);
            }
            Beside::Bytes { values, .. } => {
                let counts = &mut values.values[group];
                let count = counts.entry(Row::new(bytes)).or_insert(0);
                *count += diff;
                if *count == 0 {
                    counts.remove(&Row::new(bytes));
                }
            }
            Beside::Quantiles(quantiles) => quantiles.add_bytes(group, bytes, diff),
            Beside::Rows { rows, .. } => rows.add(group, bytes, diff),
            _ => unreachable!("values without codes go to state over bytes"),
        }
    }

    /// Adds `diff` copies of a float.
    pub(super) fn add_float(&mut self, group: u32, value: f64, diff: i64) {
        match self {
            Beside::Floats { sums, .. } => sums[group].get_or_insert_default().add(value, diff),
            Beside::Moments { sums, .. } => sums[group].get_or_insert_default().add(value, diff),
            _ => unreachable!("floats to be summed go to exact sums"),
        }
    }

    /// Adds `diff` copies of a pair of floats.
    pub(super) fn add_pair(&mut self, group: u32, (first, second): (f64, f64), diff: i64) {
        match self {
            Beside::Moments { sums, .. } => sums[group].get_or_insert_default().add_pair(first, second, diff),
            _ => unreachable!("pairs of floats go to exact sums of them"),
        }
    }

    /// Copies a touched group's answer into its slots.
    pub(super) fn refresh(&mut self, group: u32, slots: &mut [i64]) {
        match self {
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::ByteSet { .. } => {}
            Beside::Narrow { slot, values } => slots[*slot] = values[group].greatest().copied().unwrap_or(0),
            Beside::Wide { slot, values, .. } => {
                put_wide(&mut slots[*slot..], values[group].greatest().copied().unwrap_or(0));
            }
            Beside::Bytes { slot, least, values } => {
                let counts = &values.values[group];
                let best = if *least { counts.first_key_value() } else { counts.last_key_value() };
                let best = best.map(|(row, _)| row);
                if values.best[group].as_ref() != best {
                    // Any change of the slot says that the answer changed.
                    slots[*slot] += 1;
                    values.best[group] = best.cloned();
                }
                if best.is_none() {
                    slots[*slot] = 0;
                }
            }
            Beside::DistinctSums(sums) => sums.refresh(group, slots),
            Beside::Bits { slot, count, func, counts } => {
                let values = slots[*count];
                // Over nothing the slot is 0, so that a group that has gone leaves nothing.
                let counts = counts[group].as_ref().filter(|_| values > 0);
                slots[*slot] = counts.map_or(0, |counts| bits(*func, counts, values));
            }
            Beside::Moments { slot, moment, sums } => {
                let answer = sums[group].as_ref().and_then(|sums| sums.answer(*moment));
                slots[*slot] = i64::from(answer.is_some());
                slots[*slot + 1] = answer.map_or(0, |value| value.to_bits().cast_signed());
            }
            Beside::Quantiles(quantiles) => quantiles.refresh(group, slots),
            Beside::Estimates { slot, estimates } => {
                slots[*slot] = estimates[group].count().cast_signed();
            }
            Beside::Rows { slot, rows } => rows.refresh(group, &mut slots[*slot]),
            Beside::Floats { slot, sums } => match &sums[group] {
                Some(sum) if !sum.is_zero() => slots[*slot] = sum.value().to_bits().cast_signed(),
                _ => {
                    slots[*slot] = 0;
                    sums[group] = None;
                }
            },
        }
    }

    /// The bytes of an answer that stands beside the slots: of several the `nth`.
    pub(super) fn bytes(&self, nth: usize, pick: &Pick) -> Option<&[u8]> {
        match self {
            Beside::Bytes { values, .. } => {
                let best = if pick.old { &values.old[pick.touched] } else { &values.best[pick.group] };
                best.as_ref().map(Row::bytes)
            }
            Beside::Quantiles(quantiles) => quantiles.answer(nth, pick),
            Beside::Rows { rows, .. } => rows.answer(pick),
            _ => None,
        }
    }

    /// About how much memory it takes for `groups` groups.
    pub(super) fn bytes_held(&self, groups: usize) -> usize {
        match self {
            Beside::NarrowSet { set, .. } => set.bytes(),
            Beside::WideSet { set, .. } => set.bytes(),
            Beside::ByteSet { set, .. } => set.0.bytes() + set.1.values.bytes() + set.1.users.bytes(),
            Beside::Narrow { values, .. } => values.bytes() + sampled(groups, |group| values[group].bytes()),
            Beside::Wide { values, .. } => values.bytes() + sampled(groups, |group| values[group].bytes()),
            Beside::Bytes { values: ByteExtremes { values, best, .. }, .. } => {
                values.bytes() + best.bytes() + sampled(groups, |group| counted_bytes(&values[group]))
            }
            Beside::Floats { sums, .. } => sums.bytes() + sampled(groups, |group| boxed_bytes(&sums[group])),
            Beside::DistinctSums(sums) => sums.bytes_held(groups),
            Beside::Bits { counts, .. } => counts.bytes() + sampled(groups, |group| boxed_bytes(&counts[group])),
            Beside::Moments { sums, .. } => sums.bytes() + sampled(groups, |group| boxed_bytes(&sums[group])),
            Beside::Quantiles(quantiles) => quantiles.bytes_held(groups),
            Beside::Estimates { estimates, .. } => {
                estimates.bytes() + sampled(groups, |group| estimates[group].bytes())
            }
            Beside::Rows { rows, .. } => rows.bytes_held(groups),
        }
    }

    /// Empties what is addressed by a group that has gone.
    pub(super) fn reset(&mut self, group: u32) {
        match self {
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::ByteSet { .. } => {}
            Beside::Narrow { values, .. } => values[group] = Extremes::default(),
            Beside::Wide { values, .. } => values[group] = Extremes::default(),
            Beside::Bytes { values, .. } => {
                values.values[group] = BTreeMap::new();
                values.best[group] = None;
            }
            Beside::Floats { sums, .. } => sums[group] = None,
            Beside::DistinctSums(sums) => sums.reset(group),
            Beside::Bits { counts, .. } => counts[group] = None,
            Beside::Moments { sums, .. } => sums[group] = None,
            Beside::Quantiles(quantiles) => quantiles.reset(group),
            Beside::Estimates { estimates, .. } => estimates[group] = DistinctEstimate::default(),
            Beside::Rows { rows, .. } => rows.reset(group),
        }
    }
}

/// The memory behind a multiset of rows.
fn counted_bytes(rows: &BTreeMap<Row, i64>) -> usize {
    rows.keys().map(|row| size_of::<(Row, i64)>() + row.bytes_beside()).sum()
}

fn boxed_bytes<T>(value: &Option<Box<T>>) -> usize {
    value.as_ref().map_or(0, |_| size_of::<T>())
}

/// Moves a count of different values by one entry's change.
#[inline]
fn count_change(count: &mut i64, (old, new): (i64, i64)) {
    // Counts below zero stand for an incomplete time; only entries above zero are values.
    *count += i64::from(new > 0) - i64::from(old > 0);
}

/// The combined bits of `values` integers, as a number, from how many of them have each bit.
pub(in crate::render) fn bits(func: BitFunc, counts: &[i64; 64], values: i64) -> i64 {
    let set = |count: i64| match func {
        BitFunc::And => count == values,
        BitFunc::Or => count > 0,
        BitFunc::Xor => count & 1 == 1,
    };
    let bits = (0..64).filter(|bit| set(counts[*bit])).fold(0_u64, |bits, bit| bits | 1 << bit);
    bits.cast_signed()
}
