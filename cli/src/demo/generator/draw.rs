//! Drawing numbers: by quantiles, by weights, normally distributed. Knows nothing of the shop.

use rand::Rng;

/// A distribution of positive numbers given by its quantiles `(probability, value)`, ascending from 0 to 1; between two
/// of them the logarithm grows evenly.
pub(crate) struct Quantiles(pub(crate) &'static [(f64, f64)]);

impl Quantiles {
    /// The value below which the share `probability` (0 to 1) lies.
    pub(crate) fn at(&self, probability: f64) -> f64 {
        let above = self.0.partition_point(|&(p, _)| p < probability).clamp(1, self.0.len() - 1);
        let ((p0, v0), (p1, v1)) = (self.0[above - 1], self.0[above]);
        let share = ((probability - p0) / (p1 - p0)).clamp(0.0, 1.0);
        (v0.ln() + share * (v1.ln() - v0.ln())).exp()
    }

    /// A value drawn at random.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> f64 {
        self.at(rng.random())
    }

    /// A whole number drawn at random, at least 1.
    pub(crate) fn draw_count(&self, rng: &mut impl Rng) -> usize {
        count(self.draw(rng))
    }
}

/// The nearest whole number, at least 1.
pub(crate) fn count(value: f64) -> usize {
    value.round().max(1.0) as usize
}

/// Draws indices with probabilities proportional to weights.
pub(crate) struct Weighted {
    /// The sums of the weights up to and with each index.
    sums: Vec<f64>,
}

impl Weighted {
    /// Weights of the indices 0, 1, 2, …; at least one is above 0.
    pub(crate) fn new(weights: impl IntoIterator<Item = f64>) -> Weighted {
        let mut sum = 0.0;
        let sums = weights.into_iter().map(|weight| {
            sum += weight;
            sum
        });
        Weighted { sums: sums.collect() }
    }

    /// The index up to and with which the share `share` (0 to 1) of all weights lies.
    pub(crate) fn at(&self, share: f64) -> usize {
        let point = share * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|&sum| sum <= point).min(self.sums.len() - 1)
    }

    /// An index drawn at random.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> usize {
        self.draw_from(0, rng)
    }

    /// An index drawn at random among those from `first` on; the last one if none of them has a weight.
    pub(crate) fn draw_from(&self, first: usize, rng: &mut impl Rng) -> usize {
        let below = if first == 0 { 0.0 } else { self.sums[first - 1] };
        let total = self.sums[self.sums.len() - 1];
        let point = below + rng.random::<f64>() * (total - below);
        self.sums.partition_point(|&sum| sum <= point).min(self.sums.len() - 1)
    }
}

/// A number of the standard normal distribution.
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A number of the standard normal distribution that correlates with `other`, of the same distribution, by `correlation`.
pub(crate) fn normal_like(other: f64, correlation: f64, rng: &mut impl Rng) -> f64 {
    correlation * other + (1.0 - correlation * correlation).sqrt() * normal(rng)
}

/// The share of the standard normal distribution below `value`, to about 7 digits (Abramowitz and Stegun, 26.2.17).
pub(crate) fn share_below(value: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * value.abs());
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530]
        .iter()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = series * (-0.5 * value * value).exp() / std::f64::consts::TAU.sqrt();
    if value < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn quantiles_are_met_at_their_points_and_between() {
        let quantiles = Quantiles(&[(0.0, 1.0), (0.5, 4.0), (1.0, 16.0)]);
        for (probability, value) in [(0.0, 1.0), (0.25, 2.0), (0.5, 4.0), (0.75, 8.0), (1.0, 16.0)] {
            assert!((quantiles.at(probability) - value).abs() < 1e-9, "{probability}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let weighted = Weighted::new([1.0, 0.0, 3.0]);
        let mut drawn = [0; 3];
        (0..10_000).for_each(|_| drawn[weighted.draw(&mut rng)] += 1);
        assert_eq!(drawn[1], 0);
        assert!((7_300..7_700).contains(&drawn[2]), "{drawn:?}");
        assert_eq!(weighted.draw_from(1, &mut rng), 2);
    }

    #[test]
    fn normal_shares() {
        for (value, share) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.96, 0.024_997_9), (3.0, 0.998_650_1)] {
            assert!((share_below(value) - share).abs() < 1e-6, "{value}");
        }
    }
}
