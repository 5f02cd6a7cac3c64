//! Which groups of a partition are let out, by their scores.
//!
//! Two marks divide the groups of a partition. Those that score at least the *floor* are listed: some more than are asked for,
//! so that the floor stays where it is for long, as lowering it takes a look at all groups. Of the listed ones those that score
//! at least the *cut* are let out, which follows closely: of the others nobody hears (K. Yi, H. Yu, J. Yang, G. Xia, Y. Chen,
//! "Efficient Maintenance of Materialized Top-k Views", ICDE 2003).

/// What tells which group comes first: the greatest.
pub(in crate::render::reduce) type Score = i128;

/// The score of a group whose answer cannot be represented: it is let out, to become an error, and counts for nothing.
pub(super) const FAILED: Score = Score::MAX;

/// The cut is set anew when this many times the changes are as many as the groups that are looked at for it.
const LOOKED_AT_PER_CHANGE: usize = 4;

/// How many groups of a partition are asked for and kept at hand.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// At least so many are let out, if there are as many.
    least: usize,
    /// So many are listed at first,
    listed: usize,
    /// and more than these no longer.
    most: usize,
}

impl Bounds {
    /// Bounds where the first `rows` groups are asked for.
    pub(super) fn new(rows: i64) -> Bounds {
        let least = usize::try_from(rows).unwrap_or(0).max(1);
        let listed = least.saturating_mul(2).saturating_add(2);
        Bounds { least, listed, most: listed.saturating_mul(2).saturating_add(2) }
    }
}

/// The groups of one partition.
pub(super) struct Partition {
    /// All of them.
    pub(super) groups: Vec<u32>,
    floor: Score,
    /// Those that score at least the floor and have not failed; `None` if they are too many, because they score alike.
    listed: Option<Vec<u32>>,
    /// How many these are, and beyond how many the floor rises.
    near: usize,
    most: usize,
    cut: Score,
    /// The cut before the open time.
    before: Score,
    /// How many score at least the cut and have not failed.
    out: usize,
    /// How many groups that are or were listed have changed at the open time.
    changes: usize,
}

/// The `nth` greatest score, if there are more than so many; else all scores are greater.
fn nth(scores: &mut [(Score, u32)], nth: usize) -> Score {
    if scores.len() > nth { scores.select_nth_unstable_by(nth - 1, |a, b| b.cmp(a)).1.0 } else { Score::MIN }
}

/// Whether a score that does not fail is at least `mark`.
#[inline]
fn reaches(score: Option<Score>, mark: Score) -> bool {
    score.is_some_and(|score| score >= mark && score != FAILED)
}

impl Partition {
    /// A partition without groups.
    pub(super) fn new(bounds: &Bounds) -> Partition {
        Partition {
            groups: Vec::new(),
            floor: Score::MIN,
            listed: Some(Vec::new()),
            near: 0,
            most: bounds.most,
            cut: Score::MIN,
            before: Score::MIN,
            out: 0,
            changes: 0,
        }
    }

    /// Notes that `group` scored `old` before the open time and scores `new` now; `None` where it does not exist. Returns whether
    /// it may be let out or have been.
    #[inline]
    pub(super) fn change(&mut self, group: u32, old: Option<Score>, new: Option<Score>) -> bool {
        if old.max(new).is_none_or(|best| best < self.floor) {
            return false;
        }
        self.changes += 1;
        self.out = self.out + usize::from(reaches(new, self.cut)) - usize::from(reaches(old, self.cut));
        match (reaches(old, self.floor), reaches(new, self.floor)) {
            (false, true) => {
                self.near += 1;
                self.listed.iter_mut().for_each(|listed| listed.push(group));
            }
            (true, false) => {
                self.near -= 1;
                if let Some(listed) = &mut self.listed {
                    let place = listed.iter().position(|other| *other == group).expect("what is near is listed");
                    listed.swap_remove(place);
                }
            }
            _ => {}
        }
        true
    }

    /// Whether this is the first change that [`Partition::change`] has noted at the open time.
    #[inline]
    pub(super) fn is_first_change(&self) -> bool {
        self.changes == 1
    }

    /// Moves the marks after all changes of the open time. Calls `visit` with every group whose side of the cut changes by that
    /// if its score has not changed, and whether it is let out now.
    pub(super) fn settle(&mut self, bounds: &Bounds, score: impl Fn(u32) -> Score, mut visit: impl FnMut(u32, bool)) {
        let few = self.near < bounds.least && self.floor > Score::MIN;
        let many = self.near > self.most;
        if !few && !many && !self.cut_moves(bounds) {
            return;
        }
        let looked_at = self.listed.as_ref().filter(|_| !few).unwrap_or(&self.groups);
        let scores = looked_at.iter().map(|group| (score(*group), *group));
        let mut scores: Vec<(Score, u32)> = scores.filter(|(score, _)| *score != FAILED).collect();
        if few || many {
            self.floor = nth(&mut scores, bounds.listed);
            let near = scores.iter().filter(|(score, _)| *score >= self.floor).map(|(_, group)| *group);
            let near: Vec<u32> = near.collect();
            self.near = near.len();
            // Equal scores are not parted.
            self.most = bounds.most.max(near.len().saturating_mul(2));
            self.listed = (near.len() <= bounds.most).then_some(near);
        }
        self.cut = match self.listed {
            Some(_) => nth(&mut scores, bounds.least).max(self.floor),
            None => self.floor,
        };
        self.out = scores.iter().filter(|(score, _)| *score >= self.cut).count();
        for (score, group) in scores {
            let (before, now) = (score >= self.before, score >= self.cut);
            if before != now {
                visit(group, now);
            }
        }
    }

    /// Whether the cut has to be set anew, or that pays.
    fn cut_moves(&self, bounds: &Bounds) -> bool {
        let few = self.out < bounds.least && self.out < self.near;
        let pays = self.changes * LOOKED_AT_PER_CHANGE >= self.near || self.out > bounds.listed;
        self.listed.is_some() && (few || self.out > bounds.least && pays)
    }

    /// Whether a group of which [`Partition::change`] has said that it may be was let out before the open time, and whether it is now.
    #[inline]
    pub(super) fn lets_out(&self, old: Option<Score>, new: Option<Score>) -> (bool, bool) {
        (old.is_some_and(|old| old >= self.before), new.is_some_and(|new| new >= self.cut))
    }

    /// Ends the open time.
    pub(super) fn finish_time(&mut self) {
        self.before = self.cut;
        self.changes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Scores that a group may get: few, so that many are equal, or many; now and then one fails.
    fn score(random: &mut ChaCha8Rng, few: bool) -> Score {
        match random.random_range(0..40) {
            0 => FAILED,
            1 => Score::MIN,
            _ if few => random.random_range(0..3),
            _ => random.random_range(0..10_000),
        }
    }

    #[test]
    fn the_first_groups_are_always_let_out_and_hardly_others() {
        let (mut let_out, mut asked) = (0, 0);
        for seed in 0..60 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (few, rows) = (seed % 3 == 0, random.random_range(1..9));
            let bounds = Bounds::new(rows);
            let mut partition = Partition::new(&bounds);
            let mut scores: BTreeMap<u32, Score> = BTreeMap::new();
            let mut out: BTreeSet<u32> = BTreeSet::new();
            for step in 0..120 {
                let changed: BTreeSet<u32> =
                    (0..random.random_range(1..[3, 60][step / 7 % 2])).map(|_| random.random_range(0..200)).collect();
                let mut interesting = Vec::new();
                for group in changed {
                    let old = scores.get(&group).copied();
                    let new = random.random_bool([0.8, 0.4][step / 40 % 2]).then(|| score(&mut random, few));
                    if old.is_none() && new.is_none() {
                        continue;
                    }
                    if old.is_none() {
                        partition.groups.push(group);
                    }
                    if partition.change(group, old, new) {
                        interesting.push((group, old, new));
                    }
                    if new.is_none() {
                        partition.groups.retain(|other| *other != group);
                    }
                    match new {
                        Some(new) => scores.insert(group, new),
                        None => scores.remove(&group),
                    };
                }
                partition.settle(
                    &bounds,
                    |group| scores[&group],
                    |group, now| {
                        if !interesting.iter().any(|(other, ..)| *other == group) {
                            assert!(if now { out.insert(group) } else { out.remove(&group) }, "seed {seed}");
                        }
                    },
                );
                for (group, old, new) in interesting {
                    let (before, now) = partition.lets_out(old, new);
                    assert_eq!(before, out.remove(&group), "seed {seed}");
                    assert!(!now || out.insert(group));
                }
                partition.finish_time();

                let mut sorted: Vec<Score> = scores.values().copied().filter(|score| *score != FAILED).collect();
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                let last = sorted.get(rows as usize - 1).copied().unwrap_or(Score::MIN);
                let first = scores.iter().filter(|(_, score)| **score >= last).map(|(group, _)| *group);
                let first: BTreeSet<u32> = first.collect();
                assert!(out.is_superset(&first), "seed {seed}");
                assert!(out.iter().all(|group| scores[group] >= partition.cut), "seed {seed}");
                if !few {
                    (let_out, asked) = (let_out + out.len(), asked + first.len());
                }
            }
        }
        assert!(let_out < asked * 5 / 4, "{let_out} of {asked}");
    }
}
