//! PERCENTILE_DISC and MODE, which DataFusion does not have. They see a group's values in ascending order, NULL first: where
//! rows are collected (`ordered`), that is the order of rows without another one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;

/// Adds both functions.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for function in [Function::PercentileDisc, Function::Mode] {
        let signature = Signature::user_defined(Volatility::Immutable);
        state.register_udaf(Arc::new(AggregateUDF::from(OrderedSet { function, signature })))?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    PercentileDisc,
    Mode,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedSet {
    function: Function,
    signature: Signature,
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.function {
            Function::PercentileDisc => "percentile_disc",
            Function::Mode => "mode",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.function, arg_types) {
            (Function::PercentileDisc, [value, fraction]) if fraction.is_numeric() => {
                Ok(vec![value.clone(), DataType::Float64])
            }
            (Function::Mode, [value]) => Ok(vec![value.clone()]),
            (Function::PercentileDisc, _) => {
                plan_err!("percentile_disc is written percentile_disc(0.5) WITHIN GROUP (ORDER BY x)")
            }
            (Function::Mode, _) => plan_err!("mode is written mode() WITHIN GROUP (ORDER BY x)"),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let descending = args.order_bys.first().is_some_and(|key| key.options.descending);
        let fraction = match self.function {
            Function::Mode => None,
            Function::PercentileDisc => match args.exprs[1].downcast_ref::<Literal>().map(Literal::value) {
                Some(ScalarValue::Float64(Some(fraction))) if (0.0..=1.0).contains(fraction) => Some(*fraction),
                _ => return plan_err!("the fraction of percentile_disc is a number from 0 to 1, written out"),
            },
        };
        let answer = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(Box::new(Chosen { fraction, descending, answer }))
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        internal_err!("{} is computed over collected rows", self.name())
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// The chosen value of all values, which come at once.
#[derive(Debug)]
struct Chosen {
    /// Of PERCENTILE_DISC.
    fraction: Option<f64>,
    descending: bool,
    answer: ScalarValue,
}

impl Accumulator for Chosen {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = &values[0];
        let nulls = values.logical_null_count();
        let values = values.slice(nulls, values.len() - nulls);
        if values.is_empty() {
            return Ok(());
        }
        let place = match self.fraction {
            Some(fraction) => {
                // The first value at which at least the fraction of all is reached.
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let rank = (fraction * values.len() as f64).ceil() as usize;
                let rank = rank.clamp(1, values.len()) - 1;
                if self.descending { values.len() - 1 - rank } else { rank }
            }
            None => most_frequent(&values, self.descending)?,
        };
        self.answer = ScalarValue::try_from_array(&values, place)?;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.answer.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("percentile_disc and mode are computed over collected rows")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("percentile_disc and mode are computed over collected rows")
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.answer.size()
    }
}

/// Where the longest run of equal values begins; of equally long ones the first in the asked direction.
fn most_frequent(values: &ArrayRef, descending: bool) -> Result<usize> {
    let runs = arrow::compute::partition(&[Arc::clone(values)])?.ranges();
    let mut best = 0..0;
    for run in runs {
        if run.len() > best.len() || (descending && run.len() == best.len()) {
            best = run;
        }
    }
    Ok(best.start)
}
