//! APPROX_DISTINCT, APPROX_PERCENTILE_CONT and APPROX_MEDIAN for reads, by the estimates of the dataflow: they depend on which
//! rows there are and not on their order, and are exact while values are few.
//!
//! DataFusion's estimates depend on the order of rows, or are none of few values. What it can say beyond ours, how many
//! centroids there are, stays its own, over rows in the order that they determine (`ordered`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::functions_aggregate::approx_median::approx_median_udaf;
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::physical_expr::expressions::Literal;
use headwater_dataflow::estimate::{DistinctEstimate, QuantileEstimate, hashes};
use headwater_dataflow::quantile::{Quantile, QuantileFunc};

use super::quantiles::quantile;

/// Puts ours in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udaf(Arc::new(AggregateUDF::from(Distinct { inner: approx_distinct_udaf() })))?;
    for inner in [approx_percentile_cont_udaf(), approx_median_udaf()] {
        state.register_udaf(Arc::new(AggregateUDF::from(Percentile { inner })))?;
    }
    Ok(())
}

/// Whether a call of an approximate percentile is answered by an estimate of ours.
pub(in crate::sql) fn is_estimated(name: &str, args: usize, distinct: bool) -> bool {
    !distinct && matches!((name, args), ("approx_percentile_cont", 2) | ("approx_median", 1))
}

/// The quantile that such a call asks for.
///
/// # Errors
/// A fraction that is none, or is not written out.
pub(in crate::sql) fn estimated(name: &str, fraction: Option<&ScalarValue>, descending: bool) -> Result<Quantile> {
    let half = ScalarValue::Float64(Some(0.5));
    let fraction = if name == "approx_median" { Some(&half) } else { fraction };
    quantile(name, QuantileFunc::Continuous, fraction, descending)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Distinct {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Distinct {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Different::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "hashes"), DataType::Binary, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug, Default)]
struct Different(DistinctEstimate);

impl Accumulator for Different {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let nulls = values[0].logical_nulls();
        if values[0].logical_null_count() == values[0].len() {
            return Ok(());
        }
        for (row, hash) in hashes(&values[0]).into_iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                self.0.add(hash);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(i64::try_from(self.0.count()).unwrap_or(i64::MAX))))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.0.to_bytes()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for estimate in states[0].as_binary::<i32>().iter().flatten() {
            if !self.0.merge(estimate) {
                return internal_err!("the state of approx_distinct is none");
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.bytes()
    }
}

/// DataFusion's function, with our estimate where that serves.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let float = args.expr_fields[0].data_type().is_floating();
        if !float || !is_estimated(self.name(), args.exprs.len(), args.is_distinct) {
            return self.inner.accumulator(args);
        }
        let fraction = args.exprs.get(1).and_then(|fraction| fraction.downcast_ref::<Literal>()).map(Literal::value);
        let descending = args.order_bys.first().is_some_and(|key| key.options.descending);
        Ok(Box::new(About {
            quantile: estimated(self.name(), fraction, descending)?,
            result: args.return_field.data_type().clone(),
            estimate: QuantileEstimate::default(),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !args.input_fields[0].data_type().is_floating()
            || !is_estimated(self.name(), args.input_fields.len(), args.is_distinct)
        {
            return self.inner.state_fields(args);
        }
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "estimate"), DataType::Binary, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        // The direction of ORDER BY comes along, the rows may come in any order.
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.inner().supports_within_group_clause()
    }
}

#[derive(Debug)]
struct About {
    quantile: Quantile,
    result: DataType,
    estimate: QuantileEstimate,
}

impl Accumulator for About {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.estimate.add_column(&values[0]);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.estimate.answer(&self.quantile, &self.result), 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.estimate.to_bytes()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for estimate in states[0].as_binary::<i32>().iter().flatten() {
            if !self.estimate.merge(estimate) {
                return internal_err!("the state of an approximate percentile is none");
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.estimate.bytes()
    }
}
