//! The private table of a group-by: contributions in, −old +new out.

use super::answer::{Answer, AnswerBuilder, Pick};
use super::best::{Best, Score, partition};
use super::layout::{Layout, ROWS};
use super::partial::{PartialGroups, Values};
use super::records::Records;
use crate::figures::Held;
use crate::render::import::CHUNK_ROWS;
use crate::render::meter::Holds;
use beside::Beside;
pub(in crate::render) use beside::bits;

mod beside;

/// How many groups are brought into the cache before they are worked on, where that is little work. What a short loop does
/// nothing with but load is waited for together, and not one after the other.
pub(super) const AT_ONCE: usize = 64;
/// Where it is more: how many groups ahead the index of one is brought into the cache, and how many ahead what the index leads
/// to.
const INDEX_AHEAD: usize = 32;
const GROUPS_AHEAD: usize = 16;
/// How many values ahead the place of one is brought into the cache: a search is short, so that it and those waits overlap.
const VALUES_AHEAD: usize = 16;

impl Holds for Groups {
    fn held(&self) -> Held {
        let groups = self.records.len();
        self.records.held().and_bytes(self.beside.iter().map(|beside| beside.bytes_held(groups)).sum())
    }
}

/// The scores that a touched group had before the open time and has now, if they matter.
struct Scores {
    touched: usize,
    partition: u32,
    old: Option<Score>,
    new: Option<Score>,
}

/// All groups of one worker.
pub(super) struct Groups {
    layout: Layout,
    /// Of each group its slots, behind them the epoch in which it was last touched and, where only the best are let out, its
    /// place among those of its partition.
    records: Records,
    epoch: i64,
    /// The slots of a group without rows.
    empty: Vec<i64>,
    /// The groups touched at the open time, and whether they existed before.
    touched: Vec<(u32, bool)>,
    /// The slots of the touched groups before the open time.
    old: Vec<i64>,
    /// What stands beside the slots, per aggregate that needs it.
    beside: Vec<Beside>,
    builder: AnswerBuilder,
    /// The group without keys, which exists also over nothing, if this worker owns it.
    global: Option<u32>,
    /// The groups of the block that is being applied.
    block: Vec<u32>,
    /// Which groups are let out, if not all.
    best: Option<Best>,
}

impl Groups {
    pub(super) fn new(layout: Layout) -> Groups {
        let beside = (0..layout.aggregates.len()).filter_map(|index| Beside::for_aggregate(&layout, index)).collect();
        let best = layout.best.as_ref().and_then(|best| Best::new(best, &layout));
        Groups {
            records: Records::new(&layout.key_types, layout.slots + 1 + usize::from(best.is_some())),
            epoch: 1,
            empty: layout.empty(),
            touched: Vec::new(),
            old: Vec::new(),
            beside,
            builder: AnswerBuilder::new(&layout),
            global: None,
            block: Vec::new(),
            best,
            layout,
        }
    }

    /// Whether there are no keys: then there is one group.
    pub(super) fn is_global(&self) -> bool {
        self.layout.keys == 0
    }

    /// Creates the group without keys, to be answered when the open time ends.
    pub(super) fn open_global(&mut self) {
        let group = self.group(crate::repr::hash_bytes(&[]), &[]);
        self.touch(group);
        self.global = Some(group);
    }

    fn group(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (group, inserted) = self.records.find_or_insert(hash, key);
        if inserted {
            let (slots, mark) = self.records.get_mut(group).split_at_mut(self.layout.slots);
            slots.copy_from_slice(&self.empty);
            mark.fill(0);
            for beside in &mut self.beside {
                beside.grow_to(self.records.len());
            }
        }
        group
    }

    /// Notes the group's state at its first touch in the open time.
    #[inline]
    fn touch(&mut self, group: u32) {
        let (slots, mark) = self.records.get_mut(group).split_at_mut(self.layout.slots);
        if mark[0] != self.epoch {
            mark[0] = self.epoch;
            self.touched.push((group, self.global == Some(group) || slots[ROWS] > 0));
            self.old.extend_from_slice(slots);
            self.beside.iter_mut().for_each(|beside| beside.note_old(group));
        }
    }

    /// Brings the next of the touched groups into the cache, now and then.
    #[inline]
    fn warm_touched(&self, touched: &[(u32, bool)], index: usize) {
        if index.is_multiple_of(AT_ONCE) {
            touched[index..].iter().take(AT_ONCE).for_each(|(group, _)| self.records.warm_record(*group));
        }
    }

    /// Adds the contributions of one block to the open time.
    pub(super) fn apply(&mut self, partial: &PartialGroups) {
        let width = self.layout.slots;
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let hashes = &partial.hashes;
        hashes.iter().take(INDEX_AHEAD).for_each(|hash| self.records.warm_index(*hash));
        hashes.iter().take(GROUPS_AHEAD).for_each(|hash| self.records.warm(*hash));
        for (index, hash) in hashes.iter().enumerate() {
            hashes.get(index + INDEX_AHEAD).into_iter().for_each(|hash| self.records.warm_index(*hash));
            hashes.get(index + GROUPS_AHEAD).into_iter().for_each(|hash| self.records.warm(*hash));
            let group = self.group(*hash, partial.keys.get(index));
            self.touch(group);
            let slots = self.records.get_mut(group);
            let news = &partial.slots[index * width..(index + 1) * width];
            self.layout.merges.iter().for_each(|merge| merge.add(slots, news));
            block.push(group);
        }
        for (beside, values) in self.beside.iter_mut().zip(&partial.values) {
            match values {
                Values::Narrow(codes) => {
                    let warm = |(at, code, _): &(u32, u64, i64)| beside.warm_narrow(block[*at as usize], *code);
                    codes.iter().take(VALUES_AHEAD).for_each(warm);
                    for (index, (at, code, diff)) in codes.iter().enumerate() {
                        if let Some((at, code, _)) = codes.get(index + VALUES_AHEAD) {
                            beside.warm_narrow(block[*at as usize], *code);
                        }
                        let group = block[*at as usize];
                        beside.add_narrow(group, *code, *diff, self.records.get_mut(group));
                    }
                }
                Values::Codes(codes) => {
                    codes.iter().for_each(|(at, code, diff)| {
                        let group = block[*at as usize];
                        beside.add_code(group, *code, *diff, self.records.get_mut(group));
                    });
                }
                Values::Bytes { groups, bytes } => {
                    groups.iter().enumerate().for_each(|(index, (at, diff))| {
                        let group = block[*at as usize];
                        beside.add_bytes(group, bytes.get(index), *diff, self.records.get_mut(group));
                    });
                }
                Values::Pairs(pairs) => {
                    pairs.iter().for_each(|(at, pair, diff)| beside.add_pair(block[*at as usize], *pair, *diff));
                }
                Values::Floats(floats) => {
                    floats.iter().for_each(|(at, value, diff)| beside.add_float(block[*at as usize], *value, *diff));
                }
            }
        }
        self.block = block;
    }

    /// Ends the open time: emits what changed, forgets groups that have gone.
    pub(super) fn finish_time(&mut self, mut emit: impl FnMut(Answer)) {
        let width = self.layout.slots;
        let touched = std::mem::take(&mut self.touched);
        for beside in &mut self.beside {
            touched.iter().for_each(|(group, _)| beside.refresh(*group, self.records.get_mut(*group)));
        }
        let picks = match self.best.take() {
            None => self.changed(&touched),
            Some(mut best) => {
                let picks = self.changed_of_best(&touched, &mut best);
                self.best = Some(best);
                picks
            }
        };
        for picks in picks.chunks(CHUNK_ROWS) {
            let slots = |pick: &Pick| {
                if pick.old {
                    &self.old[pick.touched * width..(pick.touched + 1) * width]
                } else {
                    self.records.get(pick.group)
                }
            };
            let keys = |pick: &Pick| self.records.key(pick.group);
            let bytes = |beside: usize, nth: usize, pick: &Pick| self.beside[beside].bytes(nth, pick);
            self.builder.build(&self.layout, picks, keys, slots, bytes, &mut emit);
        }
        for (group, _) in &touched {
            let slots = &self.records.get(*group)[..width];
            if self.global != Some(*group) && slots[ROWS] == 0 && *slots == *self.empty {
                for beside in &mut self.beside {
                    beside.reset(*group);
                }
                self.records.remove(*group);
            }
        }
        self.begin_time(touched);
    }

    /// Whether a touched group exists now, and whether its answer, if it had one before, differs.
    #[inline]
    fn outcome(&self, index: usize, group: u32) -> (bool, bool) {
        let (width, new) = (self.layout.slots, self.records.get(group));
        let exists = self.global == Some(group) || new[ROWS] > 0;
        (exists, self.layout.differ(&self.old[index * width..(index + 1) * width], &new[..width]))
    }

    /// What leaves: answers of before, and those of now where they differ.
    fn changed(&self, touched: &[(u32, bool)]) -> Vec<Pick> {
        let mut picks: Vec<Pick> = Vec::new();
        for (index, (group, existed)) in touched.iter().enumerate() {
            self.warm_touched(touched, index);
            let (exists, differs) = self.outcome(index, *group);
            if *existed && exists && !differs {
                continue;
            }
            picks.extend(existed.then(|| Pick::before(*group, index)));
            picks.extend(exists.then(|| Pick::now(*group, index, 1)));
        }
        picks
    }

    /// The same of the groups that are let out.
    fn changed_of_best(&mut self, touched: &[(u32, bool)], best: &mut Best) -> Vec<Pick> {
        let width = self.layout.slots;
        let fresh = touched.iter().filter(|(group, existed)| !existed && self.records.get(*group)[ROWS] > 0);
        let fresh: Vec<u32> = fresh.map(|(group, _)| *group).collect();
        best.enter(&fresh, &mut self.records);
        let mut scores: Vec<Scores> = Vec::new();
        for (index, (group, existed)) in touched.iter().enumerate() {
            self.warm_touched(touched, index);
            let record = self.records.get_mut(*group);
            let old = existed.then(|| best.score(&self.old[index * width..(index + 1) * width]));
            let new = (record[ROWS] > 0).then(|| best.score(record));
            if old.is_none() && new.is_none() {
                continue;
            }
            let partition = partition(record);
            if best.change(partition, *group, old, new) {
                // No epoch is negative: so it is told from others of the partition.
                record[width] = -self.epoch;
                scores.push(Scores { touched: index, partition, old, new });
            }
            if old.is_some() && new.is_none() {
                best.leave(*group, &mut self.records);
            }
        }
        let mut picks: Vec<Pick> = Vec::new();
        best.settle(
            |group| self.records.get(group),
            |group, now| {
                if self.records.get(group)[width] != -self.epoch {
                    picks.push(Pick::now(group, 0, if now { 1 } else { -1 }));
                }
            },
        );
        for Scores { touched: index, partition, old, new } in scores {
            let (before, now) = best.lets_out(partition, old, new);
            let (group, _) = touched[index];
            if before && now && !self.outcome(index, group).1 {
                continue;
            }
            picks.extend(before.then(|| Pick::before(group, index)));
            picks.extend(now.then(|| Pick::now(group, index, 1)));
        }
        best.finish_time();
        picks
    }

    fn begin_time(&mut self, mut touched: Vec<(u32, bool)>) {
        touched.clear();
        self.touched = touched;
        self.old.clear();
        for beside in &mut self.beside {
            beside.forget_old();
        }
        self.epoch += 1;
    }
}
