//! MEDIAN, PERCENTILE_CONT and PERCENTILE_DISC for reads, by the rules that views keep them by (`headwater_dataflow::quantile`).
//!
//! DataFusion does not have the third. Its first two give infinities for numbers far apart; its second cuts the place between
//! two values off at six digits, and counts from the wrong end, with a rounding, where the order is descending. Ours are
//! those of Postgres.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions_aggregate::{median::median_udaf, percentile_cont::percentile_cont_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use headwater_dataflow::quantile::{CollectedValues, Quantile, QuantileFunc};

/// Puts ours in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (func, theirs) in [
        (QuantileFunc::Median, Some(median_udaf())),
        (QuantileFunc::Continuous, Some(percentile_cont_udaf())),
        (QuantileFunc::Discrete, None),
    ] {
        let signature = match &theirs {
            Some(theirs) => theirs.signature().clone(),
            None => Signature::user_defined(Volatility::Immutable),
        };
        let aliases = theirs.map(|theirs| theirs.aliases().to_vec()).unwrap_or_default();
        state.register_udaf(Arc::new(AggregateUDF::from(OfOrder { func, signature, aliases })))?;
    }
    Ok(())
}

/// The quantile that a call of `name` asks for.
///
/// # Errors
/// A fraction that is none, or is not written out.
pub(in crate::sql) fn quantile(
    name: &str,
    func: QuantileFunc,
    fraction: Option<&ScalarValue>,
    descending: bool,
) -> Result<Quantile> {
    let known = match (func, fraction) {
        (QuantileFunc::Median, _) => Some(Quantile::median()),
        (_, Some(ScalarValue::Float64(Some(fraction)))) => Quantile::new(func, *fraction, descending),
        _ => None,
    };
    match known {
        Some(quantile) => Ok(quantile),
        None => plan_err!("the fraction of {} is a number from 0 to 1, written out", name),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfOrder {
    func: QuantileFunc,
    signature: Signature,
    aliases: Vec<String>,
}

impl AggregateUDFImpl for OfOrder {
    fn name(&self) -> &str {
        self.func.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [value, fraction] if fraction.is_numeric() => Ok(vec![value.clone(), DataType::Float64]),
            _ => plan_err!("percentile_disc is written percentile_disc(0.5) WITHIN GROUP (ORDER BY x)"),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match (self.func, &arg_types[0]) {
            (QuantileFunc::Median | QuantileFunc::Continuous, DataType::Null) => DataType::Float64,
            (_, data_type) => data_type.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let fraction = args.exprs.get(1).and_then(|fraction| fraction.downcast_ref::<Literal>()).map(Literal::value);
        let descending = args.order_bys.first().is_some_and(|key| key.options.descending);
        Ok(Box::new(Collected {
            quantile: quantile(self.name(), self.func, fraction, descending)?,
            distinct: args.is_distinct,
            result: args.return_field.data_type().clone(),
            values: CollectedValues::new(args.expr_fields[0].data_type()),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let values = DataType::new_list(args.input_fields[0].data_type().clone(), true);
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "values"), values, true))])
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
        self.func != QuantileFunc::Median
    }
}

#[derive(Debug)]
struct Collected {
    quantile: Quantile,
    distinct: bool,
    result: DataType,
    values: CollectedValues,
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.add(&values[0]);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.retract(&values[0]);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = self.values.answer(&self.quantile, self.distinct);
        // A column of the type NULL has no bits that say so.
        if answer.logical_null_count() > 0 {
            ScalarValue::try_from(&self.result)
        } else {
            ScalarValue::try_from_array(&answer, 0)
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.values.column();
        let data_type = values.data_type().clone();
        let list = arrow::array::ListArray::new(
            Arc::new(Field::new_list_field(data_type, true)),
            arrow::buffer::OffsetBuffer::from_lengths([values.len()]),
            values,
            None,
        );
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_list::<i32>().iter().flatten().for_each(|values| self.values.add(&values));
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.bytes()
    }
}
