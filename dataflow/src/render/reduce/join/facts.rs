//! Facts added up per (join key, group), listed by join key.

use crate::figures::Held;
use crate::render::reduce::layout::Layout;
use crate::render::reduce::partial::PartialGroups;
use crate::render::reduce::records::Records;
use crate::render::reduce::slots::Merge;
use crate::state::{Chunked, KeyTable};

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    /// The slot of the join key.
    key: u32,
    next: u32,
    previous: u32,
}

/// The table.
pub(super) struct Facts {
    /// Join keys, and the first entry of each.
    keys: KeyTable,
    heads: Chunked<u32>,
    /// Slots by join key and group, back to back.
    entries: Records,
    links: Chunked<Link>,
    merges: Vec<Merge>,
}

impl Facts {
    pub(super) fn new(layout: &Layout) -> Facts {
        Facts {
            keys: KeyTable::default(),
            heads: Chunked::default(),
            entries: Records::new(&layout.key_types, layout.slots),
            links: Chunked::default(),
            merges: layout.merges.clone(),
        }
    }

    /// Brings entries into the cache.
    pub(super) fn warm(&self, hashes: &[u64]) {
        hashes.iter().for_each(|hash| self.entries.warm_index(*hash));
        hashes.iter().for_each(|hash| self.entries.warm(*hash));
    }

    /// Adds group `index` of a block of partial answers.
    pub(super) fn add(&mut self, partial: &PartialGroups, index: usize) {
        let (entry, inserted) = self.entries.find_or_insert(partial.hashes[index], partial.keys.get(index));
        if inserted {
            self.link(entry, partial.join_hashes[index], partial.join_keys.get(index));
        }
        let slots = self.entries.get_mut(entry);
        let width = slots.len();
        let news = &partial.slots[index * width..(index + 1) * width];
        self.merges.iter().for_each(|merge| merge.add(slots, news));
        if slots.iter().all(|slot| *slot == 0) {
            self.unlink(entry);
        }
    }

    /// Calls `visit` with (group, slots) of every entry of a join key.
    pub(super) fn for_each(&self, hash: u64, key: &[u8], mut visit: impl FnMut(&[u8], &[i64])) {
        let Some(slot) = self.keys.find(hash, key) else { return };
        let mut at = self.heads[slot];
        while at != NONE {
            // The encoding of a row is its columns' encodings in order, so the group follows the key.
            visit(&self.entries.key(at)[key.len()..], self.entries.get(at));
            at = self.links[at].next;
        }
    }

    /// What it holds: entries are the records.
    pub(super) fn held(&self) -> Held {
        let keys = self.keys.bytes() + self.heads.bytes();
        self.entries.held().and_bytes(keys + self.links.bytes())
    }

    fn link(&mut self, entry: u32, hash: u64, key: &[u8]) {
        let (slot, inserted) = self.keys.find_or_insert(hash, key);
        if inserted {
            self.heads.grow_to(self.keys.slots(), || NONE);
            self.heads[slot] = NONE;
        }
        self.entries.get_mut(entry).fill(0);
        let head = self.heads[slot];
        self.links.grow_to(self.entries.len(), || Link { key: 0, next: NONE, previous: NONE });
        self.links[entry] = Link { key: slot, next: head, previous: NONE };
        if head != NONE {
            self.links[head].previous = entry;
        }
        self.heads[slot] = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let Link { key, next, previous } = self.links[entry];
        if previous == NONE {
            self.heads[key] = next
        } else {
            self.links[previous].next = next
        }
        if next != NONE {
            self.links[next].previous = previous;
        }
        self.entries.remove(entry);
        if self.heads[key] == NONE {
            self.keys.remove(key);
        }
    }
}
