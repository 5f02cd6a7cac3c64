//! State that does not fit slots: counted sets, multisets, exact float sums. What shows in answers is copied into the
//! slots when a time ends.

use std::collections::BTreeMap;

use super::super::answer::Pick;
use super::super::layout::{Kind, Slots};
use super::super::values::ValueKind;
use crate::repr::{Row, hash_bytes};
use crate::state::{Chunked, CountedSet, Extremes, FloatSum, KeyTable};

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
    /// MIN or MAX over codes.
    Codes { slot: usize, least: bool, values: Chunked<Extremes<i128>> },
    /// MIN or MAX over bytes.
    Bytes { slot: usize, least: bool, values: ByteExtremes },
    /// SUM or AVG over floats.
    Floats { slot: usize, sums: Chunked<Option<Box<FloatSum>>> },
}

impl Beside {
    /// The state that an aggregate needs, in the order in which contributions carry its values.
    pub(super) fn for_aggregate(aggregate: &Slots) -> Option<Beside> {
        let slot = aggregate.slot;
        match &aggregate.kind {
            Kind::CountDistinct(ValueKind::Narrow) => Some(Beside::NarrowSet { slot, set: CountedSet::default() }),
            Kind::CountDistinct(value) if value.is_code() => Some(Beside::WideSet { slot, set: CountedSet::default() }),
            Kind::CountDistinct(_) => Some(Beside::ByteSet { slot, set: Box::default() }),
            Kind::Best { value, least } if value.is_code() => {
                Some(Beside::Codes { slot, least: *least, values: Chunked::default() })
            }
            Kind::Best { least, .. } => Some(Beside::Bytes { slot, least: *least, values: ByteExtremes::default() }),
            Kind::SumFloat | Kind::AvgFloat => Some(Beside::Floats { slot, sums: Chunked::default() }),
            Kind::Rows | Kind::Count | Kind::SumExact | Kind::AvgDecimal { .. } | Kind::BestOfGrowing { .. } => None,
        }
    }

    /// Makes room for `groups` groups.
    pub(super) fn grow_to(&mut self, groups: usize) {
        match self {
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::ByteSet { .. } => {}
            Beside::Codes { values, .. } => values.grow_to(groups, Extremes::default),
            Beside::Bytes { values, .. } => {
                values.values.grow_to(groups, BTreeMap::new);
                values.best.grow_to(groups, || None);
            }
            Beside::Floats { sums, .. } => sums.grow_to(groups, || None),
        }
    }

    /// Notes what the slots cannot hold of a group's answer before the open time. Called once per touched group, in the
    /// order of touches.
    pub(super) fn note_old(&mut self, group: u32) {
        if let Beside::Bytes { values, .. } = self {
            values.old.push(values.best[group].clone());
        }
    }

    /// Forgets the answers of the time that has ended.
    pub(super) fn forget_old(&mut self) {
        if let Beside::Bytes { values, .. } = self {
            values.old.clear();
        }
    }

    /// Brings what belongs to a value of 64 bits into the cache: call it some values ahead.
    #[inline]
    pub(super) fn warm_narrow(&self, group: u32, code: u64) {
        if let Beside::NarrowSet { set, .. } = self {
            set.warm(group, code);
        }
    }

    /// Adds `diff` copies of a value that has a code of 64 bits.
    #[inline]
    pub(super) fn add_narrow(&mut self, group: u32, code: u64, diff: i64, slots: &mut [i128]) {
        let Beside::NarrowSet { slot, set } = self else { unreachable!("narrow codes go to sets of them") };
        // Copies that came and went within a chunk: a value that was never there must not become known.
        if diff != 0 {
            count_change(&mut slots[*slot], set.add(group, code, diff));
        }
    }

    /// Adds `diff` copies of a value that has a code.
    #[inline]
    pub(super) fn add_code(&mut self, group: u32, code: i128, diff: i64, slots: &mut [i128]) {
        if diff == 0 {
            return;
        }
        match self {
            Beside::WideSet { slot, set } => count_change(&mut slots[*slot], set.add(group, code as u128, diff)),
            Beside::Codes { least, values, .. } => values[group].add(if *least { !code } else { code }, diff),
            Beside::NarrowSet { .. } | Beside::ByteSet { .. } | Beside::Bytes { .. } | Beside::Floats { .. } => {
                unreachable!("values with codes go to state over codes")
            }
        }
    }

    /// Adds `diff` copies of a value without a code.
    pub(super) fn add_bytes(&mut self, group: u32, bytes: &[u8], diff: i64, slots: &mut [i128]) {
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
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::Codes { .. } | Beside::Floats { .. } => {
                unreachable!("values without codes go to state over bytes")
            }
        }
    }

    /// Adds `diff` copies of a float.
    pub(super) fn add_float(&mut self, group: u32, value: f64, diff: i64) {
        match self {
            Beside::Floats { sums, .. } => sums[group].get_or_insert_default().add(value, diff),
            _ => unreachable!("floats to be summed go to exact sums"),
        }
    }

    /// Copies a touched group's answer into its slots.
    pub(super) fn refresh(&mut self, group: u32, slots: &mut [i128]) {
        match self {
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::ByteSet { .. } => {}
            Beside::Codes { slot, values, .. } => {
                slots[*slot] = values[group].greatest().copied().unwrap_or(0);
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
            Beside::Floats { slot, sums } => match &sums[group] {
                Some(sum) if !sum.is_zero() => slots[*slot] = i128::from(sum.value().to_bits()),
                _ => {
                    slots[*slot] = 0;
                    sums[group] = None;
                }
            },
        }
    }

    /// The bytes of an answer that stands beside the slots.
    pub(super) fn bytes(&self, pick: &Pick) -> Option<&[u8]> {
        let Beside::Bytes { values, .. } = self else { return None };
        let best = if pick.old { &values.old[pick.touched] } else { &values.best[pick.group] };
        best.as_ref().map(Row::bytes)
    }

    /// Empties what is addressed by a group that has gone.
    pub(super) fn reset(&mut self, group: u32) {
        match self {
            Beside::NarrowSet { .. } | Beside::WideSet { .. } | Beside::ByteSet { .. } => {}
            Beside::Codes { values, .. } => values[group] = Extremes::default(),
            Beside::Bytes { values, .. } => {
                values.values[group] = BTreeMap::new();
                values.best[group] = None;
            }
            Beside::Floats { sums, .. } => sums[group] = None,
        }
    }
}

/// Moves a count of different values by one entry's change.
#[inline]
fn count_change(count: &mut i128, (old, new): (i64, i64)) {
    // Counts below zero stand for an incomplete time; only entries above zero are values.
    *count += i128::from(new > 0) - i128::from(old > 0);
}
