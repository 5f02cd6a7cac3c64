//! Variance, covariance, correlation and regression for reads, from exact sums as in the dataflow.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, Signature};
use headwater_dataflow::exact::{Moment, Moments};

/// Puts ours in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let theirs: Vec<Arc<AggregateUDF>> = state.aggregate_functions().values().cloned().collect();
    for inner in theirs {
        if let Some(moment) = Moment::of(inner.name()) {
            let mut aliases = inner.aliases().to_vec();
            if moment == Moment::VarianceSample {
                aliases.push("variance".to_owned());
            }
            state.register_udaf(Arc::new(AggregateUDF::from(FromSums { inner, moment, aliases })))?;
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FromSums {
    inner: Arc<AggregateUDF>,
    moment: Moment,
    aliases: Vec<String>,
}

impl AggregateUDFImpl for FromSums {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return internal_err!("{}(DISTINCT) is planned over collected rows", self.name());
        }
        Ok(Box::new(Sums { moment: self.moment, sums: Moments::default() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sums"), DataType::Binary, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

#[derive(Debug)]
struct Sums {
    moment: Moment,
    sums: Moments,
}

impl Sums {
    fn change(&mut self, values: &[ArrayRef], diff: i64) {
        let first = values[0].as_primitive::<Float64Type>();
        if self.moment.arguments() == 1 {
            first.iter().flatten().for_each(|value| self.sums.add(value, diff));
            return;
        }
        for pair in first.iter().zip(values[1].as_primitive::<Float64Type>()) {
            if let (Some(first), Some(second)) = pair {
                self.sums.add_pair(first, second, diff);
            }
        }
    }
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.sums.answer(self.moment)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.sums.to_bytes()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sums in states[0].as_binary::<i32>().iter().flatten() {
            if !self.sums.merge(sums) {
                return internal_err!("the state of {} is none", self.moment.name());
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.heap_bytes()
    }
}
