//! Filters are pushed down by DataFusion's rule, except below an aggregation that has a row over nothing.
//!
//! A condition without columns, such as a comparison with a subquery, would count as one of the group's columns there; but a
//! filter below such an aggregation empties its input, and the row stays.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// DataFusion's rule with that exception.
#[derive(Debug, Default)]
pub(super) struct PushDownMostFilters(PushDownFilter);

impl OptimizerRule for PushDownMostFilters {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Filter(filter) = &plan
            && let LogicalPlan::Aggregate(below) = filter.input.as_ref()
            && (below.group_expr.is_empty() || below.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))))
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}
