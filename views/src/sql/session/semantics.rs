//! Two rules of the analyzer that make every expression mean what ARCHITECTURE.md says: our types only, and operators
//! that fail instead of wrapping or inventing infinities.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::arithmetic::{Arithmetic, Canonical, IntervalLength};
use super::types::{INTERVAL, timestamptz};

/// Functions that return other types than ours get a cast around them: nanoseconds become microseconds, unsigned
/// integers signed ones, views of texts texts.
#[derive(Debug)]
pub(super) struct OurTypes;

impl AnalyzerRule for OurTypes {
    fn name(&self) -> &str {
        "our_types"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &|expr, schema| {
            let target = match &expr {
                Expr::ScalarFunction(_) | Expr::HigherOrderFunction(_) => our_type(&expr.get_type(schema)?),
                _ => None,
            };
            Ok(match target {
                Some(target) => Transformed::yes(Expr::Cast(Cast::new(Box::new(expr), target))),
                None => Transformed::no(expr),
            })
        })
    }
}

/// The type that stands for a foreign one.
pub(super) fn our_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "+00:00" => None,
        DataType::Timestamp(..) => Some(timestamptz()),
        DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        DataType::Date64 => Some(DataType::Date32),
        DataType::Int8 | DataType::UInt8 => Some(DataType::Int16),
        DataType::UInt16 => Some(DataType::Int32),
        DataType::UInt32 | DataType::UInt64 => Some(DataType::Int64),
        DataType::Float16 => Some(DataType::Float32),
        DataType::Dictionary(_, value) => Some(our_type(value).unwrap_or_else(|| value.as_ref().clone())),
        _ => None,
    }
}

/// Arithmetic is replaced by [`Arithmetic`], floats that could be −0 or an odd NaN are made canonical, and intervals are
/// compared by their length.
#[derive(Debug)]
pub(super) struct OurOperators;

impl AnalyzerRule for OurOperators {
    fn name(&self) -> &str {
        "our_operators"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &operator)
    }
}

fn operator(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(binary) => binary_operator(binary, schema),
        Expr::Negative(inner) => {
            let data_type = inner.get_type(schema)?;
            if data_type.is_signed_integer() {
                let zero = Expr::Literal(ScalarValue::new_zero(&data_type)?, None);
                Ok(Transformed::yes(Arithmetic::call(Operator::Minus, zero, *inner)))
            } else if data_type.is_floating() {
                Ok(Transformed::yes(Canonical::call(Expr::Negative(inner))))
            } else {
                Ok(Transformed::no(Expr::Negative(inner)))
            }
        }
        // A function's own result can be anything; so can a text that is read as a number.
        Expr::ScalarFunction(function) => {
            let ours = function.func.inner().is::<Arithmetic>() || function.func.inner().is::<Canonical>();
            let expr = Expr::ScalarFunction(function);
            canonical_if(!ours && expr.get_type(schema)?.is_floating(), expr)
        }
        Expr::Cast(cast) => {
            let odd = may_be_odd(&cast.expr.get_type(schema)?, cast.field.data_type());
            canonical_if(odd, Expr::Cast(cast))
        }
        Expr::TryCast(cast) => {
            let odd = may_be_odd(&cast.expr.get_type(schema)?, cast.field.data_type());
            canonical_if(odd, Expr::TryCast(cast))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Whether a cast can give −0 or an odd NaN: from texts that spell them, and from floats too small for the new type.
fn may_be_odd(from: &DataType, to: &DataType) -> bool {
    to.is_floating() && from != to && (from.is_string() || from.is_floating())
}

fn canonical_if(condition: bool, expr: Expr) -> Result<Transformed<Expr>> {
    Ok(if condition { Transformed::yes(Canonical::call(expr)) } else { Transformed::no(expr) })
}

fn binary_operator(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = binary;
    let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
    match op {
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
            if left_type.is_numeric() && right_type.is_numeric() =>
        {
            Ok(Transformed::yes(Arithmetic::call(op, *left, *right)))
        }
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
            if is_interval(&left_type) && is_interval(&right_type) =>
        {
            let left = IntervalLength::call(as_interval(*left, &left_type));
            let right = IntervalLength::call(as_interval(*right, &right_type));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))))
        }
        _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
    }
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn as_interval(expr: Expr, data_type: &DataType) -> Expr {
    if *data_type == INTERVAL { expr } else { Expr::Cast(Cast::new(Box::new(expr), INTERVAL)) }
}

/// Applies `change` to every expression of every node, from the leaves up; columns keep their names.
pub(super) fn rewrite(
    plan: LogicalPlan,
    change: &dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let changed = rewrite_node(plan, change)?;
        if changed.transformed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    })?;
    Ok(rewritten.data)
}

/// Applies `change` to every expression of one node, from the leaves up; columns keep their names, the node its schema.
pub(super) fn rewrite_node(
    plan: LogicalPlan,
    change: &dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(expr.transform_up(|expr| change(expr, &schema))?.update_data(|expr| name.restore(expr)))
    })
}

/// A call of a function of ours.
pub(super) fn call(function: Arc<datafusion::logical_expr::ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}
