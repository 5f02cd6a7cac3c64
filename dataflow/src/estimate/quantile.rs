//! Floats in buckets that are narrow beside what is in them: the value in any place of their order within one in a hundred.
//!
//! Few different values are counted each; beyond, those that agree in sign, exponent and the first six bits behind the point
//! are counted together (the idea is DDSketch's: C. Masson, J. E. Rim, H. K. Lee, PVLDB 12(12), 2019; bits instead of a
//! logarithm make buckets the same on every machine). A bucket is at most 1/64 as wide as its least value, and answers with
//! its middle.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use crate::quantile::Quantile;
use crate::repr::values::{code_float, codes, from_codes};

/// How many different values are counted each.
const FEW_MAX: usize = 1_024;
/// What a code has besides sign, exponent and six bits.
const REST: u32 = 52 - 6;

/// Floats by their codes (`values::float_code`), in order.
#[derive(Debug, Default, PartialEq)]
pub struct QuantileEstimate {
    count: i64,
    /// Whether what is counted is buckets, else values.
    coarse: bool,
    counts: Vec<(u64, i64)>,
    least: u64,
    greatest: u64,
}

impl QuantileEstimate {
    /// Adds `copies`, at least one, of a value.
    pub(crate) fn add(&mut self, code: u64, copies: i64) {
        if self.count == 0 {
            (self.least, self.greatest) = (code, code);
        }
        self.count += copies;
        (self.least, self.greatest) = (self.least.min(code), self.greatest.max(code));
        let counted = if self.coarse { code >> REST } else { code };
        match self.counts.binary_search_by_key(&counted, |(counted, _)| *counted) {
            Ok(place) => self.counts[place].1 += copies,
            Err(place) => self.counts.insert(place, (counted, copies)),
        }
        if self.counts.len() > FEW_MAX {
            self.coarsen();
        }
    }

    /// Counts buckets from now on.
    fn coarsen(&mut self) {
        if std::mem::replace(&mut self.coarse, true) {
            return;
        }
        self.counts.iter_mut().for_each(|(code, _)| *code >>= REST);
        self.counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
    }

    /// Adds the values of a column of floats that are not NULL.
    ///
    /// Panics on a column of another type.
    pub fn add_column(&mut self, column: &ArrayRef) {
        let codes = codes(column);
        (0..column.len()).filter(|row| column.is_valid(*row)).for_each(|row| self.add(codes[row] as u64, 1));
    }

    /// The answer, as a column of one float.
    pub fn answer(&self, quantile: &Quantile, data_type: &DataType) -> ArrayRef {
        from_codes(&[self.code(quantile, data_type)], data_type)
    }

    /// The code of the answer, unless there are no values.
    pub(crate) fn code(&self, quantile: &Quantile, data_type: &DataType) -> Option<i128> {
        quantile.answer(self.count, data_type, |place| self.at(place).into())
    }

    /// The estimate as bytes, for [`QuantileEstimate::merge`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = [u64::from(self.coarse), self.least, self.greatest];
        let counts = self.counts.iter().flat_map(|(counted, copies)| [*counted, copies.cast_unsigned()]);
        head.into_iter().chain(counts).flat_map(u64::to_le_bytes).collect()
    }

    /// Adds all values of another estimate; `false` if the bytes are none.
    pub fn merge(&mut self, bytes: &[u8]) -> bool {
        let (numbers, rest) = bytes.as_chunks();
        let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let ([coarse, least, greatest, counts @ ..], []) = (&numbers[..], rest) else { return false };
        let (counts, rest) = counts.as_chunks::<2>();
        if *coarse > 1 || !rest.is_empty() {
            return false;
        }
        if counts.is_empty() {
            return true;
        }
        let (least, greatest) = match self.count {
            0 => (*least, *greatest),
            _ => (self.least.min(*least), self.greatest.max(*greatest)),
        };
        if *coarse == 1 {
            self.coarsen();
        }
        for [counted, copies] in counts {
            // What is counted together stands at the beginning of its bucket.
            self.add(if *coarse == 1 { counted << REST } else { *counted }, copies.cast_signed());
        }
        (self.least, self.greatest) = (least, greatest);
        true
    }

    /// The code of about the value in a place, counted from 0. Panics if there are not so many values.
    fn at(&self, place: i64) -> u64 {
        assert!((0..self.count).contains(&place), "there is a value in the place");
        let mut before = 0;
        let found = self.counts.iter().find(|(_, copies)| {
            before += copies;
            before > place
        });
        let (counted, _) = found.expect("counts add up");
        match (self.coarse, place) {
            (false, _) => *counted,
            (true, 0) => self.least,
            (true, _) if place == self.count - 1 => self.greatest,
            (true, _) => middle(*counted).clamp(self.least, self.greatest),
        }
    }

    /// The memory behind it.
    pub fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<(u64, i64)>()
    }
}

/// The code that stands for a bucket.
fn middle(bucket: u64) -> u64 {
    let (low, half) = (bucket << REST, 1 << (REST - 1));
    let high = low | ((1 << REST) - 1);
    let float = |code: u64| code_float(code.into());
    match float(low + half) {
        // The infinities and NaN end their buckets or begin them.
        value if value.is_nan() => {
            if float(high).is_infinite() {
                high
            } else {
                low
            }
        }
        // What is next to zero is taken for it.
        value if value.is_subnormal() => {
            if value < 0.0 {
                high
            } else {
                low
            }
        }
        _ => low + half,
    }
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::repr::values::float_code;

    fn code(value: f64) -> u64 {
        u64::try_from(float_code(value)).unwrap()
    }

    fn estimate(values: &[f64]) -> QuantileEstimate {
        let mut estimate = QuantileEstimate::default();
        values.iter().for_each(|value| estimate.add(code(*value), 1));
        estimate
    }

    #[test]
    fn every_place_is_within_one_in_a_hundred() {
        for seed in 0..12 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let count = [900, 5_000, 60_000][seed as usize % 3];
            let wide = random.random_range(1.0..200.0);
            let mut values: Vec<f64> = (0..count)
                .map(|_| f64::powf(10.0, random.random_range(-wide..wide)) * [1.0, -1.0][random.random_range(0..2)])
                .collect();
            values.extend([0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN_POSITIVE]);
            let tested = estimate(&values);
            values.shuffle(&mut random);
            assert_eq!(estimate(&values), tested, "the order makes no difference");
            let mut merged = QuantileEstimate::default();
            assert!(values.chunks(count / 3).all(|part| merged.merge(&estimate(part).to_bytes())));
            assert!(merged.merge(&QuantileEstimate::default().to_bytes()) && merged == tested, "seed {seed}");
            values.sort_by(f64::total_cmp);
            for (place, value) in values.iter().enumerate() {
                let found = code_float(tested.at(place as i64).into());
                let near = found == *value || (found - value).abs() <= value.abs() / 100.0;
                assert!(near || (found.is_nan() && value.is_nan()), "seed {seed}: {found} for {value}");
                assert!(count > FEW_MAX || found == *value || value.is_nan());
            }
            assert_eq!((tested.count, tested.bytes() > 0), (values.len() as i64, true));
        }
    }

    #[test]
    fn other_bytes_are_no_estimate() {
        let mut tested = estimate(&[1.0]);
        assert!(!tested.merge(&[]) && !tested.merge(&[1; 24]) && !tested.merge(&[0; 25]) && !tested.merge(&[0; 32]));
        assert_eq!(tested, estimate(&[1.0]));
    }

    #[test]
    fn copies_count() {
        let mut tested = QuantileEstimate::default();
        (0..5_000).for_each(|value| tested.add(code(f64::from(value)), 1 + i64::from(value % 3)));
        assert_eq!(tested.count, (0..5_000).map(|value| 1 + value % 3).sum::<i64>());
        let half = code_float(tested.at(tested.count / 2).into());
        assert!((2_475.0..2_525.0).contains(&half), "{half}");
        assert!(tested.counts.len() < 800);
        assert_eq!((code_float(tested.at(0).into()), code_float(tested.at(tested.count - 1).into())), (0.0, 4_999.0));
    }
}
