//! `FROM t, unnest(t.items)`: an unnest of a column that stands to its left is an unnest of the rows there.
//!
//! The planner makes a join with a subquery of it, which it cannot execute.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{NullHandling, Result, ScalarValue, TableReference};
use datafusion::logical_expr::{EmptyRelation, Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, SubqueryAlias};
use datafusion::optimizer::analyzer::AnalyzerRule;

/// The rule; it comes first.
#[derive(Debug)]
pub(super) struct LateralUnnest;

impl AnalyzerRule for LateralUnnest {
    fn name(&self) -> &str {
        "lateral_unnest"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) => {
                let unnested = unnested(&join)?;
                Ok(unnested.map_or_else(|| Transformed::no(LogicalPlan::Join(join)), Transformed::yes))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

/// The join as an unnest of its left side, if its right side is one of columns of the left.
fn unnested(join: &Join) -> Result<Option<LogicalPlan>> {
    let kept = match join.join_type {
        JoinType::Inner => false,
        // Every row of the left side is kept: with any other condition it would come back for its own sake.
        JoinType::Left if join.filter.as_ref().is_none_or(is_true) => true,
        _ => return Ok(None),
    };
    let (right, alias) = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => (input.as_ref(), Some(alias)),
        other => (other, None),
    };
    let LogicalPlan::Subquery(subquery) = right else { return Ok(None) };
    if !join.on.is_empty() {
        return Ok(None);
    }
    let Some(inside) = over(&subquery.subquery, &join.left, kept)? else { return Ok(None) };
    let width = join.left.schema().fields().len();
    let names = join.right.schema().fields();
    let exprs: Vec<Expr> = inside
        .schema()
        .columns()
        .into_iter()
        .enumerate()
        .map(|(index, column)| match index.checked_sub(width) {
            None => Expr::Column(column),
            Some(index) => named(Expr::Column(column), alias, names[index].name()),
        })
        .collect();
    let plan = LogicalPlanBuilder::from(inside).project(exprs)?;
    match &join.filter {
        Some(filter) if !is_true(filter) => plan.filter(filter.clone())?.build().map(Some),
        _ => plan.build().map(Some),
    }
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

fn named(expr: Expr, alias: Option<&TableReference>, name: &str) -> Expr {
    match alias {
        Some(alias) => expr.alias_qualified(Some(alias.clone()), name),
        None => expr.alias(name),
    }
}

/// `plan` over the rows of `left` instead of one row without columns; the columns of `left` come first. Nothing, if it does
/// more than to project and to unnest.
fn over(plan: &LogicalPlan, left: &Arc<LogicalPlan>, kept: bool) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) => Ok(Some(left.as_ref().clone())),
        LogicalPlan::Projection(projection) => {
            let Some(input) = over(&projection.input, left, kept)? else { return Ok(None) };
            let mut exprs: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
            for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
                let inner = expr.clone().transform_up(|expr| match expr {
                    Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
                    other => Ok(Transformed::no(other)),
                })?;
                exprs.push(inner.data.unalias().alias(field.name()));
            }
            LogicalPlanBuilder::from(input).project(exprs)?.build().map(Some)
        }
        LogicalPlan::Unnest(unnest) => {
            let Some(input) = over(&unnest.input, left, kept)? else { return Ok(None) };
            let mut options = unnest.options.clone();
            if kept {
                options.null_handling = NullHandling::PreserveAndExpandEmpty;
            }
            let columns = unnest.exec_columns.clone();
            LogicalPlanBuilder::from(input).unnest_columns_with_options(columns, options)?.build().map(Some)
        }
        _ => Ok(None),
    }
}
