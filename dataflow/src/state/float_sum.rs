//! Exact sums of doubles: retractions cancel to the bit, and no order of additions shows in the result.
//!
//! A finite double is an integer multiple of 2^-1074 below 2^2098 of them, so a fixed-point number of 2,176 bits holds
//! any sum of up to 2^77 doubles exactly (Kulisch's long accumulator). Infinities and NaN are counted beside it.

const LIMBS: usize = 34;
/// The exponent of the least significant bit.
const LOWEST: i32 = -1074;

/// The exact sum of a multiset of doubles.
#[derive(Clone)]
pub(crate) struct FloatSum {
    /// Two's complement, least significant limb first.
    limbs: [u64; LIMBS],
    nan: i64,
    positive: i64,
    negative: i64,
}

impl Default for FloatSum {
    fn default() -> Self {
        FloatSum { limbs: [0; LIMBS], nan: 0, positive: 0, negative: 0 }
    }
}

impl FloatSum {
    /// Adds `value` `diff` times.
    pub(crate) fn add(&mut self, value: f64, diff: i64) {
        if value.is_nan() {
            self.nan += diff;
        } else if value.is_infinite() {
            if value > 0.0 { self.positive += diff } else { self.negative += diff }
        } else if value != 0.0 && diff != 0 {
            let bits = value.to_bits();
            let biased = ((bits >> 52) & 0x7ff) as i32;
            let fraction = bits & ((1 << 52) - 1);
            let (mantissa, exponent) =
                if biased == 0 { (fraction, LOWEST) } else { (fraction | 1 << 52, biased - 1075) };
            let product = u128::from(mantissa) * u128::from(diff.unsigned_abs());
            let negative = (value < 0.0) != (diff < 0);
            self.accumulate(product, usize::try_from(exponent - LOWEST).expect("exponents start at LOWEST"), negative);
        }
    }

    /// Adds ± `magnitude` << `shift`.
    fn accumulate(&mut self, magnitude: u128, shift: usize, negative: bool) {
        let (first, offset) = (shift / 64, shift % 64);
        // At most 117 bits shifted by at most 63: three limbs.
        let low = magnitude << offset;
        let high = if offset == 0 { 0 } else { (magnitude >> (128 - offset)) as u64 };
        let parts = [low as u64, (low >> 64) as u64, high];
        let mut carry = false;
        for (index, limb) in self.limbs.iter_mut().enumerate().skip(first) {
            let part = parts.get(index - first).copied().unwrap_or(0);
            if index - first >= parts.len() && !carry {
                break;
            }
            let (value, c1) = if negative { limb.overflowing_sub(part) } else { limb.overflowing_add(part) };
            let (value, c2) =
                if negative { value.overflowing_sub(carry.into()) } else { value.overflowing_add(carry.into()) };
            *limb = value;
            carry = c1 || c2;
        }
    }

    /// The sum, rounded once to the nearest double, ties to even; overflow gives an infinity. Never −0.
    pub(crate) fn value(&self) -> f64 {
        if self.nan != 0 || (self.positive != 0 && self.negative != 0) {
            return f64::NAN;
        }
        if self.positive != 0 {
            return f64::INFINITY;
        }
        if self.negative != 0 {
            return f64::NEG_INFINITY;
        }
        let negative = self.limbs[LIMBS - 1] >> 63 == 1;
        let mut limbs = self.limbs;
        if negative {
            let mut carry = true;
            for limb in &mut limbs {
                let (value, overflow) = (!*limb).overflowing_add(carry.into());
                *limb = value;
                carry = overflow;
            }
        }
        let magnitude = round(&limbs);
        if negative { -magnitude } else { magnitude }
    }

    /// Whether nothing is left: the sum of an empty multiset.
    pub(crate) fn is_zero(&self) -> bool {
        self.nan == 0 && self.positive == 0 && self.negative == 0 && self.limbs.iter().all(|limb| *limb == 0)
    }
}

/// The double nearest to an unsigned fixed-point number.
fn round(limbs: &[u64; LIMBS]) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let length = top * 64 + 64 - limbs[top].leading_zeros() as usize;
    if length <= 53 {
        // A subnormal, or the least normal ones: the bits are the number's.
        return f64::from_bits(limbs[0]);
    }
    let shift = length - 53;
    let bit = |position: usize| limbs[position / 64] >> (position % 64) & 1;
    let mut mantissa = limbs[shift / 64] >> (shift % 64);
    if !shift.is_multiple_of(64) && shift / 64 + 1 < LIMBS {
        mantissa |= limbs[shift / 64 + 1] << (64 - shift % 64);
    }
    mantissa &= (1 << 53) - 1;
    let half = bit(shift - 1) == 1;
    let sticky = (0..(shift - 1) / 64).any(|index| limbs[index] != 0)
        || limbs[(shift - 1) / 64] & ((1 << ((shift - 1) % 64)) - 1) != 0;
    if half && (sticky || mantissa & 1 == 1) {
        mantissa += 1;
    }
    // Adding the mantissa with its leading bit to the exponent field lets a carry move into the exponent, and beyond the
    // greatest exponent into infinity.
    let exponent = shift as u64;
    if exponent + 1 > 2046 {
        return f64::INFINITY;
    }
    f64::from_bits((exponent << 52) + mantissa)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[(f64, i64)]) -> f64 {
        let mut sum = FloatSum::default();
        for (value, diff) in values {
            sum.add(*value, *diff);
        }
        sum.value()
    }

    #[test]
    fn one_value_comes_back_as_it_is() {
        let samples =
            [1.0, 0.1, -0.1, 1e300, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e-310, 123456.789];
        for value in samples {
            assert_eq!(sum(&[(value, 1)]).to_bits(), value.to_bits(), "{value:e}");
        }
        assert_eq!(sum(&[(-0.0, 1)]).to_bits(), 0.0f64.to_bits());
    }

    #[test]
    fn retractions_cancel_to_the_bit() {
        assert_eq!(sum(&[(1e300, 1), (1.0, 1), (1e300, -1)]), 1.0);
        assert_eq!(sum(&[(0.1, 3), (0.2, 1), (0.1, -3)]), 0.2);
        assert_eq!(sum(&[(5e-324, 2), (5e-324, -1)]), 5e-324);
        let mut all = FloatSum::default();
        for k in -300..300 {
            all.add(1.1f64.powi(k), 7);
        }
        for k in (-300..300).rev() {
            all.add(1.1f64.powi(k), -7);
        }
        assert!(all.is_zero());
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(sum(&[(1.0, 1), (2f64.powi(-53), 1)]), 1.0);
        assert_eq!(sum(&[(1.0, 1), (2f64.powi(-53), 1), (5e-324, 1)]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[(f64::MAX, 2)]), f64::INFINITY);
        assert_eq!(sum(&[(f64::MAX, 2), (f64::MAX, -1)]), f64::MAX);
        assert!(sum(&[(f64::INFINITY, 1), (f64::NEG_INFINITY, 1)]).is_nan());
        assert_eq!(sum(&[(f64::NAN, 1), (f64::NAN, -1), (2.5, 1)]), 2.5);
    }
}
