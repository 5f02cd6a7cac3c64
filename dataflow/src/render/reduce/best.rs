//! Groups of which only the first of each partition, in the order of one aggregate, can be of use above.
//!
//! Each partition has a floor: groups that score less stay in the table, and nobody hears of them. The floor falls when fewer
//! groups than are asked for score as much, and rises when there are far more: to where some are to spare, so that neither
//! happens often (K. Yi, H. Yu, J. Yang, G. Xia, Y. Chen, "Efficient Maintenance of Materialized Top-k Views", ICDE 2003).

use super::answer::code;
use super::groups::SlotTable;
use super::layout::{Kind, Layout, Slots};
use crate::plan::BestGroups;
use crate::repr::{RowCodec, hash_bytes};
use crate::state::KeyTable;

/// The groups of one partition.
#[derive(Default)]
struct Partition {
    groups: Vec<u32>,
    /// Groups that score at least this are let out; before the open time it was `before`.
    floor: i128,
    before: i128,
    /// How many are, and beyond how many the floor rises.
    out: usize,
    most: usize,
    /// Whether it is among those that are looked at when the time ends.
    noted: bool,
}

/// The score of a group whose answer cannot be represented: it is let out, to become an error, and counts for nothing.
const FAILED: i128 = i128::MAX;

/// Which groups are let out.
pub(super) struct Best {
    by: Slots,
    /// Sums that may be out of the range of their types: then the group is let out as an error.
    fallible: Vec<Slots>,
    descending: bool,
    nulls_first: bool,
    /// The columns of the groups that divide them.
    divided_by: Vec<usize>,
    /// A floor is set so that this many are let out.
    wanted: usize,
    /// With fewer the floor falls, and with more than this it rises.
    least: usize,
    most: usize,
    keys: RowCodec,
    codec: RowCodec,
    names: KeyTable,
    partitions: Vec<Partition>,
    noted: Vec<u32>,
    /// Partitions whose floor has moved at the open time, and those that have lost all groups.
    moved: Vec<u32>,
    empty: Vec<u32>,
}

/// A group's partition and its place there, as they stand behind its slots.
fn place(record: &[i64]) -> (u32, u32) {
    let place = record[record.len() - 1].cast_unsigned();
    ((place >> 32) as u32, place as u32)
}

fn put_place(record: &mut [i64], (partition, place): (u32, u32)) {
    record[record.len() - 1] = (u64::from(partition) << 32 | u64::from(place)).cast_signed();
}

/// The partition of a group.
#[inline]
pub(super) fn partition(record: &[i64]) -> u32 {
    place(record).0
}

impl Best {
    /// `None` if the aggregate has no order that is cheap to see.
    pub(super) fn new(best: &BestGroups, layout: &Layout) -> Option<Best> {
        let by = layout.aggregates[best.aggregate].clone();
        let ordered = match &by.kind {
            Kind::Rows | Kind::Count | Kind::CountDistinct(_) | Kind::EstimateDistinct => true,
            Kind::SumExact | Kind::AvgDecimal { .. } => true,
            Kind::BestOfGrowing { value, .. } | Kind::Best { value, .. } | Kind::Quantile { value, .. } => {
                value.is_code()
            }
            _ => false,
        };
        let exact = |slots: &&Slots| matches!(slots.kind, Kind::SumExact | Kind::AvgDecimal { .. });
        let least = usize::try_from(best.rows).unwrap_or(0);
        let wanted = least.saturating_mul(2).saturating_add(2);
        let types = best.partition.iter().map(|column| &layout.key_types[*column]);
        ordered.then(|| Best {
            fallible: layout.aggregates.iter().filter(exact).filter(|slots| slots.slot != by.slot).cloned().collect(),
            by,
            descending: best.descending,
            nulls_first: best.nulls_first,
            divided_by: best.partition.clone(),
            wanted,
            least,
            most: wanted.saturating_mul(2).saturating_add(2),
            keys: RowCodec::new(&layout.key_types).unwrap_or_else(|error| panic!("{error}")),
            codec: RowCodec::new(types).unwrap_or_else(|error| panic!("{error}")),
            names: KeyTable::default(),
            partitions: Vec::new(),
            noted: Vec::new(),
            moved: Vec::new(),
            empty: Vec::new(),
        })
    }

    /// How early a group comes: what scores more comes first; among equal scores the order above decides.
    #[inline]
    pub(super) fn score(&self, slots: &[i64]) -> i128 {
        if self.fallible.iter().any(|other| code(other, slots).is_err()) {
            return FAILED;
        }
        match code(&self.by, slots) {
            Err(_) => FAILED,
            Ok(None) if self.nulls_first => FAILED - 1,
            Ok(None) => i128::MIN,
            Ok(Some(code)) if self.descending => code,
            Ok(Some(code)) => !code,
        }
    }

    /// Makes groups known; `key` gives their keys.
    pub(super) fn enter<'a>(&mut self, groups: &[u32], key: impl Fn(u32) -> &'a [u8], slots: &mut SlotTable) {
        if groups.is_empty() {
            return;
        }
        let columns = self.keys.decode(groups.iter().map(|group| key(*group))).expect("keys decode");
        let columns: Vec<_> = self.divided_by.iter().map(|column| columns[*column].clone()).collect();
        let names = self.codec.encode(&columns).expect("keys have their planned types");
        for (index, group) in groups.iter().enumerate() {
            let name = names.get(index);
            let (partition, inserted) = self.names.find_or_insert(hash_bytes(name), name);
            if inserted {
                let new = Partition { floor: i128::MIN, before: i128::MIN, most: self.most, ..Partition::default() };
                match self.partitions.get_mut(partition as usize) {
                    Some(place) => *place = new,
                    None => self.partitions.push(new),
                }
            }
            let groups = &mut self.partitions[partition as usize].groups;
            groups.push(*group);
            let place = u32::try_from(groups.len() - 1).expect("groups are numbered by u32");
            put_place(slots.get_mut(*group), (partition, place));
        }
    }

    /// Notes that the score of a group of partition `at` was `old` before the open time and is `new` now; `None` where it does
    /// not exist.
    pub(super) fn change(&mut self, at: u32, old: Option<i128>, new: Option<i128>) {
        let partition = &mut self.partitions[at as usize];
        let floor = partition.floor;
        let out = |score: Option<i128>| usize::from(score.is_some_and(|score| score >= floor && score != FAILED));
        partition.out = partition.out + out(new) - out(old);
        if !partition.noted && (partition.out < self.least || partition.out > partition.most) {
            partition.noted = true;
            self.noted.push(at);
        }
    }

    /// Forgets a group that has gone, after [`Best::change`].
    pub(super) fn leave(&mut self, group: u32, slots: &mut SlotTable) {
        let (at, place) = place(slots.get(group));
        let groups = &mut self.partitions[at as usize].groups;
        groups.swap_remove(place as usize);
        match groups.get(place as usize) {
            Some(moved) => put_place(slots.get_mut(*moved), (at, place)),
            None if groups.is_empty() => self.empty.push(at),
            None => {}
        }
    }

    /// Moves the floors that no longer fit. Calls `visit` with every group whose side of the floor changes by that, and
    /// whether it is let out now.
    pub(super) fn move_floors<'a>(&mut self, slots: impl Fn(u32) -> &'a [i64], mut visit: impl FnMut(u32, bool)) {
        for at in std::mem::take(&mut self.noted) {
            let scores = self.partitions[at as usize].groups.iter().map(|group| (self.score(slots(*group)), *group));
            let mut scores: Vec<(i128, u32)> = scores.filter(|(score, _)| *score != FAILED).collect();
            let partition = &mut self.partitions[at as usize];
            partition.noted = false;
            let few = partition.out < self.least;
            if few && partition.out == scores.len() || !few && partition.out <= partition.most {
                continue;
            }
            partition.floor = match scores.len() > self.wanted {
                true => scores.select_nth_unstable_by(self.wanted - 1, |a, b| b.cmp(a)).1.0,
                false => i128::MIN,
            };
            partition.out = 0;
            for (score, group) in scores {
                let (before, now) = (score >= partition.before, score >= partition.floor);
                partition.out += usize::from(now);
                if before != now {
                    visit(group, now);
                }
            }
            // Equal scores are not parted.
            partition.most = self.most.max(partition.out.saturating_mul(2));
            self.moved.push(at);
        }
    }

    /// Whether a group of a partition was let out before the open time, and whether it is now.
    #[inline]
    pub(super) fn lets_out(&self, partition: u32, old: Option<i128>, new: Option<i128>) -> (bool, bool) {
        let partition = &self.partitions[partition as usize];
        (old.is_some_and(|old| old >= partition.before), new.is_some_and(|new| new >= partition.floor))
    }

    /// Ends the open time.
    pub(super) fn finish_time(&mut self) {
        for at in self.moved.drain(..) {
            let partition = &mut self.partitions[at as usize];
            partition.before = partition.floor;
        }
        self.empty.sort_unstable();
        self.empty.dedup();
        for at in self.empty.drain(..) {
            if self.partitions[at as usize].groups.is_empty() {
                self.partitions[at as usize] = Partition::default();
                self.names.remove(at);
            }
        }
    }
}
