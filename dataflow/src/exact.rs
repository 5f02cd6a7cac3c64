//! Numbers without rounding: what sums of floats and of their products are kept in, so that retractions cancel to the bit
//! and no answer depends on the order of rows.

mod big;
mod moments;

use big::Big;
pub use moments::{Moment, Moments};

/// A sum of floats or of products of two: an integer times a power of two, as wide as it has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exact {
    /// The value of the first limb's lowest bit is 2^(64 · `low`).
    low: i32,
    /// Two's complement, least significant first; none for zero. The last one's top bit is the sign.
    limbs: Vec<u64>,
}

/// A finite float as ± `mantissa` · 2^`exponent`.
#[derive(Clone, Copy)]
struct Parts {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Parts {
    /// Panics on NaN and infinities.
    fn of(value: f64) -> Parts {
        assert!(value.is_finite(), "only finite values have parts");
        let bits = value.to_bits();
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let (mantissa, exponent) = if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
        Parts { negative: bits >> 63 == 1, mantissa, exponent }
    }
}

/// What continues a number above the limb `limb`.
fn sign_of(limb: u64) -> u64 {
    if limb >> 63 == 1 { u64::MAX } else { 0 }
}

impl Exact {
    /// Adds `diff` times a value.
    fn add(&mut self, value: Parts, diff: i64) {
        let magnitude = u128::from(value.mantissa) * u128::from(diff.unsigned_abs());
        self.add_bits(magnitude, value.exponent, value.negative != (diff < 0));
    }

    /// Adds `diff` times the product of two values.
    fn add_product(&mut self, a: Parts, b: Parts, diff: i64) {
        let (product, times) = (u128::from(a.mantissa) * u128::from(b.mantissa), u128::from(diff.unsigned_abs()));
        let (exponent, negative) = (a.exponent + b.exponent, (a.negative != b.negative) != (diff < 0));
        if times == 1 {
            self.add_bits(product, exponent, negative);
        } else {
            // The product has up to 106 bits: with its factor it needs two steps.
            self.add_bits((product & u128::from(u64::MAX)) * times, exponent, negative);
            self.add_bits((product >> 64) * times, exponent + 64, negative);
        }
    }

    /// Adds all of another sum.
    fn merge(&mut self, other: &Exact) {
        for (index, limb) in (0..).zip(&other.limbs) {
            self.add_bits(u128::from(*limb), (other.low + index) * 64, false);
        }
        if other.limbs.last().is_some_and(|limb| limb >> 63 == 1) {
            let above = other.low + i32::try_from(other.limbs.len()).expect("a number has few limbs");
            self.add_bits(1, above * 64, true);
        }
    }

    /// Adds ± `magnitude` · 2^`exponent`.
    fn add_bits(&mut self, magnitude: u128, exponent: i32, negative: bool) {
        if magnitude == 0 {
            return;
        }
        let (place, offset) = (exponent.div_euclid(64), exponent.rem_euclid(64));
        let low = magnitude << offset;
        let high = if offset == 0 { 0 } else { (magnitude >> (128 - offset)) as u64 };
        let parts = [low as u64, (low >> 64) as u64, high];
        let first = self.make_room(place, parts.len());
        let mut carry = false;
        for (index, limb) in self.limbs[first..].iter_mut().enumerate() {
            let part = parts.get(index).copied().unwrap_or(0);
            if index >= parts.len() && !carry {
                break;
            }
            let (value, c1) = if negative { limb.overflowing_sub(part) } else { limb.overflowing_add(part) };
            let (value, c2) =
                if negative { value.overflowing_sub(carry.into()) } else { value.overflowing_add(carry.into()) };
            *limb = value;
            carry = c1 || c2;
        }
        while let [.., below, top] = self.limbs[..]
            && top == sign_of(below)
        {
            self.limbs.pop();
        }
        if self.limbs == [0] {
            self.limbs.clear();
        }
    }

    /// Widens the number so that `count` limbs from `place` on exist and one more, which is only sign, above all. Returns
    /// the index of the limb at `place`.
    fn make_room(&mut self, place: i32, count: usize) -> usize {
        if self.limbs.is_empty() {
            self.low = place;
            self.limbs.push(0);
        }
        if place < self.low {
            let missing = usize::try_from(self.low - place).expect("the difference is positive");
            self.limbs.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = place;
        }
        let first = usize::try_from(place - self.low).expect("the place is not below the lowest");
        let sign = sign_of(*self.limbs.last().expect("there is a limb"));
        let len = (self.limbs.len() + 1).max(first + count + 1);
        self.limbs.resize(len, sign);
        first
    }

    /// The sum as sign and magnitude.
    fn big(&self) -> Big {
        let negative = self.limbs.last().is_some_and(|limb| limb >> 63 == 1);
        let mut limbs = self.limbs.clone();
        if negative {
            let mut carry = true;
            for limb in &mut limbs {
                let (value, overflow) = (!*limb).overflowing_add(carry.into());
                *limb = value;
                carry = overflow;
            }
        }
        Big::new(negative, self.low, limbs)
    }

    /// Appends the number to `bytes`.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.low.to_le_bytes());
        bytes.extend(u32::try_from(self.limbs.len()).expect("a number has few limbs").to_le_bytes());
        self.limbs.iter().for_each(|limb| bytes.extend(limb.to_le_bytes()));
    }

    /// Takes a number that [`Exact::write`] wrote off the front of `bytes`.
    fn read(bytes: &mut &[u8]) -> Option<Exact> {
        let low = i32::from_le_bytes(*take(bytes)?);
        let count = u32::from_le_bytes(*take(bytes)?);
        let limbs = (0..count).map(|_| take(bytes).map(|limb| u64::from_le_bytes(*limb))).collect::<Option<_>>()?;
        Some(Exact { low, limbs })
    }
}

/// The first `N` bytes, which are taken away.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(first)
}
