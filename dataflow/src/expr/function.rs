//! Function calls whose arguments' fields are worked out once.
//!
//! DataFusion asks every argument for its field at every evaluation, down to whether each CASE below it can be NULL. For a
//! tick of one row that costs as much as the function itself.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::ScalarExpr;

impl ScalarExpr {
    /// The same expression, ready to be evaluated over batches of `input` again and again.
    ///
    /// Panics if it is not bound to `input`: then the plan and its schemas disagree.
    pub(crate) fn prepared(&self, input: &Schema) -> ScalarExpr {
        let prepared = Arc::clone(&self.expr).transform_up(|node| {
            let Some(call) = node.downcast_ref::<ScalarFunctionExpr>() else { return Ok(Transformed::no(node)) };
            Ok(Transformed::yes(Arc::new(PreparedCall {
                function: Arc::new(call.fun().clone()),
                args: call.args().to_vec(),
                arg_fields: call.args().iter().map(|arg| arg.return_field(input)).collect::<Result<_>>()?,
                return_field: call.return_field(input)?,
                options: Arc::new(call.config_options().clone()),
                call: Arc::clone(&node),
            })))
        });
        let expr = prepared.unwrap_or_else(|error| panic!("{} is not bound to its input: {error}", self.name)).data;
        ScalarExpr { expr, ..self.clone() }
    }
}

/// A call with the fields of its arguments.
#[derive(Debug)]
struct PreparedCall {
    /// The call as it was planned.
    call: Arc<dyn PhysicalExpr>,
    function: Arc<ScalarUDF>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    arg_fields: Vec<FieldRef>,
    return_field: FieldRef,
    options: Arc<ConfigOptions>,
}

// The call says it all: the rest is derived from it and from the input.
impl PartialEq for PreparedCall {
    fn eq(&self, other: &Self) -> bool {
        self.call.eq(&other.call)
    }
}

impl Eq for PreparedCall {}

impl Hash for PreparedCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.call.hash(state);
    }
}

impl fmt::Display for PreparedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl PhysicalExpr for PreparedCall {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.return_field.data_type().clone())
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(self.return_field.is_nullable())
    }

    fn return_field(&self, _input: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.return_field))
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue> {
        let args = self.args.iter().map(|arg| arg.evaluate(rows)).collect::<Result<Vec<_>>>()?;
        let constant = !args.is_empty() && args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let value = self.function.invoke_with_args(ScalarFunctionArgs {
            args,
            arg_fields: self.arg_fields.clone(),
            number_rows: rows.num_rows(),
            return_field: Arc::clone(&self.return_field),
            config_options: Arc::clone(&self.options),
        })?;
        match &value {
            ColumnarValue::Array(array) if array.len() != rows.num_rows() => {
                if !constant || array.len() != 1 {
                    return internal_err!("{self} gave {} values for {} rows", array.len(), rows.num_rows());
                }
                ScalarValue::try_from_array(array, 0).map(ColumnarValue::Scalar)
            }
            _ => Ok(value),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.args.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        // A call over other arguments has to be prepared anew.
        Arc::clone(&self.call).with_new_children(children)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::Field;
    use datafusion::functions::math::abs;
    use datafusion::physical_expr::expressions::{Column, Literal};

    use super::*;

    fn call(arg: Arc<dyn PhysicalExpr>, input: &Schema) -> ScalarExpr {
        let expr = ScalarFunctionExpr::try_new(abs(), vec![arg], input, Arc::default()).unwrap();
        ScalarExpr { expr: Arc::new(expr), name: "abs".to_owned(), data_type: DataType::Int64, nullable: true }
    }

    #[test]
    fn a_prepared_call_gives_what_the_call_gives() {
        let input = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let rows = Int64Array::from(vec![Some(-3), None, Some(4)]);
        let rows = RecordBatch::try_new(Arc::new(input.clone()), vec![Arc::new(rows)]).unwrap();
        let inner = call(Arc::new(Column::new("n", 0)), &input);
        let constant: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Int64(Some(-7))));
        for planned in [inner.clone(), call(inner.expr, &input), call(constant, &input)] {
            let prepared = planned.prepared(&input);
            assert!(prepared.expr.downcast_ref::<PreparedCall>().is_some());
            let values = |expr: &ScalarExpr| expr.expr.evaluate(&rows).unwrap().into_array(rows.num_rows()).unwrap();
            assert_eq!(&values(&planned), &values(&prepared));
            assert_eq!(planned.to_string(), prepared.to_string());
            assert_eq!(planned.expr.return_field(&input).unwrap(), prepared.expr.return_field(&input).unwrap());
        }
    }
}
