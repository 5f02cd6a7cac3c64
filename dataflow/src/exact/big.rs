//! Integers times powers of 2^64, with the few operations that closed formulas over exact sums need.

/// ± `limbs` · 2^(64 · `low`).
#[derive(Clone, Debug)]
pub(super) struct Big {
    negative: bool,
    low: i32,
    /// The magnitude, least significant first, without zeros on top; none for zero.
    limbs: Vec<u64>,
}

/// Limbs below a dividend, so that a quotient has more bits than a float.
const QUOTIENT_LIMBS: usize = 4;

impl Big {
    pub(super) fn new(negative: bool, low: i32, mut limbs: Vec<u64>) -> Big {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        let zeros = limbs.iter().take_while(|limb| **limb == 0).count();
        limbs.drain(..zeros);
        Big { negative, low: low + i32::try_from(zeros).expect("a number has few limbs"), limbs }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    pub(super) fn is_negative(&self) -> bool {
        self.negative && !self.is_zero()
    }

    pub(super) fn times(&self, other: &Big) -> Big {
        let mut limbs = vec![0_u64; self.limbs.len() + other.limbs.len()];
        for (i, a) in self.limbs.iter().enumerate() {
            let mut carry = 0_u128;
            for (j, b) in other.limbs.iter().enumerate() {
                let sum = u128::from(*a) * u128::from(*b) + u128::from(limbs[i + j]) + carry;
                limbs[i + j] = sum as u64;
                carry = sum >> 64;
            }
            limbs[i + other.limbs.len()] = carry as u64;
        }
        Big::new(self.negative != other.negative, self.low + other.low, limbs)
    }

    pub(super) fn times_small(&self, factor: u64) -> Big {
        self.times(&Big::new(false, 0, vec![factor]))
    }

    pub(super) fn minus(&self, other: &Big) -> Big {
        let low = self.low.min(other.low);
        let (a, b) = (self.in_units_of(low), other.in_units_of(low));
        if self.negative != other.negative {
            return Big::new(self.negative, low, sum(a, &b));
        }
        if is_less(&a, &b) {
            Big::new(!self.negative, low, difference(b, &a))
        } else {
            Big::new(self.negative, low, difference(a, &b))
        }
    }

    /// The magnitude in units of 2^(64 · `low`), where `low` is at most that of the number.
    fn in_units_of(&self, low: i32) -> Vec<u64> {
        if self.is_zero() {
            return Vec::new();
        }
        let zeros = usize::try_from(self.low - low).expect("the unit is not above the number's");
        [&vec![0; zeros][..], &self.limbs].concat()
    }

    /// Both numbers rounded, each scaled so that it lies near one, and the power of two that their quotient lacks. Neither
    /// is zero where that matters: a zero stays one.
    pub(super) fn scaled(a: &Big, b: &Big) -> (f64, f64, i32) {
        let near_one = |big: &Big| {
            let top = i32::try_from(big.limbs.len()).expect("a number has few limbs");
            (Big { low: -top, ..big.clone() }.value(), (big.low + top) * 64)
        };
        let ((a, a_exponent), (b, b_exponent)) = (near_one(a), near_one(b));
        (a, b, a_exponent - b_exponent)
    }

    /// The float nearest to the number, ties to even.
    pub(super) fn value(&self) -> f64 {
        self.divided(1, 1)
    }

    /// The float nearest to the number divided by `a` and by `b`, ties to even. Panics if one of these is zero.
    pub(super) fn divided(&self, a: u64, b: u64) -> f64 {
        let mut limbs = [&[0; QUOTIENT_LIMBS][..], &self.limbs].concat();
        let mut sticky = divide(&mut limbs, a) != 0;
        sticky |= divide(&mut limbs, b) != 0;
        let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let shift = limbs[top].leading_zeros();
        let below = if top > 0 { limbs[top - 1] } else { 0 };
        // The 64 highest bits, and whether anything stands below them.
        let wide = (u128::from(limbs[top]) << 64 | u128::from(below)) << shift;
        sticky |= wide as u64 != 0 || limbs[..top.saturating_sub(1)].iter().any(|limb| *limb != 0);
        let limbs_low = self.low + i32::try_from(top).expect("few limbs") - QUOTIENT_LIMBS as i32;
        let exponent = limbs_low * 64 - shift as i32;
        let magnitude = compose((wide >> 64) as u64, exponent, sticky);
        if self.negative { -magnitude } else { magnitude }
    }
}

/// The float nearest to `mantissa` · 2^`exponent`, whose highest bit is set; `sticky` says that a little is missing.
fn compose(mantissa: u64, exponent: i32, sticky: bool) -> f64 {
    if exponent + 63 > 1023 {
        return f64::INFINITY;
    }
    // Bits that a float has no room for: more of them where it is subnormal.
    let cut = 11 + u32::try_from(-1022 - (exponent + 63)).unwrap_or(0);
    if cut > 64 {
        return 0.0;
    }
    let (kept, rest) = if cut == 64 { (0, mantissa) } else { (mantissa >> cut, mantissa & ((1 << cut) - 1)) };
    let half = 1_u64 << (cut - 1);
    let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
    (kept + u64::from(up)) as f64 * power_of_two(exponent + cut as i32)
}

/// 2^`exponent`, for exponents from −1074 to 1023.
fn power_of_two(exponent: i32) -> f64 {
    match u64::try_from(exponent + 1023) {
        Ok(field @ 1..) => f64::from_bits(field << 52),
        _ => f64::from_bits(1 << (exponent + 1074)),
    }
}

/// Divides in place and returns the remainder.
fn divide(limbs: &mut [u64], divisor: u64) -> u64 {
    let mut rest = 0_u64;
    for limb in limbs.iter_mut().rev() {
        let dividend = u128::from(rest) << 64 | u128::from(*limb);
        *limb = (dividend / u128::from(divisor)) as u64;
        rest = (dividend % u128::from(divisor)) as u64;
    }
    rest
}

fn is_less(a: &[u64], b: &[u64]) -> bool {
    let limb = |limbs: &[u64], index: usize| limbs.get(index).copied().unwrap_or(0);
    let differing = (0..a.len().max(b.len())).rev().find(|index| limb(a, *index) != limb(b, *index));
    differing.is_some_and(|index| limb(a, index) < limb(b, index))
}

fn sum(mut a: Vec<u64>, b: &[u64]) -> Vec<u64> {
    a.resize(a.len().max(b.len()) + 1, 0);
    let mut carry = false;
    for (index, limb) in a.iter_mut().enumerate() {
        let (value, c1) = limb.overflowing_add(b.get(index).copied().unwrap_or(0));
        let (value, c2) = value.overflowing_add(carry.into());
        (*limb, carry) = (value, c1 || c2);
    }
    a
}

/// `a` − `b`, which is not negative.
fn difference(mut a: Vec<u64>, b: &[u64]) -> Vec<u64> {
    let mut borrow = false;
    for (index, limb) in a.iter_mut().enumerate() {
        let (value, b1) = limb.overflowing_sub(b.get(index).copied().unwrap_or(0));
        let (value, b2) = value.overflowing_sub(borrow.into());
        (*limb, borrow) = (value, b1 || b2);
    }
    a
}
