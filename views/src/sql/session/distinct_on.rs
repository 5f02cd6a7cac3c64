//! DISTINCT ON as what it is: the first row of each partition of an order.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, DistinctOn, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Projection, ident, lit,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

/// Replaces DISTINCT ON by `ROW_NUMBER() … = 1`.
#[derive(Debug)]
pub(super) struct FirstOfPartition;

impl AnalyzerRule for FirstOfPartition {
    fn name(&self) -> &str {
        "first_of_partition"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Distinct(Distinct::On(distinct)) => Ok(Transformed::yes(first_rows(distinct)?)),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

fn first_rows(distinct: DistinctOn) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    let mut number = row_number().partition_by(on_expr);
    if let Some(order) = &sort_expr {
        number = number.order_by(order.clone());
    }
    let number = number.build()?;
    let place = ident(number.schema_name().to_string());
    let mut first = LogicalPlanBuilder::from(input.as_ref().clone()).window([number])?.filter(place.eq(lit(1_u64)))?;
    if let Some(order) = sort_expr {
        // A LIMIT above asks for the first rows of this order.
        first = first.sort(order)?;
    }
    let first = first.build()?;
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(select_expr, Arc::new(first), schema)?))
}
