//! Rows in order, with counts and sums below every subtree: what order-based operators remember of one partition.
//!
//! A B+ tree: leaves of up to [`LEAF`] entries hold the rows, inner nodes hold the [`Totals`] of what is below each child, so
//! that the place of a row, the row at a place, and sums over everything before a row cost one descent. Copies of a row are a
//! count. Deleting leaves nodes underfull until a neighbour can take what is left (R. Bayer and E. McCreight, "Organization
//! and Maintenance of Large Ordered Indexes", Acta Informatica 1972, with counts as in Knuth, TAOCP 3, 6.2.3).
//!
//! Most partitions are small: the first leaf is part of the tree itself, and there is nothing else until it splits.

mod cursor;
mod node;

use prefetch_index::prefetch_index;
use smallvec::SmallVec;

use super::sampled;
pub(crate) use cursor::Cursor;
use node::{Node, common_prefix};

/// The most entries of a leaf.
const LEAF: usize = 64;
/// The most children of an inner node.
const FAN_OUT: usize = 32;
/// Children hold at most this when neighbours are put together, so that neither splits again at once.
const MERGE_MAX: usize = 3;
const MERGE_OF: usize = 4;

/// One different row: bytes that order it (`memcmp`), and what is kept beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    bytes: &'a [u8],
    /// How many of the bytes order the row.
    key: usize,
    copies: i64,
}

impl<'a> Entry<'a> {
    /// The bytes that order the entry.
    #[inline]
    pub(crate) fn key(&self) -> &'a [u8] {
        &self.bytes[..self.key]
    }

    /// What is kept beside the key. It is the same for equal keys.
    #[inline]
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[self.key..]
    }

    /// How many copies there are.
    #[inline]
    pub(crate) fn copies(&self) -> i64 {
        self.copies
    }
}

/// What a subtree adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Totals<const W: usize> {
    /// Rows, copies counted.
    rows: i64,
    /// Sums over all rows, copies counted, modulo 2^128.
    sums: [i128; W],
}

impl<const W: usize> Default for Totals<W> {
    fn default() -> Self {
        Totals { rows: 0, sums: [0; W] }
    }
}

impl<const W: usize> Totals<W> {
    #[inline]
    fn merge(&mut self, other: &Totals<W>) {
        self.rows += other.rows;
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.wrapping_add(*other);
        }
    }

    #[inline]
    fn subtract(&mut self, other: &Totals<W>) {
        self.rows -= other.rows;
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.wrapping_sub(*other);
        }
    }

    /// Adds `copies` of a row that weighs `weights`.
    #[inline]
    fn add(&mut self, weights: &[i128; W], copies: i64) {
        self.rows += copies;
        add_weights(&mut self.sums, weights, copies);
    }
}

/// Adds the weights of `copies` rows to sums, modulo 2^128.
#[inline]
pub(crate) fn add_weights<const W: usize>(sums: &mut [i128; W], weights: &[i128; W], copies: i64) {
    for (sum, weight) in sums.iter_mut().zip(weights) {
        let weight = if copies == 1 { *weight } else { weight.wrapping_mul(i128::from(copies)) };
        *sum = sum.wrapping_add(weight);
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

/// Steps on the way to the last rows: each looks at what the one before brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warm {
    /// What there is beside the first leaf.
    Nodes,
    /// The last leaf and the root.
    Leaf,
    /// Where their strings are.
    Slots,
    /// The last of those.
    Strings,
}

const NONE: u32 = u32::MAX;
const BELOW_NONE: &str = "a row is taken away no more often than it was added";

#[derive(Debug)]
struct Leaf {
    /// Each entry with its copies.
    entries: Node<i64>,
    next: u32,
    previous: u32,
}

impl Default for Leaf {
    fn default() -> Self {
        Leaf { entries: Node::default(), next: NONE, previous: NONE }
    }
}

impl Leaf {
    /// What its entries add up to.
    fn totals<const W: usize>(&self, weigh: &impl Weigh<W>) -> Totals<W> {
        let mut totals = Totals::default();
        for (index, slot) in self.entries.slots.iter().enumerate() {
            let (key, bytes) = self.entries.string(index);
            totals.add(&weigh.weigh(&bytes[key..]), slot.value);
        }
        totals
    }
}

/// A child of an inner node. Its key in the node: nothing below it sorts before that, except below the first child.
#[derive(Debug)]
struct Child<const W: usize> {
    totals: Totals<W>,
    at: u32,
}

impl<const W: usize> Child<W> {
    #[inline]
    fn rows(&self) -> i64 {
        self.totals.rows
    }
}

/// Everything beside the first leaf.
#[derive(Debug)]
struct Nodes<const W: usize> {
    /// Leaf `n + 1` is in place `n`.
    leaves: Vec<Leaf>,
    inners: Vec<Node<Child<W>>>,
    /// The leaf that ends everything.
    last: u32,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    /// The inner node that everything is below.
    root: u32,
    /// Levels of inner nodes, at least 1.
    depth: usize,
}

impl<const W: usize> Nodes<W> {
    fn new_leaf(&mut self, leaf: Leaf) -> u32 {
        if let Some(at) = self.free_leaves.pop() {
            self.leaves[at as usize - 1] = leaf;
            return at;
        }
        self.leaves.push(leaf);
        u32::try_from(self.leaves.len()).expect("fewer than 2^32 leaves")
    }

    /// Goes down a level.
    #[inline]
    fn down(&self, way: &mut Way, key: &[u8]) {
        let children = &self.inners[way.leaf as usize];
        // A child that begins with the very key is the one.
        let child = children.find(key).unwrap_or_else(|behind| behind.saturating_sub(1));
        way.path.push((way.leaf, u32::try_from(child).expect("a node is small")));
        way.leaf = children.slots[child].value.at;
    }

    fn new_inner(&mut self, children: Node<Child<W>>) -> u32 {
        if let Some(at) = self.free_inners.pop() {
            self.inners[at as usize] = children;
            return at;
        }
        self.inners.push(children);
        u32::try_from(self.inners.len() - 1).expect("fewer than 2^32 nodes")
    }
}

/// Rows in order.
#[derive(Debug)]
pub(crate) struct Ordered<const W: usize> {
    /// The leaf that begins: number 0, whatever happens to others.
    first: Leaf,
    nodes: Option<Box<Nodes<W>>>,
    /// How often nodes may have been split or put together.
    restructured: u32,
    totals: Totals<W>,
}

/// The inner nodes from the root to a leaf, and the child taken in each.
type Path = SmallVec<[(u32, u32); 6]>;

/// The way to where a row stands or would stand. It is sought anew if nodes have been split or put together.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    path: Path,
    leaf: u32,
    /// What [`Ordered::restructured`] was.
    restructured: u32,
}

/// As many rows are sought together: the memory on their ways is waited for once.
pub(crate) const TOGETHER: usize = 8;
/// Levels of inner nodes from which on that pays: with fewer a tree is in the cache.
const DEEP: usize = 2;

impl<const W: usize> Default for Ordered<W> {
    fn default() -> Self {
        Ordered { first: Leaf::default(), nodes: None, restructured: 0, totals: Totals::default() }
    }
}

impl<const W: usize> Ordered<W> {
    /// How many rows there are, copies counted.
    #[inline]
    pub(crate) fn rows(&self) -> i64 {
        self.totals.rows
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.totals.rows == 0
    }

    /// About how much memory lies behind it.
    pub(crate) fn bytes_held(&self) -> usize {
        let beside = self.nodes.as_ref().map_or(0, |nodes| {
            let leaf = |at: u32| size_of::<Leaf>() + nodes.leaves[at as usize].entries.bytes_held();
            let inner = |at: u32| size_of::<Node<Child<W>>>() + nodes.inners[at as usize].bytes_held();
            sampled(nodes.leaves.len(), leaf) + sampled(nodes.inners.len(), inner)
        });
        self.first.entries.bytes_held() + beside
    }

    /// Brings the way to the last rows, near which most rows come, and those themselves into the cache: a call for each step,
    /// some time after the one before.
    #[inline]
    pub(crate) fn warm(&self, step: Warm) {
        let Some(nodes) = &self.nodes else {
            match step {
                Warm::Nodes | Warm::Leaf => {}
                Warm::Slots => self.first.entries.warm_slots(),
                Warm::Strings => self.first.entries.warm_strings(),
            }
            return;
        };
        match step {
            Warm::Nodes => prefetch_index(std::slice::from_ref(&**nodes), 0),
            Warm::Leaf => {
                prefetch_index(&nodes.leaves, (nodes.last as usize).saturating_sub(1));
                prefetch_index(&nodes.inners, nodes.root as usize);
            }
            Warm::Slots => {
                self.leaf(nodes.last).entries.warm_slots();
                nodes.inners[nodes.root as usize].warm_slots();
            }
            Warm::Strings => {
                self.leaf(nodes.last).entries.warm_strings();
                nodes.inners[nodes.root as usize].warm_strings();
            }
        }
    }

    #[inline]
    fn leaf(&self, at: u32) -> &Leaf {
        match (at, &self.nodes) {
            (1.., Some(nodes)) => &nodes.leaves[at as usize - 1],
            _ => &self.first,
        }
    }

    fn leaf_mut(&mut self, at: u32) -> &mut Leaf {
        match (at, &mut self.nodes) {
            (1.., Some(nodes)) => &mut nodes.leaves[at as usize - 1],
            _ => &mut self.first,
        }
    }

    /// Changes the number of copies of a row: `bytes` are its key, the first `key` of them, and its payload.
    ///
    /// Panics if there would be less than none: a complete time never asks for that.
    pub(crate) fn add(&mut self, bytes: &[u8], key: usize, copies: i64, weigh: &impl Weigh<W>) {
        let way = self.way(&bytes[..key]);
        self.change::<false>(way, (bytes, key), copies, weigh).expect(BELOW_NONE);
    }

    /// The same, but nothing happens and it returns false if there would be less than none.
    pub(crate) fn try_add(&mut self, bytes: &[u8], key: usize, copies: i64, weigh: &impl Weigh<W>) -> bool {
        let way = self.way(&bytes[..key]);
        self.change::<false>(way, (bytes, key), copies, weigh).is_some()
    }

    /// The same of a row the way to which is known; returns how many copies there were, and how many rows stand before.
    pub(crate) fn add_placed(
        &mut self,
        way: Way,
        (bytes, key): (&[u8], usize),
        copies: i64,
        weigh: &impl Weigh<W>,
    ) -> (i64, i64) {
        let way = if way.restructured == self.restructured { way } else { self.way(&bytes[..key]) };
        self.change::<true>(way, (bytes, key), copies, weigh).expect(BELOW_NONE)
    }

    /// The ways to the rows with these keys, about [`TOGETHER`] of them. What is on the ways comes into the cache.
    pub(crate) fn ways<'a>(&self, keys: impl Iterator<Item = &'a [u8]> + Clone) -> SmallVec<[Way; TOGETHER]> {
        let Some(nodes) = self.nodes.as_ref().filter(|nodes| nodes.depth >= DEEP) else {
            return keys.map(|key| self.way(key)).collect();
        };
        let mut ways: SmallVec<[Way; TOGETHER]> = keys.clone().map(|_| self.root()).collect();
        // All go down a level at a time, each step looking at what the one before has brought.
        for _ in 0..nodes.depth {
            ways.iter().for_each(|way| prefetch_index(&nodes.inners, way.leaf as usize));
            ways.iter().for_each(|way| nodes.inners[way.leaf as usize].warm_heads());
            ways.iter_mut().zip(keys.clone()).for_each(|(way, key)| nodes.down(way, key));
        }
        ways.iter().for_each(|way| prefetch_index(&nodes.leaves, (way.leaf as usize).saturating_sub(1)));
        ways.iter().for_each(|way| self.leaf(way.leaf).entries.warm_heads());
        ways.iter().zip(keys).for_each(|(way, key)| self.leaf(way.leaf).entries.warm_place(key));
        ways
    }

    /// `None` if there would be less than none. The second answer is right only if it is `PLACED`.
    fn change<const PLACED: bool>(
        &mut self,
        Way { path, leaf, .. }: Way,
        (bytes, key): (&[u8], usize),
        copies: i64,
        weigh: &impl Weigh<W>,
    ) -> Option<(i64, i64)> {
        let (mut rows, all) = if PLACED { self.rows_around(&path) } else { (0, 0) };
        let entries = &mut self.leaf_mut(leaf).entries;
        let (place, known) = match entries.find(&bytes[..key]) {
            Ok(place) => (place, true),
            Err(place) => (place, false),
        };
        if PLACED {
            rows += entries.sum_before(place, all, |copies| *copies);
        }
        let before = if known { entries.slots[place].value } else { 0 };
        let after = before + copies;
        if after < 0 {
            return None;
        }
        match (known, after) {
            (true, 0) => drop(entries.remove(place)),
            (true, _) => entries.slots[place].value = after,
            (false, 0) => return Some((0, rows)),
            (false, _) => entries.insert(place, bytes, key, after),
        }
        let len = entries.len();
        let weights = weigh.weigh(&bytes[key..]);
        self.totals.add(&weights, copies);
        if let Some(nodes) = &mut self.nodes {
            for (inner, child) in &path {
                nodes.inners[*inner as usize].slots[*child as usize].value.totals.add(&weights, copies);
            }
        }
        if len > LEAF {
            self.restructured = self.restructured.wrapping_add(1);
            self.split(path, leaf, place + 1 == len, weigh);
        } else if after == 0 && len < LEAF / 4 && self.nodes.is_some() {
            self.restructured = self.restructured.wrapping_add(1);
            self.shrink(&path);
        }
        Some((before, rows))
    }

    /// The rows before the leaf at the end of `path`, and those of the leaf.
    fn rows_around(&self, path: &Path) -> (i64, i64) {
        let (mut before, mut all) = (0, self.totals.rows);
        if let Some(nodes) = &self.nodes {
            for (inner, child) in path {
                let children = &nodes.inners[*inner as usize];
                before += children.sum_before(*child as usize, all, Child::rows);
                all = children.slots[*child as usize].value.rows();
            }
        }
        (before, all)
    }

    fn way(&self, key: &[u8]) -> Way {
        let mut way = self.root();
        if let Some(nodes) = &self.nodes {
            (0..nodes.depth).for_each(|_| nodes.down(&mut way, key));
        }
        way
    }

    /// The beginning of a way: as long as it leads on, its leaf is the inner node that it has come to.
    fn root(&self) -> Way {
        let leaf = self.nodes.as_ref().map_or(0, |nodes| nodes.root);
        Way { path: Path::new(), leaf, restructured: self.restructured }
    }

    /// Splits a leaf that is too full; `at_end` if it grew at its end: then what comes next probably does too.
    fn split(&mut self, mut path: Path, leaf: u32, at_end: bool, weigh: &impl Weigh<W>) {
        let keep = if at_end { LEAF * 7 / 8 } else { LEAF / 2 };
        let left = self.leaf_mut(leaf);
        let (next, mut first) = (left.next, left.entries.key(0).to_vec());
        let right = Leaf { entries: left.entries.split_off(keep, at_end), next, previous: leaf };
        let mut totals = right.totals(weigh);
        // As short as tells both sides apart.
        let (end, beginning) = (left.entries.key(keep - 1), right.entries.key(0));
        let mut least = beginning[..common_prefix(end, beginning) + 1].to_vec();
        let all = self.totals;
        let nodes = self.nodes.get_or_insert_with(|| {
            let mut root = Node::default();
            root.insert(0, &first, first.len(), Child { totals: all, at: 0 });
            let (leaves, free_leaves, free_inners) = Default::default();
            Box::new(Nodes { leaves, inners: vec![root], last: 0, free_leaves, free_inners, root: 0, depth: 1 })
        });
        if path.is_empty() {
            path.push((nodes.root, 0));
        }
        let mut at = nodes.new_leaf(right);
        self.leaf_mut(leaf).next = at;
        if next != NONE {
            self.leaf_mut(next).previous = at;
        }
        let nodes = self.nodes.as_mut().expect("there are several leaves");
        if next == NONE {
            nodes.last = at;
        }
        while let Some((inner, child)) = path.pop() {
            let children = &mut nodes.inners[inner as usize];
            children.slots[child as usize].value.totals.subtract(&totals);
            if child == 0 && least.as_slice() <= children.key(0) {
                // What is below the first child may sort before its key, but keys stay in order.
                let only = children.remove(0);
                children.insert(0, &first, first.len(), only);
            }
            children.insert(child as usize + 1, &least, least.len(), Child { totals, at });
            if children.len() <= FAN_OUT {
                return;
            }
            let right = children.split_off(FAN_OUT / 2, false);
            totals = Totals::default();
            right.slots.iter().for_each(|child| totals.merge(&child.value.totals));
            (first, least) = (children.key(0).to_vec(), right.key(0).to_vec());
            at = nodes.new_inner(right);
        }
        let mut left = all;
        left.subtract(&totals);
        let mut root = Node::default();
        root.insert(0, &first, first.len(), Child { totals: left, at: nodes.root });
        root.insert(1, &least, least.len(), Child { totals, at });
        nodes.root = nodes.new_inner(root);
        nodes.depth += 1;
    }

    /// Puts a leaf that has become small together with a neighbour, and so upwards.
    fn shrink(&mut self, path: &Path) {
        for level in (0..path.len()).rev() {
            let (inner, child) = path[level];
            let children = &self.nodes.as_ref().expect("there is a path").inners[inner as usize];
            if children.len() < 2 {
                break;
            }
            let left = if child as usize + 1 < children.len() { child as usize } else { child as usize - 1 };
            let (a, b) = (children.slots[left].value.at, children.slots[left + 1].value.at);
            let merged = if level + 1 == path.len() { self.merge_leaves(a, b) } else { self.merge_inners(inner, left) };
            if !merged {
                break;
            }
            let nodes = self.nodes.as_mut().expect("there is a path");
            let children = &mut nodes.inners[inner as usize];
            let gone = children.remove(left + 1);
            children.slots[left].value.totals.merge(&gone.totals);
            if children.len() >= FAN_OUT / 4 {
                break;
            }
        }
        let Some(nodes) = &mut self.nodes else { return };
        while nodes.depth > 0 && nodes.inners[nodes.root as usize].len() == 1 {
            let old = nodes.root;
            nodes.root = nodes.inners[old as usize].slots[0].value.at;
            nodes.inners[old as usize] = Node::default();
            nodes.free_inners.push(old);
            nodes.depth -= 1;
        }
        if nodes.depth == 0 {
            // One leaf is left, and it is the first: of two the left one stays.
            self.nodes = None;
        }
    }

    fn merge_leaves(&mut self, a: u32, b: u32) -> bool {
        let (left, right) = (self.leaf(a).entries.len(), self.leaf(b).entries.len());
        if left + right > LEAF * MERGE_MAX / MERGE_OF && left > 0 && right > 0 {
            return false;
        }
        let Leaf { entries, next, .. } = std::mem::take(self.leaf_mut(b));
        let kept = self.leaf_mut(a);
        kept.entries.append(entries);
        kept.next = next;
        if next != NONE {
            self.leaf_mut(next).previous = a;
        }
        let nodes = self.nodes.as_mut().expect("there are two leaves");
        nodes.free_leaves.push(b);
        if next == NONE {
            nodes.last = a;
        }
        true
    }

    fn merge_inners(&mut self, parent: u32, left: usize) -> bool {
        let nodes = self.nodes.as_mut().expect("there are inner nodes");
        let children = &nodes.inners[parent as usize];
        let (a, b) = (children.slots[left].value.at, children.slots[left + 1].value.at);
        if nodes.inners[a as usize].len() + nodes.inners[b as usize].len() > FAN_OUT * MERGE_MAX / MERGE_OF {
            return false;
        }
        // The first child's key may be looser than that in the parent, which holds where it stands now.
        let least = children.key(left + 1).to_vec();
        let mut moved = std::mem::take(&mut nodes.inners[b as usize]);
        let first = moved.remove(0);
        moved.insert(0, &least, least.len(), first);
        nodes.inners[a as usize].append(moved);
        nodes.free_inners.push(b);
        true
    }
}

#[cfg(test)]
mod tests;
