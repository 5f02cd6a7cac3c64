//! The groups of a chunk: which one each row belongs to, and the keys of each.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::identity::{Identities, RowKeys};
use crate::repr::{EncodedRows, RowBlock, RowCodec, hash_bytes};

/// Below so many rows numbers are not worth their making.
const FEW: usize = 16;

/// Groups rows by hash. The memory of the scratch table is kept from chunk to chunk.
pub(super) struct GroupFinder {
    codec: RowCodec,
    /// Below a join: how many of the keys, the first ones, are the join key, and their codec.
    join: Option<(usize, RowCodec)>,
    /// The number of a group + 1 by hash; 0 where there is none.
    places: Vec<u32>,
    /// (hash, first row) of each group.
    groups: Vec<(u64, u32)>,
    /// The group of each row.
    pub(super) of_row: Vec<u32>,
}

/// Hashes of keys, and the keys.
type HashedKeys = (Vec<u64>, RowBlock);

/// The keys of a chunk's groups.
pub(super) struct GroupKeys {
    keys: EncodedRows,
    join: Option<EncodedRows>,
    /// The hash of each group's key and which row of `keys` it is.
    groups: Vec<(u64, u32)>,
}

impl GroupKeys {
    /// The number of groups.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The hashes and the bytes of all groups' keys, and, below a join, those of their join keys.
    pub(super) fn all(&self) -> (HashedKeys, HashedKeys) {
        let keys = |rows: &EncodedRows| {
            let mut keys = RowBlock::with_capacity(self.len(), self.len() * rows.usual_len());
            // Groups are numbered in the order of their first rows: these may be all rows.
            match self.groups.last().is_none_or(|(_, row)| *row as usize + 1 == self.len()) {
                true => keys.extend(rows, self.len()),
                false => self.groups.iter().for_each(|(_, row)| keys.push(rows.get(*row as usize))),
            }
            keys
        };
        let join_keys = self.join.as_ref().map(keys).unwrap_or_default();
        let join_hashes = join_keys.iter().map(hash_bytes).collect();
        ((self.groups.iter().map(|(hash, _)| *hash).collect(), keys(&self.keys)), (join_hashes, join_keys))
    }

    /// The hash and the bytes of each group's key, and, below a join, those of its join key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8], Option<&[u8]>)> {
        let key = |(hash, row): &(u64, u32)| {
            let row = *row as usize;
            (*hash, self.keys.get(row), self.join.as_ref().map(|keys| keys.get(row)))
        };
        self.groups.iter().map(key)
    }
}

impl GroupFinder {
    /// A finder of groups whose keys have these types, of which below a join the first `join_keys` are the join key.
    pub(super) fn new(key_types: &[DataType], join_keys: Option<usize>) -> GroupFinder {
        let codec = |types: &[DataType]| RowCodec::new(types).unwrap_or_else(|error| panic!("{error}"));
        let join = join_keys.map(|count| (count, codec(&key_types[..count])));
        let (places, groups, of_row) = Default::default();
        GroupFinder { codec: codec(key_types), join, places, groups, of_row }
    }

    /// Finds the group of each row.
    pub(super) fn find(&mut self, keys: &[ArrayRef], rows: usize) -> GroupKeys {
        let identities = if rows < FEW { None } else { Identities::of(keys) };
        let Some(identities) = identities else {
            let (keys, join) = self.encode(keys);
            self.assign(&keys, rows);
            return GroupKeys { keys, join, groups: self.groups.clone() };
        };
        match identities {
            Identities::One(numbers) => self.assign(&numbers, rows),
            Identities::Two(numbers) => self.assign(&numbers, rows),
        }
        let (keys, join) = if self.groups.len() == rows { self.encode(keys) } else { self.encode(&self.firsts(keys)) };
        let hash = |row: u32| (hash_bytes(keys.get(row as usize)), row);
        let groups = (0..).take(self.groups.len()).map(hash).collect();
        GroupKeys { keys, join, groups }
    }

    /// The keys of the first row of each group.
    fn firsts(&self, keys: &[ArrayRef]) -> Vec<ArrayRef> {
        let rows = UInt32Array::from_iter_values(self.groups.iter().map(|(_, first)| *first));
        keys.iter().map(|column| take(column, &rows, None).expect("rows of the column")).collect()
    }

    fn encode(&self, keys: &[ArrayRef]) -> (EncodedRows, Option<EncodedRows>) {
        const TYPED: &str = "keys have their planned types";
        let join = self.join.as_ref().map(|(count, codec)| codec.encode(&keys[..*count]).expect(TYPED));
        (self.codec.encode(keys).expect(TYPED), join)
    }

    /// Runs of equal keys are recognised without hashing.
    fn assign<K: RowKeys>(&mut self, keys: &K, rows: usize) {
        self.groups.clear();
        self.of_row.clear();
        let wanted = (rows * 2).next_power_of_two().max(64);
        // Clearing costs less than an epoch beside each place, which would take twice the memory.
        self.places.clear();
        self.places.resize(wanted, 0);
        let mask = wanted - 1;
        let shift = 64 - wanted.trailing_zeros();
        let mut previous: Option<(K::Key<'_>, u32)> = None;
        for row in 0..rows {
            let key = keys.key(row);
            if let Some((last, group)) = previous
                && K::same(last, key)
            {
                self.of_row.push(group);
                continue;
            }
            let hash = K::hash(key);
            let mut position = (hash >> shift) as usize;
            let group = loop {
                let Some(group) = self.places[position].checked_sub(1) else {
                    self.groups.push((hash, row as u32));
                    self.places[position] = self.groups.len() as u32;
                    break self.groups.len() as u32 - 1;
                };
                let (known, first) = self.groups[group as usize];
                if known == hash && K::same(keys.key(first as usize), key) {
                    break group;
                }
                position = (position + 1) & mask;
            };
            self.of_row.push(group);
            previous = Some((key, group));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn rows_are_in_one_group_exactly_if_their_keys_are_equal() {
        let types = [DataType::Int64, DataType::Utf8];
        let codec = RowCodec::new(&types).expect("types of keys");
        let join_codec = RowCodec::new(&types[..1]).expect("types of keys");
        let mut finder = GroupFinder::new(&types, Some(1));
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (rows, longest, null) = (random.random_range(1..300), [7, 9][seed as usize % 2], seed % 3 == 0);
            let some = |random: &mut ChaCha8Rng| !null || random.random_bool(0.8);
            let numbers: Int64Array =
                (0..rows).map(|_| some(&mut random).then(|| random.random_range(-4..4))).collect();
            let texts: StringArray =
                (0..rows).map(|_| some(&mut random).then(|| "é".repeat(random.random_range(0..longest) / 2))).collect();
            let keys: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
            let groups = finder.find(&keys, rows);
            let groups: Vec<_> = groups.iter().collect();
            let (encoded, joined) = (codec.encode(&keys).unwrap(), join_codec.encode(&keys[..1]).unwrap());
            for row in 0..rows {
                let (hash, key, join_key) = groups[finder.of_row[row] as usize];
                assert_eq!((hash, key), (hash_bytes(encoded.get(row)), encoded.get(row)), "seed {seed}");
                assert_eq!(join_key, Some(joined.get(row)), "seed {seed}");
            }
            let different: std::collections::HashSet<&[u8]> = (0..rows).map(|row| encoded.get(row)).collect();
            assert_eq!(groups.len(), different.len(), "seed {seed}");
        }
    }
}
