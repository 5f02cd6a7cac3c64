//! Grouping sets over columns only: what else is grouped by is computed below.
//!
//! DataFusion's optimizer takes apart what a group-by computes, repeated parts and constants, and loses grouping sets over it.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::analyzer::AnalyzerRule;

/// The rule; it comes after GROUPING() has been resolved.
#[derive(Debug)]
pub(super) struct GroupingColumns;

impl AnalyzerRule for GroupingColumns {
    fn name(&self) -> &str {
        "grouping_columns"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match &plan {
            LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.as_slice() {
                [Expr::GroupingSet(set)] if set.distinct_expr().iter().any(|expr| !is_column(expr)) => {
                    over_columns(aggregate, set).map(Transformed::yes)
                }
                _ => Ok(Transformed::no(plan)),
            },
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}

fn over_columns(aggregate: &Aggregate, set: &GroupingSet) -> Result<LogicalPlan> {
    let mut below: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut columns: Vec<(Expr, Expr)> = Vec::new();
    let keys: Vec<Expr> = set
        .distinct_expr()
        .into_iter()
        .enumerate()
        .map(|(index, expr)| {
            if is_column(expr) {
                return expr.clone();
            }
            let name = format!("$key{index}");
            below.push(expr.clone().alias(&name));
            let column = Expr::Column(Column::new_unqualified(name));
            columns.push((expr.clone(), column.clone()));
            column
        })
        .collect();
    let replaced = |exprs: &[Expr]| -> Vec<Expr> {
        {
            let column =
                |expr: &Expr| columns.iter().find(|(known, _)| known == expr).map(|(_, column)| column.clone());
            exprs.iter().map(|expr| column(expr).unwrap_or_else(|| expr.clone())).collect()
        }
    };
    let set = match set {
        GroupingSet::Rollup(exprs) => GroupingSet::Rollup(replaced(exprs)),
        GroupingSet::Cube(exprs) => GroupingSet::Cube(replaced(exprs)),
        GroupingSet::GroupingSets(sets) => GroupingSet::GroupingSets(sets.iter().map(|set| replaced(set)).collect()),
    };
    let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone()).project(below)?.build()?;
    let grouped = Aggregate::try_new(Arc::new(input), vec![Expr::GroupingSet(set)], aggregate.aggr_expr.clone())?;
    // Under the names that the rest of the plan knows.
    let exprs: Vec<Expr> = aggregate
        .schema
        .iter()
        .enumerate()
        .map(|(index, (qualifier, field))| match keys.get(index) {
            Some(key) if !is_same(key, qualifier, field.name()) => {
                key.clone().alias_qualified(qualifier.cloned(), field.name())
            }
            _ => Expr::Column(Column::new(qualifier.cloned(), field.name())),
        })
        .collect();
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(grouped)).project(exprs)?.build()
}

fn is_same(key: &Expr, qualifier: Option<&datafusion::common::TableReference>, name: &str) -> bool {
    matches!(key, Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == name)
}
