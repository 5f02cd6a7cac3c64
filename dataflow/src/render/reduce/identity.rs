//! Which rows of a chunk have equal keys. Short keys are numbers for that, which cost less than bytes to make, hash and
//! compare; what leaves a chunk are bytes all the same, but of one row a group.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;

use super::values::integers;
use crate::repr::{EncodedRows, hash_bytes, same_bytes};
use crate::state::mix;

/// Keys of the rows of one chunk.
pub(super) trait RowKeys {
    /// What tells the hash of a row and whether it is equal to another row.
    type Key<'a>: Copy
    where
        Self: 'a;
    fn key(&self, row: usize) -> Self::Key<'_>;
    fn hash(key: Self::Key<'_>) -> u64;
    fn same(a: Self::Key<'_>, b: Self::Key<'_>) -> bool;
}

impl RowKeys for EncodedRows {
    type Key<'a> = &'a [u8];

    #[inline]
    fn key(&self, row: usize) -> &[u8] {
        self.get(row)
    }

    #[inline]
    fn hash(key: &[u8]) -> u64 {
        hash_bytes(key)
    }

    #[inline]
    fn same(a: &[u8], b: &[u8]) -> bool {
        same_bytes(a, b)
    }
}

/// One number a row.
impl RowKeys for Vec<u64> {
    type Key<'a> = u64;

    #[inline]
    fn key(&self, row: usize) -> u64 {
        self[row]
    }

    #[inline]
    fn hash(key: u64) -> u64 {
        mix(key, 0)
    }

    #[inline]
    fn same(a: u64, b: u64) -> bool {
        a == b
    }
}

/// Two numbers a row.
impl RowKeys for Vec<(u64, u64)> {
    type Key<'a> = (u64, u64);

    #[inline]
    fn key(&self, row: usize) -> (u64, u64) {
        self[row]
    }

    #[inline]
    fn hash((first, second): (u64, u64)) -> u64 {
        mix(mix(first, 0), second)
    }

    #[inline]
    fn same(a: (u64, u64), b: (u64, u64)) -> bool {
        a == b
    }
}

/// Keys that are numbers.
pub(super) enum Identities {
    One(Vec<u64>),
    Two(Vec<(u64, u64)>),
}

impl Identities {
    /// `None` where keys are more than two columns, or other ones than integers, times and short texts, or NULL.
    pub(super) fn of(keys: &[ArrayRef]) -> Option<Identities> {
        match keys {
            [only] => Some(Identities::One(numbers(only)?)),
            [first, second] => Some(Identities::Two(numbers(first)?.into_iter().zip(numbers(second)?).collect())),
            _ => None,
        }
    }
}

/// Different numbers for different values.
fn numbers(values: &ArrayRef) -> Option<Vec<u64>> {
    match values.data_type() {
        _ if values.null_count() > 0 => None,
        DataType::Utf8 => texts(values.as_string()),
        _ => integers(values),
    }
}

/// Texts of at most seven bytes: these and the length.
fn texts(values: &StringArray) -> Option<Vec<u64>> {
    let bytes = values.value_data();
    let number = |bounds: &[i32]| {
        let (start, length) = (bounds[0] as usize, (bounds[1] - bounds[0]) as usize);
        let word = match bytes.get(start..start + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().expect("eight bytes")),
            None => bytes[start..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        (length < 8).then(|| word & !(u64::MAX << (8 * length)) | (length as u64) << 56)
    };
    values.value_offsets().windows(2).map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn ids(keys: &[ArrayRef]) -> Option<Vec<(u64, u64)>> {
        match Identities::of(keys)? {
            Identities::One(numbers) => Some(numbers.into_iter().map(|number| (number, 0)).collect()),
            Identities::Two(numbers) => Some(numbers),
        }
    }

    #[test]
    fn different_keys_have_different_numbers() {
        let texts = ["", "a", "b", "ab", "a\0", "\0", "\0a", "seven77", "seven78", "é", "aé", "zz"];
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values([-1, 0, 1, i64::MAX, i64::MIN]));
        for keys in [vec![texts.clone()], vec![times.clone()], vec![texts.slice(7, 5), times.clone()]] {
            let mut ids = ids(&keys).expect("short keys");
            let rows = ids.len();
            assert_eq!(rows, keys[0].len());
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), rows);
        }
        let same: ArrayRef = Arc::new(StringArray::from_iter_values(["x", "yy", "x", "yy"]));
        let ids = ids(&[same.clone(), same]).expect("short keys");
        assert_eq!((ids[0], ids[1]), (ids[2], ids[3]));
    }

    #[test]
    fn long_texts_nulls_and_many_columns_have_none() {
        let long: ArrayRef = Arc::new(StringArray::from_iter_values(["x", "eightby8"]));
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let short = nulls.slice(0, 1);
        assert!(ids(&[long]).is_none());
        assert!(ids(&[nulls]).is_none());
        assert!(ids(std::slice::from_ref(&short)).is_some());
        assert!(ids(&[short.clone(), short.clone(), short]).is_none());
    }
}
