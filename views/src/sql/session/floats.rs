//! Where a float and a decimal meet, the float wins, as in Postgres: the decimal becomes a double.
//!
//! DataFusion turns the float into a decimal when it compares the two or must find a common type. That fails for large
//! values and NaN, and it cuts digits off.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, Union,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::semantics::rewrite_node;

/// The rule; it comes before types are unified.
#[derive(Debug)]
pub(super) struct FloatsWin;

/// Functions whose arguments must have one type.
const UNIFYING: &[&str] = &["coalesce", "greatest", "least", "nullif", "nvl", "ifnull", "make_array"];

impl AnalyzerRule for FloatsWin {
    fn name(&self) -> &str {
        "floats_win"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let plan = match plan {
                LogicalPlan::Join(join) => LogicalPlan::Join(keys(join)),
                LogicalPlan::Union(union) => LogicalPlan::Union(branches(union)?),
                other => other,
            };
            let changed = rewrite_node(plan, &|mut expr, schema| {
                let changed = unify_within(&mut expr, schema)?;
                Ok(Transformed::new_transformed(expr, changed))
            })?;
            // Also where nothing changed here: a type may have changed below.
            changed.map_data(LogicalPlan::recompute_schema)
        })?;
        Ok(plan.data)
    }
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// Whether decimals of these types must give way.
fn mixed(types: &[Option<DataType>]) -> bool {
    let some = |test: fn(&DataType) -> bool| types.iter().flatten().any(test);
    some(DataType::is_floating) && some(is_decimal)
}

/// Unifies the operands of `expr` that must have one type.
fn unify_within(expr: &mut Expr, schema: &DFSchema) -> Result<bool> {
    match expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            unify(&mut [&mut binary.left, &mut binary.right], schema)
        }
        Expr::Between(between) => unify(&mut [&mut between.expr, &mut between.low, &mut between.high], schema),
        Expr::InList(list) => {
            let mut operands: Vec<&mut Expr> = vec![&mut list.expr];
            operands.extend(list.list.iter_mut());
            unify(&mut operands, schema)
        }
        Expr::Case(case) => {
            let (mut conditions, mut values): (Vec<&mut Expr>, Vec<&mut Expr>) =
                case.when_then_expr.iter_mut().map(|(when, then)| (when.as_mut(), then.as_mut())).unzip();
            values.extend(case.else_expr.as_deref_mut());
            let values = unify(&mut values, schema)?;
            let Some(operand) = case.expr.as_deref_mut() else { return Ok(values) };
            conditions.push(operand);
            Ok(unify(&mut conditions, schema)? || values)
        }
        Expr::ScalarFunction(function) if UNIFYING.contains(&function.name()) => {
            unify(&mut function.args.iter_mut().collect::<Vec<_>>(), schema)
        }
        Expr::InSubquery(inside) => {
            let types = [inside.expr.get_type(schema).ok(), first_type(&inside.subquery)];
            if !mixed(&types) {
                return Ok(false);
            }
            if types[0].as_ref().is_some_and(is_decimal) {
                to_double(&mut inside.expr);
            } else {
                let query = Arc::unwrap_or_clone(Arc::clone(&inside.subquery.subquery));
                inside.subquery = inside.subquery.with_plan(Arc::new(doubles(query, &[0])?));
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn first_type(subquery: &Subquery) -> Option<DataType> {
    subquery.subquery.schema().fields().first().map(|field| field.data_type().clone())
}

fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// Makes doubles of the decimals among `operands` if some other operand is a float.
fn unify(operands: &mut [&mut Expr], schema: &DFSchema) -> Result<bool> {
    // What has no type yet has an error of its own, which type coercion words better.
    let types: Vec<Option<DataType>> = operands.iter().map(|operand| operand.get_type(schema).ok()).collect();
    if !mixed(&types) {
        return Ok(false);
    }
    for (operand, data_type) in operands.iter_mut().zip(types) {
        if data_type.as_ref().is_some_and(is_decimal) {
            to_double(operand);
        }
    }
    Ok(true)
}

/// Turns a decimal into a double; one that is written in the text into the double that its digits are nearest to.
fn to_double(expr: &mut Expr) {
    let inner = std::mem::take(expr);
    *expr = match &inner {
        Expr::Literal(value @ (ScalarValue::Decimal128(Some(_), ..) | ScalarValue::Decimal256(Some(_), ..)), _) => {
            match value.cast_to(&DataType::Utf8).and_then(|text| text.cast_to(&DataType::Float64)) {
                Ok(value) => Expr::Literal(value, None),
                Err(_) => Expr::Cast(Cast::new(Box::new(inner), DataType::Float64)),
            }
        }
        _ => Expr::Cast(Cast::new(Box::new(inner), DataType::Float64)),
    };
}

/// The keys of USING.
fn keys(mut join: Join) -> Join {
    for (left, right) in &mut join.on {
        let types = [left.get_type(join.left.schema()).ok(), right.get_type(join.right.schema()).ok()];
        if mixed(&types) {
            to_double(if types[0].as_ref().is_some_and(is_decimal) { left } else { right });
        }
    }
    join
}

/// The queries of UNION, column by column.
fn branches(union: Union) -> Result<Union> {
    let type_of =
        |input: &LogicalPlan, column: usize| input.schema().fields().get(column).map(|f| f.data_type().clone());
    let odd: Vec<usize> = (0..union.schema.fields().len())
        .filter(|column| mixed(&union.inputs.iter().map(|input| type_of(input, *column)).collect::<Vec<_>>()))
        .collect();
    if odd.is_empty() {
        return Ok(union);
    }
    let inputs = union
        .inputs
        .into_iter()
        .map(|input| doubles(Arc::unwrap_or_clone(input), &odd).map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let fields = union.schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let field = match odd.contains(&index) {
            true => Arc::new(field.as_ref().clone().with_data_type(DataType::Float64)),
            false => Arc::clone(field),
        };
        (qualifier.cloned(), field)
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), union.schema.metadata().clone())?;
    Ok(Union { inputs, schema: Arc::new(schema) })
}

/// `plan` with doubles for the decimals among `columns`.
fn doubles(plan: LogicalPlan, columns: &[usize]) -> Result<LogicalPlan> {
    let fields: Vec<_> =
        plan.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    let exprs = fields.into_iter().enumerate().map(|(index, (qualifier, field))| {
        let decimal = columns.contains(&index) && is_decimal(field.data_type());
        let name = field.name().clone();
        let mut expr = Expr::Column(Column::new(qualifier.clone(), &name));
        if decimal {
            to_double(&mut expr);
            expr = expr.alias_qualified(qualifier, name);
        }
        expr
    });
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
