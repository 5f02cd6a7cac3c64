//! Groups of which only the first of each partition, in the order of one aggregate, can be of use above: they are let out, and
//! nobody hears of the others.

mod partition;

use super::answer::code;
use super::layout::{Kind, Layout, Slots};
use super::records::Records;
use crate::plan::BestGroups;
use crate::repr::{RowCodec, hash_bytes};
use crate::state::KeyTable;
pub(super) use partition::Score;
use partition::{Bounds, FAILED, Partition};

/// Which groups are let out.
pub(super) struct Best {
    by: Slots,
    /// Sums that may be out of the range of their types: then the group is let out as an error.
    fallible: Vec<Slots>,
    descending: bool,
    nulls_first: bool,
    /// The columns of the groups that divide them.
    divided_by: Vec<usize>,
    bounds: Bounds,
    keys: RowCodec,
    codec: RowCodec,
    names: KeyTable,
    partitions: Vec<Partition>,
    /// Partitions with changes at the open time that matter, and those that have lost all groups.
    noted: Vec<u32>,
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
        let types = best.partition.iter().map(|column| &layout.key_types[*column]);
        ordered.then(|| Best {
            fallible: layout.aggregates.iter().filter(exact).filter(|slots| slots.slot != by.slot).cloned().collect(),
            by,
            descending: best.descending,
            nulls_first: best.nulls_first,
            divided_by: best.partition.clone(),
            bounds: Bounds::new(best.rows),
            keys: RowCodec::new(&layout.key_types).unwrap_or_else(|error| panic!("{error}")),
            codec: RowCodec::new(types).unwrap_or_else(|error| panic!("{error}")),
            names: KeyTable::default(),
            partitions: Vec::new(),
            noted: Vec::new(),
            empty: Vec::new(),
        })
    }

    /// How early a group comes: what scores more comes first; among equal scores the order above decides.
    #[inline]
    pub(super) fn score(&self, slots: &[i64]) -> Score {
        if self.fallible.iter().any(|other| code(other, slots).is_err()) {
            return FAILED;
        }
        match code(&self.by, slots) {
            Err(_) => FAILED,
            Ok(None) if self.nulls_first => FAILED - 1,
            Ok(None) => Score::MIN,
            Ok(Some(code)) if self.descending => code,
            Ok(Some(code)) => !code,
        }
    }

    /// Makes groups known.
    pub(super) fn enter(&mut self, groups: &[u32], records: &mut Records) {
        if groups.is_empty() {
            return;
        }
        let columns = self.keys.decode(groups.iter().map(|group| records.key(*group))).expect("keys decode");
        let columns: Vec<_> = self.divided_by.iter().map(|column| columns[*column].clone()).collect();
        let names = self.codec.encode(&columns).expect("keys have their planned types");
        for (index, group) in groups.iter().enumerate() {
            let name = names.get(index);
            let (partition, inserted) = self.names.find_or_insert(hash_bytes(name), name);
            if inserted {
                let new = Partition::new(&self.bounds);
                match self.partitions.get_mut(partition as usize) {
                    Some(place) => *place = new,
                    None => self.partitions.push(new),
                }
            }
            let groups = &mut self.partitions[partition as usize].groups;
            groups.push(*group);
            let place = u32::try_from(groups.len() - 1).expect("groups are numbered by u32");
            put_place(records.get_mut(*group), (partition, place));
        }
    }

    /// Notes that a group of partition `at` scored `old` before the open time and scores `new` now; `None` where it does not
    /// exist. Returns whether it may be let out or have been.
    #[inline]
    pub(super) fn change(&mut self, at: u32, group: u32, old: Option<Score>, new: Option<Score>) -> bool {
        let partition = &mut self.partitions[at as usize];
        let matters = partition.change(group, old, new);
        if matters && partition.is_first_change() {
            self.noted.push(at);
        }
        matters
    }

    /// Forgets a group that has gone, after [`Best::change`].
    pub(super) fn leave(&mut self, group: u32, records: &mut Records) {
        let (at, place) = place(records.get(group));
        let groups = &mut self.partitions[at as usize].groups;
        groups.swap_remove(place as usize);
        match groups.get(place as usize) {
            Some(moved) => put_place(records.get_mut(*moved), (at, place)),
            None if groups.is_empty() => self.empty.push(at),
            None => {}
        }
    }

    /// Decides what is let out after all changes of the open time. Calls `visit` with every group of which that changes though
    /// its score has not, and whether it is let out now; and with others, of which [`Best::lets_out`] tells.
    pub(super) fn settle<'a>(&mut self, slots: impl Fn(u32) -> &'a [i64], mut visit: impl FnMut(u32, bool)) {
        for at in &self.noted {
            // Scores are told by what stands beside the partitions.
            let mut partition = std::mem::replace(&mut self.partitions[*at as usize], Partition::new(&self.bounds));
            partition.settle(&self.bounds, |group| self.score(slots(group)), &mut visit);
            self.partitions[*at as usize] = partition;
        }
    }

    /// Whether a group of a partition was let out before the open time, and whether it is now, if [`Best::change`] has said that
    /// it may be.
    #[inline]
    pub(super) fn lets_out(&self, partition: u32, old: Option<Score>, new: Option<Score>) -> (bool, bool) {
        self.partitions[partition as usize].lets_out(old, new)
    }

    /// Ends the open time.
    pub(super) fn finish_time(&mut self) {
        for at in self.noted.drain(..) {
            self.partitions[at as usize].finish_time();
        }
        self.empty.sort_unstable();
        self.empty.dedup();
        for at in self.empty.drain(..) {
            if self.partitions[at as usize].groups.is_empty() {
                self.partitions[at as usize] = Partition::new(&self.bounds);
                self.names.remove(at);
            }
        }
    }
}
