//! Rows in order, with counts and sums below every subtree: what order-based operators remember of one partition.
//!
//! A B+ tree: leaves of up to [`LEAF`] entries hold the rows, inner nodes hold the [`Totals`] of what is below each child, so
//! that the place of a row, the row at a place, and sums over everything before a row cost one descent. Copies of a row are a
//! count. Deleting leaves nodes underfull until a neighbour can take what is left (R. Bayer and E. McCreight, "Organization
//! and Maintenance of Large Ordered Indexes", Acta Informatica 1972, with counts as in Knuth, TAOCP 3, 6.2.3).

mod cursor;

pub(crate) use cursor::Cursor;

/// The most entries of a leaf.
const LEAF: usize = 64;
/// The most children of an inner node.
const FAN_OUT: usize = 32;
/// Children hold at most this when neighbours are put together, so that neither splits again at once.
const MERGE_MAX: usize = 3;
const MERGE_OF: usize = 4;

/// One different row: bytes that order it (`memcmp`), and what is kept beside them.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    bytes: Box<[u8]>,
    /// How many of the bytes order the row.
    key: u32,
    copies: i64,
}

impl Entry {
    /// The bytes that order the entry.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.key as usize]
    }

    /// What is kept beside the key. It is the same for equal keys.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.key as usize..]
    }

    /// How many copies there are.
    #[inline]
    pub(crate) fn copies(&self) -> i64 {
        self.copies
    }
}

/// What a subtree adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals<const W: usize> {
    /// Rows, copies counted.
    pub(crate) rows: i64,
    /// Different rows.
    pub(crate) entries: i64,
    /// Sums over all rows, copies counted, modulo 2^128.
    pub(crate) sums: [i128; W],
}

impl<const W: usize> Default for Totals<W> {
    fn default() -> Self {
        Totals { rows: 0, entries: 0, sums: [0; W] }
    }
}

impl<const W: usize> Totals<W> {
    #[inline]
    fn merge(&mut self, other: &Totals<W>) {
        self.rows += other.rows;
        self.entries += other.entries;
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.wrapping_add(*other);
        }
    }

    /// Adds `copies` of a row that weighs `weights`, and `entries` different rows.
    #[inline]
    fn add(&mut self, weights: &[i128; W], copies: i64, entries: i64) {
        self.rows += copies;
        self.entries += entries;
        for (sum, weight) in self.sums.iter_mut().zip(weights) {
            *sum = sum.wrapping_add(weight.wrapping_mul(i128::from(copies)));
        }
    }
}

/// What an entry adds to the sums of its subtrees, read out of its payload.
pub(crate) trait Weigh<const W: usize> {
    /// The weights of one copy.
    fn weigh(&self, payload: &[u8]) -> [i128; W];
}

/// Entries that weigh nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weightless;

impl Weigh<0> for Weightless {
    fn weigh(&self, _payload: &[u8]) -> [i128; 0] {
        []
    }
}

#[derive(Debug)]
struct Leaf {
    entries: Vec<Entry>,
    next: u32,
    previous: u32,
}

#[derive(Debug)]
struct Child<const W: usize> {
    /// Nothing below the child sorts before it, except below the first child.
    least: Box<[u8]>,
    totals: Totals<W>,
    at: u32,
}

const NONE: u32 = u32::MAX;

/// Rows in order.
#[derive(Debug)]
pub(crate) struct Ordered<const W: usize> {
    leaves: Vec<Leaf>,
    inners: Vec<Vec<Child<W>>>,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    root: u32,
    /// Levels of inner nodes.
    depth: usize,
    totals: Totals<W>,
}

/// The inner nodes from the root to a leaf, and the child taken in each.
type Path = Vec<(u32, usize)>;

impl<const W: usize> Default for Ordered<W> {
    fn default() -> Self {
        Ordered {
            leaves: vec![Leaf { entries: Vec::new(), next: NONE, previous: NONE }],
            inners: Vec::new(),
            free_leaves: Vec::new(),
            free_inners: Vec::new(),
            root: 0,
            depth: 0,
            totals: Totals::default(),
        }
    }
}

impl<const W: usize> Ordered<W> {
    /// What everything adds up to.
    pub(crate) fn totals(&self) -> &Totals<W> {
        &self.totals
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.totals.entries == 0
    }

    /// Changes the number of copies of a row: `bytes` are its key, the first `key` of them, and its payload.
    ///
    /// Panics if there would be less than none: a complete time never asks for that.
    pub(crate) fn add(&mut self, bytes: &[u8], key: usize, copies: i64, weigh: &impl Weigh<W>) {
        if copies == 0 {
            return;
        }
        let (path, leaf) = self.path_to(&bytes[..key]);
        let weights = weigh.weigh(&bytes[key..]);
        let entries = &mut self.leaves[leaf as usize].entries;
        let place = entries.partition_point(|entry| entry.key() < &bytes[..key]);
        let mut different = 0;
        if entries.get(place).is_some_and(|entry| entry.key() == &bytes[..key]) {
            let entry = &mut entries[place];
            entry.copies += copies;
            assert!(entry.copies >= 0, "a row is taken away more often than it was added");
            if entry.copies == 0 {
                entries.remove(place);
                different = -1;
            }
        } else {
            assert!(copies > 0, "a row is taken away that was never added");
            let key = u32::try_from(key).expect("a row stays far below 4 GiB");
            entries.insert(place, Entry { bytes: bytes.into(), key, copies });
            different = 1;
        }
        self.totals.add(&weights, copies, different);
        for (inner, child) in &path {
            self.inners[*inner as usize][*child].totals.add(&weights, copies, different);
        }
        let len = self.leaves[leaf as usize].entries.len();
        if len > LEAF {
            self.split(path, leaf, place + 1 == len, weigh);
        } else if different < 0 && len < LEAF / 4 && self.depth > 0 {
            self.shrink(&path);
        }
    }

    fn path_to(&self, key: &[u8]) -> (Path, u32) {
        let mut path = Vec::with_capacity(self.depth);
        let mut at = self.root;
        for _ in 0..self.depth {
            let children = &self.inners[at as usize];
            let child = children[1..].partition_point(|child| &*child.least <= key);
            path.push((at, child));
            at = children[child].at;
        }
        (path, at)
    }

    /// Splits a leaf that is too full; `at_end` if it grew at its end: then what comes next probably does too.
    fn split(&mut self, mut path: Path, leaf: u32, at_end: bool, weigh: &impl Weigh<W>) {
        let keep = if at_end { LEAF * 7 / 8 } else { LEAF / 2 };
        let right = self.leaves[leaf as usize].entries.split_off(keep);
        let mut moved = Totals::default();
        right.iter().for_each(|entry| moved.add(&weigh.weigh(entry.payload()), entry.copies, 1));
        let least = right[0].key().into();
        let next = self.leaves[leaf as usize].next;
        let at = self.new_leaf(Leaf { entries: right, next, previous: leaf });
        if next != NONE {
            self.leaves[next as usize].previous = at;
        }
        self.leaves[leaf as usize].next = at;
        let mut new = Child { least, totals: moved, at };
        while let Some((inner, child)) = path.pop() {
            let children = &mut self.inners[inner as usize];
            subtract(&mut children[child].totals, &new.totals);
            children.insert(child + 1, new);
            if children.len() <= FAN_OUT {
                return;
            }
            let right = children.split_off(FAN_OUT / 2);
            let mut totals = Totals::default();
            right.iter().for_each(|child| totals.merge(&child.totals));
            let least = right[0].least.clone();
            new = Child { least, totals, at: self.new_inner(right) };
        }
        let mut left = self.totals;
        subtract(&mut left, &new.totals);
        let first = Child { least: Box::default(), totals: left, at: self.root };
        self.root = self.new_inner(vec![first, new]);
        self.depth += 1;
    }

    /// Puts a leaf that has become small together with a neighbour, and so upwards.
    fn shrink(&mut self, path: &[(u32, usize)]) {
        for level in (0..path.len()).rev() {
            let (inner, child) = path[level];
            let count = self.inners[inner as usize].len();
            if count < 2 {
                break;
            }
            let left = if child + 1 < count { child } else { child - 1 };
            let (a, b) = (self.inners[inner as usize][left].at, self.inners[inner as usize][left + 1].at);
            let merged = if level + 1 == path.len() { self.merge_leaves(a, b) } else { self.merge_inners(inner, left) };
            if !merged {
                break;
            }
            let gone = self.inners[inner as usize].remove(left + 1);
            self.inners[inner as usize][left].totals.merge(&gone.totals);
            if self.inners[inner as usize].len() >= FAN_OUT / 4 {
                break;
            }
        }
        while self.depth > 0 && self.inners[self.root as usize].len() == 1 {
            let old = self.root;
            self.root = self.inners[old as usize][0].at;
            self.inners[old as usize].clear();
            self.free_inners.push(old);
            self.depth -= 1;
        }
    }

    fn merge_leaves(&mut self, a: u32, b: u32) -> bool {
        let (left, right) = (self.leaves[a as usize].entries.len(), self.leaves[b as usize].entries.len());
        if left + right > LEAF * MERGE_MAX / MERGE_OF && left > 0 && right > 0 {
            return false;
        }
        let mut moved = std::mem::take(&mut self.leaves[b as usize].entries);
        self.leaves[a as usize].entries.append(&mut moved);
        let next = self.leaves[b as usize].next;
        self.leaves[a as usize].next = next;
        if next != NONE {
            self.leaves[next as usize].previous = a;
        }
        self.free_leaves.push(b);
        true
    }

    fn merge_inners(&mut self, parent: u32, left: usize) -> bool {
        let (a, b) = (self.inners[parent as usize][left].at, self.inners[parent as usize][left + 1].at);
        if self.inners[a as usize].len() + self.inners[b as usize].len() > FAN_OUT * MERGE_MAX / MERGE_OF {
            return false;
        }
        let mut moved = std::mem::take(&mut self.inners[b as usize]);
        // The first child's bound may be looser than that of its parent, which is where it stands now.
        moved[0].least = self.inners[parent as usize][left + 1].least.clone();
        self.inners[a as usize].append(&mut moved);
        self.free_inners.push(b);
        true
    }

    fn new_leaf(&mut self, leaf: Leaf) -> u32 {
        if let Some(at) = self.free_leaves.pop() {
            self.leaves[at as usize] = leaf;
            return at;
        }
        self.leaves.push(leaf);
        u32::try_from(self.leaves.len() - 1).expect("fewer than 2^32 leaves")
    }

    fn new_inner(&mut self, children: Vec<Child<W>>) -> u32 {
        if let Some(at) = self.free_inners.pop() {
            self.inners[at as usize] = children;
            return at;
        }
        self.inners.push(children);
        u32::try_from(self.inners.len() - 1).expect("fewer than 2^32 nodes")
    }
}

fn subtract<const W: usize>(totals: &mut Totals<W>, other: &Totals<W>) {
    totals.rows -= other.rows;
    totals.entries -= other.entries;
    for (sum, other) in totals.sums.iter_mut().zip(&other.sums) {
        *sum = sum.wrapping_sub(*other);
    }
}

#[cfg(test)]
mod tests;
