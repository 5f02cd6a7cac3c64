//! Ordered keys that know their ranks: leaves of keys in blocks of leaves, each with its number of keys.
//!
//! Three levels are enough for millions: a change moves half a leaf, rarely half a block, and a rank is found by adding
//! up the blocks, then the leaves of one.

/// Keys of a leaf, and leaves of a block.
const LEAF: usize = 128;
const BLOCK: usize = 128;

struct Block<K> {
    /// What leads to a leaf: not above its first key.
    firsts: Vec<K>,
    leaves: Vec<Vec<K>>,
    len: usize,
}

/// Different keys in order.
pub(super) struct Ranked<K> {
    firsts: Vec<K>,
    blocks: Vec<Block<K>>,
    len: usize,
}

impl<K: Copy + Ord> Ranked<K> {
    pub(super) fn new() -> Ranked<K> {
        Ranked { firsts: Vec::new(), blocks: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The block and the leaf that a key belongs into.
    #[inline]
    fn place(&self, key: &K) -> (usize, usize) {
        let block = self.firsts.partition_point(|first| first <= key).saturating_sub(1);
        let leaf = self.blocks[block].firsts.partition_point(|first| first <= key).saturating_sub(1);
        (block, leaf)
    }

    pub(super) fn insert(&mut self, key: K) {
        self.len += 1;
        if self.blocks.is_empty() {
            self.firsts.push(key);
            self.blocks.push(Block { firsts: vec![key], leaves: vec![vec![key]], len: 1 });
            return;
        }
        let (at, leaf) = self.place(&key);
        let block = &mut self.blocks[at];
        block.len += 1;
        let keys = &mut block.leaves[leaf];
        keys.insert(keys.partition_point(|other| *other < key), key);
        if keys.len() <= LEAF {
            return;
        }
        let right = keys.split_off(LEAF / 2);
        block.firsts.insert(leaf + 1, right[0]);
        block.leaves.insert(leaf + 1, right);
        if block.leaves.len() <= BLOCK {
            return;
        }
        let (firsts, leaves) = (block.firsts.split_off(BLOCK / 2), block.leaves.split_off(BLOCK / 2));
        let len = leaves.iter().map(Vec::len).sum();
        block.len -= len;
        self.firsts.insert(at + 1, firsts[0]);
        self.blocks.insert(at + 1, Block { firsts, leaves, len });
    }

    pub(super) fn remove(&mut self, key: K) {
        let (at, leaf) = self.place(&key);
        let block = &mut self.blocks[at];
        let place = block.leaves[leaf].binary_search(&key).expect("only what is there is removed");
        block.leaves[leaf].remove(place);
        block.len -= 1;
        self.len -= 1;
        if block.leaves[leaf].is_empty() {
            block.leaves.remove(leaf);
            block.firsts.remove(leaf);
        }
        if block.leaves.is_empty() {
            self.blocks.remove(at);
            self.firsts.remove(at);
        }
    }

    /// The key with so many before it.
    pub(super) fn select(&self, mut rank: usize) -> Option<K> {
        let block = self.blocks.iter().find(|block| {
            let here = rank < block.len;
            rank -= if here { 0 } else { block.len };
            here
        })?;
        let leaf = block.leaves.iter().find(|leaf| {
            let here = rank < leaf.len();
            rank -= if here { 0 } else { leaf.len() };
            here
        })?;
        leaf.get(rank).copied()
    }

    /// Every key from `from` on, before `end` if there is an end.
    pub(super) fn walk(&self, from: K, end: Option<K>, mut take: impl FnMut(K)) {
        if self.blocks.is_empty() {
            return;
        }
        let (block, leaf) = self.place(&from);
        let leaves = self.blocks[block].leaves[leaf..].iter();
        for keys in leaves.chain(self.blocks[block + 1..].iter().flat_map(|block| &block.leaves)) {
            for key in &keys[keys.partition_point(|key| *key < from)..] {
                if end.is_some_and(|end| *key >= end) {
                    return;
                }
                take(*key);
            }
        }
    }
}
