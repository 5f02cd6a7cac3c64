//! The private table of a group-by: contributions in, −old +new out.

use prefetch_index::prefetch_index;

use super::answer::{Answer, AnswerBuilder, Pick};
use super::best::{Best, PLACE_AHEAD};
use super::layout::{Kind, Layout, ROWS, Slots};
use super::partial::{PartialGroups, Values};
use crate::figures::Held;
use crate::render::import::CHUNK_ROWS;
use crate::render::meter::Holds;
use crate::state::{Chunked, KeyTable};
use beside::Beside;
pub(in crate::render) use beside::bits;

mod beside;

/// Slots of all groups: chunks that never move.
pub(super) struct SlotTable {
    width: usize,
    chunks: Vec<Vec<i128>>,
}

const CHUNK_GROUPS: usize = 1 << 10;
/// How many rows ahead the index, then the entry with its slots, are brought into the cache.
const INDEX_AHEAD: usize = 16;
const ENTRY_AHEAD: usize = 8;
/// How many values ahead the place of one in its set is.
const VALUE_AHEAD: usize = 8;

impl SlotTable {
    pub(super) fn new(width: usize) -> SlotTable {
        SlotTable { width, chunks: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&self, group: u32) -> &[i128] {
        let at = (group as usize % CHUNK_GROUPS) * self.width;
        &self.chunks[group as usize / CHUNK_GROUPS][at..at + self.width]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, group: u32) -> &mut [i128] {
        let at = (group as usize % CHUNK_GROUPS) * self.width;
        &mut self.chunks[group as usize / CHUNK_GROUPS][at..at + self.width]
    }

    /// Brings the first and the last slot of a group into the cache: call it some groups ahead.
    #[inline]
    fn warm(&self, group: u32) {
        let at = (group as usize % CHUNK_GROUPS) * self.width;
        let chunk = &self.chunks[group as usize / CHUNK_GROUPS];
        prefetch_index(chunk, at);
        prefetch_index(chunk, at + self.width - 1);
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_GROUPS * self.width * size_of::<i128>()
    }

    pub(super) fn grow_to(&mut self, groups: usize) {
        while self.chunks.len() * CHUNK_GROUPS < groups {
            self.chunks.push(vec![0; CHUNK_GROUPS * self.width]);
        }
    }
}

impl Holds for Groups {
    fn held(&self) -> Held {
        let slots = self.keys.slots();
        let beside: usize = self.beside.iter().map(|beside| beside.bytes_held(slots)).sum();
        self.keys.held().and_bytes(self.slots.bytes() + self.marks.bytes() + beside)
    }
}

/// All groups of one worker.
pub(super) struct Groups {
    layout: Layout,
    keys: KeyTable,
    slots: SlotTable,
    /// The epoch in which each group was last touched.
    marks: Chunked<u32>,
    epoch: u32,
    /// The groups touched at the open time, and whether they existed before.
    touched: Vec<(u32, bool)>,
    /// The slots of the touched groups before the open time.
    old: Vec<i128>,
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
        Groups {
            keys: KeyTable::default(),
            slots: SlotTable::new(layout.slots),
            marks: Chunked::default(),
            epoch: 1,
            touched: Vec::new(),
            old: Vec::new(),
            beside,
            builder: AnswerBuilder::new(&layout),
            global: None,
            block: Vec::new(),
            best: layout.best.as_ref().and_then(|best| Best::new(best, &layout)),
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
        self.touch(group, false);
        self.global = Some(group);
    }

    fn group(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (group, inserted) = self.keys.find_or_insert(hash, key);
        if inserted {
            self.slots.grow_to(self.keys.slots());
            self.marks.grow_to(self.keys.slots(), || 0);
            self.slots.get_mut(group).fill(0);
            self.marks[group] = 0;
            for beside in &mut self.beside {
                beside.grow_to(self.keys.slots());
            }
        }
        group
    }

    /// Notes the group's state at its first touch in the open time.
    #[inline]
    fn touch(&mut self, group: u32, existed: bool) {
        if self.marks[group] != self.epoch {
            self.marks[group] = self.epoch;
            self.touched.push((group, existed));
            self.old.extend_from_slice(self.slots.get(group));
            for beside in &mut self.beside {
                beside.note_old(group);
            }
        }
    }

    /// Adds the contributions of one block to the open time.
    pub(super) fn apply(&mut self, partial: &PartialGroups) {
        let width = self.layout.slots;
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        for (index, hash) in partial.hashes.iter().enumerate() {
            if let Some(next) = partial.hashes.get(index + INDEX_AHEAD) {
                self.keys.warm_index(*next);
            }
            if let Some(group) = partial.hashes.get(index + ENTRY_AHEAD).and_then(|next| self.keys.warm_entry(*next)) {
                self.slots.warm(group);
                self.marks.warm(group);
            }
            let group = self.group(*hash, partial.keys.get(index));
            let existed = self.global == Some(group) || self.slots.get(group)[ROWS] > 0;
            self.touch(group, existed);
            let slots = self.slots.get_mut(group);
            let news = &partial.slots[index * width..(index + 1) * width];
            slots[ROWS] += news[ROWS];
            for aggregate in &self.layout.aggregates {
                merge(aggregate, slots, news);
            }
            block.push(group);
        }
        for (beside, values) in self.beside.iter_mut().zip(&partial.values) {
            match values {
                Values::Narrow(codes) => {
                    for (index, (at, code, diff)) in codes.iter().enumerate() {
                        if let Some((at, code, _)) = codes.get(index + VALUE_AHEAD) {
                            beside.warm_narrow(block[*at as usize], *code);
                        }
                        let group = block[*at as usize];
                        beside.add_narrow(group, *code, *diff, self.slots.get_mut(group));
                    }
                }
                Values::Codes(codes) => {
                    codes.iter().for_each(|(at, code, diff)| {
                        let group = block[*at as usize];
                        beside.add_code(group, *code, *diff, self.slots.get_mut(group));
                    });
                }
                Values::Bytes { groups, bytes } => {
                    groups.iter().enumerate().for_each(|(index, (at, diff))| {
                        let group = block[*at as usize];
                        beside.add_bytes(group, bytes.get(index), *diff, self.slots.get_mut(group));
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
            touched.iter().for_each(|(group, _)| beside.refresh(*group, self.slots.get_mut(*group)));
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
                    self.slots.get(pick.group)
                }
            };
            let keys = |pick: &Pick| self.keys.key(pick.group);
            let bytes = |beside: usize, nth: usize, pick: &Pick| self.beside[beside].bytes(nth, pick);
            self.builder.build(&self.layout, picks, keys, slots, bytes, &mut emit);
        }
        for (group, _) in &touched {
            if self.global != Some(*group) && self.slots.get(*group).iter().all(|slot| *slot == 0) {
                for beside in &mut self.beside {
                    beside.reset(*group);
                }
                self.keys.remove(*group);
            }
        }
        self.begin_time(touched);
    }

    /// Whether a touched group exists now, and whether its answer, if it had one before, differs.
    #[inline]
    fn outcome(&self, index: usize, group: u32) -> (bool, bool) {
        let (width, new) = (self.layout.slots, self.slots.get(group));
        let exists = self.global == Some(group) || new[ROWS] > 0;
        (exists, self.layout.differ(&self.old[index * width..(index + 1) * width], new))
    }

    /// What leaves: answers of before, and those of now where they differ.
    fn changed(&self, touched: &[(u32, bool)]) -> Vec<Pick> {
        let mut picks: Vec<Pick> = Vec::new();
        for (index, (group, existed)) in touched.iter().enumerate() {
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
    fn changed_of_best(&self, touched: &[(u32, bool)], best: &mut Best) -> Vec<Pick> {
        let width = self.layout.slots;
        let fresh = touched.iter().filter(|(group, existed)| !existed && self.slots.get(*group)[ROWS] > 0);
        let fresh: Vec<u32> = fresh.map(|(group, _)| *group).collect();
        best.enter(&fresh, |group| self.keys.key(group));
        let mut scores: Vec<(Option<i128>, Option<i128>)> = Vec::with_capacity(touched.len());
        for (index, (group, existed)) in touched.iter().enumerate() {
            if let Some((ahead, _)) = touched.get(index + PLACE_AHEAD) {
                best.warm(*ahead);
            }
            let new = self.slots.get(*group);
            let old = existed.then(|| best.score(&self.old[index * width..(index + 1) * width]));
            let new = (new[ROWS] > 0).then(|| best.score(new));
            scores.push((old, new));
            if old != new {
                best.change(*group, old, new);
            }
            if old.is_some() && new.is_none() {
                best.leave(*group);
            }
        }
        let mut picks: Vec<Pick> = Vec::new();
        best.move_floors(
            |group| self.slots.get(group),
            |group, now| {
                // Touched groups are looked at below.
                if self.marks[group] != self.epoch {
                    picks.push(Pick::now(group, 0, if now { 1 } else { -1 }));
                }
            },
        );
        for (index, (group, _)) in touched.iter().enumerate() {
            let (old, new) = scores[index];
            if old.is_none() && new.is_none() {
                continue;
            }
            let (before, now) = best.lets_out(*group, old, new);
            if before && now && !self.outcome(index, *group).1 {
                continue;
            }
            picks.extend(before.then(|| Pick::before(*group, index)));
            picks.extend(now.then(|| Pick::now(*group, index, 1)));
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
        if self.epoch == u32::MAX {
            for group in 0..u32::try_from(self.keys.slots()).expect("slots are numbered by u32") {
                self.marks[group] = 0;
            }
            self.epoch = 0;
        }
        self.epoch += 1;
    }
}

/// Adds a contribution to the additive slots of a group.
#[inline]
fn merge(aggregate: &Slots, slots: &mut [i128], news: &[i128]) {
    let slot = aggregate.slot;
    match aggregate.kind {
        Kind::Rows | Kind::CountDistinct(_) | Kind::EstimateDistinct | Kind::Quantile { .. } | Kind::Recomputed(_) => {}
        Kind::Count => slots[slot] += news[slot],
        Kind::SumExact | Kind::AvgDecimal { .. } => {
            slots[slot] += news[slot];
            slots[slot + 1] += news[slot + 1];
            slots[slot + 2] += news[slot + 2];
        }
        Kind::SumFloat | Kind::AvgFloat | Kind::Best { .. } | Kind::Bits(_) | Kind::Moment(_) => {
            slots[slot + 1] += news[slot + 1]
        }
        Kind::BestOfGrowing { .. } => {
            if news[slot + 1] != 0 {
                slots[slot] = if slots[slot + 1] == 0 { news[slot] } else { slots[slot].max(news[slot]) };
                slots[slot + 1] += news[slot + 1];
            }
        }
    }
}
