//! All values of a group, for who asks once: reads.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{filter, is_not_null};
use arrow::datatypes::DataType;

use super::Quantile;
use crate::repr::Row;
use crate::repr::values::{ByteValues, ValueKind, codes, from_bytes, from_codes};

/// The values of a group in whatever order, without NULLs.
#[derive(Debug)]
pub struct CollectedValues {
    data_type: DataType,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Of types whose values are integer codes.
    Codes(Vec<i128>),
    /// Of others: bytes in the order of the values.
    Rows(Vec<Row>),
}

impl CollectedValues {
    /// Nothing yet of values of this type.
    pub fn new(data_type: &DataType) -> CollectedValues {
        let values = match ValueKind::of(data_type).is_code() {
            true => Values::Codes(Vec::new()),
            false => Values::Rows(Vec::new()),
        };
        CollectedValues { data_type: data_type.clone(), values }
    }

    /// Adds the values of a column that are not NULL.
    ///
    /// Panics on a column of another type.
    pub fn add(&mut self, column: &ArrayRef) {
        let column = without_nulls(column);
        match &mut self.values {
            Values::Codes(values) => values.extend(codes(&column).iter()),
            Values::Rows(values) => values.extend(rows(&column)),
        }
    }

    /// Takes the values of a column away, each as often as it stands there.
    ///
    /// Panics on a column of another type.
    pub fn retract(&mut self, column: &ArrayRef) {
        let column = without_nulls(column);
        match &mut self.values {
            Values::Codes(values) => take_away(values, codes(&column).iter().copied()),
            Values::Rows(values) => take_away(values, rows(&column)),
        }
    }

    /// The values as a column.
    pub fn column(&self) -> ArrayRef {
        match &self.values {
            Values::Codes(values) => {
                from_codes(&values.iter().map(|code| Some(*code)).collect::<Vec<_>>(), &self.data_type)
            }
            Values::Rows(values) => {
                from_bytes(&values.iter().map(|row| Some(row.bytes())).collect::<Vec<_>>(), &self.data_type)
            }
        }
    }

    /// The answer as a column of one row; of `distinct` values each counts once.
    pub fn answer(&mut self, quantile: &Quantile, distinct: bool) -> ArrayRef {
        match &mut self.values {
            Values::Codes(values) => {
                let answer = pick(values, quantile, distinct, |places, first, second| {
                    quantile.between(places, *first, *second, &self.data_type)
                });
                from_codes(&[answer], &self.data_type)
            }
            Values::Rows(values) => {
                let answer = pick(values, quantile, distinct, |_, first, _| first.clone());
                from_bytes(&[answer.as_ref().map(Row::bytes)], &self.data_type)
            }
        }
    }

    /// About how much memory the values take.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Codes(values) => values.capacity() * size_of::<i128>(),
            Values::Rows(values) => {
                values.capacity() * size_of::<Row>() + values.iter().map(Row::bytes_beside).sum::<usize>()
            }
        }
    }
}

fn without_nulls(column: &ArrayRef) -> ArrayRef {
    if column.logical_null_count() == 0 {
        return ArrayRef::clone(column);
    }
    let mask = is_not_null(column).expect("every column can be asked for NULLs");
    filter(column, &mask).expect("a mask as long as the column")
}

fn rows(column: &ArrayRef) -> impl Iterator<Item = Row> {
    let (bytes, len) = (ByteValues::new(column), column.len());
    (0..len).map(move |row| Row::new(bytes.get(row)))
}

fn take_away<V: Ord>(values: &mut Vec<V>, gone: impl Iterator<Item = V>) {
    let mut gone_times: BTreeMap<V, usize> = BTreeMap::new();
    gone.for_each(|value| *gone_times.entry(value).or_default() += 1);
    values.retain(|value| match gone_times.get_mut(value) {
        Some(times) if *times > 0 => {
            *times -= 1;
            false
        }
        _ => true,
    });
}

/// What `between` makes of the values in both places, unless there are none.
fn pick<V: Ord + Clone>(
    values: &mut Vec<V>,
    quantile: &Quantile,
    distinct: bool,
    between: impl Fn(&super::Places, &V, &V) -> V,
) -> Option<V> {
    let mut different;
    let values = if distinct {
        different = values.clone();
        different.sort_unstable();
        different.dedup();
        &mut different
    } else {
        values
    };
    if values.is_empty() {
        return None;
    }
    let places = quantile.places(i64::try_from(values.len()).expect("values are in memory"));
    let mut at = |place: i64| {
        let place = usize::try_from(place).expect("a place is not negative");
        values.select_nth_unstable(place).1.clone()
    };
    let (first, second) = (at(places.first), at(places.second));
    Some(between(&places, &first, &second))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::super::QuantileFunc;
    use super::*;

    #[test]
    fn nulls_do_not_count_and_copies_go_one_by_one() {
        let column = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let mut values = CollectedValues::new(&DataType::Int64);
        values.add(&column(vec![Some(3), None, Some(1), Some(1), Some(9)]));
        let half = Quantile::new(QuantileFunc::Discrete, 0.5, false).unwrap();
        let answer = |values: &mut CollectedValues, distinct| {
            let answer = values.answer(&half, distinct);
            answer.is_valid(0).then(|| answer.as_primitive::<Int64Type>().value(0))
        };
        assert_eq!((answer(&mut values, false), answer(&mut values, true)), (Some(1), Some(3)));
        values.retract(&column(vec![Some(1), None]));
        assert_eq!(answer(&mut values, false), Some(3));
        values.retract(&column(vec![Some(1), Some(3), Some(9)]));
        assert_eq!(answer(&mut values, false), None);
    }

    #[test]
    fn texts_have_an_order() {
        let mut values = CollectedValues::new(&DataType::Utf8);
        values.add(&(Arc::new(StringArray::from(vec![Some("pear"), None, Some("apple"), Some("fig")])) as ArrayRef));
        let last = Quantile::new(QuantileFunc::Discrete, 1.0, false).unwrap();
        assert_eq!(values.answer(&last, false).as_string::<i32>().value(0), "pear");
        assert_eq!(values.column().len(), 3);
    }
}
