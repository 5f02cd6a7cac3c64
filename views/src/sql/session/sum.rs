//! SUM and AVG for reads, as the dataflow computes them: integers and decimals checked, floats exactly and rounded once,
//! so that a read over a source equals the view that maintains it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

/// Puts our SUM and AVG in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (inner, mean) in [(sum_udaf(), false), (avg_udaf(), true)] {
        state.register_udaf(Arc::new(AggregateUDF::from(Exact { inner, mean })))?;
    }
    Ok(())
}

/// DataFusion's function with our accumulator where its own could wrap or would depend on the order of its input.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    inner: Arc<AggregateUDF>,
    mean: bool,
}

impl Exact {
    fn ours(&self, distinct: bool, argument: Option<&FieldRef>) -> bool {
        !distinct
            && match argument.map(|field| field.data_type()) {
                Some(DataType::Float64) => true,
                Some(DataType::Int64 | DataType::Decimal128(..)) => !self.mean,
                _ => false,
            }
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !self.ours(args.is_distinct, args.expr_fields.first()) {
            return self.inner.accumulator(args);
        }
        let data_type = args.return_field.data_type().clone();
        Ok(match args.expr_fields[0].data_type() {
            DataType::Float64 => Box::new(FloatSum { mean: self.mean, ..FloatSum::default() }),
            _ => Box::new(IntegerSum { data_type, sum: 0, count: 0 }),
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if self.ours(args.is_distinct, args.expr_fields.first()) {
            self.accumulator(args)
        } else {
            self.inner.create_sliding_accumulator(args)
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !self.ours(args.is_distinct, args.input_fields.first()) {
            return self.inner.state_fields(args);
        }
        let sum = match args.input_fields[0].data_type() {
            DataType::Float64 => DataType::new_list(DataType::Float64, true),
            _ => DataType::Decimal128(38, 0),
        };
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "sum"), sum, true)),
            Arc::new(Field::new(format_state_name(args.name, "count"), DataType::Int64, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !self.ours(args.is_distinct, args.expr_fields.first()) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// A sum of integers or of the digits of decimals.
#[derive(Debug)]
struct IntegerSum {
    data_type: DataType,
    sum: i128,
    count: i64,
}

impl IntegerSum {
    fn add(&mut self, values: &ArrayRef, sign: i128) -> Result<()> {
        let mut add = |value: i128| {
            self.sum = self.sum.checked_add(sign * value).ok_or_else(overflow)?;
            Ok::<(), DataFusionError>(())
        };
        match values.data_type() {
            DataType::Int64 => {
                values.as_primitive::<Int64Type>().iter().flatten().try_for_each(|v| add(i128::from(v)))?
            }
            _ => values.as_primitive::<Decimal128Type>().iter().flatten().try_for_each(add)?,
        }
        self.count += count(values) * if sign > 0 { 1 } else { -1 };
        Ok(())
    }
}

fn overflow() -> DataFusionError {
    DataFusionError::Execution("the sum does not fit its type".to_owned())
}

fn count(values: &ArrayRef) -> i64 {
    i64::try_from(values.len() - values.null_count()).unwrap_or(i64::MAX)
}

impl Accumulator for IntegerSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.data_type);
        }
        match self.data_type {
            DataType::Int64 => Ok(ScalarValue::Int64(Some(i64::try_from(self.sum).map_err(|_| overflow())?))),
            DataType::Decimal128(precision, scale) => {
                if self.sum.unsigned_abs() >= 10_u128.pow(u32::from(precision)) {
                    return Err(overflow());
                }
                Ok(ScalarValue::Decimal128(Some(self.sum), precision, scale))
            }
            _ => exec_err!("a sum of type {}", self.data_type),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(Some(self.sum), 38, 0), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in states[0].as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = self.sum.checked_add(sum).ok_or_else(overflow)?;
        }
        self.count += states[1].as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum of floats without rounding: `parts` do not overlap and add up to it exactly. What is not finite is counted.
#[derive(Debug, Default)]
struct FloatSum {
    mean: bool,
    parts: Vec<f64>,
    count: i64,
    nan: i64,
    positive: i64,
    negative: i64,
}

impl FloatSum {
    fn add(&mut self, value: f64, sign: i64) {
        if value.is_nan() {
            self.nan += sign;
        } else if value == f64::INFINITY {
            self.positive += sign;
        } else if value == f64::NEG_INFINITY {
            self.negative += sign;
        } else {
            self.add_finite(if sign > 0 { value } else { -value });
        }
    }

    fn add_finite(&mut self, mut value: f64) {
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let mut part = self.parts[at];
            if value.abs() < part.abs() {
                std::mem::swap(&mut value, &mut part);
            }
            let sum = value + part;
            let rest = part - (sum - value);
            if rest != 0.0 {
                self.parts[kept] = rest;
                kept += 1;
            }
            value = sum;
        }
        self.parts.truncate(kept);
        if value != 0.0 {
            self.parts.push(value);
        }
    }

    /// The sum, rounded once, half to even.
    fn total(&self) -> f64 {
        if self.nan > 0 || (self.positive > 0 && self.negative > 0) {
            return f64::NAN;
        } else if self.positive > 0 {
            return f64::INFINITY;
        } else if self.negative > 0 {
            return f64::NEG_INFINITY;
        }
        let mut rest = self.parts.iter().rev();
        let Some(mut high) = rest.next().copied() else { return 0.0 };
        while let Some(part) = rest.next() {
            let sum = high + part;
            let low = part - (sum - high);
            high = sum;
            if low != 0.0 {
                // Half way between two floats: what follows decides to which side.
                if let Some(next) = rest.next()
                    && (low < 0.0) == (*next < 0.0)
                {
                    let twice = low * 2.0;
                    let up = high + twice;
                    if up - high == twice {
                        high = up;
                    }
                }
                break;
            }
        }
        if high.is_nan() { f64::NAN } else { high + 0.0 }
    }
}

impl Accumulator for FloatSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|value| self.add(value, 1));
        self.count += count(&values[0]);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|value| self.add(value, -1));
        self.count -= count(&values[0]);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::Float64(None));
        }
        let total = self.total();
        // A count above 2^53 is out of reach.
        #[allow(clippy::cast_precision_loss)]
        let value = if self.mean { total / self.count as f64 } else { total };
        Ok(ScalarValue::Float64(Some(value + 0.0)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let specials = [(self.nan, f64::NAN), (self.positive, f64::INFINITY), (self.negative, f64::NEG_INFINITY)];
        let specials = specials.into_iter().filter(|(count, _)| *count > 0).map(|(_, value)| value);
        let parts: Vec<ScalarValue> =
            self.parts.iter().copied().chain(specials).map(|part| ScalarValue::Float64(Some(part))).collect();
        let list = ScalarValue::new_list_nullable(&parts, &DataType::Float64);
        Ok(vec![ScalarValue::List(list), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            list.as_primitive::<Float64Type>().iter().flatten().for_each(|part| self.add(part, 1));
        }
        self.count += states[1].as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.parts.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(values: &[f64]) -> f64 {
        let mut sum = FloatSum::default();
        values.iter().for_each(|value| sum.add(*value, 1));
        sum.total()
    }

    #[test]
    fn float_sums_are_exact() {
        assert_eq!(total(&[0.1; 10]), 1.0);
        assert_eq!(total(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(total(&[1e16, 1.0, 1e-16]), 1e16 + 2.0);
        assert_eq!(total(&[]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(total(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(total(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn retractions_cancel_to_the_bit() {
        let mut sum = FloatSum::default();
        for value in [0.1, 1e300, 3.7, f64::NAN] {
            sum.add(value, 1);
        }
        for value in [1e300, f64::NAN, 0.1] {
            sum.add(value, -1);
        }
        assert_eq!(sum.total(), 3.7);
    }
}
