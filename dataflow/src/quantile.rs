//! Medians and percentiles: which values of a group in order the answer lies between, and where between them.
//!
//! Views keep a group's values in order and look at two of them; reads collect them. Both ask here.

mod collected;

use arrow::datatypes::DataType;

use crate::repr::values::{code_float, float_code};
pub use collected::CollectedValues;

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantileFunc {
    /// MEDIAN: the middle of the two values in the middle; of decimals cut off at their scale.
    Median,
    /// PERCENTILE_CONT: a straight line between two neighbours.
    Continuous,
    /// PERCENTILE_DISC: the first value at which at least the fraction of all is reached.
    Discrete,
}

impl QuantileFunc {
    /// The function of this name.
    pub fn of(name: &str) -> Option<QuantileFunc> {
        [QuantileFunc::Median, QuantileFunc::Continuous, QuantileFunc::Discrete]
            .into_iter()
            .find(|func| func.name() == name)
    }

    /// Its name in SQL text.
    pub fn name(self) -> &'static str {
        match self {
            QuantileFunc::Median => "median",
            QuantileFunc::Continuous => "percentile_cont",
            QuantileFunc::Discrete => "percentile_disc",
        }
    }
}

/// A function with its fraction and direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    func: QuantileFunc,
    fraction: f64,
    descending: bool,
}

// A fraction is a number.
impl Eq for Quantile {}

/// Two places in ascending order, counted from 0, and how far the answer lies from the first to the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Places {
    pub(crate) first: i64,
    pub(crate) second: i64,
    weight: f64,
}

impl Quantile {
    /// `fraction` of the values in order stand before the answer: `None` unless it is from 0 to 1.
    pub fn new(func: QuantileFunc, fraction: f64, descending: bool) -> Option<Quantile> {
        (0.0..=1.0).contains(&fraction).then_some(Quantile { func, fraction, descending })
    }

    /// The median.
    pub fn median() -> Quantile {
        Quantile { func: QuantileFunc::Median, fraction: 0.5, descending: false }
    }

    /// The function.
    pub fn func(&self) -> QuantileFunc {
        self.func
    }

    /// The part of the values that stands before the answer.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }

    /// Whether the greatest value comes first.
    pub fn descending(&self) -> bool {
        self.descending
    }

    /// Whether values of `data_type` have it: between two texts or times there is nothing.
    pub fn is_of(&self, data_type: &DataType) -> bool {
        let float = matches!(data_type, DataType::Float32 | DataType::Float64);
        match self.func {
            QuantileFunc::Discrete => true,
            QuantileFunc::Continuous => float,
            QuantileFunc::Median => float || matches!(data_type, DataType::Decimal128(..)),
        }
    }

    /// Which of `count` values the answer lies between. Panics without values.
    // Beyond 2^53 values a place is rounded, as everybody's is.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub(crate) fn places(&self, count: i64) -> Places {
        assert!(count > 0, "nothing has no quantiles");
        let last = count - 1;
        let (first, second, weight) = match self.func {
            QuantileFunc::Median => return Places { first: last / 2, second: count / 2, weight: 0.5 },
            QuantileFunc::Continuous => {
                let place = self.fraction * last as f64;
                (place.floor() as i64, place.ceil() as i64, place - place.floor())
            }
            QuantileFunc::Discrete => {
                let place = (self.fraction * count as f64).ceil() as i64 - 1;
                (place, place, 0.0)
            }
        };
        let (first, second) = (first.clamp(0, last), second.clamp(0, last));
        match self.descending {
            true => Places { first: last - first, second: last - second, weight },
            false => Places { first, second, weight },
        }
    }

    /// The code of the answer over `count` values, of which `at` gives the codes in order by their places.
    pub(crate) fn answer(&self, count: i64, data_type: &DataType, at: impl Fn(i64) -> i128) -> Option<i128> {
        if count <= 0 {
            return None;
        }
        let places = self.places(count);
        let first = at(places.first);
        let second = if places.second == places.first { first } else { at(places.second) };
        Some(self.between(&places, first, second, data_type))
    }

    /// The code of the answer from those of the values in both places.
    pub(crate) fn between(&self, places: &Places, first: i128, second: i128, data_type: &DataType) -> i128 {
        if first == second {
            return first;
        }
        if !data_type.is_floating() {
            return first.midpoint(second);
        }
        let (first, second) = (code_float(first), code_float(second));
        let value = match self.func {
            QuantileFunc::Median => first.midpoint(second),
            _ => on_line(first, second, places.weight),
        };
        float_code(if *data_type == DataType::Float32 { f64::from(value as f32) } else { value })
    }
}

/// The value at `weight` on the way from `first` to `second`.
fn on_line(first: f64, second: f64, weight: f64) -> f64 {
    let way = second - first;
    if way.is_finite() {
        let (least, greatest) = (first.min(second), first.max(second));
        return (first + weight * way).clamp(least, greatest);
    }
    // Infinities, and numbers so far apart that their distance is none.
    if weight == 0.0 { first } else { first * (1.0 - weight) + second * weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(func: QuantileFunc, fraction: f64, descending: bool, values: &[f64]) -> f64 {
        let quantile = Quantile::new(func, fraction, descending).unwrap();
        let mut codes: Vec<i128> = values.iter().map(|value| float_code(*value)).collect();
        codes.sort_unstable();
        let places = quantile.places(i64::try_from(codes.len()).unwrap());
        let code = |place: i64| codes[usize::try_from(place).unwrap()];
        code_float(quantile.between(&places, code(places.first), code(places.second), &DataType::Float64))
    }

    #[test]
    fn answers_lie_where_postgres_has_them() {
        let values = [40.0, 10.0, 30.0, 20.0];
        for (func, fraction, descending, expected) in [
            (QuantileFunc::Median, 0.5, false, 25.0),
            (QuantileFunc::Continuous, 0.0, false, 10.0),
            (QuantileFunc::Continuous, 0.25, false, 17.5),
            (QuantileFunc::Continuous, 0.25, true, 32.5),
            (QuantileFunc::Continuous, 0.75, true, 17.5),
            (QuantileFunc::Continuous, 1.0, true, 10.0),
            (QuantileFunc::Discrete, 0.0, false, 10.0),
            (QuantileFunc::Discrete, 0.25, false, 10.0),
            (QuantileFunc::Discrete, 0.26, false, 20.0),
            (QuantileFunc::Discrete, 0.5, true, 30.0),
            (QuantileFunc::Discrete, 1.0, true, 10.0),
        ] {
            assert_eq!(answer(func, fraction, descending, &values), expected, "{func:?} {fraction} {descending}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_far_apart_is_bounded_by_its_neighbours() {
        let (max, inf) = (f64::MAX, f64::INFINITY);
        assert_eq!(answer(QuantileFunc::Median, 0.5, false, &[max, max / 2.0]), max * 0.75);
        assert_eq!(answer(QuantileFunc::Continuous, 0.5, false, &[-max, max]), 0.0);
        assert_eq!(answer(QuantileFunc::Continuous, 0.3, false, &[inf, inf]), inf);
        assert_eq!(answer(QuantileFunc::Continuous, 0.3, false, &[-inf, 5.0]), -inf);
        assert_eq!(answer(QuantileFunc::Continuous, 0.3, false, &[5.0, inf]), inf);
        assert!(answer(QuantileFunc::Continuous, 0.5, false, &[-inf, inf]).is_nan());
        assert!(answer(QuantileFunc::Continuous, 0.9, false, &[1.0, f64::NAN]).is_nan());
        assert_eq!(answer(QuantileFunc::Continuous, 0.4, false, &[1.0, 2.0, f64::NAN]), 1.8);
        assert!(Quantile::new(QuantileFunc::Continuous, f64::NAN, false).is_none());
        assert!(Quantile::new(QuantileFunc::Continuous, 1.1, false).is_none());
    }

    #[test]
    fn the_middle_of_decimals_is_cut_off_towards_zero() {
        let middle = |a: i128, b: i128| {
            let median = Quantile::median();
            median.between(&median.places(2), a, b, &DataType::Decimal128(38, 2))
        };
        assert_eq!((middle(287, 288), middle(-288, -287), middle(-1, 2)), (287, -287, 0));
        let greatest = 10_i128.pow(38) - 1;
        assert_eq!(middle(greatest - 2, greatest), greatest - 1);
    }
}
