//! Variance, covariance, correlation and regression from exact sums: each answer is rounded where its formula ends, or, where
//! that divides two of them or takes a root, once more there.

use super::{Big, Exact, Parts, take};

/// What can be told from the sums of x, y, x², y² and xy. Of functions of one argument that is x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The variance of a population.
    VariancePopulation,
    /// The variance of a sample.
    VarianceSample,
    /// The standard deviation of a population.
    DeviationPopulation,
    /// The standard deviation of a sample.
    DeviationSample,
    /// The covariance of a population.
    CovariancePopulation,
    /// The covariance of a sample.
    CovarianceSample,
    /// The correlation coefficient.
    Correlation,
    /// The slope of the line through (y, x): SQL names the dependent variable first.
    Slope,
    /// Where that line meets the axis.
    Intercept,
    /// The square of the correlation coefficient.
    Determination,
    /// The mean of the second argument.
    MeanSecond,
    /// The mean of the first argument.
    MeanFirst,
    /// The sum of squared differences of the second argument from its mean.
    SquaresSecond,
    /// The sum of squared differences of the first argument from its mean.
    SquaresFirst,
    /// The sum of products of the differences.
    Products,
}

const NAMES: [(Moment, &str); 15] = [
    (Moment::VariancePopulation, "var_pop"),
    (Moment::VarianceSample, "var"),
    (Moment::DeviationPopulation, "stddev_pop"),
    (Moment::DeviationSample, "stddev"),
    (Moment::CovariancePopulation, "covar_pop"),
    (Moment::CovarianceSample, "covar_samp"),
    (Moment::Correlation, "corr"),
    (Moment::Slope, "regr_slope"),
    (Moment::Intercept, "regr_intercept"),
    (Moment::Determination, "regr_r2"),
    (Moment::MeanSecond, "regr_avgx"),
    (Moment::MeanFirst, "regr_avgy"),
    (Moment::SquaresSecond, "regr_sxx"),
    (Moment::SquaresFirst, "regr_syy"),
    (Moment::Products, "regr_sxy"),
];

impl Moment {
    /// What the SQL function `name` tells.
    pub fn of(name: &str) -> Option<Moment> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(moment, _)| *moment)
    }

    /// The name of the function in SQL.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(moment, _)| *moment == self).map(|(_, name)| *name).expect("every moment has a name")
    }

    /// How many arguments there are.
    pub fn arguments(self) -> usize {
        match self {
            Moment::VariancePopulation
            | Moment::VarianceSample
            | Moment::DeviationPopulation
            | Moment::DeviationSample => 1,
            _ => 2,
        }
    }
}

/// The values of one argument that are no finite numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Specials {
    nan: i64,
    positive: i64,
    negative: i64,
}

impl Specials {
    /// Notes a value; false if it is finite.
    fn note(&mut self, value: f64, diff: i64) -> bool {
        if value.is_finite() {
            return false;
        }
        let count = match () {
            () if value.is_nan() => &mut self.nan,
            () if value > 0.0 => &mut self.positive,
            () => &mut self.negative,
        };
        *count += diff;
        true
    }

    fn any(self) -> bool {
        self != Specials::default()
    }

    /// The sum of them.
    fn sum(self) -> f64 {
        match (self.nan != 0, self.positive != 0, self.negative != 0) {
            (false, true, false) => f64::INFINITY,
            (false, false, true) => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }
}

/// The sums of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    count: i64,
    x: Exact,
    y: Exact,
    xx: Exact,
    yy: Exact,
    xy: Exact,
    x_specials: Specials,
    y_specials: Specials,
}

impl Moments {
    /// Adds a value `diff` times.
    pub fn add(&mut self, x: f64, diff: i64) {
        self.count += diff;
        if !self.x_specials.note(x, diff) {
            add_squares(&mut self.x, &mut self.xx, Parts::of(x), diff);
        }
    }

    /// Adds a pair of values `diff` times.
    pub fn add_pair(&mut self, x: f64, y: f64, diff: i64) {
        self.count += diff;
        let x_parts = (!self.x_specials.note(x, diff)).then(|| Parts::of(x));
        let y_parts = (!self.y_specials.note(y, diff)).then(|| Parts::of(y));
        if let Some(x) = x_parts {
            add_squares(&mut self.x, &mut self.xx, x, diff);
        }
        if let Some(y) = y_parts {
            add_squares(&mut self.y, &mut self.yy, y, diff);
        }
        if let (Some(x), Some(y)) = (x_parts, y_parts) {
            self.xy.add_product(x, y, diff);
        }
    }

    /// What `moment` says of the values; `None` for NULL.
    pub fn answer(&self, moment: Moment) -> Option<f64> {
        let n = u64::try_from(self.count).ok().filter(|count| *count > 0)?;
        let value = match moment {
            Moment::VariancePopulation => self.spread_x(n, n),
            Moment::VarianceSample => self.spread_x(n, at_least_one(n - 1)?),
            Moment::DeviationPopulation => self.spread_x(n, n).sqrt(),
            Moment::DeviationSample => self.spread_x(n, at_least_one(n - 1)?).sqrt(),
            Moment::CovariancePopulation => self.spread_xy(n, n),
            Moment::CovarianceSample => self.spread_xy(n, at_least_one(n - 1)?),
            Moment::SquaresFirst => self.spread_x(n, 1),
            Moment::SquaresSecond => self.spread_y(n, 1),
            Moment::Products => self.spread_xy(n, 1),
            Moment::MeanFirst => mean(&self.x, self.x_specials, n),
            Moment::MeanSecond => mean(&self.y, self.y_specials, n),
            Moment::Correlation => self.correlation(n)?,
            Moment::Determination => self.determination(n)?,
            Moment::Slope => self.slope(n)?,
            Moment::Intercept => self.intercept(n)?,
        };
        // One zero and one NaN.
        Some(if value.is_nan() { f64::NAN } else { value + 0.0 })
    }

    /// The square of n times the deviation: n Σx² − (Σx)².
    fn squares_x(&self, n: u64) -> Big {
        let sum = self.x.big();
        self.xx.big().times_small(n).minus(&sum.times(&sum))
    }

    fn squares_y(&self, n: u64) -> Big {
        let sum = self.y.big();
        self.yy.big().times_small(n).minus(&sum.times(&sum))
    }

    fn products(&self, n: u64) -> Big {
        self.xy.big().times_small(n).minus(&self.x.big().times(&self.y.big()))
    }

    fn spread_x(&self, n: u64, by: u64) -> f64 {
        if self.x_specials.any() { f64::NAN } else { self.squares_x(n).divided(n, by) }
    }

    fn spread_y(&self, n: u64, by: u64) -> f64 {
        if self.y_specials.any() { f64::NAN } else { self.squares_y(n).divided(n, by) }
    }

    fn spread_xy(&self, n: u64, by: u64) -> f64 {
        if self.any_special() { f64::NAN } else { self.products(n).divided(n, by) }
    }

    fn any_special(&self) -> bool {
        self.x_specials.any() || self.y_specials.any()
    }

    /// Whether all first, and all second, values are equal.
    fn constant(&self, n: u64) -> (bool, bool) {
        let x = !self.x_specials.any() && self.squares_x(n).is_zero();
        (x, !self.y_specials.any() && self.squares_y(n).is_zero())
    }

    fn correlation(&self, n: u64) -> Option<f64> {
        let (x, y) = self.constant(n);
        if x || y {
            return None;
        }
        if self.any_special() {
            return Some(f64::NAN);
        }
        let products = self.products(n);
        let (xx, yy) = (self.squares_x(n), self.squares_y(n));
        if products.times(&products).minus(&xx.times(&yy)).is_zero() {
            return Some(if products.is_negative() { -1.0 } else { 1.0 });
        }
        // The square is a quotient near one at most; its root does not leave the range of floats.
        let size = ratio(&products.times(&products), &xx.times(&yy)).sqrt().min(1.0);
        Some(if products.is_negative() { -size } else { size })
    }

    fn determination(&self, n: u64) -> Option<f64> {
        match self.constant(n) {
            (_, true) => None,
            (true, false) => Some(1.0),
            (false, false) if self.any_special() => Some(f64::NAN),
            (false, false) => {
                let products = self.products(n);
                Some(ratio(&products.times(&products), &self.squares_x(n).times(&self.squares_y(n))))
            }
        }
    }

    fn slope(&self, n: u64) -> Option<f64> {
        match self.constant(n) {
            (_, true) => None,
            _ if self.any_special() => Some(f64::NAN),
            _ => Some(ratio(&self.products(n), &self.squares_y(n))),
        }
    }

    fn intercept(&self, n: u64) -> Option<f64> {
        match self.constant(n) {
            (_, true) => None,
            _ if self.any_special() => Some(f64::NAN),
            _ => {
                let squares = self.squares_y(n);
                let difference = self.x.big().times(&squares).minus(&self.y.big().times(&self.products(n)));
                Some(ratio(&difference, &squares.times_small(n)))
            }
        }
    }

    /// The sums as bytes, for [`Moments::merge`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Specials { nan, positive, negative } = self.x_specials;
        let y = self.y_specials;
        for count in [self.count, nan, positive, negative, y.nan, y.positive, y.negative] {
            bytes.extend(count.to_le_bytes());
        }
        [&self.x, &self.y, &self.xx, &self.yy, &self.xy].into_iter().for_each(|sum| sum.write(&mut bytes));
        bytes
    }

    /// Adds what [`Moments::to_bytes`] wrote; false if that is not what `bytes` are.
    #[must_use]
    pub fn merge(&mut self, mut bytes: &[u8]) -> bool {
        let bytes = &mut bytes;
        let (x, y) = (&mut self.x_specials, &mut self.y_specials);
        let counts = [
            &mut self.count,
            &mut x.nan,
            &mut x.positive,
            &mut x.negative,
            &mut y.nan,
            &mut y.positive,
            &mut y.negative,
        ];
        for count in counts {
            let Some(more) = take(bytes) else { return false };
            *count += i64::from_le_bytes(*more);
        }
        for sum in [&mut self.x, &mut self.y, &mut self.xx, &mut self.yy, &mut self.xy] {
            let Some(more) = Exact::read(bytes) else { return false };
            sum.merge(&more);
        }
        bytes.is_empty()
    }

    /// The bytes of memory behind the sums.
    pub fn heap_bytes(&self) -> usize {
        [&self.x, &self.y, &self.xx, &self.yy, &self.xy].iter().map(|sum| sum.limbs.capacity() * 8).sum()
    }
}

fn add_squares(sum: &mut Exact, squares: &mut Exact, value: Parts, diff: i64) {
    sum.add(value, diff);
    squares.add_product(value, value, diff);
}

fn at_least_one(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn mean(sum: &Exact, specials: Specials, n: u64) -> f64 {
    if specials.any() { specials.sum() } else { sum.big().divided(n, 1) }
}

/// A quotient of two numbers, each rounded first. They are scaled before, so that neither leaves the range of floats where
/// their quotient does not.
fn ratio(a: &Big, b: &Big) -> f64 {
    let (a, b, exponent) = Big::scaled(a, b);
    let mut value = a / b;
    // In steps: the power alone may be out of range. Numbers near one have lost no bits at the first.
    let mut rest = exponent;
    while rest != 0 && value != 0.0 && value.is_finite() {
        let step = rest.clamp(-960, 960);
        value *= 2f64.powi(step);
        rest -= step;
    }
    value
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value, 1));
        moments
    }

    fn pairs(values: &[(f64, f64)]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|(x, y)| moments.add_pair(*x, *y, 1));
        moments
    }

    #[test]
    fn variances_are_rounded_once() {
        let values = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(values.answer(Moment::VariancePopulation), Some(4.0));
        assert_eq!(values.answer(Moment::DeviationPopulation), Some(2.0));
        assert_eq!(values.answer(Moment::VarianceSample), Some(32.0 / 7.0));
        // What a running mean would lose entirely.
        let far = of(&[1e16, 1e16 + 2.0, 1e16 + 4.0]);
        assert_eq!(far.answer(Moment::VarianceSample), Some(4.0));
        assert_eq!(of(&[1e300, -1e300]).answer(Moment::VarianceSample), Some(f64::INFINITY));
        assert_eq!(of(&[5e-324, 0.0]).answer(Moment::VariancePopulation), Some(0.0));
        assert_eq!(of(&[3e-160, 0.0]).answer(Moment::VariancePopulation), Some(2.25e-320));
    }

    #[test]
    fn few_values_are_null() {
        assert_eq!(of(&[]).answer(Moment::VariancePopulation), None);
        assert_eq!(of(&[7.5]).answer(Moment::VarianceSample), None);
        assert_eq!(of(&[7.5]).answer(Moment::VariancePopulation), Some(0.0));
        let one = pairs(&[(1.0, 2.0)]);
        for moment in [Moment::CovarianceSample, Moment::Correlation, Moment::Slope, Moment::Determination] {
            assert_eq!(one.answer(moment), None);
        }
        assert!(of(&[1.0, f64::INFINITY]).answer(Moment::VariancePopulation).is_some_and(f64::is_nan));
    }

    #[test]
    fn lines_are_found() {
        let line: Vec<(f64, f64)> = (0..50).map(|k| f64::from(k) * 0.1).map(|x| (3.0 * x, x)).collect();
        let exact: Vec<(f64, f64)> = (0..50).map(|k| (f64::from(2 * k + 1), f64::from(k))).collect();
        let found = pairs(&exact);
        assert_eq!(found.answer(Moment::Slope), Some(2.0));
        assert_eq!(found.answer(Moment::Intercept), Some(1.0));
        assert_eq!(found.answer(Moment::Correlation), Some(1.0));
        assert_eq!(found.answer(Moment::Determination), Some(1.0));
        assert_eq!(found.answer(Moment::MeanSecond), Some(24.5));
        assert_eq!(found.answer(Moment::SquaresSecond), Some(10_412.5));
        assert!(pairs(&line).answer(Moment::Slope).is_some_and(|slope| (slope - 3.0).abs() < 1e-15));
        assert_eq!(pairs(&[(5.0, 1.0), (5.0, 2.0)]).answer(Moment::Determination), Some(1.0));
        assert_eq!(pairs(&[(1.0, 5.0), (2.0, 5.0)]).answer(Moment::Slope), None);
        assert_eq!(pairs(&[(1e200, 1e-200), (2e200, 2e-200)]).answer(Moment::Correlation), Some(1.0));
        let steep = pairs(&[(1e-200, 1e-250), (2e-200, 2e-250), (3e-200, 3e-250)]).answer(Moment::Slope);
        assert!(steep.is_some_and(|slope| (slope / 1e50 - 1.0).abs() < 1e-12), "{steep:?}");
    }

    #[test]
    fn retractions_and_merges_leave_the_same_sums() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..300 {
            let value = |random: &mut ChaCha8Rng| match random.random_range(0..12) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::from_bits(random.random::<u64>() & !(0x7ff << 52)),
                _ => f64::from(random.random::<f32>()) * 10f64.powi(random.random_range(-300..300)) - 1.0,
            };
            let rows: Vec<(f64, f64, i64)> = (0..random.random_range(1..20))
                .map(|_| (value(&mut random), value(&mut random), random.random_range(1..1 << 40)))
                .collect();
            let kept = random.random_range(0..=rows.len());
            let (mut all, mut some, mut rest) = (Moments::default(), Moments::default(), Moments::default());
            for (index, (x, y, count)) in rows.iter().enumerate() {
                all.add_pair(*x, *y, *count);
                if index < kept { &mut some } else { &mut rest }.add_pair(*x, *y, *count);
            }
            let mut merged = Moments::default();
            assert!(merged.merge(&rest.to_bytes()) && merged.merge(&some.to_bytes()));
            rows[kept..].iter().rev().for_each(|(x, y, count)| all.add_pair(*x, *y, -count));
            for moment in [Moment::VarianceSample, Moment::Correlation, Moment::Intercept, Moment::MeanSecond] {
                let bits = |moments: &Moments| moments.answer(moment).map(f64::to_bits);
                assert_eq!(bits(&all), bits(&some), "{moment:?} of {rows:?}");
                let mut whole = some.clone();
                assert!(whole.merge(&rest.to_bytes()));
                assert_eq!(bits(&whole), bits(&merged), "{moment:?} of {rows:?}");
            }
            if kept == 0 {
                assert_eq!((all.count, all.xx.limbs.len(), all.xy.limbs.len()), (0, 0, 0));
            }
        }
    }
}
