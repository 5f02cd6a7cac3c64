//! Rows as bytes: the comparable, hashable form of keys and of whole rows inside state.
//!
//! The bytes are arrow-row's: `memcmp` orders them as the columns order, equal rows have equal bytes. They never leave
//! the process and are never stored.

use std::cmp::Ordering;
use std::hash::Hasher;

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, RowParser, Rows, SortField};
use prefetch_index::prefetch_index;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// One row's bytes, inline up to 24 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Row(SmallVec<[u8; 24]>);

impl Row {
    /// Copies `bytes`.
    #[inline]
    pub fn new(bytes: &[u8]) -> Row {
        Row(SmallVec::from_slice(bytes))
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Row {
    /// The memory that it takes besides its own place.
    pub(crate) fn bytes_beside(&self) -> usize {
        if self.0.spilled() { self.0.capacity() } else { 0 }
    }
}

impl PartialEq<Row> for [u8] {
    fn eq(&self, other: &Row) -> bool {
        self == other.bytes()
    }
}

/// Rows back to back: what crosses workers. One buffer and one offset a row, never an allocation a row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RowBlock {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl RowBlock {
    /// No rows yet, and room for so many of so many bytes together.
    pub fn with_capacity(rows: usize, bytes: usize) -> RowBlock {
        RowBlock { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    /// Appends a row. Panics beyond 4 GiB, which no chunk reaches.
    #[inline]
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a block stays far below 4 GiB"));
    }

    /// Appends the first `count` of encoded rows. Panics likewise.
    pub(crate) fn extend(&mut self, rows: &EncodedRows, count: usize) {
        let Encoded::Together(rows) = &rows.0 else {
            return (0..count).for_each(|index| self.push(rows.get(index)));
        };
        let ends = &rows.value_offsets()[1..=count];
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&rows.value_data()[..ends.last().map_or(0, |end| *end as usize)]);
        u32::try_from(self.bytes.len()).expect("a block stays far below 4 GiB");
        self.ends.extend(ends.iter().map(|end| before as u32 + *end as u32));
    }

    /// Row `index`. Panics if there is none.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// Brings what tells where row `index` is into the cache: call it some rows ahead.
    #[inline]
    pub(crate) fn warm_place(&self, index: usize) {
        prefetch_index(&self.ends, index);
    }

    /// Brings the beginning of row `index` into the cache: call it a few rows ahead, after [`RowBlock::warm_place`].
    #[inline]
    pub(crate) fn warm(&self, index: usize) {
        prefetch_index(&self.bytes, if index == 0 { 0 } else { self.ends[index - 1] as usize });
    }

    /// The number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No rows.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all rows.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Gives memory back beyond what so many rows with so many bytes need.
    pub(crate) fn shrink_to(&mut self, rows: usize, bytes: usize) {
        self.bytes.shrink_to(bytes);
        self.ends.shrink_to(rows);
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// The first sixteen bytes of a row as a number, zeros behind a shorter one: where two rows differ in it, it orders them.
#[inline]
pub(crate) fn prefix(row: &[u8]) -> u128 {
    if let Some(first) = row.first_chunk::<16>() {
        return u128::from_be_bytes(*first);
    }
    let mut first = [0; 16];
    first[..row.len()].copy_from_slice(row);
    u128::from_be_bytes(first)
}

/// How two rows sort, the same as by their bytes. Most differ in the first sixteen, which are compared as a number, without
/// a call.
#[inline]
pub(crate) fn order_rows(a: &[u8], b: &[u8]) -> Ordering {
    match (a.split_first_chunk::<16>(), b.split_first_chunk::<16>()) {
        (Some((a, a_rest)), Some((b, b_rest))) => {
            u128::from_be_bytes(*a).cmp(&u128::from_be_bytes(*b)).then_with(|| a_rest.cmp(b_rest))
        }
        _ => a.cmp(b),
    }
}

/// Encoded rows of one batch.
pub struct EncodedRows(Encoded);

enum Encoded {
    /// There are no columns: every row is empty.
    Empty,
    /// Rows back to back.
    Together(BinaryArray),
    /// What is beyond the offsets of these.
    Large(Rows),
}

impl EncodedRows {
    fn new(rows: Rows) -> EncodedRows {
        EncodedRows(match rows.size() <= i32::MAX as usize {
            true => Encoded::Together(rows.try_into_binary().expect("the bytes are fewer than all that the rows take")),
            false => Encoded::Large(rows),
        })
    }

    /// The bytes of row `index`. Panics if there is none.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        match &self.0 {
            Encoded::Together(rows) => rows.value(index),
            Encoded::Empty => &[],
            Encoded::Large(rows) => rows.row(index).data(),
        }
    }

    /// The length of the first row, as an estimate of that of others.
    pub(crate) fn usual_len(&self) -> usize {
        match &self.0 {
            Encoded::Together(rows) if !rows.is_empty() => rows.value(0).len(),
            Encoded::Large(rows) => rows.row_len(0),
            _ => 0,
        }
    }
}

/// Turns columns of fixed types into row bytes and back.
pub struct RowCodec {
    /// `None` when there are no columns.
    converter: Option<(RowConverter, RowParser)>,
}

impl RowCodec {
    /// A codec for columns of these types.
    ///
    /// # Errors
    /// A type that arrow-row does not support.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<RowCodec, ArrowError> {
        RowCodec::ordered(types.into_iter().map(|data_type| (data_type.clone(), SortOptions::default())))
    }

    /// A codec whose rows sort by each column as its options say.
    ///
    /// # Errors
    /// A type that arrow-row does not support.
    pub fn ordered(columns: impl IntoIterator<Item = (DataType, SortOptions)>) -> Result<RowCodec, ArrowError> {
        let fields: Vec<SortField> = columns.into_iter().map(|(t, o)| SortField::new_with_options(t, o)).collect();
        if fields.is_empty() {
            return Ok(RowCodec { converter: None });
        }
        let converter = RowConverter::new(fields)?;
        let parser = converter.parser();
        Ok(RowCodec { converter: Some((converter, parser)) })
    }

    /// Encodes the rows of `columns`.
    ///
    /// # Errors
    /// Columns of other types than the codec's.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedRows, ArrowError> {
        match &self.converter {
            Some((converter, _)) => Ok(EncodedRows::new(converter.convert_columns(columns)?)),
            None => Ok(EncodedRows(Encoded::Empty)),
        }
    }

    /// Decodes rows that this codec, or one for the same types, encoded.
    ///
    /// # Errors
    /// Bytes that are no row of these types.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, ArrowError> {
        match &self.converter {
            Some((converter, parser)) => converter.convert_rows(rows.into_iter().map(|bytes| parser.parse(bytes))),
            None => Ok(Vec::new()),
        }
    }
}

/// Whether two keys are equal. Most keys are a few numbers or short texts: for those, no call is made.
#[inline]
pub fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let pair = |bytes: &[u8], at: usize| u128::from_le_bytes(bytes[at..at + 16].try_into().expect("sixteen bytes"));
    match a.len() {
        length if length != b.len() => false,
        length @ 8..=16 => word(a, 0) == word(b, 0) && word(a, length - 8) == word(b, length - 8),
        length @ 17..=32 => pair(a, 0) == pair(b, 0) && pair(a, length - 16) == pair(b, length - 16),
        _ => a == b,
    }
}

/// The hash by which rows find their worker and their place in tables. The same in every process.
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hasher = foldhash::fast::FoldHasher::with_seed(SEED, foldhash::SharedSeed::global_fixed());
    hasher.write(bytes);
    hasher.finish()
}

/// The worker, of `peers`, that owns what hashes to `hash`. Uses other bits than tables use for places.
#[inline]
pub fn owner(hash: u64, peers: usize) -> usize {
    ((hash & 0xffff_ffff) as usize * peers) >> 32
}

/// Whether any column of row `index` is NULL.
pub fn any_null(columns: &[ArrayRef], index: usize) -> bool {
    // A column of the type NULL has no bits that say so.
    columns.iter().any(|column| column.is_null(index) || *column.data_type() == DataType::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_their_bytes() {
        let bytes = [0, 1, 127, 128, 255];
        let mut rows: Vec<Vec<u8>> = vec![Vec::new()];
        for length in [1, 8, 15, 16, 17, 24, 40] {
            for (place, byte) in (0..length).step_by(7).chain([length - 1]).zip(bytes.iter().cycle()) {
                let mut row = vec![9; length];
                row[place] = *byte;
                rows.push(row);
            }
        }
        for (a, b) in rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b))) {
            assert_eq!(order_rows(a, b), a.cmp(b), "{a:?} beside {b:?}");
            if prefix(a) != prefix(b) {
                assert_eq!(prefix(a).cmp(&prefix(b)), a.cmp(b), "{a:?} beside {b:?}");
            }
        }
    }
}
