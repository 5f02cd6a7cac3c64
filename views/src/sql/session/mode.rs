//! MODE, which DataFusion does not have. It sees a group's values in ascending order, NULL first: where rows are collected
//! (`ordered`), that is the order of rows without another one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// Adds the function.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let signature = Signature::user_defined(Volatility::Immutable);
    state.register_udaf(Arc::new(AggregateUDF::from(Mode { signature })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mode {
    signature: Signature,
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &str {
        "mode"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [value] => Ok(vec![value.clone()]),
            _ => plan_err!("mode is written mode() WITHIN GROUP (ORDER BY x)"),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let descending = args.order_bys.first().is_some_and(|key| key.options.descending);
        let answer = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(Box::new(MostFrequent { descending, answer }))
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        internal_err!("mode is computed over collected rows")
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// The most frequent of all values, which come at once.
#[derive(Debug)]
struct MostFrequent {
    descending: bool,
    answer: ScalarValue,
}

impl Accumulator for MostFrequent {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = &values[0];
        let nulls = values.logical_null_count();
        let values = values.slice(nulls, values.len() - nulls);
        if !values.is_empty() {
            self.answer = ScalarValue::try_from_array(&values, most_frequent(&values, self.descending)?)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.answer.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("mode is computed over collected rows")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("mode is computed over collected rows")
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
