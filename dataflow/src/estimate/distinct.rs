//! How many different values there are: exactly while there are few, by HyperLogLog beyond.
//!
//! Few values are a set of hashes of 64 bits. Where it would take more room than registers, the hashes go into 2^14 registers
//! (P. Flajolet, É. Fusy, O. Gandouet, F. Meunier, "HyperLogLog: the analysis of a near-optimal cardinality estimation
//! algorithm", AofA 2007), whose standard error is 0.8 %. The estimate is O. Ertl's improved raw estimator ("New cardinality
//! estimation algorithms for HyperLogLog sketches", arXiv:1702.01284, 2017), which needs no tables and no switch between
//! ranges, from how many registers have each value: these counts are kept along.

use std::hash::Hasher;

use arrow::array::{Array, ArrayRef};

use crate::repr::values::{ByteValues, ValueKind, codes};

const PRECISION: u32 = 14;
const REGISTERS: usize = 1 << PRECISION;
/// The greatest value of a register: where all other bits of a hash are zero.
const GREATEST: usize = 64 - PRECISION as usize + 1;
/// As many hashes take the room of the registers.
const FEW_MAX: usize = REGISTERS / size_of::<u64>();

/// Hashes of the values of a column. What stands at NULLs is unspecified.
pub fn hashes(column: &ArrayRef) -> Vec<u64> {
    if ValueKind::of(column.data_type()).is_code() {
        return codes(column).iter().map(|code| hash(&code.to_le_bytes())).collect();
    }
    let values = ByteValues::new(column);
    (0..column.len()).map(|row| hash(values.get(row))).collect()
}

/// Every bit of it depends on every bit of the value. The same in every process.
fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xa076_1d64_78bd_642f;
    let mut hasher = foldhash::quality::FoldHasher::with_seed(SEED, foldhash::SharedSeed::global_fixed());
    hasher.write(bytes);
    hasher.finish()
}

/// A number of different values.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctEstimate(State);

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Different hashes in order.
    Few(Vec<u64>),
    Many(Box<Registers>),
}

#[derive(Clone, Debug, PartialEq)]
struct Registers {
    values: [u8; REGISTERS],
    /// How many registers have each value.
    counts: [u32; GREATEST + 1],
}

impl Default for DistinctEstimate {
    fn default() -> Self {
        DistinctEstimate(State::Few(Vec::new()))
    }
}

impl DistinctEstimate {
    /// Adds a value by its hash.
    pub fn add(&mut self, hash: u64) {
        match &mut self.0 {
            State::Few(hashes) => {
                if let Err(place) = hashes.binary_search(&hash) {
                    hashes.insert(place, hash);
                    if hashes.len() > FEW_MAX {
                        self.0 = State::Many(Box::new(Registers::of(hashes)));
                    }
                }
            }
            State::Many(registers) => registers.add(hash),
        }
    }

    /// How many different values were added.
    pub fn count(&self) -> u64 {
        match &self.0 {
            State::Few(hashes) => hashes.len() as u64,
            State::Many(registers) => registers.estimate(),
        }
    }

    /// The estimate as bytes, for [`DistinctEstimate::merge`].
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            State::Few(hashes) => hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect(),
            // One byte more than few hashes can have.
            State::Many(registers) => registers.values.iter().copied().chain([0]).collect(),
        }
    }

    /// Adds all values of another estimate; `false` if the bytes are none.
    pub fn merge(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() <= FEW_MAX * size_of::<u64>() {
            let (hashes, rest) = bytes.as_chunks();
            hashes.iter().for_each(|hash| self.add(u64::from_le_bytes(*hash)));
            return rest.is_empty();
        }
        let Some((0, values)) = bytes.split_last().filter(|(_, values)| values.len() == REGISTERS) else {
            return false;
        };
        if let State::Few(hashes) = &self.0 {
            self.0 = State::Many(Box::new(Registers::of(hashes)));
        }
        let State::Many(registers) = &mut self.0 else { unreachable!("it was just made so") };
        let sound = values.iter().all(|value| usize::from(*value) <= GREATEST);
        values.iter().enumerate().filter(|_| sound).for_each(|(index, value)| registers.raise(index, *value));
        sound
    }

    /// The memory behind it.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            State::Few(hashes) => hashes.capacity() * size_of::<u64>(),
            State::Many(_) => size_of::<Registers>(),
        }
    }
}

impl Registers {
    fn of(hashes: &[u64]) -> Registers {
        let mut registers = Registers { values: [0; REGISTERS], counts: [0; GREATEST + 1] };
        registers.counts[0] = REGISTERS as u32;
        hashes.iter().for_each(|hash| registers.add(*hash));
        registers
    }

    fn add(&mut self, hash: u64) {
        // The first bits choose the register; where the first 1 is among the others is its value.
        let (index, rest) = ((hash >> (64 - PRECISION)) as usize, hash << PRECISION);
        let value = rest.leading_zeros().min(64 - PRECISION) + 1;
        self.raise(index, value as u8);
    }

    fn raise(&mut self, index: usize, value: u8) {
        let known = &mut self.values[index];
        if *known < value {
            self.counts[usize::from(*known)] -= 1;
            self.counts[usize::from(value)] += 1;
            *known = value;
        }
    }

    /// Algorithm 6 of the paper.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn estimate(&self) -> u64 {
        let all = REGISTERS as f64;
        let part = |value: usize| f64::from(self.counts[value]) / all;
        let from_full = all * tau(1.0 - part(GREATEST));
        let sum = self.counts[1..GREATEST].iter().rev().fold(from_full, |sum, count| (sum + f64::from(*count)) / 2.0);
        let sum = sum + all * sigma(part(0));
        (all * all / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
    }
}

/// x + Σ x^(2^k) · 2^(k−1): what registers that are still zero stand for.
fn sigma(part: f64) -> f64 {
    if part == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut power, mut factor) = (part, part, 1.0);
    loop {
        power *= power;
        let next = sum + power * factor;
        if next == sum {
            return sum;
        }
        (sum, factor) = (next, factor * 2.0);
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3: what registers that are full stand for.
fn tau(part: f64) -> f64 {
    if part == 0.0 || part == 1.0 {
        return 0.0;
    }
    let (mut sum, mut root, mut factor) = (1.0 - part, part, 1.0);
    loop {
        root = root.sqrt();
        factor /= 2.0;
        let next = sum - (1.0 - root) * (1.0 - root) * factor;
        if next == sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn hashes_of(values: std::ops::Range<i64>) -> Vec<u64> {
        hashes(&(Arc::new(Int64Array::from_iter_values(values)) as ArrayRef))
    }

    #[test]
    fn few_are_counted_and_many_estimated_within_the_error() {
        let mut estimate = DistinctEstimate::default();
        let mut worst: f64 = 0.0;
        for (index, hash) in hashes_of(0..300_000).into_iter().enumerate() {
            estimate.add(hash);
            estimate.add(hash);
            let (count, known) = (estimate.count(), index as u64 + 1);
            if known <= FEW_MAX as u64 {
                assert_eq!(count, known);
            } else if index % 1_000 == 0 {
                worst = worst.max((count as f64 / known as f64 - 1.0).abs());
            }
        }
        // Four standard errors.
        assert!(worst > 0.0 && worst < 4.0 * 1.04 / (REGISTERS as f64).sqrt(), "{worst}");
    }

    #[test]
    fn neither_order_nor_division_matter() {
        for seed in 0..30 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let most = [10, FEW_MAX as i64 + 1, 10_000][seed as usize % 3];
            let mut values = hashes_of(0..most);
            let mut whole = DistinctEstimate::default();
            values.iter().for_each(|hash| whole.add(*hash));
            values.extend_from_within(..values.len() / 2);
            values.shuffle(&mut random);
            let mut parts = vec![DistinctEstimate::default(); 4];
            values.iter().for_each(|hash| parts[random.random_range(0..4)].add(*hash));
            let mut merged = DistinctEstimate::default();
            assert!(parts.iter().all(|part| merged.merge(&part.to_bytes())));
            assert!(merged == whole, "seed {seed}");
            assert!(merged.bytes() > 0 && merged.merge(&whole.to_bytes()) && merged == whole);
        }
        let mut estimate = DistinctEstimate::default();
        assert!(
            !estimate.merge(&[1, 2, 3])
                && !estimate.merge(&[99; REGISTERS + 1])
                && !estimate.merge(&[0; REGISTERS + 9])
        );
    }

    #[test]
    fn a_register_that_is_full_is_counted() {
        let mut registers = Registers::of(&[]);
        registers.add(0);
        assert_eq!((registers.values[0] as usize, registers.counts[GREATEST]), (GREATEST, 1));
        assert_eq!(Registers::of(&[]).estimate(), 0);
        assert!((tau(0.5) - 0.15).abs() < 0.001 && sigma(0.0) == 0.0);
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        let floats = hashes(&(Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN])) as ArrayRef));
        assert!(floats[0] == floats[1] && floats[2] == floats[3] && floats[0] != floats[2]);
        let texts = hashes(&(Arc::new(StringArray::from(vec!["a", "a", "b"])) as ArrayRef));
        assert!(texts[0] == texts[1] && texts[0] != texts[2]);
    }
}
